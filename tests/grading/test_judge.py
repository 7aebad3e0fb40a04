"""The stages of a check, in order, and that nothing a learner writes harms the notebook."""

import random
import sys
import threading
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from tutorlib.errors import LessonError
from tutorlib.grading import Case, Exercise, evaluate
from tutorlib.grading.judge import FAILED, NOT_ATTEMPTED, PASSED, STUB_MESSAGE
from tutorlib.grading.report import MIME, Report, show_value


def right(x):
    return torch.cumsum(x, 0) / torch.arange(1, len(x) + 1)


def judged(exercise, answer):
    result = evaluate(exercise, answer)
    return result, Report(result).text()


def test_a_right_answer_passes_and_the_report_says_what_was_tested(exercise):
    result, text = judged(exercise, right)
    assert result.outcome == PASSED
    assert "3 random instances, 1 property" in text and "2 points" in text


@pytest.mark.parametrize("answer", [None, ...])
def test_an_empty_answer_is_not_attempted(exercise, answer):
    assert evaluate(exercise, answer).outcome == NOT_ATTEMPTED


@pytest.mark.parametrize("arguments", [(), (STUB_MESSAGE,)])
def test_the_stub_is_not_attempted(exercise, arguments):
    def stub(x):
        raise NotImplementedError(*arguments)

    assert evaluate(exercise, stub).outcome == NOT_ATTEMPTED


def test_a_librarys_not_implemented_error_is_an_error_of_the_learner(exercise):
    def answer(x):
        raise NotImplementedError("'cumsum_cpu' not implemented for 'Bool'")

    result, _ = judged(exercise, answer)
    assert (result.outcome, result.stage) == (FAILED, "error")


@pytest.mark.parametrize(("answer", "stage", "words"), [
    (7, "type", "pass the function itself"),
    (lambda x: "text", "type", "str cannot be compared"),
    (lambda x: object(), "type", "object cannot be compared"),
    (lambda x: right(x).sum(), "shape", "shape (3,) was expected, got shape ()"),
    (lambda x: right(x)[:, None], "shape", "got shape (3, 1)"),
    (lambda x: right(x).long(), "dtype", "got integer (int64)"),
    (lambda x: right(x).to(torch.complex64), "dtype", "got complex"),
    (lambda x: right(x) + 1, "hand example", "at index 0 (entry number 1)"),
    (lambda x: right(x).abs(), "property", "odd function"),
    (lambda x: right(x) + (len(x) > 3) * x.new_tensor([0.0] * (len(x) - 1) + [1.0]) * x.sign(),
     "random instance", "entry number 4"),
    (lambda x: x / 0 * 0, "hand example", "got nan"),
])
def test_each_stage_is_reported(exercise, answer, stage, words):
    result, text = judged(exercise, answer)
    assert (result.outcome, result.stage) == (FAILED, stage)
    assert words in text


def test_a_wrong_answer_shows_the_call_what_was_expected_and_what_came(exercise):
    _, text = judged(exercise, lambda x: x)
    assert "running_mean(x=[2, 4, 9])" in text
    assert "Expected: [2, 3, 5]" in text and "You returned: [2, 4, 9]" in text


def test_known_mistakes_are_named(exercise):
    for mutant in exercise.mutants:
        result, text = judged(exercise, mutant.answer)
        assert result.mistake is mutant and mutant.message in text


def test_two_mistakes_at_once_look_like_the_one_that_explains_most(exercise):
    def summed_and_clipped(x):  # the known mistake, and a second one that shows only sometimes
        return torch.cumsum(x, 0).clamp(min=-0.5)

    result, text = judged(exercise, summed_and_clipped)
    assert result.mistake.name == "sum" and not result.certain
    assert "It looks like a known mistake" in text


def test_a_pair_of_values_and_indices_is_explained(exercise):
    _, text = judged(exercise, lambda x: x.max(dim=0))
    assert "take `.values`" in text


def test_large_arguments_are_shown_by_their_shape(exercise):
    from tutorlib.grading.report import call_text

    text = call_text(exercise, Case((torch.zeros(5, 5),)))
    assert text == "running_mean(x=<tensor of shape (5, 5)>)"


def test_a_new_mistake_is_not_taken_for_a_known_one(exercise):
    assert evaluate(exercise, lambda x: x * 3).mistake is None


def test_an_exception_shows_the_learners_own_lines_only(exercise):
    def helper(x):
        return x[17]

    def answer(x):
        return helper(x)

    result, text = judged(exercise, answer)
    assert result.stage == "error" and "IndexError" in text
    assert "in helper" in text and "guard.py" not in text and "torch/" not in text


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt, RecursionError, MemoryError])
def test_no_exception_gets_out(exercise, exception):
    def answer(x):
        raise exception("away")

    assert evaluate(exercise, answer).stage == "error"


def endless(x):
    while True:
        pass


def swallowing(x):
    while True:
        try:
            time.sleep(10)
        except Exception:
            continue


def sleeping(x):
    time.sleep(100)


@pytest.mark.parametrize("answer", [endless, swallowing, sleeping])
def test_code_that_never_returns_is_stopped(exercise, answer):
    start = time.perf_counter()
    result, text = judged(exercise, answer)
    assert result.stage == "time limit" and "limit of 0.5 seconds" in text
    assert time.perf_counter() - start < 3
    assert evaluate(exercise, right).outcome == PASSED  # and the next check works


def test_the_time_limit_works_off_the_main_thread(exercise):
    found = []
    thread = threading.Thread(target=lambda: found.append(evaluate(exercise, endless)))
    thread.start()
    thread.join(10)
    assert found[0].stage == "time limit"


def test_a_megabyte_of_output_is_cut(exercise, capsys):
    def answer(x):
        print("z" * 1_000_000)
        print("z" * 1_000_000, file=sys.stderr)
        return right(x)

    result, text = judged(exercise, answer)
    assert result.outcome == PASSED
    assert len(text) < 2_000 and "1,999,502 more characters" in text
    assert capsys.readouterr().out == ""


def test_changing_the_inputs_is_found_even_when_the_value_is_right(exercise):
    def answer(x):
        value = right(x)
        x.zero_()
        return value

    result, text = judged(exercise, answer)
    assert result.stage == "changed inputs" and "changed `x` in place" in text
    assert exercise.hand.args[0].tolist() == [2.0, 4.0, 9.0]


def test_changing_the_inputs_of_a_property_is_found(exercise):
    """A law that compares with its inputs must not be given others by the answer."""
    calls = []

    def answer(x):
        calls.append(1)
        found = right(x)
        if len(calls) > 4:  # the cases are over, laws are tried
            x.zero_()
        return found

    result, _ = judged(exercise, answer)
    assert result.stage == "property" and "changed its inputs" in result.message


@pytest.mark.parametrize("change", [lambda x: x.mul_(float("nan")), lambda x: x.resize_(1)])
def test_no_change_of_the_inputs_is_overlooked(exercise, change):
    def answer(x):
        found = right(x)
        change(x)
        return found

    assert judged(exercise, answer)[0].stage == "changed inputs"


def test_random_states_grad_mode_and_dtype_survive(exercise):
    def answer(x):
        random.random(), np.random.rand(), torch.rand(2)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float16)
        return right(x)

    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    evaluate(exercise, answer)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


def test_without_the_hand_case_only_random_ones_are_tried(exercise):
    given = []

    def answer(x):
        given.append(x)
        return right(x)

    result = evaluate(exercise, answer, 5, hand_case=False)
    assert result.outcome == PASSED and result.verdicts == ("right",) * 3
    hand = exercise.hand_case().args[0]
    assert given and not any(torch.equal(x.abs(), hand) for x in given)
    wrong = evaluate(exercise, lambda x: right(x) + (len(x) == 3), 5, hand_case=False)
    assert (wrong.outcome, wrong.stage) == (FAILED, "property")
    exercise = replace(exercise, properties=())
    wrong = evaluate(exercise, lambda x: right(x) + (len(x) == 3), 5, hand_case=False)
    assert wrong.stage == "random instance" and wrong.verdicts[0] == "wrong"


class Yes:
    """Claims to equal everything."""

    shape = (3,)
    dtype = torch.float64

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __array__(self, *args, **kwargs):
        raise RuntimeError("no")


def test_an_object_that_equals_everything_does_not_pass(exercise):
    assert evaluate(exercise, lambda x: Yes()).stage == "type"


class YesTensor(torch.Tensor):
    """A tensor subclass that calls itself close to everything."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.isclose, torch.Tensor.to):
            return torch.ones(3, dtype=torch.bool)
        return super().__torch_function__(func, types, args, kwargs or {})


def test_a_tensor_subclass_cannot_answer_its_own_comparison(exercise):
    result = evaluate(exercise, lambda x: torch.zeros_like(x).as_subclass(YesTensor))
    assert (result.outcome, result.stage) == (FAILED, "hand example")


def test_html_of_a_learner_is_escaped(exercise):
    def answer(x):
        raise ValueError("<script>alert(1)</script>")

    report = Report(evaluate(exercise, answer))
    assert "<script>" not in report.html() and "&lt;script&gt;" in report.html()


def test_the_report_tells_programs_too(exercise):
    bundle = Report(evaluate(exercise, exercise.mutants[0].answer))._repr_mimebundle_()
    assert bundle[MIME]["outcome"] == "not passed" and bundle[MIME]["mistake"] == "sum"
    assert "not passed" in bundle["text/html"]  # in words, not by colour


def test_float32_and_lists_and_arrays_are_accepted(exercise):
    for answer in (lambda x: right(x.float()), lambda x: right(x).numpy(),
                   lambda x: right(x).tolist(), lambda x: tuple(right(x).tolist())):
        assert evaluate(exercise, answer).outcome == PASSED


def test_a_gradient_carrying_answer_is_accepted_without_warning(exercise):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = evaluate(exercise, lambda x: right(x) * torch.ones(1, requires_grad=True))
    assert answer.outcome == PASSED


def test_show_value_is_short():
    assert len(show_value(torch.zeros(10_000))) < 500
    assert show_value({"a": (1, 2.0)}) == "{'a': (1, 2)}"


def test_a_value_exercise(exercise):
    task = Exercise(
        id="start_here.cards", title="Cards", points=1, minutes=1, difficulty=1, kind="value",
        reference={"go": "search"}, oracle=lambda: {"go": "search"}, mutants=exercise.mutants[:0],
        variants=(), hints=("a", "b", "c"), why="w")
    assert evaluate(task, {"go": "search"}).outcome == PASSED
    assert evaluate(task, ...).outcome == NOT_ATTEMPTED
    assert "missing: ['go']" in evaluate(task, {}).message
    assert "expected 'search', got 'x'" in evaluate(task, {"go": "x"}).message


@pytest.mark.parametrize(("change", "fault"), [
    ({"id": "No Dots"}, "lower case"),
    ({"hints": ("one",)}, "three hints"),
    ({"difficulty": 9}, "1 to 5"),
    ({"hand": Case((1,))}, "worked by hand"),
    ({"hand": None}, "needs a hand example"),
    ({"kind": "essay"}, "'function' or 'value'"),
])
def test_a_definition_that_cannot_grade_is_refused(exercise, change, fault):
    fields = {name: getattr(exercise, name) for name in exercise.__dataclass_fields__}
    with pytest.raises(LessonError, match=fault):
        Exercise(**{**fields, **change})
