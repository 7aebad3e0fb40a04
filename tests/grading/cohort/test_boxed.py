"""Graded in a box, as it is by default: right stays right. Who tries to cheat: ``hostile``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.grading.cohort.conftest import (
    RIGHT,
    UNDIVIDED,
    built,
    code_cell,
    notebook,
)
from tutorlib.errors import GradingError
from tutorlib.grading.box import NoBoxError, tiers
from tutorlib.grading.cohort import boxed, command
from tutorlib.grading.cohort.cohort import Settings, grade_cohort
from tutorlib.grading.cohort.feedback import feedback_page
from tutorlib.grading.cohort.grade import Plan, grade_notebook
from tutorlib.grading.cohort.names import Learner
from tutorlib.grading.cohort.records import flags, record_of
from tutorlib.grading.cohort.runners import Limits
from tutorlib.grading.cohort.seeds import Seed
from tutorlib.grading.cohort.submissions import Submission
from tutorlib.grading.cohort.worker import Job, grade_job
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import course_root, ready_units

SECRET = "a secret that nobody can guess"
DEF = "def softmax_with_temperature(scores, temperature):\n"
UNITS = [unit for unit in ready_units(course_root()) if unit_exercises(unit.slug)]


@pytest.fixture(scope="module")
def open_box():
    try:
        return boxed.boxes()[0]
    except NoBoxError as problem:
        pytest.skip(f"no box works here: {problem}")


@pytest.fixture
def grade(open_box):
    def grade(data, slug="start_here", **limits):
        plan = Plan(Seed(SECRET), Limits(**{"seconds": 60, **limits}))
        return grade_notebook(data, unit_exercises(slug), plan, open_box)
    return grade


@pytest.mark.parametrize("unit", [
    pytest.param(unit, id=unit.number,
                 marks=() if unit.number in ("00", "06") else pytest.mark.slow)
    for unit in UNITS])
def test_solutions_get_full_marks_in_a_box(grade, unit):
    """Whatever a case hands over (worlds, generators, functions, models) reaches the answer."""
    rows = grade(built("solutions", unit.number), unit.slug, seconds=300)["exercises"]
    assert all(row["outcome"] == "passed" for row in rows), [
        (row["exercise"], row["stage"], row["message"], row["shown"]) for row in rows
        if row["outcome"] != "passed"]


def test_a_wrong_answer_is_told_the_same_as_without_a_box(grade):
    row = grade(notebook(UNDIVIDED))["exercises"][0]
    assert row["mistake"]["name"] and {"call", "want", "got"} <= set(row["shown"])
    row = grade(notebook(RIGHT.replace("return", "print('hello')\n    unknown\n    return")))
    row = row["exercises"][0]
    assert "NameError" in row["message"] and "into its own cell" in row["message"]
    assert row["shown"]["printed"].startswith("hello")
    assert "unknown" in row["shown"]["lines"]


EXIT = "import os\nos._exit(0)\n" + RIGHT


def test_a_process_that_ends_itself_is_told_so_and_flagged_by_its_limit(grade):
    for source in (EXIT, RIGHT.replace("    return", "    import os; os._exit(0)\n    return")):
        result = grade(notebook(source))
        row = result["exercises"][0]
        assert "ended its process" in row["message"] and "exit code 0" in row["message"]
        assert flags(result) == [f"{row['title']}: {row['message']}"]
    hog = RIGHT.replace("    return", "    x = bytearray(3 * 2**30)\n"
                                      "    x[::4096] = bytes(len(x[::4096]))\n    return")
    result = grade(notebook(hog), memory=512)
    assert result["exercises"][0]["points"] == 0
    assert flags(result)[-1] == "ran into its limits: memory"


@pytest.mark.slow
def test_a_mistake_in_a_real_unit_is_recognised_in_a_box_and_costs_its_exercise_only(grade):
    content = json.loads(built("solutions", "06"))
    for cell in content["cells"]:
        about = cell["metadata"].get("tutorlib", {})
        if about.get("exercise") == "maxent_irl.irl_gradient" and about["role"] == "answer":
            right = "".join(cell["source"])
            cell["source"] = right.replace("(expected - shown)", "(shown - expected)")
            assert cell["source"] != right
    result = grade(json.dumps(content).encode(), "maxent_irl")
    assert {row["exercise"]: row["mistake"]["name"] for row in result["exercises"]
            if row["outcome"] != "passed"} == {"maxent_irl.irl_gradient": "sign"}
    submission = Submission(Learner("anna", "Anna"), "06", "a.ipynb")
    frame = {"course": {"version": "x", "graders": "y"}, "seed_id": "z", "limits": {}}
    page = feedback_page(record_of(submission, result, frame, {}))
    assert "wrong sign" in page and "Expected" in page and "You returned" in page


def test_an_untouched_worksheet_opens_no_box(grade):
    result = grade(built("exercises", "06"), "maxent_irl")
    assert result["tier"] == "" and result["exercises"]
    assert all((row["outcome"], row["points"]) == ("not attempted", 0)
               for row in result["exercises"])


MAGICS = ("%matplotlib inline\n!pip install nothing\nimport torch\nfiles = !ls\n"
          "%time half = 0.5\ntorch.softmax?\n?half\n" + DEF
          + "    %time scaled = scores / temperature\n"
          "    return torch.softmax(scaled, -1) * (half + half)\n%timeit 1 + 1\n%load_ext x")


def test_magics_in_an_answer_cell_are_tolerated(grade):
    """What IPython alone understands is left out, and what ``%time`` runs is run."""
    bash = code_cell("%%bash\nrm -rf /")
    for head in ("%%time", "%%capture out"):
        row = grade(notebook(bash, f"{head}\n{MAGICS}"))["exercises"][0]
        assert row["outcome"] == "passed", row


def test_a_right_answer_on_a_busy_machine_is_waited_for(open_box, exercise):
    """The limit, here half a second, is of what an answer computes."""
    source = ("import time, torch\nbusy = [0.9]\ndef running_mean(x):\n"
              "    time.sleep(busy.pop() if busy else 0)\n"
              "    return torch.cumsum(x, 0) / torch.arange(1, len(x) + 1)\n")
    data = notebook(code_cell(source, exercise=exercise.id, role="answer"))
    result = grade_notebook(data, [exercise], Plan(Seed(SECRET), Limits(60)), open_box)
    assert result["exercises"][0]["outcome"] == "passed"


def test_one_exercise_leaves_nothing_for_the_next(grade):
    """Each has a box of its own: names, patches and files of one are not there in another."""
    content = json.loads(built("solutions", "03"))
    first = True
    for cell in content["cells"]:
        if cell["metadata"].get("tutorlib", {}).get("role") == "answer" and first:
            cell["source"] = ("import torch\ntorch.logsumexp = torch.softmax = None\n"
                              "torch.Tensor.logsumexp = None\nopen('/tmp/x', 'w').write('x')\n"
                              "def soft_backup(mdp, values, temperature):\n    return None")
            first = False
    rows = grade(json.dumps(content).encode(), "maximum_entropy_rl", seconds=200)["exercises"]
    assert [row["outcome"] for row in rows] == ["not passed"] + ["passed"] * (len(rows) - 1)


def test_what_is_forbidden_is_not_there(grade):
    content = json.loads(built("exercises", "03"))
    for cell in content["cells"]:
        about = cell["metadata"].get("tutorlib", {})
        if about.get("exercise") == "maximum_entropy_rl.gibbs_policy" and about["role"] == "answer":
            cell["source"] = "from tutorlib.mdp import gibbs_policy"
    row = grade(json.dumps(content).encode(), "maximum_entropy_rl")["exercises"][1]
    assert row["outcome"] == "not passed" and row["points"] == 0


def test_without_a_box_grading_refuses(monkeypatch, tmp_path):
    def none(modules):
        raise NoBoxError("code that is not trusted cannot be run safely on this machine")

    monkeypatch.setattr(boxed, "best_tier", none)
    with pytest.raises(GradingError, match=r"cannot be run safely.*--trust-submissions"):
        command.runner(False)
    assert command.runner(True)[1].startswith("no box")


def test_a_weaker_tier_is_named_with_what_the_stronger_one_lacks(monkeypatch, capsys):
    monkeypatch.setattr(boxed, "best_tier", lambda modules: tiers.LANDLOCK)
    monkeypatch.setattr(tiers, "_faults", {tiers.BUBBLEWRAP: "the program bwrap is not installed"})
    assert command.runner(False)[1] == "landlock"
    said = capsys.readouterr().out
    assert "of the tier landlock" in said and "bubblewrap: the program bwrap is not" in said


def test_windows_is_told_what_it_lacks():
    """There neither ``resource`` nor ``fcntl`` can be imported."""
    code = ("import sys, torch, typer, multiprocessing.connection\n"
            "sys.modules['resource'] = sys.modules['fcntl'] = None\n"
            "sys.platform = 'win32'\n"
            "from tutorlib.grading.cohort import command\n"
            "command.runner(False)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "GradingError" in done.stderr and "needs Linux (this is win32" in done.stderr


@pytest.mark.slow
def test_workers_with_boxes_give_the_same_bytes(cohort, open_box, tmp_path):
    for i, source in enumerate([RIGHT, UNDIVIDED, EXIT, RIGHT]):
        cohort.hand_in(f"learner{i}.ipynb", notebook(source, code_cell(f"x = {i}")))
    tables = []
    for workers in (0, 2):
        out = tmp_path / f"out{workers}"
        grade_cohort(cohort.source, out, Settings(open_box, "a tier", tmp_path / "seed",
                                                  ("00",), workers))
        tables.append([(out / name).read_bytes() for name in ("grades.csv", "report.html")])
    assert tables[0] == tables[1]
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if _mine(p)]
    assert len(left) <= 2, "only this process's own boxmaker is left"


def _mine(path):
    try:
        return b"tutorlib.grading.box.zygote" in path.read_bytes() and str(os.getpid()) == (
            (path.parent / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return False


@pytest.mark.slow
def test_an_answer_whose_boxmaker_is_killed_is_graded_again(open_box):
    """That is no doing of its own: once it is tried again, and if that fails, by the next run."""
    killed = []

    class Killing(boxed.Boxed):
        def answer(self, exercise):
            if len(killed) < most:
                killed.append(self._box._host._process.pid)
                os.kill(killed[-1], 9)
            return super().answer(exercise)

    def open_killing(limits):
        return Killing(open_box(limits).tier, limits)

    plan, job = Plan(Seed(SECRET), Limits(seconds=60)), Job("a", "00", notebook(RIGHT))
    most = 2
    assert grade_job(job, plan, open_killing)["exercises"][0]["stage"] == "grader"
    most = 3
    assert grade_job(job, plan, open_killing)["exercises"][0]["outcome"] == "passed"
    assert len(killed) == 3
