"""Adversarial imitation on one page: GAIL, AIRL and forward KL are one loop with three rewards.

Each iteration follows the policy, trains a discriminator to tell those steps from the
demonstrator's (label 1), pays the policy by the discriminator's logit h, and takes PPO's gradient
steps on that pay. GAIL (Ho and Ermon 2016) pays -log(1 - D), AIRL (Fu et al. 2018) h itself,
forward KL (Ghasemipour et al. 2020) the density ratio exp(h); see ``divergences``.

Departures: PPO in place of TRPO; AIRL's discriminator sees the current rollout only, not past ones;
a gradient penalty on the discriminator, and a limit on logits, keep rewards finite and informative
when the two sides can be told apart perfectly; on demand, rewards reach PPO in units of their
running root mean square (as in `imitation`, but without subtracting their mean, which would change
what staying alive is worth). That costs something where a reward nears 0 at the goal, as AIRL's
does: noise may be magnified. Give the task a fixed horizon unless the length of an episode may
speak for the demonstrator (``tutorlib.control.tasks``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from tutorlib.control import (
    ControlDemonstrations,
    ControlTask,
    PPOConfig,
    Rollout,
    Runner,
    Transitions,
)
from tutorlib.control.ppo import make_batch, make_networks, make_optimiser, relabel, update
from tutorlib.control.tasks import make_envs
from tutorlib.errors import InvalidArgumentError, nearest
from tutorlib.irl.discriminators import (
    LogitNet,
    ShapedNet,
    demonstrator_logits,
    discriminator_loss,
    gradient_penalty,
)
from tutorlib.irl.divergences import REWARDS, policy_reward

CARTPOLE_PPO = PPOConfig(total_steps=60_000, epochs=5, reward_scale=0.1)
REWARD_SCALES = {"gail": 1.0, "gail_log_d": 1.0}  # by trial; all other methods as in CARTPOLE_PPO


@dataclass(frozen=True)
class AdversarialConfig:
    """Settings of adversarial imitation; the defaults suit CartPole-v1 with a fixed horizon."""

    method: str = "gail"  # what the policy is paid: a key of ``divergences.REWARDS``
    ppo: PPOConfig | None = None  # None: ``cartpole_ppo(method)``; its discount is AIRL's gamma
    disc_steps: int = 4  # gradient steps of the discriminator per iteration
    disc_batch_size: int = 512  # samples of each side per gradient step
    disc_learning_rate: float = 3e-3  # of Adam
    gradient_penalty: float = 1.0  # weight of the discriminator's squared slope; 0: none
    logit_limit: float = 10.0  # logits beyond it pay as much as at it
    hidden: tuple[int, ...] = (64, 64)  # widths of the discriminator's hidden layers
    normalise_reward: bool = False  # divide by the running root mean square before reward_scale

    def __post_init__(self) -> None:
        """Refuse settings with which nothing could be learned; fill in the policy's."""
        if self.method not in REWARDS:
            raise InvalidArgumentError(f"there is no method {self.method!r}: "
                                       f"{nearest(self.method, REWARDS)} ({', '.join(REWARDS)})")
        for name in ("disc_steps", "disc_batch_size"):
            if getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("disc_learning_rate", "logit_limit"):
            if not getattr(self, name) > 0:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; expected above 0")
        if not self.gradient_penalty >= 0:
            raise InvalidArgumentError(
                f"gradient_penalty is {self.gradient_penalty}; expected 0 or more")
        if self.ppo is None:
            object.__setattr__(self, "ppo", cartpole_ppo(self.method))


def cartpole_ppo(method: str, total_steps: int = CARTPOLE_PPO.total_steps) -> PPOConfig:
    """Return PPO's settings for imitation in CartPole, with the method's own ``reward_scale``.

    >>> cartpole_ppo("gail").reward_scale, cartpole_ppo("airl").reward_scale
    (1.0, 0.1)
    """
    scale = REWARD_SCALES.get(method, CARTPOLE_PPO.reward_scale)
    return replace(CARTPOLE_PPO, total_steps=total_steps, reward_scale=scale)


# With discount 0.9, which suits the true reward, imitators stayed far behind: perhaps as hanging
# resembles a demonstrator who mostly stands still.
PENDULUM_PPO = PPOConfig(total_steps=40_960, n_steps=64, epochs=5, learning_rate=1e-3,
                         discount=0.97, gae_lambda=0.95, reward_scale=0.3)


def pendulum_config(method: str, total_steps: int = PENDULUM_PPO.total_steps) -> AdversarialConfig:
    """Return settings with which GAIL, AIRL and forward KL better a clone on the pendulum.

    They are meant for ``start``: a clone, as Ho and Ermon (2016) advise. From a policy that knows
    nothing GAIL needs twice the steps, and AIRL did not arrive: -log pi is a bonus for entropy
    until f has become log pi_demo. The penalty on slopes is light, as that f is steep.

    >>> pendulum_config("airl").gradient_penalty < AdversarialConfig().gradient_penalty
    True
    """
    return AdversarialConfig(
        method=method, ppo=replace(PENDULUM_PPO, total_steps=total_steps), disc_learning_rate=1e-3,
        gradient_penalty=0.02, normalise_reward=True)


@dataclass(frozen=True)
class AdversarialResult:
    """What the imitator and its judge have become."""

    policy: nn.Module
    reward_net: LogitNet  # a ``ShapedNet`` for AIRL: its ``reward`` is g without the shaping
    history: list[dict[str, float]]  # one dict per iteration: see ``train_adversarial``
    episode_returns: list[float]  # true ones, undiscounted, of every finished episode, in order
    warnings: list[str] = field(default_factory=list)  # what to look at before believing it


Callback = Callable[[dict, nn.Module], bool | None]


def train_adversarial(task: str | ControlTask, demonstrations: ControlDemonstrations,
                      config: AdversarialConfig = AdversarialConfig(), seed: int = 0,
                      device="cpu", callback: Callback | None = None,
                      start: nn.Module | None = None) -> AdversarialResult:
    """Imitate demonstrations of a task without its reward; a seed fixes the outcome.

    ``start`` is a policy to begin with, for example a clone (``tutorlib.imitation.clone``), which
    stays as it is; None: one that knows nothing.

    Each entry of ``history`` holds ``steps``, ``mean_return`` (true, of the last 100 episodes),
    ``mean_reward`` (learned, of this iteration's steps), ``disc_loss``, ``demo_accuracy`` and
    ``policy_accuracy`` (of the discriminator after its steps), ``saturated`` (share of the policy's
    logits at the limit), and PPO's own. ``callback`` gets each entry and the policy; training stops
    when it returns True. Raises InvalidArgumentError if the demonstrations are of another task.

    >>> from tutorlib.control import GaussianPolicy, record_demonstrations
    >>> idle = GaussianPolicy(3, 1, (8,), torch.Generator().manual_seed(0))
    >>> demos = record_demonstrations("Pendulum-v1", idle, 2, seed=0, max_steps=20)
    >>> quick = AdversarialConfig(ppo=PPOConfig(total_steps=64, n_envs=2, n_steps=16))
    >>> [entry["steps"] for entry in train_adversarial("Pendulum-v1", demos, quick).history]
    [32, 64]
    """
    ppo, generator = config.ppo, torch.Generator(device).manual_seed(seed)
    envs = make_envs(task, ppo.n_envs)
    demonstrations.check_spaces(envs.single_observation_space, envs.single_action_space)
    demo = demonstrations.transitions()
    policy, critic = make_networks(envs, ppo, seed, device)
    policy = policy if start is None else copy.deepcopy(start).to(device)
    net = make_reward_net(envs, config, seed).to(device)
    optimiser = make_optimiser(policy, critic, ppo)
    disc_optimiser = torch.optim.Adam(net.parameters(), config.disc_learning_rate)
    runner, scale, history = Runner(envs, seed, device), RewardScale(), []
    for iteration in range(n_iterations := ppo.total_steps // (ppo.n_envs * ppo.n_steps)):
        if ppo.anneal:
            optimiser.param_groups[0]["lr"] = ppo.learning_rate * (1 - iteration / n_iterations)
        rollout = runner.collect(policy, ppo.n_steps, generator)
        steps = rollout.transitions()
        if iteration == 0:
            net.standardise(demo.obs, steps.obs)
        judged = train_discriminator(net, disc_optimiser, policy, demo, steps, config, generator)
        paid = relabel(rollout, learned_reward(net, policy, config))
        scaled = scale(paid) if config.normalise_reward else paid
        batch = make_batch(scaled, policy, critic, ppo)
        losses = update(policy, critic, optimiser, batch, ppo, generator)
        history.append({"steps": (iteration + 1) * ppo.n_envs * ppo.n_steps,
                        "mean_return": float(torch.tensor(runner.finished[-100:]).mean()),
                        "mean_reward": float(paid.rewards[paid.valid].mean()), **judged, **losses})
        if callback is not None and callback(history[-1], policy):
            break
    envs.close()
    return AdversarialResult(policy, net, history, runner.finished, warnings_of(history))


def make_reward_net(envs, config: AdversarialConfig, seed: int) -> LogitNet:
    """Return the discriminator's network, with weights that depend on ``seed`` alone."""
    generator = torch.Generator().manual_seed(seed + 1)  # not the policy's numbers once more
    spaces = envs.single_observation_space, envs.single_action_space
    if config.method == "airl":
        return ShapedNet(*spaces, config.hidden, generator, config.ppo.discount)
    return LogitNet(*spaces, config.hidden, generator)


def train_discriminator(net, optimiser, policy, demo: Transitions, steps: Transitions,
                        config: AdversarialConfig, generator) -> dict[str, float]:
    """Take the discriminator's gradient steps of one iteration; return how well it does."""
    for _ in range(config.disc_steps):
        ours, theirs = (some(table, config.disc_batch_size, generator) for table in (demo, steps))
        loss = discriminator_loss(demonstrator_logits(net, policy, ours),
                                  demonstrator_logits(net, policy, theirs))
        if config.gradient_penalty:
            slope = 0.5 * (gradient_penalty(net, ours) + gradient_penalty(net, theirs))
            loss = loss + config.gradient_penalty * slope
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return judge(net, policy, some(demo, len(steps), generator), steps, config.logit_limit)


@torch.no_grad()
def judge(net, policy, demo: Transitions, steps: Transitions, limit: float) -> dict[str, float]:
    """Return loss, accuracy on either side, and the share of the policy's logits at the limit."""
    ours, theirs = (demonstrator_logits(net, policy, table) for table in (demo, steps))
    return {"disc_loss": float(discriminator_loss(ours, theirs)),
            "demo_accuracy": float((ours > 0).float().mean()),
            "policy_accuracy": float((theirs < 0).float().mean()),
            "saturated": float((theirs.abs() >= limit).float().mean())}


def some(table: Transitions, n_samples: int, generator: torch.Generator) -> Transitions:
    """Return ``n_samples`` steps drawn with replacement."""
    device = table.obs.device
    return table[torch.randint(len(table), (n_samples,), generator=generator, device=device)]


def learned_reward(net: LogitNet, policy, config: AdversarialConfig):
    """Return the policy's reward as ``train_ppo`` wants it: numbers, with no way back."""

    @torch.no_grad()
    def reward_fn(obs, actions, next_obs, ended):
        steps = Transitions(obs, actions, next_obs, ended)
        logits = demonstrator_logits(net, policy, steps)
        return policy_reward(logits, config.method, limit=config.logit_limit)

    return reward_fn


class RewardScale:
    """Brings rewards to a running root mean square of 1 without moving zero: signs stay."""

    def __init__(self, memory: float = 0.9):
        """Remember the mean square of earlier rollouts with weight ``memory`` each time."""
        self.memory, self.mean_square = memory, None

    def __call__(self, rollout: Rollout) -> Rollout:
        """Return the rollout with its rewards divided by the root of the running mean square."""
        now = float(rollout.rewards[rollout.valid].square().mean())
        earlier = now if self.mean_square is None else self.mean_square
        self.mean_square = self.memory * earlier + (1 - self.memory) * now
        return replace(rollout, rewards=rollout.rewards / max(self.mean_square, 1e-12) ** 0.5)


def warnings_of(history: list[dict[str, float]]) -> list[str]:
    """Return what a reader of the history should know before trusting the policy."""
    found = [entry["steps"] for entry in history if entry["saturated"] > 0.5]
    if len(found) <= len(history) / 2:
        return []
    return [f"in {len(found)} of {len(history)} iterations more than half of the policy's logits "
            "were at logit_limit, where all steps are paid alike: raise gradient_penalty, or lower "
            "disc_steps or disc_learning_rate"]
