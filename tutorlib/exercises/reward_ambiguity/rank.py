"""Exercise 05.5: two environments and a rank."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from tutorlib.exercises.reward_ambiguity.worlds import endless_mdp
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor
from tutorlib.mdp import TabularMDP

NEAR = 0.875 - 2.0 ** -18  # singular values of M shrink to about 1e-7 of the largest


def rank_test(first: TabularMDP, second: TabularMDP) -> tuple[int, bool]:
    """Return the rank of [E - gamma_1 P_1, -(E - gamma_2 P_2)], and whether it is 2|S| - 1."""
    blocks = []
    for mdp in (first, second):
        here = torch.eye(mdp.n_states, dtype=mdp.dtype)[:, None]
        blocks.append((here - mdp.discount * mdp.transition_matrix).flatten(0, 1))
    rank = int(torch.linalg.matrix_rank(torch.cat([blocks[0], -blocks[1]], 1), rtol=1e-9))
    return rank, rank == 2 * first.n_states - 1


def by_exact_elimination(first, second):
    """Gauss's elimination in fractions: probabilities and discounts of the cases are exact."""
    rows = []
    for s in range(first.n_states):
        for a in range(first.n_actions):
            row = []
            for mdp, sign in ((first, 1), (second, -1)):
                dense, gamma = mdp.transition_matrix, Fraction(mdp.discount)
                row += [sign * ((s == t) - gamma * Fraction(float(dense[s, a, t])))
                        for t in range(mdp.n_states)]
            rows.append(row)
    rank = 0
    for column in range(2 * first.n_states):
        pivot = next((r for r in range(rank, len(rows)) if rows[r][column] != 0), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        for r in range(rank + 1, len(rows)):
            if rows[r][column]:
                factor = rows[r][column] / rows[rank][column]
                rows[r] = [x - factor * y for x, y in zip(rows[r], rows[rank], strict=True)]
        rank += 1
    return rank, rank == 2 * first.n_states - 1


def in_sixteenths(generator: torch.Generator, states: int, actions: int) -> Tensor:
    """Return transitions whose probabilities are exact multiples of 1/16."""
    drawn = torch.randint(states, (states, actions, 16), generator=generator)
    counts = torch.nn.functional.one_hot(drawn, states).sum(-2)
    return counts.double() / 16


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw pairs: discounts, dynamics, one action changed, no choice, an entrance, near ones."""
    def process(dense, discount):
        return TabularMDP.from_dense(dense, torch.zeros(dense.shape[:2]), discount=discount)

    dense, other = (in_sixteenths(generator, 6, 3) for _ in range(2))
    small, changed = in_sixteenths(generator, 4, 2), None
    changed = small.clone()
    changed[1, 0] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    changed[1, 0] = changed[1, 0] if not torch.equal(changed[1, 0], small[1, 0]) else (
        torch.tensor([1.0, 0.0, 0.0, 0.0]))
    forced = in_sixteenths(generator, 5, 1).expand(-1, 2, -1)
    entrance = torch.zeros(5, 3, 5, dtype=torch.float64)
    entrance[..., 1:] = in_sixteenths(generator, 5, 3)[..., 1:]
    entrance[..., 1] += 1 - entrance.sum(-1)  # nothing leads back to state 0
    return [
        Case(args=(process(dense, 0.875), process(dense, 0.5)), note="two discounts"),
        Case(args=(process(dense, 0.875), process(dense, 0.875)), note="the same process twice"),
        Case(args=(process(dense, 0.75), process(other, 0.75)), note="two dynamics"),
        Case(args=(process(small, 0.75), process(changed, 0.75)),
             note="the two differ in one action of one state"),
        Case(args=(process(forced, 0.875), process(forced, 0.5)),
             note="all actions lead to the same place"),
        Case(args=(process(entrance, 0.875), process(entrance, 0.5)),
             note="two discounts, and no way leads into the first state"),
        Case(args=(process(dense, 0.875), process(dense, NEAR)),
             note="two discounts that hardly differ"),
    ]


def same_verdict(got, want) -> str | None:
    """Compare a rank and a truth value; 0 and 1 will do for the latter."""
    if got is None:
        return "expected the rank and a truth value, got None: is a `return` missing?"
    parts = got.tolist() if isinstance(got, torch.Tensor | np.ndarray) else got
    if not isinstance(parts, tuple | list) or len(parts) != 2:
        return "expected two values: the rank, and whether it identifies the reward"
    rank, identified = (as_tensor(part) for part in parts)
    if rank is None or rank.numel() != 1 or rank.dtype == torch.bool:
        return f"the first value must be the rank, a whole number, got {parts[0]!r:.60}"
    if identified is None or identified.numel() != 1 or float(identified) not in (0.0, 1.0):
        return f"the second value must be true or false, got {parts[1]!r:.60}"
    if float(rank) != want[0]:
        return f"the rank is {want[0]}, got {float(rank):g}"
    return None if bool(identified) == bool(want[1]) else (
        f"the rank, {want[0]}, is right; the verdict must be {want[1]}, got {bool(identified)}")


def order_is_free(answer, case: Case) -> str | None:
    """Which environment comes first does not matter."""
    first, second = case.args
    here, there = (as_tensor(list(answer(*pair))) for pair in ((first, second), (second, first)))
    return None if torch.equal(here, there) else (
        f"with the two exchanged the answer is {there.tolist()}, not {here.tolist()}")


def twice_the_same_is_no_news(answer, case: Case) -> str | None:
    """The same environment twice has rank |S| and identifies nothing."""
    first = case.args[0]
    rank, identified = answer(first, first)
    if int(rank) == first.n_states and not bool(identified):
        return None
    return (f"the same process twice has rank |S| = {first.n_states} and identifies nothing; got "
            f"{int(rank)}, {bool(identified)}")


def _blocks(first, second, gammas=None):
    """Return the two blocks, [states * actions, states] each."""
    blocks = []
    for k, mdp in enumerate((first, second)):
        gamma = mdp.discount if gammas is None else gammas[k]
        here = torch.eye(mdp.n_states, dtype=torch.float64)[:, None]
        blocks.append((here - gamma * mdp.transition_matrix).flatten(0, 1))
    return blocks


def _rank(matrix):
    return int(torch.linalg.matrix_rank(matrix, rtol=1e-9))


def _side(first, second, **changes):
    return _rank(torch.cat(_blocks(first, second, **changes), 1))


def _verdict(rank_of, rule=lambda rank, mdp: rank == 2 * mdp.n_states - 1):
    """Make an answer from a way to the rank and a rule for the verdict."""
    def answer(first, second):
        rank = rank_of(first, second)
        return rank, bool(rule(rank, first))
    return answer


def _tiled(first, second):
    eye = torch.eye(first.n_states, dtype=torch.float64).repeat(first.n_actions, 1)
    return _rank(torch.cat([eye - m.discount * m.transition_matrix.flatten(0, 1)
                            for m in (first, second)], 1))


MUTANTS = (
    Mutant("never_above_states", _verdict(lambda f, s: _rank(torch.cat(_blocks(f, s), 0))),
           "Your rank never exceeds |S|. Three ways to get there: the blocks are stacked (they "
           "stand side by side, 2|S| columns for v₁ and v₂); there is one equation per state, for "
           "one action or for their average (each action is an equation: |S| |A| rows); or only "
           "one block is used."),
    Mutant("full_rank_wanted", _verdict(_side, lambda r, m: r == 2 * m.n_states),
           "The rank is right, the verdict never comes true: compare the rank with 2|S| - 1. More "
           "(2|S|) cannot come, a constant added to every reward stays open; fewer leaves more "
           "than a constant."),
    Mutant("coarse", _verdict(lambda f, s: int(torch.linalg.matrix_rank(
               torch.cat(_blocks(f, s), 1), rtol=1e-3))),
           "You count small singular values as 0: by float32, or by a tolerance of your own. Two "
           "discounts that hardly differ still have the full rank: keep float64 and the default "
           "tolerance of `torch.linalg.matrix_rank`."),
    Mutant("no_identity", _verdict(lambda f, s: _rank(torch.cat(
               [m.discount * m.transition_matrix.flatten(0, 1) for m in (f, s)], 1))),
           "E is missing: the blocks are E - γ P, not γ P."),
    Mutant("any_gain", _verdict(_side, lambda r, m: r > m.n_states),
           "More than |S| means that *something* was learned. The reward is known up to a constant "
           "only at 2|S| - 1."),
    Mutant("nullity", _verdict(lambda f, s: 2 * f.n_states - _side(f, s), lambda r, m: r == 1),
           "This is the number of free directions, 2|S| minus the rank. The task asks for the "
           "rank."),
    Mutant("one_discount", _verdict(lambda f, s: _side(f, s, gammas=(f.discount, f.discount))),
           "Both blocks have the first environment's discount. The second has its own: "
           "`second.discount`."),
    Mutant("no_discount", _verdict(lambda f, s: _side(f, s, gammas=(1.0, 1.0))),
           "The discounts are missing: the blocks are E - γ P, with γ of each environment."),
    Mutant("one_dynamics", _verdict(lambda f, s: _side(f, f.replace(discount=s.discount))),
           "Both blocks have the first environment's transitions. The second block needs "
           "`second.transition_matrix`."),
    Mutant("rows_mixed", _verdict(_tiled),
           "The rows do not belong together: E is laid out action by action, P state by state. "
           "Row (s, a) of E has its 1 in column s: begin with `torch.eye(n)[:, None, :]` and "
           "flatten both alike."),
)


def _plus(first, second):
    rank = _side(first, second)
    return rank, rank == 2 * first.n_states - 1


def _numpy(first, second):
    blocks = [np.eye(m.n_states)[:, None] - m.discount * m.transition_matrix.numpy()
              for m in (first, second)]
    matrix = np.concatenate([blocks[0], -blocks[1]], axis=2).reshape(-1, 2 * first.n_states)
    sizes = np.linalg.svd(matrix, compute_uv=False)
    rank = int((sizes > 1e-9 * sizes[0]).sum())
    return [rank, rank + 1 == 2 * first.n_states]


def _by_action(first, second):
    rows = [torch.cat([torch.eye(m.n_states, dtype=torch.float64)
                       - m.discount * m.transition_matrix[:, a] for m in (first, second)], 1)
            for a in range(first.n_actions)]
    rank = torch.linalg.matrix_rank(torch.cat(rows))
    return rank, rank == 2 * first.n_states - 1


VARIANTS = (
    Variant("without the minus: the rank is the same", _plus),
    Variant("numpy, singular values", _numpy),
    Variant("action by action", _by_action),
    Variant("0 and 1 for the verdict", lambda first, second: [
        rank_test(first, second)[0], int(rank_test(first, second)[1])]),
)


def show_singular_values(answer):
    """Draw the singular values for two discounts and for the same process twice."""
    from tutorlib.viz import lines

    mdp = endless_mdp(torch.Generator().manual_seed(0), 6, 3, 0.9)
    pairs = {"two discounts": (mdp, mdp.replace(discount=0.5)), "the same twice": (mdp, mdp)}
    curves, ranks = {}, {}
    for name, (first, second) in pairs.items():
        sizes = torch.linalg.svdvals(torch.cat(_blocks(first, second), 1))
        curves[name] = (sizes / sizes[0]).clamp(min=1e-17).tolist()
        ranks[name] = int(answer(first, second)[0])
    return lines(curves, range(1, 13), yscale="log", xlabel="singular value, in order",
                 ylabel="size relative to the largest",
                 title=f"Your ranks: {ranks['two discounts']} of 12 with two discounts, "
                       f"{ranks['the same twice']} with the same process twice")


def _hand_pair():
    """One action goes on, one stays; two states; discounts 0.5 and 0."""
    dense = [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]
    first = TabularMDP.from_dense(dense, torch.zeros(2, 2), discount=0.5)
    return first, first.replace(discount=0.0)


RANK_TEST = Exercise(
    id="reward_ambiguity.rank_test",
    title="Two environments and a rank",
    points=3, minutes=12, difficulty=3,
    reference=rank_test,
    oracle=by_exact_elimination,
    hand=Case(
        args=_hand_pair(),
        # rows (1, -.5, -1, 0), (.5, 0, -1, 0), (-.5, 1, 0, -1), (0, .5, 0, -1). The first two give
        # v1(0) = v1(1) and v2(0) = v1(0) / 2, the last two the same for state 1: rank 3 of 4
        expected=(3, True),
        note="two states, discounts 0.5 and 0; in both, the first action goes to the other state, "
             "the second stays"),
    cases=draw_cases,
    properties=(
        Property("the order of the two does not matter", order_is_free),
        Property("the same environment twice is no news", twice_the_same_is_no_news),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Each environment says r = λ log π + v(s) - γ E[v(s')], with a v of its own. Subtract the "
        "two: what v₁ and v₂ may still be is the kernel of one matrix with |S||A| rows and 2|S| "
        "columns. A kernel of one dimension (the constants) is the best there is.",
        r"$$M = [\,E - \gamma_1 P_1,\; -(E - \gamma_2 P_2)\,], \qquad E_{(s,a),\,t} = [s = t]$$"
        "\n\n`mdp.transition_matrix` is `[states, actions, states]`; flatten its first two axes. "
        "The reward is known up to a constant iff rank $M = 2|S| - 1$.",
        "```python\n"
        "blocks = []\n"
        "for mdp in (first, second):\n"
        "    here = ...                  # torch.eye(n, dtype=torch.float64)[:, None, :]\n"
        "    blocks.append(...)          # here - discount * transitions, flattened to "
        "[n * actions, n]\n"
        "rank = ...                      # torch.linalg.matrix_rank of both side by side: "
        "torch.cat(..., dim=1)\n"
        "return int(rank), ...           # is it 2 n - 1?\n"
        "```",
    ),
    why=r"If $(v_1, v_2)$ is in the kernel, then $(E - \gamma_1 P_1)\, v_1 = (E - \gamma_2 P_2)\, "
        r"v_2$ is a reward that can be added without changing either policy. The constants always "
        r"are: $v_i = c / (1 - \gamma_i)$. Rank $2|S| - 1$ says that nothing else is.",
    compare=same_verdict,
    figure=show_singular_values,
    forbidden=("tutorlib.irl.identify", "tutorlib.irl.joint_matrix"),
)
