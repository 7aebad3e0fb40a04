"""The benchmark of all methods: its committed figures keep what the course says of them."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from scipy import stats

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "posttraining" / "targets.py"
LEAST = {"RLOO": 0.6, "PPO": 0.6, "offline DPO": 0.4, "iterative DPO": 0.6}  # share of the gap


@pytest.fixture(scope="module")
def targets():
    spec = importlib.util.spec_from_file_location("targets", SCRIPT)
    module = sys.modules["targets"] = importlib.util.module_from_spec(spec)  # dataclasses ask
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found():
    return json.loads(SCRIPT.with_suffix(".json").read_text())


@pytest.mark.parametrize("name", LEAST)
def test_a_method_closes_its_share_of_the_gap_on_every_seed(targets, found, name):
    runs = found["methods"][name]["runs"]
    assert [r["seed"] for r in runs] == [0, 1, 2, 3, 4]
    shares = [targets.share_of(found, r) for r in runs]
    mean, half = targets.interval(shares)
    assert mean - half >= LEAST[name]
    assert min(shares) >= LEAST[name]
    assert max(r["seconds"] for r in runs) <= 90


def test_a_price_too_low_and_passes_too_many_lose_what_was_won(found):
    """Overfitting: fresh pairs' loss grows while that of the trained ones falls."""
    for run in found["overfitting"]["runs"]:
        assert run["train_loss"] == sorted(run["train_loss"], reverse=True)
        assert run["held_out_loss"][-1] > min(run["held_out_loss"])
        assert max(run["gold"]) - run["gold"][-1] > 0


def test_an_interval_is_students(targets):
    values = [1.0, 2.0, 4.0, 4.5, 7.0]
    mean, half = targets.interval(values)
    wanted = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((wanted.low, wanted.high))


@pytest.mark.slow
def test_everything_runs_at_a_small_size(targets):
    found = targets.quick()
    assert targets.table(found).count("\n") == 1 + 3 + len(targets.METHODS)
    for name, method in found["methods"].items():
        row = method["runs"][0]
        assert row["labels"] > 0 and -20 < row["kl"] < 20, name
        assert all(len(v) == len(row["curve"]["step"]) for v in row["curve"].values())
