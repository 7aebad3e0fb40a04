"""Exercise 4: where a policy spends its discounted time."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.markov_decision_processes.common import (
    ACTIONS,
    POND,
    STATES,
    UNIT,
    name_index,
    numbers,
    pond,
    random_policy,
    random_process,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant


def occupancy_measure(
    transition_matrix: Float[Tensor, "states actions next_states"],
    policy: Float[Tensor, "states actions"],
    initial_state_dist: Float[Tensor, " states"],
    discount: float,
) -> Float[Tensor, "states actions"]:
    """Return rho(s, a) = sum_t gamma^t P(s_t = s, a_t = a), by one linear solve."""
    step = torch.einsum("sa,sat->st", policy, transition_matrix)
    return _visits(step.T, initial_state_dist, discount)[:, None] * policy


def _visits(matrix, source, discount) -> Float[Tensor, " states"]:
    """Solve d = source + discount * matrix @ d."""
    return torch.linalg.solve(torch.eye(len(source), dtype=source.dtype) - discount * matrix,
                              source)


def pushed_forward(transition_matrix, policy, initial_state_dist, discount):
    """Carry the distribution over states forward in time, and add it up with weight gamma^t."""
    moves, chances = transition_matrix.numpy(), policy.numpy()
    where, weight = initial_state_dist.numpy(), 1.0
    total = np.zeros_like(chances)
    while weight > 1e-13:
        acting = where[:, None] * chances
        total += weight * acting
        where, weight = np.tensordot(acting, moves, axes=2), weight * discount
    return torch.from_numpy(total)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw four processes with policies and initial distributions."""
    cases = []
    for states, actions, discount in ((3, 2, 0.5), (4, 3, 0.8), (5, 2, 0.99), (3, 4, 0.7)):
        p = random_process(generator, states, actions, discount)
        policy = random_policy(generator, states, actions)
        logits = torch.randn(states, generator=generator, dtype=torch.float64)
        args = (p.transition_matrix, policy, (2 * logits).softmax(0), discount)
        cases.append(Case(args=args, note=f"{states} states, {actions} actions, random numbers"))
    return cases


def _hand() -> Case:
    """From the bank: d(bank) = 1, d(ice) = .25 + .25 d(ice) = 1/3, d(home) = .25 + 1/12 + .5 d."""
    p = pond()
    policy = torch.tensor([[0.5, 0.5], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    start = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    expected = torch.tensor([[1 / 2, 1 / 2], [0.0, 1 / 3], [2 / 3, 0.0]], dtype=torch.float64)
    return Case((p.transition_matrix, policy, start, p.discount), {}, expected, POND)


def sums_to_the_horizon(answer, case: Case) -> str | None:
    """All discounted time is spent somewhere: it adds up to 1 / (1 - gamma)."""
    total, wanted = float(numbers(answer, case).sum()), 1 / (1 - case.args[3])
    if abs(total - wanted) < 1e-4 * wanted:
        return None
    return f"it sums to {total:.6g}; expected 1 / (1 - discount) = {wanted:.6g}"


def flow_balances(answer, case: Case) -> str | None:
    """What a state holds came from the start or flowed in, discounted once."""
    moves, _, start, discount = case.args
    rho = numbers(answer, case)
    inflow = start + discount * torch.einsum("sa,sat->t", rho, moves)
    gap = (rho.sum(1) - inflow).abs()
    if float(gap.max()) < 1e-4:
        return None
    state = name_index(case, (int(gap.argmax()),))
    return f"in {state}, visits and inflow differ by {float(gap.max()):.4g}"


def follows_the_policy(answer, case: Case) -> str | None:
    """Within a state the actions share the visits as the policy says."""
    policy, rho = case.args[1], numbers(answer, case)
    gap = float((rho - rho.sum(1, keepdim=True) * policy).abs().max())
    return None if gap < 1e-4 else f"actions do not share the visits as the policy does ({gap:.4g})"


def _chain(moves, policy):
    """Return P_pi."""
    return torch.einsum("sa,sat->st", policy, moves)


def _not_transposed(moves, policy, start, discount):
    return _visits(_chain(moves, policy), start, discount)[:, None] * policy


def _normalised(moves, policy, start, discount):
    return (1 - discount) * occupancy_measure(moves, policy, start, discount)


def _uniform_start(moves, policy, start, discount):
    even = torch.full_like(start, 1 / len(start))
    return occupancy_measure(moves, policy, even, discount)


def _skips_the_first_step(moves, policy, start, discount):
    return occupancy_measure(moves, policy, start, discount) - start[:, None] * policy


def _one_step_late(moves, policy, start, discount):
    return discount * occupancy_measure(moves, policy, start, discount)


def _actions_share_equally(moves, policy, start, discount):
    visits = _visits(_chain(moves, policy).T, start, discount)
    return (visits / policy.shape[1])[:, None].expand_as(policy).contiguous()


def _not_split(moves, policy, start, discount):
    visits = _visits(_chain(moves, policy).T, start, discount)
    return visits[:, None].expand_as(policy).contiguous()


def _fifty_steps(moves, policy, start, discount):
    total, where = torch.zeros_like(policy), start
    for t in range(50):
        total = total + discount**t * where[:, None] * policy
        where = where @ _chain(moves, policy)
    return total


def _no_discount(moves, policy, start, discount):
    return _visits(_chain(moves, policy).T, start, 1.0)[:, None] * policy


def _policy_of_the_next_state(moves, policy, start, discount):
    step = torch.einsum("ta,sat->st", policy, moves)
    return _visits(step.T, start, discount)[:, None] * policy


def _with_numpy(moves, policy, start, discount):
    """Sum the geometric series by an explicit inverse, from the left."""
    chain = np.einsum("sa,sat->st", policy.numpy(), moves.numpy())
    visits = start.numpy() @ np.linalg.inv(np.eye(len(chain)) - discount * chain)
    return visits[:, None] * policy.numpy()


def _iterated(moves, policy, start, discount):
    """Repeat the flow equation until it stands still."""
    visits = torch.zeros_like(start)
    for _ in range(3_000):
        visits = start + discount * torch.einsum("s,sa,sat->t", visits, policy, moves)
    return visits.unsqueeze(1) * policy


def _on_pairs(moves, policy, start, discount):
    """Solve the flow equation on (state, action) pairs."""
    states, actions = policy.shape
    chain = torch.einsum("sat,tb->satb", moves, policy).reshape(states * actions, -1)
    source = (start[:, None] * policy).reshape(-1)
    return _visits(chain.T, source, discount).view(states, actions)


def _figure(answer):
    """Show the occupancy of 'always cross' on the pond, from the bank."""
    from tutorlib.viz import matrix

    p = pond()
    rule = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    start = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    found = answer(p.transition_matrix, rule, start, p.discount)
    rho = torch.as_tensor(found, dtype=torch.float64)
    worth = float((rho * p.reward).sum())
    return matrix(rho, title=f"'Always cross', by your occupancy: {float(rho.sum()):.3g} units of "
                             f"discounted time, which earn {worth:.3g}",
                  rows=STATES, columns=ACTIONS, label="occupancy (discounted steps)")


OCCUPANCY = Exercise(
    id=f"{UNIT}.occupancy_measure",
    title="Where the time goes: the occupancy measure",
    points=3,
    minutes=11,
    difficulty=4,
    reference=occupancy_measure,
    oracle=pushed_forward,
    hand=_hand(),
    cases=draw_cases,
    properties=(Property("it sums to 1 / (1 - discount)", sums_to_the_horizon),
                Property("flow in equals time spent", flow_balances),
                Property("actions follow the policy", follows_the_policy)),
    mutants=(
        Mutant("transition_not_transposed", _not_transposed,
               "You solve with P where the flow needs its transpose. Values look forward along the "
               "rows of P; visits arrive along its columns."),
        Mutant("normalised", _normalised,
               "It sums to 1: this is the occupancy multiplied by (1 - discount), a convention "
               "that many papers use. Here it is left as it is and sums to 1 / (1 - discount), so "
               "that its product with the reward is the return."),
        Mutant("initial_distribution_ignored", _uniform_start,
               "Every state is taken as an equally likely start. Episodes begin where "
               "`initial_state_dist` says: it is the source of the flow."),
        Mutant("first_step_missing", _skips_the_first_step,
               "The first moment is not counted. At t = 0 the agent is already somewhere and "
               "acts, with weight discount**0 = 1."),
        Mutant("one_step_late", _one_step_late,
               "Everything is discounted once too often. The weight of time t is discount**t, "
               "which is 1 at the start."),
        Mutant("actions_share_equally", _actions_share_equally,
               "The visits of a state are split equally among its actions. They are shared as "
               "`policy` says."),
        Mutant("not_split_among_actions", _not_split,
               "Each action of a state gets all of the state's visits, so time is counted several "
               "times. Multiply the visits by the policy's probabilities."),
        Mutant("fifty_steps", _fifty_steps,
               "The sum is cut after 50 steps, so it falls short of 1 / (1 - discount). Sum to the "
               "end: the geometric series is one linear system."),
        Mutant("no_discount", _no_discount,
               "The discount is missing. Time in a terminal state then never fades, and the system "
               "is singular: multiply the transitions by `discount`."),
        Mutant("policy_of_the_next_state", _policy_of_the_next_state,
               "The transitions are weighted by the policy of the next state. The action is chosen "
               "before the move, in the state where the agent stands."),
    ),
    variants=(Variant("numpy inverse", _with_numpy), Variant("iterated flow", _iterated),
              Variant("solve on pairs", _on_pairs)),
    hints=(
        "Think of water. One unit of time is poured in at the start, spread as the initial "
        "distribution says. Each step carries it on along the policy's transitions, and only the "
        "share `discount` survives. How much passes through each state in all?",
        "$d(s') = \\mu(s') + \\gamma \\sum_s P_\\pi[s,s']\\, d(s)$, with $d$ of shape [states]; "
        "mind which index of $P_\\pi$ is summed. Then "
        "$\\rho(s,a) = d(s)\\,\\pi(a|s)$ of shape [states, actions].",
        "```python\nstep = ...                       # P of the policy    [states, states]\n"
        "visits = torch.linalg.solve(torch.eye(...) - discount * ..., initial_state_dist)\n"
        "return visits[:, None] * ...\n```\nThe sum runs over the first index of `step`: "
        "solve with its transpose.",
    ),
    why="Pushing the state distribution forward is a multiplication by $P_\\pi^\\top$; summing "
        "$\\gamma^t (P_\\pi^\\top)^t \\mu$ over all t inverts $I - \\gamma P_\\pi^\\top$. It is "
        "the transpose of the system for the values, which is why visits times rewards and start "
        "times values give the same return.",
    index_names=name_index,
    figure=_figure,
    forbidden=("tutorlib.mdp.occupancy_measure", "tutorlib.mdp.state_distributions"),
)
