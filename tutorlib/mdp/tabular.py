"""A finite Markov decision process whose transitions are held sparsely.

For each (state, action) pair only the possible next states are stored, padded to a common number
of branches. Memory and the cost of one backup are therefore O(states * actions * branches): a
gridworld of 100,000 cells has 3 branches, not 100,000. The dense ``transition_matrix`` is made on
request.

In memory the branch axis comes first, so that one backup reads two long contiguous arrays; the
public tensors are views with the axes in reading order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.mdp import checks, convert

DENSE_LIMIT = 2**29  # entries of a dense transition matrix: 4 GiB of float64


def _branches_first(tensor: Tensor) -> Tensor:
    """Return the same [states, actions, branches] tensor, laid out with branches outermost."""
    return tensor.permute(2, 0, 1).contiguous().permute(1, 2, 0)


@dataclass(frozen=True, eq=False, repr=False)
class TabularMDP:
    """A Markov decision process with finitely many states and actions.

    Rewards are expected immediate rewards r(s, a). A terminal state leads to itself and pays
    nothing; planners hold its value at exactly 0. ``horizon`` serves the finite-horizon planners,
    rollouts and ``MDPEnv``; the infinite-horizon planners ignore it (Puterman 1994, chapters 4, 6).

    Raises InvalidMDPError, naming state and action, when the pieces do not form such a process.

    >>> mdp = TabularMDP.from_dense([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]])
    >>> mdp.n_states, mdp.n_actions, mdp.n_branches
    (2, 1, 1)
    """

    successors: Int[Tensor, "states actions branches"]  # next-state indices; padding: any index
    probabilities: Float[Tensor, "states actions branches"]  # sum to 1 over branches; padding: 0
    reward: Float[Tensor, "states actions"]  # expected immediate reward r(s, a)
    initial_state_dist: Float[Tensor, " states"]  # where episodes begin
    discount: float = 0.95  # in [0, 1]; 1 needs a horizon or a terminal state
    horizon: int | None = None  # number of decisions; None: endless
    terminal: Bool[Tensor, " states"] | None = None  # absorbing, reward 0; None: no such state
    state_names: tuple[str, ...] | None = None  # None: "s0", "s1", ...
    action_names: tuple[str, ...] | None = None  # None: "a0", "a1", ...

    def __post_init__(self) -> None:
        """Fill in the defaults, choose the memory layout, and validate."""
        if self.terminal is None:
            self._set("terminal", torch.zeros_like(self.initial_state_dist, dtype=torch.bool))
        checks.check_layout(self)
        self._set("successors", _branches_first(self.successors.long()))
        self._set("probabilities", _branches_first(self.probabilities))
        for field, letter, count in (
            ("state_names", "s", self.n_states),
            ("action_names", "a", self.n_actions),
        ):
            names = getattr(self, field)
            if names is None:
                names = (f"{letter}{i}" for i in range(count))
            self._set(field, tuple(names))
        checks.check_names(self)
        for check in (
            checks.check_transitions,
            checks.check_reward,
            checks.check_initial,
            checks.check_time,
            checks.check_terminal,
        ):
            check(self)

    def _set(self, field: str, value: object) -> None:
        """Set a field of this frozen instance while it is being built."""
        object.__setattr__(self, field, value)

    def __repr__(self) -> str:
        """Describe the process in one line; tensors of thousands of entries help nobody."""
        return (
            f"TabularMDP(n_states={self.n_states}, n_actions={self.n_actions}, "
            f"n_branches={self.n_branches}, discount={self.discount}, horizon={self.horizon}, "
            f"terminal={int(self.terminal.sum())}, dtype={self.dtype}, device='{self.device}')"
        )

    @property
    def n_states(self) -> int:
        """Number of states."""
        return self.successors.shape[0]

    @property
    def n_actions(self) -> int:
        """Number of actions; every action is available in every state."""
        return self.successors.shape[1]

    @property
    def n_branches(self) -> int:
        """Largest number of stored next states of a (state, action) pair."""
        return self.successors.shape[2]

    @property
    def device(self) -> torch.device:
        """The device that all tensors of this process are on."""
        return self.probabilities.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of probabilities and rewards."""
        return self.probabilities.dtype

    @property
    def flat_successors(self) -> Int[Tensor, " transitions"]:
        """All next-state indices as one contiguous view, branches outermost."""
        return self.successors.permute(2, 0, 1).reshape(-1)

    @property
    def flat_probabilities(self) -> Float[Tensor, "branches pairs"]:
        """Probabilities as a contiguous view: branches, then (state, action) pairs."""
        return self.probabilities.permute(2, 0, 1).flatten(1)

    @property
    def transition_matrix(self) -> Float[Tensor, "states actions next_states"]:
        """The dense T[s, a, s'] = P(s' | s, a), built anew at every access.

        Raises InvalidArgumentError when it would take more than 4 GiB in float64.
        """
        size = self.n_states * self.n_actions * self.n_states
        if size > DENSE_LIMIT:
            raise InvalidArgumentError(
                f"a dense transition matrix of {self.n_states} states would hold {size} numbers; "
                "use successors and probabilities, or expected_next_values"
            )
        dense = self.probabilities.new_zeros(self.n_states, self.n_actions, self.n_states)
        return dense.scatter_add(-1, self.successors, self.probabilities)

    def replace(self, **changes) -> TabularMDP:
        """Return a copy with these fields changed, validated again.

        >>> grid_mdp = TabularMDP.from_dense([[[1.0]]], [[2.0]], discount=0.5)
        >>> grid_mdp.replace(discount=0.9).discount
        0.9
        """
        return dataclasses.replace(self, **changes)

    def to(self, device=None, dtype: torch.dtype | None = None) -> TabularMDP:
        """Return the same process with its tensors on ``device``, its floats as ``dtype``."""
        moved = {
            name: getattr(self, name).to(device=device, dtype=dtype)
            for name in ("probabilities", "reward", "initial_state_dist")
        }
        moved["successors"] = self.successors.to(device=device)
        moved["terminal"] = self.terminal.to(device=device)
        return self.replace(**moved)

    @classmethod
    def from_dense(
        cls,
        transition_matrix,
        reward,
        initial_state_dist=None,
        discount: float = 0.95,
        horizon: int | None = None,
        terminal=None,
        state_names: Sequence[str] | None = None,
        action_names: Sequence[str] | None = None,
    ) -> TabularMDP:
        """Build the process from a dense T[s, a, s'], as tensors, arrays or nested lists.

        ``reward`` has shape "states" (R(s), paid for acting in s), "states actions" (r(s, a)), or
        "states actions next_states" (r(s, a) = sum_s' T[s, a, s'] R(s, a, s')).
        ``initial_state_dist=None`` starts uniformly in the states that are not terminal.
        Floating tensors keep dtype and device; everything else becomes float64.

        Raises InvalidMDPError for wrong shapes and for anything the constructor refuses.

        >>> mdp = TabularMDP.from_dense([[[0.5, 0.5]], [[0.0, 1.0]]], [1.0, 0.0])
        >>> mdp.reward.tolist(), mdp.n_branches
        ([[1.0], [0.0]], 2)
        """
        dense = convert.as_float(transition_matrix)
        successors, probabilities = convert.branches_of_dense(dense)
        expected = convert.expected_reward(dense, convert.as_float(reward, like=dense))
        if terminal is None:
            terminal = torch.zeros(len(dense), dtype=torch.bool, device=dense.device)
        terminal = torch.as_tensor(terminal, device=dense.device)
        if initial_state_dist is None:
            initial_state_dist = convert.uniform_over(~terminal.bool(), dense.dtype)
        return cls(
            successors=successors,
            probabilities=probabilities,
            reward=expected,
            initial_state_dist=convert.as_float(initial_state_dist, like=dense),
            discount=discount,
            horizon=horizon,
            terminal=terminal,
            state_names=None if state_names is None else tuple(state_names),
            action_names=None if action_names is None else tuple(action_names),
        )

    @classmethod
    def from_gymnasium(
        cls,
        env,
        discount: float = 0.95,
        horizon: int | None = None,
        initial_state_dist=None,
        action_names: Sequence[str] | None = None,
    ) -> TabularMDP:
        """Load the transition table ``env.unwrapped.P`` of a Gymnasium toy-text environment.

        ``P[s][a]`` lists ``(probability, next_state, reward, terminated)``. The table has no
        discount: it is an argument here. A time limit is a truncation, not part of the process:
        pass ``horizon`` to have one. A state that ends the episode whenever it is entered becomes
        terminal (its own row is replaced by staying, reward 0). If an episode can also begin or
        go on in such a state, endings lead to one extra terminal state named "terminated".

        Raises InvalidMDPError when ``env`` has no such table or no initial distribution.

        >>> import gymnasium
        >>> mdp = TabularMDP.from_gymnasium(gymnasium.make("FrozenLake-v1"), discount=0.99)
        >>> mdp.n_states, mdp.n_actions, int(mdp.terminal.sum())
        (16, 4, 5)
        """
        fields = convert.fields_of_gymnasium(env, initial_state_dist)
        names = None if action_names is None else tuple(action_names)
        return cls(discount=discount, horizon=horizon, action_names=names, **fields)
