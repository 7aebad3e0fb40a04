"""Unit 17: five exercises on direct alignment, their graders, and the quiz."""

from tutorlib.exercises.direct_alignment.dpo import DPO_LOSS
from tutorlib.exercises.direct_alignment.implicit import IMPLICIT_REWARD
from tutorlib.exercises.direct_alignment.losses import IPO_KTO_SIMPO
from tutorlib.exercises.direct_alignment.quiz import QUIZ
from tutorlib.exercises.direct_alignment.telescope import TELESCOPING
from tutorlib.exercises.direct_alignment.unseen import UNSEEN_MASS

EXERCISES = (DPO_LOSS, IMPLICIT_REWARD, TELESCOPING, IPO_KTO_SIMPO, UNSEEN_MASS)

__all__ = ["EXERCISES", "QUIZ"]
