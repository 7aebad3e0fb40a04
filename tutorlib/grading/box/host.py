"""The grader's side of a zygote: start it, have it fork boxes one after the other, end it."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence

from tutorlib.grading.box import paths, preload
from tutorlib.grading.box.clock import Clock, clock_of
from tutorlib.grading.box.errors import BoxError
from tutorlib.grading.box.limits import Limits

START_SECONDS = 300.0  # importing torch on a slow, busy machine
ANSWER_SECONDS = 20.0  # for a fork, or an end
_OWN = ("tutorlib.grading.box.zygote", "tutorlib.grading.box.inside")  # the process's own modules
_slots = itertools.count()
# A process that dies with its parent dies with the *thread* that started it: this one stays.
_launcher = concurrent.futures.ThreadPoolExecutor(1, "tutorlib-box-launcher")


def new_slot() -> int:
    """Return a number that no other host on this machine has, in whichever process it is."""
    return os.getpid() * 64 + next(_slots) % 64


class Host:
    """A running zygote. It holds one box at a time; use one host per thread."""

    def __init__(self, command, way: str, modules: Sequence[str] = preload.NEEDED):
        """Start it; ``command(inner)`` wraps the command line of the inner process.

        ``modules`` are imported before any box is made; ``wait`` until they are.
        """
        preload.keep_bytecode((*modules, *_OWN))
        self._loaded = set(modules)
        self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        inner = paths.python("tutorlib.grading.box.zygote", str(other.fileno()), way,
                             str(new_slot()), ",".join(modules))
        self._errors = tempfile.TemporaryFile()
        self.way = way
        self._ended: dict[int, str] = {}
        self._started, self._ready = 0, False
        self._pidfd: list[int] = []
        self.clock = Clock()  # of the box that was forked last
        try:
            self._process = _launcher.submit(
                subprocess.Popen, command(inner), pass_fds=[other.fileno()], cwd="/",
                stdin=subprocess.DEVNULL, stdout=self._errors, stderr=self._errors,
                env=paths.environment(), start_new_session=True).result()
        except OSError as problem:
            self._control.close()
            raise BoxError(f"{command(inner)[0]} could not be started: {problem}") from None
        finally:
            other.close()

    def wait(self) -> None:
        """Wait until it is ready to make boxes; raises BoxError, and ends it, if it is not."""
        if not self._ready:
            try:
                self._wait(lambda message: "ready" in message, START_SECONDS)
            except BoxError:
                self.close()
                raise
            self._ready = True

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def load(self, modules: Sequence[str]) -> None:
        """Have it import modules for the boxes to come, unless it has them; no box may be open."""
        missing = [name for name in modules if name not in self._loaded]
        if not missing:
            return
        preload.keep_bytecode(missing)
        try:
            self._control.send(json.dumps({"op": "load", "modules": missing}).encode())
        except OSError as problem:
            raise BoxError(f"the process that makes boxes is gone: {problem}") from None
        self._wait(lambda message: "loaded" in message, START_SECONDS)
        self._loaded.update(missing)

    def fork(self, limits: Limits, handles: list[int]) -> int:
        """Have it fork a box that serves ``handles`` (requests, replies, prints); its number."""
        message = {"op": "box", "limits": dataclasses.asdict(limits)}
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], handles)
        except OSError as problem:
            raise BoxError(f"the process that makes boxes is gone: {problem}") from None
        self._started += 1
        self._wait(lambda m: m.get("started") == self._started, ANSWER_SECONDS)
        self.clock = clock_of(self._pidfd[0]) if self._pidfd else Clock()
        return self._started

    def end(self, number: int) -> str:
        """Kill a box if it still lives; return why it ended."""
        if number not in self._ended:
            try:
                self._control.send(json.dumps({"op": "kill", "box": number}).encode())
                self._wait(lambda message: number in self._ended, ANSWER_SECONDS)
            except (OSError, BoxError):
                self.close()  # an end that is not confirmed is forced
        return self._ended.get(number, "stopped by the grader")

    def why(self, number: int) -> str:
        """Wait a moment for a box that closed its pipes to end; return why it did."""
        try:
            self._wait(lambda message: number in self._ended, 2.0)
        except BoxError:
            pass
        return self.end(number)

    def _wait(self, found, seconds: float) -> None:
        """Take messages until ``found`` says that one is it."""
        deadline = time.monotonic() + seconds
        if found({}):
            return
        while True:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._control], [], [], max(0.0, min(left, 1.0)))
            data = self._receive() if ready else b""
            if ready and not data:
                raise BoxError("the process that makes boxes ended" + self._last_words())
            if ready:
                message = json.loads(data)
                if "ended" in message:
                    self._ended[message["ended"]] = str(message["why"])
                if found(message):
                    return
            elif left <= 0:
                raise BoxError(f"no answer within {seconds:g} s from the process that makes boxes"
                               + self._last_words())

    def _receive(self) -> bytes:
        """Return one message, and keep the box's pidfd if it brings one."""
        data, handles, _, _ = socket.recv_fds(self._control, 65_536, 1)
        if handles:
            self._forget()
            self._pidfd = list(handles)
        return data

    def _forget(self) -> None:
        """Close what was kept of the last box."""
        while self._pidfd:
            os.close(self._pidfd.pop())

    def _last_words(self) -> str:
        """Return the end of what the process printed."""
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            pass
        self._errors.seek(0)
        words = self._errors.read()[-1500:].decode("utf-8", "replace").strip()
        return f": {words}" if words else ""

    def close(self) -> None:
        """End it and its box: first by its own hand, then by force."""
        self._control.close()
        try:
            self._process.wait(5.0)  # it may have files to remove
        except subprocess.TimeoutExpired:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait(10.0)
        self._errors.close()
