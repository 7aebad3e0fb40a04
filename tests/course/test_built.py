"""What holds for every lesson of the course and its three built notebooks."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from tutorlib.authoring import build, lint, read_lesson
from tutorlib.authoring.builder import read_measured
from tutorlib.authoring.execute import Budget
from tutorlib.authoring.leaks import leaks
from tutorlib.authoring.outputs import expected_checks
from tutorlib.authoring.products import PRODUCTS, Built
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import course_root, ready_units

ROOT = course_root(Path(__file__).parent)
UNITS = ready_units(ROOT)
MACHINE_PATH = re.compile(r"(?<![\w./])(/(home|root|Users|tmp|work|mnt|opt)/\w|[A-Z]:\\\\)")

each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.number)
each_product = pytest.mark.parametrize("product", PRODUCTS)


def built(unit, product):
    return ROOT / product / f"{unit.stem}.ipynb"


def test_every_built_notebook_is_what_its_lesson_makes():
    report = build(ROOT, check=True)
    found = [f"{drift.kind}: {drift.path}\n{drift.excerpt}" for drift in report.drift]
    assert not found, "run `tutorlib build`\n" + "\n".join(found)
    assert len(report.unchanged) == 3 * len(UNITS)


@each_unit
def test_a_lesson_keeps_the_house_rules(unit):
    problems = lint(read_lesson(ROOT / "course" / f"{unit.stem}.py"))
    assert not problems, "\n" + "\n".join(map(str, problems))


@each_product
@each_unit
def test_a_built_notebook_is_valid_and_carries_nothing_of_a_machine(unit, product):
    text = built(unit, product).read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert all(not c.outputs and c.execution_count is None
               for c in notebook.cells if c.cell_type == "code")
    assert str(ROOT) not in text and MACHINE_PATH.search(text) is None
    assert set(expected_checks(notebook)) == {e.id for e in unit_exercises(unit.slug)}


@each_unit
def test_no_solution_line_is_in_the_worksheet_on_disk(unit):
    cells = json.loads(built(unit, "exercises").read_text(encoding="utf-8"))["cells"]
    worksheet = [Built(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    lesson = read_lesson(ROOT / "course" / f"{unit.stem}.py")
    assert leaks(lesson, worksheet) == []
    assert not any("SOLUTION" in cell.source for cell in worksheet)


@each_unit
def test_the_cards_machine_time_was_measured_and_is_within_budget(unit):
    record = read_measured(ROOT).get(unit.number)
    assert record, f"measure it: tutorlib run {unit.number} --record"
    assert 0 < record["seconds"] <= Budget().seconds
    assert 0 < record["peak_mb"] <= Budget().memory_mb
