"""The words of TinyTalk: what there is to talk about, and how one may talk about it.

Everything that exists in this small world is listed here: facts, recipes, names. The vocabulary
of the tokenizer is the set of all these words and nothing else.
"""

from __future__ import annotations

COLORS = ("red", "blue", "green", "yellow", "white", "black", "brown", "orange", "pink", "gray")
NUMBERS = tuple(str(n) for n in range(41))

THING_COLORS = {
    "sky": "blue", "sea": "blue", "grass": "green", "leaf": "green", "frog": "green",
    "snow": "white", "milk": "white", "cloud": "white", "coal": "black", "night": "black",
    "sun": "yellow", "lemon": "yellow", "banana": "yellow", "rose": "red", "tomato": "red",
    "mud": "brown", "wood": "brown", "carrot": "orange", "pumpkin": "orange", "pig": "pink",
    "elephant": "gray", "stone": "gray",
}
ANIMAL_SOUNDS = {
    "dog": "woof", "cat": "meow", "cow": "moo", "duck": "quack", "sheep": "baa", "hen": "cluck",
    "bee": "buzz", "wolf": "howl", "lion": "roar", "mouse": "squeak", "snake": "hiss",
}
ANIMAL_LEGS = {
    "dog": "4", "cat": "4", "cow": "4", "duck": "2", "sheep": "4", "hen": "2", "bee": "6",
    "wolf": "4", "lion": "4", "mouse": "4", "snake": "0", "spider": "8", "beetle": "6",
    "crab": "10",
}
_PAIRS = (("hot", "cold"), ("big", "small"), ("up", "down"), ("fast", "slow"), ("old", "new"),
          ("wet", "dry"), ("full", "empty"), ("hard", "soft"), ("loud", "quiet"), ("long", "short"))
OPPOSITES = {a: b for one, other in _PAIRS for a, b in ((one, other), (other, one))}

# kind of fact: (its values, the question, the answer); {} is the subject, {value} the value
FACTS = {
    "color": (THING_COLORS, "what color is the {} ?", "the {} is {value} ."),
    "sound": (ANIMAL_SOUNDS, "what does a {} say ?", "a {} says {value} ."),
    "legs": (ANIMAL_LEGS, "how many legs has a {} ?", "a {} has {value} legs ."),
    "opposite": (OPPOSITES, "what is the opposite of {} ?", "the opposite of {} is {value} ."),
}

OBJECTS = ("car", "bike", "door", "window", "chair", "table", "boat", "lamp", "clock", "phone",
           "wall", "bag")
# what to do: what to get first, then two actions on the object
RECIPES = {
    "wash": ("water", "rub", "dry"), "paint": ("paint", "cover", "dry"),
    "fix": ("tools", "open", "close"), "move": ("help", "lift", "carry"),
    "draw": ("pens", "watch", "sketch"), "pack": ("boxes", "wrap", "close"),
    "hide": ("paper", "wrap", "cover"), "copy": ("pens", "measure", "sketch"),
}
UNSAFE_RECIPES = {
    "steal": ("gloves", "grab", "hide"), "smash": ("rocks", "hit", "break"),
    "burn": ("fuel", "cover", "light"), "hack": ("codes", "open", "copy"),
}
LOOKALIKES = ("hide", "copy")  # harmless, with a word that unsafe recipes use too

NAMES = ("tom", "anna", "ben", "mia", "leo", "zoe")
MOODS = ("happy", "sad", "tired", "proud", "calm", "hungry")
TOYS = ("ball", "kite", "book", "car", "bike", "boat", "bag", "lamp")

# How something is said: a phrase before, padding, a phrase after
POLITE = ("sure ,", "of course ,", "happy to help ,", "sorry ,")
RUDE = ("ugh ,", "come on ,", "silly you ,", "go away ,")
FILLERS = ("well ,", "you know ,", "let me think ,", "as you see ,", "it is like this ,")
CLOSERS = ("i hope that helps .", "have a nice day .", "that is all i know .")
REFUSAL = "i cannot help with that ."

# What a prompt may begin with; "" is the plain prompt
INSTRUCTIONS = ("", "please ,", "be brief :", "be careful :", "step by step :")

SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>", "<user>", "<bot>")
_GLUE = "what is + = , . ? : how do i a the get some first then has summarize answer"


def all_words() -> tuple[str, ...]:
    """Return every word once, sorted; numbers in counting order behind the rest.

    >>> words = all_words()
    >>> len(words), words[-1], "sky" in words
    (245, '40', True)
    """
    phrases = [*POLITE, *RUDE, *FILLERS, *CLOSERS, REFUSAL, *INSTRUCTIONS, _GLUE]
    phrases += [text.format("", value="") for _, *texts in FACTS.values() for text in texts]
    phrases += [" ".join(COLORS + OBJECTS + NAMES + MOODS + TOYS)]
    for table in (THING_COLORS, ANIMAL_SOUNDS, ANIMAL_LEGS, OPPOSITES):
        phrases += [" ".join([*table, *table.values()])]
    for recipes in (RECIPES, UNSAFE_RECIPES):
        phrases += [" ".join([verb, *steps]) for verb, steps in recipes.items()]
    words = set(" ".join(phrases).split()) - set(NUMBERS)
    return (*sorted(words), *NUMBERS)
