"""Exercise 11.3: the Plackett-Luce likelihood of a ranking."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tutorlib.exercises.reward_models.bt import UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def plackett_luce(rewards: Float[Tensor, "rankings answers"], places: int
                  ) -> Float[Tensor, " rankings"]:
    """Return minus the log-probability of the first places; rewards stand in ranked order."""
    against = rewards.flip(-1).logcumsumexp(-1).flip(-1)  # of each answer and those behind it
    return (against - rewards)[:, :places].sum(-1)


def every_order(rewards, places) -> Tensor:
    """Sum the chances of every full order that begins like this one, as fractions.

    A full order's chance comes from its last place backwards: each step multiplies by one share.
    """
    found = []
    for row in rewards.tolist():
        top = max(row)
        weights = [Fraction(math.exp(r - top)) for r in row]
        total = Fraction(0)
        for tail in permutations(range(places, len(row))):
            chance, left = Fraction(1), Fraction(0)
            for item in reversed([*range(places), *tail]):
                left += weights[item]
                chance *= weights[item] / left
            total += chance
        found.append(math.log(total.denominator) - math.log(total.numerator))
    return torch.tensor(found, dtype=torch.float64)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw rewards of ranked answers; they are not in order of reward, as in real data."""
    cases = []
    for rankings, answers, places, scale, dtype, note in (
            (3, 4, 4, 1.0, torch.float64, "three rankings of four answers, all placed"),
            (2, 5, 2, 1.5, torch.float64, "two of five answers; only the best two were placed"),
            (4, 2, 1, 1.0, torch.float64, "four pairs: Bradley-Terry"),
            (1, 4, 1, 1.0, torch.float64, "one ranking of four: only the winner is known"),
            (2, 3, 3, 90.0, torch.float32, "two of three, some 100 apart, in float32")):
        rewards = scale * torch.randn(rankings, answers, generator=generator, dtype=dtype)
        if scale > 50:
            rewards[0] = torch.tensor([-60.0, 95.0, -20.0])  # no single shift will do
            rewards[1, 2] = 120.0
        cases.append(Case(args=(rewards, places), note=note))
    return cases


def all_orders_sum_to_one(answer, case: Case) -> str | None:
    """The probabilities of all ordered ways to fill the places sum to 1."""
    rewards, places = case.args
    row = rewards[0].double().clamp(-3, 3)
    orders = torch.tensor(list(permutations(range(len(row)))))
    losses = as_tensor(answer(row[orders], places)).double()
    repeated = math.factorial(len(row) - places)  # orders that differ behind the places
    total = float((-losses).exp().sum()) / repeated
    return None if abs(total - 1) < 1e-4 else (
        f"the probabilities of all ways to fill {places} places sum to {total:.4g}, not 1")


def gradients_flow(answer, case: Case) -> str | None:
    """The loss has gradients, and they sum to 0 in each ranking."""
    rewards, places = case.args
    leaf = rewards.clone().requires_grad_()
    loss = answer(leaf, places)
    if isinstance(loss, list | tuple):
        return "return one tensor, not a list of numbers: `torch.stack(your_list)`"
    if not (isinstance(loss, Tensor) and loss.requires_grad):
        return ("your loss carries no gradient, so nothing can be trained with it: compute with "
                "torch, without `item`, `detach`, `float` or numpy")
    (slope,) = torch.autograd.grad(loss.sum(), leaf)
    for name, values in (("losses", loss), ("gradients", slope)):
        if not bool(torch.isfinite(values).all()):
            return (f"your {name} are not all finite: in float32 exp(120) is infinite, and "
                    "exp(-200) is 0, whose logarithm is not finite either. Take a log-sum-exp for "
                    "each place, of those that are left")
    return None if float(slope.sum(-1).abs().max()) < 1e-4 else (
        "the gradients of a ranking should sum to 0: a constant added to all its rewards changes "
        "nothing")


def _steps(rewards, places):
    against = rewards.flip(-1).logcumsumexp(-1).flip(-1)
    return (rewards - against)[:, :places]


def _without_itself(r, k):
    later = r[:, 1:].flip(-1).logcumsumexp(-1).flip(-1)
    return (later - r[:, :-1])[:, :k].sum(-1)


def _all_pairs(r, k):
    total = torch.zeros(len(r), dtype=r.dtype)
    for i in range(k):
        for j in range(i + 1, r.shape[1]):
            total = total - functional.logsigmoid(r[:, i] - r[:, j])
    return total


def _neighbours(r, k):
    return -functional.logsigmoid(r[:, :-1] - r[:, 1:])[:, :k].sum(-1)


def _by_exp(r, k):
    raised = r.exp()
    shares = raised / raised.flip(-1).cumsum(-1).flip(-1)
    return -shares[:, :k].log().sum(-1)


def _epsilon(r, k):
    return -(_steps(r, k).exp() + 1e-10).log().sum(-1)


MUTANTS = (
    Mutant("all_in_every_place", lambda r, k: -torch.log_softmax(r, -1)[:, :k].sum(-1),
           "Every place divides by the sum over *all* answers. Whoever is placed already is out: "
           "place k is won against those that are left, itself included."),
    Mutant("against_those_before", lambda r, k: (r.logcumsumexp(-1) - r)[:, :k].sum(-1),
           "You sum over the answers placed *before*. Those that are left stand behind: turn the "
           "row round, accumulate, and turn it back."),
    Mutant("worst_first", lambda r, k: plackett_luce(r.flip(-1), k),
           "You read the ranking from its end. The first column is the best answer."),
    Mutant("losers_chosen", lambda r, k: plackett_luce(-r, k),
           "The rewards enter with the wrong sign: high rewards should make early places likely."),
    Mutant("sorted_first", lambda r, k: plackett_luce(r.sort(-1, descending=True).values, k),
           "You sort the rewards. The columns are in the order that the *labeller* gave; that the "
           "rewards disagree is just what the loss has to see."),
    Mutant("without_itself", _without_itself,
           "The denominator leaves out the answer itself. Its own weight belongs to the sum, or "
           "this is an odds and no probability."),
    Mutant("all_pairs", _all_pairs,
           "You add up Bradley-Terry losses of all pairs. Pairs of one ranking are not independent "
           "choices: the probabilities of all orders would not sum to 1."),
    Mutant("neighbours_only", _neighbours,
           "You compare each answer with the next one only. Each place is won against *all* that "
           "are left."),
    Mutant("winner_only", lambda r, k: -_steps(r, 1).sum(-1),
           "You look at the first place only. All `places` first places count."),
    Mutant("places_ignored", lambda r, k: plackett_luce(r, r.shape[1]),
           "You use the order behind the first `places` too, which nobody has given."),
    Mutant("one_place_short", lambda r, k: -_steps(r, k - 1).sum(-1),
           "One place is missing: with `places` = 1 the winner still counts."),
    Mutant("those_behind_left_out", lambda r, k: plackett_luce(r[:, :k], k),
           "Answers that were not placed are cut off. They lost to all that were: keep them in "
           "the sums."),
    Mutant("log_likelihood", lambda r, k: _steps(r, k).sum(-1),
           "The minus sign is missing: this is the log-likelihood, below 0."),
    Mutant("probability", lambda r, k: _steps(r, k).sum(-1).exp(),
           "This is the probability itself. Asked for is minus its logarithm."),
    Mutant("mean_over_places", lambda r, k: -_steps(r, k).mean(-1),
           "You average over the places. The logarithm of a product is a sum."),
    Mutant("mean_over_rankings", lambda r, k: plackett_luce(r, k).mean(),
           "You average over the rankings. Return one number for each of them, `[rankings]`."),
    Mutant("exponentials", _by_exp,
           "exp(95) is infinite in float32, and infinity over infinity is NaN. Stay with "
           "logarithms: `logsumexp` or `logcumsumexp`."),
    Mutant("clamped", lambda r, k: plackett_luce(r.clamp(-80, 80), k),
           "You clamp the rewards: a reward beyond the limit then has no gradient. A log-sum-exp "
           "takes any rewards."),
    Mutant("epsilon", _epsilon,
           "A small number under the logarithm caps the loss: rankings that are furthest wrong "
           "then teach nothing. Stay with logarithms: `logsumexp` or `logcumsumexp`."),
    Mutant("one_place_more", lambda r, k: -_steps(r, k + 1).sum(-1),
           "You count one place more than was filled: the first `places` columns only."),
    Mutant("summed_over_rankings", lambda r, k: plackett_luce(r, k).sum(),
           "You add up the rankings. Return one number for each of them, `[rankings]`."),
    Mutant("over_rankings", lambda r, k: (r.flip(0).logcumsumexp(0).flip(0) - r)[:, :k].sum(-1),
           "You accumulate over the rankings. The answers of one ranking are the last axis."),
)


def _loop(r, k):
    total = torch.zeros(len(r), dtype=r.dtype)
    for place in range(k):
        total = total + r[:, place:].logsumexp(-1) - r[:, place]
    return total


def _masked(r, k):
    n = r.shape[-1]
    later = torch.ones(n, n, dtype=torch.bool).triu()
    return (r[:, None].masked_fill(~later, -math.inf).logsumexp(-1) - r)[:, :k].sum(-1)


def _softmax_of_the_rest(r, k):
    return -sum(torch.log_softmax(r[:, i:], -1)[:, 0] for i in range(k))


PLACKETT_LUCE = Exercise(
    id=f"{UNIT}.plackett_luce",
    title="The likelihood of a ranking",
    points=2, minutes=10, difficulty=3,
    reference=plackett_luce,
    oracle=every_order,
    hand=Case(
        args=(torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]], dtype=torch.float64).log(), 3),
        # weights 3, 2, 1: 3/6 * 2/3 = 1/3; turned round 1/6 * 2/5 = 1/15
        expected=torch.tensor([math.log(3), math.log(15)], dtype=torch.float64),
        note="weights 3, 2, 1 in this order and in the opposite one"),
    cases=draw_cases,
    properties=(
        Property("probabilities of all orders sum to 1", all_orders_sum_to_one),
        Property("gradients flow", gradients_flow),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("a loop over places", _loop),
        Variant("a mask", _masked),
        Variant("log-softmax of the rest", _softmax_of_the_rest),
    ),
    hints=(
        "Fill the places one by one. The winner is drawn from all answers with chances "
        "proportional to exp(reward); the second from those that are left; and so on.",
        r"$$-\log P = \sum_{k=1}^{K} \Big( \log \sum_{j \ge k} e^{r_j} - r_k \Big)$$" "\n\n"
        "`rewards` is `[rankings, answers]` in ranked order, $K$ is `places`. The sums over "
        "$j \\ge k$ are running sums from behind: `flip`, `logcumsumexp`, `flip`, or a loop with "
        "`logsumexp`.",
        "```python\n"
        "against = ...            # log-sum-exp of each answer and those behind it\n"
        "terms = ...              # minus log-probability of each place\n"
        "return ...               # the first places, summed\n"
        "```",
    ),
    why="Rewards plus Gumbel noise, sorted, give exactly this distribution of orders. With two "
        "answers it is Bradley-Terry. A ranking of n answers says more than any one pair of it, "
        "and less than all its pairs would if they were independent.",
    index_names=lambda case, index: f"ranking {index[0] + 1}",
    forbidden=("tutorlib.rewards.plackett_luce_loss",),
)
