"""A gridworld whose rewards are painted; the optimal or soft-optimal plan answers at once."""

from __future__ import annotations

from html import escape

import anywidget
import numpy as np
import torch
import traitlets

from tutorlib.errors import InvalidArgumentError, TutorlibError
from tutorlib.mdp import GridWorld, policy_iteration, soft_policy_iteration
from tutorlib.viz.arrays import as_array, number, required_text
from tutorlib.viz.grids import gridworld
from tutorlib.viz.gridview import NAMES, Panel, View
from tutorlib.viz.picture import Picture
from tutorlib.viz.widgetkit import asset, with_default

_INPUTS = ("cell_rewards", "discount", "temperature", "slip")
_MOST_CELLS = 400


class GridPainter(anywidget.AnyWidget):
    """Paint the reward for arriving in a cell with mouse or keyboard; values and policy follow.

    ``cell_rewards`` (one number per state, as ``grid.cell_rewards``), ``discount``,
    ``temperature`` and ``slip`` may also be set in Python; ``values``, ``policy`` and ``world``
    follow. A setting that makes no sense is refused: it returns to what it was, and ``message``
    says why. Temperature 0 plans with the hard maximum, above it with the soft one.

    Raises InvalidArgumentError when built with such a setting, or for more than 400 cells.

    >>> painter = GridPainter(GridWorld("S.G"), discount=0.5)
    >>> painter.paint(0, 2, 4.0)
    >>> painter.values.tolist()
    [2.0, 4.0, 0.0]
    """

    _esm = asset("common.js", "gridmap.js", "painter.js")
    _css = asset("widgets.css")

    title = traitlets.Unicode().tag(sync=True)
    rows = traitlets.Int().tag(sync=True)
    cols = traitlets.Int().tag(sync=True)
    cells = traitlets.List().tag(sync=True)  # (row, column) of each state
    marks = traitlets.List().tag(sync=True)  # "S", "G", "X" or "" of each state
    starts = traitlets.List().tag(sync=True)  # states to start in
    initial = traitlets.Dict().tag(sync=True)  # what Reset returns to
    cell_rewards = traitlets.Any().tag(sync=True)
    discount = traitlets.Any().tag(sync=True)
    temperature = traitlets.Any().tag(sync=True)
    slip = traitlets.Any().tag(sync=True)
    brush = traitlets.Float(1.0).tag(sync=True)  # the reward that painting writes
    answer = traitlets.Dict().tag(sync=True)  # values, policy and status for the browser
    message = traitlets.Unicode().tag(sync=True)  # why the last setting was refused, or ""

    def __init__(self, grid: GridWorld, temperature: float = 0.0, discount: float | None = None,
                 slip: float | None = None, *, brush: float = 1.0,
                 title: str = "Paint rewards: the plan answers at once"):
        """Show ``grid`` with its own discount and slip unless others are given."""
        if grid.rows * grid.cols > _MOST_CELLS:
            raise InvalidArgumentError(f"this map has {grid.rows * grid.cols} cells; at most "
                                       f"{_MOST_CELLS} can be painted with comfort")
        view = View(Panel(grid))
        self._grid, self._world, self._plan = grid, None, None
        self._good = {
            "cell_rewards": as_array(grid.cell_rewards, "cell_rewards").tolist(),
            "discount": grid.mdp.discount if discount is None else discount,
            "temperature": temperature, "slip": grid.slip if slip is None else slip}
        self._compute(self._good)
        super().__init__(
            title=required_text(title, "title"), rows=grid.rows, cols=grid.cols, brush=brush,
            cells=[list(cell) for cell in view.cells],
            marks=[view.mark(state) for state in range(len(view.cells))],
            starts=np.flatnonzero(view.start).tolist(), initial=dict(self._good),
            answer=self._as_answer(), **self._good)

    @property
    def world(self) -> GridWorld:
        """The gridworld as painted, with the discount and slip of the sliders."""
        return self._world

    @property
    def values(self) -> torch.Tensor:
        """The optimal (soft-optimal) value of each state."""
        return self._plan.values

    @property
    def policy(self) -> torch.Tensor:
        """The optimal (soft-optimal) policy, [states, actions]: up, right, down, left."""
        return self._plan.policy

    def paint(self, row: int, col: int, reward: float) -> None:
        """Set the reward for arriving in a cell, as a stroke of the brush would."""
        rewards = list(self.cell_rewards)
        rewards[self._grid.state_of(row, col)] = reward
        self.cell_rewards = rewards

    def reset(self) -> None:
        """Return to the rewards and settings of the beginning."""
        self.message = ""
        with self.hold_trait_notifications():
            for name, value in self.initial.items():
                setattr(self, name, value)

    @traitlets.validate(*_INPUTS)
    def _plain(self, proposal):
        """Turn tensors and arrays into plain numbers, which is what travels to the browser."""
        value = proposal["value"]
        return value.tolist() if hasattr(value, "tolist") else value

    @traitlets.observe(*_INPUTS)
    def _answer(self, change) -> None:
        """Plan again; or refuse the new setting, say why, and put the last good one back."""
        wanted = {name: getattr(self, name) for name in _INPUTS}
        if wanted == self._good:
            return
        try:
            self._compute(wanted)
        except TutorlibError as problem:
            with self.hold_trait_notifications():  # all back before any of them is looked at
                self.message = f"Not accepted: {problem}"
                for name in _INPUTS:
                    setattr(self, name, self._good[name])
            return
        self._good = wanted
        with self.hold_sync():
            self.message, self.answer = "", self._as_answer()

    def _compute(self, wanted: dict) -> None:
        """Build the world that the settings describe and plan in it; raise TutorlibError if bad."""
        grid = self._grid
        rewards = as_array(wanted["cell_rewards"], "cell_rewards", (grid.mdp.n_states,))
        discount = _within(wanted["discount"], "discount", 0, 0.999)
        temperature = _within(wanted["temperature"], "temperature", 0, 100)
        slip = _within(wanted["slip"], "slip", 0, 1)
        world = GridWorld("\n".join(grid.lines), slip=slip, discount=discount)
        world = world.with_rewards(torch.as_tensor(rewards))
        plan = (soft_policy_iteration(world.mdp, temperature) if temperature
                else policy_iteration(world.mdp))
        self._world, self._plan = world, plan

    def _as_answer(self) -> dict:
        """Return what the browser draws."""
        values = self.values.tolist()
        policy = [[round(p, 5) for p in row] for row in self.policy.tolist()]
        return {"values": values, "policy": policy, "status": self.status()}

    def status(self) -> str:
        """Say what the start is worth and what to do there."""
        dist = self._world.mdp.initial_state_dist
        worth = number(float(dist @ self.values))
        if int((dist > 0).sum()) > 1:
            return f"Mean value over the cells to start in: {worth}."
        start = int(dist.argmax())
        best = int(self.policy[start].argmax())
        return (f"Start {self._grid.cell_of(start)}: value {worth}, "
                f"{NAMES[best]} with probability {number(float(self.policy[start, best]))}.")

    def picture(self) -> Picture:
        """Return the present state as a static picture."""
        kind = "soft value" if self.temperature else "value"
        settings = (f"Discount {number(self.discount)}, temperature {number(self.temperature)}, "
                    f"slip {number(self.slip)}.")
        return gridworld(self._world, self.values, self.policy, title=self.title, label=kind,
                         show_rewards=True, note=settings)

    def _repr_mimebundle_(self, **kwargs):
        """Return the live view, and a picture for where none can run."""
        picture = self.picture()
        html = (f'<figure data-testid="grid-painter-static" style="margin:0">{picture.html()}'
                f"<figcaption>{escape(self.status())} Run this cell in JupyterLab to paint "
                "rewards and move the sliders.</figcaption></figure>")
        return with_default(super()._repr_mimebundle_(**kwargs), html, picture.alt)


def _within(value, name: str, low: float, high: float) -> float:
    """Return a setting as a float; raise InvalidArgumentError unless it lies within its range."""
    number_like = isinstance(value, int | float) and not isinstance(value, bool)
    if not number_like or not low <= value <= high:
        raise InvalidArgumentError(f"{name} is {value!r}; expected a number from {low} to {high}")
    return float(value)
