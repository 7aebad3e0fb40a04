"""Exercise 10.2: the loss of supervised fine-tuning, with its convention as an argument."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tutorlib.exercises.sft_is_imitation.shift import IGNORED, UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor

CONVENTIONS = ("token_mean", "sequence_mean", "sequence_sum")


def sft_loss(logits: Float[Tensor, "batch tokens vocab"],
             targets: Int[Tensor, "batch tokens_minus_one"], aggregate: str) -> Float[Tensor, ""]:
    """Return the negative log-likelihood of the targets, aggregated as named."""
    learned = targets != IGNORED
    logps = torch.log_softmax(logits[:, :-1], -1)
    chosen = logps.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    sums, counts = -(chosen * learned).sum(1), learned.sum(1)
    if aggregate == "sequence_sum":
        return sums.mean()
    if aggregate == "sequence_mean":
        return (sums / counts).mean()
    return sums.sum() / counts.sum()


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


def _nll(logits, targets):
    """Return minus log-probabilities, 0 where not learned, from already shifted logits."""
    logps = torch.log_softmax(logits, -1)
    return -logps.gather(-1, targets.clamp(min=0)[..., None])[..., 0] * (targets != IGNORED)


def _by(nll, targets, aggregate):
    counts = (targets != IGNORED).sum(1)
    return {"token_mean": lambda: nll.sum() / counts.sum(),
            "sequence_mean": lambda: (nll.sum(1) / counts).mean(),
            "sequence_sum": lambda: nll.sum(1).mean()}[aggregate]()


def _always(convention):
    return lambda z, y, a: sft_loss(z, y, convention)


def _clamped(z, y, a):
    logps = torch.log_softmax(z[:, :-1], -1)
    return _by(-logps.gather(-1, y.clamp(min=0)[..., None])[..., 0], y, a)


def _over_all_places(z, y, a):
    nll = _nll(z[:, :-1], y)
    return {"token_mean": nll.mean, "sequence_mean": nll.mean,
            "sequence_sum": lambda: nll.sum(1).mean()}[a]()


def _swapped_means(z, y, a):
    return sft_loss(z, y, {"token_mean": "sequence_mean", "sequence_mean": "token_mean"}.get(a, a))


def _total(z, y, a):
    loss = sft_loss(z, y, a)
    return loss * len(y) if a == "sequence_sum" else loss


def _means_added_up(z, y, a):
    loss = sft_loss(z, y, a)
    return loss * len(y) if a == "sequence_mean" else loss


def _probability(z, y, a):
    p = torch.softmax(z[:, :-1], -1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return _by(-p * (y != IGNORED), y, a)


def _softmax_twice(z, y, a):
    return _by(_nll(torch.softmax(z[:, :-1], -1), y), y, a)


def _raw(z, y, a):
    chosen = z[:, :-1].gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return _by(-chosen * (y != IGNORED), y, a)


def _log_of_probability(z, y, a):
    p = torch.softmax(z[:, :-1], -1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return _by(torch.where(y != IGNORED, -p.log(), torch.zeros_like(p)), y, a)


def _softmax_by_hand(z, y, a):
    raised = z[:, :-1].exp()
    p = (raised / raised.sum(-1, keepdim=True)).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return _by(torch.where(y != IGNORED, -p.log(), torch.zeros_like(p)), y, a)


def _log_of_the_product(z, y, a):
    p = torch.softmax(z[:, :-1], -1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    counts = (y != IGNORED).sum(1)
    sums = -torch.where(y != IGNORED, p, torch.ones_like(p)).prod(1).log()
    return {"token_mean": lambda: sums.sum() / counts.sum(),
            "sequence_mean": lambda: (sums / counts).mean(), "sequence_sum": sums.mean}[a]()


def _floor(z, y, a):
    p = torch.softmax(z[:, :-1], -1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return _by(-(p + 1e-8).log() * (y != IGNORED), y, a)


MUTANTS = (
    Mutant("logits_not_shifted", lambda z, y, a: _by(_nll(z[:, 1:], y), y, a),
           "You drop the *first* logits. Target column j is the token after position j: it is "
           "predicted by the logits at j. The last position predicts nothing: `logits[:, :-1]`."),
    Mutant("always_token_mean", _always("token_mean"),
           "This is \"token_mean\", asked for or not. Is `aggregate` used, and does each of its "
           "three names have a branch of its own?"),
    Mutant("always_sequence_mean", _always("sequence_mean"),
           "This is \"sequence_mean\", asked for or not. Is `aggregate` used, and does each of its "
           "three names have a branch of its own?"),
    Mutant("always_sequence_sum", _always("sequence_sum"),
           "This is \"sequence_sum\", asked for or not. Is `aggregate` used, and does each of its "
           "three names have a branch of its own?"),
    Mutant("means_swapped", _swapped_means,
           "The two means are exchanged. \"token_mean\" gives every *token* the same weight, "
           "\"sequence_mean\" every *answer*: first the mean within each, then over answers."),
    Mutant("batch_total", _total,
           "\"sequence_sum\" adds up within an answer, and *averages* over answers. You add up the "
           "answers as well, so the step of a gradient would grow with the batch."),
    Mutant("means_added_up", _means_added_up,
           "\"sequence_mean\" averages twice: within each answer, and over the answers. You add "
           "the answers' means up."),
    Mutant("ignored_scored", _clamped,
           "Ignored targets are scored as if they were a token: after `clamp` they must be masked "
           "out of the sum."),
    Mutant("divided_by_all_places", _over_all_places,
           "You divide by all places, prompt and padding included. Only the learned tokens count: "
           "otherwise more padding means a smaller loss."),
    Mutant("sign", lambda z, y, a: -sft_loss(z, y, a),
           "The sign is turned: a loss is *minus* the log-likelihood."),
    Mutant("softmax_twice", _softmax_twice,
           "Softmax is taken twice: `log_softmax` and `cross_entropy` want the logits themselves."),
    Mutant("probability", _probability,
           "This is minus the probability of the targets. The logarithm is missing."),
    Mutant("raw_logits", _raw,
           "A logit is no log-probability yet: subtract the log-sum-exp, `log_softmax(..., -1)`."),
    Mutant("floor_under_the_probability", _floor,
           "A small number under the logarithm hides how surprised the model is: with 1e-8 no "
           "token can lose more than 18.4 nats. `log_softmax` needs no floor."),
    Mutant("log_of_a_probability", _log_of_probability,
           "In a network's float32 a probability below e^-103 is 0, its logarithm minus infinity "
           "and the gradient NaN. Never take a probability on the way: `log_softmax`."),
    Mutant("softmax_by_hand", _softmax_by_hand,
           "In float32 `exp` of a logit above 89 is infinite, and infinity over infinity is NaN. "
           "`log_softmax` subtracts the largest logit first."),
    Mutant("log_of_the_product", _log_of_the_product,
           "The product of an answer's probabilities is 0 in float32 from some 103 nats on. Add "
           "up log-probabilities instead."),
    Mutant("bits", lambda z, y, a: sft_loss(z, y, a) / math.log(2),
           "This is in bits. Logarithms in this course are natural: nats."),
    Mutant("softmax_over_positions", lambda z, y, a: _by(
               -torch.log_softmax(z[:, :-1], 1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
               * (y != IGNORED), y, a),
           "The softmax runs over positions. It is the *tokens* at one position whose "
           "probabilities sum to 1: the last axis."),
    Mutant("per_token_probabilities_multiplied", lambda z, y, a: (-_nll(z[:, :-1], y)).sum(
               1).exp().mean(),
           "This is the probability of the answers. Asked for is minus its logarithm: a product "
           "of many probabilities is too small to have a useful gradient."),
)


def _cross_entropy(z, y, a):
    each = functional.cross_entropy(z[:, :-1].transpose(1, 2), y, ignore_index=IGNORED,
                                    reduction="none")
    return _by(each, y, a)


def _row_by_row(z, y, a):
    sums, counts = [], []
    for scores, wanted in zip(z, y, strict=True):
        kept = wanted != IGNORED
        logps = torch.log_softmax(scores[:-1][kept], -1)
        sums.append(-logps[torch.arange(len(logps)), wanted[kept]].sum())
        counts.append(int(kept.sum()))
    if a == "token_mean":
        return sum(sums) / sum(counts)
    if a == "sequence_mean":
        return sum(s / n for s, n in zip(sums, counts, strict=True)) / len(sums)
    return sum(sums) / len(sums)


def _logsumexp(z, y, a):
    z = z[:, :-1]
    chosen = z.gather(-1, y.clamp(min=0)[..., None])[..., 0] - z.logsumexp(-1)
    return _by(-torch.where(y != IGNORED, chosen, torch.zeros_like(chosen)), y, a)


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
    variants=(
        Variant("torch's cross_entropy", _cross_entropy),
        Variant("row by row", _row_by_row),
        Variant("log-sum-exp and where", _logsumexp),
    ),
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
