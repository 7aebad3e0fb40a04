"""Unit 02: graders for the five exercises, and the quiz."""

from tutorlib.exercises.reinforcement_learning.advantages import GAE
from tutorlib.exercises.reinforcement_learning.bug import FIND_THE_BUG
from tutorlib.exercises.reinforcement_learning.clipping import CLIP
from tutorlib.exercises.reinforcement_learning.quiz import QUIZ
from tutorlib.exercises.reinforcement_learning.reinforce import REINFORCE
from tutorlib.exercises.reinforcement_learning.targets import TD_TARGET

EXERCISES = (TD_TARGET, REINFORCE, GAE, CLIP, FIND_THE_BUG)

__all__ = ["EXERCISES", "QUIZ"]
