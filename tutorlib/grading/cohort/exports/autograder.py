"""What runs on Gradescope: grade the one submission there is and write ``results.json``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tutorlib.errors import GradingError, TutorlibError
from tutorlib.grading.cohort.cohort import Settings, grade_submissions
from tutorlib.grading.cohort.command import runner
from tutorlib.grading.cohort.exports.gradescope import course_of, failure, results, results_json
from tutorlib.grading.cohort.journal import write_file
from tutorlib.grading.cohort.names import Learner, clean_text
from tutorlib.grading.cohort.runners import Limits
from tutorlib.grading.cohort.submissions import gather
from tutorlib.grading.cohort.worker import bound_own_memory
from tutorlib.syllabus import find_unit


def main(root: Path) -> None:
    """Grade ``root/submission`` as ``root/source/settings.json`` says."""
    begin = time.monotonic()
    try:
        data = _graded(root)
    except TutorlibError as problem:
        data = failure(f"This could not be graded: {problem}")
    data["execution_time"] = round(time.monotonic() - begin, 2)
    write_file(root / "results" / "results.json", results_json(data))


def _graded(root: Path) -> dict:
    """Return the results of the submission."""
    source = root / "source"
    settings = json.loads((source / "settings.json").read_text(encoding="utf-8"))
    unit = find_unit(settings["unit"])
    intake = gather(root / "submission", [unit], _learner(root / "submission_metadata.json"))
    if not intake.submissions:
        raise GradingError(f"no notebook of unit {unit.number} was handed in; upload "
                           f"{unit.stem}.ipynb")
    open_runner, tier = runner(settings["trust"])
    bound_own_memory()
    # in this process: one submission needs no second one, which would import torch once more
    how = Settings(open_runner, tier, source / "cohort.seed", (unit.number,), 0,
                   Limits(settings["seconds"], settings["memory"]),
                   course_of(source / "course.toml"), alone=not settings["trust"])
    [record] = grade_submissions(intake, how)
    return results(record)


def _learner(path: Path) -> Learner:
    """Return who handed in, as Gradescope's metadata says."""
    try:
        first = json.loads(path.read_text(encoding="utf-8"))["users"][0]
        return Learner(clean_text(first.get("email") or first["id"], 120),
                       clean_text(first.get("name", ""), 120))
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Learner("learner", "learner")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
