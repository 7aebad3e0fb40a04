"""The workers of a Dask scheduler, as a pool of graders: the extra ``[cluster]``.

Few notebooks are with the cluster at a time, whatever the size of the cohort. Dask gives a
notebook whose worker is gone to another one; here is kept what came of it, once. Results are
bytes, which the client is told to read without unpickling, and are checked as a stranger's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from tutorlib.errors import GradingError
from tutorlib.grading.cohort import desk, remote
from tutorlib.grading.cohort.grade import Plan
from tutorlib.grading.cohort.pool import lasts
from tutorlib.grading.cohort.results import checked, read_reply
from tutorlib.grading.cohort.worker import Job, failed
from tutorlib.grading.registry import unit_exercises
from tutorlib.syllabus import find_unit

TICK = 1.0  # seconds between two looks at scheduler and workers
PER_WORKER = 2  # notebooks with each worker: one at work, one waiting
PATIENCE = 300.0  # seconds without any worker before giving up
START = 600.0  # seconds that a worker may take to say what it is
CONNECT = 30.0  # seconds to reach the scheduler

_KEPT = ("What was graded so far is kept: start the scheduler and its workers again, and the same "
         "command goes on from there.")


@dataclass(frozen=True)
class Tls:
    """Files (PEM) that prove who is who; empty: as Dask's own configuration says."""

    ca_file: str = ""
    cert: str = ""
    key: str = ""


@dataclass
class _Sent:
    """A notebook that is with the cluster."""

    job: Job
    allowed: tuple[str, ...]  # workers that may take it; empty: any
    future: Any  # Dask's


class Cluster:
    """A connection to a scheduler, whose workers were asked what they are."""

    def __init__(self, address: str, tls: Tls | None = None,
                 warn: Callable[[str], None] = lambda text: None):
        """Connect and ask; ``warn`` is told of workers that refuse.

        Raises ``GradingError`` when the scheduler cannot be reached, or all workers refuse.
        """
        self._address, self._warn = address, warn
        self._client = _connect(address, tls or Tls())
        self._refused: set[str] = set()  # addresses
        self._sent: dict[str, _Sent] = {}  # by the key of its future
        self._done: queue.SimpleQueue = queue.SimpleQueue()
        try:
            self.tier = self._choose(self._greetings())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Cluster:
        """Return itself."""
        return self

    def __exit__(self, *problem) -> None:
        """Disconnect."""
        self.close()

    def close(self) -> None:
        """Disconnect; what is still with the cluster is given up."""
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)

    def run(self, jobs: Iterable[Job], plan: Plan, units: set[str],
            ) -> Iterator[tuple[str, dict]]:
        """Yield (key, result) of jobs of ``units`` in the order in which they are finished."""
        self._plan, self._terms = plan, desk.terms_of(plan, self.tier, units)
        waiting, self._seen = iter(jobs), time.monotonic()
        self._heard = self._seen
        self._workers = self._look()
        self._fill(waiting)
        while self._sent:
            try:
                future = self._done.get(timeout=TICK)
                self._heard = time.monotonic()
                yield from self._take(future)
            except queue.Empty:
                self._tick()
            self._fill(waiting)

    def _greetings(self) -> list[dict]:
        """Ask every worker what it is; return what each replied."""
        course = desk.course_digest()
        asked = {address: self._client.submit(
            remote.greet, course, key=f"tutorlib-greet-{uuid.uuid4().hex}", pure=False,
            workers=[address], allow_other_workers=False) for address in self._await_workers()}
        return [self._greeting(address, future) for address, future in asked.items()]

    def _greeting(self, address: str, future) -> dict:
        """Return one worker's reply; no reply is a refusal."""
        try:
            return {"tier": "", **read_reply(future.result(timeout=START)), "address": address}
        except GradingError as problem:
            why = str(problem)
        except Exception as problem:  # it has no tutorlib, or is gone
            why = f"it cannot say what it is ({type(problem).__name__}: {problem})"
        return {"address": address, "worker": address, "tier": "", "refused": why}

    def _await_workers(self) -> list[str]:
        """Return the workers there are, once there is one."""
        deadline = time.monotonic() + CONNECT
        while not (workers := self._look()):
            if time.monotonic() > deadline:
                raise GradingError(f"the scheduler {self._address} has no workers; start some: "
                                   f"dask worker {self._address} --nthreads 1 --nworkers 4")
            time.sleep(0.2)
        return sorted(workers)

    def _choose(self, replies: list[dict]) -> str:
        """Return the strongest tier that a worker has, and note which workers lack it."""
        from tutorlib.grading.box.tiers import TIERS

        tiers = [t.name for t in TIERS if any(r["tier"] == t.name for r in replies)]
        for reply in replies:
            if reply["refused"]:
                self._refuse(reply)
            elif reply["tier"] != tiers[0]:
                self._refuse(reply | {"refused": (
                    f"its boxes are of the tier {reply['tier']}, others' of the tier {tiers[0]}, "
                    "and a cohort is graded in one way")})
        if not tiers:
            raise GradingError("no worker of the cluster may grade (each said why above). Mend "
                               "that and start the workers anew, or grade here, without "
                               "--scheduler")
        return tiers[0]

    def _refuse(self, reply: dict) -> None:
        """Give a worker nothing more to do."""
        if reply["address"] not in self._refused:
            self._refused.add(reply["address"])
            self._warn(f"The worker {reply['worker']} refuses to grade: {reply['refused']}.")

    def _fill(self, waiting: Iterator[Job]) -> None:
        """Send notebooks until each worker has some."""
        good = len(set(self._workers) - set(self._refused))
        while len(self._sent) < PER_WORKER * max(1, good):
            job = next(waiting, None)
            if job is None:
                return
            self._send(job)

    def _send(self, job: Job) -> None:
        """Send one notebook, to any worker or to those that did not refuse."""
        allowed = ()
        if self._refused:
            allowed = tuple(sorted(set(self._look()) - set(self._refused)))
            if not allowed:
                raise GradingError(f"no worker is left that may grade. {_KEPT}")
        order = remote.Order(job.unit, self._terms, job.data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large notebooks
            future = self._client.submit(
                remote.grade, order, key=f"tutorlib-grade-{uuid.uuid4().hex}", pure=False,
                workers=list(allowed) or None, allow_other_workers=False)
        self._sent[future.key] = _Sent(job, allowed, future)
        future.add_done_callback(self._done.put)

    def _take(self, future) -> Iterator[tuple[str, dict]]:
        """Take in what came of one notebook."""
        sent = self._sent.pop(future.key, None)
        if sent is None:  # it was given up
            return
        exercises = unit_exercises(find_unit(sent.job.unit).slug)
        if future.status == "error" and type(future.exception()).__name__ == "KilledWorker":
            yield sent.job.key, failed("several workers ended while they graded this notebook",
                                       exercises, self._plan)
            return
        reply = read_reply(self._result(future))
        if "result" in reply:
            yield sent.job.key, checked(reply["result"], exercises, self._plan, self.tier)
        else:
            self._refuse(reply)
            self._send(sent.job)

    def _result(self, future) -> object:
        """Return what a worker sent; the reason in words when there is nothing."""
        try:
            return future.result(timeout=START)
        except (Exception, CancelledError, asyncio.CancelledError) as problem:
            if future.status in ("cancelled", "lost"):  # all are, when the connection is lost
                raise self._gone(problem) from problem
            raise GradingError(f"a worker failed ({type(problem).__name__}: {problem}). {_KEPT}"
                               ) from problem

    def _tick(self) -> None:
        """Look after the workers; send again what waits for workers that are gone."""
        self._workers = self._look()
        if self._workers:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > PATIENCE:
            raise GradingError(f"the scheduler {self._address} has had no worker for "
                               f"{PATIENCE:g} s. {_KEPT}")
        silent = START + PER_WORKER * lasts(self._plan.limits.seconds)
        if time.monotonic() - self._heard > silent:
            raise GradingError(f"no worker of {self._address} has sent anything for {silent:g} s. "
                               f"{_KEPT}")
        for key, sent in list(self._sent.items()):
            if sent.allowed and not set(sent.allowed) & set(self._workers):
                del self._sent[key]
                sent.future.cancel()
                self._send(sent.job)

    def _look(self) -> list[str]:
        """Return the addresses of the workers there are now."""
        try:
            return list(self._client.nthreads())
        except Exception as problem:
            raise self._gone(problem) from problem

    def _gone(self, problem: Exception) -> GradingError:
        return GradingError(f"the scheduler {self._address} is gone ({type(problem).__name__}). "
                            f"{_KEPT}")


def _connect(address: str, tls: Tls):
    """Return a client of a scheduler that unpickles no result.

    Raises ``GradingError`` without Dask, or where nothing (or nobody trusted) answers.
    """
    try:
        from distributed import Client
        from distributed.security import Security
    except ImportError as problem:
        raise GradingError("--scheduler needs Dask: pip install 'tutorlib[cluster]' (in a clone: "
                           "pip install -e '.[cluster]')") from problem
    for name in [n for n in logging.root.manager.loggerDict if n.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # it is said here, in other words
    client = Client.__new__(Client)
    try:
        security = None
        if tls != Tls():
            security = Security(tls_ca_file=tls.ca_file or None, require_encryption=True,
                                tls_client_cert=tls.cert or None, tls_client_key=tls.key or None)
        client.__init__(address, timeout=CONNECT, security=security, set_as_default=False,
                        name="tutorlib-grade", serializers=["msgpack", "pickle"],
                        deserializers=["msgpack"])
    except (OSError, ValueError, TypeError, RuntimeError) as problem:
        # Left half open it closes itself whenever it is collected as garbage, which waits for a
        # lock that Dask may hold in that moment: two steps to have it in hand and close it now.
        with contextlib.suppress(Exception):
            client.close(timeout=5)
        raise GradingError(f"the scheduler {address} cannot be reached ({problem}); give the "
                           "address that `dask scheduler` prints, such as tcp://10.0.0.1:8786, "
                           "or tls://... with --tls-ca-file, --tls-cert and --tls-key"
                           ) from problem
    return client
