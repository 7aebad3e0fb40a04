"""TinyTalk: a language world small enough to be known exactly, and models that speak it.

Names that need torch or transformers are loaded on first use (PEP 562).
"""

from __future__ import annotations

import importlib

from tutorlib.tinytalk.answers import intended, right_content
from tutorlib.tinytalk.corpora import (
    AUTHOR,
    CROWD,
    Behaviour,
    Dialogue,
    crowd_behaviour,
    crowd_dialogues,
    demonstrations,
    statements,
    write_answer,
)
from tutorlib.tinytalk.gold import (
    PARTS,
    WEIGHTS,
    Parts,
    gold_parts,
    gold_reward,
    mean_parts,
)
from tutorlib.tinytalk.labellers import (
    PERSONAS,
    Labeller,
    Preference,
    label_pairs,
    preference_pairs,
)
from tutorlib.tinytalk.parsing import Parsed, parse
from tutorlib.tinytalk.prompts import (
    FAMILIES,
    SPLITS,
    Prompt,
    additions,
    contents,
    sample_prompts,
    split_of,
)
from tutorlib.tinytalk.words import INSTRUCTIONS, all_words

_LAZY = {  # name: module
    "ChainErrors": "chains", "chain_errors": "chains",
    "check_words": "tokenizer", "make_tokenizer": "tokenizer",
    "checkpoint_names": "models", "load": "models", "new_model": "models",
}

__all__ = [
    "AUTHOR", "CROWD", "FAMILIES", "INSTRUCTIONS", "PARTS", "PERSONAS", "SPLITS", "WEIGHTS",
    "Behaviour", "ChainErrors", "Dialogue", "Labeller", "Parsed", "Parts", "Preference",
    "Prompt", "additions", "all_words", "chain_errors", "check_words", "checkpoint_names",
    "contents", "crowd_behaviour", "crowd_dialogues", "demonstrations", "gold_parts",
    "gold_reward", "intended", "label_pairs", "load", "make_tokenizer", "mean_parts",
    "new_model", "parse", "preference_pairs", "right_content", "sample_prompts", "split_of",
    "statements", "write_answer",
]


def __getattr__(name: str):
    """Load a name that needs torch or transformers on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'tutorlib.tinytalk' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tutorlib.tinytalk.{_LAZY[name]}"), name)
