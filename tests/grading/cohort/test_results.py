"""What comes from another machine is believed only as far as grading could have made it."""

import copy
import json

import pytest

from tests.grading.cohort.conftest import RIGHT, UNDIVIDED, notebook
from tutorlib.errors import GradingError
from tutorlib.grading.cohort.grade import Plan, grade_notebook, lost, unreadable
from tutorlib.grading.cohort.results import LARGEST, checked, read_reply
from tutorlib.grading.cohort.runners import Trusted
from tutorlib.grading.cohort.seeds import Seed
from tutorlib.grading.registry import unit_exercises

UNIT = unit_exercises("start_here")
FIRST = UNIT[0].id
PLAN = Plan(Seed("a secret that nobody can guess"), points={FIRST: 7})


@pytest.fixture(scope="module")
def results():
    """(right, wrong), as they come over the wire."""
    made = [grade_notebook(notebook(source), UNIT, PLAN, Trusted) for source in (RIGHT, UNDIVIDED)]
    return json.loads(json.dumps(made))


def test_what_grading_makes_is_believed(results):
    more = unreadable("not a notebook", UNIT, PLAN)
    more["exercises"][0] = lost(UNIT[0], PLAN, "gone")
    for result in (*results, more):
        assert checked(result, UNIT, PLAN, Trusted.tier) is result
    assert results[0]["exercises"][0]["points"] == 7 and results[1]["exercises"][0]["mistake"]


LONG = "x" * 10_000
FORGERIES = {
    "points without passing": (1, {"points": 7}),
    "more points": (0, {"points": 8}),
    "other points to be had": (0, {"max_points": 70, "points": 70}),
    "no such outcome": (0, {"outcome": "excellent"}),
    "another exercise": (0, {"exercise": "start_here.other"}),
    "another title": (0, {"title": "<b>"}),
    "the solution as a hint": (1, {"hint": "return 42"}),
    "a long message": (1, {"message": LONG}),
    "a message that is none": (1, {"message": ["x"]}),
    "an unknown mistake": (1, {"mistake": {"name": "x", "message": "y", "certain": True}}),
    "a mistake that is none": (1, {"mistake": "x"}),
    "a cell that is none": (0, {"cell": "1"}),
    "something else shown": (1, {"shown": {"secret": "x"}}),
    "much shown": (1, {"shown": {"got": LONG}}),
    "odd cases": (0, {"cases": [{"case": 1}]}),
    "a long note": (0, {"notes": [LONG]}),
    "another field": (0, {"more": 1}),
    "lost, or not": (0, {"lost": "perhaps"}),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_grading_cannot_make_is_refused(results, forgery):
    which, fields = FORGERIES[forgery]
    result = copy.deepcopy(results[which])
    result["exercises"][0] |= fields
    with pytest.raises(GradingError, match="cannot give"):
        checked(result, UNIT, PLAN, Trusted.tier)


@pytest.mark.parametrize("change", [
    {"exercises": []}, {"tier": "another"}, {"limits_hit": ["patience"]}, {"more": 1},
    {"exercises": None}, {"limits_hit": [{}]}])
def test_a_result_of_another_shape_is_refused(results, change):
    with pytest.raises(GradingError, match="cannot give"):
        checked(results[0] | change, UNIT, PLAN, Trusted.tier)


@pytest.mark.parametrize("data", [
    b"", b"{", b"[]", b"1", b"null", "text", None, b"[" * 100_000, b" " * (LARGEST + 1),
    b'{"address": "a", "worker": 1, "refused": ""}', b'{"address": "a", "refused": ""}'])
def test_what_is_no_reply_is_refused(data):
    with pytest.raises(GradingError, match="no reply"):
        read_reply(data)
