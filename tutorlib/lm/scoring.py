"""Log-probabilities of answers under a causal language model: what every later loss is made of.

A causal model's logits at position t predict token t + 1. So the answer's tokens are scored by the
logits from the prompt's last token up to the answer's last but one. Prompts are padded on the left
and answers on the right; positions count real tokens only; whatever ids stand at masked places
are replaced before the model sees them, and their log-probability is returned as 0. What is
measured per token is computed without padding between prompt and answer: half of a batch of short
texts can be padding otherwise.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError
from tutorlib.lm.checks import (
    accepts,
    check_completions,
    check_count,
    check_length,
    check_not_nan,
    check_number,
    check_prompts,
)

Aggregate = Literal["sequence_sum", "sequence_mean", "token_mean", "constant"]
AGGREGATES = ("sequence_sum", "sequence_mean", "token_mean", "constant")


def token_logps(logits: Float[Tensor, "*batch vocab"], ids: Int[Tensor, "*batch"]
                ) -> Float[Tensor, "*batch"]:
    """Return log softmax(logits)[ids], without making the whole table of log-probabilities.

    >>> token_logps(torch.zeros(1, 4), torch.tensor([2])).exp().tolist()
    [0.25]
    """
    chosen = logits.gather(-1, ids[..., None])[..., 0]
    return chosen - logits.logsumexp(-1)


def token_entropy(logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch"]:
    """Return the entropy of softmax(logits), in nats; a logit of -inf contributes nothing.

    >>> token_entropy(torch.tensor([0.0, 0.0, -torch.inf])).exp().item()
    2.0
    """
    logps = logits.log_softmax(-1)
    return -(logps.exp() * logps.clamp(min=torch.finfo(logps.dtype).min)).sum(-1)


def position_ids(mask: Shaped[Tensor, "batch tokens"]) -> Int[Tensor, "batch tokens"]:
    """Return each token's place among the tokens that count, from 0; padding gets 0.

    >>> position_ids(torch.tensor([[0, 0, 1, 1]])).tolist()
    [[0, 0, 0, 1]]
    """
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def completion_logits(model: nn.Module, prompt_ids: Int[Tensor, "batch prompt"],
                      prompt_mask: Shaped[Tensor, "batch prompt"],
                      completion_ids: Int[Tensor, "batch answer"],
                      completion_mask: Shaped[Tensor, "batch answer"]
                      ) -> Float[Tensor, "batch answer vocab"]:
    """Return the logits that predict each answer token, in float32 or better.

    Differentiable in the model's parameters. Raises InvalidTextError for an empty prompt, padding
    on the wrong side, unknown ids, or more tokens than the context holds.
    """
    prompts = check_prompts(model, prompt_ids, prompt_mask)
    answers = check_completions(model, prompt_ids, completion_ids, completion_mask)
    mask = torch.cat([prompts, answers], 1)
    check_length(model, int(mask.sum(1).max()), "the longest prompt with its answer")
    ids = torch.cat([prompt_ids, completion_ids], 1).masked_fill(~mask, 0)
    width = answers.shape[1]
    inputs = {"position_ids": position_ids(mask), "logits_to_keep": width + 1, "use_cache": False}
    given = {name: value for name, value in inputs.items() if accepts(model, name)}
    logits = model(input_ids=ids, attention_mask=mask.long(), **given).logits
    logits = logits[:, -(width + 1):-1]
    return logits if logits.dtype == torch.float64 else logits.float()


def per_token_logps(model: nn.Module, prompt_ids: Int[Tensor, "batch prompt"],
                    prompt_mask: Shaped[Tensor, "batch prompt"],
                    completion_ids: Int[Tensor, "batch answer"],
                    completion_mask: Shaped[Tensor, "batch answer"],
                    temperature: float = 1.0, batch_size: int | None = None
                    ) -> Float[Tensor, "batch answer"]:
    """Return log pi(y_t | x, y_<t) of each answer token; 0 where the mask is 0.

    Logits are divided by ``temperature`` first. ``batch_size`` scores that many rows at a time,
    rows of like length together: less padding is computed, and less memory held.

    Raises as ``completion_logits``; InvalidModelError for NaN.
    """
    return _in_chunks(_logps, model, prompt_ids, prompt_mask, completion_ids, completion_mask,
                      temperature, batch_size)[0]


def per_token_entropy(model: nn.Module, prompt_ids: Int[Tensor, "batch prompt"],
                      prompt_mask: Shaped[Tensor, "batch prompt"],
                      completion_ids: Int[Tensor, "batch answer"],
                      completion_mask: Shaped[Tensor, "batch answer"],
                      temperature: float = 1.0, batch_size: int | None = None
                      ) -> Float[Tensor, "batch answer"]:
    """Return the entropy of pi(. | x, y_<t) where each answer token was chosen; 0 where masked.

    Arguments and errors as ``per_token_logps``.
    """
    return _in_chunks(_entropy, model, prompt_ids, prompt_mask, completion_ids, completion_mask,
                      temperature, batch_size)[0]


def per_token_logps_and_entropy(
        model: nn.Module, prompt_ids: Int[Tensor, "batch prompt"],
        prompt_mask: Shaped[Tensor, "batch prompt"], completion_ids: Int[Tensor, "batch answer"],
        completion_mask: Shaped[Tensor, "batch answer"], temperature: float = 1.0,
        batch_size: int | None = None, entropy_gradient: bool = True
        ) -> tuple[Float[Tensor, "batch answer"], Float[Tensor, "batch answer"]]:
    """Return ``per_token_logps`` and ``per_token_entropy`` from one forward pass.

    Without ``entropy_gradient`` the entropy is a number to record: no graph is kept for it.
    """
    measure = _logps_and_entropy if entropy_gradient else _logps_and_plain_entropy
    logps, entropy = _in_chunks(measure, model, prompt_ids, prompt_mask, completion_ids,
                                completion_mask, temperature, batch_size)
    return logps, entropy


def rows_at_once(model: nn.Module) -> int | None:
    """Return a ``batch_size`` that is fast on the model's device: 16 on a CPU, else all (None).

    Sixteen rows of like length leave little padding, and their activations stay in the cache.
    """
    return 16 if next(model.parameters()).device.type == "cpu" else None


def sequence_values(per_token: Float[Tensor, "batch answer"],
                    completion_mask: Shaped[Tensor, "batch answer"],
                    aggregate: Aggregate = "sequence_sum", constant: float | None = None
                    ) -> Float[Tensor, " batch"]:
    """Return one number per answer, so that their mean over the batch follows the convention.

    With s_i the sum over the n_i tokens of answer i, N = sum_i n_i, and B answers:

    - "sequence_sum": s_i, the log-probability of the answer (REINFORCE, DPO);
    - "sequence_mean": s_i / n_i (GRPO; Shao et al. 2024, eq. 3);
    - "token_mean": s_i B / N, whose mean is the mean over all tokens (DAPO; Yu et al. 2025, eq. 8);
    - "constant": s_i / constant, one length for all (Dr. GRPO; Liu et al. 2025).

    >>> values, mask = torch.tensor([[1.0, 1.0], [4.0, 9.0]]), torch.tensor([[1, 1], [1, 0]])
    >>> [sequence_values(values, mask, a, 2.0).mean().item() for a in AGGREGATES]
    [3.0, 2.5, 2.0, 1.5]
    """
    if aggregate not in AGGREGATES:
        raise InvalidArgumentError(f"aggregate is {aggregate!r}; expected one of {AGGREGATES}")
    mask = completion_mask.to(per_token.dtype)
    sums, lengths = per_token.masked_fill(mask == 0, 0.0).sum(-1), mask.sum(-1)
    if aggregate == "sequence_mean":
        return sums / lengths.clamp(min=1)
    if aggregate == "token_mean":
        return sums * (len(sums) / lengths.sum().clamp(min=1))
    if aggregate == "constant":
        check_number("constant", constant)
        return sums / constant
    return sums


def sequence_logps(model: nn.Module, prompt_ids: Int[Tensor, "batch prompt"],
                   prompt_mask: Shaped[Tensor, "batch prompt"],
                   completion_ids: Int[Tensor, "batch answer"],
                   completion_mask: Shaped[Tensor, "batch answer"], temperature: float = 1.0,
                   aggregate: Aggregate = "sequence_sum", constant: float | None = None,
                   batch_size: int | None = None) -> Float[Tensor, " batch"]:
    """Return log pi(y | x) = sum_t log pi(y_t | x, y_<t) of each answer (Sun 2025, eq. 6).

    Other values of ``aggregate`` as in ``sequence_values``; errors as ``per_token_logps``.
    """
    logps = per_token_logps(model, prompt_ids, prompt_mask, completion_ids, completion_mask,
                            temperature, batch_size)
    return sequence_values(logps, completion_mask, aggregate, constant)


def _logps(logits: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
    return (token_logps(logits, ids),)


def _entropy(logits: Tensor, _ids: Tensor) -> tuple[Tensor, ...]:
    return (token_entropy(logits),)


def _logps_and_entropy(logits: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
    return token_logps(logits, ids), token_entropy(logits)


def _logps_and_plain_entropy(logits: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
    return token_logps(logits, ids), token_entropy(logits.detach())


def _in_chunks(measure, model, prompt_ids, prompt_mask, completion_ids, completion_mask,
               temperature: float, batch_size: int | None) -> list[Tensor]:
    """Apply ``measure`` to the logits of the rows, ``batch_size`` of like length at a time."""
    check_number("temperature", temperature)
    prompts = check_prompts(model, prompt_ids, prompt_mask)
    answers = check_completions(model, prompt_ids, completion_ids, completion_mask)
    lengths = prompts.sum(1) + answers.sum(1)
    check_length(model, int(lengths.max()), "the longest prompt with its answer")
    rows = (prompt_ids, prompts, completion_ids, answers)
    if batch_size is None or batch_size >= len(prompt_ids):
        return _measured(measure, model, rows, temperature)
    check_count("batch_size", batch_size)
    order = lengths.argsort(stable=True)
    pieces = [_measured(measure, model, [row[chunk] for row in rows], temperature)
              for chunk in order.split(batch_size)]
    back = order.argsort()
    return [torch.cat(column)[back] for column in zip(*pieces, strict=True)]


def _measured(measure, model, rows, temperature: float) -> list[Tensor]:
    """Return what ``measure`` finds in one chunk; 0 where masked."""
    ids, begins = align_rows(*rows)
    first = int(begins.min())  # no row has an answer before
    inputs = {"logits_to_keep": ids.shape[1] - first + 1, "use_cache": False}
    given = {name: value for name, value in inputs.items() if accepts(model, name)}
    logits = model(input_ids=ids, **given).logits[:, first - 1 - ids.shape[1]:-1]
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if temperature != 1:
        logits = logits / temperature
    found = [answer_values(values, begins - first, rows[-1])
             for values in measure(logits, ids[:, first:])]
    check_not_nan(found[0], "log-probabilities")
    return found


def align_rows(prompt_ids: Tensor, prompts: Tensor, completion_ids: Tensor, answers: Tensor
               ) -> tuple[Tensor, Tensor]:
    """Return ids [rows, tokens] with answers right behind their prompts, and where they begin.

    Rows begin together and only their ends are padding, which a causal model needs no mask for.
    """
    mask, begins = torch.cat([prompts, answers], 1), prompts.sum(1)
    ids = torch.cat([prompt_ids, completion_ids], 1).masked_fill(~mask, 0)
    width = max(int(mask.sum(1).max()), int(begins.min()) + 1)
    return ids.gather(1, (~mask).long().argsort(dim=1, stable=True))[:, :width], begins


def answer_values(values: Float[Tensor, "rows tokens"], begins: Int[Tensor, " rows"],
                  answers: Shaped[Tensor, "rows answer"]) -> Float[Tensor, "rows answer"]:
    """Return each row's numbers from its own place ``begins`` on; 0 where masked."""
    places = begins[:, None] + torch.arange(answers.shape[1], device=begins.device)
    found = values.gather(1, places.clamp(max=values.shape[1] - 1))
    return found.masked_fill(~answers, 0.0)
