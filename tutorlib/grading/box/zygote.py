"""The pristine process: it loads libraries, forks a locked-in child per submission, watches it.

Importing torch takes seconds, a fork of a process that has it milliseconds. This process reads no
learner's byte. It speaks with the grader over one socket whose messages are JSON:

    -> {"op": "load", "modules": [...]}  imported here, for the boxes to come
    <- {"loaded": true}
    -> {"op": "box", "limits": {...}} with three file descriptors (requests, replies, prints)
    <- {"started": number} with a pidfd of the child ... and when it is gone, for whatever reason:
    <- {"ended": number, "why": "..."}
    -> {"op": "kill", "box": number}

One submission is in a zygote at a time. When the socket closes, everything ends: the kernel closes
it when the grader is killed, too.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Sequence

from tutorlib.grading.box import curtain, folders, lock, watch
from tutorlib.grading.box.limits import Limits
from tutorlib.grading.box.system import PR_SET_DUMPABLE, PR_SET_PDEATHSIG, SIGKILL, prctl

WATCH = 0.05  # seconds between two looks at the child
MESSAGE = 65_536  # bytes, the longest on the socket


def main() -> None:
    """Serve the socket of a descriptor (first argument), in a way, for a slot, with modules."""
    control = socket.socket(fileno=int(sys.argv[1]))
    zygote = Zygote(control, sys.argv[2], int(sys.argv[3]))
    if sys.argv[2] == lock.WALLED:  # nothing can be written out here, /tmp neither
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        tempfile.tempdir = "/tmp"  # and modules that ask for a place at import are not to fail
    # torch makes this folder when some of it is imported; /tmp is there, and read-only out here
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", "/tmp")
    load([*sys.argv[4].split(","), "tutorlib.grading.box.inside"])
    prctl(PR_SET_DUMPABLE, 0)  # a process of the same user may not look into it
    zygote.send({"ready": os.getpid()})
    zygote.serve()


def load(names: list[str]) -> None:
    """Import what answers use, so that children need not; what is missing costs them an error."""
    import importlib

    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            traceback.print_exc()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.ones(2, 2).sum()  # it looks at the processor now: in a box it could not
    curtain.prepare()
    gc.collect()
    gc.freeze()  # a collection in a box would touch, and so copy, all that is loaded here


class Zygote:
    """The loop: start, watch and end one child after the other."""

    def __init__(self, control: socket.socket, way: str, slot: int):
        """Serve ``control``; ``slot`` tells this zygote's user id from others'."""
        self._control, self._way, self._slot = control, way, slot
        self._number, self._child, self._home = 0, 0, ""
        self._limits, self._base, self._why = Limits(), 0, ""
        self._folder, self._held = "", -1
        if way == lock.LANDLOCKED:
            folders.sweep()
            self._folder, self._held = folders.claim()

    def send(self, message: dict, handles: Sequence[int] = ()) -> None:
        """Tell the grader and hand it ``handles``; if it is gone, so is this process."""
        data = [json.dumps(message).encode()]
        try:
            if handles:
                socket.send_fds(self._control, data, handles)
            else:
                self._control.sendmsg(data)
        except OSError:
            self._end_all()

    def serve(self) -> None:
        """Handle messages until the socket closes."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            ready = poll.poll(1000 * WATCH if self._child else None)
            if self._child:
                self._watch()
            if ready:
                data, handles, _, _ = socket.recv_fds(self._control, MESSAGE, 3)
                if not data:
                    self._end_all()
                self._handle(json.loads(data), handles)

    def _handle(self, message: dict, handles: list[int]) -> None:
        """Do what one message asks."""
        if message["op"] == "kill":
            if message["box"] == self._number and self._child:
                self._stop("stopped by the grader")
                self._reap(block=True)
            return
        if self._child:
            self._stop("another box was opened")
            self._reap(block=True)
        if message["op"] == "load":
            load(message["modules"])
            self.send({"loaded": True})
        elif message["op"] == "box":
            self._start(Limits(**message["limits"]), handles)

    def _start(self, limits: Limits, handles: list[int]) -> None:
        """Fork a child for one submission."""
        self._number += 1
        self._limits, self._why = limits, ""
        uid = lock.spare_uid(self._slot)
        self._home = "/tmp"
        if self._way == lock.LANDLOCKED:
            self._home = tempfile.mkdtemp(dir=self._folder)
            if uid is not None:
                os.chown(self._home, uid, uid)
        own = lock.Lock(self._way, uid, self._home, limits)
        self._child = lock.fork(self._way)
        if self._child == 0:
            self._become_child(own, handles)
        for handle in handles:
            os.close(handle)
        self._base = watch.usage(self._child)[0]
        pidfd = watch.handle_of(self._child)
        self.send({"started": self._number}, pidfd)
        for handle in pidfd:
            os.close(handle)

    def _become_child(self, own: lock.Lock, handles: list[int]):
        """Lock in and serve, in the forked process; never returns."""
        code = 70
        try:
            self._control.close()
            if self._folder:
                os.close(self._held)
            os.setsid()
            from tutorlib.grading.box.inside import serve

            code = serve(own, handles)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _watch(self) -> None:
        """Look at the child once: gone, too large, too many threads, too much written?"""
        if self._reap():
            return
        resident, threads = watch.usage(self._child)
        if resident - self._base > self._limits.memory:
            self._stop(f"it used more than {self._limits.memory >> 20} MiB of memory")
        elif threads > self._limits.threads:
            self._stop(f"it started more than {self._limits.threads} threads")
        elif self._way == lock.LANDLOCKED and watch.folder_size(self._home) > self._limits.tmp:
            self._stop(f"it wrote more than {self._limits.tmp >> 20} MiB")

    def _stop(self, why: str) -> None:
        """Kill the child and, by its namespace or its process group, all that it may have."""
        self._why = self._why or why
        for kill in (lambda: os.kill(self._child, signal.SIGKILL),
                     lambda: self._way == lock.LANDLOCKED and os.killpg(self._child, 9)):
            try:
                kill()
            except ProcessLookupError:
                pass

    def _reap(self, block: bool = False) -> bool:
        """Tell the grader if the child has ended; return whether it has."""
        pid, status = os.waitpid(self._child, 0 if block else os.WNOHANG)
        if pid:
            self._finish(self._why or watch.ending(status))
        return bool(pid)

    def _finish(self, why: str) -> None:
        """Forget the child and what it left."""
        if self._folder:
            folders.remove(self._home)
        self._child = 0
        self.send({"ended": self._number, "why": why})

    def _end_all(self) -> None:
        """End this process and its child, and leave no folder."""
        if self._child:
            self._stop("")
            os.waitpid(self._child, 0)
        if self._folder:
            folders.remove(self._folder)
        os._exit(0)
