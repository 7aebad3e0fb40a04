"""Wrong and right answers to exercise 03.3, which its grader knows."""

from __future__ import annotations

import numpy as np
import torch

from tutorlib.grading import Mutant, Variant
from tutorlib.mdp import q_values


def sweep(mdp, policy, temperature):
    """Return the soft value of a policy by repeated backups."""
    alive = (~mdp.terminal).double()
    entropy = -torch.special.xlogy(policy, policy).sum(-1)
    income = alive * ((policy * mdp.reward).sum(-1) + temperature * entropy)
    step = mdp.discount * alive[:, None] * torch.einsum("sa,sat->st", policy, mdp.transition_matrix)
    values = torch.zeros(mdp.n_states, dtype=torch.float64)
    for _ in range(250):
        values = income + step @ values
    return values


def _entropy(policy):
    """Return each state's entropy, with 0 log 0 = 0."""
    return -torch.special.xlogy(policy, policy).sum(-1)


def _solve(mdp, policy, income, home=False):
    """Return the discounted sum of ``income`` under ``policy``."""
    if not home:
        income = income.masked_fill(mdp.terminal, 0.0)
    step = torch.einsum("sa,sat->st", policy, mdp.transition_matrix)
    eye = torch.eye(mdp.n_states, dtype=torch.float64)
    return torch.linalg.solve(eye - mdp.discount * step, income)


def _gibbs(mdp, values, temperature):
    """Return the Gibbs policy of one-step lookahead."""
    return torch.softmax(q_values(mdp, values) / temperature, -1)


def _mean_reward(mdp, policy):
    """Return r_pi."""
    return (policy * mdp.reward).sum(-1)


def _with_bonus(bonus, home=False):
    """Make a step that adds ``bonus(policy, temperature)`` to the reward."""
    def step(mdp, policy, temperature):
        income = _mean_reward(mdp, policy) + bonus(policy, temperature)
        values = _solve(mdp, policy, income, home)
        return values, _gibbs(mdp, values, temperature)
    return step


def _then(improve):
    """Make a step with the right value and another improvement."""
    def step(mdp, policy, temperature):
        values = _solve(mdp, policy, _mean_reward(mdp, policy) + temperature * _entropy(policy))
        return values, improve(mdp, policy, values, temperature)
    return step


def _times_old(mdp, policy, values, temperature):
    weights = policy * (q_values(mdp, values) / temperature).exp()
    return weights / weights.sum(-1, keepdim=True)


def _one_backup(mdp, policy, temperature):
    values = (_mean_reward(mdp, policy) + temperature * _entropy(policy)).masked_fill(
        mdp.terminal, 0.0)
    return values, _gibbs(mdp, values, temperature)


def _masked_after(mdp, policy, temperature):
    income = _mean_reward(mdp, policy) + temperature * _entropy(policy)
    values = _solve(mdp, policy, income, home=True).masked_fill(mdp.terminal, 0.0)
    return values, _gibbs(mdp, values, temperature)


def _soft_backups(rounds):
    """Make a step that never looks at the policy: soft backups from zero, then Gibbs."""
    def step(mdp, policy, temperature):
        values = torch.zeros(mdp.n_states, dtype=torch.float64)
        for _ in range(rounds):
            soft = temperature * torch.logsumexp(q_values(mdp, values) / temperature, -1)
            values = soft.masked_fill(mdp.terminal, 0.0)
        return values, _gibbs(mdp, values, temperature)
    return step


def _uniform(mdp, policy, temperature):
    even = torch.full_like(policy, 1 / mdp.n_actions)
    values = _solve(mdp, even, _mean_reward(mdp, even) + temperature * _entropy(even))
    return values, _gibbs(mdp, values, temperature)


MUTANTS = (
    Mutant("no_entropy", _with_bonus(lambda pi, t: 0.0),
           "The policy's value counts its reward only. A soft value also pays "
           "λ H(π) in each state visited: add it to the income of a step."),
    Mutant("entropy_subtracted", _with_bonus(lambda pi, t: -t * _entropy(pi)),
           "The entropy is subtracted: being random costs here where it should pay. Entropy is "
           "-Σ π log π, a positive number, and it is added."),
    Mutant("entropy_without_temperature", _with_bonus(lambda pi, t: _entropy(pi)),
           "The entropy bonus is not multiplied by the temperature, so evaluation and improvement "
           "serve two different objectives. Scale the entropy by `temperature`."),
    Mutant("zero_log_zero", _with_bonus(lambda pi, t: -t * (pi * pi.log()).sum(-1)),
           "A policy may never take an action, and `0 * log(0)` is not a number (NaN). That term "
           "is 0 in the limit: `torch.special.xlogy(p, p)` knows it."),
    Mutant("home_earns_entropy", _with_bonus(lambda pi, t: t * _entropy(pi), home=True),
           "Home earns an entropy bonus for ever after the episode is over. Set the income of "
           "terminal states to 0 before you solve."),
    Mutant("zero_log_zero_at_home_too", _with_bonus(
               lambda pi, t: -t * (pi * pi.log()).sum(-1), home=True),
           "Two things are missing. Terminal states earn no entropy: set their income to 0 before "
           "you solve. And where the policy never takes an action, `0 * log(0)` is not a number "
           "(NaN): `torch.special.xlogy(p, p)` gives the 0 that is meant."),
    Mutant("masked_after_the_solve", _masked_after,
           "Home's value is set to 0 after the solve. By then the states before it have counted "
           "home's entropy bonus as part of their future. Set the *income* of terminal states "
           "to 0 first, then solve."),
    Mutant("one_soft_backup", _soft_backups(1),
           "This is a soft backup from values of 0: it improves without evaluating, and never "
           "looks at `policy`. First solve (I - γ P) V = r + λ H for the policy that was given."),
    Mutant("optimal_values", _soft_backups(300),
           "These are the optimal soft values. The first result is the value of the policy that "
           "was *given*, however bad it is: its mean rewards, its entropy, its transitions."),
    Mutant("one_backup", _one_backup,
           "This is the income of the first step alone. The value of a policy also holds all that "
           "follows: solve (I - γ P) V = r + λ H, all under the policy."),
    Mutant("other_policy", _uniform,
           "You evaluate the uniform policy, not the one that was given. Weigh rewards and "
           "transitions by `policy`."),
    Mutant("greedy_improvement", _then(lambda mdp, pi, v, t: torch.nn.functional.one_hot(
               q_values(mdp, v).argmax(-1), mdp.n_actions).to(v.dtype)),
           "The new policy takes the best action only. That gives its entropy bonus away and can "
           "be worth less than before: improve by the Gibbs policy of Q."),
    Mutant("improvement_without_temperature",
           _then(lambda mdp, pi, v, t: torch.softmax(q_values(mdp, v), -1)),
           "The value is right, but the new policy ignores the temperature. It must be the Gibbs "
           "policy, proportional to exp(Q/λ)."),
    Mutant("old_policy_as_prior", _then(_times_old),
           "You multiply by the old policy. That is a step with a leash to the old policy, "
           "another method, which never forgets. Here the new policy is "
           "proportional to exp(Q/λ) alone."),
)


def _numpy(mdp, policy, temperature):
    pi, dense, reward = policy.numpy(), mdp.transition_matrix.numpy(), mdp.reward.numpy()
    surprise = -np.log(np.where(pi > 0, pi, 1.0))
    income = (pi * (reward + temperature * surprise)).sum(1) * ~mdp.terminal.numpy()
    step = np.einsum("sa,sat->st", pi, dense)
    values = np.linalg.inv(np.eye(len(pi)) - mdp.discount * step) @ income
    q = reward + mdp.discount * dense @ values
    weights = np.exp((q - q.max(1, keepdims=True)) / temperature)
    return values, weights / weights.sum(1, keepdims=True)


def _iterated(mdp, policy, temperature):
    values = sweep(mdp, policy, temperature)
    return values, _gibbs(mdp, values, temperature)


def _without_home(mdp, policy, temperature):
    alive = ~mdp.terminal
    step = torch.einsum("sa,sat->st", policy, mdp.transition_matrix)[alive][:, alive]
    income = (_mean_reward(mdp, policy) + temperature * _entropy(policy))[alive]
    values = torch.zeros(mdp.n_states, dtype=torch.float64)
    values[alive] = torch.linalg.solve(torch.eye(len(step)) - mdp.discount * step, income)
    return [values, _gibbs(mdp, values, temperature)]


VARIANTS = (
    Variant("numpy, inverse, surprise as reward", _numpy),
    Variant("repeated backups instead of a linear solve", _iterated),
    Variant("the linear system without the terminal states", _without_home),
)
