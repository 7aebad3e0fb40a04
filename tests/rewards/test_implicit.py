"""Implicit rewards: the log-ratio by hand, where they begin, and what training changes."""

import copy

import pytest
import torch

from tests.lm.conftest import make_model
from tutorlib import lm
from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.rewards import (
    ImplicitReward,
    RewardSettings,
    TokenPair,
    collate_pairs,
    encode_pairs,
    pair_rewards,
    train_reward_model,
)

TOKENIZER = lm.word_tokenizer([f"w{i}" for i in range(20)])
PROMPTS = ["w1 w2", "w3", "w4 w5 w6"]
CHOSEN, REJECTED = ["w7 w8", "w9", "w10"], ["w11", "w12 w13 w14", "w15 w16"]


@pytest.fixture
def moved():
    """A reward whose policy is no longer the reference."""
    model = ImplicitReward(make_model("llama", 23), TOKENIZER, beta=0.3)
    with torch.no_grad():
        for p in model.policy.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


def by_hand(model, prompt, answer):
    """Return beta times the sum of log-ratios at the answer's tokens, one token at a time."""
    (example,) = model.encode([prompt], [answer])
    ids, total = list(example.prompt_ids), 0.0
    for token in example.completion_ids:
        with torch.no_grad():
            a, b = (m(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token].item()
                    for m in (model.policy, model.reference))
        total, ids = total + a - b, [*ids, token]
    return model.beta * total


def test_the_reward_is_the_log_ratio_of_the_answer_alone(moved):
    found = moved.score(PROMPTS, CHOSEN)
    assert found.tolist() == pytest.approx(
        [by_hand(moved, p, a) for p, a in zip(PROMPTS, CHOSEN, strict=True)], abs=1e-5)


def test_padding_and_company_do_not_matter(moved):
    alone = torch.cat([moved.score([p], [a]) for p, a in zip(PROMPTS, CHOSEN, strict=True)])
    assert torch.allclose(moved.score(PROMPTS, CHOSEN), alone, atol=1e-5)
    with pytest.raises(InvalidTextError, match="left"):
        moved(torch.tensor([[0, 3]]), torch.tensor([[0, 1]]))


def test_pairs_are_scored_where_the_answers_begin(moved):
    pairs = encode_pairs(moved, PROMPTS, CHOSEN, REJECTED)
    assert [p.asked for p in pairs] == [2, 1, 3]
    chosen, rejected = pair_rewards(moved, collate_pairs(pairs))
    assert torch.allclose(chosen.detach(), moved.score(PROMPTS, CHOSEN), atol=1e-5)
    assert torch.allclose(rejected.detach(), moved.score(PROMPTS, REJECTED), atol=1e-5)
    # without starts: a constant per prompt more
    whole = pair_rewards(moved, collate_pairs([TokenPair(p.chosen, p.rejected) for p in pairs]))
    assert torch.allclose(whole[0] - whole[1], chosen - rejected, atol=1e-5)
    assert not torch.allclose(whole[0], chosen, atol=1e-3)


def test_training_moves_the_policy_and_not_the_reference():
    base = make_model("llama", 23)
    model, kept = ImplicitReward(base, TOKENIZER, beta=1.0), copy.deepcopy(base.state_dict())
    assert model.score(PROMPTS, CHOSEN).tolist() == [0.0] * 3
    pairs = encode_pairs(model, PROMPTS, CHOSEN, REJECTED)
    history = train_reward_model(model, pairs, RewardSettings(learning_rate=1e-2, epochs=15),
                                 torch.Generator().manual_seed(0))
    assert history[0]["loss"] == pytest.approx(0.6931, abs=1e-4) and history[-1]["loss"] < 0.2
    assert bool((model.score(PROMPTS, CHOSEN) > model.score(PROMPTS, REJECTED)).all())
    for name, weight in kept.items():
        assert torch.equal(model.reference.state_dict()[name], weight)
        assert torch.equal(base.state_dict()[name], weight)


def test_what_cannot_be_is_refused():
    model = ImplicitReward(make_model("llama", 23), TOKENIZER)
    pairs = encode_pairs(model, PROMPTS, CHOSEN, REJECTED)
    with pytest.raises(InvalidArgumentError, match="head"):
        train_reward_model(model, pairs, RewardSettings(head_only=True), torch.Generator())
    with pytest.raises(InvalidArgumentError, match="beta"):
        ImplicitReward(make_model("llama", 23), TOKENIZER, beta=0.0)
    with pytest.raises(InvalidArgumentError, match="language model"):
        ImplicitReward(torch.nn.Linear(2, 1), TOKENIZER)
