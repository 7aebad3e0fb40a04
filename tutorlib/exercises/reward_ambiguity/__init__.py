"""Unit 05: five exercises on what behaviour reveals of a reward, their graders, and the quiz."""

from tutorlib.exercises.reward_ambiguity.explains import EXPLAINS
from tutorlib.exercises.reward_ambiguity.family import REWARD_FAMILY
from tutorlib.exercises.reward_ambiguity.projection import PROJECTION_STEP
from tutorlib.exercises.reward_ambiguity.quiz import QUIZ
from tutorlib.exercises.reward_ambiguity.rank import RANK_TEST
from tutorlib.exercises.reward_ambiguity.shaping import SHAPE_REWARD

EXERCISES = (EXPLAINS, SHAPE_REWARD, PROJECTION_STEP, REWARD_FAMILY, RANK_TEST)

__all__ = ["EXERCISES", "QUIZ"]
