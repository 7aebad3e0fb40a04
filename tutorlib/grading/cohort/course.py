"""The course file: what an instructor says of due dates, points, and what may be shown.

A TOML file, every part of it optional::

    title = "Inverse RL, autumn term"
    hints = true           # hint() works, and feedback shows the first hint
    solutions = false      # solutions are handed out too, and solution() works
    package = ""           # how learners install the course, for pip: an address or a file

    [late]
    grace_minutes = 15
    percent_per_day = 10   # taken off for each day begun after that; 0: only marked
    refused_after_days = 7 # no points after that

    [units.06]
    due = 2030-10-14T23:59:00+02:00
    [units.06.points]      # in place of the exercise's own
    soft_backup_finite = 3
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime, time
from pathlib import Path

from tutorlib.errors import GradingError, LessonError, nearest
from tutorlib.syllabus import find_unit


@dataclass(frozen=True)
class Late:
    """What happens to what is handed in late."""

    grace_minutes: float = 0.0
    percent_per_day: float = 0.0
    refused_after_days: float = math.inf

    def deduction(self, minutes: float) -> float:
        """Return the percentage taken off for this many minutes after the due date.

        >>> Late(percent_per_day=10).deduction(60)
        10.0
        """
        if minutes <= self.grace_minutes:
            return 0.0
        days = (minutes - self.grace_minutes) / 1440
        if days > self.refused_after_days:
            return 100.0
        return min(100.0, math.ceil(days) * float(self.percent_per_day))


@dataclass(frozen=True)
class UnitRules:
    """What holds for one unit."""

    due: datetime | None = None
    points: Mapping[str, float] = field(default_factory=dict)  # by the answer's name


@dataclass(frozen=True)
class Course:
    """A course file; without one, nothing is due, hints may be read and solutions stay back."""

    title: str = ""
    hints: bool = True
    solutions: bool = False
    package: str = ""
    late: Late = Late()
    units: Mapping[str, UnitRules] = field(default_factory=dict)  # by number

    def rules(self, number: str) -> UnitRules:
        """Return a unit's rules."""
        return self.units.get(number, UnitRules())

    def points(self) -> dict[str, float]:
        """Return {exercise id: points} where they differ from the exercise's own."""
        return {f"{find_unit(number).slug}.{name}": worth
                for number, rules in self.units.items() for name, worth in rules.points.items()}


def read_course(path: str | Path | None) -> Course:
    """Return the course file's content, checked; a default one without a path.

    Raises ``GradingError`` for a file that cannot be read, unknown names and wrong types.
    """
    if path is None:
        return Course()
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise GradingError(f"the course file {path} cannot be read: {problem}") from problem
    known = [f.name for f in fields(Course)]
    _only(content, known, path)
    for name, kind in (("title", str), ("package", str), ("hints", bool), ("solutions", bool)):
        if name in content and not isinstance(content[name], kind):
            raise GradingError(f"{path}: {name} must be of type {kind.__name__}, "
                               f"not {content[name]!r}")
    plain = {k: v for k, v in content.items() if k not in ("late", "units")}
    units = {}
    for key, table in _table(content.get("units", {}), "units", path).items():
        try:
            unit = find_unit(key)
        except LessonError as problem:
            raise GradingError(f"{path}: {problem}") from problem
        units[unit.number] = _unit_rules(_table(table, f"units.{key}", path), unit, path)
    return Course(late=_late(_table(content.get("late", {}), "late", path), path), units=units,
                  **plain)


def _late(table: dict, path) -> Late:
    """Return the rules for late work."""
    _only(table, [f.name for f in fields(Late)], path)
    for name, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise GradingError(f"{path}: late.{name} must be a number from 0, not {value!r}")
    return Late(**table)


def _unit_rules(table: dict, unit, path) -> UnitRules:
    """Return the rules of a unit; points must name its exercises."""
    _only(table, ["due", "points"], path)
    points = _table(table.get("points", {}), f"units.{unit.number}.points", path)
    if points:
        from tutorlib.grading.registry import unit_exercises

        _only(points, [exercise.name for exercise in unit_exercises(unit.slug)], path)
    for name, worth in points.items():
        if isinstance(worth, bool) or not isinstance(worth, int | float) or not 0 <= worth < 1e6:
            raise GradingError(f"{path}: the points of {name} must be a number from 0, "
                               f"not {worth!r}")
    return UnitRules(_due(table.get("due"), path), points)


def _due(value, path) -> datetime | None:
    """Return a due date with a time zone; a day alone ends at midnight, local time."""
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(23, 59, 59))
    if not isinstance(value, datetime):
        raise GradingError(f"{path}: due must be a date or a date and time without quotes, "
                           f"such as 2030-10-14T23:59:00+02:00, not {value!r}")
    return value if value.tzinfo else value.astimezone()


def _table(value, name: str, path) -> dict:
    """Return a value that must be a table."""
    if not isinstance(value, dict):
        raise GradingError(f"{path}: {name} must be a table, not {value!r}")
    return value


def _only(table: dict, known: list[str], path) -> None:
    """Refuse names that nothing would act on."""
    for name in table:
        if name not in known:
            raise GradingError(f"{path}: there is no setting {name!r} here: {nearest(name, known)}")
