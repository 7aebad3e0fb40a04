"""Teaching a TinyTalk model to speak: next-token prediction on padded batches of texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from tutorlib.errors import InvalidArgumentError
from tutorlib.tinytalk.corpora import Dialogue
from tutorlib.tinytalk.tokenizer import chat_prompt

IGNORED = -100  # the label of positions that are not scored, as in transformers


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained."""

    steps: int = 3000  # optimiser steps
    batch_size: int = 64  # texts per step
    learning_rate: float = 3e-3  # of AdamW, at its highest
    warmup: int = 100  # steps over which it rises; then it falls as half a cosine
    weight_decay: float = 0.01  # of AdamW
    max_grad_norm: float = 1.0  # longer gradients are scaled down to this
    seed: int = 0  # of the order of texts


@dataclass(frozen=True)
class Texts:
    """Encoded texts, not padded, with what is scored of each."""

    ids: list[list[int]]
    scored_from: list[int]  # the first position whose token is scored as a prediction

    def __len__(self) -> int:
        """Return how many texts there are."""
        return len(self.ids)


def encode_dialogues(tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[Dialogue],
                     answers_only: bool = False) -> Texts:
    """Return dialogues as token ids; with ``answers_only`` the prompt is not scored."""
    prompts = [chat_prompt(d.prompt.text) for d in dialogues]
    whole = [f"{prompt} {d.answer} {tokenizer.eos_token}"
             for prompt, d in zip(prompts, dialogues, strict=True)]
    lengths = [len(prompt.split()) if answers_only else 1 for prompt in prompts]
    return Texts(tokenizer(whole).input_ids, lengths)


def encode_statements(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Texts:
    """Return plain texts as token ids between the start and the end token, scored whole."""
    whole = [f"{tokenizer.bos_token} {text} {tokenizer.eos_token}" for text in texts]
    return Texts(tokenizer(whole).input_ids, [1] * len(whole))


def pad_batch(texts: Texts, indices: Sequence[int], pad_id: int
              ) -> dict[str, Int[Tensor, "texts tokens"]]:
    """Return texts as one batch, padded on the right: input_ids, attention_mask, labels.

    >>> batch = pad_batch(Texts([[2, 9, 3], [2, 3]], [2, 1]), [0, 1], pad_id=0)
    >>> batch["labels"].tolist()
    [[-100, -100, 3], [-100, 3, -100]]
    """
    longest = max(len(texts.ids[i]) for i in indices)
    ids = torch.full((len(indices), longest), pad_id)
    labels = torch.full((len(indices), longest), IGNORED)
    for row, i in enumerate(indices):
        text, start = torch.tensor(texts.ids[i]), texts.scored_from[i]
        ids[row, : len(text)] = text
        labels[row, start : len(text)] = text[start:]
    lengths = torch.tensor([len(texts.ids[i]) for i in indices])
    mask = (torch.arange(longest) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def batches(texts: Texts, config: TrainingConfig, pad_id: int) -> Iterator[dict[str, Tensor]]:
    """Yield batches for ever, of texts of like length, in an order drawn from the seed."""
    generator = torch.Generator().manual_seed(config.seed)
    if len(texts) < config.batch_size:
        raise InvalidArgumentError(f"{len(texts)} texts do not fill a batch of "
                                   f"{config.batch_size}; make more texts or smaller batches")
    chunk = 32 * config.batch_size  # sorted by length within a chunk, so that little is padding
    while True:
        order = torch.randperm(len(texts), generator=generator).tolist()
        for start in range(0, len(order), chunk):
            part = sorted(order[start : start + chunk], key=lambda i: len(texts.ids[i]))
            groups = [part[i : i + config.batch_size]
                      for i in range(0, len(part), config.batch_size)]
            for index in torch.randperm(len(groups), generator=generator).tolist():
                yield pad_batch(texts, groups[index], pad_id)


def learning_rate_at(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step: a linear rise, then half a cosine down to a tenth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    share = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * share)))


def train(model, texts: Texts, config: TrainingConfig, pad_id: int = 0,
          progress: bool = False) -> list[float]:
    """Train ``model`` in place on its own device; return the loss (nats a token) of each step."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate,
                                  betas=(0.9, 0.95), weight_decay=config.weight_decay)
    model.train()
    losses, stream = [], batches(texts, config, pad_id)
    for step in tqdm(range(config.steps), disable=not progress):
        optimiser.param_groups[0]["lr"] = learning_rate_at(step, config)
        batch = {name: t.to(model.device) for name, t in next(stream).items()}
        loss = model(**batch, use_cache=False).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimiser.step()
        losses.append(float(loss.detach()))
    model.eval()
    return losses


@torch.no_grad()
def mean_loss(model, texts: Texts, pad_id: int = 0, batch_size: int = 256) -> float:
    """Return the mean loss per scored token, in nats."""
    total, count = 0.0, 0
    for start in range(0, len(texts), batch_size):
        batch = pad_batch(texts, range(start, min(start + batch_size, len(texts))), pad_id)
        batch = {name: t.to(model.device) for name, t in batch.items()}
        scored = int((batch["labels"][:, 1:] != IGNORED).sum())
        total += float(model(**batch, use_cache=False).loss) * scored
        count += scored
    return total / count
