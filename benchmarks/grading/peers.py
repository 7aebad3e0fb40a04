"""The assignment in the forms of nbgrader and otter-grader, and their own commands to grade it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

from assignment import HIDDEN, POINTS, QUESTIONS, RIGHT, SHOWN
from measure import Cost, run

NAMES = {"nbgrader": "nbgrader", "otter": "otter-grader"}


def notebook(cells: list[dict]) -> str:
    """Return a notebook file of (type, source, metadata) cells."""
    made = [{"id": f"cell-{i}", "metadata": {}, **cell} for i, cell in enumerate(cells)]
    for cell in made:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"cells": made, "nbformat": 4, "nbformat_minor": 5, "metadata": {
        "kernelspec": kernel, "language_info": {"name": "python"}}})


def code(source: str, **metadata) -> dict:
    """Return a code cell."""
    return {"cell_type": "code", "source": source, "metadata": metadata}


class Nbgrader:
    """A course of nbgrader with one assignment."""

    def __init__(self, environment: Path, folder: Path):
        """Make the course in ``folder``, with the program of an environment."""
        self._program, self._folder = environment / "bin" / "nbgrader", folder
        self._environment = {"PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        (folder / "source" / "ps1").mkdir(parents=True)
        (folder / "nbgrader_config.py").write_text(
            "c = get_config()\nc.CourseDirectory.course_id = 'course'\n")
        (folder / "source" / "ps1" / "ps1.ipynb").write_text(self._notebook(RIGHT["numpy"]))
        self._call("generate_assignment", "ps1", "--force")

    def _notebook(self, answers) -> str:
        cells = [code("import numpy as np")]
        for name, answer, shown, hidden in zip(QUESTIONS, answers, SHOWN, HIDDEN, strict=True):
            about = {"schema_version": 3, "task": False, "cell_type": "code"}
            solution = {**about, "grade_id": name, "grade": False, "solution": True,
                        "locked": False}
            test = {**about, "grade_id": f"test-{name}", "grade": True, "solution": False,
                    "locked": True, "points": POINTS}
            text = f"{shown}\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
            cells += [code(answer, nbgrader=solution), code(text, nbgrader=test)]
        return notebook(cells)

    def hand_in(self, learner: str, answers) -> None:
        """Put a learner's notebook where it is to be."""
        place = self._folder / "submitted" / learner / "ps1"
        place.mkdir(parents=True)
        content = json.loads((self._folder / "release" / "ps1" / "ps1.ipynb").read_text())
        for cell in content["cells"]:
            about = cell["metadata"].get("nbgrader", {})
            if about.get("solution"):
                cell["source"] = answers[QUESTIONS.index(about["grade_id"])]
        (place / "ps1.ipynb").write_text(json.dumps(content))

    def grade(self, learner: str = "", limit: float = 900.0) -> Cost:
        """Grade one learner, or all; return what it cost."""
        only = ["--student", learner] if learner else []
        return run([self._program, "autograde", "ps1", "--force", *only], self._folder, limit,
                   self._environment)

    def points(self) -> dict[str, float]:
        """Return each learner's points."""
        self._call("export", "--to", "grades.csv")
        with open(self._folder / "grades.csv", newline="") as lines:
            return {row["student_id"]: float(row["score"]) for row in csv.DictReader(lines)}

    def _call(self, *words: str) -> None:
        subprocess.run([self._program, *words], cwd=self._folder, check=True,
                       capture_output=True, env={**os.environ, **self._environment})


class Otter:
    """An assignment of otter-grader, graded without containers."""

    def __init__(self, environment: Path, folder: Path):
        """Make the autograder in ``folder``, with the program of an environment."""
        self._bin, self._folder = environment / "bin", folder
        folder.mkdir()
        self._answers: dict[str, tuple] = {}
        (folder / "master.ipynb").write_text(self._master())
        subprocess.run([self._bin / "otter", "assign", "master.ipynb", "dist", "--no-run-tests",
                        "--no-pdfs"], cwd=folder, check=True, capture_output=True)
        [self._zip] = (folder / "dist" / "autograder").glob("*.zip")

    def _master(self) -> str:
        raw = lambda text: {"cell_type": "raw", "source": text}  # noqa: E731
        cells = [raw("# ASSIGNMENT CONFIG\nname: bench\nexport_cell: false\ngenerate: true"),
                 code("import numpy as np")]
        for name, answer, shown, hidden in zip(QUESTIONS, RIGHT["numpy"], SHOWN, HIDDEN,
                                               strict=True):
            hide = '""" # BEGIN TEST CONFIG\nhidden: true\n""" # END TEST CONFIG\n'
            cells += [raw(f"# BEGIN QUESTION\nname: {name}\npoints: {POINTS}"),
                      raw("# BEGIN SOLUTION"), code(answer), raw("# END SOLUTION"),
                      raw("# BEGIN TESTS"), code(shown), code(hide + hidden), raw("# END TESTS"),
                      raw("# END QUESTION")]
        return notebook(cells)

    def hand_in(self, learner: str, answers) -> None:
        """Write a learner's notebook: the student's version with the answers filled in."""
        [blank] = (self._folder / "dist" / "student").glob("*.ipynb")
        content = json.loads(blank.read_text())
        places = [cell for cell in content["cells"]
                  if "otter_answer_cell" in cell["metadata"].get("tags", ())]
        for cell, answer in zip(places, answers, strict=True):
            cell["source"] = answer
        (self._folder / f"{learner}.ipynb").write_text(json.dumps(content))
        self._answers[learner] = answers

    def grade(self, learner: str = "", limit: float = 900.0) -> Cost:
        """Grade one learner by the command, or all in one process by the interface."""
        if learner:
            out = self._folder / "out" / learner
            out.mkdir(parents=True, exist_ok=True)
            return run([self._bin / "otter", "run", "-a", self._zip, "-o", out, "--no-logo",
                        self._folder / f"{learner}.ipynb"], self._folder, limit)
        return run([self._bin / "python", "-c", _LOOP, self._zip, *self._answers], self._folder,
                   limit)

    def points(self) -> dict[str, float]:
        """Return the points of each learner whose grading ended with a result."""
        together = self._folder / "totals.json"
        found = json.loads(together.read_text()) if together.is_file() else {}
        for learner in self._answers:
            result = self._folder / "out" / learner / "results.json"
            if result.is_file():
                tests = json.loads(result.read_text())["tests"]
                found[learner] = sum(t.get("score", 0) for t in tests
                                     if t["name"] in QUESTIONS)
        return found


_LOOP = """
import json, sys
from pathlib import Path
from otter.api import grade_submission
totals = {learner: grade_submission(f"{learner}.ipynb", sys.argv[1], quiet=True).total
          for learner in sys.argv[2:]}
Path("totals.json").write_text(json.dumps(totals))
"""
