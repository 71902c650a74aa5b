"""When a lab is ready for its first packet: carriers have come, and no address of the file is tentative any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from lab.errors import StepError
from lab.model import Interface, Node, Topology
from lab.observe.conditions import Carriers, Condition, ConditionTimeout, Usable, wait_all
from lab.substrate import namespaces


def wait(topology: Topology, ns_of: Callable[[str], Path], timeout: float) -> None:
    """Waits `timeout` seconds at the most. Raises StepError with what never came true."""
    carriers = _carriers(topology)
    wishes = {node.name: [*carriers.get(node.name, ()), *_usable(node)] for node in topology.nodes.values()}
    wishes = {node: conditions for node, conditions in wishes.items() if conditions}

    def look() -> None:
        for node, conditions in wishes.items():
            namespaces.enter(ns_of(node))
            try:
                wait_all(node, conditions, timeout)
            except ConditionTimeout as error:
                raise StepError("wait until the lab is ready", node, why=str(error)) from None

    namespaces.Helper(look).result()


def _carriers(topology: Topology) -> dict[str, list[Condition]]:
    """Of a cable the end that is raised last has its carrier at once; the other one hears of it later, and is waited for.

    To a switch that is its port, which comes raised; between others it can be either."""
    devices: dict[str, list[str]] = {}
    for link in topology.links:
        if link.near.up and link.far.up:
            switched = topology.nodes[link.near.node].kind == "switch"
            for end in (link.near,) if switched else (link.near, link.far):
                devices.setdefault(end.node, []).append(end.name)
    return {node: [Carriers(tuple(names))] for node, names in devices.items()}


def _usable(node: Node) -> Iterator[Condition]:
    for interface in node.interfaces:
        yield from _addresses(interface)


def _addresses(interface: Interface) -> Iterator[Condition]:
    for address in interface.addresses if interface.up else ():
        if address.address.version == 6 and not address.nodad and not address.optimistic:
            yield Usable(interface.name, str(address.address.ip))
