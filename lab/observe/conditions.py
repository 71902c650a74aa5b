"""Named conditions of a node, and waiting for them with a deadline: woken by netlink events, never by a fixed sleep.

A condition looks from inside the namespace and says whether it holds and what it saw; where the kernel sends no event for it
(`groups` is 0) it is looked at again at short intervals until the deadline. What is waited for right now can be asked from
any thread (`pending`), by who shows it to a user.
"""

from __future__ import annotations

import ipaddress
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab.observe import counters, tables
from lab.substrate import baseline, namespaces
from lab.substrate.netlink import events, operstate
from lab.sysctls import sysctl_parts

_LOOK_AGAIN = 0.01  # seconds, where no event tells
_RUN_AGAIN = 0.1  # seconds, where looking means to run a command
_AT_LEAST = 1.0  # seconds; an event that tells everything but what is waited for must not be the last look
_MAIN = 254  # RT_TABLE_MAIN, include/uapi/linux/rtnetlink.h
_RESOLVED = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # NUD_REACHABLE, STALE, DELAY, PROBE, PERMANENT: include/uapi/linux/neighbour.h
_SOLICITED_NODE = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13]  # RFC 4291, 2.7.1
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
class Solicitable:
    """The node hears who asks for the MAC address of its IPv6 address: it is in the solicited-node group (RFC 4861, 7.2.1). The
    kernel joins in its own time, also where detection of duplicates is skipped (net/ipv6/addrconf.c, addrconf_dad_work)."""

    device: str
    address: str
    groups: int = 0

    def __str__(self) -> str:
        return f"{self.address} on {self.device} can be asked for"

    def look(self) -> Seen:
        wanted = (_SOLICITED_NODE + ipaddress.IPv6Address(self.address).packed[-3:]).hex()
        lines = [line.split() for line in Path("/proc/thread-self/net/igmp6").read_text().splitlines()]
        joined = any((name, group) == (self.device, wanted) for _, name, group, *_ in lines)
        return Seen(joined, f"its solicited-node group is {'' if joined else 'not '}joined")


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
class Addressed:
    """The address, of either family, is on the device (on any where none is named), and with `usable` not tentative."""

    address: str
    device: str = ""
    usable: bool = True
    groups: int = events.ADDRESS

    def __str__(self) -> str:
        return f"{self.address} is {'usable' if self.usable else 'there'}{f' on {self.device}' if self.device else ''}"

    def look(self) -> Seen:
        wanted = ipaddress.ip_address(self.address)
        found = [held for held in tables.addresses() if held.address == wanted and self.device in ("", held.device)]
        if not found:
            return Seen(False, f"{self.address} is not on {self.device or 'any interface'}")
        seen = [_told(held) for held in found] if self.usable else [Seen(True, f"{self.address} is on {found[0].device}")]
        return next((each for each in seen if each.holds), seen[0])


def _told(held: tables.Held) -> Seen:
    if held.flags & _DADFAILED:
        return Seen(False, f"{held.address} on {held.device} is a duplicate: another node of the link has it (dadfailed)")
    usable = not held.flags & _TENTATIVE or bool(held.flags & _OPTIMISTIC)
    return Seen(usable, f"{held.address} on {held.device} is {'usable' if usable else 'tentative'}")


@dataclass(frozen=True, slots=True)
class Routed:
    """The main table has a route to exactly this prefix; `default` is that of either family."""

    to: str
    groups: int = events.ROUTE

    def __str__(self) -> str:
        return f"there is a route to {self.to}"

    def look(self) -> Seen:
        either = ("0.0.0.0/0", "::/0") if self.to == "default" else (self.to,)
        wanted = {ipaddress.ip_network(each) for each in either}
        found = list(tables.routes(_MAIN))
        if wanted & set(found):
            return Seen(True, f"{self.to} has a route")
        others = ", ".join(map(str, found[:_SHOWN])) + (", …" if len(found) > _SHOWN else "")
        return Seen(False, f"routes to {others}" if others else "no route at all")


_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The neighbour's MAC address is known, whether or not it was used lately (reachable, stale, delay, probe, permanent);
    with `state`, one of these names, its entry is in that very state."""

    address: str
    groups: int = events.NEIGHBOUR
    state: str = ""

    def __str__(self) -> str:
        return f"{self.address} is {self.state or 'resolved'}"

    def look(self) -> Seen:
        wanted = ipaddress.ip_address(self.address)
        found = [each for each in tables.neighbours() if each.address == wanted]
        meant = [each for each in found if self._means(each.state)]
        said = [str(each) for each in meant or found]
        return Seen(bool(meant), said[0] if said else f"{self.address} is no neighbour")

    def _means(self, state: int) -> bool:
        return tables.STATES.get(state) == self.state if self.state else bool(state & _RESOLVED)


@dataclass(frozen=True, slots=True)
class Anycast:
    """The node answers for the anycast group, on the device where one is named. Joining and leaving come with a route of the
    local table, so that its events tell; a count that merely grows has none."""

    address: str
    device: str = ""
    groups: int = events.ROUTE

    def __str__(self) -> str:
        return f"{self.address} is joined{f' on {self.device}' if self.device else ''}"

    def look(self) -> Seen:
        wanted = ipaddress.IPv6Address(self.address)
        for each in tables.groups():
            if each.address == wanted and self.device in ("", each.device):
                return Seen(True, f"{each.address} on {each.device} has {each.users} user{'s' * (each.users != 1)}")
        return Seen(False, f"nobody holds {self.address}")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Detection has found the address to be another node's too (dadfailed); it stays on the device, useless."""

    device: str
    address: str
    groups: int = events.ADDRESS

    def __str__(self) -> str:
        return f"{self.address} on {self.device} is found to be a duplicate"

    def look(self) -> Seen:
        flags = _flags_of_address(self.device, ipaddress.IPv6Address(self.address))
        if flags is None:
            return Seen(False, f"{self.address} is not on {self.device}")
        state = "dadfailed" if flags & _DADFAILED else "tentative" if flags & _TENTATIVE else "usable"
        return Seen(bool(flags & _DADFAILED), f"{self.address} is {state}", final=state == "usable")


@dataclass(frozen=True, slots=True)
class SysctlIs:
    """A sysctl of the node has this value, which the kernel itself may change: `net.ipv6.conf.eth0.mtu`."""

    name: str
    value: str
    groups: int = 0

    def __str__(self) -> str:
        return f"{self.name} is {self.value}"

    def look(self) -> Seen:
        try:
            found = baseline.SYSCTL.joinpath(*sysctl_parts(self.name)).read_text().strip()
        except OSError:
            return Seen(False, f"no sysctl {self.name}")
        return Seen(found == self.value, f"{self.name} is {found}")


@dataclass(frozen=True, slots=True)
class Counted:
    """An SNMP counter of the node, by its name in nstat(8), has come to `least`."""

    counter: str
    least: int
    groups: int = 0

    def __str__(self) -> str:
        return f"{self.counter} is {self.least} at least"

    def look(self) -> Seen:
        found = counters.here().get(self.counter, 0)
        return Seen(found >= self.least, f"{self.counter} is {found}")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command came to: its exit status, None where it did not end in time, and the last line that it wrote."""

    status: int | None
    said: str


@dataclass(frozen=True, slots=True)
class Succeeds:
    """A command ends with status 0. `run` starts it where the node's commands run, and says when it gives up on it."""

    argv: tuple[str, ...]
    description: str
    run: Callable[[Sequence[str]], Ran] = field(compare=False, repr=False)
    groups: int = 0
    pause: float = _RUN_AGAIN

    def __str__(self) -> str:
        return self.description

    def look(self) -> Seen:
        ran = self.run(self.argv)
        how = "it did not end in time" if ran.status is None else f"it ended with {ran.status}"
        return Seen(ran.status == 0, f"{how}{f': {ran.said}' if ran.said else ''}")


@dataclass(frozen=True, slots=True)
class Gone:
    """The opposite of another condition, woken by the same events."""

    condition: Condition

    def __str__(self) -> str:
        return f"no longer: {self.condition}"

    @property
    def groups(self) -> int:
        return self.condition.groups

    @property
    def pause(self) -> float:
        """Seconds between two looks, where no event tells."""
        return _pause(self.condition)

    def look(self) -> Seen:
        seen = self.condition.look()
        return Seen(not seen.holds, seen.what)


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


def wait_all(node: str, conditions: Sequence[Condition], deadline: float, timeout: float) -> None:
    """The same for several conditions of the namespace in which the calling helper thread is, until `deadline`
    (time.monotonic()), which is over `timeout` seconds after the waiting began."""
    for condition in conditions:
        _wait_inside(node, condition, deadline, timeout)


_pending: dict[int, str] = {}


def pending() -> tuple[str, ...]:
    """What the threads of this process wait for at this moment, in words."""
    return tuple(_pending.copy().values())


def _pause(condition: Condition) -> float:
    """Seconds between two looks at a condition of which no event tells."""
    return float(getattr(condition, "pause", _LOOK_AGAIN))


def _wait_inside(node: str, condition: Condition, deadline: float, timeout: float) -> Seen:
    _pending[threading.get_ident()] = f"{node}: {condition}"
    try:
        return _looked(node, condition, deadline, timeout)
    finally:
        del _pending[threading.get_ident()]


def _looked(node: str, condition: Condition, deadline: float, timeout: float) -> Seen:
    seen = condition.look()
    if seen.holds:
        return seen
    with events.subscribe(condition.groups) as sock:
        while not (seen := condition.look()).holds:
            left = deadline - time.monotonic()
            if seen.final or left <= 0:
                how = "will not come true any more" if seen.final else f"within {timeout:g} s never came true"
                raise ConditionTimeout(f"on node {node}, {how}: {condition}; last seen: {seen.what}")
            select.select([sock], [], [], min(left, _AT_LEAST if condition.groups else _pause(condition)))
            events.drain(sock)
    return seen
