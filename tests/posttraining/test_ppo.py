"""The critic, PPO's losses and its loop."""

import pytest
import torch

from tests.lm.conftest import SHAPES, as_a_learner, make_model
from tests.posttraining.conftest import PROMPTS, seeded
from tests.posttraining.test_policy_gradient import blue
from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.lm import SamplingSettings
from tutorlib.posttraining import (
    TokenPPOSettings,
    ValueModel,
    collect,
    make_experience,
    ppo_loss,
    ratio_loss,
    token_gae,
    token_rewards,
    train_token_ppo,
    value_loss,
)


def critic_of(model):
    """A critic whose head is not 0, or mistakes would not show."""
    critic = ValueModel(model).eval()
    with torch.no_grad():
        critic.head.weight.copy_(torch.randn(critic.head.weight.shape, generator=seeded(5)))
    return critic


@pytest.fixture(scope="module")
def rollouts(policy, reference, tokenizer):
    return collect(policy, reference, tokenizer, PROMPTS, blue, SamplingSettings(5), seeded())


@pytest.mark.parametrize("shape", SHAPES)
def test_values_are_of_the_state_before_each_token(tokenizer, rollouts, shape):
    model = make_model(shape, len(tokenizer))
    critic = critic_of(model)
    with torch.no_grad():
        values = critic(*rollouts.tensors())
        for row in range(len(values)):
            ids = rollouts.prompt_ids[row][rollouts.prompt_mask[row] == 1].tolist()
            for t in range(int(rollouts.completion_mask[row].sum())):
                hidden = critic.body(torch.tensor([ids])).last_hidden_state[0, -1]
                assert values[row, t].item() == pytest.approx(critic.head(hidden).item(), abs=1e-4)
                ids.append(int(rollouts.completion_ids[row, t]))
        mask = rollouts.completion_mask == 0
        dirty = critic(rollouts.prompt_ids.masked_fill(rollouts.prompt_mask == 0, 9),
                       rollouts.prompt_mask, rollouts.completion_ids.masked_fill(mask, 7),
                       rollouts.completion_mask)
    assert torch.equal(values, dirty) and not values[mask].any() and float(values.std()) > 0.1


def test_a_new_critic_says_0_and_shares_nothing_with_the_policy(tokenizer, rollouts):
    model = make_model("llama", len(tokenizer))
    critic = ValueModel(model)
    values = critic(*rollouts.tensors())
    assert not values.any()
    (values - 1).square().sum().backward()
    assert all(p.grad is None for p in model.parameters())
    assert critic.head.bias.grad.item() != 0


def test_value_loss_by_hand():
    """Worse of unclipped and clipped errors: token 1 moved 0.5 from 0, token 2 is masked."""
    values, old = torch.tensor([[0.5, 9.0]]), torch.zeros(1, 2)
    returns, mask = torch.tensor([[1.0, 0.0]]), torch.tensor([[1, 0]])
    assert value_loss(values, old, returns, mask, 0.2).item() == pytest.approx(0.5 * 0.8**2)
    assert value_loss(values, old, returns, mask, None).item() == pytest.approx(0.5 * 0.5**2)
    away = value_loss(values, old, -returns, mask, 0.2)
    assert away.item() == pytest.approx(0.5 * 1.5**2), "the worse of 1.5 and 1.2"


def test_the_loss_is_put_together_from_its_parts(policy, rollouts):
    critic, mask = critic_of(policy), rollouts.completion_mask
    settings = TokenPPOSettings(beta=0.3, value_coef=0.7, entropy_coef=0.05, normalise=False,
                                gae_lambda=0.9)
    kl = (rollouts.old_per_token_logps - rollouts.ref_per_token_logps) * mask
    rewards = token_rewards(rollouts.rewards, kl, mask, 0.3)
    with torch.no_grad():
        experience = make_experience(critic, rollouts, 0.3, settings)
        values = critic(*rollouts.tensors())
        advantages = token_gae(rewards, values, mask, 1.0, 0.9)
        torch.testing.assert_close(experience.advantages, advantages)
        torch.testing.assert_close(experience.returns, advantages + values)
        loss, record = ppo_loss(policy, critic, rollouts, experience, settings)
        surrogate, _ = ratio_loss(rollouts.old_per_token_logps, rollouts.old_per_token_logps, mask,
                                  advantages)
    critic_error = 0.5 * (advantages * mask).square().sum() / mask.sum()
    assert record["policy_loss"] == pytest.approx(surrogate.item(), abs=1e-5)
    assert record["value_loss"] == pytest.approx(critic_error.item(), rel=1e-4)
    assert record["approx_kl"] == pytest.approx(0, abs=1e-6)
    assert loss.item() == pytest.approx(record["policy_loss"] + 0.7 * record["value_loss"]
                                        - 0.05 * record["entropy"], rel=1e-5)


def run(tokenizer, seed=0, reward=blue, **settings):
    model = make_model("llama", len(tokenizer), scale=0.05)
    return train_token_ppo(model, tokenizer, PROMPTS[:2], reward, TokenPPOSettings(
        **{"steps": 10, "sampling": SamplingSettings(4), "learning_rate": 0.01, "beta": 0.02,
           "critic_learning_rate": 0.01, "minibatch_size": 16, "passes": 2} | settings),
        seeded(seed))


def test_it_learns_to_say_blue(tokenizer):
    history = run(tokenizer)
    first, last = (sum(r["reward"] for r in part) / 3 for part in (history[:3], history[-3:]))
    assert last > first + 0.4
    assert history[0]["explained_variance"] == pytest.approx(0, abs=1e-4)
    assert history[0]["kl"] == pytest.approx(0, abs=1e-4) and history[-1]["kl"] > 0.05
    assert {r["updates"] for r in history} == {4}


def test_the_critic_learns_to_foresee_a_reward_that_the_prompt_decides(tokenizer):
    history = run(tokenizer, reward=lambda prompts, answers: [float(p == PROMPTS[0]) * 2 for p in
                                                              prompts], learning_rate=1e-9)
    assert history[-1]["explained_variance"] > 0.8
    assert history[-1]["value_loss"] < history[0]["value_loss"] / 4


def test_updates_stop_at_the_limit_of_the_kl(tokenizer):
    history = run(tokenizer, steps=2, max_kl=1e-4)
    assert all(1 <= r["updates"] < 4 for r in history)


def test_the_same_seed_gives_the_same_run(tokenizer):
    short = {"steps": 1, "prompts_per_step": 8}
    runs = [run(tokenizer, seed, **short) for seed in (0, 0, 1)]
    assert str(runs[0]) == str(runs[1]) != str(runs[2])


@pytest.mark.parametrize("call, message", [
    (lambda: TokenPPOSettings(passes=0), "passes is 0"),
    (lambda: TokenPPOSettings(value_coef=-1), "value_coef is -1"),
    (lambda: TokenPPOSettings(aggregate="mean"), "aggregate is 'mean'"),
    (lambda: TokenPPOSettings(max_kl=0.0), "max_kl is 0.0"),
    (lambda: TokenPPOSettings(beta=0.0, kl_target=1.0), "both must be above 0"),
    (lambda: TokenPPOSettings(sampling=SamplingSettings(greedy=True)), "explore nothing"),
])
def test_mistakes_are_named(call, message):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=message):
        call()


def test_a_prompt_padded_on_the_wrong_side_is_named(policy):
    one = torch.ones(1, 2).long()
    with pytest.raises(InvalidTextError, match="not padded on the left"):
        ValueModel(policy)(one, torch.tensor([[1, 0]]), one, one)
