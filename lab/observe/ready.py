"""When a lab is ready for its first packet: carriers have come, no address of the file is tentative any more, each can be asked
for, and routers have link-local addresses to ask for neighbours with."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import StepError
from lab.model import Interface, Node, Topology
from lab.model.topology import SWITCHES
from lab.observe.conditions import Carriers, Condition, ConditionTimeout, Seen, Solicitable, Usable, wait_all
from lab.substrate import namespaces
from lab.substrate.netlink import events

_LINK_SCOPE, _TENTATIVE = "20", 0x40  # include/net/ipv6.h: IPV6_ADDR_LINKLOCAL; include/uapi/linux/if_addr.h


def wait(topology: Topology, ns_of: Callable[[str], Path], timeout: float) -> None:
    """Waits `timeout` seconds at the most. Raises StepError with what never came true."""
    carriers = _carriers(topology)
    wishes = {node.name: [*carriers.get(node.name, ()), *_usable(node)] for node in topology.nodes.values()}
    wishes = {node: conditions for node, conditions in wishes.items() if conditions}

    deadline = time.monotonic() + timeout

    def look() -> None:
        for node, conditions in wishes.items():
            namespaces.enter(ns_of(node))
            try:
                wait_all(node, conditions, deadline, timeout)
            except ConditionTimeout as error:
                raise StepError("wait until the lab is ready", node, why=str(error)) from None

    namespaces.Helper(look).result()


def _carriers(topology: Topology) -> dict[str, list[Condition]]:
    """Of a cable the end that is raised last has its carrier at once; the other one hears of it later, and is waited for.

    To a switch that is its port, which comes raised; between others it can be either."""
    devices: dict[str, list[str]] = {}
    for link in topology.links:
        if link.near.up and link.far.up:
            switched = topology.nodes[link.near.node].kind in SWITCHES
            for end in (link.near,) if switched else (link.near, link.far):
                devices.setdefault(end.node, []).append(end.name)
    return {node: [Carriers(tuple(names))] for node, names in devices.items()}


def _usable(node: Node) -> Iterator[Condition]:
    for interface in node.interfaces:
        yield from _addresses(interface)
    if node.kind == "router" and _routes_ipv6(node):
        yield from (LinkLocal(each.name) for each in node.interfaces if each.up and each.kind == "veth" and not each.master)


def _routes_ipv6(node: Node) -> bool:
    addressed = any(address.address.version == 6 for each in node.interfaces for address in each.addresses)
    return addressed or any(route.to is not None and route.to.version == 6 for route in node.routes)


@dataclass(frozen=True, slots=True)
class LinkLocal:
    """The device has a link-local address that is not tentative: until then the kernel cannot ask for the neighbours of
    packets that it forwards, and drops them (net/ipv6/ndisc.c, ndisc_send_ns)."""

    device: str
    groups: int = events.ADDRESS

    def __str__(self) -> str:
        return f"the link-local address of {self.device} is usable"

    def look(self) -> Seen:
        lines = [line.split() for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines()]
        flags = [int(fields[4], 16) for fields in lines if fields[5] == self.device and fields[3] == _LINK_SCOPE]
        if not flags:
            return Seen(_does_without(self.device), f"{self.device} has no link-local address")
        return Seen(any(not each & _TENTATIVE for each in flags), f"the link-local address of {self.device} is tentative")


def _does_without(device: str) -> bool:
    """IPv6 is switched off there, or the kernel was told to make no such address (IN6_ADDR_GEN_MODE_NONE)."""
    settings = Path("/proc/sys/net/ipv6/conf", device)
    with contextlib.suppress(FileNotFoundError):
        off, mode = ((settings / name).read_text().strip() for name in ("disable_ipv6", "addr_gen_mode"))
        return off == "1" or mode == "1"
    return True


def _addresses(interface: Interface) -> Iterator[Condition]:
    for address in interface.addresses if interface.up else ():
        if address.address.version == 6 and not address.nodad and not address.optimistic:
            yield Usable(interface.name, str(address.address.ip))
        elif address.address.version == 6 and interface.kind == "veth":
            yield Solicitable(interface.name, str(address.address.ip))
