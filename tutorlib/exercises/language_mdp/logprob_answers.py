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
