"""What grading leaves behind: one JSON per submission, and tables made from these.

Nothing here holds a time of day or a duration: the same submissions and seed give the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import tutorlib
from tutorlib.errors import GradingError
from tutorlib.grading.cohort.grade import ENDED
from tutorlib.grading.cohort.names import safe_name, table_cell
from tutorlib.grading.cohort.submissions import Submission
from tutorlib.grading.judge import FAILED, PASSED
from tutorlib.syllabus import find_unit

SCHEMA = 1
RECORDS = "records"
LONG = ("learner", "name", "unit", "exercise", "title", "outcome", "points", "max_points", "stage",
        "mistake", "hidden", "late", "flags")


def graders_digest() -> str:
    """Return a digest of the graders' own source, so that a record says what judged it."""
    root = Path(tutorlib.__file__).parent
    digest = hashlib.sha256()
    for folder in ("exercises", "grading"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def record_of(submission: Submission, result: dict, frame: dict, late: dict) -> dict:
    """Return the record of a graded submission.

    ``frame`` is the same for a cohort: course version, seed id, limits. ``late`` is {} or holds
    minutes and percentage taken off.
    """
    rows = result["exercises"]
    points = sum(row["points"] for row in rows)
    return {
        "schema": SCHEMA, **frame,
        "learner": {"id": submission.learner.id, "name": submission.learner.name},
        "unit": submission.unit,
        "unit_title": find_unit(submission.unit).title if submission.unit else "not known",
        "submission": {"path": submission.path, "sha256": submission.sha256},
        "late": late, "notes": list(submission.notes),
        "problem": submission.problem or _unread(rows),
        "tier": result["tier"], "limits_hit": result["limits_hit"],
        "flags": flags(result), "exercises": rows, "points": points,
        "max_points": sum(row["max_points"] for row in rows),
        "final": round(points * (1 - late.get("percent_off", 0) / 100), 2),
    }


def _unread(rows: list[dict]) -> str:
    """Return why no exercise of a notebook could be graded, or nothing."""
    return rows[0]["message"] if rows and all(r["stage"] == "notebook" for r in rows) else ""


def flags(result: dict) -> list[str]:
    """Return what an instructor should look at with their own eyes, as sentences."""
    found = [f"{row['title']}: right on every shown case, wrong on hidden ones"
             for row in result["exercises"] if row["hidden"]]
    found += [f"{row['title']}: {row['message']}" for row in result["exercises"]
              if row.get("lost") or row["stage"] == "grader" or row["message"].startswith(ENDED)]
    hit = [name for name in result["limits_hit"] if name != "time"]
    return found + ([f"ran into its limits: {', '.join(hit)}"] if hit else [])


def file_stem(record: dict) -> str:
    """Return the name under which a submission's record and feedback lie."""
    return f"{safe_name(record['learner']['id'])}.{record['unit'] or 'unknown'}"


def record_json(record: dict) -> str:
    """Return a record as JSON that people can read too."""
    return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_records(folder: str | Path) -> list[dict]:
    """Return the records of a grading, sorted by learner and unit.

    Raises ``GradingError`` when the folder holds none or they are of another version.
    """
    paths = sorted((Path(folder) / RECORDS).glob("*.json"))
    if not paths:
        raise GradingError(f"{folder} holds no records; give the --out folder of a `tutorlib "
                           "grade` that has ended")
    try:
        records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        good = all(record["schema"] == SCHEMA for record in records)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise GradingError(f"the records in {folder} cannot be read ({problem}); run `tutorlib "
                           "grade` with the same --out again") from problem
    if not good:
        raise GradingError(f"the records in {folder} were written by another version of tutorlib")
    return sort_records(records)


def sort_records(records: Iterable[dict]) -> list[dict]:
    """Return records in the order of every table: by learner, then unit."""
    return sorted(records, key=lambda r: (r["learner"]["id"], r["unit"]))


def long_rows(records: Sequence[dict]) -> list[dict]:
    """Return one row per submission and exercise."""
    return [
        {"learner": record["learner"]["id"], "name": record["learner"]["name"],
         "unit": record["unit"], **{k: row[k] for k in LONG if k in row},
         "mistake": row["mistake"]["name"] if row["mistake"] else "",
         "late": bool(record["late"]), "flags": "; ".join(record["flags"])}
        for record in records for row in record["exercises"]]


def wide_rows(records: Sequence[dict]) -> tuple[list[str], list[dict]]:
    """Return (columns, one row per learner): points, maximum and final points of each unit."""
    units = sorted({record["unit"] for record in records if record["unit"]})
    columns = ["learner", "name", *(f"{u} {what}" for u in units
                                    for what in ("points", "max", "final")), "total"]
    rows: dict[str, dict] = {}
    for record in records:
        who, unit = record["learner"], record["unit"]
        row = rows.setdefault(who["id"], {"learner": who["id"], "name": who["name"], "total": 0})
        if not unit:
            continue
        row |= {f"{unit} points": record["points"], f"{unit} max": record["max_points"],
                f"{unit} final": record["final"], "total": row["total"] + record["final"]}
    return columns, [rows[key] for key in sorted(rows)]


def csv_text(columns: Sequence[str], rows: Iterable[dict]) -> str:
    """Return a table as CSV in which no cell is a formula; a missing value is an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([table_cell(name) for name in columns])
    for row in rows:
        writer.writerow([table_cell(row[name]) if name in row else "" for name in columns])
    return stream.getvalue()


def passed(row: dict) -> bool:
    """Whether a recorded exercise was right."""
    return row["outcome"] == PASSED


def failed(row: dict) -> bool:
    """Whether a recorded exercise was tried and not right."""
    return row["outcome"] == FAILED
