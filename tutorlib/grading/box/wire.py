"""What a box may say: plain values in a frame that is checked before it is believed.

Nothing that arrives is unpickled, evaluated, or used as a name to call. A frame is

    magic, version | length of the text | number of buffers | length of each buffer | text | buffers

with the text a JSON tree in UTF-8. Scalars stand for themselves, everything else is a list whose
first entry says what it is:

    ["f", "0x1.8p+1"]  a float, bit for bit          ["l" | "t" | "s", [...]]  list, tuple, set
    ["d", [[key, value], ...]]  dict                 ["e"]  Ellipsis, an untouched answer
    ["T" | "N" | "n", dtype, shape, grad]  tensor, array, numpy scalar; bytes: the next buffer
    ["U", shape, [text, ...]]  array of strings      ["p", name, [values, indices]]  torch's pairs

Every length, depth and count has a limit that is checked before anything is read or allocated;
a frame that breaks one raises ``WireError``. ``read_frame`` lives in ``unwire``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tutorlib.grading.tensors import is_tensor

if TYPE_CHECKING:
    import torch

MAGIC = b"TLBX\x01\0\0\0"
HEADER = struct.Struct("<8sII")
MAX_TEXT = 4 * 2**20  # bytes of JSON
MAX_NODES = 250_000  # entries of the tree
MAX_DEPTH = 32  # of nested values
MAX_BUFFERS = 4096
MAX_BYTES = 64 * 2**20  # of all buffers together
MAX_DIMS = 16
MAX_DIGITS = 400  # of an integer

DTYPES = {  # bytes of one entry of a tensor, by the dtype's name in torch
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "float16": 2,
    "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16}
ARRAYS = {name: np.dtype(name) for name in (
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64", "complex64", "complex128")}
PAIRS = (  # of values and indices, by their names in torch.return_types
    "max", "min", "sort", "topk", "median", "nanmedian", "mode", "kthvalue", "cummax", "cummin")


class WireError(Exception):
    """What arrived is no frame of this protocol, or exceeds its limits."""


class UnsendableError(TypeError):
    """A value that cannot be written in this format; the message is meant for the learner."""


def encode(value: Any, grad: Callable[[torch.Tensor], int] | None = None) -> bytes:
    """Return ``value`` as one frame.

    ``grad`` is asked for a number for each tensor that requires a gradient. Raises
    UnsendableError for a value of another type, or one beyond the limits.

    >>> encode(1)[-1:]
    b'1'
    """
    buffers: list[bytes] = []
    tree = _node(value, buffers, grad, 0)
    try:
        text = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except (UnicodeEncodeError, ValueError) as problem:
        raise UnsendableError(f"this value cannot be sent to the grader ({problem})") from None
    if len(text) > MAX_TEXT or count_nodes(text) > MAX_NODES or len(buffers) > MAX_BUFFERS:
        raise UnsendableError("this value has too many parts to be sent to the grader; "
                              "return an array or a tensor instead of long lists")
    if sum(map(len, buffers)) > MAX_BYTES:
        raise UnsendableError(f"this value is too large to be sent to the grader (the limit is "
                              f"{MAX_BYTES >> 20} MiB)")
    sizes = struct.pack(f"<{len(buffers)}Q", *map(len, buffers))
    return b"".join([HEADER.pack(MAGIC, len(text), len(buffers)), sizes, text, *buffers])


def _node(value, buffers, grad, depth):
    """Return the tree of one value and append its buffers."""
    if depth > MAX_DEPTH:
        raise UnsendableError(f"this value is nested more than {MAX_DEPTH} deep (does it hold "
                              "itself?) and cannot be sent to the grader")
    if value is None or value is True or value is False:
        return value
    if is_tensor(value):
        return _tensor_node(value, buffers, grad)
    if isinstance(value, np.ndarray | np.generic):
        return _array_node(value, buffers)
    if isinstance(value, float):
        return ["f", float.hex(value)]
    if isinstance(value, int):
        return _int_node(value)
    if isinstance(value, str):
        return str.__str__(value)
    if value is ...:
        return ["e"]
    return _container_node(value, buffers, grad, depth + 1)


def _int_node(value: int) -> int:
    """Return an integer that is short enough."""
    if int.bit_length(value) > 3 * MAX_DIGITS:
        raise UnsendableError("an integer of so many digits cannot be sent to the grader")
    return int(value)


def _container_node(value, buffers, grad, depth):
    """Return the tree of a list, tuple, set or dict."""
    kind = type(value)
    if kind.__module__ == "torch.return_types" and kind.__name__ in PAIRS:
        return ["p", kind.__name__, [_node(v, buffers, grad, depth) for v in value]]
    for tag, base in (("l", list), ("t", tuple), ("s", set | frozenset)):
        if isinstance(value, base):
            return [tag, [_node(item, buffers, grad, depth) for item in value]]
    if kind is dict:
        return ["d", [[_key_node(k, depth), _node(v, buffers, grad, depth)]
                      for k, v in value.items()]]
    raise UnsendableError(f"a value of type {kind.__name__} cannot be sent to the grader; return "
                          "numbers, lists, arrays or tensors")


def _key_node(key, depth):
    """Return a key's tree: strings, numbers, None, and tuples of these."""
    check_key(key, UnsendableError)
    return _node(key, [], None, depth)


def check_key(key, error) -> None:
    """Refuse what cannot be a key: arrays, containers, NaN (which equals nothing, not itself)."""
    if isinstance(key, tuple):
        for item in key:
            check_key(item, error)
    elif not (key is None or isinstance(key, bool | int | float | str)) or key != key:
        raise error(f"a key of type {type(key).__name__} cannot be sent; use strings or numbers")


def dtype_name(dtype: torch.dtype) -> str:
    """Return a dtype's name, as in ``DTYPES``."""
    return str(dtype).removeprefix("torch.")


def _tensor_node(value: torch.Tensor, buffers, grad):
    """Return a tensor's tree; its bytes go to the buffers."""
    import torch

    plain = value.detach()
    plain = (plain if plain.layout == torch.strided else plain.to_dense()).as_subclass(torch.Tensor)
    name = dtype_name(plain.dtype)
    if name not in DTYPES or plain.device.type == "meta":
        raise UnsendableError(f"a tensor of type {plain.dtype} on {plain.device} cannot be sent "
                              "to the grader")
    buffers.append(raw_bytes(plain))
    number = grad(value) if grad is not None and value.requires_grad else None
    return ["T", name, list(plain.shape), number]


def raw_bytes(value: torch.Tensor) -> bytes:
    """Return the entries of a dense tensor, bit for bit, in row-major order."""
    import torch

    plain = value.detach().cpu().resolve_conj().resolve_neg()
    if plain.dtype != torch.bfloat16:  # which numpy does not know
        return plain.numpy().tobytes()
    plain = plain.clone(memory_format=torch.contiguous_format)  # an expanded one has no stride
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes()


def _array_node(value, buffers):
    """Return the tree of a numpy array or scalar."""
    array = np.asarray(value)
    if array.dtype.kind in "US":
        return ["U", list(array.shape), [str(text) for text in array.astype(str).ravel()]]
    name = array.dtype.name
    if name not in ARRAYS:
        raise UnsendableError(f"an array of type {array.dtype} cannot be sent to the grader; "
                              "return an array of numbers")
    plain = np.ascontiguousarray(array, dtype=ARRAYS[name])
    buffers.append(plain.tobytes())
    return ["n" if isinstance(value, np.generic) else "N", name, list(array.shape), None]


def count_nodes(text: bytes) -> int:
    """Bound the number of a tree's nodes from above, without parsing it."""
    return text.count(b"[") + text.count(b",") + text.count(b"{")
