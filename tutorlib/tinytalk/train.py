"""Make the shipped checkpoints from scratch: ``python -m tutorlib.tinytalk.train``.

It writes ``checkpoints/NAME/`` (safetensors in float16, config, tokenizer), the figures to
``checkpoints/card.json`` (data, seeds, steps, losses, what sampled answers are worth), and
MODEL_CARD.md beside it, made from those figures alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from tutorlib.tinytalk.card import render
from tutorlib.tinytalk.corpora import crowd_dialogues, demonstrations, statements
from tutorlib.tinytalk.gold import mean_parts
from tutorlib.tinytalk.models import CHECKPOINTS, SIZES, load, new_model
from tutorlib.tinytalk.prompts import FAMILIES, sample_prompts
from tutorlib.tinytalk.tokenizer import chat_prompt, make_tokenizer
from tutorlib.tinytalk.training import (
    Texts,
    TrainingConfig,
    encode_dialogues,
    encode_statements,
    mean_loss,
    train,
)

DIALOGUES, STATEMENTS, DEMONSTRATIONS = 200_000, 40_000, 10_000
CORPUS_SEED, HELD_OUT_SEED, WEIGHTS_SEED = 1, 99, 0
PRETRAINING = {"base": TrainingConfig(steps=5000), "tiny": TrainingConfig(steps=2500)}
TUNING = TrainingConfig(steps=400, learning_rate=1e-3, warmup=20)
QUESTIONS = 250  # per family and split, when answers are sampled for the card


def pretraining_texts() -> Texts:
    """Return the encoded pretraining corpus: dialogues of the crowd and plain statements."""
    tokenizer = make_tokenizer()
    spoken = encode_dialogues(tokenizer, crowd_dialogues(DIALOGUES, CORPUS_SEED))
    stated = encode_statements(tokenizer, statements(STATEMENTS, CORPUS_SEED + 1))
    return Texts(spoken.ids + stated.ids, spoken.scored_from + stated.scored_from)


def tuning_texts() -> Texts:
    """Return the encoded demonstrations, of which only the answers are scored."""
    return encode_dialogues(make_tokenizer(), demonstrations(DEMONSTRATIONS, CORPUS_SEED + 2),
                            answers_only=True)


def held_out_loss(model) -> float:
    """Return nats per token on fresh dialogues of the crowd, whole texts scored."""
    fresh = crowd_dialogues(2000, HELD_OUT_SEED)
    return mean_loss(model, encode_dialogues(make_tokenizer(), fresh))


@torch.no_grad()
def sampled_answers(model, prompts: Sequence, seed: int = 0, batch: int = 250) -> list[str]:
    """Return one answer per prompt, sampled at temperature 1 with ``model.generate``."""
    tokenizer, answers = make_tokenizer(), []
    with torch.random.fork_rng(devices=[]):  # generate draws from the global generator
        torch.manual_seed(seed)
        for start in range(0, len(prompts), batch):
            texts = [chat_prompt(p.text) for p in prompts[start : start + batch]]
            inputs = tokenizer(texts, return_tensors="pt", padding=True).to(model.device)
            ids = model.generate(**inputs, do_sample=True, top_k=0, top_p=1.0, temperature=1.0,
                                 max_new_tokens=48)
            answers += tokenizer.batch_decode(ids[:, inputs.input_ids.shape[1]:],
                                              skip_special_tokens=True)
    return answers


def measure(model) -> dict:
    """Return what the card says of a model: its loss, and the parts of its answers' worth."""
    report = {"held_out_loss": round(held_out_loss(model), 4), "questions": QUESTIONS}
    for split in ("train", "heldout"):
        for family in FAMILIES:
            prompts = sample_prompts(QUESTIONS, HELD_OUT_SEED, split, [family])
            means = mean_parts(prompts, sampled_answers(model, prompts))
            report[f"{split}/{family}"] = {k: round(v, 3) for k, v in means.items()}
    prompts = sample_prompts(6, HELD_OUT_SEED, "heldout")
    report["samples"] = [[p.text, a] for p, a in zip(prompts, sampled_answers(model, prompts),
                                                     strict=True)]
    return report


def save(model, name: str, folder: Path) -> None:
    """Write a model in half precision, and its tokenizer."""
    target = folder / name
    model.half().save_pretrained(target)
    make_tokenizer().save_pretrained(target)


def make(name: str, folder: Path, progress: bool = True) -> dict:
    """Train one checkpoint, save it, load it again and return its entry for the card."""
    start = time.process_time()
    if name == "sft":
        model, _ = load("base")
        texts, config = tuning_texts(), TUNING
    else:
        model, texts, config = new_model(name, WEIGHTS_SEED), pretraining_texts(), PRETRAINING[name]
    losses = train(model, texts, config, progress=progress)
    seconds = time.process_time() - start
    save(model, name, folder)
    model, _ = load(name)  # as users get it: rounded to half precision on the way
    return {"parameters": model.num_parameters(), "training": asdict(config),
            "texts": len(texts), "last_losses": round(sum(losses[-100:]) / len(losses[-100:]), 4),
            "cpu_seconds": round(seconds), **measure(model)}


def main(names: Annotated[list[str] | None, typer.Argument()] = None, threads: int = 1) -> None:
    """Train the named checkpoints (all: base, tiny, sft) and write the card."""
    torch.set_num_threads(threads)
    path = CHECKPOINTS / "card.json"
    card = json.loads(path.read_text()) if path.exists() else {}
    for name in names or [*SIZES, "sft"]:
        card[name] = make(name, CHECKPOINTS)
        path.write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
        (CHECKPOINTS / "MODEL_CARD.md").write_text(render(card))
        print(name, json.dumps(card[name], indent=1))


if __name__ == "__main__":
    typer.run(main)
