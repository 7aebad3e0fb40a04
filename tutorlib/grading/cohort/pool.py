"""Processes that grade notebooks, one at a time each; one that dies loses one exercise at most.

What a worker sends back is JSON and nothing else. A worker that is killed, by the system or by
the code it runs, is replaced; the exercise it was at is lost and the rest of the notebook graded.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import wait

from tutorlib.errors import GradingError
from tutorlib.grading.cohort.grade import Plan, grade_notebook, lost, unreadable
from tutorlib.grading.cohort.runners import OpenRunner
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import find_unit

GRACE = 60.0  # seconds beyond the notebook's own before its worker is killed


@dataclass
class Job:
    """One notebook to grade."""

    key: str
    unit: str  # number
    data: bytes
    done: dict[str, dict] = field(default_factory=dict)  # rows so far, after a worker was lost
    current: str = ""  # the exercise being graded
    deaths: int = 0  # of workers that were not at any exercise
    started: float = 0.0


def grade_job(job: Job, plan: Plan, open_runner: OpenRunner,
              tell: Callable[[dict], None] = lambda event: None) -> dict:
    """Grade one job in this process; whatever happens, there is a result."""
    exercises = unit_exercises(find_unit(job.unit).slug)
    try:
        return grade_notebook(job.data, exercises, plan, open_runner, job.done,
                              lambda e: tell({"begin": e}), lambda r: tell({"row": r}))
    except Exception as problem:  # a fault of the grader's must not stop the batch
        reason = f"the grader failed ({type(problem).__name__}: {problem}); please report it"
        result = unreadable(reason[:500], exercises, plan)
        for row in result["exercises"]:
            row["stage"] = "grader"
        return result


def grade_here(jobs: Iterable[Job], plan: Plan, open_runner: OpenRunner,
               ) -> Iterator[tuple[str, dict]]:
    """Yield (key, result) of jobs graded in this process, one after the other."""
    for job in jobs:
        yield job.key, grade_job(job, plan, open_runner)


def _work(connection, plan: Plan, open_runner: OpenRunner) -> None:
    """Grade what comes, until the parent is gone: the body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def tell(event: dict) -> None:
        connection.send_bytes(json.dumps(event).encode())

    try:
        tell({"ready": True})
        while True:
            job = connection.recv()
            tell({"result": grade_job(job, plan, open_runner, tell)})
    except (EOFError, OSError):
        return


class _Worker:
    """A worker process, as its parent sees it."""

    def __init__(self, plan: Plan, open_runner: OpenRunner):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, plan, open_runner), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.ready = False

    def give(self, job: Job) -> None:
        """Hand over a job."""
        self.job, job.current, job.started = job, "", time.monotonic()
        self.pipe.send(job)

    def stop(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Pool:
    """A number of workers, and the jobs among them."""

    def __init__(self, plan: Plan, open_runner: OpenRunner, workers: int):
        """Nothing starts before ``run``."""
        self._plan, self._open, self._count = plan, open_runner, workers
        self._workers: list[_Worker] = []
        self._again: list[Job] = []

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[str, dict]]:
        """Yield (key, result) in the order in which notebooks are finished."""
        waiting = iter(jobs)
        try:
            self._fill(waiting)
            while any(worker.job for worker in self._workers):
                for worker in self._told():
                    yield from self._hear(worker)
                self._fill(waiting)
        finally:
            for worker in self._workers:
                worker.stop()
            self._workers = []

    def _fill(self, waiting: Iterator[Job]) -> None:
        """Give each idle worker a job, starting workers while there are jobs for them."""
        idle = [worker for worker in self._workers if worker.job is None]
        while idle or len(self._workers) < self._count:
            job = self._again.pop() if self._again else next(waiting, None)
            if job is None:
                return
            if not idle:
                self._workers.append(_Worker(self._plan, self._open))
                idle.append(self._workers[-1])
            worker = idle.pop()
            try:
                worker.give(job)
            except OSError:  # it died while it had nothing to do
                self._bury(worker, None)

    def _told(self) -> list[_Worker]:
        """Return the workers that have something to say, are dead, or are out of time."""
        pipes = {worker.pipe: worker for worker in self._workers if worker.job}
        told = [pipes[pipe] for pipe in wait(list(pipes), timeout=1.0)]
        now = time.monotonic()
        over = [w for w in pipes.values() if w not in told and w.ready
                and now - w.job.started > self._plan.limits.seconds + GRACE]
        for worker in over:
            worker.process.kill()
        return told

    def _hear(self, worker: _Worker) -> Iterator[tuple[str, dict]]:
        """Take in one message of a worker."""
        job = worker.job
        try:
            event = json.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError, ValueError):
            yield from self._bury(worker, job)
            return
        if "ready" in event:
            worker.ready, job.started = True, time.monotonic()
        elif "begin" in event:
            job.current = event["begin"]
        elif "row" in event:
            job.done[event["row"]["exercise"]], job.current = event["row"], ""
        elif "result" in event:
            worker.job = None
            yield job.key, event["result"]

    def _bury(self, worker: _Worker, job: Job | None) -> list[tuple[str, dict]]:
        """Replace a dead worker; its job goes on behind the exercise that was lost."""
        worker.stop()
        self._workers.remove(worker)
        if job is None:
            self._again.append(worker.job)
            return []
        if not worker.ready:
            raise GradingError("a grading process ended before it began; what it printed stands "
                               "above. What was graded so far is kept.")
        exercises = unit_exercises(find_unit(job.unit).slug)
        reason = ("the process that ran this answer was ended: by the answer itself, or because "
                  "it took too much time or memory")
        if job.current:
            exercise = next(e for e in exercises if e.id == job.current)
            job.done[exercise.id] = lost(exercise, self._plan, reason)
        else:
            job.deaths += 1
        if job.deaths < 2:
            self._again.append(job)
            return []
        return [(job.key, unreadable(reason, exercises, self._plan))]
