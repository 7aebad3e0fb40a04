"""Exercise 11.2: how often noisy labels name the better answer."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import quad
from torch import Tensor

from tutorlib.exercises.reward_models.bt import UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def annotation_quality(variances: Float[Tensor, " cases"]) -> Float[Tensor, " cases"]:
    """Return E sigmoid(|gap|) for normal gaps of mean 0 and these variances."""
    z = torch.linspace(0, 8, 4001, dtype=torch.float64)
    density = 2 * (-z ** 2 / 2).exp() / math.sqrt(2 * math.pi)  # of |z|
    right = torch.sigmoid(variances.double().sqrt()[:, None] * z)
    return torch.trapezoid(density * right, z)


def by_quadrature(variances) -> Tensor:
    """Integrate the positive gaps by adaptive quadrature, in units of their own deviation."""
    def chance(k: float) -> float:
        if k == 0:
            return 0.5

        def under(gap: float) -> float:
            return 2 / (1 + math.exp(-gap)) * math.exp(-gap * gap / (2 * k)) / math.sqrt(
                2 * math.pi * k)

        return quad(under, 0, 10 * math.sqrt(k), epsabs=1e-11, limit=200)[0]

    return torch.tensor([chance(k) for k in variances.tolist()], dtype=torch.float64)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw variances, small and large."""
    drawn = 20 * torch.rand(4, generator=generator, dtype=torch.float64) ** 2 + 0.3
    return [
        Case(args=(torch.tensor([1.0, 2.0, 4.0, 10.0], dtype=torch.float64),),
             note="variances 1, 2, 4 and 10"),
        Case(args=(drawn,), note="four drawn variances"),
        Case(args=(torch.tensor([0.0, 0.09, 6.0], dtype=torch.float64),),
             note="no difference at all, hardly any, and much"),
        Case(args=(torch.tensor([30.0, 100.0], dtype=torch.float64),), note="large variances"),
    ]


def between_coin_and_certainty(answer, case: Case) -> str | None:
    """Labels are never worse than a coin, and better for wider gaps."""
    got = as_tensor(answer(torch.tensor([0.1, 1.0, 5.0, 50.0], dtype=torch.float64))).double()
    said = "for variances 0.1, 1, 5, 50 you return " + ", ".join(f"{x:.4g}" for x in got.tolist())
    if bool((got > 1).any()):
        return f"{said}: a mean of probabilities cannot exceed 1. Is the grid's step missing?"
    missing = by_quadrature(torch.tensor([0.1, 1.0, 5.0, 50.0])) - got
    if float(missing[:2].abs().max()) < 2e-3 < float(missing[3]):
        return (f"{said}: the last is too low. Your grid seems to end where wide gaps still have "
                "mass: integrate over z, with gap = sqrt(k) z")
    if not bool((got >= 0.5).all()):
        return f"{said}: not between 0.5 and 1"
    return None if bool((got.diff() > 0).all()) else f"{said}: wider gaps should be judged better"


def _grid(variances, integrand):
    z = torch.linspace(-9, 9, 18001, dtype=torch.float64)
    density = (-z ** 2 / 2).exp() / math.sqrt(2 * math.pi)
    return torch.trapezoid(density * integrand(variances.double()[:, None], z), z)


def _few_draws(variances):
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(200, generator=generator, dtype=torch.float64)
    return torch.sigmoid(variances.double().sqrt()[:, None] * z.abs()).mean(1)


def _coarse(variances):
    z = torch.linspace(0, 3, 7, dtype=torch.float64)
    density = 2 * (-z ** 2 / 2).exp() / math.sqrt(2 * math.pi)
    return torch.trapezoid(density * torch.sigmoid(variances.sqrt()[:, None] * z), z)


def _fixed_grid(variances):
    gaps = torch.linspace(-10, 10, 20001, dtype=torch.float64)
    k = variances.double()[:, None]
    density = (-gaps ** 2 / (2 * k)).exp() / (2 * math.pi * k).sqrt()
    return torch.trapezoid(density * torch.sigmoid(gaps.abs()), gaps)


def _step_forgotten(variances):
    z = torch.linspace(0, 8, 4001, dtype=torch.float64)
    density = 2 * (-z ** 2 / 2).exp() / math.sqrt(2 * math.pi)
    return torch.trapezoid(density * torch.sigmoid(variances.double().sqrt()[:, None] * z))


MUTANTS = (
    Mutant("fixed_grid", _fixed_grid,
           "Your grid of gaps ends where wide gaps still have mass (k = 100: a tenth deviate by 16 "
           "or more). Integrate over standard normal z and take gap = sqrt(k) z."),
    Mutant("zero_variance",
           lambda k: torch.where(k == 0, torch.nan, annotation_quality(k)),
           "k = 0 gives NaN: the density of the gap divides by its deviation. Integrate over "
           "standard normal z and take gap = sqrt(k) z; then 0 needs no case of its own."),
    Mutant("step_forgotten", _step_forgotten,
           "The grid's step is missing, so that you add up densities: give the points too, "
           "`torch.trapezoid(values, z)`. A mean of probabilities cannot exceed 1."),
    Mutant("sigmoid_of_the_variance", lambda k: torch.sigmoid(k.double()),
           "You put the variance itself into the sigmoid. Average over gaps, which are normal "
           "with that variance."),
    Mutant("sign_kept", lambda k: _grid(k, lambda v, z: torch.sigmoid(v.sqrt() * z)),
           "Without the absolute value the mean is 1/2 by symmetry. Which answer stands first is "
           "no matter: how often is the *better* one named? Use |gap|."),
    Mutant("variance_as_deviation",
           lambda k: _grid(k, lambda v, z: torch.sigmoid((v * z).abs())),
           "You scale by the variance. A normal gap is its standard deviation, the square root, "
           "times a standard normal number."),
    Mutant("sigmoid_of_the_mean_gap",
           lambda k: torch.sigmoid(k.double().sqrt() * math.sqrt(2 / math.pi)),
           "You take the sigmoid of the mean gap. The sigmoid is curved: first the sigmoid of "
           "each gap, then the mean (Jensen's inequality makes yours too large)."),
    Mutant("sigmoid_of_the_deviation", lambda k: torch.sigmoid(k.double().sqrt()),
           "You treat every gap as one standard deviation wide. Average over all gaps, narrow "
           "and wide."),
    Mutant("two_answers_of_that_variance",
           lambda k: annotation_quality(2 * k),
           "You double the variance, as for two answers of that variance each. Here it is the "
           "variance of the *difference* (the tutorial's source is ambiguous: its printed numbers "
           "are those of the difference)."),
    Mutant("halved_variance", lambda k: annotation_quality(k / 2),
           "You halve the variance. It is that of the gap itself: use it as it is."),
    Mutant("thurstone",
           lambda k: 0.5 + torch.atan(k.double().sqrt()) / math.pi,
           "This labeller judges by Thurstone's normal distribution function (for which the mean "
           "is 1/2 + atan(s)/pi). Asked for is Bradley-Terry's sigmoid."),
    Mutant("half_line_only",
           lambda k: annotation_quality(k) / 2,
           "Your average covers one half of the gaps and weighs it as the whole. By symmetry, "
           "count the positive half twice."),
    Mutant("squared_gap", lambda k: _grid(k, lambda v, z: torch.sigmoid(v * z ** 2)),
           "You put the squared gap into the sigmoid: the absolute value is asked for."),
    Mutant("error_rate", lambda k: 1 - annotation_quality(k),
           "This is how often the labels are *wrong*. Asked for is how often they are right."),
    Mutant("always_right", lambda k: torch.ones_like(k.double()),
           "This labeller never errs. A Bradley-Terry labeller names the better answer with "
           "probability sigmoid(|gap|)."),
    Mutant("better_of_the_two",
           lambda k: _grid(k, lambda v, z: (torch.sigmoid(v.sqrt() * z) - 0.5).abs()),
           "This is the distance from a coin. Add the coin's one half again: quality runs from "
           "0.5 to 1."),
    Mutant("agreement", lambda k: _grid(k, lambda v, z: torch.sigmoid(v.sqrt() * z) ** 2
                                        + torch.sigmoid(-v.sqrt() * z) ** 2),
           "This is how often two labellers agree with *each other*. Asked for is how often one "
           "agrees with the truth."),
    Mutant("few_draws", _few_draws,
           "The idea is right, but a few hundred draws leave an error in the second digit. Use a "
           "fine grid (or millions of draws): three digits are asked for."),
    Mutant("coarse_grid", _coarse,
           "The idea is right, but the grid is coarse or ends too early. Take some thousand "
           "points from 0 to 8 standard deviations."),
    Mutant("mean_over_cases", lambda k: annotation_quality(k).mean(),
           "You average over the variances. Return one number for each."),
)


def _hermite(k):
    points, weights = np.polynomial.legendre.leggauss(200)
    z, w = 5 * (points + 1), 5 * weights * 2 / math.sqrt(2 * math.pi)
    return [float((w * np.exp(-z * z / 2) / (1 + np.exp(-math.sqrt(v) * z))).sum())
            for v in k.tolist()]


def _quantiles(k):
    p = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    z = torch.special.ndtri(p)
    return torch.sigmoid(k.sqrt()[:, None] * z.abs()).mean(1)


def _many_draws(k):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1_000_000, generator=generator).abs()
    return torch.stack([torch.sigmoid(float(v) ** 0.5 * z).mean() for v in k])


ANNOTATION_QUALITY = Exercise(
    id=f"{UNIT}.annotation_quality",
    title="How good labels are",
    points=2, minutes=10, difficulty=3,
    reference=annotation_quality,
    oracle=by_quadrature,
    hand=Case(
        args=(torch.tensor([0.0, 4.0], dtype=torch.float64),),
        # no gap: a coin. The second figure is printed by Sun, Shen and Ton (2024): 0.7780
        expected=torch.tensor([0.5, 0.7780], dtype=torch.float64),
        note="no difference at all, and gaps of variance 4"),
    cases=draw_cases,
    properties=(Property("between a coin and certainty", between_coin_and_certainty),),
    mutants=MUTANTS,
    variants=(
        Variant("numpy, Gauss-Legendre", _hermite),
        Variant("quantiles of the normal", _quantiles),
        Variant("a million draws, in float32", _many_draws),
    ),
    rtol=0.0, atol=1e-3,
    hints=(
        "A label is right with probability sigmoid(|gap|): near pairs are coin flips, far ones "
        "are sure. Average that over all gaps, each as often as it comes.",
        r"$$Q(k) = \mathbb{E}_{z \sim N(0,1)}\, \sigma\big(\sqrt{k}\, |z|\big) = \int_0^\infty "
        r"\frac{2\, e^{-z^2/2}}{\sqrt{2\pi}}\, \sigma(\sqrt{k}\, z)\, dz$$" "\n\n"
        "`variances` is `[cases]`. Make a grid of `z` from 0 to 8, multiply the density by the "
        "sigmoid, `[cases, points]`, and `torch.trapezoid(values, z)`.",
        "```python\n"
        "z = torch.linspace(0, 8, 4001, dtype=torch.float64)\n"
        "density = ...            # of |z|: twice the normal density\n"
        "right = ...              # [cases, points]\n"
        "return ...               # the integral over z\n"
        "```",
    ),
    why="Even a reward model that knows the truth agrees with such labels only this often. The "
        "mean of the sigmoid lies below the sigmoid of the mean gap: many pairs are near.",
    index_names=lambda case, index: f"variance {float(case.args[0][index[0]]):g}",
    forbidden=("tutorlib.rewards.annotation_quality", "tutorlib.rewards.measured_quality"),
)
