"""Named conditions of a node, and waiting for them with a deadline: woken by netlink events, never by a fixed sleep.

A condition looks from inside the namespace and says whether it holds and what it saw; where the kernel sends no event for it
(`groups` is 0) it is looked at again at short intervals until the deadline.
"""

from __future__ import annotations

import ipaddress
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.substrate import namespaces
from lab.substrate.netlink import events, operstate

_LOOK_AGAIN = 0.01  # seconds, where no event tells
_TENTATIVE, _DADFAILED, _OPTIMISTIC = 0x40, 0x08, 0x04  # include/uapi/linux/if_addr.h


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found: `holds`, and in words what was there. With `final` it will not come true any more."""

    holds: bool
    what: str
    final: bool = False


class Condition(Protocol):
    """Something that becomes true of a namespace; `look` runs inside it."""

    @property
    def groups(self) -> int: ...

    def look(self) -> Seen: ...


@dataclass(frozen=True, slots=True)
class Carrier:
    """The device is up and its carrier has come: operational state up (RFC 2863)."""

    device: str
    groups: int = events.LINK

    def __str__(self) -> str:
        return f"{self.device} has its carrier"

    def look(self) -> Seen:
        state = operstate.read().get(self.device)
        if state is None:
            return Seen(False, f"no interface {self.device}")
        return Seen(state == operstate.UP, f"{self.device} is {operstate.NAMES[state]}")


@dataclass(frozen=True, slots=True)
class Carriers:
    """The same of many devices, in one look."""

    devices: tuple[str, ...]
    groups: int = events.LINK

    def __str__(self) -> str:
        return f"{', '.join(self.devices)} have their carriers"

    def look(self) -> Seen:
        states = operstate.read()
        down = [device for device in self.devices if states.get(device) != operstate.UP]
        return Seen(not down, f"no carrier: {', '.join(down)}" if down else "all are up")


@dataclass(frozen=True, slots=True)
class Usable:
    """The IPv6 address is on the device and detection of duplicates is done (RFC 4862); an optimistic one counts."""

    device: str
    address: str
    groups: int = events.ADDRESS

    def __str__(self) -> str:
        return f"{self.address} on {self.device} is usable"

    def look(self) -> Seen:
        flags = _flags_of_address(self.device, ipaddress.IPv6Address(self.address))
        if flags is None:
            return Seen(False, f"{self.address} is not on {self.device}")
        if flags & _DADFAILED:
            return Seen(False, f"{self.address} is a duplicate: another node of the link has it (dadfailed)", final=True)
        usable = not flags & _TENTATIVE or bool(flags & _OPTIMISTIC)
        return Seen(usable, f"{self.address} is {'usable' if usable else 'tentative'}")


def _flags_of_address(device: str, address: ipaddress.IPv6Address) -> int | None:
    """/proc/net/if_inet6: address, index, prefix length, scope, flags (hexadecimal), device."""
    wanted = address.packed.hex()
    for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
        found, _, _, _, flags, name = line.split()
        if found == wanted and name == device:
            return int(flags, 16)
    return None


@dataclass(frozen=True, slots=True)
class Listening:
    """Some socket of the node listens on the TCP port, or has the UDP port bound."""

    port: int
    udp: bool = False
    groups: int = 0

    def __str__(self) -> str:
        return f"{'UDP' if self.udp else 'TCP'} port {self.port} is served"

    def look(self) -> Seen:
        wanted = f":{self.port:04X}"
        state = "07" if self.udp else "0A"  # include/net/tcp_states.h: UDP sockets are in TCP_CLOSE
        for table in ("udp", "udp6") if self.udp else ("tcp", "tcp6"):
            for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(wanted) and fields[3] == state:
                    return Seen(True, f"{table} {self.port} is served")
        return Seen(False, f"nobody serves {'UDP' if self.udp else 'TCP'} port {self.port}")


@dataclass(frozen=True, slots=True)
class Holds:
    """Any predicate of the caller's, by its description; looked at from inside the namespace."""

    predicate: Callable[[], object]
    description: str
    groups: int = 0

    def __str__(self) -> str:
        return self.description

    def look(self) -> Seen:
        value = self.predicate()
        return Seen(bool(value), repr(value))


class ConditionTimeout(TimeoutError):  # noqa: N818 - a kind of TimeoutError
    """A condition that never became true: which, where, and what was last seen."""


def wait(ns: Path, node: str, condition: Condition, timeout: float) -> Seen:
    """Looks at `condition` in the namespace at `ns` until it holds. Raises ConditionTimeout after `timeout` seconds."""
    return namespaces.inside(ns, _wait_inside, node, condition, time.monotonic() + timeout, timeout)


def wait_all(node: str, conditions: Sequence[Condition], timeout: float) -> None:
    """The same for several conditions of the namespace in which the calling helper thread is."""
    deadline = time.monotonic() + timeout
    for condition in conditions:
        _wait_inside(node, condition, deadline, timeout)


def _wait_inside(node: str, condition: Condition, deadline: float, timeout: float) -> Seen:
    seen = condition.look()
    if seen.holds:
        return seen
    with events.subscribe(condition.groups) as sock:
        while not (seen := condition.look()).holds:
            left = deadline - time.monotonic()
            if seen.final or left <= 0:
                how = "will not come true any more" if seen.final else f"within {timeout:g} s never came true"
                raise ConditionTimeout(f"on node {node}, {how}: {condition}; last seen: {seen.what}")
            select.select([sock], [], [], left if condition.groups else min(left, _LOOK_AGAIN))
            events.drain(sock)
    return seen
