"""Preferences and reward tables, exactly: what comparisons reveal, and the best table for them.

A segment's return is linear in a table of rewards, so fitting one is a logistic regression on
differences of visit counts, convex, and what no comparison can reveal is a null space. Segments
of one length never reveal a constant; with an ``l2`` penalty the fit chooses, among all tables
that explain the labels alike, the smallest, whose mean over what was compared is 0.

Labels that contradict each other in a circle (a over b, b over c, c over a) are no error: the best
table then gives the three equal returns. Ties alone say nothing, and are refused.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.irl.preferences import check_labels, label_loss


def fit_preference_table(
    left: Float[Tensor, "pairs cells"], right: Float[Tensor, "pairs cells"],
    labels: Float[Tensor, "*_"], l2: float = 1e-3, error_rate: float = 0.0,
    weights: Shaped[Tensor, " pairs"] | None = None,
) -> Float[Tensor, " cells"]:
    """Return the reward table of highest likelihood, less l2 / 2 |table|^2 for the whole data.

    ``left`` and ``right`` are visit counts (``visit_counts``); the table is r / temperature, in
    nats. Without noise the likelihood has no maximum, and l2 alone fixes the scale. ``weights``
    say how often each pair counts (a bootstrap's draws, say).
    Raises InvalidArgumentError for no pairs, bad labels, ties alone, or l2 <= 0.

    >>> left, right = torch.eye(2, dtype=torch.float64)
    >>> table = fit_preference_table(left[None], right[None], torch.ones(1).double())
    >>> bool(table[0] > table[1]), round(float(table.sum()), 6)
    (True, 0.0)
    """
    difference = _differences(left, right, labels)
    if not l2 > 0:
        raise InvalidArgumentError(f"l2 is {l2!r}; expected a number above 0: labels that no pair "
                                   "contradicts have no finite best table")
    signal = labels - 0.5
    if not bool((signal != 0).any()):
        raise InvalidArgumentError(
            f"all {len(labels)} labels are ties: every table of equal returns fits alike; ask "
            "about segments that differ, or lower the judge's tie margin")

    weights = torch.ones(len(labels)) if weights is None else weights
    weights, labels = weights.to(difference), labels.to(difference)

    def loss(table: Tensor) -> Tensor:
        return ((weights * label_loss(difference @ table, labels, error_rate)).sum()
                + l2 / 2 * (table**2).sum())

    start = difference.new_zeros(difference.shape[1])
    if error_rate:  # no longer convex
        return minimise(loss, start)
    return _newton(difference, labels, weights, l2, loss, start)


def _newton(difference: Tensor, labels: Tensor, weights: Tensor, l2: float,
            loss: Callable[[Tensor], Tensor], table: Tensor) -> Tensor:
    """Return the minimum of a weighted logistic regression, by Newton steps that are halved."""
    ridge, value = l2 * torch.eye(len(table), dtype=table.dtype), loss(table)
    for _ in range(100):
        p = torch.sigmoid(difference @ table)
        slope = difference.T @ (weights * (p - labels)) + l2 * table
        if float(slope.abs().max()) <= 1e-9 * max(1.0, float(weights.sum())):
            return table
        bend = (difference.T * (weights * p * (1 - p))) @ difference + ridge
        step, size = torch.linalg.solve(bend, slope), 1.0
        while float(loss(table - size * step)) > float(value) and size > 1e-6:
            size /= 2
        table = table - size * step
        value = loss(table)
    raise NotConvergedError(f"the fit stopped at a slope of {float(slope.abs().max()):.2g} after "
                            "100 Newton steps; raise l2, or scale counts to about 1")


def _differences(left: Tensor, right: Tensor, labels: Tensor) -> Tensor:
    """Return differences of counts, checked."""
    if left.ndim != 2 or left.shape != right.shape or len(left) == 0:
        raise InvalidArgumentError(
            f"left counts {tuple(left.shape)} and right counts {tuple(right.shape)} form no "
            "pairs; expected (pairs, cells) twice, at least one pair")
    difference = (left - right).double()
    if not bool(torch.isfinite(difference).all()):
        raise InvalidArgumentError("visit counts are not finite; expected numbers")
    check_labels(labels, difference[:, 0])
    return difference


def minimise(loss: Callable[[Tensor], Tensor], start: Tensor, tolerance: float = 1e-9,
             steps: int = 500) -> Tensor:
    """Return the minimum of a smooth convex function, by L-BFGS with a line search.

    Raises NotConvergedError when the gradient is still large where the search ends.
    """
    point = start.clone().requires_grad_()
    search = torch.optim.LBFGS([point], max_iter=steps, tolerance_grad=tolerance,
                               tolerance_change=0.0, line_search_fn="strong_wolfe")

    def evaluate() -> Tensor:
        search.zero_grad()
        value = loss(point)
        value.backward()
        return value

    search.step(evaluate)
    evaluate()
    slope, size = float(point.grad.abs().max()), float(loss(point.detach()).abs())
    if not slope <= 1e-5 * max(1.0, size):
        raise NotConvergedError(f"the fit stopped at a slope of {slope:.2g}; expected below 1e-5: "
                                "raise l2, or scale rewards to about 1 a step")
    return point.detach()


def hidden_dimensions(left: Float[Tensor, "pairs cells"], right: Float[Tensor, "pairs cells"]
                      ) -> int:
    """Return how many independent changes of a table no probability of these pairs can show.

    >>> counts = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    >>> hidden_dimensions(counts[:1], counts[1:])  # adding a constant
    1
    """
    difference = (left - right).double()
    return difference.shape[1] - int(torch.linalg.matrix_rank(difference))


def is_hidden(change: Float[Tensor, " cells"], left: Float[Tensor, "pairs cells"],
              right: Float[Tensor, "pairs cells"], tolerance: float = 1e-9) -> bool:
    """Return whether adding ``change`` to a table alters no return difference of these pairs."""
    return bool(((left - right).double() @ change.double()).abs().max() <= tolerance)
