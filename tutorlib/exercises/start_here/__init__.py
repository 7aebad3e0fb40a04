"""Unit 00: the warm-up exercise, its grader, and the quiz."""

from __future__ import annotations

import decimal

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.start_here.answers import MUTANTS, VARIANTS
from tutorlib.grading import Case, Exercise, Property, Question
from tutorlib.grading.compare import as_tensor

WORDS = ("blue", "clear", "falling")  # how "The sky is ..." may go on, in lesson and figure
SCORES = ((2.0, 1.0, 0.0),)  # [1 prompt, 3 words], made up: no model stands behind them yet

EXTREMES = (  # scores, temperature, note: each catches a way to overflow that the others let pass
    (((1000.0, 999.0, 997.0), (0.0, 1.0, 2.0)), 1.0, "very large scores beside small ones"),
    (((1000.0, 999.0, 997.0), (0.0, 1.0, 2.0)), 0.5, "cold doubles the very large scores"),
    (((1000.0, 0.0), (0.0, 1.0)), 500.0, "so hot that a very small score counts again"),
    (((1000.0, -1000.0), (0.0, 1.0)), 1.0, "very large scores of both signs"),
)


def softmax_with_temperature(
    logits: Float[Tensor, "prompts words"], temperature: float
) -> Float[Tensor, "prompts words"]:
    """Return each row's probabilities exp(logit / temperature) / sum over the row."""
    scaled = logits / temperature
    weights = (scaled - scaled.amax(dim=-1, keepdim=True)).exp()
    return weights / weights.sum(dim=-1, keepdim=True)


def in_fifty_digits(logits, temperature):
    """Evaluate the textbook fraction as it stands, in arithmetic that does not overflow."""
    with decimal.localcontext() as context:
        context.prec = 50
        rows = []
        for row in logits.tolist():
            weights = [(decimal.Decimal(z) / decimal.Decimal(temperature)).exp() for z in row]
            rows.append([float(weight / sum(weights)) for weight in weights])
    return torch.tensor(rows, dtype=torch.float64)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw three tables of scores, and add those that a careless exp cannot take."""
    cases = []
    for prompts, words in ((2, 3), (3, 4), (4, 2)):
        logits = 2 * torch.randn(prompts, words, generator=generator, dtype=torch.float64)
        temperature = 0.4 + 2 * torch.rand(1, generator=generator, dtype=torch.float64).item()
        cases.append(Case(args=(logits, temperature)))
    return cases + [Case(args=(torch.tensor(table, dtype=torch.float64), temperature), note=note)
                    for table, temperature, note in EXTREMES]


def rows_sum_to_one(answer, case: Case) -> str | None:
    """Require a distribution in each row."""
    sums = as_tensor(answer(*case.args)).sum(-1)
    wrong = ~((sums - 1).abs() < 1e-5)
    if not wrong.any():
        return None
    row = int(wrong.nonzero()[0])
    return f"the probabilities of prompt {row} sum to {float(sums[row]):.6g}"


def shift_changes_nothing(answer, case: Case) -> str | None:
    """Only differences of scores matter."""
    logits, temperature = case.args
    before = as_tensor(answer(logits, temperature))
    after = as_tensor(answer(logits + 3.0, temperature))
    moved = float((after - before).abs().max())
    if moved < 1e-5:
        return None
    return f"with 3 added to every score, a probability moves by {moved:.4g}"


def hotter_is_flatter(answer, case: Case) -> str | None:
    """A higher temperature takes probability from the favourite."""
    logits, temperature = case.args
    cool = as_tensor(answer(logits, temperature)).amax(-1)
    warm = as_tensor(answer(logits, 2 * temperature)).amax(-1)
    if bool((warm <= cool + 1e-6).all()):
        return None
    return "at twice the temperature a favourite becomes more likely, not less"


def name_index(case: Case, index: tuple[int, ...]) -> str | None:
    """Say what an entry of the table stands for."""
    return f"prompt {index[0]}, word {index[1]}" if len(index) == 2 else None


def show_temperatures(answer):
    """Draw the three words' probabilities at three temperatures, by the learner's function."""
    from tutorlib.viz import bars

    logits = torch.tensor(SCORES, dtype=torch.float64)
    rows = {f"temperature {t:g}": as_tensor(answer(logits, t))[0] for t in (0.5, 1.0, 2.0)}
    first = [float(row[0]) for row in rows.values()]
    return bars(rows, groups=WORDS, ylabel="probability", xlabel="The sky is ...",
                title=f"Heat flattens: '{WORDS[0]}' falls from {first[0]:.0%} to {first[-1]:.0%}")


SOFTMAX = Exercise(
    id="start_here.softmax_with_temperature",
    title="Softmax with a temperature",
    points=1, minutes=5, difficulty=1,
    reference=softmax_with_temperature,
    oracle=in_fifty_digits,
    hand=Case(
        args=(torch.tensor([[2.0, 0.0], [1.0, 1.0]], dtype=torch.float64), 2.0),
        # e / (e + 1) and 1 / (e + 1) with e = 2.718281828459045; equal scores share equally
        expected=torch.tensor([[0.7310585786300049, 0.2689414213699951], [0.5, 0.5]],
                              dtype=torch.float64),
        note="two prompts, two words each; the first row is the lesson's example at temperature 2"),
    cases=draw_cases,
    properties=(
        Property("each row sums to 1", rows_sum_to_one),
        Property("adding a constant to all scores changes nothing", shift_changes_nothing),
        Property("hotter is flatter", hotter_is_flatter),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Turn scores into positive weights with `exp`, and share out 1 in proportion to the "
        "weights, row by row. Temperature divides the scores *before* `exp`.",
        r"$$p_{ij} = \frac{\exp(z_{ij}/\lambda - m_i)}{\sum_k \exp(z_{ik}/\lambda - m_i)}, \qquad "
        r"m_i = \max_k z_{ik}/\lambda$$" "\n\n"
        "`logits` has shape `[prompts, words]`. The maximum and the sum run over the last axis and "
        "keep it (`keepdim=True`), which gives `[prompts, 1]`. Subtracting $m_i$ changes nothing "
        "in the fraction and keeps `exp` finite.",
        "```python\n"
        "scaled = ...                      # scores over temperature, [prompts, words]\n"
        "highest = ...                     # of each row, [prompts, 1]\n"
        "weights = torch.exp(...)          # never above 1\n"
        "return weights / ...              # each row's sum, [prompts, 1]\n"
        "```",
    ),
    why=r"Dividing by $\lambda$ stretches or shrinks the differences between scores, and only they "
        r"matter: subtracting each row's maximum multiplies numerator and denominator by the same "
        r"$e^{-m_i}$. That is why the stable form gives the same probabilities.",
    index_names=name_index,
    figure=show_temperatures,
    forbidden=("tutorlib.mdp.gibbs_policy",),
)

EXERCISES = (SOFTMAX,)

QUIZ = (
    Question(
        "Two robots take only best steps, the same ones in every cell. What does that prove about "
        "their rewards?",
        ("They have the same reward.",
         "Their rewards differ at most by a factor.",
         "Both rewards make these steps best; beyond that, nothing."),
        2,
        ("In this notebook a prize and a fine led to the same steps.",
         "A prize at the goal and a fine for each step are no multiples of one another, and led "
         "to the same steps.",
         "Behaviour is evidence about reward, not proof. Unit 05 is about what remains open.")),
    Question(
        "You raise the sampling temperature. What happens?",
        ("The favourite gets more probability.",
         "The probabilities come closer to one another.",
         "The order of the words changes."),
        1,
        ("That is what cooling does: differences of scores grow when divided by a small number.",
         "Dividing by a larger number shrinks the differences between scores.",
         "Dividing by a positive number keeps the order: the favourite stays the favourite.")),
    Question(
        "Your check says: not passed. What do the following cells use?",
        ("Your function, as it is.",
         "A reference answer, until yours passes.",
         "Nothing: the notebook stops."),
        1,
        ("`check` hands your own function on only when it passes.",
         "`check` returns a reference answer in that case, so the lesson always goes on.",
         "It never stops: an unfinished exercise costs you nothing but its points.")),
    Question(
        "Why subtract each row's largest score before `exp`?",
        ("It makes large scores safe and leaves the probabilities as they are.",
         "It makes the largest probability equal to 1.",
         "It is another way of setting the temperature."),
        0,
        ("Numerator and denominator are multiplied by the same number, and the largest exponent "
         "is 0, so nothing overflows.",
         "The largest weight becomes 1, before the division; the probabilities stay as they were.",
         "Temperature divides; subtraction cancels.")),
)
