"""``import tutorlib`` costs nothing: a notebook's first cell must not wait for torch."""

import json
import statistics
import subprocess
import sys

HEAVY = ("torch", "numpy", "matplotlib", "transformers", "trl", "gymnasium", "IPython", "rich")
PROBE = f"""
import json, sys, time
start = time.perf_counter()
import tutorlib
seconds = time.perf_counter() - start
print(json.dumps([seconds, [name for name in {HEAVY!r} if name in sys.modules]]))
"""


def probe(code: str):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_import_is_quick_and_loads_nothing_heavy():
    runs = [probe(PROBE) for _ in range(5)]
    assert statistics.median(seconds for seconds, _ in runs) < 0.2
    assert all(loaded == [] for _, loaded in runs)


def test_the_command_line_answers_help_without_torch():
    code = ("import json, sys, tutorlib.cli\n"
            "print(json.dumps([n for n in ('torch', 'numpy', 'matplotlib') if n in sys.modules]))")
    assert probe(code) == []


def test_grading_loads_torch_for_tensors_only():
    code = ("import json, sys, tutorlib.grading.cohort.command, tutorlib.grading.cohort.boxed\n"
            "import tutorlib.grading.box.box, tutorlib.grading.box.inside\n"
            "print(json.dumps('torch' in sys.modules))")
    assert probe(code) is False


def test_every_export_exists():
    code = ("import json, tutorlib\n"
            "print(json.dumps([n for n in tutorlib.__all__ if getattr(tutorlib, n) is None]))")
    assert probe(code) == []
