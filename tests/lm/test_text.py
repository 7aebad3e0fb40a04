import pytest
import torch

from tutorlib.errors import InvalidTextError
from tutorlib.lm.text import (
    decode,
    encode_completions,
    encode_prompts,
    mask_after_eos,
    word_tokenizer,
)


def test_prompts_are_padded_left_and_answers_right_with_their_end(tokenizer):
    prompt_ids, prompt_mask = encode_prompts(tokenizer, ["the sky is", "sky"])
    completion_ids, completion_mask = encode_completions(tokenizer, ["blue", "is blue ."])
    assert prompt_ids.tolist() == [[3, 4, 5], [0, 0, 4]]
    assert prompt_mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert completion_ids.tolist() == [[6, 1, 0, 0], [5, 6, 14, 1]]
    assert completion_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_text_comes_back_without_padding_and_with_special_tokens_on_request(tokenizer):
    ids, mask = encode_completions(tokenizer, ["blue", "the sky is blue ."])
    assert decode(tokenizer, ids, mask) == ["blue", "the sky is blue ."]
    assert decode(tokenizer, ids, mask, skip_special_tokens=False)[0] == "blue <eos>"


def test_an_answer_may_be_empty_but_for_its_end(tokenizer):
    assert encode_completions(tokenizer, [""])[0].tolist() == [[1]]
    with pytest.raises(InvalidTextError, match="completion 0 is empty"):
        encode_completions(tokenizer, [""], eos=False)


def test_pad_and_eos_may_be_the_same_token():
    """Then only the mask tells the end from padding; a mask by comparing ids would drop it."""
    tokenizer = word_tokenizer(["blue"])
    tokenizer.pad_token = tokenizer.eos_token
    ids, mask = encode_completions(tokenizer, ["blue", "blue blue"])
    assert ids.tolist() == [[3, 1, 1], [3, 3, 1]] and mask.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_the_mask_ends_with_the_first_end():
    ids = torch.tensor([[5, 1, 5, 1], [1, 1, 1, 1], [5, 5, 5, 5], [5, 5, 5, 1]])
    assert mask_after_eos(ids, 1).tolist() == [
        [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_unknown_words_are_named_with_the_nearest(tokenizer):
    with pytest.raises(InvalidTextError, match=r"words.*'bleu', did you mean 'blue'.*'ocean'"):
        encode_prompts(tokenizer, ["the sky", "ocean is bleu ."])


def test_a_spelled_out_unk_is_not_an_unknown_word(tokenizer):
    assert encode_prompts(tokenizer, ["the <unk>"])[0].tolist() == [[3, 2]]


@pytest.mark.parametrize("prompts, message", [
    ([], "list of prompts is empty"),
    ([""], r"prompt 0 is empty"),
    (["sky", "  "], r"prompt 1 is empty"),
])
def test_nothing_to_encode_is_an_error(tokenizer, prompts, message):
    with pytest.raises(InvalidTextError, match=message):
        encode_prompts(tokenizer, prompts)


def test_one_text_in_place_of_a_list_is_an_error(tokenizer):
    with pytest.raises(InvalidTextError, match=r"write \['the sky'\]"):
        encode_prompts(tokenizer, "the sky")


def test_no_end_of_sequence_token_is_an_error():
    tokenizer = word_tokenizer(["blue"])
    tokenizer.eos_token = None
    with pytest.raises(InvalidTextError, match="eos=False"):
        encode_completions(tokenizer, ["blue"])
    assert encode_completions(tokenizer, ["blue"], eos=False)[0].tolist() == [[3]]
