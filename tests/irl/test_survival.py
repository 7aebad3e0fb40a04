"""Survival bias: episodes that can end early teach a lesson of their own, and a guard stops it."""

import dataclasses

import pytest
import torch

from tutorlib.control import evaluate
from tutorlib.irl.adversarial import CARTPOLE_PPO, cartpole_ppo
from tutorlib.irl.survival import (
    BalancesByRule,
    PushesOneWay,
    TossesACoin,
    cartpole,
    survival_run,
)

SHORT = dataclasses.replace(CARTPOLE_PPO, total_steps=1_024)


def test_the_demonstrators_know_nothing():
    obs, generator = torch.randn(50, 4), torch.Generator().manual_seed(0)
    assert PushesOneWay().sample(obs, generator).tolist() == [0] * 50
    assert set(TossesACoin().sample(obs, generator).tolist()) == {0, 1}
    assert evaluate("CartPole-v1", PushesOneWay(), 20).max() < 12


def test_the_rule_balances_as_long_as_the_task_lasts():
    assert evaluate("CartPole-v1", BalancesByRule(), 100).min() == 500
    assert evaluate("CartPole-v1", BalancesByRule(), 20, greedy=False).min() == 500


@pytest.mark.parametrize("guarded", [False, True])
def test_a_run_reports_true_returns_of_both(guarded):
    run = survival_run(PushesOneWay(), "gail", guarded, seed=3, episodes=5, ppo=SHORT)
    assert (run.method, run.guarded, run.seed) == ("gail", guarded, 3)
    expected = evaluate("CartPole-v1", PushesOneWay(), 200).mean()
    assert run.demonstrator_return == pytest.approx(float(expected), abs=1)  # guarded or not
    assert 8 <= run.imitator_return <= 100 and run.mean_reward > 0
    assert cartpole(guarded).fixed_horizon == (500 if guarded else None)


def test_a_reward_that_is_never_positive_pays_nothing_for_a_step():
    run = survival_run(TossesACoin(), "gail_log_d", False, episodes=5, ppo=SHORT)
    assert run.mean_reward < 0


@pytest.mark.slow
def test_unguarded_a_demonstrator_who_always_falls_seems_to_teach_balancing():
    """Seeds 0 and 1; the demonstrator lasts 9.4 steps. Under the guard its imitators fall too."""
    torch.set_num_threads(1)
    ppo = cartpole_ppo("gail", 20_480)
    open_, guarded = ([survival_run(PushesOneWay(), "gail", guard, seed, ppo=ppo).imitator_return
                       for seed in (0, 1)] for guard in (False, True))
    assert min(open_) > 3 * max(guarded) and max(guarded) < 15


@pytest.mark.slow
def test_unguarded_a_master_seems_to_teach_giving_up():
    """The mirror: log D is never positive, so every step costs; an end at once takes 9 steps.

    Seeds 0 and 1. The demonstrator lasts 500 steps; under the guard its imitators learn from it.
    """
    torch.set_num_threads(1)
    ppo = cartpole_ppo("gail_log_d", 20_480)
    open_, guarded = ([survival_run(BalancesByRule(), "gail_log_d", guard, seed, ppo=ppo)
                       for seed in (0, 1)] for guard in (False, True))
    assert all(run.demonstrator_return == 500 and run.mean_reward < 0 for run in open_ + guarded)
    quits, stays = ([run.imitator_return for run in runs] for runs in (open_, guarded))
    assert max(quits) < 12 and min(stays) > 5 * max(quits), (quits, stays)
