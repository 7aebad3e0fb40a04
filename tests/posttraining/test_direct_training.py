"""Pairs, references and the two trainers."""

import copy
from dataclasses import replace

import pytest
import torch

from tests.lm.conftest import as_a_learner, make_model
from tests.posttraining.conftest import CHOSEN, PROMPTS, REJECTED, seeded
from tutorlib.errors import (
    InvalidArgumentError,
    InvalidModelError,
    InvalidTextError,
    TrainingDivergedError,
)
from tutorlib.lm import SamplingSettings, encode_completions, encode_prompts, sequence_logps
from tutorlib.posttraining import (
    DirectSettings,
    OnlineSettings,
    PolicyGradientSettings,
    PreferenceBatch,
    PreferencePair,
    TokenPPOSettings,
    collate_preferences,
    encode_preferences,
    frozen_copy,
    judge_by,
    judged_pairs,
    kto_reference_point,
    pair_logps,
    pair_loss,
    reference_logps,
    score,
    train_direct,
    train_direct_online,
    train_policy_gradient,
    train_token_ppo,
)
from tutorlib.posttraining.direct_training import LOSSES
from tutorlib.posttraining.steps import draw_prompts


def by_scoring(model, tokenizer, answers):
    prompts = encode_prompts(tokenizer, PROMPTS)
    return sequence_logps(model, *prompts, *encode_completions(tokenizer, answers))


def test_pairs_are_scored_as_each_side_alone(policy, reference, tokenizer, pairs, batch):
    with torch.no_grad():
        chosen, rejected = pair_logps(policy, batch)
        for found, answers in ((chosen, CHOSEN), (rejected, REJECTED)):
            torch.testing.assert_close(found, by_scoring(policy, tokenizer, answers))
        once = reference_logps(reference, pairs, batch_size=3)
        wanted = [by_scoring(reference, tokenizer, side) for side in (CHOSEN, REJECTED)]
        torch.testing.assert_close(once, torch.stack(wanted, 1))
    assert [n.tolist() for n in batch.lengths] == [[4, 2, 2, 6], [3, 7, 3, 2]]


@pytest.mark.parametrize("loss", LOSSES)
def test_what_stands_at_masked_places_changes_nothing(policy, reference, pairs, batch, loss):
    settings = DirectSettings(loss, 0.3, sft_weight=0.5)
    ref = None if loss in ("simpo", "orpo") else reference_logps(reference, pairs)
    garbage = PreferenceBatch(
        batch.prompt_ids.masked_fill(batch.prompt_mask == 0, 9), batch.prompt_mask,
        batch.completion_ids.masked_fill(batch.completion_mask == 0, 7), batch.completion_mask)
    with torch.no_grad():
        clean, dirty = (pair_loss(policy, b, ref, settings, reference)[1] for b in (batch, garbage))
    assert clean == dirty


def test_kto_s_reference_point_is_the_mean_log_ratio_of_mixed_pairs(tokenizer, policy, reference,
                                                                    batch):
    prompts = encode_prompts(tokenizer, PROMPTS)
    mixed = [side[-1:] + side[:-1] for side in (CHOSEN, REJECTED)]
    with torch.no_grad():
        gaps = [sequence_logps(model, *prompts, *encode_completions(tokenizer, side))
                for side in mixed for model in (policy, reference)]
    wanted = torch.cat([gaps[0] - gaps[1], gaps[2] - gaps[3]]).mean()
    points = [kto_reference_point(*models, batch) for models in
              ((policy, reference), (reference, policy))]
    assert sorted(p.item() for p in points) == pytest.approx(
        sorted([max(0, wanted.item()), max(0, -wanted.item())]), abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_the_pairs(tokenizer, pairs, loss):
    model = make_model("llama", len(tokenizer), scale=0.1)
    beta = {"simpo": 2.0, "ipo": 0.1}.get(loss, 0.3)
    history = train_direct(model, pairs, DirectSettings(loss, beta, learning_rate=1e-2, epochs=6),
                           seeded(), held_out=pairs)
    assert history[-1]["loss"] < history[0]["loss"] and history[-1]["held_out_accuracy"] == 1
    assert history[-1]["held_out_margin"] > history[0]["margin"]


def test_the_first_step_is_at_the_reference_and_the_reference_stays(tokenizer, pairs):
    model = make_model("gpt2", len(tokenizer))  # with dropout, which is switched off
    model.train()
    frozen = frozen_copy(model)
    before = copy.deepcopy(frozen.state_dict())
    history = train_direct(model, pairs, DirectSettings(learning_rate=1e-2, epochs=2), seeded(),
                           frozen)
    assert history[0]["loss"] == pytest.approx(0.693147, abs=1e-6)
    assert history[0]["margin"] == pytest.approx(0, abs=1e-6) and model.training
    assert all(torch.equal(v, before[k]) for k, v in frozen.state_dict().items())
    alone = make_model("gpt2", len(tokenizer))
    assert train_direct(alone, pairs, DirectSettings(learning_rate=1e-2, epochs=2),
                        seeded()) == history, "the default reference is the model at the start"


def test_an_sft_term_keeps_the_chosen_answers_likely(tokenizer, pairs):
    settings = DirectSettings(beta=0.3, learning_rate=5e-3, epochs=10)
    last = []
    for weight in (0.0, 1.0):
        model = make_model("llama", len(tokenizer), scale=0.1)
        last.append(train_direct(model, pairs, DirectSettings(
            **{**settings.__dict__, "sft_weight": weight}), seeded())[-1])
    assert last[1]["chosen_logps"] > last[0]["chosen_logps"] + 1


def test_online_the_policy_learns_from_its_own_answers(tokenizer):
    model = make_model("llama", len(tokenizer), scale=0.05)

    def blue(prompts, answers):
        return [answer.split().count("blue") for answer in answers]

    sampling = SamplingSettings(4, num_generations=2)
    settings = OnlineSettings(4, 16, sampling, DirectSettings(beta=0.1, learning_rate=1e-2,
                                                              batch_size=8))
    first = judged_pairs(model, tokenizer, PROMPTS * 8, judge_by(blue), sampling, seeded(1))
    for pair in first:
        assert pair.chosen_ids.count(6) > pair.rejected_ids.count(6)  # 6 is "blue"
    history = train_direct_online(model, tokenizer, PROMPTS, judge_by(blue), settings, seeded())
    assert {record["round"] for record in history} == set(range(4))
    after = judged_pairs(model, tokenizer, PROMPTS * 8, judge_by(lambda p, a: list(range(len(a)))),
                         sampling, seeded(1))
    assert not after, "the judge above sees no difference: all ties are dropped"
    says = sequence_logps(model, *encode_prompts(tokenizer, ["sky"]),
                          *encode_completions(tokenizer, ["blue blue blue"]))
    was = sequence_logps(make_model("llama", len(tokenizer), scale=0.05),
                         *encode_prompts(tokenizer, ["sky"]),
                         *encode_completions(tokenizer, ["blue blue blue"]))
    assert says.item() > was.item() + 1


def test_a_noisy_judge_is_right_as_often_as_bradley_and_terry_say():
    judge = judge_by(lambda prompts, answers: [len(a) for a in answers], 2.0, seeded())
    said = judge(["x"] * 4000, ["aaa"] * 4000, ["a"] * 4000)
    share = sum(v > 0 for v in said) / 4000
    assert share == pytest.approx(0.7311, abs=0.02)  # sigmoid(1), three standard errors


def test_prompts_are_drawn_evenly():
    drawn = draw_prompts(["a", "b", "c"], 7, seeded())
    assert sorted(drawn.count(p) for p in "abc") == [2, 2, 3]


@pytest.mark.parametrize("train", [
    lambda m, t, pairs: train_direct(m, pairs, DirectSettings(), seeded(), m),
    lambda m, t, pairs: train_direct_online(m, t, PROMPTS, judge_by(len), OnlineSettings(),
                                            seeded(), m),
    lambda m, t, pairs: train_policy_gradient(m, t, PROMPTS, len, PolicyGradientSettings(),
                                              seeded(), m),
    lambda m, t, pairs: train_token_ppo(m, t, PROMPTS, len, TokenPPOSettings(), seeded(), m),
])
def test_a_reference_that_would_move_along_is_refused(policy, tokenizer, pairs, train):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match="would move with it"):
        train(policy, tokenizer, pairs)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_policy_that_leaves_language_gets_its_last_good_weights_back(tokenizer):
    """Two answers nearly alike: both become unlikely. The weights are those of a shorter run."""
    settings = DirectSettings(beta=0.02, learning_rate=0.02, epochs=40, schedule="constant")
    pairs = encode_preferences(tokenizer, ["sky"], ["blue blue red"], ["blue blue blue"])
    model = make_model("llama", len(tokenizer), scale=0.05)
    with pytest.raises(TrainingDivergedError, match=r"beyond drift_limit=20") as caught:
        train_direct(model, pairs, replace(settings, drift_limit=20.0), seeded())
    history = caught.value.history
    assert 5 <= len(history) < 30
    twin = make_model("llama", len(tokenizer), scale=0.05)
    taken = train_direct(twin, pairs, replace(settings, epochs=len(history) - 1, drift_limit=None),
                         seeded())
    assert history[:-1] == taken
    assert all(torch.equal(v, twin.state_dict()[k]) for k, v in model.state_dict().items())


def test_a_step_into_nan_is_taken_back(tokenizer, pairs):
    model, good = make_model("llama", len(tokenizer)), []

    def break_it(record):
        good.append(state(model))
        if record["step"] == 2:
            next(iter(model.parameters())).data.fill_(float("nan"))

    with pytest.raises(TrainingDivergedError, match="training diverged"):
        train_direct(model, pairs, DirectSettings(epochs=6), seeded(), report=break_it)
    assert all(torch.equal(v, good[1][k]) for k, v in model.state_dict().items()), "step 2's"


def test_pairs_that_are_not_pairs_are_named_before_training(tokenizer, policy):
    alike = PreferencePair((3,), (4, 1), (4, 1))
    long = PreferencePair(tuple([3] * 60), (4, 1), tuple([5] * 9))
    empty = PreferencePair((3,), (4, 1), ())
    good = PreferencePair((3,), (4, 1), (5, 1))
    for bad, message in ((alike, "pair 1 prefers an answer to itself"), (empty, "an empty part"),
                         (long, "pair 1, prompt and answer, takes 69 tokens")):
        with as_a_learner(), pytest.raises(InvalidTextError, match=message):
            train_direct(policy, [good, bad], DirectSettings("simpo"), seeded())
        with as_a_learner(), pytest.raises(InvalidTextError, match=message):
            train_direct(frozen_copy(policy), [good], DirectSettings(), seeded(), held_out=[good,
                                                                                           bad])
    padded = PreferenceBatch(torch.tensor([[3], [3]]), torch.ones(2, 1).long(),
                             torch.tensor([[4, 1], [0, 0]]), torch.tensor([[1, 1], [0, 0]]))
    with as_a_learner(), pytest.raises(InvalidTextError, match="answer 1 of the batch is padding"):
        pair_logps(policy, padded)
    assert encode_preferences(tokenizer, ["sky"], [""], ["red"])[0].chosen_ids == (1,)


def test_a_reference_with_another_vocabulary_is_refused(pairs, policy):
    other = make_model("llama", 40)
    with as_a_learner(), pytest.raises(InvalidModelError, match="the reference 40"):
        train_direct(policy, pairs, DirectSettings(), seeded(), other)


TEXTS = InvalidTextError
ARGUMENTS = InvalidArgumentError


@pytest.mark.parametrize("call, error, message", [
    (lambda t: encode_preferences(t, PROMPTS, CHOSEN, REJECTED[:1]), TEXTS, "as many of each"),
    (lambda t: encode_preferences(t, ["sky"], ["red"], ["red"]), TEXTS, "prefers an answer to it"),
    (lambda t: collate_preferences([]), TEXTS, "no pairs"),
    (lambda t: collate_preferences([PreferencePair((1,), (), (2,))]), TEXTS, "an empty part"),
    (lambda t: DirectSettings("dop"), ARGUMENTS, "loss is 'dop'"),
    (lambda t: DirectSettings(beta=-1), ARGUMENTS, "beta is -1"),
    (lambda t: DirectSettings("kto", batch_size=1), ARGUMENTS, "2 pairs or more"),
    (lambda t: DirectSettings("simpo", reference_free=True), ARGUMENTS, "no meaning"),
    (lambda t: OnlineSettings(sampling=SamplingSettings()), ARGUMENTS, "num_generations=2"),
    (lambda t: judge_by(lambda p, a: a, 1.0), ARGUMENTS, "needs a generator"),
    (lambda t: score(lambda p, a: [0.0], ["x", "y"], ["a", "b"]), ARGUMENTS, "for each of the 2"),
    (lambda t: score(lambda p, a: [float("nan")], ["x"], ["a"]), ARGUMENTS, "finite: False"),
    (lambda t: draw_prompts("sky", 2, seeded()), TEXTS, "expected a list"),
])
def test_mistakes_are_named(tokenizer, call, error, message):
    with as_a_learner(), pytest.raises(error, match=message):
        call(tokenizer)


@pytest.mark.parametrize("judge, message", [
    (lambda p, a, b: [True] * len(p), "True or False"),
    (lambda p, a, b: [1.0], "one for each of 2 pairs"),
    (lambda p, a, b: [float("nan")] * 2, "no NaN"),
])
def test_a_judge_that_judges_wrongly_is_named(tokenizer, policy, judge, message):
    with pytest.raises(InvalidArgumentError, match=message):
        judged_pairs(policy, tokenizer, PROMPTS[:2], judge, SamplingSettings(3, num_generations=2),
                     seeded())
