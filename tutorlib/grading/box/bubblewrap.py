"""The command line of bubblewrap (https://github.com/containers/bubblewrap) for a box.

It makes the outer wall, in which a preloaded Python waits: a file system of the paths that a box
may read, nothing writable, no network, its own processes. Each submission then gets namespaces
and limits of its own inside (``lock``).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tutorlib.grading.box import paths

# Mounting a fresh /tmp and /proc for each submission, and becoming another user where the grader
# is root. They are given up before any code of a learner's is read.
_KEPT = ("CAP_SYS_ADMIN",)
_KEPT_OF_ROOT = ("CAP_SETUID", "CAP_SETGID", "CAP_KILL")

# With another number than 0 bubblewrap would put a second user namespace inside the first, where
# the process namespace is out of reach: no box could have one of its own.
_AS_USER = ("--unshare-user", "--uid", "0", "--gid", "0")


def find() -> str | None:
    """Return the path of bubblewrap, or None.

    The variable ``TUTORLIB_BWRAP`` says which one, or ``none`` to do without.
    """
    named = os.environ.get("TUTORLIB_BWRAP")
    return None if named == "none" else named or shutil.which("bwrap")


def covered() -> str | None:
    """Return what a box's own ``/tmp`` would lie over, in words, or None."""
    below = [path for path in (*paths.readable(), str(paths.PACKAGE)) if path.startswith("/tmp/")]
    if not below:
        return None
    return (f"each box has a /tmp of its own, and {below[0]} lies below it: keep Python and the "
            "course in another folder")


def command(bwrap: str, inner: list[str]) -> list[str]:
    """Return the command that runs ``inner`` within the outer wall.

    As root the user namespace is left out: with it, processes would stay the kernel's user 0,
    whom no limit on processes binds.
    """
    root = os.geteuid() == 0
    spaces = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
              "--unshare-cgroup-try"]
    kept = [*_KEPT, *(_KEPT_OF_ROOT if root else ())]
    return [
        bwrap, *spaces, *([] if root else _AS_USER),
        "--die-with-parent", "--new-session", "--cap-drop", "ALL",
        *(part for name in kept for part in ("--cap-add", name)),
        "--clearenv", *(p for item in paths.environment().items() for p in ("--setenv", *item)),
        *_mounts(), "--chdir", "/tmp", "--", *inner,
    ]


def _mounts() -> list[str]:
    """Return the arguments that make the file system; each ancestor of a bind is made readable."""
    made: set[str] = set()
    arguments: list[str] = []
    for path in paths.readable():
        arguments += _bind(path, made)
    package = str(paths.PACKAGE)
    arguments += _bind(package, made)
    for name in paths.HIDDEN:  # an empty folder that nobody can write to lies over it
        if (paths.PACKAGE / name).is_dir():
            arguments += ["--perms", "0555", "--size", "4096", "--tmpfs", f"{package}/{name}",
                          "--remount-ro", f"{package}/{name}"]
    return [*arguments, "--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--dir", "/tmp",
            "--remount-ro", "/dev", "--remount-ro", "/"]


def _bind(path: str, made: set[str]) -> list[str]:
    """Return the arguments that show ``path`` read-only, or repeat it if it is a link."""
    arguments = []
    for ancestor in reversed(Path(path).parents):
        if str(ancestor) not in (*made, "/"):
            made.add(str(ancestor))
            arguments += ["--perms", "0755", "--dir", str(ancestor)]
    made.add(path)
    if os.path.islink(path):
        return [*arguments, "--symlink", os.readlink(path), path]
    return [*arguments, "--ro-bind", path, path]
