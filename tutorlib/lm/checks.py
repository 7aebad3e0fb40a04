"""What a batch of tokens, a model and its numbers must satisfy; errors name the row and the cure.

Two conventions hold everywhere in ``tutorlib.lm``: prompts are padded on the left and answers on
the right, so that each answer begins right behind its prompt; a mask is 1 at tokens that count.
"""

from __future__ import annotations

import inspect
import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError, InvalidModelError, InvalidTextError


def first_row(bad: Tensor) -> int | None:
    """Return the index of the first row with a true entry, or None."""
    rows = bad.flatten(1).any(1) if bad.ndim > 1 else bad
    return int(rows.nonzero()[0]) if bool(rows.any()) else None


def check_mask(name: str, ids: Tensor, mask: Tensor) -> Tensor:
    """Return ``mask`` as booleans; raise InvalidTextError unless it is 0s and 1s, one per token."""
    if ids.ndim != 2 or ids.shape != mask.shape:
        raise InvalidTextError(
            f"{name}_ids has shape {tuple(ids.shape)} and {name}_mask {tuple(mask.shape)}; "
            "expected the same (batch, tokens)"
        )
    if mask.dtype == torch.bool:
        return mask
    if (row := first_row((mask != 0) & (mask != 1))) is not None:
        raise InvalidTextError(f"{name}_mask holds more than 0 and 1 in row {row}")
    return mask == 1


def check_prompts(model: nn.Module, prompt_ids: Tensor, prompt_mask: Tensor) -> Tensor:
    """Return the mask as booleans, if every row is padding and then one or more known tokens."""
    mask = check_mask("prompt", prompt_ids, prompt_mask)
    if (row := first_row(~mask.any(1))) is not None:
        raise InvalidTextError(
            f"prompt {row} is empty; a model needs at least one token to go on from: "
            "begin prompts with the begin-of-sequence token"
        )
    if (row := first_row(mask[:, :-1] & ~mask[:, 1:])) is not None:
        raise InvalidTextError(
            f"prompt {row} is not padded on the left; put padding before the tokens, "
            "for example with tokenizer.padding_side = 'left'"
        )
    check_ids(model, "prompt", prompt_ids, mask)
    return mask


def check_completions(model: nn.Module, prompt_ids: Tensor, completion_ids: Tensor,
                      completion_mask: Tensor) -> Tensor:
    """Return the mask as booleans, if every row is known tokens and then padding."""
    mask = check_mask("completion", completion_ids, completion_mask)
    if len(completion_ids) != len(prompt_ids):
        raise InvalidTextError(
            f"there are {len(completion_ids)} completions for {len(prompt_ids)} prompts; "
            "repeat each prompt for its answers with repeat_interleave"
        )
    if (row := first_row(mask[:, 1:] & ~mask[:, :-1])) is not None:
        raise InvalidTextError(
            f"completion {row} is not padded on the right: its mask has a 1 behind a 0; "
            "mask_after_eos makes masks of the right form"
        )
    check_ids(model, "completion", completion_ids, mask)
    return mask


def check_ids(model: nn.Module, name: str, ids: Tensor, mask: Tensor) -> None:
    """Raise InvalidTextError if a token that counts is not in the model's vocabulary."""
    size = vocabulary_size(model)
    if (row := first_row(((ids < 0) | (ids >= size)) & mask)) is not None:
        raise InvalidTextError(
            f"{name} {row} holds the token ids {ids[row][mask[row]].tolist()}, but the model knows "
            f"0 to {size - 1}; encode with the tokenizer that belongs to the model"
        )


def check_length(model: nn.Module, longest: int, what: str) -> None:
    """Raise InvalidTextError if ``longest`` tokens do not fit into the model's context."""
    context = context_length(model)
    if context is not None and longest > context:
        raise InvalidTextError(
            f"{what} takes {longest} tokens, but the model's context holds {context}; "
            "shorten the prompt or ask for fewer new tokens"
        )


def check_number(name: str, value: object) -> None:
    """Raise InvalidArgumentError unless ``value`` is finite and above 0."""
    if not (isinstance(value, int | float) and value > 0 and math.isfinite(value)):
        raise InvalidArgumentError(f"{name} is {value!r}; expected a finite number above 0")


def check_count(name: str, value: object) -> None:
    """Raise InvalidArgumentError unless ``value`` is a whole number, 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidArgumentError(f"{name} is {value!r}; expected a whole number, 1 or more")


def check_not_nan(values: Tensor, what: str) -> None:
    """Raise InvalidModelError if anything that the model computed is NaN."""
    if bool(torch.isnan(values).any()):
        raise InvalidModelError(
            f"{what} are NaN: the model's weights or logits are NaN or infinite. Training that "
            "diverged does this (lower the learning rate), as does float16 on overflow"
        )


def vocabulary_size(model: nn.Module) -> int:
    """Return how many tokens the model has an embedding for."""
    embedding = model.get_input_embeddings()
    return embedding.num_embeddings if hasattr(embedding, "num_embeddings") else len(
        embedding.weight)


def context_length(model: nn.Module) -> int | None:
    """Return the most tokens that the model can attend to, or None if it states no limit."""
    return getattr(model.config, "max_position_embeddings", None)


@lru_cache(maxsize=64)
def _arguments(kind: type) -> frozenset[str]:
    """Return the names of what ``forward`` of a class takes."""
    return frozenset(inspect.signature(kind.forward).parameters)


def accepts(model: nn.Module, argument: str) -> bool:
    """Whether the model's ``forward`` names this argument."""
    return argument in _arguments(type(model))


def token_ids_of(value: int | list[int] | tuple[int, ...] | None) -> tuple[int, ...]:
    """Return special-token ids, which configurations state as one number, several or none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def eos_ids_of(model: nn.Module, eos_token_id=None) -> tuple[int, ...]:
    """Return the end-of-sequence ids: the argument, else the generation settings, else config."""
    if eos_token_id is not None:
        return token_ids_of(eos_token_id)
    generation = getattr(model, "generation_config", None)
    stated = getattr(generation, "eos_token_id", None)
    return token_ids_of(getattr(model.config, "eos_token_id", None) if stated is None else stated)
