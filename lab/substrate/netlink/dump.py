"""What a namespace holds right now: links, addresses, routes, rules and neighbours as plain values, read in one visit."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_DADFAILED, IFA_F_OPTIMISTIC, IFA_F_TENTATIVE

from lab.substrate import namespaces

_ADDRESS_FLAGS = ((IFA_F_TENTATIVE, "tentative"), (IFA_F_DADFAILED, "dadfailed"), (IFA_F_OPTIMISTIC, "optimistic"))
_NUD = {1: "incomplete", 2: "reachable", 4: "stale", 8: "delay", 16: "probe", 32: "failed", 64: "noarp", 128: "permanent"}
_ROUTE_TYPES = {1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable"}
_ROUTE_TYPES |= {8: "prohibit", 9: "throw"}
_OF_THE_KERNELS_OWN = ("local", "broadcast", "anycast", "multicast")


@dataclass(frozen=True, slots=True)
class LinkState:
    """`state` is the operational state of RFC 2863 in lower case; `addresses` have their flags behind them."""

    name: str
    index: int
    kind: str
    state: str
    mtu: int
    mac: str
    master: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NamespaceState:
    links: tuple[LinkState, ...]
    routes: tuple[str, ...]
    neighbours: tuple[str, ...]


def read(ns: Path) -> NamespaceState:
    """The namespace at `ns`. Raises OSError where it is gone."""
    with open_iproute(ns) as ipr:
        raw = list(ipr.get_links())
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in raw}
        addresses = list(ipr.get_addr())
        links = tuple(_link(link, names, addresses) for link in raw)
        routes = tuple(text for route in ipr.get_routes() if (text := _route(route, names)))
        neighbours = tuple(_neighbour(each, names) for each in _neighbours(ipr))
    return NamespaceState(links, routes, neighbours)


def open_iproute(ns: Path) -> IPRoute:
    """pyroute2's IPRoute on a socket that a helper thread opened inside the namespace; the caller closes it."""
    sock = namespaces.inside(ns, socket.socket, socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)
    return IPRoute(fileno=sock.detach())


def _link(link: Any, names: dict[int, str], addresses: list[Any]) -> LinkState:
    info = link.get_attr("IFLA_LINKINFO")
    return LinkState(
        name=link.get_attr("IFLA_IFNAME"),
        index=link["index"],
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "loopback",
        state=str(link.get_attr("IFLA_OPERSTATE")).lower(),
        mtu=link.get_attr("IFLA_MTU"),
        mac=link.get_attr("IFLA_ADDRESS") or "",
        master=names.get(link.get_attr("IFLA_MASTER") or 0, ""),
        addresses=tuple(_address(each) for each in addresses if each["index"] == link["index"]),
    )


def _address(address: Any) -> str:
    flags = address.get_attr("IFA_FLAGS") or 0
    own = address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS")
    return " ".join([f"{own}/{address['prefixlen']}", *(name for bit, name in _ADDRESS_FLAGS if flags & bit)])


def _route(route: Any, names: dict[int, str]) -> str | None:
    """As ip-route(8) prints it; None for what the kernel keeps for its own addresses."""
    kind = _ROUTE_TYPES.get(route["type"], str(route["type"]))
    if kind in _OF_THE_KERNELS_OWN:
        return None
    default = "default" if route["family"] == socket.AF_INET else "::/0"
    to = f"{route.get_attr('RTA_DST')}/{route['dst_len']}" if route["dst_len"] else default
    words = [*([] if kind == "unicast" else [kind]), to]
    for name, attribute in (("via", "RTA_GATEWAY"), ("src", "RTA_PREFSRC"), ("metric", "RTA_PRIORITY")):
        words += [name, str(value)] if (value := route.get_attr(attribute)) else []
    words += ["dev", names[index]] if (index := route.get_attr("RTA_OIF")) in names else []
    for hop in route.get_attr("RTA_MULTIPATH") or ():
        words += ["nexthop", str(hop.get_attr("RTA_GATEWAY") or names.get(hop["oif"]))]
    table = route.get_attr("RTA_TABLE")
    return " ".join(words + ([] if table == 254 else ["table", str(table)]))


def _neighbours(ipr: IPRoute) -> Iterator[Any]:
    for family in (socket.AF_INET, socket.AF_INET6):
        yield from (each for each in ipr.get_neighbours(family=family) if _NUD.get(each["state"]) != "noarp")


def _neighbour(neighbour: Any, names: dict[int, str]) -> str:
    mac = neighbour.get_attr("NDA_LLADDR") or "-"
    state = _NUD.get(neighbour["state"], "none")
    return f"{neighbour.get_attr('NDA_DST')} dev {names.get(neighbour['ifindex'])} lladdr {mac} {state}"
