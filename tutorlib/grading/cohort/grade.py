"""Grade one notebook: every exercise of its unit, on the shown cases and then on hidden ones.

Full points or none for each exercise. What a learner may see of a hidden case is what was wrong
in kind: no inputs, no expected values, nothing that the code itself said or printed there.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.answers import Found, Script
from tutorlib.grading.cohort.cells import NotebookError, read_cells
from tutorlib.grading.cohort.names import clean_text
from tutorlib.grading.cohort.runners import Limits, OpenRunner, Runner
from tutorlib.grading.cohort.seeds import DRAWS, DrawnSeed, Seed
from tutorlib.grading.cohort.session import Session
from tutorlib.grading.exercise import Exercise
from tutorlib.grading.judge import DEFAULT_SEED, FAILED, NOT_ATTEMPTED, PASSED, Result, evaluate
from tutorlib.grading.report import call_text, show_value

HIDDEN_CASES = 3  # random ones, at least
MOST_NOTES = 5  # on statements that stopped, of one exercise
TEXT_LIMIT = 1500  # characters of anything that came from a learner's code
_ENDED = "ended its process"
ENDED = (f"running your answer cell {_ENDED}", f"your answer {_ENDED}",
         f"On a hidden case the answer {_ENDED}")
_STOPPED, _RAISED = "your answer cell stopped with ", "your code raised "
OUT_OF_MEMORY = (f"{_STOPPED}MemoryError", f"{_RAISED}MemoryError")

_NOWHERE = Found()
_IN_KIND = {
    "type": "the answer returned a value of the wrong type",
    "shape": "the answer returned a value of the wrong shape",
    "dtype": "the answer returned the wrong kind of number",
    "error": "the answer raised an error",
    "time limit": "the answer ran longer than it may",
    "changed inputs": "the answer changed its inputs in place; work on a copy",
    "hand example": "the answer was wrong on the hand example when it was called again",
    "random instance": "the answer returned wrong values",
}


@dataclass(frozen=True)
class Plan:
    """How notebooks are graded; the same for all of a cohort."""

    seed: Seed | DrawnSeed
    limits: Limits = field(default_factory=Limits)
    points: Mapping[str, float] = field(default_factory=dict)  # by exercise id, where not its own
    hints: bool = True  # whether feedback may show the first hint


def grade_notebook(data: bytes, exercises: Sequence[Exercise], plan: Plan,
                   open_runner: OpenRunner, done: Mapping[str, dict] | None = None,
                   begin: Callable[[str], None] = lambda exercise_id: None,
                   report: Callable[[dict], None] = lambda row: None) -> dict:
    """Return {"exercises": [a row each], "tier", "limits_hit"}; never raises for what it reads.

    ``done`` holds rows of an earlier try that was cut off; ``begin`` and ``report`` are told of
    each exercise as it starts and ends.
    """
    try:
        script = Script(read_cells(data), exercises)
    except NotebookError as problem:
        return unreadable(str(problem), exercises, plan)
    rows, session = [], Session(script, open_runner, plan.limits)
    for exercise in exercises:
        row = (done or {}).get(exercise.id)
        if row is None:
            begin(exercise.id)
            row = _graded(exercise, script, session, plan)
            report(row)
        rows.append(row)
        session.hit |= limits_of(row)
        if row["outcome"] != PASSED:
            session.put_right(exercise)
    return {"exercises": rows, "tier": session.tier, "limits_hit": sorted(session.hit)}


def limits_of(row: dict) -> set[str]:
    """Return the limits that a row's answer ran into, "time" and "memory"."""
    hit = {"time"} if row["stage"] == "time limit" else set()
    return hit | ({"memory"} if row["message"].startswith(OUT_OF_MEMORY) else set())


def lost(exercise: Exercise, plan: Plan, reason: str) -> dict:
    """Return the row of an exercise during which the grading process itself was ended."""
    return row(exercise, plan, FAILED, "error", reason, lost=True)


def unreadable(problem: str, exercises: Sequence[Exercise], plan: Plan) -> dict:
    """Return rows without points that say why nothing could be graded."""
    rows = [row(e, plan, FAILED, "notebook", problem) for e in exercises]
    return {"exercises": rows, "tier": "", "limits_hit": []}


def row(exercise: Exercise, plan: Plan, outcome: str, stage: str = "", message: str = "",
        found: Found = _NOWHERE, **more) -> dict:
    """Return what is recorded of one exercise."""
    points = plan.points.get(exercise.id, exercise.points)
    base = {
        "exercise": exercise.id, "title": exercise.title, "outcome": outcome,
        "points": points if outcome == PASSED else 0, "max_points": points,
        "stage": stage, "message": clean_text(message, TEXT_LIMIT), "hidden": False,
        "cell": found.cell, "found_by": found.by, "notes": list(found.notes),
        "mistake": None, "shown": {}, "cases": [], "hint": "",
    }
    if outcome == FAILED and plan.hints and stage not in ("notebook", "grader"):
        base["hint"] = exercise.hints[0]
    return base | more


def _graded(exercise: Exercise, script: Script, session: Session, plan: Plan) -> dict:
    """Grade one exercise."""
    found = script.found[exercise.id]
    if not found.cell:
        return row(exercise, plan, NOT_ATTEMPTED, "",
                   f"No cell of this notebook answers it: none is marked as its answer and none "
                   f"defines `{exercise.name}`.")
    if found.stub:
        return row(exercise, plan, NOT_ATTEMPTED, "", "", found)
    if session.late:
        return row(exercise, plan, FAILED, "time limit",
                   f"the notebook's {plan.limits.seconds:g} seconds were used up before this "
                   "exercise; see which answer above takes so long", found)
    for _ in range(2):
        runner, errors = session.open(exercise)
        try:
            result = _run(exercise, runner, found, errors, plan)
        finally:
            session.close(runner)
        if not runner.broken:
            return result
    raise GradingError("what makes boxes was ended twice while it ran this notebook")


def _run(exercise: Exercise, runner: Runner, found: Found, errors: list[str], plan: Plan) -> dict:
    """Grade the answer that a runner holds."""
    answer, trouble = _answer(exercise, runner)
    if runner.why:
        return row(exercise, plan, FAILED, "error",
                   f"{ENDED[0]}: {runner.why}", found)
    if answer is None:
        why = (f"{_STOPPED}{errors[0]}" if errors else trouble or
               f"your answer cell does not define `{exercise.name}`")
        return row(exercise, plan, FAILED, "error", why + _advice(why, plan), found)
    judged = _judged(exercise, answer, found, errors, plan, runner.patience)
    if runner.why and judged["stage"] not in ("time limit", ""):
        judged["message"] = (  # an exit code could carry what was seen
            f"{ENDED[2]}." if judged["hidden"] else f"{ENDED[1]}: {runner.why}")
    return judged


def _answer(exercise: Exercise, runner: Runner) -> tuple[object, str]:
    """Return the learner's function, as a plain function, or value; and why there is none."""
    try:
        found = runner.answer(exercise)
    except Exception as problem:  # a value that cannot leave its box, or a box that is gone
        return None, str(problem)
    if exercise.kind == "value" or not callable(found):
        return found, ""
    return lambda *args, **kwargs: found(*args, **kwargs), ""


def _judged(exercise: Exercise, answer, found: Found, errors: list[str], plan: Plan,
            patience: float) -> dict:
    """Judge an answer on the shown cases, and if it passes those, on hidden ones."""
    result = evaluate(exercise, answer, DEFAULT_SEED, patience)
    cases = [_case("shown", i, verdict) for i, verdict in enumerate(result.verdicts)]
    hidden = False
    if result.outcome == PASSED and exercise.kind == "function":
        result, more = _hidden(exercise, answer, plan, patience)
        cases, hidden = cases + more, True
    notes = [*found.notes, *(f"A statement of the cell stopped with {clean_text(e, 300)}; the "
                             "others were run." for e in errors[:MOST_NOTES])]
    told = _in_kind(result) if hidden else result.message + _advice(result.message, plan)
    message = told if result.outcome == FAILED else ""
    return row(exercise, plan, result.outcome, result.stage, message, found, notes=notes,
               cases=cases, hidden=hidden and result.outcome == FAILED,
               mistake=_mistake(result), shown={} if hidden else _shown(result))


def _hidden(exercise: Exercise, answer, plan: Plan,
            patience: float) -> tuple[Result, list[dict]]:
    """Judge on cases drawn from the secret seed, until there were enough or one fails."""
    cases, draws, count = [], 0, 0
    while True:
        seed = plan.seed.number(exercise.id, draws)
        result = evaluate(exercise, answer, seed, patience, hand_case=False)
        cases += [_case("hidden", i, verdict) for i, verdict in enumerate(result.verdicts, 1)]
        draws, count = draws + 1, count + len(result.verdicts)
        if result.outcome != PASSED or count >= HIDDEN_CASES or draws >= DRAWS:
            return result, cases


def _case(kind: str, index: int, verdict: str) -> dict:
    """Return what is recorded of one case."""
    return {"case": "hand example" if index == 0 else "random instance", "set": kind,
            "outcome": verdict}


def _in_kind(result: Result) -> str:
    """Say what was wrong on a hidden case without saying anything of the case."""
    if result.outcome == NOT_ATTEMPTED:
        return ""
    if result.stage == "property":
        law = next((p.name for p in result.exercise.properties
                    if result.message.startswith(p.name)), "")
        return f"On a hidden case a property did not hold: {law}."
    text = _IN_KIND.get(result.stage, "the answer was not right")
    if result.stage == "error":
        name = result.message.removeprefix(_RAISED).split(":")[0]
        known = isinstance(getattr(builtins, name, None), type)
        text += f" ({name})" if known else ""
    return f"On a hidden case {text}."


def _mistake(result: Result) -> dict | None:
    """Return the recognised mistake; its words are the exercise's own."""
    if result.mistake is None:
        return None
    return {"name": result.mistake.name, "message": result.mistake.message,
            "certain": result.certain}


def _shown(result: Result) -> dict:
    """Return the shown case: call, expected, got, the learner's lines and prints."""
    shown = {"printed": result.printed, "lines": "\n".join(result.details)}
    case = result.case
    if result.outcome == FAILED and case is not None:
        shown |= {"call": call_text(result.exercise, case), "note": case.note}
        if result.stage != "property":
            shown["want"] = show_value(case.expected)
            if result.stage not in ("error", "time limit"):
                shown["got"] = show_value(result.got)
    return {k: clean_text(v, TEXT_LIMIT) for k, v in shown.items() if v}


def _advice(message: str, plan: Plan) -> str:
    """Say what lies behind a missing name and behind missing memory.

    A name may be missing since only answer cells and what they name is run.
    """
    if message.startswith(OUT_OF_MEMORY):
        return (f". It asked for more than the {plan.limits.memory:,} MB of memory that an answer "
                "may take")
    if "NameError" not in message:
        return ""
    return (". The grader runs the answer cells, and from other cells the imports, functions and "
            "constants that they use: put what the answer computes with into its own cell")
