"""The tests that pytest-xdist's workers find are the same ones, whatever order their sets have."""

import os
import subprocess
import sys
from pathlib import Path

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


def test_sets_have_one_order_in_all_workers(tmp_path):
    (tmp_path / "test_names.py").write_text(TESTS, encoding="utf-8")
    free = {name: value for name, value in os.environ.items()
            if name != "PYTHONHASHSEED" and not name.startswith("PYTEST_")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "-p", "conftest",
         "-n", "2", tmp_path], cwd=ROOT, env=free, capture_output=True, text=True, timeout=120)
    assert "9 passed" in run.stdout, run.stdout + run.stderr
