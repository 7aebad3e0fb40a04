"""Exercise 04.4: Table 3 of Sun and van der Schaar (2025, section 2.3) as a decision tool."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import torch

from tutorlib.exercises.imitation_learning.loss import UNIT
from tutorlib.grading import Case, Exercise, Mutant, Property, Variant

QUESTIONS = ("dynamics", "external_reward", "learned_reward", "data")
TABLE = {  # setting: yes or no to each question; None where the table allows both
    "RL": (True, True, False, False),
    "Offline-RL": (False, False, None, True),
    "Imitation": (True, False, False, True),
    "Inverse-RL": (True, False, True, True),
    "Offline-IRL": (False, False, True, True),
    "LfD": (True, True, False, True),
    "Preference-based RL": (True, False, True, True),  # the data are preferences
}


def classify_setting(dynamics: bool, external_reward: bool, learned_reward: bool,
                     data: bool) -> list[str]:
    """Return the settings of Table 3 that fit four answers; several, one, or none."""
    given = (dynamics, external_reward, learned_reward, data)
    return [name for name, row in TABLE.items()
            if all(want is None or want == got for want, got in zip(row, given, strict=True))]


_PRINTED = {  # the table again, typed in as answers: which of the sixteen have a row at all
    (1, 1, 0, 0): ["RL"],
    (1, 1, 0, 1): ["LfD"],
    (1, 0, 0, 1): ["Imitation"],
    (1, 0, 1, 1): ["Inverse-RL", "Preference-based RL"],
    (0, 0, 0, 1): ["Offline-RL"],
    (0, 0, 1, 1): ["Offline-RL", "Offline-IRL"],
}


def read_off_the_table(dynamics, external_reward, learned_reward, data) -> list[str]:
    """Look the four answers up among those that occur."""
    return _PRINTED.get(tuple(map(int, (dynamics, external_reward, learned_reward, data))), [])


def all_sixteen(generator: torch.Generator) -> list[Case]:
    """Return every combination of answers, in an order drawn from the seed."""
    combinations = list(itertools.product((True, False), repeat=4))
    order = torch.randperm(16, generator=generator).tolist()
    return [Case(args=combinations[i]) for i in order]


def _names(found) -> set[str]:
    """Return the names of an answer in lower case: a list, one name alone, or nothing."""
    rows = [] if found is None else [found] if isinstance(found, str) else list(found)
    return {str(name).strip().lower() for name in rows}


def compare_settings(got, want) -> str | None:
    """Compare as sets, without regard to case; a single name counts as a list of one."""
    if got is not None and not isinstance(got, Iterable):
        return "a list of names is expected, like ['RL']; empty when no row fits"
    given, known = _names(got), {n.lower(): n for n in TABLE}
    unknown = sorted(given - set(known))
    if unknown:
        return f"{unknown[0]!r} is not among the rows: {list(TABLE)}"
    wanted = {name.lower() for name in want}
    missing, surplus = wanted - given, given - wanted
    if not missing and not surplus:
        return None
    parts = [f"missing: {', '.join(known[n] for n in sorted(missing))}"] * bool(missing)
    parts += [f"does not fit: {', '.join(known[n] for n in sorted(surplus))}"] * bool(surplus)
    return "; ".join(parts)


def no_evidence_no_setting(answer, case: Case) -> str | None:
    """Without an external reward and without data there is nothing to learn from."""
    for dynamics, learned in itertools.product((True, False), repeat=2):
        found = answer(dynamics, False, learned, False)
        if _names(found):
            return (f"dynamics {dynamics}, no reward, learned reward {learned}, no data: there is "
                    f"nothing to learn from, but you return {found!r}")
    return None


def every_row_is_found(answer, case: Case) -> str | None:
    """Each row's own answers lead to it, among others perhaps."""
    for name, row in TABLE.items():
        given = tuple(bool(entry) for entry in row)
        if name.lower() not in _names(answer(*given)):
            return f"the row {name} is not found by its own answers {given}"
    return None


def _looked_up(changes: dict, table: dict | None = None):
    """Return an answer that reads a table with some rows changed or left out (None)."""
    rows = {**(table or TABLE), **changes}

    def answer(dynamics, external_reward, learned_reward, data):
        given = (dynamics, external_reward, learned_reward, data)
        return [name for name, row in rows.items() if row is not None
                and all(w is None or w == g for w, g in zip(row, given, strict=True))]
    return answer


def _first_only(dynamics, external_reward, learned_reward, data):
    return classify_setting(dynamics, external_reward, learned_reward, data)[:1]


def _rl_otherwise(dynamics, external_reward, learned_reward, data):
    return classify_setting(dynamics, external_reward, learned_reward, data) or ["RL"]


def _dash_is_any(dynamics, external_reward, learned_reward, data):
    given = (dynamics, external_reward, learned_reward, data)
    return [name for name, row in TABLE.items()
            if all(got or not want for want, got in zip(row, given, strict=True))]


def _without(column: int):
    """Return an answer that does not ask one question."""
    return _looked_up({name: (*row[:column], None, *row[column + 1:])
                       for name, row in TABLE.items()})


MUTANTS = (
    Mutant("a_dash_is_any", _dash_is_any,
           "You read a dash as *does not matter*. It means no: Imitation, for one, has no external "
           "reward. Only \"✓ or –\" allows both."),
    Mutant("offline_rl_always_learns_a_reward", _looked_up(
               {"Offline-RL": (False, False, True, True)}),
           "Offline-RL is found with a learned reward only. The table allows both."),
    Mutant("offline_irl_forgotten", _looked_up({"Offline-IRL": None}),
           "Offline-IRL is missing: no dynamics, no external reward, a learned one, and data."),
    Mutant("rl_learns_a_reward", _looked_up({"RL": (True, True, None, False)}),
           "RL's dash under *learned reward* means no: with an external reward nothing is learned, "
           "and that combination has no row."),
    Mutant("lfd_learns_a_reward", _looked_up({"LfD": (True, True, None, True)}),
           "LfD's dash under *learned reward* means no: it has an external one."),
    Mutant("external_reward_ignored", _without(1),
           "`external_reward` is not used. It is what separates LfD from Imitation."),
    Mutant("learned_reward_ignored", _without(2),
           "`learned_reward` is not used. It is what separates Imitation from Inverse-RL."),
    Mutant("data_ignored", _without(3),
           "`data` is not used. It is what separates RL from LfD."),
    Mutant("one_name_only", _first_only,
           "You stop at the first row that fits. Two combinations of answers fit two rows each: "
           "the four questions cannot tell them apart, so return both."),
    Mutant("rl_otherwise", _rl_otherwise,
           "Where no row fits you answer RL. Ten of the sixteen combinations have no row: return "
           "an empty list."),
    Mutant("preferences_are_no_data", _looked_up(
               {"Preference-based RL": (True, False, True, False)}),
           "Preferences are data too: comparisons people made. So `data` is true for "
           "Preference-based RL."),
    Mutant("preferences_forgotten", _looked_up({"Preference-based RL": None}),
           "Preference-based RL is missing. It gives the same four answers as Inverse-RL: only the "
           "kind of data differs, and no question asks for it."),
    Mutant("imitation_learns_a_reward", _looked_up({"Imitation": (True, False, None, True)}),
           "Imitation fits with a learned reward too in your version. In the table that is what "
           "makes it Inverse-RL."),
    Mutant("offline_rl_never_learns_a_reward", _looked_up(
               {"Offline-RL": (False, False, False, True)}),
           "Offline-RL is found without a learned reward only. The table allows both: some "
           "methods fit a model of the reward to the logged data, some do not."),
    Mutant("offline_rl_needs_a_reward", _looked_up({"Offline-RL": (False, True, None, True)}),
           "You ask an external reward of Offline-RL. External means one that can be *queried* "
           "for new actions; offline there is only what was logged with the data."),
    Mutant("offline_irl_has_dynamics", _looked_up({"Offline-IRL": (True, False, True, True)}),
           "Offline-IRL needs no dynamics: offline means that nothing can be tried out."),
    Mutant("rl_with_data", _looked_up({"RL": (True, True, False, None)}),
           "You let RL have data as well. With reward, dynamics *and* demonstrations the row is "
           "LfD, learning from demonstrations."),
    Mutant("lfd_without_reward", _looked_up({"LfD": (True, None, False, True)}),
           "LfD has an external reward; demonstrations only help to find it. Without one the row "
           "is Imitation."),
    Mutant("imitation_and_inverse_rl_swapped", _looked_up(
               {"Imitation": (True, False, True, True), "Inverse-RL": (True, False, False, True)}),
           "Imitation and Inverse-RL are exchanged: inverse RL is the one that learns a reward."),
    Mutant("dynamics_ignored", _looked_up(
               {name: (None, *row[1:]) for name, row in TABLE.items()}),
           "`dynamics` is not used. Whether the world, or a model of it, can be tried out is what "
           "separates online from offline."),
    Mutant("by_data_alone", _looked_up(
               {name: (None, None, None, row[3]) for name, row in TABLE.items()}),
           "You look at the data alone. All four answers have to fit the row."),
)


def _ifs(dynamics, external_reward, learned_reward, data):
    found = []
    if dynamics and external_reward and not learned_reward:
        found.append("LfD" if data else "RL")
    if data and not external_reward:
        if dynamics:
            found += ["Inverse-RL", "Preference-based RL"] if learned_reward else ["Imitation"]
        else:
            found += ["Offline-RL"] + (["Offline-IRL"] if learned_reward else [])
    return found


def _a_set(dynamics, external_reward, learned_reward, data):
    return set(classify_setting(dynamics, external_reward, learned_reward, data))


def _names_alone(dynamics, external_reward, learned_reward, data):
    found = classify_setting(dynamics, external_reward, learned_reward, data)
    return found[0].lower() if len(found) == 1 else tuple(reversed(found))


CLASSIFY_SETTING = Exercise(
    id=f"{UNIT}.classify_setting",
    title="Which problem is it?",
    points=2, minutes=10, difficulty=2,
    reference=classify_setting,
    oracle=read_off_the_table,
    compare=compare_settings,
    hand=Case(args=(True, False, True, True), expected=["Inverse-RL", "Preference-based RL"],
              note="the world can be tried out, no reward is given, one is to be learned from "
                   "people's data"),
    cases=all_sixteen,
    properties=(
        Property("no evidence, no setting", no_evidence_no_setting),
        Property("every row is found", every_row_is_found),
    ),
    mutants=MUTANTS,
    variants=(
        Variant("a tree of ifs", _ifs),
        Variant("a set", _a_set),
        Variant("a name alone where one fits", _names_alone),
        Variant("a numpy array", lambda *given: np.array(classify_setting(*given))),
    ),
    hints=(
        "Write the table down as data: one row of four entries for each setting. A row fits when "
        "each entry agrees with the answer, or allows both. Collect *all* rows that fit.",
        "Rows as (dynamics, external, learned, data): RL 1 1 0 0; Imitation 1 0 0 1; Inverse-RL "
        "1 0 1 1; and so on. Offline-RL's third entry is *either*: store `None` for it, and let "
        "`want is None or want == got` decide.",
        "```python\n"
        "table = {\"RL\": (True, True, False, False), \"Offline-RL\": (False, False, None, True),\n"
        "         ...}\n"
        "given = (dynamics, external_reward, learned_reward, data)\n"
        "return [name for name, row in table.items()\n"
        "        if all(... for want, got in zip(row, given))]\n"
        "```",
    ),
    why="Four questions leave two pairs undecided. Inverse-RL and Preference-based RL differ in "
        "the *kind* of data, Offline-RL and Offline-IRL in whether rewards were logged with it. "
        "When you meet a problem, ask these two as well.",
)
