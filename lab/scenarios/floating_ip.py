"""An address that floats between two servers: detection of duplicates in its way, and how long a client misses it.

The article that this begins with ("IPv6: Floating IPs and Duplicate Address Detection") tells how detection (DAD, RFC 4862) and
an address that moves disturb each other: who takes an address over while the other still has it gets one that is of no use. It
tells of detection for addresses of the same link; today every unicast address goes through it, whatever its scope, unless told
not to. And detection is no announcement: who skips it by `nodad` also skips the one that ndisc_notify=1 would make, so that the
client keeps to the old MAC address until it misses it (net/ipv6/addrconf.c, addrconf_dad_completed; net/ipv6/ndisc.c).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import Ether

from lab import Lab, Node
from lab.observe import kmsg, nud, tables
from lab.observe.conditions import Addressed, Carrier, Duplicate, Gone, Solicitable
from lab.observe.outage import Meter, Outage
from lab.observe.wire import Packet, Wire

FLOATING, ALL_NODES, NOBODY = "2001:db8::f", "ff02::1", "::"
DISCOVERY = "icmp6 and (ip6[40] == 135 or ip6[40] == 136)"  # solicitations and advertisements of neighbours
WITHIN = 5.0  # seconds, for what takes a fraction of one
ROOM = 3.0  # seconds, for a machine that does something else meanwhile
TRIES = 5
RETRANS, FOREVER = "net.ipv6.neigh.eth0.retrans_time_ms", "3600000"  # milliseconds
Report = Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]


def take(node: Node, *flags: str) -> None:
    """Returns once the kernel, which does it in its own time, has begun with detection or skipped it: before that it neither
    defends the address nor hears that another one has it."""
    node.run(["ip", "address", "add", f"{FLOATING}/64", "dev", "eth0", *flags])
    node.wait(Solicitable("eth0", FLOATING), WITHIN)


def leave(node: Node) -> None:
    node.run(["ip", "address", "del", f"{FLOATING}/64", "dev", "eth0"])


def has(node: Node) -> bool:
    """Whether the node has the address, and may use it."""
    return node.inside(Addressed(FLOATING, "eth0").look).holds


def binds(node: Node) -> bool:
    with node.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((FLOATING, 0))
        except OSError as error:
            assert error.errno == errno.EADDRNOTAVAIL
            return False
        return True


def search(node: Node) -> str:
    """Its detection lasts until somebody answers, also where the answer has to wait for a processor; how long it did before."""
    before = node.sysctl[RETRANS]
    node.sysctl[RETRANS] = FOREVER
    return before


def set_all(lab: Lab, value: object, *names: str) -> None:
    for node in (lab["n1"], lab["n2"]):
        for name in names:
            node.sysctl[f"net.ipv6.{name}"] = str(value)


def is_probe(packet: Packet) -> bool:
    """The question of detection itself, which has no source."""
    return ICMPv6ND_NS in packet and packet[IPv6].src == NOBODY and packet[ICMPv6ND_NS].tgt == FLOATING


def is_advertised(packet: Packet) -> bool:
    return ICMPv6ND_NA in packet and packet[ICMPv6ND_NA].tgt == FLOATING


# -- detection


@pytest.mark.lab("floating-ip")
def test_a_duplicate_is_detected_and_of_no_use(lab: Lab) -> None:
    """Who takes an address that another node has gets it marked as a duplicate, and cannot bind it, until it is deleted."""
    owner, taker = lab["n1"], lab["n2"]
    take(owner, "nodad")
    before = search(taker)
    take(taker)
    taker.wait(Duplicate("eth0", FLOATING), WITHIN)
    leave(owner)
    assert (has(taker), binds(taker)) == (False, False)
    leave(taker)
    taker.sysctl[RETRANS] = before
    take(taker)
    taker.wait(Addressed(FLOATING, "eth0"), WITHIN)


@pytest.mark.lab("floating-ip")
def test_an_address_that_nobody_has_becomes_usable(lab: Lab) -> None:
    """An address that nobody has is asked for without a source, dad_transmits times, and then usable."""
    taker = lab["n2"]
    for times in (1, 3):
        taker.sysctl["net.ipv6.conf.eth0.dad_transmits"] = str(times)
        with lab.capture("n2:eth0", filter=DISCOVERY) as wire:
            take(taker)
            taker.wait(Addressed(FLOATING, "eth0"), WITHIN)
            wire.expect_in_order(*[(is_probe, "a question without a source")] * times)
        assert len(wire.all(is_probe)) == times
        assert binds(taker)
        leave(taker)


@pytest.mark.lab("floating-ip")
def test_the_defender_answers_everybody(lab: Lab) -> None:
    """Whoever has the address defends it by an advertisement to all nodes, with the override flag and unsolicited."""
    take(lab["n1"], "nodad")
    with lab.capture("n2:eth0", filter=DISCOVERY) as wire:
        take(lab["n2"])
        asked, answer = wire.expect_in_order((is_probe, "the question"), (is_advertised, "the defence"))
    assert asked[IPv6].dst == "ff02::1:ff00:f"
    assert (answer[IPv6].dst, answer[Ether].src) == (ALL_NODES, lab["n1"].mac("eth0"))
    assert (answer[ICMPv6ND_NA].O, answer[ICMPv6ND_NA].S) == (1, 0)


@pytest.mark.lab("floating-ip")
def test_the_kernel_logs_the_duplicate(lab: Lab, kernel_log: kmsg.Log) -> None:
    """The kernel of whoever takes it logs the duplicate with the owner's MAC address."""
    take(lab["n1"], "nodad")
    mac = lab["n1"].mac("eth0")
    search(lab["n2"])

    def again() -> None:
        lab["n2"].run(["ip", "address", "flush", "to", FLOATING])
        take(lab["n2"])
        lab["n2"].wait(Duplicate("eth0", FLOATING), WITHIN)

    line, *_ = kernel_log.wait(lambda entries: kmsg.of_macs(entries, {mac}), again, f"a line about {mac}")
    assert f"eth0: IPv6 duplicate address {FLOATING} used by {mac} detected!" in line.text


@pytest.mark.lab("floating-ip")
@pytest.mark.parametrize("way", ["nodad", "accept_dad=0", "dad_transmits=0"])
def test_a_way_around_detection_makes_two_owners(lab: Lab, way: str) -> None:
    """Around detection both nodes have the address, and nobody was asked."""
    take(lab["n1"], "nodad")
    name, _, value = way.partition("=")
    if value:
        lab["n2"].sysctl[f"net.ipv6.conf.eth0.{name}"] = value
    with lab.capture("n2:eth0", filter=DISCOVERY) as wire:
        take(lab["n2"], *([] if value else [way]))
        lab["n2"].wait(Addressed(FLOATING, "eth0"), WITHIN)
        lab["n2"].run(["ping", "-c1", "-W5", "-I", "2001:db8::12", "2001:db8::11"])
        wire.never(is_probe, "a question", until=lambda p: ICMPv6ND_NS in p and p[ICMPv6ND_NS].tgt == "2001:db8::11")
    assert (has(lab["n1"]), has(lab["n2"]), binds(lab["n2"])) == (True, True, True)


@pytest.mark.lab("floating-ip", optimistic_dad=1)
def test_an_optimistic_address_is_used_meanwhile(lab: Lab) -> None:
    """An optimistic address is bound while detection lasts; without the flag, or without optimistic_dad=1, it is not."""
    taker, found = lab["n2"], {}
    search(taker)
    for allowed in (1, 0):
        taker.sysctl["net.ipv6.conf.eth0.optimistic_dad"] = str(allowed)
        for flags in ((), ("optimistic",)):
            take(taker, *flags)
            found[allowed, flags] = binds(taker)
            leave(taker)
    assert found == {(1, ()): False, (1, ("optimistic",)): True, (0, ()): False, (0, ("optimistic",)): False}


@pytest.mark.lab("floating-ip", optimistic_dad=1)
def test_an_optimistic_duplicate_is_taken_back(lab: Lab) -> None:
    """An optimistic address that turns out to be a duplicate is of no use any more: it is no way around detection."""
    owner, taker = lab["n1"], lab["n2"]
    search(taker)
    with lab.capture("n2:eth0", filter=DISCOVERY) as wire:
        take(taker, "optimistic")
        assert binds(taker)
        wire.expect(is_probe, "the question")  # until detection has begun nobody's answer counts (addrconf_dad_end)
    take(owner, "nodad")
    owner.send("eth0", bytes(advertisement(owner, override=1)))
    taker.wait(lambda: not binds(taker), WITHIN, "the optimistic address is taken back")


@pytest.mark.lab("floating-ip", accept_dad=2)
def test_a_cloned_mac_address_ends_ipv6_with_accept_dad_2(lab: Lab) -> None:
    """With accept_dad=2 a node with another's MAC address loses IPv6 on that device; with 1 it loses the link-local address."""
    owner, clone = lab["n1"], lab["n2"]
    shared = link_local(owner)
    owner.wait(Addressed(shared, "eth0"), WITHIN)
    search(clone)
    clone.run(["ip", "link", "set", "eth0", "address", owner.mac("eth0")])
    renewed(clone)
    clone.wait(lambda: disabled(clone), WITHIN, "IPv6 is disabled on eth0")
    clone.sysctl["net.ipv6.conf.eth0.accept_dad"] = "1"
    clone.sysctl["net.ipv6.conf.eth0.disable_ipv6"] = "0"
    clone.wait(Duplicate("eth0", shared), WITHIN)
    assert not disabled(clone)


def renewed(node: Node) -> None:
    """Its addresses are made anew, and asked for again."""
    for value in ("1", "0"):
        node.sysctl["net.ipv6.conf.eth0.disable_ipv6"] = value


def disabled(node: Node) -> bool:
    return node.sysctl["net.ipv6.conf.eth0.disable_ipv6"] == "1"


def link_local(node: Node) -> str:
    held = node.inside(lambda: list(tables.addresses()))
    return next(str(each.address) for each in held if each.device == "eth0" and each.address.is_link_local)


# -- the address moves

MOVES: dict[str, tuple[Sequence[str], int, int | None]] = {
    # How it moves: the flags of the new address, ndisc_notify, and the override flag of an advertisement by hand, if any.
    "nodad, and nothing is said": (["nodad"], 0, None),
    "nodad, ndisc_notify=1": (["nodad"], 1, None),
    "detection, and nothing is said": ([], 0, None),
    "an advertisement without override": (["nodad"], 0, 0),
    "an advertisement with override": (["nodad"], 0, 1),
    "detection, ndisc_notify=1": ([], 1, None),
}
MISSED = list(MOVES)[:4]
"""In these the client must find out by itself."""
PATIENT = "10"  # seconds until it begins to in the others, so that a move on a busy machine is over by then
COLUMNS = ("how the address moves", "at least (s)", "outage (s)", "at most (s)")


@pytest.mark.lab("floating-ip")
def test_only_an_announcement_with_override_spares_the_client(lab: Lab, report_table: Report) -> None:
    """A client misses a moved address until its own detection is done; only an advertisement with override spares it that."""
    client = lab["client"]
    take(lab["n1"], "nodad")
    outages, spans = {}, {}
    for number, (how, said) in enumerate(MOVES.items()):
        old, new = (lab["n1"], lab["n2"]) if number % 2 == 0 else (lab["n2"], lab["n1"])
        if how not in MISSED:
            client.sysctl["net.ipv6.neigh.eth0.delay_first_probe_time"] = PATIENT
        spans[how] = span(how, nud.unreachability(client.sysctl, "eth0"))
        outages[how] = outage_of_move(lab, old, new, *said)
    report_table("outage when the address moves", COLUMNS, rows(outages, spans))
    for how, (least, most) in spans.items():
        assert least <= outages[how].seconds < most, how


def span(how: str, times: nud.Unreachability) -> tuple[float, float]:
    """What the sysctls make of it: an advertisement without override makes the entry STALE, and none leaves it REACHABLE."""
    if how not in MISSED:
        return 0.0, times.from_stale
    least = times.from_stale if "without override" in how else times.from_reachable
    return least, times.from_reachable_at_most + ROOM


def rows(outages: dict[str, Outage], spans: dict[str, tuple[float, float]]) -> list[tuple[object, ...]]:
    return [(how, spans[how][0], outage.seconds, spans[how][1]) for how, outage in outages.items()]


def outage_of_move(lab: Lab, old: Node, new: Node, flags: Sequence[str], notify: int, override: int | None) -> Outage:
    """The client's entry is REACHABLE when the old owner leaves."""
    set_all(lab, notify, "conf.eth0.ndisc_notify")
    client = lab["client"]
    with Meter(client.ns, FLOATING) as meter:
        meter.wait_answered(WITHIN)
        leave(old)
        client.run(["ip", "neighbour", "change", FLOATING, "lladdr", old.mac("eth0"), "dev", "eth0", "nud", "reachable"])
        take(new, *flags)
        if override is not None:
            new.send("eth0", bytes(advertisement(new, override)))
        meter.wait_answered(nud.unreachability(client.sysctl, "eth0").from_reachable_at_most + ROOM)
        return meter.longest()


def advertisement(node: Node, override: int) -> Any:
    """Unsolicited, of the floating address, to all nodes (RFC 4861, 7.2.6)."""
    mac = node.mac("eth0")
    frame = Ether(src=mac, dst="33:33:00:00:00:01") / IPv6(src=FLOATING, dst=ALL_NODES, hlim=255)
    return frame / ICMPv6ND_NA(tgt=FLOATING, R=0, S=0, O=override) / ICMPv6NDOptDstLLAddr(lladdr=mac)


@pytest.mark.slow
@pytest.mark.lab("floating-ip", timers="default")
def test_with_default_timers_the_client_misses_the_address_for_long(lab: Lab, report_table: Report) -> None:
    """With the kernel's default timers a client that nobody tells misses the address for as long as these make."""
    times = nud.unreachability(lab["client"].sysctl, "eth0")
    take(lab["n1"], "nodad")
    how = "nodad, and nothing is said"
    outage = outage_of_move(lab, lab["n1"], lab["n2"], *MOVES[how])
    least, most = span(how, times)
    report_table("outage when the address moves", COLUMNS, rows({how: outage}, {how: (least, most)}))
    assert least <= outage.seconds < most


# -- keepalived


@pytest.mark.lab("floating-ip", keepalived=1)
def test_keepalived_moves_the_address(lab: Lab, report_table: Report) -> None:
    """keepalived moves the address: soon when the master says goodbye, after three silent intervals when its link is gone."""
    interval = float(lab.record.params["interval"])  # type: ignore[arg-type]
    skew = interval * (256 - 100) / 256  # RFC 9568, 6.1, for a priority of 100
    silence = 2 * interval + skew  # at least: the last advertisement may be an interval old
    outages = {"SIGTERM": soonest(lab, ended, silence), "the link goes down": outage_when(lab, cut_off)}
    waits = {"SIGTERM": skew, "the link goes down": 3 * interval + skew}
    columns = ("how it goes", "the backup waits (s)", "outage (s)", "at most (s)")
    told = [(how, waits[how], outage.seconds, waits[how] + ROOM) for how, outage in outages.items()]
    report_table("outage when keepalived's master goes", columns, told)
    assert all(outages[how].seconds <= waits[how] + ROOM for how in waits)
    assert outages["SIGTERM"].seconds < outages["the link goes down"].seconds


def soonest(lab: Lab, goes: Callable[[Node], object], enough: float) -> Outage:
    """The shortest of some outages, as soon as one lasts less than that: a busy machine makes each longer, and none shorter."""
    outages = [outage_when(lab, goes)]
    while min(each.seconds for each in outages) >= enough and len(outages) < TRIES:
        outages.append(outage_when(lab, goes))
    return min(outages, key=lambda outage: outage.seconds)


def outage_when(lab: Lab, goes: Callable[[Node], object]) -> Outage:
    master, backup = lab["n1"], lab["n2"]
    settled(master, backup)
    with Meter(lab["client"].ns, FLOATING) as meter:
        meter.wait_answered(WITHIN)
        goes(master)
        backup.wait(Addressed(FLOATING, "eth0"), WITHIN + ROOM)
        meter.wait_answered(WITHIN)
        outage = meter.longest()
    if not master.services["keepalived"].state().running:
        master.services["keepalived"].start()
    return outage


def settled(master: Node, backup: Node) -> None:
    master.wait(Addressed(FLOATING, "eth0"), WITHIN + ROOM)
    backup.wait(Gone(Addressed(FLOATING, "eth0")), WITHIN + ROOM)


def ended(node: Node) -> None:
    assert node.services["keepalived"].stop() == 0


def cut_off(node: Node) -> None:
    node.run(["ip", "link", "set", "eth0", "down"])


@pytest.mark.lab("floating-ip", keepalived=1)
def test_keepalived_that_is_killed_leaves_the_address_behind(lab: Lab) -> None:
    """keepalived that gets SIGKILL leaves its address behind: two owners, and the client follows the one that speaks up."""
    master, backup, client = lab["n1"], lab["n2"], lab["client"]
    settled(master, backup)
    with Meter(client.ns, FLOATING) as meter:
        meter.wait_answered(WITHIN)
        assert remembered(client) == master.mac("eth0")
        killed(master)
        backup.wait(Addressed(FLOATING, "eth0"), WITHIN + ROOM)
        client.wait(lambda: remembered(client) == backup.mac("eth0"), WITHIN, "the client has the new owner's MAC address")
        meter.wait_answered(WITHIN)
    assert (has(master), has(backup)) == (True, True)


def killed(node: Node) -> None:
    """Its two processes, and neither has time to tidy up after the other."""
    service = node.services["keepalived"]
    worker = node.run(["cat", f"{service.spec.folder}/vrrp.pid"]).stdout.strip()
    for name, pid in (("STOP", str(service.state().pid)), ("KILL", worker)):
        node.run(["kill", f"-{name}", pid])
    service.kill()


def remembered(client: Node) -> str:
    """The MAC address that the client has for the floating address."""
    entry = client.inside(tables.neighbour, FLOATING)
    return entry.mac if entry else ""


# -- split brain


def cable(lab: Lab, state: str) -> None:
    """Cuts the cable between the switches (down), or mends it (up)."""
    lab["left"].run(["ip", "link", "set", "right", state])
    there = (lab["left"], Carrier("right")), (lab["right"], Carrier("left"))
    for switch, carrier in there:
        switch.wait(carrier if state == "up" else Gone(carrier), WITHIN)


@pytest.mark.lab("floating-ip")
def test_a_healed_partition_leaves_two_owners(lab: Lab, kernel_log: kmsg.Log) -> None:
    """Two nodes that took the address while they were parted both keep it: nobody asks again, and nothing is logged."""
    take(lab["n1"])
    lab["n1"].wait(Addressed(FLOATING, "eth0"), WITHIN)
    cable(lab, "down")
    take(lab["n2"])
    lab["n2"].wait(Addressed(FLOATING, "eth0"), WITHIN)
    with lab.capture("client:eth0", filter=DISCOVERY) as wire:
        cable(lab, "up")
        first, second = both_answer(lab, wire)
        assert wire.all(is_probe) == []
    assert {first[Ether].src, second[Ether].src} == {lab["n1"].mac("eth0"), lab["n2"].mac("eth0")}
    assert (first[ICMPv6ND_NA].O, second[ICMPv6ND_NA].O) == (1, 1)
    assert remembered(lab["client"]) == second[Ether].src
    assert (has(lab["n1"]), has(lab["n2"])) == (True, True)
    assert kmsg.of_macs(kernel_log.entries(), {first[Ether].src, second[Ether].src}) == ()


def both_answer(lab: Lab, wire: Wire) -> list[Packet]:
    """How it shows: one question of the client's, and two answers with override, of which the later one wins."""
    lab["client"].run(["ping", "-c1", "-W5", FLOATING])
    answers = wire.expect_in_order(*[(is_advertised, "an answer of each owner")] * 2)
    lab["client"].wait(lambda: remembered(lab["client"]) == answers[1][Ether].src, WITHIN, "the later answer counts")
    return answers


@pytest.mark.lab("floating-ip")
def test_an_owner_that_hears_the_other_one_logs_it(lab: Lab, kernel_log: kmsg.Log) -> None:
    """Only an owner that hears the other one advertise the address to all nodes logs it, and keeps the address all the same."""
    for node in (lab["n1"], lab["n2"]):
        take(node, "nodad")
    mac = lab["n1"].mac("eth0")

    def again() -> None:
        lab["n1"].send("eth0", bytes(advertisement(lab["n1"], override=1)))

    line, *_ = kernel_log.wait(lambda entries: kmsg.of_macs(entries, {mac}), again, f"a line about {mac}")
    assert f"{mac} advertised our address {FLOATING} on eth0" in line.text
    assert (has(lab["n1"]), has(lab["n2"])) == (True, True)


@pytest.mark.lab("floating-ip")
def test_who_takes_the_address_again_after_the_partition_finds_the_other(lab: Lab) -> None:
    """Only who takes the address anew, once the partition is healed, finds the other one."""
    cable(lab, "down")
    for node in (lab["n1"], lab["n2"]):
        take(node)
        node.wait(Addressed(FLOATING, "eth0"), WITHIN)
    cable(lab, "up")
    leave(lab["n2"])
    search(lab["n2"])
    take(lab["n2"])
    lab["n2"].wait(Duplicate("eth0", FLOATING), WITHIN)
    assert has(lab["n1"])


@pytest.mark.lab("floating-ip", keepalived=1)
def test_keepalived_ends_a_split_brain(lab: Lab) -> None:
    """keepalived makes two masters of a partition as well, and when it is healed the lesser one gives the address up."""
    settled(lab["n1"], lab["n2"])
    cable(lab, "down")
    lab["n2"].wait(Addressed(FLOATING, "eth0"), WITHIN + ROOM)
    assert has(lab["n1"])
    cable(lab, "up")
    lab["n2"].wait(Gone(Addressed(FLOATING, "eth0")), WITHIN + ROOM)
    assert has(lab["n1"])
