"""Exercise 03.1: one soft Bellman backup."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.maximum_entropy_rl.worlds import (
    normal,
    numbers,
    random_mdp,
    rounding,
    two_streets,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor
from tutorlib.mdp import TabularMDP, q_values

GUMBEL = 0.57721566490153286  # Euler's constant: the mean of a standard Gumbel number


def soft_backup(mdp: TabularMDP, values: Float[Tensor, " states"], temperature: float
                ) -> Float[Tensor, " states"]:
    """Return lambda log sum_a exp(Q(s, a) / lambda), and 0 in terminal states."""
    q = q_values(mdp, values)
    highest = q.amax(-1)
    total = ((q - highest[:, None]) / temperature).exp().sum(-1)
    return (highest + temperature * total.log()).masked_fill(mdp.terminal, 0.0)


def mean_of_noisy_best(mdp, values, temperature):
    """Integrate E[max_a Q(s, a) + lambda (G_a - 0.577...)] for independent Gumbel numbers G_a.

    The mean best of values shaken by Gumbel noise is the log-sum-exp (McFadden 1978): no sum of
    exponentials of Q is taken here.
    """
    dense, reward = mdp.transition_matrix.numpy(), mdp.reward.numpy()
    result = np.zeros(mdp.n_states)
    for s in np.flatnonzero(~mdp.terminal.numpy()):
        q = [reward[s, a] + mdp.discount * (dense[s, a] * values.numpy()).sum()
             for a in range(mdp.n_actions)]
        u = np.linspace(-8.0, 45.0, 6001)  # the best, as (best - max q) / lambda
        below = np.ones_like(u)  # probability that every action stays below u
        for value in q:
            below = below * np.exp(-np.exp(np.minimum((value - max(q)) / temperature - u, 700.0)))
        mean = u[-1] - float(((below[1:] + below[:-1]) / 2 * np.diff(u)).sum())
        result[s] = max(q) + temperature * (mean - GUMBEL)
    return torch.from_numpy(result)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw processes of several sizes; the last one is planned for nearly without temperature.

    Home is not always the last state, and another state may be worth 0 and pay nothing.
    """
    cases = []
    sizes = ((3, 2, 0.5, 1), (4, 3, 1.7, 0), (5, 4, 0.25, 2), (4, 3, 0.001, 3))
    for states, actions, temperature, home in sizes:
        mdp = random_mdp(generator, states, actions, home=home)
        values = normal(generator, states).masked_fill(mdp.terminal, 0.0)
        if states == 5:
            plain = torch.arange(states)[:, None] == 1
            mdp = mdp.replace(reward=mdp.reward.masked_fill(plain, 0.0))
            values[1] = 0.0
        cases.append(Case(args=(mdp, values, temperature)))
    mdp, values, temperature = cases.pop().args
    lift = numbers([[0.0], [4.0], [8.0], [0.0]])  # far apart: no common maximum serves all states
    mdp = mdp.replace(reward=mdp.reward + lift)
    return [*cases, Case(args=(mdp, values, temperature), note="a temperature of 0.001")]


def above_the_hard_backup(answer, case: Case) -> str | None:
    """The soft maximum lies between the maximum and lambda log|A| above it."""
    mdp, values, temperature = case.args
    hard = q_values(mdp, values).amax(-1).masked_fill(mdp.terminal, 0.0)
    found = as_tensor(answer(*case.args))
    over, slack = found - hard, rounding(found)
    room = temperature * math.log(mdp.n_actions)
    wrong = ~((over > -slack) & (over < room + slack))
    if not wrong.any():
        return None
    state = int(wrong.nonzero()[0])
    return (f"in {mdp.state_names[state]!r} it is {float(over[state]):.4g} above the hard backup; "
            f"it must be between 0 and λ log|A| = {room:.4g}")


def later_change_shrinks(answer, case: Case) -> str | None:
    """The backup is a contraction: 1 more everywhere later is worth at most gamma now."""
    mdp, values, temperature = case.args
    richer = values + (~mdp.terminal).double()
    moved = (as_tensor(answer(mdp, richer, temperature))
             - as_tensor(answer(mdp, values, temperature)))
    largest = float(moved.abs().max())
    if largest <= mdp.discount + rounding(moved):
        return None
    return (f"1 more in every state tomorrow changes today by {largest:.4g}, more than gamma = "
            f"{mdp.discount:g}")


def _home(mdp, result):
    """Hold terminal states at 0."""
    return result.masked_fill(mdp.terminal, 0.0)


def _soft(q, temperature):
    """Return lambda logsumexp(q / lambda)."""
    return temperature * torch.logsumexp(q / temperature, -1)


def _on_q(rule):
    """Make a wrong backup of a wrong rule for one row of Q."""
    return lambda mdp, values, temperature: _home(mdp, rule(q_values(mdp, values), temperature))


def _expectation_inside(mdp, values, temperature):
    arrival = mdp.reward[..., None] + mdp.discount * values  # [states, actions, next_states]
    weighted = arrival / temperature + mdp.transition_matrix.log()
    return _home(mdp, temperature * torch.logsumexp(weighted.flatten(1), -1))


def _entropy_sign(q, temperature):
    pi = torch.softmax(q / temperature, -1)
    return (pi * q).sum(-1) + temperature * torch.special.xlogy(pi, pi).sum(-1)


def _last_is_home(mdp, values, temperature):
    result = _soft(q_values(mdp, values), temperature)
    return torch.cat([result[:-1], 0 * result[-1:]])


def _zero_is_home(mdp, values, temperature):
    return _soft(q_values(mdp, values), temperature).masked_fill(values == 0, 0.0)


MUTANTS = (
    Mutant("last_state_is_home", _last_is_home,
           "You set the last state to 0. Home need not be the last state, and there may be several "
           "ends or none: `mdp.terminal` says which they are."),
    Mutant("zero_value_is_home", _zero_is_home,
           "You treat a state whose present value is 0 as an end. Any state may have that value, "
           "all of them at the start; `mdp.terminal` says where the episode is over."),
    Mutant("hard_max", _on_q(lambda q, t: q.amax(-1)),
           "This is the hard backup: the best action alone counts. Replace the maximum over "
           "actions by λ log Σ exp(Q/λ), which also pays for choice."),
    Mutant("no_outer_temperature", _on_q(lambda q, t: torch.logsumexp(q / t, -1)),
           "The temperature in front of the logarithm is missing, so the result is in units of "
           "λ, not of reward. Multiply the logarithm by `temperature`."),
    Mutant("no_inner_temperature", _on_q(lambda q, t: t * torch.logsumexp(q, -1)),
           "Inside the exponential Q is not divided by the temperature: at small λ the "
           "best action should win ever more clearly. Divide Q before `exp`."),
    Mutant("inverse_temperature", _on_q(lambda q, t: torch.logsumexp(q * t, -1) / t),
           "You use the temperature upside down, as an inverse temperature 1/λ (some "
           "papers write β for it). Here heat flattens: divide inside, multiply outside."),
    Mutant("mean_for_sum", _on_q(lambda q, t: _soft(q, t) - t * math.log(q.shape[-1])),
           "You average the exponentials over actions where the entropy bonus asks for their sum. "
           "The average belongs to a KL penalty towards the uniform policy: it is "
           "λ log|A| lower. Sum here."),
    Mutant("expected_q", _on_q(lambda q, t: (torch.softmax(q / t, -1) * q).sum(-1)),
           "This is the reward that the Gibbs policy expects, without its entropy bonus. The soft "
           "value contains both: Σ π Q + λ H(π), which is the log-sum-exp."),
    Mutant("entropy_subtracted", _on_q(_entropy_sign),
           "The entropy is subtracted. Being random earns a bonus here: entropy enters with a "
           "plus, and Σ π log π is the entropy with a minus."),
    Mutant("expectation_inside", _expectation_inside,
           "The average over next states stands inside the exponential, as if the agent could "
           "choose its luck. Average first, Q = r + γ E[V(s')], then take the "
           "log-sum-exp over actions only."),
    Mutant("terminal_entropy", lambda mdp, values, temperature:
           _soft(q_values(mdp, values), temperature),
           "At home the agent goes on choosing among actions and earns λ log|A| for it. "
           "The episode is over there: the value of a terminal state is 0."),
    Mutant("no_discount", lambda mdp, values, temperature:
           _home(mdp, _soft(q_values(mdp.replace(discount=1.0), values), temperature)),
           "The next state's value is not discounted. `q_values(mdp, values)` does it, or multiply "
           "the expected value by `mdp.discount`."),
    Mutant("no_max_subtraction", _on_q(lambda q, t: t * (q / t).exp().sum(-1).log()),
           "The formula is right, but at a low temperature `exp(Q / temperature)` is infinite (or "
           "0 for every action). Take the largest Q out first and add it back at the end, or use "
           "`torch.logsumexp`."),
    Mutant("naive_and_no_mask", lambda mdp, values, temperature:
           temperature * (q_values(mdp, values) / temperature).exp().sum(-1).log(),
           "Two things are missing. Terminal states must get the value 0, whatever their row of Q "
           "says. And at a low temperature `exp(Q / temperature)` is infinite: take each row's "
           "largest Q out first, or use `torch.logsumexp`."),
    Mutant("one_max_for_all", _on_q(
               lambda q, t: q.max() + t * ((q - q.max()) / t).exp().sum(-1).log()),
           "You take out the largest Q of all states. At a low temperature a poorer state then "
           "sums zeros only, and the logarithm of 0 is minus infinity. Take out each state's own "
           "largest Q."),
)


def _loops(mdp, values, temperature):
    dense, result = mdp.transition_matrix.tolist(), []
    for s in range(mdp.n_states):
        q = [float(mdp.reward[s, a]) + mdp.discount * sum(
                p * float(v) for p, v in zip(dense[s][a], values, strict=True))
             for a in range(mdp.n_actions)]
        top = max(q)
        soft = top + temperature * math.log(sum(math.exp((x - top) / temperature) for x in q))
        result.append(0.0 if mdp.terminal[s] else soft)
    return result


def _numpy(mdp, values, temperature):
    step = np.einsum("sat,t->sa", mdp.transition_matrix.numpy(), values.numpy())
    q = mdp.reward.numpy() + mdp.discount * step
    soft = temperature * np.logaddexp.reduce(q / temperature, axis=1)
    return np.where(mdp.terminal.numpy(), 0.0, soft)


def _reward_plus_entropy(q, temperature):
    pi = torch.softmax(q / temperature, -1)
    return (pi * q).sum(-1) - temperature * torch.special.xlogy(pi, pi).sum(-1)


VARIANTS = (
    Variant("torch.logsumexp", _on_q(_soft)),
    Variant("reward plus entropy of the Gibbs policy", _on_q(_reward_plus_entropy)),
    Variant("numpy", _numpy),
    Variant("loops", _loops),
)


def name_state(case: Case, index: tuple[int, ...]) -> str | None:
    """Say which state an entry belongs to."""
    return f"state {case.args[0].state_names[index[0]]!r}" if len(index) == 1 else None


def show_values(answer):
    """Draw the courier's soft values after sixty of the learner's backups."""
    from tutorlib.viz import gridworld

    grid, temperature = two_streets(), 0.5
    values = torch.zeros(grid.mdp.n_states, dtype=torch.float64)
    for _ in range(60):
        values = torch.as_tensor(answer(grid.mdp, values, temperature)).double()
    start = float(values[grid.state_of(1, 0)])
    return gridworld(grid, values, label="soft value (reward + \u03bb entropy)",
                     title=f"Sixty of your soft backups at \u03bb = {temperature}: "
                           f"the start is worth {start:.2f}")


HAND_MDP = TabularMDP.from_dense(
    [[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]], [[1.0, -1.0], [0.0, 0.0]],
    terminal=[False, True], discount=0.5, state_names=("street", "home"),
    action_names=("walk", "wait"))

SOFT_BACKUP = Exercise(
    id="maximum_entropy_rl.soft_backup",
    title="One soft Bellman backup",
    points=2, minutes=10, difficulty=2,
    reference=soft_backup,
    oracle=mean_of_noisy_best,
    hand=Case(
        args=(HAND_MDP, numbers([2.0, 0.0]), 1.0),
        # street: Q(walk) = 1 + 0.5 * 0 = 1, Q(wait) = -1 + 0.5 * 2 = 0, log(e + 1) = 1.31326...
        expected=numbers([1.3132616875182228, 0.0]),
        note="discount 0.5; in the street, walk pays 1 and leads home (terminal), wait costs 1 "
             "and stays; so Q = (1, 0), as in the lesson's example"),
    cases=draw_cases,
    properties=(
        Property("between the maximum and λ log|A| above it", above_the_hard_backup),
        Property("a change tomorrow counts at most gamma today", later_change_shrinks),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "First look one step ahead, as in unit 01: `q_values(mdp, values)` gives Q for every "
        "state and action. Then join each state's actions, softly where unit 01 took the maximum. "
        "Think about states where the episode is over, and about temperatures near 0.",
        r"$$V(s) = \lambda \log \sum_a \exp(Q(s,a)/\lambda) = m_s + \lambda \log \sum_a "
        r"\exp\big((Q(s,a) - m_s)/\lambda\big), \qquad m_s = \max_a Q(s,a)$$" "\n\n"
        "`q` has shape `[states, actions]`; maximum and sum run over the last axis and give "
        "`[states]`. In terminal states $V = 0$.",
        "```python\n"
        "q = ...                     # one step ahead, [states, actions]\n"
        "soft = ...                  # soft maximum of each row, [states]: torch.logsumexp "
        "with dim=-1,\n"
        "                            # the temperature inside and outside\n"
        "return ...                  # soft.masked_fill puts 0 where mdp.terminal\n"
        "```",
    ),
    why=r"The log-sum-exp *is* the best possible sum of expected $Q$ and entropy bonus: the "
        r"four-line algebra says so. Taking out the largest $Q$ multiplies and divides by the same "
        r"$e^{m/\lambda}$, so the value stays and every exponent is at most 0.",
    index_names=name_state,
    figure=show_values,
    forbidden=("tutorlib.mdp.soft_backup", "tutorlib.mdp.soft_maximum",
               "tutorlib.mdp.soft_value_iteration", "tutorlib.mdp.soft_backward"),
)
