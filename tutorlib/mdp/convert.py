"""From dense matrices and Gymnasium's tables to padded branches."""

from __future__ import annotations

import torch
from torch import Tensor

from tutorlib.errors import InvalidMDPError


def as_float(data, like: Tensor | None = None) -> Tensor:
    """Return ``data`` as a floating tensor: a float tensor unchanged, anything else as float64.

    With ``like``, the result has that tensor's dtype and device.
    """
    if like is not None:
        return torch.as_tensor(data, dtype=like.dtype, device=like.device)
    if isinstance(data, Tensor) and data.is_floating_point():
        return data
    return torch.as_tensor(data, dtype=torch.float64)


def uniform_over(chosen: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the uniform distribution over the true entries of ``chosen``."""
    weights = chosen.to(dtype)
    if not bool(chosen.any()):
        raise InvalidMDPError(
            "there is no state to start in: every state is terminal; give initial_state_dist"
        )
    return weights / weights.sum()


def branches_of_dense(dense: Tensor) -> tuple[Tensor, Tensor]:
    """Return (successors, probabilities) of a dense [states, actions, states] matrix."""
    if dense.ndim != 3 or dense.shape[0] != dense.shape[2]:
        raise InvalidMDPError(
            f"transition_matrix has shape {tuple(dense.shape)}; expected (states, actions, "
            "states), T[s, a, s'] = P(s' | s, a)"
        )
    possible = dense != 0  # NaN and negative entries stay, for validation to name them
    branches = max(1, int(possible.sum(-1).max())) if dense.numel() else 1
    order = possible.to(torch.int8).sort(dim=-1, descending=True, stable=True).indices
    successors = order[..., :branches]
    return successors, dense.gather(-1, successors)


def expected_reward(dense: Tensor, reward: Tensor) -> Tensor:
    """Return r(s, a) from a reward on states, on (state, action), or on whole transitions."""
    states, actions, _ = dense.shape
    if reward.shape == (states,):
        return reward[:, None].expand(states, actions).contiguous()
    if reward.shape == (states, actions):
        return reward
    if reward.shape == dense.shape:
        return (dense * reward).sum(-1)
    raise InvalidMDPError(
        f"reward has shape {tuple(reward.shape)}; expected {(states,)}, {(states, actions)} "
        f"or {(states, actions, states)} (states, actions, next states)"
    )


def _read_table(table) -> tuple[list[list[dict]], Tensor]:
    """Return per (state, action) a dict (next state, ended) -> probability, and the rewards."""
    n_states = len(table)
    rows, rewards = [], []
    for state in range(n_states):
        rows.append([])
        rewards.append([])
        for action in range(len(table[state])):
            outcomes: dict[tuple[int, bool], float] = {}
            reward = 0.0
            for probability, successor, paid, ended in table[state][action]:
                key = (int(successor), bool(ended))
                outcomes[key] = outcomes.get(key, 0.0) + float(probability)
                reward += float(probability) * float(paid)
            rows[state].append(outcomes)
            rewards[state].append(reward)
    return rows, torch.tensor(rewards, dtype=torch.float64)


def _entered(rows: list[list[dict]], state: int, ending: bool) -> set[int]:
    """Return the states that moves from ``state`` enter, ending the episode or going on."""
    return {
        successor
        for outcomes in rows[state]
        for (successor, ended), probability in outcomes.items()
        if ended == ending and probability > 0
    }


def _endings(rows: list[list[dict]], initial: Tensor) -> tuple[set[int], bool]:
    """Return the states entered on termination, and whether an episode can also go on in one."""
    ends = set().union(*(_entered(rows, state, True) for state in range(len(rows))))
    alive = {s for s in range(len(rows)) if s not in ends or initial[s] > 0}
    waiting = list(alive)
    while waiting:
        found = _entered(rows, waiting.pop(), False) - alive
        alive |= found
        waiting += found
    return ends, bool(ends & alive)


def fields_of_gymnasium(env, initial_state_dist=None) -> dict[str, Tensor | tuple[str, ...]]:
    """Return the fields of a TabularMDP that ``env.unwrapped.P`` determines."""
    table = getattr(env.unwrapped, "P", None)
    if table is None:
        raise InvalidMDPError(
            f"{env} has no transition table env.unwrapped.P; FrozenLake-v1, CliffWalking-v1 and "
            "Taxi-v4 have one"
        )
    if initial_state_dist is None:
        initial_state_dist = getattr(env.unwrapped, "initial_state_distrib", None)
    if initial_state_dist is None:
        raise InvalidMDPError(f"{env} has no initial_state_distrib; give initial_state_dist")
    rows, reward = _read_table(table)
    initial = as_float(initial_state_dist)
    if initial.shape != (len(rows),):
        raise InvalidMDPError(
            f"initial_state_dist has shape {tuple(initial.shape)}; expected {(len(rows),)}"
        )
    ends, mixed = _endings(rows, initial)
    names = [f"s{i}" for i in range(len(rows))]
    if mixed:
        rows, ends = _with_extra_terminal(rows)
        reward = torch.cat([reward, torch.zeros(1, reward.shape[1], dtype=reward.dtype)])
        initial = torch.cat([initial, initial.new_zeros(1)])
        names.append("terminated")
    for state in ends:
        rows[state] = [{(state, True): 1.0}] * reward.shape[1]
        reward[state] = 0.0
    successors, probabilities = _pad(rows)
    terminal = torch.zeros(len(rows), dtype=torch.bool)
    terminal[sorted(ends)] = True
    return {
        "successors": successors,
        "probabilities": probabilities,
        "reward": reward,
        "initial_state_dist": initial,
        "terminal": terminal,
        "state_names": tuple(names),
    }


def _with_extra_terminal(rows: list[list[dict]]) -> tuple[list[list[dict]], set[int]]:
    """Send every ending to one new last state, and return the new rows and that state."""
    extra = len(rows)
    redirected = []
    for row in rows:
        redirected.append([])
        for outcomes in row:
            merged: dict[tuple[int, bool], float] = {}
            for (successor, ended), probability in outcomes.items():
                key = (extra if ended else successor, ended)
                merged[key] = merged.get(key, 0.0) + probability
            redirected[-1].append(merged)
    return [*redirected, []], {extra}


def _pad(rows: list[list[dict]]) -> tuple[Tensor, Tensor]:
    """Return (successors, probabilities), padded with probability 0 to the longest row."""
    branches = max(len(outcomes) for row in rows for outcomes in row)
    shape = (len(rows), len(rows[0]), branches)
    successors = torch.zeros(shape, dtype=torch.long)
    probabilities = torch.zeros(shape, dtype=torch.float64)
    for s, row in enumerate(rows):
        for a, outcomes in enumerate(row):
            for b, ((successor, _), probability) in enumerate(outcomes.items()):
                successors[s, a, b] = successor
                probabilities[s, a, b] = probability
    return successors, probabilities
