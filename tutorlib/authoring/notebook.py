"""Write a notebook file that is the same to the byte on every build."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from tutorlib.authoring.products import Built
from tutorlib.syllabus import Unit

_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
_ID_LENGTH = 60  # nbformat allows 64; the rest is for the suffix of a repeat


def notebook_text(cells: Sequence[Built], unit: Unit, product: str) -> str:
    """Return the notebook's JSON: sorted keys, no outputs, a newline at the end."""
    ids = cell_ids(cells)
    content = {
        "cells": [_cell(cell, cell_id) for cell, cell_id in zip(cells, ids, strict=True)],
        "metadata": {
            "kernelspec": _KERNEL,
            "language_info": {"name": "python"},
            "tutorlib": {"unit": unit.number, "product": product},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _cell(cell: Built, cell_id: str) -> dict:
    """Return a cell as nbformat 4.5 has it."""
    entry = {"cell_type": cell.kind, "id": cell_id, "metadata": cell.metadata,
             "source": cell.source.splitlines(keepends=True)}
    return entry | ({"execution_count": None, "outputs": []} if cell.kind == "code" else {})


def cell_ids(cells: Sequence[Built]) -> list[str]:
    """Return one id per cell: from its key, else its heading, else its type and source.

    Repeats get "-2", "-3"; an edit elsewhere in the lesson leaves an id alone.
    """
    ids: list[str] = []
    taken: set[str] = set()
    for cell in cells:
        base = (cell.key or _heading(cell) or _digest(cell))[:_ID_LENGTH]
        unique, repeat = base, 1
        while unique in taken:
            repeat += 1
            unique = f"{base}-{repeat}"
        taken.add(unique)
        ids.append(unique)
    return ids


def _heading(cell: Built) -> str:
    """Return a slug of the heading that a Markdown cell starts with, or nothing."""
    match = re.match(r"#+ +(.*)", cell.source) if cell.kind == "markdown" else None
    return re.sub(r"[^a-z0-9]+", "-", match[1].lower()).strip("-") if match else ""


def _digest(cell: Built) -> str:
    """Return an id made of a cell's type and source."""
    content = f"{cell.kind}\n{cell.source}".encode()
    return f"{cell.kind}-{hashlib.sha256(content).hexdigest()[:12]}"
