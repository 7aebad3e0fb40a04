"""A world small enough to list every trajectory: three steps, two states, two actions."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

STEPS, START = 3, (0.7, 0.3)
MOVES = np.array([[[0.8, 0.2], [0.1, 0.9]], [[0.5, 0.5], [1.0, 0.0]]])  # P(s' | s, a)
PAID = np.array([[1.0, -0.5], [0.3, 2.0]])  # r(s, a)
TABLE = torch.tensor([[0.2, -0.4], [0.5, 0.1]], dtype=torch.float64)  # the policy's logits


def all_trajectories():
    """Yield (states, actions, rewards, probability under the dynamics) for each possibility."""
    for states in itertools.product((0, 1), repeat=STEPS):
        for actions in itertools.product((0, 1), repeat=STEPS):
            chance = START[states[0]]
            for t in range(STEPS - 1):
                chance *= MOVES[states[t], actions[t], states[t + 1]]
            if chance > 0:
                yield states, actions, [PAID[s, a] for s, a in zip(states, actions, strict=True)], \
                    chance


def exact_return(table: np.ndarray, discount: float) -> float:
    """Return J by adding up every trajectory."""
    policy = np.exp(table) / np.exp(table).sum(1, keepdims=True)
    total = 0.0
    for states, actions, rewards, chance in all_trajectories():
        chosen = np.prod([policy[s, a] for s, a in zip(states, actions, strict=True)])
        total += chance * chosen * sum(discount**t * r for t, r in enumerate(rewards))
    return total


def exact_gradient(discount: float) -> Tensor:
    """Return the gradient of J in the logits TABLE, by finite differences of ``exact_return``."""
    exact, h = torch.zeros_like(TABLE), 1e-5
    for index in np.ndindex(*TABLE.shape):
        step = np.zeros(TABLE.shape)
        step[index] = h
        up, down = (exact_return(TABLE.numpy() + sign * step, discount) for sign in (1, -1))
        exact[index] = (up - down) / (2 * h)
    return exact
