"""Train on judged pairs with any of the direct losses: one readable page.

The pairs are given, so this is offline; the reference's log-probabilities are computed once.
``tutorlib.posttraining.direct_online`` lets the policy write its pairs itself.

Departures from the papers: dropout is off, as in TRL, because log-ratios compare the policy that
would be sampled. KTO gets each pair as one good and one bad answer, so the two kinds are balanced.
Left out: accumulation over batches, mixed precision, moving references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError, TrainingDivergedError
from tutorlib.lm import evaluating
from tutorlib.lm.checks import check_count, check_not_nan, check_number
from tutorlib.posttraining.direct import (
    Smoothing,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    kto_loss,
    orpo_loss,
    simpo_loss,
)
from tutorlib.posttraining.guard import guarded
from tutorlib.posttraining.preferences import (
    PreferenceBatch,
    PreferencePair,
    check_pairs,
    collate_preferences,
    kto_reference_point,
    pair_logps,
    reference_for,
    reference_logps,
)
from tutorlib.posttraining.steps import take_step

LOSSES = ("dpo", "hinge", "ipo", "kto", "simpo", "orpo")
WITHOUT_REFERENCE = ("simpo", "orpo")


@dataclass(frozen=True)
class DirectSettings:
    """How a model learns from pairs; the default learning rate suits models of a few million."""

    loss: Literal["dpo", "hinge", "ipo", "kto", "simpo", "orpo"] = "dpo"
    beta: float = 0.1  # price of leaving the reference; tau of ipo, scale of simpo, weight of orpo
    margin: float = 1.0  # of simpo: its gamma
    label_smoothing: float = 0.0  # of dpo: share of labels believed to be wrong
    smoothing: Smoothing = "conservative"  # of dpo: what is done about them; see dpo_loss
    aggregate: Literal["sequence_sum", "sequence_mean"] = "sequence_sum"  # of ipo: as published
    desirable_weight: float = 1.0  # of kto: how much good answers count
    undesirable_weight: float = 1.0  # of kto: how much bad answers count
    reference_free: bool = False  # of dpo, hinge, ipo: take all answers as equally likely before
    sft_weight: float = 0.0  # of the chosen answer's SFT loss, per token, added to any loss
    learning_rate: float = 1e-4  # of AdamW, at the first step
    batch_size: int = 32  # pairs per step
    epochs: int = 1  # passes over the pairs
    shuffle: bool = True  # a new order in each epoch; False: as given
    schedule: Literal["constant", "linear"] = "linear"  # of the learning rate; linear: down to 0
    weight_decay: float = 0.0  # of AdamW
    max_grad_norm: float | None = 1.0  # longer gradients are cut to this length; None: never
    drift_limit: float | None = 200.0  # chosen answers this many nats less likely than under the
    # reference, on average over a batch, are an error: the policy has left language; None: never

    def __post_init__(self) -> None:
        """Refuse what has no meaning; what belongs to one loss, that loss checks."""
        if self.loss not in LOSSES:
            raise InvalidArgumentError(f"loss is {self.loss!r}; expected one of {LOSSES}")
        for name in ("beta", "learning_rate"):
            check_number(name, getattr(self, name))
        for name in ("batch_size", "epochs"):
            check_count(name, getattr(self, name))
        if self.loss == "kto" and self.batch_size < 2:
            raise InvalidArgumentError("kto needs a batch_size of 2 pairs or more: its reference "
                                       "point mixes prompts and answers of a batch")
        if self.reference_free and self.loss in ("kto", *WITHOUT_REFERENCE):
            raise InvalidArgumentError(f"reference_free has no meaning for {self.loss!r}")
        if not self.sft_weight >= 0:
            raise InvalidArgumentError(f"sft_weight is {self.sft_weight!r}; expected 0 or more")
        if self.schedule not in ("constant", "linear"):
            raise InvalidArgumentError(
                f"schedule is {self.schedule!r}; expected 'constant' or 'linear'")
        for name in ("max_grad_norm", "drift_limit"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name))

    @property
    def needs_reference(self) -> bool:
        """Whether the loss compares with a reference model."""
        return self.loss not in WITHOUT_REFERENCE and not self.reference_free


def train_direct(model: nn.Module, pairs: Sequence[PreferencePair], settings: DirectSettings,
                 generator: torch.Generator, reference: nn.Module | None = None,
                 held_out: Sequence[PreferencePair] = (),
                 report: Callable[[dict], None] | None = None) -> list[dict]:
    """Train ``model`` in place on pairs; return one record per step, ``report`` gets each.

    ``reference`` is the model as it is now unless given. A record holds, from before its step:
    step, epoch, loss, learning_rate, grad_norm; accuracy (share of pairs whose chosen answer has
    the higher implicit reward) and margin (mean difference of implicit rewards, beta h);
    chosen_logps and rejected_logps (means over the batch: watch both fall). With ``held_out``, the
    last record of each epoch also holds held_out_loss, held_out_accuracy, held_out_margin.

    Before the first step, raises InvalidTextError for pairs that prefer an answer to itself, have
    an empty part, or do not fit into the context (nothing is cut in silence). Raises
    TrainingDivergedError, with the model back at its last good weights, for NaN or a policy beyond
    ``drift_limit``.

    >>> from tutorlib.lm import tiny_model, word_tokenizer
    >>> from tutorlib.posttraining import encode_preferences
    >>> tokenizer = word_tokenizer(["sky", "blue", "red"])
    >>> pairs = encode_preferences(tokenizer, ["sky"], ["blue"], ["red"])
    >>> history = train_direct(tiny_model(tokenizer), pairs, DirectSettings(
    ...     learning_rate=1e-3, epochs=10), torch.Generator().manual_seed(0))
    >>> round(history[0]["loss"], 4), history[-1]["margin"] > 0
    (0.6931, True)
    """
    data = _Data(model, pairs, settings, reference)
    checked = _Data(model, held_out, settings, data.reference) if held_out else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate,
                                  weight_decay=settings.weight_decay)
    steps, history = list(_steps(len(pairs), settings, generator)), []
    with evaluating(model), guarded([model], None, history) as note:  # no dropout
        for step, (epoch, rows) in enumerate(steps):
            left = 1 - step / len(steps) if settings.schedule == "linear" else 1.0
            batch, ref_logps = data.batch(rows)
            loss, record = pair_loss(model, batch, ref_logps, settings, data.reference)
            _check_drift(record, ref_logps, settings)
            note(0.0)  # these weights are good
            norm = take_step(optimizer, loss, left, settings.max_grad_norm)
            record = {"step": step, "epoch": epoch, **record, "grad_norm": norm,
                      "learning_rate": settings.learning_rate * left}
            if checked and (step + 1 == len(steps) or steps[step + 1][0] > epoch):
                record |= {f"held_out_{k}": v for k, v in checked.measure(model).items()}
            history.append(record)
            if report is not None:
                report(record)
    return history


def pair_loss(model: nn.Module, batch: PreferenceBatch,
              ref_logps: Float[Tensor, "pairs two"] | None, settings: DirectSettings,
              reference: nn.Module | None = None) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Return the mean loss of a batch of pairs, differentiable, and what to record about it.

    ``ref_logps`` comes from ``reference_logps``; None where the loss has no reference.
    ``reference`` itself is only asked by KTO. Raises InvalidModelError for NaN.
    """
    chosen, rejected = pair_logps(model, batch)
    lengths = batch.lengths
    ref = (None, None) if ref_logps is None else (ref_logps[:, 0], ref_logps[:, 1])
    beta = settings.beta
    if settings.loss == "dpo":
        losses = dpo_loss(chosen, rejected, *ref, beta, settings.label_smoothing,
                          settings.smoothing)
    elif settings.loss == "hinge":
        losses = hinge_loss(chosen, rejected, *ref, beta)
    elif settings.loss == "ipo":
        losses = ipo_loss(chosen, rejected, *ref, beta, settings.aggregate, *lengths)
    elif settings.loss == "kto":
        losses = _kto(model, reference, batch, chosen, rejected, ref, settings)
    elif settings.loss == "simpo":
        losses = simpo_loss(chosen, rejected, *lengths, beta, settings.margin)
    else:
        losses = orpo_loss(chosen, rejected, *lengths, beta)
    loss = losses.mean()
    if settings.sft_weight:
        loss = loss - settings.sft_weight * chosen.sum() / lengths[0].sum()
    check_not_nan(loss.detach(), "losses")
    return loss, _measures(loss, chosen, rejected, ref_logps, batch, settings)


def _kto(model, reference, batch, chosen, rejected, ref, settings: DirectSettings) -> Tensor:
    """Return KTO's losses of the chosen answers and then of the rejected ones."""
    point = kto_reference_point(model, reference, batch)
    desirable = torch.arange(2 * len(chosen), device=chosen.device) < len(chosen)
    return kto_loss(torch.cat([chosen, rejected]), torch.cat(ref), desirable, point, settings.beta,
                    settings.desirable_weight, settings.undesirable_weight)


@torch.no_grad()
def _measures(loss, chosen, rejected, ref_logps, batch, settings: DirectSettings) -> dict:
    """Return the loss, and how far the two answers are apart in the loss's own reward."""
    better, worse = chosen, rejected
    if ref_logps is not None:
        better, worse = chosen - ref_logps[:, 0], rejected - ref_logps[:, 1]
    elif settings.loss in WITHOUT_REFERENCE:  # their rewards are means over tokens
        better, worse = chosen / batch.lengths[0], rejected / batch.lengths[1]
    gaps = settings.beta * (better - worse)
    return {"loss": loss.item(), "accuracy": (gaps > 0).double().mean().item(),
            "margin": gaps.mean().item(), "chosen_logps": chosen.mean().item(),
            "rejected_logps": rejected.mean().item()}


def _check_drift(record: dict, ref_logps: Tensor | None, settings: DirectSettings) -> None:
    """Raise TrainingDivergedError if the chosen answers have become far too unlikely."""
    if ref_logps is None or settings.drift_limit is None:
        return
    before = ref_logps[:, 0].mean().item()
    if not before - record["chosen_logps"] <= settings.drift_limit:
        raise TrainingDivergedError(
            f"the chosen answers of this batch have {record['chosen_logps']:.4g} nats each, "
            f"{before:.4g} under the reference, beyond drift_limit={settings.drift_limit}: their "
            "mass went to answers in no pair. A larger beta, a smaller learning_rate, fewer "
            "epochs or an sft_weight keep the policy nearer; is beta meant for means?")


class _Data:
    """Pairs and the reference's view of them."""

    def __init__(self, model, pairs, settings: DirectSettings, reference):
        """Score the pairs under the reference, if the loss wants one."""
        check_pairs(pairs, model)
        self.pairs, self.settings, self.reference = pairs, settings, None
        self.device, self.ref_logps = next(model.parameters()).device, None
        if settings.needs_reference:
            self.reference = reference_for(model, reference)
            self.ref_logps = reference_logps(self.reference, pairs, settings.batch_size)

    def batch(self, rows: list[int]) -> tuple[PreferenceBatch, Tensor | None]:
        """Return some pairs as a batch, and their log-probabilities under the reference."""
        ref = None if self.ref_logps is None else self.ref_logps[rows].to(self.device)
        return collate_preferences([self.pairs[i] for i in rows], self.device), ref

    @torch.no_grad()
    def measure(self, model) -> dict[str, float]:
        """Return loss, accuracy and margin over all pairs."""
        batches = _split(torch.arange(len(self.pairs)), self.settings)
        found = [pair_loss(model, *self.batch(rows), self.settings, self.reference)[1]
                 for rows in batches]
        weights = [len(rows) / len(self.pairs) for rows in batches]
        return {name: sum(w * f[name] for w, f in zip(weights, found, strict=True))
                for name in ("loss", "accuracy", "margin")}


def _steps(count: int, settings: DirectSettings, generator) -> Iterator[tuple[int, list[int]]]:
    """Yield (epoch, indices of pairs) of each step."""
    for epoch in range(settings.epochs):
        order = torch.arange(count)
        if settings.shuffle:
            order = torch.randperm(count, generator=generator, device=generator.device)
        yield from ((epoch, rows) for rows in _split(order, settings))


def _split(order: Tensor, settings: DirectSettings) -> list[list[int]]:
    """Return indices in batches; for KTO a lone last pair joins the batch before it."""
    batches = [rows.tolist() for rows in order.split(settings.batch_size)]
    if settings.loss == "kto" and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [batches[-2] + batches[-1]]
    return batches
