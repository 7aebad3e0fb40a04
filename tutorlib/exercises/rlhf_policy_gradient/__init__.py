"""Unit 16: five exercises on policy gradients for language models, their graders, and the quiz."""

from tutorlib.exercises.rlhf_policy_gradient.advantage import RLOO_ADVANTAGE
from tutorlib.exercises.rlhf_policy_gradient.estimators import KL_ESTIMATORS
from tutorlib.exercises.rlhf_policy_gradient.optimum import KL_REGULARISED_OPTIMUM
from tutorlib.exercises.rlhf_policy_gradient.pay import TOKEN_REWARDS
from tutorlib.exercises.rlhf_policy_gradient.ppo import PPO_TOKEN_LOSS
from tutorlib.exercises.rlhf_policy_gradient.quiz import QUIZ

EXERCISES = (KL_REGULARISED_OPTIMUM, RLOO_ADVANTAGE, KL_ESTIMATORS, TOKEN_REWARDS, PPO_TOKEN_LOSS)

__all__ = ["EXERCISES", "QUIZ"]
