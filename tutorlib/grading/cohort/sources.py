"""Read a folder or a zip of other people's files: bounded, never followed, never unpacked."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.entry import (
    COUNT_LIMIT,
    DEPTH_LIMIT,
    FILE_LIMIT,
    LINKED,
    MEGABYTE,
    METADATA,
    Entry,
    EntryError,
    bad,
    bounded,
    other,
    plain,
)
from tutorlib.grading.cohort.zips import OWN_LIMIT, of_zip, own_zip


def entries(source: str | Path) -> list[Entry]:
    """Return what a folder or zip holds, sorted by path; zips in it count as folders.

    Links, pipes, paths that lead outside and too large files become entries whose ``read`` says
    what is wrong. Raises ``GradingError`` when ``source`` itself is neither.
    """
    path = Path(source)
    if path.is_dir():
        found = list(_of_folder(path))
    elif zipfile.is_zipfile(path):
        found = list(of_zip(lambda: zipfile.ZipFile(path), path.name))
    else:
        raise GradingError(f"{path} is neither a folder nor a zip file of notebooks")
    return sorted(found, key=lambda entry: entry.parts)


def _of_folder(root: Path) -> Iterator[Entry]:
    """Yield what lies below a folder, without following links."""
    waiting, seen = [(root, ())], 0
    while waiting:
        folder, above = waiting.pop()
        for item in sorted(os.scandir(folder), key=lambda i: i.name):
            seen += 1
            if seen > COUNT_LIMIT:
                raise GradingError(f"{root} holds more than {COUNT_LIMIT:,} files; give the folder "
                                   "of the submissions alone")
            parts = (*above, plain(item.name))
            if item.name.startswith((".", "__MACOSX")):
                continue
            if item.is_dir(follow_symlinks=False) and len(parts) < DEPTH_LIMIT:
                waiting.append((Path(item.path), parts))
            elif item.name.lower().endswith(".zip") and item.is_file(follow_symlinks=False):
                yield from _own_zip(item, parts)
            elif item.name.lower().endswith(".ipynb") or item.is_symlink():
                yield _of_file(Path(item.path), parts)
            elif item.name == METADATA:
                yield replace(_of_file(Path(item.path), parts), notebook=False)
            elif item.is_file(follow_symlinks=False):
                yield other(parts)


def _own_zip(item: os.DirEntry, parts: tuple[str, ...]) -> list[Entry]:
    """Return what a zip in a folder holds, which is a learner's own."""
    info = item.stat(follow_symlinks=False)
    if info.st_size > OWN_LIMIT:
        return [bad(parts, f"it is larger than {OWN_LIMIT // MEGABYTE} MB; hand in the notebook "
                           "alone")]
    return own_zip(partial(zipfile.ZipFile, item.path), parts, _calendar(info.st_mtime))


def _of_file(path: Path, parts: tuple[str, ...]) -> Entry:
    """Return the entry of one file."""
    info = path.lstat()
    modified = _calendar(info.st_mtime)
    if stat.S_ISLNK(info.st_mode):
        return bad(parts, LINKED)
    if not stat.S_ISREG(info.st_mode):
        return bad(parts, "it is not an ordinary file")
    return Entry(parts, lambda: _read_file(path), modified)


def _read_file(path: Path) -> bytes:
    """Read one file up to the limit; a link put in its place meanwhile is not followed."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as stream:
            return bounded(stream.read(FILE_LIMIT + 1))
    except OSError as problem:
        raise EntryError(f"it cannot be read ({problem.strerror})") from problem


def _calendar(seconds: float) -> tuple[int, ...]:
    """Return a file's time as a zip has it."""
    import time

    try:
        return tuple(time.localtime(seconds)[:6])
    except (OverflowError, ValueError, OSError):
        return ()
