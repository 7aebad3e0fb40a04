"""Ending, hanging, filling and multiplying: what stops a grader that runs in the same process."""

from tests.grading.hostile.kit import (
    DEF,
    EARNS,
    ENDS,
    RIGHT,
    Hostile,
    after_shown,
    called,
    spy,
)

EXITS, SIGNALS, TIMES = "exits", "signals", "time-outs with interrupts ignored"
MEMORY, FORKS, DISKS, OUTPUT = "memory bombs", "fork bombs", "disk bombs", "output bombs"
DAEMONS, NETWORK = "daemons", "network of every family"
ENDED = "ended its process: it ended itself with exit code 0"
BIG = "ended its process: it used|MemoryError|RuntimeError|OSError"

ALL = (
    Hostile(EXITS, "at once, with success", "import os\nos._exit(0)\n" + RIGHT, alone=ENDS,
            says="ended its process: it ended itself with exit code 0"),
    Hostile(EXITS, "when called", called("os._exit(0)"), alone=ENDS, says=ENDED),
    Hostile(EXITS, "politely", called("sys.exit(0)"), says="SystemExit"),
    Hostile(EXITS, "on a hidden case, with a number that says something", after_shown(
        "os._exit(min(255, int(abs(float(scores[0, 0])) * 100)))"), alone=ENDS,
        says=r"On a hidden case the answer ended its process\.$"),
    Hostile(EXITS, "through the interpreter's floor", called("ctypes.string_at(0)"), alone=ENDS,
            says="ended its process"),

    Hostile(SIGNALS, "to itself", called("os.kill(os.getpid(), 9)"), alone=ENDS),
    Hostile(SIGNALS, "to everybody", called("""
        for pid in (os.getppid(), -1, 0, @PID@, -@PID@, -os.getpgid(0)):
            for number in (9, 19, 15):
                try:
                    os.kill(pid, number)
                except OSError:
                    pass
        """)),
    Hostile(SIGNALS, "to nobody: it stops itself", called("os.kill(os.getpid(), 19)")),

    Hostile(TIMES, "a loop that takes every interrupt", called("""
        for number in range(1, 32):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
        """, "import signal"), says="limit of 5 seconds"),
    Hostile(TIMES, "a regular expression that does not end", called(
        "re.match(r'(a+)+$', 'a' * 64 + 'b')", "import re"), says="limit of 5 seconds"),

    Hostile(MEMORY, "all at once", called("x = bytearray(3 << 30); x[::4096] = bytes(3 << 18)"),
            says=BIG),
    Hostile(MEMORY, "bit by bit", called("""
        kept = []
        while True:
            kept.append(bytearray(1 << 24))
        """), says=BIG),
    Hostile(MEMORY, "shared, which no process's own limit counts", called("""
        kept = []
        while True:
            kept.append(mmap.mmap(-1, 1 << 26))
            kept[-1][::4096] = bytes(1 << 14)
        """, "import mmap"), says=BIG),

    Hostile(FORKS, "processes", spy(
        "os.fork() == 0 and os._exit(0) or 1", "os.posix_spawn('/bin/true', ['true'], {}) or 1",
        "subprocess.Popen(['true'])", "os.popen('true').close() is None and 0",
        "multiprocessing.get_context('fork').Process(target=int).start() or 1",
        setup="import multiprocessing, subprocess"), alone=EARNS),
    Hostile(FORKS, "processes, by the kernel's own names", spy(
        "os.forkpty()", "libc.vfork() > 0", "libc.syscall(56, 17, 0, 0, 0, 0) > 0",
        "libc.syscall(435, ctypes.create_string_buffer(88), 88) > 0", "libc.daemon(0, 0) == 0",
        "os.execv('/bin/true', ['true'])", setup="libc = ctypes.CDLL(None)")),
    Hostile(FORKS, "threads", called("""
        while True:
            threading.Thread(target=time.sleep, args=(999,)).start()
        """, "import threading, time"), says="start new thread|ended its process"),

    Hostile(DISKS, "large files", spy("full()", setup="""
        import tempfile
        def full():
            written, block = 0, bytes(1 << 22)
            for place in (tempfile.gettempdir(), '/tmp', '/dev/shm', '/var/tmp', '.'):
                for number in range(4):
                    try:
                        with open(os.path.join(place, f'@MARK@{number}'), 'wb', 0) as file:
                            for _ in range(32):
                                written += file.write(block)
                    except OSError:
                        pass
            return written > 1 << 30
        """)),
    Hostile(DISKS, "many files, holes and links", spy("many()", setup="""
        def many():
            for number in range(20_000):
                os.symlink('x' * 200, f'{number}-@MARK@')
            return number > 15_000
        """), says="wrong|ended its process|error"),

    Hostile(OUTPUT, "prints", called("""
        for _ in range(20):
            print('\\x1b]0;owned\\x07' + 'x' * 2_000_000)
            print('y' * 1_000_000, file=sys.stderr)
        """)),
    Hostile(OUTPUT, "while it is loaded, for the grader's own terminal",
            "print('\\x1b[2J\\x1b]52;c;QE1BUktA\\x07 @MARK@')\n" + DEF + "    return 7\n"),
    Hostile(OUTPUT, "an error of ten megabytes", called("raise ValueError('z' * 10_000_000)")),
    Hostile(OUTPUT, "errors of ten thousand statements", "\n".join(
        f"undefined_{n}" for n in range(900)) + "\n" + DEF + "    return 7\n"),
    Hostile(OUTPUT, "a value of a hundred megabytes", called("return torch.zeros(2**25)"),
            says="too large to be sent"),
    Hostile(OUTPUT, "a number of a million digits", called("return 10**1_000_000"),
            says="so many digits"),

    Hostile(DAEMONS, "a program in a session of its own", spy(
        "os.setsid() or 1", "subprocess.Popen(['sleep', '@SLEEP@'], start_new_session=True)",
        "os.system('nohup setsid sleep @SLEEP@ >/dev/null 2>&1 &') == 0",
        setup="import subprocess"), alone=EARNS),
    Hostile(DAEMONS, "threads that wait for the end", called("return 7", """
        import threading, time
        def wait():
            while True:
                time.sleep(0.01)
                try:
                    open('/tmp/@MARK@', 'a').write('still here')
                except OSError:
                    pass
        for _ in range(8):
            threading.Thread(target=wait, daemon=False).start()
        """)),

    Hostile(NETWORK, "sockets of every family", spy(
        "[s for s in (made(f, k) for f in range(46) for k in (1, 2, 3, 5)) if s]",
        "socket.socketpair()", "socket.create_server(('127.0.0.1', 0))",
        "[socket.socket(fileno=h).family for h in range(3, 40) if is_socket(h)]", setup="""
        import stat
        def made(family, kind):
            try:
                return socket.socket(family, kind)
            except OSError:
                return None
        def is_socket(handle):
            try:
                return stat.S_ISSOCK(os.fstat(handle).st_mode)
            except OSError:
                return False
        """), alone=EARNS),
    Hostile(NETWORK, "to a server that listens, by every road", spy(
        "socket.create_connection(('127.0.0.1', @PORT@), 2)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', @PORT@))",
        "socket.socket(socket.AF_UNIX).connect('@IN@/../socket') or 1",
        "socket.socket(socket.AF_UNIX).connect(chr(0) + '@MARK@') or 1",
        "urllib.request.urlopen('http://127.0.0.1:@PORT@', timeout=0.3)",
        "ctypes.CDLL(None).syscall(41, 2, 1, 0) >= 0",
        "ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(120)) >= 0",
        "os.system('bash -c \"echo > /dev/tcp/127.0.0.1/@PORT@\"') == 0",
        setup="import urllib.request"), alone=EARNS),
)
