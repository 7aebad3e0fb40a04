"""Exercise 07.3: what each method pays the policy, given the discriminator's logit."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from tutorlib.exercises.adversarial_irl.worlds import LABELS, METHODS, UNIT, numbers, uniform
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor, compare


def policy_reward(logit: Float[Tensor, "*batch"], method: str) -> Float[Tensor, "*batch"]:
    """Return the reward of a method at the logit h; no gradient reaches the discriminator."""
    h = logit.detach()
    return {"airl": h, "gail": softplus(h), "gail_log_d": logsigmoid(h),
            "forward_kl": h.exp()}[method]


def in_ninety_digits(logit, method):
    """Compute D = 1 / (1 + exp(-h)) in decimals, and each reward from D as it is printed."""
    getcontext().prec = 90
    found = []
    for h in logit.detach().flatten().tolist():
        d = 1 / (1 + (-Decimal(h)).exp())
        found.append(float({
            "airl": lambda d=d: d.ln() - (1 - d).ln(), "gail": lambda d=d: -(1 - d).ln(),
            "gail_log_d": lambda d=d: d.ln(), "forward_kl": lambda d=d: d / (1 - d)}[method]()))
    return numbers(found).reshape(logit.shape)


def fixed_number(got, want) -> str | None:
    """Compare values; then refuse a reward through which gradients run into the discriminator."""
    found = compare(got, want, 1e-6, 1e-9)
    if found is not None:
        return found.message
    if isinstance(got, Tensor) and got.requires_grad:
        return ("the values are right, but the reward still carries a gradient into the "
                "discriminator (`requires_grad` is True)")
    return None


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw logits as a discriminator returns them, for each method; one batch is saturated."""
    cases = []
    for index, method in enumerate(METHODS):
        shape = ((4,), (2, 3), (5,), (3, 2))[index]
        cases.append(Case(args=(uniform(generator, -3, 3, *shape).requires_grad_(), method)))
    for method in METHODS:
        cases.append(Case(args=(numbers([-60.0, 45.0]).requires_grad_(), method),
                          note="a discriminator that is sure: D is 0 or 1 to all digits"))
    return cases


def more_like_the_demonstrator_is_better(answer, case: Case) -> str | None:
    """Each reward rises with the logit."""
    pay = as_tensor(answer(numbers([-1.0, 0.0, 2.0]), case.args[1]))
    if bool((pay.diff() > 0).all()):
        return None
    return (f"{case.args[1]}: the reward must rise with the logit (at −1, 0, 2 it is "
            f"{', '.join(f'{x:.3g}' for x in pay.tolist())})")


def signs(answer, case: Case) -> str | None:
    """-log(1 - D) and u never cost; log D never pays; the log-odds do both."""
    method = case.args[1]
    pay = as_tensor(answer(numbers([-2.0, 2.0]), method)).sign().tolist()
    wanted = {"airl": [-1.0, 1.0], "gail_log_d": [-1.0, -1.0]}.get(method, [1.0, 1.0])
    return None if pay == wanted else f"{method}: the signs at h = −2 and h = 2 are {pay}"


def _leaky(logit, method):
    return {"airl": logit, "gail": softplus(logit), "gail_log_d": logsigmoid(logit),
            "forward_kl": logit.exp()}[method]


def _replaced(**changes):
    """Make a mutant: some methods pay by another formula of the logit h."""
    def answer(logit, method):
        h = logit.detach()
        return changes[method](h) if method in changes else policy_reward(h, method)
    return answer


def _through_d(logit, method):
    d = torch.sigmoid(logit.detach())
    return {"airl": d.log() - (1 - d).log(), "gail": -(1 - d).log(), "gail_log_d": d.log(),
            "forward_kl": d / (1 - d)}[method]


MUTANTS = (
    Mutant("leak", _leaky,
           "The values are right, but gradients of the policy's loss would run through this "
           "reward into the discriminator and make it please the policy. Detach the logit."),
    Mutant("gail_for_airl", _replaced(airl=softplus),
           "AIRL gets GAIL's reward. AIRL pays the log-odds, log D − log(1 − D), which is h."),
    Mutant("log_d_for_airl", _replaced(airl=logsigmoid),
           "AIRL gets log D only. The log-odds subtract log(1 − D) too; together they are h."),
    Mutant("airl_for_gail", _replaced(gail=lambda h: h),
           "GAIL gets the log-odds, which are AIRL's. GAIL pays −log(1 − D)."),
    Mutant("gail_forms_exchanged", _replaced(gail=logsigmoid, gail_log_d=softplus),
           "The two forms of GAIL are exchanged: \"gail\" is −log(1 − D), never negative; "
           "\"gail_log_d\" is log D, never positive."),
    Mutant("gail_sign", _replaced(gail=lambda h: -softplus(h)),
           "\"gail\" pays log(1 − D): the minus is missing. That rewards being told apart."),
    Mutant("log_d_sign", _replaced(gail_log_d=lambda h: softplus(-h)),
           "\"gail_log_d\" pays −log D: a minus too many. log D is never positive, and rises "
           "with D."),
    Mutant("pay_at_zero_subtracted", lambda logit, method: (
               policy_reward(logit, method) - policy_reward(torch.zeros_like(logit), method)),
           "You subtract r(0). Where episodes end early that constant matters: return the reward "
           "as it is in the table."),
    Mutant("labels_swapped", lambda logit, method: policy_reward(-logit, method),
           "You use the logit as if label 1 were the policy. Here D is the probability of the "
           "demonstrator: turn its sign back."),
    Mutant("fairl_as_printed", _replaced(forward_kl=lambda h: -h * h.exp()),
           "Forward KL gets −h exp(h), the reward printed with FAIRL. It falls as the "
           "demonstrator's share grows beyond 1 / e: use u = exp(h)."),
    Mutant("f_for_reward", _replaced(forward_kl=lambda h: h * h.exp()),
           "Forward KL gets h exp(h): that is f(u), the cost. The reward is f*(f'(u)) = u."),
    Mutant("log_u_for_forward_kl", _replaced(forward_kl=lambda h: h),
           "Forward KL gets log u, which is reverse KL's reward. Forward KL pays u itself."),
    Mutant("d_itself", lambda logit, method: torch.sigmoid(logit.detach()),
           "You pay D itself, whatever the method. Each method has its own function of D."),
    Mutant("logit_taken_for_d", lambda logit, method: {
               "airl": lambda d: d.log() - (1 - d).log(), "gail": lambda d: -(1 - d).log(),
               "gail_log_d": lambda d: d.log(), "forward_kl": lambda d: d / (1 - d),
           }[method](logit.detach()),
           "You put the logit where D belongs. D = sigmoid(h); a logit may be any number, and its "
           "logarithm need not exist."),
    Mutant("through_a_saturated_sigmoid", _through_d,
           "On paper this is right, but `sigmoid` rounds to exactly 1 for a sure discriminator, "
           "and log(1 − D) is −infinity. Write the rewards with h: `softplus` and `logsigmoid`."),
)


def _by_cases(logit, method):
    h = logit.detach()
    if method == "airl":
        return h
    if method == "gail":
        return torch.logaddexp(h, torch.zeros_like(h))
    if method == "gail_log_d":
        return -torch.logaddexp(-h, torch.zeros_like(h))
    return torch.exp(h)


def _loops(logit, method):
    def one(h):
        if method == "airl":
            return h
        if method == "forward_kl":
            return math.exp(h)
        soft = max(h, 0) + math.log1p(math.exp(-abs(h)))  # log(1 + e^h)
        return soft if method == "gail" else h - soft

    return numbers([one(h) for h in logit.detach().flatten().tolist()]).reshape(logit.shape)


@torch.no_grad()
def _no_grad(logit, method):
    return _leaky(1.0 * logit, method)


VARIANTS = (Variant("branches", _by_cases), Variant("loops", _loops),
            Variant("no_grad", _no_grad),
            Variant("numpy", lambda logit, method: policy_reward(logit, method).numpy()))


def show_rewards(answer):
    """Draw the four rewards against the logit."""
    from tutorlib.viz import lines

    h = torch.linspace(-3, 2, 51, dtype=torch.float64)
    curves = {LABELS[m]: as_tensor(answer(h, m)).double() for m in METHODS}
    at_zero = [abs(float(c[30])) * (-1 if float(c[30]) < -1e-9 else 1) for c in curves.values()]
    return lines(curves, h, xlabel="logit h of the discriminator (nats)", ylabel="reward",
                 title="When the discriminator knows nothing (h = 0), the four pay "
                       + ", ".join(f"{x:.2f}" for x in at_zero).replace("-", "\u2212"))


POLICY_REWARD = Exercise(
    id=f"{UNIT}.policy_reward",
    title="What the policy is paid",
    points=2, minutes=8, difficulty=2,
    reference=policy_reward,
    oracle=in_ninety_digits,
    hand=Case(args=(numbers([0.0, 0.6931471805599453]).requires_grad_(), "gail"),
              # D = 1/2 and 2/3: -log(1/2), -log(1/3)
              expected=numbers([0.6931471805599453, 1.0986122886681098]),
              note="h = 0 and h = log 2, that is D = 1/2 and D = 2/3; method \"gail\""),
    cases=draw_cases,
    properties=(Property("more like the demonstrator is better",
                         more_like_the_demonstrator_is_better),
                Property("what costs and what pays", signs)),
    mutants=MUTANTS,
    variants=VARIANTS,
    compare=fixed_number,
    hints=(
        "Write each reward with h instead of D. Since D = 1 / (1 + exp(−h)), log(1 − D) is "
        "minus log(1 + exp(h)): torch has that function. And the policy must take the reward as "
        "given: what keeps its gradient from reaching the discriminator?",
        r"$$\text{airl: } h, \quad \text{gail: } \log(1 + e^{h}), \quad "
        r"\text{gail\_log\_d: } -\log(1 + e^{-h}), \quad \text{forward\_kl: } e^{h}$$" "\n\n"
        "The reward has the shape of `logit`. `torch.nn.functional` has `softplus(h)` = "
        "log(1 + exp(h)) and `logsigmoid(h)`.",
        "```python\n"
        "h = logit.detach()\n"
        "if method == \"airl\":\n"
        "    return h\n"
        "if method == \"gail\":\n"
        "    return ...\n"
        "```",
    ),
    why="All four rise with h, so all four point the policy to the demonstrator. They differ in "
        "the pay for no evidence at all (h = 0): 0, log 2, −log 2 and 1. Over an episode that "
        "difference is multiplied by its length.",
    index_names=None,
    figure=show_rewards,
    forbidden=("tutorlib.irl.divergences.policy_reward",),
)
