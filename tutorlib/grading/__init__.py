"""Exercises, their graders, and what a learner sees of them."""

from __future__ import annotations

import importlib

_EXPORTS = {
    "Case": "exercise",
    "Exercise": "exercise",
    "Mutant": "exercise",
    "Property": "exercise",
    "Variant": "exercise",
    "Question": "questions",
    "check": "notebook",
    "evaluate": "judge",
    "hint": "notebook",
    "predict": "questions",
    "progress": "notebook",
    "quiz": "questions",
    "recall": "questions",
    "solution": "notebook",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    """Load an exported name on first use: listing exercises must not load the whole machinery."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tutorlib.grading' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"tutorlib.grading.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value
