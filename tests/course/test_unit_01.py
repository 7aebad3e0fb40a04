"""What lesson 01 claims, and its dense functions against the package's sparse ones."""

import re
from itertools import product
from pathlib import Path

import gymnasium
import pytest
import torch

from tutorlib import mdp as library
from tutorlib.authoring import read_lesson
from tutorlib.exercises.markov_decision_processes import EXERCISES, table1
from tutorlib.exercises.markov_decision_processes.common import (
    pond,
    random_policy,
    random_process,
)
from tutorlib.mdp import GridWorld, TabularMDP
from tutorlib.syllabus import course_root

SOURCE = course_root(Path(__file__).parent) / "course" / "01_markov_decision_processes.py"
BACKUP, EVALUATION, GREEDY, OCCUPANCY = (e.reference for e in EXERCISES[:4])


def frozen_lake(discount=0.99):
    return GridWorld("S...\n.X.X\n...X\nX..G", slip=2 / 3, rewards={"X": 0.0}, discount=discount)


def yard(cost):
    return GridWorld("S..X\n.#..\n...G", slip=0.2, step_reward=-cost, discount=0.99)


def as_mdp(process):
    return TabularMDP.from_dense(process.transition_matrix, process.reward,
                                 discount=process.discount, terminal=process.terminal)


def sweeps(mdp, tolerance):
    values, moves = torch.zeros(mdp.n_states, dtype=torch.float64), []
    while not moves or moves[-1] > tolerance:
        new = BACKUP(mdp.transition_matrix, mdp.reward, values, mdp.discount, mdp.terminal)
        moves.append(float((new - values).abs().max()))
        values = new
    return values, moves


@pytest.mark.parametrize("seed", range(5))
def test_the_dense_functions_of_the_lesson_agree_with_the_sparse_package(seed):
    generator = torch.Generator().manual_seed(seed)
    process = random_process(generator, 6, 3, 0.9)
    mdp, dense = as_mdp(process), process.transition_matrix
    policy = random_policy(generator, 6, 3)
    guess = torch.randn(6, generator=generator, dtype=torch.float64)
    kept = guess.masked_fill(mdp.terminal, 0.0)
    args = (dense, mdp.reward, guess, 0.9, mdp.terminal)
    torch.testing.assert_close(BACKUP(*args), library.bellman_backup(mdp, kept))
    torch.testing.assert_close(GREEDY(*args), library.greedy_policy(library.q_values(mdp, kept)))
    values = EVALUATION(dense, mdp.reward, policy, 0.9)
    torch.testing.assert_close(values, library.policy_evaluation(mdp, policy))
    rho = OCCUPANCY(dense, policy, mdp.initial_state_dist, 0.9)
    torch.testing.assert_close(rho, library.occupancy_measure(mdp, policy))
    assert float((rho * mdp.reward).sum()) == pytest.approx(library.return_of(mdp, policy))


def test_the_drawn_lake_is_gymnasiums():
    table = TabularMDP.from_gymnasium(gymnasium.make("FrozenLake-v1"), discount=0.99)
    drawn = frozen_lake().mdp
    torch.testing.assert_close(drawn.transition_matrix, table.transition_matrix.flip(1))
    torch.testing.assert_close(library.value_iteration(drawn).values,
                               library.value_iteration(table).values)


def test_the_best_first_step_on_the_lake_is_into_the_border_and_no_tie():
    lake = frozen_lake()
    plan = library.policy_iteration(lake.mdp)
    ranked = plan.q_values[0].sort(descending=True)
    assert lake.mdp.action_names[int(ranked.indices[0])] == "left"
    assert float(ranked.values[0] - ranked.values[1]) > 0.01
    holes = (lake.mdp.terminal & (lake.cell_rewards == 0)).double()
    risk = (plan.policy * (lake.mdp.transition_matrix @ holes)).sum(1) * (1 - holes)
    assert [lake.cell_of(int(s)) for s in risk.nonzero().flatten()] == [(1, 2)]
    cells = {lake.cell_of(s): float(v) for s, v in enumerate(plan.values)}
    assert cells[0, 1] < cells[0, 0] < cells[1, 0]  # sliding down is welcome, sliding right is not


def test_the_pond_settles_where_the_lesson_says():
    values, _ = sweeps(as_mdp(pond()), 1e-12)
    torch.testing.assert_close(values, torch.tensor([1.5, 4.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("discount", [0.8, 0.95, 0.99])
def test_no_sweep_changes_more_than_the_contraction_allows(discount):
    _, moves = sweeps(frozen_lake(discount).mdp, 1e-9)
    assert all(m <= moves[0] * discount**k * (1 + 1e-9) + 1e-15 for k, m in enumerate(moves))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6])
def test_stopping_early_errs_by_more_than_the_last_change_and_less_than_promised(tolerance):
    lake = frozen_lake().mdp
    exact = library.policy_iteration(lake).values
    early, moves = sweeps(lake, tolerance)
    error = float((early - exact).abs().max())
    assert 10 * tolerance < error < 99 * moves[-1]


def test_policy_iteration_needs_few_rounds_where_value_iteration_needs_hundreds():
    mdp = frozen_lake().mdp
    assert library.policy_iteration(mdp).iterations <= 5
    assert library.value_iteration(mdp, 1e-8).iterations > 400


def test_one_policy_is_best_in_every_state_at_once():
    mdp = GridWorld("S.\nXG", slip=2 / 3, rewards={"X": 0.0}, discount=0.99).mdp
    worth = []
    for rule in product(range(4), repeat=int((~mdp.terminal).sum())):
        policy = torch.zeros(4, 4, dtype=torch.float64)
        policy[(~mdp.terminal).nonzero().flatten(), list(rule)] = 1.0
        policy[mdp.terminal, 0] = 1.0
        worth.append(EVALUATION(mdp.transition_matrix, mdp.reward, policy, mdp.discount))
    worth = torch.stack(worth)
    assert bool((worth >= worth.amax(0) - 1e-9).all(1).any())
    torch.testing.assert_close(worth.amax(0), library.value_iteration(mdp).values)


@pytest.mark.parametrize("cost, in_pit", [(0.05, False), (0.95, True), (2.0, True)])
def test_dear_steps_drive_the_robot_into_the_pit(cost, in_pit):
    world = yard(cost)
    plan = library.policy_iteration(world.mdp)
    final = library.state_distributions(world.mdp, plan.policy, 300)[-1]
    assert (float(final[world.state_of(0, 3)]) > 0.5) == in_pit
    assert float(final[world.mdp.terminal].sum()) > 0.999


@pytest.mark.parametrize("cost, way", [(0.95, "G"), (1.05, "X")])
def test_without_slips_the_pit_wins_once_a_step_costs_more_than_one(cost, way):
    world = GridWorld("S..X\n.#..\n...G", step_reward=-cost, discount=0.999)
    plan = library.policy_iteration(world.mdp)
    final = library.state_distributions(world.mdp, plan.policy, 50)[-1]
    ending = {"X": (0, 3), "G": (2, 3)}[way]
    assert float(final[world.state_of(*ending)]) == pytest.approx(1.0)


def test_the_cards_printed_in_the_lesson_are_the_graders():
    rows = re.findall(r"^\| ([A-I]) \| (.+) \|$", SOURCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {card: tuple(facts.split(" | ")) for card, facts in rows} == table1.CARDS


def test_each_card_fits_exactly_one_algorithm_and_it_is_the_papers():
    for card, facts in table1.CARDS.items():
        shown = dict(zip(table1.FIELDS, facts, strict=True))
        fitting = [name for name, (needs, _, _) in table1.ALGORITHMS.items()
                   if needs.items() <= shown.items()]
        assert fitting == [table1.table_of_the_paper()[card]]


def test_every_number_of_the_prediction_can_come_out():
    text = SOURCE.read_text(encoding="utf-8")
    assert 'STEPS = ("up, into the border", "right", "down", "left, into the border")' in text
    assert frozen_lake().mdp.action_names == ("up", "right", "down", "left")


def test_the_backup_is_the_first_exercise():
    cells = [c.exercise for c in read_lesson(SOURCE).cells if c.exercise and c.kind == "code"]
    assert cells[0] == EXERCISES[0].id == "markov_decision_processes.bellman_backup"


@pytest.mark.parametrize(("discount", "patient"), [(0.5, False), (0.8, False), (0.9, True)])
def test_only_a_patient_robot_bumps_into_the_border(discount, patient):
    *others, left = library.value_iteration(frozen_lake(discount).mdp).q_values[0].tolist()
    assert (left > max(others)) == patient
