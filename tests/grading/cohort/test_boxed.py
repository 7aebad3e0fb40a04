"""Graded in a box, as it is by default: right stays right, and no trick earns anything."""

import json
import os
from pathlib import Path

import pytest

from tests.grading.cohort.conftest import (
    RIGHT,
    ROOT,
    UNDIVIDED,
    built,
    code_cell,
    notebook,
)
from tutorlib.errors import GradingError
from tutorlib.grading.box import NoBoxError
from tutorlib.grading.cohort import boxed, command
from tutorlib.grading.cohort.cohort import Settings, grade_cohort
from tutorlib.grading.cohort.grade import Plan, grade_notebook
from tutorlib.grading.cohort.records import flags
from tutorlib.grading.cohort.runners import Limits
from tutorlib.grading.cohort.seeds import Seed
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import course_root, ready_units

SECRET = "a secret that nobody can guess"
UNITS = [unit for unit in ready_units(course_root()) if unit_exercises(unit.slug)]
DEF = "def softmax_with_temperature(scores, temperature):\n"


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


TRICKS = {
    "compare everything as equal": "import torch, numpy\n"
        "torch.isclose = torch.allclose = lambda *a, **k: torch.tensor(True)\n"
        "numpy.isclose = lambda *a, **k: True\n" + DEF + "    return scores",
    "patch the grader": "import tutorlib.grading.judge as j, tutorlib.grading.compare as c\n"
        "j.evaluate = c.compare = lambda *a, **k: None\n" + DEF + "    return 0",
    "an object that equals all": "class Yes:\n    __eq__ = lambda s, o: True\n"
        "    __getattr__ = lambda s, n: s\n    __call__ = lambda s, *a: s\n" + DEF
        + "    return Yes()",
    "a tensor subclass": "import torch\nclass T(torch.Tensor):\n"
        "    @classmethod\n    def __torch_function__(c, f, t, a=(), k=None): return True\n" + DEF
        + "    return scores.as_subclass(T)",
    "ask the reference": "from tutorlib.exercises.start_here import EXERCISES\n"
        "softmax_with_temperature = EXERCISES[0].reference",
    "ask the registry": DEF + "    from tutorlib.grading.registry import find_exercise\n"
        "    return find_exercise('start_here.softmax_with_temperature').reference(scores, "
        "temperature)",
    "read the frames": DEF + "    import sys\n    f = sys._getframe()\n    while f:\n"
        "        for v in f.f_locals.values():\n            if hasattr(v, 'expected'): "
        "return v.expected\n        f = f.f_back\n    return scores",
    "read the garbage": DEF + "    import gc\n    for o in gc.get_objects():\n"
        "        if type(o).__name__ == 'Case': return o.expected\n    return scores",
    "exit at once": "import os\nos._exit(0)\n" + RIGHT,
    "exit when called": RIGHT.replace("    return", "    import os; os._exit(0)\n    return"),
    "a signal": DEF + "    import os; os.kill(os.getpid(), 9)\n    return scores",
    "raise the exit": RIGHT.replace("    return", "    raise SystemExit(0)\n    return"),
    "be not attempted": RIGHT.replace("    return", "    raise NotImplementedError()\n    return"),
    "write to the pipes": "import os\nfor fd in range(3, 64):\n    try:\n"
        "        os.write(fd, b'\\x00' * 64)\n    except OSError:\n        pass\n" + DEF
        + "    return scores",
    "a pickle": "import pickle\nclass P:\n    def __reduce__(s): return (print, ('x',))\n" + DEF
        + "    return pickle.dumps(P())",
    "nest without end": DEF + "    x = []\n    x.append(x)\n    return x",
    "a great deal of data": DEF + "    import torch\n    return torch.zeros(2**28)",
    "import a shadow": "import sys, types\nsys.modules['torch'] = types.ModuleType('torch')\n" + DEF
        + "    return scores",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_earns_a_point_or_stops_the_grader(grade, trick):
    row = grade(notebook(TRICKS[trick]))["exercises"][0]
    assert row["points"] == 0 and row["outcome"] != "passed", trick
    assert row["stage"] != "grader" and (row["message"] or row["outcome"] == "not attempted")
    assert grade(notebook(RIGHT))["exercises"][0]["outcome"] == "passed", "the next one is graded"


def test_a_process_that_ends_itself_is_told_so_and_flagged_by_its_limit(grade):
    for trick in ("exit when called", "exit at once"):
        result = grade(notebook(TRICKS[trick]))
        row = result["exercises"][0]
        assert "ended its process" in row["message"] and "exit code 0" in row["message"]
        assert flags(result) == [f"{row['title']}: {row['message']}"]
    hog = RIGHT.replace("    return", "    x = bytearray(3 * 2**30)\n"
                                      "    x[::4096] = bytes(len(x[::4096]))\n    return")
    result = grade(notebook(hog), memory=512)
    assert result["exercises"][0]["points"] == 0
    assert flags(result)[-1] == "ran into its limits: memory"


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


def test_an_endless_answer_that_ignores_everything_is_stopped(grade):
    stubborn = RIGHT.replace("    return", "    while True:\n        try:\n"
                             "            while True: pass\n        except BaseException: pass\n"
                             "    return")
    result = grade(notebook(stubborn))
    assert result["exercises"][0]["stage"] == "time limit" and "time" in result["limits_hit"]


def test_a_right_answer_on_a_busy_machine_is_waited_for(open_box, exercise):
    """The limit, here half a second, is of what an answer computes."""
    source = ("import time, torch\nbusy = [0.9]\ndef running_mean(x):\n"
              "    time.sleep(busy.pop() if busy else 0)\n"
              "    return torch.cumsum(x, 0) / torch.arange(1, len(x) + 1)\n")
    data = notebook(code_cell(source, exercise=exercise.id, role="answer"))
    result = grade_notebook(data, [exercise], Plan(Seed(SECRET), Limits(60)), open_box)
    assert result["exercises"][0]["outcome"] == "passed"


def test_nothing_is_read_written_or_reached(grade, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    spy = f"""
def attempts():
    import os, socket
    found = []
    for path in ({str(secret)!r}, {str(ROOT / 'solutions' / '00_start_here.ipynb')!r},
                 '/etc/shadow', '/proc/1/environ'):
        try:
            found.append(open(path).read())
        except OSError:
            pass
    for path in ({str(tmp_path / 'mark')!r}, '/tmp/tutorlib-mark', '/var/tmp/tutorlib-mark'):
        try:
            open(path, 'w').write('x')
        except OSError:
            pass
    try:
        socket.socket()
        found.append('a socket')
    except OSError:
        pass
    return found, dict(os.environ)
""" + DEF + "    raise ValueError(repr(attempts()))"
    row = grade(notebook(spy))["exercises"][0]
    assert "ValueError: ([], {" in row["message"], row["message"]
    assert SECRET not in json.dumps(row)
    assert not (tmp_path / "mark").exists() and not Path("/tmp/tutorlib-mark").exists()
    assert not Path("/var/tmp/tutorlib-mark").exists()


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
    def none():
        raise NoBoxError("code that is not trusted cannot be run safely on this machine")

    monkeypatch.setattr(boxed, "best_tier", none)
    with pytest.raises(GradingError, match=r"cannot be run safely.*--trust-submissions"):
        command.runner(False)
    assert command.runner(True)[1].startswith("no box")


@pytest.mark.slow
def test_workers_with_boxes_give_the_same_bytes(cohort, open_box, tmp_path):
    for i, source in enumerate([RIGHT, UNDIVIDED, TRICKS["exit at once"], RIGHT]):
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
