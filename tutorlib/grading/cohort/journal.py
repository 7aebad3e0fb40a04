"""What has been graded so far, on disk before anything else happens: the grader may be killed.

One JSON object per line, appended and synced. The first line says how the cohort is graded; the
others hold one record each. Of a line cut short by a crash nothing is believed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path

from tutorlib.errors import GradingError

NAME = "journal.jsonl"


class Memory:
    """What has been graded, until this process ends."""

    def __init__(self):
        """Begin with nothing."""
        self._records: dict[str, dict] = {}

    def record(self, key: str, fingerprint: str) -> dict | None:
        """Return the record of a submission that was graded in this very state."""
        entry = self._records.get(key)
        return entry["record"] if entry and entry["fingerprint"] == fingerprint else None

    def add(self, key: str, fingerprint: str, record: dict, lasting: bool = True) -> None:
        """Keep a record; ``lasting`` ones would be kept on disk too."""
        self._records[key] = {"key": key, "fingerprint": fingerprint, "record": record}


class Journal(Memory):
    """The journal of one output folder, locked against a second grader."""

    def __init__(self, folder: Path, header: dict):
        """Open or begin the journal.

        Raises ``GradingError`` for a folder that cannot be written, is in use, or holds a grading
        done in another way than ``header`` says.
        """
        super().__init__()
        self.path = folder / NAME
        with explained(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._lock()
            self._read(header)
        except BaseException:
            os.close(self._fd)
            raise

    def add(self, key: str, fingerprint: str, record: dict, lasting: bool = True) -> None:
        """Append a record; when this returns it is on the disk, unless it is not to last."""
        if lasting:
            self._append({"key": key, "fingerprint": fingerprint, "record": record})
        super().add(key, fingerprint, record)

    def close(self) -> None:
        """Close the file, which also unlocks it."""
        os.close(self._fd)

    def _append(self, entry: dict) -> None:
        """Write one line whole, or leave the file as it was."""
        line = (json.dumps(entry, ensure_ascii=False, sort_keys=True) + "\n").encode()
        end = os.lseek(self._fd, 0, os.SEEK_END)
        with explained(self.path, len(self._records)):
            try:
                write_all(self._fd, line)
                os.fsync(self._fd)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, end)
                raise

    def _lock(self) -> None:
        """Keep a second grader out, where the system can lock files."""
        try:
            import fcntl
        except ImportError:  # not on Windows
            return
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise GradingError(f"another `tutorlib grade` is at work in {self.path.parent}; wait "
                               "for it, or give another --out") from problem

    def _read(self, header: dict) -> None:
        """Read what is there, and drop a last line that was cut short."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        with open(os.dup(self._fd), "rb") as stream:
            content = stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.ftruncate(self._fd, len(whole))
        lines = whole.splitlines()
        if not lines:
            self._append({"header": header})
            return
        try:
            first, *rest = [json.loads(line) for line in lines]
            self._records = {entry["key"]: entry for entry in rest}
            found = first["header"]
        except (ValueError, KeyError, TypeError) as problem:
            raise GradingError(f"{self.path} is damaged ({problem}); move {self.path.parent} away "
                               "and grade again") from problem
        self._agree(found, json.loads(json.dumps(header)))

    def _agree(self, found: dict, header: dict) -> None:
        """Refuse to mix two ways of grading in one folder."""
        other = sorted(k for k in {*found, *header} if found.get(k) != header.get(k))
        if other:
            raise GradingError(
                f"{self.path.parent} holds grades made in another way (different: "
                f"{', '.join(other)}); give another --out, or move that folder away to grade "
                "everything again")


def write_all(fd: int, data: bytes) -> None:
    """Write bytes to a descriptor, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


@contextlib.contextmanager
def explained(path: Path, safe: int | None = None):
    """Turn a failure to write into a message that says what to do."""
    try:
        yield
    except OSError as problem:
        kept = "" if safe is None else (f" What was graded so far ({safe}) is kept: the same "
                                        "command goes on from there.")
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise GradingError(f"the disk is full: {path} could not be written. Free some space."
                               f"{kept}") from problem
        raise GradingError(f"{path} cannot be written ({problem.strerror or problem}); give --out "
                           f"a folder that you may write to.{kept}") from problem


def write_file(path: Path, content: str | bytes, safe: int | None = None) -> None:
    """Replace a file as a whole. It is not synced: all but the journal can be made again.

    ``safe`` is how many notebooks the journal holds, for the message of a failure.
    """
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.part")
    with explained(path, safe):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)
        os.replace(beside, path)
