"""The pad for demonstrations without a browser: traits, refusals, static default."""

from types import SimpleNamespace

import pytest
import torch

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import walk_fitter
from tutorlib.mdp import GridWorld
from tutorlib.viz import DemonstrationPad

GRID = GridWorld("...G\n.#..\nS...")
START = GRID.state_of(2, 0)
ASKED = []


def fit(walks):
    """Stand in for a learner: the reward of a cell is how often it was entered."""
    ASKED.append([list(walk) for walk in walks])
    for walk in walks:
        if 1 in walk:
            raise InvalidArgumentError("cell 1 is not for walking")
    reward = torch.zeros(GRID.mdp.n_states, dtype=torch.float64)
    for walk in walks:
        for state in walk[1:]:
            reward[state] += 1
    even = torch.full((GRID.mdp.n_states, 4), 0.25, dtype=torch.float64)
    return SimpleNamespace(reward=reward, policy=even, visits=reward / 2, shown=reward,
                           agreement=0.25)


@pytest.fixture
def pad():
    return DemonstrationPad(GRID, fit)


def test_it_begins_with_one_walk_at_the_start(pad):
    assert pad.walks == [[START]] and "nothing is known" in pad.status()
    assert set(pad.answer) == {"reward", "policy", "visits", "shown", "status", "walks"}


def test_each_step_is_fitted_and_can_be_taken_back(pad):
    pad.extend("right")
    pad.extend("right")
    right = [START, GRID.state_of(2, 1), GRID.state_of(2, 2)]
    assert pad.walks == [right] == ASKED[-1]
    assert pad.answer["reward"][right[-1]] == 1 and pad.answer["walks"] == [right]
    assert "1 walk, 2 steps" in pad.status() and "25%" in pad.status()
    pad.undo()
    assert pad.walks == [right[:2]]
    pad.begin(0, 0)
    pad.extend("down")
    assert len(pad.walks) == 2 and "2 walks, 2 steps" in pad.status()
    pad.undo()
    pad.undo()
    pad.undo()
    pad.undo()
    assert pad.walks == [[START]]
    pad.walks = [right]
    pad.reset()
    assert pad.walks == [[START]] and pad.found.reward.sum() == 0


@pytest.mark.parametrize("walks, words", [
    ([], "1 to 8 walks"), ("x", "1 to 8 walks"), ([[START]] * 9, "1 to 8 walks"),
    ([[]], "walk 0 has 0 cells"), ([[START] * 99], "walk 0 has 99 cells"),
    ([[START, 1]], "cell 1 is not for walking"), ([["a"]], "walk 0"),
    ([[GRID.state_of(0, 2), GRID.state_of(0, 3), GRID.state_of(1, 3)]], "goes on after a cell"),
])
def test_odd_walks_are_refused_in_words_and_put_back(pad, walks, words):
    pad.extend("up")
    kept = pad.walks
    pad.walks = walks
    assert words in pad.message and pad.message.startswith("Not accepted")
    assert pad.walks == kept
    pad.extend("up")
    assert pad.message == ""


def test_walls_borders_and_words_are_refused(pad):
    with pytest.raises(InvalidArgumentError, match="outside the map"):
        pad.extend("left")
    with pytest.raises(InvalidArgumentError, match="expected one of up"):
        pad.extend("north")
    with pytest.raises(InvalidArgumentError, match="at most 100"):
        DemonstrationPad(GridWorld("\n".join(["S" + "." * 10] + ["." * 11] * 10)), fit)


def test_the_static_default_is_a_picture_with_words():
    pad = DemonstrationPad(GRID, walk_fitter(GRID), walks=[[START, GRID.state_of(2, 1)]])
    data, _ = pad._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    html = data["text/html"]
    assert 'data-testid="demonstrate-static"' in html and "learned reward: highest" in html
    assert "A path of 1 step runs" in html and "Run this cell in JupyterLab" in html
