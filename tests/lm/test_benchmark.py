import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sampling" / "sampling.py"


@pytest.mark.slow
def test_the_benchmark_runs_and_ours_is_not_slower_than_the_bare_loop():
    """Measured small, so with room: the committed table holds the figures."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick"], capture_output=True, text=True, check=True)
    worst = re.search(r"Least against the bare loop: (\S+) times", done.stdout)
    assert float(worst.group(1)) > 0.9
    assert done.stdout.count("\n| 16 |") == done.stdout.count("\n| 64 |") == 3
