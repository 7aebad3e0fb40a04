"""Cloning with a network: the loss against the `imitation` package, and what it refuses."""

import dataclasses
import math

import gymnasium
import pytest
import torch
from torch.nn import functional

from tutorlib.control import (
    CategoricalPolicy,
    GaussianPolicy,
    demonstrations_from_episodes,
    evaluate,
    record_demonstrations,
)
from tutorlib.errors import InvalidArgumentError
from tutorlib.imitation import (
    CARTPOLE_EXPERT,
    MOUNTAIN_CAR_EXPERT,
    BangBang,
    BCConfig,
    ControlDaggerConfig,
    SeesLastAction,
    agreement,
    bc_loss,
    clone,
    clone_in,
    dagger_control,
    pairs_of,
    split_episodes,
    validation_loss,
    with_last_action,
)
from tutorlib.imitation.control_dagger import ask
from tutorlib.imitation.neural import fit

CART = "CartPole-v1"
QUICK = BCConfig(max_epochs=60, learning_rate=1e-2, batch_size=32, validation_fraction=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def shown():
    return record_demonstrations(CART, CARTPOLE_EXPERT, 5, seed=0, max_steps=60)


def test_the_demonstrators_are_good():
    assert float(evaluate(CART, CARTPOLE_EXPERT, 20).min()) == 500.0
    assert float(evaluate("MountainCar-v0", MOUNTAIN_CAR_EXPERT, 20).mean()) > -130


def test_the_loss_is_cross_entropy_and_a_normal_density():
    obs = torch.randn(7, 4, generator=generator())
    policy, actions = CategoricalPolicy(4, 3, (8,), generator()), torch.arange(7) % 3
    torch.testing.assert_close(bc_loss(policy, obs, actions),
                               functional.cross_entropy(policy.net(obs), actions))
    normal = GaussianPolicy(4, 2, (8,), generator())
    moves = torch.randn(7, 2, generator=generator())
    half_squares = functional.gaussian_nll_loss(
        normal.net(obs), moves, normal.log_std.exp().square().expand(7, 2), full=True)
    torch.testing.assert_close(bc_loss(normal, obs, moves), 2 * half_squares)


@pytest.mark.parametrize("entropy_coef, l2_coef", [(0.0, 0.0), (0.05, 0.0), (0.1, 0.01)])
def test_the_loss_is_that_of_the_imitation_package(entropy_coef, l2_coef):
    """BehaviorCloningLossCalculator of imitation 1.0.1 on one policy, both kinds of actions."""
    bc = pytest.importorskip("imitation.algorithms.bc")
    policies = pytest.importorskip("stable_baselines3.common.policies")
    spaces = gymnasium.spaces
    for action_space in (spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,))):
        torch.manual_seed(0)  # their network draws from the global generator
        theirs = policies.ActorCriticPolicy(spaces.Box(-5.0, 5.0, (4,)), action_space,
                                            lambda _: 1e-3, net_arch=[8])
        obs = torch.randn(9, 4, generator=generator())
        discrete = isinstance(action_space, spaces.Discrete)
        actions = torch.arange(9) % 3 if discrete else torch.randn(9, 2, generator=generator())

        class Ours(torch.nn.Module):
            """Their policy behind our two methods."""

            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def logp_and_entropy(self, obs, actions):
                _, logps, entropies = self.inner.evaluate_actions(obs, actions)
                return logps, entropies

        want = bc.BehaviorCloningLossCalculator(entropy_coef, l2_coef)(theirs, obs, actions)
        got = bc_loss(Ours(theirs), obs, actions, entropy_coef, l2_coef)
        assert float(got.detach()) == pytest.approx(float(want.loss.detach()), abs=1e-6)


def test_a_clone_learns_what_the_demonstrator_does(shown):
    result = clone(CART, shown, BCConfig(max_epochs=60, learning_rate=1e-2), seed=0)
    assert agreement(result.policy, *pairs_of(shown)) > 0.9
    losses = [entry["validation_loss"] for entry in result.history]
    assert losses[result.best_epoch] == min(losses) < losses[0]
    again = clone(CART, shown, BCConfig(max_epochs=60, learning_rate=1e-2), seed=0)
    assert all(torch.equal(a, b) for a, b in
               zip(result.policy.parameters(), again.policy.parameters(), strict=True))


def test_training_stops_early_and_keeps_the_best_weights():
    """Labels by coin: whatever is learned is noise, and validation gets worse."""
    obs = torch.randn(40, 4, generator=generator())
    labels = torch.randint(2, (40,), generator=generator(1))
    policy = CategoricalPolicy(4, 2, (64,), generator())
    config = BCConfig(max_epochs=300, patience=5, learning_rate=1e-2)
    held_out = obs[20:], labels[20:]
    result = fit(policy, (obs[:20], labels[:20]), held_out, config, generator())
    assert len(result.history) == result.best_epoch + 1 + 5 < 300
    assert validation_loss(policy, *held_out) == pytest.approx(
        result.history[result.best_epoch]["validation_loss"], abs=1e-7)


def test_a_continuous_demonstrator_is_cloned():
    """A linear controller: the mean is learned, and the spread shrinks."""
    obs = torch.randn(300, 2, generator=generator())
    pairs = obs, obs @ torch.tensor([[1.0], [-2.0]])
    policy = GaussianPolicy(2, 1, (32,), generator())
    fit(policy, pairs, None, BCConfig(max_epochs=80, learning_rate=1e-2), generator())
    assert float((policy.mode(obs) - pairs[1]).square().mean()) < 0.1
    assert float(policy.log_std.detach()) < -0.7


def test_whole_episodes_are_held_out(shown):
    training, held_out = split_episodes(shown, 0.2, generator())
    assert (len(training), len(held_out)) == (4, 1)
    firsts = {tuple(row) for row in training.obs[:, 0].tolist()}
    assert tuple(held_out.obs[0, 0].tolist()) not in firsts
    assert split_episodes(shown, 0.0, generator())[1] is None
    with pytest.raises(InvalidArgumentError, match="would be held out"):
        split_episodes(shown[0], 0.2, generator())


def test_padding_is_no_experience():
    short, long = ([[0.0]] * 2, [1], [1.0], True), ([[1.0]] * 4, [0, 1, 0], [1.0] * 3, False)
    obs, actions = pairs_of(demonstrations_from_episodes([short, long]))
    assert obs.flatten().tolist() == [0, 1, 1, 1] and actions.tolist() == [1, 0, 1, 0]


def test_demonstrations_that_cannot_be_used_are_refused(shown):
    with pytest.raises(InvalidArgumentError, match="at least one"):
        demonstrations_from_episodes([])
    with pytest.raises(InvalidArgumentError, match="ragged"):
        demonstrations_from_episodes([([[0.0] * 4], [1], [1.0], True)])
    with pytest.raises(InvalidArgumentError, match="no table of numbers"):
        demonstrations_from_episodes([([[0.0] * 3, [0.0] * 4], [1], [1.0], True)])
    broken = shown.obs.clone()
    broken[2, 3, 1] = math.nan
    with pytest.raises(InvalidArgumentError, match="episode 2 at step 3 is not finite"):
        dataclasses.replace(shown, obs=broken)
    with pytest.raises(InvalidArgumentError, match="holds 4 numbers"):
        clone("MountainCar-v0", shown)
    with pytest.raises(InvalidArgumentError, match="actions run from"):
        clone(CART, dataclasses.replace(shown, actions=shown.actions + 1))
    with pytest.raises(InvalidArgumentError, match="actions run from"):
        clone_in(gymnasium.spaces.Box(-1, 1, (4,)), gymnasium.spaces.Discrete(1), shown)
    for setting in ({"max_epochs": 0}, {"patience": 0}, {"validation_fraction": 1.0},
                    {"max_epochs": 2.5}, {"learning_rate": math.nan}, {"learning_rate": -1.0}):
        with pytest.raises(InvalidArgumentError, match=next(iter(setting))):
            BCConfig(**setting)


class Says:
    """An expert that returns whatever it is told to."""

    def __init__(self, answer):
        self.mode = answer


@pytest.mark.parametrize("expert, what", [
    (lambda obs: obs, "without a method mode"),
    (Says(lambda obs: torch.zeros(len(obs), 2)), "expected a tensor of shape"),
    (Says(lambda obs: 0), "returned int"),
    (Says(lambda obs: torch.full((len(obs),), 2)), "the task takes Discrete"),
    (Says(lambda obs: torch.zeros(len(obs))), "returned torch.float32"),
    (BangBang((1.0, 0.0), 0, 1), "2 weights"),
    (None, "without a method mode"),
])
def test_an_expert_that_returns_no_actions_is_refused(expert, what):
    with pytest.raises(InvalidArgumentError, match=what):
        ask(expert, torch.zeros(3, 4), gymnasium.spaces.Discrete(2))


def test_a_controller_does_not_answer_about_nan():
    with pytest.raises(InvalidArgumentError, match="holds NaN"):
        CARTPOLE_EXPERT.mode(torch.full((1, 4), math.nan))


def test_not_a_number_is_no_action():
    nan = Says(lambda obs: torch.full((len(obs), 1), math.nan))
    with pytest.raises(InvalidArgumentError, match="from nan"):
        ask(nan, torch.zeros(3, 4), gymnasium.spaces.Box(-1.0, 1.0, (1,)))


def test_dagger_asks_where_the_learner_goes_and_learns_from_it():
    config = ControlDaggerConfig(rounds=4, labels=25, bc=QUICK)
    result = dagger_control(CART, CARTPOLE_EXPERT, config, seed=0)
    assert [entry["labels"] for entry in result.history][-1] == len(result.actions)
    assert torch.equal(result.actions, CARTPOLE_EXPERT.mode(result.obs))
    home = record_demonstrations(CART, CARTPOLE_EXPERT, 5, seed=3).transitions().obs
    assert float(result.obs[:, 2].abs().max()) > 3 * float(home[:, 2].abs().max())  # leaning poles
    last = [record_demonstrations(CART, policy, 20, seed=9).lengths().float().mean()
            for policy in (result.policies[0], result.policy)]
    assert float(last[1]) > max(400.0, float(last[0]))


def test_bad_settings_of_dagger_are_refused():
    with pytest.raises(InvalidArgumentError, match="without a method mode"):
        dagger_control(CART, None)
    for setting in ({"rounds": 0}, {"rounds": 2.5}, {"labels": 0}, {"max_steps": 0}):
        with pytest.raises(InvalidArgumentError, match=next(iter(setting))):
            ControlDaggerConfig(**setting)
    with pytest.raises(InvalidArgumentError, match="validation_fraction=0"):
        ControlDaggerConfig(bc=BCConfig())
    alone = ControlDaggerConfig(rounds=1, beta=lambda i: 0.5, bc=QUICK)
    with pytest.raises(InvalidArgumentError, match="no learner yet"):
        dagger_control(CART, CARTPOLE_EXPERT, alone)


def test_a_mixture_drives_with_both():
    config = ControlDaggerConfig(rounds=3, labels=10, max_steps=30, beta=lambda i: 0.5**i,
                                 bc=dataclasses.replace(QUICK, max_epochs=2))
    history = dagger_control(CART, CARTPOLE_EXPERT, config).history
    assert [entry["beta"] for entry in history] == [1.0, 0.5, 0.25]


@pytest.mark.slow
def test_a_clone_that_sees_its_last_action_copies_itself():
    """A better validation loss, and a car that never leaves the valley (de Haan et al. 2019)."""
    car, config = "MountainCar-v0", BCConfig(max_epochs=80, learning_rate=5e-3)
    shown, fresh = (record_demonstrations(car, MOUNTAIN_CAR_EXPERT, episodes, seed)
                    for episodes, seed in ((5, 0), (20, 1)))
    losses, returns = {}, {}
    for name, view, wrap in (("plain", lambda d: d, lambda p: p),
                             ("memory", lambda d: with_last_action(d, 3),
                              lambda p: SeesLastAction(p, 3))):
        inputs = gymnasium.spaces.Box(-10, 10, (view(shown).obs.shape[-1],))
        policy = clone_in(inputs, gymnasium.spaces.Discrete(3), view(shown), config).policy
        losses[name] = validation_loss(policy, *pairs_of(view(fresh)))
        returns[name] = float(evaluate(car, wrap(policy), 20, seed=2).mean())
    assert losses["memory"] < losses["plain"]
    assert returns["memory"] == -200.0 < returns["plain"]


def test_the_last_action_is_fed_back_as_it_was_recorded():
    """Driven by the demonstrator itself, feedback and recording agree number by number."""
    seen = []

    class Spy:
        def mode(self, obs):
            seen.append(obs)
            return MOUNTAIN_CAR_EXPERT.mode(obs[:, :2])

    demos = record_demonstrations("MountainCar-v0", SeesLastAction(Spy(), 3), 3, 0, max_steps=50)
    assert torch.equal(torch.stack(seen, 1), with_last_action(demos, 3).obs[:, :-1])


def test_a_last_action_that_does_not_exist_is_refused(shown):
    with pytest.raises(InvalidArgumentError, match="actions run from"):
        with_last_action(shown, 1)
