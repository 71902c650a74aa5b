"""Which interfaces hear each other at layer 2, through veths, bridges (VLAN-aware or not), VLAN devices and macvlans.

A point is (node, device, tag): frames with that VLAN id, or none, at that device. Points that frames pass between are
one segment.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.model.file import Bridge
from lab.model.topology import Interface, Node, Topology

Point = tuple[str, str, int | str | None]
DEFAULT_PVID = 1  # net/bridge/br_vlan.c: a port with no VLAN of its own is an untagged member of 1


class Segments:
    """Union-find over the points of a topology."""

    def __init__(self, topology: Topology) -> None:
        self._root: dict[Point, Point] = {}
        tags = {getattr(interface.spec, "id", None) for interface in topology.interfaces() if interface.kind == "vlan"}
        self._tags: tuple[int | None, ...] = (None, *(tag for tag in tags if tag is not None))
        for link in topology.links:
            self._through((link.near.node, link.near.name), (link.far.node, link.far.name))
        for node in topology.nodes.values():
            self._inside(node)

    def of(self, interface: Interface) -> Point:
        return self._find((interface.node, interface.name, None))

    def _inside(self, node: Node) -> None:
        bridges = {each.name: each.spec for each in node.interfaces if isinstance(each.spec, Bridge)}
        for each in node.interfaces:
            for one, other in _joined(each, bridges.get(each.master or "")):
                self._join(one, other)
            plain = each.master and not getattr(bridges.get(each.master), "vlan_filtering", False)
            if plain and each.master:
                self._through((each.node, each.name), (each.node, each.master))

    def _through(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        for tag in self._tags:
            self._join((*one, tag), (*other, tag))

    def _find(self, point: Point) -> Point:
        while (above := self._root.get(point, point)) != point:
            self._root[point] = self._root.get(above, above)
            point = above
        return point

    def _join(self, one: Point, other: Point) -> None:
        self._root[self._find(one)] = self._find(other)


def _joined(interface: Interface, bridge: Bridge | None) -> Iterator[tuple[Point, Point]]:
    here = (interface.node, interface.name)
    if interface.parent and interface.kind == "vlan":
        yield (*here, None), (interface.node, interface.parent, getattr(interface.spec, "id", None))
    if interface.parent and interface.kind == "macvlan":
        yield (*here, None), (interface.node, interface.parent, None)
    if bridge and bridge.vlan_filtering and interface.master:
        inside = (interface.node, interface.master)
        vlan = interface.vlan
        untagged = (vlan.access or vlan.native) if vlan else DEFAULT_PVID
        if untagged:
            yield (*here, None), (*inside, f"vid {untagged}")
        for tag in vlan.trunk if vlan else ():
            yield (*here, tag), (*inside, f"vid {tag}")
