"""One notebook's exercises in runners, a fresh one each, in the order of the lesson.

As in the lesson, an answer that does not pass is followed by a worked one, so that an exercise
which builds on an earlier one can still be right.
"""

from __future__ import annotations

import textwrap
from functools import cache

from tutorlib.errors import TutorlibError
from tutorlib.grading.cohort.answers import Script
from tutorlib.grading.cohort.cells import read_cells
from tutorlib.grading.cohort.runners import Limits, OpenRunner, Runner
from tutorlib.grading.exercise import Exercise
from tutorlib.grading.registry import find_exercise, unit_exercises, unit_of


class Session:
    """Hands out runners for the exercises of one notebook."""

    def __init__(self, script: Script, open_runner: OpenRunner, limits: Limits):
        """Nothing runs before the first ``open``."""
        self._script, self._open, self._limits = script, open_runner, limits
        self._worked: dict[str, str] = {}
        self._spent = 0.0
        self.hit: set[str] = set()
        self.tier = ""

    @property
    def late(self) -> bool:
        """Whether the notebook has used up its time."""
        return self._spent > self._limits.seconds

    def open(self, exercise: Exercise) -> tuple[Runner, list[str]]:
        """Return a runner that holds an exercise's answer, and what its cell raised."""
        runner = self._open(self._limits)
        self.tier = runner.tier
        pieces = self._script.pieces(exercise, self._worked)
        raised = runner.load(pieces, exercise)
        told = [text for piece, text in zip(pieces, raised, strict=True)
                if text and piece.exercise == exercise.id]
        return runner, list(dict.fromkeys(told))

    def put_right(self, exercise: Exercise) -> None:
        """Put a worked answer in the place of one that did not pass."""
        self._worked[exercise.id] = worked(exercise)

    def close(self, runner: Runner) -> None:
        """Close a runner; remember what time it took and the limit that ended it, if one did."""
        self._spent += runner.spent
        words = {"memory": "memory", "time": "time"}
        self.hit |= {kind for word, kind in words.items() if word in runner.why}
        runner.close()


def worked(exercise: Exercise) -> str:
    """Return statements that define an exercise's answer as the solutions notebook has it.

    Everything it needs stands inside a function, so that no other name of the learner's changes.
    Empty when the solutions are not at hand.
    """
    return _worked(unit_of(exercise).stem, exercise.id)


@cache
def _worked(stem: str, exercise_id: str) -> str:
    exercise = find_exercise(exercise_id)
    script = _solutions(stem, exercise.unit)
    if script is None or not script.found[exercise.id].cell:
        return ""
    pieces = [piece for piece in script.pieces(exercise, {})
              if piece.exercise in ("", exercise.id)]
    body = "\n".join([*(piece.source.strip("\n") for piece in pieces), f"return {exercise.name}"])
    return (f"def _worked_answer():\n{textwrap.indent(body, '    ')}\n\n\n"
            f"{exercise.name} = _worked_answer()\ndel _worked_answer\n")


@cache
def _solutions(stem: str, slug: str) -> Script | None:
    """Return the script of a unit's solutions notebook, or None when it is not there."""
    from tutorlib.syllabus import course_root

    try:
        data = (course_root() / "solutions" / f"{stem}.ipynb").read_bytes()
        return Script(read_cells(data), unit_exercises(slug))
    except (OSError, TutorlibError):
        return None
