"""One contestant in its own process: it works when told to, and says what that cost.

    python worker.py METHOD WHO SIZE SEED

A line on standard input is the word to go on for one turn; a line of JSON on standard output
answers it. Contestants are processes so that each has its own peak of memory, and TRL's last
version with a PPO can stand beside its newest.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import resource
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from workload import make_work

MODULES = {"tutorlib": "ours", "TRL": "trls", "bare loop": "bare"}


def peak_mb() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Stage:
    """Waits for the word, and measures the work up to the next wait."""

    def __init__(self, out):
        self.out, self.before = out, peak_mb()
        self.wait()

    def wait(self) -> None:
        if sys.stdin.readline().strip() != "go":
            self.out.flush()
            os._exit(0)  # in the middle of a trainer's loop
        self.start = time.process_time()

    def turn(self, *_record) -> None:
        spent = time.process_time() - self.start
        print(json.dumps({"seconds": spent, "peak_mb": peak_mb(), "before_mb": self.before}),
              file=self.out, flush=True)
        self.wait()


def main() -> None:
    """Work until told to stop; whatever others print goes to standard error."""
    out, sys.stdout = sys.stdout, sys.stderr
    method, who, size, seed = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    random.seed(int(seed))
    work = make_work(size, int(seed))
    contestant = importlib.import_module(MODULES[who])
    getattr(contestant, method)(work, Stage(out).turn)


if __name__ == "__main__":
    main()
