"""The passes against enumeration, other planners and finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tutorlib.irl.passes as passes
from tests.irl.worlds import random_mdp, random_policy, random_reward
from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.irl import (
    backward_pass,
    causal_loss,
    causal_loss_by_recursion,
    enumerate_paths,
    forward_pass,
    path_probabilities,
    solve_causal,
)
from tutorlib.mdp import (
    expected_next_values,
    occupancy_measure,
    soft_backward,
    soft_value_iteration,
)

close = torch.testing.assert_close
CASES = [  # (seed, changes): stochastic, terminal, undiscounted, endless
    (0, {}), (1, {"terminals": 1}), (2, {"discount": 1.0, "horizon": 4, "branches": 1}),
    (3, {"horizon": None}), (4, {"horizon": None, "terminals": 2, "states": 6}),
]
FINITE = [case for case in CASES if case[1].get("horizon", 3) is not None]


def visits_by_listing(mdp, policy, horizon):
    """Return discounted visits by adding up every trajectory, step by step, in plain Python."""
    paths = enumerate_paths(mdp, horizon)
    table = torch.zeros(mdp.n_states, mdp.n_actions, dtype=torch.float64)
    for path, chance in enumerate(path_probabilities(paths, policy).tolist()):
        for t in range(horizon):
            if bool(paths.mask[path, t]):
                state, action = int(paths.states[path, t]), int(paths.actions[path, t])
                table[state, action] += mdp.discount**t * chance
    return table


@pytest.mark.parametrize("seed, changes", FINITE)
def test_backward_pass_agrees_with_the_soft_planner(seed, changes):
    mdp = random_mdp(seed, **changes)
    values, policy = backward_pass(mdp, mdp.reward, temperature=0.7)
    wanted_values, _, wanted_policy = soft_backward(mdp, 0.7, mdp.horizon)
    close(values, wanted_values)
    alive = ~mdp.terminal
    close(policy[:, alive], wanted_policy[:, alive])


@pytest.mark.parametrize("seed, changes", FINITE)
def test_soft_values_are_the_best_of_reward_plus_entropy(seed, changes):
    """E[sum gamma^t (r - lambda log pi)], by listing: V_0 for pi*, less for other policies."""
    mdp, temperature = random_mdp(seed, **changes), 0.7
    values, policy = backward_pass(mdp, mdp.reward, temperature)
    best = float(mdp.initial_state_dist @ values[0])

    def objective(tables):
        paths = enumerate_paths(mdp)
        chances, total = path_probabilities(paths, tables), 0.0
        for t in range(mdp.horizon):
            s, a = paths.states[:, t], paths.actions[:, t]
            paid = mdp.reward[s, a] - temperature * tables[t, s, a].log()
            total += mdp.discount**t * float((chances * paid * paths.mask[:, t]).sum())
        return total

    assert objective(policy) == pytest.approx(best, abs=1e-10)
    for other in range(3):
        assert objective(random_policy(mdp, other, mdp.horizon)) < best


@pytest.mark.parametrize("seed, changes", FINITE)
def test_forward_pass_agrees_with_listing_all_trajectories(seed, changes):
    mdp = random_mdp(seed, **changes)
    policy = random_policy(mdp, seed, mdp.horizon)
    visits = forward_pass(mdp, policy)
    close(visits, visits_by_listing(mdp, policy, mdp.horizon))
    steps = forward_pass(mdp, policy, per_step=True)
    close(steps.sum(0), visits)
    if not mdp.terminal.any():
        weights = mdp.discount ** torch.arange(mdp.horizon, dtype=torch.float64)
        close(steps.sum((1, 2)), weights)
        close(visits.sum(), weights.sum())


@pytest.mark.parametrize("dense", [0, 500])
@pytest.mark.parametrize("seed, changes", CASES[3:])
def test_endless_passes_agree_with_the_planners(seed, changes, dense, monkeypatch):
    monkeypatch.setattr(passes, "DENSE_STATES", dense)
    mdp = random_mdp(seed, **changes)
    solution = solve_causal(mdp, mdp.reward, 0.7)
    alive = ~mdp.terminal
    planned = soft_value_iteration(mdp, 0.7, tolerance=1e-13)
    close(solution.values, planned.values, atol=1e-9, rtol=0)
    wanted = occupancy_measure(mdp, solution.policy)
    close(solution.occupancy[alive], wanted[alive], atol=1e-9, rtol=0)
    assert (solution.occupancy[mdp.terminal] == 0).all()


def test_one_step_by_hand():
    """Two actions paying log 3 and 0: three quarters, one quarter, and V = log 4."""
    mdp = random_mdp(0, states=1, branches=1, horizon=1)
    reward = torch.tensor([[3.0, 1.0]], dtype=torch.float64).log()
    solution = solve_causal(mdp, reward)
    close(solution.policy[0, 0], torch.tensor([0.75, 0.25], dtype=torch.float64))
    close(solution.values[0], torch.tensor([4.0], dtype=torch.float64).log())
    assert (solution.values[1] == 0).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize("seed, changes", CASES)
def test_gradient_of_the_loss_against_finite_differences(seed, changes, temperature):
    mdp = random_mdp(seed, **changes)
    policy = random_policy(mdp, seed, mdp.horizon)
    expert = forward_pass(mdp, policy)
    reward = random_reward(mdp, seed).requires_grad_()
    loss = lambda r: causal_loss(mdp, r, expert, temperature)  # noqa: E731
    assert torch.autograd.gradcheck(loss, reward, eps=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed, changes", FINITE)
def test_autograd_through_the_recursion_gives_the_same_loss_and_gradient(seed, changes):
    mdp = random_mdp(seed, **changes)
    expert = forward_pass(mdp, random_policy(mdp, seed, mdp.horizon))
    one, two = (random_reward(mdp, seed, 2).requires_grad_() for _ in range(2))
    loss = causal_loss(mdp, one, expert, 0.6)
    same = causal_loss_by_recursion(mdp, two, expert, 0.6)
    close(loss, same)
    loss.sum().backward()
    same.sum().backward()
    close(one.grad, two.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("seed, changes", FINITE)
def test_loss_is_the_discounted_negative_log_likelihood(seed, changes):
    """When the expert's visits obey the dynamics: E[sum gamma^t -log pi_t(a_t|s_t)], in nats."""
    mdp, temperature = random_mdp(seed, **changes), 0.6
    expert = forward_pass(mdp, random_policy(mdp, seed, mdp.horizon), per_step=True)
    reward = random_reward(mdp, seed)
    _, policy = backward_pass(mdp, reward, temperature)
    likelihood = -(expert * policy.log()).sum()
    close(causal_loss(mdp, reward, expert.sum(0), temperature), likelihood)


def test_endless_loss_is_the_discounted_negative_log_likelihood():
    mdp = random_mdp(3, horizon=None, terminals=1)
    expert = forward_pass(mdp, random_policy(mdp, 3))
    reward = random_reward(mdp, 3)
    _, policy = backward_pass(mdp, reward, 0.6)
    close(causal_loss(mdp, reward, expert, 0.6), -(expert * policy.log()).sum())


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.sampled_from([3, None]))
def test_loss_is_convex_in_the_reward(seed, share, horizon):
    mdp = random_mdp(seed % 7, horizon=horizon, terminals=seed % 2)
    expert = forward_pass(mdp, random_policy(mdp, seed, horizon))
    one, two = random_reward(mdp, seed, 2).unbind(0)
    between = causal_loss(mdp, share * one + (1 - share) * two, expert)
    ends = causal_loss(mdp, torch.stack([one, two]), expert)
    assert float(between) <= float(share * ends[0] + (1 - share) * ends[1]) + 1e-8


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_potential_shaping_changes_neither_policy_nor_gap(seed):
    """r + gamma E Phi(s') - Phi(s) has the same soft-optimal policy (Ng et al. 1999)."""
    mdp = random_mdp(seed % 7, horizon=None, terminals=1)
    potential = random_reward(mdp, seed)[:, 0].masked_fill(mdp.terminal, 0.0)
    shaped = mdp.reward + mdp.discount * expected_next_values(mdp, potential) - potential[:, None]
    one, two = solve_causal(mdp, mdp.reward), solve_causal(mdp, shaped)
    close(two.occupancy, one.occupancy, atol=1e-8, rtol=0)
    close(two.values, one.values - potential, atol=1e-8, rtol=0)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.1, 10.0))
def test_only_reward_over_temperature_matters_to_the_policy(seed, scale):
    mdp = random_mdp(seed % 7, horizon=3)
    _, one = backward_pass(mdp, mdp.reward, 1.0)
    _, two = backward_pass(mdp, scale * mdp.reward, scale)
    close(one, two)


@pytest.mark.parametrize("seed, changes", CASES)
def test_a_batch_of_rewards_is_solved_like_each_alone(seed, changes):
    mdp = random_mdp(seed, **changes)
    rewards = random_reward(mdp, seed, 2, 3)
    together = solve_causal(mdp, rewards, 0.7)
    assert together.occupancy.shape == rewards.shape
    for i in range(2):
        for j in range(3):
            alone = solve_causal(mdp, rewards[i, j], 0.7)
            close(together.values[i, j], alone.values, atol=1e-9, rtol=0)
            close(together.policy[i, j], alone.policy, atol=1e-9, rtol=0)
            close(together.occupancy[i, j], alone.occupancy, atol=1e-9, rtol=0)


def test_extreme_rewards_stay_finite():
    mdp = random_mdp(0, horizon=50, discount=1.0)
    reward = 1e4 * random_reward(mdp, 0)
    solution = solve_causal(mdp, reward, temperature=0.01)
    assert torch.isfinite(solution.values).all()
    close(solution.policy.sum(-1), torch.ones(50, 4, dtype=torch.float64))
    close(solution.occupancy.sum(), torch.tensor(50.0, dtype=torch.float64))


def test_terminal_rewards_and_expert_visits_there_count_for_nothing():
    mdp = random_mdp(1, terminals=1)
    expert = forward_pass(mdp, random_policy(mdp, 1, 3))
    reward, paid = random_reward(mdp, 1), random_reward(mdp, 1)
    paid[-1] = 100.0
    also = expert.clone()
    also[-1] = 7.0
    paid.requires_grad_()
    loss = causal_loss(mdp, paid, also)
    loss.backward()
    close(loss.detach(), causal_loss(mdp, reward, expert))
    assert (paid.grad[-1] == 0).all()


def test_single_precision_is_kept_and_close():
    mdp = random_mdp(0, horizon=20)
    small = mdp.to(dtype=torch.float32)
    solution = solve_causal(small, small.reward)
    assert solution.occupancy.dtype == torch.float32
    exact = solve_causal(mdp, mdp.reward).occupancy
    close(solution.occupancy.double(), exact, atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("seed, changes", CASES)
def test_a_gpu_gives_what_the_cpu_gives(seed, changes):
    mdp = random_mdp(seed, **changes)
    rewards = random_reward(mdp, seed, 3)
    there = solve_causal(mdp.to("cuda"), rewards.cuda())
    assert there.occupancy.device.type == "cuda"
    close(there.occupancy.cpu(), solve_causal(mdp, rewards).occupancy, atol=1e-9, rtol=0)


@pytest.mark.parametrize("call, words", [
    (lambda m: backward_pass(m, m.reward[:2]), "expected (..., 4, 2)"),
    (lambda m: backward_pass(m, m.reward.float()), "torch.float32"),
    (lambda m: backward_pass(m, m.reward * torch.nan), "state 's0', action 'a0' is not finite"),
    (lambda m: backward_pass(m, m.reward, temperature=0.0), "above 0"),
    (lambda m: backward_pass(m, m.reward, horizon=0), "horizon is 0"),
    (lambda m: backward_pass(m, m.reward, horizon=True), "horizon is True"),
    (lambda m: forward_pass(m, random_policy(m, 0)), "one table per step"),
    (lambda m: forward_pass(m, 2 * random_policy(m, 0, 3)), "policy in state 's0' is"),
    (lambda m: forward_pass(m, random_policy(m, 0, 3), entering=m.reward), "entering has shape"),
    (lambda m: forward_pass(m, random_policy(m, 0, 2)), "one table per step"),
    (lambda m: forward_pass(m.replace(horizon=None), random_policy(m, 0), None, True), "endless"),
    (lambda m: solve_causal(m.replace(discount=1.0), m.reward, horizon=-1), "horizon is -1"),
    (lambda m: causal_loss_by_recursion(m.replace(horizon=None), m.reward, m.reward), "horizon"),
])
def test_bad_arguments_are_refused_in_words(call, words):
    with pytest.raises(InvalidArgumentError) as caught:
        call(random_mdp(0))
    assert words in str(caught.value)


def test_an_endless_process_without_discount_is_refused():
    mdp = random_mdp(1, terminals=1, discount=1.0, horizon=None)
    with pytest.raises(InvalidArgumentError, match="discount below 1"):
        backward_pass(mdp, mdp.reward)


def test_sweeps_that_do_not_settle_say_so(monkeypatch):
    monkeypatch.setattr(passes, "SWEEPS", 3)
    monkeypatch.setattr(passes, "DENSE_STATES", 0)
    mdp = random_mdp(3, horizon=None)
    with pytest.raises(NotConvergedError, match="after 3 sweeps"):
        backward_pass(mdp, mdp.reward)
