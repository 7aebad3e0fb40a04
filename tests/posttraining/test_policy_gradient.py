"""Losses over sampled answers, and the loop of REINFORCE, ReMax and RLOO."""

import pytest
import torch

from tests.lm.conftest import as_a_learner, make_model
from tests.posttraining.conftest import PROMPTS, seeded
from tutorlib.control.estimators import ppo_clip_objective
from tutorlib.errors import InvalidArgumentError
from tutorlib.lm import SamplingSettings, per_token_entropy, per_token_logps, sequence_values
from tutorlib.posttraining import (
    PolicyGradientSettings,
    collect,
    kl_estimate,
    logps_and_entropy,
    policy_loss,
    ratio_loss,
    reinforce_loss,
    train_policy_gradient,
)

GEN = torch.Generator().manual_seed(2)
OLD = -torch.rand(4, 5, generator=GEN)
NEW = OLD + 0.4 * torch.randn(4, 5, generator=GEN)
ADVANTAGES = torch.tensor([1.0, -2.0, 0.5, -0.1])
MASK = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]])
SAMPLING = SamplingSettings(4, num_generations=4)


def blue(prompts, answers):
    return [float(answer.split().count("blue")) for answer in answers]


def garbage(values):
    return torch.where(MASK != 0, values, torch.nan)


def test_reinforce_by_hand_and_advantages_get_no_gradient():
    advantages = ADVANTAGES.clone().requires_grad_()
    logps = NEW.clone().requires_grad_()
    loss = reinforce_loss(logps, MASK, advantages)
    loss.backward()
    sums = (NEW * MASK).sum(1)
    assert loss.item() == pytest.approx(-(ADVANTAGES * sums).mean().item(), rel=1e-5)
    torch.testing.assert_close(logps.grad, -ADVANTAGES[:, None] * MASK / 4)
    assert advantages.grad is None
    assert torch.equal(reinforce_loss(garbage(NEW), MASK, ADVANTAGES), loss.detach())


@pytest.mark.parametrize("aggregate", ["token_mean", "sequence_mean", "sequence_sum"])
def test_the_token_ratio_is_ppo_s_of_control_tasks_averaged_by_convention(aggregate):
    per_token = ADVANTAGES[:, None].expand(4, 5)
    objective = ppo_clip_objective(NEW, OLD, per_token, 0.2)
    wanted = -sequence_values(objective, MASK, aggregate).mean()
    loss, share = ratio_loss(NEW, OLD, MASK, ADVANTAGES, aggregate=aggregate)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    same, _ = ratio_loss(NEW, OLD, MASK, per_token, aggregate=aggregate)
    dirty, _ = ratio_loss(garbage(NEW), garbage(OLD), MASK, ADVANTAGES, aggregate=aggregate)
    assert torch.equal(loss, same) and torch.equal(loss, dirty)
    logps = NEW.clone().requires_grad_()
    ratio_loss(logps, OLD, MASK, ADVANTAGES, aggregate=aggregate)[0].backward()
    stopped = ((logps.grad == 0) & (MASK == 1)).sum() / MASK.sum()
    assert 0 < share < 1 and share == pytest.approx(stopped.item())


def test_at_the_old_policy_the_ratio_has_the_gradient_of_reinforce():
    for ratio, aggregate in (("sequence", "sequence_sum"), ("token", "sequence_sum"),
                             ("token", "token_mean")):
        found = []
        for clipped in (True, False):
            logps = OLD.clone().requires_grad_()
            if clipped:
                loss, _ = ratio_loss(logps, OLD, MASK, ADVANTAGES, None, ratio, aggregate)
            else:
                loss = reinforce_loss(logps, MASK, ADVANTAGES, aggregate)
            loss.backward()
            found.append(logps.grad)
        torch.testing.assert_close(*found)


def test_clip_may_differ_up_and_down():
    double, one = torch.tensor([[2.0]]).log(), torch.ones(1, 1)
    loss = ratio_loss(double, torch.zeros(1, 1), one, torch.tensor([1.0]), (0.2, 0.28))[0]
    assert loss.item() == pytest.approx(-1.28)
    half = ratio_loss(-double, torch.zeros(1, 1), one, torch.tensor([-1.0]), (0.2, 0.28))[0]
    assert half.item() == pytest.approx(0.8)


@pytest.fixture(scope="module")
def rollouts(policy, reference, tokenizer):
    return collect(policy, reference, tokenizer, PROMPTS[:3], blue, SamplingSettings(
        5, temperature=0.7, num_generations=2), seeded())


def test_rollouts_are_scored_by_both_models_at_the_sampling_temperature(rollouts, policy,
                                                                        reference):
    assert rollouts.prompts == [p for p in PROMPTS[:3] for _ in range(2)]
    assert rollouts.rewards.tolist() == blue(rollouts.prompts, rollouts.answers)
    with torch.no_grad():
        for model, found in ((policy, rollouts.old_per_token_logps),
                             (reference, rollouts.ref_per_token_logps)):
            torch.testing.assert_close(
                found, per_token_logps(model, *rollouts.tensors(), temperature=0.7),
                atol=1e-5, rtol=1e-4)
        logps, entropy = logps_and_entropy(policy, rollouts, 0.7)
        torch.testing.assert_close(logps, rollouts.old_per_token_logps, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(entropy, per_token_entropy(policy, *rollouts.tensors(), 0.7))
    last = [row[keep == 1][-1].item() for row, keep in
            zip(rollouts.completion_ids, rollouts.completion_mask, strict=True)]
    assert rollouts.ended.tolist() == [token == 1 for token in last]
    assert rollouts[[3, 0]].answers == [rollouts.answers[3], rollouts.answers[0]]
    assert torch.equal(rollouts[[3, 0]].rewards, rollouts.rewards[[3, 0]])


def test_the_kl_is_taken_off_the_reward(rollouts, policy, reference):
    with torch.no_grad():
        sums = [(per_token_logps(model, *rollouts.tensors(), temperature=0.7)).sum(1)
                for model in (policy, reference)]
    found = rollouts.regularised_rewards(0.3)
    torch.testing.assert_close(found, rollouts.rewards - 0.3 * (sums[0] - sums[1]), atol=1e-4,
                               rtol=1e-4)
    assert rollouts.measures()["kl"] == pytest.approx((sums[0] - sums[1]).mean().item(), abs=1e-4)


def test_with_nothing_to_earn_the_policy_goes_back_to_its_reference(tokenizer, reference):
    model = make_model("llama", len(tokenizer), seed=0)
    history = train_policy_gradient(
        model, tokenizer, PROMPTS[:1], lambda prompts, answers: [0.0] * len(answers),
        PolicyGradientSettings(steps=10, prompts_per_step=8, learning_rate=0.02, beta=1.0,
                               sampling=SamplingSettings(2, num_generations=4)),
        seeded(), reference)
    first, last = (sum(r["kl"] for r in part) / 3 for part in (history[:3], history[-3:]))
    assert last < 0.6 * first


def test_kl_in_the_loss_is_beta_times_the_estimate(rollouts, policy):
    sampling = SamplingSettings(5, temperature=0.7, num_generations=2)
    advantages, found = torch.zeros(6), {}
    for name in ("k2", "k3"):
        settings = PolicyGradientSettings(sampling=sampling, kl_in="loss", kl_estimator=name)
        found[name] = policy_loss(policy, rollouts, advantages, settings, 0.3)[0].item()
        kl = kl_estimate(rollouts.old_per_token_logps, rollouts.ref_per_token_logps,
                         rollouts.completion_mask, name)
        assert found[name] == pytest.approx(0.3 * kl.sum(1).mean().item(), rel=1e-3)
    assert found["k2"] != pytest.approx(found["k3"], rel=0.01)


@pytest.mark.parametrize("settings", [
    {"baseline": "greedy"},
    {"baseline": "moving_average", "normalise": True, "kl_in": "loss", "kl_estimator": "k2"},
    {"ratio": "token", "passes": 2, "aggregate": "token_mean", "schedule": "linear"},
], ids=["remax", "moving-average", "rloo-by-token"])
def test_every_kind_learns_to_say_blue(tokenizer, settings):
    model = make_model("llama", len(tokenizer), scale=0.05)
    history = train_policy_gradient(
        model, tokenizer, PROMPTS[:2], blue, PolicyGradientSettings(
            steps=12, prompts_per_step=8, learning_rate=0.01, beta=0.02, sampling=SAMPLING,
            **settings), seeded())
    first, last = (sum(r["reward"] for r in part) / 3 for part in (history[:3], history[-3:]))
    assert last > first + 0.4, 'the mean of 96 answers has a standard error of 0.1 at most'
    assert history[0]["kl"] == pytest.approx(0, abs=1e-4) and history[-1]["kl"] > 0.05
    assert history[0]["entropy"] > history[-1]["entropy"] + 0.05
    assert all(0 <= r["ended"] <= 1 and 1 <= r["length"] <= 4 for r in history)


def test_the_same_seed_gives_the_same_run_and_beta_follows_its_target(tokenizer):
    runs = []
    for seed in (0, 0, 1):
        model = make_model("llama", len(tokenizer), scale=0.05)
        runs.append(train_policy_gradient(
            model, tokenizer, PROMPTS, blue, PolicyGradientSettings(
                steps=2, prompts_per_step=4, sampling=SAMPLING, kl_target=2.0), seeded(seed)))
    assert runs[0] == runs[1] != runs[2]
    assert [r["beta"] for r in runs[0]] == pytest.approx([0.05, 0.05 * 0.98])


@pytest.mark.parametrize("call, message", [
    (lambda: PolicyGradientSettings(baseline="rloo"), "baseline is 'rloo'"),
    (lambda: PolicyGradientSettings(sampling=SamplingSettings()), "num_generations=2"),
    (lambda: PolicyGradientSettings(passes=2), "several passes need"),
    (lambda: PolicyGradientSettings(beta=-0.1), "beta is -0.1"),
    (lambda: PolicyGradientSettings(beta=0.0, kl_target=3.0), "both must be above 0"),
    (lambda: PolicyGradientSettings(sampling=SamplingSettings(greedy=True, num_generations=2)),
     "explore nothing"),
    (lambda: reinforce_loss(NEW, MASK, ADVANTAGES[:3]), "one per answer"),
    (lambda: ratio_loss(NEW, OLD, MASK, ADVANTAGES, ratio="answer"), "ratio is 'answer'"),
    (lambda: ratio_loss(NEW, OLD, MASK, NEW, ratio="sequence"), "one advantage per answer"),
    (lambda: ratio_loss(NEW, OLD, MASK, ADVANTAGES, clip=0.0), "clip is 0.0"),
])
def test_mistakes_are_named(call, message):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=message):
        call()


def test_a_reward_function_that_returns_too_little_is_named(tokenizer, policy, reference):
    with pytest.raises(InvalidArgumentError, match="one finite number for each of the 4 answers"):
        collect(policy, reference, tokenizer, ["sky"], lambda p, a: [1.0], SAMPLING, seeded())
