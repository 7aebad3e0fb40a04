"""Exercise 10.2's answers: the reference, wrong ones with what to say about them, other styles."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tutorlib.exercises.sft_is_imitation.shift_answers import IGNORED
from tutorlib.grading import Mutant, Variant


def sft_loss(logits: Float[Tensor, "batch tokens vocab"],
             targets: Int[Tensor, "batch tokens_minus_one"], aggregate: str) -> Float[Tensor, ""]:
    """Return the negative log-likelihood of the targets, aggregated as named."""
    learned = targets != IGNORED
    logps = torch.log_softmax(logits[:, :-1], -1)
    chosen = logps.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    sums, counts = -(chosen * learned).sum(1), learned.sum(1)
    if aggregate == "sequence_sum":
        return sums.mean()
    if aggregate == "sequence_mean":
        return (sums / counts).mean()
    return sums.sum() / counts.sum()


def _nll(logits, targets):
    """Return minus log-probabilities, 0 where not learned, from already shifted logits."""
    logps = torch.log_softmax(logits, -1)
    return -logps.gather(-1, targets.clamp(min=0)[..., None])[..., 0] * (targets != IGNORED)


def _by(nll, targets, aggregate):
    counts = (targets != IGNORED).sum(1)
    return {"token_mean": lambda: nll.sum() / counts.sum(),
            "sequence_mean": lambda: (nll.sum(1) / counts).mean(),
            "sequence_sum": lambda: nll.sum(1).mean()}[aggregate]()


def _always(convention):
    return lambda z, y, a: sft_loss(z, y, convention)


def _clamped(z, y, a):
    logps = torch.log_softmax(z[:, :-1], -1)
    return _by(-logps.gather(-1, y.clamp(min=0)[..., None])[..., 0], y, a)


def _over_all_places(z, y, a):
    nll = _nll(z[:, :-1], y)
    return {"token_mean": nll.mean, "sequence_mean": nll.mean,
            "sequence_sum": lambda: nll.sum(1).mean()}[a]()


def _swapped_means(z, y, a):
    return sft_loss(z, y, {"token_mean": "sequence_mean", "sequence_mean": "token_mean"}.get(a, a))


def _total(z, y, a):
    loss = sft_loss(z, y, a)
    return loss * len(y) if a == "sequence_sum" else loss


def _means_added_up(z, y, a):
    loss = sft_loss(z, y, a)
    return loss * len(y) if a == "sequence_mean" else loss


def _probability(z, y, a):
    p = torch.softmax(z[:, :-1], -1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return _by(-p * (y != IGNORED), y, a)


def _softmax_twice(z, y, a):
    return _by(_nll(torch.softmax(z[:, :-1], -1), y), y, a)


def _raw(z, y, a):
    chosen = z[:, :-1].gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return _by(-chosen * (y != IGNORED), y, a)


def _log_of_probability(z, y, a):
    p = torch.softmax(z[:, :-1], -1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return _by(torch.where(y != IGNORED, -p.log(), torch.zeros_like(p)), y, a)


def _softmax_by_hand(z, y, a):
    raised = z[:, :-1].exp()
    p = (raised / raised.sum(-1, keepdim=True)).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return _by(torch.where(y != IGNORED, -p.log(), torch.zeros_like(p)), y, a)


def _log_of_the_product(z, y, a):
    p = torch.softmax(z[:, :-1], -1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    counts = (y != IGNORED).sum(1)
    sums = -torch.where(y != IGNORED, p, torch.ones_like(p)).prod(1).log()
    return {"token_mean": lambda: sums.sum() / counts.sum(),
            "sequence_mean": lambda: (sums / counts).mean(), "sequence_sum": sums.mean}[a]()


def _floor(z, y, a):
    p = torch.softmax(z[:, :-1], -1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return _by(-(p + 1e-8).log() * (y != IGNORED), y, a)


MUTANTS = (
    Mutant("logits_not_shifted", lambda z, y, a: _by(_nll(z[:, 1:], y), y, a),
           "You drop the *first* logits. Target column j is the token after position j: it is "
           "predicted by the logits at j. The last position predicts nothing: `logits[:, :-1]`."),
    Mutant("always_token_mean", _always("token_mean"),
           "This is \"token_mean\", asked for or not. Is `aggregate` used, and does each of its "
           "three names have a branch of its own?"),
    Mutant("always_sequence_mean", _always("sequence_mean"),
           "This is \"sequence_mean\", asked for or not. Is `aggregate` used, and does each of its "
           "three names have a branch of its own?"),
    Mutant("always_sequence_sum", _always("sequence_sum"),
           "This is \"sequence_sum\", asked for or not. Is `aggregate` used, and does each of its "
           "three names have a branch of its own?"),
    Mutant("means_swapped", _swapped_means,
           "The two means are exchanged. \"token_mean\" gives every *token* the same weight, "
           "\"sequence_mean\" every *answer*: first the mean within each, then over answers."),
    Mutant("batch_total", _total,
           "\"sequence_sum\" adds up within an answer, and *averages* over answers. You add up the "
           "answers as well, so the step of a gradient would grow with the batch."),
    Mutant("means_added_up", _means_added_up,
           "\"sequence_mean\" averages twice: within each answer, and over the answers. You add "
           "the answers' means up."),
    Mutant("ignored_scored", _clamped,
           "Ignored targets are scored as if they were a token: after `clamp` they must be masked "
           "out of the sum."),
    Mutant("divided_by_all_places", _over_all_places,
           "You divide by all places, prompt and padding included. Only the learned tokens count: "
           "otherwise more padding means a smaller loss."),
    Mutant("sign", lambda z, y, a: -sft_loss(z, y, a),
           "The sign is turned: a loss is *minus* the log-likelihood."),
    Mutant("softmax_twice", _softmax_twice,
           "Softmax is taken twice: `log_softmax` and `cross_entropy` want the logits themselves."),
    Mutant("probability", _probability,
           "This is minus the probability of the targets. The logarithm is missing."),
    Mutant("raw_logits", _raw,
           "A logit is no log-probability yet: subtract the log-sum-exp, `log_softmax(..., -1)`."),
    Mutant("floor_under_the_probability", _floor,
           "A small number under the logarithm hides how surprised the model is: with 1e-8 no "
           "token can lose more than 18.4 nats. `log_softmax` needs no floor."),
    Mutant("log_of_a_probability", _log_of_probability,
           "In a network's float32 a probability below e^-103 is 0, its logarithm minus infinity "
           "and the gradient NaN. Never take a probability on the way: `log_softmax`."),
    Mutant("softmax_by_hand", _softmax_by_hand,
           "In float32 `exp` of a logit above 89 is infinite, and infinity over infinity is NaN. "
           "`log_softmax` subtracts the largest logit first."),
    Mutant("log_of_the_product", _log_of_the_product,
           "The product of an answer's probabilities is 0 in float32 from some 103 nats on. Add "
           "up log-probabilities instead."),
    Mutant("bits", lambda z, y, a: sft_loss(z, y, a) / math.log(2),
           "This is in bits. Logarithms in this course are natural: nats."),
    Mutant("softmax_over_positions", lambda z, y, a: _by(
               -torch.log_softmax(z[:, :-1], 1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
               * (y != IGNORED), y, a),
           "The softmax runs over positions. It is the *tokens* at one position whose "
           "probabilities sum to 1: the last axis."),
    Mutant("per_token_probabilities_multiplied", lambda z, y, a: (-_nll(z[:, :-1], y)).sum(
               1).exp().mean(),
           "This is the probability of the answers. Asked for is minus its logarithm: a product "
           "of many probabilities is too small to have a useful gradient."),
)


def _cross_entropy(z, y, a):
    each = functional.cross_entropy(z[:, :-1].transpose(1, 2), y, ignore_index=IGNORED,
                                    reduction="none")
    return _by(each, y, a)


def _row_by_row(z, y, a):
    sums, counts = [], []
    for scores, wanted in zip(z, y, strict=True):
        kept = wanted != IGNORED
        logps = torch.log_softmax(scores[:-1][kept], -1)
        sums.append(-logps[torch.arange(len(logps)), wanted[kept]].sum())
        counts.append(int(kept.sum()))
    if a == "token_mean":
        return sum(sums) / sum(counts)
    if a == "sequence_mean":
        return sum(s / n for s, n in zip(sums, counts, strict=True)) / len(sums)
    return sum(sums) / len(sums)


def _logsumexp(z, y, a):
    z = z[:, :-1]
    chosen = z.gather(-1, y.clamp(min=0)[..., None])[..., 0] - z.logsumexp(-1)
    return _by(-torch.where(y != IGNORED, chosen, torch.zeros_like(chosen)), y, a)


VARIANTS = (
    Variant("torch's cross_entropy", _cross_entropy),
    Variant("row by row", _row_by_row),
    Variant("log-sum-exp and where", _logsumexp),
)
