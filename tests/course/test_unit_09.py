"""What unit 09 claims, at a smaller size: three ways to one number, one algebra, and the traps."""

import math

import pytest
import torch
from scipy.stats import chisquare
from transformers import GPT2Config, GPT2LMHeadModel

from tests.lessons import run_lesson
from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.exercises.language_mdp import EXERCISES, QUIZ
from tutorlib.exercises.language_mdp.brevity import brevity, mask_of
from tutorlib.exercises.language_mdp.logprob import sequence_logprob
from tutorlib.exercises.language_mdp.step import token_step
from tutorlib.exercises.language_mdp.values import exact_soft_values
from tutorlib.exercises.language_mdp.worlds import SKY, numbers, smallest_tree
from tutorlib.irl import one_step_gamble, solve_causal, solve_maxent
from tutorlib.lm import (
    TokenMDP,
    TokenState,
    TokenTree,
    encode_completions,
    encode_prompts,
    per_token_logps,
    position_ids,
    tiny_model,
    tree_arrays,
    word_tokenizer,
)
from tutorlib.lm import token_step as library_step
from tutorlib.mdp import soft_backward
from tutorlib.syllabus import course_root

LESSON = course_root() / "course" / "09_language_mdp.py"
BETA = 0.5


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer(SKY[:-1])


@pytest.fixture(scope="module")
def llama(tokenizer):
    return tiny_model(tokenizer, scale=20.0).requires_grad_(False)


@pytest.fixture(scope="module")
def gpt2(tokenizer):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPT2LMHeadModel(GPT2Config(
            vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=64,
            initializer_range=0.3, eos_token_id=1, bos_token_id=None)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tree(llama, tokenizer):
    return TokenTree(llama, "The color of the sky is", ["blue", "<eos>", "green"], 4, tokenizer)


@pytest.fixture(scope="module")
def reward(tree):
    return tree.rewards_of(lambda text: 2.0 * text.count("blue") - text.count("green") ** 2)


def test_the_seed_example_step_by_step(tokenizer):
    """The | color | of | the | sky, then 'is', then 'blue' [section 2.2]; the end is absorbing."""
    env = TokenMDP(tokenizer, ["The color of the sky"], horizon=4)
    env.reset(seed=0)
    eos, state = tokenizer.eos_token_id, []
    prompt = tokenizer("The color of the sky")["input_ids"]
    for word in ("is", "blue", "<eos>", "green"):
        token = env.action_of(word)
        observation, paid, terminated, truncated, info = env.step(token)
        state, over, cut = token_step(prompt, state, token, eos, 4)
        assert (over, cut, paid) == (terminated, truncated, 0.0) and info["reward_is_missing"]
        assert observation["input_ids"][:5 + len(state)].tolist() == prompt + state
    assert info["text"] == "The color of the sky is blue <eos>"
    assert len(env.trace().split("\n")) == 5 and env.trace().count("?") == 3


def test_the_references_agree_with_the_library(tokenizer, llama, tree, reward):
    state = TokenState((3, 4), (5,))
    assert list(library_step(state, 1, 1).completion_ids) == token_step([3, 4], [5], 1, 1, 9)[0]
    prompts = encode_prompts(tokenizer, ["The color of the sky is", "The sky is", "the"])
    answers = encode_completions(tokenizer, ["blue", "blue green blue", "sky is green"])
    mine = score(llama, tokenizer, prompts, answers, position_ids=True)
    torch.testing.assert_close(mine, per_token_logps(llama, *prompts, *answers).sum(1))
    values, policy = exact_soft_values(tree.reference, tree.edges(reward), tree.going_on, BETA)
    plan = tree.solve(reward, BETA)
    for ours, theirs in zip((*values, *policy), (*plan.values, *plan.policy), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def score(model, tokenizer, prompts, answers, position_ids=False):
    """The lesson's batch: prompts on the left, answers on the right, in one row."""
    (prompt_ids, prompt_mask), (completion_ids, completion_mask) = prompts, answers
    ids, seen = torch.cat([prompt_ids, completion_ids], 1), torch.cat(
        [prompt_mask, completion_mask], 1)
    more = {"position_ids": places(seen)} if position_ids else {}
    logits = model(input_ids=ids, attention_mask=seen, **more).logits
    return sequence_logprob(logits, ids, torch.cat([0 * prompt_ids, completion_mask], 1))


places = position_ids


def test_left_padding_moves_a_gpt2_and_not_a_llama(tokenizer, llama, gpt2):
    prompts, answers = ["The color of the sky", "The sky"], ["is blue", "is green"]
    batch = encode_prompts(tokenizer, prompts), encode_completions(tokenizer, answers)
    moved = {}
    for name, model, counted in (("llama", llama, False), ("gpt2", gpt2, False),
                                 ("counted", gpt2, True)):
        alone = torch.cat([score(model, tokenizer, encode_prompts(tokenizer, [x]),
                                 encode_completions(tokenizer, [y]))
                           for x, y in zip(prompts, answers, strict=True)])
        moved[name] = (score(model, tokenizer, *batch, position_ids=counted) - alone).abs()
    assert float(moved["llama"].max()) < 1e-4 and float(moved["counted"].max()) < 1e-4
    assert float(moved["gpt2"][1]) > 0.05 and float(moved["gpt2"][0]) < 1e-4  # no padding: same


def test_the_smallest_case_by_hand():
    total = 0.4 + 0.6 * 0.5 * math.e + 0.6 * 0.5
    blue = math.log(0.5 * math.e + 0.5)
    assert [round(x, 3) for x in (total, math.log(total), blue, math.log(0.4 + 0.6 * math.exp(
        blue)))] == [1.515, 0.416, 0.620, 0.416]
    values, policy = exact_soft_values(*smallest_tree(), [0], 1.0)
    assert [round(float(v), 3) for v in values] == [0.416, 0.620]
    assert [round(float(p.exp()[0, i]), 3) for p, i in zip(policy, (0, 1), strict=True)] == [
        0.736, 0.731]


def test_listing_recursion_and_sampling_agree(tree, reward):
    listed = BETA * float(((reward / BETA).exp() * tree.leaf_logps().exp()).sum().log())
    values, policy = exact_soft_values(tree.reference, tree.edges(reward), tree.going_on, BETA)
    assert float(values[0][0]) == pytest.approx(listed, abs=1e-12)
    drawn = reward[tree.sample(40_000, torch.Generator().manual_seed(0))]
    assert BETA * float((drawn / BETA).exp().mean().log()) == pytest.approx(listed, abs=0.05)
    gap = listed - float(tree.objective(tree.reference, reward, BETA))
    assert gap == pytest.approx(BETA * float(tree.kl(tree.reference, policy)), abs=1e-12)


def test_what_generate_says_has_the_tree_s_frequencies(gpt2, tokenizer):
    """Hugging Face's own sampling, all other words suppressed, against the exact tree."""
    vocabulary, n = ["blue", "<eos>", "green"], 4000
    tree = TokenTree(gpt2, "The sky is", vocabulary, 3, tokenizer)
    prompt = torch.tensor([tree.prompt_ids])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        drawn = gpt2.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=True, top_k=0,
            max_new_tokens=3, num_return_sequences=n, pad_token_id=0,
            suppress_tokens=[i for i in range(len(tokenizer)) if i not in tree.words])[:, 3:]
    mask = (drawn != 0).long()
    leaves = [tree.leaf_of(row[keep == 1].tolist()) for row, keep in zip(drawn, mask, strict=True)]
    found = torch.bincount(torch.tensor(leaves), minlength=tree.n_leaves).double()
    expected = tree.leaf_logps().exp() * n
    common = expected > 5
    cells = [torch.cat([x[common], x[~common].sum()[None]]) for x in (found, expected)]
    assert int(common.sum()) > 4 and chisquare(*cells).pvalue > 1e-3


def test_the_advantages_of_an_answer_add_up_to_its_reward(tree, reward):
    values, policy = exact_soft_values(tree.reference, tree.edges(reward), tree.going_on, BETA)
    advantage = [BETA * (p - q) for p, q in zip(policy, tree.reference, strict=True)]
    torch.testing.assert_close(tree.path_sums(advantage), reward - values[0], atol=1e-12, rtol=0)


def test_without_luck_maxent_and_causal_maxent_are_one(tree, reward):
    """Units 03 and 06 on a TabularMDP made from the tree, to 1e-6; with chance the two differ."""
    _, policy = exact_soft_values(tree.reference, tree.edges(reward), tree.going_on, BETA)
    best = torch.cat(policy).exp()
    depth = torch.cat([torch.full((len(t),), d) for d, t in enumerate(tree.reference)])
    folded = tree.to_tabular_mdp([e + BETA * p for e, p in zip(
        tree.edges(reward), tree.reference, strict=True)])
    for found in (solve_causal(folded, folded.reward, BETA), solve_maxent(
                      folded, folded.reward, BETA),
                  soft_backward(tree.to_tabular_mdp(reward), BETA, prior=tree.to_prior())):
        torch.testing.assert_close(found.policy[depth, torch.arange(len(best))], best,
                                   atol=1e-6, rtol=0)
    bet, outcome = one_step_gamble()
    assert float(solve_maxent(bet, outcome[bet.successors]).policy[0, 0, 0]) == pytest.approx(
        0.9096, abs=1e-4)
    assert float(solve_causal(bet, bet.reward).policy[0, 0, 0]) == pytest.approx(0.5)


def test_a_discount_as_brevity():
    """At 0.99999: 0.997 after 300 tokens, 0.0498 after 300,000; a punishment shrinks as well."""
    worth = brevity(numbers([1.0, 1.0]), mask_of([300, 300_000], 300_000), 0.99999)
    assert [round(float(w), d) for w, d in zip(worth, (3, 4), strict=True)] == [0.997, 0.0498]
    wrong = brevity(numbers([-1.0, -1.0]), mask_of([1, 8], 8), 0.9)
    assert float(wrong[1]) > float(wrong[0])


def test_too_large_a_tree_and_unknown_words_are_refused_by_name(llama, tokenizer):
    with pytest.raises(InvalidArgumentError, match=r"too large.*leaves.*a horizon of at most"):
        TokenTree(llama, "The sky", ["is", "blue", "green", "<eos>"], 14, tokenizer)
    with pytest.raises(InvalidTextError, match="'bleu', did you mean 'blue'"):
        TokenTree(llama, "The sky", ["is", "bleu"], 2, tokenizer)
    with pytest.raises(InvalidTextError, match="'ocean'"):
        TokenTree(llama, "The ocean", ["is"], 2, tokenizer)


def test_arrays_for_the_explorer_are_the_solved_tree(tree, reward):
    found, plan = tree_arrays(tree, reward, BETA), tree.solve(reward, BETA)
    assert found["words"] == ["blue", "<eos>", "green"] and found["going_on"] == [0, 2]
    for depth in range(4):
        assert found["q_values"][depth] == pytest.approx(plan.q_values[depth].numpy())
        assert found["policies"]["π*"][depth] == pytest.approx(plan.policy[depth].exp().numpy())


def test_the_quiz_does_not_give_itself_away():
    longest = [max(range(len(q.options)), key=lambda i: len(q.options[i])) for q in QUIZ]
    assert 0 < sum(i == q.answer for i, q in zip(longest, QUIZ, strict=True)) < len(QUIZ)
    assert len({q.answer for q in QUIZ}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("style", [None, "numpy"])
def test_the_lesson_runs_with_answers_in_other_styles_and_its_prediction_has_an_answer(style):
    """As it is; and with lists and arrays, which pass the checks."""
    names = run_lesson(LESSON, EXERCISES, style)
    assert names["outcome"] == names["WHERE"][1]
    assert names["spent"][2] > 0.9 * sum(names["spent"])
    assert abs(names["worst"]) > 0.5 > 1e-3 > max(map(abs, names["moved"]["Llama"]))
    assert float(names["off"]) < 4
    assert names["cold"][1] > 0.8 * names["truth"] > 20 * names["cold"][-1]
    assert [round(names["kept"][0], 3), round(names["kept"][1], 4)] == [0.997, 0.0498]
