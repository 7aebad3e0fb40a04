"""Small random models of three shapes and a word-level tokenizer, made here."""

from contextlib import contextmanager

import jaxtyping
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tutorlib.lm.text import word_tokenizer

WORDS = "the sky is blue red green grass what color of ? .".split()
SHAPES = ("llama", "gpt2", "qwen2")


@contextmanager
def as_a_learner():
    """Without the checks of declared shapes, which only run in tests: whose errors come then?"""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def make_model(shape, vocab, seed=0, scale=0.3, context=48):
    """A model far enough from uniform that a mistake shows."""
    special = {"vocab_size": vocab, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    common = {**special, "initializer_range": scale, "hidden_size": 16, "num_hidden_layers": 2,
              "num_attention_heads": 4, "max_position_embeddings": context,
              "intermediate_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if shape == "gpt2":
            return GPT2LMHeadModel(GPT2Config(
                n_embd=16, n_layer=2, n_head=4, n_positions=context, initializer_range=scale,
                **special)).eval()
        if shape == "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(num_key_value_heads=2, **common)).eval()
        return LlamaForCausalLM(LlamaConfig(num_key_value_heads=4, **common)).eval()


@pytest.fixture(scope="session")
def tokenizer():
    return word_tokenizer(WORDS)


@pytest.fixture(scope="session", params=SHAPES)
def model(request, tokenizer):
    return make_model(request.param, len(tokenizer))


@pytest.fixture(scope="session")
def llama(tokenizer):
    return make_model("llama", len(tokenizer))


@pytest.fixture
def batch(tokenizer):
    """Five prompts with answers of different lengths, one of them cut off before its end."""
    gen = torch.Generator().manual_seed(1)
    prompts, answers = [4, 1, 6, 3, 2], [3, 5, 1, 2, 4]
    prompt_ids = torch.randint(3, len(tokenizer), (5, 6), generator=gen)
    prompt_mask = torch.stack([torch.arange(6) >= 6 - n for n in prompts]).long()
    completion_ids = torch.randint(3, len(tokenizer), (5, 5), generator=gen)
    completion_mask = torch.stack([torch.arange(5) < n for n in answers]).long()
    for row, n in enumerate(answers[:-1]):
        completion_ids[row, n - 1] = 1
    return prompt_ids * prompt_mask, prompt_mask, completion_ids * completion_mask, completion_mask
