"""What the graders of unit 16 share."""

from __future__ import annotations

import torch
from torch import Tensor

UNIT = "rlhf_policy_gradient"


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def mask_of(*lengths: int) -> Tensor:
    """Return a mask, 1 at the tokens of answers of these lengths, one column wider than needed."""
    return (torch.arange(max(lengths) + 1) < torch.tensor(lengths)[:, None]).long()


def draw_logps(generator: torch.Generator, mask: Tensor, spread: float = 0.6
               ) -> tuple[Tensor, Tensor]:
    """Draw log-probabilities of the same tokens under two models; numbers at padding mean nothing.
    """
    first = -0.1 - normal(generator, *mask.shape).abs()
    other = (first + spread * normal(generator, *mask.shape)).clamp(max=-0.01)
    padding = mask == 0
    return first.masked_fill(padding, -1.75), other.masked_fill(padding, -0.25)


def name_token(case, index: tuple[int, ...]) -> str | None:
    """Say what an entry of an [answers, tokens] array stands for."""
    return f"answer {index[0]}, token {index[1]}" if len(index) == 2 else None
