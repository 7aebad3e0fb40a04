"""The losses against closed forms and against what they are derived from."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from tests.lm.conftest import as_a_learner
from tutorlib.errors import InvalidArgumentError
from tutorlib.posttraining import (
    dpo_loss,
    hinge_loss,
    implicit_reward,
    ipo_loss,
    kto_loss,
    log_ratio_gap,
    odds_ratio_loss,
    orpo_loss,
    simpo_loss,
)

CHOSEN = torch.tensor([-3.0, -1.5, -9.0]).double()
REJECTED = torch.tensor([-2.0, -6.0, -8.5]).double()
REF = torch.tensor([-4.0, -2.0, -5.0]).double(), torch.tensor([-3.5, -5.0, -7.0]).double()
LENGTHS = torch.tensor([2, 1, 4]), torch.tensor([3, 5, 2])
H = torch.tensor([-0.5, 1.5, -2.5]).double()  # (-3+4)-(-2+3.5), (-1.5+2)-(-6+5), (-9+5)-(-8.5+7)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_h_and_the_losses_of_h_by_hand():
    assert torch.equal(log_ratio_gap(CHOSEN, REJECTED, *REF), H)
    beta = 0.3
    wanted = {
        dpo_loss: [-math.log(sigmoid(beta * h)) for h in H.tolist()],
        hinge_loss: [max(0, 1 - beta * h) for h in H.tolist()],
        ipo_loss: [(h - 1 / (2 * beta)) ** 2 for h in H.tolist()],
    }
    for loss, values in wanted.items():
        assert loss(CHOSEN, REJECTED, *REF, beta).tolist() == pytest.approx(values, rel=1e-12)


def test_smoothing_by_hand():
    h, e = 0.3 * H, 0.2
    kept, flipped = torch.log1p(torch.exp(-h)), torch.log1p(torch.exp(h))
    torch.testing.assert_close(dpo_loss(CHOSEN, REJECTED, *REF, 0.3, e),
                               (1 - e) * kept + e * flipped)
    torch.testing.assert_close(dpo_loss(CHOSEN, REJECTED, *REF, 0.3, e, "robust"),
                               ((1 - e) * kept - e * flipped) / (1 - 2 * e))


def test_the_robust_loss_is_right_on_average_over_flipped_labels():
    e = 0.3
    right = dpo_loss(CHOSEN, REJECTED, *REF, 0.3, e, "robust")
    wrong = dpo_loss(REJECTED, CHOSEN, *reversed(REF), 0.3, e, "robust")
    torch.testing.assert_close((1 - e) * right + e * wrong, dpo_loss(CHOSEN, REJECTED, *REF, 0.3))
    conservative = dpo_loss(CHOSEN, REJECTED, *REF, 0.3, e)
    assert not torch.allclose((1 - e) * conservative + e * wrong,
                              dpo_loss(CHOSEN, REJECTED, *REF, 0.3))


@pytest.mark.parametrize("unseen", [0.0, 0.2, 0.9])
def test_dpo_cannot_see_mass_on_answers_that_nobody_labelled(unseen):
    """Three answers, a uniform reference, y1 999 times as likely as y2, the rest on y3."""
    p1 = 0.999 * (1 - unseen)
    logps = [torch.tensor([p], dtype=torch.float64).log() for p in (p1, 1 - unseen - p1)]
    uniform = torch.full((1,), 1 / 3, dtype=torch.float64).log()
    assert dpo_loss(*logps, uniform, uniform, 0.1).item() == pytest.approx(0.40629, abs=5e-6)


@pytest.mark.parametrize("p", [0.75, 0.9])
def test_where_the_optima_are(p):
    """With labels right with probability p: IPO at (p - 1/2)/tau, DPO at logit(p)/beta."""
    zero = torch.zeros(1).double()

    def best(loss):
        def expected(h):
            h = torch.tensor([h], dtype=torch.float64)
            return (p * loss(h, zero, zero, zero) + (1 - p) * loss(zero, h, zero, zero)).item()
        return minimize_scalar(expected, bounds=(-50, 50), method="bounded",
                               options={"xatol": 1e-9}).x

    assert best(lambda *a: ipo_loss(*a, tau=0.2)) == pytest.approx((p - 0.5) / 0.2, abs=1e-5)
    assert best(lambda *a: dpo_loss(*a, beta=0.2)) == pytest.approx(math.log(p / (1 - p)) / 0.2,
                                                                    abs=1e-5)
    certain = minimize_scalar(lambda h: ipo_loss(torch.tensor([h]).double(), zero, zero, zero,
                                                 tau=0.2).item()).x
    assert certain == pytest.approx(0.5 / 0.2), "finite where DPO's goes to infinity"


def test_ipo_over_means_is_ipo_of_log_ratios_divided_by_lengths():
    found = ipo_loss(CHOSEN, REJECTED, *REF, 0.3, "sequence_mean", *LENGTHS)
    ratios = (CHOSEN - REF[0]) / LENGTHS[0] - (REJECTED - REF[1]) / LENGTHS[1]
    torch.testing.assert_close(found, (ratios - 1 / 0.6).square())
    assert not torch.allclose(found, ipo_loss(CHOSEN, REJECTED, *REF, 0.3))


def test_kto_by_hand():
    """Loss aversion around z: 1 - sigmoid of beta times the gain, weighted."""
    desirable = torch.tensor([True, False, False])
    found = kto_loss(CHOSEN, REF[0], desirable, 0.25, 0.5, 2.0, 3.0)
    gains = [1.0 - 0.25, -(0.5 - 0.25), -(-4.0 - 0.25)]
    weights = [2.0, 3.0, 3.0]
    assert found.tolist() == pytest.approx(
        [w * (1 - sigmoid(0.5 * g)) for w, g in zip(weights, gains, strict=True)])


def test_simpo_and_orpo_by_hand():
    means = (CHOSEN / LENGTHS[0]).tolist(), (REJECTED / LENGTHS[1]).tolist()
    simpo = [-math.log(sigmoid(2.5 * (c - r) - 0.7)) for c, r in zip(*means, strict=True)]
    assert simpo_loss(CHOSEN, REJECTED, *LENGTHS, 2.5, 0.7).tolist() == pytest.approx(simpo)
    odds = [[math.exp(m) / (1 - math.exp(m)) for m in side] for side in means]
    ratio = [-math.log(sigmoid(math.log(c / r))) for c, r in zip(*odds, strict=True)]
    assert odds_ratio_loss(CHOSEN, REJECTED, *LENGTHS).tolist() == pytest.approx(ratio)
    orpo = [0.2 * o - c for o, c in zip(ratio, means[0], strict=True)]
    assert orpo_loss(CHOSEN, REJECTED, *LENGTHS, 0.2).tolist() == pytest.approx(orpo)


def test_a_certain_answer_has_large_but_finite_odds():
    certain = torch.zeros(1, requires_grad=True)
    loss = odds_ratio_loss(certain, torch.tensor([-1.0]), torch.ones(1), torch.ones(1))
    loss.backward()
    assert 0 < loss.item() < 1e-4 and bool(certain.grad.isfinite().all())


def test_without_a_reference_all_answers_were_equally_likely():
    same = torch.full((3,), -2.0).double()
    for loss in (dpo_loss, hinge_loss, ipo_loss):
        assert torch.equal(loss(CHOSEN, REJECTED, None, None), loss(CHOSEN, REJECTED, same, same))


@pytest.mark.parametrize("loss", [dpo_loss, ipo_loss])
def test_the_gradient_by_finite_differences_and_none_for_the_reference(loss):
    values = [v.clone().requires_grad_() for v in (CHOSEN, REJECTED, *REF)]
    loss(*values).sum().backward()
    assert values[2].grad is None and values[3].grad is None
    step = torch.tensor([1e-6, 0, 0]).double()
    slope = (loss(CHOSEN + step, REJECTED, *REF) - loss(CHOSEN - step, REJECTED, *REF))[0] / 2e-6
    assert values[0].grad[0].item() == pytest.approx(slope.item(), rel=1e-6)
    torch.testing.assert_close(values[0].grad, -values[1].grad)


def test_the_implicit_reward_of_an_answer_is_the_sum_of_those_of_its_tokens():
    tokens, ref = torch.randn(2, 3), torch.randn(2, 3)
    torch.testing.assert_close(implicit_reward(tokens, ref, 0.3).sum(1),
                               implicit_reward(tokens.sum(1), ref.sum(1), 0.3))


@pytest.mark.parametrize("call, message", [
    (lambda: dpo_loss(CHOSEN, REJECTED[:2], *REF), "rejected_logps has shape"),
    (lambda: dpo_loss(CHOSEN, REJECTED, REF[0], None), "only one of the reference"),
    (lambda: dpo_loss(CHOSEN, REJECTED - torch.inf, *REF), "rejected_logps holds NaN or infinity"),
    (lambda: dpo_loss(CHOSEN, REJECTED, *REF, 0.0), "beta is 0.0"),
    (lambda: dpo_loss(CHOSEN, REJECTED, *REF, 0.1, 0.5), "labels say nothing"),
    (lambda: dpo_loss(CHOSEN, REJECTED, *REF, 0.1, 0.1, "rubust"), "smoothing is 'rubust'"),
    (lambda: ipo_loss(CHOSEN, REJECTED, *REF, 0.1, "mean"), "aggregate is 'mean'"),
    (lambda: ipo_loss(CHOSEN, REJECTED, *REF, 0.1, "sequence_mean"), "needs the lengths"),
    (lambda: simpo_loss(CHOSEN, REJECTED, torch.tensor([2, 0, 4]), LENGTHS[1]), "lengths are"),
    (lambda: simpo_loss(CHOSEN, REJECTED, *LENGTHS, margin=-1), "margin is -1"),
    (lambda: kto_loss(CHOSEN, REF[0], torch.tensor([1, 0, 1]), 0.0), "a bool for"),
    (lambda: kto_loss(CHOSEN, REF[0], torch.ones(3).bool(), -1.0), "not below 0"),
    (lambda: implicit_reward(CHOSEN, REF[0][:1], 0.1), "ref_logps has shape"),
])
def test_mistakes_are_named(call, message):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=message):
        call()
