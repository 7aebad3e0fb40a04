"""Exercise 09.4: a discount as a wish for brevity."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.language_mdp.worlds import normal, numbers
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def brevity(rewards: Float[Tensor, " answers"], completion_mask: Int[Tensor, "answers tokens"],
            discount: float) -> Float[Tensor, " answers"]:
    """Return each answer's discounted return: its reward comes with its last token."""
    waited = completion_mask.sum(-1) - 1  # steps before the last token
    return rewards * discount ** waited.double()


def step_by_step(rewards, completion_mask, discount):
    """Walk through each answer and let the reward shrink at each further token."""
    found = []
    for reward, row in zip(rewards.tolist(), completion_mask, strict=True):
        tokens = int(row.count_nonzero())
        shrunk = math.exp(math.fsum([math.log(discount)] * (tokens - 1)) if tokens < 1000
                          else (tokens - 1) * math.log1p(discount - 1))
        found.append(reward * shrunk)
    return numbers(found)


def mask_of(lengths: list[int], tokens: int) -> Tensor:
    """Return a mask with so many ones in each row."""
    return (torch.arange(tokens) < torch.tensor(lengths)[:, None]).long()


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw answers of several lengths; one is as long as a chapter."""
    def case(lengths, tokens, discount, note):
        rewards = normal(generator, len(lengths))
        return Case(args=(rewards, mask_of(lengths, tokens), discount), note=note)

    long = Case(args=(numbers([1.0, 1.0]), mask_of([300, 30_000], 30_000), 0.9999),
                note="a right answer after 300 tokens, and after 30,000")
    return [case([1, 3, 5], 6, 0.9, "padding behind the answers"),
            case([4, 2, 7, 1], 9, 0.6, "good and bad answers"),
            case([2, 6], 8, 1.0, "no discount"), long]


def padding_never_matters(answer, case: Case) -> str | None:
    """Another column of padding changes no return."""
    rewards, mask, discount = case.args
    wider = torch.nn.functional.pad(mask, (0, 2))
    moved = (as_tensor(answer(rewards, wider, discount)) - as_tensor(answer(*case.args))).abs()
    return None if bool((moved < 1e-4).all()) else (
        f"two more columns of padding move a return by {float(moved.max()):.4g}")


def one_token_is_not_discounted(answer, case: Case) -> str | None:
    """An answer of one token is paid at once."""
    rewards, _, discount = case.args
    found = as_tensor(answer(rewards, mask_of([1] * len(rewards), 4), discount))
    return None if bool((found - rewards).abs().max() < 1e-4) else (
        f"answers of one token have returns {found.tolist()}; they are paid in the first step, "
        f"so their rewards {rewards.tolist()} stay as they are")


def _power(exponent):
    """Make an answer from ``exponent(mask)``."""
    return lambda r, m, g: r * g ** exponent(m).double()


def _every_token(rewards, mask, discount):
    worth = discount ** torch.arange(mask.shape[1]).double()
    return rewards * (mask * worth).sum(-1)


MUTANTS = (
    Mutant("one_step_too_many", _power(lambda m: m.sum(-1)),
           "One power too many: the first token is chosen at t = 0, so an answer of n tokens "
           "is paid at t = n − 1."),
    Mutant("padded_length", _power(lambda m: torch.full((len(m),), m.shape[1] - 1)),
           "You count the columns, padding included. An answer's length is the sum of its mask."),
    Mutant("padding_counted", _power(lambda m: (1 - m).sum(-1)),
           "You count the padding: the mask is 1 at tokens of the answer."),
    Mutant("every_token_paid", _every_token,
           "You pay the reward with every token. A reward for a whole answer is paid once, with "
           "its last token; otherwise length itself is rewarded."),
    Mutant("not_discounted", lambda r, m, g: r.clone(),
           "Nothing is discounted. Multiply by the discount once for each step before the last."),
    Mutant("discounted_once", lambda r, m, g: r * torch.where(m.sum(-1) > 1, g, 1.0),
           "The discount counts once *per step*: raise it to the number of steps waited."),
    Mutant("per_token", lambda r, m, g: r / m.sum(-1),
           "You divide by the length. That is a reward per token; a discount shrinks "
           "geometrically, by the factor γ at each step."),
    Mutant("linear", lambda r, m, g: r * (1 - (1 - g) * (m.sum(-1) - 1)),
           "1 − (1 − γ) n is γⁿ for short answers only; it becomes negative for long ones. Use "
           "the power."),
    Mutant("added_up", lambda r, m, g: r * (1 - g ** m.sum(-1).double()) / max(1 - g, 1e-12),
           "This is the sum of all discounts, 1 + γ + γ² + ...: a reward in every step. "
           "The answer is paid once."),
    Mutant("upside_down", lambda r, m, g: r * g ** -(m.sum(-1) - 1).double(),
           "Your returns grow with length: the exponent has the wrong sign."),
    Mutant("wrong_ones_at_once", lambda r, m, g: torch.where(
               r > 0, r * g ** (m.sum(-1) - 1).double(), r),
           "You discount good answers only. The discount knows nothing of signs: a punishment "
           "that comes later shrinks as well (which pays for stalling)."),
    Mutant("punished_for_waiting", lambda r, m, g: torch.where(
               r > 0, r * g ** (m.sum(-1) - 1).double(), r / g ** (m.sum(-1) - 1).double()),
           "Your punishments grow while they wait. A discount multiplies every reward by γ per "
           "step, whatever its sign."),
    Mutant("times_not_power", lambda r, m, g: r * g * (m.sum(-1) - 1),
           "You multiply the discount by the number of steps. Each step multiplies by γ once "
           "more: a power."),
    Mutant("summed", lambda r, m, g: (r * g ** (m.sum(-1) - 1).double()).sum(),
           "You summed over the answers. Return one number for each, `[answers]`."),
)


def _by_the_last_place(rewards, mask, discount):
    weights = discount ** torch.arange(mask.shape[1], dtype=torch.float64)
    last = mask.cumsum(-1).argmax(-1)
    return rewards * weights[last]


def _python_loops(rewards, mask, discount):
    found = torch.zeros(len(rewards))  # float32: after 30,000 powers five parts in 10,000 are off
    for row in range(len(mask)):
        found[row] = rewards[row] * discount ** (sum(int(kept) for kept in mask[row]) - 1)
    return found


VARIANTS = (
    Variant("the formula in one line", lambda r, m, g: r * g ** (m.sum(-1) - 1)),
    Variant("counted one by one, into float32", _python_loops),
    Variant("the place of the last token", _by_the_last_place),
    Variant("numpy", lambda r, m, g: r.numpy() * g ** (m.numpy().sum(-1) - 1.0)),
    Variant("loops", lambda r, m, g: [
        float(a) * g ** (int(row.sum()) - 1) for a, row in zip(r, m, strict=True)]),
    Variant("logarithms", lambda r, m, g: r * torch.exp((m.sum(-1) - 1).double() * math.log(g))),
)


def show_the_wait(answer):
    """Draw what answers of 1 to 6 tokens are worth when right and when wrong."""
    from tutorlib.viz import lines

    lengths, mask = range(1, 13), mask_of(list(range(1, 13)), 12)
    right = as_tensor(answer(numbers([1.0] * 12), mask, 0.8)).tolist()
    wrong = as_tensor(answer(numbers([-1.0] * 12), mask, 0.8)).tolist()
    return lines({"a right answer, reward 1": right, "a wrong answer, reward −1": wrong}, lengths,
                 xlabel="tokens of the answer", ylabel="return, discount 0.8",
                 title=f"Twelve tokens leave {right[-1]:.2f} of a reward, and as little of a "
                       "punishment: a discount also pays for stalling")


BREVITY = Exercise(
    id="language_mdp.brevity",
    title="What does waiting cost?",
    points=1, minutes=6, difficulty=2,
    reference=brevity,
    oracle=step_by_step,
    hand=Case(args=(numbers([1.0, 1.0, -1.0]), mask_of([1, 3, 3], 4), 0.5),
              expected=numbers([1.0, 0.25, -0.25]),
              note="a right answer at once, a right one after three tokens, and a wrong one"),
    cases=draw_cases,
    rtol=2e-3,  # a Python number to the power of whole numbers is float32 in torch
    properties=(Property("padding never matters", padding_never_matters),
                Property("one token is paid at once", one_token_is_not_discounted)),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "A whole answer is paid once, with its last token. Count how many steps come before that "
        "token, and shrink the reward by the discount once for each.",
        r"$$G = \gamma^{\,n-1}\, r, \qquad n = \sum_t m_t$$" "\n\n"
        "`completion_mask.sum(-1)` is $n$, `[answers]`; padding has mask 0.",
        "```python\n"
        "waited = ...                 # [answers], steps before the last token\n"
        "return rewards * ...         # a power of the discount\n"
        "```",
    ),
    why=r"Of the discounted sum $\sum_t \gamma^t r_t$ only the last term is not 0. With $\gamma$ "
        r"near 1 the loss is about $(1 - \gamma)(n - 1)$ of the reward: nothing for a sentence, "
        r"nearly everything for a book. A punishment shrinks as well, so a discount asks for "
        r"brevity only where rewards are positive.",
    index_names=lambda case, index: (
        f"answer {index[0]}, {int(case.args[1][index[0]].sum())} tokens"),
    figure=show_the_wait,
)
