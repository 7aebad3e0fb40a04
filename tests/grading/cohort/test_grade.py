"""One notebook's grade: where its answers are, what runs, what is said of shown and hidden cases.
"""

import json

import pytest

from tests.grading.cohort.conftest import (
    FIRST,
    RIGHT,
    UNDIVIDED,
    built,
    code_cell,
    notebook,
    with_answers,
)
from tutorlib.grading.cohort.answers import Script, is_stub
from tutorlib.grading.cohort.cells import NotebookError, parse, read_cells, without_magics
from tutorlib.grading.cohort.grade import HIDDEN_CASES, Plan, grade_notebook
from tutorlib.grading.cohort.records import flags
from tutorlib.grading.cohort.runners import Limits, Trusted
from tutorlib.grading.cohort.seeds import Seed
from tutorlib.grading.judge import DEFAULT_SEED
from tutorlib.grading.registry import find_exercise, unit_exercises

SEED = Seed("a secret that nobody can guess")
EXERCISES = unit_exercises("start_here")
STUB = ('def softmax_with_temperature(scores, temperature):\n    """Say."""\n'
        '    raise NotImplementedError("write your answer here")')
MARK = f"# exercise: {FIRST}\n"


def grade(data, exercises=EXERCISES, **plan):
    plan = Plan(**{"seed": SEED, "limits": Limits(60), **plan})
    return grade_notebook(data, exercises, plan, Trusted)


def first(data, **plan):
    return grade(data, **plan)["exercises"][0]


@pytest.mark.parametrize("cells, by, note", [
    ([RIGHT], "metadata", ""),
    ([code_cell(MARK + RIGHT)], "comment", "mark was lost"),
    ([code_cell(RIGHT)], "name", "mark was lost"),
    ([STUB, code_cell(RIGHT)], "name", "own cell (1) is untouched; cell 2 counts"),
    ([STUB, RIGHT], "metadata", ""),
    ([RIGHT, STUB], "metadata", ""),
    ([UNDIVIDED, RIGHT], "metadata", "Cells 1 and 2 answer this exercise; the last of them"),
    ([RIGHT, code_cell(UNDIVIDED)], "metadata", ""),
])
def test_an_answer_is_found_wherever_it_is_and_it_is_said_which_counts(cells, by, note):
    row = first(notebook(*cells))
    assert (row["outcome"], row["points"]) == ("passed", row["max_points"]), row["message"]
    assert row["found_by"] == by and note in " ".join(row["notes"])


def test_nothing_else_of_a_notebook_runs():
    ran = []
    import builtins

    builtins.ran_in_test = ran
    cells = [code_cell("ran_in_test.append('training')"), RIGHT, code_cell("1 / 0"),
             code_cell("x = ran_in_test.append('call')"),
             code_cell("@ran_in_test.append\ndef unused(): pass")]
    try:
        assert first(notebook(*cells))["outcome"] == "passed" and ran == []
    finally:
        del builtins.ran_in_test


def test_imports_helpers_and_constants_of_other_cells_are_lent_when_used():
    uses = ("def softmax_with_temperature(scores, temperature):\n"
            "    return halve(T.softmax(2 * scores / temperature / TWO, -1))")
    cells = [code_cell("import no_such_module\nimport torch as T, os"), code_cell("TWO = 2.0"),
             code_cell("def halve(x):\n    return identity(x)"), uses,
             code_cell("def identity(x):\n    return x")]
    assert first(notebook(*cells))["outcome"] == "passed"
    script = Script(read_cells(notebook(*cells)), EXERCISES)
    lent = [p.source for p in script.pieces(EXERCISES[0], {}) if not p.exercise]
    assert lent == ["import torch as T", "TWO = 2.0", "def halve(x):\n    return identity(x)",
                    "def identity(x):\n    return x"]


def test_a_missing_name_is_explained():
    row = first(notebook(code_cell("scale = compute()"), RIGHT.replace("/ temp", "* scale / temp")))
    assert row["outcome"] == "not passed" and row["stage"] == "error"
    assert "'scale' is not defined" in row["message"] and "into its own cell" in row["message"]


@pytest.mark.parametrize("source", [
    "%%time\n" + RIGHT, "%matplotlib inline\n" + RIGHT, "!pip install torch\n" + RIGHT,
    RIGHT + "\nsoftmax_with_temperature?", RIGHT + "\n\nprint(not_here)\n",
    "print(not_here)\n" + RIGHT,
])
def test_magics_and_statements_that_fail_do_not_cost_the_answer(source):
    assert first(notebook(source))["outcome"] == "passed"


def test_a_percent_sign_in_plain_python_is_no_magic():
    source = "x = (7\n% 4)\n"
    assert without_magics(source) == source
    assert parse(without_magics("%%bash\nrm -rf x")).body == []


@pytest.mark.parametrize("source, told", [
    ("def softmax_with_temperature(:", "SyntaxError"),
    ("import torch", "does not define `softmax_with_temperature`"),
    ("raise SystemExit", "SystemExit"),
    ("def softmax_with_temperature(scores, temperature):\n    raise KeyError('k')", "KeyError"),
    ("softmax_with_temperature = 3", "a function was expected"),
])
def test_what_went_wrong_is_said(source, told):
    row = first(notebook(source))
    assert row["outcome"] == "not passed" and row["points"] == 0
    assert told in row["message"]


def test_a_wrong_answer_shows_the_case_the_mistake_and_a_hint():
    row = first(notebook(UNDIVIDED))
    exercise = find_exercise(FIRST)
    assert row["hidden"] is False and {"call", "want", "got"} <= set(row["shown"])
    assert row["mistake"]["message"] in [m.message for m in exercise.mutants]
    assert row["hint"] == exercise.hints[0]
    assert first(notebook(UNDIVIDED), hints=False)["hint"] == ""
    assert {case["set"] for case in row["cases"]} == {"shown"}


HARD_CODED = """import torch


def softmax_with_temperature(scores, temperature):
    print("the inputs are", scores, temperature)
    key = (tuple(scores.flatten().tolist()), float(temperature))
    if key in TABLE:
        return torch.softmax(scores / temperature, -1)
    {otherwise}
"""


@pytest.fixture
def few_properties():
    """The first exercise without its properties, which call answers on inputs of their own."""
    from dataclasses import replace

    return (replace(find_exercise(FIRST), properties=()),)


@pytest.mark.parametrize("otherwise, told", [
    ("return scores", "On a hidden case the answer returned wrong values."),
    ("return None", "wrong type"),
    ("return scores[:1]", "wrong shape"),
    ("raise ValueError(f'inputs {scores}')", "On a hidden case the answer raised an error "
                                             "(ValueError)."),
    ("raise type('X' + repr(scores), (Exception,), {})", "On a hidden case the answer raised an "
                                                         "error."),
    ("scores.zero_(); return scores", "changed its inputs"),
])
def test_of_a_hidden_case_only_the_kind_of_fault_is_told(few_properties, otherwise, told):
    exercise = few_properties[0]
    cases = [exercise.hand_case(), *exercise.random_cases(DEFAULT_SEED)]
    keys = {(tuple(c.args[0].flatten().tolist()), float(c.args[1])) for c in cases}
    source = f"TABLE = {keys!r}\n" + HARD_CODED.replace("{otherwise}", otherwise)
    row = grade(notebook(source), few_properties)["exercises"][0]
    assert row["outcome"] == "not passed" and row["hidden"] is True
    assert row["message"] == told or told in row["message"]
    assert row["shown"] == {}
    hidden = exercise.random_cases(SEED.number(FIRST))
    text = json.dumps(row)
    for case in hidden:
        for number in [*case.args[0].flatten().tolist(), *case.expected.flatten().tolist()]:
            assert f"{number:.3f}"[:6] not in text
    assert "the inputs are" not in text


def test_there_are_hidden_cases_and_another_seed_draws_others():
    row = first(notebook(RIGHT))
    hidden = [case for case in row["cases"] if case["set"] == "hidden"]
    assert len(hidden) >= HIDDEN_CASES and all(c["outcome"] == "right" for c in hidden)
    assert all(case["case"] == "random instance" for case in hidden)
    exercise = find_exercise(FIRST)
    one = exercise.random_cases(SEED.number(FIRST))[0].args[0]
    other = exercise.random_cases(Seed("another one, just as long").number(FIRST))[0].args[0]
    shown = exercise.random_cases(DEFAULT_SEED)[0].args[0]
    assert one.shape != other.shape or not one.equal(other)
    assert one.shape != shown.shape or not one.equal(shown)


def test_an_exercise_with_few_random_cases_is_drawn_several_times(few_properties):
    from dataclasses import replace

    lazy = replace(few_properties[0], cases=lambda g: find_exercise(FIRST).cases(g)[:1])
    row = grade(notebook(RIGHT), (lazy,))["exercises"][0]
    assert sum(case["set"] == "hidden" for case in row["cases"]) == HIDDEN_CASES


def test_points_can_be_set():
    row = first(notebook(RIGHT), points={FIRST: 2.5})
    assert row["points"] == row["max_points"] == 2.5


def test_an_exercise_that_builds_on_a_wrong_one_can_still_be_right():
    """As in the lesson, a worked answer takes the place of one that does not pass."""
    content = json.loads(built("solutions", "06"))
    answers = {c["metadata"]["tutorlib"]["exercise"]: "".join(c["source"])
               for c in content["cells"]
               if c["metadata"].get("tutorlib", {}).get("role") == "answer"}
    answers["maxent_irl.visitation"] = "def visitation(*args):\n    return 0"
    exercises = unit_exercises("maxent_irl")[:3]
    rows = grade(with_answers("06", answers), exercises)["exercises"]
    assert [row["outcome"] for row in rows] == ["passed", "not passed", "passed"], rows


def test_an_endless_answer_loses_its_exercise_only(few_properties):
    from dataclasses import replace

    quick = replace(few_properties[0], time_limit=0.2)
    endless = RIGHT.replace("    return", "    while True: pass\n    return")
    result = grade(notebook(endless), (quick,))
    assert result["exercises"][0]["stage"] == "time limit" and result["limits_hit"] == ["time"]


def test_when_the_notebooks_time_is_used_up_the_rest_is_explained():
    rows = grade(built("solutions", "03"), unit_exercises("maximum_entropy_rl"),
                 limits=Limits(seconds=-1))["exercises"]
    assert all(row["stage"] == "time limit" and "used up" in row["message"] for row in rows)


def test_what_opening_a_runner_takes_is_not_the_notebooks_time(monkeypatch):
    """Importing torch for the first box takes a minute on a busy machine."""
    class Slow(Trusted):
        def __init__(self, limits):
            super().__init__(limits)
            Slow.opened += 1
            self._start += 1000.0  # as if it had been open for that long a time less

    Slow.opened = 0
    plan = Plan(SEED, Limits(60))
    rows = grade_notebook(built("solutions", "03"), unit_exercises("maximum_entropy_rl"), plan,
                          Slow)["exercises"]
    assert Slow.opened == len(rows) and all(row["outcome"] == "passed" for row in rows)
    monkeypatch.setattr(Trusted, "spent", 61.0)
    rows = grade_notebook(built("solutions", "03"), unit_exercises("maximum_entropy_rl"), plan,
                          Trusted)["exercises"]
    assert [row["stage"] for row in rows] == [""] + ["time limit"] * (len(rows) - 1)


def test_missing_memory_is_explained_and_flagged():
    hungry = RIGHT.replace("    return", "    raise MemoryError\n    return")
    result = grade(notebook(hungry), limits=Limits(60, 512))
    assert "more than the 512 MB" in result["exercises"][0]["message"]
    assert result["limits_hit"] == ["memory"] and flags(result) == ["ran into its limits: memory"]
    result = grade(notebook("x = [0] * 2**60\n" + RIGHT))
    assert result["exercises"][0]["outcome"] == "passed", "a statement apart from the answer"


@pytest.mark.parametrize("data, told", [
    (b"", "not a notebook"), (b"\xff\xfe", "not a notebook"), (b"[]", "not a notebook"),
    (b"null", "not a notebook"), (b'{"cells": 3}', "list of at most"),
    (b'{"cells": ' + b"[" * 100_000, "nested too deeply"),
    (b'{"cells": [' + b"{}," * 5000 + b"{}]}", "list of at most"),
    (b'{"cells": [' + b'9' * 10_000 + b"]}", "not a notebook"),
])
def test_a_broken_notebook_is_scored_and_explained(data, told):
    with pytest.raises(NotebookError, match=told):
        read_cells(data)
    row = first(data)
    assert row["points"] == 0 and row["stage"] == "notebook" and told in row["message"]
    assert row["hint"] == ""


@pytest.mark.parametrize("cell", [
    3, None, {}, {"cell_type": "code"}, {"cell_type": "code", "source": 7},
    {"cell_type": "code", "source": [1, "x"], "metadata": 3},
    {"cell_type": "code", "source": "x", "metadata": {"tutorlib": [1]}},
    {"cell_type": "code", "source": "x\x00y\ud800", "metadata": {"tutorlib": {"exercise": [1]}}},
    {"cell_type": "code", "source": "(" * 5000}, {"cell_type": "code", "source": "-" * 150_000},
    {"cell_type": "code", "source": "x" * 300_000},
])
def test_an_odd_cell_is_passed_over(cell):
    data = json.dumps({"cells": [cell, code_cell(RIGHT)]}).encode()
    assert first(data)["outcome"] == "passed"


def test_stubs_are_recognised():
    name = "softmax_with_temperature"
    assert is_stub(STUB, name) and not is_stub(RIGHT, name)
    assert is_stub("table = ...", "table") and not is_stub("table = {}", "table")
    assert not is_stub(STUB.replace("    raise", "    x = 1\n    raise"), name)
    assert is_stub("def f(x:\n    raise NotImplementedError('write your answer here')", "f")


def test_an_empty_cell_is_not_attempted():
    assert first(notebook("# nothing yet\n"))["outcome"] == "not attempted"
    assert "No cell" in first(notebook(code_cell("x = 1")))["message"]


@pytest.mark.parametrize("number", ["00", "03", "06"])
def test_an_untouched_worksheet_is_not_attempted(number):
    from tutorlib.syllabus import find_unit

    rows = grade(built("exercises", number), unit_exercises(find_unit(number).slug))["exercises"]
    assert rows and all(r["outcome"] == "not attempted" and r["points"] == 0 for r in rows)
