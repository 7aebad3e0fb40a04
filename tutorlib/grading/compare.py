"""Compare an answer's value with the expected one, and say where they differ in words.

Only values of known types are looked at: numbers, strings, lists, tuples, dicts, numpy arrays and
tensors. Nothing of the learner's own classes is ever asked whether it is equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tutorlib.grading.tensors import is_tensor

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Difference:
    """Where an answer departs from the expected value."""

    kind: str  # "type", "shape", "dtype" or "value"
    message: str
    path: str = ""  # where inside a tuple, list or dict
    index: tuple[int, ...] | None = None  # first differing entry of an array


def compare(got: Any, want: Any, rtol: float, atol: float, path: str = "") -> Difference | None:
    """Return how ``got`` differs from ``want``, or None.

    A tensor may come as array or nested list, a number as a 0-dimensional array. Floats agree when
    ``|got - want| <= atol + rtol * |want|``; answers in float32 get a relative tolerance of 1e-4.
    """
    if isinstance(want, dict):
        return _compare_dicts(got, want, rtol, atol, path)
    if is_tensor(want) or isinstance(want, np.ndarray | np.generic):
        return _compare_arrays(got, as_array(want), rtol, atol, path)
    if isinstance(want, list | tuple):
        return _compare_sequences(got, want, rtol, atol, path)
    if isinstance(want, bool | int | float):
        return _compare_numbers(got, want, rtol, atol, path)
    if type(got) is not type(want):
        return Difference("type", f"{_here(path)}type {_kind(want)} was expected, "
                                  f"got {_kind(got)}", path)
    if got != want:
        return Difference("value", f"{_here(path)}expected {want!r}, got {got!r:.200}", path)
    return None


def _compare_dicts(got, want: dict, rtol, atol, path) -> Difference | None:
    """Compare key by key; missing and surplus keys are named."""
    if type(got) is not dict:
        return Difference("type", f"{_here(path)}a dict was expected, got {_kind(got)}", path)
    missing = [k for k in want if k not in got]
    surplus = [k for k in got if k not in want]
    if missing or surplus:
        parts = [f"missing: {missing}"] * bool(missing) + [f"not expected: {surplus}"] * bool(
            surplus)
        return Difference("shape", f"{_here(path)}the keys differ ({'; '.join(parts)})", path)
    return _first(compare(got[k], want[k], rtol, atol, f"{path}[{k!r}]") for k in want)


def _compare_sequences(got, want, rtol, atol, path) -> Difference | None:
    """Compare item by item; arrays may stand in for a list."""
    if is_tensor(got) or isinstance(got, np.ndarray):
        got = got.tolist()
    if not isinstance(got, list | tuple):
        return Difference("type", f"{_here(path)}{len(want)} values ({_kind(want)}) were expected, "
                                  f"got {_kind(got)}", path)
    if len(got) != len(want):
        return Difference("shape", f"{_here(path)}{len(want)} values were expected, "
                                   f"got {len(got)}", path)
    pairs = enumerate(zip(got, want, strict=True))
    return _first(compare(g, w, rtol, atol, f"{path}[{i}]") for i, (g, w) in pairs)


def _compare_numbers(got, want, rtol, atol, path) -> Difference | None:
    """Compare a plain number; ``True`` is not 1."""
    if not (is_tensor(got) or isinstance(got, bool | int | float | np.generic | np.ndarray)):
        return Difference("type", f"{_here(path)}a number was expected, got {_kind(got)}", path)
    return _compare_arrays(got, as_array(want), rtol, atol, path)


def _compare_arrays(got, want: np.ndarray | None, rtol, atol, path) -> Difference | None:
    """Compare shape, kind of dtype, then values."""
    if want is None:
        raise TypeError("an exercise expects a value that is no number and no array of numbers")
    array = as_array(got)
    if array is None:
        return Difference("type", f"{_here(path)}a tensor of shape {tuple(want.shape)} was "
                                  f"expected; {_kind(got)} cannot be compared"
                                  + _pair_note(got), path)
    if array.shape != want.shape:
        wanted = "a single number" if want.ndim == 0 else f"shape {tuple(want.shape)}"
        return Difference("shape", f"{_here(path)}{wanted} was expected, "
                                   f"got shape {tuple(array.shape)}", path)
    if _family(array) != _family(want):
        listed = not (is_tensor(got) or isinstance(got, np.ndarray) or _family(array) == "complex")
        if not (listed and (_family(want) == "float"
                            or (_family(want) == "integer" and _all_whole(got)))):
            return Difference("dtype", f"{_here(path)}values of kind {_family(want)} were expected,"
                                       f" got {_family(array)} ({array.dtype})", path)
    return _compare_values(array, want, rtol, atol, path)


def _compare_values(array, want, rtol, atol, path) -> Difference | None:
    """Return the first differing entry, and how large the largest error is."""
    if array.dtype.kind == "f" and array.dtype.itemsize <= 4:
        rtol, atol = max(rtol, 1e-4), max(atol, 1e-5)
    wide = np.complex128 if _family(want) == "complex" else np.float64
    got64, want64 = array.astype(wide), want.astype(wide)
    with np.errstate(all="ignore"):  # infinities are compared, too
        wrong = ~np.isclose(got64, want64, rtol=rtol, atol=atol, equal_nan=True)
        error = np.nan_to_num(np.abs(got64 - want64), nan=np.inf, posinf=np.inf)
    if not wrong.any():
        return None
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    message = f"{_here(path)}expected {_short(want64[index])}, got {_short(got64[index])}"
    if want.size > 1:
        message += (f" ({int(wrong.sum())} of {want.size} entries differ, "
                    f"largest error {_short(error[wrong].max())})")
    return Difference("value", message, path, index)


def as_array(value) -> np.ndarray | None:
    """Return a number, tensor or nested list as an array; None if it is none of these.

    Python's own numbers become the widest of their kind, and short floats, some of which numpy does
    not know, float32.

    >>> as_array([1.0, 2.0]).shape
    (2,)
    """
    try:
        if is_tensor(value):
            plain = as_tensor(value)
            if plain.is_floating_point() and plain.dtype.itemsize < 4:
                plain = plain.float()
            return plain.numpy()
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
            return np.asarray(value)
        if type(value) in (bool, int, float):
            return np.array(value, dtype={bool: bool, int: np.int64}.get(type(value), np.float64))
        if type(value) in (list, tuple):
            parts = [as_array(item) for item in value]
            wide = np.complex128 if "complex" in map(_family, parts) else np.float64
            return np.stack([p.astype(wide) for p in parts]) if parts else np.empty(0)
    except Exception:
        return None
    return None


def as_tensor(value) -> torch.Tensor | None:
    """Return a number, array or nested list as a detached CPU tensor; None if it is none of these.

    >>> as_tensor([1.0, 2.0]).shape
    torch.Size([2])
    """
    import torch

    try:
        if isinstance(value, torch.Tensor):
            with torch._C.DisableTorchFunctionSubclass():  # a subclass may answer what it likes
                plain = value.detach()
                dense = plain.to_dense() if plain.layout != torch.strided else plain
                return dense.as_subclass(torch.Tensor).cpu().resolve_conj().resolve_neg()
        array = as_array(value)
        return None if array is None else torch.as_tensor(array)
    except Exception:
        return None


def _all_whole(value) -> bool:
    """Return whether every number in a nested list is of an integer type."""
    if isinstance(value, list | tuple):
        return all(map(_all_whole, value))
    return _family(as_array(value)) == "integer"


def _family(array: np.ndarray) -> str:
    """Return bool, integer, float or complex."""
    return {"b": "bool", "c": "complex", "f": "float"}.get(array.dtype.kind, "integer")


def _kind(value) -> str:
    """Name a value's type for a sentence."""
    return "None" if value is None else type(value).__name__


def _pair_note(got) -> str:
    """Say what a (values, indices) pair of torch is, the commonest surprise of ``max(dim=...)``."""
    if not type(got).__module__.startswith("torch.return_types"):
        return ""
    return ". With `dim`, torch returns values and indices together: take `.values` or `.indices`"


def _here(path: str) -> str:
    """Return the place inside a nested value as a sentence's start."""
    return f"at {path}: " if path else ""


def _short(number: np.number) -> str:
    """Print one number with six digits."""
    return f"{number:.6g}"


def _first(differences) -> Difference | None:
    """Return the first difference that is one."""
    return next((d for d in differences if d is not None), None)
