"""The few system calls that Python does not offer, through ctypes; Linux on x86_64 and aarch64."""

from __future__ import annotations

import ctypes
import functools
import os
import platform

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x20000, 0x4000000, 0x8000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
CAP_DAC_READ_SEARCH = 2
SIGKILL = 9


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def machine() -> str:
    """Return "x86_64", "aarch64", or the name of a machine that has no table here."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def checked(result: int, what: str) -> int:
    """Return a C function's result; raise OSError if it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, *args) -> int:
    """Make a raw system call."""
    return checked(_libc().syscall(ctypes.c_long(number), *args), f"system call {number}")


def prctl(option: int, *args: int) -> int:
    """Set a property of this process."""
    full = [ctypes.c_ulong(a) for a in (*args, 0, 0, 0, 0)[:4]]
    return checked(_libc().prctl(ctypes.c_int(option), *full), f"prctl {option}")


def unshare(flags: int) -> None:
    """Leave namespaces that were shared with the parent."""
    checked(_libc().unshare(ctypes.c_int(flags)), "unshare")


def setns(namespace: int, kind: int) -> None:
    """Enter the namespace of an open descriptor."""
    checked(_libc().setns(ctypes.c_int(namespace), ctypes.c_int(kind)), "setns")


def mount(kind: str | None, target: str, flags: int, options: str = "") -> None:
    """Mount a file system of ``kind``, or change how ``target`` is mounted if it is None."""
    source = None if kind is None else kind.encode()
    checked(_libc().mount(source, target.encode(), source, ctypes.c_ulong(flags),
                          options.encode() or None), f"mount {target}")


def drop_capabilities(keep: int | None = None) -> None:
    """Give up every capability for good, but for ``keep``; without effect where there is none."""
    for capability in range(64):
        try:
            if capability != keep:
                prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            pass  # one that the kernel does not know, or that may not be dropped any more
    bits = 0 if keep is None else 1 << keep
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    number = {"x86_64": 126, "aarch64": 91}[machine()]
    syscall(number, header, (ctypes.c_uint32 * 6)(bits, bits))
