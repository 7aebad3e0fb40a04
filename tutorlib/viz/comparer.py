"""Two short walks side by side: say which is better, and see what your answers add up to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import traitlets

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import GridWorld
from tutorlib.viz.arrays import as_array
from tutorlib.viz.grids import gridworld, gridworld_panels
from tutorlib.viz.gridview import Panel, View
from tutorlib.viz.judging import PairJudge
from tutorlib.viz.picture import Picture
from tutorlib.viz.widgetkit import asset, with_default


class WalkComparer(PairJudge):
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

    _esm = asset("common.js", "judging.js", "comparer.js")

    rows = traitlets.Int().tag(sync=True)
    cols = traitlets.Int().tag(sync=True)
    cells = traitlets.List().tag(sync=True)  # (row, column) of each state

    def __init__(self, grid: GridWorld, pairs: Sequence, fit: Callable, *,
                 choices: Sequence[str | None] = (), title: str = "Which walk is better?"):
        """Show the first pair without a choice; ``choices`` are replayed."""
        plain = [[[int(s) for s in walk] for walk in pair] for pair in pairs]
        _check_walks(plain, grid.mdp.n_states)
        self._grid, self._fit = grid, fit
        super().__init__(plain, choices, title, rows=grid.rows, cols=grid.cols,
                         cells=[list(cell) for cell in View(Panel(grid)).cells])

    @property
    def values(self) -> list[float]:
        """What the fit makes of the answers so far, one number per state."""
        return list(self.answer["values"])

    def _as_answer(self) -> dict:
        """Return the fitted values and a sentence about them."""
        judged, labels = self._judged()
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


def _check_walks(pairs: list, n_states: int) -> None:
    """Raise InvalidArgumentError unless all walks have one length and stay on the map."""
    lengths = {len(walk) for pair in pairs for walk in pair}
    if not pairs or any(len(pair) != 2 for pair in pairs) or len(lengths) != 1:
        raise InvalidArgumentError(
            f"{len(pairs)} pairs with walks of {sorted(lengths)} states; expected at least one "
            "pair of two walks, all of one length")
    if min(lengths) < 1 or not all(0 <= s < n_states for pair in pairs for w in pair for s in w):
        raise InvalidArgumentError(f"walks must hold states from 0 to {n_states - 1}")
