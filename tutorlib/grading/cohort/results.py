"""Read a result that another machine sent: nothing is believed that grading here could not give."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.grade import TEXT_LIMIT, Plan, row
from tutorlib.grading.exercise import Exercise
from tutorlib.grading.judge import FAILED, NOT_ATTEMPTED, PASSED

LARGEST = 8 * 2**20  # bytes
_SHOWN = {"printed", "lines", "call", "note", "want", "got"}
_LONGEST = TEXT_LIMIT + 200  # a cut text says how much is missing


def read_reply(data: object) -> dict:
    """Return a worker's reply: {"address", "worker", and "tier", "refused" or "result"}.

    Raises ``GradingError`` for anything else.
    """
    try:
        if type(data) is not bytes or len(data) > LARGEST:
            raise ValueError("not bytes, or too many")
        reply = json.loads(data)
        texts = {k: v for k, v in reply.items() if k != "result"}
        more = set(reply) - {"address", "worker"}
        if more not in ({"result"}, {"refused"}, {"tier", "refused"}) or not (
                {"address", "worker"} <= set(reply)
                and all(type(text) is str for text in texts.values())):
            raise ValueError("other fields")
    except (ValueError, AttributeError, RecursionError) as problem:
        raise GradingError(f"a worker sent what is no reply ({problem}); see that it runs this "
                           "version of the course") from problem
    return reply


def checked(result: object, exercises: Sequence[Exercise], plan: Plan, tier: str) -> dict:
    """Return a result that is as ``grade_notebook`` could have made it on this plan.

    Raises ``GradingError`` when exercises, points or types differ.
    """
    try:
        good = (set(result) == {"exercises", "tier", "limits_hit"}
                and result["tier"] in ("", tier) and set(result["limits_hit"]) <= {"memory", "time"}
                and len(result["exercises"]) == len(exercises)
                and all(_is_row(*pair, plan)
                        for pair in zip(result["exercises"], exercises, strict=True)))
    except (TypeError, KeyError, AttributeError):
        good = False
    if not good:
        raise GradingError("a worker sent a result that grading cannot give; see that it runs "
                           "this version of the course, and that nobody else answers for it")
    return result


def _is_row(found: dict, exercise: Exercise, plan: Plan) -> bool:
    """Whether a row has the fields, the types and the points that it must have."""
    if found["outcome"] not in (PASSED, FAILED, NOT_ATTEMPTED):
        return False
    like = row(exercise, plan, found["outcome"], found["stage"])
    fixed = ("exercise", "title", "points", "max_points", "hint")
    return ({*found} - {"lost"} == {*like} and found.get("lost", True) is True
            and all(found[k] == like[k] for k in fixed)
            and all(type(found[k]) is type(like[k]) for k in like if k not in (*fixed, "mistake"))
            and all(_is_text(found[k]) for k in ("stage", "message", "found_by"))
            and all(_is_text(note) for note in found["notes"])
            and all(set(case) == {"case", "set", "outcome"} and all(map(_is_text, case.values()))
                    for case in found["cases"])
            and set(found["shown"]) <= _SHOWN and all(map(_is_text, found["shown"].values()))
            and _is_mistake(found["mistake"], exercise))


def _is_text(value: object) -> bool:
    return type(value) is str and len(value) <= _LONGEST


def _is_mistake(found: object, exercise: Exercise) -> bool:
    """Whether this is a known mistake of the exercise's, or none."""
    return found is None or (
        set(found) == {"name", "message", "certain"} and type(found["certain"]) is bool
        and (found["name"], found["message"]) in {(m.name, m.message) for m in exercise.mutants})
