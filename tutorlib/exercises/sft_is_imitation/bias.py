"""Exercise 10.4: exposure bias, as errors that accumulate faster than they are made."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutorlib.exercises.sft_is_imitation.shift import UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def exposure_bias(own: Float[Tensor, "problems steps"], forced: Float[Tensor, "problems steps"],
                  mask: Bool[Tensor, "problems steps"]) -> Float[Tensor, " steps"]:
    """Return errors accumulated on own prefixes over those on the demonstrator's, per horizon."""
    counts = mask.sum(0)
    rates = [torch.where(mask, x, torch.zeros_like(x)).sum(0) / counts for x in (own, forced)]
    return rates[0].cumsum(0) / rates[1].cumsum(0)


def step_by_step(own, forced, mask) -> list[float]:
    """Average, add up and divide in plain Python."""
    totals, ratios = [0.0, 0.0], []
    for step in range(mask.shape[1]):
        there = [i for i, kept in enumerate(mask[:, step].tolist()) if kept]
        for side, table in enumerate((own, forced)):
            totals[side] += math.fsum(float(table[i, step]) for i in there) / len(there)
        ratios.append(totals[0] / totals[1])
    return ratios


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw errors in problems of unequal numbers of steps; what is not there may be NaN."""
    cases = []
    for lengths, note in (((4, 2, 3), "three problems, of 4, 2 and 3 steps"),
                          ((2, 5, 5, 1, 3), "five problems; NaN where there is no step"),
                          ((6, 6), "two problems of 6 steps"),
                          ((1, 3, 7, 2, 4, 7, 1), "seven problems, few of them long")):
        steps = max(lengths)
        mask = torch.arange(steps) < torch.tensor(lengths)[:, None]
        own = (torch.rand(mask.shape, generator=generator) < 0.5).double()
        forced = 0.05 + 0.4 * torch.rand(mask.shape, generator=generator, dtype=torch.float64)
        if "NaN" in note:
            own[~mask] = forced[~mask] = torch.nan
        else:
            own[~mask], forced[~mask] = 1.0, 0.9  # padding holds something
        cases.append(Case(args=(own, forced, mask), note=note))
    return cases


def padding_never_matters(answer, case: Case) -> str | None:
    """What stands where there is no step changes nothing."""
    own, forced, mask = case.args
    other = answer(torch.where(mask, own, 0.3), torch.where(mask, forced, 0.7), mask)
    moved = float((as_tensor(other) - as_tensor(answer(*case.args))).abs().max())
    return None if moved < 1e-5 else (f"other numbers at steps that do not exist moved the result "
                                      f"by {moved:.4g}")


def no_bias_is_one(answer, case: Case) -> str | None:
    """If the model errs as often on its own prefixes, the ratio is 1 at every horizon."""
    _, forced, mask = case.args
    got = as_tensor(answer(forced, forced, mask))
    return None if float((got - 1).abs().max()) < 1e-5 else (
        f"with equal errors on both sides the result should be 1, not {got.tolist()}")


def given_twice(answer, case: Case) -> str | None:
    """The same problems given twice change no mean."""
    doubled = answer(*(torch.cat([x, x]) for x in case.args))
    moved = float((as_tensor(doubled) - as_tensor(answer(*case.args))).abs().max())
    return None if moved < 1e-5 else (f"with every problem given twice the result moved by "
                                      f"{moved:.4g}")


def _filled(x, mask):
    return torch.where(mask, x, torch.zeros_like(x))


def _rate(x, mask):
    return _filled(x, mask).sum(0) / mask.sum(0)


def _per_problem(own, forced, mask):
    ratios = _filled(own, mask).cumsum(1) / _filled(forced, mask).cumsum(1)
    return _filled(ratios, mask).sum(0) / mask.sum(0)


def _survival(own, forced, mask):
    return ((1 - (1 - _rate(own, mask)).cumprod(0)) / (1 - (1 - _rate(forced, mask)).cumprod(0)))


MUTANTS = (
    Mutant("not_accumulated", lambda o, f, m: _rate(o, m) / _rate(f, m),
           "You compare step with step. Asked for are the errors *up to* each horizon: running "
           "sums, `cumsum`."),
    Mutant("ratios_added_up", lambda o, f, m: (_rate(o, m) / _rate(f, m)).cumsum(0),
           "You divide step by step and add the ratios up. First add the errors up on each side, "
           "then divide."),
    Mutant("ratios_averaged", lambda o, f, m: (_rate(o, m) / _rate(f, m)).cumsum(0)
           / torch.arange(1, m.shape[1] + 1),
           "You average the ratios of the steps. First add the errors up on each side, then "
           "divide: one ratio of sums."),
    Mutant("turned_round", lambda o, f, m: _rate(f, m).cumsum(0) / _rate(o, m).cumsum(0),
           "The fraction is turned round: own prefixes on top, the demonstrator's below."),
    Mutant("difference", lambda o, f, m: _rate(o, m).cumsum(0) - _rate(f, m).cumsum(0),
           "You subtract. A ratio says how many times as many errors there are, whatever the "
           "error rate."),
    Mutant("excess", lambda o, f, m: exposure_bias(o, f, m) - 1,
           "You subtract 1: the excess. Asked for is the ratio itself, 1 without exposure bias."),
    Mutant("mask_not_used", lambda o, f, m: o.mean(0).cumsum(0) / f.mean(0).cumsum(0),
           "The mask is not used: steps that do not exist are averaged in."),
    Mutant("divided_by_all_problems", lambda o, f, m: (_filled(o, m).mean(0).cumsum(0)
                                                       / _filled(f, m).mean(0).cumsum(0)),
           "Each step's mean runs over the problems that *have* this step. You divide by the "
           "number of all problems (or pool the errors), so late steps hardly count."),
    Mutant("per_problem", _per_problem,
           "You take a ratio for each problem and average the ratios; problems with few errors "
           "then dominate. First the mean over problems, then the ratio."),
    Mutant("total_only", lambda o, f, m: exposure_bias(o, f, m)[-1],
           "You return the last horizon only. One number for each horizon, `[steps]`, shows "
           "whether the ratio grows."),
    Mutant("whole_sample", lambda o, f, m: o[m].mean() / f[m].mean(),
           "This is one number for all steps. Keep the steps apart: the growth is the point."),
    Mutant("over_problems", lambda o, f, m: (_filled(o, m).sum(1) / m.sum(1)).cumsum(0)
           / (_filled(f, m).sum(1) / m.sum(1)).cumsum(0),
           "You average over steps and add up over problems: the axes are exchanged. Problems are "
           "axis 0, steps axis 1."),
    Mutant("any_error_so_far", _survival,
           "This compares probabilities of *any* error so far. A cost counts every step that is "
           "wrong: add the rates up."),
    Mutant("times_the_mask", lambda o, f, m: ((o * m).sum(0) / m.sum(0)).cumsum(0)
           / ((f * m).sum(0) / m.sum(0)).cumsum(0),
           "NaN times 0 is NaN: a product with the mask does not silence what is not there. Use "
           "`torch.where` or `masked_fill` first."),
    Mutant("last_step_alone_below", lambda o, f, m: _rate(o, m).cumsum(0) / _rate(f, m),
           "Only the numerator is accumulated. Both sides add up over the steps."),
)


def _numpy(own, forced, mask):
    def rates(x):
        return np.nanmean(np.where(mask.numpy(), x.numpy(), np.nan), axis=0)
    return np.cumsum(rates(own)) / np.cumsum(rates(forced))


def _cumulative_means(own, forced, mask):
    steps = torch.arange(1, mask.shape[1] + 1)
    mean_own = _rate(own, mask).cumsum(0) / steps
    return mean_own / (_rate(forced, mask).cumsum(0) / steps)


def _loops(own, forced, mask):
    a = b = 0.0
    out = []
    for t in range(mask.shape[1]):
        kept = mask[:, t]  # in float32, as some will
        a += float(own[kept, t].float().mean())
        b += float(forced[kept, t].float().mean())
        out.append(a / b)
    return torch.tensor(out, dtype=torch.float32)


EXPOSURE_BIAS = Exercise(
    id=f"{UNIT}.exposure_bias",
    title="Exposure bias",
    points=2, minutes=10, difficulty=3,
    reference=exposure_bias,
    oracle=step_by_step,
    hand=Case(
        args=(torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]], dtype=torch.float64),
              torch.tensor([[0.2, 0.3, 0.4], [0.4, 0.1, 0.9]], dtype=torch.float64),
              torch.tensor([[True, True, True], [True, True, False]])),
        # own 0.5, 0.5, 1: sums 0.5, 1, 2; forced 0.3, 0.2, 0.4: sums 0.3, 0.5, 0.9
        expected=torch.tensor([0.5 / 0.3, 2.0, 2.0 / 0.9], dtype=torch.float64),
        note="two problems, of three steps and of two"),
    cases=draw_cases,
    properties=(
        Property("padding never matters", padding_never_matters),
        Property("no bias is 1", no_bias_is_one),
        Property("means do not count problems", given_twice),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("numpy, nanmean", _numpy),
        Variant("cumulative means", _cumulative_means),
        Variant("loops, in float32", _loops),
    ),
    hints=(
        "Three moves. For each step, the mean over the problems that have it. Then running sums "
        "over the steps: errors up to each horizon. Then one divided by the other.",
        r"$$\frac{\sum_{t \le T} \bar e^{\,\text{own}}_t}"
        r"{\sum_{t \le T} \bar e^{\,\text{forced}}_t}, "
        r"\qquad \bar e_t = \frac{\sum_{i:\, m_{i,t}} e_{i,t}}{\sum_i m_{i,t}}$$" "\n\n"
        "for $T = 1, 2, \\dots$: `[steps]`. `mask.sum(0)` counts the problems that have a step. "
        "Silence the rest before summing, `torch.where(mask, x, 0.0)`: they may be NaN.",
        "```python\n"
        "counts = ...             # problems that have each step, [steps]\n"
        "own_rate = ...           # [steps]\n"
        "forced_rate = ...        # [steps]\n"
        "return ...               # running sum over running sum\n"
        "```",
    ),
    why="Below the line stands what the training loss sees: errors behind the demonstrator's own "
        "words. Above it, what a reader sees. Without a way back the ratio grows with the length, "
        "about (T + 1) / 2 while errors are rare; with one it stays put. Unit 04 again.",
    index_names=lambda case, index: f"horizon {index[0] + 1}",
)
