"""Choices of real people: pairs of Anthropic's HH-RLHF, and the vectors of their texts.

Bai et al. 2022, "Training a helpful and harmless assistant", MIT licence. People compared two
replies to a conversation and marked the better one; for the harmless part, the less harmful one.

Some of the texts are offensive. So a pair does not show its text unless asked for it by name, and
no figure or message here prints any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, InvalidTextError, nearest
from tutorlib.rewards.data_files import find_data, read_json_lines
from tutorlib.rewards.embeddings import EmbeddedPairs

REPO = "Anthropic/hh-rlhf"
SUBSETS = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")
SPLITS = ("train", "test")
REPLY, QUESTION = "\n\nAssistant:", "\n\nHuman:"


@dataclass(frozen=True)
class HumanPair:
    """A conversation and two replies to it, the one that was preferred first."""

    prompt: str = field(repr=False)  # turns so far
    chosen: str = field(repr=False)
    rejected: str = field(repr=False)

    @property
    def question(self) -> str:
        """What was said last before the replies."""
        return self.prompt.rsplit(QUESTION, 1)[-1].strip()

    @property
    def words(self) -> tuple[int, int]:
        """How many words the chosen and the rejected reply have."""
        return len(self.chosen.split()), len(self.rejected.split())


def split_dialogues(chosen: str, rejected: str) -> HumanPair:
    """Return a pair from two whole conversations that part somewhere.

    The prompt is what both share, up to the beginning of the reply in which they part.
    Raises InvalidTextError if they share no such beginning.

    >>> same = "\\n\\nHuman: hello\\n\\nAssistant:"
    >>> pair = split_dialogues(same + " hi .", same + " well .")
    >>> pair.question, pair.chosen, pair.rejected
    ('hello', 'hi .', 'well .')
    """
    start = chosen.rfind(REPLY, 0, _shared(chosen, rejected))
    if start < 0:
        raise InvalidTextError("the two conversations share no beginning up to a reply; expected "
                               f"both to hold {REPLY!r} behind the same words")
    return HumanPair(chosen[:start], *(text[start + len(REPLY):].strip()
                                       for text in (chosen, rejected)))


def load_human_pairs(subset: str = "harmless-base", split: str = "test",
                     limit: int | None = None) -> list[HumanPair]:
    """Return pairs of HH-RLHF, in the order of the file, without those of two equal replies.

    Looked for in ``$TUTORLIB_DATA`` (as hh_harmless_base_test.jsonl.gz, or as on the Hub:
    harmless-base/test.jsonl.gz), then in the cache and on the Hub. Raises DataNotFoundError when
    it is nowhere; InvalidArgumentError for an unknown subset or split, InvalidTextError for a
    damaged file.
    """
    if subset not in SUBSETS or split not in SPLITS:
        raise InvalidArgumentError(f"there is no part {subset!r} with split {split!r}: "
                                   f"{nearest(subset, SUBSETS)} Splits: {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise InvalidArgumentError(f"limit is {limit}; expected 1 or more, or None for all")
    flat, there = f"hh_{subset.replace('-', '_')}_{split}.jsonl", f"{subset}/{split}.jsonl"
    path = find_data([name + end for name in (flat, there) for end in (".gz", "")], REPO,
                     f"{there}.gz")
    pairs = (split_dialogues(record["chosen"], record["rejected"])
             for record in read_json_lines(path, ("chosen", "rejected")))
    return list(islice((p for p in pairs if p.chosen != p.rejected), limit))


def embed_pairs(pairs: Sequence[HumanPair],
                encode: Callable[[Sequence[str]], Float[Tensor, "texts inputs"]],
                with_question: bool = True) -> EmbeddedPairs:
    """Return the vectors of replies, by any function from texts to vectors.

    ``with_question`` puts what was asked in front of each reply, so that a reward may depend on
    it; without it, vectors are of the reply alone.
    """
    if not pairs:
        raise InvalidArgumentError("there are no pairs to embed; give at least one")
    fronts = [f"{p.question}\n" if with_question else "" for p in pairs]
    sides = [[front + getattr(p, side) for front, p in zip(fronts, pairs, strict=True)]
             for side in ("chosen", "rejected")]
    return EmbeddedPairs(*(encode(texts) for texts in sides))


def save_embedded(pairs: EmbeddedPairs, path: str | Path, source: str) -> None:
    """Write vectors of pairs to a safetensors file; ``source`` names the texts and encoder."""
    from safetensors.torch import save_file

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    tensors = {"chosen": pairs.chosen.contiguous(), "rejected": pairs.rejected.contiguous()}
    save_file(tensors, str(path), {"source": source})


def load_embedded(path: str | Path, source: str) -> EmbeddedPairs:
    """Read vectors that ``save_embedded`` wrote of the same source.

    Raises InvalidArgumentError if the file is of another source, or is no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            found = (file.metadata() or {}).get("source")
            if found != source:
                raise InvalidArgumentError(f"{Path(path).name} holds vectors of {found!r}, not of "
                                           f"{source!r}; embed anew")
            return EmbeddedPairs(file.get_tensor("chosen"), file.get_tensor("rejected"))
    except (SafetensorError, OSError) as error:
        raise InvalidArgumentError(f"{Path(path).name} cannot be read ({type(error).__name__}); "
                                   "embed anew") from error


def split_pairs(pairs: EmbeddedPairs, share: float, generator: torch.Generator
                ) -> tuple[EmbeddedPairs, EmbeddedPairs]:
    """Return pairs in two random parts, the first with this share of them.

    >>> ten = EmbeddedPairs(torch.ones(10, 1), torch.zeros(10, 1))
    >>> [len(part) for part in split_pairs(ten, 0.8, torch.Generator().manual_seed(0))]
    [8, 2]
    """
    first = round(share * len(pairs))
    if not 0 < first < len(pairs):
        raise InvalidArgumentError(f"a share of {share} of {len(pairs)} pairs leaves one part "
                                   "empty; expected a share between 0 and 1, of enough pairs")
    order = torch.randperm(len(pairs), generator=generator)
    return pairs[order[:first]], pairs[order[first:]]


def _shared(a: str, b: str) -> int:
    """Return how many characters two texts begin with in common."""
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(a, b, strict=False)))
