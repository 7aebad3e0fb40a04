"""Demonstrations of a tabular process as pairs (state, action): all that cloning looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import TabularMDP, Trajectories
from tutorlib.mdp.checks import check_policy

Expert = Tensor | Callable[[Tensor], Tensor]  # a policy [states, actions], or states -> actions


def demonstrated_pairs(
    mdp: TabularMDP, demonstrations: Trajectories | Sequence
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Return the states and actions of all demonstrated decisions, one after the other.

    ``demonstrations`` are ``Trajectories`` (steps outside the mask are left out), or a list of
    (states, actions), one for each episode; the state where an episode ended may be in the list or
    not. Decisions in terminal states are left out, and so are episodes without a step.

    Raises InvalidArgumentError without any decision, for lists that do not fit, and for states
    (also where an episode ended) or actions that do not exist.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [1.0, 0.0])
    >>> [x.tolist() for x in demonstrated_pairs(mdp, [([0, 1], [0]), ([1, 1], [0, 0])])]
    [[0, 1, 1], [0, 0, 0]]
    """
    if isinstance(demonstrations, Trajectories):
        _check_shapes(demonstrations)
        mask = demonstrations.mask
        states, actions = demonstrations.states[:, :-1][mask], demonstrations.actions[mask]
        ends = demonstrations.states[:, 1:][mask]
    else:
        states, actions, ends = _join(demonstrations)
    states, actions = states.to(mdp.device), actions.to(mdp.device)
    check_pairs(mdp, states, actions)
    _check_indices("state", ends, mdp.n_states)
    taken = ~mdp.terminal[states]
    if not bool(taken.any()):
        raise InvalidArgumentError(
            "there is no decision to imitate; expected at least one step outside terminal states"
        )
    return states[taken], actions[taken]


def _check_shapes(trajectories: Trajectories) -> None:
    """Raise InvalidArgumentError unless states, actions and mask belong together."""
    found = [tuple(x.shape) for x in (trajectories.states, trajectories.actions, trajectories.mask)]
    n, steps = found[1] if len(found[1]) == 2 else (0, 0)
    if found != [(n, steps + 1), (n, steps), (n, steps)]:
        raise InvalidArgumentError(
            f"states {found[0]}, actions {found[1]} and mask {found[2]} do not form trajectories; "
            "expected (n, T + 1), (n, T) and (n, T)"
        )


def _join(episodes: Sequence) -> tuple[Tensor, Tensor, Tensor]:
    """Return the states and actions of all decisions, and the state each episode was last in."""
    if not isinstance(episodes, Sequence):
        raise InvalidArgumentError(
            f"demonstrations are {type(episodes).__name__}; expected Trajectories, or a list of "
            "(states, actions), one for each episode"
        )
    if len(episodes) == 0:
        raise InvalidArgumentError("there are no demonstrations; expected at least one episode")
    rows = [_episode(number, episode) for number, episode in enumerate(episodes)]
    taken = [(states[: len(actions)], actions) for states, actions in rows if len(actions)]
    if not taken:
        raise InvalidArgumentError(
            "there is no decision to imitate; expected at least one episode with a step")
    states, actions = (torch.cat(column) for column in zip(*taken, strict=True))
    return states, actions, torch.cat([states[-1:] for states, _ in rows if len(states)])


def _episode(number: int, episode) -> tuple[Tensor, Tensor]:
    """Return one episode's states and actions as tensors of one axis."""
    try:
        sizes = [len(part) for part in episode]
    except TypeError:
        sizes = None
    if sizes is None or len(sizes) != 2 or sizes[0] - sizes[1] not in (0, 1):
        found = type(episode).__name__ if sizes is None else " and ".join(map(str, sizes))
        raise InvalidArgumentError(
            f"demonstration {number} is ragged: its parts hold {found} entries; expected (states, "
            "actions) with as many states as actions, or one more (where it ended)"
        )
    parts = []
    for name, part in zip(("states", "actions"), episode, strict=True):
        try:
            row = torch.as_tensor(part)
        except (TypeError, ValueError, RuntimeError):
            row = torch.empty(())
        if row.ndim != 1:
            raise InvalidArgumentError(
                f"{name} of demonstration {number} are no list of indices; expected whole numbers, "
                "one for each step"
            )
        parts.append(row)
    return parts[0], parts[1]


def check_pairs(mdp: TabularMDP, states: Tensor, actions: Tensor) -> None:
    """Raise InvalidArgumentError unless these are pairs that exist in the process."""
    if states.shape != actions.shape or states.ndim != 1:
        raise InvalidArgumentError(
            f"states have shape {tuple(states.shape)}, actions {tuple(actions.shape)}; expected "
            "one axis, and an action for each state"
        )
    _check_indices("state", states, mdp.n_states)
    _check_indices("action", actions, mdp.n_actions)


def _check_indices(name: str, found: Tensor, count: int) -> None:
    """Raise InvalidArgumentError unless all are whole numbers from 0 to ``count`` - 1."""
    if len(found) and (found.is_floating_point() or found.dtype == torch.bool):
        raise InvalidArgumentError(
            f"demonstrated {name}s are {found.dtype}; expected whole numbers (indices)"
        )
    outside = (found < 0) | (found >= count)
    if bool(outside.any()):
        wrong = int(found[outside][0])
        raise InvalidArgumentError(
            f"a demonstration names {name} {wrong}; the process has {name}s 0 to {count - 1}"
        )


def expert_table(mdp: TabularMDP, expert: Expert) -> Float[Tensor, "states actions"]:
    """Return the expert as a policy: its own table, or its answers in all states, one-hot.

    Raises InvalidArgumentError when the answers are no actions, or the table no policy.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [0.0])
    >>> expert_table(mdp, lambda states: torch.ones_like(states)).tolist()
    [[0.0, 1.0]]
    """
    if isinstance(expert, Tensor):
        return check_policy(mdp, expert, "the expert's policy")
    if not callable(expert):
        raise InvalidArgumentError(
            f"the expert is a {type(expert).__name__}; expected a policy, a tensor [states, "
            "actions], or a function from states [n] to actions [n]"
        )
    states = torch.arange(mdp.n_states, device=mdp.device)
    answers = expert(states)
    if not isinstance(answers, Tensor) or answers.shape != states.shape:
        what = tuple(answers.shape) if isinstance(answers, Tensor) else type(answers).__name__
        raise InvalidArgumentError(
            f"asked about {len(states)} states, the expert returned {what}; expected a tensor of "
            "as many actions, whole numbers (an expert with chances: give its policy as a table)"
        )
    check_pairs(mdp, states, answers)
    return torch.nn.functional.one_hot(answers.long(), mdp.n_actions).to(mdp.dtype)
