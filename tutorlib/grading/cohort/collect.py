"""Gather what was handed in into one folder, with marks for what came late.

A notebook's time is the one that its file or zip entry carries, or better, the one that
Gradescope's download or a table (``times``) tells: downloads often lose the real one. Where the
platform wrote LATE into a name, that counts in any case.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tutorlib.errors import GradingError, LessonError
from tutorlib.grading.cohort.cohort import chosen_units
from tutorlib.grading.cohort.course import Course
from tutorlib.grading.cohort.entry import EntryError
from tutorlib.grading.cohort.feedback import count, duration
from tutorlib.grading.cohort.journal import write_file
from tutorlib.grading.cohort.names import safe_name
from tutorlib.grading.cohort.submissions import COLLECTED, Submission, gather
from tutorlib.syllabus import find_unit

MOST = 10  # files that are named
ENOUGH, AT_ONCE = 5, timedelta(minutes=3)  # so many files so close together: one download


@dataclass(frozen=True)
class Collected:
    """What a collection brought together."""

    taken: tuple[str, ...]  # submissions, as learner/unit
    late: dict[str, int]  # minutes, by submission
    problems: dict[str, str]  # by submission
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by submission
    paths: dict[str, str] = field(default_factory=dict)  # where each was, by submission
    others: tuple[str, ...] = ()  # files of those who handed in no notebook
    at_once: bool = False  # the files' times look like the download's, and decide who was late


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
    said, dated = _said_times(times), []
    entries, folders = {}, {}
    for submission in intake.submissions:
        folder = safe_name(submission.learner.id)
        folders[folder] = {"id": submission.learner.id, "name": submission.learner.name}
        when = said.get((submission.learner.id, submission.unit),
                        said.get((submission.learner.id, ""), submission.submitted))
        if when is None and (when := _dated(submission)):
            dated.append(when)
        problem, unread = _copy(submission, out / folder)
        entries[submission.key] = {
            "late_minutes": _lateness(submission, course, when), "sha256": submission.sha256,
            "submitted": when.isoformat() if when else "", "path": submission.path,
            "problem": problem, "unread": unread, "notes": list(submission.notes)}
    content = {"schema": 1, "learners": folders, "submissions": entries}
    write_file(out / COLLECTED, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    late = {key: e["late_minutes"] for key, e in entries.items() if e["late_minutes"]}
    return Collected(
        tuple(entries), late, {key: e["problem"] for key, e in entries.items() if e["problem"]},
        {key: tuple(e["notes"]) for key, e in entries.items() if e["notes"]},
        {key: e["path"] for key, e in entries.items()}, intake.others,
        bool(late) and len(dated) >= ENOUGH and max(dated) - min(dated) < AT_ONCE)


def report(done: Collected, out: str | Path) -> list[str]:
    """Return what an instructor is told of a collection, a line each."""
    told = [f"{key} ({done.paths[key]}): {problem}" for key, problem in done.problems.items()]
    told += [f"{key}: {note}" for key, notes in done.notes.items() for note in notes]
    told += [f"{key}: late by {duration(minutes)}" for key, minutes in done.late.items()]
    told += names_of_others(done.others)
    if done.at_once:
        told.append("All files carry nearly the same time: it looks like the download's and not "
                    "the learners'. If lateness counts, give --times and collect again.")
    return [*told, f"{count(len(done.taken), 'notebook')} collected in {out}: {len(done.late)} "
            f"late, {len(done.problems)} with a problem."]


def names_of_others(others: Sequence[str]) -> list[str]:
    """Say whose files hold no notebook: they would have no grade and nobody would notice."""
    if not others:
        return []
    more = f" and {len(others) - MOST} more" if len(others) > MOST else ""
    return [f"No notebook came with {', '.join(others[:MOST])}{more}: whoever handed in only that "
            "has no grade. Ask them for the .ipynb file."]


def _copy(submission: Submission, folder: Path) -> tuple[str, bool]:
    """Copy a notebook under the worksheet's name; return (what is wrong, whether it is unread)."""
    name = f"{find_unit(submission.unit).stem}.ipynb" if submission.unit else "notebook.ipynb"
    try:
        data = submission.read()
    except EntryError as problem:
        # an empty file keeps its place: the learner shall see that it could not be read
        write_file(folder / name, b"")
        return str(problem), True
    write_file(folder / name, data)
    return submission.problem or _unlike_a_notebook(data), False


def _unlike_a_notebook(data: bytes) -> str:
    """Say of what is clearly no notebook that it is none; the grader looks closer."""
    if not data.strip():
        return "the file is empty"
    looks = data.lstrip()[:1] == b"{" and data.rstrip()[-1:] == b"}" and b'"cells"' in data
    return "" if looks else "this file is not a notebook (it is not what Jupyter saves)"


def _dated(submission: Submission) -> datetime | None:
    """Return the time that a file carries, where it carries one."""
    try:
        return datetime(*submission.entry.modified).astimezone()
    except (AttributeError, TypeError, ValueError, OverflowError, OSError):
        return None


def _lateness(submission: Submission, course: Course, when: datetime | None) -> int:
    """Return how many minutes after the due date something was handed in."""
    due = course.rules(submission.unit).due
    minutes = 0
    if when is not None and due is not None:
        minutes = max(0, -int((due - when).total_seconds() // 60))
    if submission.learner.late and minutes == 0:
        minutes = 1  # the platform says late and nobody says by how much
    return minutes


def _said_times(path: str | Path | None) -> dict[tuple[str, str], datetime]:
    """Read a table of handing-in times: CSV with the columns learner and submitted (ISO 8601).

    Of several units, a column ``unit`` says which; without it a time is for all of a learner's.
    """
    if path is None:
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(Path(path).read_text(encoding="utf-8-sig"))))
        times = {(row["learner"].strip(), _unit_number(row.get("unit") or "")):
                 datetime.fromisoformat(row["submitted"].strip())
                 for row in rows if row["submitted"].strip()}  # empty: handed in nothing
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, AttributeError,
            LessonError) as why:
        raise GradingError(f"{path} must be CSV with the columns learner and submitted, times as "
                           f"2030-10-14T23:59:00+02:00, and perhaps unit ({why})") from why
    return {who: when if when.tzinfo else when.astimezone() for who, when in times.items()}


def _unit_number(text: str) -> str:
    """Return the number of the unit that a table names, or nothing."""
    return find_unit(text.strip()).number if text.strip() else ""
