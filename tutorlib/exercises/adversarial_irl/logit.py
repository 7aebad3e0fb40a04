"""Exercise 07.4: the logit of AIRL's discriminator."""

from __future__ import annotations

from decimal import Decimal, getcontext

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutorlib.exercises.adversarial_irl.worlds import UNIT, normal, numbers, uniform
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def airl_logit(
    state_reward: Float[Tensor, " transitions"],
    potential: Float[Tensor, " transitions"],
    next_potential: Float[Tensor, " transitions"],
    terminated: Bool[Tensor, " transitions"],
    log_policy: Float[Tensor, " transitions"],
    discount: float,
) -> Float[Tensor, " transitions"]:
    """Return f - log pi with f = g(s) + gamma Phi(s') - Phi(s), Phi = 0 after the end."""
    following = discount * next_potential.masked_fill(terminated, 0.0)
    return state_reward + following - potential - log_policy


def in_sixty_digits(state_reward, potential, next_potential, terminated, log_policy, discount):
    """Compute D = exp(f) / (exp(f) + pi) itself, in decimals, and take log D - log(1 - D)."""
    getcontext().prec = 60
    found = []
    columns = (state_reward, potential, next_potential, terminated, log_policy)
    for g, h, h_next, end, log_pi in zip(*(x.tolist() for x in columns), strict=True):
        f = Decimal(g) - Decimal(h) + (0 if end else Decimal(discount) * Decimal(h_next))
        weight, pi = f.exp(), Decimal(log_pi).exp()
        d, rest = weight / (weight + pi), pi / (weight + pi)
        found.append(float(d.ln() - rest.ln()))
    return numbers(found)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw batches of transitions; some end, one batch has rewards in the hundreds."""
    cases = []
    for size, discount in ((5, 0.9), (7, 0.5), (4, 0.99)):
        ends = torch.rand(size, generator=generator) < 0.4
        ends[0], ends[-1] = False, True
        cases.append(Case(args=(normal(generator, size), normal(generator, size) + 0.5,
                                normal(generator, size) - 0.5, ends,
                                -uniform(generator, 0.05, 3, size), discount)))
    large = Case(args=(numbers([900.0, -900.0, 800.0]), normal(generator, 3),
                       normal(generator, 3), torch.tensor([False, False, True]),
                       -uniform(generator, 0.05, 3, 3), 0.9),
                 note="state rewards in the hundreds: exp(f) overflows or vanishes")
    return [*cases, large]


def level_with_the_policy(answer, case: Case) -> str | None:
    """At f = log pi the discriminator can only toss a coin: logit 0."""
    _, h, h_next, ends, log_pi, discount = case.args
    kept = torch.where(ends, 0.0, h_next)
    logit = as_tensor(answer(log_pi + h - discount * kept, h, h_next, ends, log_pi, discount))
    worst = float(logit.abs().max())
    return None if worst < 1e-4 else (f"at f = log π the two sides of D are equal, so the logit "
                                      f"must be 0; here it is up to {worst:.3g} away")


def nothing_after_the_end(answer, case: Case) -> str | None:
    """Φ(s') of a transition that ended the episode must not matter."""
    g, h, h_next, ends, log_pi, discount = case.args
    moved = as_tensor(answer(g, h, torch.where(ends, h_next + 5.0, h_next), ends, log_pi,
                             discount)) - as_tensor(answer(*case.args))
    worst = float(moved.abs().nan_to_num().max())
    return None if worst < 1e-3 else (f"changing Φ(s') after the end of an episode moved the "
                                      f"logit by {worst:.3g}; nothing follows there")


def the_judge_learns_through_it(answer, case: Case) -> str | None:
    """The slopes by g, Φ(s) and Φ(s') are 1, -1 and γ (0 at an end): networks learn by them."""
    *tables, ends, log_pi, discount = case.args
    leaves = [table.clone().requires_grad_() for table in tables]
    logit = answer(*leaves, ends, log_pi, discount)
    if not (isinstance(logit, Tensor) and logit.requires_grad):
        return ("no gradient flows back to g and Φ, so the judge cannot be trained through this "
                "logit: compute with torch, without `detach`, `item`, `float` or numpy")
    found = torch.autograd.grad(logit.sum(), leaves, allow_unused=True)
    wanted = (1.0, -1.0, torch.where(ends, 0.0, discount))
    for name, slope, want in zip(("g(s)", "Φ(s)", "Φ(s')"), found, wanted, strict=True):
        if slope is None or bool((slope - want).abs().nan_to_num(nan=1.0).max() > 1e-6):
            return f"the gradient by {name} is {'missing' if slope is None else 'wrong'}"
    return None


def _f(g, h, h_next, ends, log_pi, discount):
    return airl_logit(g, h, h_next, ends, torch.zeros_like(log_pi), discount)


def _probability(*args):
    return torch.sigmoid(airl_logit(*args))


def _naive(g, h, h_next, ends, log_pi, discount):
    weight = _f(g, h, h_next, ends, log_pi, discount).exp()
    d = weight / (weight + log_pi.exp())
    return d.log() - (1 - d).log()


MUTANTS = (
    Mutant("policy_missing", _f,
           "This is f alone. D compares exp(f) with the policy's own probability: the logit is "
           "f − log π."),
    Mutant("policy_added", lambda g, h, n, e, lp, d: _f(g, h, n, e, lp, d) + lp,
           "log π is added. What the policy already does often is *less* telling: subtract it."),
    Mutant("probability_for_log", lambda g, h, n, e, lp, d: _f(g, h, n, e, lp, d) - lp.exp(),
           "You subtract π itself. The logit of exp(f) / (exp(f) + π) is a difference of "
           "logarithms: subtract log π, which is what you are given."),
    Mutant("end_ignored", lambda g, h, n, e, lp, d: g + d * n - h - lp,
           "γ Φ(s') counts also where the episode ended. Nothing follows an end: there Φ(s') is "
           "0, as a value would be."),
    Mutant("end_flag_negated", lambda g, h, n, e, lp, d: airl_logit(g, h, n, ~e, lp, d),
           "The flag is used the wrong way round: Φ(s') is kept only where the episode *ended*."),
    Mutant("whole_shaping_dropped_at_the_end", lambda g, h, n, e, lp, d: (
               g + torch.where(e, 0.0, d * n - h) - lp),
           "At an end you drop the whole shaping term. Only Φ(s') is 0 there; − Φ(s) stays, or "
           "the shaping no longer cancels along an episode."),
    Mutant("no_discount", lambda g, h, n, e, lp, d: airl_logit(g, h, n, e, lp, 1.0),
           "Φ(s') is not discounted. Shaping that leaves all policies alone is γ Φ(s') − Φ(s)."),
    Mutant("discount_on_both", lambda g, h, n, e, lp, d: (
               g + d * (torch.where(e, 0.0, n) - h) - lp),
           "γ stands before the whole difference. It belongs to Φ(s') alone, which comes one step "
           "later."),
    Mutant("discount_on_the_wrong_one", lambda g, h, n, e, lp, d: (
               g + torch.where(e, 0.0, n) - d * h - lp),
           "γ stands before Φ(s). It belongs to Φ(s'), which comes one step later."),
    Mutant("f_dropped_at_the_end", lambda g, h, n, e, lp, d: (
               torch.where(e, 0.0, g + d * n - h) - lp),
           "At an end you set the whole f to 0. Only Φ(s') is 0 there: g(s) is still earned, and "
           "− Φ(s) stays."),
    Mutant("shaping_reversed", lambda g, h, n, e, lp, d: (
               g + h - d * torch.where(e, 0.0, n) - lp),
           "The shaping term has its sign turned: it is γ Φ(s') − Φ(s), what the move gains in "
           "potential."),
    Mutant("states_exchanged", lambda g, h, n, e, lp, d: airl_logit(g, n, h, e, lp, d),
           "Φ(s) and Φ(s') are exchanged: γ goes with the state arrived in."),
    Mutant("no_shaping", lambda g, h, n, e, lp, d: g - lp,
           "The shaping term is missing. Without it g would have to carry what belongs to the "
           "dynamics, and would not transfer."),
    Mutant("labels_swapped", lambda *args: -airl_logit(*args),
           "The sign is turned: this is the logit for label 1 = policy. Here label 1 is the "
           "demonstrator."),
    Mutant("probability", _probability,
           "You return D. The logit is what goes into the sigmoid: log D − log(1 − D)."),
    Mutant("log_d", lambda *args: torch.nn.functional.logsigmoid(airl_logit(*args)),
           "You return log D, GAIL's other reward. AIRL's is the log-odds, log D − log(1 − D)."),
    Mutant("gail_reward", lambda *args: torch.nn.functional.softplus(airl_logit(*args)),
           "You return −log(1 − D), GAIL's reward, where AIRL's log-odds belong: log D − "
           "log(1 − D)."),
    Mutant("naive_exponential", _naive,
           "On paper this is right, but exp(f) overflows when f is in the hundreds. Do the "
           "algebra first: log D − log(1 − D) = f − log π, without any exponential."),
)


def _loops(g, h, h_next, ends, log_pi, discount):
    rows = [g[i] - h[i] - log_pi[i] + (0 if ends[i] else discount * h_next[i])
            for i in range(len(g))]
    return torch.stack(rows)


def _where(g, h, h_next, ends, log_pi, discount):
    return torch.where(ends, g - h, g + discount * h_next - h) - log_pi


VARIANTS = (
    Variant("loops", _loops),
    Variant("torch.where", _where),
    Variant("through log-sum-exp", lambda *args: (
        (_f(*args) - torch.logaddexp(_f(*args), args[4]))
        - (args[4] - torch.logaddexp(_f(*args), args[4])))),
)


def name_transition(case: Case, index: tuple[int, ...]) -> str | None:
    """Say which transition an index means."""
    end = bool(case.args[3][index[0]])
    return f"transition {index[0]}, which {'ends the episode' if end else 'goes on'}"


def show_logits(answer):
    """Draw D against f for three probabilities of the action."""
    from tutorlib.viz import lines

    f, zero = torch.linspace(-6, 4, 61, dtype=torch.float64), torch.zeros(61, dtype=torch.float64)
    ends = torch.zeros(61, dtype=torch.bool)
    curves = {f"π(a|s) = {p:g}": torch.sigmoid(as_tensor(
        answer(f, zero, zero, ends, zero + float(numbers(p).log()), 0.9)).double())
        for p in (0.05, 0.3, 0.9)}
    return lines(curves, f, xlabel="f(s, a, s') (nats)", ylabel="D, probability of demonstrator",
                 target=0.5, target_label="a coin",
                 title="D crosses one half at f = log π: the rarer the action, the sooner")


AIRL_LOGIT = Exercise(
    id=f"{UNIT}.airl_logit",
    title="AIRL's logit",
    points=2, minutes=8, difficulty=3,
    reference=airl_logit,
    oracle=in_sixty_digits,
    hand=Case(
        args=(numbers([3.0, 3.0]), numbers([2.0, 2.0]), numbers([4.0, 4.0]),
              torch.tensor([False, True]), numbers([-1.0, -1.0]), 0.5),
        # f = 3 + 0.5 * 4 - 2 = 3 and 3 - 2 = 1; minus log pi = -1
        expected=numbers([4.0, 2.0]),
        note="the second transition ends its episode; log π = −1 in both"),
    cases=draw_cases,
    properties=(Property("level with the policy", level_with_the_policy),
                Property("nothing after the end", nothing_after_the_end),
                Property("the judge learns through it", the_judge_learns_through_it)),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Write D / (1 − D) first: what is left when exp(f) / (exp(f) + π) is divided by "
        "π / (exp(f) + π)? Then its logarithm. In f, ask what Φ(s') is worth once the episode is "
        "over.",
        r"$$\log\frac{D}{1 - D} = f - \log \pi(a|s), \qquad "
        r"f = g(s) + \gamma\, \Phi(s') - \Phi(s)$$"
        "\n\nwith $\\Phi(s') = 0$ where `terminated` is true. All are `[transitions]`.",
        "```python\n"
        "h_next = next_potential.masked_fill(terminated, ...)\n"
        "f = ...\n"
        "return f - ...\n"
        "```",
    ),
    why="D / (1 − D) = exp(f) / π, so the logit is f − log π: a log density ratio again. Its "
        "expectation under the policy is E[f] plus the policy's entropy, so AIRL's policy solves "
        "the maximum-entropy problem of unit 03 for the reward f.",
    index_names=name_transition,
    figure=show_logits,
)
