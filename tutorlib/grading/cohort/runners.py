"""Where learners' code runs. A runner takes text and gives back answers to call.

``Trusted`` runs it in this process and protects nothing: it is for submissions whose authors one
would also let use one's own account. ``Boxed`` runs it in a box of ``tutorlib.grading.box``.
"""

from __future__ import annotations

import linecache
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tutorlib.grading.cohort.answers import Piece
from tutorlib.grading.exercise import Exercise
from tutorlib.grading.guard import call


@dataclass(frozen=True)
class Limits:
    """What one notebook may take."""

    seconds: float = 300.0  # for all of its exercises together
    memory: int = 2048  # MB, of the code under test; needs a box


class Runner(Protocol):
    """One exercise's code, in one place, until ``close``."""

    tier: str  # what stands between the code and the grader
    patience: float  # how often a call's limit it may last by the wall, see ``judge.evaluate``
    spent: float  # seconds of the notebook's that went into it; not what opening it took
    broken: bool  # whether it ended by no doing of the code in it

    @property
    def why(self) -> str:
        """Why it no longer answers; empty while it does."""

    def load(self, pieces: Sequence[Piece], exercise: Exercise) -> list[str]:
        """Run pieces in order, each whatever the others did; return what each raised, or "".

        What the exercise forbids is not there.
        """

    def answer(self, exercise: Exercise) -> Any:
        """Return the function or value that the exercise asks for, or None."""

    def close(self) -> None:
        """End it and all that it started."""


OpenRunner = Callable[[Limits], Runner]


class Trusted:
    """A namespace in this process, with time limits and nothing else."""

    tier = "no box (the submissions were trusted)"
    why, patience, broken = "", 1.0, False

    def __init__(self, limits: Limits):
        """Make an empty namespace, known as a module so that dataclasses and the like work."""
        self._module = types.ModuleType("submission")
        sys.modules["submission"] = self._module
        self._seconds, self._start = min(10.0, limits.seconds), time.monotonic()

    @property
    def spent(self) -> float:
        """The seconds since it was made."""
        return time.monotonic() - self._start

    def load(self, pieces: Sequence[Piece], exercise: Exercise) -> list[str]:
        """Run statements, at most 10 seconds each; nothing is kept from them."""
        return [self._run(piece) for piece in pieces]

    def _run(self, piece: Piece) -> str:
        """Run one piece."""
        file, source = f"<cell {piece.cell}>", piece.source
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        names = self._module.__dict__
        done = call(lambda: exec(compile(source, file, "exec"), names), (), {}, self._seconds)
        if done.timed_out:
            return f"a time limit of {self._seconds:g} seconds"
        return "" if done.error is None else f"{type(done.error).__name__}: {done.error}"

    def answer(self, exercise: Exercise) -> Any:
        """Return what the namespace holds under the answer's name."""
        return self._module.__dict__.get(exercise.name)

    def close(self) -> None:
        """Forget the namespace."""
        sys.modules.pop("submission", None)
