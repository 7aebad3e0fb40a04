"""Expected values are kept by the inputs' contents, and nobody can spoil what is kept."""

import dataclasses

import numpy as np
import pytest
import torch

from tutorlib.grading import Case, Mutant, judge, truth
from tutorlib.grading.judge import PASSED, evaluate


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(truth, "_kept", type(truth._kept)())


class Oracle:
    def __init__(self, made):
        self.made, self.calls = made, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.made(*args, **kwargs)


@dataclasses.dataclass(frozen=True)
class World:
    table: torch.Tensor
    name: str = "a"


def seeded(number):
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize("first, equal, other", [
    (torch.ones(2), torch.ones(2), torch.ones(2, dtype=torch.float64)),
    (torch.ones(2, 1), torch.ones(1, 2).T, torch.ones(1, 2)),
    (World(torch.ones(2)), World(torch.ones(2)), World(torch.ones(2), "b")),
    ([{"a": np.arange(3)}], [{"a": np.arange(3)}], [{"a": np.arange(4)}]),
    (seeded(1), seeded(1), seeded(2)),
    (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16), torch.ones(2)),
    (torch.ones(2), torch.ones(2), torch.ones(2, requires_grad=True)),
])
def test_equal_inputs_are_computed_once_and_others_anew(first, equal, other):
    oracle = Oracle(lambda x: 7)
    for value, calls in ((first, 1), (equal, 1), (other, 2), (first, 2)):
        assert truth.expected_value(oracle, (value,), {}) == 7
        assert oracle.calls == calls


def test_two_oracles_and_two_names_do_not_meet():
    double, triple = Oracle(lambda x=0, y=0: 2 * x), Oracle(lambda x=0, y=0: 3 * x)
    assert [truth.expected_value(f, (2,), {}) for f in (double, triple)] == [4, 6]
    assert truth.expected_value(double, (), {"y": 2}) == 0
    assert truth.expected_value(double, (), {"x": 2}) == 4


def test_what_is_kept_is_nobody_elses():
    oracle = Oracle(lambda x: {"a": [x + 1, np.zeros(2)]})
    for _ in range(3):
        found = truth.expected_value(oracle, (torch.zeros(2),), {})
        assert torch.equal(found["a"][0], torch.ones(2)) and not found["a"][1].any()
        found["a"][0].fill_(9)
        found["a"][1][:] = 9
    assert oracle.calls == 1


@pytest.mark.parametrize("value", [
    torch.ones(2, requires_grad=True) * 2, World(torch.ones(2)), object(),
    np.array([None]), [torch.ones(2).as_subclass(torch.nn.Parameter)],
])
def test_what_cannot_be_copied_whole_is_not_kept(value):
    oracle = Oracle(lambda: value)
    assert truth.expected_value(oracle, (), {}) is value is truth.expected_value(oracle, (), {})
    assert oracle.calls == 2 and not truth._kept


def test_inputs_that_cannot_be_written_down_are_computed_each_time():
    oracle = Oracle(lambda f: f(1))
    assert truth.expected_value(oracle, (lambda x: x + 1,), {}) == 2
    assert truth.expected_value(oracle, (lambda x: x + 2,), {}) == 3


def test_the_most_recent_values_are_kept(monkeypatch):
    monkeypatch.setattr(truth, "KEPT", 2)
    oracle = Oracle(lambda x: x)
    for x in (1, 2, 1, 3, 1):
        truth.expected_value(oracle, (x,), {})
    assert oracle.calls == 3 and len(truth._kept) == 2
    truth.expected_value(oracle, (2,), {})
    assert oracle.calls == 4


def test_an_answer_that_spoils_its_inputs_does_not_spoil_the_next(exercise):
    """By hand and past the copies: the reference to a case is what a hostile answer would want."""
    seen = []

    def honest(x):
        seen.append(x.clone())
        return exercise.reference(x)

    def spoils(x):
        x.fill_(1e9)
        return x

    assert evaluate(exercise, honest, 5).outcome == PASSED
    first, seen = seen, []
    spoilt = exercise.random_cases(5)
    for case in spoilt:
        case.args[0].fill_(7)
        case.expected.fill_(7)
    assert evaluate(exercise, spoils, 5).stage == "changed inputs"
    assert evaluate(exercise, honest, 5).outcome == PASSED
    assert len(seen) == len(first) and all(map(torch.equal, first, seen))


def test_the_judgement_is_the_same_with_and_without_what_is_kept(exercise, monkeypatch):
    answers = [exercise.reference, *(m.answer for m in exercise.mutants),
               *(v.answer for v in exercise.variants)]

    def judged():
        return [(r.outcome, r.stage, r.message, r.verdicts, r.mistake and r.mistake.name)
                for r in (evaluate(exercise, answer, 3) for answer in answers)]

    fresh, kept = judged(), judged()
    monkeypatch.setattr(truth, "_digest", lambda args, kwargs: None)
    assert truth._kept and fresh == kept == judged()


def test_a_value_exercises_truth_is_kept_too(exercise):
    oracle = Oracle(lambda: {"a": 1})
    asked = dataclasses.replace(exercise, kind="value", hand=None, cases=None, oracle=oracle)
    for _ in range(2):
        assert judge.evaluate(asked, {"a": 1}).outcome == PASSED
    assert oracle.calls == 1 and asked.hand_case() == Case(expected={"a": 1})


def test_what_a_known_mistake_makes_of_a_case_is_kept(exercise):
    """Its value, its kind of error and what it changes; not that it ran out of time."""
    def changes(x):
        x.fill_(0)
        return x

    def never():
        raise judge.TimeLimitReached

    asked = []
    made = {"sum": lambda x: torch.cumsum(x, 0), "raises": lambda x: x[len(x)],
            "changes": changes, "late": lambda x: never()}

    def counting(name):
        def answer(x):
            asked.append(name)
            return made[name](x)
        return answer

    mutants = tuple(Mutant(name, counting(name), name) for name in made)
    asked_of = dataclasses.replace(exercise, mutants=mutants, properties=())
    for answer in (made["sum"], lambda x: x * 7, made["raises"], made["changes"]):
        first, times = evaluate(asked_of, answer, 3), len(asked)
        again = evaluate(asked_of, answer, 3)
        assert first.mistake is again.mistake and first.message == again.message
        assert set(asked[times:]) <= {"late"}
    found = [evaluate(asked_of, made[name], 3).mistake for name in ("sum", "raises", "changes")]
    assert [mutant.name for mutant in found] == ["sum", "raises", "changes"]
