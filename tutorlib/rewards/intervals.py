"""How sure a measured share or mean is: intervals for shares, and the bootstrap for the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from scipy.stats import beta, norm
from torch import Tensor

from tutorlib.errors import InvalidArgumentError


def wilson_interval(successes: float, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval (1927) for a share: close to its level also near 0 and 1.

    Raises InvalidArgumentError for no trials, more successes than trials, or a level out of range.

    >>> [round(end, 3) for end in wilson_interval(8, 10)]
    [0.49, 0.943]
    """
    _check_counts(successes, trials, level)
    z = float(norm.ppf(0.5 + level / 2))
    share, room = successes / trials, z * z / trials
    center = (share + room / 2) / (1 + room)
    half = z / (1 + room) * ((share * (1 - share) + room / 4) / trials) ** 0.5
    return max(0.0, center - half), min(1.0, center + half)


def clopper_pearson_interval(successes: int, trials: int, level: float = 0.95
                             ) -> tuple[float, float]:
    """Return the exact interval of Clopper and Pearson (1934): never below its level, and wide.

    >>> [round(end, 3) for end in clopper_pearson_interval(8, 10)]
    [0.444, 0.975]
    """
    _check_counts(successes, trials, level)
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else beta.ppf(tail, successes, trials - successes + 1)
    high = 1.0 if successes == trials else beta.ppf(1 - tail, successes + 1, trials - successes)
    return float(low), float(high)


def bootstrap_interval(values: Float[Tensor, " rows *more"], generator: torch.Generator,
                       statistic: Callable[[Tensor], Tensor] | None = None, level: float = 0.95,
                       draws: int = 1000, groups: Shaped[Tensor, " rows"] | None = None
                       ) -> tuple[float, float]:
    """Return the percentile interval of a statistic (the mean) over resampled rows (Efron 1979).

    ``groups`` number what belongs together (answers to one prompt): whole groups are drawn then,
    or the interval is too narrow. Raises InvalidArgumentError for fewer than two rows or groups.

    >>> low, high = bootstrap_interval(torch.arange(9.0), torch.Generator().manual_seed(0))
    >>> low < 4 < high
    True
    """
    _check_level(level)
    labels = torch.arange(len(values)) if groups is None else groups.cpu()
    if len(labels) != len(values) or len(labels.unique()) < 2 or draws < 1:
        raise InvalidArgumentError(
            f"{len(values)} rows with {len(labels.unique())} different groups and {draws} draws; "
            "expected a group for each row, at least two of them, and at least one draw")
    members = [(labels == name).nonzero()[:, 0] for name in labels.unique()]
    found = []
    for _ in range(draws):
        drawn = torch.randint(len(members), (len(members),), generator=generator).tolist()
        sample = values[torch.cat([members[i] for i in drawn])]
        found.append(float(sample.mean() if statistic is None else statistic(sample)))
    tail = (1 - level) / 2
    ends = torch.tensor(found, dtype=torch.float64).quantile(
        torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return float(ends[0]), float(ends[1])


def _check_counts(successes: float, trials: int, level: float) -> None:
    """Raise InvalidArgumentError for counts that are none."""
    _check_level(level)
    if not (trials >= 1 and 0 <= successes <= trials):
        raise InvalidArgumentError(f"{successes} successes in {trials} trials; expected at least "
                                   "one trial, and no more successes than trials")


def _check_level(level: float) -> None:
    """Raise InvalidArgumentError unless a level lies between 0 and 1."""
    if not 0 < level < 1:
        raise InvalidArgumentError(f"level is {level!r}; expected a share between 0 and 1 (0.95)")
