"""The game between policy and discriminator, played exactly on a table.

In each round the discriminator is the best there is, D* = rho_demo / (rho_demo + rho_pi), from
exact occupancies, and the policy makes one exact step on the reward that D* pays. Nothing is
sampled and nothing is approximated, so what goes wrong here is the reward's own fault.

With r = f*(f'(u)) held fixed, the policy gradient of E_pi[r] is minus the gradient of
D_f(rho_demo || rho_pi) (Ghasemipour et al. 2020, section 3, with the envelope theorem): each step
descends the divergence. A reward that is *not* held fixed, or -h exp(h), does something else.

Departure from GAIL (Ho and Ermon 2016): no entropy bonus, no trust region, no sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.divergences import log_density_ratio, policy_reward
from tutorlib.mdp import (
    TabularMDP,
    expected_next_values,
    occupancy_measure,
    uniform_policy,
)
from tutorlib.mdp.checks import check_policy
from tutorlib.mdp.evaluation import discounted_sum

STEPS = ("mirror", "gradient")


@dataclass(frozen=True)
class GameSettings:
    """How the exact game is played."""

    rounds: int = 300
    learning_rate: float = 0.1  # keep it below 1 - discount, or far steps overshoot
    step: str = "mirror"  # "mirror": pi exp(rate Q); "gradient": softmax policy gradient
    pay_absorbing: bool = True  # judge terminal states too: the fixed-horizon guard, on a table
    limit: float = 20.0  # logits are clamped to [-limit, limit], so that every reward is finite

    def __post_init__(self) -> None:
        """Refuse what no game can be played with."""
        if self.step not in STEPS:
            raise InvalidArgumentError(f"step is {self.step!r}; expected one of {STEPS}")
        for name in ("rounds", "learning_rate", "limit"):
            if not getattr(self, name) > 0:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; expected above 0")


@dataclass(frozen=True, eq=False)
class GameResult:
    """The policies of a game, first to last, and how far each is from the demonstrator."""

    policies: Float[Tensor, "rounds_plus_one states actions"]
    distances: Float[Tensor, " rounds_plus_one"]  # total variation of occupancies, 0 to 1

    @property
    def policy(self) -> Float[Tensor, "states actions"]:
        """The last policy."""
        return self.policies[-1]


def normalised_occupancy(mdp: TabularMDP, policy: Float[Tensor, "states actions"]
                         ) -> Float[Tensor, "states actions"]:
    """Return (1 - gamma) rho, which sums to 1; in terminal states actions count alike.

    What is "done" in a terminal state is not behaviour, so it must not tell policies apart.

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)
    >>> normalised_occupancy(mdp, uniform_policy(mdp)).tolist()
    [[0.5, 0.5]]
    """
    idle = mdp.terminal[:, None]
    acting = torch.where(idle, torch.full_like(policy, 1 / mdp.n_actions), policy)
    return (1 - mdp.discount) * occupancy_measure(mdp, acting)


def advantages_of(mdp: TabularMDP, policy: Float[Tensor, "states actions"],
                  reward: Float[Tensor, "states actions"]) -> Float[Tensor, "states actions"]:
    """Return Q - V of ``policy`` for another reward than the process's own.

    Terminal states pay nothing; for the reward of an absorbing state to count, hand over a process
    without terminal states (see ``play_game``).

    >>> mdp = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)
    >>> advantages_of(mdp, uniform_policy(mdp), mdp.reward.new_tensor([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """
    reward = reward.masked_fill(mdp.terminal[:, None], 0.0)
    values = discounted_sum(mdp, policy, (policy * reward).sum(-1))
    q = reward + mdp.discount * expected_next_values(mdp, values)
    return (q - (policy * q).sum(-1, keepdim=True)).masked_fill(mdp.terminal[:, None], 0.0)


def play_game(mdp: TabularMDP, demonstrator: Float[Tensor, "states actions"],
              method: str | Callable[[Tensor], Tensor], settings: GameSettings | None = None,
              start: Float[Tensor, "states actions"] | None = None) -> GameResult:
    """Play against the exact discriminator, from ``start`` (default: uniform).

    ``method`` names a reward (see ``REWARDS``), or is a function from logits to rewards. The logits
    of a step: "mirror" adds rate * A (natural policy gradient; Kakade 2001), "gradient" adds
    rate * d(s) pi(a|s) A with d normalised (Sutton et al. 2000, theorem 1).

    Without ``pay_absorbing`` an episode's end pays nothing, as in most environments; then a reward
    that is positive everywhere pays for living on, and one that is negative for ending.

    Raises InvalidArgumentError for a table that is no policy or for discount 1.

    >>> one = TabularMDP.from_dense([[[1.0], [1.0]]], [[0.0, 0.0]], discount=0.5)
    >>> found = play_game(one, torch.tensor([[0.9, 0.1]], dtype=torch.float64), "airl")
    >>> found.policy.round(decimals=6).tolist()
    [[0.9, 0.1]]
    """
    settings = GameSettings() if settings is None else settings
    check_policy(mdp, demonstrator, "demonstrator")
    demo = normalised_occupancy(mdp, demonstrator)
    judged = mdp.replace(terminal=torch.zeros_like(mdp.terminal)) if settings.pay_absorbing else mdp
    policy = uniform_policy(mdp) if start is None else check_policy(mdp, start, "start")
    logits, policies, distances = policy.log(), [], []
    for step in range(settings.rounds + 1):
        policy = torch.softmax(logits, -1)
        visits = normalised_occupancy(mdp, policy)
        policies.append(policy)
        distances.append((visits - demo).abs().sum() / 2)
        if step == settings.rounds:
            break
        reward = exact_reward(demo, visits, method, settings.limit)
        gain = advantages_of(judged, policy, reward)
        if settings.step == "gradient":
            gain = gain * visits
        logits = logits + settings.learning_rate * gain
    return GameResult(torch.stack(policies), torch.stack(distances))


def exact_reward(demo: Float[Tensor, "states actions"], visits: Float[Tensor, "states actions"],
                 method: str | Callable[[Tensor], Tensor], limit: float = 20.0
                 ) -> Float[Tensor, "states actions"]:
    """Return what the best discriminator between two occupancies pays, as fixed numbers.

    >>> exact_reward(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.5, 0.5]]), "forward_kl")
    tensor([[1.8000, 0.2000]])
    """
    logit = log_density_ratio(demo, visits).clamp(-limit, limit).detach()
    return policy_reward(logit, method) if isinstance(method, str) else method(logit)
