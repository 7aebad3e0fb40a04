"""Measure a kernel while it works: wall and CPU seconds, peak memory of its process tree."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

CORES = 2  # a lesson must be within its budget on this many
_INTERVAL = 0.1  # seconds between two samples of memory
_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")


def core_sets(workers: int, cores: int = CORES) -> list[list[int]]:
    """Return for each worker the CPUs its kernel may use: two, and not another worker's if it can.

    Empty lists where the system cannot bind a process to CPUs (macOS).
    """
    process = psutil.Process()
    if not hasattr(process, "cpu_affinity"):
        return [[] for _ in range(workers)]
    own = process.cpu_affinity()
    return [[own[(cores * worker + i) % len(own)] for i in range(min(cores, len(own)))]
            for worker in range(workers)]


def quiet_seconds(wall: float, cpu: float, others: float) -> float:
    """Return wall seconds less the waiting that other processes on the same CPUs account for.

    Time in which a process waits (wall beyond its own CPU seconds) is forgiven only as far as
    others kept the CPUs busy, so sleeping and waiting for a network count in full.

    >>> quiet_seconds(wall=100, cpu=60, others=0), quiet_seconds(wall=100, cpu=60, others=30)
    (100, 70)
    >>> quiet_seconds(wall=100, cpu=90, others=50), quiet_seconds(wall=100, cpu=180, others=50)
    (90, 100)
    """
    return min(wall, max(cpu, wall - others))


class Meter:
    """Follows one process and its children from birth to just before its end.

    Binding the process to two CPUs makes the seconds mean the same on a large machine.
    """

    def __init__(self, pid: int, cpus: list[int], limit_mb: float, on_overrun: Callable[[], None]):
        """Start the clock; ``on_overrun`` is called once when memory passes ``limit_mb``."""
        self._process, self._cpus = psutil.Process(pid), cpus
        self._limit, self._on_overrun = limit_mb, on_overrun
        self._began, self._busy_before = time.perf_counter(), _busy_seconds(cpus)
        self.peak_mb = self.seconds = self.cpu_seconds = self.others_seconds = 0.0
        if cpus:
            with suppress(psutil.Error):  # not allowed here, or the process died at once
                self._process.cpu_affinity(cpus)

    @property
    def machine_seconds(self) -> float:
        """What the wall seconds would have been, had the machine been quiet."""
        return quiet_seconds(self.seconds, self.cpu_seconds, self.others_seconds)

    async def watch(self) -> None:
        """Sample memory until cancelled or over the limit."""
        while True:
            if self._sample() > self._limit:
                self._on_overrun()
                return
            await asyncio.sleep(_INTERVAL)

    def _sample(self) -> float:
        """Return the resident memory of the tree now, in MB, and keep the peak."""
        now = sum(_resident(p) for p in self._tree()) / 2**20
        self.peak_mb = max(self.peak_mb, now)
        return now

    def _tree(self) -> list[psutil.Process]:
        """Return the process and its descendants."""
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return []

    def stop(self) -> None:
        """Read the clocks; call it while the process still lives."""
        self.seconds = time.perf_counter() - self._began
        self.cpu_seconds = sum(_cpu_seconds(process) for process in self._tree())
        busy = _busy_seconds(self._cpus) - self._busy_before
        self.others_seconds = max(0.0, busy - self.cpu_seconds)
        self._sample()
        self.peak_mb = max(self.peak_mb, _high_water_mb(self._process.pid))


def _resident(process: psutil.Process) -> int:
    """Return resident bytes, 0 for a process that is gone."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of its children that have ended."""
    try:
        return sum(process.cpu_times()[:4])
    except psutil.Error:
        return 0.0


def _busy_seconds(cpus: list[int]) -> float:
    """Return the seconds that these CPUs (all, if none are named) have worked since boot."""
    each = psutil.cpu_times(percpu=True)
    chosen = [each[cpu] for cpu in cpus if cpu < len(each)] or each
    return sum(getattr(times, kind, 0.0) for times in chosen for kind in _BUSY)


def _high_water_mb(pid: int) -> float:
    """Return the kernel's own record of a process's peak memory, which sampling can miss."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0
