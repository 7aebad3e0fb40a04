"""What a forked child does to itself before it reads a learner's first byte. Fails closed.

Two ways, of which the grader chose one when it started:

- *walled*: the process waits within bubblewrap's outer wall. The child leaves for process, mount
  and IPC namespaces of its own, with a fresh ``/tmp``, ``/dev/shm`` and ``/proc``: nothing of an
  earlier submission is there, and nothing else can be seen, signalled or traced.
- *landlocked*: no wall. Landlock leaves the child the paths it needs and one folder of its own.

In both, it becomes an unused user where the grader is root, gives up all capabilities, takes its
resource limits, and puts on the filter of system calls, which refuses to start any process.
"""

from __future__ import annotations

import os
import random
import tempfile
from dataclasses import dataclass

from tutorlib.grading.box import landlock, limits, paths, seccomp, system

WALLED, LANDLOCKED = "walled", "landlocked"


@dataclass(frozen=True)
class Lock:
    """How a child is to lock itself in."""

    way: str  # WALLED or LANDLOCKED
    uid: int | None  # the unused user to become; None: the grader is no root
    home: str  # /tmp, or the submission's own folder
    limits: limits.Limits


def spare_uid(slot: int) -> int | None:
    """Return a user id that nobody has, another one for each slot; None if we are not root.

    Limits on processes count all that a user has: one box could starve another of its user.
    """
    if os.geteuid() != 0:
        return None
    with open("/proc/self/uid_map", encoding="ascii") as lines:
        ranges = [tuple(map(int, line.split())) for line in lines]
    start, _, count = max(ranges, key=lambda r: r[2])
    if count == 1:  # a plain user, who is called 0 within a wall of their own
        return None
    if count > 2**31:  # the host's own ids: far above what anybody is given
        return 1_600_000_000 + slot % 400_000_000
    return start + count - 2 - slot % min(500, count // 2)


def fork(way: str) -> int:
    """Fork; within the wall the child is the first process of a process namespace of its own.

    Returns the child's id, 0 in the child.
    """
    if way != WALLED:
        return os.fork()
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        system.unshare(system.CLONE_NEWPID)  # for children; it takes effect once,
        child = os.fork()
        if child:
            system.setns(own, system.CLONE_NEWPID)  # unless it is taken back
    finally:
        os.close(own)
    return child


def lock_in(lock: Lock) -> None:
    """Lock the calling process in; raises OSError where any step fails."""
    if lock.way == WALLED:
        system.unshare(system.CLONE_NEWNS | system.CLONE_NEWIPC | system.CLONE_NEWUTS)
        _fresh_mounts(lock.limits.tmp)
    os.chdir(lock.home)
    kept = None
    if lock.uid is not None:
        if lock.way == LANDLOCKED and not paths.open_to_all():
            system.prctl(system.PR_SET_KEEPCAPS, 1)  # Python lies where only root may enter, and
            kept = system.CAP_DAC_READ_SEARCH  # Landlock alone says what can be read
        os.setgroups([])
        os.setresgid(lock.uid, lock.uid, lock.uid)
        os.setresuid(lock.uid, lock.uid, lock.uid)
    system.drop_capabilities(kept)
    system.prctl(system.PR_SET_PDEATHSIG, system.SIGKILL)  # changing the user had cleared it
    alone = lock.way == WALLED or lock.uid is not None  # nobody else's processes count
    limits.apply(lock.limits, count_processes=alone)
    _own_surroundings(lock.home)
    if lock.way == LANDLOCKED:
        landlock.restrict(read=[*paths.readable(), *paths.package_parts()],
                          only_list=[str(paths.PACKAGE)], devices=paths.DEVICES,
                          write=[lock.home])
    seccomp.install()


def _fresh_mounts(size: int) -> None:
    """Give this mount namespace its own /proc and empty, bounded places to write."""
    plain = system.MS_NOSUID | system.MS_NODEV
    system.mount(None, "/", system.MS_REC | system.MS_PRIVATE)
    system.mount("proc", "/proc", plain | system.MS_NOEXEC)
    for place, most in (("/tmp", size), ("/dev/shm", size // 2)):
        system.mount("tmpfs", place, plain, f"size={most},nr_inodes=4096,mode=1777")


def _own_surroundings(home: str) -> None:
    """Replace what the fork inherited: environment, temporary folder, random state."""
    os.environ.clear()
    os.environ.update(paths.environment(home))
    os.umask(0o077)
    tempfile.tempdir = home
    random.seed()
