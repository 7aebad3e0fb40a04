"""Exercise 03.5: what a policy loses against the best one, in one Kullback-Leibler divergence."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.maximum_entropy_rl.worlds import (
    REFERENCE,
    REWARD,
    normal,
    numbers,
    simplex,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def performance_gap(policy: Float[Tensor, " answers"], reference: Float[Tensor, " answers"],
                    reward: Float[Tensor, " answers"], beta: float) -> Float[Tensor, ""]:
    """Return J* - J(policy) = beta KL(policy || pi*), J = E[reward] - beta KL(policy || ref)."""
    log_best = torch.log_softmax(reward / beta + reference.log(), -1)
    return beta * (torch.special.xlogy(policy, policy) - policy * log_best).sum()


def by_the_dual(policy, reference, reward, beta):
    """Minimise the convex dual in one variable for J*; add up J(policy) term by term.

    max_pi of J over the simplex = min_mu of mu + beta sum ref exp((r - mu) / beta - 1), where mu
    prices the constraint that probabilities sum to 1. Ternary search; no log-sum-exp.
    """
    rows = list(zip(reference.tolist(), reward.tolist(), strict=True))

    def dual(mu):
        return mu + beta * math.fsum(p * math.exp(min((r - mu) / beta - 1, 600.0))
                                     for p, r in rows)

    low, high = min(reward.tolist()) - 2 * beta, max(reward.tolist())
    for _ in range(300):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if dual(left) < dual(right) else (left, high)
    achieved = math.fsum(p * (r - beta * math.log(p / q))
                         for p, (q, r) in zip(policy.tolist(), rows, strict=True) if p > 0)
    return dual((low + high) / 2) - achieved


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw policies, references and rewards; one policy has zeros, one beta is very small."""
    cases = []
    for answers, beta in ((3, 0.5), (5, 1.8), (4, 0.2)):
        cases.append(Case(args=(simplex(generator, answers), simplex(generator, answers),
                                normal(generator, answers), beta)))
    never = torch.cat([simplex(generator, 2), torch.zeros(2, dtype=torch.float64)])
    cases.append(Case(args=(never, simplex(generator, 4), normal(generator, 4), 0.7),
                      note="a policy that never gives the last two answers"))
    cases.append(Case(args=(simplex(generator, 3), simplex(generator, 3),
                            normal(generator, 3) + 2.0, 0.001), note="a beta of 0.001"))
    return cases


def nobody_beats_the_best(answer, case: Case) -> str | None:
    """The gap is never negative."""
    gap = float(as_tensor(answer(*case.args)))
    return None if gap > -1e-9 else f"the loss must be 0 or more; here it is {gap:.4g}"


def the_best_has_no_gap(answer, case: Case) -> str | None:
    """The Gibbs policy itself loses nothing."""
    _, reference, reward, beta = case.args
    best = torch.softmax(reward / beta + reference.log(), -1)
    gap = float(as_tensor(answer(best, reference, reward, beta)))
    return None if abs(gap) < 1e-6 else f"the best policy itself must lose 0, not {gap:.4g}"


def a_shift_changes_nothing(answer, case: Case) -> str | None:
    """The same bonus for every answer changes no gap."""
    policy, reference, reward, beta = case.args
    moved = float(as_tensor(answer(policy, reference, reward + 1.0, beta))
                  - as_tensor(answer(*case.args)))
    return None if abs(moved) < 1e-6 else (f"with 1 added to every answer's reward the gap moves "
                                           f"by {moved:.4g}")


def _kl(p, log_q):
    """Return KL(p || q) with 0 log 0 = 0."""
    return (torch.special.xlogy(p, p) - p * log_q).sum()


def _log_best(reference, reward, beta):
    return torch.log_softmax(reward / beta + reference.log(), -1)


def _reversed(policy, reference, reward, beta):
    log_best = _log_best(reference, reward, beta)
    return beta * (log_best.exp() * (log_best - policy.log())).sum()


def _naive(policy, reference, reward, beta):
    weights = reference * (reward / beta).exp()
    return beta * _kl(policy, (weights / weights.sum()).log())


def _naive_best(reference, reward, beta):
    weights = reference * (reward / beta).exp()
    return weights / weights.sum()


def _naive_ratio(policy, reference, reward, beta):
    return beta * (policy * (policy / _naive_best(reference, reward, beta)).log()).sum()


def _naive_reversed(policy, reference, reward, beta):
    best = _naive_best(reference, reward, beta)
    return beta * (best * (best / policy).log()).sum()


def _value_side(penalty):
    """Make J* - J with the naive J* and ``penalty(policy, reference)``."""
    def gap(policy, reference, reward, beta):
        best = beta * (reference * (reward / beta).exp()).sum().log()
        return best - ((policy * reward).sum() - beta * penalty(policy, reference))
    return gap


def _best_value(reference, reward, beta):
    return beta * torch.logsumexp(reward / beta + reference.log(), -1)


MUTANTS = (
    Mutant("reversed", _reversed,
           "The divergence points the wrong way. The expectation is over the policy that acts: "
           "Σ π log(π / π*), not Σ π* log(π* / π)."),
    Mutant("no_beta", lambda pi, ref, r, b: _kl(pi, _log_best(ref, r, b)),
           "This is the divergence in nats; the gap is in units of reward. β is the price "
           "of one nat: multiply by it."),
    Mutant("to_the_reference", lambda pi, ref, r, b: b * _kl(pi, ref.log()),
           "You measure the distance to the reference policy. That is the penalty in J. The gap "
           "is the distance to the best policy π*."),
    Mutant("no_reference", lambda pi, ref, r, b: b * _kl(pi, torch.log_softmax(r / b, -1)),
           "Your best policy is exp(r/β) / Z: the reference is missing. It multiplies the "
           "exponential, π* = reference · exp(r/β) / Z."),
    Mutant("beta_upside_down", lambda pi, ref, r, b: b * _kl(
               pi, torch.log_softmax(r * b + ref.log(), -1)),
           "Your best policy has exp(β r). A large β is a short leash here, so "
           "the reward is divided by it."),
    Mutant("reward_only", lambda pi, ref, r, b: r.max() - (pi * r).sum(),
           "This compares rewards alone, with the best answer as the best policy. J also charges "
           "β KL for leaving the reference, so giving the best answer always is not the "
           "optimum."),
    Mutant("penalty_forgotten", lambda pi, ref, r, b: _best_value(ref, r, b) - (pi * r).sum(),
           "From J* = β log Z you subtract the expected reward alone. The policy pays "
           "its penalty too: J(π) = E[r] - β KL(π || reference)."),
    Mutant("sign", lambda pi, ref, r, b: -b * _kl(pi, _log_best(ref, r, b)),
           "The sign is turned: this is J(π) - J*, which is never positive. The gap is "
           "J* - J(π)."),
    Mutant("zero_log_zero", lambda pi, ref, r, b: b * (
               pi * (pi.log() - _log_best(ref, r, b))).sum(),
           "A policy may never give some answer, and `0 * log(0)` is not a number (NaN). That "
           "term is 0: `torch.special.xlogy(p, p)` knows it."),
    Mutant("naive_exponential", _naive,
           "The formula is right, but at a small β `exp(reward / beta)` overflows. Work "
           "with logarithms: `torch.log_softmax` takes the maximum out first."),
    Mutant("naive_ratio", _naive_ratio,
           "On paper this is right; two cases break it. At a small β `exp(reward / beta)` is "
           "infinite: get log π* from `torch.log_softmax`. Where the policy is 0, `0 * log(0)` "
           "is NaN: `torch.special.xlogy` gives 0."),
    Mutant("naive_reversed", _naive_reversed,
           "The divergence points the wrong way: the expectation is over the policy that acts, "
           "Σ π log(π / π*). And at a small β the exponential overflows: work with log π*."),
    Mutant("naive_value", _value_side(lambda pi, ref: _kl(pi, ref.log())),
           "J* - J(π) is a right way, but at a small β the sum of `exp(reward / beta)` is "
           "infinite. `torch.logsumexp` of reward/β + log reference gives its logarithm."),
    Mutant("naive_value_and_zero", _value_side(lambda pi, ref: (pi * (pi / ref).log()).sum()),
           "J* - J(π) is a right way; two cases break it. At a small β the exponentials are "
           "infinite: use `torch.logsumexp`. Where the policy is 0, `0 * log(0)` is NaN: "
           "`torch.special.xlogy` gives 0."),
    Mutant("reward_difference", lambda pi, ref, r, b: (
               (_log_best(ref, r, b).exp() - pi) * r).sum(),
           "This is the difference of the two expected rewards. Both policies also pay "
           "β KL to the reference, and J counts it: subtract it on both sides."),
)


def _best_minus_own(policy, reference, reward, beta):
    penalty = (torch.special.xlogy(policy, policy) - torch.special.xlogy(policy, reference)).sum()
    return float(_best_value(reference, reward, beta) - (policy * reward).sum() + beta * penalty)


def _numpy(policy, reference, reward, beta):
    exponent = reward.numpy() / beta + np.log(reference.numpy())
    log_best = exponent - np.logaddexp.reduce(exponent)
    p = policy.numpy()
    kept = p > 0
    return beta * np.sum(p[kept] * (np.log(p[kept]) - log_best[kept]))


def _loops(policy, reference, reward, beta):
    exponent = [r / beta + math.log(q)
                for r, q in zip(reward.tolist(), reference.tolist(), strict=True)]
    log_z = max(exponent) + math.log(sum(math.exp(x - max(exponent)) for x in exponent))
    return sum(beta * p * (math.log(p) - x + log_z)
               for p, x in zip(policy.tolist(), exponent, strict=True) if p > 0)


VARIANTS = (
    Variant("J* minus J", _best_minus_own),
    Variant("numpy", _numpy),
    Variant("loops", _loops),
)


def show_gaps(answer):
    """Draw the measured loss of random policies against the learner's number."""
    from tutorlib.viz import Picture, new_figure, style
    from tutorlib.viz.look import series_look

    generator = torch.Generator().manual_seed(3)
    reference, reward, measured, yours = numbers(REFERENCE), numbers(REWARD), {}, {}
    for beta in (0.5, 2.0):
        policies = simplex(generator, 60, 3) ** 3
        policies = policies / policies.sum(-1, keepdim=True)
        penalty = (policies * (policies / reference).log()).sum(-1)
        achieved = (policies * reward).sum(-1) - beta * penalty
        measured[beta] = _best_value(reference, reward, beta) - achieved
        yours[beta] = numbers([float(answer(p, reference, reward, beta)) for p in policies])
    apart = max(float((measured[b] - yours[b]).abs().max()) for b in measured)
    title = f"120 random policies: measured loss and your formula differ by {apart:.0e} at most"
    with style():
        fig, ax = new_figure(title=title)
        for index, beta in enumerate(measured):
            look = series_look(index) | {"linestyle": "", "markersize": 6, "alpha": 0.7}
            ax.plot(yours[beta], measured[beta], label=f"\u03b2 = {beta:g}", **look)
        ax.set(xlabel="your \u03b2 KL(\u03c0 || \u03c0*) (reward)",
               ylabel="J* \u2212 J(\u03c0), measured (reward)")
        ax.legend()
    return Picture(fig, alt=f"{title}. Scatter of the measured loss J* minus J against beta times "
                            f"KL, on a straight line from 0 to {float(measured[2.0].max()):.2g}.")


PERFORMANCE_GAP = Exercise(
    id="maximum_entropy_rl.performance_gap",
    title="What a policy loses",
    points=2, minutes=8, difficulty=3,
    reference=performance_gap,
    oracle=by_the_dual,
    hand=Case(
        args=(numbers(REFERENCE), numbers(REFERENCE), numbers(REWARD), 1.0),
        # J* = log(0.6 + 0.3 e + 0.1 e^2) = log 2.154390 = 0.767508; J(reference) = 0.3 + 0.2 = 0.5
        expected=0.2675076943794833,
        note="the lesson's three answers; the policy is the reference itself, which pays no "
             "penalty and earns 0.5"),
    cases=draw_cases,
    properties=(
        Property("nobody beats the best", nobody_beats_the_best),
        Property("the best policy loses nothing", the_best_has_no_gap),
        Property("a bonus for every answer changes nothing", a_shift_changes_nothing),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "The last of the four lines: the objective of *any* policy is the optimum minus the "
        "price of one divergence. First get the best policy (as logarithms), then measure how far "
        "`policy` is from it, then turn nats into reward.",
        r"$$J^* - J(\pi) = \beta \sum_y \pi(y) \log \frac{\pi(y)}{\pi^*(y)}, \qquad "
        r"\pi^*(y) = \frac{\pi_\text{ref}(y)\, e^{r(y)/\beta}}{Z}$$" "\n\n"
        "All three tensors have shape `[answers]`; the result is one number. Where $\\pi(y) = 0$ "
        "the term is 0.",
        "```python\n"
        "log_best = ...       # logarithm of the best policy, [answers]; log_softmax is safe\n"
        "kl = ...             # a sum over answers; torch.special.xlogy(p, p) is p log p\n"
        "return ...           # in units of reward\n"
        "```",
    ),
    why=r"Put $r = \beta \log(\pi^* Z / \pi_\text{ref})$ into $J$: the reference cancels, $\beta "
        r"\log Z$ comes out of the sum, and what is left is $-\beta\, KL(\pi \| \pi^*)$. So "
        r"maximising the objective and imitating $\pi^*$ in this divergence are one task.",
    index_names=None,
    figure=show_gaps,
)
