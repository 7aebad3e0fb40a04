"""Choose how to isolate: try the strongest way by running a real box, fall to the next, or refuse.

| tier | needs | what it is |
|---|---|---|
| bubblewrap | the program ``bwrap`` and namespaces | own files, processes, network for each box |
| landlock | Linux 5.13 | Landlock, a filter of system calls and resource limits |
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tutorlib.grading.box import bubblewrap, landlock, lock, seccomp
from tutorlib.grading.box.cells import Cell
from tutorlib.grading.box.errors import BoxError, NoBoxError
from tutorlib.grading.box.host import Host
from tutorlib.grading.box.limits import Limits
from tutorlib.grading.box.preload import NEEDED

if TYPE_CHECKING:
    from tutorlib.grading.box.box import Box


@dataclass(frozen=True)
class Tier:
    """One way to isolate."""

    name: str
    way: str  # how a child locks itself in, see ``lock``
    lacks: Callable[[], str | None]  # what is obviously missing for it here, or None

    def start(self, preload: Sequence[str] = NEEDED) -> Host:
        """Start a process that makes boxes of this tier, which have ``preload`` imported."""
        host = self.launch(preload)
        host.wait()
        return host

    def launch(self, preload: Sequence[str] = NEEDED) -> Host:
        """Start one without waiting until it is ready."""
        return Host(self._command, self.way, preload)

    def _command(self, inner: list[str]) -> list[str]:
        if self.way == lock.WALLED:
            return bubblewrap.command(bubblewrap.find() or "bwrap", inner)
        return inner


def _lacks_filters() -> str | None:
    """Return what both tiers need and is not here."""
    if sys.platform != "linux":
        return f"needs Linux (this is {sys.platform}; on Windows, WSL2 is Linux)"
    if not seccomp.supported():
        return "needs seccomp filters, on x86_64 or aarch64"
    return None


def _lacks_bubblewrap() -> str | None:
    missing = "the program bwrap is not installed"
    if os.environ.get("TUTORLIB_BWRAP") == "none":
        missing = "it is not to be used (TUTORLIB_BWRAP is none)"
    return _lacks_filters() or (bubblewrap.covered() if bubblewrap.find() else missing)


def _lacks_landlock() -> str | None:
    missing = None if sys.platform == "linux" and landlock.version() else (
        "this kernel has no Landlock (Linux 5.13, and `landlock` among the active modules)")
    return _lacks_filters() or missing


BUBBLEWRAP = Tier("bubblewrap", lock.WALLED, _lacks_bubblewrap)
LANDLOCK = Tier("landlock", lock.LANDLOCKED, _lacks_landlock)
TIERS = (BUBBLEWRAP, LANDLOCK)

_PROBE = """
import socket
import LIBRARY as library

def reads(path):
    try:
        open(path).close()
    except OSError:
        return False
    return True

def connects():
    try:
        socket.socket()
    except OSError:
        return False
    return True

def adds():
    import colorsys  # read from disk, by the user that the box runs as
    return library.ones(3).sum()
"""


_faults: dict[Tier, str | None] = {}
_own = threading.local()


def own_host(tier: Tier, preload: Sequence[str] = NEEDED) -> Host:
    """Return this thread's process for boxes of ``tier``; started on first use, and when it died.

    What it has preloaded is what its first user asked for.
    """
    hosts = _hosts()
    host = hosts.get(tier)
    if host is None or not host.alive:
        host = hosts[tier] = tier.launch(preload)
    host.wait()
    return host


def start_early(name: str = "", preload: Sequence[str] = NEEDED) -> None:
    """Start what ``own_host`` will return, of the tier ``name`` or the one that is likely to work.

    It loads ``preload`` while the caller does, who has to load it too.
    """
    for tier in TIERS:
        if name in ("", tier.name) and tier.lacks() is None:
            with contextlib.suppress(BoxError):  # told by whoever needs it
                _hosts()[tier] = tier.launch(preload)
            return


def _hosts() -> dict[Tier, Host]:
    """Return this thread's processes for boxes."""
    return _own.__dict__.setdefault("hosts", {})


def fault(tier: Tier, preload: Sequence[str] = NEEDED) -> str | None:
    """Return why a tier does not work on this machine, or None; found by running a real box."""
    if tier not in _faults:
        try:
            _faults[tier] = tier.lacks() or _try_box(own_host(tier, preload), preload)
        except Exception as problem:
            _faults[tier] = f"a box does not work: {type(problem).__name__}: {problem}"
    return _faults[tier]


def _try_box(host: Host, modules: Sequence[str]) -> str | None:
    """Return what a box of ``host`` with ``modules`` fails to do or to prevent, or None."""
    from tutorlib.grading.box.box import Box

    host.load(modules)
    library = "torch" if "torch" in modules else "numpy"
    with tempfile.NamedTemporaryFile() as secret, Box(host, Limits()) as box:
        problem = box.load([Cell(_PROBE.replace("LIBRARY", library))])[0]
        if problem is not None:
            return f"Python does not work in it: {problem}"
        if box.answer("reads", 10)(secret.name):
            return "a box can read other files"
        if box.answer("connects", 10)():
            return "a box can open sockets"
        if float(box.answer("adds", 30)()) != 3.0:
            return f"{library} does not work in it"
    return None


def passed_over(name: str, preload: Sequence[str] = NEEDED) -> list[str]:
    """Return why the tiers that are stronger than ``name`` do not work here."""
    stronger = itertools.takewhile(lambda tier: tier.name != name, TIERS)
    return [f"{tier.name}: {found}" for tier in stronger if (found := fault(tier, preload))]


def best_tier(preload: Sequence[str] = NEEDED) -> Tier:
    """Return the strongest tier that works here; raises NoBoxError, saying what each one lacks."""
    faults = []
    for tier in TIERS:
        found = fault(tier, preload)
        if found is None:
            return tier
        faults.append(f"{tier.name}: {found}")
    raise NoBoxError("code that is not trusted cannot be run safely on this machine. "
                     + "; ".join(faults))


def open_box(tier: Tier | None = None, limits: Limits | None = None,
             modules: Sequence[str] = NEEDED) -> Box:
    """Open a box of ``tier`` (the best that works) with ``limits``; close it after use.

    ``modules`` are imported before, where they are not yet.

    Each thread keeps one process that makes its boxes, and has one box open at a time. Raises
    NoBoxError where nothing isolates, BoxError where this box could not be made.
    """
    from tutorlib.grading.box.box import Box

    host = own_host(best_tier(modules) if tier is None else tier, modules)
    host.load(modules)
    return Box(host, limits or Limits())
