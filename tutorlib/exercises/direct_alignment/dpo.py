"""Exercise 17.1: the loss of direct preference optimisation."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus

from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor

UNIT = "direct_alignment"


def dpo_loss(chosen_logps: Float[Tensor, " pairs"], rejected_logps: Float[Tensor, " pairs"],
             ref_chosen_logps: Float[Tensor, " pairs"], ref_rejected_logps: Float[Tensor, " pairs"],
             beta: float, label_smoothing: float) -> Float[Tensor, " pairs"]:
    """Return (1 - e) l(h) + e l(-h) with l(h) = -log sigmoid(beta h)."""
    h = _gap(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    return -(1 - label_smoothing) * logsigmoid(beta * h) - label_smoothing * logsigmoid(-beta * h)


def pair_by_pair(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing) -> Tensor:
    """Solve each pair's rewards, and ask Bradley and Terry in plain Python."""
    found = []
    for c, r, rc, rr in zip(*(v.double().tolist() for v in (chosen, rejected, ref_chosen,
                                                            ref_rejected)), strict=True):
        gap = beta * (c - rc) - beta * (r - rr)
        surprise = [max(0.0, -x) + math.log1p(math.exp(-abs(x))) for x in (gap, -gap)]
        found.append((1 - label_smoothing) * surprise[0] + label_smoothing * surprise[1])
    return torch.tensor(found, dtype=torch.float64)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw pairs: with and without smoothing, and log-ratios as large as texts have them."""
    cases = []
    for pairs, spread, beta, smoothing, dtype, note in (
            (3, 2.0, 0.3, 0.0, torch.float64, "no smoothing"),
            (5, 1.5, 1.7, 0.0, torch.float64, "a large β"),
            (4, 2.0, 0.4, 0.15, torch.float64, "15 % of the labels believed wrong"),
            (3, 3.0, 0.1, 0.3, torch.float64, "30 % of the labels believed wrong"),
            (4, 200.0, 1.0, 0.0, torch.float32, "float32, log-ratios of hundreds of nats")):
        values = [-20 + spread * torch.randn(pairs, generator=generator, dtype=torch.float64)
                  for _ in range(4)]
        if spread > 100:  # one pair in the wrong order by 400 nats, one in the right
            values[0][:2], values[1][:2] = values[1][:2] + torch.tensor([-400.0, 400.0]), (
                values[1][:2])
            values[2][:2] = values[3][:2]
            top = max(float(v.max()) for v in values)  # log-probabilities are below 0
            values = [v - top - 1 for v in values]
        cases.append(Case(args=(*(v.to(dtype) for v in values), beta, smoothing), note=note))
    return cases


def gradients_are_right(answer, case: Case) -> str | None:
    """The slope is minus beta sigmoid(-beta h) up for the chosen, none for the reference."""
    leaves = [v.clone().requires_grad_() for v in case.args[:4]]
    loss = answer(*leaves, *case.args[4:])
    if listed(loss):
        return A_LIST
    if not (isinstance(loss, Tensor) and loss.requires_grad):
        return ("your loss carries no gradient, so no model can be trained with it: compute with "
                "torch, without `item`, `float` or numpy, and detach the reference only")
    loss.sum().backward()
    chosen, rejected, *reference = (v.grad for v in leaves)
    if any(g is not None and float(g.abs().max()) > 0 for g in reference):
        return ("a gradient reaches the reference's log-probabilities. The reference is frozen: "
                "`.detach()` them")
    if chosen is None or rejected is None:
        return "no gradient reaches the policy's log-probabilities of both answers"
    beta, smoothing = case.args[4:]
    gap = beta * _gap(*(v.double() for v in case.args[:4]))
    slope = -beta * ((1 - smoothing) * torch.sigmoid(-gap) - smoothing * torch.sigmoid(gap))
    if not bool(loss.isfinite().all() and chosen.isfinite().all() and rejected.isfinite().all()):
        return ("your loss or its slope is infinite or NaN on these numbers: `exp` overflows, or a "
                "sigmoid is rounded to 0 under the logarithm (where `torch.where` or a small number"
                " added hides it, the slope shows it). `torch.nn.functional.logsigmoid` stays "
                "finite")
    off = max(float((chosen - slope).abs().max()), float((rejected + slope).abs().max()))
    return None if off < 1e-4 else (
        f"the slope in the chosen log-probability is off by {off:.4g}. It is -β (σ(-βh) - ε), "
        f"here from {float(slope.min()):.4g} to {float(slope.max()):.4g}, and minus that for the "
        "rejected one")


def log_two_at_the_reference(answer, case: Case) -> str | None:
    """A policy that is the reference cannot tell answers apart."""
    ref = case.args[2:4]
    worst = float((as_tensor(answer(*ref, *ref, *case.args[4:])) - math.log(2)).abs().max())
    return None if worst < 1e-4 else (
        f"where the policy is the reference, the loss is log 2 = 0.6931; yours is {worst:.4g} off")


def log_z_cancels(answer, case: Case) -> str | None:
    """A constant that both answers of a pair share changes nothing: it is beta log Z."""
    chosen, rejected, ref_chosen, ref_rejected, *rest = case.args
    shift = torch.arange(1.0, len(chosen) + 1).to(chosen)
    moved = as_tensor(answer(chosen, rejected, ref_chosen + shift, ref_rejected + shift, *rest))
    worst = float((moved - as_tensor(answer(*case.args))).abs().max())
    return None if worst < 1e-3 else (
        f"the same number added to both answers' reference log-probabilities moved the loss by "
        f"{worst:.4g}; it should cancel, as β log Z does")


A_LIST = ("you return a list of tensors, which has no `.mean()` to train with: "
          "`torch.stack(losses)` makes one tensor of them and keeps the gradient")


def listed(loss) -> bool:
    """Whether this is a list of tensors rather than one tensor."""
    return isinstance(loss, list | tuple) and any(isinstance(v, Tensor) for v in loss)


def _gap(chosen, rejected, ref_chosen, ref_rejected):
    return (chosen - rejected) - (ref_chosen - ref_rejected).detach()


def _of(gap_of):
    """Return the loss with another gap."""
    def answer(c, r, rc, rr, beta, e):
        gap = gap_of(c, r, rc, rr, beta)
        return -(1 - e) * logsigmoid(gap) - e * logsigmoid(-gap)
    return answer


def _smoothed(rule):
    """Return the loss with another use of the smoothing."""
    def answer(c, r, rc, rr, beta, e):
        gap = beta * _gap(c, r, rc, rr)
        return rule(-logsigmoid(gap), -logsigmoid(-gap), e)
    return answer


def _log_of_sigmoid(c, r, rc, rr, beta, e):
    gap = beta * _gap(c, r, rc, rr)
    kept = -torch.sigmoid(gap).log()
    return kept if e == 0 else -(1 - e) * torch.sigmoid(gap).log() - e * torch.sigmoid(-gap).log()


def _probability(c, r, rc, rr, beta, e):
    p = torch.sigmoid(beta * _gap(c, r, rc, rr))
    return (1 - e) * (1 - p) + e * p


def _each_alone(c, r, rc, rr, beta, e):
    kept = -logsigmoid(beta * (c - rc)) - logsigmoid(-beta * (r - rr))
    return (1 - e) * kept + e * (-logsigmoid(-beta * (c - rc)) - logsigmoid(beta * (r - rr)))


def _in_the_probability(c, r, rc, rr, beta, e):
    p = torch.sigmoid(beta * _gap(c, r, rc, rr))
    return -logsigmoid(beta * _gap(c, r, rc, rr)) if e == 0 else -((1 - e) * p + e * (1 - p)).log()


def _halved(kept, flipped, e):
    return (1 - e / 2) * kept + e / 2 * flipped


def _clamped(c, r, rc, rr, beta, e):
    gap = beta * _gap(c, r, rc, rr)
    kept, flipped = (-(torch.sigmoid(x) + 1e-12).log() for x in (gap, -gap))
    return (1 - e) * kept + e * flipped


MUTANTS = (
    Mutant("swapped", _of(lambda c, r, rc, rr, b: -b * _gap(c, r, rc, rr)),
           "Chosen and rejected are swapped: minimising this makes the *rejected* answer likelier. "
           "h is the chosen answer's log-ratio minus the rejected one's. (With smoothing, exchanged"
           " weights do the same: the order as given counts 1 - ε.)"),
    Mutant("no_reference", _of(lambda c, r, rc, rr, b: b * (c - r)),
           "The reference is missing. The reward is how much likelier an answer is than *before*: "
           "without it, an answer that always was unlikely counts as bad."),
    Mutant("reference_added", _of(lambda c, r, rc, rr, b: b * ((c - r) + (rc - rr))),
           "The reference is added where it should be subtracted: log(π/π_ref) is log π minus "
           "log π_ref, for both answers."),
    Mutant("only_the_reference", _of(lambda c, r, rc, rr, b: b * (rc - rr)),
           "Only the reference is in this loss: nothing in it depends on the policy."),
    Mutant("beta_missing", _of(lambda c, r, rc, rr, b: _gap(c, r, rc, rr)),
           "β is missing: r = β log(π/π_ref) + β log Z."),
    Mutant("beta_divides", _of(lambda c, r, rc, rr, b: _gap(c, r, rc, rr) / b),
           "β divides. Solve π* = π_ref e^{r/β} / Z for r once more: β *multiplies* the log-ratio. "
           "(The tutorial's box divides in one line and multiplies in the next.)"),
    Mutant("beta_on_the_policy_only", _of(lambda c, r, rc, rr, b: b * (c - r) - (rc - rr)),
           "β multiplies the policy's log-probabilities only. It multiplies the whole log-ratio, "
           "the reference's part included."),
    Mutant("sign", lambda *a: -dpo_loss(*a),
           "The sign is turned: this is the log-likelihood, to be maximised, as the tutorial "
           "prints it. A loss is minus that."),
    Mutant("log_of_a_sigmoid", _log_of_sigmoid,
           "In float32 the sigmoid of -104 is 0, and its logarithm minus infinity (`exp` of 89 is "
           "infinite): one bad pair and training is over. `torch.nn.functional.logsigmoid` never "
           "leaves the logarithm."),
    Mutant("small_number_added", _clamped,
           "A small number added in front of the logarithm stops the loss at 27.6 and takes the "
           "slope away just where a pair is in the wrong order by most. Use "
           "`torch.nn.functional.logsigmoid`."),
    Mutant("no_logarithm", _probability,
           "This is the probability that the pair is in the wrong order. Its maximum likelihood "
           "wants minus the *logarithm* of the probability that it is in the right one."),
    Mutant("ratios_not_logarithms", _of(lambda c, r, rc, rr, b: b * (
               (c - rc).exp() - (r - rr).exp())),
           "You take ratios of probabilities. The reward is their *logarithm*: differences of "
           "log-probabilities, without `exp`."),
    Mutant("each_answer_alone", _each_alone,
           "Each answer is judged alone, so β log Z does not cancel. Only the *difference* of two "
           "answers to one prompt is known: one sigmoid of the difference."),
    Mutant("mean_of_the_batch", lambda *a: dpo_loss(*a).mean(),
           "You return the batch's mean. Asked for is one loss per pair; the trainer averages."),
    Mutant("smoothing_ignored", _smoothed(lambda kept, flipped, e: kept),
           "`label_smoothing` is not used: with probability ε the label is taken to be wrong."),
    Mutant("smoothing_only_scales", _smoothed(lambda kept, flipped, e: (1 - e) * kept),
           "The flipped half is missing: 1 - ε alone only makes the steps shorter."),
    Mutant("smoothing_halved", _smoothed(_halved),
           "You smooth by ε/2, as over two classes. Here ε itself is the probability that the "
           "label is wrong: (1 - ε) l(h) + ε l(-h)."),
    Mutant("smoothing_robust", _smoothed(lambda kept, flipped, e: (
               (1 - e) * kept - e * flipped) / (1 - 2 * e)),
           "This is the *robust* correction of Chowdhury et al. (2024). Asked for is the "
           "conservative one, a plain mean over both labels: (1 - ε) l(h) + ε l(-h)."),
    Mutant("smoothing_in_the_probability", _in_the_probability,
           "You smooth inside the logarithm. The loss is an average of two losses, "
           "(1 - ε) l(h) + ε l(-h): smooth outside."),
)


def _numbers(*values):
    return [torch.tensor(v, dtype=torch.float64) for v in values]


DPO_LOSS = Exercise(
    id=f"{UNIT}.dpo_loss",
    title="The loss of DPO",
    points=3, minutes=10, difficulty=2,
    reference=dpo_loss,
    oracle=pair_by_pair,
    hand=Case(
        args=(*_numbers([-4.0, -6.0], [-3.0, -4.0], [-5.0, -6.0], [-2.0, -5.0]), 0.5, 0.0),
        # pair 0: log-ratios 1 and -1, h = 2, log(1 + e^-1); pair 1: 0 and 1, h = -1, log(1 + e^.5)
        expected=torch.tensor([0.3132616875182228, 0.9740769841801067], dtype=torch.float64),
        note="two pairs with log-ratios (1, -1) and (0, 1), β = 0.5"),
    cases=draw_cases,
    properties=(
        Property("the policy can be trained, and the reference is not", gradients_are_right),
        Property("log 2 at the reference", log_two_at_the_reference),
        Property("β log Z cancels", log_z_cancels),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("softplus", lambda c, r, rc, rr, b, e: (1 - e) * softplus(
            -b * _gap(c, r, rc, rr)) + e * softplus(b * _gap(c, r, rc, rr))),
        Variant("cross-entropy with a soft label", lambda c, r, rc, rr, b, e:
                binary_cross_entropy_with_logits(b * ((c - rc.detach()) - (r - rr.detach())),
                                                 torch.full_like(c, 1 - e), reduction="none")),
        Variant("difference of two rewards, log-add-exp", lambda c, r, rc, rr, b, e: (
            torch.logaddexp(torch.zeros_like(c), -b * _gap(c, r, rc, rr))
            + e * b * _gap(c, r, rc, rr))),
    ),
    hints=(
        "Two rewards, each how much likelier an answer has become; Bradley and Terry ask for their "
        "difference only. Then it is unit 08's loss with another reward.",
        r"$$h = \log\frac{\pi(y^+)}{\pi_\text{ref}(y^+)} - \log\frac{\pi(y^-)}{\pi_\text{ref}(y^-)}"
        r",\qquad -(1-\varepsilon) \log \sigma(\beta h) - \varepsilon \log \sigma(-\beta h)$$"
        "\n\nAll four inputs and the result are `[pairs]`.",
        "```python\n"
        "h = (chosen_logps - ...) - (rejected_logps - ...)   # detach the reference's\n"
        "right, flipped = ..., ...                           # two times logsigmoid\n"
        "return -(1 - label_smoothing) * right - label_smoothing * flipped\n"
        "```",
    ),
    why=r"$\beta \log(\pi/\pi_\text{ref})$ is the reward for which $\pi$ is optimal, up to "
        r"$\beta \log Z(x)$, which both answers share. Bradley-Terry's likelihood of that reward is"
        r" therefore a function of the policy alone: no reward model, no sampling. The slope is "
        r"$-\beta\, \sigma(-\beta h)$: pairs already in order stop pulling.",
    index_names=lambda case, index: f"pair {index[0]}",
    forbidden=("tutorlib.posttraining.dpo_loss", "tutorlib.posttraining.log_ratio_gap"),
)
