"""Estimators of the KL, what their gradients are, and the two places where it is paid."""

import math

import pytest
import torch

from tests.lm.conftest import as_a_learner
from tutorlib.errors import InvalidArgumentError
from tutorlib.posttraining import adaptive_beta, kl_estimate, token_rewards

LOGITS = torch.tensor([0.3, -1.0, 0.7, 0.1], dtype=torch.float64)
REF = torch.tensor([-0.5, 0.4, 0.2, 0.0], dtype=torch.float64).log_softmax(-1)
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


def kl(p, q):
    return (p.exp() * (p - q)).sum()


def slope(value, logits):
    return torch.autograd.grad(value, logits)[0]


@pytest.fixture
def logits():
    return LOGITS.clone().requires_grad_()


def test_k1_and_k3_are_unbiased_and_k2_and_k3_never_negative():
    logps = LOGITS.log_softmax(-1)
    means = {k: (logps.exp() * kl_estimate(logps, REF, None, k)).sum() for k in ("k1", "k2", "k3")}
    assert means["k1"].item() == pytest.approx(kl(logps, REF).item(), rel=1e-12)
    assert means["k3"].item() == pytest.approx(kl(logps, REF).item(), rel=1e-12)
    assert abs(means["k2"].item() - kl(logps, REF).item()) > 0.01
    assert bool((kl_estimate(logps, REF, None, "k1") < 0).any())
    assert all(bool((kl_estimate(logps, REF, None, k) >= 0).all()) for k in ("k2", "k3"))


def test_the_values_by_hand():
    d = math.log(0.5 / 0.125)
    args = torch.tensor([0.5]).double().log(), torch.tensor([0.125]).double().log()
    for name, wanted in {"k1": d, "k2": d * d / 2, "k3": 0.25 - 1 + d}.items():
        assert kl_estimate(*args, None, name).item() == pytest.approx(wanted)


def test_k3_does_not_cancel_where_the_models_agree():
    gap = torch.tensor([1e-4], dtype=torch.float32)
    found = kl_estimate(gap, torch.zeros(1), None, "k3").item()
    assert found == pytest.approx(5e-9, rel=0.01)
    naive = (torch.exp(-gap) - 1 + gap).item()
    assert abs(naive - 5e-9) > 1e-9, "or the test would show nothing"


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_in_the_reward_only_k1_has_the_gradient_of_the_kl(logits, name):
    logps = logits.log_softmax(-1)
    paid = kl_estimate(logps, REF, None, name).detach()
    found = slope((logps.exp().detach() * paid * logps).sum(), logits)
    right = slope(kl(logits.log_softmax(-1), REF), logits)
    assert torch.allclose(found, right) == (name == "k1")


def test_in_the_loss_each_estimator_has_another_gradient(logits):
    """k1: none. k2: of KL(pi || ref). k3: of KL(ref || pi)."""
    wanted = {"k1": torch.zeros(4).double(), "k2": slope(kl(logits.log_softmax(-1), REF), logits),
              "k3": slope(kl(REF, logits.log_softmax(-1)), logits)}
    for name, right in wanted.items():
        logps = logits.log_softmax(-1)
        weighted = (logps.exp().detach() * kl_estimate(logps, REF, None, name)).sum()
        torch.testing.assert_close(slope(weighted, logits), right)
    assert not torch.allclose(wanted["k2"], wanted["k3"])


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_garbage_at_masked_places_changes_nothing_not_even_gradients(name):
    clean = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    dirty = clean.clone()
    dirty[0, 2] = torch.nan
    ref, found = torch.zeros(2, 3), []
    for values in (clean, dirty):
        values.requires_grad_()
        estimate = kl_estimate(values, ref, MASK, name)
        estimate.sum().backward()
        found.append((estimate.detach(), values.grad))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    paid = [token_rewards(torch.tensor([1.0, 2.0]), v.detach(), MASK, 0.1) for v in (clean, dirty)]
    assert torch.equal(*paid)


def test_token_rewards_add_up_to_the_regularised_reward():
    per_token = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    rewards = torch.tensor([1.0, -2.0])
    paid = token_rewards(rewards, per_token, MASK, 0.3)
    torch.testing.assert_close(paid.sum(1), rewards - 0.3 * (per_token * MASK).sum(1))
    assert paid[0, 1].item() == pytest.approx(1 - 0.3 * per_token[0, 1].item()), "last, not third"


def test_the_controller_finds_its_target():
    """A KL that falls as beta rises settles at the target, and a step never exceeds 2 %."""
    beta, steps = 0.01, []
    for _ in range(600):
        steps.append(adaptive_beta(beta, 1 / beta, kl_target=5.0) / beta)
        beta *= steps[-1]
    assert 1 / beta == pytest.approx(5.0, rel=0.01)
    assert max(steps) == pytest.approx(1.02) and min(steps) >= 0.98


@pytest.mark.parametrize("call, message", [
    (lambda: kl_estimate(LOGITS, REF[:3]), "the same tokens under two models"),
    (lambda: kl_estimate(LOGITS, REF, None, "k4"), "kl_estimator is 'k4'"),
    (lambda: token_rewards(torch.ones(1), torch.ones(1, 2), torch.zeros(1, 2), 0.1), "no tokens"),
    (lambda: adaptive_beta(0.0, 1.0, 1.0), "beta is 0.0"),
])
def test_mistakes_are_named(call, message):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=message):
        call()
