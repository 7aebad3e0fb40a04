"""Imports run one way: what an algorithm package may know of, read off the source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "tutorlib"

# Each package and what it may import of this project; everything may import BASE.
BASE = {"errors", "syllabus", "device"}
ALGORITHMS = {
    "mdp": set(),
    "control": {"mdp"},
    "imitation": {"mdp", "control"},
    "irl": {"mdp", "control", "imitation"},
    "lm": {"mdp"},
    "tinytalk": {"lm"},
    "rewards": {"lm", "tinytalk"},
    "posttraining": {"lm", "tinytalk", "rewards"},
}
ARROWS = {
    **ALGORITHMS,
    "viz": {"mdp"},  # arrays, and a gridworld's plain attributes
    "grading": {"viz", "exercises"},  # pictures after success; the registry finds exercises
    "exercises": {*ALGORITHMS, "grading", "viz"},
    "authoring": {"grading", "exercises", "viz"},
    "doctor": {"grading"},  # where progress is kept
    "lab": set(),
    "maps": set(),
    "cli": {"authoring", "doctor", "grading", "lab", "maps"},
    **{name: set() for name in BASE},
    "__init__": {"grading"},
}


def imports(source: str, package: str) -> set[str]:
    """Return the dotted names that a module of ``package`` imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                start = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*start, *([base] if base else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def parts_of(names: set[str]) -> set[str]:
    """Return the first part below ``tutorlib`` of each of this project's names."""
    return {name.split(".")[1] for name in names if name.startswith("tutorlib.")}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    inside = path.relative_to(PACKAGE)
    part = inside.parts[0].removesuffix(".py")
    package = ".".join(["tutorlib", *inside.parts[:-1]])
    used = parts_of(imports(path.read_text(encoding="utf-8"), package))
    packages = {p.stem for p in PACKAGE.iterdir()}
    names = used & packages - {part} - BASE - {"__init__"}
    assert part in ARROWS, f"{part} is new: add it to ARROWS and say what it may import"
    too_much = names - ARROWS[part]
    assert not too_much, f"{inside} imports {sorted(too_much)}; allowed: {sorted(ARROWS[part])}"


def test_algorithms_have_no_cycle_and_know_nothing_of_lessons():
    order = list(ALGORITHMS)
    for position, name in enumerate(order):
        assert ALGORITHMS[name] <= set(order[:position]), f"{name} imports a later package"


@pytest.mark.parametrize("line, expected", [
    ("import tutorlib.viz", {"viz"}),
    ("from tutorlib import grading", {"grading"}),
    ("from tutorlib.viz.style import style", {"viz"}),
    ("from ..grading import check", {"grading"}),
    ("from .planning import q_values", {"mdp"}),
    ("def f():\n    from tutorlib.exercises import x", {"exercises"}),
    ("import torch", set()),
])
def test_every_way_to_import_is_seen(line, expected):
    assert parts_of(imports(line, "tutorlib.mdp")) == expected
