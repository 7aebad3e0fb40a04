"""AIRL's g + gamma Phi' - Phi: taken apart exactly, found by play, carried to another house."""

import numpy as np
import pytest
import torch

from tests.irl.worlds import random_mdp, random_policy
from tutorlib.errors import InvalidArgumentError
from tutorlib.exercises.adversarial_irl.worlds import HOUSE_TEMPERATURE, house
from tutorlib.irl.shaped import airl_matrix, next_states, play_airl, take_apart
from tutorlib.irl.transfer import evaluate_transfer
from tutorlib.mdp import TabularMDP, return_of, soft_policy_iteration, value_iteration


@pytest.fixture(scope="module")
def home():
    mdp = house("2")
    return mdp, soft_policy_iteration(mdp, HOUSE_TEMPERATURE)


def spread(g, mdp):
    """How far g is from r / lambda up to a constant."""
    gap = g - mdp.reward[:, 0] / HOUSE_TEMPERATURE
    return float(gap.max() - gap.min())


def columns(g, mdp):
    return g[:, None].expand(-1, mdp.n_actions).contiguous()


def test_at_the_demonstrator_f_is_log_pi_and_the_parts_are_reward_and_value(home):
    mdp, plan = home
    found = take_apart(mdp, plan.policy.log())
    assert found.residual < 1e-10, "so D = 1/2 everywhere"
    assert spread(found.state_reward, mdp) < 1e-10
    gap = found.potential - plan.values / HOUSE_TEMPERATURE
    assert float(gap.max() - gap.min()) < 1e-9, "Phi is the soft value, up to a constant"


def test_the_game_finds_them_too(home):
    mdp, plan = home
    found = play_airl(mdp, plan.policy, rounds=120)
    assert float(found.distances[0]) > 0.5 > 1e-6 > float(found.distances[-1])
    assert torch.allclose(found.policy, plan.policy, atol=1e-5)
    assert found.reward.residual < 1e-4, "D = 1/2 everywhere"
    assert spread(found.reward.state_reward, mdp) < 1e-4 < 1 < spread(found.state_rewards[0], mdp)


def test_g_transfers_and_f_does_not(home):
    mdp, plan = home
    found, elsewhere = take_apart(mdp, plan.policy.log()), house("1", "left")
    by_g = evaluate_transfer(elsewhere, columns(found.state_reward, mdp))
    by_f = evaluate_transfer(elsewhere, found.advantage)
    assert by_g.regret < 1e-9 < 3 < by_f.regret
    assert evaluate_transfer(mdp, found.advantage).regret < 1e-9, "at home f is as good"
    assert return_of(elsewhere, plan.policy) < by_g.achieved / 10, "a clone runs to the old door"


def test_the_closed_doorway_is_what_differs():
    one, two = house("1"), house("2")
    assert torch.equal(one.reward, two.reward) and one.state_names == two.state_names
    moved = (next_states(one) != next_states(two)).nonzero()
    doors = {one.state_names.index("(1, 3)"), one.state_names.index("(4, 3)")}
    assert len(moved) == 4
    assert all({int(next_states(m)[s, a]) for m in (one, two)} & doors for s, a in moved)
    for mdp in (one, two):
        assert float(value_iteration(mdp).values.min()) > 1, "every cell can reach the reward"


def test_the_matrix_is_the_formula_row_by_row(home):
    mdp, _ = home
    gen = torch.Generator().manual_seed(0)
    g, h = torch.randn(2, mdp.n_states, dtype=torch.float64, generator=gen)
    expected = torch.tensor(
        [[float(g[s] + mdp.discount * (mdp.transition_matrix[s, a] @ h) - h[s])
          for a in range(mdp.n_actions)] for s in range(mdp.n_states)])
    found = (airl_matrix(mdp) @ torch.cat([g, h])).view_as(expected)
    assert torch.allclose(found, expected.double(), atol=1e-6)
    assert np.linalg.matrix_rank(airl_matrix(mdp).numpy()) == 2 * mdp.n_states - 1


def test_where_states_are_not_linked_g_is_not_unique():
    """A cycle of two: from each state one successor only, so g and Phi trade at will."""
    cycle = TabularMDP.from_dense([[[0.0, 1.0]] * 2, [[1.0, 0.0]] * 2], [1.0, 0.0], discount=0.9)
    assert np.linalg.matrix_rank(airl_matrix(cycle).numpy()) == 2 < 2 * 2 - 1


def test_chance_ends_and_zeros_are_refused(home):
    mdp, plan = home
    chance = random_mdp(0, horizon=None)
    with pytest.raises(InvalidArgumentError, match="chance"):
        play_airl(chance, random_policy(chance, 0))
    ended = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]],
                                  terminal=[False, True])
    with pytest.raises(InvalidArgumentError, match="terminal"):
        play_airl(ended, torch.ones(2, 1, dtype=torch.float64))
    with pytest.raises(InvalidArgumentError, match="full support"):
        take_apart(mdp, torch.where(plan.policy > 0.5, 1.0, 0.0).log())
