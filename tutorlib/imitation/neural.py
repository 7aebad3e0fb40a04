"""Behaviour cloning with a network: supervised learning on what a demonstrator did.

The objective is max_pi E_demonstrator[log pi(a|s)] (Sun and van der Schaar 2025, section 2.4;
Pomerleau 1988 for the first car). The loss is that of the `imitation` package's BC: the mean
negative log-likelihood, minus ``entropy_coef`` times the mean entropy, plus ``l2_coef`` times half
the squared weights. Whole episodes are held out for validation, never single steps: neighbouring
frames are near copies, and would make memorising look like knowing. The weights with the lowest
validation loss are kept. Low validation loss speaks for the demonstrator's states, and for no
others.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tutorlib.control import ControlDemonstrations, make_envs, make_policy
from tutorlib.errors import InvalidArgumentError


@dataclass(frozen=True)
class BCConfig:
    """Settings of behaviour cloning with a network."""

    max_epochs: int = 200  # passes over the training data, at most
    batch_size: int = 64  # pairs per gradient step
    learning_rate: float = 3e-3  # of Adam
    validation_fraction: float = 0.2  # of the episodes; 0: none are held out, no early stopping
    patience: int = 20  # epochs without a better validation loss before training stops
    entropy_coef: float = 0.0  # weight of the policy's entropy, in nats
    l2_coef: float = 0.0  # weight of half the squared weights
    hidden: tuple[int, ...] = (32,)  # widths of the hidden layers

    def __post_init__(self) -> None:
        """Refuse settings with which nothing could be learned."""
        for name in ("max_epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidArgumentError(f"{name} is {value!r}; expected a whole number >= 1")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidArgumentError(
                f"learning_rate is {self.learning_rate}; expected a finite number above 0")
        if not 0 <= self.validation_fraction < 1:
            raise InvalidArgumentError(
                f"validation_fraction is {self.validation_fraction}; expected 0 up to below 1")


@dataclass(frozen=True)
class BCResult:
    """A cloned policy and how it came about."""

    policy: nn.Module  # with the weights of the best epoch
    history: list[dict[str, float]]  # by epoch: train_loss, validation_loss (NaN without)
    best_epoch: int  # index into ``history``


def bc_loss(policy, obs: Float[Tensor, "samples inputs"], actions: Shaped[Tensor, " samples *act"],
            entropy_coef: float = 0.0, l2_coef: float = 0.0) -> Float[Tensor, ""]:
    """Return -mean log pi(a|s) - entropy_coef mean H + l2_coef / 2 sum of squared weights.

    The same terms as ``BehaviorCloningLossCalculator`` in the `imitation` package, version 1.0.1.

    >>> from tutorlib.control import CategoricalPolicy
    >>> policy = CategoricalPolicy(2, 4, (8,), torch.Generator().manual_seed(0))
    >>> round(bc_loss(policy, torch.zeros(3, 2), torch.tensor([0, 1, 3])).item(), 4)  # log 4
    1.3863
    """
    logps, entropies = policy.logp_and_entropy(obs, actions)
    loss = -logps.mean() - entropy_coef * entropies.mean()
    if l2_coef:
        loss = loss + 0.5 * l2_coef * sum(w.square().sum() for w in policy.parameters())
    return loss


def clone(task, demonstrations: ControlDemonstrations, config: BCConfig = BCConfig(),
          seed: int = 0, device="cpu") -> BCResult:
    """Clone a policy for ``task`` from demonstrations of it; the same seed gives the same policy.

    Raises InvalidArgumentError for demonstrations that do not belong to the task, or when no
    episode would be left to train on.

    >>> from tutorlib.control import record_demonstrations
    >>> from tutorlib.imitation import BangBang
    >>> expert = BangBang((0.1, 0.3, 3.0, 1.0), low=0, high=1)
    >>> recorded = record_demonstrations("CartPole-v1", expert, 3, seed=0, max_steps=20)
    >>> len(clone("CartPole-v1", recorded, BCConfig(max_epochs=2)).history)
    2
    """
    envs = make_envs(task, 1)
    spaces = envs.single_observation_space, envs.single_action_space
    envs.close()
    return clone_in(*spaces, demonstrations, config, seed, device)


def clone_in(observation_space, action_space, demonstrations: ControlDemonstrations,
             config: BCConfig = BCConfig(), seed: int = 0, device="cpu") -> BCResult:
    """Clone a policy for these spaces: as ``clone``, for observations that no environment gives."""
    demonstrations.check_spaces(observation_space, action_space)
    generator = torch.Generator().manual_seed(seed)
    policy = make_policy(observation_space, action_space, config.hidden, generator).to(device)
    training, held_out = split_episodes(demonstrations, config.validation_fraction, generator)
    pairs = [pairs_of(part, device) for part in (training, held_out) if part is not None]
    return fit(policy, pairs[0], pairs[1] if len(pairs) > 1 else None, config, generator)


def split_episodes(demonstrations: ControlDemonstrations, fraction: float,
                   generator: torch.Generator
                   ) -> tuple[ControlDemonstrations, ControlDemonstrations | None]:
    """Return (training, held out) episodes; at least one is held out when ``fraction`` is not 0.

    Raises InvalidArgumentError when no episode would be left to train on.
    """
    if fraction == 0:
        return demonstrations, None
    count = len(demonstrations)
    n_held = max(1, round(fraction * count))
    if n_held >= count:
        raise InvalidArgumentError(
            f"of {count} demonstrations {n_held} would be held out; give more, or "
            "validation_fraction=0 (and then no early stopping)"
        )
    order = torch.randperm(count, generator=generator)
    return demonstrations[order[n_held:]], demonstrations[order[:n_held]]


def pairs_of(demonstrations: ControlDemonstrations, device="cpu") -> tuple[Tensor, Tensor]:
    """Return observations and actions of all steps that happened, without their order."""
    table = demonstrations.transitions()
    return table.obs.to(device), table.actions.to(device)


def fit(policy, training: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor] | None,
        config: BCConfig, generator: torch.Generator) -> BCResult:
    """Minimise the loss by Adam on minibatches; keep the weights of the best validation epoch.

    Without ``held_out`` pairs it runs ``max_epochs`` and keeps the last weights. ``policy`` is
    trained in place.
    """
    optimiser = torch.optim.Adam(policy.parameters(), config.learning_rate)
    history, best, best_epoch, kept = [], float("inf"), config.max_epochs - 1, None
    for epoch in range(config.max_epochs):
        train_loss = _one_pass(policy, *training, optimiser, config, generator)
        loss = float("nan") if held_out is None else validation_loss(policy, *held_out)
        history.append({"train_loss": train_loss, "validation_loss": loss})
        if loss < best:
            best, best_epoch, kept = loss, epoch, copy.deepcopy(policy.state_dict())
        elif held_out is not None and epoch - best_epoch >= config.patience and kept is not None:
            break
    if kept is not None:
        policy.load_state_dict(kept)
    return BCResult(policy, history, best_epoch)


@torch.no_grad()
def validation_loss(policy, obs: Tensor, actions: Tensor) -> float:
    """Return the mean negative log-likelihood, without the terms that only regularise."""
    return float(bc_loss(policy, obs, actions))


@torch.no_grad()
def agreement(policy, obs: Tensor, actions: Tensor) -> float:
    """Return how often the policy's likeliest action is the given one (for listed actions)."""
    return float((policy.mode(obs) == actions).float().mean())


def _one_pass(policy, obs, actions, optimiser, config: BCConfig, generator) -> float:
    """Take one pass of gradient steps; return the mean loss over minibatches."""
    losses = []
    order = torch.randperm(len(obs), generator=generator).to(obs.device)
    for index in order.split(config.batch_size):
        loss = bc_loss(policy, obs[index], actions[index], config.entropy_coef, config.l2_coef)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())
