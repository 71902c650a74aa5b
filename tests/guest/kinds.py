"""Every kind of link, made by a kernel that has them all, and what ip(8), bridge(8) and tc(8) then tell of it.

Run by `lab --kernel … run tests/guest/kinds.py`, see test_kinds.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.model.file import INTERFACE_KINDS
from lab.substrate import features

Told = dict[str, Any]


@pytest.fixture(scope="module")
def made() -> Iterator[Lab]:
    with Lab.up(Path(__file__).with_name("kinds.yaml")) as lab:
        yield lab


@pytest.fixture(scope="module")
def links(made: Lab) -> dict[str, dict[str, Told]]:
    """Node -> device -> what ip(8) tells of it."""
    found = {node.name: json.loads(node.run(["ip", "-d", "-j", "link"]).stdout) for node in made}
    return {name: {each["ifname"]: each for each in told} for name, told in found.items()}


def kind(told: Told) -> str:
    return str(told["linkinfo"]["info_kind"])


def data(told: Told) -> Told:
    found: Told = told["linkinfo"]["info_data"]
    return found


def test_this_kernel_has_every_kind() -> None:
    """The kernel of the guest lacks no kind of link."""
    assert features.missing([*(set(INTERFACE_KINDS) - {"internal"}), "vlan_filtering", "netem", "tbf"]) == set()


def test_dummy(links: dict[str, dict[str, Told]]) -> None:
    """A dummy has its MAC address and MTU, is raised, and stays down where it is told to."""
    d, off = links["a"]["d"], links["a"]["off"]
    assert (kind(d), d["address"], d["mtu"], "UP" in d["flags"]) == ("dummy", "02:00:00:00:00:0d", 1400, True)
    assert (kind(off), "UP" in off["flags"]) == ("dummy", False)


def test_ifb(links: dict[str, dict[str, Told]]) -> None:
    """An ifb has its MTU."""
    assert (kind(links["a"]["i"]), links["a"]["i"]["mtu"]) == ("ifb", 1400)


def test_veth(links: dict[str, dict[str, Told]]) -> None:
    """A veth has its MAC address, and its peer in the other namespace."""
    eth0, port = links["a"]["eth0"], links["lan"]["trunk"]
    assert (kind(eth0), eth0["address"], eth0["operstate"]) == ("veth", "02:00:00:00:00:0a", "UP")
    assert (eth0["link_index"], port["link_index"]) == (port["ifindex"], eth0["ifindex"])


def test_vlan(links: dict[str, dict[str, Told]]) -> None:
    """A VLAN device has its parent, number and protocol, and so has one that stands on it."""
    found = {name: links["a"][name] for name in ("eth0.7", "s", "s.9")}
    assert [(each["link"], data(each)["protocol"], data(each)["id"]) for each in found.values()] == [
        ("eth0", "802.1Q", 7),
        ("eth0", "802.1ad", 100),
        ("s", "802.1Q", 9),
    ]
    assert [each["mtu"] for each in found.values()] == [1500, 1500, 1496]


def test_priority_maps(links: dict[str, dict[str, Told]]) -> None:
    """A VLAN device has its maps of priorities, in both directions."""
    told = data(links["a"]["eth0.7"])
    assert told["ingress_qos"] == [{"from": 2, "to": 3}]
    assert sorted((each["from"], each["to"]) for each in told["egress_qos"]) == [(3, 5), (6, 4)]


def test_bridge(links: dict[str, dict[str, Told]]) -> None:
    """A bridge has its members, times and the protocol of its tags."""
    told = data(links["a"]["provider"])
    assert (told["vlan_filtering"], told["vlan_protocol"]) == (1, "802.1ad")
    assert (told["stp_state"], told["forward_delay"], told["mcast_snooping"]) == (1, 250, 1)
    assert links["a"]["i"]["master"] == "provider"
    assert data(links["lan"]["br0"])["ageing_time"] == 2000


def test_port_vlans(made: Lab) -> None:
    """Each port of a VLAN-aware bridge is in the VLANs that the file gives it and in no other, an unnamed one in VLAN 1."""
    told = json.loads(made["lan"].run(["bridge", "-j", "vlan", "show"]).stdout)
    own = {"PVID", "Egress Untagged"}
    found = {each["ifname"]: {vlan["vlan"]: set(vlan.get("flags", ())) for vlan in each["vlans"]} for each in told}
    assert found == {
        "br0": {1: own},
        "trunk": {5: own, 7: set(), 100: set()},
        "tagged": {7: set()},
        "access": {7: own},
        "plain": {1: own},
    }


def test_bond(links: dict[str, dict[str, Told]]) -> None:
    """A bond has its mode, its members, how often it looks at their carriers and how often it announces itself."""
    several, one = data(links["a"]["o"]), data(links["a"]["b"])
    assert (several["mode"], several["miimon"], several["num_peer_notif"]) == ("802.3ad", 50, 3)
    assert (one["mode"], one["num_peer_notif"]) == ("active-backup", 0)
    assert [links["a"][name]["master"] for name in ("eth1", "eth2", "d2")] == ["o", "o", "b"]
    assert "UP" in links["a"]["o"]["flags"]


def test_vxlan(links: dict[str, dict[str, Told]]) -> None:
    """A VXLAN tunnel has its number, port, parent and ends, of either family."""
    told, six = data(links["a"]["x"]), data(links["a"]["x6"])
    assert (told["id"], told["port"], told["local"], told["remote"]) == (7, 4790, "10.0.7.1", "10.0.7.2")
    assert (told["link"], told["learning"], six["learning"]) == ("eth0.7", False, True)
    assert (six["id"], six["port"], six["local6"], six["remote6"]) == (8, 4789, "2001:db8::1", "2001:db8::2")


def test_macvlan(links: dict[str, dict[str, Told]]) -> None:
    """A macvlan stands on its parent in its mode."""
    assert (links["a"]["m"]["link"], data(links["a"]["m"])["mode"]) == ("d", "private")


def test_vrf(made: Lab, links: dict[str, dict[str, Told]]) -> None:
    """A VRF has its table and members, and the routes that the file puts there."""
    assert (data(links["a"]["r"])["table"], links["a"]["eth3"]["master"]) == (7, "r")
    routes = json.loads(made["a"].run(["ip", "-j", "route", "show", "vrf", "r"]).stdout)
    assert {"10.4.0.0/24", "10.8.0.0/16"} <= {each["dst"] for each in routes}


def test_netem(made: Lab) -> None:
    """A link's impairments are those of the file, at both of its ends."""
    for node, device in (("b", "other"), ("lan", "plain")):
        (told,) = json.loads(made[node].run(["tc", "-j", "qdisc", "show", "dev", device]).stdout)
        options = told["options"]
        assert (told["kind"], options["delay"]["delay"], options["delay"]["jitter"]) == ("netem", 0.01, 0.001)
        assert (options["rate"]["rate"], options["loss-random"]["loss"]) == (10_000_000, pytest.approx(0.01, rel=1e-3))
        assert options["duplicate"]["duplicate"] == pytest.approx(0.02, rel=1e-3)
        assert options["reorder"]["reorder"] == pytest.approx(0.03, rel=1e-3)


def test_a_tunnel_over_a_vlan_over_a_trunk_carries_a_ping(made: Lab) -> None:
    """A VXLAN tunnel over VLAN devices over the trunks of a switch carries a ping."""
    made["a"].run(["ping", "-c1", "-W5", "10.3.0.2"])


def test_a_vrf_keeps_its_routes_to_itself(made: Lab) -> None:
    """What a member of a VRF reaches nobody else on the host does."""
    to = ["-c1", "-W5", "10.4.0.2"]
    made["a"].run(["ping", "-I", "r", *to])
    assert made["a"].run(["ping", *to], check=False).status != 0
