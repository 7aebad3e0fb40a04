"""Temporal-difference control with a table: Q-learning, SARSA, expected SARSA.

One loop serves all three, since they differ in one number alone: what the next state is taken to be
worth. The environment is any Gymnasium one with Discrete states and actions, or a TabularMDP.
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import MDPEnv, TabularMDP

METHODS = ("q_learning", "sarsa", "expected_sarsa")


@dataclass(frozen=True)
class TDConfig:
    """Settings of tabular temporal-difference control."""

    episodes: int = 500  # episodes to learn from
    learning_rate: float = 0.2  # how far a value moves towards its target
    epsilon: float = 0.1  # probability of acting uniformly at random instead of greedily
    discount: float | None = None  # None: the decision process's own
    max_steps: int = 200  # an episode is cut here: a truncation, so its last step bootstraps

    def __post_init__(self) -> None:
        """Refuse settings with which nothing could be learned."""
        if not 0 < self.learning_rate <= 1:
            raise InvalidArgumentError(
                f"learning_rate is {self.learning_rate}; expected above 0, up to 1")
        if not 0 <= self.epsilon <= 1:
            raise InvalidArgumentError(f"epsilon is {self.epsilon}; expected 0 to 1")
        if self.episodes < 1 or self.max_steps < 1:
            raise InvalidArgumentError("episodes and max_steps must be at least 1, not "
                                       f"{self.episodes} and {self.max_steps}")


@dataclass(frozen=True)
class TDResult:
    """A learned table and the returns on the way."""

    q_values: Float[Tensor, "states actions"]
    returns: Float[Tensor, " episodes"]  # undiscounted, of the exploring behaviour


def next_value(method: str, next_q: np.ndarray, next_action: int, epsilon: float) -> float:
    """Return what the next state is worth under ``method``, given its row of Q.

    Q-learning takes the best action whatever is done next (Watkins 1989), SARSA the action that is
    done next (Rummery and Niranjan 1994), expected SARSA the mean over the epsilon-greedy policy,
    ties shared (van Seijen et al. 2009).

    >>> row = np.array([0.0, 1.0])
    >>> [float(next_value(m, row, 0, epsilon=0.5)) for m in METHODS]
    [1.0, 0.0, 0.75]
    """
    if method == "q_learning":
        return next_q.max()
    if method == "sarsa":
        return next_q[next_action]
    if method == "expected_sarsa":
        best = next_q == next_q.max()
        return (1 - epsilon) * next_q[best].mean() + epsilon * next_q.mean()
    raise InvalidArgumentError(f"method is {method!r}; expected one of {METHODS}")


def epsilon_greedy(q_row: np.ndarray, epsilon: float, rng: np.random.Generator) -> int:
    """Return the best action, ties broken at random, or with probability epsilon any action."""
    if rng.random() < epsilon:
        return int(rng.integers(len(q_row)))
    return int(rng.choice(np.flatnonzero(q_row == q_row.max())))


def td_control(env: gymnasium.Env | TabularMDP, method: str, config: TDConfig = TDConfig(),
               seed: int = 0) -> TDResult:
    """Learn Q from experience alone: Q(s, a) += learning_rate * (r + discount * next - Q(s, a)).

    ``next`` is ``next_value``, and 0 after a terminal state (Sutton and Barto 2018, Equations 6.7,
    6.8, 6.9). Behaviour is epsilon-greedy in Q, which starts at 0; the next action is drawn before
    the update, as SARSA needs it, for all three methods.
    Raises InvalidArgumentError for an unknown method or spaces that are not Discrete.

    >>> chain = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]],
    ...                               terminal=[False, True])
    >>> td_control(chain, "q_learning", TDConfig(episodes=100)).q_values.round(decimals=3).tolist()
    [[1.0], [0.0]]
    """
    env, discount = _as_env(env, config)
    rng = np.random.default_rng(seed)
    q = np.zeros((env.observation_space.n, env.action_space.n))
    returns = np.zeros(config.episodes)
    for episode in range(config.episodes):
        state, _ = env.reset(seed=seed) if episode == 0 else env.reset()
        action = epsilon_greedy(q[state], config.epsilon, rng)
        for _ in range(config.max_steps):
            following, reward, terminated, truncated, _ = env.step(action)
            next_action = epsilon_greedy(q[following], config.epsilon, rng)
            worth = next_value(method, q[following], next_action, config.epsilon)
            target = reward + discount * (not terminated) * worth
            q[state, action] += config.learning_rate * (target - q[state, action])
            returns[episode] += reward
            if terminated or truncated:
                break
            state, action = following, next_action
    return TDResult(torch.from_numpy(q), torch.from_numpy(returns))


def q_learning(env, config: TDConfig = TDConfig(), seed: int = 0) -> TDResult:
    """Learn the optimal values off-policy: from any exploring behaviour (Watkins 1989)."""
    return td_control(env, "q_learning", config, seed)


def sarsa(env, config: TDConfig = TDConfig(), seed: int = 0) -> TDResult:
    """Learn the values of the exploring behaviour itself (Rummery and Niranjan 1994)."""
    return td_control(env, "sarsa", config, seed)


def expected_sarsa(env, config: TDConfig = TDConfig(), seed: int = 0) -> TDResult:
    """Learn as SARSA does, averaging over the next action (van Seijen et al. 2009)."""
    return td_control(env, "expected_sarsa", config, seed)


def _as_env(env, config: TDConfig) -> tuple[gymnasium.Env, float]:
    """Return a Gymnasium environment with Discrete spaces, and the discount to use."""
    if isinstance(env, TabularMDP):
        env = MDPEnv(env)
    spaces = (env.observation_space, env.action_space)
    if not all(isinstance(s, gymnasium.spaces.Discrete) and s.start == 0 for s in spaces):
        raise InvalidArgumentError(
            f"the environment has states {spaces[0]} and actions {spaces[1]}; a table needs "
            "Discrete ones starting at 0 (for others use train_ppo)"
        )
    mdp = getattr(env.unwrapped, "mdp", None)
    discount = config.discount if config.discount is not None else getattr(mdp, "discount", None)
    if discount is None or not 0 <= discount <= 1:
        raise InvalidArgumentError(
            f"discount is {discount}; this environment has none of its own, so give "
            "TDConfig(discount=...) between 0 and 1"
        )
    return env, discount
