"""Exercise 08.1: the loss of comparisons between segments."""

from __future__ import annotations

from decimal import Decimal, localcontext

import torch

from tutorlib.exercises.preference_based_rl.loss_answers import MUTANTS, VARIANTS, segment_bt_loss
from tutorlib.exercises.preference_based_rl.worlds import normal, numbers
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor


def equation_one_in_decimals(left_rewards, right_rewards, labels, discount, error_rate):
    """Work out exp(G_left) / (exp(G_left) + exp(G_right)) literally, with 60 digits."""
    with localcontext() as context:
        context.prec, total = 60, Decimal(0)
        share = Decimal(error_rate)
        for left, right, mu in zip(left_rewards.tolist(), right_rewards.tolist(),
                                   labels.tolist(), strict=True):
            weights = [sum(Decimal(r) * Decimal(discount) ** t for t, r in enumerate(side)).exp()
                       for side in (left, right)]
            chances = [(1 - share) * w / sum(weights) + share / 2 for w in weights]
            total -= Decimal(mu) * chances[0].ln() + (1 - Decimal(mu)) * chances[1].ln()
        return float(total / len(labels))


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw pairs of several lengths, with ties and undecided judges; the last is far apart."""
    cases = []
    for pairs, steps, discount, rate in ((4, 3, 0.9, 0.1), (5, 4, 1.0, 0.0), (3, 6, 0.7, 0.2),
                                         (6, 2, 0.8, 0.0)):
        labels = torch.randint(2, (pairs,), generator=generator).double()
        labels[0], labels[1], labels[2] = 0.5, 0.8, 0.0
        cases.append(Case(args=(normal(generator, pairs, steps), normal(generator, pairs, steps),
                                labels, discount, rate),
                          note="the first label is a tie, the second an undecided 0.8"))
    far = normal(generator, 3, 4) + numbers([[300.0], [-300.0], [0.0]])
    cases.append(Case(args=(far, normal(generator, 3, 4), numbers([0.0, 1.0, 1.0]), 1.0, 0.0),
                      note="returns more than a thousand apart, and a judge who disagrees"))
    return cases


def sides_may_be_exchanged(answer, case: Case) -> str | None:
    """Left and right are names: exchanging them with their labels changes nothing."""
    left, right, labels, discount, rate = case.args
    moved = float(as_tensor(answer(right, left, 1 - labels, discount, rate))
                  - as_tensor(answer(*case.args)))
    if abs(moved) < 1e-6:
        return None
    return f"with left and right exchanged, and labels 1 - mu, the loss moves by {moved:.4g}"


def a_constant_changes_nothing(answer, case: Case) -> str | None:
    """Segments have one length, so a constant in every step cancels."""
    left, right, labels, discount, rate = case.args
    moved = float(as_tensor(answer(left + 1, right + 1, labels, discount, rate))
                  - as_tensor(answer(*case.args)))
    return None if abs(moved) < 1e-6 else (f"with 1 added to every reward on both sides the loss "
                                           f"moves by {moved:.4g}")


def show_loss(answer):
    """Draw the learner's loss against the difference of returns, for a win, a loss and a tie."""
    from tutorlib.viz import lines

    gaps = torch.linspace(-8, 8, 81, dtype=torch.float64)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    curves = {}
    for name, mu, rate in (("left preferred (μ = 1)", 1.0, 0.0),
                           ("left preferred, 10 % random answers", 1.0, 0.1),
                           ("a tie (μ = 0.5)", 0.5, 0.0)):
        curves[name] = numbers([float(as_tensor(answer(zero + g, zero, numbers([mu]), 1.0, rate)))
                                for g in gaps])
    worst = float(curves["left preferred, 10 % random answers"][0])
    return lines(curves, gaps, xlabel="return of left minus return of right (nats)",
                 ylabel="loss (nats)",
                 title=f"With 10 % random answers no single label costs more than {worst:.1f} nats")


SEGMENT_BT_LOSS = Exercise(
    id="preference_based_rl.segment_bt_loss",
    title="The loss of a comparison",
    points=2, minutes=12, difficulty=2,
    reference=segment_bt_loss,
    oracle=equation_one_in_decimals,
    hand=Case(
        args=(numbers([[1.0, 0.0, 2.0], [0.0, 0.0, 1.0]]),
              numbers([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]), numbers([1.0, 0.5]), 1.0, 0.0),
        # 3 against 2: log(1 + 1/e) = 0.313262; a tie between equals: log 2 = 0.693147; their mean
        expected=0.50320443404,
        note="no discount, no random answers; returns 3 against 2 with left preferred, and 1 "
             "against 1 with a tie"),
    cases=draw_cases,
    properties=(
        Property("left and right are only names", sides_may_be_exchanged),
        Property("a constant in every step changes nothing", a_constant_changes_nothing),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Three stages: one return per segment, one probability per pair, one number in all. The "
        "judge compares whole segments, so sum before you squash. Then ask what happens when two "
        "returns are 1000 apart.",
        r"$$G = \sum_t \gamma^t r_t, \qquad P = (1 - e)\,\sigma(G_\text{left} - G_\text{right}) + "
        r"\frac{e}{2}, \qquad \frac{1}{n} \sum_i \big(-\mu_i \log P_i - (1 - \mu_i) \log (1 - P_i)"
        r"\big)$$" "\n\n"
        "Rewards are `[pairs, steps]`, returns, labels and $P$ `[pairs]`. $1 - \\sigma(x) = "
        "\\sigma(-x)$, and `torch.nn.functional.logsigmoid` is its safe logarithm.",
        "```python\n"
        "weights = discount ** torch.arange(...)        # [steps]\n"
        "gap = ...                                      # difference of returns, [pairs]\n"
        "win, lose = logsigmoid(gap), ...               # log-probabilities without errors\n"
        "if error_rate > 0:                             # mix e / 2 into both probabilities\n"
        "    win, lose = ...\n"
        "return ...                                     # mean over pairs, with a minus\n"
        "```",
    ),
    why=r"It is a logistic regression whose input is a *difference of sums*: what both segments "
        r"share, a constant above all, cancels and can never be learned from them. Mixing "
        r"$e/2$ into the probability bounds the loss of one answer by $-\log(e/2)$.",
    figure=show_loss,
    forbidden=("tutorlib.irl.preference_loss", "tutorlib.irl.preferences.label_loss",
               "tutorlib.irl.preference_probability"),
)
