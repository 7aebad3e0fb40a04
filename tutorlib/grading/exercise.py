"""What an exercise is: its task, its truth, and the mistakes that it knows.

One definition serves the notebook's ``check``, the built worksheets and the tests that prove the
grader itself. A grader looks at values only: it calls the learner's answer and compares what comes
back. It never reads the learner's source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tutorlib.errors import LessonError

_ID = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")
MISSING: Any = ...  # marks an expected value that the oracle still has to fill in


@dataclass(frozen=True)
class Case:
    """One call of the learner's function, and the value it should return."""

    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    expected: Any = MISSING  # typed by hand for the hand example, else filled by the oracle
    note: str = ""  # what the case is about, shown to the learner


@dataclass(frozen=True)
class Property:
    """A law every right answer obeys. ``holds(answer, case)`` returns None or what was violated."""

    name: str
    holds: Callable[[Callable, Case], str | None]


@dataclass(frozen=True)
class Mutant:
    """A wrong answer that learners really give, with the message that helps them mend it."""

    name: str
    answer: Any
    message: str


@dataclass(frozen=True)
class Variant:
    """A right answer in another style (loops, numpy, an equivalent form); it must pass."""

    name: str
    answer: Any


def torch_generator(seed: int) -> Any:
    """Return a ``torch.Generator``; without torch, ``numpy.random.default_rng`` does."""
    import torch

    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Exercise:
    """A graded task: what the learner reads, and the five parts of its grader.

    The oracle must be independent of ``reference`` and of the lesson's solution: enumeration, a
    linear solve, finite differences, a closed form, another library.
    """

    id: str  # "unit_slug.answer_name"; the answer's name is the part behind the dot
    title: str
    points: int
    minutes: int
    difficulty: int  # 1 (warm-up) to 5
    reference: Any  # used in place of an answer that does not pass, so that the lesson goes on
    oracle: Callable  # called with a case's arguments; without arguments for a value exercise
    mutants: tuple[Mutant, ...]
    variants: tuple[Variant, ...]
    hints: tuple[str, str, str]  # concept; formula with shapes; skeleton (markdown)
    why: str  # why the solution works (markdown, shown in solutions/)
    kind: str = "function"  # or "value": a dict, list or number instead of a function
    hand: Case | None = None  # function exercises need one; its expected value is worked by hand
    cases: Callable[[Any], Sequence[Case]] | None = None  # random cases from a generator
    generator: Callable[[int], Any] = torch_generator  # that of a seed
    properties: tuple[Property, ...] = ()
    index_names: Callable[[Case, tuple[int, ...]], str | None] | None = None  # an index in words
    compare: Callable[[Any, Any], str | None] | None = None  # own comparison: None, or what differs
    rtol: float = 1e-6
    atol: float = 1e-8
    time_limit: float = 5.0  # seconds for each call of the learner's code
    figure: Callable[[Any], Any] | None = None  # answer -> Picture, shown after success
    forbidden: tuple[str, ...] = ()  # tutorlib functions that would answer it, for cohort grading

    def __post_init__(self):
        """Refuse a definition that could not grade anybody."""
        for fault in _faults(self):
            raise LessonError(f"exercise {self.id!r}: {fault}")

    @property
    def unit(self) -> str:
        """Slug of the unit this exercise belongs to."""
        return self.id.split(".")[0]

    @property
    def name(self) -> str:
        """Name of the function or value that the learner defines."""
        return self.id.split(".")[1]

    def hand_case(self) -> Case:
        """Return the worked example, or for a value exercise the one empty case."""
        return self.hand if self.hand is not None else with_expected(self, Case())

    def random_cases(self, seed: int) -> list[Case]:
        """Return the random cases of ``seed``, with the oracle's values filled in."""
        if self.cases is None:
            return []
        return [with_expected(self, case) for case in self.cases(self.generator(seed))]


def with_expected(exercise: Exercise, case: Case) -> Case:
    """Return ``case`` with its expected value: its own if given, else the oracle's."""
    if case.expected is not MISSING:
        return case
    from tutorlib.grading.truth import expected_value

    return replace(case, expected=expected_value(exercise.oracle, case.args, case.kwargs))


def _faults(exercise: Exercise):
    """Yield what is wrong with a definition, most basic first."""
    if not _ID.fullmatch(exercise.id):
        yield "the id must read unit_slug.answer_name, in lower case"
    if exercise.kind not in ("function", "value"):
        yield f"kind must be 'function' or 'value', not {exercise.kind!r}"
    if exercise.kind == "function" and (exercise.hand is None or exercise.cases is None):
        yield "a function exercise needs a hand example and random cases"
    if len(exercise.hints) != 3:
        yield f"three hints are expected (concept, formula, skeleton), not {len(exercise.hints)}"
    if not 1 <= exercise.difficulty <= 5:
        yield f"difficulty runs from 1 to 5, not {exercise.difficulty}"
    if exercise.hand is not None and exercise.hand.expected is MISSING:
        yield "the hand example needs its expected value, worked by hand"
    names = [m.name for m in exercise.mutants] + [v.name for v in exercise.variants]
    if len(set(names)) != len(names):
        yield "two mutants or variants share a name"
