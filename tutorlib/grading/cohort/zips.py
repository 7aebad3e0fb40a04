"""The notebooks of a zip file: bounded, read in memory, never unpacked to disk.

A platform's download may hold a zip of each learner's own; these are looked into once.
"""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.entry import (
    COUNT_LIMIT,
    DEPTH_LIMIT,
    FILE_LIMIT,
    LINKED,
    MEGABYTE,
    METADATA,
    TOTAL_LIMIT,
    Entry,
    EntryError,
    bad,
    bounded,
    other,
    plain,
)

OWN_LIMIT = 200 * MEGABYTE  # of a learner's own zip, and of all notebooks in it
OWN_COUNT = 1_000  # entries of a learner's own zip
_UTF8 = 0x800  # the flag that says how a name is written

Opener = Callable[[], zipfile.ZipFile]


def of_zip(opened: Opener, name: str, above: tuple[str, ...] = (),
           nested: bool = False) -> Iterator[Entry]:
    """Yield what a zip holds; notebooks are unpacked one at a time, in memory, up to the limit.

    ``name`` is the zip's own, for messages; ``above`` are the parts of the path that it stands
    for. A zip in it is a learner's own and read too, unless this one is such (``nested``).
    """
    infos = _kept(opened).infolist()
    most, room = (OWN_COUNT, OWN_LIMIT) if nested else (COUNT_LIMIT, TOTAL_LIMIT)
    if len(infos) > most:
        raise GradingError(f"{name} holds more than {most:,} entries")
    for info in infos:
        raw = _name(info).replace("\\", "/")
        pieces = [piece for piece in raw.split("/") if piece not in ("", ".")]
        if info.is_dir() or not pieces or any(p.startswith((".", "__MACOSX")) and p != ".."
                                              for p in pieces):
            continue
        parts = (*above, *(plain(p) for p in pieces if p != ".."))
        wrong = _refusal(info, raw, pieces)
        if raw.lower().endswith(".zip") and not wrong and not nested:
            yield from _of_inner(opened, info, parts)
        elif raw.lower().endswith(".ipynb") or wrong == LINKED:
            room -= min(info.file_size, FILE_LIMIT)
            yield _of_member(opened, info, parts, wrong, room < 0)
        elif pieces[-1] == METADATA:
            yield replace(_of_member(opened, info, parts, wrong, False), notebook=False)
        else:
            yield other(parts)


def own_zip(opened: Opener, parts: tuple[str, ...], modified: tuple[int, ...]) -> list[Entry]:
    """Return what a learner's own zip holds; one that cannot be read is an entry that says so.

    Its entries are as old as the zip: the dates in it are the learner's own.
    """
    above = (*parts[:-1], PurePosixPath(parts[-1]).stem)
    try:
        return [replace(entry, modified=modified, owned=True)
                for entry in of_zip(opened, parts[-1], above, nested=True)]
    except (GradingError, zipfile.BadZipFile, OSError, NotImplementedError) as problem:
        return [bad(parts, f"the zip file cannot be read ({problem})")]


def _of_inner(opened: Opener, info: zipfile.ZipInfo, parts: tuple[str, ...]) -> list[Entry]:
    """Return what a zip inside a zip holds."""
    if info.file_size > OWN_LIMIT:
        return [bad(parts, f"it is larger than {OWN_LIMIT // MEGABYTE} MB; hand in the notebook "
                           "alone")]
    return own_zip(lambda: zipfile.ZipFile(io.BytesIO(_unpacked(opened, info, OWN_LIMIT))), parts,
                   tuple(info.date_time))


_last: list = []  # how the zip that was read last is opened, and it


def _kept(opened: Opener) -> zipfile.ZipFile:
    """Return an open zip; the last one is kept, for the next member that is read lies in it too.

    A table of contents of many entries, read again for each of them, would take hours.
    """
    if not _last or _last[0] is not opened:
        _last[:] = [opened, opened()]
    return _last[1]


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name; many programs write UTF-8 and do not say so.

    >>> info = zipfile.ZipInfo("Zoë".encode().decode("cp437"))
    >>> info.filename, _name(info)
    ('Zo├½', 'Zoë')
    """
    if not info.flag_bits & _UTF8:
        try:
            return info.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass  # an old name in another alphabet: as zipfile reads it
    return info.filename


def _refusal(info: zipfile.ZipInfo, raw: str, pieces: list[str]) -> str:
    """Return why a member is not to be read at all, or nothing."""
    if raw.startswith("/") or ".." in pieces or ":" in pieces[0]:
        return "its path in the zip file leads outside of it"
    return LINKED if stat.S_ISLNK(info.external_attr >> 16) else ""


def _of_member(opened: Opener, info: zipfile.ZipInfo, parts: tuple[str, ...], wrong: str,
               full: bool) -> Entry:
    """Return the entry of one notebook in a zip."""
    if wrong:
        return bad(parts, wrong)
    if info.file_size > FILE_LIMIT:
        return bad(parts, f"it is larger than {FILE_LIMIT // MEGABYTE} MB")
    if full or len(parts) > DEPTH_LIMIT:
        return bad(parts, "the zip file holds too much before it, or too many folders above it")
    return Entry(parts, lambda: bounded(_unpacked(opened, info, FILE_LIMIT)),
                 tuple(info.date_time))


def _unpacked(opened: Opener, info: zipfile.ZipInfo, most: int) -> bytes:
    """Unpack one member up to a limit, whatever size it claims."""
    try:
        with _kept(opened).open(info) as stream:
            return stream.read(most + 1)
    except EntryError:
        raise
    except Exception as problem:  # zipfile and zlib raise many kinds on broken input
        raise EntryError("it cannot be unpacked from the zip file "
                         f"({type(problem).__name__})") from problem
