"""How good labels can be, and what they promise: noise, scale, order consistency.

Rewards whose gap has variance k are told apart by a Bradley-Terry labeller with probability
E sigmoid(|gap|): 0.6749, 0.7252, 0.7780 and 0.8428 for k = 1, 2, 4 and 10, as Sun, Shen and Ton
(2024, "Rethinking Bradley-Terry models in preference-based reward modeling") print them.

Departure from the paper: there the variance is written beta^2 sigma^2, as if sigma were the
deviation of a reward. The printed numbers are those of the *difference*; for answers drawn
independently with deviation sigma it is k = 2 beta^2 sigma^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.rewards.likelihoods import check_pairs, check_positive

ELO_PER_NAT = 400 / math.log(10)  # 173.7: what one nat of reward is on the scale of chess


def annotation_quality(variance: float, nodes: int = 400) -> float:
    """Return E sigmoid(|gap|) for a normal gap of mean 0: how often labels name the better answer.

    Gauss-Legendre on the half line: Gauss-Hermite over the whole line converges slowly, because
    |gap| has a kink at 0. Raises InvalidArgumentError for a variance below 0.

    >>> [round(annotation_quality(k), 3) for k in (0.0, 1.0, 10.0)]
    [0.5, 0.675, 0.843]
    """
    if not 0 <= variance < math.inf:
        raise InvalidArgumentError(f"variance is {variance!r}; expected a number of 0 or more")
    points, weights = np.polynomial.legendre.leggauss(nodes)
    z = 6.0 * (points + 1)  # from 0 to 12 standard deviations; beyond lies 1e-32
    density = 2 * np.exp(-z**2 / 2) / math.sqrt(2 * math.pi)
    right = 1 / (1 + np.exp(-math.sqrt(variance) * z))
    return float(6.0 * (weights * density * right).sum())


def measured_quality(first: Float[Tensor, " pairs"], second: Float[Tensor, "*_"],
                     temperature: float = 1.0) -> float:
    """Return the mean of sigmoid(|r_1 - r_2| / temperature) over pairs at hand.

    This is also the best accuracy that any reward model can reach on such labels, on average.

    >>> measured_quality(torch.zeros(3), torch.zeros(3))
    0.5
    """
    check_pairs(first, second)
    check_positive("temperature", temperature)
    return float(torch.sigmoid((first - second).abs().double() / temperature).mean())


def expected_gap(spread: float, prompt_spread: float = 0.0) -> float:
    """Return E|r_1 - r_2| for independent normal answers: 2 sqrt(s^2 + p^2) / sqrt(pi).

    Within a prompt rewards have deviation ``spread``; pairs of *different* prompts also differ by
    their prompts' means, of deviation ``prompt_spread``, so that they lie at least as far apart
    (Sun, Shen and Ton 2024, on cross-prompt comparisons).

    >>> round(expected_gap(1.0), 4), round(expected_gap(3.0, 4.0) / expected_gap(3.0), 4)
    (1.1284, 1.6667)
    """
    if not (0 <= spread < math.inf and 0 <= prompt_spread < math.inf):
        raise InvalidArgumentError(f"spread is {spread}, prompt_spread {prompt_spread}; expected "
                                   "standard deviations, 0 or more")
    return 2 * math.hypot(spread, prompt_spread) / math.sqrt(math.pi)


def to_elo(rewards: Float[Tensor, "*batch"], anchor: float = 1000.0) -> Float[Tensor, "*batch"]:
    """Return rewards in nats as Elo ratings, 400 points for odds of ten to one, mean ``anchor``.

    >>> (to_elo(torch.tensor([0.0, 1.0])).diff() * 10).round().item() / 10
    173.7
    """
    return anchor + ELO_PER_NAT * (rewards - rewards.mean())


@dataclass(frozen=True)
class OrderConsistency:
    """How often a reward model orders pairs wrongly, and the bound by its classifier."""

    order_error: float  # share of pairs in the wrong order; equal rewards count as wrong
    first_error: float  # share of first answers on the wrong side of 0
    second_error: float  # likewise, of second answers

    @property
    def bound(self) -> float:
        """The union bound on ``order_error``."""
        return self.first_error + self.second_error


def order_consistency(first: Float[Tensor, " pairs"], second: Float[Tensor, "*_"],
                      first_wins: Float[Tensor, "*_"]) -> OrderConsistency:
    """Return how logits of single answers order pairs, and the union bound on their mistakes.

    ``first_wins`` holds 1 or 0. If the winner's logit is above 0 and the loser's below, the order
    is right; so L_order <= P(first wrong) + P(second wrong) (Sun, Shen and Ton 2024, on order
    consistency). Rewards need only keep the order: any increasing function of them is as good.

    >>> wins = torch.tensor([1.0, 0.0])
    >>> order_consistency(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0]), wins)
    OrderConsistency(order_error=0.0, first_error=0.5, second_error=0.5)
    """
    check_pairs(first, second)
    if first_wins.shape != first.shape or not bool(((first_wins == 0) | (first_wins == 1)).all()):
        raise InvalidArgumentError(
            f"first_wins has shape {tuple(first_wins.shape)} for {tuple(first.shape)} pairs, or "
            "holds more than 0 and 1; expected 1 where the first answer won, else 0")
    side = 2 * first_wins - 1  # +1 or -1
    shares = [(side * logits <= 0).double().mean().item()
              for logits in (first - second, first, -second)]
    return OrderConsistency(*shares)
