"""Solving (I - discount P) x = b: by LU for few states, without any matrix for many."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tutorlib.errors import NotConvergedError

Operator = Callable[[Tensor], Tensor]

ROUNDS = 30  # restarts of the Krylov iteration, each from the true residual
STEPS = 1_000  # iterations within one round
SWEEPS = 200_000  # fixed-point sweeps when the Krylov iteration does not get there


def _goal(rhs: Tensor, solution: Tensor) -> float:
    """Return the residual that counts as solved: a few roundings of the largest number involved."""
    scale = torch.maximum(rhs.abs().max(), solution.abs().max())
    return 16 * torch.finfo(rhs.dtype).eps * float(scale)


def solve_iteratively(step: Operator, rhs: Tensor) -> Tensor:
    """Solve x - step(x) = rhs for x, with only products step(x) = discount P x.

    BiCGSTAB (van der Vorst 1992), restarted from the true residual until that residual is down to
    rounding, 16 eps max(|rhs|, |x|); if it stalls, fixed-point sweeps x <- rhs + step(x), which
    contract. The error in x is at most the residual / (1 - discount). Cost per iteration: two
    products. Not differentiable.

    Raises NotConvergedError when neither reaches the goal.

    >>> x = solve_iteratively(lambda v: 0.5 * v, torch.tensor([1.0, 2.0]))
    >>> x.tolist()
    [2.0, 4.0]
    """
    solution = torch.zeros_like(rhs)
    residual, size = rhs, float(rhs.abs().max())
    for _ in range(ROUNDS):
        if size <= _goal(rhs, solution):
            return solution
        candidate = solution + _bicgstab(step, residual)
        residual = rhs - (candidate - step(candidate))
        new_size = float(residual.abs().max())
        if not new_size <= size / 2:  # stalled or broke down (NaN)
            return _sweep(step, rhs, candidate if new_size < size else solution)
        solution, size = candidate, new_size
    return _sweep(step, rhs, solution)


def _bicgstab(step: Operator, rhs: Tensor) -> Tensor:
    """Return an approximate solution of x - step(x) = rhs, starting from zero."""
    solution = torch.zeros_like(rhs)
    residual, direction, shadow = rhs.clone(), rhs.clone(), rhs
    goal = max(1e-10, 8 * torch.finfo(rhs.dtype).eps) * float(rhs.norm())
    rho = shadow @ residual
    for _ in range(STEPS):
        image = direction - step(direction)
        alpha = rho / (shadow @ image)
        half = residual - alpha * image
        moved = half - step(half)
        omega = (moved @ half) / (moved @ moved).clamp(min=torch.finfo(rhs.dtype).tiny)
        solution = solution + alpha * direction + omega * half
        residual = half - omega * moved
        size = float(residual.norm())
        if not size > goal:
            break
        rho, previous = shadow @ residual, rho
        direction = residual + (rho / previous) * (alpha / omega) * (direction - omega * image)
    return solution


def _sweep(step: Operator, rhs: Tensor, solution: Tensor) -> Tensor:
    """Return the fixed point of x = rhs + step(x) by repeated substitution."""
    for _ in range(SWEEPS):
        following = rhs + step(solution)
        change = float((following - solution).abs().max())
        solution = following
        if change <= _goal(rhs, solution):
            return solution
    raise NotConvergedError(
        f"the linear system changed by {change:.3g} in the last of {SWEEPS} sweeps; the discount "
        "is too close to 1 for this many states: lower it, or use a finite horizon"
    )
