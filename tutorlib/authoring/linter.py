"""Hold a lesson to the house rules on length, shape and accessibility."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tutorlib.authoring.lesson import Cell, Lesson, Problem, read_lesson
from tutorlib.authoring.stubs import solved
from tutorlib.syllabus import ready_units

PROSE_WORDS, TASK_WORDS = 80, 140
CODE_LINES, FOLDED_LINES = 25, 40
CELLS = (35, 50)
_SHORT_UNITS = ("00",)  # exempt from the number of cells
_TASK_LEVEL = 3  # the builder gives each task a heading of this level

_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`", re.DOTALL)
_FORMULA = re.compile(
    r"\$\$.*?\$\$|\\begin\{.*?\\end\{[a-z*]+\}|(?<!\\)\$(?:[^$\n]|\n(?!\s*\n))+?(?<!\\)\$",
    re.DOTALL)
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)")
_LINK = re.compile(r"\[[^\]]*\]\([^)]*\)|https?://\S+")
_HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_HTML_TAG = re.compile(r"<[^<>]+>")
_HEADING = re.compile(r"(#{1,6}) +\S")


def lint_course(root: str | Path) -> list[Problem]:
    """Return the problems of every lesson under ``root``."""
    root = Path(root)
    return [problem for unit in ready_units(root)
            for problem in lint(read_lesson(root / "course" / f"{unit.stem}.py"))]


def lint(lesson: Lesson) -> list[Problem]:
    """Return what breaks the house rules in a lesson, in the order of the file."""
    found = [*_lengths(lesson), *_cell_count(lesson), *_images(lesson), *_headings(lesson),
             *_raw_strings(lesson), *_own_checks(lesson)]
    return sorted(found, key=lambda problem: problem.line)


def count_words(markdown: str) -> int:
    """Count the words of prose: outside formulas, code, links, HTML tags and headings.

    >>> count_words("# Title\\n\\nThe value $V(s)$ of `state`, which [a book](x.html) calls worth.")
    6
    """
    text = "\n".join(line for line in _CODE.sub(" ", markdown).splitlines()
                     if not _HEADING.match(line))
    for pattern in (_FORMULA, _IMAGE, _LINK, _HTML_TAG):
        text = pattern.sub(" ", text)
    return sum(any(char.isalnum() for char in word) for word in text.split())


def _lengths(lesson: Lesson) -> Iterator[Problem]:
    """Prose and code cells stay short."""
    for cell in lesson.cells:
        if cell.kind == "markdown":
            limit = TASK_WORDS if cell.exercise else PROSE_WORDS
            size, rule, unit = count_words(cell.source), "prose-length", "words"
        else:
            limit = FOLDED_LINES if "hide-input" in cell.tags else CODE_LINES
            size, rule, unit = len(solved(cell.source).splitlines()), "code-length", "lines"
        if size > limit:
            yield lesson.problem(cell.line, rule, f"this cell has {size} {unit}, {limit} are "
                                 "allowed; split it or say it shorter")


def _cell_count(lesson: Lesson) -> Iterator[Problem]:
    """A lesson has 35 to 50 cells of its own (those that reach notebooks/)."""
    count = sum(cell.reaches("notebooks") for cell in lesson.cells)
    low, high = CELLS
    if lesson.unit.number not in _SHORT_UNITS and not low <= count <= high:
        yield lesson.problem(1, "cell-count", f"this lesson has {count} cells; {low} to {high} "
                             "are expected")


def _images(lesson: Lesson) -> Iterator[Problem]:
    """Images in Markdown say what they show."""
    for cell in lesson.cells:
        if cell.kind != "markdown":
            continue
        visible = _CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), cell.source)
        for match in _IMAGE.finditer(visible):
            if not _says_something(match[1], match[2]):
                yield _at(lesson, cell, visible, match, "image-alt", "this image needs a text for "
                          "those who cannot see it: ![what it shows](file)")
        for match in _HTML_IMAGE.finditer(visible):
            alt = re.search(r"""\balt=(["'])(.*?)\1""", match[0], re.DOTALL)
            if alt is None or not alt[2].strip():
                yield _at(lesson, cell, visible, match, "image-alt", "this <img> needs an alt "
                          "text for those who cannot see it")


def _says_something(alt: str, target: str) -> bool:
    """Whether an alt text is more than the file's name."""
    return bool(alt.strip()) and alt.strip() not in (target, Path(target).name, Path(target).stem)


def _at(lesson: Lesson, cell: Cell, text: str, match: re.Match, rule: str,
        message: str) -> Problem:
    """Return a problem at the line of a match."""
    return lesson.problem(cell.first_line + text.count("\n", 0, match.start()), rule, message)


def _headings(lesson: Lesson) -> Iterator[Problem]:
    """One title, and no heading more than one level below the one before it."""
    level = titles = 0
    for cell in lesson.cells:
        if cell.kind != "markdown":
            continue
        found = [(_TASK_LEVEL, cell.line)] if cell.exercise else []
        lines = _CODE.sub(lambda match: "\n" * match[0].count("\n"), cell.source).splitlines()
        found += [(len(match[1]), cell.first_line + offset) for offset, line in enumerate(lines)
                  if (match := _HEADING.match(line))]
        for here, line in found:
            titles += here == 1
            if here > level + 1:
                yield lesson.problem(line, "heading-jump", f"a heading of level {here} follows one "
                                     f"of level {level}; an exercise has level {_TASK_LEVEL}")
            if here == 1 and titles > 1:
                yield lesson.problem(line, "second-title", "a second heading of level 1; a lesson "
                                     "has one title")
            level = here


def _raw_strings(lesson: Lesson) -> Iterator[Problem]:
    """Markdown cells are r-strings, or backslashes in formulas would be lost."""
    for cell in lesson.cells:
        if not cell.raw:
            yield lesson.problem(cell.line, "raw-string", 'write the Markdown as r"""...""", so '
                                 "that backslashes in formulas stay")


def _own_checks(lesson: Lesson) -> Iterator[Problem]:
    """The builder writes the check cells; a second one would only confuse."""
    for cell in lesson.cells:
        if cell.kind == "code" and re.search(r"^\s*(\w+ = )?check\(", cell.source, re.MULTILINE):
            yield lesson.problem(cell.line, "own-check", "leave check(...) out: the builder adds "
                                 "it behind each graded cell")
