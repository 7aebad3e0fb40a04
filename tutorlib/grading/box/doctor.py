"""Attack a box of this machine, promise by promise, and say which hold and what is not promised."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tutorlib.grading.box import paths, seccomp, system, tiers
from tutorlib.grading.box.attacks import ATTACKS, Attack
from tutorlib.grading.box.box import Box
from tutorlib.grading.box.cells import Cell
from tutorlib.grading.box.errors import BoxDiedError, BoxError
from tutorlib.grading.box.host import Host
from tutorlib.grading.box.limits import Limits
from tutorlib.grading.box.preload import NEEDED
from tutorlib.grading.guard import TimeLimitReached

NOT_PROMISED = (
    "faults of the kernel itself: keep it up to date",
    "hidden inputs stay hidden from the code that is called with them",
    "an answer copied from the public solutions, or written by somebody else, is not noticed",
    "timing and processor caches are shared with other processes",
)
NOT_IN_LANDLOCK = (
    "names, sizes and dates of other files can be asked for, their contents not",
    "memory and what is written under /tmp are watched every 50 ms, not walled: a box may exceed "
    "its limit for that long",
)
_VARIABLE = "TUTORLIB_DOCTOR_SECRET"


@dataclass(frozen=True)
class Finding:
    """Whether one promise held, and how that was seen."""

    promise: str
    held: bool
    seen: str


@contextlib.contextmanager
def about() -> Iterator[dict]:
    """Give what an attack is told: a secret file and variable, this process, the filter's calls."""
    home = os.path.expanduser("~")
    public = "\n".join([*paths.readable(), str(paths.PACKAGE)])  # their folders are there, empty
    private = [name for name in os.listdir(home) if os.path.join(home, name) not in public]
    column = seccomp.column(system.machine())
    calls = {name: both[column] for name, both in seccomp.REFUSED.items() if both[column]}
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder, "secret.txt")
        secret.write_text("secret")
        os.environ[_VARIABLE] = value = f"secret of {os.getpid()}"
        try:
            yield {"secret": str(secret), "folder": home, "pid": os.getpid(),
                   "names": [*private, secret.name],
                   "variable": value, "package": str(paths.PACKAGE), "calls": calls,
                   "exercises": str(paths.PACKAGE / "exercises"), "tmp": Limits().tmp}
        finally:
            del os.environ[_VARIABLE]


def examine(tier: tiers.Tier) -> list[Finding]:
    """Run every attack in a box of ``tier``, and those that need the grader's side."""
    host = tiers.own_host(tier, NEEDED)
    with about() as told:
        found = [_attack(host, attack, told) for attack in ATTACKS.values()]
    return [*found, _never_ends(host), _leaves_nothing(host)]


def _attack(host: Host, attack: Attack, told: dict) -> Finding:
    """Run one attack in a box of its own."""
    with Box(host, Limits()) as box:
        try:
            box.load([Cell(attack.source)], ["tutorlib.mdp.q_values"])
            got = box.answer("attack", 60.0)(told)
            return Finding(attack.promise, got == "", str(got) or "refused")
        except BoxDiedError:
            return Finding(attack.promise, attack.may_end, f"the box was ended: {box.why}")
        except (Exception, TimeLimitReached) as problem:
            return Finding(attack.promise, False, f"{type(problem).__name__}: {problem}"[:200])


def _never_ends(host: Host) -> Finding:
    """See that a loop that swallows every interrupt is stopped."""
    promise = "stops at its time limit, whatever the code ignores"
    source = ("def f():\n    while True:\n        try:\n            while True: pass\n"
              "        except BaseException: pass\n")
    with Box(host, Limits()) as box:
        box.load([Cell(source)])
        start = time.monotonic()
        try:
            box.answer("f", 0.5)()
        except TimeLimitReached:
            seconds = time.monotonic() - start
            return Finding(promise, not box.alive, f"a limit of 0.5 s took {seconds:.2f} s")
    return Finding(promise, False, "it came back")


def _leaves_nothing(host: Host) -> Finding:
    """See that files of one submission are not there for the next."""
    source = ("import os, tempfile\npath = os.path.join(tempfile.gettempdir(), 'left')\n"
              "def put(): open(path, 'w').close(); return path\n"
              "def there(old): return os.path.exists(path) or os.path.exists(old)\n")
    seen = []
    for name in ("put", "there"):
        with Box(host, Limits()) as box:
            box.load([Cell(source)])
            seen.append(box.answer(name, 5.0)(*seen))
    return Finding("finds nothing of the submission before it", seen[1] is False, "looked")


def report() -> tuple[str, bool]:
    """Return the doctor's text, and whether a tier is in force whose promises all hold."""
    lines, tier = [], None
    for candidate in tiers.TIERS:
        fault = tiers.fault(candidate, NEEDED)
        lines.append(f"tier {candidate.name}: {'works' if fault is None else fault}")
        if fault is None and tier is None:
            tier = candidate
    if tier is None:
        return "\n".join([*lines, "No tier works: submissions would not be graded here."]), False
    lines.append(f"In force: {tier.name}. A box of it ...")
    try:
        findings = examine(tier)
    except BoxError as problem:
        return "\n".join([*lines, f"could not be examined: {problem}"]), False
    lines += [f"  {'holds ' if f.held else 'BROKEN'}  {f.promise} ({f.seen})" for f in findings]
    more = NOT_IN_LANDLOCK if tier is tiers.LANDLOCK else ()
    lines += ["Not promised:", *(f"  - {text}" for text in (*NOT_PROMISED, *more))]
    return "\n".join(lines), all(f.held for f in findings)


def main() -> None:
    """Print the report; the exit code is 1 where no tier holds all its promises."""
    text, sound = report()
    print(text)
    raise SystemExit(0 if sound else 1)


if __name__ == "__main__":
    main()
