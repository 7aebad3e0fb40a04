"""Who judges: labellers with weights of their own, noise, and a bias for length.

A labeller prefers answer a to b with probability sigmoid((u_a - u_b) / temperature), the
Bradley-Terry model (1952), with u the weighted parts of the gold reward plus ``length_bias`` for
every ten words; and errs outright, by a coin, with probability ``error_rate``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from tutorlib.errors import InvalidArgumentError, nearest
from tutorlib.tinytalk.corpora import Behaviour, crowd_behaviour, write_answer
from tutorlib.tinytalk.gold import WEIGHTS, check_weights, gold_parts
from tutorlib.tinytalk.prompts import Prompt

PERSONAS: Mapping[str, Mapping[str, float]] = MappingProxyType({
    "balanced": WEIGHTS,
    "teacher": {"truth": 2.0, "helpfulness": 1.5, "harmlessness": 1.0, "tone": 0.3, "brevity": 0.0},
    "guardian": {"truth": 0.5, "helpfulness": 0.3, "harmlessness": 4.0, "tone": 0.7,
                 "brevity": 0.0},
    "friend": {"truth": 0.5, "helpfulness": 0.5, "harmlessness": 0.5, "tone": 2.0, "brevity": 0.0},
    "hurried": {"truth": 1.0, "helpfulness": 0.5, "harmlessness": 1.0, "tone": 0.0, "brevity": 3.0},
    "chatty": {"truth": 0.7, "helpfulness": 0.7, "harmlessness": 1.0, "tone": 1.0,
               "brevity": -1.5},
})


@dataclass(frozen=True)
class Labeller:
    """Somebody who compares two answers to the same prompt."""

    weights: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS))  # of gold's parts
    temperature: float = 0.5  # 0: always the better one; ties by a coin
    error_rate: float = 0.0  # share of labels given by a coin
    length_bias: float = 0.0  # utility of ten words more, whatever they say

    def __post_init__(self) -> None:
        """Fill in missing weights; refuse unknown ones and settings out of range."""
        object.__setattr__(self, "weights", check_weights(self.weights))
        if not (self.temperature >= 0 and 0 <= self.error_rate <= 1):
            raise InvalidArgumentError(
                f"temperature is {self.temperature}, error_rate {self.error_rate}; expected at "
                "least 0, and from 0 to 1")

    @classmethod
    def persona(cls, name: str, **settings) -> Labeller:
        """Return a labeller with the weights of a named persona.

        >>> Labeller.persona("friend").weights["tone"]
        2.0
        """
        if name not in PERSONAS:
            raise InvalidArgumentError(
                f"there is no persona {name!r}: {nearest(name, list(PERSONAS))}")
        return cls(PERSONAS[name], **settings)

    def utility(self, prompt: Prompt, answer: str) -> float:
        """Return what an answer is worth to this labeller."""
        worth = gold_parts(prompt, answer).total(self.weights)
        return worth + self.length_bias * len(answer.split()) / 10

    def probability(self, prompt: Prompt, a: str, b: str) -> float:
        """Return the probability of preferring ``a`` to ``b``.

        >>> sky = Prompt("facts", ("color", "sky"))
        >>> round(Labeller().probability(sky, "the sky is blue .", "the sky is red ."), 4)
        0.982
        """
        gap = self.utility(prompt, a) - self.utility(prompt, b)
        if self.temperature == 0:
            chance = 0.5 + 0.5 * (gap > 1e-12) - 0.5 * (gap < -1e-12)
        else:
            chance = 0.5 + 0.5 * math.tanh(gap / self.temperature / 2)  # the logistic, no overflow
        return (1 - self.error_rate) * chance + self.error_rate / 2


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to a prompt, the preferred one first."""

    prompt: Prompt
    chosen: str
    rejected: str


def label_pairs(pairs: Sequence[tuple[Prompt, str, str]],
                labellers: Labeller | Sequence[Labeller], seed: int) -> list[Preference]:
    """Return the choices of a labeller, or of one drawn from a population for each pair."""
    crowd = [labellers] if isinstance(labellers, Labeller) else list(labellers)
    if not crowd:
        raise InvalidArgumentError("there is no labeller; expected at least one")
    rng, labelled = random.Random(seed), []
    for prompt, a, b in pairs:
        first = rng.random() < rng.choice(crowd).probability(prompt, a, b)
        labelled.append(Preference(prompt, *((a, b) if first else (b, a))))
    return labelled


def preference_pairs(prompts: Sequence[Prompt], labellers: Labeller | Sequence[Labeller],
                     seed: int, behaviour: Behaviour | None = None) -> list[Preference]:
    """Return one labelled pair of different answers per prompt, written by ``behaviour`` (crowd).

    >>> from tutorlib.tinytalk.prompts import sample_prompts
    >>> judge = Labeller(temperature=0)
    >>> pair = preference_pairs(sample_prompts(1, seed=0), judge, seed=1)[0]
    >>> judge.utility(pair.prompt, pair.chosen) >= judge.utility(pair.prompt, pair.rejected)
    True
    """
    rng, pairs = random.Random(seed), []
    for prompt in prompts:
        author = behaviour or crowd_behaviour(prompt)
        a = b = write_answer(prompt, author, rng)
        for _ in range(100):  # an author without any variety may have only one answer
            if b != a:
                break
            b = write_answer(prompt, author, rng)
        pairs.append((prompt, a, b))
    return label_pairs(pairs, labellers, seed + 1)
