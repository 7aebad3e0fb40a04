"""Unit 08: four exercises on learning from comparisons, their graders, and the quiz."""

from tutorlib.exercises.preference_based_rl.budget import QUERY_BUDGET
from tutorlib.exercises.preference_based_rl.cpl import CPL_LOSS
from tutorlib.exercises.preference_based_rl.labels import TREX_LABELS
from tutorlib.exercises.preference_based_rl.loss import SEGMENT_BT_LOSS
from tutorlib.exercises.preference_based_rl.quiz import QUIZ

EXERCISES = (SEGMENT_BT_LOSS, TREX_LABELS, QUERY_BUDGET, CPL_LOSS)

__all__ = ["EXERCISES", "QUIZ"]
