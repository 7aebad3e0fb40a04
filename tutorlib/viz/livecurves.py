"""Small curves that grow while a model trains, one panel for each number of a training record."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from html import escape

import anywidget
import numpy as np
import traitlets

from tutorlib.errors import InvalidArgumentError, nearest
from tutorlib.viz.arrays import required_text
from tutorlib.viz.curves import describe_line
from tutorlib.viz.look import COLOURS, new_figure, style
from tutorlib.viz.picture import Picture
from tutorlib.viz.widgetkit import asset, with_default

UNITS = {"kl": "nats per answer", "entropy": "nats per token", "length": "tokens",
         "approx_kl": "nats per token", "loss": ""}  # what the training loops record
_PAUSE = 0.3  # seconds between repaints
_DOTTED = 30  # fewer records than this are drawn as dots on a line
_MOST_POINTS = 300  # of a panel in the browser: of more records, every second, third ... is shown


class LiveCurves(anywidget.AnyWidget):
    """Panels of training records: hand ``update`` to a training loop as its ``report``.

    ``keys`` are the entries of a record to show, one panel each; ``labels`` and ``units`` name them
    in words. Records are placed by their "step", or counted if they have none. As a context manager
    it shows itself at once, and leaves the finished picture where no browser runs:

        with LiveCurves(["reward", "kl"], title="RLOO on TinyTalk") as live:
            train_policy_gradient(..., report=live.update)

    Raises InvalidArgumentError without keys, and for records that hold none of them.

    >>> live = LiveCurves(["reward", "kl"], title="Two steps")
    >>> for record in ({"step": 0, "reward": 1, "kl": 0}, {"step": 1, "reward": 3, "kl": 0.5}):
    ...     live.update(record)
    >>> live.text
    'Two steps. reward: from 1 to 3, rising. kl (nats per answer): from 0 to 0.5, rising.'
    """

    _esm = asset("common.js", "livecurves.js")
    _css = asset("widgets.css")

    title = traitlets.Unicode().tag(sync=True)
    labels = traitlets.List().tag(sync=True)  # per panel: name and unit
    curves = traitlets.Dict().tag(sync=True)  # steps; per panel: series and text

    def __init__(self, keys: Sequence[str], *, title: str, labels: Mapping[str, str] | None = None,
                 units: Mapping[str, str] | None = None):
        """Begin without records."""
        if isinstance(keys, str) or not keys or len(set(keys)) < len(keys):
            raise InvalidArgumentError(f"keys are {keys!r}; expected names of entries of a "
                                       'record, each once, such as ["reward", "kl"]')
        for name in {**(labels or {}), **(units or {})}:
            if name not in keys:
                raise InvalidArgumentError(f"{name!r} is no panel: {nearest(name, keys)}")
        units = {**UNITS, **(units or {})}
        self._columns = {key: [] for key in keys}
        self._labels = [(labels or {}).get(key, key.replace("_", " "))
                        + (f" ({units[key]})" if units.get(key) else "") for key in keys]
        self._steps, self._due, self._waiting, self._handle = [], 0.0, None, None
        super().__init__(title=required_text(title, "title"), labels=self._labels,
                         curves=self._as_curves())

    def update(self, record: Mapping[str, float]) -> None:
        """Add a record; what it lacks, and what is no finite number, leaves a gap."""
        if not any(key in record for key in self._columns):
            names = ", ".join(map(str, record))
            raise InvalidArgumentError(f"the record holds {names or 'nothing'}; expected one or "
                                       f"more of {', '.join(self._columns)}")
        self._steps.append(float(record.get("step", len(self._steps))))
        for key, column in self._columns.items():
            value = float(record.get(key, math.nan))
            column.append(value if math.isfinite(value) else math.nan)
        if time.monotonic() >= self._due:
            self.repaint()
        elif self._waiting is None:
            self._waiting = _soon(self.repaint)

    def repaint(self) -> None:
        """Let the browser draw what has come in; ``update`` does so a few times a second."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting, self._due = None, time.monotonic() + _PAUSE
        self.curves = self._as_curves()

    def clear(self) -> None:
        """Forget all records, for another run."""
        for column in (self._steps, *self._columns.values()):
            column.clear()
        self.repaint()

    def __enter__(self) -> LiveCurves:
        """Show the panels in a notebook; elsewhere, nothing is shown."""
        from IPython import get_ipython

        if get_ipython() is not None:
            from IPython.display import display

            self._handle = display(self, display_id=True)
        return self

    def __exit__(self, *_problem) -> None:
        """Draw the last records, and put the whole picture in place of the first one."""
        self.repaint()
        if self._handle is not None:
            self._handle.update(self)

    @property
    def text(self) -> str:
        """What the panels show, in words."""
        return " ".join([f"{self.title}.", *self._texts()])

    def picture(self) -> Picture:
        """Return all records as a static picture."""
        if not self._steps:
            raise InvalidArgumentError("there are no records to draw yet; update adds one")
        columns = min(2, len(self._labels))
        rows = -(-len(self._labels) // columns)
        with style():
            fig, axes = new_figure(rows, columns, title=self.title, height=0.8 + 2.3 * rows,
                                   squeeze=False)
            for ax in axes.flat[len(self._labels):]:
                ax.set_visible(False)
            for ax, label, values in zip(axes.flat, self._labels, self._columns.values(),
                                         strict=False):
                ax.plot(self._steps, values, color=COLOURS[0], linewidth=1.8,
                        marker="o" if len(values) < _DOTTED else "")
                ax.set(xlabel="step", ylabel=label.replace(" (", "\n("))
        return Picture(fig, self.text)

    def _texts(self) -> list[str]:
        """Say of each panel where its curve starts, ends and turns."""
        steps = np.array(self._steps)
        return [f"{label}: {describe_line(np.array(values), steps)}."
                for label, values in zip(self._labels, self._columns.values(), strict=True)]

    def _as_curves(self) -> dict:
        """Return steps, series and texts for the browser."""
        n = len(self._steps)
        kept = range(n)[::-1][::max(1, -(-n // _MOST_POINTS))][::-1]  # the last one is among them
        return {"steps": [self._steps[i] for i in kept], "count": n, "texts": self._texts(),
                "series": [[None if math.isnan(column[i]) else column[i] for i in kept]
                           for column in self._columns.values()]}

    def _repr_mimebundle_(self, **kwargs):
        """Return the live panels, and the picture so far for where none can run."""
        text = self.text if self._steps else f"{self.title}. No records yet."
        html = self.picture().html() if self._steps else f"<p>{escape(text)}</p>"
        return with_default(super()._repr_mimebundle_(**kwargs), html, text)


def _soon(act) -> asyncio.TimerHandle | None:
    """Let the event loop call ``act`` once it is free, as a notebook's is after a cell."""
    try:
        return asyncio.get_running_loop().call_later(_PAUSE, act)
    except RuntimeError:  # there is no loop, so nobody is looking either
        return None
