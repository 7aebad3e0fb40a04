"""What all training loops of this package share: drawing prompts, and a step of an optimiser."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tutorlib.errors import InvalidTextError, TrainingDivergedError


def draw_prompts(prompts: Sequence[str], count: int, generator: torch.Generator) -> list[str]:
    """Return ``count`` prompts drawn at random, each as often as any other, give or take one."""
    if isinstance(prompts, str) or not len(prompts):
        raise InvalidTextError(f"prompts is {prompts!r}; expected a list of one or more texts")
    rounds = -(-count // len(prompts))
    order = torch.cat([torch.randperm(len(prompts), generator=generator, device=generator.device)
                       for _ in range(rounds)])
    return [prompts[i] for i in order[:count].tolist()]


def take_step(optimizer, loss: Tensor, share: float, max_grad_norm: float | None) -> float:
    """Take one step down the gradient; return its length before it was cut.

    ``share`` is of the learning rates that the optimiser was made with, 1 to begin with. Raises
    TrainingDivergedError, and leaves the weights alone, if loss or gradient is not finite.
    """
    for group in optimizer.param_groups:
        group["lr"] = share * group.setdefault("initial_lr", group["lr"])
    optimizer.zero_grad()
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    limit = torch.inf if max_grad_norm is None else max_grad_norm
    norm = float(nn.utils.clip_grad_norm_(parameters, limit))
    if not (math.isfinite(loss.item()) and math.isfinite(norm)):
        raise TrainingDivergedError(
            f"the loss is {loss.item():.3g} and its gradient's length {norm:.3g}; expected finite "
            "numbers. A smaller learning_rate, or a max_grad_norm, may help. No step was taken.")
    optimizer.step()
    return norm
