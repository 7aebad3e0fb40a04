"""Rollouts: endings told apart, resetting steps marked, returns counted."""

import gymnasium
import numpy as np
import pytest
import torch

from tutorlib.control import GaussianPolicy, Runner, evaluate, gae, make_envs, make_policy
from tutorlib.control.ppo import PPOConfig, make_batch
from tutorlib.errors import InvalidArgumentError


class Corridor(gymnasium.Env):
    """The observation counts the steps; each pays 1; the fourth terminates if ``ends``."""

    observation_space = gymnasium.spaces.Box(0, np.inf, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, ends=True):
        self.ends = ends

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = 0.0
        return np.array([self.position], dtype=np.float32), {}

    def step(self, action):
        self.position += 1
        over = self.ends and self.position == 4
        return np.array([self.position], dtype=np.float32), 1.0, over, False, {}


gymnasium.register("tutorlib-tests/Corridor-v0", Corridor)
gymnasium.register("tutorlib-tests/Endless-v0", lambda: Corridor(ends=False), max_episode_steps=3)


class Coin(torch.nn.Module):
    """A policy that looks at nothing."""

    def sample(self, obs, generator):
        return torch.randint(2, obs.shape[:1], generator=generator)

    def logp_and_entropy(self, obs, actions):
        return torch.zeros(actions.shape), torch.zeros(actions.shape)


def collect(env_id, n_steps, n_envs=2):
    runner = Runner(make_envs(env_id, n_envs), seed=0)
    return runner, runner.collect(Coin(), n_steps, torch.Generator().manual_seed(0))


def test_termination_is_seen_and_the_resetting_step_is_not_experience():
    runner, rollout = collect("tutorlib-tests/Corridor-v0", 7)
    assert rollout.obs[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert rollout.rewards[:, 0].tolist() == [1, 1, 1, 1, 0, 1, 1]
    assert rollout.terminated[:, 0].tolist() == [False] * 3 + [True] + [False] * 3
    assert rollout.valid[:, 0].tolist() == [True] * 4 + [False] + [True] * 2
    assert not rollout.truncated.any()
    assert runner.finished == [4.0, 4.0]


def test_truncation_is_told_apart_from_termination():
    _, rollout = collect("tutorlib-tests/Endless-v0", 4)
    assert rollout.obs[:, 0, 0].tolist() == [0, 1, 2, 3, 0]
    assert rollout.truncated[:, 0].tolist() == [False, False, True, False]
    assert not rollout.terminated.any()
    discounts, lambdas = rollout.discount_t(0.5), rollout.lambda_t(0.8)
    assert discounts[:, 0].tolist() == [0.5] * 4
    assert torch.allclose(lambdas[:, 0], torch.tensor([0.8, 0.8, 0.0, 0.8]))


def test_a_rollout_goes_on_where_the_last_one_stopped():
    runner = Runner(make_envs("tutorlib-tests/Corridor-v0", 1), seed=0)
    generator = torch.Generator().manual_seed(0)
    parts = [runner.collect(Coin(), n, generator) for n in (4, 1, 2)]
    assert [part.obs[0].item() for part in parts] == [0, 4, 0]
    assert [part.valid[:, 0].tolist() for part in parts] == [[True] * 4, [False], [True] * 2]


@pytest.mark.parametrize("env_id, worth", [
    # worth of what is left with discount 0.5: 1 + 0.5 + ... for 4 - position steps, or for ever
    ("tutorlib-tests/Corridor-v0", lambda position: 2 * (1 - 0.5 ** (4 - position))),
    ("tutorlib-tests/Endless-v0", lambda position: torch.full_like(position, 2.0)),
])
@pytest.mark.parametrize("gae_lambda", [0.0, 0.9, 1.0])
def test_a_true_critic_is_never_surprised_at_any_kind_of_ending(env_id, worth, gae_lambda):
    """Were a time limit taken for an end, or an end for a time limit, advantages would not be 0."""
    _, rollout = collect(env_id, 12, n_envs=1)
    config = PPOConfig(discount=0.5, gae_lambda=gae_lambda)
    batch = make_batch(rollout, Coin(), worth, config)
    assert len(batch.advantages) == int(rollout.valid.sum()) < 12
    assert torch.allclose(batch.advantages, torch.zeros_like(batch.advantages), atol=1e-6)
    assert torch.allclose(batch.returns, worth(batch.obs).squeeze(-1), atol=1e-6)
    taken_for_an_end = gae(rollout.rewards, worth(rollout.obs).squeeze(-1),
                           rollout.discount_t(0.5) * (~rollout.truncated), 0.0)
    if rollout.truncated.any():
        assert taken_for_an_end[rollout.truncated].abs().min() > 0.9


def test_a_seed_fixes_everything():
    def run(seed):
        policy = make_policy(*spaces("CartPole-v1"), (8,), torch.Generator().manual_seed(seed))
        runner = Runner(make_envs("CartPole-v1", 2), seed)
        return runner.collect(policy, 40, torch.Generator().manual_seed(seed))

    before = torch.get_rng_state()
    first, again, other = run(1), run(1), run(2)
    assert torch.equal(first.obs, again.obs) and torch.equal(first.actions, again.actions)
    assert not torch.equal(first.obs, other.obs)
    assert torch.equal(torch.get_rng_state(), before)  # the global random numbers are untouched


def spaces(env_id):
    env = gymnasium.make(env_id)
    return env.observation_space, env.action_space


def test_the_vectorised_cartpole_moves_as_the_single_one_does():
    """Runner relies on Gymnasium's own vectorised CartPole: hold it to the single environment."""
    many = make_envs("CartPole-v1", 1)
    assert type(many.unwrapped).__name__ == "CartPoleVectorEnv"
    one = gymnasium.make("CartPole-v1")
    obs, _ = many.reset(seed=0)
    one.reset(seed=0)
    one.unwrapped.state = many.unwrapped.state[:, 0].copy()
    for t in range(200):
        action = t // 2 % 2
        obs, reward, terminated, _, _ = many.step(np.array([action]))
        expected, paid, ended, _, _ = one.step(action)
        assert np.allclose(obs[0], expected, atol=1e-6)
        assert reward[0] == paid and terminated[0] == ended
        if ended:
            break
    assert ended


def test_evaluation_counts_the_first_episode_of_each_environment():
    policy = Coin()
    policy.mode = lambda obs: torch.zeros(len(obs), dtype=torch.long)
    assert evaluate("tutorlib-tests/Corridor-v0", policy, 3).tolist() == [4, 4, 4]
    assert evaluate("tutorlib-tests/Endless-v0", policy, 3, greedy=False).tolist() == [3, 3, 3]
    one_sided = evaluate("CartPole-v1", policy, 20, seed=3)
    assert 8 <= one_sided.min() and one_sided.max() <= 12  # always pushing left: falls at once


def test_a_gaussian_policy_acts_within_the_bounds_and_knows_its_density():
    space, actions = spaces("Pendulum-v1")
    policy = make_policy(space, actions, (8,), torch.Generator().manual_seed(0))
    assert isinstance(policy, GaussianPolicy)
    with torch.no_grad():
        policy.log_std += 2.0  # wide: most actions are outside [-2, 2]
    rollout = Runner(make_envs("Pendulum-v1", 2), 0).collect(policy, 10, torch.Generator())
    assert rollout.actions.abs().max() > 2 and torch.isfinite(rollout.rewards).all()
    logps, entropy = policy.logp_and_entropy(rollout.obs[:-1], rollout.actions)
    reference = torch.distributions.Normal(policy.net(rollout.obs[:-1]), policy.log_std.exp())
    assert torch.allclose(logps, reference.log_prob(rollout.actions).sum(-1), atol=1e-5)
    assert torch.allclose(entropy, reference.entropy().sum(-1), atol=1e-5)


def test_a_categorical_policy_knows_its_probabilities():
    policy = make_policy(*spaces("CartPole-v1"), (8,), torch.Generator().manual_seed(0))
    obs = torch.randn(6, 4)
    actions = policy.sample(obs, torch.Generator().manual_seed(0))
    logps, entropy = policy.logp_and_entropy(obs, actions)
    reference = torch.distributions.Categorical(logits=policy.net(obs))
    assert torch.allclose(logps, reference.log_prob(actions), atol=1e-6)
    assert torch.allclose(entropy, reference.entropy(), atol=1e-6)
    assert torch.equal(policy.mode(obs), reference.probs.argmax(-1))
    assert (reference.probs - 0.5).abs().max() < 0.05  # starts close to uniform


@pytest.mark.parametrize("run, match", [
    (lambda: make_envs("CartPole-v99", 1), "there is no environment"),
    (lambda: Runner(gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync", vector_kwargs={
        "autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}), 0), "NEXT_STEP"),
    (lambda: make_policy(gymnasium.spaces.Discrete(3), None, (8,), torch.Generator()),
     "FlattenObservation"),
    (lambda: make_policy(gymnasium.spaces.Box(0, 1, (3,)), gymnasium.spaces.MultiDiscrete([2, 2]),
                         (8,), torch.Generator()), "expected Discrete"),
])
def test_bad_input_is_refused(run, match):
    with pytest.raises(InvalidArgumentError, match=match):
        run()
