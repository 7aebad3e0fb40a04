from __future__ import annotations

import itertools
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from tests.mdp.worlds import random_mdp, random_policy
from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import (
    GridWorld,
    MDPEnv,
    TabularMDP,
    return_of,
    sample_trajectories,
    state_distributions,
    uniform_policy,
    value_iteration,
)


def play(env: MDPEnv, seed: int, steps: int) -> list:
    """Return what happens when actions 0, 1, 2, 0, ... are taken, with resets where needed."""
    seen = [env.reset(seed=seed)]
    for _, action in zip(range(steps), itertools.cycle(range(env.action_space.n))):
        seen.append(env.step(action))
        if seen[-1][2] or seen[-1][3]:
            seen.append(env.reset())
    return seen


@pytest.mark.parametrize(
    "env",
    [
        MDPEnv(GridWorld("S..G\n.#.X", slip=0.2).mdp),
        MDPEnv(random_mdp(0), max_steps=7),
        MDPEnv(TabularMDP.from_gymnasium(gymnasium.make("FrozenLake-v1"), horizon=100)),
    ],
)
def test_gymnasiums_own_checker_has_nothing_to_say(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)


def test_the_same_seed_plays_the_same_episodes():
    mdp = random_mdp(3, states=6, terminal=1)
    first = play(MDPEnv(mdp, max_steps=9), seed=5, steps=60)
    assert first == play(MDPEnv(mdp, max_steps=9), seed=5, steps=60)
    assert first != play(MDPEnv(mdp, max_steps=9), seed=6, steps=60)


def test_episodes_terminate_in_terminal_states_and_are_truncated_at_the_limit():
    mdp = GridWorld("S.G").mdp
    env = MDPEnv(mdp, max_steps=2)
    assert env.reset(seed=0) == (0, {})
    assert env.step(1) == (1, 0.0, False, False, {})
    assert env.step(1) == (2, 1.0, True, False, {})  # at the limit, but it ended by itself
    env.reset()
    assert [env.step(3)[2:4] for _ in range(2)] == [(False, False), (False, True)]
    assert MDPEnv(mdp.replace(horizon=4)).max_steps == 4
    assert MDPEnv(mdp.replace(horizon=4), max_steps=9).max_steps == 9


def test_steps_outside_an_episode_and_unknown_actions_are_refused(unchecked):
    env = MDPEnv(GridWorld("SG").mdp)
    with pytest.raises(InvalidArgumentError, match=r"no episode is running; call reset\(\)"):
        env.step(0)
    env.reset(seed=0)
    for action in (4, -1, 0.5, "right"):
        with pytest.raises(InvalidArgumentError, match=r"no action .*; actions are 0 to 3"):
            env.step(action)
    env.step(1)
    with pytest.raises(InvalidArgumentError, match="no episode is running"):
        env.step(1)
    with pytest.raises(InvalidArgumentError, match="max_steps is 0"):
        MDPEnv(GridWorld("SG").mdp, max_steps=0)


def test_the_environment_moves_as_the_table_says():
    mdp = random_mdp(11, states=4, actions=2)
    env, counts = MDPEnv(mdp, max_steps=1), np.zeros((4, 2, 4))
    env.reset(seed=0)
    for i in range(20_000):
        state, _ = env.reset()
        counts[state, i % 2, env.step(i % 2)[0]] += 1
    starts = counts.sum((1, 2)) / counts.sum()
    assert np.abs(starts - mdp.initial_state_dist.numpy()).max() < 0.02
    shares = counts / counts.sum(-1, keepdims=True)
    assert np.abs(shares - mdp.transition_matrix.numpy()).max() < 0.05


def test_padding_is_never_drawn(monkeypatch):
    # branches of probability 0 point at state 0; rounding must not lead there
    successors = torch.tensor([[[1, 1, 1, 0, 0]], [[1, 1, 1, 0, 0]]])
    row = torch.tensor([0.1, 0.2, 0.7 - 1e-9, 0.0, 0.0], dtype=torch.float64)
    mdp = TabularMDP(
        successors,
        row.expand(2, 1, 5),
        torch.zeros(2, 1, dtype=torch.float64),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
    )

    class Highest:
        def random(self):
            return np.nextafter(1.0, 0.0)

    env = MDPEnv(mdp)
    env.reset(seed=0)
    env._np_random = Highest()
    assert env.step(0)[0] == 1
    highest = torch.tensor(1.0, dtype=torch.float64).nextafter(torch.zeros((), dtype=torch.float64))
    monkeypatch.setattr(torch, "rand", lambda n, **_: highest.expand(n))
    walk = sample_trajectories(mdp, uniform_policy(mdp), 3, 4)
    assert (walk.states == 1).all()


def test_trajectories_have_shapes_masks_and_padding():
    mdp = GridWorld("S.G", step_reward=-1.0).mdp
    right = torch.zeros(3, 4, dtype=torch.float64)
    right[:, 1] = 1.0
    batch = sample_trajectories(mdp, right, n=2, horizon=4, generator=torch.Generator())
    assert batch.states.tolist() == [[0, 1, 2, 2, 2]] * 2
    assert batch.actions.tolist() == [[1, 1, 0, 0]] * 2
    assert batch.rewards.tolist() == [[-1.0, 1.0, 0.0, 0.0]] * 2
    assert batch.mask.tolist() == [[True, True, False, False]] * 2


def test_the_same_generator_state_gives_the_same_trajectories(generator):
    mdp = random_mdp(0)
    pi = random_policy(mdp, 0)
    one = sample_trajectories(mdp, pi, 5, 6, generator)
    two = sample_trajectories(mdp, pi, 5, 6, torch.Generator().manual_seed(0))
    other = sample_trajectories(mdp, pi, 5, 6, generator)
    assert torch.equal(one.states, two.states) and torch.equal(one.actions, two.actions)
    assert not torch.equal(one.states, other.states)


def test_samples_follow_the_distributions_that_planning_computes(generator):
    mdp = random_mdp(2, states=4, terminal=1, discount=0.8)
    pi = torch.stack([random_policy(mdp, seed) for seed in range(30)])
    batch = sample_trajectories(mdp, pi, 20_000, 30, generator)
    expected = state_distributions(mdp, pi, 30)
    counted = torch.nn.functional.one_hot(batch.states, 4).double().mean(0)
    assert (counted - expected).abs().max() < 0.02
    chosen = batch.actions[:, 5][batch.mask[:, 5] & (batch.states[:, 5] == 1)]
    shares = torch.bincount(chosen, minlength=3) / len(chosen)
    assert (shares - pi[5, 1]).abs().max() < 0.03


def test_the_sampled_return_is_the_planned_one(generator):
    mdp = GridWorld("S..\n.#.\n..G", slip=0.2, step_reward=-0.1, discount=0.9).mdp
    plan = value_iteration(mdp)
    batch = sample_trajectories(mdp, plan.policy, 20_000, 100, generator)
    returns = (0.9 ** torch.arange(100, dtype=torch.float64) * batch.rewards).sum(-1)
    error = float(returns.std()) / 20_000**0.5
    assert abs(float(returns.mean()) - return_of(mdp, plan.policy)) < 4 * error


def test_bad_sampling_arguments_are_refused(unchecked):
    mdp = random_mdp(0)
    with pytest.raises(InvalidArgumentError, match="n is 0; expected at least one"):
        sample_trajectories(mdp, uniform_policy(mdp), 0, 5)
    with pytest.raises(InvalidArgumentError, match="horizon is None"):
        sample_trajectories(mdp, uniform_policy(mdp), 2)
    with pytest.raises(InvalidArgumentError, match="policy in state 's0'"):
        sample_trajectories(mdp, 2 * uniform_policy(mdp), 2, 5)
