"""What steps say of the values that they carry: routes, VLANs, impairments, containers, when a service is ready. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import TypeVar

from lab.model.checks import family_of
from lab.model.container import Container
from lab.model.file import Netem, PortVlan, Route
from lab.model.topology import Interface
from lab.roles.spec import Ready

T = TypeVar("T")


def extras(interface: Interface) -> str:
    said = [f"mtu {interface.mtu}"] if interface.mtu else []
    said += [f"mac {interface.mac}"] if interface.mac else []
    return f" ({', '.join(said)})" if said else ""


def stands_on(interface: Interface) -> str:
    number = getattr(interface.spec, "id", None)
    said = [f"id {number}"] if number is not None else []
    said += [f"on {interface.parent}"] if interface.parent else []
    said += [f"table {table}" for table in _only(getattr(interface.spec, "table", None))]
    return f" {' '.join(said)}" if said else ""


def _only(value: T | None) -> Iterable[T]:
    return () if value is None else (value,)


def of_container(container: Container, lacking: tuple[str, ...]) -> Iterator[str]:
    limits = container.resources
    yield from (f"memory {memory} bytes" for memory in _only(limits.memory))
    yield from (f"{cpus:g} processors" for cpus in _only(limits.cpus))
    yield from (f"{pids} processes" for pids in _only(limits.pids))
    yield from (str(bind) for bind in container.binds)
    yield from (f"as {user}" for user in _only(container.user))
    yield from (f"with {name}" for name in container.capabilities)
    if container.privileged:
        yield f"privileged, without {', '.join(lacking)}, which this host has not" if lacking else "privileged"


def vlan_in_words(vlan: PortVlan) -> str:
    if vlan.access:
        return f"an access port of VLAN {vlan.access}"
    native = f", native VLAN {vlan.native}" if vlan.native else ""
    return f"a trunk of VLANs {', '.join(map(str, vlan.trunk)) or 'none'}{native}"


def as_member(interface: Interface) -> str:
    return f", {vlan_in_words(interface.vlan)}" if interface.vlan else ""


def route_in_words(route: Route) -> str:
    """As ip-route(8) would print it."""
    to = "default" if route.to is None or route.to.prefixlen == 0 else str(route.to)
    said: list[str] = [route.type] if route.type != "unicast" else []
    said += [to if to != "default" or family_of(route) == 4 else "default (IPv6)"]
    for key in ("via", "dev", "src", "metric"):
        if (value := getattr(route, key)) is not None:
            said += [key, str(value)]
    for hop in route.nexthops:
        said += ["nexthop", str(hop.via or hop.dev)]
    said += ["table", str(route.table)] if route.table != "main" else []
    said += ["mtu", str(route.mtu)] if route.mtu else []
    return " ".join(said + (["onlink"] if route.onlink else []))


def netem_in_words(netem: Netem) -> str:
    """Times in ms, shares in %, rates in Mbit/s."""
    said = [f"{key} {value / 1000:g} ms" for key in ("delay", "jitter") if (value := getattr(netem, key))]
    said += [f"{key} {value:g} %" for key in ("loss", "duplicate", "reorder") if (value := getattr(netem, key))]
    said += [f"rate {netem.rate / 1e6:g} Mbit/s"] if netem.rate else []
    return ", ".join(said)


def ready_in_words(ready: Ready) -> str:
    """What must hold before a service counts as ready; nothing where it only has to run."""
    said = [f"{' and '.join(ready.listen)} is served"] if ready.listen else []
    said += [f"{ready.file} exists"] if ready.file else []
    said += [f"it says {ready.line!r}"] if ready.line else []
    said += [f"{ready.counter} moves"] if ready.counter else []
    said += [f"`{shlex.join(ready.answer)}` ends with 0"] if ready.answer else []
    return " and ".join(said)
