"""Exercise 17.4: IPO, KTO and SimPO on one batch, each with its convention."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tutorlib.exercises.direct_alignment.dpo import A_LIST, UNIT, listed
from tutorlib.exercises.direct_alignment.losses_answers import MUTANTS, VARIANTS, ipo_kto_simpo
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor

LOSSES = ("ipo", "kto", "simpo")


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
    variants=VARIANTS,
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
