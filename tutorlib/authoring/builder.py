"""Build every notebook of the course, or say which are not what their sources make of them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tutorlib.authoring.leaks import require_no_leak
from tutorlib.authoring.lesson import Lesson, read_lesson
from tutorlib.authoring.notebook import notebook_text
from tutorlib.authoring.products import PRODUCTS, Context, compose
from tutorlib.authoring.structure import require_structure
from tutorlib.errors import LessonError
from tutorlib.syllabus import Unit, find_unit, ready_units

MEASURED = "course/measured.json"
_BUILT_NAME = re.compile(r"\d\d_[a-z0-9_]+\.ipynb")
_EXCERPT = 16  # lines of a diff that a report shows


@dataclass(frozen=True)
class Drift:
    """A built file that is not what its lesson source makes."""

    path: str  # relative to the course's root
    kind: str  # "missing", "stale" or "superfluous"
    excerpt: str = ""  # the first lines of a unified diff, for stale files


@dataclass(frozen=True)
class BuildReport:
    """What a build wrote, or with ``check=True`` what it would have changed."""

    checked: bool  # nothing was written
    written: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()  # built files of lessons that are gone
    kept: tuple[str, ...] = ()  # files that hold somebody's work and were left alone
    drift: tuple[Drift, ...] = field(default=())  # only with check=True

    @property
    def ok(self) -> bool:
        """Whether the tree now agrees with the lesson sources."""
        return not self.drift and not self.kept


def build(root: str | Path, check: bool = False,
          units: Sequence[str] | None = None) -> BuildReport:
    """Write ``notebooks/``, ``exercises/`` and ``solutions/`` under ``root`` from ``course/``.

    ``units`` names units by number, slug or stem; all ready ones are built otherwise. With
    ``check`` nothing is written and the report lists the differences. A notebook with outputs is
    somebody's work: it is left alone and reported. Raises ``LessonError`` with file and line for
    a lesson that cannot be built.
    """
    root = Path(root).resolve()
    chosen = _chosen(root, units)
    expected = {}
    for unit in chosen:
        expected |= built_texts(root, unit)
    superfluous = [] if units else _superfluous(root, expected)
    if check:
        return _compare(root, expected, superfluous)
    return _write(root, expected, superfluous)


def _chosen(root: Path, units: Sequence[str] | None) -> tuple[Unit, ...]:
    """Return the units to build; a named one must have a lesson."""
    ready = ready_units(root)
    if not units:
        return ready
    chosen = tuple(find_unit(str(name)) for name in units)
    for unit in chosen:
        if unit not in ready:
            raise LessonError(f"unit {unit.number} has no lesson yet: course/{unit.stem}.py is "
                              "missing")
    return chosen


def built_texts(root: Path, unit: Unit) -> dict[str, str]:
    """Return the three notebooks of a unit as {path relative to root: JSON text}."""
    from tutorlib.grading.registry import unit_exercises

    lesson = read_lesson(root / "course" / f"{unit.stem}.py")
    exercises = tuple(unit_exercises(unit.slug))
    require_structure(lesson, exercises)
    seconds = read_measured(root).get(unit.number, {}).get("seconds")
    context = Context(exercises, ready_units(root), seconds)
    return {f"{product}/{unit.stem}.ipynb": _product_text(lesson, product, context)
            for product in PRODUCTS}


def _product_text(lesson: Lesson, product: str, context: Context) -> str:
    """Return one product's JSON, proven free of solutions if it is the worksheet."""
    cells = compose(lesson, product, context)
    if product == "exercises":
        require_no_leak(lesson, cells)
    return notebook_text(cells, lesson.unit, product)


def read_measured(root: Path) -> dict[str, dict]:
    """Return the recorded measurements {"01": {"seconds": ...}}; empty when there are none."""
    path = root / MEASURED
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LessonError(f"{MEASURED} is not JSON ({error}); delete it and measure again with "
                          "`tutorlib run --record`") from error


def _superfluous(root: Path, expected: dict[str, str]) -> list[str]:
    """Return built-looking notebooks that no lesson makes; other names are the reader's own."""
    return sorted(
        f"{product}/{path.name}" for product in PRODUCTS
        for path in (root / product).glob("*.ipynb")
        if _BUILT_NAME.fullmatch(path.name) and f"{product}/{path.name}" not in expected)


def _compare(root: Path, expected: dict[str, str], superfluous: Sequence[str]) -> BuildReport:
    """Report drift without touching the tree."""
    drift, unchanged = [], []
    for name, text in expected.items():
        if not (root / name).is_file():
            drift.append(Drift(name, "missing"))
        elif (found := (root / name).read_bytes()) != text.encode():
            drift.append(Drift(name, "stale", _excerpt(found, text, name)))
        else:
            unchanged.append(name)
    drift += [Drift(name, "superfluous") for name in superfluous]
    return BuildReport(True, unchanged=tuple(unchanged), drift=tuple(drift))


def _excerpt(found: bytes, expected: str, name: str) -> str:
    """Return the first lines of the difference."""
    lines = list(difflib.unified_diff(
        found.decode(errors="replace").splitlines(), expected.splitlines(),
        f"{name} (on disk)", f"{name} (built)", lineterm="", n=1))
    more = [f"... {len(lines) - _EXCERPT} more lines"] if len(lines) > _EXCERPT else []
    return "\n".join(lines[:_EXCERPT] + more)


def _write(root: Path, expected: dict[str, str], superfluous: Sequence[str]) -> BuildReport:
    """Write what changed and remove what no lesson makes, sparing notebooks with outputs."""
    written, unchanged, removed, kept = [], [], [], []
    for name, text in expected.items():
        path = root / name
        if path.is_file() and path.read_bytes() == text.encode():
            unchanged.append(name)
        elif path.is_file() and _holds_work(path):
            kept.append(name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            written.append(name)
    for name in superfluous:
        if _holds_work(root / name):
            kept.append(name)
        else:
            (root / name).unlink()
            removed.append(name)
    return BuildReport(False, tuple(written), tuple(unchanged), tuple(removed), tuple(kept))


def _holds_work(path: Path) -> bool:
    """Whether a notebook was run, or was not built by us: then it is not ours to replace."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        ours = "product" in content["metadata"].get("tutorlib", {})
        ran = any(c.get("outputs") or c.get("execution_count") for c in content["cells"])
    except (ValueError, KeyError, AttributeError, TypeError):
        return True
    return ran or not ours


def build_payload(report: BuildReport) -> dict:
    """Return what ``tutorlib build --json`` prints."""
    return {
        "ok": report.ok, "check": report.checked, "written": list(report.written),
        "unchanged": list(report.unchanged), "removed": list(report.removed),
        "kept": list(report.kept),
        "drift": [{"path": d.path, "kind": d.kind, "excerpt": d.excerpt} for d in report.drift],
    }


def print_build(report: BuildReport, console=None) -> None:
    """Print a build report for people."""
    from rich.console import Console

    say = partial((console or Console()).print, markup=False, highlight=False, soft_wrap=True)
    for label, names in (("wrote", report.written), ("removed", report.removed)):
        for name in names:
            say(f"{label} {name}")
    for name in report.kept:
        say(f"left alone {name}: it holds outputs, so it looks like somebody's work; move it away "
            "or delete it, then build again")
    for item in report.drift:
        say(f"{item.kind}: {item.path}")
        if item.excerpt:
            say(item.excerpt)
    count = len(report.unchanged)
    if report.drift:
        say(f"{len(report.drift)} of {count + len(report.drift)} files differ from their lesson "
            "sources; run `tutorlib build`")
    elif report.ok:
        say(f"{count + len(report.written)} notebooks agree with their lesson sources")
