"""Exercise 10.3: forward and reverse KL between two policies over whole answers."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.sft_is_imitation.shift import UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant

NEVER = -math.inf


def kl_directions(demo_logps: Float[Tensor, " answers"], policy_logps: Float[Tensor, " answers"]
                  ) -> tuple[Tensor, Tensor]:
    """Return KL(demonstrator || policy) and KL(policy || demonstrator), in nats."""
    def kl(p: Tensor, q: Tensor) -> Tensor:
        possible = p > NEVER  # what p never says costs nothing
        return (p[possible].exp() * (p[possible] - q[possible])).sum()

    return kl(demo_logps, policy_logps), kl(policy_logps, demo_logps)


def answer_by_answer(demo_logps, policy_logps) -> tuple[float, float]:
    """Add up from probabilities, as decimal numbers: these have room for exp(-3000)."""
    def kl(p, q) -> float:
        total = Decimal(0)
        for a, b in zip(p, q, strict=True):
            if a > 0 and b == 0:
                return math.inf
            total += a * (a / b).ln() if a > 0 else 0
        return float(total)

    rows = [[Decimal(x).exp() for x in logps.tolist()] for logps in (demo_logps, policy_logps)]
    return kl(*rows), kl(*reversed(rows))


def _logs(weights: Tensor) -> Tensor:
    return (weights.double() / weights.double().sum()).log()


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw pairs of policies over 5 to 9 answers; some answers are never given by one of them."""
    def weights(size: int, never: tuple[int, ...] = ()) -> Tensor:
        drawn = torch.rand(size, generator=generator, dtype=torch.float64) ** 2 + 0.02
        drawn[list(never)] = 0.0
        return _logs(drawn)

    def rare(logps: Tensor, *logs: float) -> Tensor:
        return torch.cat([logps, torch.tensor(logs, dtype=torch.float64)])

    return [
        Case(args=(weights(5), weights(5)), note="five answers, all of them possible"),
        Case(args=(weights(7, (1, 4)), weights(7)), note="seven; two the demonstrator never gives"),
        Case(args=(weights(6), weights(6, (2,))), note="six; one the policy never gives"),
        Case(args=(weights(9, (0, 3)), weights(9, (3,))), note="nine; one that nobody gives"),
        Case(args=(rare(weights(4), -30.0, -1200.0), rare(weights(4), -2000.0, -9.0)),
             note="six, some very rare: log-probabilities of -30 to -2000"),
        Case(args=(rare(weights(3), -40.0, -6.0), rare(weights(3), NEVER, -700.0)),
             note="five; one very rare, which the policy never gives"),
    ]


def _pair(answer, *args) -> tuple[float, float]:
    forward, reverse = answer(*args)
    return float(forward), float(reverse)


def never_below_zero(answer, case: Case) -> str | None:
    """Neither direction is negative or NaN."""
    pair = _pair(answer, *case.args)
    return None if all(x >= -1e-5 for x in pair) else (
        f"your two numbers are {pair[0]:.4g} and {pair[1]:.4g}; both are 0 or more")


def nothing_between_equals(answer, case: Case) -> str | None:
    """Two equal policies are 0 apart, both ways."""
    pair = _pair(answer, case.args[0], case.args[0].clone())
    return None if max(map(abs, pair)) < 1e-5 else f"a policy is {max(pair):.4g} from itself"


def exchanged_arguments(answer, case: Case) -> str | None:
    """With the policies exchanged, the two numbers are exchanged."""
    pair, other = _pair(answer, *case.args), _pair(answer, *case.args[::-1])
    same = all(a == b or abs(a - b) < 1e-5 * max(1.0, abs(a))
               for a, b in zip(pair, other[::-1], strict=True))
    return None if same else (f"exchanging the two policies turned {pair} into {other}; the two "
                              "numbers should change places")


def _sum(p, q, weight):
    return (weight * (p - q)).sum()


def _both(one):
    return lambda p, q: (one(p, q), one(q, p))


def _weights_of_the_other(p, q):
    return (q.exp() * (p - q)).sum()


def _where_both_speak(p, q):
    both = (p > NEVER) & (q > NEVER)
    return (p[both].exp() * (p[both] - q[both])).sum()


def _rare_left_out(threshold):
    def one(p, q):
        kept = p.exp() > threshold
        return (p[kept].exp() * (p[kept] - q[kept])).sum()
    return _both(one)


def _from_probabilities(p, q):
    a, b = p.exp(), q.exp()
    kept = a > 0
    return (a[kept] * (a[kept] / b[kept]).log()).sum()


def _floor(p, q):
    a, b = p.exp(), q.exp()
    return (a * ((a + 1e-8) / (b + 1e-8)).log()).sum()


def _clamped(p, q):
    a, b = p.exp().clamp(min=1e-12), q.exp().clamp(min=1e-12)
    return (a * (a / b).log()).sum()


def _cross_entropy(p, q):
    possible = p > NEVER
    return -(p[possible].exp() * q[possible]).sum()


def _jensen_shannon(p, q):
    m = torch.logaddexp(p, q) - math.log(2)
    one, two = kl_directions(p, m)[0], kl_directions(q, m)[0]
    return (one + two) / 2


def _average(p, q):
    forward, reverse = kl_directions(p, q)
    return (forward + reverse) / 2


def _bits(p, q):
    forward, reverse = kl_directions(p, q)
    return forward / math.log(2), reverse / math.log(2)


MUTANTS = (
    Mutant("exchanged", lambda p, q: kl_directions(p, q)[::-1],
           "The two are exchanged. *Forward* is KL(demonstrator || policy): its weights are the "
           "demonstrator's probabilities, because it is measured on demonstrations."),
    Mutant("sign", lambda p, q: tuple(-x for x in kl_directions(p, q)),
           "The sign is turned: log p - log q, weighted by p. A divergence is never negative."),
    Mutant("nan_where_never", _both(lambda p, q: _sum(p, q, p.exp())),
           "Where a policy gives an answer with probability 0, its logarithm is minus infinity, "
           "and 0 times infinity is NaN. Such an answer costs nothing: leave out the answers to "
           "which the *weights* give probability 0."),
    Mutant("only_where_both_speak", _both(_where_both_speak),
           "You leave out answers that the second policy never gives. These cost infinitely much: "
           "no likelihood is worse than that of something held impossible. Leave out only those "
           "to which the weights give 0."),
    Mutant("floor_under_the_probability", _both(_floor),
           "A small number under the logarithm makes the impossible merely dear: the divergence "
           "would be infinite here. Work with the log-probabilities you are given."),
    Mutant("clamped", _both(_clamped),
           "You clamp the probabilities. What one says and the other never does costs infinitely "
           "much, not 27 nats: work with the log-probabilities you are given."),
    Mutant("rare_left_out", _rare_left_out(1e-8),
           "You leave out answers that are merely rare. Leave out only those whose "
           "log-probability is minus infinity: a rare answer that the other one *never* gives "
           "still makes the divergence infinite."),
    Mutant("rarer_left_out", _rare_left_out(1e-3),
           "You leave out answers below one in a thousand. Leave out only those whose "
           "log-probability is minus infinity."),
    Mutant("from_probabilities", _both(_from_probabilities),
           "You divide probabilities: `exp` of -800 is 0 in floating point, so a rare answer "
           "looks like one that is never given. Whole texts are that rare: subtract "
           "log-probabilities."),
    Mutant("not_weighted", _both(lambda p, q: (p - q)[p > NEVER].sum()),
           "You add up the log-ratios of all answers alike. Each counts as often as it is given: "
           "weigh it with the first policy's probability."),
    Mutant("log_probability_as_weight", _both(lambda p, q: (p * (p - q))[p > NEVER].sum()),
           "The weights are log-probabilities. They must be probabilities: `exp()`."),
    Mutant("averaged", _both(lambda p, q: kl_directions(p, q)[0] / (p > NEVER).sum()),
           "You divide by the number of answers. The probabilities are the weights already: add "
           "up."),
    Mutant("weights_of_the_other", _both(_weights_of_the_other),
           "The weights are those of the second policy. In KL(p || q) it is p that speaks: its "
           "probabilities weigh log p - log q."),
    Mutant("cross_entropy", _both(_cross_entropy),
           "This is the cross-entropy, the loss itself: the entropy of the first policy is still "
           "in it. The divergence of a policy from itself must be 0: log p - log q."),
    Mutant("jensen_shannon", _both(_jensen_shannon),
           "This is the Jensen-Shannon divergence, the same both ways. Two different numbers are "
           "asked for, one for each direction."),
    Mutant("forward_twice", lambda p, q: (kl_directions(p, q)[0],) * 2,
           "You return the forward direction twice. For the reverse one the roles change."),
    Mutant("averaged_both_ways", lambda p, q: (_average(p, q),) * 2,
           "You return the mean of both directions twice. Keep them apart: they like different "
           "policies."),
    Mutant("absolute", _both(lambda p, q: (p.exp() * (p - q).abs())[p > NEVER].sum()),
           "You add up absolute log-ratios. Terms where p is below q are negative and stay so; "
           "the sum is 0 or more all the same."),
    Mutant("bits", _bits,
           "This is in bits. Logarithms in this course are natural: nats."),
)


def _numpy(p, q):
    def one(a, b):
        a, b = a.numpy(), b.numpy()
        kept = np.isfinite(a)
        return np.sum(np.exp(a[kept]) * (a[kept] - b[kept]))
    return one(p, q), one(q, p)


def _where(p, q):
    def one(a, b):
        return torch.where(a > NEVER, a.exp() * (a - b), torch.zeros_like(a)).sum()
    return one(p, q), one(q, p)


def _loops(p, q):
    def one(a, b):
        return sum(math.exp(x) * (x - y) for x, y in zip(a.tolist(), b.tolist(), strict=True)
                   if x > NEVER)
    return [one(p, q), one(q, p)]


KL_DIRECTIONS = Exercise(
    id=f"{UNIT}.kl_directions",
    title="Two directions of KL",
    points=2, minutes=9, difficulty=2,
    reference=kl_directions,
    oracle=answer_by_answer,
    hand=Case(
        args=(torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).log(),
              torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log()),
        # forward: 0.5 log 1 + 0.5 log 2; reverse: the policy says what the demonstrator never does
        expected=(0.5 * math.log(2), math.inf),
        note="three answers; the policy gives one that the demonstrator never gives"),
    cases=draw_cases,
    properties=(
        Property("never below zero", never_below_zero),
        Property("no distance between equals", nothing_between_equals),
        Property("exchanged policies exchange the numbers", exchanged_arguments),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("numpy", _numpy),
        Variant("torch.where", _where),
        Variant("loops, as a list", _loops),
    ),
    hints=(
        "Somebody speaks, and somebody else is asked how likely that was. Forward: the "
        "demonstrator speaks and the policy is asked. Reverse: the policy speaks. Weigh the "
        "log-ratio of each answer with the probability of the one who speaks.",
        r"$$\mathrm{KL}(p \,\|\, q) = \sum_{y:\, p(y) > 0} p(y) \big( \log p(y) - \log q(y) "
        r"\big)$$" "\n\n"
        "Inputs are log-probabilities, `[answers]`; $-\\infty$ means never. Leave out the answers "
        "with $p(y) = 0$: there $0 \\cdot \\infty$ would be NaN. An answer with $p > 0$ and "
        "$q = 0$ makes the sum infinite, and so it should.",
        "```python\n"
        "def kl(p, q):            # both log-probabilities\n"
        "    possible = ...       # what p ever says\n"
        "    return ...           # sum of probability times log-ratio\n"
        "\n"
        "return kl(...), kl(...)\n"
        "```",
    ),
    why="Forward KL is infinite for a policy that never says something the demonstrator says: it "
        "covers. Reverse KL is infinite for a policy that says something the demonstrator never "
        "says: it stays within what it is sure of. Fine-tuning minimises the forward one.",
    index_names=None,
    forbidden=("tutorlib.lm.TokenTree.kl",),
)
