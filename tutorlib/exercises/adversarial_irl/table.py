"""Exercise 07.1: table 4 of the tutorial, worked out from three functions f."""

from __future__ import annotations

import cmath
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.adversarial_irl.worlds import UNIT, numbers, uniform
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor

ROWS = ("reverse_kl", "jensen_shannon", "forward_kl")
COLUMNS = ("f(u)", "f'(u)", "f*(f'(u))")


def f_divergence_table(u: Float[Tensor, " points"]) -> dict[str, Float[Tensor, "3 points"]]:
    """Return f(u), the critic f'(u) and the reward f*(f'(u)) of each divergence."""
    log_u = u.log()
    f = {"reverse_kl": -log_u, "forward_kl": u * log_u,
         "jensen_shannon": u * log_u - (u + 1) * ((u + 1) / 2).log()}
    critic = {"reverse_kl": -1 / u, "forward_kl": log_u + 1,
              "jensen_shannon": (2 * u / (u + 1)).log()}
    return {name: torch.stack([f[name], critic[name], u * critic[name] - f[name]])
            for name in ROWS}


def by_limits(u: Tensor) -> dict[str, Tensor]:
    """Differentiate by a complex step; find the conjugate's supremum by golden section."""
    made = {"reverse_kl": lambda x: -cmath.log(x), "forward_kl": lambda x: x * cmath.log(x),
            "jensen_shannon": lambda x: x * cmath.log(x) - (x + 1) * cmath.log((x + 1) / 2)}
    return {name: numbers([_row(made[name], x) for x in u.tolist()]).T for name in ROWS}


def _row(f, u: float) -> tuple[float, float, float]:
    """Return f, its slope, and sup_v (slope v - f(v)), all at one u."""
    slope = f(complex(u, 1e-30)).imag / 1e-30
    low, high, golden = math.log(u) - 3, math.log(u) + 3, (math.sqrt(5) - 1) / 2

    def height(log_v):
        v = math.exp(log_v)
        return slope * v - f(complex(v)).real

    for _ in range(80):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if height(left) > height(right) else (left, high)
    return f(complex(u)).real, slope, height((low + high) / 2)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw ratios on both sides of 1, more and fewer than three of them."""
    return [Case(args=(uniform(generator, -2, 2, points).exp(),)) for points in (4, 2, 5)] + [
        Case(args=(uniform(generator, -5, 5, 4).exp(),), note="ratios far from 1")]


def equal_policies_cost_nothing(answer, case: Case) -> str | None:
    """f(1) = 0, for each divergence."""
    found = answer(numbers([1.0, 1.0]))
    for name in ROWS:
        at_one = float(as_tensor(found[name])[0, 0])
        if not abs(at_one) < 1e-5:
            return f"{name}: where policy and demonstrator agree f(1) must be 0, not {at_one:.4g}"
    return None


def rarer_is_paid_more(answer, case: Case) -> str | None:
    """What the demonstrator does more often than the policy must pay more."""
    found = answer(numbers([0.5, 1.0, 2.0]))
    for name in ROWS:
        pay = as_tensor(found[name])[2]
        if not bool((pay.diff() > 0).all()):
            return (f"{name}: the reward must rise with u (at u = 0.5, 1, 2 it is "
                    f"{', '.join(f'{x:.3g}' for x in pay.tolist())})")
    return None


def _edited(change):
    """Make a mutant that edits the right table; ``change(name, rows, u)`` returns new rows."""
    def answer(u):
        return {name: torch.stack(list(change(name, *rows, u)))
                for name, rows in f_divergence_table(u).items()}
    return answer


def _only(row, change):
    """Make a mutant that edits one row of the table only."""
    return _edited(lambda name, f, t, r, u: change(f, t, r, u) if name == row else (f, t, r))


def _practical(name, f, t, r, u):
    shift = {"reverse_kl": 1.0, "jensen_shannon": math.log(2), "forward_kl": 0.0}[name]
    return f, t, r + shift


def _at_u(name, f, t, r, u):
    conjugate = {"reverse_kl": lambda x: -1 - (-x).log(), "forward_kl": lambda x: (x - 1).exp(),
                 "jensen_shannon": lambda x: -(2 - x.exp()).log()}
    return f, t, conjugate[name](u)


def _exchanged(u):
    table = f_divergence_table(u)
    return {**table, "reverse_kl": table["forward_kl"], "forward_kl": table["reverse_kl"]}


MUTANTS = (
    Mutant("ratio_upside_down", lambda u: f_divergence_table(1 / u),
           "The ratio is upside down. In the table u is demonstrator over policy, "
           "ρ_demo / ρ_π."),
    Mutant("rows_exchanged", _exchanged,
           "The two KL rows are exchanged. With Σ ρ_π f(u), f = −log u gives Σ ρ_π log(ρ_π / "
           "ρ_demo), the *reverse* KL; u log u gives the forward one."),
    Mutant("derivative_by_log_u", _edited(lambda name, f, t, r, u: (f, u * t, u * (u * t) - f)),
           "You differentiated by log u. The critic is f'(u), the derivative by u itself: divide "
           "by u."),
    Mutant("derivative_by_log_u_only", _edited(lambda name, f, t, r, u: (f, u * t, r)),
           "The second row is the derivative by log u, which is u f'(u). The critic is f'(u)."),
    Mutant("reward_sign", _edited(lambda name, f, t, r, u: (f, t, -r)),
           "The third row has the sign turned: it is f(u) − u f'(u). The conjugate takes the "
           "largest t u − f(u), so at t = f'(u) it is u f'(u) − f(u)."),
    Mutant("critic_as_reward", _edited(lambda name, f, t, r, u: (f, t, t)),
           "You pay the critic T itself. In the game the policy's side carries f*(T): the third "
           "row is f*(f'(u))."),
    Mutant("f_as_reward", _edited(lambda name, f, t, r, u: (f, t, f)),
           "The third row repeats f. It is the conjugate, f*(t) = sup_v (t v − f(v)), at "
           "t = f'(u)."),
    Mutant("minus_f_as_reward", _edited(lambda name, f, t, r, u: (f, t, -f)),
           "You pay −f(u): its expectation is minus the divergence, but a policy that climbs it "
           "as a fixed number does not descend the divergence. The third row is f*(f'(u))."),
    Mutant("conjugate_at_u", _edited(_at_u),
           "You evaluated the conjugate at u. It is a function of the critic's value: f*(t) at "
           "t = f'(u)."),
    Mutant("constants_dropped", _edited(_practical),
           "These are the rewards as they are used, without their constants. The table has the "
           "exact f*(f'(u)): log u − 1 for reverse KL, and −log(1 − D) − log 2 for GAIL."),
    Mutant("f_not_subtracted", _edited(lambda name, f, t, r, u: (f, t, u * t)),
           "The third row is u f'(u) alone. The conjugate is t v − f(v) at v = u: subtract f(u)."),
    Mutant("reverse_constant_dropped", _only(
               "reverse_kl", lambda f, t, r, u: (f, t, u.log())),
           "Reverse KL pays log u here, the reward as AIRL uses it. The exact f*(f'(u)) is "
           "log u − 1."),
    Mutant("gail_constant_dropped", _only(
               "jensen_shannon", lambda f, t, r, u: (f, t, (1 + u).log())),
           "GAIL's reward here is log(1 + u), that is −log(1 − D). The exact f*(f'(u)) has "
           "another − log 2."),
    Mutant("product_rule_lost", _only("forward_kl", lambda f, t, r, u: (f, u.log(), r)),
           "The slope of u log u has two terms: log u + 1, by the product rule."),
    Mutant("half_the_js", _only("jensen_shannon", lambda f, t, r, u: (f / 2, t / 2, r / 2)),
           "You use the Jensen-Shannon divergence itself. The f of the table, and of GAIL, gives "
           "twice that: do not halve it."),
    Mutant("log_d_for_gail", _only(
               "jensen_shannon", lambda f, t, r, u: (f, t, (u / (1 + u)).log())),
           "For GAIL you pay log D. The conjugate gives −log(1 − D) − log 2; log D is another "
           "reward, with another sign."),
    Mutant("fairl_reward", _only("forward_kl", lambda f, t, r, u: (f, t, -u * u.log())),
           "For forward KL you pay −u log u, the reward printed with FAIRL. The conjugate gives "
           "exp(t − 1) at t = 1 + log u, which is u."),
    Mutant("half_forgotten", _edited(
               lambda name, f, t, r, u: (u * u.log() - (u + 1) * (u + 1).log(),
                                         (u / (u + 1)).log(), (u + 1).log())
               if name == "jensen_shannon" else (f, t, r)),
           "In GAIL's f the mean is (u + 1) / 2. Without the 2, f(1) is not 0 and equal policies "
           "have a cost."),
)


def _by_autograd(u):
    leaf = u.clone().requires_grad_()
    f = {"reverse_kl": -leaf.log(), "forward_kl": leaf * leaf.log(),
         "jensen_shannon": -(leaf + 1) * ((1 + leaf) / 2).log() + leaf * leaf.log()}
    result = {}
    for name, value in f.items():
        slope, = torch.autograd.grad(value.sum(), leaf)
        result[name] = torch.stack([value, slope, u * slope - value]).detach()
    return result


def _closed(u):
    x = u.numpy()
    return {"reverse_kl": np.stack([-np.log(x), -1 / x, np.log(x) - 1]),
            "forward_kl": np.stack([x * np.log(x), 1 + np.log(x), x]),
            "jensen_shannon": np.stack([x * np.log(x) - (x + 1) * np.log((1 + x) / 2),
                                        np.log(2 * x) - np.log1p(x), np.log1p(x) - np.log(2)])}


def _lists(u):
    rows = [[(-math.log(x), -1 / x, math.log(x) - 1) for x in u.tolist()],
            [(x * math.log(x) - (x + 1) * math.log((x + 1) / 2), math.log(2 * x / (1 + x)),
              math.log((1 + x) / 2)) for x in u.tolist()],
            [(x * math.log(x), 1 + math.log(x), x) for x in u.tolist()]]
    return {name: [list(column) for column in zip(*row, strict=True)]
            for name, row in zip(ROWS, rows, strict=True)}


VARIANTS = (Variant("autograd", _by_autograd), Variant("numpy, closed forms", _closed),
            Variant("loops", _lists))


def name_entry(case: Case, index: tuple[int, ...]) -> str | None:
    """Say which column of the table and which ratio an index means."""
    if len(index) != 2:
        return None
    return f"{COLUMNS[index[0]]} at u = {float(case.args[0][index[1]]):.3g}"


def show_rewards(answer):
    """Draw the three rewards against the log ratio."""
    from tutorlib.viz import lines

    h = torch.linspace(-3, 3, 61, dtype=torch.float64)
    table = answer(h.exp())
    pay = {f"{name.replace('_', ' ')}": as_tensor(table[name])[2] for name in ROWS}
    top = {name: float(values[-1]) for name, values in pay.items()}
    return lines(pay, h, xlabel="h = log u (nats)", ylabel="reward f*(f'(u))",
                 title=f"Where the demonstrator goes 20 times as often (h = 3), forward KL pays "
                       f"{top['forward kl']:.0f}, reverse KL {top['reverse kl']:.0f}")


F_DIVERGENCE_TABLE = Exercise(
    id=f"{UNIT}.f_divergence_table",
    title="Three divergences, one table",
    points=2, minutes=10, difficulty=3,
    reference=f_divergence_table,
    oracle=by_limits,
    hand=Case(
        args=(numbers([1.0, 2.0]),),
        # at u = 2: f = -log 2; 2 log 2 - 3 log 1.5; 2 log 2, and so on
        expected={
            "reverse_kl": numbers([[0.0, -0.6931471805599453], [-1.0, -0.5],
                                   [-1.0, -0.3068528194400547]]),
            "jensen_shannon": numbers([[0.0, 0.16989903679539753], [0.0, 0.28768207245178096],
                                       [0.0, 0.4054651081081644]]),
            "forward_kl": numbers([[0.0, 1.3862943611198906], [1.0, 1.6931471805599454],
                                   [1.0, 2.0]])},
        note="u = 1 (policy and demonstrator agree) and u = 2"),
    cases=draw_cases,
    properties=(
        Property("agreeing costs nothing", equal_policies_cost_nothing),
        Property("what the policy does too rarely is paid more", rarer_is_paid_more),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Three steps per row: write f as printed; differentiate it by u; then find f* without a "
        "search: the supremum of t v − f(v) over v is where the slope of f is t. Which v is that "
        "at t = f'(u)?",
        r"$$f^*(t) = \sup_v\, (t v - f(v)), \qquad f^*(f'(u)) = u f'(u) - f(u)$$" "\n\n"
        r"$(u \log u)' = \log u + 1$. For GAIL's f: $\log u + 1 - \log\frac{u + 1}{2} - 1$. "
        "`u` is `[points]`; each entry of the dict is `[3, points]`: `torch.stack([f, slope, "
        "reward])`.",
        "```python\n"
        "f = {'reverse_kl': ..., 'jensen_shannon': ..., 'forward_kl': ...}\n"
        "slope = {...}                      # derivative by u, same keys\n"
        "return {k: torch.stack([f[k], slope[k], u * slope[k] - f[k]]) for k in f}\n"
        "```",
    ),
    why="f is convex, so t v − f(v) is largest where f'(v) = t; at t = f'(u) that is v = u. The "
        "reward of each method is then read off: log u − 1, log((1 + u) / 2) and u.",
    index_names=name_entry,
    figure=show_rewards,
    forbidden=("tutorlib.irl.divergences.DIVERGENCES",),
)
