"""Compounding error, exactly: how the cost of small slips grows with the horizon.

A walker is either on the demonstrator's path or off it. On the path it slips with probability
epsilon a step. Off the path it finds back with probability ``recovery`` a step (and may slip again
at once). Each step that ends off the path costs 1. Two ends of one model:

- ``recovery=0``, one slip is for good: cost T - (1 - eps)(1 - (1 - eps)^T) / eps, which is about
  eps T(T + 1) / 2 while eps T is small. The quadratic growth of Ross and Bagnell (2010, Theorem
  2.1) and of Sun and van der Schaar (2025, Theorem 2.1).
- ``recovery=1``, the next step begins on the path again: cost eps T, the linear growth that DAgger
  aims at (Ross, Gordon and Bagnell 2011, Theorem 3.2).

The theorems bound any process with error rate epsilon; this model is one process that attains
their growth. Ross and Bagnell's bound is eps T^2, twice the model's leading term: there epsilon is
an average over the steps, and in the worst case all of it falls on the first one.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import TabularMDP

ON, OFF = 0, 1
STEP, SLIP = 0, 1


def slip_process(recovery: float = 0.0, horizon: int | None = None) -> TabularMDP:
    """Return the model as a decision process: states on, off; actions step, slip; reward -cost.

    Raises InvalidArgumentError for a probability outside [0, 1].

    >>> slip_process(recovery=0.25, horizon=3).transition_matrix[1].tolist()
    [[0.25, 0.75], [0.0, 1.0]]
    """
    _check_probability("recovery", recovery)
    transitions = [[[1.0, 0.0], [0.0, 1.0]], [[recovery, 1.0 - recovery], [0.0, 1.0]]]
    cost = [[[0.0, 1.0]] * 2] * 2  # a step that ends off the path
    dense = torch.tensor(transitions, dtype=torch.float64)
    return TabularMDP.from_dense(
        dense, -torch.tensor(cost, dtype=torch.float64), [1.0, 0.0],
        discount=0.99 if horizon is None else 1.0, horizon=horizon,
        state_names=("on", "off"), action_names=("step", "slip"))


def slipping_policy(slip: float) -> Float[Tensor, "states actions"]:
    """Return the walker's policy in ``slip_process``: it slips with this probability.

    >>> slipping_policy(0.25).tolist()
    [[0.75, 0.25], [0.75, 0.25]]
    """
    _check_probability("slip", slip)
    return torch.tensor([[1.0 - slip, slip]] * 2, dtype=torch.float64)


def off_path(slip: float, recovery: float, horizon: int) -> Float[Tensor, " horizon"]:
    """Return the probability of being off the path after steps 1 to T, by the recursion.

    f_t = (1 - f_{t-1}) eps + f_{t-1} (recovery eps + 1 - recovery), from f_0 = 0.

    >>> off_path(0.1, 0.5, 3)
    tensor([0.1000, 0.1450, 0.1653], dtype=torch.float64)
    """
    _check(slip, recovery, horizon)
    off, rows = 0.0, []
    for _ in range(horizon):
        off = (1 - off) * slip + off * (recovery * slip + 1 - recovery)
        rows.append(off)
    return torch.tensor(rows, dtype=torch.float64)


def expected_cost(slip: float, recovery: float, horizon: int) -> Float[Tensor, " horizon"]:
    """Return the expected cost of horizons 1 to T: the running sum of ``off_path``.

    >>> [round(float(expected_cost(0.01, r, 50)[-1]), 3) for r in (0.0, 1.0)]
    [10.896, 0.5]
    """
    return off_path(slip, recovery, horizon).cumsum(0)


def closed_form_cost(slip: float, recovery: float, horizon: int) -> float:
    """Return the expected cost of T steps, f* (T - l (1 - l^T) / (1 - l)), in closed form.

    The chance of being off tends to f* = eps / (eps + recovery (1 - eps)) as l^t, with l =
    (1 - eps)(1 - recovery). At recovery 0 this is T - (1 - eps)(1 - (1 - eps)^T) / eps, at 1 it is
    eps T. For T much longer than 1 / (1 - l) the growth is linear, with slope f*.

    >>> round(closed_form_cost(0.01, 0.0, 100), 3), closed_form_cost(0.01, 1.0, 100)
    (37.237, 1.0)
    """
    _check(slip, recovery, horizon)
    if slip == 0.0:
        return 0.0
    memory = (1 - slip) * (1 - recovery)
    limit = slip / (slip + recovery * (1 - slip))
    return limit * (horizon - memory * (1 - memory**horizon) / (1 - memory))


def recoverability(recovery: float, horizon: int) -> float:
    """Return u, the most that one slip can cost a walker who then follows the demonstrator.

    The slip's own step, and each further step until the way back is found: sum of (1 - recovery)^k
    over the horizon, at most 1 / recovery. The bound is u eps T, where u is the largest rise of the
    demonstrator's cost to go by one wrong action (Ross et al. 2011, Theorems 2.2 and 3.2).

    >>> recoverability(0.0, 50), recoverability(0.5, 50), recoverability(1.0, 50)
    (50.0, 2.0, 1.0)
    """
    _check(0.0, recovery, horizon)
    if recovery == 0.0:
        return float(horizon)
    return round((1 - (1 - recovery) ** horizon) / recovery, 12)


def _check(slip: float, recovery: float, horizon: int) -> None:
    """Raise InvalidArgumentError unless these describe a walker."""
    _check_probability("slip", slip)
    _check_probability("recovery", recovery)
    if not isinstance(horizon, int) or isinstance(horizon, bool) or horizon < 1:
        raise InvalidArgumentError(f"horizon is {horizon!r}; expected a whole number of steps >= 1")


def _check_probability(name: str, value: float) -> None:
    """Raise InvalidArgumentError unless ``value`` is a probability."""
    if not 0 <= value <= 1:
        raise InvalidArgumentError(f"{name} is {value!r}; expected a probability, from 0 to 1")
