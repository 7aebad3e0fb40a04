"""Compose the three notebooks of a lesson: cells as the reader gets them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from tutorlib.authoring.lesson import Cell, Lesson
from tutorlib.authoring.stubs import solved, stub
from tutorlib.grading.exercise import Exercise
from tutorlib.syllabus import UNITS, Unit

PRODUCTS = ("notebooks", "exercises", "solutions")
HOME = "00"  # number of the unit that lists all units


@dataclass(frozen=True)
class Built:
    """One cell of a built notebook, before it gets its id."""

    kind: str  # "markdown" or "code"
    source: str
    key: str = ""  # what its id is made of; empty: heading or content
    metadata: dict = field(default_factory=dict)
    line: int = 0  # line of its origin in the lesson source; 0 for the builder's own cells


@dataclass(frozen=True)
class Context:
    """What a lesson's notebooks say beyond the lesson itself."""

    exercises: tuple[Exercise, ...]  # of this unit, in lesson order
    ready: tuple[Unit, ...]  # units that have a lesson; only these are linked to
    seconds: float | None = None  # measured machine time, if it was measured


def compose(lesson: Lesson, product: str, context: Context) -> list[Built]:
    """Return the cells of one product of a lesson."""
    by_id = {exercise.id: exercise for exercise in context.exercises}
    slides = any("slide" in cell.tags for cell in lesson.cells)
    cells: list[Built] = []
    for cell in lesson.cells:
        if cell.reaches(product):
            meta = partial(_metadata, cell, slides and product == "notebooks")
            exercise = by_id.get(cell.exercise or "")
            cells += _of_cell(lesson.unit, cell, product, context, exercise, meta)
    return [*_with_setup(cells, product, bool(by_id)), _footer(lesson.unit, product, context)]


def _of_cell(unit: Unit, cell: Cell, product: str, context: Context,
             exercise: Exercise | None, meta) -> list[Built]:
    """Return the built cells that one source cell becomes."""
    if "card" in cell.tags:
        text = f"{cell.source}\n\n{card_line(unit, context)}"
        return [Built("markdown", text, "card", meta(), cell.line)]
    if exercise is None:
        return [Built(cell.kind, cell.source, "", meta(), cell.line)]
    if cell.kind == "markdown":
        head = header(unit, exercise, context.exercises.index(exercise) + 1)
        return [Built("markdown", f"{head}\n\n{cell.source}", f"{exercise.name}-task",
                      meta(role="task"), cell.line)]
    unsolved = product == "exercises"
    text = stub(cell.source, exercise.name) if unsolved else solved(cell.source)
    answer = Built("code", f"# exercise: {exercise.id}\n{text}", f"{exercise.name}-answer",
                   {**meta(role="answer"), "deletable": False}, cell.line)
    return [answer, *_after_answer(exercise, product)]


def _after_answer(exercise: Exercise, product: str) -> list[Built]:
    """Return the check cell, and the hint cell or the notes that belong behind an answer."""
    about = {"exercise": exercise.id}
    cells = [Built("code", f'{exercise.name} = check("{exercise.id}", {exercise.name})',
                   f"{exercise.name}-check",
                   {"tutorlib": {**about, "role": "check"}, "deletable": False, "editable": False})]
    if product == "exercises":
        text = ("# Stuck? Delete the # below and run this cell; again for the next of 3 hints.\n"
                f'# hint("{exercise.id}")')
        cells.append(Built("code", text, f"{exercise.name}-hint",
                           {"tutorlib": {**about, "role": "hint"}}))
    if product == "solutions":
        cells.append(Built("markdown", notes(exercise), f"{exercise.name}-notes",
                           {"tutorlib": {**about, "role": "notes"}}))
    return cells


def header(unit: Unit, exercise: Exercise, number: int) -> str:
    """Return the lines above a task: number, title, minutes, points, difficulty."""
    return (f"### Exercise {unit.number}.{number} · {exercise.title}\n\n"
            f"*{_count(exercise.minutes, 'minute')} · {_count(exercise.points, 'point')} · "
            f"difficulty {exercise.difficulty} of 5*")


def notes(exercise: Exercise) -> str:
    """Return why the solution works and what people get wrong, as Markdown."""
    mistakes = [f"- *{m.name.replace('_', ' ')}*: {m.message.strip()}" for m in exercise.mutants]
    return "\n".join([f"**Why it works.** {exercise.why.strip()}", "",
                      "**What people get wrong.**", "", *mistakes])


def card_line(unit: Unit, context: Context) -> str:
    """Return the card's last line: learner minutes, needs, exercises, measured machine time."""
    parts = [f"**Time:** about {unit.minutes} minutes"] if unit.minutes else []
    if unit.needs:
        needed = [other for other in UNITS if other.number in unit.needs]
        parts.append("**Builds on:** " + ", ".join(_link(u, context.ready) for u in needed))
    if context.exercises:
        points = sum(exercise.points for exercise in context.exercises)
        parts.append(f"**Exercises:** {len(context.exercises)} ({_count(points, 'point')})")
    if context.seconds is not None:
        parts.append(f"**Machine time:** about {_round_up(context.seconds)} seconds "
                     "on 2 CPU cores")
    return " · ".join(parts)


def _round_up(seconds: float) -> int:
    """Round machine time up to a multiple of five seconds: a promise to keep, not a record."""
    return max(5, 5 * math.ceil(seconds / 5))


def _count(number: int, noun: str) -> str:
    """Return "1 point", "2 points"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _link(unit: Unit, ready: Sequence[Unit], label: str | None = None) -> str:
    """Return a link to a unit's notebook beside this one, or its name while it has none."""
    label = label or f"{unit.number} {unit.title}"
    return f"[{label}]({unit.stem}.ipynb)" if unit in ready else label


def _metadata(cell: Cell, slides: bool, role: str = "") -> dict:
    """Return the notebook metadata that a source cell's tags stand for."""
    meta: dict = {}
    if cell.tags:
        meta["tags"] = list(cell.tags)
    if "hide-input" in cell.tags:
        meta["jupyter"] = {"source_hidden": True}
    if slides:
        meta["slideshow"] = {"slide_type": "slide" if "slide" in cell.tags else "skip"}
    if role:
        meta["tutorlib"] = {"exercise": cell.exercise, "role": role}
    return meta


_IMPORTS_CHECK = re.compile(r"^from tutorlib import .*\bcheck\b", re.MULTILINE)


def _with_setup(cells: list[Built], product: str, graded: bool) -> list[Built]:
    """Put an import of ``check`` before the first code cell, unless the lesson has its own.

    The lesson source itself never calls ``check``, so there the import would be unused.
    """
    if not graded or any(_IMPORTS_CHECK.search(c.source) for c in cells if c.kind == "code"):
        return cells
    names = "check, hint, progress, solution" if product == "exercises" else "check"
    first = next(i for i, cell in enumerate(cells) if cell.kind == "code")
    setup = Built("code", f"from tutorlib import {names}", "setup")
    return [*cells[:first], setup, *cells[first:]]


def _footer(unit: Unit, product: str, context: Context) -> Built:
    """Return the navigation: previous unit, home, next unit, and from a worksheet its solution."""
    ready = list(context.ready)
    here = ready.index(unit)
    parts = []
    if here > 0:
        parts.append(f"Previous: {_link(ready[here - 1], ready)}")
    home = next((u for u in ready if u.number == HOME), None)
    if home is not None and home is not unit and ready[max(here - 1, 0)] is not home:
        parts.append(_link(home, ready, "All units"))
    if here + 1 < len(ready):
        parts.append(f"Next: {_link(ready[here + 1], ready)}")
    if product == "exercises" and context.exercises:
        parts.append(f"[This lesson with solutions](../solutions/{unit.stem}.ipynb)")
    return Built("markdown", "\n\n".join(["---", " · ".join(parts)]).strip(), "footer")
