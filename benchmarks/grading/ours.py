"""The same two questions as exercises of this package, about arrays or about tensors.

`grading.py` puts this file in the place of a unit's graders, in a copy of the package.
"""

from __future__ import annotations

import importlib

import numpy as np

from tutorlib.grading import Case, Exercise, Mutant, Variant

FORM, SLUG = "numpy", "start_here"  # of the copy: `grading.py` writes them
LIBRARY = importlib.import_module(FORM)


def _softmax(scores, temperature):
    raised = [2.718281828459045 ** (float(s) / temperature) for s in scores]
    return _made([x / sum(raised) for x in raised])


def _discounted(rewards, discount):
    return _made([sum(discount**k * float(r) for k, r in enumerate(rewards[i:]))
                  for i in range(len(rewards))])


def _made(values):
    """Return numbers as the form's kind of array."""
    made = np.array(values)
    return made if FORM == "numpy" else LIBRARY.from_numpy(made)


def _drawn(number):
    """Return a function that draws three cases with a second argument."""
    def cases(generator):
        return [Case((_made(generator.normal(size=5)), number)) for _ in range(3)]
    return cases


def _exercise(name, oracle, hand, cases, mistake):
    return Exercise(
        id=f"{SLUG}.{name}", title=name.capitalize(), points=1, minutes=5, difficulty=1,
        reference=oracle, oracle=oracle, hand=hand, cases=cases, generator=np.random.default_rng,
        mutants=(Mutant("as given", mistake, "You returned what you were given."),),
        variants=(Variant("the oracle", oracle),), hints=("Think.", "Formula.", "Skeleton."),
        why="By definition.")


EXERCISES = (
    _exercise("softmax", _softmax,
              Case((_made([1.0, 2.0]), 1.0), expected=_made([0.26894142137, 0.73105857863])),
              _drawn(0.5), lambda scores, temperature: scores),
    _exercise("discounted", _discounted,
              Case((_made([1.0, 2.0, 4.0]), 0.5), expected=_made([3.0, 4.0, 4.0])),
              _drawn(0.9), lambda rewards, discount: rewards),
)
