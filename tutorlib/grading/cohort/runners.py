"""Where learners' code runs. A runner takes text and gives back answers to call.

``Trusted`` runs it in this process and protects nothing: it is for submissions whose authors one
would also let use one's own account.
"""

from __future__ import annotations

import linecache
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tutorlib.grading.guard import call


@dataclass(frozen=True)
class Limits:
    """What one notebook may take."""

    seconds: float = 300.0  # for all of its exercises together
    memory: int = 2048  # MB, of the code under test; needs a box


class Runner(Protocol):
    """One notebook's code, in one place, until ``close``."""

    tier: str  # what stands between the code and the grader
    hit: tuple[str, ...]  # limits that the code ran into so far, such as "memory"

    @property
    def alive(self) -> bool:
        """Whether it still answers; a dead one is closed and another one opened."""

    def load(self, source: str, label: str) -> str:
        """Run statements; return what they raised in one line, or nothing."""

    def answer(self, name: str, kind: str) -> Any:
        """Return the function (or value, as ``kind`` says) of this name, or None."""

    def close(self) -> None:
        """End it and all that it started."""


OpenRunner = Callable[[Limits], Runner]


class Trusted:
    """A namespace in this process, with time limits and nothing else."""

    tier = "none: submissions were trusted"
    hit: tuple[str, ...] = ()
    alive = True

    def __init__(self, limits: Limits):
        """Make an empty namespace, known as a module so that dataclasses and the like work."""
        self._module = types.ModuleType("submission")
        sys.modules["submission"] = self._module
        self._seconds = min(10.0, limits.seconds)

    def load(self, source: str, label: str) -> str:
        """Run statements with a time limit of 10 seconds."""
        file = f"<{label}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        names = self._module.__dict__
        done = call(lambda: exec(compile(source, file, "exec"), names), (), {}, self._seconds)
        if done.timed_out:
            self.hit = ("time",)
            return f"stopped after {self._seconds:g} seconds"
        return "" if done.error is None else f"{type(done.error).__name__}: {done.error}"

    def answer(self, name: str, kind: str) -> Any:
        """Return what the namespace holds under this name."""
        return self._module.__dict__.get(name)

    def close(self) -> None:
        """Forget the namespace."""
        sys.modules.pop("submission", None)
