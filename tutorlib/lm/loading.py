"""Load any causal language model: from a folder, from the local cache, or from the Hub.

What a lesson needs is set right here once: padding on the left with a pad token, both known to the
model too, no dropout, and a vocabulary that the model covers.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from tutorlib.device import pick_device
from tutorlib.errors import InvalidModelError, ModelNotFoundError
from tutorlib.lm.checks import vocabulary_size

PLAIN_TOKENIZERS = ("TokenizersBackend", "PreTrainedTokenizerFast")


def load(name_or_path: str | os.PathLike[str], device: torch.device | str | None = None,
         dtype: torch.dtype | str = torch.float32):
    """Return a causal language model of the Hub or of a folder, and its tokenizer.

    What the local cache holds is taken from there, without a network; only what it lacks is
    downloaded. ``device=None`` is ``pick_device()``; ``dtype="auto"`` is what the file holds. The
    tokenizer pads on the left, with the end-of-sequence token if it has no pad token.

    Raises ModelNotFoundError when there is no such model within reach; InvalidModelError when
    model and tokenizer do not fit.

    ``model, tokenizer = load("HuggingFaceTB/SmolLM2-135M-Instruct")``
    """
    name = os.fspath(name_or_path)
    model, tokenizer = _find(name, dtype)
    prepare_tokenizer(tokenizer)
    check_vocabulary(model, tokenizer)
    for config in filter(None, (model.config, getattr(model, "generation_config", None))):
        config.pad_token_id = tokenizer.pad_token_id
    return model.to(device or pick_device()).eval(), tokenizer


def prepare_tokenizer(tokenizer) -> None:
    """Let a tokenizer pad on the left, with its end-of-sequence token if it has no pad token.

    Raises InvalidModelError when it has neither.
    """
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise InvalidModelError(
                "the tokenizer has neither a pad nor an end-of-sequence token; set one, "
                "for example tokenizer.pad_token = tokenizer.unk_token"
            )
        tokenizer.pad_token = tokenizer.eos_token


def check_vocabulary(model: nn.Module, tokenizer) -> None:
    """Raise InvalidModelError if the tokenizer has ids that the model has no embedding for.

    The other way round is common and harmless: embeddings are rounded up to a convenient number.
    """
    largest, size = max(tokenizer.get_vocab().values()), vocabulary_size(model)
    if largest >= size:
        raise InvalidModelError(
            f"the tokenizer has ids up to {largest}, but the model has embeddings for 0 to "
            f"{size - 1}; load the tokenizer that belongs to the model, or call "
            f"model.resize_token_embeddings({largest + 1}) and train"
        )


def tiny_model(tokenizer, hidden_size: int = 16, layers: int = 2, context: int = 64,
               seed: int = 0, scale: float = 1.0) -> nn.Module:
    """Return a small Llama with random weights for a tokenizer: something to try things on.

    ``scale`` multiplies the weights' standard deviation of 0.02 by up to 50 or so: the larger, the
    further from uniform are its answers. The global random state is left alone.

    >>> from tutorlib.lm.text import word_tokenizer
    >>> tiny_model(word_tokenizer(["the", "sky"])).config.vocab_size
    5
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden_size, intermediate_size=2 * hidden_size,
        num_hidden_layers=layers, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=context, initializer_range=0.02 * scale,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def _find(name: str, dtype):
    """Return model and tokenizer from a folder or the cache, else from the Hub."""
    if Path(name).is_dir():
        return _read(name, dtype, local=True)
    if Path(name).is_absolute() or name.startswith(("./", "../", "~")) or name.count("/") > 1:
        raise ModelNotFoundError(f"there is no folder {name!r}; give the folder of a saved model "
                                 "or a name of the Hub such as 'HuggingFaceTB/SmolLM2-135M'")
    try:
        return _read(name, dtype, local=True)
    except ModelNotFoundError:
        return _read(name, dtype, local=False)


def _read_tokenizer(name: str, local: bool):
    """Return the tokenizer that was saved.

    AutoTokenizer puts a model family's own class in place of a plain tokenizer.json (a word-level
    tokenizer saved with a Qwen2 then reads nothing at all); a plain one is loaded as it is.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    stated = get_tokenizer_config(name, local_files_only=local).get("tokenizer_class")
    plain = stated in PLAIN_TOKENIZERS
    return (PreTrainedTokenizerFast if plain else AutoTokenizer).from_pretrained(
        name, local_files_only=local)


def _read(name: str, dtype, local: bool):
    """Return model and tokenizer; turn what transformers raises into one clear error."""
    from transformers import AutoModelForCausalLM

    try:
        tokenizer = _read_tokenizer(name, local)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, local_files_only=local)
    except Exception as error:  # OSError, ValueError, KeyError, a closed network: all kinds
        if local and Path(name).is_dir():
            held = ", ".join(sorted(p.name for p in Path(name).iterdir())[:8]) or "nothing"
            raise ModelNotFoundError(
                f"the folder {name!r} holds no causal language model with its tokenizer (it holds "
                f"{held}); save both with save_pretrained. {type(error).__name__}: {error}"
            ) from error
        raise ModelNotFoundError(
            f"{name!r} is not in the local cache and could not be fetched from the Hugging Face "
            "Hub: check the spelling and the network (HF_HUB_OFFLINE=1 forbids it), or give the "
            f"folder of a saved model. {type(error).__name__}: {error}"
        ) from error
    return model, tokenizer
