import math

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from tests.lm.conftest import make_model
from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.lm.token_mdp import TokenMDP, TokenState, at_the_end, token_step
from tutorlib.lm.tree import TokenTree

PROMPTS = ["the color of the sky", "grass is"]


def play(env, words, **reset):
    env.reset(**reset)
    return [env.step(env.action_of(word)) for word in words]


@pytest.mark.parametrize("paying", [False, True])
@pytest.mark.filterwarnings("error")
def test_gymnasium_s_checker_is_content(tokenizer, paying):
    reward = at_the_end(tokenizer, 4, lambda prompt, answer: len(answer)) if paying else None
    check_env(TokenMDP(tokenizer, PROMPTS, 4, reward, render_mode="ansi"))


def test_the_sky_trace(tokenizer):
    """The worked example of the tutorial's section 2.2; the reward is a question mark."""
    env = TokenMDP(tokenizer, PROMPTS, horizon=5)
    steps = play(env, ["is", "blue", "<eos>"], options={"prompt": 0})
    assert env.trace().splitlines() == [
        "t  state                               token    reward",
        "0  the color of the sky                is       ?",
        "1  the color of the sky is             blue     ?",
        "2  the color of the sky is blue        <eos>    ?",
        "3  the color of the sky is blue <eos>  (ended)",
    ]
    assert [s[1:4] for s in steps] == [(0.0, False, False)] * 2 + [(0.0, True, False)]
    assert all(s[4]["reward_is_missing"] for s in steps)


def test_an_ended_answer_is_absorbing(tokenizer):
    env = TokenMDP(tokenizer, PROMPTS, 5, reward=lambda state: 1.0)
    steps = play(env, ["blue", "<eos>", "green", "green"], options={"prompt": 0})
    assert [s[1] for s in steps] == [1.0, 1.0, 0.0, 0.0]
    assert [s[2] for s in steps] == [False, True, True, True]
    for later in steps[2:]:
        assert np.array_equal(later[0]["input_ids"], steps[1][0]["input_ids"])
    assert env.state.completion_ids == (6, 1) and len(env.trace().splitlines()) == 4


def test_the_horizon_cuts_off_and_then_wants_a_reset(tokenizer):
    env = TokenMDP(tokenizer, PROMPTS, 2)
    steps = play(env, ["is", "blue"], seed=0)
    assert [s[2:4] for s in steps] == [(False, False), (False, True)]
    assert "(cut off)" in env.trace()
    with pytest.raises(InvalidArgumentError, match="cut off at the horizon of 2"):
        env.step(3)
    assert play(env, ["is", "<eos>"], seed=0)[-1][2:4] == (True, False), "an end in time is an end"


def test_transitions_append_and_nothing_else():
    state = TokenState((5, 6))
    for token in (7, 0, 1, 9):
        state = token_step(state, token, eos_token_id=1)
    assert state == TokenState((5, 6), (7, 0, 1), ended=True)


def test_a_reward_of_whole_answers_is_paid_once(tokenizer):
    score = lambda prompt, answer: 10 * (answer == "is blue") + len(prompt.split())  # noqa: E731
    env = TokenMDP(tokenizer, PROMPTS, 4, at_the_end(tokenizer, 4, score))
    paid = [s[1] for s in play(env, ["is", "blue", "<eos>"], options={"prompt": 0})]
    assert paid == [0, 0, 15]
    paid = [s[1] for s in play(env, ["is", "is", "is", "is"], options={"prompt": 1})]
    assert paid == [0, 0, 0, 2]
    assert env.trace().splitlines()[-2].split()[-1] == "2"


def test_observations_go_into_a_model_as_they_are(tokenizer, llama):
    env = TokenMDP(tokenizer, PROMPTS, 3)
    seen = play(env, ["blue"], options={"prompt": 1})[0][0]
    assert seen["input_ids"].tolist()[:3] == [9, 5, 6] and seen["attention_mask"].sum() == 3
    with torch.no_grad():
        padded = llama(**{k: torch.tensor(v)[None] for k, v in seen.items()}).logits[0, 2]
        plain = llama(torch.tensor([[9, 5, 6]])).logits[0, -1]
    torch.testing.assert_close(padded, plain)


def test_playing_a_model_has_the_tree_s_frequencies(tokenizer):
    """Environment, model and tree are one process: mean return over episodes against exact."""
    model = make_model("llama", len(tokenizer))
    tree = TokenTree(model, "grass is", ["green", "blue", "<eos>"], 2, tokenizer)
    exact = tree.expected_return(tree.reference, tree.rewards_of(lambda t: t.count("green")))
    env = TokenMDP(tokenizer, ["grass is"], 2, at_the_end(
        tokenizer, 2, lambda _, answer: answer.count("green")))
    rng, total, n = np.random.default_rng(0), 0.0, 1000
    tables = [t.exp().numpy() for t in tree.reference]
    for _ in range(n):
        env.reset(seed=int(rng.integers(2**31)))
        node, ended = 0, False
        for depth in range(2):
            column = rng.choice(3, p=tables[depth][node])
            _, reward, ended, _, _ = env.step(tree.words[column])
            total += reward
            if ended:
                break
            node = node * 2 + tree.going_on.index(column) if depth == 0 else node
    assert total / n == pytest.approx(exact.item(), abs=0.1)


def test_prompts_come_with_their_probabilities(tokenizer):
    env = TokenMDP(tokenizer, PROMPTS, 2, prompt_probabilities=[0.2, 0.8])
    env.reset(seed=0)
    drawn = [env.reset()[1]["text"] for _ in range(1000)]
    assert set(drawn) == set(PROMPTS) and drawn.count(PROMPTS[1]) == pytest.approx(800, abs=45)
    again = [env.reset(seed=7)[1]["text"] for _ in range(3)]
    assert len(set(again)) == 1


def test_bad_calls_are_refused(tokenizer):
    env = TokenMDP(tokenizer, PROMPTS, 2)
    with pytest.raises(InvalidArgumentError, match="call reset"):
        env.step(3)
    assert env.trace() == "(no episode yet)"
    env.reset(seed=0)
    with pytest.raises(InvalidArgumentError, match="there is no token 99"):
        env.step(99)
    with pytest.raises(InvalidTextError, match=r"'bleu' is not one token.*'blue'"):
        env.action_of("bleu")
    with pytest.raises(InvalidArgumentError, match="there is no prompt 5"):
        env.reset(options={"prompt": 5})
    for prompts, message in ((["the ocean"], "'ocean'"), ([""], "prompt 0 is empty"),
                             ([], "one or more texts"), ("the sky", "one or more texts")):
        with pytest.raises(InvalidTextError, match=message):
            TokenMDP(tokenizer, prompts, 2)
    lost = TokenMDP(tokenizer, PROMPTS, 2, reward=lambda state: math.nan)
    lost.reset(seed=0)
    with pytest.raises(InvalidArgumentError, match=r"the reward of .* is nan; expected a finite"):
        lost.step(3)
    with pytest.raises(InvalidArgumentError, match="horizon is 0"):
        TokenMDP(tokenizer, PROMPTS, 0)
    with pytest.raises(InvalidArgumentError, match="sum to 1"):
        TokenMDP(tokenizer, PROMPTS, 2, prompt_probabilities=[0.5, 0.6])


def test_a_prompt_must_leave_room_for_its_answer(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "model_max_length", 6)
    longest = max(len(tokenizer(prompt)["input_ids"]) for prompt in PROMPTS)
    TokenMDP(tokenizer, PROMPTS, 6 - longest)
    with pytest.raises(InvalidTextError, match=r"are 7 tokens.*reads at most 6: shorten"):
        TokenMDP(tokenizer, PROMPTS, 7 - longest)
