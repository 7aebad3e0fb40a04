"""What grading costs, and what tricks earn: this package beside nbgrader and otter-grader.

    python benchmarks/grading/grading.py --nbgrader FOLDER --otter FOLDER   # all, and the table
    python benchmarks/grading/grading.py --quick          # a small run that writes nothing
    python benchmarks/grading/grading.py --table          # write the table of README.md anew

The folders are environments with nbgrader 0.9.6 and otter-grader 7.0.0; without one, that grader
sits out. All grade the same two questions (`assignment.py`), each by its own command. Seconds are
those on the wall and those of the processor, of the command and all that it starts.
"""

from __future__ import annotations

import argparse
import compileall
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cohort
import peers
from assignment import POINTS, QUESTIONS, RIGHT, TRICKS, WRONG
from measure import Samples, processor, run
from report import write_table

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FULL = POINTS * len(QUESTIONS)
UNITS = {"numpy": ("00", "start_here"), "torch": ("01", "markov_decision_processes")}
HANGS = 180.0  # seconds after which a grader of one submission is stopped
REAL = "03"  # the unit of the large cohort


class Ours:
    """The assignment as a unit of a copy of this package, graded by its own command."""

    name = "tutorlib"

    def __init__(self, folder: Path):
        """Copy the package to ``folder`` and put the two questions in the place of units."""
        self.folder = folder
        shutil.copytree(ROOT / "tutorlib", folder / "package" / "tutorlib",
                        ignore=shutil.ignore_patterns("__pycache__", "checkpoints"))
        text = (HERE / "ours.py").read_text()
        for form, (_, slug) in UNITS.items():
            place = folder / "package" / "tutorlib" / "exercises" / slug
            shutil.rmtree(place)
            place.mkdir()
            (place / "__init__.py").write_text(text.replace(
                'FORM, SLUG = "numpy", "start_here"', f'FORM, SLUG = "{form}", "{slug}"'))
        compileall.compile_dir(folder / "package", quiet=2)  # as pip does where it installs
        self.environment = {"PYTHONPATH": str(folder / "package"), "OMP_NUM_THREADS": "1"}

    def hand_in(self, batch: str, learner: str, answers, form: str = "numpy") -> Path:
        """Write a learner's notebook; return the folder of its batch."""
        unit, slug = UNITS[form]
        cells = [{"cell_type": "code", "source": text, "metadata": {"tutorlib": {
            "exercise": f"{slug}.{name}", "role": "answer"}}, "outputs": [],
            "execution_count": None} for name, text in zip(QUESTIONS, answers, strict=True)]
        place = self.folder / "submissions" / batch
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{learner}.ipynb").write_text(json.dumps({
            "cells": cells, "metadata": {"tutorlib": {"unit": unit}}, "nbformat": 4,
            "nbformat_minor": 5}))
        return place

    def grade(self, folder: Path, form: str = "numpy", workers: int = 2):
        """Grade a folder by the command; return its cost and each learner's points."""
        out = self.folder / "grades" / folder.name
        cost = grade(folder, out, UNITS[form][0], workers, self.environment)
        with open(out / "gradebook.csv", newline="") as lines:
            return cost, {row["learner"]: float(row["total"]) for row in csv.DictReader(lines)}

    def warm(self, folders: list[Path], form: str) -> list[dict]:
        """Grade folders in one process; return the cost of each."""
        cost = run([sys.executable, HERE / "warm.py", UNITS[form][0], self.folder / "warm",
                    *folders], self.folder, 600, self.environment)
        return json.loads(cost.output.splitlines()[-1])


def grade(folder: Path, out: Path, unit: str, workers: int, environment: dict, *more: str,
          watch=None):
    """Run ``tutorlib grade`` and return its cost; raises when it fails."""
    command = [sys.executable, "-m", "tutorlib.cli", "grade", folder, "--out", out, "--unit", unit,
               "--workers", workers, "--seed-file", folder.parent / "secret", *more]
    cost = run(command, folder.parent, 3600, environment, watch)
    if cost.code != 0:
        raise SystemExit(f"grading failed:\n{cost.output[-2000:]}")
    return cost


def speed_of_ours(ours: Ours, count: int) -> list[dict]:
    """Measure one submission, one more, and batches, with numpy and with torch."""
    rows = []
    for form in UNITS:
        one = [ours.hand_in(f"one-{form}-{i}", "right", RIGHT[form], form) for i in range(4)]
        for i in range(count):
            many = ours.hand_in(f"many-{form}", f"right{i:03}", RIGHT[form], form)
        single = [ours.grade(folder, form, 1) for folder in one]
        assert all(points == {"right": FULL} for _, points in single), single
        cold = sorted((cost for cost, _ in single), key=lambda cost: cost.wall)[len(one) // 2]
        batch, points = ours.grade(many, form)
        assert set(points.values()) == {FULL} and len(points) == count
        warm = ours.warm(one, form)[1:]
        rows.append({"who": ours.name, "form": form, "count": count, **costs("one", cold),
                     **costs("batch", batch), "warm_wall": min(c["wall"] for c in warm),
                     "load": os.getloadavg()[0]})
        print(rows[-1], flush=True)
    return rows


def costs(what: str, cost) -> dict:
    """Return a cost as entries of a row."""
    return {f"{what}_wall": cost.wall, f"{what}_cpu": cost.cpu}


def importing(folder: Path) -> dict:
    """Return the least that importing torch cost, three times: no grader of tensors is faster."""
    runs = [run([sys.executable, "-c", "import torch"], folder, HANGS, {"OMP_NUM_THREADS": "1"})
            for _ in range(3)]
    return {"torch_wall": min(r.wall for r in runs), "torch_cpu": min(r.cpu for r in runs)}


def speed_of_peer(peer, count: int) -> dict:
    """Measure one submission and a batch of a peer's."""
    name = peers.NAMES[type(peer).__name__.lower()]
    for i in range(count):
        peer.hand_in(f"right{i:03}", RIGHT["numpy"])
    cold, batch = peer.grade("right000"), peer.grade()
    points = peer.points()
    assert len(points) == count and set(points.values()) == {FULL}, (points, batch.output[-800:])
    row = {"who": name, "form": "numpy", "count": count, **costs("one", cold),
           **costs("batch", batch), "load": os.getloadavg()[0]}
    print(row, flush=True)
    return row


def tricks_of_ours(ours: Ours) -> dict[str, float | None]:
    """Return the points that each trick earns, and those of a wrong answer."""
    for number, answers in enumerate((*TRICKS.values(), WRONG)):
        folder = ours.hand_in("tricks", f"trick{number}", answers)
    _, points = ours.grade(folder)
    return {name: points[f"trick{i}"] for i, name in enumerate([*TRICKS, "a wrong answer"])}


def tricks_of_peer(peer) -> dict[str, float | None]:
    """Return the same of a peer; None: the grader was still running after a while."""
    found = {}
    for number, (name, answers) in enumerate({**TRICKS, "a wrong answer": WRONG}.items()):
        peer.hand_in(f"trick{number}", answers)
        cost = peer.grade(f"trick{number}", HANGS)
        found[name] = None if cost.code is None else peer.points().get(f"trick{number}", 0.0)
        print(type(peer).__name__, name, found[name], flush=True)
    return found


def large(folder: Path, count: int, by_cluster: int) -> dict:
    """Grade a cohort of a real unit here, and some of it by Dask; compare what both wrote."""
    one_thread = {"OMP_NUM_THREADS": "1"}
    kinds = cohort.make(folder / "submissions", REAL, count)
    samples = Samples()
    here = grade(folder / "submissions", folder / "here", REAL, 2, one_thread, watch=samples)
    found = {"unit": REAL, "count": count, "kinds": kinds, **costs("here", here),
             "mib": samples.mib, "thirds": samples.thirds(), "load": os.getloadavg()[0],
             "outcomes": cohort.outcomes(folder / "here" / "grades.csv")}
    print({k: v for k, v in found.items() if k != "mib"}, flush=True)
    for path in sorted((folder / "submissions").iterdir())[by_cluster:]:
        path.unlink()
    found["dask"] = {"count": by_cluster, **by_dask(folder, one_thread)}
    found["different"] = cohort.differing(folder / "here", folder / "dask", by_cluster == count)
    print(found["dask"], found["different"], flush=True)
    return {"cohort": found}


def by_dask(folder: Path, environment: dict) -> dict:
    """Grade the same through a scheduler and two workers of this machine."""
    about = folder / "scheduler.json"
    quiet = {"cwd": folder, "env": {**os.environ, **environment}, "stdin": subprocess.DEVNULL,
             "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    module = [sys.executable, "-m", "distributed.cli"]
    started = [subprocess.Popen(list(map(str, [*command])), **quiet) for command in (
        [*module[:2], "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
         "--no-dashboard", "--scheduler-file", about],
        [*module[:2], "distributed.cli.dask_worker", "--scheduler-file", about, "--nthreads", "1",
         "--nworkers", "2", "--no-dashboard", "--host", "127.0.0.1",
         "--local-directory", folder / "dask-space"])]
    try:
        address = _address(about)
        cost = grade(folder / "submissions", folder / "dask", REAL, 1, environment,
                     "--scheduler", address)
    finally:
        for process in started:
            process.terminate()
            process.wait(30)
    return {"dask_wall": cost.wall}  # the workers are no descendants of the command's


def _address(about: Path) -> str:
    """Return the scheduler's address once it has written it and has two workers."""
    import time

    from distributed import Client

    while not about.is_file():
        time.sleep(0.2)
    address = json.loads(about.read_text())["address"]
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=300)
    return address


def measured(part: str, arguments, folder: Path) -> dict:
    """Measure one part of all."""
    few, many, size = (2, 4, 12) if arguments.quick else (
        arguments.few, arguments.many, arguments.count)
    if part == "cohort":
        return large(folder / part, size, min(size, arguments.by_cluster))
    made = [peer(Path(place).resolve(), folder / part / peer.__name__) for peer, place in (
        (peers.Nbgrader, arguments.nbgrader), (peers.Otter, arguments.otter)) if place]
    ours = Ours(folder / part)
    if part == "speed":
        return {"rows": [*speed_of_ours(ours, many), *(speed_of_peer(p, few) for p in made)],
                "importing": importing(folder)}
    return {"tricks": {ours.name: tricks_of_ours(ours)} | {
        peers.NAMES[type(peer).__name__.lower()]: tricks_of_peer(peer) for peer in made}}


PARTS = ("speed", "tricks", "cohort")


def everything(arguments) -> dict:
    """Measure the parts asked for; what was measured earlier stays."""
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.is_file() and not arguments.quick else {}
    for part in arguments.parts.split(","):
        with tempfile.TemporaryDirectory(prefix="grading-") as folder:
            Path(folder, part).mkdir()
            results |= measured(part, arguments, Path(folder))
        results |= {"python": platform.python_version(), "processor": processor(),
                    "cores": os.cpu_count(),
                    "versions": results.get("versions", {}) | versions(arguments)}
        if not arguments.quick:
            path.write_text(json.dumps(results, indent=1) + "\n")
    return results


def versions(arguments) -> dict[str, str]:
    """Return the versions of what took part."""
    from importlib.metadata import version

    found = {name: version(name) for name in ("torch", "numpy", "distributed")}
    code = "import importlib.metadata as m; print(*map(m.version, {}))"
    for place, names in ((arguments.nbgrader, ["nbgrader", "ipykernel", "numpy"]),
                         (arguments.otter, ["otter-grader", "ipykernel", "numpy"])):
        if place:
            told = subprocess.run([Path(place) / "bin" / "python", "-c", code.format(names)],
                                  capture_output=True, text=True, check=True).stdout.split()
            found[names[0]] = f"{told[0]} (ipykernel {told[1]}, numpy {told[2]})"
    return found


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nbgrader", help="an environment with nbgrader")
    parser.add_argument("--otter", help="an environment with otter-grader and ipykernel")
    parser.add_argument("--few", type=int, default=10, help="notebooks of a peer's batch")
    parser.add_argument("--many", type=int, default=100, help="notebooks of a batch here")
    parser.add_argument("--count", type=int, default=1000, help="notebooks of the large cohort")
    parser.add_argument("--by-cluster", type=int, default=1000, help="how many of them by Dask")
    parser.add_argument("--parts", default=",".join(PARTS), help="which to measure")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table:
        results = everything(arguments)
        if arguments.quick:
            print(json.dumps(results))
            return
    write_table(json.loads((HERE / "results.json").read_text()))


if __name__ == "__main__":
    main()
