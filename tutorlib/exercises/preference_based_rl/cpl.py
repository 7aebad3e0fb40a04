"""Exercise 08.4: contrastive preference learning, a policy in the place of the reward."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import torch

from tutorlib.exercises.preference_based_rl.cpl_answers import (
    MUTANTS,
    VARIANTS,
    cpl_loss,
    gap_of_sums,
)
from tutorlib.exercises.preference_based_rl.worlds import normal, numbers
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor


def by_products_of_chances(logits, states, actions, labels, alpha, discount):
    """Multiply each segment's action probabilities, to the power alpha gamma^t, and compare.

    In sixty digits, so that a policy that is all but certain leaves no zero.
    """
    with localcontext() as context:
        context.prec, total = 60, Decimal(0)
        rows = [[Decimal(x).exp() for x in row] for row in logits.tolist()]
        policy = [[x / sum(row) for x in row] for row in rows]
        for path, acts, mu in zip(states.tolist(), actions.tolist(), labels.tolist(), strict=True):
            left, right = (math.prod(
                policy[s][a] ** (Decimal(alpha) * Decimal(discount) ** t)
                for t, (s, a) in enumerate(zip(path[side][:-1], acts[side], strict=True)))
                for side in (0, 1))
            total += (Decimal(mu) * (left / (left + right)).ln()
                      + (1 - Decimal(mu)) * (right / (left + right)).ln())
        return float(-total / len(labels))


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw policies, pairs of short walks and labels with a tie."""
    cases = []
    for n_states, n_actions, pairs, steps, alpha, discount in (
            (4, 3, 5, 3, 0.5, 0.9), (5, 2, 4, 2, 1.6, 1.0), (3, 4, 6, 4, 0.3, 0.7),
            (6, 3, 5, 1, 2.0, 0.8)):
        labels = torch.randint(2, (pairs,), generator=generator).double()
        labels[0], labels[1], labels[2] = 0.5, 1.0, 0.0
        cases.append(Case(args=(
            normal(generator, n_states, n_actions),
            torch.randint(n_states, (pairs, 2, steps + 1), generator=generator),
            torch.randint(n_actions, (pairs, 2, steps), generator=generator),
            labels, alpha, discount), note="the first label is a tie"))
    sure = 600.0 * torch.eye(3, dtype=torch.float64) + normal(generator, 3, 3)
    path, acts = torch.tensor([[0, 1, 2], [1, 2, 0]]), torch.tensor([[0, 1], [0, 1]])
    cases.append(Case(args=(sure, torch.stack([path, path.flip(0)]), torch.stack([acts, acts]),
                            numbers([0.0, 0.5]), 1.2, 0.9),
                      note="a policy that is all but certain, and a judge who disagrees"))
    return cases


def a_state_s_constant_changes_nothing(answer, case: Case) -> str | None:
    """Logits are known up to one number per state."""
    logits, *rest = case.args
    shift = torch.arange(len(logits), dtype=torch.float64)[:, None]
    moved = float(as_tensor(answer(logits + shift, *rest)) - as_tensor(answer(*case.args)))
    return None if abs(moved) < 1e-6 else (
        f"with a constant added to the logits of each state the policy stays, but the loss moves "
        f"by {moved:.4g}")


def a_uniform_policy_knows_nothing(answer, case: Case) -> str | None:
    """A policy that prefers no action gives every pair probability one half."""
    logits, *rest = case.args
    found = float(as_tensor(answer(0 * logits, *rest)))
    return None if abs(found - math.log(2)) < 1e-6 else (
        f"a uniform policy must give log 2 = 0.6931 for every label, not {found:.4g}")


def show_fit(answer):
    """Draw the policy that the learner's loss finds for a judge with a known plan."""
    from tutorlib.viz import bars

    generator = torch.Generator().manual_seed(0)
    truth = torch.softmax(normal(generator, 2, 3), 1)
    states = torch.randint(2, (60, 2, 3), generator=generator)
    actions = torch.randint(3, (60, 2, 2), generator=generator)
    gaps = gap_of_sums(truth.log(), states, actions, 1.0)
    labels = torch.sigmoid(gaps)  # what a long survey finds
    logits = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        search.zero_grad()
        loss = answer(logits, states, actions, labels, 1.0, 1.0)
        loss.backward()
        return loss

    try:
        search.step(closure)
        found = torch.softmax(logits.detach(), 1)
    except Exception:  # an answer in numpy has no gradient: show what it should find
        found = truth
    apart = float((found - truth).abs().max())
    return bars({"the judge's plan": truth.flatten(), "found by your loss": found.flatten()},
                groups=[f"s{s}, a{a}" for s in range(2) for a in range(3)],
                ylabel="probability of the action",
                title=f"Comparisons alone bring the judge's policy back, to {apart:.0e}")


UNIFORM = numbers([[math.log(3.0), 0.0], [0.0, 0.0]])  # pi(first | state 0) = 0.75

CPL_LOSS = Exercise(
    id="preference_based_rl.cpl_loss",
    title="A policy in the place of the reward",
    points=2, minutes=12, difficulty=3,
    reference=cpl_loss,
    oracle=by_products_of_chances,
    hand=Case(
        args=(UNIFORM, torch.tensor([[[0, 1], [0, 0]]]), torch.tensor([[[0], [1]]]),
              numbers([1.0]), 1.0, 1.0),
        # 0.75 against 0.25: the left one has probability 0.75 / (0.75 + 0.25); -log 0.75
        expected=0.2876820724517809,
        note="one step each from state 0, alpha = 1: the preferred action has probability 0.75, "
             "the other 0.25"),
    cases=draw_cases,
    properties=(
        Property("a constant per state changes nothing", a_state_s_constant_changes_nothing),
        Property("a uniform policy knows nothing", a_uniform_policy_knows_nothing),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "It is the first exercise again, with another number for each step: not the reward of the "
        "step but alpha times the log-probability of what was done there. Which states were the "
        "actions taken in?",
        r"$$\text{score} = \sum_t \gamma^t\, \alpha \log \pi(a_t | s_t), \qquad P = \sigma("
        r"\text{score}_\text{left} - \text{score}_\text{right})$$" "\n\n"
        "`log_softmax(logits, 1)` is `[states, actions]`; looked up with `states[..., :-1]` and "
        "`actions` it gives `[pairs, 2, steps]`, summed `[pairs, 2]`.",
        "```python\n"
        "logp = ...                                  # [states, actions]\n"
        "steps = logp[states[..., :-1], actions]     # [pairs, 2, steps]\n"
        "scores = ...                                # weighted sum over steps, [pairs, 2]\n"
        "gap = scores[:, 0] - scores[:, 1]\n"
        "return ...                                  # as in segment_bt_loss, without errors\n"
        "```",
    ),
    why=r"In a soft-optimal plan the advantage is $\alpha \log \pi^*$ (unit 03's Gibbs policy). If "
        r"the judge goes by advantages, the policy that explains the answers best *is* the plan: "
        r"no reward is fitted, nothing is rolled out. With $\log \pi / \pi_\text{ref}$ and one "
        r"step it is DPO's loss.",
    figure=show_fit,
    forbidden=("tutorlib.irl.cpl_loss", "tutorlib.irl.fit_cpl", "tutorlib.irl.segment_logps"),
)
