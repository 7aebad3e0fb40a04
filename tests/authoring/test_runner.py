"""Notebooks run in their own kernels, and fail for each thing that a lesson must not do."""

import io
import json
import os
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from rich.console import Console

from tutorlib.authoring import Budget, build, print_runs, run, run_payload
from tutorlib.authoring.measure import CORES, core_sets
from tutorlib.authoring.outputs import count_pictures
from tutorlib.errors import LessonError
from tutorlib.syllabus import UNITS

BUSY = "import time\nend = time.time() + {0}\nwhile time.time() < end: pass"
RAW = ("from IPython.display import display\n"
       "display({'image/png': 'iVBORw0KGgo=', 'text/plain': 'a plot'}, raw=True)")


@pytest.fixture
def course(tmp_path):
    """Return a function that writes notebooks from lists of code cells, one list for each unit."""
    (tmp_path / "course").mkdir()
    (tmp_path / "notebooks").mkdir()

    def write(*lessons: list[str]):
        for unit, sources in zip(UNITS, lessons, strict=False):
            (tmp_path / "course" / f"{unit.stem}.py").touch()
            cells = [new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
            notebook = new_notebook(cells=[new_markdown_cell("# Hi", id="hi"), *cells])
            nbformat.write(notebook, tmp_path / "notebooks" / f"{unit.stem}.ipynb")
        return tmp_path

    return write


def run_one(root, **options):
    (result,) = run(root, progress=False, **options)
    return result


def test_several_notebooks_each_with_their_own_verdict(course):
    root = course(["import sys", "print(1)", "print('a note', file=sys.stderr)"],
                  ["x = 1", "1 / 0", "y = 2"],
                  [RAW])
    before = sorted(root.rglob("*"))
    good, wrong, silent = run(root, workers=2, progress=False)
    assert good.ok and good.unit == "00" and good.cells == 4 and good.figures == 0
    assert good.warnings == ("cell 4 (c2): a note",)
    assert wrong.problems == ("cell 3 (c1): ZeroDivisionError: division by zero",)
    assert silent.problems == (
        "cell 2 (c0): a picture without alt text; return a tutorlib.viz.Picture",)
    assert sorted(root.rglob("*")) == before  # nothing is written into the tree
    for result in (good, wrong, silent):
        assert 0.2 < result.seconds < 60 and 20 < result.peak_mb < 2000
        assert 0 < result.cpu_seconds and result.machine_seconds <= result.seconds


def test_a_kernel_has_this_python_inline_pictures_two_cores_and_folders_of_its_own(
        course, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    root = course([
        "import os, pathlib, sys",
        f"assert sys.executable == {sys.executable!r}",
        "assert os.environ['MPLBACKEND'].endswith('backend_inline')",
        "assert (pathlib.Path(os.environ['TUTORLIB_ROOT']) / 'course').is_dir()",
        "assert not list(pathlib.Path(os.environ['TUTORLIB_HOME']).iterdir())",
        f"assert os.environ['TUTORLIB_HOME'] != {os.environ['TUTORLIB_HOME']!r}",
        "assert not list(pathlib.Path.cwd().iterdir())",
        "pathlib.Path('scratch.txt').write_text('kept out of the tree')",
        "getattr(os, 'sched_getaffinity', lambda _: {1, 2})(0)",
        f"assert len(_) <= {CORES}",
    ])
    result = run_one(root)
    assert result.ok, result.problems


def test_too_much_machine_time_fails(course):
    result = run_one(course([BUSY.format(1.5)]), budget=Budget(seconds=1.0))
    assert [p for p in result.problems if "seconds of machine time; 1 are allowed" in p]


@pytest.mark.slow
def test_a_notebook_that_never_ends_is_stopped(course):
    root = course(["import time; time.sleep(600)", "print(1)"], ["print(2)"])
    stopped, other = run(root, progress=False, budget=Budget(seconds=1.5))
    assert stopped.problems[0] == "stopped after 4 seconds" and stopped.seconds < 10
    assert "stopped" not in " ".join(other.problems)


def test_too_much_memory_stops_the_notebook(course):
    root = course(["hoard = [bytearray(2**20) for _ in range(600)]; import time; time.sleep(60)"])
    result = run_one(root, budget=Budget(memory_mb=400))
    assert result.problems[0] == "stopped: more than 400 MB of memory"
    assert result.peak_mb > 400 and result.seconds < 30


def test_memory_of_child_processes_counts(course):
    hoard = "import time; x = bytearray(300 * 2**20); time.sleep(1)"
    result = run_one(course([
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hoard!r}])"]))
    assert result.ok and result.peak_mb > 300


def test_a_dead_kernel_is_a_problem_and_not_a_hang(course):
    dead, alive = run(course(["import os; os._exit(1)"], ["1"]), progress=False)
    assert "cell 2 (c0): the kernel died" in dead.problems[0] and alive.ok


def test_bad_requests_are_refused(course):
    root = course(["1"])
    with pytest.raises(LessonError, match="no product 'exercise': did you mean 'exercises'"):
        run(root, product="exercise")
    with pytest.raises(LessonError, match=r"exercises/00_start_here\.ipynb is not built"):
        run(root, product="exercises")
    with pytest.raises(LessonError, match="did you mean"):
        run(root, units=["start_hre"])
    with pytest.raises(LessonError, match="only notebooks/ is recorded"):
        run(root, product="solutions", record=True)


def test_a_missing_or_wrong_check_fails_the_notebook(toy_root):
    build(toy_root)
    path = toy_root / "notebooks/22_capstone.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["id"] == "map_size-answer":
            cell["source"] = ["map_size = 7"]
        if cell["id"] == "discounted_sum-check":
            cell["source"] = ["1"]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    result = run_one(toy_root)
    assert result.problems == ("capstone.discounted_sum: its check reported nothing",
                               "capstone.map_size: not passed, expected passed")


@pytest.mark.slow
def test_the_toy_course_runs_and_its_worksheet_is_all_not_attempted(toy_root):
    build(toy_root)
    ids = ["capstone.discounted_sum", "capstone.map_size"]
    read, work, solved = (run_one(toy_root, product=product)
                          for product in ("notebooks", "exercises", "solutions"))
    assert read.ok and work.ok and solved.ok, (read, work, solved)
    assert read.outcomes == solved.outcomes == dict.fromkeys(ids, "passed")
    assert work.outcomes == dict.fromkeys(ids, "not attempted")
    assert read.figures == work.figures == solved.figures == 1
    payload = json.loads(json.dumps(run_payload([read, work])))
    assert payload["ok"] and payload["notebooks"][1]["product"] == "exercises"


@pytest.mark.slow
def test_recording_puts_the_seconds_on_the_card(toy_root):
    build(toy_root)
    (toy_root / "course/measured.json").write_text('{"06": {"seconds": 12.0}}')
    result = run_one(toy_root, record=True)
    measured = json.loads((toy_root / "course/measured.json").read_text())
    assert measured["06"] == {"seconds": 12.0}
    assert measured["22"]["seconds"] == round(result.machine_seconds, 1)
    assert set(measured["22"]) == {"seconds", "cpu_seconds", "peak_mb", "cpus"}
    card = (toy_root / "exercises/22_capstone.ipynb").read_text(encoding="utf-8")
    assert "seconds on 2 CPU cores" in card and build(toy_root, check=True).ok


def test_results_are_printed_for_people(course, capfd):
    results = run(course(["1"], ["1 / 0"]), progress=True)
    assert capfd.readouterr().out == ""  # the bar is on stderr: --json owns stdout
    out = io.StringIO()
    print_runs(results, Console(file=out, width=80))
    text = out.getvalue()
    for word in ("Seconds", "CPU s", "Peak MB", "Figures", "00_start_here", "FAILED"):
        assert word in text
    assert "FAILED notebooks/01_markov_decision_processes.ipynb: cell 2 (c0): ZeroDiv" in text


@pytest.mark.parametrize(("data", "described", "silent"), [
    ({"text/plain": "1"}, 0, 0),
    ({"image/png": "..."}, 0, 1),
    ({"image/svg+xml": "<svg/>"}, 0, 1),
    ({"image/png": "...", "text/html": "<p>no picture</p>"}, 0, 1),
    ({"image/png": "...", "text/html": "<img alt='a plot' src=''>"}, 1, 0),
    ({"text/html": "<img alt='a' src=''><img alt='' src=''><img src=''>"}, 1, 2),
    ({"text/html": "<img alt=' ' src=''>"}, 0, 1),
    ({"text/html": "<img aria-hidden='true' src=''>"}, 0, 0),
    ({"text/html": "<svg role='img' aria-label='a map'><path/></svg>"}, 1, 0),
    ({"text/html": "<svg><title>a map</title><path/></svg>"}, 1, 0),
    ({"text/html": "<svg><path/></svg><p>text</p>"}, 0, 1),
    ({"text/html": "<svg aria-hidden='true'><path/></svg>"}, 0, 0),
])
def test_pictures_with_and_without_a_text_alternative(data, described, silent):
    assert count_pictures(data) == (described, silent)


def test_workers_share_the_cpus_only_when_there_are_too_few():
    sets = core_sets(3)
    assert len(sets) == 3 and all(len(cpus) <= CORES for cpus in sets)
    used = [cpu for cpus in sets for cpu in cpus]
    if used and len(os.sched_getaffinity(0)) >= 3 * CORES:
        assert len(set(used)) == len(used)
