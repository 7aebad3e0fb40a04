"""Call a learner's code so that nothing it does harms the notebook.

It works on copies, its prints are kept back and cut, its random numbers and grad mode leave no
trace, every exception is caught, and a time limit ends it. This protects the lesson from mistakes,
not from malice: a learner's own kernel needs no defence against its owner.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import dataclasses
import io
import random
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutorlib.grading.box.errors import TimeLimitReached
from tutorlib.grading.tensors import is_generator, is_tensor, loaded_torch

if TYPE_CHECKING:
    import torch

_PACKAGE = str(Path(__file__).resolve().parent.parent)
PRINTED_LIMIT = 500  # characters of the learner's output that are kept


@dataclass(frozen=True)
class Call:
    """What came of one call of the learner's code."""

    value: Any = None
    error: BaseException | None = None
    where: str = ""  # the learner's own lines of the traceback
    changed: tuple[str, ...] = ()  # arguments that the call altered
    printed: str = ""
    seconds: float = 0.0

    @property
    def timed_out(self) -> bool:
        """Whether the time limit ended the call."""
        return isinstance(self.error, TimeLimitReached)


def call(function, args: tuple, kwargs: dict, seconds: float, copied: bool = True) -> Call:
    """Call ``function`` on copies of its arguments and return what happened; never raises.

    Without ``copied``, on the arguments themselves, and nobody looks whether they change.
    """
    given, given_kwargs = (copy_value(args), copy_value(kwargs)) if copied else (args, kwargs)
    printed = _BoundedText(PRINTED_LIMIT)
    value = error = None
    start = time.perf_counter()
    with unchanged_random_numbers(), unchanged_settings(), contextlib.redirect_stdout(printed):
        with contextlib.redirect_stderr(printed):
            try:
                with time_limit(seconds):
                    value = function(*given, **given_kwargs)
            except BaseException as problem:
                error = problem
    elapsed = time.perf_counter() - start
    pairs = zip(args, given, strict=True)
    changed = [f"argument {i + 1}" for i, pair in enumerate(pairs) if copied and not same(*pair)]
    changed += [f"`{k}`" for k in kwargs if copied and not same(kwargs[k], given_kwargs[k])]
    where = own_lines(error) if error is not None else ""
    return Call(value, error, where, tuple(changed), printed.text(), elapsed)


@contextlib.contextmanager
def time_limit(seconds: float):
    """Raise ``TimeLimitReached`` in the body after ``seconds``.

    Uses an interval timer on the main thread of a Unix process (it interrupts sleeping too and
    fires again if swallowed), elsewhere a watchdog thread.
    """
    on_main = threading.current_thread() is threading.main_thread()
    limit = _alarm if on_main and hasattr(signal, "setitimer") else _watchdog
    with limit(seconds):
        yield


@contextlib.contextmanager
def _alarm(seconds: float):
    """Limit the body by SIGALRM, and give the former handler and its timer back."""

    def ring(signum, frame):
        if not over:
            raise TimeLimitReached

    over, start = False, time.monotonic()
    rest, interval = signal.setitimer(signal.ITIMER_REAL, 0)  # no ring while handlers change
    former = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)
        yield
    finally:
        try:
            over = True
        finally:  # also when it rang in the line above
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)
            if rest:  # whose time ran out meanwhile rings at once
                rest = max(rest - (time.monotonic() - start), 1e-3)
                signal.setitimer(signal.ITIMER_REAL, rest, interval)


@contextlib.contextmanager
def _watchdog(seconds: float):
    """Limit the body by an exception that a second thread sets in this one."""
    done = threading.Event()
    target = ctypes.c_ulong(threading.get_ident())

    def watch():
        wait = seconds
        while not done.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(TimeLimitReached))
            wait = 0.2

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


_restored_later = threading.local()


@contextlib.contextmanager
def unchanged_random_numbers():
    """Give back the states of ``random`` and ``numpy.random`` afterwards.

    Within another one of this thread it does nothing: these states are large, and one judgement
    makes hundreds of calls.
    """
    if getattr(_restored_later, "open", False):
        yield
        return
    states = (random.getstate(), np.random.get_state())
    try:
        _restored_later.open = True
        yield
    finally:
        _restored_later.open = False
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextlib.contextmanager
def unchanged_settings():
    """Give back torch's random state, grad mode, default dtype and the recursion limit."""
    depth, torch = sys.getrecursionlimit(), loaded_torch()
    if torch is not None:
        state = torch.get_rng_state()
        grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    try:
        yield
    finally:
        sys.setrecursionlimit(depth)
        if torch is not None:
            torch.set_rng_state(state)
            torch.set_grad_enabled(grad)
            torch.set_default_dtype(dtype)
        elif torch := loaded_torch():  # since then: as it is when it is loaded
            torch.set_grad_enabled(True)
            torch.set_default_dtype(torch.float32)


class _BoundedText(io.TextIOBase):
    """A text stream that keeps the first ``limit`` characters and counts the rest."""

    def __init__(self, limit: int):
        self._limit, self._parts, self._kept, self._dropped = limit, [], 0, 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = max(0, self._limit - self._kept)
        self._parts.append(text[:room])
        self._kept += min(room, len(text))
        self._dropped += max(0, len(text) - room)
        return len(text)

    def text(self) -> str:
        kept = "".join(self._parts)
        return kept + (f"... ({self._dropped:,} more characters)" if self._dropped else "")


def copy_value(value):
    """Return a deep copy of ``value``; generators keep their state, odd objects stay themselves."""
    if is_generator(value):
        twin = type(value)(device=value.device)
        twin.set_state(value.get_state())
        return twin
    if is_tensor(value):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if type(value) in (list, tuple):
        return type(value)(copy_value(item) for item in value)
    if type(value) is dict:
        return {key: copy_value(item) for key, item in value.items()}
    if _is_plain_dataclass(value):  # as below, but tensors are copied much faster
        twin = copy.copy(value)
        vars(twin).update({key: copy_value(item) for key, item in vars(value).items()})
        return twin
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def _is_plain_dataclass(value) -> bool:
    """Whether a value is a dataclass that is no more than its attributes."""
    kind = type(value)
    own_ways = ("__copy__", "__deepcopy__", "__setstate__")
    return (dataclasses.is_dataclass(kind) and hasattr(value, "__dict__")
            and kind.__reduce_ex__ is object.__reduce_ex__
            and not any(hasattr(kind, name) for name in own_ways))


def same(before, after) -> bool:
    """Whether two values of known types are equal; unknown objects of one type count as the same.

    >>> same([1.0, float("nan")], [1.0, float("nan")]), same([1], ["1"])
    (True, False)
    """
    if is_tensor(before) and is_tensor(after):  # a Parameter's copy
        return _same_tensors(before.detach(), after.detach())  # is a plain tensor
    if type(before) is not type(after):
        return False
    if isinstance(before, np.ndarray):
        return before.dtype == after.dtype and bool(
            np.array_equal(before, after, equal_nan=before.dtype.kind == "f"))
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(same, before, after))
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(same(before[k], after[k]) for k in before)
    if dataclasses.is_dataclass(before):
        return same(vars(before), vars(after))
    if isinstance(before, int | float | str | complex | bytes | set):
        return before == after or before != before
    return True


def _same_tensors(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether two tensors agree in shape, type and every entry; NaN agrees with NaN."""
    import torch

    if before.shape != after.shape or before.dtype != after.dtype:
        return False
    if before.layout == torch.strided and torch.equal(before, after):
        return True
    if before.layout != torch.strided:
        before, after = before.to_dense(), after.to_dense()
    return bool(((before == after) | ((before != before) & (after != after))).all())


def own_lines(error: BaseException) -> str:
    """Return the learner's lines of a traceback: none of this package's, none of a library's.

    An error that came out of a box brings its lines along.
    """
    if isinstance(brought := getattr(error, "learner_lines", None), str):
        return brought
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        library = frame.filename.startswith(_PACKAGE) and "exercises" not in frame.filename
        if library or "site-packages" in frame.filename or "lib/python" in frame.filename:
            continue
        lines.append(f"line {frame.lineno}, in {frame.name}: {(frame.line or '').strip()}")
    return "\n".join(lines[-5:])
