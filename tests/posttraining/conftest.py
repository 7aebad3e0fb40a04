"""A tiny tokenizer, models away from uniform, and judged pairs of unequal lengths."""

import pytest
import torch

from tests.lm.conftest import make_model
from tutorlib.lm import word_tokenizer
from tutorlib.posttraining import collate_preferences, encode_preferences

WORDS = "the sky is blue red green grass what color of ? .".split()
PROMPTS = ["the sky", "what color is the grass ?", "sky", "color of the sky ?"]
CHOSEN = ["is blue .", "green", "blue", "the sky is blue ."]
REJECTED = ["is red", "the grass is blue . .", "red .", "green"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def tokenizer():
    return word_tokenizer(WORDS)


@pytest.fixture(scope="session")
def policy(tokenizer):
    return make_model("llama", len(tokenizer), seed=0)


@pytest.fixture(scope="session")
def reference(tokenizer):
    return make_model("llama", len(tokenizer), seed=1)


@pytest.fixture(scope="session")
def pairs(tokenizer):
    return encode_preferences(tokenizer, PROMPTS, CHOSEN, REJECTED)


@pytest.fixture(scope="session")
def batch(pairs):
    return collate_preferences(pairs)
