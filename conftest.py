"""What holds for every test, doctests included: one thread, no network, nobody's progress touched.

It lies beside ``pyproject.toml`` and not in ``tests/`` because the doctests of ``tutorlib/`` are
collected too and need the same.
"""

from __future__ import annotations

import faulthandler
import os
import random
import sys

# Before torch or matplotlib is imported by any test, and inherited by the kernels they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import hypothesis
import pytest

from tests.offline import close_network

# The same examples on every run: what fails once fails again. No deadline: machines are busy.
hypothesis.settings.register_profile("course", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("course")


def pytest_configure(config: pytest.Config) -> None:
    """Close the network for this process; let it and those it starts keep their bytecode.

    Tests start many Pythons (kernels, servers, programs). Without bytecode, as an environment may
    ask, each of them would compile torch and transformers anew, seconds every time.
    """
    close_network()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    share_hash_seed(config)


def share_hash_seed(config: pytest.Config) -> None:
    """Let all workers of pytest-xdist order sets alike: it refuses to run if their tests differ.

    The seed is another one for each run, and what a worker starts draws its own again.
    """
    if hasattr(config, "workerinput"):
        os.environ.pop("PYTHONHASHSEED", None)
    elif config.getoption("numprocesses", None):
        os.environ.setdefault("PYTHONHASHSEED", str(random.SystemRandom().randrange(1, 2**32)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item):
    """Let no teardown last for ever: after a failure pytest itself no longer watches over it."""
    if seconds := float(item.config.getini("faulthandler_timeout")):
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    return (yield)


@pytest.fixture(autouse=True)
def own_progress(tmp_path_factory, monkeypatch):
    """Give each test an empty progress folder of its own."""
    monkeypatch.setenv("TUTORLIB_HOME", str(tmp_path_factory.mktemp("home")))
