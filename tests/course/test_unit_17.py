"""What unit 17 claims, at a smaller size, and the numbers that its text holds."""

import copy
import json
import math
import re

import pytest
import torch

from tests.lessons import run_lesson
from tutorlib import lm
from tutorlib.authoring import read_lesson
from tutorlib.exercises.direct_alignment import EXERCISES, QUIZ
from tutorlib.exercises.direct_alignment.dpo import dpo_loss
from tutorlib.exercises.direct_alignment.implicit import implicit_reward
from tutorlib.exercises.direct_alignment.losses import ipo_kto_simpo
from tutorlib.exercises.direct_alignment.telescope import telescoping
from tutorlib.exercises.direct_alignment.unseen import unseen_mass
from tutorlib.posttraining import (
    DirectSettings,
    collate_preferences,
    encode_preferences,
    expected_dpo_loss,
    ipo_loss,
    kto_loss,
    policy_gap,
    reference_logps,
    simpo_loss,
    train_direct,
)
from tutorlib.posttraining import (
    dpo_loss as package_dpo,
)
from tutorlib.syllabus import course_root
from tutorlib.tinytalk import (
    Labeller,
    Prompt,
    gold_reward,
    load,
    mean_parts,
    preference_pairs,
    right_content,
    sample_prompts,
)
from tutorlib.tinytalk.tokenizer import chat_prompt

LESSON = course_root() / "course" / "17_direct_alignment.py"
BETA = 0.5


def encode(judged, tokenizer):
    rows = [(chat_prompt(p.prompt.text), p.chosen, p.rejected) for p in judged]
    return encode_preferences(tokenizer, *zip(*rows, strict=True), add_special_tokens=False)


@pytest.fixture(scope="module")
def world():
    """The small model, 384 pairs, and what three passes over them make of it."""
    base, tokenizer = load("tiny")
    pairs = encode(preference_pairs(sample_prompts(384, 1), Labeller(), 2), tokenizer)
    aligned = copy.deepcopy(base)
    train_direct(aligned, pairs, DirectSettings(beta=BETA, learning_rate=3e-3, epochs=3),
                 torch.Generator().manual_seed(0))
    return base, tokenizer, pairs, aligned


@pytest.fixture(scope="module")
def sky():
    """The small model's tree of colors, the gold reward of its answers, and the optimum."""
    model, tokenizer = load("tiny")
    prompt = Prompt("facts", ("color", "sky"))
    tree = lm.TokenTree(model, chat_prompt(prompt.text) + " the sky is",
                        ["blue", "white", "green", "gray", "yellow", ".", "<eos>"], 3, tokenizer)
    gold = torch.tensor([gold_reward(prompt, f"the sky is {t.removesuffix('<eos>').strip()}")
                         for t in tree.texts()]).double()
    return model, tree, gold, tree.solve(gold, BETA)


def test_the_smallest_case_by_hand():
    ref, r = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([1.0, 0.0, -1.0]).double()
    weights = ref * (r / BETA).exp()
    best = weights / weights.sum()
    implicit = BETA * (best / ref).log()
    assert [round(x, 3) for x in weights.tolist()] == [3.695, 0.3, 0.027]
    assert [round(x, 3) for x in best.tolist()] == [0.919, 0.075, 0.007]
    assert [round(x, 3) for x in implicit.tolist()] == [0.304, -0.696, -1.696]
    assert round(float(BETA * weights.sum().log()), 3) == 0.696
    source = LESSON.read_text(encoding="utf-8")
    assert "$0.304$, $-0.696$, $-1.696$" in source and "(0.919, 0.075, 0.007)" in source
    # what the box prints agrees with the corrected form at beta = 1 only (0.2130 and 0.0341 at 0.4)
    wrong = [(math.log(2) * b, math.log(2) / b) for b in (1.0, 0.4)]
    assert wrong[0][0] == wrong[0][1] and wrong[1][0] != wrong[1][1]


def test_the_answers_agree_with_the_package_which_agrees_with_trl():
    g = torch.Generator().manual_seed(0)
    logps, ref = (-9 * torch.rand(5, 2, generator=g, dtype=torch.float64) for _ in range(2))
    lengths = torch.randint(2, 9, (5, 2), generator=g)
    sides = logps[:, 0], logps[:, 1], ref[:, 0], ref[:, 1]
    torch.testing.assert_close(dpo_loss(*sides, 0.3, 0.1), package_dpo(*sides, 0.3, 0.1))
    torch.testing.assert_close(ipo_kto_simpo("ipo", logps, ref, lengths, 0.3, 0.0),
                               ipo_loss(*sides, tau=0.3))
    each = kto_loss(logps.T.flatten(), ref.T.flatten(), torch.arange(10) < 5, 0.7, 0.3)
    torch.testing.assert_close(ipo_kto_simpo("kto", logps, ref, lengths, 0.3, 0.7),
                               each.view(2, 5).mean(0))
    torch.testing.assert_close(ipo_kto_simpo("simpo", logps, ref, lengths, 2.0, 0.7), simpo_loss(
        *logps.unbind(1), *lengths.unbind(1), beta=2.0, margin=0.7))


def test_implicit_rewards_of_the_optimum_telescope_to_reward_and_values(sky):
    _, tree, gold, plan = sky
    mask = tree.completion_mask
    tokens, sums = implicit_reward(tree.along(plan.policy), tree.along(tree.reference), mask, BETA)
    torch.testing.assert_close(sums, gold - plan.values[0], atol=1e-6, rtol=0)
    values = telescoping(tokens, mask, gold)
    wanted = tree.along([v[:, None].expand(-1, len(tree.words)) for v in plan.values])
    torch.testing.assert_close(values, wanted * mask, atol=1e-6, rtol=0)
    advantages = tree.along([q - v[:, None] for q, v in zip(plan.q_values, plan.values,
                                                            strict=True)])
    torch.testing.assert_close(tokens, advantages, atol=1e-6, rtol=0)


def test_dpo_s_loss_does_not_move_with_the_mass_of_unseen_answers(sky):
    _, tree, gold, plan = sky
    ref, best = tree.leaf_logps(), tree.leaf_logps(plan.policy)
    draws = tree.sample(64, torch.Generator().manual_seed(0)).view(32, 2)
    seen = torch.zeros(tree.n_leaves, dtype=torch.bool)
    seen[draws] = True
    losses, worth = [], []
    for mass in (0.0, 0.2, 0.9):
        moved = unseen_mass(best, seen, mass)
        losses.append(float(package_dpo(moved[draws[:, 0]], moved[draws[:, 1]], ref[draws[:, 0]],
                                        ref[draws[:, 1]], BETA).mean()))
        worth.append(float(moved.exp() @ gold))
    assert max(losses) - min(losses) < 1e-9
    assert worth[0] > worth[1] + 0.2 > worth[2] + 1


def test_with_all_pairs_dpo_nears_the_optimum_and_with_few_it_turns_away(sky):
    small, tree, gold, _ = sky
    regrets = {}
    for kind in ("all", "few"):
        model, g = copy.deepcopy(small), torch.Generator().manual_seed(0)
        optimizer, ref = torch.optim.Adam(model.parameters(), 1e-3), tree.leaf_logps()
        a, b = tree.sample(512, g).view(2, -1)
        a, b = a[a != b][:32], b[a != b][:32]
        first = torch.rand(32, generator=g, dtype=torch.float64) < torch.sigmoid(gold[a] - gold[b])
        good, bad = torch.where(first, a, b), torch.where(first, b, a)
        for step in range(25):
            policy = tree.policy_of(model, differentiable=True)
            logps = tree.leaf_logps(policy)
            if step in (0, 24):
                gap = policy_gap(tree, [t.detach() for t in policy], gold, BETA)
                assert gap["regret"] == pytest.approx(BETA * gap["kl_to_optimum"], abs=1e-9)
                regrets.setdefault(kind, []).append(gap["regret"])
            loss = (expected_dpo_loss(tree, policy, gold, BETA) if kind == "all" else package_dpo(
                logps[good], logps[bad], ref[good], ref[bad], BETA).mean())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert regrets["all"][1] < regrets["all"][0] / 3
    assert regrets["few"][1] > 3 * regrets["all"][1], regrets


def test_chosen_answers_fall_and_fresh_pairs_do_not_follow_the_trained_ones(world):
    base, tokenizer, pairs, aligned = world
    fresh = encode(preference_pairs(sample_prompts(96, 11, "heldout"), Labeller(), 12), tokenizer)
    loss = {}
    for name, some in (("trained", pairs), ("fresh", fresh)):
        ratios = reference_logps(aligned, some) - reference_logps(base, some)
        zero = torch.zeros(len(some))
        loss[name] = float(package_dpo(ratios[:, 0], ratios[:, 1], zero, zero, BETA).mean())
        if name == "trained":
            assert float(ratios[:, 0].mean()) < -1, "the chosen answers fall too"
            assert float(ratios[:, 1].mean()) < float(ratios[:, 0].mean()) - 2
    assert loss["trained"] < 0.5 < 0.6 < loss["fresh"], loss


def test_rewards_find_the_rude_word_though_nobody_labelled_words(world):
    base, tokenizer, _, aligned = world
    recipe = Prompt("howto", ("wash", "phone"))
    ids = lm.encode_prompts(tokenizer, [chat_prompt(recipe.text)], add_special_tokens=False)
    found = []
    for opener in ("happy to help", "silly you"):
        answer = lm.encode_completions(tokenizer, [f"{opener} , {right_content(recipe)}"])
        with torch.no_grad():
            logps = [lm.per_token_logps(m, *ids, *answer) for m in (aligned, base)]
        tokens, _ = implicit_reward(*logps, answer[1], BETA)
        words = opener.count(" ") + 1
        found.append((float(tokens[0, :words].sum()), float(tokens[0, words:].sum())))
    polite, rude = found
    assert polite[0] - rude[0] > 0.5, found
    assert polite[0] - rude[0] > 2 * abs(polite[1] - rude[1]), "the rest is the same recipe"


def test_means_with_a_beta_for_sums_let_the_policy_run_away(world):
    base, tokenizer, pairs, aligned = world
    loose, ref = copy.deepcopy(base), reference_logps(base, pairs)
    optimizer = torch.optim.AdamW(loose.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(3):
        for rows in torch.arange(len(pairs)).split(32):
            batch = collate_preferences([pairs[i] for i in rows.tolist()])
            scores = lm.sequence_logps(loose, *batch.tensors()).chunk(2)
            scores = [*scores, *ref[rows].unbind(1)]
            means = [s / n for s, n in zip(scores, batch.lengths * 2, strict=True)]
            optimizer.zero_grad()
            package_dpo(*means, BETA).mean().backward()
            torch.nn.utils.clip_grad_norm_(loose.parameters(), 1.0)
            optimizer.step()
    prompts = sample_prompts(150, 7, "heldout")
    ids = lm.encode_prompts(tokenizer, [chat_prompt(p.text) for p in prompts],
                            add_special_tokens=False)
    kl, gold = [], []
    for model in (aligned, loose):
        drawn = lm.sample(model, *ids, lm.SamplingSettings(40), torch.Generator().manual_seed(0))
        with torch.no_grad():
            own, base_logps = (lm.sequence_logps(m, *ids, drawn.completion_ids,
                                                 drawn.completion_mask) for m in (model, base))
        kl.append(float((own - base_logps).mean()))
        gold.append(mean_parts(prompts, drawn.texts(tokenizer))["gold"])
    assert kl[1] > 2 * kl[0] and gold[1] < gold[0], (kl, gold)


def test_smoothing_and_ipo_turn_round_where_the_text_says():
    """(p - 1/2) / tau and logit(p) / beta; the lesson's table holds both."""
    h = torch.linspace(0, 40, 4001, dtype=torch.float64)
    zero = torch.zeros_like(h)
    smoothed = dpo_loss(h, zero, zero, zero, 0.1, 0.2)
    assert float(h[smoothed.argmin()]) == pytest.approx(math.log(0.8 / 0.2) / 0.1, abs=0.02)
    ipo = ipo_kto_simpo("ipo", torch.stack([h, zero], 1), torch.zeros(4001, 2).double(),
                        torch.ones(4001, 2), 0.025, 0.0)
    assert float(h[ipo.argmin()]) == pytest.approx(0.5 / 0.025, abs=0.02)
    assert bool((dpo_loss(h, zero, zero, zero, 0.1, 0.0).diff() < 0).all()), "DPO never does"


def test_the_table_reads_the_benchmark(tmp_path, monkeypatch, capsys):
    """The cell that prints it, on a file of the benchmark's form."""
    runs = [{"seed": i, "gold": 1.5 + i / 10, "truth": 0.2, "harmlessness": 0.1, "tone": 0.5,
             "length": 12.0, "kl": 3.0, "seconds": 60.0, "labels": 4000} for i in range(5)]
    base = {k: 0.5 for k in ("gold", "truth", "harmlessness", "tone", "length")}
    for folder in ("course", "tutorlib", "benchmarks/posttraining"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "benchmarks/posttraining/targets.json").write_text(json.dumps(
        {"base": base, "methods": {n: {"runs": runs} for n in ("offline DPO", "iterative DPO")}}))
    monkeypatch.setenv("TUTORLIB_ROOT", str(tmp_path))
    (cell,) = [c.source for c in read_lesson(LESSON).cells if "targets.json" in c.source
               and c.kind == "code"]
    from tutorlib.viz import bars
    names = {"torch": torch, "math": math, "bars": bars}
    exec(cell, names)
    printed = capsys.readouterr().out
    assert "1.70 ±0.20" in printed and "4000 ±   0" in printed
    assert "iterative DPO 1.70, base 0.50" in names["picture"].alt


def test_figures_and_exercises_are_there():
    source = LESSON.read_text(encoding="utf-8")
    assert len(EXERCISES) == 5 and len(QUIZ) == 6
    stated = [c.exercise for c in read_lesson(LESSON).cells if c.exercise and c.kind == "code"]
    assert stated == [e.id for e in EXERCISES]
    assert len(re.findall(r"^(?:    picture = )?(?:token_strip|bars|learning_curves|Picture)\(",
                          source, re.MULTILINE)) == 7


def test_the_toy_s_loss_and_its_j_agree_on_h_and_not_on_unseen_mass():
    """Good, bad and gibberish: the labels' expected loss is lowest at h = 4, and so is J."""
    ref, r = torch.tensor([0.5, 0.45, 0.05]).double(), torch.tensor([1.0, -1.0, -2.0]).double()
    best = ref * (r / BETA).exp() / (ref * (r / BETA).exp()).sum()
    assert float((best / ref).log()[:2] @ torch.tensor([1.0, -1.0]).double()) == pytest.approx(4)
    assert float(best[2]) < 0.001 and round(1 / (1 + math.exp(-2)), 2) == 0.88
    h = torch.linspace(-4, 8, 25, dtype=torch.float64)
    wrong = 1 - 1 / (1 + math.exp(-2))
    loss = torch.nn.functional.softplus(-BETA * h) + wrong * BETA * h
    assert float(h[loss.argmin()]) == 4
    pair = torch.tensor([2.0]), torch.zeros(1), torch.zeros(1), torch.zeros(1)
    assert float(dpo_loss(*pair, BETA, 0.1)) == pytest.approx(0.4133, abs=1e-4)


@pytest.mark.slow
def test_the_lesson_goes_on_with_answers_in_another_style():
    """Arrays and lists pass the checks; the cells that follow must take them too."""
    shorter = [("sample_prompts(512, seed=1), Lab", "sample_prompts(128, seed=1), Lab"),
               ("pairs[:256]", "pairs[:96]"), ("for seed in range(4)", "for seed in range(2)"),
               ("rounds=8, prompts_per_round=64", "rounds=2, prompts_per_round=32"),
               ("STEPS, EVERY = 36, 4", "STEPS, EVERY = 8, 4")]
    names = run_lesson(LESSON, EXERCISES, "numpy", shorter)
    assert names["outcome"] in names["FATES"] and len(names["replies"]) > 3
