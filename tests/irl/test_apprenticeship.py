"""Apprenticeship learning: the guarantee, the steps, and solvers of other people."""

import itertools

import numpy as np
import pytest
import torch
from scipy import optimize

from tests.irl.worlds import random_mdp, random_policy
from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import (
    ApprenticeSettings,
    apprentice,
    feature_expectations,
    feature_table,
    hull_weights,
    projection_step,
)
from tutorlib.mdp import occupancy_measure, return_of, sample_trajectories, uniform_policy


def features_of(mdp, seed, count=4):
    gen = torch.Generator().manual_seed(seed)
    return torch.rand(mdp.n_states, mdp.n_actions, count, dtype=torch.float64, generator=gen)


@pytest.fixture
def mdp():
    return random_mdp(0, states=6, actions=3, branches=3, terminals=1)


def test_expectations_are_discounted_sums_along_episodes(mdp):
    """Monte Carlo over 20,000 sampled episodes, an estimate that knows no occupancy."""
    features, policy = features_of(mdp, 0), random_policy(mdp, 0)
    exact = feature_expectations(mdp, policy, features)
    runs = sample_trajectories(mdp, policy, 20_000, horizon=80,
                               generator=torch.Generator().manual_seed(0))
    weights = mdp.discount ** torch.arange(80, dtype=torch.float64) * runs.mask
    seen = features[runs.states[:, :-1], runs.actions]
    estimate = (weights[..., None] * seen).sum((0, 1)) / 20_000
    assert float((estimate - exact).abs().max()) < 0.05 < 0.5 < float(exact.min())


@pytest.mark.parametrize("paid", ["departure", "arrival"])
def test_state_features_are_paid_as_said(mdp, paid):
    features = torch.eye(6, dtype=torch.float64)
    table = feature_table(mdp, features, paid)
    expected = (mdp.transition_matrix if paid == "arrival"
                else features[:, None].expand(6, 3, 6)).clone()
    expected[mdp.terminal] = 0
    torch.testing.assert_close(table, expected)


def test_matching_expectations_bounds_the_loss_for_every_reward(mdp):
    """|J(pi) - J(pi_E)| <= |mu(pi) - mu_E|_2 for 200 rewards with |w|_2 <= 1; some come close."""
    features, gen = features_of(mdp, 1), torch.Generator().manual_seed(2)
    one, two = (random_policy(mdp, seed) for seed in (3, 4))
    gap = feature_expectations(mdp, one, features) - feature_expectations(mdp, two, features)
    shares = []
    for w in torch.randn(200, 4, dtype=torch.float64, generator=gen):
        w = w / w.norm()
        paid = mdp.replace(reward=(features @ w).masked_fill(mdp.terminal[:, None], 0.0))
        shares.append(abs(return_of(paid, one) - return_of(paid, two)) / float(gap.norm()))
    assert 0.9 < max(shares) <= 1 + 1e-9


@pytest.mark.parametrize("method", ["projection", "max_margin"])
@pytest.mark.parametrize("seed", range(3))
def test_an_expert_is_matched_and_the_mixture_is_what_it_says(mdp, method, seed):
    features = features_of(mdp, seed)
    expert = feature_expectations(mdp, random_policy(mdp, seed), features)
    settings = ApprenticeSettings(method, tolerance=3e-3, max_iterations=400)
    found = apprentice(mdp, expert, features, settings=settings)
    assert found.converged and found.reachable
    assert found.margins[-1] <= 3e-3 < found.margins[0]
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(found.margins))
    assert float(found.mixture.sum()) == pytest.approx(1.0) and bool((found.mixture >= 0).all())
    each = torch.stack([feature_expectations(mdp, p, features) for p in found.policies])
    torch.testing.assert_close(found.mixture @ each, found.expectations)
    assert float((found.expectations - expert).norm()) == pytest.approx(found.margins[-1])
    # one stationary policy with the same visits
    single = found.policy(mdp)
    torch.testing.assert_close(feature_expectations(mdp, single, features), found.expectations)
    visits = sum(w * occupancy_measure(mdp, p) for w, p in zip(
        found.mixture, found.policies, strict=True))
    torch.testing.assert_close(occupancy_measure(mdp, single), visits)


def test_no_weights_separate_the_expert_better_than_the_last_margin(mdp):
    """The margin is max_w min_pi w.(mu_E - mu(pi)): enumerate all 243 deterministic policies."""
    features = features_of(mdp, 5)
    expert = feature_expectations(mdp, random_policy(mdp, 5), features) + 5.0  # out of reach
    settings = ApprenticeSettings("max_margin", max_iterations=200)
    found = apprentice(mdp, expert, features, settings=settings)
    assert not found.reachable and not found.converged
    corners = [feature_expectations(mdp, torch.nn.functional.one_hot(
        torch.tensor([*actions, 0]), 3).double(), features)
        for actions in itertools.product(range(3), repeat=5)]
    corners = torch.stack(corners).numpy()
    program = optimize.minimize(  # max t with w.(mu_E - mu_j) >= t and |w| <= 1, by SLSQP
        lambda x: -x[-1], np.zeros(5), method="SLSQP", options={"maxiter": 300, "ftol": 1e-12},
        constraints=[{"type": "ineq", "fun": lambda x: (expert.numpy() - corners) @ x[:4] - x[4]},
                     {"type": "ineq", "fun": lambda x: 1 - x[:4] @ x[:4]}])
    assert found.margins[-1] == pytest.approx(-program.fun, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_projection_is_the_nearest_point_of_the_segment(seed):
    gen = torch.Generator().manual_seed(seed)
    expert, mixture, candidate = torch.randn(3, 4, dtype=torch.float64, generator=gen)
    step, point = projection_step(expert, mixture, candidate)
    found = optimize.minimize_scalar(
        lambda x: float((mixture + x * (candidate - mixture) - expert).norm()),
        bounds=(0, 1), method="bounded", options={"xatol": 1e-12})
    assert step == pytest.approx(found.x, abs=1e-5)
    torch.testing.assert_close(point, mixture + step * (candidate - mixture))


def test_a_step_is_held_between_mixture_and_candidate():
    zero, one = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    assert projection_step(3 * one, zero, one)[0] == 1.0
    assert projection_step(-one, zero, one)[0] == 0.0
    step, point = projection_step(one, zero, zero)
    assert step == 0.0 and point.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("seed", range(4))
def test_hull_weights_agree_with_a_general_solver(seed):
    gen = torch.Generator().manual_seed(seed)
    points = torch.randn(6, 3, dtype=torch.float64, generator=gen)
    expert = 2 * torch.randn(3, dtype=torch.float64, generator=gen)
    weights = hull_weights(expert, points)
    solved = optimize.minimize(
        lambda u: float(((u @ points.numpy() - expert.numpy()) ** 2).sum()), np.full(6, 1 / 6),
        bounds=[(0, 1)] * 6, constraints={"type": "eq", "fun": lambda u: u.sum() - 1},
        method="SLSQP", options={"ftol": 1e-14, "maxiter": 500})
    assert float((weights @ points - expert).square().sum()) == pytest.approx(solved.fun, abs=1e-8)


def test_max_margin_needs_no_more_rounds_than_projection(mdp):
    features = features_of(mdp, 8)
    expert = feature_expectations(mdp, random_policy(mdp, 8), features)
    rounds = {method: len(apprentice(mdp, expert, features, settings=ApprenticeSettings(
        method, tolerance=1e-3, max_iterations=500)).margins) for method in (
        "projection", "max_margin")}
    assert rounds["max_margin"] <= rounds["projection"]


def test_an_expert_who_acts_at_random_is_matched_at_once(mdp):
    features, told = features_of(mdp, 0), []
    expert = feature_expectations(mdp, uniform_policy(mdp), features)
    found = apprentice(mdp, expert, features, on_round=lambda i, margin: told.append((i, margin)))
    assert found.converged and len(found.policies) == 1 and found.weights.shape == (0, 4)
    assert told == [(0, found.margins[0])]


def test_bad_input_is_refused(mdp):
    features = features_of(mdp, 0)
    expert = feature_expectations(mdp, uniform_policy(mdp), features)
    spoiled = features.clone()
    spoiled[2, 1, 0] = torch.nan
    with pytest.raises(InvalidArgumentError, match=r"features\[2, 1, 0\] is nan"):
        apprentice(mdp, expert, spoiled)
    with pytest.raises(InvalidArgumentError, match=r"expected \(6, 3\) and a last axis"):
        apprentice(mdp, expert, features[:4])
    with pytest.raises(InvalidArgumentError, match="4 finite numbers, one per feature"):
        apprentice(mdp, expert[:3], features)
    with pytest.raises(InvalidArgumentError, match="4 finite numbers"):
        apprentice(mdp, expert * torch.inf, features)
    with pytest.raises(InvalidArgumentError, match="method is 'margin'"):
        apprentice(mdp, expert, features, settings=ApprenticeSettings("margin"))
    with pytest.raises(InvalidArgumentError, match="max_iterations is -1"):
        apprentice(mdp, expert, features, settings=ApprenticeSettings(max_iterations=-1))
