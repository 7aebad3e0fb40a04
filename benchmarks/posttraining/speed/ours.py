"""The package's own training loops, which call ``turn`` at the end of each unit of work."""

from __future__ import annotations

import copy

import torch
from workload import (
    ANSWERS,
    BETA,
    CLIP,
    LIMIT,
    PAIRS_PER_STEP,
    PPO_BATCH,
    PPO_PASSES,
    PPO_PROMPTS,
    PROMPTS,
    RATE,
    Work,
    reward,
)

from tutorlib.lm import SamplingSettings
from tutorlib.posttraining import (
    DirectSettings,
    PolicyGradientSettings,
    TokenPPOSettings,
    encode_preferences,
    train_direct,
    train_policy_gradient,
    train_token_ppo,
)
from tutorlib.rewards import RewardModel

FOREVER = 10**6


def dpo(work: Work, turn) -> None:
    """One turn is one epoch from the beginning: the reference's numbers are paid for in each."""
    pairs = encode_preferences(work.tokenizer, work.prompts, work.chosen, work.rejected,
                               add_special_tokens=False)
    settings = DirectSettings(beta=BETA, batch_size=PAIRS_PER_STEP, learning_rate=RATE)
    generator = torch.Generator().manual_seed(work.seed)
    while True:
        train_direct(work.model, pairs, settings, generator)
        turn()


def rloo(work: Work, turn) -> None:
    _policy_gradient(work, turn, baseline="leave_one_out", ratio="sequence")


def grpo(work: Work, turn) -> None:
    _policy_gradient(work, turn, baseline="batch_mean", normalise=True, ratio="token",
                     kl_in="loss", kl_estimator="k3", aggregate="sequence_mean")


def _policy_gradient(work: Work, turn, **settings) -> None:
    train_policy_gradient(
        work.model, work.tokenizer, work.prompts, reward, PolicyGradientSettings(
            steps=FOREVER, prompts_per_step=PROMPTS, beta=BETA, clip=CLIP, learning_rate=RATE,
            sampling=SamplingSettings(LIMIT, num_generations=ANSWERS), add_special_tokens=False,
            **settings),
        torch.Generator().manual_seed(work.seed), report=turn)


def ppo(work: Work, turn) -> None:
    judge = RewardModel(copy.deepcopy(work.model), work.tokenizer)
    train_token_ppo(
        work.model, work.tokenizer, work.prompts, judge.score, TokenPPOSettings(
            steps=FOREVER, prompts_per_step=PPO_PROMPTS, minibatch_size=PPO_BATCH, beta=BETA,
            passes=PPO_PASSES, clip=CLIP, learning_rate=RATE, critic_learning_rate=RATE,
            sampling=SamplingSettings(LIMIT), add_special_tokens=False),
        torch.Generator().manual_seed(work.seed), report=turn)
