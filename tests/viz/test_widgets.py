"""Widgets without a browser: traits set in Python, refusals, static defaults."""

import math
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import GridWorld, soft_value_iteration, value_iteration
from tutorlib.viz import (
    Explorer,
    GridPainter,
    PredictionWidget,
    QuizWidget,
    Slider,
    WalkComparer,
    explorer,
    lines,
)

VIEW = "application/vnd.jupyter.widget-view+json"
DRAWING = "...G\n.#.X\nS..."


def bundle_of(widget):
    data, _ = widget._repr_mimebundle_()
    assert VIEW in data
    return data


def painter(**settings):
    return GridPainter(GridWorld(DRAWING, step_reward=-0.04), **settings)


# The painter


def test_painting_a_reward_plans_anew():
    widget = painter(discount=0.9)
    before = widget.values.clone()
    widget.paint(2, 3, 2.0)
    world = GridWorld(DRAWING, step_reward=-0.04, discount=0.9, cell_rewards={(2, 3): 2.0})
    assert torch.allclose(widget.values, value_iteration(world.mdp).values)
    assert not torch.allclose(widget.values, before)
    assert widget.answer["values"] == widget.values.tolist()
    assert torch.equal(widget.world.mdp.reward, world.mdp.reward)


def test_temperature_and_slip_change_the_plan_to_the_soft_one():
    widget = painter()
    widget.temperature = 0.5
    widget.slip = 0.2
    world = GridWorld(DRAWING, step_reward=-0.04, slip=0.2)
    plan = soft_value_iteration(world.mdp, 0.5)
    assert torch.allclose(widget.values, plan.values)
    assert torch.allclose(widget.policy, plan.policy)
    assert np.allclose(widget.answer["policy"], plan.policy, atol=1e-5)


def test_rewards_may_come_as_tensor_or_array():
    widget = painter()
    for rewards in (torch.ones(11), np.full(11, 2.0), [3.0] * 11):
        widget.cell_rewards = rewards
        assert widget.message == ""
        assert widget.cell_rewards == list(map(float, rewards))


@pytest.mark.parametrize(("name", "value", "message"), [
    ("cell_rewards", [math.nan] * 11, "cell_rewards holds nan"),
    ("cell_rewards", [None] * 11, "cell_rewards"),
    ("cell_rewards", [1.0], "expected"),
    ("cell_rewards", "lots", "not an array"),
    ("discount", 1.0, "discount is 1.0; expected a number from 0 to 0.999"),
    ("discount", math.nan, "discount is nan"),
    ("discount", None, "discount is None"),
    ("temperature", -1, "temperature is -1"),
    ("temperature", True, "temperature is True"),
    ("slip", 1.5, "slip is 1.5"),
])
def test_a_setting_that_makes_no_sense_is_refused_and_said(name, value, message):
    widget = painter()
    good, answer = getattr(widget, name), widget.answer
    setattr(widget, name, value)
    assert widget.message.startswith("Not accepted: ") and message in widget.message
    assert getattr(widget, name) == good
    assert widget.answer == answer
    widget.temperature = 0.3
    assert widget.message == ""


def test_a_bad_setting_from_the_browser_is_refused_too():
    widget = painter()
    widget.set_state({"discount": 1.0, "temperature": 0.5})
    assert "discount is 1.0" in widget.message
    assert (widget.discount, widget.temperature) == (0.95, 0.0)


@pytest.mark.parametrize("settings", [{"discount": 1.0}, {"slip": -0.1}, {"temperature": "hot"},
                                      {"title": " "}])
def test_a_painter_is_not_built_on_bad_settings(settings):
    with pytest.raises(InvalidArgumentError):
        painter(**settings)


def test_a_map_too_large_to_paint_is_refused():
    with pytest.raises(InvalidArgumentError, match="441 cells"):
        GridPainter(GridWorld("\n".join("." * 21 for _ in range(21))))


def test_reset_returns_to_the_beginning():
    widget = painter(temperature=0.2)
    answer = widget.answer
    widget.paint(0, 0, 5.0)
    widget.slip = 0.4
    widget.discount = 3
    widget.reset()
    assert widget.answer == answer and widget.message == ""
    assert (widget.slip, widget.temperature) == (0.0, 0.2)


def test_the_given_grid_is_not_changed():
    grid = GridWorld(DRAWING)
    rewards = grid.cell_rewards.clone()
    GridPainter(grid).paint(0, 0, 5.0)
    assert torch.equal(grid.cell_rewards, rewards)


@pytest.mark.parametrize("temperature", [0, 0.05, 1.0])
def test_eight_by_eight_answers_within_a_tenth_of_a_second(temperature):
    world = GridWorld("S......G\n" + "\n".join("." * 8 for _ in range(6)) + "\n...#..X.")
    widget = GridPainter(world, temperature=temperature, discount=0.99, slip=0.2)
    seconds = []
    for reward in range(5):  # the fastest of five: other work on this machine is not our time
        start = time.perf_counter()
        widget.paint(3, 3, reward + 0.5)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1


def test_the_static_painter_is_a_described_picture_of_the_present_state():
    widget = painter(temperature=0.5)
    widget.paint(0, 0, 0.75)
    data = bundle_of(widget)
    assert data["text/html"].count("<img") == 1
    assert "0.75 at (0, 0)" in data["text/html"] and "0.75 at (0, 0)" in data["text/plain"]
    assert "temperature 0.5" in data["text/plain"]
    assert widget.status() in data["text/html"]


def test_status_of_several_starts_is_their_mean():
    widget = GridPainter(GridWorld("..G"), discount=0.5)
    assert widget.status() == "Mean value over the cells to start in: 0.75."


# The explorer


def parabola(height, width):
    if height > 3:
        raise ValueError("too high <b>")
    y = height - (np.arange(5) - 2.0) ** 2 / width
    return lines({"y": y}, title=f"Height {height}", xlabel="x", ylabel="y")


def make_explorer():
    return explorer(parabola, {"height": Slider(0.0, 4.0, 1.0, step=0.5, units="m"),
                               "width": Slider(1, 5, 2, label="Width of the arc")})


def test_sliders_have_labels_and_say_their_units():
    height, width = make_explorer().controls
    assert (height["label"], height["texts"][2]) == ("height", "1 m")
    assert (width["label"], width["texts"]) == ("Width of the arc", ["1", "2", "3", "4", "5"])


def test_moving_a_slider_calls_the_function():
    widget = make_explorer()
    assert widget.values == {"height": 1.0, "width": 2} and "Height 1.0" in widget.answer["alt"]
    widget.set(height=2.1)
    assert widget.values == {"height": 2.0, "width": 2} and "Height 2.0" in widget.answer["alt"]
    widget.positions = {"height": 0, "width": 4}
    assert widget.values == {"height": 0.0, "width": 5} and "Height 0.0" in widget.answer["alt"]


def test_an_error_of_the_function_is_text_and_not_the_end():
    widget = make_explorer()
    widget.set(height=4)
    assert widget.answer == {
        "problem": "With height = 4.0, width = 2: ValueError: too high <b>"}
    assert "too high &lt;b&gt;" in bundle_of(widget)["text/html"]
    widget.set(height=3)
    assert "Height 3.0" in widget.answer["alt"]


@pytest.mark.parametrize("positions", [{"height": 99, "width": 0}, {}, {"height": "a", "width": 0}])
def test_positions_that_do_not_exist_are_put_back(positions):
    widget = make_explorer()
    widget.positions = positions
    assert widget.values == {"height": 1.0, "width": 2} and "Height 1.0" in widget.answer["alt"]


def test_an_error_at_the_starting_values_is_raised():
    with pytest.raises(ValueError, match="too high"):
        explorer(parabola, {"height": Slider(0, 9, 9), "width": Slider(1, 5, 2)})


def test_numbers_and_strings_are_shown_as_text():
    widget = explorer(lambda x: f"x is <{x}>", {"x": Slider(0, 5, 3)})
    assert widget.answer == {"text": "x is <3>"}
    assert "<pre>x is &lt;3&gt;</pre>" in bundle_of(widget)["text/html"]


def test_the_static_explorer_is_the_function_at_its_settings():
    data = bundle_of(make_explorer())
    assert data["text/html"].count("<img") == 1
    assert "Height 1.0" in data["text/plain"]
    assert "height 1 m, Width of the arc 2" in data["text/html"]


def test_stops():
    assert Slider(0.0, 0.99, 0.95).stops()[:3] == [0.0, 0.01, 0.02]
    assert Slider(0.0, 0.99, 0.95).stops()[-1] == 0.99
    assert 0.333 in Slider(0, 1.0, 0.333).stops()  # the start is always a stop
    assert all(isinstance(stop, int) for stop in Slider(1, 9, 3, step=2).stops())
    powers = Slider(0.01, 100, 1, log=True)
    assert powers.stops()[0] == 0.01 and powers.stops()[-1] == 100
    assert powers.stops()[powers.nearest(1)] == 1
    assert np.allclose(np.diff(np.log(powers.stops())), np.log(10) / 25, rtol=0.1)


@pytest.mark.parametrize("settings", [
    {"low": 1, "high": 1, "value": 1}, {"low": 0, "high": 1, "value": 2},
    {"low": 0, "high": math.inf, "value": 0}, {"low": 0, "high": 1, "value": 1, "log": True},
    {"low": 1, "high": 2, "value": 1, "step": 0}, {"low": 1, "high": 2, "value": 1, "step": 5},
])
def test_sliders_that_make_no_sense_are_refused(settings):
    with pytest.raises(InvalidArgumentError):
        Slider(**settings)


def test_other_misuse_of_the_explorer_is_refused():
    with pytest.raises(InvalidArgumentError, match="stops are too many"):
        Slider(0, 100_000, 1).stops()
    for sliders in ({}, {"x": 3}):
        with pytest.raises(InvalidArgumentError, match="sliders must be like"):
            Explorer(lambda x: x, sliders)
    with pytest.raises(InvalidArgumentError, match="did you mean 'height'"):
        make_explorer().set(heigth=1)


# The quiz and the prediction

QUESTIONS = [
    {"prompt": "1 + 1 < `x`?", "options": ["1", "2"], "answer": 1,
     "explanations": ["Count <again>.", "Yes."]},
    SimpleNamespace(prompt="Sky?", options=("blue", "red", "grey"), answer=0,
                    explanations=("By day.", "At dusk only.", "Here often.")),
]


def test_each_answer_is_reported_once_with_its_verdict():
    told = []
    quiz = QuizWidget(QUESTIONS, on_answer=lambda *answer: told.append(answer))
    quiz.choose(0, 0)
    quiz.choose(0, 0)
    quiz.choose(0, 1)
    quiz.set_state({"choices": [1, 2]})  # as the browser sends it
    assert told == [(0, 0, False), (0, 1, True), (1, 2, False)]
    assert quiz.correct == [True, False]


@pytest.mark.parametrize("choices", [[5, None], [0], [-1, None], ["a", None]])
def test_an_answer_that_is_no_option_is_put_back(choices):
    told = []
    quiz = QuizWidget(QUESTIONS, on_answer=lambda *answer: told.append(answer))
    quiz.choices = choices
    assert quiz.choices == [None, None] and "not one of the options" in quiz.notice
    assert told == []


def test_a_store_that_fails_does_not_end_the_quiz():
    def full(*answer):
        raise OSError("disk full")

    quiz = QuizWidget(QUESTIONS, on_answer=full)
    quiz.choose(0, 1)
    assert quiz.correct == [True, None]
    assert quiz.notice == "This answer could not be kept: disk full"
    prediction = PredictionWidget("Up?", ["yes", "no"], on_choose=full)
    prediction.chosen = "no"
    assert prediction.notice == "This prediction could not be kept: disk full"


def test_the_static_quiz_folds_its_explained_answers_away():
    html = bundle_of(QuizWidget(QUESTIONS))["text/html"]
    assert html.count("<details>") == 2
    shown = html.partition("<details>")[0]
    assert "<code>x</code>" in shown and "1 + 1 &lt;" in shown and "Yes." not in shown
    assert "<li>1: <strong>wrong.</strong> Count &lt;again&gt;.</li>" in html
    assert "<li>blue: <strong>right.</strong> By day.</li>" in html


@pytest.mark.parametrize(("change", "message"), [
    ({"options": ["1"]}, "two texts or more"),
    ({"explanations": None}, "two texts or more"),
    ({"explanations": ["a", "b", "c"]}, "2 options and 3 explanations"),
    ({"answer": 2}, "index of the right option, 0 to 1"),
    ({"answer": None}, "index of the right option"),
    ({"prompt": ""}, "prompt"),
    ({"options": ["1", ""]}, "option"),
])
def test_malformed_questions_are_refused(change, message):
    with pytest.raises(InvalidArgumentError, match=message):
        QuizWidget([{**QUESTIONS[0], **change}])


def test_no_questions_are_refused():
    with pytest.raises(InvalidArgumentError, match="at least one"):
        QuizWidget([])


def test_a_prediction_is_told_and_kept():
    told = []
    prediction = PredictionWidget("Up?", ["yes", "no"], on_choose=told.append)
    assert prediction.chosen is None
    prediction.chosen = "no"
    prediction.chosen = "maybe"
    assert told == ["no"] and prediction.chosen == "no"
    assert prediction.notice == "That is not one of the options."
    html = bundle_of(prediction)["text/html"]
    assert "<li>no <strong>(your prediction)</strong></li>" in html and "<li>yes</li>" in html


def test_a_prediction_from_an_older_lesson_is_forgotten():
    assert PredictionWidget("Up?", ["yes", "no"], chosen="perhaps").chosen is None


@pytest.mark.parametrize("options", [["yes"], ["yes", "yes"], ["yes", ""]])
def test_predictions_need_two_different_options(options):
    with pytest.raises(InvalidArgumentError):
        PredictionWidget("Up?", options)


def test_plain_figures_do_not_load_the_widget_machinery():
    code = ("import sys; from tutorlib.viz import lines, roadmap; "
            "assert not {'anywidget', 'torch', 'matplotlib.pyplot'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)


# The judge of walks


def comparer(**settings):
    grid = GridWorld("S..")
    pairs = [([0, 1], [0, 0]), ([1, 2], [1, 0]), ([2, 2], [1, 1])]

    def fit(judged, labels):
        return [sum(labels), -len(judged), 0.5]

    return WalkComparer(grid, pairs, fit, **settings)


def test_judgements_are_fitted_kept_and_replayed(tmp_path):
    widget = comparer()
    assert widget.values == [0, 0, 0] and widget.shown == 0
    widget.judge(0, "left")
    assert widget.values == [1, -1, 0.5] and widget.shown == 1
    assert "(0, 0) best and (0, 1) least" in widget.answer["status"]
    widget.judge(1, "same")
    assert widget.values == [1.5, -2, 0.5]
    widget.judge(0, None)
    assert widget.values == [0, 0, 0], "a tie alone prefers nothing"
    widget.judge(0, "right")
    again = comparer()
    again.load(widget.save(tmp_path / "taste.json"))
    assert again.choices == widget.choices == ["right", "same", None]
    assert again.values == widget.values == comparer(choices=["right", "same"]).values


def test_a_judgement_that_is_none_is_refused():
    widget = comparer(choices=["left"])
    for wrong in (["up", None, None], ["left"], [1, None, None]):
        widget.choices = wrong
        assert widget.choices == ["left", None, None] and "expected" in widget.message
    widget.judge(1, "right")
    assert widget.message == "" and widget.values == [1, -2, 0.5]


@pytest.mark.parametrize(("pairs", "settings", "message"), [
    ([], {}, "at least one"),
    ([([0, 1], [0])], {}, "all of one length"),
    ([([0, 1],)], {}, "pair of two walks"),
    ([([0, 3], [0, 0])], {}, "states from 0 to 2"),
    ([([0, 1], [0, 0])], {"choices": ["up"]}, "expected"),
    ([([0, 1], [0, 0])], {"choices": ["left", "left"]}, "expected"),
])
def test_walks_that_cannot_be_compared_are_refused(pairs, settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        WalkComparer(GridWorld("S.."), pairs, lambda judged, labels: [0, 0, 0], **settings)


def test_the_static_judge_shows_the_pair_and_the_map():
    flat, told = (bundle_of(w)["text/html"] for w in (comparer(), comparer(choices=["left"])))
    assert flat.count("<img") == 1 and told.count("<img") == 2
    assert 'alt=""' not in told and "A path of 1 step runs" in flat
