"""What ``tutorlib export`` does, and what it says."""

from __future__ import annotations

from pathlib import Path

import typer

from tutorlib.errors import GradingError, nearest
from tutorlib.grading.cohort.course import read_course
from tutorlib.grading.cohort.exports.gradebooks import Filled, canvas, moodle, of_one_unit
from tutorlib.grading.cohort.exports.gradescope import autograder, result_files
from tutorlib.grading.cohort.journal import write_file
from tutorlib.grading.cohort.records import LONG, csv_text, long_rows, read_records, wide_rows
from tutorlib.grading.cohort.seeds import open_seed
from tutorlib.syllabus import find_unit

PLATFORMS = ("gradescope", "canvas", "moodle", "csv")


def export(platform: str, grades: Path | None, out: Path, *, unit: str, gradebook: Path | None,
           column: str, wide: bool) -> None:
    """Write grades as a platform takes them, and say what did not fit."""
    if platform not in PLATFORMS:
        raise GradingError(f"there is no export {platform!r}: {nearest(platform, PLATFORMS)}")
    if grades is None:
        raise GradingError("give the folder that `tutorlib grade` wrote")
    records = read_records(grades)
    number = find_unit(unit).number if unit else ""
    if platform == "csv":
        chosen = [r for r in records if number in ("", r["unit"])]
        table = wide_rows(chosen) if wide else (LONG, long_rows(chosen))
        write_file(out, csv_text(*table))
    elif platform == "gradescope":
        chosen = [r for r in records if number in ("", r["unit"])]
        for name, text in result_files(chosen).items():
            write_file(out / name, text)
        typer.echo(f"wrote {len(chosen)} results files to {out}")
        return
    elif platform == "canvas":
        if gradebook is None or not column:
            raise GradingError("give --gradebook (Canvas: Gradebook, Export) and --column, the "
                               "assignment's name in it")
        _save(canvas(of_one_unit(records, number), gradebook, column), out)
    else:
        _save(moodle(of_one_unit(records, number), gradebook), out)
    typer.echo(f"wrote {out}")


def _save(filled: Filled, out: Path) -> None:
    """Write a filled gradebook and say whom it left out."""
    write_file(out, filled.text)
    typer.echo(f"{filled.filled} grades filled in")
    for text in filled.warnings:
        typer.echo(f"note: {text}")
    if filled.unmatched:
        typer.echo(f"not in the gradebook: {', '.join(filled.unmatched)}; their grades are in "
                   "grades.csv")


def make_autograder(out: Path, *, unit: str, seed_file: Path | None, course: Path | None,
                    seconds: float, memory: int, trust: bool) -> None:
    """Write a Gradescope autograder zip for one unit."""
    if not unit:
        raise GradingError("give --unit: an autograder grades one")
    seed_file = seed_file or out.with_suffix(".seed")
    open_seed(seed_file)
    read_course(course)
    settings = {"trust": trust, "seconds": seconds, "memory": memory}
    autograder(find_unit(unit), seed_file.read_text(encoding="utf-8"), course, settings, out)
    typer.echo(f"wrote {out}: upload it to Gradescope (Configure Autograder; base image Ubuntu "
               f"24.04 or newer). It holds the solutions and the secret of {seed_file}: give it "
               "to nobody.")
