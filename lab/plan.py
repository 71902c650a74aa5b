"""Pure: a topology -> the ordered steps that build it, without root. What a step says is in `steps`; which there are and
their order is decided here.

The order: every namespace with the sysctls that must be
there before its first link; the switches' bridges, still down; the veth pairs, each end born in its final namespace; then,
node by node, further devices, masters, VLANs of ports, the devices' own sysctls and offloads, and interface by interface in
the file's order up and its addresses (that order decides which connected route comes first), then routes, rules,
impairments; with every carrier there, all neighbours; at last, with every address usable, the services. The daemons of Open
vSwitches are started in between, after whoever need not be heard from the start: some devices are made by them.

Containers come first of all, their commands held back by a gate; their namespaces are then made use of as if they were new,
and when everything is there, services too, the gates are opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import groupby

from lab.model.checks import IPV6_MIN_MTU
from lab.model.topology import DEFAULT_PVID, OVS, OVS_DAEMONS, SWITCH_BRIDGE, Interface, Node, Topology
from lab.roles.spec import ServiceSpec
from lab.steps import (
    AddAddress,
    AddNeighbour,
    AddOvsPort,
    AddRoute,
    AddRule,
    Enslave,
    Impair,
    LeaveDefaultVlan,
    MakeDevice,
    MakeNamespace,
    MakeOvsBridge,
    MakeVeth,
    OpenGate,
    Raise,
    RunCommand,
    SetOffloads,
    SetPortVlan,
    SetSysctl,
    StartContainer,
    StartService,
    Step,
    TakeNamespace,
)
from lab.sysctls import PER_DEVICE, sysctl_parts


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
