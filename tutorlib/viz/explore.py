"""Sliders that call a function and show the picture it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

import anywidget
import numpy as np
import traitlets

from tutorlib.errors import InvalidArgumentError, nearest
from tutorlib.viz.arrays import number
from tutorlib.viz.picture import Picture
from tutorlib.viz.widgetkit import asset, with_default

_STOPS = 100  # positions of a slider that is given no step
_MOST_STOPS = 1000


@dataclass(frozen=True)
class Slider:
    """A quantity to vary: its range, where it starts, and what it is called."""

    low: float
    high: float
    value: float  # where it starts
    step: float | None = None  # None: 1 for whole numbers, otherwise about a hundredth of the range
    label: str = ""  # empty: the parameter's name
    units: str = ""  # written after the value
    log: bool = False  # equal factors between stops, in place of equal differences

    def __post_init__(self) -> None:
        """Refuse a range without room, a start outside it, or a logarithm of zero or less."""
        for name in ("low", "high", "value"):
            if not np.isfinite(getattr(self, name)):
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; expected a number")
        if not self.low < self.high or not self.low <= self.value <= self.high:
            raise InvalidArgumentError(f"low {self.low}, value {self.value}, high {self.high}: "
                                       "expected low < high, and value within them")
        if self.log and (self.low <= 0 or self.step is not None):
            raise InvalidArgumentError("a logarithmic slider needs low > 0, and takes no step")
        if self.step is not None and not self.high - self.low >= self.step > 0:
            raise InvalidArgumentError(
                f"step is {self.step}; expected a number above 0, within the range")

    def stops(self) -> list[float]:
        """Return the values the slider can take; whole numbers stay ``int``.

        >>> Slider(1, 4, 2).stops(), Slider(0.1, 10, 1, log=True).stops()[50]
        ([1, 2, 3, 4], 1.0)
        """
        if self.log:
            values = {float(f"{v:.3g}") for v in np.geomspace(self.low, self.high, _STOPS + 1)}
            return sorted(values | {self.low, self.value, self.high})
        whole = all(isinstance(v, int) for v in (self.low, self.high, self.value, self.step or 1))
        step = self.step or (1 if whole else _round_step((self.high - self.low) / _STOPS))
        count = int(np.floor((self.high - self.low) / step + 1e-9)) + 1
        if count > _MOST_STOPS:
            raise InvalidArgumentError(f"{count} stops are too many to hit; give a larger step")
        values = {self.low + step * i for i in range(count)}
        if not whole:
            values = {float(f"{v:.10g}") for v in values}
        return sorted(values | {self.value, self.high})

    def nearest(self, value: float) -> int:
        """Return the position of the stop nearest to ``value``."""
        return int(np.abs(np.array(self.stops()) - value).argmin())


class Explorer(anywidget.AnyWidget):
    """Sliders over a function's parameters; its picture (or text) is shown below and follows.

    ``set(name=value)`` moves a slider in Python. An error of the function is shown as text once
    the widget is up; while it is built with the starting values it is raised.
    """

    _esm = asset("common.js", "explorer.js")
    _css = asset("widgets.css")

    title = traitlets.Unicode().tag(sync=True)
    controls = traitlets.List().tag(sync=True)  # name, label and the texts of the stops
    positions = traitlets.Dict().tag(sync=True)  # name: which stop
    answer = traitlets.Dict().tag(sync=True)  # src, alt and width; or text; or problem

    def __init__(self, function: Callable, sliders: Mapping[str, Slider], title: str = ""):
        """Call ``function`` with the starting values and show what it returns."""
        if not sliders or not all(isinstance(s, Slider) for s in sliders.values()):
            raise InvalidArgumentError('sliders must be like {"discount": Slider(0, 0.99, 0.9)}')
        self._function, self._sliders = function, dict(sliders)
        self._stops = {name: s.stops() for name, s in sliders.items()}
        positions = {name: s.nearest(s.value) for name, s in sliders.items()}
        self._result, self._good = function(**self._values(positions)), positions
        super().__init__(
            title=title, positions=positions, answer=_shown(self._result),
            controls=[{"name": name, "label": s.label or name,
                       "texts": [_text(v, s.units) for v in self._stops[name]]}
                      for name, s in sliders.items()])

    def _values(self, positions: Mapping[str, int]) -> dict[str, float]:
        """Return the arguments that slider positions stand for."""
        return {name: stops[positions[name]] for name, stops in self._stops.items()}

    def _are_stops(self, positions: Mapping[str, int]) -> bool:
        """Whether there is one existing stop for each slider."""
        return positions.keys() == self._stops.keys() and all(
            positions[name] in range(len(stops)) for name, stops in self._stops.items())

    @property
    def values(self) -> dict[str, float]:
        """The present arguments of the function."""
        return self._values(self.positions)

    def set(self, **values: float) -> None:
        """Move sliders to the stops nearest to these values."""
        for name in values:
            if name not in self._sliders:
                raise InvalidArgumentError(
                    f"there is no slider {name!r}: {nearest(name, self._sliders)}")
        self.positions = {**self.positions, **{
            name: self._sliders[name].nearest(value) for name, value in values.items()}}

    @traitlets.observe("positions")
    def _respond(self, change) -> None:
        """Call the function again; an error becomes text, and the old picture goes."""
        if not self._are_stops(change["new"]):
            self.positions = self._good
            return
        self._good = change["new"]
        try:
            self._result = self._function(**self.values)
            self.answer = _shown(self._result)
        except Exception as problem:
            settings = ", ".join(f"{name} = {value}" for name, value in self.values.items())
            self._result = None
            self.answer = {"problem": f"With {settings}: {type(problem).__name__}: {problem}"}

    def _repr_mimebundle_(self, **kwargs):
        """Return the live view, and the present answer for where none can run."""
        if isinstance(self._result, Picture):
            body, text = self._result.html(), self._result.alt
        else:
            text = self.answer.get("text") or self.answer.get("problem", "")
            body = f"<pre>{escape(text)}</pre>"
        settings = ", ".join(f"{c['label']} {c['texts'][self.positions[c['name']]]}"
                             for c in self.controls)
        html = (f'<figure data-testid="explorer-static" style="margin:0">{body}<figcaption>Shown '
                f"at {escape(settings)}. Run this cell in JupyterLab to move the sliders."
                "</figcaption></figure>")
        return with_default(super()._repr_mimebundle_(**kwargs), html, text)


def explorer(function: Callable, sliders: Mapping[str, Slider], title: str = "") -> Explorer:
    """Return sliders that call ``function(**values)`` and show the ``Picture`` it returns.

    A returned string or number is shown as text. Raises InvalidArgumentError without sliders, and
    whatever the function raises at the starting values.

    >>> explorer(lambda x: x * x, {"x": Slider(0, 5, 3)}).answer
    {'text': '9'}
    """
    return Explorer(function, sliders, title)


def _round_step(step: float) -> float:
    """Return the next larger step of the form 1, 2 or 5 times a power of ten.

    >>> _round_step(0.0099), _round_step(0.03)
    (0.01, 0.05)
    """
    power = 10.0 ** np.floor(np.log10(step))
    return float(next(f"{m * power:.3g}" for m in (1, 2, 5, 10) if m * power >= step * 0.999999))


def _shown(result) -> dict:
    """Return what the browser needs of a function's result."""
    if isinstance(result, Picture):
        return {"src": result.src, "alt": result.alt, "width": result.width}
    return {"text": str(result)}


def _text(value: float, units: str) -> str:
    """Return a stop's value as the learner reads it."""
    return number(value) + (f" {units}" if units else "")
