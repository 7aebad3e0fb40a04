"""Comparisons between segments: how a reward explains them, and how a synthetic judge gives them.

The model of Bradley and Terry (1952), on sums of rewards (Christiano et al. 2017, Equation 1):

    P(left preferred) = exp(G_left) / (exp(G_left) + exp(G_right)) = sigmoid(G_left - G_right)

A label is the share of the preference that goes to the left segment: 1, 0, or 0.5 for a tie.
Departures from the paper: returns may be discounted and divided by a temperature (there: 1 and 1),
and the share of answers given at random (there a constant 10 %) is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tutorlib.errors import InvalidArgumentError


def segment_returns(rewards: Float[Tensor, "*batch length"], discount: float = 1.0
                    ) -> Float[Tensor, "*batch"]:
    """Return sum_t discount^t r_t of each segment.

    >>> segment_returns(torch.tensor([[1.0, 2.0, 4.0]]), 0.5).tolist()
    [3.0]
    """
    weights = rewards.new_tensor(float(discount)) ** torch.arange(rewards.shape[-1])
    return (rewards * weights).sum(-1)


def preference_probability(
    left: Float[Tensor, "*batch length"], right: Float[Tensor, "*_"],
    discount: float = 1.0, temperature: float = 1.0, error_rate: float = 0.0,
) -> Float[Tensor, "*batch"]:
    """Return P(left preferred) = (1 - e) sigmoid((G_left - G_right) / temperature) + e / 2.

    ``left`` and ``right`` are rewards per step, of one shape. With probability ``error_rate`` (e)
    the judge answers at random (Christiano et al. 2017, section 2.2.3: 0.1).
    Raises InvalidArgumentError for rewards that cannot be compared: see ``check_pairs``.

    >>> preference_probability(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 1.0]])).item()
    0.5
    """
    logits = preference_logits(left, right, discount, temperature)
    _check_rate(error_rate)
    return (1 - error_rate) * torch.sigmoid(logits) + error_rate / 2


def preference_logits(left: Tensor, right: Tensor, discount: float = 1.0,
                      temperature: float = 1.0) -> Tensor:
    """Return (G_left - G_right) / temperature of each pair, checked."""
    check_pairs(left, right)
    if not temperature > 0:
        raise InvalidArgumentError(f"temperature is {temperature!r}; expected a number above 0")
    return (segment_returns(left, discount) - segment_returns(right, discount)) / temperature


def preference_loss(
    left: Float[Tensor, "*batch length"], right: Float[Tensor, "*_"],
    labels: Shaped[Tensor, "*_"], discount: float = 1.0, temperature: float = 1.0,
    error_rate: float = 0.0,
) -> Float[Tensor, "*batch"]:
    """Return the cross-entropy -mu log P(left) - (1 - mu) log P(right) of each pair, in nats.

    ``labels`` hold mu: 1 for left, 0 for right, 0.5 for a tie (Christiano et al. 2017, section
    2.2.3). Not averaged. Raises InvalidArgumentError as ``check_pairs`` and ``check_labels``.

    >>> zeros = torch.zeros(1, 3)
    >>> round(preference_loss(zeros, zeros, torch.tensor([0.5])).item(), 4)  # log 2
    0.6931
    """
    logits = preference_logits(left, right, discount, temperature)
    check_labels(labels, logits)
    return label_loss(logits, labels, error_rate)


def label_loss(logits: Tensor, labels: Tensor, error_rate: float = 0.0) -> Tensor:
    """Return the cross-entropy of labels under sigmoid(logits) with a share of random answers."""
    _check_rate(error_rate)
    win, lose = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    if error_rate:
        chance = win.new_tensor(error_rate / 2).log()
        kept = win.new_tensor(1 - error_rate).log()
        win, lose = torch.logaddexp(kept + win, chance), torch.logaddexp(kept + lose, chance)
    return -labels * win - (1 - labels) * lose


def check_pairs(left: Tensor, right: Tensor) -> None:
    """Raise InvalidArgumentError unless both sides hold finite rewards of one shape.

    Segments of different lengths are refused: whoever sums over them compares lengths.
    """
    if left.ndim < 1 or right.ndim < 1 or left.shape[-1:] != right.shape[-1:]:
        raise InvalidArgumentError(
            f"the segments have {tuple(left.shape[-1:])} and {tuple(right.shape[-1:])} steps; "
            "expected one length on both sides: cut them to equal length, or length decides")
    if left.shape[-2:] != right.shape[-2:]:
        raise InvalidArgumentError(
            f"left has shape {tuple(left.shape)}, right {tuple(right.shape)}; expected one right "
            "segment for each left one")
    if 0 in left.shape:
        raise InvalidArgumentError(
            f"there is nothing to compare: rewards have shape {tuple(left.shape)}; expected at "
            "least one pair of at least one step")
    for name, rewards in (("left", left), ("right", right)):
        if not bool(torch.isfinite(rewards).all()):
            place = (~torch.isfinite(rewards)).nonzero()[0].tolist()
            raise InvalidArgumentError(
                f"the {name} rewards are not finite at index {place}; expected numbers")


def check_labels(labels: Tensor, logits: Tensor) -> None:
    """Raise InvalidArgumentError unless there is one label in [0, 1] per pair."""
    if labels.shape[-1:] != logits.shape[-1:] or not labels.is_floating_point():
        raise InvalidArgumentError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)} for "
            f"{logits.shape[-1]} pairs; expected one float for each: 1 left, 0 right, 0.5 a tie")
    wrong = ~((labels >= 0) & (labels <= 1))
    if bool(wrong.any()):
        index = wrong.nonzero()[0].tolist()
        raise InvalidArgumentError(
            f"label {index} is {labels[tuple(index)].item():g}; expected a share between 0 and 1: "
            "1 left is better, 0 right is better, 0.5 a tie")


def _check_rate(error_rate: float) -> None:
    """Raise InvalidArgumentError unless a share of the answers is left to mean something."""
    if not 0 <= error_rate < 1:
        raise InvalidArgumentError(
            f"error_rate is {error_rate!r}; expected the share of random answers, 0 to below 1")


@dataclass(frozen=True)
class Labeller:
    """A synthetic judge: it knows the true rewards, and shows only which segment it prefers.

    The kinds of fault are those of Lee et al. 2021, "B-Pref": noise, random answers, ties, and a
    memory that favours the end of a segment.
    """

    temperature: float = 1.0  # reward units per nat of doubt; 0: always names the better one
    error_rate: float = 0.0  # share of answers given at random
    tie_margin: float = 0.0  # returns closer than this are called a tie
    memory: float = 1.0  # a reward one step earlier counts this much less; 1: all count alike

    def __post_init__(self) -> None:
        """Refuse a judge that could not answer."""
        _check_rate(self.error_rate)
        if not (self.temperature >= 0 and self.tie_margin >= 0 and 0 < self.memory <= 1):
            raise InvalidArgumentError(
                f"temperature {self.temperature}, tie_margin {self.tie_margin}, memory "
                f"{self.memory}; expected 0 or more, 0 or more, and above 0 up to 1")

    def gaps(self, left: Tensor, right: Tensor) -> Tensor:
        """Return by how much the left segment pays more, as this judge remembers it."""
        check_pairs(left, right)
        return segment_returns(left.flip(-1) - right.flip(-1), self.memory)

    def probability(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the probability that left is named, given that the pair is no tie."""
        gaps = self.gaps(left, right)
        sure = gaps.sign() / 2 + 0.5
        clear = torch.sigmoid(gaps / self.temperature) if self.temperature else sure
        return (1 - self.error_rate) * clear + self.error_rate / 2

    def label(self, left: Float[Tensor, "pairs length"], right: Float[Tensor, "*_"],
              generator: torch.Generator) -> Float[Tensor, " pairs"]:
        """Return one answer per pair from the true rewards: 1 left, 0 right, 0.5 a tie.

        >>> judge = Labeller(temperature=0, tie_margin=0.5)
        >>> better, worse = torch.tensor([[2.0], [1.0]]), torch.tensor([[1.0], [1.2]])
        >>> judge.label(better, worse, torch.Generator().manual_seed(0)).tolist()
        [1.0, 0.5]
        """
        chance = self.probability(left, right)
        draws = torch.rand(chance.shape, generator=generator, dtype=torch.float64)
        answers = (draws < chance).to(left.dtype)
        tied = self.gaps(left, right).abs() < self.tie_margin
        return torch.where(tied, torch.full_like(answers, 0.5), answers)
