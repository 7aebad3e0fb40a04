"""The exact policy gradient against finite differences, the estimators against it."""

import pytest
import torch

from tutorlib.control import (
    ESTIMATORS,
    PolicyGradientConfig,
    estimate_gradients,
    exact_policy_gradient,
    exact_return,
    softmax_policy,
    train_tabular,
)
from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import (
    GridWorld,
    TabularMDP,
    policy_evaluation,
    sample_trajectories,
    value_iteration,
)

HORIZON = 6


def random_mdp(seed, n_states=4, n_actions=3, discount=0.9):
    """Return a process with random transitions and a terminal state."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    dense = torch.rand(n_states, n_actions, n_states, **options)
    dense = dense / dense.sum(-1, keepdim=True)
    reward = torch.randn(n_states, n_actions, **options)
    dense[-1], reward[-1] = 0.0, 0.0
    dense[-1, :, -1] = 1.0
    terminal = torch.arange(n_states) == n_states - 1
    mdp = TabularMDP.from_dense(dense, reward, discount=discount, terminal=terminal)
    return mdp, torch.randn(n_states, n_actions, **options)


@pytest.mark.parametrize("horizon", [None, 1, HORIZON])
@pytest.mark.parametrize("seed", range(3))
def test_the_exact_gradient_is_that_of_the_exact_return(seed, horizon):
    mdp, logits = random_mdp(seed)
    step, differences = 1e-5, torch.zeros_like(logits)
    for index in range(logits.numel()):
        moved = torch.zeros(logits.numel(), dtype=torch.float64)
        moved[index] = step
        up = exact_return(mdp, logits + moved.view_as(logits), horizon)
        down = exact_return(mdp, logits - moved.view_as(logits), horizon)
        differences.view(-1)[index] = (up - down) / (2 * step)
    assert torch.allclose(exact_policy_gradient(mdp, logits, horizon), differences, atol=1e-8)


def test_the_exact_return_is_what_trajectories_earn():
    mdp, logits = random_mdp(0)
    batch = sample_trajectories(mdp, softmax_policy(logits), 40_000, HORIZON,
                                torch.Generator().manual_seed(0))
    earned = batch.rewards @ (mdp.discount ** torch.arange(HORIZON, dtype=torch.float64))
    error = earned.std() / 200
    assert abs(earned.mean() - exact_return(mdp, logits, HORIZON)) < 4 * error


def z_scores(estimator, values=None, n=60_000):
    """Return how many standard errors the mean estimate is from the exact gradient, per entry."""
    mdp, logits = random_mdp(3)
    batch = sample_trajectories(mdp, softmax_policy(logits), n, HORIZON,
                                torch.Generator().manual_seed(7))
    estimates = estimate_gradients(estimator, mdp, logits, batch, values)[:, :-1]
    exact = exact_policy_gradient(mdp, logits, HORIZON)[:-1]
    return (estimates.mean(0) - exact) / (estimates.std(0) / n**0.5)


@pytest.mark.parametrize("estimator", ["whole_return", "reward_to_go", "baseline"])
def test_monte_carlo_estimators_are_unbiased_whatever_the_baseline(estimator):
    wrong_values = torch.tensor([3.0, -2.0, 1.0, 5.0], dtype=torch.float64)
    assert z_scores(estimator, wrong_values).abs().max() < 4


def test_the_td_error_is_biased_by_a_wrong_critic():
    wrong_values = torch.tensor([3.0, -2.0, 1.0, 5.0], dtype=torch.float64)
    assert z_scores("td_error", wrong_values).abs().max() > 20


def test_the_td_error_with_true_values_estimates_the_endless_gradient():
    """Episodes that always end within the horizon, so that the two gradients are one."""
    grid = GridWorld("S.G\n...\n..X", slip=0.2, step_reward=-0.1, discount=0.5)
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = exact_policy_gradient(grid.mdp, logits)
    values = policy_evaluation(grid.mdp, softmax_policy(logits))
    batch = sample_trajectories(grid.mdp, softmax_policy(logits), 30_000, 40,
                                torch.Generator().manual_seed(1))
    estimates = estimate_gradients("td_error", grid.mdp, logits, batch, values)
    seen = estimates.std(0) > 0
    z = (estimates.mean(0) - exact)[seen] / (estimates.std(0)[seen] / 30_000**0.5)
    assert z.abs().max() < 4.5


def test_variance_falls_from_whole_returns_to_a_good_baseline():
    mdp, logits = random_mdp(3)
    policy = softmax_policy(logits)
    batch = sample_trajectories(mdp, policy, 20_000, HORIZON, torch.Generator().manual_seed(2))
    values = policy_evaluation(mdp, policy)
    noise = {name: float(estimate_gradients(name, mdp, logits, batch, values).var(0).sum())
             for name in ESTIMATORS}
    assert noise["whole_return"] > noise["reward_to_go"] > noise["baseline"] > noise["td_error"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_training_finds_a_nearly_optimal_policy(estimator):
    grid = GridWorld("S..\n.#.\n..G", step_reward=-0.05, discount=0.95)
    best = float(grid.mdp.initial_state_dist @ value_iteration(grid.mdp).values)
    config = PolicyGradientConfig(iterations=150, batch=32, horizon=20)
    result = train_tabular(grid.mdp, estimator, config, seed=0)
    assert exact_return(grid.mdp, result.logits) > best - 0.1 * abs(best)
    assert result.returns[-1] > result.returns[0]


def test_the_critic_learns_the_values_of_the_policy():
    mdp, _ = random_mdp(1, discount=0.5)
    still = PolicyGradientConfig(iterations=60, batch=500, horizon=12, learning_rate=1e-9)
    exact = policy_evaluation(mdp, torch.full_like(mdp.reward, 1 / 3))
    for estimator in ("baseline", "td_error"):
        values = train_tabular(mdp, estimator, still, seed=0).values
        # "baseline" counts the few rewards left at the end of a trajectory too: a looser bound
        assert torch.allclose(values, exact, atol=0.1), estimator


def test_the_same_seed_gives_the_same_policy():
    mdp, _ = random_mdp(0)
    config = PolicyGradientConfig(iterations=5)
    first, again, other = (train_tabular(mdp, "baseline", config, seed) for seed in (1, 1, 2))
    assert torch.equal(first.logits, again.logits)
    assert not torch.equal(first.logits, other.logits)


def test_an_unknown_estimator_and_missing_values_are_refused():
    mdp, logits = random_mdp(0)
    batch = sample_trajectories(mdp, softmax_policy(logits), 2, 3)
    with pytest.raises(InvalidArgumentError, match="expected one of"):
        estimate_gradients("reinforce", mdp, logits, batch)
    with pytest.raises(InvalidArgumentError, match="needs values"):
        estimate_gradients("baseline", mdp, logits, batch)
