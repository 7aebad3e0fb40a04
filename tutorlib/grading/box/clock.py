"""How long a box has computed, asked of the kernel from outside, and the limits made from it.

A limit by the clock on the wall would fail right answers on a busy machine. So a call may compute
for its limit, and last ``PATIENCE`` times as long by the wall, which ends what only sleeps.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from tutorlib.grading.box.errors import TimeLimitReached

PATIENCE = 4.0  # seconds on the wall for each second of a call's limit


@dataclass(frozen=True)
class Clock:
    """The processor time of one process; of none where it cannot be told (``pid`` 0)."""

    pid: int = 0

    def seconds(self) -> float | None:
        """Return the seconds that all its threads have computed; None when it is gone."""
        try:  # the kernel's number for a process's clock, see clock_getcpuclockid(3)
            return time.clock_gettime((~self.pid << 3) | 2) if self.pid else None
        except OSError:
            return None


def clock_of(handle: int) -> Clock:
    """Return the clock of the process that a pidfd stands for, as it is numbered here."""
    try:
        text = Path(f"/proc/self/fdinfo/{handle}").read_text(encoding="ascii")
    except OSError:
        return Clock()
    found = re.search(r"^Pid:\s*(\d+)$", text, re.MULTILINE)
    return Clock(int(found[1])) if found else Clock()


class Deadline:
    """The end of one call: when the box has computed for so long, or lasted too long."""

    def __init__(self, clock: Clock, seconds: float):
        """Begin now. Where the box has no clock, the wall's alone counts, without patience."""
        self._clock, now = clock, clock.seconds()
        self._computed = None if now is None else now + seconds
        self._wall = time.monotonic() + seconds * (1.0 if now is None else PATIENCE)

    def left(self) -> float:
        """Return the seconds left on the wall; raises TimeLimitReached when there are none."""
        left, computed = self._wall - time.monotonic(), self._clock.seconds()
        late = self._computed is not None and computed is not None and computed >= self._computed
        if left <= 0 or late:
            raise TimeLimitReached
        return left

    def spend(self, seconds: float) -> None:
        """Count what was computed elsewhere on the box's behalf."""
        if self._computed is not None:
            self._computed -= seconds
