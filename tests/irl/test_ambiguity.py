"""Shaping, redistribution and the family of a policy, against enumeration and other planners."""

import itertools

import pytest
import torch

from tests.irl.worlds import random_mdp, random_policy, random_reward
from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import (
    fit_shaping,
    redistribution,
    reward_family,
    shape_reward,
    shaping_matrix,
    shaping_term,
)
from tutorlib.mdp import (
    TabularMDP,
    policy_evaluation,
    soft_backward,
    soft_policy_evaluation,
    soft_policy_iteration,
    value_iteration,
)


def potential_of(mdp, seed):
    gen = torch.Generator().manual_seed(3_000 + seed)
    numbers = 3 * torch.randn(mdp.n_states, dtype=torch.float64, generator=gen)
    return numbers.masked_fill(mdp.terminal, 0.0)


def every_policy(mdp):
    """All deterministic policies of a small process."""
    for actions in itertools.product(range(mdp.n_actions), repeat=mdp.n_states):
        yield torch.nn.functional.one_hot(torch.tensor(actions), mdp.n_actions).double()


def expected_return(mdp, tables, policies):
    """Sum the rewards of a horizon by walking the tree of states: no planner, no matrix."""
    def worth(t, s):
        if t == len(tables) or bool(mdp.terminal[s]):
            return 0.0
        return sum(float(policies[t][s, a]) * (float(tables[t][s, a]) + mdp.discount * sum(
            float(p) * worth(t + 1, int(s2)) for s2, p in zip(
                mdp.successors[s, a], mdp.probabilities[s, a], strict=True)))
            for a in range(mdp.n_actions))
    return [worth(0, s) for s in range(mdp.n_states)]


@pytest.mark.parametrize("terminals", [0, 1])
def test_shaping_moves_every_policys_value_by_the_potential(terminals):
    mdp = random_mdp(1, states=3, actions=2, terminals=terminals)
    potential = potential_of(mdp, 1)
    shaped = mdp.replace(reward=shape_reward(mdp, potential))
    for policy in every_policy(mdp):
        torch.testing.assert_close(policy_evaluation(shaped, policy),
                                   policy_evaluation(mdp, policy) - potential)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("terminals", [0, 2])
def test_shaping_keeps_hard_and_soft_policies_and_moves_q(seed, terminals):
    mdp = random_mdp(seed, states=6, actions=3, branches=3, terminals=terminals)
    potential = potential_of(mdp, seed)
    shaped = mdp.replace(reward=shape_reward(mdp, potential))
    before, after = value_iteration(mdp), value_iteration(shaped)
    assert torch.equal(before.policy[~mdp.terminal], after.policy[~mdp.terminal])
    moved = (before.q_values - after.q_values)[~mdp.terminal]
    torch.testing.assert_close(moved, potential[~mdp.terminal, None].expand_as(moved), atol=1e-8,
                               rtol=0)
    for heat in (0.1, 2.0):
        soft = [soft_policy_iteration(m, heat, tolerance=1e-12).policy for m in (mdp, shaped)]
        torch.testing.assert_close(soft[0], soft[1], atol=1e-11, rtol=0)


def test_a_potential_at_the_end_would_change_the_policy():
    """From the start one may end at once for 1, or walk one more step for 3; gamma is 0.5."""
    dense = [[[0, 1, 0], [0, 0, 1]], [[0, 0, 1], [0, 0, 1]], [[0, 0, 1], [0, 0, 1]]]
    mdp = TabularMDP.from_dense(torch.tensor(dense).double(), [[0, 1.0], [3.0, 3.0], [0, 0]],
                                terminal=[False, False, True], discount=0.5)
    assert value_iteration(mdp).policy[0].tolist() == [1.0, 0.0]
    wrong = torch.tensor([0.0, 0.0, 4.0], dtype=torch.float64)
    with pytest.raises(InvalidArgumentError, match="'s2' is 4; expected a finite number, and 0"):
        shape_reward(mdp, wrong)
    paid = mdp.reward + 0.5 * mdp.transition_matrix @ wrong - wrong[:, None]
    bad = mdp.replace(reward=paid.masked_fill(mdp.terminal[:, None], 0.0))
    assert value_iteration(bad).policy[0].tolist() == [0.0, 1.0]


def test_with_a_horizon_the_last_potential_counts_as_zero():
    mdp = random_mdp(4, states=3, actions=2, terminals=1)
    potential, steps = potential_of(mdp, 4), 3
    shaped = shape_reward(mdp, potential, steps)
    assert shaped.shape == (3, 3, 2)
    plain = mdp.reward.expand(steps, -1, -1)
    gen = torch.Generator().manual_seed(0)
    for _ in range(5):
        policies = torch.rand(steps, 3, 2, dtype=torch.float64, generator=gen)
        policies = policies / policies.sum(-1, keepdim=True)
        before = expected_return(mdp, plain, policies)
        after = expected_return(mdp, shaped, policies)
        for s in range(2):
            assert before[s] - after[s] == pytest.approx(float(potential[s]), abs=1e-10)
    # one table for all steps leaves gamma^T E[Phi(s_T)]: that differs between policies
    same = shape_reward(mdp, potential).expand(steps, -1, -1)
    left = []
    for a in range(2):
        fixed = torch.nn.functional.one_hot(torch.full((steps, 3), a), 2).double()
        left.append(expected_return(mdp, same, fixed)[0] - expected_return(mdp, plain, fixed)[0])
    assert abs(left[0] - left[1]) > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_redistribution_changes_no_expected_reward(seed):
    mdp = random_mdp(seed, states=5, actions=3, branches=3)
    gen = torch.Generator().manual_seed(seed)
    table = 5 * torch.randn(5, 3, 5, dtype=torch.float64, generator=gen)
    added = redistribution(mdp, table)
    dense = mdp.transition_matrix
    whole = TabularMDP.from_dense(dense, mdp.reward[..., None] + added, discount=mdp.discount)
    torch.testing.assert_close(whole.reward, mdp.reward, atol=1e-14, rtol=1e-14)
    assert float(added.abs().max()) > 1
    with pytest.raises(InvalidArgumentError, match="one finite number per state, action"):
        redistribution(mdp, table[..., :2])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("terminals", [0, 1])
def test_each_member_of_the_family_has_the_policy_and_the_values(seed, terminals):
    mdp = random_mdp(seed, states=6, actions=3, branches=3, terminals=terminals)
    policy, heat = random_policy(mdp, seed), 0.7
    for part in range(3):
        values = potential_of(mdp, 10 * seed + part)
        reward = reward_family(mdp, policy, values, heat)
        plan = soft_policy_iteration(mdp.replace(reward=reward), heat, tolerance=1e-12)
        alive = ~mdp.terminal
        torch.testing.assert_close(plan.policy[alive], policy[alive], atol=1e-11, rtol=0)
        torch.testing.assert_close(plan.values, values, atol=1e-10, rtol=0)


def test_the_family_is_everything_that_explains_a_policy():
    """Any reward at all is a member: the one of its own soft policy and values."""
    mdp = random_mdp(9, states=5, actions=3, branches=3, terminals=1)
    reward = random_reward(mdp, 5).masked_fill(mdp.terminal[:, None], 0.0)
    plan = soft_policy_iteration(mdp.replace(reward=reward), 0.5, tolerance=1e-12)
    again = reward_family(mdp, plan.policy, plan.values, 0.5)
    torch.testing.assert_close(again, reward, atol=1e-10, rtol=0)
    # |S| dimensions, one per live state; optimal policies are open in all |S||A| of them
    assert int(torch.linalg.matrix_rank(shaping_matrix(mdp))) == 4


def test_the_gradient_of_the_policy_vanishes_along_shaping_only():
    """Finite differences of log pi in the reward: |S| flat directions, all of them shaping."""
    mdp = random_mdp(2, states=4, actions=2, branches=3)
    base, heat, step = mdp.reward, 0.8, 1e-5

    def log_policy(reward):
        return soft_policy_iteration(mdp.replace(reward=reward), heat, tolerance=1e-12).policy.log()

    columns = []
    for unit in torch.eye(8, dtype=torch.float64).view(8, 4, 2):
        moved = [log_policy(base + sign * step * unit) for sign in (1, -1)]
        columns.append(((moved[0] - moved[1]) / (2 * step)).flatten())
    jacobian = torch.stack(columns, 1)
    sizes = torch.linalg.svdvals(jacobian)
    assert int((sizes > 1e-5).sum()) == 4 == 8 - mdp.n_states
    assert float((jacobian @ shaping_matrix(mdp)).abs().max()) < 1e-7


@pytest.mark.parametrize("seed", range(3))
def test_fit_shaping_finds_the_potential_or_measures_the_rest(seed):
    mdp = random_mdp(seed, states=6, actions=3, branches=3, terminals=1)
    potential = potential_of(mdp, seed)
    fit = fit_shaping(mdp, mdp.reward, shape_reward(mdp, potential))
    torch.testing.assert_close(fit.potential, potential)
    assert fit.distance < 1e-12
    other = shape_reward(mdp, potential).clone()
    other[0, 0] += 1.0
    fit = fit_shaping(mdp, mdp.reward, other)
    assert 0.1 < fit.distance < 1.0
    heat = 1.0
    soft = [soft_policy_iteration(mdp.replace(reward=r), heat).policy for r in (mdp.reward, other)]
    assert float((soft[0] - soft[1]).abs().max()) > 1e-3


def test_scale_is_seen_by_a_soft_policy_at_a_known_temperature_only():
    mdp = random_mdp(3, states=4, actions=3)
    double = mdp.replace(reward=2 * mdp.reward)
    soft = soft_policy_iteration(mdp, 1.0).policy
    assert float((soft_policy_iteration(double, 1.0).policy - soft).abs().max()) > 0.01
    torch.testing.assert_close(soft_policy_iteration(double, 2.0).policy, soft)
    assert torch.equal(value_iteration(double).policy, value_iteration(mdp).policy)
    finite = [soft_backward(m, 1.0, 3).policy for m in (mdp, double)]
    assert float((finite[0] - finite[1]).abs().max()) > 0.01


def test_bad_input_is_refused_with_its_place():
    mdp = random_mdp(0, states=4, actions=2, terminals=1)
    zero = torch.zeros(4, dtype=torch.float64)
    with pytest.raises(InvalidArgumentError, match=r"shape \(3,\); expected \(4,\)"):
        shape_reward(mdp, zero[:3])
    with pytest.raises(InvalidArgumentError, match=r"torch\.float32"):
        shaping_term(mdp, zero.float())
    with pytest.raises(InvalidArgumentError, match="'s1' is nan"):
        shaping_term(mdp, zero.index_fill(0, torch.tensor([1]), torch.nan))
    with pytest.raises(InvalidArgumentError, match="horizon is 0"):
        shape_reward(mdp, zero, 0)
    greedy = torch.nn.functional.one_hot(torch.zeros(4, dtype=torch.long), 2).double()
    with pytest.raises(InvalidArgumentError, match=r"log pi = -inf.*|no finite reward"):
        reward_family(mdp, greedy, zero)
    with pytest.raises(InvalidArgumentError, match="sum to 1"):
        reward_family(mdp, torch.full((4, 2), 0.4, dtype=torch.float64), zero)
    with pytest.raises(InvalidArgumentError, match="values of state 's3' is 1"):
        reward_family(mdp, random_policy(mdp, 0), zero + 1)
    with pytest.raises(InvalidArgumentError, match="temperature is 0"):
        reward_family(mdp, random_policy(mdp, 0), zero, 0)
    with pytest.raises(InvalidArgumentError, match="the first reward has shape"):
        fit_shaping(mdp, mdp.reward[:2], mdp.reward[:2])


def test_a_policy_may_hold_anything_where_the_episode_is_over():
    mdp = random_mdp(0, states=4, actions=2, terminals=1)
    policy = random_policy(mdp, 0)
    policy[3] = torch.tensor([1.0, 0.0])
    reward = reward_family(mdp, policy, torch.zeros(4, dtype=torch.float64))
    assert reward[3].tolist() == [0.0, 0.0] and bool(torch.isfinite(reward).all())
    values = soft_policy_evaluation(mdp.replace(reward=reward), policy, 1.0)
    assert float(values.abs().max()) < 1e-12
