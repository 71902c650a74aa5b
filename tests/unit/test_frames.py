"""Frames as `lab send` makes them, octet by octet, and which frame answers which."""

from __future__ import annotations

import ipaddress

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from lab.observe import frames
from lab.observe.frames import BROADCAST, Ends

OWN, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
V4 = Ends(OWN, BROADCAST, ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("10.0.0.2"))
V6 = Ends(OWN, OTHER, ipaddress.ip_address("2001:db8::1"), ipaddress.ip_address("2001:db8::2"))
ARP_OF_V4 = "080600010800060400010200000000010a0000010000000000000a000002"
HEADER = "ffffffffffff020000000001"


@pytest.mark.parametrize(
    ("tags", "between"),
    [
        ((), ""),
        (((7, 5),), "8100a007"),
        (((0, 7),), "8100e000"),
        (((100, 0), (7, 5)), "88a800648100a007"),
        (((1, 1), (2, 2), (3, 3)), "88a8200188a8400281006003"),
    ],
)
def test_an_arp_request_with_its_tags_octet_by_octet(tags: tuple[frames.Tag, ...], between: str) -> None:
    assert bytes(frames.arp(V4, tags)).hex() == HEADER + between + ARP_OF_V4


def test_without_an_address_of_ones_own_an_arp_request_is_a_probe() -> None:
    assert frames.arp(Ends(OWN, BROADCAST, None, V4.to))[ARP].psrc == "0.0.0.0"


def test_an_echo_request_has_the_family_of_whom_it_is_for_and_its_number() -> None:
    assert IP in Ether(bytes(frames.echo(V4, number=3)))
    assert Ether(bytes(frames.echo(V4, number=3)))[ICMP].seq == 3
    assert Ether(bytes(frames.echo(V6, ((7, 5),), 3)))[Dot1Q].type == 0x86DD


def test_a_datagram_has_a_port_and_a_checksum_of_either_family() -> None:
    for ends in (V4, V6):
        made = Ether(bytes(frames.udp(ends, 53)))
        again = Ether(bytes(made))
        del again[UDP].chksum
        assert made[UDP].dport == 53
        assert made[UDP].chksum == Ether(bytes(again))[UDP].chksum != 0


RAW = bytes.fromhex("ffffffffffff02000000000988b500ff")


@pytest.mark.parametrize(
    ("source", "destination", "tags", "made"),
    [
        (None, None, (), "ffffffffffff02000000000988b500ff"),
        (OWN, OTHER, (), "02000000000202000000000188b500ff"),
        (None, None, ((7, 5),), "ffffffffffff0200000000098100a00788b500ff"),
        (None, None, ((9, 0), (7, 5)), "ffffffffffff02000000000988a800098100a00788b500ff"),
    ],
)
def test_a_raw_frame_stays_as_it_is_but_for_what_was_said(
    source: str | None, destination: str | None, tags: tuple[frames.Tag, ...], made: str
) -> None:
    assert bytes(frames.raw(RAW, source, destination, tags)).hex() == made


def test_octets_that_are_no_frame_are_refused() -> None:
    with pytest.raises(ValueError, match="14 octets, not 13"):
        frames.raw(RAW[:13], None, None)


def reply(to: str = "10.0.0.2", op: int = 2) -> Ether:
    return Ether(src=OTHER, dst=OWN) / ARP(op=op, psrc=to, pdst="10.0.0.1", hwsrc=OTHER, hwdst=OWN)


def test_an_answer_is_one_whatever_the_tags_of_either_are() -> None:
    asked = frames.arp(V4, ((7, 5),))
    assert frames.answers(reply(), asked)
    assert frames.answers(Ether() / Dot1Q(vlan=9) / reply()[ARP], asked)
    assert not frames.answers(reply("10.0.0.3"), asked)
    assert not frames.answers(reply(op=1), asked)


def test_an_error_about_what_was_sent_is_an_answer() -> None:
    sent = Ether(bytes(frames.udp(V6, 53)))
    error = Ether(bytes(Ether() / IPv6(src="2001:db8::2", dst="2001:db8::1") / ICMPv6DestUnreach(code=4) / sent[IPv6]))
    assert frames.answers(error, sent)
    assert not frames.answers(Ether() / IPv6(src="2001:db8::3", dst="2001:db8::1") / ICMPv6EchoReply(), sent)


def test_the_tags_of_a_frame_are_told_beside_what_it_is() -> None:
    assert frames.in_words(frames.arp(V4)) == "Ether / ARP who has 10.0.0.2 says 10.0.0.1"
    said = frames.in_words(Ether(bytes(frames.arp(V4, ((100, 1), (7, 5))))))
    assert said.endswith("(VLAN 100, priority 1; VLAN 7, priority 5)")
