"""Exercise 08.2: pairs of windows from ranked demonstrations, and their labels."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.exercises.preference_based_rl.worlds import numbers
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def trex_labels(lengths: Int[Tensor, " demonstrations"], ranks: Int[Tensor, " demonstrations"],
                pairs: Int[Tensor, "pairs 2"], spots: Float[Tensor, "pairs 2"], window: int
                ) -> tuple[Int[Tensor, "pairs 2"], Float[Tensor, " pairs"]]:
    """Return where each window begins, and 1, 0 or 0.5 after the ranks (1 is the best)."""
    places = lengths[pairs] - window + 1
    starts = (spots * places).long()
    first, second = ranks[pairs].T
    labels = torch.where(first < second, 1.0, torch.where(first > second, 0.0, 0.5))
    return starts, labels.double()


def list_every_window(lengths, ranks, pairs, spots, window):
    """List all windows of each demonstration, and count off which one a spot falls on."""
    starts, labels = [], []
    order = sorted(set(ranks.tolist()))  # best first
    for (i, j), both in zip(pairs.tolist(), spots.tolist(), strict=True):
        row = []
        for demo, spot in zip((i, j), both, strict=True):
            windows = [list(range(b, b + window)) for b in range(int(lengths[demo]))
                       if b + window <= int(lengths[demo])]
            row.append(max(k for k in range(len(windows)) if k / len(windows) <= spot))
        starts.append(row)
        better = order.index(int(ranks[i])) - order.index(int(ranks[j]))
        labels.append({-1: 1.0, 0: 0.5, 1: 0.0}[(better > 0) - (better < 0)])
    return torch.tensor(starts), numbers(labels)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw demonstrations of several lengths, one just a window long, and ties in rank."""
    cases = []
    for demos, window, longest in ((5, 3, 12), (6, 4, 15), (7, 2, 20), (5, 5, 30)):
        lengths = torch.randint(window + 1, longest, (demos,), generator=generator)
        lengths[1], lengths[2] = window, longest
        ranks = torch.randperm(demos, generator=generator) + 1
        ranks[3] = ranks[0]
        pairs = torch.stack([torch.randperm(demos, generator=generator)[:2] for _ in range(9)])
        pairs[0], pairs[1], pairs[2] = torch.tensor([[0, 3], [2, 4], [4, 1]])
        spots = torch.rand(9, 2, generator=generator, dtype=torch.float64)
        spots[0], spots[1] = numbers([[0.0, 0.99], [0.97, 0.4]])
        cases.append(Case(args=(lengths, ranks, pairs, spots, window),
                          note="demonstration 1 is just one window long; 0 and 3 share a rank"))
    return cases


def windows_lie_inside(answer, case: Case) -> str | None:
    """A window ends where its demonstration does, or earlier."""
    lengths, _, pairs, _, window = case.args
    starts = as_tensor(answer(*case.args)[0])
    beyond = (starts < 0) | (starts + window > lengths[pairs])
    if not bool(beyond.any()):
        return None
    row, side = beyond.nonzero()[0].tolist()
    return (f"in pair {row} a window of {window} steps begins at {int(starts[row, side])}, but "
            f"that demonstration has {int(lengths[pairs[row, side]])} steps")


def rank_says_nothing_about_time(answer, case: Case) -> str | None:
    """Exchanging the ranks moves no window."""
    lengths, ranks, pairs, spots, window = case.args
    moved = as_tensor(answer(lengths, ranks.max() + 1 - ranks, pairs, spots, window)[0])
    kept = as_tensor(answer(*case.args)[0])
    if torch.equal(moved, kept):
        return None
    return ("with the ranking turned round, windows begin elsewhere; then the time at which a "
            "window begins tells which one is better")


def _from(starts_of=None, labels_of=None):
    """Make an answer with the starts or the labels exchanged."""
    def answer(lengths, ranks, pairs, spots, window):
        starts, labels = trex_labels(lengths, ranks, pairs, spots, window)
        if starts_of is not None:
            starts = starts_of(lengths, ranks, pairs, spots, window)
        if labels_of is not None:
            labels = labels_of(lengths, ranks, pairs)
        return starts, labels
    return answer


def _starts(count, turn=lambda spots: spots):
    """Return a rule for starts: ``count`` places per side, with spots turned first."""
    return lambda lengths, ranks, pairs, spots, window: (
        turn(spots) * count(lengths[pairs], window)).long()


def _sorted_by_rank(lengths, ranks, pairs, spots, window):
    starts, labels = trex_labels(lengths, ranks, pairs, spots, window)
    early, late = starts.amin(1), starts.amax(1)
    better_late = torch.stack([torch.where(labels == 1, late, early),
                               torch.where(labels == 1, early, late)], 1)
    return torch.minimum(better_late, lengths[pairs] - window)


def _compare(rule):
    """Return labels by a rule that sees ranks of both and gives a boolean."""
    return lambda lengths, ranks, pairs: rule(*ranks[pairs].T).double()


def _fit(lengths, window):
    return lengths - window + 1


MUTANTS = (
    Mutant("rank_upside_down", _from(labels_of=lambda n, ranks, pairs: trex_labels(
               n, -ranks, pairs, torch.zeros(len(pairs), 2), 1)[1]),
           "The ranking is read the wrong way: rank 1 is the best, as in a race, so the *smaller* "
           "rank wins. (Returns would be the other way round.)"),
    Mutant("ties_lost", _from(labels_of=_compare(lambda a, b: a < b)),
           "Demonstrations of equal rank get the label 0, as if the second were better. A tie is "
           "0.5."),
    Mutant("ties_won", _from(labels_of=_compare(lambda a, b: a <= b)),
           "Demonstrations of equal rank get the label 1, as if the first were better. A tie is "
           "0.5."),
    Mutant("numbers_for_ranks", _from(labels_of=lambda n, ranks, pairs: (
               pairs[:, 0] < pairs[:, 1]).double()),
           "You compare the demonstrations' numbers. Look their ranks up: `ranks[pairs]`."),
    Mutant("longer_is_better", _from(labels_of=lambda n, ranks, pairs: (
               n[pairs[:, 0]] > n[pairs[:, 1]]).double()),
           "You label the longer demonstration as the better one. Length says nothing here; the "
           "ranks do."),
    Mutant("window_runs_over", _from(_starts(lambda n, w: n)),
           "Some windows run beyond the end of their demonstration. A window of `window` steps "
           "fits into `length - window + 1` places."),
    Mutant("last_place_missing", _from(_starts(lambda n, w: n - w)),
           "The last place is never used, so the end of a demonstration counts less, and one just "
           "a window long has no place at all: there are `length - window + 1` places, one more."),
    Mutant("one_place_too_many", _from(_starts(lambda n, w: n - w + 2)),
           "One place too many: the last window ends a step after its demonstration. There are "
           "`length - window + 1` places."),
    Mutant("same_spot", _from(_starts(_fit, lambda spots: spots[:, :1].expand(-1, 2))),
           "Both windows use the first spot. Each side has its own, `spots[:, 0]` and "
           "`spots[:, 1]`: what is compared should not depend on how far in both are."),
    Mutant("spots_exchanged", _from(_starts(_fit, lambda spots: spots.flip(1))),
           "The spots of the two sides are exchanged: `spots[:, 0]` belongs to the first "
           "demonstration of a pair."),
    Mutant("shorter_for_both", _from(_starts(
               lambda n, w: (n.amin(1, keepdim=True) - w + 1).expand(-1, 2))),
           "Both windows are placed as if both demonstrations were as short as the shorter one: "
           "the late part of the longer one is never compared. Use each one's own length."),
    Mutant("clock", _from(_sorted_by_rank),
           "The better demonstration's window begins later. Then time since the start ranks every "
           "pair, and a network that can read the time learns the clock. (The first T-REX did this "
           "on purpose, for games of progress.) Place windows without looking at ranks."),
    Mutant("rounded_up", _from(lambda n, r, p, s, w: (s * (n[p] - w + 1)).ceil().long()),
           "You round up: the first place is then hardly ever used, and the last window can end "
           "a step after its demonstration. Round down: `.long()` or `floor`."),
    Mutant("plus_and_minus", _from(labels_of=lambda n, ranks, pairs: torch.sign(
               ranks[pairs[:, 1]] - ranks[pairs[:, 0]]).double()),
           "Your labels are 1, 0 and -1. They are shares of a vote: 1 if the first is better, 0.5 "
           "for a tie, 0 if the second is."),
    Mutant("rounded", _from(lambda n, r, p, s, w: (s * (n[p] - w + 1)).round().long()),
           "You round to the nearest place, which can be one too far and makes the first place "
           "rarer. Round down: `.long()` or `floor`."),
)


def _numpy(lengths, ranks, pairs, spots, window):
    n, r, p = lengths.numpy(), ranks.numpy(), pairs.numpy()
    starts = np.floor(spots.numpy() * (n[p] - window + 1)).astype(int)
    return starts, 0.5 + 0.5 * np.sign(r[p[:, 1]] - r[p[:, 0]])


def _loops(lengths, ranks, pairs, spots, window):
    starts, labels = [], []
    for k, (i, j) in enumerate(pairs.tolist()):
        starts.append([int(spots[k, side] * (int(lengths[d]) - window + 1))
                       for side, d in enumerate((i, j))])
        labels.append(1.0 if ranks[i] < ranks[j] else 0.0 if ranks[i] > ranks[j] else 0.5)
    return torch.tensor(starts), torch.tensor(labels)


def _lists(lengths, ranks, pairs, spots, window):
    starts, labels = _loops(lengths, ranks, pairs, spots, window)
    return starts.tolist(), labels.tolist()


VARIANTS = (
    Variant("numpy, a sign", _numpy),
    Variant("loops", _loops),
    Variant("lists of lists", _lists),
)


def name_pair(case: Case, index: tuple[int, ...]) -> str | None:
    """Say which pair of demonstrations an entry belongs to."""
    i, j = case.args[2][index[0]].tolist()
    return f"pair {index[0]}: demonstration {i} against {j}"


def show_windows(answer):
    """Draw where the learner's windows begin, better against worse."""
    from tutorlib.viz import Picture, new_figure, style
    from tutorlib.viz.look import series_look

    generator = torch.Generator().manual_seed(2)
    lengths, ranks = torch.full((6,), 60), torch.arange(1, 7)
    pairs = torch.stack([torch.randperm(6, generator=generator)[:2] for _ in range(300)])
    spots = torch.rand(300, 2, generator=generator, dtype=torch.float64)
    starts, labels = (as_tensor(x) for x in answer(lengths, ranks, pairs, spots, 20))
    won = labels == 1
    better = torch.where(won, starts[:, 0], starts[:, 1])
    worse = torch.where(won, starts[:, 1], starts[:, 0])
    later = float((better > worse).double().mean())
    title = (f"In {later:.0%} of 300 pairs the better window begins later: the clock cannot tell "
             "who won")
    with style():
        fig, ax = new_figure(title=title)
        ax.plot(worse, better, label="a pair", **series_look(0) | {"linestyle": "", "alpha": 0.5})
        ax.set(xlabel="start of the worse demonstration's window (step)",
               ylabel="start of the better one's (step)")
    return Picture(fig, alt=f"{title}. Scatter of 300 pairs of window starts, 0 to "
                            f"{int(starts.max())}, spread over the whole square.")


TREX_LABELS = Exercise(
    id="preference_based_rl.trex_labels",
    title="Windows of ranked demonstrations",
    points=2, minutes=10, difficulty=3,
    reference=trex_labels,
    oracle=list_every_window,
    hand=Case(
        args=(torch.tensor([10, 4, 6]), torch.tensor([2, 1, 2]),
              torch.tensor([[0, 1], [1, 2], [0, 2]]),
              numbers([[0.5, 0.9], [0.0, 0.99], [0.1, 0.3]]), 4),
        # places: 7, 1 and 3. floor(3.5) = 3, floor(0.9) = 0; 0, floor(2.97) = 2; 0, floor(0.9) = 0
        expected=(torch.tensor([[3, 0], [0, 2], [0, 0]]), numbers([0.0, 1.0, 0.5])),
        note="windows of 4 steps fit in 7, 1 and 3 places; demonstration 1 is the best, the others "
             "share rank 2"),
    cases=draw_cases,
    properties=(
        Property("a window lies inside its demonstration", windows_lie_inside),
        Property("ranks do not move windows", rank_says_nothing_about_time),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Two independent things. Where a window begins depends on that demonstration's length and "
        "its spot only. Who wins depends on ranks only, and 1 is the best rank.",
        r"$$\text{start} = \lfloor \text{spot} \cdot (\text{length} - \text{window} + 1) \rfloor, "
        r"\qquad \mu = \begin{cases} 1 & \text{rank}_i < \text{rank}_j \\ 0 & \text{rank}_i > "
        r"\text{rank}_j \\ 0.5 & \text{equal} \end{cases}$$" "\n\n"
        "`lengths[pairs]` and `ranks[pairs]` have shape `[pairs, 2]`, like `spots`.",
        "```python\n"
        "places = ...                      # in how many places a window fits, [pairs, 2]\n"
        "starts = (spots * places)...      # round down to whole numbers\n"
        "first, second = ranks[pairs].T    # [pairs] each\n"
        "labels = ...                      # 1.0, 0.0 or 0.5\n"
        "return starts, labels\n"
        "```",
    ),
    why="Equal lengths keep the length out of the comparison, independent starts the time. What is "
        "left to tell a better window from a worse one is what happens in it.",
    index_names=name_pair,
    figure=show_windows,
    forbidden=("tutorlib.irl.rank_labels", "tutorlib.irl.trex_pairs",
               "tutorlib.irl.window_starts"),
)
