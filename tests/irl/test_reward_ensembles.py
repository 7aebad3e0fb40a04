"""Reward networks fitted to comparisons, the choice of questions, and the whole loop."""

import math

import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from tutorlib.control import Runner, evaluate, make_envs, make_policy
from tutorlib.control.arm import ARM, HORIZON, MAX_TORQUE, ArmVector
from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import (
    Labeller,
    PreferenceLoopConfig,
    RewardEnsemble,
    RewardFitConfig,
    choose_queries,
    disagreement,
    fit_ensemble,
    learn_from_preferences,
    step_features,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_the_arm_moves_as_gymnasium_s_pendulum_with_a_stronger_motor():
    arm, peer = ArmVector(1), PendulumEnv()
    peer.max_torque = MAX_TORQUE
    arm.reset(seed=3)
    peer.reset(seed=0)
    peer.state = arm.state[:, 0].copy()
    rng = np.random.default_rng(0)
    for _ in range(HORIZON - 1):
        action = rng.uniform(-1.5, 1.5, (1, 1))  # beyond the bounds too
        obs, reward, terminated, truncated, _ = arm.step(action)
        peer_obs, peer_reward, *_ = peer.step(MAX_TORQUE * action[0])
        np.testing.assert_allclose(obs[0], peer_obs, atol=1e-5)
        assert reward[0] == pytest.approx(peer_reward, abs=1e-9)
        assert not terminated[0] and not truncated[0]
    assert arm.step(action)[3][0]  # the sixtieth step ends the episode
    obs, reward, _, truncated, _ = arm.step(action)
    assert reward[0] == 0 and not truncated[0] and abs(arm.state[1, 0]) <= 1  # a fresh start


def test_the_arm_serves_runner_and_evaluation(generator):
    with pytest.raises(InvalidArgumentError, match="at least 1 of each"):
        ArmVector(0)
    envs = make_envs(ARM, 4)
    policy = make_policy(envs.single_observation_space, envs.single_action_space, (8,), generator)
    rollout = Runner(envs, 0).collect(policy, HORIZON + 1, generator)
    assert rollout.valid[:-1].all() and not rollout.valid[-1].any()
    assert rollout.truncated[-2].all()
    assert evaluate(ARM, policy, 5, 1).shape == (5,)


def test_members_side_by_side_are_the_networks_one_by_one():
    both, x = RewardEnsemble(3, 2, (8, 8), seed=5), torch.randn(4, 6, 3)
    found = both(x)
    for member in range(2):
        h = x
        for depth, (w, b) in enumerate(zip(both.weights, both.biases, strict=True)):
            h = h @ w[member] + b[member]
            h = torch.tanh(h) if depth < 2 else h
        torch.testing.assert_close(found[member], h.squeeze(-1))
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found, RewardEnsemble(3, 2, (8, 8), seed=5)(x))


def linear_task(generator, pairs=400, noise=1.0):
    """Comparisons of segments whose true reward is linear in three features."""
    truth = torch.tensor([1.0, -0.5, 0.0])
    left, right = torch.randn(2, pairs, 5, 3, generator=generator)
    labels = Labeller(noise).label(left @ truth, right @ truth, generator)
    return truth, left, right, labels


def test_a_linear_reward_is_torch_s_logistic_regression(generator):
    """No hidden layer, no penalty, every pair in every step: the maximum of the likelihood."""
    _, left, right, labels = linear_task(generator, 100, 2.0)
    config = RewardFitConfig(400, 100, 0.05, weight_decay=0.0, error_rate=0.0)
    model = RewardEnsemble(3, 1, ())
    fit_ensemble(model, left, right, labels, config)
    x = (left - right).sum(1)
    w = torch.zeros(3, requires_grad=True)
    search = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        search.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ w, labels)
        loss.backward()
        return loss

    search.step(closure)
    # batches are drawn with repetition: near the optimum, not on it
    torch.testing.assert_close(model.weights[0][0, :, 0].detach(), w.detach(), atol=0.1, rtol=0.1)


def test_networks_learn_the_preferences_and_hand_out_standard_rewards(generator):
    truth, left, right, labels = linear_task(generator)
    model = RewardEnsemble(3, 3, (16,), seed=1)
    losses = fit_ensemble(model, left, right, labels, RewardFitConfig(steps=150), seed=1)
    assert sum(losses[-10:]) / 10 < 0.6 * math.log(2) < losses[0]
    x = torch.randn(500, 3, generator=generator)
    agreement = torch.corrcoef(torch.stack([model.reward(x), x @ truth]))[0, 1]
    assert float(agreement) > 0.9
    seen = model.scaled(torch.stack([left, right])).flatten(1)
    assert seen.mean(1).tolist() == pytest.approx([0] * 3, abs=1e-4)
    assert seen.std(1).tolist() == pytest.approx([1] * 3, abs=1e-3)


@pytest.mark.parametrize("left, right, labels, message", [
    (torch.zeros(0, 2, 3), torch.zeros(0, 2, 3), torch.zeros(0), "at least one pair"),
    (torch.zeros(1, 2, 3), torch.zeros(1, 4, 3), torch.ones(1), "of one length"),
    (torch.full((1, 2, 3), math.nan), torch.zeros(1, 2, 3), torch.ones(1), "not finite"),
    (torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.full((1,), 0.5), "all 1 labels are ties"),
    (torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.full((1,), 2.0), "between 0 and 1"),
])
def test_what_cannot_be_fitted_is_refused(left, right, labels, message):
    with pytest.raises(InvalidArgumentError, match=message):
        fit_ensemble(RewardEnsemble(3), left, right, labels)


def test_settings_that_learn_nothing_are_refused():
    for wrong in (lambda: RewardFitConfig(steps=0), lambda: RewardEnsemble(3, 0),
                  lambda: PreferenceLoopConfig(queries=0),
                  lambda: step_features(torch.zeros(2, 3), torch.zeros(2), torch.zeros(2, 3), "x"),
                  lambda: step_features(torch.zeros(2, 3), torch.zeros(2), torch.zeros(2, 3),
                                        "action")):
        with pytest.raises(InvalidArgumentError):
            wrong()


def test_features_are_what_paid_says():
    obs, following = torch.zeros(2, 3), torch.ones(2, 3)
    actions = torch.tensor([0, 2])
    assert step_features(obs, actions, following, "arrival").tolist() == following.tolist()
    assert step_features(obs, actions, following, "action", 3)[:, 3:].tolist() == [[1, 0, 0],
                                                                                  [0, 0, 1]]


def test_the_most_disputed_questions_are_chosen(generator):
    returns = torch.randn(4, 30, 2, generator=generator)
    p = 1 / (1 + np.exp(returns[..., 1].numpy() - returns[..., 0].numpy()))
    np.testing.assert_allclose(disagreement(returns), p.var(0), rtol=1e-5)
    chosen = choose_queries(returns, 5, "disagreement", generator)
    assert chosen.tolist() == np.argsort(-p.var(0))[:5].tolist()
    some = choose_queries(returns, 30, "random", generator)
    assert sorted(some.tolist()) == list(range(30)) and some.tolist() != list(range(30))
    for n, rule in ((0, "random"), (31, "random"), (3, "best")):
        with pytest.raises(InvalidArgumentError, match="of the candidates"):
            choose_queries(returns, n, rule, generator)


def test_the_loop_is_reproducible_and_counts_its_questions():
    quick = PreferenceLoopConfig(rounds=2, queries=6, iterations=1, fit=RewardFitConfig(5))
    first, second = (learn_from_preferences(ARM, Labeller(), quick, seed=4) for _ in range(2))
    assert first.history == second.history
    assert [h["queries"] for h in first.history] == [6, 12]
    assert [h["steps"] for h in first.history] == [2 * 32 * 61, 3 * 32 * 61]


def test_the_learner_sees_answers_only():
    """A judge of the opposite taste leads elsewhere; a louder truth for a sure judge does not."""
    quick = PreferenceLoopConfig(rounds=1, queries=10, iterations=1, rule="random",
                                 fit=RewardFitConfig(5))

    class Contrary(Labeller):
        def label(self, left, right, generator):
            return 1 - super().label(left, right, generator)

    class Loud(Labeller):
        def label(self, left, right, generator):
            return super().label(100 * left, 100 * right, generator)

    sure = Labeller(temperature=0)
    plain, loud, contrary = (learn_from_preferences(ARM, judge, quick, seed=1) for judge in (
        sure, Loud(temperature=0), Contrary(temperature=0)))
    assert plain.history == loud.history
    x = torch.randn(50, 3)
    assert torch.equal(plain.ensemble(x), loud.ensemble(x))
    assert not torch.equal(plain.ensemble(x), contrary.ensemble(x))


@pytest.mark.slow
def test_a_hundred_comparisons_lift_the_arm():
    result = learn_from_preferences(ARM, Labeller(1.0, 0.1), PreferenceLoopConfig(), seed=0)
    first, last = result.history[0]["true_return"], result.history[-1]["true_return"]
    assert last > -110 and last > first + 150
