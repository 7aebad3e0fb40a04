"""Prove that a worksheet does not hold the answers it asks for."""

from __future__ import annotations

from collections.abc import Sequence

from tutorlib.authoring.lesson import Lesson, Problem
from tutorlib.authoring.products import Built
from tutorlib.authoring.stubs import contains_line, is_telling, solution_lines, stub
from tutorlib.errors import LessonError

_TRIVIAL = 8  # characters; "else:" and "return x" say nothing


def require_no_leak(lesson: Lesson, worksheet: Sequence[Built]) -> None:
    """Raise a ``LessonError`` that lists every solution line found in a worksheet."""
    problems = leaks(lesson, worksheet)
    if problems:
        raise LessonError("\n".join(str(problem) for problem in problems))


def leaks(lesson: Lesson, worksheet: Sequence[Built]) -> list[Problem]:
    """Return the solution lines that stand in the cells of ``worksheet``.

    A line that gives the answer away (``stubs.is_telling``, or the assignment of the answer
    itself) may stand nowhere, in prose neither.
    Any other line of more than eight characters may stand only where the lesson has it outside
    of its solutions.
    """
    given = "\n".join(_given(lesson))
    found = []
    for exercise_id, line in _solution_lines(lesson):
        is_answer = line.startswith(f"{exercise_id.split('.')[-1]} =")
        if not is_answer and not is_telling(line) and contains_line(given, line):
            continue
        for cell in worksheet:
            if contains_line(cell.source, line):
                found.append(lesson.problem(
                    cell.line or 1, "leak", f"this cell shows learners the line {line!r}, part of "
                    f"the solution of {exercise_id}; write it another way or leave it out"))
    return found


def _solution_lines(lesson: Lesson) -> list[tuple[str, str]]:
    """Return (exercise id, line) for every solution line long enough to tell something."""
    return [(cell.exercise, line) for cell in lesson.cells if cell.kind == "code" and cell.exercise
            for line in dict.fromkeys(solution_lines(cell.source)) if len(line) > _TRIVIAL]


def _given(lesson: Lesson) -> list[str]:
    """Return what the lesson itself hands out: its cells, with stubs for solutions."""
    cells = [cell for cell in lesson.cells if cell.reaches("exercises")]
    return [stub(c.source, c.exercise.split(".")[-1]) if c.kind == "code" and c.exercise
            else c.source for c in cells]
