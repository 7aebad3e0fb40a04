"""Wrong and right answers to exercise 04.3, which its grader knows."""

from __future__ import annotations

import numpy as np
import torch

from tutorlib.grading import Mutant, Variant


def _loop(mix=None, label=None, join=None, data=None, give=None, first=None):
    """Make a DAgger loop from parts; those left out are right.

    ``first(teacher, uniform)`` begins, ``mix(beta, teacher, learner)`` drives, ``label(expert,
    visited, learner)`` labels, ``join(old, new)`` aggregates, ``data(states, actions, n_new)``
    picks what to fit, and ``give(learners)`` picks what to return.
    """
    mix = mix or (lambda beta, teacher, learner: beta * teacher + (1 - beta) * learner)
    label = label or (lambda expert, visited, learner: expert[visited])
    join = join or (lambda old, new: torch.cat([old, new]))
    data = data or (lambda states, actions, n_new: (states, actions))
    give = give or (lambda learners: learners[-1])

    def answer(drive, expert, fit, betas):
        teacher = torch.nn.functional.one_hot(expert, fit.n_actions).double()
        uniform = torch.full_like(teacher, 1 / fit.n_actions)
        learners = [first(teacher, uniform) if first else uniform]
        states = actions = torch.zeros(0, dtype=torch.long)
        for round_, beta in enumerate(betas):
            visited = drive(mix(beta, teacher, learners[-1]), round_)
            labels = label(expert, visited, learners[-1])
            states, actions = join(states, visited), join(actions, labels)
            learners.append(fit(*data(states, actions, len(visited))))
        return give(learners), states, actions
    return answer


def _fit_once_at_the_end(drive, expert, fit, betas):
    teacher = torch.nn.functional.one_hot(expert, fit.n_actions).double()
    learner = torch.full_like(teacher, 1 / fit.n_actions)
    visited = [drive(b * teacher + (1 - b) * learner, i) for i, b in enumerate(betas)]
    states = torch.cat(visited)
    return fit(states, expert[states]), states, expert[states]


def _one_round_short(drive, expert, fit, betas):
    return _loop()(drive, expert, fit, betas[:-1])


def _always_round_0(drive, expert, fit, betas):
    return _loop()(lambda policy, _: drive(policy, 0), expert, fit, betas)


def _mixture_labels(drive, expert, fit, betas):
    teacher = torch.nn.functional.one_hot(expert, fit.n_actions).double()
    learner = torch.full_like(teacher, 1 / fit.n_actions)
    states = actions = torch.zeros(0, dtype=torch.long)
    for round_, beta in enumerate(betas):
        mixture = beta * teacher + (1 - beta) * learner
        visited = drive(mixture, round_)
        states = torch.cat([states, visited])
        actions = torch.cat([actions, mixture[visited].argmax(-1)])
        learner = fit(states, actions)
    return learner, states, actions


def _returns_the_mixture(drive, expert, fit, betas):
    _, states, actions = _loop()(drive, expert, fit, betas)
    before = _loop(give=lambda learners: learners[-2])(drive, expert, fit, betas)[0]
    teacher = torch.nn.functional.one_hot(expert, fit.n_actions).double()
    return betas[-1] * teacher + (1 - betas[-1]) * before, states, actions


def _swapped(drive, expert, fit, betas):
    learner, states, actions = _loop()(drive, expert, fit, betas)
    return learner, actions, states


def _rounds_from_one(drive, expert, fit, betas):
    return _loop()(lambda policy, round_: drive(policy, round_ + 1), expert, fit, betas)


def _only_where_they_differ(drive, expert, fit, betas):
    teacher = torch.nn.functional.one_hot(expert, fit.n_actions).double()
    learner = torch.full_like(teacher, 1 / fit.n_actions)
    states = actions = torch.zeros(0, dtype=torch.long)
    for round_, beta in enumerate(betas):
        visited = drive(beta * teacher + (1 - beta) * learner, round_)
        visited = visited[learner[visited].argmax(-1) != expert[visited]]
        states, actions = torch.cat([states, visited]), torch.cat([actions, expert[visited]])
        learner = fit(states, actions)
    return learner, states, actions


def _without_repeats(drive, expert, fit, betas):
    def first_visits(states, actions, n_new):
        kept = sorted({s: i for i, s in reversed(list(enumerate(states.tolist())))}.values())
        return states[kept], actions[kept]
    return _loop(data=first_visits)(drive, expert, fit, betas)


MUTANTS = (
    Mutant("mixture_labels", _mixture_labels,
           "You label with the mixture's likeliest action, and where the learner drives that is "
           "its own guess. Who drives does not matter for the labels: ask the expert each time."),
    Mutant("starts_as_the_expert", _loop(first=lambda teacher, uniform: teacher),
           "In your first round the expert drives alone, whatever `betas[0]` says. Mix there too: "
           "the learner knows nothing yet and begins uniform."),
    Mutant("returns_the_mixture", _returns_the_mixture,
           "You return the mixture that drove. Asked for is the learner, cloned after the last "
           "round."),
    Mutant("states_and_actions_swapped", _swapped,
           "States and actions come back in the wrong order: (policy, states, actions)."),
    Mutant("rounds_from_one", _rounds_from_one,
           "Your rounds are counted from 1. The first is round 0: `for i, beta in "
           "enumerate(betas)`."),
    Mutant("only_where_they_differ", _only_where_they_differ,
           "You keep only the states where learner and expert differ. The others are data too: "
           "without them what is right already is forgotten."),
    Mutant("newest_round_only", _loop(data=lambda s, a, n: (s[-n:], a[-n:])),
           "You clone from the newest round alone. What earlier rounds taught is forgotten, and "
           "the guarantee with it: fit to *all* pairs so far."),
    Mutant("data_replaced", _loop(join=lambda old, new: new),
           "The new pairs replace the old ones. The A in DAgger is for aggregation: put the new "
           "ones behind the old."),
    Mutant("own_labels", _loop(label=lambda expert, visited, learner: learner[visited].argmax(-1)),
           "You label the states with the learner's own action. It would only confirm itself: ask "
           "the expert."),
    Mutant("expert_drives", _loop(mix=lambda b, teacher, learner: teacher),
           "The expert drives in every round. That is behaviour cloning with more data: the "
           "learner's own mistakes never show up."),
    Mutant("learner_drives", _loop(mix=lambda b, teacher, learner: learner),
           "`betas` is not used: the learner drives in every round, also the first, when it knows "
           "nothing."),
    Mutant("beta_reversed", _loop(mix=lambda b, teacher, learner: (1 - b) * teacher + b * learner),
           "The mixture is the wrong way round: beta is the *expert's* share."),
    Mutant("either_or", _loop(mix=lambda b, teacher, learner: teacher if b >= 0.5 else learner),
           "You switch between the two policies instead of mixing them. Drive the table beta * "
           "expert + (1 - beta) * learner."),
    Mutant("fit_once_at_the_end", _fit_once_at_the_end,
           "The learner is trained only after the last round, so all rounds are driven by a "
           "uniform learner. Clone anew in every round."),
    Mutant("one_round_short", _one_round_short,
           "One round is missing at the end: each entry of `betas` is a round of driving, asking "
           "and cloning."),
    Mutant("learner_before_the_last", _loop(give=lambda learners: learners[-2]),
           "You return the learner that *drove* the last round. The pairs of that round have "
           "been paid for: clone from them too, then return."),
    Mutant("average_of_the_learners", _loop(give=lambda learners: torch.stack(
               learners[1:]).mean(0)),
           "You average the learners of all rounds. Asked for is the last one, which has seen all "
           "the data."),
    Mutant("new_pairs_in_front", _loop(join=lambda old, new: torch.cat([new, old])),
           "The new pairs stand before the old ones. Put them behind: round after round."),
    Mutant("without_repeats", _without_repeats,
           "You keep each state once. How often a state is visited is its weight: fit to all "
           "pairs."),
    Mutant("always_round_0", _always_round_0,
           "You drive with the same round number each time, so chance repeats itself: "
           "`drive(policy, round_)`."),
)


def _lists(drive, expert, fit, betas):
    answers, states = expert.tolist(), []
    learner = [[1 / fit.n_actions] * fit.n_actions for _ in answers]
    for round_, beta in enumerate(betas):
        mixed = [[beta * (a == answers[s]) + (1 - beta) * float(p) for a, p in enumerate(row)]
                 for s, row in enumerate(learner)]
        states += drive(mixed, round_).tolist()
        learner = fit(states, [answers[s] for s in states]).tolist()
    return learner, states, [answers[s] for s in states]


def _numpy(drive, expert, fit, betas):
    answers = expert.numpy()
    teacher = np.eye(fit.n_actions)[answers]
    learner = np.full(teacher.shape, 1 / fit.n_actions)
    states = np.zeros(0, dtype=int)
    for round_, beta in enumerate(betas):
        states = np.concatenate([states, drive(beta * teacher + (1 - beta) * learner, round_)])
        learner = fit(states, answers[states]).numpy()
    return learner, states, answers[states]


def _pairs_kept_apart(drive, expert, fit, betas):
    rounds = []
    teacher = torch.zeros(fit.n_states, fit.n_actions, dtype=torch.float64)
    teacher[torch.arange(fit.n_states), expert] = 1.0
    learner = torch.ones_like(teacher) / fit.n_actions
    for beta in betas:
        visited = drive(torch.lerp(learner, teacher, beta), len(rounds))
        rounds.append((visited, expert[visited]))
        states, actions = (torch.cat(column) for column in zip(*rounds, strict=True))
        learner = fit(states, actions)
    return learner, states, actions


VARIANTS = (
    Variant("loops over lists", _lists),
    Variant("numpy", _numpy),
    Variant("rounds kept apart", _pairs_kept_apart),
)
