"""The judge of answers without a browser: choices, replay, refusals, the static default."""

import json

import pytest

from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.rewards import LabellingSession
from tutorlib.viz import AnswerComparer

QUESTIONS = [("sky ?", "blue", "red"), ("grass ?", "green", "<b>"), ("2 + 2 ?", "4", "5"),
             ("snow ?", "white", "black")]


def fit(indices, labels):
    """Rewards that say what was asked: the second answer earns the sum of the labels."""
    return {"tries": [("sea ?", ["a", "b", "c", "d"], [0.0, sum(labels), -len(indices), 0.25])],
            "note": f"pairs {list(indices)}"}


def comparer(**settings):
    return AnswerComparer(QUESTIONS, fit, **{"fit_from": 2, **settings})


def picks(widget):
    return {name: (text, reward) for name, text, reward in widget.answer["tries"][0]["picks"]}


def test_a_taste_is_fitted_to_choices_and_picks_best_and_worst():
    widget = comparer()
    assert widget.shown == 0 and widget.answer["status"] == (
        "0 of 4 judged. After 2 more choices between left and right, a taste is fitted to them.")
    widget.judge(0, "left")
    widget.judge(1, "tie")
    assert widget.shown == 2 and widget.answer["tries"] == []
    assert "2 of 4 judged. After 1 more choice between" in widget.answer["status"]
    widget.judge(2, "skip")
    assert "After 1 more choice between" in widget.answer["status"]
    widget.judge(3, "right")
    assert widget.answer["status"] == "4 of 4 judged."
    assert widget.answer["note"] == "pairs [0, 1, 3]"
    assert picks(widget) == {"first drawn": ("a", "0.00"), "best of 2": ("b", "1.50"),
                             "best of 4": ("b", "1.50"), "worst of 4": ("c", "\u22123.00")}
    widget.judge(0, None)
    assert widget.answer["tries"] == [] and widget.shown == 0


def test_best_of_n_looks_at_the_first_n_only():
    def later(indices, labels):
        return {"tries": [("sea ?", list("abcde"), [1, 3, 2, 4, 5])]}

    widget = AnswerComparer(QUESTIONS, later, choices=["left"], fit_from=1)
    assert [(name, text) for name, text, _ in widget.answer["tries"][0]["picks"]] == [
        ("first drawn", "a"), ("best of 2", "b"), ("best of 5", "e"), ("worst of 5", "a")]
    assert widget.answer["note"] == ""


def test_a_session_and_the_widget_read_each_other_s_files(tmp_path):
    session = LabellingSession.new(5, seed=2)
    for choice in ("right", "tie", "skip"):
        session.choose(choice)
    session.save(tmp_path / "session.json")
    widget = AnswerComparer(session.questions, fit)
    assert widget.pairs[0] == [session.questions[0].prompt.text, session.questions[0].left,
                               session.questions[0].right]
    widget.load(tmp_path / "session.json")
    assert widget.choices == ["right", "tie", "skip", None, None] and widget.shown == 3
    assert widget.answer == AnswerComparer(session.questions, fit,
                                           choices=session.choices).answer
    widget.judge(4, "left")  # one is left open in between
    again = LabellingSession.load(widget.save(tmp_path / "widget.json"))
    assert again.questions == session.questions
    assert again.choices == ["right", "tie", "skip", "skip", "left"]


def test_what_is_no_saved_session_is_refused(tmp_path):
    widget, path = comparer(choices=["left"]), tmp_path / "file.json"
    for text in ("", "[]", '{"questions": 3}'):
        path.write_text(text)
        with pytest.raises(InvalidTextError, match="no saved labelling session"):
            widget.load(path)
    with pytest.raises(InvalidTextError, match="FileNotFoundError"):
        widget.load(tmp_path / "none.json")
    AnswerComparer(QUESTIONS[::-1], fit).save(path)
    with pytest.raises(InvalidTextError, match="4 questions, and not the 4 shown"):
        widget.load(path)
    data = json.loads(comparer().save(path).read_text()) | {"choices": ["up"]}
    path.write_text(json.dumps(data))
    with pytest.raises(InvalidTextError, match='expected "left", "right", "tie", "skip" or None'):
        widget.load(path)
    assert widget.choices == ["left", None, None, None]


def test_a_choice_that_is_none_is_put_back_and_said():
    widget = comparer(choices=["left"])
    for wrong in (["same", None, None, None], ["left"], [1, None, None, None]):
        widget.set_state({"choices": wrong})
        assert widget.choices == ["left", None, None, None] and "expected" in widget.message
    widget.judge(1, "right")
    assert widget.message == "" and widget.answer["note"] == "pairs [0, 1]"


@pytest.mark.parametrize(("questions", "settings", "message"), [
    ([], {}, "no questions"),
    ([("sky ?", "blue")], {}, "expected \\(prompt, left, right\\)"),
    (["abc"], {}, "expected \\(prompt, left, right\\)"),
    ([("sky ?", "blue", "")], {}, "right is ''"),
    ([("", "blue", "red")], {}, "prompt is ''"),
    (QUESTIONS, {"choices": ["same"]}, "expected"),
    (QUESTIONS, {"choices": ["left"] * 5}, "4 pairs at most"),
    (QUESTIONS, {"title": " "}, "title"),
])
def test_questions_that_cannot_be_asked_are_refused(questions, settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        AnswerComparer(questions, fit, **settings)


@pytest.mark.parametrize(("attempt", "message"), [
    (("sea ?", ["a"], [1.0, 2.0]), "rewards of the answers to 'sea \\?'"),
    (("sea ?", ["a", "b"], [float("nan"), 2.0]), "holds nan"),
    (("sea ?", [], []), "no answers to 'sea \\?'"),
])
def test_tries_that_do_not_agree_are_refused(attempt, message):
    widget = AnswerComparer(QUESTIONS, lambda *_: {"tries": [attempt]}, fit_from=1)
    widget.judge(0, "left")
    assert widget.choices[0] is None and widget.answer["tries"] == []
    with pytest.raises(InvalidArgumentError, match=message):
        AnswerComparer(QUESTIONS, lambda *_: {"tries": [attempt]}, choices=["left"], fit_from=1)


def test_the_static_default_says_the_pair_and_the_picks():
    data, _ = comparer(choices=["left"])._repr_mimebundle_()
    assert "Pair 2 of 4" in data["text/plain"] and "&lt;b&gt;" in data["text/html"]
    assert "<b>" not in data["text/html"] and "<table>" not in data["text/html"]
    data, _ = comparer(choices=["left"] * 4)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/html"].count("<table>") == 1
    for part in ("You said: left.", "4 of 4 judged.", "best of 4: b (4.00)", "pairs [0, 1, 2, 3]"):
        assert part in data["text/plain"]
    assert '<th scope="row">worst of 4</th><td>c</td><td>\u22124.00</td>' in data["text/html"]
