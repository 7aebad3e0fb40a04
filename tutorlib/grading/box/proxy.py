"""An answer that lives in a box: called like a function, it gives back values and errors.

The grader's judge uses it as it uses a function in the notebook.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tutorlib import errors
from tutorlib.grading.box.errors import BoxError
from tutorlib.grading.tensors import is_tensor, loaded_torch

if TYPE_CHECKING:
    import torch

    from tutorlib.grading.box.box import Box


class Proxy:
    """A learner's function. Arguments are copied to the box, and changes to them copied back."""

    def __init__(self, box: Box, name: str, seconds: float):
        """Stand for the function ``name`` in ``box``; a call may take ``seconds``."""
        self._box, self.__name__, self._seconds = box, name, seconds

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it there. Raises its errors, TimeLimitReached, or BoxDiedError."""
        reply = self._box.ask("call", self._seconds, name=self.__name__, args=args, kwargs=kwargs)
        for place, new in _changes(reply.get("changed"), len(args), kwargs):
            write_back(args[place] if type(place) is int else kwargs[place], new)
        return reply.get("value")

    def __deepcopy__(self, memo: dict) -> Proxy:
        """Return itself, as a function does."""
        return self

    def __repr__(self) -> str:
        """Name the function."""
        return f"<{self.__name__} in a box>"


def _changes(changed: Any, count: int, kwargs: dict) -> list[tuple]:
    """Return the well-formed (place, new value) pairs of a reply."""
    if type(changed) is not list:
        return []
    pairs = [pair for pair in changed if type(pair) is tuple and len(pair) == 2]
    return [(place, new) for place, new in pairs
            if (type(place) is int and 0 <= place < count)
            or (type(place) is str and place in kwargs)]


def write_back(old: Any, new: Any) -> None:
    """Make ``old`` hold what its twin in the box holds, as far as it can be changed at all."""
    if is_tensor(old) and is_tensor(new):
        old.data = new.detach().to(old.dtype)
    elif isinstance(old, np.ndarray) and isinstance(new, np.ndarray) and old.shape == new.shape:
        old[...] = new.astype(old.dtype)
    elif type(old) is list and type(new) is list:
        old[:] = new
    elif type(old) is dict and type(new) is dict:
        old.clear()
        old.update(new)
    elif type(old) is tuple and type(new) is tuple:
        for before, after in zip(old, new, strict=False):
            write_back(before, after)
    elif dataclasses.is_dataclass(old) and type(new) is dict:
        for field in dataclasses.fields(old):
            if field.name in new:
                write_back(getattr(old, field.name), new[field.name])


def through(slope: Callable, value: torch.Tensor, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return ``value``, a differentiable function of ``inputs`` in a box.

    ``slope(gradient)`` asks there for one gradient, or None, per input, when it is needed.
    """
    return _through().apply(slope, value, *inputs)


@functools.cache
def _through() -> type[torch.autograd.Function]:
    """Return the function of torch's that does it."""
    import torch
    from torch.autograd.function import once_differentiable

    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx, slope, value, *inputs):
            ctx.slope, ctx.like = slope, [(x.shape, x.dtype) for x in inputs]
            return value.clone()

        @staticmethod
        @once_differentiable
        def backward(ctx, gradient):
            found = ctx.slope(gradient)
            if type(found) is not list or len(found) != len(ctx.like):
                raise BoxError("the box sent gradients for another number of inputs")
            for slope, (shape, dtype) in zip(found, ctx.like, strict=True):
                if slope is not None and not (is_tensor(slope) and slope.shape == shape
                                              and slope.dtype == dtype):
                    raise BoxError("the box sent a gradient of another shape or type than its "
                                   "input")
            return (None, None, *found)

    return Through


def slopes(box: Box, graph: int, output: int, seconds: float):
    """Return the function that asks ``box`` for a derivative of an earlier call's output."""
    def ask(gradient: torch.Tensor) -> Any:
        return box.ask("slope", seconds, graph=graph, output=output, slope=gradient).get("value")

    return ask


# ---- errors ------------------------------------------------------------------------------------

class LearnerError(Exception):
    """An exception of a kind that only the box knows; its subclass carries the kind's name."""


def _known_errors() -> dict[str, type[Exception]]:
    """Return the exceptions that are raised again as themselves, by name.

    Not those that end an iteration: ``all(map(holds, map(answer, cases)))`` would be true of none.
    """
    torch = loaded_torch()
    theirs = [torch.linalg.LinAlgError, torch.OutOfMemoryError] if torch else []
    kinds = [*vars(builtins).values(), *vars(errors).values(), np.linalg.LinAlgError, *theirs]
    return {kind.__name__: kind for kind in kinds
            if isinstance(kind, type) and issubclass(kind, Exception)
            and not issubclass(kind, StopIteration | StopAsyncIteration)}


def rebuilt(reply: dict) -> Exception:
    """Return the exception that a reply describes, with the learner's own lines attached."""
    name, args = reply.get("error"), reply.get("args")
    name = name if type(name) is str and re.fullmatch(r"[A-Za-z_]\w{0,79}", name) else "Error"
    args = args[:3] if type(args) is list else []
    if not all(type(a) in (bool, int, float, str, type(None)) for a in args):
        args = []
    kind = _known_errors().get(name) or type(name, (LearnerError,), {})
    error = remade(kind, [a[:500] if type(a) is str else a for a in args])
    error.learner_lines = _text(reply.get("lines"), 1500)
    return error


def remade(kind: type[Exception], args: list) -> Exception:
    """Return ``kind(*args)``, or a general error with the same words where that is impossible."""
    try:
        return kind(*args)
    except Exception:
        return LearnerError(f"{kind.__name__}: " + " ".join(map(str, args)))


def in_words(described: Any) -> str:
    """Return in words what a cell raised."""
    if type(described) is not dict:
        return "the cell could not be run"
    lines = _text(described.get("lines"), 1500)
    head = f"{_text(described.get('error'), 80)}: {_text(described.get('words'), 500)}"
    return head + (f"\n{lines}" if lines else "")


def _text(value: Any, limit: int) -> str:
    """Return a text from the box, cut."""
    return value[:limit] if type(value) is str else ""
