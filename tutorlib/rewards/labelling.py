"""Be the labeller: pairs to judge, the choices made, and a reward model of one's own taste.

This is all of it but the buttons: a session holds pairs and choices, saves and replays them as
JSON, and a linear reward is fitted to the choices on counts of words. So a taste is a worth for
each word: the reward of an answer is a sum over its words, and one sees which of them earned it;
it cannot depend on the question, and thirty choices teach no more. The fit is penalised, and the
accuracy reported is that on choices left out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, InvalidTextError
from tutorlib.rewards.embeddings import fit_linear_reward
from tutorlib.rewards.likelihoods import bradley_terry_loss
from tutorlib.tinytalk.corpora import crowd_behaviour, write_answer
from tutorlib.tinytalk.labellers import PERSONAS, Labeller, Preference, preference_pairs
from tutorlib.tinytalk.prompts import Prompt, sample_prompts

LABELS: Mapping[str, float | None] = {"left": 1.0, "right": 0.0, "tie": 0.5, "skip": None}


@dataclass(frozen=True)
class Question:
    """Which of two answers to a prompt is better?"""

    prompt: Prompt
    left: str
    right: str


class LabellingSession:
    """Questions in order, and the choices made so far."""

    def __init__(self, questions: Sequence[Question], choices: Sequence[str] = ()):
        """Begin, or go on from choices made before.

        Raises InvalidArgumentError for no questions, unknown choices, or more choices than
        questions.
        """
        if not questions:
            raise InvalidArgumentError("there are no questions; give at least one pair to judge")
        self.questions, self.choices = tuple(questions), []
        for choice in choices:
            self.choose(choice)

    @classmethod
    def new(cls, n: int = 30, seed: int = 0, split: str = "train") -> LabellingSession:
        """Return a session of ``n`` pairs written by TinyTalk's crowd, sides by a coin.

        >>> session = LabellingSession.new(3, seed=1)
        >>> session.choose("left")
        >>> session.progress
        (1, 3)
        """
        coin = Labeller(error_rate=1.0)  # decides nothing but the side
        drawn = preference_pairs(sample_prompts(2 * n + 20, seed, split), coin, seed + 1)
        distinct = [p for p in drawn if p.chosen != p.rejected][:n]
        return cls([Question(p.prompt, p.chosen, p.rejected) for p in distinct])

    @property
    def current(self) -> Question | None:
        """The question to answer now; None when all are answered."""
        done = len(self.choices)
        return self.questions[done] if done < len(self.questions) else None

    @property
    def progress(self) -> tuple[int, int]:
        """How many are answered, of how many."""
        return len(self.choices), len(self.questions)

    def choose(self, choice: str) -> None:
        """Answer the current question: "left", "right", "tie" or "skip"."""
        if choice not in LABELS:
            raise InvalidArgumentError(f"choice is {choice!r}; expected one of {', '.join(LABELS)}")
        if self.current is None:
            raise InvalidArgumentError(f"all {len(self.questions)} questions are answered; undo "
                                       "to change a choice, or begin a new session")
        self.choices.append(choice)

    def undo(self) -> None:
        """Take the last choice back; nothing happens if there is none."""
        del self.choices[-1:]

    def judged(self) -> list[tuple[Question, float]]:
        """Return the questions not skipped, each with its label: 1 left, 0 right, 0.5 a tie."""
        pairs = zip(self.questions, self.choices, strict=False)
        return [(q, LABELS[choice]) for q, choice in pairs if LABELS[choice] is not None]

    def preferences(self) -> list[Preference]:
        """Return the plain choices as preferences, the chosen answer first; ties are left out."""
        return [Preference(q.prompt, *((q.left, q.right) if label else (q.right, q.left)))
                for q, label in self.judged() if label != 0.5]

    def to_json(self) -> str:
        """Return all of the session as JSON text."""
        rows = [asdict(q) for q in self.questions]
        return json.dumps({"format": 1, "questions": rows, "choices": self.choices}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> LabellingSession:
        """Return the session that ``to_json`` wrote. Raises InvalidTextError for anything else."""
        try:
            data = json.loads(text)
            questions = [Question(Prompt(q["prompt"]["family"], tuple(q["prompt"]["content"]),
                                         q["prompt"]["instruction"]), q["left"], q["right"])
                         for q in data["questions"]]
            return cls(questions, data["choices"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidTextError(
                f"this is no saved labelling session ({type(error).__name__}: {error}); give the "
                "text or file that a session has saved") from error

    def save(self, path: str | Path) -> None:
        """Write the session to a file."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> LabellingSession:
        """Read a session from a file; errors as ``from_json``."""
        if not Path(path).is_file():
            raise InvalidTextError(f"there is no file {str(path)!r}; save a session first")
        return cls.from_json(Path(path).read_text(encoding="utf-8"))


def answer_all(session: LabellingSession, labeller: Labeller, seed: int) -> None:
    """Let a synthetic labeller answer what is left of a session."""
    rng = random.Random(seed)
    while (q := session.current) is not None:
        left = rng.random() < labeller.probability(q.prompt, q.left, q.right)
        session.choose("left" if left else "right")


@dataclass(frozen=True, eq=False)
class Taste:
    """A reward that was learned from few choices."""

    worth: Mapping[str, float]  # of a word, in nats; words that nobody judged have none
    mean: float  # of the rewards of all answers judged; subtracted
    held_out_accuracy: float  # on choices left out; ties do not count
    held_out_loss: float  # mean loss there, in nats; log 2 = 0.693 is a coin's
    choices: int  # that it was learned from

    def score(self, answers: Sequence[str]) -> Float[Tensor, " texts"]:
        """Return the reward of each answer, by this taste."""
        sums = [sum(value for _, value in self.word_rewards(answer)) for answer in answers]
        return torch.tensor(sums, dtype=torch.float64) - self.mean

    def word_rewards(self, answer: str) -> list[tuple[str, float]]:
        """Return each word of an answer with what it adds to the reward."""
        return [(word, self.worth.get(word, 0.0)) for word in answer.split()]

    def rank(self, answers: Sequence[str]) -> list[tuple[str, float]]:
        """Return answers with their rewards, best first."""
        scores = self.score(answers).tolist()
        return sorted(zip(answers, scores, strict=True), key=lambda pair: -pair[1])


def learn_taste(session: LabellingSession, penalty: float = 0.5, folds: int = 10, seed: int = 0
                ) -> Taste:
    """Return the reward that explains the choices of a session best: a moment on a laptop.

    ``penalty`` is that of ``fit_linear_reward``, on counts of words. Raises InvalidArgumentError
    for fewer than four choices that are no ties.
    """
    judged = session.judged()
    plain = sum(label != 0.5 for _, label in judged)
    if plain < 4:
        raise InvalidArgumentError(f"{plain} choices between left and right are too few to learn "
                                   "from; make at least four, better thirty")
    words = sorted({w for q, _ in judged for w in f"{q.left} {q.right}".split()})
    left, right = (_count_words([getattr(q, side) for q, _ in judged], words)
                   for side in ("left", "right"))
    labels = torch.tensor([label for _, label in judged], dtype=torch.float64)
    loss, accuracy = _cross_validate(left, right, labels, penalty, folds, seed)
    weights = fit_linear_reward(left, right, labels, penalty)
    mean = float((torch.cat([left, right]) @ weights).mean())
    return Taste(dict(zip(words, weights.tolist(), strict=True)), mean, accuracy, loss,
                 len(judged))


def taste_fitter(questions: Sequence[Question], prompts: Sequence[Prompt],
                 answers: Sequence[Sequence[str]], **settings) -> Callable[..., dict]:
    """Return the function that ``viz.AnswerComparer`` calls with the numbers judged and labels.

    It learns a taste by ``learn_taste``, which gets ``settings``, and scores ``answers[i]``, in the
    order they were drawn, to ``prompts[i]``: {"tries": [(prompt, answers, rewards), ...], "note"}.
    A few hundredths of a second for thirty choices.
    """
    names = {label: name for name, label in LABELS.items()}

    def fit(indices: Sequence[int], labels: Sequence[float]) -> dict:
        session = LabellingSession([questions[i] for i in indices], [names[y] for y in labels])
        taste = learn_taste(session, **settings)
        tries = [(prompt.text, found, taste.score(found).tolist())
                 for prompt, found in zip(prompts, answers, strict=True)]
        return {"tries": tries, "note": "Of your choices between left and right, it predicts "
                                        f"{taste.held_out_accuracy:.0%} when each is left out of "
                                        "the fit (a coin: 50%)."}

    return fit


def crowd_answers(prompt: Prompt, n: int = 8, seed: int = 0) -> list[str]:
    """Return up to ``n`` different answers as TinyTalk's crowd would write them."""
    rng, found = random.Random(seed), {}
    for _ in range(20 * n):
        found[write_answer(prompt, crowd_behaviour(prompt), rng)] = None
        if len(found) == n:
            break
    return list(found)


def likeness(session: LabellingSession, temperature: float = 0.5) -> dict[str, float]:
    """Return how well each persona explains the choices: mean log-likelihood in nats, best first.

    A coin explains each choice with log 0.5 = -0.693. Ties and skips do not count. Raises
    InvalidArgumentError if there are no choices.
    """
    chosen = session.preferences()
    if not chosen:
        raise InvalidArgumentError("there are no choices between left and right yet; make some")
    found = {}
    for name in PERSONAS:
        judge = Labeller.persona(name, temperature=temperature, error_rate=0.05)
        chances = torch.tensor([judge.probability(p.prompt, p.chosen, p.rejected) for p in chosen])
        found[name] = chances.log().mean().item()
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _count_words(answers: Sequence[str], words: Sequence[str]) -> Float[Tensor, "texts words"]:
    """Return how often each answer has each word."""
    return torch.tensor([[answer.split().count(w) for w in words] for answer in answers],
                        dtype=torch.float64)


def _cross_validate(left: Tensor, right: Tensor, labels: Tensor, l2: float, folds: int, seed: int
                    ) -> tuple[float, float]:
    """Return mean loss and accuracy on choices left out."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    gaps = torch.empty(len(labels), dtype=torch.float64)
    for part in order.tensor_split(min(folds, len(labels))):
        kept = torch.ones(len(labels), dtype=torch.bool)
        kept[part] = False
        w = fit_linear_reward(left[kept], right[kept], labels[kept], l2)
        gaps[part] = (left[part] - right[part]).double() @ w
    loss = bradley_terry_loss(gaps, torch.zeros_like(gaps), labels=labels).mean().item()
    plain = labels != 0.5
    right_way = (gaps[plain] > 0) == (labels[plain] == 1)
    return loss, right_way.double().mean().item()
