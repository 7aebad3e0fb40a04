"""The ten traps of running strangers' code, each with the test that falls in where it is open.

Some of them are told on paper too, in ``test_filter``.
"""

import os
import re
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from tutorlib.grading.box import BoxDiedError, limits, lock, paths, tiers
from tutorlib.grading.box.errors import BoxError
from tutorlib.grading.box.host import new_slot
from tutorlib.grading.box.preload import NEEDED

MIB = 2**20
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
WHO = "import os\ndef who(): return [os.getuid(), os.geteuid(), os.getgid(), len(os.getgroups())]\n"


def limits_inside(*names: str) -> str:
    """Return a source whose ``of`` gives the limits of these names as the kernel keeps them."""
    listed = ", ".join(f"resource.getrlimit(resource.{name})" for name in names)
    return f"import resource\ndef of(): return [{listed}]\n"


@needs_root
def test_root_becomes_a_user_of_its_own_for_each_slot(boxed, monkeypatch):
    """Trap 1: kernel uid 0 is bound by no process limit, and one user's boxes share a limit."""
    uid, effective, gid, groups = boxed(WHO).answer("who")()
    assert uid == effective == gid > 1000 and groups == 0
    slots = [new_slot(), new_slot()]
    monkeypatch.setattr(os, "getpid", lambda: 4711)  # another worker, whose count begins anew
    slots += [new_slot(), new_slot()]
    assert len({lock.spare_uid(slot) for slot in slots}) == 4


def test_the_process_limit_is_the_box_s_own(boxed, host):
    """Trap 2: a plain user's other processes count too, unless the limit is set inside."""
    [[soft, hard]] = boxed(limits_inside("RLIMIT_NPROC"), threads=17).answer("of")()
    alone = host.way == lock.WALLED or os.geteuid() == 0
    if alone:
        assert soft == hard == 17
    else:  # no namespace: others' processes would count, so the watcher counts threads instead
        box = boxed("import threading, time\ndef f():\n    for _ in range(40):\n        "
                    "threading.Thread(target=time.sleep, args=(9,)).start()\n    time.sleep(5)\n",
                    threads=17)
        with pytest.raises(BoxDiedError, match="more than 17 threads"):
            box.answer("f", 20)()


def test_what_is_written_to_memory_is_bounded(boxed):
    """Trap 3: a tmpfs has no size of its own, and no rlimit counts what lies in it."""
    box = boxed("""
import os, tempfile, time
def fill():
    written = 0
    for place in (tempfile.gettempdir(), "/dev/shm", "/dev", "/run", "/"):
        for number in range(12):
            try:
                with open(os.path.join(place, str(number)), "wb", 0) as file:
                    written += file.write(bytes(4 << 20))
            except OSError:
                pass
    time.sleep(0.5)
    return written
""", tmp=16 * MIB)
    try:
        assert box.answer("fill", 20)() <= 24 * MIB  # /tmp and half as much in /dev/shm
    except BoxDiedError:
        assert "wrote more than 16 MiB" in box.why


def test_every_box_of_a_process_has_the_filter(boxed):
    """Trap 4: what is read once, as a descriptor with a filter, is there for the first box only."""
    for _ in range(3):
        box = boxed("import ctypes\ndef mode(): return ctypes.CDLL(None).prctl(21, 0, 0, 0, 0)\n")
        assert box.answer("mode")() == 2
        box.close()


def test_python_in_a_box_is_the_grader_s_own(boxed):
    """Trap 5: where a folder above Python cannot be entered, another one would be used."""
    about = boxed("import sys, numpy, torch\ndef about(): return [sys.prefix, sys.version, "
                  "numpy.__file__, torch.__file__, torch.__version__]\n").answer("about")()
    import numpy

    assert about == [sys.prefix, sys.version, numpy.__file__, torch.__file__, torch.__version__]
    late = boxed("def late():\n    import wsgiref.util\n    return wsgiref.util.__file__\n")
    assert late.answer("late", 20)().startswith(sys.base_prefix)


SOCKET = """
import socket
def family(number):
    try:
        socket.socket(number, socket.SOCK_DGRAM).close()
        return "made"
    except OSError as problem:
        return problem.errno
"""


def test_sockets_that_no_network_namespace_covers_are_refused(boxed):
    """Trap 6: AF_VSOCK speaks to the host from any namespace, and so may AF_ALG and netlink."""
    family = boxed(SOCKET).answer("family")
    assert {family(number) for number in (40, 38, 16, 17, 1)} == {1}, "refused by the filter"


def test_udp_is_refused(boxed):
    """Trap 7: Landlock knows TCP and lets UDP out."""
    family = boxed(SOCKET).answer("family")
    assert family(2) == family(10) == 1


def test_a_start_that_is_given_up_leaves_no_process(host, monkeypatch):
    """Trap 8: what is killed is all of it, also when starting itself takes too long."""
    from tutorlib.grading.box import host as module

    tier = next(t for t in tiers.TIERS if t.way == host.way)
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    monkeypatch.setattr(module, "START_SECONDS", 0.2)
    with pytest.raises(BoxError, match="no answer within"):
        tier.start(NEEDED)
    time.sleep(0.2)
    left = [p for p in psutil.Process().children(recursive=True) if p.pid not in before
            and p.status() != psutil.STATUS_ZOMBIE]
    assert left == []


def test_memory_is_summed_over_all_that_a_process_holds(boxed):
    """Trap 9: rlimits are each for one kind of memory; the watcher sees what is resident."""
    box = boxed("""
import mmap, time
def share():
    kept = []
    for _ in range(60):
        kept.append(mmap.mmap(-1, 16 << 20))
        kept[-1][::4096] = bytes(4 << 10)
        time.sleep(0.01)
    return len(kept)
""", memory=256 * MIB)
    with pytest.raises(BoxDiedError, match="more than 256 MiB of memory"):
        box.answer("share", 30)()


def test_a_tier_is_tried_before_it_is_believed(monkeypatch):
    """Trap 10: a host may have bubblewrap and forbid what it needs; the next tier is taken."""
    monkeypatch.setattr(tiers, "_faults", {})
    monkeypatch.setattr(tiers, "own_host", lambda tier, preload: _broken(tier))
    monkeypatch.setenv("TUTORLIB_BWRAP", "/bin/false")
    fault = tiers.fault(tiers.BUBBLEWRAP)
    assert fault.startswith("a box does not work") or "not installed" in fault
    monkeypatch.setitem(tiers._faults, tiers.LANDLOCK, None)
    assert tiers.best_tier() is tiers.LANDLOCK


def _broken(tier):
    raise BoxError("bwrap: No permissions to create new namespace")


def test_prints_have_a_pipe_of_their_own_and_are_cut_while_they_are_read(boxed):
    """Other: prints never mix with replies, 10 kB are kept, the rest is dropped while reading."""
    box = boxed("import os\ndef f():\n    for _ in range(2000):\n"
                "        os.write(1, b'TLBX' * 500); os.write(2, b'x' * 500)\n    return 5\n")
    assert box.answer("f", 30)() == 5
    assert len(box.printed) < 10_100 and "more bytes" in box.printed


def test_data_and_not_addresses_are_limited(boxed):
    """Other: torch reserves far more addresses than it uses, so RLIMIT_AS would refuse it."""
    data, addresses = boxed(limits_inside("RLIMIT_DATA", "RLIMIT_AS"),
                            memory=300 * MIB).answer("of")()
    assert addresses[0] == -1 and 300 * MIB < data[0] < 8 * 1024 * MIB


# ---- what else must be so, wherever this package lies -----------------------------------------

def test_capabilities_are_gone_but_for_the_one_that_reading_python_takes(boxed, host):
    """A box of root's keeps the right to read where Python lies in root's own folder, else none."""
    source = """
import ctypes
def effective():
    head, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capget(head, data)
    return list(data)
"""
    needed = host.way == lock.LANDLOCKED and os.geteuid() == 0 and not paths.open_to_all()
    assert boxed(source).answer("effective")() == ([4, 4, 0, 0, 0, 0] if needed else [0] * 6)


def test_python_for_all_is_told_from_python_for_root(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "readable", lambda: ["/usr"])
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "tutorlib")
    (tmp_path / "tutorlib").mkdir(mode=0o755)
    for folder in tmp_path.parents:  # pytest's own folders are for their owner only
        if not folder.stat().st_mode & 0o001:
            assert not paths.open_to_all()
    monkeypatch.setattr(paths, "PACKAGE", paths.Path("/usr/lib"))
    assert paths.open_to_all()


@pytest.mark.parametrize("checkout", [True, False])
def test_a_package_below_a_readable_folder_brings_no_answers_along(tmp_path, monkeypatch,
                                                                   checkout):
    home = tmp_path / "usr" / "src" / "app"
    private = ["solutions", "course", "exercises", "tests", ".git", "grades"] if checkout else []
    for name in (*private, "tutorlib/exercises", "tutorlib/lm", ".venv/lib", "other"):
        (home / name).mkdir(parents=True)
    for name in ("usr/bin", "usr/src/more"):
        (tmp_path / name).mkdir(parents=True)
    if checkout:
        (home / "pyproject.toml").touch()
    monkeypatch.setattr(paths, "PACKAGE", home / "tutorlib")
    monkeypatch.setattr(paths, "SYSTEM", (str(tmp_path / "usr"),))
    monkeypatch.setattr(sys, "prefix", str(home / ".venv"))
    shown = paths.readable()
    assert str(tmp_path / "usr" / "bin") in shown and str(home / ".venv") in shown
    covered = [n for n in (*private, "tutorlib/exercises")
               if any(Path(part) in (home / n, *(home / n).parents) for part in shown)]
    assert covered == []
    assert (str(home / "other") in shown) != checkout, "what else is installed beside it is there"
    assert re.search("lm", str(paths.package_parts()))


def test_a_default_is_within_reason():
    assert limits.Limits().memory >= 2**30 and limits.Limits().threads >= 16


def test_a_box_closes_what_it_was_handed(boxed, host):
    """Of the grader's descriptors a box has its three pipes and what it opened itself."""
    handles = boxed("""
import os, stat
def kinds():
    found = []
    for handle in range(256):
        try:
            mode = os.fstat(handle).st_mode
        except OSError:
            continue
        found.append((handle, stat.S_IFMT(mode)))
    return found
""").answer("kinds")()
    pipes = [h for h, kind in handles if kind == 0o010000]
    assert len(pipes) == 4 and {1, 2} <= set(pipes), handles  # in, out, and prints twice
    assert not [h for h, kind in handles if kind not in (0o010000, 0o020000)], handles


