"""Which rewards explain the same behaviour: shaping, redistribution, the family behind a policy.

Three facts, each a function here.

    shaping          r + gamma E[Phi(s')] - Phi(s) has the optimal policies of r, soft ones too,
                     and Q' = Q - Phi (Ng, Harada and Russell 1999)
    redistribution   only the mean over s' of r(s, a, s') counts (Skalse et al. 2023)
    the family       r = lambda log pi + v - gamma E[v(s')], one reward for each v, are all those
                     whose soft-optimal policy is pi; v is its soft value (Cao, Cohen and Szpruch
                     2021)

The second and third are one statement: the family is the shaping class of lambda log pi.

Departure from the papers: terminal states. Nothing is paid there and their value is 0, so a
potential must be 0 there; otherwise reaching the end would be paid gamma Phi(end) extra. With a
horizon T the potential must be 0 at time T for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.layout import check_reward, check_temperature
from tutorlib.mdp import TabularMDP, expected_next_values


@dataclass(frozen=True)
class ShapingFit:
    """The potential that comes closest to turning one reward into another."""

    potential: Float[Tensor, " states"]  # 0 in terminal states
    distance: float  # largest reward that the potential leaves unexplained; 0: the same family


def check_potential(mdp: TabularMDP, potential: Tensor, name: str = "potential") -> None:
    """Raise InvalidArgumentError unless finite, one number per state, 0 where episodes end."""
    if tuple(potential.shape) != (mdp.n_states,):
        raise InvalidArgumentError(
            f"{name} has shape {tuple(potential.shape)}; expected ({mdp.n_states},), one number "
            "per state"
        )
    if potential.dtype != mdp.dtype or potential.device != mdp.device:
        raise InvalidArgumentError(
            f"{name} is {potential.dtype} on {potential.device}, the process {mdp.dtype} on "
            f"{mdp.device}; use {name}.to(mdp.probabilities)"
        )
    wrong = ~torch.isfinite(potential) | (mdp.terminal & (potential != 0))
    if bool(wrong.any()):
        state = int(wrong.nonzero()[0])
        raise InvalidArgumentError(
            f"{name} of state {mdp.state_names[state]!r} is {float(potential[state]):.6g}; "
            "expected a finite number, and 0 in terminal states (or ending is paid extra): use "
            f"{name}.masked_fill(mdp.terminal, 0.0)"
        )


def shaping_term(mdp: TabularMDP, potential: Float[Tensor, " states"]
                 ) -> Float[Tensor, "states actions"]:
    """Return F(s, a) = gamma E[Phi(s')] - Phi(s), 0 in terminal states (Ng et al. 1999).

    Raises InvalidArgumentError for a potential that is not 0 in terminal states.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[1.0, 0.0]]], [0.0, 0.0], discount=0.5)
    >>> shaping_term(mdp, mdp.reward.new_tensor([2.0, 6.0])).tolist()
    [[1.0], [-5.0]]
    """
    check_potential(mdp, potential)
    change = mdp.discount * expected_next_values(mdp, potential) - potential[:, None]
    return change.masked_fill(mdp.terminal[:, None], 0.0)


def shape_reward(mdp: TabularMDP, potential: Float[Tensor, " states"], horizon: int | None = None
                 ) -> Float[Tensor, "*time states actions"]:
    """Return the shaped reward r + F, whose optimal policies are those of r; Q' = Q - Phi.

    With ``horizon`` T the result is [T, states, actions]: the potential counts as 0 at time T, so
    the last step pays r - Phi(s). One table for all steps would leave gamma^T E[Phi(s_T)] behind,
    which depends on the policy. Raises InvalidArgumentError as ``shaping_term`` does.

    >>> mdp = TabularMDP.from_dense([[[1.0]]], [[3.0]], discount=0.5)
    >>> shape_reward(mdp, mdp.reward.new_tensor([2.0]), horizon=2).flatten().tolist()
    [2.0, 1.0]
    """
    shaped = mdp.reward + shaping_term(mdp, potential)
    if horizon is None:
        return shaped
    if not isinstance(horizon, int) or isinstance(horizon, bool) or horizon < 1:
        raise InvalidArgumentError(f"horizon is {horizon!r}; expected a whole number >= 1, or None")
    last = mdp.reward - potential[:, None]  # terminal states have potential 0 and reward 0
    return torch.stack([shaped] * (horizon - 1) + [last])


def redistribution(mdp: TabularMDP, table: Float[Tensor, "states actions next_states"]
                   ) -> Float[Tensor, "states actions next_states"]:
    """Return ``table`` minus its mean over s': added to r(s, a, s'), it changes no r(s, a).

    Where P(s' | s, a) = 0 it may hold anything (Skalse et al. 2023). Raises
    InvalidArgumentError for another shape, or numbers that are not finite.

    >>> mdp = TabularMDP.from_dense([[[0.5, 0.5]], [[0.0, 1.0]]], [0.0, 0.0])
    >>> redistribution(mdp, mdp.reward.new_tensor([[[4.0, 0.0]], [[7.0, 1.0]]])).tolist()
    [[[2.0, -2.0]], [[6.0, 0.0]]]
    """
    dense = mdp.transition_matrix
    if table.shape != dense.shape or not bool(torch.isfinite(table).all()):
        raise InvalidArgumentError(
            f"the table has shape {tuple(table.shape)}; expected {tuple(dense.shape)}, one finite "
            "number per state, action and next state"
        )
    return table - (dense * table).sum(-1, keepdim=True)


def reward_family(mdp: TabularMDP, policy: Float[Tensor, "states actions"],
                  values: Float[Tensor, " states"], temperature: float = 1.0
                  ) -> Float[Tensor, "states actions"]:
    """Return the reward with soft-optimal policy ``policy`` and soft values ``values``.

    r(s, a) = lambda log pi(a | s) + v(s) - gamma E[v(s')], 0 in terminal states (Cao et al.
    2021). ``policy`` is read outside terminal states only.

    Raises InvalidArgumentError for probabilities of 0: a soft-optimal policy has none, whatever
    the (finite) reward; and for ``values`` that are not 0 in terminal states.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)
    >>> even = mdp.reward.new_tensor([[0.5, 0.5]])
    >>> reward_family(mdp, even, mdp.reward.new_tensor([2.0])).round(decimals=4).tolist()
    [[0.3069, 0.3069]]
    """
    check_temperature(temperature)
    check_positive_policy(mdp, policy)
    check_potential(mdp, values, "values")
    log_policy = policy.log().masked_fill(mdp.terminal[:, None], 0.0)
    return temperature * log_policy - shaping_term(mdp, values)


def check_positive_policy(mdp: TabularMDP, policy: Tensor) -> None:
    """Raise InvalidArgumentError unless each row outside terminal states is positive, sums to 1."""
    check_reward(mdp, policy, "policy")
    alive = ~mdp.terminal
    sums_to_one = (policy.sum(-1) - 1).abs() <= (1e-8 if policy.dtype == torch.float64 else 1e-5)
    wrong = alive & ~(sums_to_one & (policy > 0).all(-1))
    if policy.ndim != 2 or bool(wrong.any()):
        state = int(wrong.nonzero()[0, -1]) if bool(wrong.any()) else 0
        raise InvalidArgumentError(
            f"policy in state {mdp.state_names[state]!r} is {policy[..., state, :].tolist()}; "
            "expected positive probabilities that sum to 1: an action that is never taken has log "
            "pi = -inf, and no finite reward at a temperature above 0 forbids it (estimate the "
            "policy with a small count for each action, or use optimality_margins)"
        )


def fit_shaping(mdp: TabularMDP, first: Float[Tensor, "states actions"],
                second: Float[Tensor, "states actions"]) -> ShapingFit:
    """Return the potential that best turns ``first`` into ``second``, in least squares.

    Distance 0 (to rounding) means one family: the same soft-optimal policy at every temperature.
    Raises InvalidArgumentError for rewards that do not fit the process.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)
    >>> fit = fit_shaping(mdp, mdp.reward, mdp.reward.new_tensor([[1.0, 2.0]]))
    >>> round(float(fit.potential), 6), round(fit.distance, 6)
    (-3.0, 0.5)
    """
    check_reward(mdp, first, "the first reward")
    check_reward(mdp, second, "the second reward")
    alive = ~mdp.terminal
    change = (second - first)[alive].flatten()
    matrix = -shaping_matrix(mdp)  # potential -> gamma E[Phi'] - Phi
    solution = torch.linalg.lstsq(matrix, change[:, None]).solution[:, 0]
    potential = torch.zeros_like(mdp.initial_state_dist)
    potential[alive] = solution
    return ShapingFit(potential, float((matrix @ solution - change).abs().max()))


def shaping_matrix(mdp: TabularMDP) -> Float[Tensor, "pairs live"]:
    """Return E - gamma P, which takes v to v(s) - gamma E[v(s') | s, a], for live states only.

    Rows are (state, action) pairs of the states that are not terminal, columns those states. Its
    columns are independent: |S| of them, one for each dimension of the family of a policy.

    >>> shaping_matrix(TabularMDP.from_dense([[[1.0], [1.0]]], [0.0], discount=0.5)).tolist()
    [[0.5], [0.5]]
    """
    alive = ~mdp.terminal
    here = torch.eye(mdp.n_states, dtype=mdp.dtype, device=mdp.device)[:, None, :]
    matrix = here - mdp.discount * mdp.transition_matrix
    return matrix[alive][:, :, alive].flatten(0, 1)
