"""Causal maximum-entropy IRL: a soft pass backward, a pass forward, and the gap between them.

The demonstrator is assumed soft-optimal: pi_t(a|s) = exp((Q_t(s, a) - V_t(s)) / lambda). The loss
of a reward r, against an expert's discounted visits rho_E(s, a), is

    L(r) = (E_mu[V_0(s_0)] - sum_sa rho_E(s, a) r(s, a)) / lambda
    d L / d r = (rho_r - rho_E) / lambda

with rho_r the visits of the soft-optimal policy of r: the gap of expected features when r is
linear in them. L is convex in r, and equals the expert's discounted negative log-likelihood
E[sum_t gamma^t -log pi_t(a_t|s_t)], in nats, whenever rho_E obeys the dynamics (Ziebart, Bagnell
and Dey 2010; Ziebart's thesis, 2010, chapters 6 and 9).

Departures from the thesis: a temperature; a discount, and with it the endless problem, where the
policy is stationary; terminal states, in which V = 0, no reward is paid and no visit is counted.
Visits are counted at the T decisions, not at the T + 1 states: only then is the gap the exact
gradient.

Batch axes stand in front: a reward [batch, states, actions] solves that many problems over the
same transitions at once, and ``disjoint_union`` joins problems over different ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.irl.layout import Layout, check_reward, check_temperature, resolve_steps
from tutorlib.mdp import TabularMDP

DENSE_STATES = 500  # endless problems up to here are solved with dense matrices
SWEEPS = 100_000  # most soft backups of an endless problem


@dataclass(frozen=True)
class CausalSolution:
    """The soft-optimal plan of a reward and where it leads."""

    values: Float[Tensor, ...]  # [*batch, T + 1, states] with V_T = 0; endless: [*batch, states]
    policy: Float[Tensor, ...]  # [*batch, T, states, actions]; endless: [*batch, states, actions]
    occupancy: Float[Tensor, "*batch states actions"]  # discounted visits; 0 in terminal states

    def start_values(self, mdp: TabularMDP) -> Float[Tensor, "*batch"]:
        """Return E_mu[V_0(s_0)]: reward plus lambda times entropy, from the first state on."""
        first = self.values[..., 0, :] if self.policy.ndim > self.occupancy.ndim else self.values
        return first @ mdp.initial_state_dist


def soft_step(q: Float[Tensor, "*batch actions states"], temperature: float
              ) -> tuple[Float[Tensor, "*batch states"], Float[Tensor, "*batch actions states"]]:
    """Return V = lambda log sum_a exp(Q / lambda) and pi = exp((Q - V) / lambda), from one exp."""
    largest = q.amax(-2, keepdim=True)
    scaled = ((q - largest) / temperature).exp()
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
    steps, layout = resolve_steps(mdp, horizon), Layout.of(mdp)
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
        if float(change.abs().max()) <= tolerance * (1 - mdp.discount):
            return values + change, policy
        values = values + (_solve(layout, policy, change) if newton else change)
    raise NotConvergedError(
        f"the soft values still change by {float(change.abs().max()):.3g} after {SWEEPS} sweeps; "
        "allow a larger tolerance, a smaller discount, or give a horizon"
    )


def _solve(layout: Layout, policy: Tensor, right: Tensor, transpose: bool = False) -> Tensor:
    """Solve (I - gamma P_pi) x = right, or its transpose."""
    step = layout.matrix(policy)
    step = step.mT if transpose else step
    system = torch.eye(layout.n_states, dtype=step.dtype, device=step.device) - step
    return torch.linalg.solve(system, right.unsqueeze(-1)).squeeze(-1)


@torch.no_grad()
def forward_pass(mdp: TabularMDP, policy: Float[Tensor, "*batch states actions"],
                 horizon: int | None = None, per_step: bool = False) -> Tensor:
    """Return the discounted visits of ``policy``: sum_t gamma^t P(s_t = s, a_t = a).

    ``policy`` is what ``backward_pass`` returns for the same horizon: [*batch, T, states, actions],
    or, endless, [*batch, states, actions] (for a stationary policy over T steps use
    ``policy.expand(T, -1, -1)``). The result is [*batch, states, actions], with ``per_step`` one
    table per time, [*batch, T, states, actions]. Terminal states have no visits.
    Time is the outer loop and states move together (Ziebart et al. 2008, algorithm 1, steps 4-6).

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], horizon=3, discount=0.5)
    >>> forward_pass(mdp, torch.full((3, 1, 2), 0.5, dtype=torch.float64)).tolist()
    [[0.875, 0.875]]
    """
    check_reward(mdp, policy, "policy")
    steps, layout = resolve_steps(mdp, horizon), Layout.of(mdp)
    begin = mdp.initial_state_dist.masked_fill(mdp.terminal, 0.0)
    if steps is None:
        if per_step:
            raise InvalidArgumentError("visits per step need a horizon; this process is endless")
        return _endless_visits(mdp, layout, policy.transpose(-1, -2), begin).transpose(-1, -2)
    if policy.ndim < 3 or policy.shape[-3] != steps:
        raise InvalidArgumentError(
            f"policy has shape {tuple(policy.shape)}; expected (..., {steps}, {mdp.n_states}, "
            f"{mdp.n_actions}): one table per step (policy.expand({steps}, -1, -1) repeats one)"
        )
    tables, visits = policy.transpose(-1, -2).movedim(-3, 0), []
    states, total = begin, torch.zeros_like(tables[0])
    for table in tables:
        now = states.unsqueeze(-2) * table
        total += now
        visits += [now] if per_step else []
        states = layout.flow(now)
    return (torch.stack(visits, -3) if per_step else total).transpose(-1, -2)


def _endless_visits(mdp: TabularMDP, layout: Layout, policy: Tensor, begin: Tensor) -> Tensor:
    """Return rho [*batch, actions, states] of a stationary policy, solving d = mu + gamma P^T d."""
    begin = begin.expand(policy.shape[:-2] + begin.shape)
    if mdp.n_states <= DENSE_STATES:
        return _solve(layout, policy, begin, transpose=True).unsqueeze(-2) * policy
    states, now, weight = begin, begin, 1.0
    while weight > 1e-14:
        now = layout.flow(now.unsqueeze(-2) * policy)
        states, weight = states + now, weight * mdp.discount
    return states.unsqueeze(-2) * policy


def solve_causal(mdp: TabularMDP, reward: Float[Tensor, "*batch states actions"],
                 temperature: float = 1.0, horizon: int | None = None,
                 start: Tensor | None = None) -> CausalSolution:
    """Return the soft-optimal plan of ``reward`` and its visits: one pass back, one forward.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], horizon=1)
    >>> reward = torch.tensor([[3.0, 1.0]], dtype=torch.float64).log()
    >>> solve_causal(mdp, reward).occupancy.round(decimals=6).tolist()
    [[0.75, 0.25]]
    """
    values, policy = backward_pass(mdp, reward.detach(), temperature, horizon, start)
    return CausalSolution(values, policy, forward_pass(mdp, policy, horizon))


def causal_loss(mdp: TabularMDP, reward: Float[Tensor, "*batch states actions"],
                expert_occupancy: Float[Tensor, "*batch states actions"],
                temperature: float = 1.0, horizon: int | None = None) -> Float[Tensor, "*batch"]:
    """Return the loss of ``reward`` in nats; its gradient is the gap (rho_r - rho_E) / lambda.

    The value is exact. The gradient reaches whatever computed ``reward`` through the surrogate
    sum_sa reward * (rho_r - rho_E), with both visits held fixed: no recursion is differentiated.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], horizon=1)
    >>> reward = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    >>> causal_loss(mdp, reward, torch.tensor([[1.0, 0.0]], dtype=torch.float64)).backward()
    >>> reward.grad.tolist()
    [[-0.5, 0.5]]
    """
    solution = solve_causal(mdp, reward, temperature, horizon)
    return gap_loss(mdp, reward, expert_occupancy, solution, temperature)


def gap_loss(mdp: TabularMDP, reward: Tensor, expert_occupancy: Tensor, solution: CausalSolution,
             temperature: float) -> Float[Tensor, "*batch"]:
    """Return ``causal_loss`` when the solution of the same reward is already at hand."""
    reward = reward.masked_fill(mdp.terminal[:, None], 0.0)
    paid = (expert_occupancy * reward).sum((-2, -1)).detach()
    value = (solution.start_values(mdp) - paid) / temperature
    gap = solution.occupancy - expert_occupancy
    surrogate = (reward * gap).sum((-2, -1)) / temperature
    return surrogate + (value - surrogate).detach()


def causal_loss_by_recursion(mdp: TabularMDP, reward: Float[Tensor, "*batch states actions"],
                             expert_occupancy: Float[Tensor, "*batch states actions"],
                             temperature: float = 1.0, horizon: int | None = None
                             ) -> Float[Tensor, "*batch"]:
    """Return the same loss with the backward pass itself left to autograd.

    It needs a horizon, keeps every step in memory, and exists to show that differentiating the
    soft values gives the visits: d E_mu[V_0] / d r(s, a) = rho_r(s, a).
    """
    check_reward(mdp, reward)
    check_temperature(temperature)
    steps, layout = resolve_steps(mdp, horizon), Layout.of(mdp)
    if steps is None:
        raise InvalidArgumentError("differentiating the recursion needs a horizon; use causal_loss")
    reward = reward.masked_fill(mdp.terminal[:, None], 0.0)
    values = reward.new_zeros(reward.shape[:-1])
    for _ in range(steps):
        values, _policy = soft_step(reward.mT + layout.expect(values), temperature)
    values = values.masked_fill(mdp.terminal, 0.0)
    paid = (expert_occupancy * reward).sum((-2, -1))
    return (values @ mdp.initial_state_dist - paid) / temperature
