"""Exercise 16.4: what each token of an answer is paid."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.rlhf_policy_gradient.common import (
    UNIT,
    draw_logps,
    mask_of,
    name_token,
    normal,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def token_rewards(rewards: Float[Tensor, " answers"], logps: Float[Tensor, "answers tokens"],
                  ref_logps: Float[Tensor, "answers tokens"], mask: Int[Tensor, "answers tokens"],
                  beta: float) -> Float[Tensor, "answers tokens"]:
    """Return -beta log pi/pi_ref of each token, plus the answer's reward at its last token."""
    paid = -beta * (logps - ref_logps).masked_fill(mask == 0, 0.0)
    last = mask.sum(1) - 1
    paid[torch.arange(len(paid)), last] += rewards
    return paid


def token_by_token(rewards, logps, ref_logps, mask, beta) -> Tensor:
    """Walk through each answer and pay its tokens one at a time."""
    rows = []
    for reward, p, q, counts in zip(rewards.tolist(), logps.tolist(), ref_logps.tolist(),
                                    mask.tolist(), strict=True):
        length = counts.index(0) if 0 in counts else len(counts)
        row = [float(Fraction(beta) * (Fraction(q[t]) - Fraction(p[t]))) for t in range(length)]
        row[-1] += reward
        rows.append(row + [0.0] * (len(counts) - length))
    return torch.tensor(rows, dtype=torch.float64)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw answers of unequal lengths, one of a single token, one that fills the width."""
    cases = []
    for lengths, beta, note in (((3, 5, 2), 0.3, "three answers of 3, 5 and 2 tokens"),
                                ((1, 4), 0.05, "one answer is a single token"),
                                ((2, 6, 4, 3), 1.5, "a high price"),
                                ((4, 2, 3), 0.0, "no price at all")):
        mask = mask_of(*lengths)
        cases.append(Case(args=(2 * normal(generator, len(lengths)), *draw_logps(generator, mask),
                                mask, beta), note=note))
    full = mask_of(3, 3)[:, :3]
    logps, ref = draw_logps(generator, full)
    mask = mask_of(2, 4)
    rare, ref_rare = draw_logps(generator, mask)
    rare[0, 1], ref_rare[0, 1] = -800.0, -803.0
    dirty = [side.masked_fill(mask == 0, torch.nan) for side in (rare, ref_rare)]
    return [*cases, Case(args=(normal(generator, 2), logps, ref, full, 0.4), note="no padding"),
            Case(args=(normal(generator, 2), *dirty, mask, 0.2),
                 note="padding holds NaN, and one token has a log-probability of -800")]


def adds_up_to_the_objective(answer, case: Case) -> str | None:
    """An answer's payments add up to r - beta log pi(y)/pi_ref(y)."""
    rewards, logps, ref, mask, beta = case.args
    want = rewards - beta * (logps - ref).masked_fill(mask == 0, 0.0).sum(1)
    gap = (as_tensor(answer(*case.args)).double().sum(1) - want).abs()
    worst = int(gap.argmax())
    return None if float(gap[worst]) < 1e-6 else (
        f"the payments of answer {worst} add up to something {float(gap[worst]):.4g} away from "
        "r - beta log pi(y)/pi_ref(y)")


def nothing_for_padding(answer, case: Case) -> str | None:
    """Padding is paid nothing."""
    mask = case.args[3]
    paid = as_tensor(answer(*case.args)).double()[mask == 0]
    return None if paid.numel() == 0 or float(paid.abs().max()) < 1e-9 else (
        f"padding is paid {float(paid.abs().max()):.4g}")


def reward_comes_at_the_end_only(answer, case: Case) -> str | None:
    """More reward for an answer changes the payment of its last token and no other."""
    rewards, *rest = case.args
    gain = (as_tensor(answer(rewards + 1, *rest)) - as_tensor(answer(*case.args))).double()
    mask = case.args[3]
    last = torch.nn.functional.one_hot(mask.sum(1) - 1, mask.shape[1]).double()
    off = (gain - last).abs()
    worst = divmod(int(off.argmax()), mask.shape[1])
    return None if float(off.max()) < 1e-6 else (
        f"with 1 more reward, token {worst[1]} of answer {worst[0]} is paid "
        f"{float(gain[worst]):.4g} more; only the last token of an answer should be, by 1")


def _with(kl=None, place=None):
    """Return the payments with another KL or another place of the reward."""
    def answer(rewards, logps, ref_logps, mask, beta):
        if kl is not _padding_pays and kl is not _times_the_mask:
            logps, ref_logps = (x.masked_fill(mask == 0, 0.0) for x in (logps, ref_logps))
        paid = (kl or _price)(logps, ref_logps, mask, beta)
        if place is None:
            paid[torch.arange(len(paid)), mask.sum(1) - 1] += rewards
            return paid
        return paid + place(rewards, mask.double())
    return answer


def _price(p, q, m, b):
    return -b * (p - q)


def _padding_pays(p, q, m, b):
    return -b * (p - q)


def _times_the_mask(p, q, m, b):
    return -b * (p - q) * m


def _at(columns):
    """Return a reward placed in one column of each row."""
    def place(rewards, mask):
        return rewards[:, None] * torch.nn.functional.one_hot(columns(mask), mask.shape[1])
    return place


def _lump_sum(p, q, m, b):
    total = -b * ((p - q) * m).sum(1, keepdim=True)
    last = torch.nn.functional.one_hot(m.sum(1) - 1, m.shape[1])
    return total * last


def _every_end_in_every_row(rewards, p, q, m, b):
    paid = token_rewards(rewards * 0, p, q, m, b)
    paid[:, m.sum(1) - 1] += rewards
    return paid


def _from_the_end_on(rewards, m):
    return rewards[:, None] * (m.cumsum(1) == m.sum(1, keepdim=True))


MUTANTS = (
    Mutant("every_end_in_every_row", _every_end_in_every_row,
           "`x[:, last] += r` writes to *all* rows, at every answer's end. Pair rows with columns: "
           "`x[torch.arange(len(x)), last] += r`."),
    Mutant("from_the_end_on", _with(place=_from_the_end_on),
           "The reward is paid at the last token *and* at all padding behind it: behind the end "
           "`cumsum` stands still. Multiply by the mask as well."),
    Mutant("length_of_the_first", _with(place=_at(
               lambda m: m[:1].long().sum(1).expand(len(m)) - 1)),
           "The first answer's length is used for all. Each answer has its own last token."),
    Mutant("price_on_the_reward", lambda r, p, q, m, b: token_rewards(b * r, p, q, m, b),
           "The reward is multiplied by beta too. beta prices nats only; the reward comes whole."),
    Mutant("kl_cut_at_zero", _with(kl=lambda p, q, m, b: -b * (p - q).clamp(min=0) * m),
           "Negative log-ratios are cut off. One token's may be negative, and is then paid back; "
           "only so is the sum a KL."),
    Mutant("last_column", _with(place=_at(lambda m: torch.full((len(m),), m.shape[1] - 1))),
           "The reward is paid in the last *column*, which is padding in shorter answers. It "
           "belongs to each answer's own last token: `mask.sum(1) - 1`."),
    Mutant("one_too_late", _with(place=_at(lambda m: m.long().sum(1).clamp(max=m.shape[1] - 1))),
           "The reward is paid one place too late, behind the answer: the last token stands at "
           "`mask.sum(1) - 1`, for counting begins at 0."),
    Mutant("before_the_end", _with(place=_at(lambda m: (m.long().sum(1) - 2).clamp(min=0))),
           "The reward is paid one token too early. The end of sequence is a token of the answer, "
           "and the last one: it was a decision to stop there."),
    Mutant("first_token", _with(place=_at(lambda m: torch.zeros(len(m), dtype=torch.long))),
           "The reward is paid with the first token. Nobody can judge the answer before it ends."),
    Mutant("to_every_token", _with(place=lambda r, m: r[:, None] * m),
           "Every token gets the whole reward, so a longer answer earns more. It is paid once, at "
           "the end."),
    Mutant("spread_evenly", _with(place=lambda r, m: r[:, None] * m / m.sum(1, keepdim=True)),
           "The reward is spread evenly over the tokens. Here it is paid at the end; how to spread "
           "it is unit 20's question."),
    Mutant("kl_sign", _with(kl=lambda p, q, m, b: b * (p - q) * m),
           "The KL is *earned* in your version: leaving the reference would pay. It is a price: "
           "minus beta times the log-ratio."),
    Mutant("beta_missing", _with(kl=lambda p, q, m, b: -(p - q) * m),
           "beta is missing: the KL is paid at 1 a nat, whatever the price."),
    Mutant("no_kl", _with(kl=lambda p, q, m, b: torch.zeros_like(p)),
           "The price of leaving the reference is missing: nothing holds the language together."),
    Mutant("no_kl_at_the_end", lambda r, p, q, m, b: (
               token_rewards(r * 0, p, q, m, b) * (1 - torch.nn.functional.one_hot(
                   m.sum(1) - 1, m.shape[1])) + _at(lambda x: x.long().sum(1) - 1)(r, m)),
           "The last token gets the reward *in place of* its KL. It pays its KL too: add."),
    Mutant("kl_at_the_end", _with(kl=_lump_sum),
           "The whole answer's KL is charged at the end. The sum is right, and for RLOO that is "
           "enough; but at token level each token pays where it leaves the reference, so that "
           "blame lands there."),
    Mutant("padding_pays", _with(kl=_padding_pays),
           "Padding pays a KL, of numbers that mean nothing: set it to 0 there."),
    Mutant("multiplied_by_the_mask", _with(kl=_times_the_mask),
           "Padding may hold NaN, and NaN times 0 is NaN: use `where` or `masked_fill`."),
    Mutant("k3_for_k1", _with(kl=lambda p, q, m, b: -b * (torch.exp(q - p) - 1 - (q - p)) * m),
           "You charge k3. In the *reward* only k1 has the gradient of E[r] - beta KL (see the "
           "figure above)."),
    Mutant("absolute", _with(kl=lambda p, q, m, b: -b * (p - q).abs() * m),
           "You charge the absolute log-ratio. A token that the policy says *less* often than the "
           "reference gets something back; only so is the sum a KL."),
    Mutant("mean_over_tokens", _with(kl=lambda p, q, m, b: -b * (p - q) * m / m.sum(
               1, keepdim=True)),
           "The KL is divided by the answer's length, so long answers leave the reference "
           "cheaply. The objective has the sum over tokens."),
)


def _where(rewards, logps, ref_logps, mask, beta):
    place = torch.arange(mask.shape[1])
    ends = place == mask.sum(1, keepdim=True) - 1
    paid = torch.where(mask == 1, beta * (ref_logps - logps), 0.0)
    return torch.where(ends, paid + rewards[:, None], paid)


def _scatter(rewards, logps, ref_logps, mask, beta):
    kl = (logps - ref_logps).masked_fill(mask == 0, 0.0)
    return (-beta * kl).scatter_add(1, mask.sum(1, keepdim=True) - 1, rewards[:, None])


def _numpy(rewards, logps, ref_logps, mask, beta):
    paid = np.where(mask.numpy() == 1, -beta * (logps - ref_logps).numpy(), 0.0)
    for i, reward in enumerate(rewards.tolist()):
        paid[i, np.flatnonzero(mask[i].numpy())[-1]] += reward
    return paid


_P = torch.tensor([[0.5, 0.5, 0.5], [0.25, 0.5, 0.9]], dtype=torch.float64).log()
_Q = torch.tensor([[0.25, 0.5, 1.0], [0.5, 0.25, 0.1]], dtype=torch.float64).log()
_STEP = 0.5 * math.log(2)

TOKEN_REWARDS = Exercise(
    id=f"{UNIT}.token_rewards",
    title="What each token is paid",
    points=2, minutes=8, difficulty=2,
    reference=token_rewards,
    oracle=token_by_token,
    hand=Case(
        args=(torch.tensor([2.0, -1.0], dtype=torch.float64), _P, _Q,
              torch.tensor([[1, 1, 1], [1, 1, 0]]), 0.5),
        # log-ratios: log 2, 0, -log 2; and -log 2, log 2, padding
        expected=torch.tensor([[-_STEP, 0.0, 2 + _STEP], [_STEP, -1 - _STEP, 0.0]],
                              dtype=torch.float64),
        note="two answers of 3 and 2 tokens, at beta 0.5"),
    cases=draw_cases,
    properties=(
        Property("padding is paid nothing", nothing_for_padding),
        Property("the reward comes with the last token only", reward_comes_at_the_end_only),
        Property("payments add up to the objective", adds_up_to_the_objective),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("torch.where", _where),
        Variant("scatter_add", _scatter),
        Variant("numpy", _numpy),
    ),
    hints=(
        "Two payments. Every token of the answer pays for its own log-ratio; the last one also "
        "collects what the answer is worth.",
        r"$$r_t = -\beta \big( \log \pi(y_t) - \log \pi_\text{ref}(y_t) \big) + "
        r"[t = \text{last}]\; r(x, y)$$" "\n\n"
        "`logps`, `ref_logps`, `mask` and the result are `[answers, tokens]`, 0 at padding; "
        "`rewards` is `[answers]`. The last token of each answer stands at `mask.sum(1) - 1`.",
        "```python\n"
        "paid = ...masked_fill(mask == 0, 0.0)     # the price, token by token\n"
        "last = ...                                # [answers], a column number each\n"
        "paid[torch.arange(len(paid)), last] += ...\n"
        "return paid\n"
        "```",
    ),
    why="Added up, an answer earns r - beta log pi/pi_ref, whose mean is the objective: nothing "
        "is new but *where* it is paid. Blame for leaving the reference lands on the token that "
        "left it; praise for the answer has to be passed back by a critic.",
    index_names=name_token,
    forbidden=("tutorlib.posttraining.token_rewards",),
)
