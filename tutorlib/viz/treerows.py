"""The rows of a token tree that are on screen: which nodes are open, and what is pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import MINUS, as_array, named

MOST_ROWS = 400
Path = tuple[int, ...]  # columns of the words from the root on


@dataclass(frozen=True, eq=False)
class TreeTables:
    """A token tree as arrays: one table per depth, [nodes, words]; child j of node i is i * B + j.

    ``going_on`` are the columns after which an answer goes on, B of them, in the order in which
    their children stand. ``policies`` maps a name to tables of probabilities.
    Raises InvalidArgumentError for shapes that make no tree, or rows that are no distribution.

    >>> TreeTables(["blue", "."], [0], {"model": [[[0.6, 0.4]]]}, [[[1.0, 0.0]]], [[0.5]]).horizon
    1
    """

    words: Sequence[str]
    going_on: Sequence[int]
    policies: Mapping[str, Sequence]  # probabilities of the next word
    q_values: Sequence  # Q(node, word)
    values: Sequence  # V(node), [nodes]
    root: str = "(start)"  # what the empty answer is called
    branch: int = field(init=False)

    def __post_init__(self) -> None:
        """Turn everything into checked arrays."""
        kept = list(self.going_on)
        count, horizon = len(self.words), len(self.q_values)
        if len(set(kept)) < len(kept) or not set(kept) <= set(range(count)) or not horizon:
            raise InvalidArgumentError(
                f"going_on is {kept}; expected different columns of {count} words, and at least "
                "one table")
        shapes = [(len(kept) ** depth, count) for depth in range(horizon)]

        def tables(given, name, wanted):
            if len(given) != len(wanted):
                raise InvalidArgumentError(f"{name} has {len(given)} tables; expected {horizon}")
            return [as_array(table, f"{name}, depth {depth}", shape)
                    for depth, (table, shape) in enumerate(zip(given, wanted, strict=True))]

        policies = {name: tables(given, name, shapes)
                    for name, given in named(self.policies, "policies").items()}
        for name, given in policies.items():
            off = max(float(np.abs(table.sum(-1) - 1).max()) for table in given)
            if off > 1e-6 or min(float(table.min()) for table in given) < 0:
                raise InvalidArgumentError(f"{name}: the probabilities of the next word must be 0 "
                                           f"or more and sum to 1; a sum is {off:.3g} off")
        put = object.__setattr__
        put(self, "policies", policies)
        put(self, "q_values", tables(self.q_values, "q_values", shapes))
        put(self, "values", tables(self.values, "values", [shape[:1] for shape in shapes]))
        put(self, "branch", len(kept))

    @property
    def horizon(self) -> int:
        """Most words of an answer."""
        return len(self.q_values)

    def node_of(self, path: Path) -> int | None:
        """Return the number of an unfinished answer within its depth; None if it is none."""
        node, places = 0, {column: j for j, column in enumerate(self.going_on)}
        if len(path) >= self.horizon or any(column not in places for column in path):
            return None
        for column in path:
            node = node * self.branch + places[column]
        return node

    def text(self, path: Path) -> str:
        """Return an answer in words."""
        return " ".join(self.words[column] for column in path) or self.root


def visible_rows(tables: TreeTables, opened: set[Path], threshold: float) -> tuple[list, bool]:
    """Return the rows on screen, and whether there were too many.

    A word is hidden when the answer up to it has less than ``threshold`` under every policy.
    """
    rows = [_root_row(tables, () in opened)]
    if () in opened:
        _open(tables, opened, threshold, (), dict.fromkeys(tables.policies, 1.0), rows)
    return rows[:MOST_ROWS], len(rows) > MOST_ROWS


def _root_row(tables: TreeTables, is_open: bool) -> dict:
    """Return the row of the empty answer."""
    ones = dict.fromkeys(tables.policies, 1.0)
    return {"path": [], "word": tables.root, "text": tables.root, "level": 1, "place": 1, "of": 1,
            "chances": {}, "reach": ones, "q": None, "v": float(tables.values[0][0]),
            "open": is_open, "pruned": 0, "mass": 0.0}


def _open(tables: TreeTables, opened: set, threshold: float, path: Path, reach: dict,
          rows: list) -> None:
    """Append the words after an open node, those of open nodes among them in turn."""
    node, depth, parent = tables.node_of(path), len(path), rows[-1]
    chances = {name: given[depth][node] for name, given in tables.policies.items()}
    likely = np.max([reach[name] * row for name, row in chances.items()], axis=0)
    first, last = (list(chances.values())[at] for at in (0, -1))  # order; what is hidden
    order = [int(i) for i in np.argsort(-first, kind="stable") if likely[i] >= threshold]
    parent["pruned"] = len(tables.words) - len(order)
    parent["mass"] = float(np.delete(last, order).sum()) if parent["pruned"] else 0.0
    for place, column in enumerate(order):
        if len(rows) > MOST_ROWS:
            return
        whole = (*path, column)
        child, is_open = tables.node_of(whole), whole in opened
        here = {name: float(row[column]) for name, row in chances.items()}
        total = {name: reach[name] * chance for name, chance in here.items()}
        rows.append({
            "path": list(whole), "word": tables.words[column], "text": tables.text(whole),
            "level": depth + 2, "place": place + 1, "of": len(order), "chances": here,
            "reach": total, "q": float(tables.q_values[depth][node, column]),
            "v": None if child is None else float(tables.values[depth + 1][child]),
            "open": None if child is None else is_open, "pruned": 0, "mass": 0.0})
        if child is not None and is_open:
            _open(tables, opened, threshold, whole, total, rows)


def row_in_words(row: dict) -> str:
    """Return a row as a sentence: what a screen reader says, and the text default shows."""
    parts = [f"{name} {chance(row['chances'][name])}" for name in row["chances"]]
    if row["q"] is not None:
        parts.append(f"Q {worth(row['q'])}")
    parts.append("answer over" if row["v"] is None else f"V {worth(row['v'])}")
    if row["pruned"]:
        parts.append(f"{row['pruned']} words hidden, together {chance(row['mass'])}")
    return f"{row['text']}: {', '.join(parts)}"


def chance(value: float) -> str:
    """Return a probability with three decimals.

    >>> chance(0.12345), chance(0.0002), chance(0.0)
    ('0.123', '<0.001', '0')
    """
    if 0 < value < 0.0005:
        return "<0.001"
    return f"{value:.3f}" if value else "0"


def worth(value: float) -> str:
    """Return a value with three decimals and a real minus sign; rounding to zero has no sign.

    >>> worth(-1.5), worth(-0.0001)
    ('−1.500', '0.000')
    """
    text = f"{value:.3f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)
