"""Exercise 08.1's answers: the reference, wrong ones with what to say about them, other styles."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tutorlib.grading import Mutant, Variant


def segment_bt_loss(left_rewards: Float[Tensor, "pairs steps"],
                    right_rewards: Float[Tensor, "pairs steps"], labels: Float[Tensor, " pairs"],
                    discount: float, error_rate: float) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of labels under sums of rewards, with random answers."""
    gap = _returns(left_rewards, discount) - _returns(right_rewards, discount)
    return _cross_entropy(gap, labels, error_rate).mean()


def _returns(rewards, discount):
    return (rewards * discount ** torch.arange(rewards.shape[1], dtype=torch.float64)).sum(1)


def _cross_entropy(gap, labels, error_rate):
    """Return the loss of each pair; logarithms of sums, so that nothing overflows."""
    win, lose = functional.logsigmoid(gap), functional.logsigmoid(-gap)
    if error_rate:
        chance = torch.full_like(gap, math.log(error_rate / 2))
        win = torch.logaddexp(win + math.log(1 - error_rate), chance)
        lose = torch.logaddexp(lose + math.log(1 - error_rate), chance)
    return -labels * win - (1 - labels) * lose


def _with(returns=_returns, loss=_cross_entropy, gather=torch.mean, labels_as=lambda mu: mu):
    """Make an answer with some part exchanged."""
    def answer(left_rewards, right_rewards, labels, discount, error_rate):
        gap = returns(left_rewards, discount) - returns(right_rewards, discount)
        return gather(loss(gap, labels_as(labels), error_rate))
    return answer


def _ties_dropped(left_rewards, right_rewards, labels, discount, error_rate):
    kept = labels != 0.5
    return segment_bt_loss(left_rewards[kept], right_rewards[kept], labels[kept], discount,
                           error_rate)


def _step_by_step(left_rewards, right_rewards, labels, discount, error_rate):
    weights = discount ** torch.arange(left_rewards.shape[1], dtype=torch.float64)
    gaps = weights * (left_rewards - right_rewards)
    return _cross_entropy(gaps, labels[:, None], error_rate).sum(1).mean()


def _each_alone(left_rewards, right_rewards, labels, discount, error_rate):
    win, lose = (functional.logsigmoid(_returns(r, discount)) for r in (left_rewards,
                                                                         right_rewards))
    return (-labels * win - (1 - labels) * lose).mean()


def _smoothed(gap, labels, error_rate):
    return _cross_entropy(gap, (1 - error_rate) * labels + error_rate / 2, 0.0)


def _whole_error(gap, labels, error_rate):
    p = (1 - error_rate) * torch.sigmoid(gap) + error_rate
    return -labels * p.log() - (1 - labels) * (1 - p).log()


def _winner_only(gap, labels, error_rate):
    return _cross_entropy(gap, torch.ones_like(labels), error_rate) * labels


def _mixed(p, error_rate):
    return (1 - error_rate) * p + error_rate / 2


def _of_probabilities(p, labels, error_rate):
    p = _mixed(p, error_rate)
    return -labels * p.log() - (1 - labels) * (1 - p).log()


def _naive_exponentials(left_rewards, right_rewards, labels, discount, error_rate):
    left, right = (_returns(r, discount).exp() for r in (left_rewards, right_rewards))
    return _of_probabilities(left / (left + right), labels, error_rate).mean()


def _torch_bce(gap, labels, error_rate):
    return functional.binary_cross_entropy(_mixed(torch.sigmoid(gap), error_rate), labels,
                                           reduction="none")


def _last_counts_most(rewards, discount):
    return _returns(rewards.flip(1), discount)


MUTANTS = (
    Mutant("sign", _with(gather=lambda x: -x.mean()),
           "The minus sign is missing: this is the log-likelihood, which you would *maximise*. "
           "A loss is minus it, never negative."),
    Mutant("labels_swapped", _with(labels_as=lambda mu: 1 - mu),
           "You reward the segment that lost. `labels` is 1 where the *left* one is preferred."),
    Mutant("mean_over_steps", _with(returns=lambda r, d: _returns(r, d) / r.shape[1]),
           "You average rewards within a segment. The model compares sums (returns): dividing by "
           "the length makes every judge look undecided, and learned rewards too large."),
    Mutant("sum_over_pairs", _with(gather=torch.sum),
           "You add the pairs up. The task asks for the mean over pairs, so that the loss does "
           "not grow with the data."),
    Mutant("ties_dropped", _ties_dropped,
           "Ties are left out. A label of 0.5 says that the returns are close, which is "
           "information: it enters with half of each logarithm."),
    Mutant("labels_rounded", _with(labels_as=lambda mu: (mu > 0.5).double()),
           "Labels are rounded to 0 or 1. They are shares: 0.5 is a tie and 0.8 an undecided "
           "judge; use them as weights of the two logarithms."),
    Mutant("ties_for_wins", _with(labels_as=lambda mu: (mu >= 0.5).double()),
           "Labels are rounded up: a tie counts as a win of the left one. They are shares, 0.5 is "
           "a tie and 0.8 an undecided judge; use them as weights of the two logarithms."),
    Mutant("discount_from_one", _with(returns=lambda r, d: d * _returns(r, d)),
           "Your first step is discounted already. Step 0 counts fully: `discount ** t`, t from "
           "0."),
    Mutant("cut_off", _with(loss=lambda g, mu, e: _of_probabilities(
               torch.sigmoid(g).clamp(1e-7, 1 - 1e-7), mu, e)),
           "You clamp the probability. A loss above 16 is then cut off, and an obvious mistake has "
           "no slope: use `logsigmoid` of the difference."),
    Mutant("step_by_step", _step_by_step,
           "You compare step by step and add the losses. The judge saw two whole segments: first "
           "sum each one's rewards, then take one sigmoid of the difference."),
    Mutant("each_alone", _each_alone,
           "You put each return into a sigmoid of its own, as if segments were judged good or bad "
           "alone. A comparison knows only the difference of the two returns."),
    Mutant("no_discount", _with(returns=lambda r, d: _returns(r, 1.0)),
           "Rewards are not discounted: step t of a segment counts `discount ** t`."),
    Mutant("discount_backwards", _with(returns=_last_counts_most),
           "The discount runs backwards: here the *last* step counts fully. Step 0 has weight 1, "
           "step t has `discount ** t`."),
    Mutant("no_error_rate", _with(loss=lambda g, mu, e: _cross_entropy(g, mu, 0.0)),
           "The share of random answers is not used: P = (1 - e) sigmoid(...) + e / 2. Without "
           "it, one wrong answer to an obvious question costs as much as you like."),
    Mutant("labels_smoothed", _with(loss=_smoothed),
           "You mixed the errors into the labels. That punishes a model for being sure; the task "
           "mixes them into the *model's probability*, (1 - e) sigmoid(...) + e / 2."),
    Mutant("whole_error", _with(loss=_whole_error),
           "Random answers fall on both sides: each gets e / 2, not e. As it stands the two "
           "probabilities do not sum to 1."),
    Mutant("winner_only", _with(loss=_winner_only),
           "Only the term with `labels` is there. Where the right segment won, mu is 0 and your "
           "loss is silent: the second term is (1 - mu) log P(right)."),
    Mutant("squared", _with(loss=lambda g, mu, e: (mu - _mixed(torch.sigmoid(g), e)) ** 2),
           "This is the squared error of the probability. The likelihood asks for logarithms: "
           "-mu log P - (1 - mu) log(1 - P)."),
    Mutant("naive_exponentials", _naive_exponentials,
           "On paper this is right, but `exp` of a return above 700 is infinite. The ratio is the "
           "sigmoid of the *difference*; its logarithm is `logsigmoid`."),
    Mutant("log_of_sigmoid", _with(loss=lambda g, mu, e: _of_probabilities(
               torch.sigmoid(g), mu, e)),
           "The formula is right, but for returns far apart the sigmoid is exactly 0 or 1 and its "
           "logarithm infinite. `torch.nn.functional.logsigmoid` of the difference stays finite."),
    Mutant("clamped", _with(loss=_torch_bce),
           "`binary_cross_entropy` cuts logarithms off at -100, so an obvious mistake has no "
           "slope. Work with the difference of returns: `logsigmoid`, or "
           "`binary_cross_entropy_with_logits` when there are no random answers."),
)


def _numpy(left_rewards, right_rewards, labels, discount, error_rate):
    weights = discount ** np.arange(left_rewards.shape[1])
    gap = (left_rewards.numpy() - right_rewards.numpy()) @ weights
    with np.errstate(divide="ignore"):
        kept, chance = np.log(1 - error_rate), np.log(error_rate / 2)
    win = np.logaddexp(kept - np.logaddexp(0, -gap), chance)
    lose = np.logaddexp(kept - np.logaddexp(0, gap), chance)
    mu = labels.numpy()
    return float(np.mean(-mu * win - (1 - mu) * lose))


def _loops(left_rewards, right_rewards, labels, discount, error_rate):
    total = 0.0
    for left, right, mu in zip(left_rewards.tolist(), right_rewards.tolist(), labels.tolist(),
                               strict=True):
        gap = sum(discount**t * (a - b) for t, (a, b) in enumerate(zip(left, right, strict=True)))
        for weight, d in ((mu, gap), (1 - mu, -gap)):
            if error_rate:
                p = 1 / (1 + math.exp(-d))
                total -= weight * math.log((1 - error_rate) * p + error_rate / 2)
            else:
                total -= weight * (min(d, 0) - math.log1p(math.exp(-abs(d))))
    return total / len(labels)


def _softmax_of_two(left_rewards, right_rewards, labels, discount, error_rate):
    both = torch.stack([_returns(left_rewards, discount), _returns(right_rewards, discount)], 1)
    logps = torch.log_softmax(both, 1)
    if error_rate:
        logps = ((1 - error_rate) * logps.exp() + error_rate / 2).log()
    return -(labels * logps[:, 0] + (1 - labels) * logps[:, 1]).mean()


VARIANTS = (
    Variant("log_softmax of two returns", _softmax_of_two),
    Variant("numpy", _numpy),
    Variant("loops", _loops),
)
