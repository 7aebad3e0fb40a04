"""Wrong and right answers to exercise 09.3, which its grader knows."""

from __future__ import annotations

import math

import torch

from tutorlib.exercises.language_mdp.worlds import leaves_below, log_sum, numbers
from tutorlib.grading import Mutant, Variant


def _upwards(soft=None, act=None, lead=None, pay=None):
    """Make a backward pass in which one of its four lines is another.

    ``soft(ref, q, beta) -> V``, ``act(ref, q, V, beta, paid) -> log pi``,
    ``lead(q, ahead, going_on)`` adds the future in place, ``pay(paid, is_last) -> q``.
    """
    def solve(reference, reward, going_on, beta):
        values, policy, ahead = [], [], None
        for ref, paid in zip(reversed(reference), reversed(reward), strict=True):
            q = (pay or (lambda paid, last, going_on: paid.clone()))(paid, ahead is None, going_on)
            if ahead is not None:
                (lead or _lead)(q, ahead, going_on)
            new = (soft or _soft)(ref, q, beta)
            values.insert(0, new)
            policy.insert(0, (act or _act)(ref, q, new, beta, paid))
            ahead = new
        return values, policy
    return solve


def _soft(ref, q, beta):
    return beta * (ref + q / beta).logsumexp(-1)


def _act(ref, q, value, beta, paid):
    return ref + (q - value[:, None]) / beta


def _lead(q, ahead, going_on):
    q[:, going_on] += ahead.view(len(q), len(going_on))


def _lead_transposed(q, ahead, going_on):
    q[:, going_on] += ahead.view(len(going_on), len(q)).T


def _lead_first_columns(q, ahead, going_on):
    q[:, :len(going_on)] += ahead.view(len(q), len(going_on))


def _naive(ref, q, beta):
    return beta * (ref.exp() * (q / beta).exp()).sum(-1).log()


def _only_at_the_horizon(paid, last, going_on):
    return paid.clone() if last else torch.zeros_like(paid)


def _only_where_it_ends(paid, last, going_on):
    q = paid.clone()
    if not last:
        q[:, going_on] = 0.0
    return q


def _no_future(q, ahead, going_on):
    """Forget what a word leads to."""


def _reference_as_probabilities(reference, reward, going_on, beta):
    return _upwards(lambda ref, q, beta: beta * (ref * (q / beta).exp()).sum(-1).log(),
                    lambda ref, q, value, beta, paid: ref.log() + (q - value[:, None]) / beta)(
                        reference, reward, going_on, beta)


def _as_probabilities(reference, reward, going_on, beta):
    values, policy = _upwards()(reference, reward, going_on, beta)
    return values, [table.exp() for table in policy]


def _in_nats(reference, reward, going_on, beta):
    values, policy = _upwards()(reference, reward, going_on, beta)
    return [value / beta for value in values], policy


MUTANTS = (
    Mutant("hard_max", _upwards(lambda ref, q, beta: q.max(-1).values),
           "Your values take the best word. The price β of leaving the reference makes the best "
           "value a soft maximum: β log Σ π_ref exp(Q/β)."),
    Mutant("expectation", _upwards(lambda ref, q, beta: (ref.exp() * q).sum(-1)),
           "Your values average Q under the reference. That is what the *untuned* model earns; "
           "the optimum leans towards good words: β log Σ π_ref exp(Q/β)."),
    Mutant("no_reference", _upwards(
               lambda ref, q, beta: beta * (q / beta).logsumexp(-1),
               lambda ref, q, value, beta, paid: (q - value[:, None]) / beta),
           "The reference is missing: every word would count alike, also those that the model "
           "hardly ever says. Each exponential is weighted with π_ref(a|s)."),
    Mutant("policy_without_reference", _upwards(
               act=lambda ref, q, value, beta, paid: torch.log_softmax(q / beta, -1)),
           "Your values are right, but the policy forgets the reference: "
           "log π* = log π_ref + (Q − V)/β."),
    Mutant("advantage_for_policy", _upwards(
               act=lambda ref, q, value, beta, paid: (q - value[:, None]) / beta),
           "Your log-policy is (Q − V)/β alone. That is how far to move *from* the reference: add "
           "log π_ref."),
    Mutant("values_without_reference", _upwards(
               lambda ref, q, beta: beta * (q / beta).logsumexp(-1)),
           "Your policy knows the reference, your values do not: V weights each word with "
           "π_ref(a|s), so log π_ref stands inside the logsumexp too."),
    Mutant("policy_unchanged", _upwards(act=lambda ref, q, value, beta, paid: ref.clone()),
           "You return the reference as the policy. The best policy moves away from it, by "
           "(Q − V)/β."),
    Mutant("reference_as_probabilities", _reference_as_probabilities,
           "`reference` holds *log*-probabilities: add them to Q/β in the exponent, and take no "
           "logarithm of them."),
    Mutant("no_future", _upwards(lead=_no_future),
           "At every depth you look at the rewards of that depth alone. A word that goes on is "
           "worth the value V of the node it leads to: work from the last depth upwards."),
    Mutant("beta_upside_down", _upwards(
               lambda ref, q, beta: (ref + q * beta).logsumexp(-1) / beta,
               lambda ref, q, value, beta, paid: ref + (q - value[:, None]) * beta),
           "β stands on the wrong side: a large β is a short leash, so Q is *divided* by it."),
    Mutant("beta_left_out", _upwards(lambda ref, q, beta: (ref + q / beta).logsumexp(-1),
                                     lambda ref, q, value, beta, paid:
                                     ref + q / beta - value[:, None]),
           "Your V is log Σ π_ref exp(Q/β), in nats. It goes on as reward to the parent, so "
           "multiply it by β."),
    Mutant("beta_left_out_of_the_values", _upwards(
               lambda ref, q, beta: (ref + q / beta).logsumexp(-1)),
           "V lacks its factor β: V = β log Σ π_ref exp(Q/β). Then (Q − V)/β is what it should "
           "be, and your policy sums to 1."),
    Mutant("in_nats", _in_nats,
           "Your values are divided by β: they are log-partitions. V is in units of reward, "
           "β log Z."),
    Mutant("children_transposed", _upwards(lead=_lead_transposed),
           "The values of the next depth come in the wrong order: child j of node i is node "
           "i · B + j. Reshape to `[nodes, B]`, do not transpose."),
    Mutant("end_taken_for_last", _upwards(lead=_lead_first_columns),
           "You add the future to the first columns. Which words go on is in `going_on`; the end "
           "may stand anywhere among the words."),
    Mutant("early_ends_unpaid", _upwards(pay=_only_at_the_horizon),
           "Only answers of full length are paid. A word that ends an answer earlier has its "
           "reward too: add `reward[depth]` at every depth."),
    Mutant("paid_on_the_way_forgotten", _upwards(pay=_only_where_it_ends),
           "Rewards of words that go on are dropped. They may be 0 (paid at the end) or not (paid "
           "per token): Q is reward plus future in both cases."),
    Mutant("paid_twice", _upwards(pay=lambda paid, last, going_on: 2 * paid if last
                                  else paid.clone()),
           "At the last depth the reward counts twice: once as reward, once as the value of "
           "where it leads. After the last token there is nothing: V = 0."),
    Mutant("short_sighted", _upwards(
               act=lambda ref, q, value, beta, paid: torch.log_softmax(ref + paid / beta, -1)),
           "Your policy looks at the reward of the next word only. Most words pay nothing "
           "themselves; what counts is Q, with the value of where they lead."),
    Mutant("not_normalised", _upwards(act=lambda ref, q, value, beta, paid: ref + q / beta),
           "Your log-probabilities do not sum to 1: subtract V/β, which is the logarithm of the "
           "sum."),
    Mutant("as_probabilities", _as_probabilities,
           "You return probabilities; log-probabilities were asked for. Along an answer they "
           "add up."),
    Mutant("naive_exponential", _upwards(_naive, lambda ref, q, value, beta, paid:
                                         ref + (q - value[:, None]) / beta),
           "The formula is right, but at a small β `exp(Q/β)` is infinite or 0. "
           "`torch.logsumexp(log π_ref + Q/β, -1)` takes the largest out first."),
)


def _recursive(reference, reward, going_on, beta):
    """One node at a time, from the root down."""
    values = [torch.zeros(len(table), dtype=torch.float64) for table in reference]
    policy = [torch.zeros_like(table) for table in reference]

    def visit(depth, node):
        exponents = []
        for word in range(reference[depth].shape[1]):
            q = float(reward[depth][node, word])
            if depth + 1 < len(reference) and word in going_on:
                q += visit(depth + 1, node * len(going_on) + going_on.index(word))
            exponents.append(float(reference[depth][node, word]) + q / beta)
        top = max(exponents)
        total = top + math.log(sum(math.exp(x - top) for x in exponents))
        values[depth][node] = beta * total
        policy[depth][node] = numbers(exponents) - total
        return beta * total

    visit(0, 0)
    return values, policy


def _softmaxes(reference, reward, going_on, beta):
    """Values from the leaves below, policies as log-softmaxes; tuples in place of lists."""
    values = []
    for depth, table in enumerate(reference):
        values.append(numbers([beta * log_sum([
            chance + paid / beta for _, chance, paid
            in leaves_below(reference, reward, going_on, depth, node)])
            for node in range(len(table))]))
    policy = []
    for depth, (ref, paid) in enumerate(zip(reference, reward, strict=True)):
        q = paid.clone()
        if depth + 1 < len(reference):
            q[:, going_on] += values[depth + 1].reshape(len(q), -1)
        policy.append(torch.log_softmax(ref + q / beta, -1))
    return tuple(values), tuple(policy)


def _numpy(reference, reward, going_on, beta):
    import numpy as np

    values, policy, ahead = [], [], None
    for ref, paid in zip(reversed(reference), reversed(reward), strict=True):
        q = paid.numpy().copy()
        if ahead is not None:
            q[:, going_on] += ahead.reshape(len(q), -1)
        exponent = ref.numpy() + q / beta
        log_z = np.logaddexp.reduce(exponent, axis=1)
        ahead = beta * log_z
        values.insert(0, ahead)
        policy.insert(0, exponent - log_z[:, None])
    return values, policy


def _float32(reference, reward, going_on, beta):
    """Work in torch's default precision."""
    return _upwards()([t.float() for t in reference], [t.float() for t in reward], going_on, beta)


VARIANTS = (
    Variant("recursive", _recursive),
    Variant("float32", _float32),
    Variant("all answers below, and softmaxes", _softmaxes),
    Variant("numpy", _numpy),
)
