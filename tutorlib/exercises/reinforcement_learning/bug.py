"""Exercise 5: a training run that collapses, and the line that makes it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutorlib import control
from tutorlib.exercises.reinforcement_learning.common import (
    UNIT,
    flags,
    name_step,
    normal,
    uniform,
)
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant
from tutorlib.grading.compare import as_tensor


def find_the_bug(
    rewards: Float[Tensor, "time envs"],
    values: Float[Tensor, "time+1 envs"],
    terminated: Bool[Tensor, "time envs"],
    truncated: Bool[Tensor, "time envs"],
    discount: float,
    gae_lambda: float,
) -> Float[Tensor, "time envs"]:
    """Return advantages; an end has no next value, a time limit has one, no sum crosses either."""
    discount_t = discount * (~terminated).to(rewards.dtype)
    lambda_t = gae_lambda * (~(terminated | truncated)).to(rewards.dtype)
    return control.gae(rewards, values, discount_t, lambda_t)


def episode_by_episode(rewards, values, terminated, truncated, discount, gae_lambda) -> Tensor:
    """Cut the experience into episodes, and mix the n-step returns of each one explicitly."""
    result = torch.zeros_like(rewards)
    for env in range(rewards.shape[1]):
        start = 0
        for t in range(len(rewards)):
            if terminated[t, env] or truncated[t, env] or t == len(rewards) - 1:
                known = values[start:t + 2, env].tolist()
                if terminated[t, env]:
                    known[-1] = 0.0  # nothing follows the end
                paid = rewards[start:t + 1, env].tolist()
                result[start:t + 1, env] = torch.tensor(_mixed(paid, known, discount, gae_lambda))
                start = t + 1
    return result


def _mixed(paid: list[float], known: list[float], discount: float, lam: float) -> list[float]:
    """Return for each step of one episode the lambda-weighted mean of n-step returns, minus V."""
    found, last = [], len(paid)
    for t in range(last):
        total, mixed = 0.0, 0.0
        for n in range(1, last - t + 1):
            total += discount ** (n - 1) * paid[t + n - 1]
            n_step = total + discount**n * known[t + n]
            mixed += (lam ** (n - 1)) * (1.0 if t + n == last else 1 - lam) * n_step
        found.append(mixed - known[t])
    return found


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw experience with ends, time limits, and an open end."""
    cases = []
    for steps, envs in ((6, 1), (7, 2), (8, 2), (9, 3)):
        terminated = flags(generator, 0.2, steps, envs)
        truncated = flags(generator, 0.2, steps, envs) & ~terminated
        terminated[1, 0], truncated[1, 0] = True, False
        terminated[4, 0], truncated[4, 0] = False, True
        cases.append(Case(args=(normal(generator, steps, envs), normal(generator, steps + 1, envs),
                                terminated, truncated, uniform(generator, 0.7, 0.95),
                                uniform(generator, 0.5, 0.95)),
                          note="environment 0 terminates at step 1, runs out of time at step 4"))
    return cases


def true_critic(ends: bool, discount: float):
    """Return the arguments of a task that pays 1 a step, with a critic that knows it exactly.

    It lasts four steps if it ``ends``; otherwise it never does, and time runs out after four.
    """
    position = torch.tensor([0, 1, 2, 3, 4, 0, 1], dtype=torch.float64)[:, None]
    worth = (1 - discount ** (4 - position)) / (1 - discount) if ends else (
        torch.full_like(position, 1 / (1 - discount)))
    over = torch.zeros(6, 1, dtype=torch.bool)
    over[3] = True
    rewards = torch.ones(6, 1, dtype=torch.float64)
    rewards[4] = float(worth[4] - discount * worth[5])  # the step that only resets: no surprise
    none = torch.zeros_like(over)
    return rewards, worth, over if ends else none, none if ends else over, discount, 0.9


def never_surprised(answer, case: Case) -> str | None:
    """With a critic that knows the truth, every advantage is 0, at ends and at time limits."""
    for ends, place in ((True, "a task that ends"), (False, "an endless task cut by a time limit")):
        found = as_tensor(answer(*true_critic(ends, case.args[4])))
        step = int(found.abs().argmax())
        if float(found.abs().max()) > 1e-4:  # masks made by .float() round to float32
            return (f"in {place}, a critic that knows the truth should never be surprised, but "
                    f"step {step} has advantage {float(found.flatten()[step]):.4g}")
    return None


def no_look_into_the_next_episode(answer, case: Case) -> str | None:
    """Rewards of the next episode must not reach the one before."""
    rewards, values, terminated, truncated, discount, lam = case.args
    later = rewards.clone()
    later[5:, 0] += 10.0
    before = as_tensor(answer(rewards, values, terminated, truncated, discount, lam))[:5, 0]
    after = as_tensor(answer(later, values, terminated, truncated, discount, lam))[:5, 0]
    moved = float((after - before).abs().max())
    if moved < 1e-9:
        return None
    return f"rewards after the time limit at step 4 changed an advantage before it by {moved:.4g}"


def _with_endings(no_value, no_sum):
    """Return an answer that drops the next value and stops the sum at the given steps."""

    def answer(rewards, values, terminated, truncated, discount, gae_lambda):
        discount_t = discount * (~no_value(terminated, truncated)).double()
        lambda_t = gae_lambda * (~no_sum(terminated, truncated)).double()
        return control.gae(rewards, values, discount_t, lambda_t)

    return answer


def _never(terminated, truncated):
    return torch.zeros_like(terminated)


def _either(terminated, truncated):
    return terminated | truncated


def _last_reward_lost(rewards, values, terminated, truncated, discount, gae_lambda):
    kept = torch.where(terminated, 0.0, rewards)
    return find_the_bug(kept, values, terminated, truncated, discount, gae_lambda)


def _next_value_after_reset(rewards, values, terminated, truncated, discount, gae_lambda):
    shifted = values.clone()
    for t in range(len(rewards) - 1):
        shifted[t + 1] = torch.where(truncated[t], values[t + 2], values[t + 1])
    return find_the_bug(rewards, shifted, terminated, truncated, discount, gae_lambda)


MUTANTS = (
    Mutant("as_in_the_failing_run", _with_endings(lambda end, cut: cut, _either),
           "This is the failing run: the two flags are exchanged where the next value is dropped. "
           "A fallen pole still counts as worth what the critic says of it. Which of the two "
           "endings leaves nothing to come?"),
    Mutant("never_an_end", _with_endings(_never, _either),
           "The next value counts at every ending, so falling costs nothing. After termination "
           "there is no next value."),
    Mutant("time_limit_taken_for_the_end", _with_endings(_either, _either),
           "A time limit is treated like a fall. The episode would have gone on: the last state "
           "keeps its value, and only the sum stops there."),
    Mutant("sum_crosses_time_limits", _with_endings(lambda end, cut: end, lambda end, cut: end),
           "At a time limit the sum runs on into the next episode, whose rewards are then credited "
           "to this one. Stop it at both kinds of ending."),
    Mutant("no_endings_at_all", _with_endings(_never, _never),
           "Neither flag is used: the experience is treated as one endless episode."),
    Mutant("flags_negated", _with_endings(lambda end, cut: ~end, _either),
           "The flag is negated once too often: the next value is dropped everywhere except at the "
           "end."),
    Mutant("stops_only_at_time_limits", _with_endings(_never, lambda end, cut: cut),
           "At termination the next value counts *and* the sum runs on into the next episode. Both "
           "must stop there."),
    Mutant("last_reward_lost", _last_reward_lost,
           "The reward of the last step is dropped. It was earned; what is missing after the end "
           "is the next value."),
    Mutant("value_after_the_reset", _next_value_after_reset,
           "At a time limit you bootstrap from the state after the reset. The value that counts is "
           "that of the last state of the cut episode, `values[t + 1]`."),
)


def _with_if(rewards, values, terminated, truncated, discount, gae_lambda):
    result, following = torch.zeros_like(rewards), torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        following = torch.where(terminated[t] | truncated[t], 0.0, following)
        next_value = torch.where(terminated[t], 0.0, values[t + 1])
        delta = rewards[t] + discount * next_value - values[t]
        following = delta + discount * gae_lambda * following
        result[t] = following
    return result


def _numpy(rewards, values, terminated, truncated, discount, gae_lambda):
    alive = 1.0 - terminated.numpy().astype(float)
    runs_on = alive * (1.0 - truncated.numpy().astype(float))
    values, result = values.numpy(), np.zeros(rewards.shape)
    following = np.zeros(rewards.shape[1])
    for t in range(len(result) - 1, -1, -1):
        delta = rewards.numpy()[t] + discount * alive[t] * values[t + 1] - values[t]
        following = delta + discount * gae_lambda * runs_on[t] * following
        result[t] = following
    return result


VARIANTS = (
    Variant("explicit cases", _with_if),
    Variant("numpy with masks", _numpy),
)


def show_the_fall(answer):
    """Draw what a critic that expects no fall is told by both versions when one comes."""
    from tutorlib.viz import lines

    rewards, _, terminated, truncated, discount, lam = true_critic(True, 0.98)
    optimist = torch.full((7, 1), 1 / (1 - discount), dtype=torch.float64)  # "it lasts for ever"
    arguments = (rewards[:4], optimist[:5], terminated[:4], truncated[:4], discount, lam)
    broken = MUTANTS[0].answer
    curves = {"your version": as_tensor(answer(*(a.clone() if isinstance(a, Tensor) else a
                                                 for a in arguments)))[:, 0],
              "the failing run": broken(*arguments)[:, 0]}
    told = float(curves["your version"][-1])
    return lines(curves, range(1, 5), xlabel="step (the pole falls at step 4)", ylabel="advantage",
                 title=f"A fall should come as a shock: {told:.0f} in yours, "
                       f"{abs(float(curves['the failing run'][-1])):.0f} in the failing run")


def _float32_masks(rewards, values, terminated, truncated, discount, gae_lambda):
    """Mend the colleague's two lines as they stand, ``.float()`` included."""
    discount_t = discount * (~terminated).float()
    lambda_t = gae_lambda * (~(terminated | truncated)).float()
    advantages, following = torch.zeros_like(rewards), 0.0
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + discount_t[t] * values[t + 1] - values[t]
        following = delta + discount_t[t] * lambda_t[t] * following
        advantages[t] = following
    return advantages


FIND_THE_BUG = Exercise(
    id=f"{UNIT}.find_the_bug",
    title="Find the bug",
    points=3,
    minutes=15,
    difficulty=4,
    reference=find_the_bug,
    oracle=episode_by_episode,
    rtol=1e-5,
    atol=1e-5,
    hand=Case(
        args=(torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=torch.float64),
              torch.tensor([[4.0, 4.0], [4.0, 4.0], [4.0, 4.0]], dtype=torch.float64),
              torch.tensor([[True, False], [False, False]]),
              torch.tensor([[False, True], [False, False]]), 0.5, 0.8),
        # a fall: 1 - 4 = -3; time up: 1 + 0.5 * 4 - 4 = -1; neither adds what comes after
        expected=torch.tensor([[-3.0, -1.0], [-1.0, -1.0]], dtype=torch.float64),
        note="at step 0 the pole falls in environment 0, and time runs out in environment 1"),
    cases=draw_cases,
    properties=(
        Property("a critic that knows the truth is never surprised", never_surprised),
        Property("no look into the next episode", no_look_into_the_next_episode),
    ),
    mutants=MUTANTS,
    variants=(*VARIANTS, Variant("masks by float()", _float32_masks)),
    hints=(
        "Look at the value loss: it goes to 0, so the critic agrees with its targets. Which "
        "constant value V satisfies V = 1 + discount * V, the target of a step after which nothing "
        "can end? Then ask where the code lets an end be an end.",
        r"$$\gamma_t = \begin{cases} 0 & \text{terminated} \\ \gamma & \text{otherwise}"
        r"\end{cases} \qquad \lambda_t = \begin{cases} 0 & \text{terminated or truncated} \\ "
        r"\lambda & \text{otherwise}\end{cases}$$" "\n\n"
        "All arrays are `[time, envs]`, `values` has one row more, the flags are booleans. With "
        "$\\gamma_t$ and $\\lambda_t$ made, your `gae` does the rest.",
        "```python\n"
        "discount_t = discount * (~...).double()     # [time, envs]\n"
        "lambda_t = gae_lambda * (~(... | ...)).double()\n"
        "return gae(rewards, values, discount_t, lambda_t)\n"
        "```",
    ),
    why="Two endings, two meanings. After termination nothing follows, so its next value is 0; a "
        "time limit only stops the watching, so the last state keeps its value. With the flags "
        "exchanged, no fall contradicts a critic that says 1 / (1 - discount) everywhere.",
    index_names=name_step,
    figure=show_the_fall,
    forbidden=("tutorlib.control.gae", "tutorlib.control.ppo.make_batch"),
)
