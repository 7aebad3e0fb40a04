"""Expected values, kept by what they were computed from, so that a cohort pays for each once.

The cases of an exercise are drawn anew for every submission: nothing that one answer did to its
inputs can reach the next. What the oracle, or a known mistake, made of equal inputs is kept, as a
copy, under a digest of these inputs; what cannot be copied or digested whole is computed anew.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from tutorlib.grading.box.wire import raw_bytes
from tutorlib.grading.guard import copy_value
from tutorlib.grading.tensors import is_generator, is_tensor

KEPT = 4096  # values, the most recently used ones
_kept: OrderedDict[tuple[Callable, bytes], Any] = OrderedDict()


def expected_value(oracle: Callable, args: tuple, kwargs: dict) -> Any:
    """Return ``oracle(*args, **kwargs)``, computed on copies, or a copy of what it was before.

    >>> expected_value(sum, ([1, 2],), {})
    3
    """
    return kept(oracle, args, kwargs, lambda: oracle(*copy_value(args), **copy_value(kwargs)))


def kept(function: Callable, args: tuple, kwargs: dict, compute: Callable[[], Any],
         lasting: Callable[[Any], bool] = lambda value: True) -> Any:
    """Return ``compute()``, or a copy of what it was for the same function and equal inputs.

    What is not ``lasting`` is computed again the next time.
    """
    digest = _digest(args, kwargs)
    key = (function, digest)
    if digest is not None and key in _kept:
        _kept.move_to_end(key)
        return copy_value(_kept[key])
    value = compute()
    if digest is not None and _copies_whole(value) and lasting(value):
        _kept[key] = copy_value(value)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return value


class _Writer(pickle.Pickler):
    """Writes values down for a digest: tensors and generators by their contents."""

    def reducer_override(self, value: Any) -> Any:
        """Say how to write ``value`` where pickle's own way may differ between equal values."""
        if is_tensor(value):
            kind, about = type(value).__name__, (str(value.dtype), tuple(value.shape))
            return _Writer, (kind, *about, value.requires_grad, raw_bytes(value))
        if is_generator(value):
            return _Writer, (value.get_state().numpy().tobytes(),)
        return NotImplemented


def _digest(args: tuple, kwargs: dict) -> bytes | None:
    """Return a digest of all that a call is given; None where something cannot be written down."""
    file = io.BytesIO()
    try:
        _Writer(file, protocol=5).dump((args, kwargs))
    except Exception:  # a function without a name, for one
        return None
    return hashlib.sha256(file.getbuffer()).digest()


def _copies_whole(value: Any) -> bool:
    """Whether a copy of a value has all that it has and shares nothing with it."""
    if is_tensor(value):
        import torch

        return type(value) is torch.Tensor and not value.requires_grad
    if isinstance(value, np.ndarray):
        return type(value) is np.ndarray and value.dtype.kind in "biufcU"
    if type(value) in (list, tuple):
        return all(map(_copies_whole, value))
    if type(value) is dict:
        return all(map(_copies_whole, (*value, *value.values())))
    return isinstance(value, bool | int | float | complex | str | type(None))
