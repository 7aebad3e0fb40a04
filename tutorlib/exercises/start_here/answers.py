"""Wrong and right answers to the warm-up exercise, as learners write them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tutorlib.grading import Mutant, Variant


def _share(weights: Tensor) -> Tensor:
    """Divide each row by its sum."""
    return weights / weights.sum(dim=-1, keepdim=True)


def _weights(logits, temperature) -> Tensor:
    """Return exp of the scaled scores, each row's largest being 1."""
    scaled = logits / temperature
    return (scaled - scaled.amax(dim=-1, keepdim=True)).exp()


MUTANTS = (
    Mutant("no_temperature", lambda logits, temperature: torch.softmax(logits, dim=-1),
           "These are the probabilities at temperature 1: `temperature` is not used, or it cancels "
           "(a factor after `exp` does). Divide the scores by it before you take `exp`."),
    Mutant("multiplied", lambda logits, temperature: torch.softmax(logits * temperature, dim=-1),
           "The scores are multiplied by the temperature. Then heat would sharpen the choice; it "
           "should flatten it. Divide."),
    Mutant("wrong_axis", lambda logits, temperature: torch.softmax(logits / temperature, dim=0),
           "Each column sums to 1, not each row: prompts compete with one another. The words of "
           "one prompt are the last axis; normalise over that one."),
    Mutant("whole_table", lambda logits, temperature:
           torch.softmax((logits / temperature).flatten(), dim=0).reshape(logits.shape),
           "The whole table sums to 1. Each prompt needs a distribution of its own: sum over the "
           "last axis only, and keep it (`keepdim=True`) so that the division lines up."),
    Mutant("no_max_subtraction", lambda logits, temperature: _share((logits / temperature).exp()),
           "The formula is right, but `exp` of a large score is infinite, and infinite over "
           "infinite is not a number (NaN). Subtract each row's largest score first: the fraction "
           "stays the same."),
    Mutant("one_max_for_all", lambda logits, temperature:
           _share((logits / temperature - (logits / temperature).max()).exp()),
           "You subtract the largest score of the whole table. A row far below it becomes all "
           "zeros, and 0 / 0 is not a number (NaN). Subtract each row's own largest score."),
    Mutant("log_probabilities", lambda logits, temperature:
           torch.log_softmax(logits / temperature, dim=-1),
           "These are log-probabilities: they are negative and do not sum to 1. Take `exp` of "
           "them, or leave the logarithm out."),
    Mutant("not_normalised", lambda logits, temperature: (logits / temperature).exp(),
           "These are weights, not yet probabilities: a row does not sum to 1. Divide each row by "
           "its sum."),
    Mutant("temperature_last", lambda logits, temperature:
           torch.softmax(logits, dim=-1) / temperature,
           "The probabilities are divided by the temperature, so that a row no longer sums to 1. "
           "Temperature acts on the scores, before `exp`."),
    Mutant("no_exponential", lambda logits, temperature: _share(logits / temperature),
           "The scores themselves are divided by their sum. A negative score would become a "
           "negative probability; `exp` makes every weight positive first."),
    Mutant("always_the_best", lambda logits, temperature: torch.nn.functional.one_hot(
               logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype),
           "All the probability goes to the best word. That is the limit of temperature 0; above "
           "it, the other words keep a share."),
    Mutant("raw_maximum", lambda logits, temperature:
           _share((logits / temperature - logits.amax(dim=-1, keepdim=True)).exp()),
           "Subtract the maximum of the scaled scores, not of the raw ones: when it is cold, a "
           "large scaled score stays large, and `exp` overflows to NaN."),
    Mutant("powers", lambda logits, temperature:
           _share(torch.softmax(logits, dim=-1) ** (1 / temperature)),
           "Powers of probabilities are right on paper, but a very small probability has already "
           "been rounded to 0 and no heat brings it back. Let the temperature act on the scores."),
    Mutant("mean_subtracted", lambda logits, temperature:
           _share((logits / temperature
                   - (logits / temperature).mean(dim=-1, keepdim=True)).exp()),
           "Subtracting the row's mean leaves large scores above it, and `exp` of those is "
           "infinite. Subtract the row's largest score: then no exponent is above 0."),
    Mutant("maximum_over_prompts", lambda logits, temperature:
           _share((logits / temperature - (logits / temperature).amax(dim=0)).exp()),
           "The maximum is taken over the prompts. So each word of a row loses a different amount, "
           "which changes the fraction. Take it over the words, the last axis."),
    Mutant("sum_lost_its_axis", lambda logits, temperature:
           _weights(logits, temperature) / _weights(logits, temperature).sum(dim=-1),
           "The sum lost its axis: `[prompts]` is not lined up with `[prompts, words]`, or is, by "
           "accident, with the wrong axis. Keep it (`keepdim=True`)."),
    Mutant("bare_sum_lost_its_axis", lambda logits, temperature:
           (logits / temperature).exp() / (logits / temperature).exp().sum(dim=-1),
           "The sum over the words lost its axis, so it is not divided row by row. Keep it "
           "(`keepdim=True`). After that, make `exp` safe for large scores."),
    Mutant("maximum_lost_its_axis", lambda logits, temperature:
           _share((logits / temperature - (logits / temperature).amax(dim=-1)).exp()),
           "The maximum lost its axis: `[prompts]` is not lined up with `[prompts, words]`, or is, "
           "by accident, with the wrong axis. Keep it (`keepdim=True`)."),
    Mutant("sum_over_prompts", lambda logits, temperature:
           _weights(logits, temperature) / _weights(logits, temperature).sum(dim=0),
           "The weights are right, but they are divided by sums over the prompts. Sum over the "
           "words, the last axis, and keep it (`keepdim=True`)."),
    Mutant("sum_of_everything", lambda logits, temperature:
           _weights(logits, temperature) / _weights(logits, temperature).sum(),
           "The weights are right, but they are divided by the sum of the whole table. Each prompt "
           "has a sum of its own: over the last axis, kept (`keepdim=True`)."),
    Mutant("safe_but_not_normalised", lambda logits, temperature: _weights(logits, temperature),
           "`exp` is safe now, but these are still weights: the best word of each row has 1. "
           "Divide each row by its sum."),
)


def _loops(logits, temperature):
    rows = []
    for row in logits.tolist():
        top = max(row)
        weights = [math.exp((z - top) / temperature) for z in row]
        rows.append([weight / sum(weights) for weight in weights])
    return rows


def _numpy(logits, temperature):
    scaled = np.asarray(logits) / temperature
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _pairwise(logits, temperature):
    gaps = (logits[:, None, :] - logits[:, :, None]) / temperature  # [prompts, word, rival]
    return 1 / gaps.exp().sum(-1)


VARIANTS = (
    Variant("torch's own softmax", lambda logits, temperature:
            torch.softmax(logits / temperature, dim=-1)),
    Variant("through the log-sum-exp", lambda logits, temperature:
            (logits / temperature
             - torch.logsumexp(logits / temperature, dim=-1, keepdim=True)).exp()),
    Variant("numpy", _numpy),
    Variant("loops over lists", _loops),
    Variant("one over the sum of odds", _pairwise),
)
