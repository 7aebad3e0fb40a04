"""Seconds and memory of planning against the number of states, beside dense numpy.

Each (method, size) runs in a process of its own, so that its peak memory is its own. A process
builds one open gridworld (slip 0.2, 4 actions), plans 50 decisions backward and follows the plan 50
decisions forward, once hard and once soft. Seconds are CPU seconds of one thread, median of the
repeats. Writes ``results.json`` and the table in ``README.md`` beside it.

    python benchmarks/planning/planning.py            # all sizes, some minutes
    python benchmarks/planning/planning.py --quick    # small sizes, prints only
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
BEGIN, END = "<!-- BEGIN TABLE -->", "<!-- END TABLE -->"
SIZES = (
    (8, 8), (16, 16), (32, 32), (64, 64), (64, 128), (128, 128), (256, 256), (250, 400)
)  # fmt: skip
DENSE_LIMIT = 8_192  # states; the matrix takes 2.1 GB, at the next size it would take 8.6 GB
HORIZON, SLIP, DISCOUNT, TEMPERATURE, STEP_REWARD = 50, 0.2, 0.95, 0.1, -0.04
REPEATS = 5
FITTED_FROM = 4_096  # states; below, the cost of a call hides the cost of its work
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left


def drawn(rows: int, cols: int) -> str:
    """Return an open field with the start in one corner and the goal in the other."""
    field = [["."] * cols for _ in range(rows)]
    field[0][0], field[-1][-1] = "S", "G"
    return "\n".join("".join(line) for line in field)


def sparse_problem(rows: int, cols: int) -> dict:
    """Return tutorlib's way to build and solve the problem: {step: function}."""
    import torch

    from tutorlib.mdp import GridWorld, finite_horizon_plan, soft_backward, state_distributions

    torch.set_num_threads(1)
    field, plans = drawn(rows, cols), {}

    def build():
        settings = {"slip": SLIP, "step_reward": STEP_REWARD, "discount": DISCOUNT}
        plans["mdp"] = GridWorld(field, **settings).mdp

    def hard():
        plans["hard"] = finite_horizon_plan(plans["mdp"], HORIZON, keep_q=False)
        return plans["hard"].values

    def soft():
        plans["soft"] = soft_backward(plans["mdp"], TEMPERATURE, HORIZON, keep_q=False)
        return plans["soft"].values

    def follow(kind):
        return state_distributions(plans["mdp"], plans[kind].policy, HORIZON)

    return {
        "build": build,
        "hard backward": hard,
        "hard forward": lambda: follow("hard"),
        "soft backward": soft,
        "soft forward": lambda: follow("soft"),
    }


def answer(name: str, found) -> float | None:
    """Return one number that both methods must agree on, outside of what is timed.

    Of a backward pass: the value of the start. Of a forward pass: the mean discounted share of time
    at the goal, which does not depend on how ties between optimal actions were broken.
    """
    if found is None:
        return None
    if "backward" in name:
        return float(found[0, 0])
    return sum(DISCOUNT**t * float(found[t, -1]) for t in range(len(found)))


def dense_problem(rows: int, cols: int) -> dict:
    """Return the plain way, with a dense transition matrix in numpy: {step: function}."""
    import numpy as np

    size, found = rows * cols, {}

    def build():
        matrix = np.zeros((size, 4, size))
        arrival = np.full(size, STEP_REWARD)
        arrival[-1] = 1.0
        for state in range(size):
            row, col = divmod(state, cols)
            beside = []
            for down, right in MOVES:
                inside = 0 <= row + down < rows and 0 <= col + right < cols and state != size - 1
                beside.append(state + down * cols + right if inside else state)
            for action in range(4):
                matrix[state, action, beside[action]] += 1 - SLIP
                matrix[state, action, beside[(action - 1) % 4]] += SLIP / 2
                matrix[state, action, beside[(action + 1) % 4]] += SLIP / 2
        found["matrix"] = matrix.reshape(size * 4, size)
        found["reward"] = (found["matrix"] @ arrival).reshape(size, 4)
        found["reward"][-1] = 0.0

    def backward(kind):
        values = np.zeros((HORIZON + 1, size))
        policy = np.zeros((HORIZON, size, 4))
        for t in reversed(range(HORIZON)):
            following = (found["matrix"] @ values[t + 1]).reshape(size, 4)
            q = found["reward"] + DISCOUNT * following
            values[t] = highest = q.max(1)
            if kind == "hard":
                policy[t, np.arange(size), q.argmax(1)] = 1.0
            else:
                weights = np.exp((q - highest[:, None]) / TEMPERATURE)
                values[t] += TEMPERATURE * np.log(weights.sum(1))
                policy[t] = weights / weights.sum(1, keepdims=True)
            values[t, -1] = 0.0
        found[kind] = policy
        return values

    def forward(kind):
        reached = np.zeros((HORIZON + 1, size))
        reached[0, 0] = 1.0
        for t in range(HORIZON):
            taken = (reached[t][:, None] * found[kind][t]).reshape(-1)
            reached[t + 1] = taken @ found["matrix"]
        return reached

    return {
        "build": build,
        "hard backward": lambda: backward("hard"),
        "hard forward": lambda: forward("hard"),
        "soft backward": lambda: backward("soft"),
        "soft forward": lambda: forward("soft"),
    }


def peak_mb() -> float:
    """Return the largest memory this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux, bytes on macOS
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def measure(method: str, rows: int, cols: int, repeats: int) -> dict:
    """Run one method on one size in this process."""
    import numpy  # noqa: F401  (imported by both methods, so that the peaks are comparable)

    if method == "tutorlib":
        import tutorlib.mdp  # noqa: F401
    before = peak_mb()
    steps = {"tutorlib": sparse_problem, "numpy": dense_problem}[method](rows, cols)
    seconds, answers = {}, {}
    for name, step in steps.items():
        taken = []
        for _ in range(1 if name == "build" else repeats):
            began = time.process_time()
            found = step()
            taken.append(time.process_time() - began)
        answers[name] = answer(name, found)
        seconds[name] = statistics.median(taken)
    return {
        "method": method,
        "states": rows * cols,
        "seconds": seconds,
        "answers": answers,
        "peak_mb": peak_mb() - before,
    }


def run_alone(method: str, rows: int, cols: int, repeats: int) -> dict:
    """Run ``measure`` in a fresh process with one thread."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    root = str(HERE.parent.parent)
    command = [sys.executable, __file__, "--one", method, str(rows), str(cols), str(repeats)]
    done = subprocess.run(
        command,
        env={**os.environ, **one, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def slope(results: list[dict], quantity, least: int) -> float | None:
    """Return the slope of log(quantity) against log(states), from ``least`` states on."""
    points = [
        (math.log(r["states"]), math.log(quantity(r))) for r in results if r["states"] >= least
    ]
    return statistics.linear_regression(*zip(*points, strict=True)).slope if points[1:] else None


def all_passes(result: dict) -> float:
    """Return the seconds of all four passes."""
    return sum(taken for name, taken in result["seconds"].items() if name != "build")


def disagreement(results: list[dict]) -> float:
    """Return the largest relative difference between answers of the two methods, same size."""
    by_key = {(r["method"], r["states"]): r["answers"] for r in results}
    return max(
        abs(by_key["tutorlib", size][name] - answer) / max(abs(answer), 1e-12)
        for (method, size), answers in by_key.items()
        if method == "numpy"
        for name, answer in answers.items()
        if answer is not None
    )


def table(results: list[dict]) -> str:
    """Return the results as a markdown table with what follows from it."""
    names = ("build", "hard backward", "hard forward", "soft backward", "soft forward")
    heads = ["method", "states", *(f"{name}, s" for name in names), "peak memory, MB"]
    lines = [
        "| " + " | ".join(heads) + " |",
        "|---" * (len(names) + 3) + "|",
    ]
    for result in results:
        cells = " | ".join(f"{result['seconds'][name]:.2g}" for name in names)
        lines.append(
            f"| {result['method']} | {result['states']:,} | {cells} | {result['peak_mb']:,.0f} |"
        )
    return "\n".join([*lines, "", *conclusions(results)])


def conclusions(results: list[dict]) -> list[str]:
    """Return in words how cost grows."""
    ours = [r for r in results if r["method"] == "tutorlib"]
    dense = [r for r in results if r["method"] == "numpy"]
    largest = ours[-1]
    lines = [
        f"Both methods agree on every answer to a relative {disagreement(results):.1g}.",
        f"At {largest['states']:,} states the four passes of {HORIZON} decisions take "
        f"{all_passes(largest):.2f} s: hard planning, backward and forward, "
        f"{_pair(largest, 'hard'):.2f} s; soft planning {_pair(largest, 'soft'):.2f} s.",
        f"A dense matrix for as many would take {4 * largest['states'] ** 2 * 8 / 1e9:,.3g} GB.",
    ]
    for label, group, least in (
        ("tutorlib", ours, FITTED_FROM),
        ("dense numpy", dense, FITTED_FROM // 16),
    ):
        time_slope = slope(group, all_passes, least)
        if time_slope is not None:
            memory = slope(group, lambda r: r["peak_mb"], least)
            lines.append(
                f"Growth, {label}: seconds ~ states^{time_slope:.2f}, peak memory ~ "
                f"states^{memory:.2f} (least squares on logarithms, from {least:,} states on); the "
                f"passes cost {_each(group, least)[0]:.0f} microseconds a state at first, "
                f"{_each(group, least)[-1]:.0f} at last."
            )
    return lines


def _each(results: list[dict], least: int) -> list[float]:
    """Return the microseconds of all four passes for each state, from ``least`` states on."""
    return [1e6 * all_passes(r) / r["states"] for r in results if r["states"] >= least]


def _pair(result: dict, kind: str) -> float:
    """Return the seconds of the backward and the forward pass."""
    return result["seconds"][f"{kind} backward"] + result["seconds"][f"{kind} forward"]


def machine() -> dict:
    """Return what the numbers depend on."""
    return {
        "system": f"{platform.system()} on {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
    }


def main() -> None:
    """Measure every method and size, print the table, and keep it unless asked to be quick."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, print only")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        method, rows, cols, repeats = options.one
        print(json.dumps(measure(method, int(rows), int(cols), int(repeats))))
        return
    results = []
    for method in ("tutorlib", "numpy"):
        for rows, cols in SIZES[:3] if options.quick else SIZES:
            if method == "tutorlib" or rows * cols <= DENSE_LIMIT:
                print(f"{method}, {rows * cols:,} states", file=sys.stderr)
                results.append(run_alone(method, rows, cols, REPEATS))
    found, text = machine(), table(results)
    text += "\n\nOne thread, " + ", ".join(
        [found["system"], *(f"{name} {found[name]}" for name in ("python", "torch", "numpy"))]
    )
    print(text)
    if not options.quick:
        record = {"machine": found, "horizon": HORIZON, "slip": SLIP, "results": results}
        (HERE / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        readme = HERE / "README.md"
        before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        readme.write_text(f"{before}{BEGIN}\n{text}.\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
