"""A malformed lesson is refused with the file, the line and what to do."""

import pytest

from tutorlib.authoring import build, read_lesson
from tutorlib.errors import LessonError

BROKEN = {
    "begin without end": (
        "    ### END SOLUTION\n    return total", "    return total",
        "    ### BEGIN SOLUTION\n    for", "BEGIN SOLUTION without END SOLUTION"),
    "end without begin": (
        "    ### BEGIN SOLUTION\n    for", "    for",
        "    ### END SOLUTION\n    return", "END SOLUTION without BEGIN SOLUTION"),
    "begin twice": (
        "        total += discount", "    ### BEGIN SOLUTION\n        total += discount",
        "    ### BEGIN SOLUTION\n        total", "a second BEGIN SOLUTION"),
    "markers around a whole function": (
        "def discounted_sum", "### BEGIN SOLUTION\n### END SOLUTION\ndef discounted_sum",
        "### BEGIN SOLUTION\n### END", "put the markers inside the body of discounted_sum"),
    "markers inside an expression": (
        '### BEGIN SOLUTION\nmap_size = {', 'map_size = {\n            ### BEGIN SOLUTION\n',
        "            ### BEGIN", "around the whole assignment 'map_size = ...'"),
    "markers around half a statement": (
        "        total += discount**step * value\n    ### END SOLUTION",
        "    ### END SOLUTION\n        total += discount**step * value",
        "    ### BEGIN SOLUTION\n    for", "let the markers enclose whole statements"),
    "markers in an ungraded cell": (
        "import html\n", "### BEGIN SOLUTION\nimport html\n### END SOLUTION\n",
        "# %%\n### BEGIN", "solution markers in a cell without exercise="),
    "graded cell without markers": (
        '### BEGIN SOLUTION\nmap_size = {"rows": 2,\n            "columns": 3}\n### END SOLUTION',
        "map_size = {}", '# %% exercise="capstone.map_size"', "has no ### BEGIN SOLUTION"),
    "unknown exercise": (
        "capstone.map_size", "capstone.map_sise", '# %% [markdown] exercise="capstone.map_sise"',
        "has no exercise 'capstone.map_sise': did you mean 'capstone.map_size'"),
    "exercise left out of the lesson": (
        '"capstone.map_size"', '"capstone.discounted_sum"', "# %% [markdown] tags=[\"card\"]",
        "exercise capstone.map_size is defined in tutorlib/exercises but has no graded cell"),
    "two graded cells": (
        '"capstone.map_size"', '"capstone.discounted_sum"',
        '# %% exercise="capstone.discounted_sum"\nmap', "has a second graded cell"),
    "another name": (
        "map_size = {", "size_of_map = {", '# %% exercise="capstone.map_size"',
        "must define 'map_size'"),
    "no task": (
        '# %% [markdown] exercise="capstone.map_size"', "# %% [markdown]",
        '# %% exercise="capstone.map_size"', "needs its task just before it"),
    "task without graded cell": (
        '# %% exercise="capstone.map_size"\nmap_text', '# %%\nhtml.escape("")\n\n'
        '# %% exercise="capstone.map_size"\nmap_text',
        '# %% [markdown] exercise="capstone.map_size"', "must be followed at once"),
    "unknown tag": (
        'tags=["hide-input"]', 'tags=["hide_input"]', '# %% tags=["hide_input"]',
        "unknown tag 'hide_input': did you mean 'hide-input'"),
    "graded cell in one product only": (
        '# %% exercise="capstone.map_size"',
        '# %% exercise="capstone.map_size" tags=["instructor"]',
        '# %% exercise="capstone.map_size" tags', "belongs in all three notebooks"),
    "no card": (' tags=["card"]', "", "# %% [markdown]", "the first cell must be the lesson's"),
    "two cards": ('tags=["slide"]', 'tags=["card"]', '# %% [markdown] tags=["card"]\nr"""\n## W',
                  "a second card"),
    "unknown metadata": (
        'tags=["slide"]', 'kind="slide"', '# %% [markdown] kind="slide"', "'kind'"),
    "a title in the marker": ("# %%\nimport", "# %% Imports\nimport", "# %% Imports", "'title'"),
    "a raw cell": ("# %%\nimport html", '# %% [raw]\nr"""\nx\n"""', "# %% [raw]", "a raw cell"),
    "not Python": ("import html", "import html as", "import html as", "this is not Python"),
    "text before the first cell": (
        '# %% [markdown] tags=["card"]', 'import os\n\n# %% [markdown] tags=["card"]',
        "# %% [markdown]", "start every cell, the first one too"),
}


def line_of(path, text):
    source = path.read_text(encoding="utf-8")
    return source[: source.index(text)].count("\n") + 1


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_lesson_is_refused_at_its_line(name, edited, toy_root):
    old, new, at, message = BROKEN[name]
    path = edited(old, new)
    with pytest.raises(LessonError) as caught:
        build(toy_root)
    said = [line for line in str(caught.value).splitlines() if message in line]
    assert said, f"{message!r} is not in: {caught.value}"
    assert said[0].startswith(f"course/22_capstone.py:{line_of(path, at)}: ")
    assert not (toy_root / "exercises").exists()


def test_exercises_keep_the_order_of_their_module(toy_root, edited):
    from tutorlib.authoring.structure import structure
    from tutorlib.grading.registry import unit_exercises

    lesson = read_lesson(toy_root / "course/22_capstone.py")
    assert structure(lesson, unit_exercises("capstone")) == []
    problems = structure(lesson, unit_exercises("capstone")[::-1])
    assert [p.rule for p in problems] == ["exercise-order"]
    assert "capstone.map_size comes before capstone.discounted_sum" in problems[0].message


def test_every_problem_is_listed_at_once(toy_root, edited):
    edited('tags=["hide-input"]', 'tags=["folded"]')
    edited("map_size = {", "sizes = {")
    with pytest.raises(LessonError) as caught:
        build(toy_root)
    assert "unknown tag 'folded'" in str(caught.value)
    assert "must define 'map_size'" in str(caught.value)


def test_a_lesson_outside_the_syllabus_is_refused(tmp_path):
    path = tmp_path / "99_unheard_of.py"
    path.write_text("# %%\nx = 1\n")
    with pytest.raises(LessonError, match=r"99_unheard_of\.py: no unit of the syllabus"):
        read_lesson(path)


def test_cells_know_their_lines(toy_root):
    path = toy_root / "course/22_capstone.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    for cell in read_lesson(path).cells:
        assert lines[cell.line - 1].startswith("# %%")
        assert lines[cell.first_line - 1] == cell.source.splitlines()[0]
