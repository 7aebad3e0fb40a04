"""The pendulum on whole arrays is Gymnasium's, step by step."""

import gymnasium
import numpy as np
import pytest

from tutorlib.control import make_envs
from tutorlib.control.arm import PENDULUM


def test_the_pendulum_moves_as_gymnasium_s_own():
    many, peer = make_envs(PENDULUM, 1), gymnasium.make("Pendulum-v1")
    assert many.single_action_space == peer.action_space
    assert many.single_observation_space == peer.observation_space
    many.reset(seed=3)
    peer.reset(seed=0)
    peer.unwrapped.state = many.unwrapped.state[:, 0].copy()
    rng = np.random.default_rng(0)
    for step in range(200):
        action = rng.uniform(-3, 3, (1, 1))  # beyond the bounds too
        obs, reward, ended, cut, _ = many.step(action)
        peer_obs, peer_reward, peer_ended, peer_cut, _ = peer.step(action[0])
        np.testing.assert_allclose(obs[0], peer_obs, atol=1e-4)
        assert reward[0] == pytest.approx(peer_reward, abs=1e-8)
        assert (ended[0], cut[0]) == (peer_ended, peer_cut) == (False, step == 199)
