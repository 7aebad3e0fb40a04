"""Canvas and Moodle: fill one column of the gradebook that the instructor exported from there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tutorlib.errors import GradingError, nearest
from tutorlib.grading.cohort.feedback import case_count
from tutorlib.grading.cohort.journal import write_file
from tutorlib.grading.cohort.names import table_cell
from tutorlib.grading.cohort.records import csv_text

_CANVAS_IDS = ("ID", "SIS User ID", "SIS Login ID")
_SEPARATORS = (",", ";", "\t")
_COMMA = re.compile(r"\d+,\d+")
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


@dataclass(frozen=True)
class Table:
    """A gradebook's rows, and how it writes them: as it came it goes back."""

    rows: list[list[str]]
    separator: str = ","

    @property
    def head(self) -> list[str]:
        """The first line."""
        return self.rows[0]

    def number(self, value: float) -> str:
        """Return a grade as this table writes numbers.

        >>> Table([["Essay"], ["8,5"]], ";").number(2.5), Table([["8.5"]]).number(2.5)
        ('2,5', '2.5')
        """
        comma = self.separator == ";" and any(_COMMA.fullmatch(c) for row in self.rows for c in row)
        return f"{value:g}".replace(".", ",") if comma else f"{value:g}"

    def text(self, rows: Sequence[Sequence[str]]) -> str:
        """Return rows as a file of the same kind, cells as they are."""
        stream = io.StringIO()
        csv.writer(stream, delimiter=self.separator, lineterminator="\r\n").writerows(rows)
        return stream.getvalue()


def read_table(path: str | Path) -> Table:
    """Return a CSV file, its separator found. Raises ``GradingError`` when it is none."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        separator = max(_SEPARATORS, key=lambda s: len(next(_rows(text, s), [])))
        rows = list(_rows(text, separator))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise GradingError(f"{path} cannot be read as CSV in UTF-8 ({problem}); give the file as "
                           "it was downloaded, not as a spreadsheet saved it") from problem
    if not rows:
        raise GradingError(f"{path} is empty")
    return Table(rows, separator)


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    """Read a text as CSV."""
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator)


def canvas(records: Sequence[dict], export: str | Path, column: str) -> Filled:
    """Fill ``column`` of a Canvas gradebook export and leave out all other assignments.

    ``column`` is the assignment's heading or a part that only it has. Rows are found by ID, SIS
    User ID or SIS Login ID. What Canvas's import requires is kept: ``Student``, ``ID`` and up to
    ``Section``, and the rows above the students.
    """
    table = read_table(export)
    head = table.head
    if head[:2] != ["Student", "ID"] or "Section" not in head:
        raise GradingError(f"{export} is not a Canvas gradebook export: its first line must begin "
                           "with Student,ID and hold Section (Gradebook, Export, Entire gradebook)")
    info = head.index("Section") + 1
    place = _canvas_column(head, info, column)
    rows = [row + [""] * (len(head) - len(row)) for row in table.rows[1:]]
    places = [head.index(name) for name in _CANVAS_IDS if name in head[:info]]
    owners, warnings = _owners(rows, places, {record["learner"]["id"] for record in records})
    grades = {record["learner"]["id"]: record for record in records}
    kept = [[*head[:info], head[place]]]
    for number, row in enumerate(rows):
        if row[0].strip() == "Points Possible":
            warnings += _other_scale(row[place].replace(",", "."), records)
        if number in owners:
            row[place] = table.number(grades[owners[number]]["final"])
        kept.append([*row[:info], row[place]])
    missing = tuple(sorted(set(grades) - set(owners.values())))
    return Filled(table.text(kept), len(owners), missing, tuple(warnings))


def _owners(rows: Sequence[Sequence[str]], places: Sequence[int],
            learners: set[str]) -> tuple[dict[int, str], list[str]]:
    """Return {row: whose it is}, and warnings; no row has two owners and no learner two rows.

    The columns ``places`` are looked at in this order: one person's number of one kind may be
    another's of another kind.
    """
    owners: dict[int, str] = {}
    warnings, open_ones = [], set(learners)
    for place in places:
        found: dict[str, list[int]] = {}
        for number, row in enumerate(rows):
            if row[place].strip() in open_ones:
                found.setdefault(row[place].strip(), []).append(number)
        for who, numbers in sorted(found.items()):
            free = [number for number in numbers if number not in owners]
            if len(numbers) == 1 and free:
                owners[free[0]] = who
            else:
                warnings.append(f"{who} could be more than one row; fill that one in by hand")
            open_ones.discard(who)
    return owners, warnings


def _canvas_column(head: list[str], info: int, wanted: str) -> int:
    """Return where an assignment's column is: by its heading, its title, or a part of it."""
    there = head[info:]
    for fits in (lambda name: name == wanted,
                 lambda name: re.sub(r" \(\d+\)$", "", name) == wanted,
                 lambda name: bool(wanted) and wanted.lower() in name.lower()):
        matching = [info + i for i, name in enumerate(there) if fits(name)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise GradingError(f"more than one assignment of this gradebook is called {wanted!r}: "
                               f"{nearest(wanted, [head[i] for i in matching])}; give its whole "
                               "heading")
    raise GradingError(f"no assignment of this gradebook is called {wanted!r}: "
                       f"{nearest(wanted, there)}; make the assignment in Canvas first and export "
                       "again")


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
    table = read_table(worksheet)
    head = table.head
    if "Identifier" not in head or "Grade" not in head:
        raise GradingError(f"{worksheet} is not a Moodle grading worksheet: its first line must "
                           "hold Identifier and Grade (switch on \"Offline grading worksheet\" in "
                           "the assignment's settings, and download it in English)")
    return _fill_worksheet(records, table, head)


def _fill_worksheet(records: Sequence[dict], table: Table, head: list[str]) -> Filled:
    """Fill the rows of a grading worksheet."""
    grades = {record["learner"]["id"]: record for record in records}
    number, grade = head.index("Identifier"), head.index("Grade")
    words = head.index("Feedback comments") if "Feedback comments" in head else None
    most = head.index("Maximum Grade") if "Maximum Grade" in head else None
    kept, found, warnings = [head], set(), set()
    for row in table.rows[1:]:
        row = row + [""] * (len(head) - len(row))
        match = _PARTICIPANT.fullmatch(row[number])
        record = grades.get(match[1]) if match else None
        if record is not None:
            found.add(match[1])
            row[grade] = table.number(record["final"])
            if words is not None:
                row[words] = table_cell(summary(record))
            if most is not None:
                warnings |= set(_other_scale(row[most].replace(",", "."), records))
        kept.append(row)
    return Filled(table.text(kept), len(found), tuple(sorted(set(grades) - found)),
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
