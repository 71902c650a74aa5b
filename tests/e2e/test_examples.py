"""The topologies to start from do what their diagrams say."""

from __future__ import annotations

import itertools
import re

import pytest

from lab import Lab
from lab.live import unique_name
from lab.node import Node

pytestmark = pytest.mark.root


def up(name: str, **params: object) -> Lab:
    return Lab.up(name, name=unique_name(name), params=params)


def reaches(node: Node, address: str) -> bool:
    return node.run(["ping", "-c1", "-W1", address], check=False).status == 0


def hops(node: Node, address: str) -> int:
    """Routers on the way, by the reply's hop limit; Linux sends 64."""
    said = node.run(["ping", "-c1", "-W1", address]).stdout
    found = re.search(r"ttl=(\d+)", said)
    assert found, said
    return 64 - int(found[1])


def test_hosts_of_both_lans_reach_each_other_through_the_router_and_only_through_it() -> None:
    with up("routed-lans", hosts=2) as lab:
        for address in ("10.0.2.2", "2001:db8:2::2"):
            assert hops(lab["a1"], address) == 1
        for address in ("10.0.1.2", "2001:db8:1::2"):
            assert hops(lab["a1"], address) == 0
        lab["router"].sysctl["net.ipv4.ip_forward"] = 0
        lab["router"].sysctl["net.ipv6.conf.all.forwarding"] = 0
        assert not reaches(lab["a1"], "10.0.2.2")
        assert not reaches(lab["a1"], "2001:db8:2::2")


def test_the_mtu_of_the_two_lans_is_that_of_every_link() -> None:
    for mtu, passes in ((9000, True), (1500, False)):
        with up("routed-lans", hosts=1, mtu=mtu) as lab:
            done = lab["a1"].run(["ping", "-c1", "-W1", "-M", "do", "-s", "8000", "10.0.2.1"], check=False)
            assert (done.status == 0) is passes


@pytest.mark.parametrize("routers", [3, 4, 5])
def test_in_a_ring_everybody_reaches_everybody_by_the_shorter_way(routers: int) -> None:
    with up("router-ring", routers=routers) as lab:
        for i, j in itertools.permutations(range(1, routers + 1), 2):
            way = min((j - i) % routers, (i - j) % routers) + 1
            assert hops(lab[f"h{i}"], f"2001:db8:{j}::1") == hops(lab[f"h{i}"], f"10.0.{j}.1") == way


def test_what_went_over_a_link_of_the_ring_that_is_down_goes_nowhere_and_the_rest_goes_on() -> None:
    with up("router-ring", routers=4) as lab:
        lab["r1"].run(["ip", "link", "set", "east", "down"])
        assert not reaches(lab["h1"], "10.0.2.1")
        assert reaches(lab["h1"], "10.0.4.1")


def route(node: Node, *words: str) -> str:
    return node.run(["ip", *words]).stdout


def test_a_pc_of_the_office_is_given_everything_it_needs() -> None:
    """Addresses by DHCP and DHCPv6, the IPv6 route by an advertisement, names from the gateway, and the way to the web."""
    with up("office", pcs=1) as lab:
        pc = lab["pc1"]
        address = r"2001:db8::1[0-9a-f]{3}/128"
        pc.wait(lambda: re.search(address, route(pc, "-6", "address")), what="DHCPv6 gave an address")
        assert re.search(r"inet 10\.0\.0\.1\d\d/24", route(pc, "-4", "address"))
        assert "default via fe80::" in route(pc, "-6", "route")
        assert "default via 10.0.0.1" in route(pc, "-4", "route")
        assert hops(pc, "10.1.0.80") == 1
        pc.wait(lambda: reaches(pc, "2001:db8:1::80"), what="its address is no longer tentative")
        fetch = "import urllib.request as r; print(r.urlopen('http://10.1.0.80/', timeout=5).read().decode())"
        assert "web" in pc.run(["python3", "-c", fetch]).stdout


@pytest.mark.parametrize("slaac", [True, False])
def test_pcs_of_the_office_make_addresses_of_their_own_only_if_the_gateway_says_so(slaac: bool) -> None:
    with up("office", pcs=1, slaac=slaac) as lab:
        lab["pc1"].wait(lambda: "proto ra" in route(lab["pc1"], "-6", "route"), what="the advertisement came")
        made = [line for line in route(lab["pc1"], "-6", "address").splitlines() if "2001:db8::" in line and "ff:fe" in line]
        assert bool(made) is slaac
