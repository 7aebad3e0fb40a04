"""Reading cells that were written to keep the reader busy: bounded, and never by guessing."""

import json
import time

import pytest

from tests.grading.cohort.conftest import RIGHT, code_cell
from tutorlib.grading.cohort.answers import Script
from tutorlib.grading.cohort.cells import (
    CODE_LIMIT,
    NotebookError,
    read_cells,
    statements,
    without_magics,
)
from tutorlib.grading.registry import unit_exercises

SECONDS = 5.0  # of processor; each of these took minutes, or gigabytes


@pytest.fixture
def soon():
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS


def script(*sources):
    cells = read_cells(json.dumps({"cells": [code_cell(text) for text in sources]}).encode())
    return Script(cells, unit_exercises("start_here"))


def test_thousands_of_empty_lines_are_no_riddle(soon):
    source = "\n" * 190_000 + ")"
    assert without_magics(source) == source
    assert without_magics("%time\n  !ls\nx = 1\nx?\n)") == "%time\n  !ls\nx = 1\nx?\n)"
    assert without_magics("  \n%time\n\n!ls\nx?") == "  \npass\n\npass\npass"


@pytest.mark.parametrize("part", ["a = ", "a", "a, ", " \t", "\t\n", "a b", "= ", "%time ", "x.\n"])
def test_no_text_keeps_the_search_for_magics_busy(soon, part):
    assert without_magics(part * (190_000 // len(part)) + "\n)")


def test_thousands_of_statements_are_run_as_one(soon):
    source = "1\n" * 90_000
    assert list(statements(source)) == [source], "each apart would be padded to its own line"
    assert list(statements("x = 1\n\ny = 2")) == ["x = 1\n", "\n\ny = 2"]


def test_lines_are_those_that_python_counts():
    source = 'x = "a\u2028b"\n\x0cy = 1\nz = 2'
    assert [text.strip() for text in statements(source)] == ['x = "a\u2028b"', "y = 1", "z = 2"]


def test_names_that_lend_to_one_another_are_looked_up_once(soon):
    chain = "".join(f"def f{i}(): return f{i + 1}\n" for i in reversed(range(6_000)))
    made = script(chain, RIGHT.replace("return", "f0\n    return"))
    pieces = made.pieces(unit_exercises("start_here")[0], {})
    assert len(pieces) == 6_002  # and the answer cell's import and function


def test_a_statement_nested_too_deep_is_not_lent_and_stops_nothing(soon):
    deep = "def helper(): return " + "x" + ".y" * 900
    answer = RIGHT.replace("return", "helper, other\n    return")
    made = script(deep, "def other(): return 1", answer)
    text = "".join(piece.source for piece in made.pieces(unit_exercises("start_here")[0], {}))
    assert "def other" in text and "def softmax_with_temperature" in text


def test_too_much_code_is_refused_with_the_limit():
    many = [code_cell("#" * 190_000) for _ in range(6)]
    with pytest.raises(NotebookError, match=f"at most {CODE_LIMIT:,}"):
        read_cells(json.dumps({"cells": many}).encode())


def test_the_cells_that_answer_are_counted_up_to_a_point():
    made = script(*[RIGHT] * 100)
    [note, *_] = made.found["start_here.softmax_with_temperature"].notes
    assert "cell 100" in note and len(note) < 300
