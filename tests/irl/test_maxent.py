"""Maximum entropy over trajectories: recursions against listing, and against the causal model."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.irl.worlds import random_mdp, random_policy, random_reward, token_tree
from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import (
    FitSettings,
    LinearReward,
    enumerate_paths,
    fit_reward,
    forward_pass,
    maxent_loss,
    maxent_values,
    one_step_gamble,
    path_probabilities,
    path_returns,
    path_visits,
    solve_causal,
    solve_maxent,
    trajectory_distribution,
)

close = torch.testing.assert_close
CASES = [(0, {}), (1, {"terminals": 1}), (2, {"branches": 1}), (3, {"branches": 3, "horizon": 4})]


def undiscounted(seed, **changes):
    """Return a random process with discount 1, as the model of 2008 wants it."""
    return random_mdp(seed, **({"discount": 1.0} | changes))


def test_the_gamble_is_where_the_two_models_part():
    """0.9096 = cosh 3 / (cosh 3 + 1) by trajectories; 0.5 for an agent that cannot choose luck."""
    mdp, outcome = one_step_gamble(3.0)
    paths, chances = trajectory_distribution(mdp, outcome[mdp.successors])
    gambles = chances[paths.actions[:, 0] == 0]
    assert round(float(gambles.sum()), 4) == 0.9096
    assert float(gambles.sum()) == pytest.approx(math.cosh(3) / (math.cosh(3) + 1), abs=1e-12)
    solution = solve_maxent(mdp, outcome[mdp.successors])
    assert float(solution.policy[0, 0, 0]) == pytest.approx(0.9096, abs=5e-5)
    # the trajectory model also believes that it wins: odds e^6 in place of one half
    won = float(gambles.max() / gambles.sum())
    assert won == pytest.approx(1 / (1 + math.exp(-6)), abs=1e-12)
    assert float(solution.dynamics[0, 0, 0].max()) == pytest.approx(won, abs=1e-12)
    assert float(solve_causal(mdp, mdp.reward).policy[0, 0, 0]) == 0.5


@pytest.mark.parametrize("seed, changes", CASES)
@pytest.mark.parametrize("kind", ["action", "branch"])
def test_recursions_agree_with_listing_every_trajectory(seed, changes, kind):
    mdp, temperature = undiscounted(seed, **changes), 0.8
    reward = random_reward(mdp, seed)
    if kind == "branch":
        reward = reward[:, 0][mdp.successors]  # paid on arrival
    paths, chances = trajectory_distribution(mdp, reward, temperature)
    close(chances.sum(), torch.tensor(1.0, dtype=torch.float64))
    solution = solve_maxent(mdp, reward, temperature)
    close(solution.visits, path_visits(mdp, paths, chances))
    # the chain of choices and bent chances has the very probabilities of eq. 4
    time = torch.arange(mdp.horizon)
    s, a, b = paths.states[:, :-1], paths.actions, paths.branches
    chosen = solution.policy[time, s, a] * solution.dynamics[time, s, a, b]
    close(paths.start * torch.where(paths.mask, chosen, 1.0).prod(1), chances)


@pytest.mark.parametrize("seed, changes", CASES)
def test_partition_function_by_listing(seed, changes):
    mdp = undiscounted(seed, **changes)
    reward = random_reward(mdp, seed)
    values = maxent_values(mdp, reward, 0.8)
    paths = enumerate_paths(mdp)
    weights = paths.dynamics * (path_returns(mdp, paths, reward) / 0.8).exp()
    for state in (mdp.initial_state_dist > 0).nonzero()[:, 0].tolist():
        wanted = 0.8 * weights[paths.states[:, 0] == state].sum().log()
        close(values[0, state], wanted)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_with_deterministic_dynamics_both_models_are_one(seed):
    mdp = undiscounted(seed, branches=1, terminals=seed % 2, horizon=4)
    reward = random_reward(mdp, seed)
    paths, chances = trajectory_distribution(mdp, reward, 0.7)
    causal = solve_causal(mdp, reward, 0.7)
    close(path_probabilities(paths, causal.policy), chances)
    solution = solve_maxent(mdp, reward, 0.7)
    close(solution.values, causal.values)
    close(solution.visits.sum(-1), causal.occupancy)


def test_with_stochastic_dynamics_they_differ_and_2008_bends_the_chances():
    mdp = undiscounted(3, branches=3)
    reward = random_reward(mdp, 3)
    solution, causal = solve_maxent(mdp, reward), solve_causal(mdp, reward)
    assert float((solution.policy - causal.policy).abs().max()) > 0.01
    assert float((solution.dynamics[0] - mdp.probabilities).abs().max()) > 0.01
    # log-mean-exp is at least the mean: it expects more than can be had
    assert bool((solution.values[0] > causal.values[0]).all())


@pytest.mark.parametrize("kind", ["action", "branch"])
@pytest.mark.parametrize("seed, changes", CASES)
def test_gradient_of_the_loss_against_finite_differences(seed, changes, kind):
    mdp = undiscounted(seed, **changes)
    policy = random_policy(mdp, seed, mdp.horizon)
    paths = enumerate_paths(mdp)
    counts = path_visits(mdp, paths, path_probabilities(paths, policy))
    reward = random_reward(mdp, seed)
    if kind == "branch":
        reward = reward[:, 0][mdp.successors]
    else:
        counts = counts.sum(-1)
        close(counts, forward_pass(mdp, policy))
    reward.requires_grad_()
    loss = lambda r: maxent_loss(mdp, r, counts, 0.8)  # noqa: E731
    assert torch.autograd.gradcheck(loss, reward, eps=1e-5, atol=1e-6)
    # and against autograd through the recursion
    value = mdp.initial_state_dist @ maxent_values(mdp, reward, 0.8)[0]
    by_recursion, = torch.autograd.grad(value, reward)
    by_gap, = torch.autograd.grad(loss(reward), reward)
    ended = mdp.terminal.view(-1, *[1] * (reward.ndim - 1))
    close(by_gap, ((by_recursion - counts) / 0.8).masked_fill(ended, 0.0), atol=1e-12, rtol=0)


def test_loss_is_the_likelihood_of_trajectories_up_to_the_dynamics():
    mdp = undiscounted(3, branches=3)
    reward = random_reward(mdp, 3)
    paths = enumerate_paths(mdp)
    expert = path_probabilities(paths, random_policy(mdp, 3, 3))
    _, chances = trajectory_distribution(mdp, reward)
    likelihood = -(expert * (chances.log() - paths.start.log() - paths.dynamics.log())).sum()
    counts = path_visits(mdp, paths, expert).sum(-1)
    close(maxent_loss(mdp, reward, counts), likelihood)


def test_linear_weights_are_recovered_from_exact_counts():
    """Gradient descent on theta ends where the features agree: at the theta that made them."""
    mdp = undiscounted(3, branches=3, horizon=4)
    features = torch.randn(4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    truth = torch.tensor([1.0, -0.5], dtype=torch.float64)
    counts = solve_maxent(mdp, features @ truth).visits.sum(-1)
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], line_search_fn="strong_wolfe", max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = maxent_loss(mdp, features @ theta, counts)
        loss.backward()
        return loss

    optimizer.step(closure)
    close(theta.detach(), truth, atol=1e-4, rtol=0)


def test_weights_are_recovered_from_a_language_that_can_be_listed():
    """27 sentences, both models the same, theta found again from exact feature expectations."""
    mdp = token_tree()
    gen = torch.Generator().manual_seed(0)
    features = torch.randn(mdp.n_states, 3, 4, dtype=torch.float64, generator=gen)
    truth = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    paths, chances = trajectory_distribution(mdp, features @ truth)
    assert len(chances) == 27
    scores = path_returns(mdp, paths, features @ truth)
    close(chances, torch.softmax(scores, 0))
    expert = path_visits(mdp, paths, chances).sum(-1)
    model = LinearReward(features)
    result = fit_reward(mdp, model, expert, FitSettings(
        optimizer="lbfgs", occupancy_tolerance=1e-7, gradient_tolerance=1e-7))
    assert result.converged
    close(model.weights.detach(), truth, atol=1e-6, rtol=0)


def test_it_refuses_a_discount_and_odd_rewards():
    mdp = random_mdp(0)
    with pytest.raises(InvalidArgumentError, match=r"discount 0\.9"):
        solve_maxent(mdp, mdp.reward)
    with pytest.raises(InvalidArgumentError, match="expected"):
        solve_maxent(undiscounted(0), torch.zeros(4, 3, dtype=torch.float64))
    with pytest.raises(InvalidArgumentError, match="not finite"):
        solve_maxent(undiscounted(0), torch.full((4, 2, 2), torch.nan, dtype=torch.float64))
    with pytest.raises(InvalidArgumentError, match="horizon is 0"):
        solve_maxent(undiscounted(0), mdp.reward, horizon=0)
    with pytest.raises(InvalidArgumentError, match="above 0"):
        solve_maxent(undiscounted(0), mdp.reward, temperature=-1.0)


def test_listing_refuses_what_would_not_end():
    with pytest.raises(InvalidArgumentError, match="more than 100 trajectories"):
        enumerate_paths(undiscounted(0), horizon=10, limit=100)
    with pytest.raises(InvalidArgumentError, match="needs a horizon"):
        enumerate_paths(random_mdp(0, horizon=None))


def test_listing_counts_trajectories_once():
    """Two branches and two actions: 4 ** 3 ways from each of 4 states; probabilities sum to one."""
    mdp = undiscounted(0)
    paths = enumerate_paths(mdp)
    assert len(paths.states) == 4 * 4**3
    rows = torch.cat([paths.states, paths.actions, paths.branches], 1)
    assert len(rows.unique(dim=0)) == len(rows)
    ended = enumerate_paths(undiscounted(1, terminals=2))
    total = path_probabilities(ended, random_policy(undiscounted(1, terminals=2), 0)).sum()
    close(total, torch.tensor(1.0, dtype=torch.float64))
    assert not ended.mask.all()
