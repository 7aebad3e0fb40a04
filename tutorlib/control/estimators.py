"""Returns, advantages and objectives as pure functions of arrays. Time is always the first axis.

There are no ``done`` flags here. ``discount_t`` says how much of the next value counts after step t
(0 where the episode terminated), and ``lambda_t`` how much of the sum goes on (0 where the episode
stopped for any reason). A time limit is then no special case: its ``discount_t`` stays at the
discount, because the process would have gone on, and its ``lambda_t`` is 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError


def discounted_returns(
    rewards: Float[Tensor, " time *batch"],
    discount_t: Float[Tensor, " time *batch"] | float,
    last_value: Float[Tensor, "*batch"] | float = 0.0,
) -> Float[Tensor, " time *batch"]:
    """Return the rewards to go, G_t = r_t + discount_t * G_{t+1}, with G_T = ``last_value``.

    (Sutton and Barto 2018, Equation 3.9.)

    >>> discounted_returns(torch.tensor([1.0, 0.0, 4.0]), 0.5)
    tensor([2., 2., 4.])
    """
    discounts = _per_step(discount_t, rewards, "discount_t")
    returns = torch.empty_like(rewards)
    following = torch.as_tensor(last_value, dtype=rewards.dtype, device=rewards.device)
    for t in reversed(range(len(rewards))):
        following = rewards[t] + discounts[t] * following
        returns[t] = following
    return returns


def td_errors(
    rewards: Float[Tensor, " time *batch"],
    values: Float[Tensor, " time+1 *batch"],
    discount_t: Float[Tensor, " time *batch"] | float,
) -> Float[Tensor, " time *batch"]:
    """Return delta_t = r_t + discount_t * V(s_{t+1}) - V(s_t).

    ``values`` has one entry more than ``rewards``: the state after the last step has a value too.
    (Sutton and Barto 2018, Equation 6.5.)

    >>> td_errors(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0, 4.0]), 0.5)
    tensor([2., 1.])
    """
    if values.shape != (len(rewards) + 1, *rewards.shape[1:]):
        raise InvalidArgumentError(
            f"values has shape {tuple(values.shape)}; expected "
            f"{(len(rewards) + 1, *rewards.shape[1:])}: one entry more in time than rewards "
            f"{tuple(rewards.shape)}, for the state after the last step"
        )
    return rewards + _per_step(discount_t, rewards, "discount_t") * values[1:] - values[:-1]


def gae(
    rewards: Float[Tensor, " time *batch"],
    values: Float[Tensor, " time+1 *batch"],
    discount_t: Float[Tensor, " time *batch"] | float,
    lambda_t: Float[Tensor, " time *batch"] | float,
) -> Float[Tensor, " time *batch"]:
    """Return generalised advantage estimates, A_t = delta_t + discount_t * lambda_t * A_{t+1}.

    lambda = 0 gives the one-step temporal-difference error, lambda = 1 the reward to go minus V.
    At a time limit ``values[t + 1]`` must be the value of the last state seen, not of the state
    after the reset. (Schulman et al. 2016, Equation 16, with the discount of each step.)

    >>> gae(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0, 4.0]), 0.5, 1.0)
    tensor([2.5000, 1.0000])
    """
    deltas = td_errors(rewards, values, discount_t)
    decay = _per_step(discount_t, rewards, "discount_t") * _per_step(lambda_t, rewards, "lambda_t")
    return discounted_returns(deltas, decay)


def ppo_clip_objective(
    logps: Float[Tensor, "*batch"],
    old_logps: Float[Tensor, "*batch"],
    advantages: Float[Tensor, "*batch"],
    clip: float = 0.2,
) -> Float[Tensor, "*batch"]:
    """Return min(ratio * A, clip(ratio, 1 - clip, 1 + clip) * A) per sample, to be maximised.

    ``ratio`` is pi(a|s) / pi_old(a|s); gradients flow through ``logps`` alone.
    (Schulman et al. 2017, Equation 7.)

    >>> double = torch.log(torch.tensor([2.0, 2.0]))
    >>> ppo_clip_objective(double, torch.zeros(2), torch.tensor([1.0, -1.0]))
    tensor([ 1.2000, -2.0000])
    """
    if not clip > 0:
        raise InvalidArgumentError(f"clip is {clip!r}; expected a number above 0, for example 0.2")
    if not logps.shape == old_logps.shape == advantages.shape:
        raise InvalidArgumentError(
            f"logps, old_logps and advantages have shapes {tuple(logps.shape)}, "
            f"{tuple(old_logps.shape)} and {tuple(advantages.shape)}; expected one common shape "
            "(a missing axis would be broadcast and average the wrong numbers)"
        )
    ratio = torch.exp(logps - old_logps.detach())
    advantages = advantages.detach()
    return torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def normalise(advantages: Float[Tensor, "*batch"], epsilon: float = 1e-8) -> Tensor:
    """Return advantages with mean 0 and sample standard deviation 1 (divisor n - 1).

    >>> normalise(torch.tensor([1.0, 3.0]))
    tensor([-0.7071,  0.7071])
    """
    return (advantages - advantages.mean()) / (advantages.std() + epsilon)


def _per_step(factor: Tensor | float, rewards: Tensor, name: str) -> Tensor:
    """Return a number or tensor as one factor per reward; refuse a shape that would broadcast."""
    factor = torch.as_tensor(factor, dtype=rewards.dtype, device=rewards.device)
    if factor.ndim and factor.shape != rewards.shape:
        raise InvalidArgumentError(
            f"{name} has shape {tuple(factor.shape)}; expected a number or the shape of rewards, "
            f"{tuple(rewards.shape)}"
        )
    return factor.expand(rewards.shape)
