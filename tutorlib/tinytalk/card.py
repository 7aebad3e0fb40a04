"""The model card of the shipped checkpoints, as text made from measured figures."""

from __future__ import annotations

from collections.abc import Mapping

from tutorlib.tinytalk.gold import PARTS
from tutorlib.tinytalk.prompts import FAMILIES, SPLITS

_HEAD = """# TinyTalk models

Small Llama-shaped language models of an artificial language. Made by
`python -m tutorlib.tinytalk.train` from texts that seeds generate; this page is written by it.

**For** learning and teaching how language models are aligned. **Not for** anything else: they know
some 250 words and one little world. *base* is unaligned on purpose: it is wrong, rude and helps
with made-up misdeeds about as often as the texts that it learned from.

Every figure below is the mean over sampled answers (temperature 1) to {questions} prompts per
family and split, judged by the gold reward; "heldout" prompts ask about content that no training
dialogue contains.
"""


def render(card: Mapping[str, Mapping]) -> str:
    """Return the card in Markdown."""
    sections = [_HEAD.format(questions=next(iter(card.values()))["questions"])]
    for name, entry in sorted(card.items()):
        sections.append("\n".join([f"\n## {name}\n", _facts(entry), "", *_table(entry), "",
                                   *_samples(entry)]))
    return "\n".join(sections) + "\n"


def _facts(entry: Mapping) -> str:
    """Return how a model was made, in one sentence."""
    training = entry["training"]
    return (f"{entry['parameters']:,} parameters; {training['steps']:,} steps of "
            f"{training['batch_size']} texts out of {entry['texts']:,}, learning rate "
            f"{training['learning_rate']:g}, seed {training['seed']}; {entry['cpu_seconds']} CPU "
            f"seconds on one thread. Loss over the last steps {entry['last_losses']:.3f}, on fresh "
            f"dialogues of the crowd {entry['held_out_loss']:.3f} nats a token.")


def _table(entry: Mapping) -> list[str]:
    """Return the parts of the gold reward, family by family."""
    columns = [*PARTS, "gold"]
    rows = [f"| split/family | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    keys = [f"{split}/{family}" for split in SPLITS for family in FAMILIES]
    for key in filter(entry.__contains__, keys):
        rows.append(f"| {key} | {' | '.join(f'{entry[key][c]:.2f}' for c in columns)} |")
    return rows


def _samples(entry: Mapping) -> list[str]:
    """Return some answers to held-out prompts, as they came."""
    return [f"- *{asked}* {said}" for asked, said in entry["samples"]]
