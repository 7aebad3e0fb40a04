from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.mdp.worlds import random_mdp, random_policy, trajectories
from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.mdp import (
    GridWorld,
    TabularMDP,
    gibbs_policy,
    soft_backup,
    soft_backward,
    soft_maximum,
    soft_policy_evaluation,
    soft_policy_iteration,
    soft_value_iteration,
    state_distributions,
    uniform_policy,
)

F64 = torch.float64


def tensor(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=F64)


def test_gibbs_policy_by_hand():
    # exp(0) : exp(log 3) = 1 : 3; at temperature 1/2 the odds are squared, 1 : 9
    q = tensor(0.0, math.log(3))
    assert gibbs_policy(q, 1.0).tolist() == pytest.approx([1 / 4, 3 / 4])
    assert gibbs_policy(q, 0.5).tolist() == pytest.approx([1 / 10, 9 / 10])
    # a prior of 3 : 1 cancels the odds
    assert gibbs_policy(q, 1.0, tensor(0.75, 0.25)).tolist() == pytest.approx([1 / 2, 1 / 2])
    assert float(soft_maximum(q, 1.0)) == pytest.approx(math.log(4))
    assert float(soft_maximum(q, 0.5)) == pytest.approx(0.5 * math.log(10))
    assert float(soft_maximum(q, 1.0, tensor(0.75, 0.25))) == pytest.approx(math.log(1.5))


def test_one_endless_state_by_hand():
    # two equal actions earn 1 and entropy log 2 a step: V = (1 + log 2) / (1 - 1/2)
    mdp = TabularMDP.from_dense([[[1], [1]]], [[1, 1]], discount=0.5)
    for planner in (soft_value_iteration, soft_policy_iteration):
        assert float(planner(mdp, 1.0).values) == pytest.approx(2 + 2 * math.log(2))
        held = planner(mdp, 1.0, uniform_policy(mdp))
        assert float(held.values) == pytest.approx(2.0)


def test_no_entropy_accrues_in_terminal_states():
    # one decision, then the end: V = log(e^1 + e^0), nothing from the four actions "taken" there
    mdp = TabularMDP.from_dense(
        [[[0, 1], [0, 1]], [[0, 1], [0, 1]]], [[1, 0], [0, 0]], terminal=[False, True]
    )
    expected = [math.log(math.e + 1), 0.0]
    assert soft_value_iteration(mdp, 1.0).values.tolist() == pytest.approx(expected)
    assert soft_policy_iteration(mdp, 1.0).values.tolist() == pytest.approx(expected)
    assert soft_backward(mdp, 1.0, 4).values.tolist() == [pytest.approx(expected)] * 4 + [[0, 0]]
    assert soft_policy_evaluation(mdp, uniform_policy(mdp), 1.0).tolist() == pytest.approx(
        [0.5 + math.log(2), 0.0]
    )
    assert soft_backup(mdp, tensor(9.0, 9.0), 1.0)[1] == 0


@pytest.mark.parametrize("temperature", [0.3, 2.0])
@pytest.mark.parametrize("discount", [1.0, 0.6])
@pytest.mark.parametrize("with_prior", [False, True])
def test_soft_backward_maximises_over_all_trajectories(temperature, discount, with_prior):
    """Its value is that of its own policy, summed over trajectories, and no other's is higher."""
    steps = 3
    mdp = random_mdp(7, states=3, actions=2, branches=2, discount=discount, horizon=steps)
    prior = random_policy(mdp, 5) if with_prior else None
    base = np.ones((3, 2)) if prior is None else prior.numpy()
    plan = soft_backward(mdp, temperature, prior=prior)
    nudged = torch.softmax(plan.policy.log() + 0.3 * torch.randn(3, 3, 2, dtype=F64), -1)
    worth = {}
    for name, pi in (("own", plan.policy.numpy()), ("other", nudged.numpy())):
        worth[name] = np.zeros(3)
        for first, states, actions, chance in trajectories(mdp, steps):
            taken, earned = chance, 0.0
            for t in range(steps):
                step = pi[t, states[t], actions[t]]
                taken *= step
                cost = temperature * math.log(step / base[states[t], actions[t]])
                earned += discount**t * (float(mdp.reward[states[t], actions[t]]) - cost)
            worth[name][first] += taken * earned
    assert np.allclose(plan.values[0], worth["own"], atol=1e-10)
    assert (worth["other"] < worth["own"]).all()


def test_in_a_deterministic_world_the_soft_value_is_the_log_partition_over_trajectories():
    mdp = random_mdp(2, states=4, actions=3, branches=1, discount=1.0, horizon=4)
    sums = np.zeros(4)
    for first, states, actions, _ in trajectories(mdp, 4):
        earned = sum(float(mdp.reward[states[t], actions[t]]) for t in range(4))
        sums[first] += np.exp(earned / 0.7)
    assert np.allclose(soft_backward(mdp, 0.7).values[0], 0.7 * np.log(sums), atol=1e-12)


@pytest.mark.parametrize("with_prior", [False, True])
def test_the_gradient_of_the_soft_value_is_the_expected_number_of_visits(with_prior):
    mdp = random_mdp(4, discount=0.9, horizon=6)
    prior = random_policy(mdp, 1, zeros=True) if with_prior else None
    free = mdp.reward.clone().requires_grad_()
    plan = soft_backward(mdp.replace(reward=free), 0.5, prior=prior)
    (gradient,) = torch.autograd.grad(mdp.initial_state_dist @ plan.values[0], free)
    policy = plan.policy.detach()
    visits = state_distributions(mdp, policy)[:-1, :, None] * policy
    counts = (0.9 ** torch.arange(6, dtype=F64)[:, None, None] * visits).sum(0)
    assert torch.allclose(gradient, counts, atol=1e-12)
    assert torch.isfinite(gradient).all()


def test_an_endless_soft_plan_is_the_limit_of_long_horizons():
    mdp = random_mdp(1, discount=0.8)
    plan = soft_value_iteration(mdp, 0.5)
    finite = soft_backward(mdp, 0.5, 200)
    assert torch.allclose(finite.values[0], plan.values, atol=1e-9)
    assert torch.allclose(finite.policy[0], plan.policy, atol=1e-9)
    assert soft_backward(mdp, 0.5, 200, keep_q=False).q_values is None


@pytest.mark.parametrize("temperature", [1e-300, 1e-6, 1e6])
def test_extreme_temperatures_and_values_stay_finite(temperature):
    q = tensor([1e9, -1e9, 1e9], [-1e300, 0.0, 1e-300])
    prior = tensor([0.0, 1.0, 0.0], [0.5, 0.5, 0.0])
    for chosen in (None, prior):
        pi, value = gibbs_policy(q, temperature, chosen), soft_maximum(q, temperature, chosen)
        assert torch.isfinite(value).all()
        assert torch.allclose(pi.sum(-1), torch.ones(2, dtype=F64))
    assert pi[0].tolist() == [0, 1, 0] and value[0] == -1e9  # what is allowed, not what is best


def test_forbidden_actions_stay_forbidden_even_when_best():
    grid = GridWorld("S.G", step_reward=-0.1)
    prior = torch.full((3, 4), 1 / 3, dtype=F64)
    prior[:, 1] = 0.0  # never right: the goal is out of reach
    plan = soft_value_iteration(grid.mdp, 1e-6, prior)
    assert not plan.policy[:, 1].any()
    assert plan.values[:2].tolist() == pytest.approx([-2.0, -2.0])  # -0.1 / (1 - 0.95) for ever
    with pytest.raises(InvalidArgumentError, match=r"takes 'right' in state '\(0, 0\)' where"):
        soft_policy_evaluation(grid.mdp, uniform_policy(grid.mdp), 1.0, prior)


def test_soft_policy_iteration_never_gets_worse():
    mdp = random_mdp(8, terminal=1)
    policy, values = uniform_policy(mdp), None
    for _ in range(5):
        following = soft_policy_evaluation(mdp, policy, 0.3)
        if values is not None:
            assert (following >= values - 1e-10).all()
        values = following
        policy = gibbs_policy(mdp.reward + mdp.discount * mdp.transition_matrix @ values, 0.3)


def test_entropy_without_end_is_reported():
    # each step costs 1 but earns log 4 > 1 of entropy: never ending is worth infinitely much
    grid = GridWorld("S.G", step_reward=-1.0, discount=1.0)
    with pytest.raises(NotConvergedError, match="with discount 1, values are finite only if"):
        soft_value_iteration(grid.mdp, 1.0, max_iterations=300)
    assert soft_value_iteration(grid.mdp, 0.2).values[1] == pytest.approx(1.0, abs=0.1)
    with pytest.raises(NotConvergedError, match=r"soft policy iteration still .* in round 1"):
        soft_policy_iteration(grid.mdp, 0.2, max_iterations=1)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperatures_must_be_positive(temperature):
    mdp, q = random_mdp(0), torch.zeros(5, 3, dtype=F64)
    calls = (
        lambda: soft_value_iteration(mdp, temperature),
        lambda: soft_policy_iteration(mdp, temperature),
        lambda: soft_policy_evaluation(mdp, uniform_policy(mdp), temperature),
        lambda: soft_backward(mdp, temperature, 3),
        lambda: soft_backup(mdp, q[:, 0], temperature),
        lambda: gibbs_policy(q, temperature),
        lambda: soft_maximum(q, temperature),
    )
    for call in calls:
        with pytest.raises(InvalidArgumentError, match=f"temperature is {temperature}; .*above 0"):
            call()


def test_bad_priors_are_refused(unchecked):
    mdp, q = random_mdp(0), torch.zeros(5, 3, dtype=F64)
    half = torch.full((5, 3), 0.5, dtype=F64)
    for call in (
        lambda: soft_value_iteration(mdp, 1.0, half),
        lambda: soft_policy_iteration(mdp, 1.0, half),
        lambda: soft_backward(mdp, 1.0, 3, half),
        lambda: soft_policy_evaluation(mdp, uniform_policy(mdp), 1.0, half),
    ):
        with pytest.raises(InvalidArgumentError, match=r"prior in state 's0' .* sum 1.5; expected"):
            call()
    with pytest.raises(InvalidArgumentError, match="5 rows of prior are no distributions"):
        gibbs_policy(q, 1.0, half)
    with pytest.raises(InvalidArgumentError, match=r"prior has shape \(2,\); expected that of q"):
        soft_maximum(q, 1.0, torch.ones(2, dtype=F64) / 2)
