"""The same numbers as the `imitation` package, on the same processes.

Its two habits, allowed for here: `mce_occupancy_measures` plans without the discount unless it is
given a policy, so it always is; and it counts T + 1 states where the exact gradient needs T
decisions.
`make peers` installs it; without it these tests are skipped.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.irl.worlds import random_mdp
from tutorlib.irl import (
    FitSettings,
    NeuralReward,
    TabularReward,
    backward_pass,
    fit_reward,
    forward_pass,
    pay,
    solve_causal,
)
from tutorlib.mdp import GridWorld

PEERS = "imitation is not installed: make peers"
mce_irl = pytest.importorskip("imitation.algorithms.mce_irl", reason=PEERS)
base_envs = pytest.importorskip("seals.base_envs", reason=PEERS)

MAP = "S...\n.#..\n...."


def peer_of(mdp, state_reward):
    """Return the process as `seals` holds it: dense, with a reward per state."""
    return base_envs.TabularModelPOMDP(
        transition_matrix=mdp.transition_matrix.numpy(),
        observation_matrix=np.eye(mdp.n_states, dtype=np.float32),
        reward_matrix=state_reward.numpy(),
        horizon=mdp.horizon,
        initial_state_dist=mdp.initial_state_dist.numpy(),
    )


def worlds():
    """Return processes without terminal states, of which `imitation` knows nothing."""
    grid = GridWorld(MAP, slip=0.2, horizon=12).mdp
    return [("grid", grid), ("random", random_mdp(0, states=16, actions=4, branches=3, horizon=10))]


@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("name, mdp", worlds())
def test_partition_function_policy_and_occupancies_agree_to_1e_6(name, mdp, discount):
    mdp = mdp.replace(discount=discount)
    gen = torch.Generator().manual_seed(4)
    state_reward = torch.randn(mdp.n_states, dtype=torch.float64, generator=gen)
    peer = peer_of(mdp, state_reward)
    v, _, pi = mce_irl.mce_partition_fh(peer, discount=discount)
    by_time, total = mce_irl.mce_occupancy_measures(peer, pi=pi, discount=discount)

    values, policy = backward_pass(mdp, pay(mdp, state_reward, "departure"))
    np.testing.assert_allclose(values[:-1], v, atol=1e-6)
    np.testing.assert_allclose(policy, pi, atol=1e-6)
    weights = discount ** np.arange(mdp.horizon + 1)[:, None]
    visits = forward_pass(mdp, policy, per_step=True).sum(-1)
    np.testing.assert_allclose(visits, (weights * by_time)[:-1], atol=1e-6)
    last = discount**mdp.horizon * by_time[-1]
    np.testing.assert_allclose(visits.sum(0), total - last, atol=1e-6)


def test_its_two_habits_are_as_described():
    """If a later version mends them, this fails, and the notes above are to be changed."""
    mdp = random_mdp(0, states=16, actions=4, branches=3, horizon=10, discount=0.9)
    peer = peer_of(mdp, torch.randn(16, dtype=torch.float64,
                                    generator=torch.Generator().manual_seed(4)))
    _, _, discounted = mce_irl.mce_partition_fh(peer, discount=0.9)
    _, _, plain = mce_irl.mce_partition_fh(peer)
    _, silent = mce_irl.mce_occupancy_measures(peer, discount=0.9)
    _, stated = mce_irl.mce_occupancy_measures(peer, pi=plain, discount=0.9)
    _, meant = mce_irl.mce_occupancy_measures(peer, pi=discounted, discount=0.9)
    np.testing.assert_allclose(silent, stated)
    assert np.abs(silent - meant).max() > 0.01
    assert meant.sum() == pytest.approx((1 - 0.9**11) / 0.1)


@pytest.mark.parametrize("neural", [False, True])
def test_learned_occupancies_agree_to_its_own_tolerance(neural):
    """Both learn R(s) from the same expert counts until no state differs by more than 1e-3."""
    from imitation.rewards import reward_nets
    from imitation.util import logger

    mdp = GridWorld(MAP, slip=0.2, horizon=12, discount=1.0).mdp
    truth = torch.zeros(mdp.n_states, dtype=torch.float64)
    truth[-1], truth[2] = 1.0, -1.0
    peer = peer_of(mdp, truth)
    _, _, pi = mce_irl.mce_partition_fh(peer)
    _, expert = mce_irl.mce_occupancy_measures(peer, pi=pi)
    torch.manual_seed(0)  # its network draws from torch's global generator
    net = reward_nets.BasicRewardNet(
        peer.observation_space, peer.action_space, use_action=False, use_next_state=False,
        use_done=False, hid_sizes=[32] if neural else [])
    learner = mce_irl.MCEIRL(
        expert, peer, net, np.random.default_rng(0), log_interval=None, linf_eps=1e-3,
        optimizer_kwargs={"lr": 0.05}, custom_logger=logger.configure(format_strs=[]))
    theirs = learner.train(max_iter=1_000)
    assert np.abs(theirs - expert).max() <= 1e-3

    demonstrated = solve_causal(mdp, pay(mdp, truth, "departure")).occupancy
    one_hot = torch.eye(mdp.n_states)
    model = NeuralReward(one_hot, (32,), "departure") if neural else TabularReward(mdp, "departure")
    ours = fit_reward(mdp, model, demonstrated, FitSettings(
        learning_rate=0.05, steps=1_000, occupancy_tolerance=1e-3 / mdp.n_actions))
    assert ours.stopped_by == "occupancy"
    # run our policy through their counting, which includes the state after the last decision
    _, counted = mce_irl.mce_occupancy_measures(peer, pi=ours.solution.policy.numpy())
    assert np.abs(counted - expert).max() <= 1e-3
    assert np.abs(counted - theirs).max() <= 2e-3
