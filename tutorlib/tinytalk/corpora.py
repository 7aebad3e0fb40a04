"""Texts of TinyTalk, made from seeds and never stored.

- *pretraining*: dialogues of mixed quality (right and wrong, polite and rude, safe and unsafe,
  terse and padded) and plain statements. How good an answer is depends on the instruction in front
  of its prompt, so prompting changes a model's behaviour before any alignment does.
- *demonstrations*: by a good author who is not perfect.
- *preference pairs*: two answers and a labeller's choice: see ``labellers``.

Pretraining covers all facts, also in dialogues: that a fact is held out means that nobody aligned
the model on its question. All other held-out content occurs nowhere before it is asked for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from tutorlib.errors import InvalidArgumentError
from tutorlib.tinytalk.answers import (
    OPENINGS,
    partial_content,
    right_content,
    state_fact,
    work_out,
    wrong_content,
)
from tutorlib.tinytalk.prompts import (
    FAMILIES,
    Prompt,
    additions,
    contents,
    draw_content,
    sample_prompts,
)
from tutorlib.tinytalk.words import CLOSERS, FILLERS, INSTRUCTIONS


@dataclass(frozen=True)
class Behaviour:
    """How an author answers: probabilities of what is said and how it is said."""

    right: float  # of the right content; to unsafe requests, of refusing
    partial: float  # of a true but incomplete or evasive content; the rest is wrong
    polite: float  # of a polite opener
    rude: float  # of a rude opener; otherwise none
    padded: float  # of each further filler, up to three, and of a closer
    worked: float = 1.0  # of showing the steps of a calculation, when right or wrong

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        pairs = (self.right + self.partial, self.polite + self.rude, self.padded, self.worked)
        if min(self.right, self.partial, self.polite, self.rude, *pairs) < 0 or max(pairs) > 1:
            raise InvalidArgumentError(f"{self} holds no probabilities: each from 0 to 1, also "
                                       "right + partial and polite + rude")


_ALL_FACTS = contents("facts", "train") + contents("facts", "heldout")
CROWD = Behaviour(right=0.5, partial=0.15, polite=0.25, rude=0.3, padded=0.35, worked=0.45)
AUTHOR = Behaviour(right=0.9, partial=0.06, polite=0.85, rude=0.02, padded=0.08, worked=0.95)
# what an instruction changes in the crowd's behaviour, family by family where it differs
_INSTRUCTED = {
    "please ,": {None: {"polite": 0.65, "rude": 0.05}},
    "be brief :": {None: {"padded": 0.05}, "arithmetic": {"padded": 0.05, "worked": 0.1}},
    "be careful :": {"facts": {"right": 0.75}, "summary": {"right": 0.7},
                     "unsafe": {"right": 0.8, "partial": 0.0},
                     "howto": {"right": 0.4, "partial": 0.5}},  # careful to the point of refusing
    "step by step :": {"arithmetic": {"worked": 0.97}, "howto": {"right": 0.75},
                       None: {"padded": 0.6}},
}


def crowd_behaviour(prompt: Prompt) -> Behaviour:
    """Return how the crowd that wrote the pretraining corpus answers a prompt.

    Worked calculations come out right more often than bare results: see ``_content``.
    """
    return _instructed(prompt.instruction, prompt.family)


@cache
def _instructed(instruction: str, family: str) -> Behaviour:
    changes = _INSTRUCTED.get(instruction, {})
    return replace(CROWD, **changes.get(family, changes.get(None, {})))


def write_answer(prompt: Prompt, behaviour: Behaviour, rng: random.Random) -> str:
    """Return an answer as an author of this behaviour gives it.

    >>> never = Behaviour(right=1, partial=0, polite=0, rude=0, padded=0)
    >>> write_answer(Prompt("facts", ("color", "sky")), never, random.Random(0))
    'the sky is blue .'
    """
    content = _content(prompt, behaviour, rng)
    return " ".join([*_before(content, behaviour, rng), content, *_after(behaviour, rng)])


def _content(prompt: Prompt, behaviour: Behaviour, rng: random.Random) -> str:
    """Draw a right, partial or wrong content."""
    draw, right, partial, worked = rng.random(), behaviour.right, behaviour.partial, True
    if prompt.family == "arithmetic":
        worked = rng.random() < behaviour.worked
        if worked:  # whoever writes the steps down errs less
            right, partial = min(1.0, 1.2 * behaviour.right), 0.0
        else:
            right, partial = 0.0, 0.7 * (behaviour.right + behaviour.partial)
    if prompt.family == "unsafe":
        partial = 0.0  # one refuses or helps
    if draw < right:
        return right_content(prompt)
    if draw < right + partial:
        return partial_content(prompt, rng)
    return wrong_content(prompt, rng, worked)


def _before(content: str, behaviour: Behaviour, rng: random.Random) -> list[str]:
    """Draw an opener that suits the content, and fillers."""
    draw, refuses = rng.random(), content.startswith("i cannot")
    phrases = []
    if draw < behaviour.polite:
        phrases.append(rng.choice(OPENINGS["sorry" if refuses else "polite"]))
    elif draw < behaviour.polite + behaviour.rude:
        phrases.append(rng.choice(OPENINGS["dismissive" if refuses else "rude"]))
    while len(phrases) < 3 and rng.random() < behaviour.padded:
        phrases.append(rng.choice(FILLERS))
    return phrases


def _after(behaviour: Behaviour, rng: random.Random) -> list[str]:
    return [rng.choice(CLOSERS)] if rng.random() < behaviour.padded else []


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A prompt and an answer."""

    prompt: Prompt
    answer: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The dialogue as a conversation, for a tokenizer's chat template."""
        return [*self.prompt.chat, {"role": "assistant", "content": self.answer}]


def crowd_dialogues(n: int, seed: int, instructions: Sequence[str] = INSTRUCTIONS
                    ) -> list[Dialogue]:
    """Return ``n`` dialogues of the pretraining corpus; half of their prompts are plain."""
    rng = random.Random(seed)
    dialogues = []
    for _ in range(n):
        family = rng.choice(FAMILIES)
        plain = rng.random() < 0.5
        known = family == "facts"
        content = rng.choice(_ALL_FACTS) if known else draw_content(rng, family, "train")
        prompt = Prompt(family, content, "" if plain else rng.choice(instructions))
        dialogues.append(Dialogue(prompt, write_answer(prompt, crowd_behaviour(prompt), rng)))
    return dialogues


def statements(n: int, seed: int) -> list[str]:
    """Return ``n`` texts of two plain statements each: facts (all of them) and additions (train).

    >>> statements(1, seed=2)
    ['7 + 9 = 16 . the opposite of wet is dry .']
    """
    rng = random.Random(seed)
    sums = contents("arithmetic", "train")

    def one() -> str:
        if rng.random() < 0.3:  # there are far more additions than facts to learn
            return state_fact(rng.choice(_ALL_FACTS))
        return work_out(additions(rng.choice(sums)))

    return [f"{one()} {one()}" for _ in range(n)]


def demonstrations(n: int, seed: int, behaviour: Behaviour = AUTHOR,
                   split: str = "train") -> list[Dialogue]:
    """Return ``n`` dialogues by a good author who is not perfect, on plain prompts.

    >>> demonstrations(1, seed=0)[0].answer
    'sorry , it is like this , i cannot help with that .'
    """
    rng = random.Random(seed)
    return [Dialogue(prompt, write_answer(prompt, behaviour, rng))
            for prompt in sample_prompts(n, seed, split)]
