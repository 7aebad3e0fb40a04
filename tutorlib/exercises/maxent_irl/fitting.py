"""Exercise 06.4: descend, and judge the reward by what it makes one do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.maxent_irl.backup import soft_backup_finite
from tutorlib.exercises.maxent_irl.fitting_answers import MUTANTS, VARIANTS
from tutorlib.exercises.maxent_irl.gradient import FORK, irl_gradient
from tutorlib.exercises.maxent_irl.worlds import (
    normal,
    numbers,
    shown_features,
    simplex,
    steered,
    tree_gradient,
    tree_loss,
    tree_visits,
    walk,
)
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor

TOLERANCE = 0.01  # how far the chance of being in a state at a time may be off at the minimum
EXACT = 1e-4  # and after a few steps, which leave no choice


def fit_reward(transition_matrix: Float[Tensor, "states actions states"],
               features: Float[Tensor, "states features"], demonstrations: Int[Tensor, "n times"],
               initial_state_dist: Float[Tensor, " states"], temperature: float,
               learning_rate: float, steps: int) -> Float[Tensor, " features"]:
    """Return weights after ``steps`` of gradient descent from 0."""
    weights = torch.zeros(features.shape[1], dtype=torch.float64)
    for _ in range(steps):
        weights = weights - learning_rate * irl_gradient(
            transition_matrix, features, weights, demonstrations, initial_state_dist, temperature)
    return weights


@dataclass(frozen=True, repr=False)
class Wanted:
    """What weights must lead to: where the best-fitting policy is at each time."""

    transition_matrix: Tensor
    features: Tensor
    initial_state_dist: Tensor
    temperature: float
    visits: Tensor  # [times, states]
    tolerance: float = TOLERANCE
    sought: str = "the best fit"

    def __repr__(self) -> str:
        """Say it in the learner's report."""
        last = [round(float(p), 3) for p in self.visits[-1]]
        return f"any weights whose policy ends in the states with the chances {last}"


def same_behaviour(got, want: Wanted) -> str | None:
    """Compare by what the weights make one do, never by the weights: many are equivalent."""
    if isinstance(got, Wanted):
        visits = got.visits
    else:
        weights = as_tensor(got)
        size = want.features.shape[1]
        if weights is None or weights.shape != (size,) or not bool(weights.isfinite().all()):
            found = type(got).__name__ if weights is None else weights.tolist()
            return f"expected {size} finite weights, one per feature; got {found}"
        visits = tree_visits(want.transition_matrix, want.features @ weights.double(),
                             want.initial_state_dist, want.temperature, len(want.visits) - 1)
    wrong = (visits - want.visits).abs()
    if float(wrong.max()) <= want.tolerance:
        return None
    time, state = (int(i) for i in (wrong == wrong.max()).nonzero()[0])
    return (f"with these weights the policy is at time {time} in state {state} with chance "
            f"{float(visits[time, state]):.4g}; {want.sought} has "
            f"{float(want.visits[time, state]):.4g} (weights are compared by behaviour, to "
            f"{want.tolerance:g})")


def by_differences(transition_matrix, features, demonstrations, initial_state_dist, temperature,
                   learning_rate, steps) -> Wanted:
    """Descend along finite differences if the steps are few; else ask where every descent ends."""
    args = (transition_matrix, features, demonstrations, initial_state_dist, temperature)
    if steps > 5:
        return newton(*args)
    known = (initial_state_dist, temperature, demonstrations.shape[1] - 1)
    theta = torch.zeros(features.shape[1], dtype=torch.float64)
    for _ in range(steps):
        theta = theta - learning_rate * tree_gradient(
            transition_matrix, features, theta, shown_features(features, demonstrations), *known)
    visits = tree_visits(transition_matrix, features @ theta, *known)
    return Wanted(transition_matrix, features, initial_state_dist, temperature, visits, EXACT,
                  f"descent from 0 after steps={steps} at learning_rate={learning_rate:g}")


def newton(transition_matrix, features, demonstrations, initial_state_dist, temperature,
           ) -> Wanted:
    """Minimise the loss by Newton's method on finite differences of the tree's soft values."""
    known = (shown_features(features, demonstrations), initial_state_dist, temperature,
             demonstrations.shape[1] - 1)
    theta = torch.zeros(features.shape[1], dtype=torch.float64)
    for _ in range(20):
        slope = tree_gradient(transition_matrix, features, theta, *known)
        step = torch.linalg.pinv(_curvature(transition_matrix, features, theta, *known),
                                 rtol=1e-4) @ slope
        here, size = tree_loss(transition_matrix, features, theta, *known), 1.0
        while size > 1e-3 and tree_loss(
                transition_matrix, features, theta - size * step, *known) > here:
            size /= 2
        theta = theta - size * step
        if float(step.abs().max()) < 1e-4:
            break
    visits = tree_visits(transition_matrix, features @ theta, *known[1:])
    return Wanted(transition_matrix, features, initial_state_dist, temperature, visits)


def _curvature(moves, phi, theta, *known) -> Tensor:
    """Return the loss's second derivatives by differences of its gradient."""
    slope = tree_gradient(moves, phi, theta, *known)
    axes = torch.eye(len(theta), dtype=torch.float64)
    rows = [tree_gradient(moves, phi, theta + 1e-3 * axis, *known) - slope for axis in axes]
    return torch.stack(rows) / 1e-3


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw walks of somebody with likes and dislikes; 50 steps reach the end, 0 to 2 do not."""
    cases = []
    for states, actions, temperature, horizon, rate, steps in (
            (4, 2, 1.0, 2, 0.7, 50), (5, 2, 0.6, 2, 0.7, 50), (4, 3, 1.5, 3, 0.7, 50),
            (4, 2, 0.6, 2, 0.4, 1), (5, 2, 1.4, 2, 0.25, 2), (4, 2, 0.8, 2, 0.5, 0)):
        moves = steered(generator, states, actions, sure=0.85)
        phi, start = normal(generator, states, 2), simplex(generator, states)
        likes = temperature * (normal(generator, 2) - 0.3).clamp(-1, 1)
        phi, likes = _evened(moves, phi, likes, start, temperature, horizon)
        _, policy = soft_backup_finite(moves, phi @ likes, temperature, horizon)
        shown = walk(moves, policy, start, 200, generator)
        cases.append(Case(args=(moves, phi, shown, start, temperature, rate, steps),
                          note=f"200 demonstrations, {steps} steps of rate {rate:g}"))
    return cases


def _evened(moves, phi, likes, *known) -> tuple[Tensor, Tensor]:
    """Return features for which the loss is equally curved in all directions, and the weights."""
    none = torch.zeros_like(likes)  # the curvature does not depend on what was shown
    sizes, axes = torch.linalg.eigh(_curvature(moves, phi, likes, none, *known))
    root = axes * sizes.clamp(min=1e-3).sqrt()
    return torch.linalg.solve(root, phi.T).T, root.T @ likes


def what_was_never_shown_is_not_liked(answer, case: Case) -> str | None:
    """At a fork where all but one went left, left must be worth more."""
    shown = torch.tensor([[0, 1]] * 7 + [[0, 2]])
    args = (FORK, numbers([[0, 0], [1, 0], [0, 1]]), shown, numbers([1, 0, 0]), 1.0, 1.0, 60)
    left, right = as_tensor(answer(*args)).double().tolist()
    share = 1 / (1 + math.exp(min(50.0, right - left)))
    if abs(share - 7 / 8) < 0.02:
        return None
    return (f"at a fork where 7 of 8 demonstrations go left, your weights go left with "
            f"{share:.3f}")


def show_the_fork(answer):
    """Draw what weights are learned from more and more lopsided demonstrations."""
    from tutorlib.viz import bars

    phi = numbers([[0, 0], [1, 0], [0, 1]])
    shares, learned = [0.5, 0.6, 0.75, 0.9], []
    for share in shares:
        left = round(20 * share)
        shown = torch.tensor([[0, 1]] * left + [[0, 2]] * (20 - left))
        weights = as_tensor(answer(FORK, phi, shown, numbers([1, 0, 0]), 1.0, 1.0, 150)).double()
        learned.append(float(weights[0] - weights[1]))
    exact = [math.log(s / (1 - s)) for s in shares]
    return bars({"yours": learned, "log-odds": exact}, groups=[f"{s:.0%} left" for s in shares],
                ylabel="reward left minus reward right", xlabel="shown at a fork",
                title=f"What is chosen with {shares[-1]:.0%} is worth {learned[-1]:.2f} more: "
                      "the log-odds")


FIT_REWARD = Exercise(
    id="maxent_irl.fit_reward",
    title="Fit the reward",
    points=3, minutes=10, difficulty=3,
    reference=fit_reward,
    oracle=by_differences,
    compare=same_behaviour,
    rtol=1e-5, atol=1e-7,
    time_limit=15.0,  # whoever descends with torch.optim waits for its first import
    hand=Case(
        args=(FORK, numbers([[0, 0], [1, 0], [0, 1]]),
              torch.tensor([[0, 1]] * 3 + [[0, 2]]), numbers([1, 0, 0]), 1.0, 1.0, 40),
        # three of four went left: any weights with a difference of log 3
        expected=Wanted(FORK, numbers([[0, 0], [1, 0], [0, 1]]), numbers([1, 0, 0]), 1.0,
                        numbers([[1, 0, 0], [0, 0.75, 0.25]])),
        note="three of four demonstrations go left at a fork; every pair of weights with a "
             "difference of log 3 is right"),
    cases=draw_cases,
    properties=(Property("shown shares become log-odds", what_was_never_shown_is_not_liked),),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "The loss is convex, so plain gradient descent finds its minimum: begin anywhere, say at "
        "0, and step against the gradient. The gradient changes with the weights.",
        r"$$\theta \leftarrow \theta - \alpha\, \nabla_\theta L(\theta), \qquad "
        r"\alpha = \texttt{learning\_rate}, \text{ repeated } \texttt{steps} \text{ times}$$",
        "```python\n"
        "weights = torch.zeros(features.shape[1], dtype=torch.float64)\n"
        "for _ in range(steps):\n"
        "    gradient = irl_gradient(...)   # at the present weights\n"
        "    weights = ...\n"
        "return weights\n"
        "```",
    ),
    why="The loss is a log-sum-exp minus a linear function, hence convex: there is one behaviour "
        "at the bottom, and every descent ends in it. The weights there need not be unique: a "
        "reward of 1 for everything changes no choice, so the check compares behaviour.",
    figure=show_the_fork,
    forbidden=("tutorlib.irl.fit_reward",),
)
