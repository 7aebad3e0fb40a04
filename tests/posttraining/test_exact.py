"""Exactness on a tree: gradients, unbiased and biased estimators, optima, telescoping."""

import pytest
import torch

from tests.lm.conftest import make_model
from tests.posttraining.conftest import seeded
from tutorlib.errors import InvalidArgumentError
from tutorlib.lm import SamplingSettings, TokenTree, word_tokenizer
from tutorlib.posttraining import (
    PolicyGradientSettings,
    Rollouts,
    estimator_errors,
    exact_gradient,
    exact_objective,
    expected_dpo_loss,
    gradient_estimates,
    implicit_advantages,
    leaf_scores,
    policy_gap,
    policy_loss,
)

BETA = 0.4


@pytest.fixture(scope="module")
def world():
    """All 5 tokens of a vocabulary, 2 deep: 21 answers; and a model that is not the reference."""
    tokenizer = word_tokenizer(["sky", "blue"])
    reference, model = (make_model("llama", len(tokenizer), seed) for seed in (0, 1))
    tree = TokenTree(reference, [3, 4, 3], list(range(5)), 2)
    reward = 2 * torch.randn(tree.n_leaves, dtype=torch.float64, generator=seeded(3))
    return model, tree, reward


@pytest.fixture(scope="module")
def scores(world):
    model, tree, _ = world
    return leaf_scores(model, tree).double()


@pytest.fixture(scope="module")
def regularised(world):
    """What REINFORCE is paid: r - beta log pi/pi_ref; and the probabilities of answers."""
    model, tree, reward = world
    logps = tree.leaf_logps(tree.policy_of(model))
    return reward - BETA * (logps - tree.leaf_logps()), logps.exp()


def test_the_exact_gradient_by_finite_differences(world):
    model, tree, reward = world
    gradient = exact_gradient(model, tree, reward, BETA)
    direction = torch.randn(len(gradient), generator=seeded())
    direction[:16] = 0  # the embedding of the padding token, which torch never gives a gradient
    direction /= direction.norm()
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    step, values = 1e-2, []
    try:
        for sign in (1, -1):
            torch.nn.utils.vector_to_parameters(start + sign * step * direction,
                                                model.parameters())
            values.append(exact_objective(tree, tree.policy_of(model), reward, BETA).item())
    finally:
        torch.nn.utils.vector_to_parameters(start, model.parameters())
    slope = (values[0] - values[1]) / (2 * step)
    assert abs(slope) > 0.01 and float(gradient @ direction) == pytest.approx(slope, rel=5e-3)


def test_the_score_function_gives_the_exact_gradient(world, scores, regularised):
    model, tree, reward = world
    rewards, p = regularised
    exact = exact_gradient(model, tree, reward, BETA).double()
    torch.testing.assert_close((p * rewards) @ scores, exact, atol=2e-5, rtol=1e-3)
    assert float((p @ scores).norm()) < 1e-4 * float(scores.norm()), "scores have mean 0"


def test_which_baselines_are_unbiased_over_all_pairs_of_answers(world, scores, regularised):
    """Every batch of two answers with its probability: no sampling error at all."""
    model, tree, reward = world
    rewards, p = regularised
    exact = exact_gradient(model, tree, reward, BETA).double()
    drawn = torch.cartesian_prod(torch.arange(len(p)), torch.arange(len(p)))
    weights = p[drawn].prod(1)
    slopes, variances = {}, {}
    for name in ("none", "moving_average", "greedy", "leave_one_out", "batch_mean"):
        found = gradient_estimates(scores, rewards, drawn, name, past=0.7, greedy_reward=-0.3)
        mean = weights @ found
        slopes[name] = float(mean @ exact / exact.square().sum())
        variances[name] = float(weights @ (found - mean).square().sum(1))
        wanted = exact / 2 if name == "batch_mean" else exact
        torch.testing.assert_close(mean, wanted, atol=5e-5, rtol=2e-3)
    assert slopes["batch_mean"] == pytest.approx(0.5, abs=1e-3)
    shifted = gradient_estimates(scores, rewards + 10, drawn, "none")
    assert float(weights @ (shifted - exact).square().sum(1)) > 20 * variances["none"]
    rloo = gradient_estimates(scores, rewards + 10, drawn, "leave_one_out")
    torch.testing.assert_close(rloo, gradient_estimates(scores, rewards, drawn, "leave_one_out"),
                               atol=1e-9, rtol=1e-9)


def test_sampled_errors_are_reported_in_units_of_the_gradient(world, scores, regularised):
    model, tree, reward = world
    rewards, _ = regularised
    exact = exact_gradient(model, tree, reward, BETA).double()
    drawn = tree.sample(4000, seeded(), tree.policy_of(model)).view(1000, 4)
    rloo = estimator_errors(gradient_estimates(scores, rewards, drawn, "leave_one_out"), exact)
    mean = estimator_errors(gradient_estimates(scores, rewards, drawn, "batch_mean"), exact)
    assert rloo["bias"] < 3 * rloo["bias_error"] and rloo["slope"] == pytest.approx(1, abs=0.2)
    assert mean["slope"] == pytest.approx(0.75 * rloo["slope"]), "(N - 1) / N with N = 4"
    with pytest.raises(InvalidArgumentError, match="not 0"):
        estimator_errors(torch.ones(3, 2), torch.zeros(2))


def rollouts_of(tree, model, rewards):
    """Every answer of the tree once, as a batch of rollouts."""
    n = tree.n_leaves
    prompt = torch.tensor([tree.prompt_ids]).repeat(n, 1)
    zeros = torch.zeros(n, tree.horizon)
    return Rollouts([""] * n, [""] * n, prompt, torch.ones_like(prompt), tree.completion_ids,
                    tree.completion_mask, zeros, zeros, rewards.float(), torch.ones(n).bool())


def test_the_loss_of_the_training_loop_has_the_exact_gradient(world, regularised):
    """All answers at once, weighted by their probabilities: prompt, padding, ends and sign."""
    model, tree, reward = world
    rewards, p = regularised
    settings = PolicyGradientSettings(sampling=SamplingSettings(num_generations=2))
    advantages = (len(p) * p * (rewards - 1.3)).float()  # any baseline
    loss, _ = policy_loss(model, rollouts_of(tree, model, reward), advantages, settings, BETA)
    model.zero_grad()
    loss.backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    exact = exact_gradient(model, tree, reward, BETA)
    torch.testing.assert_close(-found, exact, atol=2e-5, rtol=2e-3)


def test_the_gap_to_the_optimum(world):
    model, tree, reward = world
    policy, best = tree.policy_of(model), tree.optimal_policy(reward, BETA)
    gap = policy_gap(tree, policy, reward, BETA)
    assert gap["regret"] > 0.1 and gap["regret"] == pytest.approx(BETA * gap["kl_to_optimum"])
    assert gap["objective"] == pytest.approx(gap["reward"] - BETA * gap["kl"])
    found = policy_gap(tree, best, reward, BETA)
    assert found["regret"] == pytest.approx(0, abs=1e-9)
    closed = (tree.leaf_logps() + reward / BETA).log_softmax(0)  # pi_ref exp(r / beta) / Z
    torch.testing.assert_close(tree.leaf_logps(best), closed, atol=1e-9, rtol=0)


def test_dpo_s_implicit_reward_is_the_advantage_and_telescopes(world):
    _, tree, reward = world
    plan = tree.solve(reward, BETA)
    implicit = implicit_advantages(tree, plan.policy, BETA)
    for found, q, v in zip(implicit, plan.q_values, plan.values, strict=True):
        torch.testing.assert_close(found, q - v[:, None], atol=1e-6, rtol=0)
    torch.testing.assert_close(tree.path_sums(implicit), reward - plan.values[0], atol=1e-6, rtol=0)


def test_dpo_over_all_pairs_is_minimal_at_the_optimum(world):
    model, tree, reward = world
    best = tree.optimal_policy(reward, BETA)
    tables = [t.clone().requires_grad_() for t in best]
    loss = expected_dpo_loss(tree, tree.restrict(tables), reward, BETA)
    loss.backward()
    assert max(float(t.grad.abs().max()) for t in tables) < 1e-9
    other = expected_dpo_loss(tree, tree.policy_of(model), reward, BETA)
    assert float(loss.detach()) + 0.01 < float(other)


def test_dpo_does_not_see_answers_that_are_never_compared(world):
    """Only two answers are: moving everything else about leaves the loss alone."""
    _, tree, reward = world
    best = tree.optimal_policy(reward, BETA)
    seen = torch.zeros(tree.n_leaves).double()
    seen[[1, 3]] = 0.5  # both begin alike, so that they keep their ratio below
    other = [t.clone() for t in best]
    other[0] = other[0] + torch.tensor([0.0, 3.0, 0.0, -2.0, 1.0])
    other = tree.restrict(other)
    assert float(tree.kl(other, best)) > 0.3
    losses = [float(expected_dpo_loss(tree, pi, reward, BETA, seen)) for pi in (best, other)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)
