"""Which files a box may read: Python, its packages and this one, without exercises and graders."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]  # tutorlib/
HIDDEN = ("exercises",)  # folders of the package that a box never sees
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache",
          "/etc/alternatives")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/full")


def readable() -> list[str]:
    """Return the folders of the system, of Python and of installed packages; outermost first.

    The folder that holds this package is not among them: in a checkout it also holds solutions.
    """
    wanted = [*SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    wanted += [part for part in sys.path if part.endswith(("site-packages", "dist-packages"))]
    kept: list[str] = []
    for path in sorted({os.path.abspath(path) for path in wanted if os.path.exists(path)}):
        inside = any(path.startswith(outer.rstrip("/") + "/") for outer in kept)
        if not inside and path != "/":
            kept.append(path)
    return kept


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
