"""What unit 04 claims, at a smaller size, and the numbers that its text holds."""

import math
import runpy

import pytest
import torch

from tests.lessons import run_lesson
from tutorlib.exercises.imitation_learning import EXERCISES, QUIZ
from tutorlib.exercises.imitation_learning.loss import bc_loss
from tutorlib.exercises.imitation_learning.recursion import error_recursion
from tutorlib.exercises.imitation_learning.table3 import TABLE, classify_setting
from tutorlib.imitation import (
    clone_tabular,
    expected_cost,
    in_the_river,
    recoverability,
    rope_expert,
    tightrope,
)
from tutorlib.mdp import sample_trajectories, state_distributions
from tutorlib.syllabus import course_root

LESSON = course_root() / "course" / "04_imitation_learning.py"


def cost(world, policy, horizon):
    return state_distributions(world, policy, horizon)[1:, in_the_river(world)].sum(-1).cumsum(0)


def test_the_smallest_case_by_hand():
    assert error_recursion(0.1, 1.0, 3).tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert error_recursion(0.1, 0.0, 3).tolist() == pytest.approx([0.1, 0.29, 0.561])
    assert error_recursion(0.1, 0.4, 2).tolist() == pytest.approx([0.1, 0.254])


def test_the_references_agree_with_the_library():
    torch.testing.assert_close(error_recursion(0.03, 0.2, 50), expected_cost(0.03, 0.2, 50))
    logits = torch.tensor([[[1.0, 0.0]]])
    loss = bc_loss(logits, torch.tensor([[0]]), torch.tensor([[True]]))
    assert round(float(loss), 3) == 0.313


def test_the_hooks_clone_agrees_in_over_99_of_100_steps_and_costs_four_times_as_much():
    rope = tightrope(length=12, wind=0.2)
    walker = rope_expert(rope)
    walks = sample_trajectories(rope, walker, 40, 25, torch.Generator().manual_seed(0))
    clone = clone_tabular(rope, walks, smoothing=0.1)
    agrees = float((clone * walker).sum(-1)[walks.states[:, :-1]].mean())
    assert agrees > 0.99
    grown = cost(rope, clone, 50)
    assert 3.3 < float(grown[49] / grown[24]) < 4.2
    assert clone[in_the_river(rope)].flatten().tolist() == pytest.approx([1 / 3] * 12)
    assert float(cost(rope, clone_tabular(rope, walks), 50)[-1]) == 0.0  # all from the smoothing
    many = sample_trajectories(rope, walker, 400, 25, torch.Generator().manual_seed(0))
    rarer = cost(rope, clone_tabular(rope, many, smoothing=0.1), 50)
    assert 8 < float(grown[49] / rarer[49]) < 12  # ten times the walks, a tenth of the slips
    assert float(rarer[49] / rarer[24]) > 3.3  # and no slower a growth


def test_the_sliders_questions_have_the_answers_they_suggest():
    """At slip 0.2 the slope leaves 2 early; recovery 0.02 changes little below 20 steps."""
    steep = expected_cost(0.2, 0.0, 400)
    assert float(steep[399] / steep[199]) < 2.1  # all wet: a step costs at most 1
    little = expected_cost(0.01, 0.02, 100), expected_cost(0.01, 0.0, 100)
    assert float(little[0][9] / little[1][9]) > 0.9 and float(little[0][99] / little[1][99]) < 0.7
    shares = [float(expected_cost(0.01, r, 100)[-1]) / 37.237 for r in (0.02, 0.04)]
    assert shares[0] > 0.5 > shares[1]  # between these two positions


def test_forward_kl_covers_the_tree_and_reverse_kl_picks_a_side():
    angles = torch.linspace(-30, 30, 121, dtype=torch.float64)

    def bump(centre, width):
        weights = torch.exp(-0.5 * ((angles - centre) / width) ** 2)
        return weights / weights.sum()

    target = 0.5 * bump(-12.0, 3.0) + 0.5 * bump(12.0, 3.0)
    family = [(c, w) for c in (-12.0, 0.0, 12.0) for w in (2.0, 3.0, 6.0, 12.0)]
    forward = min(family, key=lambda f: float((target * (target / bump(*f)).log()).sum()))
    reverse = min(family, key=lambda f: float((bump(*f) * (bump(*f) / target).log()).sum()))
    assert forward[0] == 0.0 and abs(reverse[0]) == 12.0


def test_six_of_sixteen_combinations_have_a_row_and_two_have_two():
    found = [classify_setting(*(bool(i & bit) for bit in (8, 4, 2, 1))) for i in range(16)]
    assert sum(bool(names) for names in found) == 6
    assert sum(len(names) == 2 for names in found) == 2
    names = [name for row in found for name in row]
    assert sorted(names) == sorted([*TABLE, "Offline-RL"])  # which fits two combinations


def test_the_table_of_the_lesson_is_the_graders_table():
    text = LESSON.read_text(encoding="utf-8")
    marks = {True: "✓", False: "–", None: "✓ or –"}
    for name, row in TABLE.items():
        data = "✓ (preferences)" if name.startswith("Preference") else marks[row[3]]
        line = f"| {name} | " + " | ".join([*(marks[x] for x in row[:3]), data]) + " |"
        assert line in text, line


def test_a_slip_of_the_demonstrator_costs_at_most_u():
    assert [round(recoverability(r, 50), 1) for r in (1.0, 0.5, 0.1, 0.0)] == [1.0, 2.0, 9.9, 50.0]


def test_the_quiz_answers_hold():
    assert len(QUIZ) == 6
    doubled = expected_cost(0.001, 0.0, 40)
    assert float(doubled[39] / doubled[19]) == pytest.approx(4, rel=0.05)
    assert classify_setting(False, False, True, True) == ["Offline-RL", "Offline-IRL"]
    assert math.isclose(3 + 9 + 27 + 81, 120)


@pytest.fixture(scope="module")
def lesson():
    return runpy.run_path(str(LESSON))


@pytest.mark.slow
def test_the_lesson_runs_as_it_is_and_its_claims_hold(lesson):
    assert lesson["outcome"] == "about four times as much" in lesson["WHO"]
    assert lesson["doubled"]["behaviour cloning"] > 3.3 > 2.4 > lesson["doubled"]["DAgger"]
    rates = lesson["rates"]
    assert rates["DAgger"] == pytest.approx(rates["behaviour cloning"], rel=0.15)
    scores, returns = lesson["scores"], lesson["returns"]
    assert max(scores["with memory"]) < min(scores["plain"])  # for each of the three seeds
    assert returns["with memory"] == [-200.0] * 3
    assert -200.0 < min(returns["plain"]) <= max(returns["plain"]) < returns["demonstrator"][0] + 1
    follows = {name: kind["changes"] for name, kind in lesson["kinds"].items()}
    assert follows["with memory"] < 0.05 < 0.15 < follows["plain"]  # means of three seeds
    gap = lesson["train_gap"]["with memory"] - sum(scores["with memory"]) / 3
    assert abs(gap) < 0.02  # no over-fitting
    ends = lesson["ends"]
    assert ends["DAgger"] < ends["five episodes"] < ends["one episode"]
    assert lesson["at_tree"]["forward KL: cloning"] > 10 * lesson["at_tree"]["demonstrator"]


@pytest.mark.slow
@pytest.mark.parametrize("style", ["numpy", "loops"])
def test_the_lesson_goes_on_with_answers_in_other_styles(style):
    """Lists and arrays pass the checks; the cells that follow must take them too."""
    names = run_lesson(LESSON, EXERCISES, style, (  # fewer seeds and passes: form is tested here
        ("LONGEST = 20, 20, 200", "LONGEST = 20, 2, 200"), ("range(5)", "range(1)"),
        ("max_epochs=80", "max_epochs=5"), ('"MountainCar-v0", 3', '"MountainCar-v0", 1')))
    assert names["outcome"] == "about four times as much"
