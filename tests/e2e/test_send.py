"""`lab send`: what leaves the interface is what was asked for, answers are told, and its exit statuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from support.commands import LAB, lab, well
from support.privilege import without_privilege

from lab.live import Lab, unique_name

pytestmark = pytest.mark.root

TRUNK = """\
name: {name}
defaults: {{links: {{nodad: true}}}}
nodes:
  sw: {{kind: ovs, datapath: userspace}}
  a: {{}}
  b: {{interfaces: {{bare: {{kind: ifb, up: false}}}}}}
  t: {{}}
links:
  - {{endpoints: ["a:eth0", {{node: sw, vlan: {{access: 7}}}}], addresses: {{a: [10.0.0.1/24, "2001:db8::1/64"]}}}}
  - {{endpoints: ["b:eth0", {{node: sw, vlan: {{access: 7}}}}], addresses: {{b: [10.0.0.2/24, "2001:db8::2/64"]}}}}
  - {{endpoints: ["t:eth0", {{node: sw, vlan: {{trunk: [7, 8]}}}}]}}
"""


@pytest.fixture(scope="module")
def trunk(own_run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    name = unique_name("send")
    file = tmp_path_factory.mktemp("trunk") / "trunk.yaml"
    file.write_text(TRUNK.format(name=name))
    well("up", file)
    yield name
    well("down", name)


def test_what_was_sent_and_what_answered_is_told(trunk: str) -> None:
    said = well("send", trunk, "a:eth0", "--arp", "10.0.0.2", "--wait", "5")
    sent, received = said.stdout.splitlines()
    assert sent == "a:eth0 sends Ether / ARP who has 10.0.0.2 says 10.0.0.1"
    assert received == f"a:eth0 receives Ether / ARP is at {Lab.attach(trunk)['b'].mac('eth0')} says 10.0.0.2"


def test_a_host_sends_tags_of_its_choice_and_is_answered_in_that_vlan_alone(trunk: str) -> None:
    words = ("--arp", "10.0.0.2", "--src", "10.0.0.77", "--prio", "5")
    told = well("send", trunk, "t:eth0", *words, "--vlan", "7", "--wait", "5", "-f", "json").json("frames")
    assert told["sent"][0]["tags"] == [{"vlan": 7, "priority": 5}]
    assert [each["tags"][0]["vlan"] for each in told["received"]] == [7]
    assert Ether(bytes.fromhex(told["received"][0]["frame"]))[ARP].psrc == "10.0.0.2"
    silent = lab("send", trunk, "t:eth0", *words, "--vlan", "8", "--wait", "0.3")
    assert (silent.status, silent.stderr) == (1, "lab: nothing answered within 0.3 s\n")


def test_two_tags_leave_as_they_were_stacked(trunk: str) -> None:
    found = Lab.attach(trunk)
    with found.capture("sw:t-eth0", filter="ether proto 0x88a8 or vlan or arp") as wire:
        well("send", trunk, "t:eth0", "--arp", "10.0.0.2", "--vlan", "100", "--vlan", "7", "--prio", "1", "--prio", "5")
        seen = wire.expect(lambda packet: Dot1AD in packet, "the frame")
    outer, inner = seen[Dot1AD], seen[Dot1AD].payload
    assert isinstance(inner, Dot1Q)
    assert [(outer.vlan, outer.prio), (inner.vlan, inner.prio)] == [(100, 1), (7, 5)]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("--icmp 10.0.0.2", "echo-reply"),
        ("--icmp 2001:db8::2", "Echo Reply"),
        ("--udp [2001:db8::2]:99 --dst {mac}", "UDPerror"),
        ("--udp 10.0.0.2:99 --dst {mac}", "UDPerror"),
    ],
)
def test_what_is_asked_above_the_link_is_answered(trunk: str, words: str, answer: str) -> None:
    words = words.format(mac=Lab.attach(trunk)["b"].mac("eth0"))
    sent, received = well("send", trunk, "a:eth0", *words.split(), "--wait", "5").stdout.splitlines()
    assert answer in received
    assert answer not in sent


def test_so_many_frames_are_sent_and_all_their_answers_waited_for(trunk: str) -> None:
    told = well("send", trunk, "a:eth0", "--icmp", "10.0.0.2", "-c", "5", "--wait", "5", "-f", "json").json("frames")
    assert (len(told["sent"]), len(told["received"])) == (5, 5)


def test_a_raw_frame_leaves_octet_by_octet(trunk: str) -> None:
    with Lab.attach(trunk).capture("sw:a-eth0", filter="ether proto 0x88b5") as wire:
        well("send", trunk, "a:eth0", "--raw", "ff:ff:ff:ff:ff:ff 020000000001 88b5 00ff")
        assert wire.expect(lambda packet: True).frame.data.hex() == "ffffffffffff02000000000188b500ff"


def test_nobody_waits_who_was_not_told_to(trunk: str) -> None:
    said = well("send", trunk, "a:eth0", "--arp", "10.0.0.99")
    assert said.stdout == "a:eth0 sends Ether / ARP who has 10.0.0.99 says 10.0.0.1\n"
    assert well("send", trunk, "a:eth0", "--arp", "10.0.0.99", "-q").stdout == ""


def test_an_answer_ends_the_waiting(trunk: str) -> None:
    began = time.monotonic()
    well("send", trunk, "a:eth0", "--arp", "10.0.0.2", "--wait", "60")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("a:eth0", 2, "one of --arp, --icmp, --udp and --raw"),
        ("a:eth0 --arp 10.0.0.2 --icmp 10.0.0.2", 2, "one of --arp, --icmp, --udp and --raw"),
        ("a:eth0 --arp 2001:db8::2", 2, "ARP asks for IPv4 addresses"),
        ("a:eth0 --arp 10.0.0.256", 2, "'10.0.0.256' is no address"),
        ("a:eth0 --udp 10.0.0.2", 2, "is no ADDRESS:PORT"),
        ("a:eth0 --udp 10.0.0.2:65536", 2, "is no ADDRESS:PORT"),
        ("a:eth0 --raw 0", 2, "two for each octet"),
        ("a:eth0 --raw 00", 2, "14 octets, not 1"),
        ("a:eth0 --arp 10.0.0.2 --vlan 4096", 2, "4096 is not in the range 0<=x<=4095"),
        ("a:eth0 --arp 10.0.0.2 --vlan 7 --prio 8", 2, "8 is not in the range 0<=x<=7"),
        ("a:eth0 --arp 10.0.0.2 --prio 5", 2, "--prio belongs to a --vlan"),
        ("a:eth0 --arp 10.0.0.2 --vlan 7 --vlan 8 --vlan 9 --prio 1 --prio 2", 2, "--prio belongs to a --vlan"),
        ("a:eth0 --arp 10.0.0.2 -c 1001", 2, "1001 is not in the range 1<=x<=1000"),
        ("a:eth0 --arp 10.0.0.2 --src 10.0.0.1 --src 10.0.0.3", 2, "one MAC address and one address"),
        ("a:eth0 --arp 10.0.0.2 --src 2001:db8::1", 2, "of different families"),
        ("a:eth0 --arp 10.0.0.2 --dst 02:00", 2, "is no MAC address"),
        ("t:eth0 --icmp 10.0.0.2", 2, "has no IPv4 address to send from\n    say one: --src ADDRESS"),
        ("x:eth0 --arp 10.0.0.2", 2, "has no node 'x'"),
        ("eth0 --arp 10.0.0.2", 2, "is no interface of a node"),
        ("a:eth9 --arp 10.0.0.2", 3, "a:eth9: No such device\n    see what there is: lab inspect"),
        ("b:bare --arp 10.0.0.2", 3, "b:bare: Network is down\n    raise it first"),
        (f"a:eth0 --raw {'ff' * 1600}", 3, "a:eth0: Message too long\n    the frame is larger"),
    ],
)
def test_what_cannot_be_sent_says_why(trunk: str, words: str, status: int, said: str) -> None:
    done = lab("send", trunk, *words.split())
    assert (done.status, done.stdout) == (status, "")
    assert said in done.stderr


def test_without_root_it_says_so(trunk: str) -> None:
    done = without_privilege(*LAB, "send", trunk, "a:eth0", "--arp", "10.0.0.2")
    assert (done.returncode, done.stdout) == (3, "")
    assert "root" in done.stderr
