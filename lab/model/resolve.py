"""From the file as written to the topology as it will be built: whose peer each interface is, its name, number and order.

Faults are collected, never raised: a file has all its problems told at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count, islice

from lab.model.container import KEYS, Container
from lab.model.file import (
    Address,
    Bridge,
    Command,
    Endpoint,
    File,
    Given,
    InterfaceBody,
    Internal,
    LinkBody,
    Netem,
    Node,
    NodeBody,
    PortVlan,
    Role,
)
from lab.model.topology import (
    CONTAINER,
    LOOPBACK,
    OVS,
    OVS_DAEMONS,
    SWITCH_BRIDGE,
    SWITCHES,
    Fault,
    Found,
    Interface,
    Link,
    Path,
    Topology,
)
from lab.model.topology import Node as ResolvedNode
from lab.model.values import IFNAMSIZ

_COMPARED, _SEARCHED = 60, 1000  # characters of a misspelt name, names that it is compared with
_STACKED = 8  # devices on top of each other, the lowest counted: MAX_NEST_DEV in include/linux/netdevice.h
_JOINED = ("sysctls", "services", "environment")
_SINGLE = ("mtu", "mac", "netem", "vlan")


def did_you_mean(word: str, known: Iterable[str], what: str = "") -> str | None:
    close = difflib.get_close_matches(word[:_COMPARED], list(islice(known, _SEARCHED)), n=1, cutoff=0.6)
    return f"did you mean {what}{close[0]!r}?" if close else None


@dataclass(slots=True)
class _Draft:
    """An interface while its parts are gathered from the link, its endpoint and its node."""

    node: str
    name: str
    kind: str
    spec: InterfaceBody
    path: Path
    index: int = 0
    level: int = 1
    addresses: list[tuple[Address, Path]] = field(default_factory=list)
    sysctls: dict[str, str] = field(default_factory=dict)
    offloads: dict[str, bool] = field(default_factory=dict)
    mtu: int | None = None
    mac: str | None = None
    up: bool = True
    netem: Netem | None = None
    said: dict[str, Path] = field(default_factory=dict)
    vlan: PortVlan | None = None
    peer: tuple[str, str] | None = None
    parent: str | None = None
    master: str | None = None
    nodad: bool | None = None

    def take(self, body: InterfaceBody, path: Path, faults: Found) -> None:
        """Adds what one place of the file says; the same thing said in two places is a fault."""
        self.addresses += [(address, (*path, "addresses", at)) for at, address in enumerate(body.addresses)]
        for key in _SINGLE:
            value = getattr(body, key)
            if value is not None and getattr(self, key) is not None:
                faults.append(Fault((*path, key), f"{key} of {self.node}:{self.name} is given in two places"))
            elif value is not None:
                setattr(self, key, value)
                self.said[key] = (*path, key)
        self.sysctls.update(body.sysctls)
        self.offloads.update(body.offloads)
        self.up = self.up and body.up

    def fall_back(self, body: LinkBody, path: Path) -> None:
        """What a link, or the defaults, say to ends that say nothing themselves."""
        for key in ("mtu", "netem"):
            if getattr(self, key) is None and getattr(body, key) is not None:
                setattr(self, key, getattr(body, key))
                self.said[key] = (*path, key)

    def freeze(self) -> Interface:
        return Interface(
            **{key: getattr(self, key) for key in _FROZEN_AS_IS},
            addresses=tuple(_with_nodad(address, self.nodad) for address, _ in self.addresses),
            address_paths=tuple(path for _, path in self.addresses),
        )


_FROZEN_AS_IS = [name for name in _Draft.__dataclass_fields__ if name not in ("addresses", "nodad", "level")]
_Drafts = dict[str, dict[str, _Draft]]


def resolve(file: File, faults: Found) -> Topology:
    """The topology; what is wrong with it is added to `faults`, and the topology may lack what they name."""
    written, file = file, _with_defaults(file)
    drafts: _Drafts = {name: {"lo": _loopback(name)} for name in file.nodes}
    pairs = [pair for at in range(len(file.links)) if (pair := _link(file, at, drafts, faults))]
    for name, node in file.nodes.items():
        _own_interfaces(name, node, drafts[name], faults)
        _masters(drafts[name], faults)
    order = {name: _in_order(file.nodes[name], drafts[name], faults) for name in file.nodes}
    _number(order)
    nodes = {name: _node(file, name, order[name], written.nodes[name]) for name in file.nodes}
    frozen = {(each.node, each.name): each for node in nodes.values() for each in node.interfaces}
    links = tuple(
        Link(frozen[near.node, near.name], frozen[far.node, far.name], path, file.links[int(path[1])].prefix)
        for near, far, path in pairs
    )
    return Topology(file.name, file.description, nodes, links, file.needs)


def _with_defaults(file: File) -> File:
    """Every node with what it does not say itself; sysctls and services are joined one by one."""
    defaults = file.defaults.nodes
    if not defaults.model_fields_set:
        return file
    nodes = {name: _filled(node, defaults) for name, node in file.nodes.items()}
    return file.model_copy(update={"nodes": nodes})


def _filled(node: Node, defaults: NodeBody) -> Node:
    silent = defaults.model_fields_set - node.model_fields_set
    update = {key: getattr(defaults, key) for key in silent}
    update |= {key: {**getattr(defaults, key), **getattr(node, key)} for key in _JOINED}
    return node.model_copy(update=update)


def _loopback(node: str) -> _Draft:
    return _Draft(node, "lo", "lo", Given(), ("nodes", node), index=LOOPBACK)


def _link(file: File, at: int, drafts: _Drafts, faults: Found) -> tuple[_Draft, _Draft, Path] | None:
    link, path = file.links[at], ("links", at)
    ends = link.endpoints
    unknown = [(side, end.node) for side, end in enumerate(ends) if end.node not in file.nodes]
    for side, node in unknown:
        hint = did_you_mean(node, file.nodes) or "add it under nodes:"
        faults.append(Fault((*path, "endpoints", side), f"node {node!r} does not exist", hint))
    if unknown:
        return None
    names = _end_names(ends, file.nodes, drafts)
    made = [_end(file, at, side, names[side], drafts, faults) for side in (0, 1)]
    if not (made[0] and made[1]):
        return None
    made[0].peer, made[1].peer = (made[1].node, made[1].name), (made[0].node, made[0].name)
    _link_addresses(file, at, (made[0], made[1]), faults)
    near, far = (made[1], made[0]) if file.nodes[made[1].node].kind in SWITCHES else (made[0], made[1])
    return near, far, path


def _end_names(ends: tuple[Endpoint, Endpoint], nodes: Mapping[str, Node], drafts: _Drafts) -> list[str]:
    """Hosts first: a switch's port is called after what it leads to."""
    names: list[str | None] = [end.interface for end in ends]
    for side, end in enumerate(ends):
        if names[side] is None and nodes[end.node].kind not in SWITCHES:
            other = names[1 - side] if ends[1 - side].node == end.node else None
            names[side] = _next_eth({*drafts[end.node], other})
    for side, end in enumerate(ends):
        if names[side] is None:
            names[side] = _port_name(ends[1 - side].node, names[1 - side], drafts[end.node])
    return [name or "" for name in names]


def _next_eth(taken: Collection[str | None]) -> str:
    return next(name for number in count() if (name := f"eth{number}") not in taken)


def _port_name(peer: str, interface: str | None, existing: Mapping[str, _Draft]) -> str:
    name = f"{peer}-{interface}" if interface else peer
    if len(name) <= IFNAMSIZ and name not in existing:
        return name
    return next(name for number in count(1) if (name := f"p{number}") not in existing)


def _end(file: File, at: int, side: int, name: str, drafts: _Drafts, faults: Found) -> _Draft | None:
    link, end, path = file.links[at], file.links[at].endpoints[side], ("links", at, "endpoints", side)
    if (old := drafts[end.node].get(name)) is not None:
        said = "is the loopback of its node" if name == "lo" else f"is already an end of link {_number_of(old.path)}"
        faults.append(Fault(path, f"{end.node}:{name} {said}", "give each end a name of its own"))
        return None
    draft = _Draft(end.node, name, "veth", Given(), path)
    draft.take(end, path, faults)
    body = file.defaults.links
    draft.fall_back(link, ("links", at))
    draft.fall_back(body, ("defaults", "links"))
    draft.offloads = {**body.offloads, **link.offloads, **draft.offloads}
    draft.up = draft.up and link.up and body.up
    if file.nodes[end.node].kind in SWITCHES:
        draft.master = SWITCH_BRIDGE
    drafts[end.node][name] = draft
    return draft


def _number_of(path: Path) -> str:
    return str(path[1]) if len(path) > 1 else "?"


def _link_addresses(file: File, at: int, ends: tuple[_Draft, _Draft], faults: Found) -> None:
    link, path = file.links[at], ("links", at, "addresses")
    keys = {f"{end.node}:{end.name}": end for end in ends}
    if ends[0].node != ends[1].node:
        keys |= {end.node: end for end in ends}
    for key, addresses in link.addresses.items():
        if key not in keys:
            hint = did_you_mean(key, keys) or f"write one of {', '.join(map(repr, keys))}"
            faults.append(Fault((*path, key), f"{key!r} is no end of this link", hint, key=True))
            continue
        keys[key].addresses += [(address, (*path, key, index)) for index, address in enumerate(addresses)]
    nodad = link.nodad if link.nodad is not None else file.defaults.links.nodad
    for end in ends:
        end.nodad = nodad


def _with_nodad(address: Address, nodad: bool | None) -> Address:
    if address.nodad is not None or nodad is None or address.address.version == 4:
        return address
    return address.model_copy(update={"nodad": nodad})


def _own_interfaces(name: str, node: Node, drafts: dict[str, _Draft], faults: Found) -> None:
    """What the node's own `interfaces:` says: further properties of lo and of link ends, and devices of other kinds."""
    for device, spec in node.interfaces.items():
        path: Path = ("nodes", name, "interfaces", device)
        if isinstance(spec, Given):
            _more_of_given(name, device, spec, drafts, path, faults)
        elif device in drafts:
            faults.append(Fault(path, f"{name}:{device} is made by a link already", "give this device another name", key=True))
        else:
            draft = _Draft(name, device, spec.kind, spec, path, parent=getattr(spec, "parent", None))
            draft.take(spec, path, faults)
            drafts[device] = draft
    if node.kind in SWITCHES:
        filtering = any(draft.vlan for draft in drafts.values())
        bridge = Internal(kind="internal") if node.kind == OVS else Bridge(kind="bridge", vlan_filtering=filtering)
        _switch_bridge(name, bridge, drafts, faults)
    _internal_ports(name, node.kind, drafts, faults)


def _switch_bridge(name: str, bridge: Bridge | Internal, drafts: dict[str, _Draft], faults: Found) -> None:
    own = drafts.get(SWITCH_BRIDGE)
    if own is None:
        drafts[SWITCH_BRIDGE] = _Draft(name, SWITCH_BRIDGE, bridge.kind, bridge, ("nodes", name))
    elif own.kind != bridge.kind:
        hint = "give the interface another name" + (", or the kind internal" if bridge.kind == "internal" else "")
        faults.append(Fault(own.path, f"{name}:{SWITCH_BRIDGE} is the bridge of this switch", hint))


def _internal_ports(name: str, kind: str, drafts: dict[str, _Draft], faults: Found) -> None:
    for draft in drafts.values():
        if draft.kind == "internal" and kind == OVS:
            draft.master = None if draft.name == SWITCH_BRIDGE else SWITCH_BRIDGE
        elif draft.kind == "internal":
            hint = f"give the node the kind {OVS}, or the interface another one, such as dummy"
            said = f"{name}:{draft.name} is an internal port, and {name} is no Open vSwitch"
            faults.append(Fault((*draft.path, "kind"), said, hint))


def _more_of_given(name: str, device: str, spec: Given, drafts: dict[str, _Draft], path: Path, faults: Found) -> None:
    if device in drafts:
        drafts[device].take(spec, path, faults)
        return
    hint = did_you_mean(device, drafts) or f"add a link that ends at {name}:{device}, or give it a kind"
    faults.append(Fault(path, f"no link ends at {name}:{device}", hint, key=True))


def _masters(drafts: dict[str, _Draft], faults: Found) -> None:
    for upper in list(drafts.values()):
        for at, member in enumerate(getattr(upper.spec, "members", ())):
            path = (*upper.path, "members", at)
            lower = drafts.get(member)
            if lower is None:
                hint = did_you_mean(member, drafts)
                faults.append(Fault(path, f"member {member!r} of {upper.name} does not exist on node {upper.node}", hint))
            elif lower.master:
                faults.append(Fault(path, f"{member} already belongs to {lower.master}"))
            elif lower is upper or member == "lo":
                faults.append(Fault(path, f"{member} cannot be a member of {upper.name}"))
            else:
                lower.master = upper.name


def _in_order(node: Node, drafts: dict[str, _Draft], faults: Found) -> list[_Draft]:
    """lo, then what `interfaces:` lists in its order, then the other link ends; a lower device always before its upper."""
    wished = dict.fromkeys(["lo", *(name for name in node.interfaces if name in drafts), *drafts])
    done: dict[str, _Draft] = {}
    for name in wished:
        _place(name, drafts, done, (), faults)
    return list(done.values())


def _place(name: str, drafts: dict[str, _Draft], done: dict[str, _Draft], above: tuple[str, ...], faults: Found) -> None:
    if name in done:
        return
    draft = drafts[name]
    if name in above:
        loop = " -> ".join((*above[above.index(name) :], name))
        faults.append(Fault(draft.path, f"loop of parents: {loop}", "an interface cannot stand on itself"))
        drafts[above[-1]].parent = None
        return
    if len(above) == _STACKED:
        _too_high(drafts[above[0]], drafts[above[-1]], faults)
        return
    for lower in _lowers(draft, drafts, faults):
        _place(lower, drafts, done, (*above, name), faults)
        draft.level = max(draft.level, drafts[lower].level + 1)
    if draft.level > _STACKED:
        _too_high(draft, draft, faults)
    done.setdefault(name, draft)


def _too_high(top: _Draft, cut: _Draft, faults: Found) -> None:
    """Told once for a pile: what is above the cut counts anew."""
    hint = f"the kernel allows {_STACKED} on top of each other, the lowest counted"
    faults.append(Fault(top.path, f"{top.node}:{top.name} stands on too many devices", hint, key=True))
    cut.parent, cut.level = None, 1


def _lowers(draft: _Draft, drafts: dict[str, _Draft], faults: Found) -> list[str]:
    lowers = [member for member in getattr(draft.spec, "members", ()) if member in drafts and member != draft.name]
    if draft.parent is None:
        return lowers
    if draft.parent in drafts:
        return [draft.parent, *lowers]
    hint = did_you_mean(draft.parent, drafts)
    faults.append(
        Fault(
            (*draft.path, "parent"),
            f"parent {draft.parent!r} of {draft.name} does not exist on node {draft.node}",
            hint,
        )
    )
    return lowers


def _number(order: Mapping[str, list[_Draft]]) -> None:
    indexes = count(LOOPBACK + 1)
    for drafts in order.values():
        for draft in drafts:
            if draft.kind != "lo":
                draft.index = next(indexes)


def _services(node: Node) -> dict[str, Command | Role]:
    """Those of an Open vSwitch begin with its own daemons, of which the file may say more."""
    own: dict[str, Command | Role] = {daemon: Role() for daemon in OVS_DAEMONS} if node.kind == OVS else {}
    return own | node.services


def _node(file: File, name: str, order: list[_Draft], written: Node) -> ResolvedNode:
    """`written`: the node without the defaults."""
    node = file.nodes[name]
    services = _services(node)
    return ResolvedNode(
        name=name,
        kind=node.kind,
        path=("nodes", name),
        interfaces=tuple(draft.freeze() for draft in order),
        routes=node.routes,
        rules=node.rules,
        neighbours=node.neighbours,
        sysctls=node.sysctls,
        datapath=node.datapath if node.kind == OVS else written.datapath,
        container=_container(name, node, written) if node.kind == CONTAINER else None,
        of_containers=() if node.kind == CONTAINER else tuple(key for key in KEYS if key in written.model_fields_set),
        services=services,
        service_paths={each: _service_path(name, each, written, node) for each in services},
    )


def _container(name: str, node: Node, written: Node) -> Container:
    """Without an image where none is said: that is a fault, and told as one."""
    said = {key: (*(("nodes", name) if key in written.model_fields_set else ("defaults", "nodes")), key) for key in KEYS}
    values = {key: getattr(node, key) for key in KEYS}
    return Container(**{**values, "image": node.image or ""}, said=said)


def _service_path(node: str, service: str, written: Node, whole: Node) -> Path:
    """The node itself, where nothing is written of a daemon that its kind brings."""
    if service not in whole.services:
        return ("nodes", node)
    return (*(("nodes", node) if service in written.services else ("defaults", "nodes")), "services", service)
