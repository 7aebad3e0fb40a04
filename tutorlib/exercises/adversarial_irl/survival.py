"""Exercise 07.5: how much of a return is paid for being alive, how much for likeness."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from tutorlib.exercises.adversarial_irl.worlds import UNIT, normal, numbers
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def survival_bias(reward: Callable[[Tensor], Tensor], logits: Float[Tensor, "episodes time"],
                  mask: Bool[Tensor, "episodes time"]) -> Float[Tensor, "episodes 2"]:
    """Return for each episode what is paid for being alive, and what for likeness."""
    blind = reward(torch.zeros_like(logits))  # what is paid when the discriminator knows nothing
    paid = reward(logits)
    alive = torch.where(mask, blind, 0.0).sum(-1)
    likeness = torch.where(mask, paid - blind, 0.0).sum(-1)
    return torch.stack([alive, likeness], -1)


def episode_by_episode(reward, logits, mask) -> Tensor:
    """Cut each episode to its length; judge it once as it is and once with a blind discriminator.

    The blind return is what being alive is worth, the difference is what the discriminator's
    knowledge added.
    """
    rows = []
    for row, lives in zip(logits, mask, strict=True):
        steps = [h for h, alive in zip(row.tolist(), lives.tolist(), strict=True) if alive]
        seen = sum(float(reward(numbers([h]))) for h in steps)
        blind = sum(float(reward(numbers([0.0 * h]))) for h in steps)
        rows.append([blind, seen - blind])
    return numbers(rows)


REWARDS = (("AIRL", lambda h: h), ("GAIL, −log(1 − D)", softplus), ("GAIL, log D", logsigmoid),
           ("forward KL", torch.exp), ("an even mixture", lambda h: 0.5 * h + softplus(h) - 0.2))


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw episodes of different lengths under five rewards; what follows an end is junk."""
    cases = []
    for index, (name, reward) in enumerate(REWARDS):
        episodes, time = 2 + index % 3, 5 + index
        lengths = torch.randint(1, time, (episodes,), generator=generator)
        lengths[0] = time
        mask = torch.arange(time) < lengths[:, None]
        logits = normal(generator, episodes, time)
        if index % 2:
            logits = logits.masked_fill(~mask, 0.0)  # a buffer that is filled up with zeros
        cases.append(Case(args=(reward, logits, mask), note=f"the reward is that of {name}"))
    return cases


def parts_add_up(answer, case: Case) -> str | None:
    """The two parts are the whole return."""
    reward, logits, mask = case.args
    whole = torch.where(mask, reward(logits), 0.0).sum(-1)
    apart = float((as_tensor(answer(*case.args)).sum(-1) - whole).abs().max())
    return None if apart < 1e-4 else (f"the two parts must add up to the return of each episode; "
                                      f"they are off by up to {apart:.3g}")


def blind_means_alive_only(answer, case: Case) -> str | None:
    """With all logits 0 there is no likeness to pay for."""
    reward, logits, mask = case.args
    likeness = as_tensor(answer(reward, torch.zeros_like(logits), mask))[:, 1]
    worst = float(likeness.abs().max())
    return None if worst < 1e-4 else (f"with a discriminator that knows nothing (all logits 0) "
                                      f"likeness must pay 0; here it pays up to {worst:.3g}")


def what_follows_an_end_is_no_matter(answer, case: Case) -> str | None:
    """Logits behind an episode's end change nothing."""
    reward, logits, mask = case.args
    other = torch.where(mask, logits, logits + 3.0)
    moved = as_tensor(answer(reward, other, mask)) - as_tensor(answer(*case.args))
    worst = float(moved.abs().max())
    return None if worst < 1e-4 else (f"logits after the end of an episode moved the answer by "
                                      f"up to {worst:.3g}; those steps did not happen")


def _parts(reward, logits, mask, blind):
    alive = torch.where(mask, blind, 0.0).sum(-1)
    return torch.stack([alive, torch.where(mask, reward(logits), 0.0).sum(-1) - alive], -1)


def _zero(logits):
    return torch.zeros_like(logits)


def _masked_logits(reward, logits, mask):
    alive = torch.where(mask, reward(_zero(logits)), 0.0).sum(-1)
    return torch.stack([alive, reward(logits * mask).sum(-1) - alive], -1)


def _masked_logits_twice(reward, logits, mask):
    blind = reward(_zero(logits)).sum(-1)
    return torch.stack([blind, reward(logits * mask).sum(-1) - blind], -1)


def _full_length(reward, logits, mask):
    return survival_bias(reward, logits, torch.ones_like(mask))


def _horizon_pay(reward, logits, mask):
    alive = reward(_zero(logits)).sum(-1)
    return torch.stack([alive, torch.where(mask, reward(logits), 0.0).sum(-1) - alive], -1)


def _per_step(reward, logits, mask):
    return survival_bias(reward, logits, mask) / mask.sum(-1, keepdim=True)


def _last_step_lost(reward, logits, mask):
    kept = mask.clone()
    kept[:, :-1] &= mask[:, 1:]
    kept[:, -1] = False
    return survival_bias(reward, logits, kept)


def _batch_mean(reward, logits, mask):
    mean = reward(logits)[mask].mean()
    return _parts(reward, logits, mask, mean.expand_as(logits))


def _whole_as_likeness(reward, logits, mask):
    found = survival_bias(reward, logits, mask)
    return torch.stack([found[:, 0], found.sum(-1)], -1)


MUTANTS = (
    Mutant("mask_ignored", _full_length,
           "Steps after the end are counted: every episode gets the full time. Then an agent that "
           "falls at once is paid like one that stands, and the bias cannot be seen."),
    Mutant("masked_the_logits", _masked_logits,
           "You masked the logits and then applied the reward. A logit of 0 is not a reward of 0: "
           "each step after the end is paid r(0). Mask the rewards."),
    Mutant("masked_the_logits_only", _masked_logits_twice,
           "The mask is on the logits only. A logit of 0 still pays r(0), so steps after the end "
           "are paid in both columns. Mask the rewards."),
    Mutant("horizon_for_length", _horizon_pay,
           "Being alive is paid for the whole width of the table. An episode is paid r(0) for each "
           "step that it *lasted*."),
    Mutant("mean_over_steps", _per_step,
           "You divide by the episode's length. A policy climbs the sum, and length is the very "
           "thing to be seen: with variable episode length a do-nothing demonstrator \"teaches\" "
           "CartPole only because longer sums are larger."),
    Mutant("half_as_a_logit", lambda r, x, m: _parts(r, x, m, r(torch.full_like(x, 0.5))),
           "You evaluate the reward at 0.5. No evidence means D = 1/2, and its *logit* is 0."),
    Mutant("batch_mean_as_baseline", _batch_mean,
           "Your pay for being alive is the mean reward of this batch. That changes with the data; "
           "the pay for no evidence is r(0), whatever the batch."),
    Mutant("columns_exchanged", lambda r, x, m: survival_bias(r, x, m).flip(-1),
           "The columns are exchanged: first what is paid for being alive, then for likeness."),
    Mutant("whole_return_as_likeness", _whole_as_likeness,
           "The second column is the whole return. Subtract what is paid for being alive anyway."),
    Mutant("likeness_sign", lambda r, x, m: survival_bias(r, x, m) * numbers([1.0, -1.0]),
           "Likeness has its sign turned: it is the return minus the pay for being alive."),
    Mutant("raw_logits", lambda r, x, m: torch.stack(
               [torch.where(m, r(_zero(x)), 0.0).sum(-1), torch.where(m, x, 0.0).sum(-1)], -1),
           "You sum the logits. Sum what the reward pays for them, reward(logits), minus what it "
           "pays for no evidence."),
    Mutant("lengths_only", lambda r, x, m: torch.stack(
               [m.sum(-1).double(), torch.where(m, r(x) - r(_zero(x)), 0.0).sum(-1)], -1),
           "The first column is the length. Multiply it by the pay of one step without evidence, "
           "r(0)."),
    Mutant("last_step_lost", _last_step_lost,
           "The last step of each episode is missing. The mask is already true for every step that "
           "was taken."),
)


def _loops(reward, logits, mask):
    result = []
    for row, lives in zip(logits, mask, strict=True):
        kept = row[lives]
        alive = float(reward(kept.new_zeros(()))) * len(kept)
        result.append([alive, float(reward(kept).sum()) - alive])
    return result


def _matrix_product(reward, logits, mask):
    weights = mask.double()
    at_zero = reward(numbers(0.0))
    alive = at_zero * weights.sum(1)
    total = (reward(logits) * weights).sum(1)
    return torch.stack((alive, total - alive), dim=1).numpy()


VARIANTS = (Variant("loops", _loops), Variant("numpy, by weights", _matrix_product))


def name_part(case: Case, index: tuple[int, ...]) -> str | None:
    """Say which episode and which part an index means."""
    if len(index) != 2:
        return None
    steps = int(case.args[2][index[0]].sum())
    return f"episode {index[0]} of {steps} steps, for {('being alive', 'likeness')[index[1]]}"


def show_parts(answer):
    """Draw both parts for a short good imitation and a long poor one, under four rewards."""
    from tutorlib.viz import bars

    mask = torch.arange(100) < torch.tensor([[10], [100]])
    logits = torch.where(torch.arange(2)[:, None] == 0, 0.5, -1.0).double().expand(2, 100)
    leads = {name: as_tensor(answer(reward, logits.clone(), mask)).double().diff(dim=0)[0]
             for name, reward in REWARDS[:4]}
    wrong = [name for name, lead in leads.items() if float(lead.sum()) > 0]
    return bars({"being alive": [float(x[0]) for x in leads.values()],
                 "likeness": [float(x[1]) for x in leads.values()]}, groups=list(leads),
                ylabel="lead of the poor imitator (reward)",
                title="100 steps at h = −1 beat 10 steps at h = 0.5 under "
                      + (" and ".join(wrong) or "none of the four"))


SURVIVAL_BIAS = Exercise(
    id=f"{UNIT}.survival_bias",
    title="Paid for being alive",
    points=3, minutes=12, difficulty=4,
    reference=survival_bias,
    oracle=episode_by_episode,
    hand=Case(
        args=(softplus, numbers([[0.0, 0.0, 0.0, 0.0], [0.6931471805599453, 0.0, 9.0, 9.0]]),
              torch.tensor([[True] * 4, [True, True, False, False]])),
        # r(0) = log 2: four and two steps; likeness: 0, and log 3 - log 2 for the one step at log 2
        expected=numbers([[2.772588722239781, 0.0], [1.3862943611198906, 0.4054651081081644]]),
        note="GAIL's −log(1 − D); a blind episode of 4 steps, and one of 2 steps"),
    cases=draw_cases,
    properties=(Property("the parts add up", parts_add_up),
                Property("blind means alive only", blind_means_alive_only),
                Property("what follows an end is no matter", what_follows_an_end_is_no_matter)),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Think of a discriminator that knows nothing: every logit is 0. What does each step of an "
        "episode earn then, and what is its return? That part is paid for lasting. The rest of the "
        "return is paid for looking like the demonstrator.",
        r"$$\underbrace{\sum_{t < L} r(0)}_{\text{alive}} + "
        r"\underbrace{\sum_{t < L} (r(h_t) - r(0))}_{\text{likeness}} = \sum_{t < L} r(h_t)$$"
        "\n\n$L$ is the episode's length, the number of true entries in its row of `mask`. "
        "`logits` and `mask` are `[episodes, time]`; the answer is `[episodes, 2]`.",
        "```python\n"
        "blind = reward(torch.zeros_like(logits))     # [episodes, time]\n"
        "alive = torch.where(mask, ..., 0.0).sum(-1)\n"
        "likeness = ...\n"
        "return torch.stack([alive, likeness], dim=-1)\n"
        "```",
    ),
    why="AIRL's r(0) is 0, so lasting is worth nothing by itself. −log(1 − D) and u pay for every "
        "step, log D charges for it: with episodes of variable length they reward staying alive, "
        "or ending, whatever the demonstrator did.",
    index_names=name_part,
    figure=show_parts,
)
