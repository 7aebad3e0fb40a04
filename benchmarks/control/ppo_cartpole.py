"""CPU seconds and environment steps to a mean return of 475 on CartPole-v1, beside a peer.

Run it with ``python benchmarks/control/ppo_cartpole.py``: it trains on one thread, seed by seed,
each library in turn, and writes ``results.json`` and the table in ``README.md`` beside it.

Solved means: the policy as trained, sampling its actions, earns at least 475 on average over 100
fresh episodes. It is asked every 2,048 environment steps; asking is not counted as training.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from tutorlib.control import PPOConfig, evaluate, train_ppo

HERE = Path(__file__).parent
ENV, SOLVED, EVERY = "CartPole-v1", 475.0, 2_048
BEGIN, END = "<!-- BEGIN TABLE -->", "<!-- END TABLE -->"

OURS = PPOConfig()  # the settings of unit 02
# rl-baselines3-zoo, hyperparams/ppo.yml, entry CartPole-v1 ("tuned"); the rest are SB3's defaults.
ZOO = {"n_envs": 8, "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98,
       "n_epochs": 20, "learning_rate": 1e-3, "clip_range": 0.2, "clip_falls": True,
       "total_steps": 100_000}


@dataclass
class Stopwatch:
    """Counts the CPU seconds of training and asks, now and then, whether it has done its work."""

    seed: int
    cpu: float = 0.0
    wall: float = 0.0
    asked_at: int = 0
    solved_at: int | None = None
    evaluations: list[tuple[int, float]] = field(default_factory=list)

    def start(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def ask(self, steps: int, policy) -> bool:
        """Stop the watch; every EVERY steps evaluate; say whether training is over."""
        self.cpu += time.process_time() - self._cpu
        self.wall += time.perf_counter() - self._wall
        if steps - self.asked_at >= EVERY:
            self.asked_at = steps
            returns = evaluate(ENV, policy, 100, seed=10_000 + self.seed, greedy=False)
            self.evaluations.append((steps, round(float(returns.mean()), 1)))
            if self.evaluations[-1][1] >= SOLVED:
                self.solved_at = steps
        self.start()
        return self.solved_at is not None

    def record(self) -> dict:
        return {"seed": self.seed, "steps": self.solved_at, "cpu_seconds": round(self.cpu, 2),
                "wall_seconds": round(self.wall, 2), "evaluations": self.evaluations}


def run_ours(config: PPOConfig, seed: int) -> dict:
    watch = Stopwatch(seed)
    watch.start()
    train_ppo(ENV, config, seed, callback=lambda entry, policy: watch.ask(entry["steps"], policy))
    return watch.record()


def run_sb3(settings: dict, seed: int) -> dict:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    watch = Stopwatch(seed)
    settings = dict(settings)
    n_envs, total = settings.pop("n_envs"), settings.pop("total_steps")
    rate, clip = settings.pop("learning_rate"), settings.pop("clip_range")
    falling = settings.pop("clip_falls", False)

    class Ask(BaseCallback):
        def _on_step(self) -> bool:
            return watch.solved_at is None

        def _on_rollout_start(self) -> None:  # as ours: after the updates of an iteration
            watch.ask(self.num_timesteps, Sampler(self.model.policy))

    watch.start()
    model = PPO("MlpPolicy", make_vec_env(ENV, n_envs, seed=seed), seed=seed, device="cpu",
                learning_rate=lambda left: left * rate,
                clip_range=(lambda left: left * clip) if falling else clip, **settings)
    model.learn(total, callback=Ask())
    return watch.record()


class Sampler:
    """A stable-baselines3 policy as ``evaluate`` wants it."""

    def __init__(self, policy):
        self.policy = policy

    def sample(self, obs, generator):
        probs = self.policy.get_distribution(obs).distribution.probs
        return torch.multinomial(probs, 1, generator=generator).squeeze(-1)


def as_sb3(config: PPOConfig) -> dict:
    """Return our settings by stable-baselines3's names."""
    return {"n_envs": config.n_envs, "n_steps": config.n_steps, "n_epochs": config.epochs,
            "batch_size": config.minibatch_size, "gae_lambda": config.gae_lambda,
            "gamma": config.discount, "learning_rate": config.learning_rate,
            "clip_range": config.clip, "total_steps": config.total_steps}


def as_ours(settings: dict) -> PPOConfig:
    """Return the zoo's settings by our names."""
    return PPOConfig(n_envs=settings["n_envs"], n_steps=settings["n_steps"],
                     epochs=settings["n_epochs"], minibatch_size=settings["batch_size"],
                     gae_lambda=settings["gae_lambda"], discount=settings["gamma"],
                     learning_rate=settings["learning_rate"], clip=settings["clip_range"],
                     total_steps=settings["total_steps"])


CONTESTANTS = {
    "tutorlib, its settings": lambda seed: run_ours(OURS, seed),
    "tutorlib, the zoo's settings": lambda seed: run_ours(as_ours(ZOO), seed),
    "stable-baselines3, its zoo's settings": lambda seed: run_sb3(ZOO, seed),
    "stable-baselines3, tutorlib's settings": lambda seed: run_sb3(as_sb3(OURS), seed),
}


def table(results: dict) -> str:
    """Return the results as Markdown."""
    lines = [f"| PPO on {ENV}, {len(results['seeds'])} seeds | CPU seconds to 475: median (range) "
             "| environment steps to 475: median (range) | CPU microseconds per step | solved |",
             "|---|---|---|---|---|"]
    for name, runs in results["runs"].items():
        solved = [run for run in runs if run["steps"] is not None]
        cpu = [run["cpu_seconds"] for run in solved]
        steps = [run["steps"] for run in solved]
        each = 1e6 * sum(cpu) / sum(steps) if solved else float("nan")
        lines.append(f"| {name} | {spread(cpu, '.1f')} | {spread(steps, ',')} | {each:.0f} | "
                     f"{len(solved)} of {len(runs)} |")
    return "\n".join(lines)


def spread(values: list[float], form: str) -> str:
    """Return "median (lowest to highest)"."""
    if not values:
        return "not reached"
    middle = statistics.median_high(values)
    return f"{middle:{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = list(range(parser.parse_args().seeds))
    torch.set_num_threads(1)
    warm_up()
    runs: dict[str, list] = {name: [] for name in CONTESTANTS}
    for seed in seeds:
        for name, train in CONTESTANTS.items():
            runs[name].append(train(seed))
            print(f"seed {seed}  {name}: {runs[name][-1]['steps']} steps, "
                  f"{runs[name][-1]['cpu_seconds']} CPU s", flush=True)
    results = {"env": ENV, "solved": SOLVED, "seeds": seeds, "machine": machine(), "runs": runs}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    readme = HERE / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    text = f"{before}{BEGIN}\n{table(results)}\n\n{describe(results['machine'])}\n{END}"
    readme.write_text(text + rest.partition(END)[2], encoding="utf-8")
    print("\n" + table(results))


def warm_up() -> None:
    """Import and compile what both use, so that nobody's first run pays for it."""
    run_ours(PPOConfig(total_steps=1024), 0)
    run_sb3({**ZOO, "total_steps": 512}, 0)


def machine() -> dict:
    packages = ("torch", "gymnasium", "stable-baselines3", "numpy")
    return {"python": platform.python_version(), "system": platform.system(),
            "processor": platform.machine(), "threads": torch.get_num_threads(),
            **{name: version(name) for name in packages}}


def describe(found: dict) -> str:
    """Return the versions as a sentence."""
    return (f"One thread, {found['system']} on {found['processor']}, Python {found['python']}, "
            f"torch {found['torch']}, gymnasium {found['gymnasium']}, stable-baselines3 "
            f"{found['stable-baselines3']}.")


if __name__ == "__main__":
    main()
