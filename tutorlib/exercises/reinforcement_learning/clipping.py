"""Exercise 4: PPO's clipped objective."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib import control
from tutorlib.exercises.reinforcement_learning.common import UNIT, normal, uniform
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def ppo_clip_objective(logps: Float[Tensor, " samples"], old_logps: Float[Tensor, " samples"],
                       advantages: Float[Tensor, " samples"], clip: float
                       ) -> Float[Tensor, " samples"]:
    """Return min(ratio A, clip(ratio, 1 - clip, 1 + clip) A) for each sample."""
    return control.ppo_clip_objective(logps, old_logps, advantages, clip)


def case_by_case(logps, old_logps, advantages, clip) -> Tensor:
    """Go through the four situations of Schulman et al. (2017, Figure 1) one by one."""
    result = []
    for new, old, a in zip(logps.tolist(), old_logps.tolist(), advantages.tolist(), strict=True):
        ratio = np.exp(new) / np.exp(old)
        if a > 0 and ratio > 1 + clip:
            ratio = 1 + clip  # enough has been gained from a good action
        elif a < 0 and ratio < 1 - clip:
            ratio = 1 - clip  # enough has been taken from a bad one
        result.append(ratio * a)
    return torch.tensor(result, dtype=torch.float64)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw ratios on both sides of the clipping range, for advantages of both signs."""
    cases = []
    for samples in (5, 8, 6):
        old = -0.2 - normal(generator, samples).abs()
        moved = 0.5 * normal(generator, samples)
        moved[:4] = torch.tensor([0.6, 0.6, -0.6, -0.6], dtype=torch.float64)
        advantages = normal(generator, samples)
        advantages[:4] = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64) * (
            0.5 + advantages[:4].abs())
        cases.append(Case(args=(old + moved, old, advantages, uniform(generator, 0.1, 0.3)),
                          note="samples 0 to 3 lie outside the clipping range"))
    return cases


def never_more_than_unclipped(answer, case: Case) -> str | None:
    """The objective is a pessimistic bound."""
    logps, old, advantages, _ = case.args
    surplus = as_tensor(answer(*case.args)) - torch.exp(logps - old) * advantages
    worst = int(surplus.argmax())
    if float(surplus[worst]) < 1e-8:
        return None
    return f"sample {worst} is {float(surplus[worst]):.4g} above ratio times advantage"


def slope_is_the_ratios_where_it_counts(answer, case: Case) -> str | None:
    """Gradients reach logps, and vanish exactly where more movement should not pay."""
    logps, old, advantages, clip = case.args
    leaf = logps.clone().requires_grad_()
    value = answer(leaf, old, advantages, clip)
    if not (isinstance(value, torch.Tensor) and value.requires_grad):
        return ("no gradient flows back to logps; the policy learns through this function, so "
                "compute with torch and without `detach`, `item` or numpy on logps")
    value.sum().backward()
    ratio = torch.exp(logps - old)
    done = ((advantages > 0) & (ratio > 1 + clip)) | ((advantages < 0) & (ratio < 1 - clip))
    wanted = torch.where(done, 0.0, ratio * advantages)
    gap = (leaf.grad - wanted).abs()
    worst = int(gap.argmax())
    if float(gap[worst]) < 1e-8:
        return None
    return (f"the slope of sample {worst} (ratio {float(ratio[worst]):.3g}, advantage "
            f"{float(advantages[worst]):.3g}) is {float(leaf.grad[worst]):.4g}, expected "
            f"{float(wanted[worst]):.4g}")


def _clipped(ratio, clip):
    return ratio.clamp(1 - clip, 1 + clip)


def _with_ratio(make, combine=torch.minimum):
    """Return the objective with another ratio, or with its two parts combined otherwise."""

    def answer(logps, old_logps, advantages, clip):
        ratio = make(logps, old_logps)
        return combine(ratio * advantages, _clipped(ratio, clip) * advantages)

    return answer


def _ratio(logps, old_logps):
    return torch.exp(logps - old_logps)


_right = _with_ratio(_ratio)

MUTANTS = (
    Mutant("largest_instead_of_smallest", _with_ratio(_ratio, torch.maximum),
           "You take the larger of the two. PPO is cautious: the smaller one, so that moving far "
           "never looks better than it is."),
    Mutant("clipped_only", _with_ratio(_ratio, lambda plain, clipped: clipped),
           "Only the clipped term is used. Then a good action that became rare gets no slope, and "
           "the policy cannot find its way back: take the minimum with the unclipped term."),
    Mutant("not_clipped", _with_ratio(_ratio, lambda plain, clipped: plain),
           "Nothing is clipped. Beyond the range, a gain from moving further must not count."),
    Mutant("ratio_turned_round", _with_ratio(lambda new, old: torch.exp(old - new)),
           "The ratio is turned round: it is new over old, pi / pi_old, so that raising the "
           "probability of a good action raises the objective."),
    Mutant("difference_for_ratio", _with_ratio(lambda new, old: new - old),
           "This is the logarithm of the ratio, around 0. The clipping range lies around 1: take "
           "`exp` of the difference."),
    Mutant("a_loss", lambda new, old, a, clip: -_right(new, old, a, clip),
           "This is the loss, with a minus. The task asks for the objective, to be maximised; the "
           "training loop adds the minus."),
    Mutant("mean_already_taken", lambda new, old, a, clip: _right(new, old, a, clip).mean(),
           "You return the mean. Return one number per sample; how to average them is decided "
           "later (in language models, that choice matters)."),
    Mutant("product_clipped", lambda new, old, a, clip: torch.minimum(
               _ratio(new, old) * a, (_ratio(new, old) * a).clamp(1 - clip, 1 + clip)),
           "The product of ratio and advantage is clipped. Clip the ratio alone, then multiply."),
    Mutant("upper_end_only", lambda new, old, a, clip: torch.minimum(
               _ratio(new, old) * a, _ratio(new, old).clamp(max=1 + clip) * a),
           "Only the upper end is clipped. For a bad action (negative advantage) the gain lies in "
           "making it rarer: the lower end, 1 - clip, guards that side."),
    Mutant("range_around_zero", lambda new, old, a, clip: torch.minimum(
               _ratio(new, old) * a, _ratio(new, old).clamp(-clip, clip) * a),
           "The ratio is clipped to a range around 0. Nothing has moved when the ratio is 1: the "
           "range is from 1 - clip to 1 + clip."),
)


def _by_sign(logps, old_logps, advantages, clip):
    bound = torch.where(advantages >= 0, (1 + clip) * advantages, (1 - clip) * advantages)
    return torch.minimum((logps.exp() / old_logps.exp()) * advantages, bound)


def _where(logps, old_logps, advantages, clip):
    ratio = torch.exp(logps - old_logps)
    over = ((advantages > 0) & (ratio > 1 + clip)) | ((advantages < 0) & (ratio < 1 - clip))
    held = torch.where(advantages > 0, 1 + clip, 1 - clip)
    return torch.where(over, held, ratio) * advantages


def _one_by_one(logps, old_logps, advantages, clip):
    rows = []
    for new, old, a in zip(logps, old_logps, advantages, strict=True):
        ratio = torch.exp(new - old)
        rows.append(torch.min(torch.stack([ratio * a, torch.clip(ratio, 1 - clip, 1 + clip) * a])))
    return torch.stack(rows)


VARIANTS = (
    Variant("a bound by the sign of the advantage", _by_sign),
    Variant("situations with torch.where", _where),
    Variant("sample by sample", _one_by_one),
)


def show_clipping(answer):
    """Draw the objective against the ratio, for a good and a bad action."""
    from tutorlib.viz import lines

    ratios = torch.linspace(0.4, 1.8, 57, dtype=torch.float64)
    zero = torch.zeros_like(ratios)
    curves = {name: as_tensor(answer(ratios.log(), zero.clone(), zero + a, 0.2)).detach()
              for name, a in (("good action, A = 1", 1.0), ("bad action, A = −1", -1.0))}
    return lines(curves, ratios, xlabel="ratio of new to old probability", ylabel="objective",
                 title="Flat where moving further no longer pays, sloped on the way back")


CLIP = Exercise(
    id=f"{UNIT}.ppo_clip_objective",
    title="PPO's clipped objective",
    points=2,
    minutes=8,
    difficulty=2,
    reference=ppo_clip_objective,
    oracle=case_by_case,
    hand=Case(
        args=(torch.tensor([1.5, 0.5, 1.5, 0.5], dtype=torch.float64).log(),
              torch.zeros(4, dtype=torch.float64),
              torch.tensor([2.0, 2.0, -2.0, -2.0], dtype=torch.float64), 0.2),
        expected=torch.tensor([2.4, 1.0, -3.0, -1.6], dtype=torch.float64),
        note="ratios 1.5, 0.5, 1.5, 0.5, as in the lesson's table"),
    cases=draw_cases,
    properties=(
        Property("never more than ratio times advantage", never_more_than_unclipped),
        Property("gradients reach logps, and stop only where clipping binds",
                 slope_is_the_ratios_where_it_counts),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "There are two candidates for each sample: ratio times advantage, and the same with the "
        "ratio held inside its range. Be pessimistic.",
        r"$$\min\big(\rho A,\ \text{clip}(\rho, 1 - \epsilon, 1 + \epsilon)\, A\big), \qquad "
        r"\rho = \frac{\pi(a|s)}{\pi_\text{old}(a|s)} = e^{\log \pi - \log \pi_\text{old}}$$"
        "\n\nAll arrays and the result are `[samples]`; `clip` is $\\epsilon$, a number. Stay in "
        "torch, so that gradients flow back to `logps`.",
        "```python\n"
        "ratio = torch.exp(...)\n"
        "held = ratio.clamp(..., ...)\n"
        "return torch.minimum(..., ...)\n"
        "```",
    ),
    why="At ratio 1 the slope is the policy gradient's. Beyond the range the slope vanishes on the "
        "side where the objective rose, so several gradient steps on one batch cannot run away; on "
        "the other side the minimum keeps the way back open.",
    index_names=lambda case, index: f"sample {index[0]}" if len(index) == 1 else None,
    figure=show_clipping,
    forbidden=("tutorlib.control.ppo_clip_objective",
               "tutorlib.control.estimators.ppo_clip_objective"),
)
