"""Exercise 05.1: which rewards explain an observed policy."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutorlib.exercises.reward_ambiguity.pictures import show_share
from tutorlib.exercises.reward_ambiguity.worlds import (
    STREET,
    endless_mdp,
    normal,
    numbers,
    random_mdp,
    side_room,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor
from tutorlib.mdp import TabularMDP, policy_evaluation, q_values, value_iteration

SLACK = 1e-9  # a loss smaller than this is rounding


def explains(mdp: TabularMDP, policy: Float[Tensor, "states actions"],
             rewards: Float[Tensor, "n states actions"]) -> Bool[Tensor, " n"]:
    """Return for each reward whether no action is better than the policy's own, anywhere."""
    verdicts = []
    for reward in rewards:
        paid = mdp.replace(reward=reward)
        values = policy_evaluation(paid, policy)
        gain = (q_values(paid, values) - values[:, None]).masked_fill(mdp.terminal[:, None], 0.0)
        verdicts.append(bool((gain <= SLACK).all()))
    return torch.tensor(verdicts)


def by_trying_every_policy(mdp, policy, rewards):
    """Compare the policy's values with those of every deterministic policy, by linear solves."""
    dense, gamma = mdp.transition_matrix.numpy(), mdp.discount
    states, actions = mdp.reward.shape
    live = [s for s in range(states) if not mdp.terminal[s]]
    rivals = [np.eye(actions)[list(choice)]
              for choice in itertools.product(range(actions), repeat=len(live))]
    tables = np.stack([policy.numpy()[live], *rivals])  # [policies, live, actions]
    step = np.einsum("nsa,sat->nst", tables, dense[live][:, :, live])
    income = np.einsum("nsa,rsa->nsr", tables, rewards.numpy()[:, live])
    values = np.linalg.solve(np.eye(len(live)) - gamma * step, income)  # [policies, live, rewards]
    return torch.from_numpy((values <= values[:1] + 1e-7).all((0, 1)))


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw processes, an optimal policy of each, and rewards of which some explain it."""
    cases = []
    for states, actions, home in ((3, 2, 1), (4, 3, 0), (3, 4, None)):
        mdp = (endless_mdp(generator, states, actions, 0.7) if home is None
               else random_mdp(generator, states, actions, 0.7, home))
        policy = value_iteration(mdp).policy
        if home is not None:
            policy[home] = policy[home].flip(0)  # what is done at home does not matter
        cases.append(Case(args=(mdp, policy, _candidates(generator, mdp, policy))))
    mdp = side_room(generator)
    policy = value_iteration(mdp).policy
    return [*cases, Case(args=(mdp, policy, _candidates(generator, mdp, policy)),
                         note="no way leads from the start into the last state")]


def _candidates(generator: torch.Generator, mdp: TabularMDP, policy: Tensor) -> Tensor:
    """Return rewards: the true one, scaled, turned, shaped, none, the policy's own, and noise."""
    potential = (4 * normal(generator, mdp.n_states)).masked_fill(mdp.terminal, 0.0)
    shaped = mdp.reward + mdp.discount * mdp.transition_matrix @ potential - potential[:, None]
    others = mdp.reward + normal(generator, 4, *mdp.reward.shape)
    later = others[0].clone()
    later[policy > 0] += 5.0  # explains, whatever it was before
    lazy = mdp.reward - 3.0 * policy * (torch.arange(mdp.n_states) == _a_live(mdp))[:, None]
    table = torch.stack([mdp.reward, 3 * mdp.reward, -mdp.reward, 0 * mdp.reward, shaped, policy,
                         1 - policy, later, lazy, _barely(mdp, policy), *others])
    return table.masked_fill(mdp.terminal[:, None], 0.0)


def _barely(mdp: TabularMDP, policy: Tensor) -> Tensor:
    """Return the reward with one rival raised: taking it gains 0.0001."""
    s, reward = _a_live(mdp), mdp.reward.clone()
    values = policy_evaluation(mdp, policy)
    a = (int(policy[s].argmax()) + 1) % mdp.n_actions
    reward[s, a] += values[s] - q_values(mdp, values)[s, a] + 1e-4
    return reward


def _a_live(mdp: TabularMDP) -> int:
    """Return the last state that is not terminal: a start may never visit it."""
    return int((~mdp.terminal).nonzero()[-1, 0])


def nothing_explains_everything(answer, case: Case) -> str | None:
    """A reward of zero makes every policy optimal."""
    mdp, policy, rewards = case.args
    found = as_tensor(answer(mdp, policy, 0 * rewards[:2]))
    if found is not None and found.shape == (2,) and bool((found > 0).all()):
        return None
    return "with no reward at all every policy is worth 0, so none is better: it explains them all"


def scale_changes_nothing(answer, case: Case) -> str | None:
    """Ten times a reward explains what the reward explains."""
    mdp, policy, rewards = case.args
    once, tenfold = (as_tensor(answer(mdp, policy, factor * rewards[-4:])) for factor in (1, 10))
    if torch.equal(once > 0, tenfold > 0):
        return None
    return "ten times a reward gives another verdict than the reward itself"


def _verdict(rule):
    """Make a wrong answer from a rule for one reward: rule(paid, values, q) -> bool."""
    def answer(mdp, policy, rewards):
        verdicts = []
        for reward in rewards:
            paid = mdp.replace(reward=reward)
            values = policy_evaluation(paid, policy)
            verdicts.append(bool(rule(paid, policy, values, q_values(paid, values))))
        return verdicts  # a list is compared with lists and with tensors
    return answer


def _old_values(mdp, policy, rewards):
    """Judge every candidate with the values of the process's own reward."""
    values = policy_evaluation(mdp, policy)
    return [bool((_live(mdp, q_values(mdp.replace(reward=r), values) - values[:, None])
                  <= SLACK).all()) for r in rewards]


def _from_the_start(mdp, policy, rewards):
    """Compare values in the start alone."""
    rows = [mdp.replace(reward=r) for r in rewards]
    return [bool((value_iteration(m, tolerance=1e-12).values - policy_evaluation(m, policy))
                 @ mdp.initial_state_dist < 1e-8) for m in rows]


def _live(mdp, table):
    """Keep the rows outside terminal states."""
    return table[~mdp.terminal]


MUTANTS = (
    Mutant("reward_now", _verdict(lambda m, pi, v, q: (
               _live(m, (pi * m.reward).sum(-1)) >= _live(m, m.reward.amax(-1)) - SLACK).all()),
           "You ask whether the policy's action has the highest reward *now*. A policy looks "
           "further: compare Q(s, a) = r + γ E[V(s')], with V the policy's own values."),
    Mutant("strict", _verdict(lambda m, pi, v, q: (
               (v[:, None] - q)[(pi == 0) & ~m.terminal[:, None]] > SLACK).all()),
           "You demand that the policy's action be better than all others. Optimal means that none "
           "is better: equals are allowed, and a reward of zero explains everything."),
    Mutant("first_argmax", _verdict(lambda m, pi, v, q: (
               _live(m, q).argmax(-1) == _live(m, pi).argmax(-1)).all()),
           "`argmax` names one best action, the first of equals. Where two are as good, or differ "
           "by rounding, the policy may take either: compare values, not indices."),
    Mutant("start_only", _verdict(lambda m, pi, v, q: (
               q[_first(m)] <= v[_first(m)] + SLACK).all()),
           "You look at the first state only. The policy is optimal if no action is better in "
           "*any* state that is not terminal."),
    Mutant("on_average", _verdict(lambda m, pi, v, q: (
               _live(m, q).mean(0) <= _live(m, v).mean() + SLACK).all()),
           "You average over states, so a good state pays for a bad one. Demand it of every state "
           "by itself."),
    Mutant("any_for_all", _verdict(lambda m, pi, v, q: (
               (_live(m, q).amax(-1) - _live(m, v)) <= SLACK).any()),
           "You accept a reward when one state is satisfied. All of them must be: `.all()`."),
    Mutant("own_reward", lambda mdp, policy, rewards: [True] * len(rewards),
           "Your verdict is yes for every candidate. Do you judge `mdp.reward` each time? Put the "
           "candidate in its place with `mdp.replace(reward=...)`. Do you compare the optimal "
           "values with themselves? Evaluate the policy you were *given*. Or do you ask for `any` "
           "instead of `all`? The policy's own action never gains, so `any` always finds one."),
    Mutant("old_values", _old_values,
           "V belongs to the process's own reward in every verdict. A candidate changes r *and* V: "
           "call `policy_evaluation(paid, policy)` inside the loop, for each `paid`."),
    Mutant("from_the_start", _from_the_start,
           "You compare values in the start only. A state that the start never leads to counts as "
           "well: the policy must be optimal in *every* state where the episode goes on."),
    Mutant("no_slack", _verdict(lambda m, pi, v, q: (_live(m, q - v[:, None]) <= 0).all()),
           "You allow no rounding. The policy's own action gains 0 on paper and perhaps 1e-16 in "
           "float64, so verdicts come out by chance: count a gain below 1e-9 as none."),
    Mutant("exactly_the_best", _verdict(lambda m, pi, v, q: torch.equal(
               _live(m, v), _live(m, q).amax(-1))),
           "You ask for *equal* floating-point numbers. V and the highest Q are the same on paper "
           "and differ by rounding: allow 1e-9."),
    Mutant("coarse", _verdict(lambda m, pi, v, q: (_live(m, q - v[:, None]) <= 1e-3).all()),
           "You overlook small gains: an action that is better by 0.0001 is better. Only what may "
           "be rounding, below 1e-9, counts as none."),
    Mutant("sign", _verdict(lambda m, pi, v, q: (
               _live(m, q) >= _live(m, v)[:, None] - SLACK).all()),
           "The comparison is turned round: this finds rewards for which the policy is the worst. "
           "No action's Q may be above V."),
    Mutant("home_counts", _verdict(lambda m, pi, v, q: (
               (pi * q).sum(-1) >= q.amax(-1) - SLACK).all() and bool(
                   (pi[m.terminal].argmax(-1) == 0).all())),
           "You hold it against the policy what it does at home. The episode is over there: leave "
           "terminal states out."),
)


def _first(mdp):
    """Return the first state in which an episode can go on."""
    return int((~mdp.terminal).nonzero()[0, 0])


def _by_planning(mdp, policy, rewards):
    verdicts = []
    for reward in rewards:
        paid = mdp.replace(reward=reward)
        lost = value_iteration(paid, tolerance=1e-12).values - policy_evaluation(paid, policy)
        verdicts.append(bool(lost.max() < 1e-8))
    return verdicts


def _numpy(mdp, policy, rewards):
    dense, pi, alive = mdp.transition_matrix.numpy(), policy.numpy(), ~mdp.terminal.numpy()
    step = mdp.discount * alive[:, None] * np.einsum("sa,sat->st", pi, dense)
    income = np.einsum("sa,nsa->ns", pi, rewards.numpy())
    values = np.linalg.solve(np.eye(len(pi)) - step, income.T).T
    q = rewards.numpy() + mdp.discount * np.einsum("sat,nt->nsa", dense, values)
    return (q[:, alive] <= values[:, alive, None] + 1e-9).all((1, 2))


VARIANTS = (
    Variant("plan and compare", _by_planning),
    Variant("numpy, all rewards at once", _numpy),
    Variant("loops", lambda mdp, policy, rewards: [bool(explains(mdp, policy, r[None])[0])
                                                   for r in rewards]),
)


def same_verdicts(got, want) -> str | None:
    """Compare yes and no, candidate by candidate; a list of them will do."""
    if got is None:
        return f"expected {len(want)} verdicts, got None: is a `return` missing?"
    found = as_tensor(got)
    if found is None or found.shape != want.shape or isinstance(got, str):
        shape = "no tensor" if found is None else f"shape {tuple(found.shape)}"
        return f"expected {len(want)} verdicts, true or false, got {shape}"
    if bool(((found != 0) & (found != 1)).any()):
        return f"verdicts are true or false, got {found.tolist()}"
    wrong = (found > 0) != want
    if not bool(wrong.any()):
        return None
    first = int(wrong.nonzero()[0])
    return (f"candidate {first}: expected {bool(want[first])}, got {bool(found[first] > 0)} "
            f"({int(wrong.sum())} of {len(want)} differ)")


EXPLAINS = Exercise(
    id="reward_ambiguity.explains",
    title="Which rewards explain a policy",
    points=2, minutes=10, difficulty=2,
    reference=explains,
    oracle=by_trying_every_policy,
    hand=Case(
        args=(STREET, numbers([[1.0, 0.0], [0.0, 1.0]]),
              numbers([[[4.0, 1.0], [0.0, 0.0]], [[-7.0, -5.0], [0.0, 0.0]],
                       [[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.6], [0.0, 0.0]]])),
        # walk is worth r(walk); wait once, then walk: r(wait) + 0.5 r(walk)
        # 4 > 1 + 2; -7 > -5 - 3.5; 0 = 0 + 0; 1 < 0.6 + 0.5
        expected=torch.tensor([True, True, True, False]),
        note="discount 0.5; in the street, walk leads home (terminal), wait stays; the policy "
             "walks. Rewards of (walk, wait): (4, 1), (-7, -5), (0, 0), (1, 0.6)"),
    cases=draw_cases,
    properties=(
        Property("no reward at all explains everything", nothing_explains_everything),
        Property("scale changes nothing", scale_changes_nothing),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Unit 01's test of optimality: a policy is optimal when no single deviation pays. "
        "Take each candidate as the process's reward, evaluate the *given* policy under it, and "
        "look one step ahead with those values.",
        "Inside the loop over `rewards`: `paid = mdp.replace(reward=reward)`, then V by "
        "`policy_evaluation(paid, policy)`, `[states]`, and Q by `q_values(paid, V)`, `[states, "
        "actions]`. `V[:, None]` can be subtracted from Q; `[~mdp.terminal]` drops the rows in "
        "which the episode is over; `.all()` asks all the rest at once.",
        "```python\n"
        "verdicts = []\n"
        "for reward in rewards:                     # [states, actions]\n"
        "    paid = mdp.replace(reward=reward)\n"
        "    values = ...                           # policy_evaluation\n"
        "    gain = ...                             # q_values minus values, [states, actions]\n"
        "    verdicts.append(...)                   # no gain in states that are not terminal\n"
        "return torch.tensor(verdicts)\n"
        "```",
    ),
    why=r"If no single deviation pays, no combination of deviations does: that is the policy "
        r"improvement theorem of unit 01, read backwards. For a reward of the state alone the "
        r"condition is Ng and Russell's $(P_{a_1} - P_a)(I - \gamma P_{a_1})^{-1} R \succeq 0$.",
    compare=same_verdicts,
    figure=show_share,
)
