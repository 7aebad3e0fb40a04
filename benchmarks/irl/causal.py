"""Seconds and peak memory of one gradient step of causal maximum-entropy IRL, ours and a peer's.

    python benchmarks/irl/causal.py            # measure everything, write causal.json and the table
    python benchmarks/irl/causal.py --table    # write the table of README.md from causal.json

A gradient step is one soft backward pass and one forward pass for a given reward, and the gap
that follows. The peer is `imitation.algorithms.mce_irl`: `mce_partition_fh`, then
`mce_occupancy_measures` with that policy passed. Both get the same open gridworlds (slip 0.2, a
random reward per state, no discount) and give the same visits, which is checked. Each measurement
is a process of its own, on one thread: the median of its CPU seconds per step, over 3 steps or 2
seconds, whichever is more. Memory is the peak beyond what was held with all libraries loaded, the
transitions included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

HERE = Path(__file__).parent
SIZES = (400, 1_600, 6_400)  # states of both; the peer's transitions are dense, states squared
OURS_ALONE = (25_600, 100_000)
ROWS = {400: 20, 1_600: 40, 6_400: 80, 25_600: 160, 100_000: 250}  # of the drawn map
HORIZONS = (20, 50)
TARGETS = {1_600: 25.0, 6_400: 100.0}  # how many times faster is asked for


def peak_mib() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 2**10


def make_world(states: int, horizon: int):
    """Return an open gridworld and a random reward R(s) paid on departure."""
    import torch

    from tutorlib.mdp import GridWorld

    torch.set_num_threads(1)
    rows = ROWS[states]
    cols = states // rows
    lines = ["S" + "." * (cols - 1)] + ["." * cols] * (rows - 1)
    mdp = GridWorld("\n".join(lines), slip=0.2, discount=1.0, horizon=horizon).mdp
    gen = torch.Generator().manual_seed(0)
    return mdp, torch.randn(mdp.n_states, dtype=torch.float64, generator=gen)


def step_of_ours(mdp, state_reward):
    """Return a function that takes one gradient step and returns visits per state."""
    import torch

    from tutorlib.irl import TabularReward, causal_loss, solve_causal

    model = TabularReward(mdp, "departure")
    with torch.no_grad():
        model.table.copy_(state_reward)
    expert = torch.zeros_like(mdp.reward)  # the gradient is then the visits themselves

    def step():
        model.zero_grad()
        causal_loss(mdp, model(mdp), expert).backward()
        return model.table.grad

    assert torch.equal(step(), solve_causal(mdp, model(mdp)).occupancy.sum(-1))
    return step


def step_of_peer(mdp, state_reward):
    """Return the same with the peer's functions, over the T decisions, not its T + 1 states."""
    import numpy as np
    from imitation.algorithms import mce_irl
    from seals import base_envs

    peer = base_envs.TabularModelPOMDP(
        transition_matrix=mdp.transition_matrix.numpy(), reward_matrix=state_reward.numpy(),
        observation_matrix=np.zeros((mdp.n_states, 1), np.float32), horizon=mdp.horizon,
        initial_state_dist=mdp.initial_state_dist.numpy())
    reward = state_reward.numpy()

    def step():
        _, _, policy = mce_irl.mce_partition_fh(peer, reward=reward)
        by_time, _ = mce_irl.mce_occupancy_measures(peer, reward=reward, pi=policy)
        return by_time[:-1].sum(0)

    return step


def measure(who: str, states: int, horizon: int) -> dict:
    """Return seconds per step, peak memory, and the visits' fingerprint, in this process."""
    if who == "imitation":  # load what it loads before the memory is read
        import imitation.algorithms.mce_irl  # noqa: F401
        import seals.base_envs  # noqa: F401
    import numpy as np

    import tutorlib.irl  # noqa: F401

    before = peak_mib()
    mdp, reward = make_world(states, horizon)
    step = (step_of_ours if who == "tutorlib" else step_of_peer)(mdp, reward)
    seconds = []
    while len(seconds) < 3 or (sum(seconds) < 2 and len(seconds) < 200):
        start = time.process_time()  # of this process alone: a busy machine adds nothing
        visits = step()
        seconds.append(time.process_time() - start)
    return {
        "who": who, "states": mdp.n_states, "horizon": horizon, "steps": len(seconds),
        "seconds": float(np.median(seconds)), "slowest": max(seconds),
        "peak_mib": peak_mib() - before, "visits": np.asarray(visits).round(9).tolist(),
    }


def in_new_process(who: str, states: int, horizon: int) -> dict:
    """Measure in a process of its own, so that memory is its own."""
    command = [sys.executable, __file__, "--measure", who, str(states), str(horizon)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def run() -> dict:
    """Measure all sizes, check that both agree, and return what is written down."""
    import numpy as np
    import torch

    rows = []
    for horizon in HORIZONS:
        for states in (*SIZES, *OURS_ALONE):
            ours = in_new_process("tutorlib", states, horizon)
            pair = [ours]
            if states in SIZES:
                pair.append(in_new_process("imitation", states, horizon))
                gap = np.abs(np.subtract(*(row["visits"] for row in pair))).max()
                assert gap < 1e-6, f"visits differ by {gap}"
                ours["largest_difference"] = float(gap)
            for row in pair:
                del row["visits"]
                print({k: v for k, v in row.items() if k != "slowest"}, flush=True)
            rows += pair
    return {"python": platform.python_version(), "torch": torch.__version__,
            "numpy": np.__version__, "imitation": version("imitation"), "processor": processor(),
            "threads": 1, "rows": rows}


def version(name: str) -> str:
    """Return the installed version of a package."""
    from importlib.metadata import version as of

    return of(name)


def processor() -> str:
    """Return the processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(results: dict) -> str:
    """Return the results as a markdown table, one line per size and horizon."""
    found = {(r["who"], r["states"], r["horizon"]): r for r in results["rows"]}
    lines = ["| states | horizon | tutorlib s | MiB | imitation s | MiB | times faster |",
             "|---:|---:|---:|---:|---:|---:|---:|"]
    for (who, states, horizon), ours in found.items():
        if who != "tutorlib":
            continue
        peer = found.get(("imitation", states, horizon))
        mine = [f"{states:,}", str(horizon), f"{ours['seconds']:.4f}", f"{ours['peak_mib']:,.0f}"]
        dense = 4 * 8 * states**2 / 2**30  # four actions, eight bytes
        theirs = ["-", f"({dense:,.0f} GiB of transitions)", "-"] if peer is None else [
            f"{peer['seconds']:.3f}", f"{peer['peak_mib']:,.0f}",
            f"{peer['seconds'] / ours['seconds']:.0f}"]
        lines.append("| " + " | ".join(mine + theirs) + " |")
    return "\n".join(lines)


def verdicts(results: dict) -> list[str]:
    """Return one sentence per target, and one on growth."""
    found = {(r["who"], r["states"], r["horizon"]): r["seconds"] for r in results["rows"]}
    lines = []
    for horizon in HORIZONS:
        for states, wanted in TARGETS.items():
            ratio = found["imitation", states, horizon] / found["tutorlib", states, horizon]
            word = "met" if ratio >= wanted else "MISSED"
            lines.append(f"{states:,} states, horizon {horizon}: {ratio:.0f} times faster, "
                         f"{wanted:.0f} asked: {word}.")
        small, large = min(TARGETS), max(OURS_ALONE)
        growth = found["tutorlib", large, horizon] / found["tutorlib", small, horizon]
        lines.append(f"Growth at horizon {horizon}, {small:,} to {large:,} states: "
                     f"{large / small:.1f} times the states take {growth:.1f} times the seconds.")
    return lines


def write_table(results: dict) -> None:
    """Print table and verdicts, and put them between the marks in README.md."""
    where = (f"One thread, {results['processor']}, Python {results['python']}, torch "
             f"{results['torch']}, numpy {results['numpy']}, imitation {results['imitation']}.")
    text = "\n".join([table(results), "", *(f"- {line}" for line in verdicts(results)), "", where])
    print(text)
    page = HERE / "README.md"
    before, rest = page.read_text().split("<!-- BEGIN TABLE -->")
    after = rest.split("<!-- END TABLE -->")[1]
    page.write_text(f"{before}<!-- BEGIN TABLE -->\n{text}\n<!-- END TABLE -->{after}")


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs=3, metavar=("WHO", "STATES", "HORIZON"))
    parser.add_argument("--table", action="store_true")
    chosen = parser.parse_args()
    if chosen.measure:
        who, states, horizon = chosen.measure
        print(json.dumps(measure(who, int(states), int(horizon))))
        return
    if not chosen.table:
        (HERE / "causal.json").write_text(json.dumps(run(), indent=1) + "\n")
    write_table(json.loads((HERE / "causal.json").read_text()))


if __name__ == "__main__":
    main()
