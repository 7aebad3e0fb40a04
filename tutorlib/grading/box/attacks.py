"""One probe attack per promise: code that a box must stop, run by ``doctor`` and by the tests.

Each source defines ``attack(about)``, which returns what it achieved, an empty string for nothing.
``about`` tells it where a secret lies and which process is the grader's: a box must hold although
all that is known.
"""

from __future__ import annotations

from dataclasses import dataclass

_FILES = """
import os
def attack(about):
    got = []
    for path in (about["secret"], "/etc/shadow", "/etc/passwd", f"/proc/{about['pid']}/environ",
                 f"/proc/{about['pid']}/cmdline", os.path.join(about["exercises"], "__init__.py")):
        try:
            with open(path, "rb") as file:
                file.read(1)
            got.append("read " + path)
        except OSError:
            pass
    for path in (os.path.dirname(about["secret"]), about["folder"]):
        try:
            got += ["listed " + path] if set(os.listdir(path)) & set(about["names"]) else []
        except OSError:
            pass
    return "; ".join(got)
"""

_ENVIRONMENT = """
import os
def attack(about):
    seen = dict(os.environ)
    for path in ("/proc/self/environ", "/proc/1/environ", f"/proc/{os.getppid()}/environ"):
        try:
            seen[path] = open(path).read()
        except (OSError, ValueError):
            pass
    return "a variable" if any(about["variable"] in value for value in seen.values()) else ""
"""

_SOCKETS = """
import ctypes, socket
def attack(about):
    got = []
    families = dict(INET=2, INET6=10, UNIX=1, NETLINK=16, PACKET=17, ALG=38, VSOCK=40, CAN=29,
                    BLUETOOTH=31, XDP=44)
    for name, family in families.items():
        for kind in (1, 2, 3):
            try:
                socket.socket(family, kind).close()
                got.append(f"{name}/{kind}")
            except OSError:
                pass
    try:
        socket.socketpair()
        got.append("a pair")
    except OSError:
        pass
    return "sockets: " + ", ".join(got) if got else ""
"""

_WRITES = """
import os, sys
def attack(about):
    got = []
    tries = [
        ("write", lambda: open(about["secret"], "a").close()),
        ("truncate", lambda: os.truncate(about["secret"], 0)),
        ("remove", lambda: os.remove(about["secret"])),
        ("rename", lambda: os.rename(about["secret"], about["secret"] + ".mine")),
        ("link", lambda: os.link(about["secret"], "linked")),
        ("chmod", lambda: os.chmod(about["secret"], 0)),
        ("utime", lambda: os.utime(about["secret"], (0, 0))),
        ("make", lambda: open(os.path.join(about["folder"], "mine"), "w").close()),
        ("package", lambda: open(os.path.join(about["package"], "mine.py"), "w").close()),
        ("prefix", lambda: open(os.path.join(sys.prefix, "mine"), "w").close()),
        ("usr", lambda: open("/usr/mine", "w").close()),
        ("root", lambda: open("/mine", "w").close()),
        ("var", lambda: open("/var/tmp/mine", "w").close()),
        ("dev", lambda: open("/dev/mine", "w").close()),
        ("node", lambda: os.mknod("mine", 0o60600, os.makedev(8, 0))),
    ]
    for name, do in tries:
        try:
            do()
            got.append(name)
        except OSError:
            pass
    return ", ".join(got)
"""

_PROCESSES = """
import multiprocessing, os, subprocess, sys
def attack(about):
    got = []
    def fork():
        if os.fork() == 0:
            os._exit(0)
    for name, do in [("fork", fork), ("program", lambda: subprocess.run([sys.executable, "-V"])),
                     ("shell", lambda: os.listdir(1 / os.system("true"))),
                     ("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {})),
                     ("exec", lambda: os.execv("/bin/true", ["true"])),
                     ("pool", lambda: multiprocessing.get_context("fork").Process(
                         target=print).start()),
                     ("session", os.setsid)]:
        try:
            do()
            got.append(name)
        except (OSError, TypeError):
            pass
        except ZeroDivisionError:
            got.append(name)
    return ", ".join(got)
"""

_THREADS = """
import threading, time
def attack(about):
    for count in range(5000):
        try:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        except (RuntimeError, MemoryError):
            time.sleep(0.3)
            return ""
    time.sleep(0.5)
    return "5000 threads"
"""

_MEMORY = """
import mmap, torch
def attack(about):
    kept = []
    def shared():
        block = mmap.mmap(-1, 3 << 30)
        for at in range(0, 3 << 30, 4096):
            block[at] = 1
        return block
    for take in (lambda: bytearray(3 << 30), lambda: torch.full((3 << 28,), 1.0),
                 lambda: [bytearray(1 << 20) for _ in range(3 << 10)], shared):
        try:
            kept.append(take())
        except (MemoryError, RuntimeError, OSError, ValueError):
            pass
    return f"{3 * len(kept)} GiB" if kept else ""
"""

_DISK = """
import os, tempfile
def attack(about):
    written, block = 0, bytes(1 << 20)
    for place in (tempfile.gettempdir(), "/dev/shm", "/var/tmp"):
        for number in range(64):
            try:
                with open(os.path.join(place, f"full-{number}"), "wb", buffering=0) as file:
                    for _ in range(64):
                        written += file.write(block)
            except OSError:
                break
    return f"wrote {written >> 20} MiB" if written > 3 * about["tmp"] else ""
"""

_SIGNALS = """
import ctypes, fcntl, os, signal
def attack(about):
    got, libc = [], ctypes.CDLL(None, use_errno=True)
    targets = [about["pid"], os.getppid(), -1, 0, -about["pid"], 2, 3]
    for pid in targets:
        try:
            os.kill(pid, 0)
            got.append(f"kill {pid}")
        except OSError:
            pass
        if pid > 0 and libc.syscall(about["calls"]["tkill"], pid, 0) == 0:
            got.append(f"tkill {pid}")
        if pid > 0 and libc.syscall(about["calls"]["pidfd_open"], pid, 0) >= 0:
            got.append(f"pidfd {pid}")
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(reading, fcntl.F_SETOWN, about["pid"])
        got.append("F_SETOWN")
    except OSError:
        pass
    return ", ".join(got)
"""

_TRACES = """
import ctypes, os
def attack(about):
    got, libc = [], ctypes.CDLL(None, use_errno=True)
    for pid in (about["pid"], os.getppid(), 1, 2):
        if pid != os.getpid():
            if libc.ptrace(16, pid, 0, 0) == 0:
                got.append(f"ptrace {pid}")
            for name in ("mem", "maps", "environ", "root/etc/passwd", "cwd/."):
                try:
                    open(f"/proc/{pid}/{name}", "rb").close()
                    got.append(f"/proc/{pid}/{name}")
                except OSError:
                    pass
    return ", ".join(got)
"""

_KERNEL = """
import ctypes, errno
def attack(about):
    got, libc = [], ctypes.CDLL(None, use_errno=True)
    for name, number in about["calls"].items():
        ctypes.set_errno(0)
        if libc.syscall(number, 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() not in (
                errno.EPERM, errno.ENOSYS):
            got.append(name)
    return ", ".join(got)
"""

_ANSWERS = """
def attack(about):
    got = []
    for line in ("import tutorlib.exercises", "from tutorlib.exercises import start_here",
                 "import tutorlib.authoring", "from tutorlib.mdp import q_values",
                 "import tutorlib.mdp.planning as p; p.q_values"):
        try:
            exec(line, {})
            got.append(line)
        except ImportError:
            pass
    return "; ".join(got)
"""


@dataclass(frozen=True)
class Attack:
    """A promise, and the code that tries to break it."""

    promise: str
    source: str
    may_end: bool = False  # whether the box may stop the code by ending


ATTACKS: dict[str, Attack] = {
    "files": Attack("reads no file but Python's", _FILES),
    "environment": Attack("sees nothing of the grader's environment", _ENVIRONMENT),
    "sockets": Attack("opens no socket of any family", _SOCKETS),
    "writes": Attack("changes no file outside its own /tmp", _WRITES),
    "processes": Attack("starts no process and no program", _PROCESSES),
    "threads": Attack("starts few threads", _THREADS, may_end=True),
    "memory": Attack("takes no more memory than its limit", _MEMORY, may_end=True),
    "disk": Attack("fills no disk", _DISK, may_end=True),
    "signals": Attack("signals no other process", _SIGNALS),
    "traces": Attack("looks into no other process", _TRACES),
    "kernel": Attack("reaches no part of the kernel that Python does not need", _KERNEL),
    "answers": Attack("imports no exercise and no forbidden function", _ANSWERS),
}
