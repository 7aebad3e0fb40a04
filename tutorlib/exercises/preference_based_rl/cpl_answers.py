"""Exercise 08.4's answers: the reference, wrong ones with what to say about them, other styles."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tutorlib.grading import Mutant, Variant


def cpl_loss(logits: Float[Tensor, "states actions"], states: Int[Tensor, "pairs 2 steps_plus_one"],
             actions: Int[Tensor, "pairs 2 steps"], labels: Float[Tensor, " pairs"], alpha: float,
             discount: float) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of labels under sums of alpha log pi(a | s)."""
    gap = alpha * gap_of_sums(torch.log_softmax(logits, 1), states, actions, discount)
    return _loss(gap, labels).mean()


def gap_of_sums(scores, states, actions, discount, departures=slice(None, -1)):
    """Return the discounted difference, left minus right, of a table's entries."""
    steps = scores[states[..., departures], actions]  # [pairs, 2, steps]
    sums = (steps * discount ** torch.arange(actions.shape[2], dtype=torch.float64)).sum(2)
    return sums[:, 0] - sums[:, 1]


def _loss(gap, labels):
    return -labels * functional.logsigmoid(gap) - (1 - labels) * functional.logsigmoid(-gap)


def _table(scores, with_alpha=lambda alpha: alpha, **settings):
    """Make an answer from another table of scores."""
    def answer(logits, states, actions, labels, alpha, discount):
        gap = with_alpha(alpha) * gap_of_sums(scores(logits), states, actions, discount, **settings)
        return _loss(gap, labels).mean()
    return answer


def _log_policy(logits):
    return torch.log_softmax(logits, 1)


def _ending(scores, labels_as=lambda mu: mu, gather=torch.mean):
    """Make an answer with labels or the mean exchanged."""
    def answer(logits, states, actions, labels, alpha, discount):
        gap = alpha * gap_of_sums(_log_policy(logits), states, actions, scores(discount))
        return gather(_loss(gap, labels_as(labels)))
    return answer


def _mean_over_steps(logits, states, actions, labels, alpha, discount):
    return cpl_loss(logits, states, actions, labels, alpha / actions.shape[2], discount)


def _imitate_the_winner(logits, states, actions, labels, alpha, discount):
    steps = _log_policy(logits)[states[..., :-1], actions]
    sums = alpha * (steps * discount ** torch.arange(actions.shape[2], dtype=torch.float64)).sum(2)
    return -(labels * sums[:, 0] + (1 - labels) * sums[:, 1]).mean()


def _linear(logits, states, actions, labels, alpha, discount):
    gap = alpha * gap_of_sums(_log_policy(logits), states, actions, discount)
    return -((2 * labels - 1) * gap).mean()


def _of_chances(logits, states, actions, labels, alpha, discount):
    p = torch.sigmoid(alpha * gap_of_sums(_log_policy(logits), states, actions, discount))
    return -(torch.xlogy(labels, p) + torch.xlogy(1 - labels, 1 - p)).mean()


MUTANTS = (
    Mutant("naive_sigmoid", _of_chances,
           "The formula is right on paper, but where the policy is sure a softmax or a sigmoid "
           "rounds to 0, and its logarithm is infinite. `log_softmax` and `logsigmoid` do both "
           "at once."),
    Mutant("raw_logits", _table(lambda x: x),
           "You use the logits themselves (or a softmax over the whole table, which comes to the "
           "same). They are known only up to a number per state: take `log_softmax` over actions, "
           "row by row."),
    Mutant("logits_over_alpha", lambda logits, states, actions, labels, alpha, discount: cpl_loss(
               logits / alpha, states, actions, labels, alpha, discount),
           "You divide the logits by alpha. They already are log pi, up to a number per state; "
           "alpha only multiplies log pi."),
    Mutant("discount_from_one", lambda logits, states, actions, labels, alpha, discount: cpl_loss(
               logits, states, actions, labels, alpha * discount, discount),
           "Your first step is discounted already. Step 0 counts fully: `discount ** t`, t from "
           "0."),
    Mutant("discount_backwards", lambda logits, states, actions, labels, alpha, discount: cpl_loss(
               logits, torch.cat([states[..., :-1].flip(2), states[..., -1:]], 2),
               actions.flip(2), labels, alpha, discount),
           "The discount runs backwards: here the *last* step counts fully. Step t has "
           "`discount ** t`."),
    Mutant("probabilities", _table(lambda x: torch.softmax(x, 1)),
           "You add probabilities. The advantage is alpha times the *logarithm* of pi: "
           "`log_softmax`."),
    Mutant("softmax_over_states", _table(lambda x: torch.log_softmax(x, 0)),
           "The softmax runs over states. Each *row* of the table is a distribution over actions: "
           "dim=1."),
    Mutant("arrivals", _table(_log_policy, departures=slice(1, None)),
           "You look actions up in the state they led to. Action t was taken in state t: "
           "`states[..., :-1]`."),
    Mutant("no_alpha", _table(_log_policy, with_alpha=lambda alpha: 1.0),
           "alpha is missing: the advantage of an action is alpha log pi(a | s)."),
    Mutant("alpha_upside_down", _table(_log_policy, with_alpha=lambda alpha: 1 / alpha),
           "You divide by alpha. It is a temperature of the *policy*, pi = exp(A / alpha), so "
           "A = alpha log pi."),
    Mutant("no_discount", _ending(lambda discount: 1.0),
           "Step t counts `discount ** t`; here all steps count alike."),
    Mutant("labels_swapped", _ending(lambda d: d, labels_as=lambda mu: 1 - mu),
           "You make the losing segment likelier. `labels` is 1 where the left one, index 0, is "
           "preferred."),
    Mutant("sign", _ending(lambda d: d, gather=lambda x: -x.mean()),
           "The minus sign is missing: this is a log-likelihood. The loss is minus it."),
    Mutant("sum_over_pairs", _ending(lambda d: d, gather=torch.sum),
           "You add the pairs up; the task asks for their mean."),
    Mutant("labels_rounded", _ending(lambda d: d, labels_as=lambda mu: (mu > 0.5).double()),
           "Ties are taken for losses. A label of 0.5 weighs both logarithms equally."),
    Mutant("mean_over_steps", _mean_over_steps,
           "You average over the steps of a segment. It is a sum of advantages, as returns are "
           "sums of rewards."),
    Mutant("imitation", _imitate_the_winner,
           "You raise the probability of what the winner did, and leave the loser alone. That is "
           "imitation. A comparison needs both: one sigmoid of the difference."),
    Mutant("no_sigmoid", _linear,
           "The difference goes into the loss without `-logsigmoid`. Unbounded below, it would be "
           "lowered for ever by the same few pairs."),
)


def _numpy(logits, states, actions, labels, alpha, discount):
    x = logits.numpy()
    logp = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
    steps = logp[states.numpy()[..., :-1], actions.numpy()]
    sums = alpha * steps @ (discount ** np.arange(actions.shape[2]))
    gap, mu = sums[:, 0] - sums[:, 1], labels.numpy()
    return float(np.mean(mu * np.logaddexp(0, -gap) + (1 - mu) * np.logaddexp(0, gap)))


def _cross_entropy(logits, states, actions, labels, alpha, discount):
    steps = torch.log_softmax(logits, 1)[states[:, :, :-1], actions]
    weights = discount ** torch.arange(actions.shape[2], dtype=torch.float64)
    both = alpha * (steps * weights).sum(-1)  # [pairs, 2]
    return functional.cross_entropy(both, torch.stack([labels, 1 - labels], 1))


def _loops(logits, states, actions, labels, alpha, discount):
    logp, total = torch.log_softmax(logits, -1), 0.0
    for k, mu in enumerate(labels.tolist()):
        gap = sum(sign * alpha * discount**t * float(logp[states[k, side, t], actions[k, side, t]])
                  for side, sign in ((0, 1), (1, -1)) for t in range(actions.shape[2]))
        size = max(gap, 0.0) + math.log1p(math.exp(-abs(gap)))  # log(1 + exp(gap))
        total += mu * (size - gap) + (1 - mu) * size
    return total / len(labels)


VARIANTS = (
    Variant("cross_entropy of two sums", _cross_entropy),
    Variant("numpy", _numpy),
    Variant("loops", _loops),
)
