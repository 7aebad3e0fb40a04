"""The guards of conftest.py keep tests on this machine, on one thread, off real progress."""

import os
import socket
import urllib.request

import pytest

from tests.offline import NetworkInTestError, is_local


def test_another_machine_is_out_of_reach():
    with pytest.raises(NetworkInTestError, match=r"192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with socket.socket() as plain, pytest.raises(NetworkInTestError):
        plain.connect_ex(("192.0.2.1", 80))
    with pytest.raises(NetworkInTestError, match=r"example\.org"):
        urllib.request.urlopen("http://example.org", timeout=1)


def test_this_machine_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


@pytest.mark.parametrize("host, local", [
    ("localhost", True), ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), (None, True),
    (b"localhost", True), ("10.0.0.1", False), ("localhost.example.org", False),
])
def test_what_counts_as_this_machine(host, local):
    assert is_local(host) is local


def test_progress_is_a_folder_of_this_test(tmp_path_factory):
    home = os.environ["TUTORLIB_HOME"]
    assert home.startswith(str(tmp_path_factory.getbasetemp())) and os.listdir(home) == []


def test_torch_uses_the_threads_of_the_environment():
    import torch

    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
