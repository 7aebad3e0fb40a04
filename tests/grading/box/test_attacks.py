"""What a box promises, attacked; each attack also succeeds where there is no box."""

import os
import time
from pathlib import Path

import pytest

from tutorlib.grading.box import BoxDiedError
from tutorlib.grading.box.attacks import ATTACKS
from tutorlib.grading.box.clock import PATIENCE
from tutorlib.grading.box.doctor import about
from tutorlib.grading.guard import TimeLimitReached

ROOT = Path(__file__).parents[3]
MIB = 2**20
FORBIDDEN = ("tutorlib.mdp.q_values",)


@pytest.fixture(scope="module")
def known():
    with about() as told:
        yield told


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_achieves_nothing(boxed, known, name):
    box = boxed(ATTACKS[name].source, FORBIDDEN, memory=512 * MIB, tmp=16 * MIB)
    assert box.problems == [None]
    try:
        assert box.answer("attack", 60)(known) == ""
    except BoxDiedError:
        assert ATTACKS[name].may_end, box.why
    assert Path(known["secret"]).read_text() == "secret"


@pytest.mark.parametrize("name", ["files", "environment", "sockets", "signals", "answers"])
def test_the_attacks_work_where_there_is_no_box(known, name):
    """A test that cannot fail proves nothing; these are the ones that do no harm here."""
    if name == "sockets" and os.environ.get("TUTORLIB_NO_SOCKETS"):
        pytest.skip("this machine has no sockets")
    names = {}
    exec(ATTACKS[name].source, names)
    assert names["attack"](known) != ""


def test_a_call_that_ignores_interrupts_is_stopped(boxed):
    box = boxed("""
import signal
def f():
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
""")
    start = time.monotonic()
    with pytest.raises(TimeLimitReached):
        box.answer("f", 0.5)()
    assert time.monotonic() - start < 10
    assert not box.alive and "ran out of time" in box.why
    with pytest.raises(BoxDiedError, match="ran out of time"):
        box.answer("f")


@pytest.mark.parametrize("line, why", [
    ("os._exit(0)", "ended itself with exit code 0"),
    ("os.kill(os.getpid(), 9) or os.abort()", "ended|used up"),
    ("os.closerange(3, 100)", "ended"),
    ("ctypes.string_at(0)", "SIGSEGV|ended"),
])
def test_a_box_that_ends_says_why_and_the_next_one_works(boxed, line, why):
    box = boxed(f"import os, ctypes\ndef f(): {line}\n")
    with pytest.raises(BoxDiedError, match=why):
        box.answer("f")()
    assert boxed("def f(): return 1").answer("f")() == 1


@pytest.mark.parametrize("line", ["sys.exit(0)", "exit()", "raise KeyboardInterrupt",
                                  "raise GeneratorExit"])
def test_an_exit_is_an_ordinary_error_of_the_answer(boxed, line):
    box = boxed(f"import sys\ndef f(): {line}\n")
    with pytest.raises(Exception) as caught:
        box.answer("f")()
    assert type(caught.value).__name__ in ("SystemExit", "NameError", "KeyboardInterrupt",
                                           "GeneratorExit")
    assert isinstance(caught.value, Exception) and box.alive


def test_nothing_of_one_submission_is_there_for_the_next(boxed):
    first = boxed("""
import os, sys, tempfile, threading, time, builtins, torch
path = os.path.join(tempfile.gettempdir(), "left")
open(path, "w").write("mine")
try:
    open("/dev/shm/left", "w").write("mine")
except OSError:
    pass
torch.add = lambda *a: 42
builtins.sum = lambda x: 42
threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
def where(): return path
""")
    assert first.problems == [None]
    path = first.answer("where")()
    first.close()
    second = boxed("""
import os, tempfile, torch
def there(path):
    seen = [p for p in (path, "/dev/shm/left") if os.path.exists(p)]
    return seen + os.listdir(tempfile.gettempdir()), torch.add(torch.ones(1), 1), sum([1])
""")
    seen, total, length = second.answer("there")(path)
    assert seen == [] and float(total) == 2 and length == 1


def test_the_process_itself_is_gone_after_closing(boxed, host):
    box = boxed("import threading, time\n"
                "for _ in range(5): threading.Thread(target=time.sleep, args=(99,)).start()\n")
    marked = boxes_of(host)
    assert len(marked) >= 1
    box.close()
    assert boxes_of(host) == []


def boxes_of(host) -> list[int]:
    """Return the processes below a host's, without the host itself and those that only wait."""
    import psutil

    below = psutil.Process(host._process.pid).children(recursive=True)
    found = [p for p in [psutil.Process(host._process.pid), *below]]
    return [p.pid for p in found if p.num_threads() >= 5]


def test_a_limit_is_of_what_the_code_computes_not_of_the_wall(boxed, host):
    """On a busy machine a right answer waits; what only sleeps is stopped all the same."""
    box = boxed("import time\n"
                "def waits(seconds): time.sleep(seconds); return seconds\n"
                "def works():\n"
                "    while True: pass\n")
    assert box.answer("waits", 0.4)(0.9) == 0.9
    with pytest.raises(TimeLimitReached):
        box.answer("waits", 0.2)(60)
    box = boxed("def works():\n    while True: pass\n")
    begun = host.clock.seconds()
    with pytest.raises(TimeLimitReached):
        box.answer("works", 0.3)()
    assert begun < 1 and not box.alive, "the clock is the box's own, not its host's"
    assert PATIENCE == 4 and "four\ntimes" in (ROOT / "docs/instructor.md").read_text().replace(
        "\n  ", "\n")
