"""Unit 01: graders for the five exercises, and the quiz."""

from tutorlib.exercises.markov_decision_processes.backup import BACKUP
from tutorlib.exercises.markov_decision_processes.evaluation import EVALUATION
from tutorlib.exercises.markov_decision_processes.greedy import GREEDY
from tutorlib.exercises.markov_decision_processes.occupancy import OCCUPANCY
from tutorlib.exercises.markov_decision_processes.quiz import QUIZ
from tutorlib.exercises.markov_decision_processes.table1 import MATCH_TASKS

EXERCISES = (BACKUP, EVALUATION, GREEDY, OCCUPANCY, MATCH_TASKS)

__all__ = ["EXERCISES", "QUIZ"]
