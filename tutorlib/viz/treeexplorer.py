"""A token tree to walk through: open a node, and see what each next word is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

import anywidget
import traitlets

from tutorlib.errors import InvalidArgumentError, TutorlibError
from tutorlib.viz.arrays import number, required_text
from tutorlib.viz.explore import Slider
from tutorlib.viz.treerows import (
    MOST_ROWS,
    TreeTables,
    chance,
    row_in_words,
    visible_rows,
    worth,
)
from tutorlib.viz.widgetkit import asset, with_default

THRESHOLDS = (0.0, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


class TreeExplorer(anywidget.AnyWidget):
    """Open the nodes of a token tree with mouse or keyboard; see policies, Q and V at each word.

    ``tables`` holds the arguments of ``TreeTables``, as ``tutorlib.lm.tree_arrays`` makes them;
    or, with a slider ``price``, it is a function that returns them for each of its values.
    ``opened`` holds the open nodes, each a list of columns, ``[]`` the root; words whose whole
    beginning has less than ``threshold`` under every policy are hidden, and counted.

    Raises InvalidArgumentError for tables that make no tree, or a node that does not exist.

    >>> tree = TreeExplorer({"words": ["blue", "."], "going_on": [0], "values": [[0.4], [0.6]],
    ...                      "policies": {"model": [[[0.6, 0.4]], [[0.5, 0.5]]]},
    ...                      "q_values": [[[0.6, 0.0]], [[0.0, 1.0]]]})
    >>> [row["text"] for row in tree.rows]
    ['(start)', 'blue', '.']
    >>> tree.expand(["blue"])
    >>> [row["text"] for row in tree.rows]
    ['(start)', 'blue', 'blue blue', 'blue .', '.']
    """

    _esm = asset("common.js", "treeexplorer.js")
    _css = asset("widgets.css")

    title = traitlets.Unicode().tag(sync=True)
    policies = traitlets.List().tag(sync=True)  # their names, in the order of the columns
    controls = traitlets.Dict().tag(sync=True)  # texts of the sliders' stops
    opened = traitlets.List().tag(sync=True)  # paths of open nodes
    pruning = traitlets.Int(4).tag(sync=True)  # which of THRESHOLDS
    position = traitlets.Int(0).tag(sync=True)  # which stop of the price
    answer = traitlets.Dict().tag(sync=True)  # rows and status
    message = traitlets.Unicode().tag(sync=True)  # why the last setting was refused, or ""

    def __init__(self, tables: Mapping | Callable[[float], Mapping], price: Slider | None = None,
                 *, opened: Sequence = ((),), threshold: float = 0.01,
                 title: str = "Open a node to see what follows"):
        """Show the root and what ``opened`` names."""
        if callable(tables) != isinstance(price, Slider):
            raise InvalidArgumentError("give tables, or a function of a price and a Slider for it")
        self._make, self._stops = tables, price.stops() if price else []
        position = price.nearest(price.value) if price else 0
        self._plan(position)
        if threshold not in THRESHOLDS:
            raise InvalidArgumentError(f"threshold is {threshold}; expected one of {THRESHOLDS}")
        self._good = {"opened": [self._columns(path) for path in opened], "position": position,
                      "pruning": THRESHOLDS.index(threshold)}
        self._check(self._good)
        controls = {"thresholds": [chance(t) if t else "nothing" for t in THRESHOLDS]}
        if price:
            controls |= {"price": price.label or "price", "texts": list(map(number, self._stops))}
        super().__init__(title=required_text(title, "title"), policies=list(self._tables.policies),
                         controls=controls, answer=self._as_answer(self._good), **self._good)

    @property
    def rows(self) -> list[dict]:
        """What is on screen, top to bottom: path, words, probabilities, q, v."""
        return list(self.answer["rows"])

    def expand(self, words: Sequence[str]) -> None:
        """Open the node that these words lead to, and all above it."""
        path = self._columns(words)
        above = [path[:length] for length in range(len(path) + 1)]
        self.opened = [*self.opened, *(p for p in above if p not in self.opened)]

    def _columns(self, path: Sequence) -> list[int]:
        """Return words or columns as columns."""
        words = list(self._tables.words)
        for word in path:
            if isinstance(word, str) and word not in words:
                raise InvalidArgumentError(f"there is no word {word!r} in this tree: {words}")
        return [words.index(word) if isinstance(word, str) else int(word) for word in path]

    def _plan(self, position: int) -> None:
        """Make the tables for a stop of the price."""
        found = self._make(self._stops[position]) if self._stops else self._make
        self._tables = TreeTables(**found)

    def _check(self, wanted: Mapping) -> None:
        """Raise InvalidArgumentError for nodes, thresholds or prices that do not exist."""
        for path in wanted["opened"]:
            if self._tables.node_of(tuple(path)) is None:
                raise InvalidArgumentError(
                    f"{self._tables.text(tuple(path))!r} is no unfinished answer of this tree")
        if wanted["pruning"] not in range(len(THRESHOLDS)):
            raise InvalidArgumentError(f"there is no threshold number {wanted['pruning']}")
        if wanted["position"] not in range(max(1, len(self._stops))):
            raise InvalidArgumentError(f"the price has no stop number {wanted['position']}")

    @traitlets.observe("opened", "pruning", "position")
    def _respond(self, change) -> None:
        """Show other rows; or refuse the new setting, say why, and put the last good one back."""
        wanted = {name: getattr(self, name) for name in self._good}
        if wanted == self._good:
            return
        try:
            self._check(wanted)
            if wanted["position"] != self._good["position"]:
                self._plan(wanted["position"])
        except TutorlibError as problem:
            with self.hold_trait_notifications():
                self.message = f"Not accepted: {problem}"
                for name, value in self._good.items():
                    setattr(self, name, value)
            return
        self._good = wanted
        with self.hold_sync():
            self.message, self.answer = "", self._as_answer(wanted)

    def _as_answer(self, wanted: Mapping) -> dict:
        """Return the rows on screen and a sentence about them."""
        threshold = THRESHOLDS[wanted["pruning"]]
        rows, more = visible_rows(self._tables, {tuple(p) for p in wanted["opened"]}, threshold)
        for row in rows:
            row["said"] = row_in_words(row)
        status = f"{len(rows)} rows"
        if threshold:
            status += f"; beginnings below {chance(threshold)} under every policy are hidden"
        if more:
            status += f"; only the first {MOST_ROWS} are shown: prune more, or close nodes"
        return {"rows": rows, "status": f"{status}. V(root) = {worth(rows[0]['v'])}."}

    def _repr_mimebundle_(self, **kwargs):
        """Return the live view, and a table for where none can run."""
        heads = ["answer so far", *(f"{name}" for name in self.policies), "Q", "V", "hidden"]
        body = "".join(_static_row(row, self.policies) for row in self.rows)
        at = (f" {self.controls['price']} = {number(self._stops[self.position])}."
              if self._stops else "")
        html = (f'<figure data-testid="tree-explorer-static" style="margin:0"><table>'
                f'<caption style="text-align:left">{escape(self.title)}</caption><thead><tr>'
                + "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
                + f"</tr></thead><tbody>{body}</tbody></table><figcaption>"
                f"{escape(self.answer['status'] + at)} Run this cell in JupyterLab to open nodes "
                "and move the sliders.</figcaption></figure>")
        text = "\n".join([self.title, *(f"{'  ' * (row['level'] - 1)}{row['said']}"
                                        for row in self.rows)])
        return with_default(super()._repr_mimebundle_(**kwargs), html, text)


def _static_row(row: dict, policies: Sequence[str]) -> str:
    """Return one row of the static table."""
    cells = [chance(row["chances"][name]) if row["chances"] else "" for name in policies]
    cells += ["" if value is None else worth(value) for value in (row["q"], row["v"])]
    cells.append(f"{row['pruned']} ({chance(row['mass'])})" if row["pruned"] else "")
    indent = f"padding-left:{1.2 * (row['level'] - 1) + 0.5:g}em;text-align:left"
    return (f'<tr><th scope="row" style="{indent}">{escape(row["word"])}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
