"""Rewards from walks drawn by hand: what they must show, and how quickly."""

from __future__ import annotations

import time

import pytest
import torch

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import causal_likelihood, episodes_of_walks, pay, walk_fitter
from tutorlib.irl.demonstrations import demonstrations_from_lists, expert_visits
from tutorlib.mdp import GridWorld

MAP = "....\n.#..\nS..."


@pytest.fixture(scope="module")
def grid():
    return GridWorld(MAP, slip=0.1)


def walk(grid, *cells):
    return [grid.state_of(*cell) for cell in cells]


def test_moves_are_read_off_the_cells(grid):
    path = walk(grid, (2, 0), (1, 0), (0, 0), (0, 1), (0, 0))
    assert episodes_of_walks(grid, [path, [3]]) == [(path, [0, 0, 1, 3])]
    with pytest.raises(InvalidArgumentError, match=r"walk 1 goes at step 0 from \(2, 0\)"):
        episodes_of_walks(grid, [path, walk(grid, (2, 0), (0, 0))])
    with pytest.raises(InvalidArgumentError, match="state 99 does not exist"):
        episodes_of_walks(grid, [[0, 99]])


def test_nothing_drawn_reveals_nothing(grid):
    found = walk_fitter(grid)([[0]])
    assert float(found.reward.abs().max()) == 0 and float(found.visits.sum()) == 0
    assert found.policy.unique().tolist() == [0.25] and found.agreement == 0.25


def test_it_is_the_minimum_of_the_penalised_likelihood(grid):
    """Autograd of the likelihood, written out, vanishes at what is returned."""
    paths = [walk(grid, (2, 0), (2, 1), (2, 2), (2, 3), (1, 3)), walk(grid, (0, 0), (1, 0), (2, 0))]
    found = walk_fitter(grid, temperature=0.5, l2=0.2)(paths)
    episodes = episodes_of_walks(grid, paths)
    begins = torch.zeros(grid.mdp.n_states, dtype=torch.float64)
    begins[[paths[0][0], paths[1][0]]] = 0.5
    mdp = grid.mdp.replace(discount=0.9, horizon=None, initial_state_dist=begins)
    seen = expert_visits(mdp, demonstrations_from_lists(mdp, episodes), max_missing=1.0)
    reward = found.reward.clone().requires_grad_(True)
    loss = causal_likelihood(mdp, pay(mdp, reward, "arrival"), seen, 0.5)
    slope, = torch.autograd.grad(loss + 0.2 / 0.5 / 2 * reward.square().sum(), reward)
    assert float(slope.abs().max()) < 5e-3


def test_more_of_the_same_walk_changes_nothing_and_visits_are_means(grid):
    path = walk(grid, (2, 0), (2, 1), (2, 2), (2, 3))
    one, two = walk_fitter(grid)([path]), walk_fitter(grid)([path, path])
    torch.testing.assert_close(one.reward, two.reward)
    assert float(one.shown.sum()) == float(two.shown.sum()) == 4
    assert float(one.visits.sum()) == pytest.approx(4)
    assert one.agreement > 0.5 and int(one.reward.argmax()) == path[-1]
    short = walk_fitter(grid)([path[:-1]])  # on the way to a corner, where it is easy to stay
    assert int(short.reward.argmax()) == path[-1]


def test_it_answers_in_well_under_half_a_second_on_eight_by_eight():
    grid = GridWorld("\n".join(["........"] * 7 + ["S......."]), slip=0.1)
    fit = walk_fitter(grid)
    path = walk(grid, *[(7 - i, 0) for i in range(8)], *[(0, i) for i in range(1, 8)])
    fit([path[:2]])  # the first call loads the optimiser
    spent = []
    for end in (3, 9, 15):
        start = time.process_time()  # CPU: the machine may be busy with something else
        fit([path[:end], path[4:12]])
        spent.append(time.process_time() - start)
    assert min(spent) < 0.4, spent
