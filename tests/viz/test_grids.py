"""Gridworlds in words, what is drawn, and what is refused."""

import numpy as np
import pytest
import torch

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import GridWorld, soft_value_iteration, value_iteration
from tutorlib.viz import Panel, gridworld, gridworld_panels
from tutorlib.viz.grids import arrow
from tutorlib.viz.gridview import View

WORLD = GridWorld("...G\n.#.X\nS...", step_reward=-0.04)


def test_map_values_and_policy_in_words():
    plan = value_iteration(WORLD.mdp)
    alt = gridworld(WORLD, plan.values, plan.policy, title="A claim").alt
    assert alt.startswith("A claim. Grid of 3 rows by 4 columns; 1 wall cell, start (2, 0), "
                          "goal (0, 3), pit (1, 3).")
    start = float(plan.values[WORLD.state_of(2, 0)])
    assert f"value: highest 1 at (0, 2), lowest 0 at (0, 3), start {start:.3g}." in alt
    assert "From (2, 0) the likeliest arrows lead to G at (0, 3) in 5 steps, first" in alt


def test_spread_policies_circles_and_dead_ends_are_named():
    soft = soft_value_iteration(WORLD.mdp, 1.0)
    words = gridworld(WORLD, None, soft.policy, title="A claim").alt
    assert "9 cells with more than one sizeable arrow" in words
    always_up = np.eye(4)[np.zeros(WORLD.mdp.n_states, int)]
    assert "get stuck at (0, 0) after 2 steps, first up" in gridworld(
        WORLD, policy=always_up, title="A claim").alt
    to_and_fro = always_up.copy()
    to_and_fro[WORLD.state_of(1, 0)] = np.eye(4)[2]
    assert "go round in a circle, back to (2, 0) after 2 steps" in gridworld(
        WORLD, policy=to_and_fro, title="A claim").alt


def test_rewards_and_path_in_words():
    path = [WORLD.state_of(2, 0), WORLD.state_of(2, 1)]
    alt = gridworld(WORLD, path=path, show_rewards=True, title="A claim").alt
    assert "Reward on arrival: −0.04, but 1 at (0, 3) and −1 at (1, 3)." in alt
    assert "A path of 1 step runs from (2, 0) to (2, 1)." in alt


def test_a_world_without_s_reports_the_mean_over_starts():
    world = GridWorld("..G")
    alt = gridworld(world, [1.0, 2.0, 0.0], title="A claim").alt
    assert "mean over the cells to start in 1.5." in alt


def test_panels_share_a_ground_that_is_described_once():
    panels = [Panel(WORLD, torch.zeros(11) + k, title=f"k = {k}") for k in range(4)]
    alt = gridworld_panels(panels, title="A claim", note="Seen once.").alt
    assert alt.count("Grid of 3 rows") == 1
    assert "Panel 4, k = 3: value: 3 everywhere." in alt
    assert alt.endswith("Seen once.")


@pytest.mark.parametrize(("change", "message"), [
    ({"values": [1, 2]}, r"values has shape \(2,\); expected \(11\)"),
    ({"values": [float("nan")] * 11}, "values holds nan at index 0"),
    ({"policy": np.full((11, 4), 0.5)}, r"policy\[0\] is \[0.5, 0.5, 0.5, 0.5\].*sum to 1"),
    ({"policy": np.full((11, 3), 1 / 3)}, "shape"),
    ({"path": []}, "at least one"),
    ({"path": [0, 99]}, "from 0 to 10"),
    ({"title": ""}, "title"),
])
def test_bad_input_is_refused(change, message):
    with pytest.raises(InvalidArgumentError, match=message):
        gridworld(WORLD, **{"title": "A claim", **change})


def test_no_panels_are_refused():
    with pytest.raises(InvalidArgumentError, match="at least one Panel"):
        gridworld_panels([], title="A claim")


def area(corners):
    x, y = corners.T
    return abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2


def test_the_area_of_an_arrow_is_proportional_to_its_probability():
    areas = [area(arrow(3, 5, (0, 1), p)) for p in (0.1, 0.5, 1.0)]
    assert np.allclose(np.array(areas) / areas[-1], [0.1, 0.5, 1.0])


@pytest.mark.parametrize("step", [(-1, 0), (0, 1), (1, 0), (0, -1)])
def test_arrows_point_where_the_action_goes(step):
    tip, tail = arrow(0, 0, step, 0.5)[3], arrow(0, 0, step, 0.5)[[0, 6]].mean(0)
    assert np.allclose((tip - tail) / np.abs(tip - tail).max(), (step[1], step[0]))


def test_the_view_leaves_walls_empty():
    view = View(Panel(WORLD, np.arange(11.0)))
    assert np.isnan(view.values[1, 1]) and np.isfinite(view.values).sum() == 11
