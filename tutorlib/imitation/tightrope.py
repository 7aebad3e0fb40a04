"""A rope over a river: the demonstrator never shows what it never needs.

The rope runs in a ring of ``length`` marks, so that walks may be as long as one likes. At a mark
the walker stands left of the middle, in the middle, or right of it. Each step it leans left, stays
upright or leans right, which moves it by one, and the wind pushes it by one more, to a side, or
not. Further off than one is the river. Around some marks the rope is mirrored: left and right are
exchanged, so that what to do must be learned mark by mark.

Getting out of the river takes four right strokes in a row; after a wrong one it begins anew. The
demonstrator knows them, and corrects each push before it falls: it has never been in the river.
Every step that ends in the river costs 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import TabularMDP

PLACES = 3  # left of the middle, middle, right of it
ACTIONS = ("lean left", "upright", "lean right")  # in the river: strokes of the same names
STROKES = (2, 0, 0, 1)  # the right action in each of the four river states, in this order
MIRRORED = (2, 3, 5, 7, 11)  # marks where left and right are exchanged


def tightrope(length: int = 12, wind: float = 0.2, horizon: int | None = None,
              way_out: bool = True) -> TabularMDP:
    """Return the rope as a decision process; each step that ends in the river costs 1.

    States are (mark, place) in rows of three, then four river states. ``wind`` is the probability
    of a push in a step, half of it to each side. Walks begin at mark 0 in the middle, and so does
    whoever gets out of the river. Without ``way_out`` no stroke helps.

    Raises InvalidArgumentError for fewer than 2 or more than 12 marks, or a wind outside [0, 1].

    >>> mdp = tightrope(length=3, wind=0.2)
    >>> mdp.n_states, mdp.state_names[1], mdp.state_names[-1]
    (13, 'mark 0, middle', 'river, 3 strokes done')
    """
    if length not in range(2, 13) or not 0 <= wind <= 1:
        raise InvalidArgumentError(
            f"length is {length!r}, wind {wind!r}; expected 2 to 12 marks, and a probability")
    n_rope = length * PLACES
    dense = torch.zeros(n_rope + len(STROKES), 3, n_rope + len(STROKES), dtype=torch.float64)
    for state in range(n_rope):
        for action in range(3):
            for push, chance in ((-1, wind / 2), (0, 1 - wind), (1, wind / 2)):
                dense[state, action, _walk(state, action, push, length)] += chance
    for done, right in enumerate(STROKES):
        dense[n_rope + done, :, n_rope] = 1.0
        if way_out:
            dense[n_rope + done, right] = 0.0
            last = done == len(STROKES) - 1
            dense[n_rope + done, right, 1 if last else n_rope + done + 1] = 1.0
    start = torch.zeros(len(dense), dtype=torch.float64)
    start[1] = 1.0
    return TabularMDP.from_dense(
        dense, -dense[..., n_rope:].sum(-1), start, discount=0.99 if horizon is None else 1.0,
        horizon=horizon, state_names=_names(length), action_names=ACTIONS)


def _walk(state: int, action: int, push: int, length: int) -> int:
    """Return where a step on the rope leads: the next mark, or the river."""
    mark, place = divmod(state, PLACES)
    lean = 1 - action if mark in MIRRORED else action - 1
    there = place + lean + push
    if not 0 <= there < PLACES:
        return length * PLACES
    return (mark + 1) % length * PLACES + there


def rope_expert(mdp: TabularMDP) -> Float[Tensor, "states actions"]:
    """Return the demonstrator's policy: lean back to the middle; in the river, the right strokes.

    >>> rope_expert(tightrope(length=3))[2].tolist()  # mark 0, right of the middle
    [1.0, 0.0, 0.0]
    """
    actions = []
    for state in range(mdp.n_states - len(STROKES)):
        mark, place = divmod(state, PLACES)
        back = 1 - place  # +1 where it stands left of the middle
        actions.append(1 + (-back if mark in MIRRORED else back))
    chosen = torch.tensor([*actions, *STROKES], device=mdp.device)
    return torch.nn.functional.one_hot(chosen, 3).to(mdp.dtype)


def in_the_river(mdp: TabularMDP) -> Bool[Tensor, " states"]:
    """Return which states are in the river, where the demonstrator never is."""
    return torch.arange(mdp.n_states, device=mdp.device) >= mdp.n_states - len(STROKES)


def _names(length: int) -> list[str]:
    """Return what the states are called."""
    rope = [f"mark {mark}, {place}" for mark in range(length)
            for place in ("left", "middle", "right")]
    return rope + [f"river, {done} strokes done" for done in range(len(STROKES))]
