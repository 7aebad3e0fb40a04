"""What unit 05's lesson, graders and tests share: a yard, a street, random processes."""

from __future__ import annotations

import torch

from tutorlib.exercises.maximum_entropy_rl.worlds import (
    normal,
    numbers,
    random_mdp,
    rounding,
    simplex,
)
from tutorlib.mdp import GridWorld, TabularMDP

__all__ = ["DISCOUNT", "STREET", "YARD", "endless_mdp", "normal", "numbers", "random_mdp",
           "rounding", "side_room", "simplex", "yard"]

YARD = """
....G
.##..
S....
"""  # two ways round a shed
DISCOUNT, GOAL_REWARD, STEP_REWARD = 0.9, 10.0, -1.0


def yard(slip: float = 0.1, discount: float = DISCOUNT, drawn: str = YARD) -> GridWorld:
    """Return the yard of the lesson; wind pushes aside with probability ``slip``."""
    return GridWorld(drawn, rewards={"G": GOAL_REWARD}, step_reward=STEP_REWARD, slip=slip,
                     discount=discount)


# One step from home: walk (+1) ends the episode, wait (-1) stays. Discount 0.5.
STREET = TabularMDP.from_dense(
    [[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]], [[1.0, -1.0], [0.0, 0.0]],
    terminal=[False, True], discount=0.5, state_names=("street", "home"),
    action_names=("walk", "wait"))


def endless_mdp(generator: torch.Generator, states: int, actions: int,
                discount: float = 0.8) -> TabularMDP:
    """Return a random process without an end."""
    return TabularMDP.from_dense(simplex(generator, states, actions, states),
                                 normal(generator, states, actions), discount=discount)


def side_room(generator: torch.Generator) -> TabularMDP:
    """Return a process whose last state, a side room, is never reached from the start."""
    mdp = random_mdp(generator, 4, 3, 0.7, home=1)
    dense = mdp.transition_matrix.clone()
    dense[:3, :, 3] = 0.0
    return TabularMDP.from_dense(
        dense / dense.sum(-1, keepdim=True), mdp.reward, torch.tensor([1.0, 0.0, 0.0, 0.0]),
        terminal=mdp.terminal, discount=mdp.discount, state_names=mdp.state_names)
