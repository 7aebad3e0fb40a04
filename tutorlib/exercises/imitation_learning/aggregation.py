"""Exercise 04.3: the loop of DAgger, around a world, an expert and a learner that are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.imitation_learning.aggregation_answers import MUTANTS, VARIANTS
from tutorlib.exercises.imitation_learning.loss import UNIT
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor


@dataclass(frozen=True)
class World:
    """Drives a policy through a small world: the same policy and round give the same states."""

    next_states: tuple[tuple[int, ...], ...]  # [states][actions]
    steps: int  # of an episode
    seed: int

    def __call__(self, policy, round_: int) -> Int[Tensor, " steps"]:
        """Return the states of one episode driven by ``policy``, [states, actions]."""
        table = as_tensor(policy).double()
        n_states, n_actions = len(self.next_states), len(self.next_states[0])
        if tuple(table.shape) != (n_states, n_actions):
            raise ValueError(f"drive got a table of shape {tuple(table.shape)}; a policy here is "
                             f"[states, actions] = ({n_states}, {n_actions})")
        off = (table.sum(-1) - 1).abs() > 1e-4
        if bool(off.any() | table.isnan().any()):
            row = int(off.nonzero()[0]) if bool(off.any()) else 0
            raise ValueError(
                f"drive got a table that is no policy: the row of state {row} sums to "
                f"{float(table[row].sum()):.3g}. The expert's table is one-hot, the learner begins "
                "uniform, and beta and 1 - beta weigh them")
        luck = torch.rand(self.steps, dtype=torch.float64,
                          generator=torch.Generator().manual_seed(1000 * self.seed + int(round_)))
        state, states = 0, []
        for point in luck.tolist():
            states.append(state)
            action = int((table[state].cumsum(0) < point * float(table[state].sum())).sum())
            state = self.next_states[state][min(action, table.shape[1] - 1)]
        return torch.tensor(states)


@dataclass(frozen=True)
class Learner:
    """Clones a policy by counting; one pseudo-count of each action in every state."""

    n_states: int
    n_actions: int

    def __call__(self, states, actions) -> Float[Tensor, "states actions"]:
        """Return the policy, [states, actions], of pairs."""
        counts = torch.ones(self.n_states, self.n_actions, dtype=torch.float64)
        for state, action in zip(np.asarray(states).tolist(), np.asarray(actions).tolist(),
                                 strict=True):
            counts[int(state), int(action)] += 1
        return counts / counts.sum(-1, keepdim=True)


def dagger_loop(drive: World, expert: Int[Tensor, " states"], fit: Learner,
                betas: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the last learner, and all states and labels gathered, round after round."""
    n_states, n_actions = fit.n_states, fit.n_actions
    teacher = torch.nn.functional.one_hot(expert, n_actions).double()
    learner = torch.full((n_states, n_actions), 1 / n_actions, dtype=torch.float64)
    states = actions = torch.zeros(0, dtype=torch.long)
    for round_, beta in enumerate(betas):
        visited = drive(beta * teacher + (1 - beta) * learner, round_)
        states = torch.cat([states, visited])
        actions = torch.cat([actions, expert[visited]])
        learner = fit(states, actions)
    return learner, states, actions


def by_definition(drive, expert, fit, betas):
    """Unfold the definition from the last round down; counts and mixtures in plain Python."""
    answers, n_actions = expert.tolist(), fit.n_actions

    def data(last: int) -> list[int]:
        """The states asked about in rounds 0 to ``last``."""
        if last < 0:
            return []
        earlier = data(last - 1)
        rows = [[betas[last] * (a == answers[s]) + (1 - betas[last]) * p
                 for a, p in enumerate(row)] for s, row in enumerate(cloned(earlier))]
        return earlier + drive(torch.tensor(rows, dtype=torch.float64), last).tolist()

    def cloned(states: list[int]) -> list[list[float]]:
        """Frequencies with one pseudo-count."""
        return [[((states.count(s) if a == answers[s] else 0) + 1) / (states.count(s) + n_actions)
                 for a in range(n_actions)] for s in range(len(answers))]

    states = data(len(betas) - 1)
    return torch.tensor(cloned(states), dtype=torch.float64), states, [answers[s] for s in states]


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw worlds, experts and schedules; every action has its own place to lead to."""
    cases = []
    for states, actions, steps, betas, note in (
            (9, 3, 12, [1.0, 0.0, 0.0, 0.0], "the expert drives round 0, the learner the others"),
            (7, 3, 8, [1.0, 0.5, 0.25, 0.125], "a mixture that halves"),
            (8, 3, 10, [0.0, 0.7, 0.2, 0.0], "the uniform learner drives round 0"),
            (6, 4, 9, [0.8, 0.3, 0.6], "the expert does not drive alone even in round 0")):
        moves = torch.stack([torch.randperm(states, generator=generator)[:actions]
                             for _ in range(states)])
        # never 0 but in one state: a tie is broken towards 0, and must not be right by accident
        expert = torch.randint(1, actions, (states,), generator=generator)
        expert[int(torch.randint(1, states, (1,), generator=generator))] = 0
        seed = int(torch.randint(10_000, (1,), generator=generator))
        world = World(tuple(map(tuple, moves.tolist())), steps, seed)
        cases.append(Case(args=(world, expert, Learner(states, actions), betas), note=note))
    return cases


def every_label_is_the_experts(answer, case: Case) -> str | None:
    """Labels are what the expert says in that state."""
    _, states, actions = answer(*case.args)
    states, actions = as_tensor(states).long(), as_tensor(actions).long()
    wrong = (case.args[1][states] != actions).nonzero()
    if not len(wrong):
        return None
    at = int(wrong[0])
    return (f"pair {at} labels state {int(states[at])} with action {int(actions[at])}; the expert "
            f"says {int(case.args[1][states[at]])}")


def every_round_adds_an_episode(answer, case: Case) -> str | None:
    """The data hold each round's episode once."""
    drive, _, _, betas = case.args
    got, want = len(as_tensor(answer(*case.args)[1])), len(betas) * drive.steps
    return None if got == want else (f"{len(betas)} rounds of {drive.steps} steps make {want} "
                                     f"pairs; you return {got}")


def only_the_expert_drives(answer, case: Case) -> str | None:
    """With beta 1 throughout the states are the demonstrator's own: behaviour cloning."""
    drive, expert, fit, betas = case.args
    teacher = torch.nn.functional.one_hot(expert, fit.n_actions).double()
    want = torch.cat([drive(teacher, i) for i in range(len(betas))])
    got = as_tensor(answer(drive, expert, fit, [1.0] * len(betas))[1])
    same = got.shape == want.shape and bool((got == want).all())
    return None if same else "with beta = 1 in every round only the expert should drive"


def name_entry(case: Case, index: tuple[int, ...]) -> str | None:
    """Say which state and action an entry of the policy is, or which pair."""
    if len(index) == 2:
        return f"state {index[0]}, action {index[1]}"
    return f"pair {index[0]}, of round {index[0] // case.args[0].steps}"


# A corridor: from each place action 1 leads on, action 0 falls into the ditch, state 3
DITCH = World(((3, 1), (3, 2), (3, 0), (3, 0)), 4, 0)


DAGGER_LOOP = Exercise(
    id=f"{UNIT}.dagger_loop",
    title="Dataset aggregation",
    points=3, minutes=14, difficulty=3,
    reference=dagger_loop,
    oracle=by_definition,
    hand=Case(
        args=(DITCH, torch.tensor([1, 1, 1, 1]), Learner(4, 2), [1.0, 1.0]),
        # twice 0, 1, 2, 0 with label 1: state 0 four times, (1 + 4) / 6; states 1, 2 twice, 3 / 4
        expected=(torch.tensor([[1 / 6, 5 / 6], [0.25, 0.75], [0.25, 0.75], [0.5, 0.5]],
                               dtype=torch.float64),
                  [0, 1, 2, 0, 0, 1, 2, 0], [1] * 8),
        note="a corridor of three places; action 0 falls into the ditch (state 3). Only the "
             "expert drives, twice 0, 1, 2, 0: nothing is learned about the ditch"),
    cases=draw_cases,
    properties=(
        Property("every label is the expert's", every_label_is_the_experts),
        Property("every round adds an episode", every_round_adds_an_episode),
        Property("beta 1 is behaviour cloning", only_the_expert_drives),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Each round: mix the two policies, drive the mixture, ask the expert about every state "
        "visited, put the pairs *behind* all earlier ones, clone from everything. The learner "
        "that drives is the one of the round before; at first it is uniform.",
        r"$$\pi_i = \beta_i\, \pi^E + (1 - \beta_i)\, \hat\pi_i, \qquad D_i = D_{i-1} \cup \{(s, "
        r"\pi^E(s)) : s \text{ visited by } \pi_i\}, \qquad \hat\pi_{i+1} = \text{fit}(D_i)$$"
        "\n\n"
        "The expert as a table is `one_hot(expert, fit.n_actions).double()`, `[states, "
        "actions]`; its labels for visited states are `expert[visited]`. `torch.cat` joins.",
        "```python\n"
        "teacher = torch.nn.functional.one_hot(expert, fit.n_actions).double()\n"
        "learner = ...                          # uniform, [states, actions]\n"
        "states = actions = torch.zeros(0, dtype=torch.long)\n"
        "for round_, beta in enumerate(betas):\n"
        "    visited = drive(..., round_)       # the mixture drives\n"
        "    states = ...                       # all so far, then the new ones\n"
        "    actions = ...                      # what the expert says of them\n"
        "    learner = ...\n"
        "return learner, states, actions\n"
        "```",
    ),
    why="The states are the learner's, the labels the expert's: that is all there is to it. "
        "Keeping the old pairs makes it follow-the-leader, a no-regret learner; training on the "
        "newest round alone forgets the path while it learns the ditch.",
    index_names=name_entry,
    forbidden=("tutorlib.imitation.dagger",),
)
