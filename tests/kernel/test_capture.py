"""Frames on the wire: seen whole and in order, waited for, proven absent, and written for Wireshark."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.utils import RawPcapNgReader
from support.nodes import REPOSITORY

from lab import HostError, Lab, TopologyError
from lab.observe.wire import WireError, compiled

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
THREE = """\
name: {name}
nodes: {{a: {{}}, r: {{kind: router}}, b: {{}}}}
links:
  - {{endpoints: ["a:eth0", "r:left"], nodad: true, addresses: {{a: 10.0.1.1/24, r: 10.0.1.254/24}}}}
  - {{endpoints: ["b:eth0", "r:right"], nodad: true, addresses: {{b: 10.0.2.1/24, r: 10.0.2.254/24}}}}
defaults: {{nodes: {{sysctls: {{net.ipv6.conf.all.disable_ipv6: 1}}}}}}
"""


@pytest.fixture
def three(topology: Write) -> Iterator[Lab]:
    text = THREE.replace("a: {{}}", "a: {{routes: [{{to: default, via: 10.0.1.254}}]}}")
    with Lab.up(topology(text.replace("b: {{}}", "b: {{routes: [{{to: default, via: 10.0.2.254}}]}}"))) as lab:
        yield lab


def ping(lab: Lab, address: str = "10.0.2.1") -> None:
    lab["a"].run(["ping", "-c1", "-W2", address])


def request(packet: object) -> bool:
    return ICMP in packet and packet[ICMP].type == 8  # type: ignore[operator, index]


def reply(packet: object) -> bool:
    return ICMP in packet and packet[ICMP].type == 0  # type: ignore[operator, index]


def is_tagged(packet: object) -> bool:
    return Dot1Q in packet  # type: ignore[operator]


def test_a_frame_is_seen_at_every_interface_that_it_passes_in_the_order_of_its_way(three: Lab) -> None:
    with three.capture("a:eth0", "r:left", "r:right", "b:eth0", filter="icmp") as wire:
        ping(three)
        wire.expect_in_order(*[(reply, "the reply")] * 4)
    there = [(str(packet.frame.interface), packet.frame.sent) for packet in wire.packets if request(packet)]
    assert there == [("a:eth0", True), ("r:left", False), ("r:right", True), ("b:eth0", False)]
    assert {packet[IP].ttl for packet in wire.packets[:2]} == {64}
    assert wire.packets[2][IP].ttl == 63
    assert len(wire.packets) == 8


def test_the_filter_works_in_the_kernel_and_without_it_everything_is_there(three: Lab) -> None:
    with three.capture("a:eth0", filter="arp") as only, three.capture("a:eth0") as whole:
        ping(three)
        whole.expect(reply)
    assert {packet[Ether].type for packet in only.packets} == {0x0806}
    assert {packet[Ether].type for packet in whole.packets} == {0x0806, 0x0800}


def test_a_frame_of_ones_own_arrives_as_it_was_made(three: Lab) -> None:
    a, r = three["a"], three["r"]
    made = Ether(src="02:00:00:00:00:66", dst=r.mac("left")) / IP(src="192.0.2.66", dst="10.0.1.254", ttl=7) / UDP(dport=9)
    with three.capture("r:left", filter="udp") as wire:
        a.send("eth0", bytes(made))
        assert wire.expect(lambda packet: UDP in packet, "the frame").frame.data == bytes(made)
    with pytest.raises(OSError, match="No such device"):
        a.send("eth7", bytes(made))


def test_a_filter_that_is_wrong_is_refused(three: Lab) -> None:
    with pytest.raises(TopologyError, match=r"'banana' is no filter of pcap-filter\(7\)"):
        three.capture("a:eth0", filter="banana")


def test_an_interface_that_is_not_there_is_told(three: Lab) -> None:
    with pytest.raises(HostError, match="cannot capture at a:eth7: No such device"), three.capture("a:eth0", "a:eth7"):
        pass
    with pytest.raises(TopologyError, match="no node 'x'"):
        three.capture("x:eth0")
    with pytest.raises(TopologyError, match="write NODE:INTERFACE"):
        three.capture("a")


def test_what_never_came_is_proven_by_what_came_later_and_what_came_is_told(three: Lab) -> None:
    with three.capture("b:eth0") as wire:
        ping(three)
        wire.never(lambda packet: UDP in packet, "UDP", until=reply)
        with pytest.raises(WireError, match=r"(?s)the request was seen; seen were:.*b:eth0 receives Ether / IP / ICMP"):
            wire.never(request, "the request", until=reply)
        with pytest.raises(WireError, match="what proves that UDP never came was not seen"):
            wire.never(lambda packet: UDP in packet, "UDP", until=lambda packet: False, within=0.1)


def test_order_is_expected_and_a_wrong_one_is_told(three: Lab) -> None:
    with three.capture("a:eth0") as wire:
        ping(three)
        wire.expect_in_order((lambda packet: ARP in packet, "ARP"), (request, "the request"), (reply, "the reply"))
        with pytest.raises(WireError, match="the request was not seen after the reply"):
            wire.expect_in_order((reply, "the reply"), (request, "the request"), within=0.1)


def test_a_tag_that_the_kernel_takes_off_is_put_back(three: Lab) -> None:
    tagged = Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=7, prio=5) / ARP(pdst="10.0.1.254")
    with three.capture("r:left", "a:eth0") as wire, three["a"].socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0))
        sock.send(bytes(tagged))
        wire.expect_in_order((is_tagged, "the frame where it is sent"), (is_tagged, "the frame where it is received"))
        for packet in wire.all(is_tagged):
            assert (packet[Dot1Q].vlan, packet[Dot1Q].prio) == (7, 5)
            assert bytes(packet.whole) == bytes(tagged)


# And an echo request that leaves the same processor: once it is answered, all that was sent before it has arrived.
FLOOD = """
import os, socket
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
s = socket.socket(2, 2)
for _ in range(3000):
    s.sendto(bytes(1400), ("10.0.2.1", 9))
os.execvp("ping", ["ping", "-c1", "-w10", "10.0.2.1"])
"""


def test_what_the_kernel_had_no_room_for_is_counted(three: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.observe import capture

    monkeypatch.setattr(capture, "_ROOM", 4096)
    with three.capture("b:eth0", filter="udp") as wire:
        three["a"].run([sys.executable, "-c", FLOOD])
    received = three["b"].counters()["UdpNoPorts"]
    lost = wire.lost.get("b:eth0", 0)
    assert lost > 0
    assert len(wire.frames) + lost == received


def test_an_interface_that_goes_away_ends_nothing(three: Lab) -> None:
    with three.capture("a:eth0", "b:eth0") as wire:
        three["a"].run(["ip", "link", "delete", "eth0"])
        three["b"].run(["ping", "-c1", "-W2", "10.0.2.254"])
        wire.expect(lambda packet: reply(packet) and packet.frame.interface.node == "b")


def test_the_command_writes_one_file_with_named_interfaces_that_others_read(topology: Write, name: str, tmp_path: Path) -> None:
    file = tmp_path / "both.pcapng"
    with Lab.up(topology(THREE), detach=True) as lab:
        argv = [
            sys.executable,
            "-m",
            "lab",
            "capture",
            lab.name,
            "a:eth0",
            "r:left",
            "-w",
            str(file),
            "--filter",
            "icmp or arp",
        ]
        with subprocess.Popen(argv, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as command:
            assert command.stderr is not None
            assert command.stderr.readline() == "capturing at a:eth0, r:left: end it with Ctrl-C\n"
            ping(lab, "10.0.1.254")
            command.send_signal(signal.SIGINT)
            assert command.stderr.readline() == f"8 frames in {file}\n"
            assert command.wait(20) == 0
    read = subprocess.run(["tcpdump", "-n", "-r", file], capture_output=True, text=True, check=True)
    assert read.stdout.count("ICMP echo request") == 2
    with RawPcapNgReader(str(file)) as frames:
        names = {metadata.ifname for _, metadata in frames}
    assert names == {b"a:eth0", b"r:left"}


def test_the_command_writes_to_a_pipe_and_ends_after_a_count_or_with_the_lab(topology: Write) -> None:
    with Lab.up(topology(THREE), detach=True) as lab:
        argv = [sys.executable, "-m", "lab", "capture", lab.name, "a:eth0", "-c", "2"]
        with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
            assert command.stderr is not None
            command.stderr.readline()
            ping(lab, "10.0.1.254")
            out, said = command.communicate(timeout=20)
            assert (command.returncode, said) == (0, b"2 frames\n")
            assert out.startswith(b"\x0a\x0d\x0d\x0a")
        with subprocess.Popen(argv[:-2], cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as command:
            assert command.stderr is not None
            command.stderr.readline()
            lab.down()
            assert command.wait(20) == 0


def test_a_filter_compiles_to_a_program() -> None:
    assert compiled("arp")[-1][0] == 6
