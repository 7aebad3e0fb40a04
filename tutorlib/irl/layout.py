"""The branches of a process laid out for repeated passes, and rewards brought to their shape.

A pass multiplies by the discounted transitions once per time step. With states innermost, every
operation of a step runs along long contiguous rows, and log-sum-exp over actions adds whole rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import TabularMDP


@dataclass(frozen=True, eq=False)
class Layout:
    """Discounted transitions of a process; ``expect`` and ``flow`` are each other's transpose."""

    successors: Int[Tensor, " transitions"]  # branches, actions, states, flattened in that order
    weights: Float[Tensor, "branches actions states"]  # discount * P, 0 from and to terminal states
    n_states: int
    n_actions: int

    @classmethod
    def of(cls, mdp: TabularMDP) -> Layout:
        """Lay out the transitions of ``mdp``; none leads from or to a terminal state."""
        weights = mdp.discount * mdp.probabilities.permute(2, 1, 0)
        successors = mdp.successors.permute(2, 1, 0)
        ended = mdp.terminal | mdp.terminal[successors]
        weights = weights.masked_fill(ended, 0.0).contiguous()
        return cls(successors.reshape(-1), weights, mdp.n_states, mdp.n_actions)

    def expect(self, values: Float[Tensor, "*batch states"]
               ) -> Float[Tensor, "*batch actions states"]:
        """Return gamma E[V(s') | s, a]: one step backward in time."""
        following = values.index_select(-1, self.successors).unflatten(-1, self.weights.shape)
        return following.mul_(self.weights).sum(-3)  # in place: the largest array, made only once

    def flow(self, visits: Float[Tensor, "*batch actions states"]
             ) -> Float[Tensor, "*batch states"]:
        """Return gamma times the visits one step later: one step forward in time."""
        moving = (self.weights * visits.unsqueeze(-3)).flatten(-3)
        arrived = moving.new_zeros(*moving.shape[:-1], self.n_states)
        return arrived.index_add_(-1, self.successors, moving)

    def matrix(self, policy: Float[Tensor, "*batch actions states"]
               ) -> Float[Tensor, "*batch states next_states"]:
        """Return the dense gamma P_pi."""
        moving = (self.weights * policy.unsqueeze(-3)).flatten(-3)
        size = self.n_states
        rows = torch.arange(size, device=moving.device).repeat(moving.shape[-1] // size)
        dense = moving.new_zeros(*moving.shape[:-1], size * size)
        dense.index_add_(-1, rows * size + self.successors, moving)
        return dense.unflatten(-1, (size, size))


def resolve_steps(mdp: TabularMDP, horizon: int | None) -> int | None:
    """Return ``horizon``, or the process's own; None means endless, which needs a discount < 1."""
    steps = mdp.horizon if horizon is None else horizon
    if steps is None and mdp.discount >= 1:
        raise InvalidArgumentError(
            "an endless process needs a discount below 1, or its entropy has no finite sum; give "
            "a horizon, or use mdp.replace(discount=...)"
        )
    whole = isinstance(steps, int) and not isinstance(steps, bool)
    if steps is not None and not (whole and steps >= 1):
        raise InvalidArgumentError(f"horizon is {steps!r}; expected a whole number >= 1, or None")
    return steps


def check_reward(mdp: TabularMDP, reward: Tensor, name: str = "reward") -> None:
    """Raise InvalidArgumentError unless ``reward`` is finite and [*batch, states, actions]."""
    table = (mdp.n_states, mdp.n_actions)
    if tuple(reward.shape[-2:]) != table:
        raise InvalidArgumentError(
            f"{name} has shape {tuple(reward.shape)}; expected (..., {table[0]}, {table[1]}), "
            "one number per state and action, with any batch axes in front"
        )
    if reward.dtype != mdp.dtype or reward.device != mdp.device:
        raise InvalidArgumentError(
            f"{name} is {reward.dtype} on {reward.device}, the process {mdp.dtype} on "
            f"{mdp.device}; use {name}.to(mdp.probabilities)"
        )
    if math.isfinite(float(reward.detach().sum())):  # one quick look; a longer one if in doubt
        return
    bad = ~torch.isfinite(reward)
    if bool(bad.any()):
        *_, state, action = bad.nonzero()[0].tolist()
        raise InvalidArgumentError(
            f"{name} in state {mdp.state_names[state]!r}, action {mdp.action_names[action]!r} is "
            "not finite; look for features with NaN or for a learning rate that is too large"
        )


def check_temperature(temperature: float) -> None:
    """Raise InvalidArgumentError unless ``temperature`` is a positive, finite number."""
    if not (temperature > 0 and math.isfinite(temperature)):
        raise InvalidArgumentError(
            f"temperature is {temperature!r}; expected a finite number above 0"
        )
