"""The quality of labels, against simulation, the printed numbers and adaptive quadrature."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from tests.lm.conftest import as_a_learner
from tutorlib.errors import InvalidArgumentError
from tutorlib.rewards import (
    annotation_quality,
    expected_gap,
    measured_quality,
    order_consistency,
    to_elo,
)


@pytest.mark.parametrize("variance, printed", [
    (1.0, 0.6749), (2.0, 0.7252), (4.0, 0.7780), (10.0, 0.8428)])
def test_quality_is_what_was_printed(variance, printed):
    assert annotation_quality(variance) == pytest.approx(printed, abs=5e-5)
    exact = 2 * quad(lambda z: norm.pdf(z) / (1 + math.exp(-math.sqrt(variance) * z)), 0, 30)[0]
    assert annotation_quality(variance) == pytest.approx(exact, abs=1e-10)


def test_the_printed_variance_is_that_of_the_difference():
    """Answers with deviation 1 each differ with variance 2, and are labelled accordingly."""
    first, second = torch.randn(2, 200_000, generator=torch.Generator().manual_seed(0))
    assert measured_quality(first, second) == pytest.approx(annotation_quality(2.0), abs=1e-3)
    assert abs(measured_quality(first, second) - annotation_quality(1.0)) > 0.04


def test_quality_at_its_ends():
    assert annotation_quality(0.0) == pytest.approx(0.5)
    assert annotation_quality(1e6) == pytest.approx(1.0, abs=1e-2)


@pytest.mark.parametrize("spread, prompt_spread", [(1.0, 0.0), (0.5, 2.0)])
def test_gaps_across_prompts_are_larger(spread, prompt_spread):
    generator = torch.Generator().manual_seed(1)
    rewards = (spread * torch.randn(2, 200_000, generator=generator)
               + prompt_spread * torch.randn(2, 200_000, generator=generator))
    gap = (rewards[0] - rewards[1]).abs().mean().item()
    assert gap == pytest.approx(expected_gap(spread, prompt_spread), rel=0.01)
    assert expected_gap(spread, prompt_spread) >= expected_gap(spread)
    assert expected_gap(spread) == pytest.approx(2 * spread / math.sqrt(math.pi))


def test_four_hundred_points_are_odds_of_ten_to_one():
    rewards = torch.tensor([math.log(10), 0.0]).double()
    ratings = to_elo(rewards, 1500.0)
    assert (ratings[0] - ratings[1]).item() == pytest.approx(400)
    assert ratings.mean().item() == pytest.approx(1500)


def test_the_union_bound_holds_and_order_needs_no_threshold():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(2, 4000, generator=generator)
    wins = (truth[0] > truth[1]).float()
    for noise in (0.1, 1.0, 3.0):
        noisy = truth + noise * torch.randn(2, 4000, generator=generator)
        found = order_consistency(*noisy, wins)
        assert found.order_error <= found.bound
        shifted = order_consistency(*(noisy + 100), wins)
        assert shifted.order_error == pytest.approx(found.order_error, abs=1e-3)
        assert shifted.bound == pytest.approx(1.0)  # the bound forgets what the order knows
    assert order_consistency(*truth, wins).order_error == 0
    assert order_consistency(*-truth, wins).order_error == 1
    constant = torch.zeros(4000)
    assert order_consistency(constant, constant, wins).order_error == 1


@pytest.mark.parametrize("call, message", [
    (lambda: annotation_quality(-1.0), "variance is -1"),
    (lambda: annotation_quality(float("nan")), "variance is nan"),
    (lambda: expected_gap(-1.0), "standard deviations"),
    (lambda: measured_quality(torch.ones(2), torch.ones(2), 0.0), "temperature"),
    (lambda: order_consistency(torch.ones(2), torch.ones(2), torch.tensor([1.0, -1.0])),
     "expected 1 where the first answer won"),
])
def test_bad_input_is_refused_with_a_reason(call, message):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=message):
        call()
