"""Who handed in which notebook: one submission per learner and unit, whatever its state."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.names import Learner, is_bare_unit, learner_of, names_a_unit
from tutorlib.grading.cohort.sources import Entry, EntryError, entries
from tutorlib.syllabus import UNITS, Unit

COLLECTED = "collected.json"  # written by ``tutorlib collect`` into its folder
_UNIT_MARK = re.compile(rb'"unit":\s*"(\d\d)"')
_EXERCISE_MARK = re.compile(rb"# exercise: ([a-z0-9_]+)\.[a-z0-9_]+")


@dataclass(frozen=True)
class Submission:
    """One notebook of one learner for one unit, or the reason why there is none to grade."""

    learner: Learner
    unit: str  # number; empty when nothing tells it
    path: str  # inside the submissions
    sha256: str = ""
    problem: str = ""  # why it cannot be graded, for the learner
    notes: tuple[str, ...] = ()
    entry: Entry | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> str:
        """What tells submissions apart."""
        return f"{self.learner.id}/{self.unit or '??'}"

    def read(self) -> bytes:
        """Return the notebook's bytes. Raises ``EntryError`` when they are not to be had."""
        if self.entry is None:
            raise EntryError(self.problem)
        return self.entry.read()


@dataclass(frozen=True)
class Intake:
    """What was found in a folder or zip of submissions."""

    submissions: tuple[Submission, ...]  # sorted by learner and unit
    left_out: tuple[str, ...] = ()  # notebooks of units that were not asked for


def gather(source: str | Path, units: Sequence[Unit], learner: Learner | None = None) -> Intake:
    """Return the submissions for ``units`` in a folder or zip, one per learner and unit.

    A notebook at the top is its learner's, named in its file name; one in a folder belongs to the
    learner whom the top folder names, unless all of it is ``learner``'s. Of a collection, the
    learners are those that were noted. Raises ``GradingError`` when there is nothing to read.
    """
    found, left_out = [], []
    noted = _noted(Path(source))
    wanted = {unit.number for unit in units}
    for entry in _below_wrapper(entries(source)):
        label = entry.parts[0] if len(entry.parts) > 1 else _stem(entry)
        submission = _submission(entry, units, learner or noted.get(label) or learner_of(label))
        if submission.unit and submission.unit not in wanted:
            left_out.append(submission.path)
        else:
            found.append(submission)
    return Intake(tuple(_one_each(found)), tuple(left_out))


def _below_wrapper(found: list[Entry]) -> list[Entry]:
    """Leave out a folder that all learners' files lie in, as a zip of a folder has."""
    if len({entry.parts[0] for entry in found}) != 1 or any(entry.owned for entry in found):
        return found
    deep = all(len(entry.parts) > 2 for entry in found)
    own_names = all(len(e.parts) == 2 and not is_bare_unit(_stem(e)) for e in found)
    if (deep and len({e.parts[1] for e in found}) > 1) or (own_names and len(found) > 1):
        return [Entry(e.parts[1:], e.read, e.modified) for e in found]
    return found


def _stem(entry: Entry) -> str:
    """Return a notebook's file name without its ending."""
    return re.sub(r"\.ipynb$", "", entry.parts[-1], flags=re.IGNORECASE)


def _noted(source: Path) -> dict[str, Learner]:
    """Return {folder: learner} of a collection; empty for any other folder."""
    path = source / COLLECTED
    if not path.is_file():
        return {}
    try:
        learners = json.loads(path.read_text(encoding="utf-8"))["learners"]
        return {folder: Learner(str(who["id"]), str(who["name"]))
                for folder, who in learners.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise GradingError(f"{path} cannot be read ({problem!r}); run `tutorlib collect` again"
                           ) from problem


def _submission(entry: Entry, units: Sequence[Unit], learner: Learner) -> Submission:
    """Read one notebook's bytes and say whose and which unit's it is."""
    named = names_a_unit(_stem(entry))
    only = units[0].number if len(units) == 1 else ""
    try:
        data = entry.read()
    except EntryError as problem:
        return Submission(learner, named or only, entry.path, problem=str(problem))
    unit = unit_in(data) or named or only
    problem = "" if unit else ("nothing tells which unit this notebook belongs to; keep the "
                               "worksheet's file name when handing in")
    digest = hashlib.sha256(data).hexdigest()
    return Submission(learner, unit, entry.path, digest, problem, (), entry)


def unit_in(data: bytes) -> str:
    """Return the number of the unit that a notebook says it belongs to, or nothing.

    >>> unit_in(b'{"metadata": {"tutorlib": {"product": "exercises", "unit": "06"}}}')
    '06'
    """
    known = {unit.number for unit in UNITS}
    marks = [m.decode() for m in _UNIT_MARK.findall(data) if m.decode() in known]
    if marks:
        return marks[-1]
    slugs = {unit.slug: unit.number for unit in UNITS}
    named = [slugs[m.decode()] for m in _EXERCISE_MARK.findall(data) if m.decode() in slugs]
    return max(sorted(set(named)), key=named.count) if named else ""


def _one_each(found: list[Submission]) -> list[Submission]:
    """Keep one notebook per learner and unit, and say which others there were.

    The worksheet's own file name comes first, then the latest in the order of names.
    """
    groups: dict[tuple[str, str], list[Submission]] = {}
    for submission in found:
        groups.setdefault((submission.learner.id, submission.unit), []).append(submission)
    kept = []
    for key in sorted(groups):
        group = sorted(groups[key], key=_preference)
        others = ", ".join(s.path for s in group[:-1])
        note = (f"{len(group)} notebooks were handed in for this unit; {group[-1].path} counts, "
                f"not {others}",) if others else ()
        kept.append(_with_note(group[-1], note))
    return kept


def _preference(submission: Submission) -> tuple:
    """Sort the notebook that counts to the end."""
    readable = not submission.problem
    stem = Path(submission.path).stem.lower()
    return readable, stem in {unit.stem for unit in UNITS}, submission.path


def _with_note(submission: Submission, notes: tuple[str, ...]) -> Submission:
    """Return the submission with notes."""
    return replace(submission, notes=submission.notes + notes) if notes else submission
