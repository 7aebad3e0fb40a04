"""Gather what was handed in into one folder, with marks for what came late.

A notebook's time is the one that its file or zip entry carries, or better, the one in a table that
the platform gives (``times``): downloads often lose the real one. Where the platform wrote LATE
into a name, that counts in any case.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.cohort import chosen_units
from tutorlib.grading.cohort.course import Course
from tutorlib.grading.cohort.journal import write_file
from tutorlib.grading.cohort.names import safe_name
from tutorlib.grading.cohort.sources import EntryError
from tutorlib.grading.cohort.submissions import COLLECTED, Submission, gather
from tutorlib.syllabus import find_unit


@dataclass(frozen=True)
class Collected:
    """What a collection brought together."""

    taken: tuple[str, ...]  # submissions, as learner/unit
    late: dict[str, int]  # minutes, by submission
    problems: dict[str, str]  # by submission


def collect(source: str | Path, out: str | Path, course: Course, units: Sequence[str] = (),
            times: str | Path | None = None) -> Collected:
    """Copy the notebooks in ``source`` to ``out``, one folder per learner, and note who was late.

    Raises ``GradingError`` when there is nothing, or ``out`` holds something else already.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or (any(out.iterdir())
                                              and not (out / COLLECTED).is_file())):
        raise GradingError(f"{out} holds something else; give --out a new folder")
    intake = gather(source, chosen_units(units))
    if not intake.submissions:
        raise GradingError(f"{source} holds no notebooks (.ipynb) of the units asked for")
    said = _said_times(times)
    entries, folders, late, problems = {}, {}, {}, {}
    for submission in intake.submissions:
        folder = safe_name(submission.learner.id)
        folders[folder] = {"id": submission.learner.id, "name": submission.learner.name}
        minutes, when = _lateness(submission, course, said)
        problem = _copy(submission, out / folder)
        entries[submission.key] = {"late_minutes": minutes, "submitted": when,
                                   "sha256": submission.sha256, "path": submission.path,
                                   "problem": problem}
        late |= {submission.key: minutes} if minutes else {}
        problems |= {submission.key: problem} if problem else {}
    content = {"schema": 1, "learners": folders, "submissions": entries}
    write_file(out / COLLECTED, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return Collected(tuple(entries), late, problems)


def _copy(submission: Submission, folder: Path) -> str:
    """Copy a notebook under the worksheet's name; return why that was not possible."""
    name = f"{find_unit(submission.unit).stem}.ipynb" if submission.unit else "notebook.ipynb"
    try:
        data = submission.read()
    except EntryError as problem:
        # an empty file keeps its place: the learner shall see that it could not be read
        write_file(folder / name, b"")
        return str(problem)
    write_file(folder / name, data)
    return submission.problem


def _lateness(submission: Submission, course: Course,
              said: dict[str, datetime]) -> tuple[int, str]:
    """Return (minutes after the due date, time of handing in)."""
    learner = submission.learner
    when = said.get(learner.id)
    if when is None and submission.entry is not None and submission.entry.modified:
        try:
            when = datetime(*submission.entry.modified).astimezone()
        except (ValueError, OverflowError, OSError):
            when = None
    due = course.rules(submission.unit).due
    minutes = 0
    if when is not None and due is not None:
        minutes = max(0, -int((due - when).total_seconds() // 60))
    if learner.late and minutes == 0:
        minutes = 1  # the platform says late and nobody says by how much
    return minutes, when.isoformat() if when else ""


def _said_times(path: str | Path | None) -> dict[str, datetime]:
    """Read a table of handing-in times: CSV with the columns learner and submitted (ISO 8601)."""
    if path is None:
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(Path(path).read_text(encoding="utf-8-sig"))))
        times = {row["learner"].strip(): datetime.fromisoformat(row["submitted"].strip())
                 for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, AttributeError) as why:
        raise GradingError(f"{path} must be CSV with the columns learner and submitted, times as "
                           f"2030-10-14T23:59:00+02:00 ({why})") from why
    return {who: when if when.tzinfo else when.astimezone() for who, when in times.items()}
