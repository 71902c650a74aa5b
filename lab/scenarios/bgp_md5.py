"""BGP over signed TCP: routers whose passwords differ never meet, and a changed one ends a session at once.

RFC 2385 was written for this: who can guess the numbers of a session between two routers could end it by one forged segment.
Each router has a password for each neighbour, which is the key of its listening and its connecting sockets (TCP_MD5SIG). What
is not signed with it is dropped without a word, so that a wrong password looks like a neighbour who is not there; the counters
and the reasons of the drops tell the difference. FRR and BIRD do the same here, for the kernel does it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping

import pytest

from lab import Lab, Node
from lab.observe.conditions import Counted, Gone, Routed
from lab.observe.rfc2385 import RST, Segment
from lab.observe.wire import Match

NEIGHBOURS = {"r2": "FRR and FRR", "r3": "FRR and BIRD"}
EVERYBODY = ("r1", *NEIGHBOURS)
SECRET, CHANGED = "secret", "changed"
FAILURE, NOT_FOUND, UNEXPECTED = "TcpExtTCPMD5Failure", "TcpExtTCPMD5NotFound", "TcpExtTCPMD5Unexpected"
TRIES = 2
WITHIN = 8.0  # seconds, for a session that comes up after a second or two
Report = Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]


def own(node: str) -> str:
    """The network that a router tells of."""
    return f"10.{node[1:]}.0.0/24"


def address(node: str) -> str:
    """Of a neighbour, on its link with r1."""
    return f"10.0.{node[1:]}.2"


def ways(node: str) -> list[tuple[str, str]]:
    """Who learns whose network from the session with this neighbour."""
    return [("r1", own(node)), (node, own("r1"))]


def established(lab: Lab, node: str) -> None:
    """r1 and this neighbour have each other's network."""
    for learner, network in ways(node):
        lab[learner].wait(Routed(network), WITHIN)


def known(lab: Lab) -> list[str]:
    """Networks that somebody has learned."""
    return [network for node in NEIGHBOURS for who, network in ways(node) if lab[who].inside(Routed(network).look).holds]


def counted(lab: Lab) -> dict[str, Mapping[str, int]]:
    """Everybody's counters. FRR listens a moment before it knows its passwords, and has refused then what comes so early."""
    return {node: lab[node].counters() for node in EVERYBODY}


def refused(lab: Lab, before: dict[str, Mapping[str, int]]) -> dict[str, set[str]]:
    """Everybody's counters of refused segments that have moved since."""
    now, names = counted(lab), (FAILURE, NOT_FOUND, UNEXPECTED)
    return {node: {name for name in names if now[node][name] > before[node][name]} for node in EVERYBODY}


def states(lab: Lab) -> list[str]:
    """Of r1's sessions, as FRR names them (RFC 4271, 8.2.2)."""
    said = json.loads(lab["r1"].run(["vtysh", "-c", "show bgp summary json"]).stdout)
    return [peer["state"] for peer in said["ipv4Unicast"]["peers"].values()]


# -- the passwords


@pytest.mark.lab("bgp-md5", r1="right", neighbours="right")
def test_with_the_same_password_they_exchange_routes(lab: Lab) -> None:
    """FRR with FRR and with BIRD: with the same password they learn each other's network, by segments that are all signed."""
    before = counted(lab)
    with lab.capture(*[f"r1:to-{node}" for node in NEIGHBOURS], filter="tcp port 179") as wire:
        for node in NEIGHBOURS:
            established(lab, node)
        lab["r1"].run(["vtysh", "-c", "clear bgp * soft in"])  # asks both for their routes again, if they told them sooner
        for node in NEIGHBOURS:
            wire.expect(carries_data(f"to-{node}"), f"routes of {node}", WITHIN)
    assert (states(lab), refused(lab, before)) == (["Established"] * 2, {node: set() for node in EVERYBODY})
    seen = [Segment.of(frame.data) for frame in wire.frames]
    # A refusal by who does not listen yet is no segment of a session.
    assert all(segment.is_signed_with(SECRET.encode()) for segment in seen if not segment.flags & RST)


def carries_data(device: str) -> Match:
    return lambda p: p.frame.interface.device == device and not p.frame.sent and Segment.of(p.frame.data).payload


@pytest.mark.lab("bgp-md5", r1="wrong", neighbours="right")
def test_with_different_passwords_they_never_meet(lab: Lab) -> None:
    """FRR with FRR and with BIRD: with different passwords each drops what the other sends, as TCP_MD5FAILURE."""
    never_meet(lab, FAILURE, FAILURE)


@pytest.mark.lab("bgp-md5", r1="right", neighbours="none")
def test_with_a_password_on_one_side_they_never_meet(lab: Lab) -> None:
    """FRR with FRR and with BIRD: who has a password drops TCP_MD5NOTFOUND, who has none drops TCP_MD5UNEXPECTED."""
    never_meet(lab, NOT_FOUND, UNEXPECTED)


@pytest.mark.lab("bgp-md5", r1="none", neighbours="right")
def test_with_a_password_on_the_other_side_they_never_meet(lab: Lab) -> None:
    """FRR with FRR and with BIRD: the same with the sides exchanged."""
    never_meet(lab, UNEXPECTED, NOT_FOUND)


def never_meet(lab: Lab, at_r1: str, at_neighbours: str) -> None:
    """Each has refused several segments, for its one reason and no other, and nobody has learned a route."""
    counters, before = {"r1": at_r1, **dict.fromkeys(NEIGHBOURS, at_neighbours)}, counted(lab)
    with lab.explain() as explained:
        for node, counter in counters.items():
            lab[node].wait(Counted(counter, before[node][counter] + TRIES), WITHIN)
            explained.expect(node, reason(counter), WITHIN)
    assert refused(lab, before) == {node: {counter} for node, counter in counters.items()}
    assert (known(lab), "Established" in states(lab)) == ([], False)


def reason(counter: str) -> str:
    """The kernel's reason for the drops that the counter counts."""
    return counter.removeprefix("TcpExt").replace("TCPMD5", "TCP_MD5").upper()


# -- a living session


@pytest.mark.lab("bgp-md5", r1="right", neighbours="right", sides="both")
def test_a_password_that_changes_ends_the_sessions_until_both_sides_have_it(lab: Lab, report_table: Report) -> None:
    """A password changed on one side withdraws the routes at once; nothing is taken until both sides have the same again."""
    for node in NEIGHBOURS:
        established(lab, node)
    withdrawn = {node: withdraws(lab, node) for node in NEIGHBOURS}
    for node in NEIGHBOURS:
        lab[node].wait(Counted(FAILURE, 1), WITHIN)
    assert known(lab) == []
    began = time.monotonic()
    if lab.record.params["sides"] == "both":
        set_password(lab["r2"], "65002", "10.0.2.1", CHANGED)
        set_password(lab["r1"], "65001", address("r3"), SECRET)
    back = {}
    for node in NEIGHBOURS:
        established(lab, node)
        back[node] = time.monotonic() - began
    columns = ("who", "withdrawn after (s)", "the same password again", "back after (s)")
    cures = {"r2": "the new one on both sides", "r3": "the old one on both sides"}
    report_table("a password changes", columns, [(NEIGHBOURS[n], withdrawn[n], cures[n], back[n]) for n in NEIGHBOURS])


def withdraws(lab: Lab, node: str) -> float:
    """Seconds until neither has the other's route any more, once r1 has another password for this neighbour."""
    began = time.monotonic()
    set_password(lab["r1"], "65001", address(node), CHANGED)
    for who, network in ways(node):
        lab[who].wait(Gone(Routed(network)), WITHIN)
    return time.monotonic() - began


def set_password(node: Node, asn: str, neighbour: str, password: str) -> None:
    """Of a neighbour of FRR."""
    lines = ("configure terminal", f"router bgp {asn}", f"neighbor {neighbour} password {password}")
    node.run(["vtysh", *(word for line in lines for word in ("-c", line))])
