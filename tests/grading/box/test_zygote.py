"""The process that forks boxes: what it has loaded, and that its children are alone."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tutorlib.grading.box import Cell, Limits, lock, preload, tiers
from tutorlib.grading.box.box import Box
from tutorlib.grading.registry import find_exercise

LOOK = """
import gc, os, sys
def look(): return os.getpid(), os.listdir('/proc')
def frozen(): return gc.get_freeze_count()
def has(name): return name in sys.modules
"""


def test_each_box_is_the_first_process_of_its_own_namespace(boxed, host):
    """Also the second one: the process that forks them goes back to its own in between."""
    if host.way != lock.WALLED:
        pytest.skip("the landlock tier has no process namespaces")
    for _ in range(2):
        number, seen = boxed(LOOK).answer("look")()
        assert number == 1 and [name for name in seen if name.isdigit()] == ["1"]


def test_a_collection_of_garbage_leaves_what_was_loaded_before_alone(boxed):
    assert boxed(LOOK).answer("frozen")() > 100_000


def test_modules_are_loaded_before_a_box_is_made_and_once(host):
    def has(name):
        with Box(host, Limits()) as box:
            box.load([Cell(LOOK)])
            return box.answer("has")(name)

    assert not has("tutorlib.tinytalk.oracle") and not has("colorsys")
    host.load(["colorsys", "there.is.no.such.module"])
    assert has("colorsys")
    sent = []
    host._control, real = type("", (), {"send": sent.append}), host._control
    try:
        host.load(["colorsys", "numpy"])
    finally:
        host._control = real
    assert not sent


def test_what_is_forbidden_is_hidden_under_names_of_modules_loaded_earlier_or_later(host):
    source = """
def asks(module, name):
    import importlib
    getattr(importlib.import_module(module), name)
    return "found"
"""
    with Box(host, Limits()) as box:
        box.load([Cell(source)], ["tutorlib.mdp.gibbs_policy"])
        for module in ("tutorlib.mdp", "tutorlib.mdp.soft"):
            with pytest.raises(ImportError, match="is what an exercise asks you to write"):
                box.answer("asks", 20)(module, "gibbs_policy")
        assert box.answer("asks", 20)("tutorlib.mdp", "soft_policy_iteration") == "found"
    host.load(["tutorlib.irl"])
    with Box(host, Limits()) as box:
        box.load([Cell(source)], ["tutorlib.irl.divergences.DIVERGENCES"])
        with pytest.raises(ImportError, match="is what an exercise asks you to write"):
            box.answer("asks", 20)("tutorlib.irl.divergences", "DIVERGENCES")
    with Box(host, Limits()) as box:  # nothing of that is left for the next
        box.load([Cell(source)])
        assert box.answer("asks", 20)("tutorlib.irl.divergences", "DIVERGENCES") == "found"


@pytest.mark.parametrize("text, modules", [
    ("import torch\nreturn torch.softmax(scores, -1)", ("torch",)),
    ("from tutorlib.mdp import GridWorld", ("tutorlib.mdp",)),
    ("from tutorlib import irl", ("torch.fx.experimental.symbolic_shapes", "torch._dynamo",
                                  "tutorlib.irl")),
    ("loss.backward()", ("torch.fx.experimental.symbolic_shapes",)),
    ("import os, sys, evil; gradual = scipyx; rewards = nn = 1  # the backward pass", ()),
    ("optimizer = torch.optim.Adam(model.parameters())",
     ("torch", "torch.fx.experimental.symbolic_shapes", "torch._dynamo")),
])
def test_texts_choose_from_a_list(text, modules):
    assert preload.modules_for([text]) == modules


def test_torch_is_loaded_early_where_a_unit_has_to_do_with_it(tmp_path, monkeypatch):
    assert preload.usual_modules([]) == preload.NEEDED == preload.usual_modules(["start_here"])
    folder = tmp_path / "tutorlib" / "exercises"
    for name, text in (("arrays", "import numpy as np"), ("tensors", "from torch import ones"),
                       ("worlds", "from tutorlib.mdp import GridWorld")):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("")
        (folder / name / "cases.py").write_text(text)
    monkeypatch.setattr(preload, "_ROOT", tmp_path)
    assert preload.usual_modules(["arrays"]) == preload.BARE
    for others in (["tensors"], ["arrays", "tensors"], ["worlds"], ["no such unit"]):
        assert preload.usual_modules(others) == preload.NEEDED


def test_what_grades_an_exercise_names_modules_too():
    text = preload.graders_text(find_exercise("maxent_irl.visitation"))
    assert "tutorlib.mdp" in preload.modules_for([text])


def test_bytecode_is_made_where_it_can_be_written(tmp_path, monkeypatch):
    package = tmp_path / "somewhere"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1")
    (package / "part.py").write_text("y = 2")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(preload, "_ROOT", tmp_path)
    monkeypatch.setattr(preload, "_seen_to", set())
    preload.keep_bytecode(["somewhere.part", "somewhere.nothing"])
    assert list((package / "__pycache__").glob("part.*.pyc"))
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("done already"))
    preload.keep_bytecode(["somewhere.part", "sys"])


def test_what_is_started_early_is_what_is_used_later(host):
    """Each thread has its own; in a new one nothing is started yet."""
    def use():
        tiers.start_early("no such tier")
        assert not tiers._hosts()
        [tier] = [t for t in tiers.TIERS if t.way == host.way]
        tiers.start_early(tier.name)
        [early] = tiers._hosts().values()
        try:
            assert tiers.own_host(tier) is early and early.way == host.way
            with Box(early, Limits()) as box:
                box.load([Cell("def f(): return 2")])
                return box.answer("f")()
        finally:
            early.close()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(use).result() == 2


def test_starting_early_does_not_wait_for_torch():
    code = ("import sys, tutorlib.grading.box.tiers as tiers, tutorlib.cli\n"
            "assert 'torch' not in sys.modules and 'numpy' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)
