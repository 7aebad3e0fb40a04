"""How good an answer is beside what could be expected: baselines, token-level GAE, normalising.

A baseline that does not depend on the answer leaves the policy gradient's mean alone and can take
most of its variance. "batch_mean" contains the answer itself, so it shrinks the gradient of N
independent answers to one prompt by (N - 1) / N; leaving the answer out mends that exactly
(``rloo_advantages`` is N / (N - 1) times the difference to the mean).
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tutorlib.errors import InvalidArgumentError

Baseline = Literal["none", "batch_mean", "moving_average", "greedy", "leave_one_out"]
BASELINES = ("none", "batch_mean", "moving_average", "greedy", "leave_one_out")


def rloo_advantages(rewards: Float[Tensor, "prompts generations"]
                    ) -> Float[Tensor, "prompts generations"]:
    """Return each reward minus the mean of the other answers' to the same prompt.

    (Kool et al. 2019; Ahmadian et al. 2024, eq. 7.) Equals G / (G - 1) (r - mean). Raises
    InvalidArgumentError for fewer than two answers per prompt.

    >>> rloo_advantages(torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([[ 1.0000, -0.5000, -0.5000]])
    """
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise InvalidArgumentError(
            f"rewards have shape {tuple(rewards.shape)}; expected (prompts, answers per prompt) "
            "with 2 answers or more, as others of the same prompt are the baseline")
    count = rewards.shape[1]
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / (count - 1)


def sequence_advantages(rewards: Float[Tensor, "prompts generations"],
                        baseline: Baseline = "leave_one_out", past: float = 0.0,
                        greedy_rewards: Float[Tensor, " prompts"] | None = None
                        ) -> Float[Tensor, "prompts generations"]:
    """Return rewards minus a baseline.

    "none": REINFORCE as published (Williams 1992); "batch_mean": the mean of this batch;
    "moving_average": ``past``, from earlier batches; "greedy": the reward of each prompt's greedy
    answer (ReMax; Li et al. 2023, eq. 6); "leave_one_out": RLOO.

    >>> sequence_advantages(torch.tensor([[1.0, 0.0]]), "greedy", greedy_rewards=torch.ones(1))
    tensor([[ 0., -1.]])
    """
    if baseline not in BASELINES:
        raise InvalidArgumentError(f"baseline is {baseline!r}; expected one of {BASELINES}")
    if baseline == "leave_one_out":
        return rloo_advantages(rewards)
    if baseline == "greedy":
        if greedy_rewards is None or greedy_rewards.shape != rewards.shape[:1]:
            raise InvalidArgumentError("the greedy baseline needs greedy_rewards, one number for "
                                       f"each of {len(rewards)} prompts")
        return rewards - greedy_rewards[:, None]
    if baseline == "batch_mean":
        return rewards - rewards.mean()
    return rewards - past if baseline == "moving_average" else rewards.clone()


class MovingAverage:
    """A running mean of past rewards that forgets, corrected for having begun at nothing.

    >>> past = MovingAverage(decay=0.5)
    >>> past.update(2.0); past.update(5.0); past.value
    4.0
    """

    def __init__(self, decay: float = 0.9):
        """Begin with 0, which is what a first batch gets as its baseline."""
        if not 0 <= decay < 1:
            raise InvalidArgumentError(f"decay is {decay!r}; expected 0 or more and below 1")
        self.decay, self.sum, self.weight = decay, 0.0, 0.0

    @property
    def value(self) -> float:
        """The mean so far."""
        return self.sum / self.weight if self.weight else 0.0

    def update(self, mean: float) -> None:
        """Take one more batch's mean into account."""
        self.sum = self.decay * self.sum + (1 - self.decay) * mean
        self.weight = self.decay * self.weight + (1 - self.decay)


def token_gae(rewards: Float[Tensor, "rows answer"], values: Float[Tensor, "rows answer"],
              completion_mask: Shaped[Tensor, "rows answer"], discount: float = 1.0,
              gae_lambda: float = 0.95, last_values: Float[Tensor, " rows"] | None = None
              ) -> Float[Tensor, "rows answer"]:
    """Return advantages A_t = delta_t + discount lambda A_(t+1) of tokens; 0 where masked.

    delta_t = r_t + discount V_(t+1) - V_t, with V_t the value of the state *before* token t, which
    is the one that the token was chosen in (Schulman et al. 2016, eq. 16). Behind its last token an
    answer is worth ``last_values``: 0 unless given. That is right for ended answers, and for those
    cut off if the reward was paid for what there is of them, as everywhere in this package.

    >>> token_gae(torch.tensor([[0.0, 1.0, 9.0]]), torch.tensor([[0.5, 0.25, 9.0]]),
    ...           torch.tensor([[1, 1, 0]]), gae_lambda=0.0)
    tensor([[-0.2500,  0.7500,  0.0000]])
    """
    for name, value in (("discount", discount), ("gae_lambda", gae_lambda)):
        if not 0 <= value <= 1:
            raise InvalidArgumentError(f"{name} is {value!r}; expected 0 to 1")
    if not rewards.shape == values.shape == completion_mask.shape:
        raise InvalidArgumentError(
            f"rewards, values and completion_mask have shapes {tuple(rewards.shape)}, "
            f"{tuple(values.shape)} and {tuple(completion_mask.shape)}; expected one of each per "
            "token")
    mask = completion_mask != 0
    zeros = torch.zeros_like(values)
    values, rewards = torch.where(mask, values, zeros), torch.where(mask, rewards, zeros)
    following = torch.cat([values[:, 1:], zeros[:, :1]], 1)
    if last_values is not None:
        following = following.scatter(1, mask.sum(1, keepdim=True) - 1, last_values[:, None])
    deltas = rewards + discount * following - values
    advantages, carry = torch.zeros_like(deltas), zeros[:, 0]
    for t in reversed(range(deltas.shape[1])):
        carry = torch.where(mask[:, t], deltas[:, t] + discount * gae_lambda * carry, zeros[:, t])
        advantages[:, t] = carry
    return advantages


def normalise_masked(values: Float[Tensor, "*batch"], mask: Shaped[Tensor, "*batch"],
                     std: Literal["population", "sample"] = "sample", epsilon: float = 1e-8
                     ) -> Float[Tensor, "*batch"]:
    """Return (values - mean) / (std + epsilon) over the places that count; 0 elsewhere.

    TRL's PPO (until 1.12) adds its epsilon to the variance, inside the root.

    >>> normalise_masked(torch.tensor([1.0, 3.0, 99.0]), torch.tensor([1, 1, 0]), "population")
    tensor([-1.,  1.,  0.])
    """
    if std not in ("population", "sample"):
        raise InvalidArgumentError(f"std is {std!r}; expected 'population' or 'sample'")
    chosen = values[mask != 0]
    if len(chosen) < 2:
        raise InvalidArgumentError(f"{len(chosen)} values count; expected 2 or more, as one value "
                                   "has no spread to be normalised by")
    scale = chosen.std(correction=int(std == "sample")) + epsilon
    return torch.where(mask != 0, (values - chosen.mean()) / scale, torch.zeros_like(values))


def explained_variance(values: Float[Tensor, "*batch"], returns: Float[Tensor, "*batch"],
                       mask: Shaped[Tensor, "*batch"]) -> float:
    """Return 1 - Var(returns - values) / Var(returns): 1 for a perfect critic, 0 for a constant.

    NaN where all returns are equal, as there is nothing to explain.

    >>> explained_variance(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), torch.ones(2))
    1.0
    """
    returns, values = returns[mask != 0], values[mask != 0]
    spread = returns.var(correction=0)
    if not float(spread) > 0:
        return float("nan")
    return float(1 - (returns - values).var(correction=0) / spread)
