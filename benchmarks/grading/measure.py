"""Run a program and say what it cost: seconds on the wall and of processor, all descendants'."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What a program took."""

    wall: float  # seconds
    cpu: float  # seconds of processor, of the program and all that it started
    code: int | None  # its exit code; None: stopped at the limit
    output: str = ""


def run(command: list, folder: Path, limit: float, environment: dict | None = None,
        watch: Callable[[int], None] | None = None) -> Cost:
    """Run a program in a folder for at most ``limit`` seconds; leave none of its processes."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans are counted here too
    others = frozenset(descendants(os.getpid()))
    before, start = _children(), time.monotonic()
    process = subprocess.Popen(
        list(map(str, command)), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env={**os.environ, **(environment or {})})
    spent = Spent()
    for look in (spent, watch) if watch else (spent,):
        threading.Thread(target=look, args=(process.pid,), daemon=True).start()
    try:
        output, code = process.communicate(timeout=limit)[0], process.returncode
    except subprocess.TimeoutExpired:
        output, code = "", None
        for pid in descendants(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()
    wall = time.monotonic() - start
    _reap(others)
    return Cost(wall, max(spent.seconds, _children() - before), code, output)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap(others: frozenset[int], patience: float = 10.0) -> None:
    """Wait for what a program left behind, so that its time is counted; end what stays.

    ``others`` ran before it and go on, with all that they have started since.
    """
    deadline = time.monotonic() + patience
    while left := descendants(os.getpid(), others)[1:]:
        for pid in left:
            with contextlib.suppress(ChildProcessError):  # not yet ours: its parent lives
                os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def descendants(pid: int, without: frozenset[int] = frozenset()) -> list[int]:
    """Return a process and all that descend from it, but not from those ``without``."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += set(parents.get(found[-1], [])) - without
    return found


def memory(pid: int) -> float:
    """Return the MiB of a process and its descendants; pages that they share count once."""
    total = 0.0
    for one in descendants(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has ended, or is nobody's to look into
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return total


class Spent:
    """The processor time of a running program and its descendants, also of those that are killed.

    What a process has waited for counts with it. A process that nobody waits for is lost to the
    system's own count, so the sum over all that run is taken, often, and the largest is kept.
    """

    def __init__(self):
        """Nothing is looked at before it is called with a process's number."""
        self.seconds = 0.0

    def __call__(self, pid: int) -> None:
        """Look until the process is gone."""
        tick = os.sysconf("SC_CLK_TCK")
        while Path(f"/proc/{pid}").exists():
            spent = [sum(map(int, _fields(one)[11:15])) for one in descendants(pid)]
            self.seconds = max(self.seconds, sum(spent) / tick)
            time.sleep(0.2)


def _fields(pid: int) -> list[str]:
    """Return what the system tells of a process, from its state on; zeros when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["0"] * 20


class Samples:
    """The memory of a running program, every so many seconds."""

    def __init__(self, every: float = 2.0):
        """Nothing is sampled before it is called with a process's number."""
        self._every, self.mib = every, []

    def __call__(self, pid: int) -> None:
        """Sample until the process is gone."""
        while Path(f"/proc/{pid}").exists():
            self.mib.append(round(memory(pid), 1))
            time.sleep(self._every)

    def thirds(self) -> tuple[float, float]:
        """Return the mean MiB of the first and of the last third, without a tenth to warm up."""
        kept = [mib for mib in self.mib[max(1, len(self.mib) // 10):] if mib > 0][:-1]
        part = max(1, len(kept) // 3)
        return sum(kept[:part]) / part, sum(kept[-part:]) / part


def processor() -> str:
    """Return the processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
