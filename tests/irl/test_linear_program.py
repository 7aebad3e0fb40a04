"""Ng and Russell's condition and program: against enumeration, their formula, a second LP."""

import itertools

import numpy as np
import pytest
import torch
from scipy import optimize

from tests.irl.worlds import random_mdp, random_policy, random_reward
from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import lp_irl, margin_matrix, optimality_margins, pay
from tutorlib.mdp import TabularMDP, policy_evaluation, value_iteration


def deterministic(mdp, actions):
    return torch.nn.functional.one_hot(torch.tensor(actions), mdp.n_actions).double()


def best_by_enumeration(mdp, reward, policy):
    """Whether no deterministic policy is worth more anywhere."""
    paid = mdp.replace(reward=reward)
    mine = policy_evaluation(paid, policy)
    return all(bool((policy_evaluation(paid, deterministic(mdp, list(other))) <= mine + 1e-9).all())
               for other in itertools.product(range(mdp.n_actions), repeat=mdp.n_states))


@pytest.mark.parametrize("seed", range(3))
def test_a_policy_is_optimal_iff_no_margin_is_negative(seed):
    mdp = random_mdp(seed, states=3, actions=2, branches=2)
    verdicts = []
    for part in range(12):
        reward = random_reward(mdp, 100 * seed + part)
        for actions in itertools.product(range(2), repeat=3):
            policy = deterministic(mdp, list(actions))
            margins = optimality_margins(mdp, policy, reward)
            verdict = bool((margins >= -1e-10).all())
            assert verdict == best_by_enumeration(mdp, reward, policy)
            verdicts.append(verdict)
    assert 0 < sum(verdicts) < len(verdicts)


def test_for_rewards_of_the_state_acted_in_it_is_the_papers_condition():
    """(P_a1 - P_a)(I - gamma P_a1)^-1 R, here with numpy, for action 0 everywhere."""
    mdp = random_mdp(3, states=4, actions=3, branches=3)
    dense, gamma = mdp.transition_matrix.numpy(), mdp.discount
    inverse = np.linalg.inv(np.eye(4) - gamma * dense[:, 0])
    matrix = margin_matrix(mdp, deterministic(mdp, [0] * 4), "departure").numpy()
    for action in range(3):
        papers = gamma * (dense[:, 0] - dense[:, action]) @ inverse
        np.testing.assert_allclose(matrix[:, action], papers, atol=1e-12)


@pytest.mark.parametrize("paid", ["departure", "arrival", "action"])
def test_the_matrix_gives_the_margins(paid):
    mdp = random_mdp(4, states=5, actions=3, branches=3, terminals=1)
    policy = random_policy(mdp, 0)
    shape = (5, 3) if paid == "action" else (5,)
    table = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = margin_matrix(mdp, policy, paid)
    torch.testing.assert_close(matrix @ table.flatten(),
                               optimality_margins(mdp, policy, pay(mdp, table, paid)))


@pytest.mark.parametrize("paid", ["departure", "arrival", "action"])
@pytest.mark.parametrize("seed", range(3))
def test_the_program_explains_the_policy_and_is_optimal(seed, paid):
    mdp = random_mdp(seed, states=5, actions=3, branches=3, terminals=1)
    if paid != "action":  # few policies are explained by a reward of states: plan for one
        gen = torch.Generator().manual_seed(seed)
        table = torch.randn(5, dtype=torch.float64, generator=gen)
        mdp = mdp.replace(reward=pay(mdp, table, paid))
    policy = value_iteration(mdp).policy
    policy[4] = deterministic(mdp, [0])[0]
    found = lp_irl(mdp, policy, penalty=0.001, paid=paid)
    reward = pay(mdp, found.reward, paid)
    assert bool((optimality_margins(mdp, policy, reward) >= -1e-9).all())
    assert best_by_enumeration(mdp, reward, policy) and not found.trivial
    assert float(found.reward.abs().max()) <= 1 + 1e-9
    assert found.objective == pytest.approx(_second_lp(mdp, policy, 0.001, paid), abs=1e-7)
    margins = found.margins[:4].clone()
    margins[torch.arange(4), policy[:4].argmax(-1)] = torch.inf
    smallest = margins.min(-1).values.sum()
    assert found.objective == pytest.approx(
        float(smallest - 0.001 * found.reward.abs().sum()), abs=1e-8)


def _second_lp(mdp, policy, penalty, paid):
    """The same program in other variables: R = plus - minus, one margin row per action."""
    matrix = margin_matrix(mdp, policy, paid).numpy()
    chosen, n = policy.argmax(-1), matrix.shape[-1]
    rows = [(s, a) for s in range(mdp.n_states) for a in range(mdp.n_actions)
            if a != int(chosen[s]) and not mdp.terminal[s]]
    m = np.stack([matrix[s, a] for s, a in rows])
    pick = np.array([[1.0 * (s == t) for t in range(mdp.n_states)] for s, _ in rows])
    upper = np.vstack([np.hstack([-m, m, pick]), np.hstack([-m, m, 0 * pick])])
    cost = np.concatenate([np.full(2 * n, penalty), -(~mdp.terminal).double().numpy()])
    found = optimize.linprog(cost, upper, np.zeros(len(upper)), method="highs-ipm",
                             bounds=[(0, 1)] * (2 * n) + [(None, None if not e else 0)
                                                          for e in mdp.terminal.tolist()])
    return -found.fun


def test_a_high_penalty_leaves_the_zero_reward():
    mdp = random_mdp(0, states=4, actions=2, branches=2)
    policy = value_iteration(mdp).policy
    sizes = [float(lp_irl(mdp, policy, penalty).reward.abs().sum()) for penalty in (0, 1, 5, 50)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 1
    last = lp_irl(mdp, policy, 50.0)
    assert last.trivial and last.reward.tolist() == [0.0] * 4 and last.objective == 0


def test_a_policy_that_no_state_reward_singles_out():
    """From A one goes to B and not to C, from D to C and not to B; both end the episode."""
    dense = torch.zeros(4, 2, 4, dtype=torch.float64)
    for s, (first, second) in enumerate([(1, 2), (1, 1), (2, 2), (2, 1)]):
        dense[s, 0, first], dense[s, 1, second] = 1, 1
    mdp = TabularMDP.from_dense(dense, torch.zeros(4), terminal=[False, True, True, False])
    policy = deterministic(mdp, [0, 0, 0, 0])
    found = lp_irl(mdp, policy, paid="arrival", penalty=0.01)
    assert found.trivial and float(found.margins.abs().max()) == 0
    found = lp_irl(mdp, policy, paid="action")
    assert not found.trivial  # a reward per action can


def test_the_answer_is_arbitrary_within_the_cone():
    """Another box gives another reward, both explain; so does every sum of two solutions."""
    mdp = random_mdp(2, states=4, actions=2, branches=2)
    policy = value_iteration(mdp).policy
    rewards = [lp_irl(mdp, policy, penalty).reward for penalty in (0.0, 1.0)]
    assert float((rewards[0] - rewards[1]).abs().max()) > 0.1
    both = pay(mdp, rewards[0] + 3 * rewards[1], "departure")
    assert bool((optimality_margins(mdp, policy, both) >= -1e-9).all())


def test_bad_input_is_refused():
    mdp = random_mdp(0, states=4, actions=2, branches=2)
    with pytest.raises(InvalidArgumentError, match="expected a single 1"):
        lp_irl(mdp, random_policy(mdp, 0))
    policy = deterministic(mdp, [0, 1, 0, 1])
    with pytest.raises(InvalidArgumentError, match="penalty -1"):
        lp_irl(mdp, policy, penalty=-1)
    with pytest.raises(InvalidArgumentError, match="paid is 'start'"):
        lp_irl(mdp, policy, paid="start")
    bad = mdp.reward.clone()
    bad[1, 0] = torch.nan
    with pytest.raises(InvalidArgumentError, match="'s1', action 'a0' is not finite"):
        optimality_margins(mdp, policy, bad)
    single = TabularMDP.from_dense([[[1.0]]], [0.0])
    with pytest.raises(InvalidArgumentError, match=r"1 action\(s\)"):
        lp_irl(single, torch.ones(1, 1, dtype=torch.float64))
