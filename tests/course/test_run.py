"""Every notebook of the course runs as it should, within its budget, with alt text everywhere."""

import json
from pathlib import Path

import pytest

from tutorlib.authoring import run
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import course_root, ready_units

ROOT = course_root(Path(__file__).parent)
WANTED = {"notebooks": "passed", "exercises": "not attempted"}
FEWEST_FIGURES = 4  # in a lesson of the house's shape; the short unit 00 has its own

each_unit = pytest.mark.parametrize("unit", ready_units(ROOT), ids=lambda unit: unit.number)


@each_unit
def test_the_solutions_run_as_the_lesson_does(unit):
    """They differ in words only: running the same code a second time would show nothing."""
    assert _code("solutions", unit) == _code("notebooks", unit)


def _code(product: str, unit) -> list[tuple]:
    """Return source and tags of the code cells: all that running them depends on."""
    notebook = json.loads((ROOT / product / f"{unit.stem}.ipynb").read_text(encoding="utf-8"))
    return [(cell["source"], cell["metadata"].get("tags")) for cell in notebook["cells"]
            if cell["cell_type"] == "code"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("product", WANTED)
@each_unit
def test_a_notebook_runs(unit, product):
    (result,) = run(ROOT, [unit.number], product, progress=False)
    assert result.ok, "\n" + "\n".join(result.problems)
    assert result.outcomes == {e.id: WANTED[product] for e in unit_exercises(unit.slug)}
    assert result.figures >= (1 if unit.number == "00" else FEWEST_FIGURES)
    assert not [line for line in result.warnings if "Warning" in line], result.warnings
