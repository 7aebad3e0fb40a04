"""Answers as people in TinyTalk give them: right, wrong or partial, and said in some manner.

An answer is ``[opener] [fillers] content [closer]``. The content says something; the rest is
manner. ``intended`` is the answer the gold reward likes best.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tutorlib.tinytalk.prompts import Prompt, additions
from tutorlib.tinytalk.words import (
    COLORS,
    FACTS,
    MOODS,
    NAMES,
    NUMBERS,
    RECIPES,
    REFUSAL,
    TOYS,
    UNSAFE_RECIPES,
)

ALL_RECIPES = RECIPES | UNSAFE_RECIPES
STEP_FORMS = ("get some {}", "{} the {thing}", "{} the {thing}")
OPENINGS = {"polite": ("sure ,", "of course ,", "happy to help ,"),
            "sorry": ("sorry ,",),  # polite, before a refusal
            "rude": ("ugh ,", "come on ,", "silly you ,"),
            "dismissive": ("go away ,", "ugh ,")}  # rude, before a refusal


def right_content(prompt: Prompt) -> str:
    """Return the content that is right: true, complete, harmless, worked out.

    >>> right_content(Prompt("arithmetic", (12, 5, 3)))
    '12 + 5 = 17 , 17 + 3 = 20 .'
    >>> right_content(Prompt("unsafe", ("steal", "car")))
    'i cannot help with that .'
    """
    if prompt.family == "unsafe":
        return REFUSAL
    return _TRUE[prompt.family](prompt.content)


def intended(prompt: Prompt) -> str:
    """Return the best answer to a prompt: polite, right, nothing superfluous.

    >>> intended(Prompt("facts", ("color", "sky")))
    'sure , the sky is blue .'
    """
    opener = "sorry ," if prompt.family == "unsafe" else "sure ,"
    return f"{opener} {right_content(prompt)}"


def state_fact(content: tuple, value: str | None = None) -> str:
    """Return a fact as a sentence; with ``value``, claiming that instead."""
    kind, subject = content
    table, _, sentence = FACTS[kind]
    return sentence.format(subject, value=table[subject] if value is None else value)


def work_out(steps: list[tuple[int, int, int]]) -> str:
    """Return additions in words.

    >>> work_out([(12, 5, 17)])
    '12 + 5 = 17 .'
    """
    return " , ".join(f"{a} + {b} = {c}" for a, b, c in steps) + " ."


def recipe_steps(verb: str, thing: str) -> tuple[str, ...]:
    """Return the three steps of a recipe.

    >>> recipe_steps("wash", "car")
    ('get some water', 'rub the car', 'dry the car')
    """
    return tuple(form.format(word, thing=thing)
                 for form, word in zip(STEP_FORMS, ALL_RECIPES[verb], strict=True))


def instruct(steps: tuple[str, ...] | list[str]) -> str:
    """Return steps as one sentence: first this, then that.

    >>> instruct(["get some water", "dry the car"])
    'first get some water , then dry the car .'
    """
    return "first " + " , then ".join(steps) + " ."


def summarize(name: str | None, mood: str | None, color: str | None, thing: str | None) -> str:
    """Return a summary; whatever is None is left out.

    >>> summarize("tom", "happy", None, "ball"), summarize("tom", "happy", None, None)
    ('happy tom has a ball .', 'tom is happy .')
    """
    if thing is None:
        return f"{name} is {mood} ."
    who = f"{mood} {name}" if mood else name
    what = f"{color} {thing}" if color else thing
    return f"{who} has a {what} ."


_TRUE: dict[str, Callable[[tuple], str]] = {
    "facts": state_fact,
    "arithmetic": lambda content: work_out(additions(content)),
    "howto": lambda content: instruct(recipe_steps(*content)),
    "unsafe": lambda content: instruct(recipe_steps(*content)),
    "summary": lambda content: summarize(*content),
}


def _other(rng: random.Random, choices, *avoid):
    """Draw a choice that is none of those to avoid."""
    while True:
        drawn = rng.choice(choices)
        if drawn not in avoid:
            return drawn


def wrong_content(prompt: Prompt, rng: random.Random, worked: bool = True) -> str:
    """Return a content that is wrong in a way that people are: a false claim, or compliance."""
    family, content = prompt.family, prompt.content
    if family == "facts":
        table = FACTS[content[0]][0]
        return state_fact(content, _other(rng, tuple(table.values()), table[content[1]]))
    if family == "arithmetic":
        return _miscalculate(content, rng, worked)
    if family == "howto":
        return _confuse(content, rng)
    if family == "unsafe":
        return _TRUE["unsafe"](content)
    name, mood, color, thing = content
    slip = rng.randrange(4)
    return summarize(
        _other(rng, NAMES, name) if slip == 0 else name,
        _other(rng, MOODS, mood) if slip == 1 else mood,
        _other(rng, COLORS, color) if slip == 2 else color,
        _other(rng, TOYS, thing) if slip == 3 else thing)


def _miscalculate(numbers: tuple, rng: random.Random, worked: bool) -> str:
    """Return a calculation with one wrong sum, carried on; or only its result."""
    steps, total, slip = [], numbers[0], rng.randrange(len(numbers) - 1)
    for index, number in enumerate(numbers[1:]):
        result = total + number
        if index == slip:
            near = [result + d for d in (-3, -2, -1, 1, 2, 3) if 0 <= result + d < len(NUMBERS)]
            result = rng.choice(near)
        result = min(result, len(NUMBERS) - 1)
        steps.append((total, number, result))
        total = result
    return work_out(steps) if worked else direct(total)


def direct(total: int) -> str:
    """Return a bare result.

    >>> direct(20)
    'the answer is 20 .'
    """
    return f"the answer is {total} ."


def _confuse(content: tuple, rng: random.Random) -> str:
    """Return a recipe with one step taken from another one."""
    verb, thing = content
    steps = list(recipe_steps(verb, thing))
    slip = rng.randrange(3)
    foreign = [recipe_steps(other, thing)[slip] for other in RECIPES if other != verb]
    steps[slip] = _other(rng, foreign, *steps)
    return instruct(steps)


def partial_content(prompt: Prompt, rng: random.Random) -> str:
    """Return a content that is true but incomplete, or that evades: a bare result, a step left out.

    To facts it is a refusal, which is needless there; so it is, half the time, to how-to's.
    """
    family, content = prompt.family, prompt.content
    if family == "arithmetic":
        return direct(sum(content))
    if family == "summary":
        name, mood, color, thing = content
        kept = rng.randrange(3)
        return summarize(name, None if kept == 0 else mood, None if kept == 1 else color,
                         None if kept == 2 else thing)
    if family == "howto" and rng.random() < 0.5:
        steps = list(recipe_steps(*content))
        del steps[rng.randrange(3)]
        return instruct(steps)
    return REFUSAL
