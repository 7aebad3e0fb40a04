"""Find exercises by id; each unit's module in ``tutorlib.exercises`` defines its own."""

from __future__ import annotations

import importlib
import importlib.util

from tutorlib.errors import UnknownExerciseError, nearest
from tutorlib.grading.exercise import Exercise
from tutorlib.syllabus import UNITS, Unit


def unit_module(slug: str):
    """Return the grader module of a unit, or None when the unit has none yet."""
    name = f"tutorlib.exercises.{slug}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def unit_exercises(slug: str) -> tuple[Exercise, ...]:
    """Return a unit's exercises in lesson order; empty when it has none."""
    module = unit_module(slug)
    return tuple(getattr(module, "EXERCISES", ()))


def all_exercises() -> tuple[Exercise, ...]:
    """Return every exercise of the course, in course order."""
    return tuple(e for unit in UNITS for e in unit_exercises(unit.slug))


def find_exercise(exercise_id: str) -> Exercise:
    """Return the exercise with this id; a misspelt one gets the nearest names."""
    slug = str(exercise_id).split(".")[0]
    if any(unit.slug == slug for unit in UNITS):
        for exercise in unit_exercises(slug):
            if exercise.id == exercise_id:
                return exercise
    known = [exercise.id for exercise in all_exercises()]
    raise UnknownExerciseError(
        f"there is no exercise {exercise_id!r}: {nearest(str(exercise_id), known)}"
    )


def unit_of(exercise: Exercise) -> Unit:
    """Return the unit that an exercise belongs to."""
    return next(unit for unit in UNITS if unit.slug == exercise.unit)


def summary(exercise: Exercise) -> dict:
    """Return what ``tutorlib exercises --json`` prints of an exercise."""
    return {
        "id": exercise.id,
        "unit": unit_of(exercise).number,
        "title": exercise.title,
        "points": exercise.points,
        "minutes": exercise.minutes,
        "difficulty": exercise.difficulty,
        "mutants": len(exercise.mutants),
        "variants": len(exercise.variants),
        "hints": len(exercise.hints),
    }
