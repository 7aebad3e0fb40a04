"""Wrong and right answers to exercise 06.3, which its grader knows."""

from __future__ import annotations

import numpy as np
import torch

from tutorlib.exercises.maxent_irl.backup import soft_backup_finite
from tutorlib.exercises.maxent_irl.backup_answers import MUTANTS as PASSES
from tutorlib.exercises.maxent_irl.visits import visitation
from tutorlib.exercises.maxent_irl.worlds import HORIZON, TEMPERATURE, shown_features
from tutorlib.grading import Mutant, Variant


def _gap(expected=None, shown=None, scale=None, sign=1.0):
    """Make an answer from its parts: what the policy expects, what was shown, the division."""
    def solve(moves, phi, theta, demos, start, temperature):
        mine = (expected or _expected)(moves, phi, theta, demos, start, temperature)
        theirs = (shown or shown_features)(phi, demos)
        return sign * (mine - theirs) / (temperature if scale is None else scale)
    return solve


def _rows(moves, phi, theta, demos, start, temperature):
    horizon = demos.shape[1] - 1
    _, policy = soft_backup_finite(moves, phi @ theta, temperature, horizon)
    return visitation(moves, policy, start)


def _expected(moves, phi, *rest):
    return _rows(moves, phi, *rest)[1:].sum(0) @ phi


def _departing(moves, phi, *rest):
    return _rows(moves, phi, *rest)[:-1].sum(0) @ phi


def _all_rows(moves, phi, *rest):
    return _rows(moves, phi, *rest).sum(0) @ phi


def _last_row(moves, phi, *rest):
    return _rows(moves, phi, *rest)[-1] @ phi


def _uniform(moves, phi, theta, demos, start, temperature):
    return _expected(moves, phi, torch.zeros_like(theta), demos, start, temperature)


def _greedy(moves, phi, theta, demos, start, temperature):
    return _expected(moves, phi, theta, demos, start, 1e-6)


def _even_start(moves, phi, theta, demos, start, temperature):
    return _expected(moves, phi, theta, demos, torch.full_like(start, 1 / len(start)), temperature)


def _their_start(moves, phi, theta, demos, start, temperature):
    seen = torch.bincount(demos[:, 0], minlength=len(start)).double() / len(demos)
    return _expected(moves, phi, theta, demos, seen, temperature)


def _mean_over_time(moves, phi, *rest):
    return _expected(moves, phi, *rest) / (rest[1].shape[1] - 1)


def _one_decision_more(moves, phi, theta, demos, start, temperature):
    longer = torch.cat([demos, demos[:, -1:]], 1)
    return _expected(moves, phi, theta, longer, start, temperature)


def _at_temperature_1(moves, phi, theta, demos, start, temperature):
    return _expected(moves, phi, theta, demos, start, 1.0)


def _multiplied(*args):
    return _gap()(*args) * args[-1] ** 2


def _their_horizon(moves, phi, theta, demos, start, temperature):
    longer = torch.zeros(1, HORIZON + 1, dtype=torch.int64)
    return _expected(moves, phi, theta, longer, start, temperature)


def _their_temperature(*args):
    return _gap()(*args[:-1], TEMPERATURE)


def _luck(moves, phi, theta, demos, start, temperature):
    wrong = next(m.answer for m in PASSES if m.name == "luck_as_choice")
    _, policy = wrong(moves, phi @ theta, temperature, demos.shape[1] - 1)
    return visitation(moves, policy, start)[1:].sum(0) @ phi


def _per_state(moves, phi, theta, demos, start, temperature):
    visits = _rows(moves, phi, theta, demos, start, temperature)[1:].sum(0)
    seen = torch.bincount(demos[:, 1:].reshape(-1), minlength=len(start)).double() / len(demos)
    return (visits - seen) / temperature


MUTANTS = (
    Mutant("sign", _gap(sign=-1.0),
           "Every entry has the wrong sign: this is the gradient of the log-likelihood, which "
           "points uphill. The task asks for that of its negative, the loss: what the policy "
           "expects minus what was shown."),
    Mutant("demonstrations_added_up", _gap(shown=lambda phi, d: phi[d[:, 1:]].sum((0, 1))),
           "The demonstrations' features are added up over all demonstrations, while the policy's "
           "are those of one walk. Take the mean over demonstrations: `.sum(1).mean(0)`."),
    Mutant("averaged_over_time_too", _gap(shown=lambda phi, d: phi[d[:, 1:]].mean((0, 1))),
           "The demonstrations' features are averaged over time as well, the policy's are added "
           "up over the steps. Average over demonstrations, but add up over time."),
    Mutant("averaged_over_time_on_both_sides",
           _gap(_mean_over_time, lambda phi, d: phi[d[:, 1:]].mean((0, 1))),
           "Both sides are averaged over time, so the gradient is T times too small. The loss is "
           "that of a whole drive: add up over time on both sides."),
    Mutant("one_decision_too_many", _gap(_one_decision_more),
           "You plan for as many decisions as a demonstration has states. T + 1 states are joined "
           "by T decisions: `horizon = demonstrations.shape[1] - 1`."),
    Mutant("features_on_departure", _gap(_departing, lambda phi, d: phi[d[:, :-1]].sum(1).mean(0)),
           "You count the states that are left, t = 0 to T - 1. R(s') is paid on arrival: count "
           "t = 1 to T, for the policy and for the demonstrations."),
    Mutant("start_counted_too", _gap(_all_rows, lambda phi, d: phi[d].sum(1).mean(0)),
           "The state one begins in is counted as well. Nobody arrived there by a decision, and "
           "it pays nothing: count t = 1 to T on both sides."),
    Mutant("one_time_more_than_shown", _gap(_all_rows),
           "The policy's visits are added up over all T + 1 times, the demonstrations' over T. "
           "The same times on both sides: leave the first row of the visits out."),
    Mutant("shown_one_time_more", _gap(shown=lambda phi, d: phi[d].sum(1).mean(0)),
           "The demonstrations are counted at all T + 1 times, the policy's visits at T. The same "
           "times on both sides: leave the first state of each demonstration out."),
    Mutant("last_time_only", _gap(_last_row, lambda phi, d: phi[d[:, -1]].mean(0)),
           "Only the state at the end counts here. Every arrival is paid: add up t = 1 to T."),
    Mutant("temperature_missing", _gap(scale=1.0),
           "The gap is not divided by the temperature. The log-probability of a choice is "
           "(Q - V)/λ, so its derivative carries 1/λ."),
    Mutant("temperature_multiplied", _multiplied,
           "The gap is multiplied by the temperature. Log-probabilities are (Q - V)/λ: divide."),
    Mutant("planned_at_temperature_1", _gap(_at_temperature_1),
           "The policy is planned at temperature 1. Hand `temperature` on to "
           "`soft_backup_finite`: the same λ plans and divides."),
    Mutant("horizon_of_the_notebook", _gap(_their_horizon),
           "You plan for as many decisions as a drive in the garden has: is it the notebook's "
           "global `T`? Take the horizon from the data: `demonstrations.shape[1] - 1`."),
    Mutant("temperature_of_the_notebook", _their_temperature,
           "Your temperature is that of the garden: is it the notebook's global `lam`? Use the "
           "argument `temperature`."),
    Mutant("shown_on_departure", _gap(shown=lambda phi, d: phi[d[:, :-1]].sum(1).mean(0)),
           "The policy is counted on arrival, the demonstrations on departure. The same times on "
           "both sides: `demonstrations[:, 1:]`."),
    Mutant("one_demonstration", _gap(shown=lambda phi, d: phi[d[0, 1:]].sum(0)),
           "Only the first demonstration is counted. Take the mean over all."),
    Mutant("policy_hard_coded", _gap(_uniform),
           "The policy does not depend on the weights: changing the reward changes nothing, and "
           "no descent can end. Plan for the reward `features @ weights`, with these weights."),
    Mutant("hard_max", _gap(_greedy),
           "The visits are those of the best policy. Its value has corners, and its likelihood is "
           "0 at the first slip. Count where the *soft*-optimal policy goes."),
    Mutant("luck_as_choice", _gap(_luck),
           "The policy comes from the weighting of 2008, in which outcomes compete like actions. "
           "Average over chance first (your `soft_backup_finite`)."),
    Mutant("start_forgotten", _gap(_even_start),
           "The policy's walk begins anywhere, with equal chance. Begin it where episodes begin: "
           "`initial_state_dist`."),
    Mutant("start_of_the_demonstrations", _gap(_their_start),
           "The policy's walk begins where these demonstrations happened to begin. The start is "
           "known: use `initial_state_dist`."),
    Mutant("nothing_shown", lambda *args: _expected(*args) / args[-1],
           "These are the policy's expected features alone. Subtract what was demonstrated, or "
           "the descent only learns to dislike everything."),
    Mutant("shown_only", lambda m, phi, w, demos, start, lam: -shown_features(phi, demos) / lam,
           "The policy's own features are missing. Without them the reward of whatever was seen "
           "grows for ever: the gradient must vanish when policy and demonstrator agree."),
    Mutant("per_state", _per_state,
           "This is the gradient with respect to the reward of each state. One step is left of "
           "the chain rule: the weights reach the reward through `features`."),
)


def _count_first(transition_matrix, features, weights, demonstrations, initial_state_dist,
                 temperature):
    visits = _rows(transition_matrix, features, weights, demonstrations, initial_state_dist,
                   temperature)[1:].sum(0)
    seen = torch.bincount(demonstrations[:, 1:].reshape(-1), minlength=len(visits))
    gap = (visits - seen.double() / len(demonstrations)) / temperature
    return features.T @ gap


def _by_autograd(transition_matrix, features, weights, demonstrations, initial_state_dist,
                 temperature):
    with torch.enable_grad():
        theta = weights.clone().requires_grad_(True)
        horizon = demonstrations.shape[1] - 1
        values, _ = soft_backup_finite(transition_matrix, features @ theta, temperature, horizon)
        shown = features[demonstrations[:, 1:]].sum(1).mean(0)
        loss = (initial_state_dist @ values[0] - theta @ shown) / temperature
        return torch.autograd.grad(loss, theta)[0]


def _numpy(*args):
    phi, demos, temperature = args[1].numpy(), args[3].numpy(), args[5]
    visits = _rows(*args).numpy()[1:].sum(axis=0)
    shown = np.mean([phi[path[1:]].sum(axis=0) for path in demos], axis=0)
    return (visits @ phi - shown) / temperature


VARIANTS = (
    Variant("counts of states first", _count_first),
    Variant("autograd through the backward pass", _by_autograd),
    Variant("numpy", _numpy),
)
