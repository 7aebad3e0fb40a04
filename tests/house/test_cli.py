"""The command ``tutorlib``, as it is typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tutorlib.cli import app
from tutorlib.grading.registry import all_exercises

ROOT = Path(__file__).parents[2]
FIELDS = {"id", "unit", "points", "minutes", "difficulty", "mutants", "variants", "hints"}


@pytest.fixture
def typed(monkeypatch):
    """Return a function that runs a command in this process, in the course folder."""
    monkeypatch.chdir(ROOT)
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_help_names_every_command(typed):
    text = typed("--help").output
    for name in ("doctor", "lab", "progress", "exercises", "build", "run", "grade", "export",
                 "release", "collect"):
        assert name in text


def test_exercises_as_json(typed):
    rows = json.loads(typed("exercises", "--json").output)
    assert [row["id"] for row in rows] == [exercise.id for exercise in all_exercises()]
    assert all(set(row) >= FIELDS for row in rows)
    assert all(isinstance(row["unit"], str) and len(row["unit"]) == 2 for row in rows)
    assert all(row["hints"] == 3 and row["mutants"] >= 4 and row["variants"] >= 2 for row in rows)


def test_exercises_for_people(typed):
    lines = typed("exercises").output.splitlines()
    assert len(lines) == len(all_exercises())


def test_progress_in_both_forms(typed):
    from tutorlib.grading.store import store

    rows = json.loads(typed("progress", "--json").output)
    assert [row["id"] for row in rows] == [exercise.id for exercise in all_exercises()]
    assert "0 of " in typed("progress").output
    if rows:
        store().add_attempt(rows[0]["id"], "passed")
        assert json.loads(typed("progress", "--json").output)[0]["passed"] is True


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A course without lessons: a build writes the home page only."""
    for name in ("course", "tutorlib"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TUTORLIB_ROOT", str(tmp_path))
    return tmp_path


def test_build_writes_and_its_check_fails_on_drift(typed, toy):
    assert typed("build", "--check").exit_code == 1
    assert typed("build").exit_code == 0 and (toy / "HOME.md").is_file()
    assert typed("build", "--check").exit_code == 0
    (toy / "HOME.md").write_text("edited by hand")
    stale = typed("build", "--check", "--json")
    assert stale.exit_code == 1 and json.loads(stale.output)["maps"] == ["HOME.md"]
    assert (toy / "HOME.md").read_text() == "edited by hand", "a check writes nothing"


@pytest.mark.parametrize("command, words", [
    (["build", "99"], "there is no unit '99'"),
    (["run", "22"], "22_capstone.ipynb is not built"),
    (["run", "--product", "novels"], "novels"),
])
def test_a_mistake_is_one_message_and_not_a_traceback(toy, command, words):
    done = subprocess.run([sys.executable, "-m", "tutorlib.cli", *command], cwd=toy, text=True,
                          capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr
