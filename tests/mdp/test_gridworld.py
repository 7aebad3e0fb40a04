from __future__ import annotations

import math
import time

import pytest
import torch

from tutorlib.errors import InvalidArgumentError, InvalidMapError, InvalidMDPError
from tutorlib.mdp import GridWorld, value_iteration

UP, RIGHT, DOWN, LEFT = range(4)


def moves(grid: GridWorld, row: int, col: int, action: int) -> dict[tuple[int, int], float]:
    """Return where one move leads: {cell: probability}."""
    outcomes = grid.mdp.transition_matrix[grid.state_of(row, col), action]
    return {grid.cell_of(s): float(outcomes[s]) for s in outcomes.nonzero().flatten().tolist()}


def test_a_map_is_read_in_reading_order():
    grid = GridWorld("S..G\n.#.X", slip=0.2, step_reward=-0.04)
    assert (grid.rows, grid.cols, grid.mdp.n_states) == (2, 4, 7)
    assert [grid.cell_of(s) for s in range(7)] == [
        (0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3)
    ]  # fmt: skip
    assert [grid.state_of(*grid.cell_of(s)) for s in range(7)] == list(range(7))
    assert grid.mdp.terminal.tolist() == [False, False, False, True, False, False, True]
    assert grid.mdp.initial_state_dist.tolist() == [1.0, 0, 0, 0, 0, 0, 0]
    assert grid.mdp.action_names == ("up", "right", "down", "left")
    assert grid.mdp.state_names[5] == "(1, 2)"


def test_the_indentation_of_a_drawn_map_is_ignored():
    drawn = """
        S.#
        ..G
    """
    assert GridWorld(drawn).lines == ("S.#", "..G")


def test_moves_without_slip_go_where_they_are_meant_or_stay():
    grid = GridWorld("S.\n#.")
    assert grid.mdp.n_branches == 1
    assert moves(grid, 0, 0, RIGHT) == {(0, 1): 1.0}
    assert moves(grid, 0, 1, DOWN) == {(1, 1): 1.0}
    assert moves(grid, 0, 1, LEFT) == {(0, 0): 1.0}
    assert moves(grid, 1, 1, UP) == {(0, 1): 1.0}
    assert moves(grid, 0, 0, DOWN) == {(0, 0): 1.0}  # wall
    assert moves(grid, 0, 0, UP) == {(0, 0): 1.0}  # border
    assert moves(grid, 1, 1, LEFT) == {(1, 1): 1.0}


def test_slipping_goes_to_the_two_sides():
    grid = GridWorld("...\n...\n...", slip=0.2)
    assert moves(grid, 1, 1, UP) == pytest.approx({(0, 1): 0.8, (1, 0): 0.1, (1, 2): 0.1})
    assert moves(grid, 1, 1, LEFT) == pytest.approx({(1, 0): 0.8, (0, 1): 0.1, (2, 1): 0.1})
    # into the corner: the move and one side both stay
    assert moves(grid, 0, 0, UP) == pytest.approx({(0, 0): 0.9, (0, 1): 0.1})
    certain = GridWorld("...\n...\n...", slip=1.0)
    assert moves(certain, 1, 1, RIGHT) == pytest.approx({(0, 1): 0.5, (2, 1): 0.5})


def test_goals_and_pits_keep_whoever_enters():
    grid = GridWorld("S.G\n..X", slip=0.3)
    for cell in ((0, 2), (1, 2)):
        for action in range(4):
            assert moves(grid, *cell, action) == pytest.approx({cell: 1.0})
            assert grid.mdp.reward[grid.state_of(*cell), action] == 0


def test_reward_is_paid_on_arrival_and_cells_override_characters_override_steps():
    grid = GridWorld(
        "S.G\n..X",
        slip=0.2,
        step_reward=-0.04,
        rewards={"G": 10, "S": 0.5},
        cell_rewards={(0, 1): 3.0},
    )
    assert grid.cell_rewards.tolist() == [0.5, 3.0, 10.0, -0.04, -0.04, -1.0]
    # right from S: 0.8 to (0, 1), 0.1 stays (border above), 0.1 down
    assert float(grid.mdp.reward[0, RIGHT]) == pytest.approx(0.8 * 3.0 + 0.1 * 0.5 - 0.1 * 0.04)
    # right from (0, 1): 0.8 goal, 0.1 stays, 0.1 down
    assert float(grid.mdp.reward[1, RIGHT]) == pytest.approx(0.8 * 10 + 0.1 * 3.0 - 0.1 * 0.04)


def test_the_textbook_world_has_the_textbook_values():
    # Russell and Norvig, Artificial Intelligence (3rd ed.), figure 17.3: utilities U(s) that count
    # the reward of the state itself, -0.04, undiscounted; ours begin with the next arrival.
    grid = GridWorld("...G\n.#.X\n....", slip=0.2, step_reward=-0.04, discount=1.0)
    book = [[0.812, 0.868, 0.918, 1.0], [0.762, None, 0.660, -1.0], [0.705, 0.655, 0.611, 0.388]]
    values = grid.to_grid(value_iteration(grid.mdp).values)
    for row in range(3):
        for col in range(4):
            if book[row][col] is not None and not grid.mdp.terminal[grid.state_of(row, col)]:
                assert float(values[row, col]) - 0.04 == pytest.approx(book[row][col], abs=6e-4)


def test_several_starts_share_the_beginning_and_none_means_anywhere():
    assert GridWorld("S.S\n..G").mdp.initial_state_dist.tolist() == [0.5, 0, 0.5, 0, 0, 0]
    assert GridWorld("..\n#G").mdp.initial_state_dist.tolist() == [0.5, 0.5, 0]


def test_rewards_can_be_painted_over_in_three_ways():
    grid = GridWorld("S.#\n..G", slip=0.1, step_reward=-1.0)
    painted = grid.with_rewards({(0, 1): 7.0})
    assert painted.cell_rewards.tolist() == [-1.0, 7.0, -1.0, -1.0, 1.0]
    as_map = grid.with_rewards(torch.tensor([[-1.0, 7.0, math.nan], [-1.0, -1.0, 1.0]]))
    as_states = grid.with_rewards(painted.cell_rewards)
    expected = GridWorld("S.#\n..G", 0.1, -1.0, cell_rewards={(0, 1): 7.0}).mdp.reward
    for other in (painted, as_map, as_states):
        assert torch.allclose(other.mdp.reward, expected)
        assert torch.equal(other.mdp.probabilities, grid.mdp.probabilities)
    assert grid.cell_rewards.tolist() == [-1.0, -1.0, -1.0, -1.0, 1.0]


def test_values_are_laid_out_on_the_map_with_nan_on_walls():
    grid = GridWorld("S#G\n...")
    laid = grid.to_grid(torch.arange(10, dtype=torch.float64).reshape(2, 5))
    assert laid.shape == (2, 2, 3) and laid[1, 1].tolist() == [7.0, 8.0, 9.0]
    assert math.isnan(laid[0, 0, 1])


BAD_MAPS = {
    "S.Q\n..G": "unknown character 'Q' in row 0, column 2 .*known: '.' free, 'S' start",
    "S. .\n...G": "unknown character ' ' in row 0, column 2",
    "s..G": "unknown character 's' in row 0, column 0",
    "S..\n..\n..G": "row 1 is 2 characters long but row 0 is 3",
    "": "the map is empty",
    "\n  \n": "the map is empty",
    "##\n##": "the map has no free cell",
    "GX\n##": "the map has no cell to start in",
}


@pytest.mark.parametrize("drawn", BAD_MAPS)
def test_bad_maps_are_refused_with_their_place(drawn):
    with pytest.raises(InvalidMapError, match=BAD_MAPS[drawn]):
        GridWorld(drawn)


def test_a_map_must_be_text(unchecked):
    with pytest.raises(InvalidMapError, match="the map is a list; expected a string"):
        GridWorld(["S.G"])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"slip": 1.2}, InvalidArgumentError, "slip is 1.2; expected a probability"),
        ({"slip": -0.1}, InvalidArgumentError, "slip is -0.1"),
        ({"slip": math.nan}, InvalidArgumentError, "slip is nan"),
        ({"rewards": {"Z": 1.0}}, InvalidArgumentError, "rewards names 'Z'"),
        ({"rewards": {"#": 1.0}}, InvalidArgumentError, "rewards names '#', which no one can arr"),
        ({"cell_rewards": {(0, 1): 1.0}}, InvalidArgumentError, r"cell \(0, 1\) is a wall"),
        ({"cell_rewards": {(5, 0): 1.0}}, InvalidArgumentError, r"cell \(5, 0\) is outside the"),
        ({"cell_rewards": {(0, -1): 1.0}}, InvalidArgumentError, r"cell \(0, -1\) is outside"),
        ({"step_reward": math.nan}, InvalidMDPError, r"the reward of state '\(0, 0\)'.* is nan"),
        ({"discount": 1.01}, InvalidMDPError, "discount is 1.01"),
    ],
)
def test_bad_settings_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        GridWorld("S#G\n...", **settings)


def test_discount_one_needs_a_goal():
    with pytest.raises(InvalidMDPError, match="discount is 1 with no horizon and no terminal"):
        GridWorld("S..", discount=1.0)


def test_bad_questions_are_refused(unchecked):
    grid = GridWorld("S#G\n...")
    with pytest.raises(InvalidArgumentError, match="state 5 does not exist; states are 0 to 4"):
        grid.cell_of(5)
    with pytest.raises(InvalidArgumentError, match=r"values has shape \(4,\); expected \(..., 5\)"):
        grid.to_grid(torch.zeros(4))
    with pytest.raises(InvalidArgumentError, match=r"cell_rewards has shape \(4,\); expected"):
        grid.with_rewards(torch.zeros(4))
    with pytest.raises(InvalidMDPError, match=r"state '\(1, 0\)'.* is nan"):
        grid.with_rewards({(1, 1): math.nan})


def test_a_hundred_thousand_cells_are_built_in_a_moment():
    row = "." * 315
    drawn = "\n".join(["S" + row] + ["." + row] * 315 + [row + "G"])
    began = time.process_time()
    grid = GridWorld(drawn, slip=0.2)
    assert time.process_time() - began < 3
    assert grid.mdp.n_states == 317 * 316
    assert grid.mdp.successors.numel() == 317 * 316 * 4 * 3
