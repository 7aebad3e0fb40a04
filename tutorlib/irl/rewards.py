"""Rewards to learn: tabular, linear in features, or a small network.

A model is a ``torch.nn.Module`` that is called with a process and returns r(s, a), [states,
actions]. What it holds may be a function of (s, a), of the state acted in, R(s), or of the state
arrived in, R(s'); ``paid`` says which, and is never guessed:

    "action"     r(s, a)
    "departure"  r(s, a) = R(s)
    "arrival"    r(s, a) = sum_s' P(s' | s, a) R(s')

Only the last depends on the dynamics: called with another process, it is paid by that one's
transitions. Parameters begin at zero, or are drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import TabularMDP, expected_next_values

PAID = ("action", "departure", "arrival")


def pay(mdp: TabularMDP, table: Tensor, paid: str) -> Float[Tensor, "*batch states actions"]:
    """Return r(s, a) from ``table``, [*batch, states] (or [.., states, actions] if per action).

    Terminal states pay nothing when acted in; arriving in one pays.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[1.0, 0.0]]], [[0.0], [0.0]])
    >>> pay(mdp, torch.tensor([1.0, 5.0], dtype=torch.float64), "arrival").tolist()
    [[5.0], [1.0]]
    """
    if paid == "action":
        reward = table
    elif paid == "departure":
        reward = table.unsqueeze(-1).expand(*table.shape, mdp.n_actions)
    elif paid == "arrival":
        reward = expected_next_values(mdp, table)
    else:
        raise InvalidArgumentError(f"paid is {paid!r}; expected one of {', '.join(PAID)}")
    return reward.masked_fill(mdp.terminal[:, None], 0.0)


def check_features(features: Tensor, paid: str) -> None:
    """Raise InvalidArgumentError unless features are finite and fit what ``paid`` says."""
    wanted = 3 if paid == "action" else 2
    if paid not in PAID or features.ndim != wanted or not features.is_floating_point():
        axes = "(states, actions, features)" if wanted == 3 else "(states, features)"
        raise InvalidArgumentError(
            f"features are {features.dtype} of shape {tuple(features.shape)} with paid={paid!r}; "
            f"expected floats of shape {axes} and paid one of {', '.join(PAID)}"
        )
    bad = ~torch.isfinite(features)
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0].tolist())
        raise InvalidArgumentError(
            f"features{list(place)} is {float(features[place])}; expected finite numbers: fill in "
            "or leave out what is missing"
        )


class TabularReward(nn.Module):
    """One parameter per state and action, or per state.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]])
    >>> TabularReward(mdp, paid="departure")(mdp).tolist()
    [[0.0, 0.0]]
    """

    def __init__(self, mdp: TabularMDP, paid: str = "action", batch: Sequence[int] = ()):
        """Begin at zero; ``batch`` puts axes in front, for several rewards learned at once."""
        super().__init__()
        self.paid = paid
        axes = (mdp.n_states, mdp.n_actions) if paid == "action" else (mdp.n_states,)
        self.table = nn.Parameter(mdp.reward.new_zeros(*batch, *axes))

    def forward(self, mdp: TabularMDP) -> Float[Tensor, "*batch states actions"]:
        """Return r(s, a) in ``mdp``."""
        return pay(mdp, self.table, self.paid)


class LinearReward(nn.Module):
    """theta . phi: the linear reward of Ziebart et al. (2008), whose gradient is the feature gap.

    ``features`` is [states, features], or [states, actions, features] with ``paid="action"``.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]])
    >>> LinearReward(torch.ones(1, 3, dtype=torch.float64), paid="departure").weights.shape
    torch.Size([3])
    """

    def __init__(self, features: Tensor, paid: str = "action", batch: Sequence[int] = ()):
        """Begin at theta = 0. Raises InvalidArgumentError for features with NaN or odd shapes."""
        super().__init__()
        check_features(features, paid)
        self.paid = paid
        self.register_buffer("features", features)
        self.weights = nn.Parameter(features.new_zeros(*batch, features.shape[-1]))

    def forward(self, mdp: TabularMDP) -> Float[Tensor, "*batch states actions"]:
        """Return r(s, a) in ``mdp``."""
        flat = self.weights @ self.features.flatten(0, -2).mT  # [*batch, rows]
        table = flat.unflatten(-1, self.features.shape[:-1])
        return pay(mdp, table.to(mdp.dtype), self.paid)


class NeuralReward(nn.Module):
    """A tanh network over features; its output layer begins near zero, so that r does too.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]])
    >>> NeuralReward(torch.ones(1, 3), hidden=(8,), paid="arrival", seed=0)(mdp).shape
    torch.Size([1, 2])
    """

    def __init__(self, features: Tensor, hidden: Sequence[int] = (32, 32), paid: str = "action",
                 seed: int = 0):
        """Draw the weights from ``seed``; the network computes in the dtype of ``features``."""
        super().__init__()
        check_features(features, paid)
        self.paid = paid
        self.register_buffer("features", features)
        generator = torch.Generator().manual_seed(seed)
        sizes, layers = [features.shape[-1], *hidden, 1], []
        for inputs, outputs in pairwise(sizes):
            # skip_init: the usual constructor would draw from torch's global random numbers
            layer = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=features.dtype)
            nn.init.xavier_uniform_(layer.weight, gain=5 / 3, generator=generator)
            nn.init.zeros_(layer.bias)
            layers += [layer, nn.Tanh()]
        with torch.no_grad():
            layers[-2].weight.mul_(0.01)
        self.net = nn.Sequential(*layers[:-1]).to(features.device)

    def forward(self, mdp: TabularMDP) -> Float[Tensor, "states actions"]:
        """Return r(s, a) in ``mdp``, in its dtype."""
        return pay(mdp, self.net(self.features).squeeze(-1).to(mdp.dtype), self.paid)
