"""What ``tutorlib grade`` does, and what it says while it does it."""

from __future__ import annotations

import contextlib
import importlib
import stat
import sys
from pathlib import Path

import typer

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.cohort import Graded, Settings, grade_cohort
from tutorlib.grading.cohort.collect import names_of_others
from tutorlib.grading.cohort.course import read_course
from tutorlib.grading.cohort.feedback import count
from tutorlib.grading.cohort.runners import Limits, Trusted
from tutorlib.syllabus import find_unit

_WRITTEN = {"report.html": "the class, to open first", "feedback": "pages to hand back",
            "grades.csv": "a line for each exercise", "gradebook.csv": "a line for each learner"}


def grade(submissions: Path, out: Path, *, seed_file: Path | None, units: tuple[str, ...],
          course: Path | None, workers: int, seconds: float, memory: int, trust: bool,
          scheduler: str = "", tls: tuple[str, str, str] = ("", "", "")) -> None:
    """Grade, with a progress bar, and print where the results are."""
    how = {"seed_file": seed_file or out / "cohort.seed", "units": units, "workers": workers,
           "limits": Limits(seconds, memory), "course": read_course(course)}
    if not trust:
        _keep_apart(submissions, out, how["seed_file"])
    with _cluster(scheduler, tls, trust) if scheduler else contextlib.nullcontext() as cluster:
        open_runner, tier = (None, cluster.tier) if cluster else runner(trust, units)
        with _Bar() as bar, _interruptible(bar):
            graded = grade_cohort(submissions, out, Settings(
                open_runner, tier, cluster=cluster, alone=not trust, **how), bar.show)
    _warn_of_readers(how["seed_file"])
    _sum_up(graded, out)


def _cluster(address: str, tls: tuple[str, str, str], trust: bool):
    """Connect to a cluster whose workers will grade."""
    from tutorlib.grading.cohort.cluster import Cluster, Tls

    if trust:
        raise GradingError("--trust-submissions is for this machine only: a worker of a cluster "
                           "runs learners' code in a box or not at all. Leave out --scheduler or "
                           "--trust-submissions.")
    here = address.partition("://")[2].startswith(("127.", "localhost", "[::1]"))
    if not (here or address.startswith("tls://")):
        _say(f"{address} is not encrypted: whoever reaches that port can run programs on the "
             "workers, and whoever listens can read submissions. Use tls:// (docs/cluster.md), "
             "or a network that is yours alone.")
    return Cluster(address, Tls(*tls), _say)


def runner(trust: bool, units: tuple[str, ...] = ()):
    """Return (how to open a runner for units, its tier); refuse when nothing confines the code."""
    if trust:
        _say("The submissions are trusted: their code runs with your rights and can read your "
             "files. Do this only for authors whom you would lend your account to.")
        import torch  # noqa: F401  (before an answer does, in whose time limit)

        return Trusted, Trusted.tier
    from tutorlib.grading.box import NoBoxError
    from tutorlib.grading.box.preload import usual_modules
    from tutorlib.grading.box.tiers import passed_over
    from tutorlib.grading.cohort.boxed import boxes

    modules = usual_modules(find_unit(name).slug for name in units)
    for name in modules:  # graders need them, too: while the process that makes boxes loads them
        importlib.import_module(name)
    try:
        open_runner, tier = boxes(modules)
    except NoBoxError as problem:
        raise GradingError(f"{problem}. If you trust the authors as you would trust them with "
                           "your account, give --trust-submissions.") from problem
    for reason in passed_over(tier, modules):
        _say(f"Boxes are of the tier {tier}. A stronger one does not work here: {reason}.")
    return open_runner, tier


@contextlib.contextmanager
def _interruptible(bar: _Bar):
    """Turn Ctrl-C into a message that says what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: {bar.done} of {bar.of} notebooks are graded and kept; "
                          "the same command goes on from there") from None


def _keep_apart(*places: Path) -> None:
    """Refuse to work where a box can read: in the folders of Python, the system or the package."""
    from tutorlib.grading.box import paths

    shown = [Path(folder).resolve() for folder in (*paths.readable(), *paths.package_parts())]
    for place in places:
        for folder in shown:
            if folder in (place.resolve(), *place.resolve().parents):
                raise GradingError(f"{place} lies in {folder}, which the code to be graded can "
                                   "read; keep submissions, grades and seed somewhere else")


def _warn_of_readers(seed_file: Path) -> None:
    """Say when others on the machine can read the secret."""
    mode = seed_file.stat().st_mode
    if sys.platform != "win32" and mode & (stat.S_IRGRP | stat.S_IROTH):
        _say(f"Others on this machine can read {seed_file}, from which the hidden cases can be "
             f"drawn: chmod 600 it.")


def _sum_up(graded: Graded, out: Path) -> None:
    """Print what was done and where it lies."""
    flagged = sum(bool(record["flags"] or record["problem"]) for record in graded.records)
    again = len(graded.records) - graded.fresh
    kept = f" ({again} of them earlier, from the journal)" if again else ""
    _say(f"{count(len(graded.records), 'notebook')} graded{kept}; {flagged} to look at.")
    if graded.left_out:
        _say(f"{count(len(graded.left_out), 'notebook')} of other units left out: the report "
             "names them.")
    for line in names_of_others(graded.others):
        _say(line)
    for name, what in _WRITTEN.items():
        _say(f"  {out / name}: {what}")


def _say(text: str) -> None:
    typer.echo(text)


class Interrupted(GradingError):
    """The instructor stopped the grading; nothing is lost."""


class _Bar:
    """A progress bar on a terminal; elsewhere nothing until the end."""

    done, of = 0, 0
    _bar = None

    def __enter__(self):
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            self._bar = Progress("Grading", BarColumn(), MofNCompleteColumn(),
                                 TimeRemainingColumn(), console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task("grading", total=None)
        return self

    def show(self, done: int, of: int) -> None:
        """Show that ``done`` of ``of`` notebooks are graded."""
        self.done, self.of = done, of
        if self._bar:
            self._bar.update(self._task, completed=done, total=of)

    def __exit__(self, *problem):
        if self._bar:
            self._bar.stop()
