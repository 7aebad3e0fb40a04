"""What a decision process, a policy or a parameter must satisfy; errors name the place."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, InvalidMDPError


def simplex_tolerance(dtype: torch.dtype) -> float:
    """Return how far a sum of probabilities may be from one: rounding, not a modelling choice."""
    return 1e-8 if dtype == torch.float64 else 1e-5


def first_bad(bad: Tensor) -> tuple[int, ...] | None:
    """Return the index of the first true entry of ``bad``, or None when there is none."""
    if not bool(bad.any()):
        return None
    return tuple(int(i) for i in bad.nonzero()[0])


def _place(mdp, index: tuple[int, ...]) -> str:
    """Say in words which state (and action) an index stands for."""
    text = f"state {mdp.state_names[index[0]]!r} (index {index[0]})"
    if len(index) > 1:
        text += f", action {mdp.action_names[index[1]]!r} (index {index[1]})"
    return text


def check_layout(mdp) -> None:
    """Raise InvalidMDPError unless shapes, dtypes and devices of the tensors fit together."""
    if mdp.successors.ndim != 3:
        raise InvalidMDPError(
            f"successors has shape {tuple(mdp.successors.shape)}; expected three axes: "
            "(states, actions, branches)"
        )
    states, actions, branches = mdp.successors.shape
    if 0 in (states, actions, branches):
        raise InvalidMDPError(
            f"successors has shape {(states, actions, branches)}; every axis must be at least 1"
        )
    wanted = {
        "probabilities": (states, actions, branches),
        "reward": (states, actions),
        "initial_state_dist": (states,),
        "terminal": (states,),
    }
    for name, shape in wanted.items():
        found = tuple(getattr(mdp, name).shape)
        if found != shape:
            raise InvalidMDPError(
                f"{name} has shape {found}; expected {shape}, to fit successors of shape "
                f"{(states, actions, branches)}"
            )
    _check_kinds(mdp, tuple(wanted))


def _check_kinds(mdp, names: tuple[str, ...]) -> None:
    """Raise InvalidMDPError unless dtypes are right and all tensors share one device."""
    if mdp.successors.is_floating_point() or mdp.successors.dtype == torch.bool:
        raise InvalidMDPError(f"successors is {mdp.successors.dtype}; expected whole numbers")
    if mdp.terminal.dtype != torch.bool:
        raise InvalidMDPError(f"terminal is {mdp.terminal.dtype}; expected torch.bool")
    if not mdp.probabilities.is_floating_point():
        raise InvalidMDPError(f"probabilities is {mdp.probabilities.dtype}; expected floats")
    for name in ("reward", "initial_state_dist"):
        dtype = getattr(mdp, name).dtype
        if dtype != mdp.probabilities.dtype:
            raise InvalidMDPError(
                f"{name} is {dtype} but probabilities is {mdp.probabilities.dtype}; "
                f"use one dtype, for example {name}.to(probabilities.dtype)"
            )
    for name in names:
        if getattr(mdp, name).device != mdp.successors.device:
            raise InvalidMDPError(
                f"{name} is on {getattr(mdp, name).device} but successors is on "
                f"{mdp.successors.device}; move all tensors to one device"
            )


def check_names(mdp) -> None:
    """Raise InvalidMDPError unless there is one name per state and per action."""
    for kind, names, count in (
        ("state_names", mdp.state_names, mdp.n_states),
        ("action_names", mdp.action_names, mdp.n_actions),
    ):
        if len(names) != count:
            raise InvalidMDPError(f"{kind} holds {len(names)} names; expected {count}")


def check_transitions(mdp) -> None:
    """Raise InvalidMDPError unless every (state, action) row is a distribution over states."""
    outside = (mdp.successors < 0) | (mdp.successors >= mdp.n_states)
    if index := first_bad(outside):
        raise InvalidMDPError(
            f"a successor of {_place(mdp, index)} is {int(mdp.successors[index])}; expected a "
            f"state index from 0 to {mdp.n_states - 1} (padding too, with probability 0)"
        )
    if index := first_bad(~torch.isfinite(mdp.probabilities)):
        raise InvalidMDPError(
            f"a transition probability of {_place(mdp, index)} is "
            f"{float(mdp.probabilities[index])}; expected a finite number"
        )
    if index := first_bad(mdp.probabilities < 0):
        raise InvalidMDPError(
            f"a transition probability of {_place(mdp, index)} is "
            f"{float(mdp.probabilities[index]):.6g}; probabilities cannot be negative"
        )
    sums = mdp.probabilities.sum(-1)
    if index := first_bad((sums - 1).abs() > simplex_tolerance(mdp.dtype)):
        raise InvalidMDPError(
            f"transition probabilities of {_place(mdp, index)} sum to {float(sums[index]):.9g}; "
            "expected 1 (add the missing outcome, or divide the row by its sum)"
        )


def check_reward(mdp) -> None:
    """Raise InvalidMDPError unless every expected reward is a finite number."""
    if index := first_bad(~torch.isfinite(mdp.reward)):
        raise InvalidMDPError(
            f"the reward of {_place(mdp, index)} is {float(mdp.reward[index])}; expected a "
            "finite number (to forbid an action, use a prior policy or leave it out)"
        )


def check_initial(mdp) -> None:
    """Raise InvalidMDPError unless the initial state distribution is a distribution."""
    initial = mdp.initial_state_dist
    if index := first_bad(~torch.isfinite(initial) | (initial < 0)):
        raise InvalidMDPError(
            f"initial_state_dist gives {_place(mdp, index)} the probability "
            f"{float(initial[index]):.6g}; expected a finite number, zero or more"
        )
    total = float(initial.sum())
    if abs(total - 1) > simplex_tolerance(mdp.dtype):
        raise InvalidMDPError(f"initial_state_dist sums to {total:.9g}; expected 1")


def check_time(mdp) -> None:
    """Raise InvalidMDPError unless discount and horizon give every return a meaning."""
    discount, horizon = mdp.discount, mdp.horizon
    if not (isinstance(discount, int | float) and 0 <= discount <= 1):
        raise InvalidMDPError(f"discount is {discount!r}; expected a number from 0 to 1")
    whole = isinstance(horizon, int) and not isinstance(horizon, bool)
    if horizon is not None and not (whole and horizon >= 1):
        raise InvalidMDPError(f"horizon is {horizon!r}; expected a whole number >= 1, or None")
    if discount == 1 and horizon is None and not bool(mdp.terminal.any()):
        raise InvalidMDPError(
            "discount is 1 with no horizon and no terminal state, so returns are unbounded; "
            "give a discount below 1, a horizon, or a terminal state"
        )


def check_terminal(mdp) -> None:
    """Raise InvalidMDPError unless terminal states lead to themselves and pay nothing."""
    own = torch.arange(mdp.n_states, device=mdp.device)[:, None, None]
    staying = (mdp.probabilities * (mdp.successors == own)).sum(-1)
    leaves = mdp.terminal[:, None] & ((staying - 1).abs() > simplex_tolerance(mdp.dtype))
    if index := first_bad(leaves):
        raise InvalidMDPError(
            f"terminal {_place(mdp, index)} stays with probability "
            f"{float(staying[index]):.6g}; a terminal state must lead to itself with probability 1"
        )
    if index := first_bad(mdp.terminal[:, None] & (mdp.reward != 0)):
        raise InvalidMDPError(
            f"terminal {_place(mdp, index)} pays reward {float(mdp.reward[index]):.6g}; expected "
            "0: pay it on arrival, in the reward of the actions that lead there"
        )


def check_values(mdp, values: Tensor) -> None:
    """Raise InvalidArgumentError unless the last axis of ``values`` is one number per state."""
    if values.ndim == 0 or values.shape[-1] != mdp.n_states:
        raise InvalidArgumentError(
            f"values has shape {tuple(values.shape)}; expected (..., {mdp.n_states}), "
            "one number per state"
        )


def check_policy(
    mdp, policy: Tensor, name: str = "policy", horizon: int | None = None
) -> Tensor:
    """Return ``policy`` in the process's precision, if its rows are distributions over actions.

    With ``horizon`` it may also be one table per time step, [horizon, states, actions]. Raises
    InvalidArgumentError otherwise.
    """
    table = (mdp.n_states, mdp.n_actions)
    allowed = [table] if horizon is None else [table, (horizon, *table)]
    if tuple(policy.shape) not in allowed:
        raise InvalidArgumentError(
            f"{name} has shape {tuple(policy.shape)}; expected "
            + " or ".join(str(shape) for shape in allowed)
        )
    sums = policy.sum(-1)
    wrong = (policy < 0).any(-1) | ~((sums - 1).abs() <= simplex_tolerance(policy.dtype))
    if index := first_bad(wrong):
        row = [round(float(p), 6) for p in policy[index]]
        when = f" at time {index[0]}" if len(index) > 1 else ""
        raise InvalidArgumentError(
            f"{name} in {_place(mdp, index[-1:])}{when} is {row}, sum {float(sums[index]):.9g}; "
            "expected probabilities of the actions that sum to 1"
        )
    return policy.to(mdp.dtype)


def check_prior(prior: Tensor | None, q: Tensor) -> None:
    """Raise InvalidArgumentError unless ``prior`` is None or has a distribution for each row."""
    if prior is None:
        return
    if prior.shape[-1:] != q.shape[-1:] or prior.ndim > q.ndim:
        raise InvalidArgumentError(
            f"prior has shape {tuple(prior.shape)}; expected that of q, {tuple(q.shape)}"
        )
    wrong = (prior < 0).any(-1) | ~((prior.sum(-1) - 1).abs() <= simplex_tolerance(prior.dtype))
    if bool(wrong.any()):
        raise InvalidArgumentError(
            f"{int(wrong.sum())} rows of prior are no distributions; expected probabilities of the "
            "actions that sum to 1"
        )


def check_stopping(tolerance: float, max_iterations: int) -> None:
    """Raise InvalidArgumentError unless an iteration has a tolerance and a limit."""
    if not (tolerance >= 0 and math.isfinite(tolerance)):
        raise InvalidArgumentError(f"tolerance is {tolerance!r}; expected a number >= 0")
    if not (isinstance(max_iterations, int) and max_iterations >= 1):
        raise InvalidArgumentError(f"max_iterations is {max_iterations!r}; expected at least 1")


def check_temperature(temperature: float) -> None:
    """Raise InvalidArgumentError unless ``temperature`` is a positive, finite number."""
    if not (temperature > 0 and math.isfinite(temperature)):
        raise InvalidArgumentError(
            f"temperature is {temperature!r}; expected a finite number above 0 "
            "(for the limit 0 use the hard planner: value_iteration, finite_horizon_plan)"
        )


def resolve_horizon(mdp, horizon: int | None) -> int:
    """Return ``horizon``, or the process's own; raise InvalidArgumentError if there is none."""
    steps = mdp.horizon if horizon is None else horizon
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise InvalidArgumentError(
            f"horizon is {steps!r}; expected a whole number of steps >= 1, as an argument "
            "or as the decision process's own horizon"
        )
    return steps


def check_discounted(mdp, what: str) -> None:
    """Raise InvalidArgumentError when an endless sum with discount 1 has no reason to converge."""
    if mdp.discount == 1 and not bool(mdp.terminal.any()):
        raise InvalidArgumentError(
            f"{what} needs a discount below 1 or a terminal state; this decision process has "
            "discount 1 and a horizon: use finite_horizon_plan or soft_backward"
        )
