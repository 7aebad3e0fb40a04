"""The two passes of causal maximum-entropy IRL: soft values backward, visits forward.

Backward in time, V_t(s) = lambda log sum_a exp(Q_t(s, a) / lambda) with Q_t = r + gamma
E[V_(t+1)], from V_T = 0 (Ziebart 2010, eqs 9.1-9.3, with a temperature and a discount). Forward
in time, D_(t+1)(s') = sum_sa gamma P(s' | s, a) pi_t(a | s) D_t(s), from D_0 = mu (Ziebart et al.
2008, algorithm 1, steps 4-6). An endless process has the fixed points of both in place of time.

Terminal states have value 0 and no visits. Batch axes stand in front; cost is O(T * transitions).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.irl.layout import Layout, check_reward, check_temperature, resolve_steps
from tutorlib.mdp import TabularMDP

DENSE_STATES = 500  # endless problems up to here are solved with dense matrices
SWEEPS = 100_000  # most soft backups of an endless problem


def soft_step(q: Float[Tensor, "*batch actions states"], temperature: float
              ) -> tuple[Float[Tensor, "*batch states"], Float[Tensor, "*batch actions states"]]:
    """Return V = lambda log sum_a exp(Q / lambda) and pi = exp((Q - V) / lambda), from one exp."""
    largest = q.amax(-2, keepdim=True)
    scaled = (q - largest).div_(temperature).exp_()
    total = scaled.sum(-2, keepdim=True)
    return (largest + temperature * total.log()).squeeze(-2), scaled / total


@torch.no_grad()
def backward_pass(mdp: TabularMDP, reward: Float[Tensor, "*batch states actions"],
                  temperature: float = 1.0, horizon: int | None = None,
                  start: Tensor | None = None, tolerance: float = 1e-10) -> tuple[Tensor, Tensor]:
    """Return soft values and the soft-optimal policy of ``reward`` (Ziebart 2010, eqs 9.1-9.3).

    With T decisions (``horizon``, or the process's own): V [*batch, T + 1, states], whose last row
    is 0, and pi [*batch, T, states, actions]. Endless: V [*batch, states], the fixed point to
    ``tolerance``, and a stationary pi [*batch, states, actions]; ``start`` is a first guess of V.

    Raises InvalidArgumentError for a reward that is not finite or does not fit the process.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], horizon=2, discount=1.0)
    >>> values, policy = backward_pass(mdp, torch.zeros(1, 2, dtype=torch.float64))
    >>> values.exp().round(decimals=6).tolist(), tuple(policy.shape)
    ([[4.0], [2.0], [1.0]], (2, 1, 2))
    """
    check_reward(mdp, reward)
    check_temperature(temperature)
    steps = resolve_steps(mdp, horizon)
    return backward(mdp, Layout.of(mdp), reward, temperature, steps, start, tolerance)


def backward(mdp: TabularMDP, layout: Layout, reward: Tensor, temperature: float,
             steps: int | None, start: Tensor | None, tolerance: float = 1e-10
             ) -> tuple[Tensor, Tensor]:
    """Do the work of ``backward_pass`` for arguments that are known to be good."""
    # states innermost; a terminal state pays nothing and has value 0
    reward = reward.transpose(-1, -2).masked_fill(mdp.terminal, 0.0).contiguous()
    if steps is None:
        values, policy = _fixed_point(mdp, layout, reward, temperature, start, tolerance)
        return values, policy.transpose(-1, -2)
    batch = reward.shape[:-2]
    values = reward.new_zeros(steps + 1, *batch, mdp.n_states)
    policy = reward.new_empty(steps, *reward.shape)
    for t in reversed(range(steps)):
        values[t], policy[t] = soft_step(reward + layout.expect(values[t + 1]), temperature)
    values.masked_fill_(mdp.terminal, 0.0)
    return values.movedim(0, -2), policy.movedim(0, -3).transpose(-1, -2)


def _fixed_point(mdp: TabularMDP, layout: Layout, reward: Tensor, temperature: float,
                 start: Tensor | None, tolerance: float) -> tuple[Tensor, Tensor]:
    """Return the endless problem's V and pi: Newton's method for few states, sweeps for many.

    The soft backup is convex in V with derivative gamma P_pi, so a Newton step evaluates the
    policy of the present values: soft policy iteration. A handful of steps suffices.
    """
    values = reward.new_zeros(reward.shape[:-2] + reward.shape[-1:]) if start is None else start
    newton = mdp.n_states <= DENSE_STATES
    for _ in range(SWEEPS):
        updated, policy = soft_step(reward + layout.expect(values), temperature)
        change = updated.masked_fill(mdp.terminal, 0.0) - values
        size, rounding = float(change.abs().max()), 16 * torch.finfo(values.dtype).eps
        if size <= max(tolerance * (1 - mdp.discount), rounding * float(values.abs().max())):
            return values + change, policy
        values = values + (_solve(layout, policy, change) if newton else change)
    raise NotConvergedError(
        f"the soft values still change by {size:.3g} after {SWEEPS} sweeps; allow a larger "
        "tolerance, a smaller discount, or give a horizon"
    )


def _solve(layout: Layout, policy: Tensor, right: Tensor, transpose: bool = False) -> Tensor:
    """Solve (I - gamma P_pi) x = right, or its transpose."""
    step = layout.matrix(policy)
    step = step.mT if transpose else step
    system = torch.eye(layout.n_states, dtype=step.dtype, device=step.device) - step
    return torch.linalg.solve(system, right.unsqueeze(-1)).squeeze(-1)


@torch.no_grad()
def forward_pass(mdp: TabularMDP, policy: Float[Tensor, "*batch states actions"],
                 horizon: int | None = None, per_step: bool = False,
                 entering: Tensor | None = None) -> Tensor:
    """Return the discounted visits of ``policy``: sum_t gamma^t P(s_t = s, a_t = a).

    ``policy`` is what ``backward_pass`` returns for the same horizon: [*batch, T, states, actions],
    or, endless, [*batch, states, actions] (for a stationary policy over T steps use
    ``policy.expand(T, -1, -1)``). The result is [*batch, states, actions], with ``per_step`` one
    table per time, [*batch, T, states, actions].

    ``entering`` is what flows in from outside, [*batch, T, states] or, endless, [*batch, states];
    by default the initial distribution at time 0. It may be any numbers: the pass is linear in it.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], horizon=3, discount=0.5)
    >>> forward_pass(mdp, torch.full((3, 1, 2), 0.5, dtype=torch.float64)).tolist()
    [[0.875, 0.875]]
    """
    steps = resolve_steps(mdp, horizon)
    check_policy(mdp, policy, steps)
    if steps is None and per_step:
        raise InvalidArgumentError("visits per step need a horizon; this process is endless")
    wanted = (mdp.n_states,) if steps is None else (steps, mdp.n_states)
    if entering is not None and tuple(entering.shape[-len(wanted):]) != wanted:
        raise InvalidArgumentError(
            f"entering has shape {tuple(entering.shape)}; expected (..., *{wanted})"
        )
    return forward(mdp, Layout.of(mdp), policy, steps, entering, per_step)


def check_policy(mdp: TabularMDP, policy: Tensor, steps: int | None) -> None:
    """Raise InvalidArgumentError unless ``policy`` holds distributions, one table per step."""
    check_reward(mdp, policy, "policy")
    if steps is not None and (policy.ndim < 3 or policy.shape[-3] != steps):
        raise InvalidArgumentError(
            f"policy has shape {tuple(policy.shape)}; expected (..., {steps}, {mdp.n_states}, "
            f"{mdp.n_actions}): one table per step (policy.expand({steps}, -1, -1) repeats one)"
        )
    sums, tolerance = policy.sum(-1), 1e-8 if policy.dtype == torch.float64 else 1e-5
    wrong = ((sums - 1).abs() > tolerance) | (policy < 0).any(-1)
    if bool(wrong.any()):
        place = tuple(wrong.nonzero()[0].tolist())
        raise InvalidArgumentError(
            f"policy in state {mdp.state_names[place[-1]]!r} is {policy[place].tolist()}; expected "
            "probabilities of the actions that sum to 1"
        )


def forward(mdp: TabularMDP, layout: Layout, policy: Tensor, steps: int | None,
            entering: Tensor | None, per_step: bool = False) -> Tensor:
    """Do the work of ``forward_pass`` for arguments that are known to be good."""
    tables = policy.transpose(-1, -2)
    if steps is None:
        begin = mdp.initial_state_dist if entering is None else entering
        begin = begin.masked_fill(mdp.terminal, 0.0)
        return _endless_visits(mdp, layout, tables, begin).transpose(-1, -2)
    if entering is None:
        entering = torch.zeros(steps, mdp.n_states, dtype=mdp.dtype, device=mdp.device)
        entering[0] = mdp.initial_state_dist
    arriving = entering.masked_fill(mdp.terminal, 0.0).movedim(-2, 0)
    tables, visits = tables.movedim(-3, 0), []
    states, total = torch.zeros_like(arriving[0]), torch.zeros_like(tables[0])
    for table, new in zip(tables, arriving, strict=True):  # time outside, all states at once inside
        now = (states + new).unsqueeze(-2) * table
        total = total + now
        visits += [now] if per_step else []
        states = layout.flow(now)
    return (torch.stack(visits, -3) if per_step else total).transpose(-1, -2)


def _endless_visits(mdp: TabularMDP, layout: Layout, policy: Tensor, begin: Tensor) -> Tensor:
    """Return rho [*batch, actions, states] of a stationary policy, solving d = b + gamma P^T d."""
    begin = begin.expand(policy.shape[:-2] + policy.shape[-1:])
    if mdp.n_states <= DENSE_STATES:
        return _solve(layout, policy, begin, transpose=True).unsqueeze(-2) * policy
    states, now, weight = begin, begin, 1.0
    while weight > 1e-14:
        now = layout.flow(now.unsqueeze(-2) * policy)
        states, weight = states + now, weight * mdp.discount
    return states.unsqueeze(-2) * policy
