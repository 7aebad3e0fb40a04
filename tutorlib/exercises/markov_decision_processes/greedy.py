"""Exercise 3: the policy that looks one step ahead."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutorlib.exercises.markov_decision_processes.common import (
    POND,
    UNIT,
    decision_rules,
    name_index,
    numbers,
    pond,
    random_process,
    random_values,
    returns_of_rules,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant


def greedy_policy(
    transition_matrix: Float[Tensor, "states actions next_states"],
    reward: Float[Tensor, "states actions"],
    values: Float[Tensor, " states"],
    discount: float,
    terminal: Bool[Tensor, " states"],
) -> Float[Tensor, "states actions"]:
    """Return one-hot rows at argmax_a [r(s, a) + gamma sum_s' T[s, a, s'] V(s')]."""
    q = reward + discount * transition_matrix @ values.masked_fill(terminal, 0.0)
    return _one_hot(q)


def _one_hot(q: Float[Tensor, "states actions"]) -> Float[Tensor, "states actions"]:
    """Return one-hot rows at the first largest entry."""
    return torch.nn.functional.one_hot(q.argmax(dim=1), q.shape[1]).to(q)


def best_of_all_rules(transition_matrix, reward, values, discount, terminal):
    """Try every rule that picks one action per state; keep the first with the largest total."""
    tried = returns_of_rules(transition_matrix, reward, values, discount, terminal).sum(axis=1)
    states, actions = reward.shape
    first = int(np.flatnonzero(tried >= tried.max() - 1e-12)[0])
    rule = decision_rules(states, actions)[first]
    return torch.from_numpy(np.eye(actions)[rule])


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw eight processes: many decisions, so that a wrong rule meets one that it gets wrong."""
    cases = []
    shapes = ((4, 3, 0.5), (5, 3, 0.6), (5, 2, 0.7), (4, 4, 0.8), (5, 3, 0.3), (4, 4, 0.4),
              (5, 3, 0.5), (4, 3, 0.2))
    for states, actions, discount in shapes:
        p = random_process(generator, states, actions, discount)
        guess = random_values(generator, states)
        args = (p.transition_matrix, p.reward, guess, p.discount, p.terminal)
        cases.append(Case(args=args, note=f"{states} states, {actions} actions, random numbers"))
    return cases


def _hand() -> Case:
    """Bank: walk 1 + 0, cross -.5 + .5*3.2 = 1.1. Ice: walk .5*7 = 3.5, cross 3 + .25*3.2 = 3.8."""
    p = pond()
    guess = torch.tensor([7.0, 3.2, 5.0], dtype=torch.float64)
    expected = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    return Case((p.transition_matrix, p.reward, guess, p.discount, p.terminal), {}, expected, POND)


def one_action_each(answer, case: Case) -> str | None:
    """Each row is a one and zeros."""
    found = numbers(answer, case)
    whole = ((found == 0) | (found == 1)).all(1) & (found.sum(1) == 1)
    if bool(whole.all()):
        return None
    row = int((~whole).nonzero()[0])
    return f"row {row} is {[round(p, 4) for p in found[row].tolist()]}; expected a single 1"


def nothing_is_better(answer, case: Case) -> str | None:
    """No other action earns more, one step ahead."""
    moves, reward, values, discount, terminal = case.args
    rule = numbers(answer, case)
    tried = returns_of_rules(moves, reward, values, discount, terminal)
    chosen = decision_rules(*reward.shape) == rule.argmax(1).numpy()
    own = tried[chosen.all(1)][0]
    short = tried.max(0) - own
    state = int(short.argmax())
    if short[state] < 1e-6:
        return None
    return f"in {name_index(case, (state,))} another action is worth {short[state]:.4g} more"


def _variant_of(moves, reward, values, discount, terminal):
    """Return the table Q of the right answer."""
    return reward + discount * moves @ values.masked_fill(terminal, 0.0)


def _myopic(moves, reward, values, discount, terminal):
    return _one_hot(reward)


def _ignores_the_reward(moves, reward, values, discount, terminal):
    return _one_hot(moves @ values.masked_fill(terminal, 0.0))


def _no_discount(moves, reward, values, discount, terminal):
    return greedy_policy(moves, reward, values, 1.0, terminal)


def _best_successor(moves, reward, values, discount, terminal):
    later = values.masked_fill(terminal, 0.0).expand_as(moves)
    return _one_hot(reward + discount * later.masked_fill(moves == 0, -torch.inf).amax(-1))


def _bootstraps_terminal(moves, reward, values, discount, terminal):
    return _one_hot(reward + discount * moves @ values)


def _transposed(moves, reward, values, discount, terminal):
    later = values.masked_fill(terminal, 0.0)
    return _one_hot(reward + discount * torch.einsum("tas,t->sa", moves, later))


def _worst(*args):
    return _one_hot(-_variant_of(*args))


def _softmax(*args):
    return _variant_of(*args).softmax(1)


def _all_ties(*args):
    q = _variant_of(*args)
    return (q == q.amax(1, keepdim=True)).to(q)


def _empty_terminal_rows(moves, reward, values, discount, terminal):
    rule = greedy_policy(moves, reward, values, discount, terminal)
    return rule.masked_fill(terminal[:, None], 0.0)


def _indices(*args):
    return _variant_of(*args).argmax(1)


def _down_the_columns(*args):
    q = _variant_of(*args)
    return _one_hot(q.T).T


def _with_scatter(*args):
    """Write ones into zeros."""
    q = _variant_of(*args)
    return torch.zeros_like(q).scatter(1, q.max(dim=1, keepdim=True).indices, 1.0)


def _loops(moves, reward, values, discount, terminal):
    """Compare the actions one by one, in plain Python."""
    rows = []
    for state in range(len(values)):
        best, best_worth = 0, -float("inf")
        for action in range(reward.shape[1]):
            later = sum(float(moves[state, action, t]) * float(values[t])
                        for t in range(len(values)) if not bool(terminal[t]))
            worth = float(reward[state, action]) + discount * later
            if worth > best_worth + 1e-12:
                best, best_worth = action, worth
        rows.append([float(action == best) for action in range(reward.shape[1])])
    return rows


def _with_numpy(moves, reward, values, discount, terminal):
    """Pick rows of an identity matrix."""
    later = np.where(terminal.numpy(), 0.0, values.numpy())
    q = reward.numpy() + discount * (moves.numpy() * later).sum(-1)
    return np.eye(q.shape[1])[q.argmax(axis=1)]


def _figure(answer):
    """Show what the greedy rule does at the bank and on the ice after k sweeps from zero."""
    from tutorlib.viz import matrix

    p = pond()
    values, rows = torch.zeros(3, dtype=torch.float64), []
    for _ in range(5):
        args = (p.transition_matrix, p.reward, values, p.discount, p.terminal)
        rows.append(torch.as_tensor(answer(*args), dtype=torch.float64)[:2, 1])
        values = _variant_of(*args).amax(1)
    table = torch.stack(rows)
    crosses = int(table[:, 0].argmax())
    return matrix(table, title=f"Your greedy rule leaves the path for the ice once it sees "
                               f"{crosses + 1} steps ahead",
                  rows=[f"{k + 1} step{'s' * (k > 0)}" for k in range(5)],
                  columns=["at the bank", "on the ice"], ylabel="steps looked ahead",
                  label="probability of 'cross'")


GREEDY = Exercise(
    id=f"{UNIT}.greedy_policy",
    title="Act greedily, one step ahead",
    points=2,
    minutes=7,
    difficulty=2,
    reference=greedy_policy,
    oracle=best_of_all_rules,
    hand=_hand(),
    cases=draw_cases,
    properties=(Property("one action in each state", one_action_each),
                Property("no other action is better", nothing_is_better)),
    mutants=(
        Mutant("reward_only", _myopic,
               "Only the immediate reward is compared, so the future never counts. Add the "
               "discounted expected value of the next state before you take the best action."),
        Mutant("values_only", _ignores_the_reward,
               "You head for the best next states, but the reward of getting there is missing. Add "
               "`reward` before you take the best action."),
        Mutant("no_discount", _no_discount,
               "The discount is missing, or stands before the whole bracket, where it changes no "
               "comparison: multiply only the expected next value by `discount`."),
        Mutant("best_next_state", _best_successor,
               "Each action is judged by the best next state it might reach. Chance picks the next "
               "state: weigh the values by `transition_matrix` and sum."),
        Mutant("terminal_bootstrapped", _bootstraps_terminal,
               "The guess of terminal states is used, so the agent may run for an end that is "
               "worth nothing. Count terminal next states as 0."),
        Mutant("transposed_transition", _transposed,
               "The transition matrix is read from next state to state. Its last axis is the next "
               "state: sum over that one."),
        Mutant("worst_action", _worst,
               "Every row marks the worst action. Rewards are to be maximised here; papers that "
               "write costs minimise."),
        Mutant("softmax", _softmax,
               "These are softmax probabilities. A greedy policy gives everything to the best "
               "action; the soft version is the subject of unit 03."),
        Mutant("every_tie_marked", _all_ties,
               "Where actions tie, each of them gets a 1, and the row no longer sums to 1. A "
               "policy is a distribution: mark the first best action only."),
        Mutant("terminal_rows_empty", _empty_terminal_rows,
               "The rows of terminal states are all zero. A policy needs a distribution in every "
               "state, even where the choice has no effect: there all actions tie, mark the "
               "first."),
        Mutant("indices", _indices,
               "These are the numbers of the best actions, one per state. A policy as this lesson "
               "uses it has a row per state and a column per action: turn each number into a row "
               "with a single 1."),
        Mutant("argmax_over_states", _down_the_columns,
               "The maximum runs down the columns: the best state for each action. Each row needs "
               "the best action for its state: maximise over the last axis."),
    ),
    variants=(Variant("scatter", _with_scatter), Variant("plain loops", _loops),
              Variant("rows of an identity", _with_numpy)),
    hints=(
        "It is the backup again, up to the last line. There you kept the best action's worth; now "
        "keep which action it was, and write a 1 at its place in a row of zeros.",
        "$\\pi(a|s) = 1$ for $a = \\arg\\max_{a'} Q(s,a')$, the first one on a tie, with "
        "$Q(s,a) = r(s,a) + \\gamma \\sum_{s'} P(s'|s,a)\\,V(s')$ of shape [states, actions].",
        "```python\nq = ...                     # as in bellman_backup   [states, actions]\n"
        "best = q.argmax(dim=...)     # [states]\n"
        "return torch.nn.functional.one_hot(best, ...).to(q)   # floats, as q\n```",
    ),
    why="One step ahead, the worth of every action is Q(s, a); the best policy for that one step "
        "puts all weight on the largest entry of each row. With the optimal values this is an "
        "optimal policy, with the values of some policy it is at least as good as that policy "
        "everywhere (the policy improvement theorem).",
    index_names=name_index,
    figure=_figure,
    forbidden=("tutorlib.mdp.greedy_policy", "tutorlib.mdp.q_values"),
)
