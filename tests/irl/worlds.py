"""Small decision processes for these tests, drawn from a seed."""

from __future__ import annotations

import torch

from tutorlib.mdp import TabularMDP


def random_mdp(seed: int, states: int = 4, actions: int = 2, branches: int = 2,
               terminals: int = 0, **changes) -> TabularMDP:
    """Return a process with random transitions; its last ``terminals`` states end the episode."""
    gen = torch.Generator().manual_seed(seed)
    scores = torch.rand(states, actions, states, dtype=torch.float64, generator=gen)
    kept = scores.topk(branches, -1).indices
    dense = torch.zeros_like(scores).scatter(-1, kept, torch.rand(
        states, actions, branches, dtype=torch.float64, generator=gen) + 0.1)
    dense = dense / dense.sum(-1, keepdim=True)
    reward = torch.randn(states, actions, dtype=torch.float64, generator=gen)
    start = torch.rand(states, dtype=torch.float64, generator=gen)
    terminal = torch.arange(states) >= states - terminals
    dense[terminal] = torch.eye(states, dtype=torch.float64)[terminal][:, None, :]
    reward[terminal] = 0.0
    start[terminal] = 0.0
    settings = {"discount": 0.9, "horizon": 3} | changes
    return TabularMDP.from_dense(dense, reward, start / start.sum(), terminal=terminal, **settings)


def token_tree(words: int = 3, length: int = 3) -> TabularMDP:
    """Return the process of writing ``length`` words: a state is a prefix, an action a word."""
    inner = sum(words**depth for depth in range(length))
    states = torch.arange(inner + words**length)
    children = states[:inner, None] * words + 1 + torch.arange(words)  # as in a heap
    leaves = states[inner:, None].expand(-1, words)
    successors = torch.cat([children, leaves])[..., None]
    return TabularMDP(
        successors=successors, probabilities=torch.ones(successors.shape, dtype=torch.float64),
        reward=torch.zeros(successors.shape[:2], dtype=torch.float64),
        initial_state_dist=(states == 0).double(), terminal=states >= inner,
        discount=1.0, horizon=length)


def random_policy(mdp: TabularMDP, seed: int, horizon: int | None = None) -> torch.Tensor:
    """Return a random policy, [states, actions] or one table per step."""
    gen = torch.Generator().manual_seed(1_000 + seed)
    shape = (mdp.n_states, mdp.n_actions) if horizon is None else (
        horizon, mdp.n_states, mdp.n_actions)
    return torch.softmax(torch.randn(shape, dtype=torch.float64, generator=gen), -1)


def random_reward(mdp: TabularMDP, seed: int, *batch: int) -> torch.Tensor:
    """Return a random reward, [*batch, states, actions]."""
    gen = torch.Generator().manual_seed(2_000 + seed)
    return torch.randn(*batch, mdp.n_states, mdp.n_actions, dtype=torch.float64, generator=gen)
