"""Exercise 06.3: the gradient of the likelihood is a gap between two counts of features."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.maxent_irl.backup import soft_backup_finite
from tutorlib.exercises.maxent_irl.visits import visitation
from tutorlib.exercises.maxent_irl.worlds import (
    normal,
    numbers,
    simplex,
    steered,
    tree_gradient,
    walk,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
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
    shown = features[demonstrations[:, 1:]].sum(1).mean(0)
    return (visits @ features - shown) / temperature


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


def shown_features(phi: Tensor, demos: Tensor) -> Float[Tensor, " features"]:
    """Return the features met on arrival, added up over time, averaged over demonstrations."""
    return phi[demos[:, 1:]].sum(1).mean(0)


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


def _luck(moves, phi, theta, demos, start, temperature):
    from tutorlib.exercises.maxent_irl.backup_answers import MUTANTS as PASSES

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
        "visits = visitation(transition_matrix, policy, initial_state_dist)\n"
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
