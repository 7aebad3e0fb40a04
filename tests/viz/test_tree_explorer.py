"""The token-tree explorer without a browser: its rows, its refusals, its static default."""

import re

import numpy as np
import pytest

from tutorlib.errors import InvalidArgumentError
from tutorlib.lm import TokenTree, tiny_model, tree_arrays, word_tokenizer
from tutorlib.viz import Slider, TreeExplorer, TreeTables


@pytest.fixture(scope="module")
def solved():
    tokenizer = word_tokenizer(["the", "sky", "is", "blue"])
    tree = TokenTree(tiny_model(tokenizer, scale=20.0), "the sky",
                     ["blue", "<eos>", "is"], 3, tokenizer)
    return tree, tree.rewards_of(lambda text: text.count("blue"))


def test_the_numbers_on_screen_are_those_of_the_tree(solved):
    tree, reward = solved
    shown = TreeExplorer(tree_arrays(tree, reward, 0.7), threshold=0.0)
    shown.expand(["is", "blue"])
    plan = tree.solve(reward, 0.7)
    at = {row["text"]: row for row in shown.rows}
    node = tree.node_paths().index((tree.words[2], tree.words[0])) - 1 - 2  # within depth 2
    assert at["is blue"]["v"] == pytest.approx(float(plan.values[2][node]), abs=1e-12)
    row = at["is blue <eos>"]
    assert row["q"] == pytest.approx(float(plan.q_values[2][node, 1]), abs=1e-12)
    assert row["v"] is None and row["open"] is None
    for name, policy in (("π_ref", tree.reference), ("π*", plan.policy)):
        assert row["reach"][name] == pytest.approx(
            float(tree.leaf_logps(policy)[tree.leaf_of("is blue <eos>")].exp()), abs=1e-12)
        assert row["chances"][name] == pytest.approx(float(policy[2][node, 1].exp()), abs=1e-12)
    assert shown.rows[0]["text"] == "(start)"
    first = [r["chances"]["π_ref"] for r in shown.rows if r["level"] == 2]
    assert first == sorted(first, reverse=True)


def test_pruning_hides_only_what_every_policy_finds_rare_and_counts_it(solved):
    tree, reward = solved
    shown = TreeExplorer(tree_arrays(tree, 5 * reward, 0.2), threshold=0.1)
    rows = {row["text"]: row for row in shown.rows}
    for word in ("blue", "<eos>", "is"):
        whole = tree.words.index(tree.tokenizer.get_vocab()[word])
        chances = [float(t[0][0, whole].exp())
                   for t in (tree.reference, tree.optimal_policy(5 * reward, 0.2))]
        assert (word in rows) == (max(chances) >= 0.1)
    hidden = 3 - sum(row["level"] == 2 for row in shown.rows)
    assert rows["(start)"]["pruned"] == hidden > 0
    assert "hidden" in rows["(start)"]["said"]
    assert 0 <= rows["(start)"]["mass"] < 0.3


def test_a_price_solves_the_tree_anew(solved):
    tree, reward = solved
    shown = TreeExplorer(lambda beta: tree_arrays(tree, reward, beta),
                         Slider(0.1, 10.0, 1.0, log=True, label="β"))
    for position in (0, 50, 100):
        shown.position = position
        beta = shown._stops[position]
        assert shown.rows[0]["v"] == pytest.approx(
            beta * float(tree.log_partition(reward, beta)), abs=1e-9)


def test_what_does_not_exist_is_refused_and_the_old_view_stays(solved):
    tree, reward = solved
    shown = TreeExplorer(tree_arrays(tree, reward, 1.0))
    before = shown.answer
    for wrong in ({"opened": [[1]]}, {"opened": [[0, 0, 0]]}, {"pruning": 99}, {"position": 4}):
        for name, value in wrong.items():
            setattr(shown, name, value)
        assert shown.message.startswith("Not accepted") and shown.answer == before
        assert shown.opened == [[]] and shown.position == 0
    with pytest.raises(InvalidArgumentError, match="no word 'ocean'"):
        shown.expand(["ocean"])
    with pytest.raises(InvalidArgumentError, match="no unfinished answer"):
        TreeExplorer(tree_arrays(tree, reward, 1.0), opened=[["<eos>"]])
    with pytest.raises(InvalidArgumentError, match="a Slider"):
        TreeExplorer(lambda beta: None)


def test_tables_that_make_no_tree_are_refused():
    good = {"words": ["a", "."], "going_on": [0], "policies": {"p": [[[0.5, 0.5]]]},
            "q_values": [[[0.0, 1.0]]], "values": [[0.0]]}
    assert TreeTables(**good).horizon == 1
    for change, match in (
            ({"going_on": [2]}, "different columns"),
            ({"policies": {"p": [[[0.5, 0.4]]]}}, "sum to 1"),
            ({"values": [[0.0, 1.0]]}, "values, depth 0 has shape"),
            ({"q_values": [[[0.0, np.nan]]]}, "finite numbers"),
            ({"q_values": [[[0.0, 1.0]]] * 2}, "1 tables; expected 2"),
            ({"policies": {}}, "dict from names")):
        with pytest.raises(InvalidArgumentError, match=match):
            TreeTables(**{**good, **change})


def test_a_large_tree_is_cut_with_a_word_about_it():
    words, depth = [f"w{i}" for i in range(25)], 2
    even = [np.full((25**d, 25), 1 / 25) for d in range(depth)]
    zeros = [np.zeros((25**d, 25)) for d in range(depth)]
    shown = TreeExplorer({"words": words, "going_on": range(25), "policies": {"p": even},
                          "q_values": zeros, "values": [z[:, 0] for z in zeros]},
                         opened=[[], *([i] for i in range(25))], threshold=0.0)
    assert len(shown.rows) == 400 and "only the first 400" in shown.answer["status"]


def test_the_static_default_is_a_table_with_names_and_numbers(solved):
    tree, reward = solved
    data, _ = TreeExplorer(tree_arrays(tree, reward, 1.0), threshold=0.0)._repr_mimebundle_()
    html, text = data["text/html"], data["text/plain"]
    heads = re.findall(r'<th scope="col">(.*?)</th>', html)
    assert heads == ["answer so far", "π_ref", "π*", "Q", "V", "hidden"]
    assert html.count('<th scope="row"') == 4 and "&lt;eos&gt;" in html and "<caption" in html
    assert "(start): V" in text and "answer over" in text
