"""Reward models on vectors: logistic regression by scipy, bootstrap, members, early stopping."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from tests.lm.conftest import as_a_learner
from tutorlib.errors import InvalidArgumentError
from tutorlib.rewards import (
    EmbeddedPairs,
    EmbeddingReward,
    EmbeddingSettings,
    combine,
    fit_linear_reward,
    train_embedding_reward,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def labelled(pairs=400, inputs=6, seed=0, noise=True):
    """Pairs of random vectors, labelled by a linear reward with Bradley-Terry noise."""
    generator = seeded(seed)
    first, second = torch.randn(2, pairs, inputs, generator=generator)
    truth = torch.arange(1.0, inputs + 1) - inputs / 2
    gaps = (first - second) @ truth
    chance = torch.sigmoid(gaps) if noise else (gaps > 0).float()
    win = (torch.rand(pairs, generator=generator) < chance)[:, None]
    return truth, EmbeddedPairs(torch.where(win, first, second), torch.where(win, second, first))


@pytest.mark.parametrize("l2", [0.1, 3.0])
def test_the_linear_fit_is_scipy_s_logistic_regression(l2):
    _, pairs = labelled(80)
    labels = torch.linspace(0.3, 1, 80, dtype=torch.double)
    x, y = (pairs.chosen - pairs.rejected).double().numpy(), labels.numpy()

    def loss(w):
        z = x @ w
        return (np.logaddexp(0, -z) * y + np.logaddexp(0, z) * (1 - y)).sum() + l2 / 2 * w @ w

    theirs = minimize(loss, np.zeros(6), tol=1e-12).x
    ours = fit_linear_reward(pairs.chosen, pairs.rejected, labels, l2)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


def test_one_hot_players_give_the_classical_worths():
    """Zermelo's fixed point (1929): each player's wins are those expected of its worth."""
    wins = torch.tensor([[0, 7, 6], [3, 0, 8], [2, 4, 0]])
    a, b = torch.cat([torch.tensor([[i, j]]).repeat(int(wins[i, j]), 1)
                      for i in range(3) for j in range(3)]).T
    worth = fit_linear_reward(torch.eye(3)[a], torch.eye(3)[b], l2=1e-9).exp()
    games = (wins + wins.T).double()
    expected = (games * worth[:, None] / (worth[:, None] + worth)).sum(1)
    torch.testing.assert_close(expected, wins.sum(1).double(), atol=1e-5, rtol=1e-6)


def test_a_linear_member_finds_the_direction_that_made_the_labels():
    truth, pairs = labelled(800)
    model = EmbeddingReward(6, hidden=())
    train_embedding_reward(model, pairs, EmbeddingSettings(epochs=12, learning_rate=0.05), seeded())
    found = (model.weights[0][0, :, 0] / model.spread).detach()
    assert float(torch.cosine_similarity(found, truth, dim=0)) > 0.97


@pytest.mark.parametrize("objective", ["bradley_terry", "thurstone", "classification"])
def test_every_objective_orders_pairs_it_has_not_seen(objective):
    _, pairs = labelled(600)
    _, fresh = labelled(300, seed=5, noise=False)
    model = EmbeddingReward(6, hidden=(16,), members=2)
    history = train_embedding_reward(
        model, pairs, EmbeddingSettings(objective, 0.01, epochs=10), seeded(), fresh)
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["held_out_accuracy"] > 0.88
    right = (model.score(fresh.chosen) > model.score(fresh.rejected)).double().mean().item()
    assert right == pytest.approx(history[-1]["held_out_accuracy"], abs=1e-9)


def test_members_are_independent_of_each_other():
    """Two members at once learn what each learns alone (without bootstrap, from equal weights)."""
    _, pairs = labelled(60)
    settings = EmbeddingSettings(epochs=2, batch_size=20, bootstrap=False)
    both = EmbeddingReward(6, hidden=(4,), members=2, seed=3)
    alone = EmbeddingReward(6, hidden=(4,), members=1)
    with torch.no_grad():
        for target, source in zip(alone.parameters(), both.parameters(), strict=True):
            target.copy_(source[1:])
    for model in (both, alone):
        train_embedding_reward(model, pairs, settings, seeded())
    torch.testing.assert_close(both(pairs.chosen)[1], alone(pairs.chosen)[0], atol=1e-5, rtol=1e-4)
    spread = both(pairs.chosen).detach().std(0)
    assert float(spread.mean()) > 1e-2


def test_bootstrap_members_differ_though_they_start_alike():
    _, pairs = labelled(60)
    model = EmbeddingReward(6, hidden=(), members=3)
    with torch.no_grad():
        model.weights[0].copy_(model.weights[0][:1].clone().expand(3, -1, -1))
    train_embedding_reward(model, pairs, EmbeddingSettings(epochs=3), seeded())
    assert float(model(pairs.chosen).detach().std(0).mean()) > 1e-3


def test_constants_and_scales_of_inputs_do_not_matter():
    _, pairs = labelled(60)
    moved = EmbeddedPairs(pairs.chosen * 7 + 3, pairs.rejected * 7 + 3)
    scores = []
    for data in (pairs, moved):
        model = EmbeddingReward(6, hidden=(4,))
        train_embedding_reward(model, data, EmbeddingSettings(epochs=1), seeded())
        scores.append(model.score(data.chosen))
    torch.testing.assert_close(*scores, atol=5e-3, rtol=1e-2)
    with_constant = torch.cat([pairs.chosen, torch.ones(60, 1)], 1)
    model = EmbeddingReward(7)
    model.standardise(with_constant)
    assert bool(torch.isfinite(model.score(with_constant)).all())


def test_early_stopping_puts_the_best_weights_back():
    _, pairs = labelled(60)
    contrary = EmbeddedPairs(pairs.rejected, pairs.chosen)
    model = EmbeddingReward(6)
    history = train_embedding_reward(model, pairs, EmbeddingSettings(epochs=30, patience=2),
                                     seeded(), contrary)
    losses = [r["held_out_loss"] for r in history]
    assert len(history) == losses.index(min(losses)) + 3 < 30
    zero = model.score(contrary.chosen) - model.score(contrary.rejected)
    assert torch.nn.functional.softplus(-zero).mean().item() == pytest.approx(min(losses), abs=1e-5)


def test_labels_are_flipped_as_often_as_asked():
    _, pairs = labelled(4000)
    flipped = pairs.flipped(0.3, seeded())
    turned = (flipped.chosen != pairs.chosen).any(1)
    assert turned.double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(flipped.chosen[turned], pairs.rejected[turned])
    assert torch.equal(flipped.chosen + flipped.rejected, pairs.chosen + pairs.rejected)


def test_worst_and_uncertain_rewards_are_below_the_mean():
    votes = torch.randn(5, 7, generator=seeded())
    mean = combine(votes)
    assert bool((combine(votes, "worst") <= mean).all())
    torch.testing.assert_close(combine(votes, "uncertainty", 0.5),
                               mean - 0.5 * ((votes - mean) ** 2).mean(0))


@pytest.mark.parametrize("call, message", [
    (lambda: EmbeddedPairs(torch.ones(2, 3), torch.ones(2, 4)), "form no pairs"),
    (lambda: EmbeddedPairs(torch.ones(0, 3), torch.ones(0, 3)), "form no pairs"),
    (lambda: EmbeddedPairs(torch.ones(2, 3) * torch.nan, torch.ones(2, 3)), "not finite"),
    (lambda: labelled(4)[1].flipped(2.0, seeded()), "share is 2"),
    (lambda: EmbeddingSettings("hinge"), "'hinge'"),
    (lambda: EmbeddingSettings(epochs=0), "epochs is 0"),
    (lambda: EmbeddingReward(0), "inputs is 0"),
    (lambda: EmbeddingReward(6)(torch.ones(2, 5)), "made for 6"),
    (lambda: train_embedding_reward(EmbeddingReward(6), labelled(4)[1],
                                    EmbeddingSettings(patience=1), seeded()), "held_out"),
    (lambda: fit_linear_reward(torch.ones(1, 2), torch.zeros(1, 2), l2=0.0), "l2 is 0"),
    (lambda: fit_linear_reward(torch.ones(1, 2), torch.zeros(1, 2), torch.tensor([2.0])),
     "shares from 0 to 1"),
    (lambda: combine(torch.ones(2, 2), "median"), "'median'"),
])
def test_bad_input_is_refused_with_a_reason(call, message):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=message):
        call()
