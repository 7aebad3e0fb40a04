"""Grading through a Dask scheduler, whose workers are threads of this process here."""

import dataclasses
import gc
import shutil
import subprocess
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("distributed", reason="Dask is not installed: make peers")

from dask import config as dask_config
from distributed import Client, LocalCluster
from distributed.security import Security

from tests.grading.cohort.conftest import RIGHT, UNDIVIDED, code_cell, notebook
from tutorlib.errors import GradingError
from tutorlib.grading.cohort import cluster as cluster_module
from tutorlib.grading.cohort import command, desk, remote
from tutorlib.grading.cohort.cluster import Cluster, Tls
from tutorlib.grading.cohort.cohort import Settings, grade_cohort
from tutorlib.grading.cohort.grade import Plan, grade_notebook
from tutorlib.grading.cohort.runners import Limits, Trusted
from tutorlib.grading.cohort.seeds import DrawnSeed, Seed
from tutorlib.grading.cohort.worker import Job, failed
from tutorlib.grading.registry import unit_exercises

TIER = "bubblewrap"
UNIT = unit_exercises("start_here")
PLAN = Plan(Seed("a secret that nobody can guess"))


def dask_here(n_workers, **more):
    """Start a cluster in this process."""
    settings = {"processes": False, "protocol": "tcp://", "host": "127.0.0.1",
                "dashboard_address": "127.0.0.1:0", **more, "n_workers": n_workers}
    return LocalCluster(**settings)


@pytest.fixture(scope="module")
def dask():
    with dask_here(2, threads_per_worker=1) as cluster:
        yield cluster


@pytest.fixture
def workers(monkeypatch):
    """Let every worker have a box, and grade in this process without one."""
    monkeypatch.setattr(desk, "_standing", lambda course: (TIER, ""))

    class Here:
        def __init__(self, terms):
            self._plan = Plan(DrawnSeed(terms["seeds"]), Limits(**terms["limits"]),
                              terms["points"], terms["hints"])

        def grade(self, job):
            result = grade_notebook(job.data, UNIT, self._plan, Trusted)
            return result | {"tier": TIER}

    monkeypatch.setattr(desk, "_desk", lambda text, terms: Here(terms))


def reply(**fields):
    """Have every worker answer with this."""
    return lambda order: fields


def run(cluster, jobs=None, plan=PLAN):
    return dict(cluster.run(jobs or [Job("a", "00", notebook(RIGHT))], plan, {"00"}))


def test_a_cohort_is_graded_and_no_secret_travels(cohort, dask, workers, monkeypatch, tmp_path):
    for i in range(4):
        cohort.hand_in(f"l{i}.ipynb", notebook(UNDIVIDED if i % 2 else RIGHT, code_cell(f"x={i}")))
    cohort.hand_in("carla.ipynb", b"{ not json")
    orders = []
    monkeypatch.setattr(desk, "grade", lambda order, real=desk.grade: (
        orders.append(order), real(order))[1])
    seed, shown = tmp_path / "seed", []
    tables = []
    with Cluster(dask.scheduler_address) as cluster:
        for out, used in ((cohort.out, cluster), (tmp_path / "here", None)):
            grade_cohort(cohort.source, out, Settings(Trusted, cluster.tier, seed, ("00",), 0,
                                                      cluster=used),
                         lambda done, of: shown.append((done, of)))
            tables.append((out / "grades.csv").read_bytes())
    assert tables[0] == tables[1]
    assert shown[:6] == [(i, 5) for i in range(6)], "the bar moves"
    secret = seed.read_bytes().strip()
    assert len(orders) == 4 + 1 and len({order.terms for order in orders}) == 1
    for order in orders:
        assert secret not in order.terms + order.notebook and "l1" not in repr(order)
        assert repr(order) == "Order(unit='00')", "Dask may log it"


def test_few_notebooks_of_many_are_with_the_cluster(dask, monkeypatch, workers):
    result = failed("quick", UNIT, PLAN)
    monkeypatch.setattr(desk, "grade", reply(result=result))
    made, taken, most = 0, 0, 0

    def jobs():
        nonlocal made, most
        for i in range(300):
            made += 1
            most = max(most, made - taken)
            yield Job(str(i), "00", b"")

    with Cluster(dask.scheduler_address) as cluster:
        keys = []
        for key, _ in cluster.run(jobs(), PLAN, {"00"}):
            taken += 1
            keys.append(key)
        assert not cluster._sent and len(cluster._client.futures) <= 4
    assert sorted(keys, key=int) == [str(i) for i in range(300)] and most <= 5


@pytest.mark.parametrize("fields, told", [
    ({}, "no reply"), ({"result": 1, "more": 2}, "no reply"), ({"refused": 3}, "no reply"),
    ({"result": None}, "cannot give"), ({"result": {"exercises": []}}, "cannot give")])
def test_a_reply_that_is_none_stops_the_grading(dask, workers, monkeypatch, fields, told):
    monkeypatch.setattr(desk, "grade", reply(**fields))
    with Cluster(dask.scheduler_address) as cluster, pytest.raises(GradingError, match=told):
        run(cluster)


class Opened:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (self.mark, "w")


def test_nothing_that_a_worker_sends_is_unpickled(dask, workers, monkeypatch, tmp_path):
    mark = tmp_path / "unpickled"
    with Cluster(dask.scheduler_address) as cluster:
        assert remote.grade.__module__ == "tutorlib.grading.cohort.remote", "it travels by name"
        for sent in (Opened(str(mark)), [Opened(str(mark))], "text", ValueError(Opened(str(mark)))):
            monkeypatch.setattr(remote, "_reply", lambda asked, sent=sent: sent)
            with pytest.raises(GradingError, match="a worker"):
                run(cluster)
    assert not mark.exists()


def test_a_worker_without_a_box_or_of_another_version_is_named_and_gets_nothing(dask, monkeypatch,
                                                                                workers):
    first, second = sorted(worker.address for worker in dask.workers.values())
    standing = {first: ("", "bubblewrap: the program bwrap is not installed; landlock: old kernel"),
                second: (TIER, "")}

    def of_this_worker(course):
        from distributed import get_worker

        return standing[get_worker().address]

    monkeypatch.setattr(desk, "_standing", of_this_worker)
    warned, took, real = [], [], desk.grade

    def grade(order):
        from distributed import get_worker

        took.append(get_worker().address)
        return real(order)

    monkeypatch.setattr(desk, "grade", grade)
    with Cluster(dask.scheduler_address, warn=warned.append) as cluster:
        assert list(run(cluster)) == ["a"] and set(took) == {second}
    assert len(warned) == 1 and first in warned[0] and "old kernel" in warned[0]
    standing[second] = ("landlock", "")
    standing[first] = (TIER, "")
    warned.clear()
    with Cluster(dask.scheduler_address, warn=warned.append) as cluster:
        assert cluster.tier == TIER and second in warned[0] and "tier landlock" in warned[0]
    standing[first] = standing[second] = ("", "nothing isolates")
    with pytest.raises(GradingError, match="no worker of the cluster may grade"):
        Cluster(dask.scheduler_address)


def test_a_worker_that_refuses_later_hands_its_notebook_on(dask, workers, monkeypatch):
    first = min(worker.address for worker in dask.workers.values())
    took, real = [], desk.grade

    def grade(order):
        from distributed import get_worker

        took.append(get_worker().address)
        if took[-1] == first:
            return reply(refused="its boxes broke")(order)
        return real(order)

    monkeypatch.setattr(desk, "grade", grade)
    warned = []
    jobs = [Job(str(i), "00", notebook(RIGHT)) for i in range(12)]
    with Cluster(dask.scheduler_address, warn=warned.append) as cluster:
        results = run(cluster, jobs)
        assert len(results) == 12 and all(r["exercises"][0]["points"] for r in results.values())
        assert len(warned) == 1 and first in took and took.count(first) <= 2 * 2

        def fails(order):
            return fails(order)

        monkeypatch.setattr(desk, "grade", fails)
        with pytest.raises(GradingError, match="no worker is left"):
            run(cluster)
        assert "RecursionError" in warned[1]


def test_a_worker_under_which_others_died_is_flagged_and_tried_again(cohort, dask, workers,
                                                                     monkeypatch):
    from distributed.scheduler import KilledWorker

    cohort.hand_in("anna.ipynb", notebook(RIGHT))

    def dies(order):
        raise KilledWorker("grade", SimpleNamespace(address="tcp://a:1"), 4)

    for grade, outcome in ((dies, "not passed"), (remote.grade, "passed")):
        monkeypatch.setattr(remote, "grade", grade)
        with Cluster(dask.scheduler_address) as cluster:
            grade_cohort(cohort.source, cohort.out, Settings(None, TIER, units=("00",),
                                                             cluster=cluster))
        assert cohort.row("anna")["outcome"] == outcome
        assert bool(cohort.records()["anna", "00"]["flags"]) is (outcome != "passed")


def test_without_scheduler_or_workers_it_is_said(monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT", 0.5)
    with pytest.raises(GradingError, match="cannot be reached"):
        Cluster("tcp://127.0.0.1:9")
    for address in ("nonsense://x", "127.0.0.1", ""):
        with pytest.raises(GradingError, match="cannot be reached"):
            Cluster(address)
    with dask_here(0) as empty:
        with pytest.raises(GradingError, match="has no workers"):
            Cluster(empty.scheduler_address)


def test_no_client_is_left_half_open_to_close_itself_as_garbage():
    """It would wait for a lock that the next start of Dask in this process holds: for ever."""
    gc.collect()
    gc.disable()
    try:
        for address in ("nonsense://x", "127.0.0.1", "tls://127.0.0.1:9"):
            with pytest.raises(GradingError, match="cannot be reached"):
                Cluster(address)
        clients = [it for it in gc.get_objects() if type(it) is Client]
        assert clients and all(client.status == "closed" for client in clients)
    finally:
        gc.enable()


def test_workers_that_are_gone_are_waited_for_and_then_given_up(workers, monkeypatch):
    monkeypatch.setattr(cluster_module, "TICK", 0.1)
    with dask_here(1) as dask:
        with Cluster(dask.scheduler_address) as cluster:
            dask.scale(0)
            deadline = time.monotonic() + 20
            while dask.scheduler.workers and time.monotonic() < deadline:
                time.sleep(0.05)
            results = cluster.run([Job("a", "00", notebook(RIGHT))], PLAN, {"00"})
            cluster._refused.add("tcp://127.0.0.1:1")
            with pytest.raises(GradingError, match="no worker is left"):
                next(results)
            cluster._refused.clear()
            monkeypatch.setattr(cluster_module, "PATIENCE", 0.5)
            results = cluster.run([Job("a", "00", notebook(RIGHT))], PLAN, {"00"})
            with pytest.raises(GradingError, match="has had no worker"):
                next(results)
            monkeypatch.setattr(cluster_module, "PATIENCE", 60)
            monkeypatch.setattr(cluster_module, "START", -10_000)
            results = cluster.run([Job("a", "00", notebook(RIGHT))], PLAN, {"00"})
            with pytest.raises(GradingError, match="has sent anything"):
                next(results)


def test_trust_ends_at_this_machine_and_plain_connections_are_named(monkeypatch, capsys):
    with pytest.raises(GradingError, match="for this machine only"):
        command._cluster("tcp://127.0.0.1:1", ("", "", ""), trust=True)
    monkeypatch.setattr(cluster_module, "Cluster", lambda *arguments: arguments)
    for address, said in (("tcp://10.1.2.3:8786", True), ("tcp://127.0.0.1:8786", False),
                          ("tls://10.1.2.3:8786", False)):
        assert command._cluster(address, ("a", "b", "c"), False)[:2] == (
            address, Tls("a", "b", "c"))
        assert ("not encrypted" in capsys.readouterr().out) is said


@pytest.fixture
def pem(tmp_path):
    """A certificate that signs itself, for both sides."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    files = [str(tmp_path / name) for name in ("cert.pem", "key.pem")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=grading", "-out", files[0], "-keyout", files[1]], check=True,
                   capture_output=True)
    return Tls(files[0], *files)


def test_only_who_has_the_certificate_is_let_in(workers, pem, monkeypatch):
    security = Security(tls_ca_file=pem.ca_file, require_encryption=True, **{
        f"tls_{who}_{what}": getattr(pem, what) for who in ("scheduler", "worker", "client")
        for what in ("cert", "key")})
    with dask_here(1, protocol="tls://", security=security) as dask:
        assert dask.scheduler_address.startswith("tls://")
        with Cluster(dask.scheduler_address, pem) as cluster:
            assert run(cluster)["a"]["exercises"][0]["outcome"] == "passed"
        roles = {"cert": pem.cert, "key": pem.key}
        with dask_config.set({f"distributed.comm.tls.{who}.{what}": path for what, path in
                              roles.items() for who in ("scheduler", "worker", "client")}
                             | {"distributed.comm.tls.ca-file": pem.ca_file}):
            with Cluster(dask.scheduler_address) as cluster:
                assert cluster.tier == TIER, "as Dask's own configuration says"
        monkeypatch.setattr(cluster_module, "CONNECT", 1.0)
        for tls in (Tls(), dataclasses.replace(pem, ca_file="/nowhere.pem"), Tls(pem.ca_file)):
            with pytest.raises(GradingError, match="cannot be reached"):
                Cluster(dask.scheduler_address, tls)
