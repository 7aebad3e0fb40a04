"""What the graders of unit 02 share."""

from __future__ import annotations

import torch
from torch import Tensor

UNIT = "reinforcement_learning"


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """Draw one number between ``low`` and ``high``."""
    return low + (high - low) * torch.rand(1, generator=generator, dtype=torch.float64).item()


def flags(generator: torch.Generator, chance: float, *shape: int) -> Tensor:
    """Draw True with probability ``chance`` in each entry."""
    return torch.rand(*shape, generator=generator) < chance


def name_step(case, index: tuple[int, ...]) -> str | None:
    """Say what an entry of a [time, envs] answer stands for."""
    return f"step {index[0]}, environment {index[1]}" if len(index) == 2 else None


def double_sum(rewards, values, discount_t, lambda_t) -> Tensor:
    """Sum (gamma lambda)^k delta_{t+k} term by term, with no recursion."""
    steps = range(len(rewards))
    deltas = [rewards[t] + discount_t[t] * values[t + 1] - values[t] for t in steps]
    rows = []
    for start in steps:
        weight, total = torch.ones_like(rewards[0]), torch.zeros_like(rewards[0])
        for t in range(start, len(rewards)):
            total = total + weight * deltas[t]
            weight = weight * discount_t[t] * lambda_t[t]
        rows.append(total)
    return torch.stack(rows)
