"""Direct alignment: a policy learns from judged answers, with no reward model and no sampling.

All losses are functions of log pi(y | x), one number per answer, and return one loss per pair (or,
for KTO, per answer); their mean is what is minimised. They rest on one identity: the optimum of
E[r] - beta KL(pi || pi_ref) is pi* = pi_ref exp(r / beta) / Z, so that

    r(x, y) = beta log(pi*(y|x) / pi_ref(y|x)) + beta log Z(x)

and Z drops out of every difference of two answers to the same prompt (Rafailov et al. 2023, eq. 5).
Below, h is the difference of log-ratios, log pi/pi_ref of the chosen minus that of the rejected.

Where others write something else:

- Sun and van der Schaar (2025, section 4.1, box on DPO) print pi* without pi_ref, divide the
  log-ratio by beta in one line and multiply in the next, and maximise what is a loss here. Here it
  is the form of Rafailov et al.
- Log-probabilities are sums over tokens unless said otherwise. IPO over means is TRL's convention;
  a beta that suits sums must be multiplied by about the length of an answer to suit means.
- SimPO's gamma is called ``margin`` here, as gamma is a discount elsewhere.
- The reference never gets a gradient: its log-probabilities are detached.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid

from tutorlib.errors import InvalidArgumentError
from tutorlib.lm.checks import check_number

Smoothing = Literal["conservative", "robust"]


def implicit_reward(logps: Float[Tensor, "*batch"], ref_logps: Float[Tensor, "*batch"],
                    beta: float) -> Float[Tensor, "*batch"]:
    """Return beta log(pi / pi_ref), the reward that makes ``pi`` optimal, up to a constant per x.

    Of a whole answer it is r(x, y) - beta log Z(x) (Rafailov et al. 2023, eq. 5); of one token it
    is the advantage Q - V, so that a sum over tokens telescopes to the same (Rafailov et al. 2024,
    "From r to Q*", eq. 8). Differentiable in both, for whoever wants that.

    >>> implicit_reward(torch.tensor([-1.0]), torch.tensor([-3.0]), beta=0.5)
    tensor([1.])
    """
    check_number("beta", beta)
    _check_same(logps=logps, ref_logps=ref_logps)
    return beta * (logps - ref_logps)


def log_ratio_gap(chosen_logps: Float[Tensor, " pairs"], rejected_logps: Float[Tensor, " pairs"],
                  ref_chosen_logps: Float[Tensor, " pairs"] | None,
                  ref_rejected_logps: Float[Tensor, " pairs"] | None) -> Float[Tensor, " pairs"]:
    """Return h = log pi/pi_ref of the chosen answer minus that of the rejected one.

    None for both references leaves them out ("reference-free"): all answers of equal reference
    probability. Raises InvalidArgumentError for one None, shapes that differ, infinities or NaN.

    >>> log_ratio_gap(torch.tensor([-1.0]), torch.tensor([-4.0]), torch.tensor([-2.0]),
    ...               torch.tensor([-3.0]))
    tensor([2.])
    """
    if (ref_chosen_logps is None) != (ref_rejected_logps is None):
        raise InvalidArgumentError("only one of the reference log-probabilities is None; give both,"
                                   " or None for both to do without a reference")
    if ref_chosen_logps is None:
        _check_same(chosen_logps=chosen_logps, rejected_logps=rejected_logps)
        return chosen_logps - rejected_logps
    _check_same(chosen_logps=chosen_logps, rejected_logps=rejected_logps,
                ref_chosen_logps=ref_chosen_logps, ref_rejected_logps=ref_rejected_logps)
    return (chosen_logps - rejected_logps) - (ref_chosen_logps - ref_rejected_logps).detach()


def dpo_loss(chosen_logps: Float[Tensor, " pairs"], rejected_logps: Float[Tensor, " pairs"],
             ref_chosen_logps: Float[Tensor, " pairs"] | None,
             ref_rejected_logps: Float[Tensor, " pairs"] | None, beta: float = 0.1,
             label_smoothing: float = 0.0, smoothing: Smoothing = "conservative"
             ) -> Float[Tensor, " pairs"]:
    """Return -log sigmoid(beta h) (Rafailov et al. 2023, eq. 7).

    ``label_smoothing`` is the share e of labels believed to be wrong. With l(h) the loss above,
    "conservative" is (1 - e) l(h) + e l(-h) (cDPO; Mitchell 2023), whose optimum is finite; and
    "robust" is ((1 - e) l(h) - e l(-h)) / (1 - 2e), whose mean over flipped labels is the loss of
    the true ones (Chowdhury et al. 2024, eq. 12). TRL's "sigmoid" has no smoothing, its "robust"
    is the latter.

    >>> dpo_loss(torch.tensor([-1.0]), torch.tensor([-1.0]), torch.tensor([-2.0]),
    ...          torch.tensor([-2.0])).exp()  # nothing to tell them apart: log 2
    tensor([2.])
    """
    check_number("beta", beta)
    if smoothing not in ("conservative", "robust"):
        raise InvalidArgumentError(
            f"smoothing is {smoothing!r}; expected 'conservative' or 'robust'")
    if not 0 <= label_smoothing < 0.5:
        raise InvalidArgumentError(f"label_smoothing is {label_smoothing!r}; expected 0 or more and"
                                   " below 0.5: at one half labels say nothing")
    gap = beta * log_ratio_gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    kept, flipped = -logsigmoid(gap), -logsigmoid(-gap)
    if smoothing == "robust":
        return ((1 - label_smoothing) * kept - label_smoothing * flipped) / (
            1 - 2 * label_smoothing)
    return (1 - label_smoothing) * kept + label_smoothing * flipped


def hinge_loss(chosen_logps: Float[Tensor, " pairs"], rejected_logps: Float[Tensor, " pairs"],
               ref_chosen_logps: Float[Tensor, " pairs"] | None,
               ref_rejected_logps: Float[Tensor, " pairs"] | None, beta: float = 0.1
               ) -> Float[Tensor, " pairs"]:
    """Return max(0, 1 - beta h): no push once the margin is reached (Zhao et al. 2023, SLiC-HF).

    >>> zero = torch.zeros(1)
    >>> hinge_loss(torch.tensor([-1.0]), torch.tensor([-3.0]), zero, zero, beta=0.25)
    tensor([0.5000])
    """
    check_number("beta", beta)
    gap = log_ratio_gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    return torch.relu(1 - beta * gap)


def ipo_loss(chosen_logps: Float[Tensor, " pairs"], rejected_logps: Float[Tensor, " pairs"],
             ref_chosen_logps: Float[Tensor, " pairs"] | None,
             ref_rejected_logps: Float[Tensor, " pairs"] | None, tau: float = 0.1,
             aggregate: Literal["sequence_sum", "sequence_mean"] = "sequence_sum",
             chosen_lengths: Shaped[Tensor, " pairs"] | None = None,
             rejected_lengths: Shaped[Tensor, " pairs"] | None = None) -> Float[Tensor, " pairs"]:
    """Return (h - 1 / (2 tau))^2 (Azar et al. 2023, eq. 17).

    If the chosen answer wins with probability p, the best h is (p - 1/2) / tau: finite even at
    p = 1, where DPO's is not. Log-probabilities are sums over tokens in any case;
    "sequence_mean" divides each log-ratio by its answer's length first, as TRL does.

    >>> zero = torch.zeros(1)
    >>> ipo_loss(torch.tensor([-1.0]), torch.tensor([-5.0]), zero, zero, tau=0.25)
    tensor([4.])
    """
    check_number("tau", tau)
    if aggregate not in ("sequence_sum", "sequence_mean"):
        raise InvalidArgumentError(
            f"aggregate is {aggregate!r}; expected 'sequence_sum' or 'sequence_mean'")
    values = [chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps]
    if aggregate == "sequence_mean":
        lengths = [chosen_lengths, rejected_lengths] * 2
        values = [None if v is None else v / _lengths(n, v)
                  for v, n in zip(values, lengths, strict=True)]
    return (log_ratio_gap(*values) - 1 / (2 * tau)).square()


def kto_loss(logps: Float[Tensor, " answers"], ref_logps: Float[Tensor, " answers"],
             desirable: Bool[Tensor, " answers"], reference_point: Float[Tensor, ""] | float,
             beta: float = 0.1, desirable_weight: float = 1.0, undesirable_weight: float = 1.0
             ) -> Float[Tensor, " answers"]:
    """Return w_D (1 - sigmoid(beta (l - z))) for good answers, w_U (1 - sigmoid(beta (z - l))).

    l is the log-ratio log pi/pi_ref of an answer, and z = max(0, KL(pi || pi_ref)) the
    ``reference_point``, in nats and without gradient: see ``kto_reference_point``. Answers are
    judged one by one, no pairs are needed (Ethayarajh et al. 2024, eqs 7, 8).

    >>> kto_loss(torch.zeros(2), torch.zeros(2), torch.tensor([True, False]), 0.0)
    tensor([0.5000, 0.5000])
    """
    check_number("beta", beta)
    check_number("desirable_weight", desirable_weight)
    check_number("undesirable_weight", undesirable_weight)
    _check_same(logps=logps, ref_logps=ref_logps)
    if desirable.shape != logps.shape or desirable.dtype != torch.bool:
        raise InvalidArgumentError(
            f"desirable is {desirable.dtype} of shape {tuple(desirable.shape)}; expected a bool for"
            f" each of the answers, shape {tuple(logps.shape)}")
    point = torch.as_tensor(reference_point, dtype=logps.dtype, device=logps.device).detach()
    if not bool(point.isfinite()) or bool(point < 0):
        raise InvalidArgumentError(f"reference_point is {float(point)}; expected a divergence, a "
                                   "finite number not below 0")
    better = logps - ref_logps.detach() - point
    gains = torch.sigmoid(beta * torch.where(desirable, better, -better))
    return torch.where(desirable, desirable_weight, undesirable_weight) * (1 - gains)


def simpo_loss(chosen_logps: Float[Tensor, " pairs"], rejected_logps: Float[Tensor, " pairs"],
               chosen_lengths: Shaped[Tensor, " pairs"], rejected_lengths: Shaped[Tensor, " pairs"],
               beta: float = 2.0, margin: float = 1.0) -> Float[Tensor, " pairs"]:
    """Return -log sigmoid(beta (mean log pi of chosen - of rejected) - margin).

    No reference; means over tokens, so that length alone earns nothing. ``margin`` is gamma in
    Meng et al. (2024, eq. 6), and TRL's ``simpo_gamma``: it divides by beta and multiplies again.

    >>> two = torch.tensor([2])
    >>> simpo_loss(torch.tensor([-1.0]), torch.tensor([-2.0]), two, two, beta=2.0).exp()
    tensor([2.])
    """
    check_number("beta", beta)
    if not 0 <= margin < torch.inf:
        raise InvalidArgumentError(f"margin is {margin!r}; expected a finite number, 0 or more")
    _check_same(chosen_logps=chosen_logps, rejected_logps=rejected_logps)
    gap = (chosen_logps / _lengths(chosen_lengths, chosen_logps)
           - rejected_logps / _lengths(rejected_lengths, rejected_logps))
    return -logsigmoid(beta * gap - margin)


def orpo_loss(chosen_logps: Float[Tensor, " pairs"], rejected_logps: Float[Tensor, " pairs"],
              chosen_lengths: Shaped[Tensor, " pairs"], rejected_lengths: Shaped[Tensor, " pairs"],
              odds_weight: float = 0.1) -> Float[Tensor, " pairs"]:
    """Return the SFT loss of the chosen answer plus ``odds_weight`` times ``odds_ratio_loss``.

    No reference (Hong et al. 2024, eq. 6; the weight is lambda there and beta in TRL). Here the SFT
    part is the mean over the chosen answer's tokens; TRL's is the mean over all tokens of the
    batch, prompts included.

    >>> two = torch.tensor([2])
    >>> orpo_loss(torch.tensor([-1.0]), torch.tensor([-1.0]), two, two, odds_weight=1.0)
    tensor([1.1931])
    """
    check_number("odds_weight", odds_weight)
    odds = odds_ratio_loss(chosen_logps, rejected_logps, chosen_lengths, rejected_lengths)
    return odds_weight * odds - chosen_logps / _lengths(chosen_lengths, chosen_logps)


def odds_ratio_loss(chosen_logps: Float[Tensor, " pairs"], rejected_logps: Float[Tensor, " pairs"],
                    chosen_lengths: Shaped[Tensor, " pairs"],
                    rejected_lengths: Shaped[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """Return -log sigmoid(log odds of the chosen - of the rejected answer), odds = p / (1 - p).

    p is the geometric mean of an answer's token probabilities (Hong et al. 2024, eqs 3, 4, 7). A p
    of 1, whose odds are infinite, counts as 1 minus rounding.

    >>> one = torch.tensor([1])
    >>> odds_ratio_loss(torch.tensor([0.5]).log(), torch.tensor([0.25]).log(), one, one).exp()
    tensor([1.3333])
    """
    _check_same(chosen_logps=chosen_logps, rejected_logps=rejected_logps)
    gap = (_log_odds(chosen_logps / _lengths(chosen_lengths, chosen_logps))
           - _log_odds(rejected_logps / _lengths(rejected_lengths, rejected_logps)))
    return -logsigmoid(gap)


def _log_odds(logps: Tensor) -> Tensor:
    """Return log(p / (1 - p)) from log p."""
    logps = logps.clamp(max=-torch.finfo(logps.dtype).eps)
    return logps - torch.log(-torch.expm1(logps))


def _lengths(lengths: Tensor | None, logps: Tensor) -> Tensor:
    """Return how many tokens each answer has, checked."""
    if lengths is None:
        raise InvalidArgumentError("a mean over tokens needs the lengths of the answers, end of "
                                   "sequence included: completion_mask.sum(1)")
    if lengths.shape != logps.shape or not bool((lengths >= 1).all()):
        raise InvalidArgumentError(
            f"lengths are {lengths.tolist()}; expected one for each of {tuple(logps.shape)} "
            "answers, 1 token or more")
    return lengths.to(logps.dtype)


def _check_same(**values: Tensor) -> None:
    """Raise InvalidArgumentError unless all are finite and of one shape."""
    (first, like), *_ = values.items()
    for name, value in values.items():
        if value.shape != like.shape:
            raise InvalidArgumentError(
                f"{name} has shape {tuple(value.shape)}, {first} {tuple(like.shape)}; expected one "
                "number per answer, in the same order")
        if not bool(value.detach().isfinite().all()):
            raise InvalidArgumentError(
                f"{name} holds NaN or infinity; expected log-probabilities of answers that can be "
                "given (a token of probability 0 makes the whole answer impossible)")
