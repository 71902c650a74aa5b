"""A node as a test uses it: commands, sockets, sysctls, counters, netlink and waiting, each in its own namespace."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.topologies import PAIR

from lab import Lab, Node, TopologyError, live
from lab.observe.conditions import Carrier, ConditionTimeout, Gone, Listening, Usable
from lab.substrate.processes import CommandError

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    file = tmp_path_factory.mktemp("node") / "pair.yaml"
    file.write_text(PAIR.format(name="pair"))
    with Lab.up(file, name=live.unique_name("node")) as lab:
        for node in lab:
            node.init()
        yield lab


@pytest.fixture
def a(lab: Lab) -> Node:
    return lab["a"]


@pytest.fixture
def b(lab: Lab) -> Node:
    return lab["b"]


# The lab as a mapping of nodes.


def test_a_lab_gives_its_nodes_by_name_and_in_the_order_of_the_file(lab: Lab) -> None:
    assert list(lab.nodes) == ["a", "b"]
    assert [node.name for node in lab] == ["a", "b"]
    assert lab["a"] is lab.nodes["a"]


def test_a_node_that_is_not_there_is_an_error_with_the_names_that_are(lab: Lab) -> None:
    with pytest.raises(TopologyError, match=f"lab {lab.name} has no node 'c'\n    its nodes are a, b"):
        _ = lab["c"]


def test_the_nodes_of_a_lab_cannot_be_changed(lab: Lab) -> None:
    with pytest.raises(TypeError):
        lab.nodes["c"] = lab["a"]  # type: ignore[index]


def test_a_lab_knows_what_was_deployed_though_the_file_is_gone(lab: Lab) -> None:
    attached = Lab.attach(lab.name)
    assert attached.rendered == PAIR.format(name="pair")
    assert list(attached.topology.nodes) == ["a", "b"]
    assert attached.directory == lab.directory


def test_attach_reaches_the_same_namespaces(lab: Lab) -> None:
    assert Lab.attach(lab.name)["a"].mac("eth0") == lab["a"].mac("eth0")


def test_attach_of_a_name_that_no_lab_has_names_those_that_some_have(lab: Lab) -> None:
    with pytest.raises(TopologyError, match=f"there is no lab named 'nobody'\n    labs of this host: .*{lab.name}"):
        Lab.attach("nobody")


def test_a_lab_goes_down_at_the_end_of_its_block_whatever_happens_in_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.yaml").write_text(PAIR.format(name=name))
    with pytest.raises(ZeroDivisionError), Lab.up(tmp_path / "x.yaml") as lab:
        _ = 1 / 0
    assert not lab.directory.exists()
    lab.down()


# Commands.


def test_a_command_runs_in_the_namespace_of_its_node(a: Node) -> None:
    assert a.run(["readlink", "/proc/self/ns/net"]).stdout == f"net:[{a.ns.stat().st_ino}]\n"


def test_a_command_sees_the_devices_of_its_node_and_no_others(a: Node) -> None:
    assert {each["ifname"] for each in json.loads(a.run(["ip", "-j", "link"]).stdout)} == {"lo", "eth0"}
    assert {"lo", "eth0"} <= set(a.run(["ls", "/sys/class/net"]).stdout.split())
    assert not {"lo", "eth0"} ^ set(a.run(["ls", "/sys/class/net"]).stdout.split()) - {"bonding_masters"}


def test_a_command_that_fails_is_an_error_with_its_words_unless_that_is_expected(a: Node) -> None:
    with pytest.raises(CommandError, match=r"node a: ip link show nothing: ended with status 1\n.*does not exist"):
        a.run(["ip", "link", "show", "nothing"])
    assert a.run(["ip", "link", "show", "nothing"], check=False).status == 1


def test_a_process_goes_on_until_it_is_told_to_end(a: Node) -> None:
    with a.spawn(["cat"], stdin=-1) as process:
        assert process.poll() is None
        process.signal(signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM


# Sockets.


def test_a_socket_belongs_to_its_node_for_all_its_life(a: Node, b: Node) -> None:
    with b.socket() as server, a.socket() as client:
        server.bind(("10.0.0.2", 0))
        server.listen()
        client.connect(server.getsockname())
        accepted, peer = server.accept()
        with accepted:
            assert peer[0] == "10.0.0.1"
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"


def test_the_same_port_can_be_bound_on_two_nodes(a: Node, b: Node) -> None:
    with a.socket(type=socket.SOCK_DGRAM) as one, b.socket(type=socket.SOCK_DGRAM) as other:
        one.bind(("0.0.0.0", 5353))
        other.bind(("0.0.0.0", 5353))


def test_an_ipv6_socket_reaches_the_other_node(a: Node, b: Node) -> None:
    with b.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server, a.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        server.bind(("2001:db8::2", 0))
        server.settimeout(10)
        client.sendto(b"hello", server.getsockname()[:2])
        data, peer = server.recvfrom(100)
    assert (data, peer[0]) == (b"hello", "2001:db8::1")


def test_a_socket_that_the_kernel_refuses_is_its_errno(a: Node) -> None:
    with pytest.raises(OSError, match="Protocol not supported") as caught:
        a.socket(socket.AF_INET, socket.SOCK_STREAM, 250)
    assert caught.value.errno == errno.EPROTONOSUPPORT


def test_the_main_thread_enters_no_namespace(a: Node) -> None:
    before = Path("/proc/thread-self/ns/net").stat().st_ino
    a.socket().close()
    assert a.inside(lambda: Path("/proc/thread-self/ns/net").stat().st_ino) == a.ns.stat().st_ino
    assert Path("/proc/thread-self/ns/net").stat().st_ino == before


def test_what_is_done_inside_raises_what_it_raised(a: Node) -> None:
    def fail() -> None:
        raise LookupError(threading.current_thread().name)

    with pytest.raises(LookupError, match="netns"):
        a.inside(fail)


def test_nothing_stays_open_of_what_was_done_inside(a: Node) -> None:
    a.inside(int)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no Path each
    for _ in range(20):
        a.inside(int)
        a.mac("eth0")
        a.counters()
        with pytest.raises(ZeroDivisionError):
            a.inside(lambda: 1 / 0)
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


# Sysctls.


def test_a_sysctl_is_read_and_written_on_its_node_alone(a: Node, b: Node) -> None:
    key = "net.ipv4.conf.eth0.arp_ignore"
    assert a.sysctl[key] == "0"
    a.sysctl[key] = 1
    assert (a.sysctl[key], b.sysctl[key]) == ("1", "0")
    a.sysctl[key] = False
    assert a.sysctl[key] == "0"


def test_slashes_part_the_name_of_a_sysctl_too(a: Node) -> None:
    assert a.sysctl["net/ipv4/conf/eth0/arp_ignore"] == "0"


@pytest.mark.parametrize("key", ["net.ipv4.no_such_key", "net.ipv4.conf.eth7.rp_filter", "net", "net.ipv4.ip_forward.x"])
def test_a_sysctl_that_is_not_there_is_a_key_error(a: Node, key: str) -> None:
    with pytest.raises(KeyError):
        _ = a.sysctl[key]
    with pytest.raises(KeyError):
        a.sysctl[key] = 1
    assert key not in a.sysctl


@pytest.mark.parametrize(
    "key", ["kernel.hostname", "vm/swappiness", "net/../kernel/hostname", "net/ipv4/../../vm/swappiness", ""]
)
def test_a_sysctl_of_the_host_is_out_of_reach(a: Node, key: str) -> None:
    with pytest.raises(KeyError):
        _ = a.sysctl[key]
    with pytest.raises(KeyError):
        a.sysctl[key] = "1"


def test_a_value_that_the_kernel_refuses_is_its_errno(a: Node) -> None:
    with pytest.raises(OSError, match="Invalid argument") as caught:
        a.sysctl["net.ipv4.ip_forward"] = "often"
    assert caught.value.errno == errno.EINVAL


def test_a_sysctl_cannot_be_deleted(a: Node) -> None:
    with pytest.raises(TypeError, match="cannot be deleted"):
        del a.sysctl["net.ipv4.ip_forward"]


def test_sysctls_are_listed_by_names_that_can_be_read(a: Node) -> None:
    names = list(a.sysctl)
    assert len(names) == len(a.sysctl) > 100
    assert a.sysctl[next(each for each in names if each.endswith("conf/eth0/rp_filter"))] == "0"


# Counters, netlink, MAC addresses.


def test_counters_are_those_of_nstat_and_of_the_node_alone(a: Node, b: Node) -> None:
    before, others = a.counters(), b.counters()
    a.run(["ping", "-c3", "-i0.01", "-W5", "127.0.0.1"])
    after = a.counters()
    assert after["IcmpInEchos"] - before["IcmpInEchos"] == 3
    assert after["IcmpOutEchoReps"] - before["IcmpOutEchoReps"] == 3
    assert b.counters()["IcmpInEchos"] == others["IcmpInEchos"]
    assert {"TcpExtIPReversePathFilter", "Ip6InReceives", "UdpInErrors", "IpExtInOctets"} <= set(after)


def test_netlink_is_pyroute2_on_the_node(a: Node) -> None:
    with a.netlink as ipr:
        assert {link.get_attr("IFLA_IFNAME") for link in ipr.get_links()} == {"lo", "eth0"}


def test_the_mac_address_is_that_of_the_kernel(a: Node) -> None:
    assert a.mac("eth0") == a.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()
    with pytest.raises(OSError, match="No such device"):
        a.mac("eth7")


# Waiting.


def test_a_condition_that_holds_is_not_waited_for(a: Node) -> None:
    assert a.wait(Carrier("eth0"), timeout=0).what == "eth0 is up"
    assert a.wait(Usable("eth0", "2001:db8::1"), timeout=0).holds


def test_a_condition_is_waited_for_until_it_holds(a: Node) -> None:
    with a.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        listening = threading.Timer(0.05, server.listen)
        listening.start()
        assert a.wait(Listening(port)).what == f"tcp {port} is served"
        listening.join()


def test_a_carrier_that_comes_back_wakes_who_waits_for_it(a: Node, b: Node) -> None:
    b.sysctl["net.ipv6.conf.eth0.keep_addr_on_down"] = 1
    b.run(["ip", "link", "set", "eth0", "down"])
    a.wait(Gone(Carrier("eth0")))  # of which the kernel tells a moment later
    with pytest.raises(ConditionTimeout):
        a.wait(Carrier("eth0"), timeout=0)
    raising = threading.Timer(0.05, b.run, [["ip", "link", "set", "eth0", "up"]])
    raising.start()
    a.wait(Carrier("eth0"))
    raising.join()


def test_a_timeout_says_which_condition_where_and_what_was_last_seen(a: Node) -> None:
    said = "on node a, within 0.05 s never came true: TCP port 9 is served; last seen: nobody serves TCP port 9"
    with pytest.raises(ConditionTimeout, match=re.escape(said)):
        a.wait(Listening(9), timeout=0.05)
    with pytest.raises(ConditionTimeout, match="never came true: eth7 has its carrier; last seen: no interface eth7"):
        a.wait(Carrier("eth7"), timeout=0.05)


def test_a_predicate_looks_from_inside_and_has_a_name(a: Node) -> None:
    inode = a.ns.stat().st_ino
    a.wait(lambda: Path("/proc/thread-self/ns/net").stat().st_ino == inode)
    with pytest.raises(ConditionTimeout, match=r"never came true: pigs fly; last seen: 0"):
        a.wait(lambda: 0, timeout=0.02, what="pigs fly")


def test_an_address_that_is_not_there_is_not_usable(a: Node) -> None:
    with pytest.raises(ConditionTimeout, match="2001:db8::7 is not on eth0"):
        a.wait(Usable("eth0", str(ipaddress.ip_address("2001:db8::7"))), timeout=0)


# Frames made by hand.


def test_a_frame_made_by_hand_leaves_as_it_is(lab: Lab, a: Node, b: Node) -> None:
    frame = bytes.fromhex("ffffffffffff 020000000001 88b5") + b"made by hand".ljust(46, b".")  # IEEE 802, experimental
    with lab.capture("b:eth0", filter="ether proto 0x88b5") as wire:
        a.send("eth0", frame)
        assert wire.expect(lambda _: True, "the frame").frame.data == frame


def test_a_frame_out_of_no_device_or_too_long_for_it_is_an_error(a: Node) -> None:
    for device, size, wanted in (("eth7", 60, errno.ENODEV), ("eth0", 9000, errno.EMSGSIZE)):
        with pytest.raises(OSError) as caught:
            a.send(device, bytes(size))
        assert caught.value.errno == wanted
