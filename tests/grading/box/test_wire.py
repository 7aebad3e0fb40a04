"""The wire: what was sent arrives; what was forged is refused, quickly and in bounded memory."""

import json
import math
import resource
import struct
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutorlib.grading.box import wire
from tutorlib.grading.box.unwire import read_frame, reader
from tutorlib.grading.box.wire import HEADER, MAGIC, UnsendableError, WireError, encode


def there_and_back(value):
    return read_frame(reader(encode(value)))


def frame(text, buffers=(), sizes=None, magic=MAGIC, n_text=None, n_buffers=None):
    """Build a frame by hand, honest or not."""
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    sizes = [len(b) for b in buffers] if sizes is None else sizes
    head = HEADER.pack(magic, len(text) if n_text is None else n_text,
                       len(sizes) if n_buffers is None else n_buffers)
    return head + struct.pack(f"<{len(sizes)}Q", *sizes) + text + b"".join(buffers)


def alike(a, b) -> bool:
    """Equal in type and value, bit for bit."""
    if isinstance(a, torch.Tensor):
        return (type(b) is torch.Tensor and a.dtype == b.dtype and a.shape == b.shape
                and str(a.tolist()) == str(b.tolist()))
    if isinstance(a, np.ndarray | np.generic):
        return (type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
                and a.tobytes() == b.tobytes())
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (a != a and b != b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[k], b[k]) for k in a)
    return a == b


TENSORS = [
    torch.arange(6.0).reshape(2, 3), torch.zeros(0, 4), torch.tensor(3.5, dtype=torch.float64),
    torch.tensor([True, False]), torch.tensor([1 + 2j]).conj(), torch.arange(6).reshape(2, 3).T,
    torch.tensor(2.0).expand(1), torch.tensor(2.0).expand(3, 2), torch.zeros(2, 0).T,
    torch.tensor([1 + 2j]).conj().imag, torch.tensor([1.5], dtype=torch.bfloat16),
    torch.tensor([float("nan"), -0.0, math.inf]),
]
ARRAYS = [np.arange(6).reshape(2, 3).T, np.float64(2.5), np.bool_(True), np.zeros((0, 3)),
          np.array([1, 2], dtype=np.uint16), np.array([["a", "bc"], ["", "ü"]]),
          np.array([1.0, 2.0], dtype=">f8").astype("<f8")]


@pytest.mark.parametrize("value", [*TENSORS, *ARRAYS, None, ..., True, 0, -(10**300), "a\0ü🎲", "",
                                   [], (), {}, {"a"}, {1, 2.5}, {"k": (1, [2.0, {}])},
                                   {(0, "a"): None}, -0.0, math.inf, math.nan, 5e-324], ids=repr)
def test_what_was_sent_arrives(value):
    assert alike(value, there_and_back(value))


SCALARS = st.none() | st.booleans() | st.integers(-2**80, 2**80) | st.floats() | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.integers()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4)
                      | st.lists(inner, max_size=4).map(tuple)
                      | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20)


@given(VALUES)
@settings(max_examples=100)
def test_any_value_of_the_format_arrives(value):
    assert alike(value, there_and_back(value))


def test_torchs_pairs_keep_their_names():
    pair = torch.tensor([[1.0, 3.0, 2.0]]).max(-1)
    back = there_and_back([pair, pair])
    assert type(back[0]) is torch.return_types.max and back[1].indices.tolist() == [1]


def test_a_sparse_tensor_arrives_as_what_it_stands_for():
    assert torch.equal(there_and_back(torch.eye(2).to_sparse()), torch.eye(2))


def test_a_big_endian_array_arrives_with_its_values():
    assert there_and_back(np.array([1.0, 2.0], dtype=">f8")).tolist() == [1.0, 2.0]


def test_a_gradient_travels_as_a_number():
    leaf = torch.ones(2, requires_grad=True)
    seen = []
    data = encode([leaf * 2, leaf.detach()], grad=lambda t: seen.append(t) or 7)
    got = []
    read_frame(reader(data), grad=lambda t, n: got.append(n) or t)
    assert len(seen) == 1 and got == [7]
    with pytest.raises(WireError, match="gradient"):
        read_frame(reader(data))


class Liar(list):
    def __iter__(self):
        return iter([1, 2])

    def __len__(self):
        return 10**9


def holds_itself():
    loop = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize("value, words", [
    (object(), "object cannot be sent"), (lambda: 0, "function cannot be sent"),
    (holds_itself(), "nested more than"), ({math.nan: 1}, "key of type float"),
    ({frozenset(): 1}, "key of type frozenset"), ("\ud800", "cannot be sent"),
    (10**5000, "so many digits"), (np.array([object()]), "array of type object"),
    (torch.zeros(2, device="meta"), "cannot be sent"), ([0] * 300_000, "too many parts"),
    (torch.zeros(2**24 + 1), "too large"), (2j, "complex cannot be sent"), (range(3), "range"),
], ids=lambda value: value if isinstance(value, str) and value.isascii() else "")
def test_what_cannot_be_sent_is_explained_to_the_learner(value, words):
    with pytest.raises(UnsendableError, match=words):
        encode(value)


def test_a_subclass_is_sent_as_what_it_holds():
    class Yes(np.ndarray):
        def __eq__(self, other):
            return True

    class Always(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return super().__torch_function__(func, types, args, kwargs)

    assert type(there_and_back(np.zeros(2).view(Yes))) is np.ndarray
    assert type(there_and_back(torch.zeros(2).as_subclass(Always))) is torch.Tensor
    assert there_and_back(Liar([5])) == [1, 2]


DEEP = b"[" * 100_000 + b"]" * 100_000
FORGED = {
    "another magic": frame(None, magic=b"PK\x03\x04\0\0\0\0"),
    "a pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    "an npz": b"PK\x03\x04" + bytes(60),
    "text too long": frame(None, n_text=2**32 - 1),
    "too many buffers": frame(None, n_buffers=2**32 - 1),
    "buffers too long": frame(None, sizes=[2**63]),
    "buffers too long together": frame(None, sizes=[2**25] * 3),
    "nothing": b"",
    "half a header": frame(None)[:10],
    "truncated": frame(["l", []])[:-1],
    "truncated buffer": frame(["T", "int8", [4], None], [b"abcd"])[:-1],
    "empty text": frame(b""),
    "no JSON": frame(b"__import__('os')"),
    "two values": frame(b"1 2"),
    "bare NaN": frame(b"NaN"),
    "bare float": frame(b"1.5"),
    "Infinity": frame(b"-Infinity"),
    "an object": frame({"a": 1}),
    "an object inside": frame(["l", [{"__class__": "x"}]]),
    "UTF-8 that is none": frame(b'"\xff\xfe"'),
    "an overlong form": frame(b'"\xc0\xaf"'),
    "a deep list": frame(DEEP),
    "deep values": frame(json.loads('["l",[' * 40 + "1" + "]]" * 40)),
    "many nodes": frame(b'["l",[' + b"1," * 300_000 + b"1]]"),
    "many digits": frame(b"9" * 5000),
    "no tag": frame([]),
    "tag of another type": frame([1, 2]),
    "unhashable tag": frame([["l"], []]),
    "unknown tag": frame(["x", []]),
    "a name to call": frame(["c", "os.system", ["true"]]),
    "list without items": frame(["l"]),
    "list of text": frame(["l", "abc"]),
    "float that is none": frame(["f", "hello"]),
    "float that overflows": frame(["f", "0x1p99999"]),
    "float as a number": frame(["f", 1]),
    "dict of one": frame(["d", [["a"]]]),
    "dict of text": frame(["d", "ab"]),
    "NaN key": frame(["d", [[["f", "nan"], 1]]]),
    "NaN in a key": frame(["d", [[["t", [["f", "nan"]]], 1]]]),
    "duplicate key": frame(["d", [["a", 1], ["a", 2]]]),
    "keys that are equal": frame(["d", [[1, 1], [True, 2]]]),
    "list as a key": frame(["d", [[["l", []], 1]]]),
    "tensor as a key": frame(["d", [[["T", "int8", [1], None], 1]]], [b"a"]),
    "duplicate in a set": frame(["s", [1, 1]]),
    "list in a set": frame(["s", [["l", []]]]),
    "wrong dtype": frame(["T", "object", [1], None], [b"12345678"]),
    "dtype of another type": frame(["T", ["int8"], [1], None], [b"1"]),
    "dtype by attribute": frame(["T", "__class__", [1], None], [b"1"]),
    "numpy dtype in a tensor": frame(["T", "uint16", [1], None], [b"12"]),
    "structured dtype": frame(["N", "i4,O", [1], None], [b"12345678"]),
    "negative size": frame(["T", "int8", [-1], None], [b""]),
    "two negative sizes": frame(["T", "int8", [-1, -1], None], [b"1"]),
    "size that overflows": frame(["T", "int64", [2**62, 4], None], [b""]),
    "zero times huge": frame(["T", "int64", [0, 2**62], None], [b""]),
    "zero times large": frame(["T", "int64", [0, 2**20, 2**20], None], [b""]),
    "size as bool": frame(["T", "int8", [True], None], [b"1"]),
    "size as float": frame(["T", "int8", [["f", "0x1p0"]], None], [b"1"]),
    "shape as text": frame(["T", "int8", "11", None], [b"1"]),
    "many dimensions": frame(["T", "int8", [1] * 65, None], [b"1"]),
    "bytes too few": frame(["T", "float64", [2], None], [b"12345678"]),
    "bytes too many": frame(["T", "int8", [2], None], [b"123"]),
    "no buffer": frame(["T", "int8", [0], None]),
    "a buffer too many": frame(1, [b"1"]),
    "one buffer for two": frame(["l", [["T", "int8", [1], None]] * 2], [b"1"]),
    "gradient of integers": frame(["T", "int8", [1], 0], [b"1"]),
    "negative gradient": frame(["T", "float32", [1], -1], [b"1234"]),
    "scalar with a shape": frame(["n", "int8", [1], None], [b"1"]),
    "array with a gradient": frame(["N", "float32", [1], 1], [b"1234"]),
    "strings of numbers": frame(["U", [1], [1]]),
    "strings too few": frame(["U", [2], ["a"]]),
    "strings that numpy would pad": frame(["U", [100_001], ["a" * 3_000_000, *[""] * 100_000]]),
    "pair of another kind": frame(["p", "__class__", [1, 2]]),
    "pair of one": frame(["p", "max", [["T", "int8", [1], None]]], [b"1"]),
    "pair of numbers": frame(["p", "max", [1, 2]]),
}


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED)
def test_a_forged_frame_is_refused(data):
    with pytest.raises(WireError):
        read_frame(reader(data), grad=lambda tensor, number: tensor)


def test_nothing_is_read_before_the_lengths_are_checked():
    asked = []

    def read(count):
        asked.append(count)
        return frame(None, n_text=2**31)[:count]

    with pytest.raises(WireError):
        read_frame(read)
    assert asked == [HEADER.size]


HONEST = [encode(v) for v in (
    {"kind": "reply", "value": [1, 2.5, "x"], "call": 3}, torch.arange(6.0).reshape(2, 3),
    [np.array(["a", "b"]), (True, None, {1, 2})], {"a": torch.zeros(2, 0), "b": np.float32(1)})]


@given(st.sampled_from(HONEST), st.data())
@settings(max_examples=300)
def test_a_damaged_frame_gives_a_value_or_one_error(honest, data):
    """Change, cut or insert bytes anywhere: a value or a WireError, never anything else."""
    broken = bytearray(honest)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(broken) - 1)))
        kind = data.draw(st.sampled_from(["set", "cut", "insert"]))
        if kind == "set" and broken:
            broken[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del broken[at:at + data.draw(st.integers(1, 8))]
        else:
            broken[at:at] = data.draw(st.binary(max_size=8))
    try:
        read_frame(reader(bytes(broken)))
    except WireError:
        pass


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(
        ["l", "t", "d", "s", "f", "T", "N", "n", "U", "p", "e", "int8", "float64", "max", "nan"]),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(
        st.sampled_from(["T", "N", "n"]), st.sampled_from([*wire.DTYPES, "object"]),
        st.lists(st.integers(-2, 9), max_size=3), inner).map(list), max_leaves=12)


@given(TREES, st.lists(st.binary(max_size=16), max_size=3))
@settings(max_examples=300)
def test_any_tree_gives_a_value_or_one_error(tree, buffers):
    try:
        value = read_frame(reader(frame(tree, buffers)))
    except WireError:
        return
    encode(value)  # what was accepted is of the format


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_give_a_value_or_one_error(data):
    for forged in (data, MAGIC + data, frame(data)):
        try:
            read_frame(reader(forged))
        except WireError:
            pass


def test_the_worst_frames_cost_little():
    """The largest trees the limits let through: seconds and memory stay bounded."""
    worst = [frame(b'["l",[' + b"[]," * 83_000 + b"[]]]"), frame(b'"' + b"," * 240_000 + b'"'),
             frame(b'["l",[' + b'["f","0x1p0"],' * 80_000 + b'["f","0x1p0"]]]'),
             frame(b'["d",[' + b",".join(b'["%d",1]' % i for i in range(80_000)) + b"]]")]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    for data in worst:
        try:
            read_frame(reader(data))
        except WireError:
            pass
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024
