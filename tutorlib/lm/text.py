"""From text to tokens and back: left-padded prompts, right-padded answers, and their masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from tutorlib.errors import InvalidTextError, nearest

SPECIAL_TOKENS = ("<pad>", "<eos>", "<unk>")


def word_tokenizer(words: Sequence[str]):
    """Return a tokenizer that splits at spaces and knows these words: small worlds, exactly.

    Ids 0 to 2 are ``<pad>``, ``<eos>`` and ``<unk>``; then the words in the order given. A
    ``PreTrainedTokenizerFast``, so that all that is said of tokenizers of the Hub is true of it.

    >>> word_tokenizer(["the", "sky"])("the sky")["input_ids"]
    [3, 4]
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {word: i for i, word in enumerate(dict.fromkeys([*SPECIAL_TOKENS, *words]))}
    raw = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>",
        padding_side="left", clean_up_tokenization_spaces=False)


def encode_prompts(tokenizer, prompts: Sequence[str], device: torch.device | str = "cpu",
                   add_special_tokens: bool = True
                   ) -> tuple[Int[Tensor, "batch prompt"], Int[Tensor, "batch prompt"]]:
    """Return ``prompt_ids`` and ``prompt_mask``, padded on the left.

    ``add_special_tokens`` lets the tokenizer put its begin-of-sequence token in front, if it has
    such a habit; switch it off for text that already spells its special tokens out.

    Raises InvalidTextError for no prompts, an empty prompt, or words the tokenizer does not know.

    >>> encode_prompts(word_tokenizer(["the", "sky"]), ["the sky", "sky"])[0].tolist()
    [[3, 4], [0, 4]]
    """
    rows = _encode(tokenizer, prompts, "prompt", add_special_tokens)
    return pad_rows(rows, "left", _filler(tokenizer), device)


def encode_completions(tokenizer, completions: Sequence[str], device: torch.device | str = "cpu",
                       eos: bool = True
                       ) -> tuple[Int[Tensor, "batch answer"], Int[Tensor, "batch answer"]]:
    """Return ``completion_ids`` and ``completion_mask``, padded on the right.

    ``eos`` closes each answer with the end-of-sequence token, which counts: it is what teaches a
    model to stop. Raises InvalidTextError as ``encode_prompts``.

    >>> encode_completions(word_tokenizer(["blue"]), ["blue"])
    (tensor([[3, 1]]), tensor([[1, 1]]))
    """
    ending = []
    if eos:
        if tokenizer.eos_token_id is None:
            raise InvalidTextError("the tokenizer has no end-of-sequence token; pass eos=False")
        ending = [tokenizer.eos_token_id]
    rows = [row + ending for row in _encode(tokenizer, completions, "completion", False, not eos)]
    return pad_rows(rows, "right", _filler(tokenizer), device)


def pad_rows(rows: Sequence[Sequence[int]], side: str, filler: int,
             device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return rows of token ids as one tensor, padded on one side, and its mask.

    >>> pad_rows([[5, 6], [7]], "right", 0)[0].tolist()
    [[5, 6], [7, 0]]
    """
    width = max(map(len, rows))
    ids, mask = torch.full((len(rows), width), filler), torch.zeros(len(rows), width).long()
    for i, row in enumerate(rows):
        span = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[i, span], mask[i, span] = torch.tensor(row, dtype=torch.long), 1
    return ids.to(device), mask.to(device)


def decode(tokenizer, ids: Int[Tensor, "batch tokens"], mask: Shaped[Tensor, "batch tokens"],
           skip_special_tokens: bool = True) -> list[str]:
    """Return the text of the tokens that count in each row.

    >>> decode(word_tokenizer(["blue"]), torch.tensor([[3, 1]]), torch.tensor([[1, 1]]))
    ['blue']
    """
    kept = [row[keep == 1].tolist() for row, keep in zip(ids, mask, strict=True)]
    return [tokenizer.decode(row, skip_special_tokens=skip_special_tokens) for row in kept]


def mask_after_eos(completion_ids: Int[Tensor, "batch answer"], eos_token_id: int
                   ) -> Int[Tensor, "batch answer"]:
    """Return a mask that is 1 up to the first end of sequence, itself included, and 0 behind it.

    >>> mask_after_eos(torch.tensor([[4, 1, 1], [4, 4, 4]]), 1).tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    ended = (completion_ids == eos_token_id).cumsum(-1)
    before = ended - (completion_ids == eos_token_id).long()  # endings strictly before this token
    return (before == 0).long()


def check_words(tokenizer, text: str) -> None:
    """Raise InvalidTextError, naming the words, if ``text`` holds words the tokenizer maps to unk.

    >>> check_words(word_tokenizer(["the", "sky"]), "the sky")
    """
    if tokenizer.unk_token_id is None:
        return
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
    if tokenizer.unk_token_id not in found["input_ids"]:
        return
    spans = found.get("offset_mapping", [(0, len(text))] * len(found["input_ids"]))
    words = [text[a:b] for i, (a, b) in zip(found["input_ids"], spans, strict=True)
             if i == tokenizer.unk_token_id]
    words = sorted({word for word in words if word != tokenizer.unk_token})
    if words:
        known = tokenizer.get_vocab()
        raise InvalidTextError(f"the tokenizer does not know these words of {text!r}: " +
                               "; ".join(f"{word!r}, {nearest(word, known)}" for word in words))


def _encode(tokenizer, texts: Sequence[str], kind: str, special: bool, may_not_be_empty=True
            ) -> list[list[int]]:
    """Return token ids of each text, checked."""
    if isinstance(texts, str):
        raise InvalidTextError(f"expected a list of {kind}s, got one text; write [{texts!r}]")
    if not texts:
        raise InvalidTextError(f"the list of {kind}s is empty; give at least one")
    rows = []
    for i, text in enumerate(texts):
        check_words(tokenizer, text)
        rows.append(tokenizer(text, add_special_tokens=special)["input_ids"])
        if may_not_be_empty and not rows[-1]:
            raise InvalidTextError(f"{kind} {i} is empty ({text!r}); give at least one token")
    return rows


def _filler(tokenizer) -> int:
    """Return an id to fill padding with; masks say what counts, so any valid id will do."""
    if tokenizer.pad_token_id is not None:
        return tokenizer.pad_token_id
    return 0 if tokenizer.eos_token_id is None else tokenizer.eos_token_id
