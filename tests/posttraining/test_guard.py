"""Bad input and divergence: each is named, and the weights stay at the last good step."""

import pytest
import torch

from tests.lm.conftest import make_model
from tests.posttraining.conftest import PROMPTS, seeded
from tutorlib.errors import (
    InvalidArgumentError,
    InvalidModelError,
    InvalidTextError,
    TrainingDivergedError,
)
from tutorlib.lm import SamplingSettings, word_tokenizer
from tutorlib.posttraining import (
    PolicyGradientSettings,
    TokenPPOSettings,
    guarded,
    take_step,
    token_rewards,
    train_policy_gradient,
    train_token_ppo,
)


def rloo(model, tokenizer, reward, reference=None, prompts=PROMPTS[:2], **settings):
    return train_policy_gradient(model, tokenizer, prompts, reward, PolicyGradientSettings(
        **{"steps": 4, "prompts_per_step": 4,
           "sampling": SamplingSettings(4, num_generations=4)} | settings), seeded(), reference)


def ppo(model, tokenizer, reward, reference=None, prompts=PROMPTS[:2], **settings):
    return train_token_ppo(model, tokenizer, prompts, reward, TokenPPOSettings(
        **{"steps": 4, "prompts_per_step": 8, "passes": 1, "sampling": SamplingSettings(4)}
        | settings), seeded(), reference)


both = pytest.mark.parametrize("train", [rloo, ppo])


def blue(prompts, answers):
    return [float(answer.split().count("blue")) for answer in answers]


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model, state):
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@both
def test_an_exploding_kl_is_explained_and_the_last_good_weights_come_back(tokenizer, train):
    """The weights are those of a run that stopped in time."""
    model = make_model("llama", len(tokenizer), scale=0.05)
    with pytest.raises(TrainingDivergedError, match=r"beyond kl_limit=0\.05") as caught:
        train(model, tokenizer, blue, beta=0.0, learning_rate=0.01, kl_limit=0.05, steps=30)
    history = caught.value.history
    assert 1 <= len(history) < 30 and history[-1]["kl"] <= 0.05
    for part in (f"before step {len(history) - 1}", "the reward went from", "larger beta"):
        assert part in str(caught.value)
    again = make_model("llama", len(tokenizer), scale=0.05)
    if len(history) > 1:
        train(again, tokenizer, blue, beta=0.0, learning_rate=0.01, steps=len(history) - 1)
    assert same(model, weights(again))


@both
def test_a_step_that_makes_weights_infinite_is_taken_back(tokenizer, train):
    model = make_model("llama", len(tokenizer), scale=0.05)
    before = weights(model)
    with pytest.raises(TrainingDivergedError, match="NaN") as caught:
        train(model, tokenizer, blue, learning_rate=1e30, max_grad_norm=None)
    assert len(caught.value.history) == 1
    assert same(model, before) and all(v.isfinite().all() for v in model.state_dict().values())


@both
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_is_named_and_moves_nothing(tokenizer, train, bad):
    model = make_model("llama", len(tokenizer))
    before = weights(model)
    with pytest.raises(InvalidArgumentError, match="one finite number for each"):
        train(model, tokenizer, lambda p, a: [0.0] * (len(a) - 1) + [bad])
    assert same(model, before)


@both
def test_a_model_that_came_broken_is_not_called_a_divergence(tokenizer, train):
    model = make_model("llama", len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight[0, 0] = torch.nan
    with pytest.raises(InvalidModelError, match="NaN"):
        train(model, tokenizer, blue)


@both
def test_a_reference_with_another_vocabulary_is_named(tokenizer, train):
    other = make_model("llama", len(tokenizer) + 3)
    with pytest.raises(InvalidModelError, match="expected the same vocabulary"):
        train(make_model("llama", len(tokenizer)), tokenizer, blue, other)


@both
def test_a_prompt_that_fills_the_context_is_named(tokenizer, train):
    model = make_model("llama", len(tokenizer))
    long = " ".join(["sky"] * (model.config.max_position_embeddings - 2))
    with pytest.raises(InvalidTextError, match="model's context holds"):
        train(model, tokenizer, blue, prompts=[long])


@both
def test_an_empty_prompt_is_named(train):
    tokenizer = word_tokenizer(["sky"])
    with pytest.raises(InvalidTextError, match="empty"):
        train(make_model("llama", len(tokenizer)), tokenizer, blue, prompts=["", "sky"])


@both
def test_empty_answers_are_answers_of_one_token(tokenizer, train):
    """A model that ends at once: nothing but the end is paid, and nothing breaks."""
    model = make_model("llama", len(tokenizer))
    model.generation_config.eos_token_id = list(range(len(tokenizer)))  # every token ends
    history = train(model, tokenizer, lambda p, a: [1.0] * len(a), steps=2)
    assert [r["length"] for r in history] == [1.0, 1.0]
    assert all(torch.isfinite(torch.tensor(r["loss"])) for r in history)


def test_a_row_that_is_all_padding_cannot_be_paid():
    with pytest.raises(InvalidArgumentError, match="an answer has no tokens"):
        token_rewards(torch.ones(2), torch.zeros(2, 3), torch.tensor([[1, 1, 0], [0, 0, 0]]), 0.1)


def test_no_step_is_taken_down_a_gradient_that_is_not_finite():
    layer = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    before = weights(layer)
    with pytest.raises(TrainingDivergedError, match="No step was taken"):
        take_step(optimizer, layer(torch.ones(1, 2)).sum() * torch.inf, 1.0, 1.0)
    assert same(layer, before)


def test_the_limit_counts_from_the_first_step_and_may_be_absent():
    layer = torch.nn.Linear(1, 1)
    with pytest.raises(TrainingDivergedError, match="before the first step"), \
            guarded([layer], 1.0, []) as check:
        check(5.0)
    with guarded([layer], None, []) as check:
        check(1e9)
    with pytest.raises(TrainingDivergedError), guarded([layer], None, []) as check:
        check(float("nan"))


def test_an_error_of_somebody_else_passes_through():
    layer = torch.nn.Linear(1, 1)
    with pytest.raises(KeyError), guarded([layer], 1.0, []):
        raise KeyError("theirs")
