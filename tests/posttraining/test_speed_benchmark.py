"""The benchmark of training steps: its wide model, its verdicts, and a small run."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tutorlib.posttraining import collate_preferences, encode_preferences
from tutorlib.tinytalk import load

FOLDER = Path(__file__).parents[2] / "benchmarks" / "posttraining" / "speed"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def row(method, size, ours, bare, trl):
    times = {"tutorlib": ours, "bare loop": bare, "TRL": trl}
    return {"method": method, "size": size, "samples": 32} | {
        who: {"seconds": t, "all": [t], "peak_mb": 500.0, "before_mb": 400.0}
        for who, t in times.items() if t is not None}


def test_the_wide_model_says_what_the_small_one_says(module):
    model, _ = load("base")
    wide = module("workload").widen(model)
    ids = torch.randint(4, model.config.vocab_size, (3, 20),
                        generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(wide(ids).logits, model(ids).logits, atol=1e-4, rtol=1e-5)
    assert 900_000 < sum(p.numel() for p in wide.parameters()) < 1_000_000


def test_verdicts_name_what_misses_a_goal(module):
    speed = module("speed")
    rows = [row("dpo", "base", 1.0, 1.0, 1.2), row("rloo", "base", 1.0, 1.5, 1.4),
            row("ppo", "1M", 1.2, 1.0, None)]
    ahead, base, bare = speed.verdicts(rows)
    assert ahead == "Ahead of TRL in every row: met; least 1.20 times the rate."
    assert base == ("Ahead of TRL by 1.3 at base size: MISSED by DPO base (1.20); "
                    "least 1.20 times the rate.")
    assert bare == ("Of the bare loop's time at most 1.1: MISSED by PPO 1M (0.83); "
                    "least 0.83 times the rate.")
    assert speed.line(rows[2]) == "| PPO | 1M | 27 | 32 | - | - | 0.83 | 100 | 100 | - |"


def test_the_committed_figures_are_those_on_the_page(module):
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    assert module("speed").report(results) in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert len(results["rows"]) == 8


def test_four_of_ten_places_of_a_batch_of_pairs_are_padding(module):
    """As the page says: where prompts and answers are padded apart."""
    workload = module("workload")
    work, n = workload.make_work("base"), workload.PAIRS_PER_STEP
    pairs = encode_preferences(work.tokenizer, work.prompts[:n], work.chosen[:n],
                               work.rejected[:n], add_special_tokens=False)
    batch = collate_preferences(pairs)
    kept = torch.cat([batch.prompt_mask, batch.completion_mask], 1).double().mean()
    assert 0.55 < float(kept) < 0.65


@pytest.mark.slow
def test_a_small_run_is_not_slower_than_the_bare_loop():
    """Measured small, so with room: the committed table holds the figures."""
    done = subprocess.run(
        [sys.executable, FOLDER / "speed.py", "--quick", "--methods", "grpo", "--sizes", "base"],
        capture_output=True, text=True, check=True)
    cells = done.stdout.splitlines()[0].split("|")
    assert cells[1].strip() == "GRPO-style"
    assert float(cells[6]) > 0.9 and float(cells[7]) > 0.9
