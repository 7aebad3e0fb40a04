"""Behaviour cloning in a finite process: count what was done, and divide.

The maximum-likelihood policy of demonstrations is their relative frequencies (Sun and van der
Schaar 2025, section 2.4, behaviour cloning). It minimises the mean negative log-likelihood, which
is KL(demonstrator || policy), averaged over the states that the demonstrator visits, plus an
entropy that no policy changes: the *forward* KL. ``smoothing`` (pseudo-counts) is an argument. In a
state that nobody demonstrated every action is equally likely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.imitation.pairs import check_pairs, demonstrated_pairs
from tutorlib.mdp import TabularMDP, Trajectories
from tutorlib.mdp.checks import check_policy


def action_counts(
    mdp: TabularMDP, states: Int[Tensor, " pairs"], actions: Int[Tensor, " pairs"]
) -> Float[Tensor, "states actions"]:
    """Return how often each action was taken in each state.

    Raises InvalidArgumentError for states or actions that do not exist, or do not pair up.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [0.0])
    >>> action_counts(mdp, torch.tensor([0, 0, 0]), torch.tensor([1, 1, 0])).tolist()
    [[1.0, 2.0]]
    """
    check_pairs(mdp, states, actions)
    counts = torch.zeros(mdp.n_states * mdp.n_actions, dtype=mdp.dtype, device=mdp.device)
    cells = states * mdp.n_actions + actions
    ones = torch.ones_like(cells, dtype=mdp.dtype)
    return counts.index_add_(0, cells, ones).view(mdp.n_states, mdp.n_actions)


def policy_from_counts(
    counts: Float[Tensor, "states actions"], smoothing: float = 0.0
) -> Float[Tensor, "states actions"]:
    """Return pi(a|s) = (N(s, a) + smoothing) / (N(s) + smoothing A); uniform where N(s) = 0.

    Raises InvalidArgumentError for counts that are none, and for negative or infinite smoothing.

    >>> policy_from_counts(torch.tensor([[3.0, 1.0], [0.0, 0.0]])).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    """
    if not (smoothing >= 0 and math.isfinite(smoothing)):
        raise InvalidArgumentError(f"smoothing is {smoothing!r}; expected a finite number >= 0")
    if counts.ndim != 2 or not bool((torch.isfinite(counts) & (counts >= 0)).all()):
        raise InvalidArgumentError(
            f"counts have shape {tuple(counts.shape)} and run from {float(counts.min()):g} to "
            f"{float(counts.max()):g}; expected [states, actions], finite numbers >= 0"
        )
    unseen = counts.sum(-1, keepdim=True) == 0
    weights = torch.where(unseen, 1.0, counts + smoothing)
    return weights / weights.sum(-1, keepdim=True)


def clone_tabular(
    mdp: TabularMDP, demonstrations: Trajectories | Sequence, smoothing: float = 0.0
) -> Float[Tensor, "states actions"]:
    """Return the policy cloned from demonstrations: ``policy_from_counts`` of their counts.

    Raises InvalidArgumentError as ``demonstrated_pairs`` does, and for negative smoothing.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [0.0])
    >>> clone_tabular(mdp, [([0, 0, 0, 0], [1, 1, 1, 0])]).tolist()
    [[0.25, 0.75]]
    """
    return policy_from_counts(
        action_counts(mdp, *demonstrated_pairs(mdp, demonstrations)), smoothing)


def negative_log_likelihood(
    mdp: TabularMDP, policy: Float[Tensor, "states actions"],
    demonstrations: Trajectories | Sequence,
) -> float:
    """Return the mean of -log pi(a|s) over all demonstrated decisions, in nats.

    Infinite when the policy excludes an action that was demonstrated.

    Raises InvalidArgumentError for a table that is no policy, and as ``demonstrated_pairs`` does.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [0.0])
    >>> even = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    >>> round(negative_log_likelihood(mdp, even, [([0, 0], [1, 0])]), 6)
    0.693147
    """
    policy = check_policy(mdp, policy)
    states, actions = demonstrated_pairs(mdp, demonstrations)
    return -float(policy[states, actions].log().mean())
