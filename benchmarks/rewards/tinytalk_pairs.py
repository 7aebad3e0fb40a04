"""How much of a noisy labeller's taste a reward model learns on TinyTalk, over seeds.

    python benchmarks/rewards/tinytalk_pairs.py            # measure, write results and table
    python benchmarks/rewards/tinytalk_pairs.py --quick    # one small run; writes nothing
    python benchmarks/rewards/tinytalk_pairs.py --go-on    # run what results.json does not have yet
    python benchmarks/rewards/tinytalk_pairs.py --table    # write the table of README.md anew

A seed draws its own training pairs (by TinyTalk's crowd, on training contents), its own held-out
pairs (contents that no training pair asks about), its labels and the order of training. The
labeller is the default one. Each reward gets the same pairs, one pass and the package's default
settings. "Of the lift" is (accuracy - 0.5) / (ceiling - 0.5), with the ceiling of
``labels_ceiling`` on the very pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from tutorlib import rewards, tinytalk

HERE = Path(__file__).parent
MAKERS = {"last token": rewards.RewardModel, "log-ratio": rewards.ImplicitReward}
HELD_OUT, SEEDS = 1000, range(5)
PLAN = (("last token", 3000), ("log-ratio", 3000))  # reward, training pairs


def pairs_of(seed: int, count: int, held_out: int):
    """Return training and held-out pairs of a seed, labelled by the default labeller."""
    judge = tinytalk.Labeller()
    sizes = ((count, "train"), (held_out, "heldout"))
    return [tinytalk.preference_pairs(tinytalk.sample_prompts(n, 100 * seed + 2 * i, split), judge,
                                      100 * seed + 2 * i + 1)
            for i, (n, split) in enumerate(sizes)]


def one_run(name: str, seed: int, count: int, held_out: int, base: str = "base") -> dict:
    """Train one reward; return what it reaches."""
    train, fresh = pairs_of(seed, count, held_out)
    model = MAKERS[name](*tinytalk.load(base))
    start = time.process_time()
    rewards.train_reward_model(model, rewards.encode_labelled(model, train),
                               rewards.RewardSettings(), torch.Generator().manual_seed(seed))
    seconds = time.process_time() - start
    found = rewards.labelled_accuracy(model, fresh)
    ceiling = rewards.labels_ceiling(fresh, tinytalk.Labeller())
    return {"reward": name, "seed": seed, "pairs": count, "accuracy": round(found.value, 4),
            "ceiling": round(ceiling, 4), "of_ceiling": round(found.value / ceiling, 4),
            "of_lift": round((found.value - 0.5) / (ceiling - 0.5), 4),
            "cpu_seconds": round(seconds, 1)}


def table(runs: list[dict]) -> str:
    """Return mean and range over seeds as Markdown."""
    lines = ["| reward | pairs | accuracy | ceiling | of ceiling | of lift | its range | CPU s |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for name, pairs in PLAN:
        mine = [r for r in runs if (r["reward"], r["pairs"]) == (name, pairs)]
        mean = {k: statistics.mean(r[k] for r in mine)
                for k in ("accuracy", "ceiling", "of_ceiling", "of_lift", "cpu_seconds")}
        low, high = (f(r["of_lift"] for r in mine) for f in (min, max))
        lines.append(f"| {name} | {pairs:,} | {mean['accuracy']:.3f} | "
                     f"{mean['ceiling']:.3f} | {mean['of_ceiling']:.0%} | "
                     f"{mean['of_lift']:.0%} | {low:.0%} to {high:.0%} | "
                     f"{mean['cpu_seconds']:.0f} |")
    return "\n".join(lines)


def write_table(runs: list[dict]) -> None:
    """Put the table between the marks in README.md."""
    path = HERE / "README.md"
    before, rest = path.read_text(encoding="utf-8").split("<!-- BEGIN TABLE -->\n")
    after = rest.split("<!-- END TABLE -->")[1]
    path.write_text(f"{before}<!-- BEGIN TABLE -->\n{table(runs)}\n<!-- END TABLE -->{after}",
                    encoding="utf-8")


def main() -> None:
    """Measure, or print a small run, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--go-on", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = HERE / "results.json"
    if arguments.quick:
        print(one_run("log-ratio", 0, 200, 100, "tiny"))
        return
    if not arguments.table:
        runs = json.loads(results.read_text(encoding="utf-8")) if arguments.go_on else []
        done = {(r["reward"], r["pairs"], r["seed"]) for r in runs}
        for name, pairs in PLAN:
            for seed in SEEDS:
                if (name, pairs, seed) in done:
                    continue
                runs.append(one_run(name, seed, pairs, HELD_OUT))
                print(runs[-1], flush=True)
                results.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    write_table(json.loads(results.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
