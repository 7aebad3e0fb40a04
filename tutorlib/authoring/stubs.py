"""What stands between ``### BEGIN SOLUTION`` and ``### END SOLUTION``: keep, replace, find it."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from tutorlib.errors import LessonError

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
STUB = 'raise NotImplementedError("write your answer here")'


@dataclass(frozen=True)
class Block:
    """A solution block; line indices count from 0 in the cell and name the two marker lines."""

    begin: int
    end: int
    indent: str


class MarkerError(LessonError):
    """Solution markers do not pair up, or enclose something that no stub can stand for."""

    def __init__(self, message: str, offset: int = 0):
        """Keep the line in the cell (from 0), so that the caller can name the file's line."""
        super().__init__(message)
        self.offset = offset


def solution_blocks(source: str) -> list[Block]:
    """Return the solution blocks of a cell. Raises ``MarkerError`` if the markers do not pair."""
    blocks, opened = [], None
    for index, line in enumerate(source.splitlines()):
        mark = line.strip()
        if mark == BEGIN and opened is None:
            opened = (index, line[: len(line) - len(line.lstrip())])
        elif mark == BEGIN:
            raise MarkerError("a second BEGIN SOLUTION before END SOLUTION", index)
        elif mark == END and opened is None:
            raise MarkerError("END SOLUTION without BEGIN SOLUTION before it", index)
        elif mark == END:
            blocks.append(Block(opened[0], index, opened[1]))
            opened = None
    if opened is not None:
        raise MarkerError("BEGIN SOLUTION without END SOLUTION after it", opened[0])
    return blocks


def solved(source: str) -> str:
    """Return the cell with its solution and without the markers."""
    return "\n".join(line for line in source.splitlines() if line.strip() not in (BEGIN, END))


def stub(source: str, name: str) -> str:
    """Return the cell as the learner gets it.

    A block inside a function becomes a ``raise NotImplementedError``; a block at the left margin
    that assigns ``name`` becomes ``name = ...``.

    >>> print(stub("### BEGIN SOLUTION\\nanswer = 42\\n### END SOLUTION", "answer"))
    answer = ...
    """
    lines = source.splitlines()
    tree = ast.parse(source)
    blocks = solution_blocks(source)
    for block in reversed(blocks):
        lines[block.begin: block.end + 1] = [_stand_in(tree, lines, block, name)]
    text = "\n".join(lines)
    try:
        ast.parse(text)
    except SyntaxError as error:
        raise MarkerError("without its solution this cell is not Python: let the markers enclose "
                          "whole statements", blocks[0].begin) from error
    return text


def _stand_in(tree: ast.Module, lines: list[str], block: Block, name: str) -> str:
    """Return the line that takes a block's place."""
    if _inside_function(tree, block):
        return block.indent + STUB
    inner = "\n".join(lines[block.begin + 1: block.end])
    if block.indent or name not in top_level_names(inner, assignments_only=True):
        raise MarkerError(f"put the markers inside the body of {name}, or, for a value, around "
                          f"the whole assignment '{name} = ...'", block.begin)
    return f"{name} = ..."


def _inside_function(tree: ast.Module, block: Block) -> bool:
    """Whether a block lies in the body of a function."""
    return any(node.lineno - 1 < block.begin < node.end_lineno
               and len(block.indent) > node.col_offset
               for node in ast.walk(tree)
               if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def top_level_names(source: str, assignments_only: bool = False) -> set[str]:
    """Return the names that a cell defines at its left margin."""
    names: set[str] = set()
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return names
    for node in statements:
        if isinstance(node, ast.Assign):
            names |= {t.id for target in node.targets for t in ast.walk(target)
                      if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif not assignments_only and hasattr(node, "name"):
            names.add(node.name)
    return names


def solution_lines(source: str) -> list[str]:
    """Return the stripped lines between the markers, without blank lines and comments."""
    lines = source.splitlines()
    inside = [lines[i].strip() for b in solution_blocks(source) for i in range(b.begin + 1, b.end)]
    return [line for line in inside if line and not line.startswith("#")]


_PLAIN = re.compile(
    r"return [\w., ]+|[\w., ]+ = [\w.\[\]{}()\"'-]+|(from|import) .*|[\]})\"',]+", re.ASCII)


def is_telling(line: str) -> bool:
    """Whether a solution line gives an answer away wherever it stands.

    Headers (``for ...:``), imports, ``return name`` and ``name = name`` turn up in any code.

    >>> [is_telling("return values"), is_telling("return rewards + discount * values")]
    [False, True]
    """
    return len(line) > 8 and not line.endswith(":") and not _PLAIN.fullmatch(line)


def contains_line(text: str, line: str) -> bool:
    """Whether ``text`` contains ``line`` as a unit, not as a part of longer names."""
    return re.search(rf"(?<![\w.]){re.escape(line)}(?!\w)", text) is not None
