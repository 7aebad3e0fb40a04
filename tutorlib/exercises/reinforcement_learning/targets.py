"""Exercise 1: the target of a temporal-difference update."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tutorlib.exercises.reinforcement_learning.common import UNIT, normal, uniform
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant


def td_target(reward: float, next_q: Float[Tensor, " actions"], terminated: bool, discount: float,
              next_action: int | None = None) -> float:
    """Return what Q(s, a) should move to: SARSA's target, or Q-learning's without an action."""
    if terminated:
        return float(reward)
    worth = next_q.max() if next_action is None else next_q[next_action]
    return float(reward + discount * worth)


def best_of_all_futures(reward, next_q, terminated, discount, next_action=None) -> float:
    """List the return of each next action, of none after the end, and pick from the list."""
    futures = [reward + discount * q for q in next_q.tolist()]
    if terminated:
        futures = [reward] * len(futures)
    return sorted(futures)[-1] if next_action is None else futures[next_action]


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw ends and no ends, with and without a next action; the action 0 is among them."""
    cases = []
    for actions, ended, next_action in ((3, False, 0), (4, False, None), (4, True, None),
                                        (3, True, 1), (2, False, 1), (4, False, 2)):
        next_q = normal(generator, actions)
        if next_action == 0:
            next_q[0] = next_q.min() - 1.0  # so that it is not the best action by chance
        reward, discount = uniform(generator, -1, 1), uniform(generator, 0.3, 0.95)
        note = "Q-learning: no next action is given" if next_action is None else (
            f"SARSA: the next action is {next_action}")
        cases.append(Case(args=(reward, next_q, ended, discount, next_action),
                          note=note + (", and the episode ended" if ended else "")))
    return cases


def nothing_follows_the_end(answer, case: Case) -> str | None:
    """After the end, the next row of Q must not count."""
    reward, next_q, _, discount, action = case.args
    one = float(answer(reward, next_q, True, discount, action))
    other = float(answer(reward, next_q + 5.0, True, discount, action))
    if abs(one - other) < 1e-9:
        return None
    return f"after the end, adding 5 to next_q moved the target by {other - one:.4g}"


def a_constant_passes_discounted(answer, case: Case) -> str | None:
    """Adding 1 to every next value adds the discount to the target, if the episode goes on."""
    reward, next_q, _, discount, action = case.args
    gain = (float(answer(reward, next_q + 1.0, False, discount, action))
            - float(answer(reward, next_q, False, discount, action)))
    if abs(gain - discount) < 1e-6:
        return None
    return f"adding 1 to next_q should add {discount:.4g} to the target, it added {gain:.4g}"


def no_action_beats_the_best(answer, case: Case) -> str | None:
    """Q-learning's target is the largest of SARSA's."""
    reward, next_q, _, discount, _ = case.args
    best = float(answer(reward, next_q, False, discount))
    each = [float(answer(reward, next_q, False, discount, a)) for a in range(len(next_q))]
    if abs(best - max(each)) < 1e-9:
        return None
    return (f"without an action the target is {best:.4g}, but the best next action gives "
            f"{max(each):.4g}")


def _worth(next_q, action):
    return next_q.max() if action is None else next_q[action]


MUTANTS = (
    Mutant("bootstraps_past_the_end",
           lambda r, q, ended, g, a=None: r + g * _worth(q, a),
           "Your target looks past the end of the episode: `terminated` is never used. After a "
           "terminal state nothing follows, so the target is the reward alone."),
    Mutant("no_discount",
           lambda r, q, ended, g, a=None: r + (not ended) * _worth(q, a),
           "The next state's worth is not discounted. It comes one step later: multiply it by "
           "`discount`."),
    Mutant("discounts_the_reward",
           lambda r, q, ended, g, a=None: g * (r + (not ended) * _worth(q, a)),
           "The reward is discounted too. It is paid now, in this very step; only what follows "
           "comes a step later."),
    Mutant("always_the_best",
           lambda r, q, ended, g, a=None: r + g * (not ended) * q.max(),
           "This is Q-learning's target even when `next_action` is given. SARSA looks up the "
           "action that is really taken next."),
    Mutant("action_zero_taken_for_none",
           lambda r, q, ended, g, a=None: r + g * (not ended) * (q[a] if a else q.max()),
           "It goes wrong when `next_action` is 0: `if next_action` takes 0 for no action at "
           "all. Ask whether it `is None`."),
    Mutant("mean_of_the_row",
           lambda r, q, ended, g, a=None: r + g * (not ended) * (q.mean() if a is None else q[a]),
           "Without a next action you take the mean over actions. That is what a learner who acts "
           "at random should expect; Q-learning asks for the best action."),
    Mutant("index_for_value",
           lambda r, q, ended, g, a=None: r + g * (not ended) * (
               q.argmax() if a is None else q[a]),
           "`argmax` says *which* action is best, not what it is worth. The target needs the "
           "value: the maximum itself."),
    Mutant("flag_turned_round",
           lambda r, q, ended, g, a=None: r + g * bool(ended) * _worth(q, a),
           "The flag is turned round: you bootstrap exactly when the episode is over. The next "
           "value counts when it is *not* terminated."),
    Mutant("last_reward_lost",
           lambda r, q, ended, g, a=None: 0.0 if ended else r + g * _worth(q, a),
           "At the end your target is 0. The last reward is still paid, and often it is the only "
           "one: the end removes the future, not the present."),
)


def _as_a_sum_over_a_policy(reward, next_q, terminated, discount, next_action=None):
    choice = int(torch.argmax(next_q)) if next_action is None else next_action
    policy = torch.nn.functional.one_hot(torch.tensor(choice), len(next_q)).double()
    return reward + discount * (1 - int(terminated)) * (policy @ next_q)


def _python(reward, next_q, terminated, discount, next_action=None):
    following = 0.0
    if not terminated:
        row = next_q.tolist()
        following = max(row) if next_action is None else row[next_action]
    return reward + discount * following


VARIANTS = (
    Variant("a policy times the row", _as_a_sum_over_a_policy),
    Variant("plain Python", _python),
    Variant("torch.where", lambda r, q, ended, g, a=None: torch.where(
        torch.tensor(ended), torch.tensor(r, dtype=q.dtype), r + g * _worth(q, a))),
)


def show_learned_room(answer):
    """Let the learner's target fill a table by Q-learning in a small room."""
    from tutorlib.mdp import GridWorld, MDPEnv, greedy_policy
    from tutorlib.viz import gridworld

    room = GridWorld("S...\n.#..\n.#.X\n...G", step_reward=-0.02, discount=0.95)
    env, generator = MDPEnv(room.mdp, max_steps=60), torch.Generator().manual_seed(0)
    q = torch.zeros_like(room.mdp.reward)
    for episode in range(60):
        state, over = env.reset(seed=0 if episode == 0 else None)[0], False
        while not over:
            explore = torch.rand(1, generator=generator) < 0.3
            action = int(torch.randint(4, (1,), generator=generator) if explore
                         else q[state].argmax())
            following, reward, ended, cut, _ = env.step(action)
            target = answer(reward, q[following].clone(), ended, room.mdp.discount)
            q[state, action] += 0.5 * (float(target) - q[state, action])
            state, over = following, ended or cut
    return gridworld(room, q.max(-1).values, greedy_policy(q), label="learned value",
                     title="Sixty episodes of your target: values spread from the goal")


TD_TARGET = Exercise(
    id=f"{UNIT}.td_target",
    title="What a step should have been worth",
    points=1,
    minutes=7,
    difficulty=1,
    reference=td_target,
    oracle=best_of_all_futures,
    hand=Case(args=(1.0, torch.tensor([2.0, 4.0], dtype=torch.float64), False, 0.5, None),
              expected=3.0, note="Q-learning: 1 + 0.5 * 4 = 3"),
    cases=draw_cases,
    properties=(
        Property("nothing follows the end", nothing_follows_the_end),
        Property("a constant passes through, discounted", a_constant_passes_discounted),
        Property("no next action beats the best one", no_action_beats_the_best),
    ),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "The target is the reward just paid, plus what the next state is worth, one step later. "
        "Two questions decide what it is worth: is there a next step at all, and which action "
        "will be taken in it?",
        r"$$\text{target} = r + \gamma \cdot \begin{cases} 0 & \text{terminated} \\ "
        r"\max_{a'} Q(s', a') & \text{no next action given} \\ "
        r"Q(s', a') & \text{next action } a' \text{ given} \end{cases}$$" "\n\n"
        "`next_q` is the row $Q(s', \\cdot)$, shape `[actions]`; the result is one number. Mind "
        "that 0 is an action, not a missing one.",
        "```python\n"
        "if terminated:\n"
        "    return ...\n"
        "worth = ... if next_action is None else ...\n"
        "return reward + ...\n"
        "```",
    ),
    why="The target uses one real step and the table for the rest. Q-learning's maximum asks what "
        "the best behaviour would be worth, whatever was done (off-policy); SARSA's look-up asks "
        "what this behaviour is worth (on-policy).",
    figure=show_learned_room,
    forbidden=("tutorlib.control.next_value", "tutorlib.control.td_control"),
)
