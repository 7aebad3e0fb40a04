"""The benchmark beside the exact optimum: it runs at a small size, and its figures bear it out."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks" / "posttraining"


@pytest.fixture(scope="module")
def bench():
    found = {}
    for name in ("targets", "tree"):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        found[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    return found["tree"]


@pytest.fixture(scope="module")
def world(bench):
    return bench.make_world(0.5, horizon=2)


def test_every_method_trains_and_the_regret_is_beta_times_the_distance(bench, world):
    for method in bench.METHODS:
        run = bench.train(world, method, seed=0, rate=1e-3, steps=6)
        assert run["step"] == [0, 4, 6]
        for regret, distance in zip(run["regret"], run["kl_to_optimum"], strict=True):
            assert regret == pytest.approx(0.5 * distance, abs=2e-6)
        assert run["regret"][0] != run["regret"][-1], method
        again = bench.train(world, method, seed=0, rate=1e-3, steps=6)
        assert again["regret"] == run["regret"]


def test_with_all_pairs_dpo_comes_near_the_optimum(bench, world):
    run = bench.train(world, "DPO, all pairs", seed=0, rate=1e-3, steps=25)
    assert run["regret"][-1] < 0.25 * run["regret"][0]


def test_labels_follow_bradley_terry(bench, world):
    best, worst = int(world.gold.argmax()), int(world.gold.argmin())
    a, b = torch.full((4000,), best), torch.full((4000,), worst)
    chosen, _ = world.labelled(a, b, torch.Generator().manual_seed(0))
    wanted = float(torch.sigmoid(world.gold[best] - world.gold[worst]))
    assert float((chosen == best).double().mean()) == pytest.approx(wanted, abs=0.02)


def test_the_figures_kept_are_as_the_page_reads_them(bench):
    cheap, dear = json.loads((FOLDER / "tree.json").read_text(encoding="utf-8"))
    assert (cheap["beta"], dear["beta"]) == bench.BETAS

    def ends(found, method):
        return [run["regret"][-1] for run in found["methods"][method]["runs"]]

    assert min(ends(cheap, "DPO")) > max(ends(cheap, "RLOO"))
    assert max(ends(dear, "DPO")) < min(ends(dear, "RLOO"))
    before = dear["methods"]["KTO"]["runs"][0]
    assert all(run["kl"][-1] > 2 * dear["kl_of_optimum"] for run in dear["methods"]["KTO"]["runs"])
    assert min(ends(dear, "KTO")) > before["regret"][0], "KTO walks past the optimum"
    for method in ("KTO", "PPO"):
        assert max(ends(cheap, method)) < 0.05 * cheap["methods"][method]["runs"][0]["regret"][0]
