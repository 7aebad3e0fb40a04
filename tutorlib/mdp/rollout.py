"""Sample trajectories of a policy in a tabular decision process, many at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutorlib.mdp import checks
from tutorlib.mdp.tabular import TabularMDP


@dataclass(frozen=True)
class Trajectories:
    """A batch of trajectories, padded after a terminal state."""

    states: Int[Tensor, "n steps_plus_one"]
    actions: Int[Tensor, "n steps"]
    rewards: Float[Tensor, "n steps"]  # 0 where mask is False
    mask: Bool[Tensor, "n steps"]  # whether the step was taken in a state that is not terminal


def sample_trajectories(mdp: TabularMDP, policy: Tensor, n: int, horizon: int | None = None,
                        generator: torch.Generator | None = None) -> Trajectories:
    """Draw ``n`` trajectories of ``horizon`` steps; policy is [S, A] or [T, S, A]."""
    steps = checks.resolve_horizon(mdp, horizon)
    checks.check_policy(mdp, policy, horizon=steps)
    states = torch.empty(n, steps + 1, dtype=torch.long, device=mdp.device)
    actions = torch.empty(n, steps, dtype=torch.long, device=mdp.device)
    states[:, 0] = torch.multinomial(mdp.initial_state_dist, n, True, generator=generator)
    for t in range(steps):
        now, table = states[:, t], policy[t] if policy.ndim == 3 else policy
        actions[:, t] = torch.multinomial(table[now], 1, generator=generator)[:, 0]
        row = mdp.probabilities[now, actions[:, t]]
        branch = torch.multinomial(row, 1, generator=generator)
        states[:, t + 1] = mdp.successors[now, actions[:, t]].gather(1, branch)[:, 0]
    mask = ~mdp.terminal[states[:, :-1]]
    return Trajectories(states, actions, mdp.reward[states[:, :-1], actions] * mask, mask)
