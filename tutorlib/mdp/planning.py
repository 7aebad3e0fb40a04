"""Plan when the reward is known: value iteration, policy iteration, backward induction.

The pieces they are made of (``backups``) and the evaluation of a given policy (``evaluation``) are
exported here too. Values of terminal states are exactly 0. The infinite-horizon planners ignore
``mdp.horizon``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import NotConvergedError
from tutorlib.mdp import checks
from tutorlib.mdp.backups import (
    bellman_backup,
    expected_next_values,
    greedy_policy,
    next_distribution,
    q_values,
    uniform_policy,
)
from tutorlib.mdp.evaluation import (
    occupancy_measure,
    policy_evaluation,
    return_of,
    state_distributions,
)
from tutorlib.mdp.tabular import TabularMDP

__all__ = [
    "FinitePlan",
    "Plan",
    "bellman_backup",
    "expected_next_values",
    "finite_horizon_plan",
    "greedy_policy",
    "next_distribution",
    "occupancy_measure",
    "policy_evaluation",
    "policy_iteration",
    "q_values",
    "return_of",
    "state_distributions",
    "uniform_policy",
    "value_iteration",
]


@dataclass(frozen=True, eq=False)
class Plan:
    """An optimal plan for an endless process, and how it was reached."""

    values: Float[Tensor, " states"]  # V(s), 0 in terminal states
    q_values: Float[Tensor, "states actions"]  # Q(s, a)
    policy: Float[Tensor, "states actions"]  # one-hot rows
    iterations: int
    residuals: tuple[float, ...]  # largest change of V in each iteration


class FinitePlan(NamedTuple):
    """A plan for a fixed number T of decisions; unpacks as ``values, q_values, policy``."""

    values: Tensor  # V[t, s], t = 0 ... T, with V[T] = 0
    q_values: Tensor | None  # Q[t, s, a], t = 0 ... T - 1; None if not kept
    policy: Tensor  # pi[t, s, a], t = 0 ... T - 1


def value_iteration(
    mdp: TabularMDP, tolerance: float = 1e-10, max_iterations: int = 100_000
) -> Plan:
    """Return an optimal plan by repeating the Bellman backup from V = 0.

    Stops when the change d of a backup has gamma / (1 - gamma) d <= ``tolerance``; then no value is
    further than ``tolerance`` from the optimum, and the greedy policy loses at most
    2 gamma ``tolerance`` / (1 - gamma) anywhere (Puterman 1994, thm 6.3.1; Singh and Yee 1994). It
    stops at rounding too: a change below 4 eps max|V| always ends it. With discount 1 (terminal
    states needed) the rule is d <= ``tolerance`` and bounds nothing.

    Raises InvalidArgumentError for discount 1 without terminal states, NotConvergedError after
    ``max_iterations``.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[1.0, 3.0]], discount=0.5)
    >>> plan = value_iteration(mdp)
    >>> round(float(plan.values), 9), plan.policy.tolist()
    (6.0, [[0.0, 1.0]])
    """
    checks.check_discounted(mdp, "value_iteration")
    values, q, residuals = fixed_point(mdp, lambda q: q.amax(-1), tolerance, max_iterations)
    return Plan(values, q, greedy_policy(q), len(residuals), residuals)


def fixed_point(
    mdp: TabularMDP, maximum: Callable[[Tensor], Tensor], tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """Repeat V <- maximum(Q(V)) to the stopping rule of ``value_iteration``.

    Returns V, the Q that it is the ``maximum`` of, and the changes. Raises NotConvergedError.

    >>> mdp = TabularMDP.from_dense([[[1.0]]], [[1.0]], discount=0.5)
    >>> fixed_point(mdp, lambda q: q.mean(-1), 1e-6, 100)[0].round(decimals=5).tolist()
    [2.0]
    """
    checks.check_stopping(tolerance, max_iterations)
    gamma = mdp.discount
    goal = tolerance * (1 - gamma) / gamma if 0 < gamma < 1 else tolerance
    rounding = 4 * torch.finfo(mdp.dtype).eps
    values, residuals = torch.zeros_like(mdp.initial_state_dist), []
    for _ in range(max_iterations):
        q = q_values(mdp, values)
        updated = maximum(q).masked_fill(mdp.terminal, 0.0)
        sizes = torch.stack([(updated - values).abs().max(), updated.abs().max()])
        change, size = sizes.tolist()  # the one synchronisation with a GPU per iteration
        values = updated
        residuals.append(change)
        if change <= max(goal, rounding * size):
            return values, q, tuple(residuals)
    raise NotConvergedError(
        f"values still changed by {change:.3g} in backup {max_iterations} (goal {goal:.3g}); allow "
        "more max_iterations or a larger tolerance, or lower the discount (with discount 1, values "
        "are finite only if episodes end)"
    )


def policy_iteration(
    mdp: TabularMDP, tolerance: float = 1e-10, max_iterations: int = 1_000
) -> Plan:
    """Return an optimal plan by evaluating a policy exactly and improving it (Howard 1960).

    Starts from the uniform policy. An action is replaced only where another is better by more than
    ``tolerance`` (or by rounding), so that ties do not cycle; the values are then within
    ``tolerance`` / (1 - gamma) of the optimum. ``residuals`` holds the largest gain in each round.
    A round costs a linear solve: from some 10,000 states on, ``value_iteration`` is faster.

    Raises InvalidArgumentError or NotConvergedError as ``value_iteration`` and
    ``policy_evaluation`` do.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[1.0, 3.0]], discount=0.5)
    >>> plan = policy_iteration(mdp)
    >>> plan.values.tolist(), plan.iterations
    ([6.0], 2)
    """
    checks.check_stopping(tolerance, max_iterations)
    policy, residuals = uniform_policy(mdp), []
    rounding = 64 * torch.finfo(mdp.dtype).eps
    for _ in range(max_iterations):
        values = policy_evaluation(mdp, policy)
        q = q_values(mdp, values)
        gain = (q.amax(-1) - (policy * q).sum(-1)).masked_fill(mdp.terminal, 0.0)
        better = gain > (rounding * q.abs().amax(-1)).clamp(min=tolerance)
        residuals.append(float(gain.max()))
        if not bool(better.any()):
            return Plan(values, q, greedy_policy(q), len(residuals), tuple(residuals))
        policy = torch.where(better[:, None], greedy_policy(q), policy)
    raise NotConvergedError(
        f"policy iteration still gained {residuals[-1]:.3g} in round {max_iterations}; allow more "
        "max_iterations or a larger tolerance"
    )


def finite_horizon_plan(
    mdp: TabularMDP, horizon: int | None = None, keep_q: bool = True
) -> FinitePlan:
    """Return the optimal plan for a fixed number of decisions, by backward induction.

    V[T] = 0, Q[t] = r + gamma E[V[t+1]], V[t] = max_a Q[t] (Puterman 1994, section 4.5); index t
    counts decisions from the start. ``horizon=None`` takes the process's own. ``keep_q=False``
    returns None for Q and saves its memory, horizon * states * actions numbers.

    Raises InvalidArgumentError without a horizon.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[1.0, 3.0]], discount=0.5)
    >>> values, q, policy = finite_horizon_plan(mdp, horizon=2)
    >>> values[:, 0].tolist(), policy.shape
    ([4.5, 3.0, 0.0], torch.Size([2, 1, 2]))
    """
    return backward_induction(mdp, horizon, keep_q, lambda q: (q.amax(-1), greedy_policy(q)))


def backward_induction(
    mdp: TabularMDP,
    horizon: int | None,
    keep_q: bool,
    backup: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> FinitePlan:
    """Return the plan of V[t], pi[t] = backup(Q[t]), back from V[T] = 0.

    The common core of the hard and the soft finite-horizon planner; differentiable in the reward.

    >>> mdp = TabularMDP.from_dense([[[1.0]]], [[1.0]], discount=0.5)
    >>> backward_induction(mdp, 2, True, lambda q: (q.mean(-1), q)).values[:, 0].tolist()
    [1.5, 1.0, 0.0]
    """
    steps = checks.resolve_horizon(mdp, horizon)
    here = torch.zeros_like(mdp.initial_state_dist)
    values = here.new_zeros(steps + 1, mdp.n_states)
    policy = here.new_empty(steps, mdp.n_states, mdp.n_actions)
    kept = torch.empty_like(policy) if keep_q else None
    for t in reversed(range(steps)):
        q = q_values(mdp, here)
        here, policy[t] = backup(q)
        here = here.masked_fill(mdp.terminal, 0.0)
        values[t] = here
        if kept is not None:
            kept[t] = q
    return FinitePlan(values, kept, policy)
