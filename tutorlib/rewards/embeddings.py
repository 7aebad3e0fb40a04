"""Reward models on fixed vectors: a whole experiment in seconds, without a language model in it.

Once answers are embedded, a reward model is a small network on vectors, and a linear one is a
logistic regression on differences (Springall 1973: Bradley-Terry regression; for language models
Sun, Shen and Ton 2024 and 2025, "Reusing embeddings"). Several members, each fitted to a bootstrap
sample of the pairs, say how sure a reward is (Coste et al. 2023).

Departures from those papers: inputs are standardised over the training pairs; members differ by
their first weights and by bootstrap, in one batched computation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.lm.checks import check_count, check_number
from tutorlib.rewards.best import Best
from tutorlib.rewards.likelihoods import (
    bradley_terry_loss,
    check_shares,
    classification_loss,
    thurstone_loss,
)

LOSSES = {"bradley_terry": bradley_terry_loss, "thurstone": thurstone_loss,
          "classification": classification_loss}


@dataclass(frozen=True, eq=False)
class EmbeddedPairs:
    """The vectors of two answers each, the better one first."""

    chosen: Float[Tensor, "pairs inputs"]
    rejected: Float[Tensor, "pairs inputs"]

    def __post_init__(self) -> None:
        """Refuse what forms no pairs."""
        a, b = self.chosen, self.rejected
        if a.ndim != 2 or a.shape != b.shape or not len(a):
            raise InvalidArgumentError(f"vectors of shapes {tuple(a.shape)} and {tuple(b.shape)} "
                                       "form no pairs; expected (pairs, inputs) twice, alike")
        if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise InvalidArgumentError("embeddings are not finite; expected numbers")

    def __len__(self) -> int:
        """Return how many pairs there are."""
        return len(self.chosen)

    def __getitem__(self, rows: Int[Tensor, " some"] | slice) -> EmbeddedPairs:
        """Return some of the pairs."""
        return EmbeddedPairs(self.chosen[rows], self.rejected[rows])

    def flipped(self, share: float, generator: torch.Generator) -> EmbeddedPairs:
        """Return the pairs with each label turned round with probability ``share``."""
        if not 0 <= share <= 1:
            raise InvalidArgumentError(f"share is {share!r}; expected a number from 0 to 1")
        turn = (torch.rand(len(self), generator=generator) < share)[:, None].to(self.chosen.device)
        return EmbeddedPairs(torch.where(turn, self.rejected, self.chosen),
                             torch.where(turn, self.chosen, self.rejected))


@dataclass(frozen=True)
class EmbeddingSettings:
    """How a reward model on vectors is trained."""

    objective: Literal["bradley_terry", "thurstone", "classification"] = "bradley_terry"
    learning_rate: float = 3e-3  # of AdamW
    weight_decay: float = 0.01  # of AdamW
    batch_size: int = 128  # pairs per step
    epochs: int = 20  # passes over the pairs, at most
    bootstrap: bool = True  # each member sees its own sample of the pairs; one member sees all
    patience: int | None = None  # epochs without a lower held-out loss before stopping; None: never

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.objective not in LOSSES:
            raise InvalidArgumentError(f"objective is {self.objective!r}; expected one of "
                                       f"{', '.join(LOSSES)}")
        check_number("learning_rate", self.learning_rate)
        for name in ("batch_size", "epochs"):
            check_count(name, getattr(self, name))
        if self.patience is not None:
            check_count("patience", self.patience)


class EmbeddingReward(nn.Module):
    """One or several small networks from a vector to a reward; ``hidden=()`` is linear."""

    def __init__(self, inputs: int, hidden: Sequence[int] = (64,), members: int = 1, seed: int = 0):
        """Draw first weights, of deviation 1 / sqrt(inputs of the layer), from ``seed``."""
        super().__init__()
        for name, value in (("inputs", inputs), ("members", members)):
            check_count(name, value)
        generator, sizes = torch.Generator().manual_seed(seed), [inputs, *hidden, 1]
        self.members = members
        self.weights = nn.ParameterList(
            torch.randn(members, a, b, generator=generator) / a**0.5
            for a, b in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(members, 1, b) for b in sizes[1:])
        self.register_buffer("center", torch.zeros(inputs))  # of the inputs
        self.register_buffer("spread", torch.ones(inputs))  # their standard deviations

    @torch.no_grad()
    def standardise(self, vectors: Float[Tensor, "rows inputs"]) -> None:
        """Let inputs have mean 0 and deviation 1 on these vectors; constant ones are left."""
        self.center.copy_(vectors.mean(0))
        deviation = vectors.std(0)
        self.spread.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def forward(self, vectors: Float[Tensor, "*batch inputs"]) -> Float[Tensor, " members *batch"]:
        """Return the reward of each vector by each member."""
        if vectors.shape[-1] != len(self.center):
            raise InvalidArgumentError(f"vectors hold {vectors.shape[-1]} numbers; this reward "
                                       f"model was made for {len(self.center)}")
        x = ((vectors - self.center) / self.spread).reshape(1, -1, vectors.shape[-1])
        x = x.expand(self.members, -1, -1)
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            x = torch.relu(x) if depth < len(self.weights) - 1 else x
        return x.squeeze(-1).view(self.members, *vectors.shape[:-1])

    @torch.no_grad()
    def score(self, vectors: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch"]:
        """Return the mean reward over members."""
        return self(vectors).mean(0)


def train_embedding_reward(model: EmbeddingReward, pairs: EmbeddedPairs,
                           settings: EmbeddingSettings, generator: torch.Generator,
                           held_out: EmbeddedPairs | None = None,
                           report: Callable[[dict], None] | None = None) -> list[dict]:
    """Train all members in place; return one record per epoch.

    A record holds epoch, loss (mean over pairs and members, during the epoch) and, with
    ``held_out``, held_out_loss and held_out_accuracy of the members' mean reward. With
    ``patience`` training stops early and the best weights are put back.
    Raises InvalidArgumentError for vectors of another size, or patience without held-out pairs.
    """
    if settings.patience is not None and held_out is None:
        raise InvalidArgumentError("patience needs held_out pairs to see improvement; give some")
    model.standardise(torch.cat([pairs.chosen, pairs.rejected]))
    counts = _counts(model.members, len(pairs), settings.bootstrap, generator).to(pairs.chosen)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate,
                                  weight_decay=settings.weight_decay)
    history, best = [], Best(model)
    for epoch in range(settings.epochs):
        record = {"epoch": epoch, "loss": 0.0}
        for rows in torch.randperm(len(pairs), generator=generator).split(settings.batch_size):
            losses = _losses(model, pairs[rows], settings) * counts[:, rows]
            optimizer.zero_grad()
            losses.mean(1).sum().backward()
            optimizer.step()
            record["loss"] += losses.detach().sum().item() / counts.numel()
        if held_out is not None:
            record |= _evaluate(model, held_out, settings)
            best.see(record["held_out_loss"])
        history.append(record)
        if report is not None:
            report(record)
        if settings.patience is not None and best.waited >= settings.patience:
            break
    if settings.patience is not None:
        best.put_back()
    return history


def combine(rewards: Float[Tensor, " members *batch"],
            how: Literal["mean", "worst", "uncertainty"] = "mean", coefficient: float = 1.0
            ) -> Float[Tensor, "*batch"]:
    """Return one reward from several (Coste et al. 2023, section 3.2).

    "mean" averages; "worst" takes the smallest (worst-case optimisation); "uncertainty" subtracts
    ``coefficient`` times the variance over members. Bring members to one scale first.

    >>> votes = torch.tensor([[0.0], [2.0]])
    >>> [combine(votes, how).item() for how in ("mean", "worst", "uncertainty")]
    [1.0, 0.0, 0.0]
    """
    if how == "mean":
        return rewards.mean(0)
    if how == "worst":
        return rewards.min(0).values
    if how == "uncertainty":
        return rewards.mean(0) - coefficient * rewards.var(0, unbiased=False)
    raise InvalidArgumentError(f"how is {how!r}; expected 'mean', 'worst' or 'uncertainty'")


def fit_linear_reward(chosen: Float[Tensor, "pairs inputs"], rejected: Float[Tensor, "*_"],
                      labels: Float[Tensor, "*_"] | None = None, l2: float = 1.0
                      ) -> Float[Tensor, " inputs"]:
    """Return w that maximises sum log sigmoid(w . (chosen - rejected)) - l2 / 2 |w|^2.

    A logistic regression on differences, without an intercept, solved by Newton's method in
    float64 (Springall 1973). One-hot vectors of players give the classical Bradley-Terry worths.
    ``labels`` are shares of the preference for ``chosen``, 1 by default.
    Raises InvalidArgumentError for bad pairs, labels or l2 <= 0: choices that no pair contradicts
    have no finite best w.

    >>> w = fit_linear_reward(torch.eye(2)[:1], torch.eye(2)[1:])
    >>> bool(w[0] > 0 > w[1])
    True
    """
    EmbeddedPairs(chosen, rejected)  # checks
    check_number("l2", l2)
    x = (chosen - rejected).double()
    y = torch.ones(len(x), dtype=x.dtype) if labels is None else labels.to(x)
    check_shares(y, x[:, 0])

    def loss(w: Tensor) -> Tensor:
        return bradley_terry_loss(x @ w, torch.zeros_like(y), labels=y).sum() + l2 / 2 * (w @ w)

    w, ridge = x.new_zeros(x.shape[1]), l2 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    for _ in range(100):
        p = torch.sigmoid(x @ w)
        slope = x.T @ (p - y) + l2 * w
        if float(slope.norm()) <= 1e-9 * (1 + float(w.norm())) * max(1.0, float(x.abs().max())):
            return w
        step, size = torch.linalg.solve((x.T * (p * (1 - p))) @ x + ridge, slope), 1.0
        while float(loss(w - size * step)) > float(loss(w)) and size > 1e-6:
            size /= 2
        w = w - size * step
    raise NotConvergedError(f"the fit stopped at a slope of {float(slope.norm()):.2g} after 100 "
                            "Newton steps; raise l2, or scale vectors to about 1")


def _counts(members: int, pairs: int, bootstrap: bool, generator: torch.Generator) -> Tensor:
    """Return how often each member sees each pair."""
    if members == 1 or not bootstrap:
        return torch.ones(members, pairs)
    drawn = torch.randint(pairs, (members, pairs), generator=generator)
    return torch.zeros(members, pairs).scatter_add_(1, drawn, torch.ones(members, pairs))


def _losses(model: EmbeddingReward, pairs: EmbeddedPairs, settings: EmbeddingSettings) -> Tensor:
    """Return the loss of each pair by each member."""
    both = model(torch.stack([pairs.chosen, pairs.rejected]))  # [members, 2, pairs]
    return LOSSES[settings.objective](both[:, 0], both[:, 1])


@torch.no_grad()
def _evaluate(model: EmbeddingReward, pairs: EmbeddedPairs, settings: EmbeddingSettings) -> dict:
    """Return the loss and accuracy of the mean reward on pairs."""
    chosen, rejected = model.score(pairs.chosen), model.score(pairs.rejected)
    right = (chosen > rejected).double() + 0.5 * (chosen == rejected).double()
    return {"held_out_loss": LOSSES[settings.objective](chosen, rejected).mean().item(),
            "held_out_accuracy": right.mean().item()}
