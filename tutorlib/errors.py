"""The errors this package raises: each says what was wrong, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TutorlibError(Exception):
    """Base class of every error that this package raises on purpose."""


class InvalidMDPError(TutorlibError, ValueError):
    """A decision process is not well formed: bad probabilities, NaN rewards, wrong shapes."""


class InvalidMapError(TutorlibError, ValueError):
    """A drawn gridworld map cannot be read."""


class InvalidArgumentError(TutorlibError, ValueError):
    """An argument lies outside what the function is defined for."""


class NotConvergedError(TutorlibError, RuntimeError):
    """An iteration reached its limit before its tolerance."""


class UnknownExerciseError(TutorlibError, KeyError):
    """No exercise has this id; the message names the nearest ones."""

    def __str__(self) -> str:
        """Return the message plainly (``KeyError`` would quote it)."""
        return str(self.args[0]) if self.args else ""


class InvalidTextError(TutorlibError, ValueError):
    """A text or a batch of tokens cannot be given to a language model: empty, unknown, too long."""


class InvalidModelError(TutorlibError, ValueError):
    """A language model does not fit its tokenizer, or its numbers are NaN."""


class TrainingDivergedError(TutorlibError, RuntimeError):
    """Training left the rails: NaN, or a policy far from its reference; weights were given back."""

    def __init__(self, message: str, history: list[dict] | None = None):
        """Keep the records of the steps before, as ``history``."""
        super().__init__(message)
        self.history = [] if history is None else history


class ModelNotFoundError(TutorlibError, OSError):
    """No language model of this name is in this folder, in the cache or within reach."""


class DataNotFoundError(TutorlibError, OSError):
    """A data set is neither in ``$TUTORLIB_DATA`` nor in the cache nor within reach."""


class GradingError(TutorlibError, RuntimeError):
    """A cohort cannot be graded, handed out, collected or exported as asked."""


class LessonError(TutorlibError, ValueError):
    """A lesson source or a built notebook is malformed."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return a sentence part naming the ``known`` names most like ``name``.

    >>> nearest("valu", ["values", "policy"])
    "did you mean 'values'?"
    """
    matches = difflib.get_close_matches(name, list(known), n=count, cutoff=0.4)
    if not matches:
        return "there is nothing of a similar name"
    return "did you mean " + " or ".join(repr(match) for match in matches) + "?"
