"""Soft planning: entropy or KL to a prior policy in the objective, log-sum-exp in the backup.

With ``prior=None`` the objective is E[sum gamma^t (r + lambda H(pi(.|s)))] and
V(s) = lambda log sum_a exp(Q(s, a) / lambda) (Ziebart 2010; Haarnoja et al. 2017). With a prior
policy it is E[sum gamma^t (r - lambda KL(pi(.|s) || prior(.|s)))] and
V(s) = lambda log sum_a prior(a|s) exp(Q(s, a) / lambda) (Todorov 2007). The two differ by the
constant lambda log|A| a step when the prior is uniform. Terminal states have value exactly 0:
no entropy is earned there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.mdp import checks
from tutorlib.mdp.planning import _continuing, _solve, q_values, uniform_policy
from tutorlib.mdp.tabular import TabularMDP


@dataclass(frozen=True)
class SoftPlan:
    """A soft-optimal plan and how it was reached."""

    values: Float[Tensor, " states"]
    q_values: Float[Tensor, "states actions"]
    policy: Float[Tensor, "states actions"]
    iterations: int
    residuals: tuple[float, ...]


def soft_maximum(q: Float[Tensor, "*batch actions"], temperature: float,
                 prior: Tensor | None = None) -> Float[Tensor, "*batch"]:
    """Return lambda log sum_a prior(a) exp(q(a) / lambda), without overflow.

    >>> soft_maximum(torch.tensor([0.0, 0.0]), 1.0, torch.tensor([0.5, 0.5])).item()
    0.0
    """
    scaled = q / temperature
    if prior is not None:
        scaled = scaled + prior.log()
    return temperature * torch.logsumexp(scaled, -1)


def gibbs_policy(q: Float[Tensor, "*batch actions"], temperature: float,
                 prior: Tensor | None = None) -> Float[Tensor, "*batch actions"]:
    """Return pi(a) proportional to prior(a) exp(q(a) / lambda); forbidden actions stay at 0.

    >>> gibbs_policy(torch.tensor([1.0, 1.0]), 0.5).tolist()
    [0.5, 0.5]
    """
    checks.check_temperature(temperature)
    scaled = q / temperature
    if prior is not None:
        scaled = scaled + prior.log()
    return torch.softmax(scaled, -1)


def soft_backup(mdp: TabularMDP, values: Float[Tensor, " states"], temperature: float,
                prior: Tensor | None = None) -> Float[Tensor, " states"]:
    """Return one soft Bellman backup; a contraction with factor gamma, as the hard one."""
    q = q_values(mdp, values)
    return soft_maximum(q, temperature, prior).masked_fill(mdp.terminal, 0.0)


def _check(mdp: TabularMDP, temperature: float, prior: Tensor | None) -> None:
    """Refuse a temperature or prior that gives no policy."""
    checks.check_temperature(temperature)
    if prior is not None:
        checks.check_policy(mdp, prior, "prior")


def soft_value_iteration(mdp: TabularMDP, temperature: float, prior: Tensor | None = None,
                         tolerance: float = 1e-10, max_iterations: int = 100_000) -> SoftPlan:
    """Iterate the soft backup until it changes less than ``tolerance``.

    Raises NotConvergedError at ``max_iterations``.
    """
    _check(mdp, temperature, prior)
    checks.check_discounted(mdp, "soft_value_iteration")
    values, residuals = mdp.reward.new_zeros(mdp.n_states), []
    for _ in range(max_iterations):
        updated = soft_backup(mdp, values, temperature, prior)
        residuals.append(float((updated - values).abs().max()))
        values = updated
        if residuals[-1] <= tolerance:
            q = q_values(mdp, values)
            policy = gibbs_policy(q, temperature, prior)
            return SoftPlan(values, q, policy, len(residuals), tuple(residuals))
    raise NotConvergedError(f"soft value iteration still changed by {residuals[-1]:.3g} after "
                            f"{max_iterations} backups; allow more, or a larger tolerance")


def soft_policy_evaluation(mdp: TabularMDP, policy: Float[Tensor, "states actions"],
                           temperature: float, prior: Tensor | None = None
                           ) -> Float[Tensor, " states"]:
    """Return the soft value of any policy: reward plus entropy (or minus KL to the prior)."""
    _check(mdp, temperature, prior)
    checks.check_policy(mdp, policy)
    if mdp.n_states > 2_000:
        raise InvalidArgumentError("soft_policy_evaluation solves a dense system: 2,000 states at "
                                   "most")
    base = torch.ones_like(policy) if prior is None else prior
    ratio = torch.where(policy > 0, policy.clamp_min(1e-300).log() - base.log(), 0.0)
    reward = (policy * (mdp.reward - temperature * ratio)).sum(-1).masked_fill(mdp.terminal, 0.0)
    return _solve(_continuing(mdp, policy), reward)


def soft_policy_iteration(mdp: TabularMDP, temperature: float, prior: Tensor | None = None,
                          tolerance: float = 1e-10, max_iterations: int = 1_000) -> SoftPlan:
    """Evaluate, then take the Gibbs policy of Q; improves at every state (Haarnoja et al. 2018)."""
    policy = uniform_policy(mdp) if prior is None else prior
    values, residuals = mdp.reward.new_zeros(mdp.n_states), []
    for _ in range(max_iterations):
        updated = soft_policy_evaluation(mdp, policy, temperature, prior)
        residuals.append(float((updated - values).abs().max()))
        values, q = updated, q_values(mdp, updated)
        if residuals[-1] <= tolerance:
            return SoftPlan(values, q, policy, len(residuals), tuple(residuals))
        policy = gibbs_policy(q, temperature, prior)
    raise NotConvergedError(f"soft policy iteration did not settle in {max_iterations} rounds")


def soft_backward(mdp: TabularMDP, temperature: float, horizon: int | None = None,
                  prior: Tensor | None = None):
    """Return V[t, s] (t = 0..T), Q[t, s, a] and pi[t, s, a] of the finite-horizon soft problem."""
    _check(mdp, temperature, prior)
    steps = checks.resolve_horizon(mdp, horizon)
    values = mdp.reward.new_zeros(steps + 1, mdp.n_states)
    q = mdp.reward.new_empty(steps, mdp.n_states, mdp.n_actions)
    policy = torch.empty_like(q)
    for t in reversed(range(steps)):
        q[t] = q_values(mdp, values[t + 1])
        values[t] = soft_maximum(q[t], temperature, prior).masked_fill(mdp.terminal, 0.0)
        policy[t] = gibbs_policy(q[t], temperature, prior)
    return values, q, policy
