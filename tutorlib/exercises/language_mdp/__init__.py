"""Unit 09: four exercises on text as a decision process, their graders, and the quiz."""

from tutorlib.exercises.language_mdp.brevity import BREVITY
from tutorlib.exercises.language_mdp.logprob import SEQUENCE_LOGPROB
from tutorlib.exercises.language_mdp.quiz import QUIZ
from tutorlib.exercises.language_mdp.step import TOKEN_STEP
from tutorlib.exercises.language_mdp.values import EXACT_SOFT_VALUES

EXERCISES = (TOKEN_STEP, SEQUENCE_LOGPROB, EXACT_SOFT_VALUES, BREVITY)

__all__ = ["EXERCISES", "QUIZ"]
