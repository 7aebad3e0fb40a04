"""Exercise 17.3: a policy's values, read off its implicit rewards by telescoping."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tutorlib.exercises.direct_alignment.dpo import UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor
from tutorlib.lm.tree_shape import TreeShape


def telescoping(token_rewards: Float[Tensor, "answers tokens"],
                completion_mask: Shaped[Tensor, "answers tokens"],
                rewards: Float[Tensor, " answers"]) -> Float[Tensor, "answers tokens"]:
    """Return V in front of each token: the answer's reward less the advantages still to come."""
    kept = _kept(token_rewards, completion_mask)
    to_come = kept.flip(1).cumsum(1).flip(1)  # this token's and those behind it
    return torch.where(completion_mask.bool(), rewards[:, None] - to_come, 0.0)


def place_by_place(token_rewards, mask, rewards) -> Tensor:
    """Sum what is still to come anew at every place, in plain Python."""
    rows = []
    for row, counts, reward in zip(token_rewards.tolist(), mask.tolist(), rewards.tolist(),
                                   strict=True):
        length = sum(map(bool, counts))
        rows.append([reward - math.fsum(row[t:length]) if t < length else 0.0
                     for t in range(len(row))])
    return torch.tensor(rows, dtype=torch.float64)


def solved_tree(generator: torch.Generator, words: int, endings: tuple[int, ...], horizon: int,
                beta: float):
    """Return log-ratios of the optimum times beta, mask, rewards and V of a random tree.

    V is computed by listing the answers below every node, without any of the sums that are asked
    for: V(s) = beta log sum_y pi_ref(y | s) exp(r(y) / beta).
    """
    shape = TreeShape(tuple(range(words)), endings, horizon)
    prior = tuple(torch.randn(shape.size.branch**d, words, generator=generator,
                              dtype=torch.float64).log_softmax(-1) for d in range(horizon))
    logps = shape.path_sums(prior)
    rewards = torch.randn(shape.n_leaves, generator=generator, dtype=torch.float64)
    tilted = logps + rewards / beta
    ids, mask = shape.completion_ids, shape.completion_mask
    values, advantages = (torch.zeros(ids.shape, dtype=torch.float64) for _ in range(2))
    for i in range(shape.n_leaves):
        for t in range(int(mask[i].sum())):
            now, after = (_below(ids, mask, ids[i, :t + k]) for k in (0, 1))
            values[i, t] = beta * (tilted[now].logsumexp(0) - logps[now].logsumexp(0))
            advantages[i, t] = beta * (tilted[after].logsumexp(0) - logps[after].logsumexp(0)
                                       ) - values[i, t]
    return advantages, mask, rewards, values


def _below(ids: Tensor, mask: Tensor, prefix: Tensor) -> Tensor:
    """Return which answers begin with these tokens."""
    n = len(prefix)
    return (ids[:, :n] == prefix).all(1) & (mask[:, :n] == 1).all(1)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw solved trees, some answers of each; at padding stands anything."""
    cases = []
    for words, endings, horizon, beta, take, garbage, kind in (
            (3, (2,), 3, 0.7, 9, 5.0, torch.int64), (2, (1,), 4, 0.2, 5, torch.nan, torch.bool),
            (3, (), 2, 1.5, 7, 0.0, torch.int64), (4, (1,), 3, 0.4, 12, -3.0, torch.int64)):
        advantages, mask, rewards, values = solved_tree(generator, words, endings, horizon, beta)
        rows = torch.randperm(len(rewards), generator=generator)[:take]
        short = torch.arange(len(rewards))[mask.sum(1) < horizon][:1]  # one that ends early
        rows = torch.cat([short, rows[~torch.isin(rows, short)]])
        held = torch.tensor(garbage, dtype=torch.float64)
        cases.append(Case(
            args=(torch.where(mask == 1, advantages, held)[rows], mask[rows].to(kind),
                  rewards[rows]),
            expected=values[rows],
            note=f"{len(rows)} answers of a solved tree, {words} words, up to {horizon} tokens, "
                 f"β = {beta}; at padding stands {garbage}"))
    return [*cases, _two_prompts(generator)]


def _two_prompts(generator: torch.Generator) -> Case:
    """Two trees in one batch: their starts have values of their own."""
    trees = [solved_tree(generator, 2, (1,), 3, beta) for beta in (0.6, 0.1)]
    advantages, mask, rewards, values = (torch.cat(parts) for parts in zip(*trees, strict=True))
    scale = torch.where(torch.arange(len(rewards)) < len(rewards) // 2, 1.0, 30.0).double()
    rows = torch.randperm(len(rewards), generator=generator)
    return Case(args=((advantages * scale[:, None])[rows], mask[rows], (rewards * scale)[rows]),
                expected=(values * scale[:, None])[rows],
                note="answers to two prompts in one batch: two starts; rewards up to tens of "
                     "points for one of them")


def one_root(answer, case: Case) -> str | None:
    """All answers begin in the same state, so they must agree about its value."""
    first = as_tensor(answer(*case.args)).double()[:, 0]
    if bool(first.isnan().any()):
        return ("your V is NaN: at padding may stand NaN, and 0 times NaN is NaN. Replace it by "
                "`torch.where(completion_mask.bool(), token_rewards, 0.0)` before you sum")
    if case.note.startswith("answers to two prompts"):
        return None
    spread = float((first.max() - first.min()).nan_to_num(math.inf))
    return None if spread < 1e-3 else (
        f"all answers begin at the same state, but your V there differs by {spread:.4g} between "
        "them")


def the_last_q_is_the_reward(answer, case: Case) -> str | None:
    """Nothing comes behind the last token: V + A there is the reward."""
    rewards, mask = case.args[2], case.args[1].long()
    last = (mask.sum(1) - 1)[:, None]
    found = (as_tensor(answer(*case.args)).double() + case.args[0]).gather(1, last)[:, 0]
    off = float((found - rewards).abs().nan_to_num(math.inf).max())
    return None if off < 1e-3 else (
        f"at the last token Q = V + A must be the answer's reward; it is {off:.4g} off")


def a_bonus_for_all(answer, case: Case) -> str | None:
    """A reward raised by one for every answer raises every value by one."""
    tokens, mask, rewards = case.args
    moved = as_tensor(answer(tokens, mask, rewards + 1)) - as_tensor(answer(*case.args))
    off = float((moved - mask.double()).abs().nan_to_num(math.inf).max())
    return None if off < 1e-4 else (
        f"one point more for every answer raises V by 1 at every token, and leaves padding at 0; "
        f"yours is {off:.4g} off")


def _kept(tokens, mask):
    return torch.where(mask.bool(), tokens, torch.zeros_like(tokens))


def _to_come(tokens, mask):
    return _kept(tokens, mask).flip(1).cumsum(1).flip(1)


def _of(values_of):
    """Return V by another rule of the token rewards that count, 0 at padding."""
    return lambda a, m, r: torch.where(m.bool(), values_of(_kept(a, m), m, r[:, None]), 0.0)


def _one_start(a, m, r):
    kept = _kept(a, m)
    start = (r - kept.sum(1)).mean()
    return torch.where(m.bool(), start + kept.cumsum(1) - kept, 0.0)


def _first_start(a, m, r):
    kept = _kept(a, m)
    start = (r - kept.sum(1))[0]
    return torch.where(m.bool(), start + kept.cumsum(1) - kept, 0.0)


def _mask_multiplied(a, m, r):
    return (r[:, None] - (a * m).flip(1).cumsum(1).flip(1)) * m


MUTANTS = (
    Mutant("one_start", _one_start,
           "You give all rows of the batch one start, a mean. Rows may answer different prompts, "
           "each with its own V(x): work along each row alone."),
    Mutant("first_start", _first_start,
           "You take the first row's start for all. Rows may answer different prompts, each with "
           "its own V(x): work along each row alone."),
    Mutant("mask_multiplied", _mask_multiplied,
           "You multiply by the mask. 0 times NaN is NaN: `torch.where(mask.bool(), ..., 0)` "
           "replaces what stands at padding."),
    Mutant("clamped", _of(lambda a, m, r: r - _to_come(a.clamp(-5, 5), m)),
           "You clamp advantages. Points have no bound: a clamped sum does not telescope."),
    Mutant("forward_sum", _of(lambda a, m, r: r - a.cumsum(1)),
           "You subtract what has been paid *up to* this token. V looks ahead: subtract the "
           "advantages of this token and of those *behind* it."),
    Mutant("sum_of_the_past", _of(lambda a, m, r: a.cumsum(1) - a),
           "This is the sum of the advantages so far. It tells how far V has moved since the start,"
           " not where it is: V looks ahead from the answer's reward."),
    Mutant("this_token_left_out", _of(lambda a, m, r: r - (_to_come(a, m) - a)),
           "You leave out this token's own advantage. That gives Q, the value *behind* the token; "
           "V stands in front of it: Q = V + A."),
    Mutant("only_this_token", _of(lambda a, m, r: r - a),
           "You subtract this token's advantage only. That is right for the last token; before it "
           "the advantages of all that follow have to go too."),
    Mutant("sign", _of(lambda a, m, r: r + _to_come(a, m)),
           "The sign is turned: r = V + A + ... + A, so V is the reward *minus* the advantages."),
    Mutant("negative", _of(lambda a, m, r: _to_come(a, m) - r),
           "This is minus V. From Σ A = r - V follows V = r - Σ A."),
    Mutant("reward_forgotten", _of(lambda a, m, r: -_to_come(a, m)),
           "The reward is missing: V is what is left of it when the advantages are taken off."),
    Mutant("root_everywhere", _of(lambda a, m, r: r - a.sum(1, keepdim=True) + 0 * a),
           "You give every place the value of the start. Each token's own V leaves out the "
           "advantages that lie *behind us*."),
    Mutant("paid_at_every_token", _of(lambda a, m, r: (m.long().flip(1).cumsum(1).flip(1) * r
                                                       - _to_come(a, m))),
           "The reward is paid at every token. It comes once, for the whole answer."),
    Mutant("mean_to_come", _of(lambda a, m, r: r - _to_come(a, m)
                               / m.long().flip(1).cumsum(1).flip(1).clamp(min=1)),
           "You subtract the *mean* of the advantages to come. They telescope as a sum."),
    Mutant("padding_not_zero", lambda a, m, r: r[:, None] - _to_come(a, m),
           "Behind the end the answer is over and V is 0; you leave the reward standing there."),
    Mutant("mask_ignored", lambda a, m, r: torch.where(
               m.bool(), r[:, None] - a.flip(1).cumsum(1).flip(1), 0.0),
           "What stands at padding is added in: replace it by 0 before you sum (0 times NaN would "
           "stay NaN: use `torch.where`)."),
    Mutant("over_answers", _of(lambda a, m, r: r - a.flip(0).cumsum(0).flip(0)),
           "The sum runs over answers. Each row is an answer: sum along its tokens, axis 1."),
    Mutant("not_turned_back", _of(lambda a, m, r: r - a.flip(1).cumsum(1)),
           "You turned the tokens round to sum from the end, and did not turn the sums back."),
)


def _loops(a, m, r):
    rows = []
    for row, counts, reward in zip(a.tolist(), m.tolist(), r.tolist(), strict=True):
        value, found = reward, [0.0] * len(row)
        for t in reversed(range(len(row))):
            if counts[t]:
                value -= row[t]
                found[t] = value
        rows.append(found)
    return rows


def _from_the_front(a, m, r):
    kept = _kept(a, m)
    root = r - kept.sum(1)  # then every advantage behind us is added again
    return (root[:, None] + kept.cumsum(1) - kept) * m.double()


def _numpy(a, m, r):
    kept = np.where(m.numpy().astype(bool), a.numpy(), 0.0)
    return np.where(m.numpy().astype(bool),
                    r.numpy()[:, None] - kept[:, ::-1].cumsum(1)[:, ::-1], 0.0)


_START, _BLUE = 0.4157354151816526, 0.6201145069582775  # of unit 09's smallest tree

TELESCOPING = Exercise(
    id=f"{UNIT}.telescoping",
    title="Telescoping",
    points=3, minutes=12, difficulty=3,
    reference=telescoping,
    oracle=place_by_place,
    hand=Case(
        args=(torch.tensor([[0 - _START, 9.0], [_BLUE - _START, 0 - _BLUE],
                            [_BLUE - _START, 1 - _BLUE]], dtype=torch.float64),
              torch.tensor([[1, 0], [1, 1], [1, 1]]),
              torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)),
        # V(start) = log(0.4 + 0.3 + 0.3 e), V(blue) = log(0.5 + 0.5 e), as unit 09 found them
        expected=torch.tensor([[_START, 0.0], [_START, _BLUE], [_START, _BLUE]],
                              dtype=torch.float64),
        note="unit 09's smallest tree: <eos>, blue blue, and blue <eos>, which is paid 1"),
    cases=draw_cases,
    atol=1e-6,
    properties=(
        Property("one state has one value", one_root),
        Property("the last Q is the reward", the_last_q_is_the_reward),
        Property("a bonus for all", a_bonus_for_all),
    ),
    mutants=MUTANTS,
    variants=(Variant("loops", _loops), Variant("from the front", _from_the_front),
              Variant("numpy", _numpy)),
    hints=(
        "Write Q - V for each token of an answer and add up: every V in the middle appears once "
        "with plus and once with minus. Do the same from token t on.",
        r"$$A_k = V(s_{k+1}) - V(s_k), \quad A_{n-1} = r - V(s_{n-1}) \;\Rightarrow\; "
        r"V(s_t) = r - \sum_{k \ge t} A_k$$" "\n\n"
        "`token_rewards` and the result are `[answers, tokens]`. A sum from the end is "
        "`x.flip(1).cumsum(1).flip(1)`; replace padding by 0 first. `rewards` is `[answers]`: "
        "`rewards[:, None]` is one column.",
        "```python\n"
        "kept = torch.where(completion_mask.bool(), token_rewards, 0.0)\n"
        "to_come = ...                     # kept, summed from the end\n"
        "return torch.where(completion_mask.bool(), ..., 0.0)\n"
        "```",
    ),
    why=r"Appending a token is certain, so $Q(s, a)$ *is* the value of the next state, and the "
        r"advantages along an answer telescope to $r - V(x)$ with $V(x) = \beta \log Z(x)$. An "
        r"optimal policy therefore contains its own value function, although nobody trained one.",
    index_names=lambda case, index: f"answer {index[0]}, in front of token {index[1]}",
)
