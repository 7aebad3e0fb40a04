"""Discriminators: their loss, their logits, and that nothing leaks out of them."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from tutorlib.control import Transitions, make_policy
from tutorlib.irl.discriminators import (
    LogitNet,
    ShapedNet,
    demonstrator_logits,
    discriminator_loss,
    gradient_penalty,
)

CARTPOLE = gymnasium.spaces.Box(-5, 5, (4,)), gymnasium.spaces.Discrete(2)
PENDULUM = gymnasium.spaces.Box(-8, 8, (3,)), gymnasium.spaces.Box(-2, 2, (1,))
SPACES = pytest.mark.parametrize("spaces", [CARTPOLE, PENDULUM], ids=["discrete", "real"])


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def steps_for(spaces, n=7, seed=0):
    g, inputs = gen(seed), spaces[0].shape[0]
    actions = (torch.randint(2, (n,), generator=g) if spaces is CARTPOLE
               else torch.randn(n, 1, generator=g))
    return Transitions(torch.randn(n, inputs, generator=g), actions,
                       torch.randn(n, inputs, generator=g), torch.arange(n) % 3 == 0)


def test_the_loss_is_torchs_cross_entropy_with_label_1_for_the_demonstrator():
    demo, policy = torch.randn(5, generator=gen(1)) + 1, torch.randn(5, generator=gen(2)) - 2
    labels = torch.cat([torch.ones(5), torch.zeros(5)])
    expected = binary_cross_entropy_with_logits(torch.cat([demo, policy]), labels)
    assert float(discriminator_loss(demo, policy)) == pytest.approx(float(expected), rel=1e-6)
    assert discriminator_loss(demo, policy) < discriminator_loss(policy, demo)
    # sides of different size count half each
    expected = 0.5 * (binary_cross_entropy_with_logits(demo, torch.ones(5))
                      + binary_cross_entropy_with_logits(policy[:2], torch.zeros(2)))
    assert float(discriminator_loss(demo, policy[:2])) == pytest.approx(float(expected), rel=1e-6)


@SPACES
def test_the_shaped_reward_is_written_out(spaces):
    net, steps = ShapedNet(*spaces, (8,), gen(), discount=0.9), steps_for(spaces)
    here, there = (net.potential(x)[:, 0].tolist() for x in (steps.obs, steps.next_obs))
    plain, shaped = net.reward(steps).tolist(), net(steps).tolist()
    for i in range(7):
        expected = plain[i] - here[i] + (0 if steps.ended[i] else 0.9 * there[i])
        assert shaped[i] == pytest.approx(expected, abs=1e-6)
    assert torch.equal(net.reward(steps), LogitNet.forward(net, steps))


def test_shaping_telescopes_over_an_episode():
    """The discounted sum of f is that of g minus the first potential: an episode that ended."""
    net, g = ShapedNet(*CARTPOLE, (8,), gen(), discount=0.9), gen(3)
    obs, actions = torch.randn(6, 4, generator=g), torch.randint(2, (5,), generator=g)
    steps = Transitions(obs[:-1], actions, obs[1:], torch.arange(5) == 4)
    weights = 0.9 ** torch.arange(5)
    shaped, plain = (weights * net(steps)).sum(), (weights * net.reward(steps)).sum()
    assert shaped.item() == pytest.approx((plain - net.potential(obs[0])).item(), abs=1e-5)


@SPACES
def test_airls_logit_subtracts_the_policys_log_probability_and_leaves_the_policy_alone(spaces):
    policy = make_policy(*spaces, (8,), gen(5))
    net, steps = ShapedNet(*spaces, (8,), gen(), discount=0.9), steps_for(spaces)
    if spaces is PENDULUM:  # between the bounds log pi is the density's
        steps = dataclasses.replace(steps, actions=steps.actions.clamp(-1.9, 1.9))
    logits = demonstrator_logits(net, policy, steps)
    if spaces is CARTPOLE:
        reference = torch.distributions.Categorical(logits=policy.net(steps.obs))
        logps = reference.log_prob(steps.actions)
    else:
        reference = torch.distributions.Normal(policy.net(steps.obs), policy.log_std.exp())
        logps = reference.log_prob(steps.actions).sum(-1)
    assert torch.allclose(logits, net(steps) - logps, atol=1e-5)
    # D = exp(f) / (exp(f) + pi), Fu et al. 2018
    f, pi = net(steps).exp(), logps.exp()
    assert torch.allclose(torch.sigmoid(logits), f / (f + pi), atol=1e-5)
    discriminator_loss(logits[:4], logits[4:]).backward()
    assert all(p.grad is None for p in policy.parameters())
    assert all(p.grad is not None for p in net.parameters())


def test_an_action_at_its_bound_counts_with_all_that_was_cut_to_it():
    """Against the shares of 200,000 cut samples; as the policy widens, the bound gets likelier."""
    policy, obs = make_policy(*PENDULUM, (8,), gen(5)), torch.zeros(200_000, 3)
    net, shares = ShapedNet(*PENDULUM, (8,), gen(), discount=0.9), []
    with torch.no_grad():
        policy.net[-1].bias.fill_(0.7)
        for log_std in (0.0, 1.0):
            policy.log_std.fill_(log_std)
            taken = policy.sample(obs, gen(6)).clamp(-2, 2)
            for bound in (-2.0, 2.0):
                at = Transitions(obs[:1], torch.tensor([[bound]]), obs[:1], torch.zeros(1).bool())
                logp = net(at) - demonstrator_logits(net, policy, at)
                shares.append(float(logp.exp()))
                assert shares[-1] == pytest.approx(float((taken == bound).float().mean()),
                                                   rel=0.03)
    assert shares[2] > shares[0] and shares[3] > shares[1]


def test_a_plain_discriminator_does_not_ask_the_policy():
    net, steps = LogitNet(*CARTPOLE, (8,), gen()), steps_for(CARTPOLE)
    assert torch.equal(demonstrator_logits(net, None, steps), net(steps))


def test_inputs_are_standardised_over_both_sides_alike():
    net = LogitNet(*CARTPOLE, (8,), gen())
    few, many = torch.randn(10, 4, generator=gen(1)) + 3, torch.randn(1000, 4, generator=gen(2))
    few[:, 3] = many[:, 3] = 1.5
    net.standardise(few, many)
    together = torch.cat([few.repeat(100, 1), many])  # each source counts half
    assert torch.allclose(net.mean, together.mean(0), atol=1e-5)
    assert torch.allclose(net.std[:3], together.std(0, correction=0)[:3], atol=1e-5)
    assert net.std[3] == 1  # an entry that never changed is not divided by 0
    assert torch.isfinite(net(steps_for(CARTPOLE))).all()


@SPACES
@pytest.mark.parametrize("kind", [LogitNet, ShapedNet])
def test_the_penalty_is_the_squared_slope_by_finite_differences(spaces, kind):
    extra = {"discount": 0.9} if kind is ShapedNet else {}
    net = kind(*spaces, (8,), gen(), **extra).double()
    steps = steps_for(spaces, n=3)
    wide = Transitions(steps.obs.double(), steps.actions, steps.next_obs.double(), steps.ended)
    net.standardise(torch.randn(50, spaces[0].shape[0], generator=gen(4)).double() * 2)
    total, eps = 0.0, 1e-5
    for name in ("obs", "next_obs"):
        for i in range(wide.obs.shape[1]):
            values = []
            for sign in (1, -1):
                parts = {"obs": wide.obs.clone(), "next_obs": wide.next_obs.clone()}
                parts[name][:, i] += sign * eps
                values.append(net(Transitions(parts["obs"], wide.actions, parts["next_obs"],
                                              wide.ended)))
            slope = (values[0] - values[1]) / (2 * eps)
            total = total + (slope * net.std[i]).square()
    assert float(gradient_penalty(net, wide)) == pytest.approx(float(total.mean()), rel=1e-6)


@pytest.fixture
def peer():
    pytest.importorskip("seals")
    return pytest.importorskip("imitation.algorithms.adversarial.airl")


def as_peer(steps):
    return (steps.obs, torch.nn.functional.one_hot(steps.actions, 2).float(), steps.next_obs,
            steps.ended)


def test_airls_logits_are_those_of_imitation(peer):
    """The same numbers for f and log pi through imitation's own method."""
    net, steps = ShapedNet(*CARTPOLE, (8,), gen(), discount=0.9), steps_for(CARTPOLE)
    policy = make_policy(*CARTPOLE, (8,), gen(5))

    class Theirs:  # what imitation's method reads of its trainer
        _reward_net = staticmethod(lambda *_: net(steps))

    logps = policy.logp_and_entropy(steps.obs, steps.actions)[0]
    theirs = peer.AIRL.logits_expert_is_high(Theirs(), *as_peer(steps), logps)
    assert torch.allclose(demonstrator_logits(net, policy, steps), theirs)


def test_the_shaped_reward_is_that_of_imitation(peer):
    """Copy g and h into imitation's ShapedRewardNet."""
    from imitation.rewards.reward_nets import BasicRewardNet, ShapedRewardNet

    net, steps = ShapedNet(*CARTPOLE, (8,), gen(), discount=0.9), steps_for(CARTPOLE)
    base = BasicRewardNet(*CARTPOLE)
    base.mlp = torch.nn.Sequential(*net.net, torch.nn.Flatten(0))
    theirs = ShapedRewardNet(base, net.potential, discount_factor=0.9)
    assert torch.allclose(net(steps), theirs(*as_peer(steps)), atol=1e-6)


def test_gails_reward_is_that_of_imitation(peer):
    from imitation.algorithms.adversarial.gail import RewardNetFromDiscriminatorLogit
    from imitation.rewards.reward_nets import BasicRewardNet

    from tutorlib.irl.divergences import policy_reward

    net, steps = LogitNet(*CARTPOLE, (8,), gen()), steps_for(CARTPOLE)
    base = BasicRewardNet(*CARTPOLE)
    base.mlp = torch.nn.Sequential(*net.net, torch.nn.Flatten(0))
    theirs = RewardNetFromDiscriminatorLogit(base)(*as_peer(steps))
    assert np.allclose(policy_reward(net(steps), "gail"), theirs.detach(), atol=1e-6)
