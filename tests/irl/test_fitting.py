"""Fitting: it recovers what demonstrations show, says why it stopped, and transfers."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from tests.irl.worlds import random_mdp, random_policy, random_reward
from tutorlib.errors import InvalidArgumentError, NotConvergedError
from tutorlib.irl import (
    FitSettings,
    LinearReward,
    NeuralReward,
    TabularReward,
    disjoint_union,
    evaluate_transfer,
    evaluate_transfers,
    expert_visits,
    fit_reward,
    forward_pass,
    join_visits,
    pay,
    solve_causal,
    split_states,
)
from tutorlib.mdp import GridWorld, sample_trajectories

close = torch.testing.assert_close
MAP = "....G\n.....\n.....\n.....\nS...."
GRID = {"step_reward": -0.04, "discount": 0.9, "slip": 0.1,
        "cell_rewards": {(2, 2): -1.0, (0, 2): -0.5}}
SHARP = FitSettings(temperature=0.2, optimizer="lbfgs", steps=200, occupancy_tolerance=1e-4)


def grid_features(mdp):
    return torch.eye(mdp.n_states, dtype=torch.float64)


@pytest.mark.parametrize("horizon", [None, 20])
@pytest.mark.parametrize("kind", ["tabular", "linear", "neural"])
def test_every_kind_of_reward_reaches_the_demonstrators_visits(kind, horizon):
    mdp = GridWorld(MAP, horizon=horizon, **GRID).mdp
    expert = solve_causal(mdp, mdp.reward, 0.2)
    model = {"tabular": TabularReward(mdp, "arrival"),
             "linear": LinearReward(grid_features(mdp), "arrival"),
             "neural": NeuralReward(grid_features(mdp).float(), (32,), "arrival")}[kind]
    result = fit_reward(mdp, model, expert.occupancy, SHARP)
    assert result.stopped_by == "occupancy" and result.converged
    assert float((result.solution.occupancy - expert.occupancy).abs().max()) <= 1e-4
    # loss falls to the entropy of the expert's own choices
    entropy = -(expert.occupancy * expert.policy.log()).sum() if horizon is None else None
    if entropy is not None:
        assert result.history[-1]["loss"] == pytest.approx(float(entropy), abs=1e-3)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert evaluate_transfer(mdp, result.reward, horizon=horizon).regret < 1e-6


@pytest.mark.parametrize("optimizer, steps", [("adam", 300), ("sgd", 600), ("lbfgs", 50)])
def test_every_optimizer_gets_there(optimizer, steps):
    mdp = random_mdp(0, states=5, horizon=6)
    expert = solve_causal(mdp, mdp.reward).occupancy
    rate = 0.5 if optimizer == "sgd" else 0.1
    settings = FitSettings(optimizer=optimizer, steps=steps, learning_rate=rate,
                           occupancy_tolerance=2e-3)
    assert fit_reward(mdp, TabularReward(mdp), expert, settings).stopped_by == "occupancy"


def test_changing_the_reward_changes_the_expert_and_what_is_learned():
    """No demonstrator is built in: opposite rewards give opposite policies."""
    mdp = GridWorld("S...G", discount=0.9, slip=0.1, rewards={"G": 5.0}).mdp
    learned = []
    for sign in (1.0, -1.0):
        expert = solve_causal(mdp, sign * mdp.reward, 0.2)
        model = TabularReward(mdp, "arrival")
        result = fit_reward(mdp, model, expert.occupancy, SHARP)
        assert result.converged
        learned.append(result.solution.policy)
    assert float(learned[0][2, 1]) > 0.7 > 0.3 > float(learned[1][2, 1])


def test_negative_rewards_only_are_no_obstacle():
    mdp = random_mdp(2, states=5, horizon=6)
    punishing = -random_reward(mdp, 0).abs() - 5.0
    expert = solve_causal(mdp, punishing)
    tables = expert.policy
    demos = sample_trajectories(mdp, tables, 4_000, 6, torch.Generator().manual_seed(0))
    result = fit_reward(mdp, TabularReward(mdp), demos, FitSettings(l2=0.01, steps=200))
    assert float((result.solution.occupancy - expert.occupancy).abs().max()) < 0.05


def test_features_that_cannot_tell_end_with_their_own_gap_closed():
    """Two features: the visits cannot match, the expected features do, and it says so."""
    mdp = GridWorld(MAP, **GRID).mdp
    expert = solve_causal(mdp, mdp.reward, 0.2).occupancy
    features = torch.stack([torch.ones(25), torch.arange(25) / 25.0], -1).double()
    model = LinearReward(features, "arrival")
    result = fit_reward(mdp, model, expert, FitSettings(
        temperature=0.2, optimizer="lbfgs", gradient_tolerance=1e-4))
    assert result.stopped_by == "gradient" and result.history[-1]["occupancy_gap"] > 0.01
    paid = torch.stack([pay(mdp, column, "arrival") for column in features.T], -1)
    gap = torch.einsum("sa,sak->k", result.solution.occupancy - expert, paid)
    assert float(gap.abs().max()) <= 0.2 * 1e-4 + 1e-12


def test_it_says_when_steps_ran_out_and_keeps_a_history():
    mdp = random_mdp(0)
    expert = solve_causal(mdp, mdp.reward).occupancy
    result = fit_reward(mdp, TabularReward(mdp), expert, FitSettings(steps=3))
    assert result.stopped_by == "steps" and not result.converged
    assert [line["step"] for line in result.history] == [0, 1, 2, 3]
    assert set(result.history[0]) == {"step", "loss", "occupancy_gap", "gradient"}
    # r = 0 plans uniformly: the loss of every demonstrator is then log 2 per discounted step
    assert result.history[0]["loss"] == pytest.approx(float(torch.tensor(2.0).log()) * 2.71)


def test_a_line_search_at_the_end_of_precision_says_that_it_stalled():
    mdp = random_mdp(0)
    expert = solve_causal(mdp, mdp.reward).occupancy
    result = fit_reward(mdp, TabularReward(mdp), expert, FitSettings(
        optimizer="lbfgs", occupancy_tolerance=0.0, gradient_tolerance=0.0))
    assert result.stopped_by == "stalled" and not result.converged
    assert len(result.history) < 100 and result.history[-1]["occupancy_gap"] < 1e-6


def test_an_l2_penalty_bounds_what_few_demonstrations_would_push_to_infinity():
    mdp = random_mdp(0, branches=1, discount=1.0, horizon=2)
    start = 2
    mdp = mdp.replace(initial_state_dist=torch.eye(4, dtype=torch.float64)[start])
    after = int(mdp.successors[start, 0, 0])
    then = int(mdp.successors[after, 1, 0])
    demo = [([start, after, then], [0, 1])]
    model, penalised = TabularReward(mdp), TabularReward(mdp)
    fit_reward(mdp, model, demo, FitSettings(steps=300))
    result = fit_reward(mdp, penalised, demo, FitSettings(steps=300, l2=0.1))
    assert result.stopped_by == "gradient"
    free, bound = (float(m.table.detach().abs().max()) for m in (model, penalised))
    assert bound < 0.5 * free


def test_matching_visits_is_no_reason_to_stop_while_a_penalty_is_paid():
    mdp = random_mdp(0)
    expert = solve_causal(mdp, mdp.reward).occupancy
    model = TabularReward(mdp)
    with torch.no_grad():
        model.table.copy_(mdp.reward)  # the truth: no gap at all, but a norm to shrink
    result = fit_reward(mdp, model, expert, FitSettings(l2=0.1, optimizer="lbfgs"))
    assert result.stopped_by == "gradient" and result.history[-1]["step"] > 0
    assert float(model.table.detach().norm()) < float(mdp.reward.norm())


@pytest.mark.parametrize("horizon", [4, None])
def test_a_batch_is_fitted_like_each_alone(horizon):
    mdp = random_mdp(0, horizon=horizon)
    experts = solve_causal(mdp, random_reward(mdp, 0, 3)).occupancy
    settings = FitSettings(steps=40, occupancy_tolerance=0.0)
    together = fit_reward(mdp, TabularReward(mdp, batch=(3,)), experts, settings)
    for i in range(3):
        alone = fit_reward(mdp, TabularReward(mdp), experts[i], settings)
        close(together.reward[i], alone.reward, atol=1e-7, rtol=0)


@pytest.mark.parametrize("horizon", [3, None])
def test_a_union_of_processes_is_solved_and_fitted_like_its_parts(horizon):
    parts = [random_mdp(0, horizon=horizon), random_mdp(1, states=6, branches=3, horizon=horizon),
             random_mdp(2, terminals=1, horizon=horizon)]
    union = disjoint_union(parts)
    rewards = [random_reward(mdp, i) for i, mdp in enumerate(parts)]
    solution = solve_causal(union, torch.cat(rewards))
    for mdp, reward, visits in zip(
            parts, rewards, split_states(parts, solution.occupancy), strict=True):
        close(visits * len(parts), solve_causal(mdp, reward).occupancy, atol=1e-9, rtol=0)
    experts = [solve_causal(mdp, mdp.reward).occupancy for mdp in parts]
    model = TabularReward(union)
    result = fit_reward(union, model, join_visits(experts), FitSettings(occupancy_tolerance=1e-3))
    assert result.converged


def test_unions_of_what_does_not_fit_are_refused():
    with pytest.raises(InvalidArgumentError, match="at least one"):
        disjoint_union([])
    for other in (random_mdp(0, actions=3), random_mdp(0, discount=0.5), random_mdp(0, horizon=9)):
        with pytest.raises(InvalidArgumentError, match="must share"):
            disjoint_union([random_mdp(0), other])


def turned(mdp):
    """Return the process with its actions renamed: up does what down did, right what left did."""
    flip = [2, 3, 0, 1]
    return mdp.replace(successors=mdp.successors[:, flip], reward=mdp.reward[:, flip],
                       probabilities=mdp.probabilities[:, flip])


def test_a_reward_of_states_transfers_and_a_reward_of_actions_does_not():
    """Both explain the demonstrations; only R(s') survives other actions and more slipping."""
    old = GridWorld(MAP, **GRID).mdp
    worlds = {"turned": turned(old), "slippery": GridWorld(MAP, **(GRID | {"slip": 0.4})).mdp}
    expert = solve_causal(old, old.reward, 0.2).occupancy
    regret = {}
    for paid in ("arrival", "action"):
        model = TabularReward(old, paid)
        assert fit_reward(old, model, expert, SHARP).converged
        regret[paid] = {name: found.regret_share
                        for name, found in evaluate_transfers(worlds, model).items()}
    assert regret["arrival"]["turned"] < 0.01 and regret["arrival"]["slippery"] < 0.01
    assert regret["action"]["turned"] > 0.5


@pytest.mark.parametrize("horizon", [5, None])
@pytest.mark.parametrize("temperature", [None, 0.3])
def test_transfer_of_the_truth_itself(horizon, temperature):
    mdp = random_mdp(1, horizon=horizon)
    found = evaluate_transfer(mdp, mdp.reward, temperature)
    if temperature is None:
        assert found.regret == pytest.approx(0.0, abs=1e-9)
    else:
        assert 0 < found.regret_share < 1
    assert evaluate_transfer(mdp, -mdp.reward).regret > 0
    nothing = evaluate_transfer(mdp, torch.zeros_like(mdp.reward), temperature=1.0)
    assert nothing.regret_share == pytest.approx(1)  # no reward: soft planning acts at random


def test_bad_settings_and_runaway_rewards_are_refused():
    mdp = random_mdp(0)
    expert = solve_causal(mdp, mdp.reward).occupancy
    with pytest.raises(InvalidArgumentError, match="'adam', 'sgd' or 'lbfgs'"):
        fit_reward(mdp, TabularReward(mdp), expert, FitSettings(optimizer="adamw"))
    with pytest.raises(InvalidArgumentError, match="'gap' or 'likelihood'"):
        fit_reward(mdp, TabularReward(mdp), expert, FitSettings(objective="mle"))
    with pytest.raises(InvalidArgumentError, match="needs them per step"):
        fit_reward(mdp, TabularReward(mdp), expert, FitSettings(objective="likelihood"))
    broken = copy.deepcopy(TabularReward(mdp))
    with torch.no_grad():
        broken.table[1, 1] = torch.nan
    with pytest.raises(InvalidArgumentError, match="'s1', action 'a1' is not finite"):
        fit_reward(mdp, broken, expert)
    with pytest.raises(InvalidArgumentError, match="average over demonstrations"):
        fit_reward(mdp, TabularReward(mdp), 100 * expert)
    with pytest.raises(InvalidArgumentError, match="no demonstrations"):
        fit_reward(mdp, TabularReward(mdp), [])


@pytest.mark.parametrize("objective", ["gap", "likelihood"])
def test_fitting_from_sampled_demonstrations_improves_on_chance(objective):
    mdp = GridWorld(MAP, **GRID).mdp
    expert = solve_causal(mdp, mdp.reward, 0.05)
    settings = FitSettings(temperature=0.05, l2=0.01, steps=200, objective=objective)
    for seed in range(3):
        gen = torch.Generator().manual_seed(seed)
        demos = sample_trajectories(mdp, expert.policy, 50, 100, gen)
        result = fit_reward(mdp, TabularReward(mdp, "arrival"), demos, settings)
        assert evaluate_transfer(mdp, result.reward).regret_share < 0.05


def test_from_a_sample_the_gap_has_no_minimum_and_the_likelihood_has():
    """Visits of a sample obey no dynamics: the reward runs away along a shaping, and it says so."""
    mdp = random_mdp(3, states=5, branches=3, horizon=None)
    expert = solve_causal(mdp, mdp.reward)
    demos = sample_trajectories(mdp, expert.policy, 100, 150, torch.Generator().manual_seed(0))
    settings = FitSettings(optimizer="lbfgs", steps=100)
    with pytest.raises(NotConvergedError, match="no policy of this process"):
        fit_reward(mdp, TabularReward(mdp), demos, settings)
    likely = dataclasses.replace(settings, objective="likelihood")
    result = fit_reward(mdp, TabularReward(mdp), demos, likely)
    assert result.converged and result.history[-1]["loss"] > 0
    # its policy is then the frequency of each action in each state: the tabular estimate
    counts = expert_visits(mdp, demos)
    close(result.solution.policy, counts / counts.sum(-1, keepdim=True), atol=1e-2, rtol=0)


@pytest.mark.parametrize("horizon", [4, None])
def test_both_objectives_agree_on_exact_visits(horizon):
    mdp = random_mdp(0, states=5, horizon=horizon)
    expert = solve_causal(mdp, mdp.reward)
    table = expert.occupancy if horizon is None else forward_pass(mdp, expert.policy, per_step=True)
    settings = FitSettings(steps=30, occupancy_tolerance=0.0)
    one = fit_reward(mdp, TabularReward(mdp), expert.occupancy, settings)
    two = fit_reward(mdp, TabularReward(mdp), table,
                     dataclasses.replace(settings, objective="likelihood"))
    close(one.reward, two.reward, atol=1e-6, rtol=0)


def test_random_policies_too_are_explained_by_a_reward_of_actions():
    """Any policy with full support is soft-optimal for r = lambda log pi (Cao et al. 2021)."""
    mdp = random_mdp(4, horizon=None)
    policy = random_policy(mdp, 4)
    close(solve_causal(mdp, policy.log()).policy, policy, atol=1e-8, rtol=0)
