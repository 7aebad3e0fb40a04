import pytest
import torch

from tests.lm.conftest import WORDS, make_model
from tests.offline import NetworkInTestError
from tutorlib.errors import InvalidModelError, ModelNotFoundError
from tutorlib.lm.loading import check_vocabulary, load, prepare_tokenizer, tiny_model
from tutorlib.lm.sampling import SamplingSettings, sample
from tutorlib.lm.scoring import sequence_logps
from tutorlib.lm.text import encode_completions, encode_prompts, word_tokenizer


@pytest.fixture(params=["gpt2", "qwen2"])
def folder(request, tmp_path):
    """A saved model whose tokenizer has no pad token and pads on the right, as many do."""
    tokenizer = word_tokenizer(WORDS)
    tokenizer.pad_token, tokenizer.padding_side = None, "right"
    model = make_model(request.param, len(tokenizer))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path, model


def test_a_saved_model_comes_back_ready_to_use(folder):
    path, saved = folder
    model, tokenizer = load(path, device="cpu")
    assert type(model) is type(saved) and not model.training
    assert tokenizer.padding_side == "left" and tokenizer.pad_token == tokenizer.eos_token
    assert model.config.pad_token_id == model.generation_config.pad_token_id == 1
    prompts = encode_prompts(tokenizer, ["what color is the sky ?", "grass is"])
    answers = encode_completions(tokenizer, ["the sky is blue .", "green"])
    with torch.no_grad():
        torch.testing.assert_close(sequence_logps(model, *prompts, *answers),
                                   sequence_logps(saved, *prompts, *answers))
    gen = torch.Generator().manual_seed(0)
    assert sample(model, *prompts, SamplingSettings(max_new_tokens=4), generator=gen).texts(
        tokenizer)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float32])
def test_the_dtype_is_the_one_asked_for(folder, dtype):
    assert load(folder[0], device="cpu", dtype=dtype)[0].dtype == dtype


def test_offline_a_name_of_the_hub_is_one_clear_error():
    with pytest.raises(ModelNotFoundError, match=r"not in the local cache.*network"):
        load("no-such-owner/no-such-model")


def test_a_closed_network_is_the_same_clear_error(monkeypatch):
    """As on a train: not forbidden by a variable, but no name server answers."""
    import tutorlib.lm.loading as loading

    def unreachable(*args, **kwargs):
        raise NetworkInTestError("no route")
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", unreachable)
    with pytest.raises(ModelNotFoundError, match="check the spelling and the network"):
        loading.load("owner/model")


def test_the_cache_is_asked_before_the_network(monkeypatch):
    asked = []

    def record(name, local_files_only=None, **kwargs):
        asked.append(local_files_only)
        raise OSError("absent")
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", record)
    with pytest.raises(ModelNotFoundError):
        load("owner/model")
    assert asked == [True, False]


def test_a_folder_that_is_not_there_is_not_asked_of_the_hub(tmp_path):
    for name in (tmp_path / "absent", "./absent", "models/tiny/sft"):
        with pytest.raises(ModelNotFoundError, match="there is no folder"):
            load(name)


def test_a_folder_without_a_model_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelNotFoundError, match=r"notes\.txt.*save_pretrained"):
        load(tmp_path)


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    make_model("llama", 10).save_pretrained(tmp_path)
    word_tokenizer(WORDS).save_pretrained(tmp_path)
    with pytest.raises(InvalidModelError, match=r"ids up to 14.*embeddings for 0 to 9"):
        load(tmp_path)


def test_a_model_larger_than_its_tokenizer_is_fine(tokenizer):
    check_vocabulary(make_model("gpt2", 64), tokenizer)


def test_a_tokenizer_without_any_ending_is_refused():
    tokenizer = word_tokenizer(WORDS)
    tokenizer.pad_token = tokenizer.eos_token = None
    with pytest.raises(InvalidModelError, match="neither a pad nor"):
        prepare_tokenizer(tokenizer)


def test_a_tiny_model_is_reproducible_and_leaves_the_random_state_alone(tokenizer):
    before = torch.random.get_rng_state()
    first, second, other = (tiny_model(tokenizer, seed=s) for s in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.lm_head.weight, second.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
