"""A Gymnasium environment over any tabular decision process."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp.tabular import TabularMDP


class MDPEnv(gymnasium.Env):
    """Step through a ``TabularMDP``: observations are state indices, actions are action indices.

    The reward of a step is the expected r(s, a): the table holds no other. An episode terminates on
    entering a terminal state, and is truncated after ``max_steps`` decisions (default: the horizon
    of the process; None for no limit). Randomness comes from ``reset(seed=...)``, as everywhere in
    Gymnasium.

    Raises InvalidArgumentError for an unknown action, or for ``step`` while no episode runs.

    >>> env = MDPEnv(TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]], [1, 0]))
    >>> env.reset(seed=0), env.step(0)
    ((0, {}), (1, 1.0, False, False, {}))
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own attribute)

    def __init__(self, mdp: TabularMDP, max_steps: int | None = None):
        """Prepare the tables to draw from, on the CPU."""
        self.mdp = mdp
        self.max_steps = mdp.horizon if max_steps is None else max_steps
        if self.max_steps is not None and self.max_steps < 1:
            raise InvalidArgumentError(f"max_steps is {max_steps!r}; expected at least 1, or None")
        # lets Gymnasium's tools make another one, as they do for registered environments
        self.spec = EnvSpec("TabularMDP-v0", MDPEnv, kwargs={"mdp": mdp, "max_steps": max_steps})
        self.observation_space = gymnasium.spaces.Discrete(mdp.n_states)
        self.action_space = gymnasium.spaces.Discrete(mdp.n_actions)
        self._successors = mdp.successors.cpu().numpy()
        self._cumulative = _cumulative(mdp.probabilities)
        self._start = _cumulative(mdp.initial_state_dist)
        self._reward = mdp.reward.detach().cpu().double().numpy()
        self._terminal = mdp.terminal.cpu().numpy()
        self._state: int | None = None  # None while no episode runs
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[int, dict]:
        """Begin an episode in a state drawn from the initial distribution."""
        super().reset(seed=seed)
        self._state, self._steps = self._draw(self._start), 0
        return self._state, {}

    def step(self, action: int | np.integer) -> tuple[int, float, bool, bool, dict]:
        """Return (next state, r(s, a), terminated, truncated, {}) after one decision."""
        if self._state is None:
            raise InvalidArgumentError("no episode is running; call reset() before step()")
        if not self.action_space.contains(action):
            raise InvalidArgumentError(
                f"there is no action {action!r}; actions are 0 to {self.mdp.n_actions - 1}"
            )
        here = self._state, int(action)
        following = int(self._successors[here][self._draw(self._cumulative[here])])
        self._steps += 1
        terminated = bool(self._terminal[following])
        truncated = not terminated and self._steps == self.max_steps
        self._state = None if terminated or truncated else following
        return following, float(self._reward[here]), terminated, truncated, {}

    def _draw(self, cumulative: np.ndarray) -> int:
        """Return an index with the probabilities that ``cumulative`` adds up."""
        return int(np.searchsorted(cumulative, self.np_random.random(), side="right"))


def _cumulative(probabilities) -> np.ndarray:
    """Return running sums along the last axis that reach 1 at the last possible outcome.

    Divided by their total, every sum from there on is exactly 1: a draw below 1 cannot fall on
    padding, whatever the rounding.
    """
    sums = probabilities.detach().cpu().double().numpy().cumsum(-1)
    return sums / sums[..., -1:]
