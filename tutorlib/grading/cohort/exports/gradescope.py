"""Gradescope: its results file, and the zip that makes it grade a unit by itself."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import tutorlib
from tutorlib.errors import GradingError
from tutorlib.grading.cohort.course import Course
from tutorlib.grading.cohort.feedback import LINES, case_count, preface
from tutorlib.grading.cohort.records import failed, file_stem, passed
from tutorlib.syllabus import Unit, course_root

_EPOCH = (1980, 1, 1, 0, 0, 0)  # in every zip: the same content gives the same bytes


def results(record: dict) -> dict:
    """Return a record as Gradescope's ``results.json`` has it: one test for each exercise.

    The score is the record's final one. Times are not part of a record, so none is given.
    """
    return {
        "score": record["final"],
        "output": " ".join(preface(record)) or "Graded.",
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "extra_data": {"sha256": record["submission"]["sha256"], "tier": record["tier"],
                       "seed_id": record["seed_id"], **record["course"]},
        "tests": [_test(i, row) for i, row in enumerate(record["exercises"], 1)],
    }


def _test(number: int, row: dict) -> dict:
    """Return one exercise as a test."""
    lines = [row["message"]] if row["message"] else []
    if row["mistake"]:
        label = "A known mistake" if row["mistake"]["certain"] else "Like a known mistake"
        lines.append(f"{label}: {row['mistake']['message']}")
    lines += [f"{label}: {row['shown'][key]}" for key, label in LINES if row["shown"].get(key)]
    lines += [f"Cases: {case_count(row['cases'])}"] if row["cases"] else []
    lines += [f"A hint: {row['hint']}"] if row["hint"] else []
    lines += row["notes"]
    return {
        "score": row["points"], "max_score": row["max_points"],
        "status": "passed" if passed(row) else "failed",
        "name": f"{row['title']} ({row['outcome']})", "number": str(number),
        "output": "\n".join(lines), "output_format": "text",
        "tags": [row["outcome"], *(["hidden cases"] if row["hidden"] else [])],
        "visibility": "visible",
        "extra_data": {"exercise": row["exercise"], "stage": row["stage"] if failed(row) else "",
                       "mistake": row["mistake"]["name"] if row["mistake"] else ""},
    }


def failure(words: str) -> dict:
    """Return the results of a submission that could not be graded, which says why."""
    return {"score": 0, "output": words, "output_format": "text", "visibility": "visible",
            "stdout_visibility": "hidden", "tests": []}


def results_json(data: dict) -> str:
    """Return results as JSON."""
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def result_files(records: Iterable[dict]) -> dict[str, str]:
    """Return {file name: results.json} for graded submissions."""
    return {f"{file_stem(record)}.results.json": results_json(results(record))
            for record in records}


def autograder(unit: Unit, seed_text: str, course_file: Path | None, settings: dict,
               out: Path) -> list[str]:
    """Write the autograder zip of a unit; returns the names inside.

    It holds this package, the unit's solutions and the cohort's secret: upload it to Gradescope
    and give it to nobody. Raises ``GradingError`` when the course's files are not at hand.
    """
    root = course_root()
    files: dict[str, bytes] = {}
    package = Path(tutorlib.__file__).parent
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[f"course/tutorlib/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    wanted = ["pyproject.toml", "requirements.lock", "README.md", "LICENSE", "LICENSE-TEXT",
              f"course/{unit.stem}.py", f"solutions/{unit.stem}.ipynb"]
    for name in wanted:
        try:
            files[f"course/{name}"] = (root / name).read_bytes()
        except OSError as problem:
            raise GradingError(f"{root / name} is needed for the autograder and cannot be read "
                               f"({problem.strerror})") from problem
    if course_file is not None:
        files["course.toml"] = course_file.read_bytes()
    here = Path(__file__).parent
    files |= {name: (here / f"{name}.txt").read_bytes() for name in ("setup.sh", "run_autograder")}
    files["settings.json"] = results_json({"unit": unit.number, **settings}).encode()
    files["cohort.seed"] = seed_text.encode()
    _zip(files, out)
    return sorted(files)


def _zip(files: dict[str, bytes], out: Path) -> None:
    """Write a zip whose bytes depend on its content only; scripts may be executed."""
    try:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                info = zipfile.ZipInfo(name, _EPOCH)
                runs = name in ("setup.sh", "run_autograder")
                info.external_attr = (0o100755 if runs else 0o100644) << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, files[name])
    except OSError as problem:
        raise GradingError(f"{out} cannot be written ({problem.strerror})") from problem


def course_of(path: Path) -> Course:
    """Return the course file inside an unpacked autograder, or the default one."""
    from tutorlib.grading.cohort.course import read_course

    return read_course(path if path.is_file() else None)
