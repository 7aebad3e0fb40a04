"""What unit 06 claims, at a smaller size, against closed forms and another package."""

import math

import numpy as np
import pytest
import torch

from tests.lessons import run_lesson
from tutorlib.errors import NotConvergedError
from tutorlib.exercises.maxent_irl import EXERCISES, QUIZ
from tutorlib.exercises.maxent_irl.backup import LOTTERY, PRIZES, soft_backup_finite
from tutorlib.exercises.maxent_irl.debugging import MUTANTS, debug
from tutorlib.exercises.maxent_irl.fitting import FIT_REWARD, fit_reward, same_behaviour
from tutorlib.exercises.maxent_irl.gradient import FORK, irl_gradient
from tutorlib.exercises.maxent_irl.visits import visitation
from tutorlib.exercises.maxent_irl.worlds import (
    TEMPERATURE,
    garden,
    garden_features,
    normal,
    numbers,
    simplex,
    steered,
    terrain,
    tree_gradient,
    tree_loss,
    walk,
)
from tutorlib.irl import (
    FitSettings,
    LinearReward,
    NeuralReward,
    TabularReward,
    backward_pass,
    causal_loss,
    evaluate_transfer,
    expert_visits,
    forward_pass,
    one_step_gamble,
    pay,
    solve_causal,
    solve_maxent,
    walk_fitter,
)
from tutorlib.irl import fit_reward as fit_model
from tutorlib.mdp import GridWorld, TabularMDP, sample_trajectories
from tutorlib.syllabus import course_root

LESSON = course_root() / "course" / "06_maxent_irl.py"
LAM = TEMPERATURE


@pytest.fixture(scope="module")
def world():
    grid = garden()
    policy = soft_backup_finite(grid.mdp.transition_matrix, grid.cell_rewards, LAM,
                                grid.mdp.horizon)[1]
    return grid, grid.mdp, policy


def drives_of(mdp, policy, n, seed=0):
    return sample_trajectories(mdp, policy, n, mdp.horizon, torch.Generator().manual_seed(seed))


def by_kind(visits):
    return {kind: float(sum(visits[s] for s in range(25) if terrain()[s] == kind))
            for kind in ".wrW"}


def arrivals(mdp, solution):
    flow = (solution.occupancy[..., None] * mdp.probabilities).reshape(-1)
    return torch.zeros(mdp.n_states, dtype=torch.float64).index_add_(
        0, mdp.successors.reshape(-1), flow)


# By hand


def test_the_gamble_by_hand():
    won, lost = 0.5 * math.exp(3), 0.5 * math.exp(-3)
    assert (round(won, 3), round(lost, 3)) == (10.043, 0.025)
    assert round((won + lost) / (won + lost + 1), 4) == 0.9096
    assert (round(won + lost, 3), round(won + lost + 1, 3)) == (10.068, 11.068)
    bet, outcome = one_step_gamble()
    luck = solve_maxent(bet, outcome[bet.successors])
    assert float(luck.policy[0, 0, 0]) == pytest.approx((won + lost) / (won + lost + 1))
    assert float(solve_causal(bet, bet.reward).policy[0, 0, 0]) == 0.5
    assert round(math.log((won + lost) / 1), 2) == 2.31  # the dislike that 2008 invents


def test_2008_explains_an_indifferent_gambler_by_a_dislike():
    """Its own fit to 50 %: a penalty on the gamble of log(0.9096 / 0.0904), and nothing less."""
    bet, outcome = one_step_gamble()
    paid = outcome[bet.successors]
    paid[0, 0] -= math.log(math.cosh(3))
    assert float(solve_maxent(bet, paid).policy[0, 0, 0]) == pytest.approx(0.5)


def test_numbers_in_the_tasks():
    values, policy = soft_backup_finite(LOTTERY, PRIZES, 0.5, 1)
    assert round(float(values[0, 0]), 3) == round(math.log(math.exp(2.5) + math.exp(2)) / 2,
                                                  3) == 1.487
    assert [round(float(x), 3) for x in policy[0, 0]] == [0.622, 0.378]
    moves = numbers([[[0, 1]], [[0, 1]]])
    visits = visitation(moves, torch.ones(1, 2, 1).double(), numbers([0.8, 0.2]))
    assert visits[1].tolist() == [0, 1]
    assert round(math.log(3), 3) == 1.099 and round(math.log(2), 3) == 0.693


# The references against other code


def test_the_references_agree_with_the_package(world):
    grid, mdp, policy = world
    reward = pay(mdp, grid.cell_rewards, "arrival")
    values, tables = backward_pass(mdp, reward, LAM)
    ours = soft_backup_finite(mdp.transition_matrix, grid.cell_rewards, LAM, mdp.horizon)
    torch.testing.assert_close(ours[0], values)
    torch.testing.assert_close(ours[1], tables)
    visits = visitation(mdp.transition_matrix, policy, mdp.initial_state_dist)
    torch.testing.assert_close(visits[:-1], forward_pass(mdp, policy, per_step=True).sum(-1))
    drives = drives_of(mdp, policy, 20)
    model = LinearReward(garden_features(), "arrival")
    with torch.no_grad():
        model.weights.copy_(numbers([0.4, -0.2]))
    seen = expert_visits(mdp, drives)
    loss = causal_loss(mdp, model(mdp), seen, LAM)
    loss.backward()
    # the package counts expected arrivals, the exercise those that happened: other luck only
    phi = garden_features()
    happened = phi[drives.states[:, 1:]].sum(1).mean(0)
    expected = torch.einsum("sa,sat,tk->k", seen, mdp.transition_matrix, phi)
    ours = irl_gradient(mdp.transition_matrix, phi, numbers([0.4, -0.2]), drives.states,
                        mdp.initial_state_dist, LAM)
    torch.testing.assert_close(ours, model.weights.grad + (expected - happened) / LAM)


def test_passes_and_the_gradient_against_the_imitation_package(world):
    """Their reward is paid for the state one acts in; ours on arrival: hence the shift by one."""
    mce_irl = pytest.importorskip("imitation.algorithms.mce_irl",
                                  reason="imitation is not installed: make peers")
    base_envs = pytest.importorskip("seals.base_envs", reason="seals is not installed: make peers")
    gen = torch.Generator().manual_seed(3)
    moves, start, horizon = steered(gen, 6, 3), simplex(gen, 6), 5
    paid = normal(gen, 6)
    peer = base_envs.TabularModelPOMDP(
        transition_matrix=moves.numpy(), observation_matrix=np.eye(6, dtype=np.float32),
        reward_matrix=paid.numpy(), horizon=horizon + 1, initial_state_dist=start.numpy())
    values, _, pi = mce_irl.mce_partition_fh(peer)
    ours, policy = soft_backup_finite(moves, paid, 1.0, horizon)
    # one decision more on their side, whose reward ours pays on arrival; log 3 is its entropy
    shifted = paid.numpy() + ours.numpy() + math.log(3)
    np.testing.assert_allclose(shifted, values, atol=1e-6)
    np.testing.assert_allclose(policy, pi[:-1], atol=1e-6)
    by_time, _ = mce_irl.mce_occupancy_measures(peer, pi=pi)
    np.testing.assert_allclose(visitation(moves, policy, start), by_time[:-1], atol=1e-6)


def test_the_gradient_is_the_derivative_of_the_likelihood_of_moves():
    """With luck averaged out: exact counts, and -log pi over all drives with their chance."""
    gen = torch.Generator().manual_seed(0)
    moves, phi, start, horizon = steered(gen, 4, 2), normal(gen, 4, 2), simplex(gen, 4), 3
    shown = soft_backup_finite(moves, phi @ numbers([1.0, -0.5]), 0.7, horizon)[1]
    reached = visitation(moves, shown, start)
    counts = reached[1:].sum(0) @ phi

    def nats(theta):
        log_pi = soft_backup_finite(moves, phi @ theta, 0.7, horizon)[1].log()
        return -float(sum((reached[t][:, None] * shown[t] * log_pi[t]).sum()
                          for t in range(horizon)))

    theta = numbers([0.3, 0.8])
    found = tree_gradient(moves, phi, theta, counts, start, 0.7, horizon)
    for k in range(2):
        shift = 1e-5 * torch.eye(2).double()[k]
        slope = (nats(theta + shift) - nats(theta - shift)) / 2e-5
        assert float(found[k]) == pytest.approx(slope, abs=1e-7)
    assert nats(theta) == pytest.approx(tree_loss(moves, phi, theta, counts, start, 0.7, horizon))


def test_equivalent_weights_are_one_answer_and_others_are_not():
    gen = torch.Generator().manual_seed(1)
    moves, start = steered(gen, 4, 2, sure=0.85), simplex(gen, 4)
    one_hot = torch.eye(4, dtype=torch.float64)
    policy = soft_backup_finite(moves, numbers([1.0, 0.0, -1.0, 0.5]), 1.0, 3)[1]
    shown = walk(moves, policy, start, 100, gen)
    want = FIT_REWARD.oracle(moves, one_hot, shown, start, 1.0, 0.3, 200)
    weights = fit_reward(moves, one_hot, shown, start, 1.0, 0.3, 200)
    assert same_behaviour(weights, want) is None and same_behaviour(weights + 5, want) is None
    assert same_behaviour(2 * weights, want) is not None
    assert same_behaviour(torch.zeros(4), want) is not None
    assert same_behaviour(weights * torch.nan, want) is not None
    assert same_behaviour(None, want) is not None and same_behaviour(weights[:2], want) is not None


# The claims of the lesson


@pytest.mark.slow
def test_two_weights_match_features_and_miss_the_behaviour(world):
    _, mdp, _ = world
    phi, expert = garden_features(), solve_causal(mdp, mdp.reward, LAM)
    linear = LinearReward(phi, "arrival")
    fit = fit_model(mdp, linear, expert.occupancy, FitSettings(
        temperature=LAM, optimizer="lbfgs", steps=40))
    assert fit.stopped_by == "gradient"
    hers, theirs = arrivals(mdp, expert), arrivals(mdp, fit.solution)
    torch.testing.assert_close(hers @ phi, theirs @ phi, atol=1e-4, rtol=0)
    assert by_kind(theirs)["W"] > 5 * by_kind(hers)["W"]
    network = NeuralReward(phi.float(), (16,), "arrival", seed=0)
    fit = fit_model(mdp, network, expert.occupancy, FitSettings(
        temperature=LAM, optimizer="lbfgs", steps=40))
    assert fit.stopped_by == "occupancy"
    assert by_kind(arrivals(mdp, fit.solution)) == pytest.approx(by_kind(hers), abs=0.02)


def test_the_colleagues_gradient_is_not_that_of_the_loss_and_converges_elsewhere(world):
    _, mdp, policy = world
    phi, args = garden_features(), (mdp.initial_state_dist, LAM, mdp.horizon)
    shown = phi[drives_of(mdp, policy, 200).states[:, 1:]].sum(1).mean(0)
    failing, at = MUTANTS[0].answer, numbers([0.4, -0.2])

    def error(function):
        gradient = function(mdp.transition_matrix, phi, at, shown, *args)[1]
        slopes = []
        for k in range(2):
            shift = 1e-5 * torch.eye(2).double()[k]
            up, down = (float(function(mdp.transition_matrix, phi, at + sign * shift, shown,
                                       *args)[0]) for sign in (1, -1))
            slopes.append((up - down) / 2e-5)
        return float((gradient - numbers(slopes)).abs().max())

    assert error(debug) < 1e-5 and error(failing) > 1
    ends = []
    for function in (debug, failing):
        theta = torch.zeros(2, dtype=torch.float64)
        for _ in range(150):
            theta = theta - 0.015 * function(mdp.transition_matrix, phi, theta, shown, *args)[1]
        last = function(mdp.transition_matrix, phi, theta, shown, *args)[1]
        assert float(last.abs().max()) < 1e-6  # both converge: the features agree
        ends.append(theta)
    assert float((ends[0] - ends[1]).abs().max()) > 0.02


def test_a_reward_per_move_runs_away_and_both_cures_hold(world):
    _, mdp, policy = world
    ten = drives_of(mdp, policy, 10, seed=1)
    with pytest.raises(NotConvergedError, match="no policy of this process"):
        fit_model(mdp, TabularReward(mdp), ten, FitSettings(temperature=LAM))
    target = expert_visits(mdp, ten)
    table = torch.zeros(25, 4, dtype=torch.float64, requires_grad=True)
    losses = []
    for _ in range(150):
        loss = causal_loss(mdp, table, target, LAM)
        slope, = torch.autograd.grad(loss, table)
        table = (table - 0.05 * slope).detach().requires_grad_(True)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0 and losses == sorted(losses, reverse=True)
    for settings in ({"l2": 0.5}, {"objective": "likelihood"}):
        found = fit_model(mdp, TabularReward(mdp), ten, FitSettings(
            temperature=LAM, optimizer="sgd", learning_rate=0.05, steps=100,
            occupancy_tolerance=0.0, **settings))
        assert min(line["loss"] for line in found.history) > 0


@pytest.mark.slow
def test_places_travel_and_moves_stay_at_home(world):
    """Three seeds, 100 drives: the batch of the lesson at a smaller size."""
    _, mdp, policy = world
    flip = [2, 3, 0, 1]
    new_cart = mdp.replace(successors=mdp.successors[:, flip], reward=mdp.reward[:, flip],
                           probabilities=mdp.probabilities[:, flip])
    evidence = torch.stack([expert_visits(mdp, drives_of(mdp, policy, 100, seed), per_step=True)
                            for seed in range(3)])
    settings = FitSettings(temperature=LAM, objective="likelihood", steps=100, l2=0.03,
                           gradient_tolerance=1e-3)
    regret = {}
    for paid in ("arrival", "action"):
        model = TabularReward(mdp, paid, batch=(3,))
        fit_model(mdp, model, evidence, settings)
        regret[paid] = [[evaluate_transfer(where, pay(where, table, paid)).regret_share
                         for table in model.table.detach()] for where in (mdp, new_cart)]
    assert max(regret["arrival"][0] + regret["arrival"][1] + regret["action"][0]) < 0.06
    assert sum(regret["action"][1]) / 3 > 0.2


def test_the_bridge_is_bradley_terry_and_tokens_leave_no_luck():
    gen = torch.Generator().manual_seed(2)
    better, worse, theta = normal(gen, 3), normal(gen, 3), normal(gen, 3)
    phi = torch.stack([torch.zeros(3).double(), better, worse])
    ours = irl_gradient(FORK, phi, theta, torch.tensor([[0, 1]]), numbers([1, 0, 0]), 1.0)
    with torch.enable_grad():
        free = theta.clone().requires_grad_(True)
        loss = -torch.nn.functional.logsigmoid(free @ (better - worse))
        theirs, = torch.autograd.grad(loss, free)
    torch.testing.assert_close(ours, theirs)
    nexts = torch.randint(5, (5, 3, 1), generator=gen)
    text = TabularMDP(nexts, torch.ones(5, 3, 1).double(), normal(gen, 5, 3),
                      torch.eye(5).double()[0], discount=1.0, horizon=4)
    torch.testing.assert_close(solve_maxent(text, text.reward).policy,
                               solve_causal(text, text.reward).policy)


def test_what_the_pad_is_asked_to_show():
    meadow = GridWorld("......\n......\n..#...\n...#..\n......\nS.....", slip=0.1)
    fit, at = walk_fitter(meadow), meadow.state_of
    first = [at(*c) for c in [(5, 0), (4, 0), (4, 1), (3, 1), (2, 1), (1, 1), (1, 2), (1, 3),
                              (1, 4)]]
    alone = fit([first])
    assert int(alone.reward.argmax()) == first[-1]  # 1: highest where the walk ends
    stopped = fit([[at(5, c) for c in range(4)]])
    assert int(stopped.reward.argmax()) == at(5, 3)  # 2: it takes the last cell for the aim
    straight = fit([[at(5, c) for c in range(6)]])
    detour = fit([[at(*c) for c in [(5, 0), (5, 1), (4, 1), (4, 2), (4, 3), (5, 3), (5, 4),
                                    (5, 5)]]])
    assert float(detour.reward[at(5, 2)]) < float(straight.reward[at(5, 2)])  # 3: shunned
    second = [at(*c) for c in [(5, 0), (5, 1), (5, 2), (5, 3), (5, 4), (5, 5)]]
    both = fit([first, second])
    assert float(both.reward[second[-1]]) > 1 > float(alone.reward[second[-1]])  # 4: two ends
    assert float(both.reward[first[-1]]) < float(alone.reward[first[-1]])


def test_quiz_answers_that_are_numbers():
    assert round(math.log(math.cosh(3)), 1) == 2.3  # the invented dislike
    assert len(QUIZ) >= 5 and len({q.prompt for q in QUIZ}) == len(QUIZ)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["loops", "numpy"])
def test_the_lesson_runs_with_answers_in_other_styles(style):
    """Lists and arrays pass the checks; the cells that follow must take them too."""
    names = run_lesson(LESSON, EXERCISES, style)
    assert names["final"]["reward per cell"] < 0.05 < names["final"]["reward per move"]
