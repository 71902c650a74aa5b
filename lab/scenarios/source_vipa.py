"""An address that outlives a network card (source VIPA): what makes it the source of connections, what a failing card costs.

A patch of 2004 ("net/ipv4 for Source VIPA support") let each device name the source address of everybody who binds to none.
The address lies on a dummy device, so a connection is no card's, and a routing daemon tells the network by which card it can
be reached at the moment. The kernel never took the patch. What its author held against the alternatives is tried here, with
the daemons and the kernel of today:

A shim in user space misses what is in the kernel (he thought of NFS), what sends without connecting, what is linked statically.
Static routes that name the source are not known to OSPF, and stay when the carrier is lost. But today FRR (`set src`) and
BIRD (`krt_prefsrc`) name it in every route that they learn. Translation cannot fail over, he says: so it is with masquerade,
but over IPv4 a connection that is translated to the VIPA lives on when its card goes down, and dies when the card is deleted.
A bond helps within one network; it takes the address along, but not to another network.
Nearest to his idea comes a BPF program at the control group's hooks. Of the kernel's own sockets those pass there that connect
and have no port yet: NFS' do where a port below 1024 is not asked for (noresvport), and VXLAN's never do.

Two rules of the kernel show when a card fails. TCP sends nothing again that still waits in a neighbour's queue (tcp_output.c,
skb_still_in_host_queue): over IPv6 a lost carrier costs three times the neighbour's retrans_time. And while routers disagree,
one that sends a packet back where it came from redirects its source (ip6_output.c, ip6_forward), which then may ask a
neighbour that cannot hear it: the lab's hosts take no redirects.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from lab import Lab, Node
from lab.observe import way
from lab.observe.conditions import ConditionTimeout
from lab.observe.echo import Echo
from lab.observe.reading import Reading
from lab.observe.stream import Stream
from lab.observe.way import Follower
from lab.scenarios._source_vipa import (
    ATTACHED,
    CARD,
    COVERED,
    FAMILIES,
    MOUNTED,
    PREFIX,
    SERVER,
    STATIC,
    VIPA,
    VXLAN_PORT,
    WHAT,
    askers,
    build,
    build_shim,
    covered,
    mounted,
    publish,
    used,
)

HELLO, DEAD = 1.0, 4.0  # seconds, of the short timers
CONVERGES_WITHIN = {"short": 30.0, "plain": 120.0}
MIN_LS_INTERVAL = 5  # seconds between two makings of the same LSA (RFC 2328, appendix B), which BIRD keeps to
AT_ONCE = {"frr": 2.5, "bird": 6.0}
"""Seconds that a failure of which the kernel tells may cost: BIRD computes once a second, TCP waits twice as long."""
PATIENCE = {"frr": 3.0, "bird": 12.0}
"""Seconds after which a connection is given up that nobody acknowledges anything of."""
UNREACHABLE = {errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH}
"""How a connection dies: at the end of its patience, with the reason for which the last try failed if there is one."""
COLUMNS = ("card", "family", "client's side (s)", "network's side (s)", "longest gap (s)", "at most (s)")
Report = Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]


def daemon(lab: Lab) -> str:
    return str(lab.record.params["daemon"])


def converged(lab: Lab) -> None:
    """Until both sides of the network know each other, by the cheaper way or, where both cost the same, by two."""
    ways = 2 if str(lab.record.params["ecmp"]) == "1" else 1
    within = CONVERGES_WITHIN[str(lab.record.params["timers"])]
    routed(lab, within)
    for family in FAMILIES:
        for node, to, exact in ((lab["client"], SERVER[family], PREFIX[family]), (lab["core"], VIPA[family], VIPA[family])):

            def knows(node: Node = node, to: str = to, exact: str = exact) -> bool:
                if ways == 2:
                    return hops(node, exact) == 2
                return way.of(node.ns, to).device == "eth0"

            node.wait(knows, within, f"{node.name} knows the way to {to}")
    if daemon(lab) == "bird":
        lab["core"].wait(lambda: youngest(lab["core"]) >= MIN_LS_INTERVAL, within, "every LSA is old enough to be made anew")


def routed(lab: Lab, within: float) -> None:
    """Until each router on the way knows where both ends are: news of a route arrive before every router has computed it."""
    ends = (*VIPA.values(), *SERVER.values())
    for node in (lab["r1"], lab["r2"], lab["core"]):

        def knows(ns: Path = node.ns) -> bool:
            return all(way.of(ns, end).device for end in ends)

        node.wait(knows, within, f"{node.name} knows every way")


def youngest(node: Node) -> int:
    """Seconds since the last LSA was made that a node with BIRD has: "Type LS ID Router Sequence Age Checksum" a line."""
    said = [node.run(["birdc", "show", "ospf", "lsadb", protocol]).stdout for protocol in ("ospf4", "ospf6")]
    lines = [line.split() for line in "".join(said).splitlines()]
    return min(int(fields[4]) for fields in lines if len(fields) == 6 and fields[4].isdigit())


def hops(node: Node, prefix: str) -> int:
    routes = json.loads(node.run(["ip", "-j", "-6" if ":" in prefix else "-4", "route", "show", prefix]).stdout or "[]")
    return sum(len(route.get("nexthops", [route])) for route in routes)


@contextlib.contextmanager
def streams(lab: Lab, patience: float = 0.0, source: dict[str, str] | None = None) -> Iterator[dict[str, Stream]]:
    """One of each family, from the client to the server, and going."""
    with contextlib.ExitStack() as undo:
        undo.enter_context(Echo(lab["server"].socket))
        make = lab["client"].socket
        found = {
            family: undo.enter_context(Stream(make, SERVER[family], source=source[family] if source else "", patience=patience))
            for family in FAMILIES
        }
        for stream in found.values():
            stream.wait_on()
        yield found


def sources(of: dict[str, Stream]) -> dict[str, str]:
    return {family: stream.source for family, stream in of.items()}


# -- the source of an unbound client


@pytest.mark.lab("source-vipa")
def test_an_unbound_client_uses_the_vipa(lab: Lab) -> None:
    """A client that binds to nothing connects from the VIPA, since the daemon names it in every route that it learns."""
    converged(lab)
    with streams(lab) as both:
        assert sources(both) == VIPA
    assert {family: way.of(lab["client"].ns, ATTACHED[family]).source for family in FAMILIES} == CARD


@pytest.mark.lab("source-vipa", source="none")
def test_with_ospf_alone_a_client_uses_the_address_of_its_card(lab: Lab) -> None:
    """OSPF alone makes the VIPA known, but nobody's source: an unbound client uses the address of the card that it goes by."""
    converged(lab)
    with streams(lab) as both:
        assert sources(both) == CARD


# -- a card fails


def down(lab: Lab, card: str) -> None:
    """An administrator sets it down."""
    lab["client"].run(["ip", "link", "set", card, "down"])


def unplugged(lab: Lab, card: str) -> None:
    """Its carrier is lost: the router's end goes down."""
    lab[behind(card)].run(["ip", "link", "set", "eth0", "down"])


def deleted(lab: Lab, card: str) -> None:
    lab["client"].run(["ip", "link", "delete", card])


DROP = "table netdev loss {{ chain everything {{ type filter hook ingress device {} priority 0; drop; }}; }}"


def silent(lab: Lab, card: str) -> None:
    """Every frame is lost, in both directions, and the carrier stays."""
    for node, device in ((lab["client"], card), (lab[behind(card)], "eth0")):
        node.run(["nft", "-f", "-"], input=DROP.format(device))


def repaired(lab: Lab, card: str) -> None:
    for node, device in ((lab["client"], card), (lab[behind(card)], "eth0")):
        node.run(["ip", "link", "set", device, "up"])
    converged(lab)


def behind(card: str) -> str:
    return {"eth0": "r1", "eth1": "r2"}[card]


FAILURES: dict[str, Callable[[Lab, str], None]] = {
    "set down": down,
    "carrier lost": unplugged,
    "deleted": deleted,
    "silent loss": silent,
}


def fail(lab: Lab, both: dict[str, Stream], how: str, card: str, most: float) -> list[tuple[object, ...]]:
    """Rows of what it costs: seconds until each side goes another way, and the longest gap."""
    with contextlib.ExitStack() as undo:
        follow = {
            (family, node): undo.enter_context(Follower(lab[node].ns, to, source))
            for family, stream in both.items()
            for node, to, source in (("client", SERVER[family], stream.source), ("core", stream.source, ""))
        }
        began = time.monotonic()
        FAILURES[how](lab, card)
        for stream in both.values():
            stream.wait_on(most + WAITS_LONGER)
        return [
            (
                how,
                family,
                follow[family, "client"].settled(began),
                follow[family, "core"].settled(began),
                stream.longest(began).seconds,
                most,
            )
            for family, stream in both.items()
        ]


WAITS_LONGER = 20.0  # seconds; what is too late shall be told as a time, and not as a failure to come at all


def in_bounds(rows: list[tuple[object, ...]]) -> bool:
    return all(float(str(row[4])) <= float(str(row[5])) for row in rows)


@pytest.mark.lab("source-vipa")
def test_every_record_comes_through_while_a_card_fails(lab: Lab, report_table: Report) -> None:
    """Every record of a connection from the VIPA comes through while a card is set down, loses its carrier, or is deleted."""
    converged(lab)
    rows = []
    with streams(lab) as both:
        assert sources(both) == VIPA
        for how in ("set down", "carrier lost", "deleted"):
            rows += fail(lab, both, how, "eth0", AT_ONCE[daemon(lab)])
            if how != "deleted":
                repaired(lab, "eth0")
        report_table(f"a card fails ({daemon(lab)})", COLUMNS, rows)
    assert in_bounds(rows), rows


@pytest.mark.lab("source-vipa")
def test_a_silent_loss_costs_the_dead_interval(lab: Lab, report_table: Report) -> None:
    """A card that loses every frame in silence costs the dead interval of OSPF, and TCP's wait until it tries again."""
    converged(lab)
    with streams(lab) as both:
        assert sources(both) == VIPA
        rows = fail(lab, both, "silent loss", "eth0", 3 * DEAD + AT_ONCE[daemon(lab)])
        report_table(f"a card fails in silence ({daemon(lab)}, hello {HELLO:g} s, dead {DEAD:g} s)", COLUMNS, rows)
    assert all(float(str(row[4])) >= DEAD - HELLO for row in rows)
    assert in_bounds(rows), rows


@pytest.mark.lab("source-vipa", bfd=100)
def test_bfd_finds_a_silent_loss_before_the_dead_interval(lab: Lab, report_table: Report) -> None:
    """With BFD every 100 ms a silent loss is found, and another way is taken, before OSPF's dead interval is over."""
    converged(lab)
    lab["client"].wait(lambda: sessions_up(lab) >= 4, 30, "four sessions of BFD are up on the client")
    with streams(lab) as both:
        assert sources(both) == VIPA
        rows = fail(lab, both, "silent loss", "eth0", AT_ONCE[daemon(lab)])
        report_table(f"a card fails in silence ({daemon(lab)}, BFD)", COLUMNS, rows)
    assert in_bounds(rows), rows
    assert all(float(str(row[2])) < DEAD - HELLO for row in rows)


def sessions_up(lab: Lab) -> int:
    """For both families on both cards."""
    client = lab["client"]
    if daemon(lab) == "frr":
        return client.run(["vtysh", "-c", "show bfd peers"], check=False).stdout.count("Status: up")
    said = client.run(["birdc", "show", "bfd", "sessions"], check=False).stdout
    return sum(" Up " in line for line in said.splitlines())


@pytest.mark.lab("source-vipa", ecmp=1)
def test_with_two_equal_ways_the_other_one_is_there_already(lab: Lab, report_table: Report) -> None:
    """With two ways of equal cost a lost carrier moves the connection to the one that is known already."""
    converged(lab)
    client = lab["client"]
    assert [hops(client, PREFIX[family]) for family in FAMILIES] == [2, 2]
    with streams(lab) as both:
        assert sources(both) == VIPA
        card = way.of(client.ns, SERVER["IPv4"], both["IPv4"].source).device
        rows = fail(lab, both, "carrier lost", card, AT_ONCE[daemon(lab)])
        report_table(f"one of two equal ways fails ({daemon(lab)})", COLUMNS, rows)
    assert in_bounds(rows), rows


@pytest.mark.slow
@pytest.mark.lab("source-vipa", timers="plain")
def test_with_plain_timers_a_failure_that_the_kernel_tells_of_costs_little(lab: Lab, report_table: Report) -> None:
    """With the daemons' own timers a lost carrier costs little more, since nobody waits for the dead interval of 40 s."""
    converged(lab)
    with streams(lab) as both:
        assert sources(both) == VIPA
        rows = fail(lab, both, "carrier lost", "eth0", AT_ONCE[daemon(lab)] + 10)
        report_table(f"a card fails ({daemon(lab)}, plain timers)", COLUMNS, rows)
    assert in_bounds(rows), rows


# -- without a VIPA, and the alternatives of 2004


@pytest.mark.lab("source-vipa", source="none")
def test_without_the_vipa_a_connection_dies_with_its_card(lab: Lab) -> None:
    """A connection from a card's own address dies when the card goes down, while one that is bound to the VIPA goes on."""
    converged(lab)
    patience = PATIENCE[daemon(lab)]
    with streams(lab, patience) as unbound:
        assert sources(unbound) == CARD
        with contextlib.ExitStack() as undo:
            make = lab["client"].socket
            bound = [undo.enter_context(Stream(make, SERVER[each], source=VIPA[each])) for each in FAMILIES]
            down(lab, "eth0")
            for stream in bound:
                stream.wait_on(WAITS_LONGER)
            errors = {stream.wait_dead(4 * patience).errno for stream in unbound.values()}
    assert errors <= UNREACHABLE


@pytest.mark.lab("source-vipa", source="route")
def test_a_static_route_names_the_source_and_stays_when_the_carrier_is_lost(lab: Lab) -> None:
    """A static route that names the VIPA makes it the source, but stays when the carrier is lost: over IPv4 a connection dies.

    Over IPv6 the kernel passes over a route whose neighbour does not answer (net/ipv6/route.c, rt6_score_route), so that the
    daemon's own route may save it in time."""
    client, patience = lab["client"], PATIENCE["frr"]  # no daemon helps here
    routed(lab, CONVERGES_WITHIN["short"])
    with streams(lab, patience) as both:
        assert sources(both) == VIPA
        unplugged(lab, "eth0")
        assert both["IPv4"].wait_dead(4 * patience).errno in UNREACHABLE
    assert way.of(client.ns, SERVER["IPv4"]).device == "eth0"


@pytest.mark.lab("source-vipa", source="none", nat="masquerade")
def test_a_masqueraded_connection_dies_with_its_card(lab: Lab) -> None:
    """A masqueraded connection comes from the card that it began on and dies with it, as was said of all translation."""
    converged(lab)
    with streams(lab, PATIENCE[daemon(lab)]) as both:
        down(lab, "eth0")
        ends = {stream.wait_dead(4 * PATIENCE[daemon(lab)]).errno for stream in both.values()}
    assert ends <= UNREACHABLE | {errno.ECONNRESET}


@pytest.mark.lab("source-vipa", source="none", nat="snat")
def test_a_connection_translated_to_the_vipa_outlives_a_card_that_goes_down_and_not_its_address(lab: Lab) -> None:
    """Translated to the VIPA a connection over IPv4 goes on when its card is set down, and dies when the card is deleted."""
    converged(lab)
    patience = PATIENCE[daemon(lab)]
    with streams(lab, 2 * patience) as both:
        assert sources(both) == CARD
        down(lab, "eth0")
        both["IPv4"].wait_on(WAITS_LONGER)
        both["IPv4"].give_up_after(patience)
        deleted(lab, "eth0")
        both["IPv4"].wait_dead(4 * patience)


# -- which way covers what


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    """The folder with shim.so."""
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler here for the shim: apt-get install gcc libc6-dev")
    build_shim(tmp_path)
    return tmp_path


@pytest.fixture
def built(shim: Path) -> Path:
    """And the static program."""
    build(shim, "static", STATIC, "-static")
    return shim


@pytest.mark.lab("source-vipa", source="none", tunnels=1)
def test_which_way_covers_what(lab: Lab, report_table: Report, built: Path) -> None:
    """What each way covers: a shim who connects, a route all but its own subnet, BPF all but what the kernel tunnels."""
    converged(lab)
    with contextlib.ExitStack() as undo:
        undo.enter_context(Echo(lab["r1"].socket))
        echo = undo.enter_context(Echo(lab["server"].socket))
        tunnel = undo.enter_context(Echo(lab["server"].socket, VXLAN_PORT))
        found = {how: covered(lab, how, built, echo, tunnel) for how in COVERED}
    cells = [(how, *("VIPA" if each else "card" for each in row)) for how, row in found.items()]
    report_table("the source address, by the way that shall make it the VIPA", ("way", *WHAT), cells)
    assert found == COVERED


# -- bonding


@pytest.mark.lab("bond-or-vipa")
def test_a_bond_carries_a_connection_on_within_one_network(lab: Lab) -> None:
    """Where both cards reach one network a bond carries a connection on when one goes down; `bonding` says at what cost."""
    with Echo(lab["server"].socket), Stream(lab["client"].socket, SERVER["IPv4"]) as stream:
        stream.wait_on()
        down(lab, "eth0")
        stream.wait_on(WAITS_LONGER)


@pytest.mark.lab("bond-or-vipa", networks=2)
def test_a_bond_does_not_carry_a_connection_on_to_another_network(lab: Lab) -> None:
    """Where each card reaches a router of its own the bond's other card has no use for its address: a connection dies."""
    patience = PATIENCE["frr"]  # no daemon helps here
    with Echo(lab["server"].socket), Stream(lab["client"].socket, SERVER["IPv4"], patience=patience) as stream:
        stream.wait_on()
        down(lab, "eth0")
        assert stream.wait_dead(4 * patience).errno in UNREACHABLE


# -- a file mounted over NFS

BEGINS_WITHIN = 60.0  # seconds: a guest takes its time to start a program
STALLS = 8.0  # seconds, of which a fraction passes until another way is taken


@pytest.mark.lab("nfs-vipa")
def test_a_mounted_file_is_read_on_while_its_card_goes_down(lab: Lab, report_table: Report) -> None:
    """A file that is mounted over NFS from the VIPA is read on, over the same connection, when its card is set down."""
    publish(lab)
    with mounted(lab) as source, Reading(lab["client"].spawn, f"{MOUNTED}/records") as file:
        assert source == VIPA["IPv4"]
        file.wait_on(BEGINS_WITHIN)
        began = time.monotonic()
        down(lab, "eth0")
        file.wait_on(WAITS_LONGER)
        gap = file.longest(began).seconds
        report_table(
            "a file is read while its card goes down", ("from", "longest gap (s)", "at most (s)"), [(source, gap, STALLS)]
        )
        assert askers(lab) == {source}
    assert gap < STALLS


@pytest.mark.lab("nfs-vipa", source="none")
def test_without_the_vipa_a_mounted_file_is_not_read_on(lab: Lab) -> None:
    """Mounted from a card's own address it is not read on when the card is set down, until that comes up again."""
    publish(lab)
    client = lab["client"]
    with mounted(lab) as source, Reading(client.spawn, f"{MOUNTED}/records") as file:
        assert source == CARD["IPv4"]
        file.wait_on(BEGINS_WITHIN)
        down(lab, "eth0")
        client.run(["ping", "-c1", f"-w{WAITS_LONGER:g}", "-I", VIPA["IPv4"], SERVER["IPv4"]])
        with pytest.raises(ConditionTimeout):
            file.wait_on(STALLS)
        client.run(["ip", "link", "set", "eth0", "up"])
        file.wait_on(BEGINS_WITHIN)


MOUNTS = {
    # Whether a mount comes from the VIPA, by the way that shall make it so and the options of the mount.
    ("a route alone", ""): False,
    ("LD_PRELOAD shim", ""): False,
    ("ip route … src", ""): True,
    ("cgroup BPF", ""): False,
    ("cgroup BPF", "noresvport"): True,
}


@pytest.mark.lab("nfs-vipa", source="none")
def test_which_way_covers_a_mount(lab: Lab, report_table: Report, shim: Path) -> None:
    """No shim reaches the kernel's NFS, but a route does, and BPF where the mount need not come from a port below 1024."""
    publish(lab)
    found = {}
    for how, option in MOUNTS:
        with used(lab, how, shim, ("IPv4",)) as env, mounted(lab, f",{option}".rstrip(","), os.environ | env) as source:
            found[how, option] = source == VIPA["IPv4"]
    rows = [(*each, "VIPA" if covers else "card") for each, covers in found.items()]
    report_table("the source address of a mount, by the way that shall make it the VIPA", ("way", "option", "source"), rows)
    assert found == MOUNTS
