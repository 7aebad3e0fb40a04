"""DAgger on tables: the data it gathers, what it needs, and the growth it buys."""

import math

import pytest
import torch

from tutorlib.errors import InvalidArgumentError
from tutorlib.imitation import (
    DaggerConfig,
    clone_tabular,
    dagger,
    expert_first,
    geometric,
    in_the_river,
    linear,
    rope_expert,
    tightrope,
)
from tutorlib.mdp import policy_evaluation, sample_trajectories, state_distributions


def cost(world, policy, horizon):
    return state_distributions(world, policy, horizon)[1:, in_the_river(world)].sum(-1).cumsum(0)


@pytest.fixture(scope="module")
def rope():
    return tightrope(length=6, wind=0.2)


@pytest.fixture(scope="module")
def walker(rope):
    return rope_expert(rope)


def test_the_walker_never_falls_and_is_the_best_there_is(rope, walker):
    assert float(cost(rope, walker, 300)[-1]) == 0.0
    assert float(policy_evaluation(rope, walker)[:18].abs().max()) == 0.0  # nobody can do better
    wet = rope.replace(initial_state_dist=torch.eye(rope.n_states, dtype=torch.float64)[-4])
    assert cost(wet, walker, 10)[:5].tolist() == [1.0, 2.0, 3.0, 3.0, 3.0]  # four strokes, and out


def test_guessing_in_the_river_takes_120_strokes(rope):
    """3 + 9 + 27 + 81: the expected wait for four right guesses in a row."""
    even = torch.full((rope.n_states, 3), 1 / 3, dtype=torch.float64)
    river = in_the_river(rope)
    inside = torch.einsum("sa,sat->st", even, rope.transition_matrix)[river][:, river]
    wait = torch.linalg.solve(torch.eye(4, dtype=torch.float64) - inside,
                              torch.ones(4, dtype=torch.float64))
    assert float(wait[0]) == pytest.approx(120.0)


def test_labels_are_the_experts_and_data_grow_by_an_episode_a_round(rope, walker):
    result = dagger(rope, walker, DaggerConfig(rounds=4, episodes=2, horizon=9), seed=1)
    assert [entry["labels"] for entry in result.history] == [18, 36, 54, 72]
    assert torch.equal(result.actions, walker[result.states].argmax(-1))
    torch.testing.assert_close(result.policy, result.policies[-1])
    assert [entry["beta"] for entry in result.history] == [1.0, 0.0, 0.0, 0.0]


def test_the_first_round_is_behaviour_cloning(rope, walker):
    """The expert drives alone: the same law of states, and no state the expert never visits."""
    result = dagger(rope, walker, DaggerConfig(rounds=1, episodes=50, horizon=25), seed=0)
    assert not bool(in_the_river(rope)[result.states].any())
    pairs = [(result.states.tolist(), result.actions.tolist())]
    torch.testing.assert_close(result.policy, clone_tabular(rope, pairs))


def test_a_function_and_its_table_are_the_same_expert(rope, walker):
    config = DaggerConfig(rounds=3, horizon=12)
    by_table = dagger(rope, walker, config, seed=5)
    by_function = dagger(rope, lambda states: walker[states].argmax(-1), config, seed=5)
    assert torch.equal(by_table.states, by_function.states)


def test_a_stochastic_expert_answers_by_chance(rope):
    even = torch.full((rope.n_states, 3), 1 / 3, dtype=torch.float64)
    result = dagger(rope, even, DaggerConfig(rounds=2, episodes=30, horizon=20), seed=0)
    shares = torch.bincount(result.actions, minlength=3) / len(result.actions)
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.05)


def test_the_same_seed_gives_the_same_learner(rope, walker):
    first, again, other = (dagger(rope, walker, DaggerConfig(rounds=3, horizon=10), seed=s)
                           for s in (0, 0, 1))
    assert torch.equal(first.states, again.states) and not torch.equal(first.states, other.states)


def test_cloning_grows_as_the_square_and_dagger_linearly_at_the_same_error_rate(rope, walker):
    """Doubling a horizon of 25 costs nearly four times as much, and twice as much."""
    at_home = state_distributions(rope, walker, 25)[:-1].mean(0)
    config = DaggerConfig(rounds=20, episodes=2, horizon=25, smoothing=0.2)
    costs, rates = {"bc": [], "dagger": []}, {"bc": [], "dagger": []}
    for seed in range(5):
        walks = sample_trajectories(rope, walker, 40, 25, torch.Generator().manual_seed(seed))
        for name, policy in (("bc", clone_tabular(rope, walks, 0.2)),
                             ("dagger", dagger(rope, walker, config, seed).policy)):
            costs[name].append(cost(rope, policy, 50))
            rates[name].append(float(at_home @ (1 - (policy * walker).sum(-1))))
    growth = {k: float(torch.stack(c).mean(0)[49] / torch.stack(c).mean(0)[24])
              for k, c in costs.items()}
    assert growth["bc"] > 3.5 and growth["dagger"] < 2.3
    assert sum(rates["bc"]) == pytest.approx(sum(rates["dagger"]), rel=0.15)


def test_without_a_way_out_dagger_grows_as_the_square_too(walker):
    gorge = tightrope(length=6, wind=0.2, way_out=False)
    policy = dagger(gorge, walker, DaggerConfig(20, 2, 25, smoothing=0.2), seed=0).policy
    grown = cost(gorge, policy, 50)
    assert float(grown[49] / grown[24]) > 3.5


def test_schedules():
    assert [expert_first(i) for i in range(3)] == [1, 0, 0]
    assert [geometric(0.3)(i) for i in range(3)] == pytest.approx([1, 0.3, 0.09])
    assert [linear(2)(i) for i in range(4)] == [1, 0.5, 0, 0]
    with pytest.raises(InvalidArgumentError, match="rate"):
        geometric(1.5)
    for bad in (0, 2.5, math.nan):
        with pytest.raises(InvalidArgumentError, match="rounds"):
            linear(bad)


def test_bad_settings_are_refused(rope, walker):
    with pytest.raises(InvalidArgumentError, match="rounds"):
        DaggerConfig(rounds=0)
    with pytest.raises(InvalidArgumentError, match="episodes is 2"):
        DaggerConfig(episodes=2.5)
    with pytest.raises(InvalidArgumentError, match="function of the round"):
        dagger(rope, walker, DaggerConfig(horizon=5, beta=[1.0, 0.0]))
    with pytest.raises(InvalidArgumentError, match="beta is 2"):
        dagger(rope, walker, DaggerConfig(horizon=5, beta=lambda i: 2.0))
    with pytest.raises(InvalidArgumentError, match="horizon"):
        dagger(rope, walker)  # neither the process nor the settings have one
    with pytest.raises(InvalidArgumentError, match="expert's policy"):
        dagger(rope, torch.ones_like(walker), DaggerConfig(horizon=5))
    with pytest.raises(InvalidArgumentError, match="marks"):
        tightrope(length=1)
