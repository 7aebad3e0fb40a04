"""One notebook's code in a runner: loaded cell by cell as the lesson goes, opened anew if it dies.

As in the lesson, an answer that does not pass is followed by a worked one, so that an exercise
which builds on an earlier one can still be right.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from functools import cache

from tutorlib.errors import TutorlibError
from tutorlib.grading.cohort.answers import Piece, Script, script_of
from tutorlib.grading.cohort.cells import read_cells
from tutorlib.grading.cohort.runners import Limits, OpenRunner, Runner
from tutorlib.grading.exercise import Exercise
from tutorlib.grading.registry import unit_exercises, unit_of


class Session:
    """Runs a ``Script``; give it the exercises in lesson order."""

    def __init__(self, script: Script, open_runner: OpenRunner, limits: Limits):
        """Nothing runs before the first ``prepare``."""
        self._script, self._open, self._limits = script, open_runner, limits
        self._runner: Runner | None = None
        self._loaded: list[Piece] = []
        self._deadly: set[Piece] = set()
        self._worked: list[Exercise] = []
        self._errors: dict[str, list[str]] = {}
        self._deadline = time.monotonic() + limits.seconds
        self.hit: set[str] = set()
        self.tier = ""

    @property
    def late(self) -> bool:
        """Whether the notebook has used up its time."""
        return time.monotonic() > self._deadline

    def prepare(self, exercise: Exercise) -> list[str]:
        """Load what the notebook has up to this exercise's cell; return what that raised."""
        cell = self._script.found[exercise.id].cell
        self._revive()
        self._load([p for p in self._script.pieces if p.exercise and p.cell <= cell
                    and p not in self._loaded and p not in self._deadly])
        return self._errors.get(exercise.id, [])

    def answer(self, exercise: Exercise):
        """Return the learner's function, as a plain function, or value; None when there is none."""
        found = self._runner.answer(exercise.name, exercise.kind)
        if exercise.kind == "value" or not callable(found):
            return found
        return lambda *args, **kwargs: found(*args, **kwargs)

    def put_right(self, exercise: Exercise) -> None:
        """Put a worked answer in the place of one that did not pass."""
        self._worked.append(exercise)
        if self._runner is not None and self._runner.alive:
            self._put(exercise)

    def skip(self, exercise: Exercise) -> None:
        """Never run this exercise's cell (it ended an earlier grading process)."""
        self._deadly |= {p for p in self._script.pieces if p.exercise == exercise.id}

    def close(self) -> None:
        """End the runner."""
        if self._runner is not None:
            self.hit |= set(self._runner.hit)
            self._runner.close()
            self._runner = None

    def _revive(self) -> None:
        """Open a runner if there is none that works, and bring it to where the last one was."""
        while self._runner is None or not self._runner.alive:
            self.close()
            self._runner = self._open(self._limits)
            self.tier = self._runner.tier
            loaded, self._loaded = self._loaded, []
            lent = [p for p in self._script.pieces if not p.exercise]
            self._load([p for p in [*lent, *(p for p in loaded if p.exercise)]
                        if p not in self._deadly])
            for exercise in self._worked:
                if self._runner.alive:
                    self._put(exercise)

    def _load(self, pieces: Sequence[Piece]) -> None:
        """Load pieces one by one; one that ends the runner is never run again."""
        for piece in pieces:
            if not self._runner.alive:
                self._revive()
            problem = self._runner.load(piece.source, f"cell {piece.cell}")
            self._loaded.append(piece)
            if not self._runner.alive:
                self._deadly.add(piece)
                self._loaded.remove(piece)
            if problem and piece.exercise:
                told = self._errors.setdefault(piece.exercise, [])
                if problem not in told:
                    told.append(problem)

    def _put(self, exercise: Exercise) -> None:
        """Load the worked answer of an exercise."""
        source = worked(exercise)
        if source:
            self._runner.load(source, "the worked answer")


def worked(exercise: Exercise) -> str:
    """Return statements that define an exercise's answer as the solutions notebook has it.

    Everything it needs stands inside a function, so that no other name of the learner's changes.
    Empty when the solutions are not at hand.
    """
    script = _solutions(unit_of(exercise).stem, exercise.unit)
    own = [p.source.strip("\n") for p in script.pieces if p.exercise == exercise.id]
    if not own:
        return ""
    lent = [p.source for p in script.pieces if not p.exercise]
    body = "\n".join([*lent, *own, f"return {exercise.name}"])
    return (f"def _worked_answer():\n{textwrap.indent(body, '    ')}\n\n\n"
            f"{exercise.name} = _worked_answer()\ndel _worked_answer\n")


@cache
def _solutions(stem: str, slug: str) -> Script:
    """Return the script of a unit's solutions notebook; an empty one when it is not there."""
    from tutorlib.syllabus import course_root

    try:
        data = (course_root() / "solutions" / f"{stem}.ipynb").read_bytes()
        return script_of(read_cells(data), unit_exercises(slug))
    except (OSError, TutorlibError):
        return Script()
