"""A proxy that learns IPv6: which address of a server it tries first, what a broken one costs, and with whose it speaks.

A web proxy of 2011 that knew IPv4 only (Lusca) was to learn IPv6. Its plan: one family's addresses as a group before the
other's, by the administrator's choice, and of one outgoing address, which may be the client's own (transparent interception),
only destinations of its family. Both still hold, and what the plan leaves open is measured here: the family that comes first
pays for every address of it that does not answer, which happy eyeballs (RFC 8305) of today avoid. Squid 5 has them, and
does not try a family first, as Squid 3 did, but what the name server answered first; it takes an outgoing address of each
family. That an outgoing address decides the family is the kernel's rule as well: a socket that is bound to one cannot
connect to the other (net/ipv6/tcp_ipv6.c, tcp_v6_connect).

An ICMP error ends an attempt to connect only where it does not come too early: while connect(2) holds the socket, which on a
virtual wire it often still does, the error is noted alone, and the answer to the next SYN, 1 s later, ends it
(tcp_v6_err, tcp_v4_err).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPResponse

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from lab import Lab
from lab.observe import names
from lab.observe.connect import (
    CONNECTED,
    GIVEN_UP,
    TOO_LATE,
    V4,
    V6,
    Reached,
    Strategy,
    connect,
    family,
    grouped,
    happy_eyeballs,
    in_sequence,
)
from lab.observe.wire import Packet, Wire
from lab.services.living import Service

RESOLVER, PORT, CLOSED = "127.0.0.1", 80, 81
CLIENT: dict[int, str] = {V4: "10.0.1.1", V6: "2001:db8:1::1"}
PROXY: dict[int, str] = {V4: "10.0.2.1", V6: "2001:db8:2::1"}
OUTGOING: dict[int, str] = {V4: "10.0.2.9", V6: "2001:db8:2::9"}
WORKS: dict[int, str] = {V4: "10.0.3.10", V6: "2001:db8:3::10"}
BOTH = (V4, V6)
WITHIN = 10.0  # seconds, for what takes milliseconds on a machine at rest


def attempt(lab: Lab) -> float:
    """Seconds after which the proxy gives an attempt up."""
    return float(str(lab.record.params["attempt"]))


def addresses(lab: Lab, name: str) -> list[str]:
    """As the proxy's name server has them, IPv6 first."""
    return names.resolve(lab["proxy"].socket, RESOLVER, f"{name}.lab")


def sequence(lab: Lab) -> Strategy:
    return in_sequence(attempt(lab))


def group(lab: Lab, first: int) -> Strategy:
    return grouped(first, attempt(lab))


def eyeballs(lab: Lab) -> Strategy:
    return happy_eyeballs(attempt(lab), float(str(lab.record.params["stagger"])))


def reach(lab: Lab, name: str, strategy: Strategy, source: str | None = None) -> Reached:
    """The proxy connects to a server by its name; the connection itself is not kept."""
    with connect(lab["proxy"].socket, addresses(lab, name), PORT, strategy, source) as reached:
        return reached


def families(reached: Reached) -> list[tuple[int, str]]:
    """What became of the attempts, in their order, each by the family of its address."""
    return [(family(each.address), each.end) for each in reached.attempts]


def syn(packet: Packet, port: int = PORT) -> bool:
    return TCP in packet and packet[TCP].flags == "S" and packet[TCP].dport == port


def asked(wire: Wire) -> list[int]:
    """The families of connections to servers, in the order in which these began on the wire; a SYN that is sent again, as it is
    after a second, begins none."""
    return [family(source) for source, _ in dict.fromkeys(map(begins, wire.all(syn)))]


def begins(packet: Packet) -> tuple[str, int]:
    """Where a connection comes from: address and port."""
    return str(packet[IPv6 if IPv6 in packet else IP].src), int(packet[TCP].sport)


# -- which address is tried first, and what a broken one costs


@pytest.mark.lab("dual-stack-proxy", fault="blackhole", addresses=2)
def test_in_sequence_every_blackholed_address_costs_its_time_out(lab: Lab) -> None:
    """In sequence each blackholed IPv6 address costs the whole time-out of an attempt before IPv4 has its turn."""
    reached = reach(lab, "broken6", sequence(lab))
    assert families(reached) == [(V6, GIVEN_UP), (V6, GIVEN_UP), (V4, CONNECTED)]
    assert reached.seconds >= 2 * attempt(lab)


@pytest.mark.lab("dual-stack-proxy", fault="blackhole", addresses=2, attempt=5)
def test_in_sequence_a_sound_server_costs_nothing(lab: Lab) -> None:
    """In sequence a server whose IPv6 works, or which has its broken addresses behind a working one, costs no time-out."""
    for name in ("works", "broken4"):
        reached = reach(lab, name, sequence(lab))
        assert families(reached) == [(V6, CONNECTED)]
        assert reached.seconds < attempt(lab)


@pytest.mark.lab("dual-stack-proxy", fault="reset", addresses=2, attempt=5)
def test_a_reset_costs_nothing(lab: Lab) -> None:
    """In sequence addresses that answer with a reset cost nothing: the next one is tried at once."""
    reached = reach(lab, "broken6", sequence(lab))
    assert families(reached) == [(V6, "ECONNREFUSED"), (V6, "ECONNREFUSED"), (V4, CONNECTED)]
    assert reached.seconds < attempt(lab)


@pytest.mark.lab("dual-stack-proxy", fault="blackhole", attempt=5)
def test_no_route_costs_nothing(lab: Lab) -> None:
    """In sequence a blackholed address costs nothing once the proxy itself has no route to it: the kernel says so at once."""
    lab["proxy"].run(["ip", "-6", "route", "del", "default"])
    reached = reach(lab, "broken6", sequence(lab))
    assert families(reached) == [(V6, "ENETUNREACH"), (V4, CONNECTED)]
    assert reached.seconds < attempt(lab)


@pytest.mark.lab("dual-stack-proxy", fault="unreachable", attempt=10)
def test_an_icmp_error_ends_an_attempt(lab: Lab) -> None:
    """In sequence a router's ICMP error ends the attempt before its time-out, at the second SYN at the latest."""
    with lab.capture("proxy:eth1", filter="tcp") as wire:
        reached = reach(lab, "broken6", sequence(lab))
    assert families(reached) == [(V6, "ENETUNREACH"), (V4, CONNECTED)]
    assert asked(wire) == [V6, V4]
    assert len(wire.all(lambda packet: syn(packet) and IPv6 in packet)) <= 2


@pytest.mark.lab("dual-stack-proxy", fault="blackhole")
def test_with_ipv6_first_broken_ipv6_is_what_costs(lab: Lab) -> None:
    """With the IPv6 group first, broken IPv6 costs a time-out and broken IPv4 is not even noticed."""
    with lab.capture("proxy:eth1", filter="tcp") as wire:
        pays, goes = (reach(lab, name, group(lab, V6)) for name in ("broken6", "broken4"))
    assert asked(wire) == [V6, V4, V6]
    assert (families(pays), families(goes)) == ([(V6, GIVEN_UP), (V4, CONNECTED)], [(V6, CONNECTED)])
    assert pays.seconds >= attempt(lab)


@pytest.mark.lab("dual-stack-proxy", fault="blackhole")
def test_with_ipv4_first_broken_ipv4_is_what_costs(lab: Lab) -> None:
    """With the IPv4 group first it is the other way round."""
    with lab.capture("proxy:eth1", filter="tcp") as wire:
        goes, pays = (reach(lab, name, group(lab, V4)) for name in ("broken6", "broken4"))
    assert asked(wire) == [V4, V4, V6]
    assert (families(pays), families(goes)) == ([(V4, GIVEN_UP), (V6, CONNECTED)], [(V4, CONNECTED)])
    assert pays.seconds >= attempt(lab)


@pytest.mark.lab("dual-stack-proxy", fault="blackhole", addresses=2, attempt=0.15)
def test_a_group_is_tried_to_its_end(lab: Lab) -> None:
    """A group is tried to its end before the other begins, so that its broken addresses add up."""
    reached = reach(lab, "broken", group(lab, V4))
    assert families(reached) == [(V4, GIVEN_UP), (V4, GIVEN_UP), (V6, GIVEN_UP), (V6, GIVEN_UP)]
    assert reached.address is None
    assert reached.seconds >= 4 * attempt(lab)


@pytest.mark.lab("dual-stack-proxy", fault="blackhole", addresses=2, attempt=5)
def test_happy_eyeballs_cost_less_than_a_time_out(lab: Lab) -> None:
    """Happy eyeballs turn to IPv4 once IPv6 has been silent for their delay, which is less than a time-out."""
    reached = reach(lab, "broken6", eyeballs(lab))
    assert families(reached) == [(V6, TOO_LATE), (V4, CONNECTED)]
    assert eyeballs(lab).stagger <= reached.seconds < attempt(lab)


@pytest.mark.lab("dual-stack-proxy", fault="blackhole", addresses=2, attempt=5, stagger=2)
def test_happy_eyeballs_stay_with_what_answers(lab: Lab) -> None:
    """Happy eyeballs never ask over IPv4 where IPv6 answers within their delay."""
    with lab.capture("proxy:eth1", filter="tcp") as wire:
        assert families(reach(lab, "broken4", eyeballs(lab))) == [(V6, CONNECTED)]
        reach(lab, "broken6", group(lab, V4))
        wire.expect(lambda packet: syn(packet) and IP in packet, "a connection over IPv4, which shows that one is seen")
    assert asked(wire) == [V6, V4]


@pytest.mark.lab("dual-stack-proxy", fault="reset", addresses=2, attempt=5, stagger=2)
def test_happy_eyeballs_do_not_wait_after_a_reset(lab: Lab) -> None:
    """After a reset happy eyeballs begin the next attempt at once, without waiting for their delay."""
    reached = reach(lab, "broken6", eyeballs(lab))
    assert families(reached) == [(V6, "ECONNREFUSED"), (V4, CONNECTED)]
    assert reached.seconds < eyeballs(lab).stagger


@pytest.mark.lab("dual-stack-proxy", fault="blackhole", addresses=2, attempt=1)
def test_happy_eyeballs_wait_for_all_at_once(lab: Lab) -> None:
    """Where nothing answers, happy eyeballs take one time-out and the delays, and not as many time-outs as addresses."""
    reached = reach(lab, "broken", eyeballs(lab))
    assert families(reached) == [(V6, GIVEN_UP), (V4, GIVEN_UP), (V6, GIVEN_UP), (V4, GIVEN_UP)]
    assert reached.seconds < 4 * attempt(lab)


# -- an outgoing address


@pytest.mark.lab("dual-stack-proxy", fault="blackhole")
def test_an_outgoing_address_leaves_its_own_family(lab: Lab) -> None:
    """With an outgoing address only destinations of its family are tried, from that address, whichever group is first."""
    with lab.capture("proxy:eth1", filter="tcp") as wire:
        for source in (V4, V6):
            for first in BOTH:
                assert families(reach(lab, "works", group(lab, first), OUTGOING[source])) == [(source, CONNECTED)]
    assert asked(wire) == [V4, V4, V6, V6]
    assert [packet[IP if IP in packet else IPv6].src for packet in wire.all(syn)] == [OUTGOING[V4]] * 2 + [OUTGOING[V6]] * 2


@pytest.mark.lab("dual-stack-proxy", fault="blackhole")
def test_an_outgoing_address_takes_the_other_family_away(lab: Lab) -> None:
    """An outgoing IPv6 address leaves no way to a server whose IPv6 is broken; without it IPv4 is the way."""
    assert families(reach(lab, "broken6", group(lab, V6), OUTGOING[V6])) == [(V6, GIVEN_UP)]
    assert families(reach(lab, "broken6", group(lab, V6))) == [(V6, GIVEN_UP), (V4, CONNECTED)]


@pytest.mark.lab("dual-stack-proxy")
def test_the_kernel_ties_destination_to_source(lab: Lab) -> None:
    """One socket of both families, once bound, connects to its source's family only: EAFNOSUPPORT from IPv4 to IPv6."""
    mapped = {V6: "{}", V4: "::ffff:{}"}
    ends = {}
    for source in BOTH:
        for to in BOTH:
            ends[source, to] = bound(lab, mapped[source].format(OUTGOING[source]), mapped[to].format(WORKS[to]))
    assert ends == {(V4, V4): 0, (V4, V6): errno.EAFNOSUPPORT, (V6, V4): errno.ENETUNREACH, (V6, V6): 0}


def bound(lab: Lab, source: str, to: str) -> int:
    """The error, 0 for none, of connecting a socket of AF_INET6 that is bound to `source`."""
    with lab["proxy"].socket(V6) as sock:
        sock.settimeout(WITHIN)
        sock.bind((source, 0))
        return sock.connect_ex((to, PORT))


# -- transparent interception


@dataclass(frozen=True)
class Talk:
    """What came of a client's request to a server: what the client got, whom the server heard, what the small proxy says."""

    answer: str
    heard: tuple[str, ...]
    said: tuple[str, ...] = ()


def talks(lab: Lab) -> dict[int, Talk]:
    """The client asks works.lab for its page in both families at once."""
    with ThreadPoolExecutor(len(BOTH)) as pool:
        answers = dict(zip(BOTH, pool.map(lambda kind: ask(lab, (WORKS[kind], PORT), "/", host(kind)), BOTH), strict=True))
    return {kind: Talk(answers[kind], heard(lab, kind), said(lab, kind)) for kind in BOTH}


def of_each(answer: str, who: dict[int, str] | None = None, said: str = "") -> dict[int, Talk]:
    """The same talk in both families, but for the address that the server hears, which `said` may have as {}."""
    known = {kind: (who[kind],) if who else () for kind in BOTH}
    return {kind: Talk(answer, known[kind], (said.format(*known[kind]),) if said else ()) for kind in BOTH}


def host(kind: int) -> str:
    return WORKS[kind] if kind == V4 else f"[{WORKS[kind]}]"


def ask(lab: Lab, where: tuple[str, int], target: str, host: str) -> str:
    """The status that the client gets, by whom, and the error that squid names; `closed` where there is no answer at all."""
    with lab["client"].socket(family(where[0])) as sock:
        sock.settimeout(WITHIN)
        sock.connect(where)
        try:
            sock.sendall(f"GET {target} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            with contextlib.closing(HTTPResponse(sock)) as response:
                response.begin()
                return outcome(response)
        except (ConnectionResetError, BrokenPipeError):  # and http.client's RemoteDisconnected
            return "closed"


def outcome(response: HTTPResponse) -> str:
    by = " by squid" if "squid" in response.getheader("Via", "") else ""
    why = re.fullmatch(r"ERR_CONNECT_FAIL (\d+)", response.getheader("X-Squid-Error", ""))
    return f"{response.status}{by}{f': {errno.errorcode[int(why[1])]}' if why else ''}"


def heard(lab: Lab, kind: int) -> tuple[str, ...]:
    """Whose requests the server has had over one family."""
    lines = re.findall(r"^(?:::ffff:)?(\S+) - - .*\"GET", lab["server"].services["http"].log, re.MULTILINE)
    return tuple(each for each in lines if family(each) == kind)


def said(lab: Lab, kind: int) -> tuple[str, ...]:
    """What became of the connections that the small proxy took from the client over one family."""
    proxy = lab["proxy"].services.get("tproxy")
    return tuple(re.findall(rf"^{CLIENT[kind]} to {WORKS[kind]} port \d+: (.*)", proxy.log, re.MULTILINE) if proxy else ())


def dropped_at_the_proxy(lab: Lab) -> None:
    """What the client sends to port 80 is neither answered nor passed on; what it sends to another port afterwards passes."""
    for kind in BOTH:
        where = lab.capture("proxy:eth0", "proxy:eth1", filter=f"tcp port {PORT} or tcp port {CLOSED}")
        with where as wire, lab["client"].inside(begin, kind):
            wire.expect(lambda packet: packet[TCP].flags == "RA", "the server's reset", within=WITHIN)
        seen = [packet for packet in wire.packets if PORT in (packet[TCP].dport, packet[TCP].sport)]
        assert {(str(packet.frame.interface), str(packet[TCP].flags)) for packet in seen} == {("proxy:eth0", "S")}
        assert (heard(lab, kind), said(lab, kind)) == ((), ())


def begin(kind: int) -> socket.socket:
    """Begins to connect to port 80, and is refused at another port. Both leave one processor, which keeps their order."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # this helper thread only
    first = socket.socket(kind)
    first.setblocking(False)
    first.connect_ex((WORKS[kind], PORT))
    with socket.socket(kind) as second:
        second.settimeout(WITHIN)
        second.connect_ex((WORKS[kind], CLOSED))
    return first


@pytest.mark.lab("dual-stack-proxy", proxy="small", attempt=3)
def test_a_transparent_proxy_speaks_with_the_clients_address(lab: Lab) -> None:
    """A transparent proxy takes over what was meant for the server, and the server hears the client's address from it."""
    assert talks(lab) == of_each("200", CLIENT, "connected from {}")


@pytest.mark.lab("dual-stack-proxy", proxy="small", attempt=3, source="own")
def test_without_the_clients_address_the_server_hears_the_proxy(lab: Lab) -> None:
    """The same proxy with its own address is what the server hears."""
    assert talks(lab) == of_each("200", PROXY, "connected from {}")


@pytest.mark.lab("dual-stack-proxy", proxy="small", without="capture")
def test_without_the_rule_that_hands_over_nothing_is_taken(lab: Lab) -> None:
    """Without the rule that hands connections over, the client and the server speak past the proxy."""
    assert talks(lab) == of_each("200", CLIENT)


@pytest.mark.lab("dual-stack-proxy", proxy="small", without="listener")
def test_nothing_is_handed_to_a_socket_that_is_not_transparent(lab: Lab) -> None:
    """A listening socket that is not transparent is handed nothing: the client and the server speak past the proxy."""
    assert talks(lab) == of_each("200", CLIENT)


@pytest.mark.lab("dual-stack-proxy", proxy="small", without="speaker")
def test_only_a_transparent_socket_speaks_with_anothers_address(lab: Lab) -> None:
    """A speaking socket that is not transparent cannot have the client's address: the client is answered by nobody."""
    assert talks(lab) == of_each("closed", None, "Cannot assign requested address")


@pytest.mark.lab("dual-stack-proxy", proxy="small", without="divert")
def test_without_the_rule_for_the_way_back_the_servers_answers_are_lost(lab: Lab) -> None:
    """Without the rule for transparent sockets the client connects, but the server's answers pass the proxy by."""
    assert talks(lab) == of_each("closed", None, "timed out")


@pytest.mark.lab("dual-stack-proxy", proxy="small", attempt=3, without="divert", source="own")
def test_the_rule_for_the_way_back_is_for_the_clients_address(lab: Lab) -> None:
    """A proxy that speaks with its own address does without the rule for transparent sockets."""
    assert talks(lab) == of_each("200", PROXY, "connected from {}")


@pytest.mark.lab("dual-stack-proxy", proxy="small", without="rule")
def test_without_the_routing_rule_what_is_handed_over_is_dropped(lab: Lab) -> None:
    """Without the routing rule for marked packets the client's SYN is dropped: what has a socket is not forwarded."""
    dropped_at_the_proxy(lab)


@pytest.mark.lab("dual-stack-proxy", proxy="small", without="route")
def test_without_the_local_route_what_is_handed_over_is_dropped(lab: Lab) -> None:
    """Without the route that makes every address a local one the client's SYN is dropped in silence as well."""
    dropped_at_the_proxy(lab)


# -- the same with squid


@pytest.mark.lab("dual-stack-proxy", proxy="squid", attempt=3)
def test_squid_speaks_with_the_clients_address(lab: Lab) -> None:
    """Squid takes over what was meant for the server, which hears the client's address from it."""
    assert talks(lab) == of_each("200 by squid", CLIENT)


@pytest.mark.lab("dual-stack-proxy", proxy="squid", without="capture")
def test_nothing_is_handed_to_squid_without_the_rule(lab: Lab) -> None:
    """Without the rule that hands connections over, the client and the server speak past squid."""
    assert talks(lab) == of_each("200", CLIENT)


@pytest.mark.lab("dual-stack-proxy", proxy="squid", without="divert")
def test_squid_hears_no_answer_without_the_rule_for_the_way_back(lab: Lab) -> None:
    """Without the rule for transparent sockets squid gives the server up, and answers 503 itself."""
    assert talks(lab) == of_each("503 by squid: ETIMEDOUT")


@pytest.mark.lab("dual-stack-proxy", proxy="squid", without="rule")
def test_nothing_reaches_squid_without_the_routing_rule(lab: Lab) -> None:
    """Without the routing rule for marked packets the client's SYN to squid is dropped in silence."""
    dropped_at_the_proxy(lab)


@pytest.mark.lab("dual-stack-proxy", proxy="squid", without="route")
def test_nothing_reaches_squid_without_the_local_route(lab: Lab) -> None:
    """Without the route that makes every address a local one the client's SYN to squid is dropped in silence as well."""
    dropped_at_the_proxy(lab)


SQUID = ("10.0.1.254", 3128)
ASKS_AGAIN = 5.0  # seconds: squid's dns_retransmit_interval


def asked_for(lab: Lab, host: str) -> tuple[str, tuple[str, ...]]:
    """What the client gets that asks squid for a server's page, and whom the server hears."""
    before = {kind: len(heard(lab, kind)) for kind in BOTH}
    answer = ask(lab, SQUID, f"http://{host}/", host)
    return answer, tuple(who for kind in BOTH for who in heard(lab, kind)[before[kind] :])


@pytest.mark.lab("dual-stack-proxy", proxy="squid", attempt=3, outgoing="ipv4")
def test_squid_has_an_ipv4_source_for_ipv4_only(lab: Lab) -> None:
    """Squid uses an outgoing IPv4 address towards IPv4 alone; towards IPv6 it speaks with the proxy's own."""
    assert asked_for(lab, host(V4)) == ("200 by squid", (OUTGOING[V4],))
    assert asked_for(lab, host(V6)) == ("200 by squid", (PROXY[V6],))


@pytest.mark.lab("dual-stack-proxy", proxy="squid", attempt=3, outgoing="ipv6")
def test_squid_has_an_ipv6_source_for_ipv6_only(lab: Lab) -> None:
    """Squid uses an outgoing IPv6 address towards IPv6 alone; towards IPv4 it speaks with the proxy's own."""
    assert asked_for(lab, host(V4)) == ("200 by squid", (PROXY[V4],))
    assert asked_for(lab, host(V6)) == ("200 by squid", (OUTGOING[V6],))


@pytest.mark.lab("dual-stack-proxy", proxy="squid", fault="blackhole", attempt=5)
def test_squid_finds_the_family_that_works(lab: Lab) -> None:
    """Squid finds the family of a server that works, whichever is blackholed, before the time-out of an attempt."""
    began = time.monotonic()
    assert asked_for(lab, "broken6.lab") == ("200 by squid", (PROXY[V4],))
    assert asked_for(lab, "broken4.lab") == ("200 by squid", (PROXY[V6],))
    assert time.monotonic() - began < attempt(lab)


@pytest.mark.lab("dual-stack-proxy", proxy="squid", fault="blackhole")
def test_squid_gives_up_after_its_time_out(lab: Lab) -> None:
    """Where both families are blackholed squid answers 503 once its attempts have timed out."""
    assert asked_for(lab, "broken.lab") == ("503 by squid: ETIMEDOUT", ())


@pytest.mark.lab("dual-stack-proxy", proxy="squid", fault="reset", attempt=60)
def test_squid_does_not_wait_after_a_reset(lab: Lab) -> None:
    """Where both families answer with a reset squid answers 503 at once."""
    assert asked_for(lab, "broken.lab") == ("503 by squid: ECONNREFUSED", ())


@pytest.mark.lab("dual-stack-proxy", proxy="squid", attempt=3)
def test_squid_goes_where_the_name_server_answers_first(lab: Lab) -> None:
    """Squid goes to the family whose addresses it learns first, be it IPv6 or IPv4, and does not wait for the other's."""
    for kind, lost in ((V4, names.AAAA), (V6, names.A)):
        lab["proxy"].run(["nft", "-f", "-"], input=LOSE.format(kind=lost))
        began = time.monotonic()
        assert asked_for(lab, "works.lab") == ("200 by squid", (PROXY[kind],))
        assert time.monotonic() - began < ASKS_AGAIN
        forget(lab["proxy"].services["squid"])


def forget(squid: Service) -> None:
    """What it learned, in a new life."""
    squid.kill()
    squid.start()
    squid.wait_ready()


# Questions of one kind for works.lab get lost. The kind is 31 bytes behind the UDP header's beginning: 8 of that, 12 of the
# message's, and 11 of the name.
LOSE = """
table inet names
delete table inet names
table inet names {{
  chain input {{
    type filter hook input priority filter
    udp dport 53 @th,248,16 {kind} drop
  }}
}}
"""
