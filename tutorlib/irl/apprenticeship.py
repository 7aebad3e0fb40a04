"""Apprenticeship learning: match an expert's feature expectations, without naming its reward.

If the true reward is w . phi with |w|_2 <= 1, then for any policy

    |J(pi) - J(pi_E)| = |w . (mu(pi) - mu_E)| <= |mu(pi) - mu_E|_2,

mu(pi) = E[sum_t gamma^t phi(s_t, a_t)]: whoever matches the expectations is as good as the expert,
whatever w is (Abbeel and Ng 2004, section 3). Each round plans for the weights that tell the expert
best from the policies so far, and mixes the new policy in. What comes out is a mixture of policies,
one drawn per episode; ``policy`` turns it into a single one with the same visits.

Two variants: "projection" moves to the nearest point on the segment towards the new policy (section
3.1; it is the Frank-Wolfe method with exact line search), "max_margin" to the nearest point of the
convex hull of all policies. The latter is the dual of the quadratic program max t subject to
w . mu_E >= w . mu_j + t, |w|_2 <= 1 (section 3), and is solved as a non-negative least-squares
problem (Wolfe 1976).

Departures from the paper: the step of a projection is held to [0, 1], since an expert whose
expectations come from few demonstrations may lie outside the hull, and beyond a step of 1 the
result would be no mixture; the first policy is the uniform one; terminal states have no features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.rewards import check_features, pay
from tutorlib.mdp import TabularMDP, occupancy_measure, policy_iteration, uniform_policy

METHODS = ("projection", "max_margin")


@dataclass(frozen=True)
class ApprenticeSettings:
    """How to run ``apprentice``."""

    method: str = "projection"  # or "max_margin"
    tolerance: float = 1e-6  # stop when |mu - mu_E|_2 is at most this
    max_iterations: int = 100  # plans at most; each costs one optimal policy


@dataclass(frozen=True)
class Apprenticeship:
    """A mixture of policies whose feature expectations are close to the expert's."""

    policies: Float[Tensor, "n states actions"]  # the uniform one first, then one per round
    mixture: Float[Tensor, " n"]  # probability of drawing each for an episode
    expectations: Float[Tensor, " features"]  # of the mixture
    weights: Float[Tensor, "rounds features"]  # what each round planned for, of length 1
    margins: tuple[float, ...]  # |mu - mu_E|_2 before each round and at the end: the guarantee
    converged: bool  # False: the rounds ran out
    reachable: bool  # False: no mixture of policies has the expert's expectations

    def policy(self, mdp: TabularMDP) -> Float[Tensor, "states actions"]:
        """Return one stationary policy with the visits, hence the worth, of the mixture.

        pi(a | s) = rho(s, a) / sum_b rho(s, b) for the mixed occupancy rho (Puterman 1994, section
        6.9); uniform where nothing is visited.
        """
        visits = torch.stack([occupancy_measure(mdp, policy) for policy in self.policies])
        mixed = torch.einsum("n,nsa->sa", self.mixture, visits)
        total = mixed.sum(-1, keepdim=True)
        return torch.where(total > 0, mixed / total, uniform_policy(mdp))


def feature_table(mdp: TabularMDP, features: Tensor, paid: str = "action"
                  ) -> Float[Tensor, "states actions features"]:
    """Return phi(s, a) from features per action, of the state acted in, or of the one arrived in.

    ``features`` is [states, actions, features] with ``paid="action"``, else [states, features] (as
    for ``LinearReward``). Terminal states have features 0. Raises InvalidArgumentError for NaN.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[1.0, 0.0]]], [0.0, 0.0])
    >>> feature_table(mdp, torch.eye(2, dtype=torch.float64), "arrival")[0].tolist()
    [[0.0, 1.0]]
    """
    check_features(features, paid)
    expected = (mdp.n_states, mdp.n_actions)[: features.ndim - 1]
    if tuple(features.shape[:-1]) != expected:
        raise InvalidArgumentError(
            f"features have shape {tuple(features.shape)}; expected {expected} and a last axis "
            "over features"
        )
    return pay(mdp, features.to(mdp.dtype).movedim(-1, 0), paid).movedim(0, -1)


def feature_expectations(mdp: TabularMDP, policy: Float[Tensor, "states actions"],
                         features: Tensor, paid: str = "action") -> Float[Tensor, " features"]:
    """Return mu(pi) = E[sum_t gamma^t phi(s_t, a_t)] = sum_sa rho_pi(s, a) phi(s, a).

    Abbeel and Ng 2004, section 2. For demonstrations, weigh phi by ``expert_occupancy`` instead.

    >>> mdp = TabularMDP.from_dense([[[1.0]]], [0.0], discount=0.5)
    >>> feature_expectations(mdp, mdp.reward + 1, torch.ones(1, 1, 3, dtype=torch.float64)).tolist()
    [2.0, 2.0, 2.0]
    """
    table = feature_table(mdp, features, paid)
    return torch.einsum("sa,sak->k", occupancy_measure(mdp, policy), table)


def projection_step(expert: Float[Tensor, " features"], mixture: Float[Tensor, " features"],
                    candidate: Float[Tensor, " features"]
                    ) -> tuple[float, Float[Tensor, " features"]]:
    """Return how far to go from ``mixture`` towards ``candidate`` to be nearest to ``expert``.

    step = (c - m).(e - m) / |c - m|^2, held to [0, 1], and the point m + step (c - m) (Abbeel and
    Ng 2004, section 3.1). A candidate that equals the mixture gives step 0.

    >>> point = torch.tensor([[2.0, 1.0], [0.0, 0.0], [4.0, 0.0]])
    >>> projection_step(*point)
    (0.5, tensor([2., 0.]))
    """
    direction, wanted = candidate - mixture, expert - mixture
    length = float(direction @ direction)
    step = min(max(float(direction @ wanted) / length, 0.0), 1.0) if length > 0 else 0.0
    return step, mixture + step * direction


def hull_weights(expert: Float[Tensor, " features"], points: Float[Tensor, "n features"]
                 ) -> Float[Tensor, " n"]:
    """Return the weights of the point in the convex hull of ``points`` that is nearest to expert.

    With B the points minus the expert, min |u B|^2 + (sum u - 1)^2 over u >= 0 has its minimum at a
    multiple of the weights (Wolfe 1976), so non-negative least squares finds them exactly.

    >>> hull_weights(torch.tensor([1.0, 1.0]), torch.tensor([[0.0, 0.0], [2.0, 0.0]])).tolist()
    [0.5, 0.5]
    """
    from scipy.optimize import nnls

    offsets = (points - expert).double()
    scale = float(offsets.abs().max().clamp(min=1e-300))
    system = torch.cat([offsets.T / scale, offsets.new_ones(1, len(points))])
    right = torch.cat([offsets.new_zeros(points.shape[1]), offsets.new_ones(1)])
    found = torch.from_numpy(nnls(system.cpu().numpy(), right.cpu().numpy())[0])
    return (found / found.sum()).to(points)


def apprentice(mdp: TabularMDP, expert: Float[Tensor, " features"], features: Tensor,
               paid: str = "action", settings: ApprenticeSettings | None = None,
               on_round: Callable[[int, float], None] | None = None) -> Apprenticeship:
    """Return a mixture of policies with (nearly) the feature expectations ``expert``.

    Each round plans optimally for w = (mu_E - mu) / |mu_E - mu|. It ends when that margin is within
    ``tolerance``, after ``max_iterations`` plans, or when no policy leads any nearer: then
    ``expert`` lies outside what policies can reach, and ``reachable`` is False. ``on_round`` is
    told the round and its margin. O(k / ((1 - gamma) eps)^2 log(k / ((1 - gamma) eps))) rounds
    suffice for k features between 0 and 1 (Abbeel and Ng 2004).

    Raises InvalidArgumentError for features with NaN, shapes that do not fit, or an unknown method.
    """
    settings = settings or ApprenticeSettings()
    table = feature_table(mdp, features, paid)
    _check_expert(expert, table, settings)
    policies = [uniform_policy(mdp)]
    points = [torch.einsum("sa,sak->k", occupancy_measure(mdp, policies[0]), table)]
    mixture, point, weights, margins = points[0].new_ones(1), points[0], [], []
    reachable = True
    for round_number in range(settings.max_iterations + 1):
        margins.append(float((expert - point).norm()))
        if on_round is not None:
            on_round(round_number, margins[-1])
        if margins[-1] <= settings.tolerance or round_number == settings.max_iterations:
            break
        weights.append((expert - point) / margins[-1])
        best = policy_iteration(mdp.replace(reward=table @ weights[-1])).policy
        reached = torch.einsum("sa,sak->k", occupancy_measure(mdp, best), table)
        if float(weights[-1] @ (reached - point)) <= 1e-12 * (1 + float(reached.norm())):
            reachable = False  # no policy goes further in the expert's direction
            break
        policies.append(best)
        points.append(reached)
        mixture, point = _mix(settings.method, expert, mixture, point, torch.stack(points))
    return Apprenticeship(
        torch.stack(policies), mixture, point, _stacked(weights, expert), tuple(margins),
        converged=margins[-1] <= settings.tolerance, reachable=reachable)


def _mix(method: str, expert: Tensor, mixture: Tensor, point: Tensor, points: Tensor
         ) -> tuple[Tensor, Tensor]:
    """Return the mixture with the newest policy mixed in, and its expectations."""
    if method == "projection":
        step, nearer = projection_step(expert, point, points[-1])
        return torch.cat([(1 - step) * mixture, mixture.new_tensor([step])]), nearer
    mixture = hull_weights(expert, points)
    return mixture, mixture @ points


def _stacked(weights: list[Tensor], like: Tensor) -> Tensor:
    """Return the weights of all rounds as one table, also when there was none."""
    return torch.stack(weights) if weights else like.new_zeros(0, len(like))


def _check_expert(expert: Tensor, table: Tensor, settings: ApprenticeSettings) -> None:
    """Raise InvalidArgumentError for expectations or settings that make no sense."""
    if expert.shape != table.shape[-1:] or not bool(torch.isfinite(expert).all()):
        raise InvalidArgumentError(
            f"the expert's expectations are {expert.tolist()} ({tuple(expert.shape)}); expected "
            f"{table.shape[-1]} finite numbers, one per feature"
        )
    if settings.method not in METHODS:
        raise InvalidArgumentError(f"method is {settings.method!r}; expected one of "
                                   f"{', '.join(METHODS)}")
    if settings.max_iterations < 0 or not settings.tolerance >= 0:
        raise InvalidArgumentError(
            f"max_iterations is {settings.max_iterations} and tolerance {settings.tolerance}; "
            "expected numbers of at least 0"
        )
