"""Exercise 06.1: the backward pass, with chance in the dynamics."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.maxent_irl.backup_answers import MUTANTS, VARIANTS
from tutorlib.exercises.maxent_irl.worlds import (
    name_time_and_state,
    normal,
    numbers,
    steered,
    tree_of_futures,
)
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor


def soft_backup_finite(transition_matrix: Float[Tensor, "states actions states"],
                       cell_rewards: Float[Tensor, " states"], temperature: float, horizon: int):
    """Return V [horizon + 1, states] and pi [horizon, states, actions] (Ziebart 2010, 9.1-9.3)."""
    values, policy = [torch.zeros_like(cell_rewards)], []
    for _ in range(horizon):
        q = transition_matrix @ (cell_rewards + values[0])
        values.insert(0, temperature * torch.logsumexp(q / temperature, -1))
        policy.insert(0, torch.softmax(q / temperature, -1))
    return torch.stack(values), torch.stack(policy)


def by_the_tree(transition_matrix, cell_rewards, temperature, horizon):
    """Ask the tree of futures for every state and every number of decisions left."""
    value, choice = tree_of_futures(transition_matrix, cell_rewards, temperature)
    states = range(len(cell_rewards))
    return (numbers([[value(s, horizon - t) for s in states] for t in range(horizon + 1)]),
            numbers([[choice(s, horizon - t) for s in states] for t in range(horizon)]))


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw processes with chance; one is a punishment everywhere, one is ice cold."""
    cases = []
    for states, actions, temperature, horizon in ((4, 3, 0.7, 3), (3, 2, 1.6, 4), (5, 2, 0.4, 3)):
        cases.append(Case(args=(steered(generator, states, actions), normal(generator, states),
                                temperature, horizon)))
    punished = -1.0 - normal(generator, 4).abs()
    cases.append(Case(args=(steered(generator, 4, 2), punished, 0.8, 3),
                      note="every reward is negative"))
    cold = Case(args=(steered(generator, 3, 2), 1 + normal(generator, 3).abs(), 0.0002, 3),
                note="a temperature of 0.0002")
    return [*cases, cold]


def steps_are_distributions(answer, case: Case) -> str | None:
    """Require a distribution at each time and state."""
    policy = as_tensor(answer(*case.args)[1])
    wrong = ~(((policy.sum(-1) - 1).abs() < 1e-5) & (policy >= 0).all(-1))
    if not wrong.any():
        return None
    time, state = (int(i) for i in wrong.nonzero()[0])
    row = [round(float(p), 4) for p in policy[time, state]]
    return f"at time {time} in state {state} the policy is {row}; that is no distribution"


def nothing_is_left_at_the_end(answer, case: Case) -> str | None:
    """After the last decision nothing is earned."""
    last = as_tensor(answer(*case.args)[0])[-1]
    if bool((last.abs() < 1e-9).all()):
        return None
    return f"V[horizon] must be 0 everywhere; it holds {float(last.abs().max()):.4g}"


def values_are_what_the_policy_earns(answer, case: Case) -> str | None:
    """Walk the returned policy forward: reward plus lambda times entropy is its V_0."""
    moves, paid, temperature, horizon = case.args
    values, policy = (as_tensor(x).double() for x in answer(*case.args))
    for state in range(len(paid)):
        here, earned = torch.eye(len(paid), dtype=torch.float64)[state], 0.0
        for t in range(horizon):
            entropy = -torch.special.xlogy(policy[t], policy[t]).sum(-1)
            ahead = torch.einsum("s,sa,sat->t", here, policy[t], moves)
            earned += float(here @ entropy) * temperature + float(ahead @ paid)
            here = ahead
        if not math.isclose(earned, float(values[0, state]), rel_tol=1e-4, abs_tol=1e-4):
            return (f"from state {state} your policy earns {earned:.6g}, λ times entropy included, "
                    f"and your V_0 says {float(values[0, state]):.6g}")
    return None


GAMBLE = numbers([[[0, 0.5, 0.5, 0], [0, 0, 0, 1]], [[0, 1, 0, 0]] * 2, [[0, 0, 1, 0]] * 2,
                  [[0, 0, 0, 1]] * 2])
# The hand example: chance does not even out, losing leaves a choice, and lambda is not 1.
LOTTERY = numbers([[[0, 0.75, 0.25, 0], [0, 0, 0, 1]], [[0, 1, 0, 0]] * 2,
                   [[0, 0, 1, 0], [1, 0, 0, 0]], [[0, 0, 0, 1]] * 2])
PRIZES = numbers([0.0, 2.0, -1.0, 1.0])


def show_the_stakes(answer):
    """Draw how often the gamble is taken when winning pays more than losing costs."""
    from tutorlib.viz import lines

    wins = [i / 4 for i in range(0, 25)]
    taken = {}
    for temperature in (0.5, 1.0, 2.0):
        taken[f"\u03bb = {temperature:g}"] = [float(as_tensor(answer(
            GAMBLE, numbers([0.0, win, -3.0, 0.0]), temperature, 1)[1])[0, 0, 0]) for win in wins]
    even = taken["\u03bb = 1"][12]
    return lines(taken, wins, xlabel="what a win pays (a loss costs 3, both with chance 0.5)",
                 ylabel="probability of the gamble",
                 title=f"Your demonstrator weighs expectations: {even:.0%} take a fair gamble")


SOFT_BACKUP_FINITE = Exercise(
    id="maxent_irl.soft_backup_finite",
    title="The backward pass",
    points=3, minutes=12, difficulty=3,
    reference=soft_backup_finite,
    oracle=by_the_tree,
    hand=Case(
        args=(LOTTERY, PRIZES, 0.5, 2),
        # one decision left: Q(choice) = (0.75 * 2 - 0.25, 1) = (1.25, 1), so V = 0.5 log(e^2.5 +
        # e^2); Q(lost) = (-1, 0), V = 0.5 log(e^-2 + 1); won and kept earn 2 and 1, plus 0.5 log 2.
        # Two left: Q(choice) = (0.75 (2 + 2.3466) + 0.25 (-1 + 0.0635), 1 + 1.3466), and so on
        expected=(numbers([[3.14018408097833, 4.693147180559945, 1.4909485279346775,
                            2.6931471805599454],
                           [1.4870384920900532, 2.3465735902799727, 0.0634640055214863,
                            1.3465735902799727], [0.0, 0.0, 0.0, 0.0]]),
                  numbers([[[0.7955068870140546, 0.2044931129859455], [0.5, 0.5],
                            [0.0077895744772098, 0.9922104255227903], [0.5, 0.5]],
                           [[0.6224593312018546, 0.3775406687981454], [0.5, 0.5],
                            [0.11920292202211755, 0.8807970779778825], [0.5, 0.5]]])),
        note="λ = 0.5; states: choice, won, lost, kept. In 'choice' the actions are gamble and "
             "safe; in 'lost' stay and choose again; 'won' and 'kept' lead to themselves"),
    cases=draw_cases,
    properties=(
        Property("each time and state has a distribution", steps_are_distributions),
        Property("after the last decision nothing is earned", nothing_is_left_at_the_end),
        Property("values are what the policy earns", values_are_what_the_policy_earns),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Start after the last decision, where everything is worth 0, and go backwards. First "
        "average over what chance may bring (that is Q), then let the actions compete: the "
        "log-sum-exp of Q/λ is the value, the softmax of Q/λ is the policy.",
        r"$$Q_t(s,a) = \sum_{s'} P(s'|s,a)\,\big(R(s') + V_{t+1}(s')\big), \quad "
        r"V_t(s) = \lambda \log \sum_a e^{Q_t(s,a)/\lambda}, \quad "
        r"\pi_t(a|s) = e^{(Q_t(s,a) - V_t(s))/\lambda}$$" "\n\n"
        "`transition_matrix @ x` multiplies `[states, actions, next_states]` by `[next_states]` "
        "and gives `[states, actions]`. `torch.logsumexp(x, dim=-1)` and `torch.softmax(x, "
        "dim=-1)` never overflow.",
        "```python\n"
        "values = torch.zeros(horizon + 1, len(cell_rewards), dtype=torch.float64)\n"
        "policy = torch.zeros(horizon, *transition_matrix.shape[:2], dtype=torch.float64)\n"
        "for t in reversed(range(horizon)):\n"
        "    q = transition_matrix @ (...)   # R(s') plus the value of s', one step later\n"
        "    values[t] = ...                 # temperature times a log-sum-exp over actions\n"
        "    policy[t] = ...                 # a softmax over actions\n"
        "return values, policy\n"
        "```",
    ),
    why="Chance is averaged before the actions compete, because the choice is made before the "
        "outcome is known. Exchange the two, and the demonstrator seems to choose her luck: that "
        "is the model of 2008. Nothing else in the two models differs.",
    index_names=name_time_and_state,
    figure=show_the_stakes,
    forbidden=("tutorlib.irl.backward_pass", "tutorlib.mdp.soft_backward",
               "tutorlib.irl.solve_causal"),
)
