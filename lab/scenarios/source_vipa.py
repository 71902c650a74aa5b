"""An address that outlives a network card (source VIPA): what makes it the source of connections, what a failing card costs.

A patch of 2004 ("net/ipv4 for Source VIPA support") let each device name the source address of everybody who binds to none.
The address lies on a dummy device, so a connection is no card's, and a routing daemon tells the network by which card it can
be reached at the moment. The kernel never took the patch. What its author held against the alternatives is tried here, with
the daemons and the kernel of today:

A shim in user space misses what is in the kernel (he thought of NFS), what sends without connecting, what is linked statically.
Static routes that name the source are not known to OSPF, and stay when the carrier is lost. But today FRR (`set src`) and
BIRD (`krt_prefsrc`) name it in every route that they learn. Translation cannot fail over, he says: so it is with masquerade,
but over IPv4 a connection that is translated to the VIPA lives on when its card goes down, and dies when the card is deleted.
Nearest to his idea comes a BPF program at the control group's hooks; sockets of the kernel do not pass there.

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
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from lab import Lab, Node
from lab.observe import way
from lab.observe.echo import Asked, Echo
from lab.observe.stream import Stream
from lab.observe.way import Follower
from lab.substrate import preferred

FAMILIES = ("IPv4", "IPv6")
VIPA = {"IPv4": "10.0.0.1", "IPv6": "2001:db8::1"}
SERVER = {"IPv4": "10.9.0.9", "IPv6": "2001:db8:9::9"}
CARD = {"IPv4": "10.1.1.1", "IPv6": "2001:db8:1:1::1"}
ROUTER = {"IPv4": "10.1.1.254", "IPv6": "2001:db8:1:1::fe"}
ATTACHED = {"IPv4": "10.1.1.200", "IPv6": "2001:db8:1:1::200"}
PREFIX = {"IPv4": "10.9.0.0/24", "IPv6": "2001:db8:9::/64"}
VXLAN_PORT = 4789
HELLO, DEAD = 1.0, 4.0  # seconds, of the short timers
CONVERGES_WITHIN = {"short": 30.0, "plain": 120.0}
MIN_LS_INTERVAL = 5  # seconds between two makings of the same LSA (RFC 2328, appendix B), which BIRD keeps to
AT_ONCE = {"frr": 2.5, "bird": 6.0}
"""Seconds that a failure of which the kernel tells may cost: BIRD computes once a second, TCP waits twice as long."""
PATIENCE = {"frr": 4.0, "bird": 12.0}
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
    patience = 2 * PATIENCE[daemon(lab)]
    with streams(lab, patience) as both:
        assert sources(both) == CARD
        down(lab, "eth0")
        both["IPv4"].wait_on(WAITS_LONGER)
        deleted(lab, "eth0")
        both["IPv4"].wait_dead(4 * patience)


# -- which way covers what

WHAT = ("TCP", "connected UDP", "UDP sendto", "static binary", "kernel socket", "attached subnet")
COVERED = {
    # Whether the VIPA is the source, by the way that shall make it so.
    "OSPF alone": (False, False, False, False, False, False),
    "LD_PRELOAD shim": (True, True, False, False, False, True),
    "ip route … src": (True, True, True, True, True, False),
    "cgroup BPF": (True, True, True, True, False, True),
}

SHIM = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Binds every socket that connects, and is bound to nothing, to the address that the environment has for its family. */
int connect(int fd, const struct sockaddr *to, socklen_t length) {
    int (*really)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    struct sockaddr_in6 own = {0};
    struct sockaddr_in *own4 = (struct sockaddr_in *)&own;
    socklen_t size = sizeof own;
    getsockname(fd, (struct sockaddr *)&own, &size);
    if (to->sa_family == AF_INET && own4->sin_port == 0) {
        inet_pton(AF_INET, getenv("VIPA4"), &own4->sin_addr);
        bind(fd, (struct sockaddr *)own4, sizeof *own4);
    } else if (to->sa_family == AF_INET6 && own.sin6_port == 0) {
        inet_pton(AF_INET6, getenv("VIPA6"), &own.sin6_addr);
        bind(fd, (struct sockaddr *)&own, sizeof own);
    }
    return really(fd, to, length);
}
"""
STATIC = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Connects to port 7 of an address and prints the source. */
int main(int argc, char **argv) {
    int version6 = argc > 1 && strchr(argv[1], ':') != 0;
    struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(7)};
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(7)};
    struct sockaddr *to = version6 ? (struct sockaddr *)&to6 : (struct sockaddr *)&to4;
    socklen_t size = version6 ? sizeof to6 : sizeof to4;
    char text[INET6_ADDRSTRLEN];
    int fd = socket(to->sa_family, SOCK_STREAM, 0);
    inet_pton(to->sa_family, argv[1], version6 ? (void *)&to6.sin6_addr : (void *)&to4.sin_addr);
    if (connect(fd, to, size) || getsockname(fd, to, &size)) return 1;
    puts(inet_ntop(to->sa_family, version6 ? (void *)&to6.sin6_addr : (void *)&to4.sin_addr, text, sizeof text));
    return 0;
}
"""
PROBE = """
import json, socket, sys
server, router, mark = sys.argv[1:]
family = socket.AF_INET6 if ":" in server else socket.AF_INET
def connected(to, kind):
    with socket.socket(family, kind) as sock:
        sock.settimeout(5)
        sock.connect((to, 7))
        return sock.getsockname()[0]
found = {"TCP": connected(server, socket.SOCK_STREAM), "connected UDP": connected(server, socket.SOCK_DGRAM)}
found["attached subnet"] = connected(router, socket.SOCK_STREAM)
socket.socket(family, socket.SOCK_DGRAM).sendto(mark.encode(), (server, 7))
print(json.dumps(found))
"""


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """The folder with shim.so and the static program."""
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler here for the shim: apt-get install gcc libc6-dev")
    for name, text, options in (("shim.so", SHIM, ["-shared", "-fPIC"]), ("static", STATIC, ["-static"])):
        (tmp_path / f"{name}.c").write_text(text)
        subprocess.run(["cc", "-O", *options, "-o", tmp_path / name, tmp_path / f"{name}.c"], check=True, timeout=60)
    return tmp_path


@contextlib.contextmanager
def used(lab: Lab, how: str, built: Path) -> Iterator[dict[str, str]]:
    """The way is in use in the block; what programs need in their environment."""
    client = lab["client"]
    if how == "LD_PRELOAD shim":
        yield {"LD_PRELOAD": str(built / "shim.so"), "VIPA4": VIPA["IPv4"], "VIPA6": VIPA["IPv6"]}
    elif how == "cgroup BPF":
        with client.socket() as sock:
            cookie = preferred.netns_cookie(sock)
        with preferred.sources(cookie, VIPA["IPv4"], VIPA["IPv6"]):
            yield {}
    elif how == "ip route … src":
        for family in FAMILIES:
            route = [PREFIX[family], "via", ROUTER[family], "src", VIPA[family], "metric", "5"]
            client.run(["ip", "route", "add", *route])
        yield {}
        for family in FAMILIES:
            client.run(["ip", "route", "delete", PREFIX[family], "metric", "5"])
    else:
        yield {}


@pytest.mark.lab("source-vipa", source="none", tunnels=1)
def test_which_way_covers_what(lab: Lab, report_table: Report, built: Path) -> None:
    """What each way covers: a shim who connects, a route all but its own subnet, BPF all but the kernel's own sockets."""
    converged(lab)
    with contextlib.ExitStack() as undo:
        undo.enter_context(Echo(lab["r1"].socket))
        echo = undo.enter_context(Echo(lab["server"].socket))
        tunnel = undo.enter_context(Echo(lab["server"].socket, VXLAN_PORT))
        found = {how: covered(lab, how, built, echo, tunnel) for how in COVERED}
    cells = [(how, *("VIPA" if each else "card" for each in row)) for how, row in found.items()]
    report_table("the source address, by the way that shall make it the VIPA", ("way", *WHAT), cells)
    assert found == COVERED


def covered(lab: Lab, how: str, built: Path, echo: Echo, tunnel: Echo) -> tuple[bool, ...]:
    """Of what it is the source; that must be the same of both families."""
    with used(lab, how, built) as env:
        rows = {
            family: tuple(
                each == VIPA[family] for each in tried(lab["client"], family, f"{how} {family}", built, env, echo, tunnel)
            )
            for family in FAMILIES
        }
    assert rows["IPv4"] == rows["IPv6"], (how, rows)
    return rows["IPv4"]


def tried(client: Node, family: str, mark: str, built: Path, env: dict[str, str], echo: Echo, tunnel: Echo) -> tuple[str, ...]:
    """The source addresses of WHAT."""
    server = SERVER[family]
    said = json.loads(client.run(["python3", "-c", PROBE, server, ROUTER[family], mark], env={**os.environ, **env}).stdout)
    said["UDP sendto"] = echo.wait(lambda asked: asked.data == mark.encode()).source
    said["static binary"] = client.run([str(built / "static"), server], env={**os.environ, **env}).stdout.strip()
    device = {"IPv4": "vx4", "IPv6": "vx6"}[family]
    client.send(device, bytes(Ether(dst="02:00:00:00:00:01") / IP(dst="192.0.2.1") / UDP() / mark.encode()))
    said["kernel socket"] = tunnel.wait(lambda asked: carries(asked, mark)).source
    return tuple(said[what] for what in WHAT)


def carries(asked: Asked, mark: str) -> bool:
    return mark.encode() in asked.data
