"""Exercise 2: the value of a given policy, by one linear solve."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.markov_decision_processes.common import (
    POND,
    UNIT,
    name_index,
    numbers,
    pond,
    random_policy,
    random_process,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant


def policy_evaluation(
    transition_matrix: Float[Tensor, "states actions next_states"],
    reward: Float[Tensor, "states actions"],
    policy: Float[Tensor, "states actions"],
    discount: float,
) -> Float[Tensor, " states"]:
    """Return the solution V of (I - gamma P_pi) V = r_pi."""
    step = torch.einsum("sa,sat->st", policy, transition_matrix)
    paid = (policy * reward).sum(dim=1)
    system = torch.eye(len(paid), dtype=paid.dtype) - discount * step
    return torch.linalg.solve(system, paid)


def added_up(transition_matrix, reward, policy, discount):
    """Follow the policy from every state and add up gamma^t E[r_t] until nothing is left."""
    moves, paid, chances = (x.numpy() for x in (transition_matrix, reward, policy))
    states = len(paid)
    total = np.zeros(states)
    for start in range(states):
        where, weight = np.eye(states)[start], 1.0
        while weight > 1e-13:
            acting = where[:, None] * chances  # P(s_t, a_t)
            total[start] += weight * float((acting * paid).sum())
            where, weight = np.tensordot(acting, moves, axes=2), weight * discount
    return torch.from_numpy(total)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw four processes, the last without an end; small rewards keep the values near 1."""
    cases = []
    for states, actions, discount in ((3, 2, 0.6), (4, 3, 0.9), (5, 2, 0.8), (3, 4, 0.99)):
        p = random_process(generator, states, actions, discount, ends=discount < 0.99)
        policy = random_policy(generator, states, actions)
        args = (p.transition_matrix, 2 * (1 - discount) * p.reward, policy, discount)
        cases.append(Case(args=args, note=f"{states} states, {actions} actions, random numbers"))
    return cases


def _hand() -> Case:
    """Ice: V = 3 + .25 V, so 4. Bank: half of 1, half of -.5 + .5*4 = 1.5, so 1.25."""
    p = pond()
    policy = torch.tensor([[0.5, 0.5], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([1.25, 4.0, 0.0], dtype=torch.float64)
    return Case((p.transition_matrix, p.reward, policy, p.discount), {}, expected, POND)


def consistent(answer, case: Case) -> str | None:
    """One step of the policy, then the values again, gives the same values."""
    moves, reward, policy, discount = case.args
    found = numbers(answer, case)
    again = (policy * (reward + discount * moves @ found)).sum(1)
    gap = float((again - found).abs().max())
    if gap < 1e-4:
        return None
    return f"acting one step more changes a value by {gap:.4g}"


def linear_in_reward(answer, case: Case) -> str | None:
    """Twice the reward is worth twice as much."""
    moves, reward, policy, discount = case.args
    twice = numbers(answer, Case((moves, 2 * reward, policy, discount)))
    gap = float((twice - 2 * numbers(answer, case)).abs().max())
    if gap < 1e-4:
        return None
    return f"doubling every reward does not double the values (off by {gap:.4g})"


def _solve(step, paid, discount):
    """Solve (I - discount * step) v = paid."""
    return torch.linalg.solve(torch.eye(len(paid), dtype=paid.dtype) - discount * step, paid)


def _parts(moves, reward, policy):
    """Return P_pi and r_pi."""
    return torch.einsum("sa,sat->st", policy, moves), (policy * reward).sum(1)


def _transposed(moves, reward, policy, discount):
    step, paid = _parts(moves, reward, policy)
    return _solve(step.T, paid, discount)


def _ignores_the_policy(moves, reward, policy, discount):
    return _solve(moves.mean(1), reward.mean(1), discount)


def _favourite_only(moves, reward, policy, discount):
    rule = torch.nn.functional.one_hot(policy.argmax(1), policy.shape[1]).to(policy)
    return policy_evaluation(moves, reward, rule, discount)


def _optimal(moves, reward, policy, discount):
    values = torch.zeros(len(reward), dtype=reward.dtype)
    for _ in range(int(40 / (1 - discount))):
        values = (reward + discount * moves @ values).amax(1)
    return values


def _hundred_sweeps(moves, reward, policy, discount):
    step, paid = _parts(moves, reward, policy)
    values = torch.zeros_like(paid)
    for _ in range(100):
        values = paid + discount * step @ values
    return values


def _no_discount(moves, reward, policy, discount):
    step, paid = _parts(moves, reward, policy)
    return _solve(step, paid, 1.0)


def _even_reward(moves, reward, policy, discount):
    step, _ = _parts(moves, reward, policy)
    return _solve(step, reward.mean(1), discount)


def _even_transitions(moves, reward, policy, discount):
    return _solve(moves.mean(1), (policy * reward).sum(1), discount)


def _late_reward(moves, reward, policy, discount):
    step, paid = _parts(moves, reward, policy)
    return _solve(step, discount * paid, discount)


def _normalised(moves, reward, policy, discount):
    return (1 - discount) * policy_evaluation(moves, reward, policy, discount)


def _policy_of_the_next_state(moves, reward, policy, discount):
    step = torch.einsum("ta,sat->st", policy, moves)
    return _solve(step, (policy * reward).sum(1), discount)


def _unweighted_reward(moves, reward, policy, discount):
    step, _ = _parts(moves, reward, policy)
    return _solve(step, reward.sum(1), discount)


def _inverse(moves, reward, policy, discount):
    """Use numpy and an explicit inverse."""
    chances = policy.numpy()
    step = (chances[:, :, None] * moves.numpy()).sum(axis=1)
    paid = (chances * reward.numpy()).sum(axis=1)
    return np.linalg.inv(np.eye(len(paid)) - discount * step) @ paid


def _long_iteration(moves, reward, policy, discount):
    """Sweep until nothing changes any more."""
    values = torch.zeros(len(reward), dtype=torch.float64)
    for _ in range(5_000):
        new = (policy * (reward + discount * moves @ values)).sum(dim=1)
        if torch.allclose(new, values, rtol=0, atol=1e-13):
            break
        values = new
    return values


def _on_pairs(moves, reward, policy, discount):
    """Solve for Q on all (state, action) pairs, then average it with the policy."""
    states, actions = reward.shape
    chain = torch.einsum("sat,tb->satb", moves, policy).reshape(states * actions, -1)
    q = torch.linalg.solve(torch.eye(len(chain)).double() - discount * chain, reward.reshape(-1))
    return (policy * q.view(states, actions)).sum(1)


def _figure(answer):
    """Show the bank's value under each of the four deterministic rules of the pond."""
    from tutorlib.viz import bars

    p, worth = pond(), {}
    for at_bank, first in enumerate(("walk", "cross")):
        for on_ice, second in enumerate(("walk", "cross")):
            rule = torch.eye(2, dtype=torch.float64)[torch.tensor([at_bank, on_ice, 0])]
            found = answer(p.transition_matrix, p.reward, rule, p.discount)
            worth[f"bank {first}, ice {second}"] = float(torch.as_tensor(found)[0])
    best = max(worth, key=worth.get)
    return bars(worth, title=f"Your evaluation ranks the pond's four rules: best from the bank is "
                             f"'{best}'", ylabel="value of the bank (discounted reward)")


EVALUATION = Exercise(
    id=f"{UNIT}.policy_evaluation",
    title="What a policy is worth",
    points=3,
    minutes=11,
    difficulty=3,
    reference=policy_evaluation,
    oracle=added_up,
    hand=_hand(),
    cases=draw_cases,
    properties=(Property("one step more changes nothing", consistent),
                Property("values are linear in the reward", linear_in_reward)),
    mutants=(
        Mutant("transposed_transition", _transposed,
               "The state-to-state matrix is transposed: you collect the past of each state rather "
               "than its future. Row s of P must hold the chances of the next states of s."),
        Mutant("policy_ignored", _ignores_the_policy,
               "All actions count equally, as if the policy were uniform. Weigh both the rewards "
               "and the transitions by `policy`."),
        Mutant("reward_averaged_evenly", _even_reward,
               "The rewards of a state's actions are averaged evenly, though the transitions are "
               "weighted by the policy. Weigh the rewards by `policy` too."),
        Mutant("transitions_averaged_evenly", _even_transitions,
               "The transitions of a state's actions are averaged evenly, though the rewards are "
               "weighted by the policy. Weigh the transitions by `policy` too."),
        Mutant("no_discount", _no_discount,
               "The discount is missing. Then a state that leads to itself has no equation of its "
               "own, and the system is singular: multiply the transitions by `discount`."),
        Mutant("favourite_action_only", _favourite_only,
               "You follow only the likeliest action of each state. This policy is random on "
               "purpose: weigh every action by its probability."),
        Mutant("optimal_values", _optimal,
               "These are the values of the best policy: there is a maximum over actions in your "
               "code. Evaluation asks what the given policy earns, good or bad: replace the "
               "maximum by the average under `policy`."),
        Mutant("hundred_sweeps", _hundred_sweeps,
               "A hundred sweeps are not enough when the discount is near 1. The equations are "
               "linear, so solve them; no sweep is needed."),
        Mutant("reward_one_step_late", _late_reward,
               "Every reward is discounted once too often, as if it were paid one step later. The "
               "right-hand side is the plain expected reward."),
        Mutant("scaled_by_one_minus_discount", _normalised,
               "Your values are multiplied by (1 - discount). Some books define them so; here a "
               "value is the plain discounted sum."),
        Mutant("policy_of_the_next_state", _policy_of_the_next_state,
               "The transitions are weighted by the policy of the next state. The action is chosen "
               "before the move, in the state where the agent stands: index the policy by s."),
        Mutant("reward_not_weighted", _unweighted_reward,
               "The rewards of all actions are added without the policy's probabilities. The "
               "agent takes one action at a time: average its rewards under `policy`."),
    ),
    variants=(Variant("numpy inverse", _inverse), Variant("iteration to the end", _long_iteration),
              Variant("solve for Q", _on_pairs)),
    hints=(
        "Fix the policy, and the maximum is gone: each state's value is a plain weighted average "
        "of rewards and of other states' values. That makes as many linear equations as there are "
        "states, and a computer solves those in one call.",
        "$(I - \\gamma P_\\pi)\\,V = r_\\pi$ with $P_\\pi[s,s'] = \\sum_a \\pi(a|s)\\,P(s'|s,a)$, "
        "shape [states, states], and $r_\\pi(s) = \\sum_a \\pi(a|s)\\, r(s,a)$, shape [states].",
        "```python\nstep = torch.einsum(\"sa,...->st\", policy, transition_matrix) # [st, st]\n"
        "paid = ...                                                     # [states]\n"
        "return torch.linalg.solve(..., paid)\n```",
    ),
    why="Averaging rewards and transitions over the policy's actions leaves a Markov chain with "
        "rewards. Its values satisfy $V = r_\\pi + \\gamma P_\\pi V$, which is linear; for "
        "$\\gamma < 1$ the matrix $I - \\gamma P_\\pi$ always has an inverse. Terminal states "
        "need no special care: they stay where they are and pay nothing.",
    index_names=name_index,
    figure=_figure,
    forbidden=("tutorlib.mdp.policy_evaluation",),
)
