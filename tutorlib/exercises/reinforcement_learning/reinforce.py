"""Exercise 2: the REINFORCE gradient of one trajectory, with a baseline."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.reinforcement_learning.common import UNIT, normal, uniform
from tutorlib.exercises.reinforcement_learning.tiny import TABLE, all_trajectories, exact_gradient
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def reinforce_gradient(
    logits: Float[Tensor, "states actions"],
    states: Int[Tensor, " steps"],
    actions: Int[Tensor, " steps"],
    rewards: Float[Tensor, " steps"],
    discount: float,
    baseline: Float[Tensor, " states"],
) -> Float[Tensor, "states actions"]:
    """Return sum_t gamma^t (G_t - b(s_t)) grad log pi(a_t|s_t) for a softmax table."""
    policy, gradient, to_go = torch.softmax(logits, -1), torch.zeros_like(logits), 0.0
    for t in reversed(range(len(rewards))):
        to_go = rewards[t] + discount * to_go
        state = int(states[t])
        score = -policy[state]
        score[actions[t]] += 1.0
        gradient[state] += discount**t * (to_go - baseline[state]) * score
    return gradient


def finite_differences(logits, states, actions, rewards, discount, baseline) -> Tensor:
    """Differentiate the weighted log-likelihood of the trajectory numerically."""
    steps = range(len(rewards))
    weights = [sum(discount**k * float(rewards[k]) for k in range(t, len(rewards)))
               - discount**t * float(baseline[states[t]]) for t in steps]

    def likelihood(table: np.ndarray) -> float:
        logps = table - np.log(np.exp(table).sum(1, keepdims=True))
        return sum(w * logps[states[t], actions[t]] for t, w in enumerate(weights))

    table, gradient, h = logits.numpy(), np.zeros(logits.shape), 1e-5
    for index in np.ndindex(*table.shape):
        step = np.zeros(table.shape)
        step[index] = h
        gradient[index] = (likelihood(table + step) - likelihood(table - step)) / (2 * h)
    return torch.from_numpy(gradient)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw trajectories that are longer than the number of states, so that some recur."""
    cases = []
    for n_states, n_actions, steps in ((2, 2, 4), (3, 2, 6), (2, 3, 5), (4, 3, 7)):
        states = torch.randint(n_states, (steps,), generator=generator)
        states[-1] = states[0]  # at least one state recurs
        actions = torch.randint(n_actions, (steps,), generator=generator)
        cases.append(Case(args=(normal(generator, n_states, n_actions), states, actions,
                                normal(generator, steps), uniform(generator, 0.5, 0.9),
                                normal(generator, n_states))))
    return cases


def mean_over_every_trajectory(answer, case: Case) -> str | None:
    """Weighted by their probabilities, the estimates must add up to the gradient of J."""
    discount, baseline = case.args[4], case.args[5][:2]
    policy, mean = torch.softmax(TABLE, -1), torch.zeros_like(TABLE)
    for states, actions, rewards, chance in all_trajectories():
        chosen = float(np.prod([policy[s, a] for s, a in zip(states, actions, strict=True)]))
        estimate = answer(TABLE.clone(), torch.tensor(states), torch.tensor(actions),
                          torch.tensor(rewards, dtype=torch.float64), discount, baseline.clone())
        mean += chance * chosen * as_tensor(estimate)
    gap = float((mean - exact_gradient(discount)).abs().max())
    if gap < 1e-6:
        return None
    return (f"over all trajectories of a small world, the mean estimate is {gap:.4g} away from the "
            "gradient of the expected return")


def rows_cancel(answer, case: Case) -> str | None:
    """A constant added to a row of logits changes nothing, so a row of the gradient sums to 0."""
    sums = as_tensor(answer(*case.args)).sum(-1)
    state = int(sums.abs().argmax())
    if float(sums[state].abs()) < 1e-8:
        return None
    return f"row {state} of the gradient sums to {float(sums[state]):.4g}, not to 0"


def _weights(rewards, discount):
    """Return G_t for each step."""
    total, found = 0.0, []
    for reward in reversed(rewards.tolist()):
        total = reward + discount * total
        found.append(total)
    return found[::-1]


def _mutated(weight=None, score=None, policy=None, sign=1.0, assign=False, scale=None):
    """Return an answer with one of its parts replaced."""

    def answer(logits, states, actions, rewards, discount, baseline):
        pi = torch.softmax(logits, -1) if policy is None else policy(logits)
        gradient, to_go = torch.zeros_like(logits), _weights(rewards, discount)
        for t, (s, a) in enumerate(zip(states.tolist(), actions.tolist(), strict=True)):
            w = discount**t * (to_go[t] - baseline[s]) if weight is None else weight(
                t, s, rewards, discount, baseline, to_go)
            direction = torch.nn.functional.one_hot(torch.tensor(a), logits.shape[1]).to(pi)
            direction = direction - pi[s] if score is None else score(direction, pi[s])
            gradient[s] = sign * w * direction + (0 if assign else gradient[s])
        return gradient if scale is None else gradient / scale(rewards)

    return answer


def _later(rewards, t, discount):
    return sum(discount**k * r for k, r in enumerate(rewards.tolist()) if k >= t)


MUTANTS = (
    Mutant("whole_return", _mutated(lambda t, s, r, g, b, to_go: g**t * (to_go[0] - b[s])),
           "Every step gets the return of the whole trajectory, G_0. Rewards paid before an "
           "action cannot be its doing: weight step t with what was paid from t on."),
    Mutant("this_reward_only", _mutated(lambda t, s, r, g, b, to_go: g**t * (r[t] - b[s])),
           "Each action is judged by the reward of its own step alone. What it set in motion "
           "comes later: use the rewards to go, G_t."),
    Mutant("no_baseline", _mutated(lambda t, s, r, g, b, to_go: g**t * to_go[t]),
           "The baseline is not used. Unbiased, but noisier than it need be: weight with how much "
           "*better than expected* it went, G_t minus the baseline of the state."),
    Mutant("no_gamma_to_the_t", _mutated(lambda t, s, r, g, b, to_go: to_go[t] - b[s]),
           "The factor gamma^t in front of step t is missing. Much code for deep RL leaves it out "
           "too; then the estimate is not that of the discounted return's gradient."),
    Mutant("undiscounted_to_go",
           _mutated(lambda t, s, r, g, b, to_go: g**t * (float(r[t:].sum()) - b[s])),
           "The rewards to go are added up without discounting: G_t = r_t + gamma G_{t+1}."),
    Mutant("discounted_twice",
           _mutated(lambda t, s, r, g, b, to_go: g**t * (_later(r, t, g) - b[s])),
           "The rewards to go are discounted from the start of the episode, and then gamma^t "
           "comes on top. Within G_t, count the steps from t: r_t itself has factor 1."),
    Mutant("only_the_action_taken", _mutated(score=lambda direction, pi: direction),
           "Only the chosen action moves. The derivative of log softmax has a second part: raising "
           "one logit takes probability from the others, so subtract pi(.|s)."),
    Mutant("probability_times_score", _mutated(score=lambda d, pi: (d * pi).sum() * (d - pi)),
           "This is the derivative of pi(a|s), not of its logarithm: it is small by the factor "
           "pi(a|s). Rare actions would hardly ever be learned from."),
    Mutant("downhill", _mutated(sign=-1.0),
           "The sign is turned round: following this makes good actions rarer. We climb the "
           "return; there is no loss with a minus here."),
    Mutant("last_visit_wins", _mutated(assign=True),
           "When a state is visited twice, one visit overwrites the other. Add each step's part "
           "to the row (`+=`)."),
    Mutant("softmax_over_states", _mutated(policy=lambda logits: torch.softmax(logits, 0)),
           "The softmax runs down the columns, over states. In each state the probabilities of the "
           "actions must sum to 1: take the last axis."),
    Mutant("mean_over_steps", _mutated(scale=len),
           "You divide by the number of steps. The gradient of the return is a sum over time; only "
           "over trajectories do we take the mean."),
)


def _autograd(logits, states, actions, rewards, discount, baseline):
    leaf = logits.clone().requires_grad_()
    steps = torch.arange(len(rewards), dtype=logits.dtype)
    ahead = steps[None, :] - steps[:, None]
    to_go = torch.where(ahead >= 0, discount**ahead.clamp(min=0), 0.0).to(rewards) @ rewards
    weights = discount**steps * (to_go - baseline[states])
    logps = torch.log_softmax(leaf, -1)[states, actions]
    (weights * logps).sum().backward()
    return leaf.grad


def _numpy(logits, states, actions, rewards, discount, baseline):
    table, rewards, baseline = logits.numpy(), rewards.numpy(), baseline.numpy()
    policy = np.exp(table) / np.exp(table).sum(1, keepdims=True)
    gradient = np.zeros_like(table)
    for t in range(len(rewards)):
        later = sum(discount**k * rewards[k] for k in range(t, len(rewards)))  # gamma^t G_t
        score = np.eye(table.shape[1])[actions[t]] - policy[states[t]]
        gradient[states[t]] += (later - discount**t * baseline[states[t]]) * score
    return gradient


def _scattered(logits, states, actions, rewards, discount, baseline):
    to_go = torch.tensor(_weights(rewards, discount), dtype=logits.dtype)
    steps = torch.arange(len(rewards), dtype=logits.dtype)
    scores = torch.eye(logits.shape[1], dtype=logits.dtype)[actions] - torch.softmax(
        logits, -1)[states]
    weights = discount**steps * (to_go - baseline[states])
    return torch.zeros_like(logits).index_add_(0, states, weights[:, None] * scores)


VARIANTS = (
    Variant("autograd of a surrogate", _autograd),
    Variant("numpy, forwards", _numpy),
    Variant("all steps at once", _scattered),
)


def name_index(case: Case, index: tuple[int, ...]) -> str | None:
    """Say what an entry of the gradient stands for."""
    return f"the logit of action {index[1]} in state {index[0]}" if len(index) == 2 else None


def show_mean_estimate(answer):
    """Compare the mean of 300 sampled estimates with the exact gradient, in a corridor."""
    from tutorlib.control import exact_policy_gradient, softmax_policy
    from tutorlib.mdp import GridWorld, sample_trajectories
    from tutorlib.viz import bars

    corridor = GridWorld("S.G", step_reward=-0.1, discount=0.8, horizon=12)
    logits = torch.zeros_like(corridor.mdp.reward)
    exact = exact_policy_gradient(corridor.mdp, logits, 12)[0]
    runs = sample_trajectories(corridor.mdp, softmax_policy(logits), 300, 12,
                               torch.Generator().manual_seed(0))
    zero, total = torch.zeros(3, dtype=torch.float64), torch.zeros_like(logits)
    for states, actions, rewards, live in zip(runs.states, runs.actions, runs.rewards, runs.mask,
                                              strict=True):
        n = int(live.sum())
        total += as_tensor(answer(logits.clone(), states[:n].clone(), actions[:n].clone(),
                                  rewards[:n].clone(), 0.8, zero.clone()))
    mean = (total / 300)[0]
    return bars({"mean of 300 estimates": mean.round(decimals=2), "exact": exact.round(decimals=2)},
                groups=corridor.mdp.action_names, ylabel="slope of the return",
                title="From experience alone: the slope at the start, close to the exact one")


REINFORCE = Exercise(
    id=f"{UNIT}.reinforce_gradient",
    title="A gradient from one trajectory",
    points=3,
    minutes=15,
    difficulty=3,
    reference=reinforce_gradient,
    oracle=finite_differences,
    hand=Case(
        args=(torch.zeros(2, 2, dtype=torch.float64), torch.tensor([0, 1]), torch.tensor([0, 1]),
              torch.tensor([1.0, 2.0], dtype=torch.float64), 0.5,
              torch.tensor([1.0, 0.0], dtype=torch.float64)),
        # G_1 = 2, G_0 = 1 + 0.5 * 2 = 2; weights 1 * (2 - 1) = 1 and 0.5 * (2 - 0) = 1;
        # scores (1, 0) - (0.5, 0.5) in state 0 and (0, 1) - (0.5, 0.5) in state 1
        expected=torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64),
        note="two steps; both get weight 1: 1 * (2 - 1), and 0.5 * (2 - 0)"),
    cases=draw_cases,
    properties=(
        Property("each row sums to 0", rows_cancel),
        Property("unbiased: the mean over every trajectory is the exact gradient",
                 mean_over_every_trajectory),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Walk through the trajectory. For each step ask: which way do the logits of this state "
        "move to make this action likelier (the score), and how much better than the baseline did "
        "things go from here on (the weight)? Add weight times score to the state's row.",
        r"$$\hat g = \sum_t \gamma^t \,(G_t - b(s_t))\, \nabla \log \pi(a_t|s_t), \qquad "
        r"G_t = r_t + \gamma G_{t+1}$$" "\n\n"
        r"For a softmax table the score $\nabla \log \pi(a|s)$ is $\text{onehot}(a) - "
        r"\pi(\cdot|s)$, shape `[actions]`, in row $s$, and 0 in all other rows. The result has "
        "the shape of `logits`, `[states, actions]`.",
        "```python\n"
        "policy = torch.softmax(logits, -1)          # [states, actions]\n"
        "gradient, to_go = torch.zeros_like(logits), 0.0\n"
        "for t in reversed(range(len(rewards))):\n"
        "    to_go = ...                             # G_t from G_{t+1}\n"
        "    s, a = states[t], actions[t]\n"
        "    score = ...                             # onehot(a) - policy[s]\n"
        "    gradient[s] += ... * score\n"
        "return gradient\n"
        "```",
    ),
    why="The expectation of weight times score is the slope of the return (the log-derivative "
        "trick). Rewards before step t and any function of the state alone multiply scores whose "
        "mean is 0: leaving the first out and subtracting the second costs no bias and saves "
        "noise.",
    index_names=name_index,
    rtol=1e-5,
    atol=1e-7,
    figure=show_mean_estimate,
    forbidden=("tutorlib.control.estimate_gradients", "tutorlib.control.score_gradients"),
)
