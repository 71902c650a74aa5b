"""Reasons of the kernel's drops -> which setting of the node causes them, what it is now, and what to change. Pure.

The reasons are those of enum skb_drop_reason (include/net/dropreason-core.h), the settings those of ip-sysctl.rst, nft(8),
tcp(7) and ip(8). A reason that stands in no table here is told by its name alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lab.observe.explain.packet import ICMP, ICMP6, Facts

_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Cause:
    """`why` in a sentence, the `setting` by its name and its present `value`, and what to `change`. A `harmless` drop is part
    of what works: nobody missed the packet."""

    why: str
    setting: str = ""
    value: str = ""
    change: str = ""
    harmless: bool = False


class Present(Protocol):
    """What the node has now."""

    def sysctl(self, name: str) -> str | None:
        """Its value; None where there is none."""

    def way(self, address: str) -> str | None:
        """The device out of which it sends to the address; None where there is no route."""

    def mac(self, device: str) -> str:
        """Empty where there is no such device."""

    def rules(self) -> Sequence[str]:
        """What can drop in its ruleset."""

    def keys(self) -> Sequence[str]:
        """Prefixes for which a socket has an MD5 key, each with the socket's port."""

    def listening(self, protocol: str) -> Sequence[str]:
        """Where sockets of TCP or UDP wait: `10.0.0.1:80`, `[::]:80`."""


@dataclass(frozen=True, slots=True)
class Case:
    """A drop: `device` is empty where the packet had none, `facts` has nothing but a line where only a counter tells of it."""

    reason: str
    device: str
    facts: Facts
    node: Present

    @property
    def family(self) -> str:
        return "ipv6" if self.facts.version6 else "ipv4"

    def each(self, name: str) -> str:
        """The sysctl of this device, or of all where it is not known, by its `name` under conf."""
        return f"net.{self.family}.conf.{self.device or 'all'}.{name}"


def cause(case: Case) -> Cause | None:
    """None where the reason is not known here."""
    if case.reason in _UNWANTED and case.facts.to_many:
        return Cause("a multicast that nobody here has joined, or a broadcast that nobody wants", harmless=True)
    find = _CAUSES.get(case.reason)
    if find:
        return find(case)
    why = _MEANINGS.get(case.reason)
    return Cause(why) if why else Cause("", harmless=True) if case.reason in _HARMLESS else None


def _listed(words: Sequence[str], otherwise: str) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"{'; '.join(words[:_SHOWN])}{more}" if words else otherwise


# -- routing


def _rp_filter(case: Case) -> Cause:
    """The greater of all's and the device's is in force (ip-sysctl.rst, rp_filter)."""
    names = dict.fromkeys((case.each("rp_filter"), "net.ipv4.conf.all.rp_filter"))
    values = {name: case.node.sysctl(name) or "0" for name in names}
    setting = max(values, key=lambda name: int(values[name]))
    others = [f"{name} is {value}" for name, value in values.items() if name != setting]
    value = f"{values[setting]}{f' ({others[0]})' if others else ''}"
    source, device = case.facts.source or "the sender", case.device or "this device"
    change = f"set it to 2 or 0 where another way back is meant, or add a route to {source} by {device}"
    return Cause(_way_back(case, device), setting, value, change)


def _way_back(case: Case, device: str) -> str:
    source = case.facts.source
    if not source:
        return "its sender is not reached by the device that it came in by"
    back = case.node.way(source)
    if back is None:
        return f"no route leads back to {source}"
    return f"what this node sends to {source} leaves by {back}, and this came in by {device}"


def _address(case: Case) -> Cause:
    setting = case.each("forwarding")
    why = f"{case.facts.destination or 'its destination'} is no address of this node, and it does not forward"
    return Cause(why, setting, case.node.sysctl(setting) or "0", "give the node that address, or set it to 1 on a router")


def _no_route(case: Case) -> Cause:
    to = case.facts.destination
    found = case.node.way(to) if to else None
    value = f"a route by {found} now" if found else "no route"
    return Cause(f"no route leads to {to or 'its destination'}", f"route to {to}" if to else "routes", value, "ip route add it")


def _own_source(case: Case) -> Cause:
    setting = case.each("accept_local")
    why = f"its sender {case.facts.source} is an address of this very node"
    return Cause(why, setting, case.node.sysctl(setting) or "0", "set it to 1, or find who else has that address")


def _localnet(case: Case) -> Cause:
    setting = case.each("route_localnet")
    return Cause("127.0.0.0/8 came from outside", setting, case.node.sysctl(setting) or "0", "set it to 1 where that is meant")


def _ipv6_disabled(case: Case) -> Cause:
    setting = case.each("disable_ipv6")
    return Cause("IPv6 is disabled on that device", setting, case.node.sysctl(setting) or "0", "set it to 0")


def _in_multicast(case: Case) -> Cause:
    setting = case.each("drop_unicast_in_l2_multicast")
    return Cause("a unicast packet in a multicast frame", setting, case.node.sysctl(setting) or "0", "set it to 0")


def _other_host(case: Case) -> Cause:
    own = case.node.mac(case.device)
    why = f"the frame is for {case.facts.target or 'another MAC address'}"
    change = "look at the sender's neighbour entry; a switch that does not know the address floods it to all, which is no fault"
    return Cause(why, f"MAC address of {case.device}", own, change, harmless=True)


def _neighbour(case: Case) -> Cause:
    to = case.facts.destination or "the next hop"
    why = f"nobody answered who has the next hop to {to}"
    return Cause(why, f"neighbours of {case.device or 'the device'}", "no answer", "is it up, in this LAN, and not filtered?")


def _hops(case: Case) -> Cause:
    if 0 <= case.facts.hops <= 1:
        why = f"its TTL or hop limit was used up ({case.facts.hops})"
        return Cause(why, change="look for a loop of routes, or send it with more")
    return Cause("its IP header is not valid")


# -- sockets


def _no_socket(case: Case) -> Cause:
    """A raw socket, such as that of ping, has a copy; the packet itself then finds nobody else (net/ipv4/ping.c, ping_rcv)."""
    facts = case.facts
    if facts.protocol in (ICMP, ICMP6) or (facts.protocol == -1 and facts.source):
        return Cause("nobody but raw sockets wanted it, which had a copy", harmless=True)
    change = "start the server, or bind it to that address and port"
    if facts.protocol == -1:
        return Cause("no socket has the port", change=change)
    why = f"no socket has {facts.name} port {facts.dport} of {facts.destination}"
    return Cause(why, f"sockets that listen ({facts.name})", _listed(case.node.listening(facts.name), "none"), change)


def _udp_checksum(case: Case) -> Cause:
    if case.facts.version6 and case.facts.checksum == 0:
        why = "its checksum is 0, which over IPv6 only a socket takes that says so (RFC 6935)"
        return Cause(why, "UDP_NO_CHECK6_RX of the socket", "0", "set it to 1, or let the sender compute checksums")
    return _checksum(case)


def _checksum(case: Case) -> Cause:
    name = case.facts.name if case.facts.protocol != -1 else "its header"
    change = "who computes it? ethtool -K … tx off at the sender, where a program and no network card takes its frames"
    setting = f"checksum offload at {case.facts.source or 'the sender'}"
    return Cause(f"the checksum of {name} does not fit what came", setting, "", change)


def _md5(why: str, change: str) -> Callable[[Case], Cause]:
    def find(case: Case) -> Cause:
        known = {"peer": case.facts.source or "the peer", "port": case.facts.dport if case.facts.dport >= 0 else "the server"}
        keys = _listed(case.node.keys(), "no socket has a key")
        return Cause(why.format(**known), "TCP_MD5SIG", keys, change.format(**known))

    return find


def _queue(setting: str, why: str, change: str) -> Callable[[Case], Cause]:
    return lambda case: Cause(why, setting, case.node.sysctl(setting) or "", change)


# -- filters


def _netfilter(case: Case) -> Cause:
    rules = case.node.rules()
    value = _listed(rules, "nft shows no rule that drops; look at iptables-legacy -L")
    why = "a rule or a policy of its filter dropped it" if len(rules) != 1 else "this rule of its filter dropped it"
    return Cause(why, "nft list ruleset", value, "nft delete rule … handle N, or an accept before it")


def _on_device(what: str, command: str) -> Callable[[Case], Cause]:
    def find(case: Case) -> Cause:
        device = case.device or "DEVICE"
        return Cause(
            f"{what} of {device} dropped it", command.format(device=device), "", f"see {command.format(device=device)}"
        )

    return find


def _too_big(case: Case) -> Cause:
    setting = f"MTU of {case.device or 'the way out'}"
    return Cause("it is longer than the MTU, and must not be fragmented", setting, "", "ip link set mtu, or send less at once")


def _unhandled(case: Case) -> Cause:
    change = "a device for it (a VLAN, a bridge), or a kernel that has the protocol"
    return Cause(f"nobody here takes {case.facts.line}", change=change)


_CAUSES: dict[str, Callable[[Case], Cause]] = {
    "IP_RPFILTER": _rp_filter,
    "IP_INADDRERRORS": _address,
    "IP_INNOROUTES": _no_route,
    "IP_OUTNOROUTES": _no_route,
    "IP_LOCAL_SOURCE": _own_source,
    "IP_LOCALNET": _localnet,
    "IP_INHDR": _hops,
    "IPV6DISABLED": _ipv6_disabled,
    "UNICAST_IN_L2_MULTICAST": _in_multicast,
    "OTHERHOST": _other_host,
    "NEIGH_FAILED": _neighbour,
    "NEIGH_QUEUEFULL": _neighbour,
    "NEIGH_CREATEFAIL": _neighbour,
    "NEIGH_DEAD": _neighbour,
    "NO_SOCKET": _no_socket,
    "UDP_CSUM": _udp_checksum,
    **dict.fromkeys(("TCP_CSUM", "IP_CSUM", "ICMP_CSUM", "SKB_CSUM"), _checksum),
    "TCP_MD5NOTFOUND": _md5(
        "a socket here has a key for {peer}, and the segment has no signature", "give {peer} the key, or take it away here"
    ),
    "TCP_MD5UNEXPECTED": _md5(
        "{peer} signs, and the socket here has no key for it", "give the socket the key of {peer}, or take it away there"
    ),
    "TCP_MD5FAILURE": _md5(
        "{peer} signs with another key than the one that is set here for it", "give both sides the same key"
    ),
    "SOCKET_RCVBUFF": _queue(
        "net.core.rmem_default", "the receiver's buffer is full", "read faster, or set a larger SO_RCVBUF"
    ),
    "TCP_LISTEN_OVERFLOW": _queue(
        "net.core.somaxconn", "the queue of new connections is full", "accept faster, or listen for more"
    ),
    "CPU_BACKLOG": _queue("net.core.netdev_max_backlog", "the processor's queue of frames is full", "raise it"),
    "TCP_MINTTL": _queue(
        "net.ipv4.ip_default_ttl", "its TTL is below what the socket wants (IP_MINTTL)", "raise the sender's TTL"
    ),
    "NETFILTER_DROP": _netfilter,
    "TC_INGRESS": _on_device("a filter at the ingress", "tc filter show dev {device} ingress"),
    "TC_EGRESS": _on_device("a filter at the egress", "tc filter show dev {device} egress"),
    "XDP": _on_device("an XDP program", "ip link show dev {device}"),
    **dict.fromkeys(
        ("QDISC_DROP", "QDISC_OVERLIMIT", "QDISC_CONGESTED"),
        _on_device("the queueing discipline", "tc -s qdisc show dev {device}"),
    ),
    "DEV_READY": _on_device("the state", "ip link show dev {device}"),
    "PKT_TOO_BIG": _too_big,
    "UNHANDLED_PROTO": _unhandled,
}
_MEANINGS = {
    "SOCKET_FILTER": "a filter of the socket (SO_ATTACH_FILTER) dropped it",
    "SOCKET_BACKLOG": "the socket's queue was full while its program held it",
    "TCP_AUTH_HDR": "its options for signatures (MD5, TCP-AO) are not valid, or both are there",
    "BPF_CGROUP_EGRESS": "a BPF program of the control group dropped it",
    "SECURITY_HOOK": "a security module dropped it",
    "XFRM_POLICY": "an IPsec policy dropped it: ip xfrm policy",
    "IP_NOPROTO": "nobody here speaks the protocol above IP",
    "IP_INVALID_SOURCE": "its sender can be nobody's address",
    "IP_INVALID_DEST": "its destination can be nobody's address",
    "FRAG_REASM_TIMEOUT": "not all of its fragments came in time",
    "IPV6_NDISC_NS_OTHERHOST": "a neighbour solicitation for another host",
    "BRIDGE_INGRESS_STP_STATE": "the bridge's port does not forward yet (STP)",
    "TCP_INVALID_SEQUENCE": "its sequence number is outside of the window",
    "NO_TX_TARGET": "the switch has no port for it",
    "NOMEM": "there was no memory for it",
}
"""Reasons of which no single setting is the cause."""
_HARMLESS = frozenset(
    ("QUEUE_PURGE", "SOCKET_CLOSE", "TCP_OLD_DATA", "TCP_OFOMERGE", "TCP_OLD_ACK", "TCP_OLD_SEQUENCE", "TCP_RESET", "TCP_CLOSE")
)
"""Part of what TCP does anyway, or of the end of a socket."""
_UNWANTED = frozenset(("NOT_SPECIFIED", "NO_SOCKET", "IP_INNOROUTES", "IP_INADDRERRORS", "UNHANDLED_PROTO"))
"""Every host of a LAN gets what is sent to many, and drops what it has not asked for."""
COUNTERS = {
    "TcpExtIPReversePathFilter": "IP_RPFILTER",
    "TcpExtTCPMD5NotFound": "TCP_MD5NOTFOUND",
    "TcpExtTCPMD5Unexpected": "TCP_MD5UNEXPECTED",
    "TcpExtTCPMD5Failure": "TCP_MD5FAILURE",
    "TcpExtListenOverflows": "TCP_LISTEN_OVERFLOW",
    "TcpInCsumErrors": "TCP_CSUM",
    "UdpNoPorts": "NO_SOCKET",
    "Udp6NoPorts": "NO_SOCKET",
    "UdpInCsumErrors": "UDP_CSUM",
    "Udp6InCsumErrors": "UDP_CSUM",
    "UdpRcvbufErrors": "SOCKET_RCVBUFF",
    "Udp6RcvbufErrors": "SOCKET_RCVBUFF",
    "IpInAddrErrors": "IP_INADDRERRORS",
    "Ip6InAddrErrors": "IP_INADDRERRORS",
    "IpOutNoRoutes": "IP_OUTNOROUTES",
    "Ip6OutNoRoutes": "IP_OUTNOROUTES",
    "IpInNoRoutes": "IP_INNOROUTES",
    "Ip6InNoRoutes": "IP_INNOROUTES",
}
"""SNMP counter -> the reason that it counts, where drops cannot be traced."""
