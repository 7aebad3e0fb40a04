import itertools

import pytest
import torch
from scipy.stats import chi2_contingency, chisquare
from transformers import DynamicCache, MistralConfig, MistralForCausalLM
from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

from tests.lm.conftest import as_a_learner, make_model
from tutorlib.errors import InvalidArgumentError, InvalidModelError, InvalidTextError
from tutorlib.lm.cache import SlotLayer, attends_plainly, new_cache
from tutorlib.lm.sampling import SamplingSettings, cut_logits, draw, sample
from tutorlib.lm.scoring import per_token_logps, sequence_logps
from tutorlib.lm.text import encode_prompts

EOS = 1


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def generate(model, batch, settings, n=1):
    """What transformers gives for the same settings."""
    ids, mask = (x.repeat_interleave(n, 0) for x in batch)
    found = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=settings.max_new_tokens,
        do_sample=not settings.greedy, temperature=settings.temperature, pad_token_id=0,
        top_k=settings.top_k or 0, top_p=settings.top_p or 1.0, eos_token_id=EOS)
    return found[:, ids.shape[1]:]


@pytest.mark.parametrize("shape", ["llama", "gpt2", "qwen2"])
def test_greedy_answers_are_those_of_generate(tokenizer, batch, shape):
    lengths = set()
    for seed in range(6):
        model = make_model(shape, len(tokenizer), seed=seed)
        settings = SamplingSettings(max_new_tokens=12, greedy=True)
        ours, theirs = sample(model, *batch[:2], settings), generate(model, batch[:2], settings)
        width = ours.completion_ids.shape[1]
        assert torch.equal(ours.completion_ids, theirs[:, :width]) and not theirs[:, width:].any()
        lengths |= set(ours.completion_mask.sum(1).tolist())
    assert len(lengths) > 2, "rows should leave the batch at different steps"


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_logps_are_those_of_scoring(tokenizer, model, batch, implementation):
    """Every row is scored right though rows move as others finish, and prompts repeat."""
    model.set_attn_implementation(implementation)
    prompts = [x[[0, 1, 0, 2, 3, 4, 4]] for x in batch[:2]]
    settings = SamplingSettings(max_new_tokens=20, temperature=0.8, num_generations=5)
    drawn = sample(model, *prompts, settings, seeded())
    model.set_attn_implementation("sdpa")
    lengths = drawn.completion_mask.sum(1)
    assert int(lengths.min()) < 8 < int(lengths.max()) == 20
    repeated = [x.repeat_interleave(5, 0) for x in prompts]
    scored = per_token_logps(model, *repeated, drawn.completion_ids, drawn.completion_mask, 0.8)
    torch.testing.assert_close(drawn.per_token_logps, scored, atol=5e-6, rtol=1e-5)


def test_the_mask_ends_with_the_end_of_sequence(model, batch):
    drawn = sample(model, *batch[:2], SamplingSettings(15, num_generations=8), seeded(3))
    ended = 0
    for ids, mask in zip(drawn.completion_ids, drawn.completion_mask, strict=True):
        n = int(mask.sum())
        assert mask[:n].all() and not mask[n:].any() and not ids[n:].any()
        assert EOS not in ids[:n - 1]
        assert ids[n - 1] == EOS or n == 15
        ended += int(ids[n - 1] == EOS)
    assert 5 < ended < 40


def test_the_same_seed_gives_the_same_answers(llama, batch):
    first, second, other = (sample(llama, *batch[:2], SamplingSettings(8), seeded(s))
                            for s in (0, 0, 1))
    assert torch.equal(first.completion_ids, second.completion_ids)
    assert first.completion_ids.shape != other.completion_ids.shape or not torch.equal(
        first.completion_ids, other.completion_ids)


def test_the_global_random_state_is_left_alone(llama, batch):
    before = torch.random.get_rng_state()
    sample(llama, *batch[:2], SamplingSettings(4), seeded())
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.fixture(scope="module")
def small():
    """A model of six tokens whose 121 + 30 answers of at most three tokens can all be scored."""
    model = make_model("llama", 6, scale=0.5)
    prompt = torch.tensor([[3, 4]]), torch.ones(1, 2).long()
    answers = [a for n in (1, 2, 3) for a in itertools.product(range(6), repeat=n)
               if EOS not in a[:-1] and (n == 3 or a[-1] == EOS)]
    ids = torch.tensor([[*a, *[0] * (3 - len(a))] for a in answers])
    mask = torch.tensor([[1] * len(a) + [0] * (3 - len(a)) for a in answers])
    repeated = [x.repeat(len(answers), 1) for x in prompt]
    with torch.no_grad():
        logps = sequence_logps(model, *repeated, ids, mask)
    assert logps.exp().sum().item() == pytest.approx(1, abs=1e-5)
    return model, prompt, {a: i for i, a in enumerate(answers)}, logps.double().exp()


def counts(index, ids):
    """How often each possible answer came up."""
    found = torch.zeros(len(index))
    for row in ids.tolist():
        end = row.index(EOS) + 1 if EOS in row else 3
        found[index[tuple(row[:end])]] += 1
    return found


def pooled(expected, *others, least=5.0):
    """Join answers too rare for the chi-square test into one cell."""
    rare = expected < least
    return [torch.cat([x[~rare], x[rare].sum()[None]]) for x in (expected, *others)]


def test_frequencies_are_the_exact_probabilities(small):
    model, prompt, index, exact = small
    n = 6000
    drawn = sample(model, *prompt, SamplingSettings(3, num_generations=n), seeded(11))
    expected, found = pooled(exact * n, counts(index, drawn.completion_ids).double())
    assert len(expected) > 40
    assert chisquare(found, expected * found.sum() / expected.sum()).pvalue > 1e-3


def test_the_frequency_test_would_notice_a_wrong_temperature(small):
    model, prompt, index, exact = small
    drawn = sample(model, *prompt, SamplingSettings(3, 1.1, num_generations=6000), seeded(11))
    expected, found = pooled(exact * 6000, counts(index, drawn.completion_ids).double())
    assert chisquare(found, expected * found.sum() / expected.sum()).pvalue < 1e-4


@pytest.mark.parametrize("settings", [
    {}, {"temperature": 0.7}, {"top_k": 3}, {"top_p": 0.7}, {"top_k": 4, "top_p": 0.8},
])
def test_frequencies_are_those_of_generate(small, settings):
    model, prompt, index, _ = small
    n = 3000
    settings = SamplingSettings(3, num_generations=n, **settings)
    ours = counts(index, sample(model, *prompt, settings, seeded(5)).completion_ids)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = counts(index, generate(model, prompt, settings, n))
    joint, ours, theirs = pooled(ours + theirs, ours, theirs, least=10)
    table = torch.stack([ours, theirs])[:, joint > 0]
    assert chi2_contingency(table.numpy()).pvalue > 1e-3
    assert float(((ours > 0) != (theirs > 0)).sum()) == 0, "the same answers are possible"


def test_cuts_are_those_of_transformers():
    logits = 3 * torch.randn(50, 40, generator=seeded())
    for k in (1, 5, 40):
        assert torch.equal(cut_logits(logits, k, None), TopKLogitsWarper(k)(None, logits))
    for p in (0.05, 0.5, 0.93):
        assert torch.equal(cut_logits(logits, None, p), TopPLogitsWarper(p)(None, logits))
    both = TopPLogitsWarper(0.8)(None, TopKLogitsWarper(10)(None, logits))
    assert torch.equal(cut_logits(logits, 10, 0.8), both)
    assert cut_logits(logits, 100, 1.0) is logits


def test_a_token_without_probability_is_never_drawn():
    logits = torch.full((5000, 4), -torch.inf)
    logits[:, 1], logits[:, 2] = 0.0, 0.0
    assert set(draw(logits, seeded()).tolist()) == {1, 2}


def test_dropout_is_off_while_answering_and_back_on_after(tokenizer, batch):
    model = make_model("gpt2", len(tokenizer))
    model.config.attn_pdrop = model.config.resid_pdrop = 0.5
    quiet = sample(model, *batch[:2], SamplingSettings(6, greedy=True))
    model.train()
    drawn = sample(model, *batch[:2], SamplingSettings(6, greedy=True))
    assert model.training and torch.equal(drawn.per_token_logps, quiet.per_token_logps)


def test_results_can_go_into_a_loss(llama, batch):
    """Tensors made in inference mode cannot be saved for a backward pass; these can."""
    drawn = sample(llama, *batch[:2], SamplingSettings(4), seeded())
    weight = torch.ones((), requires_grad=True)
    (weight * drawn.per_token_logps).sum().backward()
    assert weight.grad is not None and not drawn.per_token_logps.requires_grad


def test_no_end_token_means_no_early_stop(llama, batch):
    drawn = sample(llama, *batch[:2], SamplingSettings(10), seeded(), eos_token_id=[])
    assert drawn.completion_mask.all() and drawn.completion_ids.shape == (5, 10)


def test_several_end_tokens_all_end(llama, batch):
    drawn = sample(llama, *batch[:2], SamplingSettings(30, num_generations=10), seeded(),
                   eos_token_id=[1, 5, 9])
    last = drawn.completion_ids.gather(1, drawn.completion_mask.sum(1, keepdim=True) - 1)[:, 0]
    ended = drawn.completion_mask.sum(1) < 30
    assert set(last[ended].tolist()) == {1, 5, 9} and int(ended.sum()) > 40


def test_a_sliding_window_model_falls_back_and_is_right(tokenizer, batch):
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=32, sliding_window=4, initializer_range=0.3,
        eos_token_id=1, pad_token_id=0, bos_token_id=None, max_position_embeddings=48)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MistralForCausalLM(config).eval()
    assert not attends_plainly(model) and isinstance(new_cache(model), DynamicCache)
    settings = SamplingSettings(12, greedy=True)
    ours, theirs = sample(model, *batch[:2], settings), generate(model, batch[:2], settings)
    assert torch.equal(ours.completion_ids, theirs[:, :ours.completion_ids.shape[1]])
    drawn = sample(model, *batch[:2], SamplingSettings(12), seeded(4))
    scored = per_token_logps(model, *batch[:2], drawn.completion_ids, drawn.completion_mask)
    torch.testing.assert_close(drawn.per_token_logps, scored, atol=5e-6, rtol=1e-5)


def test_the_buffer_grows_past_its_room(llama):
    cache = new_cache(llama)
    assert all(isinstance(layer, SlotLayer) for layer in cache.layers)
    gen, told = seeded(), []
    for n in (3, 1, 40, 1, 1):
        new = torch.randn(2, 4, n, 4, generator=gen)
        told.append(new)
        keys, values = cache.update(new, -new, 0)
        assert torch.equal(keys, torch.cat(told, 2)) and torch.equal(values, -keys)


def test_bad_calls_are_refused(llama, batch, tokenizer):
    with pytest.raises(InvalidArgumentError, match="needs a generator"):
        sample(llama, *batch[:2])
    with pytest.raises(InvalidTextError, match=r"max_new_tokens=45 takes 51 tokens.*holds 48"):
        sample(llama, *batch[:2], SamplingSettings(45), seeded())
    with pytest.raises(InvalidTextError, match="prompt 0 is empty"):
        sample(llama, batch[0], 0 * batch[1], SamplingSettings(4), seeded())
    broken = make_model("llama", len(tokenizer))
    with torch.no_grad():
        broken.lm_head.weight[5] = torch.nan
    with pytest.raises(InvalidModelError, match="NaN"):
        sample(broken, *batch[:2], SamplingSettings(4), seeded())


@pytest.mark.parametrize("name, value", [
    ("max_new_tokens", 0), ("temperature", 0), ("temperature", float("nan")), ("top_k", 0),
    ("top_p", 0.0), ("top_p", 1.5), ("num_generations", 0), ("max_new_tokens", 2.5),
])
def test_bad_settings_are_refused(name, value):
    with as_a_learner(), pytest.raises(InvalidArgumentError, match=name):
        SamplingSettings(**{name: value})


def test_text_comes_out(llama, tokenizer):
    drawn = sample(llama, *encode_prompts(tokenizer, ["the sky is"]), SamplingSettings(5), seeded())
    text = drawn.texts(tokenizer, skip_special_tokens=False)[0]
    assert tokenizer(text)["input_ids"] == drawn.completion_ids[0].tolist()
