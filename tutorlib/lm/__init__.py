"""Language models as decision processes: exact trees, sampling, log-probabilities, SFT."""

from tutorlib.lm.loading import check_vocabulary, load, prepare_tokenizer, tiny_model
from tutorlib.lm.sampling import Samples, SamplingSettings, cut_logits, draw, evaluating, sample
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
from tutorlib.lm.sft import (
    Example,
    SFTBatch,
    SFTSettings,
    collate,
    encode_examples,
    mean_loss,
    next_token_logps,
    sft_loss,
    train_sft,
)
from tutorlib.lm.text import (
    decode,
    encode_completions,
    encode_prompts,
    mask_after_eos,
    pad_rows,
    word_tokenizer,
)
from tutorlib.lm.token_mdp import TokenMDP, TokenState, at_the_end, token_step
from tutorlib.lm.tree import TokenTree, TreePlan
from tutorlib.lm.tree_build import TreeSize, tree_size
from tutorlib.lm.tree_shape import TreeShape
from tutorlib.lm.tree_view import tree_arrays

__all__ = [
    "Example", "SFTBatch", "SFTSettings", "Samples", "SamplingSettings", "TokenMDP", "TokenState",
    "TokenTree", "TreePlan", "TreeShape", "TreeSize", "at_the_end", "check_vocabulary", "collate",
    "completion_logits", "cut_logits", "decode", "draw", "encode_completions", "encode_examples",
    "encode_prompts", "evaluating", "load", "mask_after_eos", "mean_loss", "next_token_logps",
    "pad_rows", "per_token_entropy", "per_token_logps", "per_token_logps_and_entropy",
    "position_ids", "prepare_tokenizer", "rows_at_once", "sample", "sequence_logps",
    "sequence_values", "sft_loss", "tiny_model", "token_entropy", "token_logps", "token_step",
    "train_sft", "tree_arrays", "tree_size", "word_tokenizer",
]
