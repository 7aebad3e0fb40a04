"""Short stretches of behaviour, cut to one length: what a judge compares.

A segment holds L steps: L + 1 states (or observations) and L actions. Rewards are not part of it.
The true ones are for the labeller alone (``Segments.window`` cuts them out of the same places),
and so is the time at which a segment began: a reward that knows the time can explain a ranking
of demonstrations without looking at what was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.rewards import PAID


@dataclass(frozen=True)
class Segments:
    """Segments of one length, and where they were cut from."""

    states: Shaped[Tensor, "n length_plus_one *state"]  # indices [n, L + 1], or observations
    actions: Shaped[Tensor, "n length *action"]
    episodes: Int[Tensor, " n"]  # which episode each one comes from
    starts: Int[Tensor, " n"]  # and the step at which it begins there

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.states)

    def __getitem__(self, index) -> Segments:
        """Return some of the segments."""
        return Segments(self.states[index], self.actions[index], self.episodes[index],
                        self.starts[index])

    @property
    def length(self) -> int:
        """Number of steps of each segment."""
        return self.actions.shape[1]

    def window(self, table: Float[Tensor, "episodes time"]) -> Float[Tensor, "n length"]:
        """Return what ``table`` holds for the steps of each segment: the true rewards, say."""
        steps = self.starts[:, None] + torch.arange(self.length)
        return table[self.episodes[:, None], steps]


def join_segments(parts: Sequence[Segments]) -> Segments:
    """Return all segments of several batches; they must have one length."""
    if not parts or len({part.length for part in parts}) > 1:
        raise InvalidArgumentError(
            f"segments of lengths {sorted({part.length for part in parts})} cannot be joined; "
            "expected at least one batch, and one length: a sum over more steps is no verdict on "
            "what was done in them")
    columns = ("states", "actions", "episodes", "starts")
    return Segments(*(torch.cat([getattr(part, name) for part in parts]) for name in columns))


def cut_windows(states: Tensor, actions: Tensor, episodes: Int[Tensor, " n"],
                starts: Int[Tensor, " n"], length: int) -> Segments:
    """Return the segments of ``length`` steps that begin at ``starts`` of ``episodes``.

    ``states`` is [episodes, T + 1, ...], ``actions`` [episodes, T, ...].
    Raises InvalidArgumentError for a window that runs beyond T.

    >>> states, actions = torch.arange(5)[None], torch.zeros(1, 4, dtype=torch.long)
    >>> cut_windows(states, actions, torch.tensor([0]), torch.tensor([2]), 2).states.tolist()
    [[2, 3, 4]]
    """
    last = int(starts.max()) + length if len(starts) else 0
    if length < 1 or last > actions.shape[1] or bool((starts < 0).any()):
        raise InvalidArgumentError(
            f"a window of {length} steps must be at least 1 long and end by step "
            f"{actions.shape[1]}; one would end at {last}")
    steps = starts[:, None] + torch.arange(length)
    more = starts[:, None] + torch.arange(length + 1)
    rows = episodes[:, None]
    return Segments(states[rows, more], actions[rows, steps], episodes, starts)


def cut_segments(states: Tensor, actions: Tensor, n: int, length: int,
                 generator: torch.Generator, mask: Bool[Tensor, "episodes time"] | None = None
                 ) -> Segments:
    """Draw ``n`` segments of ``length`` steps, each possible one with equal probability.

    ``mask`` [episodes, T] says which steps happened; a segment holds only such steps.
    Raises InvalidArgumentError if no episode is long enough.

    >>> states, actions = torch.arange(12).view(2, 6), torch.zeros(2, 5, dtype=torch.long)
    >>> cut_segments(states, actions, 3, 2, torch.Generator().manual_seed(0)).states.shape
    torch.Size([3, 3])
    """
    if n < 1 or length < 1:
        raise InvalidArgumentError(f"n is {n} and length {length}; expected at least 1 of each")
    taken = torch.ones(actions.shape[:2], dtype=torch.bool) if mask is None else mask.cpu()
    whole = taken.unfold(1, length, 1).all(-1) if length <= actions.shape[1] else taken[:, :0]
    places = whole.nonzero()
    if len(places) == 0:
        raise InvalidArgumentError(
            f"no episode holds {length} steps in a row; the longest has "
            f"{int(taken.sum(1).max()) if taken.numel() else 0}: cut shorter segments")
    chosen = places[torch.randint(len(places), (n,), generator=generator)]
    return cut_windows(states, actions, chosen[:, 0], chosen[:, 1], length)


def table_cells(segments: Segments, n_actions: int, paid: str) -> Int[Tensor, "n length"]:
    """Return which entry of a reward table each step is paid by.

    ``paid`` as in ``tutorlib.irl.rewards``: "departure" R(s), "arrival" R(s'), "action" r(s, a),
    the last counted as s * n_actions + a.

    >>> walk = Segments(torch.tensor([[0, 2]]), torch.tensor([[1]]), *torch.zeros(2, 1).long())
    >>> [table_cells(walk, 4, paid).item() for paid in ("departure", "arrival", "action")]
    [0, 2, 1]
    """
    if paid not in PAID:
        raise InvalidArgumentError(f"paid is {paid!r}; expected one of {', '.join(PAID)}")
    if paid == "arrival":
        return segments.states[:, 1:]
    here = segments.states[:, :-1]
    return here if paid == "departure" else here * n_actions + segments.actions


def visit_counts(cells: Int[Tensor, "n length"], n_cells: int, discount: float = 1.0
                 ) -> Float[Tensor, "n cells"]:
    """Return how often each segment visits each entry, step t counted discount^t.

    A segment's return is then linear in the table: counts @ table.

    >>> visit_counts(torch.tensor([[0, 2, 2]]), 3).tolist()
    [[1.0, 0.0, 2.0]]
    """
    weights = float(discount) ** torch.arange(cells.shape[1], dtype=torch.float64)
    counts = torch.zeros(len(cells), n_cells, dtype=torch.float64)
    return counts.scatter_add_(1, cells, weights.expand(cells.shape))
