"""How the check of 05.3 compares a step, a point and weights with the expected ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tutorlib.grading.compare import as_tensor


def same_step(got, want) -> str | None:
    """Compare step and point; the weights count by their direction: their length is free."""
    if isinstance(got, torch.Tensor | np.ndarray) or not isinstance(got, tuple | list) or (
            len(got) != 3):
        return "expected three values: the step, the point, the weights"
    step, point, weights = (as_tensor(part) for part in got)
    order = "; return them in the order step, point, weights"
    wanted_point, wanted_weights = as_tensor(want[1]).double(), as_tensor(want[2]).double()
    if step is None or step.numel() != 1:
        return (f"the step must be one number, got {got[0]!r:.80}; an inner product, `a @ b`, is "
                f"one{order}")
    for name, part in (("point", point), ("weights", weights)):
        if part is None or part.shape != wanted_point.shape:
            shape = "no tensor" if part is None else f"shape {tuple(part.shape)}"
            return f"the {name} must have shape {tuple(wanted_point.shape)}, got {shape}{order}"
    scale = 1 + float(wanted_point.abs().max())
    slack = 1e-6 if point.dtype == torch.float64 else 1e-4
    apart = (point.double() - wanted_point).abs()
    if not bool((apart <= slack * scale).all()):
        return (f"the point is {_row(point)}, expected {_row(wanted_point)} (step "
                f"{float(want[0]):.6g}, yours {float(step):.6g})")
    if not abs(float(step) - float(want[0])) <= 10 * slack:
        return f"the step is {float(step):.6g}, expected {float(want[0]):.6g}"
    length = float(weights.double().norm())
    if length == 0:
        return "the weights are all 0: the next planner would be paid nothing"
    direction = weights.double() / length
    wanted = wanted_weights / wanted_weights.norm()
    if not bool(((direction - wanted).abs() <= 10 * slack).all()):
        return (f"the weights point along {_row(direction)}, expected {_row(wanted)} (their length "
                "is free)")
    return None


def _row(tensor: Tensor) -> str:
    """Return a vector in little space."""
    return f"({', '.join(f'{float(x):.5g}' for x in tensor)})"
