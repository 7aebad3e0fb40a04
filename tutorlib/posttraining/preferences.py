"""Judged pairs of answers: as token ids, as batches, and as sequence log-probabilities."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutorlib.errors import InvalidArgumentError, InvalidModelError, InvalidTextError
from tutorlib.lm import (
    encode_completions,
    encode_prompts,
    evaluating,
    pad_rows,
    rows_at_once,
    sequence_logps,
)
from tutorlib.lm.checks import check_length, first_row, vocabulary_size

Judge = Callable[[list[str], list[str], list[str]], Sequence[float]]
RewardFunction = Callable[[list[str], list[str]], Sequence[float]]


@dataclass(frozen=True)
class PreferencePair:
    """A prompt with a better and a worse answer, as token ids; ends of sequence included."""

    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PreferenceBatch:
    """Pairs as one batch, so that one forward pass scores both: first all chosen, then rejected."""

    prompt_ids: Int[Tensor, "twice_pairs prompt"]  # padded on the left; each prompt stands twice
    prompt_mask: Int[Tensor, "twice_pairs prompt"]
    completion_ids: Int[Tensor, "twice_pairs answer"]  # padded on the right
    completion_mask: Int[Tensor, "twice_pairs answer"]

    @property
    def lengths(self) -> tuple[Tensor, Tensor]:
        """How many tokens the chosen and the rejected answers have."""
        chosen, rejected = self.completion_mask.sum(1).chunk(2)
        return chosen, rejected

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what ``sequence_logps`` takes behind the model."""
        return self.prompt_ids, self.prompt_mask, self.completion_ids, self.completion_mask


def encode_preferences(tokenizer, prompts: Sequence[str], chosen: Sequence[str],
                       rejected: Sequence[str], add_special_tokens: bool = True
                       ) -> list[PreferencePair]:
    """Return pairs of answers to prompts as token ids, each closed by the end of sequence.

    Raises InvalidTextError as ``encode_prompts`` does, if there are not as many of each, or if an
    answer is preferred to itself.

    >>> from tutorlib.lm import word_tokenizer
    >>> encode_preferences(word_tokenizer(["sky", "blue", "red"]), ["sky"], ["blue"], ["red"])
    [PreferencePair(prompt_ids=(3,), chosen_ids=(4, 1), rejected_ids=(5, 1))]
    """
    if not len(prompts) == len(chosen) == len(rejected):
        raise InvalidTextError(f"there are {len(prompts)} prompts, {len(chosen)} chosen and "
                               f"{len(rejected)} rejected answers; expected as many of each")
    sides = [encode_prompts(tokenizer, prompts, add_special_tokens=add_special_tokens),
             encode_completions(tokenizer, chosen), encode_completions(tokenizer, rejected)]
    rows = [_rows(*side) for side in sides]
    for i, (better, worse) in enumerate(zip(*rows[1:], strict=True)):
        if better == worse:
            raise InvalidTextError(f"pair {i} prefers an answer to itself ({chosen[i]!r}); drop "
                                   "it: it teaches nothing")
    return [PreferencePair(*row) for row in zip(*rows, strict=True)]


def check_pairs(pairs: Sequence[PreferencePair], model: nn.Module | None = None) -> None:
    """Raise InvalidTextError for no pairs, an empty part, a pair of equals, or one too long.

    The last only if a ``model`` is given: nothing is cut to fit its context, as cutting would drop
    the end of an answer, or the very words that two answers differ in.
    """
    if not pairs:
        raise InvalidTextError("there are no pairs; give at least one")
    for i, pair in enumerate(pairs):
        if not (pair.prompt_ids and pair.chosen_ids and pair.rejected_ids):
            raise InvalidTextError(f"pair {i} has an empty part: {pair}; give at least one token "
                                   "(an empty answer is the end of sequence alone)")
        if pair.chosen_ids == pair.rejected_ids:
            raise InvalidTextError(f"pair {i} prefers an answer to itself: {pair}; drop it: it "
                                   "teaches nothing")
        if model is not None:
            longest = max(len(pair.chosen_ids), len(pair.rejected_ids))
            check_length(model, len(pair.prompt_ids) + longest, f"pair {i}, prompt and answer,")


def collate_preferences(pairs: Sequence[PreferencePair], device: torch.device | str = "cpu",
                        filler: int = 0) -> PreferenceBatch:
    """Return pairs as one batch; ``filler`` stands at masked places and never matters.

    >>> batch = collate_preferences([PreferencePair((3,), (4, 1), (5, 6, 1))])
    >>> batch.completion_ids.tolist(), [n.tolist() for n in batch.lengths]
    ([[4, 1, 0], [5, 6, 1]], [[2], [3]])
    """
    check_pairs(pairs)
    prompts = pad_rows([pair.prompt_ids for pair in pairs] * 2, "left", filler, device)
    answers = [pair.chosen_ids for pair in pairs] + [pair.rejected_ids for pair in pairs]
    return PreferenceBatch(*prompts, *pad_rows(answers, "right", filler, device))


def pair_logps(model: nn.Module, batch: PreferenceBatch, batch_size: int | None = None
               ) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Return log pi(y|x) of the chosen and of the rejected answers: sums over their tokens.

    Raises InvalidTextError for a row of padding only: its log-probability would be 0, a certainty.
    """
    if (row := first_row(~batch.completion_mask.bool().any(1))) is not None:
        raise InvalidTextError(f"answer {row} of the batch is padding only; expected a token or "
                               "more: at least the end of sequence")
    rows = rows_at_once(model) if batch_size is None else batch_size
    chosen, rejected = sequence_logps(model, *batch.tensors(), batch_size=rows).chunk(2)
    return chosen, rejected


@torch.no_grad()
def reference_logps(reference: nn.Module, pairs: Sequence[PreferencePair], batch_size: int = 64
                    ) -> Float[Tensor, "pairs two"]:
    """Return the reference's log-probabilities of chosen and rejected answers, computed once.

    The reference does not move, so this is all of it that training needs.
    """
    device, rows = next(reference.parameters()).device, []
    with evaluating(reference):
        for start in range(0, len(pairs), batch_size):
            batch = collate_preferences(pairs[start:start + batch_size], device)
            rows.append(torch.stack(pair_logps(reference, batch), 1))
    if not rows:
        raise InvalidTextError("there are no pairs; give at least one")
    return torch.cat(rows)


@torch.no_grad()
def kto_reference_point(model: nn.Module, reference: nn.Module, batch: PreferenceBatch
                        ) -> Float[Tensor, ""]:
    """Return max(0, mean of log pi/pi_ref over prompts with the answers of other prompts).

    KTO's stand-in for KL(pi || pi_ref) (Ethayarajh et al. 2024, section 4.1): each prompt is
    paired with the answer of the row before, so no answer has to be sampled. It is a biased
    estimate, as these answers do not come from pi. Raises InvalidArgumentError for a single pair.
    """
    pairs = len(batch.prompt_ids) // 2
    if pairs < 2:
        raise InvalidArgumentError("KTO's reference point mixes prompts and answers of a batch; "
                                   "give it 2 pairs or more, or use another loss")
    order = torch.arange(len(batch.prompt_ids), device=batch.prompt_ids.device)
    others = torch.cat([half.roll(1) for half in order.chunk(2)])
    mixed = (batch.prompt_ids, batch.prompt_mask, batch.completion_ids[others],
             batch.completion_mask[others])
    gaps = (sequence_logps(model, *mixed, batch_size=rows_at_once(model))
            - sequence_logps(reference, *mixed, batch_size=rows_at_once(reference)))
    return gaps.mean().clamp(min=0)


def frozen_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model that does not move: a reference, in evaluation mode."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def reference_for(model: nn.Module, reference: nn.Module | None) -> nn.Module:
    """Return the reference that was given, or the model as it is now, frozen.

    Raises InvalidArgumentError if the reference is the model itself: it would move along, and the
    KL to it would always be 0; InvalidModelError if it speaks another vocabulary.
    """
    if reference is model:
        raise InvalidArgumentError("the reference is the very model that is trained, and would move"
                                   " with it; leave it out, or pass frozen_copy(model)")
    if reference is None:
        return frozen_copy(model)
    sizes = vocabulary_size(model), vocabulary_size(reference)
    if sizes[0] != sizes[1]:
        raise InvalidModelError(
            f"the model knows {sizes[0]} tokens and the reference {sizes[1]}; expected the same "
            "vocabulary, or token ids mean different words: take a reference with the model's "
            "own tokenizer")
    return reference


def judge_by(reward: RewardFunction, temperature: float = 0.0,
             generator: torch.Generator | None = None) -> Judge:
    """Return a judge that compares two answers by a reward: above 0 if the first is better.

    At temperature 0 it says the difference of rewards, 0 for a tie. Above, it prefers the first
    with probability sigmoid(difference / temperature) (Bradley and Terry 1952) and says 1 or -1.

    >>> shorter = judge_by(lambda prompts, answers: [-len(a) for a in answers])
    >>> shorter(["sky", "sky"], ["blue", "a"], ["red", "b"])
    [-1.0, 0.0]
    """
    if temperature > 0 and generator is None:
        raise InvalidArgumentError("a judge with a temperature needs a generator: pass "
                                   "torch.Generator().manual_seed(0)")

    def judge(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
        gaps = score(reward, prompts, first) - score(reward, prompts, second)
        if temperature > 0:
            level = torch.rand(len(gaps), dtype=torch.float64, generator=generator,
                               device=generator.device).cpu()
            gaps = (torch.sigmoid(gaps / temperature) > level).double() * 2 - 1
        return gaps.tolist()

    return judge


def score(reward: RewardFunction, prompts: list[str], answers: list[str]
          ) -> Float[Tensor, " answers"]:
    """Return a reward function's numbers in float64, checked: one finite number per answer.

    >>> score(lambda prompts, answers: [len(a) for a in answers], ["sky"], ["blue"])
    tensor([4.], dtype=torch.float64)
    """
    found = reward(prompts, answers)
    values = torch.as_tensor(found, dtype=torch.float64).detach().cpu()
    if values.shape != (len(answers),) or not bool(values.isfinite().all()):
        raise InvalidArgumentError(
            f"the reward function returned shape {tuple(values.shape)}, finite: "
            f"{bool(values.isfinite().all())}; expected one finite number for each of the "
            f"{len(answers)} answers")
    return values


def _rows(ids: Tensor, mask: Tensor) -> list[tuple[int, ...]]:
    """Return the tokens that count of each row."""
    return [tuple(row[keep == 1].tolist()) for row, keep in zip(ids, mask, strict=True)]
