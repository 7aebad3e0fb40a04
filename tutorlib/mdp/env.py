"""A Gymnasium environment over any tabular decision process."""

from __future__ import annotations

import gymnasium
import numpy as np

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp.tabular import TabularMDP


class MDPEnv(gymnasium.Env):
    """Step through a ``TabularMDP``: observations are state indices, actions action indices.

    The reward of a step is the expected r(s, a). An episode terminates on entering a terminal
    state and is truncated after ``max_steps`` (default: the process's horizon) decisions.

    >>> env = MDPEnv(TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]]))
    >>> env.observation_space.n, env.action_space.n
    (np.int64(2), np.int64(1))
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own attribute)

    def __init__(self, mdp: TabularMDP, max_steps: int | None = None):
        """Prepare sampling tables on the CPU."""
        self.mdp, self.max_steps = mdp, max_steps if max_steps is not None else mdp.horizon
        self.observation_space = gymnasium.spaces.Discrete(mdp.n_states)
        self.action_space = gymnasium.spaces.Discrete(mdp.n_actions)
        self._cumulative = mdp.probabilities.cpu().double().numpy().cumsum(-1)
        self._successors = mdp.successors.cpu().numpy()
        self._reward = mdp.reward.cpu().double().numpy()
        self._start = mdp.initial_state_dist.cpu().double().numpy().cumsum()
        self._terminal = mdp.terminal.cpu().numpy()
        self._state, self._steps = None, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Draw an initial state."""
        super().reset(seed=seed)
        self._state, self._steps = _draw(self._start, self.np_random.random()), 0
        return self._state, {}

    def step(self, action):
        """Draw the next state of ``action``."""
        if self._state is None:
            raise InvalidArgumentError("call reset() before step()")
        if not self.action_space.contains(action):
            raise InvalidArgumentError(f"there is no action {action!r}; they run from 0 to "
                                       f"{self.action_space.n - 1}")
        reward = float(self._reward[self._state, action])
        branch = _draw(self._cumulative[self._state, action], self.np_random.random())
        self._state, self._steps = int(self._successors[self._state, action, branch]), self._steps + 1
        terminated = bool(self._terminal[self._state])
        truncated = self.max_steps is not None and self._steps >= self.max_steps and not terminated
        return self._state, reward, terminated, truncated, {}


def _draw(cumulative: np.ndarray, uniform: float) -> int:
    """Return the index at which a uniform number falls; rounding cannot lead past the end."""
    last = int(np.searchsorted(cumulative, cumulative[-1], side="left"))
    return min(int(np.searchsorted(cumulative, uniform, side="right")), last)
