"""Exercise 07.2: the best discriminator between two occupancy measures."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.adversarial_irl.worlds import UNIT, numbers, uniform
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def optimal_discriminator(demo: Float[Tensor, "states actions"],
                          policy: Float[Tensor, "states actions"]
                          ) -> Float[Tensor, "states actions"]:
    """Return D* = demo / (demo + policy), and 1/2 where neither goes."""
    total = demo + policy
    return torch.where(total > 0, demo / torch.where(total > 0, total, 1.0), 0.5)


def by_search(demo, policy) -> Tensor:
    """Maximise demo log d + policy log(1 - d) over d, entry by entry, by bisection of its slope."""
    return numbers([[_best(e, p) for e, p in zip(rows, columns, strict=True)]
                    for rows, columns in zip(demo.tolist(), policy.tolist(), strict=True)])


def _best(demo: float, policy: float) -> float:
    """Return the d in [0, 1] where the slope demo / d - policy / (1 - d) changes its sign."""
    if demo == 0 and policy == 0:
        return 0.5  # nothing to go by
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        rising = demo * (1 - middle) > policy * middle
        low, high = (middle, high) if rising else (low, middle)
    return (low + high) / 2


def occupancy(generator: torch.Generator, states: int, actions: int) -> Tensor:
    """Draw an occupancy: visits that sum to 1, with states of very different weight."""
    weights = uniform(generator, -2, 2, states, 1).exp() * uniform(
        generator, -1.5, 1.5, states, actions).exp()
    return weights / weights.sum()


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw pairs of occupancies; some pairs have zeros on one side, one on both."""
    cases = [Case(args=(occupancy(generator, s, a), occupancy(generator, s, a)))
             for s, a in ((4, 2), (3, 5))]
    one_sided = [occupancy(generator, 3, 2) for _ in range(2)]
    one_sided[0][0, 1] = 0.0
    one_sided[1][2, 0] = 0.0
    cases.append(Case(args=tuple(x / x.sum() for x in one_sided),
                      note="one pair only the policy visits, one only the demonstrator"))
    never = [occupancy(generator, 3, 3) for _ in range(2)]
    for table in never:
        table[1, 2] = 0.0
    cases.append(Case(args=tuple(x / x.sum() for x in never),
                      note="a state-action pair that neither of them visits"))
    return cases


def sides_exchanged(answer, case: Case) -> str | None:
    """Exchanging demonstrator and policy turns D into 1 - D."""
    demo, policy = case.args
    total = as_tensor(answer(demo, policy)) + as_tensor(answer(policy, demo))
    worst = float((total - 1).abs().max())
    return None if worst < 1e-4 else ("with the two occupancies exchanged D must become 1 − D; "
                                      f"their sum is off by {worst:.3g}")


def equal_means_half(answer, case: Case) -> str | None:
    """Where the two agree, the discriminator can only toss a coin."""
    found = as_tensor(answer(case.args[0], case.args[0].clone()))
    worst = float((found - 0.5).abs().max())
    return None if worst < 1e-5 else (f"for equal occupancies D must be 1/2 everywhere; here it "
                                      f"is off by {worst:.3g}")


def _conditional(demo, policy):
    pi_demo = demo / demo.sum(-1, keepdim=True)
    pi = policy / policy.sum(-1, keepdim=True)
    return optimal_discriminator(pi_demo, pi)


def _states_only(demo, policy):
    d_demo, d_pi = (x.sum(-1, keepdim=True).expand_as(x) for x in (demo, policy))
    return optimal_discriminator(d_demo, d_pi)


MUTANTS = (
    Mutant("labels_swapped", lambda e, p: optimal_discriminator(p, e),
           "The labels are swapped: this is the probability of coming from the *policy*. Here "
           "label 1 is the demonstrator. (Some papers do it the other way; then every reward "
           "changes its sign.)"),
    Mutant("ratio", lambda e, p: e / p,
           "This is the density ratio u. The discriminator is a probability: u / (1 + u)."),
    Mutant("log_ratio", lambda e, p: (e / p).log(),
           "This is log u, the discriminator's logit. Put it through a sigmoid."),
    Mutant("conditional", _conditional,
           "You compare action probabilities within each state. The occupancies also say how "
           "often a state is visited, and that is evidence too: do not normalise."),
    Mutant("states_only", _states_only,
           "You compare visits of states. Here D looks at pairs (s, a): leave the actions in."),
    Mutant("difference", lambda e, p: torch.sigmoid(e - p),
           "A sigmoid of the difference of visits. The best logit is the difference of their "
           "*logarithms*."),
    Mutant("half_mixture", lambda e, p: torch.where(e + p > 0, e / ((e + p) / 2), 1.0),
           "The denominator is the mean of the two. That is a ratio to the mixture, twice the "
           "probability: D would be 1 where they agree."),
    Mutant("not_a_number", lambda e, p: e / (e + p),
           "Right, but 0 / 0 is not a number (NaN). Where neither goes there is no evidence "
           "either way: return 1/2."),
    Mutant("zero_for_no_evidence", lambda e, p: e / (e + p + 1e-12),
           "A small number in the denominator makes D = 0 where neither goes: \"surely the "
           "policy\". Without evidence the honest answer is 1/2."),
    Mutant("mask_by_demo", lambda e, p: torch.where(
               e > 0, e / (e + p), torch.full_like(e, 0.5)),
           "You return 1/2 wherever the demonstrator never goes. Where the *policy* goes and the "
           "demonstrator does not, the answer is sure: D = 0."),
)


def _sigmoid(demo, policy):
    both_zero = (demo == 0) & (policy == 0)
    logit = torch.where(both_zero, 0.0, demo.log() - policy.log())
    return torch.sigmoid(logit)


def _numpy(demo, policy):
    e, p = demo.numpy(), policy.numpy()
    return np.divide(e, e + p, out=np.full(e.shape, 0.5), where=e + p > 0)


def _loops(demo, policy):
    return [[0.5 if e + p == 0 else e / (e + p) for e, p in zip(rows, columns, strict=True)]
            for rows, columns in zip(demo.tolist(), policy.tolist(), strict=True)]


VARIANTS = (Variant("sigmoid of the log ratio", _sigmoid), Variant("numpy", _numpy),
            Variant("loops", _loops),
            Variant("nan_to_num", lambda e, p: (e / (e + p)).nan_to_num(0.5)))


def name_pair(case: Case, index: tuple[int, ...]) -> str | None:
    """Name a state-action pair, and what the two do there."""
    if len(index) != 2:
        return None
    demo, policy = (float(x[index]) for x in case.args[:2])
    return f"state {index[0]}, action {index[1]}: demo {demo:.3g}, policy {policy:.3g}"


def show_discriminator(answer):
    """Draw the learner's D on the beam, for two who balance it differently."""
    from tutorlib.exercises.adversarial_irl.worlds import balancer, beam
    from tutorlib.irl.tabular_game import normalised_occupancy
    from tutorlib.mdp import uniform_policy
    from tutorlib.viz import matrix

    mdp = beam()
    demo, random = (normalised_occupancy(mdp, p) for p in (balancer(mdp), uniform_policy(mdp)))
    found = as_tensor(answer(demo, random))[1:-1]
    top = found.max()
    where = [int(i) for i in (found == top).nonzero()[0]]
    names = mdp.state_names[1:-1]
    return matrix(found, rows=names, columns=mdp.action_names, label="D, probability of demo",
                  title=f"A balancer against a random pusher: D is surest of the balancer "
                        f"({float(top):.2f}) at {names[where[0]]}, {mdp.action_names[where[1]]}")


OPTIMAL_DISCRIMINATOR = Exercise(
    id=f"{UNIT}.optimal_discriminator",
    title="The best discriminator",
    points=1, minutes=6, difficulty=2,
    reference=optimal_discriminator,
    oracle=by_search,
    hand=Case(
        args=(numbers([[0.45, 0.05], [0.3, 0.2]]), numbers([[0.15, 0.15], [0.3, 0.4]])),
        # 0.45 / 0.6, 0.05 / 0.2, 0.3 / 0.6, 0.2 / 0.6
        expected=numbers([[0.75, 0.25], [0.5, 1 / 3]]),
        note="two states, two actions; each table sums to 1"),
    cases=draw_cases,
    properties=(Property("exchanging the sides", sides_exchanged),
                Property("a coin where they agree", equal_means_half)),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Take one pair (s, a). Of all the visits to it, from both sides, which share is the "
        "demonstrator's? And what would you answer about a pair nobody ever visited?",
        r"$$D^*(s,a) = \frac{\rho_\text{demo}(s,a)}{\rho_\text{demo}(s,a) + \rho_\pi(s,a)}$$"
        "\n\nBoth tables are `[states, actions]`, so is the answer; where both are 0 it is 1/2. "
        "`torch.where(condition, a, b)` picks entry by entry.",
        "```python\n"
        "total = demo + policy\n"
        "return torch.where(total > 0, ..., 0.5)\n"
        "```",
    ),
    why="Each entry maximises demo log D + policy log(1 − D) on its own: the slope demo / D − "
        "policy / (1 − D) is 0 at the share. Its logit is log demo − log policy, the log density "
        "ratio that every reward of this unit is made of.",
    index_names=name_pair,
    figure=show_discriminator,
    forbidden=("tutorlib.irl.divergences.optimal_discriminator",),
)
