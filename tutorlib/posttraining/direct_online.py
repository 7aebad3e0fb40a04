"""Direct alignment on-policy: the policy writes the answers, a judge compares, and it goes on.

In every round the policy answers each prompt twice, and ``train_direct`` runs on the pairs that
came of it. The reference stays that of the start (iterative DPO: Xiong et al. 2023; online DPO:
Guo et al. 2024, who take one step per batch: rounds of one batch each do that).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from tutorlib.errors import InvalidArgumentError
from tutorlib.lm import SamplingSettings, encode_prompts, sample
from tutorlib.lm.checks import check_count
from tutorlib.posttraining.direct_training import DirectSettings, train_direct
from tutorlib.posttraining.preferences import Judge, PreferencePair, reference_for
from tutorlib.posttraining.steps import draw_prompts


@dataclass(frozen=True)
class OnlineSettings:
    """How pairs come about when the policy writes the answers itself."""

    rounds: int = 4  # of answering, judging and training
    prompts_per_round: int = 64  # drawn without repetition while there are enough
    sampling: SamplingSettings = field(  # of the answers; two are drawn to each prompt
        default_factory=lambda: SamplingSettings(num_generations=2))
    direct: DirectSettings = field(default_factory=DirectSettings)  # of the training in each round
    add_special_tokens: bool = True  # False for prompts that spell them out, as chat templates do

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        check_count("rounds", self.rounds)
        check_count("prompts_per_round", self.prompts_per_round)
        if self.sampling.num_generations != 2 or self.sampling.greedy:
            raise InvalidArgumentError("a pair is two sampled answers: expected num_generations=2 "
                                       "and greedy=False")


def train_direct_online(model: nn.Module, tokenizer, prompts: Sequence[str], judge: Judge,
                        settings: OnlineSettings, generator: torch.Generator,
                        reference: nn.Module | None = None,
                        report: Callable[[dict], None] | None = None) -> list[dict]:
    """Train ``model`` in place on its own answers, judged; return the records of all steps.

    ``judge(prompts, first, second)`` returns a number for each pair of answers: above 0 if the
    first is better, below if the second, 0 for a tie, which is dropped as are equal answers;
    ``judge_by`` makes one of a reward. Records are those of ``train_direct`` with ``round`` and
    ``pairs``, the number of pairs that were left; a round in which none were is skipped.

    >>> from tutorlib.lm import tiny_model, word_tokenizer
    >>> from tutorlib.posttraining import judge_by
    >>> tokenizer = word_tokenizer(["sky", "blue", "red"])
    >>> history = train_direct_online(
    ...     tiny_model(tokenizer), tokenizer, ["sky"] * 8,
    ...     judge_by(lambda prompts, answers: [len(a) for a in answers]),
    ...     OnlineSettings(2, prompts_per_round=8, sampling=SamplingSettings(4, num_generations=2)),
    ...     torch.Generator().manual_seed(0))
    >>> [record["round"] for record in history]
    [0, 1]
    """
    reference = reference_for(model, reference)
    history = []
    for number in range(settings.rounds):
        chosen = draw_prompts(prompts, settings.prompts_per_round, generator)
        pairs = judged_pairs(model, tokenizer, chosen, judge, settings.sampling, generator,
                             settings.add_special_tokens)

        def noted(record: dict, number: int = number, count: int = len(pairs)) -> None:
            history.append({"round": number, "pairs": count, **record})
            if report is not None:
                report(history[-1])

        if len(pairs) >= (2 if settings.direct.loss == "kto" else 1):
            train_direct(model, pairs, settings.direct, generator, reference, report=noted)
    return history


def judged_pairs(model: nn.Module, tokenizer, prompts: list[str], judge: Judge,
                 sampling: SamplingSettings, generator: torch.Generator,
                 add_special_tokens: bool = True) -> list[PreferencePair]:
    """Return pairs of the model's own answers in the judge's order, without ties."""
    device = next(model.parameters()).device
    ids, mask = encode_prompts(tokenizer, prompts, device, add_special_tokens)
    drawn = sample(model, ids, mask, sampling, generator)
    answers = [tuple(row[keep == 1].tolist())
               for row, keep in zip(drawn.completion_ids, drawn.completion_mask, strict=True)]
    texts = drawn.texts(tokenizer)
    verdicts = _checked(judge(prompts, texts[::2], texts[1::2]), len(prompts))
    pairs = []
    for i, verdict in enumerate(verdicts):
        first, second = answers[2 * i:2 * i + 2]
        if verdict != 0 and first != second:
            prompt = tuple(ids[i][mask[i] == 1].tolist())
            order = (first, second) if verdict > 0 else (second, first)
            pairs.append(PreferencePair(prompt, *order))
    return pairs


def _checked(verdicts: Sequence[float], count: int) -> list[float]:
    """Return a judge's numbers; raise InvalidArgumentError unless there is one for each pair."""
    verdicts = list(verdicts)
    if any(isinstance(v, bool) for v in verdicts):
        raise InvalidArgumentError("the judge returned True or False; expected a number above 0 "
                                   "where the first answer is better and below 0 where the second "
                                   "is: False would count as a tie")
    numbers = [float(v) for v in verdicts]
    if len(numbers) != count or any(v != v for v in numbers):
        raise InvalidArgumentError(f"the judge returned {len(numbers)} numbers, {numbers[:8]}; "
                                   f"expected one for each of {count} pairs, and no NaN")
    return numbers
