"""What can be asked in TinyTalk, and which of it is held out.

A prompt is a family (facts, arithmetic, how-to, unsafe, summary), its content, and an instruction
that may stand in front. Splits go by content, never by sample: which facts, number pairs or
combinations a learner may train on is fixed by a checksum of the content, so the same on every
machine. Arithmetic is split by pairs of numbers added: a problem is held out as soon as one of its
steps adds a held-out pair. A third split, "longer", asks for one addition more than any training
problem has.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from tutorlib.errors import InvalidArgumentError
from tutorlib.tinytalk.words import (
    COLORS,
    FACTS,
    INSTRUCTIONS,
    LOOKALIKES,
    MOODS,
    NAMES,
    OBJECTS,
    RECIPES,
    TOYS,
    UNSAFE_RECIPES,
)

FAMILIES = ("facts", "arithmetic", "howto", "unsafe", "summary")
SPLITS = ("train", "heldout", "longer")
HELD_OUT_PERCENT = 15
_SALT = "h "  # of the checksum: with this one, every kind of fact has held-out subjects
_STARTS, _ADDED, _TRAIN_ADDITIONS = range(1, 13), range(1, 10), (1, 2)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question: what is asked (family and content) and how (instruction).

    ``content`` is (kind, subject) for facts, the numbers to add for arithmetic, (verb, object) for
    how-to and unsafe, and (name, mood, color, object) for summaries.
    """

    family: str
    content: tuple
    instruction: str = ""

    @property
    def text(self) -> str:
        """The words of the prompt, without special tokens.

        >>> Prompt("arithmetic", (12, 5, 3), "be brief :").text
        'be brief : what is 12 + 5 + 3 ?'
        """
        asked = _TEXTS[self.family](self.content)
        return f"{self.instruction} {asked}" if self.instruction else asked

    @property
    def chat(self) -> list[dict[str, str]]:
        """The prompt as a conversation, for a tokenizer's chat template."""
        return [{"role": "user", "content": self.text}]

    @property
    def lookalike(self) -> bool:
        """Whether a harmless request uses a word of the unsafe ones."""
        return self.family == "howto" and self.content[0] in LOOKALIKES


def _summary_text(content: tuple) -> str:
    name, mood, color, thing = content
    return f"{name} has a {color} {thing} . {name} is {mood} . summarize :"


_TEXTS = {
    "facts": lambda content: FACTS[content[0]][1].format(content[1]),
    "arithmetic": lambda content: f"what is {' + '.join(map(str, content))} ?",
    "howto": lambda content: f"how do i {content[0]} a {content[1]} ?",
    "unsafe": lambda content: f"how do i {content[0]} a {content[1]} ?",
    "summary": _summary_text,
}


def additions(numbers: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return the worked steps (total so far, added, new total).

    >>> additions((12, 5, 3))
    [(12, 5, 17), (17, 3, 20)]
    """
    steps, total = [], numbers[0]
    for number in numbers[1:]:
        steps.append((total, number, total + number))
        total += number
    return steps


def _held_out(*content) -> bool:
    """Say whether a checksum of the content falls into the held-out share."""
    return zlib.crc32((_SALT + " ".join(map(str, content))).encode()) % 100 < HELD_OUT_PERCENT


def split_of(family: str, content: tuple) -> str:
    """Return the split that a content belongs to.

    >>> split_of("arithmetic", (1, 2, 3, 4))
    'longer'
    """
    if family != "arithmetic":
        return "heldout" if _held_out(family, *content) else "train"
    if len(content) - 1 not in _TRAIN_ADDITIONS:
        return "longer"
    pairs = ((total, added) for total, added, _ in additions(content))
    return "heldout" if any(_held_out("add", *pair) for pair in pairs) else "train"


def _all_contents(family: str) -> list[tuple]:
    """Return everything that can be asked in a family."""
    if family == "facts":
        return [(kind, subject) for kind, (table, *_) in FACTS.items() for subject in table]
    if family == "arithmetic":
        return [numbers for n in (1, 2, 3) for numbers in product(_STARTS, *[_ADDED] * n)]
    if family == "summary":
        return list(product(NAMES, MOODS, COLORS, TOYS))
    recipes = RECIPES if family == "howto" else UNSAFE_RECIPES
    return list(product(recipes, OBJECTS))


@cache
def contents(family: str, split: str) -> tuple[tuple, ...]:
    """Return all contents of a family in a split; only arithmetic has any in "longer".

    Raises InvalidArgumentError for a family or split that does not exist.
    """
    if family not in FAMILIES or split not in SPLITS:
        raise InvalidArgumentError(f"there is no family {family!r} with split {split!r}; families: "
                                   f"{', '.join(FAMILIES)}; splits: {', '.join(SPLITS)}")
    return tuple(c for c in _all_contents(family) if split_of(family, c) == split)


@cache
def _by_length(split: str) -> tuple[tuple[tuple, ...], ...]:
    """Return the arithmetic problems grouped by length: there are many more long ones."""
    groups: dict[int, list[tuple]] = {}
    for content in contents("arithmetic", split):
        groups.setdefault(len(content), []).append(content)
    return tuple(tuple(groups[n]) for n in sorted(groups))


def draw_content(rng: random.Random, family: str, split: str) -> tuple:
    """Draw a content; of arithmetic first a length, evenly, then a problem of that length."""
    if family == "arithmetic":
        return rng.choice(rng.choice(_by_length(split)))
    return rng.choice(contents(family, split))


def sample_prompts(n: int, seed: int, split: str = "train",
                   families: Sequence[str] = FAMILIES,
                   instructions: Sequence[str] = ("",)) -> list[Prompt]:
    """Return ``n`` prompts, the same for the same seed; families and instructions drawn evenly.

    Raises InvalidArgumentError for an unknown family, split or instruction, or an empty choice.

    >>> [prompt.text for prompt in sample_prompts(2, seed=1, families=["facts"])]
    ['how many legs has a beetle ?', 'what color is the coal ?']
    """
    usable = [f for f in families if contents(f, split)]  # names unknown ones
    unknown = [i for i in instructions if i not in INSTRUCTIONS]
    if unknown or not usable or not instructions:
        raise InvalidArgumentError(
            f"nothing to ask: instructions {list(instructions)} of {list(INSTRUCTIONS)}, families "
            f"{list(families)} of which {usable} have a split {split!r}")
    rng = random.Random(seed)
    draws = []
    for _ in range(n):
        family = rng.choice(usable)
        content = draw_content(rng, family, split)
        draws.append(Prompt(family, content, rng.choice(instructions)))
    return draws
