"""The exact game: its gradient, its convergence, its divergence, and what an unpaid end does."""

import math

import pytest
import torch

from tests.irl.worlds import random_mdp, random_policy
from tutorlib.errors import InvalidArgumentError
from tutorlib.exercises.adversarial_irl.worlds import METHODS, balancer, beam, idler, steps_alive
from tutorlib.irl.divergences import REWARDS, f_divergence
from tutorlib.irl.tabular_game import (
    GameSettings,
    advantages_of,
    exact_reward,
    normalised_occupancy,
    play_game,
)
from tutorlib.mdp import TabularMDP, occupancy_measure, policy_evaluation, q_values, uniform_policy

OWN = {"airl": "reverse_kl", "gail": "jensen_shannon", "forward_kl": "forward_kl"}


def endless(seed=0, **changes):
    return random_mdp(seed, states=5, actions=3, branches=3, horizon=None, **changes)


def one_state():
    return TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)


DEMO, EVEN = (torch.tensor([p], dtype=torch.float64) for p in ([0.9, 0.1], [0.5, 0.5]))


@pytest.mark.parametrize("method", OWN)
def test_the_policy_gradient_of_the_reward_descends_the_divergence(method):
    """Exact gradient of E_pi[r], r held fixed = minus autograd's gradient of D_f (f(u), 1e-10)."""
    mdp, demonstrator = endless(), random_policy(endless(), 1)
    demo = normalised_occupancy(mdp, demonstrator)
    logits = random_policy(mdp, 2).log().requires_grad_()
    visits = (1 - mdp.discount) * occupancy_measure(mdp, torch.softmax(logits, -1))
    loss = f_divergence(OWN[method], demo, visits)
    descent, = torch.autograd.grad(-loss, logits)
    with torch.no_grad():
        policy = torch.softmax(logits, -1)
        reward = exact_reward(demo, visits.detach(), method)
        climb = normalised_occupancy(mdp, policy) * advantages_of(mdp, policy, reward)
    assert torch.allclose(climb, descent, atol=1e-10)


def test_fairl_s_printed_reward_climbs_something_else():
    mdp = endless()
    demo = normalised_occupancy(mdp, random_policy(mdp, 1))
    logits = random_policy(mdp, 2).log().requires_grad_()
    policy = torch.softmax(logits, -1)
    visits = (1 - mdp.discount) * occupancy_measure(mdp, policy)
    descent, = torch.autograd.grad(-f_divergence("forward_kl", demo, visits), logits)
    fixed = exact_reward(demo, visits.detach(), "fairl_printed")
    climb = (visits * advantages_of(mdp, policy, fixed)).detach()
    assert float((climb * descent).sum()) < 0, "uphill in forward KL"
    # and yet its expectation is minus the divergence: only the gradient through u is missing
    value = float((visits.detach() * fixed).sum())
    forward = float(f_divergence("forward_kl", demo, visits.detach()))
    assert value == pytest.approx(-forward, abs=1e-10)


@pytest.mark.parametrize("step", ["mirror", "gradient"])
def test_the_printed_reward_moves_the_first_step_the_wrong_way(step):
    """The one-state case of the lesson: demo (.9, .1), policy (.5, .5)."""
    found = {m: play_game(one_state(), DEMO, m, GameSettings(rounds=1, step=step)).policy[0, 0]
             for m in REWARDS}
    assert float(found["fairl_printed"]) < 0.5
    assert all(float(found[m]) > 0.5 for m in METHODS)


def test_one_state_converges_for_four_rewards_and_runs_away_for_the_fifth():
    for method in REWARDS:
        found = play_game(one_state(), DEMO, method,
                          GameSettings(rounds=150, step="gradient", learning_rate=4.0))
        if method == "fairl_printed":
            assert float(found.policy[0, 0]) < 0.1
        else:
            assert float(found.distances[-1]) < 1e-4, method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("step, tolerance", [("mirror", 1e-7), ("gradient", 0.02)])
def test_the_game_ends_at_the_demonstrator(method, step, tolerance):
    mdp = endless(3)
    demonstrator = random_policy(mdp, 4)
    rate = 0.2 if step == "mirror" else 3.0
    found = play_game(mdp, demonstrator, method, GameSettings(150, rate, step))
    assert float(found.distances[-1]) < tolerance < float(found.distances[0])
    if step == "mirror":
        assert torch.allclose(found.policy, demonstrator, atol=1e-5)


def test_even_from_next_to_the_demonstrator_the_printed_reward_runs_away():
    mdp = endless(3)
    demonstrator = random_policy(mdp, 4)
    near = torch.softmax(demonstrator.log() + 1e-3 * random_policy(mdp, 5), -1)
    found = play_game(mdp, demonstrator, "fairl_printed", GameSettings(150), start=near)
    assert float(found.distances[0]) < 1e-3 < 0.2 < float(found.distances[-1])


@pytest.mark.parametrize("method", METHODS)
def test_judged_ends_make_every_reward_safe(method):
    mdp = beam()
    for demonstrator in (idler(mdp), balancer(mdp)):
        found = play_game(mdp, demonstrator, method, GameSettings(rounds=120))
        assert float(found.distances[-1]) < 1e-3
        assert steps_alive(mdp, found.policy) == pytest.approx(steps_alive(mdp, demonstrator),
                                                               rel=0.01)


def test_unpaid_ends_bias_by_the_sign_of_the_reward():
    """A demonstrator that does nothing 'teaches' balance, one that balances 'teaches' falling."""
    mdp, unpaid = beam(), GameSettings(rounds=80, pay_absorbing=False)
    alive = {(m, who.__name__): steps_alive(mdp, play_game(mdp, who(mdp), m, unpaid).policy)
             for m in METHODS for who in (idler, balancer)}
    idle, skilled = steps_alive(mdp, idler(mdp)), steps_alive(mdp, balancer(mdp))
    assert alive["gail", "idler"] > 10 * idle and alive["forward_kl", "idler"] > 5 * idle
    assert alive["gail_log_d", "balancer"] < skilled / 10
    for who, steps in (("idler", idle), ("balancer", skilled)):
        assert alive["airl", who] == pytest.approx(steps, rel=0.01)


def test_at_the_demonstrator_only_airl_s_reward_asks_for_no_change():
    """There h = 0: a constant reward, which moves no policy unless the end goes unpaid."""
    mdp = beam()
    demonstrator = balancer(mdp)
    demo = normalised_occupancy(mdp, demonstrator)
    for method, sign in (("airl", 0), ("gail", 1), ("gail_log_d", -1), ("forward_kl", 1)):
        gain = advantages_of(mdp, demonstrator, exact_reward(demo, demo, method))
        toward = float(gain[1, 2])  # leaning far left: the push that saves it
        assert (abs(toward) < 1e-12) if sign == 0 else toward * sign > 0


def test_advantages_are_those_of_the_library():
    mdp = random_mdp(2, terminals=1, horizon=None)
    policy = random_policy(mdp, 3)
    q = q_values(mdp, policy_evaluation(mdp, policy))
    expected = (q - (policy * q).sum(-1, keepdim=True)).masked_fill(mdp.terminal[:, None], 0.0)
    assert torch.allclose(advantages_of(mdp, policy, mdp.reward), expected, atol=1e-12)


def test_occupancies_are_normalised_and_what_is_done_after_the_end_does_not_count():
    mdp = random_mdp(1, terminals=1, horizon=None)
    policy = random_policy(mdp, 0)
    visits = normalised_occupancy(mdp, policy)
    assert float(visits.sum()) == pytest.approx(1.0)
    other = policy.clone()
    other[-1] = torch.tensor([1.0, 0.0])
    assert torch.equal(normalised_occupancy(mdp, other), visits)


def test_a_function_may_stand_for_a_method():
    named = play_game(one_state(), DEMO, "gail", GameSettings(rounds=5))
    given = play_game(one_state(), DEMO, torch.nn.functional.softplus, GameSettings(rounds=5))
    assert torch.equal(named.policies, given.policies)
    assert named.distances.shape == (6,) and math.isclose(float(named.distances[0]), 0.4)


def test_bad_settings_are_refused():
    with pytest.raises(InvalidArgumentError, match="mirror"):
        GameSettings(step="newton")
    with pytest.raises(InvalidArgumentError, match="learning_rate"):
        GameSettings(learning_rate=0.0)
    with pytest.raises(InvalidArgumentError, match="demonstrator"):
        play_game(one_state(), 2 * DEMO, "airl")
    with pytest.raises(InvalidArgumentError, match="discount"):
        mdp = random_mdp(0, terminals=1, discount=1.0, horizon=None)
        play_game(mdp, uniform_policy(mdp), "airl")
