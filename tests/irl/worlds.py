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
