"""What runs in a box: takes requests, runs a learner's code, answers with frames of plain values.

Everything here is within the learner's reach once their code has run; nothing outside believes
more of it than that it is data.
"""

from __future__ import annotations

import io
import linecache
import os
import struct
import sys
import types
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from tutorlib.grading import guard
from tutorlib.grading.box import cells, curtain, lock, request, wire

if TYPE_CHECKING:
    import torch

GRAPHS = 8  # computations of gradients that are kept for questions about them


def serve(own: lock.Lock, handles: list[int]) -> int:
    """Lock in, then answer requests until they end; returns the exit code."""
    requests, replies, prints = handles
    nothing = os.open("/dev/null", os.O_RDONLY)
    for here, there in ((nothing, 0), (prints, 1), (prints, 2)):
        os.dup2(here, there)
    os.close(nothing)
    os.close(prints)
    channel = _Channel(requests, replies)
    try:
        lock.lock_in(own)
    except Exception as problem:
        channel.send({"kind": "failed", "message": f"{type(problem).__name__}: {problem}"[:500]})
        return 71
    sys.stdin = io.StringIO()
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, errors="replace", closefd=False)
    channel.send({"kind": "ready"})
    Session(channel).run()
    return 0


class _Channel:
    """The two pipes to the grader."""

    def __init__(self, requests: int, replies: int):
        self._requests, self._replies = requests, replies

    def receive(self) -> bytes | None:
        """Return the next request, or None when there will be no more."""
        head = self._read(8)
        return None if head is None else self._read(struct.unpack("<Q", head)[0])

    def _read(self, count: int) -> bytes | None:
        parts, left = [], count
        while left:
            part = os.read(self._requests, min(left, 1 << 20))
            if not part:
                return None
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def send(self, message: dict, grad=None) -> None:
        """Send one frame."""
        data = memoryview(wire.encode(message, grad))
        while data:
            data = data[os.write(self._replies, data):]


class Session:
    """One submission: its names, and the requests about them."""

    def __init__(self, channel: _Channel):
        """Answer on ``channel``."""
        self._channel = channel
        self._names: dict[str, Any] = {}
        self._graphs: OrderedDict[int, tuple[dict, list]] = OrderedDict()

    def run(self) -> None:
        """Answer requests until they end."""
        ways = {"load": self._load, "value": self._value, "call": self._call, "slope": self._slope}
        number = 0  # requests are counted on both sides
        while (data := self._channel.receive()) is not None:
            number += 1
            inputs: dict[int, torch.Tensor] = {}
            try:
                message, inputs = request.unpack(data, self._ask)
                reply = ways[message["op"]](message, inputs, data)
            except BaseException as problem:
                reply = {"kind": "raised", **described(problem)}
            self._reply(number, reply, inputs)

    def _reply(self, number: int, reply: dict, inputs: dict) -> None:
        """Send a reply; a value of a type that cannot be sent becomes an error that says so."""
        outputs: list[torch.Tensor] = []

        def grad(tensor: torch.Tensor) -> int:
            outputs.append(tensor)
            return len(outputs) - 1

        flush()
        try:
            self._channel.send({"id": number, **reply}, grad if inputs else lambda tensor: 0)
        except wire.UnsendableError as problem:
            self._channel.send({"id": number, "kind": "raised", **described(problem)})
        if outputs:
            self._graphs[number] = (inputs, outputs)
            while len(self._graphs) > GRAPHS:
                self._graphs.popitem(last=False)

    def _ask(self, number: int, args: tuple, kwargs: dict) -> Any:
        """Have the grader call argument ``number``; return its value or raise its error."""
        self._channel.send({"kind": "callback", "number": number, "args": list(args),
                            "kwargs": dict(kwargs)})
        data = self._channel.receive()
        if data is None:
            os._exit(0)
        answer, _ = request.unpack(data, self._ask)
        if "error" in answer:
            kind, words = answer["error"]
            raise kind(*words)
        return answer["value"]

    def _load(self, message: dict, inputs: dict, data: bytes) -> dict:
        """Run the cells one after the other; a broken one does not stop the next."""
        curtain.draw(message["forbidden"])
        self._names = _namespace()
        return {"kind": "loaded", "cells": [self._run_cell(cells.Cell(*cell), number)
                                            for number, cell in enumerate(message["cells"])]}

    def _run_cell(self, cell: cells.Cell, number: int) -> dict | None:
        """Run one cell; return what it raised, or None."""
        source = cells.plain_python(cell.source)
        parts = cells.imports_of(source) if cell.imports_only else [source]
        problem = None
        for part in parts:
            filename = f"<{cell.name or f'cell {number + 1}'}>"
            linecache.cache[filename] = (len(part), None, part.splitlines(True), filename)
            try:
                exec(compile(part, filename, "exec", dont_inherit=True), self._names)
            except BaseException as error:
                problem = problem or described(error)
        return problem

    def _value(self, message: dict, inputs: dict, data: bytes) -> dict:
        """Say whether a name is there, a function, or a value to be sent."""
        value = self._names.get(message["name"], None)
        if callable(value):
            return {"kind": "function"}
        return {"kind": "value", "value": value}

    def _call(self, message: dict, inputs: dict, data: bytes) -> dict:
        """Call an answer; report its value and the arguments that it altered."""
        function, args, kwargs = self._names[message["name"]], message["args"], message["kwargs"]
        with guard.unchanged_settings():
            value = function(*args, **kwargs)
        before, _ = request.unpack(data, self._ask)
        places = [(i, old, new) for i, (old, new) in enumerate(zip(
            before["args"], args, strict=True))]
        places += [(key, before["kwargs"][key], kwargs[key]) for key in kwargs]
        changed = [(place, _plain(new)) for place, old, new in places if not guard.same(old, new)]
        return {"kind": "value", "value": value, "changed": changed}

    def _slope(self, message: dict, inputs: dict, data: bytes) -> dict:
        """Return the product of a gradient with the derivative of an earlier output."""
        import torch

        inputs, outputs = self._graphs[message["graph"]]
        slopes = torch.autograd.grad(outputs[message["output"]], list(inputs.values()),
                                     message["slope"], retain_graph=True, allow_unused=True)
        return {"kind": "value", "value": list(slopes)}


def _namespace() -> dict[str, Any]:
    """Return the names a notebook has: a module, so that dataclasses and pickling work."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    module.__dict__["display"] = lambda *args, **kwargs: None
    module.__dict__["get_ipython"] = lambda: None
    return module.__dict__


def _plain(value: Any) -> Any:
    """Return an altered argument in types that can be sent: a dataclass as its fields."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    return value


def flush() -> None:
    """Push what was printed into the pipe; whatever a learner did to the stream is no matter."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            continue


def described(error: BaseException) -> dict:
    """Return an exception as plain values: kind, words, arguments if plain, the learner's lines."""
    try:
        words = str(error)[:500]
    except BaseException:
        words = "(its message cannot be read)"
    words = _clean(words)
    args = [_clean(a) if type(a) is str else a for a in error.args
            if type(a) in (bool, int, float, type(None)) or (type(a) is str and len(a) <= 500)]
    if not len(args) == len(error.args) <= 3:
        args = [words]
    lines = guard.own_lines(error) or _syntax_place(error)
    kind = TypeError if isinstance(error, wire.UnsendableError) else type(error)
    return {"error": _clean(kind.__name__[:80]), "words": words, "args": args,
            "lines": _clean(lines[:1500])}


def _clean(text: str) -> str:
    """Return a text that UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()


def _syntax_place(error: BaseException) -> str:
    """Return where a cell is no Python."""
    if not isinstance(error, SyntaxError) or error.text is None:
        return ""
    return f"line {error.lineno}: {error.text.strip()}"
