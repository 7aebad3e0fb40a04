"""From one lesson source to three notebooks, and running them within their budgets.

``course/NN_slug.py`` is the only hand-edited form of a lesson. ``build`` writes ``notebooks/``,
``exercises/`` and ``solutions/`` from it, the same bytes each time; ``lint`` holds a lesson to the
house rules; ``run`` executes built notebooks and measures them.
"""

from __future__ import annotations

import importlib

_EXPORTS = {
    "Budget": "runner",
    "BuildReport": "builder",
    "Lesson": "lesson",
    "Problem": "lesson",
    "RunResult": "runner",
    "build": "builder",
    "build_payload": "builder",
    "lint": "linter",
    "lint_course": "linter",
    "print_build": "builder",
    "print_runs": "runner",
    "read_lesson": "lesson",
    "run": "runner",
    "run_payload": "runner",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    """Load an exported name on first use: the CLI imports this package for every command."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tutorlib.authoring' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"tutorlib.authoring.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value
