"""Whatever is killed, nothing is lost and nothing recorded twice: the same grades to the byte."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.grading.cohort.conftest import RIGHT, ROOT, UNDIVIDED, code_cell, notebook
from tutorlib.grading.box import NoBoxError
from tutorlib.grading.cohort import boxed
from tutorlib.grading.cohort.cohort import Settings, grade_cohort
from tutorlib.grading.cohort.runners import Trusted

COUNT = 8
SLOW = "import time\ntime.sleep(0.5)\n"
DASK = [sys.executable, "-m", "dask"]


def hand_in(cohort, before=SLOW):
    """Hand in notebooks that take a while; return {sha256: key}."""
    made = {}
    for i in range(COUNT):
        data = notebook(before + (RIGHT if i % 2 else UNDIVIDED), code_cell(f"x = {i}"))
        cohort.hand_in(f"learner{i}.ipynb", data)
        made[hashlib.sha256(data).hexdigest()] = f"learner{i}/00"
    return made


def start(cohort, seed, *more):
    """Type the command."""
    return subprocess.Popen(
        [sys.executable, "-m", "tutorlib.cli", "grade", str(cohort.source), "--out",
         str(cohort.out), "--seed-file", str(seed), "--unit", "00", *map(str, more)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def recorded(cohort):
    """The keys in the journal, in the order in which they were graded."""
    path = cohort.out / "journal.jsonl"
    lines = path.read_bytes().split(b"\n")[1:-1] if path.exists() else []
    return [json.loads(line)["key"] for line in lines]


def when_recorded(cohort, count, grader):
    """Wait until the journal holds ``count`` notebooks."""
    deadline = time.monotonic() + 240
    while len(recorded(cohort)) < count:
        assert grader.poll() is None, grader.communicate()[0]
        assert time.monotonic() < deadline, recorded(cohort)
        time.sleep(0.02)


def finish(grader):
    """Return what a command printed; it must have done its work."""
    said = grader.communicate(timeout=240)[0]
    assert grader.returncode == 0, said
    return said


def gone(processes, seconds=15.0):
    """Wait for processes to end; return those that have not."""
    deadline = time.monotonic() + seconds
    while True:
        left = [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def below(process):
    return psutil.Process(process.pid).children(recursive=True)


def tables(out):
    """All that a grading wrote, but for the journal, whose order is that of the work."""
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*"))
            if p.is_file() and p.name != "journal.jsonl"}


@pytest.mark.slow
def test_a_grader_and_a_worker_of_its_own_are_killed(cohort, tmp_path):
    """Without boxes: the answers themselves write down that they begin."""
    begun, whole = tmp_path / "begun", tmp_path / "whole"
    counting = f"open({str(begun)!r}, 'a').write(__name__ + ' begins\\n')\n"
    hand_in(cohort, counting + SLOW)
    grade_cohort(cohort.source, whole, Settings(Trusted, Trusted.tier, tmp_path / "seed", ("00",),
                                                0))
    begun.unlink()
    seed, options = tmp_path / "seed", ("--trust-submissions", "--workers", 2)
    grader = start(cohort, seed, *options)
    when_recorded(cohort, 2, grader)
    processes = below(grader)
    grader.send_signal(signal.SIGKILL)
    grader.communicate()
    assert len(processes) == 2 and not gone(processes, 5.0), "workers end with their grader"
    held, counts = recorded(cohort), [begun.read_text().count("begins")]
    assert counts[0] <= len(held) + 2, "those recorded, and one in each worker"
    grader = start(cohort, seed, *options)
    when_recorded(cohort, len(held) + 1, grader)
    worker = below(grader)[0]
    worker.kill()
    finish(grader)
    assert not gone([worker]) and recorded(cohort)[: len(held)] == held
    assert Counter(recorded(cohort)) == {f"learner{i}/00": 1 for i in range(COUNT)}
    counts.append(begun.read_text().count("begins") - counts[0])
    assert COUNT - len(held) <= counts[1] <= COUNT - len(held) + 1
    assert tables(cohort.out) == tables(whole)


@pytest.fixture
def box():
    try:
        return boxed.boxes()
    except NoBoxError as problem:
        pytest.skip(f"no box works here: {problem}")


@pytest.fixture
def dask(tmp_path):
    """A scheduler and two workers, as one types them; they end by themselves, or here."""
    pytest.importorskip("distributed", reason="Dask is not installed: make peers")
    started, file = [], tmp_path / "scheduler.json"
    environment = {**os.environ, "TUTORLIB_TEST_BEGUN": str(tmp_path / "begun")}
    quiet = ("--host", "127.0.0.1", "--no-dashboard")

    def run(*arguments):
        with open(tmp_path / f"{arguments[0]}.log", "a") as log:
            started.append(subprocess.Popen([*DASK, *arguments, *quiet], cwd=ROOT, stdout=log,
                                            stderr=log, env=environment))
        return started[-1]

    run("scheduler", "--port", "0", "--scheduler-file", str(file), "--idle-timeout", "300")
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text().endswith("}")):
        assert time.monotonic() < deadline and started[0].poll() is None
        time.sleep(0.05)
    address = json.loads(file.read_text())["address"]
    for i in range(2):
        run("worker", address, "--no-nanny", "--nthreads", "1", "--name", f"worker{i}",
            "--death-timeout", "5", "--local-directory", str(tmp_path / "scratch"),
            "--preload", str(Path(__file__).with_name("counting.py")))
    yield address, started
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_grader_a_worker_and_the_scheduler_of_a_cluster_are_killed(cohort, tmp_path, dask, box):
    address, (scheduler, *workers) = dask
    keys, seed = hand_in(cohort), tmp_path / "seed"
    whole = tmp_path / "whole"
    grade_cohort(cohort.source, whole, Settings(*box, seed, ("00",), 0))

    grader = start(cohort, seed, "--scheduler", address)  # the grader
    when_recorded(cohort, 2, grader)
    grader.send_signal(signal.SIGKILL)
    grader.communicate()
    held = recorded(cohort)
    first = (tmp_path / "begun").read_text().split()[1::2]
    assert not (cohort.out / "grades.csv").exists()
    assert len(held) <= len(first) <= len(held) + 4, "what was with the cluster, two a worker"

    grader = start(cohort, seed, "--scheduler", address)  # a worker
    when_recorded(cohort, len(held) + 1, grader)
    processes = below(workers[0])
    workers[0].kill()
    said = finish(grader)
    assert "from the journal" in said and not gone(processes), "its boxes end with it"
    assert recorded(cohort)[: len(held)] == held
    assert Counter(recorded(cohort)) == dict.fromkeys(keys.values(), 1)
    again = Counter(keys[name] for name in (tmp_path / "begun").read_text().split()[1::2])
    again -= Counter(keys[name] for name in first)
    assert not set(again) & set(held), "what was recorded is not begun again"
    assert sum(again.values()) <= COUNT - len(held) + 2
    assert tables(cohort.out) == tables(whole)

    ours = [psutil.Process(workers[1].pid), *below(workers[1])]
    assert sum(process.memory_info().rss for process in ours) < 2 * 2**30, "docs/cluster.md"
    cohort.out = tmp_path / "third"
    grader = start(cohort, seed, "--scheduler", address)  # the scheduler
    when_recorded(cohort, 2, grader)
    processes = below(workers[1])
    scheduler.kill()
    said = grader.communicate(timeout=120)[0]
    assert grader.returncode == 2 and "Traceback" not in said, said
    assert f"the scheduler {address} is gone" in said and "is kept" in said
    assert not gone([psutil.Process(workers[1].pid), *processes], 60.0), "by themselves"
    held = recorded(cohort)
    fresh = grade_cohort(cohort.source, cohort.out, Settings(*box, seed, ("00",), 0)).fresh
    assert fresh == COUNT - len(held) and tables(cohort.out) == tables(whole)
