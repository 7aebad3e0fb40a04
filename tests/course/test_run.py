"""Every notebook of the course runs as it should, within its budget, with alt text everywhere."""

from pathlib import Path

import pytest

from tutorlib.authoring import run
from tutorlib.authoring.products import PRODUCTS
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import course_root, ready_units

ROOT = course_root(Path(__file__).parent)
WANTED = {"notebooks": "passed", "exercises": "not attempted", "solutions": "passed"}
FEWEST_FIGURES = 4  # in a lesson of the house's shape; the short unit 00 has its own

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("unit", ready_units(ROOT), ids=lambda unit: unit.number)
def test_a_notebook_runs(unit, product):
    (result,) = run(ROOT, [unit.number], product, progress=False)
    assert result.ok, "\n" + "\n".join(result.problems)
    assert result.outcomes == {e.id: WANTED[product] for e in unit_exercises(unit.slug)}
    assert result.figures >= (1 if unit.number == "00" else FEWEST_FIGURES)
    assert not [line for line in result.warnings if "Warning" in line], result.warnings
