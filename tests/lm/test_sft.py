import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.lm.conftest import as_a_learner, make_model
from tutorlib.errors import InvalidArgumentError, InvalidModelError, InvalidTextError
from tutorlib.lm.sampling import SamplingSettings, sample
from tutorlib.lm.scoring import sequence_logps
from tutorlib.lm.sft import (
    Example,
    SFTSettings,
    collate,
    encode_examples,
    mean_loss,
    sft_loss,
    train_sft,
)
from tutorlib.lm.text import encode_completions, encode_prompts

COLOURS = ["blue", "red", "green"]
PROMPTS = [f"what color is the {thing} ?" for thing in ("sky", "grass")] + ["the sky", "grass is"]
ANSWERS = ["the sky is blue .", "green .", "is blue .", "green"]


@pytest.fixture(scope="module")
def examples(tokenizer):
    return encode_examples(tokenizer, PROMPTS, ANSWERS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_only_the_answer_and_its_end_are_learned(tokenizer, examples):
    batch = collate(examples)
    learned = batch.input_ids[3][batch.loss_mask[3] == 1]
    assert tokenizer.decode(learned) == "green <eos>"
    assert batch.loss_mask.sum().item() == sum(len(e.completion_ids) for e in examples)
    everything = collate(examples, prompt_loss=True)
    assert torch.equal(everything.loss_mask, batch.attention_mask)


@pytest.mark.parametrize("aggregate, constant", [
    ("sequence_sum", None), ("sequence_mean", None), ("token_mean", None), ("constant", 7.0)])
def test_the_loss_is_that_of_scoring_the_answers(model, tokenizer, examples, aggregate, constant):
    """Another layout (left-padded prompts) and another function."""
    logps = sequence_logps(model, *encode_prompts(tokenizer, PROMPTS),
                           *encode_completions(tokenizer, ANSWERS), aggregate=aggregate,
                           constant=constant)
    loss = sft_loss(model, collate(examples), aggregate, constant)
    assert loss.item() == pytest.approx(-logps.mean().item(), abs=2e-6)


@pytest.mark.parametrize("prompt_loss", [False, True])
def test_the_loss_is_that_of_transformers(model, examples, prompt_loss):
    batch = collate(examples, prompt_loss)
    labels = batch.input_ids.masked_fill(batch.loss_mask == 0, -100)
    theirs = model(batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
    assert sft_loss(model, batch).item() == pytest.approx(theirs.item(), abs=1e-6)


def test_what_stands_in_the_padding_does_not_matter(model, examples):
    batch = collate(examples)
    garbage = torch.randint(0, 15, batch.input_ids.shape, generator=seeded())
    dirty = torch.where(batch.attention_mask == 1, batch.input_ids, garbage)
    changed = type(batch)(dirty, batch.attention_mask, batch.loss_mask)
    assert not torch.equal(dirty, batch.input_ids)
    assert sft_loss(model, changed).item() == sft_loss(model, batch).item()


def test_two_steps_by_hand(tokenizer, examples):
    """Plain tensors and an optimiser, without the module: the same weights afterwards."""
    trained, by_hand = (make_model("llama", len(tokenizer)) for _ in range(2))
    history = train_sft(trained, examples, SFTSettings(
        learning_rate=0.01, batch_size=2, shuffle=False, max_grad_norm=0.5), seeded())
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=0.01, weight_decay=0.0)
    for step, pair in enumerate((examples[:2], examples[2:])):
        total, count = 0.0, 0
        for e in pair:
            ids = torch.tensor([e.prompt_ids + e.completion_ids])
            n = len(e.completion_ids)
            logits = by_hand(ids).logits[0, -n - 1:-1]
            total = total + cross_entropy(logits, ids[0, -n:], reduction="sum")
            count += n
        optimizer.zero_grad()
        (total / count).backward()
        norm = torch.cat([p.grad.flatten() for p in by_hand.parameters()]).norm()
        for p in by_hand.parameters():
            p.grad *= min(1.0, 0.5 / norm.item())
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 2)
        optimizer.step()
        assert history[step]["loss"] == pytest.approx((total / count).item(), abs=1e-5)
        assert history[step]["grad_norm"] == pytest.approx(norm.item(), rel=1e-3)
        assert history[step]["tokens"] == count
    for a, b in zip(trained.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def trl(tmp_path_factory, tokenizer):
    """TRL's trainer on the same examples, in order, on the CPU, in float32."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict({"prompt": PROMPTS * 3, "completion": [f" {a}" for a in ANSWERS * 3]})

    def build(model):
        return SFTTrainer(model=model, train_dataset=data, processing_class=copy.deepcopy(
            tokenizer), args=SFTConfig(
                str(tmp_path_factory.mktemp("trl")), learning_rate=0.01, max_grad_norm=1.0,
                per_device_train_batch_size=3, num_train_epochs=1, lr_scheduler_type="linear",
                warmup_steps=0, train_sampling_strategy="sequential", logging_steps=1,
                bf16=False, gradient_checkpointing=False, use_cpu=True, report_to="none",
                save_strategy="no", optim="adamw_torch", weight_decay=0.0, disable_tqdm=True))
    return build


@pytest.mark.slow
def test_trl_computes_the_same_loss_on_the_same_batch(trl, model, examples):
    trainer = trl(copy.deepcopy(model))
    inputs = next(iter(trainer.get_train_dataloader()))
    batch = collate(examples[:3])
    assert torch.equal(inputs["input_ids"][inputs["attention_mask"] == 1],
                       batch.input_ids[batch.attention_mask == 1])
    with torch.no_grad():
        theirs = trainer.compute_loss(trainer.model, dict(inputs)).item()
    assert sft_loss(model, batch).item() == pytest.approx(theirs, abs=1e-5)


@pytest.mark.slow
def test_trl_s_curve_is_the_same(trl, tokenizer, examples):
    ours, theirs = (make_model("llama", len(tokenizer)) for _ in range(2))
    history = train_sft(ours, examples * 3, SFTSettings(
        learning_rate=0.01, batch_size=3, shuffle=False), seeded())
    trainer = trl(theirs)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(history) == len(logged) == 4
    for mine, their in zip(history, logged, strict=True):
        assert mine["loss"] == pytest.approx(their["loss"], abs=2e-4)  # theirs is rounded
        assert mine["grad_norm"] == pytest.approx(their["grad_norm"], rel=1e-3)
        assert mine["learning_rate"] == pytest.approx(their["learning_rate"])
    assert history[0]["loss"] - history[-1]["loss"] > 0.5
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_it_learns_what_it_is_shown(tokenizer, examples):
    model = make_model("llama", len(tokenizer), scale=0.1)
    history = train_sft(model, examples, SFTSettings(learning_rate=0.02, epochs=80, batch_size=4),
                        seeded(), held_out=examples)
    assert history[-1]["held_out_loss"] < 0.05 < history[0]["held_out_loss"]
    said = sample(model, *encode_prompts(tokenizer, PROMPTS), SamplingSettings(8, greedy=True))
    assert said.texts(tokenizer) == ANSWERS


def test_the_same_seed_gives_the_same_run_and_the_global_state_is_left_alone(tokenizer, examples):
    before = torch.random.get_rng_state()
    runs = []
    for seed in (0, 0, 1):
        model = make_model("gpt2", len(tokenizer))  # with dropout
        runs.append([r["loss"] for r in train_sft(
            model, examples, SFTSettings(epochs=3, batch_size=2), seeded(seed))])
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_mode_of_the_model_is_given_back(tokenizer, examples):
    model = make_model("gpt2", len(tokenizer))
    for training in (True, False):
        model.train(training)
        train_sft(model, examples, SFTSettings(), seeded(), held_out=examples[:1])
        assert model.training is training


def test_records_are_reported_as_they_come(tokenizer, examples):
    seen = []
    history = train_sft(make_model("llama", len(tokenizer)), examples,
                        SFTSettings(batch_size=3, epochs=2, schedule="constant"), seeded(),
                        held_out=examples, report=seen.append)
    assert seen == history and [r["epoch"] for r in history] == [0, 0, 1, 1]
    assert [("held_out_loss" in r) for r in history] == [False, True, False, True]
    assert {r["learning_rate"] for r in history} == {1e-3}


def test_mean_loss_is_over_tokens_however_they_are_batched(model, examples):
    losses = [mean_loss(model, examples, SFTSettings(batch_size=b)) for b in (1, 3, 4)]
    assert losses == pytest.approx([sft_loss(model, collate(examples)).item()] * 3, abs=1e-5)


@pytest.mark.parametrize("changes, message", [
    ({"learning_rate": 0}, "learning_rate"), ({"batch_size": 0}, "batch_size"),
    ({"epochs": 0}, "epochs"), ({"aggregate": "mean"}, "sequence_mean"),
    ({"aggregate": "constant"}, "constant is None"), ({"schedule": "cosine"}, "'linear'"),
    ({"max_grad_norm": -1}, "max_grad_norm"),
])
def test_bad_settings_are_refused(changes, message):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=message):
        SFTSettings(**changes)


def test_bad_examples_are_refused(tokenizer, llama):
    with pytest.raises(InvalidTextError, match="2 prompts but 1 answers"):
        encode_examples(tokenizer, PROMPTS[:2], ANSWERS[:1])
    with pytest.raises(InvalidTextError, match="'bleu'"):
        encode_examples(tokenizer, ["the sky"], ["bleu"])
    for bad, part in ((Example((), (1,)), "prompt"), (Example((3,), ()), "completion")):
        with pytest.raises(InvalidTextError, match=f"the {part} of example 1 is empty"):
            collate([Example((3,), (1,)), bad])
    with pytest.raises(InvalidTextError, match="no examples"):
        collate([])
    with pytest.raises(InvalidTextError, match=r"takes 49 tokens.*holds 48"):
        sft_loss(llama, collate([Example((3,) * 48, (1,))]))
    with pytest.raises(InvalidTextError, match="the model knows 0 to 14"):
        sft_loss(llama, collate([Example((3,), (15,))]))


def test_a_diverged_model_is_named(tokenizer, examples):
    model = make_model("llama", len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight[3] = torch.inf
    with pytest.raises(InvalidModelError, match="lower the learning rate"):
        train_sft(model, examples, SFTSettings(), seeded())
