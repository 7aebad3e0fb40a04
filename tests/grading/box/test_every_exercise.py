"""The judge says the same of an answer in a box as of the same answer in the notebook."""

import pytest

from tutorlib.grading.box import Cell, Limits, tiers
from tutorlib.grading.box.box import Box
from tutorlib.grading.box.preload import NEEDED
from tutorlib.grading.judge import PASSED, evaluate
from tutorlib.grading.registry import all_exercises

# Answers are closures of the graders' package, which no box has. The process that makes the boxes
# of this test has loaded it, and its objects are found among the living ones.
SOURCE = """
import gc
gc.unfreeze()  # the process that makes boxes keeps what it loaded from collections, and lists
for thing in gc.get_objects():
    if type(thing).__name__ == "Exercise":
        kept = thing.id.replace(".", "__")
        globals()[f"{kept}__reference"] = thing.reference
        for answer in (*thing.mutants, *thing.variants):
            globals()[f"{kept}__{answer.name}"] = answer.answer
"""


def answers(every: int):
    """Yield (exercise, name, answer): the reference, and every so-many-th mutant and variant."""
    for exercise in all_exercises():
        yield exercise, "reference", exercise.reference
        for number, answer in enumerate((*exercise.mutants, *exercise.variants)):
            if number % every == len(exercise.id) % every:
                yield exercise, answer.name, answer.answer


def verdict(result):
    """Return what a learner is told, without the prints."""
    mistake = result.mistake.name if result.mistake else None
    return result.outcome, result.stage, result.message, mistake, result.certain, result.cases_run


@pytest.mark.slow
def test_the_same_judgement_as_in_the_notebook():
    if (missing := tiers.LANDLOCK.lacks()) is not None:
        pytest.skip(f"this test's boxes are of the tier landlock, which {missing}")
    graders = [f"tutorlib.exercises.{e.unit}" for e in all_exercises()]
    host = tiers.LANDLOCK.start([*NEEDED, *dict.fromkeys(graders)])
    different, compared = [], 0
    try:
        with Box(host, Limits(cpu_seconds=600)) as box:
            assert box.load([Cell(SOURCE)]) == [None]
            for exercise, name, answer in answers(every=7):
                boxed = box.answer(f"{exercise.id.replace('.', '__')}__{name}",
                                   4 * exercise.time_limit)
                mine, theirs = evaluate(exercise, boxed, 1), evaluate(exercise, answer, 1)
                compared += 1
                assert name != "reference" or theirs.outcome == PASSED
                if verdict(mine) != verdict(theirs):
                    different.append((exercise.id, name, verdict(mine), verdict(theirs)))
    finally:
        host.close()
    assert different == []
    assert compared > 2 * len(all_exercises())
