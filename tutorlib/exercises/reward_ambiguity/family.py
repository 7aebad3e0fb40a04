"""Exercise 05.4: the family of rewards behind one soft-optimal policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.reward_ambiguity.worlds import (
    STREET,
    endless_mdp,
    normal,
    numbers,
    random_mdp,
    simplex,
    yard,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor
from tutorlib.mdp import TabularMDP, expected_next_values, soft_policy_iteration


@dataclass(frozen=True)
class Evidence:
    """What a family of rewards has to explain."""

    mdp: TabularMDP
    policy: Tensor  # [states, actions]
    temperature: float
    values: Tensor  # [n, states], outside terminal states
    example: Tensor  # [n, states, actions], one right answer

    def __repr__(self) -> str:
        """Show the policy to be explained and one right answer."""
        return (f"{len(self.values)} rewards with the soft-optimal policy {self.policy.tolist()}, "
                f"for instance {self.example.tolist()}")


def reward_family(mdp: TabularMDP, policy: Float[Tensor, "states actions"],
                  values: Float[Tensor, "n states"], temperature: float
                  ) -> Float[Tensor, "n states actions"]:
    """Return lambda log pi + v - gamma E[v'] for each row of values; 0 in terminal states."""
    ahead = expected_next_values(mdp, values)  # [n, states, actions]
    reward = temperature * policy.log() + values[..., None] - mdp.discount * ahead
    return reward.masked_fill(mdp.terminal[:, None], 0.0)


def evidence(mdp, policy, values, temperature):
    """Return what any right answer must explain; the check itself is a planner.

    The example is found without the formula: rewards for which soft values ``values`` are a fixed
    point and the log-odds of the policy's actions are differences of Q, action by action.
    """
    dense, v, pi = (x.numpy() for x in (mdp.transition_matrix, values, policy))
    example = np.zeros((len(v), *pi.shape))
    for i, s in np.ndindex(len(v), len(pi)):
        if not mdp.terminal[s]:
            odds = pi[s] / pi[s, 0]  # exp((Q(a) - Q(0)) / lambda)
            first = v[i, s] - temperature * np.log(odds.sum())  # so that V = lambda logsumexp(Q)
            q = first + temperature * np.log(odds)
            example[i, s] = [q[a] - mdp.discount * float(dense[s, a] @ v[i])
                             for a in range(len(q))]
    return Evidence(mdp, policy, temperature, values, torch.from_numpy(example))


def same_family(got, want: Evidence) -> str | None:
    """Accept any rewards, one for each row of values, that all have the policy and differ."""
    found = as_tensor(got.example if isinstance(got, Evidence) else got)
    mdp, alive = want.mdp, ~want.mdp.terminal
    if found is None or found.shape != want.example.shape:
        shape = "no tensor" if found is None else f"shape {tuple(found.shape)}"
        return f"expected rewards of shape {tuple(want.example.shape)}, got {shape}"
    slack = 1e-6 if found.dtype == torch.float64 else 1e-3
    found = found.double()
    if not bool(torch.isfinite(found).all()):
        n, s, a = (int(i) for i in (~torch.isfinite(found)).nonzero()[0])
        return (f"reward {n} in {mdp.state_names[s]!r}, {mdp.action_names[a]!r} is "
                f"{float(found[n, s, a])}; expected a finite number")
    if bool((found[:, ~alive] != 0).any()):
        return "a terminal state pays something; the episode is over there, so it must pay 0"
    for n, reward in enumerate(found):
        plan = soft_policy_iteration(mdp.replace(reward=reward), want.temperature, tolerance=1e-11)
        apart = (plan.policy - want.policy).abs().masked_fill(~alive[:, None], 0.0)
        if not float(apart.max()) <= slack:
            s, a = (int(i) for i in (apart == apart.max()).nonzero()[0])
            return (f"the soft-optimal policy of reward {n} takes {mdp.action_names[a]!r} in "
                    f"{mdp.state_names[s]!r} with probability {float(plan.policy[s, a]):.4f}; the "
                    f"policy to explain has {float(want.policy[s, a]):.4f}")
    wanted, dims = (_dimensions(x) for x in (want.values[:, alive], found))
    return None if dims >= wanted else (
        f"the {len(found)} rewards differ in {dims} directions only; the {len(found)} rows of "
        f"values differ in {wanted}: different v must give different rewards")


def _dimensions(rows: Tensor) -> int:
    """Return in how many directions rows differ from the first."""
    return int(torch.linalg.matrix_rank((rows[1:] - rows[:1]).flatten(1), rtol=1e-4))


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw processes, policies and values (0 at home); home is not always the last state."""
    cases = []
    for states, actions, home, temperature in ((3, 2, 1, 0.5), (4, 3, 0, 2.0), (5, 3, 4, 0.8)):
        mdp = random_mdp(generator, states, actions, 0.7, home)
        values = (2 * normal(generator, states, states)).masked_fill(mdp.terminal, 0.0)
        cases.append(Case(args=(mdp, simplex(generator, states, actions), values, temperature)))
    mdp = endless_mdp(generator, 3, 4, 0.6)
    return [*cases, Case(args=(mdp, simplex(generator, 3, 4), 2 * normal(generator, 4, 3), 1.3),
                         note="a process without an end")]


def explains_itself(answer, case: Case) -> str | None:
    """Given the soft policy and values of a reward, the family holds a reward with that policy."""
    mdp, _, values, temperature = case.args
    plan = soft_policy_iteration(mdp, temperature, tolerance=1e-12)
    rows = torch.stack([plan.values, *values[:1]])
    found = as_tensor(answer(mdp, plan.policy, rows, temperature)).double()[0]
    paid = mdp.replace(reward=found.masked_fill(mdp.terminal[:, None], 0.0))
    apart = soft_policy_iteration(paid, temperature).policy - plan.policy
    worst = float(apart[~mdp.terminal].abs().max())
    return None if worst < 1e-3 else (
        f"from the soft-optimal policy and values of a reward your reward has another policy: "
        f"probabilities differ by {worst:.3f}")


def _ended(rule):
    """Make an answer from a rule, paying nothing in terminal states."""
    def answer(mdp, policy, values, temperature):
        table = rule(mdp, policy, values, temperature)
        return table.masked_fill(mdp.terminal[:, None], 0.0)
    return answer


def _ahead(mdp, values):
    return mdp.discount * torch.einsum("sat,nt->nsa", mdp.transition_matrix, values)


def _own_next(mdp, policy, values):
    return mdp.discount * torch.einsum("sa,sat,nt->ns", policy, mdp.transition_matrix,
                                       values)[..., None]


MUTANTS = (
    Mutant("one_reward_only", _ended(lambda m, pi, v, t: (t * pi.log()).expand(len(v), -1, -1)),
           "λ log π does explain the policy, but it is one reward of many: you ignore v. Add "
           "v(s) - γ E[v(s')]; each row of values then gives another reward with the same "
           "policy."),
    Mutant("no_temperature", _ended(lambda m, pi, v, t: pi.log() + v[..., None] - _ahead(m, v)),
           "The logarithm is not multiplied by the temperature. log π is in nats, a reward is not: "
           "π = exp((Q - V) / λ) gives Q - V = λ log π."),
    Mutant("temperature_divides", _ended(lambda m, pi, v, t: pi.log() / t + v[..., None]
                                         - _ahead(m, v)),
           "You divide by the temperature. From π = exp((Q - V) / λ) follows Q - V = λ log π: "
           "multiply."),
    Mutant("no_discount", _ended(lambda m, pi, v, t: t * pi.log() + v[..., None]
                                 - _ahead(m, v) / m.discount),
           "The next state's v is not discounted: it must be γ E[v(s')], as in Q = r + γ E[V]."),
    Mutant("no_next_value", _ended(lambda m, pi, v, t: (t * pi.log() + v[..., None])),
           "You add v(s) alone. That pays for *being* in a state, and the policy will seek such "
           "states. What is added must be taken back one step later: subtract γ E[v(s')]."),
    Mutant("no_value_here", _ended(lambda m, pi, v, t: t * pi.log() - _ahead(m, v)),
           "You subtract γ E[v(s')] alone: reaching a state of high v is punished. Add v(s) as "
           "well, so that the two cancel along a path."),
    Mutant("both_plus", _ended(lambda m, pi, v, t: t * pi.log() + v[..., None] + _ahead(m, v)),
           "Both terms of v have the same sign, so nothing cancels along a path. One is added, the "
           "other subtracted: v(s) - γ E[v(s')]."),
    Mutant("log_two", _ended(lambda m, pi, v, t: t * pi.log2() + v[..., None] - _ahead(m, v)),
           "You take the logarithm to base 2. Logarithms here are natural (nats), as in "
           "π = exp((Q - V) / λ): `.log()`."),
    Mutant("all_turned", _ended(lambda m, pi, v, t: -(t * pi.log() + v[..., None]
                                                      - _ahead(m, v))),
           "The whole reward has the wrong sign: it pays least for what the policy does most. v "
           "may have either sign, log π may not."),
    Mutant("nothing_paid", lambda m, pi, v, t: torch.zeros(len(v), *pi.shape, dtype=v.dtype),
           "Your rewards are all 0. Then every action is as good as any other, and the "
           "soft-optimal policy picks them all alike."),
    Mutant("values_on_actions", _ended(lambda m, pi, v, t: t * pi.log() + v[:, None, :]
                                       - _ahead(m, v)),
           "v(s) stands on the axis of the actions. `values` is [n, states] and the answer [n, "
           "states, actions]: the new axis comes last, `values[:, :, None]`."),
    Mutant("probabilities", _ended(lambda m, pi, v, t: t * pi + v[..., None] - _ahead(m, v)),
           "You pay the probability itself. The Gibbs policy is the exponential of a reward, so "
           "the reward holds its logarithm: λ log π."),
    Mutant("policys_own_step", _ended(lambda m, pi, v, t: t * pi.log() + v[..., None]
                                      - _own_next(m, pi, v)),
           "You average the next state over the policy's actions. The reward of action a looks "
           "where *a* leads: E[v(s') | s, a], [states, actions]."),
    Mutant("home_pays", lambda m, pi, v, t: t * pi.log() + v[..., None] - _ahead(m, v),
           "At home your reward is λ log π, but the episode is over there: terminal states pay 0. "
           "Use `masked_fill` with `mdp.terminal`."),
    Mutant("transition_axes", _ended(lambda m, pi, v, t: t * pi.log() + v[..., None]
                                     - m.discount * torch.einsum(
                                         "sat,ns->nta", m.transition_matrix, v)),
           "The axes of the transition matrix are mixed up: E[v(s')] sums T[s, a, s'] over its "
           "last axis, s'."),
    Mutant("advantage_sign", _ended(lambda m, pi, v, t: -t * pi.log() + v[..., None]
                                    - _ahead(m, v)),
           "The sign of log π is turned: likely actions must be paid more, and log π is higher for "
           "them."),
)


def _scaled(mdp, policy, values, temperature):
    rows = policy.log() + values[..., None] - _ahead(mdp, values)
    return (temperature * rows).masked_fill(mdp.terminal[:, None], 0.0)


def _numpy(mdp, policy, values, temperature):
    v = values.numpy()
    ahead = mdp.discount * np.einsum("sat,nt->nsa", mdp.transition_matrix.numpy(), v)
    return np.where(mdp.terminal.numpy()[:, None], 0.0,
                    temperature * np.log(policy.numpy()) + v[..., None] - ahead)


def _loops(mdp, policy, values, temperature):
    dense = mdp.transition_matrix
    return [[[0.0 if mdp.terminal[s] else temperature * float(policy[s, a].log()) + float(v[s])
              - mdp.discount * float(dense[s, a] @ v) for a in range(mdp.n_actions)]
             for s in range(mdp.n_states)] for v in values]


VARIANTS = (
    Variant("v with the other sign: the same family", _ended(
        lambda m, pi, v, t: t * pi.log() - v[..., None] + _ahead(m, v))),
    Variant("v in units of the temperature: the same family", _scaled),
    Variant("numpy", _numpy),
    Variant("loops", _loops),
)


def show_family(answer):
    """Draw two members of the learner's family in the yard, and the one policy of both."""
    from tutorlib.viz import Panel, gridworld_panels

    grid = yard()
    mdp, plan = grid.mdp, soft_policy_iteration(grid.mdp, 1.0)
    generator = torch.Generator().manual_seed(1)
    values = (4 * normal(generator, 2, mdp.n_states)).masked_fill(mdp.terminal, 0.0)
    found = as_tensor(answer(mdp, plan.policy, values, 1.0)).double()
    again = [soft_policy_iteration(mdp.replace(reward=r), 1.0) for r in found]
    apart = max(float((p.policy - plan.policy)[~mdp.terminal].abs().max()) for p in again)
    return gridworld_panels(
        [Panel(grid, p.values, p.policy, f"member {i + 1}") for i, p in enumerate(again)],
        label="soft value",
        title=f"Two of your rewards, up to {float((found[0] - found[1]).abs().max()):.0f} apart: "
              f"one policy, to {apart:.0e}")


REWARD_FAMILY = Exercise(
    id="reward_ambiguity.reward_family",
    title="All rewards behind a soft policy",
    points=3, minutes=12, difficulty=3,
    reference=reward_family,
    oracle=evidence,
    hand=Case(
        args=(STREET, numbers([[0.75, 0.25], [0.5, 0.5]]),
              numbers([[0.0, 0.0], [2.0, 0.0], [-2.0, 0.0]]), 2.0),
        # 2 log 0.75 = -0.575364, 2 log 0.25 = -2.772589; with v(street) = 2: walk + 2 - 0,
        # wait + 2 - 0.5 * 2; with -2 the other way
        expected=Evidence(STREET, numbers([[0.75, 0.25], [0.5, 0.5]]), 2.0,
                          numbers([[0.0, 0.0], [2.0, 0.0], [-2.0, 0.0]]),
                          numbers([[[-0.5753641449035618, -2.772588722239781], [0.0, 0.0]],
                                   [[1.4246358550964382, -1.772588722239781], [0.0, 0.0]],
                                   [[-2.5753641449035618, -3.772588722239781], [0.0, 0.0]]])),
        note="discount 0.5, temperature 2; in the street, walk leads home (terminal) and has "
             "probability 0.75, wait stays; v(street) is 0, then 2, then -2"),
    cases=draw_cases,
    properties=(Property("a reward's own policy and values lead back to its policy",
                         explains_itself),),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Read unit 03 backwards. There Q gave the policy, π = exp((Q - V) / λ), and Q = r + γ "
        "E[V(s')]. Here π is given and V may be *any* function v: solve for r.",
        r"$$r(s,a) = \lambda \log \pi(a|s) + v(s) - \gamma \sum_{s'} P(s'|s,a)\, v(s')$$" "\n\n"
        "`values` is `[n, states]`; `mdp.transition_matrix` is `[states, actions, next_states]`; "
        "`torch.einsum('sat,nt->nsa', ...)` or `expected_next_values(mdp, values)` give "
        "`[n, states, actions]`. Terminal states pay 0.",
        "```python\n"
        "ahead = ...       # E[v(s')], [n, states, actions]\n"
        "reward = ...      # lambda log pi, [states, actions], plus values[..., None], minus ...\n"
        "return ...        # masked_fill with mdp.terminal[:, None]\n"
        "```",
    ),
    why=r"$\lambda \log \pi = Q - V$ for the soft-optimal policy of *any* reward, and $r = Q - "
        r"\gamma\, \mathbb{E}[V(s')]$. The policy fixes $Q - V$; $V$ itself is left free. So a "
        r"policy with $|S|$ states hides $|S|$ numbers: the family is $\lambda \log \pi$, shaped "
        r"by every potential.",
    figure=show_family,
    compare=same_family,
    time_limit=8.0,
    forbidden=("tutorlib.irl.reward_family",),
)
