"""Processes that grade notebooks, one at a time each; one that dies loses one exercise at most.

What a worker sends back is JSON and nothing else. A worker that is killed, by the system or by
the code it runs, is replaced. Its notebook is graded anew, once; if that kills another worker, the
exercise it was at is lost and the rest of the notebook graded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import wait

from tutorlib.errors import GradingError
from tutorlib.grading.box.clock import PATIENCE
from tutorlib.grading.cohort.grade import Plan, lost, unreadable
from tutorlib.grading.cohort.runners import OpenRunner
from tutorlib.grading.cohort.worker import Job, Worker, grade_job
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import find_unit

GRACE = 60.0  # seconds beyond what a notebook may last before its worker is killed


def lasts(seconds: float) -> float:
    """Return how long a notebook may take by the wall, of which ``seconds`` are its own."""
    return PATIENCE * seconds + GRACE


def grade_here(jobs: Iterable[Job], plan: Plan, open_runner: OpenRunner,
               ) -> Iterator[tuple[str, dict]]:
    """Yield (key, result) of jobs graded in this process, one after the other."""
    for job in jobs:
        yield job.key, grade_job(job, plan, open_runner)


class Pool:
    """A number of workers, and the jobs among them."""

    def __init__(self, plan: Plan, open_runner: OpenRunner, workers: int):
        """Nothing starts before ``run``."""
        self._plan, self._open, self._count = plan, open_runner, workers
        self._workers: list[Worker] = []
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
                self._workers.append(Worker(self._plan, self._open))
                idle.append(self._workers[-1])
            worker = idle.pop()
            try:
                worker.give(job)
            except OSError:  # it died while it had nothing to do
                self._bury(worker, None)

    def _told(self) -> list[Worker]:
        """Return the workers that have something to say, are dead, or are out of time."""
        pipes = {worker.pipe: worker for worker in self._workers if worker.job}
        told = [pipes[pipe] for pipe in wait(list(pipes), timeout=1.0)]
        now = time.monotonic()
        over = [w for w in pipes.values() if w not in told and w.ready
                and now - w.job.started > lasts(self._plan.limits.seconds)]
        for worker in over:
            worker.job.again = False  # it would only take as long once more
            worker.kill()
        return told

    def _hear(self, worker: Worker) -> Iterator[tuple[str, dict]]:
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

    def _bury(self, worker: Worker, job: Job | None) -> list[tuple[str, dict]]:
        """Replace a dead worker; its job starts anew, or goes on behind an exercise that is lost.
        """
        worker.stop()
        self._workers.remove(worker)
        if job is None:
            self._again.append(worker.job)
            return []
        if not worker.ready:
            raise GradingError("a grading process ended before it began; what it printed stands "
                               "above. What was graded so far is kept.")
        if job.again:  # most often no fault of the notebook's: as if nothing had happened
            job.again, job.current = False, ""
            job.done.clear()
            self._again.append(job)
            return []
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
