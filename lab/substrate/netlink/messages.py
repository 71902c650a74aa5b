"""A step of the plan -> one rtnetlink message, encoded by pyroute2's message classes.

Pure but for `fd_of`, which gives the open descriptor of a node's namespace that a veth's far end is born into.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, singledispatch
from typing import Any

from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl import (
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWQDISC,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_SETLINK,
)
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD, IFA_F_OPTIMISTIC, ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from lab.model.checks import family_of, rule_family
from lab.model.file import PortVlan, Route
from lab.model.topology import DEFAULT_PVID, Interface
from lab.steps import (
    AddAddress,
    AddNeighbour,
    AddRoute,
    AddRule,
    Enslave,
    Impair,
    LeaveDefaultVlan,
    MakeDevice,
    MakeVeth,
    Raise,
    SetPortVlan,
    Step,
)
from lab.substrate.netlink import kinds
from lab.substrate.netlink.templates import Template, number

FdOf = Callable[[str], int]
IFF_UP = 1
REQUEST, CREATE, EXCL = 1, 0x400, 0x200
_NEW = REQUEST | CREATE | EXCL
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
# A veth of one queue costs the kernel one expedited grace period less than one with a queue for each processor.
_ONE_QUEUE = (("IFLA_NUM_TX_QUEUES", 1), ("IFLA_NUM_RX_QUEUES", 1))


def encoded(kind: int, flags: int, message: nlmsg, fields: Mapping[str, Any], attributes: list[Any]) -> bytes:
    """`message` with these fields and attributes, as the kernel reads it."""
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)


@singledispatch
def message_of(step: Step, fd_of: FdOf) -> bytes | bytearray:
    raise TypeError(f"no message for {type(step).__name__}")


# Samples for the holes of templates: numbers with a byte pattern that occurs nowhere else.
_IFLA_IFNAME = 3
_NEAR, _FAR, _NETNS = 0x71A1A2A3, 0x72B1B2B3, 0x73C1C2C3


@message_of.register
def _veth(step: MakeVeth, fd_of: FdOf) -> bytes | bytearray:
    near, far = step.near, step.far
    values = {
        "near": number(near.index),
        "far": number(far.index),
        "near_name": _ifname(near.name),
        "far_name": _ifname(far.name),
    }
    if far.node != near.node:
        values["netns"] = number(fd_of(far.node))
    ends = (near.mtu, near.mac, near.up, len(near.name), far.mtu, far.mac, len(far.name))
    return _veth_template(ends, step.master, "netns" in values, near, far).fill(**values)


_veth_templates: dict[tuple[Any, ...], Template] = {}


def _veth_template(ends: tuple[Any, ...], master: int | None, apart: bool, near: Interface, far: Interface) -> Template:
    shape = (*ends, master, apart)
    if shape not in _veth_templates:
        samples = {"near": number(_NEAR), "far": number(_FAR)}
        like_near = replace(near, name="\1" * len(near.name), index=_NEAR)
        like_far = replace(far, name="\2" * len(far.name), index=_FAR)
        samples |= {"near_name": _ifname(like_near.name), "far_name": _ifname(like_far.name)}
        samples |= {"netns": number(_NETNS)} if apart else {}
        message = _encoded_veth(like_near, like_far, master, _NETNS if apart else None)
        _veth_templates[shape] = Template(message, samples)
    return _veth_templates[shape]


def _ifname(name: str) -> bytes:
    """IFLA_IFNAME whole, with its header: a short name alone might stand elsewhere in the message too."""
    return struct.pack("HH", 4 + len(name) + 1, _IFLA_IFNAME) + name.encode()


def _encoded_veth(near: Interface, far: Interface, master: int | None, netns: int | None) -> bytes:
    peer = [*_device(far), *_ONE_QUEUE]
    if netns is not None:
        peer.append(("IFLA_NET_NS_FD", netns))
    data = {"attrs": [("VETH_INFO_PEER", {"index": far.index, "attrs": peer})]}
    attributes = [*_device(near), *_ONE_QUEUE, ("IFLA_LINKINFO", _info("veth", data))]
    fields = {"index": near.index}
    if master is not None:
        attributes.append(("IFLA_MASTER", master))
        fields |= {"flags": IFF_UP, "change": IFF_UP} if near.up else {}
    return encoded(RTM_NEWLINK, _NEW, ifinfmsg(), fields, attributes)


@message_of.register
def _make_device(step: MakeDevice, fd_of: FdOf) -> bytes:
    interface = step.interface
    attributes = _device(interface)
    if step.parent is not None:
        attributes.append(("IFLA_LINK", step.parent))
    data = kinds.data_of(interface.spec, step.parent)
    attributes.append(("IFLA_LINKINFO", _info(interface.kind, data)))
    return encoded(RTM_NEWLINK, _NEW, ifinfmsg(), {"index": interface.index}, attributes)


def _info(kind: str, data: dict[str, Any] | None) -> dict[str, Any]:
    return {"attrs": [("IFLA_INFO_KIND", kind), *([("IFLA_INFO_DATA", data)] if data else [])]}


def _device(interface: Interface) -> list[tuple[str, Any]]:
    attributes: list[tuple[str, Any]] = [("IFLA_IFNAME", interface.name)]
    attributes += [("IFLA_MTU", interface.mtu)] if interface.mtu else []
    attributes += [("IFLA_ADDRESS", interface.mac)] if interface.mac else []
    return attributes


@message_of.register
def _enslave(step: Enslave, fd_of: FdOf) -> bytes:
    fields = {"index": step.interface.index}
    return encoded(RTM_SETLINK, REQUEST, ifinfmsg(), fields, [("IFLA_MASTER", step.master.index)])


@message_of.register
def _raise(step: Raise, fd_of: FdOf) -> bytearray:
    return _raise_template(tuple(_late(step.interface))).fill(index=number(step.interface.index))


@cache
def _raise_template(attributes: tuple[tuple[str, Any], ...]) -> Template:
    fields = {"index": _NEAR, "flags": IFF_UP, "change": IFF_UP}
    return Template(encoded(RTM_SETLINK, REQUEST, ifinfmsg(), fields, list(attributes)), {"index": number(_NEAR)})


def _late(interface: Interface) -> list[tuple[str, Any]]:
    """lo is not made by a message of ours, so its MTU comes with raising it."""
    return [("IFLA_MTU", interface.mtu)] if interface.kind == "lo" and interface.mtu else []


@message_of.register
def _port_vlan(step: SetPortVlan, fd_of: FdOf) -> bytes:
    fields = {"family": socket.AF_BRIDGE, "index": step.interface.index}
    return encoded(RTM_SETLINK, REQUEST, ifinfmsg(), fields, [("IFLA_AF_SPEC", kinds.port_vlans(step.vlan))])


@message_of.register
def _leave_default_vlan(step: LeaveDefaultVlan, fd_of: FdOf) -> bytes:
    fields = {"family": socket.AF_BRIDGE, "index": step.interface.index}
    return encoded(
        RTM_DELLINK, REQUEST, ifinfmsg(), fields, [("IFLA_AF_SPEC", kinds.port_vlans(PortVlan(trunk=(DEFAULT_PVID,))))]
    )


_SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254}


@message_of.register
def _address(step: AddAddress, fd_of: FdOf) -> bytearray:
    address, own = step.address, step.address.address
    flags = (IFA_F_NODAD if address.nodad else 0) | (IFA_F_OPTIMISTIC if address.optimistic else 0)
    far = address.peer or own
    scope = _SCOPES[address.scope or ("host" if own.ip.is_loopback and own.version == 4 else "global")]
    values = {"index": number(step.interface.index), "local": own.ip.packed, "far": far.ip.packed}
    if own.version == 4 and not address.peer and own.network.prefixlen < 31:
        values["broadcast"] = own.network.broadcast_address.packed
    return _address_template(own.version, far.network.prefixlen, flags, scope, "broadcast" in values).fill(**values)


@cache
def _address_template(version: int, length: int, flags: int, scope: int, broadcast: bool) -> Template:
    size = 4 if version == 4 else 16
    samples = {"local": b"\xa1" * size, "far": b"\xa2" * size} | ({"broadcast": b"\xa3" * size} if broadcast else {})
    names = {"local": "IFA_LOCAL", "far": "IFA_ADDRESS", "broadcast": "IFA_BROADCAST"}
    attributes = [(names[name], socket.inet_ntop(_FAMILY[version], sample)) for name, sample in samples.items()]
    fields = {"family": _FAMILY[version], "prefixlen": length, "flags": flags, "scope": scope, "index": _NEAR}
    return Template(encoded(RTM_NEWADDR, _NEW, ifaddrmsg(), fields, attributes), samples | {"index": number(_NEAR)})


_TABLES = {"main": 254, "local": 255, "default": 253}
_ROUTE_TYPES = {"unicast": 1, "local": 2, "blackhole": 6, "unreachable": 7, "prohibit": 8, "throw": 9}
_RTPROT_STATIC, _RTNH_F_ONLINK, _RT_SCOPE_LINK, _RT_SCOPE_HOST = 4, 4, 253, 254


@message_of.register
def _route(step: AddRoute, fd_of: FdOf) -> bytes:
    route, devices = step.route, step.devices
    table = _TABLES.get(str(route.table)) or int(route.table)
    attributes = _route_attributes(route, devices, table)
    fields = {
        "family": _FAMILY[family_of(route) or 4],
        "dst_len": route.to.prefixlen if route.to else 0,
        "table": table if table < 256 else 0,
        "proto": _RTPROT_STATIC,
        "scope": _route_scope(route),
        "type": _ROUTE_TYPES[route.type],
        "flags": _RTNH_F_ONLINK if route.onlink else 0,
    }
    return encoded(RTM_NEWROUTE, _NEW, rtmsg(), fields, attributes)


def _route_scope(route: Route) -> int:
    """As ip-route(8) chooses it; IPv6 has none."""
    if family_of(route) != 4:
        return 0
    if route.type == "local":
        return _RT_SCOPE_HOST
    direct = route.type == "unicast" and not route.via and not any(hop.via for hop in route.nexthops)
    return _RT_SCOPE_LINK if direct else 0


def _route_attributes(route: Route, devices: Mapping[str, int], table: int) -> list[tuple[str, Any]]:
    attributes: list[tuple[str, Any]] = [("RTA_TABLE", table)]
    attributes += [("RTA_DST", str(route.to.network_address))] if route.to and route.to.prefixlen else []
    attributes += [("RTA_GATEWAY", str(route.via))] if route.via else []
    attributes += [("RTA_OIF", devices[route.dev])] if route.dev else []
    attributes += [("RTA_PREFSRC", str(route.src))] if route.src else []
    attributes += [("RTA_PRIORITY", route.metric)] if route.metric is not None else []
    attributes += [("RTA_METRICS", {"attrs": [("RTAX_MTU", route.mtu)]})] if route.mtu else []
    hops = [
        {
            "hops": hop.weight - 1,
            "oif": devices[hop.dev] if hop.dev else 0,
            "flags": _RTNH_F_ONLINK if route.onlink else 0,
            "family": _FAMILY[family_of(route) or 4],
            "attrs": [("RTA_GATEWAY", str(hop.via))] if hop.via else [],
        }
        for hop in route.nexthops
    ]
    return attributes + ([("RTA_MULTIPATH", hops)] if hops else [])


_ACTIONS = {"lookup": 1, "blackhole": 6, "unreachable": 7, "prohibit": 8}


@message_of.register
def _rule(step: AddRule, fd_of: FdOf) -> bytes:
    rule = step.rule
    table = 0 if rule.table is None else _TABLES.get(str(rule.table)) or int(rule.table)
    attributes: list[tuple[str, Any]] = [("FRA_TABLE", table)]
    attributes += [("FRA_SRC", str(rule.source.network_address))] if rule.source else []
    attributes += [("FRA_DST", str(rule.to.network_address))] if rule.to else []
    attributes += [("FRA_PRIORITY", rule.priority)] if rule.priority is not None else []
    attributes += [("FRA_FWMARK", rule.fwmark)] if rule.fwmark is not None else []
    attributes += [("FRA_IIFNAME", rule.iif)] if rule.iif else []
    attributes += [("FRA_OIFNAME", rule.oif)] if rule.oif else []
    fields = {
        "family": _FAMILY[rule_family(rule) or 4],
        "src_len": rule.source.prefixlen if rule.source else 0,
        "dst_len": rule.to.prefixlen if rule.to else 0,
        "table": table if table < 256 else 0,
        "action": _ACTIONS[rule.type],
    }
    return encoded(RTM_NEWRULE, _NEW, fibmsg(), fields, attributes)


_NUD = {"permanent": 0x80, "noarp": 0x40, "reachable": 0x02, "stale": 0x04}
_NTF_PROXY = 8


@message_of.register
def _neighbour(step: AddNeighbour, fd_of: FdOf) -> bytes:
    neighbour = step.neighbour
    attributes: list[tuple[str, Any]] = [("NDA_DST", str(neighbour.address))]
    attributes += [("NDA_LLADDR", neighbour.mac)] if neighbour.mac else []
    fields = {
        "family": _FAMILY[neighbour.address.version],
        "ifindex": step.index,
        "state": 0 if neighbour.proxy else _NUD[neighbour.state],
        "flags": _NTF_PROXY if neighbour.proxy else 0,
    }
    return encoded(RTM_NEWNEIGH, REQUEST | CREATE | 0x100, ndmsg(), fields, attributes)


@message_of.register
def _impair(step: Impair, fd_of: FdOf) -> bytes:
    kind, options = kinds.impairment(step.netem, step.with_tbf)
    fields = {"family": socket.AF_UNSPEC, "index": step.interface.index, "handle": 1 << 16, "parent": 0xFFFFFFFF}
    attributes = [("TCA_KIND", kind), ("TCA_OPTIONS", options)]
    return encoded(RTM_NEWQDISC, REQUEST | CREATE | 0x100, tcmsg(), fields, attributes)
