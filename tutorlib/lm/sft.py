"""Supervised fine-tuning: maximum likelihood of demonstrated answers, on one readable page.

The loss is the forward KL from the data to the model, up to the data's entropy, and so behaviour
cloning on token sequences (Sun and van der Schaar 2025, section 3.1 and eqs 5, 6):

    L = -E_(x, y) sum_t m_t log pi(y_t | x, y_<t)

m masks the prompt, unless ``prompt_loss`` is on; ``aggregate`` says how token losses are averaged.
A sequence holds prompt and answer, padded on the right; the logits at t predict token t + 1.

Left out: accumulation over batches, packing, mixed precision, checkpointing of activations,
several devices. TRL's SFTTrainer has them, and gives the same losses where it is set to the same
(token_mean, AdamW, linear decay).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.lm.checks import (
    accepts,
    check_count,
    check_ids,
    check_length,
    check_not_nan,
    check_number,
)
from tutorlib.lm.sampling import evaluating
from tutorlib.lm.scoring import AGGREGATES, Aggregate, sequence_values, token_logps
from tutorlib.lm.text import encode_completions, encode_prompts, pad_rows


@dataclass(frozen=True)
class SFTSettings:
    """How a model is fine-tuned."""

    learning_rate: float = 1e-3  # of AdamW, at the first step
    batch_size: int = 32  # examples per step
    epochs: int = 1  # passes over the examples
    aggregate: Aggregate = "token_mean"  # how token losses become one number; see sequence_values
    constant: float | None = None  # the length that aggregate="constant" divides by
    prompt_loss: bool = False  # learn the prompt's tokens as well, as in pretraining
    shuffle: bool = True  # a new order in each epoch; False: as given
    schedule: Literal["constant", "linear"] = "linear"  # of the learning rate; linear: down to 0
    weight_decay: float = 0.0  # of AdamW
    max_grad_norm: float | None = 1.0  # longer gradients are cut to this length; None: never

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        check_number("learning_rate", self.learning_rate)
        check_count("batch_size", self.batch_size)
        check_count("epochs", self.epochs)
        if self.aggregate not in AGGREGATES:
            raise InvalidArgumentError(
                f"aggregate is {self.aggregate!r}; expected one of {AGGREGATES}")
        if self.aggregate == "constant":
            check_number("constant", self.constant)
        if self.schedule not in ("constant", "linear"):
            raise InvalidArgumentError(
                f"schedule is {self.schedule!r}; expected 'constant' or 'linear'")
        if self.max_grad_norm is not None:
            check_number("max_grad_norm", self.max_grad_norm)


@dataclass(frozen=True)
class Example:
    """A prompt and the answer that is shown for it, as token ids."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]  # its end of sequence included


@dataclass(frozen=True, eq=False)
class SFTBatch:
    """Sequences of prompt and answer, padded on the right."""

    input_ids: Int[Tensor, "batch tokens"]
    attention_mask: Int[Tensor, "batch tokens"]  # 1 at tokens
    loss_mask: Int[Tensor, "batch tokens"]  # 1 at tokens to be learned


def encode_examples(tokenizer, prompts: Sequence[str], completions: Sequence[str],
                    add_special_tokens: bool = True) -> list[Example]:
    """Return examples of prompts and their answers, each closed by the end of sequence.

    Raises InvalidTextError as ``encode_prompts`` does, or if there are not as many of each.

    >>> from tutorlib.lm import word_tokenizer
    >>> encode_examples(word_tokenizer(["sky", "blue"]), ["sky"], ["blue"])
    [Example(prompt_ids=(3,), completion_ids=(4, 1))]
    """
    if len(prompts) != len(completions):
        raise InvalidTextError(f"there are {len(prompts)} prompts but {len(completions)} answers")
    sides = (encode_prompts(tokenizer, prompts, add_special_tokens=add_special_tokens),
             encode_completions(tokenizer, completions))
    rows = [[tuple(row[keep == 1].tolist()) for row, keep in zip(ids, mask, strict=True)]
            for ids, mask in sides]
    return [Example(*pair) for pair in zip(*rows, strict=True)]


def collate(examples: Sequence[Example], prompt_loss: bool = False,
            device: torch.device | str = "cpu") -> SFTBatch:
    """Return examples as one batch; the prompt is to be learned only if ``prompt_loss``.

    >>> batch = collate([Example((3, 4), (5, 1)), Example((3,), (1,))])
    >>> batch.input_ids.tolist(), batch.loss_mask.tolist()
    ([[3, 4, 5, 1], [3, 1, 0, 0]], [[0, 0, 1, 1], [0, 1, 0, 0]])
    """
    if not examples:
        raise InvalidTextError("there are no examples; give at least one")
    for i, example in enumerate(examples):
        if not example.prompt_ids or not example.completion_ids:
            part = "completion" if example.prompt_ids else "prompt"
            raise InvalidTextError(f"the {part} of example {i} is empty; give at least one token")
    ids, mask = pad_rows([e.prompt_ids + e.completion_ids for e in examples], "right", 0, device)
    lengths = torch.tensor([len(e.prompt_ids) for e in examples], device=device)
    behind = torch.arange(ids.shape[1], device=device) >= lengths[:, None]
    return SFTBatch(ids, mask, mask if prompt_loss else mask * behind)


def next_token_logps(model: nn.Module, batch: SFTBatch) -> Float[Tensor, "batch tokens_minus_one"]:
    """Return log pi(token t + 1 | tokens up to t) along each sequence, masked places included.

    Raises InvalidTextError for unknown ids or a sequence longer than the context.
    """
    check_ids(model, "example", batch.input_ids, batch.attention_mask == 1)
    check_length(model, batch.input_ids.shape[1], "the longest example")
    given = {"use_cache": False} if accepts(model, "use_cache") else {}
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **given).logits
    return token_logps(logits[:, :-1].float(), batch.input_ids[:, 1:])


def sft_loss(model: nn.Module, batch: SFTBatch, aggregate: Aggregate = "token_mean",
             constant: float | None = None) -> Float[Tensor, ""]:
    """Return the negative log-likelihood of the tokens to be learned, in nats.

    With "token_mean" it is the loss of transformers and of TRL. Raises InvalidModelError for NaN.
    """
    logps = next_token_logps(model, batch)
    loss = -sequence_values(logps, batch.loss_mask[:, 1:], aggregate, constant).mean()
    check_not_nan(loss.detach(), "losses")
    return loss


def train_sft(model: nn.Module, examples: Sequence[Example], settings: SFTSettings,
              generator: torch.Generator, held_out: Sequence[Example] = (),
              report: Callable[[dict], None] | None = None) -> list[dict]:
    """Fine-tune ``model`` in place; return one record per step.

    A record holds step, epoch, loss (before the step), learning_rate, grad_norm (before it is cut)
    and tokens learned; with ``held_out``, each epoch's last one also held_out_loss. ``report`` gets
    each record as it comes. The order of examples, and dropout, come from ``generator``.

    >>> from tutorlib.lm import tiny_model, word_tokenizer
    >>> tokenizer = word_tokenizer(["sky", "blue"])
    >>> history = train_sft(tiny_model(tokenizer), encode_examples(tokenizer, ["sky"], ["blue"]),
    ...                     SFTSettings(epochs=20), torch.Generator().manual_seed(0))
    >>> history[0]["loss"] > history[-1]["loss"]
    True
    """
    device = next(model.parameters()).device
    batches = list(_batches(len(examples), settings, generator))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate,
                                  weight_decay=settings.weight_decay)
    history, was_training = [], model.training
    with torch.random.fork_rng():  # dropout draws from the global state: seed it, and give it back
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        for step, (epoch, rows) in enumerate(batches):
            model.train()
            batch = collate([examples[i] for i in rows], settings.prompt_loss, device)
            rate = _rate(settings, step, len(batches))
            record = {"step": step, "epoch": epoch, "learning_rate": rate,
                      "tokens": int(batch.loss_mask[:, 1:].sum()),
                      **_take_step(model, optimizer, batch, settings, rate)}
            if held_out and (step + 1 == len(batches) or batches[step + 1][0] > epoch):
                record["held_out_loss"] = mean_loss(model, held_out, settings)
            history.append(record)
            if report is not None:
                report(record)
    model.train(was_training)
    return history


@torch.no_grad()
def mean_loss(model: nn.Module, examples: Sequence[Example], settings: SFTSettings) -> float:
    """Return the mean loss per learned token on examples, without dropout, in nats."""
    total, tokens = 0.0, 0
    with evaluating(model):
        for start in range(0, len(examples), settings.batch_size):
            batch = collate(examples[start:start + settings.batch_size], settings.prompt_loss,
                            next(model.parameters()).device)
            count = int(batch.loss_mask[:, 1:].sum())
            total, tokens = total + count * float(sft_loss(model, batch)), tokens + count
    return total / tokens


def _batches(count: int, settings: SFTSettings, generator: torch.Generator
             ) -> Iterator[tuple[int, list[int]]]:
    """Yield (epoch, indices) of each step's examples."""
    for epoch in range(settings.epochs):
        order = torch.arange(count)
        if settings.shuffle:
            order = torch.randperm(count, generator=generator)
        for rows in order.split(settings.batch_size):
            yield epoch, rows.tolist()


def _rate(settings: SFTSettings, step: int, steps: int) -> float:
    """Return the learning rate of a step; linear decay would reach 0 one step after the last."""
    share = 1 - step / steps if settings.schedule == "linear" else 1.0
    return settings.learning_rate * share


def _take_step(model, optimizer, batch: SFTBatch, settings: SFTSettings, rate: float) -> dict:
    """Take one step down the gradient; return the loss and the gradient's length before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = sft_loss(model, batch, settings.aggregate, settings.constant)
    optimizer.zero_grad()
    loss.backward()
    limit = torch.inf if settings.max_grad_norm is None else settings.max_grad_norm
    norm = nn.utils.clip_grad_norm_(model.parameters(), limit)
    optimizer.step()
    return {"loss": loss.item(), "grad_norm": float(norm)}
