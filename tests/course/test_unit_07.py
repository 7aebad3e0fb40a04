"""What unit 07 claims, at a smaller size, against other people's numbers and other ways to them."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from tests.lessons import run_lesson
from tutorlib.exercises.adversarial_irl import EXERCISES, QUIZ
from tutorlib.exercises.adversarial_irl.discriminator import optimal_discriminator
from tutorlib.exercises.adversarial_irl.logit import AIRL_LOGIT, airl_logit
from tutorlib.exercises.adversarial_irl.reward import policy_reward
from tutorlib.exercises.adversarial_irl.survival import survival_bias
from tutorlib.exercises.adversarial_irl.table import f_divergence_table
from tutorlib.exercises.adversarial_irl.worlds import (
    METHODS,
    balancer,
    beam,
    idler,
    numbers,
    steps_alive,
)
from tutorlib.grading.judge import evaluate
from tutorlib.irl import GameSettings, divergences, play_game
from tutorlib.mdp import MDPEnv, TabularMDP, uniform_policy
from tutorlib.syllabus import course_root

LESSON = course_root() / "course" / "07_adversarial_irl.py"
DEMO, EVEN = numbers([[0.9, 0.1]]), numbers([[0.5, 0.5]])


def test_the_smallest_case_by_hand():
    d = optimal_discriminator(DEMO, EVEN)[0]
    assert [round(float(x), 3) for x in d] == [0.643, 0.167]
    paid = -(1 - d).log()
    assert [round(float(x), 3) for x in paid] == [1.030, 0.182]
    assert float(optimal_discriminator(DEMO, DEMO)[0, 0]) == 0.5


def test_the_references_agree_with_the_library():
    h = torch.linspace(-3, 3, 13, dtype=torch.float64)
    for name, (f, critic, reward) in f_divergence_table(h.exp()).items():
        row = divergences.DIVERGENCES[name]
        torch.testing.assert_close(f, row.f(h))
        torch.testing.assert_close(critic, row.derivative(h))
        torch.testing.assert_close(reward, row.exact_reward(h))
    for method in METHODS:
        torch.testing.assert_close(policy_reward(h, method), divergences.policy_reward(h, method))


def test_the_numbers_of_the_tasks():
    f, slope, reward = f_divergence_table(numbers([2.0]))["reverse_kl"][:, 0].tolist()
    assert [round(x, 3) for x in (f, slope, reward)] == [-0.693, -0.5, -0.307]
    assert round(float(policy_reward(numbers(math.log(2)), "gail")), 3) == 1.099
    pair = survival_bias(torch.nn.functional.softplus, numbers([[math.log(2), 0.0]]),
                         torch.ones(1, 2, dtype=torch.bool))
    assert [round(x, 3) for x in pair[0].tolist()] == [1.386, 0.405]
    blind = [round(float(policy_reward(numbers(0.0), m)), 3) for m in METHODS]
    assert blind == [0.0, 0.693, -0.693, 1.0]


def test_a_trained_classifier_finds_the_best_discriminator():
    """Logistic regression on counts, one weight per pair, by scipy: the optimum is h = log u."""
    demo, policy = numbers([[0.4, 0.1], [0.3, 0.2]]), numbers([[0.1, 0.3], [0.2, 0.4]])
    best = optimal_discriminator(demo, policy)
    for e, p, d in zip(demo.flatten(), policy.flatten(), best.flatten(), strict=True):
        found = minimize_scalar(lambda h, e=float(e), p=float(p): e * np.logaddexp(0, -h)
                                + p * np.logaddexp(0, h))
        assert found.x == pytest.approx(math.log(d / (1 - d)), abs=1e-5)


def test_airl_s_logit_is_imitation_s():
    """``AIRL.logits_expert_is_high`` is f - log pi, with f from ``BasicShapedRewardNet``."""
    gym_spaces = pytest.importorskip("gymnasium.spaces")
    nets = pytest.importorskip("imitation.rewards.reward_nets")
    airl = pytest.importorskip("imitation.algorithms.adversarial.airl").AIRL
    torch.manual_seed(0)
    box = gym_spaces.Box(-1, 1, (3,), np.float32)
    net = nets.BasicShapedRewardNet(box, box, use_action=False, discount_factor=0.9)
    state, action, following = torch.rand(3, 6, 3)
    done = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    log_pi = -torch.rand(6)

    class Bare:
        _reward_net = net

    theirs = airl.logits_expert_is_high(Bare(), state, action, following, done, log_pi)
    ours = airl_logit(net.base(state, action, following, done), net.potential(state).flatten(),
                      net.potential(following).flatten(), done.bool(), log_pi, 0.9)
    torch.testing.assert_close(ours, theirs.flatten(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cut", [lambda x: x.detach(), lambda x: x.detach().numpy(),
                                 lambda x: x.tolist()])
def test_a_logit_through_which_no_judge_can_learn_is_refused(cut):
    found = evaluate(AIRL_LOGIT, lambda *args: cut(airl_logit(*args)))
    assert found.outcome == "not passed" and "no gradient flows back" in found.message


def test_gail_s_reward_is_imitation_s():
    gail = pytest.importorskip("imitation.algorithms.adversarial.gail")
    h = torch.linspace(-5, 5, 11)

    class Base(torch.nn.Module):
        observation_space = action_space = None
        normalize_images = True

        def forward(self, *args):
            return h

    net = gail.RewardNetFromDiscriminatorLogit.__new__(gail.RewardNetFromDiscriminatorLogit)
    torch.nn.Module.__init__(net)
    net.base = Base()
    torch.testing.assert_close(policy_reward(h, "gail"), net.forward(None, None, None, None))


def one_state():
    return TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)


def test_the_printed_reward_runs_away_even_from_next_to_the_demonstrator():
    for begin in (0.5, 0.89):
        start = numbers([[begin, 1 - begin]])
        run = play_game(one_state(), DEMO, "fairl_printed", GameSettings(40, 0.5, "gradient"),
                        start)
        path = run.policies[:, 0, 0]
        assert float(path[1]) < begin and float(path[-1]) < 0.05
    assert float(-1.8 * math.log(1.8)) < float(-0.2 * math.log(0.2)), "the rarer action pays more"


@pytest.mark.parametrize("form, fixed, through", [
    (lambda h: h, 0.549, 0.549), (torch.nn.functional.softplus, 0.212, 0.093),
    (torch.exp, 0.400, 0.0), (lambda h: -h * h.exp(), -0.345, 0.400)])
def test_what_a_leak_does_to_each_reward(form, fixed, through):
    """By finite differences of the expected reward: with the reward held, and with it moving."""
    def value(theta, held):
        pi = torch.softmax(numbers([theta, 0.0]), 0)
        reward = form((DEMO[0] / (EVEN[0] if held else pi)).log())
        return float(pi @ reward)

    for held, slope in ((True, fixed), (False, through)):
        found = (value(1e-5, held) - value(-1e-5, held)) / 2e-5
        assert found == pytest.approx(slope, abs=1e-3)


def test_the_pole_in_miniature_is_as_told():
    pole, rows = beam(), [idler(beam()), uniform_policy(beam()), balancer(beam())]
    found = []
    for policy in rows:  # by rolling out the Gymnasium environment
        env, generator, lengths = MDPEnv(pole), torch.Generator().manual_seed(0), []
        for episode in range(150):
            state, over, steps = env.reset(seed=0 if episode == 0 else None)[0], False, 0
            while not over and steps < 500:
                action = int(torch.multinomial(policy[state], 1, generator=generator))
                state, _, over, _, _ = env.step(action)
                steps += 1
            lengths.append(steps)
        found.append(float(np.mean(lengths)))
    exact = [steps_alive(pole, policy) for policy in rows]
    assert [round(x, 1) for x in exact] == [3.2, 5.5, 59.4]
    assert found[0] == pytest.approx(exact[0], rel=0.1)
    assert found[1] == pytest.approx(exact[1], rel=0.25)
    assert found[2] == pytest.approx(exact[2], rel=0.3)


def test_the_prediction_has_its_answer_and_airl_is_not_biased():
    pole = beam()
    for method, least, most in (("gail", 5, 100), ("airl", 0.9, 1.1)):
        run = play_game(pole, idler(pole), method, GameSettings(80, pay_absorbing=False))
        share = steps_alive(pole, run.policy) / steps_alive(pole, idler(pole))
        assert least < share < most


def test_the_curves_measured_beforehand_are_whole_and_the_game_betters_each_clone():
    """What the file says; ``test_airl_betters_a_clone_on_the_pendulum`` repeats one run."""
    file = course_root() / "benchmarks" / "irl" / "imitators.json"
    tasks = json.loads(file.read_text(encoding="utf-8"))["tasks"]
    for name, methods in (("cartpole", 3), ("pendulum", 3), ("pendulum_alone", 1)):
        runs = tasks[name]["runs"]
        assert len(runs) >= methods and "airl" in runs
        for found in (run for each in runs.values() for run in each):
            assert len(found["steps"]) == len(found["likeliest"]) == len(found["sampled"])
    shown = tasks["pendulum"]["demonstrator"]
    for method, runs in tasks["pendulum"]["runs"].items():
        assert all(run["steps"][0] == 0 and run["likeliest"][-1] > run["likeliest"][0]
                   for run in runs), method
    assert all(run["likeliest"][-1] > shown - 100 for run in tasks["pendulum"]["runs"]["airl"])
    assert tasks["pendulum_alone"]["runs"]["airl"][0]["likeliest"][-1] < -600


def test_at_a_bound_the_density_pays_for_widening_and_the_tail_does_not():
    widths = numbers([2.0, 4.0, 8.0, 16.0])
    density = [-float(torch.distributions.Normal(0.0, w).log_prob(numbers(2.0))) for w in widths]
    tail = (-torch.special.log_ndtr(-2 / widths)).tolist()
    assert density == sorted(density) and tail == sorted(tail, reverse=True)
    assert tail[-1] > math.log(2)  # half of all actions end up there, at most


def test_the_bridge_in_numbers():
    ref, people = numbers([0.6, 0.3, 0.1]), numbers([0.2, 0.3, 0.5])
    d = optimal_discriminator(people[None], ref[None])[0]
    r = d.log() - (1 - d).log()
    torch.testing.assert_close(torch.softmax(ref.log() + r, 0), people)
    kl = float((ref * (ref / people).log()).sum())
    assert float(ref @ r) == pytest.approx(-kl, abs=1e-12)


def test_the_quiz_has_an_explanation_for_each_answer():
    assert len(QUIZ) == 6
    assert all(len(q.options) == len(q.explanations) for q in QUIZ)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["reference", "numpy", "loops"])
def test_the_lesson_runs_with_answers_in_every_style(style):
    """Lists and arrays pass the checks; the cells that follow must take them too."""
    names = run_lesson(LESSON, EXERCISES, None if style == "reference" else style)
    assert names["outcome"] == "it stands at least five times as long" == names["WHO"][2]
    assert names["worst"] < 1e-3
    shown = float(names["demos"][names["pendulum"]].returns().mean())
    assert list(names["now"].values())[-1] > shown - 100
    assert names["share"]["plan for g(s)"] > 0.999 and names["share"]["plan for f(s, a)"] < 0.01
    assert float(names["error"].abs().max()) < 1e-6
