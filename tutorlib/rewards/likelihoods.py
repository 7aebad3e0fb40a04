"""How rewards explain choices: one negative log-likelihood for each kind of judgement.

A comparison of two answers, the better one first, is explained by the gap of their rewards:

    P(y+ > y- | x) = sigmoid(r(x, y+) - r(x, y-))                 Bradley and Terry (1952)
    L = -E log sigmoid(r(x, y+) - r(x, y-))                       to be minimised

Departure from the paper: Sun and van der Schaar (2025, section 4.1) print this loss without its
minus sign. As printed it is a log-likelihood: whoever minimises it learns to prefer the worse
answers. The same holds for the DPO loss printed beside it.

All losses are in nats, one number per judgement, not averaged. None of them changes when a
constant is added to all rewards of a prompt, except the classification objective.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid

from tutorlib.errors import InvalidArgumentError

TieModel = Literal["rao_kupper", "davidson"]
OUTCOMES = ("first", "tie", "second")  # the order of columns in tie_logps


def bradley_terry_probability(first: Float[Tensor, "*batch"], second: Float[Tensor, "*_"],
                              temperature: float = 1.0) -> Float[Tensor, "*batch"]:
    """Return P(first preferred) = sigmoid((r_1 - r_2) / temperature), Bradley and Terry (1952).

    Raises InvalidArgumentError for rewards that do not form pairs of finite numbers.

    >>> round(bradley_terry_probability(torch.tensor(1.0), torch.tensor(0.0)).item(), 4)
    0.7311
    """
    check_pairs(first, second)
    check_positive("temperature", temperature)
    return torch.sigmoid((first - second) / temperature)


def bradley_terry_loss(chosen: Float[Tensor, "*batch"], rejected: Float[Tensor, "*_"],
                       margin: Float[Tensor, "*_"] | float = 0.0,
                       labels: Shaped[Tensor, "*_"] | float = 1.0) -> Float[Tensor, "*batch"]:
    """Return -log sigmoid(r+ - r- - margin) of each pair: note the minus sign.

    ``margin`` asks clear cases for a larger gap (Llama 2: Touvron et al. 2023, eq. 2). ``labels``
    are shares of the preference that go to ``chosen``: 1 for a plain choice, 0.5 for a tie, 1 - e
    for labels that are wrong with probability e ("label smoothing"). With z = r+ - r- - margin the
    loss is then the cross-entropy -labels log sigmoid(z) - (1 - labels) log sigmoid(-z).
    Raises InvalidArgumentError for rewards, margins or labels that cannot be used.

    >>> loss = bradley_terry_loss(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    >>> [round(value, 4) for value in loss.tolist()]  # a right order costs less than a wrong one
    [0.3133, 1.3133]
    """
    check_pairs(chosen, rejected)
    _check_rows("margin", margin, chosen)
    check_shares(labels, chosen)
    gaps = chosen - rejected - margin
    if not isinstance(labels, Tensor) and labels == 1:
        return -logsigmoid(gaps)
    return -labels * logsigmoid(gaps) - (1 - labels) * logsigmoid(-gaps)


def thurstone_probability(first: Float[Tensor, "*batch"], second: Float[Tensor, "*_"],
                          spread: float = 1.0) -> Float[Tensor, "*batch"]:
    """Return P(first preferred) = Phi((r_1 - r_2) / spread), Thurstone (1927).

    ``spread`` is the standard deviation of the *difference* of the two perceived values; if each
    is perceived with deviation s, it is s sqrt(2). Errors as ``bradley_terry_probability``.

    >>> round(thurstone_probability(torch.tensor(1.0), torch.tensor(0.0)).item(), 4)
    0.8413
    """
    check_pairs(first, second)
    check_positive("spread", spread)
    return torch.special.ndtr((first - second) / spread)


def thurstone_loss(chosen: Float[Tensor, "*batch"], rejected: Float[Tensor, "*_"],
                   spread: float = 1.0) -> Float[Tensor, "*batch"]:
    """Return -log Phi((r+ - r-) / spread) of each pair, exact also where Phi rounds to 0.

    >>> round(thurstone_loss(torch.tensor(0.0), torch.tensor(0.0)).item(), 4)  # log 2
    0.6931
    """
    check_pairs(chosen, rejected)
    check_positive("spread", spread)
    return -torch.special.log_ndtr((chosen - rejected) / spread)


def centering_penalty(chosen: Float[Tensor, "*batch"], rejected: Float[Tensor, "*_"]
                      ) -> Float[Tensor, "*batch"]:
    """Return (r+ + r-)^2 of each pair, which keeps rewards around 0.

    Comparisons leave a constant per prompt free; a small multiple of this penalty settles it
    (Eisenstein et al. 2023, "Helping or herding", eq. 2).

    >>> centering_penalty(torch.tensor([1.0]), torch.tensor([-1.0])).item()
    0.0
    """
    check_pairs(chosen, rejected)
    return (chosen + rejected) ** 2


def classification_loss(winners: Float[Tensor, "*batch"], losers: Float[Tensor, "*_"]
                        ) -> Float[Tensor, "*batch"]:
    """Return -log sigmoid(r+) - log sigmoid(-r-): a classifier of winners (1) and losers (0).

    Each answer is judged by itself; the logit is then used as a reward (Sun, Shen and Ton 2024,
    "Rethinking Bradley-Terry models", the classification objective). The sum over a pair's two
    terms is returned: a mean over single answers would be half of it.

    >>> round(classification_loss(torch.tensor(0.0), torch.tensor(0.0)).item(), 4)  # 2 log 2
    1.3863
    """
    check_pairs(winners, losers)
    return -logsigmoid(winners) - logsigmoid(-losers)


def plackett_luce_loss(rewards: Float[Tensor, "*batch items"], places: int | None = None,
                       mask: Bool[Tensor, "*_"] | None = None) -> Float[Tensor, "*batch"]:
    """Return -log P(ranking) for the rewards of ranked answers, best first, in their order.

        P = prod_k exp(r_k) / sum_(j >= k) exp(r_j)            Luce (1959), Plackett (1975)

    ``places`` is how many were ranked: the others only lost to these. ``mask`` is False where a
    row holds no answer (rows of unequal length); two answers give Bradley-Terry.
    Raises InvalidArgumentError for fewer than two answers, places out of range, NaN.

    >>> round(plackett_luce_loss(torch.zeros(3)).exp().item(), 4)  # 3! orders, all alike
    6.0
    """
    _check_ranking(rewards, places, mask)
    items = rewards.shape[-1]
    present = torch.ones_like(rewards, dtype=torch.bool) if mask is None else mask
    later = torch.ones(items, items, dtype=torch.bool, device=rewards.device).triu()  # j >= k
    rivals = later & present[..., None, :]
    lowest = torch.finfo(rewards.dtype).min
    against = rewards.masked_fill(~present, 0.0)[..., None, :].masked_fill(~rivals, lowest)
    terms = against.logsumexp(-1) - rewards  # -log P(k is taken first among those left)
    taken = torch.arange(items, device=rewards.device) < (items if places is None else places)
    return terms.masked_fill(~(present & taken), 0.0).sum(-1)


def sample_rankings(rewards: Float[Tensor, "*batch items"], generator: torch.Generator
                    ) -> Shaped[Tensor, "*batch items"]:
    """Draw rankings of the Plackett-Luce model: indices of the items, best first.

    Rewards plus independent Gumbel noise, sorted: the order has exactly that distribution
    (Yellott 1977).

    >>> sample_rankings(torch.tensor([0.0, 50.0]), torch.Generator().manual_seed(0)).tolist()
    [1, 0]
    """
    uniform = torch.rand(rewards.shape, generator=generator, dtype=torch.float64)
    gumbel = -(-uniform.clamp_min(1e-300).log()).log()
    return (rewards + gumbel.to(rewards)).argsort(-1, descending=True)


def tie_logps(first: Float[Tensor, "*batch"], second: Float[Tensor, "*_"], tie: float,
              model: TieModel = "rao_kupper") -> Float[Tensor, "*batch 3"]:
    """Return log-probabilities of (first wins, tie, second wins).

    With d = r_1 - r_2: Rao and Kupper (1967) call a tie what differs by less than a threshold
    ``tie`` >= 0, P(first) = sigmoid(d - tie). Davidson (1970) weighs a tie by ``tie`` > 0 against
    the geometric mean of the two, P = softmax(d / 2, log tie, -d / 2).

    >>> equal = tie_logps(torch.tensor(0.0), torch.tensor(0.0), 1.0, "davidson").exp()
    >>> [round(p, 4) for p in equal.tolist()]
    [0.3333, 0.3333, 0.3333]
    """
    check_pairs(first, second)
    gaps = first - second
    if model == "davidson":
        check_positive("tie", tie)
        weight = torch.full_like(gaps, tie).log()
        return torch.stack([gaps / 2, weight, -gaps / 2], -1).log_softmax(-1)
    if model != "rao_kupper" or not 0 <= tie < float("inf"):
        raise InvalidArgumentError(f"model is {model!r}, tie {tie!r}; expected 'rao_kupper' with a "
                                   "threshold of 0 or more, or 'davidson' with a weight above 0")
    win, lose = logsigmoid(gaps - tie), logsigmoid(-gaps - tie)
    equal = torch.full_like(gaps, 2 * tie).expm1().log() + win + lose
    return torch.stack([win, equal, lose], -1)


def tie_loss(first: Float[Tensor, "*batch"], second: Float[Tensor, "*_"],
             outcomes: Shaped[Tensor, "*_"], tie: float, model: TieModel = "rao_kupper"
             ) -> Float[Tensor, "*batch"]:
    """Return -log P(outcome) of each pair; an outcome is 0 first, 1 a tie, 2 second.

    Raises InvalidArgumentError for other outcomes, and for ties under a threshold of 0.

    >>> one, tied = torch.tensor([0.0]), torch.tensor([1])
    >>> round(tie_loss(one, one, tied, 1.0, "davidson").item(), 4)  # log 3
    1.0986
    """
    if outcomes.shape != first.shape or not bool(torch.isin(
            outcomes, torch.arange(3, device=outcomes.device)).all()):
        raise InvalidArgumentError("expected one outcome per pair: 0 first, 1 a tie, 2 second; got "
                                   f"shape {tuple(outcomes.shape)}, {outcomes.unique().tolist()}")
    if model == "rao_kupper" and tie == 0 and bool((outcomes == 1).any()):
        raise InvalidArgumentError("there are ties, but a threshold of 0 makes them impossible; "
                                   "raise tie")
    return -tie_logps(first, second, tie, model).gather(-1, outcomes.long()[..., None])[..., 0]


def check_pairs(first: Tensor, second: Tensor) -> None:
    """Raise InvalidArgumentError unless both hold finite numbers in the same shape."""
    if first.shape != second.shape:
        raise InvalidArgumentError(
            f"rewards have shapes {tuple(first.shape)} and {tuple(second.shape)}; expected one "
            "number on each side of every pair (squeeze a last dimension of 1)")
    if first.numel() == 0:
        raise InvalidArgumentError("there are no pairs; expected at least one")
    for side, rewards in (("first", first), ("second", second)):
        wrong = ~torch.isfinite(rewards)
        if bool(wrong.any()):
            raise InvalidArgumentError(
                f"the {side} reward of pair {wrong.nonzero()[0].tolist()} is not finite; expected "
                "numbers: a model that diverged gives such (lower its learning rate)")


def check_positive(name: str, value: float) -> None:
    """Raise InvalidArgumentError unless a setting is a finite number above 0."""
    if not 0 < value < float("inf"):
        raise InvalidArgumentError(f"{name} is {value!r}; expected a finite number above 0")


def check_shares(labels: Tensor | float, like: Tensor) -> None:
    """Raise InvalidArgumentError unless labels are shares in [0, 1], one or one for each pair."""
    _check_rows("labels", labels, like)
    values = torch.as_tensor(labels)
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise InvalidArgumentError(
            "labels must be shares from 0 to 1 of the preference for the first answer: 1 a plain "
            f"choice, 0.5 a tie; got {float(values.min()):g} to {float(values.max()):g}")


def _check_rows(name: str, values: Tensor | float, like: Tensor) -> None:
    """Raise InvalidArgumentError unless values are finite, and one or one for each pair."""
    found = torch.as_tensor(values)
    if found.ndim and found.shape != like.shape:
        raise InvalidArgumentError(f"{name} has shape {tuple(found.shape)} for pairs of shape "
                                   f"{tuple(like.shape)}; expected one number for each pair")
    if not bool(torch.isfinite(found.double()).all()):
        raise InvalidArgumentError(f"{name} is not finite; expected numbers")


def _check_ranking(rewards: Tensor, places: int | None, mask: Tensor | None) -> None:
    """Raise InvalidArgumentError for what is no ranking."""
    if rewards.ndim < 1 or rewards.shape[-1] < 2:
        raise InvalidArgumentError(
            f"rewards have shape {tuple(rewards.shape)}; expected at least two answers to rank")
    if places is not None and not 1 <= places <= rewards.shape[-1]:
        raise InvalidArgumentError(f"places is {places}; expected 1 to {rewards.shape[-1]}, the "
                                   "number of answers")
    if mask is not None and (mask.shape != rewards.shape or bool((mask.sum(-1) < 2).any())):
        raise InvalidArgumentError(
            f"mask has shape {tuple(mask.shape)}; expected that of the rewards, "
            f"{tuple(rewards.shape)}, with at least two answers in every row")
    counted = rewards if mask is None else rewards[mask]
    if not bool(torch.isfinite(counted).all()):
        raise InvalidArgumentError("rewards of ranked answers are not finite; expected numbers")
