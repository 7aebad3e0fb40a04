"""Roll out, ask, fit the reward, improve the policy: learning a control task from comparisons.

After Christiano et al. 2017, section 2.2: the true reward is seen by the labeller only, and what
reaches the learner are its answers. Departures: the three processes take turns instead of running
at the same time, PPO stands in for A2C and TRPO, and queries are spread evenly over rounds (there
they become rarer).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tutorlib.control import ControlTask, PPOConfig, Rollout, Runner, make_envs
from tutorlib.control.ppo import make_batch, make_networks, make_optimiser, relabel, update
from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.preferences import Labeller
from tutorlib.irl.reward_ensembles import (
    RewardEnsemble,
    RewardFitConfig,
    choose_queries,
    fit_ensemble,
    segment_features,
    step_features,
)
from tutorlib.irl.segments import cut_segments

ARM_PPO = PPOConfig(n_envs=32, n_steps=61, epochs=6, minibatch_size=976, learning_rate=4e-3,
                    discount=0.95, hidden=(32, 32), anneal=False)  # 61: an episode and its reset


@dataclass(frozen=True)
class PreferenceLoopConfig:
    """Settings of the loop; the defaults suit the arm (``tutorlib.control.arm``)."""

    rounds: int = 5  # ask, fit and improve this many times
    queries: int = 20  # comparisons asked for in each round
    candidates: int = 10  # pairs drawn for each query; "disagreement" picks among them
    length: int = 15  # steps of a segment
    rule: str = "disagreement"  # or "random": which candidates are asked about
    iterations: int = 5  # PPO iterations per round
    members: int = 3  # reward networks
    hidden: tuple[int, ...] = (32, 32)  # widths of their hidden layers
    paid: str = "departure"  # what a reward looks at: see tutorlib.irl.rewards
    ppo: PPOConfig = ARM_PPO
    fit: RewardFitConfig = field(default_factory=lambda: RewardFitConfig(steps=80, batch_pairs=32))

    def __post_init__(self) -> None:
        """Refuse a loop that would ask nothing."""
        for name in ("rounds", "queries", "candidates", "length", "iterations", "members"):
            if getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; expected at least 1")


@dataclass(frozen=True)
class PreferenceLoopResult:
    """What was learned, and what the true reward says about it afterwards."""

    policy: nn.Module
    ensemble: RewardEnsemble
    history: list[dict[str, float]]  # per round: see ``learn_from_preferences``


@dataclass
class _Asked:
    """Everything the labeller has answered so far."""

    left: list[Tensor] = field(default_factory=list)
    right: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return all features and labels."""
        return torch.cat(self.left), torch.cat(self.right), torch.cat(self.labels)


def learn_from_preferences(task: str | ControlTask, labeller: Labeller,
                           config: PreferenceLoopConfig = PreferenceLoopConfig(), seed: int = 0
                           ) -> PreferenceLoopResult:
    """Learn a reward and a policy for it by asking ``labeller``; the same seed, the same result.

    Each entry of ``history`` holds ``queries`` (asked so far), ``steps`` (of the environment),
    ``fit_loss`` and ``agreement`` (share of the answers just given that the ensemble foresaw),
    and ``true_return``, the mean true return of the round's last episodes: for the record, the
    learner never sees it.

    >>> quick = PreferenceLoopConfig(rounds=2, queries=4, iterations=1, fit=RewardFitConfig(5))
    >>> from tutorlib.control.arm import ARM
    >>> [entry["queries"] for entry in learn_from_preferences(ARM, Labeller(), quick).history]
    [4, 8]
    """
    generator = torch.Generator().manual_seed(seed)
    envs = make_envs(task, config.ppo.n_envs)
    policy, critic = make_networks(envs, config.ppo, seed, "cpu")
    optimiser, runner = make_optimiser(policy, critic, config.ppo), Runner(envs, seed)
    n_actions = getattr(envs.single_action_space, "n", None)
    rollout = runner.collect(policy, config.ppo.n_steps, generator)
    steps = rollout.transitions()
    inputs = step_features(steps.obs, steps.actions, steps.next_obs, config.paid, n_actions)
    ensemble = RewardEnsemble(inputs.shape[-1], config.members, config.hidden, seed)
    asked, history = _Asked(), []

    def reward_fn(obs, actions, next_obs, ended):
        return ensemble.reward(step_features(obs, actions, next_obs, config.paid, n_actions))

    for number in range(config.rounds):
        agreement = _ask(rollout, labeller, ensemble, asked, config, n_actions, generator)
        losses = fit_ensemble(ensemble, *asked.all(), config.fit, seed=seed + number)
        for _ in range(config.iterations):
            rollout = runner.collect(policy, config.ppo.n_steps, generator)
            batch = make_batch(relabel(rollout, reward_fn), policy, critic, config.ppo)
            update(policy, critic, optimiser, batch, config.ppo, generator)
        history.append({
            "queries": (number + 1) * config.queries, "fit_loss": losses[-1],
            "steps": ((number + 1) * config.iterations + 1) * rollout.valid.numel(),
            "agreement": agreement,
            "true_return": float(torch.tensor(runner.finished[-config.ppo.n_envs:]).mean())})
    envs.close()
    return PreferenceLoopResult(policy, ensemble, history)


def _ask(rollout: Rollout, labeller: Labeller, ensemble: RewardEnsemble, asked: _Asked,
         config: PreferenceLoopConfig, n_actions: int | None, generator: torch.Generator) -> float:
    """Draw candidate pairs from a rollout, choose, ask, and note the answers."""
    n = config.candidates * config.queries
    by_episode = (x.transpose(0, 1) for x in (rollout.obs, rollout.taken))
    drawn = cut_segments(*by_episode, 2 * n, config.length, generator, rollout.valid.T)
    features = segment_features(drawn, config.paid, n_actions)
    with torch.no_grad():
        returns = ensemble.scaled(features).sum(-1).view(config.members, n, 2)
    chosen = choose_queries(returns, config.queries, config.rule, generator)
    paired = features.view(n, 2, *features.shape[1:])[chosen]
    secret = drawn.window(rollout.rewards.T).view(n, 2, -1)[chosen]  # for the labeller alone
    labels = labeller.label(secret[:, 0], secret[:, 1], generator)
    for known, new in ((asked.left, paired[:, 0]), (asked.right, paired[:, 1]),
                       (asked.labels, labels)):
        known.append(new)
    guess = returns.mean(0)[chosen]
    foreseen = (guess[:, 0] > guess[:, 1]).float() == labels
    return float(foreseen.float().mean())
