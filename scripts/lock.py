"""Write ``requirements.lock``: the exact versions installed here of all the course needs.

Only the closure of ``tutorlib[test]`` is written, whatever else the environment holds. A local
build tag such as ``+cpu`` is dropped: the lock says which torch, the set-up says which build.
"""

from __future__ import annotations

import platform
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

BUILD_PARTS = ("nvidia", "cuda", "triton")  # a CUDA build of torch pins these itself

HEADER = """\
# What the course was tested with: exact versions, used as constraints by `make setup`.
# Written by `make lock` under Python {python} on {system}; torch is named without its build
# (CPU or CUDA), which scripts/setup_env.py chooses. What only the tests need is marked.
"""
FOR_TESTS = "  # tests"


def closure(name: str, extras: tuple[str, ...]) -> dict[str, str]:
    """Return the installed version of everything that ``name[extras]`` needs, by canonical name."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        project, extra = waiting.pop()
        if (project, extra) in seen:
            continue
        seen.add((project, extra))
        installed = distribution(project)
        versions[project] = Version(installed.version).public
        for line in installed.requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(need.name), e) for e in ("", *need.extras)]
    versions.pop(name)
    return versions


def lock_text() -> str:
    """Return the whole lock file."""
    python = ".".join(platform.python_version_tuple()[:2])
    used = closure("tutorlib", ())
    pins = sorted(closure("tutorlib", ("test",)).items())
    lines = [f"{name}=={version}" + FOR_TESTS * (name not in used) for name, version in pins
             if not name.startswith(BUILD_PARTS)]
    return HEADER.format(python=python, system=platform.system()) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    target = Path(__file__).resolve().parent.parent / "requirements.lock"
    target.write_text(lock_text(), encoding="utf-8")
    print(f"{target.name}: {len(lock_text().splitlines()) - 3} packages")
