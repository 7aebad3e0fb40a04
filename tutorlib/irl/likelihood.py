"""The exact likelihood of sampled demonstrations, by letting the flow start where they show it to.

The discounted negative log-likelihood of actions that were seen,

    N(r) = sum_t sum_sa rho_t(s, a) * -log pi_t(a | s),
    rho_t(s, a) = mean of gamma^t [seen at t],

is lambda^-1 (sum_t sum_s b_t(s) V_t(s) - sum_t sum_sa rho_t(s, a) r(s, a)), where b_t is the flow
that must have entered from outside for the visits to be what they are. So the same two passes
compute it: ``forward_pass`` starts from b in place of mu, and the gradient is again a gap of
visits over lambda.

When the visits obey the dynamics, b is mu at time 0 and nothing after, and N is ``causal_loss``.
For a sample, b holds its noise too: N never falls below 0, potential shaping of an endless
process leaves it alone, and a demonstration that was cut short is not taken for a wish to stop.
The price: with negative entries in b it is not convex.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.causal import gap_loss, solve_causal
from tutorlib.irl.layout import Layout, check_reward, resolve_steps
from tutorlib.mdp import TabularMDP


def entering_flow(mdp: TabularMDP, visits: Tensor, horizon: int | None = None) -> Tensor:
    """Return b_t(s) = sum_a rho_t(s, a) - gamma sum_s'a' P(s | s', a') rho_(t-1)(s', a').

    ``visits`` are discounted: with a horizon per step, [*batch, T, states, actions], and b is
    [*batch, T, states]; endless [*batch, states, actions], and b is [*batch, states]. Raises
    InvalidArgumentError when there is a horizon and the visits have no axis of that length.

    >>> import torch
    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)
    >>> entering_flow(mdp, torch.tensor([[1.5, 0.5]], dtype=torch.float64)).tolist()
    [1.0]
    """
    check_reward(mdp, visits, "visits")
    steps, layout = resolve_steps(mdp, horizon), Layout.of(mdp)
    visits = visits.masked_fill(mdp.terminal[:, None], 0.0)
    here, inside = visits.sum(-1), layout.flow(visits.mT)
    if steps is None:
        return here - inside
    if visits.ndim < 3 or visits.shape[-3] != steps:
        raise InvalidArgumentError(
            f"visits have shape {tuple(visits.shape)}; the likelihood over a horizon of {steps} "
            f"needs them per step, (..., {steps}, {mdp.n_states}, {mdp.n_actions}): "
            "expert_visits(..., per_step=True)"
        )
    here[..., 1:, :] -= inside[..., :-1, :]
    return here


def causal_likelihood(mdp: TabularMDP, reward: Float[Tensor, "*batch states actions"],
                      visits: Tensor, temperature: float = 1.0, horizon: int | None = None
                      ) -> Float[Tensor, "*batch"]:
    """Return the discounted negative log-likelihood of the demonstrated actions, in nats.

    ``visits`` as in ``entering_flow``; of trajectories, ``expert_visits(..., per_step=True)``, or
    without ``per_step`` in an endless process. The gradient flows into ``reward`` as in
    ``causal_loss``.

    >>> import torch
    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)
    >>> seen = torch.tensor([[1.5, 0.5]], dtype=torch.float64)
    >>> causal_likelihood(mdp, torch.zeros(1, 2, dtype=torch.float64), seen).exp().item()
    4.0
    """
    entering = entering_flow(mdp, visits, horizon)
    solution = solve_causal(mdp, reward, temperature, horizon, entering=entering)
    total = visits if solution.endless else visits.sum(-3)
    return gap_loss(mdp, reward, total, solution, temperature, entering)
