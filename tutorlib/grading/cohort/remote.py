"""What Dask carries to a worker: a notebook to grade, and the names of two functions.

Both take and give bytes; no exception of a notebook's leaves them. The scheduler reads this file
too, and nothing that is loaded here costs it memory.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Order:
    """A notebook to grade. Dask writes what it hands over into logs: of this nothing shows."""

    unit: str  # number
    terms: bytes = field(repr=False)  # JSON, see ``desk.terms_of``
    notebook: bytes = field(repr=False)


def greet(course: str) -> bytes:
    """Return what a worker says of itself, to a grader with this digest of the course."""
    def asked() -> dict:
        from tutorlib.grading.cohort import desk

        return desk.greet(course)

    return _reply(asked)


def grade(order: Order) -> bytes:
    """Return what came of an order."""
    def asked() -> dict:
        from tutorlib.grading.cohort import desk

        return desk.grade(order)

    return _reply(asked)


def _reply(asked: Callable[[], dict]) -> bytes:
    """Return, as JSON, what a function says, with what tells which worker this is."""
    from distributed import get_worker

    address = get_worker().address
    try:
        said = asked()
    except Exception as problem:  # Dask would pickle it, and may lose it on the way
        said = {"refused": f"it failed ({type(problem).__name__}: {problem})"[:1000]}
    name = f"{address} (process {os.getpid()} on {socket.gethostname()})"
    return json.dumps({"address": address, "worker": name, **said}).encode()
