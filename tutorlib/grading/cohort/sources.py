"""Read a folder or a zip of other people's files: bounded, never followed, never unpacked."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.names import clean_text

MEGABYTE = 1 << 20
FILE_LIMIT = 20 * MEGABYTE  # of one notebook
TOTAL_LIMIT = 4096 * MEGABYTE  # of all notebooks in one zip, unpacked
COUNT_LIMIT = 50_000  # entries of a zip or files below a folder
DEPTH_LIMIT = 6


class EntryError(GradingError):
    """One file of a submission cannot be read; the message is for its learner."""


@dataclass(frozen=True)
class Entry:
    """A notebook somewhere in the submissions, not read yet."""

    parts: tuple[str, ...]  # of its path below the submissions; harmless as text, never opened
    read: Callable[[], bytes]  # raises EntryError
    modified: tuple[int, ...] = ()  # (year, month, day, hour, minute, second) as its source says
    owned: bool = False  # it was in a learner's own zip, whose folders say nothing of learners

    @property
    def path(self) -> str:
        """The path as people read it."""
        return "/".join(self.parts)


def entries(source: str | Path) -> list[Entry]:
    """Return the notebooks of a folder or zip, sorted by path; zips in a folder count as folders.

    Links, other kinds of file, paths that lead outside and too large files become entries whose
    ``read`` says what is wrong. Raises ``GradingError`` when ``source`` itself is neither.
    """
    path = Path(source)
    if path.is_dir():
        found = list(_of_folder(path))
    elif zipfile.is_zipfile(path):
        found = list(_of_zip(path, ()))
    else:
        raise GradingError(f"{path} is neither a folder nor a zip file of notebooks")
    return sorted(found, key=lambda entry: entry.parts)


def _of_folder(root: Path) -> Iterator[Entry]:
    """Yield the notebooks below a folder, without following links."""
    waiting, seen = [(root, ())], 0
    while waiting:
        folder, above = waiting.pop()
        for item in sorted(os.scandir(folder), key=lambda i: i.name):
            seen += 1
            if seen > COUNT_LIMIT:
                raise GradingError(f"{root} holds more than {COUNT_LIMIT:,} files; give the folder "
                                   "of the submissions alone")
            parts = (*above, _plain(item.name))
            if item.name.startswith((".", "__MACOSX")):
                continue
            if item.is_dir(follow_symlinks=False) and len(parts) < DEPTH_LIMIT:
                waiting.append((Path(item.path), parts))
            elif item.name.lower().endswith(".zip") and item.is_file(follow_symlinks=False):
                yield from _of_nested_zip(Path(item.path), (*above, _plain(item.name)[:-4]))
            elif item.name.lower().endswith(".ipynb") or item.is_symlink():
                yield _of_file(Path(item.path), parts)


def _of_file(path: Path, parts: tuple[str, ...]) -> Entry:
    """Return the entry of one file."""
    info = path.lstat()
    modified = _calendar(info.st_mtime)
    if stat.S_ISLNK(info.st_mode):
        return _bad(parts, "it is a link to another file, which is not followed; hand in the "
                           "notebook itself")
    if not stat.S_ISREG(info.st_mode):
        return _bad(parts, "it is not an ordinary file")
    return Entry(parts, lambda: _read_file(path), modified)


def _read_file(path: Path) -> bytes:
    """Read one file up to the limit; a link put in its place meanwhile is not followed."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as stream:
            return _bounded(stream.read(FILE_LIMIT + 1))
    except OSError as problem:
        raise EntryError(f"it cannot be read ({problem.strerror})") from problem


def _bounded(data: bytes) -> bytes:
    """Return data that is within the limit."""
    if len(data) > FILE_LIMIT:
        raise EntryError(f"it is larger than {FILE_LIMIT // MEGABYTE} MB; clear its outputs "
                         "(Edit, Clear Outputs of All Cells) and hand it in again")
    return data


def _of_nested_zip(path: Path, above: tuple[str, ...]) -> list[Entry]:
    """Return a learner's own zip; one that cannot be read is an entry that says so.

    Its entries are as old as the zip: the dates in it are the learner's own.
    """
    try:
        modified = _calendar(path.lstat().st_mtime)
        return [replace(e, modified=modified, owned=True) for e in _of_zip(path, above)]
    except (GradingError, zipfile.BadZipFile, OSError, NotImplementedError) as problem:
        return [_bad((*above, path.name), f"the zip file cannot be read ({problem})")]


def _of_zip(path: Path, above: tuple[str, ...]) -> Iterator[Entry]:
    """Yield the notebooks of a zip; they are unpacked one at a time, in memory, up to the limit."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    if len(infos) > COUNT_LIMIT:
        raise GradingError(f"{path.name} holds more than {COUNT_LIMIT:,} entries")
    room = TOTAL_LIMIT
    for info in infos:
        raw = info.filename.replace("\\", "/")
        pieces = [piece for piece in raw.split("/") if piece not in ("", ".")]
        if info.is_dir() or not pieces or any(p.startswith((".", "__MACOSX")) and p != ".."
                                              for p in pieces):
            continue
        linked = stat.S_ISLNK(info.external_attr >> 16)
        if not raw.lower().endswith(".ipynb") and not linked:
            continue
        room -= min(info.file_size, FILE_LIMIT)
        yield _of_member(path, info, above, raw, pieces, linked, room < 0)


def _of_member(path, info, above, raw: str, pieces: list[str], linked: bool, full: bool) -> Entry:
    """Return the entry of one member of a zip."""
    parts = (*above, *(_plain(p) for p in pieces if p != ".."))
    outside = raw.startswith("/") or ".." in pieces or ":" in pieces[0]
    if outside:
        return _bad(parts, "its path in the zip file leads outside of it")
    if linked:
        return _bad(parts, "it is a link to another file, which is not followed; hand in the "
                           "notebook itself")
    if info.file_size > FILE_LIMIT:
        return _bad(parts, f"it is larger than {FILE_LIMIT // MEGABYTE} MB")
    if full or len(parts) > DEPTH_LIMIT:
        return _bad(parts, "the zip file holds too much before it, or too many folders above it")
    return Entry(parts, lambda: _read_member(path, info), tuple(info.date_time))


def _read_member(path: Path, info: zipfile.ZipInfo) -> bytes:
    """Unpack one member up to the limit, whatever size it claims."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(info) as stream:
            return _bounded(stream.read(FILE_LIMIT + 1))
    except EntryError:
        raise
    except Exception as problem:  # zipfile and zlib raise many kinds on broken input
        raise EntryError("it cannot be unpacked from the zip file "
                         f"({type(problem).__name__})") from problem


def _bad(parts: tuple[str, ...], reason: str) -> Entry:
    """Return an entry that can only say what is wrong with it."""
    def refuse() -> bytes:
        raise EntryError(reason)

    return Entry(parts or ("unnamed",), refuse)


def _plain(name: str) -> str:
    """Return one part of a path as harmless text."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return clean_text(text, 200) or "_"


def _calendar(seconds: float) -> tuple[int, ...]:
    """Return a file's time as a zip has it."""
    import time

    try:
        return tuple(time.localtime(seconds)[:6])
    except (OverflowError, ValueError, OSError):
        return ()
