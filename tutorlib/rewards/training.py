"""Training a reward model on comparisons, on one readable page.

    L = mean over pairs of  loss(r(x, y+) - r(x, y-))  +  c mean (r(x, y+) + r(x, y-))^2

with the Bradley-Terry loss (its minus sign included: see ``likelihoods``), Thurstone's, or the
classification objective. TRL's RewardTrainer computes the same number for "bradley_terry".

Left out: accumulation over batches, mixed precision, adapters, several devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.lm import evaluating, pad_rows
from tutorlib.lm.checks import check_count, check_not_nan, check_number
from tutorlib.rewards.best import Best
from tutorlib.rewards.implicit import ImplicitReward
from tutorlib.rewards.likelihoods import (
    bradley_terry_loss,
    centering_penalty,
    check_shares,
    classification_loss,
    thurstone_loss,
)
from tutorlib.rewards.models import RewardModel
from tutorlib.tinytalk.labellers import Preference
from tutorlib.tinytalk.tokenizer import chat_prompt

AnyReward = RewardModel | ImplicitReward
Objective = Literal["bradley_terry", "thurstone", "classification"]
OBJECTIVES = ("bradley_terry", "thurstone", "classification")


@dataclass(frozen=True)
class RewardSettings:
    """How a reward model is trained."""

    objective: Objective = "bradley_terry"  # how rewards explain a choice
    learning_rate: float = 5e-4  # of AdamW, at the first step
    batch_size: int = 32  # pairs per step
    epochs: int = 1  # passes over the pairs, at most; few labels are soon learned by heart
    schedule: Literal["constant", "linear"] = "linear"  # of the learning rate; linear: down to 0
    weight_decay: float = 0.01  # of AdamW
    max_grad_norm: float | None = 1.0  # longer gradients are cut to this length; None: never
    label_smoothing: float = 0.0  # share of labels taken to be wrong; "bradley_terry" only
    centering: float = 0.0  # c: coefficient of the squared sum of a pair's rewards
    head_only: bool = False  # leave the body as it is
    patience: int | None = None  # evaluations without improvement before stopping; None: never stop

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        check_number("learning_rate", self.learning_rate)
        check_count("batch_size", self.batch_size)
        check_count("epochs", self.epochs)
        if self.objective not in OBJECTIVES or self.schedule not in ("constant", "linear"):
            raise InvalidArgumentError(
                f"objective is {self.objective!r}, schedule {self.schedule!r}; expected one of "
                f"{OBJECTIVES}, and 'constant' or 'linear'")
        if not (0 <= self.label_smoothing < 0.5 and self.centering >= 0 and self.weight_decay >= 0):
            raise InvalidArgumentError(
                f"label_smoothing {self.label_smoothing}, centering {self.centering}, weight_decay "
                f"{self.weight_decay}; expected 0 to below 0.5, and 0 or more twice")
        if self.label_smoothing and self.objective != "bradley_terry":
            raise InvalidArgumentError(f"label_smoothing belongs to 'bradley_terry', not to "
                                       f"{self.objective!r}; set it to 0")
        if self.max_grad_norm is not None:
            check_number("max_grad_norm", self.max_grad_norm)
        if self.patience is not None:
            check_count("patience", self.patience)


@dataclass(frozen=True)
class TokenPair:
    """Two answers with their prompt in front, as token ids, the better one first."""

    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    margin: float = 0.0  # gap that is asked for
    label: float = 1.0  # share of the preference that goes to ``chosen``
    asked: int = 0  # tokens of the prompt, which stands in front of both


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Pairs as one batch, padded on the right: all chosen texts, then all rejected ones."""

    input_ids: Int[Tensor, "twice_pairs tokens"]
    attention_mask: Int[Tensor, "twice_pairs tokens"]  # 1 at tokens
    margin: Float[Tensor, " pairs"]
    labels: Float[Tensor, " pairs"]
    starts: Int[Tensor, " twice_pairs"]  # where the answers begin


def encode_pairs(model: AnyReward, prompts: Sequence[str], chosen: Sequence[str],
                 rejected: Sequence[str], margins: Sequence[float] | None = None,
                 labels: Sequence[float] | None = None, add_special_tokens: bool = False
                 ) -> list[TokenPair]:
    """Return pairs of answers as token ids, each closed by the end of sequence.

    Raises InvalidTextError for unequal numbers, unknown words, or a pair of equal answers, which
    says nothing; InvalidArgumentError for labels outside [0, 1].
    """
    encoded = [model.encode(prompts, answers, add_special_tokens) for answers in (chosen, rejected)]
    sides = [[e.prompt_ids + e.completion_ids for e in side] for side in encoded]
    asked = [len(e.prompt_ids) for e in encoded[0]]
    equal = [i for i, (a, b) in enumerate(zip(*sides, strict=True)) if a == b]
    if equal:
        raise InvalidTextError(f"both answers of pair {equal[0]} are the same (and of "
                               f"{len(equal) - 1} pairs more); drop such pairs: they say nothing")
    margins = [0.0] * len(prompts) if margins is None else list(margins)
    labels = [1.0] * len(prompts) if labels is None else list(labels)
    if not len(margins) == len(labels) == len(prompts):
        raise InvalidArgumentError(f"{len(margins)} margins and {len(labels)} labels for "
                                   f"{len(prompts)} pairs; expected one of each for each pair")
    check_shares(torch.tensor(labels), torch.tensor(margins))
    return [TokenPair(*row) for row in zip(*sides, margins, labels, asked, strict=True)]


def encode_labelled(model: AnyReward, preferences: Sequence[Preference]) -> list[TokenPair]:
    """Return TinyTalk's labelled pairs as token ids, their prompts written as a chat."""
    return encode_pairs(model, [chat_prompt(p.prompt.text) for p in preferences],
                        [p.chosen for p in preferences], [p.rejected for p in preferences])


def collate_pairs(pairs: Sequence[TokenPair], device: torch.device | str = "cpu") -> PairBatch:
    """Return pairs as one batch.

    >>> collate_pairs([TokenPair((3, 4, 1), (3, 1))]).input_ids.tolist()
    [[3, 4, 1], [3, 1, 0]]
    """
    if not pairs:
        raise InvalidTextError("there are no pairs; give at least one")
    rows = [p.chosen for p in pairs] + [p.rejected for p in pairs]
    numbers = torch.tensor([(p.margin, p.label) for p in pairs], device=device)
    starts = torch.tensor([p.asked for p in pairs] * 2, device=device)
    return PairBatch(*pad_rows(rows, "right", 0, device), numbers[:, 0], numbers[:, 1], starts)


def pair_rewards(model: AnyReward, batch: PairBatch
                 ) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Return the rewards of chosen and of rejected answers, from one pass over both."""
    rewards = model(batch.input_ids, batch.attention_mask, batch.starts)
    check_not_nan(rewards.detach(), "rewards")
    return rewards.chunk(2)


def reward_loss(chosen: Float[Tensor, " pairs"], rejected: Float[Tensor, " pairs"],
                batch: PairBatch, settings: RewardSettings) -> Float[Tensor, ""]:
    """Return the mean loss of a batch of pairs, in nats.

    Label smoothing e turns a label m into (1 - e) m + e (1 - m).
    """
    if settings.objective == "bradley_terry":
        e = settings.label_smoothing
        labels = (1 - e) * batch.labels + e * (1 - batch.labels)
        loss = bradley_terry_loss(chosen, rejected, batch.margin, labels)
    else:
        if bool((batch.margin != 0).any() or (batch.labels != 1).any()):
            raise InvalidArgumentError(f"{settings.objective!r} takes neither margins nor soft "
                                       "labels; use 'bradley_terry', or plain pairs")
        losses = {"thurstone": thurstone_loss, "classification": classification_loss}
        loss = losses[settings.objective](chosen, rejected)
    if settings.centering:
        loss = loss + settings.centering * centering_penalty(chosen, rejected)
    return loss.mean()


def train_reward_model(model: AnyReward, pairs: Sequence[TokenPair], settings: RewardSettings,
                       generator: torch.Generator, held_out: Sequence[TokenPair] = (),
                       report: Callable[[dict], None] | None = None) -> list[dict]:
    """Train ``model`` in place; return one record per step.

    A record holds step, epoch, loss and accuracy (before the step), gap (mean of chosen minus
    rejected), learning_rate and grad_norm (before it is cut). With ``held_out`` pairs, the last
    record of each epoch also has held_out_loss and held_out_accuracy; with ``patience`` training
    stops early and the weights of the best epoch are put back. ``report`` gets each record.

    Raises InvalidTextError for no pairs; InvalidArgumentError for patience without held-out pairs;
    InvalidModelError for NaN.
    """
    if settings.patience is not None and not held_out:
        raise InvalidArgumentError("patience needs held_out pairs to see improvement; give some")
    optimizer = _optimizer(model, settings)
    batches, history = list(_batches(len(pairs), settings, generator)), []
    best, was_training = Best(model), model.training
    with torch.random.fork_rng():  # dropout draws from the global state: seed it, and give it back
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        for step, (epoch, rows) in enumerate(batches):
            model.train()
            share = 1 - step / len(batches) if settings.schedule == "linear" else 1.0
            batch = collate_pairs([pairs[i] for i in rows], model.device)
            record = {"step": step, "epoch": epoch,
                      **_take_step(model, optimizer, batch, settings, share)}
            if held_out and (step + 1 == len(batches) or batches[step + 1][0] > epoch):
                record |= _evaluate(model, held_out, settings)
                best.see(record["held_out_loss"])
            history.append(record)
            if report is not None:
                report(record)
            if settings.patience is not None and best.waited >= settings.patience:
                break
    if settings.patience is not None:
        best.put_back()
    model.train(was_training)
    return history


def _optimizer(model: AnyReward, settings: RewardSettings) -> torch.optim.Optimizer:
    """Return AdamW over what is to be trained."""
    if settings.head_only and not isinstance(model, RewardModel):
        raise InvalidArgumentError("head_only needs a RewardModel: an implicit reward has no head")
    trained = model.head.parameters() if settings.head_only else model.parameters()
    return torch.optim.AdamW(trained, lr=settings.learning_rate,
                             weight_decay=settings.weight_decay)


def _batches(count: int, settings: RewardSettings, generator: torch.Generator
             ) -> Iterator[tuple[int, list[int]]]:
    """Yield (epoch, indices) of each step's pairs, in a new order in each epoch."""
    if not count:
        raise InvalidTextError("there are no pairs to learn from; give at least one")
    for epoch in range(settings.epochs):
        for rows in torch.randperm(count, generator=generator).split(settings.batch_size):
            yield epoch, rows.tolist()


def _take_step(model: AnyReward, optimizer, batch: PairBatch, settings: RewardSettings,
               share: float) -> dict:
    """Take one step down the gradient; return what was measured before it."""
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * share
    chosen, rejected = pair_rewards(model, batch)
    loss = reward_loss(chosen, rejected, batch, settings)
    model.zero_grad()
    loss.backward()
    limit = torch.inf if settings.max_grad_norm is None else settings.max_grad_norm
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(trained, limit)
    optimizer.step()
    gaps = (chosen - rejected).detach()
    return {"loss": loss.item(), "accuracy": _accuracy(gaps), "gap": gaps.mean().item(),
            "learning_rate": settings.learning_rate * share, "grad_norm": float(norm)}


@torch.no_grad()
def _evaluate(model: AnyReward, pairs: Sequence[TokenPair], settings: RewardSettings) -> dict:
    """Return loss and accuracy on held-out pairs, without dropout."""
    total, right = 0.0, 0.0
    with evaluating(model):
        for start in range(0, len(pairs), settings.batch_size):
            part = pairs[start:start + settings.batch_size]
            batch = collate_pairs(part, model.device)
            chosen, rejected = pair_rewards(model, batch)
            total += len(part) * reward_loss(chosen, rejected, batch, settings).item()
            right += len(part) * _accuracy(chosen - rejected)
    return {"held_out_loss": total / len(pairs), "held_out_accuracy": right / len(pairs)}


def _accuracy(gaps: Tensor) -> float:
    """Return the share of pairs in the right order; equal rewards count a half."""
    return ((gaps > 0).double() + 0.5 * (gaps == 0).double()).mean().item()
