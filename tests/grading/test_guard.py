"""Copies that a learner's code works on, and the random states that it leaves as they were."""

import dataclasses
import random
import signal
import time

import numpy as np
import pytest
import torch

from tutorlib.grading.guard import (
    TimeLimitReached,
    call,
    copy_value,
    same,
    time_limit,
    unchanged_random_numbers,
)
from tutorlib.mdp import TabularMDP


@dataclasses.dataclass(frozen=True)
class Pair:
    left: list
    right: torch.Tensor


class Own:
    """Says itself how it is copied."""

    def __deepcopy__(self, memo):
        return self


def test_a_dataclass_is_copied_down_to_its_tensors_and_lists():
    pair = Pair([torch.ones(2)], torch.ones(2, requires_grad=True) * 1)  # no leaf
    twin = copy_value((pair,))[0]
    assert type(twin) is Pair and same(pair, twin)
    twin.left[0].fill_(5)
    twin.right.data.fill_(5)
    assert pair.left[0].sum() == 2 and pair.right.sum() == 2 and not same(pair, twin)


def test_a_world_is_the_same_world_and_works():
    mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]])
    mdp.transition_matrix  # noqa: B018  (kept on the object once asked for)
    twin = copy_value(mdp)
    assert same(mdp, twin) and torch.equal(mdp.transition_matrix, twin.transition_matrix)
    twin.reward.fill_(3)
    assert mdp.reward.sum() == 1


def test_an_object_that_says_how_it_is_copied_is_asked():
    @dataclasses.dataclass
    class Mine(Own):
        x: int = 0

    mine = Mine()
    assert copy_value(mine) is mine


def test_numbers_that_are_none_are_the_same():
    nan = torch.tensor([float("nan"), 1.0])
    assert same(nan, nan.clone()) and not same(nan, torch.tensor([float("nan"), 2.0]))


def test_random_states_come_back_after_a_call_or_after_all_of_a_judgement():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    def once():
        return call(draw, (), {}, 1.0).value

    alone = once()
    assert once() == alone, "each call alone leaves everything as it was"
    with unchanged_random_numbers():
        within = [once(), once()]
    assert within[0] == alone and within[1][:2] != alone[:2] and within[1][2] == alone[2]
    assert once() == alone


def test_a_call_on_the_arguments_themselves_looks_for_no_change():
    items = [1]
    outcome = call(items.append, (2,), {}, 1.0, copied=False)
    assert items == [1, 2] and outcome.changed == () and outcome.error is None
    given = [0]
    outcome = call(lambda x, y: (x.append(1), y.append(1)), (given,), {"y": given}, 1.0)
    assert given == [0] and outcome.changed == ("argument 1", "`y`")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_a_limit_within_another_one_leaves_it_its_time():
    before = signal.getitimer(signal.ITIMER_REAL)[0]
    with pytest.raises(TimeLimitReached):
        with time_limit(0.3):
            with time_limit(60):
                pass
            assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.3
            time.sleep(20)
    with pytest.raises(TimeLimitReached):
        with time_limit(0.05):
            with pytest.raises(TimeLimitReached):
                with time_limit(0.2):
                    time.sleep(20)
            time.sleep(20)
    assert bool(signal.getitimer(signal.ITIMER_REAL)[0]) is bool(before), "pytest's own is back"
