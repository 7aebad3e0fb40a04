"""The tokenizer, the batches and the training of TinyTalk's models."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from tutorlib.errors import InvalidArgumentError
from tutorlib.tinytalk import (
    all_words,
    check_words,
    crowd_dialogues,
    demonstrations,
    make_tokenizer,
    new_model,
    statements,
)
from tutorlib.tinytalk.tokenizer import chat_prompt
from tutorlib.tinytalk.training import (
    Texts,
    TrainingConfig,
    batches,
    encode_dialogues,
    encode_statements,
    learning_rate_at,
    mean_loss,
    pad_batch,
    train,
)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def test_every_word_is_one_token_and_comes_back(tokenizer):
    text = " ".join(all_words())
    ids = tokenizer(text).input_ids
    assert len(ids) == len(all_words()) and tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text


def test_the_chat_template_and_the_quick_way_agree(tokenizer):
    for d in crowd_dialogues(50, 0):
        asked = tokenizer.apply_chat_template(d.prompt.chat, tokenize=False,
                                              add_generation_prompt=True)
        assert asked == chat_prompt(d.prompt.text)
        whole = tokenizer.apply_chat_template(d.messages, tokenize=False)
        assert whole == f"{asked} {d.answer} <eos>"
        assert encode_dialogues(tokenizer, [d]).ids == [tokenizer(whole).input_ids]


def test_only_answers_are_scored_where_that_is_asked(tokenizer):
    for d in demonstrations(30, 0):
        encoded = tokenizer.apply_chat_template(d.messages, return_dict=True,
                                                return_assistant_tokens_mask=True)
        scored = encode_dialogues(tokenizer, [d], answers_only=True).scored_from[0]
        assert encoded["assistant_masks"].index(1) == scored


def test_a_tokenizer_survives_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    chat = [{"role": "user", "content": "what is 1 + 2 ?"}]
    for one in (again, tokenizer):
        assert one.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == \
            "<bos> <user> what is 1 + 2 ? <bot>"
    assert again.padding_side == "left" and len(again) == len(tokenizer)
    with pytest.raises(Exception, match="user and assistant"):
        again.apply_chat_template([{"role": "system", "content": "well"}], tokenize=False)


def test_words_that_do_not_exist_are_named():
    with pytest.raises(InvalidArgumentError, match="'purple'"):
        check_words("the sky is purple .")


def test_left_padding_starts_answers_in_one_column(tokenizer):
    batch = tokenizer([chat_prompt("what is 1 + 2 ?"), chat_prompt("what is 1 + 2 + 3 ?")],
                      return_tensors="pt", padding=True)
    assert (batch.input_ids[:, -1] == tokenizer.convert_tokens_to_ids("<bot>")).all()
    assert batch.attention_mask[0].tolist()[:2] == [0, 0]


def test_a_model_is_a_hugging_face_model(tokenizer, tmp_path):
    model = new_model("tiny", seed=3).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = tokenizer(["the sky is"], return_tensors="pt").input_ids
    assert torch.equal(model(ids).logits, again(ids).logits)
    speak = pipeline("text-generation", model=str(tmp_path))
    said = speak([{"role": "user", "content": "what is 1 + 2 ?"}], max_new_tokens=3,
                 do_sample=False)[0]["generated_text"]
    assert said[-1]["role"] == "assistant" and isinstance(said[-1]["content"], str)


def test_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    a, b, c = (new_model("tiny", seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(a.state_dict()[name], b.state_dict()[name])
    assert not torch.equal(a.state_dict()[name], c.state_dict()[name])
    with pytest.raises(InvalidArgumentError, match="tiny"):
        new_model("tinny")


def test_padding_changes_no_loss(tokenizer):
    model = new_model("tiny").eval()
    texts = encode_dialogues(tokenizer, crowd_dialogues(12, 0), answers_only=True)
    alone = [mean_loss(model, Texts([ids], [start]))
             for ids, start in zip(texts.ids, texts.scored_from, strict=True)]
    counts = [len(i) - s for i, s in zip(texts.ids, texts.scored_from, strict=True)]
    weighted = sum(a * c for a, c in zip(alone, counts, strict=True)) / sum(counts)
    assert mean_loss(model, texts) == pytest.approx(weighted, abs=1e-5)


def test_the_loss_is_the_mean_over_scored_tokens(tokenizer):
    model = new_model("tiny").eval()
    batch = pad_batch(encode_dialogues(tokenizer, crowd_dialogues(5, 1), answers_only=True),
                      range(5), tokenizer.pad_token_id)
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logps = logits[:, :-1].log_softmax(-1)
    labels = batch["labels"][:, 1:]
    scored = labels != -100
    chosen = logps.gather(-1, labels.clamp_min(0)[..., None])[..., 0]
    by_hand = -chosen[scored].mean()
    assert float(model(**batch).loss.detach()) == pytest.approx(float(by_hand.detach()), abs=1e-5)


def test_batches_show_every_text_once_before_any_twice(tokenizer):
    texts = encode_statements(tokenizer, statements(96, 0))
    config = TrainingConfig(batch_size=16)
    stream = batches(texts, config, tokenizer.pad_token_id)
    seen = [tuple(row[mask.bool()].tolist()) for _ in range(6)
            for batch in [next(stream)]
            for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    assert sorted(seen) == sorted(map(tuple, texts.ids))
    with pytest.raises(InvalidArgumentError, match="do not fill a batch"):
        next(batches(texts, TrainingConfig(batch_size=500), 0))


def test_the_learning_rate_rises_and_falls():
    config = TrainingConfig(steps=1000, warmup=100, learning_rate=1.0)
    rates = [learning_rate_at(step, config) for step in range(1000)]
    assert rates[0] == 0.01 and max(rates) == 1.0 and rates.index(1.0) in (99, 100)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[100:]))


def test_a_model_learns_a_few_texts_by_heart_the_same_way_each_time(tokenizer):
    texts = encode_dialogues(tokenizer, demonstrations(32, 0), answers_only=True)
    config = TrainingConfig(steps=60, batch_size=16, warmup=5)
    runs = []
    for _ in range(2):
        model = new_model("tiny")
        runs.append((mean_loss(model, texts), train(model, texts, config),
                     mean_loss(model, texts)))
    assert runs[0] == runs[1]
    before, losses, after = runs[0]
    assert after < 0.5 * before and losses[-1] < losses[0]
