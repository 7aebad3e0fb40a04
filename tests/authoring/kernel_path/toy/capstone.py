"""Two toy exercises, under the name of a real unit so that every look-up finds them."""

import torch

from tutorlib.grading import Case, Exercise, Mutant, Property, Variant


def reference(values, discount):
    """Sum the values, each discounted by its position."""
    return sum(discount**step * value for step, value in enumerate(values))


def horner(values, discount):
    """Compute the same from the last value backwards."""
    total = 0.0
    for value in reversed(values):
        total = value + discount * total
    return total


def draw(generator):
    return [Case(args=(torch.rand(4, generator=generator).tolist(), 0.9)) for _ in range(3)]


EXERCISES = (
    Exercise(
        id="capstone.discounted_sum", title="Discounted sum", points=2, minutes=8, difficulty=2,
        reference=reference, oracle=horner,
        hand=Case(args=([1.0, 2.0], 0.5), expected=2.0, note="1 + 0.5 * 2"), cases=draw,
        properties=(Property("no discount is a plain sum",
                             lambda answer, case: None if abs(answer([1.0, 2.0], 1.0) - 3) < 1e-9
                             else "with discount 1 it is not the sum"),),
        mutants=(
            Mutant("starts_at_one", lambda v, d: sum(d**(t + 1) * x for t, x in enumerate(v)),
                   "The first value is not discounted: start the exponent at 0."),
            Mutant("no_discount", lambda v, d: sum(v), "The discount is missing."),
            Mutant("linear", lambda v, d: sum(x * d * t for t, x in enumerate(v)),
                   "The discount is a power, not a product."),
            Mutant("mean", lambda v, d: reference(v, d) / len(v), "Do not divide by the length."),
        ),
        variants=(Variant("backwards", horner), Variant("again", reference)),
        hints=("Later counts less.", "sum over t of discount**t * values[t]", "for ... in ..."),
        why="A value $t$ steps away is worth $\\gamma^t$ of itself."),
    Exercise(
        id="capstone.map_size", title="Size of a map", points=1, minutes=1, difficulty=1,
        kind="value", reference={"rows": 2, "columns": 3},
        oracle=lambda: {"rows": 2, "columns": 3},
        mutants=(
            Mutant("swapped", {"rows": 3, "columns": 2}, "Rows come first."),
            Mutant("off_by_one", {"rows": 1, "columns": 2}, "Count from one."),
            Mutant("cells", {"rows": 6, "columns": 6}, "Rows and columns, not cells."),
            Mutant("zero", {"rows": 0, "columns": 0}, "The map is not empty."),
        ),
        variants=(Variant("dict call", dict(rows=2, columns=3)),
                  Variant("other order", {"columns": 3, "rows": 2})),
        hints=("Look.", "rows x columns", "{...}"), why="Count them."),
)
