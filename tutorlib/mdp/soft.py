"""Soft planning: entropy, or KL to a prior policy, in the objective; log-sum-exp in the backup.

With ``prior=None`` it is maximum entropy, E[sum_t gamma^t (r + lambda H(pi(.|s_t)))], and
V(s) = lambda log sum_a exp(Q(s, a) / lambda) (Ziebart 2010, eq. 9.3; Haarnoja et al. 2017, thm 1).
With a prior policy it is E[sum_t gamma^t (r - lambda KL(pi(.|s_t) || prior(.|s_t)))], and
V(s) = lambda log sum_a prior(a|s) exp(Q(s, a) / lambda) (Todorov 2007). For a uniform prior the two
differ by lambda log|A| for each decision taken outside terminal states.

Terminal states are worth exactly 0: no entropy accrues there. Actions to which the prior gives
probability 0 are forbidden: they keep it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.mdp import checks
from tutorlib.mdp.backups import q_values, uniform_policy
from tutorlib.mdp.evaluation import discounted_sum
from tutorlib.mdp.planning import FinitePlan, backward_induction, fixed_point
from tutorlib.mdp.tabular import TabularMDP


@dataclass(frozen=True, eq=False)
class SoftPlan:
    """A soft-optimal plan for an endless process, and how it was reached."""

    values: Float[Tensor, " states"]  # soft V(s), 0 in terminal states
    q_values: Float[Tensor, "states actions"]  # soft Q(s, a) = r + gamma E[V(s')]
    policy: Float[Tensor, "states actions"]  # proportional to prior(a|s) exp(Q(s, a) / lambda)
    iterations: int
    residuals: tuple[float, ...]  # largest change of V in each iteration


def _weights(q: Tensor, temperature: float, prior: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the largest allowed Q, and prior(a) exp((Q - largest) / lambda): no overflow.

    Subtracting before dividing keeps temperatures as small as 1e-300 from producing NaN.
    """
    if prior is not None:
        q = q.masked_fill(prior == 0, -math.inf)  # a forbidden action may hold the largest Q
    highest = q.amax(-1, keepdim=True).detach()
    weights = ((q - highest) / temperature).exp_()
    return highest, weights if prior is None else weights * prior


def _normalise(q: Tensor, temperature: float, prior: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the soft maximum of Q and its Gibbs policy, in one pass."""
    highest, weights = _weights(q, temperature, prior)
    total = weights.sum(-1, keepdim=True)
    return (highest + temperature * total.log())[..., 0], weights / total


def soft_maximum(
    q: Float[Tensor, "*batch actions"],
    temperature: float,
    prior: Float[Tensor, "*rows actions"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Return lambda log sum_a prior(a) exp(q(a) / lambda), or without the prior if it is None.

    ``prior`` has the shape of ``q`` or broadcasts to it. Between max q and max q + lambda log|A|
    (without prior).

    Raises InvalidArgumentError for a temperature <= 0 or rows of ``prior`` that do not sum to 1.

    >>> soft_maximum(torch.tensor([0.0, 0.0]), 1.0, torch.tensor([0.5, 0.5])).item()
    0.0
    """
    checks.check_temperature(temperature)
    checks.check_prior(prior, q)
    return _normalise(q, temperature, prior)[0]


def gibbs_policy(
    q: Float[Tensor, "*batch actions"],
    temperature: float,
    prior: Float[Tensor, "*rows actions"] | None = None,
) -> Float[Tensor, "*batch actions"]:
    """Return pi(a) = prior(a) exp(q(a) / lambda) / sum; without a prior, a softmax of q / lambda.

    Maximises E_pi[q] - lambda KL(pi || prior). Raises InvalidArgumentError as ``soft_maximum``.

    >>> gibbs_policy(torch.tensor([1.0, 1.0]), 0.5).tolist()
    [0.5, 0.5]
    """
    checks.check_temperature(temperature)
    checks.check_prior(prior, q)
    return _normalise(q, temperature, prior)[1]


def soft_backup(
    mdp: TabularMDP,
    values: Float[Tensor, "*batch states"],
    temperature: float,
    prior: Float[Tensor, "states actions"] | None = None,
) -> Float[Tensor, "*batch states"]:
    """Return the soft maximum of Q(s, .), and 0 in terminal states; a contraction by gamma.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[1.0, 3.0]], discount=0.5)
    >>> round(float(soft_backup(mdp, mdp.reward.new_tensor([10.0]), temperature=0.01)), 6)
    8.0
    """
    prior = _checked(mdp, temperature, prior)
    value, _ = _normalise(q_values(mdp, values), temperature, prior)
    return value.masked_fill(mdp.terminal, 0.0)


def _checked(mdp: TabularMDP, temperature: float, prior: Tensor | None) -> Tensor | None:
    """Return the prior, checked and in the process's precision."""
    checks.check_temperature(temperature)
    return prior if prior is None else checks.check_policy(mdp, prior, "prior")


def soft_value_iteration(
    mdp: TabularMDP,
    temperature: float,
    prior: Float[Tensor, "states actions"] | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 100_000,
) -> SoftPlan:
    """Return the soft-optimal plan by repeating the soft backup from V = 0.

    The stopping rule of ``value_iteration``: no value is further than ``tolerance`` from the fixed
    point (for discount 1, the last change is at most ``tolerance``).

    Raises InvalidArgumentError for a bad temperature or prior; NotConvergedError after
    ``max_iterations``, as when entropy accrues for ever at discount 1.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)
    >>> round(float(soft_value_iteration(mdp, temperature=1.0).values), 6)  # 2 log 2
    1.386294
    """
    prior = _checked(mdp, temperature, prior)
    checks.check_discounted(mdp, "soft_value_iteration")
    values, q, residuals = fixed_point(
        mdp, lambda q: _normalise(q, temperature, prior)[0], tolerance, max_iterations
    )
    policy = _normalise(q, temperature, prior)[1]
    return SoftPlan(values, q, policy, len(residuals), residuals)


def soft_policy_evaluation(
    mdp: TabularMDP,
    policy: Float[Tensor, "states actions"],
    temperature: float,
    prior: Float[Tensor, "states actions"] | None = None,
) -> Float[Tensor, " states"]:
    """Return the soft value of any policy: reward plus lambda entropy, or minus lambda KL to prior.

    V = sum_a pi (r - lambda log(pi / prior) + gamma E[V']), a linear system, solved as in
    ``policy_evaluation`` (Haarnoja et al. 2018, lemma 1).

    Raises InvalidArgumentError if the policy takes an action that the prior forbids.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)
    >>> round(float(soft_policy_evaluation(mdp, uniform_policy(mdp), temperature=1.0)), 6)
    1.386294
    """
    prior = _checked(mdp, temperature, prior)
    policy = checks.check_policy(mdp, policy)
    cost = torch.xlogy(policy, policy)
    if prior is not None:
        if index := checks.first_bad((policy > 0) & (prior == 0) & ~mdp.terminal[:, None]):
            raise InvalidArgumentError(
                f"policy takes {mdp.action_names[index[1]]!r} in state "
                f"{mdp.state_names[index[0]]!r} where the prior gives it probability 0; "
                "its KL to the prior is infinite"
            )
        cost = cost - torch.xlogy(policy, prior)
    income = (policy * mdp.reward - temperature * cost).sum(-1)
    return discounted_sum(mdp, policy, income)


def soft_policy_iteration(
    mdp: TabularMDP,
    temperature: float,
    prior: Float[Tensor, "states actions"] | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 1_000,
) -> SoftPlan:
    """Return the soft-optimal plan by evaluating and taking the Gibbs policy of Q, in turn.

    No state gets worse in any round (Haarnoja et al. 2018, thm 1). Starts from the prior, or the
    uniform policy; stops when V changes by at most ``tolerance`` (or by rounding).

    Raises as ``soft_policy_evaluation``; NotConvergedError after ``max_iterations``.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)
    >>> soft_policy_iteration(mdp, temperature=1.0).iterations
    2
    """
    prior = _checked(mdp, temperature, prior)
    checks.check_stopping(tolerance, max_iterations)
    policy = uniform_policy(mdp) if prior is None else prior
    values, residuals = torch.zeros_like(mdp.initial_state_dist), []
    for _ in range(max_iterations):
        updated = soft_policy_evaluation(mdp, policy, temperature, prior)
        residuals.append(float((updated - values).abs().max()))
        values, q = updated, q_values(mdp, updated)
        policy = _normalise(q, temperature, prior)[1]
        rounding = 64 * torch.finfo(mdp.dtype).eps * float(values.abs().max())
        if residuals[-1] <= max(tolerance, rounding):
            return SoftPlan(values, q, policy, len(residuals), tuple(residuals))
    raise NotConvergedError(
        f"soft policy iteration still changed by {residuals[-1]:.3g} in round {max_iterations}; "
        "allow more max_iterations or a larger tolerance"
    )


def soft_backward(
    mdp: TabularMDP,
    temperature: float,
    horizon: int | None = None,
    prior: Float[Tensor, "states actions"] | None = None,
    keep_q: bool = True,
) -> FinitePlan:
    """Return the soft-optimal plan for a fixed number of decisions, (V[t,s], Q[t,s,a], pi[t,s,a]).

    V[T] = 0, Q[t] = r + gamma E[V[t+1]], V[t] = soft maximum of Q[t], pi[t] its Gibbs policy
    (Ziebart 2010, eqs 9.1 to 9.3). Differentiable: the gradient of mu.V[0] in the reward is the
    discounted expected number of visits. ``keep_q=False`` returns None for Q and saves its memory.

    Raises InvalidArgumentError for a bad temperature or prior, or without a horizon.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=1.0, horizon=3)
    >>> [round(v, 4) for v in soft_backward(mdp, temperature=1.0).values[:, 0].tolist()]
    [2.0794, 1.3863, 0.6931, 0.0]
    """
    prior = _checked(mdp, temperature, prior)
    return backward_induction(mdp, horizon, keep_q, lambda q: _normalise(q, temperature, prior))
