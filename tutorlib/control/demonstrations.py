"""Recorded episodes of a control task: what imitation learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tutorlib.control.networks import observation_size
from tutorlib.control.rollout import Runner, Transitions
from tutorlib.control.tasks import ControlTask, make_envs
from tutorlib.errors import InvalidArgumentError


@dataclass(frozen=True)
class ControlDemonstrations:
    """Episodes side by side, padded to the longest; ``mask`` says which steps happened.

    Raises InvalidArgumentError if there is no episode, if shapes disagree, if an episode has no
    step or a hole, or if a step that happened holds a number that is not finite.
    """

    obs: Float[Tensor, "n time_plus_one inputs"]
    actions: Shaped[Tensor, " n time *action"]
    rewards: Float[Tensor, "n time"]
    mask: Bool[Tensor, "n time"]  # True for a step that happened; True first, then False
    terminated: Bool[Tensor, " n"]  # the process ended itself; False: a time limit cut it

    def __post_init__(self) -> None:
        """Refuse what could not have been recorded."""
        _check_shapes(self)
        if not self.mask[:, 0].all() or (self.mask[:, 1:] & ~self.mask[:, :-1]).any():
            raise InvalidArgumentError(
                "mask has an episode without a first step or with a hole; expected True for the "
                "steps of an episode, then False to the end of its row"
            )
        _check_finite(self)

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.obs)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> ControlDemonstrations:
        """Return some of the episodes; a single number gives a set of one."""
        index = [index] if isinstance(index, int) else index
        return ControlDemonstrations(*(getattr(self, field.name)[index] for field in fields(self)))

    def lengths(self) -> Int[Tensor, " n"]:
        """Return the number of steps of each episode."""
        return self.mask.sum(1)

    def returns(self) -> Float[Tensor, " n"]:
        """Return the undiscounted return of each episode."""
        return (self.rewards * self.mask).sum(1)

    def transitions(self) -> Transitions:
        """Return all steps as a flat table, episode after episode, without the padding."""
        steps = torch.arange(self.mask.shape[1], device=self.mask.device)
        last = steps == self.lengths()[:, None] - 1
        columns = (self.obs[:, :-1], self.actions, self.obs[:, 1:],
                   last & self.terminated[:, None])
        return Transitions(*(column[self.mask] for column in columns))

    def check_spaces(self, observation_space, action_space) -> None:
        """Raise InvalidArgumentError unless these episodes could come from such a task."""
        inputs = observation_size(observation_space)
        if self.obs.shape[-1] != inputs:
            raise InvalidArgumentError(
                f"an observation of the demonstrations holds {self.obs.shape[-1]} numbers, one of "
                f"the task {inputs}; record them in the same task (a fixed horizon adds a flag)"
            )
        discrete = isinstance(action_space, gymnasium.spaces.Discrete)
        taken = self.actions[self.mask]
        if taken.shape[1:] != action_space.shape or taken.is_floating_point() == discrete:
            raise InvalidArgumentError(
                f"an action of the demonstrations is {taken.dtype} of shape "
                f"{tuple(taken.shape[1:])}; the task takes {action_space}"
            )
        if discrete and not ((taken >= 0) & (taken < int(action_space.n))).all():
            raise InvalidArgumentError(
                f"actions run from {int(taken.min())} to {int(taken.max())}; the task takes "
                f"{action_space}"
            )


def _check_shapes(demos: ControlDemonstrations) -> None:
    """Compare all shapes with those of ``rewards``, [n, T]."""
    if demos.rewards.ndim != 2 or 0 in demos.rewards.shape:
        raise InvalidArgumentError(
            f"rewards has shape {tuple(demos.rewards.shape)}; expected [episodes, steps], at "
            "least one of each: there is nothing to imitate in no demonstration"
        )
    n, steps = demos.rewards.shape
    expected = {"obs": (n, steps + 1), "actions": (n, steps), "mask": (n, steps),
                "terminated": (n,)}
    for name, shape in expected.items():
        found = tuple(getattr(demos, name).shape)
        if found[: len(shape)] != shape or (name == "obs" and len(found) != 3):
            raise InvalidArgumentError(
                f"{name} has shape {found}; expected {shape}{' and inputs' * (name == 'obs')}: "
                f"rewards has {n} episodes of {steps} steps, and obs one entry more in time"
            )


def _check_finite(demos: ControlDemonstrations) -> None:
    """Look for NaN and infinity in all that happened; padding may hold anything."""
    seen = torch.cat([demos.mask[:, :1], demos.mask], 1)
    for name, happened in (("obs", seen), ("actions", demos.mask), ("rewards", demos.mask)):
        values = getattr(demos, name)
        bad = ~torch.isfinite(values).reshape(*happened.shape, -1).all(-1) & happened
        if bad.any():
            episode, step = bad.nonzero()[0].tolist()
            raise InvalidArgumentError(
                f"{name} of episode {episode} at step {step} is not finite; expected numbers: "
                "leave that episode out, or look for what made it"
            )


def demonstrations_from_episodes(episodes: Sequence[tuple]) -> ControlDemonstrations:
    """Return demonstrations from (obs, actions, rewards, terminated) of each episode.

    ``obs`` holds one entry more than ``actions`` and ``rewards``. Raises InvalidArgumentError if
    there is no episode or if one is ragged.

    >>> short, long = ([[0.0]] * 2, [1], [1.0], True), ([[0.0]] * 4, [0, 1, 0], [1.0] * 3, False)
    >>> demonstrations_from_episodes([short, long]).lengths()
    tensor([1, 3])
    """
    if not len(episodes):
        raise InvalidArgumentError("there are no episodes; expected at least one")
    for number, (obs, actions, rewards, _) in enumerate(episodes):
        if not len(obs) - 1 == len(actions) == len(rewards) >= 1:
            raise InvalidArgumentError(
                f"episode {number} is ragged: {len(obs)} observations, {len(actions)} actions, "
                f"{len(rewards)} rewards; expected one observation more than actions, the same "
                "number of rewards, and at least one step"
            )
    obs, actions, rewards, terminated = zip(*episodes, strict=True)
    padded = [_pad(obs, torch.float32), _pad(actions), _pad(rewards, torch.float32)]
    mask = _pad([np.ones(len(each), dtype=bool) for each in rewards])
    return ControlDemonstrations(*padded, mask, torch.tensor([bool(end) for end in terminated]))


def _pad(rows: Sequence, dtype: torch.dtype | None = None) -> Tensor:
    """Return rows of different lengths as one tensor, zeros behind their ends."""
    try:
        tensors = [torch.as_tensor(np.asarray(row), dtype=dtype) for row in rows]
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"an episode is no table of numbers ({error}); expected observations (and actions) of "
            "one size throughout"
        ) from None
    if len({each.shape[1:] for each in tensors}) > 1:
        raise InvalidArgumentError(
            f"episodes differ in shape: {sorted({tuple(each.shape[1:]) for each in tensors})}; "
            "expected observations (and actions) of one size throughout"
        )
    return pad_sequence(tensors, batch_first=True)


def record_demonstrations(task: str | ControlTask, policy, episodes: int, seed: int,
                          greedy: bool = True, max_steps: int | None = None,
                          device="cpu") -> ControlDemonstrations:
    """Follow ``policy`` for ``episodes`` fresh episodes, run side by side, and write them down.

    Greedy episodes take the policy's likeliest action, others sample. Actions are recorded as the
    environment took them: real ones within their bounds. An episode still running after
    ``max_steps`` steps is cut there, as by a time limit.

    >>> from tutorlib.control import GaussianPolicy
    >>> idle = GaussianPolicy(3, 1, (8,), torch.Generator().manual_seed(0))
    >>> record_demonstrations("Pendulum-v1", idle, 2, seed=0, max_steps=5).obs.shape
    torch.Size([2, 6, 3])
    """
    for name, number in (("episodes", episodes), ("max_steps", max_steps)):
        if number is not None and number < 1:
            raise InvalidArgumentError(f"{name} is {number}; expected at least 1")
    envs = make_envs(task, episodes)
    runner, generator = Runner(envs, seed, device), torch.Generator(device).manual_seed(seed)
    act = (lambda obs, _: policy.mode(obs)) if greedy else policy.sample
    steps, all_obs = [], [runner.obs]
    running, terminated = np.ones(episodes, dtype=bool), np.zeros(episodes, dtype=bool)
    while running.any() and (max_steps is None or len(steps) < max_steps):
        with torch.no_grad():
            actions = runner.legal(act(runner.tensor(runner.obs), generator))
        runner.obs, rewards, ends, cuts, _ = envs.step(actions)
        steps.append((actions, rewards, running.copy()))
        all_obs.append(runner.obs)
        terminated |= running & ends
        running &= ~(ends | cuts)
    envs.close()
    actions, rewards, mask = (np.stack(column, 1) for column in zip(*steps, strict=True))
    seen = np.concatenate([mask[:, :1], mask], 1)  # zeros where another episode began
    obs = np.where(seen[..., None], np.stack(all_obs, 1), 0)
    actions = np.where(mask.reshape(*mask.shape, *[1] * (actions.ndim - 2)), actions, 0)
    return ControlDemonstrations(
        runner.tensor(obs), torch.as_tensor(actions, device=device),
        runner.tensor(rewards * mask), *(torch.as_tensor(flags, device=device)
                                         for flags in (mask, terminated)))
