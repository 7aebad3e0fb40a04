"""Whatever is killed: no process of a box stays, and no folder beyond the next start."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.grading.box.conftest import NEEDED
from tutorlib.grading.box import Cell, Limits, folders, tiers
from tutorlib.grading.box.box import Box

STUBBORN = """
import ctypes, os, tempfile, time
ctypes.CDLL(None).prctl(1, 0)  # do not die with the parent: the filter refuses
os.close(0)
def f():
    with open(os.path.join(tempfile.gettempdir(), "left"), "w") as file:
        file.write("x")
    os.mkdir(os.path.join(tempfile.gettempdir(), "shut"), 0)
    return tempfile.gettempdir()
def g():
    while True:
        try:
            time.sleep(1)
        except BaseException:
            pass
"""
GRADER = f"""
from tutorlib.grading.box import Cell, tiers
from tutorlib.grading.box.box import Box, Limits
tier = next(t for t in tiers.TIERS if t.name == NAME)
box = Box(tier.start(), Limits())
box.load([Cell({STUBBORN!r})])
print(box.answer("f")(), flush=True)
box.answer("g", 300.0)()
"""


def ended(processes, seconds=10.0):
    """Whether all have ended in time; a dead one whose parent has not looked yet counts."""
    deadline = time.monotonic() + seconds
    while living := [p for p in processes
                     if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() > deadline:
            return living == []
        time.sleep(0.05)
    return True


@pytest.fixture
def working(request):
    fault = tiers.fault(request.param, NEEDED)
    if fault is not None:
        pytest.skip(f"the tier {request.param.name} does not work here: {fault}")
    return request.param


each_tier = pytest.mark.parametrize("working", tiers.TIERS, indirect=True, ids=lambda t: t.name)


@each_tier
@pytest.mark.slow
def test_a_killed_grader_leaves_no_process_and_no_folder(working):
    script = GRADER.replace("NAME", repr(working.name))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as it:
        try:
            home = Path(it.stdout.readline().strip())
            below = psutil.Process(it.pid).children(recursive=True)
        finally:
            it.send_signal(signal.SIGKILL)
    assert len(below) >= 2, "a zygote and a box"
    assert ended(below), f"still there: {below}"
    if working is tiers.LANDLOCK:
        assert home.parent.name.startswith(folders.PREFIX)
        deadline = time.monotonic() + 5
        while home.parent.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not home.parent.exists()


@each_tier
def test_a_killed_zygote_takes_its_box_along_and_the_next_one_cleans_up(working):
    host = working.start(NEEDED)
    box = Box(host, Limits())
    box.load([Cell(STUBBORN)])
    home = Path(box.answer("f")())
    top = psutil.Process(host._process.pid)
    below = [top, *top.children(recursive=True)]
    top.kill()
    assert ended(below), f"still there: {below}"
    box.close()
    host.close()
    if working is tiers.LANDLOCK:
        assert (home / "left").exists(), "nobody was there to remove it"
        folders.sweep()
        assert not home.parent.exists()


def test_a_folder_goes_with_its_box(working_landlock):
    host, made = working_landlock, []
    for _ in range(2):
        with Box(host, Limits()) as box:
            box.load([Cell(STUBBORN)])
            made.append(Path(box.answer("f")()))
    host.close()
    assert made[0] != made[1] and made[0].parent == made[1].parent
    assert not made[0].parent.exists()


@pytest.fixture
def working_landlock():
    fault = tiers.fault(tiers.LANDLOCK, NEEDED)
    if fault is not None:
        pytest.skip(f"the tier landlock does not work here: {fault}")
    return tiers.LANDLOCK.start(NEEDED)


def test_only_folders_without_an_owner_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept, handle = folders.claim()
    left = tmp_path / f"{folders.PREFIX}left"
    (left / "home" / "shut").mkdir(parents=True)
    (left / "home" / "out").symlink_to(tmp_path / "precious")
    (left / "home" / "shut").chmod(0)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (tmp_path / f"{folders.PREFIX}link").symlink_to(precious)
    (tmp_path / f"{folders.PREFIX}file").touch()
    (tmp_path / "another").mkdir()
    assert folders.sweep() == 1 and not left.exists()
    assert Path(kept).is_dir() and (precious / "file").exists()
    assert (tmp_path / f"{folders.PREFIX}link").is_symlink() and (tmp_path / "another").is_dir()
    os.close(handle)
    assert folders.sweep() == 1 and not Path(kept).exists()


def test_what_another_user_owns_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"{folders.PREFIX}theirs").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert folders.sweep() == 0 and (tmp_path / f"{folders.PREFIX}theirs").is_dir()


def test_a_folder_swept_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    real, taken = folders.fcntl.flock, []

    def late(handle, how):
        if not taken:
            taken.append(os.readlink(f"/proc/self/fd/{handle}"))
            os.rmdir(taken[0])
        return real(handle, how)

    monkeypatch.setattr(folders.fcntl, "flock", late)
    path, handle = folders.claim()
    os.close(handle)
    assert Path(path).is_dir() and path != taken[0]
