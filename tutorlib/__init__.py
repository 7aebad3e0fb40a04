"""From Inverse RL to LLM Post-Training: the package behind the course.

Importing ``tutorlib`` costs almost nothing: what the lessons use (``check``, ``hint``,
``solution``, ``progress``, ...) is loaded on first use, and torch with it.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_EXPORTS = {
    "check": "tutorlib.grading",
    "hint": "tutorlib.grading",
    "solution": "tutorlib.grading",
    "progress": "tutorlib.grading",
    "predict": "tutorlib.grading",
    "recall": "tutorlib.grading",
    "quiz": "tutorlib.grading",
    "pick_device": "tutorlib.device",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str):
    """Load an exported name on first use (PEP 562), so that ``import tutorlib`` stays cheap."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tutorlib' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    """List the lazy exports too, so that tab completion finds them."""
    return sorted(__all__)
