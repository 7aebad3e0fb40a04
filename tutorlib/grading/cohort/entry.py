"""One file of a submission, not read yet, and how much of it is read at most."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.names import clean_text

MEGABYTE = 1 << 20
FILE_LIMIT = 20 * MEGABYTE  # of one notebook
TOTAL_LIMIT = 4096 * MEGABYTE  # of all notebooks in one zip, unpacked
COUNT_LIMIT = 50_000  # entries of a zip or files below a folder
DEPTH_LIMIT = 6
METADATA = "submission_metadata.yml"  # Gradescope's, of who handed in what
LINKED = "it is a link to another file, which is not followed; hand in the notebook itself"


class EntryError(GradingError):
    """One file of a submission cannot be read; the message is for its learner."""


@dataclass(frozen=True)
class Entry:
    """A file somewhere in the submissions, not read yet."""

    parts: tuple[str, ...]  # of its path below the submissions; harmless as text, never opened
    read: Callable[[], bytes]  # raises EntryError
    modified: tuple[int, ...] = ()  # (year, month, day, hour, minute, second) as its source says
    owned: bool = False  # it was in a learner's own zip, whose folders say nothing of learners
    notebook: bool = True  # False: another kind of file, which is only named

    @property
    def path(self) -> str:
        """The path as people read it."""
        return "/".join(self.parts)


def bounded(data: bytes) -> bytes:
    """Return data that is within the limit."""
    if len(data) > FILE_LIMIT:
        raise EntryError(f"it is larger than {FILE_LIMIT // MEGABYTE} MB; clear its outputs "
                         "(Edit, Clear Outputs of All Cells) and hand it in again")
    return data


def bad(parts: tuple[str, ...], reason: str, notebook: bool = True) -> Entry:
    """Return an entry that can only say what is wrong with it."""
    def refuse() -> bytes:
        raise EntryError(reason)

    return Entry(parts or ("unnamed",), refuse, notebook=notebook)


def other(parts: tuple[str, ...]) -> Entry:
    """Return the entry of a file that is no notebook."""
    return bad(parts, "it is not a notebook (.ipynb)", notebook=False)


def plain(name: str) -> str:
    """Return one part of a path as harmless text, letters written the same way everywhere."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return clean_text(unicodedata.normalize("NFC", text), 200) or "_"
