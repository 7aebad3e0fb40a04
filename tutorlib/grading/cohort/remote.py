"""What Dask carries to a worker: a notebook to grade, and the names of two functions.

Both take and give bytes; no exception of a notebook's leaves them. The scheduler reads this file
too, and nothing that is loaded here costs it memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Order:
    """A notebook to grade. Dask writes what it hands over into logs: of this nothing shows."""

    unit: str  # number
    terms: bytes = field(repr=False)  # JSON, see ``desk.terms_of``
    notebook: bytes = field(repr=False)


def greet(course: str) -> bytes:
    """Return what a worker says of itself, to a grader with this digest of the course."""
    from tutorlib.grading.cohort import desk

    return desk.greet(course)


def grade(order: Order) -> bytes:
    """Return what came of an order."""
    from tutorlib.grading.cohort import desk

    return desk.grade(order)
