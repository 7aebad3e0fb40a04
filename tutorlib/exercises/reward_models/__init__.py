"""Unit 11: five exercises on reward models, their graders, and the quiz."""

from tutorlib.exercises.reward_models.bt import BT_LOSS
from tutorlib.exercises.reward_models.calibration import CALIBRATION_CURVE
from tutorlib.exercises.reward_models.head import REWARD_HEAD
from tutorlib.exercises.reward_models.quality import ANNOTATION_QUALITY
from tutorlib.exercises.reward_models.quiz import QUIZ
from tutorlib.exercises.reward_models.ranking import PLACKETT_LUCE

EXERCISES = (BT_LOSS, ANNOTATION_QUALITY, PLACKETT_LUCE, REWARD_HEAD, CALIBRATION_CURVE)

__all__ = ["EXERCISES", "QUIZ"]
