"""Links of containerlab's, in brief or extended form -> links of our own, and devices of nodes.

Source: containerlab's manual, "Topology definition" (links), and its JSON schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.containerlab import shapes
from lab.containerlab.placed import Findings, Placed
from lab.containerlab.shapes import Shape, known
from lab.topology.words import did_you_mean, shown

MTU = 9500  # of a link that says nothing: containerlab's, not the kernel's
_COMMON: dict[str, Shape] = {
    "type": shapes.text,
    "mtu": shapes.whole,
    "vars": shapes.anything,
    "labels": shapes.anything,
}
_LINK: Mapping[str, Shape] = _COMMON | {"endpoints": shapes.anything, "ipv4": shapes.texts, "ipv6": shapes.texts}
_DUMMY: Mapping[str, Shape] = _COMMON | {"endpoint": shapes.anything}
_END: dict[str, Shape] = dict.fromkeys(("node", "interface", "mac", "ipv4", "ipv6"), shapes.text) | {"vars": shapes.anything}
_PAIRS = ("veth", "veth-stitch")
_LEAVE = {
    "host": "it ends in the host",
    "mgmt-net": "there is no management network",
    "macvlan": "it ends at a device of the host",
    "vxlan": "it ends at another machine",
    "vxlan-stitch": "it ends at another machine",
}
_HERMETIC = "remove it: a lab is hermetic; what lies beyond must be a node of the lab"


@dataclass(frozen=True, slots=True)
class Inside:
    """A bridge in the namespace of a container: a device of that node."""

    node: str
    bridge: str
    at: Placed
    members: list[Placed] = field(default_factory=list)


@dataclass
class Wiring:
    """What links are made of: every node, which of them are containers, which are not covered, which stand for bridges
    inside others. `links` and `devices` (by node, by name) is what became of them."""

    nodes: frozenset[str]
    containers: frozenset[str]
    lost: frozenset[str]
    inside: Mapping[str, Inside]
    findings: Findings
    links: list[Placed] = field(default_factory=list)
    devices: dict[str, dict[str, Placed]] = field(default_factory=dict)

    def take(self, link: Placed) -> None:
        """One entry of `links:`."""
        if not isinstance(link.value, dict):
            self.findings.wrong(
                link, f"a link is a mapping, not {shown(link.value)}", 'such as endpoints: ["a:eth1", "b:eth1"]'
            )
            return
        kind = link.get("type")
        word = kind.value.strip().lower() if kind and isinstance(kind.value, str) else "brief"
        if kind and word in _LEAVE:
            self.findings.wrong(kind, f"a link of type {word} is not covered: {_LEAVE[word]}", _HERMETIC)
        elif kind and word not in ("brief", "dummy", *_PAIRS):
            hint = did_you_mean(word, ("veth", "dummy")) or "covered are veth, veth-stitch and dummy"
            self.findings.wrong(kind, f"unknown type of link {shown(kind.value)}", hint)
        elif word == "dummy":
            self._dummy(link, known(link, "the link", _DUMMY, self.findings))
        else:
            self._pair(link, known(link, "the link", _LINK, self.findings))

    def finish(self) -> None:
        """Once every link is taken: bridges inside containers, with the links that end there."""
        for each in self.inside.values():
            members = {"members": each.at.listing(each.members)} if each.members else {}
            device = each.at.mapping({"kind": each.at.like("bridge")} | members)
            self._device(each.node, each.bridge, device)

    def _pair(self, link: Placed, keys: Mapping[str, Placed]) -> None:
        written = keys.get("endpoints")
        if written is None or not isinstance(written.value, list) or len(written.value) != 2:
            self.findings.wrong(written or link, "a link has two endpoints", 'such as endpoints: ["a:eth1", "b:eth1"]')
            return
        ends = [self._end(each) for each in written.each()]
        if not (ends[0] and ends[1]):
            return
        inside = [self._inside(end) for end in ends if end]
        sides = (_addresses(keys, 0), _addresses(keys, 1))
        made = [self._made(end, more) for end, more in zip(inside, sides, strict=True)]
        entries = {"endpoints": written.listing(made)}
        self.links.append(link.mapping(entries | ({"mtu": keys["mtu"]} if "mtu" in keys else {})))

    def _dummy(self, link: Placed, keys: Mapping[str, Placed]) -> None:
        end = self._end(keys["endpoint"]) if "endpoint" in keys else self._no_endpoint(link)
        if not end:
            return
        node, interface = end["node"], end["interface"]
        if node.value not in self.containers:
            hint = did_you_mean(node.value, self.containers) or "a dummy interface is a container's"
            self.findings.wrong(node, f"there is no container {shown(node.value)}", hint)
            return
        addresses = [end[family] for family in ("ipv4", "ipv6") if family in end]
        device = {"kind": link.like("dummy"), "mtu": keys.get("mtu") or link.like(MTU)}
        device |= {"mac": end["mac"]} if "mac" in end else {}
        device |= {"addresses": link.listing(addresses)} if addresses else {}
        self._device(node.value, interface.value, interface.mapping(device))

    def _no_endpoint(self, link: Placed) -> dict[str, Placed] | None:
        self.findings.wrong(link, "a dummy link has one endpoint", "such as endpoint: {node: a, interface: dummy0}")
        return None

    def _device(self, node: str, name: str, device: Placed) -> None:
        devices = self.devices.setdefault(node, {})
        if name in devices:
            self.findings.wrong(device, f"{node}:{name} is there already", "give it a name of its own")
        devices[name] = device

    def _end(self, end: Placed) -> dict[str, Placed] | None:
        """Node, interface and what else is said of them; None where it is not usable, or belongs to a node that is not."""
        keys = self._brief(end) if isinstance(end.value, str) else self._extended(end)
        if keys is None:
            return None
        node = keys["node"]
        word = node.value.strip().lower()
        if node.value in self.lost:
            return None
        if word in _LEAVE and node.value not in self.nodes:
            self.findings.wrong(node, f"a link to {word} is not covered: {_LEAVE[word]}", _HERMETIC)
            return None
        return keys

    def _brief(self, end: Placed) -> dict[str, Placed] | None:
        node, _, interface = end.value.partition(":")
        if not (node and interface):
            self.findings.wrong(end, f"{shown(end.value)} is no end of a link", "write NODE:INTERFACE")
            return None
        return {"node": end.like(node), "interface": end.like(interface)}

    def _extended(self, end: Placed) -> dict[str, Placed] | None:
        if not isinstance(end.value, dict):
            self.findings.wrong(end, f"{shown(end.value)} is no end of a link", "write NODE:INTERFACE")
            return None
        keys = known(end, "the endpoint", _END, self.findings)
        given = {key: each for key, each in keys.items() if each.value != ""}
        if "node" not in given or "interface" not in given:
            self.findings.wrong(end, "an end of a link has a node and an interface", "such as {node: a, interface: eth1}")
            return None
        return given

    def _inside(self, keys: dict[str, Placed]) -> dict[str, Placed]:
        """An end at a bridge inside a container is one of that container."""
        found = self.inside.get(keys["node"].value)
        if not found:
            return keys
        found.members.append(keys["interface"])
        return keys | {"node": keys["node"].like(found.node)}

    def _made(self, end: dict[str, Placed], more: list[Placed]) -> Placed:
        """In the short form where nothing more is said of it."""
        node, interface = end["node"], end["interface"]
        addresses = [end[family] for family in ("ipv4", "ipv6") if family in end] + more
        if not addresses and "mac" not in end:
            return node.like(f"{node.value}:{interface.value}")
        entries = {key: end[key] for key in ("node", "interface", "mac") if key in end}
        return node.mapping(entries | ({"addresses": node.listing(addresses)} if addresses else {}))


def _addresses(keys: Mapping[str, Placed], side: int) -> list[Placed]:
    """Of one end, from the lists of the link; an empty text holds the place of none."""
    lists = [keys[family].each() for family in ("ipv4", "ipv6") if family in keys]
    return [each[side] for each in lists if len(each) > side and each[side].value]
