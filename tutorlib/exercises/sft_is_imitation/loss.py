"""Exercise 10.2: the loss of supervised fine-tuning, with its convention as an argument."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tutorlib.exercises.sft_is_imitation.loss_answers import MUTANTS, VARIANTS, sft_loss
from tutorlib.exercises.sft_is_imitation.shift import UNIT
from tutorlib.exercises.sft_is_imitation.shift_answers import IGNORED
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor

CONVENTIONS = ("token_mean", "sequence_mean", "sequence_sum")


def token_by_token(logits, targets, aggregate) -> float:
    """Add up surprises in plain Python, sequence by sequence."""
    rows = []
    for scores, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        surprises = []
        for z, token in zip(scores, wanted, strict=False):  # the last position has no target
            if token != IGNORED:
                top = max(z)
                surprises.append(top + math.log(math.fsum(math.exp(x - top) for x in z)) - z[token])
        rows.append(surprises)
    flat = [s for row in rows for s in row]
    if aggregate == "token_mean":
        return math.fsum(flat) / len(flat)
    each = [math.fsum(row) / (len(row) if aggregate == "sequence_mean" else 1) for row in rows]
    return math.fsum(each) / len(each)


def _set(logits, place, targets, value: float) -> None:
    """Give the target of a place this logit, and another token 0."""
    token = int(targets[place])
    logits[place][token], logits[place][token - 1] = value, 0.0


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw logits and targets: every convention, prompts and answers of unequal lengths."""
    cases = []
    for spans, vocab, scale, aggregate, dtype in (
            (((2, 6), (1, 3), (4, 5)), 7, 1.5, "token_mean", torch.float64),
            (((2, 6), (1, 3), (4, 5)), 7, 1.5, "sequence_mean", torch.float64),
            (((0, 2), (1, 5)), 4, 2.0, "sequence_sum", torch.float64),
            (((3, 4), (2, 6), (0, 3), (1, 2)), 5, 60.0, "token_mean", torch.float32),
            (((1, 2), (3, 7), (2, 4)), 6, 1.0, "sequence_sum", torch.float64),
            (((0, 60), (3, 9)), 6, 5.0, "sequence_mean", torch.float32)):
        width = max(end for _, end in spans) + 1  # one more: a column without a target
        targets = torch.randint(vocab, (len(spans), width), generator=generator)
        place = torch.arange(width)
        inside = torch.stack([(place >= a) & (place < b) for a, b in spans])
        logits = scale * torch.randn(len(spans), width + 1, vocab, generator=generator,
                                     dtype=dtype)
        if scale == 60:  # in float32 the one has probability 0, and the other's exp is infinite
            _set(logits, (0, 3), targets, -150.0)
            _set(logits, (1, 2), targets, 120.0)
        kind = " (float32, as networks give them)" if dtype == torch.float32 else ""
        cases.append(Case(args=(logits, targets.masked_fill(~inside, IGNORED), aggregate),
                          note=f"{len(spans)} answers of "
                               f"{', '.join(str(b - a) for a, b in spans)} tokens{kind}"))
    return cases


def gradients_flow(answer, case: Case) -> str | None:
    """The loss is a tensor whose gradient is softmax minus one-hot, at what is learned only."""
    logits, targets, aggregate = case.args
    leaf = logits.clone().requires_grad_()
    loss = answer(leaf, targets, aggregate)
    if not (isinstance(loss, Tensor) and loss.requires_grad):
        return ("your loss carries no gradient, so no model can be trained with it: compute with "
                "torch, without `item`, `detach`, `float` or numpy")
    loss.backward()
    idle = torch.cat([targets == IGNORED, torch.ones(len(targets), 1, dtype=torch.bool)], 1)
    if leaf.grad is None or not bool(torch.isfinite(leaf.grad).all()):
        return "the gradient is missing or not finite on this case"
    if float(leaf.grad[idle].abs().max()) > 1e-9:
        return "there is a gradient at positions that predict prompt or padding, or at the last"
    return None


def the_last_position_is_idle(answer, case: Case) -> str | None:
    """Nothing follows the last position: its logits do not matter."""
    logits, targets, aggregate = case.args
    other = logits.clone()
    other[:, -1] = logits[:, -1].flip(-1) + 3
    moved = float(as_tensor(answer(other, targets, aggregate))) - float(
        as_tensor(answer(*case.args)))
    return None if abs(moved) < 1e-6 else (
        f"other logits at the last position moved the loss by {moved:.4g}")


def know_nothing(answer, case: Case) -> str | None:
    """Equal logits lose log V a token."""
    logits, targets, aggregate = case.args
    tokens = (targets != IGNORED).sum(1).double()
    each = tokens.mean() if aggregate == "sequence_sum" else torch.tensor(1.0)
    want = float(each) * math.log(logits.shape[-1])
    got = float(as_tensor(answer(torch.zeros_like(logits), targets, aggregate)))
    return None if abs(got - want) < 1e-5 else (
        f"with equal logits {aggregate!r} should be {want:.4f}, here {got:.4f}")


_THIRDS = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log()

SFT_LOSS = Exercise(
    id=f"{UNIT}.sft_loss",
    title="The loss of fine-tuning, its convention named",
    points=3, minutes=12, difficulty=3,
    reference=sft_loss,
    oracle=token_by_token,
    hand=Case(
        args=(torch.stack([torch.stack([_THIRDS, _THIRDS.flip(0), _THIRDS, _THIRDS]),
                           torch.stack([_THIRDS.flip(0), _THIRDS.flip(0), _THIRDS, _THIRDS])]),
              torch.tensor([[0, 0, IGNORED], [IGNORED, 2, IGNORED]]), "sequence_mean"),
        # answer 0: probabilities 1/2 and 1/4, mean 1.5 log 2; answer 1: 1/2, log 2; mean 1.25 log 2
        expected=1.25 * math.log(2),
        note="two answers: one of probabilities 1/2 and 1/4, one of a single token, 1/2"),
    cases=draw_cases,
    properties=(
        Property("a model can be trained with it", gradients_flow),
        Property("the last position predicts nothing", the_last_position_is_idle),
        Property("who knows nothing loses log V a token", know_nothing),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "First a surprise for each learned token: minus the log-probability that the position in "
        "front of it gave it. Then decide who gets the same weight: every token, every answer, or "
        "every answer with its full length.",
        r"$$s_i = -\sum_{t \text{ learned}} \log \pi(y_{i,t} | \ldots): \quad \frac{\sum_i s_i}"
        r"{\sum_i n_i}, \qquad \frac1B \sum_i \frac{s_i}{n_i}, \qquad \frac1B \sum_i s_i$$" "\n\n"
        "for `token_mean`, `sequence_mean`, `sequence_sum`, with $n_i$ learned tokens in answer "
        "$i$ of $B$. Logits of shape `[batch, tokens, vocab]`: leave out the last position. "
        "`gather` needs valid indices: `targets.clamp(min=0)`, then mask.",
        "```python\n"
        "learned = targets != -100\n"
        "logps = ...              # log-softmax of all positions but the last\n"
        "chosen = ...             # of each target, [batch, tokens - 1]\n"
        "sums, counts = ...       # per answer, [batch]\n"
        "if aggregate == \"sequence_sum\":\n"
        "    return ...\n"
        "```",
    ),
    why="One likelihood, three weightings. With \"token_mean\" long answers weigh more, with "
        "\"sequence_mean\" their tokens weigh less, and \"sequence_sum\" is the log-likelihood of "
        "whole answers, whose gradient is larger by about their length. Say which, always.",
    forbidden=("tutorlib.lm.sft_loss", "tutorlib.lm.sequence_values"),
)
