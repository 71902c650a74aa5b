"""From a packet's first bytes, a ruleset and what a node has to sentences about a drop, without a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from lab.observe.explain import packet, reasons, ruleset
from lab.observe.explain.packet import ARP, IPV4, IPV6, Facts
from lab.observe.explain.reasons import Case, Cause
from lab.observe.explain.watch import Drop, told

MAC = bytes.fromhex("02aabbccddee 020000000001 0800")
IP4 = "45 00 {total} 1234 0000 40 {protocol} 0000 0a000001 0a000002"
IP6 = "60000000 {length} {protocol} 40 20010db8000000000000000000000001 20010db8000000000000000000000002"
SYN = "9c40 00b3 00000001 00000000 {offset}0 02 faf0 0000 0000"


def facts(ethertype: int, *parts: str, mac: bytes = MAC) -> Facts:
    return packet.facts(ethertype, mac, bytes.fromhex(" ".join(parts)))


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (facts(IPV4, IP4.format(total="0028", protocol="06"), SYN.format(offset=5)), "10.0.0.1:40000 > 10.0.0.2:179 TCP SYN"),
        (
            facts(IPV4, IP4.format(total="003c", protocol="06"), SYN.format(offset="a"), "01 13 12" + "00" * 16 + "00"),
            "10.0.0.1:40000 > 10.0.0.2:179 TCP SYN, signed (MD5)",
        ),
        (facts(IPV4, IP4.format(total="0024", protocol="11"), "0007 0035 0010 beef"), "10.0.0.1:7 > 10.0.0.2:53 UDP, 8 bytes"),
        (facts(IPV4, IP4.format(total="001c", protocol="01"), "08 00 0000"), "10.0.0.1 > 10.0.0.2 ICMP echo request"),
        (facts(IPV4, IP4.format(total="001c", protocol="06"), "9c40"), "10.0.0.1 > 10.0.0.2 TCP"),
        (facts(IPV4, IP4.format(total="001c", protocol="59")), "10.0.0.1 > 10.0.0.2 OSPF"),
        (facts(IPV4, IP4.format(total="001c", protocol="fd")), "10.0.0.1 > 10.0.0.2 protocol 253"),
        (
            facts(IPV6, IP6.format(length="0018", protocol="00"), "3a 00 0502 0000 0100", "8f 00 0000"),
            "2001:db8::1 > 2001:db8::2 ICMPv6 listener report",
        ),
        (
            facts(IPV6, IP6.format(length="0008", protocol="11"), "0007 0035 0008 0000"),
            "[2001:db8::1]:7 > [2001:db8::2]:53 UDP, 0 bytes",
        ),
        (
            facts(ARP, "0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002"),
            "ARP who has 10.0.0.2? tell 10.0.0.1",
        ),
        (
            facts(ARP, "0001 0800 06 04 0002 020000000001 0a000001 020000000002 0a000002"),
            "ARP 10.0.0.1 is at 02:00:00:00:00:01",
        ),
        (facts(0x88CC, "0207"), "a frame of LLDP"),
        (facts(0x1234), "a frame of EtherType 0x1234"),
        (facts(IPV4, "45 00 00"), "a frame of EtherType 0x0800"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_packet_is_one_line(found: Facts, line: str) -> None:
    assert found.line == line


def test_a_later_fragment_has_no_ports() -> None:
    found = facts(IPV4, IP4.replace("0000 40", "0010 40", 1).format(total="0028", protocol="11"), "0007 0035 0010 beef")
    assert (found.sport, found.dport, found.line) == (-1, -1, "10.0.0.1 > 10.0.0.2 UDP")


@pytest.mark.parametrize("cut", range(60))
def test_a_packet_may_be_cut_anywhere(cut: int) -> None:
    whole = bytes.fromhex(IP4.format(total="003c", protocol="06") + SYN.format(offset="a") + "13 12" + "00" * 18)
    assert packet.facts(IPV4, b"", whole[:cut]).line


@pytest.mark.parametrize(
    ("destination", "target", "many"),
    [
        ("ff02::1", "", True),
        ("224.0.0.5", "", True),
        ("255.255.255.255", "", True),
        ("10.0.0.255", "ff:ff:ff:ff:ff:ff", True),
        ("10.0.0.2", "02:00:00:00:00:01", False),
        ("", "", False),
    ],
)
def test_what_is_sent_to_many(destination: str, target: str, many: bool) -> None:
    assert Facts(IPV4, "", destination=destination, target=target).to_many == many


RULESET = """\
table inet filter { # handle 1
	set banned {
		type ipv4_addr
		elements = { 10.0.0.9 }
	}

	chain input { # handle 1
		type filter hook input priority filter; policy drop;
		tcp dport 22 accept comment "do not drop" # handle 2
		ip saddr @banned counter packets 0 bytes 0 drop # handle 3
		tcp dport vmap { 80 : accept, 81 : drop } # handle 4
		udp dport 53 queue to 0 # handle 5
		iifname "drop" accept # handle 6
	}

	chain other { # handle 7
		meta l4proto sctp drop # handle 8
	}
}
"""


def test_what_of_a_ruleset_can_drop() -> None:
    assert ruleset.dropping(RULESET) == [
        "inet filter input (hook input): policy drop",
        "inet filter input (hook input): ip saddr @banned counter packets 0 bytes 0 drop # handle 3",
        "inet filter input (hook input): tcp dport vmap { 80 : accept, 81 : drop } # handle 4",
        "inet filter input (hook input): udp dport 53 queue to 0 # handle 5",
        "inet filter other: meta l4proto sctp drop # handle 8",
    ]


def test_a_ruleset_that_drops_nothing() -> None:
    assert ruleset.dropping("") == []
    assert (
        ruleset.dropping("table ip nat {\n\tchain post {\n\t\ttype nat hook postrouting priority 100; policy accept;\n\t}\n}\n")
        == []
    )


@dataclass
class Fake:
    """A node that has what a test says."""

    sysctls: Mapping[str, str] = field(default_factory=dict)
    ways: Mapping[str, str] = field(default_factory=dict)
    drops: Sequence[str] = ()
    signed: Sequence[str] = ()
    waiting: Sequence[str] = ()

    def sysctl(self, name: str) -> str | None:
        return self.sysctls.get(name)

    def way(self, address: str) -> str | None:
        return self.ways.get(address)

    def mac(self, device: str) -> str:
        return "02:00:00:00:00:01"

    def rules(self) -> Sequence[str]:
        return self.drops

    def keys(self) -> Sequence[str]:
        return self.signed

    def listening(self, protocol: str) -> Sequence[str]:
        return self.waiting


TCP4 = Facts(IPV4, "a packet", "10.0.0.1", "10.0.0.2", packet.TCP, 40000, 179, hops=64)
COUNTED = Facts(IPV4, "counted in a counter")


def cause(reason: str, facts: Facts = TCP4, node: Fake | None = None, device: str = "eth0") -> Cause:
    found = reasons.cause(Case(reason, device, facts, node or Fake()))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("own", "everywhere", "setting", "value"),
    [
        ("1", "0", "net.ipv4.conf.eth0.rp_filter", "1 (net.ipv4.conf.all.rp_filter is 0)"),
        ("0", "1", "net.ipv4.conf.all.rp_filter", "1 (net.ipv4.conf.eth0.rp_filter is 0)"),
        ("1", "2", "net.ipv4.conf.all.rp_filter", "2 (net.ipv4.conf.eth0.rp_filter is 1)"),
        ("1", "1", "net.ipv4.conf.eth0.rp_filter", "1 (net.ipv4.conf.all.rp_filter is 1)"),
    ],
)
def test_the_greater_of_two_filters_is_the_setting(own: str, everywhere: str, setting: str, value: str) -> None:
    sysctls = {"net.ipv4.conf.eth0.rp_filter": own, "net.ipv4.conf.all.rp_filter": everywhere}
    found = cause("IP_RPFILTER", node=Fake(sysctls, {"10.0.0.1": "eth1"}))
    assert (found.setting, found.value) == (setting, value)
    assert "10.0.0.1 leaves by eth1, and this came in by eth0" in found.why


def test_without_a_way_back_that_is_said() -> None:
    assert cause("IP_RPFILTER").why == "no route leads back to 10.0.0.1"


@pytest.mark.parametrize("reason", sorted({*reasons._CAUSES, *reasons._MEANINGS}))
@pytest.mark.parametrize("facts", [TCP4, COUNTED, Facts(ARP, "ARP")], ids=["a packet", "a counter", "ARP"])
def test_every_known_reason_is_told_of_whatever_is_known_of_the_packet(reason: str, facts: Facts) -> None:
    found = cause(reason, facts, device="")
    assert found.why
    assert "-1" not in found.why + found.setting + found.change
    assert "{" not in found.why + found.change


def test_every_counter_has_a_reason_that_is_known() -> None:
    assert set(reasons.COUNTERS.values()) <= set(reasons._CAUSES)


def test_what_is_to_change_names_the_peer_of_a_key() -> None:
    found = cause("TCP_MD5NOTFOUND", node=Fake(signed=["a key for 10.0.0.0/24 (port 179)"]))
    assert found.value == "a key for 10.0.0.0/24 (port 179)"
    assert "10.0.0.1" in found.why
    assert "10.0.0.1" in found.change


@pytest.mark.parametrize(
    ("rules", "value"),
    [
        (["one"], "one"),
        ([str(number) for number in range(6)], "0; 1; 2; 3 and 2 more"),
        ([], "nft shows no rule that drops; look at iptables-legacy -L"),
    ],
)
def test_rules_that_drop_are_listed(rules: list[str], value: str) -> None:
    assert cause("NETFILTER_DROP", node=Fake(drops=rules)).value == value


@pytest.mark.parametrize(
    ("reason", "facts", "harmless"),
    [
        ("NO_SOCKET", TCP4, False),
        ("NO_SOCKET", Facts(IPV4, "", "10.0.0.1", "10.0.0.2", packet.ICMP, kind=0), True),
        ("NO_SOCKET", Facts(IPV6, "", "fe80::1", "ff02::fb", packet.UDP, 5353, 5353), True),
        ("IP_RPFILTER", Facts(IPV4, "", "10.0.0.1", "224.0.0.5", 89), False),
        ("QUEUE_PURGE", TCP4, True),
        ("OTHERHOST", TCP4, True),
    ],
)
def test_what_nobody_missed_is_harmless(reason: str, facts: Facts, harmless: bool) -> None:
    assert cause(reason, facts).harmless == harmless


def test_udp_without_a_checksum_is_a_fault_over_ipv6_alone() -> None:
    over6 = Facts(IPV6, "", "2001:db8::1", "2001:db8::2", packet.UDP, 7, 53, checksum=0)
    over4 = Facts(IPV4, "", "10.0.0.1", "10.0.0.2", packet.UDP, 7, 53, checksum=0)
    assert cause("UDP_CSUM", over6).setting == "UDP_NO_CHECK6_RX of the socket"
    assert cause("UDP_CSUM", over4).setting == "checksum offload at 10.0.0.1"


def test_a_reason_that_came_later_is_told_by_its_name() -> None:
    assert reasons.cause(Case("BRAND_NEW", "eth0", TCP4, Fake())) is None
    drop = Drop(0.0, "r", "eth0", "a packet", "BRAND_NEW", None, "ip_new", 2)
    assert str(drop) == "r:eth0  a packet  (2 times)\n    BRAND_NEW, in ip_new"


def test_a_drop_is_told_with_its_setting_and_what_to_change() -> None:
    drop = Drop(0.0, "r", "", "a packet", "WHY", Cause("because", "net.x", "1", "set it to 0"))
    assert str(drop) == "r  a packet\n    WHY: because\n    net.x: 1\n    to change: set it to 0"


def test_the_harmless_are_counted_and_told_where_all_are_asked_for() -> None:
    drops = [Drop(0.0, "r", "eth0", "one", "A", None), Drop(0.0, "r", "eth0", "two", "B", Cause("", harmless=True), times=3)]
    assert told(drops) == ["r:eth0  one\n    A", "3 more were dropped and missed by nobody"]
    assert told(drops[1:]) == ["3 were dropped and missed by nobody"]
    assert told(drops, every=True) == ["r:eth0  one\n    A", "r:eth0  two  (3 times)\n    B"]
    assert told([]) == []


def test_of_very_many_the_first_are_told() -> None:
    assert told([Drop(0.0, "r", "e", str(number), "A", None) for number in range(25)])[-1] == "… and 5 more"
