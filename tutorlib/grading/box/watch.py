"""Small looks at processes and folders, for the process that watches a box."""

from __future__ import annotations

import os
import signal


def handle_of(pid: int) -> list[int]:
    """Return [a pidfd of a process], or [] where there is no such thing.

    The grader, for whom the process has another number, finds its clock by it.
    """
    try:
        return [os.pidfd_open(pid)]
    except (OSError, AttributeError):  # Linux before 5.3, or a sandbox around this one
        return []


def usage(pid: int) -> tuple[int, int]:
    """Return a process's resident bytes and its threads; (0, 0) when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0, 0
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), int(fields[17])


def folder_size(path: str) -> int:
    """Return the bytes below ``path``; very many files count as very many bytes."""
    total = count = 0
    pending = [path]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    count += 1
                    if count > 4096:
                        return 1 << 62
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # removed meanwhile
    return total


def ending(status: int) -> str:
    """Say in words how a process ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGXCPU, signal.SIGKILL):
            return "it used up its processor time or its memory"
        return f"it was ended by signal {signal.Signals(number).name}"
    return f"it ended itself with exit code {os.WEXITSTATUS(status)}"


