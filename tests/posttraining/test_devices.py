"""Losses and training on another device and in half precision, beside float32 on the CPU."""

import copy
from dataclasses import replace

import pytest
import torch

from tests.posttraining.conftest import PROMPTS, seeded
from tutorlib.lm import SamplingSettings
from tutorlib.posttraining import (
    DirectSettings,
    OnlineSettings,
    PolicyGradientSettings,
    TokenPPOSettings,
    ValueModel,
    collate_preferences,
    collect,
    judge_by,
    make_experience,
    pair_loss,
    policy_loss,
    ppo_loss,
    reference_logps,
    train_direct,
    train_direct_online,
    train_policy_gradient,
    train_token_ppo,
)
from tutorlib.rewards import RewardModel, RewardSettings, encode_pairs, train_reward_model

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
HALF = torch.bfloat16  # 8 bits of precision: numbers near 1 are 0.8 % apart
EVERYWHERE = pytest.mark.parametrize(("device", "dtype"), [
    pytest.param("cpu", HALF, id="cpu-bf16"),
    pytest.param("cuda", torch.float32, id="cuda-float32", marks=NO_GPU),
    pytest.param("cuda", HALF, id="cuda-bf16", marks=NO_GPU)])
DRAWN = SamplingSettings(max_new_tokens=4, num_generations=2)
GRADIENT = PolicyGradientSettings(steps=2, prompts_per_step=4, sampling=DRAWN, ratio="token",
                                  passes=2, kl_in="loss", kl_estimator="k3")
PPO = TokenPPOSettings(steps=2, prompts_per_step=4, minibatch_size=4, passes=2, sampling=DRAWN)


def blues(prompts, answers):
    """Pay for each "blue"."""
    return [answer.split().count("blue") for answer in answers]


def moved(model, device, dtype):
    """Return a copy of a model elsewhere."""
    return copy.deepcopy(model).to(device=device, dtype=dtype)


def close(found: float, wanted: float, dtype) -> bool:
    """Whether a loss is the float32 one, within the precision of its dtype."""
    return found == pytest.approx(wanted, rel=0.05, abs=0.05) if dtype == HALF else (
        found == pytest.approx(wanted, rel=1e-4, abs=1e-5))


@EVERYWHERE
@pytest.mark.parametrize("loss", ["dpo", "ipo", "simpo", "orpo", "kto"])
def test_losses_of_pairs_are_those_of_the_cpu(policy, reference, pairs, loss, device, dtype):
    settings = DirectSettings(loss=loss)

    def measured(model, before):
        batch = collate_preferences(pairs, next(model.parameters()).device)
        ref = reference_logps(before, pairs).to(batch.prompt_ids.device)
        return pair_loss(model, batch, ref if settings.needs_reference else None, settings,
                         before)[0].item()

    there = measured(moved(policy, device, dtype), moved(reference, device, dtype))
    assert close(there, measured(policy, reference), dtype)


@EVERYWHERE
def test_losses_of_answers_are_those_of_the_cpu(policy, reference, tokenizer, device, dtype):
    rollouts = collect(policy, reference, tokenizer, PROMPTS, blues, DRAWN, seeded())
    there = replace(rollouts, **{name: value.to(device) for name, value in vars(rollouts).items()
                                 if isinstance(value, torch.Tensor)})
    advantages = torch.linspace(-1.0, 1.0, len(rollouts.answers))
    other = moved(policy, device, dtype)
    assert close(policy_loss(other, there, advantages.to(device), GRADIENT, 0.05)[0].item(),
                 policy_loss(policy, rollouts, advantages, GRADIENT, 0.05)[0].item(), dtype)
    losses = []
    for model, seen in ((policy, rollouts), (other, there)):
        critic = ValueModel(model)
        experience = make_experience(critic, seen, 0.05, PPO)
        losses.append(ppo_loss(model, critic, seen, experience, PPO)[0].item())
    assert close(losses[1], losses[0], dtype)


@EVERYWHERE
def test_all_ways_to_train_run_there(policy, pairs, tokenizer, device, dtype):
    """Each takes steps, moves the weights, and keeps its numbers finite."""
    ways = {
        "direct": lambda m: train_direct(m, pairs, DirectSettings(batch_size=2), seeded()),
        "online": lambda m: train_direct_online(
            m, tokenizer, PROMPTS, judge_by(blues),
            OnlineSettings(rounds=3, prompts_per_round=4, sampling=DRAWN), seeded()),
        "gradient": lambda m: train_policy_gradient(m, tokenizer, PROMPTS, blues, GRADIENT,
                                                    seeded()),
        "ppo": lambda m: train_token_ppo(m, tokenizer, PROMPTS, blues, PPO, seeded()),
    }
    for name, train in ways.items():
        model = moved(policy, device, dtype)
        history = train(model)
        assert history and all(torch.isfinite(torch.tensor(r["loss"])) for r in history), name
        before = moved(policy, device, dtype).state_dict()
        assert any(not torch.equal(before[k], v) for k, v in model.state_dict().items()), name
        weight = next(model.parameters())
        assert (weight.device.type, weight.dtype) == (device, dtype), name


@EVERYWHERE
def test_a_reward_model_trains_there(policy, tokenizer, device, dtype):
    model = RewardModel(policy, tokenizer).to(device=device, dtype=dtype)
    pairs = encode_pairs(model, PROMPTS[:2], ["is blue .", "green"], ["is red", "the grass"])
    settings = RewardSettings(epochs=20, learning_rate=0.01)
    history = train_reward_model(model, pairs, settings, seeded())
    assert history[-1]["accuracy"] == 1.0
    assert model.score(PROMPTS[:2], ["blue", "green"]).isfinite().all()
