"""The reverse path filter: one address in two LANs, and which interface answers there.

A host has the same address on two interfaces, each in a LAN of its own, which is allowed; and yet only the interface that
was raised first answers ARP. The kernel looks the sender of a request up in its routing table, finds the connected route
that was added first, and refuses what did not come in by that interface (rp_filter, RFC 3704; net/ipv4/fib_frontend.c,
fib_validate_source). The filter in force is the greater of conf.all's and the interface's own. What a router passes on is
filtered in the same way, which breaks asymmetric paths: a question that comes in where its answer does not go out.

A text of 2012 tells of the two LANs as VLANs on one cable (lan=vlan; the last checks are about these), and finds the reason in
the kernel's log alone; today it shows in /proc/net/stat/rt_cache as well, and for IP in TcpExtIPReversePathFilter, which never
counts ARP.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from lab import Lab, Node
from lab.observe import kmsg
from lab.observe.conditions import Carrier, Counted, Gone
from lab.observe.wire import Packet, on_one_processor

ADDRESS, PORT = "192.168.122.74", 7474
INSIDE = "10.0.0.2"
STRANGER = "198.51.100.1"
COUNTER = "TcpExtIPReversePathFilter"
WITHIN = 5.0  # seconds, for what takes microseconds, or a few if the kernel must repeat an ARP request


@dataclass(frozen=True)
class Side:
    """One of the two LANs: the asker's interface there with its address, and the target's."""

    foot: str
    address: str
    device: str


def sides(lab: Lab) -> tuple[Side, ...]:
    """Both, in the order of the target's connected routes: the first is its way back to whoever asks."""
    table = lab["target"].inside(Path("/proc/thread-self/net/route").read_text)
    here = f"{int.from_bytes(socket.inet_aton('192.168.122.0'), sys.byteorder):08X}"  # as the file has it
    devices = [device for device, to, *_ in map(str.split, table.splitlines()[1:]) if to == here]
    feet = zip(sorted(devices), (("a", "192.168.122.1"), ("b", "192.168.122.2")), strict=True)
    by_device = {device: Side(*foot, device) for device, foot in feet}
    return tuple(by_device[device] for device in devices)


def answers(lab: Lab, side: Side, sender: str | None = None) -> bool:
    """Whether the target answers an ARP request there, by that very interface; silence is proven, not timed."""
    macs = lab["asker"].who_has(side.foot, ADDRESS, sender)
    assert set(macs) <= {lab["target"].mac(side.device)}, "somebody else answered"
    return bool(macs)


def who_answers(lab: Lab) -> list[str]:
    return [side.device for side in sides(lab) if answers(lab, side)]


def set_filter(target: Node, value: int, *devices: str) -> None:
    for device in devices:
        target.sysctl[f"net.ipv4.conf.{device}.rp_filter"] = str(value)


@pytest.mark.lab("rp-filter", rp_filter=1)
def test_only_the_interface_of_the_first_route_answers(lab: Lab) -> None:
    """With rp_filter=1 only the interface whose connected route comes first answers ARP."""
    first, _second = sides(lab)
    assert who_answers(lab) == [first.device]


@pytest.mark.lab("rp-filter", rp_filter=0)
def test_without_the_filter_both_answer(lab: Lab) -> None:
    """With rp_filter=0 both interfaces answer."""
    assert who_answers(lab) == [side.device for side in sides(lab)]


@pytest.mark.lab("rp-filter", rp_filter=2)
def test_with_the_loose_filter_both_answer(lab: Lab) -> None:
    """With rp_filter=2 both interfaces answer."""
    assert who_answers(lab) == [side.device for side in sides(lab)]


@pytest.mark.lab("rp-filter", rp_filter=2)
def test_the_loose_filter_wants_some_way_back(lab: Lab) -> None:
    """With rp_filter=2 a sender that no route leads back to gets no answer; with 0 it gets one."""
    first, _second = sides(lab)
    assert not answers(lab, first, STRANGER)
    set_filter(lab["target"], 0, first.device)
    assert answers(lab, first, STRANGER)


@pytest.mark.lab("rp-filter", rp_filter=1)
def test_swapping_the_routes_swaps_who_answers(lab: Lab) -> None:
    """Swapping the order of the two connected routes swaps who answers."""
    first, second = sides(lab)
    assert who_answers(lab) == [first.device]
    for change in ("del", "add"):  # the route goes with the address, and comes back behind the other one
        lab["target"].run(["ip", "address", change, f"{ADDRESS}/24", "dev", first.device])
    assert sides(lab) == (second, first)
    assert who_answers(lab) == [second.device]


@pytest.mark.lab("rp-filter", rp_filter=1)
def test_the_greater_of_all_and_the_device_is_in_force(lab: Lab) -> None:
    """The filter in force is the greater of conf.all's and the interface's own, so that all=2 loosens a strict interface."""
    _first, second = sides(lab)
    in_force = {}
    for everywhere, own in ((0, 0), (0, 1), (1, 0), (2, 1), (2, 0)):
        set_filter(lab["target"], everywhere, "all")
        set_filter(lab["target"], own, second.device)
        in_force[everywhere, own] = answers(lab, second)
    assert in_force == {(0, 0): True, (0, 1): False, (1, 0): False, (2, 1): True, (2, 0): True}


@pytest.mark.needs("martian_log")
@pytest.mark.lab("rp-filter", rp_filter=1, log_martians=1)
def test_log_martians_names_the_refused_request(lab: Lab, kernel_log: kmsg.Log) -> None:
    """With log_martians the kernel logs the refused request, and the header behind that line carries the asker's MAC."""
    _first, wrong = sides(lab)

    def ask() -> None:
        assert not answers(lab, wrong)

    martian, *_ = logged(kernel_log, lab["asker"].mac(wrong.foot), ask)
    assert (martian.to, martian.sender, martian.device) == (ADDRESS, wrong.address, wrong.device)


@pytest.mark.needs("martian_log")
@pytest.mark.lab("rp-filter", rp_filter=1, log_martians=0)
def test_without_log_martians_the_log_is_silent(lab: Lab, kernel_log: kmsg.Log) -> None:
    """Without log_martians the same refusal leaves no line."""
    _first, wrong = sides(lab)

    def ask_silently_then_aloud() -> None:
        """The second one's line shows that the kernel's rate limit would have let the first one's pass."""
        for aloud, sender in ((0, "192.168.122.250"), (1, "192.168.122.251")):
            lab["target"].sysctl[f"net.ipv4.conf.{wrong.device}.log_martians"] = str(aloud)
            assert not answers(lab, wrong, sender)

    found = logged(kernel_log, lab["asker"].mac(wrong.foot), ask_silently_then_aloud)
    assert {martian.sender for martian in found} == {"192.168.122.251"}


def logged(log: kmsg.Log, mac: str, provoke: Callable[[], object]) -> tuple[kmsg.Martian, ...]:
    """The martians whose frames came from `mac`; other labs' and the host's carry other addresses."""
    return log.wait(lambda entries: kmsg.martians(entries, {mac}), provoke, f"a martian from {mac}")


@pytest.mark.lab("rp-filter", rp_filter=1)
def test_a_refused_request_does_not_count(lab: Lab) -> None:
    """A refused ARP request does not count in TcpExtIPReversePathFilter, only in in_martian_src of /proc/net/stat/rt_cache."""
    _first, wrong = sides(lab)
    target = lab["target"]
    before = martian_sources(target)
    assert not answers(lab, wrong)
    assert target.counters()[COUNTER] == 0
    assert martian_sources(target) > before


def martian_sources(node: Node) -> int:
    """The whole host's, over all processors: it may count more than this lab's (net/ipv4/route.c, rt_cache_stat)."""
    names, *rows = node.inside(Path("/proc/thread-self/net/stat/rt_cache").read_text).splitlines()
    column = names.split().index("in_martian_src")
    return sum(int(row.split()[column], 16) for row in rows)


@pytest.mark.lab("rp-filter", rp_filter=1)
def test_an_ip_packet_from_the_wrong_side_counts(lab: Lab) -> None:
    """An IP packet from the wrong side is dropped and counts in TcpExtIPReversePathFilter; without the filter it arrives."""
    target, (first, wrong) = lab["target"], sides(lab)
    with arriving(target) as receiver:
        set_filter(target, 0, first.device, wrong.device)
        send(lab["asker"], wrong, b"unfiltered")  # also resolves the MAC address: the filter would eat that request too
        assert receiver.recv(64) == b"unfiltered"
        assert target.counters()[COUNTER] == 0
        set_filter(target, 1, first.device, wrong.device)
        send(lab["asker"], wrong, b"filtered")
        target.wait(lambda: target.counters()[COUNTER] == 1, WITHIN, f"{COUNTER} is 1")
        send(lab["asker"], first, b"from the right side")
        assert receiver.recv(64) == b"from the right side"


@pytest.mark.lab("rp-filter", rp_filter=1)
def test_the_counter_counts_ip_and_never_arp(lab: Lab) -> None:
    """Of three ARP requests and three IP packets that are refused, TcpExtIPReversePathFilter counts three."""
    target, (_first, wrong) = lab["target"], sides(lab)
    assert [answers(lab, wrong) for _ in range(3)] == [False] * 3
    assert target.counters()[COUNTER] == 0
    resolve(lab)
    for number in range(3):
        send(lab["asker"], wrong, b"refused")
        target.wait(Counted(COUNTER, number + 1), WITHIN)
    assert [answers(lab, wrong) for _ in range(3)] == [False] * 3
    assert target.counters()[COUNTER] == 3


@pytest.mark.lab("rp-filter", rp_filter=1)
def test_a_route_without_carrier_still_refuses_unless_it_is_ignored(lab: Lab) -> None:
    """A first route without carrier silences the other interface until ignore_routes_with_linkdown is 1, its own or of all."""
    target, (first, second) = lab["target"], sides(lab)
    if lab.record.params["lan"] == "vlan":
        pytest.skip("lan=vlan: both LANs lose their carrier at once, which is that of their one cable")
    lab[f"lan-{first.foot}"].run(["ip", "link", "set", f"target-{first.device}", "down"])
    target.wait(Gone(Carrier(first.device)))
    answered = {}
    for device in (second.device, first.device, "all"):
        for ignored in (0, 1):
            target.sysctl[f"net.ipv4.conf.{device}.ignore_routes_with_linkdown"] = str(ignored)
            answered[device, ignored] = answers(lab, second)
        target.sysctl[f"net.ipv4.conf.{device}.ignore_routes_with_linkdown"] = "0"
    helps = {(first.device, 1), ("all", 1)}  # the interface whose route it is, or all
    assert answered == {setting: setting in helps for setting in answered}


@pytest.mark.lab("rp-filter", rp_filter=1, forwards=1)
def test_a_strict_router_drops_what_comes_in_by_another_way(lab: Lab) -> None:
    """A router with rp_filter=1 passes on what comes in where its answer would go out, and drops what comes in elsewhere."""
    first, wrong = sides(lab)
    assert (passed_on(lab, first), passed_on(lab, wrong)) == (True, False)


@pytest.mark.lab("rp-filter", rp_filter=2, forwards=1)
def test_a_loose_router_carries_an_asymmetric_conversation(lab: Lab) -> None:
    """A router with rp_filter=2 carries a conversation whose questions come by one LAN and whose answers leave by the other."""
    carries_an_asymmetric_conversation(lab)


@pytest.mark.lab("rp-filter", rp_filter=0, forwards=1)
def test_a_router_without_the_filter_carries_an_asymmetric_conversation(lab: Lab) -> None:
    """A router with rp_filter=0 carries the same conversation."""
    carries_an_asymmetric_conversation(lab)


def carries_an_asymmetric_conversation(lab: Lab) -> None:
    first, wrong = sides(lab)
    resolve(lab)
    with lab.capture(f"asker:{first.foot}", f"asker:{wrong.foot}", filter="icmp") as wire:
        lab["asker"].run(["ip", "route", "add", f"{INSIDE}/32", "via", ADDRESS, "dev", wrong.foot])
        lab["asker"].run(["ping", "-c1", "-W5", "-I", wrong.address, INSIDE])
        ways = wire.expect_in_order((lambda p: p[ICMP].type == 8, "a request"), (lambda p: p[ICMP].type == 0, "its reply"))
    assert [packet.frame.interface.device for packet in ways] == [wrong.foot, first.foot]
    assert lab["target"].counters()[COUNTER] == 0


@pytest.mark.lab("rp-filter", rp_filter=2, forwards=1)
def test_a_loose_router_wants_some_way_back(lab: Lab) -> None:
    """A router with rp_filter=2 drops a packet whose sender no route leads back to; with 0 it passes it on."""
    first, _second = sides(lab)
    assert not passed_on(lab, first, STRANGER)
    set_filter(lab["target"], 0, first.device)
    assert passed_on(lab, first, STRANGER)


@pytest.mark.lab("rp-filter", rp_filter=1, forwards=1)
def test_a_route_back_is_the_cure_of_a_strict_router(lab: Lab) -> None:
    """A router with rp_filter=1 passes on what comes in elsewhere once a route to its sender leads there."""
    _first, wrong = sides(lab)
    assert not passed_on(lab, wrong)
    lab["target"].run(["ip", "route", "add", f"{wrong.address}/32", "dev", wrong.device])
    assert passed_on(lab, wrong)


@pytest.mark.lab("rp-filter", rp_filter=1, forwards=1)
def test_the_greater_of_all_and_the_device_filters_forwarded_traffic(lab: Lab) -> None:
    """What a router passes on is filtered by the greater of conf.all's and the interface's own, too, and drops are counted."""
    _first, wrong = sides(lab)
    passed = {}
    for everywhere, own in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)):
        set_filter(lab["target"], everywhere, "all")
        set_filter(lab["target"], own, wrong.device)
        passed[everywhere, own] = passed_on(lab, wrong)
    assert passed == {pair: max(pair) != 1 for pair in passed}
    assert lab["target"].counters()[COUNTER] == list(passed.values()).count(False)


def passed_on(lab: Lab, side: Side, sender: str | None = None) -> bool:
    """Whether a packet that the asker sends on this side reaches the host behind the target, or is counted as refused."""
    target, asker, before = lab["target"], lab["asker"], lab["target"].counters()[COUNTER]
    resolve(lab)
    if sender:
        asker.run(["ip", "address", "replace", f"{sender}/32", "dev", "lo"])
    with arriving(lab["inside"], INSIDE) as receiver:
        send(asker, side, b"forwarded", INSIDE, sender)
        end = f"the packet arrives, or {COUNTER} moves"
        target.wait(lambda: waits(receiver) or target.counters()[COUNTER] > before, WITHIN, end)
        return waits(receiver)


def waits(receiver: socket.socket) -> bool:
    """Whether a packet is there to be read."""
    return bool(select.select([receiver], [], [], 0)[0])


def resolve(lab: Lab) -> None:
    """Tells the asker the target's MAC addresses, which it could not find out: the filter eats those requests too."""
    for side in sides(lab):
        to = ("lladdr", lab["target"].mac(side.device), "dev", side.foot, "nud", "permanent")
        lab["asker"].run(["ip", "neighbour", "replace", ADDRESS, *to])


@contextlib.contextmanager
def arriving(node: Node, address: str = ADDRESS) -> Iterator[socket.socket]:
    with node.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(WITHIN)
        sock.bind((address, PORT))
        yield sock


def send(asker: Node, side: Side, what: bytes, to: str = ADDRESS, sender: str | None = None) -> None:
    with asker.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, side.foot.encode())
        sock.bind((sender or side.address, 0))
        sock.sendto(what, (to, PORT))


# -- two VLANs on one cable


TAGS = {"eth0.7": 7, "eth0.9": 9}
PRIORITIES = range(8)
NOBODY = "0.0.0.0"


@pytest.mark.lab("rp-filter", lan="vlan", rp_filter=1)
def test_of_two_tagged_requests_the_first_vlan_s_is_answered(lab: Lab) -> None:
    """Of two ARP requests, tagged with one VLAN and the other, the one is answered, and the answer has its tag."""
    first, _second = sides(lab)
    answered = {tag: ask_tagged(lab, tag) for tag in TAGS.values()}
    assert answered == {tag: tag == TAGS[first.device] for tag in TAGS.values()}


@pytest.mark.lab("rp-filter", lan="vlan", rp_filter=1)
def test_the_priority_of_a_tag_changes_nothing(lab: Lab) -> None:
    """Whatever priority the tag of the request has, the same VLAN's is answered, and the answer's own priority is 0."""
    first, _second = sides(lab)
    answered = {(tag, priority): ask_tagged(lab, tag, priority) for tag in TAGS.values() for priority in PRIORITIES}
    assert answered == {(tag, priority): tag == TAGS[first.device] for tag, priority in answered}


@pytest.mark.lab("rp-filter", lan="vlan", rp_filter=1, first="b")
def test_raised_in_the_other_order_the_other_vlan_s_is_answered(lab: Lab) -> None:
    """Where eth0.9 was raised first it is the one that answers."""
    assert (ask_tagged(lab, 7), ask_tagged(lab, 9)) == (False, True)


@pytest.mark.lab("rp-filter", lan="vlan", rp_filter=1)
def test_the_order_of_raising_decides(lab: Lab) -> None:
    """Lowered and raised again in either order, the VLAN device that was raised first answers."""
    for order in (["eth0.9", "eth0.7"], ["eth0.7", "eth0.9"]):
        for state, devices in (("down", order), ("up", order)):
            for device in devices:
                lab["target"].run(["ip", "link", "set", device, state])
        assert [side.device for side in sides(lab)] == order
        assert [ask_tagged(lab, TAGS[device]) for device in order] == [True, False]


@pytest.mark.lab("rp-filter", lan="vlan", rp_filter=1)
def test_a_tag_that_no_device_has_is_nobody_s(lab: Lab) -> None:
    """A request with the tag of a VLAN that no device is for is not answered."""
    assert not ask_tagged(lab, 8, proof=TAGS[sides(lab)[0].device])


@pytest.mark.lab("rp-filter", lan="vlan", rp_filter=1)
def test_without_a_tag_the_device_beneath_answers(lab: Lab) -> None:
    """Without a tag the device beneath answers, which has no address itself: the host's are everybody's, but for its filter."""
    proof = TAGS[sides(lab)[0].device]
    answered = {}
    for value in (0, 1):
        set_filter(lab["target"], value, "eth0")
        answered[value] = ask_tagged(lab, None, proof=proof)
    assert answered == {0: True, 1: False}


def ask_tagged(lab: Lab, tag: int | None, priority: int = 0, proof: int | None = None) -> bool:
    """Whether an ARP request with that tag, or without one, is answered with the same.

    Silence is proven by a probe that is sent after it (in the VLAN `proof`, where not in the same one), which is answered
    whatever the filter is; see `lab.observe.arp`."""
    asker, target = lab["asker"], lab["target"]
    with lab.capture("target:eth0") as wire:
        with on_one_processor():
            asker.send("eth0", request(lab, tag, priority, sender="192.168.122.1"))
            asker.send("eth0", request(lab, proof or tag, 0, sender=NOBODY))
        asked = wire.expect(lambda p: is_arp(p, 1), "the request")
        wire.expect(lambda p: is_arp(p, 2) and p[ARP].pdst == NOBODY, "the answer to the probe")
        answers = wire.all(lambda p: is_arp(p, 2) and p[ARP].pdst == "192.168.122.1")
    assert tag_of(asked) == (None if tag is None else (tag, priority))
    for answer in answers:
        assert tag_of(answer) == (None if tag is None else (tag, 0))
        assert answer[ARP].hwsrc == target.mac("eth0" if tag is None else f"eth0.{tag}")
    return bool(answers)


def request(lab: Lab, tag: int | None, priority: int, sender: str) -> bytes:
    mac = lab["asker"].mac("eth0")
    head = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
    asks = ARP(op=1, hwsrc=mac, psrc=sender, pdst=ADDRESS)
    return bytes(head / asks if tag is None else head / Dot1Q(vlan=tag, prio=priority) / asks)


def tag_of(packet: Packet) -> tuple[int, int] | None:
    """VLAN and priority."""
    return (packet[Dot1Q].vlan, packet[Dot1Q].prio) if Dot1Q in packet else None


def is_arp(packet: Packet, operation: int) -> bool:
    return ARP in packet and packet[ARP].op == operation
