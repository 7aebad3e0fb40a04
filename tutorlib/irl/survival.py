"""Survival bias: what an imitator learns from the length of an episode alone.

Where episodes can end early, a reward that is never negative pays for every further step, whoever
is imitated; one that is never positive pays for ending it (Kostrikov et al. 2019). So a
demonstrator who knows nothing seems to be imitated into mastery, and a master into giving up. Each
run here imitates twice at most: in the plain task, and under the guard of a fixed horizon.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutorlib.control import ControlTask, IgnoresFlag, PPOConfig, evaluate, record_demonstrations
from tutorlib.irl.adversarial import AdversarialConfig, train_adversarial

HORIZON, WAIT = 500, 8  # of the guard: CartPole's own time limit, and steps of waiting


@dataclass(frozen=True)
class SurvivalRun:
    """One imitation of one demonstrator, and whether it resembles what it imitated."""

    method: str  # how the policy was paid: a key of ``divergences.REWARDS``
    guarded: bool  # by a fixed horizon; False: an episode ends when it ends
    seed: int
    demonstrator_return: float  # mean true return of the demonstrations
    imitator_return: float  # mean true return of the trained policy, sampling its actions
    mean_reward: float  # what the policy was paid per step in the last iteration


class PushesOneWay:
    """A demonstrator that looks at nothing and always pushes the cart to the left."""

    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """Return action 0 for each observation."""
        return self.mode(obs)

    def mode(self, obs: Tensor) -> Tensor:
        """Return action 0 for each observation."""
        return torch.zeros(len(obs), dtype=torch.long, device=obs.device)


class TossesACoin(PushesOneWay):
    """A demonstrator that looks at nothing and pushes left or right at random."""

    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """Return a random action for each observation."""
        return torch.randint(2, (len(obs),), generator=generator, device=obs.device)


class BalancesByRule(PushesOneWay):
    """A demonstrator that keeps the pole up for 500 steps: it pushes towards where the pole falls.

    The rule adds position, velocity, angle and angular velocity with fixed weights (found by
    trying); no training is needed.
    """

    WEIGHTS = (0.1, 0.2, 1.0, 1.0)

    def mode(self, obs: Tensor) -> Tensor:
        """Return 1 (push right) where the weighted sum is positive."""
        return (obs @ obs.new_tensor(self.WEIGHTS) > 0).long()


def cartpole(guarded: bool) -> ControlTask:
    """Return CartPole-v1, with a fixed horizon or as it is.

    >>> cartpole(guarded=False)
    ControlTask(env_id='CartPole-v1', fixed_horizon=None, absorbing_steps=None)
    """
    return ControlTask("CartPole-v1", HORIZON, WAIT) if guarded else ControlTask("CartPole-v1")


def survival_run(demonstrator, method: str = "gail", guarded: bool = False, seed: int = 0,
                 episodes: int = 20, ppo: PPOConfig | None = None) -> SurvivalRun:
    """Record a demonstrator in CartPole, imitate it, and compare the two true returns.

    ``demonstrator`` is a policy for the plain task's four observations. The guard appends a flag to
    them; the demonstrator does not see it. ``ppo`` None: ``cartpole_ppo(method)``. Raises
    InvalidArgumentError as ``train_adversarial``.
    """
    task = cartpole(guarded)
    expert = IgnoresFlag(demonstrator) if guarded else demonstrator
    demos = record_demonstrations(task, expert, episodes, 1_000 + seed, greedy=False)
    config = AdversarialConfig(method=method, ppo=ppo)
    result = train_adversarial(task, demos, config, seed)
    earned = evaluate(task, result.policy, 50, seed=2_000 + seed, greedy=False)
    return SurvivalRun(method, guarded, seed, float(demos.returns().mean()),
                       float(earned.mean()), result.history[-1]["mean_reward"])
