"""A thousand notebooks of a real unit, made from its solutions and its worksheet.

Nobody's: solved ones, ones in which one operator of one or of every answer is another, half done
ones, untouched ones, and a few hostile ones. The same seed makes the same notebooks.
"""

from __future__ import annotations

import ast
import csv
import filecmp
import json
import random
from collections.abc import Callable
from pathlib import Path

from assignment import TRICKS

ROOT = Path(__file__).parents[2]
PARTS = {"solved": 0.45, "one mistake": 0.25, "a mistake everywhere": 0.1, "half done": 0.1,
         "untouched": 0.09, "hostile": 0.01}
_SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult,
          ast.MatMult: ast.Mult, ast.Pow: ast.Mult}


class _Swap(ast.NodeTransformer):
    """Puts another operator in one place."""

    def __init__(self, place: int):
        self.left = place

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        """Count down to the place."""
        self.generic_visit(node)
        if type(node.op) in _SWAPS:
            if self.left == 0:
                node.op = _SWAPS[type(node.op)]()
            self.left -= 1
        return node


def mistaken(source: str, rng: random.Random) -> str:
    """Return an answer in which one operator is another."""
    tree = ast.parse(source)
    places = sum(isinstance(n, ast.BinOp) and type(n.op) in _SWAPS for n in ast.walk(tree))
    if places == 0:
        return source.replace("return ", "return -", 1)
    return ast.unparse(_Swap(rng.randrange(places)).visit(tree))


def make(folder: Path, unit: str, count: int) -> dict[str, int]:
    """Write ``count`` notebooks of a unit, one per learner; return how many of each kind."""
    [blank] = (ROOT / "exercises").glob(f"{unit}_*.ipynb")
    [solved] = (ROOT / "solutions").glob(f"{unit}_*.ipynb")
    answers = {name: source for name, source in _answers(json.loads(solved.read_text()))}
    kinds = [kind for kind, share in PARTS.items() for _ in range(round(share * count))]
    kinds += ["solved"] * (count - len(kinds))
    random.Random(1).shuffle(kinds)
    folder.mkdir(parents=True)
    for number, kind in enumerate(kinds):
        rng = random.Random(number)
        content = json.loads(blank.read_text())
        _fill(content, _given(kind, answers, rng), f"# notebook {number}\n")
        (folder / f"learner{number:04}.ipynb").write_text(json.dumps(content))
    return {kind: kinds.count(kind) for kind in PARTS}


def _given(kind: str, answers: dict[str, str], rng: random.Random) -> dict[str, str]:
    """Return the answers that one learner gives, by exercise."""
    names = list(answers)
    one = rng.choice(names)
    given: dict[str, Callable[[], dict]] = {
        "solved": lambda: answers,
        "one mistake": lambda: answers | {one: mistaken(answers[one], rng)},
        "a mistake everywhere": lambda: {n: mistaken(answers[n], rng) for n in names},
        "half done": lambda: {n: answers[n] for n in names[:rng.randrange(1, len(names))]},
        "untouched": lambda: {},
        "hostile": lambda: answers | {one: _hostile(one.split(".")[1], rng)},
    }
    return given[kind]()


def _hostile(name: str, rng: random.Random) -> str:
    """Return a trick as the answer of this name."""
    first, _ = TRICKS[rng.choice(sorted(TRICKS))]
    return first.replace("def softmax(scores, temperature):", f"def {name}(*args, **kwargs):")


def _answers(content: dict):
    """Yield (exercise, source) of a notebook's answer cells."""
    for cell in content["cells"]:
        about = cell["metadata"].get("tutorlib", {})
        if about.get("role") == "answer":
            yield about["exercise"], "".join(cell["source"])


def _fill(content: dict, given: dict[str, str], head: str) -> None:
    """Put answers into a worksheet."""
    for cell in content["cells"]:
        about = cell["metadata"].get("tutorlib", {})
        if about.get("role") == "answer" and about["exercise"] in given:
            cell["source"] = head + given[about["exercise"]]


def differing(one: Path, other: Path, whole: bool) -> list[str]:
    """Return the files that two result folders do not share to the byte, but for the journal.

    Where only a part of the cohort is in ``other``: of its records and pages.
    """
    tops = (one, other) if whole else (other / "records", other / "feedback")
    names = {path.relative_to(other if not whole else top).as_posix() for top in tops
             for path in top.rglob("*") if path.is_file() and "journal" not in path.name}
    assert len(names) > 2
    return sorted(name for name in names if not (
        (one / name).is_file() and (other / name).is_file()
        and filecmp.cmp(one / name, other / name, shallow=False)))


def outcomes(grades: Path) -> dict[str, int]:
    """Count the outcomes of all exercises, and the known mistakes among the wrong ones."""
    with open(grades, newline="") as lines:
        rows = list(csv.DictReader(lines))
    counts = {outcome: sum(row["outcome"] == outcome for row in rows)
              for outcome in ("passed", "not passed", "not attempted")}
    return {**counts, "recognised": sum(bool(row["mistake"]) for row in rows),
            "time limit": sum(row["stage"] == "time limit" for row in rows)}
