"""The exact likelihood: against a plain sum over what was seen, finite differences, shaping."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.irl.worlds import random_mdp, random_policy, random_reward
from tutorlib.irl import (
    backward_pass,
    causal_likelihood,
    causal_loss,
    entering_flow,
    expert_visits,
    forward_pass,
)
from tutorlib.mdp import expected_next_values, sample_trajectories

close = torch.testing.assert_close
CASES = [(0, {}), (1, {"terminals": 1}), (2, {"horizon": None}),
         (3, {"horizon": None, "terminals": 2, "states": 6})]


def sample(mdp, seed, n=5, steps=3):
    """Return a few demonstrations of a random policy, and their visits."""
    gen = torch.Generator().manual_seed(seed)
    demos = sample_trajectories(mdp, random_policy(mdp, seed), n, steps, gen)
    return demos, expert_visits(mdp, demos, per_step=mdp.horizon is not None, max_missing=1.0)


@pytest.mark.parametrize("seed, changes", CASES)
def test_it_is_the_sum_of_what_was_seen(seed, changes):
    """-sum_t gamma^t log pi_t(a_t|s_t), averaged over demonstrations, step by step."""
    mdp, temperature = random_mdp(seed, **changes), 0.7
    demos, visits = sample(mdp, seed)
    reward = random_reward(mdp, seed)
    _, policy = backward_pass(mdp, reward, temperature)
    wanted = 0.0
    for i in range(5):
        for t in range(3):
            if bool(demos.mask[i, t]):
                table = policy[t] if mdp.horizon else policy
                chance = table[demos.states[i, t], demos.actions[i, t]]
                wanted -= mdp.discount**t * float(chance.log()) / 5
    assert float(causal_likelihood(mdp, reward, visits, temperature)) == pytest.approx(wanted)


@pytest.mark.parametrize("seed, changes", CASES)
def test_gradient_against_finite_differences(seed, changes):
    mdp = random_mdp(seed, **changes)
    _, visits = sample(mdp, seed)
    reward = random_reward(mdp, seed).requires_grad_()
    loss = lambda r: causal_likelihood(mdp, r, visits, 0.7)  # noqa: E731
    assert torch.autograd.gradcheck(loss, reward, eps=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed, changes", CASES)
def test_exact_visits_enter_at_the_start_only_and_give_the_gap_loss(seed, changes):
    mdp = random_mdp(seed, **changes)
    finite = mdp.horizon is not None
    visits = forward_pass(mdp, random_policy(mdp, seed, mdp.horizon), per_step=finite)
    entering = entering_flow(mdp, visits)
    first = entering[0] if finite else entering
    close(first, mdp.initial_state_dist)
    if finite:
        close(entering[1:], torch.zeros_like(entering[1:]))
    reward = random_reward(mdp, seed, 2)
    total = visits.sum(0) if finite else visits
    close(causal_likelihood(mdp, reward, visits.expand(2, *visits.shape)),
          causal_loss(mdp, reward, total))


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(-100.0, 100.0))
def test_no_shaping_can_lower_it(seed, size):
    """The likelihood of a sample stays; the gap loss moves with it, without end."""
    mdp = random_mdp(seed % 7, horizon=None, branches=3)
    _, visits = sample(mdp, seed)
    potential = size * random_reward(mdp, seed)[:, 0]
    shaping = mdp.discount * expected_next_values(mdp, potential) - potential[:, None]
    plain = causal_likelihood(mdp, mdp.reward, visits)
    close(causal_likelihood(mdp, mdp.reward + shaping, visits), plain, atol=1e-7, rtol=0)
    moved = causal_loss(mdp, mdp.reward + shaping, visits) - causal_loss(mdp, mdp.reward, visits)
    wanted = potential @ (entering_flow(mdp, visits) - mdp.initial_state_dist)
    close(moved, wanted, atol=1e-7, rtol=0)
