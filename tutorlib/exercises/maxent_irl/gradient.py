"""Exercise 06.3: the gradient of the likelihood is a gap between two counts of features."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.maxent_irl.backup import soft_backup_finite
from tutorlib.exercises.maxent_irl.gradient_answers import MUTANTS, VARIANTS
from tutorlib.exercises.maxent_irl.visits import visitation
from tutorlib.exercises.maxent_irl.worlds import (
    normal,
    numbers,
    shown_features,
    simplex,
    steered,
    tree_gradient,
    walk,
)
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor


def irl_gradient(transition_matrix: Float[Tensor, "states actions states"],
                 features: Float[Tensor, "states features"], weights: Float[Tensor, " features"],
                 demonstrations: Int[Tensor, "n times"],
                 initial_state_dist: Float[Tensor, " states"], temperature: float
                 ) -> Float[Tensor, " features"]:
    """Return the gradient of the mean negative log-likelihood with respect to theta."""
    horizon = demonstrations.shape[1] - 1
    _, policy = soft_backup_finite(transition_matrix, features @ weights, temperature, horizon)
    visits = visitation(transition_matrix, policy, initial_state_dist)[1:].sum(0)
    return (visits @ features - shown_features(features, demonstrations)) / temperature


def by_finite_differences(transition_matrix, features, weights, demonstrations,
                          initial_state_dist, temperature):
    """Differentiate the loss itself numerically: its soft values come from the tree of futures."""
    rows, paths = features.tolist(), demonstrations.tolist()
    counts = [math.fsum(rows[s][k] for path in paths for s in path[1:]) / len(paths)
              for k in range(features.shape[1])]
    return tree_gradient(transition_matrix, features, weights, numbers(counts),
                         initial_state_dist, temperature, demonstrations.shape[1] - 1)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw processes, weights, and a handful of walks of somebody with other weights."""
    cases = []
    for states, actions, dims, temperature, horizon, n in (
            (4, 3, 2, 0.7, 3, 5), (3, 2, 2, 1.6, 4, 3), (5, 2, 3, 0.5, 2, 7)):
        moves, phi = steered(generator, states, actions), normal(generator, states, dims)
        start, theta = simplex(generator, states, sharp=3.0), normal(generator, dims)
        other = simplex(generator, horizon, states, actions, sharp=3.0)
        shown = walk(moves, other, start, n, generator)
        cases.append(Case(args=(moves, phi, theta, shown, start, temperature),
                          note=f"{n} demonstrations of {horizon} decisions"))
    return cases


def twice_the_same_is_no_news(answer, case: Case) -> str | None:
    """Every demonstration seen twice gives the same mean, hence the same gradient."""
    moves, phi, theta, shown, *rest = case.args
    once = as_tensor(answer(moves, phi, theta, shown, *rest)).double()
    twice = as_tensor(answer(moves, phi, theta, torch.cat([shown, shown]), *rest)).double()
    moved = float((once - twice).abs().max())
    if moved < 1e-5:
        return None
    return (f"when each demonstration is there twice, the gradient of the mean must not change; "
            f"an entry moves by {moved:.4g}")


def a_constant_feature_teaches_nothing(answer, case: Case) -> str | None:
    """A feature that is 1 everywhere is counted once per step by everybody."""
    moves, phi, theta, *rest = case.args
    ones = torch.ones(len(phi), 1, dtype=torch.float64)
    found = as_tensor(answer(moves, torch.cat([phi, ones], 1),
                             torch.cat([theta, ones[0]]), *rest))
    if abs(float(found[-1])) < 1e-5:
        return None
    return ("a feature that is 1 in every state is met once per step, by the demonstrator and by "
            f"the policy; its gradient must be 0, yours is {float(found[-1]):.4g}")


FORK = numbers([[[0, 1, 0], [0, 0, 1]], [[0, 1, 0]] * 2, [[0, 0, 1]] * 2])

IRL_GRADIENT = Exercise(
    id="maxent_irl.irl_gradient",
    title="The gradient is a gap",
    points=3, minutes=12, difficulty=3,
    reference=irl_gradient,
    oracle=by_finite_differences,
    rtol=1e-5, atol=1e-7,
    hand=Case(
        args=(FORK, numbers([[1, 1], [1, 0], [0, 1]]), numbers([0.5 * math.log(3), 0.0]),
              torch.tensor([[0, 1], [0, 1], [0, 2], [0, 2]]), numbers([1, 0, 0]), 0.5),
        # weights exp(R / lambda) are 3 and 1: the policy goes left with 0.75 and expects the
        # features (0.75, 0.25); shown were (0.5, 0.5); the gap (0.25, -0.25) over 0.5
        expected=numbers([0.5, -0.5]),
        note="one decision at a fork; feature 0 is on the left, feature 1 on the right; two of "
             "four demonstrations went each way"),
    cases=draw_cases,
    properties=(
        Property("the same demonstrations twice are no news", twice_the_same_is_no_news),
        Property("a constant feature teaches nothing", a_constant_feature_teaches_nothing),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Two counts of the same thing: which features does the policy of the present weights meet "
        "on its way, in expectation, and which did the demonstrators meet, on average? Where they "
        "agree the gradient is 0.",
        r"$$\nabla_\theta L = \frac{1}{\lambda}\Big(\underbrace{\sum_{t=1}^{T} \sum_{s} d_t(s)\, "
        r"\phi(s)}_{\text{expected}} - \underbrace{\frac{1}{n} \sum_{i=1}^{n} \sum_{t=1}^{T} "
        r"\phi(s_t^i)}_{\text{shown}}\Big)$$" "\n\n"
        "The reward of the present weights is `features @ weights`, `[states]`. "
        "`features[demonstrations[:, 1:]]` has shape `[n, T, features]`.",
        "```python\n"
        "horizon = demonstrations.shape[1] - 1\n"
        "_, policy = soft_backup_finite(transition_matrix, ..., temperature, horizon)\n"
        "visits = as_tensor(visitation(transition_matrix, policy, initial_state_dist))\n"
        "expected = visits[1:]...        # [features]\n"
        "shown = features[demonstrations[:, 1:]]...   # [features]\n"
        "return ...\n"
        "```",
    ),
    why=r"$\log \pi_t(a|s) = (Q_t - V_t)/\lambda$ summed along a walk telescopes to (what it was "
        r"paid $- V_0(s_0)$)$/\lambda$, up to luck that averages out. The derivative of the first "
        r"is what was shown, that of $V_0$ is what the policy expects: soft values know where the "
        r"policy goes.",
    index_names=lambda case, index: f"feature {index[0]}",
    forbidden=("tutorlib.irl.causal_loss", "tutorlib.irl.solve_causal"),
)
