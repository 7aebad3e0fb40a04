"""Exercise 05.3: one step of apprenticeship learning by projection."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.reward_ambiguity.comparing import same_step
from tutorlib.exercises.reward_ambiguity.pictures import show_rounds
from tutorlib.exercises.reward_ambiguity.worlds import normal, numbers
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def projection_step(expert: Float[Tensor, " features"], mixture: Float[Tensor, " features"],
                    candidate: Float[Tensor, " features"]
                    ) -> tuple[float, Float[Tensor, " features"], Float[Tensor, " features"]]:
    """Return the step in [0, 1], the nearest point of the segment, and the next weights."""
    direction = candidate - mixture
    length = float(direction @ direction)
    step = float(direction @ (expert - mixture)) / length if length > 0 else 0.0
    step = min(max(step, 0.0), 1.0)
    point = mixture + step * direction
    return step, point, expert - point


def by_bisection(expert, mixture, candidate):
    """Halve the segment 60 times by the sign of the slope of the squared distance."""
    e, m, c = (x.numpy() for x in (expert, mixture, candidate))
    low, high = 0.0, 1.0

    def slope(x):  # of |m + x (c - m) - e|^2, up to the factor 2
        return float(sum((m[i] + x * (c[i] - m[i]) - e[i]) * (c[i] - m[i]) for i in range(len(m))))

    if slope(0.0) >= 0:
        high = 0.0
    elif slope(1.0) <= 0:
        low = 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    step = (low + high) / 2
    point = torch.from_numpy(m + step * (c - m))
    return step, point, expert - point


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw points; in three cases the nearest point is an end, or the segment has no length."""
    cases = []
    for features in (3, 5):
        mixture, candidate = normal(generator, 2, features)
        aside = normal(generator, features)
        expert = 0.3 * candidate + 0.7 * mixture + 0.5 * aside * (aside.norm() > 0)
        gap, segment = expert - mixture, candidate - mixture
        share = float(gap @ segment / (segment @ segment))
        expert = expert - (share - 0.35) * segment  # the foot lies inside the segment
        cases.append(Case(args=(expert, mixture, candidate)))
    mixture, direction, aside = normal(generator, 3, 4)
    beyond = mixture + 2.5 * direction + 0.1 * aside
    cases.append(Case(args=(_foot_at(beyond, mixture, direction, 2.5), mixture,
                            mixture + direction),
                      note="the expert lies beyond the candidate"))
    cases.append(Case(args=(_foot_at(mixture + aside, mixture, direction, -0.5), mixture,
                            mixture + direction),
                      note="the candidate leads away from the expert"))
    return [*cases, Case(args=(mixture + aside, mixture, mixture.clone()),
                         expected=(0.0, mixture, aside),
                         note="the candidate has the mixture's expectations: no step, 0")]


def _foot_at(expert: Tensor, mixture: Tensor, direction: Tensor, share: float) -> Tensor:
    """Move ``expert`` along ``direction`` so that its foot is ``share`` of the way."""
    now = float((expert - mixture) @ direction / (direction @ direction))
    return expert + (share - now) * direction


def never_further(answer, case: Case) -> str | None:
    """The new point is at least as near to the expert as both ends of the segment."""
    expert, mixture, candidate = case.args
    point = as_tensor(answer(*case.args)[1]).double()
    found = float((point - expert).norm())
    ends = {"the old mixture": mixture, "the candidate": candidate}
    for name, end in ends.items():
        if not found <= float((end - expert).norm()) + 1e-4:
            return (f"the new point is {found:.4g} from the expert; {name} was nearer, with "
                    f"{float((end - expert).norm()):.4g}")
    return None


def a_mixture_stays_a_mixture(answer, case: Case) -> str | None:
    """Steps outside [0, 1] would give a policy a negative probability."""
    step = float(as_tensor(answer(*case.args)[0]))
    return None if -1e-6 <= step <= 1 + 1e-6 else (
        f"the step is {step:.4g}; the mixture would draw one policy with probability "
        f"{min(step, 1 - step):.4g}")


def _from_step(rule):
    """Make a wrong answer from a rule for the step; point and weights follow from it."""
    def answer(expert, mixture, candidate):
        step = rule(expert, mixture, candidate)
        point = mixture + step * (candidate - mixture)
        return step, point, expert - point
    return answer


def _ratio(top, bottom):
    """Divide, with 0 where there is nothing to divide by, and hold the result to [0, 1]."""
    return min(max(float(top) / float(bottom), 0.0), 1.0) if float(bottom) > 0 else 0.0


def _plain(e, m, c):
    return _ratio((c - m) @ (e - m), (c - m) @ (c - m))


def _free(e, m, c):
    """Return the share of the way on the whole line, 0 if the segment has no length."""
    length = float((c - m) @ (c - m))
    return float((c - m) @ (e - m)) / length if length > 0 else 0.0


def _with_point(expert, step, point):
    """Return an answer with the weights that belong to its point."""
    return step, point, expert - point


def _weights(rule):
    """Make an answer whose weights alone are wrong."""
    def answer(expert, mixture, candidate):
        step, point, _ = projection_step(expert, mixture, candidate)
        return step, point, rule(expert, mixture, candidate, point)
    return answer


MUTANTS = (
    Mutant("beyond_the_segment", _from_step(lambda e, m, c: float((c - m) @ (e - m))
                                            / float((c - m) @ (c - m)) if (c != m).any() else 0.0),
           "You project on the whole line. Outside the segment one policy of the mixture would "
           "have a negative probability: hold the step to [0, 1]."),
    Mutant("below_zero", _from_step(lambda e, m, c: min(_free(e, m, c), 1.0)),
           "The step can be below 0. There the candidate leads away from the expert, and its "
           "probability in the mixture would be negative: hold the step to [0, 1] on both sides."),
    Mutant("above_one", _from_step(lambda e, m, c: max(_free(e, m, c), 0.0)),
           "The step can be above 1. There the old mixture would get a negative probability: hold "
           "the step to [0, 1] on both sides."),
    Mutant("point_beyond", lambda e, m, c: _with_point(e, _plain(e, m, c),
                                                       m + _free(e, m, c) * (c - m)),
           "You hold the step to [0, 1], but the point is still the one before: work it out from "
           "the step that you return."),
    Mutant("nothing_over_nothing", _from_step(lambda e, m, c: torch.clamp(
               (c - m) @ (e - m) / ((c - m) @ (c - m)), 0.0, 1.0)),
           "When the candidate has the mixture's expectations, the segment has no length and 0 / 0 "
           "is not a number (NaN). The step is 0 then."),
    Mutant("line_and_nan", _from_step(lambda e, m, c: (c - m) @ (e - m) / ((c - m) @ (c - m))),
           "The projection is right; two cases break it. Outside [0, 1] the result is no mixture: "
           "hold the step to that range. And when candidate and mixture agree, 0 / 0 is NaN: the "
           "step is 0."),
    Mutant("length_not_squared", _from_step(lambda e, m, c: _ratio((c - m) @ (e - m),
                                                                   (c - m).norm())),
           "You divide by the length of the segment. The share of the way is the inner product "
           "divided by the *squared* length."),
    Mutant("by_the_gap", _from_step(lambda e, m, c: _ratio((c - m) @ (e - m), (e - m) @ (e - m))),
           "You divide by the squared distance to the expert. The step is a share of the way from "
           "the mixture to the candidate, so divide by |candidate - mixture|²."),
    Mutant("whole_step", _from_step(lambda e, m, c: 1.0),
           "You go all the way to the candidate and forget the policies before it. A single greedy "
           "policy overshoots; stop where the expert is nearest."),
    Mutant("halfway", _from_step(lambda e, m, c: 0.5 if (c != m).any() else 0.0),
           "You always go half the way. Choose the share that brings the mixture nearest to the "
           "expert."),
    Mutant("from_the_origin", _from_step(lambda e, m, c: _ratio(c @ e, c @ c)),
           "You project from the origin. Both vectors begin at the mixture: candidate - mixture "
           "and expert - mixture."),
    Mutant("from_the_candidate", _from_step(lambda e, m, c: _ratio((m - c) @ (e - c),
                                                                   (m - c) @ (m - c))),
           "Your step is counted from the candidate. Count it from the mixture: 0 keeps the old "
           "policies, 1 takes the new one alone."),
    Mutant("ends_exchanged", lambda e, m, c: _with_point(e, _plain(e, c, m),
                                                         c + _plain(e, c, m) * (m - c)),
           "The point is right, the step is counted from the candidate: you have 1 - step. Mixture "
           "and candidate are exchanged; 0 keeps the old mixture, 1 takes the candidate alone."),
    Mutant("point_from_candidate", lambda e, m, c: _with_point(e, _plain(e, m, c),
                                                               c + _plain(e, m, c) * (c - m)),
           "Your point starts at the candidate. The way begins at the old mixture: "
           "mixture + step * (candidate - mixture)."),
    Mutant("weights_from_candidate", _weights(lambda e, m, c, p: e - c),
           "The weights run from the candidate to the expert. What the next planner must mend is "
           "the *mixture*: expert - point."),
    Mutant("weights_reversed", _weights(lambda e, m, c, p: p - e),
           "The weights point the wrong way: a planner paid by them moves away from the expert. "
           "They run from the mixture to the expert, expert - point."),
    Mutant("weights_of_before", _weights(lambda e, m, c, p: e - m),
           "The weights are those of the mixture before this step. The next round must look from "
           "the *new* point: expert - point."),
    Mutant("weights_expert", _weights(lambda e, m, c, p: e),
           "The weights are the expert's expectations themselves. What tells the expert from the "
           "mixture is the difference, expert - point."),
)


def _numpy(expert, mixture, candidate):
    e, m, c = (x.numpy() for x in (expert, mixture, candidate))
    d = c - m
    step = float(np.clip(d @ (e - m) / (d @ d), 0, 1)) if d.any() else 0.0
    return step, m + step * d, e - (m + step * d)


def _unit_weights(expert, mixture, candidate):
    step, point, weights = projection_step(expert, mixture, candidate)
    return step, point, weights / weights.norm()


def _loops(expert, mixture, candidate):
    d = [float(c) - float(m) for c, m in zip(candidate, mixture, strict=True)]
    gap = [float(e) - float(m) for e, m in zip(expert, mixture, strict=True)]
    length = sum(x * x for x in d)
    step = sum(x * y for x, y in zip(d, gap, strict=True)) / length if length else 0.0
    step = max(0.0, min(1.0, step))
    point = [float(m) + step * x for m, x in zip(mixture, d, strict=True)]
    return step, point, [float(e) - p for e, p in zip(expert, point, strict=True)]


VARIANTS = (
    Variant("weights of length 1", _unit_weights),
    Variant("numpy", _numpy),
    Variant("loops", _loops),
)


PROJECTION_STEP = Exercise(
    id="reward_ambiguity.projection_step",
    title="One step of apprenticeship",
    points=2, minutes=10, difficulty=2,
    reference=projection_step,
    oracle=by_bisection,
    hand=Case(
        args=(numbers([1.0, 1.0]), numbers([0.0, 0.0]), numbers([4.0, 0.0])),
        # (4, 0).(1, 1) / 16 = 0.25; point (1, 0); weights (1, 1) - (1, 0) = (0, 1)
        expected=(0.25, numbers([1.0, 0.0]), numbers([0.0, 1.0])),
        note="the nearest point to (1, 1) between (0, 0) and (4, 0)"),
    cases=draw_cases,
    properties=(
        Property("never further from the expert", never_further),
        Property("a mixture stays a mixture", a_mixture_stays_a_mixture),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Plain geometry: three points, and you look for the foot of the perpendicular from the "
        "expert on the segment from mixture to candidate. Then: what if the foot lies beyond an "
        "end, and what if the segment has no length?",
        "Both vectors begin at the mixture: candidate - mixture and expert - mixture. Their inner "
        "product is `a @ b`, one number; divide by the *squared* length of the first. Look for a "
        "length of 0 before you divide, then hold the step to [0, 1], and only then work out the "
        "point.",
        "```python\n"
        "direction = ...          # from mixture to candidate, [features]\n"
        "length = direction @ direction\n"
        "step = ... if length > 0 else 0.0     # inner product over length, held to [0, 1]\n"
        "point = ...\n"
        "return step, point, ...  # weights: from the point to the expert\n"
        "```",
    ),
    why=r"The squared distance along the segment is a parabola in the step; its lowest point is "
        r"the foot of the perpendicular. The new policy maximises $w \cdot \mu$, so its segment "
        r"never points away from a reachable expert. Done again and again, this is the Frank-Wolfe "
        r"method: it needs nothing but a planner.",
    figure=show_rounds,
    compare=same_step,
    forbidden=("tutorlib.irl.projection_step", "tutorlib.irl.apprentice"),
)
