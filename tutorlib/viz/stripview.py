"""What a token strip shows: checked tokens and numbers, and the words that describe them.

A token is in the prompt, in the answer, or padding. Numbers belong to tokens; NaN is "none here".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import as_array, count, listing, named, number

_SPOKEN = 30  # tokens of a sequence whose numbers are read out; beyond, only the extremes are


@dataclass(frozen=True)
class Strip:
    """One sequence of tokens."""

    name: str  # what distinguishes it from its neighbours; may be empty
    tokens: tuple[str, ...]
    prompt: np.ndarray  # [tokens], true in the prompt
    padding: np.ndarray  # [tokens], true at padding
    rows: dict[str, np.ndarray]  # quantity: [tokens], NaN where there is no number
    eos: str  # the token that ends an answer

    @property
    def answer(self) -> list[int]:
        """Indices of the tokens that are neither prompt nor padding."""
        return [i for i in range(len(self.tokens)) if not (self.prompt[i] or self.padding[i])]

    def ends(self, index: int) -> bool:
        """Whether a token is an end of sequence that counts."""
        return self.tokens[index] == self.eos and not self.padding[index]


def read_strips(tokens: Sequence, values: Mapping[str, ArrayLike] | None, prompt, mask, eos: str,
                names: Sequence[str]) -> list[Strip]:
    """Return checked strips from what ``token_strip`` is given; one sequence counts as a list."""
    if isinstance(tokens, str) or not len(tokens):
        raise InvalidArgumentError(
            f'tokens is {tokens!r}; give a list of tokens, for example ["the", "sky"], or a list '
            "of such lists")
    several = not all(isinstance(token, str) for token in tokens)
    if several and any(isinstance(row, str) or not np.ndim(row) or not len(row)
                       for row in tokens):
        raise InvalidArgumentError("tokens must be strings (a tokenizer's convert_ids_to_tokens "
                                   "gives them), in one list or in a list of lists, none empty")
    wrap = (lambda given: given) if several else (lambda given: [given])
    lists = wrap(tokens)
    quantities = {} if values is None else {
        name: _each(wrap(given), name, len(lists)) for name, given in
        named(values, "values").items()}
    prompts = _each([None] * len(lists) if prompt is None else wrap(prompt), "prompt", len(lists))
    masks = _each([None] * len(lists) if mask is None else wrap(mask), "mask", len(lists))
    titles = _each(list(names) or [""] * len(lists), "names", len(lists))
    return [_strip(str(titles[i]), lists[i], {name: rows[i] for name, rows in quantities.items()},
                   prompts[i], masks[i], eos) for i in range(len(lists))]


def _each(given: Sequence, name: str, wanted: int) -> Sequence:
    """Return ``given`` if it has one entry for each sequence."""
    try:
        found = len(given)
    except TypeError:
        found = 1
    if found != wanted:
        raise InvalidArgumentError(f"{name} has {count(found, 'row')} for "
                                   f"{count(wanted, 'sequence')} of tokens; give one for each")
    return given


def _strip(name: str, tokens: Sequence[str], values: dict, prompt, mask, eos: str) -> Strip:
    """Return one checked sequence."""
    wrong = [token for token in tokens if not isinstance(token, str)]
    if wrong:
        raise InvalidArgumentError(f"tokens holds {wrong[0]!r}; expected strings: a tokenizer's "
                                   "convert_ids_to_tokens gives them")
    size = len(tokens)
    padding = np.zeros(size, bool) if mask is None else _flags(mask, "mask", size) == 0
    asked = _prompt_flags(prompt, padding)
    rows = {label: np.where(padding, np.nan, _aligned(row, label, asked, size))
            for label, row in values.items()}
    return Strip(name, tuple(tokens), asked & ~padding, padding, rows, eos)


def _flags(values: ArrayLike, name: str, size: int) -> np.ndarray:
    """Return a row of 0 and 1."""
    flags = as_array(values, name, (size,))
    if not np.isin(flags, (0, 1)).all():
        raise InvalidArgumentError(f"{name} is {flags.tolist()}; expected 0 and 1")
    return flags


def _prompt_flags(prompt, padding: np.ndarray) -> np.ndarray:
    """Return where the prompt is, from a number of leading tokens or from a mask."""
    size = len(padding)
    if prompt is None:
        return np.zeros(size, bool)
    if not np.ndim(prompt):
        if int(prompt) != prompt or not 0 <= prompt <= (~padding).sum():
            raise InvalidArgumentError(f"prompt is {prompt!r}; expected how many of the "
                                       f"{(~padding).sum()} tokens are the prompt, or a mask")
        return ~padding & (np.cumsum(~padding) <= int(prompt))
    return _flags(prompt, "prompt", size) == 1


def _aligned(values: ArrayLike, name: str, prompt: np.ndarray, size: int) -> np.ndarray:
    """Return numbers for all tokens; fewer of them belong to the last tokens."""
    row = as_array(values, name, (None,), gaps=True)
    behind = size - (int(np.flatnonzero(prompt)[-1]) + 1 if prompt.any() else 0)
    if len(row) not in (size, size - 1, behind):
        raise InvalidArgumentError(
            f"{name} has {count(len(row), 'number')} for {count(size, 'token')}; expected {size} "
            f"(one each), {size - 1} (all but the first) or {behind} (those behind the prompt)")
    return np.concatenate([np.full(size - len(row), np.nan), row])


def describe_strips(title: str, strips: Sequence[Strip], note: str) -> str:
    """Return the alt text: each sequence's words and numbers, then the extremes."""
    tokens = sum(len(strip.tokens) for strip in strips)
    alt = [f"{title}.", f"Strip of {count(tokens, 'token')}"
           + (f" in {count(len(strips), 'sequence')}." if len(strips) > 1 else ".")]
    for strip in strips:
        alt += _sequence_words(strip)
    alt += [_extremes(label, strips) for label in strips[0].rows]
    return " ".join(part for part in [*alt, note] if part)


def _sequence_words(strip: Strip) -> list[str]:
    """Return what one sequence says, and its numbers."""
    prompt = " ".join(t for t, asked in zip(strip.tokens, strip.prompt, strict=True) if asked)
    said = " ".join(strip.tokens[i] for i in strip.answer)
    words = [f'Prompt "{prompt}"' if prompt else "", f'answer "{said}"' if prompt else f'"{said}"']
    pads = int(strip.padding.sum())
    words.append(count(pads, "padding token") if pads else "")
    ended = any(strip.ends(i) for i in range(len(strip.tokens)))
    words.append("" if ended or not prompt else f"no {strip.eos}")
    head = (f"{strip.name}: " if strip.name else "") + ", ".join(word for word in words if word)
    told = []
    for label, row in strip.rows.items():
        kept = [i for i in range(len(row)) if not np.isnan(row[i])]
        if 0 < len(kept) <= _SPOKEN:
            told.append(f"{label}: " + ", ".join(f"{strip.tokens[i]} {number(row[i])}"
                                                 for i in kept) + ".")
    return [f"{head}.", *told]


def _extremes(label: str, strips: Sequence[Strip]) -> str:
    """Say where a quantity is lowest and highest."""
    found = [(float(value), strip.tokens[i], strip.name) for strip in strips
             for i, value in enumerate(strip.rows[label]) if not np.isnan(value)]
    if not found:
        return f"{label} has no numbers."
    low, high = min(found, key=lambda f: f[0]), max(found, key=lambda f: f[0])
    if low[0] == high[0]:
        return f"{label} is {number(low[0])} throughout."
    ends = [f"{word} {number(value)} at {token!r}" + (f" in {name}" if name else "")
            for word, (value, token, name) in (("lowest", low), ("highest", high))]
    return f"{label}: {listing(ends)}."
