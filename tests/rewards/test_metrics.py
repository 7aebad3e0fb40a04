"""Metrics against enumeration, scipy, simulation and closed forms."""

import itertools
import math

import pytest
import torch
from scipy.stats import binomtest, kendalltau, spearmanr

from tests.lm.conftest import as_a_learner
from tutorlib.errors import InvalidArgumentError
from tutorlib.rewards import (
    best_of_n,
    bootstrap_interval,
    calibration_curve,
    clopper_pearson_interval,
    fit_temperature,
    label_agreement,
    labelled_accuracy,
    labelled_rewards,
    labels_ceiling,
    pairwise_accuracy,
    preference_calibration,
    rank_correlation,
    wilson_interval,
)
from tutorlib.tinytalk import Labeller, Preference, Prompt, label_pairs


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("successes, trials", [(0, 7), (3, 7), (7, 7), (40, 50)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_of_shares_are_scipy_s(successes, trials, level):
    test = binomtest(successes, trials)
    for ours, method in ((wilson_interval, "wilson"), (clopper_pearson_interval, "exact")):
        theirs = test.proportion_ci(level, method)
        assert ours(successes, trials, level) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_the_bootstrap_of_a_mean_is_as_wide_as_theory_says():
    values = torch.randn(400, generator=seeded(), dtype=torch.double)
    low, high = bootstrap_interval(values, seeded(1), draws=800)
    assert high - low == pytest.approx(2 * 1.96 * values.std().item() / 20, rel=0.15)
    assert low < values.mean() < high


def test_rows_that_belong_together_are_drawn_together():
    values = torch.randn(40, generator=seeded()).repeat_interleave(10)
    groups = torch.arange(40).repeat_interleave(10)
    wide = bootstrap_interval(values, seeded(1), groups=groups, draws=300)
    narrow = bootstrap_interval(values, seeded(1), draws=300)
    ratio = (wide[1] - wide[0]) / (narrow[1] - narrow[0])
    assert ratio == pytest.approx(math.sqrt(10), rel=0.25)
    median = bootstrap_interval(values, seeded(1), torch.median, draws=100)
    assert median[0] <= values.median() <= median[1]


def test_accuracy_counts_ties_as_halves():
    found = pairwise_accuracy(torch.tensor([1.0, 0, 2, 5]), torch.tensor([0.0, 1, 2, 4]))
    assert found.value == 0.625 and found.trials == 4
    assert (found.low, found.high) == wilson_interval(2.5, 4)
    assert pairwise_accuracy(torch.zeros(9), torch.zeros(9)).value == 0.5


SKY = Prompt("facts", ("color", "sky"))
BLUE, RED = "the sky is blue .", "the sky is red ."


def test_nobody_beats_the_ceiling_and_who_knows_the_truth_reaches_it():
    judge = Labeller(temperature=2.0, error_rate=0.1)
    labelled = label_pairs([(SKY, BLUE, RED)] * 4000, judge, seed=0)
    ceiling = labels_ceiling(labelled, judge)
    known = sum(p.chosen == BLUE for p in labelled) / 4000
    assert ceiling == pytest.approx(judge.probability(SKY, BLUE, RED))
    assert known == pytest.approx(ceiling, abs=0.02)
    assert labels_ceiling([Preference(SKY, RED, BLUE)], judge) == pytest.approx(ceiling)
    crowd = [Labeller(temperature=0.0), Labeller({"truth": -1.0}, temperature=0.0)]
    assert labels_ceiling(labelled, crowd) == 0.5


def test_a_calibrated_forecast_has_a_small_error_and_a_bold_one_has_not():
    p = torch.rand(20_000, generator=seeded(), dtype=torch.double)
    truth = torch.rand(20_000, generator=seeded(1), dtype=torch.double) < p
    for spacing in ("even", "quantile"):
        curve = calibration_curve(p, truth, 10, spacing)
        assert curve.error < 0.02 and len(curve.counts) == 10
        inside = (curve.low <= curve.predicted) & (curve.predicted <= curve.high)
        assert inside.sum() >= 8
    bold = calibration_curve((p > 0.5).double(), truth)
    assert bold.counts.tolist() == [float((p <= 0.5).sum()), float((p > 0.5).sum())]
    assert bold.error == pytest.approx(0.25, abs=0.02)  # E min(p, 1 - p)


def test_bins_by_hand():
    p, truth = torch.tensor([0.0, 0.1, 0.3, 1.0]), torch.tensor([False, True, True, True])
    curve = calibration_curve(p, truth, 5)
    assert curve.predicted.tolist() == pytest.approx([0.05, 0.3, 1.0], abs=1e-7)
    assert curve.observed.tolist() == [0.5, 1.0, 1.0] and curve.counts.tolist() == [2, 1, 1]
    assert curve.error == pytest.approx((2 * 0.45 + 0.7 + 0) / 4, abs=1e-7)
    assert [curve.low[0].item(), curve.high[0].item()] == pytest.approx(wilson_interval(1, 2))
    halves = calibration_curve(p, truth, 2, "quantile")
    assert halves.predicted.tolist() == pytest.approx([0.05, 0.65], abs=1e-7)


def test_preferences_are_calibrated_by_the_model_s_favourite():
    gaps = 2 * torch.randn(20_000, generator=seeded(), dtype=torch.double)
    wins = torch.rand(20_000, generator=seeded(1), dtype=torch.double) < torch.sigmoid(gaps)
    chosen = torch.where(wins, gaps, -gaps)  # gap of the chosen over the rejected answer
    zero = torch.zeros(20_000).double()
    curve = preference_calibration(chosen, zero, 5)
    assert curve.error < 0.02 and float(curve.predicted.min()) >= 0.5
    assert preference_calibration(3 * chosen, zero, 5).error > 0.08
    naive = calibration_curve(torch.sigmoid(chosen), torch.ones(20_000, dtype=torch.bool))
    assert naive.observed.tolist() == [1.0] * 10  # no test at all
    assert fit_temperature(3 * chosen, zero) == pytest.approx(3, rel=0.06)
    assert fit_temperature(chosen, zero) == pytest.approx(1, rel=0.06)


def test_rank_correlation_is_scipy_s_mean_over_prompts_that_say_something():
    proxy = torch.randn(3, 6, generator=seeded()).double()
    gold = proxy + torch.randn(3, 6, generator=seeded(1))
    gold[2] = 1.0
    for kind, scipy_s in (("kendall", kendalltau), ("spearman", spearmanr)):
        wanted = sum(scipy_s(proxy[i], gold[i]).statistic for i in range(2)) / 2
        assert rank_correlation(proxy, gold, kind) == pytest.approx(wanted)
        increasing = proxy.exp() + torch.arange(3)[:, None]
        assert rank_correlation(proxy, increasing, kind) == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_best_of_n_is_the_mean_over_all_choices(n):
    proxy = torch.tensor([[0.3, -1.0, 2.0, 0.3, 0.3], [1.0, 1.0, 1.0, 1.0, 1.0]]).double()
    gold = torch.randn(2, 5, generator=seeded()).double()
    for row in range(2):
        worths = []
        for some in itertools.combinations(range(5), n):
            top = max(proxy[row, i].item() for i in some)
            best = [gold[row, i].item() for i in some if proxy[row, i].item() == top]
            worths.append(sum(best) / len(best))
        wanted = sum(worths) / len(worths)
        assert best_of_n(proxy, gold, n)[row].item() == pytest.approx(wanted)


def test_agreement_beyond_chance():
    a = torch.tensor([True] * 6 + [False] * 4)
    b = torch.tensor([True] * 5 + [False] * 4 + [True])
    share, kappa = label_agreement(a, b)
    assert share == pytest.approx(0.8)
    assert kappa == pytest.approx((0.8 - 0.52) / 0.48)
    assert label_agreement(a, ~a)[1] < -0.9
    assert math.isnan(label_agreement(a | True, a | True)[1])


TWO = torch.tensor([0.2, 0.8])
YES = torch.tensor([True, False])


@pytest.mark.parametrize("call, message", [
    (lambda: wilson_interval(3, 2), "no more successes than trials"),
    (lambda: wilson_interval(0, 0), "at least one trial"),
    (lambda: clopper_pearson_interval(1, 2, 95), "level is 95"),
    (lambda: bootstrap_interval(torch.ones(1), seeded()), "at least two of them"),
    (lambda: bootstrap_interval(torch.ones(3), seeded(), groups=torch.zeros(3)), "at least two"),
    (lambda: labels_ceiling([], Labeller()), "0 pairs"),
    (lambda: calibration_curve(torch.tensor([0.5, 3.0]), YES), "take sigmoid of reward gaps"),
    (lambda: calibration_curve(torch.tensor([0.5, torch.nan]), YES), "expected 0 to 1"),
    (lambda: calibration_curve(TWO, YES[:1]), "one of each"),
    (lambda: calibration_curve(TWO, YES, 0), "bins 0"),
    (lambda: calibration_curve(TWO, YES, 5, "equal"), "'equal'"),
    (lambda: preference_calibration(TWO, TWO), "no favourite"),
    (lambda: fit_temperature(TWO, TWO - 1), "ordered alike"),
    (lambda: rank_correlation(TWO[None], torch.ones(1, 2)), "constant"),
    (lambda: rank_correlation(TWO[None], TWO[None], "pearson"), "'pearson'"),
    (lambda: rank_correlation(TWO, TWO), r"\(prompts, answers\)"),
    (lambda: best_of_n(TWO[None], TWO[None], 3), "n is 3"),
    (lambda: label_agreement(YES, YES[:1]), "the same pairs"),
])
def test_bad_input_is_refused_with_a_reason(call, message):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=message):
        call()


def test_labelled_rewards_are_of_the_chosen_and_of_the_rejected_answer():
    class Longer:
        def score(self, prompts, answers):
            assert all(p.startswith("<bos> <user> ") for p in prompts)  # as models were taught
            return torch.tensor([float(len(a.split())) for a in answers])

    sky = Prompt("facts", ("color", "sky"))
    texts = (("a b c", "a"), ("a", "a b"), ("b c", "a"))
    pairs = [Preference(sky, *both) for both in texts]
    chosen, rejected = labelled_rewards(Longer(), pairs)
    assert (chosen.tolist(), rejected.tolist()) == ([3.0, 1.0, 2.0], [1.0, 2.0, 1.0])
    assert labelled_accuracy(Longer(), pairs).value == pytest.approx(2 / 3)


def test_what_stands_on_an_edge_belongs_to_the_bin_below():
    p = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    curve = calibration_curve(p, torch.tensor([False, True, False, True, True]), 4)
    assert curve.counts.tolist() == [2, 1, 1, 1]  # (0, 1/4] holds 0 too
    assert curve.predicted.tolist() == [0.125, 0.5, 0.75, 1.0]
    assert curve.observed.tolist() == [0.5, 0.0, 1.0, 1.0]
    upper = calibration_curve(p[2:], torch.tensor([False, True, True]), 2, start=0.5)
    assert upper.counts.tolist() == [2, 1]
