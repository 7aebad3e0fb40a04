"""TinyTalk's language models: small Llamas, as Hugging Face objects, shipped with the package.

| name | what it is |
|---|---|
| base | pretrained on texts of mixed quality: fluent, and visibly unaligned |
| sft | base, fine-tuned on demonstrations |
| tiny | a smaller base for quick tests |

``python -m tutorlib.tinytalk.train`` makes them from scratch; MODEL_CARD.md beside the files says
how good they are.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tutorlib.errors import InvalidArgumentError, nearest
from tutorlib.tinytalk.tokenizer import make_tokenizer

CHECKPOINTS = Path(__file__).parent / "checkpoints"
CONTEXT = 96  # tokens of prompt and answer together
SIZES = {"tiny": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
         "base": {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}}


def new_model(size: str = "base", seed: int = 0) -> LlamaForCausalLM:
    """Return an untrained model of a size, its weights drawn from ``seed``.

    >>> new_model("tiny").num_parameters()
    67584
    """
    if size not in SIZES:
        raise InvalidArgumentError(f"there is no size {size!r}: {nearest(size, list(SIZES))}")
    tokenizer = make_tokenizer()
    shape = SIZES[size]
    config = LlamaConfig(
        vocab_size=len(tokenizer), intermediate_size=round(8 / 3 * shape["hidden_size"]),
        max_position_embeddings=CONTEXT, tie_word_embeddings=True, attention_dropout=0.0,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, **shape)
    with torch.random.fork_rng(devices=[]):  # transformers draws from the global generator
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).float()


def checkpoint_names() -> list[str]:
    """Return the names of the models that are shipped."""
    return sorted(path.parent.name for path in CHECKPOINTS.glob("*/model.safetensors"))


def load(name: str = "base", device: str | torch.device = "cpu"
         ) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Return a shipped model, in float32 and evaluation mode, and its tokenizer.

    Raises InvalidArgumentError for a name that is not shipped.
    """
    if name not in checkpoint_names():
        raise InvalidArgumentError(
            f"no model {name!r} comes with TinyTalk: {nearest(name, checkpoint_names())}")
    model = LlamaForCausalLM.from_pretrained(CHECKPOINTS / name, dtype=torch.float32,
                                             local_files_only=True)
    return model.to(device).eval(), make_tokenizer()
