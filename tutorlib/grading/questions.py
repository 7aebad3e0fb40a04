"""Predictions stored at a lesson's hook, recalled in its recap, and quizzes with explanations."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from tutorlib.errors import LessonError
from tutorlib.grading.notebook import Shown
from tutorlib.grading.registry import unit_module
from tutorlib.grading.store import store


@dataclass(frozen=True)
class Question:
    """One quiz question; every option, right or wrong, has its explanation."""

    prompt: str
    options: tuple[str, ...]
    answer: int  # index of the right option
    explanations: tuple[str, ...]  # one for each option

    def __post_init__(self):
        """Refuse a question without an explanation for each option."""
        if len(self.options) < 2 or len(self.options) != len(self.explanations):
            raise LessonError(f"question {self.prompt!r}: two or more options are needed, "
                              "and one explanation for each")
        if not 0 <= self.answer < len(self.options):
            raise LessonError(f"question {self.prompt!r}: there is no option {self.answer}")


def quiz(slug: str):
    """Return a unit's quiz as a widget; answers are explained at once and stored locally."""
    from tutorlib.viz import QuizWidget

    questions = tuple(getattr(unit_module(slug), "QUIZ", ()))
    if not questions:
        raise LessonError(f"unit {slug!r} has no quiz")

    def keep(question: int, choice: int, correct: bool) -> None:
        store().save_quiz_answer(slug, question, choice, correct)

    return QuizWidget(questions, on_answer=keep)


def predict(key: str, question: str, options: list[str] | tuple[str, ...],
            choice: str | None = None):
    """Ask for a prediction before the lesson answers; return a widget that stores the choice.

    ``choice`` stores one without clicking. ``recall(key, truth)`` shows it again at the end.
    """
    from tutorlib.viz import PredictionWidget

    if choice is not None and choice not in options:
        raise LessonError(f"{choice!r} is not among the options {list(options)}")
    if choice is not None:
        store().save_prediction(key, choice)

    def keep(chosen: str) -> None:
        store().save_prediction(key, chosen)

    return PredictionWidget(question, tuple(options), chosen=store().prediction(key),
                            on_choose=keep)


def recall(key: str, truth: str) -> Shown:
    """Show the stored prediction beside what the lesson computed."""
    made = store().prediction(key)
    if made is None:
        first = "You made no prediction at the start of this lesson."
    elif made == truth:
        first = f"You predicted: {made}. You were right."
    else:
        first = f"You predicted: {made}. It came out otherwise."
    text = f"{first} Computed in this notebook: {truth}."
    return Shown(f'<p data-testid="recall">{escape(text)}</p>', text)
