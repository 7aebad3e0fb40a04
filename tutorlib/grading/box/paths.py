"""Which files a box may read: Python, its packages and this one, without exercises and graders."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]  # tutorlib/
HIDDEN = ("exercises",)  # folders of the package that a box never sees
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache",
          "/etc/alternatives")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/full")


def readable() -> list[str]:
    """Return the folders of the system, of Python and of installed packages; outermost first.

    The folder that holds this package is not among them, nor is one above it: in a checkout
    it also holds solutions. Where it lies below one of them (as in ``/usr/src``), there is
    instead what else lies there.
    """
    wanted = [*SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    wanted += [part for part in sys.path if part.endswith(("site-packages", "dist-packages"))]
    found = {os.path.abspath(path) for path in wanted if os.path.exists(path)}
    apart = {part for path in found for part in _beside_package(path)}
    kept: list[str] = []
    for path in sorted(apart):
        inside = any(path.startswith(outer.rstrip("/") + "/") for outer in kept)
        if not inside and path != "/":
            kept.append(path)
    return kept


def _beside_package(path: str) -> list[str]:
    """Return ``path``, or what lies in it apart from this package and a checkout around it."""
    folder = Path(path)
    if folder != PACKAGE.parent and folder not in PACKAGE.parents:
        return [path]
    if folder == PACKAGE.parent and (folder / "pyproject.toml").exists():
        return []
    return [part for child in sorted(folder.iterdir()) if child != PACKAGE
            for part in _beside_package(str(child))]


def open_to_all() -> bool:
    """Whether a user without any rights could read Python and this package."""
    shown = [Path(path) for path in (*readable(), PACKAGE)]
    above = {folder for path in shown for folder in path.parents}
    return all(_mode(folder) & stat.S_IXOTH for folder in above) and all(
        _mode(path) & stat.S_IROTH for path in shown)


def _mode(path: Path) -> int:
    """Return a file's permissions; those of what a link leads to."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def package_parts() -> list[str]:
    """Return what lies directly in the package, without what is hidden."""
    return sorted(str(part) for part in PACKAGE.iterdir()
                  if part.name not in HIDDEN and part.name != "__pycache__")


def environment(home: str = "/tmp") -> dict[str, str]:
    """Return the whole environment of a box: nothing of the grader's own."""
    return {
        "PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8",
        "LOGNAME": "learner", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": home, "TUTORLIB_HOME": home, "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def python(module: str, *arguments: str) -> list[str]:
    """Return a command that runs a module's ``main`` in an isolated Python that finds this package.

    The package's parent folder is searched last: nothing beside it can shadow another module.
    """
    words = ["box", *arguments]
    code = (f"import sys; sys.path.append({str(PACKAGE.parent)!r}); sys.argv = {words!r}; "
            f"import {module} as start; start.main()")
    return [sys.executable, "-I", "-c", code]
