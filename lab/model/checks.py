"""The invariants of a resolved topology: what no kernel would take, or would take and nobody meant."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import cast

from lab.model.file import Bridge, Command, Route, Rule
from lab.model.resolve import did_you_mean
from lab.model.segments import Segments
from lab.model.topology import CONTAINER, OVS, OVS_DAEMONS, SWITCH_BRIDGE, Fault, Interface, Topology
from lab.model.topology import Node as ResolvedNode

IPV6_MIN_MTU = 1280  # RFC 8200, section 5
VETH_MTU = 1500


def check(topology: Topology, whole: bool) -> Iterator[Fault]:
    """Every broken invariant. Of a topology that is not `whole` (parts of the file were wrong) only what holds without them."""
    rules: tuple[Callable[[Topology], Iterator[Fault]], ...] = (
        _addresses,
        _inside_prefix,
        _twice_on_a_segment,
        _mtus,
        _macs,
        _open_vswitches,
        _containers,
        _port_vlans,
        _routes,
        _rules,
        _neighbours,
    )
    needs_all = (_port_vlans, _routes, _neighbours)
    return (fault for rule in rules if whole or rule not in needs_all for fault in rule(topology))


def _addresses(topology: Topology) -> Iterator[Fault]:
    for interface in topology.interfaces():
        seen = set()
        for address, path in zip(interface.addresses, interface.address_paths, strict=True):
            ip, network = address.address.ip, address.address.network
            if ip in seen:
                yield Fault(path, f"{ip} is given twice to {interface}")
            seen.add(ip)
            if ip.version == 4 and (address.nodad or address.optimistic):
                yield Fault(path, f"{ip}: IPv4 has no duplicate address detection", "remove nodad and optimistic")
            if ip.version == 6 and address.scope:
                yield Fault(path, f"{ip}: the scope of an IPv6 address comes from the address itself", "remove scope")
            if address.peer and address.peer.version != ip.version:
                yield Fault(path, f"{ip} and its peer {address.peer} are of different families")
            if ip.is_multicast:
                yield Fault(path, f"{ip} is a multicast address: no interface can own it")
            elif ip.version == 4 and network.prefixlen < 31 and ip in (network.network_address, network.broadcast_address):
                which = "the prefix itself" if ip == network.network_address else "the broadcast address"
                yield Fault(path, f"{ip} is {which} of {network}, no host's address")


def _inside_prefix(topology: Topology) -> Iterator[Fault]:
    for link in topology.links:
        for end in (link.near, link.far):
            for address, path in zip(end.addresses, end.address_paths, strict=True):
                same = [prefix for prefix in link.prefixes if prefix.version == address.address.version]
                ip = address.address.ip
                if same and not ip.is_link_local and not any(ip in prefix for prefix in same):
                    told = " and ".join(map(str, same))
                    yield Fault(path, f"{ip} lies outside the link's prefix {told}", f"choose an address in {told}")


def _twice_on_a_segment(topology: Topology) -> Iterator[Fault]:
    segments = Segments(topology)
    owners: dict[object, Interface] = {}
    for interface in topology.interfaces():
        for address, path in zip(interface.addresses, interface.address_paths, strict=True):
            if address.address.ip.is_loopback:
                continue
            key = (segments.of(interface), address.address.ip)
            owner = owners.setdefault(key, interface)
            if owner is not interface:
                yield Fault(path, f"{address.address.ip} is on this link twice: {owner} has it already")


def _mtu(interface: Interface, by_name: Mapping[str, Interface]) -> int:
    if interface.mtu:
        return interface.mtu
    parent = by_name.get(interface.parent or "")
    return _mtu(parent, by_name) if parent and interface.kind in ("vlan", "macvlan") else VETH_MTU


def _mtus(topology: Topology) -> Iterator[Fault]:
    for node in topology.nodes.values():
        by_name = {each.name: each for each in node.interfaces}
        for interface in node.interfaces:
            mtu, path = _mtu(interface, by_name), interface.where("mtu")
            if mtu < IPV6_MIN_MTU and any(address.address.version == 6 for address in interface.addresses):
                hint = f"IPv6 needs {IPV6_MIN_MTU} (RFC 8200): raise the MTU or remove the IPv6 address"
                yield Fault(path, f"MTU {mtu} of {interface} is too small for its IPv6 addresses", hint)
            parent = by_name.get(interface.parent or "")
            if parent and parent is not interface and interface.mtu and interface.mtu > _mtu(parent, by_name):
                hint = f"raise the MTU of {parent.name} or lower this one"
                limit = f"{parent.name}: {_mtu(parent, by_name)}"
                yield Fault(path, f"MTU {mtu} of {interface} is above its parent's ({limit})", hint)


def _macs(topology: Topology) -> Iterator[Fault]:
    for interface in topology.interfaces():
        if interface.kind == "lo" and interface.mac:
            yield Fault(interface.where("mac"), f"{interface} is a loopback: it has no MAC address", "remove mac")


def _open_vswitches(topology: Topology) -> Iterator[Fault]:
    for node in topology.nodes.values():
        if node.kind != OVS:
            if node.datapath:
                yield Fault((*node.path, "datapath"), f"{node.name} is no Open vSwitch: it has no datapath", f"add kind: {OVS}")
            continue
        for name in OVS_DAEMONS:
            role = getattr(node.services[name], "role", "") or name
            if isinstance(node.services[name], Command) or role != name:
                said = f"{name} is a daemon of the Open vSwitch {node.name}"
                yield Fault(node.service_paths[name], said, "give this service another name", key=True)
        for port in node.interfaces:
            yield from _addresses_of_port(port)


def _containers(topology: Topology) -> Iterator[Fault]:
    for node in topology.nodes.values():
        for key in node.of_containers:
            hint = f"add kind: {CONTAINER}, or remove {key}"
            yield Fault((*node.path, key), f"{node.name} is no container: it has no {key}", hint, key=True)
        if node.container is None:
            continue
        if not node.container.image:
            yield Fault(
                node.path, f"{node.name} is a container without an image", "add image:, such as busybox:stable", key=True
            )
        if CONTAINER in node.services:
            said = f"{CONTAINER} is what the log of {node.name}'s own command is called"
            yield Fault(node.service_paths[CONTAINER], said, "give this service another name", key=True)
        places = set[str]()
        for at, bind in enumerate(node.container.binds):
            if bind.target in places:
                said = f"two binds of {node.name} have the place {bind.target}"
                yield Fault((*node.container.where("binds"), at), said, "give each a place of its own")
            places.add(bind.target)


def _addresses_of_port(port: Interface) -> Iterator[Fault]:
    """The switch takes what comes there; the node itself is to hear nothing of it."""
    if port.kind == "veth":
        hint = f"give it to {SWITCH_BRIDGE}, or to an interface of kind internal"
        for path in port.address_paths:
            yield Fault(path, f"{port} is a port of an Open vSwitch: an address there is never reached", hint)


def _port_vlans(topology: Topology) -> Iterator[Fault]:
    for node in topology.nodes.values():
        if node.kind == OVS:
            yield from _vlans_of_ports(node)
            continue
        bridges = {each.name: each.spec for each in node.interfaces if isinstance(each.spec, Bridge)}
        for interface in node.interfaces:
            if not interface.vlan:
                continue
            path, bridge = interface.where("vlan"), bridges.get(interface.master or "")
            if bridge is None:
                hint = f"for a VLAN device write an interface of kind vlan with parent: {interface.name}"
                yield Fault(path, f"{interface} is no port of a bridge: it has no VLAN membership", hint)
            elif not bridge.vlan_filtering:
                yield Fault(path, f"bridge {interface.master} of {node.name} is not VLAN-aware", "set vlan_filtering: true")


def _vlans_of_ports(node: ResolvedNode) -> Iterator[Fault]:
    for interface in node.interfaces:
        if interface.vlan and interface.kind not in ("veth", "internal"):
            hint = "an Open vSwitch has the ends of links and interfaces of kind internal for ports"
            yield Fault(interface.where("vlan"), f"{interface} is no port of a bridge: it has no VLAN membership", hint)


def _routes(topology: Topology) -> Iterator[Fault]:
    for node in topology.nodes.values():
        on_link = [address.peer or address.address for each in node.interfaces for address in each.addresses]
        networks = [address.network for address in on_link]
        for at, route in enumerate(node.routes):
            path = (*node.path, "routes", at)
            yield from (Fault((*path, *where), said, hint) for where, said, hint in _route(route, node))
            networks += [route.to] if route.to and route.dev and not route.via else []
            for where, via in _gateways(route):
                reachable = route.onlink or via.is_link_local or any(via in network for network in networks)
                if not reachable:
                    hint = "give an interface an address in its prefix, or set onlink: true"
                    yield Fault((*path, *where), f"gateway {via} is on no link of {node.name}", hint)


_Complaint = tuple[tuple[str | int, ...], str, str | None]
_AnyIP = ipaddress.IPv4Address | ipaddress.IPv6Address


def _gateways(route: Route) -> list[tuple[tuple[str | int, ...], _AnyIP]]:
    found: list[tuple[tuple[str | int, ...], _AnyIP]] = [(("via",), route.via)] if route.via else []
    return found + [(("nexthops", at, "via"), hop.via) for at, hop in enumerate(route.nexthops) if hop.via]


def _route(route: Route, node: ResolvedNode) -> Iterator[_Complaint]:
    plain = route.type == "unicast"
    aims = bool(route.via or route.dev or route.nexthops)
    if plain and not aims:
        yield (), "the route leads nowhere", "give it via:, dev: or nexthops:"
    if not plain and route.type != "local" and aims:
        yield ("type",), f"a route of type {route.type} has no gateway and no device", None
    if route.nexthops and (route.via or route.dev):
        yield ("nexthops",), "give either nexthops: or via:/dev:", None
    if family_of(route) is None:
        yield ("to",), "the family of this default route is not known", "write 0.0.0.0/0 or ::/0"
    families = {each.version for each in (route.to, route.src, *(ip for _, ip in _gateways(route))) if each is not None}
    if len(families) > 1:
        yield (), f"{route.to or 'default'} and its gateway or source are of different families", None
    yield from _devices(node, route)
    own = {address.address.ip for each in node.interfaces for address in each.addresses}
    if route.src and route.src not in own:
        yield ("src",), f"{route.src} is no address of {node.name}", "a route's source must be the node's own"


def _devices(node: ResolvedNode, route: Route) -> Iterator[_Complaint]:
    names = [each.name for each in node.interfaces]
    wanted = [(("dev",), route.dev)] + [(("nexthops", at, "dev"), hop.dev) for at, hop in enumerate(route.nexthops)]
    for where, device in cast(list[tuple[tuple[str | int, ...], str | None]], wanted):
        if device and device not in names:
            yield where, f"node {node.name} has no interface {device!r}", did_you_mean(device, names)


def family_of(route: Route) -> int | None:
    """4 or 6: from the destination, else from a gateway or the source."""
    known = [route.to, route.via, route.src, *(hop.via for hop in route.nexthops)]
    return next((each.version for each in known if each is not None), None)


def rule_family(rule: Rule) -> int | None:
    known = next((each.version for each in (rule.source, rule.to) if each is not None), None)
    return known or {"ipv4": 4, "ipv6": 6}.get(rule.family or "")


def _rules(topology: Topology) -> Iterator[Fault]:
    for node in topology.nodes.values():
        for at, rule in enumerate(node.rules):
            path = (*node.path, "rules", at)
            if rule_family(rule) is None:
                yield Fault(path, "the family of this rule is not known", "add family: ipv4 or family: ipv6")
            if rule.source and rule.to and rule.source.version != rule.to.version:
                yield Fault(path, f"{rule.source} and {rule.to} are of different families")
            if (rule.type == "lookup") != (rule.table is not None):
                yield Fault(path, "a rule names a table, or is a blackhole, unreachable or prohibit", "add table:")


def _neighbours(topology: Topology) -> Iterator[Fault]:
    for node in topology.nodes.values():
        names = [each.name for each in node.interfaces]
        for at, neighbour in enumerate(node.neighbours):
            path = (*node.path, "neighbours", at)
            if neighbour.dev not in names:
                hint = did_you_mean(neighbour.dev, names)
                yield Fault((*path, "dev"), f"node {node.name} has no interface {neighbour.dev!r}", hint)
            if bool(neighbour.mac) == neighbour.proxy:
                yield Fault(path, f"neighbour {neighbour.address} needs a mac", "or proxy: true, which has none")
