"""What unit 03 claims, at a smaller size, against solvers and enumerations of other people."""

import itertools
import math
import runpy

import numpy as np
import pytest
import torch
from scipy import optimize

from tests.lessons import run_lesson
from tutorlib.exercises.maximum_entropy_rl import EXERCISES, QUIZ
from tutorlib.exercises.maximum_entropy_rl.backup import soft_backup
from tutorlib.exercises.maximum_entropy_rl.control import TREE, kl_control
from tutorlib.exercises.maximum_entropy_rl.gap import performance_gap
from tutorlib.exercises.maximum_entropy_rl.gibbs import gibbs_policy
from tutorlib.exercises.maximum_entropy_rl.iteration import soft_policy_step
from tutorlib.exercises.maximum_entropy_rl.worlds import (
    REFERENCE,
    REWARD,
    normal,
    numbers,
    random_mdp,
    simplex,
    two_streets,
)
from tutorlib.mdp import (
    TabularMDP,
    occupancy_measure,
    policy_evaluation,
    soft_backward,
    soft_policy_evaluation,
    soft_value_iteration,
    state_distributions,
    uniform_policy,
    value_iteration,
)
from tutorlib.mdp import soft_backup as library_backup
from tutorlib.syllabus import course_root
from tutorlib.viz import GridPainter

LESSON = course_root() / "course" / "03_maximum_entropy_rl.py"
PI_REF, R = numbers(REFERENCE), numbers(REWARD)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def objective(pi, q, prior, temperature):
    """Expected Q minus lambda KL(pi || prior), in numpy."""
    kept = pi > 0
    return float(pi @ q - temperature * (pi[kept] * np.log(pi[kept] / prior[kept])).sum())


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_convex_dual_and_the_primal_solver_give_the_soft_value(generator, temperature):
    """min_mu of mu + lambda sum prior exp((Q - mu) / lambda - 1), and SLSQP on the simplex."""
    q, prior = normal(generator, 4).numpy(), simplex(generator, 4).numpy()
    dual = optimize.minimize_scalar(
        lambda mu: mu + temperature * (prior * np.exp((q - mu) / temperature - 1)).sum(),
        bracket=(q.min() - 3, q.max()), tol=1e-12)
    primal = optimize.minimize(
        lambda pi: -objective(pi, q, prior, temperature), np.full(4, 0.25),
        bounds=[(1e-12, 1)] * 4, constraints={"type": "eq", "fun": lambda pi: pi.sum() - 1},
        method="SLSQP", options={"ftol": 1e-14, "maxiter": 500})
    pi = gibbs_policy(torch.tensor(q)[None], temperature, torch.tensor(prior)[None])[0].numpy()
    assert objective(pi, q, prior, temperature) == pytest.approx(dual.fun, abs=1e-10)
    assert -primal.fun == pytest.approx(dual.fun, abs=1e-8)
    assert primal.x == pytest.approx(pi, abs=1e-4)


def test_the_references_agree_with_the_library(generator):
    mdp = random_mdp(generator, 5, 3)
    values = normal(generator, 5).masked_fill(mdp.terminal, 0.0)
    torch.testing.assert_close(soft_backup(mdp, values, 0.3), library_backup(mdp, values, 0.3))
    policy = simplex(generator, 5, 3)
    torch.testing.assert_close(soft_policy_step(mdp, policy, 0.3)[0],
                               soft_policy_evaluation(mdp, policy, 0.3))
    moves, reward, prior = torch.randint(4, (4, 3), generator=generator), normal(
        generator, 4, 3), simplex(generator, 4, 3)
    mdp = TabularMDP(moves[..., None], torch.ones(4, 3, 1, dtype=torch.float64), reward,
                     numbers([1.0, 0.0, 0.0, 0.0]), discount=1.0, horizon=3)
    values, _, policy = soft_backward(mdp, 0.4, 3, prior)
    ours = kl_control(moves, reward, prior, 0.4, 3)
    torch.testing.assert_close(ours[0], values)
    torch.testing.assert_close(ours[1], policy)


def test_the_smallest_case_by_hand():
    half = 0.5 + math.log(2)
    share = math.e / (math.e + 1)
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert [round(x, 3) for x in (math.e, half, share, share + entropy, math.log(math.e + 1))] == [
        2.718, 1.193, 0.731, 1.313, 1.313]
    assert round(math.e + 1, 3) == 3.718 and round(math.log(2), 3) == 0.693
    assert round(entropy, 3) == 0.582


def test_the_horizon_of_one_by_hand():
    """Q = (0, 1), an even prior and lambda = 1 give 0.620; a uniform prior costs lambda log|A|."""
    stay = torch.zeros(1, 2, dtype=torch.long)
    values, _ = kl_control(stay, numbers([[0.0, 1.0]]), numbers([[0.5, 0.5]]), 1.0, 1)
    assert round(float(values[0, 0]), 3) == 0.620
    assert float(values[0, 0]) == pytest.approx(math.log(1 + math.e) - math.log(2))


def test_the_bridge_by_hand():
    weights = PI_REF * R.exp()
    assert round(float(weights.sum()), 3) == 2.154 and round(math.e**2, 3) == 7.389
    assert round(math.log(weights.sum()), 3) == 0.768
    assert round(float(performance_gap(PI_REF, PI_REF, R, 1.0)), 3) == 0.268


def test_word_by_word_is_the_same_problem_as_whole_answers():
    for beta in (0.3, 1.0, 4.0):
        values, pi = kl_control(*TREE, beta, 2)
        best = gibbs_policy(R[None], beta, PI_REF[None])[0]
        spelled = [pi[0, 0, 0] * pi[1, 1].sum(), pi[0, 0, 1] * pi[1, 2, 0],
                   pi[0, 0, 1] * pi[1, 2, 1]]
        torch.testing.assert_close(torch.stack(spelled), best)
        log_z = torch.logsumexp(R / beta + PI_REF.log(), 0)
        torch.testing.assert_close(values[0, 0], beta * log_z)


def test_the_soft_value_is_a_log_partition_only_without_chance():
    moves = torch.tensor([[1, 0], [1, 2], [0, 2]])
    reward, prior = numbers([[1.0, -1.0], [0.5, 0.0], [2.0, -0.5]]), numbers([[0.3, 0.7]] * 3)
    total = 0.0
    for plan in itertools.product(range(2), repeat=4):
        state, weight = 0, 1.0
        for a in plan:
            weight *= float(prior[state, a]) * math.exp(float(reward[state, a]) / 0.7)
            state = int(moves[state, a])
        total += weight
    values, _ = kl_control(moves, reward, prior, 0.7, 4)
    assert float(values[0, 0]) == pytest.approx(0.7 * math.log(total), abs=1e-12)
    # the gamble: +3 or -3 against a safe 0; it is worth 0, the sum over outcomes says 1.711
    over_outcomes = math.log(0.5 * math.cosh(3) + 0.5)
    assert round(over_outcomes, 3) == 1.711


@pytest.fixture(scope="module")
def town():
    grid = two_streets()
    return grid, grid.mdp, grid.state_of(1, 0), grid.state_of(1, 4)


def arrives(mdp, policy, home, steps=100):
    return float(state_distributions(mdp, policy, steps)[steps, home])


def test_survival_by_entropy(town):
    _, mdp, _, goal = town
    walker = uniform_policy(mdp)
    courier = soft_value_iteration(mdp, 1.5).policy
    assert arrives(mdp, courier, goal) < 0.001 < 0.7 < arrives(mdp, walker, goal)
    for temperature in (1.5, 10.0, 100.0):
        leashed = soft_value_iteration(mdp, temperature, prior=walker).policy
        assert arrives(mdp, leashed, goal) > arrives(mdp, walker, goal)
        assert arrives(mdp, soft_value_iteration(mdp, temperature).policy, goal) < 0.001


def test_the_break_even_temperature_of_the_diagnosis(town):
    _, mdp, _, goal = town
    flip = ((1 - mdp.discount) * 10 + 0.5) / math.log(4)
    assert round(flip, 3) == 0.721
    at = {factor: arrives(mdp, soft_value_iteration(mdp, factor * flip).policy, goal)
          for factor in (0.8, 1.3)}
    assert at[0.8] > 0.99 and at[1.3] < 0.05
    beside = town[0].state_of(0, 4)  # bumping into the border costs a step; entering G pays 10
    stay = [float(soft_value_iteration(mdp, heat).q_values[beside, 0]) for heat in (0.75, 0.77)]
    assert stay[0] < 10 < stay[1]


def test_cooling_leaves_log_two_for_two_streets(town):
    _, mdp, start, _ = town
    hard, soft = value_iteration(mdp), soft_value_iteration(mdp, 0.01)
    assert float(soft.values[start] - hard.values[start]) / 0.01 == pytest.approx(math.log(2),
                                                                                    abs=1e-3)
    assert soft.policy[start].tolist() == pytest.approx([0.5, 0, 0.5, 0], abs=1e-6)
    for temperature in (0.01, 0.2, 5.0):
        over = soft_value_iteration(mdp, temperature).values - hard.values
        bound = temperature * math.log(4) / (1 - mdp.discount)
        assert bool(((over > -1e-9) & (over < bound + 1e-9)).all())


def test_a_closed_street_stops_the_hard_planner_only(town):
    grid, mdp, _, _ = town
    closed = two_streets(closed=True)
    keep = [s for s in range(mdp.n_states) if grid.cell_of(s) != (0, 2)]
    home = closed.state_of(1, 4)
    assert arrives(closed.mdp, value_iteration(mdp).policy[keep], home) == 0
    assert arrives(closed.mdp, soft_value_iteration(mdp, 0.2).policy[keep], home) > 0.49


def test_what_the_painter_is_asked_to_show(town):
    grid, _, start, _ = town
    above_goal = grid.state_of(0, 4)
    painter = GridPainter(grid, temperature=0.2)
    assert float(painter.policy[above_goal, 2]) > 0.9
    for temperature, longest in ((0.7, True), (0.8, False)):
        painter.temperature = temperature
        assert (int(painter.policy[above_goal].argmax()) == 2) is longest
    painter.temperature = 1.5
    assert float(painter.policy[above_goal, 2]) < 0.01  # it stays out of G
    painter.temperature = 0.2
    painter.paint(0, 2, -2.0)
    for temperature, down in ((0.2, 0.957), (0.4, 0.684), (0.6, 0.407)):
        painter.temperature = temperature  # heat spreads the traffic again
        assert float(painter.policy[start, 2]) == pytest.approx(down, abs=1e-3)


def test_policy_iteration_never_steps_back_and_doubles_its_digits(generator):
    mdp = random_mdp(generator, 20, 3, discount=0.95)
    truth = soft_value_iteration(mdp, 0.2, tolerance=1e-14).values
    policy, former, errors = uniform_policy(mdp), None, []
    for _ in range(6):
        values, policy = soft_policy_step(mdp, policy, 0.2)
        assert former is None or bool((values >= former - 1e-12).all())
        former = values
        errors.append(float((values - truth).abs().max()))
    assert errors[4] < 1e-9 < errors[1]


def test_the_gap_is_the_same_identity_in_a_gridworld(town, generator):
    """J* - J(pi) = lambda sum_s d_pi(s) KL(pi(.|s) || pi*(.|s)), d_pi the discounted visits."""
    _, mdp, start, _ = town
    prior = uniform_policy(mdp)
    best = soft_value_iteration(mdp, 1.0, prior=prior, tolerance=1e-13)
    for _ in range(10):
        pi = simplex(generator, mdp.n_states, 4)
        lost = (best.values - soft_policy_evaluation(mdp, pi, 1.0, prior))[start]
        visits = occupancy_measure(mdp, pi).sum(-1).masked_fill(mdp.terminal, 0.0)
        kl = (pi * (pi / best.policy).log()).sum(-1)
        assert float(lost) == pytest.approx(float(visits @ kl), abs=1e-9)


def test_entropy_bonus_and_kl_to_uniform_differ_by_a_constant_per_step(generator):
    """Without terminal states the two give the same policy."""
    mdp = random_mdp(generator, 5, 3)
    mdp = mdp.replace(terminal=torch.zeros(5, dtype=torch.bool))
    even = uniform_policy(mdp)
    by_entropy, by_kl = soft_value_iteration(mdp, 0.6), soft_value_iteration(mdp, 0.6, prior=even)
    torch.testing.assert_close(by_entropy.policy, by_kl.policy)
    shift = 0.6 * math.log(3) / (1 - mdp.discount)
    torch.testing.assert_close(by_entropy.values, by_kl.values + shift)


def test_the_quiz_answers_hold(town, generator):
    """Scaling reward and temperature alike changes nothing; a forbidden answer stays forbidden."""
    _, mdp, _, _ = town
    scaled = mdp.replace(reward=10 * mdp.reward)
    torch.testing.assert_close(soft_value_iteration(scaled, 0.5).policy,
                               soft_value_iteration(mdp, 0.05).policy)
    never = gibbs_policy(numbers([[0.0, 50.0]]), 0.5, numbers([[1.0, 0.0]]))
    assert never.tolist() == [[1.0, 0.0]]
    assert len(QUIZ) == 6
    hot = policy_evaluation(mdp, soft_value_iteration(mdp, 0.6).policy)
    assert bool((hot <= value_iteration(mdp).values + 1e-9).all())  # variety costs reward


@pytest.mark.slow
def test_the_lesson_runs_as_it_is_and_its_prediction_has_an_answer():
    names = runpy.run_path(str(LESSON))
    assert names["outcome"] in names["WHO"]
    assert names["outcome"] == "the random walker"
    assert names["worst"] < 1e-10 and names["slowest"] <= 5
    assert float(names["tuned"](0.1)[-1]) > 0.5 > float(names["tuned"](1.0)[-1])
    V, lam, partition = names["V"], names["lam"], names["partition"]
    assert V.shape == (3, 4) and lam == 1.0 and partition > 0


@pytest.mark.slow
@pytest.mark.parametrize("style", ["numpy", "loops"])
def test_the_lesson_goes_on_with_answers_in_other_styles(style):
    """Lists and arrays pass the checks; the cells that follow must take them too."""
    names = run_lesson(LESSON, EXERCISES, style)
    assert names["outcome"] == "the random walker"
