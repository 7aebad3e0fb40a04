"""Wrong and right answers to exercise 03.4, which its grader knows."""

from __future__ import annotations

import math

import numpy as np
import torch

from tutorlib.grading import Mutant, Variant


def _backward(soft, act, first=None):
    """Make a backward pass from ``soft(q, t, prior) -> V`` and ``act(q, t, prior) -> pi``."""
    def solve(next_states, reward, prior, temperature, horizon):
        start = torch.zeros(len(reward), dtype=torch.float64) if first is None else first(reward)
        values, policy = [start], []
        for _ in range(horizon):
            q = reward + values[0][next_states]
            values.insert(0, soft(q, temperature, prior))
            policy.insert(0, act(q, temperature, prior))
        return torch.stack(values), torch.stack(policy)
    return solve


def _soft(q, t, prior):
    return t * torch.logsumexp(q / t + prior.log(), -1)


def _act(q, t, prior):
    return torch.softmax(q / t + prior.log(), -1)


def _time_reversed(*args):
    values, policy = _numpy(*args)
    return values[::-1].copy(), policy[::-1].copy()


def _forward_in_time(next_states, reward, prior, temperature, horizon):
    values = torch.zeros(horizon + 1, len(reward), dtype=torch.float64)
    policy = torch.zeros(horizon, *reward.shape, dtype=torch.float64)
    for t in range(horizon):
        q = reward + values[t + 1][next_states]
        values[t], policy[t] = _soft(q, temperature, prior), _act(q, temperature, prior)
    return values, policy


def _own_value(next_states, reward, prior, temperature, horizon):
    values, policy = [torch.zeros(len(reward), dtype=torch.float64)], []
    for _ in range(horizon):
        q = reward + values[0][:, None]
        values.insert(0, _soft(q, temperature, prior))
        policy.insert(0, _act(q, temperature, prior))
    return torch.stack(values), torch.stack(policy)


def _in_single_precision(next_states, reward, prior, temperature, horizon):
    values = torch.zeros(horizon + 1, len(reward), dtype=torch.float32)
    policy = torch.zeros(horizon, *reward.shape, dtype=torch.float32)
    for t in reversed(range(horizon)):
        q = reward + values[t + 1][next_states]
        values[t] = _soft(q, temperature, prior)
        policy[t] = _share(q, temperature, prior, values[t])
    return values, policy


def _share(q, t, prior, values):
    return prior * ((q - values[:, None]) / t).exp()


def _naive_soft(q, t, prior):
    return t * (prior * (q / t).exp()).sum(-1).log()


def _priorless_soft(q, t, prior):
    return t * torch.logsumexp(q / t, -1)


MUTANTS = (
    Mutant("hard_max", _backward(
               lambda q, t, prior: q.masked_fill(prior == 0, -torch.inf).amax(-1), _act),
           "The values are passed back by a hard maximum, as if nothing were paid for leaving the "
           "prior. Pass back λ log Σ prior exp(Q/λ)."),
    Mutant("prior_ignored", _backward(lambda q, t, prior: t * torch.logsumexp(q / t, -1),
                                      lambda q, t, prior: torch.softmax(q / t, -1)),
           "The prior is never used; this is control with an entropy bonus. Weigh each "
           "exponential by the prior's probability of that action."),
    Mutant("prior_outside_the_sum", _backward(lambda q, t, prior: t * torch.logsumexp(q / t, -1),
                                              _act),
           "The policy knows the prior, but the value does not: the log-sum leaves it out. Both "
           "come from one weight, prior times `exp(Q / temperature)`; its sum is Z, its share is "
           "the policy."),
    Mutant("prior_missing_from_the_value", _backward(
               _priorless_soft,
               lambda q, t, prior: _share(q, t, prior, _priorless_soft(q, t, prior))),
           "The log-sum of V leaves the prior out, and with that V the policy's rows do not sum "
           "to 1. Weigh each exponential inside the sum by the prior, as the policy does."),
    Mutant("prior_missing_from_the_policy", _backward(
               _soft, lambda q, t, prior: torch.softmax(q / t, -1)),
           "The values are right, but the policy leaves the prior out: even a forbidden action "
           "gets a share. Multiply each exponential by its prior before you normalise."),
    Mutant("plain_max", _backward(lambda q, t, prior: q.amax(-1), _act),
           "You pass back the largest Q, as unit 01 did, even that of an action the prior "
           "forbids. Here V is a soft maximum under the prior: λ log Σ prior exp(Q/λ)."),
    Mutant("prior_tempered", _backward(
               lambda q, t, prior: t * torch.logsumexp((q + prior.log()) / t, -1),
               lambda q, t, prior: torch.softmax((q + prior.log()) / t, -1)),
           "The prior's logarithm is divided by the temperature too. Only Q is; the prior's "
           "probability multiplies the exponential as it is."),
    Mutant("value_of_the_prior", _backward(lambda q, t, prior: (prior * q).sum(-1), _act),
           "You pass back the mean of Q under the prior: the value of somebody who will never "
           "improve. Take the exponentials first, average them, and then take the logarithm."),
    Mutant("no_outer_temperature", _backward(
               lambda q, t, prior: torch.logsumexp(q / t + prior.log(), -1), _act),
           "The temperature in front of the logarithm is missing, so the value comes back in the "
           "wrong unit and grows step by step. Multiply by it."),
    Mutant("not_normalised", _backward(_soft, lambda q, t, prior: prior * (q / t).exp()),
           "The policy's rows are weights, not probabilities. Divide by their sum, or use "
           "prior times exp((Q - V)/λ), which does it."),
    Mutant("naive_exponential", _backward(
               lambda q, t, prior: t * (prior * (q / t).exp()).sum(-1).log(),
               lambda q, t, prior: prior * (q / t).exp()
               / (prior * (q / t).exp()).sum(-1, keepdim=True)),
           "The formula is right, but at a low temperature `exp(Q / temperature)` overflows or "
           "vanishes, and the rest is infinite or not a number. Stay with logarithms: "
           "`torch.logsumexp` and `torch.softmax` take the maximum out first."),
    Mutant("naive_as_written", _backward(
               _naive_soft, lambda q, t, prior: _share(q, t, prior, _naive_soft(q, t, prior))),
           "You typed the formula as it stands, and on paper it is right. At a low temperature "
           "`exp(Q / temperature)` is infinite. Take each row's maximum out first: "
           "`torch.logsumexp` of Q/λ + log prior does it."),
    Mutant("single_precision", _in_single_precision,
           "Your tables are float32, the default of `torch.zeros`. At a low temperature their "
           "rounding, divided by λ, shows in the probabilities. Ask for `dtype=torch.float64`."),
    Mutant("time_reversed", _time_reversed,
           "The numbers are right, but in reverse order: `V[0]` belongs to the first decision and "
           "`V[horizon]`, after the last one, is 0. Fill the list from the front, or count t "
           "down."),
    Mutant("forward_in_time", _forward_in_time,
           "The loop runs forward, so `V[t + 1]` is still 0 when it is needed: every step looks "
           "like the last one. Start at the end and go backwards."),
    Mutant("own_value", _own_value,
           "You add the value of the state you are in. An action leads to `next_states[s, a]`; "
           "look up the value there: `values[next_states]` has shape `[states, actions]`."),
    Mutant("reward_at_the_end_twice", _backward(_soft, _act, lambda r: r.amax(-1)),
           "`V[horizon]` is the best reward, not 0. After the last decision nothing more is "
           "earned, and the reward of that decision is in Q already."),
)


def _loops(next_states, reward, prior, temperature, horizon):
    states, actions = reward.shape
    values, policy = [[0.0] * states], []
    for _ in range(horizon):
        row, acts = [], []
        for s in range(states):
            x = [float(prior[s, a].log()) + (float(reward[s, a]) + values[0][next_states[s, a]])
                 / temperature for a in range(actions)]
            total = max(x) + math.log(sum(math.exp(y - max(x)) for y in x))
            row.append(temperature * total)
            acts.append([math.exp(y - total) for y in x])
        values.insert(0, row)
        policy.insert(0, acts)
    return values, policy


def _counting_down(next_states, reward, prior, temperature, horizon):
    values = torch.zeros(horizon + 1, len(reward), dtype=torch.float64)
    policy = torch.zeros(horizon, *reward.shape, dtype=torch.float64)
    for t in reversed(range(horizon)):
        q = reward + values[t + 1][next_states]
        values[t] = _soft(q, temperature, prior)
        policy[t] = prior * ((q - values[t][:, None]) / temperature).clamp(max=700).exp()
    return values, policy


def _numpy(next_states, reward, prior, temperature, horizon):
    moves, gain = next_states.numpy(), reward.numpy()
    with np.errstate(divide="ignore"):
        habit = np.log(prior.numpy())
    values, policy = np.zeros((horizon + 1, len(gain))), np.zeros((horizon, *gain.shape))
    for t in range(horizon - 1, -1, -1):
        x = (gain + values[t + 1][moves]) / temperature + habit
        log_z = np.logaddexp.reduce(x, axis=1)
        values[t], policy[t] = temperature * log_z, np.exp(x - log_z[:, None])
    return values, policy


VARIANTS = (
    Variant("counting down, prior times exp((Q - V) / lambda)", _counting_down),
    Variant("numpy", _numpy),
    Variant("loops", _loops),
)
