"""Walks through a gridworld, drawn by hand, and the reward that explains them at once.

For showing, not for measuring: one reward per cell, paid on arrival, of an endless discounted
process, so that the policy needs no clock. The objective is the likelihood of the moves that were
drawn (``tutorlib.irl.likelihood``): a walk that stops is not taken for a wish to stop. The penalty
decides what the walks leave open; cells that no move shuns or seeks stay near 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.demonstrations import Episode
from tutorlib.irl.fitting import FitSettings, fit_reward
from tutorlib.irl.rewards import TabularReward
from tutorlib.mdp import GridWorld, uniform_policy
from tutorlib.mdp.gridworld import MOVES


@dataclass(frozen=True)
class WalkFit:
    """What a reward learned from walks looks like, beside what was shown."""

    reward: Float[Tensor, " states"]  # R(s'), paid for arriving
    policy: Float[Tensor, "states actions"]  # soft-optimal for it
    visits: Float[Tensor, " states"]  # of that policy, from the walks' starts, for their lengths
    shown: Float[Tensor, " states"]  # of the walks; both are means over walks
    agreement: float  # geometric mean of the policy's probabilities of the moves shown


def episodes_of_walks(grid: GridWorld, walks: Sequence[Sequence[int]]) -> list[Episode]:
    """Return (states, actions) of walks given as state indices, one cell at a time.

    Raises InvalidArgumentError for a cell that does not exist or a step that is no step.

    >>> episodes_of_walks(GridWorld("S..\\n..."), [[0, 1, 4]])
    [([0, 1, 4], [1, 2])]
    """
    steps, episodes = list(MOVES.values()), []
    for i, walk in enumerate(walks):
        cells = [grid.cell_of(int(state)) for state in walk]
        actions = []
        for t, ((row, col), (to_row, to_col)) in enumerate(pairwise(cells)):
            if (to_row - row, to_col - col) not in steps:
                raise InvalidArgumentError(
                    f"walk {i} goes at step {t} from {(row, col)} to {(to_row, to_col)}; expected "
                    "one cell up, right, down or left")
            actions.append(steps.index((to_row - row, to_col - col)))
        if actions:
            episodes.append(([int(state) for state in walk], actions))
    return episodes


def walk_fitter(grid: GridWorld, temperature: float = 1.0, discount: float = 0.9,
                l2: float = 0.05) -> Callable[[Sequence[Sequence[int]]], WalkFit]:
    """Return a function from walks (lists of state indices) to what they reveal of a reward.

    ``l2`` is the weight of half the squared rewards; walks without a step reveal nothing, and
    without any walk the reward is 0. Some tenths of a second at most for 8 x 8 cells.

    >>> grid = GridWorld("S..\\n...")
    >>> found = walk_fitter(grid)([[0, 1, 2]])
    >>> int(found.reward.argmax()), found.shown.tolist()
    (2, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    """
    mdp = grid.mdp.replace(discount=discount, horizon=None)
    settings = FitSettings(temperature=temperature, objective="likelihood", optimizer="lbfgs",
                           steps=15, l2=l2 / temperature, gradient_tolerance=1e-3)

    def fit(walks: Sequence[Sequence[int]]) -> WalkFit:
        episodes = episodes_of_walks(grid, walks)
        if not episodes:
            nothing = torch.zeros(mdp.n_states, dtype=torch.float64)
            return WalkFit(nothing, uniform_policy(mdp), nothing, nothing, 1 / mdp.n_actions)
        begins = torch.zeros(mdp.n_states, dtype=torch.float64)
        for states, _ in episodes:
            begins[states[0]] += 1 / len(episodes)
        model = TabularReward(mdp, "arrival")
        found = fit_reward(mdp.replace(initial_state_dist=begins), model, episodes, settings)
        policy = found.solution.policy
        visits, shown = _visits(mdp, policy, episodes)
        moves = torch.cat([policy[s[:-1], a] for s, a in episodes])
        return WalkFit(model.table.detach(), policy, visits, shown,
                       float(moves.log().mean().exp()))

    return fit


def _visits(mdp, policy: Tensor, episodes: list[Episode]) -> tuple[Tensor, Tensor]:
    """Return mean visits of the policy, from each walk's start for as long, and of the walks."""
    expected = torch.zeros(mdp.n_states, dtype=torch.float64)
    shown = torch.zeros_like(expected)
    step = torch.einsum("sa,sat->st", policy, mdp.transition_matrix)
    for states, actions in episodes:
        here = torch.zeros_like(expected)
        here[states[0]] = 1.0
        expected += here
        for _ in actions:
            here = here @ step
            expected += here
        shown += torch.bincount(torch.tensor(states), minlength=len(shown)).double()
    return expected / len(episodes), shown / len(episodes)
