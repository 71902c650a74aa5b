"""Bonding: two network cards that act as one, and how long the switches look for the host at the wrong one.

The text on Source VIPA (2004) names what speaks against bonding: "a strong dependence on the switches' timeout". A bond in mode
active-backup uses one card, and the other with the same MAC address once the carrier of the first is gone. Switches farther
away see no carrier go: they send to where the address was seen last until it is seen elsewhere, or until they forget it. So the
bond announces itself by the new card, num_grat_arp times, by gratuitous ARP (drivers/net/bonding/bond_main.c);
without that, and as long as the host keeps silent, the outage lasts as long as a switch remembers (net/bridge/br_fdb.c), any of
them: the one at the new card saw the broadcasts of the old one come from the other side, and sends what is for it back there.

Neither end asks for the other's MAC address here, and neither has IPv6: nothing but the bond makes the host speak.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.l2 import ARP, Ether

from lab import Lab, Node
from lab.observe.conditions import Carrier, Gone
from lab.observe.outage import Meter, Outage
from lab.observe.wire import Packet

ADDRESS, CLIENT, MAC = "192.168.7.2", "192.168.7.1", "02:00:00:00:00:b0"
SIDES = {"eth0": "left", "eth1": "right"}
INTERVAL = 0.02  # seconds between two requests
WITHIN = 5.0  # seconds, for what takes a fraction of one
ROOM = 3.0  # seconds, for a machine that does something else meanwhile
LATE = 0.5  # seconds, by which the last answer before a failure may have been sent earlier than the failure
LONG = 60.0  # seconds, more than anybody waits here
UNSEEN = 50  # lost requests in a row: a second, of which a bond that looks at its carriers needs a twentieth
Report = Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]


def told(node: Node, device: str) -> dict[str, object]:
    """What ip(8) says of a device of some kind."""
    info: dict[str, object] = json.loads(node.run(["ip", "-d", "-j", "link", "show", "dev", device]).stdout)[0]["linkinfo"]
    return info


def active(lab: Lab) -> str:
    """The card that the bond uses."""
    data = told(lab["host"], "bond0")["info_data"]
    assert isinstance(data, dict)
    return str(data.get("active_slave"))


def learnt(lab: Lab) -> set[str]:
    """The ports at which the client's switch has seen the host."""
    entries = json.loads(lab["core"].run(["bridge", "-j", "fdb", "show", "br", "br0", "dynamic"]).stdout)
    return {str(each["ifname"]) for each in entries if each["mac"] == MAC}


def cable(lab: Lab, card: str, state: str) -> None:
    """Cuts the cable of a card of the host's (down), or mends it (up), at its far end."""
    side = SIDES[card]
    switch, port = (lab[side], "host") if side in lab.nodes else (lab["core"], side)
    switch.run(["ip", "link", "set", port, state])
    carrier = Carrier(card)
    lab["host"].wait(carrier if state == "up" else Gone(carrier), WITHIN)


def remember(lab: Lab, seconds: float) -> None:
    """How long the switches do."""
    for name in ("core", *SIDES.values()):
        if name in lab.nodes:
            lab[name].run(["ip", "link", "set", "br0", "type", "bridge", "ageing_time", str(round(seconds * 100))])


def announce(lab: Lab, times: int) -> None:
    lab["host"].run(["ip", "link", "set", "bond0", "type", "bond", "num_grat_arp", str(times)])


def fail_over(lab: Lab, within: float) -> Outage:
    """The cable of the card in use is cut, and mended when the client has its answers again."""
    card = active(lab)
    with Meter(lab["client"].ns, ADDRESS, INTERVAL) as meter:
        meter.wait_answered(WITHIN)
        assert learnt(lab) == {SIDES[card]}
        cable(lab, card, "down")
        meter.wait_answered(within)
        outage = meter.longest()
    assert active(lab) != card
    cable(lab, card, "up")
    return outage


def ageing(lab: Lab) -> float:
    return float(lab.record.params["ageing"])  # type: ignore[arg-type]


def is_announced(packet: Packet) -> bool:
    return ARP in packet and packet[ARP].psrc == packet[ARP].pdst == ADDRESS and packet.frame.sent


@pytest.mark.lab("bonding")
def test_one_card_speaks_for_both(lab: Lab) -> None:
    """Of two cards one sends; a question that reaches both is answered once, and the switch knows the address at that one."""
    with lab.capture("host:eth0", "host:eth1") as wire:
        assert lab["client"].who_has("eth0", ADDRESS) == (MAC,)
        lab["client"].run(["ping", "-c1", "-W5", ADDRESS])
        wire.expect(lambda p: ICMP in p and p[ICMP].type == 0, "the reply")
        asked = {p.frame.interface.device for p in wire.all(lambda p: ARP in p and p[ARP].op == 1 and not p.frame.sent)}
        speaks = {p.frame.interface.device for p in wire.all(lambda p: p.frame.sent)}
    assert (asked, speaks) == ({"eth0", "eth1"}, {"eth0"})
    assert learnt(lab) == {"left"}


@pytest.mark.lab("bonding")
def test_the_new_card_announces_the_address(lab: Lab) -> None:
    """When the carrier of its card is gone the bond announces its address by the other one, with the same MAC address."""
    with lab.capture("host:eth1") as wire:
        cable(lab, "eth0", "down")
        said = wire.expect(is_announced, "a gratuitous ARP request")
    assert (said[Ether].src, said[Ether].dst) == (MAC, "ff:ff:ff:ff:ff:ff")
    lab["core"].wait(lambda: learnt(lab) == {"right"}, WITHIN, "the client's switch knows where the host is")


COLUMNS = ("announced", "the switch remembers (s)", "at least (s)", "outage (s)", "at most (s)")


@pytest.mark.lab("bonding")
def test_without_an_announcement_the_outage_lasts_as_long_as_a_switch_remembers(lab: Lab, report_table: Report) -> None:
    """Announced, a change of cards is over before a switch forgets; silent, it lasts until one does."""
    announced, seconds, rows = int(lab.record.params["num_grat_arp"]), ageing(lab), []  # type: ignore[call-overload]
    for times, remembered in ((announced, 2 * seconds), (0, seconds), (0, 2 * seconds)):
        announce(lab, times)
        remember(lab, remembered)
        outage = fail_over(lab, remembered + ROOM)
        least, most = (0.0, remembered - LATE) if times == announced else (remembered - LATE, remembered + ROOM)
        rows.append((times, remembered, least, outage.seconds, most))
    report_table("outage when the card in use loses its carrier", COLUMNS, rows)
    assert [least <= outage < most for _, _, least, outage, most in rows] == [True] * len(rows)


@pytest.mark.lab("bonding", num_grat_arp=0)
def test_the_host_ends_the_outage_by_saying_anything(lab: Lab) -> None:
    """Until then any frame of the host's own tells the switches: the first thing that it says ends the outage."""
    remember(lab, LONG)
    with Meter(lab["client"].ns, ADDRESS, INTERVAL) as meter:
        meter.wait_answered(WITHIN)
        cable(lab, "eth0", "down")
        missed(lab, meter)
        lab["host"].wait(lambda: active(lab) == "eth1", WITHIN, "the bond uses eth1")
        assert learnt(lab) == {"left"}
        lab["host"].run(["ping", "-c1", "-W5", CLIENT])
        meter.wait_answered(WITHIN)
    assert learnt(lab) == {"right"}


def missed(lab: Lab, meter: Meter) -> None:
    """The client has no answer for a second."""
    lab["client"].wait(lambda: meter.longest().lost >= UNSEEN, WITHIN, f"{UNSEEN} requests in a row are lost")


@pytest.mark.lab("bonding", switches="one", num_grat_arp=0)
def test_a_switch_that_loses_the_carrier_itself_forgets_at_once(lab: Lab) -> None:
    """A switch at which the cut cable itself ends forgets what it saw there, and finds the host without being told."""
    remember(lab, LONG)
    assert fail_over(lab, WITHIN).seconds < ROOM


@pytest.mark.lab("bonding")
def test_the_bond_stays_with_the_new_card(lab: Lab) -> None:
    """Once the cable is mended the bond stays where it is: the first card is as good, and no better."""
    fail_over(lab, WITHIN)
    lab["host"].wait(lambda: told(lab["host"], "eth0")["info_slave_data"]["mii_status"] == "UP", WITHIN, "the bond sees eth0")  # type: ignore[index]
    assert active(lab) == "eth1"


@pytest.mark.lab("bonding", miimon=0)
def test_a_bond_that_does_not_look_keeps_to_the_dead_card(lab: Lab) -> None:
    """A bond that never looks at the carriers (miimon=0) keeps to a card that has none, and nobody has an answer."""
    with Meter(lab["client"].ns, ADDRESS, INTERVAL) as meter:
        meter.wait_answered(WITHIN)
        cable(lab, "eth0", "down")
        missed(lab, meter)
    assert active(lab) == "eth0"


@pytest.mark.lab("bonding")
def test_the_carrier_tells_of_the_first_cable_alone(lab: Lab) -> None:
    """A cable that is cut behind the first switch leaves the card its carrier: the bond sees nothing, and does nothing."""
    with Meter(lab["client"].ns, ADDRESS, INTERVAL) as meter:
        meter.wait_answered(WITHIN)
        lab["left"].run(["ip", "link", "set", "core", "down"])
        missed(lab, meter)
    assert active(lab) == "eth0"
