"""One step ahead and one step on: the two products with the transition probabilities.

Every planner and every forward pass is built from ``expected_next_values`` (backward) and
``next_distribution`` (forward). Both cost O(states * actions * branches).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.mdp import checks
from tutorlib.mdp.tabular import TabularMDP


def expected_next_values(
    mdp: TabularMDP, values: Float[Tensor, "*batch states"]
) -> Float[Tensor, "*batch states actions"]:
    """Return the mean value of the next state, E[V(s') | s, a] = sum_s' P(s' | s, a) V(s').

    Leading axes of ``values`` are a batch. Raises InvalidArgumentError unless the last axis has one
    number per state.

    >>> mdp = TabularMDP.from_dense([[[0.5, 0.5]], [[0.0, 1.0]]], [0.0, 0.0])
    >>> expected_next_values(mdp, torch.tensor([2.0, 4.0], dtype=torch.float64)).tolist()
    [[3.0], [4.0]]
    """
    checks.check_values(mdp, values)
    batch, pairs = values.shape[:-1], mdp.n_states * mdp.n_actions
    following = values.index_select(-1, mdp.flat_successors).view(*batch, mdp.n_branches, pairs)
    # in place: the gathered copy is ours, and at 100,000 states a second copy halves the speed
    mean = following.mul_(mdp.flat_probabilities).sum(-2)
    return mean.view(*batch, mdp.n_states, mdp.n_actions)


def q_values(
    mdp: TabularMDP, values: Float[Tensor, "*batch states"]
) -> Float[Tensor, "*batch states actions"]:
    """Return Q(s, a) = r(s, a) + gamma E[V(s') | s, a] (Sutton and Barto 2018, eq. 4.6).

    Leading axes of ``values`` are a batch. Raises InvalidArgumentError unless the last axis has one
    number per state.

    >>> mdp = TabularMDP.from_dense([[[0.5, 0.5]], [[0.0, 1.0]]], [1.0, 0.0], discount=0.5)
    >>> q_values(mdp, torch.tensor([2.0, 4.0], dtype=torch.float64)).tolist()
    [[2.5], [2.0]]
    """
    return torch.add(mdp.reward, expected_next_values(mdp, values), alpha=mdp.discount)


def bellman_backup(
    mdp: TabularMDP, values: Float[Tensor, "*batch states"]
) -> Float[Tensor, "*batch states"]:
    """Return max_a Q(s, a), and 0 in terminal states (Sutton and Barto 2018, eq. 4.10).

    A contraction: two value functions come closer by the factor gamma in the maximum norm.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[1.0, 3.0]], discount=0.5)
    >>> bellman_backup(mdp, torch.tensor([10.0], dtype=torch.float64)).tolist()
    [8.0]
    """
    return q_values(mdp, values).amax(-1).masked_fill(mdp.terminal, 0.0)


def next_distribution(
    mdp: TabularMDP, states: Float[Tensor, " states"], policy: Float[Tensor, "states actions"]
) -> Float[Tensor, " states"]:
    """Return where the mass goes in one step: d'(s') = sum_{s, a} d(s) pi(a | s) P(s' | s, a).

    Linear in ``states``, which may be any weights. On a GPU the sums run in no fixed order, so the
    last digits can differ between runs.

    >>> mdp = TabularMDP.from_dense([[[0.5, 0.5]], [[0.0, 1.0]]], [0.0, 0.0])
    >>> next_distribution(mdp, mdp.initial_state_dist, uniform_policy(mdp)).tolist()
    [0.25, 0.75]
    """
    checks.check_values(mdp, states)
    mass = mdp.flat_probabilities * (states[:, None] * policy).view(-1)
    return torch.zeros_like(mass[0, : mdp.n_states]).scatter_add(
        0, mdp.flat_successors, mass.view(-1)
    )


def greedy_policy(q: Float[Tensor, "*batch actions"]) -> Float[Tensor, "*batch actions"]:
    """Return one-hot rows at the largest Q; ties go to the first of the actions.

    >>> greedy_policy(torch.tensor([[1.0, 3.0], [2.0, 2.0]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return torch.zeros_like(q).scatter_(-1, q.argmax(-1, keepdim=True), 1.0)


def uniform_policy(mdp: TabularMDP) -> Float[Tensor, "states actions"]:
    """Return the policy that takes every action equally often.

    >>> uniform_policy(TabularMDP.from_dense([[[1.0], [1.0]]], [0.0])).tolist()
    [[0.5, 0.5]]
    """
    return torch.full_like(mdp.reward, 1 / mdp.n_actions, requires_grad=False)
