"""Other people's gradebooks: what each of them reads, and nothing that was not theirs."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.grading.cohort.conftest import RIGHT, ROOT, UNDIVIDED, notebook
from tutorlib.errors import GradingError
from tutorlib.grading.cohort.exports.command import export, make_autograder
from tutorlib.grading.cohort.exports.gradebooks import canvas, moodle, of_one_unit
from tutorlib.grading.cohort.exports.gradescope import results
from tutorlib.grading.cohort.records import read_records

CANVAS = """\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,Essay (17),Start here (18),Final Score
,,,,,,Manual Posting,
    Points Possible,,,,,10,5,(read only)
"Doe, Jane",4711,s1,jdoe,One,7,,70
"Roe, Richard",4712,s2,rroe,One,8,1,80
"=cmd(), Eve",4713,s3,anna,One,,,
"Student, Test",99,,t,One,,,
"""
MOODLE = """Identifier,Full name,Email address,Status,Grade,Maximum Grade,Feedback comments
Participant 4711,Jane Doe,j@example.org,Submitted,,1.00,
Participant 5,Someone Else,s@example.org,,,1.00,
"""


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    """Three learners, as Canvas names one of them, graded once for this module."""
    from tests.grading.cohort.conftest import Cohort

    cohort = Cohort(tmp_path_factory.mktemp("class"))
    cohort.hand_in("doejane_LATE_4711_99_00_start_here.ipynb", notebook(RIGHT))
    cohort.hand_in("anna.ipynb", notebook(UNDIVIDED))
    cohort.hand_in("nobody.ipynb", b"broken")
    cohort.grade(units=("00",))
    return cohort.out


@pytest.fixture
def records(grades):
    return read_records(grades)


def rows_of(text):
    return list(csv.reader(io.StringIO(text)))


def test_canvas_fills_one_column_by_id_and_keeps_the_rest(records, tmp_path):
    (tmp_path / "export.csv").write_text(CANVAS, encoding="utf-8")
    filled = canvas(records, tmp_path / "export.csv", "Start here")
    rows = rows_of(filled.text)
    assert rows[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Start here (18)"]
    assert rows[1][-1] == "Manual Posting" and rows[2][0] == "    Points Possible"
    assert rows[2][-1] == "5"
    grades = {row[0]: row[-1] for row in rows[3:]}
    assert grades == {"Doe, Jane": "1", "Roe, Richard": "1", "=cmd(), Eve": "0",
                      "Student, Test": ""}, "only matched rows change"
    assert filled.filled == 2 and filled.unmatched == ("nobody",)
    assert "maximum is 5, the unit's is 1" in filled.warnings[0]


def test_canvas_goes_back_as_it_came(records, tmp_path):
    """With semicolons and decimal commas, as Canvas writes them on request; columns of all kinds.
    """
    text = ('\ufeffStudent;ID;SIS User ID;SIS Login ID;Integration ID;Root Account;Section;'
            'Unit 00 (18);Unit 00 resit (19);Final Score\r\n;;;;;;;Manual Posting;;\r\n'
            '    Points Possible;;;;;;;1;5;(read only)\r\n'
            '"Doe; Jane";4711;s1;jdoe;i;r;"One and Two";;8,5;85,0\r\n'
            '"O\'Roe, ""Rick""";4712;s2;rroe;i;r;One;0,5;;\r\n')
    (tmp_path / "export.csv").write_text(text, encoding="utf-8", newline="")
    half = [{**records[0], "final": 0.9}, *records[1:]]
    filled = canvas(half, tmp_path / "export.csv", "Unit 00")
    assert filled.text == (
        'Student;ID;SIS User ID;SIS Login ID;Integration ID;Root Account;Section;Unit 00 (18)\r\n'
        ';;;;;;;Manual Posting\r\n    Points Possible;;;;;;;1\r\n'
        '"Doe; Jane";4711;s1;jdoe;i;r;One and Two;0,9\r\n'
        '"O\'Roe, ""Rick""";4712;s2;rroe;i;r;One;0,5\r\n') and filled.warnings == ()


def test_canvas_gives_nobody_the_grade_of_another(records, tmp_path):
    """One student's number of one kind may be another's of another kind."""
    def filled(*rows):
        (tmp_path / "export.csv").write_text("\n".join(
            ["Student,ID,SIS User ID,Section,Unit 00 (18)", *rows]))
        done = canvas(records, tmp_path / "export.csv", "Unit 00")
        return [row[-1] for row in rows_of(done.text)[1:]], done

    grades, done = filled("Roe,1,4711,One,", "Doe,4711,2,One,")
    assert grades == ["", "1"] and done.unmatched == ("anna", "nobody")
    grades, done = filled("Roe,1,4711,One,", "Poe,2,4711,One,")
    assert grades == ["", ""] and "4711" in done.unmatched
    assert "could be more than one row" in done.warnings[0]
    grades, done = filled("Roe,4711,anna,One,")
    assert grades == ["1"] and done.filled == 1 and "anna" in done.warnings[0]


@pytest.mark.parametrize("text, column, told", [
    (CANVAS, "Quiz", "no assignment"), (CANVAS, "(1", "more than one.*whole heading"),
    (CANVAS, "", "no assign"),
    ("a,b\n1,2\n", "x", "not a Canvas gradebook"), ("", "x", "empty"),
])
def test_canvas_invents_nothing(records, tmp_path, text, column, told):
    (tmp_path / "export.csv").write_text(text, encoding="utf-8")
    with pytest.raises(GradingError, match=told):
        canvas(records, tmp_path / "export.csv", column)


def test_moodle_fills_its_worksheet_or_lists(records, tmp_path):
    (tmp_path / "sheet.csv").write_text(MOODLE, encoding="utf-8")
    filled = moodle(records, tmp_path / "sheet.csv")
    rows = rows_of(filled.text)
    assert rows[1][4] == "1" and "Softmax with a temperature: passed" in rows[1][6]
    assert rows[2] == MOODLE.splitlines()[2].split(",") and filled.warnings == ()
    assert filled.unmatched == ("anna", "nobody")
    listed = list(csv.DictReader(io.StringIO(moodle(records, None).text)))
    assert [row["learner"] for row in listed] == ["4711", "anna", "nobody"]
    assert [row["grade"] for row in listed] == ["1", "0", "0"]
    (tmp_path / "sheet.csv").write_text("a\n")
    with pytest.raises(GradingError, match="worksheet"):
        moodle(records, tmp_path / "sheet.csv")


TEST_KEYS = {"score", "max_score", "status", "name", "number", "output", "output_format", "tags",
             "visibility", "extra_data"}


def test_gradescope_results_follow_its_schema(records):
    for record in records:
        data = results(record)
        assert set(data) >= {"score", "output", "visibility", "stdout_visibility", "tests",
                             "extra_data"}
        assert data["score"] == sum(test["score"] for test in data["tests"])
        for test in data["tests"]:
            assert set(test) == TEST_KEYS and test["status"] in ("passed", "failed")
            assert test["visibility"] in ("hidden", "after_due_date", "after_published", "visible")
        assert record["seed_id"] in json.dumps(data)
    wrong = results(records[1])["tests"][0]
    assert wrong["status"] == "failed" and "known mistake" in wrong["output"]


def test_one_unit_is_chosen(records):
    other = {**records[0], "unit": "06"}
    assert of_one_unit([*records, other], "06") == [other]
    with pytest.raises(GradingError, match="--unit"):
        of_one_unit([*records, other], "")


def test_the_command_writes_what_each_platform_takes(grades, tmp_path, capsys):
    ask = {"unit": "", "gradebook": None, "column": "", "wide": False}
    export("csv", grades, tmp_path / "long.csv", **ask)
    assert (tmp_path / "long.csv").read_bytes() == (grades / "grades.csv").read_bytes()
    export("csv", grades, tmp_path / "wide.csv", **{**ask, "wide": True})
    assert (tmp_path / "wide.csv").read_bytes() == (grades / "gradebook.csv").read_bytes()
    export("gradescope", grades, tmp_path / "results", **ask)
    assert len(list((tmp_path / "results").glob("*.results.json"))) == 3
    export("moodle", grades, tmp_path / "m.csv", **ask)
    (tmp_path / "export.csv").write_text(CANVAS, encoding="utf-8")
    export("canvas", grades, tmp_path / "c.csv", **{
        **ask, "gradebook": tmp_path / "export.csv", "column": "Start here (18)"})
    assert "not in the gradebook: nobody" in capsys.readouterr().out
    for platform, told in (("blackboard", "no export"), ("canvas", "--gradebook")):
        with pytest.raises(GradingError, match=told):
            export(platform, grades, tmp_path / "x", **ask)
    with pytest.raises(GradingError, match="no records"):
        export("csv", tmp_path, tmp_path / "x", **ask)


@pytest.fixture
def autograder(tmp_path):
    """An autograder, unpacked as Gradescope does, in a folder of its own."""
    make_autograder(tmp_path / "autograder.zip", unit="00", seed_file=tmp_path / "seed",
                    course=None, seconds=60, memory=1024, trust=True)
    root = tmp_path / "gradescope"
    with zipfile.ZipFile(tmp_path / "autograder.zip") as archive:
        archive.extractall(root / "source")
        modes = {i.filename: i.external_attr >> 16 for i in archive.infolist()}
    assert modes["setup.sh"] & 0o111 and modes["run_autograder"] & 0o111
    (root / "submission").mkdir()
    shutil.move(root / "source" / "run_autograder", root / "run_autograder")
    return root


def run(root, **more):
    env = {**os.environ, "AUTOGRADER_ROOT": str(root), "AUTOGRADER_PYTHON": sys.executable, **more}
    env.pop("TUTORLIB_ROOT", None)
    done = subprocess.run(["bash", str(root / "run_autograder")], env=env, cwd=root,
                          capture_output=True, text=True)
    return done, json.loads((root / "results" / "results.json").read_text())


@pytest.mark.slow
def test_the_autograder_grades_from_a_clean_folder(autograder):
    who = {"users": [{"email": "anna@example.org", "id": 7, "name": "Anna"}]}
    (autograder / "submission_metadata.json").write_text(json.dumps(who))
    (autograder / "submission" / "my homework.ipynb").write_bytes(notebook(RIGHT))
    done, data = run(autograder)
    assert data["score"] == 1 and data["tests"][0]["status"] == "passed", done.stderr
    assert data["execution_time"] > 0
    secret = (autograder / "source" / "cohort.seed").read_text().strip()
    assert secret not in json.dumps(data) + done.stdout + done.stderr
    (autograder / "submission" / "my homework.ipynb").unlink()
    _, data = run(autograder)
    assert data["score"] == 0 and "00_start_here.ipynb" in data["output"]
    done, data = run(autograder, AUTOGRADER_PYTHON="false")
    assert data["score"] == 0 and "tell your instructor" in data["output"]


def test_the_autograder_uses_its_own_copy_and_holds_what_it_needs(autograder):
    course = autograder / "source" / "course"
    assert (course / "tutorlib" / "cli.py").read_bytes() == (
        ROOT / "tutorlib" / "cli.py").read_bytes()
    assert (course / "solutions" / "00_start_here.ipynb").is_file()
    assert not list(course.rglob("__pycache__"))
    for name in ("setup.sh",):
        subprocess.run(["bash", "-n", str(autograder / "source" / name)], check=True)


def test_the_autograders_setup_installs_the_pinned_course(autograder, tmp_path):
    """With stand-ins for apt-get and the interpreters, which note how they were called."""
    tools = tmp_path / "tools"
    tools.mkdir()
    note = f'#!/bin/sh\necho "$(basename "$0") $@" >> {tmp_path}/called\n'
    venv = ('if [ "$2" = venv ]; then mkdir -p "$3/bin"; '
            f'cp {tools}/python3.12 "$3/bin/python"; fi\n')
    for name in ("apt-get", "python3.13", "python3.12"):
        code = "exit 1\n" if name == "python3.13" else venv if name == "python3.12" else ""
        (tools / name).write_text(note + code)
        (tools / name).chmod(0o755)
    env = {"PATH": f"{tools}:/usr/bin:/bin", "AUTOGRADER_ROOT": str(autograder)}
    subprocess.run(["bash", str(autograder / "source" / "setup.sh")], env=env, check=True)
    called = (tmp_path / "called").read_text()
    assert "bubblewrap" in called and f"-m venv {autograder}/venv" in called
    assert f"--constraint {autograder}/source/course/requirements.lock" in called
    assert called.rstrip().endswith(f"{autograder}/source/course")
