"""The token strip and the score panels: what they say, where numbers land, what is refused."""

import numpy as np
import pytest
import torch

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz import score_panels, token_strip
from tutorlib.viz.strips import _label, _plan, _scale
from tutorlib.viz.stripview import read_strips

TOKENS = "<pad> what is 2 ? sure 2 <eos>".split()
MASK = [0, 1, 1, 1, 1, 1, 1, 1]


def rows_of(values, prompt=4, tokens=TOKENS, mask=MASK):
    """Return the numbers of the only quantity, token by token."""
    (strip,) = read_strips(tokens, {"x": values}, prompt, mask, "<eos>", ())
    return strip.rows["x"]


def test_words_hold_prompt_answer_padding_numbers_and_extremes():
    alt = token_strip(TOKENS, {"log π (nats)": [-0.1, -2.5, -0.4]}, prompt=4, mask=MASK,
                      title="It guesses").alt
    assert alt == (
        'It guesses. Strip of 8 tokens. Prompt "what is 2 ?", answer "sure 2 <eos>", 1 padding '
        "token. log π (nats): sure −0.1, 2 −2.5, <eos> −0.4. log π (nats): lowest −2.5 at '2' and "
        "highest −0.1 at 'sure'.")


def test_an_answer_without_an_end_is_said_to_have_none():
    assert "no <eos>" in token_strip(["sky", "blue"], title="Cut", prompt=1).alt
    assert "no <eos>" not in token_strip(["sky", "<eos>"], title="Whole", prompt=1).alt
    padded = token_strip(["sky", "blue", "<eos>"], title="Cut", prompt=1, mask=[1, 1, 0]).alt
    assert "no <eos>" in padded, "an end of sequence used as padding ends nothing"


def test_fewer_numbers_belong_to_the_last_tokens():
    answer = [1.0, 2.0, 3.0]
    assert np.allclose(rows_of(answer)[5:], answer) and np.isnan(rows_of(answer)[:5]).all()
    shifted = rows_of(np.arange(7.0))  # next-token predictions: all but the first token
    assert np.isnan(shifted[0]) and np.allclose(shifted[1:], np.arange(7.0))
    assert np.isnan(rows_of(np.arange(8.0))[0]), "padding has no number"
    mask_form = rows_of(answer, prompt=[0, 1, 1, 1, 1, 0, 0, 0])
    assert np.allclose(mask_form[5:], answer), "a count and a mask of the prompt say the same"


def test_a_count_of_prompt_tokens_skips_padding_on_the_left():
    (strip,) = read_strips(TOKENS, None, 4, MASK, "<eos>", ())
    assert strip.prompt.tolist() == [False, True, True, True, True, False, False, False]
    assert [strip.tokens[i] for i in strip.answer] == ["sure", "2", "<eos>"]


def test_several_sequences_share_one_scale_and_take_tensors():
    strips = read_strips([["a", "b"], ["c"]], {"kl": [torch.tensor([-1.0, 0.5]), [2.0]]},
                         None, None, "<eos>", ["one", "two"])
    scale = _scale("kl", strips, None)
    assert (scale.norm.vmin, scale.norm.vmax) == (-2, 2), "both signs: white is at 0"
    assert scale.texts == [["−1.00", "0.50"], ["2.00"]]
    alt = token_strip([["a", "b"], ["c"]], {"kl": [[-1.0, 0.5], [2.0]]}, title="Two",
                      names=["one", "two"]).alt
    assert "in 2 sequences" in alt and "highest 2 at 'c' in two" in alt


def test_long_sequences_continue_below_and_no_column_is_lost():
    strips = read_strips(["elephant"] * 40, {"log π": -np.ones(40)}, None, None, "<eos>", ())
    plan = _plan(strips, {"log π": _scale("log π", strips, None)})
    assert [c for line in plan.lines for c in line] == list(range(40)) and len(plan.lines) > 1
    assert plan.width <= 9.4
    assert all(plan.left + plan.widths[list(line)].sum() <= plan.width for line in plan.lines)
    assert "elephant −1, elephant" not in token_strip(
        ["elephant"] * 40, {"log π": -np.ones(40)}, title="Long").alt, "40 equal numbers bore"


def test_labels_take_at_most_two_lines():
    for label in ("KL", "KL to the reference (nats)", "per-token log-probability, base (nats)"):
        assert _label(label).count("\n") <= 1
        assert _label(label).split() == label.split()


@pytest.mark.parametrize("given", [
    {"tokens": "the sky"}, {"tokens": []}, {"tokens": [["a"], "b"]}, {"tokens": [3, 4]},
    {"values": {"x": [1.0]}}, {"values": {"x": [np.inf, 1, 2]}}, {"prompt": 9}, {"prompt": 1.5},
    {"prompt": [0, 2, 0, 0, 0, 0, 0, 0]}, {"mask": [1, 1]}, {"limits": {"y": (0, 1)}},
    {"tokens": [["a"], ["b"]], "prompt": [1], "mask": None, "values": None},
    {"tokens": [["a"], ["b"]], "prompt": 1, "mask": None, "values": None}, {"title": " "},
])
def test_what_makes_no_strip_is_refused(given):
    asked = {"tokens": TOKENS, "values": {"x": [1.0, 2.0, 3.0]}, "prompt": 4, "mask": MASK,
             "title": "A claim"} | given
    with pytest.raises(InvalidArgumentError):
        token_strip(**asked)


def test_panels_say_means_and_how_far_they_moved():
    alt = score_panels({"1 direct": [0.0, 1.0], "2 asked": {"please": [1.0, 2.0], "brief": [0, 0]}},
                       title="Asking", xlabel="gold reward (points)", reference="1 direct",
                       thresholds={"1 direct": 0.5}).alt
    assert "2 panels of shares of answers against gold reward (points), 0 to 2." in alt
    assert "2 asked, please: mean 1.5, middle half 1.25 to 1.75 (2 answers), mean 1 above" in alt
    assert "2 asked, brief: mean 0, middle half 0 to 0 (2 answers), mean 0.5 below 1 direct" in alt
    assert "Filtered at 0.5: 50% are below." in alt
    assert score_panels({"same": [1.0, 1.0]}, title="Flat", xlabel="score").alt


@pytest.mark.parametrize("given", [
    {"panels": {}}, {"panels": {"a": []}}, {"panels": {"a": [np.nan]}}, {"reference": "b"},
    {"thresholds": {"b": 1.0}}, {"xlabel": ""},
])
def test_panels_without_scores_or_with_unknown_names_are_refused(given):
    with pytest.raises(InvalidArgumentError):
        score_panels(**{"panels": {"a": [1.0]}, "title": "A", "xlabel": "score"} | given)
