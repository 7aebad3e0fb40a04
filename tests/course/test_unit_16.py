"""What unit 16 claims, at a smaller size, and the numbers that its text holds."""

import copy
import math
import re

import pytest
import torch

from tests.lessons import run_lesson
from tutorlib import lm
from tutorlib.authoring import read_lesson
from tutorlib.errors import TrainingDivergedError
from tutorlib.exercises.rlhf_policy_gradient import EXERCISES, QUIZ
from tutorlib.exercises.rlhf_policy_gradient.advantage import RLOO_ADVANTAGE, rloo_advantage
from tutorlib.exercises.rlhf_policy_gradient.estimators import KL_ESTIMATORS, kl_estimators
from tutorlib.exercises.rlhf_policy_gradient.optimum import (
    KL_REGULARISED_OPTIMUM,
    kl_regularised_optimum,
)
from tutorlib.exercises.rlhf_policy_gradient.pay import token_rewards
from tutorlib.exercises.rlhf_policy_gradient.ppo import PPO_TOKEN_LOSS, ppo_token_loss
from tutorlib.grading import evaluate
from tutorlib.grading.judge import FAILED
from tutorlib.posttraining import (
    PolicyGradientSettings,
    estimator_errors,
    exact_gradient,
    flat_gradient,
    gradient_estimates,
    kl_estimate,
    leaf_scores,
    policy_gap,
    ratio_loss,
    rloo_advantages,
    train_policy_gradient,
)
from tutorlib.posttraining import token_rewards as package_rewards
from tutorlib.rewards import fit_linear_reward
from tutorlib.syllabus import course_root
from tutorlib.tinytalk import (
    Labeller,
    Prompt,
    gold_reward,
    load,
    mean_parts,
    preference_pairs,
    sample_prompts,
)
from tutorlib.tinytalk.tokenizer import chat_prompt

LESSON = course_root() / "course" / "16_rlhf_policy_gradient.py"
TINY, TOKENIZER = load("tiny")
ASKED = {chat_prompt(p.text): p for p in sample_prompts(2000, 1)}
BETA = 0.5


def gold_of(prompts, answers):
    return [gold_reward(ASKED[x], y) for x, y in zip(prompts, answers, strict=True)]


def settings(**changed):
    return PolicyGradientSettings(**{
        "steps": 25, "prompts_per_step": 16, "learning_rate": 1e-3, "add_special_tokens": False,
        "sampling": lm.SamplingSettings(40, num_generations=4)} | changed)


@pytest.fixture(scope="module")
def grass():
    """The lesson's tree, its rewards, and the score of every answer in a small basis."""
    prompt = Prompt("facts", ("color", "grass"))
    words = ["green", "blue", "red", "white", "black", ".", "<eos>"]
    tree = lm.TokenTree(TINY, chat_prompt(prompt.text) + " the grass is", words, 2, TOKENIZER)
    texts = tree.texts(skip_special_tokens=True)
    gold = torch.tensor([gold_reward(prompt, f"the grass is {t}") for t in texts]).double()
    basis, triangle = torch.linalg.qr(leaf_scores(TINY, tree).double().T)
    return tree, gold, triangle.T, exact_gradient(TINY, tree, gold).double() @ basis


def test_the_smallest_case_by_hand():
    rewards = torch.tensor([[0.0, 2.0, 4.0]], dtype=torch.float64) * math.log(2)
    prior = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    logps, values = kl_regularised_optimum(rewards, prior.log(), 2.0)
    assert logps.exp()[0].tolist() == pytest.approx([0.25, 0.25, 0.5])
    assert float(values) == pytest.approx(2 * math.log(2))
    assert "2 \\log 2 = 1.386" in LESSON.read_text(encoding="utf-8")
    assert round(2 * math.log(2), 3) == 1.386


def test_the_answers_to_play_are_the_optimums():
    """The three numbers behind the fold: half at beta 0.29 for 1.36 nats; log 20 in the limit."""
    worth = torch.tensor([[-0.5, 1.5, 0.0, 2.0, 2.5, 4.0]], dtype=torch.float64)
    habit = torch.tensor([[0.25, 0.15, 0.3, 0.25, 0.05, 0.0]], dtype=torch.float64)
    logps = kl_regularised_optimum(worth, habit.log(), 0.29)[0][0, :5]
    assert float(logps[4].exp()) == pytest.approx(0.5, abs=0.01)
    assert float(logps.exp() @ (logps - habit.log()[0, :5])) == pytest.approx(1.36, abs=0.01)
    assert math.log(20) == pytest.approx(3.0, abs=0.01)


def test_a_wrong_dtype_is_named_for_what_it_is():
    """The values of float32 are close enough; what it loses is small differences."""
    result = evaluate(KL_ESTIMATORS, lambda p, q, m: kl_estimators(p.float(), q.float(), m), 3)
    assert result.outcome == FAILED and "Keep the dtype you got" in result.message


@pytest.mark.parametrize("change, words", [
    (lambda r, q, b: kl_regularised_optimum(r, q.clamp(min=-1e9), b), "must stay -inf"),
    (lambda r, q, b: (kl_regularised_optimum(r, q, b)[0], torch.full((len(r),), math.nan)
                      if bool(q.isinf().any()) else kl_regularised_optimum(r, q, b)[1]), "NaN"),
])
def test_what_the_reference_never_says_is_looked_at_first(change, words):
    result = evaluate(KL_REGULARISED_OPTIMUM, change, 3)
    assert result.outcome == FAILED and words in result.message


def test_the_references_agree_with_the_package():
    g = torch.Generator().manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    new, old, ref, a = (-torch.rand(3, 4, generator=g, dtype=torch.float64) for _ in range(4))
    rewards = torch.randn(3, generator=g, dtype=torch.float64)
    for name, found in zip(("k1", "k2", "k3"), kl_estimators(new, ref, mask), strict=True):
        torch.testing.assert_close(found, kl_estimate(new, ref, mask, name))
    wanted = package_rewards(rewards, kl_estimate(new, ref, mask), mask, 0.3)
    torch.testing.assert_close(token_rewards(rewards, new, ref, mask, 0.3), wanted)
    torch.testing.assert_close(ppo_token_loss(new, old, a, mask, 0.2),
                               ratio_loss(new, old, mask, a, 0.2)[0])
    torch.testing.assert_close(rloo_advantage(a), rloo_advantages(a))


def test_the_closed_form_is_the_trees_optimum(grass):
    tree, gold, *_ = grass
    logps, value = kl_regularised_optimum(gold[None], tree.leaf_logps()[None], BETA)
    plan = tree.solve(gold, BETA)
    assert float(value) == pytest.approx(float(plan.values[0]), abs=1e-9)
    torch.testing.assert_close(logps[0], tree.leaf_logps(plan.policy))
    reference = policy_gap(tree, tree.reference, gold, BETA)
    assert reference["regret"] == pytest.approx(BETA * reference["kl_to_optimum"], abs=1e-9)


def test_a_shift_of_rewards_ruins_no_baseline_and_only_that(grass):
    tree, gold, scores, exact = grass
    assert sum(p.numel() for p in TINY.parameters()) == 67_584  # as the lesson says
    drawn = tree.sample(8000, torch.Generator().manual_seed(0)).view(2000, 4)
    mean = float(tree.leaf_logps().exp() @ gold)
    names = ("none", "moving_average", "batch_mean", "leave_one_out")
    found = {shift: {n: estimator_errors(gradient_estimates(
        scores, gold + shift, drawn, n, past=mean + shift), exact) for n in names}
        for shift in (0.0, 2.0)}
    assert found[2.0]["none"]["variance"] > 10 * found[0.0]["none"]["variance"]
    for name in names[1:]:
        assert found[2.0][name]["variance"] == pytest.approx(found[0.0][name]["variance"])
    assert found[0.0]["none"]["variance"] < found[0.0]["leave_one_out"]["variance"]
    slopes = {n: found[2.0][n]["slope"] for n in names}
    assert slopes.pop("batch_mean") == pytest.approx(0.75, abs=0.05)
    assert all(abs(s - 1) < 0.1 for s in slopes.values()), slopes


def test_which_kl_has_which_gradient(grass):
    """k1 in the reward is exact; in the loss k1 does nothing, k2 nearly the right thing."""
    tree, *_ = grass
    moved = copy.deepcopy(TINY)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for p in moved.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator)
    policy = tree.policy_of(moved, differentiable=True)
    p, scores = tree.leaf_logps(policy).detach().exp(), leaf_scores(moved, tree).double()
    true, misses = flat_gradient(tree.kl(policy), moved, retain=True).double(), {}
    for name in ("k1", "k2", "k3"):
        k = tree.path_sums([kl_estimate(a, b, None, name)
                            for a, b in zip(policy, tree.reference, strict=True)])
        for place, g in (("reward", (p * k.detach()) @ scores),
                         ("loss", flat_gradient(p @ k, moved, retain=True).double())):
            misses[name, place] = float((g - true).norm() / true.norm())
        exact, mean = float(tree.kl(policy).detach()), float(p @ k.detach())
        assert (mean == pytest.approx(exact, rel=1e-6)) == (name != "k2")
    assert misses["k1", "reward"] < 1e-3 and misses["k1", "loss"] == pytest.approx(1, abs=1e-3)
    assert misses["k2", "loss"] < 0.3 and misses["k3", "loss"] > 0.5
    assert misses["k2", "reward"] > 1 and misses["k3", "reward"] > 0.1


def test_rloo_climbs_to_the_exact_optimum(grass):
    tree, gold, *_ = grass
    model, generator, regret = copy.deepcopy(TINY), torch.Generator().manual_seed(0), []
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(30):
        policy = tree.policy_of(model, differentiable=True)
        logps = tree.leaf_logps(policy)
        regret.append(policy_gap(tree, policy, gold, BETA)["regret"])
        y = tree.sample(8, generator, policy)
        paid = gold[y] - BETA * (logps.detach() - tree.leaf_logps())[y]
        loss = -(rloo_advantage(paid[None])[0] * logps[y]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert regret[0] > 0.3 and sum(regret[-10:]) / 10 < 0.05


@pytest.mark.parametrize("change, words", [
    (lambda p, q, a, m, c: ppo_token_loss(p.detach(), q, a, m, c), "no gradient"),
    (lambda p, q, a, m, c: ppo_token_loss(p, q, a.detach(), m, c) - 0 * a.sum() + a[0, 0]
     - a[0, 0].detach(), "flows into advantages"),
    (lambda p, q, a, m, c: ppo_token_loss(p, q, a, m, c) + q[0, 0] - q[0, 0].detach(),
     "flows into old_logps"),
])
def test_gradients_that_leak_or_are_missing_are_named(change, words):
    """Their values are right, so no mutant can stand for them."""
    result = evaluate(PPO_TOKEN_LOSS, change, 3)
    assert result.outcome == FAILED and words in result.message


def test_constants_and_nan_pass_no_grader():
    for answer in (lambda r: 0 * r, lambda r: torch.full_like(r, math.nan), lambda r: r.mean()):
        assert evaluate(RLOO_ADVANTAGE, answer, 3).outcome == FAILED


def test_a_learned_reward_is_exploited_without_a_price_and_the_guard_says_so():
    """Reward up, gold down, answers that repeat; the weights come back before it is all gone."""
    judged = preference_pairs(sample_prompts(400, 3), Labeller(temperature=0.5), 4)

    def counts(texts):
        rows = TOKENIZER(texts, add_special_tokens=False)["input_ids"]
        return torch.stack([torch.bincount(torch.tensor(row, dtype=torch.long),
                                           minlength=len(TOKENIZER)) for row in rows]).double()

    worth = fit_linear_reward(counts([p.chosen for p in judged]),
                              counts([p.rejected for p in judged]))
    golds, model = [], copy.deepcopy(TINY)

    def learned(prompts, answers):
        golds.append(sum(gold_of(prompts, answers)) / len(answers))
        return (counts(answers) @ worth).tolist()

    with pytest.raises(TrainingDivergedError, match=r"beyond kl_limit=20\.0") as caught:
        train_policy_gradient(model, TOKENIZER, list(ASKED), learned,
                              settings(beta=0.0, kl_limit=20.0), torch.Generator().manual_seed(0))
    first, last = caught.value.history[0], caught.value.history[-1]
    assert last["reward"] > first["reward"] + 1 and golds[-1] < golds[0] - 0.3


@pytest.mark.slow
def test_gold_rises_on_questions_nobody_was_paid_for():
    model, questions = copy.deepcopy(TINY), sample_prompts(200, 2, "heldout")
    ids = lm.encode_prompts(TOKENIZER, [chat_prompt(p.text) for p in questions],
                            add_special_tokens=False)

    def gold(policy):
        answers = lm.sample(policy, *ids, lm.SamplingSettings(40),
                            torch.Generator().manual_seed(0)).texts(TOKENIZER)
        return mean_parts(questions, answers)["gold"]

    history = train_policy_gradient(model, TOKENIZER, list(ASKED), gold_of, settings(steps=40),
                                    torch.Generator().manual_seed(0))
    assert gold(model) > gold(TINY) + 0.3
    assert history[-1]["entropy"] < history[0]["entropy"] and history[-1]["kl"] > 0.5


def test_figures_and_exercises_are_there():
    source = LESSON.read_text(encoding="utf-8")
    assert len(EXERCISES) == 5 and len(QUIZ) == 6
    stated = [c.exercise for c in read_lesson(LESSON).cells if c.exercise and c.kind == "code"]
    assert stated == [e.id for e in EXERCISES]
    assert len(re.findall(r"^(?:token_strip|lines|bars|learning_curves)\(", source,
                          re.MULTILINE)) == 7


@pytest.mark.slow
def test_the_lesson_goes_on_with_answers_in_another_style():
    """Arrays pass the checks; the cells that follow must take them too."""
    names = run_lesson(LESSON, EXERCISES, "numpy", shorter=(
        ("steps=60", "steps=12"), ("range(24)", "range(4)"), ("range(5)", "range(2)"),
        ("steps=30, answers=8", "steps=5, answers=8"), ("steps=30, limit", "steps=6, limit")))
    assert names["outcome"] in names["PARTS"]
