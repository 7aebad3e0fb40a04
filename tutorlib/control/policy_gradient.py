"""The policy gradient of a softmax table: exactly, and as it is estimated from trajectories.

The policy is pi(a|s) = softmax(logits[s])[a] and the objective J = E[sum_t gamma^t r_t]. Estimates
here keep the factor gamma^t in front of each step. Deep RL code drops it, which gives the gradient
of no objective (Thomas 2014; Nota and Thomas 2020); with it an estimate can be checked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.control.estimators import discounted_returns, td_errors
from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import (
    TabularMDP,
    Trajectories,
    occupancy_measure,
    policy_evaluation,
    q_values,
    sample_trajectories,
    state_distributions,
)


def softmax_policy(logits: Float[Tensor, "states actions"]) -> Float[Tensor, "states actions"]:
    """Return pi(a|s) = exp(logits[s, a]) / sum over actions.

    >>> softmax_policy(torch.zeros(1, 2)).tolist()
    [[0.5, 0.5]]
    """
    return torch.softmax(logits, -1)


def finite_horizon_values(mdp: TabularMDP, policy: Float[Tensor, "states actions"], horizon: int
                          ) -> tuple[Tensor, Tensor]:
    """Return V[t, s] (t = 0..horizon) and Q[t, s, a] of a policy that acts ``horizon`` times."""
    values = mdp.reward.new_zeros(horizon + 1, mdp.n_states)
    q = mdp.reward.new_empty(horizon, mdp.n_states, mdp.n_actions)
    for t in reversed(range(horizon)):
        q[t] = q_values(mdp, values[t + 1])
        values[t] = (policy * q[t]).sum(-1).masked_fill(mdp.terminal, 0.0)
    return values, q


def exact_return(mdp: TabularMDP, logits: Float[Tensor, "states actions"],
                 horizon: int | None = None) -> float:
    """Return J of the softmax policy over ``horizon`` steps, or without end if it is None."""
    policy = softmax_policy(logits)
    if horizon is None:
        values = policy_evaluation(mdp, policy)
    else:
        values = finite_horizon_values(mdp, policy, horizon)[0][0]
    return float(mdp.initial_state_dist @ values)


def exact_policy_gradient(mdp: TabularMDP, logits: Float[Tensor, "states actions"],
                          horizon: int | None = None) -> Float[Tensor, "states actions"]:
    """Return dJ / dlogits, with no sampling: sum_t gamma^t P(s_t = s) pi(a|s) A_t(s, a).

    (Sutton et al. 2000, Theorem 1, for a softmax table.) Without a horizon the discount must be
    below 1.

    >>> bandit = TabularMDP.from_dense([[[0.0, 1.0]] * 2] * 2, [[1.0, 0.0], [0.0, 0.0]],
    ...                                terminal=[False, True])
    >>> exact_policy_gradient(bandit, torch.zeros(2, 2, dtype=torch.float64))[0].tolist()
    [0.25, -0.25]
    """
    policy = softmax_policy(logits)
    if horizon is None:
        values = policy_evaluation(mdp, policy)
        advantages = q_values(mdp, values) - values[:, None]
        gradient = occupancy_measure(mdp, policy) * advantages
    else:
        values, q = finite_horizon_values(mdp, policy, horizon)
        visits = state_distributions(mdp, policy, horizon)[:-1]
        discounts = mdp.discount ** torch.arange(horizon, dtype=mdp.dtype, device=mdp.device)
        weights = (discounts[:, None] * visits)[:, :, None] * policy
        gradient = (weights * (q - values[:-1, :, None])).sum(0)
    return gradient.masked_fill(mdp.terminal[:, None], 0.0)


def score_gradients(logits: Float[Tensor, "states actions"], trajectories: Trajectories,
                    weights: Float[Tensor, "n steps"]) -> Float[Tensor, "n states actions"]:
    """Return, per trajectory, sum_t weights_t * grad log pi(a_t|s_t).

    For a softmax table, grad log pi(a|s) is onehot(a) - pi(.|s) in row s and 0 elsewhere
    (Williams 1992).
    """
    states, actions = trajectories.states[:, :-1], trajectories.actions
    onehot = torch.nn.functional.one_hot(actions, logits.shape[1]).to(logits.dtype)
    scores = onehot - softmax_policy(logits)[states]  # [n, steps, actions]
    weighted = scores * (weights * trajectories.mask)[:, :, None]
    gradients = logits.new_zeros(len(states), *logits.shape)
    index = states[:, :, None].expand_as(weighted)
    return gradients.scatter_add_(1, index, weighted)


ESTIMATORS = ("whole_return", "reward_to_go", "baseline", "td_error")


def estimate_gradients(estimator: str, mdp: TabularMDP, logits: Float[Tensor, "states actions"],
                       trajectories: Trajectories, values: Float[Tensor, " states"] | None = None
                       ) -> Float[Tensor, "n states actions"]:
    """Return one estimate of dJ / dlogits per trajectory; their mean estimates it better.

    Step t is weighted by ``whole_return`` G_0 (Williams 1992, REINFORCE as it was published), or by
    gamma^t times ``reward_to_go`` G_t, ``baseline`` G_t - values(s_t), or ``td_error``
    r_t + gamma values(s_{t+1}) - values(s_t) (one-step actor-critic). The first three are unbiased
    over the horizon of the trajectories, whatever ``values`` are. The last one is biased by the
    error of ``values``; at the horizon it takes what lies beyond into account.

    Raises InvalidArgumentError for another name, or for missing ``values``.
    """
    if estimator not in ESTIMATORS:
        raise InvalidArgumentError(f"estimator is {estimator!r}; expected one of {ESTIMATORS}")
    if values is None and estimator in ("baseline", "td_error"):
        raise InvalidArgumentError(f"the estimator {estimator!r} needs values, one per state")
    rewards = trajectories.rewards.T  # time first, as the estimators have it
    steps = torch.arange(len(rewards), dtype=rewards.dtype, device=rewards.device)
    discounts = (mdp.discount**steps)[:, None]
    if estimator == "whole_return":
        weights = (discounts * rewards).sum(0).expand_as(rewards)
    elif estimator == "reward_to_go":
        weights = discounts * discounted_returns(rewards, mdp.discount)
    else:
        at = values.masked_fill(mdp.terminal, 0.0)[trajectories.states].T
        if estimator == "baseline":
            weights = discounts * (discounted_returns(rewards, mdp.discount) - at[:-1])
        else:
            weights = discounts * td_errors(rewards, at, mdp.discount)
    return score_gradients(logits, trajectories, weights.T)


@dataclass(frozen=True)
class PolicyGradientConfig:
    """Settings of tabular policy-gradient training."""

    iterations: int = 100  # gradient steps
    batch: int = 16  # trajectories per gradient step
    horizon: int = 30  # steps of a trajectory
    learning_rate: float = 1.0  # of the logits
    critic_learning_rate: float = 0.3  # how far a state's value moves to the mean of its targets


@dataclass(frozen=True)
class PolicyGradientResult:
    """A trained policy and the sampled returns on the way."""

    logits: Float[Tensor, "states actions"]
    values: Float[Tensor, " states"]  # the learned critic; zeros if there was none
    returns: Float[Tensor, " iterations"]  # mean discounted return of each batch, as sampled


def train_tabular(mdp: TabularMDP, estimator: str = "baseline",
                  config: PolicyGradientConfig = PolicyGradientConfig(), seed: int = 0
                  ) -> PolicyGradientResult:
    """Climb J by estimated gradients from the uniform policy, with a critic learned alongside.

    ``baseline`` is REINFORCE with a learned baseline: the critic follows Monte-Carlo returns
    (Sutton and Barto 2018, section 13.4); ``td_error`` is the one-step actor-critic: the critic
    follows r + gamma V(s') (section 13.5, in batches). The other two need no critic.

    >>> bandit = TabularMDP.from_dense([[[0.0, 1.0]] * 2] * 2, [[1.0, 0.0], [0.0, 0.0]],
    ...                                terminal=[False, True])
    >>> result = train_tabular(bandit, "td_error", PolicyGradientConfig(iterations=50, horizon=1))
    >>> bool(softmax_policy(result.logits)[0, 0] > 0.9)
    True
    """
    generator = torch.Generator(mdp.device).manual_seed(seed)
    logits, values = torch.zeros_like(mdp.reward), mdp.reward.new_zeros(mdp.n_states)
    returns = []
    for _ in range(config.iterations):
        batch = sample_trajectories(mdp, softmax_policy(logits), config.batch, config.horizon,
                                    generator)
        gradients = estimate_gradients(estimator, mdp, logits, batch, values)
        logits = logits + config.learning_rate * gradients.mean(0)
        to_go = discounted_returns(batch.rewards.T, mdp.discount).T
        if estimator == "baseline":
            values = _towards(values, batch, to_go, config.critic_learning_rate)
        elif estimator == "td_error":
            targets = batch.rewards + mdp.discount * values[batch.states[:, 1:]]
            values = _towards(values, batch, targets, config.critic_learning_rate)
        returns.append(to_go[:, 0].mean())
    return PolicyGradientResult(logits, values, torch.stack(returns))


def _towards(values: Tensor, batch: Trajectories, targets: Tensor, learning_rate: float) -> Tensor:
    """Move the value of every visited state towards the mean of its targets."""
    states, targets = batch.states[:, :-1][batch.mask], targets[batch.mask]
    counts = torch.zeros_like(values).index_add_(0, states, torch.ones_like(targets))
    sums = torch.zeros_like(values).index_add_(0, states, targets)
    means = torch.where(counts > 0, sums / counts.clamp(min=1), values)
    return values + learning_rate * (means - values)
