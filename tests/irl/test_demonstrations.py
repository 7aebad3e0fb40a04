"""Demonstrations: counted right, and refused in words when they cannot be."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.irl.worlds import random_mdp, random_policy
from tutorlib.errors import InvalidArgumentError, TutorlibError
from tutorlib.irl import (
    check_demonstrations,
    demonstrations_from_lists,
    expert_branch_visits,
    expert_occupancy,
    expert_visits,
    forward_pass,
)
from tutorlib.mdp import GridWorld, TabularMDP, sample_trajectories

close = torch.testing.assert_close


@pytest.fixture
def line():
    """Three cells in a row, the last one terminal: "right" moves on, "left" goes back."""
    return GridWorld("S.G", discount=0.5, horizon=3).mdp


RIGHT, LEFT = 1, 3


def test_counts_by_hand(line):
    """Two demonstrations, right-right and right-left-right: each visit weighs gamma^t / 2."""
    demos = demonstrations_from_lists(line, [
        ([0, 1, 2], [RIGHT, RIGHT]),
        ([0, 1, 0, 1], [RIGHT, LEFT, RIGHT]),
    ])
    visits = expert_visits(line, demos)
    wanted = torch.zeros(3, 4, dtype=torch.float64)
    wanted[0, RIGHT] = 1.0 + 0.25 / 2
    wanted[1, RIGHT] = 0.5 / 2
    wanted[1, LEFT] = 0.5 / 2
    close(visits, wanted)
    steps = expert_visits(line, demos, per_step=True)
    assert steps.shape == (3, 3, 4)
    close(steps.sum((1, 2)), torch.tensor([1.0, 0.5, 0.125], dtype=torch.float64))
    close(steps.sum(0), visits)


def test_visits_per_branch_tell_where_each_step_led():
    """Arrivals weigh R(s'): the branch counts times R equal the discounted rewards received."""
    mdp = random_mdp(2, branches=3, horizon=6, terminals=1, states=5)
    demos = sample_trajectories(mdp, random_policy(mdp, 2), 50, 6, torch.Generator().manual_seed(0))
    visits = expert_branch_visits(mdp, demos)
    close(visits.sum(-1), expert_visits(mdp, demos))
    arrival = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    received = sum(
        mdp.discount**t * float(arrival[demos.states[i, t + 1]]) / 50
        for i in range(50) for t in range(6) if bool(demos.mask[i, t]))
    assert float((visits * arrival[mdp.successors]).sum()) == pytest.approx(received)


def test_they_are_averaged_not_added(line):
    one = [([0, 1, 2], [RIGHT, RIGHT])]
    close(expert_occupancy(line, one * 10), expert_occupancy(line, one))


def test_undiscounted_counts_sum_to_the_steps_taken():
    mdp = random_mdp(0, discount=1.0, horizon=5)
    demos = sample_trajectories(mdp, random_policy(mdp, 0), 7, 5, torch.Generator().manual_seed(0))
    assert float(expert_visits(mdp, demos).sum()) == pytest.approx(5.0)


@pytest.mark.parametrize("horizon", [6, None])
def test_sampled_counts_approach_the_visits_of_the_policy(horizon):
    mdp = random_mdp(1, terminals=1, states=5, horizon=horizon, discount=0.8)
    policy = random_policy(mdp, 1)
    tables = policy if horizon is None else policy.expand(horizon, -1, -1)
    gen = torch.Generator().manual_seed(1)
    demos = sample_trajectories(mdp, policy, 20_000, horizon or 60, gen)
    close(expert_visits(mdp, demos), forward_pass(mdp, tables), atol=0.03, rtol=0)


def test_steps_beyond_the_horizon_are_left_out(line):
    demos = [([0, 1, 0, 1, 2], [RIGHT, LEFT, RIGHT, RIGHT])]
    assert float(expert_occupancy(line, demos, horizon=2).sum()) == 1.5


def test_a_mask_is_respected_whatever_the_padding_holds(line):
    episodes = [([0, 1, 2], [RIGHT, RIGHT]), ([0, 1, 0, 1], [RIGHT, LEFT, RIGHT])]
    demos = demonstrations_from_lists(line, episodes)
    padded = demos.actions.clone()
    padded[0, 2] = 2
    other = dataclasses.replace(demos, actions=padded)
    close(expert_visits(line, other), expert_visits(line, demos))


def test_an_occupancy_is_taken_as_it_is_but_for_terminal_states(line):
    table = torch.rand(2, 3, 4, dtype=torch.float64) * 0.1
    taken = expert_occupancy(line, table)
    close(taken[:, :2], table[:, :2])
    assert (taken[:, 2] == 0).all()


@pytest.mark.parametrize("episodes, words", [
    ([], "no demonstrations"),
    ([([0], [])], "at least one action"),
    ([([0, 1], [1]), ([0, 1], [1, 1])], "demonstration 1 has 2 states and 2 actions"),
    ([([0, 7], [1])], "demonstration 0 names state 7 at time 1; the process has states 0 to 2"),
    ([([0, 1, 2], [1, 4])], "names action 4 at time 1; the process has actions 0 to 3"),
    ([([0, -1], [1])], "state -1"),
    ([([0.0, 1.0], [1])], "expected whole numbers"),
    ([([0, 2], [1])], "from '(0, 0)' by 'right' to '(0, 2)', which has probability 0"),
    ([([1, 2], [1])], "begins in '(0, 1)'"),
    ([([0, 1], [RIGHT])], "stops after 1 steps in '(0, 1)', which is not terminal"),
])
def test_bad_lists_are_refused_in_words(line, episodes, words):
    with pytest.raises(TutorlibError) as caught:
        expert_occupancy(line, episodes)
    assert isinstance(caught.value, InvalidArgumentError)
    assert words in str(caught.value)


def test_stopping_early_can_be_accepted(line):
    demos = demonstrations_from_lists(line, [([0, 1], [RIGHT])])
    assert float(expert_visits(line, demos, max_missing=1.0).sum()) == 1.0


def test_endless_demonstrations_must_cover_the_discounted_time():
    mdp = random_mdp(0, horizon=None, discount=0.9)
    short = sample_trajectories(mdp, random_policy(mdp, 0), 3, 10, torch.Generator().manual_seed(0))
    with pytest.raises(InvalidArgumentError, match=r"lack 34\.9% of the discounted time"):
        expert_visits(mdp, short)
    assert float(expert_visits(mdp, short, horizon=10).sum()) == pytest.approx((1 - 0.9**10) / 0.1)


def test_tensors_that_do_not_fit_are_refused(line):
    demos = demonstrations_from_lists(line, [([0, 1, 2], [RIGHT, RIGHT])])
    for changes, words in [
        ({"states": demos.states[:, :-1]}, "do not form demonstrations"),
        ({name: getattr(demos, name)[:0] for name in ("states", "actions", "rewards", "mask")},
         "do not form demonstrations"),
        ({"mask": torch.tensor([[False, True]])}, "after a gap"),
    ]:
        with pytest.raises(InvalidArgumentError, match=words):
            check_demonstrations(line, dataclasses.replace(demos, **changes))


@pytest.mark.parametrize("table, words", [
    (torch.zeros(3, 3, dtype=torch.float64), "expected (..., 3, 4)"),
    (torch.full((3, 4), torch.nan, dtype=torch.float64), "not finite"),
    (-torch.ones(3, 4, dtype=torch.float64), "negative"),
    (torch.ones(3, 4, dtype=torch.float64), "average over demonstrations"),
])
def test_bad_occupancies_are_refused_in_words(line, table, words):
    with pytest.raises(InvalidArgumentError) as caught:
        expert_occupancy(line, table)
    assert words in str(caught.value)


def test_a_branch_of_probability_zero_is_no_way_to_go():
    """Padding is a valid index with probability 0: a demonstration through it is impossible."""
    mdp = TabularMDP(
        successors=torch.tensor([[[0, 1]], [[1, 0]]]),
        probabilities=torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]], dtype=torch.float64),
        reward=torch.zeros(2, 1, dtype=torch.float64),
        initial_state_dist=torch.tensor([0.5, 0.5], dtype=torch.float64), horizon=1)
    expert_occupancy(mdp, [([1, 0], [0])])
    with pytest.raises(InvalidArgumentError, match="probability 0"):
        expert_occupancy(mdp, [([0, 1], [0])])
