"""Post-training without sampling: exact gradients, gaps and estimator errors on a token tree.

A model's policy on a ``TokenTree`` is its log-probabilities renormalised over the tree's words, so
every expectation is a finite sum and every gradient is automatic differentiation through it. That
makes the statements of this package testable: what is unbiased, what a loss is minimal at, how far
from pi* a trained model is.

A tree over part of the vocabulary is another policy than the one ``tutorlib.lm.sample`` follows,
unless the model gives the other words no probability.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tutorlib.errors import InvalidArgumentError
from tutorlib.lm import TokenTree
from tutorlib.lm.checks import check_number
from tutorlib.lm.tree_shape import Tables
from tutorlib.posttraining.advantages import Baseline, sequence_advantages

Reward = Tensor | Sequence[Tensor]  # a number for each leaf, or tables of rewards of each token


def exact_objective(tree: TokenTree, policy: Sequence[Tensor], reward: Reward, beta: float
                    ) -> Float[Tensor, ""]:
    """Return J = E[r] - beta KL(pi || pi_ref); ``beta`` may be 0. Differentiable."""
    if beta == 0:
        return tree.expected_return(policy, reward)
    return tree.objective(policy, reward, beta)


def flat_gradient(value: Float[Tensor, ""], model: nn.Module, retain: bool = False
                  ) -> Float[Tensor, " parameters"]:
    """Return d value / d parameters as one vector, in the order of ``model.parameters()``."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(value, parameters, retain_graph=retain, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten()
                      for p, g in zip(parameters, found, strict=True)])


def exact_gradient(model: nn.Module, tree: TokenTree, reward: Reward, beta: float = 0.0
                   ) -> Float[Tensor, " parameters"]:
    """Return grad J with respect to the model's parameters, by enumeration of all answers.

    One forward pass over every unfinished answer: for trees of up to some thousand nodes. As in
    training, torch gives the embedding of a model's padding token no gradient.

    >>> from tutorlib.lm import tiny_model, word_tokenizer
    >>> tokenizer = word_tokenizer(["sky", "blue"])
    >>> model = tiny_model(tokenizer)
    >>> tree = TokenTree(model, "sky", ["blue", "<eos>"], 2, tokenizer)
    >>> gradient = exact_gradient(model, tree, torch.ones(tree.n_leaves))
    >>> bool(gradient.abs().max() < 1e-6)  # the same reward for all: nothing to learn
    True
    """
    policy = tree.policy_of(model, differentiable=True)
    return flat_gradient(exact_objective(tree, policy, reward, beta), model)


def leaf_scores(model: nn.Module, tree: TokenTree) -> Float[Tensor, "leaves parameters"]:
    """Return grad log pi(y) for every answer y of the tree; their mean under pi is 0.

    One backward pass per answer: for small trees and models.
    """
    logps = tree.leaf_logps(tree.policy_of(model, differentiable=True))
    return torch.stack([flat_gradient(logp, model, retain=True) for logp in logps])


def gradient_estimates(scores: Float[Tensor, "leaves parameters"],
                       rewards: Float[Tensor, " leaves"], drawn: Int[Tensor, "n generations"],
                       baseline: Baseline = "none", past: float = 0.0, greedy_reward: float = 0.0
                       ) -> Float[Tensor, "n parameters"]:
    """Return n estimates of grad J, each the mean of A grad log pi(y) over ``generations`` answers.

    ``drawn`` holds leaf indices, for example ``tree.sample(n * g, ...).view(n, g)``. With "batch_
    mean" each estimate's own answers are the batch. Give rewards less beta log pi/pi_ref for the
    regularised objective.
    """
    drawn_rewards = rewards[drawn].to(scores.dtype)
    if baseline == "batch_mean":
        advantages = drawn_rewards - drawn_rewards.mean(1, keepdim=True)
    else:
        greedy = torch.full_like(drawn_rewards[:, 0], greedy_reward)
        advantages = sequence_advantages(drawn_rewards, baseline, past, greedy)
    weights = torch.zeros(len(drawn), len(scores)).to(scores).scatter_add(1, drawn, advantages)
    return weights @ scores / drawn.shape[1]


def estimator_errors(estimates: Float[Tensor, "n parameters"],
                     exact: Float[Tensor, " parameters"]) -> dict[str, float]:
    """Return what is wrong with estimates of a gradient, in relation to its length.

    ``bias`` |mean - exact| / |exact|, ``bias_error``, the size that sampling alone gives such a
    bias, ``variance`` E|g - mean|^2 / |exact|^2, and ``slope``, the mean's part along the exact
    gradient: 1 if it has the right length.
    """
    if len(estimates) < 2 or not float(exact.norm()) > 0:
        raise InvalidArgumentError("expected 2 estimates or more of a gradient that is not 0")
    mean, size = estimates.mean(0), exact.norm()
    variance = (estimates - mean).square().sum(1).mean() / size.square()
    return {"bias": float((mean - exact).norm() / size),
            "bias_error": float((variance / len(estimates)).sqrt()),
            "variance": float(variance), "slope": float(mean @ exact / size.square())}


@torch.no_grad()
def policy_gap(tree: TokenTree, policy: Sequence[Tensor], reward: Reward, beta: float
               ) -> dict[str, float]:
    """Return how far a policy is from the regularised optimum pi*, exactly.

    ``reward`` E[r], ``kl`` KL(pi || pi_ref), ``objective`` J, ``regret`` J(pi*) - J(pi), which is
    beta KL(pi || pi*), ``kl_to_optimum`` that KL, and ``forward_kl_to_optimum`` KL(pi* || pi).
    Give ``tree.policy_of(model)`` for a model.
    """
    plan = tree.solve(reward, beta)
    objective = tree.objective(policy, reward, beta)
    return {"reward": float(tree.expected_return(policy, reward)), "kl": float(tree.kl(policy)),
            "objective": float(objective), "regret": float(plan.values[0].sum() - objective),
            "kl_to_optimum": float(tree.kl(policy, plan.policy)),
            "forward_kl_to_optimum": float(tree.kl(plan.policy, policy))}


def implicit_advantages(tree: TokenTree, policy: Sequence[Tensor], beta: float) -> Tables:
    """Return beta log(pi / pi_ref) of every token at every node.

    Of pi* it is the advantage Q - V, and along an answer it telescopes to r(y) - V(root) (Rafailov
    et al. 2024, eqs 7, 8).
    """
    check_number("beta", beta)
    return tuple(beta * (table - prior)
                 for table, prior in zip(tree.normal(policy), tree.reference, strict=True))


def expected_dpo_loss(tree: TokenTree, policy: Sequence[Tensor], reward: Reward, beta: float,
                      answers: Float[Tensor, " leaves"] | None = None) -> Float[Tensor, ""]:
    """Return DPO's loss over all pairs at once, labelled by Bradley-Terry with ``reward``.

    Both answers come from ``answers``, probabilities of the leaves (the reference's unless given);
    the first wins with probability sigmoid(r - r'). Minimal at pi* = pi_ref exp(r / beta) / Z,
    and wherever the policy agrees with it on answers that have a probability. Differentiable.
    """
    check_number("beta", beta)
    rewards = tree.path_sums(tree.edges(reward))
    weights = tree.leaf_logps().exp() if answers is None else answers.to(rewards)
    if weights.shape != rewards.shape or bool((weights < 0).any()):
        raise InvalidArgumentError(f"answers has shape {tuple(weights.shape)}; expected a "
                                   f"probability for each of the {tree.n_leaves} leaves")
    ratios = beta * (tree.leaf_logps(policy) - tree.leaf_logps())
    wins = torch.sigmoid(rewards[:, None] - rewards)
    losses = -logsigmoid(ratios[:, None] - ratios)
    pairs = weights[:, None] * weights * (1 - torch.eye(len(weights)).to(weights))
    return 2 * (pairs * wins * losses).sum() / pairs.sum()
