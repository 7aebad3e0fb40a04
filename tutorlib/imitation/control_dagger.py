"""DAgger with a network, on a control task: the loop of ``dagger`` with episodes for states.

Departures from Ross, Gordon and Bagnell (2011, Algorithm 3.1): as in ``dagger``; and of the states
visited in a round only ``labels`` are asked about, evenly spaced, because an expert's time is what
is scarce. Each round trains a fresh network on all pairs so far.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import gymnasium
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tutorlib.control import make_envs, make_policy, record_demonstrations
from tutorlib.errors import InvalidArgumentError
from tutorlib.imitation.dagger import BetaSchedule, beta_of, check_whole, expert_first
from tutorlib.imitation.neural import BCConfig, fit


@dataclass(frozen=True)
class ControlDaggerConfig:
    """Settings of DAgger on a control task."""

    rounds: int = 10  # how often the data grows and a network is trained
    episodes: int = 1  # driven in each round, side by side
    labels: int | None = 20  # states of a round that the expert is asked about; None: all
    max_steps: int | None = None  # an episode is cut here; None: only by the task itself
    beta: BetaSchedule = expert_first  # probability that the expert drives, by round
    bc: BCConfig = field(default=BCConfig(validation_fraction=0.0))  # how a network is trained

    def __post_init__(self) -> None:
        """Refuse settings with which nothing would be asked."""
        for name in ("rounds", "episodes", "labels", "max_steps"):
            value = getattr(self, name)
            if value is not None or name in ("rounds", "episodes"):
                check_whole(name, value)
        if self.bc.validation_fraction:
            raise InvalidArgumentError(
                "DAgger trains on all it has asked about; give BCConfig(validation_fraction=0)")


@dataclass(frozen=True)
class ControlDaggerResult:
    """The learner, and how it came about."""

    policy: nn.Module  # after the last round
    policies: list[nn.Module]  # after each round
    obs: Float[Tensor, "pairs inputs"]  # all observations that were asked about, in order
    actions: Shaped[Tensor, " pairs *action"]  # what the expert answered
    history: list[dict[str, float]]  # by round: beta, labels so far, mean length of the episodes


class Mixture:
    """Drives with the expert's action with probability ``beta``, else with the learner's."""

    def __init__(self, expert, learner, beta: float, generator: torch.Generator):
        """Draw from ``generator``, once for each action."""
        self.expert, self.learner, self.beta, self.generator = expert, learner, beta, generator

    def mode(self, obs: Float[Tensor, "batch inputs"]) -> Tensor:
        """Return one action per observation."""
        if self.beta == 0:
            return self.learner.mode(obs)
        if self.beta == 1 or self.learner is None:
            return self.expert.mode(obs)
        expert, learner = self.expert.mode(obs), self.learner.mode(obs)
        drives = torch.rand(len(obs), generator=self.generator).to(obs.device) < self.beta
        return torch.where(drives.view(-1, *[1] * (expert.ndim - 1)), expert, learner)


def dagger_control(task, expert, config: ControlDaggerConfig = ControlDaggerConfig(),
                   seed: int = 0, device="cpu") -> ControlDaggerResult:
    """Learn from an expert that can be asked, one with ``mode(obs)``, on a Gymnasium task.

    The learner drives with its likeliest action. With ``expert_first``, round 0 is behaviour
    cloning. Raises InvalidArgumentError when the expert's answers are no actions of the task, or
    when the schedule leaves [0, 1] or does not let the expert drive in round 0.

    >>> from tutorlib.imitation import CARTPOLE_EXPERT
    >>> quick = ControlDaggerConfig(rounds=2, labels=5, max_steps=10, bc=BCConfig(
    ...     max_epochs=2, validation_fraction=0))
    >>> [entry["labels"] for entry in dagger_control("CartPole-v1", CARTPOLE_EXPERT, quick).history]
    [5, 10]
    """
    envs = make_envs(task, 1)
    spaces = envs.single_observation_space, envs.single_action_space
    envs.close()
    _check_expert(expert)
    generator = torch.Generator().manual_seed(seed)
    learner, policies, history, all_obs, all_actions = None, [], [], [], []
    for round_ in range(config.rounds):
        beta = beta_of(config.beta, round_)
        if learner is None and beta < 1:
            raise InvalidArgumentError(f"beta is {beta} in round 0, where there is no learner yet; "
                                       "expected 1")
        driver = Mixture(expert, learner, beta, generator)
        driven = record_demonstrations(task, driver, config.episodes, 1000 * seed + round_,
                                       max_steps=config.max_steps, device=device)
        visited = spaced(driven.transitions().obs, config.labels)
        all_obs.append(visited)
        all_actions.append(ask(expert, visited, spaces[1]))
        learner = make_policy(*spaces, config.bc.hidden, generator).to(device)
        pairs = torch.cat(all_obs), torch.cat(all_actions)
        fit(learner, pairs, None, config.bc, generator)
        policies.append(learner)
        history.append({"beta": beta, "labels": len(pairs[0]),
                        "length": float(driven.lengths().float().mean())})
    return ControlDaggerResult(learner, policies, *pairs, history)


def spaced(rows: Shaped[Tensor, " rows *entry"], count: int | None
           ) -> Shaped[Tensor, " some *entry"]:
    """Return ``count`` rows at even distances, the first among them; all if there are fewer.

    >>> spaced(torch.arange(7), 3).tolist(), spaced(torch.arange(2), 3).tolist()
    ([0, 2, 4], [0, 1])
    """
    if count is None or len(rows) <= count:
        return rows
    return rows[torch.arange(count, device=rows.device) * len(rows) // count]


@torch.no_grad()
def ask(expert, obs: Float[Tensor, "samples inputs"], action_space
        ) -> Shaped[Tensor, " samples *action"]:
    """Return the expert's actions for these observations, if they are actions of the task.

    Raises InvalidArgumentError otherwise.

    >>> from tutorlib.imitation import CARTPOLE_EXPERT
    >>> ask(CARTPOLE_EXPERT, torch.zeros(2, 4), gymnasium.spaces.Discrete(2)).tolist()
    [1, 1]
    """
    _check_expert(expert)
    answers = expert.mode(obs)
    shape = (len(obs), *action_space.shape)
    found = tuple(answers.shape) if isinstance(answers, Tensor) else type(answers).__name__
    if found != shape:
        raise InvalidArgumentError(
            f"asked about {len(obs)} observations, the expert returned {found}; expected a tensor "
            f"of shape {shape}, one action each"
        )
    if not _are_actions(answers, action_space):
        raise InvalidArgumentError(
            f"the expert returned {answers.dtype} from {float(answers.min()):g} to "
            f"{float(answers.max()):g}; the task takes {action_space}"
        )
    return answers


def _check_expert(expert) -> None:
    """Raise InvalidArgumentError unless the expert can be asked."""
    if not callable(getattr(expert, "mode", None)):
        raise InvalidArgumentError(
            f"the expert is a {type(expert).__name__} without a method mode(obs); expected a "
            "policy, or a controller such as BangBang"
        )


def _are_actions(answers: Tensor, action_space) -> bool:
    """Whether answers have the kind and the range of a task's actions."""
    if isinstance(action_space, gymnasium.spaces.Discrete):
        whole = not answers.is_floating_point() and answers.dtype != torch.bool
        return whole and bool(((answers >= 0) & (answers < int(action_space.n))).all())
    return answers.is_floating_point() and bool(torch.isfinite(answers).all())
