"""T-REX: a reward from ranked demonstrations, to do better than the best of them.

Pairs of demonstrations of different rank are cut to windows of one length, and a reward is fitted
so that windows of the better one sum to more (Brown et al. 2019, "Extrapolating beyond suboptimal
demonstrations", Equations 1 and 2). Departure from the paper: both windows begin at a place drawn
independently of rank. There the better one began no earlier than the worse, since progress in a
game takes time; but then the time since the start ranks pairs as well as any reward, and a network
that can read the time learns the clock.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.segments import Segments, cut_windows


def rank_labels(ranks: Shaped[Tensor, " n"], pairs: Int[Tensor, "pairs 2"]
                ) -> Float[Tensor, " pairs"]:
    """Return 1 where the first of a pair is ranked better, 0 where the second, 0.5 for equals.

    Rank 1 is the best, as in a race.

    >>> rank_labels(torch.tensor([1, 2, 2]), torch.tensor([[0, 1], [2, 0], [1, 2]])).tolist()
    [1.0, 0.0, 0.5]
    """
    first, second = ranks[pairs[:, 0]], ranks[pairs[:, 1]]
    return 0.5 * ((first < second).double() + (first <= second).double())


def window_starts(lengths: Int[Tensor, " n"], window: int) -> Int[Tensor, " n"]:
    """Return in how many places a window fits into each demonstration.

    >>> window_starts(torch.tensor([5, 3]), 3).tolist()
    [3, 1]
    """
    return (lengths - window + 1).clamp_min(0)


def trex_pairs(states: Tensor, actions: Tensor, lengths: Int[Tensor, " n"],
               ranks: Shaped[Tensor, " n"], n_pairs: int, window: int,
               generator: torch.Generator) -> tuple[Segments, Segments, Tensor]:
    """Draw ``n_pairs`` pairs of windows from demonstrations of different rank, with their labels.

    ``states`` is [n, T + 1, ...], ``actions`` [n, T, ...]; demonstration i has ``lengths[i]``
    steps. Returns left segments, right segments and labels [n_pairs].
    Raises InvalidArgumentError unless two demonstrations of different rank hold a window.

    >>> states, actions = torch.arange(12).view(2, 6), torch.zeros(2, 5, dtype=torch.long)
    >>> left, right, labels = trex_pairs(states, actions, torch.tensor([5, 5]),
    ...     torch.tensor([2, 1]), 4, 3, torch.Generator().manual_seed(0))
    >>> (labels == left.episodes).tolist()  # number 1 is the better one
    [True, True, True, True]
    """
    places = window_starts(lengths, window)
    first, second = ((ranks[:, None] != ranks) & (places[:, None] > 0) & (places > 0)).nonzero().T
    if len(first) == 0 or n_pairs < 1 or window < 1:
        raise InvalidArgumentError(
            f"{len(ranks)} demonstrations with {len(set(ranks.tolist()))} different ranks, the "
            f"longest of {int(lengths.max()) if len(lengths) else 0} steps, give no {n_pairs} "
            f"pairs of {window}-step windows; expected two of different rank that hold a window")
    drawn = torch.randint(len(first), (n_pairs,), generator=generator)
    pairs = torch.stack([first[drawn], second[drawn]], 1)
    sides = []
    for chosen in pairs.T:  # where each window begins is drawn without regard to rank
        spot = torch.rand(n_pairs, generator=generator, dtype=torch.float64)
        starts = (spot * places[chosen]).long()
        sides.append(cut_windows(states, actions, chosen, starts, window))
    return sides[0], sides[1], rank_labels(ranks, pairs)
