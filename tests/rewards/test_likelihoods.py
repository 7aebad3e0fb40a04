"""Likelihoods of judgements against enumeration, simulation, scipy and finite differences."""

import itertools
import math

import pytest
import torch
from scipy.stats import norm

from tests.lm.conftest import as_a_learner
from tutorlib.errors import InvalidArgumentError
from tutorlib.rewards import (
    bradley_terry_loss,
    bradley_terry_probability,
    centering_penalty,
    classification_loss,
    plackett_luce_loss,
    sample_rankings,
    thurstone_loss,
    thurstone_probability,
    tie_logps,
    tie_loss,
)


def numbers(*shape, seed=0, scale=2.0):
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return scale * drawn


@pytest.fixture
def pairs():
    return numbers(7), numbers(7, seed=1)


def test_the_two_models_of_a_gap_of_one():
    one, zero = torch.tensor([1.0]), torch.tensor([0.0])
    assert bradley_terry_probability(one, zero).item() == pytest.approx(0.7311, abs=5e-5)
    assert thurstone_probability(one, zero).item() == pytest.approx(0.8413, abs=5e-5)
    assert bradley_terry_probability(one, zero, 2.0).item() == pytest.approx(1 / (1 + math.e**-.5))


def test_bradley_terry_is_the_share_of_exponentials(pairs):
    first, second = pairs
    share = first.exp() / (first.exp() + second.exp())
    torch.testing.assert_close(bradley_terry_probability(first, second), share)
    torch.testing.assert_close(bradley_terry_loss(first, second), -share.log())


def test_the_loss_has_its_minus_sign_and_descends_towards_the_better_answer(pairs):
    chosen = pairs[0].clone().requires_grad_()
    loss = bradley_terry_loss(chosen, pairs[1])
    assert bool((loss > 0).all())  # without the minus sign all would be below 0
    loss.sum().backward()
    assert bool((chosen.grad < 0).all())  # a step down raises the chosen answer's reward


@pytest.mark.parametrize("loss", [
    bradley_terry_loss, thurstone_loss, classification_loss, centering_penalty,
    lambda a, b: bradley_terry_loss(a, b, 0.7, torch.full_like(a, 0.8)),
    lambda a, b: plackett_luce_loss(torch.stack([a, b, a * b], -1), 2),
    lambda a, b: tie_loss(a, b, torch.arange(7) % 3, 0.6),
    lambda a, b: tie_loss(a, b, torch.arange(7) % 3, 0.6, "davidson"),
])
def test_gradients_are_those_of_finite_differences(pairs, loss):
    inputs = [p.clone().requires_grad_() for p in pairs]
    assert torch.autograd.gradcheck(loss, inputs)


def test_only_the_gap_counts_except_for_the_classifier(pairs):
    first, second = pairs
    for loss in (bradley_terry_loss, thurstone_loss):
        torch.testing.assert_close(loss(first + 3, second + 3), loss(first, second))
    moved = classification_loss(first + 3, second + 3)
    assert float((moved - classification_loss(first, second)).abs().min()) > 1e-3


def test_labels_and_margins_are_a_cross_entropy(pairs):
    first, second = pairs
    labels = torch.linspace(0, 1, 7, dtype=torch.double)
    p = torch.sigmoid(first - second - 0.5)
    wanted = -labels * p.log() - (1 - labels) * (1 - p).log()
    torch.testing.assert_close(bradley_terry_loss(first, second, 0.5, labels), wanted)
    swapped = bradley_terry_loss(second, first, labels=1 - labels)
    torch.testing.assert_close(swapped, bradley_terry_loss(first, second, labels=labels))


def test_far_gaps_stay_finite():
    far, near = torch.tensor([-1e4]), torch.tensor([1e4])
    assert bradley_terry_loss(far, near).item() == pytest.approx(2e4)
    assert bradley_terry_loss(far, near, labels=torch.tensor([0.0])).item() == 0
    assert thurstone_loss(torch.tensor([-30.0]), torch.tensor([0.0])).item() == pytest.approx(
        -norm.logcdf(-30), rel=1e-5)


def test_thurstone_is_scipy_s_normal(pairs):
    first, second = pairs
    wanted = torch.tensor(norm.cdf((first - second).numpy(), scale=1.7))
    torch.testing.assert_close(thurstone_probability(first, second, 1.7), wanted)
    torch.testing.assert_close(thurstone_loss(first, second, 1.7), -wanted.log())


def test_the_classifier_is_torch_s_binary_cross_entropy(pairs):
    logits, labels = torch.cat(pairs), torch.tensor([1.0] * 7 + [0.0] * 7).double()
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(classification_loss(*pairs).mean() / 2, wanted)


def ranking_probability(rewards, order):
    """By drawing one after the other from those left."""
    left, chance = list(range(len(rewards))), 1.0
    for item in order:
        chance *= math.exp(rewards[item]) / sum(math.exp(rewards[j]) for j in left)
        left.remove(item)
    return chance


def test_rankings_have_the_probabilities_of_drawing_one_after_the_other():
    rewards = numbers(4)
    total = 0.0
    for order in itertools.permutations(range(4)):
        found = torch.exp(-plackett_luce_loss(rewards[list(order)])).item()
        assert found == pytest.approx(ranking_probability(rewards.tolist(), order))
        total += found
    assert total == pytest.approx(1.0)


@pytest.mark.parametrize("places", [1, 2, 3])
def test_a_partial_ranking_is_the_sum_over_its_completions(places):
    rewards = numbers(4)
    top = list(range(places))
    wanted = sum(ranking_probability(rewards.tolist(), [*top, *rest])
                 for rest in itertools.permutations(range(places, 4)))
    assert torch.exp(-plackett_luce_loss(rewards, places)).item() == pytest.approx(wanted)


def test_two_answers_are_bradley_terry(pairs):
    torch.testing.assert_close(plackett_luce_loss(torch.stack(pairs, -1)),
                               bradley_terry_loss(*pairs))


def test_absent_answers_change_nothing_whatever_stands_there():
    rewards, mask = numbers(2, 5), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    for rubbish in (0.0, 1e30, float("nan"), float("inf")):
        filled = rewards.masked_fill(~mask, rubbish).requires_grad_()
        loss = plackett_luce_loss(filled, mask=mask)
        assert loss[1].item() == pytest.approx(plackett_luce_loss(rewards[1, :3]).item())
        loss.sum().backward()
        assert bool(torch.isfinite(filled.grad).all()) and filled.grad[1, 3:].tolist() == [0, 0]


def test_gumbel_noise_draws_rankings_of_plackett_luce():
    rewards, draws = torch.tensor([1.0, 0.0, -0.7]), 20_000
    found = sample_rankings(rewards.expand(draws, 3), torch.Generator().manual_seed(0))
    for order in itertools.permutations(range(3)):
        share = (found == torch.tensor(order)).all(1).double().mean().item()
        p = ranking_probability(rewards.tolist(), order)
        assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / draws)
    wanted = plackett_luce_loss(rewards.expand(draws, 3).gather(1, found)).mean().item()
    entropy = -sum(p * math.log(p) for p in (ranking_probability(rewards.tolist(), o)
                                             for o in itertools.permutations(range(3))))
    assert wanted == pytest.approx(entropy, abs=0.03)


@pytest.mark.parametrize("model", ["rao_kupper", "davidson"])
def test_win_tie_and_loss_sum_to_one_and_mirror(pairs, model):
    logps = tie_logps(*pairs, 0.8, model)
    torch.testing.assert_close(logps.exp().sum(-1), torch.ones(7).double())
    torch.testing.assert_close(tie_logps(*pairs[::-1], 0.8, model), logps.flip(-1))


def test_ties_follow_the_published_fractions():
    a, b, theta, nu = 3.0, 2.0, 1.5, 0.7  # worths; Rao and Kupper's and Davidson's parameters
    first, second = torch.tensor([a]).log().double(), torch.tensor([b]).log().double()
    found = tie_logps(first, second, math.log(theta)).exp()[0].tolist()
    both = (a + theta * b) * (theta * a + b)
    assert found == pytest.approx([a / (a + theta * b), (theta**2 - 1) * a * b / both,
                                   b / (theta * a + b)], rel=1e-6)
    whole = a + b + nu * math.sqrt(a * b)
    assert tie_logps(first, second, nu, "davidson").exp()[0].tolist() == pytest.approx(
        [a / whole, nu * math.sqrt(a * b) / whole, b / whole], rel=1e-6)


def test_without_ties_both_become_bradley_terry(pairs):
    wins = bradley_terry_loss(*pairs)
    torch.testing.assert_close(-tie_logps(*pairs, 0.0)[:, 0], wins)
    torch.testing.assert_close(-tie_logps(*pairs, 1e-12, "davidson")[:, 0], wins)


ONE = torch.ones(2)


@pytest.mark.parametrize("call, message", [
    (lambda: bradley_terry_loss(ONE, torch.ones(2, 1)), "squeeze a last dimension"),
    (lambda: bradley_terry_loss(ONE, torch.ones(3)), "on each side"),
    (lambda: bradley_terry_loss(ONE * torch.nan, ONE), "not finite"),
    (lambda: bradley_terry_loss(ONE[:0], ONE[:0]), "no pairs"),
    (lambda: bradley_terry_loss(ONE, ONE, labels=torch.tensor([1.0, -1.0])), "shares from 0 to 1"),
    (lambda: bradley_terry_loss(ONE, ONE, labels=torch.ones(3)), "labels has shape"),
    (lambda: bradley_terry_loss(ONE, ONE, margin=torch.ones(3)), "margin has shape"),
    (lambda: bradley_terry_loss(ONE, ONE, margin=float("nan")), "margin is not finite"),
    (lambda: bradley_terry_probability(ONE, ONE, 0.0), "temperature is 0"),
    (lambda: thurstone_loss(ONE, ONE, -1.0), "spread is -1"),
    (lambda: plackett_luce_loss(torch.ones(1)), "at least two answers"),
    (lambda: plackett_luce_loss(ONE, 3), "places is 3"),
    (lambda: plackett_luce_loss(ONE, 0), "places is 0"),
    (lambda: plackett_luce_loss(ONE, mask=torch.tensor([True, False])), "at least two answers"),
    (lambda: plackett_luce_loss(ONE * torch.nan), "not finite"),
    (lambda: tie_logps(ONE, ONE, -0.1), "threshold of 0 or more"),
    (lambda: tie_logps(ONE, ONE, 0.0, "davidson"), "tie is 0.0"),
    (lambda: tie_logps(ONE, ONE, 1.0, "rao"), "model is 'rao'"),
    (lambda: tie_loss(ONE, ONE, torch.tensor([0, 3]), 1.0), "0 first, 1 a tie, 2 second"),
    (lambda: tie_loss(ONE, ONE, torch.tensor([0, 1]), 0.0), "makes them impossible"),
])
def test_bad_input_is_refused_with_a_reason(call, message):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=message):
        call()
