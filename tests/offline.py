"""Keep a Python process on this machine: connections and name look-ups elsewhere are errors."""

from __future__ import annotations

import ipaddress
import socket


class NetworkInTestError(RuntimeError):
    """A test tried to reach another machine (not an ``OSError``: libraries swallow those)."""


def is_local(host: object) -> bool:
    """Whether ``host`` (a name or an address) is this machine."""
    name = host.decode() if isinstance(host, bytes) else str(host or "")
    if name in ("", "localhost", "0.0.0.0", "::"):
        return True
    try:
        return ipaddress.ip_address(name.split("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse(host: object) -> None:
    raise NetworkInTestError(
        f"a test tried to reach {host!r}; tests run offline: use 127.0.0.1 or canned data"
    )


def _guarded(connect):
    """Wrap ``socket.connect`` or ``connect_ex`` so that it only reaches this machine."""

    def guarded(self, address):
        internet = self.family in (socket.AF_INET, socket.AF_INET6)
        if internet and not is_local(address[0]):
            _refuse(address[0])
        return connect(self, address)

    return guarded


def _guarded_lookup(lookup):
    """Wrap ``socket.getaddrinfo`` so that no name server is asked."""

    def guarded(host, *args, **kwargs):
        if not is_local(host):
            _refuse(host)
        return lookup(host, *args, **kwargs)

    return guarded


def close_network() -> None:
    """Guard every socket of this process from now on."""
    socket.socket.connect = _guarded(socket.socket.connect)
    socket.socket.connect_ex = _guarded(socket.socket.connect_ex)
    socket.getaddrinfo = _guarded_lookup(socket.getaddrinfo)
