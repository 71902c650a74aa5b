"""The topology as it will be built: every interface named, numbered and in order, with its peer, parent and master.

Values only. `resolve` makes them from a file; `plan` turns them into steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lab.model.container import Container
from lab.model.file import Address, Command, InterfaceBody, Neighbour, Netem, PortVlan, Role, Route, Rule
from lab.model.values import Network

Path = tuple[str | int, ...]
"""Where a value stands in the data of the file: keys and list indexes."""

LOOPBACK = 1
SWITCH_BRIDGE = "br0"
OVS = "ovs"
CONTAINER = "container"
SWITCHES = ("switch", OVS)
"""Kinds of nodes that frames pass through, all of whose cables end at ports."""
OVS_DAEMONS = ("ovsdb-server", "ovs-vswitchd")
"""The services that every node of that kind has before its own, by the names of their roles, in the order of their start."""
DEFAULT_PVID = 1  # net/bridge/br_vlan.c: a port with no VLAN of its own is an untagged member of it
MOST_FAULTS = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong at `path`; with `key` the key itself is meant, not its value."""

    path: Path
    message: str
    hint: str | None = None
    key: bool = False


class Faults(Exception):  # noqa: N818 - a bundle of faults, turned into a TopologyError where their places are known
    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


class Found(list[Fault]):
    """Faults as they are found. Raises `Faults` with the hundredth: what was meant by each costs time to guess."""

    def append(self, fault: Fault) -> None:
        super().append(fault)
        if len(self) >= MOST_FAULTS:
            raise Faults(self)

    def take(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self.append(fault)


@dataclass(frozen=True, slots=True)
class Interface:
    """One device of a node.

    `index` is its ifindex, unequal to every other in the lab: the kernel delays the carrier of a veth whose two ends
    have equal indexes (net/core/link_watch.c, linkwatch_urgent_event)."""

    node: str
    name: str
    index: int
    kind: str
    spec: InterfaceBody
    path: Path
    addresses: tuple[Address, ...]
    address_paths: tuple[Path, ...]
    sysctls: Mapping[str, str]
    offloads: Mapping[str, bool]
    mtu: int | None = None
    mac: str | None = None
    up: bool = True
    netem: Netem | None = None
    vlan: PortVlan | None = None
    peer: tuple[str, str] | None = None
    parent: str | None = None
    master: str | None = None
    said: Mapping[str, Path] = field(default_factory=dict)
    """Where each of mtu, mac, netem and vlan was given."""

    def where(self, key: str) -> Path:
        return self.said.get(key, (*self.path, key))

    def __str__(self) -> str:
        return f"{self.node}:{self.name}"


@dataclass(frozen=True, slots=True)
class Node:
    """A network namespace; `interfaces` in the order in which they are raised, lowers before uppers, lo first."""

    name: str
    kind: str
    path: Path
    interfaces: tuple[Interface, ...]
    routes: tuple[Route, ...]
    rules: tuple[Rule, ...]
    neighbours: tuple[Neighbour, ...]
    sysctls: Mapping[str, str]
    datapath: str | None = None
    """Of an Open vSwitch, as it is wished."""
    container: Container | None = None
    """What a node of kind container is made from."""
    of_containers: tuple[str, ...] = ()
    """Keys of containers that stand at a node which is none."""
    services: Mapping[str, Command | Role] = field(default_factory=dict)
    service_paths: Mapping[str, Path] = field(default_factory=dict)
    """Where each service stands: at the node, or with the defaults."""

    def interface(self, name: str) -> Interface:
        return next(interface for interface in self.interfaces if interface.name == name)


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair; where a switch takes part its port is the near end, which the kernel can enslave and raise at birth."""

    near: Interface
    far: Interface
    path: Path
    prefixes: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    name: str
    description: str
    nodes: Mapping[str, Node]
    links: tuple[Link, ...]
    features: tuple[str, ...] = ()
    """Of the kernel, which the file asks for by `needs:`."""

    def interfaces(self) -> Iterator[Interface]:
        for node in self.nodes.values():
            yield from node.interfaces

    def needs(self) -> Iterator[tuple[str, Path]]:
        """Kernel features that this topology cannot be built without, each with the place that asks for it."""
        for node in self.nodes.values():
            if node.kind == OVS:
                yield _DATAPATHS[node.datapath or "auto"], node.path
        yield from ((feature, ("needs", at)) for at, feature in enumerate(self.features))
        for interface in self.interfaces():
            yield from _needs(interface)


_DATAPATHS = {"auto": "openvswitch or tun", "userspace": "tun", "kernel": "openvswitch"}
"""What each is made of; in userspace an internal port is a tap."""


def _needs(interface: Interface) -> Iterator[tuple[str, Path]]:
    if interface.kind not in ("veth", "lo", "internal"):
        other = getattr(interface.spec, "otherwise", None)
        yield f"{interface.kind} or {other}" if other else interface.kind, interface.path
    if getattr(interface.spec, "vlan_filtering", False):
        yield "vlan_filtering", interface.path
    if interface.netem:
        yield ("netem or tbf" if interface.netem.only_rate else "netem"), interface.where("netem")
