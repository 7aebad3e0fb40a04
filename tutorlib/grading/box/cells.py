"""Read a learner's cells as text: answer cells whole, of other cells only the imports."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

_MAGIC = re.compile(r"^\s*(%|!|\?)|^\s*[\w.]+\?{1,2}\s*$")
_OTHER_LANGUAGE = re.compile(r"^\s*%%(?!time|timeit|capture|prun)\w+")


@dataclass(frozen=True)
class Cell:
    """One cell of a submission."""

    source: str
    name: str = ""  # of the answer it defines, for messages
    imports_only: bool = False  # run its import statements and nothing else


def plain_python(source: str) -> str:
    """Return a cell without IPython's own lines, each replaced by ``pass`` or an empty line.

    Line numbers stay. A cell in another language (``%%bash``, ``%%html``) is emptied.

    >>> plain_python("%time\\nx = 1")
    '\\nx = 1'
    """
    lines = source.splitlines()
    if lines and _OTHER_LANGUAGE.match(lines[0]):
        return ""
    inside = _string_lines(lines)
    kept = []
    for number, line in enumerate(lines):
        if number not in inside and _MAGIC.match(line):
            indent = line[:len(line) - len(line.lstrip())]
            line = f"{indent}pass" if indent else ""
        kept.append(line)
    return "\n".join(kept)


def _string_lines(lines: list[str]) -> set[int]:
    """Return the lines that begin inside a string of three quotes; a rough count is enough."""
    inside, quote = set(), None
    for number, line in enumerate(lines):
        if quote:
            inside.add(number)
        for found in re.findall(r'"""|\'\'\'', line):
            if quote is None:
                quote = found
            elif quote == found:
                quote = None
    return inside


def imports_of(source: str) -> list[str]:
    """Return the import statements at a cell's top level, one each; a broken line is left out."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        lines = [line for line in source.splitlines() if re.match(r"(import|from)\s", line)]
        return [line for line in lines if _parses(line)]
    return [ast.unparse(node) for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)]


def _parses(line: str) -> bool:
    """Whether a line is Python by itself."""
    try:
        ast.parse(line)
    except (SyntaxError, ValueError):
        return False
    return True
