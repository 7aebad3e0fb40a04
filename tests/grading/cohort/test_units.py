"""Every unit, graded: its solutions get full marks, its worksheet none, each mistake its message.
"""

import json

import pytest

from tests.grading.cohort.conftest import built, with_answers
from tutorlib.grading.cohort.feedback import feedback_page
from tutorlib.grading.cohort.grade import Plan, grade_notebook
from tutorlib.grading.cohort.names import Learner
from tutorlib.grading.cohort.pages import inline
from tutorlib.grading.cohort.records import record_of
from tutorlib.grading.cohort.runners import Trusted
from tutorlib.grading.cohort.seeds import Seed
from tutorlib.grading.cohort.submissions import Submission
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import course_root, ready_units

PLAN = Plan(Seed("a secret that nobody can guess"))
FRAME = {"course": {"version": "x", "graders": "y"}, "seed_id": "z", "limits": {}}
UNITS = [unit for unit in ready_units(course_root()) if unit_exercises(unit.slug)]
SAMPLE = ("00", "03")
MUTANT = """from tutorlib.grading.registry import find_exercise
{name} = next(m.answer for m in find_exercise("{id}").mutants if m.name == "{mutant}")"""
each_unit = pytest.mark.parametrize("unit", [
    pytest.param(unit, id=unit.number, marks=() if unit.number in SAMPLE else pytest.mark.slow)
    for unit in UNITS])


def grade(data, unit):
    return grade_notebook(data, unit_exercises(unit.slug), PLAN, Trusted)


@each_unit
def test_solutions_get_full_marks_and_worksheets_none(unit):
    solved = grade(built("solutions", unit.number), unit)["exercises"]
    assert all(row["outcome"] == "passed" for row in solved), solved
    assert sum(r["points"] for r in solved) == sum(e.points for e in unit_exercises(unit.slug))
    for row in grade(built("exercises", unit.number), unit)["exercises"]:
        assert (row["outcome"], row["points"]) == ("not attempted", 0)


@each_unit
def test_a_known_mistake_costs_its_exercise_and_its_message_is_in_the_feedback(unit):
    """One notebook per mutant: all else is solved."""
    content = json.loads(built("solutions", unit.number))
    solved = {c["metadata"]["tutorlib"]["exercise"]: "".join(c["source"])
              for c in content["cells"]
              if c["metadata"].get("tutorlib", {}).get("role") == "answer"}
    for exercise in unit_exercises(unit.slug):
        for mutant in exercise.mutants:
            wrong = MUTANT.format(name=exercise.name, id=exercise.id, mutant=mutant.name)
            data = with_answers(unit.number, {**solved, exercise.id: wrong})
            result = grade_notebook(data, [exercise], PLAN, Trusted)
            [row] = result["exercises"]
            assert (row["outcome"], row["points"]) == ("not passed", 0), mutant.name
            assert row["mistake"] and row["mistake"]["name"] == mutant.name, row
            submission = Submission(Learner("anna", "Anna"), unit.number, "a.ipynb")
            page = feedback_page(record_of(submission, result, FRAME, {}))
            assert inline(mutant.message) in page


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.number == "03"])
def test_a_mistake_costs_nothing_elsewhere(unit):
    exercise = unit_exercises(unit.slug)[0]
    content = json.loads(built("solutions", unit.number))
    for cell in content["cells"]:
        if cell["metadata"].get("tutorlib", {}).get("exercise") == exercise.id and (
                cell["metadata"]["tutorlib"]["role"] == "answer"):
            cell["source"] = MUTANT.format(name=exercise.name, id=exercise.id,
                                           mutant=exercise.mutants[0].name)
    rows = grade(json.dumps(content).encode(), unit)["exercises"]
    assert [row["outcome"] for row in rows] == ["not passed"] + ["passed"] * (len(rows) - 1)
