"""Proximal policy optimisation (Schulman et al. 2017) on one page.

Each iteration follows the policy for a while, estimates advantages, and takes several passes of
gradient steps over that experience; clipping removes the reason to move far from the policy that
gathered it. Departures from the paper, all as in Huang et al. 2022, "The 37 implementation details
of PPO", and CleanRL: orthogonal initialisation, Adam with epsilon 1e-5, a learning rate that falls
to 0, advantages normalised in each minibatch, gradients clipped by their norm, policy and critic in
separate networks. Left out: clipping of the value loss (it does not help: Andrychowicz et al.
2021), and running estimates of the scale of observations and rewards: ``reward_scale`` is a fixed
number. Unlike CleanRL's, an episode cut by a time limit is
bootstrapped from the value of its last state (Pardo et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tutorlib.control.estimators import gae, normalise, ppo_clip_objective
from tutorlib.control.networks import make_critic, make_policy
from tutorlib.control.rollout import Rollout, Runner
from tutorlib.control.tasks import ControlTask, make_envs
from tutorlib.errors import InvalidArgumentError


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO; the defaults suit CartPole-v1."""

    total_steps: int = 50_000  # environment steps in all, over all environments
    n_envs: int = 16  # environments stepped side by side
    n_steps: int = 32  # steps of each environment per iteration
    epochs: int = 10  # passes over the experience of an iteration
    minibatch_size: int = 256  # samples per gradient step
    learning_rate: float = 3e-3  # of Adam, at the start
    anneal: bool = True  # let the learning rate fall linearly to 0
    discount: float = 0.98  # of rewards one step later
    reward_scale: float = 1.0  # rewards are multiplied by it: a critic learns values near 1 best
    gae_lambda: float = 0.9  # 0: one-step advantages, 1: whole returns
    clip: float = 0.2  # how far the probability ratio may usefully move from 1
    value_coef: float = 0.5  # weight of the critic's squared error
    entropy_coef: float = 0.0  # weight of the policy's entropy, in nats
    max_grad_norm: float = 0.5  # longer gradients are scaled down to this
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers, of both networks

    def __post_init__(self) -> None:
        """Refuse settings with which nothing could be learned."""
        for name in ("total_steps", "n_envs", "n_steps", "epochs", "minibatch_size"):
            if getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("discount", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; expected 0 to 1")
        if self.total_steps < self.n_envs * self.n_steps:
            raise InvalidArgumentError(
                f"total_steps is {self.total_steps}, less than one iteration of "
                f"{self.n_envs} * {self.n_steps} steps; raise it or lower n_steps"
            )


@dataclass(frozen=True)
class PPOResult:
    """A trained policy and how it came about."""

    policy: nn.Module
    critic: nn.Module
    history: list[dict[str, float]]  # one dict per iteration: see ``train_ppo``
    episode_returns: list[float]  # undiscounted, of every finished episode, in order


@dataclass(frozen=True)
class Batch:
    """Experience of one iteration as a flat list of samples."""

    obs: Float[Tensor, "samples inputs"]
    actions: Shaped[Tensor, " samples *action"]
    logps: Float[Tensor, " samples"]  # under the policy that acted
    advantages: Float[Tensor, " samples"]
    returns: Float[Tensor, " samples"]  # what the critic should have said

    def __getitem__(self, index: Tensor) -> Batch:
        """Return some of the samples."""
        return Batch(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


RewardFn = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def train_ppo(task: str | ControlTask, config: PPOConfig = PPOConfig(), seed: int = 0,
              device="cpu", callback: Callable[[dict, nn.Module], bool | None] | None = None,
              reward_fn: RewardFn | None = None) -> PPOResult:
    """Train a policy on a Gymnasium environment; the same seed gives the same policy.

    Each entry of ``history`` holds ``steps`` (environment steps so far), ``mean_return`` (of the
    last 100 episodes; NaN before the first ends), ``policy_loss``, ``value_loss``, ``entropy``,
    ``approx_kl`` (k3 estimate of KL(old || new), in nats) and ``clip_fraction``. ``callback`` gets
    each entry and the policy; training stops when it returns True.

    With ``reward_fn`` the policy is trained on ``reward_fn(obs, actions, next_obs, ended)``, one
    number per step: a learned reward. ``ended`` is True where the process terminated in
    ``next_obs``; actions come within their bounds. Returns recorded stay those of the task.

    >>> quick = PPOConfig(total_steps=64, n_envs=2, n_steps=16)
    >>> [entry["steps"] for entry in train_ppo("CartPole-v1", quick).history]
    [32, 64]
    """
    generator = torch.Generator(device).manual_seed(seed)
    envs = make_envs(task, config.n_envs)
    policy, critic = make_networks(envs, config, seed, device)
    optimiser = make_optimiser(policy, critic, config)
    runner, history = Runner(envs, seed, device), []
    steps_each = config.n_envs * config.n_steps
    n_iterations = config.total_steps // steps_each
    for iteration in range(n_iterations):
        if config.anneal:
            optimiser.param_groups[0]["lr"] = config.learning_rate * (1 - iteration / n_iterations)
        rollout = runner.collect(policy, config.n_steps, generator)
        if reward_fn is not None:
            rollout = relabel(rollout, reward_fn)
        batch = make_batch(rollout, policy, critic, config)
        losses = update(policy, critic, optimiser, batch, config, generator)
        mean_return = float(torch.tensor(runner.finished[-100:]).mean())
        steps = (iteration + 1) * steps_each
        history.append({"steps": steps, "mean_return": mean_return, **losses})
        if callback is not None and callback(history[-1], policy):
            break
    envs.close()
    return PPOResult(policy, critic, history, runner.finished)


def make_networks(envs, config: PPOConfig, seed: int, device) -> tuple[nn.Module, nn.Module]:
    """Return policy and critic on ``device``, with weights that depend on ``seed`` alone."""
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same weights on any device
    spaces = envs.single_observation_space, envs.single_action_space
    policy = make_policy(*spaces, config.hidden, generator)
    critic = make_critic(spaces[0], config.hidden, generator)
    return policy.to(device), critic.to(device)


def make_optimiser(policy, critic, config: PPOConfig) -> torch.optim.Adam:
    """Return Adam over both networks, in one fused kernel where torch has one."""
    parameters = [*policy.parameters(), *critic.parameters()]
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.Adam(parameters, config.learning_rate, eps=1e-5, fused=fused)


@torch.no_grad()
def relabel(rollout: Rollout, reward_fn: RewardFn) -> Rollout:
    """Return the rollout with a learned reward in place of the task's, as plain numbers.

    Raises InvalidArgumentError unless there is one finite reward per valid step.
    """
    steps = rollout.transitions()
    rewards = reward_fn(steps.obs, steps.actions, steps.next_obs, steps.ended)
    if rewards.shape != (len(steps),) or not torch.isfinite(rewards).all():
        raise InvalidArgumentError(
            f"reward_fn returned shape {tuple(rewards.shape)}, finite: "
            f"{bool(torch.isfinite(rewards).all())}; expected one finite number for each of the "
            f"{len(steps)} steps"
        )
    relabelled = torch.zeros_like(rollout.rewards)  # 0 where a step only reset its environment
    relabelled[rollout.valid] = rewards.to(relabelled.dtype)
    return replace(rollout, rewards=relabelled)


@torch.no_grad()
def make_batch(rollout: Rollout, policy, critic, config: PPOConfig) -> Batch:
    """Return the valid steps of a rollout with their advantages and value targets."""
    values = critic(rollout.obs).squeeze(-1)  # [steps + 1, envs]
    rewards = config.reward_scale * rollout.rewards
    advantages = gae(rewards, values, rollout.discount_t(config.discount),
                     rollout.lambda_t(config.gae_lambda))
    logps, _ = policy.logp_and_entropy(rollout.obs[:-1], rollout.actions)
    columns = (rollout.obs[:-1], rollout.actions, logps, advantages, advantages + values[:-1])
    return Batch(*(column[rollout.valid] for column in columns))


def update(policy, critic, optimiser, batch: Batch, config: PPOConfig,
           generator: torch.Generator) -> dict[str, float]:
    """Take the gradient steps of one iteration; return the last pass's mean losses."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    n_samples = len(batch.logps)
    for _ in range(config.epochs):
        records = []
        order = torch.randperm(n_samples, generator=generator, device=batch.logps.device)
        for index in order.split(config.minibatch_size):
            loss, record = ppo_loss(policy, critic, batch[index], config)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            optimiser.step()
            records.append(record)
    means = torch.stack(records).mean(0).tolist()
    return dict(zip(_RECORDED, means, strict=True))


_RECORDED = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction")


def ppo_loss(policy, critic, batch: Batch, config: PPOConfig) -> tuple[Tensor, Tensor]:
    """Return the loss of a minibatch (Schulman et al. 2017, Equation 9) and what to record."""
    logps, entropies = policy.logp_and_entropy(batch.obs, batch.actions)
    advantages = normalise(batch.advantages) if len(batch.advantages) > 1 else batch.advantages
    policy_loss = -ppo_clip_objective(logps, batch.logps, advantages, config.clip).mean()
    value_loss = 0.5 * (critic(batch.obs).squeeze(-1) - batch.returns).square().mean()
    entropy = entropies.mean()
    loss = policy_loss + config.value_coef * value_loss - config.entropy_coef * entropy
    with torch.no_grad():
        log_ratio = logps - batch.logps
        kl = (log_ratio.exp() - 1 - log_ratio).mean()
        clipped = (log_ratio.exp() - 1).abs().gt(config.clip).float().mean()
    return loss, torch.stack([policy_loss.detach(), value_loss.detach(), entropy.detach(),
                              kl, clipped])
