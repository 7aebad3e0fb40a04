"""Exercise 06.2: the forward pass, where the policy goes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.maxent_irl.worlds import (
    garden,
    name_time_and_state,
    numbers,
    simplex,
    steered,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def visitation(transition_matrix: Float[Tensor, "states actions states"],
               policy: Float[Tensor, "horizon states actions"],
               initial_state_dist: Float[Tensor, " states"]) -> Float[Tensor, "times states"]:
    """Return d_t(s) for t = 0 .. horizon, one row per time (Ziebart et al. 2008, algorithm 1)."""
    rows = [initial_state_dist]
    for table in policy:
        rows.append(torch.einsum("s,sa,sat->t", rows[-1], table, transition_matrix))
    return torch.stack(rows)


def by_listing(transition_matrix, policy, initial_state_dist):
    """List every sequence of states and actions, and add its probability to where it has been."""
    states, horizon = len(transition_matrix), len(policy)
    visits = [[0.0] * states for _ in range(horizon + 1)]
    step = (policy[..., None] * transition_matrix).sum(2).tolist()  # [horizon, states, states]
    for path in itertools.product(range(states), repeat=horizon + 1):
        chance = float(initial_state_dist[path[0]]) * math.prod(
            step[t][path[t]][path[t + 1]] for t in range(horizon))
        for t, state in enumerate(path):
            visits[t][state] += chance
    return numbers(visits)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw processes, policies that change with time, and uneven starts."""
    cases = []
    for states, actions, horizon in ((4, 3, 3), (3, 2, 5), (5, 2, 3)):
        cases.append(Case(args=(
            steered(generator, states, actions), simplex(generator, horizon, states, actions,
                                                         sharp=3.0),
            simplex(generator, states, sharp=3.0))))
    return cases


def each_time_is_a_distribution(answer, case: Case) -> str | None:
    """One is somewhere at each time."""
    sums = as_tensor(answer(*case.args)).sum(-1)
    wrong = ~((sums - 1).abs() < 1e-5)
    if not wrong.any():
        return None
    time = int(wrong.nonzero()[0])
    return f"at time {time} the chances of all states sum to {float(sums[time]):.6g}, not to 1"


def one_begins_at_the_beginning(answer, case: Case) -> str | None:
    """Row 0 is the initial distribution."""
    first, start = as_tensor(answer(*case.args))[0].double(), case.args[2]
    if bool(((first - start).abs() < 1e-6).all()):
        return None
    return "row 0 must be `initial_state_dist`: nothing has been decided yet"


def nothing_leaves_a_trap(answer, case: Case) -> str | None:
    """If state 0 always leads to itself, its share never falls."""
    moves, policy, start = case.args
    moves = moves.clone()
    moves[0] = 0.0
    moves[0, :, 0] = 1.0
    share = as_tensor(answer(moves, policy, start))[:, 0]
    if bool((share[1:] >= share[:-1] - 1e-6).all()):
        return None
    return (f"when nothing leads out of state 0, its share must not fall; yours goes from "
            f"{float(share[0]):.3g} to {float(share.min()):.3g}")


def _passed_on(step):
    """Make a forward pass from step(d, table, moves) -> next d."""
    def solve(transition_matrix, policy, initial_state_dist):
        rows = [initial_state_dist]
        for table in policy:
            rows.append(step(rows[-1], table, transition_matrix))
        return torch.stack(rows)
    return solve


def _state_loop_outside(transition_matrix, policy, initial_state_dist):
    visits = torch.zeros(len(policy) + 1, len(initial_state_dist), dtype=torch.float64)
    visits[0] = initial_state_dist
    for s in range(len(initial_state_dist)):
        for t in range(len(policy)):
            visits[t + 1] += visits[t, s] * (policy[t, s] @ transition_matrix[s])
    return visits


def _even_start(moves, policy, start):
    return visitation(moves, policy, torch.full_like(start, 1 / len(start)))


def _start_in_first(moves, policy, start):
    return visitation(moves, policy, torch.eye(len(start), dtype=torch.float64)[0])


def _start_of_ones(moves, policy, start):
    return visitation(moves, policy, torch.ones_like(start))


def _backward_in_time(moves, policy, start):
    return visitation(moves, policy.flip(0), start)


def _first_policy(moves, policy, start):
    return visitation(moves, policy[:1].expand_as(policy), start)


def _added_up(moves, policy, start):
    return visitation(moves, policy, start).cumsum(0)


def _one_row_less(moves, policy, start):
    return visitation(moves, policy, start)[:-1]


def _first_row_missing(moves, policy, start):
    return visitation(moves, policy, start)[1:]


def _one_buffer(moves, policy, start):
    return visitation(moves, policy, start)[-1:].expand(len(policy) + 1, -1)


def _start_every_time(moves, policy, start):
    steps = [torch.einsum("s,sa,sat->t", start, table, moves) for table in policy]
    return torch.stack([start, *steps])


def _decisions_only(moves, policy, start):
    return visitation(moves, policy, start)[:-1, :, None] * policy


MUTANTS = (
    Mutant("axes_transposed", _passed_on(
               lambda d, table, moves: torch.einsum("t,sa,sat->s", d, table, moves)),
           "The transitions are followed backwards: the share of s' is handed to s. Probability "
           "flows from s to s', so the sum runs over s and a, the first two axes of "
           "`transition_matrix`."),
    Mutant("state_loop_outside", _state_loop_outside,
           "The loop over states is outside the loop over time, so a state hands on its share at "
           "time t before the others have delivered theirs. Time must be the outer loop: finish "
           "time t for all states, then go to t + 1."),
    Mutant("start_forgotten", _even_start,
           "Every state begins with the same share. Where one begins is "
           "`initial_state_dist`: put it into row 0."),
    Mutant("start_in_state_0", _start_in_first,
           "All begin in state 0. Where one begins is `initial_state_dist`."),
    Mutant("start_of_ones", _start_of_ones,
           "Row 0 is 1 everywhere, so there are as many walkers as states. Use "
           "`initial_state_dist`, which sums to 1."),
    Mutant("policy_ignored", _passed_on(
               lambda d, table, moves: torch.einsum("s,sat->t", d, moves) / moves.shape[1]),
           "All actions are taken equally often: the policy plays no part. Weigh each action by "
           "`policy[t, s, a]`."),
    Mutant("actions_added_up", _passed_on(
               lambda d, table, moves: torch.einsum("s,sat->t", d, moves)),
           "The actions' transitions are added up without the policy's weights, so the shares "
           "multiply at each step. Weigh each action by `policy[t, s, a]`."),
    Mutant("likeliest_action_only", _passed_on(
               lambda d, table, moves: torch.einsum(
                   "s,st->t", d, moves[torch.arange(len(d)), table.argmax(-1)])),
           "You follow each state's likeliest action only. The demonstrator takes every action "
           "with its probability, so all of them carry a share."),
    Mutant("first_policy_throughout", _first_policy,
           "`policy[0]` is used at every time. The policy changes as time runs out: use "
           "`policy[t]` at time t."),
    Mutant("policy_backward_in_time", _backward_in_time,
           "The policy's tables are used in reverse order. The backward pass has filled them so "
           "that `policy[0]` belongs to the first decision: now go forward."),
    Mutant("added_up_over_time", _added_up,
           "Each row holds everything up to its time. A row is the distribution at one time and "
           "sums to 1; add up later, where you need the total."),
    Mutant("last_time_missing", _one_row_less,
           "The last row is missing. T decisions lead through T + 1 states, and the last one is "
           "arrived in too: R(s') is paid there."),
    Mutant("first_time_missing", _first_row_missing,
           "The first row is missing: nobody has moved yet at time 0, and all are where "
           "`initial_state_dist` says. T decisions lead through T + 1 states."),
    Mutant("one_buffer", _one_buffer,
           "All rows are the same, those of the last time: one tensor was filled again and again. "
           "Make a new one at each step, or `clone()` it."),
    Mutant("start_every_time", _start_every_time,
           "Every step begins at `initial_state_dist` again. Begin there once; then go on from "
           "where one is, `visits[t]`."),
    Mutant("per_action", _decisions_only,
           "You return visits of states *and* actions. Here the states alone are asked for, at "
           "the T + 1 times: sum over the actions."),
)


def _loops(transition_matrix, policy, initial_state_dist):
    moves, tables = transition_matrix.tolist(), policy.tolist()
    visits = [initial_state_dist.tolist()]
    for table in tables:
        following = [0.0] * len(moves)
        for s, share in enumerate(visits[-1]):
            for a, chance in enumerate(table[s]):
                for t, p in enumerate(moves[s][a]):
                    following[t] += share * chance * p
        visits.append(following)
    return visits


def _by_matrix(transition_matrix, policy, initial_state_dist):
    visits = np.zeros((len(policy) + 1, len(initial_state_dist)))
    visits[0] = initial_state_dist.numpy()
    for t, table in enumerate(policy.numpy()):
        visits[t + 1] = (table[..., None] * transition_matrix.numpy()).sum(1).T @ visits[t]
    return visits


VARIANTS = (Variant("loops", _loops), Variant("numpy, one matrix per step", _by_matrix))


def show_the_garden(answer):
    """Draw where a walker without a plan is after twelve steps."""
    from tutorlib.viz import gridworld

    grid = garden()
    policy = torch.full((grid.mdp.horizon, grid.mdp.n_states, 4), 0.25, dtype=torch.float64)
    visits = as_tensor(answer(grid.mdp.transition_matrix, policy, grid.mdp.initial_state_dist))
    likeliest = int(visits[-1].argmax())
    return gridworld(grid, visits[-1], label="chance of being there at the end",
                     title=f"After {grid.mdp.horizon} aimless steps a walker from S is likeliest "
                           f"at {grid.cell_of(likeliest)}, with {float(visits[-1, likeliest]):.0%}")


VISITATION = Exercise(
    id="maxent_irl.visitation",
    title="The forward pass",
    points=2, minutes=10, difficulty=2,
    reference=visitation,
    oracle=by_listing,
    hand=Case(
        args=(numbers([[[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
                       [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]]),
              numbers([[[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]]),
              numbers([0.8, 0.2, 0.0])),
        # time 1: state 0 keeps 0.8 * 0.5 * 0.5 = 0.2 and sends 0.2 to 1, 0.4 to 2; state 1 stays.
        # time 2: state 0 keeps half of 0.2, sends half to 1; state 1 sends all of its 0.4 to 0
        expected=numbers([[0.8, 0.2, 0.0], [0.2, 0.4, 0.4], [0.5, 0.1, 0.4]]),
        note="three states, two actions, two decisions"),
    cases=draw_cases,
    properties=(
        Property("row 0 is the start", one_begins_at_the_beginning),
        Property("one is somewhere at each time", each_time_is_a_distribution),
        Property("a trap keeps what it has", nothing_leaves_a_trap),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Think of a crowd that is spread over the states by the initial distribution. At each "
        "step every part of it splits up by the policy, then by the transitions. Count who "
        "arrives in each state.",
        r"$$d_0 = \mu, \qquad d_{t+1}(s') = \sum_{s,a} d_t(s)\, \pi_t(a|s)\, P(s'|s,a)$$" "\n\n"
        "`torch.einsum(\"s,sa,sat->t\", d, policy[t], transition_matrix)` multiplies `[states]`, "
        "`[states, actions]` and `[states, actions, next_states]` and sums over s and a.",
        "```python\n"
        "horizon, states, _ = policy.shape\n"
        "visits = torch.zeros(horizon + 1, states, dtype=torch.float64)\n"
        "visits[0] = ...\n"
        "for t in range(horizon):\n"
        "    visits[t + 1] = ...   # einsum over s and a\n"
        "return visits\n"
        "```",
    ),
    why="It is the backward pass with every arrow turned round: there values flow from s' to s, "
        "here probability flows from s to s'. In matrices one is the other's transpose, and that "
        "is why the gradient of the soft value is a count of visits.",
    index_names=name_time_and_state,
    figure=show_the_garden,
    forbidden=("tutorlib.irl.forward_pass", "tutorlib.mdp.state_distributions"),
)
