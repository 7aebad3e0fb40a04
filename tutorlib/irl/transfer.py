"""Does a learned reward still serve when the dynamics change? Its regret tells.

Plan for the learned reward in the new process, then be paid by the true one. A reward that was
learned only up to shaping by the old dynamics can explain every demonstration and still fail
here; a policy that was cloned cannot even be asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.irl.layout import check_reward, resolve_steps
from tutorlib.irl.passes import backward_pass, forward_pass
from tutorlib.mdp import TabularMDP, finite_horizon_plan, uniform_policy, value_iteration


@dataclass(frozen=True)
class Transfer:
    """What a learned reward is worth in a process, in units of the true reward."""

    optimal: float  # expected return of the best policy for the true reward
    achieved: float  # true return of the policy planned for the learned reward
    uniform: float  # true return of acting at random, for scale

    @property
    def regret(self) -> float:
        """Return lost by planning for the learned reward; 0 is perfect."""
        return self.optimal - self.achieved

    @property
    def regret_share(self) -> float:
        """Regret as a share of what acting at random loses: 0 perfect, 1 no better than chance."""
        return self.regret / (self.optimal - self.uniform)


def evaluate_transfer(mdp: TabularMDP, learned: Float[Tensor, "states actions"],
                      temperature: float | None = None,
                      horizon: int | None = None) -> Transfer:
    """Return the worth of ``learned`` in ``mdp``, whose own reward is the true one.

    ``learned`` is r(s, a) in this process: call a reward model with ``mdp`` to get it. Without a
    temperature the plan is greedy; with one, soft-optimal.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[1.0, 0.0]], horizon=1)
    >>> evaluate_transfer(mdp, torch.tensor([[0.0, 3.0]], dtype=torch.float64)).regret
    1.0
    """
    check_reward(mdp, learned, "the learned reward")
    learned = learned.masked_fill(mdp.terminal[:, None], 0.0)
    steps = resolve_steps(mdp, horizon)
    if temperature is None:
        chosen = _greedy(mdp.replace(reward=learned), steps)
    else:
        chosen = backward_pass(mdp, learned, temperature, horizon)[1]
    random = uniform_policy(mdp)
    random = random if steps is None else random.expand(steps, -1, -1)
    best = _greedy(mdp, steps)
    return Transfer(*(_return(mdp, policy, horizon) for policy in (best, chosen, random)))


def _greedy(mdp: TabularMDP, steps: int | None) -> Tensor:
    """Return the best policy of ``mdp``, one table per step if there is a horizon."""
    return value_iteration(mdp).policy if steps is None else finite_horizon_plan(mdp, steps)[2]


def _return(mdp: TabularMDP, policy: Tensor, horizon: int | None) -> float:
    """Return the expected discounted true return."""
    return float((forward_pass(mdp, policy, horizon) * mdp.reward).sum())


def evaluate_transfers(mdps: dict[str, TabularMDP], model: torch.nn.Module,
                       temperature: float | None = None) -> dict[str, Transfer]:
    """Return the worth of one reward model in each of several processes."""
    with torch.no_grad():
        return {name: evaluate_transfer(mdp, model(mdp), temperature) for name, mdp in mdps.items()}
