"""The commands of an instructor, as they are typed."""

import json
import sys

import pytest
from typer.testing import CliRunner

from tests.grading.cohort.conftest import RIGHT, ROOT, notebook
from tutorlib.cli import app
from tutorlib.grading.cohort import command
from tutorlib.grading.cohort.cohort import grade_cohort


@pytest.fixture
def typed(monkeypatch):
    monkeypatch.chdir(ROOT)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def in_this_process(monkeypatch):
    """Let the command grade here: starting workers is tried in test_cohort."""
    def here(source, out, settings, progress):
        from dataclasses import replace

        return grade_cohort(source, out, replace(settings, workers=0), progress)

    monkeypatch.setattr(command, "grade_cohort", here)


def test_from_handing_out_to_the_gradebook(typed, tmp_path, in_this_process):
    (tmp_path / "course.toml").write_text("[units.00]\ndue = 2030-10-14T12:00:00Z\n")
    course = ("--course", tmp_path / "course.toml")
    done = typed("release", "--unit", "00", "--out", tmp_path / "handout", *course)
    assert done.exit_code == 0 and "00_start_here.ipynb" in done.output
    assert "no course file says how learners install it" in done.output.replace("\n", " ")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "anna.ipynb").write_bytes(notebook(RIGHT))
    done = typed("collect", tmp_path / "in", "--out", tmp_path / "collected", *course)
    assert done.exit_code == 0 and "1 notebook collected" in done.output, done.output
    out = tmp_path / "grades"
    done = typed("grade", tmp_path / "collected", "--out", out, "--seed-file", tmp_path / "seed",
                 *course, "--trust-submissions")
    assert done.exit_code == 0 and "1 notebook graded; 0 to look at" in done.output, done.output
    assert "with your rights" in done.output and str(out / "report.html") in done.output
    done = typed("export", "csv", out, "--out", tmp_path / "mine.csv")
    assert done.exit_code == 0 and (tmp_path / "mine.csv").read_text() == (
        out / "grades.csv").read_text()
    (tmp_path / "seed").chmod(0o644)
    done = typed("grade", tmp_path / "collected", "--out", out, "--seed-file", tmp_path / "seed",
                 *course, "--trust-submissions")
    assert "chmod 600" in done.output and "1 of them earlier" in done.output


def test_nothing_of_a_grading_lies_where_a_box_can_read(typed, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "runner", lambda trust: (None, "a tier"))
    for place in (f"{sys.prefix}/grades", "/usr/local/grades", f"{ROOT}/tutorlib/lm/grades"):
        for arguments in (("--out", place), ("--out", tmp_path, "--seed-file", place)):
            done = typed("grade", tmp_path, *arguments)
            assert done.exit_code != 0 and "can read" in done.output, done.output


@pytest.mark.parametrize("arguments, told", [
    (["grade"], "give the folder"), (["grade", "{tmp}"], "--out"),
    (["grade", "{tmp}/none", "--out", "{tmp}/out", "--trust-submissions"], "neither a folder"),
    (["export", "blackboard", "{tmp}", "--out", "x"], "no export 'blackboard'"),
    (["export", "csv", "{tmp}", "--out", "x"], "holds no records"),
    (["export", "gradescope", "--autograder", "--out", "{tmp}/a.zip"], "give --unit"),
    (["release", "--unit", "22", "--out", "{tmp}/out"], "no lesson yet"),
    (["collect", "{tmp}", "--out", "{tmp}/out"], "holds no notebooks"),
])
def test_a_mistake_is_one_message(typed, tmp_path, arguments, told):
    done = typed(*[argument.replace("{tmp}", str(tmp_path)) for argument in arguments])
    assert done.exit_code == 2 and told in done.output.replace("\n", " ")
    assert "Traceback" not in done.output


def test_limits_reach_the_record(typed, tmp_path, in_this_process):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "anna.ipynb").write_bytes(notebook(RIGHT))
    done = typed("grade", tmp_path / "in", "--out", tmp_path / "out", "--time-limit", "33",
                 "--memory", "512", "--unit", "00", "--trust-submissions")
    assert done.exit_code == 0
    record = json.loads((tmp_path / "out" / "records" / "anna.00.json").read_text())
    assert record["limits"] == {"seconds": 33.0, "memory": 512}


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(typed, tmp_path, monkeypatch):
    def here(source, out, settings, progress):
        from dataclasses import replace

        def stop(done, of):
            progress(done, of)
            if stopping and done == 1:
                raise KeyboardInterrupt

        return grade_cohort(source, out, replace(settings, workers=0), stop)

    monkeypatch.setattr(command, "grade_cohort", here)
    (tmp_path / "in").mkdir()
    for name in ("anna", "bert"):
        (tmp_path / "in" / f"{name}.ipynb").write_bytes(notebook(RIGHT))
    (tmp_path / "in" / "carla.pdf").write_bytes(b"%PDF")
    ask = ("grade", tmp_path / "in", "--out", tmp_path / "out", "--trust-submissions")
    stopping = True
    done = typed(*ask)
    assert done.exit_code == 2 and "1 of 2 notebooks are graded and kept" in done.output
    stopping = False
    done = typed(*ask)
    assert done.exit_code == 0 and "2 notebooks graded (1 of them earlier" in done.output
    assert "No notebook came with carla.pdf" in done.output
