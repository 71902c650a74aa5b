"""What there is to draw: boxes and the cables between their interfaces, each with what is told of it, and nothing of its place.

Values only. `of` makes them of a topology; with what the nodes of a living lab hold right now, states and addresses are those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab.model.topology import LOOPBACK, OVS, SWITCH_BRIDGE, SWITCHES, Interface, Node, Topology

if TYPE_CHECKING:
    from lab.live import Lab
    from lab.model.file import Netem, PortVlan
    from lab.substrate.netlink.dump import LinkState, NamespaceState

WORKS = ("", "up", "unknown")
"""States that are not worth a word; the first is that of a lab which does not live, the last that of lo and dummies."""
GONE = "gone"
_WORDS = {"lowerlayerdown": "no carrier"}
_ORDINARY_MTU = 1500
_OF_DATAPATH = "ovs-netdev"
_LOCAL = ("127.0.0.1/8", "::1/128")


@dataclass(frozen=True, slots=True)
class Device:
    """`about` is told in words (VLANs, MTU, impairments …); `state` is the operational one of RFC 2863 in a word or
    two, or `gone`."""

    name: str
    about: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    state: str = ""

    @property
    def works(self) -> bool:
        return self.state in WORKS


@dataclass(frozen=True, slots=True)
class End:
    """One end of a cable, and the devices that stand upon it, as VLANs do."""

    node: str
    device: Device
    above: tuple[Device, ...] = ()

    def __str__(self) -> str:
        return f"{self.node}:{self.device.name}"


@dataclass(frozen=True, slots=True)
class Cable:
    near: End
    far: End

    @property
    def works(self) -> bool:
        return self.near.device.works and self.far.device.works


@dataclass(frozen=True, slots=True)
class Box:
    """A node; `kind` is host, router, switch, ovs or container, `devices` are those that no cable ends at."""

    name: str
    kind: str
    services: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()

    @property
    def switches(self) -> bool:
        return self.kind in SWITCHES


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    boxes: tuple[Box, ...]
    cables: tuple[Cable, ...]


def of(topology: Topology, living: Mapping[str, NamespaceState] | None = None) -> Picture:
    """`living`: node -> what it holds; without it the picture is of the file alone."""
    ended = {(end.node, end.name) for link in topology.links for end in (link.near, link.far)}
    devices = {node.name: _devices(node, living[node.name] if living else None) for node in topology.nodes.values()}
    upon = {node.name: _upon(node, ended) for node in topology.nodes.values()}

    def end(of: Interface) -> End:
        own = devices[of.node]
        return End(of.node, own[of.name], tuple(own[name] for name, lower in upon[of.node].items() if lower == of.name))

    boxes = tuple(_box(node, devices[node.name], upon[node.name], ended) for node in topology.nodes.values())
    return Picture(topology.name, boxes, tuple(Cable(end(link.near), end(link.far)) for link in topology.links))


def of_lab(lab: Lab) -> Picture:
    """A living lab as it is right now. Needs root."""
    from lab.substrate.netlink import dump

    return replace(of(lab.topology, {node.name: dump.read(node.ns) for node in lab}), name=lab.name)


def _box(node: Node, devices: Mapping[str, Device], upon: Mapping[str, str], ended: set[tuple[str, str]]) -> Box:
    alone = [device for name, device in devices.items() if (node.name, name) not in ended and name not in upon]
    return Box(node.name, node.kind, tuple(node.services), tuple(each for each in alone if _worth_telling(each, node)))


def _worth_telling(device: Device, node: Node) -> bool:
    """Not what every node has: lo, and the bridge of a switch; nor what an Open vSwitch makes for itself."""
    plain = device.name in ("lo", _OF_DATAPATH) or node.kind == "switch" or (node.kind == OVS and device.name == SWITCH_BRIDGE)
    return bool(device.addresses) or not plain


def _upon(node: Node, ended: set[tuple[str, str]]) -> dict[str, str]:
    """Device -> the end of a cable that it stands upon, as a VLAN does."""
    parents = {each.name: each.parent for each in node.interfaces if each.parent and each.kind in ("vlan", "macvlan")}
    found = {}
    for name in parents:
        lower: str | None = name
        while lower in parents:
            lower = parents[lower]
        if lower and (node.name, lower) in ended:
            found[name] = lower
    return found


def _devices(node: Node, living: NamespaceState | None) -> dict[str, Device]:
    written = {each.name: _device(each) for each in node.interfaces}
    if living is None:
        return written
    links = {link.name: link for link in living.links}
    own = {each.name: {str(address.address) for address in each.addresses} for each in node.interfaces}
    found = {
        name: _now(device, links[name], own[name]) if name in links else replace(device, state=GONE)
        for name, device in written.items()
    }
    new = {name: _now(Device(name, (link.kind,)), link, set()) for name, link in links.items() if name not in found}
    return found | new


def _now(device: Device, link: LinkState, own: set[str]) -> Device:
    """Link-local addresses only where the file has them: every interface has one."""
    told = (each for each in link.addresses if each not in _LOCAL)
    addresses = tuple(each for each in told if not each.startswith("fe80:") or each.split()[0] in own)
    return replace(device, addresses=addresses, state=_WORDS.get(link.state, link.state))


def _device(interface: Interface) -> Device:
    addresses = tuple(str(each.address) for each in interface.addresses if interface.index != LOOPBACK or each)
    return Device(interface.name, tuple(_about(interface)), tuple(each for each in addresses if each not in _LOCAL))


def _about(interface: Interface) -> Iterator[str]:
    if interface.kind == "vlan":
        yield f"VLAN {getattr(interface.spec, 'id', '')}"
    elif interface.kind not in ("veth", "lo"):
        yield _stacked(interface)
    if interface.vlan:
        yield _vlans(interface.vlan)
    if interface.master and interface.master != "br0":
        yield f"in {interface.master}"
    if interface.mtu and interface.mtu != _ORDINARY_MTU:
        yield f"MTU {interface.mtu}"
    if interface.netem:
        yield _impaired(interface.netem)
    if not interface.up:
        yield "not raised"


def _stacked(interface: Interface) -> str:
    members = getattr(interface.spec, "members", ())
    return f"{interface.kind} of {', '.join(members)}" if members else interface.kind


def _vlans(vlan: PortVlan) -> str:
    tagged = _listed("VLAN", vlan.trunk)
    return (
        _listed("VLAN", (vlan.access,))
        if vlan.access
        else ", ".join(part for part in (tagged, f"native {vlan.native}" if vlan.native else "") if part)
    )


def _listed(word: str, numbers: Iterable[int]) -> str:
    said = [str(number) for number in numbers]
    return f"{word}{'s' if len(said) > 1 else ''} {', '.join(said)}" if said else ""


def _impaired(netem: Netem) -> str:
    jitter = f" ± {_milliseconds(netem.jitter)}" if netem.jitter else ""
    shares = (("loss", netem.loss), ("duplicate", netem.duplicate), ("reorder", netem.reorder))
    told = [
        f"{_milliseconds(netem.delay)}{jitter}" if netem.delay else "",
        *(f"{name} {share:g} %" for name, share in shares if share),
        _rate(netem.rate) if netem.rate else "",
    ]
    return ", ".join(each for each in told if each)


def _milliseconds(microseconds: int) -> str:
    return f"{microseconds / 1000:g} ms"


def _rate(bits: int) -> str:
    for unit, size in (("Gbit/s", 10**9), ("Mbit/s", 10**6), ("kbit/s", 10**3)):
        if bits >= size:
            return f"{bits / size:g} {unit}"
    return f"{bits} bit/s"
