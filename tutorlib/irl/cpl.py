"""Contrastive preference learning: from comparisons to a policy, with no reward in between.

People may judge a segment by how little it departs from the best, not by what it pays: by the sum
of its advantages. In a soft-optimal plan of temperature alpha the advantage of an action *is*
alpha log pi*(a | s), so the policy can stand where the reward stood (Hejna et al. 2023,
"Contrastive preference learning", Equation 5):

    P(left preferred) = sigmoid(sum_t gamma^t alpha log pi(a_t | s_t), left minus right)

With a reference policy, alpha log(pi / pi_ref): for segments of one step from a common state this
is DPO's loss (Rafailov et al. 2023, Equation 7). Departures from the paper: tables instead of
networks, ridge regularisation of the logits instead of its conservative weight on the worse
segment.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.irl.preference_tables import minimise
from tutorlib.irl.preferences import preference_loss
from tutorlib.irl.segments import Segments


def segment_logps(policy: Float[Tensor, "states actions"], segments: Segments
                  ) -> Float[Tensor, "n length"]:
    """Return log pi(a_t | s_t) of each step of the segments."""
    return policy[segments.states[:, :-1], segments.actions].log()


def cpl_loss(
    left_logps: Float[Tensor, "pairs length"], right_logps: Float[Tensor, "pairs length"],
    labels: Float[Tensor, " pairs"], alpha: float = 1.0, discount: float = 1.0,
) -> Float[Tensor, " pairs"]:
    """Return the cross-entropy of each pair, with alpha log pi(a | s) in the place of a reward.

    For a reference policy give log pi - log pi_ref. Raises as ``preference_loss``.

    >>> half, sure = torch.tensor([[0.5]]).log(), torch.tensor([[1.0]]).log()
    >>> round(cpl_loss(sure, half, torch.ones(1)).item(), 4)  # log(1 + 0.5 / 1)
    0.4055
    """
    if not alpha > 0:
        raise InvalidArgumentError(f"alpha is {alpha!r}; expected a number above 0")
    return preference_loss(alpha * left_logps, alpha * right_logps, labels, discount)


def fit_cpl(left: Segments, right: Segments, labels: Float[Tensor, " pairs"], n_states: int,
            n_actions: int, alpha: float = 1.0, discount: float = 1.0, l2: float = 1e-3
            ) -> Float[Tensor, "states actions"]:
    """Return the policy table of least CPL loss; states that no segment visits stay uniform.

    ``l2`` holds logits near 0, in a sum over pairs. Raises as ``preference_loss``, and
    InvalidArgumentError for l2 <= 0 or when all labels are ties.

    >>> up, down = (Segments(torch.zeros(1, 2).long(), torch.tensor([[a]]),
    ...                      *torch.zeros(2, 1).long()) for a in (0, 1))
    >>> policy = fit_cpl(up, down, torch.ones(1).double(), 1, 2)
    >>> bool(policy[0, 0] > 0.9)
    True
    """
    if not l2 > 0 or bool((labels == 0.5).all()):
        raise InvalidArgumentError(f"l2 is {l2!r}, and {int((labels == 0.5).sum())} of "
                                   f"{len(labels)} labels are ties; expected l2 above 0 and at "
                                   "least one preference")

    def loss(flat: Tensor) -> Tensor:
        logps = torch.log_softmax(flat.view(n_states, n_actions), -1)
        sides = (logps[s.states[:, :-1], s.actions] for s in (left, right))
        return cpl_loss(*sides, labels, alpha, discount).sum() + l2 / 2 * (flat**2).sum()

    start = torch.zeros(n_states * n_actions, dtype=torch.float64)
    return torch.softmax(minimise(loss, start).view(n_states, n_actions), -1)
