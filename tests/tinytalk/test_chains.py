"""Errors in chains: counted step by step, behind right steps and behind one's own."""

import pytest
import torch

from tutorlib import lm
from tutorlib.errors import InvalidArgumentError
from tutorlib.tinytalk import Prompt, chain_errors, chains, load, make_tokenizer, new_model
from tutorlib.tinytalk.tokenizer import chat_prompt

CHAINS = [Prompt("arithmetic", (3, 2, 2)), Prompt("arithmetic", (5, 1, 1, 1))]


def test_forced_errors_are_those_of_the_steps_tokens():
    model, _ = load("base")
    found = chain_errors(model, CHAINS, 2, torch.Generator().manual_seed(0))
    assert found.own.shape == found.forced.shape == (4, 3) and len(found.texts) == 4
    assert found.mask.tolist() == [[True, True, False]] * 2 + [[True, True, True]] * 2
    tokenizer = make_tokenizer()
    prefix = chat_prompt("what is 3 + 2 + 2 ?") + " 3 + 2 = 5"
    prompts = lm.encode_prompts(tokenizer, [prefix], add_special_tokens=False)
    step = lm.encode_completions(tokenizer, [", 5 + 2 = 7"], eos=False)
    right = float(lm.sequence_logps(model, *prompts, *step).detach().exp())
    assert float(found.forced[0, 1]) == pytest.approx(1 - right, abs=1e-4)


def test_own_steps_are_read_off_the_answers(monkeypatch):
    """Right; a wrong sum carried on; stopped early; an opener that shifts everything."""
    said = ["5 + 1 = 6 , 6 + 1 = 7 , 7 + 1 = 8 .", "5 + 1 = 6 , 6 + 1 = 9 , 9 + 1 = 10 .",
            "5 + 1 = 6 .", "sure , 5 + 1 = 6 , 6 + 1 = 7 , 7 + 1 = 8 ."]

    def recite(model, ids, mask, settings, generator):
        answers, kept = lm.encode_completions(make_tokenizer(), said)
        cut = settings.max_new_tokens
        return lm.Samples(answers[:, :cut], kept[:, :cut], torch.zeros(len(said), cut))

    monkeypatch.setattr(chains, "sample", recite)
    found = chain_errors(new_model("tiny"), CHAINS[1:], 4, torch.Generator())
    assert found.own.tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1], [1, 1, 1]]
    assert found.texts[2] == said[2]


def test_what_is_no_chain_is_refused():
    model = new_model("tiny")
    for prompt in (Prompt("facts", ("color", "sky")), Prompt("arithmetic", (12, 9, 9, 9, 9))):
        with pytest.raises(InvalidArgumentError, match="no addition"):
            chain_errors(model, [prompt], 1, torch.Generator().manual_seed(0))
