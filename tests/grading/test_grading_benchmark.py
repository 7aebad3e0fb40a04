"""The benchmark of grading: its notebooks, its verdicts, its page, and a small run."""

import ast
import importlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "grading"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def results(**changes):
    row = {"who": "tutorlib", "form": "numpy", "count": 10, "one_wall": 0.4, "one_cpu": 0.3,
           "batch_wall": 2.0, "batch_cpu": 4.0, "warm_wall": 0.1, "load": 0.5}
    found = {"unit": "03", "count": 1000, "kinds": {"solved": 1000}, "here_wall": 200.0,
             "here_cpu": 380.0, "thirds": [900.0, 909.0], "load": 0.5, "different": [],
             "dask": {"count": 1000, "dask_wall": 210.0},
             "outcomes": {"passed": 5000}}
    tricks = {"tutorlib": {"a": 0.0, "b": 1.0}, "otter-grader": {"a": 2.0, "b": None}}
    return {"rows": [row, row | {"form": "torch"}], "tricks": tricks, "cohort": found | changes,
            "importing": {"torch_wall": 1.5, "torch_cpu": 1.25},
            "python": "3", "versions": {"torch": "2"}, "processor": "p", "cores": 2}


def test_verdicts_say_what_is_met_and_what_is_missed(module):
    report = module("report")
    lines = report.verdicts(results())
    assert lines[0].startswith("One submission by the command: 0.40 s, 0.5 asked: met")
    assert "Each of a batch: 0.20 s, 0.25 asked: met" in lines
    assert "A torch question in a batch: 0.10 s, 0.3 asked: met" in lines
    assert "Memory from the first to the last third: +1.0 %" in lines
    assert lines[-2].endswith("yes")
    assert lines[-1] == "Tricks with full marks: 0 here, 1 with otter-grader"
    lines = report.verdicts(results(here_wall=301.0, different=["grades.csv"]))
    assert lines[4].startswith("1000 notebooks: 301.00 s, 300 asked: MISSED")
    assert lines[-2].endswith("NO, 1 files differ")
    assert "| b | 1 | never ends |" in report.text(results())


def test_the_committed_figures_are_those_on_the_page(module):
    found = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    assert module("report").text(found) in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert found["cohort"]["count"] == 1000 and not found["cohort"]["different"]
    assert {row["who"] for row in found["rows"]} == {"tutorlib", "nbgrader", "otter-grader"}
    ours = found["tricks"]["tutorlib"]
    assert len(ours) >= 6 and not any(ours.values())


def test_a_mistake_is_one_operator(module):
    cohort = module("cohort")
    source = "def f(x, y):\n    return (x + y) * 2 - x / y"
    for seed in range(8):
        wrong = cohort.mistaken(source, random.Random(seed))
        values = [eval(compile(ast.parse(f"{text}\nz = f(3.0, 5.0)"), "", "exec"), names := {})
                  or names["z"] for text in (source, wrong)]
        assert values[0] != values[1]
    assert "return -x" in cohort.mistaken("def f(x):\n    return x", random.Random(0))


def test_the_notebooks_are_of_each_kind_and_the_same_each_time(module, tmp_path):
    cohort = module("cohort")
    counts = cohort.make(tmp_path / "one", "03", 100)
    assert counts["solved"] == 45 and counts["hostile"] == 1 and sum(counts.values()) == 100
    cohort.make(tmp_path / "two", "03", 100)
    made = [sorted((tmp_path / name).iterdir()) for name in ("one", "two")]
    assert len(made[0]) == 100
    texts = [[path.read_text() for path in paths] for paths in made]
    assert texts[0] == texts[1] and len(set(texts[0])) > 85


def test_what_a_program_leaves_behind_is_counted():
    busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {busy!r}])"
    command = [sys.executable, "-c", f"from measure import run; import subprocess, sys\n"
               "before = subprocess.Popen(['sh', '-c', 'sleep 1; sleep 60 & wait'],\n"
               "                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
               f"print(run([sys.executable, '-c', {code!r}], '.', 20).cpu, before.poll())\n"
               "subprocess.run(['pkill', '-P', str(before.pid)]); before.kill()"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True)
    seconds, ended = done.stdout.split()
    assert float(seconds) > 0.3
    assert ended == "None", "what ran before goes on"


@pytest.mark.slow
def test_a_small_run_grades_and_agrees_with_a_cluster():
    pytest.importorskip("distributed", reason="Dask is not installed: make peers")
    from tutorlib.grading.box import NoBoxError, best_tier

    try:
        best_tier()
    except NoBoxError as problem:
        pytest.skip(f"no box works here: {problem}")
    done = subprocess.run([sys.executable, FOLDER / "grading.py", "--quick"], capture_output=True,
                          text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["cohort"]["different"]
    assert not any(found["tricks"]["tutorlib"].values())
    assert found["cohort"]["outcomes"]["passed"] > 20
