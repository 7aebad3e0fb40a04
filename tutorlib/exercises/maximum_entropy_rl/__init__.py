"""Unit 03: five exercises on soft planning and the Gibbs policy, their graders, and the quiz."""

from tutorlib.exercises.maximum_entropy_rl.backup import SOFT_BACKUP
from tutorlib.exercises.maximum_entropy_rl.control import KL_CONTROL
from tutorlib.exercises.maximum_entropy_rl.gap import PERFORMANCE_GAP
from tutorlib.exercises.maximum_entropy_rl.gibbs import GIBBS_POLICY
from tutorlib.exercises.maximum_entropy_rl.iteration import SOFT_POLICY_STEP
from tutorlib.exercises.maximum_entropy_rl.quiz import QUIZ

EXERCISES = (SOFT_BACKUP, GIBBS_POLICY, SOFT_POLICY_STEP, KL_CONTROL, PERFORMANCE_GAP)

__all__ = ["EXERCISES", "QUIZ"]
