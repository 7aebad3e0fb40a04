"""Draw walks through a gridworld with mouse or keyboard; a learned reward answers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import anywidget
import numpy as np
import torch
import traitlets

from tutorlib.errors import InvalidArgumentError, TutorlibError
from tutorlib.mdp import GridWorld
from tutorlib.viz.arrays import as_array, count, number, required_text
from tutorlib.viz.grids import gridworld
from tutorlib.viz.gridview import Panel, View
from tutorlib.viz.picture import Picture
from tutorlib.viz.widgetkit import asset, with_default

_MOST_CELLS, _MOST_WALKS, _MOST_STEPS = 100, 8, 80

Walks = Sequence[Sequence[int]]


class DemonstrationPad(anywidget.AnyWidget):
    """Drag demonstrations through a grid and watch the reward that explains them appear.

    ``fit`` is called with the walks (lists of state indices) at every change. It returns an object
    with ``reward`` [states], ``policy`` [states, actions], ``visits`` and ``shown`` [states] (of
    the policy and of the walks) and ``agreement``: ``tutorlib.irl.walk_fitter`` makes one.
    ``walks`` may also be set in Python. Walks that make no sense are refused: they return to what
    they were, and ``message`` says why.

    Raises InvalidArgumentError when built with such walks, or for more than 100 cells.

    >>> from tutorlib.irl import walk_fitter
    >>> grid = GridWorld("S..\\n...")
    >>> pad = DemonstrationPad(grid, walk_fitter(grid), walks=[[0, 1]])
    >>> pad.extend("right")
    >>> pad.walks, int(pad.found.reward.argmax())
    ([[0, 1, 2]], 2)
    """

    _esm = asset("common.js", "gridmap.js", "demonstrate.js")
    _css = asset("widgets.css")

    title = traitlets.Unicode().tag(sync=True)
    rows = traitlets.Int().tag(sync=True)
    cols = traitlets.Int().tag(sync=True)
    cells = traitlets.List().tag(sync=True)  # (row, column) of each state
    marks = traitlets.List().tag(sync=True)  # "S", "G", "X" or "" of each state
    starts = traitlets.List().tag(sync=True)  # states to start in
    limits = traitlets.List().tag(sync=True)  # most walks, most steps of one
    initial = traitlets.List().tag(sync=True)  # the walks that Reset returns to
    walks = traitlets.Any().tag(sync=True)  # state indices, the last walk is being drawn
    answer = traitlets.Dict().tag(sync=True)  # reward, policy, visits, status for the browser
    message = traitlets.Unicode().tag(sync=True)  # why the last walks were refused, or ""

    def __init__(self, grid: GridWorld, fit: Callable[[Walks], object], walks: Walks = (), *,
                 title: str = "Draw what somebody did: the reward appears"):
        """Show ``grid`` with ``walks`` on it; without any, one begins at the start."""
        if grid.rows * grid.cols > _MOST_CELLS:
            raise InvalidArgumentError(f"this map has {grid.rows * grid.cols} cells; a reward is "
                                       f"found quickly enough for at most {_MOST_CELLS}")
        view = View(Panel(grid))
        starts = np.flatnonzero(view.start).tolist()
        self._grid, self._fit, self._terminal = grid, fit, view.terminal
        self._good = self._checked(walks if len(walks) else [[starts[0]]])
        self._found = fit(self._good)
        super().__init__(
            title=required_text(title, "title"), rows=grid.rows, cols=grid.cols,
            cells=[list(cell) for cell in view.cells],
            marks=[view.mark(state) for state in range(len(view.cells))], starts=starts,
            limits=[_MOST_WALKS, _MOST_STEPS], initial=self._good, walks=self._good,
            answer=self._as_answer())

    @property
    def found(self):
        """What ``fit`` made of the present walks."""
        return self._found

    def extend(self, direction: str) -> None:
        """Lengthen the last walk by one cell: "up", "right", "down" or "left"."""
        steps = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}
        if direction not in steps:
            raise InvalidArgumentError(f"direction is {direction!r}; expected one of "
                                       f"{', '.join(steps)}")
        (row, col), (by_row, by_col) = self._grid.cell_of(self.walks[-1][-1]), steps[direction]
        following = self._grid.state_of(row + by_row, col + by_col)
        self.walks = [*self.walks[:-1], [*self.walks[-1], following]]

    def undo(self) -> None:
        """Take back the last step of the last walk, or the walk when it has none."""
        last = self.walks[-1][:-1]
        kept = [*self.walks[:-1], last] if last else self.walks[:-1]
        self.walks = kept or [[self.starts[0]]]

    def begin(self, row: int, col: int) -> None:
        """Begin a new walk in a cell."""
        self.walks = [*self.walks, [self._grid.state_of(row, col)]]

    def reset(self) -> None:
        """Return to the walks of the beginning."""
        self.message, self.walks = "", [list(walk) for walk in self.initial]

    def _checked(self, walks) -> list[list[int]]:
        """Return walks as plain lists of states; raise InvalidArgumentError for odd ones."""
        if not isinstance(walks, list | tuple) or not walks or len(walks) > _MOST_WALKS:
            raise InvalidArgumentError(f"walks must be a list of 1 to {_MOST_WALKS} walks")
        plain = []
        for i, walk in enumerate(walks):
            states = as_array(walk, f"walk {i}", (None,)).astype(int).tolist()
            if not states or len(states) > _MOST_STEPS + 1:
                raise InvalidArgumentError(f"walk {i} has {len(states)} cells; expected 1 to "
                                           f"{_MOST_STEPS + 1}")
            if any(self._terminal[s] for s in states[:-1] if 0 <= s < len(self._terminal)):
                raise InvalidArgumentError(f"walk {i} goes on after a cell that ends the episode")
            plain.append(states)
        return plain

    @traitlets.observe("walks")
    def _answer(self, change) -> None:
        """Fit again; or refuse the new walks, say why, and put the last good ones back."""
        if self.walks == self._good:
            return
        try:
            good = self._checked(self.walks)
            found = self._fit(good)
        except TutorlibError as problem:
            self.message = f"Not accepted: {problem}"
            self.walks = self._good
            return
        self._good, self._found = good, found
        with self.hold_sync():
            self.message, self.answer = "", self._as_answer()

    def _as_answer(self) -> dict:
        """Return what the browser draws."""
        found = self._found
        plain = {name: [round(float(x), 5) for x in getattr(found, name)]
                 for name in ("reward", "visits", "shown")}
        policy = [[round(p, 5) for p in row] for row in torch.as_tensor(found.policy).tolist()]
        return {**plain, "policy": policy, "status": self.status(), "walks": self._good}

    def status(self) -> str:
        """Say what was drawn and what was found."""
        steps = sum(len(walk) - 1 for walk in self._good)
        if not steps:
            return "No step is drawn yet: nothing is known, and the reward is 0 everywhere."
        reward = torch.as_tensor(self._found.reward)
        high, low = int(reward.argmax()), int(reward.argmin())
        drawn = sum(len(walk) > 1 for walk in self._good)
        return (f"{count(drawn, 'walk')}, {count(steps, 'step')}. Reward highest at "
                f"{self._grid.cell_of(high)}, {number(float(reward[high]))}, lowest at "
                f"{self._grid.cell_of(low)}, {number(float(reward[low]))}. The policy gives the "
                f"moves shown {self._found.agreement:.0%} on average.")

    def picture(self) -> Picture:
        """Return the present state as a static picture: the reward, its policy, the last walk."""
        found, last = self._found, max(self._good, key=len)
        note = (f"{self.status()} The longest of the walks is drawn." if len(self._good) > 1
                else self.status())
        return gridworld(self._grid, found.reward, found.policy, title=self.title,
                         label="learned reward", path=last, note=note)

    def _repr_mimebundle_(self, **kwargs):
        """Return the live view, and a picture for where none can run."""
        picture = self.picture()
        html = (f'<figure data-testid="demonstrate-static" style="margin:0">{picture.html()}'
                f"<figcaption>{escape(self.status())} Run this cell in JupyterLab to draw "
                "walks.</figcaption></figure>")
        return with_default(super()._repr_mimebundle_(**kwargs), html, picture.alt)
