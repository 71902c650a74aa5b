"""Pure: the steps that build a lab, each in words: what, on which node. How is the substrate's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lab.model.container import Container
from lab.model.file import Address, Neighbour, Netem, PortVlan, Route, Rule
from lab.model.topology import DEFAULT_PVID, Interface
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
