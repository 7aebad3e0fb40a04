"""Demonstrators that can be asked: hand-written controllers with exact answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.control import ControlDemonstrations
from tutorlib.errors import InvalidArgumentError


@dataclass(frozen=True)
class BangBang:
    """A linear controller with two actions: ``high`` where weights . obs >= 0, else ``low``.

    ``BangBang((0.1, 0.3, 3.0, 1.0), low=0, high=1)`` balances CartPole: cart position and speed,
    pole angle and angular speed. ``BangBang((0.0, 1.0), low=0, high=2)`` drives MountainCar out of
    its valley: it pushes the way the car moves.

    >>> BangBang((0.0, 1.0), low=0, high=2).mode(torch.tensor([[-0.5, 0.01], [-0.5, -0.01]]))
    tensor([2, 0])
    """

    weights: tuple[float, ...]  # one for each number of an observation
    low: int  # action below zero
    high: int  # action from zero on

    def mode(self, obs: Float[Tensor, "*batch inputs"]) -> Int[Tensor, "*batch"]:
        """Return the action for each observation."""
        if obs.shape[-1] != len(self.weights):
            raise InvalidArgumentError(
                f"an observation holds {obs.shape[-1]} numbers, the controller has "
                f"{len(self.weights)} weights; give one weight for each"
            )
        score = obs @ obs.new_tensor(self.weights)
        if bool(torch.isnan(score).any()):
            raise InvalidArgumentError(
                "an observation holds NaN; expected numbers: look for what made it")
        return torch.where(score >= 0, self.high, self.low)

    def sample(self, obs: Float[Tensor, "*batch inputs"], generator: torch.Generator
               ) -> Int[Tensor, "*batch"]:
        """Return the same action: nothing is left to chance."""
        return self.mode(obs)


CARTPOLE_EXPERT = BangBang((0.1, 0.3, 3.0, 1.0), low=0, high=1)
MOUNTAIN_CAR_EXPERT = BangBang((0.0, 1.0), low=0, high=2)


def one_hot_actions(actions: Int[Tensor, "*batch"], n_actions: int
                    ) -> Float[Tensor, "*batch actions"]:
    """Return actions as rows with a single 1; -1, for no action yet, as zeros.

    >>> one_hot_actions(torch.tensor([1, -1]), 2).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    wrong = (actions < -1) | (actions >= n_actions)
    if bool(wrong.any()):
        raise InvalidArgumentError(
            f"actions run from {int(actions.min())} to {int(actions.max())}; expected 0 to "
            f"{n_actions - 1}, or -1 for none"
        )
    rows = torch.nn.functional.one_hot(actions.clamp(min=0), n_actions)
    return (rows * (actions >= 0)[..., None]).float()


def with_last_action(demonstrations: ControlDemonstrations, n_actions: int
                     ) -> ControlDemonstrations:
    """Return the episodes with the action of the step before appended to each observation.

    It comes as a one-hot row of ``n_actions`` numbers, zeros at the first step.

    >>> from tutorlib.control import demonstrations_from_episodes
    >>> episode = ([[5.0], [6.0], [7.0]], [1, 0], [0.0, 0.0], True)
    >>> with_last_action(demonstrations_from_episodes([episode]), 2).obs[0].tolist()
    [[5.0, 0.0, 0.0], [6.0, 0.0, 1.0], [7.0, 1.0, 0.0]]
    """
    actions = demonstrations.actions.masked_fill(~demonstrations.mask, -1)
    before = torch.cat([torch.full_like(actions[:, :1], -1), actions], 1)
    obs = torch.cat([demonstrations.obs, one_hot_actions(before, n_actions)], -1)
    return replace(demonstrations, obs=obs)


class SeesLastAction:
    """Runs a policy whose observations end in its own last action, in environments side by side."""

    def __init__(self, policy, n_actions: int):
        """Start without a last action; make a new one for each set of fresh episodes."""
        self.policy, self.n_actions, self.last = policy, n_actions, None

    def mode(self, obs: Float[Tensor, "batch inputs"]) -> Int[Tensor, " batch"]:
        """Return the likeliest action, and remember it."""
        if self.last is None:
            self.last = torch.full((len(obs),), -1, device=obs.device)
        if len(self.last) != len(obs):
            raise InvalidArgumentError(
                f"{len(obs)} observations, but the step before had {len(self.last)}; make a new "
                "SeesLastAction for each set of fresh episodes"
            )
        seen = torch.cat([obs, one_hot_actions(self.last, self.n_actions)], -1)
        self.last = self.policy.mode(seen)
        return self.last


