"""The table of f-divergences: identities, numerical suprema, scipy, and safe limits."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import divergences as table
from tutorlib.irl.divergences import (
    DIVERGENCES,
    REWARDS,
    f_divergence,
    log_density_ratio,
    optimal_discriminator,
    policy_reward,
)

H = torch.linspace(-12, 12, 97, dtype=torch.float64)
rows = pytest.mark.parametrize("row", DIVERGENCES.values(), ids=lambda row: row.name)
# Table 4 of the tutorial as printed there, in numpy and as functions of u
PRINTED = {
    "reverse_kl": lambda u: -np.log(u),
    "jensen_shannon": lambda u: -(u + 1) * np.log((1 + u) / 2) + u * np.log(u),
    "forward_kl": lambda u: u * np.log(u),
}


def simplex(seed, n):
    gen = torch.Generator().manual_seed(seed)
    return torch.softmax(2 * torch.randn(n, dtype=torch.float64, generator=gen), -1)


@rows
def test_f_is_the_printed_one(row):
    expected = PRINTED[row.name](H.exp().numpy())
    assert np.allclose(row.f(H), expected, rtol=1e-10, atol=1e-12)
    assert abs(float(row.f(H.new_zeros(())))) < 1e-15


@rows
def test_the_derivative_is_the_slope_of_f_in_u(row):
    h = torch.linspace(-4, 4, 33, dtype=torch.float64)
    u, step = h.exp(), 1e-6
    slope = (row.f((u + step * u).log()) - row.f((u - step * u).log())) / (2 * step * u)
    assert torch.allclose(slope, row.derivative(h), rtol=1e-6, atol=1e-6)
    assert bool((row.derivative(h).diff() > 0).all()), "f is strictly convex"


@rows
def test_the_conjugate_is_a_supremum(row):
    for t in row.derivative(torch.linspace(-3, 3, 13, dtype=torch.float64)).tolist():
        found = minimize_scalar(lambda h, t=t: PRINTED[row.name](np.exp(h)) - t * np.exp(h),
                                bounds=(-12, 12), method="bounded", options={"xatol": 1e-10})
        value = float(row.conjugate(torch.tensor(t, dtype=torch.float64)))
        assert value == pytest.approx(-found.fun, abs=1e-9)


@rows
def test_outside_its_domain_the_conjugate_is_infinite(row):
    edge = row.conjugate_below
    if edge == math.inf:
        assert bool(torch.isfinite(row.conjugate(torch.tensor(50.0, dtype=torch.float64))))
        return
    t = torch.tensor([edge - 1e-6, edge, edge + 1e-6, edge + 1], dtype=torch.float64)
    assert torch.isinf(row.conjugate(t)).tolist() == [False, True, True, True]
    large = 10.0 ** np.arange(1, 12)  # the supremum really runs away
    reached = (edge + 0.1) * large - PRINTED[row.name](large)
    assert reached[-1] > 1e9


@rows
def test_the_exact_reward_is_the_conjugate_at_the_best_response(row):
    """f*(f'(u)) = u f'(u) - f(u), to 1e-12."""
    h = torch.linspace(-6, 6, 49, dtype=torch.float64)
    best = row.derivative(h)
    expected = h.exp() * best - row.f(h)
    assert torch.allclose(row.exact_reward(h), expected, rtol=1e-12, atol=1e-12)
    assert torch.allclose(row.conjugate(best), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_sums_are_the_divergences(seed):
    """sum q f(p / q) is the reverse KL, twice the Jensen-Shannon divergence, the forward KL."""
    demo, policy = simplex(seed, 7), simplex(100 + seed, 7)
    p, q = demo.numpy(), policy.numpy()
    expected = {"reverse_kl": rel_entr(q, p).sum(), "forward_kl": rel_entr(p, q).sum(),
                "jensen_shannon": 2 * jensenshannon(p, q) ** 2}
    for kind, value in expected.items():
        assert float(f_divergence(kind, demo, policy)) == pytest.approx(value, abs=1e-12)


@rows
def test_the_best_response_attains_the_divergence_and_others_less(row):
    """E_demo[T] - E_pi[f*(T)] <= D_f, with equality at T = f'(u) (the tutorial's eqs. 3, 4)."""
    demo, policy = simplex(1, 6), simplex(2, 6)
    best = row.derivative(log_density_ratio(demo, policy))

    def bound(critic):
        return float(demo @ critic - policy @ row.conjugate(critic))

    exact = float(f_divergence(row.name, demo, policy))
    assert bound(best) == pytest.approx(exact, abs=1e-12)
    for seed in range(20):
        assert bound(best - 0.1 * simplex(seed, 6)) < exact


@pytest.mark.parametrize("seed", range(3))
def test_the_game_of_gail_is_worth_2_js_minus_2_log_2(seed):
    """The value of the classification game at D* (Goodfellow et al. 2014, theorem 1)."""
    demo, policy = simplex(seed, 5), simplex(50 + seed, 5)
    d = optimal_discriminator(demo, policy)
    assert torch.allclose(d, demo / (demo + policy), atol=1e-15)
    value = float(demo @ d.log() + policy @ (1 - d).log())
    js = jensenshannon(demo.numpy(), policy.numpy()) ** 2
    assert value == pytest.approx(2 * js - 2 * math.log(2), abs=1e-12)


def test_rewards_are_what_their_formulas_say_of_the_discriminator():
    d = torch.sigmoid(H)
    expected = {
        "airl": d.log() - (1 - d).log(), "gail": -(1 - d).log(), "gail_log_d": d.log(),
        "forward_kl": d / (1 - d), "fairl_printed": -d / (1 - d) * (d / (1 - d)).log(),
    }
    assert expected.keys() == REWARDS.keys()
    for name, value in expected.items():
        assert torch.allclose(policy_reward(H, name), value, rtol=1e-9), name


def test_exact_rewards_differ_from_practical_ones_by_a_constant():
    for kind, method in (("reverse_kl", "airl"), ("jensen_shannon", "gail"),
                         ("forward_kl", "forward_kl")):
        gap = DIVERGENCES[kind].exact_reward(H) - policy_reward(H, method)
        assert float(gap.max() - gap.min()) < 1e-9 * float(H.exp().max())


def test_the_stated_ranges_are_the_ranges():
    far = torch.linspace(-40, 40, 80_001, dtype=torch.float64)
    for row in REWARDS.values():
        pay = row.of_logit(far)
        assert row.lowest <= float(pay.min()) and float(pay.max()) <= row.highest + 1e-15
        for end, reached in ((row.lowest, pay.min()), (row.highest, pay.max())):
            assert abs(end - float(reached)) < 1e-6 if math.isfinite(end) else abs(reached) > 39


def test_saturated_discriminators_pay_the_limit_and_never_nan():
    ends = torch.tensor([-math.inf, -1000.0, 1000.0, math.inf])
    for dtype in (torch.float32, torch.float64):
        for row in DIVERGENCES.values():
            for function in (row.f, row.derivative, row.exact_reward):
                assert not bool(torch.isnan(function(ends.to(dtype))).any()), row.name
        for method in REWARDS:
            assert not bool(torch.isnan(policy_reward(ends.to(dtype), method)).any()), method
            assert bool(torch.isfinite(policy_reward(ends.to(dtype), method, limit=20.0)).all())
    assert policy_reward(ends, "gail").tolist() == [0.0, 0.0, 1000.0, math.inf]
    assert float(DIVERGENCES["jensen_shannon"].f(ends[0].double())) == pytest.approx(math.log(2))


def test_zeros_in_the_occupancies():
    demo = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64)
    policy = torch.tensor([0.5, 0.0, 0.5, 0.0], dtype=torch.float64)
    assert log_density_ratio(demo, policy).tolist() == [0.0, math.inf, -math.inf, 0.0]
    assert optimal_discriminator(demo, policy).tolist() == [0.5, 1.0, 0.0, 0.5]
    assert float(f_divergence("reverse_kl", demo, policy)) == math.inf
    assert float(f_divergence("forward_kl", demo, policy)) == math.inf
    js = 2 * jensenshannon(demo.numpy(), policy.numpy()) ** 2
    assert float(f_divergence("jensen_shannon", demo, policy)) == pytest.approx(js, abs=1e-12)
    inside = torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64)
    narrow = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert float(f_divergence("reverse_kl", inside, narrow)) == pytest.approx(math.log(2))
    assert float(f_divergence("forward_kl", narrow, inside)) == pytest.approx(math.log(2))


def test_the_reward_is_detached_from_the_discriminator():
    logit = torch.tensor([0.3], requires_grad=True)
    for method in REWARDS:
        assert not policy_reward(logit, method).requires_grad


def test_bad_input_is_refused_with_a_way_out():
    good = torch.tensor([0.5, 0.5])
    with pytest.raises(InvalidArgumentError, match="'airl'"):
        policy_reward(good, "arl")
    with pytest.raises(InvalidArgumentError, match="reverse_kl"):
        f_divergence("reverse", good, good)
    with pytest.raises(InvalidArgumentError, match="NaN"):
        policy_reward(torch.tensor([math.nan]), "gail")
    with pytest.raises(InvalidArgumentError, match="limit"):
        policy_reward(good, "gail", limit=0.0)
    with pytest.raises(InvalidArgumentError, match="shape"):
        log_density_ratio(good, torch.ones(3))
    with pytest.raises(InvalidArgumentError, match="negative"):
        log_density_ratio(good, torch.tensor([1.5, -0.5]))


def test_constants_are_of_the_right_kind():
    assert table.REVERSE_KL.slope_at_infinity == 0.0
    large = torch.tensor(700.0, dtype=torch.float64)
    for row in DIVERGENCES.values():
        ratio = float(row.f(large) / large.exp())
        assert ratio == pytest.approx(row.slope_at_infinity, abs=1e-9) if math.isfinite(
            row.slope_at_infinity) else ratio > 600
