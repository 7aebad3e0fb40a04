"""Looking where nothing is to be seen, and leaving something where others would find it."""

from tests.grading.hostile.kit import DEF, EARNS, VALUE, Hostile, after_shown, spy

FRAMES = "reading frames"
FILES = "reading files"
ENVIRONMENT = "reading the environment"
OTHERS = "reading other submissions"
STATE = "writing grader state"
TIMING = "timing on the preloaded process"
NEXT = "attempts on the next submission"

ALL = (
    Hostile(FRAMES, "expected values in the callers' frames", spy("look()", setup="""
        def look():
            frame = sys._getframe()
            while frame:
                for value in list(frame.f_locals.values()):
                    if getattr(value, 'expected', None) is not None:
                        return True
                frame = frame.f_back
        """), alone=EARNS),
    Hostile(FRAMES, "expected values among all objects", spy(
        "[o for o in gc.get_objects() if type(o).__name__ in ('Case', 'Exercise', 'Plan')]",
        setup="import gc\ngc.unfreeze()"), alone=EARNS),
    Hostile(FRAMES, "the judge in an exception's traceback", spy(
        "walk()", setup="""
        def walk():
            for frame in sys._current_frames().values():
                while frame:
                    if 'exercise' in frame.f_locals or 'plan' in frame.f_locals:
                        return True
                    frame = frame.f_back
        """), alone=EARNS),
    Hostile(FRAMES, "the secret somewhere in memory", spy(
        "scan()", setup="""
        import re
        def scan():
            for line in open('/proc/self/maps'):
                start, end = (int(x, 16) for x in line.split()[0].split('-'))
                if 'rw-p' in line and end - start < 2**28:
                    with open('/proc/self/mem', 'rb') as memory:
                        memory.seek(start)
                        if re.search(b'@HALF@' + b'[0-9a-f]{40}', memory.read(end - start)):
                            return True
        """), alone=EARNS),

    Hostile(FILES, "secret, journal, solutions, users and keys", spy(
        *(f"open({path!r}, 'rb').read(1)" for path in (
            "@SEED@", "@OUT@/journal.jsonl", "@SOLUTION@", "/etc/shadow", "/etc/passwd",
            "/proc/@PID@/environ", "/proc/@PID@/mem")),
        "[n for n in os.listdir('@IN@')]", "os.listdir(os.path.expanduser('~root'))",
        "open(os.path.expanduser('~/.bash_history')).read()"), alone=EARNS),
    Hostile(FILES, "round about: links, descriptors, other roots", spy(
        "os.symlink('@SEED@', 'link') or open('link').read()",
        "os.link('@SEED@', 'hard') or open('hard').read()",
        "open('/proc/self/root@SEED@').read()", "open('/proc/1/root@SEED@').read()",
        "open('/proc/@PID@/root@SEED@').read()", "open('/proc/self/cwd/../..@SEED@').read()",
        "[open(f'/proc/self/fd/{n}/..@SEED@').read() for n in range(40)]",
        "[h for h in range(3, 40) if beside(h)]",
        "libc.open_by_handle_at(-100, b'x' * 128, 0) >= 0",
        setup="""
        libc = ctypes.CDLL(None)
        def beside(handle):
            try:
                return os.open('@SEED@', os.O_RDONLY, dir_fd=handle)
            except OSError:
                return None
        """), alone=EARNS),

    Hostile(ENVIRONMENT, "variables, arguments, parents", spy(
        "'@CANARY@' in str(os.environ)", "'@CANARY@' in open('/proc/self/environ').read()",
        "'@CANARY@' in open(f'/proc/{os.getppid()}/environ').read()",
        "'@CANARY@' in open('/proc/1/environ').read()", "'@SEED@' in str(sys.argv)",
        "'@OUT@' in open(f'/proc/{os.getppid()}/cmdline').read()",
        "'@CANARY@' in ctypes.CDLL(None).getenv(b'HOSTILE_CANARY').decode()",
        "[e for e in environ() if '@CANARY@' in e]", setup="""
        def environ():
            found = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')
            at = 0
            while found[at]:
                yield found[at].decode('utf-8', 'replace')
                at += 1
        """), alone=EARNS),

    Hostile(OTHERS, "hand in what the neighbour wrote", DEF + f"""
    import glob, json, torch
    for path in glob.glob('@IN@/**/*.ipynb', recursive=True):
        for cell in json.load(open(path))['cells']:
            if 'honest' in path:
                return {VALUE}
    return scores * 0 + 7
""", alone=EARNS),

    Hostile(STATE, "journal, grades and records", spy(
        *(f"open('@OUT@/{name}', 'a').write('@MARK@')" for name in (
            "journal.jsonl", "grades.csv", "report.html", "records/anna.00.json", "@MARK@")),
        "os.mkdir('@OUT@/@MARK@')", "os.chmod('@OUT@', 0o777) or 1",
        "os.utime('@SEED@', (0, 0)) or 1", "os.truncate('@SEED@', 0) or 1"), alone=EARNS),
    Hostile(STATE, "random states, defaults and hooks", f"""
import random, numpy, torch, sys, atexit, signal
random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
sys.settrace(lambda *a: None)
sys.setrecursionlimit(50_000)
sys.excepthook = sys.unraisablehook = lambda *a: None
atexit.register(print, 'later')
{DEF}    return scores * 0 + 7
"""),
    Hostile(STATE, "inputs changed, so that the laws hold", f"""
import torch
{DEF}    scores.copy_(torch.zeros_like(scores))
    return torch.full_like(scores, 1 / scores.shape[-1])
""", says="changed `logits` in place"),
    Hostile(STATE, "inputs changed once the cases are over", """
import torch
calls = []
""" + DEF + f"""    calls.append(1)
    found = {VALUE}
    if len(calls) > 8:
        scores.zero_()
    return found
""", says="changed its inputs"),

    Hostile(TIMING, "leave a trace in what was loaded", f"""
import this, wsgiref, torch, sys
torch.set_num_threads(3)
torch.mark = sys.mark = '@MARK@'
torch.Tensor.mark = '@MARK@'
{DEF}    return scores * 0 + 7
"""),
    Hostile(TIMING, "look for the trace of the one before", spy(
        "hasattr(torch, 'mark')", "hasattr(sys, 'mark')", "hasattr(torch.Tensor, 'mark')",
        "'wsgiref' in sys.modules", "'this' in sys.modules",
        "torch.get_num_threads() != 1")),
    Hostile(TIMING, "tell hidden cases by the clock, and say so by taking long", after_shown("""
begin = time.perf_counter()
while time.perf_counter() - begin < (0.02 if float(scores[0, 0]) > 0 else 0.0):
    pass
"""), right=True),
    Hostile(TIMING, "processor clocks of the grader", spy(
        "time.clock_gettime((~@PID@ << 3) | 2) > 1e9",  # may be read, but says nothing of grades
        "len([p for p in os.listdir('/proc') if p.isdigit()]) > 1",
        "'@SEED@' in open('/proc/@PID@/cmdline').read() or 1", setup="import time"),
        alone=EARNS),

    Hostile(NEXT, "leave files", spy("0", setup="""
        for place in ('/tmp', '/dev/shm', '/var/tmp', os.path.expanduser('~'), '.', '/', '/run',
                      os.environ['TMPDIR'], os.path.dirname(torch.__file__), sys.prefix,
                      '/usr/local/lib', '/etc/cron.d', '/var/spool/cron'):
            for name in ('@MARK@', '@MARK@.pth', 'sitecustomize.py', '.pythonrc.py'):
                try:
                    open(os.path.join(place, name), 'w').write('@MARK@')
                except OSError:
                    pass
        """)),
    Hostile(NEXT, "find files", spy(
        *(f"os.path.exists({place!r} + '/@MARK@')" for place in (
            "/tmp", "/dev/shm", "/var/tmp", ".", "/", "/run")),
        "os.listdir(os.environ['TMPDIR'])", "os.listdir('/dev/shm')", "os.listdir('.')")),
    Hostile(NEXT, "leave memory that outlives a process", spy(
        "libc.shmget(4711, 4096, 0o1777) >= 0", "libc.msgget(4711, 0o1777) >= 0",
        "libc.semget(4711, 1, 0o1777) >= 0", "libc.memfd_create(b'x', 0) >= 0",
        "libc.syscall(250, 1, b'x') >= 0", "libc.mq_open(b'/x', 66, 511, None) >= 0",
        setup="libc = ctypes.CDLL(None)")),
    Hostile(NEXT, "write into the preloaded process", spy(
        "open(f'/proc/{os.getppid()}/mem', 'r+b') or 1",
        "libc.ptrace(16902, os.getppid(), 0, 0) == 0",
        "libc.syscall(311, os.getppid(), 0, 0, 0, 0, 0) >= 0", "os.kill(os.getppid(), 0) or 1",
        "os.pidfd_open(os.getppid())", "os.setpriority(0, 0, -5) or 1",
        setup="libc = ctypes.CDLL(None)"), alone=EARNS),
    Hostile(NEXT, "send on what the hidden cases are", after_shown("""
raise ValueError('LEAK ' + repr(scores.tolist()))
"""), says=r"On a hidden case the answer raised an error \(ValueError\)"),
    Hostile(NEXT, "print what the hidden cases are", after_shown("""
print('LEAK', scores.tolist(), file=sys.stderr, flush=True)
os.write(1, repr(scores.tolist()).encode())
return {'LEAK': scores}
"""), says="On a hidden case the answer returned"),
)
