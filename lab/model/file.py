"""The topology file as it is written: one frozen class a mapping; unknown keys are refused; the JSON schema is made from here.

What the parts mean together (who is whose peer, which parent exists) is not known here: see `resolve` and `checks`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from lab.model.container import ContainerBody
from lab.model.forms import Loose, Many, Written, blank, short
from lab.model.values import (
    PCP_MOST,
    PRIORITY_MOST,
    Argv,
    BitsPerSecond,
    Counter,
    Destination,
    DeviceName,
    DeviceSysctlKey,
    Directory,
    Expression,
    FeatureName,
    FileName,
    IPAddress,
    IPNetwork,
    LabName,
    Listener,
    Mac,
    Microseconds,
    NodeName,
    NodePath,
    PcpKey,
    Percent,
    Prefixed,
    PriorityKey,
    RoleName,
    ServiceName,
    SysctlKey,
    SysctlValue,
    VariableName,
    Word,
    wrong,
)

Mtu = Annotated[int, Field(ge=68, le=65535)]
VlanId = Annotated[int, Field(ge=1, le=4094)]
Table = Annotated[int, Field(ge=1, le=2**32 - 1)] | Literal["main", "local", "default"]


class Address(Written):
    """An address of an interface, with the kernel's flags for it (ip-address(8))."""

    address: Prefixed
    nodad: bool | None = None
    """Skip duplicate address detection (IFA_F_NODAD); IPv6 only."""
    optimistic: bool = False
    """Usable while detection runs (RFC 4429); wants the sysctl ipv6.optimistic_dad as well."""
    peer: Prefixed | None = None
    """The far end of a point-to-point address, with the prefix length of the route to it."""
    scope: Literal["global", "site", "link", "host"] | None = None


class Netem(Written):
    """Impairments of what an interface sends (tc-netem(8)); with `rate` alone the kernel's tbf will do."""

    delay: Microseconds | None = None
    jitter: Microseconds | None = None
    loss: Percent | None = None
    duplicate: Percent | None = None
    reorder: Percent | None = None
    """The share of packets sent at once; the others wait for `delay`, which it therefore needs."""
    rate: BitsPerSecond | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Netem:
        if not self.model_fields_set:
            raise wrong("nothing is impaired", "name one of delay, jitter, loss, duplicate, reorder, rate")
        for key in ("jitter", "reorder"):
            if getattr(self, key) and not self.delay:
                raise wrong(f"{key} needs a delay to act on")
        return self

    @property
    def only_rate(self) -> bool:
        return self.model_fields_set == {"rate"}


class PortVlan(Written):
    """VLANs of a port of a VLAN-aware bridge or an Open vSwitch (IEEE 802.1Q): either an access port, or a trunk with an
    optional native VLAN."""

    access: VlanId | None = None
    trunk: Annotated[tuple[VlanId, ...], Many] = ()
    native: VlanId | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> PortVlan:
        if bool(self.access) == bool(self.trunk or self.native):
            raise wrong("a port is either `access: ID`, or `trunk: [ID, …]` with an optional `native: ID`")
        return self


class InterfaceBody(Written):
    """What every interface can have."""

    addresses: Annotated[tuple[Annotated[Address, short("address")], ...], Many] = ()
    mtu: Mtu | None = None
    mac: Mac | None = None
    up: bool = True
    sysctls: dict[DeviceSysctlKey, SysctlValue] = Field(default_factory=dict)
    """Sysctls of this interface: `ipv4.rp_filter: 1` is net.ipv4.conf.DEVICE.rp_filter."""
    offloads: dict[str, bool] = Field(default_factory=dict)
    """Features as ethtool(8) -k names them: `tx-checksumming: false`."""
    netem: Netem | None = None
    vlan: PortVlan | None = None
    """For a port of a VLAN-aware bridge, or of an Open vSwitch."""


class Given(InterfaceBody):
    """An interface that something else makes: a link's veth end, or lo."""

    kind: Literal["veth"] = "veth"


class Dummy(InterfaceBody):
    kind: Literal["dummy"]
    otherwise: Literal["ifb"] | None = None
    """What stands in for it where the kernel has no dummy; an ifb needs no carrier either."""


class Ifb(InterfaceBody):
    kind: Literal["ifb"]


class Internal(InterfaceBody):
    """A port of an Open vSwitch that is a device of its own node; `br0` is there in any case."""

    kind: Literal["internal"]


class Vlan(InterfaceBody):
    kind: Literal["vlan"]
    parent: DeviceName
    id: VlanId
    protocol: Literal["802.1Q", "802.1ad"] = "802.1Q"
    ingress_qos: dict[PcpKey, Annotated[int, Field(ge=0, le=PRIORITY_MOST)]] = Field(default_factory=dict)
    """Priority of the tag of a frame that comes in (PCP, 0 to 7) -> priority that its packet then has (SO_PRIORITY)."""
    egress_qos: dict[PriorityKey, Annotated[int, Field(ge=0, le=PCP_MOST)]] = Field(default_factory=dict)
    """Priority of a packet that goes out (SO_PRIORITY) -> priority in the tag; 0 for those that are not named."""


class Bridge(InterfaceBody):
    kind: Literal["bridge"]
    members: Annotated[tuple[DeviceName, ...], Many] = ()
    vlan_filtering: bool = False
    vlan_protocol: Literal["802.1Q", "802.1ad"] = "802.1Q"
    stp: bool = False
    forward_delay: Annotated[float, Field(ge=0, le=30)] = 0
    """Seconds in each of listening and learning; 0 forwards at once."""
    ageing: Annotated[float, Field(ge=0, le=1_000_000)] = 300
    """Seconds until an unused MAC address is forgotten."""
    mcast_snooping: bool = False


class Bond(InterfaceBody):
    kind: Literal["bond"]
    members: Annotated[tuple[DeviceName, ...], Many] = ()
    mode: Literal["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"] = (
        "active-backup"
    )
    miimon: Annotated[int, Field(ge=0, le=2**31 - 1)] = 100
    """Milliseconds between two looks at the carrier; 0 never looks."""
    num_grat_arp: Annotated[int, Field(ge=0, le=255)] | None = None
    """How often a new active member announces the bond's addresses, to the switches as well; the kernel's default is 1."""


class Vxlan(InterfaceBody):
    kind: Literal["vxlan"]
    id: Annotated[int, Field(ge=0, le=2**24 - 1)]
    local: IPAddress | None = None
    remote: IPAddress | None = None
    """A unicast peer or a multicast group (which needs a parent)."""
    parent: DeviceName | None = None
    port: Annotated[int, Field(ge=1, le=65535)] = 4789
    learning: bool = True

    @model_validator(mode="after")
    def _makes_sense(self) -> Vxlan:
        if self.remote and self.remote.is_multicast and not self.parent:
            raise wrong(f"the group {self.remote} is joined at no interface", "add parent:")
        if self.remote and self.local and self.remote.version != self.local.version:
            raise wrong(f"{self.local} and {self.remote} are of different families")
        return self


class Macvlan(InterfaceBody):
    kind: Literal["macvlan"]
    parent: DeviceName
    mode: Literal["private", "vepa", "bridge", "passthru"] = "bridge"


class Vrf(InterfaceBody):
    kind: Literal["vrf"]
    table: Annotated[int, Field(ge=1, le=2**32 - 1)]
    members: Annotated[tuple[DeviceName, ...], Many] = ()


def _kind(value: Any) -> Any:
    kind = value.get("kind", "veth") if isinstance(value, dict) else getattr(value, "kind", "veth")
    return kind if isinstance(kind, str) else repr(kind)


_BY_KIND = {
    "veth": Given,
    "dummy": Dummy,
    "ifb": Ifb,
    "internal": Internal,
    "vlan": Vlan,
    "bridge": Bridge,
    "bond": Bond,
    "vxlan": Vxlan,
    "macvlan": Macvlan,
    "vrf": Vrf,
}
Interface = Annotated[
    Annotated[Given, Tag("veth")]
    | Annotated[Dummy, Tag("dummy")]
    | Annotated[Ifb, Tag("ifb")]
    | Annotated[Internal, Tag("internal")]
    | Annotated[Vlan, Tag("vlan")]
    | Annotated[Bridge, Tag("bridge")]
    | Annotated[Bond, Tag("bond")]
    | Annotated[Vxlan, Tag("vxlan")]
    | Annotated[Macvlan, Tag("macvlan")]
    | Annotated[Vrf, Tag("vrf")],
    Discriminator(_kind),
]
INTERFACE_KINDS = tuple(_BY_KIND)


class Nexthop(Written):
    via: IPAddress | None = None
    dev: DeviceName | None = None
    weight: Annotated[int, Field(ge=1, le=256)] = 1


class Route(Written):
    """A route (ip-route(8))."""

    to: Destination
    via: IPAddress | None = None
    dev: DeviceName | None = None
    src: IPAddress | None = None
    metric: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    table: Table = "main"
    nexthops: Annotated[tuple[Nexthop, ...], Many] = ()
    type: Literal["unicast", "local", "blackhole", "unreachable", "prohibit", "throw"] = "unicast"
    onlink: bool = False
    mtu: Mtu | None = None


class Rule(Written):
    """A rule of the routing policy (ip-rule(8))."""

    family: Literal["ipv4", "ipv6"] | None = None
    """Needed where neither `from` nor `to` tells it."""
    source: Annotated[IPNetwork | None, Field(alias="from")] = None
    to: IPNetwork | None = None
    fwmark: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    iif: DeviceName | None = None
    oif: DeviceName | None = None
    table: Table | None = None
    priority: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    type: Literal["lookup", "blackhole", "unreachable", "prohibit"] = "lookup"


class Neighbour(Written):
    """An entry of the neighbour table (ip-neighbour(8)); with `proxy` the node answers for the address itself."""

    address: IPAddress
    dev: DeviceName
    mac: Mac | None = None
    state: Literal["permanent", "noarp", "reachable", "stale"] = "permanent"
    proxy: bool = False


Seconds = Annotated[float, Field(gt=0, le=3600)]


class Ready(Written):
    """When a service is ready: once all that is said here holds; with nothing said, once it runs."""

    listen: Annotated[tuple[Listener, ...], Many] = ()
    """Ports of its node that must be served: `tcp/80`, `udp/53`."""
    file: NodePath | None = None
    """A path, as the node sees it, that must exist; relative to the service's folder."""
    line: Expression | None = None
    """A regular expression (of Python's) that a line of its output must match."""
    answer: Argv | None = None
    """A command that must end with status 0 on the node."""
    counter: Counter | None = None
    """An SNMP counter of the node, named as nstat(8) does, that must have moved since the service was started."""


class ServiceBody(BaseModel):
    """What every service can have."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    ready: Annotated[Ready, blank] = Ready()
    """When it is ready; said for a role, this replaces what the role says."""
    env: dict[VariableName, Word] = Field(default_factory=dict)
    """Environment variables, beside those of the role."""
    files: dict[FileName, str] = Field(default_factory=dict)
    """Files in the service's folder, which is its working directory, and their texts; beside those of the role, or instead."""
    timeout: Seconds = 10.0
    """Seconds until it must be ready."""


class Command(ServiceBody):
    """Any command as a service: it stays in the foreground, and what it prints is its log."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    command: Argv
    """The program, searched on the PATH of services, and its arguments; no shell reads them."""
    directories: Annotated[tuple[Directory, ...], Many] = ()
    """Absolute paths of which the node has an empty directory of its own."""


_OF_COMMANDS = ("command", "directories")


class Role(ServiceBody):
    """A daemon that `templates/ROLE/` describes; every other key is a parameter of that role."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        defer_build=True,
        json_schema_extra={"not": {"anyOf": [{"required": [key]} for key in _OF_COMMANDS]}},
    )

    role: RoleName | None = None
    """The role, where the service is called otherwise."""

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as they are written; which there are is known to the role."""
        return self.model_extra or {}


def _service_tag(value: Any) -> str:
    said = "command" in value if isinstance(value, dict) else isinstance(value, Command)
    return "command" if said else "role"


SERVICES = {"command": Command, "role": Role}
"""The two forms of a service, by the tag of their union."""
RESERVED = tuple(dict.fromkeys((*_OF_COMMANDS, *Role.model_fields)))
"""Keys of a service that are no parameters of a role."""
Service = Annotated[
    Annotated[Command, Tag("command")] | Annotated[Role, Tag("role")],
    Discriminator(_service_tag),
]


class NodeBody(ContainerBody):
    kind: Literal["host", "router", "switch", "ovs", "container"] = "host"
    """A router forwards, from before its first address; a switch is a bridge in a namespace of its own, an ovs an Open vSwitch
    with daemons of its own; a container is one of Docker's, with the network of a host."""
    datapath: Literal["auto", "userspace", "kernel"] | None = None
    """Where an ovs node forwards: auto is the kernel's datapath where the kernel has one, else the one in userspace."""
    routes: Annotated[tuple[Route, ...], Many] = ()
    rules: Annotated[tuple[Rule, ...], Many] = ()
    neighbours: Annotated[tuple[Neighbour, ...], Many] = ()
    sysctls: dict[SysctlKey, SysctlValue] = Field(default_factory=dict)
    services: dict[ServiceName, Annotated[Service, blank]] = Field(default_factory=dict)
    """Daemons of the node, by name: roles, which are called after their daemons, or commands."""


class Node(NodeBody):
    """A network namespace."""

    interfaces: dict[DeviceName, Annotated[Interface, blank]] = Field(default_factory=dict)


class Endpoint(InterfaceBody):
    """One end of a link: `node:interface` or `node` (the interface is then named for you), or a mapping with everything
    that an interface can have."""

    node: NodeName
    interface: DeviceName | None = None


def _endpoint(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    node, colon, interface = value.partition(":")
    return {"node": node, "interface": interface} if colon else {"node": node}


_End = Annotated[Endpoint, Loose(_endpoint, lambda _: {"type": "string"})]


class LinkBody(Written):
    mtu: Mtu | None = None
    nodad: bool | None = None
    """Whether the IPv6 addresses of this link skip duplicate address detection where they do not say themselves; at a
    router's end the link-local one too."""
    netem: Netem | None = None
    """Impairs both directions; for one direction give it at an endpoint."""
    offloads: dict[str, bool] = Field(default_factory=dict)
    up: bool = True


class Link(LinkBody):
    """A veth pair between two nodes, or between a node and a switch."""

    endpoints: Annotated[tuple[_End, _End], Many]
    prefix: Annotated[tuple[IPNetwork, ...], Many] = ()
    """What the addresses of this link must lie in."""
    addresses: dict[str, Annotated[tuple[Annotated[Address, short("address")], ...], Many]] = Field(default_factory=dict)
    """By node (or `node:interface` where both ends are on one node)."""


class Defaults(Written):
    """What holds where a node or link says nothing itself."""

    nodes: Annotated[NodeBody, blank] = NodeBody()
    links: Annotated[LinkBody, blank] = LinkBody()


class File(Written):
    """A lab: nodes and the links between them."""

    name: LabName
    description: str = ""
    needs: Annotated[tuple[FeatureName, ...], Many] = ()
    """Features of the kernel, as `lab doctor` names them, that the commands on its nodes need: `[nfsd]`."""
    defaults: Annotated[Defaults, blank] = Defaults()
    nodes: dict[NodeName, Annotated[Node, blank]]
    links: Annotated[tuple[Link, ...], Many] = ()
