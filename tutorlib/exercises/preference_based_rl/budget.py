"""Exercise 08.3: spend a budget of questions where reward networks disagree."""

from __future__ import annotations

import math
import statistics

import torch

from tutorlib.exercises.preference_based_rl.budget_answers import (
    MUTANTS,
    VARIANTS,
    chance,
    query_budget,
    variance,
)
from tutorlib.exercises.preference_based_rl.worlds import normal, numbers
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor


def by_counting(returns, segments, asked, budget):
    """Take each question's population variance with ``statistics``, and the largest in turn."""
    disputed, known = {}, set()
    for p, (i, j) in enumerate(segments.tolist()):
        votes = [1 / (1 + math.exp(float(m[p, 1]) - float(m[p, 0]))) for m in returns]
        question = (min(i, j), max(i, j))
        disputed[question] = statistics.pvariance(votes)
        known |= {question} if bool(asked[p]) else set()
    fresh = [q for q in disputed if q not in known]
    picked = []
    while fresh and len(picked) < budget:
        picked.append(max(fresh, key=disputed.get))
        fresh.remove(picked[-1])
    return torch.tensor(picked, dtype=torch.long).view(-1, 2)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw segments' returns and pairs of them, some repeated, mirrored, or asked before."""
    cases = []
    for members, count, budget in ((3, 7, 4), (4, 8, 5), (5, 9, 6), (3, 6, 40)):
        worth = normal(generator, members, count) * (0.3 + 2 * torch.rand(
            count, generator=generator, dtype=torch.float64))
        worth = worth + 3 * normal(generator, count)
        every = torch.combinations(torch.arange(count))
        order = torch.randperm(len(every), generator=generator)[:12]
        segments = every[order]
        flip = torch.rand(len(order), generator=generator) < 0.5
        segments[flip] = segments[flip].flip(1)
        votes = torch.sigmoid(worth[:, segments[:, 0]] - worth[:, segments[:, 1]]).var(0)
        top = votes.argsort(descending=True)
        # the most disputed is there twice, the second mirrored; the third was asked, mirrored
        again = torch.stack([segments[top[0]], segments[top[1]].flip(0), segments[top[2]].flip(0)])
        asked = torch.zeros(len(segments) + 3, dtype=torch.bool)
        asked[top[3]], asked[-1] = True, True
        segments = torch.cat([segments, again])
        returns = worth[:, segments]  # [members, pairs, 2]
        note = ("a budget larger than the pool" if budget == 40 else
                "some questions come twice, mirrored, or were asked before")
        cases.append(Case(args=(returns, segments, asked, budget), note=note))
    votes = numbers([[0.9, 0.85, 0.5], [0.1, 0.15, 0.5], [0.5, 0.85, 0.5], [0.5, 0.15, 0.4]])
    votes = votes + 0.01 * torch.rand(4, 3, generator=generator, dtype=torch.float64)
    returns = torch.stack([votes.logit(), torch.zeros_like(votes)], -1)
    questions = torch.tensor([[0, 1], [2, 3], [4, 5]])
    return [*cases, Case(args=(returns, questions, torch.zeros(3, dtype=torch.bool), 1),
                         note="the widest range is not the largest variance")]


def nobody_is_asked_twice(answer, case: Case) -> str | None:
    """A question and its mirror image are one question."""
    rows = [tuple(sorted(r)) for r in as_tensor(answer(*case.args)).long().view(-1, 2).tolist()]
    twice = next((r for r in rows if rows.count(r) > 1), None)
    if twice is not None:
        return f"segments {twice[0]} and {twice[1]} are compared twice"
    before = {tuple(sorted(r)) for r in case.args[1][case.args[2]].tolist()}
    stale = next((r for r in rows if r in before), None)
    return None if stale is None else (f"segments {stale[0]} and {stale[1]} were compared before "
                                       "(perhaps the other way round)")


def shift_of_a_member(answer, case: Case) -> str | None:
    """A constant in one member's returns changes none of its preferences."""
    returns, segments, asked, budget = case.args
    moved = returns.clone()
    moved[0] += 5.0
    if torch.equal(as_tensor(answer(moved, segments, asked, budget)).double(),
                   as_tensor(answer(*case.args)).double()):
        return None
    return "with 5 added to all returns of one member you ask something else"


def show_choice(answer):
    """Draw all questions by mean prediction and disagreement, with the learner's choice."""
    from tutorlib.viz import Picture, new_figure, style
    from tutorlib.viz.look import series_look

    generator = torch.Generator().manual_seed(4)
    worth = 1.5 * normal(generator, 20) + 0.6 * normal(generator, 4, 20)
    segments = torch.combinations(torch.arange(20))
    returns = worth[:, segments]
    chosen = as_tensor(answer(returns, segments, torch.zeros(len(segments), dtype=torch.bool), 12))
    p, spread = chance(returns).mean(0), variance(returns).sqrt()
    picked = (segments[:, None] == chosen.long()).all(-1).any(1)
    least = float(spread[picked].min())
    title = (f"Your {int(picked.sum())} questions have a spread of {least:.2f}"
             f" or more; the mean over all {len(segments)} is {float(spread.mean()):.2f}")
    with style():
        fig, ax = new_figure(title=title)
        for index, (name, part) in enumerate((("not asked", ~picked), ("asked", picked))):
            ax.plot(p[part], spread[part], label=name, **series_look(index) | {"linestyle": ""})
        ax.set(xlabel="mean predicted probability that the first is better",
               ylabel="standard deviation over members")
        fig.legend(loc="outside lower left", ncols=2)
    return Picture(fig, alt=f"{title}. Scatter of questions: disagreement is highest near a mean "
                            "of one half, but not every question there is disputed.")


def same_questions(got, want) -> str | None:
    """Compare lists of questions, whatever holds them; None, or what differs."""
    found = as_tensor(got)
    if found is None or found.is_complex():
        return f"{len(want)} questions were expected, as rows of two segment numbers"
    found = found.double().view(-1, 2) if found.numel() == 0 else found.double()
    if found.shape != want.shape:
        return (f"{len(want)} questions were expected, shape {tuple(want.shape)}; got shape "
                f"{tuple(found.shape)}")
    wrong = (found != want).any(1)
    if not bool(wrong.any()):
        return None
    row = int(wrong.nonzero()[0])
    return (f"question {row} should compare segments {want[row].tolist()}, not "
            f"{[int(x) for x in found[row]]}")


HAND_RETURNS = numbers([[[2.0, 0.0], [0.0, 0.0], [5.0, 1.0], [0.0, 2.0]],
                        [[1.0, 2.0], [0.0, 0.0], [9.0, 1.0], [2.0, 1.0]]])

QUERY_BUDGET = Exercise(
    id="preference_based_rl.query_budget",
    title="Spend a budget of questions",
    points=3, minutes=15, difficulty=3,
    reference=query_budget,
    oracle=by_counting,
    hand=Case(
        args=(HAND_RETURNS, torch.tensor([[3, 1], [0, 1], [2, 0], [1, 3]]),
              torch.tensor([False, False, False, False]), 2),
        # pairs 0 and 3 are one question, votes 0.88 and 0.27; pair 2: 0.982 and 0.9997; pair 1: 0
        expected=torch.tensor([[1, 3], [0, 2]]),
        note="two members; pairs 0 and 3 are mirror images, and the most disputed"),
    cases=draw_cases,
    properties=(
        Property("no question twice", nobody_is_asked_twice),
        Property("a member's constant changes nothing", shift_of_a_member),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "First how disputed each pair is, as one number per pair. Then walk down the list from the "
        "most disputed, and keep a set of questions that need no asking: answered before, or "
        "already chosen. Which order of the two segments goes into that set?",
        r"$$p_m = \sigma(G_m(\text{left}) - G_m(\text{right})), \qquad \text{score} = "
        r"\frac{1}{M} \sum_m (p_m - \bar p)^2$$" "\n\n"
        "`returns` is `[members, pairs, 2]`: $p$ is `[members, pairs]`, the score `[pairs]`. The "
        "result is `[questions, 2]`, each row sorted; shorter than `budget` if nothing is left.",
        "```python\n"
        "score = torch.sigmoid(...).var(0)                  # [pairs]\n"
        "done = {tuple(sorted(...)) for ...}                # asked before\n"
        "chosen = []\n"
        "for k in score.argsort(descending=True).tolist():\n"
        "    question = tuple(sorted(segments[k].tolist()))\n"
        "    if ...:                                        # new, and budget left\n"
        "        ...\n"
        "return torch.tensor(chosen).view(-1, 2)\n"
        "```",
    ),
    why="Where members agree, nothing is to be learned, whether they agree on a winner or on a "
        "coin flip. Variance over members finds questions whose answer must change somebody.",
    compare=same_questions,
    figure=show_choice,
    forbidden=("tutorlib.irl.choose_queries", "tutorlib.irl.disagreement"),
)
