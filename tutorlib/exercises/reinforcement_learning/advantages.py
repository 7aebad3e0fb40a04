"""Exercise 3: generalised advantage estimation."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib import control
from tutorlib.exercises.reinforcement_learning.common import (
    UNIT,
    double_sum,
    flags,
    name_step,
    normal,
    uniform,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def gae(rewards: Float[Tensor, "time envs"], values: Float[Tensor, "time+1 envs"],
        discount_t: Float[Tensor, "time envs"], lambda_t: Float[Tensor, "time envs"]
        ) -> Float[Tensor, "time envs"]:
    """Return A_t = delta_t + discount_t * lambda_t * A_{t+1}."""
    return control.gae(rewards, values, discount_t, lambda_t)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw experience of several environments, with ends and with time limits."""
    cases = []
    for steps, envs in ((4, 1), (6, 2), (5, 3), (8, 2)):
        ended = flags(generator, 0.25, steps, envs)
        timed_out = flags(generator, 0.2, steps, envs) & ~ended
        ended[1, 0], timed_out[2, 0], ended[2, 0] = True, True, False
        timed_out[1, 0] = False
        discount_t = uniform(generator, 0.6, 0.9) * (~ended).double()
        lambda_t = uniform(generator, 0.5, 0.95) * (~(ended | timed_out)).double()
        cases.append(Case(args=(normal(generator, steps, envs), normal(generator, steps + 1, envs),
                                discount_t, lambda_t),
                          note="environment 0 ends at step 1 and is cut by a time limit at step 2"))
    return cases


def lambda_0_is_the_td_error(answer, case: Case) -> str | None:
    """Without lambda, one step of experience and the critic for the rest."""
    rewards, values, discount_t, lambda_t = case.args
    found = as_tensor(answer(rewards, values, discount_t, torch.zeros_like(lambda_t)))
    gap = float((found - (rewards + discount_t * values[1:] - values[:-1])).abs().max())
    return None if gap < 1e-8 else f"with lambda 0 an entry is {gap:.4g} away from the TD error"


def lambda_1_is_the_return(answer, case: Case) -> str | None:
    """With lambda 1, the whole return minus the value."""
    rewards, values, discount_t, lambda_t = case.args
    found = as_tensor(answer(rewards, values, discount_t, torch.ones_like(lambda_t)))
    following = values[-1]
    for t in reversed(range(len(rewards))):
        following = rewards[t] + discount_t[t] * following
        gap = float((found[t] - (following - values[t])).abs().max())
        if gap > 1e-8:
            return f"with lambda 1, step {t} is {gap:.4g} away from its return minus its value"
    return None


def nothing_crosses_an_ending(answer, case: Case) -> str | None:
    """Where lambda_t is 0, later rewards must not reach back."""
    rewards, values, discount_t, lambda_t = case.args
    cut = lambda_t.clone()
    cut[1] = 0.0
    later = rewards.clone()
    later[2:] += 10.0
    before = as_tensor(answer(rewards, values, discount_t, cut))[:2]
    after = as_tensor(answer(later, values, discount_t, cut))[:2]
    moved = float((after - before).abs().max())
    if moved < 1e-9:
        return None
    return ("lambda_t is 0 at step 1, yet rewards after it changed an advantage before by "
            f"{moved:.4g}")


def _recursion(delta=None, decay=None, start=None):
    """Return the backward recursion with one of its parts replaced."""

    def answer(rewards, values, discount_t, lambda_t):
        result = torch.zeros_like(rewards)
        following = torch.zeros_like(rewards[0]) if start is None else start(values)
        for t in reversed(range(len(rewards))):
            d = (rewards[t] + discount_t[t] * values[t + 1] - values[t] if delta is None
                 else delta(t, rewards, values, discount_t, lambda_t))
            factor = (discount_t[t] * lambda_t[t] if decay is None
                      else decay(t, discount_t, lambda_t))
            following = d + factor * following
            result[t] = following
        return result

    return answer


def _forward(rewards, values, discount_t, lambda_t):
    result, before = torch.zeros_like(rewards), torch.zeros_like(rewards[0])
    for t in range(len(rewards)):
        delta = rewards[t] + discount_t[t] * values[t + 1] - values[t]
        before = delta + discount_t[t] * lambda_t[t] * before
        result[t] = before
    return result


_right = _recursion()

MUTANTS = (
    Mutant("td_error_only", _recursion(decay=lambda t, g, lam: torch.zeros_like(g[t])),
           "These are the one-step errors alone, which is what lambda 0 would give. Add the "
           "following advantage, weighted by `discount_t * lambda_t`."),
    Mutant("no_lambda", _recursion(decay=lambda t, g, lam: g[t]),
           "`lambda_t` is never used, so the sum runs on through time limits into the next "
           "episode. The following advantage counts `discount_t * lambda_t`."),
    Mutant("no_discount_in_the_sum", _recursion(decay=lambda t, g, lam: lam[t]),
           "The following advantage is weighted by lambda alone. It lies one step ahead, so it is "
           "discounted too: `discount_t * lambda_t`."),
    Mutant("next_value_undiscounted",
           _recursion(lambda t, r, v, g, lam: r[t] + v[t + 1] - v[t]),
           "In delta the next value is not discounted; it even counts after the end, where "
           "`discount_t` is 0 to prevent just that."),
    Mutant("lambda_on_the_next_value",
           _recursion(lambda t, r, v, g, lam: r[t] + g[t] * lam[t] * v[t + 1] - v[t]),
           "In delta the next value is multiplied by lambda. Lambda belongs to the following "
           "advantage only; at a time limit the next value still counts in full."),
    Mutant("value_not_subtracted", _recursion(lambda t, r, v, g, lam: r[t] + g[t] * v[t + 1]),
           "V(s_t) is not subtracted in delta. An advantage says how much *better than expected* "
           "it went; what was expected is V(s_t)."),
    Mutant("the_critics_target", lambda r, v, g, lam: _right(r, v, g, lam) + v[:-1],
           "This is the advantage plus V(s_t): what the critic should learn, not the advantage."),
    Mutant("running_forwards", _forward,
           "The sum runs forwards, so that each step is credited with the past. A_t is made of "
           "what comes after t: go through time backwards."),
    Mutant("weights_of_the_next_step",
           _recursion(decay=lambda t, g, lam: (g * lam)[min(t + 1, len(g) - 1)]),
           "The weights are taken one step too late. What cuts the sum after step t is "
           "`discount_t[t] * lambda_t[t]`, of the same step."),
    Mutant("starts_with_the_last_value", _recursion(start=lambda values: values[-1]),
           "The recursion starts with the last value. That value is in delta already; the "
           "advantage after the last step is 0."),
)


def _with_matrices(rewards, values, discount_t, lambda_t):
    rewards, values = rewards.numpy(), values.numpy()
    decay = (discount_t * lambda_t).numpy()
    deltas = rewards + discount_t.numpy() * values[1:] - values[:-1]
    columns = []
    for env in range(rewards.shape[1]):  # (I - decay shift) A = delta
        shift = np.diag(decay[:-1, env], k=1)
        columns.append(np.linalg.solve(np.eye(len(rewards)) - shift, deltas[:, env]))
    return np.stack(columns, 1)


def _lists(rewards, values, discount_t, lambda_t):
    rows, following = [], [0.0] * rewards.shape[1]
    for t in range(len(rewards) - 1, -1, -1):
        following = [float(rewards[t, i] + discount_t[t, i] * values[t + 1, i] - values[t, i]
                           + discount_t[t, i] * lambda_t[t, i] * a)
                     for i, a in enumerate(following)]
        rows.insert(0, following)
    return rows


def _from_returns(rewards, values, discount_t, lambda_t):
    lambda_return, result = values[-1], []
    for t in range(len(rewards) - 1, -1, -1):
        mixed = (1 - lambda_t[t]) * values[t + 1] + lambda_t[t] * lambda_return
        lambda_return = rewards[t] + discount_t[t] * mixed
        result.append(lambda_return - values[t])
    return torch.stack(result[::-1])


VARIANTS = (
    Variant("a linear solve in numpy", _with_matrices),
    Variant("lists", _lists),
    Variant("lambda-returns minus values", _from_returns),
)


def show_credit(answer):
    """Draw how far back the credit for one late reward reaches, at three lambdas."""
    from tutorlib.viz import lines

    steps, discount = 20, 0.95
    rewards = torch.zeros(steps, 1, dtype=torch.float64)
    rewards[-1] = 1.0
    values = torch.zeros(steps + 1, 1, dtype=torch.float64)
    discount_t = torch.full((steps, 1), discount, dtype=torch.float64)
    discount_t[-1] = 0.0
    curves = {f"lambda {lam:g}": as_tensor(answer(rewards.clone(), values.clone(),
                                                  discount_t.clone(), 0 * discount_t + lam))[:, 0]
              for lam in (0.0, 0.9, 1.0)}
    return lines(curves, range(steps), xlabel="time (steps)", ylabel="advantage",
                 title="Lambda decides how far back one late reward is felt")


GAE = Exercise(
    id=f"{UNIT}.gae",
    title="Generalised advantage estimation",
    points=2,
    minutes=12,
    difficulty=3,
    reference=gae,
    oracle=double_sum,
    hand=Case(
        args=(torch.tensor([[1.0, 1.0], [2.0, 2.0]], dtype=torch.float64),
              torch.tensor([[3.0, 3.0], [2.0, 2.0], [6.0, 6.0]], dtype=torch.float64),
              torch.tensor([[0.5, 0.0], [0.5, 0.5]], dtype=torch.float64),
              torch.tensor([[0.8, 0.0], [0.8, 0.8]], dtype=torch.float64)),
        # environment 0: deltas 1 + 0.5 * 2 - 3 = -1 and 2 + 0.5 * 6 - 2 = 3; -1 + 0.4 * 3 = 0.2
        # environment 1 ends at step 0: delta 1 + 0 - 3 = -2, and nothing is added
        expected=torch.tensor([[0.2, -2.0], [3.0, 3.0]], dtype=torch.float64),
        note="two environments, two steps; environment 1 terminates at step 0"),
    cases=draw_cases,
    properties=(
        Property("lambda 0 gives the one-step TD error", lambda_0_is_the_td_error),
        Property("lambda 1 gives the return minus the value", lambda_1_is_the_return),
        Property("nothing crosses an ending", nothing_crosses_an_ending),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "An advantage is this step's surprise plus a discounted part of the next step's "
        "advantage. So the last step is the easiest: begin there and walk backwards.",
        r"$$\delta_t = r_t + \gamma_t V(s_{t+1}) - V(s_t), \qquad "
        r"A_t = \delta_t + \gamma_t \lambda_t A_{t+1}, \qquad A_T = 0$$" "\n\n"
        "`rewards`, `discount_t`, `lambda_t` and the result are `[time, envs]`; `values` has one "
        "row more, `values[t + 1]` being $V(s_{t+1})$. Rows are whole environments: no loop over "
        "them is needed.",
        "```python\n"
        "advantages = torch.zeros_like(rewards)\n"
        "following = torch.zeros_like(rewards[0])    # A of the step after, [envs]\n"
        "for t in reversed(range(len(rewards))):\n"
        "    delta = ...\n"
        "    following = delta + ...\n"
        "    advantages[t] = following\n"
        "return advantages\n"
        "```",
    ),
    why="Unrolled, the recursion is the sum of all later surprises with weights (gamma lambda)^k. "
        "Endings need no `if`: a `discount_t` of 0 removes the next value, a `lambda_t` of 0 stops "
        "the sum.",
    index_names=name_step,
    figure=show_credit,
    forbidden=("tutorlib.control.gae", "tutorlib.control.estimators.gae"),
)
