"""Read the code cells of a notebook that anybody may have written, and take them apart."""

from __future__ import annotations

import ast
import functools
import io
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from tutorlib.errors import GradingError

CELL_LIMIT = 3_000  # cells of a notebook
SOURCE_LIMIT = 200_000  # characters of one cell
CODE_LIMIT = 1_000_000  # characters of all code cells; a worksheet has some tens of thousands
LINES_RUN = 1_000_000  # lines that a cell's statements may have, each padded to its place
SHORT = 4_000  # characters of a cell whose tree is kept for the next notebook
_HARMLESS_MAGIC = re.compile(r"\s*%%(time|timeit|capture|prun)\b.*")
# no \s here: it also matches line ends, and thousands of empty lines would take hours
# a name begins with no blank, so that a line of blanks is looked at once
_RUNS = re.compile(r"^([ \t]*(?:[\w.,][\w., \t]*=[ \t]*)?)%(?:time|prun)[ \t]+(?=[^\s-])",
                   re.MULTILINE)
_TAKES = re.compile(r"^([ \t]*[\w.,][\w., \t]*=)[ \t]*[%!].*$", re.MULTILINE)
_MAGIC_LINE = re.compile(r"^([ \t]*)([%!?].*|[\w.]+\?{1,2}[ \t]*)$", re.MULTILINE)


class NotebookError(GradingError):
    """A submission is not a notebook that can be read; the message is for its learner."""


@dataclass(frozen=True)
class CodeCell:
    """A code cell as handed in."""

    number: int  # counted over all cells, from 1
    source: str  # with IPython's magics taken out
    exercise: str = ""  # by metadata
    role: str = ""  # "answer", "check", "hint" or nothing

    @functools.cached_property
    def tree(self) -> ast.Module | None:
        """The syntax tree, or None for what is not Python."""
        return parse(self.source)


def read_cells(data: bytes) -> list[CodeCell]:
    """Return the code cells of a notebook file. Raises ``NotebookError`` saying what is wrong."""
    try:
        content = json.loads(data)
        cells = content["cells"]
    except (RecursionError, MemoryError) as problem:
        raise NotebookError("this file is nested too deeply, or has too many parts, to be a "
                            "notebook") from problem
    except (ValueError, KeyError, TypeError) as problem:
        raise NotebookError("this file is not a notebook (it is not the JSON that Jupyter saves); "
                            "open it in JupyterLab, save it and hand it in again") from problem
    if not isinstance(cells, list) or len(cells) > CELL_LIMIT:
        raise NotebookError(f"a list of at most {CELL_LIMIT:,} cells was expected in this notebook")
    found = [c for i, cell in enumerate(cells, 1) if (c := _code_cell(i, cell)) is not None]
    size = sum(len(cell.source) for cell in found)
    if size > CODE_LIMIT:
        raise NotebookError(f"this notebook holds {size:,} characters of code; at most "
                            f"{CODE_LIMIT:,} are read")
    return found


def _code_cell(number: int, cell) -> CodeCell | None:
    """Return one cell, or None when it is not code or not well formed."""
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return None
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    if not isinstance(source, str) or len(source) > SOURCE_LIMIT:
        return None
    meta = cell.get("metadata")
    about = meta.get("tutorlib") if isinstance(meta, dict) else None
    about = about if isinstance(about, dict) else {}
    exercise, role = about.get("exercise"), about.get("role")
    text = source.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")
    return CodeCell(number, without_magics(text), exercise if isinstance(exercise, str) else "",
                    role if isinstance(role, str) else "")


def without_magics(source: str) -> str:
    """Return a cell as plain Python: magics and shell lines become ``pass``.

    What ``%time`` runs is kept, and where a magic's outcome is assigned there is None.

    >>> without_magics("%%time\\n%matplotlib inline\\n%time x = 1\\nfiles = !ls")
    '\\npass\\nx = 1\\nfiles = None'
    """
    if parse(source) is not None:
        return source
    if source.lstrip().startswith("%%"):
        if not _HARMLESS_MAGIC.match(source):
            return ""
        source = _HARMLESS_MAGIC.sub("", source, count=1)
    plain = _TAKES.sub(r"\1 None", _RUNS.sub(r"\1", source))
    plain = _MAGIC_LINE.sub(r"\1pass", plain)
    return plain if parse(plain) is not None else source


def parse(source: str) -> ast.Module | None:
    """Return the syntax tree of a text, or None. Nobody may change it: others are given it too."""
    return (_parse_short if len(source) < SHORT else _parse)(source)


def _parse(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


_parse_short = functools.lru_cache(256)(_parse)  # a cohort's worksheets share most of their cells


def statements(source: str) -> Iterator[str]:
    """Yield a cell's statements one by one, each behind as many empty lines as stand above it.

    So one that fails does not keep the others from running, and line numbers stay the learner's.
    A cell that is not Python, or has very many statements, is one.
    """
    tree = parse(source)
    lines = list(io.StringIO(source, newline=None))  # as Python counts them: no other separators
    if tree is None or ";" in source or len(tree.body) * len(lines) > LINES_RUN:
        yield source
        return
    for node in tree.body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        yield "\n" * (first - 1) + "".join(lines[first - 1: node.end_lineno])
