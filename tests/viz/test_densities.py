"""The divergence explorer: its claim and words follow the numbers; sliders move the policy."""

import numpy as np
import pytest

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz import density_explorer, density_picture

ACTIONS = ("left", "right", "wait")
DEMO = [0.6, 0.3, 0.1]
GAMES = {
    "reverse KL": (lambda p, q: float((q * np.log(q / p)).sum()), lambda p, q: np.log(p / q)),
    "forward KL": (lambda p, q: float((p * np.log(p / q)).sum()), lambda p, q: p / q),
}


def test_the_words_hold_the_numbers():
    alt = density_picture(DEMO, [0.2, 0.3, 0.5], GAMES, ACTIONS).alt
    reverse = 0.2 * np.log(0.2 / 0.6) + 0.5 * np.log(5)
    assert alt.startswith(f"reverse KL {reverse:.3g}, forward KL ")
    assert "most pushed up is left, by all" in alt
    # forward KL: u = 3, 1, 0.2, mean under the policy 1; push 0.2 * 2
    assert "left: demonstrator 0.6, policy 0.2" in alt
    assert "forward KL: reward 2 above its mean, push 0.4" in alt


def test_at_the_demonstrator_nobody_pushes():
    assert "nobody pushes" in density_picture(DEMO, DEMO, GAMES, ACTIONS).alt


def test_disagreement_is_said():
    """A rare mode: forward KL shouts for it, reverse KL has more to say elsewhere."""
    alt = density_picture([0.5, 0.45, 0.05], [0.01, 0.29, 0.7], GAMES, ACTIONS).alt
    assert "most pushed up is right by reverse KL and left by forward KL" in alt


def test_sliders_are_weights():
    widget = density_explorer(DEMO, GAMES, ACTIONS, start=[0.25, 0.25, 0.5])
    assert widget.values == {"weight_0": 50, "weight_1": 50, "weight_2": 100}
    assert [c["label"] for c in widget.controls] == [f"weight of {a}" for a in ACTIONS]
    widget.set(weight_0=60, weight_1=30, weight_2=10)
    assert "nobody pushes" in widget.answer["alt"]
    html = widget._repr_mimebundle_()[0]["text/html"]
    assert "explorer-static" in html and 'alt="' in html


@pytest.mark.parametrize("bad", [[0.5, 0.5], [0.5, 0.5, 0.0], [0.5, 0.5, 0.5]])
def test_shares_that_are_none_are_refused(bad):
    with pytest.raises(InvalidArgumentError, match="policy"):
        density_picture(DEMO, bad, GAMES, ACTIONS)
