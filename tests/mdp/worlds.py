"""Decision processes to test with, and slow, obvious ways to solve them."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import strategies as st

from tutorlib.mdp import TabularMDP


def random_mdp(
    seed: int,
    states: int = 5,
    actions: int = 3,
    branches: int = 3,
    discount: float = 0.9,
    terminal: int = 0,
    horizon: int | None = None,
) -> TabularMDP:
    """Return a process with repeated successors, zero branches and, at the end, terminal states."""
    generator = torch.Generator().manual_seed(seed)
    shape = (states, actions, branches)
    successors = torch.randint(states, shape, generator=generator)
    weights = torch.rand(shape, generator=generator, dtype=torch.float64)
    weights[..., 0] += 0.1
    weights[weights < 0.3] = 0.0
    weights[..., 0] += weights.sum(-1) == 0
    probabilities = weights / weights.sum(-1, keepdim=True)
    reward = torch.randn(states, actions, generator=generator, dtype=torch.float64)
    initial = torch.rand(states, generator=generator, dtype=torch.float64)
    ends = torch.arange(states) >= states - terminal
    successors[ends] = torch.arange(states)[ends][:, None, None]
    reward[ends] = 0.0
    return TabularMDP(
        successors=successors,
        probabilities=probabilities,
        reward=reward,
        initial_state_dist=initial / initial.sum(),
        discount=discount,
        horizon=horizon,
        terminal=ends,
    )


def random_policy(mdp: TabularMDP, seed: int, zeros: bool = False) -> torch.Tensor:
    """Return a policy; with ``zeros`` some actions are never taken (never all of them)."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(mdp.reward.shape, generator=generator, dtype=torch.float64) + 0.05
    if zeros:
        never = torch.rand(mdp.reward.shape, generator=generator) < 0.4
        never[:, 0] = False
        weights = weights.masked_fill(never, 0.0)
    return weights / weights.sum(-1, keepdim=True)


DISCOUNTS = st.floats(0.0, 0.97)
ENDS = st.integers(0, 2)


@st.composite
def mdps(draw, discount=DISCOUNTS, terminal=ENDS):
    """Draw small processes of all proportions."""
    states = draw(st.integers(3, 7))
    return random_mdp(
        seed=draw(st.integers(0, 10_000)),
        states=states,
        actions=draw(st.integers(1, 4)),
        branches=draw(st.integers(1, 4)),
        discount=draw(discount),
        terminal=draw(terminal),
    )


def value_by_numpy(mdp: TabularMDP, policy) -> np.ndarray:
    """Return V of a policy by numpy's solver on the dense matrix."""
    dense, pi = mdp.transition_matrix.numpy(), np.asarray(policy)
    step = np.einsum("sa,sat->st", pi, dense)
    income = (pi * mdp.reward.numpy()).sum(1)
    return np.linalg.solve(np.eye(mdp.n_states) - mdp.discount * step, income)


def best_by_brute_force(mdp: TabularMDP) -> np.ndarray:
    """Return V* as the best, in every state, over all deterministic policies."""
    rows = np.eye(mdp.n_actions)
    policies = itertools.product(range(mdp.n_actions), repeat=mdp.n_states)
    return np.max([value_by_numpy(mdp, rows[list(choice)]) for choice in policies], axis=0)


def trajectories(mdp: TabularMDP, steps: int):
    """Yield (first state, states, actions, probability of the dynamics) of every trajectory."""
    dense = mdp.transition_matrix.numpy()
    for states in itertools.product(range(mdp.n_states), repeat=steps + 1):
        for actions in itertools.product(range(mdp.n_actions), repeat=steps):
            chance = 1.0
            for t in range(steps):
                chance *= dense[states[t], actions[t], states[t + 1]]
            if chance > 0:
                yield states[0], states, actions, chance
