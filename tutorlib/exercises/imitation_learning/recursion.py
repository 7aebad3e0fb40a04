"""Exercise 04.2: how the expected cost of small slips grows with the horizon."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.imitation_learning.loss import UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor
from tutorlib.imitation import closed_form_cost


def error_recursion(slip: float, recovery: float, horizon: int) -> Float[Tensor, " horizon"]:
    """Return the expected cost of horizons 1 to T, from the chance of being off the path."""
    off, total, costs = 0.0, 0.0, []
    for _ in range(horizon):
        stays = off * (1 - recovery)  # did not find back: no slip is needed to be off
        off = stays + (1 - stays) * slip
        total += off
        costs.append(total)
    return torch.tensor(costs, dtype=torch.float64)


def every_story(slip: float, recovery: float, horizon: int) -> Float[Tensor, " horizon"]:
    """Sum over all sequences of (found back or not, slipped or not); long horizons in closed form.

    No recursion over probabilities: each story is one walk with its own probability and its cost.
    """
    if horizon > 5:
        return torch.tensor([closed_form_cost(slip, recovery, t) for t in range(1, horizon + 1)],
                            dtype=torch.float64)
    costs = np.zeros(horizon)
    for story in itertools.product(itertools.product((True, False), repeat=2), repeat=horizon):
        chance, off, paid = 1.0, False, np.zeros(horizon)
        for step, (back, slipped) in enumerate(story):
            chance *= (recovery if back else 1 - recovery) * (slip if slipped else 1 - slip)
            off = slipped or (off and not back)
            paid[step] = off
        costs += chance * paid.cumsum()
    return torch.tensor(costs)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw walkers; two ends of the model are always among them."""
    u = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    return [
        Case(args=(0.02 + 0.2 * u[0], 0.2 + 0.6 * u[1], 5), note="five steps"),
        Case(args=(0.05 + 0.3 * u[2], 0.0, 4), note="no way back: one slip is for good"),
        Case(args=(0.05 + 0.3 * u[3], 1.0, 4), note="always back at the next step"),
        Case(args=(0.01, 0.0, 50), note="the textbook case: 10.896 after 50 steps"),
        Case(args=(0.01 + 0.05 * u[1], 0.05 + 0.1 * u[0], 60), note="sixty steps, a long way back"),
    ]


def _costs(answer, *args):
    return as_tensor(answer(*args)).double()


def nobody_slips(answer, case: Case) -> str | None:
    """Without slips there is no cost."""
    got = float(_costs(answer, 0.0, case.args[1], case.args[2]).abs().max())
    return None if got < 1e-9 else f"a walker that never slips should pay 0, not {got:.4g}"


def no_step_costs_more_than_one(answer, case: Case) -> str | None:
    """Each further step costs between 0 and 1."""
    steps = torch.diff(_costs(answer, *case.args), prepend=torch.zeros(1, dtype=torch.float64))
    wrong = (steps < -1e-9) | (steps > 1 + 1e-9)
    if not wrong.any():
        return None
    at = int(wrong.nonzero()[0])
    return f"step {at + 1} costs {float(steps[at]):.4g}; one step costs between 0 and 1"


def recovery_helps(answer, case: Case) -> str | None:
    """Finding back more easily never costs more."""
    slip, recovery, horizon = case.args
    more = float((_costs(answer, slip, min(1.0, recovery + 0.3), horizon)
                  - _costs(answer, *case.args)).max())
    return None if more < 1e-9 else (f"with a better chance of finding back the cost rose by "
                                     f"{more:.4g}")


def _recursion(step, first=0.0):
    """Make an answer from ``step(off, slip, recovery) -> off after the step``."""
    def answer(slip, recovery, horizon):
        off, rows = first, []
        for _ in range(horizon):
            off = step(off, slip, recovery)
            rows.append(off)
        return torch.tensor(rows, dtype=torch.float64).cumsum(0)
    return answer


def _right(off, slip, recovery):
    return (1 - off) * slip + off * (1 - recovery * (1 - slip))


def _before_the_step(slip, recovery, horizon):
    off, total, costs = 0.0, 0.0, []
    for _ in range(horizon):
        total += off
        off = _right(off, slip, recovery)
        costs.append(total)
    return torch.tensor(costs, dtype=torch.float64)


def _from_the_first_slip(slip, recovery, horizon):
    return _recursion(_right, first=slip)(slip, recovery, horizon)


def _horizon_zero_too(slip, recovery, horizon):
    return torch.cat([torch.zeros(1).double(), _recursion(_right)(slip, recovery, horizon)])


def _chances(slip, recovery, horizon):
    return torch.diff(_recursion(_right)(slip, recovery, horizon),
                      prepend=torch.zeros(1, dtype=torch.float64))


def _steps(horizon):
    return torch.arange(1, horizon + 1, dtype=torch.float64)


MUTANTS = (
    Mutant("chance_not_cost", _chances,
           "You return the probability of being off the path after each step. The cost of a "
           "horizon is the *sum* of these up to it."),
    Mutant("counted_before_the_step", _before_the_step,
           "You add the probability before the step is taken, so the last step's slip is free. A "
           "step that *ends* off the path costs 1: update first, then add."),
    Mutant("no_slip_on_return", _recursion(
               lambda f, e, r: (1 - f) * e + f * (1 - r)),
           "Whoever finds back takes that step on the path, and can slip in it: being off after a "
           "step off is (1 - recovery) *plus* recovery times slip."),
    Mutant("never_back", _recursion(lambda f, e, r: f + (1 - f) * e),
           "`recovery` is not used: here a slip is for good. That is right for recovery = 0 "
           "only."),
    Mutant("always_back", lambda e, r, T: e * _steps(T),
           "slip times T is the cost when every slip is mended at the next step, recovery = 1. "
           "Otherwise a slip goes on costing."),
    Mutant("quadratic_bound", lambda e, r, T: e * _steps(T) * (_steps(T) + 1) / 2,
           "slip T(T + 1)/2 is the approximation for small slip * T and no way back. The exact "
           "value needs the recursion: a walker already off cannot slip again."),
    Mutant("upper_bound", lambda e, r, T: e * _steps(T) ** 2,
           "slip T² is the theorem's bound for the worst process. This process is known: compute "
           "its cost."),
    Mutant("recovery_inverted", _recursion(lambda f, e, r: _right(f, e, 1 - r)),
           "`recovery` is the chance of finding *back*; you use it as the chance of staying off."),
    Mutant("fallen_can_slip_twice", _recursion(lambda f, e, r: f * (1 - r) + e),
           "You add `slip` for everybody. Only those who are on the path, or found back, can slip; "
           "those who stayed off are off already."),
    Mutant("starts_off", _recursion(_right, first=1.0),
           "Your walker begins off the path. Every walk begins on it: the first step can only "
           "cost by a slip."),
    Mutant("starts_with_a_slip_behind_it", _from_the_first_slip,
           "You begin with f_0 = slip, and count the first slip twice. Before the first step "
           "nobody is off: f_0 = 0."),
    Mutant("horizon_zero_too", _horizon_zero_too,
           "You return horizon 0 too. The first entry is the cost of *one* step."),
    Mutant("inverted_and_no_slip_on_return", _recursion(lambda f, e, r: (1 - f) * e + f * r),
           "`recovery` is the chance of finding *back*; you use it as the chance of staying off. "
           "(And whoever finds back can slip in the same step.)"),
    Mutant("stayed_off_forgotten", _recursion(lambda f, e, r: (1 - f * (1 - r)) * e),
           "You count those who slip in this step, but not those who were off and stayed off."),
    Mutant("bracket_forgotten", _recursion(lambda f, e, r: (1 - f) * e + f * (1 - r) + r * e),
           "Only those who were off can find back and slip: recovery times slip must be multiplied "
           "by the probability of being off, too."),
    Mutant("slip_first_then_back", _recursion(lambda f, e, r: (f + (1 - f) * e) * (1 - r)),
           "You let everybody slip first and find back afterwards. The way back comes first: a "
           "slip in this step still costs this step."),
    Mutant("cost_per_step", lambda e, r, T: _recursion(_right)(e, r, T) / _steps(T),
           "You divide by the number of steps. Asked for is the cost of the whole walk."),
    Mutant("chance_of_any_slip", lambda e, r, T: 1 - (1 - e) ** _steps(T),
           "This is the probability of at least one slip. A walker that is off pays at every "
           "step: add up the probability of being off over the steps."),
    Mutant("total_only", lambda e, r, T: _recursion(_right)(e, r, T)[-1],
           "You return the cost of the longest horizon. All horizons from 1 to T are wanted, "
           "`[horizon]`, to draw the growth."),
)


def _closed(slip, recovery, horizon):
    memory = (1 - slip) * (1 - recovery)
    limit = 0.0 if slip == 0 else slip / (slip + recovery * (1 - slip))
    return (limit * (1 - memory ** _steps(horizon))).cumsum(0)


def _matrix_powers(slip, recovery, horizon):
    move = np.array([[1 - slip, slip],
                     [recovery * (1 - slip), 1 - recovery * (1 - slip)]])
    here, total, costs = np.array([1.0, 0.0]), 0.0, []
    for _ in range(horizon):
        here = here @ move
        total += here[1]
        costs.append(total)
    return np.array(costs)


def _python_list(slip, recovery, horizon):
    on, costs = 1.0, [0.0]
    for _ in range(horizon):
        on = (1 - slip) * (on + (1 - on) * recovery)
        costs.append(costs[-1] + 1 - on)
    return costs[1:]


def show_growth(answer):
    """Draw the learner's two ends of the model, on logarithmic axes."""
    from tutorlib.viz import lines

    ends = {"no way back": 0.0, "back at the next step": 1.0}
    curves = {name: _costs(answer, 0.01, r, 100) for name, r in ends.items()}
    last = {name: float(curve[-1]) for name, curve in curves.items()}
    return lines(curves, range(1, 101), xscale="log", yscale="log", xlabel="horizon T (steps)",
                 ylabel="expected cost (steps off the path)",
                 title=f"One slip in a hundred steps: after 100 steps a cost of "
                       f"{last['no way back']:.1f} without a way back, "
                       f"{last['back at the next step']:.1f} with one")


ERROR_RECURSION = Exercise(
    id=f"{UNIT}.error_recursion",
    title="How errors compound",
    points=3, minutes=12, difficulty=3,
    reference=error_recursion,
    oracle=every_story,
    hand=Case(
        args=(0.1, 0.4, 3),
        # off: 0.1; 0.9 * 0.1 + 0.1 * 0.64 = 0.154; 0.846 * 0.1 + 0.154 * 0.64 = 0.18316
        expected=torch.tensor([0.1, 0.254, 0.43716], dtype=torch.float64),
        note="one step in ten slips; off the path, four steps in ten find back"),
    cases=draw_cases,
    properties=(
        Property("who never slips pays nothing", nobody_slips),
        Property("a step costs 1 at most", no_step_costs_more_than_one),
        Property("a way back never hurts", recovery_helps),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("closed form", _closed),
        Variant("numpy, a transition matrix", _matrix_powers),
        Variant("loops over a list", _python_list),
    ),
    hints=(
        "Follow one number: the probability of being off the path after each step. It begins at "
        "0. Those who are on can slip; of those who are off some find back, and of these some "
        "slip again. Each step adds this probability to the cost.",
        r"$$f_t = (1 - f_{t-1})\, \epsilon + f_{t-1} \big( (1 - b) + b\, \epsilon \big), "
        r"\qquad \text{cost}(T) = \sum_{t=1}^{T} f_t$$" "\n\n"
        r"$f_0 = 0$, $\epsilon$ = `slip`, $b$ = `recovery`. Return the running sum for $T = 1, "
        r"\dots$, `horizon`: a tensor or list of `horizon` numbers.",
        "```python\n"
        "off, total, costs = 0.0, 0.0, []\n"
        "for _ in range(horizon):\n"
        "    off = ...            # from those who were on, plus from those who were off\n"
        "    total = ...          # this step's cost comes on top\n"
        "    costs.append(total)\n"
        "return costs\n"
        "```",
    ),
    why="One error rate, two growths: what decides is whether a slip can be undone. Without a way "
        "back the steps after a slip are lost, about T/2 of them on average, hence T². With one, "
        "each slip costs a bounded number of steps, hence T.",
    index_names=lambda case, index: f"horizon {index[0] + 1}",
    figure=show_growth,
    forbidden=("tutorlib.imitation.expected_cost", "tutorlib.imitation.closed_form_cost",
               "tutorlib.imitation.off_path"),
)
