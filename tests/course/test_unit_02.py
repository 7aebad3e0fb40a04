"""What unit 02 says, at a smaller size: its numbers, its claims, and the loops it shows."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tutorlib.authoring import read_lesson
from tutorlib.control import (
    PPOConfig,
    estimate_gradients,
    exact_policy_gradient,
    softmax_policy,
    train_ppo,
)
from tutorlib.grading.registry import find_exercise
from tutorlib.mdp import (
    expected_next_values,
    policy_evaluation,
    sample_trajectories,
    value_iteration,
)
from tutorlib.syllabus import course_root

LESSON = course_root(Path(__file__).parent) / "course" / "02_reinforcement_learning.py"
CELLS = [cell for cell in read_lesson(LESSON).cells if cell.kind == "code"]


def lesson_names(*wanted, **given):
    """Run the imports of the lesson, and its cells that define ``wanted``; return its names."""
    names = dict(given)
    lines = [line for cell in CELLS for line in cell.source.splitlines()]
    exec("\n".join(x for x in lines if x.startswith(("import ", "from "))), names)
    for cell in CELLS:
        if any(f"def {name}(" in cell.source for name in wanted):
            source = cell.source.split("\n\nfailing = ")[0].split("\n\nlogits, generator")[0]
            exec(source, names)
    return names


@pytest.fixture(scope="module")
def table_loop():
    return lesson_names("td_target", "learn")


@pytest.fixture(scope="module")
def loop():
    return lesson_names("gae", "ppo_clip_objective", "make_samples", "train", "find_the_bug",
                        "colleague")


def cell_with(text):
    (cell,) = [cell for cell in CELLS if text in cell.source]
    return cell.source


def cliff_of(names):
    """Return the cliff as the lesson draws it."""
    exec(cell_with("CLIFF = GridWorld").split("OPTIONS")[0], names)
    return names["CLIFF"]


def test_the_first_example_as_worked_by_hand(capsys):
    exec(cell_with('"A": 0.0'), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "after episode 1: A 0.500, B 1.000"
    assert lines[1] == "after episode 2: A 1.000, B 1.500"
    a, b = (float(part.split()[1]) for part in lines[-1].split(": ")[1].split(", "))
    assert 1.9 < a < b < 2  # on the way to 2, the worth of both


def test_on_the_cliff_sarsa_earns_more_and_q_learning_knows_the_shorter_way(table_loop):
    cliff = cliff_of(table_loop)
    late, lengths = {}, {}
    for name in ("Q-learning", "SARSA"):
        runs = [table_loop["learn"](cliff.mdp, name == "SARSA", 300, seed) for seed in range(3)]
        late[name] = torch.stack([returns[150:].mean() for _, returns, _ in runs]).mean()
        q, state = torch.stack([q for q, _, _ in runs]).mean(0), cliff.state_of(3, 0)
        lengths[name] = 0
        while not cliff.mdp.terminal[state] and lengths[name] < 40:
            state = int(cliff.mdp.successors[state, q[state].argmax(), 0])
            lengths[name] += 1
    assert late["SARSA"] > late["Q-learning"] + 0.02
    assert lengths["Q-learning"] == 9 < lengths["SARSA"]  # 9: right along the edge


def test_a_fall_costs_a_hundred_steps(table_loop):
    cliff = cliff_of(table_loop)
    assert cliff.cell_rewards.min() == pytest.approx(100 * float(cliff.cell_rewards[0]))


def rewards_of_the_room(names):
    source = cell_with("ROOM = GridWorld").split("lengths = {")[0]
    exec(source, names)
    return names


def test_the_potential_keeps_the_best_plan_and_the_bonus_does_not(table_loop):
    names = rewards_of_the_room(table_loop)
    room, tasks, potential = names["ROOM"], names["tasks"], names["potential"]
    live = ~room.mdp.terminal
    sparse, shaped = value_iteration(tasks["sparse"]), value_iteration(tasks["potential"])
    shift = (sparse.q_values - shaped.q_values)[live]
    assert torch.allclose(shift, potential[live][:, None].expand_as(shift))  # same best actions
    plan, state = value_iteration(tasks["bonus"]).policy, room.state_of(0, 0)
    for _ in range(100):
        state = int(room.mdp.successors[state, plan[state].argmax(), 0])
    assert not room.mdp.terminal[state]
    assert float(expected_next_values(room.mdp, potential)[-1].max()) == 0  # 0 at the end


def test_the_potential_brings_the_news_forward(table_loop):
    names = rewards_of_the_room(table_loop)
    steps = {name: torch.stack([names["learn"](names["tasks"][name], False, 12, seed)[2]
                                for seed in range(3)]).float().mean()
             for name in ("sparse", "potential")}
    assert steps["potential"] < steps["sparse"] / 3


def test_in_the_bandit_a_baseline_removes_all_noise():
    scores = torch.eye(2) - 0.5
    estimates = [[(pay - b) * score for pay, score in zip((1.0, 0.0), scores, strict=True)]
                 for b in (0.0, 0.5)]
    assert torch.equal((estimates[0][0] + estimates[0][1]) / 2, torch.tensor([0.25, -0.25]))
    assert torch.equal(estimates[1][0], estimates[1][1])


def test_each_weight_is_less_noisy_than_the_last_and_a_wrong_critic_brings_bias(table_loop):
    exec("POND = " + cell_with("POND = ").split("POND = ")[1].split("\n")[0], table_loop)
    mdp = table_loop["POND"].mdp
    logits = 0.5 * torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).double()
    exact, values = exact_policy_gradient(mdp, logits), policy_evaluation(mdp,
                                                                          softmax_policy(logits))
    runs = sample_trajectories(mdp, softmax_policy(logits), 3000, 60,
                               torch.Generator().manual_seed(5))
    noise, bias = [], []
    for weight, critic in (("whole_return", values), ("reward_to_go", values),
                           ("baseline", values), ("td_error", values), ("td_error", 0 * values)):
        one = estimate_gradients(weight, mdp, logits, runs, critic)
        noise.append(float(one.var(0).sum().sqrt()))
        bias.append(float((one.mean(0) - exact).norm()))
    assert noise[0] > noise[1] > noise[2] > noise[3] and noise[0] > 5 * noise[3]
    luck = [n / 3000**0.5 for n in noise]
    assert all(b < 2 * x for b, x in zip(bias[:4], luck[:4], strict=True))
    assert bias[4] > 8 * luck[4]


def test_the_table_of_clipping_is_the_graders_hand_case():
    case = find_exercise("reinforcement_learning.ppo_clip_objective").hand_case()
    logps, old, advantages, clip = case.args
    assert torch.allclose((logps - old).exp(), torch.tensor([1.5, 0.5, 1.5, 0.5]).double())
    held = (logps - old).exp().clamp(1 - clip, 1 + clip)
    assert (held * advantages).tolist() == pytest.approx([2.4, 1.6, -2.4, -1.6])
    assert case.expected.tolist() == pytest.approx([2.4, 1.0, -3.0, -1.6])


def test_the_settings_that_the_prose_names():
    config = PPOConfig()
    assert (config.n_envs, config.n_steps, config.epochs, config.clip) == (16, 32, 10, 0.2)


def test_the_lessons_loop_is_the_librarys(loop):
    config = PPOConfig(total_steps=512, n_envs=4, n_steps=32, epochs=2, minibatch_size=64)
    policy, critic, curve, misses = loop["train"](3, config)
    result = train_ppo("CartPole-v1", config, seed=3)
    pairs = zip([*policy.parameters(), *critic.parameters()],
                [*result.policy.parameters(), *result.critic.parameters()], strict=True)
    for ours, theirs in pairs:
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert len(curve) == len(misses) == 4 == len(result.history)
    recent = result.episode_returns[-20:]
    assert curve[-1] == pytest.approx(sum(recent) / len(recent), rel=1e-5)


def test_the_colleagues_critic_is_never_contradicted_by_a_fall(loop):
    discount = 0.98
    rewards, values = torch.ones(6, 1), torch.full((7, 1), 1 / (1 - discount))
    fell = torch.zeros(6, 1, dtype=torch.bool)
    fell[2] = True
    arguments = (rewards, values, fell, torch.zeros_like(fell), discount, 0.9)
    assert loop["colleague"](*arguments).abs().max() < 1e-4
    assert loop["find_the_bug"](*arguments)[2].item() == pytest.approx(1 - 1 / (1 - discount))


def test_the_bridge_holds_exactly(capsys):
    names = lesson_names("reinforce_gradient")
    exec(cell_with("prefix_logits = "), names)
    assert torch.allclose(names["mean"], names["leaf"].grad, atol=1e-12)


@pytest.mark.slow
def test_ppo_balances_and_the_colleague_falls(loop):
    torch.set_num_threads(1)
    config = PPOConfig(total_steps=40_960)
    _, _, curve, misses = loop["train"](0, config)
    _, _, failing, small = loop["train"](0, config, loop["with_flags"](loop["colleague"]))
    assert curve[-1] >= 475 and failing[-1] < 200
    assert small[19] < misses[19] / 10  # in mid-training the failing critic looks far better
    _, _, mended, _ = loop["train"](0, config, loop["with_flags"](loop["find_the_bug"]))
    assert mended[-1] >= 475


@pytest.mark.slow
def test_reusing_experience_helps_and_clipping_matters_at_this_rate(loop):
    torch.set_num_threads(1)
    config = PPOConfig(total_steps=20_480)
    ends = {name: sum(loop["train"](seed, other)[2][-1] for seed in range(3)) / 3
            for name, other in (("ppo", config), ("unclipped", replace(config, clip=1e6)),
                                ("one step", replace(config, epochs=1, minibatch_size=512,
                                                     learning_rate=1e-2)))}
    assert ends["ppo"] > ends["one step"] and ends["ppo"] > ends["unclipped"]
