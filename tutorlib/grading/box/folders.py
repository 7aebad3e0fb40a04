"""Folders for what boxes write outside a wall: gone with the box, or else at the next start.

Each zygote has one folder, which it keeps locked. The kernel takes the lock off when the zygote
ends, however it ends, so a folder that can be locked has no owner any more; process ids, which
mean nothing in another container with the same ``/tmp``, are not asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile

PREFIX = "tutorlib-box-"


def claim() -> tuple[str, int]:
    """Make a folder and lock it; return it, and the descriptor that holds the lock."""
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:  # else ``sweep`` found it before it was locked
            return path, handle
        os.close(handle)


def sweep() -> int:
    """Remove the folders of zygotes that are gone, this user's own only; return how many."""
    count = 0
    with os.scandir(tempfile.gettempdir()) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
    for path in found:
        try:  # a link is not followed, and what others own is left alone
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(handle).st_uid == os.geteuid():
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path)
                count += 1
        except OSError:
            pass  # its zygote lives
        finally:
            os.close(handle)
    return count


def remove(path: str) -> None:
    """Remove a folder with all that is in it, also what its maker has made unreadable.

    Whoever could put a link in the way must have ended before.
    """
    pending = [path]
    while pending:
        with contextlib.suppress(OSError):
            folder = pending.pop()
            os.chmod(folder, stat.S_IRWXU)
            with os.scandir(folder) as entries:
                pending += [e.path for e in entries if e.is_dir(follow_symlinks=False)]
    shutil.rmtree(path, ignore_errors=True)
