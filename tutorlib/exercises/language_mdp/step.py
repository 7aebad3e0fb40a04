"""Exercise 09.1: the dynamics of text."""

from __future__ import annotations

import torch

from tutorlib.exercises.language_mdp.worlds import EOS, SKY, whole
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant


def token_step(prompt_ids: list[int], completion_ids: list[int], token: int, eos_token_id: int,
               horizon: int):
    """Return (answer after the token, terminated, truncated)."""
    answer = list(completion_ids)
    if answer[-1:] != [eos_token_id] and len(answer) < horizon:
        answer.append(token)
    terminated = answer[-1:] == [eos_token_id]
    return answer, terminated, not terminated and len(answer) >= horizon


def by_cutting(prompt_ids, completion_ids, token, eos_token_id, horizon):
    """Write everything down, cut at the horizon, then behind the first end."""
    written = [*completion_ids, token][:horizon]
    endings = [place for place, word in enumerate(written) if word == eos_token_id]
    if endings:
        return written[:endings[0] + 1], True, False
    return written, False, len(written) == horizon


def draw_cases(generator: torch.Generator) -> list[Case]:
    """Draw one state of each kind; prompts hold an end of their own here and there."""
    def words(count):
        return whole(generator, 2, 30, count)

    def case(answer, token, horizon, note, prompt=None):
        return Case(args=(words(4) if prompt is None else prompt, answer, token, EOS, horizon),
                    note=note)

    (one, two, three, four), start = words(4), [*words(3), EOS]
    return [
        case([], one, 4, "the first token"),
        case([], two, 5, "a prompt that ends with the end-of-sequence token", start),
        case(words(2), EOS, 5, "the model ends its answer"),
        case([*words(2), EOS], three, 6, "the answer has ended already"),
        case(words(3), four, 4, "the last token that the horizon allows"),
        case(words(3), EOS, 4, "the last token that the horizon allows is the end"),
        case(words(4), EOS, 4, "the answer was cut off already"),
        case(words(3), one, 3, "the answer was cut off already"),
        case(words(1), two, 3, "a prompt longer than the horizon", words(6)),
    ]


def the_end_is_absorbing(answer, case: Case) -> str | None:
    """After the end, no token changes the state."""
    prompt, completion, _, eos, horizon = case.args
    ended = answer(prompt, completion[:horizon - 1], eos, eos, horizon)
    for token in (7, 8):
        later = answer(prompt, list(ended[0]), token, eos, horizon)
        if list(later[0]) != list(ended[0]) or not later[1] or later[2]:
            return (f"after {list(ended[0])} the token {token} gives {tuple(later)}; an ended "
                    "answer leads to itself, whatever follows")
    return None


def at_most_one_token_more(answer, case: Case) -> str | None:
    """The answer so far stays as it was."""
    before, after = case.args[1], list(answer(*case.args)[0])
    if after[:len(before)] == list(before) and len(after) <= len(before) + 1:
        return None
    return f"from {list(before)} one step leads to {after}; expected it with at most one token more"


def _mutant(goes_on=None, over=None, cut=None):
    """Make a step in which one of three rules is other than it should be."""
    def step(prompt_ids, completion_ids, token, eos_token_id, horizon):
        ended = completion_ids[-1:] == [eos_token_id]
        full = len(completion_ids) >= horizon
        facts = (prompt_ids, completion_ids, token, eos_token_id, horizon)
        going = goes_on(*facts) if goes_on else not ended and not full
        new = [*completion_ids, token] if going else list(completion_ids)
        terminated = over(new, *facts) if over else new[-1:] == [eos_token_id]
        truncated = cut(new, terminated, *facts) if cut else (
            not terminated and len(new) >= horizon)
        return new, terminated, truncated
    return step


def _end_not_written(prompt_ids, completion_ids, token, eos_token_id, horizon):
    if completion_ids[-1:] == [eos_token_id]:
        return completion_ids, True, False
    if len(completion_ids) >= horizon:
        return completion_ids, False, True
    if token == eos_token_id:
        return completion_ids, True, False
    return [*completion_ids, token], False, len(completion_ids) + 1 >= horizon


def _end_anywhere(prompt_ids, completion_ids, token, eos_token_id, horizon):
    ended = eos_token_id in completion_ids
    if eos_token_id in prompt_ids or ended or len(completion_ids) >= horizon:
        return completion_ids, ended, not ended
    new = [*completion_ids, token]
    return new, token == eos_token_id, len(new) >= horizon and token != eos_token_id


def _swapped(*facts):
    answer, terminated, truncated = token_step(*facts)
    return answer, truncated, terminated


def _cut_off_is_both(*facts):
    answer, terminated, truncated = token_step(*facts)
    was_full = len(facts[1]) >= facts[4] and facts[1][-1:] != [facts[3]]
    return answer, terminated or was_full, truncated


def _end_left_out(prompt_ids, completion_ids, token, eos_token_id, horizon):
    if token == eos_token_id:
        return list(completion_ids), True, False
    return token_step(prompt_ids, completion_ids, token, eos_token_id, horizon)


def _whole_text(prompt_ids, completion_ids, token, eos_token_id, horizon):
    new, *flags = token_step(prompt_ids, completion_ids, token, eos_token_id, horizon)
    return ([*prompt_ids, *new], *flags)


def _in_place(prompt_ids, completion_ids, token, eos_token_id, horizon):
    if completion_ids[-1:] != [eos_token_id] and len(completion_ids) < horizon:
        completion_ids.append(token)
    terminated = completion_ids[-1:] == [eos_token_id]
    return completion_ids, terminated, not terminated and len(completion_ids) >= horizon


MUTANTS = (
    Mutant("writes_on_after_the_end", _mutant(lambda x, y, a, e, T: len(y) < T),
           "Your answer goes on after the end of sequence. An ended answer is absorbing: every "
           "token leads back to it."),
    Mutant("writes_on_at_the_horizon", _mutant(lambda x, y, a, e, T: y[-1:] != [e]),
           "Your answer grows beyond the horizon. With `horizon` tokens it is cut off, and "
           "nothing is appended any more."),
    Mutant("writes_always", _mutant(lambda x, y, a, e, T: True),
           "You append whatever comes. Two states take no more tokens: an answer that has ended, "
           "and one that has `horizon` tokens."),
    Mutant("end_left_out", _end_left_out,
           "The end of sequence is a token like any other: it belongs to the answer. Drop it, and "
           "nothing that learns from this answer will learn to stop."),
    Mutant("end_not_written", _end_not_written,
           "When the token is the end, you return the answer without it. The end belongs to the "
           "answer: append it, then say that the answer is terminated."),
    Mutant("end_anywhere", _end_anywhere,
           "You look for the end in the prompt as well, so some answers never begin. Ask the "
           "answer alone: its last token."),
    Mutant("end_in_the_prompt", _mutant(
               lambda x, y, a, e, T: e not in x + y and len(y) < T,
               lambda new, x, y, a, e, T: e in x + new),
           "An end-of-sequence token in the prompt ends your answer before it began. Prompts may "
           "hold one (between examples, or as their first token); only the answer's own counts."),
    Mutant("only_append", _mutant(lambda x, y, a, e, T: True,
                                  lambda new, x, y, a, e, T: a == e,
                                  lambda new, over, x, y, a, e, T: len(new) >= T),
           "You append every token, also behind the end and beyond the horizon. Look first "
           "whether the answer still goes on. (And an answer that has ended is not cut off.)"),
    Mutant("flags_swapped", _swapped,
           "The two booleans are swapped: `terminated` (it has ended) comes first, then "
           "`truncated` (it was cut off)."),
    Mutant("cut_off_is_both", _cut_off_is_both,
           "You call an answer that was cut off earlier terminated as well. It never ended: "
           "truncated alone."),
    Mutant("only_this_token", _mutant(over=lambda new, x, y, a, e, T: a == e),
           "You ask whether *this* token is the end. An answer that ended earlier stays "
           "terminated, and one that was cut off is not ended by a token that was not written: "
           "look at the last token of the answer."),
    Mutant("horizon_counts_the_prompt", _mutant(
               lambda x, y, a, e, T: y[-1:] != [e] and len(x) + len(y) < T,
               cut=lambda new, over, x, y, a, e, T: not over and len(x) + len(new) >= T),
           "You count the prompt's tokens too. The horizon is the most tokens of an *answer* "
           "(`max_new_tokens`)."),
    Mutant("cut_one_late", _mutant(
               lambda x, y, a, e, T: y[-1:] != [e] and len(y) <= T,
               cut=lambda new, over, x, y, a, e, T: not over and len(new) > T),
           "You cut off one token too late: with `horizon` tokens the answer is full, so "
           "`>=` and not `>`."),
    Mutant("cut_one_early", _mutant(
               lambda x, y, a, e, T: y[-1:] != [e] and len(y) < T - 1,
               cut=lambda new, over, x, y, a, e, T: not over and len(new) >= T - 1),
           "You cut off one token too early: an answer may have `horizon` tokens."),
    Mutant("both_flags", _mutant(cut=lambda new, over, x, y, a, e, T: len(new) >= T),
           "An answer whose last allowed token is the end has ended by itself: terminated, not "
           "truncated. Whether its value is 0 or must be estimated hangs on this."),
    Mutant("cut_means_ended", _mutant(
               over=lambda new, x, y, a, e, T: new[-1:] == [e] or len(new) >= T,
               cut=lambda new, over, x, y, a, e, T: False),
           "You call an answer terminated that was only cut off. The model had not finished: "
           "that is truncated."),
    Mutant("whole_text", _whole_text,
           "You return prompt and answer together. Return the answer only: later units score "
           "its tokens, and not the prompt's."),
    Mutant("in_place", _in_place,
           "You changed `completion_ids` itself. The old state must stay as it is (a tree "
           "branches from it): make a new list, `[*completion_ids, token]`."),
)


def _early_returns(prompt_ids, completion_ids, token, eos_token_id, horizon):
    if completion_ids and completion_ids[-1] == eos_token_id:
        return tuple(completion_ids), True, False
    if len(completion_ids) == horizon:
        return tuple(completion_ids), False, True
    new = (*completion_ids, token)
    if token == eos_token_id:
        return new, True, False
    return new, False, len(new) == horizon


def _flags_first(prompt_ids, completion_ids, token, eos_token_id, horizon):
    was_over = eos_token_id in completion_ids
    was_full = len(completion_ids) >= horizon
    new = completion_ids if was_over or was_full else [*completion_ids, token]
    terminated = was_over or (not was_full and token == eos_token_id)
    return new, terminated, len(new) >= horizon and not terminated


VARIANTS = (
    Variant("early returns, tuples", _early_returns),
    Variant("flags first", _flags_first),
    Variant("write, then cut", by_cutting),
)


def show_the_trace(answer):
    """Draw the seed example as a row of states, from the learner's own steps."""
    from tutorlib.viz import Picture, new_figure, style

    words, eos = ["is", "blue", "<eos>", "green"], len(SKY) - 1
    prompt, completion, rows = list(range(5)), [], []
    for word in words:
        before = " | ".join(SKY[i] for i in prompt + completion)
        completion, terminated, _ = answer(prompt, completion, SKY.index(word), eos, 4)
        completion = [int(i) for i in completion]
        rows.append((before, word, "ended" if terminated else "goes on"))
    final = " | ".join(SKY[i] for i in prompt + completion)
    title = "Two words and an end; a token after the end changes nothing"
    with style():
        fig, ax = new_figure(title=title, width=9.0, height=2.9)
        for place, (before, word, how) in enumerate([*rows, (final, "", "the state at last")]):
            ax.text(0.0, -place, before, va="center", fontsize=12)
            ax.text(0.62, -place, f"+ {word}" if word else "", va="center", fontsize=12,
                    fontweight="bold")
            ax.text(0.78, -place, how, va="center", fontsize=12)
        ax.set(xlim=(0, 1), ylim=(-len(rows) - 0.5, 0.5))
        ax.axis("off")
    said = "; ".join(f"{before}, token {word}: {how}" for before, word, how in rows)
    return Picture(fig, alt=f"{title}. State, token, what follows: {said}. At last: {final}.")


TOKEN_STEP = Exercise(
    id="language_mdp.token_step",
    title="One token more",
    points=2, minutes=8, difficulty=2,
    reference=token_step,
    oracle=by_cutting,
    hand=Case(args=([3, 4, 5, 6, 7], [8], 9, EOS, 3), expected=([8, 9], False, False),
              note="The color of the sky | is, and now 'blue'; at most three tokens of answer"),
    cases=draw_cases,
    properties=(Property("the end is absorbing", the_end_is_absorbing),
                Property("a step adds one token or none", at_most_one_token_more)),
    mutants=MUTANTS,
    variants=VARIANTS,
    hints=(
        "Appending is all there is. Two kinds of state take no token any more: an answer whose "
        "last token is the end, and one with `horizon` tokens. Build the new answer first; then "
        "read both flags off it.",
        r"$$s' = s \cdot a \;\text{ if the answer goes on, else }\; s' = s$$" "\n\n"
        "terminated: the new answer's last token is `eos_token_id`. truncated: not terminated, and "
        "the new answer has `horizon` tokens. An empty list has no last token: "
        "`completion_ids[-1:] == [eos_token_id]` is safe.",
        "```python\n"
        "answer = list(completion_ids)          # a new list\n"
        "if ...:                                # neither ended nor full\n"
        "    answer.append(token)\n"
        "terminated = ...                       # by the answer's last token\n"
        "truncated = ...                        # full, but not ended\n"
        "return answer, terminated, truncated\n"
        "```",
    ),
    why="The state is the text, so a step is known and certain: no model of the world has to be "
        "learned. Flags are read off the *new* state, so an answer that ended earlier stays "
        "terminated. Termination means that nothing can follow (value 0); truncation only means "
        "that we stopped looking. Advantage estimators treat the two differently (unit 02).",
    index_names=None,
    figure=show_the_trace,
    forbidden=("tutorlib.lm.token_step", "tutorlib.lm.TokenMDP"),
)
