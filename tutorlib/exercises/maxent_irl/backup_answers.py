"""Wrong and right answers to exercise 06.1, which its grader knows."""

from __future__ import annotations

import math

import numpy as np
import torch

from tutorlib.grading import Mutant, Variant


def _backward(soft, act, ahead=None, last=None):
    """Make a backward pass from soft(q, t) -> V, act(q, t) -> pi and ahead(P, R, V) -> Q."""
    ahead = ahead or _ahead

    def solve(transition_matrix, cell_rewards, temperature, horizon):
        first = torch.zeros_like(cell_rewards) if last is None else last(cell_rewards)
        values, policy = [first], []
        for _ in range(horizon):
            q = ahead(transition_matrix, cell_rewards, values[0])
            values.insert(0, soft(q, temperature))
            policy.insert(0, act(q, temperature))
        return torch.stack(values), torch.stack(policy)

    return solve


def _ahead(moves, paid, values):
    return moves @ (paid + values)


def _soft(q, t):
    return t * torch.logsumexp(q / t, -1)


def _act(q, t):
    return torch.softmax(q / t, -1)


def _naive(q, t):
    return t * (q / t).exp().sum(-1).log()


def _luck_as_choice(transition_matrix, cell_rewards, temperature, horizon):
    values, policy = [torch.zeros_like(cell_rewards)], []
    for _ in range(horizon):
        scores = transition_matrix.log() + (cell_rewards + values[0]) / temperature
        values.insert(0, temperature * torch.logsumexp(scores.flatten(1), -1))
        policy.insert(0, torch.softmax(scores.flatten(1), -1).view(scores.shape).sum(-1))
    return torch.stack(values), torch.stack(policy)


def _forward_in_time(transition_matrix, cell_rewards, temperature, horizon):
    values = torch.zeros(horizon + 1, len(cell_rewards), dtype=torch.float64)
    policy = torch.zeros(horizon, *transition_matrix.shape[:2], dtype=torch.float64)
    for t in range(horizon):
        q = _ahead(transition_matrix, cell_rewards, values[t + 1])
        values[t], policy[t] = _soft(q, temperature), _act(q, temperature)
    return values, policy


def _time_reversed(*args):
    values, policy = _right(*args)
    return values.flip(0), policy.flip(0)


def _policy_reversed(*args):
    values, policy = _right(*args)
    return values, policy.flip(0)


def _one_table(*args):
    values, policy = _right(*args)
    return values, policy[:1].expand_as(policy).clone()


def _one_step_back(*args):
    values, policy = _right(*args)
    return values[:-1], policy


def _policy_by_the_next_value(moves, paid, temperature, horizon):
    values, _ = _right(moves, paid, temperature, horizon)
    q = [_ahead(moves, paid, following) for following in values[1:]]
    return values, ((torch.stack(q) - values[1:, :, None]) / temperature).exp()


def _one_hot(q, _):
    return torch.nn.functional.one_hot(q.argmax(-1), q.shape[-1]).double()


_right = _backward(_soft, _act)

MUTANTS = (
    Mutant("hard_max", _backward(lambda q, t: q.amax(-1), _act),
           "The policy is soft, but the values are passed back by a hard maximum: as if it would "
           "choose the best action from then on, which it does not. Pass back λ log Σ exp(Q/λ)."),
    Mutant("hard_max_and_greedy", _backward(lambda q, t: q.amax(-1), _one_hot),
           "This is value iteration with a greedy policy. A demonstrator who never errs leaves "
           "every other action with probability 0, and no likelihood survives a slip. Use the "
           "soft maximum and its shares."),
    Mutant("terminal_initialisation", _backward(_soft, _act, last=lambda r: r),
           "`values[horizon]` holds the rewards, so the last arrival is paid twice. After the "
           "last decision nothing follows: begin with zeros."),
    Mutant("luck_as_choice", _luck_as_choice,
           "You take the exponential of each outcome and then the average: outcomes compete like "
           "actions, as if luck could be chosen. This is the weighting of 2008. Average first: Q "
           "is an expectation, and only actions stand inside the log-sum-exp."),
    Mutant("paid_on_departure", _backward(
               _soft, _act, lambda p, r, v: r[:, None] + p @ v),
           "You pay R of the state you leave. `cell_rewards` is R(s'), paid for arriving: it "
           "stands under the expectation, beside the value of s'."),
    Mutant("axes_transposed", _backward(
               _soft, _act, lambda p, r, v: torch.einsum("tas,t->sa", p, r + v)),
           "The transitions are read backwards, from s' to s. `transition_matrix[s, a, s']` must "
           "be summed over its last index: `transition_matrix @ (...)` does that."),
    Mutant("own_value", _backward(_soft, _act, lambda p, r, v: p @ r + v[:, None]),
           "You add the value of the state you are in. The value to come is that of s', averaged "
           "over the transitions like the reward."),
    Mutant("negative_rewards_break_it", _backward(
               _soft, lambda q, t: q / q.sum(-1, keepdim=True)),
           "The policy is proportional to Q itself. As soon as a Q is negative, so is a "
           "'probability', and no demonstration can be drawn from it. Shares of exp(Q/λ) are "
           "positive whatever the sign."),
    Mutant("clipped_at_zero", _backward(
               _soft, lambda q, t: _shares(q.clamp(min=0.0))),
           "Negative Q are cut off at 0 before the shares are taken. Where every reward is "
           "negative nothing is left, and elsewhere the proportions are wrong. Take shares of "
           "exp(Q/λ)."),
    Mutant("mean_of_q", _backward(lambda q, t: (_act(q, t) * q).sum(-1), _act),
           "You pass back the policy's mean Q: reward, but no entropy. The soft value has both; "
           "λ log Σ exp(Q/λ) is their sum, and it is above the mean."),
    Mutant("no_outer_temperature", _backward(lambda q, t: torch.logsumexp(q / t, -1), _act),
           "The temperature in front of the logarithm is missing: the value is not in units of "
           "reward, and grows wrong step by step. Multiply by it."),
    Mutant("temperature_ignored", _backward(lambda q, t: _soft(q, 1.0), lambda q, t: _act(q, 1.0)),
           "The temperature plays no part: this is right for λ = 1 only. Divide Q by it inside "
           "the exponential, and multiply the logarithm by it."),
    Mutant("temperature_inverted", _backward(
               lambda q, t: torch.logsumexp(q * t, -1) / t, lambda q, t: _act(q, 1 / t)),
           "The temperature multiplies Q where it should divide it: cold makes your policy "
           "random, and heat makes it greedy."),
    Mutant("policy_at_temperature_1", _backward(_soft, lambda q, t: _act(q, 1.0)),
           "The values use the temperature, the policy does not. The shares are those of "
           "exp(Q/λ): divide Q by the temperature in the softmax too."),
    Mutant("value_at_temperature_1", _backward(lambda q, t: _soft(q, 1.0), _act),
           "The policy uses the temperature, the values do not: λ log Σ exp(Q/λ) is taken at "
           "λ = 1. One temperature for both."),
    Mutant("naive_policy", _backward(
               _soft, lambda q, t: (q / t).exp() / (q / t).exp().sum(-1, keepdim=True)),
           "The values are safe, the policy is not: at a low temperature exp(Q/λ) overflows. Use "
           "`torch.softmax`, which takes the maximum out first."),
    Mutant("softmax_over_states", _backward(_soft, lambda q, t: torch.softmax(q / t, 0)),
           "The softmax runs over the states. In each state the *actions* share the probability: "
           "they are the last axis of Q, `dim=-1`."),
    Mutant("policy_by_the_next_value", _policy_by_the_next_value,
           "The policy subtracts V of the following time. Q_t and V_t belong together: subtract "
           "the value just computed, and the shares sum to 1."),
    Mutant("naive_exponential", _backward(
               _naive, lambda q, t: (q / t).exp() / (q / t).exp().sum(-1, keepdim=True)),
           "The formula is right on paper, but at a low temperature exp(Q/λ) overflows. "
           "`torch.logsumexp` and `torch.softmax` take the maximum out first."),
    Mutant("naive_as_written", _backward(
               _naive, lambda q, t: ((q - _naive(q, t)[:, None]) / t).exp()),
           "You typed the formulas as they stand. At a low temperature exp(Q/λ) is infinite, and "
           "so is V. Let `torch.logsumexp(q / temperature, dim=-1)` compute the logarithm."),
    Mutant("forward_in_time", _forward_in_time,
           "Every step plans as if it were the last: either the value to come, `values[t + 1]`, "
           "is missing from Q, or the loop runs forward and it is still 0 when it is needed "
           "(then count t down)."),
    Mutant("time_reversed", _time_reversed,
           "The numbers are right but in reverse order: `values[0]` belongs to the first "
           "decision, and `values[horizon]` is 0."),
    Mutant("policy_reversed", _policy_reversed,
           "The values are in order, the policy is in reverse: `policy[0]` belongs to the first "
           "decision. Going backwards, put each table in front: `insert(0, ...)`, not `append`."),
    Mutant("pair_swapped", lambda *args: _right(*args)[::-1],
           "The two are exchanged: return `(values, policy)`, in this order."),
    Mutant("values_alone", lambda *args: _right(*args)[0],
           "Only the values are returned. Return a pair, `(values, policy)`."),
    Mutant("one_table_for_all_times", _one_table,
           "Every time got the first decision's policy. With a horizon the policy depends on how "
           "much time is left: keep one table per step."),
    Mutant("last_row_missing", _one_step_back,
           "`values` has one row too few: there are horizon + 1 times, the last of them after "
           "the last decision, worth 0."),
)


def _shares(weights):
    return weights / weights.sum(-1, keepdim=True)


def _numpy(transition_matrix, cell_rewards, temperature, horizon):
    moves, paid = transition_matrix.numpy(), cell_rewards.numpy()
    values = np.zeros((horizon + 1, len(paid)))
    policy = np.zeros((horizon, *moves.shape[:2]))
    for t in range(horizon - 1, -1, -1):
        q = np.einsum("sat,t->sa", moves, paid + values[t + 1]) / temperature
        values[t] = temperature * np.logaddexp.reduce(q, axis=1)
        policy[t] = np.exp(q - values[t][:, None] / temperature)
    return values, policy


def _loops(transition_matrix, cell_rewards, temperature, horizon):
    moves, paid = transition_matrix.tolist(), cell_rewards.tolist()
    values, policy = [[0.0] * len(paid)], []
    for _ in range(horizon):
        worth, chances = [], []
        for rows in moves:
            q = [sum(p * (r + v) for p, r, v in zip(row, paid, values[0], strict=True))
                 for row in rows]
            total = sum(math.exp((x - max(q)) / temperature) for x in q)
            worth.append(max(q) + temperature * math.log(total))
            chances.append([math.exp((x - max(q)) / temperature) / total for x in q])
        values.insert(0, worth)
        policy.insert(0, chances)
    return values, policy


def _reward_first(transition_matrix, cell_rewards, temperature, horizon):
    r = torch.einsum("sat,t->sa", transition_matrix, cell_rewards)
    values = torch.zeros(horizon + 1, len(cell_rewards), dtype=torch.float64)
    policy = torch.empty(horizon, *r.shape, dtype=torch.float64)
    for t in reversed(range(horizon)):
        q = r + (transition_matrix * values[t + 1]).sum(-1)
        top = q.max(-1, keepdim=True).values
        weights = ((q - top) / temperature).exp()
        policy[t] = weights / weights.sum(-1, keepdim=True)
        values[t] = top[:, 0] + temperature * weights.sum(-1).log()
    return values, policy


VARIANTS = (
    Variant("numpy", _numpy),
    Variant("loops", _loops),
    Variant("r(s, a) first, the maximum taken out by hand", _reward_first),
)
