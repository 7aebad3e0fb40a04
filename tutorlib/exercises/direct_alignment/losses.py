"""Exercise 17.4: IPO, KTO and SimPO on one batch, each with its convention."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from tutorlib.exercises.direct_alignment.dpo import A_LIST, UNIT, listed
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor

LOSSES = ("ipo", "kto", "simpo")


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


def answer_by_answer(loss, logps, ref_logps, lengths, beta, offset) -> Tensor:
    """Write each loss out in plain Python, one pair after the other."""
    def sigmoid(x):
        return 0.5 + 0.5 * math.tanh(x / 2)

    found = []
    for (c, r), (rc, rr), (nc, nr) in zip(logps.tolist(), ref_logps.tolist(), lengths.tolist(),
                                          strict=True):
        if loss == "ipo":
            found.append(((c - rc) - (r - rr) - 0.5 / beta) ** 2)
        elif loss == "kto":
            found.append(0.5 * (1 - sigmoid(beta * (c - rc - offset)))
                         + 0.5 * (1 - sigmoid(beta * (offset - (r - rr)))))
        else:
            margin = beta * (c / nc - r / nr) - offset
            found.append(max(0.0, -margin) + math.log1p(math.exp(-abs(margin))))
    return torch.tensor(found, dtype=torch.float64)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw pairs of answers of unequal lengths, three for each loss."""
    cases = []
    for loss, beta, offset, pairs in (("ipo", 0.3, 0.0, 3), ("kto", 0.6, 0.7, 4),
                                      ("simpo", 2.2, 0.9, 3), ("ipo", 1.4, 0.5, 5),
                                      ("kto", 0.2, 0.0, 3), ("simpo", 1.3, 0.0, 4),
                                      ("kto", 1.1, 2.5, 5), ("simpo", 20.0, 0.4, 3),
                                      ("ipo", 0.1, 0.0, 4), ("kto", 0.9, 1.5, 4)):
        logps, ref = (-8 * torch.rand(pairs, 2, generator=generator, dtype=torch.float64) - 1
                      for _ in range(2))
        if beta == 20.0:  # float32, and a pair in the wrong order by many nats a token
            logps[0] = torch.tensor([-90.0, -1.0])
        lengths = torch.randint(2, 9, (pairs, 2), generator=generator)
        lengths[:, 1] += (lengths[:, 1] == lengths[:, 0]).long()
        if beta == 20.0:
            lengths[0] = torch.tensor([2, 5])
            logps, ref = logps.float(), ref.float()
        if beta in (0.1, 0.9):  # float32, and log-ratios of hundreds of nats
            logps, ref = (logps * 60).float(), (ref * 60).float()
            logps[0], ref[0] = torch.tensor([-9.0, -800.0]), torch.tensor([-820.0, -12.0])
            logps[1], ref[1] = torch.tensor([-820.0, -12.0]), torch.tensor([-9.0, -800.0])
        cases.append(Case(args=(loss, logps, ref, lengths, beta, offset),
                          note=f"{loss}, β = {beta}, offset {offset}"))
    return cases


def _loss_at(answer, case, **changes) -> Tensor:
    """Return the losses with some arguments changed."""
    names = ("loss", "logps", "ref_logps", "lengths", "beta", "offset")
    return as_tensor(answer(*{**dict(zip(names, case.args, strict=True)), **changes}.values())
                     ).double()


def each_uses_what_it_should(answer, case: Case) -> str | None:
    """SimPO knows no reference, IPO and KTO no lengths."""
    loss, _, ref, lengths, *_ = case.args
    before = _loss_at(answer, case)
    if not bool(before.isfinite().all()):
        return (f"your {loss} loss is infinite or NaN on these numbers: `exp` overflows, or a "
                "sigmoid is rounded to 0 under a logarithm. `torch.sigmoid` and "
                "`torch.nn.functional.logsigmoid` stay finite")
    other = {"ref_logps": ref.flip(0) - 1.5} if loss == "simpo" else {"lengths": lengths + 3}
    moved = float((_loss_at(answer, case, **other) - before).abs().nan_to_num(math.inf).max())
    return None if moved < 1e-4 else (
        f"{loss} has no {'reference' if loss == 'simpo' else 'lengths'} in it, but yours moves by "
        f"{moved:.4g} with other ones")


def gradients_flow(answer, case: Case) -> str | None:
    """Both answers are trained, with the loss's own slopes; the reference is not."""
    loss, logps, ref, *rest = case.args
    leaf, frozen = logps.clone().requires_grad_(), ref.clone().requires_grad_()
    found = answer(loss, leaf, frozen, *rest)
    if listed(found):
        return A_LIST
    if not (isinstance(found, Tensor) and found.requires_grad):
        return "your loss carries no gradient: compute with torch, without `item` or numpy"
    found.sum().backward()
    if leaf.grad is None or not bool(leaf.grad.isfinite().all()):
        return "the gradient is missing or not finite on this case"
    if frozen.grad is not None and float(frozen.grad.abs().max()) > 0:
        return "a gradient reaches the reference, which is frozen: `.detach()` it"
    own = logps.double().requires_grad_()
    ipo_kto_simpo(loss, own, ref.double(), *rest).sum().backward()
    off = (leaf.grad - own.grad).abs() > 1e-4 * (1 + own.grad.abs())
    for side, name in enumerate(("chosen", "rejected")):
        if bool(off[:, side].any()):
            pair = int(off[:, side].nonzero()[0, 0])
            return (f"the slope of the {loss} loss in the {name} answer's log-probability is "
                    f"{float(own.grad[pair, side]):.4g} for pair {pair}; yours is "
                    f"{float(leaf.grad[pair, side]):.4g}: both answers are trained, nothing of the "
                    "policy is detached or clamped")
    return None


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


IPO_KTO_SIMPO = Exercise(
    id=f"{UNIT}.ipo_kto_simpo",
    title="IPO, KTO, SimPO",
    points=4, minutes=14, difficulty=3,
    reference=ipo_kto_simpo,
    oracle=answer_by_answer,
    hand=Case(
        args=("ipo", torch.tensor([[-4.0, -3.0], [-6.0, -4.0]], dtype=torch.float64),
              torch.tensor([[-5.0, -2.0], [-6.0, -5.0]], dtype=torch.float64),
              torch.tensor([[4, 3], [2, 8]]), 0.5, 0.0),
        # log-ratios (1, -1) and (0, 1): h = 2 and -1; target 1 / (2 * 0.5) = 1
        expected=torch.tensor([1.0, 4.0], dtype=torch.float64),
        note="ipo with τ = 0.5: h = 2 and h = -1, target 1"),
    cases=draw_cases,
    properties=(
        Property("each loss uses what it should", each_uses_what_it_should),
        Property("the policy can be trained, and the reference is not", gradients_flow),
    ),
    mutants=MUTANTS,
    variants=(Variant("a table of three", _table), Variant("pair by pair", _loops)),
    hints=(
        "Three questions tell the three apart. Compare two answers, or each with a fixed point? "
        "With a reference, or without? Sums over tokens, or means?",
        r"With $\ell = \log \pi(y) - \log \pi_\text{ref}(y)$ and $n$ the length: "
        r"$$\text{IPO: } \Big(\ell^+ - \ell^- - \frac1{2\tau}\Big)^2 \quad "
        r"\text{KTO: } 1 - \tfrac12\big[\sigma(\beta(\ell^+ - z)) + \sigma(\beta(z - \ell^-))\big] "
        r"\quad \text{SimPO: } -\log \sigma\Big(\beta\Big[\frac{\log \pi(y^+)}{n^+} - "
        r"\frac{\log \pi(y^-)}{n^-}\Big] - \gamma\Big)$$" "\n\n"
        "Inputs are `[pairs, 2]`, the result `[pairs]`.",
        "```python\n"
        "if loss == \"simpo\":\n"
        "    means = logps / lengths                  # [pairs, 2]\n"
        "    return -logsigmoid(...)\n"
        "ratios = logps - ref_logps.detach()          # [pairs, 2]\n"
        "if loss == \"ipo\":\n"
        "    return (... - 1 / (2 * beta)) ** 2\n"
        "return 1 - (torch.sigmoid(...) + torch.sigmoid(...)) / 2   # kto\n"
        "```",
    ),
    why="All of them push the same two answers apart. IPO alone has a best distance; the losses of "
        "DPO, KTO and SimPO fall for ever. They differ in whom they let go: KTO also answers that "
        "are *hopelessly* on the wrong side of the reference point, where DPO pulls hardest; SimPO "
        "wants a lead per token, and never asks where it started.",
    index_names=lambda case, index: f"{case.args[0]}, pair {index[0]}",
    forbidden=("tutorlib.posttraining.ipo_loss", "tutorlib.posttraining.kto_loss",
               "tutorlib.posttraining.simpo_loss"),
)
