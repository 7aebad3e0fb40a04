"""Exercise 1: one Bellman backup."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutorlib.exercises.markov_decision_processes.common import (
    POND,
    UNIT,
    name_index,
    numbers,
    pond,
    random_process,
    random_values,
    returns_of_rules,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant


def bellman_backup(
    transition_matrix: Float[Tensor, "states actions next_states"],
    reward: Float[Tensor, "states actions"],
    values: Float[Tensor, " states"],
    discount: float,
    terminal: Bool[Tensor, " states"],
) -> Float[Tensor, " states"]:
    """Return max_a [r(s, a) + gamma sum_s' T[s, a, s'] V(s')], with V = 0 in terminal states."""
    later = values.masked_fill(terminal, 0.0)
    return (reward + discount * transition_matrix @ later).amax(dim=1)


def best_rule(transition_matrix, reward, values, discount, terminal):
    """Try every rule that picks one action per state, and take each state's best result."""
    tried = returns_of_rules(transition_matrix, reward, values, discount, terminal)
    return torch.from_numpy(tried.max(axis=0))


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw four processes with different numbers of states and actions."""
    cases = []
    for states, actions, discount in ((3, 2, 0.5), (4, 3, 0.9), (5, 2, 0.7), (4, 4, 0.95)):
        p = random_process(generator, states, actions, discount)
        guess = random_values(generator, states)
        args = (p.transition_matrix, p.reward, guess, p.discount, p.terminal)
        cases.append(Case(args=args, note=f"{states} states, {actions} actions, random numbers"))
    return cases


def _hand() -> Case:
    """Bank: max(1 + .5*0, -.5 + .5*2) = 1. Ice: max(0 + .5*2, 3 + .5*(.5*2 + .5*0)) = 3.5."""
    p = pond()
    guess = torch.tensor([2.0, 2.0, 5.0], dtype=torch.float64)
    expected = torch.tensor([1.0, 3.5, 0.0], dtype=torch.float64)
    return Case((p.transition_matrix, p.reward, guess, p.discount, p.terminal), {}, expected, POND)


def never_ends_in_value(answer, case: Case) -> str | None:
    """Nothing comes after a terminal state, whatever the guess says."""
    found = numbers(answer, case)[case.args[4]]
    if bool((found.abs() < 1e-6).all()):
        return None
    return f"a terminal state is worth {float(found[0]):.4g}; it should be worth 0"


def higher_guess_never_lowers(answer, case: Case) -> str | None:
    """The backup is monotone in the guess."""
    moves, reward, values, discount, terminal = case.args
    before = numbers(answer, case)
    bump = torch.linspace(0.1, 1.0, len(values), dtype=torch.float64)
    after = numbers(answer, Case((moves, reward, values + bump, discount, terminal)))
    if bool((after >= before - 1e-6).all()):
        return None
    return "raising the guess of every state lowered a state's new value"


def shrinks_distances(answer, case: Case) -> str | None:
    """Two guesses come closer by the factor gamma at least, in the largest difference."""
    moves, reward, values, discount, terminal = case.args
    other = values + torch.linspace(-2.0, 2.0, len(values), dtype=torch.float64)
    there = numbers(answer, Case((moves, reward, other, discount, terminal)))
    apart = float((numbers(answer, case) - there).abs().max())
    bound = discount * float((values - other).abs().max())
    if apart <= bound + 1e-6:
        return None
    return f"two guesses end {apart:.4g} apart; the discount allows at most {bound:.4g}"


def _best_successor(moves, reward, values, discount, terminal):
    """Hope for the best next state."""
    later = values.masked_fill(terminal, 0.0).expand_as(moves)
    return (reward + discount * later.masked_fill(moves == 0, -torch.inf).amax(-1)).amax(1)


def _two_maxima(moves, reward, values, discount, terminal):
    """Take the best reward of one action and the best future of another."""
    later = values.masked_fill(terminal, 0.0)
    return reward.amax(1) + discount * (moves @ later).amax(1)


def _maximum_of_products(moves, reward, values, discount, terminal):
    """Weigh the next states, then take the largest product in place of the sum."""
    later = values.masked_fill(terminal, 0.0)
    return (reward + discount * (moves * later).amax(-1)).amax(1)


def _transposed(moves, reward, values, discount, terminal):
    """Read T[s, a, s'] from s' to s."""
    later = values.masked_fill(terminal, 0.0)
    return (reward + discount * torch.einsum("tas,t->sa", moves, later)).amax(1)


def _no_discount(moves, reward, values, discount, terminal):
    """Forget gamma."""
    return bellman_backup(moves, reward, values, 1.0, terminal)


def _reward_discounted(moves, reward, values, discount, terminal):
    """Put gamma before the whole bracket."""
    return discount * bellman_backup(moves, reward, values, 1.0, terminal)


def _mean_over_actions(moves, reward, values, discount, terminal):
    """Average over actions."""
    later = values.masked_fill(terminal, 0.0)
    return (reward + discount * moves @ later).mean(1)


def _bootstraps_terminal(moves, reward, values, discount, terminal):
    """Believe the guess of terminal states too."""
    return (reward + discount * moves @ values).amax(1)


def _masks_too_late(moves, reward, values, discount, terminal):
    """Set terminal states to zero in the result only."""
    return _bootstraps_terminal(moves, reward, values, discount, terminal).masked_fill(terminal, 0)


def _starts_from_zero(moves, reward, values, discount, terminal):
    """Search for the best action with a loop that starts at 0."""
    return bellman_backup(moves, reward, values, discount, terminal).clamp(min=0.0)


def _in_place(moves, reward, values, discount, terminal):
    """Let later states see the values that this sweep has just written."""
    later = values.masked_fill(terminal, 0.0)
    for state in range(len(later)):
        later[state] = (reward[state] + discount * moves[state] @ later).max()
    return later


def _loops(moves, reward, values, discount, terminal):
    """Write the formula as three loops over Python numbers."""
    new = []
    for state in range(len(values)):
        worth = []
        for action in range(reward.shape[1]):
            total = reward[state, action].item()
            for following, chance in enumerate(moves[state, action].tolist()):
                if not terminal[following]:
                    total += discount * chance * values[following].item()
            worth.append(total)
        new.append(max(worth))
    return new


def _with_numpy(moves, reward, values, discount, terminal):
    """Use numpy's einsum."""
    alive = 1.0 - terminal.numpy()
    future = np.einsum("sat,t->sa", moves.numpy(), values.numpy() * alive)
    return np.max(reward.numpy() + discount * future, axis=-1)


def _masked_transitions(moves, reward, values, discount, terminal):
    """Cut the transitions into terminal states rather than the values there."""
    staying = moves * (~terminal)
    q = reward + discount * (staying * values).sum(dim=2)
    return torch.max(q, dim=1).values


def _figure(answer):
    """Show the pond's values, sweep after sweep of the learner's own backup."""
    from tutorlib.viz import lines

    p = pond()
    history = [torch.zeros(3, dtype=torch.float64)]
    for _ in range(8):
        new = torch.as_tensor(answer(p.transition_matrix, p.reward, history[-1], p.discount,
                                     p.terminal), dtype=torch.float64)
        history.append(new)
    table = torch.stack(history)
    change = float((table[-1] - table[-2]).abs().max())
    return lines({"bank": table[:, 0], "ice": table[:, 1], "home": table[:, 2]},
                 title=f"Your backup, applied again and again, settles: sweep 8 moves no value "
                       f"by more than {change:.1g}",
                 xlabel="sweep", ylabel="value (discounted reward)")


BACKUP = Exercise(
    id=f"{UNIT}.bellman_backup",
    title="One Bellman backup",
    points=2,
    minutes=9,
    difficulty=2,
    reference=bellman_backup,
    oracle=best_rule,
    hand=_hand(),
    cases=draw_cases,
    properties=(
        Property("a terminal state is worth 0", never_ends_in_value),
        Property("a higher guess never lowers a value", higher_guess_never_lowers),
        Property("two guesses come closer", shrinks_distances),
    ),
    mutants=(
        Mutant("max_apart_from_expectation", _two_maxima,
               "The maximum is taken twice, once of the reward and once of the expected future, so "
               "one action may pay while another one leads on. A single action does both: add "
               "first, then maximise over actions once."),
        Mutant("best_next_state", _best_successor,
               "You take the best next state where the formula takes the expected one. The agent "
               "chooses its action, but not where the ice carries it: weigh the next states' "
               "values by `transition_matrix` and sum; only actions get a maximum."),
        Mutant("maximum_of_products", _maximum_of_products,
               "You keep the largest of the products probability times value. An expectation is "
               "their sum over next states."),
        Mutant("transposed_transition", _transposed,
               "The transition matrix is read backwards, from next state to state. In "
               "`transition_matrix[s, a, t]` the last axis is the next state: sum over that one."),
        Mutant("no_discount", _no_discount,
               "The discount is missing. A reward one step later counts `discount` times as much: "
               "multiply the expected next value by it."),
        Mutant("reward_discounted", _reward_discounted,
               "The immediate reward is discounted as well. It is paid now, at full worth; only "
               "what comes after this step is multiplied by `discount`."),
        Mutant("mean_over_actions", _mean_over_actions,
               "You average over actions. That evaluates an agent that acts at random; the optimal "
               "agent takes the best action, so use a maximum."),
        Mutant("terminal_bootstrapped", _bootstraps_terminal,
               "The guess of a terminal state is used. Nothing is earned after the end, whatever "
               "`values` says there: count terminal next states as 0 before the expectation."),
        Mutant("terminal_masked_too_late", _masks_too_late,
               "Terminal states are set to 0 in the result, but their neighbours still looked at "
               "the old guess. Set them to 0 before the expectation is taken."),
        Mutant("best_starts_from_zero", _starts_from_zero,
               "No state comes out below 0: the search for the best action starts at 0, so an "
               "action that is the best but costs something never wins. Start from minus infinity, "
               "or from the first action."),
        Mutant("updated_in_place", _in_place,
               "States late in the loop see values that this same sweep has just written. That "
               "also converges, but one backup reads only the old `values`: write into a new "
               "tensor."),
    ),
    variants=(Variant("three loops", _loops), Variant("numpy einsum", _with_numpy),
              Variant("masked transitions", _masked_transitions)),
    hints=(
        "Stand in one state and one action. You are paid the reward now. Then chance picks a next "
        "state; its guessed value, weighted by its probability and discounted once, is what you "
        "expect later. Do this for every action, keep the best. After a terminal state nothing "
        "follows, so its value counts as 0.",
        "$V'(s) = \\max_a \\big[\\, r(s,a) + \\gamma \\sum_{s'} P(s'|s,a)\\, V(s') \\,\\big]$ with "
        "$V(s') = 0$ at terminal $s'$. Shapes: `transition_matrix @ v` turns "
        "[states, actions, states] and [states] into [states, actions].",
        "```python\nlater = ...            # values, but 0 where terminal    [states]\n"
        "q = reward + ...       # discounted expectation of later [states, actions]\n"
        "return ...             # best action of each state       [states]\n```",
    ),
    why="The bracket is the worth of one action: paid now, plus the discounted average of what is "
        "guessed to come. A matrix product with the last axis of `T` is that average for all "
        "states and actions at once. The maximum comes last, since one action has to earn both "
        "parts.",
    index_names=name_index,
    figure=_figure,
    forbidden=("tutorlib.mdp.bellman_backup", "tutorlib.mdp.q_values"),
)
