"""What a training step costs: ours, TRL's, and the loop one writes first, taking turns.

    python benchmarks/posttraining/speed/speed.py            # measure; writes results.json, README
    python benchmarks/posttraining/speed/speed.py --quick    # a small run that writes nothing
    python benchmarks/posttraining/speed/speed.py --table    # write the table of README.md anew
    ... --ppo-environment FOLDER    # where TRL 1.12, the last with a PPO, is or will be installed

Each contestant is a process of its own on one thread (``worker.py``), with the same model, prompts
and numbers (``workload.py``). Three work on a row of the table in turn, each does its turn alone,
and what counts is the median CPU time of a turn; the first turn is left out. The learning rate is
next to nothing, so that answers are as long for all and at the end as at the beginning.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from workload import ANSWERS, METHODS, PAIRS, PPO_PROMPTS, PROMPTS, SIZES

HERE = Path(__file__).parent
WHO = ("tutorlib", "bare loop", "TRL")
SAMPLES = {"dpo": PAIRS, "rloo": PROMPTS * ANSWERS, "grpo": PROMPTS * ANSWERS, "ppo": PPO_PROMPTS}
NAMES = {"dpo": "DPO", "rloo": "RLOO", "grpo": "GRPO-style", "ppo": "PPO"}
TURNS = {"dpo": 7, "rloo": 15, "grpo": 15, "ppo": 9}
PPO_VERSION = "1.12.0"
BASE_GOAL, BARE_GOAL = 1.3, 1.1


def install_ppo(folder: Path) -> Path:
    """Put the last TRL with a PPO into a folder, unless it is there; the rest is what is installed.

    TRL 1.13 removed PPO. Version 1.12 asks for transformers 4.56 or later and runs with 5.
    """
    if not (folder / "trl").is_dir():
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
                        str(folder), f"trl=={PPO_VERSION}"], check=True)
    return folder


class Worker:
    """A contestant's process."""

    def __init__(self, method: str, who: str, size: str, ppo: Path | None):
        """Start it; it gets ready and waits."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if method == "ppo" and who == "TRL":
            environment["PYTHONPATH"] = str(ppo)
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), method, who, size, "0"], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)

    def turn(self) -> dict:
        """Let it work once; return CPU seconds and memory."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.log.seek(0)
            raise RuntimeError(f"{self.process.args[2:]} ended:\n{self.log.read()[-2000:]}")
        return json.loads(answer)

    def stop(self) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def measure(method: str, size: str, turns: int, ppo: Path | None) -> dict:
    """Return a row: of each contestant the median seconds of a turn, and its peak of memory."""
    workers = {who: Worker(method, who, size, ppo) for who in WHO
               if who != "TRL" or method != "ppo" or ppo}
    said = {who: [] for who in workers}
    try:
        for _ in range(turns + 1):
            for who, worker in workers.items():
                said[who].append(worker.turn())
    finally:
        for worker in workers.values():
            worker.stop()
    return {"method": method, "size": size, "samples": SAMPLES[method],
            **{who: summary(found) for who, found in said.items()}}


def summary(said: list[dict]) -> dict:
    """Return the median of all turns but the first, and the memory at the end."""
    seconds = [turn["seconds"] for turn in said[1:]]
    return {"seconds": statistics.median(seconds), "all": seconds, "peak_mb": said[-1]["peak_mb"],
            "before_mb": said[-1]["before_mb"]}


def run(arguments) -> dict:
    """Measure all rows that the command line asks for."""
    ppo = install_ppo(Path(arguments.ppo_environment)) if arguments.ppo_environment else None
    rows = []
    for size in arguments.sizes:
        for method in arguments.methods:
            turns = 1 if arguments.quick else arguments.turns or TURNS[method]
            rows.append(measure(method, size, turns, ppo))
            print(line(rows[-1]), flush=True)
    return {"rows": rows, "python": platform.python_version(), "load": os.getloadavg()[1],
            "versions": {name: version(name) for name in ("torch", "transformers", "trl")},
            "trl_with_ppo": PPO_VERSION, "processor": processor()}


def processor() -> str:
    """Return the processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [text.split(":", 1)[1].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def rate(row: dict, who: str) -> float | None:
    """Return samples per CPU second, or None for who did not run."""
    return row["samples"] / row[who]["seconds"] if who in row else None


def line(row: dict) -> str:
    """Return a row of the table."""
    ours = rate(row, "tutorlib")
    cells = [NAMES[row["method"]], row["size"], *(_number(rate(row, who)) for who in WHO),
             *(f"{ours / rate(row, who):.2f}" if who in row else "-" for who in ("TRL",
                                                                                 "bare loop")),
             *(_number(row[who]["peak_mb"] - row[who]["before_mb"] if who in row else None)
               for who in WHO)]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    """Return a number for the table."""
    return "-" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def verdicts(rows: list[dict]) -> list[str]:
    """Return one sentence per goal; what misses it is named."""
    goals = [("Ahead of TRL in every row", "TRL", 1.0, rows),
             (f"Ahead of TRL by {BASE_GOAL} at base size", "TRL", BASE_GOAL,
              [row for row in rows if row["size"] == "base"]),
             (f"Of the bare loop's time at most {BARE_GOAL}", "bare loop", 1 / BARE_GOAL, rows)]
    found = []
    for text, who, least, among in goals:
        ratios = {f"{NAMES[r['method']]} {r['size']}": rate(r, "tutorlib") / rate(r, who)
                  for r in among if who in r}
        missed = [f"{name} ({ratio:.2f})" for name, ratio in ratios.items() if ratio < least]
        if ratios:
            found.append(f"{text}: {'MISSED by ' + ', '.join(missed) if missed else 'met'}; "
                         f"least {min(ratios.values()):.2f} times the rate.")
    return found


def report(results: dict) -> str:
    """Return table, verdicts and versions."""
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return "\n".join([
        "| method | model | tutorlib | bare loop | TRL | against TRL | against bare | "
        "MB tutorlib | MB bare | MB TRL |", "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *map(line, results["rows"]), "", *(f"- {text}" for text in verdicts(results["rows"])), "",
        "Samples (pairs of DPO, else answers) per CPU second, one thread; MB: growth of the peak "
        f"of memory while training. {results['processor']}, Python {results['python']}, "
        f"{versions}; PPO beside trl {results['trl_with_ppo']}. Load of the machine at the end: "
        f"{results['load']:.1f}."])


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one turn each; write nothing")
    parser.add_argument("--table", action="store_true", help="only write README.md's table anew")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--sizes", nargs="+", default=SIZES, choices=SIZES)
    parser.add_argument("--turns", type=int, help="turns of each contestant")
    parser.add_argument("--ppo-environment", help=f"folder of trl {PPO_VERSION}; else TRL sits "
                        "out PPO")
    chosen = parser.parse_args()
    path, page = HERE / "results.json", HERE / "README.md"
    results = json.loads(path.read_text()) if chosen.table else run(chosen)
    text = report(results)
    print(text)
    whole = len(results["rows"]) == len(METHODS) * len(SIZES)
    if chosen.quick or not whole:
        return
    path.write_text(json.dumps(results, indent=1) + "\n")
    before, rest = page.read_text().split("<!-- BEGIN TABLE -->")
    after = rest.split("<!-- END TABLE -->")[1]
    page.write_text(f"{before}<!-- BEGIN TABLE -->\n{text}\n<!-- END TABLE -->{after}")


if __name__ == "__main__":
    main()
