"""Many states, other devices and precisions, gradients: what the sparse form is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve

from tests.mdp.worlds import random_mdp, random_policy
from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.mdp import (
    GridWorld,
    TabularMDP,
    evaluation,
    expected_next_values,
    finite_horizon_plan,
    gibbs_policy,
    greedy_policy,
    linear,
    next_distribution,
    occupancy_measure,
    policy_evaluation,
    policy_iteration,
    sample_trajectories,
    soft_backward,
    soft_policy_evaluation,
    soft_policy_iteration,
    soft_value_iteration,
    state_distributions,
    uniform_policy,
    value_iteration,
)


def open_field(side: int, **settings) -> GridWorld:
    """Return a square with a start in one corner and a goal in the other."""
    rows = [["."] * side for _ in range(side)]
    rows[0][0], rows[-1][-1] = "S", "G"
    return GridWorld("\n".join("".join(row) for row in rows), **settings)


def scipy_chain(mdp: TabularMDP, policy: torch.Tensor) -> sparse.csr_matrix:
    """Return P_pi as scipy's sparse matrix."""
    weights = (policy[..., None] * mdp.probabilities).numpy().ravel()
    states = np.arange(mdp.n_states).repeat(mdp.n_actions * mdp.n_branches)
    shape = (mdp.n_states, mdp.n_states)
    return sparse.csr_matrix((weights, (states, mdp.successors.numpy().ravel())), shape=shape)


@pytest.mark.parametrize("discount", [0.9, 0.99, 0.9999])
@pytest.mark.parametrize("deterministic", [False, True])
def test_iterative_solutions_agree_with_scipys_sparse_solver(discount, deterministic):
    mdp = open_field(40, slip=0.2, step_reward=-0.04, discount=discount).mdp
    assert mdp.n_states > evaluation.DENSE_STATES
    policy = random_policy(mdp, 0)
    if deterministic:
        policy = value_iteration(mdp, tolerance=1e-6).policy
    system = sparse.eye(mdp.n_states) - discount * scipy_chain(mdp, policy)
    income = (policy * mdp.reward).sum(-1).numpy()
    expected = spsolve(system.tocsc(), income)
    values = policy_evaluation(mdp, policy).numpy()
    assert np.abs(values - expected).max() < 1e-11 / (1 - discount)
    visits = spsolve(system.T.tocsc(), mdp.initial_state_dist.numpy())
    occupancy = occupancy_measure(mdp, policy)
    assert np.abs(occupancy.sum(-1).numpy() - visits).max() < 1e-11 / (1 - discount)
    assert bool((occupancy >= 0).all())
    residual = values - income - discount * scipy_chain(mdp, policy) @ values
    assert np.abs(residual).max() < 64 * 2.2e-16 * np.abs(values).max()


def test_dense_and_iterative_paths_agree(monkeypatch):
    mdp = random_mdp(0, states=30, actions=4, branches=5, terminal=2, discount=0.97)
    policy = random_policy(mdp, 0, zeros=True)
    calls = (
        lambda: policy_evaluation(mdp, policy),
        lambda: occupancy_measure(mdp, policy),
        lambda: soft_policy_evaluation(mdp, policy, 0.3),
        lambda: policy_iteration(mdp).values,
        lambda: soft_policy_iteration(mdp, 0.3).values,
    )
    dense = [call() for call in calls]
    monkeypatch.setattr(evaluation, "DENSE_STATES", 0)
    for call, expected in zip(calls, dense, strict=True):
        assert torch.allclose(call(), expected, atol=1e-11)


def test_undiscounted_walks_are_evaluated_without_a_matrix_too(monkeypatch):
    mdp = open_field(5, step_reward=-1.0, rewards={"G": -1.0}, discount=1.0).mdp
    policy = uniform_policy(mdp)
    dense = policy_evaluation(mdp, policy)
    monkeypatch.setattr(evaluation, "DENSE_STATES", 0)
    assert torch.allclose(policy_evaluation(mdp, policy), dense, rtol=1e-11)


def test_when_the_krylov_iteration_breaks_down_sweeps_take_over(monkeypatch):
    mdp = random_mdp(0, states=20)
    policy = random_policy(mdp, 0)
    expected = policy_evaluation(mdp, policy)
    monkeypatch.setattr(evaluation, "DENSE_STATES", 0)
    monkeypatch.setattr(linear, "_bicgstab", lambda step, rhs: rhs * float("nan"))
    assert torch.allclose(policy_evaluation(mdp, policy), expected, atol=1e-13)
    monkeypatch.setattr(linear, "SWEEPS", 3)
    with pytest.raises(NotConvergedError, match="in the last of 3 sweeps; the discount"):
        policy_evaluation(mdp, policy)


def test_no_reward_is_worth_nothing_without_dividing_by_zero(monkeypatch):
    monkeypatch.setattr(evaluation, "DENSE_STATES", 0)
    mdp = random_mdp(0)
    empty = mdp.replace(reward=torch.zeros_like(mdp.reward))
    assert policy_evaluation(empty, uniform_policy(mdp)).tolist() == [0.0] * 5


def test_gradients_are_refused_where_they_would_be_lost(monkeypatch):
    monkeypatch.setattr(evaluation, "DENSE_STATES", 0)
    mdp = random_mdp(0)
    free = mdp.replace(reward=mdp.reward.clone().requires_grad_())
    with pytest.raises(InvalidArgumentError, match="solved iteratively, without gradients"):
        policy_evaluation(free, uniform_policy(mdp))
    with pytest.raises(InvalidArgumentError, match="solved iteratively, without gradients"):
        occupancy_measure(mdp, uniform_policy(mdp).requires_grad_())
    with torch.no_grad():
        assert policy_evaluation(free, uniform_policy(mdp)).shape == (5,)


def test_ten_thousand_states_fit_where_a_dense_matrix_would_not():
    mdp = open_field(100, slip=0.2, step_reward=-0.01, discount=0.99).mdp
    hard = value_iteration(mdp, tolerance=1e-8)
    soft = soft_value_iteration(mdp, 1e-5, tolerance=1e-8)
    assert torch.allclose(hard.values, soft.values, atol=2e-3)
    assert torch.allclose(policy_evaluation(mdp, hard.policy), hard.values, atol=1e-7)
    occupancy = occupancy_measure(mdp, soft.policy)
    assert float(occupancy.sum()) == pytest.approx(100.0, rel=1e-11)


def everything(mdp: TabularMDP, policy: torch.Tensor) -> list[torch.Tensor]:
    """Return every tensor that every public function computes."""
    found = [
        expected_next_values(mdp, mdp.initial_state_dist),
        next_distribution(mdp, mdp.initial_state_dist, policy),
        policy_evaluation(mdp, policy),
        occupancy_measure(mdp, policy),
        state_distributions(mdp, policy, 4),
        soft_policy_evaluation(mdp, policy, 0.5, uniform_policy(mdp)),
        gibbs_policy(mdp.reward, 0.5, policy),
        greedy_policy(mdp.reward),
        mdp.transition_matrix,
    ]
    for plan in (
        value_iteration(mdp),
        policy_iteration(mdp),
        soft_value_iteration(mdp, 0.5, policy),
        soft_policy_iteration(mdp, 0.5),
    ):
        found += [plan.values, plan.q_values, plan.policy]
    found += [*finite_horizon_plan(mdp, 4), *soft_backward(mdp, 0.5, 4, policy)]
    batch = sample_trajectories(mdp, policy, 3, 4, torch.Generator().manual_seed(0))
    return [*found, batch.rewards, batch.states, batch.actions, batch.mask]


@pytest.mark.parametrize("dense_states", [0, 1_000])
def test_float32_stays_float32_and_is_right_to_its_precision(dense_states, monkeypatch):
    monkeypatch.setattr(evaluation, "DENSE_STATES", dense_states)
    mdp = random_mdp(0, terminal=1)
    policy = random_policy(mdp, 0)
    exact = everything(mdp, policy)
    single = everything(mdp.to(dtype=torch.float32), policy.float())
    for one, other in zip(exact[:-4], single[:-4], strict=True):
        assert other.dtype == torch.float32
        assert torch.allclose(one.float(), other, atol=1e-3)


def test_no_tensor_is_made_on_the_default_device(monkeypatch):
    """With a default device on which nothing can be computed, any tensor made there would show."""
    mdp = random_mdp(0, terminal=1)
    policy = random_policy(mdp, 0)
    expected = everything(mdp, policy)
    for dense_states in (0, 1_000):
        monkeypatch.setattr(evaluation, "DENSE_STATES", dense_states)
        with torch.device("meta"):
            found = everything(mdp.replace(), policy)
        for one, other in zip(expected, found, strict=True):
            assert other.device.type == "cpu"
            assert torch.allclose(one.double(), other.double(), atol=1e-9)


@pytest.mark.gpu
def test_everything_runs_on_a_gpu_and_agrees(monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    mdp = random_mdp(0, terminal=1)
    policy = random_policy(mdp, 0)
    expected = everything(mdp, policy)
    for dense_states in (0, 1_000):
        monkeypatch.setattr(evaluation, "DENSE_STATES", dense_states)
        found = everything(mdp.to("cuda"), policy.to("cuda"))
        for one, other in zip(expected, found, strict=True):
            assert other.device.type == "cuda"
            assert torch.allclose(one.double(), other.cpu().double(), atol=1e-9)
    grid = GridWorld("S.G\n.#.")
    assert grid.to_grid(torch.zeros(5, device="cuda")).device.type == "cuda"
    assert grid.with_rewards(torch.ones(5, device="cuda")).cell_rewards.device.type == "cpu"
