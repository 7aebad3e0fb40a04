"""What can go wrong with a box, beyond what the code in it raises."""

from __future__ import annotations

from tutorlib.errors import TutorlibError


class TimeLimitReached(BaseException):
    """Ends code that runs too long; no ``Exception``, so that ``except Exception`` lets it by."""


class BoxError(TutorlibError, RuntimeError):
    """A box could not be started, or was used in a way it cannot be."""


class BoxDiedError(BoxError):
    """The code in the box ended it, or broke a limit; a new box grades what is left."""


class NoBoxError(BoxError):
    """No tier of isolation works on this machine; the message says what each one lacks."""
