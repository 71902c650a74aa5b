"""When a lab is ready for its first packet: carriers have come, and no address of the file is tentative any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from lab.errors import StepError
from lab.model import Interface, Node, Topology
from lab.observe.conditions import Carrier, Condition, ConditionTimeout, Usable, wait_all
from lab.substrate import namespaces


def wait(topology: Topology, ns_of: Callable[[str], Path], timeout: float) -> None:
    """Waits `timeout` seconds at the most. Raises StepError with what never came true."""
    up = {(each.node, each.name) for each in topology.interfaces() if each.up}
    wishes = {node.name: list(_conditions(node, up)) for node in topology.nodes.values()}
    wishes = {node: conditions for node, conditions in wishes.items() if conditions}

    def look() -> None:
        for node, conditions in wishes.items():
            namespaces.enter(ns_of(node))
            try:
                wait_all(node, conditions, timeout)
            except ConditionTimeout as error:
                raise StepError("wait until the lab is ready", node, why=str(error)) from None

    namespaces.Helper(look).result()


def _conditions(node: Node, up: set[tuple[str, str]]) -> Iterator[Condition]:
    for interface in node.interfaces:
        if interface.up and interface.peer in up:
            yield Carrier(interface.name)
        yield from _addresses(interface)


def _addresses(interface: Interface) -> Iterator[Condition]:
    for address in interface.addresses if interface.up else ():
        if address.address.version == 6 and not address.nodad and not address.optimistic:
            yield Usable(interface.name, str(address.address.ip))
