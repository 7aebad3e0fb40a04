"""The mistakes that published IRL code is known for, each with the answer that makes it.

A grader that has never seen a mistake cannot name it. So each of these fourteen is a mutant of some
exercise; here they are found, marked, and recognised by their own message.
"""

import pytest

from tutorlib.grading import evaluate
from tutorlib.grading.judge import FAILED
from tutorlib.grading.registry import all_exercises
from tutorlib.grading.report import Report

KNOWN = (  # the mistake in words, the exercise, the mutant, a word that its message must hold
    ("values are passed back by a hard maximum while the policy is soft",
     "maxent_irl.soft_backup_finite", "hard_max", "hard maximum"),
    ("the backward pass begins with rewards in place of zeros",
     "maxent_irl.soft_backup_finite", "terminal_initialisation", "paid twice"),
    ("visits follow the transitions from s' to s",
     "maxent_irl.visitation", "axes_transposed", "backwards"),
    ("the loop over states encloses the loop over time",
     "maxent_irl.visitation", "state_loop_outside", "Time must be the outer loop"),
    ("the policy is written down, so that another reward changes nothing",
     "maxent_irl.irl_gradient", "policy_hard_coded", "changing the reward changes nothing"),
    ("R(s) is paid where R(s') is meant",
     "maxent_irl.soft_backup_finite", "paid_on_departure", "R(s')"),
    ("nobody asks where episodes begin",
     "maxent_irl.visitation", "start_forgotten", "initial_state_dist"),
    ("the gradient points uphill",
     "maxent_irl.irl_gradient", "sign", "wrong sign"),
    ("demonstrations are added up and not averaged",
     "maxent_irl.irl_gradient", "demonstrations_added_up", "mean over demonstrations"),
    ("probabilities proportional to Q: no demonstration can be drawn from negative ones",
     "maxent_irl.soft_backup_finite", "negative_rewards_break_it", "negative"),
    ("GAIL's reward is paid where AIRL's log-odds belong",
     "adversarial_irl.policy_reward", "gail_for_airl", "log-odds"),
    ("the discriminator's labels are swapped",
     "adversarial_irl.optimal_discriminator", "labels_swapped", "labels are swapped"),
    ("episodes of variable length: a longer sum is taken for a better likeness",
     "adversarial_irl.survival_bias", "whole_return_as_likeness", "being alive"),
    ("the policy's loss reaches into the discriminator",
     "adversarial_irl.policy_reward", "leak", "discriminator"),
)
EXERCISES = {exercise.id: exercise for exercise in all_exercises()}


def test_there_are_fourteen_and_no_two_are_one():
    assert len(KNOWN) == len({mistake for mistake, *_ in KNOWN}) == 14
    assert len({(exercise, mutant) for _, exercise, mutant, _ in KNOWN}) == 14


@pytest.mark.parametrize("mistake, exercise, mutant, word", KNOWN, ids=[k[2] for k in KNOWN])
def test_a_published_mistake_is_made_and_recognised(mistake, exercise, mutant, word):
    made = [m for m in EXERCISES[exercise].mutants if m.name == mutant]
    assert len(made) == 1, f"no mutant of {exercise} makes this mistake: {mistake}"
    assert word in made[0].message
    result = evaluate(EXERCISES[exercise], made[0].answer, 11)
    assert result.outcome == FAILED and result.certain
    assert result.mistake is not None, f"{mistake}: not recognised; {result.message}"
    assert result.mistake.name == mutant and made[0].message in Report(result).text()
