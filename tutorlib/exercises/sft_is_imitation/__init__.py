"""Unit 10: four exercises on supervised fine-tuning, their graders, and the quiz."""

from tutorlib.exercises.sft_is_imitation.bias import EXPOSURE_BIAS
from tutorlib.exercises.sft_is_imitation.directions import KL_DIRECTIONS
from tutorlib.exercises.sft_is_imitation.loss import SFT_LOSS
from tutorlib.exercises.sft_is_imitation.quiz import QUIZ
from tutorlib.exercises.sft_is_imitation.shift import SHIFT_AND_MASK

EXERCISES = (SHIFT_AND_MASK, SFT_LOSS, KL_DIRECTIONS, EXPOSURE_BIAS)

__all__ = ["EXERCISES", "QUIZ"]
