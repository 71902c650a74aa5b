"""Typed socket options do on real sockets what they say, and their refusals are the kernel's."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import Lab, sockopts
from lab.node import Node
from lab.sockopts import Md5Key

pytestmark = pytest.mark.root

PAIR = """\
name: {name}
nodes: {{a: {{}}, b: {{}}}}
links:
  - endpoints: [a, b]
    nodad: true
    addresses: {{a: [10.0.0.1/24, "2001:db8::1/64"], b: [10.0.0.2/24, "2001:db8::2/64"]}}
"""
V4, V6, UDP, TCP = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM, socket.SOCK_STREAM
BOTH = pytest.mark.parametrize(("family", "mine", "theirs"), [(V4, "10.0.0.1", "10.0.0.2"), (V6, "2001:db8::1", "2001:db8::2")])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, own_run_directory: Path) -> Iterator[Lab]:
    path = tmp_path_factory.mktemp("sockopts") / "pair.yaml"
    path.write_text(PAIR.format(name="sockopts"))
    with Lab.up(path, name=f"sockopts-{own_run_directory.name[-8:]}") as lab:
        lab["a"].init(), lab["b"].init()
        yield lab


def anycast(node: Node) -> list[str]:
    """/proc/net/anycast6: address and number of users of each."""
    lines = [line.split() for line in node.inside(Path("/proc/thread-self/net/anycast6").read_text).splitlines()]
    return [f"{fields[2]} {fields[3]}" for fields in lines]


def refused(code: int) -> pytest.RaisesExc[OSError]:
    return pytest.raises(OSError, check=lambda error: error.errno == code)


def test_an_anycast_group_is_joined_counted_and_left(pair: Lab) -> None:
    group, told = "2001:db8::acac", "20010db800000000000000000000acac"
    with pair["b"].socket(V6, UDP) as one, pair["b"].socket(V6, UDP) as two:
        sockopts.join_anycast(one, group)
        assert anycast(pair["b"]) == [f"{told} 1"]
        sockopts.join_anycast(two, group)
        assert anycast(pair["b"]) == [f"{told} 2"]
        pair["a"].run(["ping", "-c1", "-W2", group])
        sockopts.leave_anycast(one, group)
        assert anycast(pair["b"]) == [f"{told} 1"]
        with refused(errno.ENOENT):
            sockopts.leave_anycast(one, group)
    assert anycast(pair["b"]) == []


@pytest.mark.parametrize(
    ("group", "index", "code"),
    [
        ("2001:db8::1", 0, errno.EINVAL),
        ("ff02::1", 0, errno.EINVAL),
        ("2001:db8:ffff::1", 0, errno.EADDRNOTAVAIL),
        ("2001:db8::acac", 99, errno.ENODEV),
    ],
    ids=["the host's own", "multicast", "on no link", "no such interface"],
)
def test_an_anycast_group_that_cannot_be(pair: Lab, group: str, index: int, code: int) -> None:
    with pair["a"].socket(V6, UDP) as sock, refused(code):
        sockopts.join_anycast(sock, group, index)


@pytest.mark.parametrize(("family", "foreign"), [(V4, "192.0.2.9"), (V6, "2001:db8:9::9")])
@pytest.mark.parametrize("allow", [sockopts.allow_foreign, sockopts.transparent])
def test_a_foreign_address_is_bound_only_where_that_is_allowed(
    pair: Lab, family: int, foreign: str, allow: Callable[[socket.socket], None]
) -> None:
    with pair["a"].socket(family, UDP) as sock:
        with refused(errno.EADDRNOTAVAIL):
            sock.bind((foreign, 7))
        allow(sock)
        sock.bind((foreign, 7))


@BOTH
def test_the_path_mtu_is_read_and_obeyed(pair: Lab, family: int, mine: str, theirs: str) -> None:
    with pair["a"].socket(family, UDP) as sock:
        with refused(errno.ENOTCONN):
            sockopts.path_mtu(sock)
        sock.connect((theirs, 9))
        assert sockopts.path_mtu(sock) == 1500
        sockopts.discover_path_mtu(sock, sockopts.PMTUDISC_DO)
        with refused(errno.EMSGSIZE):
            sock.send(bytes(1500))
        sockopts.discover_path_mtu(sock, sockopts.PMTUDISC_DONT)
        assert sock.send(bytes(1500)) == 1500


@BOTH
@pytest.mark.parametrize("takes", [True, False])
def test_udp_without_a_checksum_arrives_over_ipv4_and_over_ipv6_only_where_it_is_taken(
    pair: Lab, family: int, mine: str, theirs: str, takes: bool
) -> None:
    with pair["a"].socket(family, UDP) as sender, pair["b"].socket(family, UDP) as receiver:
        receiver.bind((theirs, 7000))
        receiver.settimeout(2)
        sockopts.without_udp_checksum(sender)
        sockopts.without_udp_checksum(receiver, send=False, receive=takes)
        before = pair["b"].counters()["Udp6InCsumErrors"]
        sender.sendto(b"bare", (theirs, 7000))
        if family == V4 or takes:
            assert receiver.recv(9) == b"bare"
        else:
            pair["b"].wait(lambda: pair["b"].counters()["Udp6InCsumErrors"] == before + 1, what="it was dropped")


@BOTH
@pytest.mark.parametrize(("server_key", "client_key"), [(b"same", b"same"), (b"one", b"other"), (b"one", b"")])
def test_signed_tcp_connects_only_with_the_same_key(
    pair: Lab, family: int, mine: str, theirs: str, server_key: bytes, client_key: bytes
) -> None:
    with pair["b"].socket(family, TCP) as server, pair["a"].socket(family, TCP) as client:
        server.bind((theirs, 0))
        server.listen()
        client.settimeout(0.5)
        sockopts.sign(server, Md5Key(mine, server_key))
        if client_key:
            sockopts.sign(client, Md5Key(theirs, client_key))
        if server_key == client_key:
            client.connect(server.getsockname())
        else:
            with pytest.raises(TimeoutError):
                client.connect(server.getsockname())


def test_a_key_for_a_prefix_a_binary_one_of_80_bytes_and_one_that_is_taken_away(pair: Lab) -> None:
    key = bytes(range(80))
    with pair["b"].socket(V6, TCP) as server, pair["a"].socket(V6, TCP) as client:
        server.bind(("2001:db8::2", 0))
        server.listen()
        sockopts.sign(server, Md5Key("2001:db8::", key, prefix=64))
        sockopts.sign(client, Md5Key("2001:db8::2", key))
        client.settimeout(2)
        client.connect(server.getsockname())
        sockopts.sign(server, Md5Key("2001:db8::", b"", prefix=64))
        with refused(errno.ENOENT):
            sockopts.sign(server, Md5Key("2001:db8::", b"", prefix=64))


def test_keys_that_the_kernel_or_the_structure_refuses(pair: Lab) -> None:
    with pair["a"].socket(V4, TCP) as sock:
        with refused(errno.EINVAL):
            sockopts.sign(sock, Md5Key("2001:db8::2", b"key"))
        with refused(errno.EINVAL):
            sockopts.sign(sock, Md5Key("10.0.0.0", b"key", prefix=33))
        with pytest.raises(ValueError, match="80 bytes at most, not 81"):
            sockopts.sign(sock, Md5Key("10.0.0.2", bytes(81)))
