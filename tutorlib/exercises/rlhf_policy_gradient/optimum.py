"""Exercise 16.1: the best policy that a reward and a reference allow, answer by answer."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.rlhf_policy_gradient.common import UNIT, normal
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor

NEVER = -math.inf


def kl_regularised_optimum(rewards: Float[Tensor, "prompts answers"],
                           ref_logps: Float[Tensor, "prompts answers"], beta: float
                           ) -> tuple[Float[Tensor, "prompts answers"], Float[Tensor, " prompts"]]:
    """Return log pi* of each answer, and the value beta log Z of each prompt."""
    exponents = ref_logps + rewards / beta
    log_z = exponents.logsumexp(-1)
    return exponents - log_z[:, None], beta * log_z


def with_sixty_digits(rewards, ref_logps, beta) -> tuple[Tensor, Tensor]:
    """Multiply out pi_ref exp(r / beta) and its sum in decimal arithmetic."""
    tables, values = [], []
    with localcontext() as context:
        context.prec = 60
        for row, prior in zip(rewards.tolist(), ref_logps.tolist(), strict=True):
            weights = [(Decimal(q) + Decimal(r) / Decimal(beta)).exp() if q > NEVER else Decimal(0)
                       for r, q in zip(row, prior, strict=True)]
            total = sum(weights)
            tables.append([float((w / total).ln()) if w else NEVER for w in weights])
            values.append(float(Decimal(beta) * total.ln()))
    return (torch.tensor(tables, dtype=torch.float64), torch.tensor(values, dtype=torch.float64))


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw several prompts with more answers each, at a warm, a cool and a tiny price."""
    cases = []
    for prompts, answers, beta, note in (
            (2, 4, 0.5, "two prompts, four answers each"),
            (3, 5, 2.0, "a high price"),
            (2, 6, 0.004, "a tiny price: r / beta is in the hundreds"),
            (4, 3, 0.3, "an answer that the reference never gives, and one it hardly ever gives"),
            (2, 3, 0.004, "the best-paid answer is one that the reference never gives"),
            (2, 5, 0.2, "whole texts: all about exp(-850)"),
            (1, 7, 1.3, "one prompt")):
        rewards = normal(generator, prompts, answers)
        logps = (1.5 * normal(generator, prompts, answers)).log_softmax(-1)
        if answers == 3:
            logps[:, 0], rewards[:, 0] = NEVER, 4.0
            logps[:, 1] = -900.0
            logps[:, 2] = 0.0
        if "texts" in note:
            logps = logps - 850
        cases.append(Case(args=(rewards, logps, beta), note=note))
    return cases


def never_stays_never(answer, case: Case) -> str | None:
    """An answer that the reference never gives stays at -infinity; nothing is NaN."""
    logps, values = (as_tensor(x).double() for x in answer(*case.args))
    if bool(logps.isnan().any()):
        return "log pi* holds NaN: a sum of exponentials overflowed, or underflowed to log 0"
    if bool(values.isnan().any()):
        return ("V holds NaN: for an answer of probability 0 the log-ratio is -inf - -inf. Leave "
                "such answers out, or take beta log Z")
    given = logps[case.args[1] == NEVER]
    return None if given.numel() == 0 or float(given.max()) == NEVER else (
        "an answer that the reference never gives got the log-probability "
        f"{float(given.max()):.4g}; it must stay -inf: put no small number under the reference, "
        "and cut nothing off")


def probabilities_sum_to_one(answer, case: Case) -> str | None:
    """Each prompt's answers share 1."""
    logps = as_tensor(answer(*case.args)[0]).double()
    gap = float((logps.exp().sum(-1) - 1).abs().max())
    return None if gap < 1e-6 else f"the probabilities of a prompt's answers sum to 1 ± {gap:.3g}"


def no_better_policy(answer, case: Case) -> str | None:
    """The value is what pi* earns, and no policy near it earns more."""
    rewards, ref_logps, beta = case.args
    logps, values = (as_tensor(x).double() for x in answer(*case.args))

    def earned(policy):
        said = policy > NEVER
        worth = rewards - beta * (policy - ref_logps)
        return torch.where(said, policy.exp() * worth, 0.0).sum(-1)

    own = earned(logps)
    if not bool(((own - values).abs() < 1e-5).all()):
        return (f"your policy earns E[r] - beta KL = {own.tolist()}, but your values are "
                f"{values.tolist()}")
    for step in (0.05, -0.05):
        moved = torch.where(logps > NEVER, logps + step * rewards, logps).log_softmax(-1)
        if bool((earned(moved) > own + 1e-9).any()):
            return f"a policy moved a little along the rewards ({step:+}) earns more than yours"
    return None


def a_shift_is_the_prompts_own(answer, case: Case) -> str | None:
    """A constant on all answers to a prompt moves its value and nothing else."""
    rewards = case.args[0]
    shift = torch.arange(1, len(rewards) + 1, dtype=torch.float64)
    size = float((rewards.abs().amax() + shift[-1]) / case.args[2])
    logps, values = (as_tensor(x).double() for x in answer(*case.args))
    other, raised = (as_tensor(x).double() for x in answer(rewards + shift[:, None],
                                                                *case.args[1:]))
    said = logps > NEVER
    if float((other[said] - logps[said]).abs().max()) > 1e-6 * max(1, size):  # float32 may round
        return "a constant added to all rewards of a prompt changed the policy; it must cancel"
    gap = float((raised - values - shift).abs().max())
    return None if gap < 1e-6 else "a constant added to all rewards must add itself to the value"


def _pair(exponents, beta, axis=-1):
    log_z = exponents.logsumexp(axis)
    return exponents - log_z.unsqueeze(axis), beta * log_z


def _without_value_scale(r, q, b):
    logps, values = kl_regularised_optimum(r, q, b)
    return logps, values / b


def _expected_reward(r, q, b):
    logps, _ = kl_regularised_optimum(r, q, b)
    return logps, (logps.exp() * r).sum(-1)


def _reference_mean(r, q, b):
    logps, _ = kl_regularised_optimum(r, q, b)
    return logps, (q.exp() * r).sum(-1)


def _from_probabilities(r, q, b):
    weights = q.exp() * (r / b).exp()
    return (weights / weights.sum(-1, keepdim=True)).log(), b * weights.sum(-1).log()


def _floor(r, q, b):
    logps, values = kl_regularised_optimum(r, (q.exp() + 1e-10).log(), b)
    return logps, values


def _greedy(r, q, b):
    best = torch.where(q > NEVER, r, NEVER).argmax(-1)
    logps = torch.full_like(r, NEVER)
    logps[torch.arange(len(r)), best] = 0.0
    return logps, r.gather(-1, best[:, None])[:, 0]


def _probabilities(r, q, b):
    logps, values = kl_regularised_optimum(r, q, b)
    return logps.exp(), values


MUTANTS = (
    Mutant("reference_forgotten", lambda r, q, b: _pair(r / b, b),
           "The reference is missing: this is softmax(r / beta). pi* is proportional to *pi_ref* "
           "exp(r / beta); what the reference hardly says must stay hard to say."),
    Mutant("times_beta", lambda r, q, b: _pair(q + r * b, b),
           "The reward is multiplied by beta. It is divided by it: a *low* price lets the reward "
           "pull harder. (The tutorial's DPO box prints exp(beta r), without the reference.)"),
    Mutant("reference_over_beta", lambda r, q, b: _pair((q + r) / b, b),
           "log pi_ref is divided by beta as well. Only the reward is: pi_ref exp(r / beta)."),
    Mutant("entropy_sign", lambda r, q, b: _pair(r / b - q, b),
           "The reference's log-probability is subtracted. It is a factor pi_ref in front: its "
           "logarithm is added."),
    Mutant("reward_sign", lambda r, q, b: _pair(q - r / b, b),
           "The sign of the reward is turned: your policy seeks what is paid least."),
    Mutant("value_not_times_beta", _without_value_scale,
           "Your value is log Z, in nats. The value is beta log Z, in units of reward."),
    Mutant("value_is_expected_reward", _expected_reward,
           "Your value is E[r] under pi*. The price of leaving the reference is still to be paid: "
           "E[r] - beta KL, which is beta log Z."),
    Mutant("value_of_the_reference", _reference_mean,
           "Your value is what the reference earns. The soft value, beta log Z, is what the best "
           "policy earns after paying its KL."),
    Mutant("not_normalised", lambda r, q, b: (q + r / b, kl_regularised_optimum(r, q, b)[1]),
           "Your log-probabilities are not normalised: subtract log Z of the prompt."),
    Mutant("normalised_over_prompts", lambda r, q, b: (
               _pair(q + r / b, b, 0)[0], kl_regularised_optimum(r, q, b)[1]),
           "You normalise over prompts. It is the *answers* to one prompt that share 1: the last "
           "axis."),
    Mutant("summed_over_prompts", lambda r, q, b: _pair(q + r / b, b, 0),
           "Z is summed over prompts (axis 0). It is the *answers* to one prompt that share 1: the "
           "last axis."),
    Mutant("reference_as_probability", lambda r, q, b: _pair(q.exp() + r / b, b),
           "You add pi_ref itself. The logarithm of pi_ref exp(r / beta) is *log* pi_ref + r / "
           "beta."),
    Mutant("value_is_z", lambda r, q, b: (kl_regularised_optimum(r, q, b)[0],
                                          (q + r / b).logsumexp(-1).exp()),
           "Your value is Z itself. The value is beta log Z, in units of reward."),
    Mutant("one_partition_for_all", lambda r, q, b: (
               (q + r / b) - (q + r / b).flatten().logsumexp(0),
               kl_regularised_optimum(r, q, b)[1]),
           "One log Z is taken over the whole batch. Each prompt has its own."),
    Mutant("from_probabilities", _from_probabilities,
           "exp(r / beta) overflows where beta is small, and a rare answer's probability "
           "underflows to 0. Stay with logarithms: `logsumexp`."),
    Mutant("floor_under_the_reference", _floor,
           "A small number under the reference makes possible what it never says. pi* says "
           "nothing that pi_ref never says, whatever the reward."),
    Mutant("greedy", _greedy,
           "This is the best answer alone, the limit beta = 0. At a price above 0 the optimum "
           "spreads."),
    Mutant("probabilities", _probabilities,
           "The first value holds probabilities. Asked for are log-probabilities."),
)


def _softmax(r, q, b):
    exponents = q + r / b
    return exponents.log_softmax(-1), b * exponents.logsumexp(-1)


def _numpy(r, q, b):
    exponents = q.numpy() + r.numpy() / b
    top = exponents.max(-1, keepdims=True)
    log_z = top + np.log(np.exp(exponents - top).sum(-1, keepdims=True))
    return exponents - log_z, b * log_z[:, 0]


def _prompt_by_prompt(r, q, b):
    rows, values = [], []
    for row, prior in zip(r.tolist(), q.tolist(), strict=True):
        exponents = [y + x / b for x, y in zip(row, prior, strict=True)]
        top = max(exponents)
        log_z = top + math.log(math.fsum(math.exp(e - top) for e in exponents))
        rows.append([e - log_z for e in exponents])
        values.append(b * log_z)
    return rows, values


def name_answer(case, index: tuple[int, ...]) -> str | None:
    """Say what an entry stands for."""
    if len(index) == 2:
        return f"prompt {index[0]}, answer {index[1]}"
    return f"prompt {index[0]}" if len(index) == 1 else None


KL_REGULARISED_OPTIMUM = Exercise(
    id=f"{UNIT}.kl_regularised_optimum",
    title="The KL-regularised optimum",
    points=2, minutes=9, difficulty=2,
    reference=kl_regularised_optimum,
    oracle=with_sixty_digits,
    hand=Case(
        args=(torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64) * 2 * math.log(2),
              torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log(), 2.0),
        # exp(r / beta) = 1, 2, 4: weights 0.5, 0.5, 1; Z = 2
        expected=(torch.tensor([[0.25, 0.25, 0.5]], dtype=torch.float64).log(),
                  torch.tensor([2 * math.log(2)], dtype=torch.float64)),
        note="the three answers of the text"),
    cases=draw_cases,
    properties=(
        Property("what is never said stays so, and nothing is NaN", never_stays_never),
        Property("the answers to a prompt share 1", probabilities_sum_to_one),
        Property("a prompt's own constant cancels", a_shift_is_the_prompts_own),
        Property("the value is earned, and no policy earns more", no_better_policy),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("log_softmax", _softmax),
        Variant("numpy", _numpy),
        Variant("prompt by prompt, lists", _prompt_by_prompt),
    ),
    hints=(
        "It is unit 03's Gibbs policy with the reference as prior, beta as temperature and whole "
        "answers as actions. Weigh each answer by pi_ref exp(r / beta), then share.",
        r"$$\log \pi^*(y) = \log \pi_\text{ref}(y) + \frac{r(y)}{\beta} - \log Z, \qquad "
        r"Z = \sum_y \pi_\text{ref}(y)\, e^{r(y)/\beta}, \qquad V = \beta \log Z$$" "\n\n"
        "`rewards` and `ref_logps` are `[prompts, answers]`, one $\\log Z$ per prompt. Take it "
        "with `logsumexp` over the last axis: at a small beta the exponentials overflow.",
        "```python\n"
        "exponents = ...                   # [prompts, answers]\n"
        "log_z = ...                       # [prompts]\n"
        "return ..., ...\n"
        "```",
    ),
    why="The four lines of unit 03: E[r] - beta KL(pi || pi_ref) = beta log Z - beta KL(pi || "
        "pi*). The second KL is 0 at pi* alone. What all policy gradients of this unit climb "
        "towards is known in closed form; only its Z is a sum over more answers than can be "
        "listed.",
    index_names=name_answer,
    forbidden=("tutorlib.lm.TokenTree.solve", "tutorlib.lm.TokenTree.optimal_policy",
               "tutorlib.mdp.gibbs_policy"),
)
