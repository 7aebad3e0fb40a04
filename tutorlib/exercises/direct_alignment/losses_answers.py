"""Exercise 17.4's answers: the reference, wrong ones with what to say about them, other styles."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from tutorlib.grading import Mutant, Variant


def ipo_kto_simpo(loss: str, logps: Float[Tensor, "pairs two"],
                  ref_logps: Float[Tensor, "pairs two"], lengths: Shaped[Tensor, "pairs two"],
                  beta: float, offset: float) -> Float[Tensor, " pairs"]:
    """Return the loss of each pair; column 0 is the chosen answer, column 1 the rejected one."""
    if loss == "simpo":  # no reference, means over tokens
        means = logps / lengths
        return -logsigmoid(beta * (means[:, 0] - means[:, 1]) - offset)
    ratios = logps - ref_logps.detach()
    if loss == "ipo":
        return (ratios[:, 0] - ratios[:, 1] - 1 / (2 * beta)) ** 2
    good, bad = ratios[:, 0] - offset, offset - ratios[:, 1]
    return (2 - torch.sigmoid(beta * good) - torch.sigmoid(beta * bad)) / 2


def _ratios(logps, ref):
    ratios = logps - ref.detach()
    return ratios[:, 0], ratios[:, 1]


def _instead(name, rule):
    """Return the reference with the rule of one loss replaced."""
    def answer(loss, p, q, n, b, k):
        return rule(p, q, n, b, k) if loss == name else ipo_kto_simpo(loss, p, q, n, b, k)
    return answer


def _ipo(target=lambda b: 1 / (2 * b), scale=lambda b: 1.0, of=_ratios):
    def rule(p, q, n, b, k):
        good, bad = of(p, q)
        return (scale(b) * (good - bad) - target(b)) ** 2
    return _instead("ipo", rule)


def _ipo_means(p, q, n, b, k):
    good, bad = _ratios(p / n, q / n)
    return (good - bad - 1 / (2 * b)) ** 2


def _kto(rule):
    return _instead("kto", lambda p, q, n, b, k: rule(*_ratios(p, q), b, k))


def _simpo(rule):
    return _instead("simpo", lambda p, q, n, b, k: -logsigmoid(rule(p, q, n, b, k)))


def _mean_gap(p, n):
    return p[:, 0] / n[:, 0] - p[:, 1] / n[:, 1]


def _swapped(loss, p, q, n, b, k):
    return ipo_kto_simpo(loss, p.flip(1), q.flip(1), n.flip(1), b, k)


def _simpo_log_of_sigmoid(p, q, n, b, k):
    return -torch.sigmoid(b * _mean_gap(p, n) - k).log()


def _kto_by_exp(g, u, b, k):
    up, down = (b * (g - k)).exp(), (b * (k - u)).exp()
    return 1 - (up / (1 + up) + down / (1 + down)) / 2


def _kto_batch_mean(g, u, b, k):
    z = torch.cat([g, u]).mean().clamp(min=0)
    return (2 - torch.sigmoid(b * (g - z)) - torch.sigmoid(b * (z - u))) / 2


def _missing(name):
    return lambda loss, *rest: None if loss == name else ipo_kto_simpo(loss, *rest)


def _dpo(p, q, n, b, k):
    good, bad = _ratios(p, q)
    return -logsigmoid(b * (good - bad))


MUTANTS = (
    Mutant("kto_missing", _missing("kto"),
           "For loss=\"kto\" you return nothing (None): all three branches need a `return`."),
    Mutant("simpo_missing", _missing("simpo"),
           "For loss=\"simpo\" you return nothing (None): all three branches need a `return`."),
    Mutant("ipo_missing", _missing("ipo"),
           "For loss=\"ipo\" you return nothing (None): all three branches need a `return`."),
    Mutant("ipo_is_dpo", _instead("ipo", _dpo),
           "Your IPO is DPO's loss. IPO is the *square* of the distance of h from 1/(2τ)."),
    Mutant("ipo_hinge", _instead("ipo", lambda p, q, n, b, k: (
               1 / (2 * b) - _ratios(p, q)[0] + _ratios(p, q)[1]).clamp(min=0) ** 2),
           "Your IPO stops at its target. As published it pulls *back* beyond it too."),
    Mutant("ipo_absolute", _instead("ipo", lambda p, q, n, b, k: (
               _ratios(p, q)[0] - _ratios(p, q)[1] - 1 / (2 * b)).abs()),
           "IPO squares the distance from the target. With its absolute value the best h would be "
           "the median of the labels, not their mean."),
    Mutant("ipo_target_in_tau", _instead("ipo", lambda p, q, n, b, k: (
               b * (_ratios(p, q)[0] - _ratios(p, q)[1]) - 0.5) ** 2),
           "This is IPO times τ²: the minimum is the same, but not the slopes. τ stands in the "
           "target only."),
    Mutant("kto_batch_mean", _kto(_kto_batch_mean),
           "You estimate z from the batch, as a trainer does. Here z is given: `offset`."),
    Mutant("kto_overflows", _kto(_kto_by_exp),
           "e^x / (1 + e^x) is infinity over infinity, so NaN, from x = 89 on in float32. "
           "`torch.sigmoid` takes care of that."),
    Mutant("kto_without_reference", _instead("kto", lambda p, q, n, b, k: (
               2 - torch.sigmoid(b * (p[:, 0] - k)) - torch.sigmoid(b * (k - p[:, 1]))) / 2),
           "The reference is missing in your KTO: ℓ is a log-*ratio*."),
    Mutant("kto_without_beta", _kto(lambda g, u, b, k: (
               2 - torch.sigmoid(g - k) - torch.sigmoid(k - u)) / 2),
           "β is missing in your KTO: σ(β(ℓ - z))."),
    Mutant("kto_not_halved", _kto(lambda g, u, b, k: (
               1 - torch.sigmoid(b * (g - k)) - torch.sigmoid(b * (k - u)))),
           "You subtract the sum of both gains from 1; it is half of the sum."),
    Mutant("simpo_log_of_sigmoid", _instead("simpo", _simpo_log_of_sigmoid),
           "In float32 the sigmoid of -104 is 0, its logarithm minus infinity, and `exp` of 89 "
           "infinite. "
           "`torch.nn.functional.logsigmoid` never leaves the logarithm."),
    Mutant("swapped", _swapped,
           "Chosen and rejected are swapped: column 0 is the chosen answer."),
    Mutant("ipo_means", _instead("ipo", _ipo_means),
           "Your IPO divides log-ratios by lengths, as TRL does. Here it is as published: sums."),
    Mutant("ipo_target_not_halved", _ipo(lambda b: 1 / b),
           "IPO's target is 1/(2τ), not 1/τ: with certain labels p = 1, h = (p - 1/2)/τ."),
    Mutant("ipo_target_is_half_tau", _ipo(lambda b: b / 2),
           "IPO's target is 1 / (2τ): τ divides. A higher price keeps h small."),
    Mutant("ipo_scaled", _ipo(scale=lambda b: b),
           "τ stands in IPO's target only: h itself is not multiplied."),
    Mutant("ipo_without_reference", _ipo(of=lambda p, q: (p[:, 0], p[:, 1])),
           "The reference is missing in your IPO: h is made of log-*ratios*."),
    Mutant("kto_offset_forgotten", _kto(lambda g, u, b, k: (
               2 - torch.sigmoid(b * g) - torch.sigmoid(-b * u)) / 2),
           "KTO's reference point z is missing: gains and losses are felt relative to it."),
    Mutant("kto_offset_same_side", _kto(lambda g, u, b, k: (
               2 - torch.sigmoid(b * (g - k)) - torch.sigmoid(b * (-u - k))) / 2),
           "For the rejected answer the whole difference turns round: z - ℓ, not -ℓ - z."),
    Mutant("kto_rejected_not_turned", _kto(lambda g, u, b, k: (
               2 - torch.sigmoid(b * (g - k)) - torch.sigmoid(b * (u - k))) / 2),
           "Your KTO makes the rejected answer likelier too: its difference is z - ℓ."),
    Mutant("kto_logarithm", _kto(lambda g, u, b, k: (
               softplus(-b * (g - k)) + softplus(b * (u - k))) / 2),
           "You take -log σ. KTO's loss is 1 - σ: it levels off for hopeless answers too, which is "
           "how it forgives wrong labels."),
    Mutant("kto_gain", _kto(lambda g, u, b, k: (
               torch.sigmoid(b * (g - k)) + torch.sigmoid(b * (k - u))) / 2),
           "This is KTO's gain. The loss is 1 minus it."),
    Mutant("kto_sum", _kto(lambda g, u, b, k: (
               2 - torch.sigmoid(b * (g - k)) - torch.sigmoid(b * (k - u)))),
           "You add the two answers' losses up. Asked for is their mean."),
    Mutant("kto_one_difference", _kto(lambda g, u, b, k: 1 - torch.sigmoid(b * (g - u) - k)),
           "KTO judges each answer by itself against z; you compare the two with each other."),
    Mutant("kto_beta_inside", _kto(lambda g, u, b, k: (
               2 - torch.sigmoid(b * g - k) - torch.sigmoid(k - b * u)) / 2),
           "z is in nats, like ℓ: β multiplies their difference, β(ℓ - z)."),
    Mutant("simpo_sums", _simpo(lambda p, q, n, b, k: b * (p[:, 0] - p[:, 1]) - k),
           "Your SimPO compares sums. It divides each log-probability by its answer's length, so "
           "that length alone earns nothing."),
    Mutant("simpo_one_length", _simpo(lambda p, q, n, b, k: b * (
               (p[:, 0] - p[:, 1]) / n[:, 0]) - k),
           "Each answer is divided by its *own* length."),
    Mutant("simpo_reference", _simpo(lambda p, q, n, b, k: b * _mean_gap(p - q, n) - k),
           "SimPO has no reference: log π itself, per token."),
    Mutant("simpo_margin_added", _simpo(lambda p, q, n, b, k: b * _mean_gap(p, n) + k),
           "The margin γ is subtracted: the chosen answer has to lead by that much."),
    Mutant("simpo_margin_inside", _simpo(lambda p, q, n, b, k: b * (_mean_gap(p, n) - k)),
           "β multiplies the difference of means, not γ: β(...) - γ, as Meng et al. write it."),
    Mutant("simpo_margin_forgotten", _simpo(lambda p, q, n, b, k: b * _mean_gap(p, n)),
           "SimPO's margin γ (`offset`) is missing."),
    Mutant("batch_mean", lambda *a: ipo_kto_simpo(*a).mean(),
           "You return the batch's mean. Asked for is one loss per pair."),
)


def _table(loss, p, q, n, b, k):
    (good, bad), means = _ratios(p, q), p / n
    return {"ipo": (good - bad - 0.5 / b).square(),
            "kto": torch.stack([torch.sigmoid(-b * (good - k)), torch.sigmoid(b * (bad - k))]
                               ).mean(0),
            "simpo": softplus(k - b * (means[:, 0] - means[:, 1]))}[loss]


def _loops(loss, p, q, n, b, k):
    found = []
    for (c, r), (rc, rr), (nc, nr) in zip(p, q.detach(), n.tolist(), strict=True):
        if loss == "ipo":
            found.append((c - rc - r + rr - 1 / (2 * b)).square())
        elif loss == "kto":
            gains = torch.sigmoid(b * (c - rc - k)) + torch.sigmoid(b * (k - r + rr))
            found.append(1 - gains / 2)
        else:
            found.append(softplus(-(b * (c / nc - r / nr) - k)))
    return torch.stack(found)


VARIANTS = (Variant("a table of three", _table), Variant("pair by pair", _loops))
