"""Exercise 08.4: contrastive preference learning, a policy in the place of the reward."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tutorlib.exercises.preference_based_rl.worlds import normal, numbers
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def cpl_loss(logits: Float[Tensor, "states actions"], states: Int[Tensor, "pairs 2 steps_plus_one"],
             actions: Int[Tensor, "pairs 2 steps"], labels: Float[Tensor, " pairs"], alpha: float,
             discount: float) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of labels under sums of alpha log pi(a | s)."""
    gap = alpha * _gap(torch.log_softmax(logits, 1), states, actions, discount)
    return _loss(gap, labels).mean()


def _gap(scores, states, actions, discount, departures=slice(None, -1)):
    """Return the discounted difference, left minus right, of a table's entries."""
    steps = scores[states[..., departures], actions]  # [pairs, 2, steps]
    sums = (steps * discount ** torch.arange(actions.shape[2], dtype=torch.float64)).sum(2)
    return sums[:, 0] - sums[:, 1]


def _loss(gap, labels):
    return -labels * functional.logsigmoid(gap) - (1 - labels) * functional.logsigmoid(-gap)


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


def _table(scores, with_alpha=lambda alpha: alpha, **settings):
    """Make an answer from another table of scores."""
    def answer(logits, states, actions, labels, alpha, discount):
        gap = with_alpha(alpha) * _gap(scores(logits), states, actions, discount, **settings)
        return _loss(gap, labels).mean()
    return answer


def _log_policy(logits):
    return torch.log_softmax(logits, 1)


def _ending(scores, labels_as=lambda mu: mu, gather=torch.mean):
    """Make an answer with labels or the mean exchanged."""
    def answer(logits, states, actions, labels, alpha, discount):
        gap = alpha * _gap(_log_policy(logits), states, actions, scores(discount))
        return gather(_loss(gap, labels_as(labels)))
    return answer


def _mean_over_steps(logits, states, actions, labels, alpha, discount):
    return cpl_loss(logits, states, actions, labels, alpha / actions.shape[2], discount)


def _imitate_the_winner(logits, states, actions, labels, alpha, discount):
    steps = _log_policy(logits)[states[..., :-1], actions]
    sums = alpha * (steps * discount ** torch.arange(actions.shape[2], dtype=torch.float64)).sum(2)
    return -(labels * sums[:, 0] + (1 - labels) * sums[:, 1]).mean()


def _linear(logits, states, actions, labels, alpha, discount):
    gap = alpha * _gap(_log_policy(logits), states, actions, discount)
    return -((2 * labels - 1) * gap).mean()


def _of_chances(logits, states, actions, labels, alpha, discount):
    p = torch.sigmoid(alpha * _gap(_log_policy(logits), states, actions, discount))
    return -(torch.xlogy(labels, p) + torch.xlogy(1 - labels, 1 - p)).mean()


MUTANTS = (
    Mutant("naive_sigmoid", _of_chances,
           "The formula is right on paper, but where the policy is sure a softmax or a sigmoid "
           "rounds to 0, and its logarithm is infinite. `log_softmax` and `logsigmoid` do both "
           "at once."),
    Mutant("raw_logits", _table(lambda x: x),
           "You use the logits themselves (or a softmax over the whole table, which comes to the "
           "same). They are known only up to a number per state: take `log_softmax` over actions, "
           "row by row."),
    Mutant("logits_over_alpha", lambda logits, states, actions, labels, alpha, discount: cpl_loss(
               logits / alpha, states, actions, labels, alpha, discount),
           "You divide the logits by alpha. They already are log pi, up to a number per state; "
           "alpha only multiplies log pi."),
    Mutant("discount_from_one", lambda logits, states, actions, labels, alpha, discount: cpl_loss(
               logits, states, actions, labels, alpha * discount, discount),
           "Your first step is discounted already. Step 0 counts fully: `discount ** t`, t from "
           "0."),
    Mutant("discount_backwards", lambda logits, states, actions, labels, alpha, discount: cpl_loss(
               logits, torch.cat([states[..., :-1].flip(2), states[..., -1:]], 2),
               actions.flip(2), labels, alpha, discount),
           "The discount runs backwards: here the *last* step counts fully. Step t has "
           "`discount ** t`."),
    Mutant("probabilities", _table(lambda x: torch.softmax(x, 1)),
           "You add probabilities. The advantage is alpha times the *logarithm* of pi: "
           "`log_softmax`."),
    Mutant("softmax_over_states", _table(lambda x: torch.log_softmax(x, 0)),
           "The softmax runs over states. Each *row* of the table is a distribution over actions: "
           "dim=1."),
    Mutant("arrivals", _table(_log_policy, departures=slice(1, None)),
           "You look actions up in the state they led to. Action t was taken in state t: "
           "`states[..., :-1]`."),
    Mutant("no_alpha", _table(_log_policy, with_alpha=lambda alpha: 1.0),
           "alpha is missing: the advantage of an action is alpha log pi(a | s)."),
    Mutant("alpha_upside_down", _table(_log_policy, with_alpha=lambda alpha: 1 / alpha),
           "You divide by alpha. It is a temperature of the *policy*, pi = exp(A / alpha), so "
           "A = alpha log pi."),
    Mutant("no_discount", _ending(lambda discount: 1.0),
           "Step t counts `discount ** t`; here all steps count alike."),
    Mutant("labels_swapped", _ending(lambda d: d, labels_as=lambda mu: 1 - mu),
           "You make the losing segment likelier. `labels` is 1 where the left one, index 0, is "
           "preferred."),
    Mutant("sign", _ending(lambda d: d, gather=lambda x: -x.mean()),
           "The minus sign is missing: this is a log-likelihood. The loss is minus it."),
    Mutant("sum_over_pairs", _ending(lambda d: d, gather=torch.sum),
           "You add the pairs up; the task asks for their mean."),
    Mutant("labels_rounded", _ending(lambda d: d, labels_as=lambda mu: (mu > 0.5).double()),
           "Ties are taken for losses. A label of 0.5 weighs both logarithms equally."),
    Mutant("mean_over_steps", _mean_over_steps,
           "You average over the steps of a segment. It is a sum of advantages, as returns are "
           "sums of rewards."),
    Mutant("imitation", _imitate_the_winner,
           "You raise the probability of what the winner did, and leave the loser alone. That is "
           "imitation. A comparison needs both: one sigmoid of the difference."),
    Mutant("no_sigmoid", _linear,
           "The difference goes into the loss without `-logsigmoid`. Unbounded below, it would be "
           "lowered for ever by the same few pairs."),
)


def _numpy(logits, states, actions, labels, alpha, discount):
    x = logits.numpy()
    logp = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
    steps = logp[states.numpy()[..., :-1], actions.numpy()]
    sums = alpha * steps @ (discount ** np.arange(actions.shape[2]))
    gap, mu = sums[:, 0] - sums[:, 1], labels.numpy()
    return float(np.mean(mu * np.logaddexp(0, -gap) + (1 - mu) * np.logaddexp(0, gap)))


def _cross_entropy(logits, states, actions, labels, alpha, discount):
    steps = torch.log_softmax(logits, 1)[states[:, :, :-1], actions]
    weights = discount ** torch.arange(actions.shape[2], dtype=torch.float64)
    both = alpha * (steps * weights).sum(-1)  # [pairs, 2]
    return functional.cross_entropy(both, torch.stack([labels, 1 - labels], 1))


def _loops(logits, states, actions, labels, alpha, discount):
    logp, total = torch.log_softmax(logits, -1), 0.0
    for k, mu in enumerate(labels.tolist()):
        gap = sum(sign * alpha * discount**t * float(logp[states[k, side, t], actions[k, side, t]])
                  for side, sign in ((0, 1), (1, -1)) for t in range(actions.shape[2]))
        size = max(gap, 0.0) + math.log1p(math.exp(-abs(gap)))  # log(1 + exp(gap))
        total += mu * (size - gap) + (1 - mu) * size
    return total / len(labels)


VARIANTS = (
    Variant("cross_entropy of two sums", _cross_entropy),
    Variant("numpy", _numpy),
    Variant("loops", _loops),
)


def show_fit(answer):
    """Draw the policy that the learner's loss finds for a judge with a known plan."""
    from tutorlib.viz import bars

    generator = torch.Generator().manual_seed(0)
    truth = torch.softmax(normal(generator, 2, 3), 1)
    states = torch.randint(2, (60, 2, 3), generator=generator)
    actions = torch.randint(3, (60, 2, 2), generator=generator)
    labels = torch.sigmoid(_gap(truth.log(), states, actions, 1.0))  # what a long survey finds
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
