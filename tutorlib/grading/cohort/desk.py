"""Where a worker of a Dask cluster grades: one notebook after the other, in a process kept for it.

A worker with another version of the course, or without a working box, refuses: nothing of a
learner's runs there.
"""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from collections import deque
from dataclasses import asdict
from pathlib import Path

import tutorlib
from tutorlib.errors import LessonError, TutorlibError
from tutorlib.grading.cohort.grade import Plan
from tutorlib.grading.cohort.pool import Pool
from tutorlib.grading.cohort.remote import Order
from tutorlib.grading.cohort.runners import Limits, OpenRunner
from tutorlib.grading.cohort.seeds import DrawnSeed
from tutorlib.grading.cohort.worker import Job
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import course_root, find_unit

_one_at_a_time = threading.Lock()  # a worker may have several threads
_desks: list[_Desk] = []  # at most one


def terms_of(plan: Plan, tier: str, units: set[str]) -> bytes:
    """Return, as JSON, how a worker is to grade notebooks of ``units``.

    Instead of the cohort's secret there are the numbers drawn from it for these units.
    """
    ids = [e.id for number in sorted(units) for e in unit_exercises(find_unit(number).slug)]
    return json.dumps({"course": course_digest(), "tier": tier, "limits": asdict(plan.limits),
                       "points": dict(plan.points), "hints": plan.hints,
                       "seeds": plan.seed.drawn(ids)}).encode()


@functools.cache
def course_digest() -> str:
    """Return a digest of all that a grade depends on: the package's files and the solutions."""
    package = Path(tutorlib.__file__).parent
    files = [path for path in package.rglob("*")
             if path.is_file() and "__pycache__" not in path.parts and path.name[0] != "."]
    try:
        files += (course_root() / "solutions").glob("*.ipynb")
    except LessonError:
        pass  # a worker without them has another digest than a grader with them
    digest = hashlib.sha256()
    for name, path in sorted(("/".join(path.parts[-3:]), path) for path in files):
        digest.update(name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def greet(course: str) -> dict:
    """Say which tier of box this worker has, or why it refuses to grade."""
    with _one_at_a_time:
        tier, why = _standing(course)
    return {"tier": tier, "refused": why}


def grade(order: Order) -> dict:
    """Grade a notebook; return its result or why this worker refuses."""
    terms = json.loads(order.terms)
    with _one_at_a_time:
        tier, why = _standing(terms["course"])
        if not why and tier != terms["tier"]:
            why = f"its boxes are of the tier {tier}, this grading's of the tier {terms['tier']}"
        if not why:
            try:
                result = _desk(order.terms, terms).grade(Job("", order.unit, order.notebook))
                return {"result": result}
            except TutorlibError as problem:  # its grading process could not begin
                _desks.clear()
                why = str(problem)
    return {"refused": why}


@functools.lru_cache(1)
def _standing(course: str) -> tuple[str, str]:
    """Return (tier, why this worker refuses); one of them is empty."""
    if course != course_digest():
        return "", (f"it has another version of the course (digest {course_digest()}, the "
                    f"grader's is {course}): install the same commit on both and start the "
                    "worker anew")
    from tutorlib.grading.box import NoBoxError, best_tier
    from tutorlib.grading.box.tiers import own_host

    try:
        tier = best_tier()
    except NoBoxError as problem:
        return "", str(problem)
    own_host(tier).close()  # the grading process will have its own
    return tier.name, ""


def _desk(text: bytes, terms: dict) -> _Desk:
    """Return the process that grades on these terms, in the place of one on others."""
    if not _desks or _desks[0].terms != text:
        from tutorlib.grading.cohort.boxed import Boxes

        while _desks:
            _desks.pop().close()
        plan = Plan(DrawnSeed(terms["seeds"]), Limits(**terms["limits"]), terms["points"],
                    terms["hints"])
        _desks.append(_Desk(text, plan, Boxes(terms["tier"])))
    return _desks[0]


class _Desk:
    """One grading process, kept from notebook to notebook: a pool of one, fed by hand."""

    def __init__(self, terms: bytes, plan: Plan, open_runner: OpenRunner):
        """Nothing starts before the first notebook."""
        self.terms = terms
        self._inbox: deque[Job] = deque()
        self._results = Pool(plan, open_runner, 1).run(iter(self._inbox.popleft, None))

    def grade(self, job: Job) -> dict:
        """Return the result of one notebook, whatever becomes of the process meanwhile."""
        self._inbox.append(job)
        return next(self._results)[1]

    def close(self) -> None:
        """End the process."""
        self._results.close()
