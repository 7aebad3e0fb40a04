"""CPU seconds until GAIL and AIRL balance CartPole from demonstrations, ours and a peer's.

    python benchmarks/irl/adversarial.py            # run what adversarial.json lacks
    python benchmarks/irl/adversarial.py --fresh    # run everything again

The peer is `imitation`, with the settings of its documented examples. Everyone gets the same 60
demonstrations of 500 steps and one thread. Solved means: the policy as trained, sampling its
actions, earns at least 475 on average over 100 fresh episodes of CartPole-v1. It is asked between
rounds of training; asking is not counted. Who has used LIMIT CPU seconds has failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from tutorlib.control import (
    ControlDemonstrations,
    ControlTask,
    evaluate,
    record_demonstrations,
    train_ppo,
)
from tutorlib.irl.adversarial import CARTPOLE_PPO, AdversarialConfig, train_adversarial

HERE = Path(__file__).parent
FILE = HERE / "adversarial.json"
ENV, HORIZON, SOLVED, LIMIT, SEEDS = "CartPole-v1", 500, 475.0, 600.0, 5
TASK = ControlTask(ENV, fixed_horizon=HORIZON, absorbing_steps=8)
BEGIN, END = "<!-- BEGIN ADVERSARIAL -->", "<!-- END ADVERSARIAL -->"

# docs/tutorials/3_train_gail.ipynb and 4_train_airl.ipynb of imitation; the rest are defaults, of
# stable-baselines3's PPO (n_steps 2048) and of imitation (Adam's 1e-3 for the discriminator).
PEER = {
    "gail": {"ppo": {"batch_size": 64, "ent_coef": 0.0, "learning_rate": 0.0004, "gamma": 0.95,
                     "n_epochs": 5},
             "trainer": {"demo_batch_size": 1024, "gen_replay_buffer_capacity": 512,
                         "n_disc_updates_per_round": 8}},
    "airl": {"ppo": {"batch_size": 64, "ent_coef": 0.0, "learning_rate": 0.0005, "gamma": 0.95,
                     "clip_range": 0.1, "vf_coef": 0.1, "n_epochs": 5},
             "trainer": {"demo_batch_size": 2048, "gen_replay_buffer_capacity": 512,
                         "n_disc_updates_per_round": 16}},
}
PEER_ENVS = 8


@dataclass
class Stopwatch:
    """Counts the CPU seconds of training and asks whether it has done its work."""

    seed: int
    cpu: float = 0.0
    solved_at: int | None = None
    evaluations: list[tuple[int, float]] = field(default_factory=list)

    def start(self) -> None:
        self._started = time.process_time()

    def ask(self, steps: int, policy) -> bool:
        """Stop the watch, evaluate, go on; say whether training is over."""
        self.cpu += time.process_time() - self._started
        earned = evaluate(ENV, policy, 100, seed=10_000 + self.seed, greedy=False).mean()
        self.evaluations.append((steps, round(float(earned), 1)))
        if earned >= SOLVED:
            self.solved_at = steps
        self.start()
        return self.solved_at is not None or self.cpu >= LIMIT

    def record(self) -> dict:
        return {"seed": self.seed, "steps": self.solved_at, "cpu_seconds": round(self.cpu, 2),
                "evaluations": self.evaluations}


def demonstrations() -> ControlDemonstrations:
    """Return 60 episodes of a trained policy that balances for all 500 steps."""
    expert = train_ppo(ENV, seed=0).policy
    demos = record_demonstrations(ENV, expert, 100, seed=1, greedy=False)
    whole = (demos.returns() == HORIZON).nonzero()[:60, 0]
    if len(whole) < 60:
        raise SystemExit(f"only {len(whole)} of 100 episodes lasted {HORIZON} steps")
    return demos[whole]


class WithoutFlag:
    """A policy of the task with a fixed horizon, asked in the plain one: not yet absorbed."""

    def __init__(self, policy):
        self.policy = policy

    def sample(self, obs, generator):
        return self.policy.sample(torch.nn.functional.pad(obs, (0, 1)), generator)


class Sampler:
    """A stable-baselines3 policy as ``evaluate`` wants it."""

    def __init__(self, policy):
        self.policy = policy

    def sample(self, obs, generator):
        probs = self.policy.get_distribution(obs).distribution.probs
        return torch.multinomial(probs, 1, generator=generator).squeeze(-1)


class Over(Exception):
    """Training has reached its goal or its limit."""


def run_peer(method: str, demos: ControlDemonstrations, seed: int) -> dict:
    """Train as imitation's documentation shows, in its CartPole of fixed length."""
    import seals  # noqa: F401  (registers the environment)
    from imitation.algorithms.adversarial.airl import AIRL
    from imitation.algorithms.adversarial.gail import GAIL
    from imitation.rewards.reward_nets import BasicRewardNet, BasicShapedRewardNet
    from imitation.util import logger
    from imitation.util.networks import RunningNorm
    from imitation.util.util import make_vec_env
    from stable_baselines3 import PPO

    torch.manual_seed(seed)
    watch, settings = Stopwatch(seed), PEER[method]
    venv = make_vec_env("seals:seals/CartPole-v0", rng=np.random.default_rng(seed),
                        n_envs=PEER_ENVS)
    watch.start()
    learner = PPO("MlpPolicy", venv, seed=seed, device="cpu", **settings["ppo"])
    kind = BasicRewardNet if method == "gail" else BasicShapedRewardNet
    net = kind(venv.observation_space, venv.action_space, normalize_input_layer=RunningNorm)
    trainer = (GAIL if method == "gail" else AIRL)(
        demonstrations=as_trajectories(demos), venv=venv, gen_algo=learner, reward_net=net,
        custom_logger=logger.configure(tempfile.mkdtemp(), format_strs=[]), **settings["trainer"])

    def asked(round_number: int) -> None:
        if watch.ask((round_number + 1) * trainer.gen_train_timesteps, Sampler(learner.policy)):
            raise Over

    try:
        trainer.train(10**9, callback=asked)
    except Over:
        pass
    return watch.record()


def as_trajectories(demos: ControlDemonstrations) -> list:
    """Return the demonstrations as imitation's rollouts would hold them."""
    from imitation.data.types import TrajectoryWithRew

    return [TrajectoryWithRew(obs.numpy(), actions.numpy(), None, True, rewards.numpy())
            for obs, actions, rewards in zip(demos.obs, demos.actions, demos.rewards, strict=True)]


EVERY = 4_096  # environment steps between our evaluations; the peer's rounds have 16,384
OURS = {"gail": AdversarialConfig(method="gail", ppo=replace(CARTPOLE_PPO, reward_scale=1.0,
                                                             total_steps=200_000)),
        "airl": AdversarialConfig(method="airl", ppo=replace(CARTPOLE_PPO, total_steps=200_000))}


def run_ours(method: str, demos: ControlDemonstrations, seed: int) -> dict:
    """Train with a fixed horizon of the same length, waiting in the absorbing state cut short."""
    watch = Stopwatch(seed)
    flagged = replace(demos, obs=torch.nn.functional.pad(demos.obs, (0, 1)))  # never absorbed

    def asked(entry: dict, policy) -> bool:
        return entry["steps"] % EVERY == 0 and watch.ask(entry["steps"], WithoutFlag(policy))

    watch.start()
    train_adversarial(TASK, flagged, OURS[method], seed, callback=asked)
    return watch.record()


CONTESTANTS = {
    "tutorlib GAIL": ("gail", run_ours), "imitation GAIL": ("gail", run_peer),
    "tutorlib AIRL": ("airl", run_ours), "imitation AIRL": ("airl", run_peer),
}


def table(runs: dict[str, list[dict]]) -> str:
    """Return the results as Markdown."""
    lines = ["| | solved | CPU seconds to 475: median (range) | "
             "environment steps: median (range) |",
             "|---|---|---|---|"]
    for name in CONTESTANTS:
        solved = [run for run in runs.get(name, []) if run["steps"] is not None]
        lines.append(f"| {name} | {len(solved)} of {len(runs.get(name, []))} | "
                     f"{spread([run['cpu_seconds'] for run in solved], '.0f')} | "
                     f"{spread([run['steps'] for run in solved], ',')} |")
    compared = [method for method in ("GAIL", "AIRL")
                if {f"tutorlib {method}", f"imitation {method}"} <= set(runs)]
    return "\n".join([*lines, "", *(ratio(method, runs) for method in compared)])


def ratio(method: str, runs: dict[str, list[dict]]) -> str:
    """Return how many times quicker ours is, by medians over all seeds; a failure took for ever."""
    ours, peer = (statistics.median_high(
        run["cpu_seconds"] if run["steps"] is not None else float("inf")
        for run in runs[f"{name} {method}"]) for name in ("tutorlib", "imitation"))
    return f"- {method}: {peer / ours:.0f} times quicker, 3 asked, medians over all seeds."


def spread(values: list[float], form: str) -> str:
    """Return "median (lowest to highest)"."""
    if not values:
        return "-"
    middle = statistics.median_high(values)
    return f"{middle:{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="only write README's table anew")
    parser.add_argument("--fresh", action="store_true", help="forget adversarial.json")
    parser.add_argument("--only", choices=CONTESTANTS, nargs="*", default=list(CONTESTANTS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.table:
        write_table(json.loads(FILE.read_text())["runs"])
        return
    runs = {} if asked.fresh or not FILE.exists() else json.loads(FILE.read_text())["runs"]
    demos = demonstrations()
    for seed in range(asked.seeds):
        for name in asked.only:
            if seed in [run["seed"] for run in runs.get(name, [])]:
                continue
            method, train = CONTESTANTS[name]
            runs.setdefault(name, []).append(train(method, demos, seed))
            print(name, json.dumps(runs[name][-1]), flush=True)
            write(runs)
    write(runs)


def write(runs: dict[str, list[dict]]) -> None:
    """Put the results into adversarial.json and their table into README.md."""
    results = {"env": ENV, "solved": SOLVED, "limit_cpu_seconds": LIMIT, "machine": machine(),
               "runs": runs}
    FILE.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_table(runs)


def write_table(runs: dict[str, list[dict]]) -> None:
    """Put the results' table into README.md."""
    readme = HERE / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    text = f"{before}{BEGIN}\n{table(runs)}\n{END}"
    readme.write_text(text + rest.partition(END)[2], encoding="utf-8")


def machine() -> dict:
    """Return what the figures were measured with."""
    packages = ("torch", "gymnasium", "stable-baselines3", "imitation", "seals", "numpy")
    return {"python": platform.python_version(), "system": platform.system(),
            "processor": platform.machine(), "threads": torch.get_num_threads(),
            **{name: version(name) for name in packages}}


if __name__ == "__main__":
    main()
