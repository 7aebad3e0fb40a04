"""Bars, tables, graphs and the course map in words; what they refuse."""

import numpy as np
import pytest

from tutorlib.errors import InvalidArgumentError, LessonError
from tutorlib.mdp.tabular import TabularMDP
from tutorlib.syllabus import UNITS
from tutorlib.viz import bars, matrix, mdp_graph, roadmap


def test_bars_in_words():
    alt = bars({"PPO": 1.5, "DPO": -0.5}, errors={"PPO": 0.1, "DPO": 0.2},
               errors_are="standard error over 5 seeds", title="A claim", ylabel="reward",
               target=2, target_label="expert").alt
    assert "PPO: 1.5 plus or minus 0.1; DPO: −0.5 plus or minus 0.2." in alt
    assert "Highest: PPO, 1.5; lowest: DPO, −0.5." in alt
    assert "Error bars: standard error over 5 seeds." in alt
    assert "Dashed line: expert, 2." in alt


def test_groups_of_bars_in_words():
    alt = bars({"chosen": [0.5, 0.9], "rejected": [0.4, 0.1]}, groups=["before", "after"],
               title="A claim", ylabel="probability").alt
    assert "chosen: before: 0.5; after: 0.9." in alt
    assert "Highest: chosen, after, 0.9; lowest: rejected, after, 0.1." in alt


@pytest.mark.parametrize(("change", "message"), [
    ({"values": {"a": float("inf")}}, "expected finite numbers"),
    ({"values": {"a": [1, 2]}}, "give groups"),
    ({"groups": ["x", "y"]}, "shape"),
    ({"errors": {"a": 1.0}}, "errors_are"),
    ({"errors": {"a": -1.0}, "errors_are": "sd"}, "negative"),
    ({"errors": {"a": 1.0, "b": 1.0}, "errors_are": "sd"}, "same names and lengths"),
    ({"ylabel": ""}, "ylabel"),
])
def test_bad_bars_are_refused(change, message):
    with pytest.raises(InvalidArgumentError, match=message):
        bars(**{"values": {"a": 1.0}, "title": "A claim", "ylabel": "y", **change})


def test_a_small_table_is_read_out_and_a_large_one_summarised():
    named = {"title": "A claim", "label": "p"}
    alt = matrix(np.eye(2), rows=["a", "b"], columns=["c", "d"], **named).alt
    assert "Row a: c 1, d 0. Row b: c 0, d 1." in alt
    table = np.arange(60.0).reshape(6, 10)
    alt = matrix(table, rows=list("abcdef"), columns=list("ABCDEFGHIJ"), **named).alt
    assert "Highest: row f, column J, 59; lowest: row a, column A, 0." in alt
    assert "Row b: highest at J, 19." in alt


def test_gaps_in_a_table_are_allowed_but_not_an_empty_one():
    named = {"title": "A claim", "rows": ["a"], "columns": ["c", "d"]}
    assert "Row a: c 1." in matrix([[1, np.nan]], **named).alt
    with pytest.raises(InvalidArgumentError, match="no numbers"):
        matrix([[np.nan, np.nan]], **named)
    with pytest.raises(InvalidArgumentError, match=r"expected \(1, 2\)"):
        matrix([[1, 2, 3]], **named)


def two_states():
    return TabularMDP.from_dense(
        [[[0.25, 0.75], [1, 0]], [[0, 1], [0, 1]]], [[2.0, 0.0], [0.0, 0.0]],
        terminal=[False, True], state_names=["work", "home"], action_names=["go", "wait"])


def test_a_graph_in_words():
    alt = mdp_graph(two_states(), [1.5, 0], title="A claim").alt
    assert "work (value 1.5), home (value 0) (terminal)" in alt
    assert "go to work with probability 0.25, reward 2" in alt
    assert "wait to work" in alt and "From home" not in alt


def test_a_graph_refuses_what_nobody_could_read():
    many = TabularMDP.from_dense(np.eye(11)[:, None], np.zeros((11, 1)))
    with pytest.raises(InvalidArgumentError, match="11 states"):
        mdp_graph(many, title="A claim")
    with pytest.raises(InvalidArgumentError, match="expected exactly"):
        mdp_graph(two_states(), title="A claim", positions={"work": (0, 0)})
    with pytest.raises(InvalidArgumentError, match="shape"):
        mdp_graph(two_states(), [1.0], title="A claim")


@pytest.mark.parametrize("unit", UNITS)
def test_the_map_lights_each_unit(unit):
    picture = roadmap(unit.number)
    assert f"You are here: unit {unit.number}, {unit.title}" in picture.alt
    svg = picture.data.decode()
    assert svg.count('fill="#0b3d66"') == 2  # the box, and its key
    assert svg.count("stroke-dasharray") == len(unit.needs) + bool(unit.needs)
    for other in UNITS:
        assert f">{other.number}<" in svg


def test_the_map_of_no_unit_is_refused():
    with pytest.raises(LessonError, match="there is no unit"):
        roadmap("99")
