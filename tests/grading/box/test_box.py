"""A box as the judge uses it: values, gradients, callbacks, errors, prints, changed inputs."""

import dataclasses
import time

import numpy as np
import pytest
import torch

from tutorlib.grading import guard
from tutorlib.grading.box import BoxDiedError, Cell, Limits, NoBoxError, bubblewrap, tiers
from tutorlib.grading.box.box import Box
from tutorlib.grading.box.proxy import LearnerError
from tutorlib.grading.judge import NOT_ATTEMPTED, PASSED, evaluate
from tutorlib.mdp import TabularMDP


def test_values_of_every_kind_come_back_as_an_answer_would_give_them(boxed):
    answer = boxed("def f(*values): return list(values)").answer("f")
    mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]])
    given = [torch.eye(2), np.arange(3), np.float32(2), 1.5, True, None, "ü", (1, [2]), {"a": {1}}]
    back = answer(*given)
    assert [type(v) for v in back] == [type(v) for v in given]
    assert torch.equal(back[0], given[0]) and back[3:] == given[3:]
    with pytest.raises(TypeError, match="type TabularMDP cannot be sent to the grader"):
        answer(mdp)
    states = boxed("def f(mdp): return mdp.n_states, mdp.transition_matrix").answer("f")
    assert states(mdp)[0] == 2 and torch.equal(states(mdp)[1], mdp.transition_matrix)


def test_a_value_and_a_missing_name_and_an_untouched_one(boxed):
    box = boxed("match = {'a': 'b'}\nuntouched = ...\n")
    assert box.answer("match") == {"a": "b"}
    assert box.answer("untouched") is ... and box.answer("nowhere") is None


def test_gradients_flow_through_the_box(boxed):
    box = boxed("""
def f(a, b, c): return (a.sin() * b).sum(), a * 2, c + 1
def leaf(): return torch_leaf()
import torch
def torch_leaf(): return torch.ones(2, requires_grad=True) * 2
""")
    f = box.answer("f")
    a, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    c = torch.randn(3)
    total, twice, plain = f(a, b, c)
    assert total.requires_grad and twice.requires_grad and not plain.requires_grad
    found = torch.autograd.grad(total + (twice * c).sum(), (a, b), allow_unused=True)
    wanted = torch.autograd.grad((a.sin() * b).sum() + (2 * a * c).sum(), (a, b))
    assert all(map(torch.allclose, found, wanted))
    unused = torch.autograd.grad(f(a, b, c)[1].sum(), (a, b), allow_unused=True)
    assert unused[1] is None
    early, late = f(a, b, c)[0], f(b, a, c)[0]  # an earlier call's graph is still there
    late.backward()
    a.grad = None
    early.backward()
    assert torch.allclose(a.grad, a.cos() * b)
    assert box.answer("leaf")().requires_grad  # a caller can see that nothing was detached


def test_a_gradient_of_another_shape_is_refused(boxed):
    box = boxed("""
import torch
class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.sum()
    @staticmethod
    def backward(ctx, g): return g
def f(x):
    torch.autograd.grad = lambda *a, **k: [torch.ones(7)]
    return x.sum()
""")
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="gradient of another shape"):
        box.answer("f")(x).backward()


def test_functions_among_the_arguments_stay_here(boxed):
    @dataclasses.dataclass(frozen=True)
    class World:
        size: int
        secret: object = dataclasses.field(default_factory=object)

        def __call__(self, x, scale=1):
            if scale == 0:
                raise ValueError("no scale")
            return torch.as_tensor(x) * scale + self.size

    box = boxed("""
def f(world, plain): return world([1, 2], scale=world.size), plain(3)
def bad(world): return world(1, scale=0)
def look(world): return sorted(k for k in vars(world) if k[0] != "_")
def change(world): world.size = 9
def odd(world): return world(object())
""")
    value, plain = box.answer("f")(World(3), lambda x: x + 1)
    assert value.tolist() == [6, 9] and plain == 4
    with pytest.raises(ValueError, match="no scale"):
        box.answer("bad")(World(3))
    assert box.answer("look")(World(3)) == ["size"]
    with pytest.raises((AttributeError, LearnerError), match="cannot assign"):
        box.answer("change")(World(3))
    with pytest.raises(TypeError, match="object cannot be sent"):
        box.answer("odd")(World(3))


def test_what_a_box_asks_for_all_at_once_counts_too(boxed):
    calls = []

    def slow():
        calls.append(None)
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass

    box = boxed("""
import gc, os
from tutorlib.grading.box import wire
channel = next(o for o in gc.get_objects() if type(o).__name__ == '_Channel')
def f(slow):
    asked = wire.encode({'kind': 'callback', 'number': 0, 'args': [], 'kwargs': {}})
    os.write(channel._replies, asked * 200)
""")
    with pytest.raises(guard.TimeLimitReached):
        box.answer("f", 0.5)(slow)
    assert 1 < len(calls) < 50


def test_errors_come_back_with_their_type_words_and_lines(boxed):
    box = boxed("""
import numpy as np, torch
class Own(Exception): pass
class Sly(Exception):
    def __str__(self): raise RuntimeError
def f(kind):
    if kind == 0: return {"a": 1}["b"]
    if kind == 1: raise Own("words")
    if kind == 2: return np.linalg.inv(np.zeros((2, 2)))
    if kind == 3: return torch.linalg.inv(torch.zeros(2, 2))
    if kind == 4: raise Sly()
    if kind == 5: raise ValueError("x" * 10_000)
    if kind == 6: raise UnicodeDecodeError("utf-8", b"", 0, 1, "why")
    if kind == 7: raise ValueError("\\ud800")
    raise NotImplementedError("write your answer here")
""")
    f = box.answer("f")
    kinds = (KeyError, "Own", np.linalg.LinAlgError, torch.linalg.LinAlgError, "Sly", ValueError,
             "UnicodeDecodeError", ValueError, NotImplementedError)
    for number, kind in enumerate(kinds):
        with pytest.raises(Exception) as caught:
            f(number)
        error = caught.value
        assert type(error) is kind or kind in (type(error).__name__, str(error).split(":")[0])
        assert len(str(error)) <= 600 and "line" in guard.own_lines(error)
    with pytest.raises(KeyError) as caught:
        f(0)
    assert caught.value.args == ("b",) and 'return {"a": 1}["b"]' in guard.own_lines(caught.value)


def test_changed_inputs_are_seen_here(boxed):
    box = boxed("""
def f(x, items, names, *, table):
    x += 1; items.append(3); names["new"] = 1; table[0] = 9
def g(x): return x + 1
""")
    x, items, names, table = torch.zeros(2), [1], {}, np.zeros(2)
    outcome = guard.call(box.answer("f"), (x, items, names), {"table": table}, 5)
    assert outcome.error is None
    assert outcome.changed == ("argument 1", "argument 2", "argument 3", "`table`")
    assert guard.call(box.answer("g"), (x,), {}, 5).changed == () and items == [1]


def test_prints_of_a_call_reach_its_report(boxed):
    box = boxed("import sys\nprint('loading')\n"
                "def f(): print('hello'); print('there', file=sys.stderr)\n")
    assert guard.call(box.answer("f"), (), {}, 5).printed == "hello\nthere\n"
    assert box.printed.startswith("loading\n")


def test_prints_of_a_cell_reach_no_terminal(boxed, capfd):
    """They could hold what a terminal obeys."""
    boxed("print('\\x1b]52;c;b3du\\x07')\nx = 1\n").answer("x")
    assert capfd.readouterr().out == ""


def test_cells_run_as_in_a_notebook_and_a_broken_one_does_not_stop_the_next(host):
    with Box(host, Limits()) as box:
        problems = box.load([
            Cell("%matplotlib inline\nimport math\nimport nowhere_to_be_found\nx = 1 / 0\n"
                 "from tutorlib.exercises.start_here import EXERCISES", imports_only=True),
            Cell("def broken(:\n  pass"), Cell("1 / 0", "early"),
            Cell("!ls\n%%time\nfrom tutorlib import check\ndef f(x):\n    %time\n"
                 "    return math.sqrt(x)\nf = check('a.f', f)\ndisplay(f)\nf?"),
        ])
        assert "nowhere_to_be_found" in problems[0]
        assert "SyntaxError" in problems[1] and "ZeroDivisionError" in problems[2]
        assert problems[3] is None
        assert box.answer("f")(4.0) == 2.0 and box.answer("x") is None


def test_what_answers_an_exercise_is_not_there_and_all_else_works(boxed):
    box = boxed("""
from tutorlib.mdp import value_iteration
def f(line): exec(line, {})
def g(mdp): return value_iteration(mdp).values
""", forbidden=("tutorlib.mdp.q_values", "tutorlib.mdp.soft.soft_backup"))
    assert box.problems == [None]
    for line in ("from tutorlib.mdp import q_values", "from tutorlib.mdp.planning import q_values",
                 "import tutorlib; tutorlib.mdp.soft_backup", "import tutorlib.exercises"):
        with pytest.raises(ImportError, match="not there while"):
            box.answer("f")(line)
    box.answer("f")("from tutorlib.mdp import *")
    mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]])
    assert box.answer("g", 20)(mdp).shape == (2,)  # needs q_values itself


def test_the_judge_judges_an_answer_in_a_box(boxed, exercise):
    good = boxed("import torch\ndef f(x): return torch.cumsum(x, 0) / torch.arange(1, len(x) + 1)")
    assert evaluate(exercise, good.answer("f", 0.5)).outcome == PASSED
    bad = boxed("import torch\ndef f(x): return torch.cumsum(x, 0)")
    assert evaluate(exercise, bad.answer("f", 0.5)).mistake.name == "sum"
    stub = boxed("def f(x): raise NotImplementedError('write your answer here')")
    assert evaluate(exercise, stub.answer("f", 0.5)).outcome == NOT_ATTEMPTED
    slow = boxed("def f(x):\n  while True: pass")
    found = evaluate(exercise, slow.answer("f", 0.5))
    assert found.stage == "time limit" and not slow.alive


YES = """
import numpy as np, torch
class Yes:
    def __eq__(self, other): return True
    def __getattr__(self, name): return lambda *a, **k: self
class Array(np.ndarray):
    def __eq__(self, other): return True
    def __sub__(self, other): return np.zeros(3)
class Always(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *a, **k): return True
def yes(x): return Yes()
def array(x): return np.zeros(len(x)).view(Array)
def tensor(x): return torch.zeros(len(x)).as_subclass(Always)
def patched(x):
    for module in (torch, np):
        module.allclose = module.isclose = lambda *a, **k: True
    torch.Tensor.any = torch.Tensor.all = lambda *a, **k: True
    return torch.zeros(len(x))
def frames(x):
    import gc, sys
    frame, seen = sys._getframe(), []
    while frame:
        seen += [v for v in frame.f_locals.values() if type(v).__name__ in ("Case", "Exercise")]
        frame = frame.f_back
    seen += [o for o in gc.get_objects() if type(o).__name__ in ("Case", "Exercise")]
    return seen[0].expected
def shadow(x):
    import sys, types
    for name in list(sys.modules):
        if name.startswith("tutorlib.grading.compare"):
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].compare = lambda *a: None
    return torch.zeros(len(x))
"""


@pytest.mark.parametrize("name", ["yes", "array", "tensor", "patched", "frames", "shadow"])
def test_what_fools_a_grader_in_the_same_process_does_not_pass(boxed, exercise, name):
    result = evaluate(exercise, boxed(YES).answer(name, 5))
    assert result.outcome not in (PASSED, NOT_ATTEMPTED)


def test_no_box_is_refused_with_what_each_tier_lacks(monkeypatch):
    monkeypatch.setattr(tiers, "_faults", {tier: "broken here" for tier in tiers.TIERS})
    with pytest.raises(NoBoxError, match="bubblewrap: broken here; landlock: broken here"):
        tiers.best_tier()


def test_a_missing_bubblewrap_falls_to_the_next_tier(monkeypatch):
    monkeypatch.setattr(tiers, "_faults", {tiers.LANDLOCK: None})
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("TUTORLIB_BWRAP", raising=False)
    assert tiers.best_tier() is tiers.LANDLOCK
    assert "not installed" in tiers.fault(tiers.BUBBLEWRAP)


def test_what_lies_below_tmp_would_not_be_seen_and_is_named(monkeypatch):
    monkeypatch.setattr(tiers, "_faults", {tiers.LANDLOCK: None})
    monkeypatch.setenv("TUTORLIB_BWRAP", "/usr/bin/bwrap")
    monkeypatch.setattr(tiers, "_lacks_filters", lambda: None)
    monkeypatch.setattr(bubblewrap.paths, "readable", lambda: ["/usr", "/tmp/course/.venv"])
    assert tiers.best_tier() is tiers.LANDLOCK
    (reason,) = tiers.passed_over("landlock")
    assert reason.startswith("bubblewrap: ") and "/tmp/course/.venv lies below it" in reason
    assert tiers.passed_over("bubblewrap") == []


def test_a_killed_host_is_replaced(host):
    tier = next(t for t in tiers.TIERS if t.way == host.way)
    box = Box(host, Limits())
    host._process.kill()
    host._process.wait()
    with pytest.raises(BoxDiedError):
        for _ in range(50):  # the kernel ends the box a moment later
            box.answer("f")
            time.sleep(0.1)
    assert tiers.own_host(tier, ("numpy", "torch")) is not host
