"""Every method beside the exact optimum: regret, KL and distance to pi* over training, on a tree.

    python benchmarks/posttraining/tree.py            # train all; writes tree.json and the table
    python benchmarks/posttraining/tree.py --table    # write the table of README.md anew

TinyTalk's "tiny" answers "what color is the sky" with up to three words of seven: 259 answers,
each with its gold reward and its probability, so J = E[r] - beta KL(pi || pi_ref), its optimum pi*
and the regret J(pi*) - J(pi) = beta KL(pi || pi*) are sums and no estimates (unit 17). A method
sees 480 answers and takes 60 gradient steps. Online ones draw from the policy and see the gold
reward, pay the KL, and take a step per 8 answers (PPO: four passes over 32); iterative DPO has 4
pairs of its own answers a step. Offline ones see 240 pairs of the reference's answers, labelled
once by Bradley-Terry with the gold reward, 32 pairs a step; "all pairs" is DPO's loss without
sampling. Each method has the best of three learning rates by its last regret on a seed of its own.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from targets import interval
from torch import Tensor

from tutorlib import posttraining as pt
from tutorlib import tinytalk
from tutorlib.lm import TokenTree
from tutorlib.tinytalk.tokenizer import chat_prompt

FILE = Path(__file__).with_suffix(".json")
WORDS = ["blue", "white", "green", "gray", "yellow", ".", "<eos>"]
BETAS, STEPS, EVERY, SEEDS = (0.5, 2.0), 60, 4, 5
PER_STEP, OFFLINE_PAIRS, BATCH = 8, 240, 32  # answers, pairs, pairs of a step
RATES, TUNING_SEED = (3e-4, 1e-3, 3e-3), 100
PPO_ANSWERS, PPO_PASSES, PPO_CLIP = 32, 4, 0.2


@dataclass(frozen=True)
class World:
    """A tree, what its answers earn, and the model that gives them."""

    model: torch.nn.Module
    tree: TokenTree
    gold: Tensor  # [leaves]
    beta: float

    @cached_property
    def reference(self) -> Tensor:
        """log pi_ref of each answer."""
        return self.tree.leaf_logps()

    @cached_property
    def lengths(self) -> Tensor:
        """Tokens of each answer."""
        return self.tree.completion_mask.sum(1)

    def labelled(self, a: Tensor, b: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return (chosen, rejected) of pairs of leaves, one Bradley-Terry label each."""
        a, b = a[a != b], b[a != b]
        level = torch.rand(len(a), generator=generator, dtype=torch.float64)
        first = level < torch.sigmoid(self.gold[a] - self.gold[b])
        return torch.where(first, a, b), torch.where(first, b, a)


def make_world(beta: float, words: list[str] = WORDS, horizon: int = 3) -> World:
    """Return the sky and its colours."""
    model, tokenizer = tinytalk.load("tiny")
    sky = tinytalk.Prompt("facts", ("color", "sky"))
    tree = TokenTree(model, chat_prompt(sky.text) + " the sky is", words, horizon, tokenizer)
    said = [f"the sky is {text.removesuffix('<eos>').strip()}" for text in tree.texts()]
    gold = torch.tensor([tinytalk.gold_reward(sky, text) for text in said])
    return World(model, tree, gold.double(), beta)


# A method yields losses: it is handed the policy's tables, with their graph, before each step.
Losses = Callable[[World, torch.nn.Module, torch.Generator], Generator[Tensor, tuple, None]]


def policy_gradient(world: World, model, generator, baseline: str, normalise: bool = False):
    """Yield losses of answers drawn now, the KL inside the reward."""
    past, policy = pt.MovingAverage(), (yield)
    while True:
        logps = world.tree.leaf_logps(policy)
        y = world.tree.sample(PER_STEP, generator, policy)
        rewards = world.gold[y] - world.beta * (logps.detach() - world.reference)[y]
        greedy = world.gold[logps.argmax()].view(1)
        advantages = pt.sequence_advantages(rewards[None], baseline, past.value, greedy)[0]
        past.update(float(rewards.mean()))
        if normalise:
            advantages = pt.normalise_masked(advantages, torch.ones_like(advantages))
        policy = yield -(advantages * logps[y]).mean()


def ppo(world: World, model, generator):
    """Yield PPO's losses: a batch, four clipped steps, a critic that learns beside the policy."""
    tree, policy, critic = world.tree, (yield), pt.ValueModel(model)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-3)
    while True:
        y = tree.sample(PPO_ANSWERS, generator, policy)
        mask = tree.completion_mask[y]
        prompt = torch.tensor([tree.prompt_ids]).expand(len(y), -1)
        rows = (prompt, torch.ones_like(prompt), tree.completion_ids[y], mask)
        old = tree.along(policy)[y].detach()
        with torch.no_grad():
            values = critic(*rows).double()
            rewards = pt.token_rewards(world.gold[y], old - tree.along(tree.reference)[y], mask,
                                       world.beta)
            advantages = pt.token_gae(rewards, values, mask)
        returns, advantages = advantages + values, pt.normalise_masked(advantages, mask)
        for _ in range(PPO_PASSES):
            error = pt.value_loss(critic(*rows).double(), values, returns, mask)
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            logps = tree.along(policy)[y]
            policy = yield pt.ratio_loss(logps, old, mask, advantages, PPO_CLIP)[0]


def offline(world: World, model, generator, loss: Callable):
    """Yield losses of pairs of the reference, labelled once."""
    policy = yield
    a, b = world.tree.sample(4 * OFFLINE_PAIRS, generator).view(2, -1)
    chosen, rejected = (x[:OFFLINE_PAIRS] for x in world.labelled(a, b, generator))
    while True:
        for rows in torch.randperm(len(chosen), generator=generator).split(BATCH):
            policy = yield loss(world, world.tree.leaf_logps(policy), chosen[rows], rejected[rows])


def iterative(world: World, model, generator, loss: Callable):
    """Yield losses of pairs that the policy has just drawn."""
    policy = yield
    while True:
        a, b = world.tree.sample(PER_STEP, generator, policy).view(2, -1)
        pairs = world.labelled(a, b, generator)
        logps = world.tree.leaf_logps(policy)
        policy = yield loss(world, logps, *pairs) if len(pairs[0]) else 0 * logps.sum()


def all_pairs(world: World, model, generator):
    """Yield DPO's loss over all pairs at once."""
    policy = yield
    while True:
        policy = yield pt.expected_dpo_loss(world.tree, policy, world.gold, world.beta)


def paired(loss: Callable) -> Callable:
    """Return a loss of pairs that has a reference, and a price of its KL."""
    return lambda world, logps, good, bad: loss(
        logps[good], logps[bad], world.reference[good], world.reference[bad], world.beta).mean()


def lengthwise(loss: Callable) -> Callable:
    """Return a loss of pairs that has lengths in the reference's place, with its own defaults."""
    return lambda world, logps, good, bad: loss(
        logps[good], logps[bad], world.lengths[good], world.lengths[bad]).mean()


def kto(world: World, logps: Tensor, good: Tensor, bad: Tensor) -> Tensor:
    """Return KTO's loss of both answers of each pair, one judged good and one bad.

    KTO estimates its reference point, KL(pi || pi_ref); here it is known.
    """
    point = float((logps.detach().exp() * (logps.detach() - world.reference)).sum())
    y = torch.cat([good, bad])
    return pt.kto_loss(logps[y], world.reference[y], torch.arange(len(y)) < len(good),
                       max(0.0, point), beta=world.beta).mean()


METHODS: dict[str, Losses] = {
    "REINFORCE, moving average": partial(policy_gradient, baseline="moving_average"),
    "ReMax": partial(policy_gradient, baseline="greedy"),
    "RLOO": partial(policy_gradient, baseline="leave_one_out"),
    "GRPO-style": partial(policy_gradient, baseline="leave_one_out", normalise=True),
    "PPO": ppo,
    "iterative DPO": partial(iterative, loss=paired(pt.dpo_loss)),
    "DPO": partial(offline, loss=paired(pt.dpo_loss)),
    "IPO": partial(offline, loss=paired(pt.ipo_loss)),
    "KTO": partial(offline, loss=kto),
    "SimPO": partial(offline, loss=lengthwise(pt.simpo_loss)),
    "ORPO": partial(offline, loss=lengthwise(pt.orpo_loss)),
    "DPO, all pairs": all_pairs,
}


def train(world: World, method: str, seed: int, rate: float, steps: int = STEPS) -> dict:
    """Train a copy of the model; return exact measures over training."""
    start, model = time.process_time(), copy.deepcopy(world.model)
    losses = METHODS[method](world, model, torch.Generator().manual_seed(seed))
    next(losses)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    track = {"step": [], "regret": [], "kl": [], "kl_to_optimum": []}
    for step in range(steps + 1):
        policy = world.tree.policy_of(model, differentiable=True)
        if step % EVERY == 0 or step == steps:
            gap = pt.policy_gap(world.tree, [t.detach() for t in policy], world.gold, world.beta)
            for name, values in track.items():
                values.append(step if name == "step" else round(gap[name], 6))
        if step < steps:
            optimizer.zero_grad()
            losses.send(policy).backward()
            optimizer.step()
    return {"seed": seed, **track, "seconds": round(time.process_time() - start, 2)}


def likeliest(world: World) -> dict:
    """Return the answer with most gold reward, and its chance under pi_ref and pi*."""
    leaf = int(world.gold.argmax())
    best = world.tree.leaf_logps(world.tree.solve(world.gold, world.beta).policy)
    return {"answer": world.tree.texts()[leaf], "reference": float(world.reference[leaf].exp()),
            "optimum": float(best[leaf].exp())}


def measure(world: World) -> dict:
    """Return all runs, each method at its best learning rate."""
    plan = world.tree.solve(world.gold, world.beta)
    found = {"answers": world.tree.n_leaves, "beta": world.beta,
             "kl_of_optimum": float(world.tree.kl(plan.policy)), "likeliest": likeliest(world),
             "methods": {}}
    for method in METHODS:
        tried = {rate: train(world, method, TUNING_SEED, rate)["regret"][-1] for rate in RATES}
        rate = min(tried, key=tried.get)
        seeds = range(1 if method == "DPO, all pairs" else SEEDS)  # nothing random in it
        runs = [train(world, method, seed, rate) for seed in seeds]
        found["methods"][method] = {"learning_rate": rate, "tried": tried, "runs": runs}
        print(f"{method:<26} rate {rate:g}, regret at the end",
              [round(run["regret"][-1], 3) for run in runs], flush=True)
    return found


def with_interval(values: list[float]) -> str:
    """Return a mean and its interval as text."""
    mean, half = interval(values)
    return f"{mean:.3f} ± {half:.3f}" if half else f"{mean:.3f}"


def table(found: dict) -> str:
    """Return the table of one beta for README.md."""
    first, top = next(iter(found["methods"].values()))["runs"][0], found["likeliest"]
    lines = [f"**β = {found['beta']:g}.** Before training the regret is {first['regret'][0]:.3f}. "
             f"π* has a KL of {found['kl_of_optimum']:.3f} nats to π_ref and says "
             f"\"{top['answer']}\" with {100 * top['optimum']:.1f} %, π_ref with "
             f"{100 * top['reference']:.1f} %.", "",
             "| method | learning rate | regret at the end | lowest, at step | KL to π_ref | "
             "KL to π* |", "|---|---:|---:|---:|---:|---:|"]
    for method, about in found["methods"].items():
        runs = about["runs"]
        mean = torch.tensor([run["regret"] for run in runs]).mean(0)
        low = int(mean.argmin())
        ends = [with_interval([run[name][-1] for run in runs])
                for name in ("regret", "kl", "kl_to_optimum")]
        lines.append(f"| {method} | {about['learning_rate']:g} | {ends[0]} | {mean[low]:.3f}, "
                     f"{runs[0]['step'][low]} | {ends[1]} | {ends[2]} |")
    return "\n".join(lines)


def write_table() -> None:
    """Put the table into README.md."""
    page = FILE.with_name("README.md")
    tables = "\n\n".join(map(table, json.loads(FILE.read_text(encoding="utf-8"))))
    text = re.sub(r"(<!-- tree -->\n).*(<!-- end of tree -->)",
                  lambda m: f"{m[1]}{tables}\n{m[2]}",
                  page.read_text(encoding="utf-8"), flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Run as the module says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--table", action="store_true")
    if not parser.parse_args().table:
        torch.set_num_threads(1)
        found = [measure(make_world(beta)) for beta in BETAS]
        FILE.write_text(json.dumps(found) + "\n", encoding="utf-8")
    write_table()


if __name__ == "__main__":
    main()
