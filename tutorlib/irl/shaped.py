"""AIRL's discriminator: a reward on states, plus shaping, against the policy's own probability.

D = exp(f) / (exp(f) + pi(a|s)), so its logit is f - log pi, with

    f(s, a, s') = g(s) + gamma Phi(s') - Phi(s)

(Fu et al. 2018, equation 4, where Phi is called h; here h is a logit).

For a deterministic process and a demonstrator that is soft-optimal for a reward r(s), D = 1/2
everywhere at f = log pi_demo, and then g = r / temperature up to a constant: the potential Phi
soaks up what only belongs to the dynamics of this world (their theorem C.1). That is why g, and not
f, can be taken to another world. Chance breaks the argument; it is refused here.

Departure: everything is exact. The logistic loss of the discriminator is minimised by damped
Newton steps on exact occupancies instead of samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.tabular_game import advantages_of, normalised_occupancy
from tutorlib.mdp import TabularMDP, uniform_policy
from tutorlib.mdp.checks import check_policy

NEWTON_STEPS = 2  # per round: the loss is convex, and the last round's answer is near


@dataclass(frozen=True, eq=False)
class RewardParts:
    """f = g + gamma Phi' - Phi, taken apart."""

    state_reward: Float[Tensor, " states"]  # g(s), known up to a constant
    potential: Float[Tensor, " states"]  # Phi(s), likewise
    advantage: Float[Tensor, "states actions"]  # f itself
    residual: float  # largest |f - target| that the two could not explain


@dataclass(frozen=True, eq=False)
class AirlResult:
    """What the exact AIRL game found, and its course."""

    reward: RewardParts
    policy: Float[Tensor, "states actions"]
    distances: Float[Tensor, " rounds"]  # total variation of occupancies
    state_rewards: Float[Tensor, "rounds states"]  # g after each round


def next_states(mdp: TabularMDP) -> Int[Tensor, "states actions"]:
    """Return the state that each action leads to; raise InvalidArgumentError if chance decides.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [0.0, 0.0])
    >>> next_states(mdp).tolist()
    [[1], [1]]
    """
    top = mdp.probabilities.max(-1)
    if bool((top.values < 1).any()):
        raise InvalidArgumentError(
            "this process has chance in it; the shaping of AIRL separates from the reward only "
            "where an action decides the next state (Fu et al. 2018, theorem C.1)")
    return mdp.successors.gather(-1, top.indices[..., None])[..., 0]


def airl_matrix(mdp: TabularMDP) -> Float[Tensor, "pairs unknowns"]:
    """Return B with f = B (g, Phi): one row per (state, action), 2 unknowns per state.

    Its rank is 2 S - 1 where states are linked well enough for g to be unique up to a constant
    ("decomposable" dynamics; Fu et al. 2018, definition B.1), and lower elsewhere.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [0.0, 0.0], discount=0.5)
    >>> airl_matrix(mdp).tolist()
    [[1.0, 0.0, -1.0, 0.5], [0.0, 1.0, 0.0, -0.5]]
    """
    states = torch.eye(mdp.n_states, dtype=mdp.dtype)
    here = states[:, None, :].expand(-1, mdp.n_actions, -1)
    there = mdp.discount * states[next_states(mdp)]
    return torch.cat([here, there - here], -1).flatten(0, 1)


def take_apart(mdp: TabularMDP, target: Float[Tensor, "states actions"]) -> RewardParts:
    """Return the g and Phi that fit ``target`` best, by least squares; g of least norm.

    With ``target`` = log pi_demo this is where the AIRL game ends: D = 1/2 everywhere.

    Raises InvalidArgumentError for a target that is not finite (a policy with zeros), or chance.

    >>> mdp = TabularMDP.from_dense([[[1.0, 0.0], [0.0, 1.0]]] * 2, [0.0, 0.0], discount=0.5)
    >>> take_apart(mdp, torch.full((2, 2), -1.0, dtype=torch.float64)).residual < 1e-12
    True
    """
    if not bool(torch.isfinite(target).all()):
        raise InvalidArgumentError("target is not finite; a demonstrator that never takes some "
                                   "action has log pi = -inf: use one with full support")
    matrix = airl_matrix(mdp)
    right = target.flatten()[:, None]
    solution = torch.linalg.lstsq(matrix, right, driver="gelsd").solution[:, 0]
    return _shaped(mdp, matrix, solution, target)


def _shaped(mdp: TabularMDP, matrix: Tensor, solution: Tensor, target: Tensor) -> RewardParts:
    """Name the parts of a solution (g, Phi)."""
    f = (matrix @ solution).view_as(target)
    return RewardParts(solution[:mdp.n_states], solution[mdp.n_states:], f,
                        float((f - target).abs().max()))


def play_airl(mdp: TabularMDP, demonstrator: Float[Tensor, "states actions"], rounds: int = 200,
              learning_rate: float = 0.2, damping: float = 1e-2) -> AirlResult:
    """Play AIRL exactly: the discriminator fits (g, Phi), the policy climbs its logit f - log pi.

    Per round two damped Newton steps on the logistic loss, E_demo[-log D] + E_pi[-log(1 - D)], and
    one mirror step of the policy; ``damping`` falls by a tenth each round, to 1e-13. Without
    damping an early discriminator separates the two perfectly and its logits run away.

    Raises InvalidArgumentError for chance, terminal states, or a table that is no policy.

    >>> mdp = TabularMDP.from_dense([[[1.0, 0.0], [0.0, 1.0]]] * 2, [0.0, 0.0], discount=0.5)
    >>> demo = torch.tensor([[0.3, 0.7], [0.3, 0.7]], dtype=torch.float64)
    >>> float(play_airl(mdp, demo).distances[-1]) < 1e-6
    True
    """
    check_policy(mdp, demonstrator, "demonstrator")
    if bool(mdp.terminal.any()):
        raise InvalidArgumentError("this process has terminal states; replace them by states that "
                                   "are left for the start, or judge them (see play_game)")
    demo = normalised_occupancy(mdp, demonstrator).flatten()
    matrix = airl_matrix(mdp)
    unknowns, logits = matrix.new_zeros(matrix.shape[1]), uniform_policy(mdp).log()
    distances, states = [], []
    for step in range(rounds):
        policy = torch.softmax(logits, -1)
        visits = normalised_occupancy(mdp, policy).flatten()
        distances.append((visits - demo).abs().sum() / 2)
        unknowns = _newton(matrix, unknowns, policy.log().flatten(), demo, visits,
                           max(damping * 0.9**step, 1e-13))
        states.append(unknowns[:mdp.n_states])
        pay = (matrix @ unknowns).view_as(policy) - policy.log()
        logits = logits + learning_rate * advantages_of(mdp, policy, pay)
    reward = _shaped(mdp, matrix, unknowns, demonstrator.log())
    return AirlResult(reward, policy, torch.stack(distances), torch.stack(states))


def _newton(matrix: Tensor, unknowns: Tensor, log_policy: Tensor, demo: Tensor, visits: Tensor,
            damping: float) -> Tensor:
    """Improve the discriminator's (g, Phi) by damped Newton steps on its logistic loss."""
    eye = torch.eye(len(unknowns), dtype=unknowns.dtype)
    for _ in range(NEWTON_STEPS):
        d = torch.sigmoid(matrix @ unknowns - log_policy)
        gradient = matrix.T @ (demo * (1 - d) - visits * d)
        curvature = matrix.T @ (((demo + visits) * d * (1 - d))[:, None] * matrix)
        unknowns = unknowns + torch.linalg.solve(curvature + damping * eye, gradient)
    return unknowns
