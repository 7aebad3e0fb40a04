"""The reward head: which token it reads, padding, TRL's own model, saving."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForSequenceClassification

from tests.lm.conftest import SHAPES, as_a_learner, make_model
from tutorlib.errors import (
    InvalidArgumentError,
    InvalidModelError,
    InvalidTextError,
    ModelNotFoundError,
)
from tutorlib.lm import pad_rows, word_tokenizer
from tutorlib.rewards import RewardModel, body_of, last_token_index
from tutorlib.tinytalk.tokenizer import chat_prompt

PROMPTS = [chat_prompt("what color is the sky ?"), chat_prompt("what is 1 + 2 ?")]
ANSWERS = ["the sky is blue .", "ugh , well , the answer is 3 ."]
ROWS = [[3, 4, 5, 1], [6, 1], [7, 8, 9, 10, 11, 1]]


def words(n=20):
    return word_tokenizer([f"w{i}" for i in range(n)])


@pytest.fixture(scope="module", params=SHAPES)
def model(request):
    return RewardModel(make_model(request.param, 23), words())


def test_the_last_token_is_found_on_either_side_and_among_pads_that_are_eos():
    rows = [[5, 1], [5, 6, 7, 1], [1]]
    for side, wanted in (("right", [1, 3, 0]), ("left", [3, 3, 3])):
        ids, mask = pad_rows(rows, side, 1)  # padded with the end of sequence itself
        found = last_token_index(mask)
        assert found.tolist() == wanted
        assert ids[torch.arange(3), found].tolist() == [1, 1, 1]


@torch.no_grad()
def test_padding_and_neighbours_do_not_matter(model):
    alone = torch.cat([model(torch.tensor([row]), torch.ones(1, len(row))) for row in ROWS])
    assert float(alone.std()) > 1e-3
    for side in ("left", "right"):
        for filler in (0, 9, 22):
            ids, mask = pad_rows(ROWS, side, filler)
            ids, mask = (torch.nn.functional.pad(t, (2, 0) if side == "left" else (0, 2))
                         for t in (ids, mask))
            torch.testing.assert_close(model(ids, mask), alone, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(model(ids, mask.bool()), alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_it_reads_the_last_token_and_all_before_it(model):
    base = model(torch.tensor([ROWS[2]]), torch.ones(1, 6)).item()
    for place in range(6):
        changed = list(ROWS[2])
        changed[place] = 15
        assert model(torch.tensor([changed]), torch.ones(1, 6)).item() != pytest.approx(base)


def test_the_model_passed_in_stays_as_it_is(talk):
    before = copy.deepcopy(talk[0].state_dict())
    reward_model = RewardModel(*talk)
    with torch.no_grad():
        for weight in reward_model.parameters():
            weight.add_(1.0)
    assert all(torch.equal(before[name], now) for name, now in talk[0].state_dict().items())


def test_the_head_comes_from_its_seed_and_global_randomness_stays(talk):
    torch.manual_seed(7)
    first = torch.rand(1)
    torch.manual_seed(7)
    heads = [RewardModel(*talk, seed=seed).head.weight for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(1), first)
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


@torch.no_grad()
def test_transformers_own_classifier_gives_the_same_numbers(talk):
    """Its rule, the last token that is no padding, agrees where pads are no ends."""
    ours = RewardModel(*talk)
    config = copy.deepcopy(talk[0].config)
    config.num_labels = 1
    theirs = LlamaForSequenceClassification(config).eval()
    theirs.model.load_state_dict(ours.body.state_dict())
    theirs.score.weight.copy_(ours.head.weight)
    rows = [e.prompt_ids + e.completion_ids for e in ours.encode(PROMPTS, ANSWERS)]
    ids, mask = pad_rows(rows, "right", config.pad_token_id)
    torch.testing.assert_close(ours(ids, mask), theirs(ids, mask).logits[:, 0])


@torch.no_grad()
def test_scoring_texts_in_batches_keeps_their_order(reward_model):
    prompts, answers = PROMPTS * 3, [*ANSWERS, "the sky is red .", "3", "", "well ,"]
    whole = reward_model.score(prompts, answers)
    one_by_one = torch.cat([reward_model.score([p], [a])
                            for p, a in zip(prompts, answers, strict=True)])
    torch.testing.assert_close(whole, one_by_one, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(reward_model.score(prompts, answers, batch_size=2), whole,
                               atol=1e-5, rtol=1e-5)
    vectors = reward_model.embed(prompts, answers, batch_size=4)
    torch.testing.assert_close(vectors @ reward_model.head.weight[0], whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_pooled_vectors_are_those_of_the_answer_s_tokens(reward_model):
    prompts, answers = PROMPTS * 2, [*ANSWERS, "", "the sky is red ."]
    pooled = {pool: reward_model.embed(prompts, answers, 2, pool) for pool in ("mean", "sum")}
    for row, example in enumerate(reward_model.encode(prompts, answers)):
        ids = torch.tensor([example.prompt_ids + example.completion_ids])
        states = reward_model.body(ids).last_hidden_state[0, len(example.prompt_ids):]
        torch.testing.assert_close(pooled["sum"][row], states.sum(0), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(pooled["mean"][row], states.mean(0), atol=1e-4, rtol=1e-4)
    with as_a_learner(), pytest.raises(InvalidArgumentError, match="pool is 'max'"):
        reward_model.embed(prompts, answers, pool="max")


def test_every_text_is_closed_by_the_end_of_sequence(reward_model):
    for example in reward_model.encode(PROMPTS, ANSWERS):
        assert example.completion_ids[-1] == reward_model.tokenizer.eos_token_id
        assert reward_model.tokenizer.eos_token_id not in example.completion_ids[:-1]


def test_the_scale_is_settled_twice_over(reward_model):
    prompts, answers = PROMPTS * 2, [*ANSWERS, "the sky is red .", "the answer is 4 ."]
    raw = reward_model.score(prompts, answers)
    for _ in range(2):
        reward_model.set_scale(reward_model.score(prompts, answers))
        found = reward_model.score(prompts, answers)
        assert found.mean().item() == pytest.approx(0, abs=1e-5)
        assert found.std().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(found, (raw - raw.mean()) / raw.std(), atol=1e-4, rtol=1e-4)


def test_a_saved_model_comes_back_whole(reward_model, tmp_path):
    reward_model.set_scale(torch.tensor([1.0, 3.0]))
    reward_model.save(tmp_path / "new" / "folder")
    torch.manual_seed(3)
    first = torch.rand(1)
    torch.manual_seed(3)
    again = RewardModel.load(tmp_path / "new" / "folder")
    assert torch.equal(torch.rand(1), first)
    assert torch.equal(again.score(PROMPTS, ANSWERS), reward_model.score(PROMPTS, ANSWERS))
    assert again.tokenizer.padding_side == "left" and not again.training


def test_a_missing_or_damaged_file_is_named(reward_model, tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"holds no reward_model\.safetensors"):
        RewardModel.load(tmp_path)
    reward_model.save(tmp_path)
    weights = load_file(tmp_path / "reward_model.safetensors")
    save_file({name: w for name, w in weights.items() if name != "head.weight"},
              tmp_path / "reward_model.safetensors")
    with pytest.raises(ModelNotFoundError, match=r"(?s)cannot be read.*head\.weight"):
        RewardModel.load(tmp_path)
    (tmp_path / "reward_model.safetensors").write_bytes(b"no")
    with pytest.raises(ModelNotFoundError, match="cannot be read"):
        RewardModel.load(tmp_path)


@pytest.mark.parametrize("ids, mask, message", [
    ([[3, 4]], [[0, 0]], "row 0 of the mask holds no token"),
    ([[3, 4, 5]], [[1, 0, 1]], "has a hole"),
    ([[3, 99]], [[1, 1]], "99"),
    ([[3] * 60], [[1] * 60], "context holds 48"),
    ([[3, 4]], [[1, 2]], "more than 0 and 1"),
])
def test_batches_that_cannot_be_scored_are_refused(ids, mask, message):
    model = RewardModel(make_model("llama", 23), words())
    with as_a_learner(), pytest.raises(InvalidTextError, match=message):
        model(torch.tensor(ids), torch.tensor(mask))


def test_other_bad_input_is_refused(reward_model):
    with pytest.raises(InvalidTextError, match="2 prompts but 1 answers"):
        reward_model.score(PROMPTS, ANSWERS[:1])
    with pytest.raises(InvalidTextError, match="'skyy'"):
        reward_model.score(PROMPTS[:1], ["the skyy ."])
    with pytest.raises(InvalidTextError, match="no texts to score"):
        reward_model.score_tokens([])
    with pytest.raises(InvalidArgumentError, match="Linear is no language model"):
        body_of(torch.nn.Linear(1, 1))
    with pytest.raises(InvalidArgumentError, match="all alike"):
        reward_model.set_scale(torch.ones(3))
    with torch.no_grad():
        reward_model.head.weight.fill_(torch.nan)
    with pytest.raises(InvalidModelError, match="rewards are NaN"):
        reward_model.score(PROMPTS, ANSWERS)
