"""Unit 06: five exercises on maximum-entropy IRL, their graders, and the quiz."""

from tutorlib.exercises.maxent_irl.backup import SOFT_BACKUP_FINITE
from tutorlib.exercises.maxent_irl.debugging import DEBUG
from tutorlib.exercises.maxent_irl.fitting import FIT_REWARD
from tutorlib.exercises.maxent_irl.gradient import IRL_GRADIENT
from tutorlib.exercises.maxent_irl.quiz import QUIZ
from tutorlib.exercises.maxent_irl.visits import VISITATION

EXERCISES = (SOFT_BACKUP_FINITE, VISITATION, IRL_GRADIENT, FIT_REWARD, DEBUG)

__all__ = ["EXERCISES", "QUIZ"]
