"""A preferred source address by BPF: of one namespace's sockets, of both families, for as long as it is asked for."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import Lab, Node
from lab.substrate import bpf, preferred

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
TWO = """\
name: {name}
defaults: {{links: {{nodad: true}}}}
nodes:
  a: {{interfaces: {{lo: {{addresses: [10.0.9.1/32, "2001:db8:9::1/128"]}}}}}}
  b: {{routes: [{{to: 10.0.9.1/32, via: 10.0.0.1}}, {{to: "2001:db8:9::1/128", via: "2001:db8::1"}}]}}
links:
  - {{endpoints: ["a:eth0", "b:eth0"], addresses: {{a: [10.0.0.1/24, "2001:db8::1/64"], b: [10.0.0.2/24, "2001:db8::2/64"]}}}}
"""
OWN: dict[int, str] = {socket.AF_INET: "10.0.0.1", socket.AF_INET6: "2001:db8::1"}
PREFERRED: dict[int, str] = {socket.AF_INET: "10.0.9.1", socket.AF_INET6: "2001:db8:9::1"}
FAR: dict[int, str] = {socket.AF_INET: "10.0.0.2", socket.AF_INET6: "2001:db8::2"}


@pytest.fixture
def two(topology: Write) -> Iterator[Lab]:
    with Lab.up(topology(TWO)) as lab:
        yield lab


@contextlib.contextmanager
def preferring(node: Node) -> Iterator[None]:
    with node.socket() as sock:
        cookie = preferred.netns_cookie(sock)
    with preferred.sources(cookie, PREFERRED[socket.AF_INET], PREFERRED[socket.AF_INET6]):
        yield


def connected(node: Node, family: int, to: str, bound: str = "") -> str:
    """The source of a UDP socket that connects."""
    with node.socket(family, socket.SOCK_DGRAM) as sock:
        if bound:
            sock.bind((bound, 0))
        sock.connect((to, 9))
        return str(sock.getsockname()[0])


def sent(lab: Lab, family: int) -> str:
    """The source that b sees of a datagram that a sends without connecting."""
    with lab["b"].socket(family, socket.SOCK_DGRAM) as far, lab["a"].socket(family, socket.SOCK_DGRAM) as sock:
        far.settimeout(5.0)
        far.bind((FAR[family], 9))
        sock.sendto(b"x", (FAR[family], 9))
        return str(far.recvfrom(9)[1][0])


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_who_is_bound_to_nothing_gets_the_preferred_source_while_the_programs_hang_there(two: Lab, family: int) -> None:
    a = two["a"]
    assert (connected(a, family, FAR[family]), sent(two, family)) == (OWN[family], OWN[family])
    with preferring(a):
        assert (connected(a, family, FAR[family]), sent(two, family)) == (PREFERRED[family], PREFERRED[family])
        assert connected(a, family, FAR[family], bound=OWN[family]) == OWN[family]
    assert (connected(a, family, FAR[family]), sent(two, family)) == (OWN[family], OWN[family])


def test_the_sockets_of_another_namespace_go_on_as_they_are(two: Lab) -> None:
    two["b"].run(["ip", "address", "add", "10.0.9.1/32", "dev", "lo"])
    with preferring(two["a"]):
        assert connected(two["b"], socket.AF_INET, "10.0.0.1") == "10.0.0.2"


def test_an_ipv4_mapped_destination_is_left_alone(two: Lab) -> None:
    with preferring(two["a"]):
        assert connected(two["a"], socket.AF_INET6, "::ffff:10.0.0.2") == "::ffff:10.0.0.1"


def test_what_the_verifier_says_of_a_wrong_program_is_told() -> None:
    with pytest.raises(OSError, match="R0 !read_ok"):
        bpf.load([bpf.EXIT], bpf.CGROUP_SOCK_ADDR, preferred.Hook.CONNECT4)
