"""Several processes as one: their disjoint union, so that one pass serves them all.

The states of all processes stand one after another and nothing leads from one process to another,
so planning in the union plans in each. With a reward per state this fits a batch of problems at
once; with a reward that is linear in features, or a network, it learns one reward from
demonstrations under several dynamics.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import TabularMDP


def disjoint_union(mdps: Sequence[TabularMDP]) -> TabularMDP:
    """Return one process that holds all of ``mdps`` side by side.

    It begins in each with equal chance, so its visits are those of the parts divided by their
    number; ``join_visits`` does that to the experts' tables, ``split_states`` takes results apart.

    Raises InvalidArgumentError unless all have the same actions, discount, horizon, dtype, device.

    >>> one = TabularMDP.from_dense([[[1.0]]], [[2.0]])
    >>> disjoint_union([one, one]).successors.flatten().tolist()
    [0, 1]
    """
    if not mdps:
        raise InvalidArgumentError("there is no process to join; expected at least one")
    for name in ("n_actions", "discount", "horizon", "dtype", "device"):
        found = {getattr(mdp, name) for mdp in mdps}
        if len(found) > 1:
            raise InvalidArgumentError(
                f"processes of one union must share {name}; found {sorted(map(str, found))}"
            )
    most = max(mdp.n_branches for mdp in mdps)
    offset, successors, probabilities = 0, [], []
    for mdp in mdps:
        padding = (0, most - mdp.n_branches)
        # padded successors are state 0 of the part, and have probability 0
        successors.append(torch.nn.functional.pad(mdp.successors, padding) + offset)
        probabilities.append(torch.nn.functional.pad(mdp.probabilities, padding))
        offset += mdp.n_states
    return TabularMDP(
        successors=torch.cat(successors),
        probabilities=torch.cat(probabilities),
        reward=torch.cat([mdp.reward for mdp in mdps]),
        initial_state_dist=torch.cat([mdp.initial_state_dist for mdp in mdps]) / len(mdps),
        discount=mdps[0].discount,
        horizon=mdps[0].horizon,
        terminal=torch.cat([mdp.terminal for mdp in mdps]),
        state_names=tuple(f"{i}:{name}" for i, mdp in enumerate(mdps) for name in mdp.state_names),
        action_names=mdps[0].action_names,
    )


def join_visits(tables: Sequence[Tensor]) -> Tensor:
    """Return the visits, [states, actions] of each part, as those of their union.

    >>> join_visits([torch.ones(1, 2), torch.zeros(1, 2)]).tolist()
    [[0.5, 0.5], [0.0, 0.0]]
    """
    return torch.cat(list(tables)) / len(tables)


def split_states(mdps: Sequence[TabularMDP], table: Tensor, axis: int = -2) -> tuple[Tensor, ...]:
    """Return the parts of a table whose ``axis`` runs over the states of the union.

    >>> one = TabularMDP.from_dense([[[1.0]]], [[2.0]])
    >>> [part.tolist() for part in split_states([one, one], torch.tensor([[1.0], [2.0]]))]
    [[[1.0]], [[2.0]]]
    """
    return torch.split(table, [mdp.n_states for mdp in mdps], axis)
