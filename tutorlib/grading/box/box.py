"""A box, as the grader holds it: load a learner's cells, ask for their answers, close it.

>>> from tutorlib.grading.box import Cell, open_box
>>> with open_box() as box:  # doctest: +SKIP
...     box.load([Cell("def double(x): return 2 * x")])
...     box.answer("double")(21)
[None]
42
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tutorlib.grading.box import proxy, request
from tutorlib.grading.box.cells import Cell
from tutorlib.grading.box.clock import Deadline
from tutorlib.grading.box.errors import BoxDiedError, BoxError
from tutorlib.grading.box.host import Host
from tutorlib.grading.box.limits import Limits
from tutorlib.grading.box.pipes import Pipes
from tutorlib.grading.box.unwire import read_frame
from tutorlib.grading.box.wire import WireError
from tutorlib.grading.guard import TimeLimitReached

if TYPE_CHECKING:
    import torch

MAX_CALLED = 2 * 2**20  # bytes that a box may hand to a function which stayed here


class Box:
    """One submission's process. After its end every call raises ``BoxDiedError`` with the reason.

    A call that runs out of time ends the box, whatever the code in it ignores. Time is what the
    box computes; by the wall it may be ``clock.PATIENCE`` times as long.
    """

    def __init__(self, host: Host, limits: Limits):
        """Fork it off ``host``; raises BoxError if it cannot lock itself in."""
        self._host, self._limits = host, limits
        self._pipes = Pipes(limits.printed)
        self._dead, self._count, self._ended = "", 0, False
        try:
            self._number = host.fork(limits, self._pipes.theirs)
        except BoxError:
            self._pipes.close()
            raise
        finally:
            self._pipes.close_theirs()
        first = self._exchange(None, 30.0, lambda frame: frame)
        if first.get("kind") != "ready":
            self._end("it could not lock itself in")
            raise BoxError(f"the box could not be locked: {first.get('message')!s:.500}")

    def __enter__(self) -> Box:
        """Return itself."""
        return self

    def __exit__(self, *error) -> None:
        """Close it."""
        self.close()

    @property
    def alive(self) -> bool:
        """Whether answers can still be asked for."""
        return not self._dead

    @property
    def host_alive(self) -> bool:
        """Whether the process that made it runs, which the code in it cannot end."""
        return self._host.alive

    @property
    def why(self) -> str:
        """Why it ended, empty while it lives."""
        return self._dead

    @property
    def computed(self) -> float | None:
        """Seconds of processor that it has used; None when it has ended or nobody can tell."""
        return self._host.clock.seconds() if self.alive else None

    @property
    def printed(self) -> str:
        """What the code has printed, cut."""
        return self._pipes.printed()

    def load(self, cells: Sequence[Cell], forbidden: Sequence[str] = ()) -> list[str | None]:
        """Run the cells in order; return for each what it raised (with its lines), or None.

        ``forbidden`` names functions of this package that are to be out of reach.
        """
        texts = [(cell.source, cell.name, cell.imports_only) for cell in cells]
        reply = self.ask("load", self._limits.load_seconds, cells=texts, forbidden=list(forbidden))
        found = reply.get("cells")
        if type(found) is not list or len(found) != len(texts):
            self._end("it sent what is no answer")
            raise BoxDiedError(self._dead)
        return [None if one is None else proxy.in_words(one) for one in found]

    def answer(self, name: str, seconds: float | None = None) -> Any:
        """Return an answer: a function as a proxy whose calls run in the box, else the value.

        None when there is no such name. ``seconds`` is the limit of each call.
        """
        limit = self._limits.call_seconds if seconds is None else seconds
        reply = self.ask("value", limit, name=name)
        if reply.get("kind") == "function":
            return proxy.Proxy(self, name, limit)
        return reply.get("value")

    def ask(self, op: str, seconds: float, **fields: Any) -> dict:
        """Send one request and return the reply; raises what the learner's code raised."""
        self._check_alive()
        callables: list[Callable] = []
        data, sender = request.pack({"op": op, **fields}, callables)
        self._count += 1  # on both sides
        number = self._count
        leaves = [t for t in sender.tensors if t.requires_grad]

        def attach(value: torch.Tensor, output: int) -> torch.Tensor:
            slope = proxy.slopes(self, number, output, seconds)
            return proxy.through(slope, value, leaves) if leaves else value.requires_grad_()

        def handle(frame: dict) -> dict | None:
            if frame.get("kind") == "callback":
                return self._pipes.send(self._called_back(frame, callables), self._deadline)
            if frame.get("id") != number or frame.get("kind") not in _KINDS:
                raise WireError("a reply to another question")
            return frame

        start = len(self.printed)
        reply = self._exchange(data, seconds, handle, attach)
        if op == "call":  # whose prints the caller takes in; others must not reach a terminal
            sys.stdout.write(self.printed[start:])
        if reply["kind"] == "raised":
            raise proxy.rebuilt(reply)
        return reply

    def _exchange(self, data: bytes | None, seconds: float, handle: Callable[[dict], dict | None],
                  attach: Callable | None = None) -> dict:
        """Send a request and handle frames until one is the reply; any trouble ends the box."""
        self._deadline = Deadline(self._host.clock, seconds)
        try:
            if data is not None:
                self._pipes.send(data, self._deadline)
            while True:
                self._taken = 0
                frame = read_frame(self._take, attach)
                if type(frame) is not dict:
                    raise WireError("a frame that is no message")
                reply = handle(frame)
                if reply is not None:
                    self._pipes.drain()
                    return reply
        except WireError as problem:
            self._end(f"it sent what is no answer ({problem})")
        except EOFError:
            self._end(None)
        except BaseException as problem:
            self._end("a call ran out of time" if isinstance(problem, TimeLimitReached)
                      else "a call was interrupted")
            raise
        raise BoxDiedError(self._dead)

    def _take(self, count: int) -> bytes:
        """Read so many bytes of a frame, and count them."""
        self._taken += count
        return self._pipes.read(count, self._deadline)

    def _called_back(self, frame: dict, callables: list[Callable]) -> bytes:
        """Call what stayed here, with data from the box; return the packed outcome.

        What that computes counts as the box's own.
        """
        number, args, kwargs = frame.get("number"), frame.get("args"), frame.get("kwargs")
        if (type(number) is not int or not 0 <= number < len(callables) or type(args) is not list
                or type(kwargs) is not dict or not all(type(key) is str for key in kwargs)):
            raise WireError("a call of something that was not given")
        if self._taken > MAX_CALLED:
            raise WireError(f"a call with {self._taken:,} bytes of data")
        begun = time.thread_time()
        try:
            outcome = {"value": callables[number](*args, **kwargs)}
        except Exception as problem:
            kind = type(problem) if type(problem).__module__ == "builtins" else RuntimeError
            made = proxy.remade(kind, [str(problem)[:500]])
            outcome = {"error": (type(made), made.args)}  # Dask changes how errors are pickled
        self._deadline.spend(time.thread_time() - begun)
        return request.pack(outcome, callables)[0]

    def _check_alive(self) -> None:
        if self._dead:
            raise BoxDiedError(f"the box has ended: {self._dead}")

    def _end(self, why: str | None) -> None:
        """End the process; ``None``: it ended by itself, the host knows why."""
        if self._dead:
            return
        self._dead = why or "it closed its connection"
        found = self._host.why(self._number) if why is None else self._host.end(self._number)
        if why is None:
            self._dead = found
        self._pipes.drain()
        self._pipes.close()

    def close(self) -> None:
        """End the box; what was printed and why it ended can still be read."""
        self._end("it was closed")


_KINDS = ("loaded", "function", "value", "raised")
