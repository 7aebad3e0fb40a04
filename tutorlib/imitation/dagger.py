"""DAgger in a finite process: let the learner drive, and ask the expert where it gets to.

Dataset Aggregation (Ross, Gordon and Bagnell 2011, Algorithm 3.1). Round i drives with the mixture
beta_i expert + (1 - beta_i) learner, asks the expert for its action in every state visited, adds
these pairs to all earlier ones, and clones anew. What makes the error grow with T and not T^2 is
that the learner is trained on the states of its own making. The guarantee needs more than the
loop: aggregation (or another no-regret learner), rounds enough for the regret to vanish, and an
expert that can undo a mistake at bounded cost (``recoverability``).

Departures from the paper: the mixture chooses at each step, not only in expectation; the learner
after the last round is returned, not the best one on validation data (all are in ``policies``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.imitation.cloning import action_counts, policy_from_counts
from tutorlib.imitation.pairs import Expert, expert_table
from tutorlib.mdp import TabularMDP, sample_trajectories

BetaSchedule = Callable[[int], float]  # round (from 0) -> probability that the expert drives


def expert_first(round_: int) -> float:
    """Return 1 in round 0 and 0 afterwards: round 0 is behaviour cloning.

    >>> [expert_first(i) for i in range(3)]
    [1.0, 0.0, 0.0]
    """
    return 1.0 if round_ == 0 else 0.0


def geometric(rate: float) -> BetaSchedule:
    """Return the schedule beta_i = rate^i (Ross et al. 2011, section 3).

    >>> [geometric(0.5)(i) for i in range(3)]
    [1.0, 0.5, 0.25]
    """
    if not 0 <= rate <= 1:
        raise InvalidArgumentError(f"rate is {rate!r}; expected a number from 0 to 1")
    return lambda round_: float(rate**round_)


def linear(rounds: int) -> BetaSchedule:
    """Return the schedule that falls from 1 in equal steps and is 0 from round ``rounds`` on.

    >>> [linear(4)(i) for i in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    check_whole("rounds", rounds)
    return lambda round_: max(0.0, 1.0 - round_ / rounds)


def check_whole(name: str, value: int) -> None:
    """Raise InvalidArgumentError unless ``value`` is a whole number, 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidArgumentError(f"{name} is {value!r}; expected a whole number, at least 1")


def beta_of(schedule: BetaSchedule, round_: int) -> float:
    """Return the probability of a schedule at a round; raise InvalidArgumentError if it is none."""
    if not callable(schedule):
        raise InvalidArgumentError(
            f"beta is {schedule!r}; expected a function of the round, such as expert_first")
    beta = schedule(round_)
    if not 0 <= beta <= 1:
        raise InvalidArgumentError(
            f"beta is {beta!r} in round {round_}; expected a probability, from 0 to 1")
    return float(beta)


@dataclass(frozen=True)
class DaggerConfig:
    """Settings of DAgger in a finite process."""

    rounds: int = 10  # how often the data grows and the learner is cloned anew
    episodes: int = 1  # episodes driven, and labelled, in each round
    horizon: int | None = None  # steps of an episode; None: the process's own
    beta: BetaSchedule = expert_first  # probability that the expert drives, by round
    smoothing: float = 0.0  # pseudo-counts of each action when cloning

    def __post_init__(self) -> None:
        """Refuse settings with which nothing would be asked."""
        for name in ("rounds", "episodes"):
            check_whole(name, getattr(self, name))


@dataclass(frozen=True)
class DaggerResult:
    """The learner, and how it came about."""

    policy: Float[Tensor, "states actions"]  # after the last round
    policies: list[Tensor]  # after each round
    states: Int[Tensor, " pairs"]  # all states that were asked about, in order
    actions: Int[Tensor, " pairs"]  # what the expert answered
    history: list[dict[str, float]]  # by round: beta, labels so far, error (see ``dagger``)


def dagger(mdp: TabularMDP, expert: Expert, config: DaggerConfig = DaggerConfig(), seed: int = 0
           ) -> DaggerResult:
    """Learn from an expert that can be asked: Ross et al. 2011, Algorithm 3.1.

    ``expert`` is a policy table [states, actions], from which answers are drawn, or a function of
    states [n] that returns actions [n]. Each entry of ``history`` holds ``beta``, ``labels`` (pairs
    so far) and ``error``, the mean probability with which the learner of the round before would
    have acted otherwise than the expert's answers, in the states just visited.

    Raises InvalidArgumentError for an expert that is no policy, a schedule that leaves [0, 1], or
    without a horizon.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [0.0], discount=0.9, horizon=3)
    >>> dagger(mdp, lambda states: torch.ones_like(states), DaggerConfig(rounds=2)).policy.tolist()
    [[0.0, 1.0]]
    """
    teacher = expert_table(mdp, expert)
    generator = torch.Generator().manual_seed(seed)
    states = actions = torch.zeros(0, dtype=torch.long, device=mdp.device)
    learner = policy_from_counts(torch.zeros_like(teacher))
    policies, history = [], []
    for round_ in range(config.rounds):
        beta = beta_of(config.beta, round_)
        visited = drive(mdp, beta * teacher + (1 - beta) * learner, config, generator)
        answers = torch.multinomial(teacher[visited].cpu(), 1, generator=generator)[:, 0]
        answers = answers.to(mdp.device)
        error = 1 - float(learner[visited, answers].mean())
        states, actions = torch.cat([states, visited]), torch.cat([actions, answers])
        learner = policy_from_counts(action_counts(mdp, states, actions), config.smoothing)
        policies.append(learner)
        history.append({"beta": beta, "labels": len(states), "error": error})
    return DaggerResult(learner, policies, states, actions, history)


def drive(mdp: TabularMDP, policy: Tensor, config: DaggerConfig, generator: torch.Generator
          ) -> Int[Tensor, " visited"]:
    """Return the states in which decisions were made, episode after episode."""
    driven = sample_trajectories(mdp, policy, config.episodes, config.horizon, generator)
    return driven.states[:, :-1][driven.mask]
