"""Exercise 09.2: the log-probability of an answer, from a network's logits."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.language_mdp.logprob_answers import MUTANTS, VARIANTS
from tutorlib.exercises.language_mdp.worlds import normal, numbers
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor


def sequence_logprob(logits: Float[Tensor, "batch tokens vocab"],
                     input_ids: Int[Tensor, "batch tokens"],
                     answer_mask: Int[Tensor, "batch tokens"]) -> Float[Tensor, " batch"]:
    """Return log pi(y|x) of each row: logits at place t predict the token at t + 1."""
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    return (logps * answer_mask[:, 1:]).sum(-1)


def one_by_one(logits, input_ids, answer_mask):
    """Visit each token of each answer, with Python's own exponential and logarithm."""
    found = []
    for row in range(len(input_ids)):
        total = 0.0
        for place in range(1, input_ids.shape[1]):
            if int(answer_mask[row, place]) == 0:
                continue
            scores = logits[row, place - 1].tolist()
            top = max(scores)
            normaliser = top + math.log(math.fsum(math.exp(s - top) for s in scores))
            total += scores[int(input_ids[row, place])] - normaliser
        found.append(total)
    return numbers(found)


def draw_batch(generator: torch.Generator, spans, tokens: int, vocab: int, shift: float = 0.0):
    """Draw logits and ids; ``spans`` are (prompt begins, answer begins, answer ends) of rows."""
    ids = torch.randint(2, vocab, (len(spans), tokens), generator=generator)
    mask = torch.zeros(len(spans), tokens, dtype=torch.long)
    for row, (start, answer, end) in enumerate(spans):
        ids[row, :start] = 0
        ids[row, end:] = 0
        ids[row, end - 1] = 1  # the end of sequence
        mask[row, answer:end] = 1
    return 1.5 * normal(generator, len(spans), tokens, vocab) + shift, ids, mask


def long_and_unlikely(generator: torch.Generator):
    """Draw two rows: a long answer, and one whose second token has probability e^-1000 or less."""
    logits, ids, mask = draw_batch(generator, [(0, 3, 300), (290, 292, 296)], 300, 6)
    logits[0] *= 4.0  # some 5 nats a token
    logits[1, 292, ids[1, 293]] -= 1000.0
    return logits, ids, mask


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw padded batches, one single row, very large logits, and probabilities that are 0."""
    return [
        Case(args=draw_batch(generator, [(0, 3, 6), (0, 2, 7), (0, 4, 5)], 8, 5),
             note="padding behind the answers"),
        Case(args=draw_batch(generator, [(0, 4, 7), (2, 4, 6), (3, 4, 8), (1, 4, 5)], 8, 6),
             note="padding before the prompts and behind the answers"),
        Case(args=draw_batch(generator, [(0, 1, 5)], 5, 7), note="one row, a prompt of one token"),
        Case(args=draw_batch(generator, [(0, 2, 5), (1, 2, 6)], 6, 4, 900.0),
             note="logits about 900"),
        Case(args=long_and_unlikely(generator),
             note="a long answer, and one with a very unlikely token: less likely than any "
                  "positive number in floating point"),
    ]


def a_constant_changes_nothing(answer, case: Case) -> str | None:
    """Logits are scores: their level has no meaning."""
    logits, ids, mask = case.args
    level = torch.arange(ids.numel(), dtype=torch.float64).view(*ids.shape, 1) / 10
    moved = (as_tensor(answer(logits + level, ids, mask)) - as_tensor(answer(*case.args))).abs()
    return None if bool((moved < 1e-6).all()) else (
        f"with a constant added to all logits of a place, the result moves by "
        f"{float(moved.max()):.4g}; it must stay")


def other_tokens_never_matter(answer, case: Case) -> str | None:
    """What stands at masked places, and the logits behind the answer, change nothing."""
    logits, ids, mask = (x.clone() for x in case.args)
    scored = torch.nn.functional.pad(mask[:, 1:], (0, 1))  # places whose logits predict an answer
    ids[mask == 0] = 1 - ids[mask == 0].clamp(max=1)
    logits[scored == 0] = logits[scored == 0].flip(-1) * 2
    moved = (as_tensor(answer(logits, ids, mask)) - as_tensor(answer(*case.args))).abs()
    return None if bool((moved < 1e-6).all()) else (
        f"other tokens in prompt and padding move the result by {float(moved.max()):.4g}; only "
        "the answer's tokens are scored")


def an_answer_is_at_most_certain(answer, case: Case) -> str | None:
    """No probability is above 1."""
    found = as_tensor(answer(*case.args))
    return None if bool((found <= 1e-9).all()) else (
        f"a log-probability of {float(found.max()):.4g} means a probability above 1")


def show_the_chain(answer):
    """Draw how the log-probability of an answer falls, token by token."""
    from tutorlib.viz import lines

    prompt, said = 2, ("is", "blue", "<eos>")
    chances = (0.8, 0.5, 0.9)
    logits = torch.zeros(1, prompt + 3, 3, dtype=torch.float64)
    for place, chance in enumerate(chances):
        rest = math.log((1 - chance) / 2)
        logits[0, prompt - 1 + place] = numbers([math.log(chance), rest, rest])
    ids = torch.zeros(1, prompt + 3, dtype=torch.long)
    totals = [0.0]
    for end in range(1, 4):
        mask = torch.zeros_like(ids)
        mask[0, prompt:prompt + end] = 1
        totals.append(float(as_tensor(answer(logits, ids, mask))[0]))
    return lines({"your log π": totals}, range(4), xlabel=f"tokens scored ({', '.join(said)})",
                 ylabel="log-probability (nats)",
                 title=f"Each token costs its own surprise: e^{totals[-1]:.3f} = "
                       f"{math.exp(totals[-1]):.2f} = 0.8 · 0.5 · 0.9")


HALF, FIFTH = math.log(0.5), math.log(0.2)
SEQUENCE_LOGPROB = Exercise(
    id="language_mdp.sequence_logprob",
    title="How likely is this answer?",
    points=3, minutes=14, difficulty=3,
    reference=sequence_logprob,
    oracle=one_by_one,
    hand=Case(
        args=(numbers([[[0.5, 0.25, 0.25], [0.2, 0.5, 0.3], [0.6, 0.2, 0.2],
                        [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]]]).log(),
              torch.tensor([[2, 0, 1, 1, 0]]), torch.tensor([[0, 0, 1, 1, 0]])),
        # places 0 and 1 are the prompt, 2 and 3 the answer (ids 1, 1), 4 padding; they are
        # predicted at places 1 and 2: log 0.5 + log 0.2 = log 0.1
        expected=numbers([math.log(0.1)]),
        note="five places, three words; the answer is the tokens 1 and 1 at places 2 and 3, "
             "predicted at places 1 and 2"),
    cases=draw_cases,
    properties=(Property("only differences of logits count", a_constant_changes_nothing),
                Property("prompt and padding are not scored", other_tokens_never_matter),
                Property("no probability is above 1", an_answer_is_at_most_certain)),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "A causal model's logits at a place say what comes *next*. So the first answer token is "
        "scored by the logits of the prompt's last token. Shift logits, ids and mask against each "
        "other by one, normalise, look up the token that came, and sum what the mask keeps.",
        r"$$\log \pi(y|x) = \sum_{t: m_t = 1} \Big( z_{t-1}[y_t] - \log \sum_v e^{z_{t-1}[v]} "
        r"\Big)$$" "\n\n"
        "`logits[:, :-1]` (`[batch, tokens - 1, vocab]`) predict `input_ids[:, 1:]`; "
        "`answer_mask[:, 1:]` goes with them. `torch.gather(x, -1, ids[..., None])` looks up one "
        "entry of each row.",
        "```python\n"
        "logps = torch.log_softmax(..., dim=-1)         # of what predicts something\n"
        "chosen = logps.gather(-1, ...)[..., 0]         # of the tokens that came\n"
        "return ...                                     # those of the answer, summed\n"
        "```",
    ),
    why=r"$\pi(y|x) = \prod_t \pi(y_t | x, y_{<t})$: a policy's probability of a trajectory. In a "
        "gridworld the dynamics multiply in; here they are certain, and contribute a factor of 1. "
        "The shift is the commonest mistake in this trade, and no shape reveals it: `[:, :-1]` "
        "for what predicts, `[:, 1:]` for what is predicted. Logarithms because a product of a "
        "thousand probabilities is 0 in any number format.",
    index_names=lambda case, index: f"row {index[0]}",
    figure=show_the_chain,
    forbidden=("tutorlib.lm.sequence_logps", "tutorlib.lm.per_token_logps",
               "tutorlib.lm.token_logps", "tutorlib.lm.next_token_logps"),
)
