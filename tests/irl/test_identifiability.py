"""When a reward is identified: ranks against brute force, recovery against the truth."""

import math

import pytest
import torch

from tests.irl.worlds import random_mdp, random_policy
from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import identify, identify_from_paths, joint_matrix, recover_reward, shape_reward
from tutorlib.mdp import TabularMDP, soft_backward, soft_policy_iteration


def two_discounts(seed, terminals=0, states=6, actions=3):
    mdp = random_mdp(seed, states=states, actions=actions, branches=3, terminals=terminals,
                     discount=0.9)
    return mdp, mdp.replace(discount=0.5)


def other_dynamics(mdp, seed):
    other = random_mdp(seed + 50, states=mdp.n_states, actions=mdp.n_actions, branches=3,
                       terminals=int(mdp.terminal.sum()), discount=mdp.discount)
    return other.replace(reward=mdp.reward)


def soft(mdp, heat=1.0):
    return soft_policy_iteration(mdp, heat, tolerance=1e-12).policy


@pytest.mark.parametrize("seed", range(3))
def test_six_states_have_rank_eleven_of_twelve(seed):
    first, second = two_discounts(seed)
    for pair in ((first, second), (first, other_dynamics(first, seed))):
        found = identify(pair)
        assert (found.rank, found.unknowns, found.free) == (11, 12, 1)
        assert found.up_to_constant
        constant = found.directions[0]
        assert float(constant.max() - constant.min()) < 1e-9
    same = identify([first, first])
    assert (same.rank, same.free) == (6, 6) and not same.up_to_constant


@pytest.mark.parametrize("seed", range(3))
def test_recovery_is_exact_up_to_a_constant(seed):
    first, second = two_discounts(seed)
    for pair in ((first, second), (first, other_dynamics(first, seed))):
        back = recover_reward(pair, [soft(m, 0.7) for m in pair], 0.7)
        apart = back.reward - first.reward
        assert float(apart.max() - apart.min()) < 1e-9
        assert back.residual < 1e-10


def test_one_environment_twice_recovers_a_reward_with_the_same_policy_only():
    first, _ = two_discounts(0)
    pi = soft(first)
    back = recover_reward([first, first], [pi, pi])
    torch.testing.assert_close(soft(first.replace(reward=back.reward)), pi)
    apart = back.reward - first.reward
    assert float(apart.max() - apart.min()) > 0.1
    shares = torch.einsum("ksa,sa->k", back.identification.directions, back.reward)
    assert float(shares.abs().max()) < 1e-9  # nothing is claimed along what stays open


def test_with_an_end_that_all_paths_reach_even_the_constant_is_known():
    first, second = two_discounts(1, terminals=1)
    found = identify([first, second])
    assert (found.rank, found.unknowns, found.free) == (10, 10, 0) and found.up_to_constant
    back = recover_reward([first, second], [soft(first), soft(second)])
    torch.testing.assert_close(back.reward, first.reward, atol=1e-9, rtol=0)


def test_deterministic_processes_that_two_discounts_do_not_identify():
    """Every action leads to the same place: v may differ in each state for each environment."""
    ring = torch.zeros(3, 2, 3, dtype=torch.float64)
    for s in range(3):
        ring[s, :, (s + 1) % 3] = 1
    mdp = TabularMDP.from_dense(ring, torch.zeros(3, 2), discount=0.9)
    found = identify([mdp, mdp.replace(discount=0.5)])
    assert found.free == 3 and not found.up_to_constant


@pytest.mark.parametrize("seed", range(2))
def test_a_third_environment_settles_what_two_leave_open(seed):
    """Two gridlike processes that differ in one action only, then one that differs in another."""
    first = random_mdp(seed, states=5, actions=2, branches=2, discount=0.9)
    dense = first.transition_matrix.clone()
    dense[0, 0] = torch.tensor([0, 0, 0, 0, 1.0])
    slightly = TabularMDP.from_dense(dense, first.reward, discount=0.9)
    two = identify([first, slightly])
    assert two.free > 1
    three = identify([first, slightly, first.replace(discount=0.4)])
    assert three.free == 1 < two.free
    assert joint_matrix([first, slightly, first]).shape == (20, 15)


def test_open_directions_change_no_policy():
    first, _ = two_discounts(3)
    dense = first.transition_matrix.clone()
    dense[0] = dense[1]
    second = TabularMDP.from_dense(dense, first.reward, discount=first.discount)
    found = identify([first, second])
    assert found.free > 1
    for direction in found.directions:
        for mdp in (first, second):
            moved = mdp.replace(reward=mdp.reward + direction)
            torch.testing.assert_close(soft(moved), soft(mdp), atol=1e-9, rtol=0)


def test_policies_of_different_rewards_leave_a_residual():
    first, second = two_discounts(0)
    liar = second.replace(reward=second.reward.flip(0))
    assert recover_reward([first, second], [soft(first), soft(liar)]).residual > 0.05


def test_temperature_scales_what_is_recovered():
    pair = two_discounts(2)
    policies = [soft(m) for m in pair]
    one, two = (recover_reward(pair, policies, heat).reward for heat in (1.0, 2.0))
    torch.testing.assert_close(two, 2 * one, atol=1e-9, rtol=0)


def ring(states, stay=False):
    """A ring one can walk both ways; with ``stay``, one may also wait in state 0."""
    dense = torch.zeros(states, 2, states, dtype=torch.float64)
    for s in range(states):
        dense[s, 0, (s + 1) % states] = 1
        dense[s, 1, (s - 1) % states] = 1
    if stay:
        dense[0, 1] = torch.eye(states, dtype=torch.float64)[0]
    start = torch.eye(states, dtype=torch.float64)[0]
    return TabularMDP.from_dense(dense, torch.zeros(states), start, discount=1.0, horizon=8)


@pytest.mark.parametrize("mdp, free", [
    (ring(4), 2), (ring(6), 2), (ring(5), 1), (ring(3), 1), (ring(4, stay=True), 1)])
def test_a_bipartite_ring_hides_one_reward_an_odd_one_or_a_stop_does_not(mdp, free):
    """Kim et al. 2021: a self-loop identifies, a bipartite graph does not. Horizon >= 2 states."""
    steps = 2 * mdp.n_states
    found = identify_from_paths(mdp, steps)
    assert found.free == free and found.up_to_constant == (free == 1)
    for direction in found.directions:  # what stays open changes no policy over that horizon
        moved = mdp.replace(reward=3 * direction)
        pi = soft_backward(moved, 1.0, steps).policy
        reached = soft_backward(mdp, 1.0, steps).policy
        distance = torch.zeros(steps, mdp.n_states, dtype=torch.bool)
        here = {0}
        for t in range(steps):  # compare where an episode can be at that time
            distance[t, list(here)] = True
            here = {int(x) for s in here for x in mdp.successors[s].flatten()}
        torch.testing.assert_close(pi[distance], reached[distance], atol=1e-10, rtol=0)


def test_the_alternating_reward_is_what_a_bipartite_ring_hides():
    found = identify_from_paths(ring(4), 8)
    alternating = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64)
    shown = found.directions[:, :, 0]
    left_over = alternating - shown.T @ (shown @ alternating)
    assert float(left_over.abs().max()) < 1e-10


def test_short_horizons_reveal_less():
    free = [identify_from_paths(ring(5), steps).free for steps in (2, 4, 10)]
    assert free[0] >= free[-1] == 1


def test_per_action_shaping_survives_only_where_paths_end_alike():
    """Phi(s') - Phi(s) telescopes to Phi(s_T) - Phi(s_0): the end of a path gives it away."""
    found = identify_from_paths(ring(3), 6, per_action=True)
    assert found.unknowns == 6
    potential = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)
    shaped = shape_reward(ring(3).replace(horizon=6), potential)
    inside = torch.einsum("ksa,sa->k", found.directions, shaped)
    left_over = shaped - torch.einsum("k,ksa->sa", inside, found.directions)
    assert float(left_over.abs().max()) > 0.1


def test_bad_input_is_refused():
    first, second = two_discounts(0)
    with pytest.raises(InvalidArgumentError, match="1 environment was given"):
        identify([first])
    with pytest.raises(InvalidArgumentError, match="the same states, actions"):
        identify([first, random_mdp(0, states=5, actions=3)])
    with pytest.raises(InvalidArgumentError, match="1 policies for 2"):
        recover_reward([first, second], [random_policy(first, 0)])
    greedy = torch.nn.functional.one_hot(torch.zeros(6, dtype=torch.long), 3).double()
    with pytest.raises(InvalidArgumentError, match="no finite reward"):
        recover_reward([first, second], [greedy, greedy])
    with pytest.raises(InvalidArgumentError, match="stochastic"):
        identify_from_paths(first, 3)


def test_noisy_comparisons_reveal_the_scale_and_noiseless_ones_do_not():
    """Skalse et al. 2023: sigma(difference) changes with the scale, its sign does not."""
    gen = torch.Generator().manual_seed(0)
    returns = torch.randn(2, 50, dtype=torch.float64, generator=gen)
    difference = returns[0] - returns[1]
    single, double = torch.sigmoid(difference), torch.sigmoid(2 * difference)
    assert float((single - double).abs().max()) > 0.05
    assert torch.equal(difference > 0, 2 * difference > 0)
    shifted = (returns[0] + 7) - (returns[1] + 7)
    torch.testing.assert_close(torch.sigmoid(shifted), single)
    assert math.isclose(float(torch.sigmoid(torch.tensor(1.0))), 0.7310586, abs_tol=1e-7)
