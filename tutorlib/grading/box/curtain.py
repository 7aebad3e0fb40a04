"""Take out of a box what would answer an exercise: the graders' package, and named functions.

The package ``tutorlib.exercises`` is not there at all. A forbidden function is out of reach for
imports and attributes, while the package's own code, which may need it, goes on working. This
stops calling the answer; it is no wall: whoever rebuilds the function from the package's public
source has copied an answer, as from any book.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

ABSENT = ("tutorlib.exercises", "solutions", "tutorlib.authoring")


class _Absent:
    """A finder that answers imports of what is not in the box with an error that says so."""

    def find_spec(self, name, path=None, target=None):
        """Refuse an absent package and all below it."""
        if any(name == absent or name.startswith(absent + ".") for absent in ABSENT):
            raise ImportError(f"{name} is not there while answers are graded; write what you need "
                              "from it in the answer cell")
        return None


class _Curtained(types.ModuleType):
    """A module some of whose names cannot be had from outside; its functions still see them."""

    def __getattribute__(self, name: str) -> Any:
        hidden = types.ModuleType.__getattribute__(self, "__dict__").get("__curtained__", ())
        if name in hidden and not _asked_by_ours():
            raise ImportError(_message(hidden[name]))
        return types.ModuleType.__getattribute__(self, name)


def _asked_by_ours() -> bool:
    """Whether the code two calls up is this package's own, imported later on."""
    return str(sys._getframe(2).f_globals.get("__name__")).startswith("tutorlib.")


def _message(name: str) -> str:
    return f"{name} is what an exercise asks you to write; it is not there while it is graded"


_named: dict[int, list[tuple[types.ModuleType, str]]] = {}  # by id: where a value has which names
_listed: set[str] = set()  # modules whose names are in that list
_PLAIN = (int, float, str, tuple, types.NoneType, types.ModuleType)  # one may have many meanings


def prepare() -> None:
    """Hide the absent packages, and list which names this package's values have.

    Done before a box is forked, and again after an import: to look at every name of every module
    in the box would copy the memory they lie in, for each submission.
    """
    if not any(isinstance(finder, _Absent) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Absent())
    for name in [n for n in sys.modules if n in ABSENT or n.startswith(
            tuple(f"{absent}." for absent in ABSENT))]:
        del sys.modules[name]
    _quiet_checks()
    for name in [n for n in sys.modules if n.startswith("tutorlib.") and n not in _listed]:
        _listed.add(name)
        for alias, value in vars(sys.modules[name]).items():
            if not isinstance(value, _PLAIN):
                _named.setdefault(id(value), []).append((sys.modules[name], alias))


def draw(forbidden: list[str]) -> None:
    """Hide, besides what ``prepare`` hides, functions named ``package.module.function``."""
    before = len(sys.modules)
    for name in forbidden:
        _import(name.rpartition(".")[0])
    if len(sys.modules) != before:
        prepare()
    for name in forbidden:
        _hide(name)


def _quiet_checks() -> None:
    """Make what a notebook calls beside answers do nothing; ``check`` gives the answer back."""
    import tutorlib
    from tutorlib import grading

    def nothing(*args, **kwargs) -> None:
        return None

    def check(exercise_id, answer=None):
        return answer

    for package in (tutorlib, grading):
        package.check = check
        for name in ("hint", "solution", "progress", "predict", "recall", "quiz"):
            setattr(package, name, nothing)


def _import(name: str) -> types.ModuleType | None:
    """Return a module by name, or None when there is none."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _hide(name: str) -> None:
    """Hide one function, class, constant or method under every name the package has for it."""
    holder, _, last = name.rpartition(".")
    module = _import(holder)
    if module is None:  # package.module.Class.method
        above, _, cls = holder.rpartition(".")
        owner = getattr(importlib.import_module(above), cls, None)
        if owner is not None and hasattr(owner, last):
            setattr(owner, last, _refusing(name, getattr(owner, last)))
        return
    target = vars(module).get(last)
    if target is None:
        return
    _curtain(module, last, name)
    for other, alias in _named.get(id(target), ()):
        _curtain(other, alias, name)


def _curtain(module: types.ModuleType, alias: str, name: str) -> None:
    """Hide ``alias`` from everything outside of ``module``."""
    hidden = vars(module).setdefault("__curtained__", {})
    hidden[alias] = name
    if "__all__" in vars(module):
        module.__all__ = [n for n in module.__all__ if n != alias]
    module.__class__ = _Curtained


def _refusing(name: str, method):
    """Return a method that works for this package's own code, and else says why it is not there."""
    def refuse(*args, **kwargs):
        if _asked_by_ours():
            return method(*args, **kwargs)
        raise ImportError(_message(name))
    return refuse
