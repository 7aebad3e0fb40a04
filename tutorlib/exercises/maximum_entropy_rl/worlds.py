"""What unit 03's lesson, figures and tests share: one map, three answers, random processes."""

from __future__ import annotations

import torch

from tutorlib.mdp import GridWorld, TabularMDP

TWO_STREETS = """
.....
S###G
.....
"""  # both ways round the block take six steps
DISCOUNT, GOAL_REWARD, STEP_REWARD = 0.95, 10.0, -0.5

ANSWERS = ("blue", "grey", "grey today")  # how "The colour of the sky is ..." may go on
REFERENCE = (0.6, 0.3, 0.1)  # how often the model says each before it is tuned; made up
REWARD = (0.0, 1.0, 2.0)  # what a person on a rainy day thinks of each; made up

# The same three answers, one word at a time: [states, actions]. A second choice follows each first
# word: action 0 ends the answer, action 1 says "today".
TREE_STATES = ("the sky is", "blue", "grey", "end")
TREE_NEXT = ((1, 2), (3, 3), (3, 3), (3, 3))
TREE_REWARD = ((0.0, 0.0), (0.0, 0.0), (1.0, 2.0), (0.0, 0.0))
TREE_PRIOR = ((0.6, 0.4), (1.0, 0.0), (0.75, 0.25), (0.5, 0.5))
TREE_HORIZON = 2


def two_streets(closed: bool = False) -> GridWorld:
    """Return the courier's town; ``closed`` puts a wall across the upper street."""
    drawn = TWO_STREETS.replace(".....", "..#..", 1) if closed else TWO_STREETS
    return GridWorld(drawn, rewards={"G": GOAL_REWARD}, step_reward=STEP_REWARD, discount=DISCOUNT)


def numbers(rows) -> torch.Tensor:
    """Return a float64 tensor."""
    return torch.tensor(rows, dtype=torch.float64)


def normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Return standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def simplex(generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Return rows of probabilities, none of them tiny."""
    weights = 0.1 + torch.rand(*shape, generator=generator, dtype=torch.float64)
    return weights / weights.sum(-1, keepdim=True)


def random_mdp(generator: torch.Generator, states: int, actions: int,
               discount: float = 0.8, home: int | None = None) -> TabularMDP:
    """Return a random process with chance in every step; state ``home`` (the last) is terminal."""
    home = states - 1 if home is None else home
    transitions = simplex(generator, states, actions, states)
    transitions[home] = 0.0
    transitions[home, :, home] = 1.0
    reward = normal(generator, states, actions)
    reward[home] = 0.0
    terminal = torch.arange(states) == home
    names = tuple("home" if i == home else f"place {i}" for i in range(states))
    return TabularMDP.from_dense(transitions, reward, terminal=terminal, discount=discount,
                                 state_names=names)


def rounding(answer: torch.Tensor) -> float:
    """Return how far rounding may push an answer: more for one computed in float32."""
    return 1e-9 if answer.dtype == torch.float64 else 1e-4
