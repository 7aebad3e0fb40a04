"""What the graders of unit 01 share: the pond of the lesson, random processes, names of indices."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutorlib.grading import Case
from tutorlib.grading.compare import as_tensor

STATES, ACTIONS = ("bank", "ice", "home"), ("walk", "cross")
POND = "the pond of the lesson: states bank, ice, home; actions walk, cross; discount 0.5"
UNIT = "markov_decision_processes"


@dataclass(frozen=True)
class Process:
    """A decision process as the lesson's functions take it: dense and plain."""

    transition_matrix: Float[Tensor, "states actions next_states"]
    reward: Float[Tensor, "states actions"]
    terminal: Bool[Tensor, " states"]
    discount: float


def pond() -> Process:
    """Return the lesson's three-state process."""
    transitions = torch.zeros(3, 2, 3, dtype=torch.float64)
    transitions[0, 0, 2] = 1.0  # walk round the pond: home for certain
    transitions[0, 1, 1] = 1.0  # step on the ice
    transitions[1, 0, 0] = 1.0  # turn back
    transitions[1, 1] = torch.tensor([0.0, 0.5, 0.5])  # every second attempt gets home
    transitions[2, :, 2] = 1.0
    reward = torch.tensor([[1.0, -0.5], [0.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    return Process(transitions, reward, torch.tensor([False, False, True]), 0.5)


def random_process(generator: torch.Generator, states: int, actions: int, discount: float,
                   ends: bool = True) -> Process:
    """Draw a process with one terminal state (or none), some impossible moves, rewards near 1."""
    logits = torch.randn(states, actions, states, generator=generator, dtype=torch.float64)
    possible = torch.rand(states, actions, states, generator=generator) < 0.7
    possible[..., 0] |= ~possible.any(-1)
    transitions = (2 * logits).masked_fill(~possible, -torch.inf).softmax(-1)
    reward = torch.randn(states, actions, generator=generator, dtype=torch.float64)
    end = int(torch.randint(states, (1,), generator=generator))
    terminal = (torch.arange(states) == end) & ends
    if ends:
        transitions[end] = torch.eye(states, dtype=torch.float64)[end]
        reward[end] = 0.0
    return Process(transitions, reward, terminal, discount)


def random_values(generator: torch.Generator, states: int) -> Float[Tensor, " states"]:
    """Draw a guess of the values, terminal states included, which a backup must not believe."""
    return 2 * torch.randn(states, generator=generator, dtype=torch.float64)


def random_policy(generator: torch.Generator, states: int,
                  actions: int) -> Float[Tensor, "states actions"]:
    """Draw a policy whose favourite action gets most of the probability, but not all."""
    logits = torch.randn(states, actions, generator=generator, dtype=torch.float64)
    return (2 * logits).softmax(-1)


def decision_rules(states: int, actions: int) -> np.ndarray:
    """Return every way to choose one action per state, [rules, states], in lexicographic order."""
    return np.array(list(itertools.product(range(actions), repeat=states)))


def returns_of_rules(transition_matrix, reward, values, discount, terminal) -> np.ndarray:
    """Return [rules, states]: one step by each rule, then the guessed values."""
    moves, paid = transition_matrix.numpy(), reward.numpy()
    later = np.where(terminal.numpy(), 0.0, values.numpy())
    states, actions = paid.shape
    here = np.arange(states)
    return np.stack([paid[here, rule] + discount * (moves[here, rule] @ later)
                     for rule in decision_rules(states, actions)])


def numbers(answer, case: Case) -> Tensor:
    """Return what the answer makes of a case as a float64 tensor."""
    return as_tensor(answer(*case.args)).to(torch.float64)


def name_index(case: Case, index: tuple[int, ...]) -> str:
    """Say which state, and which action, an index stands for."""
    on_pond = case.note == POND
    text = f"state '{STATES[index[0]]}'" if on_pond else f"state number {index[0]}"
    if len(index) > 1:
        text += f", action '{ACTIONS[index[1]]}'" if on_pond else f", action number {index[1]}"
    return text
