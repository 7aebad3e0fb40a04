"""Whose a submission in Gradescope's download is: a file beside its folders says it.

    submission_31337:
      :submitters:
      - :name: Ada
        :sid: '815'
        :email: ada@example.org
      :created_at: 2030-10-14 21:59:00.000000000 Z

Several submitters are a group, whose notebook counts for each of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.entry import METADATA, Entry
from tutorlib.grading.cohort.names import NAME_LIMIT, Learner, clean_text

_WRAPPER = re.compile(r"assignment_\d+_export")


@dataclass(frozen=True)
class HandedIn:
    """Who handed in a folder, and when."""

    learners: tuple[Learner, ...]
    submitted: datetime | None = None


def without_wrapper(found: Sequence[Entry]) -> list[Entry]:
    """Leave out the folder that all of a download lies in, if Gradescope named it.

    Another name could be the only learner's, who may hand in such a file too.
    """
    tops = {entry.parts[0] for entry in found if entry.notebook}
    if len(tops) != 1 or not _WRAPPER.fullmatch(*tops):
        return list(found)
    return [replace(e, parts=e.parts[1:]) if e.parts[0] in tops and e.parts[1:] else e
            for e in found]


def handed_in(found: Sequence[Entry]) -> dict[str, HandedIn]:
    """Return who handed in each folder, by its name; nothing where the file is not there.

    The learner's id is the student number, else the address, else the name. Raises
    ``GradingError`` for a file that cannot be read.
    """
    for entry in found:
        if entry.parts == (METADATA,) and not entry.owned:
            try:
                return _told(entry.read())
            except Exception as problem:  # YAML's own, those of broken zips, of other types
                raise GradingError(
                    f"{entry.path} cannot be read ({str(problem)[:200]}); take it away, and "
                    "learners go by the numbers of their folders") from problem
    return {}


def _told(data: bytes) -> dict[str, HandedIn]:
    """Read the file."""
    told = {}
    for folder, about in (_read(data) or {}).items():
        people = [_learner(who) for who in about[":submitters"]]
        if people:
            told[str(folder)] = HandedIn(tuple(people), _time(about.get(":created_at")))
    return told


def _learner(who: dict) -> Learner:
    """Return one submitter."""
    said = [clean_text(who.get(key) or "", NAME_LIMIT).strip() for key in (":sid", ":email",
                                                                          ":name")]
    known = [text for text in said if text]
    if not known:
        raise GradingError("a submitter without number, address and name")
    return Learner(known[0], known[-1])


def _time(said: object) -> datetime | None:
    """Return a time with its zone; what is no time counts as not told."""
    try:
        when = said if isinstance(said, datetime) else datetime.fromisoformat(str(said))
    except ValueError:
        return None
    return when if when.tzinfo else when.astimezone()


def _read(data: bytes) -> Any:
    """Return the plain values of a YAML file, those with a tag of Ruby's as if it had none."""
    import yaml  # few folders have such a file, and loading this takes a while

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        pass

    def plain_value(loader: Loader, tag: str, node: yaml.Node) -> object:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Loader.add_multi_constructor("!", plain_value)
    return yaml.load(data, Loader)
