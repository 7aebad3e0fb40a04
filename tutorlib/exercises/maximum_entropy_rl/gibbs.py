"""Exercise 03.2: the Gibbs policy with a prior."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.maximum_entropy_rl.worlds import normal, numbers, simplex
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def gibbs_policy(q: Float[Tensor, "states actions"], temperature: float,
                 prior: Float[Tensor, "states actions"]) -> Float[Tensor, "states actions"]:
    """Return pi(a|s) proportional to prior(a|s) exp(Q(s, a) / lambda)."""
    scaled = q / temperature + prior.log()
    weights = (scaled - scaled.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True)


def value_that_normalises(q, temperature, prior):
    """Search, by bisection, the V at which prior exp((Q - V) / lambda) sums to 1; no softmax."""
    rows = []
    for row, weights in zip(q.tolist(), prior.tolist(), strict=True):
        allowed = [(x, p) for x, p in zip(row, weights, strict=True) if p > 0]

        def total(value, allowed=allowed):
            return math.fsum(p * math.exp(min((x - value) / temperature, 700.0))
                             for x, p in allowed)

        best = max(x for x, _ in allowed)
        low, high = best + temperature * math.log(min(p for _, p in allowed)), best
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if total(middle) > 1 else (low, middle)
        rows.append([p * math.exp(min((x - high) / temperature, 700.0)) if p > 0 else 0.0
                     for x, p in zip(row, weights, strict=True)])
    return numbers(rows)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw tables of Q and priors; then a forbidden favourite, and a very low temperature."""
    cases = []
    for states, actions in ((2, 3), (3, 4), (4, 2)):
        temperature = 0.4 + 2 * torch.rand(1, generator=generator, dtype=torch.float64).item()
        cases.append(Case(args=(normal(generator, states, actions), temperature,
                                simplex(generator, states, actions))))
    q = normal(generator, 3, 3)
    q[:, 2] += 4.0
    closed = simplex(generator, 3, 2)
    prior = torch.cat([closed, torch.zeros(3, 1, dtype=torch.float64)], dim=1)
    cases.append(Case(args=(q, 0.7, prior), note="the prior forbids action 2, which looks best"))
    note = "a temperature of 0.002; the prior forbids action 2, which looks best"
    gaps = numbers([[0.0, 0.001, 5.0], [-6.0, -6.002, 1.0], [3.0, 3.001, 4.0]])
    return [*cases, Case(args=(gaps, 0.002, prior), note=note)]


def rows_sum_to_one(answer, case: Case) -> str | None:
    """Require a distribution in each state."""
    sums = as_tensor(answer(*case.args)).sum(-1)
    wrong = ~((sums - 1).abs() < 1e-5)
    if not wrong.any():
        return None
    state = int(wrong.nonzero()[0])
    return f"in state {state} the probabilities sum to {float(sums[state]):.6g}"


def forbidden_stays_forbidden(answer, case: Case) -> str | None:
    """An action of prior probability 0 is never taken."""
    pi, prior = as_tensor(answer(*case.args)), case.args[2]
    taken = (prior == 0) & ~(pi == 0)
    if not taken.any():
        return None
    state, action = (int(i) for i in taken.nonzero()[0])
    return (f"the prior never takes action {action} in state {state}; the policy takes it with "
            f"probability {float(pi[state, action]):.4g}")


def equal_q_gives_the_prior(answer, case: Case) -> str | None:
    """Without a preference nothing moves the policy away from its prior."""
    q, temperature, prior = case.args
    moved = float((as_tensor(answer(torch.zeros_like(q), temperature, prior)) - prior).abs().max())
    return None if moved < 1e-6 else (f"when all Q are equal the policy must be the prior; a "
                                      f"probability is {moved:.4g} off")


def _share(weights):
    """Divide each row by its sum."""
    return weights / weights.sum(-1, keepdim=True)


MUTANTS = (
    Mutant("prior_ignored", lambda q, t, prior: torch.softmax(q / t, -1),
           "The prior is never used: this is the Gibbs policy of a uniform prior. Multiply each "
           "action's weight by its prior probability before you normalise."),
    Mutant("prior_after_normalising", lambda q, t, prior: prior * torch.softmax(q / t, -1),
           "You normalise first and multiply by the prior afterwards, so the rows no longer sum "
           "to 1. Multiply first; divide by the sum last."),
    Mutant("not_normalised", lambda q, t, prior: prior * (q / t).exp(),
           "These are weights, not yet probabilities. Divide each row by its sum, which is the "
           "partition function Z(s)."),
    Mutant("prior_tempered", lambda q, t, prior: torch.softmax((q + prior.log()) / t, -1),
           "The logarithm of the prior is divided by the temperature too: that raises the prior "
           "to the power 1/λ. Only Q is divided by λ."),
    Mutant("prior_without_logarithm", lambda q, t, prior: torch.softmax(q / t + prior, -1),
           "Inside the exponential you add the prior itself. A factor in front of `exp` becomes "
           "its logarithm inside: add `prior.log()`, or multiply outside."),
    Mutant("prior_divided", lambda q, t, prior: torch.softmax(q / t - prior.log(), -1),
           "You divide by the prior. Then actions the prior avoids become favourites; the leash "
           "should pull the policy towards the prior. Multiply."),
    Mutant("no_temperature", lambda q, t, prior: torch.softmax(q + prior.log(), -1),
           "The temperature is never used. Divide Q by it before `exp`."),
    Mutant("inverse_temperature", lambda q, t, prior: torch.softmax(q * t + prior.log(), -1),
           "Q is multiplied by the temperature. A high λ should bring the policy close "
           "to its prior; divide."),
    Mutant("greedy", lambda q, t, prior: torch.nn.functional.one_hot(
               (q / t + prior.log()).argmax(-1), q.shape[-1]).to(q.dtype),
           "All the probability goes to one action. That is the limit of temperature 0; above it "
           "each action keeps a share in proportion to its weight."),
    Mutant("no_max_subtraction", lambda q, t, prior: _share(prior * (q / t).exp()),
           "The formula is right, but at a low temperature `exp` gives infinity or 0 for every "
           "action, and the share is not a number (NaN). Take out each state's largest exponent "
           "first."),
    Mutant("forbidden_maximum",
           lambda q, t, prior: _share(prior * ((q - q.amax(-1, keepdim=True)) / t).exp()),
           "You take out the largest Q of a state even if the prior forbids that action. At a low "
           "temperature the allowed ones then vanish: 0 / 0 is not a number (NaN). Look for "
           "the maximum among the allowed actions only."),
    Mutant("wrong_axis", lambda q, t, prior: torch.softmax(q / t + prior.log(), 0),
           "Each column sums to 1: states compete with one another. The actions of one state are "
           "the last axis; normalise over that one."),
)


def _loops(q, temperature, prior):
    rows = []
    for row, weights in zip(q.tolist(), prior.tolist(), strict=True):
        best = max(x for x, p in zip(row, weights, strict=True) if p > 0)
        raised = [p * math.exp((x - best) / temperature) if p > 0 else 0.0
                  for x, p in zip(row, weights, strict=True)]
        rows.append([weight / sum(raised) for weight in raised])
    return rows


def _numpy(q, temperature, prior):
    with np.errstate(divide="ignore"):
        exponent = q.numpy() / temperature + np.log(prior.numpy())
    return np.exp(exponent - np.logaddexp.reduce(exponent, axis=1, keepdims=True))


VARIANTS = (
    Variant("torch.softmax", lambda q, t, prior: torch.softmax(q / t + prior.log(), -1)),
    Variant("prior times exp((Q - V) / lambda)", lambda q, t, prior: prior * (
        (q - t * torch.logsumexp(q / t + prior.log(), -1, keepdim=True)) / t).clamp(max=700).exp()),
    Variant("numpy", _numpy),
    Variant("loops", _loops),
)


def name_pair(case: Case, index: tuple[int, ...]) -> str | None:
    """Say which state and action an entry belongs to."""
    return f"state {index[0]}, action {index[1]}" if len(index) == 2 else None


def show_heat(answer):
    """Draw one state's policy at three temperatures, beside its prior."""
    from tutorlib.viz import bars

    q, prior = numbers([[1.0, 0.5, 0.0]]), numbers([[0.1, 0.3, 0.6]])
    rows = {f"\u03bb = {t:g}": as_tensor(answer(q, t, prior))[0] for t in (0.2, 0.5, 5.0)}
    best = [float(row[0]) for row in rows.values()]
    return bars({**rows, "prior": prior[0]}, groups=["Q = 1", "Q = 0.5", "Q = 0"],
                ylabel="probability", xlabel="actions of one state",
                title=f"Heat brings your policy back to its prior: the best action falls from "
                      f"{best[0]:.0%} to {best[-1]:.0%}")


GIBBS_POLICY = Exercise(
    id="maximum_entropy_rl.gibbs_policy",
    title="The Gibbs policy of a prior",
    points=2, minutes=8, difficulty=2,
    reference=gibbs_policy,
    oracle=value_that_normalises,
    hand=Case(
        args=(numbers([[2.0, 0.0], [3.0, 3.0]]), 2.0, numbers([[0.5, 0.5], [0.25, 0.75]])),
        # row 0: e / (e + 1) and 1 / (e + 1); row 1: equal Q, so the prior
        expected=numbers([[0.7310585786300049, 0.2689414213699951], [0.25, 0.75]]),
        note="in state 0 the prior is even and Q / 2 = (1, 0), the lesson's example; in state 1 "
             "all Q are equal, so nothing moves the policy from its prior"),
    cases=draw_cases,
    properties=(
        Property("each row sums to 1", rows_sum_to_one),
        Property("what the prior forbids stays forbidden", forbidden_stays_forbidden),
        Property("equal Q leave the prior as it is", equal_q_gives_the_prior),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "It is the softmax of unit 00 with one more factor: each action's weight is its prior "
        "probability times `exp` of Q over the temperature. A factor in front of `exp` is the "
        "same as its logarithm added inside.",
        r"$$\pi(a|s) = \frac{\pi_0(a|s)\, e^{Q(s,a)/\lambda}}{Z(s)} = \frac{e^{x_{sa} - m_s}}"
        r"{\sum_b e^{x_{sb} - m_s}}, \qquad x_{sa} = Q(s,a)/\lambda + \log \pi_0(a|s), \quad "
        r"m_s = \max_b x_{sb}$$" "\n\n"
        "`q` and `prior` have shape `[states, actions]`; maximum and sum run over the last axis, "
        "with `keepdim=True`. `log(0)` is minus infinity, and `exp` of that is 0: forbidden "
        "actions need no special case.",
        "```python\n"
        "x = ...                      # Q over temperature, plus the prior's logarithm\n"
        "weights = torch.exp(...)     # each row's largest exponent is 0\n"
        "return weights / ...         # each row's sum, [states, 1]\n"
        "```",
    ),
    why=r"$\pi_0 e^{Q/\lambda}$ is the only weighting at which no probability can be moved between "
        r"two actions with profit: a little more of the better one gains $Q$ exactly as fast as it "
        r"costs $\lambda$ KL. With the logarithm of the prior inside, forbidden actions get "
        r"$e^{-\infty} = 0$ and never decide the maximum.",
    index_names=name_pair,
    figure=show_heat,
    forbidden=("tutorlib.mdp.gibbs_policy",),
)
