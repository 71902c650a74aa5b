"""Conditions on the real kernel, each both ways: it holds, it comes true when something changes, it never does."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.topologies import PAIR

from lab import Lab, Node, sockopts
from lab.live import unique_name
from lab.observe import conditions, tables
from lab.observe.conditions import (
    Addressed,
    Anycast,
    Carrier,
    Condition,
    ConditionTimeout,
    Counted,
    Duplicate,
    Gone,
    Listening,
    Neighbour,
    Ran,
    Routed,
    Solicitable,
    Succeeds,
    SysctlIs,
)
from lab.substrate import namespaces

pytestmark = pytest.mark.root

WITHIN, AT_ONCE, SOON = 15.0, 0.9, 0.05
Do = Callable[[Node], object]


@pytest.fixture(scope="module")
def living(own_run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    file = tmp_path_factory.mktemp("pair") / "pair.yaml"
    file.write_text(PAIR.format(name=unique_name("cond")))
    with Lab.up(file) as made:
        for node in made:
            node.run(["true"])  # what a node's first command makes stays until the end; so no test is the first
        yield made


def ip(*words: str) -> Do:
    return lambda node: node.run(["ip", *words])


# What does not hold at first, what makes it true, and what undoes that; all on node a.
CHANGES: dict[str, tuple[Condition, Do, Do]] = {
    "a carrier": (
        Carrier("new"),
        lambda node: node.run(["ip", "-batch", "-"], input="link add new up type veth peer name far\nlink set far up\n"),
        ip("link", "del", "new"),
    ),
    "an IPv4 address": (
        Addressed("10.9.0.1"),
        ip("address", "add", "10.9.0.1/24", "dev", "eth0"),
        ip("address", "del", "10.9.0.1/24", "dev", "eth0"),
    ),
    "an IPv6 address on a device": (
        Addressed("2001:db8:9::1", "eth0"),
        ip("address", "add", "2001:db8:9::1/64", "dev", "eth0", "nodad"),
        ip("address", "del", "2001:db8:9::1/64", "dev", "eth0"),
    ),
    "an IPv4 route": (
        Routed("10.8.0.0/16"),
        ip("route", "add", "10.8.0.0/16", "via", "10.0.0.2"),
        ip("route", "del", "10.8.0.0/16"),
    ),
    "an IPv6 route": (
        Routed("2001:db8:8::/48"),
        ip("route", "add", "2001:db8:8::/48", "via", "2001:db8::2"),
        ip("route", "del", "2001:db8:8::/48"),
    ),
    "a default route of IPv4": (
        Routed("default"),
        ip("route", "add", "default", "via", "10.0.0.2"),
        ip("route", "del", "default"),
    ),
    "a default route of IPv6": (
        Routed("default"),
        ip("-6", "route", "add", "default", "via", "2001:db8::2"),
        ip("-6", "route", "del", "default"),
    ),
    "an IPv6 address that can be asked for": (
        Solicitable("eth0", "2001:db8:9::2"),
        ip("address", "add", "2001:db8:9::2/64", "dev", "eth0", "nodad"),
        ip("address", "del", "2001:db8:9::2/64", "dev", "eth0"),
    ),
    "a neighbour": (
        Neighbour("10.0.0.66"),
        ip("neighbour", "add", "10.0.0.66", "lladdr", "02:00:00:00:00:66", "dev", "eth0", "nud", "stale"),
        ip("neighbour", "del", "10.0.0.66", "dev", "eth0"),
    ),
    "a neighbour in a state": (
        Neighbour("10.0.0.66", state="permanent"),
        ip("neighbour", "add", "10.0.0.66", "lladdr", "02:00:00:00:00:66", "dev", "eth0", "nud", "permanent"),
        ip("neighbour", "del", "10.0.0.66", "dev", "eth0"),
    ),
    "a neighbour of IPv6": (
        Neighbour("2001:db8::66"),
        ip("neighbour", "add", "2001:db8::66", "lladdr", "02:00:00:00:00:66", "dev", "eth0", "nud", "permanent"),
        ip("neighbour", "del", "2001:db8::66", "dev", "eth0"),
    ),
}


@pytest.fixture(params=list(CHANGES.values()), ids=list(CHANGES))
def change(request: pytest.FixtureRequest) -> tuple[Condition, Do, Do]:
    found: tuple[Condition, Do, Do] = request.param
    return found


@contextlib.contextmanager
def waiting(node: Node, condition: Condition) -> Iterator[None]:
    """Another thread waits for it, and has looked in vain before the block begins; after the block it came true."""
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            node.wait(condition, WITHIN)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not conditions.pending() and thread.is_alive():
        time.sleep(0.001)
    assert conditions.pending() == (f"{node.name}: {condition}",)
    try:
        yield
    finally:
        thread.join(WITHIN)
    assert errors == []
    assert conditions.pending() == ()


def test_it_does_not_hold_then_comes_true_then_is_gone(living: Lab, change: tuple[Condition, Do, Do]) -> None:
    node, (condition, make, undo) = living["a"], change
    with pytest.raises(ConditionTimeout) as caught:
        node.wait(condition, SOON)
    assert f"on node a, within {SOON} s never came true: {condition}; last seen: " in str(caught.value)
    assert node.wait(Gone(condition), SOON).holds
    with waiting(node, condition):
        make(node)
    try:
        assert node.wait(condition, SOON).holds
        with pytest.raises(ConditionTimeout, match="no longer: "):
            node.wait(Gone(condition), SOON)
    except BaseException:
        undo(node)
        raise
    with waiting(node, Gone(condition)):
        undo(node)


def test_an_event_wakes_and_not_the_clock(
    living: Lab, change: tuple[Condition, Do, Do], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With looks as rare as the deadline, what wakes can only be the kernel."""
    monkeypatch.setattr(conditions, "_AT_LEAST", WITHIN)
    node, (condition, make, undo) = living["a"], change
    start = time.monotonic()
    with waiting(node, condition):
        make(node)
    with waiting(node, Gone(condition)):
        undo(node)
    assert time.monotonic() - start < WITHIN / 2


def test_an_address_that_is_tentative_is_there_and_not_usable(living: Lab) -> None:
    node = living["a"]
    node.run(["ip", "address", "add", "2001:db8:7::1/64", "dev", "eth0"])
    try:
        with pytest.raises(ConditionTimeout, match="2001:db8:7::1 on eth0 is tentative"):
            node.wait(Addressed("2001:db8:7::1"), 0)
        assert node.wait(Addressed("2001:db8:7::1", usable=False), 0).holds
        with pytest.raises(ConditionTimeout, match="is not on lo"):
            node.wait(Addressed("2001:db8:7::1", "lo"), 0)
        assert node.wait(Addressed("2001:db8:7::1"), WITHIN).holds
    finally:
        node.run(["ip", "address", "del", "2001:db8:7::1/64", "dev", "eth0"])


def test_a_duplicate_is_told_as_such(living: Lab) -> None:
    node = living["a"]
    node.run(["ip", "address", "add", "2001:db8::2/64", "dev", "eth0"])
    try:
        node.wait(Duplicate("eth0", "2001:db8::2"), WITHIN)
        with pytest.raises(ConditionTimeout, match=r"2001:db8::2 on eth0 is a duplicate: .*\(dadfailed\)"):
            node.wait(Addressed("2001:db8::2"), SOON)
    finally:
        node.run(["ip", "address", "del", "2001:db8::2/64", "dev", "eth0"])


@pytest.mark.parametrize(("family", "udp"), [(socket.AF_INET, False), (socket.AF_INET6, True)])
def test_a_port_is_served_once_a_socket_is_there_and_no_longer_when_it_is_closed(
    living: Lab, family: socket.AddressFamily, udp: bool
) -> None:
    node, condition = living["a"], Listening(7777, udp)
    with pytest.raises(ConditionTimeout, match="nobody serves"):
        node.wait(condition, SOON)
    sock = node.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    with waiting(node, condition):
        sock.bind(("", 7777))
        if not udp:
            sock.listen()
    with waiting(node, Gone(condition)):
        sock.close()


def test_a_neighbour_that_does_not_answer_is_not_resolved(living: Lab) -> None:
    node = living["a"]
    node.run(["ping", "-c1", "-W1", "10.0.0.99"], check=False)
    with pytest.raises(ConditionTimeout, match=r"10\.0\.0\.99 on eth0 is (failed|incomplete)"):
        node.wait(Neighbour("10.0.0.99"), 0)
    node.run(["ping", "-c1", "-W5", "10.0.0.2"])
    assert node.wait(Neighbour("10.0.0.2"), 0).holds


def test_a_command_is_run_again_until_it_succeeds(living: Lab, tmp_path: Path) -> None:
    node, file = living["a"], tmp_path / "there"

    def run(argv: object) -> Ran:
        result = node.run(["test", "-e", file], check=False)
        return Ran(result.status, "")

    condition = Succeeds(("test",), "the file is there", run)
    with pytest.raises(ConditionTimeout, match="the file is there; last seen: it ended with 1"):
        node.wait(condition, SOON)
    with waiting(node, condition):
        file.touch()
    with waiting(node, Gone(condition)):
        file.unlink()


def test_a_sysctl_that_the_kernel_changes_by_itself_is_waited_for(living: Lab) -> None:
    node, condition = living["a"], SysctlIs("net.ipv6.conf.eth0.mtu", "1400")
    with pytest.raises(ConditionTimeout, match=r"net\.ipv6\.conf\.eth0\.mtu is 1400; last seen: .* is 1500"):
        node.wait(condition, SOON)
    with waiting(node, condition):
        node.run(["ip", "link", "set", "eth0", "mtu", "1400"])
    with waiting(node, Gone(condition)):
        node.run(["ip", "link", "set", "eth0", "mtu", "1500"])
    with pytest.raises(ConditionTimeout, match=r"no sysctl net\.nothing"):
        node.wait(SysctlIs("net.nothing", "1"), 0)


def test_a_counter_is_waited_for_until_it_has_come_so_far(living: Lab) -> None:
    node = living["a"]
    condition = Counted("IcmpOutEchos", node.counters()["IcmpOutEchos"] + 1)
    with pytest.raises(ConditionTimeout, match=r"IcmpOutEchos is .* at least; last seen: "):
        node.wait(condition, SOON)
    with waiting(node, condition):
        node.run(["ping", "-c1", "-W5", "10.0.0.2"])


def test_routes_of_other_tables_do_not_count(living: Lab) -> None:
    node = living["a"]
    node.run(["ip", "route", "add", "10.7.0.0/16", "via", "10.0.0.2", "table", "1007"])
    try:
        with pytest.raises(ConditionTimeout, match=r"routes to 10\.0\.0\.0/24"):
            node.wait(Routed("10.7.0.0/16"), SOON)
        assert namespaces.inside(node.ns, lambda: [str(each) for each in tables.routes(1007)]) == ["10.7.0.0/16"]
    finally:
        node.run(["ip", "route", "flush", "table", "1007"])


def test_the_tables_say_what_ip_says(living: Lab) -> None:
    node = living["a"]
    held = node.inside(lambda: {(each.device, str(each.address)) for each in tables.addresses()})
    assert held >= {("eth0", "10.0.0.1"), ("eth0", "2001:db8::1"), ("lo", "127.0.0.1"), ("lo", "::1")}
    told = node.run(["sh", "-c", "ip -4 route; ip -6 route"]).stdout.splitlines()
    routes = node.inside(lambda: [str(each) for each in tables.routes(254)])
    assert sorted(routes) == sorted(line.split()[0] for line in told)


def test_a_thousand_routes_are_read_whole(living: Lab) -> None:
    node = living["a"]
    lines = "".join(f"route add 10.100.{i // 256}.{i % 256}/32 via 10.0.0.2\n" for i in range(1000))
    node.run(["ip", "-batch", "-"], input=lines)
    try:
        assert node.inside(lambda: sum(1 for _ in tables.routes(254))) >= 1000
        assert node.wait(Routed("10.100.3.231"), 0).holds
    finally:
        node.run(["ip", "-batch", "-"], input=lines.replace("add", "del"))


def test_a_neighbour_in_another_state_is_not_meant_and_its_mac_address_is_read(living: Lab) -> None:
    node = living["a"]
    node.run(["ip", "neighbour", "add", "2001:db8::67", "lladdr", "02:00:00:00:00:67", "dev", "eth0", "nud", "stale"])
    with pytest.raises(ConditionTimeout, match="last seen: 2001:db8::67 on eth0 is stale"):
        node.wait(Neighbour("2001:db8::67", state="permanent"), SOON)
    assert node.wait(Neighbour("2001:db8::67"), SOON).holds
    entry = node.inside(tables.neighbour, "2001:db8::67")
    assert entry is not None
    assert (entry.mac, entry.device, tables.STATES[entry.state]) == ("02:00:00:00:00:67", "eth0", "stale")
    assert node.inside(tables.neighbour, "2001:db8::68") is None
    node.run(["ip", "neighbour", "del", "2001:db8::67", "dev", "eth0"])


def test_an_anycast_group_is_held_as_long_as_a_socket_holds_it(living: Lab) -> None:
    node, group = living["a"], Anycast("2001:db8::acac", "eth0")
    sock = node.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with waiting(node, group):
        sockopts.join_anycast(sock, "2001:db8::acac")
    assert node.wait(group, SOON).what == "2001:db8::acac on eth0 has 1 user"
    with pytest.raises(ConditionTimeout, match="last seen: nobody holds"):
        node.wait(Anycast("2001:db8::acac", "lo"), SOON)
    with waiting(node, Gone(group)):
        sock.close()


def test_an_address_of_another_node_is_found_to_be_a_duplicate_and_one_of_nobody_is_not(living: Lab) -> None:
    node = living["a"]
    node.sysctl["net.ipv6.conf.eth0.router_solicitation_delay"] = "0"
    with waiting(node, Duplicate("eth0", "2001:db8::2")):
        node.run(["ip", "address", "add", "2001:db8::2/64", "dev", "eth0"])
    node.run(["ip", "address", "del", "2001:db8::2/64", "dev", "eth0"])
    node.run(["ip", "address", "add", "2001:db8::3/64", "dev", "eth0", "nodad"])
    with pytest.raises(ConditionTimeout, match=r"will not come true any more: .*last seen: 2001:db8::3 is usable"):
        node.wait(Duplicate("eth0", "2001:db8::3"), WITHIN)
    node.run(["ip", "address", "del", "2001:db8::3/64", "dev", "eth0"])
