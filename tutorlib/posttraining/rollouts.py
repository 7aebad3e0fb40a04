"""Answers of the policy with all that learning from them needs: rewards and log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tutorlib.lm import (
    SamplingSettings,
    encode_prompts,
    evaluating,
    per_token_logps,
    per_token_logps_and_entropy,
    rows_at_once,
    sample,
)
from tutorlib.lm.checks import eos_ids_of
from tutorlib.posttraining.kl import KLEstimator, kl_estimate
from tutorlib.posttraining.preferences import RewardFunction, score


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Sampled answers, row by row; several to one prompt stand next to each other."""

    prompts: list[str]
    answers: list[str]
    prompt_ids: Int[Tensor, "rows prompt"]
    prompt_mask: Int[Tensor, "rows prompt"]
    completion_ids: Int[Tensor, "rows answer"]
    completion_mask: Int[Tensor, "rows answer"]
    old_per_token_logps: Float[Tensor, "rows answer"]  # of the policy that answered
    ref_per_token_logps: Float[Tensor, "rows answer"]
    rewards: Float[Tensor, " rows"]  # without any KL
    ended: Bool[Tensor, " rows"]  # False where an answer was cut off

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what ``per_token_logps`` takes behind the model."""
        return self.prompt_ids, self.prompt_mask, self.completion_ids, self.completion_mask

    def __getitem__(self, rows: list[int]) -> Rollouts:
        """Return some of the rows."""
        lists = [[self.prompts[i] for i in rows], [self.answers[i] for i in rows]]
        names = list(self.__dataclass_fields__)[2:]
        return Rollouts(*lists, *(getattr(self, name)[rows] for name in names))

    def regularised_rewards(self, beta: float, kl_estimator: KLEstimator = "k1"
                            ) -> Float[Tensor, " rows"]:
        """Return each answer's reward less beta times its KL, summed over its tokens."""
        kl = kl_estimate(self.old_per_token_logps, self.ref_per_token_logps, self.completion_mask,
                         kl_estimator)
        return self.rewards - beta * kl.sum(1)

    def measures(self) -> dict[str, float]:
        """Return the means that every training loop records, over answers.

        ``kl`` is the sum over an answer's tokens of log pi/pi_ref: k1, in nats, of either sign.
        """
        kl = kl_estimate(self.old_per_token_logps, self.ref_per_token_logps, self.completion_mask)
        return {"reward": self.rewards.mean().item(),
                "reward_std": self.rewards.std(correction=0).item(),
                "kl": kl.sum(1).mean().item(),
                "length": self.completion_mask.sum(1).double().mean().item(),
                "ended": self.ended.double().mean().item()}


def collect(model: nn.Module, reference: nn.Module, tokenizer, prompts: Sequence[str],
            reward: RewardFunction, sampling: SamplingSettings, generator: torch.Generator,
            add_special_tokens: bool = True) -> Rollouts:
    """Return ``num_generations`` answers to each prompt, scored by the reward and both models.

    ``reward(prompts, answers)`` gets texts without special tokens and returns a number for each.
    Log-probabilities are at the sampling temperature, before cuts to the top k or top p: with such
    cuts the samples are not quite those of the policy that is trained.
    """
    device = next(model.parameters()).device
    ids, mask = encode_prompts(tokenizer, prompts, device, add_special_tokens)
    drawn = sample(model, ids, mask, sampling, generator)
    count = sampling.num_generations
    ids, mask = ids.repeat_interleave(count, 0), mask.repeat_interleave(count, 0)
    batch = (ids, mask, drawn.completion_ids, drawn.completion_mask)
    with torch.no_grad(), evaluating(reference):
        ref = per_token_logps(reference, *batch, temperature=sampling.temperature,
                              batch_size=rows_at_once(reference))
    texts, answers = [p for p in prompts for _ in range(count)], drawn.texts(tokenizer)
    last = drawn.completion_ids.gather(1, drawn.completion_mask.sum(1, keepdim=True) - 1)[:, 0]
    ended = torch.isin(last, torch.tensor(eos_ids_of(model), dtype=last.dtype, device=last.device))
    rewards = score(reward, texts, answers).float().to(ids.device)
    return Rollouts(texts, answers, *batch, drawn.per_token_logps, ref, rewards, ended)


def logps_and_entropy(model: nn.Module, rollouts: Rollouts, temperature: float = 1.0,
                      entropy_gradient: bool = True
                      ) -> tuple[Float[Tensor, "rows answer"], Float[Tensor, "rows answer"]]:
    """Return log pi of the tokens and the entropy where each was chosen; 0 where masked.

    One forward pass for both; differentiable, the entropy only with ``entropy_gradient``.
    """
    return per_token_logps_and_entropy(model, *rollouts.tensors(), temperature=temperature,
                                       batch_size=rows_at_once(model),
                                       entropy_gradient=entropy_gradient)
