"""Exercise 11.5: the reliability curve."""

from __future__ import annotations

import bisect
import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.reward_models.bt import UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def calibration_curve(probabilities: Float[Tensor, " n"], outcomes: Float[Tensor, " n"],
                      bins: int) -> tuple[Float[Tensor, " bins"], Float[Tensor, " bins"],
                                          Int[Tensor, " bins"]]:
    """Return mean prediction, share that came true, and count of each bin; NaN where empty."""
    place = ((probabilities * bins).ceil() - 1).clamp_min(0).long()
    counts = torch.bincount(place, minlength=bins)
    zeros = torch.zeros(bins, dtype=probabilities.dtype)
    predicted = zeros.scatter_add(0, place, probabilities) / counts
    observed = zeros.scatter_add(0, place, outcomes.to(zeros)) / counts
    return predicted, observed, counts


def by_sorting(probabilities, outcomes, bins) -> tuple[Tensor, Tensor, Tensor]:
    """Sort the predictions and cut the list at each bin's upper edge, by bisection."""
    rows = sorted(zip(probabilities.tolist(), outcomes.tolist(), strict=True))
    values, start, found = [p for p, _ in rows], 0, []
    for k in range(bins):
        end = bisect.bisect_right(values, (k + 1) / bins)
        part = rows[start:end]
        n = len(part)
        found.append((math.fsum(p for p, _ in part) / n if n else math.nan,
                      math.fsum(y for _, y in part) / n if n else math.nan, n))
        start = end
    predicted, observed, counts = zip(*found, strict=True)
    return (torch.tensor(predicted, dtype=torch.float64),
            torch.tensor(observed, dtype=torch.float64), torch.tensor(counts))


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw predictions and outcomes; some stand on an edge, some bins are empty."""
    def outcomes(p: Tensor) -> Tensor:
        return (torch.rand(len(p), generator=generator, dtype=torch.float64) < p).double()

    def draw(n: int) -> Tensor:
        return torch.rand(n, generator=generator, dtype=torch.float64)

    edges = torch.tensor([0.0, 0.25, 0.25, 0.5, 0.75, 1.0, 1.0], dtype=torch.float64)
    sure = 0.55 + 0.4 * draw(30)
    return [
        Case(args=(draw(60), outcomes(draw(60)), 5), note="sixty predictions, five bins"),
        Case(args=(torch.cat([edges, draw(12)]), outcomes(draw(19)), 4),
             note="four bins; some predictions stand on an edge, some are 0 or 1"),
        Case(args=(sure, outcomes(sure), 10), note="ten bins, the lower ones empty"),
        Case(args=(draw(3) ** 2, outcomes(draw(3)), 8), note="three predictions, eight bins"),
        Case(args=(torch.full((6,), 0.3, dtype=torch.float64), outcomes(draw(6)), 3),
             note="six equal predictions, three bins"),
    ]


def nothing_is_lost(answer, case: Case) -> str | None:
    """Every prediction is in one bin, and the bins together give the whole mean."""
    p, y, _ = case.args
    _, observed, counts = (as_tensor(x).double() for x in answer(*case.args))
    if int(counts.sum()) != len(p):
        return f"your bins hold {int(counts.sum())} predictions; {len(p)} were given"
    total = float((observed.nan_to_num() * counts).sum())
    return None if abs(total - float(y.sum())) < 1e-4 else (
        f"share times count, added up, gives {total:.4g}; {float(y.sum()):.4g} came true")


def order_does_not_matter(answer, case: Case) -> str | None:
    """The same predictions in another order give the same curve."""
    p, y, bins = case.args
    back = [as_tensor(x).double().nan_to_num(-1) for x in answer(p.flip(0), y.flip(0), bins)]
    here = [as_tensor(x).double().nan_to_num(-1) for x in answer(p, y, bins)]
    moved = max(float((a - b).abs().max()) for a, b in zip(back, here, strict=True))
    return None if moved < 1e-6 else (
        f"another order of the predictions moved the curve by {moved:.4g}")


def _binned(place, values, bins):
    return torch.zeros(bins, dtype=torch.float64).scatter_add(0, place, values.double())


def _with(place_of, about=lambda p: p):
    """Return the curve with another way to choose the bin."""
    def answer(p, y, bins):
        place = place_of(p, bins)
        counts = torch.bincount(place, minlength=bins)
        return (_binned(place, about(p), bins) / counts, _binned(place, y, bins) / counts, counts)
    return answer


def _upper_closed(p, bins):
    return ((p * bins).ceil() - 1).clamp_min(0).long()


def _middles(p, y, bins):
    _, observed, counts = calibration_curve(p, y, bins)
    middles = (torch.arange(bins, dtype=torch.float64) + 0.5) / bins
    return middles.masked_fill(counts == 0, torch.nan), observed, counts


def _own_range(p, bins):
    low, high = float(p.min()), float(p.max())
    return _upper_closed((p - low) / max(high - low, 1e-12), bins)


def _equal_counts(p, bins):
    place = torch.empty(len(p), dtype=torch.long)
    place[p.argsort(stable=True)] = torch.arange(len(p)) * bins // len(p)
    return place


def _ones_dropped(p, y, bins):
    kept = p < 1
    return _with(lambda q, b: (q * b).long().clamp_max(b - 1))(p[kept], y[kept], bins)


def _zeros_for_empty(p, y, bins):
    a, b, counts = calibration_curve(p, y, bins)
    return a.nan_to_num(0.0), b.nan_to_num(0.0), counts


def _empty_left_out(p, y, bins):
    a, b, counts = calibration_curve(p, y, bins)
    return a[counts > 0], b[counts > 0], counts[counts > 0]


def _accuracy(p, y, bins):
    a, _, counts = calibration_curve(p, y, bins)
    return a, calibration_curve(p, ((p > 0.5) == (y > 0.5)).double(), bins)[1], counts


def _sums(p, y, bins):
    place = _upper_closed(p, bins)
    return _binned(place, p, bins), _binned(place, y, bins), torch.bincount(place, minlength=bins)


def _over_all(p, y, bins):
    place = _upper_closed(p, bins)
    return (_binned(place, p, bins) / len(p), _binned(place, y, bins) / len(p),
            torch.bincount(place, minlength=bins))


def _shares_for_counts(p, y, bins):
    a, b, counts = calibration_curve(p, y, bins)
    return a, b, counts / len(p)


def _folded(p, y, bins):
    return calibration_curve(torch.where(p < 0.5, 1 - p, p), torch.where(p < 0.5, 1 - y, y), bins)


def _upper_half(p, y, bins):
    kept = p >= 0.5
    return _with(lambda q, b: _upper_closed(2 * q - 1, b))(p[kept], y[kept], bins)


def _both_ends_closed(p, y, bins):
    inside = [(p >= k / bins) & (p <= (k + 1) / bins) for k in range(bins)]
    return (torch.stack([p[i].mean() for i in inside]), torch.stack([y[i].mean() for i in inside]),
            torch.stack([i.sum() for i in inside]))


MUTANTS = (
    Mutant("middle_of_the_bin", _middles,
           "You report the middle of each bin. The mean of the predictions in it can lie "
           "elsewhere: a bin full of 0.99s would look overconfident where it is not."),
    Mutant("lower_end_closed", _with(lambda p, b: (p * b).long().clamp_max(b - 1)),
           "A prediction on an edge goes to the bin *below*: bins are (a, b], of which the first "
           "also holds 0. Yours go to the bin above."),
    Mutant("ones_dropped", _ones_dropped,
           "Your bins are [a, b): what stands on an edge goes to the bin above, and a prediction "
           "of exactly 1 to none. Bins are (a, b] here, of which the first also holds 0."),
    Mutant("folded", _folded,
           "You turn predictions below one half round. Bin what you are given."),
    Mutant("upper_half_only", _upper_half,
           "Your bins split 0.5 to 1. They split 0 to 1: predictions may be any probability."),
    Mutant("both_ends_closed", _both_ends_closed,
           "A prediction on an edge is counted in both bins. Bins are (a, b]: it belongs to the "
           "lower one alone."),
    Mutant("number_for_share", lambda p, y, b: (calibration_curve(p, y, b)[0], _sums(p, y, b)[1],
                                                calibration_curve(p, y, b)[2]),
           "The second result is how *many* came true. Divide by the bin's count: a share."),
    Mutant("share_of_all", lambda p, y, b: (calibration_curve(p, y, b)[0], _over_all(p, y, b)[1],
                                            calibration_curve(p, y, b)[2]),
           "The second result divides by the number of *all* predictions, not by the bin's own."),
    Mutant("nearest_edge", _with(lambda p, b: (p * b).round().long().clamp_max(b - 1)),
           "You round to the nearest edge, which moves the bins by half their width."),
    Mutant("one_bin_less", _with(lambda p, b: ((p * (b - 1)).ceil() - 1).clamp_min(0).long()),
           "You split into one bin less: n bins have n + 1 edges."),
    Mutant("own_range", _with(_own_range),
           "You split the range from the smallest prediction to the largest. The bins split 0 to "
           "1, whatever was predicted."),
    Mutant("equally_full", _with(_equal_counts),
           "Your bins hold equally many predictions. That is a good convention too, but asked for "
           "are bins of equal *width*."),
    Mutant("exchanged", lambda p, y, b: (calibration_curve(p, y, b)[1],
                                         calibration_curve(p, y, b)[0],
                                         calibration_curve(p, y, b)[2]),
           "Predicted and observed are exchanged: the mean prediction comes first."),
    Mutant("accuracy", _accuracy,
           "You report how often the likelier outcome came true. A reliability curve asks how "
           "often the event itself did, also where it was thought unlikely."),
    Mutant("sums", _sums,
           "You add up within the bins. Divide by each bin's count."),
    Mutant("over_all", _over_all,
           "You divide by the number of all predictions. Divide by each bin's own count."),
    Mutant("zeros_for_empty", _zeros_for_empty,
           "Empty bins come out as 0, as if nothing had ever come true there. Nobody knows: NaN."),
    Mutant("empty_left_out", _empty_left_out,
           "Empty bins are missing, so a bin's number no longer says where it is. Keep all bins; "
           "NaN marks the empty ones."),
    Mutant("complement", lambda p, y, b: calibration_curve(p, 1 - y, b),
           "You count what did *not* come true."),
    Mutant("shares_for_counts", _shares_for_counts,
           "The third result is how many predictions are in each bin, whole numbers."),
)


def _numpy(p, y, bins):
    place = np.digitize(p.numpy(), np.linspace(0, 1, bins + 1)[1:-1], right=True)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return (np.bincount(place, p.numpy(), bins) / counts,
                np.bincount(place, y.numpy(), bins) / counts, counts)


def _loops(p, y, bins):
    rows = []
    for k in range(bins):
        inside = (p > k / bins) & (p <= (k + 1) / bins)
        inside |= (p == 0) if k == 0 else False
        n = int(inside.sum())
        rows.append((float(p[inside].mean()), float(y[inside].mean()), n) if n
                    else (math.nan, math.nan, 0))
    return [list(column) for column in zip(*rows, strict=True)]


def _bucketize(p, y, bins):
    place = torch.bucketize(p, torch.linspace(0, 1, bins + 1, dtype=p.dtype)[1:-1])
    member = torch.nn.functional.one_hot(place, bins).to(p)  # [n, bins]
    counts = member.sum(0)
    return p @ member / counts, y @ member / counts, counts.long()


CALIBRATION_CURVE = Exercise(
    id=f"{UNIT}.calibration_curve",
    title="The reliability curve",
    points=2, minutes=10, difficulty=2,
    reference=calibration_curve,
    oracle=by_sorting,
    hand=Case(
        args=(torch.tensor([0.2, 0.5, 0.9, 0.7], dtype=torch.float64),
              torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64), 2),
        # 0.2 and 0.5 (on the edge) in the first bin, 0.9 and 0.7 in the second
        expected=(torch.tensor([0.35, 0.8], dtype=torch.float64),
                  torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([2, 2])),
        note="four predictions, two bins; 0.5 stands on the edge"),
    cases=draw_cases,
    properties=(
        Property("nothing is lost", nothing_is_lost),
        Property("order does not matter", order_does_not_matter),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("numpy, digitize", _numpy),
        Variant("loops, as lists", _loops),
        Variant("bucketize and one-hot", _bucketize),
    ),
    hints=(
        "Sort the predictions into boxes of equal width. In each box compare two means: what was "
        "predicted, and what share came true. A calibrated forecaster has them equal.",
        r"$$\text{bin } k = \Big( \frac{k-1}{B}, \frac{k}{B} \Big], \qquad \bar p_k = "
        r"\frac{1}{n_k} \sum_{i \in k} p_i, \qquad \bar y_k = \frac{1}{n_k} \sum_{i \in k} y_i$$"
        "\n\n$B$ is `bins`, $n_k$ how many are in bin $k$; the first bin holds 0 too. "
        "`torch.bucketize(p, inner_edges)` numbers the bins; `torch.bincount` counts, with "
        "`weights=` it adds up. 0/0 is NaN, as asked.",
        "```python\n"
        "place = ...              # the bin of each prediction, [n], from 0\n"
        "counts = ...             # [bins]\n"
        "predicted = ...          # sums of p within bins, over counts\n"
        "observed = ...           # likewise of outcomes\n"
        "return predicted, observed, counts\n"
        "```",
    ),
    why="For a reward model, p is the confidence in its favourite and the outcome whether the "
        "labeller chose it. Binning the probability of the *chosen* answer itself would be no "
        "test: its outcome is 1 every time.",
    index_names=lambda case, index: f"bin {index[0] + 1} of {case.args[2]}",
    forbidden=("tutorlib.rewards.calibration_curve", "tutorlib.rewards.preference_calibration"),
)
