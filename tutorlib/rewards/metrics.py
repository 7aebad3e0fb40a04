"""How good a reward model is: against labels, against their noise, against gold, and in use.

Accuracy on pairs says little by itself: noisy labels put a ceiling on it, far below 1, and what
counts in the end is the gold reward of the answer that the model picks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from scipy.optimize import minimize_scalar
from scipy.stats import kendalltau, spearmanr
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.rewards.intervals import wilson_interval
from tutorlib.rewards.likelihoods import bradley_terry_loss, check_pairs
from tutorlib.tinytalk.labellers import Labeller, Preference
from tutorlib.tinytalk.tokenizer import chat_prompt


@dataclass(frozen=True)
class Share:
    """A measured share and its 95 % interval (Wilson 1927)."""

    value: float
    low: float
    high: float
    trials: int

    def __str__(self) -> str:
        """Return it as one reads it aloud."""
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}, n = {self.trials})"


def pairwise_accuracy(chosen: Float[Tensor, " pairs"], rejected: Float[Tensor, "*_"]) -> Share:
    """Return the share of pairs that the rewards order as the labels do; equal ones count a half.

    >>> print(pairwise_accuracy(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0])))
    75.0% (19.8% to 97.3%, n = 2)
    """
    check_pairs(chosen, rejected)
    right = float((chosen > rejected).sum()) + 0.5 * float((chosen == rejected).sum())
    return Share(right / len(chosen), *wilson_interval(right, len(chosen)), len(chosen))


def labels_ceiling(preferences: Sequence[Preference],
                   labellers: Labeller | Sequence[Labeller]) -> float:
    """Return the best accuracy that anyone can expect on labels of these labellers.

    Whoever knows P(a preferred) of each pair names the likelier answer, and is right with
    probability max(P, 1 - P). Of several labellers, one is drawn for each pair.
    """
    crowd = [labellers] if isinstance(labellers, Labeller) else list(labellers)
    if not preferences or not crowd:
        raise InvalidArgumentError(f"{len(preferences)} pairs and {len(crowd)} labellers; expected "
                                   "at least one of each")
    chances = [sum(who.probability(p.prompt, p.chosen, p.rejected) for who in crowd) / len(crowd)
               for p in preferences]
    return sum(max(p, 1 - p) for p in chances) / len(chances)


def labelled_rewards(model, preferences: Sequence[Preference]
                     ) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Return a reward model's rewards of the chosen and of the rejected answers."""
    prompts = [chat_prompt(p.prompt.text) for p in preferences]
    return (model.score(prompts, [p.chosen for p in preferences]),
            model.score(prompts, [p.rejected for p in preferences]))


def labelled_accuracy(model, preferences: Sequence[Preference]) -> Share:
    """Return how often a reward model orders TinyTalk's labelled pairs as their labels do."""
    return pairwise_accuracy(*labelled_rewards(model, preferences))


@dataclass(frozen=True, eq=False)
class CalibrationCurve:
    """What was predicted and what came true, bin by bin; empty bins are left out."""

    predicted: Float[Tensor, " bins"]  # mean predicted probability
    observed: Float[Tensor, " bins"]  # share that came true
    low: Float[Tensor, " bins"]  # Wilson's interval of that share, 95 %
    high: Float[Tensor, " bins"]
    counts: Float[Tensor, " bins"]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance, bins weighted by their counts."""
        distance = (self.predicted - self.observed).abs()
        return float((distance * self.counts).sum() / self.counts.sum())


def calibration_curve(probabilities: Float[Tensor, " n"], outcomes: Bool[Tensor, "*_"],
                      bins: int = 10, spacing: Literal["even", "quantile"] = "even",
                      start: float = 0.0) -> CalibrationCurve:
    """Return predicted against observed shares (Naeini et al. 2015; Guo et al. 2017, eq. 3).

    "even" bins split [start, 1] into equal parts, of which the first holds its lower end too;
    "quantile" bins hold equally many predictions. Raises InvalidArgumentError for probabilities
    outside [0, 1].

    >>> curve = calibration_curve(torch.tensor([0.9, 0.9]), torch.tensor([True, False]))
    >>> round(curve.error, 3)
    0.4
    """
    _check_predictions(probabilities, outcomes, bins, spacing, start)
    p, truth = probabilities.detach().double().cpu(), outcomes.double().cpu()
    if spacing == "even":
        edges = torch.linspace(start, 1, bins + 1, dtype=p.dtype)
        place = torch.bucketize(p, edges[1:-1])
    else:
        place = torch.empty(len(p), dtype=torch.long)
        place[p.argsort(stable=True)] = torch.arange(len(p)) * min(bins, len(p)) // len(p)
    counts = torch.bincount(place, minlength=bins).double()
    sums = [torch.zeros(bins, dtype=p.dtype).scatter_add_(0, place, v) for v in (p, truth)]
    used = counts > 0
    ends = torch.tensor([wilson_interval(float(s), int(n))
                         for s, n in zip(sums[1][used], counts[used], strict=True)],
                        dtype=p.dtype)
    return CalibrationCurve(sums[0][used] / counts[used], sums[1][used] / counts[used],
                            ends[:, 0], ends[:, 1], counts[used])


def preference_calibration(chosen: Float[Tensor, " pairs"], rejected: Float[Tensor, "*_"],
                           bins: int = 10, spacing: Literal["even", "quantile"] = "even"
                           ) -> CalibrationCurve:
    """Return how often a reward model's favourite was chosen, by its confidence (0.5 to 1).

    The model's favourite is what it would pick not knowing the label. Binning
    sigmoid(r_chosen - r_rejected) itself would be no test: its outcome is "chosen" every time.
    """
    check_pairs(chosen, rejected)
    gaps = (chosen - rejected).detach().double()
    kept = gaps != 0  # without a favourite there is nothing to be right about
    if not bool(kept.any()):
        raise InvalidArgumentError("both answers of every pair have equal rewards; the model "
                                   "has no favourite to be right about")
    return calibration_curve(torch.sigmoid(gaps[kept].abs()), gaps[kept] > 0, bins, spacing, 0.5)


def fit_temperature(chosen: Float[Tensor, " pairs"], rejected: Float[Tensor, "*_"]) -> float:
    """Return T that makes sigmoid((r+ - r-) / T) likeliest on held-out pairs (Guo et al. 2017).

    Above 1 the model was too sure. Raises InvalidArgumentError if every pair is ordered alike:
    then no T is best.
    """
    check_pairs(chosen, rejected)
    gaps = (chosen - rejected).detach().double()
    if not bool((gaps > 0).any() and (gaps < 0).any()):
        raise InvalidArgumentError("every pair is ordered alike, so the best temperature is 0 or "
                                   "infinite; give held-out pairs, more of them")

    def loss(log_t: float) -> float:
        scaled = gaps / math.exp(log_t)
        return float(bradley_terry_loss(scaled, torch.zeros_like(scaled)).mean())

    return math.exp(minimize_scalar(loss, bounds=(-7, 12), method="bounded",
                                    options={"xatol": 1e-8}).x)


def rank_correlation(proxy: Float[Tensor, "prompts answers"], gold: Float[Tensor, "*_"],
                     kind: Literal["kendall", "spearman"] = "kendall") -> float:
    """Return the rank correlation of two rewards over each prompt's answers, mean over prompts.

    Kendall's tau-b or Spearman's rho. Prompts on whose answers either is constant say nothing and
    are left out. Across prompts rewards cannot be compared: comparisons leave a constant free.
    Raises InvalidArgumentError if no prompt is left.
    """
    _check_tables(proxy, gold)
    if kind not in ("kendall", "spearman"):
        raise InvalidArgumentError(f"kind is {kind!r}; expected 'kendall' or 'spearman'")
    measure = kendalltau if kind == "kendall" else spearmanr
    found = [measure(a, b).statistic
             for a, b in zip(proxy.detach().cpu().numpy(), gold.cpu().numpy(), strict=True)
             if a.min() < a.max() and b.min() < b.max()]
    if not found:
        raise InvalidArgumentError("on every prompt one of the rewards is constant; give answers "
                                   "that differ in worth")
    return float(sum(found) / len(found))


def best_of_n(proxy: Float[Tensor, "prompts answers"], gold: Float[Tensor, "*_"], n: int
              ) -> Float[Tensor, " prompts"]:
    """Return the expected gold reward of the answer that the proxy picks among n of a prompt's N.

    Exact over all choices of n without repetition: the answer of rank k from below is picked with
    probability C(k - 1, n - 1) / C(N, n) (Nakano et al. 2021, appendix I). Answers that the proxy
    scores alike share theirs. Raises InvalidArgumentError unless 1 <= n <= N.

    >>> table = torch.tensor([[1.0, 2.0, 3.0]])
    >>> [round(best_of_n(table, table, n).item(), 4) for n in (1, 2, 3)]
    [2.0, 2.6667, 3.0]
    """
    _check_tables(proxy, gold)
    count = proxy.shape[1]
    if not 1 <= n <= count:
        raise InvalidArgumentError(f"n is {n}; expected 1 to {count}, the answers of each prompt")
    whole = math.comb(count, n)
    below = torch.tensor([math.comb(k, n) / whole for k in range(count + 1)], dtype=torch.float64)
    less = (proxy[:, None, :] < proxy[:, :, None]).sum(-1)  # answers scored below each
    alike = (proxy[:, None, :] == proxy[:, :, None]).sum(-1)  # itself included
    chances = (below[less + alike] - below[less]) / alike  # best is in this group, shared evenly
    return (chances.to(gold) * gold).sum(1)


def label_agreement(first: Bool[Tensor, " pairs"], second: Bool[Tensor, "*_"]
                    ) -> tuple[float, float]:
    """Return how reliably two labellers (or one, twice) agree: share, and Cohen's kappa (1960).

    Kappa is agreement beyond chance: 0 for coins, 1 for perfect agreement; nan if both always
    answer the same one thing.

    >>> label_agreement(torch.tensor([True, False]), torch.tensor([True, False]))
    (1.0, 1.0)
    """
    if first.shape != second.shape or not len(first):
        raise InvalidArgumentError(f"labels have shapes {tuple(first.shape)} and "
                                   f"{tuple(second.shape)}; expected the same pairs, at least one")
    share = (first == second).double().mean().item()
    a, b = first.double().mean().item(), second.double().mean().item()
    chance = a * b + (1 - a) * (1 - b)
    return share, (share - chance) / (1 - chance) if chance < 1 else math.nan


def _check_predictions(p: Tensor, outcomes: Tensor, bins: int, spacing: str, start: float) -> None:
    """Raise InvalidArgumentError for what cannot be binned."""
    if p.shape != outcomes.shape or p.ndim != 1 or not len(p):
        raise InvalidArgumentError(f"{tuple(p.shape)} probabilities for {tuple(outcomes.shape)} "
                                   "outcomes; expected one of each, at least one")
    if not bool(((p >= start) & (p <= 1)).all()):
        raise InvalidArgumentError(f"probabilities reach from {float(p.min()):g} to "
                                   f"{float(p.max()):g}; expected {start:g} to 1: take sigmoid of "
                                   "reward gaps first")
    if bins < 1 or spacing not in ("even", "quantile") or not 0 <= start < 1:
        raise InvalidArgumentError(f"bins {bins}, spacing {spacing!r}, start {start}; expected 1 "
                                   "or more, 'even' or 'quantile', and 0 to below 1")


def _check_tables(proxy: Tensor, gold: Tensor) -> None:
    """Raise InvalidArgumentError unless both rewards are given for the same answers."""
    if proxy.ndim != 2 or proxy.shape != gold.shape or 0 in proxy.shape:
        raise InvalidArgumentError(f"proxy {tuple(proxy.shape)} and gold {tuple(gold.shape)}; "
                                   "expected (prompts, answers) twice, alike")
    check_pairs(proxy, gold)
