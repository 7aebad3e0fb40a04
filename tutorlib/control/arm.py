"""A one-joint robot arm to lift: Gymnasium's pendulum with a strong motor, many at once.

Equations, reward and starts are those of ``gymnasium.envs.classic_control.pendulum`` (a test
compares every step), on whole arrays: stepping copies one after the other would take most of the
time of a small PPO run. Differences: the motor is three times as strong, so that no run-up is
needed; actions are shares of the full torque, from -1 to 1; every episode lasts exactly
``HORIZON`` steps (three seconds). Registered for ``make_envs`` as ``ARM``.

``PENDULUM`` is Gymnasium's own Pendulum-v1, many at once: its motor, its actions, 200 steps. Only
the random numbers that draw the starts come in another order.
"""

from __future__ import annotations

from typing import ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError

ARM = "tutorlib/Arm-v0"
GRAVITY, TIME_STEP, MAX_SPEED, MAX_TORQUE = 10.0, 0.05, 8.0, 6.0
HORIZON = 60
PENDULUM = "tutorlib/Pendulum-v1"  # not "Pendulum-v1": a seed gives other starts than Gymnasium's


class ArmVector(VectorEnv):
    """``num_envs`` arms of length 1 and mass 1; angle 0 is upright.

    Observations are (cos, sin, angular speed), actions shares of the torque, rewards
    -(angle^2 + 0.1 speed^2 + 0.001 torque^2) of the state acted in. Raises InvalidArgumentError
    unless there is at least one arm and one step.

    >>> ArmVector(3).reset(seed=0)[0].shape
    (3, 3)
    """

    metadata: ClassVar = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}
    max_torque, max_action, horizon = MAX_TORQUE, 1.0, HORIZON

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, render_mode=None):
        """Make ``num_envs`` arms whose episodes last ``max_episode_steps`` (None: ``horizon``)."""
        max_episode_steps = self.horizon if max_episode_steps is None else max_episode_steps
        if num_envs < 1 or max_episode_steps < 1:
            raise InvalidArgumentError(f"num_envs is {num_envs} and max_episode_steps "
                                       f"{max_episode_steps}; expected at least 1 of each")
        self.num_envs, self.max_episode_steps = num_envs, max_episode_steps
        self.render_mode = render_mode
        self.single_observation_space = PendulumEnv().observation_space
        self.single_action_space = gymnasium.spaces.Box(-self.max_action, self.max_action, (1,),
                                                        np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.state = np.zeros((2, num_envs))  # angles, angular speeds
        self.time = np.zeros(num_envs, dtype=int)

    def reset(self, *, seed=None, options=None):
        """Draw angle and speed of all arms uniformly from +-pi and +-1."""
        super().reset(seed=seed)
        self._restart(np.ones(self.num_envs, dtype=bool))
        return self._observe(), {}

    def _restart(self, which: np.ndarray) -> None:
        """Draw new starts for some arms."""
        high = np.array([np.pi, 1.0])[:, None]
        self.state[:, which] = self.np_random.uniform(-high, high, size=(2, int(which.sum())))
        self.time[which] = 0

    def _observe(self) -> np.ndarray:
        """Return (cos, sin, speed) of all arms."""
        angle, speed = self.state
        return np.stack([np.cos(angle), np.sin(angle), speed], -1).astype(np.float32)

    def step(self, actions):
        """Move all arms; one whose time was up only restarts, and pays nothing."""
        over = self.time >= self.max_episode_steps
        angle, speed = self.state
        share = np.asarray(actions, dtype=float)[:, 0] / self.max_action
        torque = self.max_torque * np.clip(share, -1, 1)
        wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
        cost = wrapped**2 + 0.1 * speed**2 + 0.001 * torque**2
        faster = speed + (1.5 * GRAVITY * np.sin(angle) + 3.0 * torque) * TIME_STEP
        faster = np.clip(faster, -MAX_SPEED, MAX_SPEED)
        self.state = np.stack([angle + faster * TIME_STEP, faster])
        self.time = self.time + 1
        self._restart(over)
        truncated = ~over & (self.time >= self.max_episode_steps)
        never = np.zeros(self.num_envs, dtype=bool)
        return self._observe(), np.where(over, 0.0, -cost), never, truncated, {}


class PendulumVector(ArmVector):
    """``num_envs`` pendulums of Gymnasium's Pendulum-v1: actions are torques from -2 to 2.

    >>> PendulumVector(2).single_action_space
    Box(-2.0, 2.0, (1,), float32)
    """

    max_torque, max_action, horizon = 2.0, 2.0, 200


class SwingsUp:
    """A demonstrator for the pendulum, without training: pump energy, then hold it upright.

    The rule pushes with the motion until the energy would carry it up, and holds it by a spring
    and a brake once it is nearly there (weights found by trying). ``sample`` adds noise.

    >>> from tutorlib.control import evaluate
    >>> bool(evaluate(PENDULUM, SwingsUp(), 20).mean() > -250)  # drawing actions: about -1200
    True
    """

    NOISE = 0.3  # standard deviation, before the bounds cut it

    def mode(self, obs: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 1"]:
        """Return the torque of the rule for each observation (cos, sin, speed)."""
        cos, sin, speed = obs.unbind(-1)
        short_of_standing = 15 * (1 - cos) - speed.square() / 2  # E: speed^2 / 2 + 15 cos
        pump = 2 * speed.sign() * (short_of_standing > 0)
        hold = -(10 * sin + 2 * speed)
        return torch.where(cos > 0.8, hold, pump).clamp(-2, 2)[:, None]

    def sample(self, obs: Float[Tensor, "batch 3"], generator: torch.Generator) -> Tensor:
        """Return the rule's torque with normal noise."""
        mean = self.mode(obs)
        return mean + self.NOISE * torch.randn(mean.shape, generator=generator)


for env_id, entry in ((ARM, ArmVector), (PENDULUM, PendulumVector)):
    if env_id not in gymnasium.registry:
        gymnasium.register(env_id, vector_entry_point=entry)
