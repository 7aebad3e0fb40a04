"""Reading answers: from words back to what is claimed and in which manner.

The grammar is small and strict. What does not fit it is malformed, and the gold reward treats it as
a text that nobody can use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from tutorlib.tinytalk.words import (
    CLOSERS,
    COLORS,
    FACTS,
    FILLERS,
    MOODS,
    NAMES,
    POLITE,
    REFUSAL,
    RUDE,
    TOYS,
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an answer says and how."""

    kind: str  # "fact", "worked", "direct", "steps", "refusal", "summary" or "malformed"
    claim: tuple  # by kind: (kind, subject, value); additions; (number,); steps; (); four slots
    tone: str  # "polite", "rude" or "neutral", by its opener
    length: int  # words in all
    padding: int  # words of fillers and closers


def _either(phrases) -> str:
    return "|".join(re.escape(phrase) for phrase in phrases)


_MANNER = re.compile(
    rf"(?:(?P<polite>{_either(POLITE)}) |(?P<rude>{_either(RUDE)}) )?"
    rf"(?P<fillers>(?:(?:{_either(FILLERS)}) )*)"
    rf"(?P<content>[^.]+ \.)(?P<closer> (?:{_either(CLOSERS)}))?")
_FACT = {kind: re.compile(re.sub(r"\\{\w*\\}", r"(\\w+)", re.escape(sentence)))
         for kind, (_, _, sentence) in FACTS.items()}
_ADDITION = re.compile(r"(\d+) \+ (\d+) = (\d+)")
_DIRECT = re.compile(r"the answer is (\d+) \.")
_HAS = re.compile(rf"(?:({_either(MOODS)}) )?({_either(NAMES)}) has a "
                  rf"(?:({_either(COLORS)}) )?({_either(TOYS)}) \.")
_IS = re.compile(rf"({_either(NAMES)}) is ({_either(MOODS)}) \.")


@lru_cache(maxsize=65_536)
def parse(answer: str) -> Parsed:
    """Return what an answer claims, and its manner; ``answer`` is words without special tokens.

    >>> parse("ugh , well , 12 + 5 = 17 .")
    Parsed(kind='worked', claim=((12, 5, 17),), tone='rude', length=10, padding=2)
    >>> parse("blue blue blue").kind
    'malformed'
    """
    length = len(answer.split())
    match = _MANNER.fullmatch(answer)
    if match is None:
        return Parsed("malformed", (), "neutral", length, 0)
    tone = "polite" if match["polite"] else "rude" if match["rude"] else "neutral"
    padding = len(match["fillers"].split()) + len((match["closer"] or "").split())
    kind, claim = _claim(match["content"])
    return Parsed(kind, claim, tone, length, padding)


def _claim(content: str) -> tuple[str, tuple]:
    """Return the kind of a content and what it claims."""
    if content == REFUSAL:
        return "refusal", ()
    if found := _DIRECT.fullmatch(content):
        return "direct", (int(found[1]),)
    if content.startswith("first "):
        return "steps", tuple(content.removeprefix("first ").removesuffix(" .").split(" , then "))
    if steps := _additions(content):
        return "worked", steps
    if found := _HAS.fullmatch(content):
        mood, name, color, thing = found.groups()
        return "summary", (name, mood, color, thing)
    if found := _IS.fullmatch(content):
        return "summary", (found[1], found[2], None, None)
    for kind, pattern in _FACT.items():
        if found := pattern.fullmatch(content):
            return "fact", (kind, *found.groups())
    return "malformed", ()


def _additions(content: str) -> tuple[tuple[int, ...], ...]:
    """Return the additions of "a + b = c , d + e = f .", or nothing if it is something else."""
    found = [_ADDITION.fullmatch(part) for part in content.removesuffix(" .").split(" , ")]
    return tuple(tuple(map(int, f.groups())) for f in found) if all(found) else ()
