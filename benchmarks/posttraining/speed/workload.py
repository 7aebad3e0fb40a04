"""What every contestant gets: the same model, prompts, pairs, reward and numbers."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from tutorlib import tinytalk
from tutorlib.tinytalk import Labeller, preference_pairs, sample_prompts
from tutorlib.tinytalk.tokenizer import chat_prompt

SIZES = ("base", "1M")
METHODS = ("dpo", "rloo", "grpo", "ppo")
LIMIT = 48  # tokens of an answer at most
PROMPTS, ANSWERS = 16, 4  # per step of rloo and grpo
PPO_PROMPTS, PPO_BATCH, PPO_PASSES = 32, 16, 4
PAIRS, PAIRS_PER_STEP = 256, 32
RATE = 1e-12  # so small that the model, and with it the length of answers, stays as it is
BETA, CLIP = 0.05, 0.2


@dataclass(frozen=True)
class Work:
    """The task of one row of the table."""

    model: LlamaForCausalLM
    tokenizer: object
    prompts: list[str]  # with the special words of a chat
    chosen: list[str]
    rejected: list[str]
    seed: int


def make_work(size: str, seed: int = 0) -> Work:
    """Return TinyTalk's base, as it is or widened, with prompts and judged pairs."""
    model, tokenizer = tinytalk.load("base")
    pairs = preference_pairs(sample_prompts(PAIRS, seed), Labeller(), seed)
    return Work(widen(model) if size == "1M" else model, tokenizer,
                [chat_prompt(p.prompt.text) for p in pairs], [p.chosen for p in pairs],
                [p.rejected for p in pairs], seed)


@torch.no_grad()
def widen(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Return a model of twice the width that says exactly the same, so of the same lengths.

    Each number of the residual stream stands twice, each head too; weights that read them are
    halved. The inside of the MLPs stays as wide as it was.
    """
    small = model.config
    config = LlamaConfig(**{**small.to_dict(), "hidden_size": 2 * small.hidden_size,
                            "num_attention_heads": 2 * small.num_attention_heads,
                            "num_key_value_heads": 2 * small.num_key_value_heads})
    wide = LlamaForCausalLM(config).float().eval()
    found = {}
    for name, weight in model.state_dict().items():
        if name.endswith("norm.weight"):
            found[name] = weight.repeat(2) / (2 if name == "model.norm.weight" else 1)
        elif "embed_tokens" in name or "lm_head" in name:
            found[name] = weight.repeat(1, 2)
        elif "down_proj" in name:
            found[name] = weight.repeat(2, 1)
        elif "gate_proj" in name or "up_proj" in name:
            found[name] = weight.repeat(1, 2) / 2
        else:  # q, k, v and o: both sides doubled
            found[name] = weight.repeat(2, 2) / 2
    wide.load_state_dict(found)
    wide.generation_config = copy.deepcopy(model.generation_config)
    return wide


def reward(prompts: list[str], answers: list[str]) -> list[float]:
    """Return something that costs nothing to know and differs from answer to answer."""
    return [answer.count("e") / 10 for answer in answers]


def scorer(model: nn.Module) -> nn.Module:
    """Return a reward model or critic for TRL's PPO: the body of ``model``, a head of zeros."""
    from transformers import LlamaForSequenceClassification

    config = copy.deepcopy(model.config)
    config.num_labels = 1
    found = LlamaForSequenceClassification(config).float()
    found.model.load_state_dict(model.model.state_dict())
    nn.init.zeros_(found.score.weight)
    return found
