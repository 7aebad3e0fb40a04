"""Exercise 09.3: soft values and the optimal policy of a whole token tree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tutorlib.exercises.language_mdp.values_answers import MUTANTS, VARIANTS
from tutorlib.exercises.language_mdp.worlds import (
    WORDS,
    draw_tree,
    leaves_below,
    log_sum,
    numbers,
    smallest_tree,
)
from tutorlib.grading import Case, Exercise, Property
from tutorlib.grading.compare import as_tensor


def exact_soft_values(reference: Sequence[Tensor], reward: Sequence[Tensor], going_on: list[int],
                      beta: float):
    """Return (values [nodes], log pi* [nodes, words]), each one tensor per depth."""
    values, policy, ahead = [], [], None
    for logps, paid in zip(reversed(reference), reversed(reward), strict=True):
        q = paid.clone()
        if ahead is not None:
            q[:, going_on] += ahead.view(len(q), len(going_on))
        exponent = logps + q / beta
        ahead = beta * exponent.logsumexp(-1)
        values.insert(0, ahead)
        policy.insert(0, exponent - (ahead / beta)[:, None])
    return values, policy


def by_listing(reference, reward, going_on, beta):
    """List all answers below every node; V is beta log of their weights, pi* their shares."""
    values, policy = [], []
    for depth, table in enumerate(reference):
        here, shares = [], []
        for node in range(len(table)):
            found = [(word, chance + paid / beta) for word, chance, paid
                     in leaves_below(reference, reward, going_on, depth, node)]
            total = log_sum([weight for _, weight in found])
            here.append(beta * total)
            shares.append([log_sum([w for first, w in found if first == word]) - total
                           for word in range(table.shape[1])])
        values.append(numbers(here))
        policy.append(numbers(shares))
    return values, policy


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw trees: the end at any place among the words, rewards at the end or on the way, cold."""
    def case(words, going_on, horizon, beta, note, every_token=False):
        tables = draw_tree(generator, words, going_on, horizon, every_token)
        if beta < 0.01:
            tables[1][-1][0, 0] = 2.0  # e^2000 is no number
        return Case(args=(*tables, going_on, beta), note=note)

    return [
        case(3, [0, 1], 3, 0.7, "three words, the last one ends; paid at the end"),
        case(4, [0, 2, 3], 4, 1.6, "four words, word 1 ends; paid at the end"),
        case(3, [1, 2], 3, 0.4, "word 0 ends; every token is paid", every_token=True),
        case(3, [0, 1, 2], 2, 0.8, "no word ends an answer"),
        case(3, [0, 2], 3, 0.001, "a β of 0.001"),
    ]


def nodes_are_distributions(answer, case: Case) -> str | None:
    """Require log-probabilities that sum to 1 at every node."""
    for depth, table in enumerate(answer(*case.args)[1]):
        sums = as_tensor(table).exp().sum(-1)
        wrong = ~((sums - 1).abs() < 1e-3)
        if bool(wrong.any()):
            node = int(wrong.nonzero()[0])
            return (f"at depth {depth}, node {node}, the exponentials of your log-probabilities "
                    f"sum to {float(sums[node]):.6g}")
    return None


def nothing_to_gain_nothing_to_change(answer, case: Case) -> str | None:
    """Without reward the reference is best, and costs nothing."""
    reference, reward, going_on, beta = case.args
    values, policy = answer(reference, tuple(torch.zeros_like(t) for t in reward), going_on, beta)
    worth = max(float(as_tensor(v).abs().max()) for v in values)
    moved = max(float((as_tensor(p) - q).abs().max())
                for p, q in zip(policy, reference, strict=True))
    return None if worth < 1e-4 and moved < 1e-4 else (
        f"when nothing is paid, all values are 0 and π* is the reference; a value is {worth:.4g}, "
        f"a log-probability {moved:.4g} off")


def the_root_is_worth_its_best_policy(answer, case: Case) -> str | None:
    """V at the root is what the returned policy earns, its penalty included."""
    reference, reward, going_on, beta = case.args
    values, policy = answer(*case.args)
    policy = [as_tensor(table).double() for table in policy]
    earned = 0.0
    pairs = zip(leaves_below(policy, reward, going_on, 0, 0),
                leaves_below(reference, reward, going_on, 0, 0), strict=True)
    for (_, own, paid), (_, habit, _) in pairs:
        earned += math.exp(own) * (paid - beta * (own - habit))
    root = float(as_tensor(values[0])[0])
    return None if math.isclose(earned, root, rel_tol=1e-3, abs_tol=1e-3) else (
        f"your policy earns {earned:.6g} in J = E[r] − β KL, and your V(root) says {root:.6g}")


def show_the_smallest_tree(answer):
    """Draw the tree that was done by hand, with the learner's numbers on it."""
    from tutorlib.viz import Picture, new_figure, style

    reference, reward = smallest_tree()
    values, policy = ([as_tensor(t).double() for t in part]
                      for part in answer(reference, reward, [0], 1.0))
    places = {"(start)": (0, 0), "<eos>": (1, -0.6), "blue": (1, 0.6), "blue blue": (2, 1.1),
              "blue <eos>": (2, 0.1)}
    edges = [("(start)", "blue", 0, 0, 0), ("(start)", "<eos>", 0, 0, 1),
             ("blue", "blue blue", 1, 0, 0), ("blue", "blue <eos>", 1, 0, 1)]
    root, inner = float(values[0][0]), float(values[1][0])
    text = {"(start)": f"start\nV = {root:.3f}", "blue": f"blue\nV = {inner:.3f}",
            "<eos>": "<eos>\nr = 0", "blue blue": "blue blue\nr = 0",
            "blue <eos>": "blue <eos>\nr = 1"}
    said, title = [], (f"One paid answer lifts 'blue' from {math.exp(reference[0][0, 0]):.2f} to "
                       f"{math.exp(policy[0][0, 0]):.3f} at the start, before anything is paid")
    with style():
        fig, ax = new_figure(title=title, width=8.4, height=3.9)
        for start, end, depth, node, word in edges:
            (x, y), (u, v) = places[start], places[end]
            before, after = (math.exp(t[depth][node, word]) for t in (reference, policy))
            ax.plot([x, u], [y, v], color="#0b64a8", linewidth=1 + 6 * after, linestyle="-",
                    marker="", zorder=1)
            ax.text((x + u) / 2, (y + v) / 2 + 0.14, f"{before:.2f} → {after:.3f}", ha="center",
                    fontsize=11, zorder=3)
            said.append(f"{WORDS[word]} after {start}: {before:.2f} to {after:.3f}")
        for name, (x, y) in places.items():
            ax.text(x, y, text[name], ha="center", va="center", fontsize=12, zorder=2,
                    bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "#5a5a5a"})
        ax.set(xlim=(-0.3, 2.4), ylim=(-1.0, 1.5))
        ax.axis("off")
    return Picture(fig, alt=f"{title}. Tree with the probabilities of the reference and of your "
                            f"π*: {'; '.join(said)}. V(start) {root:.3f}, V(blue) {inner:.3f}.")


EXACT_SOFT_VALUES = Exercise(
    id="language_mdp.exact_soft_values",
    title="Solve the whole tree",
    points=4, minutes=16, difficulty=4,
    reference=exact_soft_values,
    oracle=by_listing,
    hand=Case(
        args=(*smallest_tree(), [0], 1.0),
        # V(blue) = log(0.5 + 0.5 e) = 0.620115; V(start) = log(0.4 + 0.6 * 1.859141) = 0.415745
        # = log(0.4 + 0.3 + 0.3 e); pi*: 1.115485 / 1.515485 = 0.736058 and e / (1 + e) = 0.731059
        expected=([numbers([0.4157354151816526]), numbers([0.6201145069582775])],
                  [numbers([[-0.30644660626154746, -1.3320261470558077]]),
                   numbers([[-1.3132616875182228, -0.31326168751822286]])]),
        note="two words, 'blue' (goes on) and '<eos>'; 'blue <eos>' is paid 1; β = 1"),
    cases=draw_cases,
    atol=1e-3,  # at a β of 0.001 float32 leaves some 1e-4 of Q / β
    properties=(
        Property("every node has a distribution", nodes_are_distributions),
        Property("without reward nothing changes", nothing_to_gain_nothing_to_change),
        Property("V(root) is what the policy earns", the_root_is_worth_its_best_policy),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "It is unit 03's `kl_control` on a tree. Begin with the last depth, where Q is the reward "
        "alone. Then go up: a word that goes on adds the value of the node it leads to; a word "
        "that ends adds nothing.",
        r"$$Q(s,a) = r(s,a) + V(s \cdot a), \quad V(s) = \beta \log \sum_a \pi_\text{ref}(a|s)\, "
        r"e^{Q(s,a)/\beta}, \quad \log \pi^*(a|s) = \log \pi_\text{ref}(a|s) + "
        r"\frac{Q(s,a) - V(s)}{\beta}$$" "\n\n"
        "The values of the next depth, `[nodes * B]`, reshaped to `[nodes, B]`, belong to the "
        "columns `going_on` ($B$ of them). `torch.logsumexp(log_ref + q / beta, -1)` is safe at "
        "any β.",
        "```python\n"
        "values, policy, ahead = [], [], None\n"
        "for log_ref, paid in zip(reversed(reference), reversed(reward)):\n"
        "    q = paid.clone()\n"
        "    if ahead is not None:\n"
        "        q[:, going_on] += ...          # ahead, as [nodes, B]\n"
        "    ahead = ...                        # V of this depth\n"
        "    values.insert(0, ahead)\n"
        "    policy.insert(0, ...)              # logarithms, [nodes, words]\n"
        "return values, policy\n"
        "```",
    ),
    why=r"Appending is certain, so every node has one parent and the sum over answers factors: "
        r"what follows a word adds up to $e^{V/\beta}$. V(root)$/\beta$ is therefore $\log Z$, the "
        r"sum over *all* answers, found with one operation per edge. Nothing is approximated, and "
        r"nothing but the size of the tree limits it.",
    index_names=lambda case, index: f"node {index[0]}" + (
        f", word {index[1]}" if len(index) > 1 else ""),
    figure=show_the_smallest_tree,
    forbidden=("tutorlib.lm.TokenTree", "tutorlib.mdp.soft_backward"),
)
