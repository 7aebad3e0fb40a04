"""Where a chain of additions goes wrong: behind the right steps, and behind a model's own.

A step of a worked answer is "a + b = c", with the comma in front of it from the second step on. It
is wrong when any of its tokens is: also when the chain ended before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError
from tutorlib.lm import (
    SamplingSettings,
    encode_completions,
    encode_prompts,
    per_token_logps,
    sample,
)
from tutorlib.tinytalk.answers import right_content
from tutorlib.tinytalk.prompts import Prompt
from tutorlib.tinytalk.tokenizer import chat_prompt, make_tokenizer

STEP = 6  # tokens of a step; the first one lacks the comma


@dataclass(frozen=True, eq=False)
class ChainErrors:
    """Errors of a model in chains of additions, answer by answer and step by step."""

    own: Float[Tensor, "answers steps"]  # 1 where a step of its own answer is wrong
    forced: Float[Tensor, "answers steps"]  # chance of a wrong step behind right ones
    mask: Bool[Tensor, "answers steps"]  # whether the problem has this step
    texts: tuple[str, ...]  # the model's own answers


def chain_errors(model: nn.Module, prompts: Sequence[Prompt], answers: int,
                 generator: torch.Generator) -> ChainErrors:
    """Return a model's errors on its own prefixes, and behind the right ones.

    ``answers`` are sampled for each arithmetic prompt at temperature 1. Raises
    InvalidArgumentError for a prompt that is no addition, or whose total has no word.
    """
    for prompt in prompts:
        if prompt.family != "arithmetic" or sum(prompt.content) > 40:
            raise InvalidArgumentError(f"{prompt.text!r} is no addition with a total up to 40")
    tokenizer, device = make_tokenizer(), next(model.parameters()).device
    asked = encode_prompts(tokenizer, [chat_prompt(p.text) for p in prompts], device, False)
    right, kept = encode_completions(tokenizer, [right_content(p) for p in prompts], device)
    counts = kept.sum(1) // STEP  # behind the last step stand a full stop and the end
    steps = int(counts.max())
    with torch.no_grad():
        logps = per_token_logps(model, *asked, right, kept)
    forced = 1 - _by_step(logps, steps, 0.0).sum(-1).double().exp()
    drawn = sample(model, *asked, SamplingSettings(STEP * steps, num_generations=answers),
                   generator)
    said = nn.functional.pad(drawn.completion_ids, (0, max(0, STEP * steps - 1
                                                           - drawn.completion_ids.shape[1])))
    wanted = right.repeat_interleave(answers, 0)[:, :STEP * steps - 1]
    own = ~_by_step(said[:, :STEP * steps - 1] == wanted, steps, True).all(-1)
    mask = torch.arange(steps, device=device) < counts[:, None]
    return ChainErrors(own.double(), forced.repeat_interleave(answers, 0),
                       mask.repeat_interleave(answers, 0), tuple(drawn.texts(tokenizer)))


def _by_step(tokens: Tensor, steps: int, first: float | bool) -> Tensor:
    """Return [rows, steps, STEP] of values per token; ``first`` stands for the missing comma."""
    tokens = tokens[:, :STEP * steps - 1]
    return nn.functional.pad(tokens, (1, 0), value=first).view(len(tokens), steps, STEP)
