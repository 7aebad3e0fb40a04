"""Demonstrations: what is recorded happened; what could not have happened is refused."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from tutorlib.control import (
    ControlTask,
    GaussianPolicy,
    demonstrations_from_episodes,
    evaluate,
    make_policy,
    record_demonstrations,
)
from tutorlib.errors import InvalidArgumentError


def spaces(env_id):
    env = gymnasium.make(env_id)
    return env.observation_space, env.action_space


def novice(seed=0):
    return make_policy(*spaces("CartPole-v1"), (8,), torch.Generator().manual_seed(seed))


def three():
    """Episodes of 1, 3 and 2 steps; observations count 10 per episode and 1 per step."""
    return demonstrations_from_episodes([
        ([[10.0], [11.0]], [1], [5.0], True),
        ([[20.0], [21.0], [22.0], [23.0]], [0, 1, 0], [1.0, 2.0, 3.0], False),
        ([[30.0], [31.0], [32.0]], [0, 0], [1.0, 1.0], True),
    ])


def test_transitions_leave_out_the_padding_and_end_only_where_the_process_did():
    steps = three().transitions()
    assert steps.obs[:, 0].tolist() == [10, 20, 21, 22, 30, 31]
    assert steps.next_obs[:, 0].tolist() == [11, 21, 22, 23, 31, 32]
    assert steps.actions.tolist() == [1, 0, 1, 0, 0, 0]
    assert steps.ended.tolist() == [True, False, False, False, False, True]
    assert len(steps) == 6 and steps[torch.tensor([5])].obs.tolist() == [[31.0]]


def test_lengths_returns_and_subsets():
    demos = three()
    assert demos.lengths().tolist() == [1, 3, 2] and demos.returns().tolist() == [5, 6, 2]
    assert len(demos) == 3 and demos[[2, 0]].returns().tolist() == [2, 5]
    assert demos[1].transitions().obs[:, 0].tolist() == [20, 21, 22]
    assert demos[demos.returns() > 4].lengths().tolist() == [1, 3]


def test_a_recording_replays_step_by_step_in_a_single_environment():
    """Put each recorded state into Gymnasium's own CartPole and take the recorded action."""
    demos = record_demonstrations("CartPole-v1", novice(), 4, seed=3, greedy=False)
    env = gymnasium.make("CartPole-v1").unwrapped
    steps = demos.transitions()
    for obs, action, next_obs, ended in zip(steps.obs, steps.actions, steps.next_obs, steps.ended,
                                            strict=True):
        env.reset()
        env.state = obs.double().numpy()
        found, _, over, _, _ = env.step(int(action))
        assert np.allclose(found, next_obs, atol=1e-5) and over == bool(ended)
    assert demos.terminated.all() and (demos.lengths() < 200).all()


def test_a_recording_earns_what_an_evaluation_of_the_same_seed_does():
    for greedy in (True, False):
        demos = record_demonstrations("CartPole-v1", novice(), 5, seed=2, greedy=greedy)
        assert demos.returns().tolist() == evaluate(
            "CartPole-v1", novice(), 5, seed=2, greedy=greedy).tolist()


def test_real_actions_are_recorded_within_their_bounds_and_a_time_limit_is_no_end():
    policy = GaussianPolicy(3, 1, (8,), torch.Generator().manual_seed(0))
    with torch.no_grad():
        policy.log_std += 3.0
    demos = record_demonstrations("Pendulum-v1", policy, 2, seed=0, greedy=False)
    assert demos.actions.shape == (2, 200, 1) and demos.actions.abs().max() == 2
    assert not demos.terminated.any() and not demos.transitions().ended.any()


def test_a_cut_recording_has_not_terminated():
    demos = record_demonstrations("CartPole-v1", novice(), 3, seed=0, max_steps=4)
    assert demos.lengths().tolist() == [4, 4, 4] and not demos.terminated.any()


def test_spaces_are_compared():
    demos = record_demonstrations("CartPole-v1", novice(), 2, seed=0)
    demos.check_spaces(*spaces("CartPole-v1"))
    with pytest.raises(InvalidArgumentError, match="holds 4 numbers, one of the task 3"):
        demos.check_spaces(*spaces("Pendulum-v1"))
    with pytest.raises(InvalidArgumentError, match=r"the task takes Box"):
        demos.check_spaces(spaces("CartPole-v1")[0], spaces("Pendulum-v1")[1])
    with pytest.raises(InvalidArgumentError, match="actions run from 0 to 1"):
        demos.check_spaces(spaces("CartPole-v1")[0], gymnasium.spaces.Discrete(1))
    floats = dataclasses.replace(demos, actions=demos.actions.float())
    with pytest.raises(InvalidArgumentError, match="float32"):
        floats.check_spaces(*spaces("CartPole-v1"))


def changed(name, value):
    demos = three()
    field = getattr(demos, name).clone()
    field[1, 1] = value
    return lambda: dataclasses.replace(demos, **{name: field})


@pytest.mark.parametrize("make, match", [
    (lambda: demonstrations_from_episodes([]), "no episodes"),
    (lambda: demonstrations_from_episodes([([[0.0]], [], [], True)]), "episode 0 is ragged"),
    (lambda: demonstrations_from_episodes([([[0.0]] * 3, [0, 0], [1.0, 1.0], True),
                                           ([[0.0]] * 3, [0, 0], [1.0], True)]),
     "episode 1 is ragged: 3 observations, 2 actions, 1 rewards"),
    (lambda: demonstrations_from_episodes([([[0.0]] * 2, [0], [1.0], True),
                                           ([[0.0, 1.0]] * 2, [0], [1.0], True)]),
     "differ in shape"),
    (changed("obs", float("nan")), "obs of episode 1 at step 1 is not finite"),
    (changed("rewards", float("inf")), "rewards of episode 1 at step 1"),
    (changed("mask", False), "a hole"),
    (lambda: three()[[]], "at least one of each"),
    (lambda: dataclasses.replace(three(), obs=three().obs[:, :-1]), r"obs has shape \(3, 3, 1\)"),
    (lambda: record_demonstrations("CartPole-v1", novice(), 0, seed=0), "episodes is 0"),
    (lambda: record_demonstrations("CartPole-v1", novice(), 1, seed=0, max_steps=0),
     "max_steps is 0"),
    (lambda: ControlTask("CartPole-v1", fixed_horizon=0), "fixed_horizon is 0"),
])
def test_bad_demonstrations_are_refused(make, match):
    with pytest.raises(InvalidArgumentError, match=match):
        make()


def test_padding_may_hold_anything():
    demos = three()
    obs = demos.obs.clone()
    obs[0, 2:] = float("nan")
    assert torch.isfinite(dataclasses.replace(demos, obs=obs).transitions().obs).all()
