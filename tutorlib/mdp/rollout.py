"""Sample trajectories of a policy in a tabular decision process, many at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import checks
from tutorlib.mdp.tabular import TabularMDP


@dataclass(frozen=True, eq=False)
class Trajectories:
    """A batch of trajectories of one length; what follows a terminal state is padding."""

    states: Int[Tensor, "n steps_plus_one"]  # s_0 ... s_T; the terminal state is repeated
    actions: Int[Tensor, "n steps"]  # a_0 ... a_{T-1}; 0 in padding
    rewards: Float[Tensor, "n steps"]  # the expected r(s_t, a_t); 0 in padding
    mask: Bool[Tensor, "n steps"]  # true where a decision was made, outside terminal states


def sample_trajectories(
    mdp: TabularMDP,
    policy: Float[Tensor, "*time states actions"],
    n: int,
    horizon: int | None = None,
    generator: torch.Generator | None = None,
) -> Trajectories:
    """Draw ``n`` trajectories of ``horizon`` decisions from the initial distribution.

    ``policy`` is [states, actions], or one table per step, [T, states, actions]; ``horizon=None``
    takes the process's own. The same ``generator`` state gives the same trajectories, also on
    another device: it may live on the CPU. ``None`` draws from torch's default generator.

    Raises InvalidArgumentError without a horizon, for n < 1, or for a table that is no policy.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [1.0, 0.0], [1.0, 0.0])
    >>> batch = sample_trajectories(mdp, torch.ones_like(mdp.reward), n=1, horizon=2)
    >>> batch.states.tolist(), batch.rewards.tolist()
    ([[0, 1, 1]], [[1.0, 0.0]])
    """
    steps = checks.resolve_horizon(mdp, horizon)
    policy = checks.check_policy(mdp, policy, horizon=steps)
    if n < 1:
        raise InvalidArgumentError(f"n is {n!r}; expected at least one trajectory")
    here = _draw(mdp.initial_state_dist, n, generator)
    states, actions = [here], []
    for t in range(steps):
        table = policy[t] if policy.ndim == 3 else policy
        action = _draw(table[here], n, generator)
        branch = _draw(mdp.probabilities[here, action], n, generator)
        here = mdp.successors[here, action, branch]
        states.append(here)
        actions.append(action)
    visited, chosen = torch.stack(states, 1), torch.stack(actions, 1)
    mask = ~mdp.terminal[visited[:, :-1]]
    rewards = mdp.reward[visited[:, :-1], chosen]  # 0 in terminal states
    return Trajectories(visited, chosen * mask, rewards, mask)


def _draw(
    probabilities: Tensor, n: int, generator: torch.Generator | None
) -> Int[Tensor, " n"]:
    """Return ``n`` indices drawn from one distribution, or one from each of ``n`` rows.

    Inverts the cumulative sums. The point stays below their total, so that no draw can fall on an
    outcome of probability 0, whatever the rounding.
    """
    source = "cpu" if generator is None else generator.device
    uniform = torch.rand(n, dtype=torch.float64, generator=generator, device=source)
    sums = probabilities.detach().double().cumsum(-1)
    total = sums[..., -1]
    point = torch.minimum(uniform.to(sums.device) * total, total.nextafter(total.new_zeros(())))
    if sums.ndim == 1:
        return torch.searchsorted(sums, point, right=True)
    return torch.searchsorted(sums, point[:, None], right=True)[:, 0]
