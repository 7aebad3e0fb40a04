"""Exercise 17.5: another policy that DPO cannot tell apart, with its mass where nobody looked."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutorlib.exercises.direct_alignment.dpo import UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor

NEVER = -torch.inf


def unseen_mass(logps: Float[Tensor, " answers"], seen: Bool[Tensor, " answers"], mass: float
                ) -> Float[Tensor, " answers"]:
    """Return log-probabilities with ``mass`` on unseen answers and all ratios within as before."""
    def share(total, group):
        log_total = math.log(total) if total > 0 else NEVER
        return log_total + logps - torch.logsumexp(logps[group], 0)

    return torch.where(seen, share(1 - mass, seen), share(mass, ~seen))


def answer_by_answer(logps, seen, mass) -> Tensor:
    """Form both groups' weights relative to their likeliest answer, in plain Python."""
    rows, flags = logps.tolist(), seen.tolist()
    found = [0.0] * len(rows)
    for group, total in ((True, 1 - mass), (False, mass)):
        members = [i for i, flag in enumerate(flags) if bool(flag) is group]
        top = max(rows[i] for i in members)
        weight = math.fsum(math.exp(rows[i] - top) for i in members)
        for i in members:
            found[i] = rows[i] - top - math.log(weight) + (math.log(total) if total else NEVER)
    return torch.tensor(found, dtype=torch.float64)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw distributions: as short answers have them, and as rare as whole texts are."""
    cases = []
    for answers, count, mass, rare, note in (
            (5, 2, 0.3, 0.0, "two seen answers of five"), (7, 4, 0.9, 0.0, "most mass unseen"),
            (6, 2, 0.0, 0.0, "nothing unseen"),
            (6, 3, 0.2, 900.0, "answers as rare as whole texts: e^-900"),
            (5, 3, 0.3, -900.0, "unseen answers as rare as whole texts: e^-900"),
            (4, 3, 0.05, 0.0, "one unseen answer")):
        logps = (2 * torch.randn(answers, generator=generator, dtype=torch.float64)).log_softmax(0)
        seen = torch.zeros(answers, dtype=torch.bool)
        seen[torch.randperm(answers, generator=generator)[:count]] = True
        if rare < 0:  # the natural case: what nobody compared was unlikely before
            logps[~seen] += rare
            logps[seen] = logps[seen].log_softmax(0)
        if rare > 0:
            first = int((~seen).nonzero()[0, 0])
            logps[seen] -= rare
            others = torch.arange(answers) != first
            logps[first] = torch.log1p(-logps[others].exp().sum())  # all the rest
        cases.append(Case(args=(logps, seen, mass), note=note))
    return cases


def a_distribution(answer, case: Case) -> str | None:
    """Probabilities sum to 1, and the unseen ones to the mass."""
    found = as_tensor(answer(*case.args)).double().exp()
    total, unseen = float(found.sum()), float(found[~case.args[1]].sum())
    if bool(found.isnan().any()):
        return ("some of your log-probabilities are NaN or of NaN: `exp` of -900 is 0, and 0 / 0 "
                "is NaN. Stay with logarithms: `torch.logsumexp(logps[seen], 0)`")
    if not abs(total - 1) < 1e-4:
        return f"your probabilities sum to {total:.6g}; expected 1"
    return None if abs(unseen - case.args[2]) < 1e-4 else (
        f"unseen answers get {unseen:.6g} together; asked for was {case.args[2]}")


def dpo_cannot_tell(answer, case: Case) -> str | None:
    """All differences between seen answers, which are all that DPO looks at, are as before."""
    logps, seen, _ = case.args
    found = as_tensor(answer(*case.args)).double()[seen]
    before = logps[seen]
    off = float(((found[:, None] - found) - (before[:, None] - before)).abs().nan_to_num(
        math.inf).max())
    return None if off < 1e-3 else (
        f"the log-ratio of two seen answers moved by {off:.4g}: DPO's loss would notice")


def _shares(new_seen, new_unseen):
    """Return log-probabilities from a rule for each group."""
    return lambda p, s, m: torch.where(s, new_seen(p, s, m), new_unseen(p, s, m))


def _log(x):
    return math.log(x) if x > 0 else NEVER


def _right_seen(p, s, m):
    return _log(1 - m) + p - p[s].logsumexp(0)


def _right_unseen(p, s, m):
    return _log(m) + p - p[~s].logsumexp(0)


def _probabilities(p, s, m):
    return unseen_mass(p, s, m).exp()


def _through_probabilities(p, s, m):
    q = p.exp()
    return torch.where(s, (1 - m) * q / q[s].sum(), m * q / q[~s].sum()).log()


def _small_number_added(p, s, m):
    q = p.exp() + 1e-12
    return torch.where(s, (1 - m) * q / q[s].sum(), m * q / q[~s].sum()).log()


def _by_subtraction(p, s, m):
    seen = p[s].logsumexp(0)
    return torch.where(s, _right_seen(p, s, m), _log(m) + p - torch.log1p(-seen.exp()))


def _softmax_of_all(p, s, m):
    return p.log_softmax(0)


def _floor(p, s, m):
    return torch.where(s, _right_seen(p, s, m), math.log(m + 1e-8) + p - p[~s].logsumexp(0))


def _one_takes_all(p, s, m):
    out = torch.full_like(p, NEVER)
    out[int((~s).nonzero()[0, 0])] = _log(m)
    return torch.where(s, _right_seen(p, s, m), out)


MUTANTS = (
    Mutant("seen_left_alone", _shares(lambda p, s, m: p, _right_unseen),
           "The seen answers keep their probabilities, so the sum is no longer 1. Scale them "
           "together to 1 - mass."),
    Mutant("only_multiplied", _shares(lambda p, s, m: p + _log(1 - m),
                                      lambda p, s, m: p + _log(m)),
           "You multiply by 1 - mass and mass, but the groups did not sum to 1 before: divide each "
           "by its own total first."),
    Mutant("divided_by_all", lambda p, s, m: torch.where(
               s, p + _log(1 - m), p + _log(m)) - torch.where(
               s, p + _log(1 - m), p + _log(m)).logsumexp(0),
           "The result sums to 1, but the unseen answers do not get the mass that was asked for: "
           "normalise within each group, not over all."),
    Mutant("groups_exchanged", lambda p, s, m: unseen_mass(p, ~s, m),
           "The mass goes to the *seen* answers. It belongs to those nobody labelled."),
    Mutant("unseen_even", _shares(_right_seen, lambda p, s, m: torch.full_like(
               p, _log(m) - _log(float((~s).sum())))),
           "You spread the mass evenly over unseen answers. Their ratios are to stay."),
    Mutant("seen_even", _shares(lambda p, s, m: torch.full_like(
               p, _log(1 - m) - _log(float(s.sum()))), _right_unseen),
           "You make the seen answers equally likely. Their ratios are all that DPO sees: they "
           "must stay as they were."),
    Mutant("one_takes_all", _one_takes_all,
           "All the mass goes to one unseen answer. Their ratios are to stay as they were."),
    Mutant("probabilities", _probabilities,
           "These are probabilities. Asked for are log-probabilities, as they were given."),
    Mutant("through_probabilities", _through_probabilities,
           "`exp` of -900 is 0 in floating point, and 0 over 0 is NaN: whole texts are that rare. "
           "Stay with logarithms: `torch.logsumexp` sums probabilities given as logarithms."),
    Mutant("small_number_added", _small_number_added,
           "A small number added to probabilities changes rare ones altogether: e^-900 becomes "
           "1e-12, and the ratios are gone. Stay with logarithms: `torch.logsumexp`."),
    Mutant("unseen_by_subtraction", _by_subtraction,
           "You take the unseen answers' total as 1 minus the seen ones'. In floating point that "
           "is 0 as soon as they hold less than 1e-16: sum the group itself, `logsumexp`."),
    Mutant("floor_under_the_mass", _floor,
           "A small number under the logarithm: a mass of 0 is -∞ in logarithms, and may be so."),
    Mutant("mass_not_logarithm", _shares(
               lambda p, s, m: (1 - m) + p - p[s].logsumexp(0),
               lambda p, s, m: m + p - p[~s].logsumexp(0)),
           "You add the mass itself to log-probabilities. Multiplying a probability adds the "
           "*logarithm*."),
    Mutant("logarithm_multiplied", _shares(
               lambda p, s, m: (1 - m) * (p - p[s].logsumexp(0)),
               lambda p, s, m: m * (p - p[~s].logsumexp(0))),
           "You multiply log-probabilities by the mass. Scaling a probability *adds* a logarithm; "
           "multiplying flattens the distribution."),
    Mutant("sum_of_logarithms", _shares(
               lambda p, s, m: _log(1 - m) + p - p[s].sum(), lambda p, s, m: _log(m) + p
               - p[~s].sum()),
           "You subtract the sum of log-probabilities. A group's total is the sum of its "
           "probabilities: `torch.logsumexp`."),
    Mutant("nothing_changed", lambda p, s, m: p.clone(),
           "These are the probabilities you were given. Move the mass."),
)


def _numpy(p, s, m):
    values, group = p.numpy(), s.numpy()
    out = np.empty_like(values)
    for rows, total in ((group, 1 - m), (~group, m)):
        part = values[rows]
        with np.errstate(divide="ignore"):
            out[rows] = part - np.logaddexp.reduce(part) + np.log(total)
    return out


def _softmax(p, s, m):
    out = torch.empty_like(p)
    out[s] = p[s].log_softmax(0) + torch.tensor(1 - m, dtype=p.dtype).log()
    out[~s] = p[~s].log_softmax(0) + torch.tensor(float(m), dtype=p.dtype).log()
    return out


UNSEEN_MASS = Exercise(
    id=f"{UNIT}.unseen_mass",
    title="What DPO cannot see",
    points=2, minutes=9, difficulty=2,
    reference=unseen_mass,
    oracle=answer_by_answer,
    hand=Case(
        args=(torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log(),
              torch.tensor([True, True, False]), 0.7),
        expected=torch.tensor([0.2, 0.1, 0.7], dtype=torch.float64).log(),
        note="three answers (1/2, 1/4, 1/4), the third unseen, gets 0.7"),
    cases=draw_cases,
    properties=(
        Property("a distribution with that mass", a_distribution),
        Property("DPO cannot tell", dpo_cannot_tell),
    ),
    mutants=MUTANTS,
    variants=(Variant("numpy", _numpy), Variant("log_softmax in each group", _softmax)),
    hints=(
        "Two groups. Within each, only the total changes; all ratios stay. Normalise a group to 1, "
        "then scale it to its new total.",
        r"$$\log \pi'(y) = \log \pi(y) - \log \sum_{y' \text{ seen}} \pi(y') + \log (1 - m)$$"
        "\n\nfor seen answers, and with the unseen sum and $\\log m$ for the others. "
        "`torch.logsumexp(logps[seen], 0)` is the logarithm of a group's total; $\\log 0 = "
        "-\\infty$ is a fair result. Shapes: `[answers]`.",
        "```python\n"
        "new = torch.empty_like(logps)\n"
        "new[seen] = logps[seen] - ... + ...      # total 1 - mass\n"
        "new[~seen] = ...                         # total mass, which may be 0\n"
        "return new\n"
        "```",
    ),
    why="DPO's loss is made of differences between answers in the data. A factor common to all of "
        "them cancels, so their total is not a matter of the loss: where the rest goes is decided "
        "by the network, the learning rate and the reference's starting point alone.",
    index_names=lambda case, index: f"answer {index[0]}, "
                                    f"{'seen' if bool(case.args[1][index[0]]) else 'unseen'}",
)
