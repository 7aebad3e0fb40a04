"""The price of leaving the reference: how it is estimated, where it is paid, how it is steered.

With d = log pi(y_t|...) - log pi_ref(y_t|...) of tokens drawn from pi, three estimates of
KL(pi || pi_ref) (Schulman 2020, "Approximating KL divergence"; his ratio r is exp(-d)):

    k1 = d                  unbiased, of either sign
    k2 = d^2 / 2            biased, never negative
    k3 = exp(-d) - 1 + d    unbiased, never negative

An unbiased estimate does not make an unbiased gradient (Tang and Munos 2025). In the *reward*,
where it is a plain number, only k1 gives the gradient of KL(pi || pi_ref). In the *loss*, where it
is differentiated and the tokens are held fixed, k1 gives 0 on average, k2 the gradient of
KL(pi || pi_ref) for the next token, and k3 that of KL(pi_ref || pi), the other direction; what a
token changes about later ones is left out by all three. TRL: RLOO has k1 in the reward, summed over
the answer; GRPO k3 in the loss.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tutorlib.errors import InvalidArgumentError
from tutorlib.lm.checks import check_number

KLEstimator = Literal["k1", "k2", "k3"]


def kl_estimate(per_token_logps: Float[Tensor, "*batch"],
                ref_per_token_logps: Float[Tensor, "*batch"],
                completion_mask: Shaped[Tensor, "*batch"] | None = None,
                kl_estimator: KLEstimator = "k1") -> Float[Tensor, "*batch"]:
    """Return k1, k2 or k3 of each token, in nats; 0 where masked. No gradient to the reference.

    Raises InvalidArgumentError for shapes that differ or another name.

    >>> logps, ref = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()
    >>> [round(kl_estimate(logps, ref, None, k).item(), 4) for k in ("k1", "k2", "k3")]
    [0.6931, 0.2402, 0.1931]
    """
    if per_token_logps.shape != ref_per_token_logps.shape:
        raise InvalidArgumentError(
            f"per_token_logps has shape {tuple(per_token_logps.shape)}, ref_per_token_logps "
            f"{tuple(ref_per_token_logps.shape)}; expected the same tokens under two models")
    gap = per_token_logps - ref_per_token_logps.detach()
    if completion_mask is not None:
        gap = torch.where(completion_mask != 0, gap, torch.zeros_like(gap))
    if kl_estimator == "k1":
        return gap
    if kl_estimator == "k2":
        return gap.square() / 2
    if kl_estimator == "k3":
        return torch.expm1(-gap) + gap  # exp(-d) - 1 would cancel where d is small
    raise InvalidArgumentError(f"kl_estimator is {kl_estimator!r}; expected 'k1', 'k2' or 'k3'")


def token_rewards(rewards: Float[Tensor, " rows"], per_token_kl: Float[Tensor, "rows answer"],
                  completion_mask: Shaped[Tensor, "rows answer"], beta: float
                  ) -> Float[Tensor, "rows answer"]:
    """Return -beta times each token's KL, plus the answer's reward at its last token; 0 if masked.

    (Ziegler et al. 2019, eq. 2, spread over tokens; plain numbers, without gradient.) An answer
    that was cut off is paid at its last token as well.

    >>> token_rewards(torch.tensor([2.0]), torch.tensor([[0.5, 1.0, 9.0]]),
    ...               torch.tensor([[1, 1, 0]]), beta=0.1)
    tensor([[-0.0500,  1.9000,  0.0000]])
    """
    mask = completion_mask != 0
    last = mask.long().sum(1) - 1
    if not bool((last >= 0).all()):
        raise InvalidArgumentError("an answer has no tokens; expected one or more, the end of "
                                   "sequence included")
    paid = torch.where(mask, -beta * per_token_kl.detach(), torch.zeros_like(per_token_kl))
    return paid.scatter_add(1, last[:, None], rewards.to(paid.dtype)[:, None])


def adaptive_beta(beta: float, kl: float, kl_target: float, gain: float = 0.1, limit: float = 0.2
                  ) -> float:
    """Return beta (1 + gain e), e = (kl - target) / target held within +- limit.

    One step of a proportional controller in log beta (Ziegler et al. 2019, section 2.2; they write
    K_beta for the gain). KL of whole answers, in nats; a negative estimate counts as very small.

    >>> adaptive_beta(1.0, kl=6.6, kl_target=6.0), adaptive_beta(1.0, kl=0.0, kl_target=6.0)
    (1.01, 0.98)
    """
    check_number("beta", beta)
    check_number("kl_target", kl_target)
    return beta * (1 + gain * min(max((kl - kl_target) / kl_target, -limit), limit))
