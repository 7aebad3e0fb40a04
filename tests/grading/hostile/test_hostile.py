"""A cohort of attackers, honest learners between them, graded end to end in each tier."""

import base64
import collections
import csv
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.grading.cohort.conftest import RIGHT, ROOT, UNDIVIDED, built, code_cell, notebook
from tests.grading.hostile import breakers, papers, spies, talkers, values
from tests.grading.hostile.kit import CLASSES, EARNS
from tutorlib.grading import evaluate
from tutorlib.grading.box import paths, tiers
from tutorlib.grading.cohort import worker
from tutorlib.grading.cohort.boxed import Boxed
from tutorlib.grading.cohort.cohort import Settings, grade_cohort
from tutorlib.grading.cohort.names import clean_text
from tutorlib.grading.cohort.records import read_records
from tutorlib.grading.cohort.runners import Limits
from tutorlib.grading.cohort.seeds import Seed
from tutorlib.grading.judge import NOT_ATTEMPTED, PASSED
from tutorlib.grading.registry import unit_exercises

ALL = (*values.ALL, *spies.ALL, *talkers.ALL, *breakers.ALL, *papers.ALL)
UNITS = ("00", "03", "04")
SECRET = hashlib.sha256(b"a cohort of attackers").hexdigest()
MARK, SLEEP = f"hostile-mark-{os.getpid()}", f"98765.{os.getpid()}"
HONEST = {"anna": notebook(RIGHT), "bert": notebook(UNDIVIDED), "carla": built("solutions", "00"),
          "dora": built("solutions", "03"), "zoe": notebook(RIGHT, code_cell("x = 1"))}


def test_every_class_is_there():
    counted = collections.Counter(attack.kind for attack in ALL)
    assert set(counted) == set(CLASSES) and len(ALL) >= 80
    assert len({attack.name for attack in ALL}) == len(ALL)


class Scene:
    """A place with a secret, submissions, servers that listen, and all that is there before."""

    def __init__(self, folder):
        """Hand in everything."""
        self.source, self.out = folder / "in", folder / "grades"
        self.seed = folder / "cohort.seed"
        self.seed.write_text(SECRET + "\n")
        self.source.mkdir()
        self.servers = [socket.create_server(("127.0.0.1", 0)),
                        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
                        socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
        port = self.servers[0].getsockname()[1]
        self.servers[1].bind(("127.0.0.1", port))
        for server, place in zip(self.servers[2:], (str(folder / "socket"), f"\0{MARK}"),
                                 strict=True):
            server.bind(place)
            server.listen()
        self.tokens = {
            "SEED": str(self.seed), "OUT": str(self.out), "IN": str(self.source), "MARK": MARK,
            "SLEEP": SLEEP, "PID": str(os.getpid()), "PORT": str(port), "SHOWN": str(shown_calls()),
            "HALF": SECRET[:16], "CANARY": f"canary {MARK}",
            "EXERCISES": str(paths.PACKAGE / "exercises"),
            "SOLUTION": str(ROOT / "solutions" / "00_start_here.ipynb")}

    def hand_in(self):
        """Write attackers and honest learners into the folder."""
        for name, data in HONEST.items():
            (self.source / f"{name}.ipynb").write_bytes(data)
        for number, attack in enumerate(ALL):
            (self.source / file_of(number, attack)).write_bytes(attack.bytes(self.tokens))

    def reached(self) -> list[str]:
        """Return the kinds of servers that somebody spoke to."""
        found = []
        for server in self.servers:
            server.setblocking(False)
            try:
                server.recv(10) if server.type == socket.SOCK_DGRAM else server.accept()
                found.append(str(server))
            except BlockingIOError:
                pass
        return found

    def close(self):
        """Close the servers."""
        for server in self.servers:
            server.close()


def file_of(number: int, attack) -> str:
    """Return the name of an attacker's file; most of them have a number for a name."""
    return (attack.file or "h{}_00_start_here.ipynb").replace("{}", f"{number:03}")


def shown_calls() -> int:
    """Return how often an answer is called on the shown cases."""
    [exercise] = unit_exercises("start_here")
    calls = []
    evaluate(exercise, lambda *args: calls.append(1) or exercise.reference(*args))
    return len(calls)


def hidden_numbers() -> list[str]:
    """Return inputs of hidden cases as texts that are nowhere by accident."""
    [exercise] = unit_exercises("start_here")
    cases = exercise.random_cases(Seed(SECRET).number(exercise.id, 0))
    found = [repr(x) for case in cases for x in case.args[0].flatten().tolist()]
    return [text for text in found if len(text) > 14]


@pytest.fixture
def scene(tmp_path, monkeypatch):
    made = Scene(tmp_path)
    monkeypatch.setenv("HOSTILE_CANARY", made.tokens["CANARY"])
    yield made
    made.close()
    for process in marked_processes():  # only where an attack has succeeded, or was let
        process.kill()
    for path in marked_files():
        path.unlink(missing_ok=True)


def marked_processes():
    return [p for p in psutil.process_iter(["cmdline"]) if SLEEP in (p.info["cmdline"] or [])]


def marked_files() -> list[Path]:
    """Return what lies with our mark, or as a shadow, in the places that others may look at."""
    places = {tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", "/", "/run", os.getcwd(),
              os.path.expanduser("~"), sys.prefix, str(ROOT), str(paths.PACKAGE), "/etc/cron.d"}
    names = (MARK, "@MARK@", "sitecustomize.py", "usercustomize.py")
    return [path for place in places if os.path.isdir(place) for path in Path(place).iterdir()
            if any(name in path.name for name in names)]


def digest(*folders: Path) -> str:
    """Return a digest of names, sizes and times of all files, compiled ones apart."""
    lines = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                info = path.lstat()
                lines.append(f"{path} {info.st_size} {info.st_mtime_ns} {info.st_mode}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def strays(workers: list[int]) -> list[str]:
    """Return processes below the workers, or of the users that their boxes became."""
    slots, found = {pid * 64 + number for pid in workers for number in range(64)}, []
    for process in psutil.process_iter(["pid", "ppid", "uids", "cmdline"]):
        uid = process.info["uids"].real if process.info["uids"] else 0
        if process.info["ppid"] in workers or uid - 1_600_000_000 in slots:
            found.append(str(process.info))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("tier", tiers.TIERS, ids=lambda tier: tier.name)
def test_attackers_earn_nothing_see_nothing_and_leave_nothing(scene, tier, monkeypatch, capfd):
    fault = tiers.fault(tier)
    if fault is not None:
        pytest.skip(f"the tier {tier.name} does not work here: {fault}")
    scene.hand_in()
    started = []
    begin = worker.Worker.__init__
    monkeypatch.setattr(worker.Worker, "__init__", lambda self, *args: (
        begin(self, *args), started.append(self._process.pid))[0])
    watched = [scene.source, ROOT / "course", ROOT / "solutions", paths.PACKAGE]
    before = digest(*watched)
    settings = Settings(partial(Boxed, tier.name), tier.name, scene.seed, UNITS, workers=2,
                        limits=Limits(seconds=60, memory=512))
    grade_cohort(scene.source, scene.out, settings)
    assert digest(*watched) == before and scene.seed.read_text() == SECRET + "\n"
    records = {Path(r["submission"]["path"]).parts[0].removesuffix(".zip"): r
               for r in read_records(scene.out)}
    assert len(records) == len(ALL) + len(HONEST), "nobody was left out"
    assert scene.reached() == [] and marked_processes() == [] and marked_files() == []
    time.sleep(0.2)
    assert strays(started) == []
    _honest_learners_have_their_points(records)
    assert _complaints(scene, records) == []
    _nothing_secret_is_written(scene, capfd.readouterr())


def _honest_learners_have_their_points(records):
    """Full points for what is right, whatever was graded before and beside it."""
    for name in HONEST:
        record = records[f"{name}.ipynb"]
        right = name != "bert"
        assert record["points"] == (record["max_points"] if right else 0), (
            name, [(r["exercise"], r["message"]) for r in record["exercises"]])
        assert record["learner"]["id"] == name and not record["problem"]


def _complaints(scene, records) -> list:
    """Return what is not as it should be, submission by submission."""
    found = []
    for number, attack in enumerate(ALL):
        record = records[clean_text(file_of(number, attack), 200).removesuffix(".zip")]
        rows = record["exercises"]
        passed = [row["exercise"] for row in rows if row["outcome"] == PASSED]
        words = " ".join([record["problem"], *(row["message"] for row in rows)])
        untold = [row["exercise"] for row in rows if row["outcome"] not in (PASSED, NOT_ATTEMPTED)
                  and not row["message"]]
        if bool(passed) != attack.right:
            found.append((attack.name, "passed", passed, words))
        if untold or any(row["stage"] == "grader" for row in rows):
            found.append((attack.name, "not told why", untold, words))
        if not re.search(attack.says, words) or bool(record["problem"]) != attack.problem:
            found.append((attack.name, attack.says, record["problem"], words))
    return found


def _nothing_secret_is_written(scene, captured):
    """No secret, no hidden input, nothing active, and no file that does not belong there."""
    names = {p.name for p in scene.out.iterdir()}
    assert names == {"records", "feedback", "grades.csv", "gradebook.csv", "report.html",
                     "journal.jsonl"}
    assert captured.out == "" and MARK not in captured.err
    secrets = [SECRET, SECRET[:20], scene.tokens["CANARY"], *hidden_numbers()]
    for path in [p for p in scene.out.rglob("*") if p.is_file()]:
        text = path.read_text(encoding="utf-8")
        assert path.stat().st_size < 2_000_000, path
        assert [s for s in secrets if s in text] == [], path
        assert "\x1b" not in text and "\u202e" not in text, path
        if path.suffix == ".html":
            assert not re.search(r"<script|<img src=x|onerror=[^&]*>", text), path
    for name in ("grades.csv", "gradebook.csv"):
        with (scene.out / name).open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [c for c in cells if c.lstrip(" ")[:1] in "=+@\t\r" and c.strip()]
    assert not [p for p in scene.out.rglob("*") if p.is_symlink()]


@pytest.mark.slow
def test_the_attacks_do_succeed_where_there_is_no_box(scene, tmp_path):
    """A test that cannot fail proves nothing: these are the attacks that do no harm here."""
    scene.out.mkdir()
    (scene.source / "honest.ipynb").write_bytes(notebook(RIGHT))
    tried = {attack.name: attack for attack in ALL if attack.alone}
    told = {"secret": SECRET, "attacks": {
        name: base64.b64encode(attack.bytes(scene.tokens)).decode()
        for name, attack in tried.items()}}
    (tmp_path / "attacks.json").write_text(json.dumps(told))
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.grading.hostile.alone", tmp_path / "attacks.json"],
        cwd=tmp_path / "work", env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    wanted = {name: PASSED if attack.alone == EARNS else "" for name, attack in tried.items()}
    assert outcomes == wanted and len(tried) >= 30
