"""What a given policy is worth and where it goes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.mdp import checks, linear
from tutorlib.mdp.backups import expected_next_values, next_distribution
from tutorlib.mdp.tabular import TabularMDP

DENSE_STATES = 1_000  # up to here linear systems are solved by LU, beyond it without a matrix


def policy_evaluation(
    mdp: TabularMDP, policy: Float[Tensor, "states actions"]
) -> Float[Tensor, " states"]:
    """Return the value of a policy: V with V = r_pi + gamma P_pi V (Puterman 1994, thm 6.1.1).

    r_pi(s) = sum_a pi(a|s) r(s, a) and P_pi(s, s') = sum_a pi(a|s) P(s'|s, a). Up to 1,000 states
    the system is solved by LU and differentiable; beyond, by BiCGSTAB to rounding, O(transitions)
    per iteration (see ``linear``).

    Raises InvalidArgumentError for a table that is no policy; NotConvergedError when the discount
    is 1 and the policy never ends from some state.

    >>> mdp = TabularMDP.from_dense([[[0.5, 0.5]], [[0.0, 1.0]]], [1.0, 0.0], discount=0.5)
    >>> [round(v, 6) for v in policy_evaluation(mdp, torch.ones_like(mdp.reward)).tolist()]
    [1.333333, 0.0]
    """
    policy = checks.check_policy(mdp, policy)
    return discounted_sum(mdp, policy, (policy * mdp.reward).sum(-1))


def discounted_sum(
    mdp: TabularMDP, policy: Float[Tensor, "states actions"], income: Float[Tensor, " states"]
) -> Float[Tensor, " states"]:
    """Return E[sum_t gamma^t income(s_t)] from every state, with 0 in terminal states.

    The common core of hard and soft policy evaluation. Raises as ``policy_evaluation`` does.

    >>> mdp = TabularMDP.from_dense([[[1.0]]], [0.0], discount=0.5)
    >>> discounted_sum(mdp, torch.ones_like(mdp.reward), mdp.reward.new_tensor([3.0])).tolist()
    [6.0]
    """
    checks.check_discounted(mdp, "the value of a policy")
    if mdp.discount == 1:
        _check_ends(mdp, policy)
    income = income.masked_fill(mdp.terminal, 0.0)
    if mdp.n_states <= DENSE_STATES:
        alive = (~mdp.terminal).to(mdp.dtype)
        step = mdp.discount * alive[:, None] * state_transitions(mdp, policy)
        return _solve_dense(step, income)
    _refuse_gradient(income, policy)
    successors, weights, share = _departures(mdp, policy)
    return linear.solve_iteratively(
        lambda values: values.index_select(0, successors).view_as(weights).mul_(weights).sum(0),
        income / share,
    )


def state_transitions(
    mdp: TabularMDP, policy: Float[Tensor, "states actions"]
) -> Float[Tensor, "states next_states"]:
    """Return the dense P_pi(s, s') = sum_a pi(a|s) P(s'|s, a): for few states only.

    >>> mdp = TabularMDP.from_dense([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0]] * 2], [0.0, 0.0])
    >>> state_transitions(mdp, torch.full_like(mdp.reward, 0.5)).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    weights = (policy[..., None] * mdp.probabilities).flatten(1)
    dense = weights.new_zeros(mdp.n_states, mdp.n_states)
    return dense.scatter_add(1, mdp.successors.flatten(1), weights)


def _departures(mdp: TabularMDP, policy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where a policy goes when it leaves a state: flat successors and their weights.

    The weight of s -> s' is gamma P_pi(s, s') / share(s), share(s) = 1 - gamma P_pi(s, s). Waiting
    is summed in closed form: a terminal state that is occupied for 1 / (1 - gamma) steps would
    otherwise spoil the conditioning. Only moves that the policy makes are kept, so a deterministic
    policy costs a fraction. Weights are [branches, states].
    """
    weights = mdp.discount * (policy[..., None] * mdp.probabilities).flatten(1)
    own = torch.arange(mdp.n_states, device=mdp.device)[:, None] == mdp.successors.flatten(1)
    share = 1 - (weights * own).sum(1)
    share = share.masked_fill(mdp.terminal & (share <= 0), 1.0)  # discount 1: nothing follows
    weights = weights.masked_fill(own, 0.0) / share[:, None]
    kept = weights.topk(max(1, int((weights > 0).sum(1).max())), dim=1)
    successors = mdp.successors.flatten(1).gather(1, kept.indices)
    return successors.T.reshape(-1), kept.values.T.contiguous(), share


def _solve_dense(step: Tensor, right: Tensor) -> Tensor:
    """Solve x - step x = right by LU."""
    eye = torch.eye(len(step), dtype=step.dtype, device=step.device)
    return torch.linalg.solve(eye - step, right)


def _refuse_gradient(*tensors: Tensor) -> None:
    """Raise InvalidArgumentError rather than return numbers without the gradient asked for."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        raise InvalidArgumentError(
            f"beyond {DENSE_STATES} states this is solved iteratively, without gradients; use "
            "soft_backward or finite_horizon_plan (differentiable), torch.no_grad(), or .detach()"
        )


def _check_ends(mdp: TabularMDP, policy: Tensor) -> None:
    """Raise NotConvergedError unless the policy reaches a terminal state from every state."""
    ends = mdp.terminal
    for _ in range(mdp.n_states):
        following = expected_next_values(mdp, ends.to(mdp.dtype))
        reached = ends | ((policy * following).sum(-1) > 0)
        if bool((reached == ends).all()):
            break
        ends = reached
    if index := checks.first_bad(~ends):
        raise NotConvergedError(
            f"from state {mdp.state_names[index[0]]!r} the policy never reaches a terminal state, "
            "so with discount 1 its value is undefined; use a discount below 1 or a horizon"
        )


def return_of(mdp: TabularMDP, policy: Float[Tensor, "states actions"]) -> float:
    """Return J = E[sum_t gamma^t r_t] of a policy, from the initial state distribution.

    >>> mdp = TabularMDP.from_dense([[[1.0]]], [3.0], discount=0.5)
    >>> return_of(mdp, torch.ones_like(mdp.reward))
    6.0
    """
    return float(mdp.initial_state_dist @ policy_evaluation(mdp, policy))


def occupancy_measure(
    mdp: TabularMDP, policy: Float[Tensor, "states actions"]
) -> Float[Tensor, "states actions"]:
    """Return rho(s, a) = sum_t gamma^t P(s_t = s, a_t = a), which sums to 1 / (1 - gamma).

    Solves the flow d = mu + gamma P_pi^T d, then rho(s, a) = d(s) pi(a|s) (Puterman 1994, section
    6.9). A terminal state is occupied for ever after; it pays nothing, so J = sum rho r. Up to
    1,000 states the solution is differentiable.

    Raises InvalidArgumentError for a table that is no policy, or for discount 1.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [0.0, 0.0], [1.0, 0.0])
    >>> occupancy_measure(mdp, torch.ones_like(mdp.reward)).round(decimals=6)[:, 0].tolist()
    [1.0, 19.0]
    """
    policy = checks.check_policy(mdp, policy)
    if mdp.discount == 1:
        raise InvalidArgumentError(
            "with discount 1 the occupancy measure is infinite; use a discount below 1, or "
            "state_distributions over a horizon"
        )
    if mdp.n_states <= DENSE_STATES:
        flow = mdp.discount * state_transitions(mdp, policy).T
        visits = _solve_dense(flow, mdp.initial_state_dist)
    else:
        _refuse_gradient(policy)
        successors, weights, share = _departures(mdp, policy)
        entries = linear.solve_iteratively(
            lambda mass: torch.zeros_like(mass).scatter_add(
                0, successors, (mass * weights).view(-1)
            ),
            mdp.initial_state_dist,
        )
        visits = entries / share
    return visits.clamp(min=0)[:, None] * policy  # no solver promises the sign of a tiny visit


def state_distributions(
    mdp: TabularMDP, policy: Float[Tensor, "*time states actions"], horizon: int | None = None
) -> Float[Tensor, "steps_plus_one states"]:
    """Return D[t, s] = P(s_t = s) for t = 0 ... T, forward from the initial distribution.

    ``policy`` is one table [states, actions], or one per step [T, states, actions];
    ``horizon=None`` takes the process's own. D[t + 1] = sum_{s, a} D[t, s] pi_t(a|s) P(.|s, a)
    (Ziebart 2010, algorithm 9.3). Nothing is discounted.

    Raises InvalidArgumentError without a horizon or for a table that is no policy.

    >>> mdp = TabularMDP.from_dense([[[0.5, 0.5]], [[0.0, 1.0]]], [0.0, 0.0], [1.0, 0.0])
    >>> state_distributions(mdp, torch.ones_like(mdp.reward), horizon=2).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]]
    """
    steps = checks.resolve_horizon(mdp, horizon)
    policy = checks.check_policy(mdp, policy, horizon=steps)
    here = mdp.initial_state_dist
    visited = here.new_empty(steps + 1, mdp.n_states)
    visited[0] = here
    for t in range(steps):
        here = next_distribution(mdp, here, policy[t] if policy.ndim == 3 else policy)
        visited[t + 1] = here
    return visited
