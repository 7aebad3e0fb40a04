"""Wrong and right answers to exercise 06.4, which its grader knows."""

from __future__ import annotations

import numpy as np
import torch

from tutorlib.exercises.maxent_irl.gradient import irl_gradient
from tutorlib.exercises.maxent_irl.gradient_answers import MUTANTS as GRADIENTS
from tutorlib.exercises.maxent_irl.worlds import shown_features
from tutorlib.grading import Mutant, Variant


def _descent(gradient=irl_gradient, sign=-1.0, least=0.0, count=None):
    """Make a descent with another gradient, direction or number of steps."""
    def solve(moves, phi, demos, start, temperature, rate, steps):
        theta = torch.full((phi.shape[1],), least, dtype=torch.float64)
        for _ in range(steps if count is None else count):
            theta = theta + sign * rate * gradient(moves, phi, theta, demos, start, temperature)
        return theta
    return solve


def _gradient_mutant(name: str):
    return _descent(next(m.answer for m in GRADIENTS if m.name == name))


def _rate_forgotten(moves, phi, demos, start, temperature, rate, steps):
    return _descent()(moves, phi, demos, start, temperature, 1.0, steps)


def _temperature_cancelled(moves, phi, demos, start, temperature, rate, steps):
    return _descent()(moves, phi, demos, start, temperature, rate * temperature, steps)


def _another_count(change):
    def solve(moves, phi, demos, start, temperature, rate, steps):
        return _descent()(moves, phi, demos, start, temperature, rate, max(0, change(steps)))
    return solve


def _planned_once(moves, phi, demos, start, temperature, rate, steps):
    gradient = irl_gradient(moves, phi, torch.zeros(phi.shape[1], dtype=torch.float64), demos,
                            start, temperature)
    theta = torch.zeros(phi.shape[1], dtype=torch.float64)
    for _ in range(steps):
        theta = theta - rate * gradient
    return theta


def _last_step_alone(moves, phi, demos, start, temperature, rate, steps):
    theta = torch.zeros(phi.shape[1], dtype=torch.float64)
    for _ in range(steps):
        theta = -rate * irl_gradient(moves, phi, theta, demos, start, temperature)
    return theta


def _no_negative_weights(moves, phi, demos, start, temperature, rate, steps):
    theta = torch.zeros(phi.shape[1], dtype=torch.float64)
    for _ in range(steps):
        slope = irl_gradient(moves, phi, theta, demos, start, temperature)
        theta = (theta - rate * slope).clamp(min=0.0)
    return theta


def _counts_as_weights(moves, phi, demos, start, temperature, rate, steps):
    return shown_features(phi, demos)


def _the_gradient(moves, phi, demos, start, temperature, rate, steps):
    theta = _descent()(moves, phi, demos, start, temperature, rate, steps)
    return irl_gradient(moves, phi, theta, demos, start, temperature)


def _the_reward(moves, phi, demos, start, temperature, rate, steps):
    return phi @ _descent()(moves, phi, demos, start, temperature, rate, steps)


MUTANTS = (
    Mutant("uphill", _descent(sign=1.0),
           "The step goes uphill: your weights run away from the demonstrations. `irl_gradient` is "
           "that of the loss, so subtract it."),
    Mutant("planned_once", _planned_once,
           "The policy in your gradient stays that of the first weights: changing the reward "
           "changes nothing, and the gap never closes. Compute the gradient anew in every step, "
           "at the present weights."),
    Mutant("demonstrations_added_up", _gradient_mutant("demonstrations_added_up"),
           "The demonstrations are added up, not averaged, so no policy can meet as many features "
           "and the weights grow for ever."),
    Mutant("shown_only", _gradient_mutant("shown_only"),
           "You raise the reward of what was shown and never subtract what the policy expects, so "
           "the weights grow for ever. It is the gap that must vanish."),
    Mutant("never_updated", _descent(count=0),
           "All weights are 0: nothing was updated, or a new zero is returned."),
    Mutant("rate_forgotten", _rate_forgotten,
           "The learning rate plays no part. Multiply the gradient by it: in the garden, steps of "
           "rate 1 jump to and fro across the minimum."),
    Mutant("temperature_cancelled", _temperature_cancelled,
           "The gradient is multiplied by the temperature, which takes its 1/λ out again. The "
           "step is the learning rate times the gradient, no more."),
    Mutant("halved", lambda m, p, d, s, t, rate, n: _descent()(m, p, d, s, t, rate / 2, n),
           "Each step is half as long as asked: it is the learning rate times the gradient."),
    Mutant("one_step_too_many", _another_count(lambda n: n + 1),
           "You take one step more than `steps`."),
    Mutant("one_step_too_few", _another_count(lambda n: n - 1),
           "One step is missing: take `steps` of them, and return the weights *after* the last."),
    Mutant("steps_ignored", _descent(count=200),
           "The number of steps is your own, not the argument `steps`."),
    Mutant("begins_at_ones", _descent(least=1.0),
           "You begin with weights of 1. The task begins with 0, where all actions are alike."),
    Mutant("one_step", _descent(count=1),
           "This is one step of descent. Repeat it `steps` times."),
    Mutant("last_step_alone", _last_step_alone,
           "Each step forgets the weights before it: write `weights = weights - ...`, not "
           "`weights = -...`."),
    Mutant("no_negative_weights", _no_negative_weights,
           "Weights below 0 are cut off, so nothing can be disliked. Rewards may be negative: "
           "shares of exp(Q/λ) do not mind."),
    Mutant("counts_as_weights", _counts_as_weights,
           "You return how often the features were met. What is often met need not be liked: it "
           "may just lie on the way. Ask which weights would make the policy meet them as often."),
    Mutant("features_on_departure", _gradient_mutant("features_on_departure"),
           "Features are counted where a step begins, and the reward is paid where it ends: R(s) "
           "against R(s'). Count t = 1 to T."),
    Mutant("returns_the_gradient", _the_gradient,
           "You return the last gradient, which is nearly 0. Return the weights."),
    Mutant("returns_the_reward", _the_reward,
           "You return the reward of each state. The weights are asked for, one per feature."),
)


def _in_numpy(moves, phi, demos, start, temperature, rate, steps):
    path = [np.zeros(phi.shape[1])]
    while len(path) <= steps:
        slope = irl_gradient(moves, phi, torch.from_numpy(path[-1]), demos, start, temperature)
        path.append(path[-1] - rate * slope.numpy())
    return path[-1]


def _in_halves(moves, phi, demos, start, temperature, rate, steps):
    """Average over minibatches that hold everything, return a list."""
    theta = torch.zeros(phi.shape[1], dtype=torch.float64)
    for _ in range(steps):
        parts = [irl_gradient(moves, phi, theta, half, start, temperature)
                 for half in demos.tensor_split(2)]
        sizes = [len(half) / len(demos) for half in demos.tensor_split(2)]
        theta -= rate * sum(s * g for s, g in zip(sizes, parts, strict=True))
    return theta.tolist()


def _gauge_fixed(moves, phi, demos, start, temperature, rate, steps):
    """Add a multiple of a direction that changes no behaviour, if the features have one."""
    theta = _descent()(moves, phi, demos, start, temperature, rate, steps)
    ones = torch.linalg.lstsq(phi, torch.ones(len(phi), 1, dtype=torch.float64)).solution[:, 0]
    constant = bool(((phi @ ones - 1).abs() < 1e-9).all())
    return theta + 7.0 * ones if constant else theta


VARIANTS = (
    Variant("numpy, all weights kept", _in_numpy),
    Variant("in halves, a list", _in_halves),
    Variant("an equivalent reward", _gauge_fixed),
)
