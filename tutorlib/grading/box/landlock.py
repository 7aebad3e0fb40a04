"""Landlock: a process gives up all files but those it names, without any privilege (Linux 5.13).

The kernel's own documentation is https://docs.kernel.org/userspace-api/landlock.html.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from tutorlib.grading.box.system import PR_SET_NO_NEW_PRIVS, prctl, syscall

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # on every machine

EXECUTE, WRITE, READ, LIST = 1, 2, 4, 8
_TRUNCATE = 1 << 14
_ON_FILES = EXECUTE | WRITE | READ | _TRUNCATE
_MAKE = sum(1 << bit for bit in (4, 5, 7, 8, 10, 12))  # remove and make files, folders, links
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # version of Landlock: number of rights on files


def version() -> int:
    """Return the version of Landlock that this kernel offers, 0 for none."""
    try:
        return syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError:
        return 0


def _write_all() -> int:
    return WRITE | _TRUNCATE | _MAKE | READ | LIST


def restrict(read: Iterable[str], only_list: Iterable[str], devices: Iterable[str],
             write: Iterable[str]) -> None:
    """Leave the calling process only these paths, for good.

    ``read`` may be read and mapped, ``only_list`` be listed, ``devices`` be read and written, and
    below ``write`` everything be done with files and folders. Paths that do not exist are
    skipped. Raises OSError without Landlock.
    """
    known = version()
    handled = (1 << _RIGHTS[min(max(known, 1), 5)]) - 1
    scoped = 3 if known >= 6 else 0  # signals and abstract sockets
    network = 3 if known >= 4 else 0  # binding and connecting TCP
    about = struct.pack("<QQQ", handled, network, scoped)[:8 if known < 4 else 24]
    if 4 <= known < 6:
        about = about[:16]
    rules = syscall(_CREATE, ctypes.c_char_p(about), ctypes.c_size_t(len(about)),
                    ctypes.c_uint32(0))
    try:
        for paths, rights in ((read, EXECUTE | READ | LIST), (only_list, LIST),
                              (devices, READ | WRITE), (write, _write_all())):
            for path in paths:
                _allow(rules, path, rights & handled)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        syscall(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    """Add one path to the rules; a file takes only the rights that files have."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _ON_FILES
        rule = struct.pack("<Qi", rights, place)
        syscall(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(1), ctypes.c_char_p(rule),
                ctypes.c_uint32(0))
    finally:
        os.close(place)
