"""Exercise 08.3's answers: the reference, wrong ones with what to say about them, other styles."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutorlib.grading import Mutant, Variant


def query_budget(returns: Float[Tensor, "members pairs 2"], segments: Int[Tensor, "pairs 2"],
                 asked: Bool[Tensor, " pairs"], budget: int) -> Int[Tensor, "questions 2"]:
    """Return the new questions, most disputed first, each as (lower, higher) segment number."""
    return _spend(variance(returns), segments, asked, budget)


def _spend(score, segments, asked, budget, key=lambda row: tuple(sorted(row))):
    """Return up to ``budget`` questions of highest score, none asked before or twice."""
    rows = segments.tolist()
    known = {key(row) for row, was in zip(rows, asked.tolist(), strict=True) if was}
    chosen = []
    for index in score.argsort(descending=True, stable=True).tolist():
        if len(chosen) == budget:
            break
        if key(rows[index]) not in known:
            known.add(key(rows[index]))
            chosen.append(sorted(rows[index]))
    return torch.tensor(chosen, dtype=torch.long).view(-1, 2)


def _by(score, **settings):
    """Make an answer that spends by another score, a function of returns."""
    return lambda returns, segments, asked, budget: _spend(
        score(returns), segments, asked, budget, **settings)


def chance(returns):
    """Return each member's probability that the left segment is preferred, [members, pairs]."""
    return torch.sigmoid(returns[..., 0] - returns[..., 1])


def variance(returns):
    """Return how disputed each pair is."""
    return chance(returns).var(0, unbiased=False)


def _entropy(returns):
    p = chance(returns).mean(0)
    return -torch.special.xlogy(p, p) - torch.special.xlogy(1 - p, 1 - p)


def _ignore_asked(returns, segments, asked, budget):
    return _spend(variance(returns), segments, torch.zeros_like(asked), budget)


def _plain(returns, segments, asked, budget):
    order = variance(returns).argsort(descending=True, stable=True)
    return segments[order].sort(1).values[:budget]


def _only_asked_rows(returns, segments, asked, budget):
    kept = ~asked
    order = variance(returns)[kept].argsort(descending=True, stable=True)
    return segments[kept][order].sort(1).values[:budget]


def _unsorted_rows(returns, segments, asked, budget):
    rows = segments.tolist()
    first = {tuple(sorted(r)): r for r in reversed(rows)}
    return torch.tensor([first[tuple(q)] for q in query_budget(
        returns, segments, asked, budget).tolist()], dtype=torch.long).view(-1, 2)


def _copies_as_given(returns, segments, asked, budget):
    kept = ~asked
    order = variance(returns)[kept].argsort(descending=True, stable=True)
    return segments[kept][order][:budget]


def _mirrors_of_asked(returns, segments, asked, budget):
    kept = ~asked
    return _spend(variance(returns)[kept], segments[kept], asked[kept], budget)


def _cut_first(returns, segments, asked, budget):
    found = _only_asked_rows(returns, segments, asked, budget).tolist()
    known = {tuple(sorted(row)) for row in segments[asked].tolist()}
    new = [row for k, row in enumerate(found)
           if row not in found[:k] and tuple(row) not in known]
    return torch.tensor(new, dtype=torch.long).view(-1, 2)


MUTANTS = (
    Mutant("each_member_unsure", _by(lambda r: (chance(r) * (1 - chance(r))).mean(0)),
           "p (1 - p) is large where each member by itself is unsure, even if all say the same. "
           "Take the variance of p *over members*."),
    Mutant("copies_as_given", _copies_as_given,
           "You leave out the rows marked in `asked`, but copies and mirror images are not merged: "
           "(i, j) and (j, i) are one question, and it is returned as (lower, higher)."),
    Mutant("mirrors_of_asked", _mirrors_of_asked,
           "Only the rows marked in `asked` are left out; their copies and mirror images were "
           "answered too. Keep a set of answered questions, each one sorted."),
    Mutant("cut_first", _cut_first,
           "You cut the list to the budget before you drop repeats and answered questions, so "
           "some budget is left unspent. Drop first; others move up."),
    Mutant("uncertainty", _by(_entropy),
           "You ask where the *mean* prediction is closest to one half. There the networks may "
           "agree that it is a coin flip, and no answer would teach them anything. Ask where they "
           "contradict each other: the variance over members."),
    Mutant("variance_of_returns", _by(lambda r: (r[..., 0] - r[..., 1]).var(0)),
           "You take the variance of the difference of returns. Networks that say 9 and 15 agree "
           "on who wins; squash each member's difference by a sigmoid first."),
    Mutant("hard_votes", _by(lambda r: (r[..., 0] > r[..., 1]).double().var(0)),
           "You count who votes for whom. Members that say 0.49 and 0.51 hardly disagree: take "
           "the variance of the probabilities, not of votes."),
    Mutant("least_disputed", _by(lambda r: -variance(r)),
           "You ask the questions on which all members agree. Start with the *largest* variance."),
    Mutant("range", _by(lambda r: chance(r).amax(0) - chance(r).amin(0)),
           "You use the gap between the highest and the lowest probability; the task asks for the "
           "variance over all members."),
    Mutant("left_alone", _by(lambda r: torch.sigmoid(r[..., 0]).var(0)),
           "You look at the left segment alone. A preference is about the difference of the two "
           "returns."),
    Mutant("one_mean_for_all", _by(lambda r: ((chance(r) - chance(r).mean()) ** 2).mean(0)),
           "You measure the distance from the mean over *all pairs*. Disagreement is about one "
           "question at a time: the mean over members (axis 0) of that pair."),
    Mutant("asked_again", _ignore_asked,
           "You ask what was asked before. `asked` marks the pairs that have an answer; their "
           "mirror images have one too."),
    Mutant("everything_twice", _plain,
           "The same question is asked several times, and ones that have an answer too: neither "
           "`asked` nor repetitions are looked at. A mirror image is the same question."),
    Mutant("copies_kept", _only_asked_rows,
           "You leave out the rows marked in `asked`, but their copies and mirror images are still "
           "there, and new questions come twice. (i, j) and (j, i) are one question."),
    Mutant("mirrors_kept", lambda returns, segments, asked, budget: torch.sort(_spend_rows(
               variance(returns), segments, asked, budget), 1).values,
           "Copies are gone, but not mirror images: (i, j) and (j, i) are the same question. "
           "Sort each pair before you compare it."),
    Mutant("rows_as_given", _unsorted_rows,
           "The right questions, but in the given left-right order. Return each one as (lower, "
           "higher) segment number: `sorted(row)`."),
)


def _spend_rows(score, segments, asked, budget):
    """Return up to ``budget`` rows, not asked before in this order, none twice in this order."""
    rows = [tuple(row) for row in segments.tolist()]
    known = {row for row, was in zip(rows, asked.tolist(), strict=True) if was}
    chosen = []
    for index in score.argsort(descending=True, stable=True).tolist():
        if len(chosen) < budget and rows[index] not in known:
            known.add(rows[index])
            chosen.append(rows[index])
    return torch.tensor(chosen, dtype=torch.long).view(-1, 2)


def _numpy(returns, segments, asked, budget):
    p = 1 / (1 + np.exp(returns[..., 1].numpy() - returns[..., 0].numpy()))
    rows = np.sort(segments.numpy(), 1)
    done = {tuple(row) for row in rows[asked.numpy()]}
    out = []
    for k in np.argsort(-p.std(0), kind="stable"):
        if tuple(rows[k]) not in done and len(out) < budget:
            done.add(tuple(rows[k]))
            out.append(rows[k])
    return np.array(out, dtype=int).reshape(-1, 2)


def _sample_variance_and_dict(returns, segments, asked, budget):
    best = {}
    score = chance(returns).var(0)
    for k, (i, j) in enumerate(segments.tolist()):
        best[min(i, j), max(i, j)] = float(score[k])
    for k, (i, j) in enumerate(segments.tolist()):
        if asked[k]:
            best.pop((min(i, j), max(i, j)), None)
    return [list(q) for q in sorted(best, key=lambda q: -best[q])][:budget]


def _as_whole_numbers(returns, segments, asked, budget):
    return torch.tensor(_sample_variance_and_dict(returns, segments, asked, budget)).view(-1, 2)


VARIANTS = (
    Variant("numpy, standard deviation", _numpy),
    Variant("sample variance, a dict of questions", _as_whole_numbers),
    Variant("a list of lists", _sample_variance_and_dict),
)
