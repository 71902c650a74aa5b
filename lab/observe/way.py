"""Which way a packet would leave a node at this moment, asked of the kernel (RTM_GETROUTE), and how that changes with time.

    with Follower(lab["client"].ns, "10.9.0.9", source="10.0.0.1") as follower:
        ...
    print(follower.ways)

A change of the routing table is not asked for: with objects for next hops (as FRR makes them) a device that goes takes routes
along of which the kernel sends no news. So the question is repeated every few milliseconds.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lab.substrate import namespaces
from lab.substrate.netlink import batch

INTERVAL = 0.002  # seconds
# include/uapi/linux/netlink.h, rtnetlink.h
_HEADER, _RTMSG, _ATTRIBUTE = struct.Struct("IHHII"), struct.Struct("BBBBBBBBI"), struct.Struct("HH")
_GET_ROUTE, _ERROR, _REQUEST = 26, 2, 1
_DST, _SRC, _OIF, _GATEWAY, _PREFSRC, _VIA = 1, 2, 4, 5, 7, 18
_RECEIVE = 1 << 16


@dataclass(frozen=True, slots=True)
class Way:
    """The device, what comes next there (empty where that is the destination itself), and the source address that an unbound
    sender gets. All are empty where there is no way."""

    device: str = ""
    via: str = ""
    source: str = ""

    def __str__(self) -> str:
        via = f" via {self.via}" if self.via else ""
        return f"{self.device}{via}, from {self.source}" if self.device else "no way"


def asked(to: str, source: str = "") -> Way:
    """The way to an address, of packets with this source address if one is named; in the calling thread's namespace."""
    with batch.open_socket() as sock:
        return _asked(sock, to, source)


def of(ns: Path, to: str, source: str = "") -> Way:
    """The same in the namespace at `ns`."""
    return namespaces.inside(ns, asked, to, source)


def _asked(sock: socket.socket, to: str, source: str) -> Way:
    wanted = ipaddress.ip_address(to)
    family = socket.AF_INET if wanted.version == 4 else socket.AF_INET6
    bits = wanted.max_prefixlen
    body = _RTMSG.pack(family, bits, bits if source else 0, 0, 0, 0, 0, 0, 0) + _attribute(_DST, wanted.packed)
    if source:
        body += _attribute(_SRC, ipaddress.ip_address(source).packed)
    sock.send(_HEADER.pack(_HEADER.size + len(body), _GET_ROUTE, _REQUEST, 0, 0) + body)
    _, kind, *_ = _HEADER.unpack_from(answer := sock.recv(_RECEIVE))
    return Way() if kind == _ERROR else _way(answer)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def _way(message: bytes) -> Way:
    found, at = {}, _HEADER.size + _RTMSG.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = message[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    if _OIF not in found:
        return Way()
    via = found.get(_GATEWAY) or found.get(_VIA, b"")[2:]
    source = found.get(_PREFSRC, b"")
    return Way(
        _name(struct.unpack("I", found[_OIF])[0]), *(str(ipaddress.ip_address(each)) if each else "" for each in (via, source))
    )


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # it went away meanwhile
        return f"#{index}"


class Follower:
    """A context manager that asks from its beginning to its end, in a thread of its own; every other way than the one before
    is kept with the time (time.monotonic()) at which it was first seen."""

    def __init__(self, ns: Path, to: str, source: str = "") -> None:
        self._ns, self._to, self._source = ns, to, source
        self._ways: list[tuple[float, Way]] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="lab-way", daemon=True)

    def __enter__(self) -> Self:
        self._note(of(self._ns, self._to, self._source))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def ways(self) -> tuple[tuple[float, Way], ...]:
        with self._lock:
            return tuple(self._ways)

    @property
    def now(self) -> Way:
        return self.ways[-1][1]

    def settled(self, since: float) -> float:
        """Seconds from `since` until the present way was first seen; 0 where it was not another one then."""
        return max(0.0, self.ways[-1][0] - since)

    def _follow(self) -> None:
        namespaces.enter(self._ns)  # where the names of devices are, too
        with batch.open_socket() as sock:
            while not self._ended.wait(INTERVAL):
                self._note(_asked(sock, self._to, self._source))

    def _note(self, way: Way) -> None:
        now = time.monotonic()
        with self._lock:
            if not self._ways or self._ways[-1][1] != way:
                self._ways.append((now, way))
