"""Experience from Gymnasium's vector environments, with endings told apart.

Gymnasium 1.x resets on the *next* step by default: when an episode ends, ``step`` returns its true
last observation; the following call ignores its action, resets, and pays nothing. Two things
follow. The last observation is at hand, so an episode cut by a time limit can be bootstrapped from
its value. And the step that only resets is not experience: ``valid`` is False there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from tutorlib.control.tasks import ControlTask, make_envs
from tutorlib.errors import InvalidArgumentError


@dataclass(frozen=True)
class Transitions:
    """Steps without their order: a flat table, one row per step."""

    obs: Float[Tensor, "samples inputs"]
    actions: Shaped[Tensor, " samples *action"]
    next_obs: Float[Tensor, "samples inputs"]
    ended: Bool[Tensor, " samples"]  # the process terminated in next_obs: nothing follows

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.obs)

    def __getitem__(self, index) -> Transitions:
        """Return some of the steps."""
        return Transitions(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True)
class Rollout:
    """What a batch of environments went through; time first, environments second."""

    obs: Float[Tensor, "steps_plus_one envs inputs"]  # the last entry is what the last step led to
    actions: Shaped[Tensor, " steps envs *action"]
    rewards: Float[Tensor, "steps envs"]
    terminated: Bool[Tensor, "steps envs"]  # the process ended: nothing follows, value 0
    truncated: Bool[Tensor, "steps envs"]  # a time limit cut the episode: it would have gone on
    valid: Bool[Tensor, "steps envs"]  # False where the step only reset its environment
    taken: Shaped[Tensor, " steps envs *action"]  # actions as carried out: within their bounds

    def discount_t(self, discount: float) -> Float[Tensor, "steps envs"]:
        """Return ``discount``, and 0 where the process terminated (not where time ran out)."""
        return discount * (~self.terminated).to(self.rewards.dtype)

    def lambda_t(self, lambda_: float) -> Float[Tensor, "steps envs"]:
        """Return ``lambda_``, and 0 at every ending: no sum may cross into the next episode."""
        return lambda_ * (~(self.terminated | self.truncated)).to(self.rewards.dtype)

    def transitions(self) -> Transitions:
        """Return the valid steps as a flat table, with the actions as carried out."""
        columns = self.obs[:-1], self.taken, self.obs[1:], self.terminated
        return Transitions(*(column[self.valid] for column in columns))


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
            actions = policy.sample(self.tensor(self.obs), generator)
            taken = self.legal(actions)
            self.obs, rewards, terminated, truncated, _ = self.envs.step(taken)
            steps.append((actions, rewards, terminated, truncated, ~self.resetting, taken))
            all_obs.append(self.obs)
            self._count(rewards, terminated | truncated)
        actions, rewards, *others = zip(*steps, strict=True)
        return Rollout(
            self.tensor(np.stack(all_obs)), torch.stack(actions), self.tensor(np.stack(rewards)),
            *(torch.as_tensor(np.stack(column), device=self.device) for column in others),
        )

    def tensor(self, array: np.ndarray) -> Tensor:
        """Return an array as float32, which networks want."""
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)

    def legal(self, actions: Tensor) -> np.ndarray:
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


def evaluate(task: str | ControlTask, policy, episodes: int = 100, seed: int = 0,
             greedy: bool = True, device="cpu") -> Float[Tensor, " episodes"]:
    """Return the undiscounted returns of ``episodes`` fresh episodes, run side by side.

    Greedy episodes take the policy's likeliest action, others sample. Only the first episode of
    each environment counts, so that short episodes are not counted more often than long ones.
    """
    envs = make_envs(task, episodes)
    runner = Runner(envs, seed, device)
    generator = torch.Generator(device).manual_seed(seed)
    returns, running = np.zeros(episodes), np.ones(episodes, dtype=bool)
    while running.any():
        obs = runner.tensor(runner.obs)
        with torch.no_grad():
            actions = policy.mode(obs) if greedy else policy.sample(obs, generator)
        runner.obs, rewards, terminated, truncated, _ = envs.step(runner.legal(actions))
        returns += running * rewards
        running &= ~(terminated | truncated)
    envs.close()
    return torch.as_tensor(returns)
