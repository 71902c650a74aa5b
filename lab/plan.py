"""Pure: a topology -> the ordered steps that build it. Order and words are decided here, without root.

A step says what, on which node, in words; how is the substrate's. The order: every namespace with the sysctls that must be
there before its first link; the switches' bridges, still down; the veth pairs, each end born in its final namespace; then,
node by node, further devices, masters, VLANs of ports, the devices' own sysctls and offloads, and interface by interface in
the file's order up and its addresses (that order decides which connected route comes first), then routes, rules,
impairments; with every carrier there, all neighbours; at last, with every address usable, the services. The daemons of Open
vSwitches are started in between, after whoever need not be heard from the start: some devices are made by them.

Containers come first of all, their commands held back by a gate; their namespaces are then made use of as if they were new,
and when everything is there, services too, the gates are opened.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import groupby

from lab.model.checks import IPV6_MIN_MTU
from lab.model.container import Container
from lab.model.file import Address, Neighbour, Netem, PortVlan, Route, Rule
from lab.model.topology import DEFAULT_PVID, OVS, OVS_DAEMONS, SWITCH_BRIDGE, Interface, Node, Topology
from lab.phrases import (
    as_member,
    extras,
    netem_in_words,
    of_container,
    ready_in_words,
    route_in_words,
    stands_on,
    vlan_in_words,
)
from lab.roles.spec import ServiceSpec
from lab.sysctls import PER_DEVICE, sysctl_parts


@dataclass(frozen=True, slots=True)
class Step:
    node: str

    def describe(self) -> str:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class MakeNamespace(Step):
    def describe(self) -> str:
        return f"make the network namespace of {self.node}, with lab's baseline of sysctls"


@dataclass(frozen=True, slots=True)
class StartContainer(Step):
    """Without a network of Docker's, and with a gate in front of its command. `lacking`: capabilities that a privileged one
    does without, because this host has none of them."""

    container: Container
    lacking: tuple[str, ...] = ()

    def describe(self) -> str:
        said = ", ".join(of_container(self.container, self.lacking))
        held = "without a network, its command held back"
        return f"start a container for {self.node} from the image {self.container.image}, {held}{f' ({said})' if said else ''}"


@dataclass(frozen=True, slots=True)
class TakeNamespace(Step):
    def describe(self) -> str:
        return f"take the network namespace of the container of {self.node}, with lab's baseline of sysctls"


@dataclass(frozen=True, slots=True)
class OpenGate(Step):
    container: Container

    def describe(self) -> str:
        argv = (*(self.container.entrypoint or ()), *(self.container.command or ()))
        what = f"its command {shlex.join(argv)}" if self.container.command else f"the command of {self.container.image}"
        return f"let the container of {self.node} run {what}"


@dataclass(frozen=True, slots=True)
class RunCommand(Step):
    argv: tuple[str, ...]

    def describe(self) -> str:
        return f"run {shlex.join(self.argv)} in the container of {self.node}"


@dataclass(frozen=True, slots=True)
class SetSysctl(Step):
    """`parts` is the path below /proc/sys, so that a device's own dots stay unbroken."""

    parts: tuple[str, ...]
    value: str

    def describe(self) -> str:
        between = "/" if any("." in part for part in self.parts) else "."
        return f"set {between.join(self.parts)} = {self.value} on {self.node}"


@dataclass(frozen=True, slots=True)
class MakeVeth(Step):
    """`node` is where the near end is born; `master` the ifindex of the bridge that it is born into as a raised port."""

    near: Interface
    far: Interface
    master: int | None = None

    def describe(self) -> str:
        if self.master is None:
            return f"join {self.near} and {self.far} by a veth pair{extras(self.far)}"
        return f"join {self.far} to the switch {self.node} by a veth pair{extras(self.far)}, its port {self.near.name}"


@dataclass(frozen=True, slots=True)
class MakeDevice(Step):
    """`parent` is the ifindex of what it stands on."""

    interface: Interface
    parent: int | None = None
    instead_of: str = ""
    """The kind that was asked for, where the kernel lacks that."""

    def describe(self) -> str:
        other = f", for this kernel has no {self.instead_of}" if self.instead_of else ""
        return f"make the {self.interface.kind} {self.interface}{stands_on(self.interface)}{extras(self.interface)}{other}"


@dataclass(frozen=True, slots=True)
class Enslave(Step):
    interface: Interface
    master: Interface

    def describe(self) -> str:
        return f"make {self.interface} a member of {self.master.name}"


@dataclass(frozen=True, slots=True)
class SetPortVlan(Step):
    interface: Interface
    vlan: PortVlan

    def describe(self) -> str:
        return f"make {self.interface} {vlan_in_words(self.vlan)}"


@dataclass(frozen=True, slots=True)
class LeaveDefaultVlan(Step):
    """Every new port of a VLAN-aware bridge is in DEFAULT_PVID, and stays in it beside the VLANs that it is given."""

    interface: Interface

    def describe(self) -> str:
        return f"take {self.interface} out of VLAN {DEFAULT_PVID}, which every new port is in"


@dataclass(frozen=True, slots=True)
class MakeOvsBridge(Step):
    """Done by the node's own daemons. `userspace`: its datapath is that of ovs-vswitchd, else the kernel's."""

    interface: Interface
    userspace: bool

    def describe(self) -> str:
        where = "in userspace" if self.userspace else "of the kernel"
        return f"make the Open vSwitch {self.interface}, its datapath {where}{as_member(self.interface)}"


@dataclass(frozen=True, slots=True)
class AddOvsPort(Step):
    """Done by the node's own daemons. Of kind internal the port's device is made with it."""

    interface: Interface

    def describe(self) -> str:
        kind = "an internal port" if self.interface.kind == "internal" else "a port"
        return f"make {self.interface} {kind} of its Open vSwitch{as_member(self.interface)}"


@dataclass(frozen=True, slots=True)
class SetOffloads(Step):
    """`why`, where the file does not ask for it."""

    interface: Interface
    why: str = ""

    def describe(self) -> str:
        wished = ", ".join(f"{name} {'on' if on else 'off'}" for name, on in self.interface.offloads.items())
        return f"set offloads of {self.interface}: {wished}{f' ({self.why})' if self.why else ''}"


@dataclass(frozen=True, slots=True)
class Raise(Step):
    interface: Interface

    def describe(self) -> str:
        return f"raise {self.interface}"


@dataclass(frozen=True, slots=True)
class AddAddress(Step):
    interface: Interface
    address: Address

    def describe(self) -> str:
        flags = "".join(f" {flag}" for flag in ("nodad", "optimistic") if getattr(self.address, flag))
        peer = f" peer {self.address.peer}" if self.address.peer else ""
        return f"add {self.address.address}{peer} to {self.interface}{flags}"


@dataclass(frozen=True, slots=True)
class AddRoute(Step):
    route: Route
    devices: dict[str, int]

    def describe(self) -> str:
        return f"add the route {route_in_words(self.route)} on {self.node}"


@dataclass(frozen=True, slots=True)
class AddRule(Step):
    rule: Rule

    def describe(self) -> str:
        said = self.rule.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
        return f"add the rule {' '.join(f'{key} {value}' for key, value in said.items())} on {self.node}"


@dataclass(frozen=True, slots=True)
class AddNeighbour(Step):
    neighbour: Neighbour
    index: int

    def describe(self) -> str:
        what = "answer as proxy for" if self.neighbour.proxy else f"add the neighbour {self.neighbour.mac} for"
        return f"{what} {self.neighbour.address} at {self.node}:{self.neighbour.dev}"


@dataclass(frozen=True, slots=True)
class Impair(Step):
    """`with_tbf`: by the kernel's tbf instead of netem."""

    interface: Interface
    netem: Netem
    with_tbf: bool = False

    def describe(self) -> str:
        return f"impair what {self.interface} sends: {netem_in_words(self.netem)}"


@dataclass(frozen=True, slots=True)
class StartService(Step):
    service: ServiceSpec

    def describe(self) -> str:
        until = ready_in_words(self.service.ready)
        return f"start {self.service.name} on {self.node}{until and ', and wait until '}{until}"


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps one after another, and then services, those of different nodes side by side."""

    network: Sequence[Step]
    services: Sequence[StartService] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    topology: Topology
    steps: tuple[Step, ...]

    @property
    def containers(self) -> tuple[StartContainer, ...]:
        """What is started before the first stage."""
        return tuple(step for step in self.steps if isinstance(step, StartContainer))

    @property
    def commands(self) -> tuple[OpenGate | RunCommand, ...]:
        """What runs in containers after the last stage."""
        return tuple(step for step in self.steps if isinstance(step, (OpenGate, RunCommand)))

    @property
    def stages(self) -> list[Stage]:
        """One; or two, where daemons of Open vSwitches must run before the network can be finished."""
        stages: list[Stage] = []
        between = [step for step in self.steps if not isinstance(step, (StartContainer, OpenGate, RunCommand))]
        for serve, steps in groupby(between, lambda step: isinstance(step, StartService)):
            if serve:
                services = [step for step in steps if isinstance(step, StartService)]
                stages.append(replace(stages.pop(), services=services))
            else:
                stages.append(Stage(list(steps)))
        return stages


def make_plan(
    topology: Topology,
    services: Iterable[ServiceSpec] = (),
    without_netem: bool = False,
    kernel_datapath: bool = False,
    without_dummy: bool = False,
    without_capabilities: tuple[str, ...] = (),
) -> Plan:
    """The steps of `topology`, in the order in which they are done; `services` come last, those of different nodes side by
    side. `without_netem`: for a kernel that lacks it, a link's rate is kept by tbf; `without_dummy`: the same, a dummy is what
    it may be otherwise; `without_capabilities`: those that nobody has on this host. `kernel_datapath`: whether the kernel has
    one for Open vSwitches, which then serves where the file does not say otherwise."""
    nodes = topology.nodes.values()
    started = [StartService(each.node, each) for each in services]
    daemons = [each for each in started if _makes_ovs(topology, each.service)]
    userspace = {node.name for node in nodes if node.kind == OVS and _in_userspace(node, kernel_datapath)}
    steps: list[Step] = [*_started(nodes, without_capabilities)]
    for node in nodes:
        steps += _namespace(node)
    for node in nodes:
        steps += _switch_bridge(node)
    bridges = {each.node: each.interface.index for each in steps if isinstance(each, MakeDevice)}
    steps += [MakeVeth(link.near.node, link.near, link.far, bridges.get(link.near.node)) for link in topology.links]
    born = {(link.near.node, link.near.name) for link in topology.links if link.near.node in bridges}
    order = sorted(nodes, key=_turn)
    switches = [node for node in order if node.kind == OVS]
    born |= {(node.name, each.name) for node in switches for each in _ports(node)}
    met = _met_by(topology, userspace)
    for node in order:
        if node in switches[:1]:
            steps += _open_vswitches(switches, daemons, userspace)
        steps += _configuration(node, born, met, without_netem, without_dummy)
    for node in nodes:
        steps += _neighbours(node)
    return Plan(topology, (*steps, *(each for each in started if each not in daemons), *_let_go(nodes)))


def _started(nodes: Iterable[Node], lacking: tuple[str, ...]) -> Iterator[StartContainer]:
    for node in nodes:
        if node.container:
            yield StartContainer(node.name, node.container, lacking if node.container.privileged else ())


def _let_go(nodes: Iterable[Node]) -> Iterator[OpenGate | RunCommand]:
    containers = [(node.name, node.container) for node in nodes if node.container]
    yield from (OpenGate(name, container) for name, container in containers)
    yield from (RunCommand(name, argv) for name, container in containers for argv in container.exec)


def _makes_ovs(topology: Topology, service: ServiceSpec) -> bool:
    return topology.nodes[service.node].kind == OVS and service.name in OVS_DAEMONS


def _turn(node: Node) -> int:
    """Hosts, then the switches, which so are switched on when everything is cabled, then who must be heard from the start.

    A multicast that meets a raised bridge is copied to every port, so raising it first costs the square of the hosts. What
    gets lost before are first MLD reports, which are repeated, and probes for duplicates of addresses that cannot have any:
    link-local ones made from the kernel's random MACs. Where a probe may find something the host comes after the switch."""
    if node.kind in ("switch", OVS):
        return 1 if node.kind == "switch" else 2
    probes = any(address.address.version == 6 and not address.nodad for each in node.interfaces for address in each.addresses)
    return 3 if probes or any(each.mac for each in node.interfaces) else 0


def _namespace(node: Node) -> Iterator[Step]:
    yield TakeNamespace(node.name) if node.container else MakeNamespace(node.name)
    if node.kind == "router":
        yield SetSysctl(node.name, ("net", "ipv4", "ip_forward"), "1")
        yield SetSysctl(node.name, ("net", "ipv6", "conf", "all", "forwarding"), "1")
    for key, value in node.sysctls.items():
        if not _names_device(parts := sysctl_parts(key), node):
            yield SetSysctl(node.name, parts, value)


def _switch_bridge(node: Node) -> Iterator[Step]:
    return (MakeDevice(node.name, each) for each in node.interfaces if _is_switch_bridge(node, each))


def _is_switch_bridge(node: Node, interface: Interface) -> bool:
    return node.kind == "switch" and interface.name == SWITCH_BRIDGE


_End = tuple[str, str]

# The stack of a node hears what comes to the ports of a datapath in userspace as well: it must neither answer nor forward it.
_DEAF = {"ipv6.disable_ipv6": "1", "ipv4.arp_ignore": "8", "ipv4.rp_filter": "1"}
_OF_OVS = ("veth", "internal")
_NO_CHECKSUM = "a datapath in userspace takes frames as they are, and nobody would fill in the checksum"
_CHECKSUMMING = frozenset(("tx", "tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6"))


def _open_vswitches(switches: list[Node], daemons: list[StartService], userspace: Set[str]) -> Iterator[Step]:
    """`userspace`: the nodes whose datapath is there."""
    for node in switches:
        for port in _ports(node):
            yield from _deafened(port) if node.name in userspace else ()
            if port.up:
                yield Raise(node.name, port)
    yield from daemons
    for node in switches:
        yield MakeOvsBridge(node.name, node.interface(SWITCH_BRIDGE), node.name in userspace)
        for each in node.interfaces:
            if each.kind in _OF_OVS and each.name != SWITCH_BRIDGE:
                yield AddOvsPort(node.name, each)


def _in_userspace(node: Node, kernel_datapath: bool) -> bool:
    return node.datapath == "userspace" or (node.datapath != "kernel" and not kernel_datapath)


def _ports(node: Node) -> Iterator[Interface]:
    """Those of an Open vSwitch that are ends of links."""
    return (each for each in node.interfaces if each.kind == "veth")


def _deafened(port: Interface) -> Iterator[Step]:
    for key, value in _DEAF.items():
        if not key.startswith("ipv6.") or (port.mtu or IPV6_MIN_MTU) >= IPV6_MIN_MTU:
            yield SetSysctl(port.node, device_sysctl_parts(key, port.name), value)


def _met_by(topology: Topology, userspace: Set[str]) -> Set[_End]:
    """What is cabled to a datapath in userspace and not itself part of one: there checksums must be whole. Who says something
    of them is obeyed."""
    both = [pair for link in topology.links for pair in ((link.near, link.far), (link.far, link.near))]
    ends = [end for switch, end in both if switch.node in userspace and end.node not in userspace]
    return {(end.node, end.name) for end in ends if not _CHECKSUMMING.intersection(end.offloads)}


def _configuration(node: Node, born: Set[_End], met: Set[_End], without_netem: bool, without_dummy: bool) -> Iterator[Step]:
    """`born`: the ports that are raised already, and enslaved; between two switches only the near one can. `met`: what meets
    a datapath in userspace."""
    yield from (_stand_in(step) if without_dummy else step for step in _devices(node))
    yield from _masters(node, born)
    yield from _tuning(node, met)
    for interface in node.interfaces:
        if interface.up and (node.name, interface.name) not in born:
            yield Raise(node.name, interface)
        for address in interface.addresses:
            yield AddAddress(node.name, interface, address)
    devices = {interface.name: interface.index for interface in node.interfaces}
    yield from (AddRoute(node.name, route, devices) for route in node.routes)
    yield from (AddRule(node.name, rule) for rule in node.rules)
    for each in node.interfaces:
        if each.netem:
            yield Impair(node.name, each, each.netem, without_netem and each.netem.only_rate)


def _neighbours(node: Node) -> Iterator[Step]:
    """A device that tells of a missing carrier, which it does late, forgets them (net/core/neighbour.c, neigh_carrier_down); so
    the other ends are raised first."""
    return (AddNeighbour(node.name, each, node.interface(each.dev).index) for each in node.neighbours)


def _parent(node: Node, interface: Interface) -> int | None:
    return node.interface(interface.parent).index if interface.parent else None


def _stand_in(step: MakeDevice) -> MakeDevice:
    """What is made where the kernel has no dummy."""
    other = getattr(step.interface.spec, "otherwise", None)
    return replace(step, interface=replace(step.interface, kind=other), instead_of=step.interface.kind) if other else step


def _devices(node: Node) -> Iterator[MakeDevice]:
    for interface in node.interfaces:
        if interface.kind not in ("lo", "veth", "internal") and not _is_switch_bridge(node, interface):
            yield MakeDevice(node.name, interface, _parent(node, interface))


def _masters(node: Node, born: Set[_End]) -> Iterator[Step]:
    ports = [each for each in node.interfaces if not (node.kind == OVS and each.kind in _OF_OVS)]
    for interface in ports:
        if interface.master and (node.name, interface.name) not in born:
            yield Enslave(node.name, interface, node.interface(interface.master))
    for each in ports:
        if each.vlan:
            yield SetPortVlan(node.name, each, each.vlan)
            if DEFAULT_PVID not in (each.vlan.access, each.vlan.native, *each.vlan.trunk):
                yield LeaveDefaultVlan(node.name, each)


def _tuning(node: Node, met: Set[_End]) -> Iterator[Step]:
    for key, value in node.sysctls.items():
        if _names_device(parts := sysctl_parts(key), node):
            yield SetSysctl(node.name, parts, value)
    for interface in node.interfaces:
        for key, value in {**_without_detection(node, interface), **interface.sysctls}.items():
            yield SetSysctl(node.name, device_sysctl_parts(key, interface.name), value)
        if interface.offloads:
            yield SetOffloads(node.name, interface)
        if (node.name, interface.name) in met:
            yield SetOffloads(node.name, replace(interface, offloads={"tx": False}), _NO_CHECKSUM)


def _without_detection(node: Node, interface: Interface) -> dict[str, str]:
    """A router whose addresses skip detection of duplicates skips it for its link-local one too, without which it cannot
    forward."""
    own = [address for address in interface.addresses if address.address.version == 6]
    skips = node.kind == "router" and own and all(address.nodad for address in own)
    return {"ipv6.accept_dad": "0"} if skips else {}


def device_sysctl_parts(key: str, device: str) -> tuple[str, ...]:
    """`ipv4.rp_filter` or `ipv6.neigh.retrans_time_ms` of one device."""
    family, *middle, name = key.split(".")
    return ("net", family, middle[0] if middle else "conf", device, name)


def _names_device(parts: tuple[str, ...], node: Node) -> bool:
    return len(parts) == 5 and parts[2] in PER_DEVICE and parts[3] in {each.name for each in node.interfaces} - {"lo"}


def renumbered(step: Step, numbers: Mapping[str, int]) -> Step:
    """The same with the ifindexes that devices of its node really have, by name: those that an Open vSwitch made."""
    if isinstance(step, AddRoute):
        return replace(step, devices={**step.devices, **numbers})
    if isinstance(step, AddNeighbour):
        return replace(step, index=numbers.get(step.neighbour.dev, step.index))
    interface: Interface | None = getattr(step, "interface", None)
    if interface is None:
        return step
    own = replace(interface, index=numbers.get(interface.name, interface.index))
    if isinstance(step, MakeDevice):
        return replace(step, interface=own, parent=numbers.get(interface.parent or "", step.parent))
    return replace(step, interface=own)  # type: ignore[call-arg] # it has one
