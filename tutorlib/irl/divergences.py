"""Imitation as f-divergence minimisation: three divergences, and the rewards they lead to.

Everything is a function of the log density ratio h = log u, u = rho_demo / rho_pi, which is also
the logit of the best discriminator: D* = rho_demo / (rho_demo + rho_pi) = sigmoid(h), with label 1
for the demonstrator. Nothing overflows where an occupancy is 0 or a discriminator saturates:
h = +inf and h = -inf give the limits. Where *both* occupancies are 0 there is no evidence: h = 0.

The table is that of Sun and van der Schaar (2025), table 4. Departures: its f of GAIL yields twice
the Jensen-Shannon divergence; FAIRL's printed reward -h exp(h) is here for study only (exact policy
gradients with it diverge) and forward KL uses its exact reward u = exp(h).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from tutorlib.errors import InvalidArgumentError, nearest

Values = Float[Tensor, "..."]


@dataclass(frozen=True)
class FDivergence:
    """One row of the table: D_f = sum rho_pi f(rho_demo / rho_pi), f convex, f(1) = 0."""

    name: str  # key in DIVERGENCES
    method: str  # the algorithm known for it
    meaning: str  # the divergence that f gives, in symbols
    f: Callable[[Tensor], Tensor]  # f(u), as a function of h = log u
    derivative: Callable[[Tensor], Tensor]  # T* = f'(u), of h: the best response of the critic
    conjugate: Callable[[Tensor], Tensor]  # f*(t) = sup_u t u - f(u); infinite outside its domain
    conjugate_below: float  # f* is finite for t below this
    exact_reward: Callable[[Tensor], Tensor]  # f*(T*), of h
    slope_at_infinity: float  # lim f(u) / u: the cost of a visit that the policy never makes


@dataclass(frozen=True)
class ImitationReward:
    """A reward for the policy, as a function of the discriminator's logit h."""

    name: str  # key in REWARDS
    formula: str  # in symbols
    of_logit: Callable[[Tensor], Tensor]
    lowest: float  # infimum: 0 means that every further step pays
    highest: float  # supremum: 0 means that every further step costs


def _js_f(h: Tensor) -> Tensor:
    """Return u log u - (u + 1) log((u + 1) / 2) = (u + 1) log 2 - softplus(h) - u softplus(-h)."""
    small = (-h.abs()).exp()  # u or 1 / u, whichever is at most 1
    inverse = torch.where(small > 0, small.log1p() / small.clamp(min=1e-300), 1.0)
    product = torch.where(h > 0, inverse, small * small.log1p() - torch.special.xlogy(small, small))
    finite = (h.exp() + 1) * math.log(2) - softplus(h) - product
    return torch.where(h == math.inf, math.inf, finite)


def _rkl_conjugate(t: Tensor) -> Tensor:
    return torch.where(t < 0, -1 - (-t).clamp(min=0).log(), math.inf)


def _js_conjugate(t: Tensor) -> Tensor:
    inside = t < math.log(2)
    return torch.where(inside, -(2 - torch.where(inside, t, 0.0).exp()).log(), math.inf)


def _u_log_u(h: Tensor) -> Tensor:
    """Return h exp(h), which is 0 at h = -inf."""
    return torch.where(h == -math.inf, 0.0, h * h.exp())


REVERSE_KL = FDivergence(
    "reverse_kl", "AIRL (Fu et al. 2018)", "KL(ρ_π ‖ ρ_demo)",
    f=lambda h: -h, derivative=lambda h: -(-h).exp(),
    conjugate=_rkl_conjugate, conjugate_below=0.0,
    exact_reward=lambda h: h - 1, slope_at_infinity=0.0)
JENSEN_SHANNON = FDivergence(
    "jensen_shannon", "GAIL (Ho and Ermon 2016)", "2 JS(ρ_π, ρ_demo)",
    f=_js_f, derivative=lambda h: math.log(2) + logsigmoid(h),
    conjugate=_js_conjugate, conjugate_below=math.log(2),
    exact_reward=lambda h: softplus(h) - math.log(2), slope_at_infinity=math.log(2))
FORWARD_KL = FDivergence(
    "forward_kl", "FAIRL (Ghasemipour et al. 2020)", "KL(ρ_demo ‖ ρ_π)",
    f=_u_log_u, derivative=lambda h: 1 + h,
    conjugate=lambda t: (t - 1).exp(), conjugate_below=math.inf,
    exact_reward=lambda h: h.exp(), slope_at_infinity=math.inf)
DIVERGENCES = {d.name: d for d in (REVERSE_KL, JENSEN_SHANNON, FORWARD_KL)}

REWARDS = {r.name: r for r in (
    ImitationReward("airl", "log D − log(1 − D) = h", lambda h: h, -math.inf, math.inf),
    ImitationReward("gail", "−log(1 − D)", lambda h: softplus(h), 0.0, math.inf),
    ImitationReward("gail_log_d", "log D", lambda h: logsigmoid(h), -math.inf, 0.0),
    ImitationReward("forward_kl", "u = exp(h)", lambda h: h.exp(), 0.0, math.inf),
    ImitationReward("fairl_printed", "−h exp(h)", lambda h: 0.0 - _u_log_u(h),
                    -math.inf, math.exp(-1)),
)}


def log_density_ratio(demo: Values, policy: Values) -> Values:
    """Return h = log(demo / policy), elementwise, of two occupancies (normalised alike).

    Where only the demonstrator goes it is +inf, where only the policy goes -inf, where neither
    goes 0. Raises InvalidArgumentError for negative or non-finite entries or unequal shapes.

    >>> log_density_ratio(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.5, 0.0, 0.0])).tolist()
    [0.0, inf, 0.0]
    """
    if demo.shape != policy.shape:
        raise InvalidArgumentError(f"demo has shape {tuple(demo.shape)}, policy has "
                                   f"{tuple(policy.shape)}; expected the same states and actions")
    for name, table in (("demo", demo), ("policy", policy)):
        if not bool((torch.isfinite(table) & (table >= 0)).all()):
            raise InvalidArgumentError(f"{name} has a negative or non-finite entry; expected an "
                                       "occupancy measure (of probabilities or visits)")
    neither = (demo == 0) & (policy == 0)
    safe_demo, safe_policy = (torch.where(neither, 1.0, x) for x in (demo, policy))
    return safe_demo.log() - safe_policy.log()


def optimal_discriminator(demo: Values, policy: Values) -> Values:
    """Return D* = demo / (demo + policy), label 1 for the demonstrator (Goodfellow et al. 2014,
    proposition 1); 1/2 where neither goes.

    Raises InvalidArgumentError as ``log_density_ratio`` does.

    >>> visits = torch.tensor([0.3, 0.0]), torch.tensor([0.1, 0.0])
    >>> [round(float(d), 6) for d in optimal_discriminator(*visits)]
    [0.75, 0.5]
    """
    return torch.sigmoid(log_density_ratio(demo, policy))


def f_divergence(kind: str, demo: Values, policy: Values) -> Float[Tensor, ""]:
    """Return sum_x policy(x) f(demo(x) / policy(x)), the divergence named ``kind``.

    Infinite for reverse KL where the policy goes and the demonstrator never does, for forward KL
    the other way round; twice the Jensen-Shannon divergence never exceeds 2 log 2 for distributions
    (Sun and van der Schaar 2025, eq. 2). Raises InvalidArgumentError for an unknown kind, or as
    ``log_density_ratio`` does.

    >>> half, skewed = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
    >>> [round(float(f_divergence(k, skewed, half)), 3) for k in DIVERGENCES]
    [inf, 0.432, 0.693]
    """
    row = _named(DIVERGENCES, kind, "divergence")
    h = log_density_ratio(demo, policy)
    visited, missed = policy > 0, (policy == 0) & (demo > 0)
    terms = torch.where(visited, policy * row.f(torch.where(visited, h, 0.0)), 0.0)
    return (terms + torch.where(missed, demo * row.slope_at_infinity, 0.0)).sum()


def policy_reward(logit: Values, method: str, limit: float | None = None) -> Values:
    """Return what ``method`` (a key of REWARDS) pays the policy at a discriminator logit.

    The reward is a number for the policy to climb, not a path for gradients into the discriminator:
    it comes back detached. ``limit`` clamps the logit to [-limit, limit] first, so that a saturated
    discriminator pays a finite reward; without it h = +-inf pays the limit of the formula.

    Raises InvalidArgumentError for an unknown method, a NaN logit, or a limit not above 0.

    >>> [round(float(policy_reward(torch.tensor(0.0), m)), 3) for m in REWARDS]
    [0.0, 0.693, -0.693, 1.0, 0.0]
    """
    row = _named(REWARDS, method, "reward")
    if bool(torch.isnan(logit).any()):
        raise InvalidArgumentError("a discriminator logit is NaN; look at the discriminator's loss")
    if limit is not None and not limit > 0:
        raise InvalidArgumentError(f"limit is {limit}; expected a number above 0, or None")
    h = logit.detach()
    return row.of_logit(h if limit is None else h.clamp(-limit, limit))


def _named(table: dict, name: str, what: str):
    """Return a row of a table, or say which names there are."""
    if name not in table:
        raise InvalidArgumentError(f"there is no {what} {name!r}: {nearest(name, table)} "
                                   f"(known: {', '.join(table)})")
    return table[name]
