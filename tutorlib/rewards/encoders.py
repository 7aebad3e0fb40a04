"""From texts to fixed vectors: hashed words, which need nothing, and a sentence encoder.

The sentence encoder is an extra that has to be downloaded (90 MB); no lesson's main path needs it.
"""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, InvalidModelError, ModelNotFoundError
from tutorlib.lm.checks import check_count
from tutorlib.rewards.data_files import data_folder

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
         "special_tokens_map.json", "vocab.txt")
_WORD = re.compile(r"[a-z0-9']+|[^\sa-z0-9']")


class HashedWords:
    """Counts of words and of neighbouring words, hashed into a fixed number of places.

    Each word or pair of words adds log(1 + count) to one place, with a sign of its own (Weinberger
    et al. 2009); vectors have length 1. The same on every machine.
    """

    def __init__(self, size: int = 1024):
        """Choose how many places there are."""
        check_count("size", size)
        self.size = size

    @property
    def name(self) -> str:
        """What vectors of this encoder are called in files."""
        return f"hashed words, {self.size}"

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "texts size"]:
        """Return one vector for each text.

        >>> same = HashedWords(64)(["Hello there", "hello  there"])
        >>> bool((same[0] == same[1]).all()), round(float(same[0].norm()), 4)
        (True, 1.0)
        """
        _check_texts(texts)
        vectors = np.zeros((len(texts), self.size), dtype=np.float32)
        for row, text in enumerate(texts):
            words = _WORD.findall(text.lower())
            pairs = [f"{a} {b}" for a, b in pairwise(words)]
            for term, count in Counter([*words, *pairs]).items():
                code = zlib.crc32(term.encode())
                sign = 1.0 if code & 1 else -1.0
                vectors[row, (code >> 1) % self.size] += sign * math.log1p(count)
        return torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1)


class SentenceEncoder:
    """Vectors of a sentence encoder: the mean of its last hidden states, of length 1.

    all-MiniLM-L6-v2 (384 numbers; Apache 2.0) from a folder, from ``$TUTORLIB_DATA``, from the
    cache or from the Hub. Its weights must have the published checksum.
    """

    def __init__(self, folder: str | Path | None = None, sha256: str | None = MINILM_SHA256,
                 device: torch.device | str = "cpu", tokens: int = 256):
        """Load it; longer texts are cut to ``tokens``. ``sha256=None`` accepts other weights.

        Raises ModelNotFoundError when it is nowhere; InvalidModelError for other weights.
        """
        from transformers import AutoModel, AutoTokenizer

        check_count("tokens", tokens)
        self.folder, self.tokens = _encoder_folder(folder), tokens
        if sha256 is not None:
            check_sha256(self.folder / "model.safetensors", sha256)
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(self.folder, local_files_only=True,
                                               dtype=torch.float32).to(device).eval()

    @property
    def name(self) -> str:
        """What vectors of this encoder are called in files."""
        return f"{MINILM}, {self.tokens} tokens"

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], batch_size: int = 32
                 ) -> Float[Tensor, "texts size"]:
        """Return one vector for each text, on the CPU; texts of like length go together."""
        _check_texts(texts)
        check_count("batch_size", batch_size)
        order = torch.tensor([len(text) for text in texts]).argsort(stable=True)
        pieces = [self._encode([texts[i] for i in part.tolist()])
                  for part in order.split(batch_size)]
        return torch.cat(pieces)[order.argsort()]

    def _encode(self, texts: list[str]) -> Tensor:
        """Return the vectors of one batch: a mean over tokens that count, then length 1."""
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=self.tokens,
                               return_tensors="pt").to(self.model.device)
        states = self.model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None].to(states)
        mean = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=1).cpu()


def check_sha256(path: Path, expected: str) -> None:
    """Raise InvalidModelError unless a file has this SHA-256 checksum."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise InvalidModelError(f"{path.name} has the checksum {found[:12]}..., expected "
                                f"{expected[:12]}...: it is damaged or another version; delete it "
                                "and fetch it again")


def _encoder_folder(folder: str | Path | None) -> Path:
    """Return the folder of the encoder, downloaded if need be."""
    local = data_folder()
    places = [Path(folder)] if folder else [local / MINILM.split("/")[1]] if local else []
    for place in places:
        if (place / "model.safetensors").is_file():
            return place
    if folder:
        raise ModelNotFoundError(f"the folder {str(folder)!r} holds no model.safetensors; give one "
                                 f"with the files of {MINILM}")
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(MINILM, allow_patterns=list(FILES)))
    except Exception as error:  # no network, not in the cache: all kinds
        raise ModelNotFoundError(
            f"{MINILM} is not at hand ({type(error).__name__}): go online once (90 MB), or put its "
            "files in a folder all-MiniLM-L6-v2 of $TUTORLIB_DATA. HashedWords needs no download"
        ) from error


def _check_texts(texts: Sequence[str]) -> None:
    """Raise InvalidArgumentError unless there is a list of at least one text."""
    if isinstance(texts, str) or not len(texts):
        raise InvalidArgumentError("expected a list of at least one text, not a bare text")
