"""Wrong and right answers to exercise 09.2, which its grader knows."""

from __future__ import annotations

import numpy as np
import torch

from tutorlib.grading import Mutant, Variant


def _chosen(logits, ids):
    """Log-probability of the token that came, at every place but the first."""
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]


def _no_shift(logits, ids, mask):
    return (logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0] * mask).sum(-1)


def _shifted_backwards(logits, ids, mask):
    logps = logits[:, 1:].log_softmax(-1).gather(-1, ids[:, :-1, None])[..., 0]
    return (logps * mask[:, :-1]).sum(-1)


def _mask_not_shifted(logits, ids, mask):
    return (_chosen(logits, ids) * mask[:, :-1]).sum(-1)


def _end_dropped(logits, ids, mask):
    kept = mask[:, 1:] * torch.nn.functional.pad(mask[:, 2:], (0, 1))  # a token that has a next
    return (_chosen(logits, ids) * kept).sum(-1)


def _first_dropped(logits, ids, mask):
    return (_chosen(logits, ids) * mask[:, 1:] * mask[:, :-1]).sum(-1)


def _wrong_axis(logits, ids, mask):
    logps = logits[:, :-1].log_softmax(1).gather(-1, ids[:, 1:, None])[..., 0]
    return (logps * mask[:, 1:]).sum(-1)


def _raw(logits, ids, mask):
    return (logits[:, :-1].gather(-1, ids[:, 1:, None])[..., 0] * mask[:, 1:]).sum(-1)


def _naive(logits, ids, mask):
    weights = logits[:, :-1].exp()
    shares = weights / weights.sum(-1, keepdim=True)
    logps = shares.gather(-1, ids[:, 1:, None])[..., 0].log()
    return torch.where(mask[:, 1:] == 1, logps, 0.0).sum(-1)


def _probabilities_added(logits, ids, mask):
    return (_chosen(logits, ids).exp() * mask[:, 1:]).sum(-1)


def _backwards_with_the_mask(logits, ids, mask):
    logps = logits[:, 1:].log_softmax(-1).gather(-1, ids[:, :-1, None])[..., 0]
    return (logps * mask[:, 1:]).sum(-1)


def _wrong_axis_of_all(logits, ids, mask):
    logps = logits.log_softmax(1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    return (logps * mask[:, 1:]).sum(-1)


def _softmax_then_log(floor):
    def score(logits, ids, mask):
        logps = logits.softmax(-1).clamp(min=floor).log()
        chosen = logps[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
        return torch.where(mask[:, 1:] == 1, chosen, 0.0).sum(-1)
    return score


def _log_of_the_product(logits, ids, mask):
    chances = torch.where(mask[:, 1:] == 1, _chosen(logits, ids).exp(), 1.0)
    return chances.prod(-1).log()


def _to_the_end_of_the_row(logits, ids, mask):
    begun = (mask[:, 1:].cumsum(-1) > 0).long()
    return (_chosen(logits, ids) * begun).sum(-1)


def _masked(change):
    """Make an answer from ``change(log-probabilities, their mask)``."""
    return lambda logits, ids, mask: change(_chosen(logits, ids), mask[:, 1:])


MUTANTS = (
    Mutant("no_shift", _no_shift,
           "Logits at a place predict the *next* token; you score each token with the logits at "
           "its own place, which have already seen it. Shift by one."),
    Mutant("shifted_backwards", _shifted_backwards,
           "You shifted the wrong way: logits of a place against the token *before* it. "
           "`logits[:, :-1]` goes with `input_ids[:, 1:]`."),
    Mutant("mask_not_shifted", _mask_not_shifted,
           "Logits and ids are shifted, the mask is not: the first token of the answer is left "
           "out and what stands behind its end is scored. `answer_mask[:, 1:]`."),
    Mutant("all_scored", _masked(lambda logps, mask: logps.sum(-1)),
           "Prompt and padding are scored too. Only tokens whose mask is 1 count."),
    Mutant("mask_inverted", _masked(lambda logps, mask: (logps * (1 - mask)).sum(-1)),
           "The mask is the wrong way round: 1 marks the tokens of the answer."),
    Mutant("end_dropped", _end_dropped,
           "The last token of each answer is missing. The end of sequence is a decision of the "
           "model, and its mask is 1."),
    Mutant("first_dropped", _first_dropped,
           "The first token of each answer is missing. It is predicted by the logits of the "
           "prompt's last token."),
    Mutant("mean_of_tokens", _masked(lambda logps, mask: (logps * mask).sum(-1) / mask.sum(-1)),
           "This is the mean over the answer's tokens. The logarithm of a product is a *sum*; "
           "with a mean, a long answer would seem as likely as a short one."),
    Mutant("mean_of_places", _masked(lambda logps, mask: (logps * mask).mean(-1)),
           "`mean` divides by all places, padding included: the result depends on who shares the "
           "batch. Sum."),
    Mutant("not_normalised", _raw,
           "These are raw logits. They are scores, not log-probabilities: subtract the "
           "log-sum-exp over the vocabulary (`torch.log_softmax`)."),
    Mutant("wrong_axis", _wrong_axis,
           "You normalise over the places of the sequence. Probabilities sum to 1 over the "
           "*vocabulary*, the last axis."),
    Mutant("loss", _masked(lambda logps, mask: -(logps * mask).sum(-1)),
           "The sign is turned: this is a loss (negative log-likelihood). Log-probabilities are "
           "0 or less."),
    Mutant("a_probability", _masked(lambda logps, mask: (logps * mask).sum(-1).exp()),
           "This is the probability itself. Return its logarithm: of a long answer the "
           "probability is 0 in floating point."),
    Mutant("probabilities_added", _probabilities_added,
           "You add probabilities. Along an answer they are multiplied, so their *logarithms* "
           "add up."),
    Mutant("naive_exponential", _naive,
           "The formula is right, but `exp` of a large logit is infinite. `torch.log_softmax` "
           "takes the largest out first."),
    Mutant("backwards_with_the_mask", _backwards_with_the_mask,
           "`logits[:, 1:]` against `input_ids[:, :-1]` scores each token with logits that come "
           "*after* it. It is the other way round: `logits[:, :-1]` and `input_ids[:, 1:]`."),
    Mutant("wrong_axis_of_all", _wrong_axis_of_all,
           "Your softmax runs over the tokens of the row (dim 1). A model's choice is among the "
           "words of its vocabulary: `dim=-1`."),
    Mutant("softmax_then_log", _softmax_then_log(0.0),
           "The softmax of an unlikely token is 0 in floating point, and its logarithm -inf. "
           "`torch.log_softmax` never forms the probability."),
    Mutant("softmax_clamped", _softmax_then_log(1e-10),
           "You keep probabilities above a floor. A token that is less likely gets a wrong "
           "score, and no gradient. `torch.log_softmax` needs no floor."),
    Mutant("log_of_the_product", _log_of_the_product,
           "You multiply first. The product over a long answer is 0 in floating point: take the "
           "logarithm of each factor, then sum."),
    Mutant("log_of_the_sum", _masked(lambda logps, mask: (logps.exp() * mask).sum(-1).log()),
           "This is the logarithm of a *sum* of probabilities. The answer's probability is their "
           "product, so sum the logarithms."),
    Mutant("to_the_end_of_the_row", _to_the_end_of_the_row,
           "You score everything from the answer's first token to the end of the row, padding "
           "included. Multiply by the mask."),
    Mutant("not_summed", _masked(lambda logps, mask: logps * mask),
           "These are the scores of the single tokens. Sum them over the answer: one number per "
           "row, `[batch]`."),
    Mutant("summed_over_the_batch", _masked(lambda logps, mask: (logps * mask).sum()),
           "You summed over the batch as well. Return one number per row, `[batch]`: "
           "`sum(dim=-1)`."),
)


def _cross_entropy(logits, ids, mask):
    labels = ids.masked_fill(mask == 0, -100)[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels,
                                             reduction="none", ignore_index=-100)
    return -loss.sum(-1)


def _numpy(logits, ids, mask):
    scores, ids, mask = logits.numpy(), ids.numpy(), mask.numpy()
    logps = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
    rows, places = np.nonzero(mask)
    found = np.zeros(len(ids))
    np.add.at(found, rows, logps[rows, places - 1, ids[rows, places]])
    return found


def _row_by_row(logits, ids, mask):
    found = []
    for scores, row, kept in zip(logits, ids, mask, strict=True):
        first, last = int(kept.nonzero()[0]), int(kept.nonzero()[-1])
        logps = torch.log_softmax(scores[first - 1:last], -1)
        found.append(float(logps[torch.arange(last + 1 - first), row[first:last + 1]].sum()))
    return found


VARIANTS = (
    Variant("cross_entropy with ignored labels", _cross_entropy),
    Variant("numpy", _numpy),
    Variant("row by row", _row_by_row),
)
