"""A whole grading: tables, pages, the journal, workers that die, disks that are full."""

import csv
import errno
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from tests.grading.cohort.conftest import RIGHT, ROOT, UNDIVIDED, code_cell, notebook
from tutorlib.errors import GradingError
from tutorlib.grading.cohort import cohort as cohort_module
from tutorlib.grading.cohort import journal as journal_module
from tutorlib.grading.cohort.cohort import Settings, grade_cohort
from tutorlib.grading.cohort.course import Course, Late
from tutorlib.grading.cohort.journal import Journal
from tutorlib.grading.cohort.pages import inline
from tutorlib.grading.cohort.runners import Limits, Trusted
from tutorlib.grading.cohort.seeds import open_seed

BOLD = "<b>bold</b><script>alert(1)</script>"


@pytest.fixture
def small(cohort):
    """Three learners: right, wrong, nothing."""
    cohort.hand_in("anna.ipynb", notebook(RIGHT))
    cohort.hand_in("bert/00_start_here.ipynb", notebook(UNDIVIDED))
    cohort.hand_in("carla.ipynb", b"{ not json")
    return cohort


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file()}


def test_everything_is_written_and_says_the_same(small, visible):
    small.grade(units=("00",))
    assert {p.name for p in small.out.iterdir()} == {
        "records", "feedback", "grades.csv", "gradebook.csv", "report.html", "journal.jsonl",
        "cohort.seed"}
    rows = list(csv.DictReader(io.StringIO(small.csv())))
    assert [(r["learner"], r["outcome"], r["points"]) for r in rows] == [
        ("anna", "passed", rows[0]["max_points"]), ("bert", "not passed", "0"),
        ("carla", "not passed", "0")]
    wide = list(csv.DictReader((small.out / "gradebook.csv").open()))
    assert [r["00 points"] for r in wide] == [r["points"] for r in rows]
    told = small.row("bert")["mistake"]["message"]
    assert inline(told) in small.page("bert")
    assert "not a notebook" in small.page("carla") and "passed" in small.page("anna")
    report = visible((small.out / "report.html").read_text())
    assert all(name in report for name in ("anna", "bert", "carla")) and "not a notebook" in report


def test_records_hold_what_another_grader_needs_and_no_secret(small):
    small.grade()
    record = small.records()["anna", "00"]
    assert record["schema"] == 1 and len(record["submission"]["sha256"]) == 64
    assert set(record["course"]) == {"version", "graders"} and "trusted" in record["tier"]
    secret = (small.out / "cohort.seed").read_text().strip()
    assert record["seed_id"] == open_seed(small.out / "cohort.seed").id != secret
    for name, data in files(small.out).items():
        assert name == "cohort.seed" or secret.encode() not in data


def test_the_same_again_is_the_same_to_the_byte(small, tmp_path):
    small.grade()
    first = files(small.out)
    seed = small.out / "cohort.seed"
    again = type(small).grade
    small.out, former = tmp_path / "again", small.out
    again(small, seed_file=seed)
    second = files(small.out)
    second["cohort.seed"] = first["cohort.seed"]
    assert {k: v for k, v in second.items() if k != "journal.jsonl"} == {
        k: v for k, v in first.items() if k != "journal.jsonl"}
    small.out = former
    assert small.grade().fresh == 0, "all of it is in the journal"
    assert files(small.out) == first


def test_only_what_changed_is_graded_again(small):
    assert small.grade().fresh == 3
    small.hand_in("bert/00_start_here.ipynb", notebook(RIGHT))
    small.hand_in("dora.ipynb", notebook(UNDIVIDED))
    (small.source / "carla.ipynb").unlink()
    assert small.grade().fresh == 2
    assert small.row("bert")["outcome"] == "passed"
    assert set(small.records()) == {("anna", "00"), ("bert", "00"), ("dora", "00")}
    assert not list((small.out / "feedback").glob("carla*"))


def test_a_line_cut_short_is_graded_again(small):
    small.grade()
    before = small.csv()
    path = small.out / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert small.grade().fresh == 1
    assert small.csv() == before and path.read_bytes().endswith(b"}\n")


def test_two_ways_of_grading_are_not_mixed(small, tmp_path):
    small.grade()
    with pytest.raises(GradingError, match=r"another way .*limits"):
        small.grade(limits=Limits(seconds=7))
    seed = tmp_path / "other.seed"
    with pytest.raises(GradingError, match="seed_id"):
        small.grade(seed_file=seed)
    (small.out / "journal.jsonl").write_text("{}\n[]\n")
    with pytest.raises(GradingError, match="damaged"):
        small.grade()


def test_a_second_grader_is_kept_out(small):
    small.grade()
    header = json.loads((small.out / "journal.jsonl").read_text().splitlines()[0])["header"]
    held = Journal(small.out, header)
    with pytest.raises(GradingError, match="at work"):
        small.grade()
    held.close()
    small.grade()


def test_a_full_disk_is_refused_and_nothing_is_lost(small, monkeypatch):
    real, written = os.write, []

    def full(fd, data):
        if bytes(data).startswith(b'{"fingerprint"'):
            written.append(1)
            if len(written) > 1:
                real(fd, bytes(data)[:10])  # part of a line gets through
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(journal_module.os, "write", full)
    with pytest.raises(GradingError, match=r"disk is full.*\(1\) is kept"):
        small.grade()
    monkeypatch.setattr(journal_module.os, "write", real)
    assert (small.out / "journal.jsonl").read_bytes().count(b"\n") == 2
    assert small.grade().fresh == 2


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(small, monkeypatch):
    from pathlib import Path

    small.out = Path("/proc/grades") if sys.platform == "linux" else small.source / "anna.ipynb/x"
    with pytest.raises(GradingError, match="cannot be written"):
        small.grade()


def test_nothing_to_grade_is_said(cohort):
    with pytest.raises(GradingError, match="no notebooks"):
        cohort.grade()
    with pytest.raises(GradingError, match="no exercises"):
        cohort.grade(units=("22",))


@pytest.mark.parametrize("secret, told", [("42", "guess"), ("", "guess")])
def test_a_seed_that_can_be_guessed_is_refused(tmp_path, secret, told):
    (tmp_path / "seed").write_text(secret)
    with pytest.raises(GradingError, match=told):
        open_seed(tmp_path / "seed")


def test_a_seed_is_made_once_and_for_its_owner(tmp_path):
    made = open_seed(tmp_path / "sub" / "seed")
    assert (tmp_path / "sub" / "seed").stat().st_mode & 0o777 == 0o600
    assert open_seed(tmp_path / "sub" / "seed").id == made.id and "secret" not in repr(made)
    assert made.number("a.b") != made.number("a.c") != made.number("a.b", 1)
    assert 0 <= made.number("a.b") < 2**63
    with pytest.raises(GradingError, match="cannot be read"):
        open_seed(tmp_path)


def test_names_and_outputs_cannot_write_html_or_formulas(cohort):
    hostile = RIGHT.replace("    return", f"    print({BOLD!r})\n    raise ValueError({BOLD!r})\n"
                                          "    return")
    cohort.hand_in(f"{BOLD.replace('/', '_')}.ipynb", notebook(hostile))
    cohort.hand_in("=cmd|'calc'!A1.ipynb", notebook(hostile))
    cohort.hand_in("@SUM(1).ipynb", b"{")
    cohort.grade(units=("00",))
    pages = [*(cohort.out / "feedback").iterdir(), cohort.out / "report.html"]
    for path in pages:
        text = path.read_text()
        assert "<script" not in text.lower() and "<b>bold" not in text
        assert "default-src 'none'" in text and 'lang="en"' in text
    assert any("&lt;script&gt;" in path.read_text() for path in pages)
    for name in ("grades.csv", "gradebook.csv"):
        for row in csv.reader((cohort.out / name).open()):
            assert not any(cell.startswith(("=", "@", "+", "-", "\t", "\r")) for cell in row)


def test_every_picture_has_a_text_and_every_table_a_head(small):
    small.grade()
    html = (small.out / "report.html").read_text()
    assert html.count("<figure") == html.count("<figcaption") == 3
    assert html.count('class="bar"') == 10 + 1 + 1 == html.count("</span><span>")
    assert html.count("<table") == html.count("<thead") and 'scope="col"' in html
    assert html.count("<caption") == html.count('role="region"') == 3
    assert "No answer ran longer than it may" in html


def test_late_work_is_marked_and_deducted(small):
    small.hand_in("collected.json", json.dumps({"learners": {}, "submissions": {
        "anna/00": {"late_minutes": 1500}, "bert/00": {"late_minutes": 0}}}).encode())
    small.grade(course=Course(late=Late(percent_per_day=10)))
    record = small.records()["anna", "00"]
    assert record["late"] == {"minutes": 1500, "percent_off": 20.0}
    assert record["final"] == pytest.approx(0.8 * record["points"])
    assert "less 20 % for lateness" in small.page("anna")
    assert small.records()["bert", "00"]["late"] == {}
    small.hand_in("collected.json", b"{}")
    with pytest.raises(GradingError, match="collect"):
        small.grade(course=Course(late=Late(percent_per_day=10)))


DIES = "import os\n" + RIGHT.replace("    return", "    os._exit(3)\n    return")


@pytest.mark.slow
def test_a_worker_that_is_ended_costs_one_exercise_and_stops_nothing(cohort):
    cohort.hand_in("anna.ipynb", notebook(RIGHT))
    cohort.hand_in("bert.ipynb", notebook(DIES))
    cohort.hand_in("carla.ipynb", notebook("import os\nos._exit(4)\n" + RIGHT))
    cohort.hand_in("dora.ipynb", notebook(RIGHT))
    cohort.grade(workers=2)
    outcomes = {who: record["exercises"][0]["outcome"]
                for (who, _), record in cohort.records().items()}
    assert outcomes == {"anna": "passed", "bert": "not passed", "carla": "not passed",
                        "dora": "passed"}
    assert "process that ran this answer was ended" in cohort.row("bert")["message"]
    assert "was ended" in cohort.records()["bert", "00"]["flags"][0]


@pytest.mark.slow
def test_killed_in_mid_batch_it_goes_on_to_the_same_bytes(cohort, tmp_path):
    slow = "import time\ntime.sleep(1)\n"
    for i in range(6):
        cohort.hand_in(f"learner{i}.ipynb", notebook(slow + (RIGHT if i % 2 else UNDIVIDED),
                                                     code_cell(f"x = {i}")))
    command = [sys.executable, "-m", "tutorlib.cli", "grade", str(cohort.source), "--out",
               str(cohort.out), "--trust-submissions", "--seed-file", str(tmp_path / "seed")]
    journal = cohort.out / "journal.jsonl"
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    held = journal.read_bytes()
    assert not (cohort.out / "grades.csv").exists()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "from the journal" in done.stdout
    assert journal.read_bytes().startswith(held[: held.rfind(b"\n") + 1])
    keys = [json.loads(line)["key"] for line in journal.read_bytes().splitlines()[1:]]
    assert sorted(keys) == [f"learner{i}/00" for i in range(6)], "none lost, none twice"
    resumed = cohort.csv()
    cohort.out = tmp_path / "whole"
    cohort.grade(seed_file=tmp_path / "seed")
    assert cohort.csv() == resumed


def test_a_single_notebook_is_graded_by_this_process_where_it_may(cohort, monkeypatch):
    """And what that takes is undone: the bound of memory, and that Ctrl-C ends it at once."""
    seen = []
    before = (resource.getrlimit(resource.RLIMIT_DATA), signal.getsignal(signal.SIGINT))

    class Looking(Trusted):
        def __init__(self, limits):
            seen.append((resource.getrlimit(resource.RLIMIT_DATA)[0],
                         signal.getsignal(signal.SIGINT)))
            super().__init__(limits)

    cohort.hand_in("anna.ipynb", notebook(RIGHT))
    how = Settings(Looking, "a tier", workers=2, alone=True)
    grade_cohort(cohort.source, cohort.out, how)
    assert cohort.row("anna")["outcome"] == "passed"
    assert seen[0][0] > 0 and seen[0][1] is signal.SIG_DFL
    assert before == (resource.getrlimit(resource.RLIMIT_DATA), signal.getsignal(signal.SIGINT))
    cohort.hand_in("ben.ipynb", notebook(UNDIVIDED))
    cohort.hand_in("cleo.ipynb", notebook(UNDIVIDED))
    monkeypatch.setattr(cohort_module, "Pool", lambda *a: pytest.fail("workers"))
    with pytest.raises(pytest.fail.Exception, match="workers"):
        grade_cohort(cohort.source, cohort.out, how)
