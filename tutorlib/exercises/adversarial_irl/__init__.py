"""Unit 07: five exercises on imitation as a game, their graders, and the quiz."""

from tutorlib.exercises.adversarial_irl.discriminator import OPTIMAL_DISCRIMINATOR
from tutorlib.exercises.adversarial_irl.logit import AIRL_LOGIT
from tutorlib.exercises.adversarial_irl.quiz import QUIZ
from tutorlib.exercises.adversarial_irl.reward import POLICY_REWARD
from tutorlib.exercises.adversarial_irl.survival import SURVIVAL_BIAS
from tutorlib.exercises.adversarial_irl.table import F_DIVERGENCE_TABLE

EXERCISES = (F_DIVERGENCE_TABLE, OPTIMAL_DISCRIMINATOR, POLICY_REWARD, AIRL_LOGIT, SURVIVAL_BIAS)

__all__ = ["EXERCISES", "QUIZ"]
