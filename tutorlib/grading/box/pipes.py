"""The three pipes to a box, as the grader holds them: requests, replies, and what is printed."""

from __future__ import annotations

import os
import select
import struct

from tutorlib.grading.box.clock import Deadline

_SLICE = 0.1  # seconds of one wait, so that an interrupt from another thread is seen


class Pipes:
    """Requests in, replies out, and what is printed, which is kept up to a limit."""

    def __init__(self, keep: int):
        """Make the pipes; at most ``keep`` characters of prints are kept."""
        (self._their_in, self._in), (self._out, self._their_out), (
            self._prints, self._their_prints) = os.pipe(), os.pipe(), os.pipe()
        for handle in (self._in, self._out, self._prints):
            os.set_blocking(handle, False)
        self.theirs = [self._their_in, self._their_out, self._their_prints]
        self._keep, self._kept, self._dropped = keep, bytearray(), 0
        self._ahead = bytearray()  # what was read of replies and not yet asked for
        self._open = True
        self._printing = True

    def close_theirs(self) -> None:
        """Close the box's ends here, so that its end is seen."""
        for handle in self.theirs:
            os.close(handle)

    def close(self) -> None:
        """Close our ends."""
        if self._open:
            self._open = False
            for handle in (self._in, self._out, self._prints):
                os.close(handle)

    def printed(self) -> str:
        """Return what was printed, and how much more there was."""
        more = f"... ({self._dropped:,} more bytes)" if self._dropped else ""
        return bytes(self._kept).decode("utf-8", "replace") + more

    def drain(self) -> None:
        """Take what is printed without waiting; at most a little, or a flood would never end."""
        for _ in range(64):
            if not (self._open and self._printing and self._take_prints()):
                return

    def _take_prints(self) -> bool:
        """Read once from the prints; whether there was anything."""
        try:
            part = os.read(self._prints, 65_536)
        except BlockingIOError:
            return False
        self._printing = bool(part)
        room = max(0, self._keep - len(self._kept))
        self._kept += part[:room]
        self._dropped += len(part[room:])
        return bool(part)

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Write a request with its length; raises TimeLimitReached at the deadline."""
        left = memoryview(struct.pack("<Q", len(data)) + data)
        deadline.left()  # a box may have asked for a thousand things at once
        while left:
            try:
                left = left[os.write(self._in, left[:65_536]):]
            except BlockingIOError:
                self._wait(self._in, select.POLLOUT, deadline)
            except BrokenPipeError:
                raise EOFError from None

    def read(self, count: int, deadline: Deadline) -> bytes:
        """Read exactly ``count`` bytes of replies; EOFError at their end."""
        while len(self._ahead) < count:
            self._wait(self._out, select.POLLIN, deadline)
            part = os.read(self._out, min(max(count - len(self._ahead), 65_536), 1 << 20))
            if not part:
                raise EOFError
            self._ahead += part
        data = bytes(self._ahead[:count])
        del self._ahead[:count]
        return data

    def _wait(self, handle: int, what: int, deadline: Deadline) -> None:
        """Wait until ``handle`` is ready, taking prints meanwhile."""
        poll = select.poll()
        poll.register(handle, what)
        if self._printing:
            poll.register(self._prints, select.POLLIN)
        while True:
            ready = dict(poll.poll(1000 * min(deadline.left(), _SLICE)))
            if self._prints in ready and not self._take_prints() and not self._printing:
                poll.unregister(self._prints)
            if handle in ready:
                return
