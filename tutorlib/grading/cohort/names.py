"""Names that come from outside: learner ids, file names, table cells, text from learners' code."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

from tutorlib.syllabus import UNITS

# What follows the two numbers is the learner's own file name, which must not name another learner
_CANVAS = re.compile(r"(?P<name>[^_]+)(?P<late>_late)?_(?P<id>\d+)_\d+(_.*)?", re.IGNORECASE)
_MOODLE = re.compile(r"(?P<name>[^_]+)_(?P<id>\d+)_assignsubmission_file(_.*)?", re.IGNORECASE)
_GRADESCOPE = re.compile(r"submission_(?P<id>\d+)", re.IGNORECASE)
_UNIT_STEM = re.compile("|".join(rf"{u.stem}|{u.slug}" for u in UNITS), re.IGNORECASE)
_COPY = re.compile(r"[ _-]*(\(\d+\)|-\d+|-?copy\d*)$", re.IGNORECASE)
_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n")
NAME_LIMIT = 120


@dataclass(frozen=True)
class Learner:
    """Who handed something in, as far as a folder or file name tells."""

    id: str  # what gradebooks know: the platform's number where the name holds it
    name: str  # for people
    late: bool = False  # the platform marked it so in the name


def learner_of(label: str) -> Learner:
    """Read a learner off a folder's name or a notebook's, as platforms write them.

    Canvas writes ``name[_late]_ID_NUMBER_file``, Moodle ``Full Name_ID_assignsubmission_file_``
    (and the file's own name after it, when asked not to make folders).
    A unit's name is left out; anything else is the id as it stands.

    >>> learner_of("doejane_LATE_4711_99_06_maxent_irl")
    Learner(id='4711', name='doejane', late=True)
    >>> learner_of("alice_06_maxent_irl").id
    'alice'
    """
    text = clean_text(label, NAME_LIMIT).strip()
    moodle = _MOODLE.fullmatch(text)
    if moodle:
        return Learner(moodle["id"], moodle["name"].strip())
    gradescope = _GRADESCOPE.fullmatch(text)
    if gradescope:
        return Learner(gradescope["id"], text)
    canvas = _CANVAS.fullmatch(text)
    if canvas:
        return Learner(canvas["id"], canvas["name"], bool(canvas["late"]))
    if _UNIT_STEM.search(text):  # only there: "student-1" is nobody's copy
        text = _COPY.sub("", text) or text
    bare = _UNIT_STEM.sub("", text).strip(" _-.") or text
    return Learner(bare, bare)


def names_a_unit(label: str) -> str:
    """Return the number of the unit that a file name names, or nothing.

    >>> names_a_unit("06_maxent_irl-copy1"), names_a_unit("essay")
    ('06', '')
    """
    found = _UNIT_STEM.search(label)
    if not found:
        return ""
    text = found[0].lower()
    return next(u.number for u in UNITS if text in (u.stem, u.slug))


def is_bare_unit(label: str) -> bool:
    """Whether a file name holds a unit's name and nothing of a learner."""
    return not _UNIT_STEM.sub("", _COPY.sub("", label)).strip(" _-.0123456789")


def safe_name(text: str) -> str:
    """Return a file name for any text: its plain letters, with a digest where some were lost.

    Capitals get one too: some file systems do not tell "Anna" from "anna".

    >>> safe_name("alice"), safe_name("../../etc/passwd")
    ('alice', 'etc_passwd-3754d6cb')
    """
    plain = re.sub(r"[^A-Za-z0-9._@-]+", "_", text).strip("._-")[:60]
    if plain == text == text.lower() and plain not in _DEVICES:
        return plain
    return f"{plain or 'learner'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(10))}


def clean_text(text, limit: int) -> str:
    """Return text fit for a record: no lone surrogates, no control characters, at most ``limit``.

    >>> clean_text("a\\x00b\\x1b[31m\\ud800c", 99)
    'ab[31m?c'
    """
    text = str(text)
    cut = text[:limit] + (f"... ({len(text) - limit:,} more characters)" * (len(text) > limit))
    cut = cut.encode("utf-8", "replace").decode("utf-8")
    return "".join(c for c in cut
                   if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def table_cell(value) -> str:
    """Return a value as a spreadsheet may have it: text that begins as a formula gets a quote.

    >>> table_cell("=1+1"), table_cell(-0.5), table_cell("anna")
    ("'=1+1", '-0.5', 'anna')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:g}"
    text = clean_text(value, 1000).replace("\n", " ")
    return f"'{text}" if text.lstrip(" ").startswith(_RISKY) or text.startswith(_RISKY) else text
