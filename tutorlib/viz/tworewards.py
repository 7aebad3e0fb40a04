"""Two painted gridworlds side by side: two rewards, and whether they ask for one policy."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import anywidget
import numpy as np
import torch
import traitlets

from tutorlib.errors import InvalidArgumentError, TutorlibError
from tutorlib.mdp import (
    GridWorld,
    TabularMDP,
    expected_next_values,
    policy_iteration,
    soft_policy_iteration,
)
from tutorlib.viz.arrays import as_array, count, listing, number, required_text
from tutorlib.viz.grids import gridworld_panels
from tutorlib.viz.gridview import Panel, View
from tutorlib.viz.picture import Picture
from tutorlib.viz.widgetkit import asset, with_default

_INPUTS = ("first", "second", "kind", "hold_ends", "temperature")
_MOST_CELLS = 100  # per map
_SAME = 1e-6  # probabilities and advantages closer than this count as equal
KINDS = ("potential", "reward")

Distance = Callable[[TabularMDP, torch.Tensor, torch.Tensor], float]


class TwoRewards(anywidget.AnyWidget):
    """Paint a reward on the left and a potential (or a second reward) on the right.

    The right map plans for the shaped reward r + gamma E[Phi(s')] - Phi(s), or for the second
    reward; ``verdicts`` say whether hard and soft policies agree. ``first``, ``second`` (one number
    per state), ``kind`` ("potential" or "reward"), ``hold_ends`` (hold Phi at 0 in terminal cells)
    and ``temperature`` (0: hard arrows) may also be set in Python. ``distance`` is told the process
    and both rewards, and returns the part of their difference that no potential explains.

    Raises InvalidArgumentError when built with settings that make no sense.

    >>> widget = TwoRewards(GridWorld("S.G"))
    >>> widget.paint("right", 0, 1, 5.0)
    >>> widget.verdicts[0]
    'Optimal actions: the same in all 2 cells.'
    """

    _esm = asset("common.js", "gridmap.js", "tworewards.js")
    _css = asset("widgets.css")

    title = traitlets.Unicode().tag(sync=True)
    rows = traitlets.Int().tag(sync=True)
    cols = traitlets.Int().tag(sync=True)
    cells = traitlets.List().tag(sync=True)  # (row, column) of each state
    marks = traitlets.List().tag(sync=True)  # "S", "G", "X" or "" of each state
    starts = traitlets.List().tag(sync=True)  # states to start in
    initial = traitlets.Dict().tag(sync=True)  # what Reset returns to
    first = traitlets.Any().tag(sync=True)  # reward on arrival, left
    second = traitlets.Any().tag(sync=True)  # potential or reward on arrival, right
    kind = traitlets.Any().tag(sync=True)
    hold_ends = traitlets.Any().tag(sync=True)
    temperature = traitlets.Any().tag(sync=True)
    brush = traitlets.Float(5.0).tag(sync=True)  # the number that painting writes
    answer = traitlets.Dict().tag(sync=True)  # both plans and the verdicts, for the browser
    message = traitlets.Unicode().tag(sync=True)  # why the last setting was refused, or ""

    def __init__(self, grid: GridWorld, second=None, kind: str = "potential",
                 temperature: float = 0.0, *, distance: Distance | None = None,
                 brush: float = 5.0, title: str = "Two rewards, one policy?"):
        """Show ``grid`` on the left; ``second`` (default: zeros) is painted on the right."""
        if grid.rows * grid.cols > _MOST_CELLS:
            raise InvalidArgumentError(f"this map has {grid.rows * grid.cols} cells; at most "
                                       f"{_MOST_CELLS} fit twice side by side")
        view, states = View(Panel(grid)), grid.mdp.n_states
        self._grid, self._distance = grid, distance
        zeros = np.zeros(states) if second is None else second
        self._good = {"first": as_array(grid.cell_rewards, "first").tolist(),
                      "second": as_array(zeros, "second", (states,)).tolist(), "kind": kind,
                      "hold_ends": True, "temperature": temperature}
        self._compute(self._good)
        super().__init__(
            title=required_text(title, "title"), rows=grid.rows, cols=grid.cols, brush=brush,
            cells=[list(cell) for cell in view.cells],
            marks=[view.mark(state) for state in range(states)],
            starts=np.flatnonzero(view.start).tolist(), initial=dict(self._good),
            answer=self._as_answer(), **self._good)

    @property
    def verdicts(self) -> list[str]:
        """Sentences that compare the two rewards."""
        return self.answer["verdicts"]

    @property
    def rewards(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The two rewards r(s, a) that are planned for, left and right."""
        return self._worlds[0].reward, self._worlds[1].reward

    @property
    def policies(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The two policies drawn, left and right."""
        return self._plans[0].policy, self._plans[1].policy

    def paint(self, side: str, row: int, col: int, value: float) -> None:
        """Write a number into a cell of the "left" or "right" map, as the brush would."""
        if side not in ("left", "right"):
            raise InvalidArgumentError(f"side is {side!r}; expected 'left' or 'right'")
        name = "first" if side == "left" else "second"
        numbers = list(getattr(self, name))
        numbers[self._grid.state_of(row, col)] = value
        setattr(self, name, numbers)

    def reset(self) -> None:
        """Return to the numbers and settings of the beginning."""
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
        """Build both processes and plan in them; raise TutorlibError for settings without sense."""
        states, heat = (self._grid.mdp.n_states,), wanted["temperature"]
        first = torch.as_tensor(as_array(wanted["first"], "first", states))
        second = torch.as_tensor(as_array(wanted["second"], "second", states))
        if wanted["kind"] not in KINDS:
            raise InvalidArgumentError(
                f"kind is {wanted['kind']!r}; expected one of {', '.join(KINDS)}")
        if isinstance(heat, bool) or not isinstance(heat, int | float) or not 0 <= heat <= 100:
            raise InvalidArgumentError(f"temperature is {heat!r}; expected a number from 0 to 100")
        left = self._grid.with_rewards(first).mdp
        if wanted["kind"] == "potential":
            right = left.replace(reward=shaped(left, second, bool(wanted["hold_ends"])))
        else:
            right = self._grid.with_rewards(second).mdp
        self._worlds, self._hard = (left, right), [policy_iteration(m) for m in (left, right)]
        self._heat = float(heat) or 1.0  # soft policies are compared at 1 while arrows are hard
        self._soft = [soft_policy_iteration(m, self._heat) for m in (left, right)]
        self._plans = self._soft if heat else self._hard

    def _as_answer(self) -> dict:
        """Return what the browser draws."""
        sides = {}
        for name, plan in zip(("left", "right"), self._plans, strict=True):
            policy = [[round(p, 5) for p in row] for row in plan.policy.tolist()]
            sides[name] = {"values": plan.values.tolist(), "policy": policy}
        return {**sides, "verdicts": self._compare()}

    def _compare(self) -> list[str]:
        """Say how far the two rewards, and what they ask for, are apart."""
        left, right = self._worlds
        alive = ~left.terminal
        best = [plan.q_values >= plan.q_values.amax(-1, keepdim=True) - _SAME
                for plan in self._hard]
        other = ((best[0] != best[1]).any(-1) & alive).nonzero()[:, 0].tolist()
        where = listing([str(self._grid.cell_of(s)) for s in other], limit=6)
        cells = count(int(alive.sum()), "cell")
        verdict = f"the same in all {cells}" if not other else (
            f"different in {len(other)} of {cells}: {where}")
        apart = float((self._soft[0].policy - self._soft[1].policy)[alive].abs().max())
        change = float((left.reward - right.reward)[alive].abs().max())
        soft = "the same" if apart < _SAME else f"probabilities differ by up to {apart:.3f}"
        lines = [f"Optimal actions: {verdict}.",
                 f"Soft policies at λ = {number(self._heat)}: {soft}.",
                 f"The two rewards differ by up to {number(change)} in a step."]
        if self._distance is not None:
            rest = float(self._distance(left, left.reward, right.reward))
            lines.append("A potential explains the whole difference." if rest < _SAME else
                         f"No potential explains it: at best {rest:.3f} in a step is left over.")
        return lines

    def picture(self) -> Picture:
        """Return the present state as a static picture."""
        painted = "shaped reward" if self.kind == "potential" else "second reward"
        panels = [Panel(self._grid, plan.values, plan.policy, name)
                  for plan, name in zip(self._plans, ("reward", painted), strict=True)]
        kind = "soft value" if self.temperature else "value"
        return gridworld_panels(panels, title=self.title, label=kind, note=" ".join(self.verdicts))

    def _repr_mimebundle_(self, **kwargs):
        """Return the live view, and a picture for where none can run."""
        picture = self.picture()
        html = (f'<figure data-testid="two-rewards-static" style="margin:0">{picture.html()}'
                f"<figcaption>{escape(' '.join(self.verdicts))} Run this cell in JupyterLab to "
                "paint both maps.</figcaption></figure>")
        return with_default(super()._repr_mimebundle_(**kwargs), html, picture.alt)


def shaped(mdp: TabularMDP, potential: torch.Tensor, hold_ends: bool = True) -> torch.Tensor:
    """Return r + gamma E[Phi(s')] - Phi(s); without ``hold_ends`` an end keeps its potential.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [0.0, 0.0], discount=0.5,
    ...                             terminal=[False, True])
    >>> [shaped(mdp, mdp.reward.new_tensor([1.0, 4.0]), h)[0].item() for h in (True, False)]
    [-1.0, 1.0]
    """
    held = potential.masked_fill(mdp.terminal, 0.0) if hold_ends else potential
    change = mdp.discount * expected_next_values(mdp, held) - held[:, None]
    return mdp.reward + change.masked_fill(mdp.terminal[:, None], 0.0)
