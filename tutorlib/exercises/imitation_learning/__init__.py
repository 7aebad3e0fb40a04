"""Unit 04: four exercises on imitation, their graders, and the quiz."""

from tutorlib.exercises.imitation_learning.aggregation import DAGGER_LOOP
from tutorlib.exercises.imitation_learning.loss import BC_LOSS
from tutorlib.exercises.imitation_learning.quiz import QUIZ
from tutorlib.exercises.imitation_learning.recursion import ERROR_RECURSION
from tutorlib.exercises.imitation_learning.table3 import CLASSIFY_SETTING

EXERCISES = (BC_LOSS, ERROR_RECURSION, DAGGER_LOOP, CLASSIFY_SETTING)

__all__ = ["EXERCISES", "QUIZ"]
