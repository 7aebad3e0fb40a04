"""Exercise 11.4: the reward head, which reads the last token that counts."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.reward_models.bt import UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def reward_head(hidden: Float[Tensor, "batch tokens size"],
                attention_mask: Int[Tensor, "batch tokens"],
                weight: Float[Tensor, " size"]) -> Float[Tensor, " batch"]:
    """Return weight . hidden state at the last token of each row."""
    places = torch.arange(hidden.shape[1])
    last = (attention_mask * places).argmax(1)
    return hidden[torch.arange(len(hidden)), last] @ weight


def row_by_row(hidden, attention_mask, weight) -> Tensor:
    """Walk each row from its end to the first token that counts, in plain Python."""
    found = []
    for states, mask in zip(hidden.tolist(), attention_mask.tolist(), strict=True):
        place = len(mask) - 1
        while mask[place] == 0:
            place -= 1
        found.append(math.fsum(h * w for h, w in zip(states[place], weight.tolist(), strict=True)))
    return torch.tensor(found, dtype=torch.float64)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw hidden states of rows padded on the right, on the left, or not at all."""
    cases = []
    for lengths, side, size, filler, dtype, note in (
            ((3, 6, 2, 5), "right", 4, 1.0, torch.float64, "four rows, padded on the right"),
            ((4, 2, 5), "left", 3, 1.0, torch.float64, "three rows, padded on the left"),
            ((1, 5, 3), "right", 2, math.nan, torch.float64, "NaN in the padding"),
            ((4, 4), "right", 6, 1.0, torch.float64, "two rows without padding"),
            ((2, 7, 4, 3, 6), "right", 5, 1.0, torch.float32, "five rows in float32"),
            ((3, 2), "left", 3, math.nan, torch.float64, "left, NaN in the padding")):
        width = max(lengths)
        hidden = torch.randn(len(lengths), width, size, generator=generator, dtype=dtype)
        place, ends = torch.arange(width), torch.tensor(lengths)[:, None]
        mask = (place < ends) if side == "right" else (place >= width - ends)
        if math.isnan(filler):
            hidden[~mask] = filler
        weight = torch.randn(size, generator=generator, dtype=dtype)
        cases.append(Case(args=(hidden, mask.long(), weight), note=note))
    return cases


def padding_never_matters(answer, case: Case) -> str | None:
    """More padding on the right, with anything in it, changes no reward."""
    hidden, mask, weight = case.args
    longer = torch.cat([hidden, torch.full_like(hidden[:, :2], 7.0)], 1)
    wider = torch.cat([mask, torch.zeros_like(mask[:, :1]).expand(-1, 2)], 1)
    if bool((mask[:, 0] == 0).any()):
        return None  # rows padded on both sides are nobody's
    got, want = as_tensor(answer(longer, wider, weight)), as_tensor(answer(*case.args))
    moved = float((got - want).abs().max())
    return None if moved < 1e-5 else f"two more columns of padding moved a reward by {moved:.4g}"


def gradients_flow(answer, case: Case) -> str | None:
    """Gradients reach the weight, and the hidden state at the last token alone."""
    hidden, mask, weight = case.args
    states = hidden.nan_to_num(1.0).requires_grad_()
    w = weight.clone().requires_grad_()
    rewards = answer(states, mask, w)
    if isinstance(rewards, list | tuple):
        return "return one tensor, not a list of numbers: `torch.stack(your_list)`"
    if not (isinstance(rewards, Tensor) and rewards.requires_grad):
        return ("your rewards carry no gradient, so neither head nor body can learn: compute with "
                "torch, without `item`, `detach` or numpy")
    slopes = torch.autograd.grad(rewards.sum(), (states, w), allow_unused=True)
    if slopes[0] is None or slopes[1] is None:
        return "gradients should reach both the hidden states and the weight"
    reached = (slopes[0] != 0).any(-1).sum(1)
    return None if bool((reached == 1).all()) and bool(torch.isfinite(slopes[1]).all()) else (
        f"gradients reach {reached.tolist()} positions of the rows; it should be one in each")


def _at(index):
    def answer(h, m, w):
        return h[torch.arange(len(h)), index(m)] @ w
    return answer


def _count(m):
    return m.sum(1)


def _last(m):
    return (m * torch.arange(m.shape[1])).argmax(1)


def _mean(h, m, w):
    kept = h.masked_fill(m[..., None] == 0, 0.0)
    return (kept.sum(1) / m.sum(1)[:, None]) @ w


MUTANTS = (
    Mutant("last_column", lambda h, m, w: h[:, -1] @ w,
           "You read the last *column*: in rows padded on the right, that is padding. Find the "
           "last position where the mask is 1."),
    Mutant("first_token", lambda h, m, w: h[:, 0] @ w,
           "You read the first column. A causal model has read nothing of the answer there; only "
           "the last token has seen it all."),
    Mutant("first_that_counts", _at(lambda m: m.argmax(1)),
           "`argmax` of the mask finds the *first* token that counts (of several largest ones it "
           "takes the first). Multiply the mask by the positions before."),
    Mutant("count_minus_one", _at(lambda m: _count(m) - 1),
           "Counting tokens finds the last one only if padding stands on the right. With padding "
           "on the left it points into the middle: use positions."),
    Mutant("one_too_early", _at(lambda m: (_last(m) - 1).clamp_min(0)),
           "You read one token too early: the model has not read the end of the answer there. "
           "(Language models predict from the token before; a reward reads the token itself.)"),
    Mutant("one_too_late", _at(lambda m: (_last(m) + 1).clamp_max(m.shape[1] - 1)),
           "You read one position too late: the first padding token behind the answer."),
    Mutant("mean_pool", _mean,
           "You average the hidden states of all tokens. Asked for is the state at the last one "
           "alone, which has read everything before it."),
    Mutant("summed", lambda h, m, w: h.masked_fill(m[..., None] == 0, 0.0).sum(1) @ w,
           "You add up the hidden states of all tokens, so that longer answers weigh more. Read "
           "the last token that counts."),
    Mutant("largest_score", lambda h, m, w: (h.nan_to_num() @ w).masked_fill(m == 0, -math.inf)
           .max(1).values,
           "You take the largest score among the tokens. The reward is the score at the last "
           "token that counts, high or low."),
    Mutant("same_place_for_all", lambda h, m, w: h[:, int(_last(m)[0])].nan_to_num() @ w,
           "You read the same position in every row: that where the first row ends. Rows end in "
           "different places."),
    Mutant("times_the_mask",
           lambda h, m, w: (h * torch.nn.functional.one_hot(_last(m), m.shape[1])[..., None]
                            ).sum(1) @ w,
           "NaN times 0 is NaN: a product with a mask does not silence what stands in the "
           "padding. Index the position instead."),
    Mutant("per_token", lambda h, m, w: h @ w,
           "You score every token. Asked for is one number per row, at its last token that "
           "counts."),
    Mutant("mean_of_all_columns", lambda h, m, w: h.mean(1) @ w,
           "You average all columns, padding included. Read the state at the last token that "
           "counts, alone."),
    Mutant("masked_last_column", lambda h, m, w: (h * m[..., None])[:, -1] @ w,
           "You set padding to 0 and read the last column: every row that is padded on the right "
           "then scores 0 (or NaN). Find where its last token stands."),
    Mutant("every_row_at_every_end", lambda h, m, w: h[:, _last(m)] @ w,
           "`hidden[:, last]` reads every row at every row's end, `[batch, batch]`. Pair them: "
           "`hidden[torch.arange(batch), last]`."),
    Mutant("column", lambda h, m, w: reward_head(h, m, w)[:, None],
           "You return a column, `[batch, 1]`. Asked for is `[batch]`: against a row of other "
           "rewards a column would be compared with each of them."),
    Mutant("unit_weight", lambda h, m, w: reward_head(h, m, w / w.norm()),
           "You scale the weight to length 1. Its length is learnt: it says how sure the model is "
           "of a difference."),
    Mutant("squashed", lambda h, m, w: torch.sigmoid(reward_head(h, m, w)),
           "You squash the reward with a sigmoid. Rewards are any number; the sigmoid belongs to "
           "the *difference* of two of them, in the loss."),
    Mutant("no_head", lambda h, m, w: h[torch.arange(len(h)), _last(m)].sum(-1),
           "You add up the hidden state. The head weighs it: the dot product with `weight`."),
)


def _gather(h, m, w):
    last = m.shape[1] - 1 - m.flip(1).argmax(1)
    return h.gather(1, last[:, None, None].expand(-1, 1, h.shape[-1]))[:, 0] @ w


def _loops(h, m, w):
    return torch.stack([states[mask.bool()][-1] @ w for states, mask in zip(h, m, strict=True)])


def _numpy_index(h, m, w):
    last = [int(np.flatnonzero(row)[-1]) for row in m.numpy()]
    return (h @ w)[torch.arange(len(h)), last]


def _cumulated(h, m, w):
    return torch.einsum("bd,d->b", h[torch.arange(len(h)), m.cumsum(1).argmax(1)], w)


REWARD_HEAD = Exercise(
    id=f"{UNIT}.reward_head",
    title="The reward head",
    points=2, minutes=8, difficulty=2,
    reference=reward_head,
    oracle=row_by_row,
    hand=Case(
        args=(torch.tensor([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]],
                            [[3.0, 1.0], [1.0, 1.0], [0.0, 4.0]]], dtype=torch.float64),
              torch.tensor([[1, 1, 0], [1, 1, 1]]), torch.tensor([1.0, 0.5], dtype=torch.float64)),
        # row 1 ends at its second token: 0.5 * 2; row 2 at its third: 0.5 * 4
        expected=torch.tensor([1.0, 2.0], dtype=torch.float64),
        note="two rows, of two tokens and of three"),
    cases=draw_cases,
    properties=(
        Property("padding never matters", padding_never_matters),
        Property("gradients flow", gradients_flow),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("gather, from the end", _gather),
        Variant("row by row", _loops),
        Variant("score all, then pick", _numpy_index),
        Variant("einsum at the largest running count", _cumulated),
    ),
    hints=(
        "Only one position of a causal model has read the whole answer: its last token. Find it "
        "in each row from the mask (ids may lie: padding and end can share an id), then take one "
        "dot product.",
        r"$$T_i = \max \{ t : m_{i,t} = 1 \}, \qquad r_i = w \cdot h_{i,T_i}$$" "\n\n"
        "`(mask * positions).argmax(1)` is $T$, `[batch]`; `hidden[rows, T]` picks one state per "
        "row, `[batch, size]`.",
        "```python\n"
        "places = torch.arange(hidden.shape[1])\n"
        "last = ...               # [batch], where each row's last token stands\n"
        "return ...               # one state per row, times the weight\n"
        "```",
    ),
    why="The mask is the only honest witness of where a text ends. Reading the last column works "
        "for a batch of one and fails silently in training; reading one token early misses the "
        "end of the answer.",
    index_names=lambda case, index: f"row {index[0] + 1}",
    forbidden=("tutorlib.rewards.last_token_index", "tutorlib.rewards.RewardModel"),
)
