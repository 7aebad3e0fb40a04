"""NOTATION.md says what the code says: names exist, a symbol has one meaning, the thread agrees."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest
import torch

from tutorlib.mdp import GridWorld, TabularMDP, greedy_policy, occupancy_measure, uniform_policy
from tutorlib.syllabus import SHARED_OBJECTS, UNITS, course_root, ready_units

ROOT = course_root(Path(__file__).parent)
TEXT = (ROOT / "NOTATION.md").read_text(encoding="utf-8")
SYMBOLS = ["Symbol", "Code", "Meaning", "Shape or range", "Unit"]


def tables(text):
    """Return every Markdown table as (header, rows)."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    split = [[[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
              for line in block.strip().splitlines()] for block in blocks]
    return [(block[0], block[2:]) for block in split]


def entries(text):
    """Return (unit, code name) for each pair of a Code column and the Unit column behind it."""
    found = []
    for header, rows in tables(text):
        codes = [i for i, name in enumerate(header) if name == "Code"]
        for row in rows:
            for i in codes:
                unit = row[next(j for j in range(i, len(header)) if header[j] == "Unit")]
                found += [(unit, name) for name in re.findall(r"`(\w+)`", row[i])]
    return found


def identifiers():
    """Return every name that tutorlib defines: functions, classes, arguments, fields."""
    names = set()
    for path in (ROOT / "tutorlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
    return names


def missing_names(text, units):
    """Return the code names of these units that tutorlib does not define."""
    known = identifiers()
    return sorted({name for unit, name in entries(text) if unit in units and name not in known})


def test_every_table_parses_and_names_units_that_exist():
    numbers = {unit.number for unit in UNITS}
    assert len(tables(TEXT)) >= 5
    for header, rows in tables(TEXT):
        assert rows
        for row in rows:
            assert len(row) == len(header), row
            units = [cell for name, cell in zip(header, row, strict=True) if name == "Unit"]
            assert units and all(number in numbers for cell in units
                                 for number in cell.split(", ")), row


def test_every_name_of_a_ready_unit_is_in_the_code():
    ready = {unit.number for unit in ready_units(ROOT)}
    assert missing_names(TEXT, ready) == []


def test_an_invented_name_would_be_found():
    invented = TEXT.replace("`initial_state_dist`", "`start_probabilities`")
    assert missing_names(invented, {"01"}) == ["start_probabilities"]


def test_a_symbol_has_one_meaning():
    symbols = [s for header, rows in tables(TEXT) if header == SYMBOLS
               for row in rows for s in re.findall(r"\$[^$]+\$", row[0])]
    assert len(symbols) > 30
    repeated = {s for s in symbols if symbols.count(s) > 1}
    assert not repeated, "give each meaning a symbol of its own"


def test_every_field_of_a_decision_process_has_its_line():
    listed = {name for _, name in entries(TEXT)}
    assert {field.name for field in dataclasses.fields(TabularMDP)} <= listed


def test_the_thread_is_the_syllabus_thread():
    rows = next(rows for header, rows in tables(TEXT) if header[0] == "Shared object")
    assert rows == [[o.name, o.tabular, o.tabular_unit, o.language, ", ".join(o.language_units)]
                    for o in SHARED_OBJECTS]


@pytest.fixture(scope="module")
def grid():
    return GridWorld("S.\n.G", slip=0.2, step_reward=-0.1, discount=0.9)


def test_the_stated_order_of_actions_and_cells_is_the_code_s(grid):
    assert "run up, right, down, left. Cells are (row, column) from 0" in " ".join(TEXT.split())
    assert grid.mdp.action_names == ("up", "right", "down", "left")
    assert grid.cell_of(1) == (0, 1)


def test_the_stated_reward_and_occupancy_conventions_are_the_code_s(grid):
    mdp = grid.mdp
    expected = mdp.transition_matrix @ grid.cell_rewards  # paid on arrival
    assert torch.allclose(mdp.reward[~mdp.terminal], expected[~mdp.terminal])
    total = occupancy_measure(mdp, uniform_policy(mdp)).sum()
    assert float(total) == pytest.approx(1 / (1 - mdp.discount))


def test_a_greedy_policy_is_one_hot_and_gives_ties_to_the_first_action():
    assert greedy_policy(torch.tensor([[1.0, 1.0], [0.0, 2.0]])).tolist() == [[1, 0], [0, 1]]
