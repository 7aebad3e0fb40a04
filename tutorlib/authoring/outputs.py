"""Read an executed notebook: figures and their text alternatives, checks, what went to stderr."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser

from tutorlib.grading.report import MIME

_IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")
_STDERR_LINES = 5  # of one cell, kept for the report


@dataclass(frozen=True)
class Findings:
    """What the outputs of one notebook hold."""

    figures: int  # pictures of the lesson's own cells; those of check cells are not counted
    outcomes: dict[str, str]  # exercise id -> "passed", "not passed" or "not attempted"
    without_alt: tuple[str, ...]  # "cell 12 (bellman_backup-check)" for each picture without text
    stderr: tuple[str, ...]  # lines written to stderr, with their cell; progress bars left out


def inspect_outputs(notebook) -> Findings:
    """Return the findings of an executed notebook (an ``nbformat`` node)."""
    figures, outcomes, without_alt, stderr = 0, {}, [], []
    for index, cell in enumerate(notebook.cells):
        where = cell_name(notebook, index)
        is_check = cell.metadata.get("tutorlib", {}).get("role") == "check"
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if MIME in data:
                outcomes[data[MIME]["exercise"]] = data[MIME]["outcome"]
            described, silent = count_pictures(data)
            figures += 0 if is_check else described + silent
            without_alt += [where] * silent
            stderr += [f"{where}: {line}" for line in _stderr_lines(output)]
    return Findings(figures, outcomes, tuple(without_alt), tuple(stderr))


def cell_name(notebook, index: int) -> str:
    """Return a cell's position (from 1, as people count) and id."""
    return f"cell {index + 1} ({notebook.cells[index].get('id', 'no id')})"


def expected_checks(notebook) -> list[str]:
    """Return the exercise ids of a built notebook's check cells."""
    roles = (cell.metadata.get("tutorlib", {}) for cell in notebook.cells)
    return [role["exercise"] for role in roles if role.get("role") == "check"]


def _stderr_lines(output) -> Iterator[str]:
    """Yield the first lines a cell wrote to stderr; a progress bar rewrites its line with CR."""
    if output.get("name") != "stderr":
        return
    lines = [line for line in output.text.split("\n") if line.strip() and "\r" not in line]
    yield from lines[:_STDERR_LINES]


def count_pictures(data) -> tuple[int, int]:
    """Return how many pictures a mime bundle shows with, and without, a text alternative.

    Alt text reaches the reader only as HTML's ``alt``: front ends ignore metadata of raw images.
    """
    described, silent = 0, 0
    if "text/html" in data:
        parser = _Pictures()
        parser.feed(data["text/html"])
        parser.close()
        described, silent = parser.described, parser.silent
    raw = any(kind in data for kind in _IMAGE_TYPES)
    return (described, silent + 1) if raw and not described + silent else (described, silent)


class _Pictures(HTMLParser):
    """Count ``<img>`` and ``<svg>`` elements by whether they have a text alternative."""

    def __init__(self):
        """Start from nothing."""
        super().__init__()
        self.described = self.silent = 0
        self._svg_waits = False  # inside an svg that so far has neither label nor title

    def handle_starttag(self, tag, attrs):
        """Judge a picture by its attributes; an svg may still bring a title."""
        given = {name: (value or "").strip() for name, value in attrs}
        hidden = given.get("aria-hidden") == "true"
        if tag == "img" and not hidden:
            self._count(bool(given.get("alt")))
        elif tag == "svg" and not hidden:
            if given.get("aria-label") or given.get("aria-labelledby"):
                self._count(True)
            else:
                self._svg_waits = True
        elif tag == "title" and self._svg_waits:
            self._svg_waits = False
            self._count(True)

    def handle_endtag(self, tag):
        """An svg that ends without a title has no text alternative."""
        if tag == "svg" and self._svg_waits:
            self._svg_waits = False
            self._count(False)

    def _count(self, described: bool):
        """Add one picture."""
        self.described += described
        self.silent += not described
