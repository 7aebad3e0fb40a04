"""Exercise 03.4: finite-horizon control with a prior policy."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.maximum_entropy_rl.control_answers import MUTANTS, VARIANTS
from tutorlib.exercises.maximum_entropy_rl.worlds import (
    ANSWERS,
    REFERENCE,
    TREE_HORIZON,
    TREE_NEXT,
    TREE_PRIOR,
    TREE_REWARD,
    TREE_STATES,
    normal,
    numbers,
    simplex,
)
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor


def kl_control(next_states: Int[Tensor, "states actions"], reward: Float[Tensor, "states actions"],
               prior: Float[Tensor, "states actions"], temperature: float, horizon: int):
    """Return V [horizon + 1, states] and pi [horizon, states, actions], by backward induction."""
    values = [torch.zeros(len(reward), dtype=torch.float64)]
    policy = []
    for _ in range(horizon):
        exponent = (reward + values[0][next_states]) / temperature + prior.log()
        values.insert(0, temperature * torch.logsumexp(exponent, -1))
        policy.insert(0, torch.softmax(exponent, -1))
    return torch.stack(values), torch.stack(policy)


def over_all_trajectories(next_states, reward, prior, temperature, horizon):
    """Weigh every sequence of actions by prior * exp(return / lambda); V is lambda log of the sum.

    pi_t(a|s) is the share of the sequences that begin with a. No recursion over values.
    """
    states, actions = reward.shape
    values = torch.zeros(horizon + 1, states, dtype=torch.float64)
    policy = torch.zeros(horizon, states, actions, dtype=torch.float64)
    for t, start in itertools.product(range(horizon), range(states)):
        weighed = []  # (first action, log prior + return / lambda) of each possible sequence
        for sequence in itertools.product(range(actions), repeat=horizon - t):
            state, gained, chance = start, 0.0, 1.0
            for action in sequence:
                chance *= float(prior[state, action])
                gained += float(reward[state, action])
                state = int(next_states[state, action])
            if chance > 0:
                weighed.append((sequence[0], math.log(chance) + gained / temperature))
        top = max(weight for _, weight in weighed)
        total = math.fsum(math.exp(weight - top) for _, weight in weighed)
        values[t, start] = temperature * (top + math.log(total))
        for action, weight in weighed:
            policy[t, start, action] += math.exp(weight - top) / total
    return values, policy


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw small deterministic processes; one forbids actions, one is ice cold."""
    cases = []
    for states, actions, temperature, horizon in ((3, 2, 0.7, 4), (4, 3, 1.6, 3), (3, 3, 0.4, 3)):
        cases.append(Case(args=(*_draw(generator, states, actions), temperature, horizon)))
    moves, reward, prior = _draw(generator, 4, 3)
    prior[:, 2] = 0.0
    prior = prior / prior.sum(-1, keepdim=True)
    cases.append(Case(args=(moves, reward, prior, 0.8, 3), note="the prior forbids action 2"))
    cold = Case(args=(*_draw(generator, 3, 2), 0.0001, 3), note="a temperature of 0.0001")
    return [*cases, cold]


def _draw(generator, states, actions):
    """Draw next states, rewards and a prior."""
    moves = torch.randint(states, (states, actions), generator=generator)
    return moves, normal(generator, states, actions), simplex(generator, states, actions)


def steps_are_distributions(answer, case: Case) -> str | None:
    """Require a distribution at each step and state."""
    sums = as_tensor(answer(*case.args)[1]).sum(-1)
    wrong = ~((sums - 1).abs() < 1e-5)
    if not wrong.any():
        return None
    step, state = (int(i) for i in wrong.nonzero()[0])
    total = float(sums[step, state])
    return f"at step {step} in state {state} the probabilities sum to {total:.6g}"


def nothing_is_left_at_the_end(answer, case: Case) -> str | None:
    """After the last decision nothing is earned."""
    last = as_tensor(answer(*case.args)[0])[-1]
    if bool((last.abs() < 1e-9).all()):
        return None
    return f"V[horizon] must be 0 everywhere; it holds {float(last.abs().max()):.4g}"


def no_reward_no_change(answer, case: Case) -> str | None:
    """Without reward the prior itself is best, and it costs nothing."""
    moves, reward, prior, temperature, horizon = case.args
    values, policy = answer(moves, torch.zeros_like(reward), prior, temperature, horizon)
    worth = float(as_tensor(values).abs().max())
    moved = float((as_tensor(policy) - prior).abs().max())
    if worth < 1e-6 and moved < 1e-6:
        return None
    return (f"when all rewards are 0 the values must be 0 and the policy the prior; a value is "
            f"{worth:.4g}, a probability {moved:.4g} off")


def name_entry(case: Case, index: tuple[int, ...]) -> str | None:
    """Say which step and state, and for the policy which action, an entry belongs to."""
    text = f"step {index[0]}, state {index[1]}" if len(index) > 1 else None
    return f"{text}, action {index[2]}" if len(index) == 3 else text


TREE = (torch.tensor(TREE_NEXT), numbers(TREE_REWARD), numbers(TREE_PRIOR))


def show_answers(answer):
    """Draw how often each of three answers is given, before and after, word by word."""
    from tutorlib.viz import bars

    _, policy = answer(*TREE, 1.0, TREE_HORIZON)
    words = torch.as_tensor(policy)
    tuned = [float(words[0, 0, 0] * words[1, 1].sum()),
             float(words[0, 0, 1] * words[1, 2, 0]), float(words[0, 0, 1] * words[1, 2, 1])]
    return bars({"prior": list(REFERENCE), "yours, \u03bb = 1": tuned}, groups=list(ANSWERS),
                ylabel="probability", xlabel=f"{TREE_STATES[0]} ... (rewards 0, 1, 2)",
                title=f"Word by word, your policy moves '{ANSWERS[-1]}' from {REFERENCE[-1]:.0%} "
                      f"to {tuned[-1]:.0%}")


KL_CONTROL = Exercise(
    id="maximum_entropy_rl.kl_control",
    title="Plan with a prior, to a horizon",
    points=3, minutes=14, difficulty=4,
    reference=kl_control,
    oracle=over_all_trajectories,
    hand=Case(
        args=(*TREE, 1.0, TREE_HORIZON),
        # last step: V(grey) = log(0.75 e + 0.25 e^2) = 1.357374, V(blue) = V(end) = log 1 = 0,
        # V(the sky is) = 0; first step: log(0.6 + 0.4 * 3.885975) = log 2.154390 = 0.767508
        expected=(
            numbers([[0.7675076943794833, 0.0, 1.3573740195087884, 0.0],
                     [0.0, 0.0, 1.3573740195087884, 0.0], [0.0, 0.0, 0.0, 0.0]]),
            numbers([[[0.27850108656132644, 0.7214989134386737], [1.0, 0.0],
                      [0.5246331135813284, 0.47536688641867164], [0.5, 0.5]],
                     [[0.6, 0.4], [1.0, 0.0],
                      [0.5246331135813284, 0.47536688641867164], [0.5, 0.5]]])),
        note="states: 'the sky is', 'blue', 'grey', 'end'; two words to say, the reward comes "
             "with the second"),
    cases=draw_cases,
    properties=(
        Property("each step and state has a distribution", steps_are_distributions),
        Property("after the last decision nothing is earned", nothing_is_left_at_the_end),
        Property("without reward the prior stays", no_reward_no_change),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Start after the last decision, where everything is worth 0, and go backwards. At each "
        "step form Q, reward plus the value of the state it leads to. One weight, prior times "
        "`exp(Q / temperature)`, gives both results: the logarithm of its sum and its shares.",
        r"$$Q_t(s,a) = r(s,a) + V_{t+1}(s'), \quad V_t(s) = \lambda \log \sum_a \pi_0(a|s)\, "
        r"e^{Q_t(s,a)/\lambda}, \quad \pi_t(a|s) = \pi_0(a|s)\, e^{(Q_t(s,a) - V_t(s))/\lambda}$$"
        "\n\n"
        r"Overflow is avoided with logarithms: $V_t = \lambda\, \mathrm{logsumexp}_a\big(Q_t / "
        r"\lambda + \log \pi_0\big)$." " "
        "Here $V_T = 0$ and $s'$ = `next_states[s, a]`. `values[next_states]` looks up every "
        "successor at once: `[states]` indexed by `[states, actions]` gives `[states, actions]`. "
        "No discount here.",
        "```python\n"
        "values = torch.zeros(horizon + 1, len(reward), dtype=torch.float64)\n"
        "policy = torch.zeros(horizon, *reward.shape, dtype=torch.float64)\n"
        "for t in reversed(range(horizon)):\n"
        "    x = ...                 # exponent of the weight, prior's logarithm included\n"
        "    values[t] = ...         # temperature times the log-sum-exp of x over actions\n"
        "    policy[t] = ...         # the softmax of x over actions\n"
        "return values, policy\n"
        "```",
    ),
    why=r"Backward induction splits the sum over all trajectories, prior times $e^{R/\lambda}$, at "
        r"its first step: the tails that follow an action sum to $e^{V_{t+1}(s')/\lambda}$. So "
        r"$V_0$ is the log-partition over whole trajectories, as long as an action decides where "
        r"it leads. An end state needs no special care: with reward 0, $\sum_a \pi_0 = 1$ gives 0.",
    index_names=name_entry,
    figure=show_answers,
    forbidden=("tutorlib.mdp.soft_backward", "tutorlib.mdp.soft_maximum",
               "tutorlib.mdp.gibbs_policy"),
)
