"""Maximum-entropy IRL over whole trajectories, as first proposed (Ziebart et al. 2008).

Trajectories that start in s_0 are weighted by their reward, times the dynamics:

    P(tau | s_0) = exp(sum_t r / lambda) * prod_t P(s_(t+1) | s_t, a_t) / Z(s_0)          (eq. 4)

Where the dynamics are deterministic this is the soft-optimal policy of ``tutorlib.irl.causal``.
Where they are not, it is no policy at all: it also bends the chances, as if luck could be chosen.
A gamble of +3 or -3, at even odds, against a safe 0 is taken with probability 0.9096, where the
causal policy, which knows that the outcome comes after the choice, takes it with 0.5.

Departures from the paper: a temperature; rewards of steps, r(s, a) or per branch r(s, a, branch),
in place of states only (R on arrival is ``R[mdp.successors]``); exact recursions over a fixed
horizon in place of algorithm 1's stationary ones; Z is conditioned on the start, so that mu stays
mu. As in the paper there is no discount: the process must have discount 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.layout import check_temperature, resolve_steps
from tutorlib.irl.paths import Paths, enumerate_paths, path_returns, per_branch
from tutorlib.mdp import TabularMDP


@dataclass(frozen=True)
class MaxEntSolution:
    """The trajectory distribution of a reward, as a time-dependent Markov chain."""

    values: Float[Tensor, "steps_plus_one states"]  # lambda log Z, from each time and state on
    policy: Float[Tensor, "steps states actions"]  # P(a_t | s_t) within the distribution
    dynamics: Float[Tensor, "steps states actions branches"]  # its bent P(s_(t+1) | s_t, a_t)
    visits: Float[Tensor, "states actions branches"]  # expected counts, summed over time


def _resolve(mdp: TabularMDP, temperature: float, horizon: int | None) -> int:
    """Return the number of steps; refuse what the model of 2008 has no meaning for."""
    check_temperature(temperature)
    if mdp.discount != 1:
        raise InvalidArgumentError(
            f"the process has discount {mdp.discount}, but maximum entropy over trajectories sums "
            "rewards without one; use mdp.replace(discount=1.0, horizon=...), or causal_loss"
        )
    steps = resolve_steps(mdp, horizon)
    assert steps is not None  # at discount 1, resolve_steps has refused an endless process
    return steps


def one_step_gamble(stake: float = 3.0) -> tuple[TabularMDP, Float[Tensor, " states"]]:
    """Return a choice between a fair gamble for +-stake and a safe 0, and R(s') on arrival.

    >>> mdp, outcome = one_step_gamble()
    >>> mdp.reward.tolist()[0], outcome.tolist()
    ([0.0, 0.0], [0.0, 3.0, -3.0, 0.0])
    """
    ends = torch.eye(4, dtype=torch.float64)
    dynamics = ends[:, None, :].repeat(1, 2, 1)
    dynamics[0] = torch.stack([(ends[1] + ends[2]) / 2, ends[3]])
    outcome = stake * (ends[1] - ends[2])
    reward = dynamics @ outcome * ends[:1].T
    mdp = TabularMDP.from_dense(
        dynamics, reward, ends[0], discount=1.0, horizon=1,
        terminal=torch.tensor([False, True, True, True]), action_names=("gamble", "safe"),
        state_names=("choice", "won", "lost", "kept"))
    return mdp, outcome


def trajectory_distribution(mdp: TabularMDP, reward: Tensor, temperature: float = 1.0,
                            horizon: int | None = None) -> tuple[Paths, Float[Tensor, " n"]]:
    """Return all trajectories and their maximum-entropy probabilities, by listing them (eq. 4).

    >>> mdp, outcome = one_step_gamble()
    >>> paths, chances = trajectory_distribution(mdp, outcome[mdp.successors])
    >>> round(chances[paths.actions[:, 0] == 0].sum().item(), 4)
    0.9096
    """
    steps = _resolve(mdp, temperature, horizon)
    paths = enumerate_paths(mdp, steps)
    scores = path_returns(mdp, paths, reward) / temperature
    weights = (scores - scores.max()).exp() * paths.dynamics
    partition = weights.new_zeros(mdp.n_states).index_add_(0, paths.states[:, 0], weights)
    return paths, paths.start * weights / partition[paths.states[:, 0]]


def maxent_values(mdp: TabularMDP, reward: Tensor, temperature: float = 1.0,
                  horizon: int | None = None) -> Float[Tensor, "steps_plus_one states"]:
    """Return lambda log Z for every time and state, by backward induction; differentiable.

    V_t(s) = lambda log sum_a sum_b P(b | s, a) exp((r(s, a, b) + V_(t+1)(s'_b)) / lambda), V_T = 0:
    the log stands outside of the chances too, which is what makes it wrong for stochastic dynamics.
    """
    steps = _resolve(mdp, temperature, horizon)
    reward, logp = per_branch(mdp, reward), mdp.probabilities.log()
    values = [reward.new_zeros(mdp.n_states)]
    for _ in range(steps):
        scores = (reward + values[-1][mdp.successors]) / temperature + logp
        soft = temperature * torch.logsumexp(scores.flatten(1), -1)
        values.append(soft.masked_fill(mdp.terminal, 0.0))
    return torch.stack(values[::-1])


@torch.no_grad()
def solve_maxent(mdp: TabularMDP, reward: Tensor, temperature: float = 1.0,
                 horizon: int | None = None) -> MaxEntSolution:
    """Return the trajectory distribution of ``reward`` and its visits, without listing anything.

    Backward for Z, then forward with the distribution's own choices and chances (algorithm 1).
    ``reward`` is [states, actions] or [states, actions, branches]. Cost: O(T * transitions).
    """
    values = maxent_values(mdp, reward, temperature, horizon)
    reward, logp = per_branch(mdp, reward), mdp.probabilities.log()
    scores = (reward + values[1:, mdp.successors]) / temperature + logp
    joint = torch.softmax(scores.flatten(2), -1).view(scores.shape)  # P(a, branch | s) at each time
    policy = joint.sum(-1)
    dynamics = joint / policy.clamp_min(torch.finfo(policy.dtype).tiny)[..., None]
    states, visits = mdp.initial_state_dist, torch.zeros_like(reward)
    for step in joint:
        now = (states * ~mdp.terminal)[:, None, None] * step
        visits += now
        states = torch.zeros_like(states).index_add_(0, mdp.successors.reshape(-1), now.reshape(-1))
    return MaxEntSolution(values, policy, dynamics, visits)


def maxent_loss(mdp: TabularMDP, reward: Tensor, expert_counts: Tensor, temperature: float = 1.0,
                horizon: int | None = None) -> Float[Tensor, ""]:
    """Return E_mu[log Z(s_0)] - sum expert_counts * r / lambda, and the gap as its gradient.

    The gradient is (visits - expert_counts) / lambda. ``expert_counts`` is shaped like ``reward``:
    mean undiscounted visits of (s, a), or of branches. This is the negative log-likelihood of the
    demonstrations, up to what the dynamics contribute (eq. 6).

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=1.0, horizon=1)
    >>> reward = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    >>> maxent_loss(mdp, reward, torch.tensor([[1.0, 0.0]], dtype=torch.float64)).backward()
    >>> reward.grad.tolist()
    [[-0.5, 0.5]]
    """
    solution = solve_maxent(mdp, reward.detach(), temperature, horizon)
    visits = solution.visits if reward.ndim == 3 else solution.visits.sum(-1)
    ended = mdp.terminal[:, None, None] if reward.ndim == 3 else mdp.terminal[:, None]
    reward = reward.masked_fill(ended, 0.0)
    paid = (reward.detach() * expert_counts).sum()
    value = (mdp.initial_state_dist @ solution.values[0] - paid) / temperature
    surrogate = (reward * (visits - expert_counts)).sum() / temperature
    return surrogate + (value - surrogate).detach()
