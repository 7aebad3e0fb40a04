"""Read a lesson source (``course/NN_slug.py``, jupytext's percent format) into cells with lines."""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path

from tutorlib.errors import LessonError
from tutorlib.syllabus import UNITS, Unit

TAGS = {
    "card": "the lesson's first cell; the builder adds time, needs and machine seconds",
    "hide-input": "plot plumbing: the code is folded, its output stays",
    "slide": "a slide for presenters",
    "instructor": "only in notebooks/",
    "solution-only": "only in solutions/",
    "exercise-only": "only in exercises/",
}
_MARKER = re.compile(r"# ?%%(\s|$)")
_JUPYTEXT_KEYS = {"cell_marker", "lines_to_next_cell", "lines_to_end_of_cell_marker"}


@dataclass(frozen=True)
class Problem:
    """Something to mend in a lesson source."""

    path: str  # relative to the course's root where possible
    line: int  # 1 for the file's first line
    rule: str  # short name of the rule, for example "prose-length"
    message: str  # what is wrong, and what to do

    def __str__(self) -> str:
        """Return ``file:line: message``, which editors turn into a link."""
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Cell:
    """One cell of a lesson source."""

    kind: str  # "markdown" or "code"
    source: str
    line: int  # of its marker "# %%" in the file
    first_line: int  # of its source in the file
    tags: tuple[str, ...] = ()
    exercise: str | None = None  # id of the exercise it states (markdown) or answers (code)
    raw: bool = True  # a markdown cell is written as an r-string

    def reaches(self, product: str) -> bool:
        """Whether this cell goes into a product: notebooks, exercises or solutions."""
        limits = {"instructor": "notebooks", "solution-only": "solutions",
                  "exercise-only": "exercises"}
        homes = {limits[tag] for tag in self.tags if tag in limits}
        return not homes or product in homes


@dataclass(frozen=True)
class Lesson:
    """A lesson source: its unit and its cells in order."""

    path: Path
    unit: Unit
    cells: tuple[Cell, ...]

    @property
    def shown_path(self) -> str:
        """The path as messages show it: ``course/NN_slug.py``."""
        return f"{self.path.parent.name}/{self.path.name}"

    def problem(self, line: int, rule: str, message: str) -> Problem:
        """Return a problem of this lesson."""
        return Problem(self.shown_path, line, rule, message)


def read_lesson(path: str | Path) -> Lesson:
    """Read one lesson source.

    Raises ``LessonError`` with file and line for a name that is not in the syllabus, a syntax
    error, text before the first cell, and cell metadata that is neither ``tags`` nor ``exercise``.
    """
    path = Path(path)
    unit = next((u for u in UNITS if u.stem == path.stem), None)
    if unit is None:
        raise LessonError(f"{path.name}: no unit of the syllabus has this name; "
                          "lessons are called course/NN_slug.py as in tutorlib/syllabus.py")
    text = path.read_text(encoding="utf-8")
    empty = Lesson(path, unit, ())
    lines = _marker_lines(empty, text)
    cells = _jupytext_cells(text)
    if len(cells) != len(lines):
        raise LessonError(str(empty.problem(
            lines[0] if lines else 1, "cells",
            f"{len(lines)} cell markers but {len(cells)} cells; start every cell, the first one "
            "too, with a line '# %%' at the left margin")))
    return Lesson(path, unit, tuple(_cell(empty, c, n) for c, n in zip(cells, lines, strict=True)))


def _jupytext_cells(text: str) -> list:
    """Return the notebook cells that jupytext reads."""
    import jupytext

    return jupytext.reads(text, fmt="py:percent").cells


def _marker_lines(lesson: Lesson, text: str) -> list[int]:
    """Return the line of each ``# %%`` marker, leaving out those inside strings."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        compile(text, str(lesson.path), "exec", dont_inherit=True)
    except (SyntaxError, tokenize.TokenError) as error:
        line = getattr(error, "lineno", None) or 1
        raise LessonError(str(lesson.problem(line, "syntax", f"this is not Python: {error}"))) \
            from error
    return [token.start[0] for token in tokens
            if token.type == tokenize.COMMENT and token.start[1] == 0
            and _MARKER.match(token.string)]


def _cell(lesson: Lesson, read, line: int) -> Cell:
    """Turn jupytext's cell into ours; refuse metadata that nothing would act on."""
    extra = set(read.metadata) - _JUPYTEXT_KEYS - {"tags", "exercise"}
    if extra or read.cell_type not in ("markdown", "code"):
        what = f"cell metadata {sorted(extra)}" if extra else f"a {read.cell_type} cell"
        raise LessonError(str(lesson.problem(
            line, "metadata", f"{what} has no meaning here; a cell is '# %%' or "
            "'# %% [markdown]', with tags=[...] or exercise=\"slug.name\" behind it")))
    quotes = read.metadata.get("cell_marker", "")  # 'r"""', or 'r""","""' if text follows at once
    first = line + (2 if quotes and "," not in quotes else 1)
    return Cell(read.cell_type, read.source, line, first, tuple(read.metadata.get("tags", ())),
                read.metadata.get("exercise"),
                read.cell_type == "code" or quotes.startswith('r"""'))
