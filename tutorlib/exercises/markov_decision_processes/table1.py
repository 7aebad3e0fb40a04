"""Exercise 5: Table 1 of Sun and van der Schaar (2025, section 2.1) as cards to be matched."""

from __future__ import annotations

from collections.abc import Mapping

from tutorlib.exercises.markov_decision_processes.common import UNIT
from tutorlib.grading import Exercise, Mutant, Variant

FIELDS = ("actions", "states", "reward", "transitions")
CARDS = {  # the rows of the table, without the names of tasks and algorithms, in another order
    "A": ("continuous", "continuous", "sparse", "unknown"),
    "B": ("about 10", "images", "dense", "unknown"),
    "C": ("tokens", "token sequences", "sparse", "known"),
    "D": ("about 100", "about 10^100", "sparse", "known"),
    "E": ("about 10^26", "partly seen", "mixed", "unknown"),
    "F": ("continuous", "continuous", "dense", "unknown"),
    "G": ("tokens", "token sequences", "noisy and sparse", "known"),
    "H": ("about 10", "images", "sparse", "unknown"),
    "I": ("about 10^6", "partly seen", "mixed", "unknown"),
}
ALGORITHMS = {  # what the table lists: (the facts a card must show, task, what the choice rests on)
    "DQN": ({"actions": "about 10", "reward": "dense"}, "Atari, dense reward",
            "learns one number per action, so actions must be few, and needs frequent reward"),
    "curiosity": ({"actions": "about 10", "reward": "sparse"}, "Atari, hard exploration",
                  "pays the agent for novelty when the game hardly ever pays"),
    "MCTS": ({"transitions": "known", "states": "about 10^100"}, "board games",
             "searches ahead in a known model of the game, against itself"),
    "multi-agent PPO": ({"actions": "about 10^6", "states": "partly seen"}, "Dota 2",
                        "samples from millions of actions in a game that it sees in part"),
    "league": ({"actions": "about 10^26", "states": "partly seen"}, "StarCraft",
               "starts from human games: 10^26 actions are beyond blind exploration"),
    "HER": ({"actions": "continuous", "reward": "sparse"}, "goal-conditioned robotics",
            "relabels what was reached as the goal, which makes a sparse reward frequent"),
    "SAC": ({"actions": "continuous", "reward": "dense"}, "locomotion",
            "climbs the gradient of a learned value, with a continuous action"),
    "GRPO": ({"states": "token sequences", "reward": "sparse"}, "reasoning with language models",
             "compares several answers to one question, marked right or wrong at the end"),
    "RLHF": ({"states": "token sequences", "reward": "noisy and sparse"},
             "language models from human feedback",
             "fits a reward to noisy human judgements of whole answers (PPO, DPO, REINFORCE)"),
}
MATCH = {card: next(name for name, (needs, _, _) in ALGORITHMS.items()
                    if all(facts[FIELDS.index(field)] == wanted for field, wanted in needs.items()))
         for card, facts in CARDS.items()}


def table_of_the_paper() -> dict[str, str]:
    """Return the rows as the table prints them, typed in by hand."""
    return {"A": "HER", "B": "DQN", "C": "GRPO", "D": "MCTS", "E": "league", "F": "SAC",
            "G": "RLHF", "H": "curiosity", "I": "multi-agent PPO"}


def compare_matches(got, want) -> str | None:
    """Return why the first wrong card is wrong, from its facts; None when all nine fit."""
    if not isinstance(got, Mapping):
        return 'a dict is expected, {"A": "...", ..., "I": "..."}'
    given = {str(card).strip().upper(): _plain(name) for card, name in got.items()}
    if set(given) != set(want):
        missing, unknown = sorted(set(want) - set(given)), sorted(set(given) - set(want))
        return f"one entry per card, A to I; missing: {missing}, unknown: {unknown}"
    wrong = [card for card in want if given[card] != _plain(want[card])]
    if not wrong:
        return None
    right = len(want) - len(wrong)
    return f"{right} of {len(want)} cards fit. {_objection(wrong[0], given[wrong[0]])}"


def _plain(name) -> str:
    """Return a name without regard to case and spaces."""
    return str(name).strip().lower()


def _objection(card: str, choice: str) -> str:
    """Say which fact of the card speaks against the choice."""
    known = {_plain(name): name for name in ALGORITHMS}
    if choice not in known:
        return f"Card {card}: {choice!r} is not among {list(ALGORITHMS)}."
    needs, _, reason = ALGORITHMS[known[choice]]
    facts = dict(zip(FIELDS, CARDS[card], strict=True))
    field, wanted = next((f, w) for f, w in needs.items() if facts[f] != w)
    return (f"Card {card} shows {field} '{facts[field]}', but {known[choice]} belongs to {field} "
            f"'{wanted}': it {reason}.")


def _swapped(one: str, other: str) -> dict[str, str]:
    """Return the right answer with two algorithms exchanged."""
    exchange = {one: other, other: one}
    return {card: exchange.get(name, name) for card, name in MATCH.items()}


MATCH_TASKS = Exercise(
    id=f"{UNIT}.match_tasks",
    title="Nine tasks, nine algorithms",
    points=2,
    minutes=8,
    difficulty=2,
    kind="value",
    reference=MATCH,
    oracle=table_of_the_paper,
    compare=compare_matches,
    mutants=(
        Mutant("dense_and_sparse_games", _swapped("DQN", "curiosity"),
               "B and H are exchanged. Both are Atari games; where reward is frequent, plain "
               "Q-learning gets by, and where it is rare the agent needs a reason to explore."),
        Mutant("dense_and_sparse_robots", _swapped("HER", "SAC"),
               "A and F are exchanged. Hindsight makes something of episodes that never reached "
               "the goal; with a reward at every step there is nothing to relabel."),
        Mutant("verifier_and_human", _swapped("GRPO", "RLHF"),
               "C and G are exchanged. A checked answer is right or wrong; people's judgements "
               "are noisy, and the card's reward says which of the two it is."),
        Mutant("the_two_large_games", _swapped("multi-agent PPO", "league"),
               "E and I are exchanged. With some 10^26 actions nobody starts from scratch: human "
               "games come first, then a league of opponents."),
        Mutant("search_with_tokens", _swapped("MCTS", "GRPO"),
               "C and D are exchanged. Both models are known, but only the board game is played "
               "by search against itself in this table."),
        Mutant("search_and_novelty", _swapped("HER", "curiosity"),
               "A and H are exchanged. Both rewards are sparse; relabelled goals belong to robots "
               "with continuous actions, and novelty to a screen game with a few buttons."),
        Mutant("values_for_continuous_actions", _swapped("DQN", "SAC"),
               "B and F are exchanged. Q-learning takes a maximum over listed actions; a "
               "continuous action cannot be listed."),
    ),
    variants=(
        Variant("another order", dict(reversed(MATCH.items()))),
        Variant("lower case", {card.lower(): name.lower() for card, name in MATCH.items()}),
    ),
    hints=(
        "Ask of each card, in this order: can the actions be listed? is the model of the world "
        "known? how often does reward come, and can it be trusted?",
        "Few actions: DQN or curiosity. Continuous: SAC or HER. Token sequences: GRPO or RLHF. "
        "Within each pair the reward decides. The rest are games: one with a known model, two "
        "large ones that differ in the number of actions.",
        '```python\nmatch_tasks = {\n    "A": "...",   # continuous actions, sparse reward\n'
        '    "B": "...",   # few actions, dense reward\n    ...\n}\n```',
    ),
    why="Each algorithm rests on facts that a card shows: a list of actions, a model, a frequent "
        "reward. The table names representative pairs, not laws; take the habit of asking for "
        "these facts before choosing.",
)
