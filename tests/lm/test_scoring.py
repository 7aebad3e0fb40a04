import numpy as np
import pytest
import torch
from trl.trainer.utils import entropy_from_logits, selective_log_softmax

from tests.lm.conftest import as_a_learner, make_model
from tutorlib.errors import InvalidArgumentError, InvalidModelError, InvalidTextError
from tutorlib.lm.scoring import (
    completion_logits,
    per_token_entropy,
    per_token_logps,
    per_token_logps_and_entropy,
    position_ids,
    rows_at_once,
    sequence_logps,
    sequence_values,
    token_entropy,
    token_logps,
)


def one_by_one(model, batch, temperature=1.0):
    """The definition: each row alone, without padding, one forward pass per token."""
    logps, entropies = torch.zeros(batch[3].shape), torch.zeros(batch[3].shape)
    for row, (prompt, prompt_mask, answer, answer_mask) in enumerate(zip(*batch, strict=True)):
        ids = prompt[prompt_mask == 1].tolist()
        for t in range(int(answer_mask.sum())):
            with torch.no_grad():
                p = (model(torch.tensor([ids])).logits[0, -1] / temperature).softmax(-1)
            logps[row, t] = p[answer[t]].log()
            entropies[row, t] = -(p * p.log()).sum()
            ids.append(int(answer[t]))
    return logps, entropies


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_scores_are_those_of_each_row_alone(model, batch, temperature, batch_size):
    batch = [x[[1, 2, 0, 3, 4]] for x in batch]  # sorting these by length is no swap: it would show
    logps, entropies = one_by_one(model, batch, temperature)
    with torch.no_grad():
        found = per_token_logps(model, *batch, temperature, batch_size)
        entropy = per_token_entropy(model, *batch, temperature, batch_size)
    torch.testing.assert_close(found, logps, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(entropy, entropies, atol=2e-6, rtol=1e-5)
    assert float(logps.std()) > 0.3, "or mistakes would not show"


@pytest.mark.parametrize("batch_size", [None, 2])
def test_both_in_one_pass_are_what_each_is_alone(model, batch, batch_size):
    both = per_token_logps_and_entropy(model, *batch, 0.7, batch_size)
    torch.testing.assert_close(both[0], per_token_logps(model, *batch, 0.7, batch_size))
    torch.testing.assert_close(both[1], per_token_entropy(model, *batch, 0.7, batch_size))
    logps, entropy = per_token_logps_and_entropy(model, *batch, 0.7, batch_size, False)
    assert both[1].requires_grad and logps.requires_grad and not entropy.requires_grad
    torch.testing.assert_close(entropy, both[1].detach())


def test_a_batch_without_any_answer_token_is_scored_as_nothing(model, batch):
    found = per_token_logps(model, *batch[:3], torch.zeros_like(batch[3]))
    assert found.shape == batch[3].shape and not found.any()


def test_sixteen_rows_at_once_on_a_cpu_only(model):
    assert rows_at_once(model) == 16
    assert rows_at_once(torch.nn.Linear(1, 1, device="meta")) is None


@pytest.mark.parametrize("batch_size", [None, 2])
def test_what_stands_at_masked_places_does_not_matter_to_the_bit(model, batch, batch_size):
    prompt_ids, prompt_mask, completion_ids, completion_mask = batch
    gen = torch.Generator().manual_seed(7)
    garbage = torch.randint(-100, 1000, prompt_ids.shape, generator=gen)
    behind = torch.randint(-100, 1000, completion_ids.shape, generator=gen)
    dirty = (torch.where(prompt_mask == 1, prompt_ids, garbage), prompt_mask,
             torch.where(completion_mask == 1, completion_ids, behind), completion_mask)
    assert torch.equal(per_token_logps(model, *dirty, batch_size=batch_size),
                       per_token_logps(model, *batch, batch_size=batch_size))


def test_more_padding_does_not_matter(model, batch):
    prompt_ids, prompt_mask, completion_ids, completion_mask = batch
    pad = torch.nn.functional.pad
    wider = (pad(prompt_ids, (7, 0)), pad(prompt_mask, (7, 0)),
             pad(completion_ids, (0, 4)), pad(completion_mask, (0, 4)))
    found = per_token_logps(model, *wider)
    assert found.shape == (5, 9) and not found[:, 5:].any()
    torch.testing.assert_close(found[:, :5], per_token_logps(model, *batch), atol=1e-6, rtol=0)
    logits = completion_logits(model, *wider)[:, :5][completion_mask == 1]  # padding kept here
    torch.testing.assert_close(logits, completion_logits(model, *batch)[completion_mask == 1],
                               atol=2e-6, rtol=1e-5)


def test_masked_places_are_zero_and_take_no_gradient(model, batch):
    found = per_token_logps(model, *batch)
    assert not found[batch[3] == 0].any() and bool((found[batch[3] == 1] < 0).all())
    model.zero_grad()
    found.sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(bool(g.isfinite().all()) for g in gradients)
    model.zero_grad()


def test_chunks_give_the_same_gradient(llama, batch):
    def gradient(batch_size):
        llama.zero_grad()
        logps = sequence_logps(llama, *batch, aggregate="token_mean", batch_size=batch_size)
        logps.sum().backward()
        return torch.cat([p.grad.flatten() for p in llama.parameters()])
    torch.testing.assert_close(gradient(2), gradient(None), atol=1e-5, rtol=1e-5)


def test_token_mean_is_the_loss_of_transformers(model, batch):
    prompt_ids, _, completion_ids, completion_mask = batch
    ids, mask = torch.cat([prompt_ids, completion_ids], 1), torch.cat(batch[1::2], 1)
    labels = torch.cat([torch.full_like(prompt_ids, -100),
                        completion_ids.masked_fill(completion_mask == 0, -100)], 1)
    with torch.no_grad():
        theirs = model(ids, attention_mask=mask, position_ids=position_ids(mask),
                       labels=labels).loss
        ours = -sequence_logps(model, *batch, aggregate="token_mean").mean()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)


def test_kernels_agree_with_trl():
    gen = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(4, 7, 33, generator=gen)
    ids = torch.randint(0, 33, (4, 7), generator=gen)
    torch.testing.assert_close(token_logps(logits, ids), selective_log_softmax(logits, ids),
                               atol=1e-6, rtol=0)
    torch.testing.assert_close(token_entropy(logits), entropy_from_logits(logits),
                               atol=2e-6, rtol=0)


def test_a_forbidden_token_adds_no_entropy_and_no_nan():
    logits = torch.tensor([0.0, -torch.inf, 0.0], requires_grad=True)
    entropy = token_entropy(logits)
    entropy.backward()
    assert entropy.item() == pytest.approx(np.log(2)) and bool(logits.grad.isfinite().all())


def test_conventions_on_one_batch():
    """s = (-3, -5), n = (3, 1): sums -8 / 2; means (-1 - 5) / 2; all tokens -8 / 4; 10: -8 / 20."""
    per_token = torch.tensor([[-1.0, -1.0, -1.0], [-5.0, 99.0, 99.0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    means = [sequence_values(per_token, mask, a, 10.0).mean().item() for a in
             ("sequence_sum", "sequence_mean", "token_mean", "constant")]
    assert means == pytest.approx([-4.0, -3.0, -2.0, -0.4])


def test_an_answer_without_tokens_counts_nothing():
    per_token, mask = torch.tensor([[-1.0, -1.0], [-7.0, -7.0]]), torch.tensor([[1, 1], [0, 0]])
    for aggregate in ("sequence_sum", "sequence_mean", "token_mean"):
        assert sequence_values(per_token, mask, aggregate)[1] == 0
    nothing = torch.zeros(2, 2).long()
    assert not sequence_values(per_token, nothing, "token_mean").any()


@pytest.mark.parametrize("row, column", [(0, 0), (2, 3)])
def test_nan_logits_are_named(tokenizer, batch, row, column):
    broken = make_model("llama", len(tokenizer))
    with torch.no_grad():
        broken.lm_head.weight[3 + row, column] = torch.nan
    with pytest.raises(InvalidModelError, match="NaN"):
        per_token_logps(broken, *batch)


def wrong(batch, **changes):
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    return tuple(changes.get(n, b) for n, b in zip(names, batch, strict=True))


def test_bad_batches_are_refused(llama, batch):
    prompt_ids, prompt_mask, completion_ids, completion_mask = batch
    empty = prompt_mask.clone()
    empty[3] = 0
    unknown = prompt_ids.clone()
    unknown[1, -1] = 99
    cases = [
        ("prompt 3 is empty", {"prompt_mask": empty}),
        ("prompt 0 is not padded on the left", {"prompt_mask": prompt_mask.flip(1)}),
        ("completion 0 is not padded on the right", {"completion_mask": completion_mask.flip(1)}),
        ("more than 0 and 1", {"completion_mask": 2 * completion_mask}),
        (r"token ids \[99\], but the model knows 0 to 14", {"prompt_ids": unknown}),
        ("4 completions for 5 prompts",
         {"completion_ids": completion_ids[:4], "completion_mask": completion_mask[:4]}),
        ("expected the same", {"completion_mask": torch.ones(5, 6).long()}),
        ("takes 56 tokens, but the model's context holds 48",
         {"completion_ids": torch.ones(5, 50).long(), "completion_mask": torch.ones(5, 50).long()}),
    ]
    for message, changes in cases:
        with as_a_learner(), pytest.raises(InvalidTextError, match=message):
            per_token_logps(llama, *wrong(batch, **changes))


def test_bad_settings_are_refused(llama, batch):
    with pytest.raises(InvalidArgumentError, match="temperature is 0"):
        per_token_logps(llama, *batch, temperature=0)
    with pytest.raises(InvalidArgumentError, match="batch_size"):
        per_token_logps(llama, *batch, batch_size=0)
    with pytest.raises(InvalidArgumentError, match="constant is None"):
        sequence_logps(llama, *batch, aggregate="constant")


def test_an_unknown_convention_is_refused_with_the_known_ones():
    with as_a_learner(), pytest.raises(InvalidArgumentError, match="sequence_mean"):
        sequence_values(torch.zeros(1, 1), torch.ones(1, 1), "mean")
