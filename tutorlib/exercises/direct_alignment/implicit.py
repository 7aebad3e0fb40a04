"""Exercise 17.2: the implicit reward of tokens and of answers."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tutorlib.exercises.direct_alignment.dpo import UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def implicit_reward(per_token_logps: Float[Tensor, "answers tokens"],
                    ref_per_token_logps: Float[Tensor, "answers tokens"],
                    completion_mask: Shaped[Tensor, "answers tokens"], beta: float):
    """Return beta log(pi / pi_ref) of each token, 0 at padding, and of each answer."""
    tokens = _tokens(per_token_logps, ref_per_token_logps, completion_mask, beta)
    return tokens, tokens.sum(1)


def token_by_token(logps, ref_logps, mask, beta):
    """Add up what counts in plain Python, an answer after the other."""
    rows, sums = [], []
    for own, ref, counts in zip(logps.tolist(), ref_logps.tolist(), mask.tolist(), strict=True):
        rows.append([beta * p - beta * q if m else 0.0
                     for p, q, m in zip(own, ref, counts, strict=True)])
        sums.append(math.fsum(rows[-1]))
    return torch.tensor(rows, dtype=torch.float64), torch.tensor(sums, dtype=torch.float64)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw answers of unequal lengths; at padding stands anything, NaN included."""
    cases = []
    for lengths, beta, garbage, kind in (((3, 5, 2, 4), 0.3, 7.0, torch.int64),
                                         ((2, 4, 3), 0.7, 0.0, torch.int64),
                                         ((1, 6, 4), 2.5, torch.nan, torch.bool),
                                         ((7, 2), 0.05, -torch.inf, torch.int64)):
        width = max(lengths) + 1  # one column that is padding in every row
        mask = torch.arange(width) < torch.tensor(lengths)[:, None]
        own, ref = (-4 * torch.rand(mask.shape, generator=generator, dtype=torch.float64)
                    for _ in range(2))
        held = torch.tensor(garbage, dtype=torch.float64)
        if garbage == 0.0:  # tokens as rare as a logit of -800 makes them
            own[0, 0], ref[0, 0], own[1, 1], ref[1, 1], ref[2, 2] = -800, -790, -1, -70, -61
        cases.append(Case(args=(torch.where(mask, own, held), torch.where(mask, ref, 0.5 - held),
                                mask.to(kind), beta),
                          note=f"answers of {', '.join(map(str, lengths))} tokens; at padding "
                               f"stands {garbage}"))
    return cases


def tokens_add_up(answer, case: Case) -> str | None:
    """An answer is worth what its tokens are worth together."""
    tokens, sums = (as_tensor(v) for v in answer(*case.args))
    if bool(tokens.isnan().any() or sums.isnan().any()):
        return ("NaN in your result: 0 times NaN is NaN, so is 0 / 0 once a probability is "
                "rounded to 0. Replace padding by `torch.where`, and subtract logarithms")
    off = float((tokens.sum(1) - sums).abs().nan_to_num(math.inf).max())
    return None if off < 1e-4 else (
        f"the token rewards of an answer do not add up to its own: {off:.4g} off")


def nothing_at_the_reference(answer, case: Case) -> str | None:
    """Where the policy is the reference, nothing is rewarded."""
    ref, mask, beta = case.args[1:]
    worst = max(float(as_tensor(v).abs().nan_to_num(math.inf).max())
                for v in answer(ref, ref, mask, beta))
    return None if worst < 1e-6 else (
        f"where the policy is the reference all rewards are 0; one is {worst:.4g}")


def an_end_more_likely_is_rewarded(answer, case: Case) -> str | None:
    """The last token that counts counts: raising its log-probability by 1 earns beta."""
    logps, ref, mask, beta = case.args
    last = (mask.long().sum(1) - 1)[:, None]
    raised = as_tensor(answer(logps.scatter_add(1, last, torch.ones_like(logps)), ref, mask,
                              beta)[1])
    gained = raised - as_tensor(answer(*case.args)[1])
    off = float((gained - beta).abs().nan_to_num(math.inf).max())
    return None if off < 1e-4 else (
        "one nat more for the last token (the end of the sequence) should be worth β to its "
        f"answer; it is {off:.4g} off")


def _tokens(p, q, mask, beta):
    return torch.where(mask.bool(), beta * (p - q), torch.zeros_like(p))


def _both(tokens):
    return tokens, tokens.sum(1)


def _of(token_rewards):
    return lambda p, q, m, b: _both(torch.where(m.bool(), token_rewards(p, q, b),
                                                torch.zeros_like(p)))


def _mean(p, q, m, b):
    tokens = _tokens(p, q, m, b)
    return tokens, tokens.sum(1) / m.sum(1)


def _mean_over_places(p, q, m, b):
    tokens = _tokens(p, q, m, b)
    return tokens, tokens.mean(1)


def _end_dropped(p, q, m, b):
    kept = m.bool().clone()
    kept[:, :-1] &= m[:, 1:].bool()  # the last token that counts has none behind it
    kept[:, -1] = False
    return _both(_tokens(p, q, kept, b))


def _first_dropped(p, q, m, b):
    kept = m.bool().clone()
    kept[:, 0] = False
    return _both(_tokens(p, q, kept, b))


def _cumulative(p, q, m, b):
    tokens = _tokens(p, q, m, b)
    return torch.where(m.bool(), tokens.cumsum(1), torch.zeros_like(p)), tokens.sum(1)


def _all_at_the_end(p, q, m, b):
    sums = _tokens(p, q, m, b).sum(1)
    last = m.long().sum(1)[:, None] - 1
    return torch.zeros_like(p).scatter(1, last, sums[:, None]), sums


def _shared_out(p, q, m, b):
    sums = _tokens(p, q, m, b).sum(1)
    return torch.where(m.bool(), (sums / m.sum(1))[:, None], torch.zeros_like(p)), sums


def _over_answers(p, q, m, b):
    tokens = _tokens(p, q, m, b)
    return tokens, tokens.sum(0)


def _only_tokens(p, q, m, b):
    return _tokens(p, q, m, b)


def _only_sums(p, q, m, b):
    return _tokens(p, q, m, b).sum(1)


MUTANTS = (
    Mutant("only_tokens", _only_tokens,
           "You return one thing; two are asked for: `return tokens, tokens.sum(1)`, the rewards "
           "of tokens and of answers."),
    Mutant("only_answers", _only_sums,
           "You return the answers' rewards only; two are asked for: first the rewards of tokens, "
           "[answers, tokens], then those of answers."),
    Mutant("clamped", _of(lambda p, q, b: b * (p - q).clamp(-5, 5)),
           "You clamp log-ratios. A token can be hundreds of nats likelier than before, and then "
           "that is its reward: a logarithm does not overflow."),
    Mutant("through_probabilities", _of(lambda p, q, b: b * (p.exp() / q.exp()).log()),
           "`exp` of a log-probability below -745 (float32: -104) is 0, and 0 / 0 is NaN. The "
           "logarithm of a ratio is the difference of the logarithms you were given."),
    Mutant("ratio_inverted", _of(lambda p, q, b: b * (q - p)),
           "The ratio is inverted: rewarded is what the policy has made *likelier* than the "
           "reference had it, log π - log π_ref."),
    Mutant("no_reference", _of(lambda p, q, b: b * p),
           "The reference is missing: a log-probability alone says how usual a token is, not how "
           "much the policy has come to like it."),
    Mutant("beta_missing", _of(lambda p, q, b: p - q), "β is missing: the log-ratio is in nats, "
           "the reward in points, and β is points per nat."),
    Mutant("beta_divides", _of(lambda p, q, b: (p - q) / b),
           "β divides. π = π_ref e^{r/β} / Z, so r is β *times* the log-ratio, up to a constant."),
    Mutant("ratio_not_logarithm", _of(lambda p, q, b: b * (p - q).exp()),
           "This is the ratio of probabilities. The reward is its logarithm: no `exp`."),
    Mutant("difference_of_probabilities", _of(lambda p, q, b: b * (p.exp() - q.exp())),
           "You subtract probabilities. It is the *log*-probabilities that are subtracted; they "
           "are what you are given."),
    Mutant("weighted", _of(lambda p, q, b: b * p.exp() * (p - q)),
           "You weigh by the policy's probability, as a KL does. The KL is the *mean* of log-ratios"
           " over answers; here an answer is given, and its log-ratio is the sum."),
    Mutant("mask_ignored", lambda p, q, m, b: _both(b * (p - q)),
           "Padding is rewarded: the mask is not used. What stands at padding is no token."),
    Mutant("mask_multiplied", lambda p, q, m, b: _both(b * (p - q) * m),
           "You multiply by the mask. 0 times NaN or infinity is NaN: at padding may stand "
           "anything. `torch.where(mask.bool(), ..., 0)` replaces it."),
    Mutant("mask_inverted", lambda p, q, m, b: _both(torch.where(
               m.bool(), torch.zeros_like(p), b * (p - q))),
           "The mask is inverted: 1 marks tokens that count, 0 padding."),
    Mutant("mean_over_tokens", _mean,
           "You return a mean over the answer's tokens. log π(y) is a *sum*: a mean would need "
           "another β, larger by about the length."),
    Mutant("mean_over_places", _mean_over_places,
           "You return a mean over all places, padding included. log π(y) is a *sum* over the "
           "answer's tokens."),
    Mutant("end_dropped", _end_dropped,
           "The last token of each answer is left out. It is the end of the sequence, an action "
           "like any other: π must answer for stopping there."),
    Mutant("first_dropped", _first_dropped,
           "The first token of each answer is left out. These log-probabilities are aligned "
           "already: column t is token t of the answer, nothing needs to be shifted."),
    Mutant("cumulative", _cumulative,
           "The token rewards run up: each holds those before it too. Asked for is each token's "
           "own log-ratio; they add up to the answer's."),
    Mutant("all_at_the_end", _all_at_the_end,
           "You pay the whole answer at its last token. The *given* reward may come that way; the "
           "implicit one has a share for every token: its own log-ratio."),
    Mutant("shared_out_evenly", _shared_out,
           "Every token of an answer gets the same. Each has a log-ratio of its own: that is what "
           "makes the implicit reward dense."),
    Mutant("summed_over_answers", _over_answers,
           "You add up over answers. Each row is an answer: sum over its tokens, the last axis."),
    Mutant("exchanged", lambda *a: implicit_reward(*a)[::-1],
           "The two are exchanged: first the token rewards, then the answers'."),
)


def _numpy(p, q, m, b):
    kept = np.asarray(m.numpy(), dtype=bool)
    tokens = np.zeros(kept.shape)
    tokens[kept] = b * (p.numpy()[kept] - q.numpy()[kept])
    return tokens, tokens.sum(1)


def _filled(p, q, m, b):
    tokens = (b * (p - q)).masked_fill(m == 0, 0.0)
    return [tokens, tokens.sum(-1)]


_HALVES = torch.tensor([[0.5, 0.25, 0.3], [0.25, 0.5, 0.5]], dtype=torch.float64).log()
_QUARTERS = torch.tensor([[0.25, 0.25, 0.9], [0.5, 0.25, 0.125]], dtype=torch.float64).log()

IMPLICIT_REWARD = Exercise(
    id=f"{UNIT}.implicit_reward",
    title="The reward in a policy",
    points=2, minutes=8, difficulty=2,
    reference=implicit_reward,
    oracle=token_by_token,
    hand=Case(
        args=(_HALVES, _QUARTERS, torch.tensor([[1, 1, 0], [1, 1, 1]]), 0.5),
        # answer 0: ratios 2, 1, padding; answer 1: 1/2, 2, 4: -1 + 1 + 2 = 2 times log 2, halved
        expected=(torch.tensor([[0.5, 0.0, 0.0], [-0.5, 0.5, 1.0]], dtype=torch.float64)
                  * math.log(2),
                  torch.tensor([0.5, 1.0], dtype=torch.float64) * math.log(2)),
        note="ratios of probabilities (2, 1, padding) and (1/2, 2, 4), β = 0.5"),
    cases=draw_cases,
    properties=(
        Property("tokens add up to the answer", tokens_add_up),
        Property("nothing at the reference", nothing_at_the_reference),
        Property("the end counts", an_end_more_likely_is_rewarded),
    ),
    mutants=MUTANTS,
    variants=(Variant("numpy", _numpy), Variant("masked_fill, as a list", _filled)),
    hints=(
        "How much likelier has the policy made this token? That is the token's reward. An answer's "
        "probability is a product over tokens, so its log-ratio is a sum.",
        r"$$r_t = \beta \log \frac{\pi(y_t | x, y_{<t})}{\pi_\text{ref}(y_t | x, y_{<t})}, \qquad "
        r"\sum_t r_t = \beta \log \frac{\pi(y|x)}{\pi_\text{ref}(y|x)}$$" "\n\n"
        "Inputs are `[answers, tokens]`; where the mask is 0 the token's reward is 0, whatever the "
        "log-probabilities hold there.",
        "```python\n"
        "tokens = torch.where(completion_mask.bool(), ..., 0.0)   # [answers, tokens]\n"
        "return tokens, ...                                       # [answers]\n"
        "```",
    ),
    why="A policy *is* a reward: every model, compared with another, says of each token how much "
        "it was worth. It was never trained token by token, and yet it gives credit to each one.",
    index_names=lambda case, index: f"answer {index[0]}" + (
        f", token {index[1]}" if len(index) > 1 else ""),
    forbidden=("tutorlib.posttraining.implicit_reward",),
)
