from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from tests.mdp.worlds import (
    best_by_brute_force,
    random_mdp,
    random_policy,
    trajectories,
    value_by_numpy,
)
from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.mdp import (
    GridWorld,
    TabularMDP,
    bellman_backup,
    finite_horizon_plan,
    greedy_policy,
    occupancy_measure,
    policy_evaluation,
    policy_iteration,
    q_values,
    return_of,
    soft_policy_evaluation,
    state_distributions,
    uniform_policy,
    value_iteration,
)

F64 = torch.float64


def two_rooms() -> TabularMDP:
    """Return a process small enough for pencil and paper.

    From "left": stay pays 0, go pays 1 and arrives in "right". From "right": stay pays 2, go pays 0
    and arrives in "left". Discount 1/2: V(right) = 2 / (1 - 1/2) = 4, V(left) = 1 + 4/2 = 3.
    """
    return TabularMDP.from_dense(
        [[[1, 0], [0, 1]], [[0, 1], [1, 0]]],
        [[0, 1], [2, 0]],
        initial_state_dist=[1, 0],
        discount=0.5,
        state_names=("left", "right"),
        action_names=("stay", "go"),
    )


@pytest.mark.parametrize("planner", [value_iteration, policy_iteration])
def test_two_rooms_by_hand(planner):
    plan = planner(two_rooms())
    assert plan.values.tolist() == pytest.approx([3.0, 4.0], abs=1e-9)
    # Q(left, stay) = 0 + 3/2, Q(left, go) = 1 + 4/2, Q(right, stay) = 2 + 4/2, Q(right, go) = 3/2
    assert plan.q_values.flatten().tolist() == pytest.approx([1.5, 3.0, 4.0, 1.5], abs=1e-9)
    assert plan.policy.tolist() == [[0, 1], [1, 0]]
    assert plan.iterations == len(plan.residuals)


def test_occupancy_of_two_rooms_by_hand():
    # always go from left: left, right, left, ... with weights 1, 1/2, 1/4, ...
    go = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=F64)
    assert occupancy_measure(two_rooms(), go).flatten().tolist() == pytest.approx(
        [0, 4 / 3, 0, 2 / 3]
    )
    assert return_of(two_rooms(), go) == pytest.approx(4 / 3)


def test_three_decisions_in_two_rooms_by_hand():
    values, q, policy = finite_horizon_plan(two_rooms(), horizon=3)
    # one decision left: 1 and 2; two: max(0 + 1/2, 1 + 2/2) = 2 and 2 + 2/2 = 3; three: 2.5, 3.5
    assert values.tolist() == [[2.5, 3.5], [2, 3], [1, 2], [0, 0]]
    assert q.shape == policy.shape == (3, 2, 2)
    assert policy[:, 0].tolist() == [[0, 1]] * 3


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("planner", [value_iteration, policy_iteration])
def test_planners_agree_with_brute_force_over_all_policies(seed, planner):
    mdp = random_mdp(seed, states=5, actions=3, terminal=seed % 2)
    plan = planner(mdp)
    best = best_by_brute_force(mdp)
    assert np.abs(plan.values.numpy() - best).max() < 1e-9
    assert np.abs(value_by_numpy(mdp, plan.policy) - best).max() < 1e-9


def lowest_values_by_linear_programme(table: dict, discount: float) -> np.ndarray:
    """Return V* of a Gymnasium table: the least V with V(s) >= sum p (r + gamma V(s')) always."""
    size = len(table)
    rows, bounds = [], []
    for state in table:
        for action in table[state]:
            row = np.zeros(size)
            row[state] -= 1
            bound = 0.0
            for probability, successor, reward, ended in table[state][action]:
                row[successor] += 0 if ended else discount * probability
                bound -= probability * reward
            rows.append(row)
            bounds.append(bound)
    solved = linprog(np.ones(size), A_ub=np.array(rows), b_ub=bounds, bounds=(None, None))
    assert solved.status == 0
    return solved.x


@pytest.mark.parametrize("name", ["FrozenLake-v1", "FrozenLake8x8-v1"])
@pytest.mark.parametrize("discount", [0.9, 0.99])
def test_frozen_lake_has_the_values_of_an_independent_linear_programme(name, discount):
    env = gymnasium.make(name)
    expected = lowest_values_by_linear_programme(env.unwrapped.P, discount)
    mdp = TabularMDP.from_gymnasium(env, discount=discount)
    assert np.abs(value_iteration(mdp).values.numpy() - expected).max() < 1e-8
    assert np.abs(policy_iteration(mdp).values.numpy() - expected).max() < 1e-8


def test_undiscounted_frozen_lake_reaches_the_goal_as_often_as_is_known():
    # 14/17: the highest chance of ever reaching the goal of the slippery 4x4 lake
    mdp = TabularMDP.from_gymnasium(gymnasium.make("FrozenLake-v1"), discount=1.0)
    assert float(value_iteration(mdp, tolerance=1e-13).values[0]) == pytest.approx(14 / 17)
    assert float(policy_iteration(mdp).values[0]) == pytest.approx(14 / 17)


@pytest.mark.parametrize("horizon", [1, 2, 3])
@pytest.mark.parametrize("discount", [1.0, 0.7])
def test_finite_horizon_is_the_sum_over_all_trajectories(horizon, discount):
    mdp = random_mdp(horizon, states=3, actions=2, branches=2, discount=discount, horizon=horizon)
    reward = mdp.reward.numpy()
    plan = finite_horizon_plan(mdp)
    pi = torch.stack([random_policy(mdp, seed) for seed in range(horizon)]).numpy()
    followed, optimal, visits = np.zeros(3), np.zeros(3), np.zeros((horizon + 1, 3))
    for first, states, actions, chance in trajectories(mdp, horizon):
        steps = range(horizon)
        earned = sum(discount**t * reward[states[t], actions[t]] for t in steps)
        taken = np.prod([pi[t, states[t], actions[t]] for t in steps])
        chosen = np.prod([float(plan.policy[t, states[t], actions[t]]) for t in steps])
        followed[first] += chance * taken * earned
        optimal[first] += chance * chosen * earned
        for t, state in enumerate(states):
            visits[t, state] += float(mdp.initial_state_dist[first]) * chance * taken
    assert np.allclose(plan.values[0], optimal, atol=1e-12)
    assert (optimal >= followed - 1e-12).all()
    assert np.allclose(state_distributions(mdp, torch.as_tensor(pi)), visits, atol=1e-12)


def test_a_long_horizon_approaches_the_endless_plan():
    mdp = random_mdp(3, discount=0.8)
    values, _, policy = finite_horizon_plan(mdp, horizon=200)
    plan = value_iteration(mdp)
    assert torch.allclose(values[0], plan.values, atol=1e-9)
    assert torch.equal(policy[0], plan.policy)


def test_memory_can_be_saved_by_not_keeping_q():
    mdp = random_mdp(0)
    full, lean = finite_horizon_plan(mdp, 5), finite_horizon_plan(mdp, 5, keep_q=False)
    assert lean.q_values is None
    assert torch.equal(full.values, lean.values) and torch.equal(full.policy, lean.policy)


@pytest.mark.parametrize("seed", range(6))
def test_the_stopping_rule_keeps_its_bound(seed):
    mdp = random_mdp(seed, discount=0.95)
    exact = policy_iteration(mdp).values
    for tolerance in (1.0, 1e-2, 1e-5):
        plan = value_iteration(mdp, tolerance=tolerance)
        assert (plan.values - exact).abs().max() <= tolerance
        loss = exact - policy_evaluation(mdp, plan.policy)
        assert loss.max() <= 2 * 0.95 * tolerance / 0.05


def test_a_tolerance_below_rounding_still_ends():
    mdp = random_mdp(0, discount=0.9)
    plan = value_iteration(mdp.replace(reward=1e6 * mdp.reward), tolerance=0.0)
    size = float(plan.values.abs().max())
    assert 0 < plan.residuals[-1] <= 4 * torch.finfo(F64).eps * size  # not run to a standstill
    exact = policy_iteration(mdp).values * 1e6
    assert torch.allclose(plan.values, exact, rtol=1e-13)


def test_not_converging_is_an_error():
    mdp = random_mdp(0, discount=0.99)
    with pytest.raises(NotConvergedError, match=r"values still changed by .* in backup 5 .goal"):
        value_iteration(mdp, max_iterations=5)
    with pytest.raises(NotConvergedError, match=r"policy iteration still gained .* in round 1"):
        policy_iteration(mdp, max_iterations=1)
    # without discount, walking round for a reward never ends
    grid = GridWorld("S.G", step_reward=1.0, discount=1.0)
    with pytest.raises(NotConvergedError, match="with discount 1, values are finite only if"):
        value_iteration(grid.mdp, max_iterations=500)


def test_a_policy_that_never_ends_has_no_undiscounted_value():
    grid = GridWorld("S.G", step_reward=-1.0, discount=1.0)
    left = torch.zeros(3, 4, dtype=F64)
    left[:, 3] = 1.0
    with pytest.raises(NotConvergedError, match=r"from state '\(0, 0\)' the policy never reaches"):
        policy_evaluation(grid.mdp, left)
    # the uniform one does: from cell 0, 1 and the goal, expected steps x0 = 1 + 3/4 x0 + 1/4 x1,
    # x1 = 1 + 1/2 x1 + 1/4 x0, so x0 = 12, x1 = 8; the last step earns +1 instead of -1
    values = policy_evaluation(grid.mdp, uniform_policy(grid.mdp))
    assert values.tolist() == pytest.approx([-12 + 2, -8 + 2, 0])


def test_undiscounted_planning_needs_terminal_states():
    mdp = random_mdp(0, discount=1.0, horizon=5)
    for plan in (value_iteration, policy_iteration):
        with pytest.raises(InvalidArgumentError, match="discount below 1 or a terminal state"):
            plan(mdp)
    with pytest.raises(InvalidArgumentError, match="occupancy measure is infinite"):
        occupancy_measure(mdp, uniform_policy(mdp))
    assert finite_horizon_plan(mdp).values.shape == (6, 5)


def test_ties_go_to_the_first_action_and_do_not_cycle():
    mdp = TabularMDP.from_dense(torch.eye(2, dtype=F64)[:, None, :].repeat(1, 3, 1), [1.0, 2.0])
    for plan in (value_iteration(mdp), policy_iteration(mdp)):
        assert plan.policy.tolist() == [[1, 0, 0]] * 2


def test_a_batch_of_values_is_backed_up_at_once():
    mdp = random_mdp(1)
    batch = torch.randn(2, 4, 5, dtype=F64)
    together = q_values(mdp, batch)
    for i in range(2):
        for j in range(4):
            assert torch.allclose(together[i, j], q_values(mdp, batch[i, j]), atol=1e-15)


def test_a_backup_holds_terminal_states_at_zero_whatever_it_is_given():
    mdp = random_mdp(0, terminal=2)
    backed_up = bellman_backup(mdp, torch.full((5,), 7.0, dtype=F64))
    assert backed_up[3:].tolist() == [0, 0] and bool((backed_up[:3] != 0).all())


def test_values_are_not_changed_by_a_backup():
    mdp, values = random_mdp(1, branches=1), torch.randn(5, dtype=F64)
    before, probabilities = values.clone(), mdp.probabilities.clone()
    q_values(mdp, values)
    assert torch.equal(values, before) and torch.equal(mdp.probabilities, probabilities)


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_visit_counts(seed):
    # dJ / dr(s, a) is the occupancy measure, by finite horizon and by the linear solve alike
    mdp = random_mdp(seed, discount=0.8, terminal=1)
    free = mdp.reward.clone().requires_grad_()
    pi = random_policy(mdp, seed)
    value = mdp.initial_state_dist @ policy_evaluation(mdp.replace(reward=free), pi)
    (gradient,) = torch.autograd.grad(value, free)
    occupancy = occupancy_measure(mdp, pi)
    assert torch.allclose(gradient[:-1], occupancy[:-1], atol=1e-12)
    plan = finite_horizon_plan(mdp.replace(reward=free), horizon=6)
    (gradient,) = torch.autograd.grad(mdp.initial_state_dist @ plan.values[0], free)
    visited = state_distributions(mdp, plan.policy.detach(), 6)[:-1, :, None] * plan.policy
    counts = (0.8 ** torch.arange(6, dtype=F64)[:, None, None] * visited).sum(0)
    assert torch.allclose(gradient[:-1], counts[:-1], atol=1e-12)


BAD_POLICIES = {
    r"policy has shape \(5, 2\); expected \(5, 3\)": torch.ones(5, 2, dtype=F64) / 2,
    r"policy in state 's2' .*sum 1.2; expected prob": torch.tensor(
        [[1, 0, 0], [1, 0, 0], [0.4, 0.4, 0.4], [1, 0, 0], [1, 0, 0]], dtype=F64),
    r"policy in state 's0' .* is \[-0.5, 0.5, 1.0\]": torch.tensor(
        [[-0.5, 0.5, 1.0]] * 5, dtype=F64),
    r"policy in state 's0' .* sum nan": torch.full((5, 3), float("nan"), dtype=F64),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD_POLICIES)
@pytest.mark.parametrize(
    "function",
    [
        policy_evaluation,
        occupancy_measure,
        return_of,
        lambda mdp, policy: state_distributions(mdp, policy, 3),
        lambda mdp, policy: soft_policy_evaluation(mdp, policy, 1.0),
    ],
)
def test_bad_policies_are_refused(function, message, unchecked):
    with pytest.raises(InvalidArgumentError, match=message):
        function(random_mdp(0), BAD_POLICIES[message])


def test_a_policy_for_each_step_must_have_as_many_tables_as_steps(unchecked):
    mdp = random_mdp(0)
    with pytest.raises(InvalidArgumentError, match=r"\(4, 5, 3\); expected \(5, 3\) or \(3, "):
        state_distributions(mdp, torch.ones(4, 5, 3, dtype=F64) / 3, horizon=3)
    bad = torch.ones(3, 5, 3, dtype=F64) / 3
    bad[2, 1] = 1.0
    with pytest.raises(InvalidArgumentError, match=r"in state 's1' .* at time 2 is .* sum 3;"):
        state_distributions(mdp, bad, horizon=3)


def test_bad_arguments_are_refused(unchecked):
    mdp = random_mdp(0)
    with pytest.raises(InvalidArgumentError, match=r"values has shape \(4,\); expected \(..., 5\)"):
        q_values(mdp, torch.zeros(4, dtype=F64))
    with pytest.raises(InvalidArgumentError, match="horizon is None; expected a whole number"):
        finite_horizon_plan(mdp)
    with pytest.raises(InvalidArgumentError, match="horizon is 0"):
        state_distributions(mdp, uniform_policy(mdp), 0)
    with pytest.raises(InvalidArgumentError, match="tolerance is -1"):
        value_iteration(mdp, tolerance=-1)
    with pytest.raises(InvalidArgumentError, match="tolerance is nan"):
        policy_iteration(mdp, tolerance=float("nan"))
    with pytest.raises(InvalidArgumentError, match="max_iterations is 0"):
        value_iteration(mdp, max_iterations=0)


def test_float32_policies_serve_float64_processes():
    mdp = random_mdp(0)
    pi = greedy_policy(torch.randn(5, 3))
    assert policy_evaluation(mdp, pi).dtype == F64
