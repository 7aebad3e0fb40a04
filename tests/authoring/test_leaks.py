"""No solution line reaches a worksheet: not by the lesson's fault, and not by the builder's."""

import json

import pytest

from tutorlib.authoring import build, read_lesson
from tutorlib.authoring.leaks import leaks
from tutorlib.authoring.products import Built
from tutorlib.authoring.stubs import is_telling, solution_blocks, stub
from tutorlib.errors import LessonError

LEAKS = {
    "in a later code cell": ('print(map_size["rows"] * map_size["columns"])',
                             "total, discount, step, value = 0, 1, 1, 1\n"
                             "total += discount**step * value"),
    "in prose": ("Later counts less.", "Later counts: total += discount**step * value"),
    "in a comment": ("import html", "import html  # total += discount**step * value"),
    "in the given part of the next exercise": (
        'map_text = "S.G\\n..."',
        "step = value = total = discount = 1\ntotal += discount**step * value"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leaking_lesson_is_refused_and_the_cell_named(name, toy_root, edited):
    path = edited(*LEAKS[name])
    with pytest.raises(LessonError) as caught:
        build(toy_root)
    number = int(str(caught.value).split(":")[1])
    marker = path.read_text(encoding="utf-8").splitlines()[number - 1]
    assert marker.startswith("# %%") and marker != '# %% exercise="capstone.discounted_sum"'
    assert "'total += discount**step * value', part of the solution of capstone.discounted_sum" \
        in str(caught.value)


def test_cells_that_do_not_reach_worksheets_may_say_it(toy_root, edited):
    edited("Compare the two ways.", "Compare `total += discount**step * value` with Horner.")
    edited('print("Ask the room first.")', "# total += discount**step * value")
    build(toy_root)
    assert "discount**step" not in (toy_root / "exercises/22_capstone.ipynb").read_text()


def test_a_builder_that_forgets_a_stub_is_caught(toy_root):
    lesson = read_lesson(toy_root / "course/22_capstone.py")
    unsolved = [Built("code", stub(c.source, c.exercise.split(".")[1]) if c.exercise else c.source)
                for c in lesson.cells if c.kind == "code"]
    assert leaks(lesson, unsolved) == []
    for cell in (c for c in lesson.cells if c.kind == "code" and c.exercise):
        found = leaks(lesson, [*unsolved, Built("code", cell.source, line=cell.line)])
        assert found and {p.line for p in found} == {cell.line}


def test_a_plain_value_is_a_solution_too(toy_root, edited):
    edited('map_size = {"rows": 2,\n            "columns": 3}', "map_size = 6")
    edited("import html", "import html\n\nmap_size = 6")
    with pytest.raises(LessonError, match="shows learners the line 'map_size = 6'"):
        build(toy_root)


def test_ordinary_lines_may_occur_elsewhere(toy_root, edited):
    edited("import html", "import html\n\nfor step, value in enumerate([1]):\n    pass")
    build(toy_root)


@pytest.mark.parametrize(("line", "telling"), [
    ("return values", False), ("return values, policy", False), ("total = 0.0", False),
    ("import math", False), ("from math import exp", False), ("for s in range(n):", False),
    ("values = {}", False), ("x + y", False), ("policy = plan.policy", False),
    ("return rewards + discount * values", True), ("q = mdp.reward + expected", True),
    ("values = torch.zeros(n, 3)", True), ('"rows": 2, "columns": 3', True),
])
def test_what_counts_as_telling(line, telling):
    assert is_telling(line) is telling


def test_every_solution_line_of_the_toy_is_gone(toy_root):
    build(toy_root)
    worksheet = json.loads((toy_root / "exercises/22_capstone.ipynb").read_text(encoding="utf-8"))
    shown = "\n".join("".join(cell["source"]) for cell in worksheet["cells"])
    for cell in read_lesson(toy_root / "course/22_capstone.py").cells:
        lines = cell.source.splitlines()
        for block in solution_blocks(cell.source) if cell.kind == "code" else ():
            for line in lines[block.begin + 1: block.end]:
                assert line.strip() not in shown


STUBS = {
    "two blocks in one function": (
        "def f(x):\n    ### BEGIN SOLUTION\n    y = x\n    ### END SOLUTION\n    z = 1\n"
        "    ### BEGIN SOLUTION\n    return y + z\n    ### END SOLUTION",
        "def f(x):\n    raise NotImplementedError(\"write your answer here\")\n    z = 1\n"
        "    raise NotImplementedError(\"write your answer here\")"),
    "a branch": (
        "def f(x):\n    if x:\n        ### BEGIN SOLUTION\n        return 1\n\n"
        "        ### END SOLUTION\n    return 0",
        "def f(x):\n    if x:\n        raise NotImplementedError(\"write your answer here\")\n"
        "    return 0"),
    "a method": (
        "class f:\n    def go(self):\n        ### BEGIN SOLUTION\n        return 1\n"
        "        ### END SOLUTION",
        "class f:\n    def go(self):\n"
        "        raise NotImplementedError(\"write your answer here\")"),
    "a value with its helper": (
        "### BEGIN SOLUTION\nn = 3\nf = [n] * n\n### END SOLUTION\nprint(1)",
        "f = ...\nprint(1)"),
    "an annotated value": ("### BEGIN SOLUTION\nf: int = 3\n### END SOLUTION", "f = ..."),
}


@pytest.mark.parametrize("name", STUBS)
def test_stubs(name):
    source, expected = STUBS[name]
    assert stub(source, "f") == expected
