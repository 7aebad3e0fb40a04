"""Networks that tell a demonstrator from a learner, and what they minimise.

A discriminator gives each step a logit h = log D / (1 - D): high for the demonstrator, label 1.
GAIL and forward KL take any function of state and action. AIRL's logit has a form of its own,
h = f(s, a, s') - log pi(a|s) with f = g(s, a) + gamma h(s') - h(s) (Fu et al. 2018, equations 3 and
4), so that what is learned is a reward plus a shaping term. Both stand still while the policy
climbs: nothing here passes a gradient to it.

Departures from the papers: inputs are standardised by numbers fixed at the start; the potential of
a state that ended the process counts as 0 (as it must, lest shaping change what is optimal when
episodes differ in length: Ng et al. 1999); g sees the action too; log pi(a|s) is that of the action
as it was carried out, cut to its bounds: demonstrations hold such actions too.
"""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus

from tutorlib.control import Transitions
from tutorlib.control.networks import mlp, observation_size

Logits = Float[Tensor, " samples"]


class LogitNet(nn.Module):
    """Any function of (s, a): the discriminator of GAIL and of forward KL."""

    def __init__(self, observation_space, action_space, hidden: Sequence[int],
                 generator: torch.Generator):
        """Build a tanh network on standardised observations and actions (one-hot if discrete)."""
        super().__init__()
        inputs = observation_size(observation_space)
        discrete = isinstance(action_space, gymnasium.spaces.Discrete)
        self.n_actions = int(action_space.n) if discrete else None
        actions = self.n_actions if discrete else action_space.shape[0]
        self.net = mlp([inputs + actions, *hidden, 1], 1.0, generator)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))

    def standardise(self, *observations: Float[Tensor, "_ inputs"]) -> None:
        """Fix the scale of the inputs: mean and deviation, each source counting equally."""
        means = torch.stack([obs.mean(0) for obs in observations])
        squares = torch.stack([obs.square().mean(0) for obs in observations])
        self.mean = means.mean(0)
        std = (squares.mean(0) - self.mean.square()).clamp(min=0).sqrt()
        self.std = torch.where(std > 1e-6, std, 1.0)  # an entry that never changed stays as it is

    def forward(self, steps: Transitions) -> Logits:
        """Return one number per step."""
        return self.of_pairs(self.scaled(steps.obs), steps.actions)

    def scaled(self, obs: Tensor) -> Tensor:
        """Return observations in units of their usual spread."""
        return (obs - self.mean) / self.std

    def of_pairs(self, scaled_obs: Tensor, actions: Tensor) -> Logits:
        """Return the network's answer to standardised observations and actions."""
        actions = one_hot(actions, self.n_actions) if self.n_actions else actions
        return self.net(torch.cat([scaled_obs, actions.to(scaled_obs.dtype)], -1)).squeeze(-1)


class ShapedNet(LogitNet):
    """AIRL's f(s, a, s') = g(s, a) + gamma h(s') - h(s); h counts as 0 where the process ended."""

    def __init__(self, observation_space, action_space, hidden: Sequence[int],
                 generator: torch.Generator, discount: float):
        """Build g as ``LogitNet`` does, and the potential h on standardised observations."""
        super().__init__(observation_space, action_space, hidden, generator)
        self.potential = mlp([observation_size(observation_space), *hidden, 1], 1.0, generator)
        self.discount = discount
        if self.n_actions is None:  # real actions are carried out within these bounds
            self.register_buffer("low", torch.as_tensor(action_space.low))
            self.register_buffer("high", torch.as_tensor(action_space.high))

    def forward(self, steps: Transitions) -> Logits:
        """Return f of each step (Fu et al. 2018, equation 4)."""
        going_on = (~steps.ended).to(steps.obs.dtype)
        here = self.potential(self.scaled(steps.obs)).squeeze(-1)
        there = self.potential(self.scaled(steps.next_obs)).squeeze(-1)
        return self.reward(steps) + self.discount * going_on * there - here

    def reward(self, steps: Transitions) -> Logits:
        """Return g(s, a) alone: the reward without the shaping, the part that may transfer."""
        return super().forward(steps)


def demonstrator_logits(net: LogitNet, policy, steps: Transitions) -> Logits:
    """Return the logit that each step is the demonstrator's.

    For a ``ShapedNet`` that is f - log pi(a|s), with pi as it stands (Fu et al. 2018,
    equation 3); gradients reach the network, never the policy.
    """
    if not isinstance(net, ShapedNet):
        return net(steps)
    with torch.no_grad():
        if net.n_actions is None:
            logps = policy.logp_taken(steps.obs, steps.actions, net.low, net.high)
        else:
            logps, _ = policy.logp_and_entropy(steps.obs, steps.actions)
    return net(steps) - logps


def discriminator_loss(demo_logits: Float[Tensor, " demo"],
                       policy_logits: Float[Tensor, " policy"]) -> Float[Tensor, ""]:
    """Return the mean binary cross-entropy, label 1 for the demonstrator, each side half.

    -1/2 E_demo[log D] - 1/2 E_pi[log(1 - D)] (Goodfellow et al. 2014, equation 1, halved).

    >>> float(discriminator_loss(torch.zeros(3), torch.zeros(5))) == float(torch.tensor(2.0).log())
    True
    """
    return 0.5 * (softplus(-demo_logits).mean() + softplus(policy_logits).mean())


def gradient_penalty(net: LogitNet, steps: Transitions) -> Float[Tensor, ""]:
    """Return E |d net / d observation|^2, in units of the observations' spread.

    A discriminator that separates perfectly grows without bound and stops telling better from
    worse; a price on its slope prevents that (R1 of Mescheder et al. 2018, equation 9; there on
    real data only, here on whatever is given).
    """
    obs, next_obs = (part.detach().requires_grad_() for part in (steps.obs, steps.next_obs))
    out = net(Transitions(obs, steps.actions, next_obs, steps.ended)).sum()
    slopes = torch.autograd.grad(out, (obs, next_obs), create_graph=True, allow_unused=True)
    squares = [(slope * net.std).square().sum(-1) for slope in slopes if slope is not None]
    return torch.stack(squares).sum(0).mean()
