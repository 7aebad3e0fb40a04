"""Which environment, and whether its episodes may end early.

Whoever imitates behaviour by a learned reward must not let the length of an episode speak for the
demonstrator. If an episode can end early, a reward that is always positive teaches to survive and
one that is always negative teaches to give up, whatever was demonstrated (Kostrikov et al. 2019,
"Discriminator-Actor-Critic"). Two cures are known. The `seals` suite lets the process
run on past its end (its CartPole swings on, paid 0). Kostrikov et al. enter an absorbing state,
marked by a flag in the observation, so that the learned reward can price it. This module does the
latter, since it needs no knowledge of the process: every episode lasts exactly ``fixed_horizon``
steps. Departure from the paper: what follows the horizon is bootstrapped like any time limit.

A beginner falls after 20 of 500 steps and would spend the rest waiting. ``absorbing_steps`` cuts
the wait short, again as a time limit does: the value of the absorbing state stands for what was
left out, so the length of an episode still says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import gymnasium
import numpy as np
import torch
from torch import Tensor

from tutorlib.errors import InvalidArgumentError


@dataclass(frozen=True)
class ControlTask:
    """A Gymnasium environment and how its episodes end."""

    env_id: str  # of a registered environment
    fixed_horizon: int | None = None  # steps of every episode; None: it ends when it ends
    absorbing_steps: int | None = None  # steps waited after an end; None: up to the horizon

    def __post_init__(self) -> None:
        """Refuse a horizon without steps, and a wait without a horizon."""
        for name in ("fixed_horizon", "absorbing_steps"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InvalidArgumentError(f"{name} is {number}; expected at least 1, or None")
        if self.absorbing_steps is not None and self.fixed_horizon is None:
            raise InvalidArgumentError(
                "absorbing_steps without fixed_horizon: only with a fixed horizon is there an "
                "absorbing state; set both, or neither"
            )


class FixedHorizon(gymnasium.Wrapper):
    """After an early end, wait in an absorbing state that pays 0, up to the horizon.

    With ``absorbing_steps`` the wait, and with it the episode, is cut after that many steps.
    Observations get one more entry: 0 while the process runs, 1 (all others 0) once it is over.
    """

    def __init__(self, env: gymnasium.Env, horizon: int, absorbing_steps: int | None = None):
        """Wrap an environment whose observations are a Box of one axis."""
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise InvalidArgumentError(
                f"the observations are {space}; a fixed horizon needs a Box of one axis, "
                "to which a flag can be appended"
            )
        low, high = (np.append(bound, flag).astype(space.dtype)  # 0 is an absorbed observation
                     for bound, flag in ((np.minimum(space.low, 0), 0),
                                         (np.maximum(space.high, 0), 1)))
        self.observation_space = gymnasium.spaces.Box(low, high, dtype=space.dtype)
        self.horizon, self.absorbing_steps = horizon, absorbing_steps or horizon
        self._time, self._absorbed, self._waited = 0, False, 0

    def reset(self, **settings):
        """Start an episode; the flag is 0."""
        obs, info = self.env.reset(**settings)
        self._time, self._absorbed, self._waited = 0, False, 0
        return np.append(obs, 0).astype(obs.dtype), info

    def step(self, action):
        """Step the process, or wait where it is over; only a time limit ends the episode."""
        self._time += 1
        last = self._time >= self.horizon
        if self._absorbed:
            self._waited += 1
            last |= self._waited >= self.absorbing_steps
            return self._absorbing_obs(), 0.0, False, last, {}
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._absorbed = terminated
        if terminated:
            return self._absorbing_obs(), reward, False, last, info
        return np.append(obs, 0).astype(obs.dtype), reward, False, last or truncated, info

    def _absorbing_obs(self) -> np.ndarray:
        obs = np.zeros(self.observation_space.shape, self.observation_space.dtype)
        obs[-1] = 1
        return obs


class IgnoresFlag:
    """A policy of the plain task, acting in one with a fixed horizon: it does not see the flag."""

    def __init__(self, policy):
        """Wrap a policy whose observations are one entry shorter."""
        self.policy = policy

    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one action per observation."""
        return self.policy.sample(obs[..., :-1], generator)

    def mode(self, obs: Tensor) -> Tensor:
        """Return the likeliest action per observation."""
        return self.policy.mode(obs[..., :-1])


def make_envs(task: str | ControlTask, n_envs: int, **settings) -> gymnasium.vector.VectorEnv:
    """Return ``n_envs`` copies of an environment, as its own vectorised version if it has one.

    A task with a fixed horizon is stepped copy by copy, each in a ``FixedHorizon``.

    >>> make_envs("CartPole-v1", 3).num_envs
    3
    >>> make_envs(ControlTask("CartPole-v1", fixed_horizon=500), 3).single_observation_space.shape
    (5,)
    """
    task = as_task(task)
    if task.fixed_horizon is not None:
        wrapper = partial(FixedHorizon, horizon=task.fixed_horizon,
                          absorbing_steps=task.absorbing_steps)
        settings = {"vectorization_mode": "sync", "wrappers": [wrapper],
                    "max_episode_steps": task.fixed_horizon, **settings}
    try:
        return gymnasium.make_vec(task.env_id, num_envs=n_envs, **settings)
    except gymnasium.error.Error as problem:
        raise InvalidArgumentError(
            f"there is no environment {task.env_id!r} ({problem}); give the id of a registered "
            'one, for example "CartPole-v1"'
        ) from problem


def as_task(task: str | ControlTask) -> ControlTask:
    """Return a task; the id of an environment stands for its usual episodes.

    >>> as_task("Pendulum-v1")
    ControlTask(env_id='Pendulum-v1', fixed_horizon=None, absorbing_steps=None)
    """
    return task if isinstance(task, ControlTask) else ControlTask(task)
