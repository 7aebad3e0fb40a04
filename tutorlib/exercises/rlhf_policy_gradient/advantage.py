"""Exercise 16.2: leave-one-out advantages."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.rlhf_policy_gradient.common import UNIT, normal
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def rloo_advantage(rewards: Float[Tensor, "prompts answers"]
                   ) -> Float[Tensor, "prompts answers"]:
    """Return each reward minus the mean of the other answers' to the same prompt."""
    count = rewards.shape[1]
    others = (rewards.sum(1, keepdim=True) - rewards) / (count - 1)
    return rewards - others


def by_fractions(rewards) -> Tensor:
    """Leave each answer out in turn and average the rest, in exact arithmetic."""
    rows = []
    for row in rewards.tolist():
        exact = [Fraction(r) for r in row]
        rest = [[x for j, x in enumerate(exact) if j != i] for i in range(len(exact))]
        rows.append([float(r - sum(x) / len(x)) for r, x in zip(exact, rest, strict=True)])
    return torch.tensor(rows, dtype=torch.float64)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw rewards of several prompts; prompts differ in how much they pay."""
    cases = []
    for prompts, answers in ((3, 4), (5, 2), (2, 6), (1, 3)):
        level = 2 * normal(generator, prompts, 1)
        cases.append(Case(args=(level + normal(generator, prompts, answers),),
                          note=f"{prompts} prompts, {answers} answers each"))
    same = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return [*cases, Case(args=(same,), note="one prompt whose answers all earn the same")]


def sums_to_zero(answer, case: Case) -> str | None:
    """Within a prompt the advantages sum to 0."""
    total = float(as_tensor(answer(*case.args)).double().sum(1).abs().max())
    return None if total < 1e-5 else f"a prompt's advantages sum to {total:.4g}, not to 0"


def own_reward_counts_once(answer, case: Case) -> str | None:
    """One more reward for an answer raises its advantage by exactly that; the baseline stays."""
    (rewards,) = case.args
    raised = rewards.clone()
    raised[0, 0] += 1.0
    gain = as_tensor(answer(raised)).double() - as_tensor(answer(rewards)).double()
    return None if abs(float(gain[0, 0]) - 1) < 1e-5 else (
        f"with 1 more reward, answer 0's own advantage rose by {float(gain[0, 0]):.4g}: its own "
        "reward is part of its baseline")


def other_prompts_do_not_matter(answer, case: Case) -> str | None:
    """A prompt's advantages do not depend on another prompt's rewards."""
    (rewards,) = case.args
    if len(rewards) < 2:
        return None
    other = rewards.clone()
    other[1] += 5 * torch.arange(1, rewards.shape[1] + 1)
    moved = as_tensor(answer(other)).double()[0] - as_tensor(answer(rewards)).double()[0]
    return None if float(moved.abs().max()) < 1e-5 else (
        "prompt 1's rewards changed the advantages of prompt 0")


def _batch_leave_one_out(r):
    return r - (r.sum() - r) / (r.numel() - 1)


def _normalised(epsilon, correction=1):
    """Return GRPO's advantage, which packages write with different small numbers."""
    return lambda r: (r - r.mean(1, keepdim=True)) / (
        r.std(1, keepdim=True, correction=correction) + epsilon)


_GRPO = ("You divide by the spread of the group: that is GRPO's advantage (unit 18), another "
         "convention. RLOO only subtracts.")


def _over_prompts(r):
    return r - (r.sum(0, keepdim=True) - r) / max(len(r) - 1, 1)


MUTANTS = (
    Mutant("own_reward_in_the_mean", lambda r: r - r.mean(1, keepdim=True),
           "The mean contains the answer's own reward: good answers lower their own advantage, "
           "and the gradient comes out (G - 1)/G times too short. Leave the answer out."),
    Mutant("batch_mean", lambda r: r - r.mean(),
           "This baseline is the mean of the whole batch. An easy prompt would then make all its "
           "answers look good: compare answers to the *same* prompt."),
    Mutant("leave_one_out_of_the_batch", _batch_leave_one_out,
           "You leave the answer out, but average the rest of the whole *batch*. The baseline is "
           "of the same prompt."),
    Mutant("over_prompts", _over_prompts,
           "The mean runs over prompts. Answers to one prompt stand in a row: the last axis."),
    Mutant("sign", lambda r: -rloo_advantage(r),
           "The sign is turned: the advantage is reward minus baseline."),
    Mutant("divided_by_all", lambda r: r - (r.sum(1, keepdim=True) - r) / r.shape[1],
           "The others' sum is divided by G, but there are only G - 1 of them."),
    Mutant("others_added_up", lambda r: r - (r.sum(1, keepdim=True) - r),
           "The others' rewards are added up, not averaged: divide by G - 1."),
    Mutant("baseline_only", lambda r: (r.sum(1, keepdim=True) - r) / (r.shape[1] - 1),
           "This is the baseline itself. The advantage is reward minus baseline."),
    Mutant("no_baseline", lambda r: r.clone(),
           "This is the reward itself. Subtract the mean of the other answers."),
    Mutant("normalised", _normalised(1e-4), _GRPO),
    Mutant("normalised_bare", _normalised(0.0),
           _GRPO + " (And where all answers earn the same, 0 / 0 is NaN.)"),
    Mutant("normalised_by_population", _normalised(1e-8, 0),
           _GRPO + " (And yours has the population's spread.)"),
    Mutant("oneself_among_the_others", lambda r: r - r.sum(1, keepdim=True) / (r.shape[1] - 1),
           "You divide by G - 1, but the sum still holds the answer's own reward: take it out."),
    Mutant("all_but_the_first", lambda r: r - r[:, 1:].mean(1, keepdim=True),
           "One and the same answer is left out for all. Each answer leaves out *itself*."),
    Mutant("best_other", lambda r: r - torch.stack([
               torch.cat([r[:, :i], r[:, i + 1:]], 1).amax(1) for i in range(r.shape[1])], 1),
           "The baseline is the *best* of the others. It is their mean."),
    Mutant("times_instead_of_over", lambda r: (r - r.mean(1, keepdim=True))
           * (r.shape[1] - 1) / r.shape[1],
           "The factor is turned round: r - mean must be stretched by G/(G - 1), not shrunk."),
)


def _stretched(r):
    return r.shape[1] / (r.shape[1] - 1) * (r - r.mean(1, keepdim=True))


def _numpy(r):
    r = r.numpy()
    rest = np.stack([np.delete(r, i, axis=1).mean(1) for i in range(r.shape[1])], 1)
    return r - rest


def _matrix(r):
    count = r.shape[1]
    return r @ ((count * torch.eye(count, dtype=r.dtype) - 1) / (count - 1))


def _loops(r):
    return [[x - (sum(row) - x) / (len(row) - 1) for x in row] for row in r.tolist()]


RLOO_ADVANTAGE = Exercise(
    id=f"{UNIT}.rloo_advantage",
    title="Advantages that leave one out",
    points=1, minutes=6, difficulty=2,
    reference=rloo_advantage,
    oracle=by_fractions,
    hand=Case(
        args=(torch.tensor([[3.0, 0.0, 0.0], [1.0, 2.0, 6.0]], dtype=torch.float64),),
        expected=torch.tensor([[3.0, -1.5, -1.5], [-3.0, -1.5, 4.5]], dtype=torch.float64),
        note="two prompts, three answers each"),
    cases=draw_cases,
    properties=(
        Property("a prompt's advantages sum to 0", sums_to_zero),
        Property("an answer is not part of its own baseline", own_reward_counts_once),
        Property("other prompts do not matter", other_prompts_do_not_matter),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("the mean, stretched by G/(G - 1)", _stretched),
        Variant("numpy, one left out at a time", _numpy),
        Variant("one matrix product", _matrix),
        Variant("loops, as lists", _loops),
    ),
    hints=(
        "What would the policy have earned with this prompt anyway? Its other answers to the same "
        "prompt say so, and they do not depend on the answer that is judged.",
        r"$$A_i = r_i - \frac{1}{G - 1} \sum_{j \ne i} r_j$$" "\n\n"
        "`rewards` and the result are `[prompts, answers]`, $G$ answers in a row. The sum of the "
        "others is the row's sum minus the answer's own.",
        "```python\n"
        "others = ...                      # [prompts, answers]: sum of the row without oneself\n"
        "return rewards - ...\n"
        "```",
    ),
    why="The others are independent of the answer, so the baseline leaves the gradient's mean "
        "alone. It is the mean of the row, stretched: G/(G - 1) (r - mean), which mends exactly "
        "the shortening that the plain mean causes.",
    index_names=lambda case, index: (f"prompt {index[0]}, answer {index[1]}" if len(index) == 2
                                     else None),
    forbidden=("tutorlib.posttraining.rloo_advantages",
               "tutorlib.posttraining.sequence_advantages"),
)
