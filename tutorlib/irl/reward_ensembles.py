"""Several small reward networks at once, fitted to the same comparisons and asked for their votes.

The members differ in their first weights and in the comparisons they see (each draws its own
bootstrap weights), so where they disagree nobody has told them yet (Christiano et al. 2017,
sections 2.2.1 and 2.2.4). Rewards handed to a policy have mean 0 and standard deviation 1 over
what was compared, as there: comparisons do not fix the first, and an optimiser wants the second.
Departures: weight decay in place of its adjustment on held-out data, no dropout, and one number of
gradient steps for every fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutorlib.control.networks import mlp
from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.preferences import check_labels, label_loss, preference_logits
from tutorlib.irl.rewards import PAID
from tutorlib.irl.segments import Segments


@dataclass(frozen=True)
class RewardFitConfig:
    """Settings of a fit to comparisons."""

    steps: int = 200  # gradient steps
    batch_pairs: int = 64  # comparisons per step
    learning_rate: float = 3e-3  # of Adam
    weight_decay: float = 1e-2  # decoupled, per step and learning rate
    error_rate: float = 0.1  # share of random answers that the likelihood allows for
    discount: float = 1.0  # of rewards within a segment

    def __post_init__(self) -> None:
        """Refuse settings with which nothing could be learned."""
        if self.steps < 1 or self.batch_pairs < 1 or not self.learning_rate > 0:
            raise InvalidArgumentError(
                f"steps {self.steps}, batch_pairs {self.batch_pairs}, learning_rate "
                f"{self.learning_rate}; expected at least 1, at least 1, above 0")


class RewardEnsemble(nn.Module):
    """``members`` tanh networks side by side: features [*batch, inputs] to [members, *batch]."""

    def __init__(self, n_inputs: int, members: int = 3, hidden: Sequence[int] = (32, 32),
                 seed: int = 0):
        """Draw the weights of all members from ``seed``; no hidden layer means a linear reward."""
        super().__init__()
        if n_inputs < 1 or members < 1:
            raise InvalidArgumentError(f"n_inputs is {n_inputs} and members {members}; expected "
                                       "at least 1 of each")
        generator = torch.Generator().manual_seed(seed)
        nets = [mlp([n_inputs, *hidden, 1], 1.0, generator) for _ in range(members)]
        layers = [[m for m in net if isinstance(m, nn.Linear)] for net in nets]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for same_depth in zip(*layers, strict=True):
            self.weights.append(torch.stack([m.weight.detach().T for m in same_depth]))
            self.biases.append(torch.stack([m.bias.detach() for m in same_depth])[:, None])
        self.members = members
        self.register_buffer("mean", torch.zeros(members))
        self.register_buffer("spread", torch.ones(members))

    def forward(self, features: Float[Tensor, "*batch inputs"]) -> Float[Tensor, " members *batch"]:
        """Return each member's raw reward."""
        x = features.reshape(1, -1, features.shape[-1]).expand(self.members, -1, -1)
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            x = torch.tanh(x) if depth < len(self.weights) - 1 else x
        return x.squeeze(-1).view(self.members, *features.shape[:-1])

    def scaled(self, features: Float[Tensor, "*batch inputs"]) -> Float[Tensor, " members *batch"]:
        """Return each member's reward with mean 0 and standard deviation 1 over its data."""
        shape = (-1, *[1] * (features.ndim - 1))
        return (self(features) - self.mean.view(shape)) / self.spread.view(shape)

    @torch.no_grad()
    def reward(self, features: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch"]:
        """Return the mean over members of their scaled rewards."""
        return self.scaled(features).mean(0)

    @torch.no_grad()
    def set_scale(self, features: Float[Tensor, "*batch inputs"]) -> None:
        """Measure mean and standard deviation of each member's reward on these steps."""
        found = self(features).flatten(1)
        self.mean.copy_(found.mean(1))
        self.spread.copy_(found.std(1).clamp_min(1e-6))


def step_features(obs: Tensor, actions: Tensor, next_obs: Tensor, paid: str,
                  n_actions: int | None = None) -> Float[Tensor, "*batch inputs"]:
    """Return what a reward network looks at in each step: s, s' or (s, a), after ``paid``.

    Discrete actions become one-hot rows: give ``n_actions``.

    >>> step_features(torch.zeros(5, 3), torch.zeros(5, 1), torch.ones(5, 3), "action").shape
    torch.Size([5, 4])
    """
    if paid not in PAID:
        raise InvalidArgumentError(f"paid is {paid!r}; expected one of {', '.join(PAID)}")
    if paid != "action":
        return (obs if paid == "departure" else next_obs).float()
    if n_actions is not None:
        actions = nn.functional.one_hot(actions.long(), n_actions)
    if actions.ndim != obs.ndim:
        raise InvalidArgumentError(
            f"actions have shape {tuple(actions.shape)}, observations {tuple(obs.shape)}; give "
            "n_actions for discrete actions, so that each becomes a row")
    return torch.cat([obs.float(), actions.float()], -1)


def segment_features(segments: Segments, paid: str, n_actions: int | None = None) -> Tensor:
    """Return the features of all steps of control segments, [n, length, inputs]."""
    return step_features(segments.states[:, :-1], segments.actions, segments.states[:, 1:], paid,
                         n_actions)


def fit_ensemble(ensemble: RewardEnsemble, left: Float[Tensor, "pairs length inputs"],
                 right: Float[Tensor, "*_"], labels: Float[Tensor, "*_"],
                 config: RewardFitConfig = RewardFitConfig(), seed: int = 0) -> list[float]:
    """Fit all members to comparisons of feature segments; return the loss of each step.

    Each step lowers the mean cross-entropy of a batch of pairs (``preference_loss``), in which a
    pair counts for each member as often as its bootstrap drew it. Ends by setting the scale.
    Raises InvalidArgumentError for pairs or labels that cannot be compared, and for ties alone.
    """
    _check_fit(left, right, labels)
    generator = torch.Generator().manual_seed(seed)
    pairs = len(labels)
    drawn = torch.randint(pairs, (ensemble.members, pairs), generator=generator)
    counts = torch.zeros(ensemble.members, pairs).scatter_add_(1, drawn, torch.ones(drawn.shape))
    counts = counts if ensemble.members > 1 else torch.ones_like(counts)
    optimiser = torch.optim.AdamW(ensemble.parameters(), config.learning_rate,
                                  weight_decay=config.weight_decay)
    losses = []
    for _ in range(config.steps):
        index = torch.randint(pairs, (min(pairs, config.batch_pairs),), generator=generator)
        both = ensemble(torch.stack([left[index], right[index]]))  # [members, 2, batch, length]
        logits = preference_logits(both[:, 0], both[:, 1], config.discount)
        loss = counts[:, index] * label_loss(logits, labels[index], config.error_rate)
        optimiser.zero_grad()
        loss.mean(1).sum().backward()
        optimiser.step()
        losses.append(float(loss.detach().mean()))
    ensemble.set_scale(torch.stack([left, right]))
    return losses


def _check_fit(left: Tensor, right: Tensor, labels: Tensor) -> None:
    """Raise InvalidArgumentError for what cannot be fitted."""
    if left.ndim != 3 or left.shape != right.shape or len(left) == 0:
        raise InvalidArgumentError(
            f"left features {tuple(left.shape)} and right features {tuple(right.shape)} form no "
            "pairs; expected (pairs, length, inputs) twice, of one length, at least one pair")
    if not bool(torch.isfinite(left).all() and torch.isfinite(right).all()):
        raise InvalidArgumentError("features are not finite; expected numbers")
    check_labels(labels, left[:, 0, 0])
    if bool((labels == 0.5).all()):
        raise InvalidArgumentError(f"all {len(labels)} labels are ties: they say nothing about "
                                   "what is better; ask about segments that differ")


def disagreement(returns: Float[Tensor, "members pairs 2"]) -> Float[Tensor, " pairs"]:
    """Return the variance over members of P(left preferred) (Christiano et al. 2017, s. 2.2.4).

    >>> votes = torch.tensor([[[9.0, 0.0], [1.0, 1.0]], [[0.0, 9.0], [1.0, 1.0]]])
    >>> [round(v, 3) for v in disagreement(votes).tolist()]
    [0.25, 0.0]
    """
    return torch.sigmoid(returns[..., 0] - returns[..., 1]).var(0, unbiased=False)


def choose_queries(returns: Float[Tensor, "members pairs 2"], n: int, rule: str,
                   generator: torch.Generator) -> Int[Tensor, " n"]:
    """Return which ``n`` candidate pairs to ask about: "disagreement" or "random"."""
    pairs = returns.shape[1]
    if not 1 <= n <= pairs or rule not in ("disagreement", "random"):
        raise InvalidArgumentError(
            f"n is {n}, rule {rule!r}; expected 1 to {pairs} of the candidates, and "
            "'disagreement' or 'random'")
    if rule == "random":
        return torch.randperm(pairs, generator=generator)[:n]
    return disagreement(returns).argsort(descending=True, stable=True)[:n]
