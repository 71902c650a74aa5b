"""Open vSwitch: VLANs of ports, the cache of flows and its actions, OpenFlow, sFlow, and what a restart keeps.

Cong Wang's overview of the implementation (2012) is followed: the first packet of a flow is not known to the datapath and goes
up to ovs-vswitchd, which installs a flow with actions; the following packets never leave the datapath. Each action that it
lists is seen in the datapath's flows and on the wire. What it says of the kernel's module holds of the datapath in userspace
as well, where that serves instead; ovs-brcompatd, which it mentions, is no more.
"""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from lab import Lab, Node
from lab.observe import frames
from lab.observe.conditions import Counted
from lab.observe.wire import Match, Packet, Wire
from lab.substrate.netlink import ethtool
from lab.substrate.processes import Process

LOCAL = 0x88B5  # IEEE 802, local experimental EtherType 1: nobody else speaks it
EVERYBODY = "ff:ff:ff:ff:ff:ff"
ADDRESSES = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3", "n": "10.0.0.4", "t": "10.0.0.5", "sw": "10.0.0.7"}
SFLOW, HTTP = 6343, 80
WITHIN = 5.0  # seconds, for what takes milliseconds
SHORTLY = 0.3  # seconds, for an answer that must not come; something else proves that it does not
Report = Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]

# -- what is asked of the switch


def vsctl(lab: Lab, *words: str) -> str:
    """Returns once ovs-vswitchd has done what was written."""
    return lab["sw"].run(["ovs-vsctl", "--timeout=20", *words]).stdout.strip()


def ofctl(lab: Lab, command: str, *words: str) -> str:
    return lab["sw"].run(["ovs-ofctl", command, "br0", *words]).stdout


def appctl(lab: Lab, *words: str) -> str:
    return lab["sw"].run(["ovs-appctl", *words]).stdout


def until(look: Callable[[], Any], what: str) -> Any:
    """What `look` gives, as soon as there is anything; each look is a command."""
    deadline = time.monotonic() + WITHIN
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {WITHIN:g} s"
    return found


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow of the datapath: what it matches, how many packets hit it, and its actions."""

    match: str
    packets: int
    actions: str


_FLOW = re.compile(r"^(recirc_id\(.*?), packets:(\d+), .*?actions:(.*)$", re.MULTILINE)


def flows(lab: Lab, host: str, kind: str) -> list[Flow]:
    """Those of what comes from a host and is of that kind."""
    found = [Flow(match, int(packets), actions) for match, packets, actions in _FLOW.findall(dumped(lab))]
    return [flow for flow in found if f"in_port(to-{host})" in flow.match and kind in flow.match]


def dumped(lab: Lab) -> str:
    return appctl(lab, "dpctl/dump-flows", "--names", datapath(lab))


def datapath(lab: Lab) -> str:
    """Its name; without it every kind of datapath would be looked for."""
    return {"userspace": "netdev@ovs-netdev", "kernel": "system@ovs-system"}[lab.switches()["sw"].datapath]


def forget(lab: Lab) -> None:
    """Empties the cache: every flow is made anew."""
    appctl(lab, "revalidator/purge")


def statistics(lab: Lab) -> tuple[int, int]:
    """How many packets hit a flow, and how many missed and went up."""
    found = re.search(r"hit:(\d+) missed:(\d+)", appctl(lab, "dpctl/show", datapath(lab)))
    assert found
    return int(found[1]), int(found[2])


# -- what is sent, and heard


def reaches(node: Node, address: str, within: float = WITHIN) -> bool:
    """Asked again until then: who was asked for in vain before is given up by ARP, and with it the first request."""
    deadline = time.monotonic() + within
    while node.run(["ping", "-n", "-c1", f"-W{within}", address], check=False).status:
        if time.monotonic() > deadline:
            return False
    return True


def frame(lab: Lab, sender: str, text: str, to: str = EVERYBODY, tag: frames.Tag | None = None) -> bytes:
    """A frame of its own kind from a host, with a tag if one is given."""
    plain = Ether(src=lab[sender].mac("eth0"), dst=to, type=LOCAL) / Raw(text.encode())
    return bytes(frames.raw(bytes(plain), None, None, [tag] if tag else []))


def send(lab: Lab, sender: str, text: str, to: str = EVERYBODY, tag: frames.Tag | None = None) -> None:
    lab[sender].send("eth0", frame(lab, sender, text, to, tag))


def heard(host: str, text: str) -> Match:
    return lambda p: p.frame.interface.node == host and not p.frame.sent and text.encode() in p.frame.data


def tags(packet: Packet) -> list[tuple[int, int]]:
    """VLAN and priority of each tag."""
    return list(frames.tags_of(packet.whole))


def at(lab: Lab, *hosts: str) -> Wire:
    return lab.capture(*[f"{host}:eth0" for host in hosts])


def knows(lab: Lab, *hosts: str) -> None:
    """The switch has learned where these are."""
    with at(lab, "t") as wire:
        for host in hosts:
            send(lab, host, f"here is {host}")
            wire.expect(heard("t", f"here is {host}"), f"a frame of {host}")


# -- VLANs


@pytest.mark.lab("open-vswitch")
def test_hosts_hear_those_of_their_own_vlan_alone(lab: Lab) -> None:
    """Access ports keep VLANs apart: hosts of one hear each other, another one nothing; moved into their VLAN it does."""
    with at(lab, "b", "c") as wire:
        assert reaches(lab["a"], ADDRESSES["b"])
        for text in ("the first", "the second"):
            send(lab, "a", text)
            assert tags(wire.expect(heard("b", text), f"{text} frame at b")) == []
        wire.never(heard("c", "the first"), "the first frame at c", until=heard("b", "the second"))
        assert not reaches(lab["a"], ADDRESSES["c"], SHORTLY)
        vsctl(lab, "set", "Port", "to-c", "tag=7")
        assert reaches(lab["a"], ADDRESSES["c"])


@pytest.mark.lab("open-vswitch")
def test_a_trunk_carries_its_vlans_with_tags(lab: Lab) -> None:
    """A trunk's frames have tags on its cable and on no other; a VLAN that it does not carry is dropped, until it is added."""
    with at(lab, "b", "c", "t") as wire:
        send(lab, "t", "in seven", tag=(7, 5))
        send(lab, "t", "in eight", tag=(8, 5))
        send(lab, "b", "from b")
        send(lab, "t", "in six", tag=(6, 5))
        send(lab, "t", "in eight again", tag=(8, 0))
        for host, text, tag in (("b", "in seven", []), ("c", "in eight", []), ("t", "from b", [(7, 0)])):
            assert tags(wire.expect(heard(host, text), f"«{text}» at {host}")) == tag
        others = [heard("c", "in seven"), heard("b", "in eight"), heard("c", "in six"), heard("b", "in six")]
        wire.never(lambda p: any(each(p) for each in others), "a VLAN elsewhere", until=heard("c", "in eight again"))
        vsctl(lab, "set", "Port", "to-t", "trunks=6,7,8,9", "--", "set", "Port", "to-c", "tag=6")
        send(lab, "t", "in six now", tag=(6, 5))
        assert tags(wire.expect(heard("c", "in six now"), "VLAN 6 at c")) == []


@pytest.mark.lab("open-vswitch")
def test_an_arp_request_is_answered_in_the_vlan_that_its_tag_names(lab: Lab) -> None:
    """An ARP request with VLAN and priority of the sender's choice is answered in that VLAN; in another one by nobody."""
    ends = frames.Ends(lab["t"].mac("eth0"), EVERYBODY, ip_address(ADDRESSES["t"]), ip_address(ADDRESSES["b"]))
    with at(lab, "t", "b") as wire:
        for tag in ((8, 5), (7, 5)):
            lab["t"].send("eth0", bytes(frames.arp(ends, [tag])))
        answer = wire.expect(lambda p: ARP in p and p[ARP].op == 2 and p.frame.interface.node == "t", "an answer")
        assert (tags(answer), answer[ARP].hwsrc) == ([(7, 0)], lab["b"].mac("eth0"))
        asked = wire.all(lambda p: ARP in p and p[ARP].op == 1 and not p.frame.sent and p.frame.interface.node == "b")
        assert [tags(each) for each in asked] == [[]], "the one of VLAN 7, without its tag"


@pytest.mark.lab("open-vswitch")
def test_what_comes_without_a_tag_is_in_the_native_vlan(lab: Lab) -> None:
    """What comes to a trunk without a tag is in its native VLAN, and leaves of that without one; if it has none it is lost."""
    with at(lab, "a", "c", "n", "t") as wire:
        send(lab, "t", "from t")
        send(lab, "n", "from n")
        for host, text in (("n", "from t"), ("t", "from n")):
            assert tags(wire.expect(heard(host, text), f"«{text}» at {host}")) == []
        assert reaches(lab["t"], ADDRESSES["n"])
        assert not wire.all(lambda p: heard("a", "from t")(p) or heard("c", "from t")(p))
        vsctl(lab, "set", "Port", "to-t", "vlan_mode=trunk", "--", "clear", "Port", "to-t", "tag")
        assert not reaches(lab["t"], ADDRESSES["n"], SHORTLY)


# -- internal ports


@pytest.mark.lab("open-vswitch")
def test_an_internal_port_is_a_member_of_its_vlan(lab: Lab) -> None:
    """By an internal port the switch's own host is in a VLAN: reached there, and not from another one; moved, the other way."""
    assert reaches(lab["b"], ADDRESSES["sw"])
    assert not reaches(lab["c"], ADDRESSES["sw"], SHORTLY)
    vsctl(lab, "set", "Port", "in7", "tag=8")
    assert reaches(lab["c"], ADDRESSES["sw"])
    assert not reaches(lab["b"], ADDRESSES["sw"], SHORTLY)


@pytest.mark.lab("open-vswitch")
def test_an_internal_port_may_be_in_another_namespace(lab: Lab) -> None:
    """Moved into another host's namespace the internal port stays a port of the switch: that host is then in its VLAN too."""
    host = lab["n"]
    assert not reaches(host, ADDRESSES["a"], SHORTLY)
    with lab["sw"].netlink as netlink, host.ns.open() as namespace:
        (index,) = netlink.link_lookup(ifname="in7")
        netlink.link("set", index=index, net_ns_fd=namespace.fileno())
    host.run(["ip", "address", "flush", "dev", "eth0"])
    host.run(["ip", "address", "add", "10.0.0.44/24", "dev", "in7"])
    host.run(["ip", "link", "set", "in7", "up"])
    assert reaches(host, ADDRESSES["a"])
    assert not reaches(host, ADDRESSES["c"], SHORTLY)


# -- checksums


@pytest.mark.lab("open-vswitch", datapath="userspace")
def test_tcp_needs_whole_checksums(lab: Lab) -> None:
    """TCP connects through a datapath in userspace; not where a host leaves its checksums to hardware, which is not there."""
    server, client = lab["a"], lab["b"]
    with server.socket() as listening:
        listening.bind(("", HTTP))
        listening.listen()
        assert connects(client, WITHIN)
        before = server.counters()["TcpInCsumErrors"]
        client.inside(lambda: ethtool.set_offloads(socket.if_nametoindex("eth0"), {"tx-checksum-ip-generic": True}))
        assert not connects(client, SHORTLY)
        server.wait(Counted("TcpInCsumErrors", before + 1), WITHIN)


def connects(client: Node, within: float) -> bool:
    with client.socket() as sock:
        sock.settimeout(within)
        try:
            sock.connect((ADDRESSES["a"], HTTP))
        except TimeoutError:
            return False
    return True


# -- the cache of flows


@pytest.mark.lab("open-vswitch")
def test_the_first_packet_goes_up_and_the_following_ones_hit(lab: Lab, report_table: Report) -> None:
    """The first packet of a flow misses and goes up, the following ones hit the flow; without the flow each one misses."""
    knows(lab, "a", "b")
    forget(lab)
    steps = [("first", 1, False, (0, 1)), ("following", 4, False, (4, 0)), ("each time forgotten", 3, True, (0, 3))]
    rows = []
    for what, number, forgetting, expected in steps:
        before = statistics(lab)
        pass_on(lab, what, number, forgetting)
        counted = until(partial(increase, lab, before, number), "all packets are counted")
        rows.append((what, number, *counted))
        assert counted == expected, what
        if what == "following":
            (flow,) = flows(lab, "a", f"{LOCAL:#x}")
            assert flow.packets == number
    report_table("what the datapath counts", ("packets", "number", "hit", "missed"), rows)


def pass_on(lab: Lab, what: str, number: int, forgetting: bool) -> None:
    """One frame after another, each waited for at its receiver, and until the flow that it made is there."""
    with at(lab, "b") as wire:
        for each in range(number):
            if forgetting:
                forget(lab)
            send(lab, "a", f"{what} {each}", lab["b"].mac("eth0"))
            wire.expect(heard("b", f"{what} {each}"), "the frame")
            until(lambda: flows(lab, "a", f"{LOCAL:#x}"), "a flow for it")


def increase(lab: Lab, before: tuple[int, int], packets: int) -> tuple[int, int] | None:
    """Of hits and misses, once they are as many as there were packets."""
    now = statistics(lab)
    hit, missed = now[0] - before[0], now[1] - before[1]
    return (hit, missed) if hit + missed >= packets else None


# -- the actions


def acts(lab: Lab, sender: str, octets: bytes, kind: str = f"{LOCAL:#x}") -> str:
    """What the datapath does with such a frame: the actions of the flow that ovs-vswitchd makes for it."""
    forget(lab)
    lab[sender].send("eth0", octets)
    found: list[Flow] = until(lambda: flows(lab, sender, kind), "a flow for the frame")
    return found[0].actions


def rule(lab: Lab, text: str) -> None:
    ofctl(lab, "add-flow", f"priority=100,{text}")


def without_rules(lab: Lab) -> None:
    """As it begins: one rule, by which it does what a switch does."""
    ofctl(lab, "del-flows")
    ofctl(lab, "add-flow", "priority=0,actions=NORMAL")


@pytest.mark.lab("open-vswitch")
def test_output(lab: Lab) -> None:
    """output: the datapath hands the frame to the port of its receiver; a rule without an action is a flow that drops it."""
    knows(lab, "a", "b")
    to = lab["b"].mac("eth0")
    with at(lab, "b", "c") as wire:
        assert acts(lab, "a", frame(lab, "a", "is passed on", to)) == "to-b"
        wire.expect(heard("b", "is passed on"), "the frame")
        rule(lab, f"in_port=to-a,dl_type={LOCAL:#x},actions=drop")
        assert acts(lab, "a", frame(lab, "a", "is dropped", to)) == "drop"
        without_rules(lab)
        assert acts(lab, "a", frame(lab, "a", "is passed again", to)) == "to-b"
        wire.never(heard("b", "is dropped"), "what is dropped", until=heard("b", "is passed again"))


@pytest.mark.lab("open-vswitch")
def test_push_vlan_and_pop_vlan(lab: Lab) -> None:
    """push_vlan and pop_vlan: a tag is put on towards a trunk and taken off towards an access port; between those, neither."""
    knows(lab, "a", "b")
    to_trunk, to_access = frame(lab, "b", "outward", lab["t"].mac("eth0")), lab["b"].mac("eth0")
    with at(lab, "a", "b", "t") as wire:
        assert acts(lab, "t", frame(lab, "t", "inward", to_access, (7, 5)), "vlan(vid=7") == "pop_vlan,to-b"
        assert acts(lab, "b", to_trunk) == "push_vlan(vid=7,pcp=0),to-t"
        assert acts(lab, "a", frame(lab, "a", "beside", to_access)) == "to-b"
        for host, text, tag in (("b", "inward", []), ("t", "outward", [(7, 0)]), ("b", "beside", [])):
            assert tags(wire.expect(heard(host, text), text)) == tag


@pytest.mark.lab("open-vswitch")
def test_set(lab: Lab) -> None:
    """set: a rule that changes a field makes a flow that does, and the receiver sees it; without the rule as it was sent."""
    knows(lab, "a", "b")
    packet = Ether(src=lab["a"].mac("eth0"), dst=lab["b"].mac("eth0")) / IP(src=ADDRESSES["a"], dst=ADDRESSES["b"])
    packet /= UDP(sport=9, dport=9) / Raw(b"marked")
    with at(lab, "b") as wire:
        rule(lab, "ip,in_port=to-a,actions=mod_nw_tos:32,NORMAL")
        assert acts(lab, "a", bytes(packet), "0x0800") == "set(ipv4(tos=0x20/0xfc)),to-b"
        without_rules(lab)
        assert acts(lab, "a", bytes(packet), "0x0800") == "to-b"
        seen = wire.expect_in_order(*[(heard("b", "marked"), "the packet")] * 2)
    assert [each[IP].tos for each in seen] == [32, 0]


@pytest.mark.lab("open-vswitch")
def test_userspace(lab: Lab, tmp_path: Path) -> None:
    """userspace: what a rule sends to the controller goes up in every packet, and reaches the controller, and nobody else."""
    knows(lab, "a", "b")
    up = r"userspace\(pid=\d+,controller\(reason=1,.*\)\)"
    said = tmp_path / "controller"
    with controller(lab, said), at(lab, "b") as wire:
        rule(lab, f"in_port=to-a,dl_type={LOCAL:#x},actions=controller")
        assert re.fullmatch(up, acts(lab, "a", frame(lab, "a", "goes up")))
        send(lab, "a", "goes up too")
        until(lambda: said.read_text().count("PACKET_IN") == 2, "the controller is told of both")
        without_rules(lab)
        assert "userspace" not in acts(lab, "a", frame(lab, "a", "does not"))
        wire.never(heard("b", "goes up"), "what goes up", until=heard("b", "does not"))


def controller(lab: Lab, said: Path) -> Process:
    """A controller that writes down what it is told; the switch knows it once its barrier has come back."""
    with said.open("w") as file:
        process = lab["sw"].spawn(["ovs-ofctl", "monitor", "br0", "65534"], stdout=file.fileno(), stderr=file.fileno())
    barrier = ["ovs-appctl", "-t", f"/run/openvswitch/ovs-ofctl.{process.pid}.ctl", "ofctl/barrier"]
    until(lambda: lab["sw"].run(barrier, check=False).status == 0, "the controller is there")
    return process


@pytest.mark.lab("open-vswitch")
def test_sample(lab: Lab) -> None:
    """sample: with sFlow the datapath samples packets, and a collector gets their beginning; without it there is no sample."""
    knows(lab, "a", "b")
    to = lab["a"].mac("eth0")
    with lab["a"].socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("", SFLOW))
        collector.settimeout(WITHIN)
        assert acts(lab, "b", frame(lab, "b", "is not sampled", to)) == "to-a"
        sampling = [f'target="{ADDRESSES["a"]}:{SFLOW}"', "agent=in7", "header=128", "sampling=2", "polling=0"]
        vsctl(lab, "--", "--id=@s", "create", "sFlow", *sampling, "--", "set", "Bridge", "br0", "sflow=@s")
        actions = acts(lab, "b", frame(lab, "b", "is sampled", to))
        assert re.fullmatch(r"sample\(sample=50.0%,actions\(userspace\(pid=\d+,sFlow\(.*\),to-a", actions)
        for _ in range(64):  # that none of them is sampled is less likely than one in 10**19
            send(lab, "b", "is sampled", to)
        datagram = received(collector, b"is sampled")
        assert datagram[:12] == bytes((0, 0, 0, 5, 0, 0, 0, 1)) + socket.inet_aton(ADDRESSES["sw"])  # sFlow 5, its agent
        assert b"is not sampled" not in datagram
        vsctl(lab, "clear", "Bridge", "br0", "sflow")
        assert acts(lab, "b", frame(lab, "b", "no more", to)) == "to-a"


def received(collector: socket.socket, text: bytes) -> bytes:
    """The first datagram that has the text in it."""
    while text not in (datagram := collector.recv(1 << 16)):
        pass
    return datagram


# -- OpenFlow


@pytest.mark.lab("open-vswitch")
def test_openflow_rules(lab: Lab) -> None:
    """Of OpenFlow rules the one of the highest priority decides and counts; one that names ports passes over the VLANs."""
    local = f"dl_type={LOCAL:#x}"
    with at(lab, "a", "b", "c") as wire:
        ofctl(lab, "add-flow", f"priority=10,{local},actions=drop")
        ofctl(lab, "add-flow", f"priority=20,{local},in_port=to-b,actions=NORMAL")
        for sender in ("a", "b"):
            send(lab, sender, f"{sender} under rules")
        wire.expect(heard("a", "b under rules"), "what the higher rule lets pass")
        until(lambda: counted(lab, "priority=10") == 1, "the lower rule counts the other")
        ofctl(lab, "add-flow", f"priority=30,{local},in_port=to-a,actions=output:to-c")
        send(lab, "a", "over to eight")
        assert tags(wire.expect(heard("c", "over to eight"), "a frame of VLAN 7 in VLAN 8")) == []
        without_rules(lab)
        for text in ("a without rules", "and again"):
            send(lab, "a", text)
        wire.never(heard("b", "a under rules"), "what was dropped", until=heard("b", "a without rules"))
        wire.never(heard("c", "a without rules"), "VLAN 7 in VLAN 8 without a rule", until=heard("b", "and again"))


def counted(lab: Lab, text: str) -> int:
    """Packets of the rule that has the text, once the datapath's numbers have come up."""
    appctl(lab, "revalidator/wait")
    lines = [line for line in ofctl(lab, "dump-flows").splitlines() if text in line]
    return sum(int(number) for line in lines for number in re.findall(r"n_packets=(\d+)", line))


# -- what a restart keeps


@pytest.mark.lab("open-vswitch")
def test_a_restart_keeps_the_configuration_and_loses_the_rules(lab: Lab, report_table: Report) -> None:
    """Killed and started again the switch has its configuration, from its database, and neither rules nor addresses learned."""
    vsctl(lab, "set", "Port", "to-c", "tag=7")
    rule(lab, "in_port=to-a,actions=drop")
    assert not reaches(lab["a"], ADDRESSES["c"], SHORTLY)
    knows(lab, "b")
    before = state(lab)
    killed(lab)
    after = state(lab)
    keys = ("VLAN of c", "numbers of ports", "rules", "b was heard")
    report_table("what a restart keeps", ("what", "before", "after"), [(key, before[key], after[key]) for key in keys])
    assert (before["rules"], after["rules"]) == (2, 1)
    assert (before["b was heard"], after["b was heard"]) == (True, False)
    assert [after[key] for key in keys[:2]] == [before[key] for key in keys[:2]]
    assert reaches(lab["a"], ADDRESSES["c"])


@pytest.mark.lab("open-vswitch")
def test_without_its_database_a_restart_keeps_nothing(lab: Lab) -> None:
    """Without its database the switch that comes back has no port: what survives, survives there."""
    assert reaches(lab["a"], ADDRESSES["b"])
    killed(lab, lambda: lab["sw"].run(["rm", "/etc/openvswitch/conf.db"]))
    assert vsctl(lab, "list-br") == ""
    assert not reaches(lab["a"], ADDRESSES["b"], SHORTLY)


def state(lab: Lab) -> dict[str, Any]:
    ports = lab.switches()["sw"].ports
    return {
        "VLAN of c": next(port.access for port in ports if port.name == "to-c"),
        "numbers of ports": " ".join(f"{port.name}={port.number}" for port in ports),
        "rules": ofctl(lab, "dump-flows").count("actions="),
        "b was heard": lab["b"].mac("eth0") in appctl(lab, "fdb/show", "br0"),
    }


def killed(lab: Lab, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Both daemons get SIGKILL and are started anew."""
    database, switch = (lab["sw"].services[name] for name in ("ovsdb-server", "ovs-vswitchd"))
    assert (switch.kill(), database.kill()) == (-signal.SIGKILL, -signal.SIGKILL)
    meanwhile()
    for service in (database, switch):
        service.start()
        service.wait_ready()


# -- the kernel's datapath by itself


@pytest.mark.lab("open-vswitch", datapath="kernel")
def test_the_kernels_datapath_without_ovs_vswitchd(lab: Lab) -> None:
    """Without ovs-vswitchd the kernel's datapath misses in vain; with flows put in by ovs-dpctl it forwards all the same."""
    lab["sw"].services["ovs-vswitchd"].stop()
    dpctl(lab, "del-flows", "system@ovs-system")
    before = lost(lab)
    assert not reaches(lab["a"], ADDRESSES["b"], SHORTLY)
    assert lost(lab) > before
    numbers = {name: number for number, name in re.findall(r"port (\d+): (\S+)", dpctl(lab, "show", "system@ovs-system"))}
    for come, go in (("to-a", "to-b"), ("to-b", "to-a")):
        for kind in ("eth_type(0x0806),arp()", "eth_type(0x0800),ipv4(frag=no)"):
            match = f"in_port({numbers[come]}),eth(),{kind}"
            dpctl(lab, "add-flow", "system@ovs-system", match, numbers[go])
    assert reaches(lab["a"], ADDRESSES["b"])
    assert "packets:0" not in dpctl(lab, "dump-flows", "system@ovs-system").split("actions:")[0]


def dpctl(lab: Lab, *words: str) -> str:
    return lab["sw"].run(["ovs-dpctl", *words]).stdout


def lost(lab: Lab) -> int:
    """Packets that missed, and that nobody took."""
    found = re.search(r"missed:(\d+) lost:(\d+)", dpctl(lab, "show", "system@ovs-system"))
    assert found
    return int(found[1]) + int(found[2])
