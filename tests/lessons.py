"""Run a lesson as a learner would who answers in a style of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tutorlib.authoring import read_lesson
from tutorlib.authoring.stubs import solved


def run_lesson(lesson: Path, exercises: Sequence, style: str | None,
               shorter: Sequence[tuple[str, str]] = ()) -> dict:
    """Run all code cells; return what they leave behind.

    After each exercise its answer is replaced by the variant with ``style`` in its name, or else
    by its first variant; None keeps the lesson's own. ``shorter`` are pairs of text that make the
    lesson quicker; one that the lesson no longer holds is an error.
    """
    sources = [(cell, solved(cell.source)) for cell in read_lesson(lesson).cells
               if cell.kind == "code"]
    for long, _ in shorter:
        assert any(long in source for _, source in sources), f"the lesson no longer has {long!r}"
    names = {"__name__": "lesson"}
    for cell, source in sources:
        for long, short in shorter:
            source = source.replace(long, short)
        exec(compile(source, str(lesson), "exec"), names)
        for exercise in exercises:
            if style is not None and cell.exercise == exercise.id:
                names[exercise.name] = next(
                    (v.answer for v in exercise.variants if style in v.name),
                    exercise.variants[0].answer)
    return names
