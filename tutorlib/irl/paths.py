"""Every trajectory of a small process, listed: what other results are checked against.

The number of trajectories grows as (actions * branches) ** horizon, so this is for processes of a
few states and steps. Rewards may be r(s, a), or one number per branch, r(s, a, branch): the
reward on arrival, ``R[mdp.successors]``, is of the second kind, and keeps what the average over
s' would hide.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.layout import check_reward, resolve_steps
from tutorlib.mdp import TabularMDP


@dataclass(frozen=True)
class Paths:
    """All trajectories that can happen, with the part of their probability that is not choice."""

    states: Int[Tensor, "n steps_plus_one"]
    actions: Int[Tensor, "n steps"]
    branches: Int[Tensor, "n steps"]  # which stored successor happened
    mask: Bool[Tensor, "n steps"]  # whether the step was taken in a state that is not terminal
    dynamics: Float[Tensor, " n"]  # product of P(s_(t+1) | s_t, a_t); the start is not in it
    start: Float[Tensor, " n"]  # mu(s_0)


def enumerate_paths(mdp: TabularMDP, horizon: int | None = None, limit: int = 200_000) -> Paths:
    """List all trajectories of non-zero probability under some policy.

    A trajectory that has reached a terminal state goes on there, once, with its mask False.
    Raises InvalidArgumentError beyond ``limit`` trajectories, or without a horizon.

    >>> mdp = TabularMDP.from_dense([[[0.5, 0.5], [0.0, 1.0]]] * 2, [0.0, 0.0], [1.0, 0.0])
    >>> enumerate_paths(mdp, horizon=2).states.tolist()[:3]
    [[0, 0, 0], [0, 0, 1], [0, 0, 1]]
    """
    steps = resolve_steps(mdp, horizon)
    if steps is None:
        raise InvalidArgumentError("listing trajectories needs a horizon")
    first = (mdp.initial_state_dist > 0).nonzero()
    empty = first.new_empty(len(first), 0)
    paths = Paths(first, empty, empty, empty.bool(), mdp.reward.new_ones(len(first)),
                  mdp.initial_state_dist[first[:, 0]])
    moves = _moves(mdp)
    for _ in range(steps):
        paths = _extend(mdp, paths, moves)
        if len(paths.states) > limit:
            raise InvalidArgumentError(
                f"there are more than {limit} trajectories after {paths.actions.shape[1]} of "
                f"{steps} steps; take a smaller process or horizon, or maxent_backward_pass"
            )
    return paths


def _moves(mdp: TabularMDP) -> Bool[Tensor, "states actions branches"]:
    """Return which moves exist; a terminal state has a single one, which stays."""
    moves = mdp.probabilities > 0
    stay = torch.zeros_like(moves)
    stays = (mdp.successors == torch.arange(mdp.n_states, device=mdp.device)[:, None, None]) & moves
    stay[:, 0] = torch.nn.functional.one_hot(stays[:, 0].long().argmax(-1), mdp.n_branches).bool()
    return torch.where(mdp.terminal[:, None, None], stay, moves)


def _extend(mdp: TabularMDP, paths: Paths, moves: Tensor) -> Paths:
    """Return every path lengthened by one step in every possible way."""
    last = paths.states[:, -1]
    row, action, branch = moves[last].nonzero(as_tuple=True)
    here = last[row]
    return Paths(
        states=torch.cat([paths.states[row], mdp.successors[here, action, branch][:, None]], 1),
        actions=torch.cat([paths.actions[row], action[:, None]], 1),
        branches=torch.cat([paths.branches[row], branch[:, None]], 1),
        mask=torch.cat([paths.mask[row], ~mdp.terminal[here][:, None]], 1),
        dynamics=paths.dynamics[row] * torch.where(
            mdp.terminal[here], 1.0, mdp.probabilities[here, action, branch]),
        start=paths.start[row],
    )


def per_branch(mdp: TabularMDP, reward: Tensor) -> Float[Tensor, "states actions branches"]:
    """Return ``reward`` [states, actions] or [states, actions, branches] as the latter.

    Terminal states pay nothing. Raises InvalidArgumentError for other shapes or what is not finite.
    """
    if reward.ndim == 3 and reward.shape[-1] == mdp.n_branches:
        for one in reward.unbind(-1):
            check_reward(mdp, one)
    else:
        check_reward(mdp, reward)
        reward = reward[..., None].expand(mdp.successors.shape)
    return reward.masked_fill(mdp.terminal[:, None, None], 0.0)


def path_returns(mdp: TabularMDP, paths: Paths, reward: Tensor) -> Float[Tensor, " n"]:
    """Return the plain sum of rewards along each path, f_tau . theta if r is linear."""
    reward = per_branch(mdp, reward)
    return (reward[paths.states[:, :-1], paths.actions, paths.branches] * paths.mask).sum(1)


def path_probabilities(paths: Paths, policy: Tensor) -> Float[Tensor, " n"]:
    """Return P(tau) under ``policy``, [states, actions] or [T, states, actions].

    >>> mdp = TabularMDP.from_dense([[[0.5, 0.5], [0.0, 1.0]]] * 2, [0.0, 0.0], [1.0, 0.0])
    >>> paths = enumerate_paths(mdp, horizon=2)
    >>> path_probabilities(paths, torch.full((2, 2), 0.5, dtype=torch.float64)).sum().item()
    1.0
    """
    steps = paths.actions.shape[1]
    tables = policy if policy.ndim == 3 else policy.expand(steps, -1, -1)
    times = torch.arange(steps, device=policy.device)
    chosen = torch.where(paths.mask, tables[times, paths.states[:, :-1], paths.actions], 1.0)
    return paths.start * paths.dynamics * chosen.prod(1)


def path_visits(mdp: TabularMDP, paths: Paths, probabilities: Float[Tensor, " n"]
                ) -> Float[Tensor, "states actions branches"]:
    """Return how often each (state, action, branch) is expected, summed over time, undiscounted."""
    shape = mdp.successors.shape
    cells = (paths.states[:, :-1] * shape[1] + paths.actions) * shape[2] + paths.branches
    weights = (probabilities[:, None] * paths.mask).reshape(-1)
    counts = probabilities.new_zeros(shape.numel())
    return counts.index_add_(0, cells.reshape(-1), weights).view(shape)
