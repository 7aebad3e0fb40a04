"""Two short walks side by side: say which is better, and see what your answers add up to."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import anywidget
import traitlets

from tutorlib.errors import InvalidArgumentError, TutorlibError
from tutorlib.mdp import GridWorld
from tutorlib.viz.arrays import as_array, required_text
from tutorlib.viz.grids import gridworld, gridworld_panels
from tutorlib.viz.gridview import Panel, View
from tutorlib.viz.picture import Picture
from tutorlib.viz.widgetkit import asset, with_default

_LABELS = {"left": 1.0, "right": 0.0, "same": 0.5}


class WalkComparer(anywidget.AnyWidget):
    """Judge pairs of walks in a gridworld with mouse or keyboard; a fitted map follows.

    ``pairs`` holds (left walk, right walk), each a sequence of states of one common length.
    ``fit(indices, labels)`` is called after each answer with the numbers of the pairs judged and
    1.0 (left), 0.0 (right) or 0.5 (the same), and returns one number per state to show.
    ``choices`` holds "left", "right", "same" or None for each pair: set it in Python, give it to
    the constructor to replay, or use ``save`` and ``load``.

    Raises InvalidArgumentError without pairs, or for walks of different lengths.

    >>> grid = GridWorld("S..")
    >>> comparer = WalkComparer(grid, [([0, 1], [1, 2])], lambda pairs, labels: [0, 0, len(pairs)])
    >>> comparer.judge(0, "right")
    >>> comparer.values
    [0.0, 0.0, 1.0]
    """

    _esm = asset("common.js", "comparer.js")
    _css = asset("widgets.css")

    title = traitlets.Unicode().tag(sync=True)
    rows = traitlets.Int().tag(sync=True)
    cols = traitlets.Int().tag(sync=True)
    cells = traitlets.List().tag(sync=True)  # (row, column) of each state
    pairs = traitlets.List().tag(sync=True)  # per pair: two walks, each a list of states
    choices = traitlets.List().tag(sync=True)  # per pair: "left", "right", "same" or None
    shown = traitlets.Int(0).tag(sync=True)  # which pair is on screen
    answer = traitlets.Dict().tag(sync=True)  # values and status for the browser
    message = traitlets.Unicode().tag(sync=True)  # why the last answer was refused, or ""

    def __init__(self, grid: GridWorld, pairs: Sequence, fit: Callable, *,
                 choices: Sequence[str | None] = (), title: str = "Which walk is better?"):
        """Show the first pair without a choice; ``choices`` are replayed."""
        plain = [[[int(s) for s in walk] for walk in pair] for pair in pairs]
        self._grid, self._fit, self._count = grid, fit, len(plain)
        _check_walks(plain, grid.mdp.n_states)
        self._good = [*choices, *[None] * (len(plain) - len(choices))]
        if not self._are_choices(self._good):
            raise InvalidArgumentError(f"choices are {list(choices)!r}; expected {_WANTED}, one "
                                       f"for each of {len(plain)} pairs at most")
        view = View(Panel(grid))
        super().__init__(
            title=required_text(title, "title"), rows=grid.rows, cols=grid.cols, pairs=plain,
            cells=[list(cell) for cell in view.cells], choices=list(self._good),
            shown=self._next(), answer=self._as_answer())

    @property
    def values(self) -> list[float]:
        """What the fit makes of the answers so far, one number per state."""
        return list(self.answer["values"])

    def judge(self, pair: int, choice: str | None) -> None:
        """Answer a pair, as a click would; None takes the answer back."""
        choices = list(self.choices)
        choices[pair] = choice
        self.choices = choices

    def save(self, path: str | Path) -> Path:
        """Write the choices to a JSON file."""
        Path(path).write_text(json.dumps(self.choices), encoding="utf-8")
        return Path(path)

    def load(self, path: str | Path) -> None:
        """Replay choices that ``save`` wrote."""
        self.choices = json.loads(Path(path).read_text(encoding="utf-8"))

    def _are_choices(self, choices: list) -> bool:
        """Whether there is one known answer, or none, for each pair."""
        return len(choices) == self._count and all(c is None or c in _LABELS for c in choices)

    def _next(self) -> int:
        """Return the first pair without an answer, or the last one."""
        return next((i for i, c in enumerate(self._good) if c is None), len(self._good) - 1)

    @traitlets.observe("choices")
    def _respond(self, change) -> None:
        """Fit again; or refuse what is no answer, say why, and put the last good ones back."""
        wanted = list(change["new"])
        if wanted == self._good:
            return
        former, self._good = self._good, wanted
        try:
            if not self._are_choices(wanted):
                raise InvalidArgumentError(f"expected {_WANTED} for each of the "
                                           f"{len(self.pairs)} pairs")
            answer = self._as_answer()
        except TutorlibError as problem:
            self._good = former
            self.message = f"Not accepted: {problem}"
            self.choices = list(former)
            return
        with self.hold_sync():
            self.message, self.answer, self.shown = "", answer, self._next()

    def _as_answer(self) -> dict:
        """Return the fitted values and a sentence about them."""
        judged = [i for i, choice in enumerate(self._good) if choice is not None]
        labels = [_LABELS[self._good[i]] for i in judged]
        n_states = self._grid.mdp.n_states
        told = any(label != 0.5 for label in labels)
        values = as_array(self._fit(judged, labels), "fit's result", (n_states,)) if told else (
            as_array([0.0] * n_states, "values"))
        return {"values": values.tolist(), "status": self._status(judged, values, told)}

    def _status(self, judged: list[int], values, told: bool) -> str:
        """Say how many answers there are, and which cells they favour."""
        text = f"{len(judged)} of {len(self._good)} pairs judged."
        if not told:
            return f"{text} The map is flat until you prefer one walk to another."
        best, worst = (self._grid.cell_of(int(i)) for i in (values.argmax(), values.argmin()))
        return f"{text} So far you seem to like {best} best and {worst} least."

    def picture(self) -> Picture:
        """Return the pair on screen, and the map once there is one, as a static picture."""
        left, right = self.pairs[self.shown]
        panels = [Panel(self._grid, path=left, title="left"),
                  Panel(self._grid, path=right, title="right")]
        return gridworld_panels(panels, title=f"{self.title} Pair {self.shown + 1} of "
                                              f"{len(self.pairs)}", note=self.answer["status"])

    def map_picture(self) -> Picture:
        """Return the fitted map as a static picture."""
        return gridworld(self._grid, self.values, title=self.answer["status"],
                         label="fitted reward (nats)")

    def _repr_mimebundle_(self, **kwargs):
        """Return the live view, and pictures for where none can run."""
        pair = self.picture()
        html = f'<figure data-testid="walk-comparer-static" style="margin:0">{pair.html()}'
        if any(self.values):
            html += self.map_picture().html()
        html += (f"<figcaption>{escape(self.answer['status'])} Run this cell in JupyterLab to "
                 "judge the pairs.</figcaption></figure>")
        return with_default(super()._repr_mimebundle_(**kwargs), html, pair.alt)


_WANTED = '"left", "right", "same" or None'


def _check_walks(pairs: list, n_states: int) -> None:
    """Raise InvalidArgumentError unless all walks have one length and stay on the map."""
    lengths = {len(walk) for pair in pairs for walk in pair}
    if not pairs or any(len(pair) != 2 for pair in pairs) or len(lengths) != 1:
        raise InvalidArgumentError(
            f"{len(pairs)} pairs with walks of {sorted(lengths)} states; expected at least one "
            "pair of two walks, all of one length")
    if min(lengths) < 1 or not all(0 <= s < n_states for pair in pairs for w in pair for s in w):
        raise InvalidArgumentError(f"walks must hold states from 0 to {n_states - 1}")
