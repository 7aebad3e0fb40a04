"""Gridworlds drawn as text: the smallest decision problems one can see."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, InvalidMapError
from tutorlib.mdp.tabular import TabularMDP

MEANINGS = {
    ".": "free",
    "S": "start",
    "G": "goal (terminal)",
    "X": "pit (terminal)",
    "#": "wall",
}
DEFAULT_REWARDS = {"G": 1.0, "X": -1.0}
MOVES = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}


class GridWorld:
    """A gridworld read from a drawn map; ``.mdp`` is its TabularMDP.

    Characters: ``.`` free, ``#`` wall, ``S`` start, ``G`` goal, ``X`` pit (both end the episode).
    Common indentation and empty first and last lines are ignored. Several ``S`` share the start
    uniformly; without any, episodes start uniformly in the free cells that do not end them.

    Actions are up, right, down, left. The move intended happens with probability ``1 - slip``, each
    of the two perpendicular ones with ``slip / 2``; a move into a wall or off the map stays put.

    The reward is paid on arrival: r(s, a) = sum_s' P(s' | s, a) R(s'), where R(cell) is
    ``cell_rewards[(row, col)]`` if given, else ``rewards[character]``, else ``step_reward``; unless
    told otherwise a goal pays 1 and a pit -1. Staying put arrives in one's own cell.

    Treat instances as read-only. ``cell_rewards`` holds R, one number per state. Raises
    InvalidMapError for a map it cannot read, InvalidArgumentError for other settings.

    >>> grid = GridWorld("S..G\\n.#.X", slip=0.2, step_reward=-0.04)
    >>> grid.rows, grid.cols, grid.mdp.n_states, grid.cell_of(4)
    (2, 4, 7, (1, 0))
    """

    rows: int
    cols: int
    lines: tuple[str, ...]  # the map, one string per row
    walls: Bool[Tensor, "rows cols"]
    cells: Int[Tensor, "states 2"]  # (row, col) of each state, in reading order
    cell_rewards: Float[Tensor, " states"]
    mdp: TabularMDP

    def __init__(
        self,
        map: str,
        slip: float = 0.0,
        step_reward: float = 0.0,
        rewards: Mapping[str, float] | None = None,
        cell_rewards: Mapping[tuple[int, int], float] | None = None,
        discount: float = 0.95,
        horizon: int | None = None,
    ) -> None:
        """Read the map and build its decision process."""
        self.lines = _read(map)
        self.rows, self.cols = len(self.lines), len(self.lines[0])
        self.slip = _probability(slip)
        characters = np.array([list(line) for line in self.lines])
        self.walls = torch.from_numpy(characters == "#")
        self.cells = (~self.walls).nonzero()
        self._index = torch.full((self.rows, self.cols), -1)
        self._index[~self.walls] = torch.arange(len(self.cells))
        kinds = characters[characters != "#"]
        self.cell_rewards = _arrival_rewards(kinds, step_reward, rewards)
        for cell, reward in (cell_rewards or {}).items():
            self.cell_rewards[self.state_of(*cell)] = reward
        self.mdp = self._build(kinds, discount, horizon)

    def _build(self, kinds: np.ndarray, discount: float, horizon: int | None) -> TabularMDP:
        """Return the decision process of this map."""
        terminal = torch.from_numpy((kinds == "G") | (kinds == "X"))
        successors, probabilities = _transitions(self._index, self.cells, terminal, self.slip)
        return TabularMDP(
            successors=successors,
            probabilities=probabilities,
            reward=_expected(successors, probabilities, terminal, self.cell_rewards),
            initial_state_dist=_initial(torch.from_numpy(kinds == "S"), terminal),
            discount=discount,
            horizon=horizon,
            terminal=terminal,
            state_names=tuple(f"({row}, {col})" for row, col in self.cells.tolist()),
            action_names=tuple(MOVES),
        )

    def __repr__(self) -> str:
        """Describe the grid in one line."""
        return f"GridWorld({self.rows} x {self.cols}, slip={self.slip}, {self.mdp})"

    def cell_of(self, state: int) -> tuple[int, int]:
        """Return the (row, column) of a state, both counted from 0.

        >>> GridWorld("S#G").cell_of(1)
        (0, 2)
        """
        if not 0 <= state < len(self.cells):
            raise InvalidArgumentError(
                f"state {state} does not exist; states are 0 to {len(self.cells) - 1}"
            )
        row, col = self.cells[state].tolist()
        return row, col

    def state_of(self, row: int, col: int) -> int:
        """Return the state of a cell; raise InvalidArgumentError for a wall or outside the map.

        >>> GridWorld("S#G").state_of(0, 2)
        1
        """
        if not (0 <= row < self.rows and 0 <= col < self.cols):
            raise InvalidArgumentError(
                f"cell ({row}, {col}) is outside the map of {self.rows} rows, {self.cols} columns"
            )
        state = int(self._index[row, col])
        if state < 0:
            raise InvalidArgumentError(f"cell ({row}, {col}) is a wall; only free cells are states")
        return state

    def with_rewards(self, cell_rewards: Tensor | Mapping[tuple[int, int], float]) -> GridWorld:
        """Return the same map with other arrival rewards R(s').

        ``cell_rewards`` is one number per state, a [rows, cols] tensor (its values on walls are
        ignored), or a dict {(row, col): reward} that changes only the cells it names.

        >>> GridWorld("S.G").with_rewards({(0, 2): 5.0}).cell_rewards.tolist()
        [0.0, 0.0, 5.0]
        """
        rewards = self.cell_rewards.clone()
        if isinstance(cell_rewards, Mapping):
            for cell, reward in cell_rewards.items():
                rewards[self.state_of(*cell)] = reward
        else:
            rewards = self._per_state(torch.as_tensor(cell_rewards).to(rewards))
        changed = copy.copy(self)
        changed.cell_rewards = rewards
        mdp = self.mdp
        reward = _expected(mdp.successors, mdp.probabilities, mdp.terminal, rewards)
        changed.mdp = mdp.replace(reward=reward)
        return changed

    def _per_state(self, rewards: Tensor) -> Tensor:
        """Return one reward per state from a per-state or a [rows, cols] tensor."""
        if rewards.shape == (self.rows, self.cols):
            return rewards[~self.walls]
        if rewards.shape == (len(self.cells),):
            return rewards
        raise InvalidArgumentError(
            f"cell_rewards has shape {tuple(rewards.shape)}; expected {(len(self.cells),)}, one "
            f"per state, or {(self.rows, self.cols)}, one per cell of the map"
        )

    def to_grid(self, values: Float[Tensor, "*batch states"]) -> Float[Tensor, "*batch rows cols"]:
        """Lay values of the states out on the map, with NaN on walls.

        >>> GridWorld("S#G").to_grid(torch.tensor([1.0, 2.0])).tolist()
        [[1.0, nan, 2.0]]
        """
        if values.shape[-1:] != (len(self.cells),):
            raise InvalidArgumentError(
                f"values has shape {tuple(values.shape)}; expected (..., {len(self.cells)})"
            )
        grid = values.new_full((*values.shape[:-1], self.rows, self.cols), float("nan"))
        grid[..., ~self.walls.to(values.device)] = values
        return grid


def _read(text: str) -> tuple[str, ...]:
    """Return the lines of a drawn map, or raise InvalidMapError saying what is wrong and where."""
    if not isinstance(text, str):
        raise InvalidMapError(f"the map is a {type(text).__name__}; expected a string")
    lines = tuple(line.rstrip() for line in textwrap.dedent(text.strip("\n")).split("\n"))
    while lines and not lines[-1]:
        lines = lines[:-1]
    if not lines:
        raise InvalidMapError("the map is empty; draw at least one line, for example 'S..G'")
    for row, line in enumerate(lines):
        for col, character in enumerate(line):
            if character not in MEANINGS:
                known = ", ".join(f"{key!r} {meaning}" for key, meaning in MEANINGS.items())
                raise InvalidMapError(
                    f"unknown character {character!r} in row {row}, column {col} (counted from 0); "
                    f"known: {known}"
                )
        if len(line) != len(lines[0]):
            raise InvalidMapError(
                f"row {row} is {len(line)} characters long but row 0 is {len(lines[0])}; every "
                "line needs the same length (use '#' for cells outside the world)"
            )
    if all(set(line) == {"#"} for line in lines):
        raise InvalidMapError("the map has no free cell: every character is a wall '#'")
    return lines


def _probability(slip: float) -> float:
    """Return ``slip``, or raise InvalidArgumentError unless it is a probability."""
    if not 0 <= slip <= 1:
        raise InvalidArgumentError(f"slip is {slip!r}; expected a probability from 0 to 1")
    return float(slip)


def _arrival_rewards(
    kinds: np.ndarray, step_reward: float, rewards: Mapping[str, float] | None
) -> Tensor:
    """Return R(s'), one number per state, from the characters of the cells."""
    chosen = {**DEFAULT_REWARDS, **(rewards or {})}
    result = torch.full((len(kinds),), float(step_reward), dtype=torch.float64)
    for character, reward in chosen.items():
        if character not in MEANINGS or character == "#":
            raise InvalidArgumentError(
                f"rewards names {character!r}, which no one can arrive at; expected keys among "
                "'.', 'S', 'G', 'X'"
            )
        result[torch.from_numpy(kinds == character)] = float(reward)
    return result


def _transitions(
    index: Tensor, cells: Tensor, terminal: Tensor, slip: float
) -> tuple[Tensor, Tensor]:
    """Return successors and probabilities: the move intended and, if slipping, its two sides."""
    own = torch.arange(len(cells))
    bordered = torch.nn.functional.pad(index, (1, 1, 1, 1), value=-1)
    arrivals = []
    for row, col in MOVES.values():
        found = bordered[cells[:, 0] + 1 + row, cells[:, 1] + 1 + col]
        arrivals.append(torch.where((found < 0) | terminal, own, found))
    turns, chances = ((0, -1, 1), (1 - slip, slip / 2, slip / 2)) if slip else ((0,), (1.0,))
    successors = torch.stack(
        [torch.stack([arrivals[(move + turn) % 4] for move in range(4)], 1) for turn in turns], 2
    )
    probabilities = torch.tensor(chances, dtype=torch.float64).expand(successors.shape)
    return successors, probabilities


def _initial(starts: Tensor, terminal: Tensor) -> Tensor:
    """Return the initial distribution: over the starts, else over cells that do not end it."""
    chosen = starts if bool(starts.any()) else ~terminal
    if not bool(chosen.any()):
        raise InvalidMapError(
            "the map has no cell to start in: every free cell is a goal or a pit; draw an 'S' or "
            "a '.'"
        )
    weights = chosen.double()
    return weights / weights.sum()


def _expected(
    successors: Tensor, probabilities: Tensor, terminal: Tensor, arrival: Tensor
) -> Tensor:
    """Return r(s, a) = sum_s' P(s' | s, a) R(s'), and 0 in terminal states."""
    rewards = (probabilities * arrival[successors]).sum(-1)
    return torch.where(terminal[:, None], torch.zeros_like(rewards), rewards)
