"""What the templates of a role see of a topology: plain data, made once for all services. templates/README.md describes it."""

from __future__ import annotations

from typing import Any

from lab.model import Interface, Node, Topology
from lab.model.file import Address, Route


def shared(topology: Topology) -> dict[str, Any]:
    """What is the same for every service."""
    return {
        "topology": {"name": topology.name},
        "nodes": {name: _node(node) for name, node in topology.nodes.items()},
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "kind": node.kind,
        "interfaces": [_interface(each) for each in node.interfaces],
        "routes": [_route(each) for each in node.routes],
    }


def _interface(interface: Interface) -> dict[str, Any]:
    return {
        "name": interface.name,
        "kind": interface.kind,
        "mtu": interface.mtu,
        "mac": interface.mac,
        "up": interface.up,
        "addresses": [_address(each) for each in interface.addresses],
        "peer": {"node": interface.peer[0], "interface": interface.peer[1]} if interface.peer else None,
    }


def _address(address: Address) -> dict[str, Any]:
    written = address.address
    return {
        "ip": str(written.ip),
        "length": written.network.prefixlen,
        "prefix": str(written.network),
        "version": written.version,
        "cidr": str(written),
        "scope": _scope(address),
    }


def _scope(address: Address) -> str:
    ip = address.address.ip
    if address.scope:
        return address.scope
    return "host" if ip.is_loopback else "link" if ip.is_link_local else "global"


def _route(route: Route) -> dict[str, Any]:
    return {
        "to": "default" if route.to is None else str(route.to),
        "via": str(route.via) if route.via else None,
        "dev": route.dev,
        "metric": route.metric,
        "table": route.table,
        "type": route.type,
        "nexthops": [{"via": str(hop.via) if hop.via else None, "dev": hop.dev} for hop in route.nexthops],
    }
