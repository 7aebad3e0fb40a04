"""Exercise 04.1: the loss of behaviour cloning, over padded episodes."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor

UNIT = "imitation_learning"


def bc_loss(logits: Float[Tensor, "episodes steps actions"], actions: Int[Tensor, "episodes steps"],
            mask: Bool[Tensor, "episodes steps"]) -> Float[Tensor, ""]:
    """Return the mean of -log softmax(logits)[action] over the steps that happened."""
    logps = torch.log_softmax(logits[mask], -1)
    return -logps.gather(-1, actions[mask][:, None]).mean()


def one_step_after_the_other(logits, actions, mask) -> float:
    """Add up log-sum-exp minus the logit of the action, step by step, in plain Python."""
    surprises = []
    for episode, row in enumerate(mask.tolist()):
        for step, happened in enumerate(row):
            if happened:
                scores = logits[episode, step].tolist()
                top = max(scores)
                log_z = top + math.log(math.fsum(math.exp(z - top) for z in scores))
                surprises.append(log_z - scores[int(actions[episode, step])])
    return math.fsum(surprises) / len(surprises)


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw episodes of unequal lengths; padding holds garbage, one case has huge logits."""
    cases = []
    for lengths, actions, scale, note in (
            ((4, 2), 3, 1.5, "two episodes, of 4 and 2 steps"),
            ((1, 5, 2), 4, 1.0, "three episodes; logits of the padding are NaN"),
            ((3, 5), 2, 900.0, "logits of nearly a thousand"),
            ((2, 3, 6, 1), 5, 2.0, "four episodes, of 2, 3, 6 and 1 steps")):
        steps = max(lengths)
        logits = scale * torch.randn(len(lengths), steps, actions, generator=generator,
                                     dtype=torch.float64)
        taken = torch.randint(actions, (len(lengths), steps), generator=generator)
        mask = torch.arange(steps) < torch.tensor(lengths)[:, None]
        if "NaN" in note:
            logits[~mask] = torch.nan
        cases.append(Case(args=(logits, taken, mask), note=note))
    return cases


def _loss(answer, *args) -> float:
    return float(as_tensor(answer(*args)))


def a_finite_number(answer, case: Case) -> str | None:
    """Neither padding nor large logits make the loss infinite or NaN."""
    loss = _loss(answer, *case.args)
    return None if math.isfinite(loss) else (
        f"your loss is {loss:g} on this case. NaN in the padding gets through a product (NaN times "
        "0 is NaN), and exp of a logit near a thousand is infinite: select the steps first, and "
        "use `torch.log_softmax`")


def a_shift_of_the_logits(answer, case: Case) -> str | None:
    """The same number added to all logits of a step changes no probability."""
    logits, actions, mask = case.args
    shift = torch.arange(logits[..., 0].numel(), dtype=logits.dtype).view_as(logits[..., :1])
    moved = _loss(answer, logits + shift, actions, mask) - _loss(answer, *case.args)
    return None if abs(moved) < 1e-4 else (f"adding one number to all logits of a step moved the "
                                           f"loss by {moved:.4g}")


def padding_never_matters(answer, case: Case) -> str | None:
    """What stands where nothing happened is not looked at."""
    logits, actions, mask = case.args
    junk = logits.clone()
    junk[~mask] = torch.tensor([50.0, *[-3.0] * (logits.shape[-1] - 1)], dtype=logits.dtype)
    other = actions.clone()
    other[~mask] = 1
    moved = _loss(answer, junk, other, mask) - _loss(answer, *case.args)
    return None if abs(moved) < 1e-4 else f"other padding moved the loss by {moved:.4g}"


def twice_the_same_data(answer, case: Case) -> str | None:
    """A mean does not care how often the data are given."""
    doubled = tuple(torch.cat([x, x]) for x in case.args)
    moved = _loss(answer, *doubled) - _loss(answer, *case.args)
    return None if abs(moved) < 1e-4 else (f"with every episode given twice the loss moved by "
                                           f"{moved:.4g}; it should be a mean")


def know_nothing(answer, case: Case) -> str | None:
    """Equal logits give log A, whatever was done."""
    logits, actions, mask = case.args
    got, want = _loss(answer, torch.zeros_like(logits), actions, mask), math.log(logits.shape[-1])
    return None if abs(got - want) < 1e-4 else (
        f"a policy that knows nothing should lose log {logits.shape[-1]} = {want:.4f} nats a "
        f"step; here {got:.4f}")


def _nll(logits, actions):
    return -torch.log_softmax(logits, -1).gather(-1, actions[..., None]).squeeze(-1)


def _per_episode(logits, actions, mask):
    nll = _nll(logits, actions).masked_fill(~mask, 0.0)
    return (nll.sum(1) / mask.sum(1)).mean()


def _naive(logits, actions, mask):
    weights = logits.exp()
    chosen = (weights / weights.sum(-1, keepdim=True)).gather(-1, actions[..., None]).squeeze(-1)
    return -chosen[mask].log().mean()


def _mean_of_all(logits, actions, mask):
    return _nll(logits, actions).masked_fill(~mask, 0.0).mean()


def _naive_times_the_mask(logits, actions, mask):
    weights = logits.exp()
    chosen = (weights / weights.sum(-1, keepdim=True)).gather(-1, actions[..., None]).squeeze(-1)
    return -(chosen.log() * mask).sum() / mask.sum()


def _floor(logits, actions, mask):
    chosen = torch.softmax(logits, -1).gather(-1, actions[..., None]).squeeze(-1)
    return -(chosen + 1e-8)[mask].log().mean()


MUTANTS = (
    Mutant("naive_times_the_mask", _naive_times_the_mask,
           "Two things in one line. `exp` of a large logit is infinite: use `torch.log_softmax`. "
           "And a product with the mask does not silence NaN: select the steps, `x[mask]`."),
    Mutant("floor_under_the_probability", _floor,
           "A small number under the logarithm hides how surprised the policy is: with 1e-8 no "
           "step can lose more than 18.4 nats, and it has no gradient there. `torch.log_softmax` "
           "needs no floor."),
    Mutant("softmax_twice", lambda z, a, m: functional.cross_entropy(torch.softmax(z, -1)[m], a[m]),
           "Softmax is taken twice: `cross_entropy` wants the logits themselves, it normalises "
           "them."),
    Mutant("probability_without_logarithm", lambda z, a, m: functional.nll_loss(
               torch.softmax(z, -1)[m], a[m]),
           "This is minus the mean *probability*: `nll_loss` wants log-probabilities. Take "
           "`torch.log_softmax`."),
    Mutant("no_action_picked", lambda z, a, m: -torch.log_softmax(z, -1)[m].mean(),
           "You average over all actions. Only the action that was taken counts: pick it with "
           "`gather`."),
    Mutant("likeliest_action", lambda z, a, m: -torch.log_softmax(z, -1).amax(-1)[m].mean(),
           "You score the policy's likeliest action. Asked for is the one the demonstrator took."),
    Mutant("sum_over_episodes", lambda z, a, m: _nll(z, a)[m].sum() / len(z),
           "You divide by the number of episodes. Divide by the number of steps that happened."),
    Mutant("next_action", lambda z, a, m: bc_loss(z, a.roll(-1, 1), m),
           "Each state is scored with the action of the *next* step: logits and actions of one "
           "step belong together."),
    Mutant("sign", lambda z, a, m: -bc_loss(z, a, m),
           "The sign is turned: this is the mean log-likelihood, which is to be *maximised*. A "
           "loss goes down: minus the logarithm."),
    Mutant("sum", lambda z, a, m: _nll(z, a)[m].sum(),
           "You add up where a mean is asked for. A sum grows with the data, and so would the "
           "step of every gradient."),
    Mutant("padding_counted", lambda z, a, m: _nll(z, a).mean(),
           "The mask is not used: steps that never happened are scored as if the demonstrator had "
           "taken them."),
    Mutant("padding_in_the_denominator", _mean_of_all,
           "The padding is out of the sum, but still counted in the mean: divide by the number "
           "of steps that happened, `mask.sum()`."),
    Mutant("mask_inverted", lambda z, a, m: _nll(z, a)[~m].mean(),
           "The mask is turned round: you score the padding alone. True marks a step that "
           "happened."),
    Mutant("mean_of_episode_means", _per_episode,
           "You average within each episode first, so a step of a short episode weighs more "
           "than one of a long episode. Here each *step* counts alike."),
    Mutant("times_the_mask", lambda z, a, m: (_nll(z, a) * m).sum() / m.sum(),
           "Multiplying by the mask does not silence padding: NaN times 0 is NaN. Select the "
           "steps, `x[mask]`, or overwrite the others with `masked_fill` or `torch.where`."),
    Mutant("raw_logits", lambda z, a, m: -z.gather(-1, a[..., None]).squeeze(-1)[m].mean(),
           "You take the logit itself for a log-probability. It must be normalised first: "
           "`torch.log_softmax(logits, dim=-1)`."),
    Mutant("one_minus_probability", lambda z, a, m: (1 - (-_nll(z, a)).exp())[m].mean(),
           "This is one minus the probability of the action, a loss too, but not maximum "
           "likelihood: the logarithm is missing."),
    Mutant("wrong_choices", lambda z, a, m: (z.argmax(-1) != a)[m].double().mean(),
           "This counts disagreements with the demonstrator. It is what one would like to be "
           "small, but it has no gradient; the loss is minus the log-probability."),
    Mutant("naive_exponential", _naive,
           "The formula is right, but `exp` of a large logit is infinite, and a tiny probability "
           "is rounded to 0, whose logarithm is infinite. `torch.log_softmax` works with the "
           "logarithms throughout."),
    Mutant("softmax_over_time", lambda z, a, m: -torch.log_softmax(z, 1).gather(
               -1, a[..., None]).squeeze(-1)[m].mean(),
           "The softmax runs over the steps. The probabilities of the *actions* at one step sum "
           "to 1: the last axis, `dim=-1`."),
    Mutant("squared_error", lambda z, a, m: (torch.softmax(z, -1) - functional.one_hot(
               a, z.shape[-1])).square().sum(-1)[m].mean(),
           "This is the squared distance between probabilities and the action (the Brier score). "
           "Maximum likelihood asks for minus the logarithm of the chosen probability."),
    Mutant("entropy", lambda z, a, m: -(torch.softmax(z, -1) * torch.log_softmax(z, -1)).sum(
               -1)[m].mean(),
           "This is the policy's entropy: what it expects to lose, whatever the demonstrator did. "
           "`actions` must enter."),
    Mutant("bits", lambda z, a, m: bc_loss(z, a, m) / math.log(2),
           "This is in bits. Logarithms in this course are natural: nats."),
)


def _cross_entropy(logits, actions, mask):
    return functional.cross_entropy(logits[mask], actions[mask])


def _numpy(logits, actions, mask):
    scores, chosen = logits.numpy()[mask.numpy()], actions.numpy()[mask.numpy()]
    top = scores.max(-1, keepdims=True)
    log_z = top[:, 0] + np.log(np.exp(scores - top).sum(-1))
    return np.mean(log_z - scores[np.arange(len(chosen)), chosen])


def _loops(logits, actions, mask):
    total, count = 0.0, 0
    for i in range(logits.shape[0]):
        for t in range(logits.shape[1]):
            if mask[i, t]:
                total -= float(torch.log_softmax(logits[i, t], 0)[actions[i, t]])
                count += 1
    return total / count


def _where(logits, actions, mask):
    nll = _nll(logits, actions)
    return torch.where(mask, nll, torch.zeros_like(nll)).sum() / mask.sum()


VARIANTS = (
    Variant("torch's cross_entropy", _cross_entropy),
    Variant("numpy", _numpy),
    Variant("loops", _loops),
    Variant("torch.where", _where),
)

BC_LOSS = Exercise(
    id=f"{UNIT}.bc_loss",
    title="The loss of behaviour cloning",
    points=2, minutes=9, difficulty=2,
    reference=bc_loss,
    oracle=one_step_after_the_other,
    hand=Case(
        args=(torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 2.0], [9.0, 0.0]]],
                           dtype=torch.float64),
              torch.tensor([[0, 1], [0, 0]]), torch.tensor([[True, True], [True, False]])),
        # log(1 + e) - 1 = 0.313262; log 2 = 0.693147; log(1 + e^2) - 0 = 2.126928; mean 1.044446
        expected=1.0444454907299155,
        note="two episodes, of two steps and of one: the last entry of the second is padding"),
    cases=draw_cases,
    properties=(
        Property("a loss is a finite number", a_finite_number),
        Property("only differences of logits count", a_shift_of_the_logits),
        Property("padding never matters", padding_never_matters),
        Property("it is a mean", twice_the_same_data),
        Property("who knows nothing loses log A", know_nothing),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "For each step that happened, ask how surprised the policy is by what the demonstrator "
        "did: minus the logarithm of the probability it gave to that action. Then average over "
        "those steps, each with the same weight.",
        r"$$L = -\frac{1}{\sum_{i,t} m_{i,t}} \sum_{i,t:\, m_{i,t}} \log \pi(a_{i,t} | s_{i,t}), "
        r"\qquad \log \pi(a|s) = z_a - \log \sum_b e^{z_b}$$" "\n\n"
        "Indexing with the boolean mask keeps the steps that happened: `logits[mask]` is "
        "`[happened, actions]`, `actions[mask]` is `[happened]`. `torch.log_softmax(..., dim=-1)` "
        "normalises; `gather(-1, index[:, None])` picks one entry of each row.",
        "```python\n"
        "logps = ...              # at the steps with mask True, [happened, actions]\n"
        "chosen = ...             # of the demonstrated action, [happened, 1]\n"
        "return ...               # minus the mean\n"
        "```",
    ),
    why="Supervised learning, nothing else: the state is the input, the action the label. Because "
        "the average runs over the demonstrator's steps, it says nothing about any other state. "
        "Select before averaging: padding may hold NaN, and NaN times 0 is NaN.",
    index_names=None,
)
