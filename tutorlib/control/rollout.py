"""Experience from Gymnasium's vector environments, with endings told apart.

Gymnasium 1.x resets on the *next* step by default: when an episode ends, ``step`` returns its true
last observation; the following call ignores its action, resets, and pays nothing. Two things
follow. The last observation is at hand, so an episode cut by a time limit can be bootstrapped from
its value. And the step that only resets is not experience: ``valid`` is False there.
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from tutorlib.errors import InvalidArgumentError


@dataclass(frozen=True)
class Rollout:
    """What a batch of environments went through; time first, environments second."""

    obs: Float[Tensor, "steps_plus_one envs inputs"]  # the last entry is what the last step led to
    actions: Shaped[Tensor, " steps envs *action"]
    rewards: Float[Tensor, "steps envs"]
    terminated: Bool[Tensor, "steps envs"]  # the process ended: nothing follows, value 0
    truncated: Bool[Tensor, "steps envs"]  # a time limit cut the episode: it would have gone on
    valid: Bool[Tensor, "steps envs"]  # False where the step only reset its environment

    def discount_t(self, discount: float) -> Float[Tensor, "steps envs"]:
        """Return ``discount``, and 0 where the process terminated (not where time ran out)."""
        return discount * (~self.terminated).to(self.rewards.dtype)

    def lambda_t(self, lambda_: float) -> Float[Tensor, "steps envs"]:
        """Return ``lambda_``, and 0 at every ending: no sum may cross into the next episode."""
        return lambda_ * (~(self.terminated | self.truncated)).to(self.rewards.dtype)


def make_envs(env_id: str, n_envs: int, **settings) -> gymnasium.vector.VectorEnv:
    """Return ``n_envs`` copies of an environment, as its own vectorised version if it has one.

    >>> make_envs("CartPole-v1", 3).num_envs
    3
    """
    try:
        return gymnasium.make_vec(env_id, num_envs=n_envs, **settings)
    except gymnasium.error.Error as problem:
        raise InvalidArgumentError(
            f"there is no environment {env_id!r} ({problem}); give the id of a registered one, "
            'for example "CartPole-v1"'
        ) from problem


class Runner:
    """Steps a vector environment and remembers where it stands between rollouts."""

    def __init__(self, envs: gymnasium.vector.VectorEnv, seed: int, device="cpu"):
        """Reset all environments from ``seed``. Tensors are made on ``device``."""
        mode = envs.metadata.get("autoreset_mode")
        if mode != gymnasium.vector.AutoresetMode.NEXT_STEP:
            raise InvalidArgumentError(
                f"the environments reset in mode {mode}; expected AutoresetMode.NEXT_STEP, "
                "Gymnasium's default"
            )
        self.envs, self.device = envs, device
        self.obs, _ = envs.reset(seed=seed)
        self.resetting = np.zeros(envs.num_envs, dtype=bool)  # the next step of these only resets
        self._returns = np.zeros(envs.num_envs)
        self.finished: list[float] = []  # undiscounted returns of all finished episodes

    @torch.no_grad()
    def collect(self, policy, n_steps: int, generator: torch.Generator) -> Rollout:
        """Follow ``policy`` for ``n_steps`` steps in every environment."""
        all_obs, steps = [self.obs], []
        for _ in range(n_steps):
            actions = policy.sample(self._tensor(self.obs), generator)
            self.obs, rewards, terminated, truncated, _ = self.envs.step(self._legal(actions))
            steps.append((actions, rewards, terminated, truncated, ~self.resetting))
            all_obs.append(self.obs)
            self._count(rewards, terminated | truncated)
        actions, rewards, terminated, truncated, valid = zip(*steps, strict=True)
        return Rollout(
            self._tensor(np.stack(all_obs)), torch.stack(actions), self._tensor(np.stack(rewards)),
            *(torch.as_tensor(np.stack(flags), device=self.device)
              for flags in (terminated, truncated, valid)),
        )

    def _tensor(self, array: np.ndarray) -> Tensor:
        """Return an array as float32, which networks want."""
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)

    def _legal(self, actions: Tensor) -> np.ndarray:
        """Return actions as the environment accepts them: real ones within their bounds."""
        space, chosen = self.envs.action_space, actions.cpu().numpy()
        if isinstance(space, gymnasium.spaces.Box):
            return np.clip(chosen, space.low, space.high)
        return chosen

    def _count(self, rewards: np.ndarray, ended: np.ndarray) -> None:
        """Add to the returns of running episodes and put finished ones down."""
        self._returns += rewards
        self.finished += self._returns[ended].tolist()
        self._returns[ended] = 0.0
        self.resetting = ended


def evaluate(env_id: str, policy, episodes: int = 100, seed: int = 0, greedy: bool = True,
             device="cpu") -> Float[Tensor, " episodes"]:
    """Return the undiscounted returns of ``episodes`` fresh episodes, run side by side.

    Greedy episodes take the policy's likeliest action, others sample. Only the first episode of
    each environment counts, so that short episodes are not counted more often than long ones.
    """
    envs = make_envs(env_id, episodes)
    runner = Runner(envs, seed, device)
    generator = torch.Generator(device).manual_seed(seed)
    returns, running = np.zeros(episodes), np.ones(episodes, dtype=bool)
    while running.any():
        obs = runner._tensor(runner.obs)
        with torch.no_grad():
            actions = policy.mode(obs) if greedy else policy.sample(obs, generator)
        runner.obs, rewards, terminated, truncated, _ = envs.step(runner._legal(actions))
        returns += running * rewards
        running &= ~(terminated | truncated)
    envs.close()
    return torch.as_tensor(returns)
