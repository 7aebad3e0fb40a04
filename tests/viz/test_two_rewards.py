"""The painted pair of rewards: what it computes, says and refuses, without a browser."""

import numpy as np
import pytest
import torch

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import GridWorld, policy_iteration
from tutorlib.viz import TwoRewards

MAP = "...G\n.#.X\nS..."


def pair(**settings):
    return TwoRewards(GridWorld(MAP, slip=0.1, step_reward=-0.1, discount=0.9), **settings)


def test_a_potential_changes_rewards_and_no_policy():
    widget = pair()
    generator = torch.Generator().manual_seed(0)
    widget.second = 5 * torch.randn(11, generator=generator, dtype=torch.float64)
    left, right = widget.rewards
    assert float((left - right).abs().max()) > 1
    torch.testing.assert_close(*widget.policies)
    assert widget.verdicts[:2] == ["Optimal actions: the same in all 9 cells.",
                                   "Soft policies at λ = 1: the same."]
    widget.temperature = 0.3
    torch.testing.assert_close(*widget.policies, atol=1e-9, rtol=0)
    assert widget.verdicts[1] == "Soft policies at λ = 0.3: the same."


def test_values_move_by_the_potential_held_at_zero_where_episodes_end():
    widget = pair(second=np.arange(11.0))
    held = torch.arange(11.0, dtype=torch.float64).masked_fill(
        GridWorld(MAP).mdp.terminal, 0.0)
    sides = [torch.tensor(widget.answer[side]["values"]) for side in ("left", "right")]
    torch.testing.assert_close(sides[0] - sides[1], held.to(sides[0]), atol=1e-5, rtol=1e-5)


def test_an_end_that_keeps_its_potential_is_seen():
    widget = pair()
    widget.paint("right", 0, 3, -20.0)
    assert widget.verdicts[0].startswith("Optimal actions: the same")
    widget.hold_ends = False
    assert "different in" in widget.verdicts[0] and "differ by up to" in widget.verdicts[1]


def test_a_second_reward_is_planned_for_by_itself():
    widget = pair(kind="reward")
    widget.second = [0.0] * 11
    widget.paint("right", 0, 0, 1.0)
    grid = GridWorld(MAP, slip=0.1, discount=0.9).with_rewards({(0, 3): 0.0, (1, 3): 0.0,
                                                               (0, 0): 1.0})
    torch.testing.assert_close(widget.policies[1], policy_iteration(grid.mdp).policy)
    widget.second = [2 * r for r in widget.first]
    assert widget.verdicts[0] == "Optimal actions: the same in all 9 cells."
    assert "differ by up to" in widget.verdicts[1]  # twice the reward is another soft policy


def test_the_callable_distance_is_told_both_rewards():
    told = []

    def distance(mdp, first, second):
        told.append((mdp.n_states, float((first - second).abs().max())))
        return 0.5

    widget = pair(distance=distance)
    assert widget.verdicts[-1] == "No potential explains it: at best 0.500 in a step is left over."
    assert told == [(11, 0.0)]
    assert len(pair().verdicts) == 3


@pytest.mark.parametrize("name, value, message", [
    ("second", [0.0] * 5, r"second has shape \(5,\)"),
    ("first", [float("nan")] * 11, "first"),
    ("kind", "both", "kind is 'both'; expected one of potential, reward"),
    ("temperature", -1, "temperature is -1; expected a number from 0 to 100"),
])
def test_a_setting_that_makes_no_sense_is_refused_and_put_back(name, value, message):
    widget = pair()
    before = getattr(widget, name), widget.answer
    setattr(widget, name, value)
    assert (getattr(widget, name), widget.answer) == before
    assert widget.message.startswith("Not accepted: ")
    with pytest.raises(InvalidArgumentError, match=message):
        if name == "first":
            widget._compute({**widget._good, "first": value})
        else:
            pair(**{name: value})
    widget.temperature = 0.5
    assert widget.message == ""


def test_reset_and_misuse():
    widget = pair(second=np.arange(11.0))
    start = widget.answer
    widget.paint("left", 0, 0, 3.0)
    widget.kind = "reward"
    assert widget.answer != start
    widget.reset()
    assert widget.answer == start and widget.kind == "potential"
    with pytest.raises(InvalidArgumentError, match="side is 'middle'"):
        widget.paint("middle", 0, 0, 1.0)
    with pytest.raises(InvalidArgumentError, match="121 cells; at most 100"):
        TwoRewards(GridWorld("\n".join(["." * 11] * 11)))


def test_the_static_view_is_two_described_maps():
    data, _ = pair(second=np.arange(11.0))._repr_mimebundle_()
    assert 'data-testid="two-rewards-static"' in data["text/html"]
    assert "Panel 1, reward" in data["text/plain"] and "Panel 2, shaped reward" in (
        data["text/plain"])
    assert "Optimal actions: the same" in data["text/html"]
