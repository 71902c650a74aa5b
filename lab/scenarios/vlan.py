"""VLANs of one cable: access and trunk ports, a provider's tag around ours, the MTU beneath tags, and priorities.

A switch puts each frame into a VLAN where it comes in, and lets it out by the ports of that VLAN alone; a tag (IEEE 802.1Q)
says which one it is where a port carries several (net/bridge/br_vlan.c). What a port lets out without a tag, its native VLAN,
is known at the other end by that end's own setting: where the two differ frames change their VLAN on the way, and a tag beneath
comes to light. Tags cost room: a device lets frames pass that exceed its MTU by one tag (net/core/dev.c, is_skb_forwardable),
and the outermost one does not count where it travels beside the frame. And a tag has a priority, which is none of the packet's
own unless somebody maps the one to the other (net/8021q/vlan_dev.c).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether

from lab import Lab
from lab.observe.wire import Packet, on_one_processor

EVERYBODY, EXPERIMENT = "ff:ff:ff:ff:ff:ff", 0x88B5  # IEEE 802: the first EtherType for local experiments
HEARERS = ("a:eth0", "b:eth0", "c:eth0", "d:eth0", "router:eth0")
PORT = 7474
TAG = 4  # bytes
Report = Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]
Tags = tuple[tuple[str, int], ...]
"""From the outermost one on: its protocol and VLAN."""


def frame(lab: Lab, sender: str, mark: bytes, *tags: Any) -> bytes:
    """A broadcast with a mark that says which one it is."""
    packet: Any = Ether(src=lab[sender].mac("eth0"), dst=EVERYBODY)
    for tag in tags:
        packet = packet / tag
    packet.lastlayer().type = EXPERIMENT
    return bytes(packet / mark.rjust(64, b"\0"))


def is_marked(packet: Packet, mark: bytes) -> bool:
    return packet.frame.data.endswith(mark)


def tags_of(packet: Packet) -> Tags:
    """A frame as it is on the wire."""
    found, layer = [], packet.whole.payload
    while isinstance(layer, (Dot1Q, Dot1AD)):
        found.append(("802.1ad" if isinstance(layer, Dot1AD) else "802.1Q", int(layer.vlan)))
        layer = layer.payload
    return tuple(found)


def heard(lab: Lab, sender: str, *tags: Any) -> dict[str, Tags]:
    """Who receives a broadcast of `sender`'s, and by which tags.

    Frames that leave one processor one after another stay in order, so that each has come where it goes before a later one
    has (net/core/dev.c, the backlog of a processor)."""
    with lab.capture(*HEARERS) as wire, on_one_processor():
        lab[sender].send("eth0", frame(lab, sender, b"asked", *tags))
        lab["d"].send("eth0", frame(lab, "d", b"later"))
        wire.expect(lambda p: is_marked(p, b"later") and p.frame.interface.node == "router", "a later one")
        got = [p for p in wire.packets if is_marked(p, b"asked") and not p.frame.sent]
    return {p.frame.interface.node: tags_of(p) for p in got}


def cable(lab: Lab) -> str:
    """An end of the cable between the two sides."""
    return "west:east" if lab.record.params["provider"] != "none" else "left:right"


def on_cable(lab: Lab, sender: str, *tags: Any) -> Tags:
    """The tags that a broadcast has there."""
    with lab.capture(cable(lab)) as wire:
        lab[sender].send("eth0", frame(lab, sender, b"asked", *tags))
        return tags_of(wire.expect(lambda p: is_marked(p, b"asked"), "the frame on the cable"))


Q7, Q9, Q1 = ("802.1Q", 7), ("802.1Q", 9), ("802.1Q", 1)


# -- ports


@pytest.mark.lab("vlan")
def test_hosts_of_one_vlan_hear_each_other_alone(lab: Lab) -> None:
    """Hosts at access ports of one VLAN hear each other over both switches, and nobody of the other; the router hears tags."""
    assert heard(lab, "a") == {"c": (), "router": (Q7,)}
    assert heard(lab, "d") == {"b": (), "router": (Q9,)}


@pytest.mark.lab("vlan")
def test_a_tag_says_which_vlan_only_where_there_are_several(lab: Lab) -> None:
    """Frames have the tag of their VLAN on the cable between the switches, where another one travels too, and none at hosts."""
    assert (on_cable(lab, "a"), on_cable(lab, "b")) == ((Q7,), (Q9,))
    assert heard(lab, "c")["a"] == ()


@pytest.mark.lab("vlan")
def test_a_trunk_sorts_by_the_tag(lab: Lab) -> None:
    """What comes in by a trunk port goes where its tag says; without a tag, or with that of another VLAN, it goes nowhere."""
    assert heard(lab, "router", Dot1Q(vlan=7)) == {"a": (), "c": ()}
    assert heard(lab, "router", Dot1Q(vlan=9)) == {"b": (), "d": ()}
    assert (heard(lab, "router"), heard(lab, "router", Dot1Q(vlan=8))) == ({}, {})


@pytest.mark.lab("vlan")
def test_an_access_port_takes_no_tag_but_its_own(lab: Lab) -> None:
    """An access port takes frames with the tag of its own VLAN as well as those without, and drops those with another."""
    assert heard(lab, "b", Dot1Q(vlan=9)) == heard(lab, "b") == {"d": (), "router": (Q9,)}
    assert heard(lab, "b", Dot1Q(vlan=7)) == {}


# -- the native VLAN


@pytest.mark.lab("vlan", native=9)
def test_the_native_vlan_has_no_tag_on_the_cable(lab: Lab) -> None:
    """Frames of the cable's native VLAN have no tag there, and are in that VLAN again at its end."""
    assert (on_cable(lab, "b"), on_cable(lab, "a")) == ((), (Q7,))
    assert heard(lab, "b") == {"d": (), "router": (Q9,)}


@pytest.mark.lab("vlan", native=9, native_right=7)
def test_a_native_vlan_that_differs_leads_from_one_vlan_into_another(lab: Lab) -> None:
    """Where the two ends of a cable have different native VLANs, frames of the one come out in the other, and back."""
    assert heard(lab, "b") == {"c": (), "router": (Q7,)}
    assert heard(lab, "c") == {"b": (), "router": (Q7,)}


@pytest.mark.lab("vlan", native=9)
def test_a_second_tag_hops_into_another_vlan_by_the_native_one(lab: Lab) -> None:
    """A host of the native VLAN reaches another VLAN by a second tag beneath its own, which the cable's far end obeys."""
    assert heard(lab, "b", Dot1Q(vlan=9), Dot1Q(vlan=7)) == {"c": (), "router": (Q7,)}


@pytest.mark.lab("vlan")
def test_a_native_vlan_of_nobody_prevents_the_hop(lab: Lab) -> None:
    """With a native VLAN that no host is in, the second tag stays beneath the first one, in the sender's own VLAN."""
    assert heard(lab, "b", Dot1Q(vlan=9), Dot1Q(vlan=7)) == {"d": (Q7,), "router": (Q9, Q7)}


# -- a provider in between


@pytest.mark.lab("vlan", provider="802.1ad")
def test_a_provider_carries_all_vlans_in_one_of_its_own(lab: Lab) -> None:
    """A provider's switches (802.1ad) put one tag around whatever comes, tagged or not, and take it off at the other side."""
    outer = ("802.1ad", 100)
    assert (on_cable(lab, "a"), on_cable(lab, "b")) == ((outer, Q7), (outer, Q9))
    assert (heard(lab, "a"), heard(lab, "d")) == ({"c": (), "router": (Q7,)}, {"b": (), "router": (Q9,)})


@pytest.mark.lab("vlan", provider="802.1Q")
def test_switches_between_that_know_the_same_tag_take_it_for_their_own(lab: Lab) -> None:
    """Switches in between whose own tags are 802.1Q, too, take ours for theirs, and drop what is in no VLAN of the port."""
    assert (heard(lab, "a"), heard(lab, "b")) == ({}, {})


# -- the MTU


@pytest.mark.lab("vlan")
def test_a_cable_of_1500_carries_1500_bytes_with_a_tag(lab: Lab, report_table: Report) -> None:
    """A cable of MTU 1500 lets packets of 1500 bytes pass with a tag, and even of 1504: the tag's room, unused by the tag."""
    largest_passes(lab, report_table, spare=TAG)


@pytest.mark.lab("vlan", provider="802.1ad")
def test_a_second_tag_takes_the_room_of_the_first(lab: Lab, report_table: Report) -> None:
    """With two tags the same cable lets packets of 1500 bytes pass, and not one byte more."""
    largest_passes(lab, report_table, spare=0)


def largest_passes(lab: Lab, report_table: Report, spare: int) -> None:
    mtu, tags = int(lab.record.params["mtu"]), len(on_cable(lab, "a"))  # type: ignore[call-overload]
    largest = largest_that_passes(lab, "a", "c", range(mtu - 2 * TAG, mtu + 2 * TAG + 1))
    columns = ("tags on the cable", "MTU", "largest that passes", "of these, with the tags")
    report_table("packets in bytes, behind the Ethernet header", columns, [(tags, mtu, largest, largest + tags * TAG)])
    assert largest == 1500 + spare


def largest_that_passes(lab: Lab, sender: str, receiver: str, sizes: Iterable[int]) -> int:
    """In bytes behind the Ethernet header. Nobody says of the others that they are too large."""
    head = bytes(Ether(src=lab[sender].mac("eth0"), dst=EVERYBODY, type=EXPERIMENT))
    with lab.capture(f"{receiver}:eth0", filter=f"ether proto {EXPERIMENT:#x}") as wire:
        for size in (*sizes, 64):
            lab[sender].send("eth0", head + bytes(size))
        wire.expect(lambda p: p.frame.length == len(head) + 64, "a small one, sent last")
    return max(p.frame.length for p in wire.packets) - len(head)


@pytest.mark.lab("vlan")
def test_a_device_of_1496_says_so_to_who_sends_by_it(lab: Lab) -> None:
    """A VLAN device whose MTU leaves room for its tag refuses 1500 bytes at once: who sends is told, instead of guessing."""
    router = lab["router"]
    sent = {}
    for mtu in (1500, 1496):
        router.run(["ip", "link", "set", "eth0.7", "mtu", str(mtu)])
        sent[mtu] = router.run(["ping", "-c1", "-W5", "-M", "do", "-s", str(1500 - 28), "10.0.7.3"], check=False)
    assert (sent[1500].status, sent[1496].status) == (0, 1)
    assert "message too long, mtu=1496" in sent[1496].stdout + sent[1496].stderr


# -- priorities


@pytest.mark.lab("vlan")
def test_the_priority_of_a_packet_becomes_that_of_its_tag_by_the_map(lab: Lab) -> None:
    """The map of what goes out gives the tag its priority by that of the packet (SO_PRIORITY); what it does not name gets 0."""
    with lab.capture("router:eth0") as wire:
        for priority in (0, 3, 5, 6):
            say(lab, priority)
        wire.expect_in_order(*[(is_said_with(priority), f"priority {priority}") for priority in (0, 3, 5, 6)])
        said = {int(p[UDP].load[:1]): p[Dot1Q].prio for p in wire.all(lambda p: UDP in p)}
    assert said == {0: 0, 3: 5, 5: 0, 6: 4}


def say(lab: Lab, priority: int) -> None:
    with lab["router"].socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, priority)
        sock.sendto(str(priority).encode(), ("10.0.7.3", PORT))


def is_said_with(priority: int) -> Callable[[Packet], bool]:
    return lambda p: UDP in p and p[UDP].load[:1] == str(priority).encode()


@pytest.mark.lab("vlan")
def test_a_priority_without_a_vlan_travels_on_in_that_of_the_port(lab: Lab) -> None:
    """A tag of VLAN 0 at an access port is a priority alone: the frame gets into the port's VLAN and keeps its priority."""
    with lab.capture(cable(lab)) as wire:
        lab["a"].send("eth0", frame(lab, "a", b"asked", Dot1Q(vlan=0, prio=5)))
        seen = wire.expect(lambda p: is_marked(p, b"asked"), "the frame on the cable")
    assert (seen[Dot1Q].vlan, seen[Dot1Q].prio) == (7, 5)


@pytest.mark.lab("vlan")
def test_the_priority_of_a_tag_passes_an_ipv6_router_by_both_maps(lab: Lab) -> None:
    """By the map of what comes in a tag's priority becomes the packet's, and in the next VLAN a tag's again: over IPv6."""
    packet = IPv6(src="2001:db8:7::1", dst="2001:db8:9::2") / UDP(dport=PORT)
    assert {prio: routed(lab, packet, prio) for prio in (0, 2, 7)} == {0: 0, 2: 5, 7: 0}


@pytest.mark.lab("vlan")
def test_an_ipv4_router_takes_the_priority_from_the_packet_instead(lab: Lab) -> None:
    """Over IPv4 the same router goes by the packet's type of service, whatever priority its tag had (ip_forward)."""
    found = {}
    for tos in (0x00, 0x10):
        for prio in (0, 2):
            found[tos, prio] = routed(lab, IP(src="10.0.7.1", dst="10.0.9.2", tos=tos) / UDP(dport=PORT), prio)
    assert found == {(0x00, 0): 0, (0x00, 2): 0, (0x10, 0): 4, (0x10, 2): 4}


def routed(lab: Lab, packet: Any, prio: int) -> int:
    """The priority with which a packet leaves in VLAN 9 that came in by VLAN 7 with `prio`."""
    head = Ether(src=lab["a"].mac("eth0"), dst=lab["router"].mac("eth0.7")) / Dot1Q(vlan=0, prio=prio)
    with lab.capture("router:eth0") as wire:
        lab["a"].send("eth0", bytes(head / packet / b"routed"))
        came = wire.expect(lambda p: is_routed(p, 7), "the packet in VLAN 7")
        left = wire.expect(lambda p: is_routed(p, 9), "the packet in VLAN 9")
    assert came[Dot1Q].prio == prio
    return int(left[Dot1Q].prio)


def is_routed(packet: Packet, vlan: int) -> bool:
    return packet.frame.data.endswith(b"routed") and Dot1Q in packet and packet[Dot1Q].vlan == vlan
