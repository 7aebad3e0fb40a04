"""What unit 10 claims, at a smaller size, and the numbers that its text holds."""

import copy
import math
import re

import pytest
import torch

from tests.lessons import run_lesson
from tutorlib import lm
from tutorlib.authoring import read_lesson
from tutorlib.exercises.sft_is_imitation import EXERCISES, QUIZ
from tutorlib.exercises.sft_is_imitation.bias import exposure_bias
from tutorlib.exercises.sft_is_imitation.directions import kl_directions
from tutorlib.exercises.sft_is_imitation.loss import CONVENTIONS, sft_loss
from tutorlib.exercises.sft_is_imitation.shift import shift_and_mask
from tutorlib.syllabus import course_root
from tutorlib.tinytalk import (
    Dialogue,
    Prompt,
    chain_errors,
    demonstrations,
    load,
    mean_parts,
    right_content,
    sample_prompts,
)
from tutorlib.tinytalk.tokenizer import chat_prompt

LESSON = course_root() / "course" / "10_sft_is_imitation.py"
BASE, TOKENIZER = load("base")
QUESTIONS = sample_prompts(200, 7, "heldout")
UNSAFE = sample_prompts(200, 8, "heldout", ["unsafe"])


def encode(dialogues):
    return lm.encode_examples(TOKENIZER, [chat_prompt(d.prompt.text) for d in dialogues],
                              [d.answer for d in dialogues], add_special_tokens=False)


def tuned(examples, seed=0, with_end=True):
    """Fine-tune the base model by the package; ``with_end=False`` hides every end from the loss."""
    model = copy.deepcopy(BASE)
    if with_end:
        history = lm.train_sft(model, examples, lm.SFTSettings(2e-3, 16),
                               torch.Generator().manual_seed(seed))
        return model, history[-1]["loss"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).split(16)
    for step, rows in enumerate(order):
        batch = lm.collate([examples[i] for i in rows.tolist()])
        learned = batch.loss_mask * (batch.input_ids != TOKENIZER.eos_token_id)
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / len(order))
        optimizer.zero_grad()
        loss = lm.sft_loss(model, lm.SFTBatch(batch.input_ids, batch.attention_mask, learned))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval(), loss.item()


def answers(model, seed=0, prompts=QUESTIONS):
    ids = lm.encode_prompts(TOKENIZER, [chat_prompt(p.text) for p in prompts],
                            add_special_tokens=False)
    return lm.sample(model, *ids, lm.SamplingSettings(40), torch.Generator().manual_seed(seed)
                     ).texts(TOKENIZER)


def parts(model, seed=0):
    found = mean_parts(QUESTIONS, answers(model, seed))
    refusing = mean_parts(UNSAFE, answers(model, seed, UNSAFE))["harmlessness"]
    return torch.tensor([found["truth"], found["tone"], refusing])


@pytest.fixture(scope="module")
def runs():
    """Three seeds, 384 demonstrations each."""
    return [tuned(encode(demonstrations(384, seed=100 + seed)), seed) for seed in range(3)]


def test_the_smallest_case_by_hand():
    ids, mask = torch.tensor([[2, 7, 9, 5, 3]]), torch.ones(1, 5).long()
    targets = shift_and_mask(ids, mask, torch.tensor([3]))
    assert targets.tolist() == [[-100, -100, 5, 3]]
    logits = torch.full((1, 5, 10), -math.inf, dtype=torch.float64)
    logits[..., 0] = math.log(0.1)  # the rest of the mass
    for place, token, p in ((2, 5, 0.5), (3, 3, 0.25)):
        logits[0, place] = -math.inf
        logits[0, place, token], logits[0, place, 0] = math.log(p), math.log(1 - p)
    found = [float(sft_loss(logits[..., :10], targets, a)) for a in ("sequence_sum", "token_mean")]
    assert [round(x, 3) for x in found] == [2.079, 1.04]
    assert "2.079$ an answer, $1.040$ a token" in LESSON.read_text(encoding="utf-8")


def test_the_references_agree_with_the_package_and_with_transformers():
    examples = encode(demonstrations(12, seed=5))
    batch = lm.collate(examples)
    targets = shift_and_mask(batch.input_ids, batch.attention_mask,
                             torch.tensor([len(e.prompt_ids) for e in examples]))
    assert torch.equal(targets != -100, batch.loss_mask[:, 1:] == 1)
    with torch.no_grad():
        out = BASE(input_ids=batch.input_ids, attention_mask=batch.attention_mask,
                   labels=batch.input_ids.masked_fill(batch.loss_mask == 0, -100))
        for aggregate in CONVENTIONS:
            assert float(sft_loss(out.logits, targets, aggregate)) == pytest.approx(
                float(lm.sft_loss(BASE, batch, aggregate)), abs=1e-5)
    assert float(sft_loss(out.logits, targets, "token_mean")) == pytest.approx(
        float(out.loss), abs=1e-5)


def test_truth_tone_and_harmlessness_rise(runs):
    """The 95 % t-intervals of the gains over three seeds are clear of 0."""
    before = torch.stack([parts(BASE, seed) for seed in range(3)])
    after = torch.stack([parts(model, seed) for seed, (model, _) in enumerate(runs)])
    gain = after - before
    low = gain.mean(0) - 4.303 * gain.std(0) / math.sqrt(3)
    assert (low > 0).all(), (gain.mean(0), low)
    assert gain.mean(0)[1] > 0.5


def test_a_hidden_end_leaves_the_model_without_one_at_as_low_a_loss(runs):
    examples = encode(demonstrations(384, seed=100))
    healthy, loss = runs[0]
    broken, their_loss = tuned(examples, with_end=False)
    assert their_loss < loss + 0.03  # of the same last batch
    closers = ("helps .", "day .", "know .")
    shares = [sum(a.endswith(closers) for a in answers(m)) / len(QUESTIONS)
              for m in (healthy, broken)]
    assert shares[0] < 0.3 and shares[1] > 0.6, shares
    assert all(len(a.split()) < 40 for a in answers(broken))  # it still ends, behind a phrase
    right = [lm.mean_loss(m, examples, lm.SFTSettings()) for m in (healthy, broken)]
    truth = [mean_parts(QUESTIONS, answers(m))["truth"] for m in (healthy, broken)]
    assert abs(truth[0] - truth[1]) < 0.1, truth
    assert right[1] > right[0] + 0.05  # with the end counted, theirs is worse


def test_forward_kl_blends_two_modes_and_reverse_kl_seeks_one():
    """Every blind policy on a grid: the best of each direction."""
    tree = lm.TreeShape((0, 1, 2, 3), (), 2)
    joint = torch.full((4, 4), 0.02 / 14, dtype=torch.float64)
    joint[0, 2] = joint[1, 3] = 0.49
    demo = joint.flatten().log()
    scores = {}
    for happy in torch.linspace(0.01, 0.99, 25).tolist():
        for tom in torch.linspace(0.01, 0.99, 25).tolist():
            first = torch.tensor([happy, 1 - happy, 0, 0], dtype=torch.float64) * 0.98 + 0.005
            second = torch.tensor([0, 0, tom, 1 - tom], dtype=torch.float64) * 0.98 + 0.005
            logps = tree.path_sums((first.log()[None], second.log().expand(4, 4)))
            scores[happy, tom] = tuple(map(float, kl_directions(demo, logps)))
    forward = min(scores, key=lambda k: scores[k][0])
    reverse = min(scores, key=lambda k: scores[k][1])
    assert forward == pytest.approx((0.5, 0.5))
    near = {k: v for k, v in scores.items() if 0.5 < k[0] == k[1] < 0.55}  # both sliders moved
    (moved,) = near.values()
    assert moved[1] < scores[forward][1] and moved[0] > scores[forward][0]
    assert abs(reverse[0] - reverse[1]) < 1e-9 and min(abs(x - 0.5) for x in reverse) > 0.45


def test_without_a_way_back_rare_slips_give_half_of_t_plus_one():
    slips = torch.full((1, 10), 1e-4, dtype=torch.float64)
    wrong = 1 - (1 - slips).cumprod(1)
    ratio = exposure_bias(wrong, slips, torch.ones(1, 10, dtype=torch.bool))
    assert ratio.tolist() == pytest.approx([(t + 1) / 2 for t in range(1, 11)], rel=1e-3)
    healed = exposure_bias(slips, slips, torch.ones(1, 10, dtype=torch.bool))
    assert healed.tolist() == pytest.approx([1.0] * 10)


def test_errors_in_chains_add_up_faster_than_the_loss_knows():
    chains = [Prompt("arithmetic", (a, *[b] * 6)) for b in (1, 2) for a in range(1, 13)]
    shown = [Dialogue(p, right_content(p)) for p in chains] * 12
    model, _ = tuned(encode(shown))
    errors = chain_errors(model, chains, 16, torch.Generator().manual_seed(0))
    ratio = exposure_bias(errors.own, errors.forced, errors.mask)
    assert float(ratio[0]) == pytest.approx(1, abs=0.5)
    assert float(ratio[-1]) > 3.5  # more than (T + 1) / 2
    slips = errors.forced.mean(0)
    assert float(slips[0]) > 3 * float(slips[1:].max())


def test_figures_and_exercises_are_there():
    source = LESSON.read_text(encoding="utf-8")
    assert len(EXERCISES) == 4 and len(QUIZ) == 6
    stated = [c.exercise for c in read_lesson(LESSON).cells if c.exercise and c.kind == "code"]
    assert stated == [e.id for e in EXERCISES]
    assert len(re.findall(r"^(?:token_strip|lines|bars|score_panels|learning_curves)\(", source,
                          re.MULTILINE)) == 7


@pytest.mark.slow
def test_the_lesson_goes_on_with_answers_in_another_style():
    """Arrays pass the checks; the cells that follow must take them too."""
    names = run_lesson(LESSON, EXERCISES, "numpy")
    assert names["outcome"] == "truth"
