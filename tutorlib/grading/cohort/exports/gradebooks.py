"""Canvas and Moodle: fill one column of the gradebook that the instructor exported from there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tutorlib.errors import GradingError, nearest
from tutorlib.grading.cohort.feedback import case_count
from tutorlib.grading.cohort.journal import write_file
from tutorlib.grading.cohort.names import table_cell
from tutorlib.grading.cohort.records import csv_text

_CANVAS_IDS = ("ID", "SIS User ID", "SIS Login ID")
_PARTICIPANT = re.compile(r"\D*(\d+)\s*")


@dataclass(frozen=True)
class Filled:
    """A filled gradebook, and what did not fit."""

    text: str
    filled: int  # rows that got a grade
    unmatched: tuple[str, ...]  # learners with a grade whom the gradebook does not have
    warnings: tuple[str, ...] = ()


def of_one_unit(records: Iterable[dict], unit: str) -> list[dict]:
    """Return the records of a unit; without one named there must be only one.

    Raises ``GradingError`` where that leaves nothing, or a choice.
    """
    records = [record for record in records if record["unit"]]
    there = sorted({record["unit"] for record in records})
    chosen = unit or (there[0] if len(there) == 1 else "")
    if chosen not in there:
        raise GradingError(f"give --unit, one of those that were graded: {', '.join(there)}")
    return [record for record in records if record["unit"] == chosen]


def read_table(path: str | Path) -> list[list[str]]:
    """Return the rows of a CSV file. Raises ``GradingError`` when it is none."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise GradingError(f"{path} cannot be read as CSV in UTF-8 ({problem})") from problem
    if not rows:
        raise GradingError(f"{path} is empty")
    return rows


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as CSV, cells as they are."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\r\n").writerows(rows)
    return stream.getvalue()


def canvas(records: Sequence[dict], export: str | Path, column: str) -> Filled:
    """Fill ``column`` of a Canvas gradebook export and leave out all other assignments.

    ``column`` is the assignment's heading or a part that only it has. Rows are found by ID, SIS
    User ID or SIS Login ID. What Canvas's import requires is kept: ``Student``, ``ID`` and up to
    ``Section``, and the rows above the students.
    """
    rows = read_table(export)
    head = rows[0]
    if head[:2] != ["Student", "ID"] or "Section" not in head:
        raise GradingError(f"{export} is not a Canvas gradebook export: its first line must begin "
                           "with Student,ID and hold Section (Gradebook, Export, Entire gradebook)")
    info = head.index("Section") + 1
    place = _canvas_column(head, info, column)
    grades = {record["learner"]["id"]: record for record in records}
    ids = [head.index(name) for name in _CANVAS_IDS if name in head[:info]]
    kept, found, warnings = [[*head[:info], head[place]]], set(), []
    for row in rows[1:]:
        row = row + [""] * (len(head) - len(row))
        who = next((row[i].strip() for i in ids if row[i].strip() in grades), None)
        if row[0].strip() == "Points Possible":
            warnings += _other_scale(row[place], records)
        if who is not None:
            found.add(who)
            row[place] = f"{grades[who]['final']:g}"
        kept.append([*row[:info], row[place]])
    missing = tuple(sorted(set(grades) - found))
    return Filled(table_text(kept), len(found), missing, tuple(warnings))


def _canvas_column(head: list[str], info: int, wanted: str) -> int:
    """Return where an assignment's column is."""
    there = head[info:]
    matching = [info + i for i, name in enumerate(there) if name == wanted]
    matching = matching or [info + i for i, name in enumerate(there)
                            if wanted and wanted.lower() in name.lower()]
    if len(matching) != 1:
        found = "no" if not matching else "more than one"
        raise GradingError(f"{found} assignment of this gradebook is called {wanted!r}: "
                           f"{nearest(wanted, there)}; make the assignment in Canvas first and "
                           "export again")
    return matching[0]


def _other_scale(cell: str, records: Sequence[dict]) -> list[str]:
    """Warn when the gradebook counts to another maximum."""
    most = records[0]["max_points"]
    try:
        possible = float(cell)
    except ValueError:
        return []
    if possible == most:
        return []
    return [f"the gradebook's maximum is {possible:g}, the unit's is {most:g}: points are filled "
            "in as they are"]


def moodle(records: Sequence[dict], worksheet: str | Path | None) -> Filled:
    """Fill grade and feedback of a Moodle grading worksheet, or list them for an import by id.

    The worksheet is what "Download grading worksheet" of an assignment gives; its rows are found
    by the number in ``Identifier``, which is also in the names of downloaded submissions.
    """
    if worksheet is None:
        rows = [{"learner": r["learner"]["id"], "name": r["learner"]["name"],
                 "grade": r["final"], "maximum": r["max_points"], "feedback": summary(r)}
                for r in records]
        columns = ["learner", "name", "grade", "maximum", "feedback"]
        return Filled(csv_text(columns, rows), len(rows), ())
    rows = read_table(worksheet)
    head = rows[0]
    if "Identifier" not in head or "Grade" not in head:
        raise GradingError(f"{worksheet} is not a Moodle grading worksheet: its first line must "
                           "hold Identifier and Grade (switch on \"Offline grading worksheet\" in "
                           "the assignment's settings)")
    return _fill_worksheet(records, rows, head)


def _fill_worksheet(records: Sequence[dict], rows: list[list[str]], head: list[str]) -> Filled:
    """Fill the rows of a grading worksheet."""
    grades = {record["learner"]["id"]: record for record in records}
    number, grade = head.index("Identifier"), head.index("Grade")
    words = head.index("Feedback comments") if "Feedback comments" in head else None
    most = head.index("Maximum Grade") if "Maximum Grade" in head else None
    kept, found, warnings = [head], set(), set()
    for row in rows[1:]:
        row = row + [""] * (len(head) - len(row))
        match = _PARTICIPANT.fullmatch(row[number])
        record = grades.get(match[1]) if match else None
        if record is not None:
            found.add(match[1])
            row[grade] = f"{record['final']:g}"
            if words is not None:
                row[words] = table_cell(summary(record))
            if most is not None:
                warnings |= set(_other_scale(row[most].replace(",", "."), records))
        kept.append(row)
    return Filled(table_text(kept), len(found), tuple(sorted(set(grades) - found)),
                  tuple(sorted(warnings)))


def summary(record: dict) -> str:
    """Return a record in a few words, for a gradebook's comment."""
    parts = [f"{row['title']}: {row['outcome']}"
             + (f" ({case_count(row['cases'])})" if row["cases"] else "")
             for row in record["exercises"]]
    return f"{record['final']:g} of {record['max_points']:g} points. " + "; ".join(parts)


def save(filled: Filled, out: str | Path) -> None:
    """Write a filled gradebook."""
    write_file(Path(out), filled.text)
