"""Small neural policies and critics, drawn from a generator so that a seed fixes every weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError


def mlp(sizes: Sequence[int], output_gain: float, generator: torch.Generator) -> nn.Sequential:
    """Return a tanh network with orthogonal weights and zero biases.

    Hidden layers have gain sqrt(2). ``output_gain`` is 0.01 for a policy, which then starts close
    to uniform, and 1 for a critic (Huang et al. 2022, core detail 2).

    >>> mlp([4, 64, 2], 0.01, torch.Generator().manual_seed(0))(torch.ones(3, 4)).shape
    torch.Size([3, 2])
    """
    layers: list[nn.Module] = []
    for depth, (inputs, outputs) in enumerate(pairwise(sizes)):
        last = depth == len(sizes) - 2
        # skip_init: the usual constructor would draw from torch's global random numbers
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
        gain = output_gain if last else math.sqrt(2)
        nn.init.orthogonal_(layer.weight, gain, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer] if last else [layer, nn.Tanh()]
    return nn.Sequential(*layers)


class CategoricalPolicy(nn.Module):
    """A softmax policy over finitely many actions."""

    def __init__(self, n_inputs: int, n_actions: int, hidden: Sequence[int],
                 generator: torch.Generator):
        """Build the network that maps an observation to one logit per action."""
        super().__init__()
        self.net = mlp([n_inputs, *hidden, n_actions], 0.01, generator)

    def forward(self, obs: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch actions"]:
        """Return log-probabilities of all actions."""
        return torch.log_softmax(self.net(obs), -1)

    def sample(self, obs: Float[Tensor, "batch inputs"], generator: torch.Generator) -> Tensor:
        """Draw one action per observation."""
        return torch.multinomial(self(obs).exp(), 1, generator=generator).squeeze(-1)

    def mode(self, obs: Float[Tensor, "batch inputs"]) -> Tensor:
        """Return the likeliest action per observation."""
        return self.net(obs).argmax(-1)

    def logp_and_entropy(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return log pi(a|s) and the entropy of pi(.|s), in nats, for each pair."""
        logps = self(obs)
        chosen = logps.gather(-1, actions[..., None]).squeeze(-1)
        return chosen, -(logps.exp() * logps).sum(-1)


class GaussianPolicy(nn.Module):
    """A normal distribution over real actions, with one learned spread per action dimension."""

    def __init__(self, n_inputs: int, n_actions: int, hidden: Sequence[int],
                 generator: torch.Generator):
        """Build the network for the mean; the log standard deviation starts at 0."""
        super().__init__()
        self.net = mlp([n_inputs, *hidden, n_actions], 0.01, generator)
        self.log_std = nn.Parameter(torch.zeros(n_actions))

    def sample(self, obs: Float[Tensor, "batch inputs"], generator: torch.Generator) -> Tensor:
        """Draw one action per observation; the environment's bounds are not known here."""
        mean = self.net(obs)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return mean + self.log_std.exp() * noise

    def mode(self, obs: Float[Tensor, "batch inputs"]) -> Tensor:
        """Return the mean action per observation."""
        return self.net(obs)

    def logp_and_entropy(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return log pi(a|s) and the entropy of pi(.|s), in nats, for each pair."""
        scaled = (actions - self.net(obs)) / self.log_std.exp()
        half_log_2pi = 0.5 * math.log(2 * math.pi)
        logp = (-0.5 * scaled**2 - self.log_std - half_log_2pi).sum(-1)
        entropy = (0.5 + half_log_2pi + self.log_std).sum()
        return logp, entropy.expand(logp.shape)

    def logp_taken(self, obs: Tensor, taken: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return log pi of actions as carried out: cut to [low, high] where they were beyond.

        All that was beyond a bound is carried out *at* it: there log pi is the logarithm of a
        probability, the normal's tail; between the bounds it is the density's (Fujita and Maeda
        2018, "Clipped action policy gradient"). The plain density at a bound, ``logp_and_entropy``,
        falls without end as the policy widens, though it does the same thing there ever more often.
        """
        mean, std = self.net(obs), self.log_std.exp()
        inside = -0.5 * ((taken - mean) / std).square() - self.log_std - 0.5 * math.log(2 * math.pi)
        above = torch.special.log_ndtr((mean - high) / std)
        below = torch.special.log_ndtr((low - mean) / std)
        at_bounds = torch.where(taken >= high, above, torch.where(taken <= low, below, inside))
        return at_bounds.sum(-1)


def make_policy(observation_space, action_space, hidden: Sequence[int],
                generator: torch.Generator) -> CategoricalPolicy | GaussianPolicy:
    """Return a policy for a Box observation space and a Discrete or flat Box action space.

    Raises InvalidArgumentError for any other space.
    """
    inputs = observation_size(observation_space)
    if isinstance(action_space, gymnasium.spaces.Discrete) and action_space.start == 0:
        return CategoricalPolicy(inputs, int(action_space.n), hidden, generator)
    if isinstance(action_space, gymnasium.spaces.Box) and len(action_space.shape) == 1:
        return GaussianPolicy(inputs, action_space.shape[0], hidden, generator)
    raise InvalidArgumentError(
        f"the actions are {action_space}; expected Discrete(n) starting at 0, or a Box of one axis"
    )


def make_critic(observation_space, hidden: Sequence[int], generator: torch.Generator) -> nn.Module:
    """Return a network that maps observations [..., inputs] to values [..., 1]."""
    return mlp([observation_size(observation_space), *hidden, 1], 1.0, generator)


def observation_size(space) -> int:
    """Return how many numbers an observation holds; raise InvalidArgumentError if it is not flat.

    >>> observation_size(gymnasium.make("CartPole-v1").observation_space)
    4
    """
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise InvalidArgumentError(
            f"the observations are {space}; expected a Box of one axis (for Discrete states use "
            "the tabular methods, or gymnasium.wrappers.FlattenObservation)"
        )
    return space.shape[0]
