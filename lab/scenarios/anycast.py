"""Anycast groups of hosts: sockets join an address beside others, and a client that knows nothing of it moves along.

The mail that brought IPV6_JOIN_ANYCAST to Linux (2002, for 2.5.31) described how it should behave; net/ipv6/anycast.c still has
that shape. Where the two disagree the kernel of today is checked:

- the mail lets any user join a group of an on-link prefix; today every join needs CAP_NET_ADMIN;
- the mail has no bind() to a group and expects UDP to need a change; today IPV6_FREEBIND binds it, IPV6_PKTINFO answers from
  it, and only a server that does neither answers from its own address;
- the mail sets the source of an echo reply free, so that it is the member's own; today anycast_src_echo_reply chooses;
- the mail wants TCP disallowed at first: that has stayed, a SYN to a group is dropped in silence (tcp_v6_conn_request);
- the mail's override flag of 0 in advertisements and its removal with the last holder hold to this day.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether

from lab import Lab, Node, sockopts
from lab.observe import nud, tables
from lab.observe.conditions import Anycast, Gone, Neighbour, Solicitable
from lab.observe.outage import Meter, Outage
from lab.observe.wire import Packet, Wire

GROUP, SUBNET_ROUTER, ELSEWHERE = "2001:db8::acac", "2001:db8::", "2001:db8:ffff::acac"
SOLICITED_NODE = "ff02::1:ff00:acac"
DISCOVERY = "icmp6 and (ip6[40] == 135 or ip6[40] == 136)"  # solicitations and advertisements of neighbours
PORT, DNS_PORT = 7474, 53
V6, DATAGRAM, STREAM = socket.AF_INET6, socket.SOCK_DGRAM, socket.SOCK_STREAM
WITHIN = 5.0  # seconds, for what takes microseconds
SHORTLY = 0.3  # seconds, for an answer that must not come; something else proves that it does not
ROOM = 3.0  # seconds, for a machine that does something else meanwhile
NOBODY = "65534"
Report = Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]


def users(node: Node, group: str = GROUP) -> int:
    """How often the node holds the group, by /proc/net/anycast6."""
    return sum(each.users for each in node.inside(lambda: list(tables.groups())) if each.address == IPv6Address(group))


def by_netlink(node: Node) -> list[str]:
    """The groups that RTM_GETANYCAST tells, beside the router's own."""
    return [str(address) for address, _ in node.inside(lambda: list(tables.dumped_groups()))]


def datagrams(node: Node) -> socket.socket:
    sock = node.socket(V6, DATAGRAM)
    sock.settimeout(WITHIN)
    return sock


def members(lab: Lab) -> dict[str, Node]:
    """By the address that is each one's own."""
    return {f"2001:db8::1{number}": lab[f"m{number}"] for number in range(1, 1 + sum(node.name[0] == "m" for node in lab))}


def is_advertised(packet: Packet, target: str = GROUP) -> bool:
    return ICMPv6ND_NA in packet and packet[ICMPv6ND_NA].tgt == target


def is_solicited(packet: Packet, target: str = GROUP) -> bool:
    return ICMPv6ND_NS in packet and packet[ICMPv6ND_NS].tgt == target


def pinged(client: Node, address: str = GROUP, within: float = WITHIN) -> str:
    """Who answers one echo request of an unmodified ping(8): the source of the reply, empty for nobody."""
    said = client.run(["ping", "-n", "-c1", f"-W{within}", address], check=False).stdout
    return said.partition("bytes from ")[2].partition(": ")[0]


def answering(lab: Lab) -> str:
    """The own address of the member whose MAC address the client has for the group."""
    entry = lab["client"].inside(tables.neighbour, GROUP)
    (found,) = [address for address, node in members(lab).items() if entry and node.mac("eth0") == entry.mac]
    return found


def slower(lab: Lab, quick: str) -> None:
    """Every member but one waits for a random while before it advertises the group, of up to an hour."""
    for node in members(lab).values():
        node.sysctl["net.ipv6.neigh.eth0.proxy_delay"] = "0" if node.name == quick else "360000"


# -- joining and leaving


@pytest.mark.lab("anycast", join=0)
def test_a_join_is_seen_everywhere_but_among_the_addresses(lab: Lab) -> None:
    """A join shows in /proc/net/anycast6, by netlink, as a local route and in an MLD report, and not among the addresses."""
    member = lab["m1"]
    assert users(member) == 0
    assert by_netlink(member) == []
    with lab.capture("m1:eth0", filter="icmp6 or ip6 proto 0") as wire, datagrams(member) as sock:
        sockopts.join_anycast(sock, GROUP)
        assert users(member) == 1
        assert by_netlink(member) == [GROUP]
        assert f"anycast {GROUP} dev eth0" in member.run(["ip", "-6", "route", "show", "table", "local"]).stdout
        assert GROUP not in member.run(["ip", "-6", "address"]).stdout
        wire.expect(lambda p: ICMPv6MLReport2 in p and SOLICITED_NODE in str(p.whole.show(dump=True)), "an MLDv2 report")
    assert (users(member), by_netlink(member)) == (0, [])


@pytest.mark.lab("anycast", join=0)
def test_joins_are_counted(lab: Lab) -> None:
    """Each join of each socket counts, each leave and close takes its own back, and one leave too many is refused."""
    member, seen = lab["m1"], []
    with datagrams(member) as one, datagrams(member) as two:
        for step in (sockopts.join_anycast, sockopts.join_anycast, sockopts.leave_anycast):
            step(one, GROUP)
            seen.append(users(member))
        sockopts.join_anycast(two, GROUP)
        seen.append(users(member))
        sockopts.leave_anycast(one, GROUP)
        with pytest.raises(OSError) as refused:
            sockopts.leave_anycast(one, GROUP)
        seen.append(users(member))
    assert (seen, refused.value.errno) == ([1, 2, 1, 2, 1], errno.ENOENT)
    assert users(member) == 0


@pytest.mark.lab("anycast", join=1)
def test_a_holder_that_is_killed_takes_its_join_along(lab: Lab) -> None:
    """A holder that gets SIGKILL takes its join along; another one that lives keeps the member in the group."""
    killed, spared = lab["m1"], lab["m2"]
    with datagrams(spared) as second:
        sockopts.join_anycast(second, GROUP)
        for node in (killed, spared):
            assert node.services["anycast"].kill() == -9
        killed.wait(Gone(Anycast(GROUP)), WITHIN)
        spared.wait(lambda: users(spared) == 1, WITHIN, "one of two holders is left")
        lab["m3"].services["anycast"].stop()
        assert pinged(lab["client"]) == "2001:db8::12"
    assert pinged(lab["client"], within=SHORTLY) == ""


# -- who may join

JOIN = """
import errno, socket, struct, sys
group, index = sys.argv[1:]
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
try:
    sock.setsockopt(socket.IPPROTO_IPV6, 27, struct.pack("=16si", socket.inet_pton(socket.AF_INET6, group), int(index)))
    print("joins")
except OSError as error:
    print(errno.errorcode[error.errno])
"""
AS = {
    "root": [],
    "user": ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"],
    "user with CAP_NET_ADMIN": [
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *("--inh-caps=+net_admin", "--ambient-caps=+net_admin"),
    ],
    "root without CAP_NET_ADMIN": ["setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin"],
}
NO_SUCH = 999
# Who asks, on which node, for which address, on which interface; and what the kernel says.
MATRIX = (
    ("root", "m1", GROUP, 0, "joins"),
    ("user", "m1", GROUP, 0, "EPERM"),
    ("user with CAP_NET_ADMIN", "m1", GROUP, 0, "joins"),
    ("root without CAP_NET_ADMIN", "m1", GROUP, 0, "EPERM"),
    ("user", "router", ELSEWHERE, 0, "EPERM"),
    ("root", "m1", ELSEWHERE, 0, "EADDRNOTAVAIL"),
    ("root", "router", ELSEWHERE, 0, "joins"),
    ("root", "m1", "2001:db8::11", 0, "EINVAL"),
    ("root", "m1", "2001:db8::12", 0, "joins"),
    ("root", "m1", "::1", 0, "EINVAL"),
    ("root", "m1", "ff02::acac", 0, "EINVAL"),
    ("root", "m1", GROUP, NO_SUCH, "ENODEV"),
)


@pytest.mark.lab("anycast", join=0)
def test_who_may_join_what(lab: Lab, report_table: Report) -> None:
    """Joining takes CAP_NET_ADMIN whatever the prefix, an address of a link on a host, and no address of the node's own."""
    rows = []
    for who, node, group, index, _ in MATRIX:
        argv = [*AS[who], "/usr/bin/python3", "-I", "-c", JOIN, group, str(index)]
        rows.append((who, node, group, index, lab[node].run(argv).stdout.strip()))
    names = {"m1": "host", "router": "router"}
    report_table(
        "who may join",
        ("who", "on a", "group", "interface", "the kernel says"),
        [(who, names[node], group, index or "any", said) for who, node, group, index, said in rows],
    )
    assert tuple(rows) == MATRIX


# -- neighbour discovery


@pytest.mark.lab("anycast", join=1)
def test_a_member_advertises_without_the_override_flag(lab: Lab) -> None:
    """A member advertises the group solicited, from its own address and without the override flag; its own address with it."""
    own = members(lab)
    with lab.capture("client:eth0", filter="icmp6") as wire:
        pinged(lab["client"])
        pinged(lab["client"], "2001:db8::11")
        asked, answer, _, plain = wire.expect_in_order(
            (is_solicited, "a solicitation"),
            (is_advertised, "an advertisement"),
            (lambda p: is_solicited(p, "2001:db8::11"), "a solicitation of the member's own address"),
            (lambda p: is_advertised(p, "2001:db8::11"), "its advertisement"),
        )
    assert asked[IPv6].dst == SOLICITED_NODE
    assert (answer[ICMPv6ND_NA].S, answer[ICMPv6ND_NA].O, answer[ICMPv6ND_NA].R) == (1, 0, 0)
    assert answer[ICMPv6NDOptDstLLAddr].lladdr == own[answer[IPv6].src].mac("eth0")
    assert (plain[ICMPv6ND_NA].S, plain[ICMPv6ND_NA].O, plain[IPv6].src) == (1, 1, "2001:db8::11")


@pytest.mark.lab("anycast", join=1)
def test_the_first_advertisement_wins(lab: Lab) -> None:
    """Of several advertisements the first one counts; one with the override flag, which no member sends, would replace it."""
    client = lab["client"]
    with lab.capture("client:eth0", filter="icmp6") as wire:
        pinged(client)
        wire.expect_in_order(*[(is_advertised, "an advertisement of each member")] * 3)
    first = wire.all(is_advertised)[0]
    assert answering(lab) == first[IPv6].src
    other = next(address for address in members(lab) if address != first[IPv6].src)
    for override, winner in ((0, first[IPv6].src), (1, other)):
        advertise(lab, other, override)
        assert pinged(client) == winner
        assert answering(lab) == winner


def advertise(lab: Lab, own: str, override: int) -> None:
    """A made-up advertisement of the group by a member, to the client alone; what the client sends next finds it done."""
    node, client = members(lab)[own], lab["client"]
    mac = node.mac("eth0")
    frame = Ether(src=mac, dst=client.mac("eth0")) / IPv6(src=own, dst="2001:db8::1", hlim=255)
    frame /= ICMPv6ND_NA(tgt=GROUP, R=0, S=1, O=override) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    with lab.capture("client:eth0", filter="icmp6") as wire:
        node.send("eth0", bytes(frame))
        wire.expect(lambda p: is_advertised(p) and override == p[ICMPv6ND_NA].O, "the made-up advertisement")


@pytest.mark.lab("anycast", join=1)
def test_proxy_delay_chooses_who_answers_first(lab: Lab) -> None:
    """Who is the first is chosen by neigh.eth0.proxy_delay: of a quick member and slow ones the client gets the quick one."""
    for quick, own in (("m1", "2001:db8::11"), ("m3", "2001:db8::13")):
        slower(lab, quick)
        lab["client"].run(["ip", "neighbour", "flush", "dev", "eth0"])
        assert pinged(lab["client"]) == own


# -- who speaks as the group


@pytest.mark.lab("anycast", join=1)
def test_the_source_of_an_echo_reply(lab: Lab) -> None:
    """An echo reply comes from the member's own address; with anycast_src_echo_reply=1 from the group's."""
    assert pinged(lab["client"]) in members(lab)
    for node in members(lab).values():
        node.sysctl["net.ipv6.anycast_src_echo_reply"] = "1"
    assert pinged(lab["client"]) == GROUP


@pytest.mark.lab("anycast", join=0)
def test_only_freebind_binds_the_group(lab: Lab) -> None:
    """bind() to the group is refused even to a member, and works with IPV6_FREEBIND."""
    with datagrams(lab["m1"]) as sock:
        sockopts.join_anycast(sock, GROUP)
        with pytest.raises(OSError) as refused:
            sock.bind((GROUP, PORT))
        assert refused.value.errno == errno.EADDRNOTAVAIL
        sockopts.allow_foreign(sock)
        sock.bind((GROUP, PORT))
        assert sock.getsockname()[:2] == (GROUP, PORT)


@pytest.mark.lab("anycast", join=0)
def test_a_plain_server_answers_from_its_own_address(lab: Lab) -> None:
    """A UDP server on :: answers from the member's own address, and a connected client refuses that with a port unreachable."""
    with datagrams(lab["m1"]) as server, datagrams(lab["client"]) as client:
        sockopts.join_anycast(server, GROUP)
        server.bind(("::", PORT))
        with lab.capture("client:eth0", filter="udp or icmp6") as wire:
            _, asker = asked(server, client)
            server.sendto(b"answer", asker)
            answer, _ = wire.expect_in_order(
                (lambda p: UDP in p and p[UDP].sport == PORT, "the answer"),
                (lambda p: ICMPv6DestUnreach in p and p[ICMPv6DestUnreach].code == 4 and p.frame.sent, "port unreachable"),
            )
        assert answer[IPv6].src == "2001:db8::11"
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(64)


@pytest.mark.lab("anycast", join=0)
@pytest.mark.parametrize("how", ["IPV6_PKTINFO", "IPV6_FREEBIND"])
def test_a_server_that_names_its_source_is_heard(lab: Lab, how: str) -> None:
    """A UDP server that answers from the group's address is heard by a connected client."""
    with datagrams(lab["m1"]) as server, datagrams(lab["client"]) as client:
        sockopts.join_anycast(server, GROUP)
        sockopts.allow_foreign(server, how == "IPV6_FREEBIND")
        server.bind((GROUP if how == "IPV6_FREEBIND" else "::", PORT))
        _, asker = asked(server, client)
        source = struct.pack("=16si", socket.inet_pton(V6, GROUP), 0)  # struct in6_pktinfo
        more = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, source)] if how == "IPV6_PKTINFO" else []
        server.sendmsg([b"answer"], more, 0, asker)
        assert client.recv(64) == b"answer"


def asked(server: socket.socket, client: socket.socket) -> tuple[bytes, tuple[str, int]]:
    """The client connects to the group and asks; what the server gets, and from whom."""
    client.connect((GROUP, PORT))
    client.send(b"question")
    return server.recvfrom(64)


@pytest.mark.lab("anycast", join=0)
def test_an_error_comes_from_the_group(lab: Lab) -> None:
    """A port that nobody serves is refused from the group's address, so that a connected client hears of it."""
    with datagrams(lab["m1"]) as sock, datagrams(lab["client"]) as client:
        sockopts.join_anycast(sock, GROUP)
        client.connect((GROUP, PORT))
        with lab.capture("client:eth0", filter="icmp6") as wire:
            client.send(b"question")
            assert wire.expect(lambda p: ICMPv6DestUnreach in p, "an error")[IPv6].src == GROUP
        with pytest.raises(ConnectionRefusedError):
            client.recv(64)


@pytest.mark.lab("anycast", join=0)
@pytest.mark.parametrize("served", [True, False], ids=["served", "not served"])
def test_tcp_to_the_group_is_dropped(lab: Lab, served: bool) -> None:
    """TCP to the group is dropped in silence, where the member's own address accepts it or refuses it."""
    member = lab["m1"]
    with datagrams(member) as holder, member.socket(V6, STREAM) as server:
        sockopts.join_anycast(holder, GROUP)
        if served:
            server.bind(("::", PORT))
            server.listen()
        with lab.capture("client:eth0", filter="tcp or ip6 proto 6") as wire, begun(lab["client"], GROUP):
            wire.expect(lambda p: p[IPv6].dst == GROUP, "a SYN to the group")
            with begun(lab["client"], "2001:db8::11"):
                flags = "SA" if served else "RA"
                wire.never(lambda p: p[IPv6].src == GROUP, "an answer of the group", until=lambda p: answers(p, flags))
        assert wire.all(lambda p: p[IPv6].src == GROUP) == []
    assert (member.counters()["TcpExtListenDrops"] > 0) == served


def answers(packet: Packet, flags: str) -> bool:
    return packet[IPv6].src == "2001:db8::11" and str(packet[TCP].flags) == flags


def begun(client: Node, address: str) -> socket.socket:
    """A connection whose SYN is on its way."""
    sock = client.socket(V6, STREAM)
    sock.setblocking(False)
    assert sock.connect_ex((address, PORT)) == errno.EINPROGRESS
    return sock


# -- the anycast address that every router has


@pytest.mark.lab("anycast", join=0)
def test_a_router_answers_for_its_subnet(lab: Lab) -> None:
    """A router answers for the subnet-router anycast address, prefix::; no host does, nor a router that forwards no more."""
    assert (users(lab["router"], SUBNET_ROUTER), users(lab["m1"], SUBNET_ROUTER)) == (1, 0)
    assert pinged(lab["client"], SUBNET_ROUTER) == "2001:db8::fe"
    lab["router"].sysctl["net.ipv6.conf.all.forwarding"] = "0"
    assert users(lab["router"], SUBNET_ROUTER) == 0
    lab["client"].run(["ip", "neighbour", "flush", "dev", "eth0"])
    assert pinged(lab["client"], SUBNET_ROUTER, SHORTLY) == ""


@pytest.mark.lab("anycast", join=0)
def test_prefixes_without_a_subnet_router_address(lab: Lab) -> None:
    """Prefixes of 127 and 128 bits have none (RFC 6164), one of 126 bits has."""
    router, subnets = lab["router"], {length: f"2001:db8:{length}::{length}:" for length in (128, 127, 126)}
    for length, subnet in subnets.items():
        router.run(["ip", "address", "add", f"{subnet}1/{length}", "dev", "eth0", "nodad"])
        router.wait(Solicitable("eth0", f"{subnet}1"), WITHIN)
    router.wait(Anycast(f"{subnets[126]}0"), WITHIN)  # the last: the kernel joins a moment after it has the address
    assert {length: users(router, f"{subnet}0") for length, subnet in subnets.items()} == {126: 1, 127: 0, 128: 0}


# -- the answering member dies


@pytest.mark.lab("anycast", join=1)
def test_the_client_moves_when_its_member_dies(lab: Lab, report_table: Report) -> None:
    """When the answering member dies the client moves to another, in the time of its neighbour unreachability detection."""
    moves(lab, report_table)


@pytest.mark.slow
@pytest.mark.lab("anycast", join=1, timers="default")
def test_the_client_moves_when_its_member_dies_with_default_timers(lab: Lab, report_table: Report) -> None:
    """With the kernel's default timers it moves as well, in the time that these make."""
    moves(lab, report_table)


def moves(lab: Lab, report_table: Report) -> None:
    """Two members die one after the other: the client's entry is STALE the first time, and REACHABLE the second."""
    times = nud.unreachability(lab["client"].sysctl, "eth0")
    slowest = max(int(node.sysctl["net.ipv6.neigh.eth0.proxy_delay"]) for node in members(lab).values()) / 100
    least, rows = times.from_stale, []  # also from REACHABLE: another member's late advertisement makes that STALE
    for state, dead in (("STALE", times.from_stale_at_most), ("REACHABLE", times.from_reachable_at_most)):
        outage = outage_when_it_dies(lab, state, dead + slowest + ROOM)
        rows.append((state, least, outage.seconds, dead + slowest, outage.before, outage.after))
        assert outage.before != outage.after
        assert least <= outage.seconds <= dead + slowest + ROOM
    columns = ("the client's entry", "at least (s)", "measured (s)", "at most (s)", "answered before", "answered after")
    report_table("outage when the answering member dies", columns, rows)


def outage_when_it_dies(lab: Lab, state: str, within: float) -> Outage:
    """The entry's state is set when the member is gone, so that nothing of its time has passed; until then it does not age."""
    client = lab["client"]
    with Meter(client.ns, GROUP) as meter:
        before = meter.wait_answered(WITHIN).by
        remember(lab, "permanent")
        members(lab)[before].services["anycast"].kill()
        members(lab)[before].wait(Gone(Anycast(GROUP)), WITHIN)
        remember(lab, state.lower())
        (others,) = [{each for each in members(lab) if each != before}]
        assert meter.wait_answered(within).by in others
        return meter.longest()


def remember(lab: Lab, state: str) -> None:
    """Sets the state of the client's entry for the group, as it is from now on."""
    mac = members(lab)[answering(lab)].mac("eth0")
    lab["client"].run(["ip", "neighbour", "change", GROUP, "lladdr", mac, "dev", "eth0", "nud", state])


@pytest.mark.lab("anycast", join=1)
def test_the_client_stays_while_its_member_lives(lab: Lab) -> None:
    """While the answering member lives the client stays with it, through its checks too; the others' deaths cost nothing."""
    client = lab["client"]
    with Meter(client.ns, GROUP) as meter:
        own = meter.wait_answered(WITHIN).by
        mac = members(lab)[own].mac("eth0")
        for address, node in members(lab).items():
            if address != own:
                node.services["anycast"].kill()
        with lab.capture("client:eth0", filter=DISCOVERY) as wire:
            remember(lab, "stale")
            is_checked(wire, mac, nud.unreachability(client.sysctl, "eth0").from_stale_at_most + ROOM)
        client.wait(Neighbour(GROUP, state="reachable"), WITHIN)
    assert {probe.by for probe in meter.probes} - {""} == {own}
    assert meter.longest().seconds < nud.unreachability(client.sysctl, "eth0").from_stale


def answered(lab: Lab, wire: Wire) -> bool:
    """Whether no advertisement is to come: one would spare the client a check, since it counts as a sign of life, whoever sends
    it (net/core/neighbour.c, neigh_update)."""
    return len(wire.all(is_advertised)) == len(wire.all(is_solicited)) * len(members(lab))


def is_checked(wire: Wire, mac: str, within: float) -> None:
    """The client asks whether its member is still there, and is answered by this one."""
    wire.expect_in_order(
        (lambda p: is_solicited(p) and p[IPv6].dst == GROUP, "the client's check by unicast"),
        (lambda p: is_advertised(p) and p[Ether].src == mac, "its member's answer"),
        within=within,
    )


@pytest.mark.lab("anycast", join=1)
def test_a_member_that_left_drops_in_silence(lab: Lab) -> None:
    """A host that has left drops what still comes for the group, without an error, and counts it in Ip6InAddrErrors."""
    client = lab["client"]
    before = pinged(client)
    gone = members(lab)[before]
    counted = gone.counters()["Ip6InAddrErrors"]
    gone.services["anycast"].kill()
    gone.wait(Gone(Anycast(GROUP)), WITHIN)
    remember(lab, "reachable")
    with lab.capture("client:eth0", filter="icmp6") as wire:
        assert pinged(client, within=SHORTLY) == ""
        assert pinged(client, before) == before
        wire.never(lambda p: ICMPv6DestUnreach in p, "an error", until=lambda p: ICMPv6EchoReply in p)
    assert gone.counters()["Ip6InAddrErrors"] > counted


@pytest.mark.lab("anycast", join=0)
def test_a_member_that_left_and_forwards_passes_it_on(lab: Lab) -> None:
    """A router that has left sends what still comes for the group on to a member: nothing is lost."""
    client = lab["client"]
    with datagrams(lab["router"]) as leaves, datagrams(lab["m1"]) as stays:
        sockopts.join_anycast(leaves, GROUP)
        assert pinged(client) == "2001:db8::fe"
        sockopts.join_anycast(stays, GROUP)
        sockopts.leave_anycast(leaves, GROUP)
        mac = lab["router"].mac("eth0")  # kept: the client's own check would lead it to the member
        client.run(["ip", "neighbour", "change", GROUP, "lladdr", mac, "dev", "eth0", "nud", "permanent"])
        with lab.capture("router:eth0", filter="icmp6") as wire:
            assert pinged(client) == "2001:db8::11"
            wire.expect_in_order(
                (lambda p: p[IPv6].dst == GROUP and not p.frame.sent, "the request that still comes to the router"),
                (lambda p: p[IPv6].dst == GROUP and p.frame.sent, "the same on its way to the member"),
            )


# -- names that are always served


@pytest.mark.lab("anycast", dns=1, tied=1)
def test_names_are_served_although_one_server_dies(lab: Lab) -> None:
    """Of three dnsmasq the answering one dies, its member leaves the group with it, and the client asks another."""
    client = lab["client"]
    first = who_serves(client)
    dies = members(lab)[first]
    dies.services["dnsmasq"].kill()
    dies.wait(Gone(Anycast(GROUP)), WITHIN)
    deadline = time.monotonic() + nud.unreachability(client.sysctl, "eth0").from_reachable_at_most + ROOM
    while (second := who_serves(client, within=SHORTLY)) in ("", "refused") and time.monotonic() < deadline:
        pass
    assert second in set(members(lab)) - {first}


@pytest.mark.lab("anycast", dns=1, tied=0)
def test_a_join_that_outlives_its_server_keeps_the_client(lab: Lab) -> None:
    """A join that outlives its server keeps the client with the dead one: refused, before and after the client's own check."""
    client = lab["client"]
    with lab.capture("client:eth0", filter=DISCOVERY) as wire:
        first = who_serves(client)
        mac = members(lab)[first].mac("eth0")
        client.wait(lambda: answered(lab, wire), WITHIN, "each member has answered each solicitation")
        members(lab)[first].services["dnsmasq"].kill()
        assert who_serves(client) == "refused"
        remember(lab, "stale")
        assert who_serves(client) == "refused"
        is_checked(wire, mac, nud.unreachability(client.sysctl, "eth0").from_stale_at_most + ROOM)
    assert who_serves(client) == "refused"
    assert answering(lab) == first


@pytest.mark.lab("anycast", dns=1, bind="interfaces")
def test_dnsmasq_with_bind_interfaces_does_not_serve_the_group(lab: Lab) -> None:
    """dnsmasq with --bind-interfaces refuses what comes for the group, which no interface has; its own address it serves."""
    assert (who_serves(lab["client"]), who_serves(lab["client"], "2001:db8::11")) == ("refused", "2001:db8::11")


@pytest.mark.lab("anycast", dns=1, bind="dynamic")
def test_dnsmasq_with_bind_dynamic_does_not_serve_the_group(lab: Lab) -> None:
    """dnsmasq with --bind-dynamic neither."""
    assert (who_serves(lab["client"]), who_serves(lab["client"], "2001:db8::11")) == ("refused", "2001:db8::11")


@pytest.mark.lab("anycast", dns=1, bind="wildcard")
def test_dnsmasq_without_serves_the_group(lab: Lab) -> None:
    """dnsmasq that binds the wildcard address serves the group, and answers from it."""
    assert who_serves(lab["client"]) in members(lab)
    assert who_serves(lab["client"], "2001:db8::11") == "2001:db8::11"


def who_serves(client: Node, server: str = GROUP, within: float = WITHIN) -> str:
    """The address for which who.lab stands with the server that answers; `refused` or empty for nobody."""
    question = bytes(DNS(rd=1, qd=DNSQR(qname="who.lab", qtype="AAAA")))
    with datagrams(client) as sock:
        sock.settimeout(within)
        sock.connect((server, DNS_PORT))
        try:
            sock.send(question)
            answer = DNS(sock.recv(1500))
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return ""
    return str(answer.an.rdata)
