"""Exercise 11.1: the Bradley-Terry loss, with a margin."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor

UNIT = "reward_models"


def bt_loss(chosen: Float[Tensor, " pairs"], rejected: Float[Tensor, " pairs"],
            margin: Float[Tensor, " pairs"]) -> Float[Tensor, ""]:
    """Return the mean of -log sigmoid(chosen - rejected - margin)."""
    return -functional.logsigmoid(chosen - rejected - margin).mean()


def pair_by_pair(chosen, rejected, margin) -> float:
    """Add up log(1 + exp(-gap)) in plain Python, from the side that cannot overflow."""
    gaps = [a - b - m for a, b, m in zip(chosen.tolist(), rejected.tolist(), margin.tolist(),
                                         strict=True)]
    losses = [max(-g, 0.0) + math.log1p(math.exp(-abs(g))) for g in gaps]
    return math.fsum(losses) / len(losses)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw pairs of rewards: ordinary ones, far apart ones, with and without a margin."""
    cases = []
    for pairs, scale, asks, dtype, note in (
            (5, 1.0, 0.0, torch.float64, "five pairs, no margin"),
            (7, 2.0, 1.0, torch.float64, "seven pairs, margins from 0 to 1"),
            (3, 1.5, 0.5, torch.float32, "three pairs in float32, as networks give them"),
            (4, 120.0, 0.0, torch.float32, "four pairs, some 100 to 300 apart, float32"),
            (1, 1.0, 0.7, torch.float64, "a single pair")):
        a, b = (scale * torch.randn(pairs, generator=generator, dtype=dtype) for _ in range(2))
        if scale > 100:
            a[0], b[0], a[1], b[1] = -90.0, 120.0, 130.0, -70.0
        margin = asks * torch.rand(pairs, generator=generator, dtype=dtype)
        cases.append(Case(args=(a, b, margin), note=note))
    return cases


def a_common_constant_changes_nothing(answer, case: Case) -> str | None:
    """Adding one number to both rewards of a pair leaves the loss alone."""
    chosen, rejected, margin = (x.double() for x in case.args)
    shift = torch.linspace(-2, 3, len(chosen), dtype=torch.float64)
    moved = float(as_tensor(answer(chosen + shift, rejected + shift, margin))
                  ) - float(as_tensor(answer(chosen, rejected, margin)))
    return None if abs(moved) < 1e-6 else (f"a constant per pair, added to both rewards, moved the "
                                           f"loss by {moved:.4g}")


def gradients_flow(answer, case: Case) -> str | None:
    """The gradient is minus (1 - P) / pairs for chosen rewards, plus that for rejected ones."""
    chosen, rejected, margin = case.args
    leaves = chosen.clone().requires_grad_(), rejected.clone().requires_grad_()
    loss = answer(*leaves, margin)
    if not (isinstance(loss, Tensor) and loss.requires_grad):
        return ("your loss carries no gradient, so nothing can be trained with it: compute with "
                "torch, without `item`, `detach`, `float` or numpy")
    slopes = torch.autograd.grad(loss, leaves, allow_unused=True)
    pull = torch.sigmoid(-(chosen - rejected - margin)) / len(chosen)
    for name, slope, want in zip(("chosen", "rejected"), slopes, (-pull, pull), strict=True):
        if slope is None:
            return f"no gradient reaches the {name} rewards: is there a `detach`?"
        wrong = ~torch.isclose(slope, want, atol=1e-5, rtol=1e-4)
        if bool(wrong.any()) and bool((slope[wrong].abs() < 1e-2 * want[wrong].abs()).all()):
            return ("the pairs that are furthest wrong have no gradient: an epsilon, a floor or a "
                    "clamp silences exactly those. Use `logsigmoid` of the gap as it is")
        if bool(wrong.any()):
            return (f"the gradient for the {name} rewards is "
                    f"{[round(x, 4) for x in slope.tolist()]}, it should be "
                    f"{[round(x, 4) for x in want.tolist()]}")
    return None


def both_ways_sum_up(answer, case: Case) -> str | None:
    """Loss(a, b) - loss(b, a) is minus the mean gap (without a margin)."""
    chosen, rejected, _ = (x.double() for x in case.args)
    none = torch.zeros_like(chosen)
    got = float(as_tensor(answer(chosen, rejected, none))) - float(
        as_tensor(answer(rejected, chosen, none)))
    want = -float((chosen - rejected).mean())
    return None if abs(got - want) < 1e-5 * max(1.0, abs(want)) else (
        f"exchanging the two sides changed the loss by {-got:.4g}; it should change by "
        f"{-want:.4g}, the mean gap")


def _gap(a, b, m):
    return a - b - m


MUTANTS = (
    Mutant("minus_sign_missing", lambda a, b, m: functional.logsigmoid(_gap(a, b, m)).mean(),
           "This is the log-likelihood, which is below 0: whoever *minimises* it learns to prefer "
           "the worse answers. A loss needs the minus sign (the tutorial prints it without)."),
    Mutant("swapped", lambda a, b, m: bt_loss(b, a, m),
           "Chosen and rejected are exchanged: this loss is smallest where the rejected answer "
           "has the higher reward."),
    Mutant("no_logarithm", lambda a, b, m: -torch.sigmoid(_gap(a, b, m)).mean(),
           "This is minus the mean probability. Take the logarithm of each pair's probability: "
           "independent choices multiply, so their logarithms add up."),
    Mutant("error_probability", lambda a, b, m: torch.sigmoid(-_gap(a, b, m)).mean(),
           "This is the mean probability of the *other* choice. The loss is minus the logarithm "
           "of the probability of the choice that was made."),
    Mutant("summed", lambda a, b, m: -functional.logsigmoid(_gap(a, b, m)).sum(),
           "You add the pairs up. Asked for is their mean, so that a batch of another size needs "
           "no other learning rate."),
    Mutant("per_pair", lambda a, b, m: -functional.logsigmoid(_gap(a, b, m)),
           "You return one loss per pair. Asked for is one number, their mean."),
    Mutant("log_of_sigmoid", lambda a, b, m: -torch.sigmoid(_gap(a, b, m)).log().mean(),
           "In float32 a sigmoid of -200 is 0, and its logarithm minus infinity. Use `logsigmoid` "
           "(or `softplus` of minus the gap), which never forms the probability."),
    Mutant("ratio_of_exponentials",
           lambda a, b, m: -((a - m).exp() / ((a - m).exp() + b.exp())).log().mean(),
           "exp(130) is infinite in float32, and infinite over infinite is NaN. Only the "
           "difference of the rewards counts: take it first, then `logsigmoid`."),
    Mutant("clamped", lambda a, b, m: -torch.sigmoid(_gap(a, b, m)).clamp_min(1e-8).log().mean(),
           "You put a floor under the probability: pairs that are badly wrong then cost 18 nats "
           "at most and carry no gradient. Use `logsigmoid` of the gap."),
    Mutant("epsilon", lambda a, b, m: -(torch.sigmoid(_gap(a, b, m)) + 1e-12).log().mean(),
           "A small number under the logarithm hides the infinity and silences just the pairs that "
           "are furthest wrong: there the gradient is 0. `logsigmoid` of the gap needs none."),
    Mutant("gap_clamped", lambda a, b, m: bt_loss(a.sub(b).sub(m).clamp(-50, 50), 0 * a, 0 * m),
           "You clamp the gap: a pair that is 200 off then has no gradient, though it has most to "
           "learn. `logsigmoid` takes any gap."),
    Mutant("mean_probability_first",
           lambda a, b, m: -torch.sigmoid(_gap(a, b, m)).mean().log(),
           "You average the probabilities and take one logarithm. Independent choices multiply: "
           "the logarithm of each, then the mean."),
    Mutant("absolute_gap", lambda a, b, m: -functional.logsigmoid((a - b).abs() - m).mean(),
           "You take the absolute gap, so that a pair in the wrong order counts as right. The sign "
           "is what the label says: chosen minus rejected."),
    Mutant("mean_gap_first", lambda a, b, m: -functional.logsigmoid(_gap(a, b, m).mean()),
           "You average the gaps and take one logarithm. Each pair is a choice of its own: the "
           "logarithm first, then the mean."),
    Mutant("margin_added", lambda a, b, m: bt_loss(a, b, -m),
           "You add the margin to the gap. It asks for *more*: the chosen reward has to lead by "
           "the margin before the pair counts as even, so subtract it."),
    Mutant("margin_ignored", lambda a, b, m: bt_loss(a, b, 0 * m),
           "The margin is not used."),
    Mutant("margin_outside", lambda a, b, m: (m - functional.logsigmoid(a - b)).mean(),
           "The margin stands outside the logarithm, where it has no gradient and teaches "
           "nothing. It belongs to the gap: inside the sigmoid."),
    Mutant("hinge", lambda a, b, m: functional.relu(1 - _gap(a, b, m)).mean(),
           "This is a hinge loss: it stops at a gap of 1 and is no likelihood. Bradley-Terry uses "
           "the sigmoid."),
    Mutant("thurstone", lambda a, b, m: -torch.special.log_ndtr(_gap(a, b, m)).mean(),
           "This is Thurstone's model, with the normal distribution function. Bradley-Terry has "
           "the sigmoid."),
    Mutant("each_by_itself",
           lambda a, b, m: -(functional.logsigmoid(a - m) + functional.logsigmoid(-b)).mean(),
           "You judge each answer by itself (the classification objective). A comparison only "
           "knows the difference: one sigmoid of chosen minus rejected."),
    Mutant("bits", lambda a, b, m: bt_loss(a, b, m) / math.log(2),
           "This is in bits. Logarithms in this course are natural: nats."),
    Mutant("halved", lambda a, b, m: bt_loss(a, b, m) / 2,
           "You divide by the number of answers. There is one choice per pair: divide by the "
           "number of pairs."),
)


def _softmax_of_two(a, b, m):
    return -torch.log_softmax(torch.stack([a - m, b], -1), -1)[..., 0].mean()


BT_LOSS = Exercise(
    id=f"{UNIT}.bt_loss",
    title="The Bradley-Terry loss",
    points=2, minutes=7, difficulty=2,
    reference=bt_loss,
    oracle=pair_by_pair,
    hand=Case(
        args=(torch.tensor([1.0, 0.0], dtype=torch.float64),
              torch.tensor([0.0, 0.0], dtype=torch.float64),
              torch.tensor([0.0, 0.0], dtype=torch.float64)),
        # log(1 + 1/e) = 0.3133 and log 2 = 0.6931
        expected=torch.tensor((math.log1p(math.exp(-1)) + math.log(2)) / 2, dtype=torch.float64),
        note="two pairs: a lead of 1, and a tie of the rewards"),
    cases=draw_cases,
    properties=(
        Property("a common constant changes nothing", a_common_constant_changes_nothing),
        Property("gradients flow", gradients_flow),
        Property("both ways differ by the mean gap", both_ways_sum_up),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("softplus", lambda a, b, m: functional.softplus(b + m - a).mean()),
        Variant("log-softmax of two", _softmax_of_two),
        Variant("logaddexp", lambda a, b, m: torch.logaddexp(torch.zeros_like(a), b + m - a).sum()
                / len(a)),
        Variant("binary cross-entropy", lambda a, b, m: functional.
                binary_cross_entropy_with_logits(a - b - m, torch.ones_like(a))),
    ),
    hints=(
        "How likely is the choice that was made, according to the rewards? Take the logarithm of "
        "that for each pair, average, and turn the sign: likelihood up is loss down.",
        r"$$-\frac1n \sum_i \log \sigma(r^+_i - r^-_i - m_i)$$" "\n\n"
        "All `[pairs]`; the result is one number. `torch.nn.functional.logsigmoid` never forms "
        "the probability, so that nothing underflows.",
        "```python\n"
        "gaps = ...               # [pairs]\n"
        "return ...               # minus the mean of logsigmoid\n"
        "```",
    ),
    why="The gradient for a chosen reward is minus (1 - P): a pair that is already explained pulls "
        "little, a surprising one pulls hard. Only differences enter, so a constant per prompt "
        "stays free.",
    forbidden=("tutorlib.rewards.bradley_terry_loss", "tutorlib.rewards.reward_loss"),
)
