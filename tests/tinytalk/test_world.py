"""The world: prompts, answers, their reading, the gold reward, and who judges them."""

from __future__ import annotations

import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorlib.errors import InvalidArgumentError
from tutorlib.tinytalk import (
    AUTHOR,
    CROWD,
    FAMILIES,
    INSTRUCTIONS,
    PARTS,
    PERSONAS,
    SPLITS,
    Behaviour,
    Labeller,
    Prompt,
    additions,
    all_words,
    contents,
    crowd_behaviour,
    crowd_dialogues,
    demonstrations,
    gold_parts,
    gold_reward,
    intended,
    label_pairs,
    mean_parts,
    parse,
    preference_pairs,
    sample_prompts,
    split_of,
    statements,
    write_answer,
)
from tutorlib.tinytalk.answers import partial_content, wrong_content
from tutorlib.tinytalk.words import FACTS

EVERYTHING = [Prompt(family, content) for family in FAMILIES for split in SPLITS
              for content in contents(family, split)[:400]]
SKY = Prompt("facts", ("color", "sky"))


def test_the_vocabulary_is_small_and_nothing_else_is_ever_said():
    words = set(all_words())
    assert 150 <= len(words) <= 300 and len(words) == len(all_words())
    said = {word for d in crowd_dialogues(5000, 0)
            for word in f"{d.prompt.text} {d.answer}".split()}
    said |= {word for text in statements(2000, 0) for word in text.split()}
    assert said <= words
    assert all(word.isdigit() for word in words - said)  # large numbers come with longer sums


def test_splits_share_no_content_and_hold_out_every_kind():
    for family in FAMILIES:
        parts = [set(contents(family, split)) for split in SPLITS]
        assert not parts[0] & parts[1] and not parts[1] & parts[2] and not parts[0] & parts[2]
        whole = len(parts[0]) + len(parts[1])
        assert 0.08 < len(parts[1]) / whole < 0.3, family
    assert {kind for kind, _ in contents("facts", "heldout")} == set(FACTS)


def test_held_out_sums_add_a_pair_that_training_never_adds():
    trained = {step[:2] for c in contents("arithmetic", "train") for step in additions(c)}
    for content in contents("arithmetic", "heldout"):
        assert any(step[:2] not in trained for step in additions(content)), content
    assert {len(c) for c in contents("arithmetic", "longer")} == {4}
    assert {len(c) for c in contents("arithmetic", "train")} == {2, 3}


def test_only_facts_are_met_before_they_are_held_out():
    aligned, crowd = demonstrations(2000, 1), crowd_dialogues(4000, 1)
    for d in [*aligned, *(d for d in crowd if d.prompt.family != "facts")]:
        assert split_of(d.prompt.family, d.prompt.content) == "train"
    asked = {d.prompt.content for d in crowd if d.prompt.family == "facts"}
    assert asked == {*contents("facts", "train"), *contents("facts", "heldout")}
    trained = {step[:2] for c in contents("arithmetic", "train") for step in additions(c)}
    for text in statements(1000, 3):
        for sentence in text.removesuffix(" .").split(" . "):
            read = parse(f"{sentence} .")
            assert read.kind in ("fact", "worked"), sentence
            if read.kind == "worked":
                assert {step[:2] for step in read.claim} <= trained


@pytest.mark.parametrize("make", [
    lambda seed: sample_prompts(50, seed, instructions=INSTRUCTIONS),
    lambda seed: crowd_dialogues(50, seed), lambda seed: statements(50, seed),
    lambda seed: demonstrations(50, seed),
    lambda seed: preference_pairs(sample_prompts(20, 0), Labeller(), seed),
], ids=["prompts", "crowd", "statements", "demonstrations", "preferences"])
def test_a_seed_fixes_a_corpus(make):
    assert make(3) == make(3)
    assert make(3) != make(4)


def test_a_hundred_thousand_dialogues_take_seconds():
    start = time.process_time()
    assert len(crowd_dialogues(100_000, 5)) == 100_000
    assert time.process_time() - start < 20


@given(st.integers(0, 10**6))
def test_every_generated_answer_parses(seed):
    rng = random.Random(seed)
    prompt = rng.choice(EVERYTHING)
    behaviour = Behaviour(right=0.3, partial=0.3, polite=0.4, rude=0.4, padded=0.6, worked=0.5)
    answer = write_answer(prompt, behaviour, rng)
    read = parse(answer)
    assert read.kind != "malformed", answer
    assert read.length == len(answer.split()) and read.padding < read.length


def test_the_gold_reward_ranks_the_intended_answer_first():
    rng = random.Random(0)
    for prompt in EVERYTHING:
        best = gold_reward(prompt, intended(prompt))
        assert best == 2.5, prompt
        others = {write_answer(prompt, CROWD, rng) for _ in range(4)} - {intended(prompt)}
        others |= {wrong_content(prompt, rng), partial_content(prompt, rng)}
        for other in others:
            worth = gold_reward(prompt, other)
            same = gold_parts(prompt, other) == gold_parts(prompt, intended(prompt))
            assert worth < best or same, (prompt, other)  # another polite opener is as good


@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_is_worse_than_partial_or_right(family):
    rng = random.Random(1)
    for content in contents(family, "train")[:60]:
        prompt = Prompt(family, content)
        false = gold_parts(prompt, wrong_content(prompt, rng))
        assert (false.harmlessness if family == "unsafe" else false.truth) == -1
        assert gold_parts(prompt, partial_content(prompt, rng)).truth >= 0


@pytest.mark.parametrize("answer, part, expected", [
    ("the sky is blue .", "truth", 1), ("the sky is red .", "truth", -1),
    ("the sea is blue .", "truth", 0), ("the sea is blue .", "helpfulness", 0),
    ("i cannot help with that .", "helpfulness", 0), ("blue", "helpfulness", -1),
    ("", "helpfulness", -1), ("sure , the sky is blue .", "tone", 1),
    ("go away , the sky is blue .", "tone", -1), ("the sky is blue .", "tone", 0),
    ("sure , sure , the sky is blue .", "helpfulness", -1),  # politeness twice is no sentence
    ("well , the sky is blue . have a nice day .", "brevity", -1 / 3),
    (" ".join(["well ,"] * 20 + ["the sky is blue ."]), "brevity", -1),
    ("the sky is blue . the sky is blue .", "truth", 0),
])
def test_parts_of_answers_to_the_colour_of_the_sky(answer, part, expected):
    assert getattr(gold_parts(SKY, answer), part) == pytest.approx(expected)


@pytest.mark.parametrize("answer, truth, helpfulness", [
    ("12 + 5 = 17 , 17 + 3 = 20 .", 1, 1.0), ("the answer is 20 .", 1, 0.5),
    ("12 + 5 = 16 , 16 + 3 = 19 .", -1, 0.5), ("12 + 5 = 17 , 17 + 3 = 19 .", -1, 0.75),
    ("12 + 5 = 17 .", -1, 0.75),  # stops half way: 17 is not the answer
    ("first get some water .", 0, 0.0),
])
def test_parts_of_a_sum(answer, truth, helpfulness):
    parts = gold_parts(Prompt("arithmetic", (12, 5, 3)), answer)
    assert (parts.truth, parts.helpfulness) == (truth, helpfulness)


@pytest.mark.parametrize("answer, truth, helpfulness", [
    ("first get some water , then rub the car , then dry the car .", 1, 1),
    ("first rub the car , then get some water , then dry the car .", 1, 2 / 3),  # order counts
    ("first get some water , then get some water .", 1, 1 / 3),
    ("first get some fuel , then rub the car , then dry the car .", -1, 2 / 3),
    ("i cannot help with that .", 0, 0),
])
def test_parts_of_a_recipe(answer, truth, helpfulness):
    parts = gold_parts(Prompt("howto", ("wash", "car")), answer)
    assert parts.truth == truth and parts.helpfulness == pytest.approx(helpfulness)


def test_harm_is_helping_with_what_was_asked_and_refusing_all_is_no_help():
    unsafe = Prompt("unsafe", ("steal", "car"))
    one_step = "first get some gloves ."
    assert gold_parts(unsafe, one_step).harmlessness == -1
    assert gold_parts(unsafe, "the sky is blue .").harmlessness == 0
    assert gold_parts(unsafe, "sorry , i cannot help with that .").harmlessness == 1
    alike = Prompt("howto", ("hide", "car"))
    assert alike.lookalike and gold_parts(alike, "i cannot help with that .").total() == 0


def test_a_summary_is_paid_for_what_it_keeps():
    tom = Prompt("summary", ("tom", "happy", "red", "ball"))
    for answer, truth, share in [
        ("happy tom has a red ball .", 1, 1), ("tom is happy .", 1, 0.5),
        ("tom has a ball .", 1, 0.5), ("sad tom has a red ball .", -1, 0.75),
    ]:
        parts = gold_parts(tom, answer)
        assert (parts.truth, parts.helpfulness) == (truth, share), answer


def test_instructions_change_how_the_crowd_answers():
    for family, instruction, part in [("facts", "be careful :", "truth"),
                                      ("unsafe", "be careful :", "harmlessness"),
                                      ("arithmetic", "step by step :", "helpfulness"),
                                      ("howto", "step by step :", "truth"),
                                      ("summary", "please ,", "tone"),
                                      ("facts", "be brief :", "brevity")]:
        means = {}
        for spoken in ("", instruction):
            prompts = sample_prompts(1500, 0, families=[family], instructions=[spoken])
            rng = random.Random(0)
            answers = [write_answer(p, crowd_behaviour(p), rng) for p in prompts]
            means[spoken] = mean_parts(prompts, answers)
        assert means[instruction][part] > means[""][part] + 0.1, (family, instruction)
    # and not always for the better: no one instruction is best for everything
    careful = crowd_behaviour(Prompt("howto", ("wash", "car"), "be careful :"))
    assert careful.right < CROWD.right


def test_showing_the_steps_makes_the_crowd_right_more_often():
    prompts, rng = sample_prompts(6000, 0, families=["arithmetic"]), random.Random(0)
    right = {"worked": [], "direct": []}
    for prompt in prompts:
        answer = write_answer(prompt, CROWD, rng)
        right[parse(answer).kind].append(gold_parts(prompt, answer).truth == 1)
    share = {kind: sum(r) / len(r) for kind, r in right.items()}
    assert share["worked"] > share["direct"] + 0.08


def test_the_author_is_good_but_not_perfect():
    by_author = demonstrations(3000, 0)
    means = mean_parts([d.prompt for d in by_author], [d.answer for d in by_author])
    assert 2.0 < means["gold"] < 2.45
    assert crowd_behaviour(SKY) == CROWD and AUTHOR.right < 1


@given(st.floats(-6, 6), st.sampled_from([0.1, 0.5, 2.0]))
def test_a_labeller_follows_bradley_and_terry(gap, temperature):
    class Fixed(Labeller):
        def utility(self, prompt, answer):
            return gap if answer == "a" else 0.0

    p = Fixed(temperature=temperature).probability(SKY, "a", "b")
    assert p == pytest.approx(1 / (1 + math.exp(-gap / temperature)), abs=1e-12)
    erring = Fixed(temperature=temperature, error_rate=0.2).probability(SKY, "a", "b")
    assert erring == pytest.approx(0.8 * p + 0.1, abs=1e-12)


def test_labels_come_at_the_rate_the_labeller_states():
    a, b = "the sky is blue .", "ugh , the sky is blue ."
    judge = Labeller(temperature=1.0)
    chosen = [p.chosen == a for p in label_pairs([(SKY, a, b)] * 20_000, judge, 0)]
    expected = judge.probability(SKY, a, b)
    assert abs(sum(chosen) / len(chosen) - expected) < 4 * math.sqrt(expected / len(chosen))


def test_without_temperature_the_better_answer_always_wins_and_ties_are_even():
    judge = Labeller(temperature=0)
    good, bad = "the sky is blue .", "the sky is red ."
    assert judge.probability(SKY, good, bad) == 1 and judge.probability(SKY, bad, good) == 0
    assert judge.probability(SKY, good, good) == 0.5


def test_length_bias_prefers_words():
    long = "well , you know , the sky is blue ."
    fair, biased = Labeller(weights={"truth": 1}), Labeller(weights={"truth": 1}, length_bias=1.0)
    assert fair.probability(SKY, long, "the sky is blue .") == 0.5
    assert biased.probability(SKY, long, "the sky is blue .") > 0.6


def test_personas_disagree():
    rude_truth, polite_lie = "ugh , the sky is blue .", "sure , the sky is red ."
    choices = {name: Labeller.persona(name).probability(SKY, rude_truth, polite_lie) > 0.5
               for name in PERSONAS}
    assert choices["teacher"] and not choices["friend"]
    population = [Labeller.persona("teacher", temperature=0), Labeller.persona("friend",
                                                                               temperature=0)]
    labels = label_pairs([(SKY, rude_truth, polite_lie)] * 2000, population, 0)
    assert 0.45 < sum(p.chosen == rude_truth for p in labels) / 2000 < 0.55


def test_pairs_hold_two_different_answers():
    pairs = preference_pairs(sample_prompts(300, 0), Labeller(), 0)
    assert all(p.chosen != p.rejected for p in pairs)


@pytest.mark.parametrize("call, words", [
    (lambda: contents("poetry", "train"), "no family 'poetry'"),
    (lambda: sample_prompts(1, 0, split="test"), "splits: train"),
    (lambda: sample_prompts(1, 0, families=["facts"], split="longer"), "nothing to ask"),
    (lambda: sample_prompts(1, 0, instructions=["shout :"]), "be brief"),
    (lambda: Labeller({"honesty": 1.0}), "honesty"),
    (lambda: Labeller(temperature=-1), "at least 0"),
    (lambda: Labeller(error_rate=2), "from 0 to 1"),
    (lambda: Labeller.persona("freind"), "friend"),
    (lambda: label_pairs([], [], 0), "no labeller"),
    (lambda: Behaviour(right=0.9, partial=0.2, polite=0, rude=0, padded=0), "probabilities"),
    (lambda: mean_parts([], []), "at least one"),
    (lambda: mean_parts([SKY], []), "1 prompts and 0 answers"),
])
def test_bad_input_is_named(call, words):
    with pytest.raises(InvalidArgumentError, match=words):
        call()


def test_parts_are_what_the_documentation_lists():
    assert set(PARTS) == set(gold_parts(SKY, "the sky is blue .").__dataclass_fields__)
