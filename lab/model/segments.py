"""Which interfaces hear each other at layer 2, through veths, bridges (VLAN-aware or not), VLAN devices and macvlans.

A point is (node, device, tag): frames with that VLAN id, or none, at that device. Points that frames pass between are
one segment. What joins the ports of an Open vSwitch has a point of its own, since br0 is one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.model.file import Bridge, Vlan, Vrf
from lab.model.topology import DEFAULT_PVID, OVS, Interface, Node, Topology

Point = tuple[str, str, int | str | None]
_INSIDE = "the switch"  # no device has such a name


class Segments:
    """Union-find over the points of a topology."""

    def __init__(self, topology: Topology) -> None:
        self._root: dict[Point, Point] = {}
        self._tags: tuple[int | None, ...] = (None, *sorted({tag for each in topology.interfaces() for tag in _entered(each)}))
        for link in topology.links:
            self._through((link.near.node, link.near.name), (link.far.node, link.far.name))
        for node in topology.nodes.values():
            self._inside(node)

    def of(self, interface: Interface) -> Point:
        return self._find((interface.node, interface.name, None))

    def _inside(self, node: Node) -> None:
        uppers = {each.name: each.spec for each in node.interfaces}
        for each in node.interfaces:
            if node.kind == OVS and each.kind in ("veth", "internal"):
                self._port_of_ovs(each)
                continue
            upper = uppers.get(each.master or "")
            for one, other in _joined(each, upper if isinstance(upper, Bridge) else None):
                self._join(one, other)
            if each.master and not _parts(upper):
                self._through((each.node, each.name), (each.node, each.master))

    def _port_of_ovs(self, port: Interface) -> None:
        """Without a VLAN it is a trunk of all of them; frames without a tag are in none (ovs-vswitchd.conf.db(5), Port)."""
        here, inside, vlan = (port.node, port.name), (port.node, _INSIDE), port.vlan
        if vlan is None:
            self._through(here, inside)
            return
        if untagged := vlan.access or vlan.native:
            self._join((*here, None), (*inside, untagged))
        for tag in vlan.trunk:
            self._join((*here, tag), (*inside, tag))

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


def _entered(interface: Interface) -> Iterator[int]:
    """The VLANs that untagged frames get into here: no other tag of a trunk is ever heard."""
    if isinstance(interface.spec, Vlan):
        yield interface.spec.id
    vlan = interface.vlan
    if vlan and (untagged := vlan.access or vlan.native):
        yield untagged
    if vlan and DEFAULT_PVID in vlan.trunk:
        yield DEFAULT_PVID


def _parts(upper: object) -> bool:
    """Whether what this device has for members stays apart at layer 2: a VRF is one of routes only."""
    return isinstance(upper, Vrf) or (isinstance(upper, Bridge) and upper.vlan_filtering)


def _joined(interface: Interface, bridge: Bridge | None) -> Iterator[tuple[Point, Point]]:
    here = (interface.node, interface.name)
    if isinstance(interface.spec, Bridge) and interface.spec.vlan_filtering:
        yield (*here, None), (*here, f"vid {DEFAULT_PVID}")
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
