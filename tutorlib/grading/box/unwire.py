"""Read a frame of ``wire``'s format, believing nothing: a value comes out, or one ``WireError``."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tutorlib.grading.box.wire import (
    ARRAYS,
    DTYPES,
    HEADER,
    MAGIC,
    MAX_BUFFERS,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_DIMS,
    MAX_NODES,
    MAX_TEXT,
    PAIRS,
    WireError,
    check_key,
    count_nodes,
)
from tutorlib.grading.tensors import loaded_torch

if TYPE_CHECKING:
    import torch


_SIZES = {name: dtype.itemsize for name, dtype in ARRAYS.items()}


def read_frame(read: Callable[[int], bytes],
               grad: Callable[[torch.Tensor, int], torch.Tensor] | None = None) -> Any:
    """Return the value of one frame, from ``read(n)``, which gives exactly ``n`` bytes.

    In a process without torch a tensor becomes an array: what arrives never makes torch load.
    ``grad`` is given each tensor that the sender says is differentiable, with its number. Raises
    WireError for anything that is not a well-formed frame (errors of ``read`` pass through).

    >>> from tutorlib.grading.box.wire import encode
    >>> read_frame(reader(encode({"a": (1, [2.5])})))
    {'a': (1, [2.5])}
    """
    magic, n_text, n_buffers = HEADER.unpack(read(HEADER.size))
    if magic != MAGIC:
        raise WireError("this is no frame of version 1")
    if n_text > MAX_TEXT or n_buffers > MAX_BUFFERS:
        raise WireError(f"a frame of {n_text} bytes of text and {n_buffers} buffers")
    sizes = struct.unpack(f"<{n_buffers}Q", read(8 * n_buffers))
    if sum(sizes) > MAX_BYTES:
        raise WireError(f"buffers of {sum(sizes)} bytes")
    text = read(n_text)
    buffers = [read(size) for size in sizes]
    try:
        return _decode(bytes(text), buffers, grad)
    except WireError:
        raise
    except Exception as problem:  # a recursion limit, a digit limit, a shape torch refuses
        raise WireError(f"malformed frame: {type(problem).__name__}: {problem}"[:300]) from None


def reader(data: bytes) -> Callable[[int], bytes]:
    """Return a ``read`` over bytes in memory, for ``read_frame``."""
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        part = data[position:position + count]
        position += count
        if len(part) != count:
            raise WireError("the frame ends early")
        return part

    return read


def _refuse(what) -> None:
    raise WireError(f"JSON with {str(what)[:40]}")


def _short_int(digits: str) -> int:
    """Parse an integer of bounded length."""
    if len(digits) > MAX_DIGITS:
        raise WireError("an integer of too many digits")
    return int(digits)


def _decode(text: bytes, buffers: list[bytes], grad) -> Any:
    """Return the value of a text and its buffers; every buffer belongs to one node, in order."""
    if count_nodes(text) > MAX_NODES:
        raise WireError("a tree of too many nodes")
    tree = json.loads(text.decode("utf-8", "strict"), object_pairs_hook=_refuse,
                      parse_float=_refuse, parse_constant=_refuse, parse_int=_short_int)
    left = list(reversed(buffers))
    value = _value(tree, left, grad, 0)
    if left:
        raise WireError("a buffer that belongs to no value")
    return value


def _value(tree, left: list[bytes], grad, depth: int) -> Any:
    """Return the value of a tree; takes its buffers off the end of ``left``."""
    if depth > MAX_DEPTH:
        raise WireError("values nested too deep")
    if tree is None or type(tree) in (bool, int, str):
        return tree
    if not tree or type(tree[0]) is not str:
        raise WireError("a list without a tag")
    decode = _DECODERS.get((tree[0], len(tree)))
    if decode is None:
        raise WireError(f"an unknown tag {tree[0]!r:.20} of {len(tree)} parts")
    return decode(tree, left, grad, depth + 1)


def _items(tree, left, grad, depth) -> list:
    """Return the decoded items of a list that must be one."""
    if type(tree) is not list:
        raise WireError("items that are no list")
    return [_value(item, left, grad, depth) for item in tree]


def _float(tree, left, grad, depth) -> float:
    if type(tree[1]) is not str or len(tree[1]) > 40:
        raise WireError("a float that is no text")
    return float.fromhex(tree[1])


def _set(tree, left, grad, depth) -> set:
    items = _items(tree[1], left, grad, depth)
    for item in items:
        check_key(item, WireError)
    if len(set(items)) != len(items):
        raise WireError("a set that holds an item twice")
    return set(items)


def _dict(tree, left, grad, depth) -> dict:
    if type(tree[1]) is not list:
        raise WireError("a dict that is no list of pairs")
    found: dict = {}
    for pair in tree[1]:
        if type(pair) is not list or len(pair) != 2:
            raise WireError("a dict's entry that is no pair")
        key = _value(pair[0], left, grad, depth)
        check_key(key, WireError)
        if key in found:
            raise WireError("a key that comes twice")
        found[key] = _value(pair[1], left, grad, depth)
    return found


def _pair(tree, left, grad, depth):
    items = _items(tree[2], left, grad, depth)
    torch = loaded_torch()
    known = type(tree[1]) is str and tree[1] in PAIRS
    if not known or len(items) != 2 or not all(
            isinstance(item, torch.Tensor if torch else np.ndarray) for item in items):
        raise WireError("a pair that torch does not have")
    return getattr(torch.return_types, tree[1])(items) if torch else tuple(items)


def _checked(sizes: dict[str, int], tree, left: list[bytes]) -> tuple:
    """Return (dtype's name, shape, buffer) after shape times item size was found to be the length.

    ``sizes`` are the bytes of one entry, by the dtype's name.
    """
    name, shape = tree[1], tree[2]
    if type(name) is not str or name not in sizes:
        raise WireError(f"a dtype {name!r:.40} that is not on the list")
    _check_shape(shape)
    if not left:
        raise WireError("a value without its buffer")
    buffer = left.pop()
    if math.prod(shape) * sizes[name] != len(buffer):
        raise WireError(f"a buffer of {len(buffer)} bytes for shape {tuple(shape)}")
    return name, tuple(shape), buffer


def _check_shape(shape) -> None:
    """Refuse a shape that is none, or whose strides would overflow."""
    if type(shape) is not list or len(shape) > MAX_DIMS:
        raise WireError("a shape that is no short list")
    if not all(type(n) is int and 0 <= n <= MAX_BYTES for n in shape):
        raise WireError("a shape with an impossible length")
    if math.prod(n for n in shape if n) > MAX_BYTES:
        raise WireError("a shape that is too large")


def _tensor(tree, left, grad, depth) -> torch.Tensor | np.ndarray:
    name, shape, buffer = _checked(DTYPES, tree, left)
    number, torch = tree[3], loaded_torch()
    if number is not None and (type(number) is not int or not 0 <= number < MAX_BUFFERS
                               or grad is None or not name.startswith(("float", "bf", "complex"))):
        raise WireError("a gradient where there can be none")
    if torch is None:
        return _as_array(name, shape, buffer)
    flat = torch.frombuffer(bytearray(buffer), dtype=torch.uint8) if buffer else torch.empty(
        0, dtype=torch.uint8)
    value = (flat != 0 if name == "bool" else flat.view(getattr(torch, name))).reshape(shape)
    return value if number is None else grad(value, number)


def _as_array(name: str, shape: tuple[int, ...], buffer: bytes) -> np.ndarray:
    """Return entries as an array; those of bfloat16, the upper halves of float32's, as these."""
    if name == "bfloat16":
        halves = np.frombuffer(buffer, dtype="<u2").astype("<u4")
        return (halves << 16).view(np.float32).reshape(shape)
    raw = np.frombuffer(bytearray(buffer), dtype=np.uint8 if name == "bool" else ARRAYS[name])
    return (raw != 0 if name == "bool" else raw).reshape(shape)


def _array(tree, left, grad, depth):
    value = _as_array(*_checked(_SIZES, tree, left))
    if tree[3] is not None or (tree[0] == "n" and value.ndim):
        raise WireError("an array with a gradient, or a scalar with a shape")
    return value[()] if tree[0] == "n" else value


def _strings(tree, left, grad, depth) -> np.ndarray:
    shape, texts = tree[1], tree[2]
    _check_shape(shape)
    if type(texts) is not list or len(texts) != math.prod(shape) or not all(
            type(text) is str for text in texts):
        raise WireError("an array of strings that is none")
    if max(map(len, texts), default=0) * len(texts) > MAX_TEXT:  # numpy pads to the longest
        raise WireError("an array of strings that is too large")
    return np.array(texts, dtype=str).reshape(shape)


_DECODERS: dict[tuple[str, int], Callable] = {
    ("f", 2): _float,
    ("l", 2): lambda tree, *rest: _items(tree[1], *rest),
    ("t", 2): lambda tree, *rest: tuple(_items(tree[1], *rest)),
    ("s", 2): _set,
    ("d", 2): _dict,
    ("e", 1): lambda tree, *rest: ...,
    ("p", 3): _pair,
    ("T", 4): _tensor,
    ("N", 4): _array,
    ("n", 4): _array,
    ("U", 3): _strings,
}
