"""The exact models of compounding error, against planning, simulation and each other."""

import pytest
import torch

from tutorlib.errors import InvalidArgumentError
from tutorlib.imitation import (
    closed_form_cost,
    expected_cost,
    off_path,
    recoverability,
    slip_process,
    slipping_policy,
)
from tutorlib.mdp import finite_horizon_plan, sample_trajectories, state_distributions

CASES = [(0.01, 0.0, 50), (0.01, 1.0, 100), (0.2, 0.3, 40), (0.05, 0.7, 7), (1.0, 0.5, 3)]


@pytest.mark.parametrize("horizon, lost, mended", [(50, 10.896, 0.5), (100, 37.237, 1.0)])
def test_the_published_values(horizon, lost, mended):
    assert float(expected_cost(0.01, 0.0, horizon)[-1]) == pytest.approx(lost, abs=5e-4)
    assert float(expected_cost(0.01, 1.0, horizon)[-1]) == pytest.approx(mended, abs=1e-12)


@pytest.mark.parametrize("slip, recovery, horizon", CASES)
def test_recursion_closed_form_and_planning_agree(slip, recovery, horizon):
    mdp, policy = slip_process(recovery, horizon), slipping_policy(slip)
    cost = float(expected_cost(slip, recovery, horizon)[-1])
    assert closed_form_cost(slip, recovery, horizon) == pytest.approx(cost, abs=1e-10)
    visits = state_distributions(mdp, policy)  # the chance of being off after each step
    assert torch.allclose(off_path(slip, recovery, horizon), visits[1:, 1], atol=1e-12)
    earned = sum(float(visits[t] @ (policy * mdp.reward).sum(-1)) for t in range(horizon))
    assert -earned == pytest.approx(cost, abs=1e-10)  # the reward is minus the cost


@pytest.mark.parametrize("recovery", [0.0, 0.2, 1.0])
def test_simulated_walks_cost_what_the_recursion_says(recovery):
    mdp = slip_process(recovery, 30)
    runs = sample_trajectories(mdp, slipping_policy(0.05), 20_000, None,
                               torch.Generator().manual_seed(0))
    after = runs.states[:, 1:] == 1
    paid = after.double().sum(-1)
    want, error = float(expected_cost(0.05, recovery, 30)[-1]), float(paid.std()) / 20_000**0.5
    assert abs(float(paid.mean()) - want) < 4 * error


def test_small_slips_cost_t_squared_without_a_way_back_and_t_with_one():
    small = 1e-6
    assert closed_form_cost(small, 0.0, 40) == pytest.approx(small * 40 * 41 / 2, rel=1e-4)
    assert closed_form_cost(small, 1.0, 40) == pytest.approx(small * 40)
    ratios = [closed_form_cost(small, r, 200) / closed_form_cost(small, r, 100) for r in (0.0, 1.0)]
    assert ratios == pytest.approx([4.0, 2.0], rel=0.01)


@pytest.mark.parametrize("slip, recovery, horizon", CASES)
def test_the_bounds_of_both_theorems_hold(slip, recovery, horizon):
    cost = float(expected_cost(slip, recovery, horizon)[-1])
    assert cost <= slip * horizon**2 + 1e-12  # Ross and Bagnell 2010
    assert cost <= recoverability(recovery, horizon) * horizon * slip + 1e-12  # Ross et al. 2011


def test_recoverability_is_the_demonstrators_advantage_of_a_slip():
    """u: how much one slip raises the cost to go of somebody who never slips otherwise."""
    for recovery in (0.0, 0.3, 1.0):
        mdp = slip_process(recovery, 12)
        plan = finite_horizon_plan(mdp)
        loss = plan.values[0, 0] - (mdp.reward[0, 1] + plan.values[1, 1])
        assert recoverability(recovery, 12) == pytest.approx(float(loss), abs=1e-9)


@pytest.mark.parametrize("arguments, what", [
    ((-0.1, 0.0, 5), "slip"), ((1.1, 0.0, 5), "slip"), ((0.1, 2.0, 5), "recovery"),
    ((float("nan"), 0.0, 5), "slip"), ((0.1, 0.0, 0), "horizon"), ((0.1, 0.0, 2.5), "horizon")])
def test_impossible_walkers_are_refused(arguments, what):
    for function in (off_path, expected_cost, closed_form_cost):
        with pytest.raises(InvalidArgumentError, match=what):
            function(*arguments)
