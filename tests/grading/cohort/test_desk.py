"""What a worker of a cluster is told, what it says of itself, and how it grades."""

import json

import pytest

from tests.grading.cohort.conftest import RIGHT, UNDIVIDED, notebook
from tutorlib.grading.box import NoBoxError, tiers
from tutorlib.grading.cohort import boxed, desk
from tutorlib.grading.cohort.grade import Plan
from tutorlib.grading.cohort.remote import Order
from tutorlib.grading.cohort.runners import Limits
from tutorlib.grading.cohort.seeds import DRAWS, DrawnSeed, Seed
from tutorlib.grading.cohort.worker import Job, grade_job

PLAN = Plan(Seed("a secret that nobody can guess"), Limits(seconds=60))


def test_numbers_drawn_for_a_worker_are_the_secrets_own():
    seed = PLAN.seed
    drawn = DrawnSeed(json.loads(json.dumps(seed.drawn(["a.b", "c.d"]))))
    assert all(drawn.number(e, i) == seed.number(e, i) for e in ("a.b", "c.d")
               for i in range(DRAWS))
    assert str(drawn.number("a.b")) not in repr(drawn)


def test_the_digest_tells_versions_and_solutions_apart(monkeypatch, tmp_path):
    ours = desk.course_digest()
    assert ours == desk.course_digest.__wrapped__()
    assert desk._standing.__wrapped__("another")[1].startswith("it has another version")
    (tmp_path / "course").mkdir()
    (tmp_path / "tutorlib").mkdir()
    monkeypatch.setenv("TUTORLIB_ROOT", str(tmp_path))
    assert desk.course_digest.__wrapped__() != ours, "worked answers come from the solutions"


def test_a_worker_without_a_box_says_what_each_tier_lacks(monkeypatch):
    monkeypatch.setattr(tiers, "_faults", {tier: f"no {tier.name} here" for tier in tiers.TIERS})
    tier, why = desk._standing.__wrapped__(desk.course_digest())
    assert tier == "" and all(f"{t.name}: no {t.name} here" in why for t in tiers.TIERS)


@pytest.mark.slow
def test_one_process_grades_notebook_after_notebook_on_the_same_terms(monkeypatch):
    try:
        open_box, tier = boxed.boxes()
    except NoBoxError as problem:
        pytest.skip(f"no box works here: {problem}")
    monkeypatch.setattr(desk, "_desks", [])
    terms, seen = desk.terms_of(PLAN, tier, {"00"}), []
    for source in (RIGHT, UNDIVIDED, RIGHT):
        said = desk.grade(Order("00", terms, notebook(source)))
        assert said == {"result": grade_job(Job("", "00", notebook(source)), PLAN, open_box)}
        seen.append(desk._desks[0])
    assert seen[0] is seen[1] is seen[2]
    other = terms.replace(tier.encode(), b"another")
    assert "of the tier another" in desk.grade(Order("00", other, b""))["refused"]
    seen[0].close()
