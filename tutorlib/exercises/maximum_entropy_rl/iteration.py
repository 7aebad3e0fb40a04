"""Exercise 03.3: one round of soft policy iteration."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.maximum_entropy_rl.backup import HAND_MDP
from tutorlib.exercises.maximum_entropy_rl.iteration_answers import MUTANTS, VARIANTS, sweep
from tutorlib.exercises.maximum_entropy_rl.worlds import numbers, random_mdp, simplex, two_streets
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor
from tutorlib.mdp import TabularMDP, q_values


def soft_policy_step(mdp: TabularMDP, policy: Float[Tensor, "states actions"], temperature: float
                     ) -> tuple[Float[Tensor, " states"], Float[Tensor, "states actions"]]:
    """Return the soft value of ``policy`` and the Gibbs policy of the Q that follows from it."""
    entropy = -torch.special.xlogy(policy, policy).sum(-1)
    income = ((policy * mdp.reward).sum(-1) + temperature * entropy).masked_fill(mdp.terminal, 0.0)
    step = torch.einsum("sa,sat->st", policy, mdp.transition_matrix)
    system = torch.eye(mdp.n_states, dtype=step.dtype) - mdp.discount * step
    values = torch.linalg.solve(system, income)
    return values, torch.softmax(q_values(mdp, values) / temperature, -1)


def by_long_addition(mdp, policy, temperature):
    """Add up discounted reward and entropy over 300 steps; normalise by searching for V."""
    dense, reward, pi = (x.numpy() for x in (mdp.transition_matrix, mdp.reward, policy))
    alive = ~mdp.terminal.numpy()
    bonus = np.array([-sum(p * math.log(p) for p in row if p > 0) for row in pi])
    income = alive * ((pi * reward).sum(1) + temperature * bonus)
    chances, values = np.eye(len(pi)), np.zeros(len(pi))
    for _ in range(300):  # chances[s, t]: discounted probability of being in t, from s
        values = values + chances @ income
        chances = mdp.discount * chances @ np.einsum("sa,sat->st", pi, dense)
    rows = [_normalised(reward[s] + mdp.discount * dense[s] @ values, temperature)
            for s in range(len(pi))]
    return torch.from_numpy(values), numbers(rows)


def _normalised(q, temperature):
    """Find by bisection the V at which exp((Q - V) / lambda) sums to 1."""
    low, high = q.max(), q.max() + temperature * math.log(len(q))
    for _ in range(200):
        middle = (low + high) / 2
        over = np.exp((q - middle) / temperature).sum() > 1
        low, high = (middle, high) if over else (low, middle)
    return np.exp((q - high) / temperature).tolist()


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw processes and policies; the last policy never takes one of its actions."""
    cases = []
    for states, actions, temperature, home in ((3, 2, 0.6, 1), (4, 3, 1.5, 0), (5, 3, 0.3, 4)):
        mdp = random_mdp(generator, states, actions, home=home)
        cases.append(Case(args=(mdp, simplex(generator, states, actions), temperature)))
    mdp = random_mdp(generator, 4, 3)
    policy = simplex(generator, 4, 3)
    policy[0] = numbers([0.0, 1.0, 0.0])
    policy[1] = numbers([0.5, 0.0, 0.5])
    return [*cases, Case(args=(mdp, policy, 0.8), note="a policy that never takes some actions")]


def nowhere_worse(answer, case: Case) -> str | None:
    """The new policy is worth at least as much in every state (Haarnoja et al. 2018, lemma 2)."""
    mdp, policy, temperature = case.args
    improved = as_tensor(answer(*case.args)[1])
    gain = sweep(mdp, improved, temperature) - sweep(mdp, policy, temperature)
    if bool((gain > -1e-7).all()):
        return None
    state = int(gain.argmin())
    return (f"in {mdp.state_names[state]!r} the new policy is worth {-float(gain[state]):.4g} "
            "less than the old one, reward and entropy together")


def home_is_worth_nothing(answer, case: Case) -> str | None:
    """No reward and no entropy is earned where the episode is over."""
    mdp = case.args[0]
    at_home = as_tensor(answer(*case.args)[0])[mdp.terminal]
    if bool((at_home.abs() < 1e-8).all()):
        return None
    return f"the episode is over at home, yet its value is {float(at_home[0]):.4g}"


def rows_sum_to_one(answer, case: Case) -> str | None:
    """Require a distribution in each state."""
    sums = as_tensor(answer(*case.args)[1]).sum(-1)
    wrong = ~((sums - 1).abs() < 1e-5)
    return f"the new policy's rows sum to {float(sums[wrong][0]):.6g}" if wrong.any() else None


def name_entry(case: Case, index: tuple[int, ...]) -> str | None:
    """Say which state, and for the policy which action, an entry belongs to."""
    state = f"state {case.args[0].state_names[index[0]]!r}"
    return state if len(index) == 1 else f"{state}, action {case.args[0].action_names[index[1]]!r}"


def show_rounds(answer):
    """Draw what the start is worth, round by round, from the random walk on."""
    from tutorlib.viz import lines

    grid, temperature = two_streets(), 0.5
    start, policy, worth = grid.state_of(1, 0), torch.full_like(grid.mdp.reward, 0.25), []
    for _ in range(7):
        values, policy = answer(grid.mdp, policy, temperature)
        policy = torch.as_tensor(policy)
        worth.append(float(values[start]))
    return lines({"soft value of the start": worth}, list(range(7)), xlabel="round",
                 ylabel="soft value (reward + \u03bb entropy)",
                 title=f"Your rounds never step back: the start rises from {worth[0]:.2f} to "
                       f"{worth[-1]:.2f}")


SOFT_POLICY_STEP = Exercise(
    id="maximum_entropy_rl.soft_policy_step",
    title="One round of soft policy iteration",
    points=3, minutes=12, difficulty=3,
    reference=soft_policy_step,
    oracle=by_long_addition,
    hand=Case(
        args=(HAND_MDP, numbers([[0.5, 0.5], [0.5, 0.5]]), 1.0),
        # V = 0.5 * 1 + 0.5 * (-1 + 0.5 V) + log 2, so V = log 2 / 0.75;
        # Q(walk) = 1, Q(wait) = -1 + 0.5 V = -0.537902; share of walk 1 / (1 + exp(-1.537902))
        expected=(numbers([0.9241962407465937, 0.0]),
                  numbers([[0.8231595132374417, 0.17684048676255826], [0.5, 0.5]])),
        note="discount 0.5; in the street, walk pays 1 and leads home (terminal), wait costs 1 "
             "and stays; the policy tosses a coin"),
    cases=draw_cases,
    properties=(
        Property("each row of the new policy sums to 1", rows_sum_to_one),
        Property("home is worth nothing", home_is_worth_nothing),
        Property("nowhere worse", nowhere_worse),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Two halves. Evaluate: unit 01's linear solve, where a step's income is now its mean "
        "reward *plus* the temperature times the policy's entropy there. Improve: look one step "
        "ahead with the values you found, and take the Gibbs policy of that Q (uniform prior).",
        r"$$(I - \gamma P_\pi)\, V = r_\pi + \lambda H_\pi, \qquad \pi_\text{new}(a|s) = "
        r"\frac{e^{Q(s,a)/\lambda}}{\sum_b e^{Q(s,b)/\lambda}}$$" "\n\n"
        "$r_\\pi$, $H_\\pi$ and $V$ are `[states]`, $P_\\pi$ is `[states, states]`, $Q$ is "
        "`[states, actions]`. The income of terminal states is 0, and $0 \\log 0 = 0$.",
        "```python\n"
        "entropy = ...        # of each row of policy, [states]; torch.special.xlogy helps\n"
        "income = ...         # mean of mdp.reward under policy, plus the bonus, [states]\n"
        "income = ...         # 0 where mdp.terminal: before the solve, not after\n"
        "step = ...           # transition probabilities under the policy, [states, states]\n"
        "values = torch.linalg.solve(...)\n"
        "return values, ...   # a softmax of q_values(mdp, values) over actions\n"
        "```",
    ),
    why=r"The Gibbs policy maximises $\sum_a \pi (Q - \lambda \log \pi)$ in each state, so acting "
        r"on it once and then as before is nowhere worse; unrolling that argument step by step, "
        r"acting on it always is nowhere worse either. A policy that no longer changes is the "
        r"Gibbs policy of its own Q: a fixed point of the soft backup, of which there is only one.",
    index_names=name_entry,
    figure=show_rounds,
    forbidden=("tutorlib.mdp.soft_policy_evaluation", "tutorlib.mdp.soft_policy_iteration"),
)
