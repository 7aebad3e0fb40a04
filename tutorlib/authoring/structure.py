"""What a lesson must satisfy before anything can be built from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tutorlib.authoring.lesson import TAGS, Cell, Lesson, Problem
from tutorlib.authoring.stubs import MarkerError, solution_blocks, solved, stub, top_level_names
from tutorlib.errors import LessonError, nearest
from tutorlib.grading.exercise import Exercise


def require_structure(lesson: Lesson, exercises: Sequence[Exercise]) -> None:
    """Raise one ``LessonError`` that lists every structural problem with file and line."""
    problems = structure(lesson, exercises)
    if problems:
        raise LessonError("\n".join(str(problem) for problem in problems))


def structure(lesson: Lesson, exercises: Sequence[Exercise]) -> list[Problem]:
    """Return what keeps a lesson from being built, in the order of the file."""
    found = [*_card(lesson), *_tags(lesson), *_markers(lesson), *_ids(lesson, exercises),
             *_pairs(lesson), *_completeness(lesson, exercises)]
    return sorted(found, key=lambda problem: problem.line)


def _card(lesson: Lesson) -> Iterator[Problem]:
    """The first cell, and no other, is the card."""
    first = lesson.cells[0] if lesson.cells else None
    if first is None or first.kind != "markdown" or "card" not in first.tags:
        yield lesson.problem(1, "card", "the first cell must be the lesson's card: "
                             "# %% [markdown] tags=[\"card\"]")
    for cell in lesson.cells[1:]:
        if "card" in cell.tags:
            yield lesson.problem(cell.line, "card", "a second card; only the first cell is one")


def _tags(lesson: Lesson) -> Iterator[Problem]:
    """Tags are known ones, and an exercise's cells go into every product."""
    for cell in lesson.cells:
        for tag in cell.tags:
            if tag not in TAGS:
                yield lesson.problem(cell.line, "tag", f"unknown tag {tag!r}: {nearest(tag, TAGS)}")
        if cell.exercise and not all(map(cell.reaches, ("notebooks", "exercises", "solutions"))):
            yield lesson.problem(cell.line, "tag", f"a cell of exercise {cell.exercise} belongs in "
                                 f"all three notebooks; remove the tag {list(cell.tags)}")


def _markers(lesson: Lesson) -> Iterator[Problem]:
    """Solution markers pair up, stand in graded cells only, and leave a stub that is Python."""
    for cell in lesson.cells:
        if cell.kind != "code":
            continue
        try:
            blocks = solution_blocks(cell.source)
            if blocks and cell.exercise:
                stub(cell.source, cell.exercise.split(".")[-1])
        except MarkerError as error:
            yield lesson.problem(cell.first_line + error.offset, "markers", str(error))
            continue
        except SyntaxError as error:
            yield lesson.problem(cell.first_line + (error.lineno or 1) - 1, "markers",
                                 "a graded cell must be plain Python, without magics")
            continue
        if blocks and not cell.exercise:
            yield lesson.problem(cell.line, "markers", "solution markers in a cell without "
                                 "exercise=\"slug.name\"")
        if cell.exercise and not blocks:
            yield lesson.problem(cell.line, "markers", f"the graded cell of {cell.exercise} has no "
                                 "### BEGIN SOLUTION")


def _ids(lesson: Lesson, exercises: Sequence[Exercise]) -> Iterator[Problem]:
    """Exercise ids exist, and a graded cell defines the name its id ends in."""
    known = [exercise.id for exercise in exercises]
    for cell in lesson.cells:
        if cell.exercise is None:
            continue
        if cell.exercise not in known:
            yield lesson.problem(
                cell.line, "exercise-id", f"tutorlib/exercises/{lesson.unit.slug}.py has no "
                f"exercise {cell.exercise!r}: {nearest(cell.exercise, known)}")
        name = cell.exercise.split(".")[-1]
        if cell.kind == "code" and name not in top_level_names(solved(cell.source)):
            yield lesson.problem(cell.line, "exercise-name", f"the graded cell of {cell.exercise} "
                                 f"must define {name!r}")


def _pairs(lesson: Lesson) -> Iterator[Problem]:
    """Each task is followed at once by its graded cell, and the reverse; each occurs once."""
    before: Cell | None = None
    seen: set[tuple[str, str]] = set()
    for cell in (*lesson.cells, None):
        waiting = before is not None and before.kind == "markdown" and before.exercise
        here = cell.exercise if cell is not None and cell.kind == "code" else None
        if waiting and here != before.exercise:
            yield lesson.problem(before.line, "task", f"the task of {before.exercise} must be "
                                 "followed at once by its graded cell")
        if here and waiting != here:
            yield lesson.problem(cell.line, "task", f"the graded cell of {here} needs its task "
                                 f"just before it: # %% [markdown] exercise=\"{here}\"")
        if cell is not None and cell.exercise:
            if (cell.kind, cell.exercise) in seen:
                yield lesson.problem(cell.line, "twice", f"exercise {cell.exercise} has a second "
                                     f"{'graded cell' if here else 'task'}")
            seen.add((cell.kind, cell.exercise))
        before = cell


def _completeness(lesson: Lesson, exercises: Sequence[Exercise]) -> Iterator[Problem]:
    """The lesson holds every exercise of its module, in the module's order."""
    order = [exercise.id for exercise in exercises]
    graded = [c for c in lesson.cells if c.kind == "code" and c.exercise in order]
    for missing in [e for e in order if e not in {c.exercise for c in graded}]:
        yield lesson.problem(1, "exercise-missing", f"exercise {missing} is defined in "
                             "tutorlib/exercises but has no graded cell in this lesson")
    for earlier, later in pairwise(graded):
        if order.index(later.exercise) < order.index(earlier.exercise):
            yield lesson.problem(later.line, "exercise-order", f"{later.exercise} comes before "
                                 f"{earlier.exercise} in EXERCISES; keep one order")
