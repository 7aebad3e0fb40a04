"""Find the answer cells of a notebook, and what else of it they need in order to run.

For an exercise its answer cell runs, statement by statement; from other cells come the imports,
functions, classes and plain constants whose names it uses, and the answers to other exercises that
it calls. An answer is found by its cell's metadata, then by the line ``# exercise: id``, then by
the name that it defines.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tutorlib.grading.cohort.cells import CodeCell, parse, statements
from tutorlib.grading.exercise import Exercise
from tutorlib.grading.judge import STUB_MESSAGE

_MARK = re.compile(r"^[ \t]*#[ \t]*exercise:[ \t]*([a-z0-9_]+\.[a-z0-9_]+)[ \t]*$", re.MULTILINE)
MOST = 20  # cells that are named when many answer one exercise
_BY = {"metadata": "mark", "comment": "line '# exercise: ...'", "name": "name"}


@dataclass(frozen=True)
class Piece:
    """One or more statements to run, padded so that line numbers are those of the cell."""

    source: str
    cell: int
    exercise: str = ""  # empty for what other cells lend


@dataclass(frozen=True)
class Found:
    """Where an exercise's answer is."""

    cell: int = 0  # 0: nowhere
    by: str = ""  # "metadata", "comment", "name"
    stub: bool = False  # the cell is as the worksheet had it
    notes: tuple[str, ...] = ()


class Script:
    """A notebook's answers: where they are, and what is run for each of them."""

    def __init__(self, cells: Sequence[CodeCell], exercises: Sequence[Exercise]):
        """Find the answers to these exercises."""
        self._exercises = {exercise.name: exercise for exercise in exercises}
        self._offers = [offer for cell in cells if cell.role not in ("check", "hint")
                        for offer in _offers(cell)]
        self.found: dict[str, Found] = {}
        self._chosen: dict[str, CodeCell] = {}
        for exercise in exercises:
            cell, self.found[exercise.id] = _find(cells, exercise)
            if cell is not None:
                self._chosen[exercise.name] = cell

    def pieces(self, exercise: Exercise, worked: Mapping[str, str]) -> list[Piece]:
        """Return what is run for one exercise, in the notebook's order.

        ``worked`` holds statements to run in place of other answers, by exercise id: those that
        were graded and did not pass.
        """
        own = self._chosen[exercise.name]
        needed, words = {exercise.name}, words_of(own.source)
        while more := (words & set(self._exercises)) - needed:
            needed |= more
            for name in more:
                words |= words_of(self._text(name, worked))
        taken = set(self._exercises)
        lent = _lent(self._offers, own.number, words, taken)
        words = set().union(*(words_of(piece.source) for piece in lent), words)
        answers = [piece for name in needed | (words & taken)
                   for piece in self._answer(name, worked)]
        return sorted([*lent, *answers], key=lambda piece: piece.cell)

    def _text(self, name: str, worked: Mapping[str, str]) -> str:
        """Return the statements that stand for an answer."""
        return "\n".join(piece.source for piece in self._answer(name, worked))

    def _answer(self, name: str, worked: Mapping[str, str]) -> list[Piece]:
        """Return an answer's statements: the learner's, or the worked ones in their place."""
        other = self._exercises[name].id
        cell = self._chosen.get(name)
        if other in worked:
            return [Piece(worked[other], cell.number if cell else 0)] if worked[other] else []
        return [Piece(text, cell.number, other) for text in statements(cell.source)] if cell else []


def _find(cells: Sequence[CodeCell], exercise: Exercise) -> tuple[CodeCell | None, Found]:
    """Return the cell that counts for an exercise, and how it was found.

    Of several the last one that holds an answer counts; a stub only when there is nothing else.
    """
    ways = _ways(cells, exercise)
    for wanted in (_answers, _attempts):
        for by, matching in ways.items():
            chosen = [cell for cell in matching if wanted(cell, exercise.name)]
            if chosen:
                notes = _notes(ways, by, chosen)
                return chosen[-1], Found(chosen[-1].number, by, False, notes)
    stubs = [(matching[-1], by) for by, matching in ways.items() if matching]
    if not stubs:
        return None, Found()
    return stubs[0][0], Found(stubs[0][0].number, stubs[0][1], True)


def _attempts(cell: CodeCell, name: str) -> bool:
    """Whether somebody wrote something into a cell."""
    words = [line for line in cell.source.splitlines() if line.strip() and line.strip()[0] != "#"]
    return bool(words) and not is_stub(cell.source, name, cell.tree)


def _answers(cell: CodeCell, name: str) -> bool:
    """Whether a cell defines an answer (or would, were it Python)."""
    return _attempts(cell, name) and (cell.tree is None or defines(cell, name))


def _ways(cells: Sequence[CodeCell], exercise: Exercise) -> dict[str, list[CodeCell]]:
    """Return the cells that each way of looking finds, the most reliable way first."""
    plain = [cell for cell in cells if cell.role not in ("check", "hint")]
    free = [cell for cell in plain if not cell.exercise and not _MARK.search(cell.source)]
    return {
        "metadata": [c for c in plain if c.exercise == exercise.id],
        "comment": [c for c in plain if exercise.id in _MARK.findall(c.source)
                    and c.exercise in ("", exercise.id)],
        "name": [cell for cell in free if defines(cell, exercise.name)],
    }


def _notes(ways: dict, by: str, answered: Sequence[CodeCell]) -> tuple[str, ...]:
    """Say what is not obvious about a choice of cell."""
    chosen = answered[-1].number
    notes = []
    if len(answered) > 1:
        others = ", ".join(str(cell.number) for cell in answered[-MOST:-1])
        notes.append(f"Cells {others} and {chosen} answer this exercise; the last of them counts, "
                     f"cell {chosen}.")
    marked = ways["metadata"] or ways["comment"]
    if by != "metadata" and marked and marked[-1].number != chosen:
        notes.append(f"The worksheet's own cell ({marked[-1].number}) is untouched; cell {chosen} "
                     f"counts, found by its {_BY[by]}.")
    elif by != "metadata":
        notes.append(f"The cell's mark was lost; cell {chosen} was found by its {_BY[by]}.")
    return tuple(notes)


def is_stub(source: str, name: str, tree: ast.Module | None = None) -> bool:
    r"""Whether a cell still is what the worksheet had: ``raise NotImplementedError`` or ``...``.

    >>> is_stub("def f(x):\n    raise NotImplementedError('write your answer here')", "f")
    True
    """
    tree = tree or parse(source)
    if tree is None:
        return STUB_MESSAGE in source
    for node in reversed(tree.body):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            last = [n for n in node.body if not _is_text(n)]
            return len(last) == 1 and isinstance(last[0], ast.Raise) and STUB_MESSAGE in source
        if isinstance(node, ast.Assign) and name in _targets(node):
            return isinstance(node.value, ast.Constant) and node.value.value is ...
    return False


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a docstring or another lone constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _targets(node: ast.Assign) -> set[str]:
    """Return the names that an assignment binds."""
    return {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}


def defines(cell: CodeCell, name: str) -> bool:
    """Whether a cell defines a name at its left margin, other than by ``name = check(...)``."""
    tree = cell.tree
    if tree is None:
        pattern = rf"^(def {name}\b|{name}\s*=(?!\s*check\b))"
        return re.search(pattern, cell.source, re.MULTILINE) is not None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return True
        if isinstance(node, ast.Assign) and name in _targets(node) and not _is_check(node.value):
            return True
    return False


def _is_check(node: ast.expr) -> bool:
    """Whether an expression is a call of ``check``."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check"


def _lent(offers: Sequence[Offer], own: int, words: set[str], taken: set[str]) -> list[Piece]:
    """Return the imports, definitions and constants of other cells that are used by name.

    ``taken`` are the names of answers, which nobody else may lend.
    """
    by_name: dict[str, list[int]] = {}
    for i, offer in enumerate(offers):
        if offer.cell != own and offer.name not in taken:
            by_name.setdefault(offer.name, []).append(i)
    waiting, seen, chosen = [*words, "*"], {*words, "*"}, set()
    while waiting:  # each name is looked up once, however many lend to one another
        for i in by_name.get(waiting.pop(), ()):
            chosen.add(i)
            waiting += offers[i].uses - seen
            seen |= offers[i].uses
    return [Piece(offers[i].text, offers[i].cell) for i in sorted(chosen)]


@dataclass(frozen=True)
class Offer:
    """What a cell could lend to another without running much."""

    cell: int
    name: str
    text: str
    uses: frozenset[str] = frozenset()  # the names that it could refer to


def _offers(cell: CodeCell) -> Iterator[Offer]:
    """Yield what a cell could lend; nothing that is nested too deep to be written again."""
    tree = cell.tree
    for node in tree.body if tree else ():
        with contextlib.suppress(RecursionError):
            for name, text in _offered(node):
                uses = () if isinstance(node, ast.Import | ast.ImportFrom) else words_of(text)
                yield Offer(cell.number, name, text, frozenset(uses))


def _offered(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield (name, statement) of a statement at the left margin."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield (alias.asname or alias.name).split(".")[0], ast.unparse(
                _with_one_name(node, alias))
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name, ast.unparse(node)
    elif isinstance(node, ast.Assign) and len(node.targets) == 1 and _is_literal(node.value):
        for name in _targets(node):
            yield name, ast.unparse(node)


def _with_one_name(node, alias):
    """Return an import statement with one of its names."""
    if isinstance(node, ast.Import):
        return ast.Import([alias])
    return ast.ImportFrom(node.module, [alias], node.level)


def _is_literal(node: ast.expr) -> bool:
    """Whether an expression is a plain constant or a container of these."""
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def words_of(text: str) -> set[str]:
    """Return the names that a text could refer to."""
    return set(re.findall(r"[^\W\d]\w*", text))
