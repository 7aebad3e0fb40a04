"""Which modules a box is to have before a learner's code runs, and their bytecode.

Importing torch's compiler takes seconds. Within a call that would count against its time limit,
and for each submission again; in every process that makes boxes it would make the first
submission wait for what most never use. So what an answer, or what grades it, seems to use is
imported before the box is forked. Its text chooses from a list and from nothing else.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

from tutorlib.grading.exercise import Exercise

NEEDED = ("numpy", "torch")
BARE = ("numpy",)  # where nothing has to do with tensors: torch takes seconds to load
# What torch loads late: for gradients that come with weights, and for optimisers.
_GRADIENTS = ("torch.fx.experimental.symbolic_shapes",)
_OPTIMISERS = (*_GRADIENTS, "torch._dynamo")
_ROOT = Path(__file__).resolve().parents[3]
LONGEST_KEPT = 100_000  # characters of a text that is remembered: learners' may be of any length
_BY_TEXT = {
    r"\btorch\b": ("torch",),
    r"\b(autograd|requires_grad)\b|\.(backward|grad)\(": _GRADIENTS,
    r"\boptim\b": _OPTIMISERS,
    r"\b(import|from) scipy\b": ("scipy.optimize", "scipy.special"),
    r"\b(import|from) transformers\b": ("transformers",),
    r"\btutorlib(\.mdp\b| import .*\bmdp\b)": ("tutorlib.mdp",),
    **{rf"\btutorlib(\.{name}\b| import .*\b{name}\b)": (*_OPTIMISERS, f"tutorlib.{name}")
       for name in ("control", "imitation", "irl", "lm", "rewards", "posttraining", "tinytalk")},
}


def modules_for(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the modules that something in ``texts`` asks for, always in the same order.

    >>> modules_for(["from scipy.special import logsumexp"])
    ('scipy.optimize', 'scipy.special')
    """
    asked = set().union(*(_asked(text) if len(text) <= LONGEST_KEPT else _asked.__wrapped__(text)
                          for text in texts))
    found = [modules for pattern, modules in _BY_TEXT.items() if pattern in asked]
    return tuple(dict.fromkeys(module for modules in found for module in modules))


@lru_cache(256)  # graders' texts and worked answers come with every notebook
def _asked(text: str) -> frozenset[str]:
    """Return the patterns that occur in a text."""
    return frozenset(pattern for pattern in _BY_TEXT if re.search(pattern, text))


def usual_modules(slugs: Iterable[str]) -> tuple[str, ...]:
    """Return what boxes for exercises of these units are to have from the start.

    The units' files are read for that, not run; ``NEEDED`` for no units.
    """
    places = [_ROOT / "tutorlib" / "exercises" / slug for slug in slugs]
    files = [file for place in places for file in (place.with_suffix(".py"), *place.rglob("*.py"))]
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    return NEEDED if not texts or modules_for(texts) else BARE


def graders_text(exercise: Exercise) -> str:
    """Return the source of the modules that define an exercise's cases and oracle."""
    makers = (exercise.cases, exercise.oracle)
    names = {getattr(maker, "__module__", None) for maker in makers if maker is not None}
    return "\n".join(_source(name) for name in sorted(filter(None, names)))


@cache
def _source(name: str) -> str:
    try:
        return inspect.getsource(sys.modules[name])
    except (KeyError, OSError, TypeError):
        return ""


_seen_to: set[str] = set()


def keep_bytecode(modules: Iterable[str]) -> None:
    """Import modules once in a process that may write, if their bytecode is not there.

    Behind the outer wall nothing can be written: each process that makes boxes would compile
    torch anew, on a new installation.
    """
    missing = [name for name in modules if name not in _seen_to and not _is_compiled(name)]
    _seen_to.update(modules)
    if missing:
        code = f"import sys; sys.path.insert(0, {str(_ROOT)!r})\nimport {', '.join(missing)}"
        subprocess.run([sys.executable, "-I", "-c", code], check=False, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _is_compiled(name: str) -> bool:
    """Whether a module's bytecode is kept, or there is nothing to keep."""
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return True
    place = Path(spec.submodule_search_locations[0], *rest)
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return not source.is_file() or Path(importlib.util.cache_from_source(str(source))).is_file()
