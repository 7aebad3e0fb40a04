"""Training: TRL's loss on the same batch, finite differences, early stopping, seeds."""

import copy
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from tests.lm.conftest import as_a_learner, make_model
from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.lm import word_tokenizer
from tutorlib.rewards import (
    OBJECTIVES,
    RewardModel,
    RewardSettings,
    TokenPair,
    bradley_terry_loss,
    collate_pairs,
    encode_labelled,
    encode_pairs,
    pair_rewards,
    reward_loss,
    train_reward_model,
)
from tutorlib.tinytalk.tokenizer import chat_prompt

PAIRS = [TokenPair((3, 4, 5, 1), (3, 6, 1), 0.5), TokenPair((7, 1), (7, 8, 9, 1), 0.0),
         TokenPair((7, 10, 11, 1), (7, 12, 1), 1.0)]
PLAIN = [TokenPair(p.chosen, p.rejected) for p in PAIRS]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model():
    return RewardModel(make_model("llama", 23), word_tokenizer([f"w{i}" for i in range(20)]))


@pytest.mark.slow
@pytest.mark.parametrize("centering, with_margin", [(0.0, False), (0.3, False), (0.3, True)])
def test_trl_computes_the_same_loss_on_the_same_batch(model, centering, with_margin):
    """Its loss function itself; the trainer around it only logs what is left out here."""
    from trl import RewardTrainer

    pairs = PAIRS if with_margin else PLAIN
    batch = collate_pairs(pairs)
    trainer = SimpleNamespace(
        model=model, args=SimpleNamespace(center_rewards_coefficient=centering or None),
        accelerator=SimpleNamespace(gather=lambda t: t, gather_for_metrics=lambda t: t),
        _metrics={"eval": defaultdict(list)}, _total_train_tokens=0)

    def classifier(input_ids, attention_mask, use_cache, margin=None):
        return SimpleNamespace(logits=model(input_ids, attention_mask)[:, None])

    model.eval()
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    inputs |= {"margin": batch.margin} if with_margin else {}
    theirs = RewardTrainer.compute_loss(trainer, classifier, inputs)
    ours = reward_loss(*pair_rewards(model, batch), batch, RewardSettings(centering=centering))
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    assert trainer._metrics["eval"]["margin"] == [pytest.approx(
        (pair_rewards(model, batch)[0] - pair_rewards(model, batch)[1]).mean().item(), abs=1e-6)]


def test_the_first_half_of_a_batch_is_the_chosen_one(model):
    batch = collate_pairs(PLAIN)
    chosen, rejected = pair_rewards(model, batch)
    for row, pair in enumerate(PLAIN):
        for found, ids in ((chosen, pair.chosen), (rejected, pair.rejected)):
            alone = model(torch.tensor([ids]), torch.ones(1, len(ids)))
            assert found[row].item() == pytest.approx(alone.item(), abs=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_gradient_is_that_of_finite_differences(model, objective):
    settings, batch = RewardSettings(objective, centering=0.1), collate_pairs(PLAIN)
    model = model.double()
    weight = model.body.layers[0].mlp.down_proj.weight  # behind the head, norms and attention

    def loss():
        return reward_loss(*pair_rewards(model, batch), batch, settings)

    loss().backward()
    direction = torch.randn(weight.shape, generator=seeded(), dtype=torch.double)
    slope = (weight.grad * direction).sum().item()
    values, step = [], 1e-3  # Llama's norms compute in float32, so no smaller
    with torch.no_grad():
        for sign in (1, -1):
            weight.add_(sign * step * direction)
            values.append(loss().item())
            weight.sub_(sign * step * direction)
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=2e-2, abs=1e-4)


def test_label_smoothing_is_a_mixture_of_both_orders(model):
    batch = collate_pairs(PLAIN)
    chosen, rejected = pair_rewards(model, batch)
    both = (bradley_terry_loss(chosen, rejected), bradley_terry_loss(rejected, chosen))
    wanted = 0.8 * both[0].mean() + 0.2 * both[1].mean()
    found = reward_loss(chosen, rejected, batch, RewardSettings(label_smoothing=0.2))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_learns_whom_it_is_shown_and_the_reverse(model, objective):
    settings = RewardSettings(objective, learning_rate=0.02, batch_size=2, epochs=6)
    backwards = [TokenPair(p.rejected, p.chosen) for p in PLAIN]
    for pairs in (PLAIN, backwards):
        trained = copy.deepcopy(model)
        history = train_reward_model(trained, pairs, settings, seeded())
        assert len(history) == 12 and history[-1]["loss"] < history[0]["loss"]
        chosen, rejected = pair_rewards(trained, collate_pairs(pairs))
        assert bool((chosen > rejected).all())


def test_records_are_those_of_the_steps(model):
    seen = []
    settings = RewardSettings(learning_rate=0.01, batch_size=3, epochs=2, weight_decay=0.0)
    first = reward_loss(*pair_rewards(model, collate_pairs(PAIRS)), collate_pairs(PAIRS), settings)
    history = train_reward_model(model, PAIRS, settings, seeded(), PLAIN, seen.append)
    assert seen == history and [r["epoch"] for r in history] == [0, 1]
    assert history[0]["loss"] == pytest.approx(first.item(), abs=1e-5)
    assert [r["learning_rate"] for r in history] == pytest.approx([0.01, 0.005])
    last = reward_loss(*pair_rewards(model, collate_pairs(PLAIN)), collate_pairs(PLAIN), settings)
    assert history[-1]["held_out_loss"] == pytest.approx(last.item(), abs=1e-5)
    assert 0 <= history[-1]["held_out_accuracy"] <= 1


def test_a_seed_decides_everything(model):
    settings = RewardSettings(learning_rate=0.01, batch_size=1, epochs=2)
    runs = [train_reward_model(copy.deepcopy(model), PAIRS, settings, seeded(seed))
            for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_only_the_head_moves_if_asked(model):
    body = copy.deepcopy(model.body.state_dict())
    head = model.head.weight.detach().clone()
    train_reward_model(model, PLAIN, RewardSettings(head_only=True, epochs=2), seeded())
    assert all(torch.equal(body[name], now) for name, now in model.body.state_dict().items())
    assert not torch.equal(head, model.head.weight)


def test_early_stopping_puts_the_best_weights_back(model):
    """Held-out labels say the opposite of the training ones: every step makes them worse."""
    contrary = [TokenPair(p.rejected, p.chosen) for p in PLAIN]
    settings = RewardSettings(learning_rate=0.01, batch_size=3, epochs=30, patience=3)
    history = train_reward_model(model, PLAIN, settings, seeded(), contrary)
    losses = [r["held_out_loss"] for r in history]
    assert len(history) == losses.index(min(losses)) + 1 + 3 < 30
    batch = collate_pairs(contrary)
    now = reward_loss(*pair_rewards(model, batch), batch, settings).item()
    assert now == pytest.approx(min(losses), abs=1e-5)


def test_the_held_out_loss_is_the_mean_over_pairs_in_batches_of_any_size(model):
    """Three pairs in batches of two: the last batch counts for one pair only."""
    settings = RewardSettings(learning_rate=1e-9, batch_size=2)
    record = train_reward_model(model, PLAIN, settings, seeded(), held_out=PLAIN)[-1]
    chosen, rejected = pair_rewards(model.eval(), collate_pairs(PLAIN))
    assert record["held_out_loss"] == pytest.approx(
        bradley_terry_loss(chosen, rejected).mean().item(), abs=1e-5)
    assert record["held_out_accuracy"] == pytest.approx((chosen > rejected).double().mean().item())


def test_preferences_become_pairs_with_their_prompt_and_end(reward_model, preferences):
    pairs = encode_labelled(reward_model, preferences[:3])
    tokenizer = reward_model.tokenizer
    for pair, p in zip(pairs, preferences, strict=False):
        assert tokenizer.decode(pair.chosen) == f"{chat_prompt(p.prompt.text)} {p.chosen} <eos>"
        assert tokenizer.decode(pair.rejected).endswith(f"<bot> {p.rejected} <eos>")
        assert (pair.margin, pair.label) == (0.0, 1.0)


@pytest.mark.parametrize("call, error, message", [
    (lambda m: encode_pairs(m, ["w1"], ["w2"], ["w2"]), InvalidTextError, "are the same"),
    (lambda m: encode_pairs(m, ["w1"], ["w2"], ["w3", "w4"]), InvalidTextError, "2 answers"),
    (lambda m: encode_pairs(m, ["w1"], ["w2"], ["w3"], labels=[2.0]), InvalidArgumentError,
     "shares from 0 to 1"),
    (lambda m: encode_pairs(m, ["w1"], ["w2"], ["w3"], margins=[]), InvalidArgumentError,
     "0 margins"),
    (lambda m: train_reward_model(m, [], RewardSettings(), seeded()), InvalidTextError,
     "no pairs to learn from"),
    (lambda m: train_reward_model(m, PLAIN, RewardSettings(patience=1), seeded()),
     InvalidArgumentError, "held_out"),
    (lambda m: train_reward_model(m, PAIRS, RewardSettings("classification"), seeded()),
     InvalidArgumentError, "neither margins"),
    (lambda m: RewardSettings("hinge"), InvalidArgumentError, "'hinge'"),
    (lambda m: RewardSettings(learning_rate=0), InvalidArgumentError, "learning_rate is 0"),
    (lambda m: RewardSettings(label_smoothing=0.5), InvalidArgumentError, "below 0.5"),
    (lambda m: RewardSettings("thurstone", label_smoothing=0.1), InvalidArgumentError,
     "belongs to 'bradley_terry'"),
])
def test_bad_input_is_refused_with_a_reason(model, call, error, message):
    with as_a_learner(), pytest.raises(error, match=message):
        call(model)
