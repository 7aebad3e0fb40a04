"""Questions about numbers and arrays are graded without torch, with the same verdicts."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from tutorlib.grading.box.tiers import TIERS
from tutorlib.grading.box.wire import encode
from tutorlib.grading.compare import as_array, as_tensor, compare

GRADES = """
import json, sys
import numpy as np
from tutorlib.grading import Case, Exercise, Mutant, Variant
from tutorlib.grading.box import Cell, open_box
from tutorlib.grading.box.preload import BARE
from tutorlib.grading.box.tiers import TIERS
from tutorlib.grading.judge import evaluate

def total(values, factor):
    return np.cumsum(values) * factor

exercise = Exercise(
    id="start_here.total", title="Total", points=1, minutes=1, difficulty=1, reference=total,
    oracle=lambda values, factor: np.array([sum(values[:i + 1]) * factor for i in range(3)]),
    hand=Case((np.array([1.0, 2.0, 4.0]), 2), expected=np.array([2.0, 6.0, 14.0])),
    cases=lambda generator: [Case((generator.normal(size=3), 3)) for _ in range(3)],
    generator=np.random.default_rng, mutants=(Mutant("no factor", lambda values, factor: values
                                                     .cumsum(), "Times the factor."),),
    variants=(Variant("numpy", total),), hints=("a", "b", "c"), why="Sums.")
tier = next(t for t in TIERS if t.name == sys.argv[1])
told = {}
for name, source in json.load(sys.stdin).items():
    with open_box(tier, modules=BARE) as box:
        problem = box.load([Cell(source)])[0]
        result = evaluate(exercise, box.answer("total", 30), 5)
        known = result.mistake.name if result.mistake else ""
        told[name] = [result.outcome, result.stage, known, problem, "torch" in sys.modules]
print(json.dumps(told))
"""
NUMPY = "import numpy as np\ndef total(values, factor):\n    return {}"
TORCH = ("def total(values, factor):\n    torch = __import__('to' + 'rch')\n"
         "    x = torch.from_numpy(values).cumsum(0) * factor\n    return {}")
ANSWERS = {
    "right": NUMPY.format("np.cumsum(values) * factor"),
    "as a list": NUMPY.format("[float(x) for x in np.cumsum(values) * factor]"),
    "a known mistake": NUMPY.format("values.cumsum()"),
    "wrong": NUMPY.format("values * factor"),
    "of another shape": NUMPY.format("np.ones((2, 2))"),
    "changes its input": NUMPY.format("values.sort() or np.cumsum(values) * factor"),
    "raises": NUMPY.format("np.linalg.inv(np.zeros((2, 2)))"),
    "looks for torch": ("import sys\ndef total(values, factor):\n"
                        "    return values if 'torch' in sys.modules else 1 / 0"),
    "a pair that cannot be": NUMPY.format("values[:2].astype(object)"),
    "a tensor": TORCH.format("x"),
    "that requires a gradient": TORCH.format("x.requires_grad_()"),
    "of short numbers": TORCH.format("x.bfloat16() * 0 + x.float()"),
    "a pair of tensors": TORCH.format("x.reshape(3, 1).max(1)"),
    "booleans": TORCH.format("x > 0"),
}


@pytest.mark.slow
def test_verdicts_are_the_same_and_no_answer_makes_torch_load(host):
    tier = next(tier.name for tier in TIERS if tier.way == host.way)
    done = subprocess.run([sys.executable, "-c", GRADES, tier], input=json.dumps(ANSWERS),
                          capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert not any(loaded for *_, loaded in told.values()), "in its import no limit may ring"
    passed = {name for name, (outcome, *_) in told.items() if outcome == "passed"}
    assert passed == {"right", "as a list", "a tensor", "that requires a gradient",
                      "of short numbers"}
    assert told["a known mistake"][2] == "no factor"
    stages = {name: stage for name, (_, stage, *_) in told.items()}
    assert stages["of another shape"] == "shape" and stages["changes its input"] == "changed inputs"
    assert stages["a pair of tensors"] == "shape" and stages["booleans"] == "dtype"
    for name in ("raises", "looks for torch", "a pair that cannot be"):
        assert stages[name] == "error"


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16,
                                   torch.bfloat16, torch.float32, torch.float64, torch.complex128])
def test_a_tensor_and_its_array_are_judged_alike(dtype):
    values = torch.tensor([[1, 0], [2, 3]]).to(dtype)
    array = as_array(values)
    assert array.shape == (2, 2) and np.array_equal(array, torch.tensor([[1, 0], [2, 3]]).to(
        dtype).to(torch.complex128).numpy())
    assert as_tensor(values).dtype == dtype and as_tensor(values.requires_grad_(
        dtype.is_floating_point)).requires_grad is False
    for want in (values, array):
        assert compare(values, want, 1e-6, 1e-8) is None
        assert compare(array, want, 1e-6, 1e-8) is None
    moved = array.copy()
    moved[1, 0] = 1 - (dtype == torch.bool)
    found = compare(moved, values, 1e-6, 1e-8)
    assert found.kind == "value" and found.index == (1, 0)


def test_views_of_tensors_are_read_as_what_they_show():
    number = torch.tensor([1 + 2j, 3 - 1j]).conj()
    assert number.imag.is_neg() and number.is_conj()
    assert np.array_equal(as_array(number.imag), [-2, 1]) and as_array(number)[0] == 1 - 2j
    assert np.array_equal(as_array(torch.eye(2).to_sparse()), np.eye(2))
    assert as_array(torch.ones(1).to(torch.float8_e4m3fn)).dtype == np.float32
    assert as_array(torch.empty(2, device="meta")) is None is as_array(torch.ones)


def test_infinite_missing_and_complex_numbers_are_told_apart():
    inf, nan = float("inf"), float("nan")
    want = np.array([inf, -inf, nan, 1.0])
    assert compare(torch.tensor([inf, -inf, nan, 1.0]).double(), want, 1e-6, 1e-8) is None
    found = compare([inf, inf, nan, 1.5], want, 1e-6, 1e-8)
    assert found.index == (1,) and "2 of 4 entries differ, largest error inf" in found.message
    assert compare(np.array([1 + 2j]), np.array([1 + 3j]), 1e-6, 1e-8).kind == "value"
    for got in (np.array([1 + 0j]), [1 + 0j], [np.complex128(1)], [torch.tensor(1 + 0j)]):
        assert compare(got, np.array([1.0]), 1e-6, 1e-8) is not None, "no imaginary part is dropped"
    assert compare(np.complex128(1 + 5j), 1.0, 1e-6, 1e-8).kind == "dtype"
    assert compare([np.complex128(1 + 5j)], np.array([1 + 5j]), 1e-6, 1e-8) is None
    with pytest.raises(TypeError, match="no array of numbers"):
        compare([1], np.array(["a"]), 1e-6, 1e-8)


def run_apart(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_frame_of_tensors_is_read_as_arrays_where_torch_is_not_loaded():
    values = [torch.tensor([[1.5, -2.0]]).to(dtype) for dtype in (
        torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.complex64)]
    frame = encode([*values, torch.zeros(0, 3), torch.tensor([3, 1]).max(0)])
    told = run_apart(f"""if True:
        import sys
        from tutorlib.grading.box.unwire import read_frame, reader
        *arrays, empty, pair = read_frame(reader({frame!r}))
        print([a.tolist() for a in arrays], empty.shape, type(pair), 'torch' in sys.modules)""")
    assert told == (f"{[as_array(v).tolist() for v in values]} (0, 3) <class 'tuple'> False")


def test_what_stands_in_the_place_of_torch_is_not_taken_for_it():
    told = run_apart("""if True:
        import sys, types
        sys.modules["torch"] = types.ModuleType("torch")
        from tutorlib.grading.guard import call
        from tutorlib.grading.tensors import is_tensor, loaded_torch
        print(call(abs, (-1,), {}, 5).value, is_tensor(1), loaded_torch())
        del sys.modules["torch"]
        import torch
        print(loaded_torch() is torch)
        sys.modules["torch"] = types.ModuleType("torch")
        print(is_tensor(torch.ones(1)), loaded_torch() is torch)""")
    assert told == "1 False None\nTrue\nTrue True"


def test_a_call_that_loads_torch_leaves_its_settings_as_they_are_when_it_is_loaded():
    told = run_apart("""if True:
        from tutorlib.grading.guard import call
        def answer():
            import torch
            torch.set_default_dtype(torch.float64)
            torch.set_grad_enabled(False)
        assert call(answer, (), {}, 60).error is None
        import torch
        print(torch.get_default_dtype(), torch.is_grad_enabled())""")
    assert told == "torch.float32 True"


def test_torch_is_loaded_before_the_call_of_an_answer_that_names_it(host):
    tier = next(tier.name for tier in TIERS if tier.way == host.way)
    told = run_apart(f"""if True:
        import sys
        import numpy as np
        from tutorlib.grading import Case, Exercise
        from tutorlib.grading.box.preload import BARE
        from tutorlib.grading.cohort.answers import Piece
        from tutorlib.grading.cohort.boxed import Boxed
        from tutorlib.grading.cohort.runners import Limits
        exercise = Exercise(
            id="start_here.f", title="", points=1, minutes=1, difficulty=1, reference=abs,
            oracle=abs, mutants=(), variants=(), hints=("", "", ""), why="",
            hand=Case((1,), expected=1), cases=lambda generator: [], generator=int)
        for source in ("f = abs", "import torch; f = torch.from_numpy"):
            box = Boxed({tier!r}, Limits(), BARE)
            print(box.load([Piece(source, 1)], exercise), 'torch' in sys.modules)
            print(type(box.answer(exercise)(np.ones(1) if 'torch' in source else -1)).__name__)
            box.close()""")
    assert told.splitlines() == ["[''] False", "int", "[''] True", "Tensor"]
