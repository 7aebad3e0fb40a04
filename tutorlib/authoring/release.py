"""What an instructor hands out: worksheets, the environment, what is due when. No solutions.

The worksheets are built anew from the lessons, with the course file's points and dates in them,
and proven to hold no solution line, as every build of them is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import tutorlib
from tutorlib.authoring.builder import read_measured
from tutorlib.authoring.leaks import require_no_leak
from tutorlib.authoring.lesson import read_lesson
from tutorlib.authoring.notebook import notebook_text
from tutorlib.authoring.products import Built, Context, compose
from tutorlib.authoring.structure import require_structure
from tutorlib.errors import GradingError
from tutorlib.grading.cohort.course import Course
from tutorlib.grading.exercise import Exercise
from tutorlib.grading.registry import unit_exercises
from tutorlib.grading.rules import NAME
from tutorlib.syllabus import Unit, find_unit, ready_units

_README = """# {title}

Worksheets for version {version} of the course *From Inverse RL to LLM Post-Training*.

{table}

## Set up, once

With Python 3.11, 3.12 or 3.13:

```
python -m venv .venv
.venv/bin/python -m pip install -r requirements.txt
```

{package}On Windows type `.venv\\Scripts\\` in place of `.venv/bin/`, here and below.

## Work

```
.venv/bin/jupyter lab
```

Open the worksheet in `exercises/`, write your answers where it says so, and run the check under
each. {help}The grader runs the answer cells only, with the imports, functions and constants
that they name, and tries them on further cases. Keep the cells' first line, `# exercise: ...`.

## Hand in

Save the notebook under its own name and hand in that one file.
"""


def release(root: Path, units: Sequence[str], out: Path, course: Course) -> list[Path]:
    """Write what learners get for ``units`` to the folder ``out`` and return the files.

    Raises ``GradingError`` when ``out`` holds something already, ``LessonError`` for a unit
    without a lesson or a worksheet that would show a solution.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise GradingError(f"{out} is not empty; give --out a new folder")
    chosen = [find_unit(name) for name in units]
    ready = ready_units(root)
    for unit in chosen:
        if unit not in ready:
            raise GradingError(f"unit {unit.number} has no lesson yet")
    files = {}
    for unit in chosen:
        files[f"exercises/{unit.stem}.ipynb"] = worksheet(root, unit, chosen, course)
        if course.solutions:
            name = f"solutions/{unit.stem}.ipynb"
            files[name] = (root / name).read_text(encoding="utf-8")
    shown = {"hints": course.hints, "solutions": course.solutions}
    files[NAME] = json.dumps(shown, indent=1) + "\n"
    files["README.md"] = _readme(chosen, course)
    files["requirements.txt"] = _requirements(root, course)
    return [_write(out / name, text) for name, text in files.items()]


def _write(path: Path, text: str) -> Path:
    """Write one file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    except OSError as problem:
        raise GradingError(f"{path} cannot be written ({problem.strerror})") from problem
    return path


def worksheet(root: Path, unit: Unit, released: Sequence[Unit], course: Course) -> str:
    """Return a unit's worksheet as JSON, with the course file's points and due date."""
    lesson = read_lesson(root / "course" / f"{unit.stem}.py")
    exercises = tuple(_with_points(e, course) for e in unit_exercises(unit.slug))
    require_structure(lesson, exercises)
    seconds = read_measured(root).get(unit.number, {}).get("seconds")
    context = Context(exercises, tuple(sorted(released, key=lambda u: u.number)), seconds)
    cells = [cell for built in compose(lesson, "exercises", context)
             if (cell := _adapted(built, unit, course)) is not None]
    require_no_leak(lesson, cells)
    return notebook_text(cells, unit, "exercises")


def _with_points(exercise: Exercise, course: Course) -> Exercise:
    """Return an exercise with the course file's points."""
    points = course.points().get(exercise.id, exercise.points)
    return replace(exercise, points=points)


def _adapted(cell: Built, unit: Unit, course: Course) -> Built | None:
    """Return a cell as this course hands it out, or None for one that it leaves out."""
    role = cell.metadata.get("tutorlib", {}).get("role")
    if role == "hint" and not course.hints:
        return None
    if cell.key == "card" and course.rules(unit.number).due is not None:
        due = f"{cell.source}\n\n**Due:** {date_text(course.rules(unit.number).due)}"
        return replace(cell, source=due)
    if cell.key == "footer" and not course.solutions:
        rule, _, links = cell.source.partition("\n\n")
        kept = [part for part in links.split(" · ") if part and "../solutions/" not in part]
        return replace(cell, source=f"{rule}\n\n{' · '.join(kept)}") if kept else None
    return cell


def date_text(when: datetime) -> str:
    """Return a due date that is read the same everywhere.

    >>> from datetime import timezone
    >>> date_text(datetime(2030, 10, 14, 23, 59, tzinfo=timezone.utc))
    'Monday 14 October 2030, 23:59 (UTC+00:00)'
    """
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    months = ("January", "February", "March", "April", "May", "June", "July", "August",
              "September", "October", "November", "December")
    zone = when.strftime("%z")
    return (f"{days[when.weekday()]} {when.day} {months[when.month - 1]} {when.year}, "
            f"{when:%H:%M} (UTC{zone[:3]}:{zone[3:5]})")


def _readme(units: Sequence[Unit], course: Course) -> str:
    """Return the page that learners read first."""
    rows = ["| Unit | Worksheet | Points | Due |", "|---|---|---|---|"]
    for unit in units:
        points = sum(_with_points(e, course).points for e in unit_exercises(unit.slug))
        due = course.rules(unit.number).due
        rows.append(f"| {unit.number} {unit.title} | `exercises/{unit.stem}.ipynb` | {points:g} | "
                    f"{date_text(due) if due else ''} |")
    package = ("" if course.package else f"Then install version {tutorlib.__version__} of the "
               "course's package, `tutorlib`, into that environment as your instructor says: the "
               "worksheets need it.\n\n")
    hints = "`hint(...)` gives three hints, one after the other. " if course.hints else ""
    hints += "Solved worksheets lie in `solutions/`. " if course.solutions else ""
    return _README.format(title=course.title or "Worksheets", version=tutorlib.__version__,
                          table="\n".join(rows), package=package, help=hints)


def _requirements(root: Path, course: Course) -> str:
    """Return the pinned environment, for pip."""
    try:
        pins = [line for line in (root / "requirements.lock").read_text(encoding="utf-8")
                .splitlines() if line and "#" not in line]  # neither remarks nor what tests need
    except OSError as problem:
        raise GradingError(f"requirements.lock cannot be read ({problem})") from problem
    package = [f"tutorlib @ {course.package}"] if course.package else []
    head = (f"# What version {tutorlib.__version__} of the course was tested with; the CPU build "
            "of torch.\n--extra-index-url https://download.pytorch.org/whl/cpu")
    return "\n".join([head, *pins, *package]) + "\n"
