"""The filter of system calls, run on paper: its tables against the kernel's own headers."""

import errno
import re
from pathlib import Path

import pytest

from tutorlib.grading.box import bubblewrap, paths, seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {"x86_64": (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), r"__NR_(\w+)\s+(\d+)"),
           "aarch64": (Path("/usr/include/asm-generic/unistd.h"), r"__NR(?:3264)?_(\w+)\s+(\d+)")}
PID = 4321


def run(machine, number, *args, arch=None):
    """Run the filter as the kernel would."""
    words = {0: number, 4: arch or ARCH[machine]}
    for place in range(6):
        value = args[place] if place < len(args) else 0
        words[16 + 8 * place], words[20 + 8 * place] = value & 0xFFFFFFFF, value >> 32
    lines, at, held = seccomp.program(machine, PID), 0, 0
    for _ in range(len(lines)):
        code, yes, no, operand = lines[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            held = words[operand]
        else:
            hit = {0x15: held == operand, 0x25: held > operand, 0x45: bool(held & operand)}[code]
            at += yes if hit else no
    raise AssertionError("the filter does not end")


@pytest.fixture(params=ARCH)
def machine(request):
    return request.param


def test_the_tables_are_the_kernels(machine):
    header, pattern = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    known = {name: int(n) for name, n in re.findall(pattern, header.read_text())}
    special = {"clone": seccomp.CLONE, "clone3": seccomp.CLONE3, "kill": seccomp.KILL,
               "tgkill": seccomp.TGKILL, "prlimit64": seccomp.PRLIMIT, "prctl": seccomp.PRCTL,
               "sched_setaffinity": seccomp.AFFINITY, "fcntl": seccomp.FCNTL,
               "ioctl": seccomp.IOCTL}
    column = seccomp.column(machine)
    for name, numbers in {**seccomp.REFUSED, **special}.items():
        assert numbers[column] == known.get(name), name


def test_what_is_refused_is_refused_and_the_rest_allowed(machine):
    column = seccomp.column(machine)
    refused = {n[column] for n in seccomp.REFUSED.values()} - {None}
    special = {n[column] for n in (seccomp.CLONE, seccomp.CLONE3, seccomp.KILL, seccomp.TGKILL)}
    for number in range(seccomp.NEWEST + 1):
        if number not in special:
            assert run(machine, number) == (EPERM if number in refused else ALLOW), number


def test_what_is_newer_or_of_another_machine_does_not_pass(machine):
    for number in (seccomp.NEWEST + 1, 600, 0x40000000, 0x40000029, 0xFFFFFFFF):
        assert run(machine, number) == ENOSYS  # 0x40000029: socket, in x32's numbers
    for arch in {0x40000003, 0x40000028, *ARCH.values()} - {ARCH[machine]}:
        assert run(machine, 41, arch=arch) == KILL  # the 32-bit machines, and each other's


def test_arguments_decide_where_they_should(machine):
    column = seccomp.column(machine)
    clone, kill, tgkill, prlimit, fcntl, ioctl, prctl = (n[column] for n in (
        seccomp.CLONE, seccomp.KILL, seccomp.TGKILL, seccomp.PRLIMIT, seccomp.FCNTL,
        seccomp.IOCTL, seccomp.PRCTL))
    thread = 0x3D0F00
    assert run(machine, clone, thread) == ALLOW
    assert run(machine, clone, 0x11) == EPERM  # a fork
    for space in (0x20000, 0x10000000, 0x20000000, 0x40000000):
        assert run(machine, clone, thread | space) == EPERM
    assert run(machine, seccomp.CLONE3[column], 0) == ENOSYS
    for call in (kill, tgkill):
        assert run(machine, call, PID, 9) == ALLOW
        assert [run(machine, call, pid) for pid in (1, 2**32 - 1, 0, PID + 1)] == [EPERM] * 4
    assert run(machine, prlimit, 0) == ALLOW and run(machine, prlimit, 7) == EPERM
    assert run(machine, fcntl, 1, 3) == ALLOW and run(machine, fcntl, 1, 8) == EPERM
    assert run(machine, ioctl, 1, 0x5401) == ALLOW and run(machine, ioctl, 1, 0x5412) == EPERM
    assert run(machine, prctl, 15) == ALLOW and run(machine, prctl, 1) == EPERM


def test_bubblewraps_line_keeps_the_traps_shut(monkeypatch):
    """Traps 1, 3 and 5: no user namespace for root, sizes before tmpfs, ancestors readable."""
    for uid in (0, 1000):
        monkeypatch.setattr(bubblewrap.os, "geteuid", lambda uid=uid: uid)
        line = bubblewrap.command("bwrap", ["inner"])
        assert ("--unshare-user" in line) == (uid != 0)
        places = [i for i, word in enumerate(line) if word == "--tmpfs"]
        assert all(line[i - 2] == "--size" for i in places)
        made = [line[i + 1] for i, word in enumerate(line) if word == "--dir"]
        assert all(line[i - 2:i] in (["--perms", "0755"], ["--perms", "1777"])
                   for i, word in enumerate(line) if word == "--dir")
        for at, word in enumerate(line):
            if word == "--ro-bind":
                above = [str(p) for p in Path(line[at + 2]).parents][:-1]
                shown = [line[i + 2] for i, w in enumerate(line[:at]) if w == "--ro-bind"]
                assert all(p in made or p in shown for p in above), line[at + 2]
        assert "/" in [line[i + 1] for i, word in enumerate(line) if word == "--remount-ro"]
        assert "--bind" not in line and "--dev-bind" not in line and "--share-net" not in line


def test_what_may_be_read_holds_no_course_and_no_home():
    shown = [Path(p) for p in paths.readable()]
    root = paths.PACKAGE.parent
    for private in (root / "solutions", root / "course", Path("/etc/passwd"), Path("/home"),
                    Path("/proc"), Path("/var")):
        assert not any(private == p or p in private.parents for p in shown), private
    assert str(paths.PACKAGE / "exercises") not in paths.package_parts()
    assert str(paths.PACKAGE / "mdp") in paths.package_parts()
