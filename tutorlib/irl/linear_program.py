"""Inverse RL as a linear program: all rewards that make a policy optimal, and a choice of one.

A deterministic policy a1 is optimal for r iff no single deviation pays:

    Q(s, a1(s)) - Q(s, a) >= 0 for all s, a, with Q the policy's own;

for a reward R(s) of the state acted in that is (P_a1 - P_a) (I - gamma P_a1)^-1 R >= 0 (Ng and
Russell 2000). The condition is linear in the reward, so all such rewards form a cone,
and R = 0 is always in it. To choose one, the program maximises the sum over states of the margin to
the second-best action, minus an L1 penalty, within |R| <= r_max (section 3.2).

Departures from the paper: the reward may also be paid on arrival or per action (``paid`` as in
``rewards``), where the condition is the first line above; terminal states pay nothing and have no
condition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.irl.layout import check_reward
from tutorlib.irl.rewards import pay
from tutorlib.mdp import TabularMDP, policy_evaluation, q_values


@dataclass(frozen=True)
class LPReward:
    """The reward that linear-programming IRL chooses."""

    reward: Float[Tensor, ...]  # R, [states], or r, [states, actions] with paid="action"
    margins: Float[Tensor, "states actions"]  # Q(s, a1) - Q(s, a); 0 for a1 itself
    objective: float  # sum of smallest margins, minus the penalty
    trivial: bool  # True: it chose R = 0, which explains every policy


def optimality_margins(mdp: TabularMDP, policy: Float[Tensor, "states actions"],
                       reward: Float[Tensor, "states actions"] | None = None
                       ) -> Float[Tensor, "states actions"]:
    """Return V(s) - Q(s, a) of the policy: it is optimal iff no entry is negative.

    ``reward`` (default: the process's own) is r(s, a). Terminal states have margins 0. Raises
    InvalidArgumentError for a reward or a policy that does not fit.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[1.0, 3.0]], discount=0.5)
    >>> optimality_margins(mdp, mdp.reward.new_tensor([[0.0, 1.0]])).tolist()
    [[2.0, 0.0]]
    """
    if reward is not None:
        check_reward(mdp, reward)
        mdp = mdp.replace(reward=reward.masked_fill(mdp.terminal[:, None], 0.0))
    values = policy_evaluation(mdp, policy)
    return (values[:, None] - q_values(mdp, values)).masked_fill(mdp.terminal[:, None], 0.0)


def margin_matrix(mdp: TabularMDP, policy: Float[Tensor, "states actions"],
                  paid: str = "departure") -> Float[Tensor, "states actions parameters"]:
    """Return M with margins = M R: the rows of Ng and Russell's condition.

    One column per entry of the reward table (states, or states x actions with ``paid="action"``).
    """
    size = mdp.n_states * (mdp.n_actions if paid == "action" else 1)
    units = torch.eye(size, dtype=mdp.dtype, device=mdp.device)
    shape = (mdp.n_states, mdp.n_actions) if paid == "action" else (mdp.n_states,)
    rewards = pay(mdp, units.unflatten(-1, shape), paid)  # [parameters, states, actions]
    alive = (~mdp.terminal).to(mdp.dtype)
    dense = mdp.transition_matrix
    step = mdp.discount * alive[:, None] * torch.einsum("sa,sat->st", policy, dense)
    eye = torch.eye(mdp.n_states, dtype=mdp.dtype, device=mdp.device)
    values = torch.linalg.solve(eye - step, torch.einsum("sa,psa->sp", policy, rewards))
    q = rewards.permute(1, 2, 0) + mdp.discount * torch.einsum("sat,tp->sap", dense, values)
    return (values[:, None, :] - q) * alive[:, None, None]


def lp_irl(mdp: TabularMDP, policy: Float[Tensor, "states actions"], penalty: float = 0.0,
           r_max: float = 1.0, paid: str = "departure") -> LPReward:
    """Return the reward that Ng and Russell's linear program chooses to explain ``policy``.

    max over R of sum_s min_{a != a1} margin(s, a) - penalty |R|_1, subject to margins >= 0 and
    |R| <= r_max (2000, section 3.2). It is never infeasible: R = 0 always is a solution, and
    ``trivial`` says when it is the chosen one (the penalty is too high, or no reward of this kind
    tells the policy from all others).

    Raises InvalidArgumentError for a policy that is not deterministic, or bad numbers.

    >>> mdp = TabularMDP.from_dense([[[1.0, 0.0], [0.0, 1.0]]] * 2, [0.0, 0.0], discount=0.5)
    >>> stay = mdp.reward.new_tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> lp_irl(mdp, stay).reward.tolist()
    [1.0, -1.0]
    """
    _check_program(mdp, policy, penalty, r_max)
    matrix = margin_matrix(mdp, policy, paid)
    chosen = policy.argmax(-1)
    others = torch.ones_like(policy, dtype=torch.bool)
    others[torch.arange(mdp.n_states), chosen] = False
    others[mdp.terminal] = False
    rows = matrix[others].cpu().numpy()  # [constraints, parameters]
    state = others.nonzero()[:, 0].cpu().numpy()
    solution, objective = _solve(rows, state, mdp.n_states, penalty, r_max)
    reward = torch.from_numpy(solution).to(mdp.probabilities)
    margins = matrix @ reward
    shape = (mdp.n_states, mdp.n_actions) if paid == "action" else (mdp.n_states,)
    trivial = bool(reward.abs().max() <= 1e-9 * r_max)
    return LPReward(reward.view(shape), margins, objective, trivial)


def _solve(rows: np.ndarray, state: np.ndarray, n_states: int, penalty: float, r_max: float
           ) -> tuple[np.ndarray, float]:
    """Solve the program over (R, z, u): z <= margins of its state, |R| <= u <= r_max."""
    from scipy.optimize import linprog
    from scipy.sparse import block_array, coo_array, eye_array

    n, m = rows.shape[1], len(rows)
    pick = coo_array((np.ones(m), (np.arange(m), state)), shape=(m, n_states))
    eye = eye_array(n)
    upper = block_array([[-rows, pick, None], [-rows, None, None],
                         [eye, None, -eye], [-eye, None, -eye]])
    cost = np.concatenate([np.zeros(n), -np.ones(n_states), penalty * np.ones(n)])
    acting = np.isin(np.arange(n_states), state)
    bounds = ([(-r_max, r_max)] * n + [(None if a else 0, None if a else 0) for a in acting]
              + [(0, r_max)] * n)
    found = linprog(cost, A_ub=upper.tocsr(), b_ub=np.zeros(2 * m + 2 * n), bounds=bounds,
                    method="highs")
    if found.status != 0:
        raise NotConvergedError(f"the linear program ended with: {found.message}; try a larger "
                                "r_max or a smaller penalty")
    return found.x[:n], -float(found.fun)


def _check_program(mdp: TabularMDP, policy: Tensor, penalty: float, r_max: float) -> None:
    """Raise InvalidArgumentError unless the policy is deterministic and the numbers make sense."""
    check_reward(mdp, policy, "policy")
    wrong = ~mdp.terminal & ~((policy == 1).sum(-1).eq(1) & (policy == 0).sum(-1).eq(
        mdp.n_actions - 1))
    if policy.ndim != 2 or bool(wrong.any()):
        state = int(wrong.nonzero()[0, -1]) if bool(wrong.any()) else 0
        raise InvalidArgumentError(
            f"policy in state {mdp.state_names[state]!r} is {policy[..., state, :].tolist()}; "
            "expected a single 1, since the condition compares one chosen action with the others "
            "(for a soft policy: reward_family)"
        )
    if mdp.n_actions < 2 or not (penalty >= 0 and r_max > 0):
        raise InvalidArgumentError(
            f"{mdp.n_actions} action(s), penalty {penalty!r}, r_max {r_max!r}; expected at least "
            "two actions, penalty >= 0 and r_max > 0"
        )
