"""A small random model of TinyTalk's language, untrained, and a few labelled pairs."""

import pytest

from tutorlib.rewards import RewardModel
from tutorlib.tinytalk import Labeller, make_tokenizer, new_model, preference_pairs, sample_prompts


@pytest.fixture(scope="session")
def talk():
    """TinyTalk's tokenizer and an untrained model."""
    return new_model("tiny"), make_tokenizer()


@pytest.fixture
def reward_model(talk):
    return RewardModel(*talk)


@pytest.fixture(scope="session")
def preferences():
    judge = Labeller(temperature=0.0)
    made = preference_pairs(sample_prompts(80, seed=0), judge, seed=1)
    return [p for p in made if p.chosen != p.rejected]
