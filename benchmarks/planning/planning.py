"""Seconds and memory of finite-horizon planning against the number of states.

Gridworlds with slip 0.2, 4 actions, horizon 50; a plan backwards in time (hard or soft) and the
state distributions it leads to, forwards. tutorlib's sparse transitions beside plain numpy on a
dense T[s, a, s']. Each measurement runs in its own process on one thread, so that peak memory is
its own. Run: ``python benchmarks/planning/planning.py`` (writes results.json and README.md).
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SIDES = (8, 16, 32, 57, 100, 180, 316)  # squares of 64 to 99,856 states
DENSE_SIDES = (8, 16, 32, 57)  # beyond, T takes tens of gigabytes
HORIZON, SLIP, TEMPERATURE, REPEATS = 50, 0.2, 0.5, 3


def world(side: int):
    """Return a square gridworld with one rewarding corner, as a decision process."""
    from tutorlib.mdp import GridWorld

    drawing = "\n".join(["." * side] * side)
    return GridWorld(drawing, slip=SLIP, step_reward=-0.04,
                     cell_rewards={(side - 1, side - 1): 1.0}).mdp


def sparse(mdp, kind: str):
    """Plan and roll the distribution forward with tutorlib."""
    from tutorlib.mdp import finite_horizon_plan, soft_backward, state_distributions

    if kind == "soft":
        plan = soft_backward(mdp, TEMPERATURE, HORIZON, keep_q=False)
    else:
        plan = finite_horizon_plan(mdp, HORIZON, keep_q=False)
    return plan.values, state_distributions(mdp, plan.policy, HORIZON)


def dense(mdp, kind: str):
    """The same with a dense matrix in numpy, as a textbook writes it."""
    import numpy as np

    T, r, gamma = mdp.transition_matrix.numpy(), mdp.reward.numpy(), mdp.discount

    def run():
        V = np.zeros((HORIZON + 1, len(r)))
        pi = np.empty((HORIZON, *r.shape))
        for t in reversed(range(HORIZON)):
            Q = r + gamma * (T @ V[t + 1])
            if kind == "soft":
                top = Q.max(1, keepdims=True)
                weights = np.exp((Q - top) / TEMPERATURE)
                total = weights.sum(1, keepdims=True)
                V[t], pi[t] = (top + TEMPERATURE * np.log(total))[:, 0], weights / total
            else:
                V[t], pi[t] = Q.max(1), np.eye(Q.shape[1])[Q.argmax(1)]
        D = np.empty((HORIZON + 1, len(r)))
        D[0] = mdp.initial_state_dist.numpy()
        for t in range(HORIZON):
            D[t + 1] = np.einsum("sa,sat->t", D[t][:, None] * pi[t], T, optimize=True)
        return V, D

    return run


def measure(method: str, kind: str, side: int) -> dict:
    """Time one method on one size in this process; the median of a few runs."""
    import torch

    torch.set_num_threads(1)
    mdp = world(side)
    run = dense(mdp, kind) if method == "dense" else (lambda: sparse(mdp, kind))
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        values, states = run()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"method": method, "kind": kind, "states": mdp.n_states,
            "seconds": sorted(seconds)[len(seconds) // 2], "peak_mb": peak,
            "start_value": float(values[0][0]), "mass": float(states[-1].sum())}


def in_own_process(method: str, kind: str, side: int) -> dict:
    """Run ``measure`` in a fresh process on one thread."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                      "MKL_NUM_THREADS")}
    done = subprocess.run([sys.executable, __file__, method, kind, str(side)], check=True,
                          stdout=subprocess.PIPE, text=True, env={**os.environ, **threads})
    return json.loads(done.stdout)


def slope(rows: list[dict]) -> float:
    """Return the slope of log seconds over log states, from 10^3 states on (1: linear)."""
    import numpy as np

    large = [row for row in rows if row["states"] >= 1_000]
    logs = [np.log([row[name] for row in large]) for name in ("states", "seconds")]
    return float(np.polyfit(*logs, 1)[0])


def table(results: list[dict]) -> str:
    """Return the results as a Markdown table with the growth exponents below it."""
    lines = ["| states | kind | sparse: seconds | sparse: MB | dense: seconds | dense: MB |",
             "|---|---|---|---|---|---|"]
    for kind in ("hard", "soft"):
        of_kind = [row for row in results if row["kind"] == kind]
        plain = {row["states"]: row for row in of_kind if row["method"] == "dense"}
        for row in (r for r in of_kind if r["method"] == "sparse"):
            other = plain.get(row["states"])
            beside = f"{other['seconds']:.3f} | {other['peak_mb']:.0f}" if other else "- | -"
            lines.append(f"| {row['states']:,} | {kind} | {row['seconds']:.3f} | "
                         f"{row['peak_mb']:.0f} | {beside} |")
    for kind in ("hard", "soft"):
        for method in ("sparse", "dense"):
            rows = [r for r in results if (r["kind"], r["method"]) == (kind, method)]
            lines.append(f"\nGrowth from 1,000 states on, {method}, {kind}: seconds ~ "
                         f"states^{slope(rows):.2f}.")
    return "\n".join(lines)


def main() -> None:
    """Measure everything, hold the two methods against each other, write the results."""
    results = []
    for kind in ("hard", "soft"):
        for side in SIDES:
            for method in ("sparse", "dense") if side in DENSE_SIDES else ("sparse",):
                results.append(in_own_process(method, kind, side))
                print(results[-1], flush=True)
    for row in results:
        twin = next(r for r in results if (r["kind"], r["states"]) == (row["kind"], row["states"]))
        assert abs(row["start_value"] - twin["start_value"]) < 1e-9 and abs(row["mass"] - 1) < 1e-9
    about = f"One thread, {platform.system()} on {platform.machine()}, Python " \
            f"{platform.python_version()}; median of {REPEATS} runs; memory of the whole process."
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    readme = HERE / "README.md"
    fresh = f"<!-- BEGIN TABLE -->\n{table(results)}\n\n{about}\n<!-- END TABLE -->"
    text = re.sub(r"<!-- BEGIN TABLE -->.*<!-- END TABLE -->", lambda _: fresh,
                  readme.read_text(), flags=re.DOTALL)
    readme.write_text(text)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        main()
