"""Causal maximum-entropy IRL: a soft pass backward, a pass forward, and the gap between them.

The demonstrator is assumed soft-optimal: pi_t(a|s) = exp((Q_t(s, a) - V_t(s)) / lambda). The loss
of a reward r, against an expert's discounted visits rho_E(s, a), is

    L(r) = (E_mu[V_0(s_0)] - sum_sa rho_E(s, a) r(s, a)) / lambda
    d L / d r = (rho_r - rho_E) / lambda

with rho_r the visits of the soft-optimal policy of r: the gap of expected features when r is
linear in them. L is convex in r, and equals the expert's discounted negative log-likelihood
E[sum_t gamma^t -log pi_t(a_t|s_t)], in nats, whenever rho_E obeys the dynamics (Ziebart, Bagnell
and Dey 2010; Ziebart's thesis, 2010, chapters 6 and 9).

A sample's visits never obey the dynamics to the letter. Then no policy has them, and where the
model can express potentials the loss may have no minimum: it falls for ever along a shaping whose
pay the sample shows and no policy can earn. Penalise the parameters, or use
``causal_likelihood``, which has no such direction.

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

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.layout import Layout, check_reward, check_temperature, resolve_steps
from tutorlib.irl.passes import backward, forward, soft_step
from tutorlib.mdp import TabularMDP


@dataclass(frozen=True)
class CausalSolution:
    """The soft-optimal plan of a reward and where it leads."""

    values: Float[Tensor, ...]  # [*batch, T + 1, states] with V_T = 0; endless: [*batch, states]
    policy: Float[Tensor, ...]  # [*batch, T, states, actions]; endless: [*batch, states, actions]
    occupancy: Float[Tensor, "*batch states actions"]  # discounted visits; 0 in terminal states

    @property
    def endless(self) -> bool:
        """Whether the plan is stationary, without a time axis."""
        return self.policy.ndim == self.occupancy.ndim

    def worth(self, mdp: TabularMDP, entering: Tensor | None = None) -> Float[Tensor, "*batch"]:
        """Return E_mu[V_0(s_0)], reward plus lambda times entropy; or sum_t entering_t V_t."""
        if entering is None:
            first = self.values if self.endless else self.values[..., 0, :]
            return first @ mdp.initial_state_dist
        if self.endless:
            return (self.values * entering).sum(-1)
        return (self.values[..., :-1, :] * entering).sum((-2, -1))


@torch.no_grad()
def solve_causal(mdp: TabularMDP, reward: Float[Tensor, "*batch states actions"],
                 temperature: float = 1.0, horizon: int | None = None,
                 start: Tensor | None = None, entering: Tensor | None = None) -> CausalSolution:
    """Return the soft-optimal plan of ``reward`` and its visits: one pass back, one forward.

    ``start`` is a first guess of an endless problem's values; ``entering`` as in ``forward_pass``.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], horizon=1)
    >>> reward = torch.tensor([[3.0, 1.0]], dtype=torch.float64).log()
    >>> solve_causal(mdp, reward).occupancy.round(decimals=6).tolist()
    [[0.75, 0.25]]
    """
    check_reward(mdp, reward)
    check_temperature(temperature)
    steps, layout = resolve_steps(mdp, horizon), Layout.of(mdp)
    values, policy = backward(mdp, layout, reward.detach(), temperature, steps, start)
    return CausalSolution(values, policy, forward(mdp, layout, policy, steps, entering))


def causal_loss(mdp: TabularMDP, reward: Float[Tensor, "*batch states actions"],
                expert_occupancy: Float[Tensor, "*#batch states actions"],
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
             temperature: float, entering: Tensor | None = None) -> Float[Tensor, "*batch"]:
    """Return the loss when the solution of the same reward is already at hand."""
    reward = reward.masked_fill(mdp.terminal[:, None], 0.0)
    paid = (expert_occupancy * reward).sum((-2, -1)).detach()
    value = (solution.worth(mdp, entering) - paid) / temperature
    gap = solution.occupancy - expert_occupancy
    surrogate = (reward * gap).sum((-2, -1)) / temperature
    return surrogate + (value - surrogate).detach()


def causal_loss_by_recursion(mdp: TabularMDP, reward: Float[Tensor, "*batch states actions"],
                             expert_occupancy: Float[Tensor, "*#batch states actions"],
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
