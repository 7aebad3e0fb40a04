"""Baselines and token-level GAE, against definitions and against GAE of control tasks."""

import math

import pytest
import torch

from tests.lm.conftest import as_a_learner
from tutorlib.control.estimators import gae
from tutorlib.errors import InvalidArgumentError
from tutorlib.posttraining import (
    MovingAverage,
    explained_variance,
    normalise_masked,
    rloo_advantages,
    sequence_advantages,
    token_gae,
)

REWARDS = torch.tensor([[1.0, 0.0, 0.5], [3.0, 2.0, 7.0]])
GEN = torch.Generator().manual_seed(0)
TOKEN_REWARDS, VALUES = torch.randn(3, 5, generator=GEN), torch.randn(3, 5, generator=GEN)
MASK = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])


def test_rloo_is_the_mean_of_the_others():
    found = rloo_advantages(REWARDS)
    for row in range(2):
        for i in range(3):
            others = [REWARDS[row, j].item() for j in range(3) if j != i]
            assert found[row, i].item() == pytest.approx(REWARDS[row, i].item() - sum(others) / 2)
    torch.testing.assert_close(found, 3 / 2 * (REWARDS - REWARDS.mean(1, keepdim=True)))
    assert torch.equal(rloo_advantages(torch.ones(2, 4)), torch.zeros(2, 4))


def test_every_baseline_by_hand():
    greedy = torch.tensor([0.5, 4.0])
    wanted = {"none": REWARDS, "batch_mean": REWARDS - 2.25, "moving_average": REWARDS - 0.7,
              "greedy": REWARDS - torch.tensor([[0.5], [4.0]]),
              "leave_one_out": rloo_advantages(REWARDS)}
    for name, advantages in wanted.items():
        torch.testing.assert_close(sequence_advantages(REWARDS, name, 0.7, greedy), advantages)


def test_a_moving_average_of_constants_is_that_constant():
    past = MovingAverage()
    assert past.value == 0
    for _ in range(3):
        past.update(5.0)
        assert past.value == pytest.approx(5.0)


@pytest.mark.parametrize("discount, gae_lambda", [(1.0, 0.95), (0.9, 0.8), (1.0, 0.0), (0.9, 1.0)])
@pytest.mark.parametrize("last", [None, torch.tensor([0.3, -0.2, 1.0])])
def test_gae_of_each_answer_alone_is_that_of_control_tasks(discount, gae_lambda, last):
    found = token_gae(TOKEN_REWARDS, VALUES, MASK, discount, gae_lambda, last)
    for row, n in enumerate([3, 5, 1]):
        end = torch.zeros(1) if last is None else last[row:row + 1]
        alone = gae(TOKEN_REWARDS[row, :n], torch.cat([VALUES[row, :n], end]), discount, gae_lambda)
        torch.testing.assert_close(found[row, :n], alone)
        assert not found[row, n:].any()


def test_with_lambda_one_advantages_are_rewards_to_go_less_the_value():
    found = token_gae(TOKEN_REWARDS, VALUES, MASK, gae_lambda=1.0)
    to_go = (TOKEN_REWARDS * MASK).flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(found, (to_go - VALUES) * MASK)


def test_garbage_at_masked_places_changes_nothing():
    dirty = [torch.where(MASK != 0, x, torch.nan) for x in (TOKEN_REWARDS, VALUES)]
    assert torch.equal(token_gae(*dirty, MASK), token_gae(TOKEN_REWARDS, VALUES, MASK))
    assert torch.equal(normalise_masked(dirty[0], MASK), normalise_masked(TOKEN_REWARDS, MASK))
    assert explained_variance(*dirty, MASK) == explained_variance(TOKEN_REWARDS, VALUES, MASK)


def test_normalising_counts_only_what_counts():
    found = normalise_masked(TOKEN_REWARDS, MASK, "population")
    chosen = found[MASK == 1]
    assert chosen.mean().item() == pytest.approx(0, abs=1e-6)
    assert chosen.square().mean().item() == pytest.approx(1, abs=1e-5)
    ratio = normalise_masked(TOKEN_REWARDS, MASK, "sample")[0, 0] / found[0, 0]
    assert ratio.item() == pytest.approx(math.sqrt(8 / 9), abs=1e-5)  # 9 tokens


def test_explained_variance_knows_perfect_constant_and_wrong():
    assert explained_variance(VALUES, VALUES, MASK) == 1
    constant = torch.full_like(VALUES, 7.0)
    assert explained_variance(constant, VALUES, MASK) == pytest.approx(0, abs=1e-6)
    assert explained_variance(-VALUES, VALUES, MASK) == pytest.approx(-3, abs=1e-5)
    assert math.isnan(explained_variance(VALUES, torch.ones_like(VALUES), MASK))


@pytest.mark.parametrize("call, message", [
    (lambda: rloo_advantages(torch.ones(3, 1)), "2 answers or more"),
    (lambda: rloo_advantages(torch.ones(3)), "2 answers or more"),
    (lambda: sequence_advantages(REWARDS, "mean"), "baseline is 'mean'"),
    (lambda: sequence_advantages(REWARDS, "greedy"), "needs greedy_rewards"),
    (lambda: MovingAverage(1.0), "decay is 1.0"),
    (lambda: token_gae(TOKEN_REWARDS, VALUES[:, :4], MASK), "one of each per token"),
    (lambda: token_gae(TOKEN_REWARDS, VALUES, MASK, 1.1), "discount is 1.1"),
    (lambda: normalise_masked(VALUES, torch.zeros_like(MASK)), "0 values count"),
    (lambda: normalise_masked(VALUES, MASK, "none"), "std is 'none'"),
])
def test_mistakes_are_named(call, message):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=message):
        call()
