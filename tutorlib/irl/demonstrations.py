"""Demonstrations: checked against the process they claim to come from, then counted.

What maximum-entropy IRL needs of a demonstrator is one table: the discounted visits rho_E(s, a) =
(1 / n) sum_i sum_t gamma^t [s_t = s, a_t = a], averaged over the n demonstrations, not added up.
Steps in terminal states are not visits. A table that is known already (the visits of a policy,
say) is accepted as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.layout import check_reward, resolve_steps
from tutorlib.mdp import TabularMDP, Trajectories

Episode = Sequence  # a pair: states s_0 .. s_T and actions a_0 .. a_(T-1), as whole numbers


def demonstrations_from_lists(mdp: TabularMDP, episodes: Sequence[Episode]) -> Trajectories:
    """Return episodes of any lengths, given as (states, actions), as padded ``Trajectories``.

    Each episode has one state more than actions: the last is where it ended. Padding repeats that
    state with action 0, and its mask is False. Rewards are those of ``mdp``. The result is checked
    as by ``check_demonstrations``.

    Raises InvalidArgumentError when there is no episode, or one whose lengths do not fit.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]])
    >>> demonstrations_from_lists(mdp, [([0, 1, 1], [0, 0]), ([0, 1], [0])]).mask.tolist()
    [[True, True], [True, False]]
    """
    if len(episodes) == 0:
        raise InvalidArgumentError("there are no demonstrations; expected at least one episode")
    for i, (states, actions) in enumerate(episodes):
        if len(actions) == 0 or len(states) != len(actions) + 1:
            raise InvalidArgumentError(
                f"demonstration {i} has {len(states)} states and {len(actions)} actions; expected "
                "at least one action, and one state more than actions (the last is where it ended)"
            )
    longest = max(len(actions) for _, actions in episodes)
    states = torch.tensor([[*s, *[s[-1]] * (longest + 1 - len(s))] for s, _ in episodes])
    actions = torch.tensor([[*a, *[0] * (longest - len(a))] for _, a in episodes])
    lengths = torch.tensor([len(a) for _, a in episodes])
    mask = torch.arange(longest) < lengths[:, None]
    states, actions, mask = (x.to(mdp.device) for x in (states, actions, mask))
    _check_indices(mdp, states, actions)
    mask = mask & ~mdp.terminal[states[:, :-1]]
    rewards = mdp.reward[states[:, :-1], actions] * mask
    trajectories = Trajectories(states, actions, rewards, mask)
    check_demonstrations(mdp, trajectories)
    return trajectories


def as_trajectories(mdp: TabularMDP, demonstrations: Trajectories | Sequence[Episode]
                    ) -> Trajectories:
    """Return trajectories as they are, lists of (states, actions) padded."""
    if isinstance(demonstrations, Trajectories):
        return demonstrations
    return demonstrations_from_lists(mdp, demonstrations)


def _check_indices(mdp: TabularMDP, states: Tensor, actions: Tensor) -> None:
    """Raise InvalidArgumentError for a state or an action that does not exist."""
    for name, found, count in (("state", states, mdp.n_states), ("action", actions, mdp.n_actions)):
        if found.is_floating_point() or found.dtype == torch.bool:
            raise InvalidArgumentError(
                f"demonstrated {name}s are {found.dtype}; expected whole numbers (indices)"
            )
        outside = (found < 0) | (found >= count)
        if bool(outside.any()):
            i, t = outside.nonzero()[0].tolist()
            raise InvalidArgumentError(
                f"demonstration {i} names {name} {int(found[i, t])} at time {t}; the process has "
                f"{name}s 0 to {count - 1}"
            )


def check_demonstrations(mdp: TabularMDP, trajectories: Trajectories) -> None:
    """Raise InvalidArgumentError unless the trajectories could have happened in ``mdp``.

    That is: there is at least one; shapes fit; states and actions exist; each begins where the
    process can begin; each step leads where its action can lead; nothing follows a gap in the mask.
    """
    states, actions, mask = trajectories.states, trajectories.actions, trajectories.mask
    n, steps = actions.shape if actions.ndim == 2 else (0, 0)
    if n == 0 or steps == 0 or states.shape != (n, steps + 1) or mask.shape != (n, steps):
        raise InvalidArgumentError(
            f"states {tuple(states.shape)}, actions {tuple(actions.shape)} and mask "
            f"{tuple(mask.shape)} do not form demonstrations; expected (n, T + 1), (n, T), (n, T) "
            "with n and T at least 1 (for episodes of several lengths: demonstrations_from_lists)"
        )
    _check_indices(mdp, states, actions)
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise InvalidArgumentError("a mask goes on after a gap; expected True for the steps taken, "
                                   "then False to the end")
    impossible = mask & ~_possible(mdp, states, actions)
    if bool(impossible.any()):
        i, t = impossible.nonzero()[0].tolist()
        here, there = (mdp.state_names[int(s)] for s in states[i, t : t + 2])
        raise InvalidArgumentError(
            f"demonstration {i} goes at time {t} from {here!r} by "
            f"{mdp.action_names[int(actions[i, t])]!r} to {there!r}, which has probability 0 in "
            "this process; check the order of the columns, or the dynamics it was recorded in"
        )
    _check_start(mdp, states[:, 0])


def _possible(mdp: TabularMDP, states: Tensor, actions: Tensor) -> Tensor:
    """Return, for each step, whether its action can lead to the state that follows."""
    here = states[:, :-1]
    reached = mdp.successors[here, actions] == states[:, 1:, None]
    return (reached & (mdp.probabilities[here, actions] > 0)).any(-1)


def _check_start(mdp: TabularMDP, first: Tensor) -> None:
    """Raise InvalidArgumentError for a demonstration that begins where the process cannot."""
    wrong = mdp.initial_state_dist[first] <= 0
    if bool(wrong.any()):
        i = int(wrong.nonzero()[0])
        raise InvalidArgumentError(
            f"demonstration {i} begins in {mdp.state_names[int(first[i])]!r}, where no episode of "
            "this process begins; give the process the demonstrations' own start with "
            "mdp.replace(initial_state_dist=...)"
        )


def expert_visits(mdp: TabularMDP, trajectories: Trajectories, horizon: int | None = None,
                  per_step: bool = False, max_missing: float = 0.01) -> Tensor:
    """Return the demonstrations' mean discounted visits, [states, actions].

    With ``per_step`` one table per time, gamma^t [s_t = s, a_t = a] averaged: [T, states, actions].
    Steps beyond the horizon are left out. Demonstrations that stop early elsewhere than in a
    terminal state would make every reward look as if the demonstrator wanted to stop: they are
    refused when more than ``max_missing`` of the discounted time is not there.

    Raises InvalidArgumentError for demonstrations that cannot have happened, or that stop early.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[1.0, 0.0]]], [[1.0], [0.0]], discount=0.5)
    >>> demonstrations = demonstrations_from_lists(mdp, [([0, 1, 0], [0, 0]), ([1, 0, 1], [0, 0])])
    >>> expert_visits(mdp, demonstrations, horizon=2).tolist()
    [[0.75], [0.75]]
    """
    steps = resolve_steps(mdp, horizon)
    states, actions, weights = _weighted_steps(mdp, trajectories, steps, max_missing)
    cells = states * mdp.n_actions + actions
    if not per_step:
        return _count(cells, weights, (mdp.n_states, mdp.n_actions))
    times = torch.arange(cells.shape[1], device=mdp.device)
    cells = cells + times * mdp.n_states * mdp.n_actions
    return _count(cells, weights, (steps or len(times), mdp.n_states, mdp.n_actions))


def expert_branch_visits(mdp: TabularMDP, trajectories: Trajectories, horizon: int | None = None
                         ) -> Float[Tensor, "states actions branches"]:
    """Return the mean discounted visits of (s, a, branch): for rewards that are paid on arrival.

    >>> mdp = TabularMDP.from_dense([[[0.5, 0.5]], [[0.0, 1.0]]], [[0.0], [0.0]], horizon=2)
    >>> demonstrations = demonstrations_from_lists(mdp, [([0, 0, 1], [0, 0])])
    >>> expert_branch_visits(mdp, demonstrations)[0].tolist()
    [[1.0, 0.95]]
    """
    steps = resolve_steps(mdp, horizon)
    states, actions, weights = _weighted_steps(mdp, trajectories, steps, 0.01)
    following = trajectories.states[:, 1 : states.shape[1] + 1, None]
    reached = mdp.successors[states, actions] == following
    branch = (reached & (mdp.probabilities[states, actions] > 0)).long().argmax(-1)
    cells = (states * mdp.n_actions + actions) * mdp.n_branches + branch
    return _count(cells, weights, (mdp.n_states, mdp.n_actions, mdp.n_branches))


def _weighted_steps(mdp: TabularMDP, trajectories: Trajectories, steps: int | None,
                    max_missing: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return states, actions and weights gamma^t / n of the steps within the horizon, checked."""
    check_demonstrations(mdp, trajectories)
    states, actions = trajectories.states[:, :-1][:, :steps], trajectories.actions[:, :steps]
    taken = trajectories.mask[:, :steps] & ~mdp.terminal[states]
    _check_missing(mdp, trajectories, taken, steps, max_missing)
    times = torch.arange(actions.shape[1], device=mdp.device)
    return states, actions, taken * mdp.discount ** times.to(mdp.dtype) / len(states)


def _count(cells: Tensor, weights: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a table of ``shape`` with the weights added up in the cells they belong to."""
    counts = weights.new_zeros(math.prod(shape))
    return counts.index_add_(0, cells.reshape(-1), weights.reshape(-1)).view(shape)


def _check_missing(mdp: TabularMDP, trajectories: Trajectories, taken: Tensor, steps: int | None,
                   max_missing: float) -> None:
    """Raise InvalidArgumentError when demonstrations stop early, other than in a terminal state."""
    lengths = taken.sum(1)
    last = trajectories.states.gather(1, lengths[:, None])[:, 0]
    whole = _total_time(mdp.discount, steps)
    seen = torch.tensor([_total_time(mdp.discount, int(k)) for k in lengths.tolist()])
    missing = torch.where(mdp.terminal[last].cpu(), 0.0, 1 - seen / whole)
    if float(missing.mean()) > max_missing:
        i = int(missing.argmax())
        wanted = "an endless process" if steps is None else f"a horizon of {steps}"
        raise InvalidArgumentError(
            f"demonstrations lack {float(missing.mean()):.1%} of the discounted time: number {i} "
            f"stops after {int(lengths[i])} steps in {mdp.state_names[int(last[i])]!r}, which is "
            f"not terminal, in {wanted}; give longer ones or their own horizon, or accept the "
            "bias with max_missing"
        )


def _total_time(discount: float, steps: int | None) -> float:
    """Return sum of gamma^t for t below ``steps`` (None: for ever)."""
    if steps is None:
        return 1 / (1 - discount)
    return float(steps) if discount == 1 else (1 - discount**steps) / (1 - discount)


def expert_occupancy(mdp: TabularMDP, demonstrations: Trajectories | Sequence[Episode] | Tensor,
                     horizon: int | None = None) -> Float[Tensor, "*batch states actions"]:
    """Return the demonstrator's discounted visits from trajectories, lists or a ready table.

    A table, [*batch, states, actions], is taken as it is but for terminal states, whose rows become
    0. It must be averaged and discounted like ``forward_pass``'s; one that sums to more than
    sum_t gamma^t is refused.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], horizon=2, discount=1.0)
    >>> expert_occupancy(mdp, [([0, 0, 0], [0, 1])]).tolist()
    [[1.0, 1.0]]
    """
    if not isinstance(demonstrations, Tensor):
        return expert_visits(mdp, as_trajectories(mdp, demonstrations), horizon)
    table, whole = demonstrations, _total_time(mdp.discount, resolve_steps(mdp, horizon))
    check_reward(mdp, table, "the expert's occupancy")
    if bool((table < 0).any()):
        raise InvalidArgumentError("the expert's occupancy has a negative entry; expected visits")
    table = table.masked_fill(mdp.terminal[:, None], 0.0)
    most = float(table.sum((-2, -1)).max())
    if most > whole * (1 + 1e-6):
        raise InvalidArgumentError(
            f"the expert's occupancy sums to {most:.6g}, more than the {whole:.6g} that the "
            "discounted time allows; average over demonstrations, and discount as the process does"
        )
    return table
