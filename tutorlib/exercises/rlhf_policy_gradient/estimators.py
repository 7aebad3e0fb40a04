"""Exercise 16.3: three estimates of a KL, from one token each."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.rlhf_policy_gradient.common import (
    UNIT,
    draw_logps,
    mask_of,
    name_token,
    normal,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor

Three = tuple[Tensor, Tensor, Tensor]


def kl_estimators(logps: Float[Tensor, "answers tokens"],
                  ref_logps: Float[Tensor, "answers tokens"],
                  mask: Int[Tensor, "answers tokens"]) -> Three:
    """Return k1, k2 and k3 of each token; 0 at padding."""
    d = (logps - ref_logps).masked_fill(mask == 0, 0.0)
    return d, d**2 / 2, torch.expm1(-d) + d


def with_sixty_digits(logps, ref_logps, mask) -> Three:
    """Work out each token's three numbers in decimal arithmetic."""
    tables = ([], [], [])
    with localcontext() as context:
        context.prec = 60
        for row in zip(logps.tolist(), ref_logps.tolist(), mask.tolist(), strict=True):
            found = []
            for p, q, counts in zip(*row, strict=True):
                d = Decimal(p) - Decimal(q)
                found.append((d, d * d / 2, (-d).exp() - 1 + d) if counts else (0, 0, 0))
            for table, column in zip(tables, zip(*found, strict=True), strict=True):
                table.append([float(x) for x in column])
    return tuple(torch.tensor(table, dtype=torch.float64) for table in tables)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw tokens under two models that differ a little, a lot, and hardly at all."""
    cases = []
    for lengths, spread, note in (((3, 5), 0.6, "two answers of 3 and 5 tokens"),
                                  ((4, 1, 2), 1.5, "models far apart"),
                                  ((6, 2), 1e-7, "models that hardly differ: d is about 1e-7")):
        mask = mask_of(*lengths)
        cases.append(Case(args=(*draw_logps(generator, mask, spread), mask), note=note))
    mask = mask_of(2, 4)
    logps, ref = draw_logps(generator, mask)
    dirty = torch.where(mask == 1, ref, torch.nan)
    far = mask_of(2, 3)
    apart, ref_apart = draw_logps(generator, far)
    apart[0, 0], ref_apart[0, 0] = -13.5, -1.0  # exp(-d) is some 270,000
    apart[1, 1], ref_apart[1, 1] = -0.5, -13.0
    return [*cases, Case(args=(logps, dirty, mask), note="padding holds NaN"),
            Case(args=(apart, ref_apart, far), note="two tokens on which the models disagree: "
                                                    "d = -12.5 and 12.5")]


def unbiased_as_promised(answer, case: Case) -> str | None:
    """Weighed with the policy's probabilities, k1 and k3 give the KL; k2 does not."""
    g = torch.Generator().manual_seed(5)
    p, q = (normal(g, 1, 6).log_softmax(-1) for _ in range(2))
    k1, _, k3 = (as_tensor(k).double() for k in answer(p, q, torch.ones(1, 6).long()))
    exact = float((p.exp() * (p - q)).sum())
    for name, k in (("k1", k1), ("k3", k3)):
        mean = float((p.exp() * k).sum())
        if abs(mean - exact) > 1e-6:
            return f"over all six tokens, {name} averages {mean:.4f}; the KL is {exact:.4f}"
    return None


def never_negative(answer, case: Case) -> str | None:
    """k2 and k3 are 0 or more, token by token."""
    _, k2, k3 = (as_tensor(k).double() for k in answer(*case.args))
    for name, k in (("k2", k2), ("k3", k3)):
        if not bool((k >= 0).all()):
            return f"{name} is negative or NaN at some token (lowest: {float(k.min()):.3g})"
    return None


def second_order_alike(answer, case: Case) -> str | None:
    """For models that hardly differ, k2 and k3 agree."""
    d = torch.tensor([[3e-8, -2e-8, 1e-8]], dtype=torch.float64)
    zero = torch.zeros_like(d)
    found = [as_tensor(k) for k in answer(zero - 1 + d, zero - 1, torch.ones(1, 3).long())]
    k1, k2, k3 = (k.double() for k in found)
    if not torch.allclose(k1, zero - 1 + d - (zero - 1), rtol=1e-3, atol=0):
        return ("k1 lost small differences: log-probabilities came in float64 and were rounded "
                f"({str(found[0].dtype)[6:]}) before they were subtracted. Keep the dtype you got")
    return None if torch.allclose(k2, k3, rtol=1e-3, atol=0) and float(k3.min()) > 0 else (
        "for log-ratios of about 1e-8, k2 and k3 are both about 1e-16; yours are "
        f"{k2.flatten().tolist()} and {k3.flatten().tolist()}: exp(-d) - 1 rounds away")


def _three(k1=None, k2=None, k3=None, gap=None):
    """Return the three estimates with some of them replaced."""
    def answer(logps, ref_logps, mask):
        d = (logps - ref_logps).masked_fill(mask == 0, 0.0) if gap is None else gap(
            logps, ref_logps, mask)
        return ((k1 or (lambda d: d))(d), (k2 or (lambda d: d**2 / 2))(d),
                (k3 or (lambda d: torch.expm1(-d) + d))(d))
    return answer


MUTANTS = (
    Mutant("direction", _three(gap=lambda p, q, m: (q - p).masked_fill(m == 0, 0.0)),
           "The log-ratio is turned round. d = log pi - log pi_ref of a token drawn from pi: its "
           "mean is KL(pi || pi_ref)."),
    Mutant("k3_other_sign", _three(k3=lambda d: torch.expm1(d) - d),
           "k3 uses exp(d). Schulman's ratio is pi_ref / pi, which is exp(-d): only "
           "exp(-d) - 1 + d has the KL as its mean."),
    Mutant("k3_without_the_log", _three(k3=lambda d: torch.expm1(-d)),
           "k3 lacks its second half: exp(-d) - 1 alone has mean 0. Add d."),
    Mutant("k3_minus_d", _three(k3=lambda d: torch.expm1(-d) - d),
           "In k3 the sign of d is turned: exp(-d) - 1 *plus* d. (As log of the ratio rho = "
           "exp(-d): rho - 1 - log rho.)"),
    Mutant("k3_without_minus_one", _three(k3=lambda d: torch.exp(-d) + d),
           "k3 lacks its -1: where both models agree it must be 0, not 1."),
    Mutant("k3_cancels", _three(k3=lambda d: torch.exp(-d) - 1 + d),
           "exp(-d) - 1 rounds away where d is small, as it is at the start of every training "
           "run: use `expm1(-d)`."),
    Mutant("k2_not_halved", _three(k2=lambda d: d**2),
           "k2 is *half* the squared log-ratio."),
    Mutant("k2_of_the_ratio", _three(k2=lambda d: torch.expm1(-d)**2 / 2),
           "k2 squares the *log*-ratio d, not the ratio minus 1."),
    Mutant("k1_absolute", _three(k1=lambda d: d.abs()),
           "k1 is d itself, of either sign: its mean is the KL only because negative tokens "
           "count. The absolute value is biased upwards."),
    Mutant("k1_clamped", _three(k1=lambda d: d.clamp(min=0)),
           "Negative values of k1 are cut off. A *mean* KL is never negative, one token's k1 may "
           "be, and has to be for the mean to come out right."),
    Mutant("log_ratio_clamped", _three(gap=lambda p, q, m: (p - q).masked_fill(
               m == 0, 0.0).clamp(-10, 10)),
           "The log-ratio is held in a range. That is done to tame k3, and it biases all three: "
           "asked for are the plain numbers, however large."),
    Mutant("padding_counts", _three(gap=lambda p, q, m: p - q),
           "Padding is not masked: numbers there mean nothing, and may be NaN."),
    Mutant("multiplied_by_the_mask", _three(gap=lambda p, q, m: (p - q) * m),
           "Padding may hold NaN, and NaN times 0 is NaN: use `where` or `masked_fill`."),
    Mutant("mask_inverted", _three(gap=lambda p, q, m: (p - q).masked_fill(m == 1, 0.0)),
           "The mask is used the wrong way round: 1 stands at tokens of the answer."),
    Mutant("weighed_with_the_policy", lambda p, q, m: tuple(
               k * p.exp().masked_fill(m == 0, 0.0) for k in kl_estimators(p, q, m)),
           "You weigh with the policy's probability. The tokens were *drawn* from the policy "
           "already: that is the weight."),
    Mutant("averaged", lambda p, q, m: tuple(k.sum(1) for k in kl_estimators(p, q, m)),
           "You add up over tokens. Asked for is one number for each token, [answers, tokens]."),
)


def _from_the_ratio(logps, ref_logps, mask):
    log_rho = torch.where(mask == 1, ref_logps - logps, torch.zeros_like(logps))
    return -log_rho, 0.5 * log_rho.square(), torch.special.expm1(log_rho) - log_rho


def _numpy(logps, ref_logps, mask):
    keep = mask.numpy() == 1
    d = np.where(keep, logps.numpy() - ref_logps.numpy(), 0.0)
    return d, 0.5 * d * d, np.expm1(-d) + d


def _only_tokens(logps, ref_logps, mask):
    keep = mask == 1
    d = logps[keep] - ref_logps[keep]
    tables = [torch.zeros_like(logps) for _ in range(3)]
    for table, k in zip(tables, (d, d * d / 2, torch.expm1(-d) + d), strict=True):
        table[keep] = k
    return tables


def show_three(answer):
    """Draw the three estimates against the log-ratio."""
    from tutorlib.viz import lines

    d = torch.linspace(-2, 2, 41, dtype=torch.float64)[None]
    found = answer(d - 3, torch.zeros_like(d) - 3, torch.ones_like(d).long())
    return lines({name: as_tensor(k)[0] for name, k in zip(("k1", "k2", "k3"), found, strict=True)},
                 d[0], xlabel="log-ratio d = log π − log π_ref (nats)", ylabel="estimate (nats)",
                 title="k2 and k3 are never negative; k3 is dear where π avoids what π_ref says")


_HAND = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
_HAND_REF = torch.tensor([[0.25, 0.5, 0.9]], dtype=torch.float64).log()
_L = 0.6931471805599453  # log 2

KL_ESTIMATORS = Exercise(
    id=f"{UNIT}.kl_estimators",
    title="Three estimates of a KL",
    points=2, minutes=8, difficulty=2,
    reference=kl_estimators,
    oracle=with_sixty_digits,
    hand=Case(
        args=(_HAND, _HAND_REF, torch.tensor([[1, 1, 0]])),
        # d = log 2, -log 2, padding; exp(-d) = 1/2, 2
        expected=(torch.tensor([[_L, -_L, 0.0]], dtype=torch.float64),
                  torch.tensor([[_L**2 / 2, _L**2 / 2, 0.0]], dtype=torch.float64),
                  torch.tensor([[_L - 0.5, 1 - _L, 0.0]], dtype=torch.float64)),
        note="one token twice as likely as under the reference, one half as likely, padding"),
    cases=draw_cases,
    properties=(
        Property("k2 and k3 are never negative", never_negative),
        Property("k1 and k3 average to the KL", unbiased_as_promised),
        Property("small differences do not round away", second_order_alike),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("from Schulman's ratio", _from_the_ratio),
        Variant("numpy", _numpy),
        Variant("only the tokens that count", _only_tokens),
    ),
    hints=(
        "The answer was drawn from the policy, so the plain average of log pi - log pi_ref is the "
        "KL. The two others trade: never negative, but biased (k2), or never negative and "
        "unbiased (k3).",
        r"$$d = \log \pi - \log \pi_\text{ref}: \qquad k_1 = d, \quad k_2 = \tfrac12 d^2, \quad "
        r"k_3 = e^{-d} - 1 + d$$" "\n\n"
        "All are `[answers, tokens]`, 0 where `mask` is 0. `torch.expm1(-d)` is $e^{-d} - 1$ "
        "without rounding it away.",
        "```python\n"
        "d = (logps - ref_logps).masked_fill(...)\n"
        "return ..., ..., ...\n"
        "```",
    ),
    why="k3 is k1 plus exp(-d) - 1, whose mean under the policy is 0: a control variate. That is "
        "why it is unbiased. As a *number* it is the steadiest near d = 0. Its *gradient* is "
        "another matter: see the next figure.",
    index_names=name_token,
    atol=1e-20,  # k2 and k3 of models that hardly differ are this small
    figure=show_three,
    forbidden=("tutorlib.posttraining.kl_estimate",),
)
