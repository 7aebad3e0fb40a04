"""Adversarial imitation: labels, rewards, bookkeeping, bad input, and that it imitates."""

import dataclasses
import itertools
import math

import pytest
import torch

from tutorlib.control import (
    ControlTask,
    IgnoresFlag,
    PPOConfig,
    Rollout,
    Transitions,
    demonstrations_from_episodes,
    evaluate,
    make_envs,
    make_policy,
    record_demonstrations,
)
from tutorlib.control.arm import PENDULUM, SwingsUp
from tutorlib.errors import InvalidArgumentError
from tutorlib.imitation import BCConfig, clone
from tutorlib.irl.adversarial import (
    AdversarialConfig,
    RewardScale,
    cartpole_ppo,
    learned_reward,
    make_reward_net,
    pendulum_config,
    train_adversarial,
    train_discriminator,
    warnings_of,
)
from tutorlib.irl.discriminators import demonstrator_logits
from tutorlib.irl.survival import BalancesByRule, PushesOneWay, TossesACoin

TASK = ControlTask("CartPole-v1", fixed_horizon=60, absorbing_steps=4)
TINY = PPOConfig(total_steps=256, n_envs=4, n_steps=32, epochs=2, minibatch_size=64, hidden=(16,))
CLONING = BCConfig(max_epochs=60, batch_size=256, validation_fraction=0.0, hidden=(64, 64))
METHODS = pytest.mark.parametrize("method", ["gail", "airl", "forward_kl", "gail_log_d"])


def tiny(method="gail", **settings):
    return AdversarialConfig(method=method, ppo=TINY, hidden=(16,), disc_batch_size=64, **settings)


@pytest.fixture(scope="module")
def coin_demos():
    return record_demonstrations(TASK, TossesACoin(), 4, seed=0, greedy=False)


@METHODS
def test_history_says_what_happened(method, coin_demos):
    result = train_adversarial(TASK, coin_demos, tiny(method))
    assert [entry["steps"] for entry in result.history] == [128, 256]
    wanted = {"steps", "mean_return", "mean_reward", "disc_loss", "demo_accuracy",
              "policy_accuracy", "saturated", "policy_loss", "value_loss", "entropy", "approx_kl",
              "clip_fraction"}
    for entry in result.history:
        assert set(entry) == wanted
        assert all(math.isfinite(entry[name]) for name in wanted - {"mean_return"})
        assert 0 <= entry["demo_accuracy"] <= 1 and 0 <= entry["policy_accuracy"] <= 1
    assert result.history[-1]["mean_return"] == pytest.approx(
        sum(result.episode_returns[-100:]) / len(result.episode_returns[-100:]))


def test_the_same_seed_gives_the_same_imitator_and_no_other_random_numbers_are_used(coin_demos):
    before = torch.get_rng_state()
    first, again, other = (train_adversarial(TASK, coin_demos, tiny("airl"), seed)
                           for seed in (1, 1, 2))
    assert first.history == again.history and first.history != other.history
    for name in ("policy", "reward_net"):
        for one, two in zip(getattr(first, name).parameters(), getattr(again, name).parameters(),
                            strict=True):
            assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_callback_can_stop_training(coin_demos):
    result = train_adversarial(TASK, coin_demos, tiny(), callback=lambda entry, policy: True)
    assert len(result.history) == 1


def game(method, **settings):
    envs, config = make_envs(TASK, 2), tiny(method, **settings)
    spaces = envs.single_observation_space, envs.single_action_space
    policy = make_policy(*spaces, (16,), torch.Generator().manual_seed(9))
    return make_reward_net(envs, config, seed=0), policy, config


def table(shift, n=200, seed=0):
    """Steps whose first observation says which side they are from."""
    g = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, n, 5, generator=g)
    obs[:, 0] += shift
    return Transitions(obs, torch.randint(2, (n,), generator=g), next_obs,
                       torch.zeros(n, dtype=torch.bool))


@pytest.mark.parametrize("method", ["gail", "airl"])
def test_the_discriminator_learns_that_label_1_is_the_demonstrator(method):
    net, policy, config = game(method, disc_steps=60, disc_learning_rate=1e-2)
    demo, ours = table(1.5, seed=1), table(-1.5, seed=2)
    before = [p.clone() for p in policy.parameters()]
    optimiser = torch.optim.Adam(net.parameters(), config.disc_learning_rate)
    judged = train_discriminator(net, optimiser, policy, demo, ours, config,
                                 torch.Generator().manual_seed(0))
    fresh_demo, fresh_ours = table(1.5, seed=3), table(-1.5, seed=4)
    assert (demonstrator_logits(net, policy, fresh_demo) > 0).float().mean() > 0.8
    assert (demonstrator_logits(net, policy, fresh_ours) < 0).float().mean() > 0.8
    assert judged["demo_accuracy"] > 0.8 and judged["policy_accuracy"] > 0.8
    assert judged["disc_loss"] < 0.5 < math.log(2)
    for old, new in zip(before, policy.parameters(), strict=True):
        assert torch.equal(old, new) and new.grad is None  # the policy is not the judge's to move


def test_where_nothing_tells_the_two_apart_the_discriminator_says_one_half():
    net, policy, config = game("gail", disc_steps=100, disc_learning_rate=1e-2)
    same = table(0.0)
    optimiser = torch.optim.Adam(net.parameters(), config.disc_learning_rate)
    judged = train_discriminator(net, optimiser, policy, same, same, config,
                                 torch.Generator().manual_seed(0))
    assert judged["disc_loss"] == pytest.approx(math.log(2), abs=0.02)


@pytest.mark.parametrize("method, formula", [
    ("gail", lambda d: -(1 - d).log()),
    ("gail_log_d", lambda d: d.log()),
    ("airl", lambda d: d.log() - (1 - d).log()),
    ("forward_kl", lambda d: d / (1 - d)),
])
def test_the_policy_is_paid_by_the_formula_of_its_method(method, formula):
    net, policy, config = game(method)
    steps = table(0.0)
    d = torch.sigmoid(demonstrator_logits(net, policy, steps).double())
    paid = learned_reward(net, policy, config)(steps.obs, steps.actions, steps.next_obs,
                                               steps.ended)
    assert torch.allclose(paid.double(), formula(d), atol=1e-4) and not paid.requires_grad


def rollout(rewards, valid):
    rewards = torch.tensor(rewards)
    nothing = torch.zeros(rewards.shape, dtype=torch.bool)
    actions = torch.zeros(rewards.shape, dtype=torch.long)
    return Rollout(torch.zeros(len(rewards) + 1, rewards.shape[1], 1), actions, rewards, nothing,
                   nothing, torch.tensor(valid), actions)


def test_rewards_reach_ppo_in_units_of_their_running_root_mean_square():
    """By hand: mean square (9 + 16 + 0) / 3 over valid steps, then 0.9 of it and 0.1 of 1."""
    first = rollout([[3.0, -4.0], [0.0, 99.0]], [[True, True], [True, False]])
    second = rollout([[-1.0, 1.0]], [[True, True]])
    scale = RewardScale()
    assert torch.allclose(scale(first).rewards, first.rewards / (25 / 3) ** 0.5)
    assert torch.allclose(scale(second).rewards, second.rewards / (0.9 * 25 / 3 + 0.1) ** 0.5)
    assert torch.equal(scale(first).valid, first.valid)


def test_the_scale_of_rewards_leaves_signs_and_forgets_their_unit():
    table = [[-0.5, -0.1], [0.0, -2.0]]
    paid = rollout(table, [[True, True], [True, True]])
    scaled = RewardScale()(paid).rewards
    assert torch.equal(scaled.sign(), paid.rewards.sign())  # no bonus for being alive comes in
    large = rollout([[1e3 * r for r in row] for row in table], [[True, True], [True, True]])
    assert torch.allclose(RewardScale()(large).rewards, scaled)
    nothing = rollout([[0.0, 0.0]], [[True, True]])
    assert RewardScale()(nothing).rewards.tolist() == [[0.0, 0.0]]


@METHODS
def test_a_saturated_discriminator_pays_finite_rewards_and_is_reported(method):
    """Demonstrations from nowhere near the task: told apart at once, without a penalty."""
    far = demonstrations_from_episodes([([[50.0] * 5] * 41, [0] * 40, [1.0] * 40, False)])
    config = dataclasses.replace(tiny(method), gradient_penalty=0.0, disc_learning_rate=0.3,
                                 disc_steps=20, logit_limit=3.0)
    result = train_adversarial(TASK, far, config)
    assert all(entry["saturated"] > 0.9 for entry in result.history)
    assert all(math.isfinite(entry["mean_reward"]) for entry in result.history)
    assert len(result.warnings) == 1 and "raise gradient_penalty" in result.warnings[0]
    assert all(torch.isfinite(p).all() for p in result.policy.parameters())


def test_warnings_come_only_when_most_iterations_are_saturated():
    history = [{"steps": 1, "saturated": share} for share in (0.6, 0.6, 0.1, 0.1)]
    assert warnings_of(history) == [] and warnings_of([]) == []
    assert "in 3 of 4 iterations" in warnings_of([*history[:3], history[0]])[0]


@pytest.mark.parametrize("settings, match", [
    ({"method": "gial"}, "did you mean 'gail'"),
    ({"disc_steps": 0}, "disc_steps is 0"),
    ({"disc_learning_rate": 0.0}, "disc_learning_rate is 0.0"),
    ({"logit_limit": -1.0}, "logit_limit is -1.0"),
    ({"gradient_penalty": float("nan")}, "gradient_penalty is nan"),
])
def test_bad_settings_are_refused(settings, match):
    with pytest.raises(InvalidArgumentError, match=match):
        AdversarialConfig(**settings)


def test_demonstrations_of_another_task_are_refused():
    plain = record_demonstrations("CartPole-v1", PushesOneWay(), 2, seed=0)
    with pytest.raises(InvalidArgumentError, match="a fixed horizon adds a flag"):
        train_adversarial(TASK, plain, tiny())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gail", "airl", "forward_kl"])
def test_an_expert_teaches_what_a_beginner_cannot(method):
    """Returns of 3 imitators of an expert against 3 of coin tossers, by an exact permutation test.

    Were the demonstrations without effect, all 20 ways to divide the 6 returns would be equally
    likely; the true division must be the most extreme of them (p = 0.05).
    """
    torch.set_num_threads(1)
    task = ControlTask("CartPole-v1", fixed_horizon=100, absorbing_steps=4)
    config = AdversarialConfig(method, cartpole_ppo(method, 16_384))
    returns = []
    for demonstrator in (IgnoresFlag(BalancesByRule()), TossesACoin()):
        demos = record_demonstrations(task, demonstrator, 10, seed=5, greedy=False)
        for seed in range(3):
            policy = train_adversarial(task, demos, config, seed).policy
            returns.append(float(evaluate(task, policy, 20, seed=99, greedy=False).mean()))
    print(method, returns)
    divisions = [sum(pick) for pick in itertools.combinations(returns, 3)]
    assert sum(each >= sum(returns[:3]) for each in divisions) == 1, returns


def test_imitation_may_begin_with_a_policy_which_stays_as_it_is(coin_demos):
    envs = make_envs(TASK, 1)
    begin = make_policy(envs.single_observation_space, envs.single_action_space, (16,),
                        torch.Generator().manual_seed(9))
    before, seen = [p.clone() for p in begin.parameters()], []
    still = dataclasses.replace(TINY, learning_rate=1e-12)

    def keep(entry, policy):
        seen.append([p.clone() for p in policy.parameters()])

    train_adversarial(TASK, coin_demos, dataclasses.replace(tiny(), ppo=still), start=begin,
                      callback=keep)
    for kept, now, found in zip(before, begin.parameters(), seen[-1], strict=True):
        assert torch.equal(kept, now) and torch.allclose(kept, found, atol=1e-6)


@pytest.mark.slow
def test_airl_betters_a_clone_on_the_pendulum():
    """By the likeliest actions; benchmarks/irl/imitators.json holds all methods and seeds."""
    torch.set_num_threads(1)
    demos = record_demonstrations(PENDULUM, SwingsUp(), 10, seed=1, greedy=False)
    begin = clone(PENDULUM, demos, CLONING, seed=0).policy
    trained = train_adversarial(PENDULUM, demos, pendulum_config("airl"), 0, start=begin).policy
    earned = [float(evaluate(PENDULUM, policy, 50, seed=9).mean()) for policy in (begin, trained)]
    print(float(demos.returns().mean()), earned)
    assert earned[1] > earned[0] and earned[1] > demos.returns().mean() - 100, earned
