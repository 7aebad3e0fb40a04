"""What unit 08's lesson, figures and tests share: two gardens with a hidden taste, numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from tutorlib.mdp import GridWorld

GARDEN = """
.....
.#...
...#.
.....
"""
TASTE = {(0, 3): 0.5, (0, 4): 2.0, (1, 4): 0.5, (1, 2): -1.0, (2, 2): -2.0, (3, 2): -1.0,
         (3, 0): 1.0, (2, 0): 0.5, (3, 4): -0.5}  # arriving there; every other cell pays 0


RAINY = """
.....
.#...
...#.
....G
"""
TREES, PUDDLES = ((0, 0), (0, 1), (1, 0)), ((1, 2), (2, 2), (3, 2))


def rainy_garden() -> GridWorld:
    """Return the garden in the rain: a gate G, and each step costs, least under the trees."""
    grid = GridWorld(RAINY, step_reward=-1.0, rewards={"G": 0.0}, discount=0.95)
    return grid.with_rewards({**dict.fromkeys(TREES, -0.7), **dict.fromkeys(PUDDLES, -2.0)})


def garden() -> GridWorld:
    """Return the garden: 18 cells without an end, and what its owner likes (R on arrival)."""
    return GridWorld(GARDEN, cell_rewards=TASTE, discount=0.9)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def numbers(values) -> Tensor:
    """Return a float64 tensor."""
    return torch.tensor(values, dtype=torch.float64)
