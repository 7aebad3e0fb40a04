"""What unit 06's lesson, graders and tests share: a garden, random worlds, a tree of futures."""

from __future__ import annotations

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.mdp import GridWorld

# Roses (r) please, grass (.) and wet grass (w) do not matter, wet roses (W) hurt.
TERRAIN = """
...rr
.Wwwr
.wwW.
..WW.
.....
"""
PAYS = {".": 0.0, "w": 0.0, "r": 1.0, "W": -1.0}
HORIZON, SLIP, TEMPERATURE = 12, 0.1, 0.3
MAP = ".....\n.....\n.....\n.....\nS...."


def terrain() -> list[str]:
    """Return the letter of each state, in reading order."""
    return [letter for line in TERRAIN.split() for letter in line]


def garden(slip: float = SLIP, horizon: int | None = HORIZON, discount: float = 1.0) -> GridWorld:
    """Return the garden; R(s') is what arriving on its terrain pays."""
    world = GridWorld(MAP, slip=slip, horizon=horizon, discount=discount)
    return world.with_rewards(numbers([PAYS[letter] for letter in terrain()]))


def garden_features() -> Tensor:
    """Return phi(s') = (rose, wet), [states, 2]."""
    return numbers([[float(c in "rW"), float(c in "wW")] for c in terrain()])


def numbers(rows) -> Tensor:
    """Return a float64 tensor."""
    return torch.tensor(rows, dtype=torch.float64)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Return standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def simplex(generator: torch.Generator, *shape: int, sharp: float = 1.0) -> Tensor:
    """Return rows of probabilities; ``sharp`` above 1 makes them less even."""
    weights = (0.1 + torch.rand(*shape, generator=generator, dtype=torch.float64)) ** sharp
    return weights / weights.sum(-1, keepdim=True)


def steered(generator: torch.Generator, states: int, actions: int, sure: float = 0.7) -> Tensor:
    """Return transitions in which each action has a favourite next state, reached with ``sure``."""
    aims = torch.stack([torch.randperm(states, generator=generator)[:actions]
                        for _ in range(states)])
    favourite = torch.nn.functional.one_hot(aims, states).double()
    return sure * favourite + (1 - sure) * simplex(generator, states, actions, states)


def tree_of_futures(transition_matrix: Tensor, cell_rewards: Tensor, temperature: float):
    """Return value(state, left) and choice(state, left) for ``left`` decisions to go.

    Expectimax with a soft maximum, one node at a time: no table, no loop over time, no tensor.
    """
    moves, paid = transition_matrix.tolist(), cell_rewards.tolist()

    def worth(state: int, left: int) -> list[float]:
        return [math.fsum(p * (paid[s] + value(s, left - 1)) for s, p in enumerate(row) if p)
                for row in moves[state]]

    @cache
    def value(state: int, left: int) -> float:
        if left == 0:
            return 0.0
        q = worth(state, left)
        top = max(q)
        return top + temperature * math.log(math.fsum(
            math.exp((x - top) / temperature) for x in q))

    def choice(state: int, left: int) -> list[float]:
        q = worth(state, left)
        return [math.exp((x - value(state, left)) / temperature) for x in q]

    return value, choice


def tree_loss(transition_matrix, features, weights, expert_features, initial_state_dist,
              temperature, horizon) -> float:
    """Return (E_mu[V_0] - theta . f) / lambda, from the tree."""
    value, _ = tree_of_futures(transition_matrix, features @ weights, temperature)
    start = math.fsum(p * value(s, horizon) for s, p in enumerate(initial_state_dist.tolist()))
    return (start - float(weights @ expert_features)) / temperature


def tree_gradient(transition_matrix, features, weights, expert_features, initial_state_dist,
                  temperature, horizon, step: float = 1e-4) -> Tensor:
    """Return the loss's gradient by central differences of fourth order."""
    def loss(index: int, shift: float) -> float:
        moved = weights.clone()
        moved[index] += shift
        return tree_loss(transition_matrix, features, moved, expert_features,
                         initial_state_dist, temperature, horizon)

    return numbers([
        (8 * (loss(k, step) - loss(k, -step)) - (loss(k, 2 * step) - loss(k, -2 * step)))
        / (12 * step) for k in range(len(weights))])


def tree_visits(transition_matrix, cell_rewards, initial_state_dist, temperature, horizon
                ) -> Tensor:
    """Return d_t(s) of the soft-optimal policy, [horizon + 1, states], choices from the tree."""
    _, choice = tree_of_futures(transition_matrix, cell_rewards, temperature)
    here, visits = initial_state_dist.tolist(), [initial_state_dist.tolist()]
    moves = transition_matrix.tolist()
    for left in range(horizon, 0, -1):
        following = [0.0] * len(here)
        for s, arrived in enumerate(here):
            for chance, row in zip(choice(s, left), moves[s], strict=True):
                following = [f + arrived * chance * p for f, p in zip(following, row, strict=True)]
        here = following
        visits.append(here)
    return numbers(visits)


def walk(transition_matrix, policy, initial_state_dist, n: int, generator: torch.Generator
         ) -> Tensor:
    """Draw ``n`` state sequences of a policy [horizon, states, actions]: [n, horizon + 1]."""
    here = torch.multinomial(initial_state_dist, n, True, generator=generator)
    states = [here]
    for table in policy:
        action = torch.multinomial(table[here], 1, generator=generator)[:, 0]
        here = torch.multinomial(transition_matrix[here, action], 1, generator=generator)[:, 0]
        states.append(here)
    return torch.stack(states, 1)


def shown_features(phi: Tensor, demos: Tensor) -> Float[Tensor, " features"]:
    """Return the features met on arrival, added up over time, averaged over demonstrations."""
    return phi[demos[:, 1:]].sum(1).mean(0)


def name_time_and_state(case, index: tuple[int, ...]) -> str | None:
    """Say which time, state and action an entry belongs to."""
    parts = [f"{word} {i}" for word, i in zip(("time", "state", "action"), index, strict=False)]
    return ", ".join(parts) if len(parts) > 1 else None
