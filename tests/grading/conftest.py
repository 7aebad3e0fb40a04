"""One small exercise on which the whole machinery is tried."""

import pytest
import torch

from tutorlib.grading import Case, Exercise, Mutant, Property, Variant


def running_mean(x):
    return torch.cumsum(x, 0) / torch.arange(1, len(x) + 1)


def by_loop(x):
    return torch.stack([x[: i + 1].sum() / (i + 1) for i in range(len(x))])


def is_odd(answer, case):
    flipped = answer(-case.args[0])
    if torch.allclose(torch.as_tensor(flipped), -torch.as_tensor(answer(case.args[0]))):
        return None
    return "negating the input did not negate the output"


def draw(generator):
    return [Case((torch.randn(n, generator=generator, dtype=torch.float64),)) for n in (3, 4, 5)]


@pytest.fixture
def exercise():
    return Exercise(
        id="start_here.running_mean", title="A running mean", points=2, minutes=3, difficulty=1,
        reference=running_mean, oracle=by_loop, kind="function",
        hand=Case((torch.tensor([2.0, 4.0, 9.0], dtype=torch.float64),),
                  expected=torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64), note="2, 4, 9"),
        cases=draw, properties=(Property("odd function", is_odd),),
        mutants=(
            Mutant("sum", lambda x: torch.cumsum(x, 0), "You summed without dividing."),
            Mutant("total", lambda x: torch.cumsum(x, 0) / len(x), "You divided by the length."),
            Mutant("late", lambda x: running_mean(x[1:]), "You lost the first entry."),
            Mutant("raises", lambda x: x[len(x)], "You read past the end."),
        ),
        variants=(
            Variant("numpy", lambda x: x.numpy().cumsum() / range(1, len(x) + 1)),
            Variant("list", lambda x: [float(x[: i + 1].mean()) for i in range(len(x))]),
        ),
        hints=("Think of sums.", "cumsum over count, shape (n,)", "cumsum(x) / ..."), why="Sums.",
        index_names=lambda case, index: f"entry number {index[0] + 1}", time_limit=0.5,
    )


@pytest.fixture
def registered(exercise, monkeypatch):
    """Make the exercise known under its id, in place of the unit's own."""
    from tutorlib.grading import registry

    monkeypatch.setattr(registry, "unit_exercises",
                        lambda slug: (exercise,) if slug == "start_here" else ())
    return exercise


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """Keep progress out of the real home."""
    monkeypatch.setenv("TUTORLIB_HOME", str(tmp_path / "home"))
