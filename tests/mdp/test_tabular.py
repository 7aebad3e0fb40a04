from __future__ import annotations

import dataclasses
import math

import gymnasium
import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from tests.mdp.worlds import random_mdp
from tutorlib.errors import InvalidArgumentError, InvalidMDPError
from tutorlib.mdp import MDPEnv, TabularMDP, expected_next_values, q_values, value_iteration


def fields(**changes) -> dict:
    """Return the fields of a good process of 3 states (the last one terminal) and 2 actions."""
    good = {
        "successors": torch.tensor([[[0, 1], [1, 2]], [[2, 0], [0, 1]], [[2, 2], [2, 0]]]),
        "probabilities": torch.tensor(
            [[[0.2, 0.8], [0.5, 0.5]], [[1.0, 0.0], [0.3, 0.7]], [[0.4, 0.6], [1.0, 0.0]]],
            dtype=torch.float64,
        ),
        "reward": torch.tensor([[1.0, 2.0], [0.5, -1.0], [0.0, 0.0]], dtype=torch.float64),
        "initial_state_dist": torch.tensor([0.25, 0.75, 0.0], dtype=torch.float64),
        "terminal": torch.tensor([False, False, True]),
        "state_names": ("home", "road", "sea"),
        "action_names": ("walk", "swim"),
    }
    return good | changes


def changed(field: str, index: tuple, value: float) -> dict:
    """Return the good fields with one entry of one tensor changed."""
    tensor = fields()[field].clone()
    tensor[index] = value
    return fields(**{field: tensor})


def test_a_good_process_is_accepted_and_described_in_one_line():
    mdp = TabularMDP(**fields(horizon=7))
    assert (mdp.n_states, mdp.n_actions, mdp.n_branches) == (3, 2, 2)
    assert repr(mdp) == (
        "TabularMDP(n_states=3, n_actions=2, n_branches=2, discount=0.95, horizon=7, terminal=1, "
        "dtype=torch.float64, device='cpu')"
    )


def test_defaults_are_filled_in():
    mdp = TabularMDP(**fields(terminal=None, state_names=None, action_names=None))
    assert mdp.terminal.tolist() == [False] * 3
    assert mdp.state_names == ("s0", "s1", "s2") and mdp.action_names == ("a0", "a1")


BAD = {
    "row does not sum to one": (
        changed("probabilities", (1, 0, 0), 0.9),
        r"probabilities of state 'road' \(index 1\), action 'walk' \(index 0\) sum to 0.9; "
        "expected 1",
    ),
    "row sums to more than one": (changed("probabilities", (0, 1, 0), 0.6), "sum to 1.1;"),
    "negative probability": (
        fields(probabilities=torch.tensor(
            [[[0.2, 0.8], [0.5, 0.5]], [[1.0, 0.0], [-0.3, 1.3]], [[1.0, 0.0], [1.0, 0.0]]],
            dtype=torch.float64)),
        "state 'road' .*action 'swim' .* is -0.3; probabilities cannot be negative",
    ),
    "NaN probability": (
        changed("probabilities", (0, 1, 1), math.nan),
        "state 'home' .*action 'swim' .* is nan; expected a finite number",
    ),
    "NaN reward": (
        changed("reward", (0, 1), math.nan),
        "the reward of state 'home' .*action 'swim' .* is nan; expected a finite number",
    ),
    "infinite reward": (changed("reward", (1, 0), -math.inf), "'road'.*'walk'.* is -inf"),
    "successor too large": (
        changed("successors", (1, 1, 0), 3),
        "a successor of state 'road' .*action 'swim' .* is 3; expected a state index from 0 to 2",
    ),
    "successor negative": (changed("successors", (0, 0, 1), -1), "is -1; expected a state index"),
    "successors of floats": (
        fields(successors=fields()["successors"].double()),
        "successors is torch.float64; expected whole numbers",
    ),
    "successors of two axes": (
        fields(successors=fields()["successors"][:, 0]),
        r"successors has shape \(3, 2\); expected three axes",
    ),
    "no action at all": (
        fields(successors=torch.zeros(3, 0, 2, dtype=torch.long)), "every axis must be at least 1"
    ),
    "probabilities of another shape": (
        fields(probabilities=fields()["probabilities"][..., :1]),
        r"probabilities has shape \(3, 2, 1\); expected \(3, 2, 2\)",
    ),
    "reward of another shape": (
        fields(reward=torch.zeros(3, dtype=torch.float64)),
        r"reward has shape \(3,\); expected \(3, 2\)",
    ),
    "initial distribution of another shape": (
        fields(initial_state_dist=torch.ones(2, dtype=torch.float64) / 2),
        r"initial_state_dist has shape \(2,\); expected \(3,\)",
    ),
    "initial distribution does not sum to one": (
        changed("initial_state_dist", (0,), 0.5), "initial_state_dist sums to 1.25; expected 1"
    ),
    "initial distribution negative": (
        changed("initial_state_dist", (0,), -0.5), "gives state 'home' .* probability -0.5"
    ),
    "initial distribution NaN": (
        changed("initial_state_dist", (1,), math.nan), "gives state 'road' .* probability nan"
    ),
    "initial distribution of whole numbers": (
        fields(initial_state_dist=torch.tensor([1, 0, 0])),
        "initial_state_dist is torch.int64 but probabilities is torch.float64",
    ),
    "mixed precision": (
        fields(reward=fields()["reward"].float()),
        r"reward is torch.float32 but probabilities is torch.float64; use one dtype",
    ),
    "probabilities of whole numbers": (
        fields(probabilities=torch.ones(3, 2, 2, dtype=torch.long)), "expected floats"
    ),
    "terminal of whole numbers": (
        fields(terminal=torch.tensor([0, 0, 1])), "terminal is torch.int64; expected torch.bool"
    ),
    "terminal of another shape": (
        fields(terminal=torch.tensor([False, True])), r"terminal has shape \(2,\); expected \(3,\)"
    ),
    "tensors on two devices": (
        fields(reward=fields()["reward"].to("meta")),
        "reward is on meta but successors is on cpu; move all tensors to one device",
    ),
    "discount above one": (fields(discount=1.5), "discount is 1.5; expected a number from 0 to 1"),
    "discount negative": (fields(discount=-0.1), "discount is -0.1"),
    "discount NaN": (fields(discount=math.nan), "discount is nan"),
    "discount one without an end": (
        fields(discount=1.0, terminal=None),
        "discount is 1 with no horizon and no terminal state, so returns are unbounded",
    ),
    "horizon zero": (fields(horizon=0), "horizon is 0; expected a whole number >= 1, or None"),
    "horizon true": (fields(horizon=True), "horizon is True; expected a whole number"),
    "terminal state that is left": (
        changed("successors", (2, 0, 1), 1),
        r"terminal state 'sea' \(index 2\), action 'walk' \(index 0\) stays with probability 0.4",
    ),
    "terminal state that pays": (
        changed("reward", (2, 1), 3.0),
        "terminal state 'sea' .*action 'swim' .* pays reward 3; expected 0: pay it on arrival",
    ),
    "too few state names": (
        fields(state_names=("home", "road")), "state_names holds 2 names; expected 3"
    ),
    "too many action names": (
        fields(action_names=("a", "b", "c")), "action_names holds 3 names; expected 2"
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_its_place(case, unchecked):
    bad, message = BAD[case]
    with pytest.raises(InvalidMDPError, match=message):
        TabularMDP(**bad)


def test_discount_one_is_fine_with_a_terminal_state_or_a_horizon():
    assert TabularMDP(**fields(discount=1.0)).discount == 1.0
    assert TabularMDP(**fields(discount=1, terminal=None, horizon=5)).horizon == 5


def test_float32_rows_may_miss_one_by_float32_rounding():
    row = torch.full((1, 1, 10), 0.1)
    mdp = TabularMDP(torch.zeros(1, 1, 10, dtype=torch.long), row, torch.ones(1, 1), torch.ones(1))
    assert mdp.dtype == torch.float32


def test_replace_validates_again_and_leaves_the_original():
    mdp = TabularMDP(**fields())
    with pytest.raises(InvalidMDPError, match="discount"):
        mdp.replace(discount=2)
    other = mdp.replace(reward=mdp.reward * 2, horizon=3)
    assert other.horizon == 3 and mdp.horizon is None
    assert other.state_names == mdp.state_names
    assert torch.equal(other.reward, 2 * mdp.reward)


def test_instances_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TabularMDP(**fields()).discount = 0.5


def test_shapes_in_signatures_are_checked_while_testing():
    mdp = random_mdp(0)
    with pytest.raises(TypeCheckError):
        q_values(mdp, torch.zeros(5, dtype=torch.long))


@pytest.mark.parametrize("seed", range(5))
def test_dense_and_sparse_agree(seed):
    mdp = random_mdp(seed, states=6, branches=4, terminal=1)
    dense = mdp.transition_matrix
    assert torch.allclose(dense.sum(-1), torch.ones(6, 3, dtype=torch.float64))
    values = torch.randn(2, 6, dtype=torch.float64)
    expected = torch.einsum("sat,nt->nsa", dense, values)
    assert torch.allclose(expected_next_values(mdp, values), expected, atol=1e-14)
    back = TabularMDP.from_dense(
        dense, mdp.reward, mdp.initial_state_dist, mdp.discount, terminal=mdp.terminal
    )
    assert torch.allclose(back.transition_matrix, dense, atol=1e-15)
    assert torch.allclose(value_iteration(back).values, value_iteration(mdp).values, atol=1e-9)


def test_a_dense_matrix_beyond_memory_is_refused():
    states = 12_000
    own = torch.arange(states)[:, None, None].expand(states, 4, 1)
    ones = torch.ones(states, 4, 1, dtype=torch.float64)
    mdp = TabularMDP(own, ones, ones[..., 0], ones[:, 0, 0] / states)
    with pytest.raises(InvalidArgumentError, match="would hold 576000000 numbers"):
        _ = mdp.transition_matrix


def test_from_dense_reads_the_three_shapes_of_reward():
    dense = np.array([[[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.25, 0.75]]])
    on_states = TabularMDP.from_dense(dense, [1.0, 2.0])
    assert on_states.reward.tolist() == [[1.0, 1.0], [2.0, 2.0]]
    on_pairs = TabularMDP.from_dense(dense, [[1.0, 2.0], [3.0, 4.0]])
    assert on_pairs.reward.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    on_moves = TabularMDP.from_dense(dense, np.array([[[2.0, 4.0], [9, 1]], [[5, 9], [4, 8]]]))
    assert on_moves.reward.tolist() == [[3.0, 1.0], [5.0, 7.0]]


def test_from_dense_starts_uniformly_outside_terminal_states():
    dense = np.eye(3)[:, None, :]
    mdp = TabularMDP.from_dense(dense, np.zeros(3), terminal=[False, True, False])
    assert mdp.initial_state_dist.tolist() == [0.5, 0.0, 0.5]
    with pytest.raises(InvalidMDPError, match="every state is terminal"):
        TabularMDP.from_dense(dense, np.zeros(3), terminal=[True] * 3)


@pytest.mark.parametrize(
    ("dense", "reward", "message"),
    [
        (np.ones((2, 3)), np.zeros(2), r"transition_matrix has shape \(2, 3\)"),
        (np.ones((2, 1, 3)) / 3, np.zeros(2), r"transition_matrix has shape \(2, 1, 3\)"),
        (np.ones((2, 1, 2)) / 2, np.zeros(3), r"reward has shape \(3,\); expected \(2,\), \(2,"),
        (np.ones((2, 1, 2)) / 3, np.zeros(2), "state 's0' .* sum to 0.666666667"),
        (np.full((2, 1, 2), np.nan), np.zeros(2), "probability of state 's0' .* is nan"),
        (np.array([[[1.5, -0.5]], [[0, 1]]]), np.zeros(2), "is -0.5; probabilities cannot be neg"),
        (np.ones((2, 1, 2)) / 2, np.array([0, np.nan]), "the reward of state 's1' .* is nan"),
    ],
)
def test_from_dense_refuses_bad_input(dense, reward, message):
    with pytest.raises(InvalidMDPError, match=message):
        TabularMDP.from_dense(dense, reward)


def test_from_dense_keeps_the_dtype_of_tensors():
    mdp = TabularMDP.from_dense(torch.eye(2)[:, None, :], [0.0, 1.0])
    assert mdp.dtype == torch.float32
    assert TabularMDP.from_dense([[[1.0]]], [0.0]).dtype == torch.float64


def test_frozen_lake_is_loaded_with_its_holes_and_goal_as_terminal_states():
    env = gymnasium.make("FrozenLake-v1")
    mdp = TabularMDP.from_gymnasium(env, discount=0.99)
    assert mdp.terminal.nonzero().flatten().tolist() == [5, 7, 11, 12, 15]
    assert mdp.initial_state_dist[0] == 1 and mdp.horizon is None
    dense = mdp.transition_matrix.numpy()
    for state in range(16):
        for action in range(4):
            row = np.zeros(16)
            for probability, successor, _, _ in env.unwrapped.P[state][action]:
                row[successor] += probability
            assert np.allclose(dense[state, action], row, atol=1e-12)
    assert mdp.reward[14, 1] == pytest.approx(1 / 3)


def test_an_ending_overrides_the_row_of_its_state():
    # in CliffWalking's table the agent walks on from the goal, as if the episode had not ended
    env = gymnasium.make("CliffWalking-v1")
    assert env.unwrapped.P[47][0][0][1] != 47
    mdp = TabularMDP.from_gymnasium(env, discount=1.0)
    assert mdp.n_states == 48 and mdp.terminal.nonzero().flatten().tolist() == [47]
    assert value_iteration(mdp).values[36] == pytest.approx(-13)  # up, eleven right, down


def test_endings_that_depend_on_the_move_lead_to_an_extra_state():
    class Table(gymnasium.Env):
        P = {  # noqa: RUF012
            0: {0: [(1.0, 1, 5.0, True)], 1: [(0.5, 1, 1.0, False), (0.5, 1, 1.0, False)]},
            1: {0: [(1.0, 0, 2.0, False)], 1: [(0.5, 0, 0.0, True), (0.5, 0, 4.0, False)]},
        }
        initial_state_distrib = np.array([1.0, 0.0])

    mdp = TabularMDP.from_gymnasium(Table(), discount=0.5)
    assert mdp.state_names == ("s0", "s1", "terminated")
    assert mdp.terminal.tolist() == [False, False, True]
    assert mdp.transition_matrix[:2].tolist() == [
        [[0, 0, 1], [0, 1, 0]],
        [[1, 0, 0], [0.5, 0, 0.5]],
    ]
    assert mdp.reward.tolist() == [[5.0, 1.0], [2.0, 2.0], [0.0, 0.0]]


def test_taxi_is_worth_what_its_shortest_rides_are():
    env = gymnasium.make("Taxi-v4")
    mdp = TabularMDP.from_gymnasium(env, discount=1.0)
    table = env.unwrapped.P
    # steps to the end of the ride by breadth-first search; the last pays 20, the others -1
    steps, frontier = {}, [(s, a) for s in table for a in table[s] if table[s][a][0][3]]
    for length in range(1, 30):
        ready = {s for s, _ in frontier if s not in steps}
        steps |= dict.fromkeys(ready, length)
        frontier = [(s, a) for s in table for a in table[s] if table[s][a][0][1] in ready]
    starts = np.flatnonzero(env.unwrapped.initial_state_distrib)
    values = value_iteration(mdp).values
    assert values[starts].tolist() == pytest.approx([21 - steps[s] for s in starts])


def test_environments_without_a_table_are_refused():
    with pytest.raises(InvalidMDPError, match=r"no transition table env.unwrapped.P"):
        TabularMDP.from_gymnasium(gymnasium.make("CartPole-v1"))

    class Lost(gymnasium.Env):
        P = {0: {0: [(1.0, 0, 0.0, False)]}}  # noqa: RUF012

    with pytest.raises(InvalidMDPError, match="no initial_state_distrib"):
        TabularMDP.from_gymnasium(Lost())
    assert TabularMDP.from_gymnasium(Lost(), initial_state_dist=[1.0]).n_states == 1


def test_a_process_survives_the_round_through_its_own_environment():
    with pytest.raises(InvalidMDPError, match="no transition table"):
        TabularMDP.from_gymnasium(MDPEnv(random_mdp(0)))
