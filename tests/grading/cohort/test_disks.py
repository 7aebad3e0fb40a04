"""Disks that are full, folders that cannot be written, journals that end in the middle of a line.

By the real thing where this system lets one: a small file system of its own, a limit on the size of
files, a mount that is read-only. What cannot be done here is skipped with its reason.
"""

import contextlib
import os
import shutil
import subprocess
import sys

import pytest

from tests.grading.cohort.conftest import RIGHT, UNDIVIDED, Cohort, code_cell, notebook
from tutorlib.errors import GradingError

COUNT = 6


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A cohort, graded once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    cohort = Cohort(folder)
    for i in range(COUNT):
        source = (RIGHT, UNDIVIDED, "raise ValueError('é' * 9)\n" + RIGHT)[i % 3]
        cohort.hand_in(f"l{i}.ipynb", notebook(source, code_cell(f"x={i}")))
    cohort.grade(units=("00",), seed_file=folder / "seed")
    return cohort, folder / "seed"


@pytest.fixture
def whole(undisturbed, tmp_path):
    """That cohort with another, missing folder for its grades; the tables there should be."""
    before, seed = undisturbed
    cohort = Cohort(tmp_path)
    shutil.copytree(before.source, cohort.source, dirs_exist_ok=True)
    cohort.again = lambda: cohort.grade(units=("00",), seed_file=seed)
    cohort.done = lambda: shutil.copytree(before.out, cohort.out)
    return cohort, written(before.out)


def written(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*"))
            if p.is_file() and p.name != "journal.jsonl"}


def in_journal(out):
    return max(0, (out / "journal.jsonl").read_bytes().count(b"\n") - 1)


def mount(*arguments):
    """Mount something, or skip the test."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a file system")
    try:
        done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    except OSError as problem:
        pytest.skip(f"mount cannot be run: {problem}")
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def mounted():
    """Unmount afterwards what a test has mounted."""
    folders = []
    yield folders
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_keeps_what_was_graded(whole, mounted):
    """It is full first for the journal, then for the tables, then large enough."""
    cohort, expected = whole
    cohort.out.mkdir()
    mount("-t", "tmpfs", "-o", "size=8k", "tmpfs", cohort.out)
    mounted.append(cohort.out)
    with pytest.raises(GradingError, match=r"disk is full: .*journal.*is kept"):
        cohort.again()
    kept = in_journal(cohort.out)
    assert 0 < kept < COUNT and (cohort.out / "journal.jsonl").read_bytes().endswith(b"}\n")
    assert not (cohort.out / "grades.csv").exists()
    mount("-o", "remount,size=44k", cohort.out)
    with pytest.raises(GradingError, match=rf"disk is full.*\({COUNT}\) is kept"):
        cohort.again()
    assert in_journal(cohort.out) == COUNT and not (cohort.out / "report.html").exists()
    mount("-o", "remount,size=8m", cohort.out)
    assert cohort.again().fresh == 0 and written(cohort.out) == expected


@contextlib.contextmanager
def largest_file(size):
    """Let no file of this process grow beyond ``size`` bytes."""
    resource = pytest.importorskip("resource", reason="this system has no resource limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_journal_that_may_not_grow_keeps_what_was_graded(whole):
    cohort, expected = whole
    with largest_file(5_000), pytest.raises(GradingError, match=r"cannot be written.*is kept"):
        cohort.again()
    kept = in_journal(cohort.out)
    assert 0 < kept < COUNT and (cohort.out / "journal.jsonl").read_bytes().endswith(b"}\n")
    assert cohort.again().fresh == COUNT - kept and written(cohort.out) == expected


def test_a_read_only_mount_is_refused_and_what_is_there_stays(whole, mounted):
    cohort, expected = whole
    cohort.done()
    mount("--bind", cohort.out, cohort.out)
    mounted.append(cohort.out)
    mount("-o", "remount,bind,ro", cohort.out)
    cohort.hand_in("new.ipynb", notebook(RIGHT))
    with pytest.raises(GradingError, match=r"cannot be written \(Read-only file system\)"):
        cohort.again()
    assert written(cohort.out) == expected


def test_a_folder_without_the_right_to_write_is_refused(whole):
    cohort, _ = whole
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("this user may write anywhere: the read-only mount above is what stops root")
    cohort.out.mkdir(mode=0o555)
    with pytest.raises(GradingError, match="cannot be written"):
        cohort.again()


def test_a_folder_below_a_file_is_refused(whole):
    cohort, _ = whole
    cohort.out = cohort.source / "l0.ipynb" / "grades"
    with pytest.raises(GradingError, match="cannot be written"):
        cohort.again()


@pytest.mark.parametrize("left", ["a header cut", "a record cut", "half a letter", "zeros"])
def test_a_journal_that_ends_in_the_middle_of_a_line_goes_on(whole, left):
    cohort, expected = whole
    cohort.done()
    path = cohort.out / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    letter = "é".encode()
    odd = next(line for line in lines if letter in line)
    kept, torn = {"a header cut": (0, lines[0][:20]), "a record cut": (3, lines[3][:-1]),
                  "half a letter": (2, odd[: odd.index(letter) + 1]),
                  "zeros": (4, bytes(4096))}[left]
    path.write_bytes(b"".join(lines[:kept]) + torn)
    assert cohort.again().fresh == COUNT - max(0, kept - 1)
    assert written(cohort.out) == expected and in_journal(cohort.out) == COUNT
