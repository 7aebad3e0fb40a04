"""Who handed in which notebook: one submission per learner and unit, whatever its state."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.entry import METADATA, Entry, EntryError
from tutorlib.grading.cohort.gradescope import HandedIn, handed_in, without_wrapper
from tutorlib.grading.cohort.names import Learner, is_bare_unit, learner_of, names_a_unit
from tutorlib.grading.cohort.sources import entries
from tutorlib.syllabus import UNITS, Unit

COLLECTED = "collected.json"  # written by ``tutorlib collect`` into its folder
_UNIT_MARK = re.compile(rb'"unit":\s*"(\d\d)"')
_DEFINED = re.compile(rb'(?:"|\\n)def (\w+)\(')  # at the left margin, in a notebook's JSON
_NOBODYS = {COLLECTED, METADATA}
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
    submitted: datetime | None = None  # where the platform tells it

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
    others: tuple[str, ...] = ()  # files of those who handed in no notebook at all


def gather(source: str | Path, units: Sequence[Unit], learner: Learner | None = None) -> Intake:
    """Return the submissions for ``units`` in a folder or zip, one per learner and unit.

    A notebook at the top is its learner's, named in its file name; one in a folder belongs to the
    learner whom the top folder names, unless all of it is ``learner``'s. Of a collection, the
    learners are those that were noted, of Gradescope's download those whom it names. Raises
    ``GradingError`` when there is nothing to read.
    """
    found, left_out, others, owners = [], [], [], set()
    noted, wanted = _noted(Path(source)), {unit.number for unit in units}
    files = without_wrapper(entries(source))
    told = handed_in(files)
    for entry in files if told else _below_wrapper(files):
        label = entry.parts[0] if len(entry.parts) > 1 else _stem(entry)
        owner = learner or noted.learners.get(label) or learner_of(label)
        handed = HandedIn((owner,)) if learner else told.get(label, HandedIn((owner,)))
        if not entry.notebook:
            others += [(who.id, entry.path) for who in handed.learners]
            continue
        owners |= {who.id for who in handed.learners}
        submissions = [noted.told(_submission(entry, units, who)) for who in handed.learners]
        if submissions[0].unit and submissions[0].unit not in wanted:
            left_out.append(entry.path)
        else:
            found += [replace(one, submitted=handed.submitted) for one in submissions]
    alone = [path for who, path in others if who not in owners and path not in _NOBODYS]
    return Intake(tuple(_one_each(found)), tuple(left_out), tuple(alone))


def _below_wrapper(found: list[Entry]) -> list[Entry]:
    """Leave out a folder that all learners' files lie in, as a zip of a folder has."""
    books = [entry for entry in found if entry.notebook]
    if len({entry.parts[0] for entry in books}) != 1 or any(entry.owned for entry in books):
        return found
    deep = all(len(entry.parts) > 2 for entry in books)
    own_names = all(len(e.parts) == 2 and not is_bare_unit(_stem(e)) for e in books)
    if (deep and len({e.parts[1] for e in books}) > 1) or (own_names and len(books) > 1):
        top = books[0].parts[0]
        return [replace(e, parts=e.parts[1:]) if e.parts[0] == top and e.parts[1:] else e
                for e in found]
    return found


def _stem(entry: Entry) -> str:
    """Return a file's name without its ending."""
    return Path(entry.parts[-1]).stem


@dataclass(frozen=True)
class _Noted:
    """What ``tutorlib collect`` noted of a collection; nothing for any other folder."""

    learners: Mapping[str, Learner] = field(default_factory=dict)  # by folder
    submissions: Mapping[str, dict] = field(default_factory=dict)  # by key

    def told(self, submission: Submission) -> Submission:
        """Return a submission with what was noted of it, unless its file was replaced since."""
        entry = self.submissions.get(submission.key, {})
        digest = hashlib.sha256(b"").hexdigest() if entry.get("unread") else entry.get("sha256")
        if submission.problem or digest != submission.sha256:
            return submission
        told = _with_note(submission, tuple(str(note) for note in entry.get("notes", ())))
        return replace(told, problem=str(entry["problem"])) if entry.get("unread") else told


def _noted(source: Path) -> _Noted:
    """Read what was noted when a collection was made."""
    path = source / COLLECTED
    if not path.is_file():
        return _Noted()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        learners = {folder: Learner(str(who["id"]), str(who["name"]))
                    for folder, who in content["learners"].items()}
        return _Noted(learners, {str(k): dict(v) for k, v in content["submissions"].items()})
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
    unit = unit_in(data) or named or only or _unit_by_names(data, units)
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


def _unit_by_names(data: bytes, units: Sequence[Unit]) -> str:
    """Return the number of the unit most of whose answers a notebook defines by name, if one."""
    from tutorlib.grading.registry import unit_exercises

    defined = set(_DEFINED.findall(data))
    counts = {unit.number: sum(e.name.encode() in defined for e in unit_exercises(unit.slug))
              for unit in units} if defined else {}
    most = max(counts.values(), default=0)
    best = [number for number, count in counts.items() if count == most]
    return best[0] if most and len(best) == 1 else ""


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
