"""Fixed horizons: the process is the same, only its end no longer ends the episode."""

import gymnasium
import numpy as np
import pytest
import torch

from tutorlib.control import (
    ControlTask,
    FixedHorizon,
    PPOConfig,
    evaluate,
    make_envs,
    make_policy,
    record_demonstrations,
    train_ppo,
)
from tutorlib.errors import InvalidArgumentError

CARTPOLE = ControlTask("CartPole-v1", fixed_horizon=60)


def test_until_it_ends_the_process_is_gymnasiums_own():
    """The same seed and actions in the plain environment; after its end: absorbed, unpaid."""
    plain, fixed = gymnasium.make("CartPole-v1"), FixedHorizon(gymnasium.make("CartPole-v1"), 30)
    expected, _ = plain.reset(seed=5)
    found, _ = fixed.reset(seed=5)
    ended, paid, lasted = False, 0.0, 0
    for t in range(30):
        assert found.tolist() == ([0, 0, 0, 0, 1] if ended else [*expected, 0])
        assert fixed.observation_space.contains(found)
        found, reward, terminated, truncated, _ = fixed.step(0)
        if not ended:
            expected, _, ended, _, _ = plain.step(0)
            lasted += 1
        paid += reward
        assert not terminated and truncated == (t == 29)
    assert ended and paid == lasted < 15
    assert fixed.reset(seed=5)[0][-1] == 0  # the next episode starts unabsorbed


def test_every_episode_lasts_the_horizon_in_a_recording_too():
    policy = make_policy(gymnasium.spaces.Box(-1, 1, (5,)), gymnasium.spaces.Discrete(2), (8,),
                         torch.Generator().manual_seed(0))
    demos = record_demonstrations(CARTPOLE, policy, 4, seed=0, greedy=False)
    assert demos.lengths().tolist() == [60] * 4 and not demos.terminated.any()
    absorbed = demos.obs[:, 1:, -1] == 1
    assert torch.equal(demos.returns().int(), (~absorbed).sum(1) + 1)  # the fall itself is paid
    assert (demos.obs[:, 1:][absorbed][:, :-1] == 0).all() and absorbed[:, -1].all()
    assert demos.returns().tolist() == evaluate(CARTPOLE, policy, 4, seed=0, greedy=False).tolist()


def test_a_task_without_a_horizon_is_its_environment():
    assert type(make_envs(ControlTask("CartPole-v1"), 2).unwrapped) is type(
        make_envs("CartPole-v1", 2).unwrapped)


def test_a_task_that_never_ends_is_only_given_its_flag():
    envs = make_envs(ControlTask("Pendulum-v1", fixed_horizon=10), 2)
    obs, _ = envs.reset(seed=0)
    for _ in range(10):
        assert obs.shape == (2, 4) and (obs[:, -1] == 0).all()
        obs, _, terminated, truncated, _ = envs.step(np.zeros((2, 1), dtype=np.float32))
    assert truncated.all() and not terminated.any()


def test_a_horizon_may_exceed_the_usual_time_limit():
    envs = make_envs(ControlTask("Pendulum-v1", fixed_horizon=250), 1)
    envs.reset(seed=0)
    ends = [envs.step(np.zeros((1, 1), dtype=np.float32))[3][0] for _ in range(250)]
    assert ends == [False] * 249 + [True]


def test_observations_without_an_axis_are_refused():
    with pytest.raises(InvalidArgumentError, match="Box of one axis"):
        FixedHorizon(gymnasium.make("FrozenLake-v1"), 10)


def test_ppo_trains_on_a_fixed_horizon():
    small = PPOConfig(total_steps=512, n_envs=4, n_steps=64, hidden=(8,))
    result = train_ppo(CARTPOLE, small)
    assert len(result.episode_returns) == 8 and max(result.episode_returns) <= 60


def test_a_short_wait_is_cut_like_any_time_limit():
    env = FixedHorizon(gymnasium.make("CartPole-v1"), 50, absorbing_steps=3)
    env.reset(seed=5)
    flags, cuts = [], []
    while not (cuts and cuts[-1]):
        obs, _, terminated, truncated, _ = env.step(0)
        flags.append(int(obs[-1]))
        cuts.append(truncated)
        assert not terminated
    assert sum(flags) == 4 and flags[-4:] == [1] * 4  # the end itself, then three steps of waiting
    assert sum(cuts) == 1 and len(cuts) < 20
    assert env.reset(seed=5)[0][-1] == 0 and not env.step(0)[3]


def test_a_wait_without_a_horizon_is_refused():
    with pytest.raises(InvalidArgumentError, match="without fixed_horizon"):
        ControlTask("CartPole-v1", absorbing_steps=3)
