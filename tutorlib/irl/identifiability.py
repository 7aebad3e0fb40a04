"""When behaviour reveals the reward: two environments, or paths of many lengths, and a rank.

One soft-optimal policy leaves the value function v free (``reward_family``). A second policy, of
the same reward under another discount or other dynamics, must be explained too:

    lambda log pi_1 + (E - gamma_1 P_1) v_1 = r = lambda log pi_2 + (E - gamma_2 P_2) v_2

What (v_1, v_2) may still be is the kernel of [E - gamma_1 P_1, -(E - gamma_2 P_2)]. The constants
are always in it, so at best the rank is 2|S| - 1 and r is known up to a constant (Cao, Cohen and
Szpruch 2021). For paths of a deterministic process the question is again a rank, that
of the visit counts (Kim, Garg, Shiragur and Ermon 2021).

Departures from the papers: any number of environments; terminal states, whose value is 0. With
terminal states a constant per step is no longer free (it pays for staying), and the rank can be
full: r is then known exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.ambiguity import check_positive_policy, shaping_matrix
from tutorlib.irl.layout import check_temperature
from tutorlib.irl.paths import enumerate_paths
from tutorlib.mdp import TabularMDP

RANK_TOLERANCE = 1e-9  # singular values below this part of the largest count as 0


@dataclass(frozen=True)
class Identification:
    """How much of a reward the evidence fixes."""

    rank: int
    unknowns: int  # columns of the matrix
    singular_values: Float[Tensor, " columns"]  # in falling order
    directions: Float[Tensor, "free states actions"]  # orthonormal; adding them changes no evidence

    @property
    def free(self) -> int:
        """Dimensions of the reward that the evidence leaves open."""
        return self.unknowns - self.rank

    @property
    def up_to_constant(self) -> bool:
        """Whether nothing but a constant (the same for every state and action) is open."""
        if self.free != 1:
            return self.free == 0
        paid = self.directions[0][self.directions[0] != 0]
        everywhere = len(paid) == self.directions[0].numel()
        return everywhere and float(paid.max() - paid.min()) < 1e-6 * float(paid.abs().max())


@dataclass(frozen=True)
class Recovery:
    """A reward found from the policies of several environments."""

    reward: Float[Tensor, "states actions"]  # its part along the open directions is 0
    identification: Identification
    residual: float  # largest disagreement of the environments; 0: one reward explains them all


def joint_matrix(mdps: Sequence[TabularMDP]) -> Float[Tensor, "rows columns"]:
    """Return the matrix whose kernel holds what (v_1, v_2, ...) may still be.

    For two environments [E - gamma_1 P_1, -(E - gamma_2 P_2)] (Cao et al. 2021); each
    further one adds a block row that compares it with the first. Terminal states have no column.

    Raises InvalidArgumentError for fewer than two environments, or different states or actions.

    >>> one = TabularMDP.from_dense([[[1.0], [1.0]]], [0.0], discount=0.5)
    >>> joint_matrix([one, one.replace(discount=0.0)]).tolist()
    [[0.5, -1.0], [0.5, -1.0]]
    """
    _check_environments(mdps)
    blocks = [shaping_matrix(mdp) for mdp in mdps]
    rows, columns = blocks[0].shape
    matrix = blocks[0].new_zeros((len(mdps) - 1) * rows, len(mdps) * columns)
    for k in range(1, len(mdps)):
        here = slice((k - 1) * rows, k * rows)
        matrix[here, :columns] = blocks[0]
        matrix[here, k * columns:(k + 1) * columns] = -blocks[k]
    return matrix


def _check_environments(mdps: Sequence[TabularMDP]) -> None:
    """Raise InvalidArgumentError unless the processes can share one reward table."""
    if len(mdps) < 2:
        raise InvalidArgumentError(
            f"{len(mdps)} environment was given; expected at least two (one policy alone leaves "
            "one free number per state: see reward_family)"
        )
    for mdp in mdps[1:]:
        if mdp.reward.shape != mdps[0].reward.shape or not torch.equal(
                mdp.terminal, mdps[0].terminal):
            raise InvalidArgumentError(
                "environments must have the same states, actions and terminal states, since one "
                "reward r(s, a) is to serve in all of them"
            )


def identify(mdps: Sequence[TabularMDP], tolerance: float = RANK_TOLERANCE) -> Identification:
    """Return how far soft-optimal policies in these environments fix the reward they share.

    Two environments without terminal states fix it up to a constant iff the rank is 2|S| - 1 (Cao
    et al. 2021). Raises InvalidArgumentError as ``joint_matrix`` does.

    >>> swap = [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]
    >>> mdp = TabularMDP.from_dense(swap, [0.0, 0.0], discount=0.5)
    >>> identify([mdp, mdp.replace(discount=0.9)]).rank
    3
    """
    matrix = joint_matrix(mdps)
    _, sizes, right = torch.linalg.svd(matrix, full_matrices=True)
    sizes = torch.cat([sizes, sizes.new_zeros(matrix.shape[1] - len(sizes))])
    rank = int((sizes > tolerance * sizes[0]).sum())
    block = shaping_matrix(mdps[0])
    open_rewards = right[rank:, :block.shape[1]] @ block.T  # injective: E - gamma P has full rank
    return Identification(rank, matrix.shape[1], sizes, _orthonormal(mdps[0], open_rewards))


def _orthonormal(mdp: TabularMDP, rewards: Tensor) -> Tensor:
    """Return an orthonormal basis of the rows, as reward tables; 0 in terminal states."""
    basis = torch.linalg.qr(rewards.T).Q.T if len(rewards) else rewards
    tables = mdp.reward.new_zeros(len(basis), mdp.n_states, mdp.n_actions)
    tables[:, ~mdp.terminal] = basis.unflatten(1, (-1, mdp.n_actions))
    return tables


def recover_reward(mdps: Sequence[TabularMDP], policies: Sequence[Tensor],
                   temperature: float = 1.0) -> Recovery:
    """Return the reward that explains the soft-optimal policies of all environments.

    Solves the equations in the module's docstring by least squares. What the environments leave
    open is set to 0, so the answer is the smallest reward that fits. Temperature scales it: a
    policy alone never tells reward and temperature apart.

    Raises InvalidArgumentError as ``joint_matrix``, or for policies with a probability of 0.

    >>> swap = [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]
    >>> mdp = TabularMDP.from_dense(swap, [0.0, 0.0], discount=0.5)
    >>> even = torch.full_like(mdp.reward, 0.5)
    >>> recover_reward([mdp, mdp.replace(discount=0.9)], [even, even]).residual < 1e-12
    True
    """
    check_temperature(temperature)
    found = identify(mdps)
    if len(policies) != len(mdps):
        raise InvalidArgumentError(f"{len(policies)} policies for {len(mdps)} environments; "
                                   "expected one each")
    for mdp, policy in zip(mdps, policies, strict=True):
        check_positive_policy(mdp, policy)
    alive = ~mdps[0].terminal
    logs = [temperature * policy[alive].log().flatten() for policy in policies]
    matrix, gap = joint_matrix(mdps), torch.cat([other - logs[0] for other in logs[1:]])
    values = torch.linalg.pinv(matrix, rtol=RANK_TOLERANCE) @ gap
    block = shaping_matrix(mdps[0])
    reward = torch.zeros_like(mdps[0].reward)
    reward[alive] = (logs[0] + block @ values[:block.shape[1]]).view(-1, mdps[0].n_actions)
    shares = torch.einsum("ksa,sa->k", found.directions, reward)
    reward = reward - torch.einsum("k,ksa->sa", shares, found.directions)
    return Recovery(reward, found, float((matrix @ values - gap).abs().max()))


def identify_from_paths(mdp: TabularMDP, horizon: int, per_action: bool = False) -> Identification:
    """Return how far the distribution of paths of a deterministic process fixes its reward.

    P(tau) is proportional to exp(sum of rewards), so paths from one start reveal differences of
    their sums: the rank of the visit counts minus those of a first path. Columns are the states
    that are acted in (R(s)), or the (state, action) pairs. Nothing is discounted. With a chance in
    the dynamics the causal policy does not follow this law, and the question is refused (Kim et al.
    2021).

    Raises InvalidArgumentError for a stochastic process, or too many paths to list.

    >>> ring = TabularMDP.from_dense([[[0.0, 1.0]], [[1.0, 0.0]]], [0.0, 0.0], [1.0, 0.0])
    >>> identify_from_paths(ring, horizon=4).free  # one path only: nothing is revealed
    2
    """
    if bool(((mdp.probabilities > 0) & (mdp.probabilities < 1)).any()):
        raise InvalidArgumentError(
            "this process is stochastic; paths identify rewards by visit counts only if actions "
            "decide the next state; use identify with two environments"
        )
    counts, used = _visit_counts(mdp, horizon, per_action)
    _, sizes, right = torch.linalg.svd(counts[:, used], full_matrices=True)
    total = int(used.sum())
    sizes = torch.cat([sizes, sizes.new_zeros(total)])[:total]
    rank = int((sizes > RANK_TOLERANCE * max(float(sizes[0]), 1.0)).sum())
    tables = counts.new_zeros(total - rank, mdp.n_states * (mdp.n_actions if per_action else 1))
    tables[:, used] = right[rank:]
    tables = tables.unflatten(1, (mdp.n_states, -1)).expand(-1, -1, mdp.n_actions)
    return Identification(rank, total, sizes, tables)


def _visit_counts(mdp: TabularMDP, horizon: int, per_action: bool) -> tuple[Tensor, Tensor]:
    """Return visits of distinct paths minus those of a first path with the same start; and columns.

    The second result says which columns any path visits.
    """
    paths = enumerate_paths(mdp, horizon)
    columns = paths.states[:, :-1]
    if per_action:
        columns = columns * mdp.n_actions + paths.actions
    size = mdp.n_states * (mdp.n_actions if per_action else 1)
    counts = mdp.reward.new_zeros(len(columns), size)
    counts.scatter_add_(1, columns, paths.mask.to(mdp.dtype))
    used = counts.sum(0) > 0
    for start in paths.states[:, 0].unique():
        mine = paths.states[:, 0] == start
        counts[mine] = counts[mine] - counts[mine][0]
    return counts.unique(dim=0), used
