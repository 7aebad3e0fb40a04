"""PPO: what an iteration computes, that a seed fixes it, and that it learns."""

import dataclasses
import math

import pytest
import torch

from tutorlib.control import PPOConfig, evaluate, train_ppo
from tutorlib.control.ppo import Batch, make_batch, make_networks, ppo_loss, update
from tutorlib.control.rollout import Runner, make_envs
from tutorlib.errors import InvalidArgumentError

SMALL = PPOConfig(total_steps=512, n_envs=4, n_steps=32, epochs=2, minibatch_size=64, hidden=(16,))
RECORDED = {"steps", "mean_return", "policy_loss", "value_loss", "entropy", "approx_kl",
            "clip_fraction"}


def first_batch(config=SMALL, seed=0):
    envs = make_envs("CartPole-v1", config.n_envs)
    policy, critic = make_networks(envs, config, seed, "cpu")
    generator = torch.Generator().manual_seed(seed)
    rollout = Runner(envs, seed).collect(policy, config.n_steps, generator)
    return policy, critic, make_batch(rollout, policy, critic, config)


def test_history_says_what_happened():
    result = train_ppo("CartPole-v1", SMALL)
    assert [entry["steps"] for entry in result.history] == [128, 256, 384, 512]
    assert all(set(entry) == RECORDED for entry in result.history)
    assert result.history[0]["entropy"] == pytest.approx(math.log(2), abs=0.01)
    assert result.history[-1]["mean_return"] == pytest.approx(
        sum(result.episode_returns[-100:]) / len(result.episode_returns[-100:]))


def test_the_same_seed_gives_the_same_policy():
    first, again, other = (train_ppo("CartPole-v1", SMALL, seed) for seed in (1, 1, 2))
    for one, two in zip(first.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(one, two)
    assert first.history == again.history
    assert first.history != other.history


def test_training_leaves_the_global_random_numbers_alone():
    before = torch.get_rng_state()
    train_ppo("CartPole-v1", SMALL)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_callback_can_stop_training():
    seen = []
    result = train_ppo("CartPole-v1", SMALL, callback=lambda entry, policy: seen.append(entry)
                       or len(seen) == 2)
    assert len(result.history) == 2 and result.history == seen


def test_the_loss_by_hand():
    """One sample of each kind, worked with a policy and critic that return constants."""

    class Fixed:
        def logp_and_entropy(self, obs, actions):
            # ratios 1.5 and 0.5 against old probabilities of 1
            return torch.tensor([1.5, 0.5]).log(), torch.tensor([0.3, 0.5])

    batch = Batch(torch.zeros(2, 1), torch.zeros(2), torch.zeros(2), torch.tensor([3.0, 1.0]),
                  torch.tensor([1.0, 4.0]))
    config = PPOConfig(clip=0.2, value_coef=0.5, entropy_coef=0.1)
    loss, record = ppo_loss(Fixed(), lambda obs: torch.tensor([[2.0], [2.0]]), batch, config)
    # advantages normalised with the sample deviation: (3 - 2) / sqrt(2), (1 - 2) / sqrt(2)
    a = 0.5**0.5
    policy_loss = -(1.2 * a + 0.8 * -a) / 2  # both at their cap
    value_loss = 0.5 * ((2 - 1) ** 2 + (2 - 4) ** 2) / 2  # 1.25
    assert float(loss) == pytest.approx(policy_loss + 0.5 * value_loss - 0.1 * 0.4, abs=1e-6)
    kl = ((1.5 - 1 - torch.tensor(1.5).log()) + (0.5 - 1 - torch.tensor(0.5).log())) / 2
    assert record.tolist() == pytest.approx([policy_loss, 1.25, 0.4, float(kl), 1.0], abs=1e-6)


def test_a_gradient_step_raises_the_objective_and_lowers_the_critics_error():
    policy, critic, batch = first_batch()
    config = dataclasses.replace(SMALL, epochs=5)
    before = ppo_loss(policy, critic, batch, config)[1]
    optimiser = torch.optim.Adam([*policy.parameters(), *critic.parameters()], 1e-3)
    update(policy, critic, optimiser, batch, config, torch.Generator().manual_seed(0))
    after = ppo_loss(policy, critic, batch, config)[1]
    assert after[0] < before[0] and after[1] < before[1]
    assert before[3] == 0 and 0 < after[3] < 0.1  # nothing moved before the first step


def test_log_probabilities_are_those_of_the_policy_that_acted():
    policy, _, batch = first_batch()
    logps, _ = policy.logp_and_entropy(batch.obs, batch.actions)
    assert torch.equal(logps, batch.logps)
    assert not batch.advantages.requires_grad


@pytest.mark.parametrize("settings, match", [
    ({"epochs": 0}, "epochs is 0"),
    ({"discount": 1.5}, "discount is 1.5"),
    ({"total_steps": 100, "n_envs": 8, "n_steps": 32}, "less than one iteration"),
])
def test_bad_settings_are_refused(settings, match):
    with pytest.raises(InvalidArgumentError, match=match):
        PPOConfig(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_ppo_balances_the_pole(seed):
    """The task counts as solved at a mean return of 475 (Gymnasium's own threshold)."""
    torch.set_num_threads(1)
    result = train_ppo("CartPole-v1", PPOConfig(), seed)
    assert evaluate("CartPole-v1", result.policy, seed=1_000, greedy=False).mean() >= 475
    assert evaluate("CartPole-v1", result.policy, seed=2_000).mean() >= 475


@pytest.mark.slow
def test_ppo_learns_real_actions_too():
    torch.set_num_threads(1)
    config = PPOConfig(total_steps=100_000, n_envs=16, n_steps=128, epochs=10, minibatch_size=256,
                       learning_rate=2e-3, discount=0.9, gae_lambda=0.95)
    result = train_ppo("Pendulum-v1", config, seed=0)
    untrained = train_ppo("Pendulum-v1", dataclasses.replace(config, total_steps=2048), seed=0)
    before = evaluate("Pendulum-v1", untrained.policy, 50).mean()
    assert before < -900 and evaluate("Pendulum-v1", result.policy, 50).mean() > -400


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_ppo_runs_on_a_gpu():
    result = train_ppo("CartPole-v1", SMALL, device="cuda")
    assert next(result.policy.parameters()).is_cuda and len(result.history) == 4


def test_a_learned_reward_replaces_the_tasks_and_true_returns_are_still_told():
    """What the hook is shown, step by step, against the rollout it came from."""
    seen = []

    def reward_fn(obs, actions, next_obs, ended):
        seen.append((obs, actions, next_obs, ended))
        return torch.full(obs.shape[:1], -1.0)

    plain, hooked = train_ppo("CartPole-v1", SMALL), train_ppo("CartPole-v1", SMALL,
                                                               reward_fn=reward_fn)
    assert len(seen) == 4 and hooked.history != plain.history
    obs, actions, next_obs, ended = seen[0]
    batch = first_batch()[2]
    assert torch.equal(obs, batch.obs) and torch.equal(actions, batch.actions)
    over = (next_obs[:, 0].abs() > 2.4) | (next_obs[:, 2].abs() > 12 * 2 * math.pi / 360)
    assert torch.equal(ended, over)  # CartPole's own rule
    # the first iteration acts before anything is learned: the same episodes, the same returns
    assert hooked.history[0]["mean_return"] == plain.history[0]["mean_return"] > 0


def test_the_tasks_own_reward_as_a_learned_one_changes_nothing():
    copy = train_ppo("CartPole-v1", SMALL, reward_fn=lambda obs, *_: torch.ones(len(obs)))
    assert copy.history == train_ppo("CartPole-v1", SMALL).history


def test_no_gradient_runs_through_a_learned_reward():
    net = torch.nn.Linear(4, 1)
    train_ppo("CartPole-v1", SMALL, reward_fn=lambda obs, *_: net(obs).squeeze(-1))
    assert net.weight.grad is None


@pytest.mark.parametrize("reward_fn, match", [
    (lambda obs, *_: torch.ones(len(obs), 1), r"returned shape \(\d+, 1\)"),
    (lambda obs, *_: torch.full((len(obs),), float("nan")), "finite: False"),
])
def test_a_bad_learned_reward_is_refused(reward_fn, match):
    with pytest.raises(InvalidArgumentError, match=match):
        train_ppo("CartPole-v1", SMALL, reward_fn=reward_fn)


def test_scaling_rewards_scales_what_the_critic_learns():
    envs = make_envs("CartPole-v1", 4)
    policy, _ = make_networks(envs, SMALL, 0, "cpu")
    rollout = Runner(envs, 0).collect(policy, 32, torch.Generator().manual_seed(0))

    def nothing(obs):
        return torch.zeros(*obs.shape[:-1], 1)

    plain = make_batch(rollout, policy, nothing, SMALL)
    scaled = make_batch(rollout, policy, nothing, dataclasses.replace(SMALL, reward_scale=0.1))
    assert torch.allclose(scaled.returns, 0.1 * plain.returns)
