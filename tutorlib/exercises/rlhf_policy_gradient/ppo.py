"""Exercise 16.5: PPO's loss over the tokens of answers."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.rlhf_policy_gradient.common import UNIT, mask_of, normal
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant


def ppo_token_loss(logps: Float[Tensor, "answers tokens"],
                   old_logps: Float[Tensor, "answers tokens"],
                   advantages: Float[Tensor, "answers tokens"],
                   mask: Int[Tensor, "answers tokens"], clip: float) -> Float[Tensor, ""]:
    """Return minus the mean over tokens of min(rho A, clip(rho) A)."""
    counts = mask == 1
    ratio = torch.exp(logps[counts] - old_logps[counts].detach())  # [tokens that count]
    a = advantages[counts].detach()
    return -torch.minimum(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a).mean()


def situation_by_situation(logps, old_logps, advantages, mask, clip) -> float:
    """Go through tokens one by one and hold the ratio where more of it must not pay."""
    total, count = [], 0
    for row in zip(logps.tolist(), old_logps.tolist(), advantages.tolist(), mask.tolist(),
                   strict=True):
        for new, old, a, counts in zip(*row, strict=True):
            if counts:
                ratio = math.exp(new - old)
                ratio = min(ratio, 1 + clip) if a > 0 else max(ratio, 1 - clip)
                total.append(ratio * a)
                count += 1
    return -math.fsum(total) / count


_MEANS_NOTHING, _NAN = "numbers at padding mean nothing", "padding holds NaN"
_FAR = "a bad token is 20 times likelier than before, and one has a log-probability of -800"


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw tokens inside and outside the clipping range, for advantages of both signs."""
    cases = []
    for lengths, clip, note in (((5, 2, 4), 0.2, _MEANS_NOTHING), ((1, 6), 0.1, _MEANS_NOTHING),
                                ((4, 3, 6, 2), 0.3, _MEANS_NOTHING), ((3, 2, 4), 0.25, _NAN),
                                ((4, 2), 0.2, _FAR)):
        mask = mask_of(*lengths)
        old = -0.8 - normal(generator, *mask.shape).abs()
        moved = 0.3 * normal(generator, *mask.shape)
        advantages = normal(generator, *mask.shape)
        moved[-1, :2] = torch.tensor([0.5, -0.5])
        advantages[-1, :2] = torch.tensor([1.2, -0.9])  # clipped, both
        moved[-2, :1], advantages[-2, :1] = -0.6, 1.1  # the way back: not clipped
        moved[0, :1], advantages[0, :1] = 0.7, -1.3
        if note == _FAR:
            old[0, :2], moved[0, :2] = torch.tensor([-5.0, -800.0]), torch.tensor([3.0, 0.1])
        filled = [x.masked_fill(mask == 0, torch.nan if note == _NAN else number)
                  for x, number in ((old + moved, -0.3), (old, -1.1), (advantages, 2.5))]
        cases.append(Case(args=(*filled, mask, clip), note=(
            f"answers of {', '.join(map(str, lengths))} tokens, clip {clip}; {note}")))
    return cases


def _run(answer, case: Case):
    """Return loss and leaves of a call in which everything could take a gradient."""
    leaves = [x.clone().requires_grad_() for x in case.args[:3]]
    return answer(*leaves, *case.args[3:]), leaves


def only_the_policy_learns(answer, case: Case) -> str | None:
    """Gradients reach logps with PPO's slope, and neither old_logps nor advantages."""
    logps, old, advantages, mask, clip = case.args
    loss, leaves = _run(answer, case)
    if not (isinstance(loss, Tensor) and loss.requires_grad):
        return ("your loss carries no gradient, so no model can learn from it: compute with "
                "torch, without `item`, `detach` or numpy on logps")
    loss.backward()
    ratio = torch.exp((logps - old).masked_fill(mask == 0, 0.0))
    done = ((advantages > 0) & (ratio > 1 + clip)) | ((advantages < 0) & (ratio < 1 - clip))
    slope = -torch.where(done | (mask == 0), 0.0, ratio * advantages) / mask.sum()
    found = torch.zeros_like(logps) if leaves[0].grad is None else leaves[0].grad
    if bool(found.isnan().any()):
        return ("the slope holds NaN: where padding holds NaN, masking the *result* is too late, "
                "for its derivative is 0 times NaN. Leave padding out before `exp`")
    worst = divmod(int((found - slope).abs().argmax()), mask.shape[1])
    if float((found - slope).abs().max()) > 1e-6:
        return (f"the slope at answer {worst[0]}, token {worst[1]} (ratio "
                f"{float(ratio[worst]):.3g}, advantage {float(advantages[worst]):.3g}) is "
                f"{float(found[worst]):.4g}, expected {float(slope[worst]):.4g}")
    for name, leaf in zip(("old_logps", "advantages"), leaves[1:], strict=True):
        if leaf.grad is not None and float(leaf.grad.abs().max()) > 0:
            return (f"a gradient flows into {name}: they are records of the past, plain numbers "
                    "here, and the critic must not learn from the policy's loss: `detach()`")
    return None


def starts_at_the_mean_advantage(answer, case: Case) -> str | None:
    """Before the policy has moved, the loss is minus the mean advantage over tokens."""
    _, old, advantages, mask, clip = case.args
    want = -float(advantages[mask == 1].mean())
    got = float(answer(old.clone(), old, advantages, mask, clip))
    return None if abs(got - want) < 1e-6 else (
        f"at equal policies the loss should be minus the mean advantage of the tokens, "
        f"{want:.4f}; yours is {got:.4f}")


def _min_before_advantage(logps, old, a, mask, clip):
    keep = mask == 1
    rho = torch.exp(logps[keep] - old[keep].detach())
    return -(torch.minimum(rho, rho.clamp(1 - clip, 1 + clip)) * a[keep].detach()).mean()


def _clipped_are_zero(logps, old, a, mask, clip):
    keep = mask == 1
    rho, a = torch.exp(logps[keep] - old[keep].detach()), a[keep].detach()
    inside = torch.where(a > 0, rho <= 1 + clip, rho >= 1 - clip)
    return -(rho * a * inside).mean()


def _quotient_of_logarithms(logps, old, a, mask, clip):
    keep = mask == 1
    rho, a = logps[keep] / old[keep].detach(), a[keep].detach()
    return -torch.minimum(rho * a, rho.clamp(1 - clip, 1 + clip) * a).mean()


def _loss(average=None, ratio=None, combine=torch.minimum, held=None, clean=True):
    """Return the loss with one of its parts replaced; ``clean``: without NaN at padding."""
    def answer(logps, old, a, mask, clip):
        if clean:
            logps, old, a = (x.masked_fill(mask == 0, 0.0) for x in (logps, old, a))
        old, a = old.detach(), a.detach()
        rho = torch.exp(logps - old) if ratio is None else ratio(logps, old, mask)
        bounded = rho.clamp(1 - clip, 1 + clip) if held is None else held(rho, clip)
        objective = combine(rho * a, bounded * a)
        if average is None:
            return -(objective * mask).sum() / mask.sum()
        return -average(objective, mask)
    return answer


MUTANTS = (
    Mutant("sign", lambda *args: -ppo_token_loss(*args),
           "This is the objective, to be maximised. A loss is its negative."),
    Mutant("max_for_min", _loss(combine=torch.maximum),
           "You take the larger of the two. PPO is a pessimist: the smaller one, so that moving "
           "far never looks better than it is."),
    Mutant("clipped_only", _loss(combine=lambda plain, bounded: bounded),
           "Only the clipped term is used: a good token that became rare gets no slope and finds "
           "no way back. Take the minimum with the unclipped term."),
    Mutant("not_clipped", _loss(combine=lambda plain, bounded: plain),
           "Nothing is clipped: after a few passes over one batch the ratio runs away."),
    Mutant("min_before_advantage", _min_before_advantage,
           "You take the smaller *ratio*, then multiply. The minimum is over products: where A < 0 "
           "multiplying turns the order round, and a bad token loses its bound."),
    Mutant("clip_not_used", lambda p, q, a, m, clip: ppo_token_loss(p, q, a, m, 0.2),
           "The argument `clip` is not used: a range of 0.2 is written into your code."),
    Mutant("clipped_are_zero", _clipped_are_zero,
           "Clipped tokens are set to 0. Their *slope* is 0; their value is (1 + clip) A, or "
           "(1 - clip) A."),
    Mutant("quotient_of_logarithms", _quotient_of_logarithms,
           "You divide log-probabilities. The ratio pi / pi_old is the exponential of their "
           "*difference*."),
    Mutant("ratio_inverted", _loss(ratio=lambda p, q, m: torch.exp(q - p)),
           "The ratio is inverted: it is pi / pi_old, the exponential of logps - old_logps."),
    Mutant("log_ratio", _loss(ratio=lambda p, q, m: p - q),
           "This is the *log*-ratio, around 0. The range lies around 1: take `exp`."),
    Mutant("range_around_zero", _loss(held=lambda rho, clip: rho.clamp(-clip, clip)),
           "The ratio is clipped to a range around 0. Where nothing moved it is 1: from 1 - clip "
           "to 1 + clip."),
    Mutant("upper_end_only", _loss(held=lambda rho, clip: rho.clamp(max=1 + clip)),
           "Only the upper end is clipped. For a bad token (negative advantage) the gain lies in "
           "making it rarer: there the lower end, 1 - clip, is the guard."),
    Mutant("ratio_of_the_answer", _loss(ratio=lambda p, q, m: torch.exp(
               ((p - q) * m).sum(1, keepdim=True)).expand_as(p)),
           "You use the ratio of the whole answer. PPO at token level has a ratio for each token; "
           "a product of many leaves the range at once. (TRL's RLOO takes whole answers.)"),
    Mutant("ratio_of_two_probabilities", _loss(ratio=lambda p, q, m: p.exp() / q.exp()),
           "You divide two probabilities. Rare tokens round to 0, and 0 / 0 is NaN: take the "
           "exponential of the *difference* of logarithms."),
    Mutant("log_ratio_clamped", _loss(ratio=lambda p, q, m: (p - q).clamp(-1, 1).exp()),
           "The log-ratio is held in a range before `exp`: beyond it a bad token that has become "
           "likelier gets no slope any more. Only the second term is clipped."),
    Mutant("multiplied_by_the_mask", _loss(clean=False),
           "Padding may hold NaN, and NaN times 0 is NaN: leave padding out before computing."),
    Mutant("mask_ignored", _loss(average=lambda o, m: o.mean(), clean=False),
           "Padding counts: numbers there mean nothing. Add up tokens of answers only, and divide "
           "by how many there are."),
    Mutant("divided_by_all_places", _loss(average=lambda o, m: (o * m).mean()),
           "You divide by all places, padding included: more padding, smaller steps. Divide by "
           "`mask.sum()`."),
    Mutant("mean_of_answers_means", _loss(average=lambda o, m: (
               (o * m).sum(1) / m.sum(1)).mean()),
           "Each answer counts the same here, and a token of a short answer more (\"sequence "
           "mean\"). Asked for is the mean over all tokens of the batch."),
    Mutant("sum_over_tokens", _loss(average=lambda o, m: (o * m).sum(1).mean()),
           "You add up within an answer (\"sequence sum\"). Asked for is the mean over all tokens "
           "of the batch."),
    Mutant("total", _loss(average=lambda o, m: (o * m).sum()),
           "You add up over the whole batch: the step would grow with the batch. Divide by the "
           "number of tokens."),
    Mutant("mask_inverted", _loss(average=lambda o, m: (o * (1 - m)).sum() / (1 - m).sum()),
           "The mask is used the wrong way round: 1 stands at tokens of the answer."),
)


def _by_sign(logps, old, a, mask, clip):
    keep = mask == 1
    a, gap = a.detach()[keep], logps[keep] - old.detach()[keep]
    bound = torch.where(a >= 0, (1 + clip) * a, (1 - clip) * a)
    return -torch.minimum(gap.exp() * a, bound).mean()


def _worst_loss(logps, old, a, mask, clip):
    padding, weight = mask == 0, mask / mask.sum()
    a = a.detach().masked_fill(padding, 0.0)
    ratio = (logps - old.detach()).masked_fill(padding, 0.0).exp()
    losses = torch.stack([-ratio * a, -ratio.clip(1 - clip, 1 + clip) * a])
    return (losses.amax(0) * weight).sum()


def _answer_by_answer(logps, old, a, mask, clip):
    total, count = 0.0, 0
    for p, q, adv, m in zip(logps, old.detach(), a.detach(), mask, strict=True):
        keep = m.bool()
        rho = torch.exp(p[keep] - q[keep])
        total = total - torch.min(rho * adv[keep], rho.clamp(1 - clip, 1 + clip) * adv[keep]).sum()
        count += int(keep.sum())
    return total / count


def show_slopes(answer):
    """Draw the loss of one token against its ratio, for a good and a bad token."""
    from tutorlib.viz import lines

    ratios = torch.linspace(0.4, 1.8, 57, dtype=torch.float64)
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    curves = {name: [float(answer(r.log().view(1, 1), zero, a * one, one.long(), 0.2))
                     for r in ratios]
              for name, a in (("good token, A = 1", 1.0), ("bad token, A = −1", -1.0))}
    return lines(curves, ratios, xlabel="ratio π / π_old of the token", ylabel="loss",
                 title="No slope where moving on no longer pays; a slope on the way back")


PPO_TOKEN_LOSS = Exercise(
    id=f"{UNIT}.ppo_token_loss",
    title="PPO, token by token",
    points=3, minutes=10, difficulty=3,
    reference=ppo_token_loss,
    oracle=situation_by_situation,
    hand=Case(
        args=(torch.tensor([[1.5, 0.5, 1.0], [0.5, 9.0, 9.0]], dtype=torch.float64).log(),
              torch.zeros(2, 3, dtype=torch.float64),
              torch.tensor([[2.0, 2.0, -1.0], [-2.0, 5.0, 5.0]], dtype=torch.float64),
              torch.tensor([[1, 1, 1], [1, 0, 0]]), 0.2),
        # held at 1.2: 2.4; on the way back: 1; ratio 1: -1; held at 0.8: -1.6; mean 0.8 / 4
        expected=-0.2,
        note="answers of 3 tokens and 1, clip 0.2"),
    cases=draw_cases,
    properties=(
        Property("it starts at minus the mean advantage", starts_at_the_mean_advantage),
        Property("only the policy learns, with PPO's slope", only_the_policy_learns),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("a bound by the sign of the advantage", _by_sign),
        Variant("the worse of two losses", _worst_loss),
        Variant("answer by answer", _answer_by_answer),
    ),
    hints=(
        "It is unit 02's clipped objective, with tokens as actions. New are only the mask, the "
        "mean over tokens, and the sign: this is a loss.",
        r"$$L = -\frac{1}{\sum m} \sum_{i,t} m_{it} \min\big(\rho_{it} A_{it},\ "
        r"\text{clip}(\rho_{it}, 1 - \epsilon, 1 + \epsilon) A_{it}\big), \qquad "
        r"\rho = e^{\log \pi - \log \pi_\text{old}}$$" "\n\n"
        "All arrays are `[answers, tokens]`. `old_logps` and `advantages` are records: `detach()` "
        "them.",
        "```python\n"
        "counts = mask == 1                        # padding may hold NaN: leave it out first\n"
        "ratio = torch.exp(...[counts] - old_logps[counts].detach())\n"
        "a = advantages[counts].detach()\n"
        "return -torch.minimum(..., ...).mean()\n"
        "```",
    ),
    why="At ratio 1 its slope is the policy gradient's. Several passes over one batch of answers "
        "then reuse what was expensive to sample, and the flat ends stop each token where it has "
        "changed enough.",
    index_names=None,
    figure=show_slopes,
    forbidden=("tutorlib.posttraining.ratio_loss", "tutorlib.control.ppo_clip_objective"),
)
