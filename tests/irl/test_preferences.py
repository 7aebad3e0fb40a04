"""Comparisons: probabilities, losses, labellers, tables; against closed forms and peers."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import optimize

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl import (
    Labeller,
    Segments,
    cut_segments,
    cut_windows,
    evaluate_transfer,
    fit_preference_table,
    hidden_dimensions,
    is_hidden,
    join_segments,
    pay,
    preference_loss,
    preference_probability,
    rank_labels,
    segment_returns,
    table_cells,
    trex_pairs,
    visit_counts,
)
from tutorlib.mdp import GridWorld, sample_trajectories, uniform_policy


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("discount", [1.0, 0.8])
@pytest.mark.parametrize("error_rate", [0.0, 0.1])
def test_probabilities_are_those_of_equation_one(generator, discount, error_rate):
    left, right = normal(generator, 6, 4), normal(generator, 6, 4)
    weights = discount ** np.arange(4)
    a, b = (np.exp((side.numpy() * weights).sum(1) / 0.7) for side in (left, right))
    expected = (1 - error_rate) * a / (a + b) + error_rate / 2
    found = preference_probability(left, right, discount, 0.7, error_rate)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    labels = torch.tensor([1.0, 0.0, 0.5, 0.3, 1.0, 0.0], dtype=torch.float64)
    mu = labels.numpy()
    loss = preference_loss(left, right, labels, discount, 0.7, error_rate)
    np.testing.assert_allclose(loss, -mu * np.log(expected) - (1 - mu) * np.log(1 - expected))


@pytest.mark.parametrize("error_rate, discount", [(0.0, 1.0), (0.1, 0.9)])
def test_imitation_gives_the_same_probabilities(generator, error_rate, discount):
    """Its `threshold` caps return differences at 50, far from these."""
    comparisons = pytest.importorskip("imitation.algorithms.preference_comparisons",
                                      reason="needs the extra [peers]")
    nets = pytest.importorskip("imitation.rewards.reward_nets")
    import gymnasium

    space = gymnasium.spaces.Box(-1, 1, (2,))
    model = comparisons.PreferenceModel(nets.BasicRewardNet(space, space), noise_prob=error_rate,
                                        discount_factor=discount)
    left, right = (normal(generator, 5).float() for _ in range(2))
    theirs = float(model.probability(left, right))  # one pair of fragments at a time
    ours = float(preference_probability(left[None], right[None], discount, 1.0, error_rate))
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_the_gradient_is_the_finite_difference(generator):
    left, right = normal(generator, 3, 4).requires_grad_(), normal(generator, 3, 4)
    labels = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: preference_loss(x, right, labels, 0.9, 1.0, 0.1), (left,))


def test_returns_a_thousand_apart_stay_finite():
    far = torch.tensor([[1000.0]])
    zero = torch.zeros(1, 1)
    assert preference_loss(far, zero, torch.zeros(1)).item() == 1000
    assert preference_loss(far, zero, torch.ones(1)).item() == 0
    capped = preference_loss(far, zero, torch.zeros(1), error_rate=0.1).item()
    assert capped == pytest.approx(-math.log(0.05))


@pytest.mark.parametrize("left, right, message", [
    (torch.zeros(2, 3), torch.zeros(2, 4), "one length on both sides"),
    (torch.zeros(2, 3), torch.zeros(3, 3), "one right segment for each left"),
    (torch.zeros(0, 3), torch.zeros(0, 3), "nothing to compare"),
    (torch.zeros(2, 0), torch.zeros(2, 0), "nothing to compare"),
    (torch.tensor([[math.nan]]), torch.zeros(1, 1), r"left rewards are not finite at index \[0, 0"),
    (torch.zeros(1, 1), torch.tensor([[math.inf]]), "right rewards are not finite"),
])
def test_pairs_that_cannot_be_compared_are_refused(left, right, message):
    with pytest.raises(InvalidArgumentError, match=message):
        preference_probability(left, right)


@pytest.mark.parametrize("labels, message", [
    (torch.tensor([1.2]), "label .0. is 1.2"),
    (torch.tensor([-0.1]), "between 0 and 1"),
    (torch.tensor([math.nan]), "is nan"),
    (torch.tensor([1]), "expected one float for each"),
    (torch.ones(2), "expected one float for each"),
])
def test_labels_outside_their_range_are_refused(labels, message):
    with pytest.raises(InvalidArgumentError, match=message):
        preference_loss(torch.zeros(1, 2), torch.zeros(1, 2), labels)


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"error_rate": 1.0},
                                      {"error_rate": -0.1}])
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(InvalidArgumentError, match="expected"):
        preference_probability(torch.zeros(1, 1), torch.zeros(1, 1), **settings)
    if "error_rate" in settings:
        with pytest.raises(InvalidArgumentError):
            Labeller(**settings)


def test_a_labeller_answers_as_often_as_it_says(generator):
    left = torch.tensor([[0.0, 1.0]]).expand(20_000, 2)
    right = torch.tensor([[0.6, 0.0]]).expand(20_000, 2)
    for judge, chance in ((Labeller(0.5), 1 / (1 + math.exp(-0.4 / 0.5))),
                          (Labeller(0.5, error_rate=0.3), 0.7 / (1 + math.exp(-0.8)) + 0.15),
                          (Labeller(0.5, memory=0.5), 1 / (1 + math.exp(-(1 - 0.3) / 0.5)))):
        assert float(judge.probability(left[:1], right[:1])) == pytest.approx(chance, abs=1e-6)
        share = float(judge.label(left, right, generator).mean())
        assert share == pytest.approx(chance, abs=4 * math.sqrt(0.25 / 20_000))


def test_a_labeller_is_reproducible_and_knows_ties(generator):
    left, right = normal(generator, 50, 3), normal(generator, 50, 3)
    judge = Labeller(0.5, 0.1, tie_margin=0.4)
    first, second = (judge.label(left, right, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    tied = (segment_returns(left) - segment_returns(right)).abs() < 0.4
    assert torch.equal(first == 0.5, tied) and 0 < int(tied.sum()) < 50
    sure = Labeller(temperature=0).label(left, right, generator)
    assert torch.equal(sure == 1, segment_returns(left) > segment_returns(right))
    even = Labeller(temperature=0).probability(left, left)
    assert bool((even == 0.5).all())  # equals: a coin, if not called a tie


@pytest.fixture(scope="module")
def grid():
    return GridWorld("...\n.#.\n...", cell_rewards={(0, 2): 1.0, (2, 0): -1.0, (2, 2): 0.5},
                     discount=0.9)


def walks(grid, n, generator, length=4):
    paths = sample_trajectories(grid.mdp, uniform_policy(grid.mdp), n, 2 * length, generator)
    return cut_segments(paths.states, paths.actions, n, length, generator)


def test_segments_are_stretches_of_their_episodes(grid, generator):
    paths = sample_trajectories(grid.mdp, uniform_policy(grid.mdp), 7, 9, generator)
    segments = cut_segments(paths.states, paths.actions, 200, 4, generator)
    for k in range(200):
        i, t = int(segments.episodes[k]), int(segments.starts[k])
        assert torch.equal(segments.states[k], paths.states[i, t:t + 5])
        assert torch.equal(segments.actions[k], paths.actions[i, t:t + 4])
    assert set(segments.starts.tolist()) == set(range(6))  # every place, the last one too
    assert torch.equal(segments.window(paths.rewards)[3], paths.rewards[
        segments.episodes[3], segments.starts[3]:segments.starts[3] + 4])


def test_a_segment_holds_only_steps_that_happened(generator):
    states, actions = torch.arange(14).view(2, 7), torch.zeros(2, 6, dtype=torch.long)
    mask = torch.tensor([[1, 1, 1, 0, 1, 1], [1, 0, 1, 0, 1, 0]], dtype=torch.bool)
    segments = cut_segments(states, actions, 50, 2, generator, mask)
    assert {(int(e), int(t)) for e, t in zip(segments.episodes, segments.starts, strict=True)} == {
        (0, 0), (0, 1), (0, 4)}
    with pytest.raises(InvalidArgumentError, match="no episode holds 4 steps"):
        cut_segments(states, actions, 1, 4, generator, mask)


def test_windows_beyond_the_end_and_unequal_lengths_are_refused():
    states, actions = torch.zeros(1, 5).long(), torch.zeros(1, 4).long()
    one = torch.zeros(1, dtype=torch.long)
    with pytest.raises(InvalidArgumentError, match="end by step 4"):
        cut_windows(states, actions, one, one + 2, 3)
    parts = [cut_windows(states, actions, one, one, k) for k in (2, 3)]
    with pytest.raises(InvalidArgumentError, match="one length"):
        join_segments(parts)
    assert len(join_segments([parts[0], parts[0]])) == 2


@pytest.mark.parametrize("paid", ["departure", "arrival", "action"])
@pytest.mark.parametrize("discount", [1.0, 0.7])
def test_counts_times_table_is_the_return(grid, generator, paid, discount):
    segments, mdp = walks(grid, 30, generator), grid.mdp
    size = mdp.n_states * (mdp.n_actions if paid == "action" else 1)
    table = normal(generator, size)
    counts = visit_counts(table_cells(segments, mdp.n_actions, paid), size, discount)
    for k in range(30):
        total = 0.0
        for t in range(segments.length):
            s, a, after = segments.states[k, t], segments.actions[k, t], segments.states[k, t + 1]
            entry = {"departure": s, "arrival": after, "action": s * mdp.n_actions + a}[paid]
            total += discount**t * float(table[entry])
        assert float(counts[k] @ table) == pytest.approx(total)


@pytest.mark.parametrize("error_rate", [0.0, 0.1])
def test_the_fitted_table_is_scipy_s(grid, generator, error_rate):
    segments = walks(grid, 120, generator)
    counts = visit_counts(table_cells(segments, 4, "arrival"), grid.mdp.n_states)
    paid = grid.cell_rewards[segments.states[:, 1:]]
    labels = Labeller(0.5, error_rate, tie_margin=0.2).label(paid[:60], paid[60:], generator)
    found = fit_preference_table(counts[:60], counts[60:], labels, 0.5, error_rate)
    x, mu = (counts[:60] - counts[60:]).numpy(), labels.numpy()

    def loss(r):
        p = (1 - error_rate) / (1 + np.exp(-x @ r)) + error_rate / 2
        return -(mu * np.log(p) + (1 - mu) * np.log(1 - p)).sum() + 0.25 * r @ r

    best = optimize.minimize(loss, np.zeros(x.shape[1]), method="BFGS", tol=1e-10)
    np.testing.assert_allclose(found, best.x, atol=1e-4)
    assert float(found.sum()) == pytest.approx(0, abs=1e-6)  # the constant stays at 0


def test_weights_are_repetitions(grid, generator):
    counts = visit_counts(table_cells(walks(grid, 20, generator), 4, "arrival"), 8)
    labels = torch.randint(2, (10,), generator=generator).double()
    times = torch.randint(3, (10,), generator=generator)
    times[0] = 2
    again = torch.repeat_interleave(torch.arange(10), times)
    by_weight = fit_preference_table(counts[:10], counts[10:], labels, weights=times)
    by_hand = fit_preference_table(counts[:10][again], counts[10:][again], labels[again])
    torch.testing.assert_close(by_weight, by_hand)


def test_a_circle_of_preferences_makes_three_equals():
    a, b, c = torch.eye(3, dtype=torch.float64)
    table = fit_preference_table(torch.stack([a, b, c]), torch.stack([b, c, a]),
                                 torch.ones(3).double())
    assert float((table - table.mean()).abs().max()) < 1e-9


@pytest.mark.parametrize("pairs, labels, settings, message", [
    (0, [], {}, "at least one pair"),
    (2, [0.5, 0.5], {}, "all 2 labels are ties"),
    (1, [1.5], {}, "between 0 and 1"),
    (1, [1.0], {"l2": 0.0}, "no finite best table"),
])
def test_a_fit_without_an_answer_is_refused(pairs, labels, settings, message):
    counts = torch.ones(pairs, 3, dtype=torch.float64)
    with pytest.raises(InvalidArgumentError, match=message):
        fit_preference_table(counts, 2 * counts, torch.tensor(labels).double(), **settings)


def test_equal_lengths_hide_a_constant_and_nothing_else(grid, generator):
    mdp = grid.mdp
    segments = walks(grid, 800, generator)
    counts = visit_counts(table_cells(segments, 4, "action"), mdp.n_states * 4)
    left, right = counts[:400], counts[400:]
    assert hidden_dimensions(left, right) == 1
    assert is_hidden(torch.ones(32), left, right)
    potential = normal(generator, mdp.n_states)
    shaping = potential[:, None] - mdp.discount * (mdp.transition_matrix @ potential)
    assert not is_hidden(shaping.flatten(), left, right)  # which a soft-optimal policy hides
    longer = visit_counts(table_cells(walks(grid, 400, generator, 5), 4, "action"), 32)
    assert hidden_dimensions(left, longer) == 0


def test_comparisons_between_whole_loops_hide_undiscounted_shaping():
    """Segments with the same two ends: a potential difference is the same on both sides."""
    grid = GridWorld("..\n..", discount=1.0, horizon=4)
    ring = [0, 1, 3, 2, 0], [0, 2, 3, 1, 0], [0, 1, 0, 1, 0]
    moves = [1, 2, 3, 0], [2, 1, 0, 3], [1, 3, 1, 3]
    loops = Segments(torch.tensor(ring), torch.tensor(moves), *torch.zeros(2, 3).long())
    counts = visit_counts(table_cells(loops, 4, "action"), 16)
    pairs = torch.tensor(list(itertools.combinations(range(3), 2)))
    potential = torch.tensor([0.3, -1.0, 2.0, 0.7], dtype=torch.float64)
    shaping = (grid.mdp.transition_matrix @ potential - potential[:, None]).flatten()
    assert is_hidden(shaping, counts[pairs[:, 0]], counts[pairs[:, 1]])


def test_many_noisy_comparisons_recover_policy_and_probabilities(grid):
    """The truth is met as an equivalence class: regret 0, and the same preferences."""
    generator = torch.Generator().manual_seed(4)
    segments = walks(grid, 6000, generator)
    counts = visit_counts(table_cells(segments, 4, "arrival"), grid.mdp.n_states)
    paid = grid.cell_rewards[segments.states[:, 1:]]
    labels = Labeller(0.5).label(paid[:3000], paid[3000:], generator)
    table = fit_preference_table(counts[:3000], counts[3000:], labels, 0.1)
    assert evaluate_transfer(grid.mdp, pay(grid.mdp, table, "arrival")).regret_share < 0.02
    fresh = walks(grid, 400, generator).states[:, 1:]
    wanted = preference_probability(grid.cell_rewards[fresh[:200]], grid.cell_rewards[fresh[200:]],
                                    temperature=0.5)
    found = preference_probability(table[fresh[:200]], table[fresh[200:]])
    assert float((wanted - found).abs().mean()) < 0.03 and float((wanted - found).abs().max()) < 0.2


def test_ranks_and_windows():
    ranks, lengths = torch.tensor([3, 1, 2, 1]), torch.tensor([9, 7, 4, 9])
    every = torch.tensor(list(itertools.permutations(range(4), 2)))
    labels = rank_labels(ranks, every)
    for (i, j), label in zip(every.tolist(), labels.tolist(), strict=True):
        assert label == (0.5 if ranks[i] == ranks[j] else float(ranks[i] < ranks[j]))
    states = torch.arange(40).view(4, 10)
    left, right, said = trex_pairs(states, torch.zeros(4, 9).long(), lengths, ranks, 4000, 4,
                                   torch.Generator().manual_seed(0))
    assert torch.equal(said, rank_labels(ranks, torch.stack([left.episodes, right.episodes], 1)))
    assert not bool((said == 0.5).any())  # equal ranks are not paired
    for side in (left, right):
        assert bool((side.starts + 4 <= lengths[side.episodes]).all())
    better = torch.where(said == 1, left.starts, right.starts)[
        (lengths[left.episodes] == 9) & (lengths[right.episodes] == 9)]
    worse = torch.where(said == 1, right.starts, left.starts)[
        (lengths[left.episodes] == 9) & (lengths[right.episodes] == 9)]
    assert abs(float((better - worse).double().mean())) < 0.3  # the clock does not tell


@pytest.mark.parametrize("ranks, window", [([1, 1], 3), ([1, 2], 9)])
def test_demonstrations_that_give_no_pair_are_refused(ranks, window, generator):
    with pytest.raises(InvalidArgumentError, match="two of different rank that hold a window"):
        trex_pairs(torch.zeros(2, 6), torch.zeros(2, 5), torch.tensor([5, 5]), torch.tensor(ranks),
                   2, window, generator)
