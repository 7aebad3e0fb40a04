"""Language models as decision processes: exact trees, sampling, log-probabilities, SFT."""

from tutorlib.lm.loading import check_vocabulary, load, prepare_tokenizer, tiny_model
from tutorlib.lm.sampling import Samples, SamplingSettings, cut_logits, draw, evaluating, sample
from tutorlib.lm.scoring import (
    completion_logits,
    per_token_entropy,
    per_token_logps,
    position_ids,
    sequence_logps,
    sequence_values,
    token_entropy,
    token_logps,
)
from tutorlib.lm.text import (
    decode,
    encode_completions,
    encode_prompts,
    mask_after_eos,
    pad_rows,
    word_tokenizer,
)

__all__ = [
    "Samples", "SamplingSettings", "check_vocabulary", "completion_logits", "cut_logits", "decode",
    "draw", "encode_completions", "encode_prompts", "evaluating", "load", "mask_after_eos",
    "pad_rows", "per_token_entropy", "per_token_logps", "position_ids", "prepare_tokenizer",
    "sample", "sequence_logps", "sequence_values", "tiny_model", "token_entropy", "token_logps",
    "word_tokenizer",
]
