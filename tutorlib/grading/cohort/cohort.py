"""Grade a cohort: gather, grade what the journal does not have yet, write every table and page."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tutorlib
from tutorlib.errors import GradingError
from tutorlib.grading.cohort.course import Course
from tutorlib.grading.cohort.entry import EntryError
from tutorlib.grading.cohort.grade import Plan, unreadable
from tutorlib.grading.cohort.journal import Journal, Memory, write_file
from tutorlib.grading.cohort.pool import Pool, grade_here
from tutorlib.grading.cohort.records import (
    LONG,
    RECORDS,
    csv_text,
    file_stem,
    graders_digest,
    long_rows,
    record_json,
    record_of,
    sort_records,
    wide_rows,
)
from tutorlib.grading.cohort.runners import Limits, OpenRunner
from tutorlib.grading.cohort.seeds import open_seed
from tutorlib.grading.cohort.submissions import COLLECTED, Intake, Submission, gather
from tutorlib.grading.cohort.worker import Job, alone
from tutorlib.syllabus import UNITS, Unit, find_unit

if TYPE_CHECKING:
    from tutorlib.grading.cohort.cluster import Cluster


@dataclass(frozen=True)
class Settings:
    """How to grade a cohort."""

    open_runner: OpenRunner | None  # None: a cluster's workers open their own
    tier: str  # what the journal is told of the runner: one folder, one tier
    seed_file: Path | None = None  # default: "cohort.seed" in the output folder
    units: tuple[str, ...] = ()  # numbers, slugs or stems; all that have exercises when empty
    workers: int = 1  # processes; 0 grades in this one, as Windows does always
    limits: Limits = field(default_factory=Limits)
    course: Course = field(default_factory=Course)
    alone: bool = False  # whether this process may grade a single notebook itself, in a box
    cluster: Cluster | None = None  # whose workers grade, in place of processes here


@dataclass(frozen=True)
class Graded:
    """What a grading left behind."""

    records: tuple[dict, ...]
    fresh: int  # graded now, not taken from the journal
    left_out: tuple[str, ...]
    others: tuple[str, ...] = ()  # files of those who handed in no notebook


def grade_cohort(source: str | Path, out: str | Path, settings: Settings,
                 progress: Callable[[int, int], None] = lambda done, of: None) -> Graded:
    """Grade every submission in ``source`` and write records, tables and pages to ``out``.

    ``progress`` is called with how many of how many are done. Raises ``GradingError`` when there
    is nothing to grade, ``out`` cannot be written, or holds grades made in another way.
    """
    out = Path(out)
    units = chosen_units(settings.units)
    intake = gather(source, units)
    if not intake.submissions:
        raise GradingError(f"{source} holds no notebooks (.ipynb) of "
                           + ("the units asked for" if settings.units else "this course"))
    _require_writable(out)
    plan, frame = _plan(settings, settings.seed_file or out / "cohort.seed")
    journal = Journal(out, {**frame, "tier": settings.tier, "points": dict(plan.points),
                            "hints": plan.hints})
    try:
        fresh = _grade_missing(intake, journal, plan, settings, progress)
        records = _write(out, intake, journal, frame, _late(source, settings.course))
    finally:
        journal.close()
    return Graded(tuple(records), fresh, intake.left_out, intake.others)


def grade_submissions(intake: Intake, settings: Settings) -> list[dict]:
    """Grade submissions and return their records; nothing is written but a missing seed file."""
    kept = Memory()
    plan, frame = _plan(settings, settings.seed_file)
    _grade_missing(intake, kept, plan, settings, lambda done, of: None)
    return [record_of(s, kept.record(s.key, _fingerprint(s)), frame, {})
            for s in intake.submissions]


def _plan(settings: Settings, seed_file: Path) -> tuple[Plan, dict]:
    """Return the plan of a grading, and what every record says of it."""
    seed = open_seed(seed_file)
    frame = {"course": {"version": tutorlib.__version__, "graders": graders_digest()},
             "seed_id": seed.id, "limits": asdict(settings.limits)}
    return Plan(seed, settings.limits, settings.course.points(), settings.course.hints), frame


def chosen_units(names: Sequence[str]) -> list[Unit]:
    """Return the units named, or all that have exercises."""
    if names:
        chosen = [find_unit(name) for name in names]
        for unit in chosen:
            if not _has_graders(unit):
                raise GradingError(f"unit {unit.number} has no exercises to grade")
        return chosen
    return [unit for unit in UNITS if _has_graders(unit)]


def _has_graders(unit: Unit) -> bool:
    """Whether a unit has a module of exercises (which is not loaded for that)."""
    return importlib.util.find_spec(f"tutorlib.exercises.{unit.slug}") is not None


def _require_writable(out: Path) -> None:
    """Refuse an output folder that cannot be written before any work is done."""
    probe = out / ".writable"
    write_file(probe, "")
    probe.unlink()


def _grade_missing(intake: Intake, journal: Memory, plan: Plan, settings: Settings,
                   progress: Callable[[int, int], None]) -> int:
    """Grade what the journal does not hold and add it there; return how many these were."""
    missing = [s for s in intake.submissions if journal.record(s.key, _fingerprint(s)) is None]
    by_key = {submission.key: submission for submission in missing}
    total = len(intake.submissions)
    left = set(by_key)
    progress(total - len(left), total)

    def keep(submission: Submission, result: dict) -> None:
        ours = any(row["stage"] == "grader" for row in result["exercises"])
        journal.add(submission.key, _fingerprint(submission), result, lasting=not ours)
        left.discard(submission.key)
        progress(total - len(left), total)

    jobs = _jobs(missing, plan, keep)
    if settings.cluster:
        units = {submission.unit for submission in missing if submission.unit}
        results = settings.cluster.run(jobs, plan, units)
    elif settings.alone and len(missing) == 1:  # another process would load torch once more
        with alone():
            results = list(grade_here(jobs, plan, settings.open_runner))
    elif settings.workers and os.name == "posix":
        pool = Pool(plan, settings.open_runner, min(settings.workers, max(1, len(missing))))
        results = pool.run(jobs)
    else:
        results = grade_here(jobs, plan, settings.open_runner)
    for key, result in results:
        keep(by_key[key], result)
    return len(missing)


def _jobs(missing: Sequence[Submission], plan: Plan,
          keep: Callable[[Submission, dict], None]) -> Iterator[Job]:
    """Yield the notebooks to grade; one that cannot be read is kept as it is."""
    for submission in missing:
        problem, data = submission.problem, b""
        if not problem:
            try:
                data = submission.read()
            except EntryError as failure:
                problem = str(failure)
            else:
                if hashlib.sha256(data).hexdigest() != submission.sha256:
                    problem = "the file changed while it was being graded; grade again"
        if problem:
            keep(submission, _refused(submission, problem, plan))
        else:
            yield Job(submission.key, submission.unit, data)


def _refused(submission: Submission, problem: str, plan: Plan) -> dict:
    """Return the result of a notebook that could not be read."""
    from tutorlib.grading.registry import unit_exercises

    exercises = unit_exercises(find_unit(submission.unit).slug) if submission.unit else ()
    return unreadable(problem, exercises, plan)


def _fingerprint(submission: Submission) -> str:
    """Return a digest of everything about a submission that its record depends on."""
    content = [submission.learner.id, submission.learner.name, submission.unit, submission.path,
               submission.sha256, submission.problem, list(submission.notes)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _late(source: str | Path, course: Course) -> dict[str, dict]:
    """Return {submission key: {"minutes", "percent_off"}} from what `tutorlib collect` noted."""
    path = Path(source) / COLLECTED
    if not path.is_file():
        return {}
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))["submissions"]
        return {key: {"minutes": entry["late_minutes"],
                      "percent_off": course.late.deduction(entry["late_minutes"])}
                for key, entry in noted.items() if entry["late_minutes"] > 0}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise GradingError(f"{path} cannot be read ({problem}); run `tutorlib collect` again"
                           ) from problem


def _write(out: Path, intake: Intake, journal: Journal, frame: dict,
           late: dict[str, dict]) -> list[dict]:
    """Write records, tables and pages of the submissions there are, and nothing older."""
    from tutorlib.grading.cohort.classreport import class_page
    from tutorlib.grading.cohort.feedback import feedback_page

    records = sort_records(
        record_of(s, journal.record(s.key, _fingerprint(s)), frame, late.get(s.key, {}))
        for s in intake.submissions)
    wanted = {}
    for record in records:
        wanted[out / RECORDS / f"{file_stem(record)}.json"] = record_json(record)
        wanted[out / "feedback" / f"{file_stem(record)}.html"] = feedback_page(record)
    wanted[out / "grades.csv"] = csv_text(LONG, long_rows(records))
    wanted[out / "gradebook.csv"] = csv_text(*wide_rows(records))
    wanted[out / "report.html"] = class_page(records, intake.left_out)
    for path, text in wanted.items():
        write_file(path, text, len(records))
    for path in [*(out / RECORDS).glob("*.json"), *(out / "feedback").glob("*.html")]:
        if path not in wanted:
            path.unlink()
    return records
