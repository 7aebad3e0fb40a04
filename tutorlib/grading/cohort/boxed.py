"""A runner in a box: one box for each exercise, made by the process that grades."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tutorlib.grading.box import Box, BoxDiedError, Cell, best_tier, open_box
from tutorlib.grading.box import Limits as BoxLimits
from tutorlib.grading.box.clock import PATIENCE
from tutorlib.grading.box.preload import NEEDED, graders_text, modules_for
from tutorlib.grading.box.tiers import TIERS
from tutorlib.grading.cohort.answers import Piece
from tutorlib.grading.cohort.names import clean_text
from tutorlib.grading.cohort.runners import Limits, OpenRunner
from tutorlib.grading.exercise import Exercise
from tutorlib.grading.guard import TimeLimitReached
from tutorlib.grading.tensors import loaded_torch

_WITH_TORCH = ("torch", "transformers", "tutorlib")  # whoever loads these, loads torch


class Boxed:
    """One exercise's code in a box of a tier, which limits what a call computes."""

    patience = PATIENCE

    def __init__(self, tier: str, limits: Limits, modules: tuple[str, ...] = NEEDED):
        """Nothing is open before ``load``, which says what the box has to have besides modules."""
        self.tier, self._modules = tier, modules
        self._limits = BoxLimits(memory=limits.memory << 20,
                                 cpu_seconds=max(1, round(limits.seconds)))
        self._box: Box | None = None
        self._opened = 0.0

    @property
    def why(self) -> str:
        """Why the box ended; empty while it lives."""
        return self._box.why if self._box else ""

    @property
    def broken(self) -> bool:
        """Whether the process that makes boxes is gone: killed, or out of memory."""
        return self._box is not None and not self._box.host_alive

    @property
    def spent(self) -> float:
        """The seconds that it computed, or a share of those it lasted: it may only have slept.

        Making the box and importing what it needs is not the learner's doing.
        """
        if self._box is None:
            return 0.0
        return max(self._box.computed or 0.0, (time.monotonic() - self._opened) / PATIENCE)

    def load(self, pieces: Sequence[Piece], exercise: Exercise) -> list[str]:
        """Open the box and run pieces in it; raises BoxError where it cannot be opened."""
        texts = (*(piece.source for piece in pieces), *exercise.forbidden, graders_text(exercise))
        tier = next(t for t in TIERS if t.name == self.tier)
        modules = dict.fromkeys((*self._modules, *modules_for(texts)))
        if any(name.split(".")[0] in _WITH_TORCH for name in modules):
            import torch  # noqa: F401  (here too: it is not loaded for what a box sends)
        if loaded_torch():  # by the graders, then
            modules["torch"] = None
        self._box = open_box(tier, self._limits, tuple(modules))
        self._opened = time.monotonic()
        cells = [Cell(piece.source, f"cell {piece.cell}") for piece in pieces]
        try:
            return [problem or "" for problem in self._box.load(cells, exercise.forbidden)]
        except (BoxDiedError, TimeLimitReached):  # ``why`` tells
            return [""] * len(pieces)
        except Exception as problem:  # too many errors to be sent, or what a forged reply says
            told = clean_text(f"{type(problem).__name__}: {problem}", 500)
            return [f"what cannot be told ({told})"] * len(pieces)

    def answer(self, exercise: Exercise) -> Any:
        """Return a stand-in for the learner's function, or the value."""
        with contextlib.suppress(TimeLimitReached):
            return self._box.answer(exercise.name, exercise.time_limit)
        return None

    def close(self) -> None:
        """End the box."""
        if self._box:
            self._box.close()


@dataclass(frozen=True)
class Boxes:
    """Opens boxes of a tier, which have modules loaded; can be sent to another process."""

    tier: str
    modules: tuple[str, ...] = NEEDED

    def __call__(self, limits: Limits) -> Boxed:
        """Return a runner in a box."""
        return Boxed(self.tier, limits, self.modules)


def boxes(modules: tuple[str, ...] = NEEDED) -> tuple[OpenRunner, str]:
    """Return (how to open a box, its tier); raises NoBoxError, saying what each tier lacks."""
    tier = best_tier(modules)
    return Boxes(tier.name, modules), tier.name
