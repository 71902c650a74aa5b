"""TCP segments signed with a shared key (RFC 2385): what a wrong key costs, what the wire shows, and what an attacker can do.

The article that this begins with ("TCP_MD5SIG: An Undocumented Socket Option in Linux") says that the client must be bound to
an address and a port that the server knows. Its address must be known: a key is found by it. Its port need not be: the kernel
does not look at the one in the key (net/ipv4/tcp_ipv4.c, tcp_parse_md5_keys), and a key for a prefix, which came later
(TCP_MD5SIG_EXT), covers addresses that nobody named.

Who is refused is told nothing: segments without the right signature are dropped before TCP looks at them (tcp_inbound_hash),
so that to connect ends by time-out. The server's counters and the reasons of the drops tell which of three it was.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from lab import Lab, sockopts
from lab.observe import counters, rfc2385
from lab.observe.connect import CONNECTED, V4, V6
from lab.observe.rfc2385 import Segment
from lab.observe.wire import Packet, Wire
from lab.sockopts import Md5Key, sign

CLIENT: dict[int, str] = {V4: "10.0.0.1", V6: "2001:db8::1"}
OTHER: dict[int, str] = {V4: "10.0.0.9", V6: "2001:db8::9"}
"""The client's second address."""
SERVER: dict[int, str] = {V4: "10.0.0.2", V6: "2001:db8::2"}
LAN: dict[int, tuple[str, int]] = {V4: ("10.0.0.0", 24), V6: ("2001:db8::", 64)}
BITS: dict[int, int] = {V4: 32, V6: 128}
PORT, CLOSED = 179, 180
KEYS = {"right": b"secret", "wrong": b"another", "none": b""}
FAILURE, NOT_FOUND, UNEXPECTED = "TcpExtTCPMD5Failure", "TcpExtTCPMD5NotFound", "TcpExtTCPMD5Unexpected"
WITHIN = 5.0  # seconds, for what takes milliseconds, or some retransmissions
PATIENCE = 300  # milliseconds that the client tries to connect, but for the first second
LOOK_AGAIN = 0.005  # seconds
TIMED_OUT, DROPPED = "ETIMEDOUT", "dropped"
both_families = pytest.mark.parametrize("kind", [V4, V6], ids=["ipv4", "ipv6"])
T = TypeVar("T")
Report = Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]


def key_of(lab: Lab, node: str) -> bytes:
    return KEYS[str(lab.record.params[node])]


def own_keys(lab: Lab, kind: int) -> tuple[list[Md5Key], list[Md5Key]]:
    """The client's and the server's, each for the other's address, as the parameters have it; none is no key."""
    keys = (Md5Key(SERVER[kind], key_of(lab, "client")), Md5Key(CLIENT[kind], key_of(lab, "server")))
    return [key for key in keys[:1] if key.key], [key for key in keys[1:] if key.key]


@contextlib.contextmanager
def listening(lab: Lab, kind: int, keys: Iterable[Md5Key], address: str = "") -> Iterator[socket.socket]:
    with lab["server"].socket(kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address or SERVER[kind], PORT))
        for key in keys:
            sign(sock, key)
        sock.listen()
        sock.settimeout(WITHIN)
        yield sock


@contextlib.contextmanager
def connecting(
    lab: Lab, kind: int, keys: Iterable[Md5Key], source: tuple[str, int] | None = None, port: int = PORT, wait: bool = False
) -> Iterator[tuple[socket.socket, str]]:
    """The client's socket, and how connecting ends: CONNECTED, DROPPED as soon as the server has counted that, or the name of
    the error; with `wait` an error alone ends what is not answered."""
    with lab["client"].socket(kind) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PATIENCE)
        for key in keys:
            sign(sock, key)
        sock.bind(source or (CLIENT[kind], 0))
        sock.setblocking(False)
        before = refused(lab)
        sock.connect_ex((SERVER[kind], port))
        end = how_it_ends(sock, (lambda: False) if wait else (lambda: refused(lab) > before))
        sock.settimeout(WITHIN)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
        yield sock, end


def how_it_ends(sock: socket.socket, dropped: Callable[[], bool]) -> str:
    """What is dropped is sent again after a second at the earliest: until then nobody answers."""
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        ended = select.select([], [sock], [], LOOK_AGAIN)[1]
        if dropped():  # looked at first: on a busy machine the time-out may have come as well
            return DROPPED
        if ended:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            return errno.errorcode[code] if code else CONNECTED
    return "nothing came of it"


def refused(lab: Lab) -> int:
    """How many segments the server has dropped for their signatures."""
    counted = lab["server"].counters()
    return sum(counted[name] for name in (FAILURE, NOT_FOUND, UNEXPECTED))


@dataclass(frozen=True, slots=True)
class Met:
    """How connecting ended, which of the server's MD5 counters moved, and for which reasons its kernel dropped segments."""

    end: str
    counted: frozenset[str]
    reasons: frozenset[str]


def meet(lab: Lab, kind: int, mine: Iterable[Md5Key], theirs: Iterable[Md5Key], address: str = "", wait: bool = False) -> Met:
    """The client, with the keys `mine`, connects to the server, which has `theirs`."""
    before = lab["server"].counters()
    source = (address or CLIENT[kind], 0)
    connected = connecting(lab, kind, mine, source, wait=wait)
    with lab.explain() as explained, listening(lab, kind, theirs), connected as (_, end):
        moved = counters.delta(before, lab["server"].counters())
        reasons = [drop.reason for drop in explained.drops if drop.node == "server" and "MD5" in drop.reason]
    return Met(end, frozenset(name for name in moved if "MD5" in name), frozenset(reasons))


def ends(lab: Lab, kind: int, key: bytes, theirs: Iterable[Md5Key], address: str = "") -> str:
    """How the client's connecting with this key ends."""
    return meet(lab, kind, [Md5Key(SERVER[kind], key)], theirs, address).end


@contextlib.contextmanager
def session(lab: Lab, kind: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's and the server's socket of a connection, with their keys."""
    mine, theirs = own_keys(lab, kind)
    with listening(lab, kind, theirs) as listener, connecting(lab, kind, mine) as (client, end):
        assert end == CONNECTED
        server, _ = listener.accept()
        with server:
            server.settimeout(WITHIN)
            try:
                yield client, server
            except BaseException:
                abort(client, server)
                raise


def abort(*socks: socket.socket) -> None:
    """What was not acknowledged is given up at once: a socket that is closed otherwise goes on sending it for minutes, and
    keeps its namespace."""
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def passes(sender: socket.socket, receiver: socket.socket, what: bytes) -> bool:
    sender.sendall(what)
    return arrives(receiver, what)


def arrives(receiver: socket.socket, what: bytes) -> bool:
    return receiver.recv(len(what), socket.MSG_WAITALL) == what


# -- who is let in


@both_families
@pytest.mark.lab("tcp-md5", client="right", server="right")
def test_the_same_key_connects(lab: Lab, kind: int) -> None:
    """Client and server with the same key connect and talk, and no counter of signatures moves."""
    with session(lab, kind) as (client, server):
        assert passes(client, server, b"question")
        assert passes(server, client, b"answer")
    assert meet(lab, kind, *own_keys(lab, kind)) == Met(CONNECTED, frozenset(), frozenset())


@pytest.mark.lab("tcp-md5", client="wrong", server="right")
def test_a_wrong_key_is_silence(lab: Lab) -> None:
    """A client with another key times out: its segments are dropped as TCP_MD5FAILURE, and TcpExtTCPMD5Failure counts."""
    met = at_once(lambda kind: meet(lab, kind, *own_keys(lab, kind), wait=True))
    assert met == [Met(TIMED_OUT, frozenset({FAILURE}), frozenset({"TCP_MD5FAILURE"}))] * 2


def at_once(do: Callable[[int], T]) -> list[T]:
    """Of both families."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(do, (V4, V6)))


@both_families
@pytest.mark.lab("tcp-md5", client="none", server="right")
def test_a_client_without_a_key_is_silence(lab: Lab, kind: int) -> None:
    """A client that does not sign is left unanswered: TCP_MD5NOTFOUND, and TcpExtTCPMD5NotFound counts."""
    assert meet(lab, kind, *own_keys(lab, kind)) == Met(DROPPED, frozenset({NOT_FOUND}), frozenset({"TCP_MD5NOTFOUND"}))


@both_families
@pytest.mark.lab("tcp-md5", client="right", server="none")
def test_a_server_without_a_key_is_silence(lab: Lab, kind: int) -> None:
    """A client that signs unasked is left unanswered too: TCP_MD5UNEXPECTED, and TcpExtTCPMD5Unexpected counts."""
    assert meet(lab, kind, *own_keys(lab, kind)) == Met(DROPPED, frozenset({UNEXPECTED}), frozenset({"TCP_MD5UNEXPECTED"}))


@pytest.mark.lab("tcp-md5", client="right")
def test_a_closed_port_refuses_only_who_does_not_sign(lab: Lab) -> None:
    """At a port where nobody listens who signs times out, for nobody could sign the reset; who does not is refused at once."""
    assert at_once(lambda kind: at_closed_port(lab, kind, own_keys(lab, kind)[0])) == [TIMED_OUT] * 2
    assert at_once(lambda kind: at_closed_port(lab, kind, [])) == ["ECONNREFUSED"] * 2


def at_closed_port(lab: Lab, kind: int, keys: Iterable[Md5Key]) -> str:
    with connecting(lab, kind, keys, port=CLOSED, wait=True) as (_, end):
        return end


# -- which key is meant


@pytest.mark.lab("tcp-md5", client="right", server="right")
def test_an_ipv6_socket_has_keys_for_ipv4_peers(lab: Lab) -> None:
    """A server's IPv6 socket lets an IPv4 client in by a key for ::ffff:10.0.0.1, and nobody by a key for ::1.2.3.4."""
    mine, theirs = own_keys(lab, V4)
    found = {}
    for peer in (f"::ffff:{CLIENT[V4]}", "::1.2.3.4"):
        keys = [Md5Key(peer, key.key) for key in theirs]
        with listening(lab, V6, keys, "::"), connecting(lab, V4, mine) as (_, end):
            found[peer] = end
    assert found == {f"::ffff:{CLIENT[V4]}": CONNECTED, "::1.2.3.4": DROPPED}


@both_families
@pytest.mark.lab("tcp-md5", prefix="network")
def test_a_key_for_a_prefix_covers_every_address_in_it(lab: Lab, kind: int) -> None:
    """A key for the LAN's prefix lets both addresses of the client in, one for an address only that."""
    network, bits = LAN[kind]
    wide = Md5Key(network, b"wide", prefix=bits if lab.record.params["prefix"] == "network" else BITS[kind])
    narrow = Md5Key(OTHER[kind], b"narrow", prefix=BITS[kind])
    found = [ends(lab, kind, key.key, [key], address) for key in (wide, narrow) for address in (CLIENT[kind], OTHER[kind])]
    assert found == [CONNECTED, CONNECTED, DROPPED, CONNECTED]


@both_families
@pytest.mark.lab("tcp-md5", prefix="network")
def test_the_longest_prefix_wins(lab: Lab, kind: int) -> None:
    """Of two keys that fit that of the longer prefix counts, whichever was set first; the other one counts elsewhere."""
    network, bits = LAN[kind]
    wide = Md5Key(network, b"wide", prefix=bits if lab.record.params["prefix"] == "network" else BITS[kind])
    narrow = Md5Key(CLIENT[kind], b"narrow", prefix=BITS[kind])
    for order in ([wide, narrow], [narrow, wide]):
        assert ends(lab, kind, b"narrow", order) == CONNECTED
        assert ends(lab, kind, b"wide", order) == DROPPED
    assert ends(lab, kind, b"wide", [wide, narrow], OTHER[kind]) == CONNECTED


@pytest.mark.lab("tcp-md5")
def test_every_one_of_80_bytes_counts(lab: Lab) -> None:
    """A key may have 80 bytes of any value, each of which counts: another last byte, or one zero more, is another key."""
    long, short = bytes(range(80)), b"\0\xff"
    theirs = {key: [Md5Key(CLIENT[V4], key)] for key in (long, short)}
    assert [ends(lab, V4, key, theirs[long]) for key in (long, long[:-1] + b"\0", long[:-1])] == [CONNECTED, *[DROPPED] * 2]
    assert [ends(lab, V4, key, theirs[short]) for key in (short, short + b"\0", b"\0")] == [CONNECTED, *[DROPPED] * 2]


@both_families
@pytest.mark.lab("tcp-md5", client="right", server="right")
def test_the_clients_port_need_not_be_known(lab: Lab, kind: int) -> None:
    """The server must know the client's address, and need not know its port: from any port of it a client connects."""
    mine, theirs = own_keys(lab, kind)
    bound = Md5Key(CLIENT[kind], theirs[0].key if theirs else b"", port=4000)  # the kernel does not look at the port
    found = {}
    for name, source in (("any", (CLIENT[kind], 0)), ("that", (CLIENT[kind], 4000)), ("another", (CLIENT[kind], 4001))):
        with listening(lab, kind, [bound] if bound.key else []), connecting(lab, kind, mine, source) as (_, end):
            found[name] = end
    found["another address"] = meet(lab, kind, mine, theirs, OTHER[kind]).end
    assert found == {"any": CONNECTED, "that": CONNECTED, "another": CONNECTED, "another address": DROPPED}


@both_families
@pytest.mark.lab("tcp-md5", client="right", server="right")
def test_a_client_that_is_bound_to_nothing_connects(lab: Lab, kind: int) -> None:
    """A client that is bound to neither address nor port connects, where the address that routing gives it has a key."""
    mine, theirs = own_keys(lab, kind)
    anywhere = "0.0.0.0" if kind == V4 else "::"
    with listening(lab, kind, theirs), connecting(lab, kind, mine, (anywhere, 0)) as (client, end):
        assert (end, client.getsockname()[0]) == (CONNECTED, CLIENT[kind])


REFUSALS: dict[str, tuple[int, int, Callable[[], bytes], str]] = {
    # family of the socket, option, structure, what the kernel says
    "81 bytes": (V4, sockopts.TCP_MD5SIG, lambda: long_key(81), "EINVAL"),
    "80 bytes": (V4, sockopts.TCP_MD5SIG, lambda: long_key(80), "0"),
    "a structure that is short": (V4, sockopts.TCP_MD5SIG, lambda: Md5Key(CLIENT[V4], b"k").packed()[:-1], "EINVAL"),
    "an IPv6 peer of an IPv4 socket": (V4, sockopts.TCP_MD5SIG, lambda: Md5Key(CLIENT[V6], b"k").packed(), "EINVAL"),
    "an IPv4 peer of an IPv6 socket": (V6, sockopts.TCP_MD5SIG, lambda: Md5Key(CLIENT[V4], b"k").packed(), "EINVAL"),
    "no family at all": (V4, sockopts.TCP_MD5SIG, lambda: bytes(2) + Md5Key(CLIENT[V4], b"k").packed()[2:], "EINVAL"),
    "prefix 33": (V4, sockopts.TCP_MD5SIG_EXT, lambda: Md5Key(CLIENT[V4], b"k", prefix=33).packed(), "EINVAL"),
    "prefix 32": (V4, sockopts.TCP_MD5SIG_EXT, lambda: Md5Key(CLIENT[V4], b"k", prefix=32).packed(), "0"),
    "prefix 129": (V6, sockopts.TCP_MD5SIG_EXT, lambda: Md5Key(CLIENT[V6], b"k", prefix=129).packed(), "EINVAL"),
    "prefix 128": (V6, sockopts.TCP_MD5SIG_EXT, lambda: Md5Key(CLIENT[V6], b"k", prefix=128).packed(), "0"),
    "prefix 33 of ::ffff:": (
        V6,
        sockopts.TCP_MD5SIG_EXT,
        lambda: Md5Key("::ffff:10.0.0.1", b"k", prefix=33).packed(),
        "EINVAL",
    ),
    "an interface that is no VRF": (V4, sockopts.TCP_MD5SIG_EXT, lambda: Md5Key(CLIENT[V4], b"k", index=1).packed(), "EINVAL"),
    "an interface that is not there": (
        V4,
        sockopts.TCP_MD5SIG_EXT,
        lambda: Md5Key(CLIENT[V4], b"k", index=999).packed(),
        "EINVAL",
    ),
    "to take away what is not there": (V4, sockopts.TCP_MD5SIG, lambda: Md5Key(CLIENT[V4], b"").packed(), "ENOENT"),
    "the same of a prefix": (V6, sockopts.TCP_MD5SIG_EXT, lambda: Md5Key(CLIENT[V6], b"", prefix=64).packed(), "ENOENT"),
}


def long_key(length: int) -> bytes:
    """A structure that says so many bytes, whether or not there is room for them; they lie behind 130 bytes of other fields."""
    packed = Md5Key(CLIENT[V4], bytes(80)).packed()
    return packed[:130] + struct.pack("=H", length) + packed[132:]


@pytest.mark.lab("tcp-md5")
def test_what_the_kernel_refuses(lab: Lab, report_table: Report) -> None:
    """A key that is too long, or for what cannot be a peer, is EINVAL; to take away one that is not there is ENOENT."""
    found = {}
    for name, (kind, option, structure, _) in REFUSALS.items():
        with lab["client"].socket(kind) as sock:
            found[name] = said(lambda sock=sock, option=option, structure=structure: set_raw(sock, option, structure()))  # type: ignore[misc]
    report_table("what the kernel says to a key", ("key", "it says"), found.items())
    assert found == {name: expected for name, (*_, expected) in REFUSALS.items()}


def set_raw(sock: socket.socket, option: int, structure: bytes) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, option, structure)


def said(do: Callable[[], object]) -> str:
    try:
        do()
    except TimeoutError:
        return "nothing came of it"
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "0"


@pytest.mark.lab("tcp-md5")
def test_a_key_is_taken_away_once_and_only_by_its_own_prefix(lab: Lab) -> None:
    """A key is taken away by an empty one for the same prefix, once; for another prefix or address that is ENOENT."""
    with lab["server"].socket(V4) as sock:
        sign(sock, Md5Key("10.0.0.0", b"key", prefix=24))
        wrong = [Md5Key("10.0.0.0", b"", prefix=25), Md5Key("10.0.0.0", b""), Md5Key("10.0.1.0", b"", prefix=24)]
        right = Md5Key("10.0.0.0", b"", prefix=24)
        found = [said(lambda key=key: sign(sock, key)) for key in (*wrong, right, right)]  # type: ignore[misc]
    assert found == ["ENOENT", "ENOENT", "ENOENT", "0", "ENOENT"]


@pytest.mark.lab("tcp-md5")
def test_a_key_cannot_be_read_back(lab: Lab) -> None:
    """getsockopt(2) gives no key away, and UDP has none."""
    with lab["client"].socket(V4) as tcp, lab["client"].socket(V4, socket.SOCK_DGRAM) as udp:
        sign(tcp, Md5Key(SERVER[V4], b"key"))
        assert said(lambda: tcp.getsockopt(socket.IPPROTO_TCP, sockopts.TCP_MD5SIG, 216)) == "ENOPROTOOPT"
        assert said(lambda: sign(udp, Md5Key(SERVER[V4], b"key"))) == "ENOPROTOOPT"


# -- on the wire


def segments(wire: Wire, sender: str) -> list[Segment]:
    """What this node has sent, at its own interface."""
    return [Segment.of(each.data) for each in wire.frames if each.sent and each.interface.node == sender]


def has_fin(packet: Packet) -> bool:
    return TCP in packet and "F" in packet[TCP].flags


@both_families
@pytest.mark.lab("tcp-md5", client="right", server="right")
def test_every_segment_bears_the_digest_of_the_rfc(lab: Lab, kind: int) -> None:
    """Every segment, with data or without, bears option 19 with the digest that RFC 2385 makes of it and the key."""
    with lab.capture("client:eth0", "server:eth0", filter=f"tcp port {PORT}") as wire:
        with session(lab, kind) as (client, server):
            assert passes(client, server, b"question" * 100)
            assert passes(server, client, b"odd")
        wire.expect_in_order((has_fin, "the end of one side"), (has_fin, "the end of the other"))
    seen = [*segments(wire, "client"), *segments(wire, "server")]
    assert {bool(each.flags & rfc2385.SYN) for each in seen} == {bool(each.payload) for each in seen} == {True, False}
    assert [each.is_signed_with(KEYS["right"]) for each in seen] == [True] * len(seen)
    assert not any(each.is_signed_with(KEYS["wrong"]) for each in seen)


@both_families
@pytest.mark.lab("tcp-md5", client="right", server="right")
def test_the_signature_takes_the_place_of_timestamps(lab: Lab, kind: int) -> None:
    """A signed SYN has no room for timestamps, and says the same MSS as one without a signature."""
    first = {}
    for name, mine, theirs in (("signed", *own_keys(lab, kind)), ("unsigned", [], [])):
        wire = lab.capture("client:eth0", filter=f"tcp port {PORT}")
        with wire, listening(lab, kind, theirs), connecting(lab, kind, mine):
            wire.expect(lambda packet: TCP in packet and packet[TCP].flags == "S", "the SYN")
        first[name] = segments(wire, "client")[0]
    others = (rfc2385.MSS, rfc2385.SACK_PERMITTED, rfc2385.WINDOW_SCALE)
    assert sorted(first["signed"].kinds) == sorted((rfc2385.KIND, *others))
    assert sorted(first["unsigned"].kinds) == sorted((rfc2385.TIMESTAMPS, *others))
    assert first["signed"].option(rfc2385.MSS) == first["unsigned"].option(rfc2385.MSS) == struct.pack("!H", mss(kind))


def mss(kind: int) -> int:
    """Of a link of 1500 bytes (RFC 9293, 3.7.1): without the IP header and 20 bytes of TCP's."""
    return 1500 - (20 if kind == V4 else 40) - 20


@both_families
@pytest.mark.lab("tcp-md5", client="right", server="right")
def test_the_signature_takes_20_bytes_of_every_segment(lab: Lab, kind: int) -> None:
    """The largest segment carries 20 bytes less than the MSS, for the option and its padding; timestamps alone take 12."""
    with lab.capture("client:eth0", filter=f"tcp port {PORT}") as wire:
        with session(lab, kind) as (client, server):
            assert passes(client, server, bytes(20_000))
        wire.expect(has_fin, "the end")
    signed = max(len(each.payload) for each in segments(wire, "client"))
    with listening(lab, kind, []), connecting(lab, kind, []) as (client, _):
        unsigned = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)  # which does not count the signature
    assert (signed, unsigned) == (mss(kind) - 20, mss(kind) - 12)


# -- a living session


@both_families
@pytest.mark.lab("tcp-md5", client="right", server="right", sides="both")
def test_a_key_that_changes_on_one_side_stalls_the_session(lab: Lab, kind: int) -> None:
    """A key changed on one side stalls a living session and counts failures; changed on the other too, the data arrives."""
    changes_key(lab, kind, b"changed", FAILURE)


@both_families
@pytest.mark.lab("tcp-md5", client="right", server="right", sides="both")
def test_a_key_that_is_taken_away_on_both_sides_leaves_the_session(lab: Lab, kind: int) -> None:
    """A key taken away on one side stalls a living session; taken away on the other too, it goes on without signatures."""
    with lab.capture("client:eth0", filter=f"tcp port {PORT}") as wire:
        changes_key(lab, kind, b"", NOT_FOUND)
        wire.expect(has_fin, "the end")
    signed = [rfc2385.KIND in each.kinds for each in segments(wire, "client")]
    assert signed == sorted(signed, reverse=True)  # and never again after the first without
    assert (signed[0], signed[-1]) == (True, False)


def changes_key(lab: Lab, kind: int, key: bytes, counter: str) -> None:
    """On the client's side, which stalls and counts at the server, and on the server's."""
    with session(lab, kind) as (client, server):
        assert passes(client, server, b"before")
        before = lab["server"].counters()[counter]
        sign(client, Md5Key(SERVER[kind], key))
        client.sendall(b"after")
        lab["server"].wait(lambda: lab["server"].counters()[counter] > before, WITHIN, f"{counter} moves")
        assert not select.select([server], [], [], 0)[0]
        if lab.record.params["sides"] == "both":
            sign(server, Md5Key(CLIENT[kind], key))
        assert arrives(server, b"after")
        assert passes(server, client, b"and back")


# -- an attacker


@both_families
@pytest.mark.lab("tcp-md5", client="none", server="none", sequence="exact")
def test_a_spoofed_reset_ends_an_unsigned_session(lab: Lab, kind: int) -> None:
    """A reset that an attacker sends in the client's name, with the number that is due, ends a session without keys."""
    with attacked(lab, kind) as (_, server):
        assert said(lambda: server.recv(1)) == "ECONNRESET"


@both_families
@pytest.mark.lab("tcp-md5", client="right", server="right", sequence="exact")
def test_a_signed_session_survives_a_spoofed_reset(lab: Lab, kind: int) -> None:
    """The same reset is dropped and counted in TcpExtTCPMD5NotFound where the session is signed, which goes on."""
    with lab.explain() as explained, attacked(lab, kind) as (client, server):
        lab["server"].wait(lambda: lab["server"].counters()[NOT_FOUND] == 1, WITHIN, f"{NOT_FOUND} is 1")
        explained.expect("server", "TCP_MD5NOTFOUND")
        assert passes(client, server, b"after the reset")
        assert passes(server, client, b"and back")


@contextlib.contextmanager
def attacked(lab: Lab, kind: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A session that has talked, and whose server has been sent a reset in the client's name."""
    with lab.capture("client:eth0", filter=f"tcp port {PORT}") as wire, session(lab, kind) as (client, server):
        assert passes(client, server, b"question")
        assert passes(server, client, b"answer")
        wire.expect(lambda packet: b"answer" in packet.frame.data, "the answer")
        spoof_reset(lab, kind, segments(wire, "client")[-1])
        yield client, server


def spoof_reset(lab: Lab, kind: int, last: Segment) -> None:
    """What comes after the client's last segment, or half the sequence space away."""
    source, target = last.ports
    number = last.after if lab.record.params["sequence"] == "exact" else (last.after + (1 << 31)) & 0xFFFFFFFF
    packet = IP(src=CLIENT[kind], dst=SERVER[kind]) if kind == V4 else IPv6(src=CLIENT[kind], dst=SERVER[kind])
    frame = Ether(src=lab["attacker"].mac("eth0"), dst=lab["server"].mac("eth0")) / packet
    lab["attacker"].send("eth0", bytes(frame / TCP(sport=source, dport=target, flags="R", seq=number)))
