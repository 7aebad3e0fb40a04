"""Run code that cannot be trusted in a box, and get nothing out of it but data.

    with open_box() as box:
        problems = box.load([Cell(source_of_imports, imports_only=True), Cell(source_of_answer)])
        result = evaluate(exercise, box.answer(exercise.name, exercise.time_limit), seed)

The cases, the expected values and the comparison stay with the caller. What each file is about:

- outside: ``tiers`` chooses the isolation, ``host`` and ``box`` (with ``pipes``) start and hold a
  box, ``proxy`` is an answer that lives in one, ``unwire`` reads what a box says, ``doctor``
  attacks a box of this machine and prints what holds
- in between: ``zygote`` (and ``watch``) has libraries loaded, forks boxes and watches them;
  ``request`` and ``wire`` are the two languages spoken
- inside: ``lock`` (with ``bubblewrap``, ``landlock``, ``seccomp``, ``limits``, ``system``,
  ``paths``) locks a box before a learner's first byte is read; ``inside`` (with ``cells`` and
  ``curtain``) runs the cells and answers
"""

from __future__ import annotations

import importlib

_EXPORTS = {
    "Box": "box",
    "BoxDiedError": "errors",
    "BoxError": "errors",
    "Cell": "cells",
    "Limits": "limits",
    "NoBoxError": "errors",
    "Tier": "tiers",
    "best_tier": "tiers",
    "open_box": "tiers",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    """Load an exported name on first use: what runs inside a box needs little of this."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tutorlib.grading.box' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tutorlib.grading.box.{_EXPORTS[name]}"), name)
