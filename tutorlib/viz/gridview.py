"""What a picture of a gridworld shows: checked arrays, and the words that describe them.

A grid is read through its public attributes only: ``rows``, ``cols``, ``lines``, ``cell_of``,
``cell_rewards`` and ``mdp``. Cells are (row, column) from 0, row 0 on top, as in the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import as_array, count, listing, number

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left: the order of actions
NAMES = ("up", "right", "down", "left")


@dataclass(frozen=True)
class Panel:
    """One grid of a row of panels."""

    grid: object  # a GridWorld
    values: ArrayLike | None = None  # one number per state
    policy: ArrayLike | None = None  # [states, actions], probabilities of up, right, down, left
    title: str = ""  # short: what distinguishes this panel
    path: Sequence[int] | None = None  # state indices of a trajectory, drawn as a line
    show_rewards: bool = False  # write the reward for arriving in a cell in its corner


class View:
    """A panel's arrays, checked."""

    def __init__(self, panel: Panel):
        """Read the panel; raise InvalidArgumentError on wrong shapes or numbers."""
        grid = panel.grid
        self.panel, self.rows, self.cols = panel, grid.rows, grid.cols
        self.mdp = grid.mdp
        n_states = self.mdp.n_states
        self.cells = [tuple(grid.cell_of(state)) for state in range(n_states)]
        self.state_at = {cell: state for state, cell in enumerate(self.cells)}
        self.start = as_array(self.mdp.initial_state_dist, "initial_state_dist") > 0
        self.terminal = as_array(self.mdp.terminal, "terminal") > 0
        self.rewards = as_array(grid.cell_rewards, "cell_rewards", (n_states,))
        self.values = self.policy = None
        if panel.values is not None:
            given = as_array(panel.values, "values", (n_states,))
            self.values = np.full((self.rows, self.cols), np.nan)
            for cell, value in zip(self.cells, given, strict=True):
                self.values[cell] = value
        if panel.policy is not None:
            self.policy = as_array(panel.policy, "policy", (n_states, len(MOVES)))
            _check_policy(self.policy)
        self.path = None if panel.path is None else self._path_cells(panel.path)

    def coloured(self) -> np.ndarray:
        """Return the values that the heat map colours, NaN elsewhere.

        A terminal cell worth 0 stays white: nothing follows there, and it would stretch the scale.
        """
        shown = self.values.copy()
        for state, cell in enumerate(self.cells):
            if self.terminal[state] and shown[cell] == 0:
                shown[cell] = np.nan
        return shown

    def _path_cells(self, path: Sequence[int]) -> list[tuple[int, int]]:
        """Return the cells of a trajectory."""
        states = as_array(path, "path", (None,)).astype(int)
        if states.size == 0 or states.min() < 0 or states.max() >= len(self.cells):
            raise InvalidArgumentError(
                f"path must hold state indices from 0 to {len(self.cells) - 1}, at least one")
        return [self.cells[state] for state in states]

    def mark(self, state: int) -> str:
        """Return the letter in a cell's corner: S, G, X or none."""
        row, column = self.cells[state]
        return self.panel.grid.lines[row][column].replace(".", "")

    def marked(self, letter: str) -> list[str]:
        """Return the cells that carry a letter."""
        return [str(cell) for state, cell in enumerate(self.cells) if self.mark(state) == letter]

    def follow(self) -> list[tuple[int, int]]:
        """Return the cells that the likeliest actions lead through from the first start."""
        state = int(self.start.argmax())
        seen = [self.cells[state]]
        while not self.terminal[state]:
            row, column = self.cells[state]
            step = MOVES[int(self.policy[state].argmax())]
            state = self.state_at.get((row + step[0], column + step[1]), state)
            if self.cells[state] in seen:
                return [*seen, self.cells[state]]
            seen.append(self.cells[state])
        return seen


def _check_policy(policy: np.ndarray) -> None:
    """Raise InvalidArgumentError unless each row is a distribution over actions."""
    wrong = (policy < -1e-6).any(1) | (np.abs(policy.sum(1) - 1) > 1e-4)
    if wrong.any():
        state = int(wrong.argmax())
        raise InvalidArgumentError(
            f"policy[{state}] is {[round(float(p), 4) for p in policy[state]]}; expected "
            "probabilities of up, right, down, left that sum to 1")


def describe(title: str, views: Sequence[View], label: str, note: str) -> str:
    """Put the picture into words."""
    alt = [f"{title}."]
    if len(views) > 1:
        alt.append(f"{len(views)} panels.")
    described = None
    for index, view in enumerate(views):
        ground = _ground_words(view)
        name = f"Panel {index + 1}, {view.panel.title or 'untitled'}: " if len(views) > 1 else ""
        body = [sentence for sentence in (
            ground if ground != described else "", _value_words(view, label),
            _policy_words(view), _path_words(view)) if sentence]
        described = ground
        alt.append(name + " ".join(body or ["the same grid."]))
    return " ".join([*alt, note]).strip()


def _ground_words(view: View) -> str:
    """Say what the map looks like."""
    walls = view.rows * view.cols - len(view.cells)
    parts = [count(walls, "wall cell")] if walls else []
    for letter, word in (("S", "start"), ("G", "goal"), ("X", "pit")):
        cells = view.marked(letter)
        if 0 < len(cells) <= 6:
            parts.append(f"{word}{'s' * (len(cells) > 1)} {listing(cells)}")
        elif cells:
            parts.append(count(len(cells), f"{word} cell"))
    text = f"Grid of {count(view.rows, 'row')} by {count(view.cols, 'column')}"
    text += f"; {', '.join(parts)}." if parts else "."
    if view.panel.show_rewards:
        text += f" {reward_words(view.cells, view.rewards)}"
    return text


def reward_words(cells: Sequence[tuple[int, int]], rewards: np.ndarray) -> str:
    """Say what arriving in the cells pays: the commonest reward, then the exceptions."""
    kinds, counts = np.unique(rewards, return_counts=True)
    common = kinds[counts.argmax()]
    other = [f"{number(reward)} at {cell}" for cell, reward in zip(cells, rewards, strict=True)
             if reward != common]
    text = f"Reward on arrival: {number(common)}"
    return f"{text}, but {listing(other)}." if other else f"{text} everywhere."


def _value_words(view: View, label: str) -> str:
    """Say where the values are highest and lowest, and what the start is worth."""
    if view.values is None:
        return ""
    high = tuple(int(i) for i in np.unravel_index(np.nanargmax(view.values), view.values.shape))
    low = tuple(int(i) for i in np.unravel_index(np.nanargmin(view.values), view.values.shape))
    if view.values[high] == view.values[low]:
        return f"{label}: {number(view.values[high])} everywhere."
    begin = view.values[tuple(zip(*[view.cells[s] for s in np.flatnonzero(view.start)],
                                  strict=True))]
    start = "start" if len(begin) == 1 else "mean over the cells to start in"
    return (f"{label}: highest {number(view.values[high])} at {high}, lowest "
            f"{number(view.values[low])} at {low}, {start} {number(begin.mean())}.")


def _policy_words(view: View) -> str:
    """Say where the arrows lead from the start, and how decided they are."""
    if view.policy is None:
        return ""
    acting = view.policy[~view.terminal]
    split = int((acting.max(1) < 0.98).sum())
    where = f"; {count(split, 'cell')} with more than one sizeable arrow" if split else ""
    walk = view.follow()
    last, steps = walk[-1], len(walk) - 1
    if view.terminal[view.state_at[last]]:
        end = f"lead to {view.mark(view.state_at[last])} at {last} in {count(steps, 'step')}"
    elif walk[-1] == walk[-2]:
        end = f"get stuck at {last} after {count(steps - 1, 'step')}"
    else:
        end = f"go round in a circle, back to {last} after {count(steps, 'step')}"
    first = NAMES[int(view.policy[int(view.start.argmax())].argmax())]
    return f"From {walk[0]} the likeliest arrows {end}, first {first}{where}."


def _path_words(view: View) -> str:
    """Say where the drawn trajectory goes."""
    if view.path is None:
        return ""
    return (f"A path of {count(len(view.path) - 1, 'step')} runs from {view.path[0]} "
            f"to {view.path[-1]}.")
