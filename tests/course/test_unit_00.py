"""What unit 00 says is so: its puzzle, its arithmetic, its wrong answer on purpose, its map."""

import math
import re
import runpy
from collections import deque
from pathlib import Path

import pytest
import torch

from tutorlib.authoring import read_lesson
from tutorlib.exercises.start_here import QUIZ, SOFTMAX, WORDS
from tutorlib.grading import evaluate
from tutorlib.grading.judge import FAILED
from tutorlib.mdp import GridWorld, sample_trajectories, value_iteration
from tutorlib.syllabus import UNITS, course_root, ready_units
from tutorlib.viz import Explorer, GridPainter

ROOT = course_root(Path(__file__).parent)
SOURCE = ROOT / "course" / "00_start_here.py"
CELLS = read_lesson(SOURCE).cells


@pytest.fixture(scope="module")
def lesson():
    """The names that the lesson leaves behind when it runs as a script."""
    threads = torch.get_num_threads()
    yield runpy.run_path(str(SOURCE))
    torch.set_num_threads(threads)


def prose(fragment):
    """Return the one Markdown cell that holds ``fragment``."""
    (cell,) = [c for c in CELLS if c.kind == "markdown" and fragment in c.source]
    return cell.source


def steps_to_goal(world):
    """Return each state's distance to the goal, by breadth-first search over the drawn map."""
    drawn = {(r, c): x for r, line in enumerate(world.lines) for c, x in enumerate(line)}
    places = {cell for cell, x in drawn.items() if x != "#"}
    goal = next(cell for cell, x in drawn.items() if x == "G")
    distance, queue = {goal: 0}, deque([goal])
    while queue:
        row, col = queue.popleft()
        for cell in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
            if cell in places and cell not in distance:
                distance[cell] = distance[row, col] + 1
                queue.append(cell)
    return distance


def test_three_of_the_four_rewards_explain_the_steps(lesson):
    assert lesson["same"] == ["prize", "fine", "both"]
    assert lesson["outcome"] == "Three of them"
    assert lesson["outcome"] in lesson["COUNTS"][1:]  # the prediction's own options


@pytest.mark.parametrize("name", ["prize", "fine", "both"])
def test_the_best_steps_are_exactly_those_of_shortest_ways(lesson, name):
    world = lesson["suspects"][name]
    distance, policy = steps_to_goal(world), lesson["best_steps"](world)
    moves = ((-1, 0), (0, 1), (1, 0), (0, -1))
    for state in range(world.mdp.n_states):
        row, col = world.cell_of(state)
        if distance[row, col]:
            nearer = [distance.get((row + up, col + right), math.inf) < distance[row, col]
                      for up, right in moves]
            assert (policy[state] > 0).tolist() == nearer


def test_no_reward_is_a_multiple_of_another(lesson):
    """The quiz says so of the prize and the fine."""
    prize, fine = (lesson["suspects"][name].mdp.reward for name in ("prize", "fine"))
    assert torch.linalg.matrix_rank(torch.stack([prize.flatten(), fine.flatten()])) == 2


def test_with_a_tip_walking_on_pays_more_than_arriving(lesson):
    world = lesson["suspects"]["tip"]
    values = value_iteration(world.mdp).values
    walking = 0.1 / (1 - world.mdp.discount)
    assert values[~world.mdp.terminal] == pytest.approx(walking) and walking > 1
    policy = lesson["best_steps"](world)
    walks = sample_trajectories(world.mdp, policy, 50, 100, torch.Generator().manual_seed(0))
    assert bool(walks.mask.all())


@pytest.mark.parametrize("tip, the_same", [(0.1, False), (0.051, False), (0.049, True)])
def test_a_tip_changes_the_steps_from_a_twentieth_on(lesson, tip, the_same):
    world = GridWorld(lesson["ROOM"], rewards={"G": 1.0}, step_reward=tip)
    assert world.mdp.discount == 0.95  # "5 % less"
    assert torch.equal(lesson["best_steps"](world) > 0, lesson["seen"] > 0) == the_same


@pytest.mark.parametrize("name, scale, potential", [("fine", 20.0, 1.0), ("both", 1.8, 0.8 / 1.8)])
def test_three_wishes_are_one_rescaled_and_shaped(lesson, name, scale, potential):
    """The potential is one constant everywhere but at the goal, where it is 0."""
    prize, other = (lesson["suspects"][n].mdp for n in ("prize", name))
    phi = potential * (~prize.terminal).double()
    after = (prize.transition_matrix * phi).sum(-1)
    shaped = scale * (prize.reward + prize.discount * after - phi[:, None])
    here = ~prize.terminal
    assert torch.allclose(shaped[here], other.reward[here])


def test_a_second_exit_tells_prize_from_fine(lesson):
    room = lesson["ROOM"].replace("S....", "SX...")
    prize = GridWorld(room, rewards={"G": 1.0, "X": 0.0})
    fine = GridWorld(room, rewards={"G": 0.0, "X": -1.0}, step_reward=-1.0)
    steps = [lesson["best_steps"](world)[world.state_of(0, 0)].argmax() for world in (prize, fine)]
    assert [prize.mdp.action_names[i] for i in steps] == ["down", "right"]


def test_the_painted_challenges_can_be_met(lesson):
    painter = GridPainter(GridWorld(lesson["ROOM"], rewards={"G": 1.0}))
    assert painter.discount == 0.95  # "5 % less"
    start, goal = painter.world.state_of(0, 0), painter.world.state_of(3, 4)
    painter.paint(0, 1, -1.0)  # a fine beside the start: now the way leads down, round the wall
    path = sample_trajectories(painter.world.mdp, painter.policy, 1, 9).states[0].tolist()
    assert path[0] == start and path[-1] == goal and painter.world.state_of(3, 1) in path
    painter.reset()
    painter.paint(3, 4, -1.0)
    walk = sample_trajectories(painter.world.mdp, painter.policy, 1, 50)
    assert bool(walk.mask.all())


def test_the_arithmetic_by_hand_is_right():
    text = prose("By hand, for two words")
    stated = [float(x) for x in re.findall(r"\d\.\d\d", text)]
    e = math.e
    true = [e**2, e**2, e**2 + 1, e**2 / (e**2 + 1), e, e, e + 1, e / (e + 1)]
    assert stated == [round(x, 2) for x in true]


def test_the_wrong_answer_on_purpose_is_recognised_as_what_it_is():
    line = re.search(r"`return (torch\.softmax.*?)`", prose("on purpose"))[1]
    result = evaluate(SOFTMAX, eval(f"lambda logits, temperature: {line}", {"torch": torch}))
    assert result.outcome == FAILED and result.stage == "hand example"
    assert result.mistake.name == "no_temperature"


LEARNERS = {  # what people write besides the mistakes' own spellings, and what the check says
    "e = (z / t).exp(); return e / e.sum()": "whole_table",
    "e = (z / t).exp(); return e / e.sum(0)": "wrong_axis",
    "e = z.exp(); return e / e.sum(-1, keepdim=True)": "no_temperature",
    "e = z.exp() / t; return e / e.sum(-1, keepdim=True)": "no_temperature",
    "e = (z * t).exp(); return e / e.sum(-1, keepdim=True)": "multiplied",
    "e = z.exp(); return e / e.sum(-1, keepdim=True) / t": "temperature_last",
    "e = (z / t).exp(); return e / e.sum(dim=-1)": "bare_sum_lost_its_axis",
}


@pytest.mark.parametrize("body", LEARNERS)
def test_a_mistake_in_another_guise_gets_its_message(body):
    names = {}
    exec(f"def answer(z, t): {body}", names)
    result = evaluate(SOFTMAX, names["answer"])
    assert result.outcome == FAILED and result.mistake.name == LEARNERS[body]


def test_subtracting_the_largest_score_changes_nothing(capsys):
    """Run the demonstration by itself: nan without, the same as for small scores with."""
    (cell,) = [c for c in CELLS if c.kind == "code" and "plain, safe" in c.source]
    exec(cell.source, {"torch": torch})
    small, large = capsys.readouterr().out.splitlines()
    assert re.findall(r"0\.\d\d|nan", small) == ["0.88", "0.88"]
    assert re.findall(r"0\.\d\d|nan", large) == ["nan", "0.88"]


def test_the_example_in_the_task_is_right(lesson):
    scores = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    answer = lesson["softmax_with_temperature"](scores, 2)
    assert answer.numpy().round(2).tolist() == [[0.73, 0.27]]
    assert "`[[0.73, 0.27]]`" in prose("on purpose")


def test_the_map_tells_ready_from_planned(lesson):
    ready = {unit.number for unit in ready_units(ROOT)}
    table = "\n".join(lesson["lines"])
    told = re.findall(r"(\d\d) (ready|planned)", table)
    assert len(told) == 15  # seven shared objects, one of them in two units
    assert all((word == "ready") == (number in ready) for number, word in told)
    assert lesson["written"].split(", ") == sorted(ready)
    assert set(lesson["missing"].split(", ")) == {u.number for u in UNITS} - ready


def test_cold_is_boring_and_heat_talks_nonsense(lesson):
    logits, function = lesson["logits"], lesson["softmax_with_temperature"]
    shares = [float(function(logits, t)[0, 0]) for t in (0.1, 0.5, 1.0, 2.0, 10.0)]
    assert shares == sorted(shares, reverse=True)
    slider = Explorer(lesson["the_sky_is"], {"temperature": lesson["Slider"](0.1, 10.0, 1.0)})
    said = []
    for temperature in (0.1, 3.0, 10.0):
        slider.set(temperature=temperature)
        said.append(slider.answer["alt"].split("30 draws: ")[1])
    assert said[0].startswith(f"30 {WORDS[0]}, 0 ") and len(set(said)) == 3
    assert int(re.search(r"(\d+) falling", said[2])[1]) > 0


def test_the_quiz_is_as_long_as_the_lesson_says():
    assert len(QUIZ) == 4 and "four questions" in prose("What you take along")
