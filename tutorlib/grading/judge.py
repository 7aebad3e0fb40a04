"""Judge an answer: the stages of a check, in the order in which they are reported.

not attempted -> raises, never returns, changes its inputs -> type, shape, dtype -> hand example ->
property -> random instance. When something differs, the known mistakes (mutants) are run on the
same cases; a mistake whose values are the learner's on every case is named.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field

from tutorlib.grading.compare import Difference, compare
from tutorlib.grading.exercise import Case, Exercise, Mutant
from tutorlib.grading.guard import (
    Call,
    TimeLimitReached,
    call,
    copy_value,
    same,
    unchanged_random_numbers,
)
from tutorlib.grading.truth import kept

PASSED, FAILED, NOT_ATTEMPTED = "passed", "not passed", "not attempted"
STUB_MESSAGE = "write your answer here"
DEFAULT_SEED = 20_250_713


@dataclass(frozen=True)
class Result:
    """The judgement of one answer."""

    exercise: Exercise
    outcome: str  # PASSED, FAILED or NOT_ATTEMPTED
    stage: str = ""  # the first stage that failed
    message: str = ""  # what went wrong there, in a sentence
    details: tuple[str, ...] = ()  # further lines: the learner's own lines, places, notes
    case: Case | None = None  # the case on which it failed
    got: object = None
    mistake: Mutant | None = None  # the known mistake that gives the same values
    certain: bool = True  # whether on every case, or only on the case that is shown and others
    printed: str = ""
    seconds: float = 0.0  # spent in the learner's own code
    cases_run: int = 0
    verdicts: tuple[str, ...] = ()  # one per case, the hand example first, as ``_Trial.verdict``


@dataclass
class _Trial:
    """One case, and what the learner's answer made of it."""

    case: Case
    call: Call
    difference: Difference | None = field(default=None)

    @property
    def clean(self) -> bool:
        """Whether the call returned, on time, and left its arguments alone."""
        return self.call.error is None and not self.call.changed

    @property
    def right(self) -> bool:
        """Whether the call was clean and its value is the expected one."""
        return self.clean and self.difference is None

    @property
    def verdict(self) -> str:
        """What came of this case, in a word or two."""
        if self.call.error is not None:
            return "time limit" if self.call.timed_out else "error"
        return "right" if self.right else "changed inputs" if self.call.changed else "wrong"


@unchanged_random_numbers()
def evaluate(exercise: Exercise, answer, seed: int = DEFAULT_SEED,
             patience: float = 1.0, hand_case: bool = True) -> Result:
    """Judge ``answer`` on the hand example, the properties and the random cases of ``seed``.

    Without ``hand_case``, where it has been judged before, on the random cases alone.
    ``patience`` says how many times its limit a call may take by the clock on the wall, where
    something else limits what it computes.
    """
    if answer is None or answer is ...:
        return Result(exercise, NOT_ATTEMPTED)
    if exercise.kind == "value":
        return _judge_value(exercise, answer)
    if not callable(answer):
        return Result(exercise, FAILED, "type", "a function was expected, but this is of "
                      f"type {type(answer).__name__}; pass the function itself, without calling it")
    trials = []
    if hand_case:
        trials.append(_try(exercise, answer, exercise.hand_case(), patience))
        if _is_stub(trials[0].call.error):
            return Result(exercise, NOT_ATTEMPTED, printed=trials[0].call.printed)
    if not any(trial.call.timed_out for trial in trials):
        for case in exercise.random_cases(seed):
            trials.append(_try(exercise, answer, case, patience))
            if trials[-1].call.timed_out:
                break
    return _judge(exercise, answer, trials, patience, hand_case)


def _try(exercise: Exercise, answer, case: Case, patience: float) -> _Trial:
    """Call the answer on one case and compare what comes back."""
    outcome = call(answer, case.args, case.kwargs, patience * exercise.time_limit)
    trial = _Trial(case, outcome)
    if outcome.error is None:
        trial.difference = difference(exercise, outcome.value, case.expected)
    return trial


def difference(exercise: Exercise, got, want) -> Difference | None:
    """Compare one value by the exercise's own rule if it has one, else entry by entry."""
    if exercise.compare is not None:
        outcome = call(exercise.compare, (got, want), {}, exercise.time_limit)
        if outcome.error is not None:
            return Difference("type", "this value cannot be compared with the expected one "
                                      f"({type(outcome.error).__name__}: {outcome.error})"[:300])
        return None if outcome.value is None else Difference("value", str(outcome.value))
    return compare(got, want, exercise.rtol, exercise.atol)


def _judge_value(exercise: Exercise, answer) -> Result:
    """Judge an answer that is a value: one case, no call."""
    case = exercise.hand_case()
    trial = _Trial(case, Call(answer), difference(exercise, answer, case.expected))
    if trial.right:
        return Result(exercise, PASSED, cases_run=1, verdicts=("right",))
    mistake = _recognise(exercise, [trial])
    found = trial.difference
    return Result(exercise, FAILED, found.kind, found.message, (), None, answer, mistake,
                  verdicts=("wrong",))


def _judge(exercise: Exercise, answer, trials: list[_Trial], patience: float,
           hand_case: bool) -> Result:
    """Find the first stage that fails, and name the mistake if it is a known one."""
    seconds = sum(t.call.seconds for t in trials)
    printed = next((t.call.printed for t in trials if t.call.printed), "")
    verdicts = tuple(trial.verdict for trial in trials)
    found = _first_failure(exercise, answer, trials, patience, hand_case)
    if found is None:
        return Result(exercise, PASSED, printed=printed, seconds=seconds, cases_run=len(trials),
                      verdicts=verdicts)
    stage, trial, message, details = found
    mistake = _recognise(exercise, trials)
    certain = mistake is not None
    if mistake is None and stage in ("hand example", "property", "random instance"):
        mistake = _resembled(exercise, trials)
    return Result(exercise, FAILED, stage, message, details, trial.case, trial.call.value,
                  mistake, certain, printed, seconds, len(trials), verdicts)


def _first_failure(exercise: Exercise, answer, trials: list[_Trial], patience: float,
                   hand_case: bool):
    """Return (stage, trial, message, details) of the first failing stage, or None."""
    for trial in trials:
        if not trial.clean:
            return _unclean(exercise, trial)
    for trial in trials:
        if trial.difference is not None and trial.difference.kind in ("type", "shape", "dtype"):
            return trial.difference.kind, trial, trial.difference.message, ()
    if hand_case and trials[0].difference is not None:
        return "hand example", trials[0], _in_words(exercise, trials[0]), ()
    for trial in trials:
        for law in exercise.properties:
            violated = _violation(exercise, law, answer, trial.case, patience)
            if violated is not None:
                return "property", trial, f"{law.name}: {violated}", ()
    for trial in trials:
        if trial.difference is not None:
            return "random instance", trial, _in_words(exercise, trial), ()
    return None


def _unclean(exercise: Exercise, trial: _Trial):
    """Describe a call that raised, ran out of time or changed its arguments."""
    outcome = trial.call
    details = (outcome.where,) if outcome.where else ()
    if outcome.timed_out:
        return "time limit", trial, (f"your code was stopped at its limit of "
                                     f"{exercise.time_limit:g} seconds for a call; does a loop "
                                     "never end?"), details
    if outcome.error is not None:
        kind = type(outcome.error).__name__
        return "error", trial, f"your code raised {kind}: {str(outcome.error)[:500]}", details
    changed = " and ".join(_parameter(exercise, name) for name in outcome.changed)
    return "changed inputs", trial, (f"your code changed {changed} in place; work on a copy "
                                     "(for a tensor: x.clone())"), details


def _parameter(exercise: Exercise, place: str) -> str:
    """Name an argument as the task does: "argument 3" becomes `values`."""
    names = list(inspect.signature(exercise.reference).parameters)
    number = place.removeprefix("argument ")
    known = number.isdigit() and int(number) <= len(names)
    return f"`{names[int(number) - 1]}`" if known else place


def _violation(exercise: Exercise, law, answer, case: Case, patience: float) -> str | None:
    """Return how ``answer`` breaks ``law`` on this case, or None."""
    seconds = 4 * patience * exercise.time_limit
    given = (_unaltering(answer), copy_value(case))  # what becomes of it is nobody's concern
    outcome = call(law.holds, given, {}, seconds, copied=False)
    if outcome.error is not None:
        return f"it could not be tested, {type(outcome.error).__name__}: {outcome.error}"[:300]
    return outcome.value


def _unaltering(answer):
    """Return ``answer`` as laws call it: what it is given must be there afterwards.

    A law compares values with its inputs; an answer that changed these could make any law hold.
    """
    def answer_of(*args, **kwargs):
        before = copy_value((args, kwargs))
        value = answer(*args, **kwargs)
        if not same(before, (args, kwargs)):
            raise ValueError("your code changed its inputs in place; work on a copy")
        return value

    return answer_of


def _in_words(exercise: Exercise, trial: _Trial) -> str:
    """Return the difference with the meaning of its first index."""
    found = trial.difference
    if not found.index:  # a single number, or not an array at all
        return found.message
    named = None
    if exercise.index_names is not None:
        named = call(exercise.index_names, (trial.case, found.index), {}, 1.0).value
    index = found.index if len(found.index) > 1 else found.index[0]
    return f"{found.message} at index {index}" + (f" ({named})" if named else "")


def _recognise(exercise: Exercise, trials: list[_Trial]) -> Mutant | None:
    """Return the first known mistake that behaves like the learner on every case, or None."""
    if all(trial.right for trial in trials):
        return None
    return next((m for m in exercise.mutants if _behaves_alike(exercise, m, trials)), None)


def _behaves_alike(exercise: Exercise, mutant: Mutant, trials: list[_Trial]) -> bool:
    """Whether the mutant gives the learner's values (or error, or side effect) on every case."""
    if exercise.kind == "value":
        return difference(exercise, trials[0].call.value, copy_value(mutant.answer)) is None
    return all(_alike(exercise, mutant, trial) for trial in trials)


def _resembled(exercise: Exercise, trials: list[_Trial]) -> Mutant | None:
    """Return a mistake that explains at least half of the wrong values, the first one among them.

    Two mistakes at once, or one in another guise, agree with a known one on some cases only.
    """
    wrong = [trial for trial in trials if not trial.right]
    for mutant in exercise.mutants if wrong else ():
        if not _alike(exercise, mutant, wrong[0]):
            continue
        if 2 * (1 + sum(_alike(exercise, mutant, trial) for trial in wrong[1:])) >= len(wrong):
            return mutant
    return None


def _alike(exercise: Exercise, mutant: Mutant, trial: _Trial) -> bool:
    """Whether the mutant does to this case what the learner's answer did."""
    mine = trial.call
    error, changed, value = _outcome(mutant, trial.case, exercise.time_limit)
    if error != _kind(mine.error) or changed != mine.changed:
        return False
    try:
        return mine.error is not None or compare(
            mine.value, value, exercise.rtol, exercise.atol) is None
    except Exception:
        return False


def _outcome(mutant: Mutant, case: Case, seconds: float) -> tuple:
    """Return (kind of error, changed arguments, value) of a known mistake on a case."""
    def ask() -> tuple:
        outcome = call(mutant.answer, case.args, case.kwargs, seconds)
        return _kind(outcome.error), outcome.changed, outcome.value

    return kept(mutant.answer, case.args, case.kwargs, ask,
                lambda outcome: outcome[0] != _kind(TimeLimitReached()))


def _kind(error: BaseException | None) -> str:
    """Name an error's type so that no other type has the name."""
    return "" if error is None else f"{type(error).__module__}.{type(error).__qualname__}"


def _is_stub(error: BaseException | None) -> bool:
    """Whether this is the untouched worksheet's own NotImplementedError."""
    return type(error) is NotImplementedError and error.args in ((), (STUB_MESSAGE,))
