"""Returns, advantages and objectives against hand-worked numbers, loops and stable-baselines3."""

import inspect

import gymnasium
import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped

from tutorlib.control import estimators
from tutorlib.errors import InvalidArgumentError


def checked(function):
    """Hold a function to the shapes in its signature."""
    return jaxtyped(typechecker=beartype)(function)


discounted_returns = checked(estimators.discounted_returns)
td_errors = checked(estimators.td_errors)
gae = checked(estimators.gae)
ppo_clip_objective = checked(estimators.ppo_clip_objective)


def float64(*values):
    return torch.tensor(values, dtype=torch.float64)


def draw(generator, steps, envs, p_end=0.3):
    """Return rewards, values [steps + 1], and the two kinds of ending."""
    rewards = torch.randn(steps, envs, generator=generator, dtype=torch.float64)
    values = torch.randn(steps + 1, envs, generator=generator, dtype=torch.float64)
    ended = torch.rand(steps, envs, generator=generator) < p_end
    timed_out = ended & (torch.rand(steps, envs, generator=generator) < 0.5)
    return rewards, values, ended & ~timed_out, timed_out


def test_returns_by_hand():
    # 4; 0 + 0.5 * 4 = 2; 1 + 0.5 * 2 = 2
    assert discounted_returns(float64(1, 0, 4), 0.5).tolist() == [2, 2, 4]
    # the same with 8 waiting at the end: 4 + 0.5 * 8 = 8; 4; 3
    assert discounted_returns(float64(1, 0, 4), 0.5, 8.0).tolist() == [3, 4, 8]


def test_gae_by_hand():
    # deltas: 1 + 0.5*2 - 3 = -1; 2 + 0.5*6 - 2 = 3.  A_1 = 3; A_0 = -1 + 0.5*0.8*3 = 0.2
    advantages = gae(float64(1, 2), float64(3, 2, 6), 0.5, 0.8)
    assert torch.allclose(advantages, float64(0.2, 3.0))


def test_gae_stops_at_a_terminal_state_and_bootstraps_at_a_time_limit():
    rewards, values = float64(1, 2), float64(3, 2, 6)
    # step 0 terminates: delta_0 = 1 - 3 = -2, nothing of step 1 reaches it
    assert torch.allclose(gae(rewards, values, float64(0, 0.5), 0.8), float64(-2, 3))
    # step 0 is cut by a time limit: its delta keeps V(s_1), the sum still stops
    cut = gae(rewards, values, 0.5, float64(0, 0.8))
    assert torch.allclose(cut, float64(-1, 3))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_gae_agrees_with_its_definition_as_a_double_sum(seed, lambda_):
    """Schulman et al. 2016, Equation 16, term by term, stopping at the first ending."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values, terminated, truncated = draw(generator, steps=12, envs=3)
    expected = torch.zeros_like(rewards)
    for env in range(3):
        for start in range(12):
            for t in range(start, 12):
                bootstrap = 0.0 if terminated[t, env] else 0.9 * values[t + 1, env]
                delta = rewards[t, env] + bootstrap - values[t, env]
                expected[start, env] += (0.9 * lambda_) ** (t - start) * delta
                if terminated[t, env] or truncated[t, env]:
                    break
    result = gae(rewards, values, 0.9 * (~terminated).double(),
                 lambda_ * (~(terminated | truncated)).double())
    assert torch.allclose(result, expected)


@pytest.mark.parametrize("seed", range(3))
def test_gae_agrees_with_stable_baselines3(seed):
    """SB3 has no room for the last state of a cut episode: it adds gamma V of it to the reward."""
    buffers = pytest.importorskip("stable_baselines3.common.buffers")
    generator = torch.Generator().manual_seed(seed)
    rewards, values, terminated, truncated = draw(generator, steps=20, envs=1)
    final_values = torch.randn(20, 1, generator=generator, dtype=torch.float64)
    ended = terminated | truncated
    buffer = buffers.RolloutBuffer(20, gymnasium.spaces.Box(-1, 1, (1,)),
                                   gymnasium.spaces.Discrete(2), "cpu", gae_lambda=0.8, gamma=0.9)
    started = True
    for t in range(20):
        paid = rewards[t] + 0.9 * final_values[t] * truncated[t]
        buffer.add(np.zeros((1, 1)), np.zeros((1, 1)), paid.numpy(), np.array([started]),
                   values[t].float(), torch.zeros(1))
        started = bool(ended[t])
    buffer.compute_returns_and_advantage(values[20].float(), ended[19].numpy())

    ours, position = [], []  # the same experience with Gymnasium's resetting steps put in
    for t in range(20):
        position.append(len(ours))
        ours.append((rewards[t], values[t], terminated[t], truncated[t]))
        if ended[t]:
            no = torch.tensor([False])
            ours.append((torch.zeros(1, dtype=torch.float64), final_values[t], no, no))
    columns = [torch.stack(column) for column in zip(*ours, strict=True)]
    all_values = torch.cat([columns[1], values[20:]])
    advantages = gae(columns[0], all_values, 0.9 * (~columns[2]).double(),
                     0.8 * (~(columns[2] | columns[3])).double())[position]
    assert np.allclose(advantages.numpy(), buffer.advantages, atol=1e-5)


def test_lambda_1_is_the_return_minus_the_value_and_lambda_0_the_td_error():
    rewards, values, _, _ = draw(torch.Generator().manual_seed(0), 9, 2)
    whole = discounted_returns(rewards, 0.9, values[-1]) - values[:-1]
    assert torch.allclose(gae(rewards, values, 0.9, 1.0), whole)
    assert torch.allclose(gae(rewards, values, 0.9, 0.0), td_errors(rewards, values, 0.9))


def test_nothing_after_an_ending_matters_before_it():
    rewards, values, _, _ = draw(torch.Generator().manual_seed(1), 8, 1)
    discounts = torch.full((8, 1), 0.9, dtype=torch.float64)
    discounts[3] = 0.0
    before = gae(rewards, values, discounts, 0.95)[:4]
    rewards[4:], values[4:] = 1e6, -1e6
    assert torch.equal(gae(rewards, values, discounts, 0.95)[:4], before)


@pytest.mark.parametrize("ratio, advantage, expected", [
    (1.0, 2.0, 2.0),
    (1.5, 2.0, 2.4),  # the gain is capped at 1.2 * 2
    (0.5, 2.0, 1.0),  # a good action made rarer: not capped, the way back stays open
    (1.5, -2.0, -3.0),  # a bad action made likelier: not capped either
    (0.5, -2.0, -1.6),  # the gain is capped at 0.8 * -2
])
def test_clipping_by_hand(ratio, advantage, expected):
    result = ppo_clip_objective(float64(ratio).log(), float64(1.0).log(), float64(advantage), 0.2)
    assert torch.allclose(result, float64(expected))


def test_gradients_reach_the_new_log_probabilities_alone_and_vanish_where_clipped():
    logps = float64(1.5, 0.5, 1.0).log().requires_grad_()
    old = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    advantages = torch.full((3,), 2.0, dtype=torch.float64, requires_grad=True)
    ppo_clip_objective(logps, old, advantages, 0.2).sum().backward()
    # d/dlogp of ratio * A is ratio * A; nothing at ratio 1.5, where the cap binds
    assert torch.allclose(logps.grad, float64(0.0, 1.0, 2.0))
    assert old.grad is None and advantages.grad is None


def test_at_the_old_policy_ppo_follows_the_policy_gradient():
    logps = torch.log(float64(0.3, 0.6)).requires_grad_()
    advantages = float64(1.0, -2.0)
    ppo_clip_objective(logps, logps.detach(), advantages).sum().backward()
    assert torch.allclose(logps.grad, advantages)


def test_normalised_advantages_have_mean_0_and_sample_deviation_1():
    result = estimators.normalise(torch.randn(50, dtype=torch.float64) * 7 + 3)
    assert abs(float(result.mean())) < 1e-12 and abs(float(result.std()) - 1) < 1e-6


def test_shapes_that_would_broadcast_are_refused():
    # unwrapped: our own messages, also where shapes are checked before the call
    td_errors, gae, clip = (inspect.unwrap(function) for function in (
        estimators.td_errors, estimators.gae, estimators.ppo_clip_objective))
    with pytest.raises(InvalidArgumentError, match="one entry more in time"):
        td_errors(torch.zeros(4), torch.zeros(4), 0.9)
    with pytest.raises(InvalidArgumentError, match="lambda_t has shape"):
        gae(torch.zeros(4, 2), torch.zeros(5, 2), 0.9, torch.zeros(4))
    with pytest.raises(InvalidArgumentError, match="one common shape"):
        clip(torch.zeros(4), torch.zeros(4), torch.zeros(4, 1))
    with pytest.raises(InvalidArgumentError, match="clip is 0"):
        clip(torch.zeros(1), torch.zeros(1), torch.zeros(1), clip=0.0)
