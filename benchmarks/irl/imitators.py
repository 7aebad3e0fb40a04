"""How three imitators learn from one demonstrator: GAIL, AIRL, forward KL on two control tasks.

    python benchmarks/irl/imitators.py            # run what imitators.json lacks
    python benchmarks/irl/imitators.py --fresh    # run everything again

CartPole-v1 has a fixed horizon of 500 steps and a PPO policy as its demonstrator; Pendulum-v1 a
rule that swings up; there imitators begin as clones of it (behaviour cloning), at step 0, except
in "pendulum_alone", which compares (one seed is enough: --seeds 1). Ten episodes of either are all
that they see. On the way each policy is asked for its true return, of 20 fresh episodes: sampling
its actions, and taking the likeliest one. Unit 07 draws the curves and runs one imitator of each
task itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from tutorlib.control import (
    ControlTask,
    IgnoresFlag,
    PPOConfig,
    evaluate,
    record_demonstrations,
    train_ppo,
)
from tutorlib.control.arm import PENDULUM, SwingsUp
from tutorlib.imitation import BCConfig, clone
from tutorlib.irl.adversarial import (
    AdversarialConfig,
    cartpole_ppo,
    pendulum_config,
    train_adversarial,
)

FILE = Path(__file__).with_suffix(".json")
CLONING = BCConfig(max_epochs=60, batch_size=256, validation_fraction=0.0, hidden=(64, 64))
METHODS, SEEDS, POINTS = ("airl", "gail", "forward_kl"), 3, 8

def cartpole_config(method: str) -> AdversarialConfig:
    """Return the package's settings for CartPole, for 40,960 steps."""
    return AdversarialConfig(method=method, ppo=cartpole_ppo(method, 40_960))


TASKS = {"cartpole": (ControlTask("CartPole-v1", 500, 8), cartpole_config),
         "pendulum": (ControlTask(PENDULUM), pendulum_config),
         "pendulum_alone": (ControlTask(PENDULUM), pendulum_config)}  # without a clone


def demonstrations(name: str):
    """Return ten episodes of the task's demonstrator, who samples its actions."""
    task, _ = TASKS[name]
    if name != "cartpole":
        return record_demonstrations(task, SwingsUp(), 10, seed=1, greedy=False)
    teacher = train_ppo("CartPole-v1", PPOConfig(total_steps=40_960), seed=0).policy
    return record_demonstrations(task, IgnoresFlag(teacher), 10, seed=1, greedy=False)


def run(name: str, method: str, seed: int, demos) -> dict:
    """Imitate once; return the curve and the CPU seconds that training took."""
    task, make = TASKS[name]
    config = make(method)
    each = config.ppo.n_envs * config.ppo.n_steps
    every = config.ppo.total_steps // each // POINTS
    found = {"seed": seed, "steps": [], "sampled": [], "likeliest": []}
    asking = 0.0

    def ask(steps, policy):
        nonlocal asking
        begun = time.process_time()
        found["steps"].append(steps)
        for kind, greedy in (("sampled", False), ("likeliest", True)):
            earned = evaluate(task, policy, 20, seed=5, greedy=greedy).mean()
            found[kind].append(round(float(earned), 1))
        asking += time.process_time() - begun

    def watch(entry, policy):
        if entry["steps"] // each % every == 0:
            ask(entry["steps"], policy)

    start = clone(task, demos, CLONING, seed).policy if name == "pendulum" else None
    if start is not None:
        ask(0, start)
    asking, begun = 0.0, time.process_time()
    train_adversarial(task, demos, config, seed, callback=watch, start=start)
    return found | {"cpu_seconds": round(time.process_time() - begun - asking, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="forget imitators.json")
    parser.add_argument("--only", choices=TASKS, nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    kept = {} if asked.fresh or not FILE.exists() else json.loads(FILE.read_text())["tasks"]
    for name in asked.only:
        demos = demonstrations(name)
        entry = kept.setdefault(name, {"runs": {}})
        entry["demonstrator"] = round(float(demos.returns().mean()), 1)
        for seed, method in ((s, m) for s in range(asked.seeds) for m in METHODS):
            runs = entry["runs"].setdefault(method, [])
            if seed not in [found["seed"] for found in runs]:
                runs.append(run(name, method, seed, demos))
                print(name, method, json.dumps(runs[-1]), flush=True)
                write(kept)


def write(tasks: dict) -> None:
    """Put the results into imitators.json."""
    machine = {"python": platform.python_version(), "system": platform.system(),
               "processor": platform.machine(), "threads": torch.get_num_threads(),
               **{name: version(name) for name in ("torch", "gymnasium", "numpy")}}
    FILE.write_text(json.dumps({"machine": machine, "tasks": tasks}, indent=1) + "\n",
                    encoding="utf-8")


if __name__ == "__main__":
    main()
