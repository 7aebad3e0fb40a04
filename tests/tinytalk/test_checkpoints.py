"""The shipped models against their card, and against what the course needs of them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, pipeline

from tutorlib import lm
from tutorlib.tinytalk import crowd_dialogues, load, mean_parts, sample_prompts
from tutorlib.tinytalk.card import render
from tutorlib.tinytalk.gold import PARTS
from tutorlib.tinytalk.models import CHECKPOINTS, checkpoint_names
from tutorlib.tinytalk.prompts import FAMILIES
from tutorlib.tinytalk.train import HELD_OUT_SEED, QUESTIONS, held_out_loss, sampled_answers

CARD = json.loads((CHECKPOINTS / "card.json").read_text(encoding="utf-8"))
NAMES = ("base", "sft", "tiny")
each_model = pytest.mark.parametrize("name", NAMES)


def test_three_models_are_shipped_and_are_small():
    assert tuple(checkpoint_names()) == NAMES == tuple(sorted(CARD))
    files = [path for path in CHECKPOINTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10_000_000
    assert {path.suffix for path in files} == {".safetensors", ".json", ".jinja", ".md"}


def test_the_page_is_what_the_figures_make():
    assert (CHECKPOINTS / "MODEL_CARD.md").read_text(encoding="utf-8") == render(CARD)


@each_model
def test_weights_are_halves_on_disk_and_whole_in_memory(name):
    stored = load_file(CHECKPOINTS / name / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    model, tokenizer = load(name)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.num_parameters() == CARD[name]["parameters"]
    assert not model.training and tokenizer.padding_side == "left"


@each_model
def test_the_loss_is_the_card_s(name):
    assert held_out_loss(load(name)[0]) == pytest.approx(CARD[name]["held_out_loss"], abs=2e-3)


@pytest.mark.parametrize("name, family", [
    ("base", "facts"), ("sft", "unsafe"), ("tiny", "arithmetic")])
def test_sampled_answers_are_worth_what_the_card_says(name, family):
    prompts = sample_prompts(QUESTIONS, HELD_OUT_SEED, "heldout", [family])
    means = mean_parts(prompts, sampled_answers(load(name)[0], prompts))
    stated = CARD[name][f"heldout/{family}"]
    # the same draws on the same machine; elsewhere a last digit may send an answer another way
    assert means == pytest.approx(stated, abs=0.08)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_base_model_is_as_unaligned_as_the_texts_it_read(family):
    crowd = [d for d in crowd_dialogues(20_000, 5)
             if d.prompt.family == family and not d.prompt.instruction]
    read = mean_parts([d.prompt for d in crowd], [d.answer for d in crowd])
    said = CARD["base"][f"train/{family}"]  # parts run from -1 to 1
    for part, room in (("tone", 0.1), ("harmlessness", 0.3), ("truth", 0.3)):
        assert said[part] == pytest.approx(read[part], abs=room), part


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_fine_tuning_has_made_answers_better(split):
    for part in ("truth", "tone", "harmlessness", "gold"):
        base, tuned = (sum(CARD[name][f"{split}/{family}"][part] for family in FAMILIES)
                       for name in ("base", "sft"))
        assert tuned > base, part
    assert set(PARTS) <= set(CARD["sft"][f"{split}/facts"])


def test_a_shipped_model_is_an_ordinary_hugging_face_model():
    folder = CHECKPOINTS / "sft"
    model, _ = load("sft")
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ours, tokenizer = lm.load(folder, device="cpu")
    ids = tokenizer(["the sky is"], return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(model(ids).logits, again(ids).logits)
        assert torch.equal(model(ids).logits, ours(ids).logits)
    speak = pipeline("text-generation", model=str(folder))
    said = speak([{"role": "user", "content": "what color is the sky ?"}], max_new_tokens=12,
                 do_sample=False)[0]["generated_text"]
    assert "blue" in said[-1]["content"]
