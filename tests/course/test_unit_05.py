"""What unit 05 claims, at a smaller size."""

import itertools
import math
import runpy

import pytest
import torch

from tests.lessons import run_lesson
from tutorlib.exercises.reward_ambiguity import EXERCISES, QUIZ
from tutorlib.exercises.reward_ambiguity.explains import explains
from tutorlib.exercises.reward_ambiguity.family import reward_family
from tutorlib.exercises.reward_ambiguity.projection import projection_step
from tutorlib.exercises.reward_ambiguity.rank import rank_test
from tutorlib.exercises.reward_ambiguity.shaping import shape_reward
from tutorlib.exercises.reward_ambiguity.worlds import STREET, endless_mdp, normal, numbers, yard
from tutorlib.irl import (
    evaluate_transfer,
    feature_expectations,
    fit_shaping,
    identify,
    lp_irl,
    optimality_margins,
    pay,
    recover_reward,
)
from tutorlib.irl import projection_step as library_step
from tutorlib.irl import reward_family as library_family
from tutorlib.irl import shape_reward as library_shaping
from tutorlib.mdp import TabularMDP, gibbs_policy, soft_value_iteration, value_iteration
from tutorlib.syllabus import course_root
from tutorlib.viz import TwoRewards

LESSON = course_root() / "course" / "05_reward_ambiguity.py"


@pytest.fixture(scope="module")
def world():
    grid = yard()
    return grid, grid.mdp, ~grid.mdp.terminal, value_iteration(grid.mdp).policy


def street(x, y):
    return numbers([[[x, y], [0.0, 0.0]]])


def test_half_a_plane_explains_walking():
    """Walking is optimal iff y <= 0.5 x: on a grid of rewards, corners of the lesson included."""
    walks = numbers([[1.0, 0.0], [0.0, 1.0]])
    for x, y in itertools.product((-7.0, -1.0, 0.0, 1.0, 3.0), (-5.0, -0.6, 0.0, 0.4, 0.6, 2.0)):
        assert bool(explains(STREET, walks, street(x, y))[0]) == (y <= 0.5 * x)
    shown = torch.cat([street(*pair) for pair in ((4, 1), (-7, -5), (0, 0), (1, 0.6))])
    assert explains(STREET, walks, shown).tolist() == [True, True, True, False]


def test_two_lines_of_the_street_cross_in_its_reward():
    lines = []
    for gamma in (0.5, 0.9):
        plan = soft_value_iteration(STREET.replace(discount=gamma), 1.0, tolerance=1e-14)
        walk, wait = plan.policy[0].log().tolist()
        lines.append((walk, wait, 1 - gamma))  # x = walk + v, y = wait + (1 - gamma) v
    system = numbers([[1.0, -1.0], [lines[0][2], -lines[1][2]]])
    right = numbers([lines[1][0] - lines[0][0], lines[1][1] - lines[0][1]])
    v = torch.linalg.solve(system, right)
    assert lines[0][0] + float(v[0]) == pytest.approx(1.0, abs=1e-9)
    assert lines[0][1] + lines[0][2] * float(v[0]) == pytest.approx(-1.0, abs=1e-9)


def test_the_numbers_of_the_tasks():
    assert shape_reward(STREET, numbers([8.0, 3.0]))[0].tolist() == [-7.0, -5.0]
    family = reward_family(STREET, numbers([[0.75, 0.25], [0.5, 0.5]]), numbers([[2.0, 0.0]]), 2.0)
    assert [round(x, 3) for x in family[0, 0].tolist()] == [1.425, -1.773]
    assert round(1 / (1 + math.exp(-2)), 2) == 0.88 and round(1 / (1 + math.exp(-1)), 2) == 0.73


def test_the_references_agree_with_the_library(world):
    _, mdp, alive, _ = world
    generator = torch.Generator().manual_seed(0)
    potential = normal(generator, mdp.n_states).masked_fill(~alive, 0.0)
    torch.testing.assert_close(shape_reward(mdp, potential), library_shaping(mdp, potential))
    policy = torch.softmax(normal(generator, mdp.n_states, 4), -1)
    torch.testing.assert_close(reward_family(mdp, policy, potential[None], 0.7)[0],
                               library_family(mdp, policy, potential, 0.7))
    points = normal(generator, 3, 4)
    step, point, _ = projection_step(*points)
    assert step == pytest.approx(library_step(*points)[0])
    torch.testing.assert_close(point, library_step(*points)[1])
    pair = [endless_mdp(generator, 4, 2, gamma) for gamma in (0.9, 0.5)]
    assert rank_test(*pair)[0] == identify(pair).rank


def test_paying_for_the_arrows_does_not_bring_the_robot_home(world):
    """Candidate F: its best plan never arrives, and is worth more than following the arrows."""
    _, mdp, alive, expert = world
    paid = mdp.replace(reward=expert.masked_fill(~alive[:, None], 0.0))
    assert not bool(explains(mdp, expert, paid.reward[None])[0])
    best = value_iteration(paid).policy
    here = mdp.initial_state_dist
    for _ in range(60):
        here = torch.einsum("s,sa,sat->t", here, best, mdp.transition_matrix)
    assert float(here[mdp.terminal].sum()) < 0.3


def test_two_more_a_step_keep_the_arrows_and_three_do_not(world):
    _, mdp, alive, expert = world
    tables = torch.stack([mdp.reward + more for more in (2, 3)])
    tables = tables.masked_fill(~alive[:, None], 0.0)
    assert explains(mdp, expert, tables).tolist() == [True, False]


def test_the_cone_is_closed_under_sums_and_scale(world):
    _, mdp, alive, expert = world
    generator = torch.Generator().manual_seed(1)
    rewards = [shape_reward(mdp, 5 * normal(generator, mdp.n_states)), 3 * expert]
    rewards[1] = 3 * expert - 10 * (1 - expert)
    rewards = [r.masked_fill(~alive[:, None], 0.0) for r in rewards]
    kept = [r for r in rewards if bool(explains(mdp, expert, r[None])[0])]
    assert kept
    for one, two in itertools.product(kept, repeat=2):
        assert bool(explains(mdp, expert, (0.3 * one + 7 * two)[None])[0])


def test_the_linear_program_chooses_by_its_price(world):
    _, mdp, _, expert = world
    found = {price: lp_irl(mdp, expert, price, paid="arrival") for price in (0.0, 0.4, 0.8, 1.2)}
    assert [f.trivial for f in found.values()] == [False, False, False, True]
    tables = [f.reward for f in found.values()]
    for one, two in itertools.combinations(tables, 2):
        assert float((one - two).abs().max()) > 0.05
    for table in tables:
        margins = optimality_margins(mdp, expert, pay(mdp, table, "arrival"))
        assert float(margins.min()) > -1e-9


def test_your_rounds_match_an_expert_whose_reward_stays_hidden(world):
    _, mdp, alive, _ = world
    generator = torch.Generator().manual_seed(0)
    phi = torch.rand(mdp.n_states, 4, 5, generator=generator, dtype=torch.float64)
    phi = phi.masked_fill(~alive[:, None, None], 0.0)
    w = normal(generator, 5)
    w = w / w.norm()
    expert = soft_value_iteration(mdp.replace(reward=phi @ w), 0.5).policy
    target = feature_expectations(mdp, expert, phi)
    point = feature_expectations(mdp, torch.full_like(expert, 0.25), phi)
    first, weights = float((target - point).norm()), target - point
    for _ in range(25):
        best = value_iteration(mdp.replace(reward=phi @ weights)).policy
        _, point, weights = projection_step(target, point, feature_expectations(mdp, best, phi))
        assert abs(float(w @ (target - point))) <= float(weights.norm()) + 1e-12
    assert float(weights.norm()) < first / 5


def test_closer_discounts_are_harder_although_the_rank_is_the_same():
    six = endless_mdp(torch.Generator().manual_seed(0), 6, 3, 0.9)
    sizes, errors = {}, {}
    for gamma in (0.5, 0.85):
        pair = [six, six.replace(discount=gamma)]
        found = identify(pair)
        assert found.rank == 11 and rank_test(*pair) == (11, True)
        sizes[gamma] = float(found.singular_values[10] / found.singular_values[0])
        errors[gamma] = 0.0
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            noisy = []
            for mdp in pair:
                policy = soft_value_iteration(mdp, 1.0).policy
                policy = policy * (1 + 0.01 * normal(generator, *policy.shape))
                noisy.append(policy / policy.sum(-1, keepdim=True))
            apart = recover_reward(pair, noisy).reward - six.reward
            errors[gamma] += float((apart - apart.mean()).square().mean().sqrt())
    assert sizes[0.85] < sizes[0.5] / 2 and errors[0.85] > 2 * errors[0.5]


def test_a_reward_that_explains_everything_fails_when_the_gate_closes(world):
    grid, mdp, alive, _ = world
    policies = [soft_value_iteration(m, 0.5, tolerance=1e-14).policy
                for m in (mdp, mdp.replace(discount=0.5))]
    landscape = (6 * normal(torch.Generator().manual_seed(2), mdp.n_states)).masked_fill(
        ~alive, 0.0)
    mountain = reward_family(mdp, policies[0], landscape[None], 0.5)[0]
    exact = recover_reward([mdp, mdp.replace(discount=0.5)], policies, 0.5).reward
    dense, shut = mdp.transition_matrix.clone(), grid.state_of(0, 2)
    for s in set(range(mdp.n_states)) - {shut}:
        dense[s, :, s] += dense[s, :, shut]
        dense[s, :, shut] = 0.0
    closed = TabularMDP.from_dense(dense, mdp.reward, mdp.initial_state_dist,
                                   terminal=mdp.terminal, discount=mdp.discount)
    assert evaluate_transfer(mdp, mountain).regret < 1e-6
    assert evaluate_transfer(closed, mountain).regret > 5
    assert evaluate_transfer(closed, exact).regret < 1e-6
    assert fit_shaping(closed, mdp.reward, mountain).distance > 0.5


def test_an_exact_table_is_the_wrong_table_in_another_wind(world):
    """r(s, a) averages what arriving pays over the old wind."""
    _, mdp, alive, _ = world
    stormy = yard(slip=0.8).mdp
    assert float((stormy.reward - mdp.reward)[alive].abs().max()) > 1
    assert evaluate_transfer(stormy, mdp.reward).regret > 0.1


def test_a_shift_per_prompt_is_invisible_to_policy_and_preferences():
    rewards, reference = numbers([[0.0, 1.0, 2.0]]), numbers([[0.6, 0.3, 0.1]])
    tuned, moved = (gibbs_policy(r / 0.7, 1.0, reference) for r in (rewards, rewards - 40))
    torch.testing.assert_close(tuned, moved)
    implicit = 0.7 * (tuned / reference).log()
    assert float((rewards - implicit).std()) < 1e-12


def test_what_the_widget_is_asked_to_show(world):
    grid, mdp, _, _ = world
    widget = TwoRewards(grid, distance=lambda m, a, b: fit_shaping(m, a, b).distance)
    generator = torch.Generator().manual_seed(0)
    widget.second = (9 * normal(generator, mdp.n_states)).round()
    assert "the same in all 12 cells" in widget.verdicts[0]
    assert widget.verdicts[1].endswith("the same.") and "explains the whole" in widget.verdicts[3]
    widget.reset()
    widget.hold_ends = False
    worth = {}
    for height in (-30.0, 30.0):  # a pit or a peak at the end
        widget.paint("right", 0, 4, height)
        reached = mdp.initial_state_dist
        for _ in range(60):
            reached = torch.einsum("s,sa,sat->t", reached, widget.policies[1],
                                   mdp.transition_matrix)
        worth[height] = float(reached[mdp.terminal].sum())
    assert worth[-30.0] < 0.2 < 0.9 < worth[30.0]


def test_the_quiz_answers_hold(world):
    _, mdp, alive, expert = world
    assert len(QUIZ) == 6
    # two rewards, one order; the potential at the end; the soft policy's |S| open numbers
    policy = soft_value_iteration(mdp, 1.0).policy
    assert identify([mdp, mdp]).rank == int(alive.sum())
    family = reward_family(mdp, policy, torch.eye(mdp.n_states, dtype=torch.float64)[alive], 1.0)
    assert int(torch.linalg.matrix_rank((family - family[:1]).flatten(1))) == int(alive.sum()) - 1
    assert expert.shape == policy.shape


@pytest.mark.slow
def test_the_lesson_runs_as_it_is_and_its_prediction_has_an_answer():
    names = runpy.run_path(str(LESSON))
    assert names["outcome"] == "five" and names["verdicts"] == [True] * 5 + [False]
    assert names["worst"] <= 1e-9 and names["kept"] == 200 and names["free"] == 12
    assert names["fine"] and names["nothing"] == 1.2
    assert "two discounts" in names["safe"] and names["lost"]["family, random v"] > 5


@pytest.mark.slow
@pytest.mark.parametrize("style", ["numpy", "loops"])
def test_the_lesson_goes_on_with_answers_in_other_styles(style):
    """Lists and arrays pass the checks; the cells that follow must take them too."""
    names = run_lesson(LESSON, EXERCISES, style)
    assert names["outcome"] == "five"
