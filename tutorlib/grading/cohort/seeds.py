"""The secret that hidden cases are drawn from: one for each cohort, in a file of its own."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tutorlib.errors import GradingError

SHORTEST = 16  # characters
DRAWS = 11  # of an exercise's hidden cases, at most


@dataclass(frozen=True)
class Seed:
    """A cohort's secret; only its ``id`` may be shown."""

    secret: str = field(repr=False)

    @property
    def id(self) -> str:
        """A name by which two gradings with the same secret can be recognised."""
        return hashlib.sha256(f"tutorlib seed id {self.secret}".encode()).hexdigest()[:12]

    def number(self, exercise_id: str, draw: int = 0) -> int:
        """Return the seed of an exercise's hidden cases, 63 bits."""
        message = f"{exercise_id} {draw}".encode()
        digest = hmac.new(self.secret.encode(), message, hashlib.sha256).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def drawn(self, exercise_ids: Iterable[str]) -> dict[str, list[int]]:
        """Return all numbers of some exercises; the secret cannot be told from them."""
        return {one: [self.number(one, draw) for draw in range(DRAWS)] for one in exercise_ids}


@dataclass(frozen=True)
class DrawnSeed:
    """Numbers that were drawn from a secret, for a place where the secret is not to be."""

    numbers: Mapping[str, Sequence[int]] = field(repr=False)

    def number(self, exercise_id: str, draw: int = 0) -> int:
        """Return the seed of an exercise's hidden cases, as ``Seed`` does."""
        return self.numbers[exercise_id][draw]


def open_seed(path: str | Path) -> Seed:
    """Return the secret kept in a file; a missing one is made, for its owner's eyes only.

    Raises ``GradingError`` for a secret that could be guessed or a file that cannot be read.
    """
    path = Path(path)
    try:
        if not path.exists():
            _make(path)
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise GradingError(f"the seed file {path} cannot be read or made ({problem})") from problem
    if len(text) < SHORTEST:
        raise GradingError(f"the seed file {path} holds {len(text)} characters; at least "
                           f"{SHORTEST} are needed, or learners could guess the hidden cases. "
                           "Delete it and run this again: a good one is made.")
    return Seed(text)


def _make(path: Path) -> None:
    """Write a new secret, never over an old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(secrets.token_hex(32) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
