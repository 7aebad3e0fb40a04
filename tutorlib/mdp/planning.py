"""Plan when the reward is known: Bellman backups, value and policy iteration, occupancies.

Everything works on the sparse branches of a ``TabularMDP``: one backup costs
O(states * actions * branches). Values of terminal states are exactly 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.mdp import checks
from tutorlib.mdp.tabular import TabularMDP

DENSE_STATES = 2_000  # up to here linear systems are solved directly


@dataclass(frozen=True)
class Plan:
    """An optimal plan and how it was reached."""

    values: Float[Tensor, " states"]
    q_values: Float[Tensor, "states actions"]
    policy: Float[Tensor, "states actions"]  # one-hot rows
    iterations: int
    residuals: tuple[float, ...]  # max-norm change of the values in each iteration


def expected_next_values(mdp: TabularMDP, values: Float[Tensor, "*batch states"]
                         ) -> Float[Tensor, "*batch states actions"]:
    """Return E[V(s') | s, a] = sum_s' P(s' | s, a) V(s').

    >>> mdp = TabularMDP.from_dense([[[0.5, 0.5]], [[0.0, 1.0]]], [0.0, 0.0])
    >>> expected_next_values(mdp, torch.tensor([2.0, 4.0], dtype=torch.float64)).tolist()
    [[3.0], [4.0]]
    """
    checks.check_values(mdp, values)
    shape = (*values.shape[:-1], mdp.n_branches, mdp.n_states * mdp.n_actions)
    following = values.index_select(-1, mdp.flat_successors).view(shape)
    mean = (mdp.flat_probabilities * following).sum(-2)
    return mean.view(*values.shape[:-1], mdp.n_states, mdp.n_actions)


def q_values(mdp: TabularMDP, values: Float[Tensor, "*batch states"]
             ) -> Float[Tensor, "*batch states actions"]:
    """Return Q(s, a) = r(s, a) + gamma E[V(s')] (Sutton and Barto 2018, eq. 4.6)."""
    return mdp.reward + mdp.discount * expected_next_values(mdp, values)


def bellman_backup(mdp: TabularMDP, values: Float[Tensor, "*batch states"]
                   ) -> Float[Tensor, "*batch states"]:
    """Return max_a Q(s, a), 0 in terminal states (Bellman 1957; Sutton and Barto 2018, eq. 4.10)."""
    return q_values(mdp, values).amax(-1).masked_fill(mdp.terminal, 0.0)


def greedy_policy(q: Float[Tensor, "*batch actions"]) -> Float[Tensor, "*batch actions"]:
    """Return one-hot rows at the largest Q; ties go to the first action.

    >>> greedy_policy(torch.tensor([[1.0, 3.0], [2.0, 2.0]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return torch.nn.functional.one_hot(q.argmax(-1), q.shape[-1]).to(q.dtype)


def uniform_policy(mdp: TabularMDP) -> Float[Tensor, "states actions"]:
    """Return the policy that takes every action equally often."""
    return torch.full_like(mdp.reward, 1 / mdp.n_actions)


def value_iteration(mdp: TabularMDP, tolerance: float = 1e-10,
                    max_iterations: int = 100_000) -> Plan:
    """Apply the Bellman backup until its change falls below ``tolerance``.

    The returned values are then within ``tolerance * gamma / (1 - gamma)`` of the optimum in the
    maximum norm (Puterman 1994, theorem 6.3.1). Raises NotConvergedError at ``max_iterations``.
    """
    checks.check_discounted(mdp, "value_iteration")
    values = mdp.reward.new_zeros(mdp.n_states)
    residuals = []
    for _ in range(max_iterations):
        updated = bellman_backup(mdp, values)
        residuals.append(float((updated - values).abs().max()))
        values = updated
        if residuals[-1] <= tolerance:
            return _plan(mdp, values, residuals)
    raise NotConvergedError(
        f"value iteration still changed by {residuals[-1]:.3g} after {max_iterations} backups "
        f"(tolerance {tolerance:.3g}); allow more iterations or a larger tolerance")


def _plan(mdp: TabularMDP, values: Tensor, residuals: list[float]) -> Plan:
    """Return the plan that is greedy for ``values``."""
    q = q_values(mdp, values)
    return Plan(values, q, greedy_policy(q), len(residuals), tuple(residuals))


def policy_iteration(mdp: TabularMDP, max_iterations: int = 1_000) -> Plan:
    """Evaluate and improve until the policy stays (Howard 1960; Sutton and Barto 2018, sec. 4.3).

    An action is replaced only when another is better by more than rounding, so that ties cannot
    cycle.
    """
    checks.check_discounted(mdp, "policy_iteration")
    policy, values, residuals = uniform_policy(mdp), None, []
    for _ in range(max_iterations):
        former, values = values, policy_evaluation(mdp, policy)
        residuals.append(float((values - former).abs().max()) if former is not None else
                         float(values.abs().max()))
        q = q_values(mdp, values)
        gain = q.amax(-1) - (policy * q).sum(-1)
        stay = (gain <= 1e-12 * (1 + q.abs().amax(-1))) & (policy.amax(-1) == 1)
        improved = torch.where(stay[:, None], policy, greedy_policy(q))
        if bool((improved == policy).all()):
            return Plan(values, q, policy, len(residuals), tuple(residuals))
        policy = improved
    raise NotConvergedError(f"policy iteration did not settle in {max_iterations} rounds")


def policy_evaluation(mdp: TabularMDP, policy: Float[Tensor, "states actions"],
                      tolerance: float = 1e-12) -> Float[Tensor, " states"]:
    """Return V of ``policy``: the solution of (I - gamma P_pi) V = r_pi.

    Solved directly up to 2,000 states, by fixed-point iteration to ``tolerance`` above. A policy
    that never reaches a terminal state has no value at discount 1: NotConvergedError.
    """
    checks.check_policy(mdp, policy)
    checks.check_discounted(mdp, "policy_evaluation")
    reward = (policy * mdp.reward).sum(-1)
    if mdp.n_states <= DENSE_STATES:
        return _solve(_continuing(mdp, policy), reward)
    values = torch.zeros_like(reward)
    for _ in range(100_000):
        updated = (policy * q_values(mdp, values)).sum(-1).masked_fill(mdp.terminal, 0.0)
        change = float((updated - values).abs().max())
        values = updated
        if change <= tolerance * max(1.0, float(values.abs().max())):
            return values
    raise NotConvergedError(f"policy evaluation still changes by {change:.3g}")


def _continuing(mdp: TabularMDP, policy: Tensor) -> Float[Tensor, "states next_states"]:
    """Return gamma P_pi among states that are not terminal."""
    alive = (~mdp.terminal).to(mdp.dtype)
    step = torch.einsum("sa,sat->st", policy, mdp.transition_matrix)
    return mdp.discount * step * alive[:, None] * alive[None, :]


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve (I - matrix) x = right, or say that there is no finite solution."""
    system = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device) - matrix
    solution, info = torch.linalg.solve_ex(system, right)
    if int(info) != 0 or not bool(torch.isfinite(solution).all()):
        raise NotConvergedError("the policy never reaches a terminal state and the discount is 1, "
                                "so its return has no finite value; use a discount below 1")
    return solution


def occupancy_measure(mdp: TabularMDP, policy: Float[Tensor, "states actions"]
                      ) -> Float[Tensor, "states actions"]:
    """Return rho(s, a) = sum_t gamma^t P(s_t = s, a_t = a), which sums to 1 / (1 - gamma).

    Terminal states are counted for ever, as the absorbing states that they are; they pay nothing.
    Solves the flow d = mu + gamma P_pi^T d (Puterman 1994, section 6.9). Needs discount < 1.
    """
    checks.check_policy(mdp, policy)
    if mdp.discount >= 1:
        raise InvalidArgumentError("an occupancy measure needs a discount below 1; with a horizon "
                                   "use state_distributions")
    if mdp.n_states <= DENSE_STATES:
        step = torch.einsum("sa,sat->st", policy, mdp.transition_matrix)
        visits = _solve(mdp.discount * step.T, mdp.initial_state_dist)
    else:
        visits = _sum_of_flow(mdp, policy)
    return visits[:, None] * policy


def _sum_of_flow(mdp: TabularMDP, policy: Tensor) -> Float[Tensor, " states"]:
    """Add up gamma^t times the state distribution until the rest is below rounding."""
    now, total = mdp.initial_state_dist, torch.zeros_like(mdp.initial_state_dist)
    weight = 1.0
    while weight > 1e-15:
        total = total + weight * now
        now, weight = next_distribution(mdp, now, policy), weight * mdp.discount
    return total


def return_of(mdp: TabularMDP, policy: Float[Tensor, "states actions"]) -> float:
    """Return J = E[sum_t gamma^t r_t] from the initial distribution."""
    return float(mdp.initial_state_dist @ policy_evaluation(mdp, policy))


def next_distribution(mdp: TabularMDP, states: Float[Tensor, " states"],
                      policy: Float[Tensor, "states actions"]) -> Float[Tensor, " states"]:
    """Return the distribution over states one step later."""
    flow = mdp.flat_probabilities * (states[:, None] * policy).reshape(-1)
    return torch.zeros_like(states).index_add_(0, mdp.flat_successors, flow.reshape(-1))


def finite_horizon_plan(mdp: TabularMDP, horizon: int | None = None):
    """Return V[t, s] (t = 0..T), Q[t, s, a] and one-hot pi[t, s, a] by backward induction.

    Step t counts from the start: V[T] = 0, Q[t] = r + gamma E[V[t + 1]].
    """
    steps = checks.resolve_horizon(mdp, horizon)
    values = mdp.reward.new_zeros(steps + 1, mdp.n_states)
    q = mdp.reward.new_empty(steps, mdp.n_states, mdp.n_actions)
    for t in reversed(range(steps)):
        q[t] = q_values(mdp, values[t + 1])
        values[t] = q[t].amax(-1).masked_fill(mdp.terminal, 0.0)
    return values, q, greedy_policy(q)


def state_distributions(mdp: TabularMDP, policy: Tensor, horizon: int | None = None
                        ) -> Float[Tensor, "steps_plus_one states"]:
    """Return D[t, s] = P(s_t = s) for t = 0..T, forward from the initial distribution.

    ``policy`` is [states, actions] or one table per step, [T, states, actions].
    """
    steps = checks.resolve_horizon(mdp, horizon)
    checks.check_policy(mdp, policy, horizon=steps)
    dist = mdp.reward.new_empty(steps + 1, mdp.n_states)
    dist[0] = mdp.initial_state_dist
    for t in range(steps):
        dist[t + 1] = next_distribution(mdp, dist[t], policy[t] if policy.ndim == 3 else policy)
    return dist
