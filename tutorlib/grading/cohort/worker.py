"""A process that grades one notebook after the other, and how its parent holds it.

It is a program of its own and not a ``multiprocessing`` one: a worker of a cluster may be a
process that ``multiprocessing`` allows no children. It ends as soon as its parent is gone.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from tutorlib.grading.box.preload import NEEDED
from tutorlib.grading.cohort.grade import Plan, grade_notebook, unreadable
from tutorlib.grading.cohort.runners import OpenRunner
from tutorlib.grading.exercise import Exercise
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import find_unit

OWN_MEMORY = 2048 << 20  # bytes that a worker may take beyond what it begins with


@dataclass
class Job:
    """One notebook to grade."""

    key: str
    unit: str  # number
    data: bytes
    done: dict[str, dict] = field(default_factory=dict)  # rows so far, after a worker was lost
    current: str = ""  # the exercise being graded
    again: bool = True  # whether it may be started anew when its worker dies
    deaths: int = 0  # of later workers that were not at any exercise
    started: float = 0.0


def grade_job(job: Job, plan: Plan, open_runner: OpenRunner,
              tell: Callable[[dict], None] = lambda event: None) -> dict:
    """Grade one job in this process; whatever happens, there is a result."""
    exercises = unit_exercises(find_unit(job.unit).slug)
    try:
        return grade_notebook(job.data, exercises, plan, open_runner, job.done,
                              lambda e: tell({"begin": e}), lambda r: tell({"row": r}))
    except Exception as problem:  # a fault of the grader's must not stop the batch
        return failed(f"the grader failed ({type(problem).__name__}: {problem}); please report it",
                      exercises, plan)


def failed(reason: str, exercises: Sequence[Exercise], plan: Plan) -> dict:
    """Return the result of a notebook that could not be graded by no fault of its own."""
    result = unreadable(reason[:500], exercises, plan)
    for row in result["exercises"]:
        row["stage"] = "grader"
    return result


def main() -> None:
    """Grade what comes over a connection (its descriptor is the argument), until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops this process when it is to
    connection, inbox = Connection(int(sys.argv[1])), queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()

    def tell(event: dict) -> None:
        connection.send_bytes(json.dumps(event).encode())

    plan, open_runner = inbox.get()
    for name in getattr(open_runner, "modules", NEEDED):  # which graders load, too
        importlib.import_module(name)
    bound_own_memory()
    tell({"ready": True})
    while True:
        tell({"result": grade_job(inbox.get(), plan, open_runner, tell)})


def bound_own_memory() -> None:
    """Bound what this process itself takes, where the system can (Linux).

    A box may hand data to a function of a case, or a notebook be huge: what then asks for too
    much is refused, and the machine does not run out of memory.
    """
    try:
        import resource

        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmData:"):
                most = 1024 * int(line.split()[1]) + OWN_MEMORY
                hard = resource.getrlimit(resource.RLIMIT_DATA)[1]  # stays: boxes have their own
                resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    except (ImportError, OSError, ValueError):
        return


@contextlib.contextmanager
def alone():
    """Let this process grade a notebook itself, bounded as a worker; Ctrl-C ends it at once.

    A ``KeyboardInterrupt`` would be taken for an error of the answer's. Both are undone.
    """
    import resource

    memory = resource.getrlimit(resource.RLIMIT_DATA)
    on_main = threading.current_thread() is threading.main_thread()
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL) if on_main else None
    bound_own_memory()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, memory)
        if on_main:
            signal.signal(signal.SIGINT, interrupt)


def _listen(connection: Connection, inbox: queue.SimpleQueue) -> None:
    """Take in what the parent sends; once it is gone, end at once, whatever is being graded."""
    try:
        while True:
            inbox.put(connection.recv())
    except (EOFError, OSError):
        pass
    except BaseException:  # what was sent cannot be read here
        traceback.print_exc()
    finally:
        os._exit(1)


class Worker:
    """A worker process, as its parent sees it (not on Windows)."""

    def __init__(self, plan: Plan, open_runner: OpenRunner):
        """Start it; it says that it is ready, or ends."""
        self.pipe, theirs = Pipe()
        tier = getattr(open_runner, "tier", "")  # of its boxes, which load what it loads
        early = ("from tutorlib.grading.box.tiers import start_early; "
                 f"start_early({tier!r}, {getattr(open_runner, 'modules', NEEDED)!r}); "
                 ) if tier and sys.platform == "linux" else ""
        code = (f"import sys; sys.path[:] = {sys.path!r}; {early}"
                "from tutorlib.grading.cohort.worker import main; main()")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, str(theirs.fileno())], stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()])
        self.job: Job | None = None
        self.ready = False
        self.pipe.send((plan, open_runner))

    def give(self, job: Job) -> None:
        """Hand over a job; raises OSError when the process is gone."""
        self.job, job.current, job.started = job, "", time.monotonic()
        self.pipe.send(job)

    def kill(self) -> None:
        """Kill the process, as one that takes too long; its end is then heard on the pipe."""
        self._process.kill()

    def stop(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        self.pipe.close()
