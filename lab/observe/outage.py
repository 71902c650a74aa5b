"""How long a client goes without an answer: numbered echo requests every few milliseconds, and the longest run of lost ones.

    with Meter(lab["client"].ns, "2001:db8::f") as meter:
        meter.wait_answered()
        move_the_address()
        meter.wait_answered()
    print(meter.longest().seconds)

The kernel of whoever has the address answers, so that nothing has to run there. An outage lasts from the first lost request to
the next one that was answered, both by when they were sent: a client that is kept waiting for a processor makes none. What the
kernel holds back until a neighbour is resolved arrives late, and is not lost.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.observe.conditions import ConditionTimeout
from lab.substrate import namespaces

INTERVAL = 0.005  # seconds
_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence: RFC 792 and RFC 4443
_NUMBER = struct.Struct("!Q")
_TYPES = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}
_PROTOCOLS = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_AT_LEAST = 3  # answers in a row before one that answers is believed to go on


@dataclass(frozen=True, slots=True)
class Probe:
    """One request: when it was sent (time.monotonic()), and who answered it, empty where nobody did."""

    sent: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class Outage:
    """`lost` requests one after another; `seconds` from the first of them to the next that was answered. `before` and `after`
    are the source addresses of the answers around it. One that no answer ends is not `ended`, and lasts to the last request."""

    seconds: float
    lost: int
    before: str = ""
    after: str = ""
    ended: bool = True


NONE = Outage(0.0, 0)


class Meter:
    """A context manager that asks from its beginning to its end, in a thread of its own. Raises OSError where the address is
    of no family that the host has."""

    def __init__(self, ns: Path, address: str, interval: float = INTERVAL) -> None:
        self._ns, self._address, self._interval = ns, address, interval
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._mark = os.urandom(8)
        self._probes: list[Probe] = []
        self._news = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="lab-outage", daemon=True)

    def __enter__(self) -> Meter:
        self._sock = namespaces.inside(self._ns, socket.socket, self._family, socket.SOCK_RAW, _PROTOCOLS[self._family])
        self._sock.setblocking(False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sock.close()

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Every request until now, in the order of its number."""
        with self._news:
            return tuple(self._probes)

    def wait_answered(self, within: float = 10.0, by: str = "") -> Probe:
        """Until some requests in a row that are sent from now on are answered (by that source address where one is named); the
        first of these. Raises ConditionTimeout after `within` seconds."""
        deadline, since = time.monotonic() + within, len(self.probes)
        with self._news:
            while not (found := _in_a_row(self._probes[since:], by)):
                if not self._news.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    who = f" by {by}" if by else ""
                    raise ConditionTimeout(f"within {within:g} s no echo request to {self._address} was answered{who}")
        return found

    def longest(self) -> Outage:
        """The longest outage until now; `NONE` where there was none."""
        return max(outages(self.probes), key=lambda outage: outage.seconds, default=NONE)

    def _ask(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            left = due - time.monotonic()
            if left <= 0:
                self._send()
                due = max(due + self._interval, time.monotonic())
            elif select.select([self._sock], [], [], left)[0]:
                self._receive()

    def _send(self) -> None:
        with self._news:
            number = len(self._probes)
            self._probes.append(Probe(time.monotonic()))
        kind, _ = _TYPES[self._family]
        rest = self._mark + _NUMBER.pack(number)
        header = _HEADER.pack(kind, 0, 0, 0, number & 0xFFFF)
        if self._family == socket.AF_INET:  # the checksum of ICMPv6 is the kernel's to fill in (raw(7), RFC 3542)
            header = _HEADER.pack(kind, 0, _checksum(header + rest), 0, number & 0xFFFF)
        try:
            self._sock.sendto(header + rest, (self._address, 0))
        except OSError:  # no route, no carrier, or the neighbour is known to be gone: lost
            return

    def _receive(self) -> None:
        try:
            data, sender = self._sock.recvfrom(2048)
        except OSError:  # an error of ICMP's, which the socket tells once
            return
        data = data[(data[0] & 15) * 4 :] if self._family == socket.AF_INET else data
        body = data[_HEADER.size :]
        if data[:1] != bytes([_TYPES[self._family][1]]) or body[:8] != self._mark:
            return
        (number,) = _NUMBER.unpack_from(body, 8)
        with self._news:
            self._probes[number] = Probe(self._probes[number].sent, sender[0])
            self._news.notify_all()


def outages(probes: Sequence[Probe]) -> list[Outage]:
    """The runs of lost requests, in order; those before the first answer are none, and neither are the last few, whose answers
    may be on their way."""
    found: list[Outage] = []
    last: Probe | None = None
    lost: list[Probe] = []
    for probe in probes:
        if not probe.by:
            lost += [probe] if last else []
            continue
        if lost and last:
            found.append(Outage(probe.sent - lost[0].sent, len(lost), last.by, probe.by))
        last, lost = probe, []
    if last and len(lost) > _AT_LEAST:
        found.append(Outage(lost[-1].sent - lost[0].sent, len(lost), last.by, ended=False))
    return found


def _in_a_row(probes: Sequence[Probe], by: str) -> Probe | None:
    for first in range(len(probes) - _AT_LEAST + 1):
        few = probes[first : first + _AT_LEAST]
        if all(each.by and by in ("", each.by) for each in few):
            return few[0]
    return None


def _checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
