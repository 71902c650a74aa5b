"""From IPv4 to IPv6: scopes, fragmentation, headers and neighbours of both, side by side on the same wires.

A text of about 2012 lists what IPv6 mends of IPv4's design (RFC 8200, 4861, 4862). Most of it is seen here as it says. Where
today's kernel differs:

- Site-local addresses, which no router shall pass on to the Internet, are none any more (RFC 3879): fec0::/10 is forwarded, as
  are the private ones of both families. Only link-local is kept on its link by the protocol itself.
- That IPv6 alone lets the sender fragment is half of it. Linux sets DF on IPv4, too, and then learns the path's MTU and
  fragments at home in the same way; what is IPv4's alone is that a router fragments where DF is not set.
- A UDP checksum of 0 is refused by IPv6 unless the socket says otherwise (RFC 6935).
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Ether

from lab import Lab, Node, sockopts
from lab.observe.conditions import Addressed, Counted, Neighbour
from lab.observe.wire import Packet, Wire, on_one_processor

A4, A6, B4, B6 = "10.0.1.2", "2001:db8:1::2", "10.0.2.2", "2001:db8:2::2"
ROUTER4, ROUTER6, PREFIX = "10.0.1.1", "2001:db8:1::1", "2001:db8:1::/64"
FAR, FEIGNED = 1280, "2001:db8:bad::/64"  # the MTU of the second hop; a prefix that nobody advertises
PORT, MARK = 7474, 7
WITHIN = 15.0  # seconds, for a router's daemon that hears of a link, and for the second question of a host
SIZE = 1480  # bytes of a packet with its header: passes the first hop, and not the second
DATA4, DATA6 = bytes(SIZE - 20 - 8), bytes(SIZE - 40 - 8)
OPTION4 = bytes([1, 1, 1, 0])  # three times no operation, and the end (RFC 791)
OPTION6 = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # a header of 8 bytes, which holds four bytes of padding (RFC 8200)
V4, V6, DGRAM = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM


# -- scope


def crosses(lab: Lab, packet: Any) -> bool:
    """Whether the router passes on a packet that host a sends; one with no fault, sent behind it, proves that it does not."""
    a, mark = lab["a"], IPv6(src=A6, dst=B6) / UDP(dport=MARK) / b"mark"
    resolve(lab)
    with lab.capture("router:right", filter="udp") as wire:
        with on_one_processor():
            for each in (packet, mark):
                a.send("eth0", bytes(Ether(src=a.mac("eth0"), dst=lab["router"].mac("left")) / each))
        wire.expect(lambda p: p[UDP].dport == MARK, "the packet behind it")
        return bool(wire.all(lambda p: p[UDP].dport == PORT))


def resolve(lab: Lab) -> None:
    """Everybody knows everybody's MAC address, so that no packet waits for one and is overtaken."""
    for address in (B4, B6):
        lab["a"].run(["ping", "-c1", "-W5", address])


def link_local(node: Node, device: str) -> str:
    """The link-local address that is made from the device's MAC address."""
    return from_mac("fe80::/64", node.mac(device))


def from_mac(prefix: str, mac: str) -> str:
    """RFC 4291, appendix A: ff:fe goes into the middle of the MAC address, and its bit for "local" is turned."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(ipaddress.IPv6Network(prefix)[int.from_bytes(identifier)])


@pytest.mark.lab("ipv4-to-ipv6")
def test_a_link_local_source_does_not_cross_the_router(lab: Lab) -> None:
    """A packet with a link-local source does not cross the router, one with a global source does."""
    payload = UDP(dport=PORT) / b"?"
    assert not crosses(lab, IPv6(src=link_local(lab["a"], "eth0"), dst=B6) / payload)
    assert crosses(lab, IPv6(src=A6, dst=B6) / payload)


@pytest.mark.lab("ipv4-to-ipv6")
def test_the_router_says_that_the_scope_ends_there(lab: Lab) -> None:
    """The router answers a link-local source, and no global one, with ICMPv6 type 1 code 2, beyond scope of source address."""
    mine = link_local(lab["a"], "eth0")
    with lab.capture("a:eth0", filter="icmp6") as wire:
        assert not crosses(lab, IPv6(src=mine, dst=B6) / UDP(dport=PORT) / b"?")
        error = wire.expect(beyond_scope, "the error")
        assert crosses(lab, IPv6(src=A6, dst=B6) / UDP(dport=PORT) / b"?")
        assert wire.all(beyond_scope) == [error]
    assert (error[IPv6].dst, error[ICMPv6DestUnreach].payload.src) == (mine, mine)


def beyond_scope(packet: Packet) -> bool:
    """RFC 4443, section 3.1."""
    return ICMPv6DestUnreach in packet and packet[ICMPv6DestUnreach].code == 2


@pytest.mark.lab("ipv4-to-ipv6")
def test_a_link_local_destination_does_not_cross_the_router(lab: Lab) -> None:
    """A packet to a link-local address of the far link does not cross the router."""
    theirs = link_local(lab["b"], "eth0")
    assert not crosses(lab, IPv6(src=A6, dst=theirs) / UDP(dport=PORT) / b"?")
    assert crosses(lab, IPv6(src=A6, dst=B6) / UDP(dport=PORT) / b"?")


@pytest.mark.lab("ipv4-to-ipv6")
def test_other_private_sources_cross_in_both_families(lab: Lab) -> None:
    """Private sources of IPv4, its link-local ones among them, and IPv6's unique local and former site-local ones cross."""
    packets = [IP(src=source, dst=B4) for source in ("192.168.7.7", "169.254.7.7")]
    packets += [IPv6(src=source, dst=B6) for source in ("fd00::7", "fec0::7")]
    assert [crosses(lab, each / UDP(dport=PORT) / b"?") for each in packets] == [True] * 4


# -- fragmentation


@contextlib.contextmanager
def sending(lab: Lab, family: int, how: int) -> Iterator[tuple[socket.socket, socket.socket, Wire]]:
    """A sender on a, a receiver on b, and what passes both hops; nobody waits for a MAC address."""
    resolve(lab)
    with lab["a"].socket(family, DGRAM) as sender, lab["b"].socket(family, DGRAM) as receiver:
        sockopts.discover_path_mtu(sender, how)
        receiver.bind((B4 if family == V4 else B6, PORT))
        receiver.settimeout(5)
        with lab.capture("a:eth0", "router:right", filter="ip or ip6") as wire:
            yield sender, receiver, wire


def known_path_mtu(host: Node, to: str) -> int:
    """What the host takes for the MTU of the path to `to`."""
    with host.socket(V6 if ":" in to else V4, DGRAM) as sock:
        sock.connect((to, PORT))
        return sockopts.path_mtu(sock)


def too_big(packet: Packet) -> bool:
    """Packet Too Big, or "fragmentation needed" of IPv4 (RFC 4443, section 3.2; RFC 1191, section 4)."""
    if ICMPv6PacketTooBig in packet:
        return bool(packet[ICMPv6PacketTooBig].mtu == FAR)
    return ICMP in packet and (packet[ICMP].type, packet[ICMP].code, packet[ICMP].nexthopmtu) == (3, 4, FAR)


def made_fragments(node: Node) -> tuple[int, int]:
    """How many fragments it has made, of IPv4 and of IPv6."""
    return node.counters()["IpFragCreates"], node.counters()["Ip6FragCreates"]


@pytest.mark.lab("ipv4-to-ipv6")
def test_without_df_ipv4s_router_fragments(lab: Lab) -> None:
    """1480 bytes of IPv4 without DF are fragmented by the router, and nobody is told."""
    with sending(lab, V4, sockopts.PMTUDISC_DONT) as (sender, receiver, wire):
        sender.sendto(DATA4, (B4, PORT))
        assert receiver.recv(SIZE) == DATA4
        assert not wire.all(too_big)
    assert [made_fragments(lab[name]) for name in ("a", "router")] == [(0, 0), (2, 0)]
    assert (lab["router"].counters()["IpFragOKs"], known_path_mtu(lab["a"], B4)) == (1, 1500)


@pytest.mark.lab("ipv4-to-ipv6")
def test_with_df_ipv4s_router_refuses(lab: Lab) -> None:
    """1480 bytes of IPv4 with DF are dropped by the router, which says "fragmentation needed" with the MTU of 1280."""
    with sending(lab, V4, sockopts.PMTUDISC_DO) as (sender, _receiver, wire):
        sender.sendto(DATA4, (B4, PORT))
        wire.expect(too_big, "fragmentation needed")
        lab["a"].wait(lambda: known_path_mtu(lab["a"], B4) == FAR, what="the path's MTU is known")
        with pytest.raises(OSError, match="too long") as refused:
            sender.sendto(DATA4, (B4, PORT))
        assert refused.value.errno == errno.EMSGSIZE
    assert made_fragments(lab["router"]) == (0, 0)
    assert lab["router"].counters()["IpFragFails"] == 1


@pytest.mark.lab("ipv4-to-ipv6")
def test_ipv4s_host_fragments_by_default_once_it_knows(lab: Lab) -> None:
    """By default Linux sets DF: the first 1480 bytes are lost, and of the next ones the host itself makes fragments."""
    loses_the_first_and_fragments_the_next(lab, V4, DATA4)
    assert [made_fragments(lab[name]) for name in ("a", "router")] == [(2, 0), (0, 0)]


@pytest.mark.lab("ipv4-to-ipv6")
def test_ipv6s_host_fragments_once_it_knows(lab: Lab) -> None:
    """Of IPv6 the first 1480 bytes are lost, Packet Too Big says 1280, and of the next ones the host makes fragments."""
    loses_the_first_and_fragments_the_next(lab, V6, DATA6)
    assert [made_fragments(lab[name]) for name in ("a", "router")] == [(0, 2), (0, 0)]
    assert lab["router"].counters()["Icmp6OutPktTooBigs"] == 1


def loses_the_first_and_fragments_the_next(lab: Lab, family: int, data: bytes) -> None:
    a, to = lab["a"], B4 if family == V4 else B6
    assert known_path_mtu(a, to) == 1500
    with sending(lab, family, sockopts.PMTUDISC_WANT) as (sender, receiver, wire):
        sender.sendto(b"1" + data[1:], (to, PORT))
        wire.expect(too_big, "the router's refusal")
        a.wait(lambda: known_path_mtu(a, to) == FAR, what="the path's MTU is known")
        sender.sendto(b"2" + data[1:], (to, PORT))
        assert receiver.recv(SIZE)[:1] == b"2"


@pytest.mark.lab("ipv4-to-ipv6")
def test_no_router_fragments_ipv6(lab: Lab) -> None:
    """1480 bytes of IPv6 that the host may not fragment never pass, even if it ignores what the router says."""
    with sending(lab, V6, sockopts.PMTUDISC_PROBE) as (sender, _receiver, wire):
        for _ in range(2):
            sender.sendto(DATA6, (B6, PORT))
        wire.expect_in_order((too_big, "the first refusal"), (too_big, "the second refusal"))
        sender.sendto(DATA6[: FAR - 40 - 8], (B6, PORT))
        passed = wire.expect(lambda p: p.frame.interface.device == "right" and UDP in p, "what fits")
    assert passed[IPv6].plen == FAR - 40
    assert made_fragments(lab["router"]) == (0, 0)


@pytest.mark.lab("ipv4-to-ipv6", mtu=1500)
def test_over_a_wide_hop_nobody_fragments(lab: Lab) -> None:
    """Where the second hop carries 1500 bytes, both families pass whole and no router refuses."""
    for family, to, data in ((V4, B4, DATA4), (V6, B6, DATA6)):
        with sending(lab, family, sockopts.PMTUDISC_WANT) as (sender, receiver, wire):
            sender.sendto(data, (to, PORT))
            assert receiver.recv(SIZE) == data
            assert not wire.all(too_big)
    assert [made_fragments(node) for node in lab] == [(0, 0)] * 3


@pytest.mark.lab("ipv4-to-ipv6")
def test_the_path_mtu_is_remembered_for_ten_minutes(lab: Lab) -> None:
    """The host remembers the path's MTU in its routes for mtu_expires, which is 600 s by default."""
    a = lab["a"]
    for family, to, data in ((V4, B4, DATA4), (V6, B6, DATA6)):
        loses_the_first_and_fragments_the_next(lab, family, data)
        route = a.run(["ip", "route", "get", to]).stdout
        found = re.search(r"expires (\d+)sec", route)
        assert found, route
        assert f"mtu {FAR}" in route
        assert 570 < int(found[1]) <= 600  # it has just begun to count down


@pytest.mark.lab("ipv4-to-ipv6", mtu_expires=2)
def test_the_path_mtu_is_forgotten(lab: Lab) -> None:
    """After mtu_expires, here 2 s, the host has forgotten: its next large packet is refused again."""
    forgets(lab, 2)


@pytest.mark.slow
@pytest.mark.lab("ipv4-to-ipv6", mtu_expires=600)
def test_the_path_mtu_is_forgotten_after_ten_minutes(lab: Lab) -> None:
    """After ten minutes, the default, the host has forgotten: its next large packet is refused again."""
    forgets(lab, 600)


def forgets(lab: Lab, seconds: int) -> None:
    a = lab["a"]
    resolve(lab)
    with lab.capture("a:eth0", filter="icmp or icmp6") as wire:
        send_large(a)
        a.wait(lambda: known_path_mtus(a) == {FAR}, what="the MTU of both paths is known")
        a.wait(lambda: known_path_mtus(a) == {1500}, seconds + 10, "both are forgotten")
        send_large(a)
        *_, second, third, _fourth = wire.expect_in_order(*[(too_big, "a refusal")] * 4)
    assert third.frame.time - second.frame.time >= (seconds - 0.1) * 1e9  # kept in ticks of the kernel's clock


def known_path_mtus(host: Node) -> set[int]:
    return {known_path_mtu(host, to) for to in (B4, B6)}


def send_large(host: Node) -> None:
    for family, to, data in ((V4, B4, DATA4), (V6, B6, DATA6)):
        with host.socket(family, DGRAM) as sock:
            sockopts.discover_path_mtu(sock, sockopts.PMTUDISC_WANT)
            sock.sendto(data, (to, PORT))


# -- headers


@pytest.mark.lab("ipv4-to-ipv6")
def test_options_lengthen_ipv4s_header_and_follow_ipv6s(lab: Lab) -> None:
    """Options make IPv4's header longer; IPv6's has 40 bytes with and without, and names the header that follows."""
    resolve(lab)
    # Reports of multicast listeners have a header of options as well, and go elsewhere.
    with lab.capture("a:eth0", filter=f"(udp or ip6 proto 0) and (dst host {B4} or dst host {B6})") as wire:
        for options in (False, True):
            send_with(lab["a"], V4, B4, (socket.IPPROTO_IP, socket.IP_OPTIONS, OPTION4) if options else None)
            send_with(lab["a"], V6, B6, (socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, OPTION6) if options else None)
        wire.expect(lambda p: IPv6ExtHdrHopByHop in p, "the last")
        bare4, with4 = wire.all(lambda p: IP in p)
        bare6, with6 = wire.all(lambda p: IPv6 in p)
    assert (bare4[IP].ihl * 4, with4[IP].ihl * 4) == (20, 20 + len(OPTION4))
    assert [p.frame.length - 14 - p[IPv6].plen for p in (bare6, with6)] == [40, 40]
    assert (bare6[IPv6].nh, with6[IPv6].nh, with6[IPv6ExtHdrHopByHop].nh) == (17, 0, 17)


def send_with(host: Node, family: int, to: str, option: tuple[int, int, bytes] | None) -> None:
    with host.socket(family, DGRAM) as sock:
        if option:
            sock.setsockopt(*option)
        sock.sendto(b"options", (to, PORT))


@pytest.mark.lab("ipv4-to-ipv6")
def test_fragments_carry_a_header_of_their_own(lab: Lab) -> None:
    """An IPv6 fragment says so in a header of its own behind the 40 bytes; IPv4 has room for it in each header."""
    a = lab["a"]
    resolve(lab)
    with lab.capture("a:eth0", filter="ip6") as wire:
        a.run(["ping", "-c1", "-s3000", ROUTER6])
        first, *_rest = wire.all(lambda p: p.frame.sent and IPv6ExtHdrFragment in p)
    assert (first[IPv6].nh, first[IPv6ExtHdrFragment].nh) == (44, 58)
    assert (first[IPv6ExtHdrFragment].offset, first[IPv6ExtHdrFragment].m) == (0, 1)
    assert {"frag", "id"} <= {field.name for field in IP().fields_desc}
    assert not {"frag", "id", "chksum"} & {field.name for field in IPv6().fields_desc}


@pytest.mark.lab("ipv4-to-ipv6")
def test_a_router_recomputes_ipv4s_checksum_and_ipv6_has_none(lab: Lab) -> None:
    """On its way through the router IPv4 changes in TTL and header checksum, IPv6 in its hop limit alone."""
    assert changed_on_the_way(lab, B4, "icmp[icmptype] == 8") - {11} == {8, 10}  # 11: a carry, or none
    assert changed_on_the_way(lab, B6, "ip6[40] == 128") == {7}


def changed_on_the_way(lab: Lab, to: str, echo: str) -> set[int]:
    """The offsets of those bytes of an echo request, from its IP header on, that differ before and behind the router."""
    with lab.capture("router:left", "router:right", filter=echo) as wire:
        lab["a"].run(["ping", "-c1", "-W5", to])
        before = wire.expect(lambda p: p.frame.interface.device == "left", "the request before it").frame.data[14:]
        behind = wire.expect(lambda p: p.frame.interface.device == "right", "the request behind it").frame.data[14:]
    assert len(before) == len(behind)
    return {at for at, (old, new) in enumerate(zip(before, behind, strict=True)) if old != new}


@pytest.mark.lab("ipv4-to-ipv6")
def test_a_wrong_header_checksum_is_dropped(lab: Lab) -> None:
    """An IPv4 packet with a wrong header checksum is dropped by the router, one with the right one passes."""
    packet = IP(src=A4, dst=B4) / UDP(dport=PORT) / b"?"
    right = IP(bytes(packet))
    wrong = right.copy()
    wrong.chksum ^= 1
    assert (crosses(lab, wrong), crosses(lab, right)) == (False, True)
    assert lab["router"].counters()["IpInHdrErrors"] == 1


@pytest.mark.lab("ipv4-to-ipv6")
def test_udp_needs_its_checksum_over_ipv6(lab: Lab) -> None:
    """UDP with the checksum 0 arrives over IPv4 and is dropped over IPv6, unless the receiver takes it."""
    assert arrives_without_checksum(lab, V4, takes=False)
    assert not arrives_without_checksum(lab, V6, takes=False)
    assert arrives_without_checksum(lab, V6, takes=True)


def arrives_without_checksum(lab: Lab, family: int, takes: bool) -> bool:
    b, before = lab["b"], lab["b"].counters()["Udp6InCsumErrors"]
    with sending(lab, family, sockopts.PMTUDISC_WANT) as (sender, receiver, wire):
        sockopts.without_udp_checksum(sender)
        sockopts.without_udp_checksum(receiver, send=False, receive=takes)
        sender.sendto(b"bare", receiver.getsockname()[:2])
        assert wire.expect(lambda p: UDP in p, "the packet")[UDP].chksum == 0
        receiver.setblocking(False)
        got: list[bytes] = []

        def decided() -> bool:
            with contextlib.suppress(BlockingIOError):
                got.append(receiver.recv(9))
            return bool(got) or b.counters()["Udp6InCsumErrors"] > before

        b.wait(decided, what="it arrives or is counted as wrong")
    return bool(got)


# -- neighbours


@pytest.mark.lab("ipv4-to-ipv6")
def test_arp_asks_everybody_and_nd_a_group(lab: Lab) -> None:
    """ARP is a protocol of its own and asks everybody; neighbour discovery is ICMPv6 and asks a group, with hop limit 255."""
    a = lab["a"]
    a.run(["ip", "neighbour", "flush", "dev", "eth0"])
    with lab.capture("a:eth0", filter="arp or icmp6") as wire:
        for router in (ROUTER4, ROUTER6):
            a.run(["ping", "-c1", "-W5", router])
        by_arp = wire.expect(lambda p: ARP in p and p[ARP].op == 1, "the request")
        by_nd = wire.expect(lambda p: ICMPv6ND_NS in p and p[ICMPv6ND_NS].tgt == ROUTER6 and p.frame.sent, "the solicitation")
    assert (by_arp[Ether].dst, by_arp[Ether].type, IP in by_arp) == ("ff:ff:ff:ff:ff:ff", 0x0806, False)
    assert (by_nd[Ether].dst, by_nd[Ether].type) == ("33:33:ff:00:00:01", 0x86DD)
    assert (by_nd[IPv6].dst, by_nd[IPv6].nh, by_nd[IPv6].hlim) == ("ff02::1:ff00:1", 58, 255)


@pytest.mark.lab("ipv4-to-ipv6")
def test_only_the_router_of_the_link_is_believed(lab: Lab) -> None:
    """A router advertisement with a hop limit below 255 is ignored, though it is counted; with 255 it is believed."""
    a, made = lab["a"], from_mac(FEIGNED, lab["a"].mac("eth0"))
    a.sysctl["net.ipv6.conf.eth0.accept_ra"] = "1"
    for number, hop_limit in enumerate((64, 254, 255)):
        with pytest.raises(TimeoutError):
            a.wait(Addressed(made, usable=False), 0)
        advertise(lab["router"], hop_limit)
        a.wait(Counted("Icmp6InRouterAdvertisements", number + 1))
    a.wait(Addressed(made, usable=False))


def advertise(router: Node, hop_limit: int) -> None:
    told = ICMPv6ND_RA(routerlifetime=0) / ICMPv6NDOptPrefixInfo(prefix=FEIGNED.partition("/")[0], prefixlen=64, L=1, A=1)
    packet = IPv6(src=link_local(router, "left"), dst="ff02::1", hlim=hop_limit) / told
    router.send("left", bytes(Ether(src=router.mac("left"), dst="33:33:00:00:00:01") / packet))


@pytest.mark.lab("ipv4-to-ipv6")
def test_who_asks_from_afar_gets_no_answer(lab: Lab) -> None:
    """A neighbour solicitation with hop limit 254 gets no answer; the same with 255 gets one."""
    ours = link_local(lab["router"], "left")
    with lab.capture("a:eth0", filter="icmp6") as wire:
        solicit(lab, ROUTER6, 254)
        solicit(lab, ours, 255)  # its answer proves that none to the other one comes
        wire.never(answer_for(ROUTER6), "an answer", until=answer_for(ours))
        solicit(lab, ROUTER6, 255)
        wire.expect(answer_for(ROUTER6), "an answer")


def solicit(lab: Lab, target: str, hop_limit: int) -> None:
    a = lab["a"]
    question = ICMPv6ND_NS(tgt=target) / ICMPv6NDOptSrcLLAddr(lladdr=a.mac("eth0"))
    packet = IPv6(src=A6, dst=target, hlim=hop_limit) / question
    a.send("eth0", bytes(Ether(src=a.mac("eth0"), dst=lab["router"].mac("left")) / packet))


def answer_for(target: str) -> Any:
    return lambda p: ICMPv6ND_NA in p and p[ICMPv6ND_NA].tgt == target


# -- addresses


@pytest.mark.lab("ipv4-to-ipv6", slaac=1)
def test_a_host_finds_its_address_and_its_router(lab: Lab) -> None:
    """A host that is plugged in asks for routers from its link-local address, and makes its address from what one answers."""
    a, router = lab["a"], link_local(lab["router"], "left")
    with lab.capture("a:eth0", filter="icmp6") as wire:
        plug_in(a)
        asks, told = wire.expect_in_order(
            (lambda p: ICMPv6ND_RS in p, "a solicitation"), (lambda p: ICMPv6ND_RA in p, "an advertisement"), within=WITHIN
        )
    assert (asks[IPv6].src, asks[IPv6].dst, asks[IPv6].hlim) == (link_local(a, "eth0"), "ff02::2", 255)
    assert (told[IPv6].src, told[IPv6].hlim, told[ICMPv6NDOptPrefixInfo].prefix) == (router, 255, "2001:db8:1::")
    a.wait(Addressed(from_mac(PREFIX, a.mac("eth0"))))
    assert f"default via {router}" in a.run(["ip", "-6", "route"]).stdout
    a.run(["ping", "-c1", "-W5", B6])
    a.wait(Neighbour(router))


@pytest.mark.lab("ipv4-to-ipv6", slaac=1)
def test_without_a_router_there_is_a_link_local_address_alone(lab: Lab) -> None:
    """Without a router's answer a host asks again and has its link-local address alone, until an advertisement comes."""
    a, radvd = lab["a"], lab["router"].services["radvd"]
    radvd.kill()
    with lab.capture("a:eth0", filter="icmp6") as wire:
        plug_in(a)
        asks = (lambda p: ICMPv6ND_RS in p, "a solicitation")
        _first, second = wire.expect_in_order(asks, asks, within=WITHIN)
        wire.never(lambda p: ICMPv6ND_RA in p, "an advertisement", until=lambda p: p is second)
    assert a.run(["ip", "-6", "address", "show", "dev", "eth0", "scope", "global"]).stdout == ""
    a.wait(Addressed(link_local(a, "eth0")))
    radvd.start()
    a.wait(Addressed(from_mac(PREFIX, a.mac("eth0"))))


def plug_in(host: Node) -> None:
    """Takes the link down and raises it: what was learnt on it is forgotten."""
    for state in ("down", "up"):
        host.run(["ip", "link", "set", "eth0", state])
