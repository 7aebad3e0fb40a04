from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "planning" / "planning.py"


@pytest.mark.slow
def test_the_benchmark_runs_and_its_two_methods_agree():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick"], capture_output=True, text=True, check=True
    )
    agreed = re.search(r"agree on every answer to a relative (\S+)\.\n", done.stdout)
    assert float(agreed.group(1)) < 1e-10
    assert done.stdout.count("| tutorlib |") == done.stdout.count("| numpy |") == 3
