"""What must hold in every decision process: tried on processes that hypothesis draws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.mdp.worlds import mdps, random_policy, value_by_numpy
from tutorlib.mdp import (
    bellman_backup,
    gibbs_policy,
    greedy_policy,
    next_distribution,
    occupancy_measure,
    policy_evaluation,
    policy_iteration,
    q_values,
    return_of,
    soft_backup,
    soft_backward,
    soft_policy_evaluation,
    soft_policy_iteration,
    soft_value_iteration,
    state_distributions,
    uniform_policy,
    value_iteration,
)

F64 = torch.float64
seeds = st.integers(0, 10_000)
temperatures = st.floats(0.05, 5.0)
endless = mdps(terminal=st.just(0))
many = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# it is the run-time check of types, at work inside the strategy, that draws at random
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


def close(a, b, atol: float = 1e-8) -> bool:
    return torch.allclose(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-8, atol=atol)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator, dtype=F64)


@many
@given(mdps())
def test_optimal_values_satisfy_the_bellman_equation(mdp):
    plan = value_iteration(mdp)
    assert close(bellman_backup(mdp, plan.values), plan.values)
    assert close(q_values(mdp, plan.values), plan.q_values)
    assert close(policy_iteration(mdp).values, plan.values)
    assert close(policy_evaluation(mdp, plan.policy), plan.values)
    assert torch.equal(plan.values[mdp.terminal], torch.zeros(int(mdp.terminal.sum()), dtype=F64))


@many
@given(mdps(), seeds)
def test_policy_values_satisfy_their_equation_and_agree_with_numpy(mdp, seed):
    pi = random_policy(mdp, seed, zeros=True)
    values = policy_evaluation(mdp, pi)
    assert close(values, (pi * q_values(mdp, values)).sum(-1).masked_fill(mdp.terminal, 0.0))
    assert close(values, value_by_numpy(mdp, pi))


@many
@given(mdps(), seeds, st.floats(0.01, 10.0))
def test_hard_and_soft_backups_contract_by_the_discount(mdp, seed, temperature):
    one, other = numbers(seed, 2, mdp.n_states)
    before = float((one - other).abs().max()) * mdp.discount
    for backup in (bellman_backup, lambda m, v: soft_backup(m, v, temperature)):
        after = float((backup(mdp, one) - backup(mdp, other)).abs().max())
        assert after <= before + 1e-12


@many
@given(mdps(), seeds)
def test_backups_are_monotone(mdp, seed):
    values = numbers(seed, mdp.n_states)
    higher = values + numbers(seed + 1, mdp.n_states).abs()
    assert (bellman_backup(mdp, higher) >= bellman_backup(mdp, values) - 1e-12).all()


@many
@given(endless, seeds, temperatures)
def test_shaping_by_a_potential_shifts_values_and_keeps_policies(mdp, seed, temperature):
    # Ng, Harada and Russell (1999): r + gamma E[phi(s')] - phi(s) has V* - phi and the same policy
    phi = numbers(seed, mdp.n_states)
    shaped = mdp.replace(reward=q_values(mdp, phi) - phi[:, None])
    plan, other = value_iteration(mdp), value_iteration(shaped)
    assert close(other.values, plan.values - phi)
    best = plan.q_values.amax(-1, keepdim=True) - 1e-7 <= plan.q_values
    assert bool((other.policy.bool() <= best).all())
    soft, shaped_soft = (soft_value_iteration(m, temperature) for m in (mdp, shaped))
    assert close(shaped_soft.values, soft.values - phi)
    assert close(shaped_soft.policy, soft.policy, atol=1e-7)


@many
@given(mdps(), seeds)
def test_occupancy_sums_to_the_horizon_flows_and_gives_the_return(mdp, seed):
    pi = random_policy(mdp, seed, zeros=True)
    rho = occupancy_measure(mdp, pi)
    visits = rho.sum(-1)
    assert math.isclose(float(rho.sum()), 1 / (1 - mdp.discount), rel_tol=1e-9)
    assert bool((rho >= 0).all())
    inflow = mdp.initial_state_dist + mdp.discount * next_distribution(mdp, visits, pi)
    assert close(visits, inflow)
    assert close(rho, visits[:, None] * pi)
    assert math.isclose(float((rho * mdp.reward).sum()), return_of(mdp, pi), abs_tol=1e-8)
    steps = 1 + int(math.log(1e-12) / math.log(max(mdp.discount, 1e-9)))
    spread = state_distributions(mdp, pi, steps)
    weights = mdp.discount ** torch.arange(steps + 1, dtype=F64)
    assert close(visits, weights @ spread, atol=1e-8)
    assert close(spread.sum(-1), torch.ones(steps + 1, dtype=F64))


@many
@given(mdps(), seeds)
def test_forward_and_backward_products_are_transposes(mdp, seed):
    pi, values = random_policy(mdp, seed), numbers(seed, mdp.n_states)
    mass = numbers(seed + 1, mdp.n_states)
    following = (pi * (q_values(mdp, values) - mdp.reward)).sum(-1)
    forward = mdp.discount * next_distribution(mdp, mass, pi)
    assert math.isclose(float(mass @ following), float(forward @ values), abs_tol=1e-9)


@many
@given(mdps(), temperatures, seeds)
def test_soft_values_are_consistent_in_every_way_to_compute_them(mdp, temperature, seed):
    prior = random_policy(mdp, seed, zeros=True)
    for chosen in (None, prior):
        plan = soft_value_iteration(mdp, temperature, chosen)
        assert close(soft_backup(mdp, plan.values, temperature, chosen), plan.values)
        assert close(soft_policy_evaluation(mdp, plan.policy, temperature, chosen), plan.values)
        other = soft_policy_iteration(mdp, temperature, chosen)
        assert close(other.values, plan.values) and close(other.policy, plan.policy, atol=1e-7)
        assert not plan.values[mdp.terminal].any()
    assert not plan.policy[prior == 0].any()


@many
@given(mdps(), temperatures, seeds)
def test_no_policy_has_a_higher_soft_value_and_the_gap_is_the_divergence(mdp, temperature, seed):
    # J* - J(pi) = lambda E_rho[KL(pi || pi*)], terminal states apart
    best, pi = soft_value_iteration(mdp, temperature), random_policy(mdp, seed)
    gap = best.values - soft_policy_evaluation(mdp, pi, temperature)
    assert bool((gap >= -1e-8).all())
    divergence = (pi * (pi.log() - best.policy.log())).sum(-1).masked_fill(mdp.terminal, 0.0)
    paid = temperature * (occupancy_measure(mdp, pi).sum(-1) * divergence).sum()
    assert math.isclose(float(mdp.initial_state_dist @ gap), float(paid), abs_tol=1e-7)


@many
@given(endless, temperatures)
def test_a_uniform_prior_costs_log_actions_a_step(mdp, temperature):
    free = soft_value_iteration(mdp, temperature)
    held = soft_value_iteration(mdp, temperature, uniform_policy(mdp))
    each = temperature * math.log(mdp.n_actions)
    assert close(held.values, free.values - each / (1 - mdp.discount))
    assert close(held.policy, free.policy)
    finite = soft_backward(mdp, temperature, 5)
    finite_held = soft_backward(mdp, temperature, 5, uniform_policy(mdp))
    steps_left = torch.arange(5, -1, -1, dtype=F64)
    total = each * (1 - mdp.discount**steps_left) / (1 - mdp.discount)
    assert close(finite_held.values, finite.values - total[:, None])
    assert close(finite_held.policy, finite.policy)


@many
@given(mdps(), seeds)
def test_soft_becomes_hard_as_the_temperature_falls(mdp, seed):
    hard = value_iteration(mdp)
    prior = random_policy(mdp, seed)
    for temperature in (1e-2, 1e-4, 1e-6, 1e-12, 1e-300):
        free = soft_value_iteration(mdp, temperature)
        held = soft_value_iteration(mdp, temperature, prior)
        most = temperature * math.log(mdp.n_actions) / (1 - mdp.discount)
        assert bool((free.values >= hard.values - 1e-9).all())
        assert bool((free.values <= hard.values + most + 1e-9).all())
        least = temperature * -math.log(float(prior.min())) / (1 - mdp.discount)
        assert bool((held.values <= hard.values + 1e-9).all())
        assert bool((held.values >= hard.values - least - 1e-9).all())
        for plan in (free, held):
            assert close(plan.policy.sum(-1), torch.ones(mdp.n_states, dtype=F64))
    gap = hard.q_values.topk(2, -1).values.diff() if mdp.n_actions > 1 else torch.tensor([[-1.0]])
    if float(gap.max()) < -1e-6:  # no near ties
        assert close(free.policy, greedy_policy(hard.q_values))


@many
@given(mdps(), temperatures, seeds)
def test_more_temperature_means_more_soft_value_and_the_gibbs_policy_is_best(
    mdp, temperature, seed
):
    cooler, warmer = (soft_value_iteration(mdp, t) for t in (temperature, 1.5 * temperature))
    assert bool((warmer.values >= cooler.values - 1e-9).all())
    q = numbers(seed, 4, 3)
    prior = torch.softmax(numbers(seed + 1, 4, 3), -1)
    best, other = gibbs_policy(q, temperature, prior), torch.softmax(numbers(seed + 2, 4, 3), -1)

    def objective(pi):
        return (pi * (q - temperature * (pi / prior).log())).sum(-1)

    assert bool((objective(best.clamp(min=1e-300)) >= objective(other) - 1e-9).all())
