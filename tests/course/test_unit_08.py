"""What unit 08 claims, at a smaller size."""

import math
import runpy

import pytest
import torch

from tests.lessons import run_lesson
from tutorlib.exercises.preference_based_rl import EXERCISES, QUIZ
from tutorlib.exercises.preference_based_rl.cpl import cpl_loss
from tutorlib.exercises.preference_based_rl.labels import trex_labels
from tutorlib.exercises.preference_based_rl.loss import segment_bt_loss
from tutorlib.exercises.preference_based_rl.worlds import garden, rainy_garden
from tutorlib.irl import (
    Labeller,
    cut_segments,
    fit_cpl,
    fit_preference_table,
    hidden_dimensions,
    pay,
    preference_loss,
    table_cells,
    visit_counts,
)
from tutorlib.irl import cpl_loss as library_cpl
from tutorlib.mdp import (
    sample_trajectories,
    soft_value_iteration,
    state_distributions,
    uniform_policy,
    value_iteration,
)
from tutorlib.syllabus import course_root
from tutorlib.viz import WalkComparer

LESSON = course_root() / "course" / "08_preference_based_rl.py"


def walks(grid, n, length, seed=0, steps=16):
    g = torch.Generator().manual_seed(seed)
    paths = sample_trajectories(grid.mdp, uniform_policy(grid.mdp), 2 * n, steps, g)
    segments = cut_segments(paths.states, paths.actions, n, length, g, paths.mask)
    return segments, visit_counts(table_cells(segments, 4, "arrival"), grid.mdp.n_states)


def judged(grid, n, length, temperature=1.0, seed=0):
    """Return counts of both sides, and a judge's labels."""
    _, counts = walks(grid, 2 * n, length, seed)
    returns = (counts @ grid.cell_rewards)[:, None]
    g = torch.Generator().manual_seed(seed + 1)
    return counts[:n], counts[n:], Labeller(temperature).label(returns[:n], returns[n:], g)


def test_the_smallest_case_by_hand():
    p = math.exp(3) / (math.exp(3) + math.exp(2))
    assert [round(x, 3) for x in (p, -math.log(p), -math.log(1 - p))] == [0.731, 0.313, 1.313]
    assert round((0.3132617 + 0.6931472) / 2, 3) == 0.503
    assert round(-math.log(0.75), 3) == 0.288


def test_the_gamble_turns_on_ratios_that_an_order_does_not_fix():
    assert (0 + 3) / 2 > 1 and (0 + 3) / 2 < 2
    assert [round(100 / (1 + math.exp(-d))) for d in (2, 1)] == [88, 73]


def test_the_references_agree_with_the_library():
    g = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 6, 4, generator=g, dtype=torch.float64)
    labels = torch.tensor([1, 0, 0.5, 1, 0.2, 0], dtype=torch.float64)
    torch.testing.assert_close(segment_bt_loss(left, right, labels, 0.9, 0.1),
                               preference_loss(left, right, labels, 0.9, 1.0, 0.1).mean())
    logits = torch.randn(5, 3, generator=g, dtype=torch.float64)
    states = torch.randint(5, (6, 2, 4), generator=g)
    actions = torch.randint(3, (6, 2, 3), generator=g)
    logp = torch.log_softmax(logits, 1)[states[..., :-1], actions]
    torch.testing.assert_close(cpl_loss(logits, states, actions, labels, 0.4, 0.9),
                               library_cpl(logp[:, 0], logp[:, 1], labels, 0.4, 0.9).mean())


def test_demonstrations_hide_a_number_per_state_and_comparisons_one():
    mdp = garden().mdp
    shaping = torch.eye(18, dtype=torch.float64)[:, None] - mdp.discount * mdp.transition_matrix
    assert int(torch.linalg.matrix_rank(shaping.reshape(-1, 18))) == 18
    left, right, _ = judged(garden(), 800, 5)
    assert hidden_dimensions(left, right) == 1


def test_noise_reveals_the_scale():
    grid = garden()
    centred = grid.cell_rewards - grid.cell_rewards.mean()
    scale = {}
    for temperature in (1.0, 0.0):
        for n in (300, 2400):
            fit = fit_preference_table(*judged(grid, n, 5, temperature, seed=3), l2=0.1)
            scale[temperature, n] = float((fit - fit.mean()) @ centred / (centred @ centred))
    assert abs(scale[1.0, 2400] - 1) < 0.15
    assert scale[0.0, 2400] > 1.4 * scale[0.0, 300] > 2


def home(grid, reward):
    policy = value_iteration(grid.with_rewards(reward).mdp).policy
    return float(state_distributions(grid.mdp, policy, 40)[40, grid.state_of(3, 4)])


def test_the_hidden_constant_decides_whether_the_dog_comes_home():
    rain = rainy_garden()
    costs = rain.cell_rewards
    same = judged(rain, 2000, 5)
    fitted = fit_preference_table(*same, l2=0.1)
    assert hidden_dimensions(*same[:2]) == 1
    assert home(rain, costs) > 0.99 and home(rain, fitted) < 0.01
    assert home(rain, fitted - fitted.mean() + costs.mean()) > 0.99  # nothing else was wrong
    gap = (same[0] - same[1]) @ costs
    foreseen = [float((((same[0] - same[1]) @ r > 0) == (same[2] == 1)).double().mean())
                for r in (costs, fitted)]
    assert abs(foreseen[0] - foreseen[1]) < 0.03 and bool((gap != 0).any())


def test_segments_of_several_lengths_bring_the_dog_home():
    rain = rainy_garden()
    counts = torch.cat([walks(rain, 1000, k, seed=k)[1] for k in (2, 4, 6, 8)])
    counts = counts[torch.randperm(4000, generator=torch.Generator().manual_seed(0))]
    left, right = counts[:2000], counts[2000:]
    returns = (counts @ rain.cell_rewards)[:, None]
    labels = Labeller().label(returns[:2000], returns[2000:], torch.Generator().manual_seed(1))
    assert hidden_dimensions(left, right) == 0
    assert home(rain, fit_preference_table(left, right, labels, l2=0.1)) > 0.99
    by_length = (0.5 + 0.5 * torch.sign(left.sum(1) - right.sum(1)))
    longer = fit_preference_table(left, right, by_length, l2=0.1)
    assert float(longer.min()) > 0 and home(rain, longer) < 0.01


def test_the_judge_decides_which_method_is_right():
    grid = garden()
    plan = soft_value_iteration(grid.mdp, 0.5)
    segments, counts = walks(grid, 4000, 4, seed=8)
    first, second = segments[:2000], segments[2000:]
    advantage = 0.5 * plan.policy.log()[segments.states[:, :-1], segments.actions]
    sums = {"advantages": advantage.sum(1), "rewards": counts @ grid.cell_rewards}
    apart = {}
    for judge, score in sums.items():
        chances = torch.sigmoid(score[:2000] - score[2000:])
        policy = fit_cpl(first, second, chances, 18, 4, 0.5, l2=1e-4)
        table = fit_preference_table(counts[:2000], counts[2000:], chances, l2=1e-4)
        planned = soft_value_iteration(
            grid.mdp.replace(reward=pay(grid.mdp, table, "arrival")), 0.5).policy
        apart[judge] = [float((p - plan.policy).abs().max()) for p in (policy, planned)]
    assert apart["advantages"][0] < 0.02 and apart["advantages"][1] > 0.5
    assert apart["rewards"][1] < 0.02 and apart["rewards"][0] > 0.5


def test_the_learner_s_own_judgements_fit_a_map():
    segments, counts = walks(garden(), 8, 5)
    corner = counts[:, 0]  # this judge likes the upper left corner
    wanted = ["left" if a > b else "right" if a < b else "same"
              for a, b in zip(corner[:4], corner[4:], strict=True)]

    def fit(pairs, labels):
        index = torch.tensor(pairs)
        return fit_preference_table(counts[:4][index], counts[4:][index],
                                    torch.tensor(labels, dtype=torch.float64), l2=0.3)

    pairs = [(segments.states[k], segments.states[k + 4]) for k in range(4)]
    judge = WalkComparer(garden(), pairs, fit)
    assert judge.values == [0.0] * 18
    for k, choice in enumerate(wanted):
        judge.judge(k, choice)
    if any(choice != "same" for choice in wanted):
        assert max(judge.values) > 0


def test_every_spot_has_its_place():
    starts, labels = trex_labels(torch.tensor([10]), torch.tensor([1]), torch.zeros(1, 2).long(),
                                 torch.tensor([[0.5, 0.999]]), 4)
    assert starts.tolist() == [[3, 6]] and labels.tolist() == [0.5]
    assert len(QUIZ) == 6


@pytest.mark.slow
def test_the_lesson_runs_and_does_better_than_the_teachers():
    names = runpy.run_path(str(LESSON))
    assert names["outcome"] == names["BETTER"][2]
    for run in names["trex"]:
        assert float(run["fresh"].returns().mean()) > run["best"] + 80
        assert float(run["fresh"].returns().mean()) > run["teacher"] + 60
    assert names["final"]["100 comparisons"] > -110
    assert names["cpl"] == pytest.approx(float(names["dpo"]), abs=1e-12)
    assert names["bt"] == pytest.approx(float(names["dpo"]), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["numpy", "loops"])
def test_the_lesson_goes_on_with_answers_in_other_styles(style):
    """Lists and arrays pass the checks; the cells that follow must take them too."""
    names = run_lesson(LESSON, EXERCISES, style, (
        ("SEEDS, trex = 4", "SEEDS, trex = 1"),
        ("tqdm(range(8), desc=name)", "tqdm(range(2), desc=name)"),
        ("run = trex[1]", "run = trex[0]"), ("tqdm(range(3)", "tqdm(range(1)")))
    assert names["outcome"] in names["BETTER"]
