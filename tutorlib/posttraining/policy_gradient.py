"""REINFORCE, ReMax and RLOO for a language model: losses, and one readable loop.

The objective is J = E[r] - beta KL(pi || pi_ref), over whole answers, and

    grad J = E[(r - beta log pi/pi_ref - b) grad log pi(y|x)]

for any baseline b that does not depend on the answer (Williams 1992; Ahmadian et al. 2024). With
``ratio`` the same batch serves several steps, by PPO's clipped ratio of the whole answer (TRL's
RLOO) or of each token.

Departures: dropout is off; ReMax's baseline is the greedy answer's reward without its KL.
TRL's RLOO defaults: beta 0.05, two answers per prompt, a ratio of whole answers, no normalising.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError
from tutorlib.lm import SamplingSettings, encode_prompts, evaluating, sample, sequence_values
from tutorlib.lm.checks import check_count, check_number
from tutorlib.lm.scoring import AGGREGATES, Aggregate
from tutorlib.posttraining.advantages import (
    BASELINES,
    Baseline,
    MovingAverage,
    normalise_masked,
    sequence_advantages,
)
from tutorlib.posttraining.guard import guarded
from tutorlib.posttraining.kl import KLEstimator, adaptive_beta, kl_estimate
from tutorlib.posttraining.preferences import RewardFunction, reference_for, score
from tutorlib.posttraining.rollouts import Rollouts, collect, logps_and_entropy
from tutorlib.posttraining.steps import draw_prompts, take_step

Clip = float | tuple[float, float]


def reinforce_loss(per_token_logps: Float[Tensor, "rows answer"],
                   completion_mask: Shaped[Tensor, "rows answer"],
                   advantages: Float[Tensor, " rows *each"],
                   aggregate: Aggregate = "sequence_sum", constant: float | None = None
                   ) -> Float[Tensor, ""]:
    """Return minus the mean over answers of sum_t A log pi(y_t|...), A without gradient.

    Advantages are one per answer [rows] or per token [rows, answer]. Only "sequence_sum" has the
    gradient of J; see ``sequence_values`` for the others.

    >>> reinforce_loss(torch.tensor([[-1.0, -2.0]]), torch.ones(1, 2), torch.tensor([0.5]))
    tensor(1.5000)
    """
    advantages = _per_token(advantages, per_token_logps).detach()
    return -sequence_values(advantages * per_token_logps, completion_mask, aggregate,
                            constant).mean()


def ratio_loss(per_token_logps: Float[Tensor, "rows answer"],
               old_per_token_logps: Float[Tensor, "rows answer"],
               completion_mask: Shaped[Tensor, "rows answer"],
               advantages: Float[Tensor, " rows *each"],
               clip: Clip | None = 0.2, ratio: Literal["token", "sequence"] = "token",
               aggregate: Aggregate = "token_mean", constant: float | None = None
               ) -> tuple[Float[Tensor, ""], float]:
    """Return minus the mean of min(rho A, clip(rho, 1 - low, 1 + high) A), and the share clipped.

    rho = pi / pi_old of each token (Schulman et al. 2017, eq. 7), averaged by ``aggregate``; or of
    the whole answer, as in TRL's RLOO, averaged over answers. ``clip`` is one number or (low,
    high); None: never. Clipped is where the gradient is 0 for that reason.

    >>> double = torch.tensor([[2.0]]).log()
    >>> ratio_loss(double, torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([1.0]))
    (tensor(-1.2000), 1.0)
    """
    mask = completion_mask != 0
    gap = torch.where(mask, per_token_logps - old_per_token_logps.detach(), 0.0)
    if ratio == "sequence":
        if advantages.ndim != 1:
            raise InvalidArgumentError("a ratio of whole answers needs one advantage per answer")
        objective, clipped = _clipped(gap.sum(1), advantages.detach(), clip)
        return -objective.mean(), clipped.double().mean().item()
    if ratio != "token":
        raise InvalidArgumentError(f"ratio is {ratio!r}; expected 'token' or 'sequence'")
    objective, clipped = _clipped(gap, _per_token(advantages, gap).detach(), clip)
    loss = -sequence_values(objective, completion_mask, aggregate, constant).mean()
    return loss, clipped[mask].double().mean().item()


def _clipped(log_ratio: Tensor, advantages: Tensor, clip: Clip | None) -> tuple[Tensor, Tensor]:
    """Return PPO's objective at each place, and where clipping stops its gradient."""
    ratio = log_ratio.exp()
    if clip is None:
        return ratio * advantages, torch.zeros_like(ratio, dtype=torch.bool)
    low, high = clip if isinstance(clip, tuple) else (clip, clip)
    check_number("clip", low)
    check_number("clip", high)
    clipped = ((ratio > 1 + high) & (advantages > 0)) | ((ratio < 1 - low) & (advantages < 0))
    bounded = ratio.clamp(1 - low, 1 + high) * advantages
    return torch.minimum(ratio * advantages, bounded), clipped


def _per_token(advantages: Tensor, like: Tensor) -> Tensor:
    """Return advantages with one number per token; refuse what would broadcast wrongly."""
    if advantages.shape == like.shape:
        return advantages
    if advantages.shape != like.shape[:1]:
        raise InvalidArgumentError(
            f"advantages have shape {tuple(advantages.shape)}; expected one per answer, "
            f"{tuple(like.shape[:1])}, or one per token, {tuple(like.shape)}")
    return advantages[:, None].expand_as(like)


@dataclass(frozen=True)
class PolicyGradientSettings:
    """How a model learns from a reward; the defaults are RLOO, one step per batch."""

    steps: int = 100  # batches of answers
    prompts_per_step: int = 16  # drawn without repetition while there are enough
    sampling: SamplingSettings = field(default_factory=lambda: SamplingSettings(num_generations=4))
    baseline: Baseline = "leave_one_out"  # what rewards are compared with; see sequence_advantages
    normalise: bool = False  # divide advantages by their spread over the batch (sample std)
    beta: float = 0.05  # price of a nat of KL to the reference; 0: none
    kl_target: float | None = None  # steer beta towards this KL per answer, in nats; None: fixed
    kl_limit: float | None = 100.0  # a KL per answer beyond it, in nats, is an error; None: never
    kl_in: Literal["reward", "loss"] = "reward"  # where it is paid
    kl_estimator: KLEstimator = "k1"  # see tutorlib.posttraining.kl for what each one's gradient is
    ratio: Literal["none", "token", "sequence"] = "none"  # none: plain log-probabilities
    clip: Clip | None = 0.2  # of the ratio: one number, or (low, high)
    passes: int = 1  # gradient steps on each batch; more than one needs a ratio
    aggregate: Aggregate = "sequence_sum"  # of token losses; the sum has the gradient of J
    constant: float | None = None  # the length that aggregate="constant" divides by
    learning_rate: float = 1e-4  # of AdamW, at the first step
    schedule: Literal["constant", "linear"] = "constant"  # of the learning rate; linear: down to 0
    max_grad_norm: float | None = 1.0  # longer gradients are cut to this length; None: never
    add_special_tokens: bool = True  # False for prompts that spell them out, as chat templates do

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        for name in ("steps", "prompts_per_step", "passes"):
            check_count(name, getattr(self, name))
        check_number("learning_rate", self.learning_rate)
        choices = {"baseline": BASELINES, "kl_in": ("reward", "loss"), "aggregate": AGGREGATES,
                   "kl_estimator": ("k1", "k2", "k3"), "ratio": ("none", "token", "sequence"),
                   "schedule": ("constant", "linear")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InvalidArgumentError(
                    f"{name} is {getattr(self, name)!r}; expected one of {allowed}")
        if not 0 <= self.beta < torch.inf:
            raise InvalidArgumentError(f"beta is {self.beta!r}; expected 0 or more")
        if self.kl_target is not None and not (self.beta > 0 and self.kl_target > 0):
            raise InvalidArgumentError("kl_target steers beta: both must be above 0")
        if self.kl_limit is not None:
            check_number("kl_limit", self.kl_limit)
        if self.baseline == "leave_one_out" and self.sampling.num_generations < 2:
            raise InvalidArgumentError("leave_one_out compares answers to the same prompt: give "
                                       "sampling=SamplingSettings(num_generations=2) or more")
        if self.passes > 1 and self.ratio == "none":
            raise InvalidArgumentError("after one step the answers are no longer the policy's own: "
                                       "several passes need ratio='token' or 'sequence'")
        if self.sampling.greedy:
            raise InvalidArgumentError("greedy answers explore nothing; expected greedy=False")


def train_policy_gradient(model: nn.Module, tokenizer, prompts: Sequence[str],
                          reward: RewardFunction, settings: PolicyGradientSettings,
                          generator: torch.Generator, reference: nn.Module | None = None,
                          report: Callable[[dict], None] | None = None) -> list[dict]:
    """Train ``model`` in place to earn ``reward(prompts, answers)``; return a record per step.

    ``reference`` is the model as it is now unless given. A record holds step; of the answers,
    before the step: reward, reward_std, kl (per answer, k1, nats), entropy (per token), length,
    ended (share not cut off), advantage_std; and of the update: loss, grad_norm, clip_fraction,
    approx_kl (k3 of old to new policy per token, before the last pass), beta, learning_rate.
    Raises TrainingDivergedError, with the model back at its last good weights; see ``guarded``.

    >>> from tutorlib.lm import tiny_model, word_tokenizer
    >>> tokenizer = word_tokenizer(["sky", "blue", "red"])
    >>> history = train_policy_gradient(
    ...     tiny_model(tokenizer), tokenizer, ["sky"],
    ...     lambda prompts, answers: [answer.count("blue") for answer in answers],
    ...     PolicyGradientSettings(steps=3, learning_rate=0.01, sampling=SamplingSettings(
    ...         max_new_tokens=3, num_generations=4)), torch.Generator().manual_seed(0))
    >>> [record["step"] for record in history], abs(history[0]["kl"]) < 1e-5
    ([0, 1, 2], True)
    """
    reference = reference_for(model, reference)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    past, beta, history = MovingAverage(), settings.beta, []
    guard = guarded([model], settings.kl_limit, history)
    with evaluating(model), guard as check:  # no dropout
        for step in range(settings.steps):
            asked = draw_prompts(prompts, settings.prompts_per_step, generator)
            rollouts = collect(model, reference, tokenizer, asked, reward, settings.sampling,
                               generator, settings.add_special_tokens)
            measures = rollouts.measures()
            check(measures["kl"])
            advantages = _advantages(model, tokenizer, asked, rollouts, reward, past.value, beta,
                                     settings)
            share = 1 - step / settings.steps if settings.schedule == "linear" else 1.0
            record = {"step": step, **measures, "beta": beta,
                      "advantage_std": advantages.std(correction=0).item(),
                      "learning_rate": settings.learning_rate * share}
            for _ in range(settings.passes):
                loss, measured = policy_loss(model, rollouts, advantages, settings, beta)
                record |= measured | {"grad_norm": take_step(optimizer, loss, share,
                                                             settings.max_grad_norm)}
            past.update(record["reward"])
            if settings.kl_target is not None:
                beta = adaptive_beta(beta, record["kl"], settings.kl_target)
            history.append(record)
            if report is not None:
                report(record)
    return history


def policy_loss(model: nn.Module, rollouts: Rollouts, advantages: Float[Tensor, " rows"],
                settings: PolicyGradientSettings, beta: float
                ) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Return the loss of a batch of answers, differentiable, and what to record about it."""
    logps, entropy = logps_and_entropy(model, rollouts, settings.sampling.temperature,
                                       entropy_gradient=False)
    mask, average = rollouts.completion_mask, (settings.aggregate, settings.constant)
    if settings.ratio == "none":
        loss, clipped = reinforce_loss(logps, mask, advantages, *average), 0.0
    else:
        loss, clipped = ratio_loss(logps, rollouts.old_per_token_logps, mask, advantages,
                                   settings.clip, settings.ratio, *average)
    if settings.kl_in == "loss" and beta > 0:
        kl = kl_estimate(logps, rollouts.ref_per_token_logps, mask, settings.kl_estimator)
        loss = loss + beta * sequence_values(kl, mask, *average).mean()
    moved = kl_estimate(rollouts.old_per_token_logps, logps.detach(), mask, "k3")
    tokens = mask.sum()
    return loss, {"loss": loss.item(), "entropy": (entropy.sum() / tokens).item(),
                  "clip_fraction": clipped, "approx_kl": (moved.sum() / tokens).item()}


def _advantages(model, tokenizer, asked: list[str], rollouts: Rollouts, reward: RewardFunction,
                past: float, beta: float, settings: PolicyGradientSettings) -> Tensor:
    """Return one advantage per answer: reward, less the KL if it is paid there, less baseline."""
    rewards = rollouts.rewards
    if settings.kl_in == "reward" and beta > 0:
        rewards = rollouts.regularised_rewards(beta, settings.kl_estimator)
    greedy = None
    if settings.baseline == "greedy":
        only = replace(settings.sampling, greedy=True, num_generations=1)
        batch = encode_prompts(tokenizer, asked, rewards.device, settings.add_special_tokens)
        drawn = sample(model, *batch, only)
        greedy = score(reward, asked, drawn.texts(tokenizer)).to(rewards)
    grouped = rewards.view(len(asked), settings.sampling.num_generations)
    advantages = sequence_advantages(grouped, settings.baseline, past, greedy).flatten()
    if settings.normalise:
        advantages = normalise_masked(advantages, torch.ones_like(advantages))
    return advantages
