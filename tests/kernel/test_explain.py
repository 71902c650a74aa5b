"""Each reason that the lab knows, provoked on the real kernel, is told with the setting that causes it, and not without it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import HostError, Lab, sockopts
from lab.node import Node
from lab.observe.explain import packet
from lab.observe.explain.reasons import Cause
from lab.observe.explain.watch import Drop, DropTimeout, Explainer
from lab.sockopts import Md5Key
from lab.substrate import drops, namespaces

pytestmark = pytest.mark.root

ROUTED = """\
name: {name}
nodes:
  a: {{routes: [{{to: default, via: 10.0.1.2}}, {{to: "::/0", via: "2001:db8:1::2"}}]}}
  r: {{}}
  b: {{routes: [{{to: default, via: 10.0.2.2}}, {{to: "::/0", via: "2001:db8:2::2"}}]}}
links:
  - endpoints: ["a:eth0", "r:left"]
    nodad: true
    addresses: {{a: [10.0.1.1/24, "2001:db8:1::1/64"], r: [10.0.1.2/24, "2001:db8:1::2/64"]}}
  - endpoints: ["b:eth0", "r:right"]
    nodad: true
    addresses: {{b: [10.0.2.1/24, "2001:db8:2::1/64"], r: [10.0.2.2/24, "2001:db8:2::2/64"]}}
"""
V4, V6, UDP, TCP = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM, socket.SOCK_STREAM
HERE: dict[int, str] = {V4: "10.0.1.1", V6: "2001:db8:1::1"}
NEXT: dict[int, str] = {V4: "10.0.1.2", V6: "2001:db8:1::2"}
FAR: dict[int, str] = {V4: "10.0.2.1", V6: "2001:db8:2::1"}
BOTH = pytest.mark.parametrize("kind", [V4, V6], ids=["ipv4", "ipv6"])
PORT = 7000


@pytest.fixture
def lab(tmp_path: Path, name: str) -> Iterator[Lab]:
    path = tmp_path / "routed.yaml"
    path.write_text(ROUTED.format(name=name))
    with Lab.up(path, name=name) as lab:
        yield lab


def send(node: Node, to: str, port: int = PORT, setup: Callable[[socket.socket], object] = lambda _: None) -> None:
    """One datagram; an answer that comes as an error to it is none of this test's matter."""
    with node.socket(V6 if ":" in to else V4, UDP) as sock, contextlib.suppress(ConnectionError):
        setup(sock)
        sock.sendto(b"words", (to, port))


def resolve(lab: Lab) -> None:
    """Requests for a MAC address that a filter refuses are no drop for the kernel."""
    lab["a"].run(["ping", "-c1", "-W5", NEXT[V4]])


def caused(drop: Drop) -> Cause:
    assert drop.cause is not None
    return drop.cause


def wanted(explained: Explainer) -> list[tuple[str, str]]:
    """Node and reason of each drop that somebody may have missed."""
    return [(drop.node, drop.reason) for drop in explained.drops if not drop.harmless]


@contextlib.contextmanager
def receiving(node: Node, kind: int) -> Iterator[socket.socket]:
    with node.socket(kind, UDP) as sock:
        sock.bind(("::" if kind == V6 else "0.0.0.0", PORT))
        sock.settimeout(5)
        yield sock


@BOTH
def test_nobody_at_the_port(lab: Lab, kind: int) -> None:
    with lab.explain() as explained:
        send(lab["a"], NEXT[kind])
        drop = explained.expect("r", "NO_SOCKET")
        assert drop.device == "left"
        assert f"UDP port {PORT} of {NEXT[kind]}" in caused(drop).why
        assert caused(drop).value == "none"
    with receiving(lab["r"], kind) as sock, lab.explain() as explained:
        send(lab["a"], NEXT[kind])
        assert sock.recv(9) == b"words"
        send(lab["a"], NEXT[kind], PORT + 1)
        assert f":{PORT}" in caused(explained.expect("r", "NO_SOCKET")).value
    assert wanted(explained) == [("r", "NO_SOCKET")]  # and none for the one that arrived


def test_the_reverse_path_filter(lab: Lab) -> None:
    router = lab["r"]
    lab["a"].run(["ip", "address", "add", "10.0.2.99/32", "dev", "lo"])
    resolve(lab)
    router.sysctl["net.ipv4.conf.left.rp_filter"] = "1"

    def from_the_wrong_side(sock: socket.socket) -> None:
        sock.bind(("10.0.2.99", 0))

    with lab.explain() as explained:
        send(lab["a"], NEXT[V4], setup=from_the_wrong_side)
        cause = caused(explained.expect("r", "IP_RPFILTER"))
    assert cause.setting == "net.ipv4.conf.left.rp_filter"
    assert cause.value == "1 (net.ipv4.conf.all.rp_filter is 0)"
    assert "10.0.2.99 leaves by right, and this came in by left" in cause.why
    router.sysctl["net.ipv4.conf.all.rp_filter"] = "1"
    router.sysctl["net.ipv4.conf.left.rp_filter"] = "0"
    with lab.explain() as explained:
        send(lab["a"], NEXT[V4], setup=from_the_wrong_side)
        assert caused(explained.expect("r", "IP_RPFILTER")).setting == "net.ipv4.conf.all.rp_filter"
    router.sysctl["net.ipv4.conf.all.rp_filter"] = "0"
    with receiving(router, V4) as sock, lab.explain() as explained:
        send(lab["a"], NEXT[V4], setup=from_the_wrong_side)
        assert sock.recv(9) == b"words"
    assert wanted(explained) == []


@BOTH
def test_a_host_that_does_not_forward(lab: Lab, kind: int) -> None:
    setting = f"net.{'ipv6' if kind == V6 else 'ipv4'}.conf.{{}}.forwarding"
    with lab.explain() as explained:
        send(lab["a"], FAR[kind])
        cause = caused(explained.expect("r", "IP_INADDRERRORS"))
    assert (cause.setting, cause.value) == (setting.format("left"), "0")
    assert FAR[kind] in cause.why
    lab["r"].sysctl[setting.format("all")] = "1"
    with receiving(lab["b"], kind) as sock, lab.explain() as explained:
        send(lab["a"], FAR[kind])
        assert sock.recv(9) == b"words"
    assert wanted(explained) == []


def test_no_route(lab: Lab) -> None:
    lab["r"].sysctl["net.ipv4.ip_forward"] = "1"
    with lab.explain() as explained:
        send(lab["a"], "10.9.9.9")
        drop = explained.expect("r", "IP_INNOROUTES")
    assert (caused(drop).setting, caused(drop).value) == ("route to 10.9.9.9", "no route")
    lab["r"].run(["ip", "route", "add", "10.9.9.9", "via", FAR[V4]])
    with lab.explain() as explained:
        send(lab["a"], "10.9.9.9")
        assert explained.expect("b", "IP_INADDRERRORS").device == "eth0"
    assert wanted(explained) == [("b", "IP_INADDRERRORS")]


@pytest.mark.parametrize("hook", ["input", "output"])
def test_a_rule_of_the_filter(lab: Lab, hook: str) -> None:
    node = lab["r" if hook == "input" else "a"]
    rules = f"table inet t {{ chain c {{ type filter hook {hook} priority 0; udp dport {PORT} drop\n }}\n }}"
    node.run(["nft", "-f", "-"], input=rules)
    with lab.explain() as explained, contextlib.suppress(PermissionError):  # EPERM tells the sender of a drop on its way out
        send(lab["a"], NEXT[V4])
    drop = explained.expect(node.name, "NETFILTER_DROP")
    assert caused(drop).value.startswith(f"inet t c (hook {hook}): udp dport {PORT} drop # handle ")
    handle = caused(drop).value.rpartition(" ")[2]
    node.run(["nft", "delete", "rule", "inet", "t", "c", "handle", handle])
    with receiving(lab["r"], V4) as sock, lab.explain() as explained:
        send(lab["a"], NEXT[V4])
        assert sock.recv(9) == b"words"
    assert wanted(explained) == []


def test_udp_without_a_checksum_over_ipv6(lab: Lab) -> None:
    with receiving(lab["r"], V6) as sock:
        with lab.explain() as explained:
            send(lab["a"], NEXT[V6], setup=sockopts.without_udp_checksum)
            cause = caused(explained.expect("r", "UDP_CSUM"))
        assert (cause.setting, cause.value) == ("UDP_NO_CHECK6_RX of the socket", "0")
        sockopts.without_udp_checksum(sock, send=False)
        with lab.explain() as explained:
            send(lab["a"], NEXT[V6], setup=sockopts.without_udp_checksum)
            assert sock.recv(9) == b"words"
    assert wanted(explained) == []


@pytest.mark.parametrize(
    ("server_key", "client_key", "reason"),
    [
        (b"right", b"wrong", "TCP_MD5FAILURE"),
        (b"right", b"", "TCP_MD5NOTFOUND"),
        (b"", b"right", "TCP_MD5UNEXPECTED"),
        (b"right", b"right", ""),
    ],
)
@BOTH
def test_a_key_of_tcp(lab: Lab, kind: int, server_key: bytes, client_key: bytes, reason: str) -> None:
    with lab["r"].socket(kind) as server, lab["a"].socket(kind) as client, lab.explain() as explained:
        server.bind((NEXT[kind], PORT))
        server.listen()
        for sock, peer, key in ((server, HERE[kind], server_key), (client, NEXT[kind], client_key)):
            if key:
                sockopts.sign(sock, Md5Key(peer, key))
        client.setblocking(False)
        client.connect_ex((NEXT[kind], PORT))
        if not reason:
            client.settimeout(5)
            client.connect((NEXT[kind], PORT))
            assert wanted(explained) == []
            return
        drop = explained.expect("r", reason)
        prefix = f"{HERE[kind]}/{128 if kind == V6 else 32}"
        present = f"a key for {prefix} (port {PORT})" if server_key else "no socket has a key"
        assert (caused(drop).setting, caused(drop).value) == ("TCP_MD5SIG", present)
        assert ("signed (MD5)" in drop.packet) == bool(client_key)
        assert HERE[kind] in caused(drop).why


def test_a_frame_for_somebody_else(lab: Lab) -> None:
    lab["a"].run(["ip", "neighbour", "replace", NEXT[V4], "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent"])
    with lab.explain() as explained:
        send(lab["a"], NEXT[V4])
        cause = caused(explained.expect("r", "OTHERHOST"))
    assert "02:00:00:00:00:99" in cause.why
    assert (cause.setting, cause.value) == ("MAC address of left", lab["r"].mac("left"))
    lab["a"].run(["ip", "neighbour", "del", NEXT[V4], "dev", "eth0"])
    with receiving(lab["r"], V4) as sock, lab.explain() as explained:
        send(lab["a"], NEXT[V4])
        assert sock.recv(9) == b"words"
    assert [drop.reason for drop in explained.drops if drop.reason == "OTHERHOST"] == []


def test_ipv6_that_is_disabled(lab: Lab) -> None:
    mac = lab["r"].mac("left")
    lab["r"].sysctl["net.ipv6.conf.left.disable_ipv6"] = "1"
    lab["a"].run(["ip", "neighbour", "replace", NEXT[V6], "lladdr", mac, "dev", "eth0", "nud", "permanent"])
    with lab.explain() as explained:
        send(lab["a"], NEXT[V6])
        cause = caused(explained.expect("r", "IPV6DISABLED"))
    assert (cause.setting, cause.value) == ("net.ipv6.conf.left.disable_ipv6", "1")


def test_the_senders_own_address_of_the_receiver(lab: Lab) -> None:
    resolve(lab)
    lab["a"].run(["ip", "address", "add", f"{FAR[V4]}/32", "dev", "lo"])
    lab["r"].run(["ip", "address", "add", f"{FAR[V4]}/32", "dev", "lo"])
    with lab.explain() as explained:
        send(lab["a"], NEXT[V4], setup=lambda sock: sock.bind((FAR[V4], 0)))
        cause = caused(explained.expect("r", "IP_LOCAL_SOURCE"))
    assert (cause.setting, cause.value) == ("net.ipv4.conf.left.accept_local", "0")
    lab["r"].sysctl["net.ipv4.conf.left.accept_local"] = "1"
    with receiving(lab["r"], V4) as sock, lab.explain() as explained:
        send(lab["a"], NEXT[V4], setup=lambda sock: sock.bind((FAR[V4], 0)))
        assert sock.recv(9) == b"words"
    assert wanted(explained) == []


def test_nobody_who_answers_for_the_next_hop(lab: Lab) -> None:
    lab["a"].sysctl["net.ipv4.neigh.eth0.retrans_time_ms"] = "20"
    with lab.explain() as explained:
        send(lab["a"], "10.0.1.77")
        drop = explained.expect("a", "NEIGH_FAILED")
    assert drop.device == "eth0"
    assert "10.0.1.77" in caused(drop).why


def test_a_hop_limit_that_is_used_up(lab: Lab) -> None:
    lab["r"].sysctl["net.ipv4.ip_forward"] = "1"
    with lab.explain() as explained:
        send(lab["a"], FAR[V4], setup=lambda sock: sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1))
        assert "used up (1)" in caused(explained.expect("r", "IP_INHDR")).why


def test_an_answer_to_ping_is_no_loss(lab: Lab) -> None:
    with lab.explain() as explained:
        lab["a"].run(["ping", "-c1", "-W5", NEXT[V4]])
    assert wanted(explained) == []


def test_the_same_drop_is_told_once_and_counted(lab: Lab) -> None:
    lab["r"].run(
        ["nft", "-f", "-"],
        input="table inet t { chain c { type filter hook input priority 0; icmp type echo-request drop\n }\n }",
    )
    with lab.explain() as explained:
        lab["a"].run(["ping", "-c3", "-i0.01", "-W0.1", NEXT[V4]], check=False)
    (drop,) = [drop for drop in explained.drops if drop.reason == "NETFILTER_DROP"]
    assert (drop.times, drop.packet) == (3, f"{HERE[V4]} > {NEXT[V4]} ICMP echo request")
    assert "(3 times)" in str(explained)


def test_only_the_labs_own_drops_are_told(lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "two.yaml"
    other.write_text(ROUTED.format(name="other"))
    with Lab.up(other, name=f"{lab.name}-b") as second, second.explain() as theirs, lab.explain() as ours:
        send(lab["a"], NEXT[V4])
        send(second["a"], NEXT[V4], PORT + 5)
        assert f":{PORT} " in ours.expect("r", "NO_SOCKET").packet
        assert f":{PORT + 5} " in theirs.expect("r", "NO_SOCKET").packet
        assert len(wanted(ours)) == len(wanted(theirs)) == 1


def test_what_did_not_come_is_said_with_what_came(lab: Lab) -> None:
    with lab.explain() as explained:
        send(lab["a"], NEXT[V4])
        explained.expect("r", "NO_SOCKET")
        with pytest.raises(DropTimeout, match=r"r dropped nothing for IP_RPFILTER .*(?s:.)*NO_SOCKET"):
            explained.expect("r", "IP_RPFILTER", within=0.05)


def test_without_tracing_counters_and_settings_serve(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> drops.Layout:
        raise HostError("drops cannot be traced: there is no BTF")

    monkeypatch.setattr(drops, "layout", refused)
    resolve(lab)
    lab["a"].run(["ip", "address", "add", "10.0.2.99/32", "dev", "lo"])
    lab["r"].sysctl["net.ipv4.conf.all.rp_filter"] = "1"
    with lab.explain() as explained:
        send(lab["a"], NEXT[V4], setup=lambda sock: sock.bind(("10.0.2.99", 0)))
        drop = explained.expect("r", "IP_RPFILTER")
    assert (drop.device, drop.packet) == ("", "counted in TcpExtIPReversePathFilter")
    assert (caused(drop).setting, caused(drop).value) == ("net.ipv4.conf.all.rp_filter", "1")
    assert "only counters are told" in str(explained)
    assert "there is no BTF" in str(explained)


def test_without_tracing_filters_are_told_for_no_counter_tells_of_them(lab: Lab) -> None:
    with lab.explain() as traced:
        assert traced.set_now == []
    router = lab["r"]
    router.run(
        ["nft", "-f", "-"], input="table inet t {\nchain c {\ntype filter hook input priority 0\nudp dport 7000 drop\n}\n}\n"
    )
    router.sysctl["net.ipv4.conf.left.rp_filter"] = "2"
    with Explainer({node.name: node.ns for node in lab}, untraced="not asked for") as explained:
        send(lab["a"], NEXT[V4])
    assert explained.drops == []
    assert explained.set_now[0] == "r  net.ipv4.conf.left.rp_filter: 2"
    assert explained.set_now[1].startswith("r  inet t c (hook input): udp dport 7000 drop # handle")
    assert len(explained.set_now) == 2
    assert "filters that may drop as well:" in str(explained)


def test_drops_that_found_no_room_are_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops, "_ROOM", 4096)
    with lab.explain() as explained, lab["a"].socket(V4, UDP) as sock:
        for _ in range(40):
            with contextlib.suppress(ConnectionError):
                sock.sendto(b"words", (NEXT[V4], PORT))
    assert explained.lost > 0
    assert f"{explained.lost} more found no room to be kept" in str(explained)


def test_more_namespaces_than_can_be_watched_are_told_by_counters(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops, "_NAMESPACES", 2)
    with lab.explain() as explained:
        assert "traced in 2 namespaces at once" in explained.untraced
        send(lab["a"], NEXT[V4])
        assert explained.expect("r", "NO_SOCKET").packet == "counted in UdpNoPorts"


def test_tracing_leaves_nothing_behind_and_two_go_on_side_by_side(lab: Lab) -> None:
    before = programs()
    with drops.Drops() as one:
        inode = namespaces.inode(lab["r"].ns)
        with drops.Drops() as two:
            two.watch([inode])
            one.watch([inode])
            send(lab["a"], NEXT[V4])
            assert unicast(two) == ["NO_SOCKET"]
        one.leave([inode])
        one.leave([inode])  # once more is nothing
        assert unicast(one) == ["NO_SOCKET"]
        send(lab["a"], NEXT[V4])
        assert one.take() == []
        assert one.lost == 0
    assert programs() <= before


def unicast(traced: drops.Drops) -> list[str]:
    """Reasons of drops of IPv4: every host drops multicasts of IPv6 that it has not asked for."""
    return [each.reason for each in traced.take() if each.protocol == packet.IPV4]


def programs() -> int:
    """Descriptors of BPF in this process."""
    links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum("bpf" in str(link) for link in links)


def test_what_finds_no_room_is_counted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops, "_ROOM", 4096)
    with drops.Drops() as traced:
        traced.watch([namespaces.inode(lab["r"].ns)])
        with lab["a"].socket(V4, UDP) as sock:
            for _ in range(40):
                with contextlib.suppress(ConnectionError):
                    sock.sendto(b"words", (NEXT[V4], PORT))
        found = len(unicast(traced))
        assert 0 < found < 40
        assert found + traced.lost >= 40
        send(lab["a"], NEXT[V4])
        assert unicast(traced) == ["NO_SOCKET"]  # and there is room again
