"""What the grader says to a box: a pickle, since the box trusts the grader and not the reverse.

Tensors travel as raw bytes. Functions, and objects of the graders' own classes, stay with the
grader: the box gets a stand-in with the object's plain attributes, whose calls come back. So no
code or object of an exercise crosses.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tutorlib.grading.box.wire import dtype_name, raw_bytes
from tutorlib.grading.tensors import is_generator, is_tensor

if TYPE_CHECKING:
    import torch

_STAY = ("tutorlib.exercises", "tutorlib.grading", "tests", "conftest", "__main__")
_IMPORTED = ("numpy", "torch", "tutorlib", "copyreg", "math", "operator", "builtins", "_operator")
_BY_PICKLE = frozenset((type(None), bool, int, float, complex, str, bytes, tuple, list, dict))
_PLAIN = (bool, int, float, str, type(None), tuple, list, dict)


class Sender(pickle.Pickler):
    """Writes one request; remembers its tensors and what stays behind."""

    def __init__(self, file: io.BytesIO, callables: list[Callable]):
        """Write to ``file``; functions are added to ``callables`` and go by their place there."""
        super().__init__(file, protocol=5)
        self.tensors: list[torch.Tensor] = []  # in the order of their numbers
        self.callables = callables
        self._known: dict[int, tuple] = {}
        self._alive: list[Any] = []  # so that no id is used twice while this runs

    def persistent_id(self, value: Any) -> tuple | None:
        """Return how to send ``value`` where pickle is not to do it."""
        if type(value) in _BY_PICKLE:  # nearly all that it is asked about
            return None
        if id(value) in self._known:
            return self._known[id(value)]
        sent = self._sent(value)
        if sent is not None:
            self._alive.append(value)
            self._known[id(value)] = sent
        return sent

    def _sent(self, value: Any) -> tuple | None:
        if is_tensor(value):
            return self._tensor(value)
        if is_generator(value):
            return ("generator", len(self._alive), value.get_state().numpy().tobytes())
        if not _stays(value):
            return None
        attributes = {}
        if dataclasses.is_dataclass(value):
            attributes = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        attributes = {k: v for k, v in attributes.items() if isinstance(v, _PLAIN) or is_tensor(v)}
        number = None
        if callable(value):
            number = len(self.callables)
            self.callables.append(value)
        return ("stand-in", len(self._alive), number, type(value).__name__, attributes)

    def _tensor(self, value: torch.Tensor) -> tuple:
        number = len(self.tensors)
        self.tensors.append(value)
        return ("tensor", len(self._alive), dtype_name(value.dtype), tuple(value.shape),
                raw_bytes(value), value.requires_grad, number)


def _stays(value: Any) -> bool:
    """Whether a value must not, or cannot, be pickled: functions, and objects of graders.

    Functions of the libraries that a box has are imported there by name.
    """
    if isinstance(value, type):
        return False
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        module = value.__module__ or ""
        named = "<" not in value.__qualname__ and "." not in value.__qualname__
        return not named or module.split(".")[0] not in _IMPORTED or module.startswith(_STAY)
    return isinstance(value, types.MethodType) or type(value).__module__.startswith(_STAY)


def pack(message: dict, callables: list[Callable] | None = None) -> tuple[bytes, Sender]:
    """Return a request's bytes, and who wrote them."""
    file = io.BytesIO()
    sender = Sender(file, [] if callables is None else callables)
    sender.dump(message)
    return file.getvalue(), sender


class Receiver(pickle.Unpickler):
    """Reads one request in the box."""

    def __init__(self, data: bytes, call: Callable):
        """Read ``data``; ``call(number, args, kwargs)`` calls what stayed with the grader."""
        super().__init__(io.BytesIO(data))
        self._call, self._made = call, {}
        self.inputs: dict[int, torch.Tensor] = {}  # those that require gradients, by number

    def persistent_load(self, sent: tuple) -> Any:
        """Make what ``Sender.persistent_id`` described, once each."""
        if sent[1] not in self._made:
            self._made[sent[1]] = self._make(sent)
        return self._made[sent[1]]

    def _make(self, sent: tuple) -> Any:
        if sent[0] == "stand-in":
            kind = CallableStandIn if sent[2] is not None else StandIn
            return kind(self._call, *sent[2:])
        import torch

        if sent[0] == "generator":
            generator = torch.Generator()
            generator.set_state(torch.frombuffer(bytearray(sent[2]), dtype=torch.uint8))
            return generator
        _, _, name, shape, data, needs_grad, number = sent
        dtype = getattr(torch, name)
        made = torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape) if data else (
            torch.empty(shape, dtype=dtype))
        if needs_grad:
            self.inputs[number] = made.requires_grad_()
        return made


class StandIn:
    """What a learner's code sees of an object that stayed with the grader: its plain attributes."""

    def __init__(self, call: Callable, number: int | None, name: str, attributes: dict):
        """Remember how to reach the object."""
        self.__dict__.update(attributes)
        self.__dict__.update(_call=call, _number=number, _name=name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse: nothing would change where the object is."""
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __repr__(self) -> str:
        """Name the object's kind."""
        return f"<{self._name} of the grader>"

    def __deepcopy__(self, memo: dict) -> StandIn:
        """Return itself: the object is not here."""
        return self


class CallableStandIn(StandIn):
    """A stand-in for a function or callable object."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the grader to call it."""
        return self._call(self._number, args, kwargs)


def unpack(data: bytes, call: Callable) -> tuple[dict, dict[int, torch.Tensor]]:
    """Return a request, and its tensors that require gradients by number."""
    receiver = Receiver(data, call)
    return receiver.load(), receiver.inputs
