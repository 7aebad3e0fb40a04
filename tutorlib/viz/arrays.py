"""From whatever holds numbers to checked numpy arrays, and from numbers to short text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tutorlib.errors import InvalidArgumentError

MINUS = "\u2212"  # read aloud as "minus"; a hyphen often is not read at all


def as_array(values: ArrayLike, name: str, shape: tuple[int | None, ...] | None = None,
             gaps: bool = False) -> np.ndarray:
    """Return ``values`` (tensor, array or nested list) as float64, with its shape checked.

    ``shape`` gives the expected axes, None for any length. NaN is refused unless ``gaps``;
    infinities always are. Raises InvalidArgumentError.

    >>> as_array([[1, 2]], "table", (None, 2)).tolist()
    [[1.0, 2.0]]
    """
    if hasattr(values, "detach"):  # a torch tensor, on any device, of any dtype
        values = values.detach().cpu().double().numpy()
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError) as problem:
        raise InvalidArgumentError(
            f"{name} is not an array of numbers ({problem}); give a tensor, an array or lists "
            "of equal length") from None
    if shape is not None and not _fits(array.shape, shape):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise InvalidArgumentError(f"{name} has shape {array.shape}; expected ({wanted})")
    bad = np.isinf(array) if gaps else ~np.isfinite(array)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f" at index {place if len(place) > 1 else place[0]}" if place else ""
        raise InvalidArgumentError(
            f"{name} holds {array[place]}{where}; expected finite numbers")
    return array


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a shape agrees with a pattern."""
    return len(found) == len(wanted) and all(
        want in (None, have) for have, want in zip(found, wanted, strict=True))


def required_text(text: str, name: str) -> str:
    """Return ``text`` without surrounding space; raise InvalidArgumentError if nothing is left."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgumentError(f"{name} is {text!r}; write a sentence that says what is shown")
    return text.strip()


def number(value: float) -> str:
    """Return a number as a reader wants it: three significant digits, a real minus sign.

    >>> number(-0.30000001), number(1234.5), number(2.0)
    ('−0.3', '1234', '2')
    """
    if not np.isfinite(value):
        return str(value)
    text = f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return "0" if text in ("-0", "0") else text.replace("-", MINUS)


def fixed(values: np.ndarray) -> list[str]:
    """Return the entries of an array with one common number of decimals; NaN becomes "".

    >>> fixed(np.array([0.5, -12.25]))
    ['0.5', '−12.2']
    """
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    whole = bool(finite.size) and bool(np.all(finite == np.round(finite)))
    decimals = 0 if whole or largest >= 100 else 1 if largest >= 10 else 2
    texts = ["" if np.isnan(v) else f"{v:.{decimals}f}" for v in values.ravel()]
    zero = f"{0:.{decimals}f}"
    return [zero if t == f"-{zero}" else t.replace("-", MINUS) for t in texts]


def listing(items: Sequence[str], limit: int = 8) -> str:
    """Return "a, b and c"; what goes beyond ``limit`` is counted.

    >>> listing(["a", "b", "c"]), listing(list("abcd"), limit=2)
    ('a, b and c', 'a, b and 2 more')
    """
    items = list(items)
    if len(items) > limit:
        items = [*items[:limit], f"{len(items) - limit} more"]
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def count(number_of: int, noun: str) -> str:
    """Return "1 wall", "3 walls".

    >>> count(1, "wall"), count(3, "wall")
    ('1 wall', '3 walls')
    """
    return f"{number_of} {noun}{'' if number_of == 1 else 's'}"


def named(values: Mapping[str, ArrayLike], name: str) -> dict[str, ArrayLike]:
    """Return ``values`` as a dict; raise InvalidArgumentError for anything else, or empty."""
    if not isinstance(values, Mapping) or not values:
        raise InvalidArgumentError(
            f'{name} must be a dict from names to numbers, for example {{"PPO": returns}}')
    return {str(key): value for key, value in values.items()}
