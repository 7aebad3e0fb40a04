"""What widgets that judge pairs have in common: choices, their replay, and how one is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import anywidget
import traitlets

from tutorlib.errors import InvalidArgumentError, TutorlibError
from tutorlib.viz.arrays import required_text
from tutorlib.viz.widgetkit import asset


class PairJudge(anywidget.AnyWidget):
    """Pairs shown one after the other, a choice for each, and an answer made of all choices.

    A widget that inherits names its choices in ``_labels``, makes the answer in ``_as_answer`` and
    shows it in its own JavaScript, which comes behind ``judging.js``.
    """

    _css = asset("widgets.css")
    _labels: ClassVar[Mapping[str, float | None]] = {"left": 1.0, "right": 0.0, "same": 0.5}

    title = traitlets.Unicode().tag(sync=True)
    pairs = traitlets.List().tag(sync=True)  # what the browser shows of each pair
    choices = traitlets.List().tag(sync=True)  # per pair: one of the labels' names, or None
    shown = traitlets.Int(0).tag(sync=True)  # which pair is on screen
    answer = traitlets.Dict().tag(sync=True)  # what the choices add up to, status included
    message = traitlets.Unicode().tag(sync=True)  # why the last choice was refused, or ""

    def __init__(self, pairs: list, choices: Sequence[str | None], title: str, **traits):
        """Show the first pair without a choice; ``choices`` are replayed."""
        self._count = len(pairs)
        self._good = [*choices, *[None] * (len(pairs) - len(choices))]
        if not self._are_choices(self._good):
            raise InvalidArgumentError(f"choices are {list(choices)!r}; expected {self._wanted}, "
                                       f"one for each of {len(pairs)} pairs at most")
        super().__init__(title=required_text(title, "title"), pairs=pairs, shown=self._next(),
                         choices=list(self._good), answer=self._as_answer(), **traits)

    @property
    def _wanted(self) -> str:
        """What a choice may be, in words."""
        return ", ".join(f'"{name}"' for name in self._labels) + " or None"

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

    def _judged(self) -> tuple[list[int], list[float]]:
        """Return which pairs say something, and what: 1 left, 0 right, 0.5 neither."""
        told = [(i, self._labels[c]) for i, c in enumerate(self._good) if c is not None]
        kept = [(i, label) for i, label in told if label is not None]
        return [i for i, _ in kept], [label for _, label in kept]

    def _as_answer(self) -> dict:
        """Return what the browser needs of the choices so far."""
        raise NotImplementedError

    def _are_choices(self, choices: list) -> bool:
        """Whether there is one known answer, or none, for each pair."""
        return len(choices) == self._count and all(
            c is None or c in self._labels for c in choices)

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
                raise InvalidArgumentError(f"expected {self._wanted} for each of the "
                                           f"{len(self.pairs)} pairs")
            answer = self._as_answer()
        except TutorlibError as problem:
            self._good = former
            self.message = f"Not accepted: {problem}"
            self.choices = list(former)
            return
        with self.hold_sync():
            self.message, self.answer, self.shown = "", answer, self._next()
