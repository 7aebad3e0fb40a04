"""What a box may use, and the limits that the kernel itself keeps for one process."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

with contextlib.suppress(ImportError):  # Windows has none, and is told by ``tiers`` what it lacks
    import resource

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What one submission may use; a box that goes beyond is stopped, and says why."""

    memory: int = 2048 * MIB  # bytes, on top of what a fresh box with torch takes
    cpu_seconds: int = 120  # of processor, over all of a submission's questions
    load_seconds: float = 15.0  # of processor, for running the imports and answer cells
    call_seconds: float = 5.0  # of processor, for one call of an answer; see ``clock``
    threads: int = 64
    open_files: int = 128
    tmp: int = 128 * MIB  # bytes under /tmp, also the largest single file
    printed: int = 10_000  # characters that are kept of what the code prints


def apply(limits: Limits, count_processes: bool) -> None:
    """Set the resource limits of the calling process for good.

    ``count_processes`` is False where the user has other processes: they would count too. Data
    and not address space is limited: torch reserves far more addresses than it uses.
    """
    data = _data_now() + limits.memory
    rules = {
        resource.RLIMIT_DATA: data,
        resource.RLIMIT_FSIZE: limits.tmp,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_STACK: 8 * MIB,
        resource.RLIMIT_SIGPENDING: 256,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if count_processes:
        rules[resource.RLIMIT_NPROC] = limits.threads
    for what, most in rules.items():
        _lower(what, most, most)
    _lower(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1)


def _lower(what: int, soft: int, hard: int) -> None:
    """Set a limit, or leave it where it is lower already."""
    former = resource.getrlimit(what)[1]
    if former != resource.RLIM_INFINITY:
        soft, hard = min(soft, former), min(hard, former)
    resource.setrlimit(what, (soft, hard))


def _data_now() -> int:
    """Return the bytes of data that this process has mapped already."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            return 1024 * int(line.split()[1])
    return 0
