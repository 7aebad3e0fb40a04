"""Reward models: what is paid where, gradients through the gap, seeds, bad features."""

from __future__ import annotations

import pytest
import torch

from tests.irl.worlds import random_mdp, random_policy
from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import (
    LinearReward,
    NeuralReward,
    TabularReward,
    causal_loss,
    forward_pass,
    pay,
)

close = torch.testing.assert_close
PAID = ["action", "departure", "arrival"]


def features_for(mdp, paid, seed=0):
    gen = torch.Generator().manual_seed(seed)
    axes = (mdp.n_states, mdp.n_actions) if paid == "action" else (mdp.n_states,)
    return torch.randn(*axes, 3, dtype=torch.float64, generator=gen)


def models(mdp, paid):
    features = features_for(mdp, paid)
    return [TabularReward(mdp, paid), LinearReward(features, paid),
            NeuralReward(features, (5,), paid)]


def test_state_rewards_are_paid_where_it_is_said():
    mdp = random_mdp(1, terminals=1)
    table = torch.arange(1.0, 5.0, dtype=torch.float64)
    departure, arrival = pay(mdp, table, "departure"), pay(mdp, table, "arrival")
    for s in range(3):
        for a in range(2):
            assert departure[s, a] == table[s]
            close(arrival[s, a], (mdp.transition_matrix[s, a] * table).sum())
    assert (departure[3] == 0).all() and (arrival[3] == 0).all()
    with pytest.raises(InvalidArgumentError, match="'landing'; expected one of action"):
        pay(mdp, table, "landing")


@pytest.mark.parametrize("horizon", [3, None])
@pytest.mark.parametrize("paid", PAID)
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_parameter_gradients_against_finite_differences(kind, paid, horizon):
    mdp = random_mdp(1, terminals=1, horizon=horizon)
    expert = forward_pass(mdp, random_policy(mdp, 1, horizon))
    model = models(mdp, paid)[kind]
    gen = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():  # away from zero, where tanh is all but linear
            parameter += 0.5 * torch.randn(parameter.shape, dtype=torch.float64, generator=gen)
    loss = causal_loss(mdp, model(mdp), expert, 0.7)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        flat = parameter.data.view(-1)
        for i in range(flat.numel()):
            ends = []
            for step in (1e-5, -1e-5):
                flat[i] += step
                ends.append(float(causal_loss(mdp, model(mdp).detach(), expert, 0.7)))
                flat[i] -= step
            numeric = (ends[0] - ends[1]) / 2e-5
            assert float(gradient.view(-1)[i]) == pytest.approx(numeric, abs=1e-6)


def test_gradient_of_a_linear_reward_is_the_feature_gap():
    mdp = random_mdp(0)
    features = features_for(mdp, "action")
    expert = forward_pass(mdp, random_policy(mdp, 0, 3))
    model = LinearReward(features)
    causal_loss(mdp, model(mdp), expert).backward()
    here = forward_pass(mdp, torch.full((3, 4, 2), 0.5, dtype=torch.float64))  # r = 0: uniform
    close(model.weights.grad, torch.einsum("sa,sak->k", here - expert, features))


def test_a_batch_of_linear_rewards():
    mdp = random_mdp(0)
    model = LinearReward(features_for(mdp, "departure"), "departure", batch=(5,))
    with torch.no_grad():
        model.weights.copy_(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    reward = model(mdp)
    assert reward.shape == (5, 4, 2)
    close(reward[2, :, 0], model.features @ model.weights[2])


def test_a_seed_fixes_the_network_and_touches_no_global_state():
    features = torch.eye(4)
    before = torch.get_rng_state()
    one, two, other = (NeuralReward(features, (8,), "departure", seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.net[0].weight, two.net[0].weight)
    assert not torch.equal(one.net[0].weight, other.net[0].weight)
    reward = one(random_mdp(0))
    assert reward.dtype == torch.float64 and float(reward.detach().abs().max()) < 0.1


def test_rewards_on_arrival_follow_the_dynamics():
    one, two = random_mdp(0), random_mdp(5)
    model = TabularReward(one, "arrival")
    with torch.no_grad():
        model.table += torch.arange(4.0)
    close(model(two), two.transition_matrix @ torch.arange(4.0, dtype=torch.float64))


@pytest.mark.parametrize("make", [LinearReward, NeuralReward])
@pytest.mark.parametrize("features, paid, words", [
    (torch.tensor([[1.0], [torch.nan]]), "departure", "features[1, 0] is nan"),
    (torch.tensor([[1.0], [torch.inf]]), "arrival", "features[1, 0] is inf"),
    (torch.ones(4, 3), "action", "expected floats of shape (states, actions, features)"),
    (torch.ones(4, 2, 3), "departure", "expected floats of shape (states, features)"),
    (torch.ones(4, 3).long(), "departure", "torch.int64"),
    (torch.ones(4, 3), "elsewhere", "one of action, departure, arrival"),
])
def test_bad_features_are_refused_in_words(make, features, paid, words):
    with pytest.raises(InvalidArgumentError) as caught:
        make(features, paid=paid)
    assert words in str(caught.value)
