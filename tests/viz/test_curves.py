"""Bands over seeds, and the words for curves."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz import learning_curves, lines
from tutorlib.viz.curves import seed_band

LABELS = {"title": "A claim", "xlabel": "step", "ylabel": "return"}


def test_band_of_eleven_seeds_by_hand():
    runs = np.arange(11.0)[:, None] * [1, 10]  # seed k: k, 10 k
    band = seed_band(runs)
    assert band.mean.tolist() == [5, 50]
    assert band.low.tolist() == [1, 10]
    assert band.high.tolist() == [9, 90]
    assert band.seeds == 11


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=6))
def test_the_band_lies_within_the_runs_and_does_not_know_the_order_of_seeds(runs):
    band, table = seed_band(runs), np.array(runs)
    assert (band.low >= table.min(0)).all() and (band.high <= table.max(0)).all()
    turned = seed_band(runs[::-1])
    assert np.allclose(turned.mean, band.mean) and np.allclose(turned.low, band.low)


def test_the_alt_text_names_seeds_band_and_winner():
    good = np.array([[0, 8, 9.0], [0, 9, 10.0], [0, 9, 11.0]])
    alt = learning_curves({"PPO": good, "REINFORCE": good / 5}, [0, 100, 200], **LABELS).alt
    assert "PPO (3 seeds): from 0 to 10 at step 200, band 9.2 to 10.8." in alt
    assert "PPO ends highest; its band is clear of that of REINFORCE." in alt
    assert "10 to 90 %" in alt


def test_overlapping_bands_and_lower_is_better():
    runs = {"a": [[1.0, 3], [1, 5]], "b": [[1.0, 4], [1, 6]]}
    assert "b ends highest; its band overlaps that of a." in learning_curves(runs, **LABELS).alt
    alt = learning_curves(runs, higher_is_better=False, **LABELS).alt
    assert "a ends lowest; its band overlaps that of b." in alt


def test_one_run_is_called_one_run():
    alt = learning_curves({"PPO": torch.tensor([0.0, 1.0])}, **LABELS).alt
    assert "PPO (one run)" in alt and "Each line is one run." in alt
    assert "band" not in alt


def test_the_whole_range_is_called_so():
    alt = learning_curves({"PPO": [[0, 1], [0, 3]]}, band=(0, 100), **LABELS).alt
    assert "from the lowest to the highest seed" in alt and "band 1 to 3" in alt


def test_a_target_says_who_reaches_it_and_when():
    alt = learning_curves({"PPO": [0, 5, 9], "SFT": [0, 1, 2]}, [0, 10, 20], target=5,
                          target_label="solved", **LABELS).alt
    assert "(solved: 5) is reached by PPO first at step 10; not reached by SFT." in alt


@pytest.mark.parametrize(("runs", "message"), [
    ({}, "dict from names"),
    ([1, 2], "dict from names"),
    ({"PPO": [[1, float("nan")]]}, r"PPO holds nan at index \(0, 1\)"),
    ({"PPO": [[1, 2], [1]]}, "lists of equal length"),
    ({"PPO": np.zeros((2, 2, 2))}, "seeds, steps"),
    ({"PPO": []}, "seeds, steps"),
    ({"PPO": [1, 2], "DPO": [1, 2, 3]}, "DPO has 3 points; expected 2"),
    ({"PPO": "fast"}, "not an array of numbers"),
])
def test_bad_runs_are_refused(runs, message):
    with pytest.raises(InvalidArgumentError, match=message):
        learning_curves(runs, **LABELS)


def test_other_bad_arguments_are_refused():
    with pytest.raises(InvalidArgumentError, match="expected 3, one for each x"):
        learning_curves({"PPO": [1, 2]}, [1, 2, 3], **LABELS)
    with pytest.raises(InvalidArgumentError, match="low < high"):
        learning_curves({"PPO": [1, 2]}, band=(90, 10), **LABELS)
    with pytest.raises(InvalidArgumentError, match="title"):
        learning_curves({"PPO": [1, 2]}, title=" ", xlabel="step", ylabel="return")
    with pytest.raises(InvalidArgumentError, match="ylabel"):
        learning_curves({"PPO": [1, 2]}, title="A claim", xlabel="step", ylabel="")


@pytest.mark.parametrize(("values", "words"), [
    ([1, 2, 3], "from 1 to 3, rising"),
    ([3, 1, 1], "from 3 to 1, falling"),
    ([2, 2, 2], "constant at 2"),
    ([0, 5, 1], "from 0 to 1, highest 5 at 1"),
    ([0, -5, 1], "from 0 to 1, lowest −5 at 1"),
    ([float("nan"), 1, 2], "from 1 to 2, rising"),
    ([float("nan")] * 3, "no points"),
])
def test_a_line_in_words(values, words):
    assert f"curve: {words}." in lines({"curve": values}, **LABELS).alt


def test_logarithmic_axes_are_named_and_guarded():
    alt = lines({"cost": [1, 10]}, [1, 10], xscale="log", yscale="log", **LABELS).alt
    assert "x and y logarithmic" in alt
    with pytest.raises(InvalidArgumentError, match="logarithmic axis shows only numbers above 0"):
        lines({"cost": [0, 10]}, yscale="log", **LABELS)
    with pytest.raises(InvalidArgumentError, match='expected "linear" or "log"'):
        lines({"cost": [1, 10]}, yscale="cubic", **LABELS)


def test_a_note_ends_the_alt_text():
    assert lines({"a": [1, 2]}, note="Seen once.", **LABELS).alt.endswith("Seen once.")
