"""Tabular temporal-difference control against exact planning."""

import gymnasium
import numpy as np
import pytest
import torch

from tutorlib.control import (
    TDConfig,
    expected_sarsa,
    next_value,
    q_learning,
    sarsa,
    td_control,
)
from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import GridWorld, MDPEnv, TabularMDP, policy_evaluation, q_values, value_iteration

CLIFF = GridWorld("........\n........\nSXXXXXXG", step_reward=-0.01, rewards={"G": 0, "X": -1.0},
                  discount=1.0)


def two_steps():
    """Return s0 -> s1 -> end, paying 1 and then 2."""
    return TabularMDP.from_dense(
        [[[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]], [[0.0, 0.0, 1.0]]], [[1.0], [2.0], [0.0]],
        initial_state_dist=[1.0, 0.0, 0.0], discount=0.5, terminal=[False, False, True])


def test_two_episodes_by_hand():
    # episode 1: Q(s0) = 0.5*(1 + 0.5*0) = 0.5;  Q(s1) = 0.5*2 = 1
    # episode 2: Q(s0) = 0.5 + 0.5*(1 + 0.5*1 - 0.5) = 1;  Q(s1) = 1 + 0.5*(2 - 1) = 1.5
    result = q_learning(two_steps(), TDConfig(episodes=2, learning_rate=0.5))
    assert result.q_values.tolist() == [[1.0], [1.5], [0.0]]
    assert result.returns.tolist() == [3.0, 3.0]


def test_q_learning_finds_the_optimal_values_from_random_behaviour():
    grid = GridWorld("S..\n.#.\n..G", step_reward=-0.05, discount=0.9)
    config = TDConfig(episodes=1500, learning_rate=1.0, epsilon=1.0)  # deterministic: full steps
    learned = q_learning(grid.mdp, config, seed=0).q_values
    live = ~grid.mdp.terminal
    assert torch.allclose(learned[live], value_iteration(grid.mdp).q_values[live], atol=1e-6)


@pytest.mark.parametrize("learn", [sarsa, expected_sarsa])
def test_sarsa_learns_the_values_of_the_behaviour(learn):
    """At epsilon 1 behaviour is uniform whatever Q says, so its values are known exactly."""
    grid = GridWorld("S.G", step_reward=-0.1, discount=0.9)
    uniform = torch.full((3, 4), 0.25, dtype=torch.float64)
    exact = q_values(grid.mdp, policy_evaluation(grid.mdp, uniform))
    config = TDConfig(episodes=2000, learning_rate=0.02, epsilon=1.0)
    learned = learn(grid.mdp, config, seed=0).q_values
    assert torch.allclose(learned[:2], exact[:2], atol=0.12)


def test_expected_sarsa_is_the_mean_of_sarsa_over_the_next_action():
    row = np.array([0.3, 1.0, 1.0, -2.0])  # two best actions share what is not explored
    chances = 0.2 / 4 + 0.8 * np.array([0, 0.5, 0.5, 0])
    mean = sum(p * next_value("sarsa", row, a, 0.2) for a, p in enumerate(chances))
    assert next_value("expected_sarsa", row, 0, 0.2) == pytest.approx(mean)


def test_on_the_cliff_q_learning_learns_the_better_path_and_sarsa_the_safer_one():
    """Sutton and Barto 2018, Example 6.6."""
    config = TDConfig(episodes=400, learning_rate=0.5, epsilon=0.1)
    late = {"q_learning": [], "sarsa": []}
    at_start = {"q_learning": [], "sarsa": []}
    for seed in range(4):
        for method in late:
            result = td_control(CLIFF.mdp, method, config, seed)
            late[method].append(float(result.returns[-200:].mean()))
            start = CLIFF.state_of(2, 0)
            at_start[method].append(float(result.q_values[start].max()))
    assert np.mean(late["sarsa"]) > np.mean(late["q_learning"]) + 0.02
    optimal = float(value_iteration(CLIFF.mdp).values[CLIFF.state_of(2, 0)])
    assert np.allclose(at_start["q_learning"], optimal, atol=1e-3)
    assert max(at_start["sarsa"]) < optimal - 0.005


def test_a_time_limit_is_bootstrapped():
    """One state for ever, reward 1, discount 0.9: worth 10, however short the episodes are."""
    forever = TabularMDP.from_dense([[[1.0]]], [[1.0]], discount=0.9)
    for env in (forever, MDPEnv(forever, max_steps=3)):
        config = TDConfig(episodes=300, learning_rate=0.5, max_steps=5)
        assert q_learning(env, config).q_values.item() == pytest.approx(10.0, abs=1e-4)


def test_gymnasiums_own_environments_are_welcome():
    env = gymnasium.make("FrozenLake-v1", is_slippery=False)
    config = TDConfig(episodes=400, epsilon=1.0, discount=0.9, learning_rate=1.0)
    learned = q_learning(env, config, seed=1).q_values
    assert learned[0].max().item() == pytest.approx(0.9**5)  # six steps, paid at the last


def test_the_same_seed_gives_the_same_table():
    config = TDConfig(episodes=20)
    first, again, other = (sarsa(CLIFF.mdp, config, seed) for seed in (3, 3, 4))
    assert torch.equal(first.q_values, again.q_values)
    assert not torch.equal(first.q_values, other.q_values)


@pytest.mark.parametrize("run, match", [
    (lambda: td_control(two_steps(), "monte_carlo"), "expected one of"),
    (lambda: TDConfig(learning_rate=0.0), "learning_rate is 0"),
    (lambda: TDConfig(epsilon=1.5), "epsilon is 1.5"),
    (lambda: TDConfig(episodes=0), "at least 1"),
    (lambda: q_learning(gymnasium.make("CartPole-v1")), "use train_ppo"),
    (lambda: q_learning(gymnasium.make("FrozenLake-v1")), "TDConfig\\(discount"),
])
def test_bad_input_is_refused(run, match):
    with pytest.raises(InvalidArgumentError, match=match):
        run()
