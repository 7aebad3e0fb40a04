"""A filter of system calls that no later code can take off: what a box may not ask the kernel for.

A list of what is refused, with everything newer than the list refused as unknown. Within: all
sockets (a network namespace alone lets AF_VSOCK through, Landlock lets UDP through), other
processes (to start, trace, signal or reprioritise one), programs, mounts and namespaces, memory
that no limit counts (memfd, System V), the kernel's large attack surfaces (io_uring, bpf, keys,
userfaultfd, perf), and what changes a file that is not open (chmod, chown, truncate, utime,
attributes), which Landlock does not cover.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from tutorlib.grading.box.system import PR_SET_NO_NEW_PRIVS, machine, prctl

NEWEST = 451  # the last number both tables were written for; later calls do not exist in a box

# name: (x86_64, aarch64); None: this machine has no such call
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # sockets of every family, and what can make or drive one
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "accept": (43, 202),
    "accept4": (288, 242), "bind": (49, 200), "listen": (50, 201),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # other processes
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "setpgid": (109, 154), "setsid": (112, 157), "setpriority": (141, 140),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # namespaces, mounts, other roots
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    # memory outside of every limit
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    # files by name, without opening them
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "truncate": (76, 45),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88), "futimesat": (261, None),
    "mknod": (133, None), "mknodat": (259, 33),
    # the kernel itself
    "bpf": (321, 280), "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "userfaultfd": (323, 282), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "acct": (163, 89), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "syslog": (103, 116), "iopl": (172, None), "ioperm": (173, None),
    "personality": (135, 92), "modify_ldt": (154, None), "lookup_dcookie": (212, 18),
    "fanotify_init": (300, 262), "sethostname": (170, 161), "setdomainname": (171, 162),
    "vhangup": (153, 58), "nfsservctl": (180, 42), "uselib": (134, None), "ustat": (136, None),
    "sysfs": (139, None),
}
# allowed for some arguments only
CLONE, CLONE3, KILL, TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
PRLIMIT, AFFINITY, FCNTL, IOCTL, PRCTL = (302, 261), (203, 122), (72, 25), (16, 29), (157, 167)

_THREAD, _NAMESPACES = 0x10000, 0x7E020000  # clone's flags
_FCNTL = (8, 10, 15, 1031)  # F_SETOWN, F_SETSIG, F_SETOWN_EX send signals; F_SETPIPE_SZ is memory
_IOCTL = (0x8901, 0x8902, 0x5412, 0x541C)  # FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX
_ARCH = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_LOAD, _EQUAL, _GREATER, _SET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06  # opcodes of classic BPF
_ALLOW, _KILL = 0x7FFF0000, 0x80000000


def _refuse(number: int = errno.EPERM) -> tuple:
    """Return the instruction that makes a call fail with ``number``."""
    return (_RETURN, 0, 0, 0x00050000 | number)


def program(name: str, pid: int) -> list[tuple[int, int, int, int]]:
    """Return the filter for a machine: (code, jump if true, jump if false, operand) each.

    ``pid`` is the one process that the box may signal: itself. Raises KeyError for a machine
    without a table.
    """
    column, arch = _ARCH[name]
    lines = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0),
             (_GREATER, 0, 1, NEWEST), _refuse(errno.ENOSYS),  # x32's numbers are among these
             (_EQUAL, 0, 1, CLONE3[column]), _refuse(errno.ENOSYS)]  # libc then takes clone
    for numbers in REFUSED.values():
        if numbers[column] is not None:
            lines += [(_EQUAL, 0, 1, numbers[column]), _refuse()]
    flags = [(_SET, 0, 1, _NAMESPACES), _refuse(), (_SET, 1, 0, _THREAD), _refuse()]
    lines += _for_call(CLONE[column], 0, flags)
    for call, only in ((KILL, pid), (TGKILL, pid), (PRLIMIT, 0), (AFFINITY, 0)):
        lines += _for_call(call[column], 0, [(_EQUAL, 1, 0, only), _refuse()])
    for call, place, values in ((FCNTL, 1, _FCNTL), (IOCTL, 1, _IOCTL), (PRCTL, 0, (1,))):
        tests = [line for value in values for line in ((_EQUAL, 0, 1, value), _refuse())]
        lines += _for_call(call[column], place, tests)
    return [*lines, (_RETURN, 0, 0, _ALLOW)]


def _for_call(number: int, place: int, tests: list[tuple]) -> list[tuple]:
    """Return ``tests`` on the low half of argument ``place``, for one call; else allowed."""
    body = [(_LOAD, 0, 0, 16 + 8 * place), *tests, (_RETURN, 0, 0, _ALLOW)]
    return [(_EQUAL, 0, len(body), number), *body]


def column(name: str) -> int:
    """Return which number of the tables is a machine's; KeyError for one without."""
    return _ARCH[name][0]


def supported() -> bool:
    """Whether this machine has a table and this kernel has filters."""
    return machine() in _ARCH and os.path.exists("/proc/sys/kernel/seccomp")


def install() -> None:
    """Put the filter on the calling thread and all it starts; nothing takes it off again."""
    lines = program(machine(), os.getpid())
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in lines))
    head = struct.pack("@HxxxxxxP", len(lines), ctypes.addressof(code))
    filter_ = ctypes.create_string_buffer(head)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(22, 2, ctypes.addressof(filter_))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
