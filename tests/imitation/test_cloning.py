"""Cloning by counting: maximum likelihood against a solver, and what is no demonstration."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize

from tutorlib.errors import InvalidArgumentError
from tutorlib.imitation import (
    action_counts,
    clone_tabular,
    demonstrated_pairs,
    expert_table,
    negative_log_likelihood,
    policy_from_counts,
)
from tutorlib.mdp import TabularMDP, Trajectories, sample_trajectories


@pytest.fixture
def mdp():
    generator = torch.Generator().manual_seed(0)
    moves = torch.rand(5, 3, 5, generator=generator, dtype=torch.float64)
    return TabularMDP.from_dense(moves / moves.sum(-1, keepdim=True), torch.zeros(5, 3),
                                 horizon=6)


@pytest.fixture
def policy(mdp):
    weights = torch.rand(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return weights / weights.sum(-1, keepdim=True)


@pytest.fixture
def walks(mdp, policy):
    return sample_trajectories(mdp, policy, 40, generator=torch.Generator().manual_seed(2))


def test_the_clone_is_the_maximum_likelihood_policy(mdp, walks):
    """A general optimiser over one state's simplex finds no better."""
    clone = clone_tabular(mdp, walks)
    states, actions = demonstrated_pairs(mdp, walks)
    counts = np.bincount(actions[states == 2], minlength=3)
    best = optimize.minimize(
        lambda p: -(counts * np.log(p)).sum(), np.full(3, 1 / 3), bounds=[(1e-9, 1)] * 3,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1}, method="SLSQP")
    assert best.x == pytest.approx(clone[2].numpy(), abs=1e-3)


def test_the_loss_is_forward_kl_plus_an_entropy_nobody_can_change(mdp, policy, walks):
    states, actions = demonstrated_pairs(mdp, walks)
    shares = action_counts(mdp, states, actions)
    weight = shares.sum(-1) / shares.sum()
    empirical = shares / shares.sum(-1, keepdim=True)
    kl = torch.xlogy(empirical, empirical / policy).sum(-1)
    entropy = -torch.special.xlogy(empirical, empirical).sum(-1)
    assert negative_log_likelihood(mdp, policy, walks) == pytest.approx(
        float(weight @ (kl + entropy)), abs=1e-12)


def test_more_data_bring_the_clone_to_the_demonstrator(mdp, policy):
    errors = []
    for n in (10, 100, 10_000):
        walks = sample_trajectories(mdp, policy, n, generator=torch.Generator().manual_seed(3))
        errors.append(float((clone_tabular(mdp, walks) - policy).abs().max()))
    assert errors[2] < 0.02 < errors[0]


def test_smoothing_is_laplaces_rule():
    counts = torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert policy_from_counts(counts, 1.0)[0].tolist() == pytest.approx([5 / 7, 1 / 7, 1 / 7])
    for smoothing in (0.0, 1.0):
        assert policy_from_counts(counts, smoothing)[1].tolist() == pytest.approx([1 / 3] * 3)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidArgumentError, match="smoothing"):
            policy_from_counts(counts, bad)


def test_an_excluded_action_has_infinite_loss(mdp):
    never = torch.zeros(5, 3, dtype=torch.float64)
    never[:, 0] = 1.0
    assert negative_log_likelihood(mdp, never, [([0, 1], [1])]) == math.inf


def test_lists_and_trajectories_give_the_same_pairs(mdp, walks):
    listed = [(s.tolist(), a.tolist()) for s, a in zip(walks.states, walks.actions, strict=True)]
    short = [(s[:-1], a) for s, a in listed]  # without the state where it ended
    for form in (listed, short):
        torch.testing.assert_close(clone_tabular(mdp, form), clone_tabular(mdp, walks))


def test_padding_and_terminal_states_are_no_decisions():
    chain = TabularMDP.from_dense([[[0.0, 1.0]] * 2, [[0.0, 1.0]] * 2], torch.zeros(2, 2),
                                  terminal=[False, True], horizon=3)
    states, actions = demonstrated_pairs(chain, [([0, 1, 1], [1, 0, 0])])
    assert states.tolist() == [0] and actions.tolist() == [1]
    walks = sample_trajectories(chain, torch.full((2, 2), 0.5), 4,
                                generator=torch.Generator().manual_seed(0))
    assert len(demonstrated_pairs(chain, walks)[0]) == 4


@pytest.mark.parametrize("demonstrations, what", [
    ([], "no demonstrations"),
    ([([0, 1, 2], [0])], "ragged"),
    ([([0], [0, 1])], "ragged"),
    ([([0, 1], [0, 0], [1.0, 1.0])], "ragged"),
    ([([0, 7], [0, 0])], "names state 7"),
    ([([0, 1], [0, 3])], "names action 3"),
    ([([0, -1], [0, 0])], "names state -1"),
    ([([0.0, math.nan], [0, 0])], "whole numbers"),
    ([([0, 1], [True, False])], "whole numbers"),
    ([([2], [])], "no decision"),
    ([([], [])], "no decision"),
    ([([0, 7], [0])], "names state 7"),  # where the episode ended
    ([(["a", "b"], [0])], "no list of indices"),
    ([([[0], [1, 2]], [0, 0])], "no list of indices"),
    ([([[0], [1]], [[0], [1]])], "no list of indices"),
    ([3], "ragged"),
    (None, "expected Trajectories"),
])
def test_what_is_no_demonstration_is_refused(mdp, demonstrations, what):
    with pytest.raises(InvalidArgumentError, match=what):
        clone_tabular(mdp, demonstrations)


def test_counts_that_are_none_are_refused(mdp):
    for bad in ([[math.nan, 1.0]], [[-1.0, 3.0]], [1.0, 3.0]):
        with pytest.raises(InvalidArgumentError, match="counts have shape"):
            policy_from_counts(torch.tensor(bad))
    with pytest.raises(InvalidArgumentError, match="an action for each state"):
        action_counts(mdp, torch.tensor([0, 1]), torch.tensor([0]))


def test_an_episode_without_a_step_counts_for_nothing(mdp):
    one = [([0, 1], [2])]
    assert torch.equal(clone_tabular(mdp, [*one, ([], []), ([3], [])]), clone_tabular(mdp, one))


def test_a_last_state_that_does_not_exist_is_refused(mdp, walks):
    states = walks.states.clone()
    states[0, -1] = 99
    wrong = Trajectories(states, walks.actions, walks.rewards, torch.ones_like(walks.mask))
    with pytest.raises(InvalidArgumentError, match="names state 99"):
        clone_tabular(mdp, wrong)


def test_trajectories_whose_shapes_do_not_fit_are_refused(mdp, walks):
    bad = Trajectories(walks.states[:, :-1], walks.actions, walks.rewards, walks.mask)
    with pytest.raises(InvalidArgumentError, match="do not form trajectories"):
        clone_tabular(mdp, bad)
    none = Trajectories(walks.states, walks.actions, walks.rewards, torch.zeros_like(walks.mask))
    with pytest.raises(InvalidArgumentError, match="no decision"):
        clone_tabular(mdp, none)


@pytest.mark.parametrize("expert, what", [
    (torch.ones(5, 3), "sum 3"),
    (torch.full((5, 2), 0.5), "shape"),
    (torch.full((5, 3), math.nan), "probabilities"),
    (lambda states: states.double(), "whole numbers"),
    (lambda states: states[:2], "expected a tensor of as many actions"),
    (lambda states: 1, "returned int"),
    ([[0.5, 0.5, 0.0]] * 5, "the expert is a list"),
    (lambda states: states, "names action 3"),
])
def test_an_expert_that_is_no_policy_is_refused(mdp, expert, what):
    with pytest.raises(InvalidArgumentError, match=what):
        expert_table(mdp, expert)
