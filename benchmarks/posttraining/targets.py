"""How far each method lifts TinyTalk's base model, on prompts that it did not train on.

    python benchmarks/posttraining/targets.py            # run what targets.json lacks
    python benchmarks/posttraining/targets.py --fresh    # run everything again
    python benchmarks/posttraining/targets.py --quick    # a minute: prints, and writes nothing
    python benchmarks/posttraining/targets.py --table    # write the table of README.md anew

Each run starts from "base", learns on 2,000 training prompts, and is judged by the gold reward of
four sampled answers to each of 250 held-out prompts. ``share`` is of the gap between the base
model and the best of 64 of its answers by gold reward. RLOO and PPO see the gold reward itself;
DPO sees choices of a labeller who is right in about five of six. ``labels`` counts what was asked:
rewards, or choices. Seconds are CPU seconds of one thread, with sampling and labelling; ``kl`` is
of whole answers to the base model, in nats, k1 on the held-out answers. Units 16 and 17 print them.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from tutorlib import posttraining as pt
from tutorlib import tinytalk
from tutorlib.lm import SamplingSettings, encode_prompts, sample, sequence_logps
from tutorlib.tinytalk.tokenizer import chat_prompt

FILE = Path(__file__).with_suffix(".json")
SAMPLING = SamplingSettings(max_new_tokens=40)
LABELLER = tinytalk.Labeller()
SEEDS = 5

RLOO = pt.PolicyGradientSettings(
    steps=80, prompts_per_step=16, sampling=replace(SAMPLING, num_generations=8),
    learning_rate=5e-4, beta=0.05, add_special_tokens=False)
PPO = pt.TokenPPOSettings(
    steps=30, prompts_per_step=128, minibatch_size=32, passes=2, sampling=SAMPLING,
    learning_rate=5e-4, beta=0.05, add_special_tokens=False)
DPO = pt.DirectSettings(beta=0.5, learning_rate=5e-4, batch_size=64, epochs=2)
LOW_BETA = replace(DPO, beta=0.2)  # seeds differ more than methods do: see targets.json
WITH_SFT = replace(DPO, beta=0.3, sft_weight=0.5)  # the chosen answers may not become unlikely
ONLINE = pt.OnlineSettings(
    rounds=40, prompts_per_round=128, sampling=replace(SAMPLING, num_generations=2),
    direct=pt.DirectSettings(beta=0.1, learning_rate=5e-4, batch_size=32, schedule="constant"),
    add_special_tokens=False)
OVERFITTING = replace(DPO, epochs=4, schedule="constant")


@dataclass(frozen=True)
class World:
    """The base model, what it is asked, and who judges it."""

    model: torch.nn.Module
    tokenizer: object
    train: list[tinytalk.Prompt]
    test: list[tinytalk.Prompt]
    pairs: int  # that the labeller compares for the offline methods

    def __post_init__(self):
        """Remember which prompt a text belongs to."""
        object.__setattr__(self, "by_text", {chat_prompt(p.text): p
                                             for p in [*self.train, *self.test]})

    def reward(self, texts, answers) -> list[float]:
        """Return the gold reward of answers to prompts given as text."""
        return [tinytalk.gold_reward(self.by_text[text], answer)
                for text, answer in zip(texts, answers, strict=True)]

    @property
    def texts(self) -> list[str]:
        """The training prompts as the model reads them."""
        return [chat_prompt(p.text) for p in self.train]

    def answers(self, model, prompts, generator, each: int):
        """Return sampled answers, ``each`` to a prompt, side by side, and all as tokens."""
        batch = encode_prompts(self.tokenizer, [chat_prompt(p.text) for p in prompts],
                               add_special_tokens=False)
        drawn = sample(model, *batch, replace(SAMPLING, num_generations=each), generator)
        rows = [part.repeat_interleave(each, 0) for part in batch]
        return drawn.texts(self.tokenizer), (*rows, drawn.completion_ids, drawn.completion_mask)


def make_world(prompts: int = 2000, tests: int = 250, pairs: int = 4000) -> World:
    """Return the world that all methods share."""
    return World(*tinytalk.load("base"), tinytalk.sample_prompts(prompts, seed=1),
                 tinytalk.sample_prompts(tests, seed=2, split="heldout"), pairs)


def judge(world: World, model, seed: int, each: int = 4) -> dict[str, float]:
    """Return mean parts, length in words and KL of a model's answers to held-out prompts."""
    generator = torch.Generator().manual_seed(1000 + seed)
    answers, tokens = world.answers(model, world.test, generator, each)
    prompts = [p for p in world.test for _ in range(each)]
    found = tinytalk.mean_parts(prompts, answers)
    with torch.no_grad():
        kl = sequence_logps(model, *tokens) - sequence_logps(world.model, *tokens)
    return found | {"length": sum(len(a.split()) for a in answers) / len(answers),
                    "kl": kl.mean().item()}


def averaged(world: World, model) -> dict[str, float]:
    """Return what ``judge`` says of a fixed model, the mean over as many samplings as seeds."""
    rows = [judge(world, model, seed) for seed in range(SEEDS)]
    return {key: sum(row[key] for row in rows) / SEEDS for key in rows[0]}


def best_of(world: World, count: int, seed: int) -> dict[str, float]:
    """Return the mean parts of the best of ``count`` answers of the base model, by gold reward."""
    best, generator = [], torch.Generator().manual_seed(2000 + seed)
    for prompt in world.test:
        answers, _ = world.answers(world.model, [prompt], generator, count)
        best.append(max(answers, key=lambda a, p=prompt: tinytalk.gold_reward(p, a)))
    return tinytalk.mean_parts(world.test, best) | {
        "length": sum(len(a.split()) for a in best) / len(best)}


def labelled(world: World, seed: int) -> list[tinytalk.Preference]:
    """Return pairs of the base model's own answers in the labeller's order."""
    generator, pairs = torch.Generator().manual_seed(3000 + seed), []
    asked = [world.train[i % len(world.train)] for i in range(world.pairs)]
    for start in range(0, len(asked), 500):
        part = asked[start:start + 500]
        answers, _ = world.answers(world.model, part, generator, 2)
        pairs += [(p, a, b) for p, a, b in zip(part, answers[::2], answers[1::2], strict=True)
                  if a != b]
    return tinytalk.label_pairs(pairs, LABELLER, seed)


def encoded(world: World, preferences) -> list[pt.PreferencePair]:
    """Return labelled pairs as tokens."""
    return pt.encode_preferences(
        world.tokenizer, [chat_prompt(p.prompt.text) for p in preferences],
        [p.chosen for p in preferences], [p.rejected for p in preferences],
        add_special_tokens=False)


def rloo(world: World, model, seed: int, settings=RLOO):
    """Train on the gold reward; return the records and the rewards asked for."""
    history = pt.train_policy_gradient(model, world.tokenizer, world.texts, world.reward, settings,
                                       torch.Generator().manual_seed(seed))
    return history, len(history) * settings.prompts_per_step * settings.sampling.num_generations


def ppo(world: World, model, seed: int, settings=PPO):
    """Train on the gold reward; return the records and the rewards asked for."""
    history = pt.train_token_ppo(model, world.tokenizer, world.texts, world.reward, settings,
                                 torch.Generator().manual_seed(seed))
    return history, len(history) * settings.prompts_per_step


def offline_dpo(world: World, model, seed: int, settings=DPO):
    """Train on choices between answers of the base model."""
    preferences = labelled(world, seed)
    history = pt.train_direct(model, encoded(world, preferences), settings,
                              torch.Generator().manual_seed(seed))
    return history, len(preferences)


def iterative_dpo(world: World, model, seed: int, settings=ONLINE):
    """Train on choices between answers of the policy itself, round by round."""
    rng, asked = random.Random(seed), []

    def choose(texts, first, second):
        asked.extend(texts)
        return [1.0 if rng.random() < LABELLER.probability(world.by_text[t], a, b) else -1.0
                for t, a, b in zip(texts, first, second, strict=True)]

    history = pt.train_direct_online(model, world.tokenizer, world.texts, choose, settings,
                                     torch.Generator().manual_seed(seed))
    return history, len(asked)


METHODS: dict[str, tuple[Callable, object]] = {
    "RLOO": (rloo, RLOO), "PPO": (ppo, PPO), "offline DPO": (offline_dpo, DPO),
    "offline DPO, low beta": (offline_dpo, LOW_BETA), "offline DPO + SFT": (offline_dpo, WITH_SFT),
    "iterative DPO": (iterative_dpo, ONLINE)}


def run(world: World, name: str, seed: int, settings=None) -> dict:
    """Train one copy of the base model, judge it, and return a row with its learning curve."""
    train, usual = METHODS[name]
    model, start = copy.deepcopy(world.model), time.process_time()
    history, labels = train(world, model, seed, settings or usual)
    seconds = time.process_time() - start
    return {"seed": seed, **judge(world, model, seed), "seconds": seconds, "labels": labels,
            "curve": curve(history)}


def curve(history: list[dict], points: int = 40) -> dict[str, list[float]]:
    """Return some 40 places of a history, each the mean of the records since the one before."""
    size = max(1, len(history) // points)
    parts = [history[i:i + size] for i in range(0, len(history), size)]
    keys = [k for k in ("reward", "kl", "entropy", "length", "loss", "accuracy", "margin",
                        "chosen_logps", "rejected_logps") if k in history[0]]
    return {"step": [i * size for i in range(len(parts))],
            **{k: [round(sum(r[k] for r in p) / len(p), 4) for p in parts] for k in keys}}


def overfit(world: World, seed: int, settings=OVERFITTING) -> dict:
    """Train DPO for too long, and look at it after each epoch."""
    preferences = labelled(world, seed)
    pairs, model = encoded(world, preferences), copy.deepcopy(world.model)
    cut = len(pairs) * 9 // 10
    keys = ("held_out_loss", "held_out_accuracy", "train_loss", "train_accuracy", "chosen_logps",
            "rejected_logps")
    found = {key: [] for key in ("gold", "truth", "helpfulness", "kl", *keys)}
    epoch_records = []

    def look(record: dict) -> None:
        epoch_records.append(record)
        if "held_out_loss" not in record:
            return
        means = {k: sum(r[k] for r in epoch_records) / len(epoch_records)
                 for k in ("loss", "accuracy", "chosen_logps", "rejected_logps")}
        means |= {"train_loss": means["loss"], "train_accuracy": means["accuracy"]}
        epoch_records.clear()
        row = means | record | judge(world, model, seed)
        row |= {k: means[k] for k in ("chosen_logps", "rejected_logps")}
        for key in found:
            found[key].append(row[key])

    pt.train_direct(model, pairs[:cut], settings, torch.Generator().manual_seed(seed),
                    held_out=pairs[cut:], report=look)
    return {"seed": seed, "epochs": list(range(1, settings.epochs + 1)), **found}


def interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % t-interval; 0 for one value."""
    from scipy.stats import t  # here, or --quick would wait for it

    mean, n = sum(values) / len(values), len(values)
    if n == 1:
        return mean, 0.0
    spread = (sum((v - mean) ** 2 for v in values) / (n - 1)) ** 0.5
    return mean, float(t.ppf(0.975, n - 1)) * spread / n ** 0.5


def table(found: dict) -> str:
    """Return the rows of methods, with 95 % intervals over seeds, as a Markdown table."""
    keys = ("gold", "truth", "harmlessness", "tone", "length", "kl", "seconds", "labels")
    lines = ["| method | share of the gap | " + " | ".join(keys) + " |", "|---" * 10 + "|"]
    for name in ("base", "sft", "best_of_64"):
        cells = [f"{found[name][k]:.2f}" if k in found[name] else "" for k in keys]
        lines.append(f"| {name.replace('_', ' ')} | | " + " | ".join(cells) + " |")
    for name, method in found["methods"].items():
        runs = method["runs"]
        cells = [_cell(k, [r[k] for r in runs]) for k in keys]
        share = interval([100 * share_of(found, r) for r in runs])
        lines.append(f"| {name} ({len(runs)} seeds) | {share[0]:.0f} ± {share[1]:.0f} % | "
                     + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(key: str, values: list[float]) -> str:
    """Return a mean with its interval in digits that suit it."""
    mean, half = interval(values)
    digits = {"seconds": 0, "labels": 0, "length": 1}.get(key, 2)
    return f"{mean:,.{digits}f} ± {half:,.{digits}f}" if half else f"{mean:,.{digits}f}"


def share_of(found: dict, run: dict) -> float:
    """Return how much of the gap from base to the best of 64 a run has closed."""
    base, best = found["base"]["gold"], found["best_of_64"]["gold"]
    return (run["gold"] - base) / (best - base)


def load(fresh: bool) -> dict:
    """Return what is known already."""
    if FILE.exists() and not fresh:
        return json.loads(FILE.read_text())
    return {"methods": {}, "overfitting": {"settings": repr(OVERFITTING), "runs": []}}


def save(found: dict) -> None:
    """Write what is known, with the machine that it was measured on."""
    found["machine"] = {"processor": platform.processor() or platform.machine(),
                        "python": platform.python_version(), "torch": version("torch"),
                        "threads": torch.get_num_threads()}
    text = json.dumps(rounded(found), indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda row: " ".join(row[0].split()), text)  # a curve a line
    FILE.write_text(text + "\n")


def rounded(value):
    """Return numbers with five digits behind the point, for a file that can be read."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, 5) if isinstance(value, float) else value


def measure(fresh: bool, seeds: int, methods: list[str]) -> None:
    """Run what is missing, and save after each run."""
    world, found = make_world(), load(fresh)
    if "base" not in found:
        found |= {"base": averaged(world, world.model), "best_of_64": best_of(world, 64, 0),
                  "sft": averaged(world, tinytalk.load("sft")[0])}
        save(found)
    for seed in range(seeds):
        for name in methods:
            method = found["methods"].setdefault(
                name, {"settings": repr(METHODS[name][1]), "runs": []})
            if seed in [r["seed"] for r in method["runs"]]:
                continue
            method["runs"].append(run(world, name, seed))
            save(found)
            row = method["runs"][-1]
            print(f"{name}, seed {seed}: gold {row['gold']:.2f}, share {share_of(found, row):.2f}, "
                  f"KL {row['kl']:.1f}, {row['seconds']:.0f} CPU s", flush=True)
    for seed in range(seeds):
        runs = found["overfitting"]["runs"]
        if seed not in [r["seed"] for r in runs]:
            found["overfitting"]["settings"] = repr(OVERFITTING)
            runs.append(overfit(world, seed))
            save(found)
            print("overfitting, gold by epoch:", [f"{g:.2f}" for g in runs[-1]["gold"]], flush=True)


def quick() -> dict:
    """Return a very small run of everything, to see that it works."""
    world = make_world(prompts=40, tests=20, pairs=40)
    short = {"RLOO": replace(RLOO, steps=2), "PPO": replace(PPO, steps=2, prompts_per_step=16),
             "iterative DPO": replace(ONLINE, rounds=2)}
    short |= {name: replace(settings, epochs=1) for name, (train, settings) in METHODS.items()
              if train is offline_dpo}
    found = {"base": judge(world, world.model, 0), "best_of_64": best_of(world, 8, 0),
             "sft": judge(world, tinytalk.load("sft")[0], 0)}
    found["methods"] = {name: {"settings": repr(s), "runs": [run(world, name, 0, s)]}
                        for name, s in short.items()}
    found["overfitting"] = {"runs": [overfit(world, 0, replace(OVERFITTING, epochs=2))]}
    return found


def write_table(found: dict) -> None:
    """Put the table between README's two marks."""
    readme = FILE.with_name("README.md")
    before, rest = readme.read_text(encoding="utf-8").split("<!-- table -->\n")
    after = rest.split("<!-- end of table -->")[1]
    readme.write_text(f"{before}<!-- table -->\n{table(found)}\n<!-- end of table -->{after}",
                      encoding="utf-8")


def main() -> None:
    """Measure, or print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.quick:
        print(table(quick()))
    else:
        if not arguments.table:
            measure(arguments.fresh, arguments.seeds, arguments.methods)
        write_table(load(False))
        print(table(load(False)))


if __name__ == "__main__":
    main()
