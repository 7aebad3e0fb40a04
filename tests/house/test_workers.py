"""Workers of pytest-xdist find the same tests whatever order their sets have; all of them end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import subprocess, sys
import pytest

@pytest.mark.parametrize("name", {f"name {number}" for number in range(9)})
def test_name(name):
    code = "print(hash('a'))"
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert int(again) != hash("a"), "what a test starts should draw a seed of its own"
"""
STUCK = """
import time
import pytest

def wait():
    while True:
        try:
            time.sleep(100)
        except BaseException:
            pass

@pytest.fixture
def stays():
    yield
    wait()

def test_stuck():
    wait()

def test_stuck_after_a_failure(stays):
    assert False

def test_other():
    pass
"""


def run_tests(folder, text, *options):
    (folder / "test_names.py").write_text(text, encoding="utf-8")
    free = {name: value for name, value in os.environ.items()
            if name != "PYTHONHASHSEED" and not name.startswith("PYTEST_")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "-p", "conftest",
         "-n", "2", *options, folder], cwd=ROOT, env=free, capture_output=True, text=True,
        timeout=120)
    return run.stdout + run.stderr


def test_sets_have_one_order_in_all_workers(tmp_path):
    told = run_tests(tmp_path, TESTS)
    assert "9 passed" in told, told


@pytest.mark.slow
def test_a_test_that_swallows_its_end_is_named_and_the_others_run(tmp_path):
    told = run_tests(tmp_path, STUCK, "--timeout=1", "-o", "faulthandler_timeout=3")
    for name in ("test_stuck", "test_stuck_after_a_failure"):
        assert f"crashed while running 'test_names.py::{name}'" in told.replace(
            str(tmp_path) + "/", ""), told
    assert "1 passed" in told, told
    assert "in wait" in told, "where it stood"
